package orchestrator_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// fill fills central: metadata, people, events, values, and what is not as it should be.
func (c *clone) fill() {
	c.t.Helper()
	c.metadataOfClinic()
	c.ids["panama"] = panama
	c.enter(c.central, "panama")
	c.central = c.connect(orchestrator.Central, c.central.BaseURL()) // a session keeps the units it began with
	c.aPublishedProgramme()
	c.fillPeople()
	c.fillTies()
	c.fillEvents()
	c.fillForms()
	c.fillTombstones()
	c.fillDirt()
}

func (c *clone) patients(people ...*dhis2api.TrackedEntity) {
	c.t.Helper()
	c.post(dhis2api.TrackerPayload{TrackedEntities: people}, dhis2api.ValidationFull)
}

// post sends a payload to central, without its program rules: what these would write is not the point here.
func (c *clone) post(payload dhis2api.TrackerPayload, validation string) {
	c.t.Helper()
	r, err := c.central.Import(c.t.Context(), payload, dhis2api.ImportOptions{AtomicMode: dhis2api.AtomicAll, ValidationMode: validation, SkipRuleEngine: true, SkipSideEffects: true})
	if err != nil {
		c.t.Fatal(err)
	}
	if len(r.Errors) > 0 {
		c.t.Fatalf("central refuses %d: %s", len(r.Errors), asJSON(r.Errors[:min(20, len(r.Errors))]))
	}
}

// fillPeople makes patients within the scope and outside, of one program and of several.
func (c *clone) fillPeople() {
	c.t.Helper()
	care, elsewhere := c.id("care"), c.id("elsewhere")
	var people []*dhis2api.TrackedEntity
	units := []string{base, rioCana, cerro, sabana}
	for i := range 40 {
		people = append(people, c.patientOf(fmt.Sprintf("visitor %d", i), visitProgram, units[i%len(units)]))
	}
	for i := range 12 {
		people = append(people, c.patientOf(fmt.Sprintf("cared for %d", i), care, units[i%len(units)]))
	}
	for i := range 6 {
		name := fmt.Sprintf("in two programs %d", i)
		both := c.patientOf(name, visitProgram, units[i%len(units)])
		cared := c.patientOf(name, care, units[i%len(units)])
		for _, attribute := range cared.Attributes {
			same := func(a dhis2api.Attribute) bool { return a.Attribute == attribute.Attribute }
			if !slices.ContainsFunc(both.Attributes, same) {
				both.Attributes = append(both.Attributes, attribute)
			}
		}
		both.Enrollments = append(both.Enrollments, cared.Enrollments...)
		c.folk[name] = both
		people = append(people, both)
	}
	for i := range 6 {
		people = append(people, c.patientOf(fmt.Sprintf("outside %d", i), visitProgram, []string{soloy, boquete}[i%2]))
	}
	for i := range 4 {
		people = append(people, c.patientOf(fmt.Sprintf("of another program %d", i), elsewhere, rioCana))
	}
	for i, unit := range []string{rioCana, base, soloy} {
		nobody := c.patientOf(fmt.Sprintf("enrolled nowhere %d", i), visitProgram, unit)
		nobody.Enrollments = nil
		people = append(people, nobody)
	}
	// Somebody of the clinic who is in a program of the scope and in one that is not, and somebody in two programs of
	// the scope of which only one is followed here.
	mixed := c.patientOf("also elsewhere", visitProgram, rioCana)
	mixed.Enrollments = append(mixed.Enrollments, c.enrollment("also elsewhere", elsewhere, rioCana))
	half := c.patientOf("half here", visitProgram, rioCana)
	half.Enrollments = append(half.Enrollments, c.enrollment("half here", care, soloy))
	// An event of the clinic's patient at another unit; and one at the clinic of somebody who belongs elsewhere, whom
	// DHIS2 lists with the owner only.
	away := c.patientOf("seen away", visitProgram, cerro)
	away.Enrollments[0].Events[0].OrgUnit = soloy
	guest := c.patientOf("guest", visitProgram, boquete)
	guest.Enrollments[0].Events[0].OrgUnit = cerro
	people = append(people, mixed, half, away, guest)
	people = append(people, c.patientOf("moved in", visitProgram, soloy), c.patientOf("moved out", visitProgram, rioCana), c.patientOf("moved within", care, rioCana))
	for start := 0; start < len(people); start += 20 {
		c.patients(people[start:min(start+20, len(people))]...)
	}
	c.move("moved in", visitProgram, rioCana)
	c.move("moved out", visitProgram, boquete)
	c.move("moved within", care, base)
}

