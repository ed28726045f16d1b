package orchestrator_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// keys are where the world's keys are.
func (w *world) keys() orchestrator.OpenOptions {
	return orchestrator.OpenOptions{Getenv: w.getenv, ConfigDirectory: filepath.Join(w.kitDir, ".config", "fieldkit")}
}

// heldIn reads a file with held changes: the values that the kit has of the changes, and the entries by their names.
func (w *world) heldIn(path string) (*orchestrator.HeldFile, map[string]string, map[string]string) {
	w.t.Helper()
	changes, entries := map[string]string{}, map[string]string{}
	file, err := orchestrator.ReadHeld(w.t.Context(), w.keys(), path, func(name string, content io.Reader) error {
		read, err := io.ReadAll(content)
		entries[name] = string(read)
		if !strings.HasPrefix(name, "changes/") {
			return err
		}
		for lines := bufio.NewScanner(bytes.NewReader(read)); lines.Scan(); {
			var change struct{ Kind, UID, Field, Base, Local, Central string }
			if err := json.Unmarshal(lines.Bytes(), &change); err != nil {
				return err
			}
			changes[change.UID+" "+change.Field] = change.Base + ", " + change.Local + ", " + change.Central
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return file, changes, entries
}

// TestHeldIsKept: what is held lies beside the journal too, encrypted, with base, both sides, the kit's records and the
// photograph; once it is decided the file is gone.
func TestHeldIsKept(t *testing.T) {
	_, _, w := pair(t, "2.42.5.2")
	w.inTheField()
	w.upload(w.local, "kit's", "image/png", picture(3))
	w.upload(w.central, "central's", "image/png", picture(4))
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "photo", w.id("kit's")), w.changed("Ana", "phone", "6111-0001")}}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "photo", w.id("central's")), w.changed("Ana", "phone", "6222-0001")}}, "")
	r := w.reconcile(false)
	path := filepath.Join(w.kitDir, "trips", r.Trip, "held.tar.zst.age")
	file, changes, entries := w.heldIn(path)
	if file.Sums.Changes != 2 || file.Sums.Records != 2 || file.Sums.Files != 1 || file.From.Trip != r.Trip || file.From.JournalHash != r.JournalHash {
		t.Errorf("the file says %+v of journal %s", file, r.JournalHash)
	}
	if got, want := changes[w.id("Ana")+" "+w.id("phone")], "6000-0001, 6111-0001, 6222-0001"; got != want {
		t.Errorf("of Ana's phone it has %q, want %q", got, want)
	}
	if got := entries["files/"+w.id("kit's")]; got != string(picture(3)) {
		t.Errorf("of the photograph it has %d bytes, want %d", len(got), len(picture(3)))
	}
	for _, text := range []string{w.id("Ana"), w.id("Ana's first visit"), "6111-0001", "61.5"} {
		if !strings.Contains(entries["records/000001.jsonl"], text) {
			t.Errorf("the kit's records do not name %s", text)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil || bytes.Contains(stored, []byte("6111")) {
		t.Errorf("it lies in the clear, or %v", err)
	}

	outside := filepath.Join(t.TempDir(), "held")
	export := func(to string) (*orchestrator.HeldFile, error) {
		kit := w.open()
		defer kit.Close()
		return kit.ExportHeld(t.Context(), orchestrator.ExportHeldOptions{To: to, Who: "nilda"})
	}
	if _, err := export(filepath.Join(w.kitDir, "held")); !errors.Is(err, orchestrator.ErrUsage) {
		t.Errorf("into the kit: %v", err)
	}
	exported, err := export(outside)
	if err != nil || exported.Sums.Changes != 2 || exported.From.Who != "nilda" {
		t.Errorf("exported %+v, %v", exported, err)
	}
	told := func(when string, r *report.Report, want bool) {
		t.Helper()
		if there := r.Exported != nil && r.Exported.Path == outside && r.Exported.By == "nilda" && r.Exported.SHA256 == exported.SHA256; there != want {
			t.Errorf("%s the report says that it was exported: %+v, want %v", when, r.Exported, want)
		}
	}
	told("before it was,", r, false)
	last, err := report.Read(filepath.Join(w.kitDir, "trips", r.Trip))
	if err != nil {
		t.Fatal(err)
	}
	told("after it was,", last, true)
	told("in the next run", w.reconcile(false), true)
	cut, err := os.ReadFile(outside)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside, cut[:len(cut)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := orchestrator.ReadHeld(t.Context(), w.keys(), outside, nil); !errors.Is(err, orchestrator.ErrDamaged) {
		t.Errorf("cut short: %v", err)
	}
	told("with the file cut short", w.reconcile(false), false)

	decided := w.decisions(map[int]string{w.conflict(r, "Berta", "photo"): "local", w.conflict(r, "Ana", "phone"): "central"})
	if _, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: decided, Who: "maria"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing is held, and the file is still there: %v", err)
	}
	if _, err := export(outside); !errors.Is(err, orchestrator.ErrUsage) {
		t.Errorf("with nothing held: %v", err)
	}
}
