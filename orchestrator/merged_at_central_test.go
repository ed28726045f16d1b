package orchestrator_test

import (
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestMergedAtCentral: central merged somebody whom the kit carries into somebody else. Who stayed is offered, also when she was
// merged further; adopted, the kit's changes go to her. FIELDKIT_ACCEPTANCE_CENTRAL and FIELDKIT_ACCEPTANCE_LOCAL name real
// servers.
func TestMergedAtCentral(t *testing.T) {
	if central := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"); central != "" {
		mergedAtCentral(t, newWorld(t, central, os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL_DATABASE")))
		return
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			mergedAtCentral(t, newWorld(t, simulated(t, version), simulated(t, version), ""))
		})
	}
}

func mergedAtCentral(t *testing.T, w *world) {
	w.setUp()
	w.patientsAtCentral()
	var strangers []*dhis2api.TrackedEntity
	for _, name := range []string{"Xenia", "Wanda"} { // in no program, so that they may be merged
		stranger := w.patient(name, map[string]string{})
		stranger.Enrollments, stranger.Attributes = nil, nil
		strangers = append(strangers, stranger)
	}
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: strangers, Relationships: []*dhis2api.Relationship{w.mother("Ana", "Carlos")}}, "")
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "phone", "6111-0001")},
		Events:          []*dhis2api.Event{w.visit("Ana", "second visit", "60.1"), w.visit("Ana", "first visit", "62.0")},
	}, "")
	w.merge("Ana", "Xenia")
	w.merge("Xenia", "Wanda")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Wanda", "community", "Cerro")}}, "")

	first := w.reconcile(false)
	if s := first.Sums; s.Held != 3 || s.Total != 3 {
		t.Fatalf("want all that the kit has of Ana held: %s", asJSON(first))
	}
	number := w.sameAs(first, "Ana", "Wanda")
	home := w.decide(map[int]string{number: "adopt"})
	w.expectSums(home, report.Sums{Total: 3, Pushed: 3})
	w.expectAttributes("Wanda", map[string]string{"phone": "6111-0001", "community": "Cerro"})
	if owner := w.livesIn("Ana's enrollment"); owner != w.id("Wanda") {
		t.Errorf("Ana's enrollment is %s's, want Wanda's", owner)
	}
	if got := w.weight("Ana's first visit"); got != "62.0" {
		t.Errorf("the weight of her first visit is %s", got)
	}
	if _, err := w.central.Event(t.Context(), w.id("Ana's second visit"), dhis2api.Lookup{}); err != nil {
		t.Errorf("her second visit: %v", err)
	}
	w.expectQuiet(home)

	w.prepare()
	if w.onKit("Ana") {
		t.Error("the kit still has Ana, who is Wanda")
	}
	if got := w.attributes(w.local, "Wanda"); got["phone"] != "6111-0001" || got["community"] != "Cerro" {
		t.Errorf("Wanda on the kit: %v", got)
	}
	if found, err := w.local.Event(t.Context(), w.id("Ana's second visit"), dhis2api.Lookup{}); err != nil || found.TrackedEntity != w.id("Wanda") {
		t.Errorf("the second visit on the kit: %s, %v", asJSON(found), err)
	}
	w.expectSums(w.reconcile(false), report.Sums{})
}

// merge makes one person of two at central, as an administrator of data does; the second one stays.
func (w *world) merge(duplicate, original string) {
	w.t.Helper()
	var pair struct {
		ID string `json:"id"`
	}
	body := map[string]string{"original": w.id(original), "duplicate": w.id(duplicate)}
	if err := w.central.Do(w.t.Context(), http.MethodPost, "/api/potentialDuplicates", nil, body, &pair); err != nil {
		w.t.Fatal(err)
	}
	if pair.ID == "" { // DHIS2 2.42 does not say it
		for found, err := range w.central.PotentialDuplicates(w.t.Context(), "OPEN", w.id(duplicate)) {
			if err != nil {
				w.t.Fatal(err)
			}
			pair.ID = found.ID
		}
	}
	path := "/api/potentialDuplicates/" + url.PathEscape(pair.ID) + "/merge"
	if err := w.central.Do(w.t.Context(), http.MethodPost, path, nil, nil, nil); err != nil {
		w.t.Fatal(err)
	}
}
