package orchestrator

import (
	"context"
	"iter"
)

// place is where a piece lies in a face of a snapshot: its part, and its line there.
type place int64

func placeOf(part, line int) place { return place(part)<<32 | place(line) }

func (p place) part() int { return int(p >> 32) }
func (p place) line() int { return int(p & 0xffffffff) }

// lines are some lines of a part, the last included.
type lines struct{ first, last int }

// cursor is where the reading of a face stands. Whoever asks for records in the snapshot's order, batch by batch, has
// each part decrypted and parsed once, not once a batch.
type cursor struct {
	part int
	line int // the next
	next func() (piece, error, bool)
	stop func()
}

// close lets go of the part that is open. It may be called twice, and read on after.
func (c *cursor) close() {
	if c.stop != nil {
		c.stop()
	}
	*c = cursor{}
}

// read calls f with the pieces in some lines of a part, which open begins to read.
func (c *cursor) read(ctx context.Context, open func(context.Context, int) iter.Seq2[piece, error], part int, wanted lines, f func(piece)) error {
	if c.next == nil || c.part != part || c.line > wanted.first {
		c.close()
		// The cursor outlives the call.
		next, stop := iter.Pull2(open(context.WithoutCancel(ctx), part))
		*c = cursor{part: part, next: next, stop: stop}
	}
	for c.line <= wanted.last {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err, more := c.next()
		if err != nil || !more {
			c.close()
			return err
		}
		if c.line >= wanted.first {
			f(p)
		}
		c.line++
	}
	return nil
}

// pieces yields the pieces of a part.
func (x *index) pieces(ctx context.Context, part int) iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		stopped := false
		err := eachPiece(ctx, x.snapshot, x.parts[part], x.canonical, func(p piece) error {
			if !yield(p, nil) {
				stopped = true
				return context.Canceled
			}
			return nil
		})
		if err != nil && !stopped {
			yield(piece{}, err)
		}
	}
}
