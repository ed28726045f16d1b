package orchestrator_test

import (
	"encoding/json"
	"fmt"
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
	// tried tells that it is done all the same, and changes nothing at the server that it is done at.
	tried bool
}

func matrixRows() []matrixRow {
	const created, changed, deleted, reopened = "create", "change", "delete", "reopen"
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
		{kind: "tracked entity's org unit", verb: changed, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			m.entity(at, cell, func(p *dhis2api.TrackedEntity) { p.OrgUnit = m.elsewhere(version) })
		}, seen: seenEntity},
		{kind: "inactive flag", verb: created, base: person, do: inactive, seen: seenEntity, never: only("it is inactive or not")},
		{kind: "inactive flag", verb: deleted, base: personWith(func(_ *matrix, p *dhis2api.TrackedEntity, _ string) { p.Inactive = true }), do: plain, seen: seenEntity,
			never: only("it is inactive or not")},
		{kind: "tracked entity's geometry", verb: created, base: person, do: located, seen: seenEntity},
		{kind: "tracked entity's geometry", verb: changed, base: personWith(func(_ *matrix, p *dhis2api.TrackedEntity, _ string) { p.Geometry = point(3) }), do: located, seen: seenEntity},
		{kind: "tracked entity's geometry", verb: deleted, base: personWith(func(_ *matrix, p *dhis2api.TrackedEntity, _ string) { p.Geometry = point(3) }), do: plain, other: located, seen: seenEntity},

		{kind: "enrollment", verb: created, base: personWith(func(_ *matrix, p *dhis2api.TrackedEntity, _ string) { p.Enrollments = nil }),
			do: enrollment(func(e *dhis2api.Enrollment, version int) {
				e.EnrolledAt = fmt.Sprintf("2026-05-0%dT00:00:00.000", version)
			}), seen: seenEnrollment},
		{kind: "enrollment", verb: changed, base: person,
			do: enrolledOn, seen: seenEnrollment},
		{kind: "enrollment", verb: deleted, base: person, do: deleteEnrollment, other: enrollment(func(e *dhis2api.Enrollment, _ int) { e.EnrolledAt = "2026-04-02T00:00:00.000" }), seen: seenEnrollment},
		{kind: "enrollment's status", verb: changed, base: person, do: enrollment(func(e *dhis2api.Enrollment, version int) {
			e.Status, e.CompletedAt = []string{"COMPLETED", "CANCELLED"}[version-1], "2026-05-20T10:00:00.000"
		}), seen: seenEnrollment},
		{kind: "enrollment's status", verb: reopened, base: personWith(withEnrollment(func(e *dhis2api.Enrollment) { e.Status, e.CompletedAt = "COMPLETED", "2026-05-20T10:00:00.000" })),
			do: enrollment(func(*dhis2api.Enrollment, int) {}), other: enrollment(func(e *dhis2api.Enrollment, _ int) {
				e.Status, e.CompletedAt = "CANCELLED", "2026-05-21T10:00:00.000"
			}), seen: seenEnrollment},
		{kind: "enrollment's date of completion", verb: changed, base: personWith(withEnrollment(func(e *dhis2api.Enrollment) { e.Status, e.CompletedAt = "COMPLETED", "2026-05-20T10:00:00.000" })),
			do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
				enrollment(func(*dhis2api.Enrollment, int) {})(m, at, cell, version)
				enrollment(func(e *dhis2api.Enrollment, version int) { e.Status, e.CompletedAt = "COMPLETED", completedOn(version) })(m, at, cell, version)
			}, seen: seenEnrollment},
		{kind: "enrollment's org unit", verb: changed, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			enrollment(func(e *dhis2api.Enrollment, version int) { e.OrgUnit = m.elsewhere(version) })(m, at, cell, version)
		}, seen: seenEnrollment},
		{kind: "follow-up mark", verb: created, base: person, do: enrollment(func(e *dhis2api.Enrollment, _ int) { e.FollowUp = true }), seen: seenEnrollment,
			never: only("there is only one mark")},
		{kind: "follow-up mark", verb: deleted, base: personWith(withEnrollment(func(e *dhis2api.Enrollment) { e.FollowUp = true })),
			do: enrollment(func(*dhis2api.Enrollment, int) {}), seen: seenEnrollment, never: only("there is only one mark")},
		{kind: "enrollment's geometry", verb: created, base: person, do: enrollment(func(e *dhis2api.Enrollment, version int) { e.Geometry = point(version) }), seen: seenEnrollment},
		{kind: "enrollment's geometry", verb: changed, base: personWith(withEnrollment(func(e *dhis2api.Enrollment) { e.Geometry = point(3) })),
			do: enrollment(func(e *dhis2api.Enrollment, version int) { e.Geometry = point(version) }), seen: seenEnrollment},
		{kind: "enrollment's geometry", verb: deleted, base: personWith(withEnrollment(func(e *dhis2api.Enrollment) { e.Geometry = point(3) })),
			do: enrollment(func(*dhis2api.Enrollment, int) {}), other: enrollment(func(e *dhis2api.Enrollment, version int) { e.Geometry = point(version) }), seen: seenEnrollment},

		{kind: "event", verb: created, base: person, do: secondVisit, seen: seenEvent("second visit")},
		{kind: "event", verb: changed, base: person, do: event(func(e *dhis2api.Event, version int) { e.OccurredAt = fmt.Sprintf("2026-05-1%dT09:00:00.000", version) }),
			seen: seenEvent("first visit")},
		{kind: "event", verb: deleted, base: person, do: deleteEvent, other: value("weight", "71.5", "72.5"), seen: seenEvent("first visit")},
		{kind: "event's status", verb: changed, base: person, do: event(func(e *dhis2api.Event, version int) {
			e.Status, e.CompletedAt = "COMPLETED", "2026-05-20T10:00:00.000"
		}), seen: seenEvent("first visit"), never: only("it is complete or not")},
		{kind: "event's status", verb: reopened, base: personWith(withEvent(func(_ *matrix, e *dhis2api.Event) { e.Status, e.CompletedAt = "COMPLETED", "2026-05-20T10:00:00.000" })),
			do: event(func(*dhis2api.Event, int) {}), seen: seenEvent("first visit"), never: only("it is complete or not")},
		{kind: "event's date of completion", verb: changed, base: personWith(withEvent(func(_ *matrix, e *dhis2api.Event) { e.Status, e.CompletedAt = "COMPLETED", "2026-05-20T10:00:00.000" })),
			do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
				event(func(*dhis2api.Event, int) {})(m, at, cell, version)
				event(func(e *dhis2api.Event, version int) { e.Status, e.CompletedAt = "COMPLETED", completedOn(version) })(m, at, cell, version)
			}, seen: seenEvent("first visit")},
		{kind: "planned event", verb: changed, base: personWith(withEvent(func(_ *matrix, e *dhis2api.Event) {
			e.Status, e.OccurredAt, e.ScheduledAt, e.DataValues = "SCHEDULE", "", "2026-06-01T00:00:00.000", nil
		})), do: event(func(e *dhis2api.Event, version int) {
			e.Status, e.ScheduledAt = []string{"ACTIVE", "SKIPPED"}[version-1], "2026-06-01T00:00:00.000"
		}), seen: seenEvent("first visit")},
		{kind: "due date", verb: changed, base: personWith(withEvent(func(_ *matrix, e *dhis2api.Event) { e.ScheduledAt = "2026-06-01T00:00:00.000" })),
			do: event(func(e *dhis2api.Event, version int) { e.ScheduledAt = fmt.Sprintf("2026-06-1%dT00:00:00.000", version) }), seen: seenEvent("first visit")},
		{kind: "event's org unit", verb: changed, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			event(func(e *dhis2api.Event, version int) { e.OrgUnit = m.elsewhere(version) })(m, at, cell, version)
		}, seen: seenEvent("first visit")},
		{kind: "event's geometry", verb: created, base: person, do: event(func(e *dhis2api.Event, version int) { e.Geometry = point(version) }), seen: seenEvent("first visit")},
		{kind: "event's geometry", verb: changed, base: personWith(withEvent(func(_ *matrix, e *dhis2api.Event) { e.Geometry = point(3) })),
			do: event(func(e *dhis2api.Event, version int) { e.Geometry = point(version) }), seen: seenEvent("first visit")},
		{kind: "event's geometry", verb: deleted, base: personWith(withEvent(func(_ *matrix, e *dhis2api.Event) { e.Geometry = point(3) })),
			do: event(func(*dhis2api.Event, int) {}), other: event(func(e *dhis2api.Event, _ int) { e.Geometry = point(2) }), seen: seenEvent("first visit")},
		{kind: "assigned user", verb: created, base: person, do: assigned, seen: seenEvent("first visit")},
		{kind: "assigned user", verb: changed, base: personWith(withEvent(func(m *matrix, e *dhis2api.Event) { e.AssignedUser = &dhis2api.UserRef{Username: m.username("nilda")} })),
			do: assigned, seen: seenEvent("first visit")},
		{kind: "assigned user", verb: deleted, base: personWith(withEvent(func(m *matrix, e *dhis2api.Event) { e.AssignedUser = &dhis2api.UserRef{Username: m.username("nilda")} })),
			do: event(func(*dhis2api.Event, int) {}), seen: seenEvent("first visit"), never: never("DHIS2 takes none away"), tried: true},

		{kind: "data value", verb: created, base: person, do: value("remark", "cough", "fever"), seen: seenEvent("first visit")},
		{kind: "data value", verb: changed, base: person, do: value("weight", "71.5", "72.5"), seen: seenEvent("first visit")},
		{kind: "data value", verb: deleted, base: person, do: value("weight", "", ""), other: value("weight", "71.5", "72.5"), seen: seenEvent("first visit")},
		{kind: "note", verb: created, base: person, do: notedEnrollment, seen: seenEnrollment},
		{kind: "event's note", verb: created, base: person, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			event(func(e *dhis2api.Event, version int) { e.Notes = m.noted(cell, version) })(m, at, cell, version)
		}, seen: seenEvent("first visit")},
		{kind: "file", verb: created, base: person, do: photo, seen: seenPhoto},
		{kind: "file", verb: changed, base: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.person(at, cell, nil)
			photo(m, at, cell, 3)
		}, do: photo, seen: seenPhoto},
		{kind: "file", verb: deleted, base: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.person(at, cell, nil)
			photo(m, at, cell, 3)
		}, do: attribute("photo", "", ""), other: photo, seen: seenPhoto},
		{kind: "event's file", verb: created, base: person, do: woundShown, seen: seenWound},
		{kind: "event's file", verb: changed, base: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.person(at, cell, nil)
			woundShown(m, at, cell, 3)
		}, do: woundShown, seen: seenWound},
		{kind: "event's file", verb: deleted, base: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.person(at, cell, nil)
			woundShown(m, at, cell, 3)
		}, do: value("wound", "", ""), other: woundShown, seen: seenWound},
		{kind: "owner", verb: changed, base: person, do: transferred, seen: seenOwner},
		{kind: "relationship", verb: created, base: couple, do: tied, seen: seenTies, roots: rootsOfTies},
		{kind: "relationship", verb: deleted, base: tiedCouple, do: untied, seen: seenTies, roots: rootsOfTies, never: only("a relationship is never changed")},
	}
	return slices.Concat(rows, secretRows(), singleEventRows(), formRows())
}

