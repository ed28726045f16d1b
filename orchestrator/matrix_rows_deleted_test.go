package orchestrator_test

import (
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// The columns of the second table: where it is deleted. The other side does something to it, or below it.
const (
	deletedOnKit     = "deleted on the kit"
	deletedAtCentral = "deleted at central"
)

func deletedColumns() []string { return []string{deletedOnKit, deletedAtCentral} }

// deletedRows are those in which one side deletes what the other changes, or hangs something on: do deletes, other is what the
// other side does.
func deletedRows() []matrixRow {
	rows := deletedPeople()
	rows = append(rows, deletedEnrollments()...)
	rows = append(rows, deletedEvents()...)
	return append(rows, deletedOthers()...)
}

func deletedPeople() []matrixRow {
	person := func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.person(at, cell, nil) }
	row := func(verb string, other act) matrixRow {
		return matrixRow{kind: "tracked entity", verb: verb, base: person, do: deletePerson, other: other, seen: seenTree, roots: rootsOfTree}
	}
	based := func(r matrixRow, base act) matrixRow {
		r.base = base
		return r
	}
	unenrolled := func(m *matrix, at *dhis2api.Client, cell string, _ int) {
		m.person(at, cell, func(p *dhis2api.TrackedEntity) { p.Enrollments, p.Attributes = nil, nil })
	}
	return []matrixRow{
		row("attribute changed", attribute("phone", "6000-0001", "6000-0002")),
		row("attribute emptied", attribute("phone", "", "")),
		row("what is marked skipSynchronization changed", attribute("secret", "two", "three")),
		row("org unit changed", func(m *matrix, at *dhis2api.Client, cell string, version int) {
			m.entity(at, cell, func(p *dhis2api.TrackedEntity) { p.OrgUnit = m.elsewhere(version) })
		}),
		row("geometry added", located),
		row("file added", photo),
		row("owner changed", transferred),
		based(row("enrollment added", enrollment(func(*dhis2api.Enrollment, int) {})), unenrolled),
		row("enrollment changed", enrolledOn),
		row("enrollment deleted", deleteEnrollment),
		row("note added", notedEnrollment),
		row("event added", secondVisit),
		row("event deleted", deleteEvent),
		row("data value changed", value("weight", "71.5", "72.5")),
		based(row("relationship added", tied), couple),
		based(row("relationship deleted", untied), tiedCouple),
	}
}

func deletedEnrollments() []matrixRow {
	person := func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.person(at, cell, nil) }
	row := func(verb string, other act) matrixRow {
		return matrixRow{kind: "enrollment", verb: verb, base: person, do: deleteEnrollment, other: other, seen: seenTree}
	}
	return []matrixRow{
		row("date changed", enrolledOn),
		row("completed", enrollment(func(e *dhis2api.Enrollment, _ int) { e.Status, e.CompletedAt = "COMPLETED", "2026-05-20T10:00:00.000" })),
		row("marked for follow-up", enrollment(func(e *dhis2api.Enrollment, _ int) { e.FollowUp = true })),
		row("note added", notedEnrollment),
		row("event added", secondVisit),
		row("event changed", event(func(e *dhis2api.Event, _ int) { e.OccurredAt = "2026-05-12T09:00:00.000" })),
		row("event deleted", deleteEvent),
		row("data value changed", value("weight", "71.5", "72.5")),
		row("data value added", value("remark", "cough", "fever")),
	}
}

func deletedEvents() []matrixRow {
	person := func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.person(at, cell, nil) }
	row := func(verb string, other act) matrixRow {
		return matrixRow{kind: "event", verb: verb, base: person, do: deleteEvent, other: other, seen: seenTree}
	}
	return []matrixRow{
		row("date changed", event(func(e *dhis2api.Event, _ int) { e.OccurredAt = "2026-05-12T09:00:00.000" })),
		row("completed", event(func(e *dhis2api.Event, _ int) { e.Status, e.CompletedAt = "COMPLETED", "2026-05-20T10:00:00.000" })),
		row("assigned to a user", assigned),
		row("note added", func(m *matrix, at *dhis2api.Client, cell string, version int) {
			event(func(e *dhis2api.Event, version int) { e.Notes = m.noted(cell, version) })(m, at, cell, version)
		}),
		row("data value changed", value("weight", "71.5", "72.5")),
		row("data value added", value("remark", "cough", "fever")),
		row("data value emptied", value("weight", "", "")),
		row("file added", woundShown),
		row("what is marked skipSynchronization changed", value("whisper", "two", "three")),
	}
}

