package orchestrator_test

import (
	"fmt"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// actor is the people at one side: what they do is drawn, and done as a tablet or the web app does it. What the server
// refuses is not done.
type actor struct {
	trip *seededTrip
	side orchestrator.Side
	// made counts what was made here, for names that the other side does not use.
	made int
}

func (a *actor) client() *dhis2api.Client {
	if a.side == orchestrator.Local {
		return a.trip.local
	}
	return a.trip.central
}

func pick[T any](s *seededTrip, some ...T) T { return some[s.dice.IntN(len(some))] }

// act does one thing.
func (a *actor) act() {
	acts := []func(person *dhis2api.TrackedEntity) (string, error){
		a.changeAttribute, a.changeAttribute, a.register, a.visit, a.changeVisit, a.changeVisit, a.remove, a.relate, a.annotate, a.sample, a.fillForm,
	}
	person := a.somebody()
	what, err := acts[a.trip.dice.IntN(len(acts))](person)
	if err != nil {
		what += fmt.Sprintf(": refused: %v", err)
	}
	a.trip.note("%s: %s", a.side, what)
}

// somebody is a person who is there, the same for the same dice whatever the order in which a server lists.
func (a *actor) somebody() *dhis2api.TrackedEntity {
	var people []*dhis2api.TrackedEntity
	query := dhis2api.TrackedEntityQuery{Program: a.trip.id("program"), OrgUnits: []string{a.trip.id("villages")}, OrgUnitMode: dhis2api.OrgUnitModeDescendants}
	for person, err := range a.client().TrackedEntities(a.trip.t.Context(), query) {
		if err != nil {
			a.trip.t.Error(err)
			return nil
		}
		people = append(people, person)
	}
	if len(people) == 0 {
		return nil
	}
	slices.SortFunc(people, func(x, y *dhis2api.TrackedEntity) int { return compareUID(x.TrackedEntity, y.TrackedEntity) })
	return people[a.trip.dice.IntN(len(people))]
}

func compareUID(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (a *actor) send(payload dhis2api.TrackerPayload, strategy dhis2api.ImportStrategy) error {
	report, err := a.client().Import(a.trip.t.Context(), payload, dhis2api.ImportOptions{Strategy: strategy, AtomicMode: dhis2api.AtomicAll})
	if err != nil {
		return err
	}
	if len(report.Errors) > 0 {
		return fmt.Errorf("%s", report.Errors[0].Code)
	}
	return nil
}

func (a *actor) changeAttribute(person *dhis2api.TrackedEntity) (string, error) {
	if person == nil {
		return "nobody to change", nil
	}
	s := a.trip
	attribute := pick(s, "phone", "community", "birthDate", "nationalID")
	value := map[string]string{
		"phone": pick(s, "6000-0001", "6000-0002", "6000-0003", ""), "community": pick(s, "Soloy", "Cerro", ""),
		"birthDate": pick(s, "1990-01-01", "1991-02-02", ""), "nationalID": pick(s, "8-1-1", "8-1-2", "8-1-3", ""),
	}[attribute]
	changed := &dhis2api.TrackedEntity{
		TrackedEntity: person.TrackedEntity, TrackedEntityType: person.TrackedEntityType, OrgUnit: person.OrgUnit,
		Attributes: []dhis2api.Attribute{{Attribute: s.id(attribute), Value: value}},
	}
	return fmt.Sprintf("%s of %s becomes %q", attribute, person.TrackedEntity, value), a.send(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{changed}}, "")
}

func (a *actor) name(what string) string {
	a.made++
	return fmt.Sprintf("%s %s %d", a.side, what, a.made)
}

func (a *actor) register(*dhis2api.TrackedEntity) (string, error) {
	name := a.name("patient")
	attributes := map[string]string{"phone": "6000-0009"}
	if number := pick(a.trip, "", "", "8-1-1", "8-1-4", "8-1-5"); number != "" {
		attributes["nationalID"] = number
	}
	person := a.trip.patient(name, attributes)
	return fmt.Sprintf("registers %s as %s with number %q", name, person.TrackedEntity, attributes["nationalID"]),
		a.send(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{person}}, "")
}

func (a *actor) visit(person *dhis2api.TrackedEntity) (string, error) {
	if person == nil || len(person.Enrollments) == 0 {
		return "nobody to visit", nil
	}
	enrollment := person.Enrollments[0]
	event := a.trip.visit("", a.name("visit"), pick(a.trip, "50.0", "51.0"))
	event.TrackedEntity, event.Enrollment = person.TrackedEntity, enrollment.Enrollment
	return fmt.Sprintf("visit %s of %s", event.Event, person.TrackedEntity), a.send(dhis2api.TrackerPayload{Events: []*dhis2api.Event{event}}, "")
}

// changeVisit changes a value of a visit, or its status, and sends of it what a tablet does: all scalars.
func (a *actor) changeVisit(person *dhis2api.TrackedEntity) (string, error) {
	event := a.aVisit(person)
	if event == nil {
		return "no visit to change", nil
	}
	s := a.trip
	changed := &dhis2api.Event{
		Event: event.Event, Program: event.Program, ProgramStage: event.ProgramStage, Enrollment: event.Enrollment, TrackedEntity: event.TrackedEntity,
		OrgUnit: event.OrgUnit, Status: event.Status, OccurredAt: event.OccurredAt, CompletedAt: event.CompletedAt,
	}
	what := ""
	switch s.dice.IntN(4) {
	case 0:
		changed.Status, changed.CompletedAt = pick(s, "ACTIVE", "COMPLETED"), ""
		what = "status " + changed.Status
	case 1:
		changed.OccurredAt = pick(s, "2026-05-04T09:00:00.000", "2026-05-05T09:00:00.000")
		what = "date " + changed.OccurredAt
	default:
		element := pick(s, "weight", "remark")
		value := map[string]string{"weight": pick(s, "60.0", "61.0", ""), "remark": pick(s, "cough", "fever", "")}[element]
		changed.DataValues = []dhis2api.EventDataValue{{DataElement: s.id(element), Value: value}}
		what = fmt.Sprintf("%s %q", element, value)
	}
	return fmt.Sprintf("visit %s of %s: %s", event.Event, person.TrackedEntity, what), a.send(dhis2api.TrackerPayload{Events: []*dhis2api.Event{changed}}, "")
}

