package orchestrator_test

import (
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// content is all that a server holds of the scope, value by value: no value where an object is not there.
type content map[datum]string

// datum names one value.
type datum struct {
	// uid is the object's; of a value in a form what it begins with. field is empty for the object itself.
	uid, field string
	// within are the objects that it belongs to, the nearest first, parted by commas.
	within string
}

// enrolled is no field of DHIS2's: a server shows the attributes of a program only of people who are in it.
const enrolled = "enrolled"

// holds reads a server with the plainest requests there are.
func (s *seededTrip) holds(client *dhis2api.Client) content {
	s.t.Helper()
	c := content{}
	ctx := s.t.Context()
	note := func(person *dhis2api.TrackedEntity) {
		c.person(person)
		for _, r := range person.Relationships {
			s.ties[r.Relationship] = tie(r)
		}
	}
	// By type, for a list by program lacks whose enrollment is deleted; and by program for the attributes of that.
	people := dhis2api.TrackedEntityQuery{TrackedEntityType: s.id("patient"), OrgUnits: []string{s.id("villages")}, OrgUnitMode: dhis2api.OrgUnitModeDescendants}
	var uids []string
	for person, err := range client.TrackedEntities(ctx, people) {
		if err != nil {
			s.t.Fatal(err)
		}
		note(person)
		uids = append(uids, person.TrackedEntity)
	}
	for person, err := range client.TrackedEntitiesByID(ctx, uids, dhis2api.Lookup{Program: s.id("program")}) {
		if err != nil {
			s.t.Fatal(err)
		}
		note(person)
	}
	samples := dhis2api.EventQuery{Program: s.id("water"), OrgUnit: s.id("villages"), OrgUnitMode: dhis2api.OrgUnitModeDescendants}
	for event, err := range client.Events(ctx, samples) {
		if err != nil {
			s.t.Fatal(err)
		}
		c.event(event, "")
	}
	for _, period := range []string{"202604", "202605"} {
		query := dhis2api.DataValueQuery{DataSets: []string{s.id("form")}, Periods: []string{period}, OrgUnits: []string{s.id("soloy")}}
		for value, err := range client.DataValues(ctx, query) {
			if err != nil {
				s.t.Fatal(err)
			}
			c[datum{uid: value.DataElement + "." + value.Period, field: "value"}] = value.Value
		}
	}
	return c
}

func (c content) person(p *dhis2api.TrackedEntity) {
	c[datum{uid: p.TrackedEntity}] = "there"
	for _, a := range p.Attributes {
		c[datum{uid: p.TrackedEntity, field: a.Attribute}] = a.Value
	}
	if len(p.Enrollments) > 0 {
		c[datum{uid: p.TrackedEntity, field: enrolled}] = "yes"
	}
	for _, r := range p.Relationships {
		c.relationship(r)
	}
	for _, e := range p.Enrollments {
		c[datum{uid: e.Enrollment, within: p.TrackedEntity}] = "there"
		c[datum{uid: e.Enrollment, field: "status", within: p.TrackedEntity}] = e.Status
		for _, n := range e.Notes {
			c[datum{uid: n.Note, within: e.Enrollment + "," + p.TrackedEntity}] = n.Value
		}
		for _, event := range e.Events {
			c.event(event, e.Enrollment+","+p.TrackedEntity)
		}
	}
}

func (c content) event(e *dhis2api.Event, within string) {
	c[datum{uid: e.Event, within: within}] = "there"
	c[datum{uid: e.Event, field: "status", within: within}] = e.Status
	c[datum{uid: e.Event, field: "occurredAt", within: within}] = e.OccurredAt
	for _, v := range e.DataValues {
		c[datum{uid: e.Event, field: v.DataElement, within: within}] = v.Value
	}
}

func (c content) relationship(r *dhis2api.Relationship) { c[tie(r)] = "there" }

// tie is a relationship as DHIS2 sees it: two of the same ends are one, whatever their uids.
func tie(r *dhis2api.Relationship) datum {
	_, from := r.From.Ref()
	_, to := r.To.Ref()
	return datum{uid: from + " to " + to, within: from + "," + to}
}

// told tells whether a report names a value, or an object that it belongs to.
func (s *seededTrip) told(r *report.Report, d datum) bool {
	named := func(ref report.Reference) bool {
		return ref.UID == d.uid || s.ties[ref.UID] == d || strings.HasPrefix(ref.UID, d.uid+".") || d.within != "" && slices.Contains(strings.Split(d.within, ","), ref.UID)
	}
	return slices.ContainsFunc(r.Conflicts, func(c report.Conflict) bool {
		return named(c.Reference) && (c.Field == "" || d.field == "" || c.Field == d.field || c.UID != d.uid)
	}) || slices.ContainsFunc(r.Refusals, func(no report.Refusal) bool { return named(no.Reference) || no.Person == d.uid }) ||
		slices.ContainsFunc(r.Waiting, func(w report.Waiting) bool { return named(w.Reference) || w.Person == d.uid })
}

// judge holds what central came to against what it was, what the kit has, and what both began with. Of what tablets sent
// while a run was under way, unsure, an earlier value may have gone home first.
func (s *seededTrip) judge(base, kit, before, after, unsure content, r *report.Report) {
	s.t.Helper()
	all := content{}
	for _, one := range []content{base, kit, before, after} {
		maps.Copy(all, one)
	}
	wrong := func(d datum, what string) {
		s.t.Errorf("%+v: %s; began as %q, kit %q, central before %q and after %q", d, what, base[d], kit[d], before[d], after[d])
	}
	for d := range all {
		_, moving := unsure[d]
		hidden := func(c content) bool {
			return c[datum{uid: d.uid}] != "" && c[datum{uid: d.uid, field: enrolled}] == ""
		}
		switch {
		case d.field == enrolled, d.within == "" && d.field != "" && slices.ContainsFunc([]content{base, kit, before, after}, hidden):
		case kit[d] == base[d] && after[d] != before[d] && !moving:
			wrong(d, "central's value was touched, and nobody changed it on the kit")
		case kit[d] == base[d] || after[d] == kit[d] && (before[d] == base[d] || before[d] == kit[d] || moving):
			// As it should be.
		case after[d] == kit[d]:
			wrong(d, "central's own change was overwritten")
		case !s.told(r, d):
			wrong(d, "it is not at central, and nobody is told")
		case after[d] != before[d] && !moving:
			wrong(d, "held, and central's value was touched all the same")
		}
	}
	if sums := r.Sums; sums.Open != 0 || sums.Total != sums.Home()+sums.Held+sums.OutOfScope+sums.Dropped {
		s.t.Errorf("the sums do not add up: %+v", sums)
	}
}

// began is what a trip begins with: what both sides hold alike, and of what travels on what the trip before began with.
func began(before, kit, central content) content {
	base := maps.Clone(central)
	for _, one := range []content{kit, central} {
		for d := range one {
			if kit[d] == central[d] {
				continue
			}
			if base[d] = before[d]; base[d] == "" {
				delete(base, d)
			}
		}
	}
	return base
}

// agreed is what the next night begins with: what both sides hold alike, and of what is held what they began with.
func agreed(base, kit, after content) content {
	next := maps.Clone(base)
	for d := range after {
		if after[d] == kit[d] {
			next[d] = after[d]
		}
	}
	for d := range base {
		_, there := after[d]
		if _, still := kit[d]; !there && !still {
			delete(next, d)
		}
	}
	return next
}
