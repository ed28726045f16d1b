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

// TestRelationshipToDeleted: a relationship made on the kit with somebody whom central has deleted meanwhile is held. Real
// servers take it, and show it to nobody.
func TestRelationshipToDeleted(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Ana", "Berta")}}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Berta")}}}, dhis2api.ImportStrategyDelete)
	r := w.reconcile(false)
	w.expectConflict(r, "relationship", w.id("Ana mother of Berta"), "", "", "", "")
	if _, err := w.central.Relationship(t.Context(), w.id("Ana mother of Berta"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("the relationship is at central: %v", err)
	}
}

// TestAttributesOfTheUnenrolled: when an enrollment is deleted on the kit, servers stop showing the attributes of its
// program. They are not emptied at central, where the person may be enrolled again.
func TestAttributesOfTheUnenrolled(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, simulated(t, version), simulated(t, version), "")
			w.setUp()
			w.patientsAtCentral()
			w.prepare()
			w.local = w.connect(orchestrator.Local, w.local.BaseURL())
			w.send(w.local, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{{Enrollment: w.id("Ana's enrollment")}}}, dhis2api.ImportStrategyDelete)
			w.reconcile(false)
			again := w.patient("Ana", map[string]string{}).Enrollments[0]
			again.Enrollment, again.Events = w.id("Ana's second enrollment"), nil
			w.send(w.central, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{again}}, "")
			w.expectAttributes("Ana", map[string]string{"phone": "6000-0001", "community": "Soloy"})
		})
	}
}

// TestRelationshipOfTheLeaving: a relationship that is not home keeps on the kit whom it ends in, though central has deleted
// him.
func TestRelationshipOfTheLeaving(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{w.patient("Zoe", map[string]string{"nationalID": "8-999-9"})},
		Relationships:   []*dhis2api.Relationship{w.mother("Zoe", "Ana")},
	}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.patient("Xenia", map[string]string{"nationalID": "8-999-9"})}}, "")
	first := w.reconcile(false)
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Ana")}, {TrackedEntity: w.id("Berta")}}}, dhis2api.ImportStrategyDelete)
	w.prepare()
	if _, err := w.local.Relationship(t.Context(), w.id("Zoe mother of Ana"), dhis2api.Lookup{}); err != nil {
		t.Errorf("the relationship that waits is gone from the kit: %v", err)
	}
	if _, err := w.local.TrackedEntity(t.Context(), w.id("Berta"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("Berta, whom central deleted, is still on the kit: %v", err)
	}
	if again := w.reconcile(false); again.Sums.Held != first.Sums.Held {
		t.Errorf("%d changes are held, %d were: %s", again.Sums.Held, first.Sums.Held, asJSON(again))
	}
}

// TestTieOfTheDeleted: a person was deleted on the kit while central related somebody to them. The deletion is held, also on
// the next trip, which takes that relationship along and cannot load it: the kit has nobody to tie it to. Then it goes
// when somebody decides for it.
func TestTieOfTheDeleted(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, simulated(t, version), simulated(t, version), "")
			w.setUp()
			w.patientsAtCentral()
			w.prepare()
			w.local = w.connect(orchestrator.Local, w.local.BaseURL())
			w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Berta")}}}, dhis2api.ImportStrategyDelete)
			w.send(w.central, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Ana", "Berta")}}, "")
			for trip := 1; trip <= 3; trip++ {
				r := w.reconcile(false)
				if len(r.Conflicts) != 1 || r.Conflicts[0].UID != w.id("Berta") || r.Sums.Held != 1 {
					t.Fatalf("trip %d: %s", trip, asJSON(r))
				}
				if _, err := w.central.Relationship(t.Context(), w.id("Ana mother of Berta"), dhis2api.Lookup{}); err != nil {
					t.Fatalf("trip %d: the relationship at central: %v", trip, err)
				}
				w.prepare()
			}
			r := w.reconcile(false)
			decided := w.decisions(map[int]string{r.Conflicts[0].Number: "local"})
			if r, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: decided, Who: "maria"}); err != nil || r.Sums.Held > 0 {
				t.Errorf("decided: %v, %s", err, asJSON(r))
			}
			if _, err := w.central.TrackedEntity(t.Context(), w.id("Berta"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
				t.Errorf("Berta at central: %v", err)
			}
		})
	}
}
