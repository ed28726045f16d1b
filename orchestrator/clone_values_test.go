package orchestrator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// programme is a program as patients are made from it.
type programme struct {
	ID                string
	ProgramType       string
	FeatureType       string
	TrackedEntityType struct {
		ID, FeatureType             string
		TrackedEntityTypeAttributes []struct{ TrackedEntityAttribute field }
	}
	CategoryCombo                  struct{ CategoryOptionCombos []dhis2api.Ref }
	ProgramTrackedEntityAttributes []struct{ TrackedEntityAttribute field }
	ProgramStages                  []stage
}

type stage struct {
	ID, FeatureType                  string
	Repeatable, EnableUserAssignment bool
	ProgramStageDataElements         []struct {
		Compulsory  bool
		DataElement field
	}
}

// field is an attribute or a data element.
type field struct {
	ID, ValueType     string
	Unique, Generated bool
	OptionSet         *struct{ Options []struct{ Code string } }
}

const fieldFields = "id,valueType,unique,generated,optionSet[options[code]]"

const programmeFields = "id,programType,featureType,categoryCombo[categoryOptionCombos[id]]," +
	"trackedEntityType[id,featureType,trackedEntityTypeAttributes[trackedEntityAttribute[" + fieldFields + "]]]," +
	"programTrackedEntityAttributes[trackedEntityAttribute[" + fieldFields + "]]," +
	"programStages[id,featureType,repeatable,enableUserAssignment,programStageDataElements[compulsory,dataElement[" + fieldFields + "]]]"

// programme reads a program from central.
func (c *clone) programme(uid string) *programme {
	c.t.Helper()
	if c.programmes[uid] == nil {
		var read programme
		if err := c.central.Get(c.t.Context(), "programs", uid, programmeFields, &read); err != nil {
			c.t.Fatal(err)
		}
		c.programmes[uid] = &read
	}
	return c.programmes[uid]
}

// textsOfPeople are what people write.
func textsOfPeople() []string {
	return []string{
		"Boca de Soloy", "Río Caña", "Rio Can\u0303a", "niño 👶🏽 con fiebre", " spaces around ", "a\r\nb\r\n", "tab\there", `"quoted", 'too' \ back`,
		"<b>&amp;</b>", "0", "-", "ᠠᠡ\u202eRTL", strings.Repeat("long text ", 80),
	}
}

// value is one that the field takes.
func (c *clone) value(f field) string {
	c.made++
	pick := func(texts ...string) string { return texts[c.random.IntN(len(texts))] }
	if f.OptionSet != nil && len(f.OptionSet.Options) > 0 {
		return f.OptionSet.Options[c.random.IntN(len(f.OptionSet.Options))].Code
	}
	if f.Unique || f.Generated {
		return fmt.Sprintf("U-%06d", c.made)
	}
	switch f.ValueType {
	case "TEXT", "LONG_TEXT":
		return pick(textsOfPeople()...)
	case "LETTER":
		return pick("a", "Z")
	case "NUMBER":
		return pick("61.5", "61.0", "-0.25", "0")
	case "INTEGER":
		return pick("-4", "0", "17")
	case "INTEGER_POSITIVE":
		return pick("1", "120")
	case "INTEGER_NEGATIVE":
		return pick("-1", "-20")
	case "INTEGER_ZERO_OR_POSITIVE", "PERCENTAGE":
		return pick("0", "37")
	case "UNIT_INTERVAL":
		return pick("0", "0.5", "1")
	case "BOOLEAN":
		return pick("true", "false")
	case "TRUE_ONLY":
		return "true"
	case "DATE", "AGE":
		return fmt.Sprintf("19%02d-%02d-%02d", c.random.IntN(100), 1+c.random.IntN(12), 1+c.random.IntN(28))
	case "DATETIME":
		return pick("2026-05-04T09:30", "2026-05-04T09:30:00.000")
	case "TIME":
		return pick("09:30", "23:59")
	case "PHONE_NUMBER":
		return fmt.Sprintf("+507 6000-%04d", c.made%10000)
	case "EMAIL":
		return fmt.Sprintf("a%d@clinic.org", c.made)
	case "URL":
		return fmt.Sprintf("https://clinic.org/%d?a=b&c", c.made)
	case "USERNAME":
		return "triage1"
	case "COORDINATE":
		return "[-81.7321,8.7712]"
	case "ORGANISATION_UNIT":
		return pick(soloy, rioCana)
	case "FILE_RESOURCE":
		return c.file("letter.pdf", "application/pdf")
	case "IMAGE":
		return c.file("photo.png", "image/png")
	}
	return ""
}

// file uploads one to central and returns its uid.
func (c *clone) file(name, contentType string) string {
	c.t.Helper()
	c.made++
	uid := c.id(fmt.Sprintf("file %d", c.made))
	content := make([]byte, 256+c.random.IntN(5000))
	for i := range content {
		content[i] = byte(c.random.Uint32())
	}
	if contentType == "image/png" { // DHIS2 makes smaller ones of it, and keeps none that it cannot read
		picture := image.NewGray(image.Rect(0, 0, 16, 16))
		copy(picture.Pix, content)
		var encoded bytes.Buffer
		if err := png.Encode(&encoded, picture); err != nil {
			c.t.Fatal(err)
		}
		content = encoded.Bytes()
	}
	if _, err := c.central.UploadFile(c.t.Context(), uid, name, contentType, "", bytes.NewReader(content)); err != nil {
		c.t.Fatal(err)
	}
	return uid
}

