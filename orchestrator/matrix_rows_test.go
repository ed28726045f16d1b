package orchestrator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// act does something to what a cell of the matrix is about, at one server. version is 1, or 2 where the other server did 1.
type act func(m *matrix, at *dhis2api.Client, cell string, version int)

// matrixRow is one kind of change in one way: what stands at both servers before the trip, what is done, and what can be seen of
// it at a server. other is what central does where both do something else; the same again, in version 2, where it is nil.
type matrixRow struct {
	kind, verb string
	base       act
	do, other  act
	seen       func(m *matrix, at *dhis2api.Client, cell string) string
	// roots are what the journal calls the records that the row is about; nil: the cell's person.
	roots func(m *matrix, cell string) []string
	// never is why a side can do no such thing; by the name of the column.
	never map[string]string
}

func matrixRows() []matrixRow {
	const created, changed, deleted = "create", "change", "delete"
	person := func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.person(at, cell, nil) }
	personWith := func(with func(m *matrix, p *dhis2api.TrackedEntity, cell string)) act {
		return func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.person(at, cell, func(p *dhis2api.TrackedEntity) { with(m, p, cell) })
		}
	}
	rows := []matrixRow{
		{kind: "tracked entity", verb: created, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			m.person(at, cell, func(p *dhis2api.TrackedEntity) { m.setAttribute(p, "phone", fmt.Sprintf("6000-000%d", version)) })
		}, seen: seenAttribute("phone")},
		{kind: "tracked entity", verb: deleted, base: person, do: deletePerson, other: attribute("phone", "6000-0001", "6000-0002"), seen: seenAttribute("phone")},

		{kind: "attribute", verb: created, base: person, do: attribute("community", "Soloy", "Cerro"), seen: seenAttribute("community")},
		{kind: "attribute", verb: changed, base: personWith(func(m *matrix, p *dhis2api.TrackedEntity, _ string) { m.setAttribute(p, "community", "Boca") }),
			do: attribute("community", "Soloy", "Cerro"), seen: seenAttribute("community")},
		{kind: "attribute", verb: deleted, base: personWith(func(m *matrix, p *dhis2api.TrackedEntity, _ string) { m.setAttribute(p, "community", "Boca") }),
			do: attribute("community", "", ""), other: attribute("community", "Soloy", "Cerro"), seen: seenAttribute("community")},

		{kind: "enrollment", verb: created, base: personWith(func(_ *matrix, p *dhis2api.TrackedEntity, _ string) { p.Enrollments = nil }),
			do: enrollment(func(e *dhis2api.Enrollment, version int) {
				e.EnrolledAt = fmt.Sprintf("2026-05-0%dT00:00:00.000", version)
			}), seen: seenEnrollment},
		{kind: "enrollment", verb: changed, base: person,
			do: enrollment(func(e *dhis2api.Enrollment, version int) {
				e.EnrolledAt = fmt.Sprintf("2026-04-0%dT00:00:00.000", version)
			}), seen: seenEnrollment},
		{kind: "enrollment", verb: deleted, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.send(at, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{{Enrollment: m.id(cell + "'s enrollment")}}}, dhis2api.ImportStrategyDelete)
		}, other: enrollment(func(e *dhis2api.Enrollment, _ int) { e.EnrolledAt = "2026-04-02T00:00:00.000" }), seen: seenEnrollment},
		{kind: "enrollment's status", verb: changed, base: person, do: enrollment(func(e *dhis2api.Enrollment, version int) {
			e.Status, e.CompletedAt = []string{"COMPLETED", "CANCELLED"}[version-1], "2026-05-20T10:00:00.000"
		}), seen: seenEnrollment},
		{kind: "enrollment's org unit", verb: changed, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			enrollment(func(e *dhis2api.Enrollment, version int) { e.OrgUnit = m.elsewhere(version) })(m, at, cell, version)
		}, seen: seenEnrollment},
		{kind: "follow-up mark", verb: created, base: person, do: enrollment(func(e *dhis2api.Enrollment, _ int) { e.FollowUp = true }), seen: seenEnrollment,
			never: map[string]string{bothDifferently: "there is only one mark"}},

		{kind: "event", verb: created, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			e := m.visit(cell, "second visit", fmt.Sprintf("7%d.5", version))
			m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "")
		}, seen: seenEvent("second visit")},
		{kind: "event", verb: changed, base: person, do: event(func(e *dhis2api.Event, version int) { e.OccurredAt = fmt.Sprintf("2026-05-1%dT09:00:00.000", version) }),
			seen: seenEvent("first visit")},
		{kind: "event", verb: deleted, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: m.id(cell + "'s first visit")}}}, dhis2api.ImportStrategyDelete)
		}, other: value("weight", "71.5", "72.5"), seen: seenEvent("first visit")},
		{kind: "event's status", verb: changed, base: person, do: event(func(e *dhis2api.Event, version int) {
			e.Status, e.CompletedAt = "COMPLETED", "2026-05-20T10:00:00.000"
		}), seen: seenEvent("first visit"), never: map[string]string{bothDifferently: "it is complete or not"}},
		{kind: "event's org unit", verb: changed, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			event(func(e *dhis2api.Event, version int) { e.OrgUnit = m.elsewhere(version) })(m, at, cell, version)
		}, seen: seenEvent("first visit")},
		{kind: "geometry", verb: created, base: person, do: event(func(e *dhis2api.Event, version int) { e.Geometry = point(version) }), seen: seenEvent("first visit")},
		{kind: "geometry", verb: changed, base: personWith(withEvent(func(_ *matrix, e *dhis2api.Event) { e.Geometry = point(3) })),
			do: event(func(e *dhis2api.Event, version int) { e.Geometry = point(version) }), seen: seenEvent("first visit")},
		{kind: "geometry", verb: deleted, base: personWith(withEvent(func(_ *matrix, e *dhis2api.Event) { e.Geometry = point(3) })),
			do: event(func(*dhis2api.Event, int) {}), other: event(func(e *dhis2api.Event, _ int) { e.Geometry = point(2) }), seen: seenEvent("first visit")},
		{kind: "assigned user", verb: created, base: person, do: assigned, seen: seenEvent("first visit")},
		{kind: "assigned user", verb: changed, base: personWith(withEvent(func(m *matrix, e *dhis2api.Event) { e.AssignedUser = &dhis2api.UserRef{Username: m.username("nilda")} })),
			do: assigned, seen: seenEvent("first visit")},
		{kind: "assigned user", verb: deleted, base: personWith(withEvent(func(m *matrix, e *dhis2api.Event) { e.AssignedUser = &dhis2api.UserRef{Username: m.username("nilda")} })),
			do: event(func(*dhis2api.Event, int) {}), other: assigned, seen: seenEvent("first visit"), never: never("DHIS2 takes none away")},

		{kind: "data value", verb: created, base: person, do: value("remark", "cough", "fever"), seen: seenEvent("first visit")},
		{kind: "data value", verb: changed, base: person, do: value("weight", "71.5", "72.5"), seen: seenEvent("first visit")},
		{kind: "data value", verb: deleted, base: person, do: value("weight", "", ""), other: value("weight", "71.5", "72.5"), seen: seenEvent("first visit")},
		{kind: "note", verb: created, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			enrollment(func(e *dhis2api.Enrollment, version int) {
				e.Notes = []dhis2api.Note{{Note: m.id(fmt.Sprintf("%s's note %d", cell, version)), Value: fmt.Sprintf("note %d", version)}}
			})(m, at, cell, version)
		}, seen: seenEnrollment},
		{kind: "file", verb: created, base: person, do: photo, seen: seenPhoto},
		{kind: "file", verb: changed, base: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.person(at, cell, nil)
			photo(m, at, cell, 3)
		}, do: photo, seen: seenPhoto},
		{kind: "file", verb: deleted, base: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.person(at, cell, nil)
			photo(m, at, cell, 3)
		}, do: attribute("photo", "", ""), other: photo, seen: seenPhoto},
		{kind: "owner", verb: changed, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			m.must(at.TransferOwnership(m.t.Context(), m.id(cell), m.id("program"), m.elsewhere(version)))
		}, seen: seenOwner},
		{kind: "relationship", verb: created, base: couple, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			tie := m.mother(cell, cell+"'s child")
			tie.Relationship = m.id(fmt.Sprintf("%s's tie %d", cell, version))
			m.send(at, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{tie}}, "")
		}, seen: seenTies, roots: rootsOfTies},
		{kind: "relationship", verb: deleted, base: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			couple(m, at, cell, version)
			tie := m.mother(cell, cell+"'s child")
			tie.Relationship = m.id(cell + "'s tie 1")
			m.send(at, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{tie}}, "")
		}, do: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.send(at, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{{Relationship: m.id(cell + "'s tie 1")}}}, dhis2api.ImportStrategyDelete)
		}, seen: seenTies, roots: rootsOfTies, never: map[string]string{bothDifferently: "a relationship is never changed"}},
	}
	return slices.Concat(rows, singleEventRows(), formRows())
}

