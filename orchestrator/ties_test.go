package orchestrator_test

import (
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestSecondRelationship: somebody who is related to one person already is related to another.
func TestSecondRelationship(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, simulated(t, version), simulated(t, version), "")
			w.setUp()
			w.patientsAtCentral()
			w.send(w.central, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Ana", "Berta")}}, "")
			w.prepare()
			w.local = w.connect(orchestrator.Local, w.local.BaseURL())
			w.send(w.local, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Ana", "Carlos")}}, "")
			if s := w.reconcile(false).Sums; s.Pushed != 1 || s.Total != 1 {
				t.Errorf("sums %+v, want one pushed", s)
			}
			w.send(w.local, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Ana", "Delia"), w.mother("Carlos", "Ana")}}, "")
			r := w.reconcile(false)
			if s := r.Sums; s.Pushed != 3 || s.Total != 3 {
				t.Errorf("sums %+v, want three pushed: %s", s, asJSON(r))
			}
		})
	}
}