// move gives somebody another owner.
func (c *clone) move(name, program, unit string) {
	c.t.Helper()
	if err := c.central.TransferOwnership(c.t.Context(), c.id(name), program, unit); err != nil {
		c.t.Fatal(err)
	}
}

// fillTies makes relationships within, across programs, and to people outside the scope.
func (c *clone) fillTies() {
	c.t.Helper()
	c.post(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{
		c.tie("mother", motherType, "visitor 0", "visitor 1"),
		c.tie("mother of the other program's", motherType, "visitor 2", "cared for 0"),
		c.tie("mother outside", motherType, "outside 0", "visitor 3"),
		c.tie("child outside", motherType, "visitor 4", "outside 1"),
		c.tie("sent by somebody outside", c.id("sent by"), "visitor 5", "outside 2"),
		c.tie("sent to somebody outside", c.id("sent by"), "outside 3", "visitor 5"),
		c.tie("with somebody of another program", motherType, "visitor 6", "of another program 0"),
		c.tie("both outside", motherType, "outside 4", "outside 5"),
		{
			Relationship: c.id("about a program outside"), RelationshipType: c.id("also elsewhere"),
			From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, c.id("also elsewhere")),
			To:   dhis2api.ItemRef(dhis2api.KindEnrollment, c.id("also elsewhere in "+c.id("elsewhere"))),
		},
	}}, dhis2api.ValidationFull)
}

func (c *clone) tie(name, kind, from, to string) *dhis2api.Relationship {
	return &dhis2api.Relationship{
		Relationship: c.id(name), RelationshipType: kind,
		From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, c.id(from)), To: dhis2api.ItemRef(dhis2api.KindTrackedEntity, c.id(to)),
	}
}

// fillEvents makes events without registration, here and there, and a relationship that ends at one.
func (c *clone) fillEvents() {
	c.t.Helper()
	water, survey := c.programme(waterProgram), c.programme(c.id("survey"))
	var events []*dhis2api.Event
	for i := range 30 {
		unit := []string{rioCana, cerro, sabana, soloy}[i%4]
		events = append(events, c.eventOf(fmt.Sprintf("well %d", i), water, water.ProgramStages[0], "", "", unit))
	}
	events = append(events, c.eventOf("survey", survey, survey.ProgramStages[0], "", "", rioCana))
	c.post(dhis2api.TrackerPayload{Events: events}, dhis2api.ValidationFull)
	c.post(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{{
		Relationship: c.id("because of a well"), RelationshipType: c.id("because of"),
		From: dhis2api.ItemRef(dhis2api.KindEnrollment, c.id("cared for 1 in "+c.id("care"))), To: dhis2api.ItemRef(dhis2api.KindEvent, c.id("well 0")),
	}}}, dhis2api.ValidationFull)
}

