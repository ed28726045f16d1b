package orchestrator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// breakAndExpect breaks one thing of each kind on the kit, and expects twins to name exactly these.
func (c *clone) breakAndExpect() {
	c.local = c.connect(orchestrator.Local, c.local.BaseURL())
	c.t.Helper()
	var want []string
	for _, broken := range []func() []string{
		c.breakPerson, c.breakEnrollment, c.breakEvents, c.breakWell, c.breakOwner, c.breakTies, c.removePerson, c.addStrangers, c.breakValues,
		c.breakMetadata, c.breakPeople, c.breakSetting,
	} {
		want = append(want, broken()...)
	}
	through, named := c.throughWhatBreaksAFile()
	want = append(want, named)
	whole := c.local
	c.local = c.connect(orchestrator.Local, through)
	_, got := c.twins()
	c.local = whole
	slices.Sort(want)
	slices.Sort(got)
	for _, line := range want {
		if !slices.Contains(got, line) {
			c.t.Errorf("not found: %s%s", line, c.about(line))
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			c.t.Errorf("found, and nobody broke it: %s%s", line, c.about(line))
		}
	}
}

// toKit sends a payload to the kit as it is.
func (c *clone) toKit(payload dhis2api.TrackerPayload, strategy dhis2api.ImportStrategy) {
	c.t.Helper()
	options := dhis2api.ImportOptions{Strategy: strategy, ValidationMode: dhis2api.ValidationSkip, SkipRuleEngine: true, AtomicMode: dhis2api.AtomicAll}
	if strategy == dhis2api.ImportStrategyDelete {
		options.ValidationMode = ""
	}
	r, err := c.local.Import(c.t.Context(), payload, options)
	if err != nil || len(r.Errors) > 0 {
		c.t.Fatalf("the kit refuses: %v %s", err, asJSON(r))
	}
}

func (c *clone) breakPerson() []string {
	person := c.personAt(c.local, "visitor 20", visitProgram)
	person.OrgUnit, person.Inactive = cerro, !person.Inactive
	if c.folk["visitor 20"].OrgUnit == cerro {
		person.OrgUnit = base
	}
	person.Attributes = []dhis2api.Attribute{{Attribute: "aCvpmbJNoty", Value: "broken"}, {Attribute: "AxEFHTvb07i"}}
	person.Enrollments = nil
	c.toKit(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{person}}, "")
	return lines("trackedEntity", person.TrackedEntity, "orgUnit", "inactive", "attribute aCvpmbJNoty", "attribute AxEFHTvb07i")
}

func (c *clone) breakEnrollment() []string {
	e := c.enrollmentAt(c.local, "cared for 2", c.id("care"))
	status := e.Status
	e.Status, e.FollowUp, e.EnrolledAt, e.OccurredAt = "ACTIVE", !e.FollowUp, "2020-01-01", "2020-01-02"
	e.Geometry = json.RawMessage(`{"type":"Polygon","coordinates":[[[1,1],[2,1],[2,2],[1,1]]]}`)
	e.Notes = []dhis2api.Note{{Note: c.id("a note too many"), Value: "broken"}}
	broken := lines("enrollment", e.Enrollment, "followUp", "enrolledAt", "occurredAt", "geometry", "note "+c.id("a note too many"))
	if status == "ACTIVE" {
		e.Status, e.CompletedAt = "CANCELLED", ""
	}
	broken = append(broken, lines("enrollment", e.Enrollment, "status")...)
	if central := c.enrollmentAt(c.central, "cared for 2", c.id("care")); (central.CompletedAt != "" || e.Status != "ACTIVE") && !c.is41() {
		broken = append(broken, lines("enrollment", e.Enrollment, "completedAt")...)
	}
	e.CompletedAt = ""
	for _, event := range e.Events { // DHIS2 shows the enrollment's mark in its events too
		broken = append(broken, lines("event", event.Event, "followUp")...)
	}
	e.Events, e.Attributes = nil, nil
	c.toKit(dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{e}}, "")
	return broken
}

func (c *clone) is41() bool { return c.central.Version().Minor == 41 }

// breakEvents breaks an event of a patient in every way.
func (c *clone) breakEvents() []string {
	var e *dhis2api.Event
	for _, i := range []int{0, 1, 4, 5, 6, 8, 9, 10} {
		name := fmt.Sprintf("cared for %d in %s 0", i, c.id("consult"))
		if e = c.eventAt(c.local, name, c.id("care")); e.Status == "ACTIVE" {
			break
		}
	}
	other := c.id("of state")
	if e.AttributeOptionCombo == other {
		other = c.id("of mission")
	}
	e.OccurredAt, e.ScheduledAt, e.AttributeOptionCombo = "2020-02-02", "2020-02-03", other
	e.AttributeCategoryOptions = ""
	e.Geometry = json.RawMessage(`{"type":"Point","coordinates":[1.5,2.5]}`)
	e.AssignedUser = &dhis2api.UserRef{UID: "v4VujyGC7dQ", Username: "provider1"}
	e.DataValues = []dhis2api.EventDataValue{{DataElement: c.id("element LONG_TEXT"), Value: "broken"}}
	e.Notes = []dhis2api.Note{{Note: c.id("another note too many"), Value: "broken"}}
	c.toKit(dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "")
	return lines("event", e.Event, "occurredAt", "scheduledAt", "attributeOptionCombo", "geometry", "assignedUser",
		"dataValue "+c.id("element LONG_TEXT"), "note "+c.id("another note too many"))
}

