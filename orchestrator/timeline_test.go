package orchestrator_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestTimeline plans, reconciles and signs off: the report says each, in order, with how the trip stood.
func TestTimeline(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	w.reconcile(true)
	again := w.reconcile(false)
	kit := w.open()
	signed, err := kit.SignOff(t.Context(), orchestrator.SignOffOptions{Who: "maria", Reason: "nobody knows"})
	if closing := kit.Close(); err != nil || closing != nil {
		t.Fatal(err, closing)
	}
	expectPublishedForms(t, w.kitDir, signed.Trip)
	want := []report.Moment{
		{What: report.MomentPrepared},
		{What: report.MomentReconciled, Run: first.Run, Sums: &first.Sums},
		{What: report.MomentPlanned, Run: first.Run + 1, Sums: &first.Sums},
		{What: report.MomentReconciled, Run: again.Run, Sums: &again.Sums},
		{What: report.MomentSignedOff, By: "maria", Changes: signed.Sums.Held},
	}
	if diff := cmp.Diff(want, signed.Timeline, cmpopts.IgnoreFields(report.Moment{}, "At")); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
	for i, moment := range signed.Timeline {
		if moment.At.IsZero() || i > 0 && moment.At.Before(signed.Timeline[i-1].At) {
			t.Errorf("%s was at %v", moment.What, moment.At)
		}
	}
}

// TestEventsBothSidesEdited: the report names such an event's stage, date and unit, and what either side changed.
func TestEventsBothSidesEdited(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	want := []report.Merged{{
		Reference:    report.Reference{Kind: "event", UID: w.id("Delia's first visit"), Person: w.id("Delia")},
		ProgramStage: w.id("visit"), OccurredAt: "2026-05-04T09:00:00.000", OrgUnit: w.id("soloy"),
		OnKit:     []report.Edited{{Field: w.id("weight"), Before: "61.5", After: "111"}},
		AtCentral: []report.Edited{{Field: w.id("weight"), Before: "61.5", After: "222"}},
	}}
	unlabelled := cmp.Options{cmpopts.IgnoreFields(report.Merged{}, "ProgramStageLabel", "OrgUnitLabel"), cmpopts.IgnoreFields(report.Edited{}, "Label")}
	if diff := cmp.Diff(want, first.Merged, unlabelled); diff != "" {
		t.Fatalf("edited on both sides (-want +got):\n%s", diff)
	}
	if m := first.Merged[0]; m.ProgramStageLabel == "" || m.OrgUnitLabel == "" || m.OnKit[0].Label == "" || m.AtCentral[0].Label == "" {
		t.Errorf("names are missing: %+v", m)
	}
}
