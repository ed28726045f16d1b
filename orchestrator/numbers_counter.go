package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
)

// kitCounter is where the kit's DHIS2 counts the numbers that it hands out.
type kitCounter interface {
	// next is the number that it hands out next for an attribute and a key; 1 where it has none yet.
	next(ctx context.Context, attribute string, key *numbers.Key) (int64, error)
	// advance makes it hand out from a number on, or from where it is if that is further.
	advance(ctx context.Context, attribute string, key *numbers.Key, to int64) error
}

// databaseCounter counts in the kit's database.
type databaseCounter struct{ database *dhis2db.Database }

func (c databaseCounter) next(ctx context.Context, attribute string, key *numbers.Key) (int64, error) {
	return c.database.Counter(ctx, attribute, key.Key)
}

func (c databaseCounter) advance(ctx context.Context, attribute string, key *numbers.Key, to int64) error {
	_, err := c.database.AdvanceCounter(ctx, attribute, key.Key, to)
	return err
}

// apiCounter is told and asked as a tablet would: it hands out a number to say where it is, and all numbers below to
// get further. The numbers that it gives away so are of no use to anybody.
type apiCounter struct {
	local   *dhis2api.Client
	pattern numbers.Pattern
}

// errOtherKey says that the kit resolves a pattern otherwise than central did.
var errOtherKey = errors.New("the kit counts otherwise")

// burnLimit is how many numbers are given away at most to bring a counter to its block.
const burnLimit = 100_000

// errFarOff says that a block is too far from where the counter is.
var errFarOff = errors.New("the block is more than 100,000 numbers away, and there is no access to the kit's database")

func (c apiCounter) next(ctx context.Context, attribute string, key *numbers.Key) (int64, error) {
	return c.draw(ctx, attribute, key, 1)
}

// draw makes the kit hand out some numbers, and returns the one that comes after them.
func (c apiCounter) draw(ctx context.Context, attribute string, key *numbers.Key, count int64) (int64, error) {
	values, err := c.local.ReserveValues(ctx, attribute, int(count), 1, requiredOf(key.OrgUnitCode))
	if err != nil {
		return 0, err
	}
	last := values[len(values)-1]
	number, ok := c.pattern.Number(last.Key, last.Value)
	if !ok || last.Key != key.Key {
		return 0, fmt.Errorf("%w: by %q, and central by %q", errOtherKey, last.Key, key.Key)
	}
	return number + 1, nil
}

func (c apiCounter) advance(ctx context.Context, attribute string, key *numbers.Key, to int64) error {
	next, err := c.next(ctx, attribute, key)
	if err != nil {
		return err
	}
	if to-next > burnLimit {
		return errFarOff
	}
	for next < to {
		if next, err = c.draw(ctx, attribute, key, min(to-next, atOnce)); err != nil {
			return err
		}
	}
	return nil
}

// atOnce is how many values DHIS2 reserves in one request at most.
const atOnce = 1000

// requiredOf is what DHIS2 is to be told for a pattern.
func requiredOf(orgUnitCode string) map[string]string {
	if orgUnitCode == "" {
		return nil
	}
	return map[string]string{string(numbers.OrgUnitCode): orgUnitCode}
}
