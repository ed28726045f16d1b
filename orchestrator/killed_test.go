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
	atWrites(t, writes, kills, func(t *testing.T, place int) {
		w := dayOut(t, place)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		w.dieAt(place, stop)
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

// atWrites plays a run that is stopped, for some of the places at which that can be: before and after each of its writes to the
// journal.
func atWrites(t *testing.T, writes, kills int, play func(t *testing.T, place int)) {
	t.Helper()
	for kill := range min(kills, 2*writes) {
		place := kill * 2 * writes / min(kills, 2*writes)
		t.Run(fmt.Sprintf("write %d, written %v", place/2+1, place%2 == 1), func(t *testing.T) {
			t.Parallel()
			play(t, place)
		})
	}
}

// errKilled ends a run that dieAt stops.
var errKilled = errors.New("killed")

// dieAt lets runs of the kit die at a place: from then on nothing is written to the journal. stop is called then.
func (w *world) dieAt(place int, stop func()) {
	written, dead := 0, false
	w.journalWrite = func(done bool) error {
		if !dead && written == place/2 && done == (place%2 == 1) {
			dead = true
			stop()
		}
		if done {
			written++
		}
		if dead {
			return errKilled
		}
		return nil
	}
}

// writesOf counts how often the runs of the kit in f write to the journal.
func (w *world) writesOf(f func()) int {
	writes := 0
	w.journalWrite = func(written bool) error {
		if written {
			writes++
		}
		return nil
	}
	f()
	w.journalWrite = nil
	return writes
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
	return w.writesOf(func() { w.checkHome(w.reconcile(false)) })
}