// breakWell breaks events without registration.
func (c *clone) breakWell() []string {
	e := c.eventAt(c.local, "well 5", waterProgram)
	e.OrgUnit = base
	e.DataValues = []dhis2api.EventDataValue{{DataElement: "caHLGXkL6QX", Value: "99"}}
	c.toKit(dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "")
	c.toKit(dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: c.id("well 8")}}}, dhis2api.ImportStrategyDelete)
	return append(lines("event", e.Event, "orgUnit", "dataValue caHLGXkL6QX"), lines("event", c.id("well 8"), "missing on the kit")...)
}

func (c *clone) breakOwner() []string {
	if err := c.local.TransferOwnership(c.t.Context(), c.id("visitor 21"), visitProgram, base); err != nil {
		c.t.Fatal(err)
	}
	if c.folk["visitor 21"].OrgUnit == base {
		c.t.Fatal("visitor 21 belongs to base already")
	}
	return lines("trackedEntity", c.id("visitor 21"), "owner "+visitProgram)
}

func (c *clone) breakTies() []string {
	gone := c.id("mother of the other program's")
	c.toKit(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{{Relationship: gone}}}, dhis2api.ImportStrategyDelete)
	c.toKit(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{c.tie("made on the kit", motherType, "visitor 22", "visitor 25")}}, "")
	return append(lines("relationship", gone, "missing on the kit"), lines("relationship", c.id("made on the kit"), "outside the scope")...)
}

func (c *clone) removePerson() []string {
	person := c.personAt(c.local, "visitor 24", visitProgram)
	c.toKit(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: person.TrackedEntity}}}, dhis2api.ImportStrategyDelete)
	broken := lines("trackedEntity", person.TrackedEntity, "missing on the kit")
	for _, e := range person.Enrollments {
		broken = append(broken, lines("enrollment", e.Enrollment, "missing on the kit")...)
		for _, event := range e.Events {
			broken = append(broken, lines("event", event.Event, "missing on the kit")...)
		}
	}
	return broken
}

// addStrangers gives the kit somebody who is not in the scope.
func (c *clone) addStrangers() []string {
	stranger := &dhis2api.TrackedEntity{TrackedEntity: c.id("stranger"), TrackedEntityType: personType, OrgUnit: rioCana, Enrollments: []*dhis2api.Enrollment{{
		Enrollment: c.id("stranger's enrollment"), TrackedEntity: c.id("stranger"), Program: visitProgram, OrgUnit: rioCana, Status: "ACTIVE",
		EnrolledAt: "2026-05-04", OccurredAt: "2026-05-04", Events: []*dhis2api.Event{{
			Event: c.id("stranger's event"), Program: visitProgram, ProgramStage: "m9JW68Avdyx", OrgUnit: rioCana, Status: "ACTIVE", OccurredAt: "2026-05-04",
			Enrollment: c.id("stranger's enrollment"), TrackedEntity: c.id("stranger"),
		}},
	}}}
	c.toKit(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{stranger}}, "")
	return []string{
		"trackedEntity " + stranger.TrackedEntity + " outside the scope", "enrollment " + c.id("stranger's enrollment") + " outside the scope",
		"event " + c.id("stranger's event") + " outside the scope",
	}
}

func (c *clone) breakValues() []string {
	ctx, combo := c.t.Context(), c.defaultOptionCombo()
	values := []*dhis2api.DataValue{
		{DataElement: "dze2yNmEQM7", Period: "202606", OrgUnit: base, Value: "77", Comment: "broken"},
		{DataElement: "dze2yNmEQM7", Period: "202001", OrgUnit: base, Value: "1"},
	}
	if _, err := c.local.ImportDataValues(ctx, dhis2api.DataValueSet{DataValues: values}, dhis2api.DataValueImportOptions{}); err != nil {
		c.t.Fatal(err)
	}
	gone := &dhis2api.DataValue{DataElement: "dze2yNmEQM7", Period: "202607", OrgUnit: base, Value: "3"}
	options := dhis2api.DataValueImportOptions{Strategy: dhis2api.ImportStrategyDelete}
	if _, err := c.local.ImportDataValues(ctx, dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{gone}}, options); err != nil {
		c.t.Fatal(err)
	}
	c.uncomplete(c.local, "202608", base)
	key := func(period string) string {
		return strings.Join([]string{"dze2yNmEQM7", period, base, combo, combo}, ".")
	}
	broken := lines("dataValue", key("202606"), "value", "comment", "followUp")
	return append(broken, "dataValue "+key("202001")+" outside the scope", "dataValue "+key("202607")+" missing on the kit",
		"completion "+strings.Join([]string{monthlyForm, "202608", base, combo}, ".")+" missing on the kit")
}

