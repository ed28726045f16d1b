package orchestrator_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestReconcileThroughTrouble lets one request after another of a reconcile go wrong in one way, runs again until
// a run comes to its end, and expects what an untroubled run leaves: nothing lost, nothing doubled, nothing
// unknown.
func TestReconcileThroughTrouble(t *testing.T) {
	troubles := map[string]dhis2sim.Fault{
		"the line is cut before the request": {CutBefore: true},
		"the line is cut after the commit":   {CutAfter: true},
		"a proxy answers 502":                {Status: http.StatusBadGateway, Body: "<html>Bad Gateway</html>"},
		"the server answers 500":             {Status: http.StatusInternalServerError, Body: "oops"},
		"half an answer":                     {Truncate: true},
		"too many requests":                  {Status: http.StatusTooManyRequests},
	}
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			throughTrouble(t, trouble)
		})
	}
}

// newTroubledWorld is a world whose central can be troubled.
func newTroubledWorld(t *testing.T) (central *dhis2sim.Server, w *world) {
	t.Helper()
	central, err := dhis2sim.New(dhis2sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(central)
	t.Cleanup(listening.Close)
	return central, newWorld(t, listening.URL, simulated(t, "2.42.5.2"), "")
}

// outAndBack is a trip up to reconcile, with a day at both ends.
func (w *world) outAndBack() {
	w.t.Helper()
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.clinicDay()
	w.meanwhileAtCentral()
}

func throughTrouble(t *testing.T, trouble dhis2sim.Fault) {
	server, w := newTroubledWorld(t)
	w.outAndBack()

	// Every import and every file of every run goes wrong twice in a row, then goes through; so the client's own patience is
	// not enough, and whole runs fail.
	count := 0
	trouble.Match = func(r *http.Request) bool {
		if r.Method != http.MethodPost || !slices.Contains([]string{"/api/tracker", "/api/dataValueSets", "/api/fileResources"}, r.URL.Path) {
			return false
		}
		count++
		return count%3 != 0
	}
	remove := server.Inject(trouble)
	failed := 0
	for range 20 {
		kit := w.open()
		r, err := kit.Reconcile(t.Context(), orchestrator.ReconcileOptions{})
		if closing := kit.Close(); closing != nil {
			t.Fatal(closing)
		}
		if err == nil {
			remove()
			t.Logf("%d runs failed before one came to its end", failed)
			w.checkHome(r)
			if again := w.reconcile(false); again.Sent != 0 || again.Sums != r.Sums {
				t.Errorf("a run after it sent %d operations, sums %+v, before %+v", again.Sent, again.Sums, r.Sums)
			}
			return
		}
		var server *orchestrator.ServerError
		if !errors.As(err, &server) {
			t.Fatalf("a run ended with %v, which names no server", err)
		}
		failed++
	}
	t.Errorf("no run of 20 came to its end")
}

// TestReconcileInterrupted stops a reconcile at one request after another to central, before the request is
// carried out, and runs it again: the second run ends as an uninterrupted one.
func TestReconcileInterrupted(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 5 // the race detector need not see them all
	}
	for at := 1; ; at += step {
		if interrupted(t, at) {
			t.Logf("stopped at one in %d of %d requests", step, at-1)
			return
		}
	}
}

// interrupted stops a reconcile at a request to central; it returns true when there were not that many.
func interrupted(t *testing.T, at int) (ended bool) {
	server, w := newTroubledWorld(t)
	w.outAndBack()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	count := 0
	remove := server.Inject(dhis2sim.Fault{CutBefore: true, Match: func(*http.Request) bool {
		count++
		if count == at {
			stop()
		}
		return count >= at
	}})
	kit := w.open()
	_, err := kit.Reconcile(ctx, orchestrator.ReconcileOptions{})
	remove()
	if closing := kit.Close(); closing != nil {
		t.Fatal(closing)
	}
	if err == nil {
		return true
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("stopped at request %d, the run ended with %v", at, err)
	}
	w.checkHome(w.reconcile(false))
	return t.Failed()
}

// TestDeletionLooksAtRelationships: a person deleted on the kit stays at central when somebody there has tied a
// relationship to them meanwhile, and goes when not, with the relationship that both sides knew.
func TestDeletionLooksAtRelationships(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	w.send(w.central, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Berta", "Carlos")}}, "")
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
		{TrackedEntity: w.id("Ana")}, {TrackedEntity: w.id("Berta")}, {TrackedEntity: w.id("Delia")},
	}}, dhis2api.ImportStrategyDelete)
	w.send(w.central, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Ana", "Elena"), w.mother("Elena", "Delia")}}, "")
	r := w.reconcile(false)
	w.expectConflict(r, "trackedEntity", w.id("Ana"), "", "", "", "")
	w.expectConflict(r, "trackedEntity", w.id("Delia"), "", "", "", "")
	for name, stays := range map[string]bool{"Ana": true, "Berta": false, "Delia": true, "Elena": true} {
		_, err := w.central.TrackedEntity(t.Context(), w.id(name), dhis2api.Lookup{})
		if stays != (err == nil) {
			t.Errorf("%s at central: %v, want there: %v: %s", name, err, stays, asJSON(r))
		}
	}
}
