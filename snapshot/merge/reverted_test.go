package merge_test

import (
	"maps"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// TestNothingReverted: with nobody to decide otherwise, what only central created or changed is at central as it was
// once all pushes have arrived, and what central deleted stays deleted. Only a field that never travels is not looked at
// before its object is deleted.
func TestNothingReverted(t *testing.T) {
	each(t, func(t *testing.T, w world, record merge.Record, rules merge.Rules) {
		if w.wild {
			return
		}
		rules.Decide = nil
		after := arrived(record, merge.Compare(record, rules)).Central
		for ref, central := range record.Central.Objects {
			taken, local, loaded := record.Taken.Objects[ref], record.Local.Objects[ref], record.Loaded.Objects[ref]
			fields := maps.Clone(central.Fields)
			maps.Copy(fields, taken.Fields)
			for field := range fields {
				onlyCentral := central.Fields[field] != taken.Fields[field] && local.Fields[field] == loaded.Fields[field]
				_, stands := after.Objects[ref]
				if unseen := !stands && rules.Skip != nil && rules.Skip(central, field); onlyCentral && !unseen && after.Objects[ref].Fields[field] != central.Fields[field] {
					t.Errorf("%s of %v was %q at central and became %q", field, ref, central.Fields[field], after.Objects[ref].Fields[field])
				}
			}
		}
		for ref := range record.Central.Deleted {
			if _, back := after.Objects[ref]; back {
				t.Errorf("%v was deleted at central, and is back", ref)
			}
		}
	})
}

// TestStoppedHalfway: a run that stops after any of its pushes, in whatever order they went, leaves a record whose next
// run ends where one run would have ended.
func TestStoppedHalfway(t *testing.T) {
	each(t, func(t *testing.T, w world, record merge.Record, rules merge.Rules) {
		if w.wild {
			return
		}
		rules.Decide = nil
		changes := merge.Compare(record, rules)
		whole := arrived(record, changes).Central

		var some []merge.Change
		for _, i := range w.Perm(len(changes)) {
			change := changes[i]
			_, parentThere := record.Central.Objects[record.Local.Objects[change.Ref].Parent]
			if change.Verdict == merge.Push && (change.Verb != merge.Create || parentThere) && w.IntN(2) == 0 {
				some = append(some, change)
			}
		}
		half := merge.Overlay(arrived(record, some), pushed(record, some, rules))
		got := arrived(half, merge.Compare(half, rules)).Central
		want, have := show(merge.Record{Central: whole}), show(merge.Record{Central: got})
		if want != have {
			t.Errorf("at central after one run:\n%s\nafter one that stopped:\n%s", want, have)
		}
	})
}
