package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
)

// seedNumbers makes the kit's DHIS2 hand out what central has reserved. It may be called again: a counter within its
// block is left alone, and none ever goes back.
func (p *preparation) seedNumbers(ctx context.Context) error {
	path := p.trip.file(numbers.FileName)
	held, err := numbers.Read(path)
	if err != nil || held == nil {
		return err
	}
	p.kit.options.Progress.Step("giving the kit its numbers")
	database, leave := p.kit.databaseIfAny(ctx)
	defer leave()
	for _, attribute := range held.Attributes {
		if err := p.seedAttribute(ctx, attribute, database); err != nil {
			return err
		}
		if err := held.Write(path); err != nil {
			return err
		}
	}
	return nil
}

// seedAttribute seeds the keys of one attribute. Without access to the database, those of later days cannot be: DHIS2
// counts by the day on which it is asked.
func (p *preparation) seedAttribute(ctx context.Context, attribute *numbers.Attribute, database *dhis2db.Database) error {
	pattern, err := numbers.Parse(attribute.Pattern)
	if err != nil {
		return err
	}
	if attribute.Kind == numbers.Random {
		return nil // until something stands in front of it, the kit draws its own
	}
	var counter kitCounter = apiCounter{local: p.local, pattern: pattern}
	if database != nil {
		counter = databaseCounter{database}
	}
	for _, key := range attribute.Keys {
		if key.Ahead && database == nil {
			p.warnMayCollide(attribute, key, errors.New("its day has not come, and there is no access to the kit's database"))
			continue
		}
		err := seedKey(ctx, attribute.UID, key, counter)
		switch {
		case errors.Is(err, errFarOff), errors.Is(err, errUsedUp), errors.Is(err, errOtherKey), refused(err):
			p.warnMayCollide(attribute, key, err)
		case err != nil:
			return err
		}
	}
	return nil
}

func (p *preparation) warnMayCollide(attribute *numbers.Attribute, key *numbers.Key, why error) {
	p.warn(WithHint(fmt.Errorf("the kit's own numbers of attribute %s %s (%s) may collide with others': %w", attribute.UID, attribute.Name, key.Key, why),
		"say in %s where the kit's database is (local: {database: ...})", ConfigFile))
}

// errUsedUp says that nothing is left of what was reserved.
var errUsedUp = errors.New("nothing that central has reserved is left above what the kit has handed out")

// seedKey brings the kit's counter to the largest block that the kit has not handed out.
func seedKey(ctx context.Context, attribute string, key *numbers.Key, counter kitCounter) error {
	next, err := counter.next(ctx, attribute, key)
	if err != nil {
		return err
	}
	key.Floor = max(key.Floor, next)
	block := key.Usable()
	if block.Size() == 0 {
		return errUsedUp
	}
	if seeded := key.Seeded; seeded != nil && seeded.First <= next && seeded.Last == block.Last && next == block.First {
		return nil
	}
	if err := counter.advance(ctx, attribute, key, block.First); err != nil {
		return err
	}
	key.Seeded, key.Floor = &block, block.First
	return nil
}