// geometry is one of a feature type; nil where there is none.
func (c *clone) geometry(featureType string) json.RawMessage {
	x, y := -80-float64(c.random.IntN(1000))/1000, 8+float64(c.random.IntN(1000))/1000
	switch featureType {
	case "POINT":
		return json.RawMessage(fmt.Sprintf(`{"type":"Point","coordinates":[%.3f,%.3f]}`, x, y))
	case "POLYGON":
		return json.RawMessage(fmt.Sprintf(`{"type":"Polygon","coordinates":[[[%[1]g,%[2]g],[%[3]g,%[2]g],[%[3]g,%[4]g],[%[1]g,%[2]g]]]}`, x, y, x+0.5, y+0.5))
	}
	return nil
}

// patient makes a tracked entity from the metadata of a program, enrolled at a unit.
func (c *clone) patientOf(name, program, unit string) *dhis2api.TrackedEntity {
	c.t.Helper()
	p := c.programme(program)
	made := &dhis2api.TrackedEntity{
		TrackedEntity: c.id(name), TrackedEntityType: p.TrackedEntityType.ID, OrgUnit: unit, Geometry: c.geometry(p.TrackedEntityType.FeatureType),
		Inactive: c.random.IntN(10) == 0,
	}
	taken := map[string]bool{}
	add := func(f field) {
		if value := c.value(f); value != "" && !taken[f.ID] {
			taken[f.ID] = true
			made.Attributes = append(made.Attributes, dhis2api.Attribute{Attribute: f.ID, Value: value})
		}
	}
	for _, a := range p.TrackedEntityType.TrackedEntityTypeAttributes {
		add(a.TrackedEntityAttribute)
	}
	for _, a := range p.ProgramTrackedEntityAttributes {
		add(a.TrackedEntityAttribute)
	}
	made.Enrollments = []*dhis2api.Enrollment{c.enrollment(name, program, unit)}
	c.folk[name] = made
	return made
}

// enrollment makes one with events in all stages.
func (c *clone) enrollment(name, program, unit string) *dhis2api.Enrollment {
	p := c.programme(program)
	c.made++
	e := &dhis2api.Enrollment{
		Enrollment: c.id(name + " in " + program), TrackedEntity: c.id(name), Program: program, OrgUnit: unit, Status: "ACTIVE",
		EnrolledAt: c.day(), OccurredAt: c.day(), FollowUp: c.random.IntN(3) == 0, Geometry: c.geometry(p.FeatureType),
	}
	switch c.random.IntN(5) {
	case 0:
		e.Status, e.CompletedAt = "COMPLETED", "2026-09-01T10:00:00.000"
	case 1:
		e.Status, e.CompletedAt = "CANCELLED", "2026-09-01T10:00:00.000"
	}
	if c.random.IntN(2) == 0 {
		e.Notes = []dhis2api.Note{{Note: c.id(name + " in " + program + " note"), Value: "came on foot\r\nñ"}}
	}
	for _, s := range p.ProgramStages {
		times := 1
		if s.Repeatable {
			times = 1 + c.random.IntN(3)
		}
		for i := range times {
			e.Events = append(e.Events, c.eventOf(fmt.Sprintf("%s in %s %d", name, s.ID, i), p, s, e.TrackedEntity, e.Enrollment, unit))
		}
	}
	return e
}

// day is one of the last year, in the form that an import wants.
func (c *clone) day() string {
	return fmt.Sprintf("2026-%02d-%02dT00:00:00.000", 1+c.random.IntN(10), 1+c.random.IntN(28))
}

// eventOf makes an event of a stage.
func (c *clone) eventOf(name string, p *programme, s stage, person, enrollment, unit string) *dhis2api.Event {
	e := &dhis2api.Event{
		Event: c.id(name), Program: p.ID, ProgramStage: s.ID, TrackedEntity: person, Enrollment: enrollment, OrgUnit: unit, OccurredAt: c.day(),
		Status: "ACTIVE", Geometry: c.geometry(s.FeatureType), FollowUp: person != "" && c.random.IntN(4) == 0,
	}
	if combos := p.CategoryCombo.CategoryOptionCombos; len(combos) > 1 {
		e.AttributeOptionCombo = combos[c.random.IntN(len(combos))].ID
	}
	if s.EnableUserAssignment && c.random.IntN(2) == 0 {
		e.AssignedUser = &dhis2api.UserRef{UID: triageUser, Username: "triage1"}
	}
	status := c.random.IntN(6)
	if person != "" && status < 2 {
		e.Status = []string{"SCHEDULE", "SKIPPED"}[status]
		e.OccurredAt, e.ScheduledAt, e.FollowUp = "", "2026-12-01T00:00:00.000", false
		return e
	}
	if status == 2 {
		e.Status, e.CompletedAt = "COMPLETED", "2026-09-01T10:00:00.000"
	}
	for _, element := range s.ProgramStageDataElements {
		if value := c.value(element.DataElement); value != "" && (element.Compulsory || c.random.IntN(5) > 0) {
			e.DataValues = append(e.DataValues, dhis2api.EventDataValue{DataElement: element.DataElement.ID, Value: value})
		}
	}
	if c.random.IntN(2) == 0 {
		e.Notes = []dhis2api.Note{{Note: c.id(name + " note"), Value: "👍 " + name}}
	}
	return e
}
