package orchestrator_test

import (
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// twice is a world in which Zoe was registered at the clinic, as Ana's mother, while base registered her as Xenia, with the
// same national ID, another community, a birth date, and an enrollment that is completed. It was reconciled once.
func twice(t *testing.T, version string) (*world, *report.Report) {
	w := newWorld(t, simulated(t, version), simulated(t, version), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{w.patient("Zoe", map[string]string{"nationalID": "8-999-9", "phone": "6000-0099", "community": "Soloy"})},
		Relationships:   []*dhis2api.Relationship{w.mother("Zoe", "Ana")},
	}, "")
	xenia := w.patient("Xenia", map[string]string{"nationalID": "8-999-9", "community": "Cerro", "birthDate": "1970-01-01"})
	xenia.Attributes = append(xenia.Attributes[:0:0], xenia.Attributes...)
	for i := range xenia.Attributes {
		if xenia.Attributes[i].Attribute == w.id("firstName") {
			xenia.Attributes[i].Value = "Zoe"
		}
	}
	xenia.OrgUnit, xenia.Enrollments[0].OrgUnit = w.id("cerro"), w.id("cerro")
	xenia.Enrollments[0].Status, xenia.Enrollments[0].CompletedAt = "COMPLETED", "2026-05-05T10:00:00.000"
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{xenia}}, "")
	return w, w.reconcile(false)
}

// sameAs is the number under which somebody is offered as somebody at central.
func (w *world) sameAs(r *report.Report, name, central string) int {
	w.t.Helper()
	for _, same := range r.SamePeople {
		if same.UID == w.id(name) && same.AtCentral == w.id(central) && !same.Adopted {
			return same.Number
		}
	}
	w.t.Fatalf("nobody is offered for %s: %s", name, asJSON(r.SamePeople))
	return 0
}

// livesIn tells under whom central has an enrollment.
func (w *world) livesIn(enrollment string) string {
	w.t.Helper()
	found, err := w.central.Enrollment(w.t.Context(), w.id(enrollment), dhis2api.Lookup{})
	if err != nil {
		w.t.Fatalf("%s: %v", enrollment, err)
	}
	return found.TrackedEntity
}

// TestAdopt: the clinic registered somebody whom central has. Who says so brings her visits and what central lacks to
// central's person; what both know differently is for people to decide; and on the next trip the alias is known.
func TestAdopt(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			w, first := twice(t, version)
			if s := first.Sums; s.Held != 4 || s.Total != 4 {
				t.Fatalf("want her, her enrollment, her visit and her tie held: %s", asJSON(first))
			}
			decided := map[int]string{w.sameAs(first, "Zoe", "Xenia"): "adopt"}
			planned := w.planDecided(decided)
			if s := planned.Sums; s.Open != 4 || s.AlreadyThere != 1 || s.Held != 1 || s.Total != 6 {
				t.Errorf("the plan's sums %+v: %s", s, asJSON(planned))
			}
			if again := w.reconcile(false); again.Sums != first.Sums {
				t.Errorf("a plan alone changed the sums to %+v", again.Sums)
			}
			home := w.decide(decided)
			if s := home.Sums; s.Pushed != 4 || s.AlreadyThere != 1 || s.Held != 1 || s.Total != 6 {
				t.Errorf("sums %+v: %s", s, asJSON(home))
			}
			w.expectConflict(home, "trackedEntity", w.id("Zoe"), w.id("community"), "", "Soloy", "Cerro")
			w.expectAttributes("Xenia", map[string]string{"phone": "6000-0099", "community": "Cerro", "birthDate": "1970-01-01", "nationalID": "8-999-9"})
			if owner := w.livesIn("Zoe's enrollment"); owner != w.id("Xenia") {
				t.Errorf("Zoe's enrollment is %s's, want Xenia's", owner)
			}
			tie, err := w.central.Relationship(t.Context(), w.id("Zoe mother of Ana"), dhis2api.Lookup{})
			if err != nil {
				t.Fatal(err)
			}
			if _, mother := tie.From.Ref(); mother != w.id("Xenia") {
				t.Errorf("Ana's mother is %s, want Xenia", mother)
			}
			w.expectQuiet(home)
			if again := w.decide(decided); again.Sums != home.Sums || again.Sent != 0 {
				t.Errorf("the same decision once more: sums %+v, %d sent", again.Sums, again.Sent)
			}
			// Somebody at a tablet, which knows her as Zoe, goes on.
			w.prepare()
			w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Zoe", "second visit", "58.0")}}, "")
			next := w.reconcile(false)
			if s := next.Sums; s.Pushed != 1 || s.Held != 1 || s.Total != 2 {
				t.Errorf("the next trip's sums %+v: %s", s, asJSON(next))
			}
			if _, err := w.central.Event(t.Context(), w.id("Zoe's second visit"), dhis2api.Lookup{}); err != nil {
				t.Errorf("the second visit: %v", err)
			}
			last := w.decide(map[int]string{w.conflict(next, "Zoe", "community"): "local"})
			if last.Sums.Held != 0 {
				t.Errorf("something is held: %s", asJSON(last))
			}
			w.expectAttributes("Xenia", map[string]string{"community": "Soloy"})
		})
	}
}