// never is a reason for all columns.
func never(why string) map[string]string {
	reasons := map[string]string{}
	for _, column := range matrixColumns() {
		reasons[column] = why
	}
	return reasons
}

// elsewhere is another org unit; that of the second version is not in the scope.
func (m *matrix) elsewhere(version int) string { return m.id([]string{"cerro", "city"}[version-1]) }

// singleEventRows are those of a program without registration.
func singleEventRows() []matrixRow {
	base := func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.sample(at, cell, "0.4") }
	do := func(m *matrix, at *dhis2api.Client, cell string, version int) {
		m.sample(at, cell, fmt.Sprintf("0.%d", version))
	}
	roots := func(m *matrix, cell string) []string { return []string{"event:" + m.id("water") + "." + m.id(cell)} }
	const kind = "event without registration"
	return []matrixRow{
		{kind: kind, verb: "create", do: do, seen: seenSample, roots: roots},
		{kind: kind, verb: "change", base: base, do: do, seen: seenSample, roots: roots},
		{kind: kind, verb: "delete", base: base, do: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: m.id(cell)}}}, dhis2api.ImportStrategyDelete)
		}, other: do, seen: seenSample, roots: roots},
	}
}

// formRows are those of aggregate forms. Each cell has a month of its own.
func formRows() []matrixRow {
	set := func(comment string) act {
		return func(m *matrix, at *dhis2api.Client, cell string, version int) {
			m.value(at, cell, "9", fmt.Sprintf(comment, version))
		}
	}
	plain := func(value, comment string) act {
		return func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.value(at, cell, value, comment) }
	}
	roots := func(m *matrix, cell string) []string {
		return []string{"form:" + m.id("form") + "." + m.period(cell) + "." + m.id("soloy")}
	}
	complete := func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.complete(at, m.period(cell)) }
	takenBack := func(m *matrix, at *dhis2api.Client, cell string, _ int) {
		m.must(at.DeleteCompletion(m.t.Context(), dhis2api.Completion{DataSet: m.id("form"), Period: m.period(cell), OrganisationUnit: m.id("soloy")}))
	}
	only := map[string]string{bothDifferently: "a form is complete or not"}
	return []matrixRow{
		{kind: "aggregate value", verb: "create", do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			m.value(at, cell, fmt.Sprint(version), "")
		}, seen: seenForm, roots: roots},
		{kind: "aggregate value", verb: "change", base: plain("9", ""),
			do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
				m.value(at, cell, fmt.Sprint(version), "")
			}, seen: seenForm, roots: roots},
		{kind: "aggregate value", verb: "delete", base: plain("9", ""), do: func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.removeValue(at, cell) },
			other: plain("2", ""), seen: seenForm, roots: roots},
		{kind: "comment", verb: "create", base: plain("9", ""), do: set("remark %d"), seen: seenForm, roots: roots},
		{kind: "comment", verb: "change", base: plain("9", "as before"), do: set("remark %d"), seen: seenForm, roots: roots},
		{kind: "comment", verb: "delete", base: plain("9", "as before"), do: plain("9", ""), other: plain("9", "remark 2"), seen: seenForm, roots: roots},
		{kind: "completion", verb: "create", base: plain("9", ""), do: complete, seen: seenForm, roots: roots, never: only},
		{kind: "completion", verb: "delete", base: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.value(at, cell, "9", "")
			complete(m, at, cell, 1)
		}, do: takenBack, seen: seenForm, roots: roots, never: only},
	}
}