// secretRows are those of what central marked skipSynchronization.
func secretRows() []matrixRow {
	person := func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.person(at, cell, nil) }
	known := func(m *matrix, at *dhis2api.Client, cell string, _ int) {
		m.person(at, cell, func(p *dhis2api.TrackedEntity) { m.setAttribute(p, "secret", "one") })
	}
	remembered := func(m *matrix, at *dhis2api.Client, cell string, _ int) {
		m.person(at, cell, func(p *dhis2api.TrackedEntity) {
			e := p.Enrollments[0].Events[0]
			e.DataValues = append(e.DataValues, dhis2api.EventDataValue{DataElement: m.id("whisper"), Value: "one"})
		})
	}
	return []matrixRow{
		{kind: "attribute marked skipSynchronization", verb: "create", base: person, do: attribute("secret", "two", "three"), seen: seenAttribute("secret")},
		{kind: "attribute marked skipSynchronization", verb: "change", base: known, do: attribute("secret", "two", "three"), seen: seenAttribute("secret")},
		{kind: "data value marked skipSynchronization", verb: "create", base: person, do: value("whisper", "two", "three"), seen: seenEvent("first visit")},
		{kind: "data value marked skipSynchronization", verb: "change", base: remembered, do: value("whisper", "two", "three"), seen: seenEvent("first visit")},
	}
}

