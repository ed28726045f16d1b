package orchestrator_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestSecondActiveEnrollment: a patient got an active enrollment in the same program on the kit and at central. The kit's
// is held with central's named beside it and its visit waits; the patient's other changes go; no later run or trip loses
// or doubles it; and it goes when central's is completed.
func TestSecondActiveEnrollment(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, simulated(t, version), simulated(t, version), "")
			w.setUp()
			w.patientsAtCentral()
			completed := w.patient("Ana", map[string]string{}).Enrollments[0]
			completed.Status, completed.Events = "COMPLETED", nil
			w.send(w.central, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{completed}}, "")
			w.prepare()
			w.local = w.connect(orchestrator.Local, w.local.BaseURL())
			again := func(name string) *dhis2api.Enrollment {
				e := w.patient("Ana", map[string]string{}).Enrollments[0]
				e.Enrollment, e.Events = w.id(name), nil
				return e
			}
			onKit, atCentral := again("Ana's of the kit"), again("Ana's of central")
			visit := w.visit("Ana", "second visit", "62")
			visit.Enrollment = onKit.Enrollment
			w.send(w.local, dhis2api.TrackerPayload{
				TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "phone", "6000-7777")},
				Enrollments:     []*dhis2api.Enrollment{onKit}, Events: []*dhis2api.Event{visit},
			}, "")
			w.send(w.central, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{atCentral}}, "")
			first := w.reconcile(false)
			w.expectSums(first, report.Sums{Total: 3, Pushed: 1, Held: 2})
			i := slices.IndexFunc(first.Refusals, func(no report.Refusal) bool { return no.UID == onKit.Enrollment && no.Code == "E1015" })
			if i < 0 || !strings.Contains(first.Refusals[i].Hint, "at central it is enrollment "+atCentral.Enrollment+"; ") {
				t.Fatalf("central's enrollment is not named: %s", asJSON(first.Refusals))
			}
			if strings.Contains(first.Refusals[i].Hint, completed.Enrollment) {
				t.Errorf("the completed enrollment is named, which is not in the way: %s", first.Refusals[i].Hint)
			}
			w.prepare()
			second := w.reconcile(false)
			w.expectSums(second, report.Sums{Total: 2, Held: 2})
			atCentral.Status = "COMPLETED"
			w.send(w.central, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{atCentral}}, "")
			w.expectSums(w.reconcile(false), report.Sums{Total: 2, Pushed: 2})
			if _, err := w.central.Event(t.Context(), visit.Event, dhis2api.Lookup{}); err != nil {
				t.Errorf("the visit at central: %v", err)
			}
		})
	}
}