// fillForms makes monthly and weekly values with comments, marks and completions, here and there.
func (c *clone) fillForms() {
	c.t.Helper()
	ages := c.combosOf("B9X7wdHBEt6")
	var values []*dhis2api.DataValue
	var completions []*dhis2api.Completion
	for month := 1; month <= 10; month++ {
		for i, unit := range []string{base, rioCana, cerro, soloy} {
			period := fmt.Sprintf("2026%02d", month)
			for _, age := range ages {
				values = append(values, &dhis2api.DataValue{DataElement: "B9X7wdHBEt6", Period: period, OrgUnit: unit, CategoryOptionCombo: age, Value: fmt.Sprint(month * i)})
			}
			marked := &dhis2api.DataValue{DataElement: "dze2yNmEQM7", Period: period, OrgUnit: unit, Value: "3", Comment: "counted twice,\nñ 👍", FollowUp: month%2 == 0}
			values = append(values, marked, &dhis2api.DataValue{DataElement: c.id("stock"), Period: period, OrgUnit: unit, Value: "5"})
			completions = append(completions, &dhis2api.Completion{DataSet: monthlyForm, Period: period, OrganisationUnit: unit, Completed: true, Date: "2026-11-01"})
		}
	}
	for week := 30; week < 40; week++ {
		for _, funder := range []string{"state", "mission"} {
			for _, unit := range []string{rioCana, boquete} {
				period := fmt.Sprintf("2026W%d", week)
				values = append(values, &dhis2api.DataValue{DataElement: c.id("malaria"), Period: period, OrgUnit: unit, AttributeOptionCombo: c.id("of " + funder), Value: fmt.Sprint(week)})
				completions = append(completions, &dhis2api.Completion{DataSet: c.id("weekly"), Period: period, OrganisationUnit: unit, AttributeOptionCombo: c.id("of " + funder), Completed: true, Date: "2026-11-01"})
			}
		}
	}
	c.putValues(values, completions)
}

func (c *clone) putValues(values []*dhis2api.DataValue, completions []*dhis2api.Completion) {
	c.t.Helper()
	// DHIS2 2.43 wants the values of one data set at a time.
	ofForm := map[string][]*dhis2api.DataValue{}
	for _, value := range values {
		form := monthlyForm
		if value.DataElement == c.id("malaria") || value.DataElement == c.id("stock") {
			form = value.DataElement
		}
		ofForm[form] = append(ofForm[form], value)
	}
	for _, values := range ofForm {
		r, err := c.central.ImportDataValues(c.t.Context(), dhis2api.DataValueSet{DataValues: values}, dhis2api.DataValueImportOptions{})
		if err != nil || len(r.Conflicts) > 0 {
			c.t.Fatalf("central refuses values: %v %s", err, asJSON(r))
		}
	}
	if len(completions) == 0 {
		return
	}
	if r, err := c.central.ImportCompletions(c.t.Context(), completions, dhis2api.DataValueImportOptions{}); err != nil || len(r.Conflicts) > 0 {
		c.t.Fatalf("central refuses completions: %v %s", err, asJSON(r))
	}
}

// combosOf are the category option combos of a data element.
func (c *clone) combosOf(element string) []string {
	c.t.Helper()
	var read struct {
		CategoryCombo struct{ CategoryOptionCombos []dhis2api.Ref }
	}
	if err := c.central.Get(c.t.Context(), "dataElements", element, "categoryCombo[categoryOptionCombos[id]]", &read); err != nil {
		c.t.Fatal(err)
	}
	var uids []string
	for _, combo := range read.CategoryCombo.CategoryOptionCombos {
		uids = append(uids, combo.ID)
	}
	return uids
}

// fillTombstones deletes people, enrollments, events and relationships of the scope.
func (c *clone) fillTombstones() {
	c.t.Helper()
	gone := c.patientOf("gone", visitProgram, rioCana)
	left := c.patientOf("left", visitProgram, rioCana)
	c.patients(gone, left)
	c.post(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{c.tie("no more", motherType, "visitor 8", "visitor 9")}}, dhis2api.ValidationFull)
	c.send(c.central, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: gone.TrackedEntity}},
		Enrollments:     []*dhis2api.Enrollment{{Enrollment: left.Enrollments[0].Enrollment}},
		Events:          []*dhis2api.Event{{Event: c.id("well 28")}},
		Relationships:   []*dhis2api.Relationship{{Relationship: c.id("no more")}},
	}, dhis2api.ImportStrategyDelete)
}

