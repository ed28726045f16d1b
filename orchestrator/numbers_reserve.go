package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// keepDays is for how long central keeps random values for the kit.
const keepDays = 365

// reservation is the work of reserving values at central for one trip.
type reservation struct {
	*preparation
	path string
	held *numbers.Reservations
	// before is what the trip before had; nil where there is none, or its kit was another one.
	before *numbers.Reservations
	// database is the kit's; nil without access.
	database *dhis2db.Database
}

// reserveNumbers reserves at central the values of generated attributes that the trip needs and an earlier run has not.
// What is left of those of the trip before is used first. Each answer of central's is on disk before the next question.
func (p *preparation) reserveNumbers(ctx context.Context) error {
	r := &reservation{preparation: p, path: p.trip.file(numbers.FileName)}
	var err error
	if r.held, err = numbers.Read(r.path); err != nil {
		return err
	}
	taken, err := snapshot.Open(p.trip.snapshotDir(), p.keys)
	if err != nil {
		return err
	}
	metadata, err := metadataOf(taken)
	if err != nil {
		return err
	}
	wanted, err := p.numbersInScope(metadata)
	if err != nil || len(wanted) == 0 {
		return err
	}
	p.kit.options.Progress.Step("reserving numbers at central")
	if r.held == nil {
		r.held = &numbers.Reservations{Central: p.central.BaseURL()}
	}
	if r.before, err = r.reservedBefore(ctx); err != nil {
		return err
	}
	// Without access the counter is asked by the API, once there is something to ask for.
	database, leave := p.kit.databaseIfAny(ctx)
	defer leave()
	r.database = database
	for i, one := range wanted {
		if err := r.reserve(ctx, one); err != nil {
			return err
		}
		p.kit.options.Progress.Count("keys", int64(i+1), int64(len(wanted)))
	}
	return nil
}

// reservedBefore is what the latest trip before had reserved of the same central for the same kit.
func (r *reservation) reservedBefore(ctx context.Context) (*numbers.Reservations, error) {
	if carried, err := r.trip.journal.Fact(ctx, factCarried); err != nil || carried == carriedElsewhere {
		return nil, err
	}
	ids, err := r.kit.trips()
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Backward(ids) {
		if compareTripIDs(id, r.trip.id) >= 0 {
			continue
		}
		before, err := numbers.Read((&trip{dir: r.kit.tripDir(id)}).file(numbers.FileName))
		if err != nil || before != nil && before.Central == r.central.BaseURL() {
			return before, err
		}
	}
	return nil, nil
}

// reserve reserves what one attribute and code lack.
func (r *reservation) reserve(ctx context.Context, wanted wantedNumbers) error {
	attribute := r.held.Attribute(wanted.attribute)
	if attribute == nil {
		attribute = &numbers.Attribute{UID: wanted.attribute, Name: wanted.name, Pattern: wanted.text, Kind: wanted.pattern.Kind()}
		r.held.Attributes = append(r.held.Attributes, attribute)
	}
	now := r.kit.options.Now().In(r.central.Zone())
	name, err := wanted.pattern.Key(wanted.orgUnitCode, now)
	if err != nil && !errors.Is(err, numbers.ErrOwnDate) {
		return err
	}
	key := attribute.Find(name)
	if err != nil {
		// A key that only central can write is known by its org unit, and gets its name with the first answer.
		if i := slices.IndexFunc(attribute.Keys, func(k *numbers.Key) bool { return k.OrgUnitCode == wanted.orgUnitCode }); i >= 0 {
			key = attribute.Keys[i]
		}
	}
	if key == nil {
		key = &numbers.Key{Key: name, OrgUnitCode: wanted.orgUnitCode, Wanted: wanted.count}
		attribute.Keys = append(attribute.Keys, key)
		if err := r.takeOver(ctx, wanted, key, now); err != nil {
			return err
		}
	}
	switch {
	case key.Ahead: // the kit counts far above central already, and goes on there
		err = nil
	case wanted.pattern.Kind() == numbers.Random:
		err = r.reserveRandom(ctx, wanted, key)
	default:
		err = r.reserveBlocks(ctx, wanted, key)
	}
	if refused(err) {
		r.warn(WithHint(fmt.Errorf("central reserves no more values of attribute %s, so the kit's may collide with others': %w", wanted.attribute, err),
			"may the account register people in the scope, and is the pattern wide enough?"))
		err = nil
	}
	if err != nil {
		return err
	}
	if wanted.pattern.Kind() == numbers.Sequential && wanted.pattern.Asks(numbers.CurrentDate) {
		r.lookAhead(wanted, attribute, now)
	}
	return r.held.Write(r.path)
}

