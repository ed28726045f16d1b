package orchestrator_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestLimits: a kit that lost much of what it took along deletes nothing at central before somebody says how much it may;
// a few deletions need no word.
func TestLimits(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.crowd(20)
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	remove := func(from, to int) {
		t.Helper()
		var gone dhis2api.TrackerPayload
		for i := from; i < to; i++ {
			gone.TrackedEntities = append(gone.TrackedEntities, &dhis2api.TrackedEntity{TrackedEntity: w.id(fmt.Sprintf("person %d", i))})
		}
		w.send(w.local, gone, dhis2api.ImportStrategyDelete)
	}
	remove(0, 2)
	if r := w.reconcile(false); r.Sums.Held+r.Sums.Open > 0 || r.Sums.Pushed == 0 {
		t.Errorf("two deletions: %s", asJSON(r))
	}
	remove(2, 15)
	plan := w.reconcile(true)
	if !strings.Contains(strings.Join(plan.Warnings, "\n"), "a run would stop before it sends anything: 13 objects of kind trackedEntity would be deleted at central, and the limit is 10") {
		t.Errorf("the plan does not warn: %v", plan.Warnings)
	}
	for _, allowed := range []int{0, 12, 14} {
		_, err := w.tryReconcile(orchestrator.ReconcileOptions{Allow: allowed})
		if !errors.Is(err, orchestrator.ErrLimits) || !strings.Contains(orchestrator.Hint(err), "--allow 13") {
			t.Errorf("with %d allowed: %v (hint: %s)", allowed, err, orchestrator.Hint(err))
		}
	}
	if _, err := w.central.TrackedEntity(t.Context(), w.id("person 5"), dhis2api.Lookup{}); err != nil {
		t.Errorf("somebody was deleted before it was allowed: %v", err)
	}
	r, err := w.tryReconcile(orchestrator.ReconcileOptions{Allow: 13})
	if err != nil || r.Sums.Held+r.Sums.Open > 0 {
		t.Fatalf("allowed: %v, %s", err, asJSON(r))
	}
	if _, err := w.central.TrackedEntity(t.Context(), w.id("person 5"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("what was allowed was not done: %v", err)
	}
}