// defineSecrets gives the program an attribute and a data element that never travel.
func (m *matrix) defineSecrets() {
	sharing := map[string]any{"public": "rwrw----", "external": false}
	m.define("trackedEntityAttributes", "secret", map[string]any{"valueType": "TEXT", "aggregationType": "NONE", "skipSynchronization": true, "sharing": sharing})
	m.define("dataElements", "whisper", map[string]any{
		"valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE", "categoryCombo": m.defaultCombo(), "sharing": sharing,
	})
	m.give("trackedEntityAttributes", "dataElements")
	m.edit("programs", "program", func(program map[string]any) {
		program["programTrackedEntityAttributes"] = append(program["programTrackedEntityAttributes"].([]any), map[string]any{
			"id": m.id("in program secret"), "program": m.ref("program"), "trackedEntityAttribute": m.ref("secret"), "sortOrder": 9,
		})
	})
	m.edit("programStages", "visit", func(stage map[string]any) {
		element := m.stageElement("visit", "whisper")
		element["skipSynchronization"] = true
		stage["programStageDataElements"] = append(stage["programStageDataElements"].([]any), element)
	})
}

// only is a reason why both sides cannot do something differently.
func only(why string) map[string]string { return map[string]string{bothDifferently: why} }

// never is a reason for all columns.
func never(why string) map[string]string {
	reasons := map[string]string{}
	for _, column := range matrixColumns() {
		reasons[column] = why
	}
	return reasons
}

