package orchestrator_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// methods counts the requests that a server sees, by method.
type methods struct {
	next  http.Handler
	mutex sync.Mutex
	seen  map[string]int
}

func (m *methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mutex.Lock()
	m.seen[r.Method]++
	m.mutex.Unlock()
	m.next.ServeHTTP(w, r)
}

// forget begins the counting anew and returns what was counted.
func (m *methods) forget() map[string]int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	seen := m.seen
	m.seen = map[string]int{}
	return seen
}

func watched(t *testing.T, version string) (string, *methods) {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	watching := &methods{next: server, seen: map[string]int{}}
	listening := httptest.NewServer(watching)
	t.Cleanup(listening.Close)
	return listening.URL, watching
}

// TestEstimateChangesNothing estimates, looks at what both servers saw and the kit holds, and compares with a prepare.
func TestEstimateChangesNothing(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			centralURL, central := watched(t, version)
			localURL, local := watched(t, version)
			w := newWorld(t, centralURL, localURL, "")
			w.setUp()
			w.patientsAtCentral()
			central.forget()
			local.forget()

			kit := w.open()
			estimate, err := kit.EstimatePrepare(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := kit.Close(); err != nil {
				t.Fatal(err)
			}
			for method, n := range central.forget() {
				if method != http.MethodGet {
					t.Errorf("central saw %d %s", n, method)
				}
			}
			if seen := local.forget(); len(seen) > 0 {
				t.Errorf("local saw %v", seen)
			}
			if _, err := os.Stat(filepath.Join(w.kitDir, "trips")); !os.IsNotExist(err) {
				t.Errorf("a trip was begun: %v", err)
			}

			receipt := w.prepare()
			for _, kind := range []snapshot.Kind{snapshot.TrackedEntities, snapshot.Events, snapshot.DataValues} {
				if estimate.Counted[kind] && estimate.Objects[kind] != receipt.Taken[kind] {
					t.Errorf("%d %s foretold, %d taken", estimate.Objects[kind], kind, receipt.Taken[kind])
				}
			}
			if !estimate.Counted[snapshot.TrackedEntities] || !estimate.Counted[snapshot.Events] || estimate.Objects[snapshot.TrackedEntities] == 0 {
				t.Errorf("not counted: %s", asJSON(estimate))
			}
			manifest, err := snapshot.ReadManifest(filepath.Join(w.kitDir, "trips", receipt.Trip, "snapshot"))
			if err != nil {
				t.Fatal(err)
			}
			var stored int64
			const envelope = 250 // age's header and checksum, which a handful of records is no match for
			for _, part := range manifest.Faces[snapshot.Taken].Parts {
				if part.Kind == snapshot.TrackedEntities || part.Kind == snapshot.Events || part.Kind == snapshot.DataValues {
					stored += part.Bytes - envelope
				}
			}
			if estimate.Stored > 2*stored || 2*estimate.Stored < stored {
				t.Errorf("%d bytes foretold, %d stored", estimate.Stored, stored)
			}
			personal := estimate.Personal
			if personal.People != receipt.Taken[snapshot.TrackedEntities] || personal.Values < personal.People {
				t.Errorf("personal data: %s, of %d people", asJSON(personal), receipt.Taken[snapshot.TrackedEntities])
			}

			kit = w.open()
			defer kit.Close()
			if estimate, err = kit.EstimatePrepare(t.Context()); err != nil || estimate.Last != receipt.Trip {
				t.Errorf("the trip before is not known: %v", err)
			}
		})
	}
}
