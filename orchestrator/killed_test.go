package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestReconcileKilled stops reconcile at writes to the journal of a whole clinic day, before they are on the disk and just
// after: nothing that follows is carried out. The next run ends as one that nobody stopped: the same at central, the
// same sums, and nothing to send any more. 50 places with every test run, all of them with make soak.
func TestReconcileKilled(t *testing.T) {
	kills := 50
	if testing.Short() {
		kills = 6
	}
	writes := writesOfTheDay(t)
	if os.Getenv("FIELDKIT_SOAK") != "" {
		kills = 2 * writes
	}
	t.Logf("reconcile writes to the journal %d times", writes)
	for kill := range min(kills, 2*writes) {
		place := kill * 2 * writes / min(kills, 2*writes)
		t.Run(fmt.Sprintf("write %d, written %v", place/2+1, place%2 == 1), func(t *testing.T) {
			t.Parallel()
			w := dayOut(t, place)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			killed := errors.New("killed")
			written := 0
			w.journalWrite = func(done bool) error {
				if ctx.Err() == nil && written == place/2 && done == (place%2 == 1) {
					stop()
				}
				if done {
					written++
				}
				if ctx.Err() != nil {
					return killed
				}
				return nil
			}
			kit := w.open()
			_, err := kit.Reconcile(ctx, orchestrator.ReconcileOptions{})
			if closing := kit.Close(); closing != nil {
				t.Fatal(closing)
			}
			if err == nil {
				t.Fatal("the run was not stopped")
			}
			w.journalWrite = nil
			r := w.reconcile(false)
			w.checkHome(r)
			if again := w.reconcile(false); again.Sent > 0 || again.Sums != r.Sums {
				t.Errorf("a second run sent %d; %+v, and before %+v", again.Sent, again.Sums, r.Sums)
			}
		})
	}
}

// dayOut is a clinic day, and a day at central, that are to be reconciled, on versions in turn.
func dayOut(t *testing.T, n int) *world {
	version := []string{"2.41.9.1", "2.42.5.2", "2.43.1"}[n%3]
	w := newWorld(t, simulated(t, version), simulated(t, version), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.clinicDay()
	w.meanwhileAtCentral()
	return w
}

// writesOfTheDay counts how often reconcile writes to the journal when nobody stops it.
func writesOfTheDay(t *testing.T) int {
	w := dayOut(t, 1)
	writes := 0
	w.journalWrite = func(written bool) error {
		if written {
			writes++
		}
		return nil
	}
	w.checkHome(w.reconcile(false))
	return writes
}