// noted is a note of a cell.
func (m *matrix) noted(cell string, version int) []dhis2api.Note {
	return []dhis2api.Note{{Note: m.id(fmt.Sprintf("%s's note %d", cell, version)), Value: fmt.Sprintf("note %d", version)}}
}

// elsewhere is another org unit; that of the second version is not in the scope.
func (m *matrix) elsewhere(version int) string { return m.id([]string{"cerro", "city"}[version-1]) }

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

func withEnrollment(with func(*dhis2api.Enrollment)) func(*matrix, *dhis2api.TrackedEntity, string) {
	return func(_ *matrix, p *dhis2api.TrackedEntity, _ string) { with(p.Enrollments[0]) }
}

func deletePerson(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.send(at, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: m.id(cell)}}}, dhis2api.ImportStrategyDelete)
}

// attribute sets an attribute to one of two values.
func attribute(name string, values ...string) act {
	return func(m *matrix, at *dhis2api.Client, cell string, version int) {
		m.entity(at, cell, func(p *dhis2api.TrackedEntity) {
			p.Attributes = []dhis2api.Attribute{{Attribute: m.id(name), Value: values[version-1]}}
		})
	}
}

// entity sends the cell's person without attributes and enrollments, changed; what is left out of it but these is emptied.
func (m *matrix) entity(at *dhis2api.Client, cell string, change func(*dhis2api.TrackedEntity)) {
	p := &dhis2api.TrackedEntity{TrackedEntity: m.id(cell), TrackedEntityType: m.id("patient"), OrgUnit: m.id("soloy")}
	change(p)
	m.send(at, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{p}}, "")
}

// plain sends the cell's person with nothing but its org unit.
func plain(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.entity(at, cell, func(*dhis2api.TrackedEntity) {})
}

func inactive(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.entity(at, cell, func(p *dhis2api.TrackedEntity) { p.Inactive = true })
}

func located(m *matrix, at *dhis2api.Client, cell string, version int) {
	m.entity(at, cell, func(p *dhis2api.TrackedEntity) { p.Geometry = point(version) })
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

func completedOn(version int) string { return fmt.Sprintf("2026-05-2%dT10:00:00.000", version) }

func point(version int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"type":"Point","coordinates":[-81.%d,8.5]}`, version))
}

func photo(m *matrix, at *dhis2api.Client, cell string, version int) {
	name := fmt.Sprintf("%s's photo %d", cell, version)
	m.upload(at, name, "image/png", picture(uint8(version)))
	attribute("photo", m.id(name), m.id(name), m.id(name))(m, at, cell, version)
}

func woundShown(m *matrix, at *dhis2api.Client, cell string, version int) {
	name := fmt.Sprintf("%s's wound %d", cell, version)
	m.upload(at, name, "image/png", picture(uint8(version)))
	value("wound", m.id(name), m.id(name), m.id(name))(m, at, cell, version)
}

// couple is the cell's person and a child.
func couple(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.person(at, cell, nil)
	m.person(at, cell+"'s child", nil)
}
