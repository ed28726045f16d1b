package orchestrator_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestSameDay plays the day on which DHIS2's own sync job (2.42.5.2) left 35 of 252 patients behind and reported success:
// each situation of it with as many patients, on both sides. None of the 252 may be missing at central, and whatever is
// not there as the kit has it must be told.
func TestSameDay(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			newSameDay(t, version).play()
		})
	}
}

// sameDay is the day: patients in groups, each group in one situation.
type sameDay struct {
	*world
	groups map[string][]string
}

func newSameDay(t *testing.T, version string) *sameDay {
	d := &sameDay{world: newWorld(t, simulated(t, version), simulated(t, version), ""), groups: map[string][]string{}}
	for _, group := range []struct {
		name     string
		patients int
	}{
		// Known to central when the trip begins.
		{"quiet", 27}, {"edited", 38}, {"number taken", 3}, {"same field", 5}, {"other field", 5}, {"other value", 5},
		{"enrollment deleted", 3}, {"event deleted", 3}, {"emptied", 3},
		// Registered at the clinic, ten of them beside the one whom central deletes.
		{"beside", 10}, {"new", 150},
		// Not among the 252: no longer at central, by its own hand.
		{"deleted at central", 1},
	} {
		for i := range group.patients {
			d.groups[group.name] = append(d.groups[group.name], fmt.Sprintf("%s %d", group.name, i+1))
		}
	}
	return d
}

func (d *sameDay) play() {
	d.setUp()
	var known []*dhis2api.TrackedEntity
	for group, names := range d.groups {
		if group == "beside" || group == "new" {
			continue
		}
		for _, name := range names {
			known = append(known, d.patient(name, map[string]string{"phone": "6000-0001", "community": "Soloy"}))
		}
	}
	d.send(d.central, dhis2api.TrackerPayload{TrackedEntities: known}, "")
	d.prepare()
	d.atTheClinic()
	d.atCentral()

	d.withWrongPassword()
	r := d.reconcile(false)
	d.expectNobodyMissing()
	d.expectValues()
	d.expectTold(r)
	if again := d.reconcile(false); again.Sent != 0 || again.Sums != r.Sums {
		d.t.Errorf("a second run sent %d operations; sums %+v, before %+v", again.Sent, again.Sums, r.Sums)
	}
}

// changes gives everybody in a group another value of an attribute.
func (d *sameDay) changes(group, attribute string, value func(i int) string) []*dhis2api.TrackedEntity {
	var changed []*dhis2api.TrackedEntity
	for i, name := range d.groups[group] {
		changed = append(changed, d.changed(name, attribute, value(i)))
	}
	return changed
}

func always(value string) func(int) string { return func(int) string { return value } }
func number(i int) string                  { return fmt.Sprintf("8-700-%d", i) }

func (d *sameDay) atTheClinic() {
	d.local = d.connect(orchestrator.Local, d.local.BaseURL())
	people := slices.Concat(
		d.changes("edited", "phone", always("6111-0001")), d.changes("same field", "phone", always("6111-0001")),
		d.changes("other field", "phone", always("6111-0001")), d.changes("deleted at central", "phone", always("6111-0001")),
		d.changes("emptied", "phone", always("")), d.changes("number taken", "nationalID", number),
	)
	for _, group := range []string{"beside", "new"} {
		for _, name := range d.groups[group] {
			people = append(people, d.patient(name, map[string]string{"phone": "6111-0001"}))
		}
	}
	var visits []*dhis2api.Event
	for _, name := range d.groups["other value"] {
		visits = append(visits, d.visit(name, "first visit", "62.0"))
	}
	brief := d.patient("brief", map[string]string{})
	d.send(d.local, dhis2api.TrackerPayload{TrackedEntities: append(people, brief), Events: append(visits, d.visit("quiet 1", "brief visit", "1"))}, "")

	removed := dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: brief.TrackedEntity}},
		Events:          []*dhis2api.Event{{Event: d.id("quiet 1's brief visit")}},
	}
	for _, name := range d.groups["enrollment deleted"] {
		removed.Enrollments = append(removed.Enrollments, &dhis2api.Enrollment{Enrollment: d.id(name + "'s enrollment")})
	}
	for _, name := range d.groups["event deleted"] {
		removed.Events = append(removed.Events, &dhis2api.Event{Event: d.id(name + "'s first visit")})
	}
	d.send(d.local, removed, dhis2api.ImportStrategyDelete)
}

func (d *sameDay) atCentral() {
	people := slices.Concat(d.changes("same field", "phone", always("6222-0001")), d.changes("other field", "community", always("Boca de Soloy")))
	for i := range d.groups["number taken"] {
		people = append(people, d.patient(fmt.Sprintf("stranger %d", i), map[string]string{"nationalID": number(i)}))
	}
	var visits []*dhis2api.Event
	for _, name := range d.groups["other value"] {
		visit := d.visit(name, "first visit", "61.5")
		visit.DataValues = append(visit.DataValues, dhis2api.EventDataValue{DataElement: d.id("remark"), Value: "cough"})
		visits = append(visits, visit)
	}
	d.send(d.central, dhis2api.TrackerPayload{TrackedEntities: people, Events: visits}, "")
	var removed dhis2api.TrackerPayload
	for _, name := range d.groups["deleted at central"] {
		removed.TrackedEntities = append(removed.TrackedEntities, &dhis2api.TrackedEntity{TrackedEntity: d.id(name)})
	}
	d.send(d.central, removed, dhis2api.ImportStrategyDelete)
}

