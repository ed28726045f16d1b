package orchestrator

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// TestNumberProof gives people on the kit numbers of its own, one that is not, and one twice.
func TestNumberProof(t *testing.T) {
	const attribute = "aNumberAtt1"
	held := &numbers.Reservations{Attributes: []*numbers.Attribute{{UID: attribute, Pattern: `"FD-"+SEQUENTIAL(###)`, Kind: numbers.Sequential,
		Keys: []*numbers.Key{{Key: "FD-SEQUENTIAL(###)", Blocks: []numbers.Block{{First: 101, Last: 200}}}}}}}
	out := &trip{dir: t.TempDir()}
	if err := held.Write(out.file(numbers.FileName)); err != nil {
		t.Fatal(err)
	}
	proof, err := newNumberProof(out)
	if err != nil {
		t.Fatal(err)
	}
	loaded, local := map[root]merge.Face{}, map[root]merge.Face{}
	person := func(uid, before, now string) {
		r, ref := root{kind: rootPerson, uid: uid}, merge.Ref{Kind: merge.TrackedEntity, UID: uid}
		face := func(value string) merge.Face {
			return merge.Face{Objects: map[merge.Ref]merge.Object{ref: {Ref: ref, Fields: map[string]string{attribute: value}}}}
		}
		loaded[r], local[r] = face(before), face(now)
	}
	person("fromCentral", "FD-007", "FD-007")
	person("withItsOwn1", "", "FD-101")
	person("withItsOwn2", "", "FD-200")
	person("withAnothr1", "", "FD-201")
	proof.note(loaded, local)
	loaded, local = map[root]merge.Face{}, map[root]merge.Face{}
	person("withTheSame", "FD-008", "FD-101")
	proof.note(loaded, local)
	var result report.Report
	proof.report(&result)
	want := &report.Numbers{
		Checked: 4, Outside: []report.Number{{Attribute: attribute, TrackedEntity: "withAnothr1"}},
		Twice: []report.Number{{Attribute: attribute, TrackedEntity: "withTheSame", Other: "withItsOwn1"}},
	}
	if diff := cmp.Diff(want, result.Numbers); diff != "" {
		t.Error(diff)
	}
	if len(result.Warnings) != 2 {
		t.Errorf("warnings: %q", result.Warnings)
	}
}
