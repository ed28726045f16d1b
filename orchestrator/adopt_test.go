package orchestrator_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// twice is a world in which Zoe was registered at the clinic, as Ana's mother, while base registered her as Xenia, with the
// same national ID, another community, a birth date, and an enrollment that is completed. It was reconciled once.
func twice(t *testing.T, version string) (*world, *report.Report) {
	return registeredTwice(t, newWorld(t, simulated(t, version), simulated(t, version), ""))
}

func registeredTwice(t *testing.T, w *world) (*world, *report.Report) {
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

// expectUnnamed expects a report that was not asked for names to hold nobody's first name.
func (w *world) expectUnnamed(r *report.Report) {
	w.t.Helper()
	for _, same := range r.SamePeople {
		for _, field := range same.Fields {
			if field.Field == w.id("firstName") && field.Local+field.Central != "" {
				w.t.Errorf("the report names people: %s", asJSON(same))
			}
		}
	}
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
// FIELDKIT_ACCEPTANCE_CENTRAL and FIELDKIT_ACCEPTANCE_LOCAL name real servers.
func TestAdopt(t *testing.T) {
	if central := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"); central != "" {
		adopts(registeredTwice(t, newWorld(t, central, os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL_DATABASE"))))
		return
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			adopts(twice(t, version))
		})
	}
}

func adopts(w *world, first *report.Report) {
	if s := first.Sums; s.Held != 4 || s.Total != 4 {
		w.t.Fatalf("want her, her enrollment, her visit and her tie held: %s", asJSON(first))
	}
	decided := map[int]string{w.sameAs(first, "Zoe", "Xenia"): "adopt"}
	planned := w.planDecided(decided)
	if s := planned.Sums; s.Open != 4 || s.AlreadyThere != 1 || s.Held != 1 || s.Total != 6 {
		w.t.Errorf("the plan's sums %+v: %s", s, asJSON(planned))
	}
	if again := w.reconcile(false); again.Sums != first.Sums {
		w.t.Errorf("a plan alone changed the sums to %+v", again.Sums)
	}
	w.expectUnnamed(first)
	home := w.decide(decided)
	if s := home.Sums; s.Pushed != 4 || s.AlreadyThere != 1 || s.Held != 1 || s.Total != 6 {
		w.t.Errorf("sums %+v: %s", s, asJSON(home))
	}
	w.expectConflict(home, "trackedEntity", w.id("Zoe"), w.id("community"), "", "Soloy", "Cerro")
	w.expectAttributes("Xenia", map[string]string{"phone": "6000-0099", "community": "Cerro", "birthDate": "1970-01-01", "nationalID": "8-999-9"})
	if owner := w.livesIn("Zoe's enrollment"); owner != w.id("Xenia") {
		w.t.Errorf("Zoe's enrollment is %s's, want Xenia's", owner)
	}
	tie, err := w.central.Relationship(w.t.Context(), w.id("Zoe mother of Ana"), dhis2api.Lookup{})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, mother := tie.From.Ref(); mother != w.id("Xenia") {
		w.t.Errorf("Ana's mother is %s, want Xenia", mother)
	}
	w.expectQuiet(home)
	if again := w.decide(decided); again.Sums != home.Sums || again.Sent != 0 {
		w.t.Errorf("the same decision once more: sums %+v, %d sent", again.Sums, again.Sent)
	}
	// Somebody at a tablet, which knows her as Zoe, goes on.
	if receipt := w.prepare(); !receipt.Verified {
		w.t.Errorf("prepare: %s", asJSON(receipt))
	}
	if w.onKit("Xenia") || !w.onKit("Zoe") {
		w.t.Error("want the kit to keep Zoe as she is, of whom something is held, and not to have Xenia")
	}
	w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Zoe", "second visit", "58.0")}}, "")
	next := w.reconcile(false)
	if s := next.Sums; s.Pushed != 1 || s.Held != 1 || s.Total != 2 {
		w.t.Errorf("the next trip's sums %+v: %s", s, asJSON(next))
	}
	if _, err := w.central.Event(w.t.Context(), w.id("Zoe's second visit"), dhis2api.Lookup{}); err != nil {
		w.t.Errorf("the second visit: %v", err)
	}
	last := w.decide(map[int]string{w.conflict(next, "Zoe", "community"): "local"})
	if last.Sums.Held != 0 {
		w.t.Errorf("something is held: %s", asJSON(last))
	}
	w.expectAttributes("Xenia", map[string]string{"community": "Soloy"})
}

// adopted is twice after Zoe was adopted as Xenia and her community was decided for the kit: everything is home.
func adopted(t *testing.T, version string) *world {
	w, first := twice(t, version)
	home := w.decide(map[int]string{w.sameAs(first, "Zoe", "Xenia"): "adopt"})
	if home = w.decide(map[int]string{w.conflict(home, "Zoe", "community"): "local"}); home.Sums.Held+home.Sums.Open != 0 || !home.Closed {
		t.Fatalf("something is not home: %s", asJSON(home))
	}
	return w
}

// TestAdoptedEdited: an adopted person is compared as any other: what one side changed stands, what both did is a conflict, and
// a deletion on the kit does not take central's person along.
func TestAdoptedEdited(t *testing.T) {
	w := adopted(t, "2.42.5.2")
	w.send(w.local, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Zoe", "phone", "6111-0099")},
		Events:          []*dhis2api.Event{w.visit("Zoe", "second visit", "58.0")},
	}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Xenia", "birthDate", "1971-01-01")}}, "")
	r := w.reconcile(false)
	if s := r.Sums; s.Held != 0 || s.Open != 0 || r.Sent != 2 {
		t.Errorf("%d operations sent, sums %+v: %s", r.Sent, s, asJSON(r))
	}
	w.expectAttributes("Xenia", map[string]string{"phone": "6111-0099", "birthDate": "1971-01-01", "community": "Soloy"})
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Zoe", "phone", "6111-0100")}}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Xenia", "phone", "6222-0100")}}, "")
	w.expectConflict(w.reconcile(false), "trackedEntity", w.id("Zoe"), w.id("phone"), "6111-0099", "6111-0100", "6222-0100")
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Zoe")}}}, dhis2api.ImportStrategyDelete)
	r = w.reconcile(false)
	if len(r.Conflicts) != 1 || r.Conflicts[0].Verb != "delete" || len(r.Waiting) != 1 || r.Waiting[0].UID != w.id("Zoe mother of Ana") {
		t.Errorf("want the deletion held, and with it that of her tie: %s", asJSON(r))
	}
	if _, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: w.decisions(map[int]string{r.Conflicts[0].Number: "local"}), Who: "maria"}); err != nil {
		t.Fatal(err)
	}
	w.expectAttributes("Xenia", map[string]string{"phone": "6222-0100"})
	if last := w.decide(map[int]string{w.conflict(r, "Zoe", ""): "central"}); last.Sums.Held+last.Sums.Open != 0 {
		t.Errorf("something is held: %s", asJSON(last))
	}
	if _, err := w.central.Relationship(t.Context(), w.id("Zoe mother of Ana"), dhis2api.Lookup{}); err != nil {
		t.Errorf("the tie that stands: %v", err)
	}
	w.expectAttributes("Xenia", map[string]string{"phone": "6222-0100"})
}

