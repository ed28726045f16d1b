package orchestrator_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

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
		completed := e.CompletedAt
		if at.Version().Minor < 42 { // the moment of the import
			completed = ""
		}
		return fmt.Sprintln(e.EnrolledAt, e.Status, completed, e.OrgUnit, e.FollowUp, string(e.Geometry), texts(e.Notes))
	})
}

// texts are those of notes, in order.
func texts(notes []dhis2api.Note) []string {
	var all []string
	for _, note := range notes {
		all = append(all, note.Value)
	}
	slices.Sort(all)
	return all
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
			return fmt.Sprintln(e.OccurredAt, e.ScheduledAt, e.Status, e.CompletedAt, e.OrgUnit, user, string(e.Geometry), values, texts(e.Notes))
		})
	}
}

// seenTree is the cell's person with all that hangs on it, and the owner as long as there is an enrollment: after it central
// keeps that, and a kit that is loaded anew does not have it.
func seenTree(m *matrix, at *dhis2api.Client, cell string) string {
	seen := seenEntity(m, at, cell)
	if seen == gone {
		return gone
	}
	for _, more := range []func(*matrix, *dhis2api.Client, string) string{
		seenAttribute("phone"), seenPhoto, seenEnrollment, seenEvent("first visit"), seenEvent("second visit"), seenTies,
	} {
		seen += more(m, at, cell) + "\n"
	}
	if seenEnrollment(m, at, cell) == gone {
		return seen
	}
	return seen + seenOwner(m, at, cell)
}

func seenSample(m *matrix, at *dhis2api.Client, cell string) string {
	e, err := at.Event(m.t.Context(), m.id(cell), dhis2api.Lookup{})
	return m.seenAs(err, func() string { return fmt.Sprint(e.OccurredAt, e.DataValues[0].Value, texts(e.Notes)) })
}

func seenPhoto(m *matrix, at *dhis2api.Client, cell string) string {
	uid := seenAttribute("photo")(m, at, cell)
	if uid == "" || uid == gone {
		return uid
	}
	return m.seenFile(at, dhis2api.FileValue{TrackedEntity: m.id(cell), Attribute: m.id("photo"), Program: m.id("program")})
}

func seenWound(m *matrix, at *dhis2api.Client, cell string) string {
	e, err := at.Event(m.t.Context(), m.id(cell+"'s first visit"), dhis2api.Lookup{})
	return m.seenAs(err, func() string {
		for _, v := range e.DataValues {
			if v.DataElement == m.id("wound") {
				return m.seenFile(at, dhis2api.FileValue{Event: e.Event, DataElement: v.DataElement})
			}
		}
		return ""
	})
}

// seenFile tells which picture a value's file is.
func (m *matrix) seenFile(at *dhis2api.Client, value dhis2api.FileValue) string {
	content, err := at.ValueFile(m.t.Context(), value)
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

// seenEntity is the tracked entity's own content but for its attributes.
func seenEntity(m *matrix, at *dhis2api.Client, cell string) string {
	p, err := at.TrackedEntity(m.t.Context(), m.id(cell), dhis2api.Lookup{})
	return m.seenAs(err, func() string { return fmt.Sprintln(p.OrgUnit, p.Inactive, string(p.Geometry)) })
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
			seen += fmt.Sprintln(v.Value, v.Comment, v.FollowUp)
		}
	}
	completions := dhis2api.CompletionQuery{DataSets: []string{m.id("form")}, Periods: []string{m.period(cell)}, OrgUnits: []string{m.id("soloy")}}
	for c, err := range at.Completions(m.t.Context(), completions) {
		m.must(err)
		seen += fmt.Sprint(" complete ", c.Completed)
	}
	return seen
}
