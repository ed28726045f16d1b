package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// TestCursor reads lines of parts with ten lines each. Who reads on opens nothing anew; who goes back does.
func TestCursor(t *testing.T) {
	tests := []struct {
		name   string
		reads  []string // part:first-last,first-last
		opened int
		want   string
	}{
		{"in order", []string{"0:0-2", "0:2-2", "0:3-5", "0:7-9"}, 2, "0.0 0.1 0.2 0.2 0.3 0.4 0.5 0.7 0.8 0.9"},
		{"some here and there", []string{"0:7-7,2-3,3-4", "0:9-9"}, 1, "0.2 0.3 0.4 0.7 0.9"},
		{"the same twice", []string{"0:2-3,2-3"}, 1, "0.2 0.3"},
		{"on to the next part", []string{"0:8-99", "1:0-0", "1:1-1"}, 2, "0.8 0.9 1.0 1.1"},
		{"back", []string{"0:5-5", "0:4-4", "1:0-0", "0:6-6"}, 4, "0.5 0.4 1.0 0.6"},
		{"after the end", []string{"0:0-99", "0:9-9"}, 2, "0.0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 0.9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			opened, closed := 0, 0
			open := func(part int) func(context.Context) iter.Seq2[[]byte, error] {
				return func(context.Context) iter.Seq2[[]byte, error] {
					return func(yield func([]byte, error) bool) {
						opened++
						defer func() { closed++ }()
						for line := range 10 {
							if !yield(fmt.Appendf(nil, "%d.%d", part, line), nil) {
								return
							}
						}
					}
				}
			}
			var c cursor
			var read []string
			for _, text := range test.reads {
				number, ranges, _ := strings.Cut(text, ":")
				part, err := strconv.Atoi(number)
				if err != nil {
					t.Fatal(err)
				}
				var wanted []lines
				for some := range strings.SplitSeq(ranges, ",") {
					var one lines
					if _, err := fmt.Sscanf(some, "%d-%d", &one.first, &one.last); err != nil {
						t.Fatal(err)
					}
					wanted = append(wanted, one)
				}
				err = c.read(t.Context(), part, open(part), wanted, func(line []byte) error {
					read = append(read, string(line))
					return nil
				})
				if err != nil {
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
	open := func(context.Context) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) { _ = yield(nil, nil) && yield(nil, damaged) }
	}
	none := func([]byte) error { return nil }
	var c cursor
	defer c.close()
	if err := c.read(t.Context(), 0, open, []lines{{0, 5}}, none); !errors.Is(err, damaged) {
		t.Errorf("error %v, want %v", err, damaged)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := c.read(stopped, 0, open, []lines{{0, 0}}, none); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of a run that is stopped", err)
	}
}

// TestKeyOf: what is read of a line without parsing it is what parsing it gives.
func TestKeyOf(t *testing.T) {
	tests := []struct {
		part snapshot.Part
		line string
		fast bool
	}{
		{snapshot.Part{Kind: snapshot.TrackedEntities, Subject: snapshot.Subject{Program: "xIkcI00xjZE"}}, `{"trackedEntity":"Pa000000001","orgUnit":"P1J4eyjXQeT"}`, true},
		{snapshot.Part{Kind: snapshot.TrackedEntities, Subject: snapshot.Subject{TrackedEntityType: "ig1m3E2NSOb"}}, `{"trackedEntity":"Pa000000001"}`, true},
		{snapshot.Part{Kind: snapshot.TrackedEntities}, `{"orgUnit":"P1J4eyjXQeT","trackedEntity":"Pa000000001"}`, false},
		{snapshot.Part{Kind: snapshot.TrackedEntities}, `{ "trackedEntity": "Pa000000001"}`, false},
		{snapshot.Part{Kind: snapshot.Events, Subject: snapshot.Subject{Program: "xIkcI00xjZE"}}, `{"event":"Ev000000001","program":"xIkcI00xjZE"}`, true},
		{snapshot.Part{Kind: snapshot.Relationships}, `{"relationship":"Re000000001"}`, false},
	}
	for _, test := range tests {
		key, fast := keyOf(test.part, []byte(test.line))
		if fast != test.fast {
			t.Errorf("%s: found at once: %v", test.line, fast)
		}
		p, err := pieceOf(snapshot.Canonical{}, test.part, []byte(test.line))
		if err != nil || fast && key != p.key() {
			t.Errorf("%s: %v at once and %v parsed, %v", test.line, key, p.key(), err)
		}
	}
}
