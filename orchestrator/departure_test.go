package orchestrator

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// TestDeparture: what prepare could not bring along stands in the report of reconcile.
func TestDeparture(t *testing.T) {
	j, err := journal.OpenFile(t.Context(), filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	result := report.New()
	if err := addDeparture(t.Context(), j, result); err != nil || result.NotLoaded != nil || result.Warnings != nil {
		t.Errorf("without a receipt: %v, %v, %v", result.NotLoaded, result.Warnings, err)
	}
	receipt, err := json.Marshal(PrepareReceipt{
		Warnings: []string{"a list is incomplete"},
		Load: &snapshot.LoadReceipt{
			Refused: []snapshot.Refusal{{Kind: merge.TrackedEntity, UID: "Pa000000001", Code: "E1007", Reason: "a value does not fit"}},
			Omitted: []snapshot.Omission{{
				Kind: merge.Event, UID: "Ev000000001", Field: "assignedUser", Reason: "nobody of that name",
				Whose: snapshot.Whose{Person: "Pa000000001", OrgUnit: "Ou000000001", Date: "2026-05-04"},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.SetFact(t.Context(), factReceipt, string(receipt)); err != nil {
		t.Fatal(err)
	}
	if err := addDeparture(t.Context(), j, result); err != nil {
		t.Fatal(err)
	}
	want := []report.Refusal{
		{Reference: report.Reference{Kind: "trackedEntity", UID: "Pa000000001"}, Code: "E1007", Reason: "a value does not fit"},
		{Reference: report.Reference{Kind: "event", UID: "Ev000000001", Person: "Pa000000001"}, Field: "assignedUser", Reason: "nobody of that name (org unit Ou000000001, 2026-05-04)"},
	}
	if diff := cmp.Diff(want, result.NotLoaded); diff != "" {
		t.Errorf("not loaded (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"at prepare: a list is incomplete"}, result.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// TestRefusedParent: what central does not name, below something that it refused, waits; else it was dropped in
// silence.
func TestRefusedParent(t *testing.T) {
	event, enrollment := merge.Ref{Kind: merge.Event, UID: "Ev000000001"}, merge.Ref{Kind: merge.Enrollment, UID: "En000000001"}
	a := &answer{refusals: map[merge.Ref]refusal{enrollment: {state: journal.Waiting, code: "E5000"}}}
	if got := a.refused(event, enrollment); got.state != journal.Waiting || got.reason != "waits for enrollment En000000001, which central did not take" {
		t.Errorf("below a refused enrollment: %+v", got)
	}
	if got := a.refused(event, merge.Ref{}); got.state != journal.Refused || got.code != codeSilent {
		t.Errorf("below nothing: %+v", got)
	}
}