// TestAdoptedNextTrip: the next trip brings central's person to the kit, with all that was adopted. What a tablet that still
// knows her by the kit's uid registers again goes to central's person too.
func TestAdoptedNextTrip(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			w := adopted(t, version)
			w.prepare()
			if got := w.attributes(w.local, "Xenia"); got["phone"] != "6000-0099" || got["nationalID"] != "8-999-9" {
				t.Errorf("Xenia on the kit: %v", got)
			}
			if found, err := w.local.Enrollment(t.Context(), w.id("Zoe's enrollment"), dhis2api.Lookup{}); err != nil || found.TrackedEntity != w.id("Xenia") {
				t.Errorf("Zoe's enrollment on the kit: %+v, %v", found, err)
			}
			if w.onKit("Zoe") {
				t.Error("she is on the kit twice")
			}
			quiet := w.reconcile(false)
			w.expectSums(quiet, report.Sums{})
			w.expectUnnamed(quiet)
			again := w.patient("Zoe", map[string]string{"community": "Soloy"})
			again.Enrollments = nil
			w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{again}, Relationships: []*dhis2api.Relationship{w.mother("Zoe", "Berta")}}, "")
			r := w.reconcile(false)
			if s := r.Sums; s.AlreadyThere != 1 || s.Pushed != 1 || s.Total != 2 {
				t.Errorf("sums %+v: %s", s, asJSON(r))
			}
			tie, err := w.central.Relationship(t.Context(), w.id("Zoe mother of Berta"), dhis2api.Lookup{})
			if err != nil {
				t.Fatal(err)
			}
			if _, mother := tie.From.Ref(); mother != w.id("Xenia") {
				t.Errorf("Berta's mother is %s, want Xenia", mother)
			}
		})
	}
}

