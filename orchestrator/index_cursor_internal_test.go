package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCursor reads lines of parts with ten lines each. Who reads on opens nothing anew; who goes back does.
func TestCursor(t *testing.T) {
	tests := []struct {
		name   string
		reads  []string // part:first-last
		opened int
		want   string
	}{
		{"in order", []string{"0:0-2", "0:2-2", "0:3-5", "0:7-9"}, 2, "0.0 0.1 0.2 0.2 0.3 0.4 0.5 0.7 0.8 0.9"},
		{"on to the next part", []string{"0:8-99", "1:0-0", "1:1-1"}, 2, "0.8 0.9 1.0 1.1"},
		{"back", []string{"0:5-5", "0:4-4", "1:0-0", "0:6-6"}, 4, "0.5 0.4 1.0 0.6"},
		{"after the end", []string{"0:0-99", "0:9-9"}, 2, "0.0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 0.9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opened, closed := 0, 0
			open := func(_ context.Context, part int) iter.Seq2[piece, error] {
				return func(yield func(piece, error) bool) {
					opened++
					defer func() { closed++ }()
					for line := range 10 {
						if !yield(piece{subject: fmt.Sprintf("%d.%d", part, line)}, nil) {
							return
						}
					}
				}
			}
			var c cursor
			var read []string
			for _, text := range test.reads {
				var part int
				var wanted lines
				if _, err := fmt.Sscanf(text, "%d:%d-%d", &part, &wanted.first, &wanted.last); err != nil {
					t.Fatal(err)
				}
				if err := c.read(t.Context(), open, part, wanted, func(p piece) { read = append(read, p.subject) }); err != nil {
					t.Fatal(err)
				}
			}
			c.close()
			c.close()
			if diff := cmp.Diff(test.want, strings.Join(read, " ")); diff != "" || opened != test.opened || closed != opened {
				t.Errorf("opened %d times, closed %d, want %d; read (-want +got):\n%s", opened, closed, test.opened, diff)
			}
		})
	}
}

// TestCursorFails: a part that cannot be read says so, and so does a run that is stopped.
func TestCursorFails(t *testing.T) {
	damaged := errors.New("damaged")
	open := func(context.Context, int) iter.Seq2[piece, error] {
		return func(yield func(piece, error) bool) { _ = yield(piece{}, nil) && yield(piece{}, damaged) }
	}
	var c cursor
	defer c.close()
	if err := c.read(t.Context(), open, 0, lines{0, 5}, func(piece) {}); !errors.Is(err, damaged) {
		t.Errorf("error %v, want %v", err, damaged)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := c.read(stopped, open, 0, lines{0, 0}, func(piece) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of a run that is stopped", err)
	}
}
