package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// check holds central and the report against what the day should have come to. Everything that is otherwise is
// in the error.
func (d *demo) check(ctx context.Context) error {
	c := &demoCheck{demo: d, ctx: ctx}
	c.patients()
	c.events()
	c.form()
	c.report(d.result.Report)
	d.result.Checks = c.checks
	return errors.Join(c.wrong...)
}

// demoCheck collects what is otherwise than it should be.
type demoCheck struct {
	*demo
	ctx    context.Context
	checks int
	wrong  []error
}

// expect notes a check and, when it failed, what is wrong.
func (c *demoCheck) expect(ok bool, format string, arguments ...any) {
	c.checks++
	if !ok {
		c.wrong = append(c.wrong, fmt.Errorf(format, arguments...))
	}
}

func (c *demoCheck) patients() {
	for patient, want := range map[string]map[string]string{
		"benito":    {"PHONE": "+507 6555 0101", "COMMUNITY": "Soloy Centro"},
		"celestina": {"PHONE": "+507 6999 0102", "BIRTH_DATE": "1989-02-02"},
		"jacinta":   {"COMMUNITY": "Boca de Balsa Arriba"},
		"luz":       c.programme.person("luz").Attributes,
		"ernesto":   c.programme.person("ernesto").Attributes,
		"tomas":     c.programme.person("tomas").Attributes,
	} {
		uid := c.programme.record(patient)
		found, err := c.base.TrackedEntity(c.ctx, uid, dhis2api.Lookup{Program: c.programme.id("CLINIC_VISIT")})
		c.expect(err == nil, "central does not show patient %s: %w", uid, err)
		if err != nil {
			continue
		}
		got := map[string]string{}
		for _, a := range found.Attributes {
			got[a.Attribute] = a.Value
		}
		for code, value := range want {
			c.expect(got[c.programme.id(code)] == value, "%s of patient %s is not what it should be at central", code, uid)
		}
	}
	_, err := c.base.TrackedEntity(c.ctx, c.programme.record("rosaura"), dhis2api.Lookup{})
	c.expect(dhis2api.NotFound(err), "central has patient %s, whose identity card is somebody else's", c.programme.record("rosaura"))
	_, err = c.base.Relationship(c.ctx, c.programme.record(motherhoodOf("dalia", "luz")), dhis2api.Lookup{})
	c.expect(err == nil, "central does not show the relationship of mother and child: %w", err)
	enrollment, err := c.base.Enrollment(c.ctx, c.programme.record(enrollmentOf("hilario")), dhis2api.Lookup{})
	c.expect(err == nil && len(enrollment.Notes) == 1, "the note on enrollment %s is not at central", c.programme.record(enrollmentOf("hilario")))
}

func (c *demoCheck) events() {
	for _, visit := range demoVisits() {
		if visit.patient == "rosaura" {
			continue
		}
		for stage, values := range map[string]map[string]string{"TRIAGE": visit.triage, "PROVIDER": visit.provider, "PHARMACY": visit.pharmacy} {
			if values != nil {
				c.event(eventOf(visit.patient, stage), values)
			}
		}
	}
	c.event(earlierEventOf("fidel", "TRIAGE"), map[string]string{"WEIGHT": "16.5", "REASON": "Check-up before school"})
	c.event(earlierEventOf("gregoria", "PROVIDER"), map[string]string{"DIAGNOSIS": "SKIN", "TREATMENT": ""})
	c.event("water of SOLOY", map[string]string{"CHLORINE": "0.4", "WATER_SAFE": "true"})
	c.event("water of CERRO_BANCO", map[string]string{"CHLORINE": "0.05", "WATER_SAFE": "false"})
	uid := c.programme.record(earlierEventOf("irene", "TRIAGE"))
	_, err := c.base.Event(c.ctx, uid, dhis2api.Lookup{})
	c.expect(dhis2api.NotFound(err), "event %s was deleted on the kit and is at central", uid)
}

// event checks some values of an event at central.
func (c *demoCheck) event(name string, want map[string]string) {
	uid := c.programme.record(name)
	found, err := c.base.Event(c.ctx, uid, dhis2api.Lookup{})
	c.expect(err == nil, "central does not show event %s: %w", uid, err)
	if err != nil {
		return
	}
	got := map[string]string{}
	for _, v := range found.DataValues {
		got[v.DataElement] = v.Value
	}
	for _, code := range slices.Sorted(maps.Keys(want)) {
		c.expect(got[c.programme.id(code)] == want[code], "%s of event %s is not what it should be at central", code, uid)
	}
}

func (c *demoCheck) form() {
	got := map[string]string{}
	query := dhis2api.DataValueQuery{
		DataSets: []string{c.programme.id("MONTHLY")}, Periods: []string{c.programme.period()}, OrgUnits: []string{c.programme.id("SOLOY")},
	}
	for value, err := range c.base.DataValues(c.ctx, query) {
		c.expect(err == nil, "central does not show the monthly form: %w", err)
		if err != nil {
			return
		}
		got[value.DataElement] = value.Value
	}
	for code, want := range map[string]string{"PEOPLE_SEEN": "28", "CHILDREN_DEWORMED": "1", "HOUSES_VISITED": "14"} {
		c.expect(got[c.programme.id(code)] == want, "%s of the monthly form is %q at central, not %s", code, got[c.programme.id(code)], want)
	}
}

// report checks what the report says.
func (c *demoCheck) report(r *report.Report) {
	s := r.Sums
	c.expect(s.Total == s.Pushed+s.AlreadyThere+s.Held+s.OutOfScope+s.Dropped && s.Open == 0, "the report's sums do not add up: %+v", s)
	// The phones of celestina and dionisio; rosaura, her enrollment, her visit and her motherhood.
	c.expect(s.Held == 6, "%d changes are held, not 6", s.Held)
	c.expect(s.AlreadyThere == 1, "%d changes were at central already, not 1", s.AlreadyThere)
	c.expect(len(r.Conflicts) == 2, "the report names %d conflicts, not 2", len(r.Conflicts))
	c.conflict(r, "celestina", "+507 6400 0102", "+507 6555 0102", "+507 6999 0102")
	c.conflict(r, "dionisio", "+507 6400 0103", "+507 6555 0103", "")
	refused := slices.ContainsFunc(r.Refusals, func(no report.Refusal) bool { return no.UID == c.programme.record("rosaura") && no.Code == "E1064" })
	c.expect(refused, "the report does not say that central refused patient %s with E1064", c.programme.record("rosaura"))
	c.expect(len(r.Refusals) == 1 && len(r.Waiting) == 3, "%d changes are refused and %d wait, not 1 and 3", len(r.Refusals), len(r.Waiting))
	waits := slices.ContainsFunc(r.Waiting, func(w report.Waiting) bool {
		return w.UID == c.programme.record(motherhoodOf("rosaura", "tomas"))
	})
	c.expect(waits, "the report does not say that a relationship waits for patient %s", c.programme.record("rosaura"))
	merged := slices.ContainsFunc(r.Merged, func(m report.Merged) bool {
		return m.UID == c.programme.record(earlierEventOf("fidel", "TRIAGE"))
	})
	c.expect(merged, "the report does not name the event that both sides edited")
}

func (c *demoCheck) conflict(r *report.Report, patient, base, local, central string) {
	uid, field := c.programme.record(patient), c.programme.id("PHONE")
	found := slices.ContainsFunc(r.Conflicts, func(one report.Conflict) bool {
		return one.UID == uid && one.Field == field && one.Base == base && one.Local == local && one.Central == central
	})
	c.expect(found, "the report does not name the phone of patient %s as a conflict, with what it was and is", uid)
}
