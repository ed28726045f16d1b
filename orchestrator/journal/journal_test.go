package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

func open(t *testing.T, path string) *journal.Journal {
	t.Helper()
	j, err := journal.OpenFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func change(uid, field string, state journal.State) journal.Change {
	return journal.Change{
		Change: merge.Change{Ref: merge.Ref{Kind: merge.TrackedEntity, UID: uid}, Verb: merge.Update, Field: field, Base: "1", Local: "2", Central: "1"},
		Root:   "person:" + uid, State: state, Run: 1, Content: map[string]string{field: "2"},
	}
}

func all(t *testing.T, j *journal.Journal, states ...journal.State) []journal.Change {
	t.Helper()
	var changes []journal.Change
	for c, err := range j.Changes(t.Context(), states...) {
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, c)
	}
	return changes
}

// TestPut: a change is found again under its key with everything in it, keeps its number when its state changes,
// and survives closing the file, which nobody else can read.
func TestPut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path)
	first, second := change("p1", "phone", journal.Open), change("p2", "phone", journal.Conflict)
	put := func(c journal.Change) {
		t.Helper()
		if err := j.Update(t.Context(), func(tx *journal.Tx) error { return tx.Put(c) }); err != nil {
			t.Fatal(err)
		}
	}
	put(first)
	put(second)
	before, err := j.Hash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first.State = journal.Pushed
	put(first)
	if after, err := j.Hash(t.Context()); err != nil || after == before {
		t.Errorf("the hash stayed %s when a change's state did not (%v)", after, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the journal is %v, want 0600 (%v)", info.Mode(), err)
	}
	j = open(t, path)
	defer j.Close()
	first.Number, second.Number = 1, 2
	if d := cmp.Diff([]journal.Change{first, second}, all(t, j)); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]journal.Change{second}, all(t, j, journal.Conflict, journal.Refused)); d != "" {
		t.Errorf("changes of two states (-want +got):\n%s", d)
	}
	counts, err := j.Counts(t.Context())
	want := map[merge.Kind]map[journal.State]int{merge.TrackedEntity: {journal.Pushed: 1, journal.Conflict: 1}}
	if d := cmp.Diff(want, counts); err != nil || d != "" {
		t.Errorf("counts, %v (-want +got):\n%s", err, d)
	}
}

// TestUpdateIsWhole: when anything in an update fails, nothing of it is written.
func TestUpdateIsWhole(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"))
	defer j.Close()
	failure := errors.New("the third goes wrong")
	err := j.Update(t.Context(), func(tx *journal.Tx) error {
		if err := tx.Put(change("p1", "phone", journal.Sent)); err != nil {
			return err
		}
		if err := tx.SetBase(merge.Base{Ref: merge.Ref{Kind: merge.TrackedEntity, UID: "p1"}, Field: "phone"}); err != nil {
			return err
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Errorf("error %v, want %v", err, failure)
	}
	bases, err := j.Bases(t.Context(), merge.Ref{Kind: merge.TrackedEntity, UID: "p1"})
	if err != nil || len(bases) > 0 || len(all(t, j)) > 0 {
		t.Errorf("%d changes and %d bases are there, %v", len(all(t, j)), len(bases), err)
	}
}

// TestManyChanges: reading pages, and whoever reads may write between two changes.
func TestManyChanges(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"))
	defer j.Close()
	const many = 1234
	err := j.Update(t.Context(), func(tx *journal.Tx) error {
		for i := range many {
			if err := tx.Put(change(string(rune('a'+i%26))+string(rune('0'+i/26)), "phone", journal.Open)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for c, err := range j.Changes(t.Context(), journal.Open) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		c.State = journal.Pushed
		if err := j.Update(t.Context(), func(tx *journal.Tx) error { return tx.Put(c) }); err != nil {
			t.Fatal(err)
		}
	}
	if seen != many || len(all(t, j, journal.Open)) != 0 {
		t.Errorf("saw %d of %d changes, %d are still open", seen, many, len(all(t, j, journal.Open)))
	}
}

// TestBasesFactsAndRuns: each is read as it was last written.
func TestBasesFactsAndRuns(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.db"))
	defer j.Close()
	ref := merge.Ref{Kind: merge.Event, UID: "e1"}
	base := merge.Base{Ref: ref, Field: "status", Taken: "ACTIVE", Loaded: "COMPLETED", TakenPresent: true, LoadedPresent: true}
	err := j.Update(t.Context(), func(tx *journal.Tx) error {
		if err := tx.SetBase(merge.Base{Ref: ref, Field: "status"}); err != nil {
			return err
		}
		if err := tx.SetBase(base); err != nil {
			return err
		}
		if err := tx.Put(change("p1", "phone", journal.Open)); err != nil {
			return err
		}
		return tx.Withdraw(merge.Ref{Kind: merge.TrackedEntity, UID: "p1"}, "phone")
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := j.Bases(t.Context(), ref); err != nil || cmp.Diff([]merge.Base{base}, got) != "" {
		t.Errorf("bases %+v, %v", got, err)
	}
	if left := all(t, j); len(left) != 0 {
		t.Errorf("a withdrawn change is still there: %+v", left)
	}
	for _, value := range []string{"preparing", "ready"} {
		if err := j.SetFact(t.Context(), "state", value); err != nil {
			t.Fatal(err)
		}
		if got, err := j.Fact(t.Context(), "state"); err != nil || got != value {
			t.Errorf("fact %q, %v, want %q", got, err, value)
		}
	}
	for want := 1; want <= 2; want++ {
		if run, err := j.BeginRun(t.Context(), "reconcile", time.Unix(0, 0)); err != nil || run != want {
			t.Errorf("run %d, %v, want %d", run, err, want)
		}
	}
}
