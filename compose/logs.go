package compose

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// LogOptions choose what Logs writes.
type LogOptions struct {
	Service    string    // "" is all
	Tail       int       // the last so many lines of each service; 0 is all
	Since      time.Time // zero is from the beginning
	Follow     bool      // goes on until ctx ends, which is no error then
	Timestamps bool      // the engine's time before each line
}

// Logs writes a project's container logs line by line: one service after the other, or all as they come when
// they are followed. With more than one service each line begins with the service's name and " | ". A service
// without a container is a *ServiceError.
func (e *Engine) Logs(ctx context.Context, project string, options LogOptions, w io.Writer) error {
	containers, err := e.containers(ctx, project)
	if err != nil {
		return err
	}
	if options.Service != "" {
		one, err := e.find(ctx, project, options.Service)
		if err != nil {
			return err
		}
		containers = []inspected{one}
	}
	slices.SortFunc(containers, func(a, b inspected) int { return strings.Compare(a.name, b.name) })
	width := 0
	for _, container := range containers {
		width = max(width, len(container.service))
	}
	out := &lockedWriter{w: w}
	group, following := errgroup.WithContext(ctx)
	if !options.Follow {
		group.SetLimit(1)
	}
	for _, container := range containers {
		group.Go(func() error {
			lines := &lineWriter{w: out}
			if len(containers) > 1 {
				lines.prefix = fmt.Sprintf("%-*s | ", width, container.service)
			}
			if err := e.docker.logs(following, container.id, options, lines); err != nil {
				return fmt.Errorf("reading the log of %s: %w", container.name, err)
			}
			return lines.flush()
		})
	}
	if err := group.Wait(); err != nil && !(options.Follow && ctx.Err() != nil) {
		return err
	}
	return nil //nolint:nilerr // following ended because it was to end
}

// lockedWriter lets several write to one, whole writes at a time.
type lockedWriter struct {
	mutex sync.Mutex
	w     io.Writer
}

func (l *lockedWriter) Write(data []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.w.Write(data)
}

// longestLine is how much of a line is kept back until its end comes.
const longestLine = 64 << 10

// lineWriter passes whole lines on, each with a prefix.
type lineWriter struct {
	w       io.Writer
	prefix  string
	partial []byte
}

func (l *lineWriter) Write(data []byte) (int, error) {
	for rest := data; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			l.partial = append(l.partial, rest...)
			rest = nil
		} else {
			l.partial = append(l.partial, rest[:end]...)
			rest = rest[end+1:]
		}
		if end >= 0 || len(l.partial) >= longestLine {
			if err := l.line(); err != nil {
				return 0, err
			}
		}
	}
	return len(data), nil
}

// line passes on what was kept back.
func (l *lineWriter) line() error {
	_, err := l.w.Write(slices.Concat([]byte(l.prefix), l.partial, []byte("\n")))
	l.partial = l.partial[:0]
	return err
}

// flush passes on a last line without an end.
func (l *lineWriter) flush() error {
	if len(l.partial) == 0 {
		return nil
	}
	return l.line()
}