func (c *clone) defaultOptionCombo() string {
	for combo, err := range dhis2api.ListAs[dhis2api.Ref](c.t.Context(), c.local, "categoryOptionCombos", dhis2api.ListQuery{Fields: "id", Filters: []string{"name:eq:default"}}) {
		if err != nil {
			c.t.Fatal(err)
		}
		return combo.ID
	}
	return ""
}

// breakMetadata changes and removes metadata on the kit, and adds a program of central's.
func (c *clone) breakMetadata() []string {
	central, local := c.central, c.local
	c.central = local
	c.alter("dataElements", "SHUMZIdrf6Y", func(element map[string]any) { element["name"] = "Broken" })
	c.alter("programStages", "nZrv0BgEY2b", func(stage map[string]any) { stage["repeatable"] = false })
	c.alter("programs", visitProgram, func(program map[string]any) {
		program["sharing"].(map[string]any)["public"] = "r-------"
		list := program["organisationUnits"].([]any)
		program["organisationUnits"] = slices.DeleteFunc(list, func(unit any) bool { return unit.(map[string]any)["id"] == base })
	})
	c.alter("options", "Licp0DS5nIv", func(option map[string]any) { option["name"] = "Broken" })
	c.alter("organisationUnits", cerro, func(unit map[string]any) { unit["shortName"] = "Broken" })
	c.central = central
	program := map[string]any{"id": c.id("survey"), "name": "S", "shortName": "S", "programType": "WITHOUT_REGISTRATION", "categoryCombo": c.defaultComboOf(local), "sharing": sharedByAll()}
	result, err := local.ImportMetadata(c.t.Context(), map[string]any{"programs": []any{program}}, dhis2api.MetadataImportOptions{})
	if err != nil || result.Status != "OK" {
		c.t.Fatalf("the kit does not take a program: %v %s", err, asJSON(result))
	}
	return []string{
		"dataElements SHUMZIdrf6Y name", "programStages nZrv0BgEY2b repeatable", "programs " + visitProgram + " sharing",
		"programs " + visitProgram + " organisationUnits", "options Licp0DS5nIv name", "organisationUnits " + cerro + " shortName",
		"programs " + c.id("survey") + " outside the scope",
	}
}

func (c *clone) defaultComboOf(client *dhis2api.Client) map[string]any {
	central := c.central
	defer func() { c.central = central }()
	c.central = client
	return c.defaultCombo()
}

func (c *clone) breakPeople() []string {
	central := c.central
	defer func() { c.central = central }()
	c.central = c.local
	c.alter("users", triageUser, func(user map[string]any) {
		user["firstName"] = "Broken"
		user["organisationUnits"] = append(user["organisationUnits"].([]any), reference(panama))
	})
	c.remove("users", c.id("country1"))
	return []string{"users " + triageUser + " firstName", "users " + triageUser + " organisationUnits", "users " + c.id("country1") + " missing on the kit"}
}

func (c *clone) breakSetting() []string {
	if err := c.local.SetSetting(c.t.Context(), "KeyTrackedEntityMaxLimit", "4321"); err != nil {
		c.t.Fatal(err)
	}
	return []string{"systemSetting KeyTrackedEntityMaxLimit value"}
}

// throughWhatBreaksAFile is an address of the kit at which one photograph comes out with a bit of it changed.
func (c *clone) throughWhatBreaksAFile() (address, named string) {
	target, err := url.Parse(c.local.BaseURL())
	if err != nil {
		c.t.Fatal(err)
	}
	person := c.personAt(c.local, "visitor 25", visitProgram)
	path := "/api/tracker/trackedEntities/" + person.TrackedEntity + "/attributes/nlKzWyTL0GL/file"
	proxy := httputil.NewSingleHostReverseProxy(target)
	listening := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			proxy.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		content := answer.Body.Bytes()
		if len(content) > 0 {
			content[len(content)-1] ^= 1
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(content)
	}))
	c.t.Cleanup(listening.Close)
	return listening.URL, "trackedEntity " + person.TrackedEntity + " file of attribute nlKzWyTL0GL"
}

// lines are what twins prints of the fields of one object.
func lines(kind, uid string, fields ...string) []string {
	var all []string
	for _, field := range fields {
		all = append(all, kind+" "+uid+" "+field)
	}
	return all
}
