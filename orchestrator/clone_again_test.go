package orchestrator_test

import (
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// changeBetween is what happens between one prepare and the next.
type changeBetween struct {
	what string
	at   func(c *clone)
}

// changesBetweenPrepares happen one after the other, in this order.
func changesBetweenPrepares() []changeBetween {
	return []changeBetween{
		{"nothing happens", func(*clone) {}},
		{"a little changes at central", (*clone).changeALittle},
		{"a program leaves the scope", func(c *clone) { c.programs = without(c.programs, c.id("care")) }},
		{"and comes back", func(c *clone) { c.programs = append(c.programs, c.id("care")) }},
		{"a data set leaves the scope", func(c *clone) { c.dataSets = without(c.dataSets, monthlyForm) }},
		{"and comes back too", func(c *clone) { c.dataSets = append(c.dataSets, monthlyForm) }},
		{"an org unit leaves the scope", func(c *clone) {
			c.orgUnits = append(without(c.orgUnits, bocas), base, rioCana, cerro)
		}},
		{"and is carried again", func(c *clone) {
			c.orgUnits = append(without(c.orgUnits, base, rioCana, cerro), bocas)
		}},
		{"another program comes along", func(c *clone) { c.programs = append(c.programs, c.id("elsewhere"), c.id("survey")) }},
		{"and stays at home again", func(c *clone) { c.programs = without(c.programs, c.id("elsewhere"), c.id("survey")) }},
		{"people are renamed and replaced", (*clone).changePeople},
		{"options are withdrawn", func(c *clone) { c.withdraw("OS_DX"); c.withdraw("OS_SEX") }},
		{"units move", (*clone).moveUnits},
		{"much is deleted at central", (*clone).deleteAtCentral},
		{"what is deleted at central is purged there", func(c *clone) {
			if err := c.central.PurgeDeleted(c.t.Context()); err != nil {
				c.t.Fatal(err)
			}
		}},
	}
}

func without(list []string, gone ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(one string) bool { return slices.Contains(gone, one) })
}

// changeALittle changes one in a hundred: a field of each kind, and something new of each.
func (c *clone) changeALittle() {
	c.t.Helper()
	renamed := c.personAt(c.central, "visitor 10", visitProgram)
	renamed.Attributes = []dhis2api.Attribute{{Attribute: "aCvpmbJNoty", Value: "Kusapín"}, {Attribute: "AxEFHTvb07i", Value: ""}}
	renamed.Enrollments = nil
	completed := c.enrollmentAt(c.central, "visitor 11", visitProgram)
	completed.Status, completed.FollowUp = "ACTIVE", !completed.FollowUp
	completed.Notes = []dhis2api.Note{{Note: c.id("a new note"), Value: "came again"}}
	completed.Events, completed.Attributes = nil, nil
	p := c.programme(visitProgram)
	again := c.eventOf("a new visit", p, p.ProgramStages[0], c.id("visitor 12"), c.id("visitor 12 in "+visitProgram), rioCana)
	well := c.eventAt(c.central, "well 1", waterProgram)
	well.DataValues = []dhis2api.EventDataValue{{DataElement: "caHLGXkL6QX", Value: "0.9"}, {DataElement: "ea2GKXaA6OQ", Value: ""}}
	newcomer := c.patientOf("newcomer", c.id("care"), sabana)
	c.post(dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{renamed, newcomer}, Enrollments: []*dhis2api.Enrollment{completed}, Events: []*dhis2api.Event{again, well},
	}, dhis2api.ValidationSkip)
	c.post(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{c.tie("the newcomer's mother", motherType, "newcomer", "outside 4")}}, dhis2api.ValidationFull)
	c.move("moved within", c.id("care"), cerro)
	c.move("moved in", visitProgram, boquete)
	c.move("moved out", visitProgram, rioCana)
	c.putValues([]*dhis2api.DataValue{
		{DataElement: "dze2yNmEQM7", Period: "202603", OrgUnit: base, Value: "33", Comment: "counted again", FollowUp: true},
		{DataElement: "dze2yNmEQM7", Period: "202512", OrgUnit: base, Value: "1"},
	}, []*dhis2api.Completion{{DataSet: monthlyForm, Period: "202512", OrganisationUnit: base, Completed: true, Date: "2026-11-02"}})
}