// TestAdoptSecondEnrollment: both sides enrolled her, and DHIS2 wants one active enrollment. Hers from the kit is held and
// names the other; it goes when that one is completed.
func TestAdoptSecondEnrollment(t *testing.T) {
	w, first := twice(t, "2.42.5.2")
	active := w.patient("Xenia", map[string]string{}).Enrollments[0]
	active.OrgUnit, active.Events = w.id("cerro"), nil
	w.send(w.central, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{active}}, "")
	r := w.decide(map[int]string{w.sameAs(first, "Zoe", "Xenia"): "adopt"})
	if len(r.Refusals) != 1 || r.Refusals[0].Code != "E1015" || !strings.Contains(r.Refusals[0].Hint, w.id("Xenia's enrollment")) {
		t.Errorf("want her enrollment refused, with the other one's uid: %s", asJSON(r))
	}
	if len(r.Waiting) != 1 || r.Waiting[0].UID != w.id("Zoe's first visit") {
		t.Errorf("want her visit to wait: %s", asJSON(r.Waiting))
	}
	active.Status, active.CompletedAt = "COMPLETED", "2026-05-06T10:00:00.000"
	w.send(w.central, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{active}}, "")
	if r = w.reconcile(false); len(r.Refusals)+len(r.Waiting) != 0 || w.livesIn("Zoe's enrollment") != w.id("Xenia") {
		t.Errorf("want it home: %s", asJSON(r))
	}
}

// TestAdoptRefused: what cannot be adopted is a mistake in the file, before anything is done.
func TestAdoptRefused(t *testing.T) {
	w, first := twice(t, "2.42.5.2")
	number := w.sameAs(first, "Zoe", "Xenia")
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "phone", "6111-0002")}}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "phone", "6222-0002")}}, "")
	second := w.reconcile(false)
	if w.sameAs(second, "Zoe", "Xenia") != number {
		t.Errorf("the offer has another number now")
	}
	for _, row := range []struct {
		number         int
		decision, want string
	}{
		{w.conflict(second, "Berta", "phone"), "adopt", "nobody at central is known to be the same person"},
		{number, "local", "somebody else at central holds its unique value"},
		{number, "=8-999-8", "somebody else at central holds its unique value"},
	} {
		_, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: w.decisions(map[int]string{row.number: row.decision}), Who: "maria"})
		if !errors.Is(err, orchestrator.ErrUsage) || !strings.Contains(err.Error(), row.want) || orchestrator.Hint(err) == "" {
			t.Errorf("%s: %v (%s)", row.decision, err, orchestrator.Hint(err))
		}
	}
	// Central gave the number to somebody else meanwhile: the old number is not about him.
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Xenia", "nationalID", "8-999-7")}}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Carlos", "nationalID", "8-999-9")}}, "")
	third := w.reconcile(false)
	if now := w.sameAs(third, "Zoe", "Carlos"); now == number {
		t.Errorf("Carlos is offered under Xenia's number %d", now)
	}
	if r := w.decide(map[int]string{number: "adopt"}); r.Sums != third.Sums || w.sameAs(r, "Zoe", "Carlos") == 0 {
		t.Errorf("Zoe was adopted by an old number: %s", asJSON(r))
	}
}

// TestAdoptKilled stops the run that adopts somebody at writes to the journal, before they are on the disk and just after. The
// same decision given again ends as a run that nobody stopped.
func TestAdoptKilled(t *testing.T) {
	ready := func(t *testing.T, n int) (*world, map[int]string) {
		w, first := twice(t, []string{"2.41.9.1", "2.42.5.2", "2.43.1"}[n%3])
		return w, map[int]string{w.sameAs(first, "Zoe", "Xenia"): "adopt"}
	}
	w, decided := ready(t, 1)
	var want report.Sums
	writes := w.writesOf(func() { want = w.decide(decided).Sums })
	kills := 12
	switch {
	case testing.Short():
		kills = 4
	case os.Getenv("FIELDKIT_SOAK") != "":
		kills = 2 * writes
	}
	t.Logf("it writes to the journal %d times", writes)
	atWrites(t, writes, kills, func(t *testing.T, place int) {
		w, decided := ready(t, place)
		w.dieAt(place, func() {})
		if _, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: w.decisions(decided), Who: "maria"}); !errors.Is(err, errKilled) {
			t.Fatalf("the run was not stopped: %v", err)
		}
		w.journalWrite = nil
		r := w.decide(decided)
		if r.Sums != want {
			t.Errorf("sums %+v, want %+v: %s", r.Sums, want, asJSON(r))
		}
		if owner := w.livesIn("Zoe's enrollment"); owner != w.id("Xenia") {
			t.Errorf("Zoe's enrollment is %s's, want Xenia's", owner)
		}
		w.expectQuiet(r)
	})
}