// withWrongPassword: a run that central does not let in sends nothing and says so; the next one sends it all.
func (d *sameDay) withWrongPassword() {
	right := d.environment["FIELDKIT_CENTRAL_PASSWORD"]
	d.environment["FIELDKIT_CENTRAL_PASSWORD"] = "not it"
	if _, err := d.tryReconcile(orchestrator.ReconcileOptions{}); !errors.Is(err, orchestrator.ErrCentral) {
		d.t.Errorf("with a wrong password reconcile ends with %v, want an error about central", err)
	}
	d.environment["FIELDKIT_CENTRAL_PASSWORD"] = right
}

func (d *sameDay) expectNobodyMissing() {
	live, missing := 0, 0
	for group, names := range d.groups {
		for _, name := range names {
			if _, err := d.local.TrackedEntity(d.t.Context(), d.id(name), dhis2api.Lookup{}); err != nil {
				d.t.Errorf("%s is not on the kit any more: %v", name, err)
			}
			if group == "deleted at central" {
				continue
			}
			live++
			if _, err := d.central.TrackedEntity(d.t.Context(), d.id(name), dhis2api.Lookup{}); err != nil {
				d.t.Errorf("%s is not at central: %v", name, err)
				missing++
			}
		}
	}
	d.t.Logf("%d of %d live patients missing at central", missing, live)
	if live != 252 {
		d.t.Errorf("%d patients, and the day had 252", live)
	}
}

// expectValues looks at what central holds of each group.
func (d *sameDay) expectValues() {
	for group, want := range map[string]map[string]string{
		"quiet": {"phone": "6000-0001", "community": "Soloy"}, "edited": {"phone": "6111-0001", "community": "Soloy"},
		"number taken": {"nationalID": "", "phone": "6000-0001"}, "same field": {"phone": "6222-0001"},
		"other field": {"phone": "6111-0001", "community": "Boca de Soloy"}, "emptied": {"phone": "", "community": "Soloy"},
		"beside": {"phone": "6111-0001"}, "new": {"phone": "6111-0001"},
	} {
		for _, name := range d.groups[group] {
			d.expectAttributes(name, want)
		}
	}
	visit := func(name string) (*dhis2api.Event, error) {
		return d.central.Event(d.t.Context(), d.id(name+"'s first visit"), dhis2api.Lookup{})
	}
	for _, name := range d.groups["other value"] {
		event, err := visit(name)
		if err != nil {
			d.t.Fatal(err)
		}
		values := map[string]string{}
		for _, v := range event.DataValues {
			values[v.DataElement] = v.Value
		}
		if values[d.id("weight")] != "62.0" || values[d.id("remark")] != "cough" {
			d.t.Errorf("%s's visit at central holds %v, want the kit's weight and central's remark", name, values)
		}
	}
	for _, name := range slices.Concat(d.groups["event deleted"], d.groups["enrollment deleted"]) {
		if _, err := visit(name); !dhis2api.NotFound(err) {
			d.t.Errorf("%s's visit, deleted on the kit, is at central: %v", name, err)
		}
	}
	for _, name := range d.groups["enrollment deleted"] {
		if _, err := d.central.Enrollment(d.t.Context(), d.id(name+"'s enrollment"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
			d.t.Errorf("%s's enrollment, deleted on the kit, is at central: %v", name, err)
		}
	}
	if _, err := d.central.TrackedEntity(d.t.Context(), d.id("brief"), dhis2api.Lookup{IncludeDeleted: true}); !dhis2api.NotFound(err) {
		d.t.Errorf("somebody who was registered and deleted before the trip came home is at central: %v", err)
	}
	if _, err := d.central.Event(d.t.Context(), d.id("quiet 1's brief visit"), dhis2api.Lookup{IncludeDeleted: true}); !dhis2api.NotFound(err) {
		d.t.Errorf("a visit that was made and deleted before the trip came home is at central: %v", err)
	}
}

// expectTold holds the report against what is not at central as the kit has it.
func (d *sameDay) expectTold(r *report.Report) {
	for _, name := range d.groups["same field"] {
		d.expectConflict(r, "trackedEntity", d.id(name), d.id("phone"), "6000-0001", "6111-0001", "6222-0001")
	}
	for _, name := range d.groups["deleted at central"] {
		d.expectConflict(r, "trackedEntity", d.id(name), d.id("phone"), "6000-0001", "6111-0001", "")
	}
	for _, name := range d.groups["number taken"] {
		if !slices.ContainsFunc(r.Refusals, func(no report.Refusal) bool { return no.UID == d.id(name) && no.Code == "E1064" }) {
			d.t.Errorf("%s is not among the refusals with E1064", name)
		}
	}
	// Five phones, that of the one whom central deleted, three numbers.
	if s := r.Sums; s.Held != 9 || s.Open != 0 || s.Total != s.Pushed+s.AlreadyThere+s.Held+s.OutOfScope+s.Dropped {
		d.t.Errorf("sums %+v, want nine held and nothing open: %s", s, asJSON(r.Conflicts))
	}
	if r.ExitCode() != 4 {
		d.t.Errorf("exit code %d, want 4: conflicts wait", r.ExitCode())
	}
}
