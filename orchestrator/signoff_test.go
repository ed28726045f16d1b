package orchestrator_test

import (
	"errors"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestSignOff: what is held may be signed off, which closes the trip and sends nothing. It stays signed off over runs and
// trips, until a side of it changes.
func TestSignOff(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	signOff := func(reason string) (*report.Report, error) {
		kit := w.open()
		defer kit.Close()
		return kit.SignOff(t.Context(), orchestrator.SignOffOptions{Who: "nilda", Reason: reason})
	}
	if _, err := signOff(""); !errors.Is(err, orchestrator.ErrUsage) {
		t.Errorf("without a reason: %v", err)
	}
	if first.Closed {
		t.Error("a trip with conflicts is closed")
	}
	signed, err := signOff("asked each family, and nobody knows")
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, r *report.Report, closed bool, changes int) {
		t.Helper()
		if r.Closed != closed || r.Sums.Held != 7 || len(r.SignedOff) != 1 || r.SignedOff[0].Changes != changes || r.SignedOff[0].By != "nilda" {
			t.Errorf("%s: closed %v, sums %+v, signed off %+v; want closed %v and %d changes", when, r.Closed, r.Sums, r.SignedOff, closed, changes)
		}
	}
	check("signed off", signed, true, 7)
	again := w.reconcile(false)
	check("reconciled again", again, true, 7)
	if again.Sent > 0 || again.ExitCode() != first.ExitCode() {
		t.Errorf("%d were sent, and it ends with %d, not %d", again.Sent, again.ExitCode(), first.ExitCode())
	}
	w.prepare()
	check("on the next trip", w.reconcile(false), true, 7)
	w.disputeAt(w.central, "6444")
	check("when central moved on", w.reconcile(false), false, 1)
}
