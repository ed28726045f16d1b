package orchestrator_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestUploadsWhilePreparing lets tablets upload while the next trip is prepared: before central is asked, while the
// kit is loaded, and while it is read back. All of it comes home with the next reconcile, and nothing else does.
func TestUploadsWhilePreparing(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			uploadsWhilePreparing(t, newWorld(t, simulated(t, version), simulated(t, version), ""))
		})
	}
	t.Run("with database", func(t *testing.T) {
		t.Parallel()
		c := &clock{}
		database := postgrestest.Start(t).Database(t)
		uploadsWhilePreparing(t, newWorld(t, simulated(t, "2.42.5.2"), simulatedOn(t, "2.42.5.2", database, c.now), database))
	})
}

func uploadsWhilePreparing(t *testing.T, w *world) {
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.patient("Flora", map[string]string{"phone": "6000-0006"})}}, "")
	if first := w.reconcile(false); first.Sums.Pushed != 3 {
		t.Fatalf("the first trip: %s", asJSON(first.Sums))
	}
	// What central changed meanwhile, and the load therefore brings to the kit, is no upload.
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Flora", "community", "Cerro")}}, "")

	moments := map[string]func(){
		"taking metadata": func() {
			w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
				w.changed("Ana", "phone", "6111-0001"), w.patient("Gloria", map[string]string{}),
			}}, "")
		},
		"loading": func() {
			w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.patient("Hilda", map[string]string{})}}, "")
		},
		"reading back": func() {
			visited := w.visit("Carlos", "first visit", "70.5")
			w.send(w.local, dhis2api.TrackerPayload{
				TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "phone", "6111-0002"), w.changed("Flora", "phone", "6111-0006"), w.patient("Irma", map[string]string{})},
				Events:          []*dhis2api.Event{visited, w.visit("Delia", "second visit", "60.1")},
			}, "")
			w.send(w.local, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Irma", "Ana")}}, "")
			w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: w.id("Elena's first visit")}}}, dhis2api.ImportStrategyDelete)
			w.values(w.local, "202605", map[string]string{"cases": "5"})
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
	// Hilda and Irma with enrollment and visit each, the motherhood, the phones of Berta and Flora, Carlos's weight,
	// Delia's visit, Elena's, the cases.
	const arrived = 3 + 3 + 1 + 2 + 1 + 1 + 1 + 1
	if receipt.Arrived != arrived {
		t.Errorf("%d changes arrived while the kit was loaded, want %d", receipt.Arrived, arrived)
	}
	r := w.reconcile(false)
	// Besides: Ana's phone and Gloria.
	if want := arrived + 1 + 3; r.Sums.Pushed != want || r.Sums.Total != want {
		t.Errorf("%s, want %d pushed and nothing else", asJSON(r.Sums), want)
	}
	for name, want := range map[string]map[string]string{
		"Ana": {"phone": "6111-0001"}, "Berta": {"phone": "6111-0002"}, "Flora": {"phone": "6111-0006", "community": "Cerro"}, "Gloria": {}, "Hilda": {}, "Irma": {},
	} {
		w.expectAttributes(name, want)
	}
	if _, err := w.central.Event(t.Context(), w.id("Elena's first visit"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("Elena's visit, deleted on the kit, is at central: %v", err)
	}
	if got := w.formValues(w.central, "202605"); got["cases"] != "5" || got["deaths"] != "0" {
		t.Errorf("the form at central holds %v", got)
	}
	if again := w.prepareWith(orchestrator.Quiet{}); again.Arrived != 0 || again.Carried != 0 {
		t.Errorf("a trip after it, with nothing done, carries %d and finds %d that arrived", again.Carried, again.Arrived)
	}
}

// changed is a patient with one attribute changed.
func (w *world) changed(name, attribute, value string) *dhis2api.TrackedEntity {
	return &dhis2api.TrackedEntity{
		TrackedEntity: w.id(name), TrackedEntityType: w.id("patient"), OrgUnit: w.id("soloy"),
		Attributes: []dhis2api.Attribute{{Attribute: w.id(attribute), Value: value}},
	}
}

func (w *world) prepareWith(progress orchestrator.Progress) *orchestrator.PrepareReceipt {
	w.t.Helper()
	kit := w.openTelling(progress)
	receipt, err := kit.Prepare(w.t.Context(), orchestrator.PrepareOptions{})
	if err := errors.Join(err, kit.Close()); err != nil {
		w.t.Fatalf("prepare: %v", err)
	}
	return receipt
}
