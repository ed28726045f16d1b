package orchestrator_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestHeldDeletionSurvivesPurge holds a deletion on the kit whose tombstone the next prepare purges: it is still known
// as one.
func TestHeldDeletionSurvivesPurge(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, simulated(t, version), simulated(t, version), "")
			w.firstTrip()
			w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: w.id("Carlos's first visit")}}}, dhis2api.ImportStrategyDelete)
			w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Delia")}}}, dhis2api.ImportStrategyDelete)
			w.send(w.central, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Carlos", "first visit", "99.9")}}, "")
			w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Ana")}}}, dhis2api.ImportStrategyDelete)
			if r := w.reconcile(true); r.Sums.Held != 2 || r.Sums.Open != 1 {
				t.Fatalf("before the second prepare: %s", asJSON(r))
			}
			second := w.prepare()
			w.expectAlike("second", second)
			if w.onKit("Ana") || w.onKit("Carlos's first visit") || w.onKit("Delia") {
				t.Error("the second prepare left what central deleted, or brought back what the kit did")
			}
			w.purge(w.local)
			r := w.reconcile(false)
			if r.Sums.Held != 2 || r.Sums.Open != 0 || r.Sums.Pushed != 1 {
				t.Errorf("want Berta's phone and Carlos's visit held, and Delia's deletion sent: %s", asJSON(r))
			}
			if _, err := w.central.TrackedEntity(t.Context(), w.id("Delia"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
				t.Errorf("Delia, deleted on the kit, is at central: %v", err)
			}
			if got := len(r.Conflicts); got != 2 {
				t.Errorf("%d conflicts: %s", got, asJSON(r.Conflicts))
			}
		})
	}
}

// TestUploadsWhileLeaving lets tablets write to records that are just about to leave the kit, and delete one that stays
// while it is loaded: what they did comes home.
func TestUploadsWhileLeaving(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			uploadsWhileLeaving(t, newWorld(t, simulated(t, version), simulated(t, version), ""))
		})
	}
}

func uploadsWhileLeaving(t *testing.T, w *world) {
	w.firstTrip()
	w.transfer("Ana", "city")
	w.transfer("Yara", "city")
	w.transfer("Carlos", "city")
	moments := map[string]func(){
		"removing from the kit": func() {
			w.send(w.local, dhis2api.TrackerPayload{
				TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Carlos", "phone", "6111-0003")},
				Events:          []*dhis2api.Event{w.visit("Ana", "second visit", "60.1")},
			}, "")
		},
		"loading": func() {
			w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: w.id("Delia's first visit")}}}, dhis2api.ImportStrategyDelete)
		},
	}
	receipt := w.prepareWith(&noted{step: func(step string) {
		for moment, upload := range moments {
			if strings.HasPrefix(step, moment) && step != "loading metadata" {
				delete(moments, moment)
				upload()
			}
		}
	}})
	if len(moments) > 0 {
		t.Fatalf("these moments never came: %v", moments)
	}
	if w.onKit("Yara") || !w.onKit("Ana's second visit") || !w.onKit("Carlos") || w.onKit("Delia's first visit") {
		t.Errorf("what nobody touched is not gone, or what somebody did is: %s", asJSON(receipt))
	}
	r := w.reconcile(false)
	if r.Sums.Pushed != 3 || r.Sums.Held != 1 || r.Sums.Open != 0 {
		t.Errorf("want a visit, a phone and a deletion sent: %s", asJSON(r))
	}
	w.expectAttributes("Carlos", map[string]string{"phone": "6111-0003"})
	if _, err := w.central.Event(t.Context(), w.id("Ana's second visit"), dhis2api.Lookup{}); err != nil {
		t.Errorf("Ana's second visit at central: %v", err)
	}
	if _, err := w.central.Event(t.Context(), w.id("Delia's first visit"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("Delia's visit, deleted on the kit, is at central: %v", err)
	}
	third := w.prepare()
	w.expectAlike("third", third)
	if w.onKit("Ana") || w.onKit("Carlos") {
		t.Error("what is home is still on the kit, though it left the scope")
	}
}

// TestLeavesThroughTrouble interrupts the second prepare while records leave the kit: the next run ends as an untroubled
// one, and nothing that left looks deleted.
func TestLeavesThroughTrouble(t *testing.T) {
	for name, match := range map[string]func(r *http.Request) bool{
		"the deletion":   func(r *http.Request) bool { return r.URL.Query().Get("importStrategy") == "DELETE" },
		"the purge":      func(r *http.Request) bool { return r.URL.Path == "/api/maintenance" },
		"the first load": func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == "/api/metadata" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := dhis2sim.New(dhis2sim.Options{})
			if err != nil {
				t.Fatal(err)
			}
			listening := httptest.NewServer(server)
			t.Cleanup(listening.Close)
			w := newWorld(t, simulated(t, "2.42.5.2"), listening.URL, "")
			w.firstTrip()
			w.carry("orgUnits", "cerro")
			remove := server.Inject(dhis2sim.Fault{CutAfter: true, Match: match})
			kit := w.open()
			_, err = kit.Prepare(t.Context(), orchestrator.PrepareOptions{})
			if closing := kit.Close(); err == nil || closing != nil {
				t.Fatalf("the interrupted prepare: %v, %v", err, closing)
			}
			remove()
			w.expectAlike("second", w.prepare())
			for _, gone := range []string{"Ana", "Yara", "well", "Ana mother of Yara"} {
				if w.onKit(gone) {
					t.Errorf("%s is on the kit", gone)
				}
				if _, err := w.central.TrackedEntity(t.Context(), w.id("Ana"), dhis2api.Lookup{}); err != nil {
					t.Errorf("%s at central: %v", gone, err)
				}
			}
			w.expectHeld("second")
			w.carry("orgUnits", "villages")
			w.expectAlike("third", w.prepare())
			w.expectHeld("third")
		})
	}
}
