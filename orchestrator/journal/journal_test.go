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

// TestTogether: what is done together is read within it, and is on the disk as a whole or not at all, also where somebody
// passes over the error of a part.
func TestTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path)
	put := func(uid string) error {
		return j.Update(t.Context(), func(tx *journal.Tx) error { return tx.Put(change(uid, "phone", journal.Open)) })
	}
	failure := errors.New("the part goes wrong")
	for name, part := range map[string]func() error{
		"an error":            func() error { return failure },
		"one that is ignored": func() error { _ = j.Update(t.Context(), func(*journal.Tx) error { return failure }); return nil },
	} {
		err := j.Together(t.Context(), func() error {
			if err := put("p1"); err != nil {
				return err
			}
			if n := len(all(t, j)); n != 1 {
				t.Errorf("%s: %d changes are seen within, want 1", name, n)
			}
			return part()
		})
		if !errors.Is(err, failure) || len(all(t, j)) > 0 {
			t.Errorf("%s: error %v, %d changes are kept", name, err, len(all(t, j)))
		}
	}
	err := j.Together(t.Context(), func() error {
		return j.Together(t.Context(), func() error { return errors.Join(put("p1"), put("p2")) })
	})
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	j = open(t, path)
	defer j.Close()
	if n := len(all(t, j)); n != 2 {
		t.Errorf("%d changes are on the disk, want 2", n)
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

// TestConflictsAndDecisions: a conflict has one number as long as it is what was shown, and never another one's; a
// decision ends once.
func TestConflictsAndDecisions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j := open(t, path)
	show := func(c journal.Change) {
		t.Helper()
		err := j.Update(t.Context(), func(tx *journal.Tx) error {
			return tx.Show(c, journal.Edit{By: "ana", At: "2026-11-24T10:00:00.000"}, journal.Edit{})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	phone, town := change("p1", "phone", journal.Conflict), change("p1", "town", journal.Conflict)
	number := func(c journal.Change) int {
		t.Helper()
		last, known, err := j.LastShown(t.Context(), c.Ref, c.Field)
		if err != nil || !known || !last.Of(c) || last.OnKit.By != "ana" {
			t.Fatalf("shown last: %+v, %v", last, err)
		}
		return last.Number
	}
	show(phone)
	show(town)
	show(phone)
	if number(phone) != 1 || number(town) != 2 {
		t.Errorf("numbers %d and %d, want 1 and 2", number(phone), number(town))
	}
	phone.Central = "3"
	show(phone)
	if number(phone) != 3 {
		t.Errorf("central moved on, and the number is %d", number(phone))
	}
	phone.Central = "1"
	show(phone)
	if number(phone) != 4 {
		t.Errorf("a number was given again: %d", number(phone))
	}

	first, _, err := j.Shown(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	decision := journal.Decision{Shown: first, Choice: "local", Who: "maria", At: time.Unix(1, 5).UTC()}
	other := decision
	other.Choice, other.Value = "value", "7"
	err = j.Update(t.Context(), func(tx *journal.Tx) error {
		return errors.Join(tx.Decide(decision), tx.Decide(other),
			tx.EndDecision(town.Ref, "town", journal.CarriedOut, ""), tx.EndDecision(phone.Ref, "phone", journal.NotApplied, "moved"),
			tx.EndDecision(phone.Ref, "phone", journal.CarriedOut, "")) // it has ended
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, path)
	defer j.Close()
	decision.Outcome, other.Outcome, other.Reason = journal.Replaced, journal.NotApplied, "moved"
	got, err := j.Decisions(t.Context())
	if diff := cmp.Diff([]journal.Decision{decision, other}, got); err != nil || diff != "" {
		t.Errorf("decisions, %v (-want +got):\n%s", err, diff)
	}
	if _, known, err := j.Shown(t.Context(), 5); known || err != nil {
		t.Errorf("a number that was never given is known: %v", err)
	}

	// Carried on, numbers stay, and the next one follows them.
	next := open(t, filepath.Join(t.TempDir(), "journal.db"))
	defer next.Close()
	shown, err := j.AllShown(t.Context())
	if err != nil || len(shown) != 4 {
		t.Fatalf("%d conflicts, %v", len(shown), err)
	}
	for range 2 { // a crash between may have it done again
		err := next.Update(t.Context(), func(tx *journal.Tx) error {
			for _, s := range shown {
				if err := tx.PutShown(s); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	j = next
	show(phone)
	town.Local = "9"
	show(town)
	if number(phone) != 4 || number(town) != 5 {
		t.Errorf("on the next trip the numbers are %d and %d, want 4 and 5", number(phone), number(town))
	}
}
