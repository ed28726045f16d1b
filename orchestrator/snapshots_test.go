package orchestrator_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestReceiptProves prepares the same content twice and other content once: the sums are alike, and then not. The receipt
// lies in the trip's folder for its owner alone.
func TestReceiptProves(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	first := w.prepare()
	if first.Checksum.Records == "" || first.Checksum.Metadata == "" || first.Bytes == 0 {
		t.Fatalf("the receipt proves nothing: %s", asJSON(first.PrepareProof))
	}
	path := filepath.Join(w.kitDir, "trips", first.Trip, "receipt.json")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", path, info.Mode())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var kept orchestrator.PrepareReceipt
	if err := json.Unmarshal(content, &kept); err != nil {
		t.Fatal(err)
	}
	if kept.Checksum != first.Checksum {
		t.Errorf("the file holds %+v, the run said %+v", kept.Checksum, first.Checksum)
	}
	again := w.prepare()
	if again.Checksum != first.Checksum {
		t.Errorf("the same content has other sums: %+v, then %+v", first.Checksum, again.Checksum)
	}
	w.meanwhileAtCentral()
	changed := w.prepare()
	if changed.Checksum.Records == first.Checksum.Records {
		t.Error("other content has the same sum")
	}
	if changed.Checksum.Metadata != first.Checksum.Metadata {
		t.Error("the sum of unchanged metadata changed")
	}
}