func (m *matrix) person(at *dhis2api.Client, cell string, with func(*dhis2api.TrackedEntity)) {
	p := m.patient(cell, map[string]string{"phone": "6000-0009"})
	if with != nil {
		with(p)
	}
	m.send(at, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{p}}, "")
}

func (m *matrix) setAttribute(p *dhis2api.TrackedEntity, name, value string) {
	p.Attributes = slices.DeleteFunc(p.Attributes, func(a dhis2api.Attribute) bool { return a.Attribute == m.id(name) })
	p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: m.id(name), Value: value})
}

func withEvent(with func(*matrix, *dhis2api.Event)) func(*matrix, *dhis2api.TrackedEntity, string) {
	return func(m *matrix, p *dhis2api.TrackedEntity, _ string) { with(m, p.Enrollments[0].Events[0]) }
}

func deletePerson(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.send(at, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: m.id(cell)}}}, dhis2api.ImportStrategyDelete)
}

// attribute sets an attribute to one of two values.
func attribute(name string, values ...string) act {
	return func(m *matrix, at *dhis2api.Client, cell string, version int) {
		p := &dhis2api.TrackedEntity{TrackedEntity: m.id(cell), TrackedEntityType: m.id("patient"), OrgUnit: m.id("soloy")}
		p.Attributes = []dhis2api.Attribute{{Attribute: m.id(name), Value: values[version-1]}}
		m.send(at, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{p}}, "")
	}
}