// deletedOthers are those of relationships, of events without registration and of forms.
func deletedOthers() []matrixRow {
	sampleRoots := func(m *matrix, cell string) []string { return []string{"event:" + m.id("water") + "." + m.id(cell)} }
	sample := func(verb string, change func(m *matrix, e *dhis2api.Event, cell string)) matrixRow {
		return matrixRow{
			kind: "event without registration", verb: verb, roots: sampleRoots, seen: seenSample,
			base: func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.sample(at, cell, "0.4") },
			do: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
				m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: m.id(cell)}}}, dhis2api.ImportStrategyDelete)
			},
			other: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
				e := m.sampled(cell, "0.4")
				change(m, e, cell)
				m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "")
			},
		}
	}
	form := func(verb, value, comment string, mark bool) matrixRow {
		return matrixRow{
			kind: "aggregate value", verb: verb, seen: seenForm,
			roots: func(m *matrix, cell string) []string {
				return []string{"form:" + m.id("form") + "." + m.period(cell) + "." + m.id("soloy")}
			},
			base: func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.value(at, cell, "9", "as before") },
			do:   func(m *matrix, at *dhis2api.Client, cell string, _ int) { m.removeValue(at, cell) },
			other: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
				m.dataValue(at, &dhis2api.DataValue{DataElement: m.id("cases"), Period: m.period(cell), OrgUnit: m.id("soloy"), Value: value, Comment: comment, FollowUp: mark}, "")
			},
		}
	}
	return []matrixRow{
		{kind: "relationship", verb: "its end deleted", base: tiedCouple, do: untied, other: deletePerson, seen: seenTree, roots: rootsOfTree},
		sample("date changed", func(_ *matrix, e *dhis2api.Event, _ string) { e.OccurredAt = "2026-05-12T09:00:00.000" }),
		sample("data value changed", func(m *matrix, e *dhis2api.Event, _ string) { e.DataValues[0].Value = "0.2" }),
		sample("note added", func(m *matrix, e *dhis2api.Event, cell string) { e.Notes = m.noted(cell, 1) }),
		form("value changed", "1", "as before", false),
		form("comment changed", "9", "remark 1", false),
		form("marked for follow-up", "9", "as before", true),
	}
}

func enrolledOn(m *matrix, at *dhis2api.Client, cell string, version int) {
	enrollment(func(e *dhis2api.Enrollment, version int) {
		e.EnrolledAt = fmt.Sprintf("2026-04-0%dT00:00:00.000", version)
	})(m, at, cell, version)
}

func notedEnrollment(m *matrix, at *dhis2api.Client, cell string, version int) {
	enrollment(func(e *dhis2api.Enrollment, version int) { e.Notes = m.noted(cell, version) })(m, at, cell, version)
}

func deleteEnrollment(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.send(at, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{{Enrollment: m.id(cell + "'s enrollment")}}}, dhis2api.ImportStrategyDelete)
}

func deleteEvent(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: m.id(cell + "'s first visit")}}}, dhis2api.ImportStrategyDelete)
}

func secondVisit(m *matrix, at *dhis2api.Client, cell string, version int) {
	m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{m.visit(cell, "second visit", fmt.Sprintf("7%d.5", version))}}, "")
}

func transferred(m *matrix, at *dhis2api.Client, cell string, version int) {
	m.must(at.TransferOwnership(m.t.Context(), m.id(cell), m.id("program"), m.elsewhere(version)))
}

// tied makes the cell's person the mother of the child, untied takes it back.
func tied(m *matrix, at *dhis2api.Client, cell string, version int) {
	tie := m.mother(cell, cell+"'s child")
	tie.Relationship = m.id(fmt.Sprintf("%s's tie %d", cell, version))
	m.send(at, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{tie}}, "")
}

func untied(m *matrix, at *dhis2api.Client, cell string, _ int) {
	m.send(at, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{{Relationship: m.id(cell + "'s tie 1")}}}, dhis2api.ImportStrategyDelete)
}

func tiedCouple(m *matrix, at *dhis2api.Client, cell string, version int) {
	couple(m, at, cell, version)
	tied(m, at, cell, 1)
}

// rootsOfTree are those of the cell's person and of the ties to the child.
func rootsOfTree(m *matrix, cell string) []string {
	return append(rootsOfTies(m, cell), "person:"+m.id(cell))
}
