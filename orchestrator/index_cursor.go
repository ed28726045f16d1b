package orchestrator

import (
	"cmp"
	"context"
	"iter"
	"slices"
)

// place is where a piece lies in a face of a snapshot: its part, and its line there.
type place int64

func placeOf(part, line int) place { return place(part)<<32 | place(line) }

func (p place) part() int { return int(p >> 32) }
func (p place) line() int { return int(p & 0xffffffff) }

// lines are some lines of a part, the last included.
type lines struct{ first, last int }

// cursor is where the reading of a face stands. Whoever asks for records in the snapshot's order, batch by batch, has
// each part decrypted once, not once a batch, and only those records parsed.
type cursor struct {
	part int
	line int // the next
	next func() ([]byte, error, bool)
	stop func()
}

// close lets go of the part that is open. It may be called twice, and read on after.
func (c *cursor) close() {
	if c.stop != nil {
		c.stop()
	}
	*c = cursor{}
}

// read calls f with each of some lines of a part once, in order; open begins to read it.
func (c *cursor) read(ctx context.Context, part int, open func(context.Context) iter.Seq2[[]byte, error], wanted []lines, f func([]byte) error) error {
	slices.SortFunc(wanted, func(a, b lines) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last)) })
	if c.next == nil || c.part != part || c.line > wanted[0].first {
		c.close()
		// The cursor outlives the call.
		next, stop := iter.Pull2(open(context.WithoutCancel(ctx)))
		*c = cursor{part: part, next: next, stop: stop}
	}
	for _, some := range wanted {
		for c.line <= some.last {
			if err := ctx.Err(); err != nil {
				return err
			}
			line, err, more := c.next()
			if err != nil || !more {
				c.close()
				return err
			}
			if c.line >= some.first {
				if err := f(line); err != nil {
					c.close()
					return err
				}
			}
			c.line++
		}
	}
	return nil
}