func (a *actor) aVisit(person *dhis2api.TrackedEntity) *dhis2api.Event {
	if person == nil || len(person.Enrollments) == 0 || len(person.Enrollments[0].Events) == 0 {
		return nil
	}
	events := slices.SortedFunc(slices.Values(person.Enrollments[0].Events), func(x, y *dhis2api.Event) int { return compareUID(x.Event, y.Event) })
	return events[a.trip.dice.IntN(len(events))]
}

func (a *actor) remove(person *dhis2api.TrackedEntity) (string, error) {
	if person == nil {
		return "nobody to delete", nil
	}
	payload := dhis2api.TrackerPayload{}
	what := "deletes "
	switch event := a.aVisit(person); {
	case a.trip.dice.IntN(4) == 0:
		what += "patient " + person.TrackedEntity
		payload.TrackedEntities = []*dhis2api.TrackedEntity{{TrackedEntity: person.TrackedEntity}}
	case event != nil && a.trip.dice.IntN(2) == 0:
		what += "visit " + event.Event
		payload.Events = []*dhis2api.Event{{Event: event.Event}}
	case len(person.Enrollments) > 0:
		what += "enrollment " + person.Enrollments[0].Enrollment + " of " + person.TrackedEntity
		payload.Enrollments = []*dhis2api.Enrollment{{Enrollment: person.Enrollments[0].Enrollment}}
	default:
		return "nothing to delete", nil
	}
	return what, a.send(payload, dhis2api.ImportStrategyDelete)
}

func (a *actor) relate(person *dhis2api.TrackedEntity) (string, error) {
	other := a.somebody()
	if person == nil || other == nil || person.TrackedEntity == other.TrackedEntity {
		return "nobody to relate", nil
	}
	s := a.trip
	tie := &dhis2api.Relationship{
		Relationship: s.id(a.name("tie")), RelationshipType: s.id("mother"),
		From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, person.TrackedEntity), To: dhis2api.ItemRef(dhis2api.KindTrackedEntity, other.TrackedEntity),
	}
	return fmt.Sprintf("relationship %s of %s and %s", tie.Relationship, person.TrackedEntity, other.TrackedEntity),
		a.send(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{tie}}, "")
}

func (a *actor) annotate(person *dhis2api.TrackedEntity) (string, error) {
	if person == nil || len(person.Enrollments) == 0 {
		return "nobody to write about", nil
	}
	enrollment := person.Enrollments[0]
	changed := &dhis2api.Enrollment{
		Enrollment: enrollment.Enrollment, TrackedEntity: person.TrackedEntity, Program: enrollment.Program, OrgUnit: enrollment.OrgUnit, Status: enrollment.Status,
		EnrolledAt: enrollment.EnrolledAt, OccurredAt: enrollment.OccurredAt, FollowUp: enrollment.FollowUp,
		Notes: []dhis2api.Note{{Note: a.trip.id(a.name("note")), Value: "came on foot"}},
	}
	return "note on enrollment " + enrollment.Enrollment, a.send(dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{changed}}, "")
}

// sample makes, changes or deletes an event without registration.
func (a *actor) sample(*dhis2api.TrackedEntity) (string, error) {
	s := a.trip
	event := &dhis2api.Event{
		Event: s.id("well"), Program: s.id("water"), ProgramStage: s.id("sample"), OrgUnit: s.id("soloy"), Status: "COMPLETED", OccurredAt: "2026-05-04",
		DataValues: []dhis2api.EventDataValue{{DataElement: s.id("chlorine"), Value: pick(s, "0.1", "0.2", "0.3")}},
	}
	strategy := dhis2api.ImportStrategy("")
	switch s.dice.IntN(4) {
	case 0:
		event.Event = s.id(a.name("sample"))
	case 1:
		if s.dice.IntN(3) == 0 {
			strategy, event = dhis2api.ImportStrategyDelete, &dhis2api.Event{Event: event.Event}
		}
	}
	return fmt.Sprintf("sample %s %s", event.Event, strategy), a.send(dhis2api.TrackerPayload{Events: []*dhis2api.Event{event}}, strategy)
}

func (a *actor) fillForm(*dhis2api.TrackedEntity) (string, error) {
	s := a.trip
	value := &dhis2api.DataValue{DataElement: s.id(pick(s, "cases", "deaths")), Period: pick(s, "202605", "202604"), OrgUnit: s.id("soloy"), Value: pick(s, "1", "2", "3")}
	options := dhis2api.DataValueImportOptions{}
	if s.dice.IntN(4) == 0 {
		options.Strategy = dhis2api.ImportStrategyDelete
	}
	what := fmt.Sprintf("value %s of %s: %q %s", value.DataElement, value.Period, value.Value, options.Strategy)
	_, err := a.client().ImportDataValues(s.t.Context(), dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{value}}, options)
	return what, err
}
