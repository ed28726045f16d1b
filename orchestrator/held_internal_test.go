package orchestrator

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// TestExportedAway: what is not home may be deleted from the kit only while all of it lies, as it is, in a file elsewhere.
func TestExportedAway(t *testing.T) {
	ctx := t.Context()
	k := &Kit{dir: t.TempDir(), config: &Config{}, options: OpenOptions{Now: func() time.Time { return time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC) }}}
	trip, err := k.newTrip(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer trip.close()
	put := func(uid string, state journal.State) {
		t.Helper()
		change := journal.Change{Change: merge.Change{Ref: merge.Ref{Kind: merge.TrackedEntity, UID: uid}, Verb: merge.Create}, Root: "person:" + uid, State: state}
		if err := trip.journal.Update(ctx, func(tx *journal.Tx) error { return tx.Put(change) }); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, want bool) {
		t.Helper()
		if file, err := trip.exported(ctx); err != nil || (file != nil) != want {
			t.Errorf("%s: exported %v, want %v; %v", when, file, want, err)
		}
	}
	put("Pa000000001", journal.Conflict)
	expect("never exported", false)
	path := filepath.Join(t.TempDir(), "held")
	export := func() {
		t.Helper()
		if err := os.WriteFile(path, []byte("sealed"), 0o600); err != nil {
			t.Fatal(err)
		}
		receipt := heldReceipt{Path: path}
		if receipt.SHA256, err = sumOf(path); err != nil {
			t.Fatal(err)
		}
		if receipt.JournalHash, err = trip.journal.Hash(ctx); err != nil {
			t.Fatal(err)
		}
		kept, err := json.Marshal(receipt)
		if err != nil {
			t.Fatal(err)
		}
		if err := trip.journal.SetFact(ctx, factExported, string(kept)); err != nil {
			t.Fatal(err)
		}
	}
	export()
	expect("exported", true)
	if err := os.WriteFile(path, []byte("seal"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("the file was altered", false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("the file is gone", false)
	export()
	put("Pa000000002", journal.Refused)
	expect("more is held", false)
	export()
	expect("exported again", true)
	put("Pa000000003", journal.Open)
	export()
	expect("something is open", false)
}
