package main

import (
	"fmt"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/schollz/progressbar/v3"
)

// every is how often a step without a terminal says how far it is.
const every = 10 * time.Second

// progress tells the terminal, or a log, what a workflow does.
func (h Host) progress() orchestrator.Progress {
	if h.Terminal {
		return &barProgress{host: h}
	}
	return &lineProgress{host: h}
}

// barProgress draws a bar: count, rate and time left.
type barProgress struct {
	host Host
	bar  *progressbar.ProgressBar
	// waiting tells that the line has no end yet.
	waiting bool
}

func (p *barProgress) Step(name string) {
	p.clear()
	p.host.say("%s", name)
}

func (p *barProgress) Count(what string, done, total int64) {
	if p.bar == nil {
		p.clear()
		if total == 0 {
			total = -1 // a spinner
		}
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.host.Stderr),
			progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString(what),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetWidth(24),
		)
	}
	if total > 0 && p.bar.GetMax64() != total {
		p.bar.ChangeMax64(total)
	}
	_ = p.bar.Set64(done) // a bar that cannot be drawn stops nothing
}

// Waiting draws one line, over the one before.
func (p *barProgress) Waiting(what string, elapsed time.Duration) {
	p.clear()
	if what != "" {
		p.waiting = true
		fmt.Fprintf(p.host.Stderr, "fieldkit: waiting for %s: %d s", what, int(elapsed.Seconds()))
	}
}

func (p *barProgress) Note(text string) {
	p.clear()
	p.host.say("%s", text)
}

func (p *barProgress) clear() {
	if p.waiting {
		p.waiting = false
		fmt.Fprint(p.host.Stderr, "\r\x1b[K")
	}
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// lineProgress prints plain lines, at most one every ten seconds within a step.
type lineProgress struct {
	host        Host
	began, last time.Time
	first       int64
}

func (p *lineProgress) Step(name string) {
	p.began, p.last, p.first = time.Time{}, time.Time{}, 0
	p.host.say("%s", name)
}

func (p *lineProgress) Count(what string, done, total int64) {
	now := p.host.Now()
	if p.began.IsZero() {
		p.began, p.last, p.first = now, now, done
		return
	}
	if now.Sub(p.last) < every {
		return
	}
	p.last = now
	line := fmt.Sprintf("%d %s", done, what)
	rate := float64(done-p.first) / now.Sub(p.began).Seconds()
	if total > 0 {
		line = fmt.Sprintf("%d of %d %s", done, total, what)
	}
	if rate > 0 {
		line += fmt.Sprintf(", %.0f a second", rate)
		if total > done {
			line += fmt.Sprintf(", %s left", (time.Duration(float64(total-done)/rate) * time.Second).Round(time.Second))
		}
	}
	p.host.say("%s", line)
}

func (p *lineProgress) Waiting(what string, elapsed time.Duration) {
	now := p.host.Now()
	if what == "" {
		return
	}
	if p.began.IsZero() {
		p.began, p.last = now, now
		return
	}
	if now.Sub(p.last) >= every {
		p.last = now
		p.host.say("waiting for %s: %d s", what, int(elapsed.Seconds()))
	}
}

func (p *lineProgress) Note(text string) { p.host.say("%s", text) }
