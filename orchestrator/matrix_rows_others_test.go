package orchestrator_test

import (
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

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
		{kind: kind + ": note", verb: "create", base: base, do: func(m *matrix, at *dhis2api.Client, cell string, version int) {
			e := m.sampled(cell, "0.4")
			e.Notes = m.noted(cell, version)
			m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "")
		}, seen: seenSample, roots: roots},
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
	marked := func(mark bool) act {
		return func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.dataValue(at, &dhis2api.DataValue{DataElement: m.id("cases"), Period: m.period(cell), OrgUnit: m.id("soloy"), Value: "9", FollowUp: mark}, "")
		}
	}
	const completeOrNot, markedOrNot = "a form is complete or not", "there is only one mark"
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
		{kind: "aggregate value's follow-up mark", verb: "create", base: marked(false), do: marked(true), seen: seenForm, roots: roots, never: only(markedOrNot)},
		{kind: "aggregate value's follow-up mark", verb: "delete", base: marked(true), do: marked(false), seen: seenForm, roots: roots, never: only(markedOrNot)},
		{kind: "completion", verb: "create", base: plain("9", ""), do: complete, seen: seenForm, roots: roots, never: only(completeOrNot)},
		{kind: "completion", verb: "delete", base: func(m *matrix, at *dhis2api.Client, cell string, _ int) {
			m.value(at, cell, "9", "")
			complete(m, at, cell, 1)
		}, do: takenBack, seen: seenForm, roots: roots, never: only(completeOrNot)},
	}
}

func (m *matrix) sample(at *dhis2api.Client, cell, chlorine string) {
	m.send(at, dhis2api.TrackerPayload{Events: []*dhis2api.Event{m.sampled(cell, chlorine)}}, "")
}

func (m *matrix) sampled(cell, chlorine string) *dhis2api.Event {
	return &dhis2api.Event{
		Event: m.id(cell), Program: m.id("water"), ProgramStage: m.id("sample"), OrgUnit: m.id("soloy"), Status: "COMPLETED", OccurredAt: "2026-05-04", CompletedAt: "2026-05-04T12:00:00.000",
		DataValues: []dhis2api.EventDataValue{{DataElement: m.id("chlorine"), Value: chlorine}},
	}
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