// fillDirt makes records that central's own rules would refuse today: some that nobody checked, some that were right
// before the metadata changed.
func (c *clone) fillDirt() {
	c.t.Helper()
	dirty := c.patientOf("dirty", visitProgram, rioCana)
	dirty.Attributes = []dhis2api.Attribute{
		{Attribute: "cHsNSVWvjuJ", Value: "not a date"}, {Attribute: "roHIpaSBGyX", Value: "WITHDRAWN"}, {Attribute: "QSE0SDVStuG", Value: "  8-1-1  "},
		{Attribute: "aCvpmbJNoty", Value: "e\u0301 \r\n 👩‍⚕️ " + strings.Repeat("x", 1000)},
	}
	twice := c.patientOf("the same number", visitProgram, rioCana)
	twice.Attributes = []dhis2api.Attribute{{Attribute: "GoX1JP83DWF", Value: "Ana"}, {Attribute: "QSE0SDVStuG", Value: "  8-1-1  "}}
	cared := c.patientOf("dirty care", c.id("care"), rioCana)
	for i := range cared.Attributes {
		if !strings.Contains("FILE_RESOURCE IMAGE", c.kindOf(cared.Attributes[i].Attribute)) {
			cared.Attributes[i].Value = "not of this kind"
		}
	}
	future := c.patientOf("of the future", visitProgram, rioCana)
	future.Enrollments[0].EnrolledAt, future.Enrollments[0].OccurredAt = "2031-01-01T00:00:00.000", "1890-01-01T00:00:00.000"
	if events := dirty.Enrollments[0].Events; len(events) > 0 {
		events[0].Status, events[0].OccurredAt, events[0].DataValues = "COMPLETED", "2035-05-04T00:00:00.000", []dhis2api.EventDataValue{
			{DataElement: "SHUMZIdrf6Y", Value: "sixty"}, {DataElement: "JahFmUbR8od", Value: "WITHDRAWN"},
		}
	}
	c.post(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{dirty, twice, cared, future}}, dhis2api.ValidationSkip)
	c.alter("programs", visitProgram, func(program map[string]any) {
		program["expiryDays"], program["expiryPeriodType"], program["completeEventsExpiryDays"] = 5, "Monthly", 3
		for _, item := range program["programTrackedEntityAttributes"].([]any) {
			item.(map[string]any)["mandatory"] = true
		}
	})
	c.alter("programStages", c.id("consult"), func(stage map[string]any) {
		stage["repeatable"] = false
		for _, item := range stage["programStageDataElements"].([]any) {
			item.(map[string]any)["compulsory"] = true
		}
	})
	c.alter("dataSets", monthlyForm, func(form map[string]any) { form["expiryDays"], form["openFuturePeriods"] = 10, 0 })
	c.withdraw("OS_TRIAGE")
}

func (c *clone) kindOf(attribute string) string {
	for _, kind := range valueTypes() {
		if c.id("attribute "+kind) == attribute {
			return kind
		}
	}
	return ""
}

// alter changes a metadata object at central.
func (c *clone) alter(class, uid string, change func(object map[string]any)) {
	c.t.Helper()
	var object map[string]any
	if err := c.central.Get(c.t.Context(), class, uid, ":owner", &object); err != nil {
		c.t.Fatal(err)
	}
	change(object)
	c.give(map[string]any{class: []any{object}})
}

// withdraw takes the first option out of an option set, and deletes it.
func (c *clone) withdraw(optionSetCode string) {
	c.t.Helper()
	for raw, err := range c.central.List(c.t.Context(), "optionSets", dhis2api.ListQuery{Fields: ":owner", Filters: []string{"code:eq:" + optionSetCode}}) {
		if err != nil {
			c.t.Fatal(err)
		}
		var set struct {
			ID      string
			Options []dhis2api.Ref
		}
		if err := json.Unmarshal(raw, &set); err != nil {
			c.t.Fatal(err)
		}
		withdrawn := set.Options[0].ID
		c.alter("optionSets", set.ID, func(object map[string]any) { object["options"] = object["options"].([]any)[1:] })
		c.remove("options", withdrawn)
	}
}

// remove deletes a metadata object at central.
func (c *clone) remove(class, uid string) {
	c.t.Helper()
	if err := c.central.Do(c.t.Context(), "DELETE", "/api/"+class+"/"+uid, nil, nil, nil); err != nil {
		c.t.Fatal(err)
	}
}
