package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// LimitsConfig says how much of what a trip took along one reconcile may change at central before it stops and asks, in
// percent of the objects of a kind. A kit that lost its data, or was given another's, would go beyond.
type LimitsConfig struct {
	// Deletions and Overwrites are from 0 to 100.
	Deletions, Overwrites int
}

// defaultLimits is what holds where the file says nothing.
func defaultLimits() LimitsConfig { return LimitsConfig{Deletions: 2, Overwrites: 50} }

// Few objects are no reason to stop, whatever their share.
const (
	fewDeletions  = 10
	fewOverwrites = 100
)

// beyond is something of which more is to be sent than the limits let pass.
type beyond struct {
	kind  merge.Kind
	verb  merge.Verb
	count int
	limit int
}

func (b beyond) String() string {
	what := "overwritten"
	if b.verb == merge.Delete {
		what = "deleted"
	}
	return fmt.Sprintf("%d objects of kind %s would be %s at central, and the limit is %d", b.count, b.kind, what, b.limit)
}

// beyondLimits finds of which kinds more is to be sent than the limits let pass.
func (k *Kit) beyondLimits(ctx context.Context, c *comparison) ([]beyond, error) {
	receipt, err := receiptOf(ctx, c.trip.journal)
	if err != nil || receipt == nil || receipt.Load == nil {
		return nil, err
	}
	going, err := c.trip.journal.Going(ctx)
	if err != nil {
		return nil, err
	}
	if c.kept != nil {
		_, going = c.kept.going()
	}
	var found []beyond
	for _, g := range going {
		var taken int64
		if count := receipt.Load.Counts[g.Kind]; count != nil {
			taken = count.Taken
		}
		limit := 0
		switch g.Verb {
		case merge.Delete:
			limit = max(fewDeletions, int(taken*int64(k.config.Limits.Deletions)/100))
		case merge.Update:
			limit = max(fewOverwrites, int(taken*int64(k.config.Limits.Overwrites)/100))
		default:
			continue
		}
		if g.Objects > limit {
			found = append(found, beyond{kind: g.Kind, verb: g.Verb, count: g.Objects, limit: limit})
		}
	}
	return found, nil
}

// withinLimits stops a run that would change too much at central, unless just that many was allowed.
func (k *Kit) withinLimits(ctx context.Context, c *comparison, allowed int) error {
	found, err := k.beyondLimits(ctx, c)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(b beyond) bool { return b.count == allowed })
	if len(found) == 0 {
		return nil
	}
	var said []string
	for _, b := range found {
		said = append(said, b.String())
	}
	return WithHint(fmt.Errorf("%w: %s; nothing was sent", ErrLimits, strings.Join(said, "; ")),
		"look at `fieldkit reconcile --plan`; if that is what happened at the clinic: fieldkit reconcile --allow %d", found[0].count)
}

// addBeyond says in a plan's report what a run would stop at.
func (k *Kit) addBeyond(ctx context.Context, c *comparison, warn func(string)) error {
	found, err := k.beyondLimits(ctx, c)
	for _, b := range found {
		warn(fmt.Sprintf("a run would stop before it sends anything: %s", b))
	}
	return err
}
