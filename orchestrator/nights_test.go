package orchestrator_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestFiveNights: a clinic of five days with one conflict open throughout. Everything else comes home each night, the conflict
// keeps its number and both its sides over all five trips, and is decided on the last.
func TestFiveNights(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		_, _, w := pair(t, version)
		w.inTheField()
		w.send(w.local, people(w.changed("Ana", "phone", "6111-0001")), "")
		w.send(w.central, people(w.changed("Ana", "phone", "6222-0001")), "")
		for night := 1; night <= 5; night++ {
			newcomer := fmt.Sprint("newcomer ", night)
			w.send(w.local, people(w.patient(newcomer, map[string]string{"phone": "6000-0099"}), w.changed("Berta", "phone", fmt.Sprintf("6333-000%d", night))), "")
			w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Carlos", fmt.Sprint("visit ", night), "70.1")}}, "")
			w.send(w.central, people(w.changed("Delia", "phone", fmt.Sprintf("6444-000%d", night))), "")
			r := w.reconcile(false)
			if s := r.Sums; s.Held != 1 || s.Open != 0 || s.Total != s.Held+s.Pushed || r.Closed {
				t.Fatalf("night %d: %+v", night, s)
			}
			w.expectConflict(r, "trackedEntity", w.id("Ana"), w.id("phone"), "6000-0001", "6111-0001", "6222-0001")
			if r.Conflicts[0].Number != 1 {
				t.Errorf("night %d: the conflict is number %d", night, r.Conflicts[0].Number)
			}
			w.expectAttributes(newcomer, map[string]string{"phone": "6000-0099"})
			w.expectAttributes("Berta", map[string]string{"phone": fmt.Sprintf("6333-000%d", night)})
			if _, err := w.central.Event(t.Context(), w.id(fmt.Sprintf("Carlos's visit %d", night)), dhis2api.Lookup{}); err != nil {
				t.Errorf("night %d: Carlos's visit is not at central: %v", night, err)
			}
			if night == 5 {
				break
			}
			w.prepare() // what central gained comes along, and the conflict travels on
			w.local = w.connect(orchestrator.Local, w.local.BaseURL())
			delia, err := w.local.TrackedEntity(t.Context(), w.id("Delia"), dhis2api.Lookup{Program: w.id("program")})
			if err != nil || attributeOf(delia, w.id("phone")) != fmt.Sprintf("6444-000%d", night) {
				t.Errorf("after night %d Delia's new phone is not on the kit: %v", night, err)
			}
		}
		r, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: w.decisions(map[int]string{1: "local"}), Who: "maria"})
		if err != nil || !r.Closed || r.Sums.Held != 0 {
			t.Errorf("decided: %v, %s", err, asJSON(r))
		}
		w.expectAttributes("Ana", map[string]string{"phone": "6111-0001"})
	})
}

func people(all ...*dhis2api.TrackedEntity) dhis2api.TrackerPayload {
	return dhis2api.TrackerPayload{TrackedEntities: all}
}

func attributeOf(person *dhis2api.TrackedEntity, attribute string) string {
	for _, a := range person.Attributes {
		if a.Attribute == attribute {
			return a.Value
		}
	}
	return ""
}

// another is a second kit with the same scope.
func (w *world) another(t *testing.T, local string) *world {
	t.Helper()
	second := *w
	second.kitDir, second.environment = t.TempDir(), maps.Clone(w.environment)
	config, err := os.ReadFile(filepath.Join(w.kitDir, "fieldkit.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(config), w.local.BaseURL(), local)
	if err := os.WriteFile(filepath.Join(second.kitDir, "fieldkit.yaml"), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	second.local = second.connect(orchestrator.Local, local)
	return &second
}

// TestOverlappingKits: two kits carry the same people. What only one of them changed arrives from it, whichever comes home
// first or both at once; what both changed is told once, by the one that comes second.
func TestOverlappingKits(t *testing.T) {
	for name, order := range map[string][]int{"one first": {0, 1}, "the other first": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			kits := overlapping(t)
			for i, w := range kits {
				w.send(w.local, people(w.changed("Ana", "phone", fmt.Sprintf("6111-000%d", i))), "")
			}
			reports := make([]*report.Report, 2)
			for _, i := range order {
				reports[i] = kits[i].reconcile(false)
			}
			first, second := order[0], order[1]
			if len(reports[first].Conflicts) != 0 || len(reports[second].Conflicts) != 1 {
				t.Errorf("%d conflicts, then %d", len(reports[first].Conflicts), len(reports[second].Conflicts))
			}
			w := kits[second]
			w.expectConflict(reports[second], "trackedEntity", w.id("Ana"), w.id("phone"), "6000-0001", fmt.Sprintf("6111-000%d", second), fmt.Sprintf("6111-000%d", first))
			w.expectAttributes("Ana", map[string]string{"phone": fmt.Sprintf("6111-000%d", first)})
			arrived(t, w)
			for i := range kits {
				if again := kits[i].reconcile(false); again.Sent > 0 || again.Sums != reports[i].Sums {
					t.Errorf("kit %d: a second run sent %d and came to %+v, not %+v", i, again.Sent, again.Sums, reports[i].Sums)
				}
			}
		})
	}
	t.Run("at the same time", func(t *testing.T) {
		kits := overlapping(t)
		errs := make(chan error, len(kits))
		for _, w := range kits {
			go func() {
				kit := w.open()
				r, err := kit.Reconcile(t.Context(), orchestrator.ReconcileOptions{})
				if err == nil && r.Sums.Held+r.Sums.Open > 0 {
					err = fmt.Errorf("not all is home: %s", asJSON(r))
				}
				errs <- errors.Join(err, kit.Close())
			}()
		}
		for range kits {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		arrived(t, kits[0])
	})
}

// overlapping are two kits out with the same people, each of which changed some of its own, and one field each of Delia.
func overlapping(t *testing.T) [2]*world {
	t.Helper()
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	kits := [2]*world{w, w.another(t, simulated(t, "2.42.5.2"))}
	for _, w := range kits {
		w.prepare()
		w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	}
	one, other := kits[0], kits[1]
	one.send(one.local, people(one.changed("Berta", "phone", "6555-0001"), one.changed("Delia", "phone", "6555-0002"), one.patient("Zoe", map[string]string{})), "")
	other.send(other.local, people(other.changed("Carlos", "phone", "6666-0001"), other.changed("Delia", "community", "Cerro"), other.patient("Yara", map[string]string{})), "")
	return kits
}

// arrived holds central against what the kits changed apart from each other.
func arrived(t *testing.T, w *world) {
	t.Helper()
	w.expectAttributes("Berta", map[string]string{"phone": "6555-0001"})
	w.expectAttributes("Carlos", map[string]string{"phone": "6666-0001"})
	w.expectAttributes("Delia", map[string]string{"phone": "6555-0002", "community": "Cerro"})
	for _, name := range []string{"Zoe", "Yara"} {
		if _, err := w.central.TrackedEntity(t.Context(), w.id(name), dhis2api.Lookup{}); err != nil {
			t.Errorf("%s is not at central: %v", name, err)
		}
	}
}