// enrollment sends the cell's enrollment, changed.
func enrollment(change func(e *dhis2api.Enrollment, version int)) act {
	return func(m *matrix, at *dhis2api.Client, cell string, version int) {
		e := m.patient(cell, map[string]string{}).Enrollments[0]
		e.Events = nil
		change(e, version)
		m.send(at, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{e}}, "")
	}
}

// event sends the cell's first visit without values, changed; what is left out of it is emptied.
func event(change func(e *dhis2api.Event, version int)) act {
	return func(m *matrix, at *dhis2api.Client, cell string, version int) {
		e := m.visit(cell, "first visit", "")
		e.DataValues = nil
		change(e, version)
		m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "")
	}
}

// value sets a data value of the cell's first visit to one of two.
func value(element string, values ...string) act {
	return func(m *matrix, at *dhis2api.Client, cell string, version int) {
		e := m.visit(cell, "first visit", "")
		e.DataValues = []dhis2api.EventDataValue{{DataElement: m.id(element), Value: values[version-1]}}
		m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "")
	}
}

func assigned(m *matrix, at *dhis2api.Client, cell string, version int) {
	event(func(e *dhis2api.Event, version int) {
		e.AssignedUser = &dhis2api.UserRef{Username: m.username([]string{"lidia", "marta"}[version-1])}
	})(m, at, cell, version)
}

