package orchestrator_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// clock is a wall clock that can be set wrong.
type clock struct{ off atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *clock) set(years int)  { c.off.Store(int64(time.Until(time.Now().AddDate(years, 0, 0)))) }

// simulatedOn starts a simulated server that keeps its data in the database, and returns its URL.
func simulatedOn(t testing.TB, version, database string, now func() time.Time) string {
	t.Helper()
	server, err := dhis2sim.Open(t.Context(), dhis2sim.Options{Version: version, Now: now}, dhis2sim.Database{URL: database})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(func() { listening.Close(); server.Close() })
	return listening.URL
}

// TestCandidatesByTransaction goes out with the kit's database at hand and clocks that then fall back by 30 years,
// does a clinic day, removes a row from each table by SQL, and expects every record found: the same changes as by
// comparing everything.
func TestCandidatesByTransaction(t *testing.T) {
	cluster := postgrestest.Start(t)
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			var c clock
			database := cluster.Database(t)
			w := newWorld(t, simulated(t, version), simulatedOn(t, version, database, c.now), database)
			w.now, w.ahead = c.now, true
			w.setUp()
			w.patientsAtCentral()
			w.manyRowsAtCentral()
			if receipt := w.prepare(); !receipt.Verified {
				t.Fatalf("prepare: %s", asJSON(receipt))
			}
			c.set(-30)
			if r := w.reconcile(true); r.Candidates.Records != 0 || r.Sums.Total != 0 {
				t.Fatalf("nothing was done, and %d records are found, with the sums %+v", r.Candidates.Records, r.Sums)
			}
			w.removeRows(database)
			w.clinicDay()
			w.sameWithoutDatabase()
			w.meanwhileAtCentral()
			w.sameWithoutDatabase()
		})
	}
}

// manyRowsAtCentral makes a patient of each name that removeRows takes a row from, with a row in every table, wells
// and forms.
func (w *world) manyRowsAtCentral() {
	w.t.Helper()
	note := func(of string) []dhis2api.Note {
		return []dhis2api.Note{{Note: w.id("note of " + of), Value: "came on foot"}}
	}
	var payload, ties dhis2api.TrackerPayload
	for _, row := range trackerRows() {
		p := w.patient(row.of, map[string]string{"phone": "6000-0001"})
		p.Enrollments[0].Notes = note(row.of)
		p.Enrollments[0].Events[0].Notes = note(row.of + "'s visit")
		payload.TrackedEntities = append(payload.TrackedEntities, p)
	}
	for _, of := range []string{"a dry well", "a well without note"} {
		payload.Events = append(payload.Events, &dhis2api.Event{
			Event: w.id(of), Program: w.id("water"), ProgramStage: w.id("sample"), OrgUnit: w.id("soloy"), Status: "COMPLETED", OccurredAt: "2026-05-04",
			DataValues: []dhis2api.EventDataValue{{DataElement: w.id("chlorine"), Value: "0.4"}}, Notes: note(of),
		})
	}
	w.send(w.central, payload, "")
	ties.Relationships = []*dhis2api.Relationship{w.mother("Ana", "Berta")}
	w.send(w.central, ties, "")
	w.values(w.central, "202604", map[string]string{"cases": "1", "deaths": "0"})
	w.complete(w.central, "202603")
}

