package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

func TestExitCode(t *testing.T) {
	unreachable := &orchestrator.ServerError{Side: orchestrator.Central, URL: "https://x", Err: errors.New("no route")}
	for _, test := range []struct {
		err  error
		want int
	}{
		{errors.New("anything"), 1},
		{fs.ErrPermission, 1},
		{&orchestrator.ConfigError{}, 2},
		{usage("", "wrong"), 2},
		{fmt.Errorf("prepare: %w", orchestrator.ErrNoSnapshot), 10},
		{orchestrator.WithHint(orchestrator.ErrLocked, "wait"), 11},
		{errors.Join(errors.New("closing"), orchestrator.ErrWrongKey), 12},
		{unreachable, 20},
		{&orchestrator.ServerError{Side: orchestrator.Local, URL: "http://x", Err: errors.New("no route")}, 1},
		{fmt.Errorf("reading: %w", context.Canceled), 130},
		{errors.Join(context.Canceled, unreachable), 130},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

// person is somebody at a terminal.
func person(typed string) (Host, *bytes.Buffer, *bytes.Buffer) {
	var out, talk bytes.Buffer
	return Host{
		Stdin: strings.NewReader(typed), Stdout: &out, Stderr: &talk, Terminal: true,
		ReadSecret: func(context.Context) (string, error) { return "", errors.New("no secret is asked for here") },
		Getenv:     func(string) string { return "" }, Now: time.Now, Version: "test",
	}, &out, &talk
}

func TestInitAtATerminal(t *testing.T) {
	dir := t.TempDir()
	host, out, talk := person("\nnonsense\nhttps://dhis2.example.org\n\nhttp://127.0.0.1:8086\n")
	code := Run(t.Context(), host, []string{"init", "--kit", dir, "--org-unit", "RIOCANA", "--program", "all", "--data-set", "all"})
	if code != 0 {
		t.Fatalf("exit code %d; %s", code, talk)
	}
	config, err := orchestrator.LoadConfig(filepath.Join(dir, orchestrator.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	if config.Name != filepath.Base(dir) || config.Central.URL != "https://dhis2.example.org" || config.Local.URL != "http://127.0.0.1:8086" {
		t.Errorf("got %+v", config)
	}
	if !strings.Contains(talk.String(), "not the address of a server") || !strings.HasPrefix(out.String(), "wrote ") {
		t.Errorf("talk:\n%s\nresult:\n%s", talk, out)
	}
}

func TestInputThatEnds(t *testing.T) {
	host, out, talk := person("")
	if code := Run(t.Context(), host, []string{"init", "--kit", t.TempDir()}); code != 1 || out.Len() > 0 {
		t.Errorf("exit code %d, result %q", code, out)
	}
	if !strings.Contains(talk.String(), "fieldkit: no answer: the input has ended\n") {
		t.Errorf("talk:\n%s", talk)
	}
}

func TestInterruptedAtAQuestion(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	host, _, talk := person("")
	reader, writer := io.Pipe()
	defer writer.Close()
	host.Stdin = reader
	asked := &notifying{Writer: talk, notify: cancel}
	host.Stderr = asked
	if code := Run(ctx, host, []string{"init", "--kit", t.TempDir()}); code != 130 {
		t.Errorf("exit code %d; %s", code, talk)
	}
}

// notifying calls notify when the first thing is written.
type notifying struct {
	io.Writer
	notify func()
}

func (n *notifying) Write(p []byte) (int, error) {
	n.notify()
	return n.Writer.Write(p)
}

func TestConfirm(t *testing.T) {
	for _, test := range []struct {
		typed    string
		terminal bool
		yes      bool
		want     int // 0: confirmed
	}{
		{"y\n", true, false, 0}, {"YES\n", true, false, 0}, {"\n", true, false, 1}, {"n\n", true, false, 1},
		{"", true, false, 1}, {"", false, false, 2}, {"y\n", false, false, 2}, {"", false, true, 0}, {"n\n", true, true, 0},
	} {
		host, _, talk := person(test.typed)
		host.Terminal = test.terminal
		var flags []string
		if test.yes {
			flags = []string{"--yes"}
		}
		probe := command{name: "probe", do: func(ctx context.Context, c *call) (int, error) {
			return 0, c.confirm(ctx, "send 3 changes to https://x")
		}}
		if got := runCommands(t.Context(), host, []command{probe}, append([]string{"probe"}, flags...)); got != test.want {
			t.Errorf("%+v: exit code %d; %s", test, got, talk)
		}
		if test.want == 2 && !strings.Contains(talk.String(), "fieldkit: send 3 changes to https://x needs --yes\n") {
			t.Errorf("talk:\n%s", talk)
		}
	}
}

func TestLineProgress(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	host, _, talk := person("")
	host.Terminal, host.Now = false, func() time.Time { return now }
	p := host.progress()
	p.Step("taking patients")
	for _, done := range []int64{0, 100, 1000, 4000, 5000} {
		p.Count("patients", done, 5000)
		now = now.Add(6 * time.Second)
	}
	p.Note("one was left out")
	p.Step("taking values")
	p.Count("values", 1, 0)
	now = now.Add(time.Minute)
	p.Count("values", 61, 0)
	const want = `fieldkit: taking patients
fieldkit: 1000 of 5000 patients, 83 a second, 48s left
fieldkit: 5000 of 5000 patients, 208 a second
fieldkit: one was left out
fieldkit: taking values
fieldkit: 61 values, 1 a second
`
	if talk.String() != want {
		t.Errorf("got\n%swant\n%s", talk, want)
	}
}

func TestWaiting(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	wait := func(terminal bool) string {
		host, out, talk := person("")
		host.Terminal, host.Now = terminal, func() time.Time { return now }
		p := host.progress()
		p.Step("opening")
		for elapsed := range 25 {
			p.Waiting("DHIS2", time.Duration(elapsed)*time.Second)
			now = now.Add(time.Second)
		}
		p.Waiting("", 25*time.Second)
		p.Note("open")
		if out.Len() > 0 {
			t.Errorf("result: %s", out)
		}
		return talk.String()
	}
	if got := wait(false); got != "fieldkit: opening\nfieldkit: waiting for DHIS2: 10 s\nfieldkit: waiting for DHIS2: 20 s\nfieldkit: open\n" {
		t.Errorf("a log:\n%s", got)
	}
	if got := wait(true); !strings.HasSuffix(got, "fieldkit: waiting for DHIS2: 24 s\r\x1b[Kfieldkit: open\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("a terminal: %q", got)
	}
}

func TestQRCode(t *testing.T) {
	code, err := qrCode("http://bocas-1.clinic.lan", false)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(code, "\n"), "\n")
	for _, line := range lines {
		if width := len([]rune(line)); width != 2*len(lines)-1 && width != 2*len(lines) {
			t.Fatalf("%d characters in one of %d lines", width, len(lines))
		}
	}
	// The corner by which a camera finds it, and the margin around.
	if strings.TrimSpace(lines[0]+lines[1]) != "" || !strings.HasPrefix(lines[2], "    █▀▀▀▀▀█ ") || !strings.HasPrefix(lines[5], "    ▀▀▀▀▀▀▀ ") {
		t.Errorf("\n%s", code)
	}
	coloured, err := qrCode("http://bocas-1.clinic.lan", true)
	if err != nil || !strings.HasPrefix(coloured, "\x1b[30;47m ") {
		t.Errorf("%v\n%s", err, coloured)
	}
}

func TestBarProgress(t *testing.T) {
	host, out, talk := person("")
	p := host.progress()
	p.Step("taking patients")
	p.Count("patients", 10, 0)
	p.Count("patients", 20, 100)
	p.Count("patients", 100, 100)
	p.Count("patients", 120, 120) // the total grew
	p.Note("done")
	if out.Len() > 0 || !strings.Contains(talk.String(), "patients") || !strings.HasSuffix(talk.String(), "fieldkit: done\n") {
		t.Errorf("result %q, talk %q", out, talk)
	}
}