func point(version int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"type":"Point","coordinates":[-81.%d,8.5]}`, version))
}

func photo(m *matrix, at *dhis2api.Client, cell string, version int) {
	name := fmt.Sprintf("%s's photo %d", cell, version)
	m.upload(at, name, "image/png", picture(uint8(version)))
	attribute("photo", m.id(name), m.id(name), m.id(name))(m, at, cell, version)
}

// couple is the cell's person and a child.
func couple(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.person(at, cell, nil)
	m.person(at, cell+"'s child", nil)
}

func (m *matrix) sample(at *dhis2api.Client, cell, chlorine string) {
	m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{
		Event: m.id(cell), Program: m.id("water"), ProgramStage: m.id("sample"), OrgUnit: m.id("soloy"), Status: "COMPLETED", OccurredAt: "2026-05-04", CompletedAt: "2026-05-04T12:00:00.000",
		DataValues: []dhis2api.EventDataValue{{DataElement: m.id("chlorine"), Value: chlorine}},
	}}}, "")
}

func (m *matrix) value(at *dhis2api.Client, cell, value, comment string) {
	m.dataValue(at, &dhis2api.DataValue{DataElement: m.id("cases"), Period: m.period(cell), OrgUnit: m.id("soloy"), Value: value, Comment: comment}, "")
}

func (m *matrix) removeValue(at *dhis2api.Client, cell string) {
	m.dataValue(at, &dhis2api.DataValue{DataElement: m.id("cases"), Period: m.period(cell), OrgUnit: m.id("soloy"), Value: "9"}, dhis2api.ImportStrategyDelete)
}

func (m *matrix) dataValue(at *dhis2api.Client, value *dhis2api.DataValue, strategy dhis2api.ImportStrategy) {
	r, err := at.ImportDataValues(m.t.Context(), dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{value}}, dhis2api.DataValueImportOptions{Strategy: strategy})
	m.must(err)
	if len(r.Conflicts) > 0 {
		m.t.Fatalf("%s refuses a value: %s", at.BaseURL(), asJSON(r))
	}
}

// period is the month of a cell's form, one for each.
func (m *matrix) period(cell string) string {
	if m.periods[cell] == "" {
		n := len(m.periods)
		m.periods[cell] = fmt.Sprintf("%d%02d", 2010+n/12, 1+n%12)
	}
	return m.periods[cell]
}

// gone is what is seen of what a server no longer has.
const gone = "gone"

func (m *matrix) seenAs(err error, seen func() string) string {
	var status *dhis2api.StatusError
	if dhis2api.NotFound(err) || errors.As(err, &status) && status.Status == http.StatusConflict {
		return gone
	}
	m.must(err)
	return seen()
}

func seenAttribute(name string) func(*matrix, *dhis2api.Client, string) string {
	return func(m *matrix, at *dhis2api.Client, cell string) string {
		p, err := at.TrackedEntity(m.t.Context(), m.id(cell), dhis2api.Lookup{Program: m.id("program")})
		if err != nil {
			p, err = at.TrackedEntity(m.t.Context(), m.id(cell), dhis2api.Lookup{})
		}
		return m.seenAs(err, func() string {
			for _, a := range p.Attributes {
				if a.Attribute == m.id(name) {
					return a.Value
				}
			}
			return ""
		})
	}
}

func seenEnrollment(m *matrix, at *dhis2api.Client, cell string) string {
	e, err := at.Enrollment(m.t.Context(), m.id(cell+"'s enrollment"), dhis2api.Lookup{})
	return m.seenAs(err, func() string {
		seen := fmt.Sprint(e.EnrolledAt, " ", e.Status, " ", e.OrgUnit, " ", e.FollowUp)
		var notes []string
		for _, note := range e.Notes {
			notes = append(notes, note.Value)
		}
		slices.Sort(notes)
		return seen + fmt.Sprint(notes)
	})
}

func seenEvent(name string) func(*matrix, *dhis2api.Client, string) string {
	return func(m *matrix, at *dhis2api.Client, cell string) string {
		e, err := at.Event(m.t.Context(), m.id(cell+"'s "+name), dhis2api.Lookup{})
		return m.seenAs(err, func() string {
			user := ""
			if e.AssignedUser != nil {
				user = e.AssignedUser.Username
			}
			var values []string
			for _, v := range e.DataValues {
				values = append(values, v.DataElement+"="+v.Value)
			}
			slices.Sort(values)
			return fmt.Sprint(e.OccurredAt, e.Status, e.OrgUnit, user, string(e.Geometry), values)
		})
	}
}

func seenSample(m *matrix, at *dhis2api.Client, cell string) string {
	e, err := at.Event(m.t.Context(), m.id(cell), dhis2api.Lookup{})
	return m.seenAs(err, func() string { return e.DataValues[0].Value })
}

func seenPhoto(m *matrix, at *dhis2api.Client, cell string) string {
	uid := seenAttribute("photo")(m, at, cell)
	if uid == "" || uid == gone {
		return uid
	}
	content, err := at.ValueFile(m.t.Context(), dhis2api.FileValue{TrackedEntity: m.id(cell), Attribute: m.id("photo"), Program: m.id("program")})
	m.must(err)
	defer content.Close()
	found, err := io.ReadAll(content)
	m.must(err)
	for seed := range 4 {
		if bytes.Equal(found, picture(uint8(seed))) {
			return fmt.Sprint("picture ", seed)
		}
	}
	return "another picture"
}

func seenOwner(m *matrix, at *dhis2api.Client, cell string) string {
	p, err := at.TrackedEntity(m.t.Context(), m.id(cell), dhis2api.Lookup{})
	return m.seenAs(err, func() string { return fmt.Sprint(p.ProgramOwners) })
}

func seenTies(m *matrix, at *dhis2api.Client, cell string) string {
	count := 0
	for tie, err := range at.Relationships(m.t.Context(), dhis2api.RelationshipQuery{TrackedEntity: m.id(cell)}) {
		m.must(err)
		if tie.RelationshipType == m.id("mother") {
			count++
		}
	}
	return fmt.Sprint(count)
}

func rootsOfTies(m *matrix, cell string) []string {
	return []string{"relationship:" + m.id(cell+"'s tie 1"), "relationship:" + m.id(cell+"'s tie 2")}
}

func seenForm(m *matrix, at *dhis2api.Client, cell string) string {
	seen := ""
	values := dhis2api.DataValueQuery{DataSets: []string{m.id("form")}, Periods: []string{m.period(cell)}, OrgUnits: []string{m.id("soloy")}}
	for v, err := range at.DataValues(m.t.Context(), values) {
		m.must(err)
		if v.DataElement == m.id("cases") {
			seen += v.Value + v.Comment
		}
	}
	completions := dhis2api.CompletionQuery{DataSets: []string{m.id("form")}, Periods: []string{m.period(cell)}, OrgUnits: []string{m.id("soloy")}}
	for c, err := range at.Completions(m.t.Context(), completions) {
		m.must(err)
		seen += fmt.Sprint(" complete ", c.Completed)
	}
	return seen
}
