package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
)

const (
	tripsDir    = "trips"
	journalName = "journal.db"
	snapshotDir = "snapshot"
	planName    = "plan.jsonl"
)

// factState is where the journal keeps the trip's state.
const factState = "state"

// The states of a trip.
const (
	// preparing: prepare has begun and not ended; the next prepare goes on with it.
	tripPreparing = "preparing"
	// ready: loaded; reconcile may be run, any number of times.
	tripReady = "ready"
	// closed: nothing of it is open or held. Changes made after that open it again.
	tripClosed = "closed"
)

// trip is one going out and coming back, with its folder and its journal.
type trip struct {
	id      string
	dir     string
	journal *journal.Journal
	state   string
	// index is the file of the run's indexes, nil before there is one.
	index *indexFile
	// read are the faces that are indexed there.
	read []*index
	// carried tells whether what the trip before had not brought home was taken over; only presentTrip sets it.
	carried bool
}

// snapshotDir is the folder of the trip's snapshot.
func (t *trip) snapshotDir() string { return filepath.Join(t.dir, snapshotDir) }

// file is a file in the trip's folder.
func (t *trip) file(name string) string { return filepath.Join(t.dir, name) }

func (t *trip) setState(ctx context.Context, state string) error {
	if err := t.journal.SetFact(ctx, factState, state); err != nil {
		return err
	}
	t.state = state
	return nil
}

// tripDir is the folder of a trip.
func (k *Kit) tripDir(id string) string { return filepath.Join(k.dir, tripsDir, id) }

// close closes the trip's journal and drops its indexes.
func (t *trip) close() error {
	for _, x := range t.read {
		x.cursor.close()
	}
	return errors.Join(t.index.close(), t.journal.Close())
}

// trips lists the ids of the kit's trips, oldest first.
func (k *Kit) trips() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(k.dir, tripsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the kit's trips: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() {
			ids = append(ids, entry.Name())
		}
	}
	slices.SortFunc(ids, compareTripIDs)
	return ids, nil
}

// compareTripIDs orders ids such as 2026-11-24-2 and 2026-11-24-10 by date and then by number.
func compareTripIDs(a, b string) int {
	dateA, numberA := splitTripID(a)
	dateB, numberB := splitTripID(b)
	if order := strings.Compare(dateA, dateB); order != 0 {
		return order
	}
	return numberA - numberB
}

func splitTripID(id string) (date string, number int) {
	cut := strings.LastIndexByte(id, '-')
	if cut < 0 {
		return id, 0
	}
	number, err := strconv.Atoi(id[cut+1:])
	if err != nil {
		return id, 0
	}
	return id[:cut], number
}

// latestTrip opens the kit's latest trip that was begun. The error is ErrNoSnapshot when there is none.
func (k *Kit) latestTrip(ctx context.Context) (*trip, error) {
	ids, err := k.trips()
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Backward(ids) {
		t, err := k.openTrip(ctx, id)
		if err != nil {
			return nil, err
		}
		if t.state != "" {
			return t, nil
		}
		if err := t.close(); err != nil {
			return nil, err
		}
	}
	return nil, WithHint(fmt.Errorf("%w: the kit %s has made no trip", ErrNoSnapshot, k.config.Name), "fieldkit prepare")
}

// tripBefore opens the latest trip before one that was loaded; nil when there is none.
func (k *Kit) tripBefore(ctx context.Context, id string) (*trip, error) {
	ids, err := k.trips()
	if err != nil {
		return nil, err
	}
	for _, earlier := range slices.Backward(ids) {
		if compareTripIDs(earlier, id) >= 0 {
			continue
		}
		t, err := k.openTrip(ctx, earlier)
		if err != nil {
			return nil, err
		}
		if t.state == tripReady || t.state == tripClosed {
			return t, nil
		}
		if err := t.close(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// readyTrip opens the trip that the kit holds, for going home with it: the latest, or the one before as long as
// prepare has only begun and loaded nothing. The error is ErrNoSnapshot when there is none, or when its prepare has
// not come to its end.
func (k *Kit) readyTrip(ctx context.Context) (*trip, error) {
	t, err := k.presentTrip(ctx)
	if err != nil {
		return nil, err
	}
	if t.state != tripReady && t.state != tripClosed {
		err := WithHint(fmt.Errorf("%w: trip %s was not prepared to its end", ErrNoSnapshot, t.id), "fieldkit prepare goes on with it")
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// factOvertaken is set on a trip of which prepare took central's data before reconcile changed them there.
const factOvertaken = "overtaken"

// overtake notes that what a later prepare than the trip's has taken is out of date: what reconcile brings home now
// is not in it.
func (k *Kit) overtake(ctx context.Context, t *trip) error {
	latest, err := k.latestTrip(ctx)
	if err != nil {
		return err
	}
	if latest.id != t.id {
		err = latest.journal.SetFact(ctx, factOvertaken, t.id)
	}
	return errors.Join(err, latest.close())
}

func (k *Kit) openTrip(ctx context.Context, id string) (*trip, error) {
	t := &trip{id: id, dir: k.tripDir(id)}
	j, err := journal.OpenFile(ctx, t.file(journalName))
	if err != nil {
		return nil, err
	}
	j.Watch(k.options.JournalWrite)
	t.journal = j
	if t.state, err = j.Fact(ctx, factState); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return t, nil
}

// newTrip makes the folder and the journal of a new trip. Its id is the date and a number that never falls
// behind an earlier trip's, whatever the clock says. It is not begun until it has a state: whoever takes over
// changes of an earlier trip writes them first.
func (k *Kit) newTrip(ctx context.Context) (*trip, error) {
	ids, err := k.trips()
	if err != nil {
		return nil, err
	}
	date, number := k.options.Now().Format("2006-01-02"), 1
	if len(ids) > 0 {
		last, lastNumber := splitTripID(ids[len(ids)-1])
		if date <= last {
			date, number = last, lastNumber+1
		}
	}
	id := fmt.Sprintf("%s-%d", date, number)
	if err := makePrivate(filepath.Join(k.dir, tripsDir)); err != nil {
		return nil, err
	}
	if err := makePrivate(k.tripDir(id)); err != nil {
		return nil, err
	}
	return k.openTrip(ctx, id)
}