// changePeople renames somebody, moves somebody, and replaces an account by another one of the same name.
func (c *clone) changePeople() {
	c.t.Helper()
	c.alter("users", triageUser, func(user map[string]any) { user["surname"] = "Renamed" })
	c.alter("users", c.id("outside1"), func(user map[string]any) { user["organisationUnits"] = references(cerro) })
	c.alter("users", c.id("both1"), func(user map[string]any) { user["organisationUnits"] = references(soloy) })
	c.remove("users", "nl3wuV7Pl4H")
	c.give(map[string]any{"users": []any{map[string]any{
		"id": c.id("another pharmacist"), "username": "pharmacy1", "firstName": "Another", "surname": "Pharmacist", "userRoles": references("VBn0y9di06Z"),
		"password": "Clinic-2026!", "organisationUnits": references(base), "dataViewOrganisationUnits": references(base), "teiSearchOrganisationUnits": references(panama),
	}}})
}

// moveUnits moves a unit into the scope and one out of it.
func (c *clone) moveUnits() {
	c.t.Helper()
	c.alter("organisationUnits", soloy, func(unit map[string]any) { unit["parent"] = reference(bocas) })
	c.alter("organisationUnits", sabana, func(unit map[string]any) { unit["parent"] = reference("HqaTG4yv5kR") })
	if err := c.central.UpdateOrgUnitPaths(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.central = c.connect(orchestrator.Central, c.central.BaseURL())
}

// deleteAtCentral deletes one of each kind, metadata too.
func (c *clone) deleteAtCentral() {
	c.t.Helper()
	c.send(c.central, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: c.id("visitor 0")}},
		Enrollments:     []*dhis2api.Enrollment{{Enrollment: c.id("visitor 13 in " + visitProgram)}},
		Events:          []*dhis2api.Event{{Event: c.id("well 4")}, {Event: c.id("visitor 14 in m9JW68Avdyx 0")}},
		Relationships:   []*dhis2api.Relationship{{Relationship: c.id("sent by somebody outside")}},
	}, dhis2api.ImportStrategyDelete)
	value := &dhis2api.DataValue{DataElement: "dze2yNmEQM7", Period: "202604", OrgUnit: rioCana, Value: "3"}
	options := dhis2api.DataValueImportOptions{Strategy: dhis2api.ImportStrategyDelete}
	if _, err := c.central.ImportDataValues(c.t.Context(), dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{value}}, options); err != nil {
		c.t.Fatal(err)
	}
	c.uncomplete(c.central, "202605", rioCana)
	c.remove("validationRules", c.id("not negative"))
	c.remove("organisationUnitGroups", c.id("villages"))
}

// uncomplete takes back a completion of the monthly form.
func (c *clone) uncomplete(client *dhis2api.Client, period, unit string) {
	c.t.Helper()
	query := dhis2api.CompletionQuery{DataSets: []string{monthlyForm}, Periods: []string{period}, OrgUnits: []string{unit}}
	for completion, err := range client.Completions(c.t.Context(), query) {
		if err == nil {
			err = client.DeleteCompletion(c.t.Context(), *completion)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

// personAt, enrollmentAt and eventAt read what goes by a name from a server, without relationships.
func (c *clone) personAt(client *dhis2api.Client, name, program string) *dhis2api.TrackedEntity {
	c.t.Helper()
	person, err := client.TrackedEntity(c.t.Context(), c.id(name), dhis2api.Lookup{Program: program})
	if err != nil {
		c.t.Fatal(err)
	}
	person.Relationships = nil
	return person
}

func (c *clone) enrollmentAt(client *dhis2api.Client, name, program string) *dhis2api.Enrollment {
	c.t.Helper()
	enrollment, err := client.Enrollment(c.t.Context(), c.id(name+" in "+program), dhis2api.Lookup{Program: program})
	if err != nil {
		c.t.Fatal(err)
	}
	enrollment.Relationships = nil
	return enrollment
}

func (c *clone) eventAt(client *dhis2api.Client, name, program string) *dhis2api.Event {
	c.t.Helper()
	event, err := client.Event(c.t.Context(), c.id(name), dhis2api.Lookup{Program: program})
	if err != nil {
		c.t.Fatal(err)
	}
	event.Relationships = nil
	return event
}