// takeOver puts what is left of the trip before into a key, and what the kit has handed out.
func (r *reservation) takeOver(ctx context.Context, wanted wantedNumbers, key *numbers.Key, now time.Time) error {
	old := r.before.Attribute(wanted.attribute).Find(key.Key)
	if old != nil {
		key.Blocks, key.Floor, key.Seeded, key.Ahead = old.Blocks, old.Floor, old.Seeded, old.Ahead
		if expires, err := r.central.ParseTime(old.Expires); err == nil && expires.After(now) {
			key.Values, key.Expires = old.Values, old.Expires
		}
	}
	if wanted.pattern.Kind() != numbers.Sequential || key.Key == "" {
		return nil
	}
	var counter kitCounter = apiCounter{local: r.local, pattern: wanted.pattern}
	switch {
	case r.database != nil:
		counter = databaseCounter{r.database}
	case old == nil:
		return nil // it is asked once the attribute is on the kit
	}
	next, err := counter.next(ctx, wanted.attribute, key)
	if dhis2api.NotFound(err) || refused(err) {
		return nil
	}
	key.Floor = max(key.Floor, next)
	return err
}

// reserveBlocks asks central until the key has a block without gap that is large enough. Others draw numbers
// meanwhile, so this may take more than it counts up to.
func (r *reservation) reserveBlocks(ctx context.Context, wanted wantedNumbers, key *numbers.Key) error {
	calls := 2*(wanted.count/atOnce) + 4
	for key.Usable().Size() < key.Wanted {
		if calls--; calls < 0 {
			r.warn(fmt.Errorf("others draw numbers of attribute %s so fast that the kit has only %d in a row, not %d", wanted.attribute, key.Usable().Size(), key.Wanted))
			return nil
		}
		missing := key.Wanted - key.Usable().Size()
		values, err := r.central.ReserveValues(ctx, wanted.attribute, int(min(missing, atOnce)), keepDays, requiredOf(wanted.orgUnitCode))
		if err != nil {
			return err
		}
		if key.Key == "" {
			key.Key = values[0].Key
		}
		for _, value := range values {
			number, ok := wanted.pattern.Number(key.Key, value.Value)
			if !ok {
				return fmt.Errorf("central counts attribute %s by %q, not by %q", wanted.attribute, value.Key, key.Key)
			}
			key.Blocks = numbers.Add(key.Blocks, numbers.Block{First: number, Last: number})
		}
		if err := r.held.Write(r.path); err != nil {
			return err
		}
	}
	return nil
}

// reserveRandom asks central for what a list lacks.
func (r *reservation) reserveRandom(ctx context.Context, wanted wantedNumbers, key *numbers.Key) error {
	for missing := key.Wanted - int64(len(key.Values)); missing > 0; missing = key.Wanted - int64(len(key.Values)) {
		values, err := r.central.ReserveValues(ctx, wanted.attribute, int(min(missing, atOnce)), keepDays, requiredOf(wanted.orgUnitCode))
		if err != nil {
			return err
		}
		for _, value := range values {
			key.Key, key.Values = value.Key, append(key.Values, value.Value)
			key.Expires = value.ExpiryDate
		}
		if err := r.held.Write(r.path); err != nil {
			return err
		}
	}
	return nil
}

// lookAhead chooses blocks for the keys of the days to come, which central cannot be asked for: DHIS2 fills in the day
// on which it is asked. They lie in the upper half of the numbers, at a place that the kit's name decides. Central begins
// at 1 each day, so it does not get there; another kit may have the same place.
func (r *reservation) lookAhead(wanted wantedNumbers, attribute *numbers.Attribute, now time.Time) {
	space := int64(min(wanted.pattern.Space(), math.MaxInt32)) // DHIS2's counters hold no more
	half := space / 2
	places := max(half/max(wanted.count, 1), 1)
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(r.kit.config.Name)) // never fails
	first := half + int64(sum.Sum64()%uint64(places))*wanted.count + 1
	block := numbers.Block{First: first, Last: min(first+wanted.count-1, space)}
	added := false
	for day := 1; day <= r.kit.config.Numbers.Days; day++ {
		name, err := wanted.pattern.Key(wanted.orgUnitCode, now.AddDate(0, 0, day))
		if err != nil || attribute.Find(name) != nil {
			continue
		}
		key := &numbers.Key{Key: name, OrgUnitCode: wanted.orgUnitCode, Wanted: wanted.count, Ahead: true, Blocks: []numbers.Block{block}}
		if old := r.before.Attribute(wanted.attribute).Find(name); old != nil {
			key.Floor, key.Seeded = old.Floor, old.Seeded
		}
		attribute.Keys = append(attribute.Keys, key)
		added = true
	}
	if added {
		r.warn(WithHint(fmt.Errorf("attribute %s %s has the date in its pattern, and central reserves numbers for today alone: those of later days begin at %d, by the kit's name, and are apart from other kits' by chance",
			wanted.attribute, wanted.name, first), "give kits names that lead to different numbers, or leave the date out of the pattern"))
	}
}
