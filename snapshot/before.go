package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strconv"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// before is the taken face of the trip before, from which what has not changed at central is copied.
type before struct {
	snapshot *Snapshot
	// view is what decided then what central showed, now what does today.
	view, now *view
	// gone are the org units that were in the scope and are not any more. What named one of them names another
	// unit now, and no time may say so: units are merged in the database.
	gone map[string]bool
	seed maphash.Seed
	// ties are the ends at which relationships of then are shown, sorted by uid.
	ties []tie
	// kept tells of each relationship of then, in their order, whether a record that shows it was copied since the
	// last clear.
	kept []bool
	// usernames are people's names at central now, by uid, as far as they were asked for; empty for who is not there.
	usernames map[string]string
}

// tie is one end of a relationship at which it is shown.
type tie struct {
	end [11]byte
	// hash is of the relationship's uid, and 0 at a tracked entity, whose own time says when it gets or loses one.
	hash uint64
	// number is the relationship's, in the order in which the snapshot holds them.
	number uint32
}

// openBefore prepares for copying; nil where there is nothing to copy from. Every file is held against its sum first, so
// that a damage does not show when half of a stream is copied.
func openBefore(ctx context.Context, s *Snapshot, now *view) (*before, error) {
	if s == nil || !s.manifest.Finished(Taken) {
		return nil, nil
	}
	for _, part := range s.manifest.Faces[Taken].Parts {
		if err := verifyStored(s.directory, part); err != nil {
			return nil, err
		}
	}
	then, err := viewOf(s)
	if err != nil || then == nil {
		return nil, err
	}
	b := &before{snapshot: s, view: then, now: now, gone: map[string]bool{}, seed: maphash.MakeSeed(), usernames: map[string]string{}}
	for _, unit := range then.Units {
		if _, still := slices.BinarySearch(now.Units, unit); !still {
			b.gone[unit] = true
		}
	}
	if err := b.readTies(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// serves tells whether a stream can be copied from.
func (b *before) serves(subject Subject) bool { return b != nil && b.now.alike(b.view, subject) }

func (b *before) parts(kind Kind, subject Subject) []Part {
	return slices.DeleteFunc(b.snapshot.manifest.Parts(Taken, kind), func(part Part) bool { return part.Subject != subject })
}

// relationships are those of then, in an order that stays.
func (b *before) relationships(ctx context.Context) iter.Seq2[*dhis2api.Relationship, error] {
	return func(yield func(*dhis2api.Relationship, error) bool) {
		for _, part := range b.snapshot.manifest.Parts(Taken, Relationships) {
			for r, err := range b.snapshot.Relationships(ctx, part) {
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}

func (b *before) readTies(ctx context.Context) error {
	for r, err := range b.relationships(ctx) {
		if err != nil {
			return err
		}
		number := uint32(len(b.kept))
		b.kept = append(b.kept, false)
		ends := []*dhis2api.RelationshipItem{r.From}
		if r.Bidirectional {
			ends = append(ends, r.To)
		}
		for _, end := range ends {
			kind, uid := end.Ref()
			if len(uid) != 11 {
				continue
			}
			t := tie{end: [11]byte([]byte(uid)), number: number}
			if kind != dhis2api.KindTrackedEntity {
				t.hash = b.hash("r", r.Relationship)
			}
			b.ties = append(b.ties, t)
		}
	}
	slices.SortFunc(b.ties, func(x, y tie) int { return bytes.Compare(x.end[:], y.end[:]) })
	return nil
}

// at are the ties of an object.
func (b *before) at(uid string) []tie {
	if len(uid) != 11 || len(b.ties) == 0 {
		return nil
	}
	end := [11]byte([]byte(uid))
	from, _ := slices.BinarySearchFunc(b.ties, end, func(t tie, end [11]byte) int { return bytes.Compare(t.end[:], end[:]) })
	to := from
	for to < len(b.ties) && b.ties[to].end == end {
		to++
	}
	return b.ties[from:to]
}

func (b *before) hash(kind, text string) uint64 { return maphash.String(b.seed, kind+text) }

// mark is what tells one state of a record from another: two sums of hashes, which do not depend on order. base is
// of the times, the owners and the number of notes, ties of the relationships that begin below.
type mark struct{ base, ties uint64 }

// markOf is the mark of a tracked entity, or of as much of it as a list shows. See Take for what it is made of. With
// detached the relationships are not in it any more, but those of then.
func (b *before) markOf(t *dhis2api.TrackedEntity, detached bool) mark {
	m := mark{base: b.hash("t", t.UpdatedAt)}
	notes := 0
	for _, owner := range t.ProgramOwners {
		m.base += b.hash("o", owner.OrgUnit)
	}
	for _, enrollment := range t.Enrollments {
		notes += len(enrollment.Notes)
		m.ties += b.tiesOf(enrollment.Enrollment, enrollment.Relationships, detached)
		for _, event := range enrollment.Events {
			notes += len(event.Notes)
			m.ties += b.tiesOf(event.Event, event.Relationships, detached)
		}
	}
	m.base += b.hash("n", strconv.Itoa(notes))
	return m
}

// markOfEvent is the same of an event without registration.
func (b *before) markOfEvent(e *dhis2api.Event, detached bool) mark {
	m := mark{base: b.hash("t", e.UpdatedAt) + b.hash("n", strconv.Itoa(len(e.Notes)))}
	m.ties = b.tiesOf(e.Event, e.Relationships, detached)
	return m
}

func (b *before) tiesOf(uid string, shown []*dhis2api.Relationship, detached bool) (sum uint64) {
	if detached {
		for _, tie := range b.at(uid) {
			sum += tie.hash
		}
		return sum
	}
	for _, r := range shown {
		sum += b.hash("r", r.Relationship)
	}
	return sum
}

// keepTies notes that a record was copied, and with it its relationships.
func (b *before) keepTies(uids iter.Seq[string]) {
	for uid := range uids {
		for _, tie := range b.at(uid) {
			b.kept[tie.number] = true
		}
	}
}

// keptTies are the relationships noted; it forgets the notes.
func (b *before) keptTies(ctx context.Context) iter.Seq2[*dhis2api.Relationship, error] {
	return func(yield func(*dhis2api.Relationship, error) bool) {
		if !slices.Contains(b.kept, true) {
			return
		}
		number := 0
		for r, err := range b.relationships(ctx) {
			if err != nil || b.kept[number] {
				if !yield(r, err) || err != nil {
					return
				}
			}
			number++
		}
		clear(b.kept)
	}
}

// current tells whether a record of then is shown today with the same content, given that its mark is the same: it
// names no org unit that is gone, and those to whom its events are assigned have kept their names.
func (t *taking) current(ctx context.Context, units, people iter.Seq[string]) (bool, error) {
	for unit := range units {
		if t.before.gone[unit] {
			return false, nil
		}
	}
	for person := range people {
		uid, name := person[:11], person[11:]
		if _, asked := t.before.usernames[uid]; !asked {
			if err := t.askName(ctx, uid); err != nil {
				return false, err
			}
		}
		if t.before.usernames[uid] != name {
			return false, nil
		}
	}
	return true, nil
}

// askName asks central how somebody is called now.
func (t *taking) askName(ctx context.Context, uid string) error {
	query := dhis2api.ListQuery{Fields: "id,username", Filters: []string{"id:eq:" + uid}}
	t.before.usernames[uid] = ""
	for user, err := range dhis2api.ListAs[struct{ ID, Username string }](ctx, t.client, "users", query) {
		if isDenied(err) {
			return nil // whoever has events assigned to somebody is asked for then
		}
		if err != nil {
			return fmt.Errorf("user %s: %w", uid, err)
		}
		t.before.usernames[uid] = user.Username
	}
	return nil
}

// belowEntity are the uids of a tracked entity, its enrollments and their events.
func belowEntity(t *dhis2api.TrackedEntity) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(t.TrackedEntity) {
			return
		}
		for _, enrollment := range t.Enrollments {
			if !yield(enrollment.Enrollment) {
				return
			}
			for _, event := range enrollment.Events {
				if !yield(event.Event) {
					return
				}
			}
		}
	}
}

// unitsNamed are the org units at which a tracked entity and all below it belong.
func unitsNamed(t *dhis2api.TrackedEntity) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(t.OrgUnit) {
			return
		}
		for _, owner := range t.ProgramOwners {
			if !yield(owner.OrgUnit) {
				return
			}
		}
		for _, enrollment := range t.Enrollments {
			if !yield(enrollment.OrgUnit) {
				return
			}
			for _, event := range enrollment.Events {
				if !yield(event.OrgUnit) {
					return
				}
			}
		}
	}
}

// assignedIn are those to whom events are assigned, each as the uid and the name behind it.
func assignedIn(events ...*dhis2api.Event) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, event := range events {
			if who := event.AssignedUser; who != nil && len(who.UID) == 11 && !yield(who.UID+who.Username) {
				return
			}
		}
	}
}

func eventsBelow(t *dhis2api.TrackedEntity) []*dhis2api.Event {
	var events []*dhis2api.Event
	for _, enrollment := range t.Enrollments {
		events = append(events, enrollment.Events...)
	}
	return events
}