// complete completes the form of a period.
func (w *world) complete(client *dhis2api.Client, period string) {
	w.t.Helper()
	completions := []*dhis2api.Completion{{DataSet: w.id("form"), Period: period, OrganisationUnit: w.id("soloy"), Completed: true}}
	if _, err := client.ImportCompletions(w.t.Context(), completions, dhis2api.DataValueImportOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// removal is a row, or several that hang on it, that somebody removes by SQL; EVENT is the table of events, UID the
// uid of what it is of.
type removal struct{ of, sql string }

const (
	thePerson     = "(SELECT trackedentityid FROM trackedentity WHERE uid = 'UID')"
	theEnrollment = "(SELECT enrollmentid FROM enrollment WHERE trackedentityid = " + thePerson + ")"
	theVisit      = "(SELECT eventid FROM EVENT WHERE enrollmentid = " + theEnrollment + ")"
	noVisitNotes  = "DELETE FROM EVENT_notes WHERE eventid = " + theVisit + ";"
	noVisit       = noVisitNotes + "DELETE FROM EVENT WHERE eventid = " + theVisit + ";"
	noEnrollment  = noVisit + "DELETE FROM enrollment_notes WHERE enrollmentid = " + theEnrollment + "; DELETE FROM enrollment WHERE enrollmentid = " + theEnrollment + ";"
)

// trackerRows are the removals below a patient of their own.
func trackerRows() []removal {
	return []removal{
		{"Patient without number", "DELETE FROM trackedentityattributevalue WHERE trackedentityid = " + thePerson + " AND value = '6000-0001'"},
		{"Patient without owner", "DELETE FROM trackedentityprogramowner WHERE trackedentityid = " + thePerson},
		{"Patient without note", "DELETE FROM enrollment_notes WHERE enrollmentid = " + theEnrollment},
		{"Patient whose note is gone", "WITH gone AS (DELETE FROM enrollment_notes WHERE enrollmentid = " + theEnrollment + " RETURNING noteid) DELETE FROM note WHERE noteid IN (SELECT noteid FROM gone)"},
		{"Patient without visit note", noVisitNotes},
		{"Patient without visit", noVisit},
		{"Patient without enrollment", noEnrollment},
		{"Patient who is gone", noEnrollment + "DELETE FROM trackedentityprogramowner WHERE trackedentityid = " + thePerson +
			"; DELETE FROM trackedentityattributevalue WHERE trackedentityid = " + thePerson + "; DELETE FROM trackedentity WHERE uid = 'UID'"},
	}
}

// removeRows removes rows by SQL, and expects after each that one record more is found.
func (w *world) removeRows(database string) {
	w.t.Helper()
	events, wells := "event", "event"
	if w.local.Version().Minor >= 43 {
		events, wells = "trackerevent", "singleevent"
	}
	theWell := "(SELECT eventid FROM " + wells + " WHERE uid = 'UID')"
	theForm := func(period string) string {
		return " WHERE periodid = (SELECT periodid FROM period JOIN periodtype USING (periodtypeid) WHERE name = 'Monthly' AND startdate = '" + period + "')" +
			" AND sourceid = (SELECT organisationunitid FROM organisationunit WHERE uid = '" + w.id("soloy") + "')"
	}
	removals := append(trackerRows(),
		removal{"a well without note", "DELETE FROM " + wells + "_notes WHERE eventid = " + theWell},
		removal{"a dry well", "DELETE FROM " + wells + "_notes WHERE eventid = " + theWell + "; DELETE FROM " + wells + " WHERE uid = 'UID'"},
		removal{"Ana mother of Berta", "DELETE FROM relationshipitem WHERE relationshipid = (SELECT relationshipid FROM relationship WHERE uid = 'UID'); DELETE FROM relationship WHERE uid = 'UID'"},
		removal{"cases", "DELETE FROM datavalue" + theForm("2026-04-01") + " AND dataelementid = (SELECT dataelementid FROM dataelement WHERE uid = 'UID')"},
		removal{"form", "DELETE FROM completedatasetregistration" + theForm("2026-03-01")},
	)
	connection, err := pgx.Connect(w.t.Context(), database)
	if err != nil {
		w.t.Fatal(err)
	}
	defer connection.Close(w.t.Context())
	for i, r := range removals {
		for sql := range strings.SplitSeq(strings.NewReplacer("EVENT", events, "UID", w.id(r.of)).Replace(r.sql), ";") {
			if strings.TrimSpace(sql) == "" {
				continue
			}
			if tag, err := connection.Exec(w.t.Context(), sql); err != nil || tag.RowsAffected() == 0 {
				w.t.Fatalf("%s: %v, %d rows: %s", r.of, err, tag.RowsAffected(), sql)
			}
		}
		if found := w.reconcile(true).Candidates.Records; found != i+1 {
			w.t.Errorf("%d records are found after a row of %q was removed, want %d", found, r.of, i+1)
		}
	}
}

// sameWithoutDatabase plans, with and without access to the kit's database, and expects the same plan and report.
func (w *world) sameWithoutDatabase() {
	w.t.Helper()
	blind := w.blind()
	seeing, comparing := w.reconcile(true), blind.reconcile(true)
	if comparing.Candidates.By != report.ByComparison || comparing.Candidates.Reason == "" {
		w.t.Errorf("without the database the report says %+v", comparing.Candidates)
	}
	if seeing.Sums.Total == 0 {
		w.t.Error("no change was found")
	}
	ignored := cmpopts.IgnoreFields(report.Report{}, "Candidates", "Started", "Finished", "Timeline")
	if diff := cmp.Diff(comparing, seeing, ignored); diff != "" {
		w.t.Errorf("the report by transaction id differs from that by comparison (-comparison +transaction):\n%s", diff)
	}
	plans := [2]string{}
	for i, dir := range []string{blind.kitDir, w.kitDir} {
		content, err := os.ReadFile(filepath.Join(dir, "trips", seeing.Trip, "plan.jsonl"))
		if err != nil {
			w.t.Fatal(err)
		}
		plans[i] = string(content)
	}
	if diff := cmp.Diff(plans[0], plans[1]); diff != "" {
		w.t.Errorf("the plan by transaction id differs from that by comparison (-comparison +transaction):\n%s", diff)
	}
}

// blind is the kit as it is now in another directory, without access to its database.
func (w *world) blind() *world {
	w.t.Helper()
	blind := *w
	blind.kitDir, blind.database = filepath.Join(w.t.TempDir(), "blind"), ""
	if err := os.CopyFS(blind.kitDir, os.DirFS(w.kitDir)); err != nil {
		w.t.Fatal(err)
	}
	config := filepath.Join(blind.kitDir, orchestrator.ConfigFile)
	content, err := os.ReadFile(config)
	if err != nil {
		w.t.Fatal(err)
	}
	without := strings.Replace(string(content), ", database: '"+w.database+"'", "", 1)
	if err := os.WriteFile(config, []byte(without), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return &blind
}

// TestCompareAllWhenDatabaseIsAnother takes the kit's database for another one than the trip began with, or away, and
// expects that everything is compared, that the reason is told, and that nothing is lost.
func TestCompareAllWhenDatabaseIsAnother(t *testing.T) {
	cluster := postgrestest.Start(t)
	database := cluster.Database(t)
	w := newWorld(t, simulated(t, "2.42.5.2"), simulatedOn(t, "2.42.5.2", database, time.Now), database)
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.clinicDay()
	config := filepath.Join(w.kitDir, orchestrator.ConfigFile)
	content, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	copied := cluster.Database(t)
	simulatedOn(t, "2.42.5.2", copied, time.Now)
	total := 0
	for _, other := range []struct{ url, reason string }{
		{cluster.Database(t), "tables"}, {copied, "made anew"}, {"postgres://nobody@127.0.0.1:1/none", "connect"},
	} {
		if err := os.WriteFile(config, []byte(strings.Replace(string(content), database, other.url, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		notes := &noted{}
		kit := w.openTelling(notes)
		r, err := kit.Reconcile(t.Context(), orchestrator.ReconcileOptions{PlanOnly: true})
		if err := errors.Join(err, kit.Close()); err != nil {
			t.Fatal(err)
		}
		if r.Candidates.By != report.ByComparison || !strings.Contains(r.Candidates.Reason, other.reason) {
			t.Errorf("the report says %+v, want a reason with %q", r.Candidates, other.reason)
		}
		if !strings.Contains(notes.String(), r.Candidates.Reason) {
			t.Errorf("the reason was not told; what was: %s", notes)
		}
		if r.Sums.Total == 0 || total != 0 && r.Sums.Total != total {
			t.Errorf("%d changes are found, before %d", r.Sums.Total, total)
		}
		total = r.Sums.Total
	}
}

// TestDatabaseOfAnother names the database of another server in fieldkit.yaml. Nothing would ever change there: prepare
// notices, and everything is compared.
func TestDatabaseOfAnother(t *testing.T) {
	cluster := postgrestest.Start(t)
	another := cluster.Database(t)
	simulatedOn(t, "2.42.5.2", another, time.Now)
	w := newWorld(t, simulated(t, "2.42.5.2"), simulatedOn(t, "2.42.5.2", cluster.Database(t), time.Now), another)
	w.setUp()
	w.patientsAtCentral()
	told := &noted{}
	w.prepareWith(told)
	if !strings.Contains(told.String(), "not in it") {
		t.Errorf("prepare told: %s", told)
	}
	w.database = "" // what w.reconcile expects
	w.clinicDay()
	if r := w.reconcile(true); r.Candidates.By != report.ByComparison || r.Sums.Total == 0 {
		t.Errorf("%+v, sums %+v", r.Candidates, r.Sums)
	}
}

// TestDatabaseAfterNothingWasLoaded: a prepare for which everything stood on the kit alike proves nothing about the database, so
// it is not taken for another one.
func TestDatabaseAfterNothingWasLoaded(t *testing.T) {
	database := postgrestest.Start(t).Database(t)
	w := newWorld(t, simulated(t, "2.42.5.2"), simulatedOn(t, "2.42.5.2", database, time.Now), database)
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "phone", "6111-0001")}}, "")
	if r := w.reconcile(true); r.Candidates.By != report.ByTransaction || r.Candidates.Records != 1 {
		t.Errorf("%+v", r.Candidates)
	}
}

// noted keeps what a progress is told to note.
type noted struct {
	orchestrator.Quiet
	notes []string
	// step, unless nil, is called with every step.
	step func(string)
}

func (n *noted) Note(text string) { n.notes = append(n.notes, text) }
func (n *noted) String() string   { return fmt.Sprint(n.notes) }
func (n *noted) Step(name string) {
	if n.step != nil {
		n.step(name)
	}
}

// TestSoakCandidates finds one change among many people, in the kit's database and by comparing everything, and holds
// the times against each other: 20,000 people with `make soak`, a short form of it otherwise.
func TestSoakCandidates(t *testing.T) {
	people := 500
	if os.Getenv("FIELDKIT_SOAK") != "" {
		people = 20_000
	}
	// On real servers where `make acceptance` names some: FIELDKIT_SOAK=1 go test -run TestSoakCandidates.
	central, local := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL")
	database := os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL_DATABASE")
	if database != "" {
		people = min(people, 2_000) // a real server takes its time
	} else {
		database = postgrestest.Start(t).Database(t)
		central, local = simulated(t, "2.42.5.2"), simulatedOn(t, "2.42.5.2", database, time.Now)
	}
	w := newWorld(t, central, local, database)
	w.setUp()
	w.crowd(people)
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("person 7", "phone", "6111-0007")}}, "")
	blind := w.blind()
	seeing, comparing := w.timeToFind(), blind.timeToFind()
	t.Logf("one change among %d people: found in %v by transaction id, in %v by comparing everything, %.0f times as long",
		people, seeing, comparing, float64(comparing)/float64(seeing))
	// Among few people the two are alike.
	if people >= 2_000 && seeing >= comparing {
		t.Errorf("looking into the database took %v, comparing everything %v", seeing, comparing)
	}
}

// timeToFind plans, and returns how long it took to find the candidates.
func (w *world) timeToFind() time.Duration {
	w.t.Helper()
	var began time.Time
	var took time.Duration
	progress := &noted{step: func(step string) {
		switch {
		case step == "looking for changes in the kit's database", step == "reading what the kit holds" && began.IsZero():
			began = time.Now()
		case step == "comparing with central":
			took = time.Since(began)
		}
	}}
	kit := w.openTelling(progress)
	r, err := kit.Reconcile(w.t.Context(), orchestrator.ReconcileOptions{PlanOnly: true})
	if err := errors.Join(err, kit.Close()); err != nil {
		w.t.Fatal(err)
	}
	if r.Candidates.Records != 1 || r.Sums.Total != 1 {
		w.t.Errorf("%+v found, sums %+v, want one", r.Candidates, r.Sums)
	}
	return took
}
