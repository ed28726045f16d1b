package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// arrived looks for what tablets sent while the kit was loaded and read back. It is in the loaded face, so it would
// be taken for what the trip began with, and never come home. It is found by what a load can do: leave what stood
// on the kit, or put there what was taken. Anything else in the loaded face came from a tablet: a third value, an
// object that was neither there nor taken, or one that was both and is gone. Those become changes of the new trip,
// with what stood there or was taken as their base.
//
// What cannot be found is a value that a tablet sent in the moments between the look at the kit and the load of
// its record, and that the load then wrote over. Where fieldkit runs the kit's server itself nobody reaches it
// meanwhile; where the owner does, tablets should be kept away while prepare loads.
func (p *preparation) arrived(ctx context.Context, taken, loaded *index) error {
	if p.kit.ownStack() {
		return nil
	}
	before, err := p.earlier(ctx)
	if err != nil || before == nil {
		return err
	}
	a := &arrivals{preparation: p, before: before, taken: taken, loaded: loaded, form: snapshot.CanonicalOf(p.local)}
	err = a.find(ctx)
	if p.receipt.Arrived > 0 {
		p.kit.options.Progress.Note(fmt.Sprintf("%d changes reached the kit while it was loaded; they travel on", p.receipt.Arrived))
	}
	return err
}

// arrivals is one search for what arrived.
type arrivals struct {
	*preparation
	before        *past
	taken, loaded *index
	form          snapshot.Canonical
	// carried are the objects that were left as they are on the kit: changes of theirs are found as ever.
	carried map[merge.Ref]bool
}

func (a *arrivals) find(ctx context.Context) error {
	var err error
	if a.carried, err = carriedRefs(ctx, a.trip.journal); err != nil {
		return err
	}
	suspects := map[root]bool{}
	err = errors.Join(a.loaded.against(ctx, a.taken, func(d difference) error {
		suspects[d.root] = true
		return nil
	}), a.taken.against(ctx, a.loaded, func(d difference) error {
		if d.missing && d.subject != tiesSubject {
			suspects[d.root] = true
		}
		return nil
	}))
	if err != nil {
		return err
	}
	maps.DeleteFunc(suspects, func(r root, _ bool) bool { return a.carried[rootRef(r)] })
	if len(suspects) == 0 {
		return nil
	}
	for batch := range slices.Chunk(slices.Collect(maps.Keys(suspects)), batchRoots) {
		if err := a.judge(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// judge looks at the faces of some roots.
func (a *arrivals) judge(ctx context.Context, roots []root) error {
	taken, err := a.taken.faces(ctx, roots)
	if err != nil {
		return wrongKey(err)
	}
	loaded, err := a.loaded.faces(ctx, roots)
	if err != nil {
		return wrongKey(err)
	}
	stood, err := a.before.stood.faces(ctx, roots)
	if err != nil {
		return wrongKey(err)
	}
	rows, err := rowsUnder(ctx, a.before.trip.journal, roots)
	if err != nil {
		return err
	}
	for _, r := range roots {
		was, err := a.before.asLeft(ctx, merge.Record{Loaded: stood[r], Local: loaded[r]}, rows[r])
		if err != nil {
			return err
		}
		record := merge.Record{Taken: taken[r], Loaded: a.expected(was, taken[r], loaded[r], rows[r]), Local: loaded[r], Central: taken[r]}
		if err := a.file(ctx, r, record); err != nil {
			return err
		}
	}
	return nil
}

// expected is what the load alone could have left, chosen as near to what there is as can be.
func (a *arrivals) expected(was, taken, now merge.Face, rows []journal.Change) merge.Face {
	known := map[changeKey]bool{} // what the trip before found and did not bring home by rule
	for _, row := range rows {
		known[changeKey{row.Ref, row.Field}] = row.State == journal.OutOfScope
	}
	expected := merge.Face{Objects: map[merge.Ref]merge.Object{}}
	for ref, object := range now.Objects {
		stood, there := was.Objects[ref]
		given, come := taken.Objects[ref]
		switch {
		case a.carried[ref], known[changeKey{ref, ""}], come && !there:
			// How a server keeps a new object is its own affair, and no tablet has seen it yet.
			expected.Objects[ref] = object
		case there:
			object.Fields = expectedFields(stood.Fields, given.Fields, object.Fields, func(field string) bool { return known[changeKey{ref, field}] })
			expected.Objects[ref] = object
		}
	}
	for ref, stood := range was.Objects {
		given, come := taken.Objects[ref]
		if _, still := now.Objects[ref]; still || !come || a.carried[ref] {
			continue
		}
		stood.Fields = maps.Clone(stood.Fields)
		maps.Copy(stood.Fields, given.Fields)
		expected.Objects[ref] = stood
	}
	return expected
}

// expectedFields takes every value that stood there or was taken as it is, and what was taken, or else stood
// there, instead of any other. A time of completion alone is no sign: servers set it themselves.
func expectedFields(stood, taken, now map[string]string, known func(string) bool) map[string]string {
	fields := maps.Clone(now)
	for _, field := range slices.Concat(fieldsOf(stood, taken), fieldsOf(now, nil)) {
		value := now[field]
		if value == stood[field] || value == taken[field] || known(field) || field == merge.FieldCompletedAt {
			continue
		}
		if taken[field] != "" {
			fields[field] = taken[field]
		} else if stood[field] != "" {
			fields[field] = stood[field]
		} else {
			delete(fields, field)
		}
	}
	return fields
}

// file makes what arrived changes of the new trip, each with its base.
func (a *arrivals) file(ctx context.Context, r root, record merge.Record) error {
	changes := merge.Compare(record, rulesOf(a.scope))
	if len(changes) == 0 {
		return nil
	}
	a.receipt.Arrived += len(changes)
	return a.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for _, change := range changes {
			if err := tx.Put(journal.Change{Change: change, Root: r.String(), State: journal.Open}); err != nil {
				return err
			}
			if change.Verb == merge.Update && change.Field != "" {
				loaded, taken := record.Loaded.Objects[change.Ref], record.Taken.Objects[change.Ref]
				if err := tx.SetBase(baseOf(change.Ref, change.Field, loaded, taken)); err != nil {
					return err
				}
			}
		}
		for ref := range record.Local.Objects {
			if _, expected := record.Loaded.Objects[ref]; !expected {
				if err := tx.SetBase(merge.Base{Ref: ref}); err != nil {
					return err
				}
			}
		}
		for ref, loaded := range record.Loaded.Objects {
			if _, still := record.Local.Objects[ref]; still {
				continue
			}
			if err := tx.SetBase(merge.Base{Ref: ref, TakenPresent: true, LoadedPresent: true}); err != nil {
				return err
			}
			for field := range loaded.Fields {
				if err := tx.SetBase(baseOf(ref, field, loaded, record.Taken.Objects[ref])); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
