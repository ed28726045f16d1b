package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// drawFaults draws up to four troubles among a server's next requests, each some times in a row, which is more than the client's
// own patience. It returns what ends them.
func drawFaults(server *dhis2sim.Server, random *rand.Rand) (end func()) {
	const inside = `{"httpStatus":"Internal Server Error","httpStatusCode":500,"status":"ERROR","message":"something broke"}`
	kinds := []dhis2sim.Fault{
		{CutBefore: true}, {CutAfter: true}, {Truncate: true}, {Delay: 5 * time.Millisecond}, {LoginPage: true}, {Silent: true},
		{Status: http.StatusUnauthorized, ContentType: "application/json", Body: `{"httpStatus":"Unauthorized","httpStatusCode":401,"status":"ERROR"}`},
		{Status: http.StatusTooManyRequests, Body: "slow down"},
		{Status: http.StatusInternalServerError, ContentType: "application/json", Body: inside},
		{Status: http.StatusBadGateway, Body: "<html><h1>Bad Gateway</h1></html>"},
		{Status: http.StatusOK, ContentType: "application/json", Body: inside},
	}
	var removals []func()
	for range 1 + random.IntN(4) {
		drawn := kinds[random.IntN(len(kinds))]
		drawn.After = random.IntN(2) == 0 && (drawn.Status != 0 || drawn.LoginPage || drawn.Silent)
		first, times, seen := 1+random.IntN(60), 1+random.IntN(6), 0
		if drawn.Silent {
			times = 1 // each costs the client all of its patience
		}
		drawn.Match = func(*http.Request) bool { // the server asks for one request at a time
			seen++
			return seen >= first && seen < first+times
		}
		removals = append(removals, server.Inject(drawn))
	}
	return func() {
		for _, remove := range removals {
			remove()
		}
	}
}

// TestSoakFaults brings a day home while things go wrong at central, and now and then at the kit, at requests drawn from a
// seed: any request, reads and writes, before or after it was carried out. Whatever it was, the end is that of an undisturbed run: nothing lost, nothing
// doubled, nothing unknown. FIELDKIT_FAULTS plays one seed again; make soak draws a thousand.
func TestSoakFaults(t *testing.T) {
	first, count := uint64(1), uint64(50)
	switch one := os.Getenv("FIELDKIT_FAULTS"); {
	case one != "":
		seed, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, count = seed, 1
	case os.Getenv("FIELDKIT_SOAK") != "":
		count = 1000
	case testing.Short():
		count = 10
	}
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			throughFaults(t, seed)
		})
	}
}

func throughFaults(t *testing.T, seed uint64) {
	servers, urls := [2]*dhis2sim.Server{}, [2]string{}
	for side := range servers {
		server, err := dhis2sim.New(dhis2sim.Options{})
		if err != nil {
			t.Fatal(err)
		}
		listening := httptest.NewServer(server)
		t.Cleanup(listening.Close)
		servers[side], urls[side] = server, listening.URL
	}
	w := newSeededWorld(t, urls[0], urls[1], "", seed)
	w.outAndBack()
	w.patience = time.Second
	if err := w.local.TransferOwnership(t.Context(), w.id("Delia"), w.id("program"), w.id("cerro")); err != nil {
		t.Fatal(err)
	}
	w.complete(w.local, "202605")
	w.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	random := rand.New(rand.NewPCG(seed, 1))
	end := func() {}
	for run := range 20 {
		if end(); run < 3 {
			end = drawFaults(servers[min(random.IntN(4)/3, 1)], random) // every fourth time at the kit
		}
		r, err := w.tryReconcile(orchestrator.ReconcileOptions{})
		if err != nil {
			var at *orchestrator.ServerError
			if !errors.As(err, &at) {
				t.Fatalf("a run ended with %v, which names no server", err)
			}
			if orchestrator.Hint(err) == "" {
				t.Errorf("a run ended with %v, and no hint", err)
			}
			continue
		}
		end()
		if r.Sums.Held > 0 { // a proof of a file may have been disturbed: then it is held, and home with the next run
			r = w.reconcile(false)
		}
		w.checkHome(r)
		w.checkMovedAndComplete()
		if again := w.reconcile(false); again.Sent != 0 || again.Sums != r.Sums {
			t.Errorf("a run after it sent %d operations, sums %+v, before %+v", again.Sent, again.Sums, r.Sums)
		}
		return
	}
	t.Error("no run of 20 came to its end")
}

// checkMovedAndComplete: Delia's new owner and the form's completion, which go by requests of their own, are at central.
func (w *world) checkMovedAndComplete() {
	w.t.Helper()
	delia, err := w.central.TrackedEntity(w.t.Context(), w.id("Delia"), dhis2api.Lookup{Program: w.id("program")})
	if err != nil {
		w.t.Fatal(err)
	}
	if owners := delia.ProgramOwners; len(owners) != 1 || owners[0].OrgUnit != w.id("cerro") {
		w.t.Errorf("Delia's owners at central: %s", asJSON(owners))
	}
	query := dhis2api.CompletionQuery{DataSets: []string{w.id("form")}, Periods: []string{"202605"}, OrgUnits: []string{w.id("soloy")}}
	complete := false
	for completion, err := range w.central.Completions(w.t.Context(), query) {
		if err != nil {
			w.t.Fatal(err)
		}
		complete = complete || completion.Completed
	}
	if !complete {
		w.t.Error("the form is not complete at central")
	}
}
