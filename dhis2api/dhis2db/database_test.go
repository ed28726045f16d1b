package dhis2db_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
)

// tables is a database with the tables of one version, and a hand that writes into it beside the server.
type tables struct {
	*testing.T
	sql      *pgx.Conn
	database *dhis2db.Database
	event    string // the table of events of enrollments
	single   string // that of events of programs without registration
}

func openTables(t *testing.T, cluster *postgrestest.Cluster, version string) *tables {
	t.Helper()
	url := cluster.Database(t)
	server, err := dhis2sim.Open(t.Context(), dhis2sim.Options{Version: version}, dhis2sim.Database{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	server.Close() // it made the tables
	s := &tables{T: t, event: "event", single: "event"}
	if strings.HasPrefix(version, "2.43") {
		s.event, s.single = "trackerevent", "singleevent"
	}
	if s.sql, err = pgx.Connect(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.sql.Close(t.Context()) })
	if s.database, err = dhis2db.Open(t.Context(), url, dhis2db.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.database.Close(t.Context()) })
	return s
}

func (s *tables) exec(sql string, arguments ...any) {
	s.Helper()
	tag, err := s.sql.Exec(s.Context(), sql, arguments...)
	if err != nil {
		s.Fatalf("%s: %v", sql, err)
	}
	if strings.Fields(sql)[0] != "INSERT" && tag.RowsAffected() == 0 && tag.String() != "BEGIN" && tag.String() != "COMMIT" && tag.String() != "SAVEPOINT" {
		s.Fatalf("%s changed nothing", sql)
	}
}

// insert adds a row with the given values, and something in every other column that must not be null.
func (s *tables) insert(table string, values map[string]any) {
	s.Helper()
	values = maps.Clone(values)
	rows, err := s.sql.Query(s.Context(), `SELECT column_name::text, data_type::text FROM information_schema.columns
		WHERE table_schema = 'public' AND table_name = $1 AND is_nullable = 'NO' AND column_default IS NULL`, table)
	if err != nil {
		s.Fatal(err)
	}
	var column, kind string
	_, err = pgx.ForEachRow(rows, []any{&column, &kind}, func() error {
		if _, given := values[column]; !given {
			values[column] = map[bool]any{true: "2026-01-01", false: "0"}[strings.HasPrefix(kind, "timestamp") || kind == "date"]
			if kind == "jsonb" || kind == "json" {
				values[column] = "{}"
			}
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	columns := slices.Sorted(maps.Keys(values))
	literals := make([]string, len(columns))
	for i, column := range columns {
		literals[i] = fmt.Sprintf("'%v'", values[column])
	}
	s.exec("INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(literals, ", ") + ")")
}

type row = map[string]any

// fill makes two villages, in and out of scope, and of each root one of everything.
func (s *tables) fill() {
	s.Helper()
	s.insert("organisationunit", row{"organisationunitid": 901, "uid": "uVillage001", "path": "/uCountry001/uVillage001", "name": "v"})
	s.insert("organisationunit", row{"organisationunitid": 902, "uid": "uCity000001", "path": "/uCity000001", "name": "c"})
	s.insert("trackedentitytype", row{"trackedentitytypeid": 903, "uid": "tPatient001", "name": "p"})
	s.insert("program", row{"programid": 904, "uid": "pTracker001", "name": "t"})
	s.insert("program", row{"programid": 905, "uid": "pWells00001", "name": "w"})
	s.insert("programstage", row{"programstageid": 906, "uid": "sVisit00001", "programid": 904, "name": "v"})
	s.insert("programstage", row{"programstageid": 907, "uid": "sSample0001", "programid": 905, "name": "s"})
	s.insert("dataset", row{"datasetid": 908, "uid": "dForm000001", "name": "f"})
	s.insert("dataset", row{"datasetid": 909, "uid": "dForm000002", "name": "g"})
	for i, dataSet := range []int{908, 909} {
		s.insert("datasetelement", row{"datasetelementid": 910 + i, "datasetid": dataSet, "dataelementid": 912})
	}
	s.exec("INSERT INTO periodtype (periodtypeid, name) SELECT 913, 'Monthly' WHERE NOT EXISTS (SELECT FROM periodtype WHERE name = 'Monthly')")
	var monthly int
	if err := s.sql.QueryRow(s.Context(), "SELECT periodtypeid FROM periodtype WHERE name = 'Monthly'").Scan(&monthly); err != nil {
		s.Fatal(err)
	}
	period := row{"periodid": 914, "periodtypeid": monthly, "startdate": "2026-05-01", "enddate": "2026-05-31"}
	if s.single == "singleevent" {
		period["iso"] = "202605"
	}
	s.insert("period", period)
	for i, unit := range []int{901, 902} {
		id := 1000 * (i + 1)
		uid := func(name string) string { return fmt.Sprintf("%s%0*d", name, 11-len(name), id) }
		s.exec("BEGIN")
		s.insert("trackedentity", row{"trackedentityid": id, "uid": uid("person"), "trackedentitytypeid": 903, "organisationunitid": unit, "deleted": false, "inactive": false})
		s.insert("trackedentityattributevalue", row{"trackedentityid": id, "trackedentityattributeid": 915})
		s.insert("trackedentityprogramowner", row{"trackedentityprogramownerid": id, "trackedentityid": id, "programid": 904, "organisationunitid": unit})
		s.insert("enrollment", row{"enrollmentid": id, "uid": uid("enrol"), "trackedentityid": id, "programid": 904, "organisationunitid": unit, "deleted": false})
		s.insert("note", row{"noteid": id, "uid": uid("note")})
		s.insert("enrollment_notes", row{"enrollmentid": id, "sort_order": 1, "noteid": id})
		s.insert(s.event, row{"eventid": id, "uid": uid("visit"), "enrollmentid": id, "programstageid": 906, "organisationunitid": unit, "deleted": false})
		s.insert("note", row{"noteid": id + 1, "uid": uid("vnote")})
		s.insert(s.event+"_notes", row{"eventid": id, "sort_order": 1, "noteid": id + 1})
		s.insert("fileresource", row{"fileresourceid": id, "uid": uid("photo"), "storagekey": uid("photo"), "fileresourceowner": uid("person"), "isassigned": true})
		s.insert("fileresource", row{"fileresourceid": id + 1, "uid": uid("scan"), "storagekey": uid("scan"), "fileresourceowner": uid("visit"), "isassigned": true})
		well := row{"eventid": id + 2, "uid": uid("well"), "programstageid": 907, "organisationunitid": unit, "deleted": false}
		if s.single == "event" {
			s.insert("enrollment", row{"enrollmentid": id + 2, "uid": uid("hidden"), "programid": 905, "organisationunitid": unit, "deleted": false})
			well["enrollmentid"] = id + 2
		}
		s.insert(s.single, well)
		s.insert("note", row{"noteid": id + 2, "uid": uid("wnote")})
		s.insert(s.single+"_notes", row{"eventid": id + 2, "sort_order": 1, "noteid": id + 2})
		s.insert("fileresource", row{"fileresourceid": id + 2, "uid": uid("map"), "storagekey": uid("map"), "fileresourceowner": uid("well"), "isassigned": true})
		s.insert("relationship", row{"relationshipid": id, "uid": uid("tie"), "from_relationshipitemid": id, "to_relationshipitemid": id + 1})
		s.insert("relationshipitem", row{"relationshipitemid": id, "relationshipid": id, "trackedentityid": id})
		s.insert("relationshipitem", row{"relationshipitemid": id + 1, "relationshipid": id, "enrollmentid": id})
		s.insert("datavalue", row{"dataelementid": 912, "periodid": 914, "sourceid": unit, "categoryoptioncomboid": 1, "attributeoptioncomboid": 1, "deleted": false})
		s.insert("completedatasetregistration", row{"datasetid": 908, "periodid": 914, "sourceid": unit, "attributeoptioncomboid": 1, "completed": true})
		s.exec("COMMIT")
	}
}

func scope() dhis2db.Scope {
	return dhis2db.Scope{Programs: []string{"pTracker001", "pWells00001"}, TrackedEntityTypes: []string{"tPatient001"}, DataSets: []string{"dForm000001"}, OrgUnits: []string{"uVillage001"}}
}

// moment is the mark and the keys of one look.
type moment struct {
	mark dhis2db.Mark
	keys []dhis2db.Key
}

func (s *tables) look() moment {
	s.Helper()
	var m moment
	err := s.database.Look(s.Context(), func(l *dhis2db.Look) error {
		m.mark = l.Mark()
		for key, err := range l.Keys(s.Context()) {
			if err != nil {
				return err
			}
			m.keys = append(m.keys, key)
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return m
}

// found lists what was written since, "+" before what is in scope, and what lost rows, "-" before it, "gone" after
// what is there no more.
func (s *tables) found(since moment) []string {
	s.Helper()
	found := []string{}
	err := s.database.Look(s.Context(), func(l *dhis2db.Look) error {
		if err := since.mark.Check(l.Mark()); err != nil {
			return err
		}
		for changed, err := range l.Changed(s.Context(), since.mark, scope()) {
			if err != nil {
				return err
			}
			found = append(found, map[bool]string{true: "+", false: " "}[changed.InScope]+string(changed.Kind)+" "+changed.Key)
		}
		before := func(yield func(dhis2db.Key, error) bool) {
			for _, key := range since.keys {
				if !yield(key, nil) {
					return
				}
			}
		}
		for lost, err := range dhis2db.CompareKeys(before, l.Keys(s.Context()), nil) {
			if err != nil {
				return err
			}
			root, err := l.Root(lost.Key)
			if err != nil {
				return err
			}
			found = append(found, strings.TrimSpace("-"+string(root.Kind)+" "+root.Key+map[bool]string{true: " gone"}[lost.Gone]))
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	slices.Sort(found)
	return found
}

const (
	person = "trackedEntity person01000"
	well   = "event pWells00001.well0001000"
	tie    = "relationship tie00001000"
	form   = "form dForm000001.202605.uVillage001"
	other  = "form dForm000002.202605.uVillage001" // the same value, in a data set that the kit does not carry
)

// TestDatabase looks into databases of one cluster.
func TestDatabase(t *testing.T) {
	cluster := postgrestest.Start(t)
	for name, test := range map[string]func(*testing.T, *postgrestest.Cluster){
		"every table": everyTable, "notes": note, "tombstones": tombstones, "under way": underWay, "frozen": frozen, "refusals": openRefuses,
	} {
		t.Run(name, func(t *testing.T) { test(t, cluster) })
	}
}

// everyTable writes a row of each table, and removes one: the root that it belongs to is found, and no other.
func everyTable(t *testing.T, cluster *postgrestest.Cluster) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			s := openTables(t, cluster, version)
			s.fill()
			start := s.look()
			if got := s.found(start); len(got) != 0 {
				t.Fatalf("nothing was written, and these are found: %v", got)
			}
			type writing struct {
				table, where  string
				wrote, lost   []string
				column, value string
			}
			writings := []writing{
				{table: "trackedentityattributevalue", where: "trackedentityid = 1000", column: "value", value: "'x'", wrote: []string{"+" + person}, lost: []string{"-" + person}},
				{table: "fileresource", where: "fileresourceid = 1000", column: "contentmd5", value: "'x'", wrote: []string{"+" + person}, lost: []string{"-" + person}},
				{table: "fileresource", where: "fileresourceid = 1001", column: "contentmd5", value: "'x'", wrote: []string{"+" + person}, lost: []string{"-" + person}},
				{table: "enrollment_notes", where: "enrollmentid = 1000", column: "noteid", value: "noteid", wrote: []string{"+" + person}, lost: []string{"-" + person}},
				{table: "note", where: "noteid = 1000", column: "notetext", value: "'x'", wrote: []string{}, lost: []string{}},
				{table: s.event + "_notes", where: "eventid = 1000", column: "noteid", value: "noteid", wrote: []string{"+" + person}, lost: []string{"-" + person}},
				{table: s.event, where: "eventid = 1000", column: "status", value: "'x'", wrote: []string{"+" + person}, lost: []string{"-" + person}},
				{table: s.single + "_notes", where: "eventid = 1002", column: "noteid", value: "noteid", wrote: []string{"+" + well}, lost: []string{"-" + well}},
				{table: "fileresource", where: "fileresourceid = 1002", column: "contentmd5", value: "'x'", wrote: []string{"+" + well}, lost: []string{"-" + well}},
				{table: s.single, where: "eventid = 1002", column: "status", value: "'x'", wrote: []string{"+" + well}, lost: []string{"-" + well + " gone"}},
				{table: "relationshipitem", where: "relationshipitemid = 1001", column: "enrollmentid", value: "enrollmentid", wrote: []string{"+" + tie}, lost: []string{"-" + tie}},
				{table: "relationshipitem", where: "relationshipitemid = 1000", column: "trackedentityid", value: "trackedentityid", wrote: []string{"+" + tie}, lost: []string{"-" + tie}},
				{table: "relationship", where: "relationshipid = 1000", column: "lastupdated", value: "lastupdated", wrote: []string{" " + tie}, lost: []string{"-" + tie + " gone"}},
				{table: "enrollment", where: "enrollmentid = 1000", column: "status", value: "'x'", wrote: []string{"+" + person}, lost: []string{"-" + person}},
				{table: "trackedentityprogramowner", where: "trackedentityid = 1000", column: "createdby", value: "'x'", wrote: []string{"+" + person}, lost: []string{"-" + person}},
				{table: "trackedentity", where: "trackedentityid = 1000", column: "inactive", value: "true", wrote: []string{"+" + person}, lost: []string{"-" + person + " gone"}},
				{table: "datavalue", where: "sourceid = 901", column: "value", value: "'5'", wrote: []string{" " + other, "+" + form}, lost: []string{"-" + form, "-" + other + " gone"}},
				{table: "completedatasetregistration", where: "sourceid = 901", column: "completed", value: "false", wrote: []string{"+" + form}, lost: []string{"-" + form + " gone"}},
			}
			for _, w := range writings {
				before := s.look()
				s.exec("UPDATE " + w.table + " SET " + w.column + " = " + w.value + " WHERE " + w.where)
				if diff := cmp.Diff(w.wrote, s.found(before)); diff != "" {
					t.Errorf("a row of %s was written (-want +got):\n%s", w.table, diff)
				}
				before = s.look()
				s.exec("DELETE FROM " + w.table + " WHERE " + w.where)
				if diff := cmp.Diff(w.lost, s.found(before)); diff != "" {
					t.Errorf("a row of %s was removed (-want +got):\n%s", w.table, diff)
				}
			}
		})
	}
}

// note: a note has no pointer to what it is of, but its join table has.
func note(t *testing.T, cluster *postgrestest.Cluster) {
	s := openTables(t, cluster, "2.42.5.2")
	s.fill()
	for note, want := range map[string]string{"1000": person, "1001": person, "1002": well} {
		before := s.look()
		s.exec("UPDATE note SET notetext = 'x' WHERE noteid = " + note)
		if diff := cmp.Diff([]string{"+" + want}, s.found(before)); diff != "" {
			t.Errorf("note %s was written (-want +got):\n%s", note, diff)
		}
	}
}

// tombstones: what is marked as deleted was written, and is there no more; what is out of scope is said to be.
func tombstones(t *testing.T, cluster *postgrestest.Cluster) {
	s := openTables(t, cluster, "2.43.1")
	s.fill()
	before := s.look()
	for _, row := range []string{"trackedentity WHERE trackedentityid = 1000", "relationship WHERE relationshipid = 1000", "singleevent WHERE eventid = 1002", "datavalue WHERE sourceid = 901"} {
		table, where, _ := strings.Cut(row, " ")
		s.exec("UPDATE " + table + " SET deleted = true " + where)
	}
	s.exec("UPDATE trackedentityattributevalue SET value = 'x' WHERE trackedentityid = 2000")
	want := []string{
		" " + other, " event pWells00001.well0001000", " relationship tie00001000", " trackedEntity person01000", " trackedEntity person02000", "+" + form,
		"-" + well + " gone", "-" + form, "-" + other + " gone", "-" + tie + " gone", "-" + person + " gone",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, s.found(before)); diff != "" {
		t.Errorf("what is found (-want +got):\n%s", diff)
	}
}

// underWay: what a transaction writes that was under way at the mark, or in a part of its own of it, is found
// when it has ended, though its id is older than the mark's next.
func underWay(t *testing.T, cluster *postgrestest.Cluster) {
	s := openTables(t, cluster, "2.42.5.2")
	s.fill()
	s.exec("BEGIN")
	s.exec("UPDATE trackedentityattributevalue SET value = 'x' WHERE trackedentityid = 1000")
	s.exec("SAVEPOINT part")
	s.exec("UPDATE event SET status = 'x' WHERE eventid = 1002")
	before := s.look()
	if got := s.found(before); len(got) != 0 {
		t.Errorf("found before it was there: %v", got)
	}
	s.exec("COMMIT")
	if diff := cmp.Diff([]string{"+" + well, "+" + person}, s.found(before)); diff != "" {
		t.Errorf("what is found (-want +got):\n%s", diff)
	}
}

// frozen: a row that the database has frozen since still tells by whom it was written.
func frozen(t *testing.T, cluster *postgrestest.Cluster) {
	s := openTables(t, cluster, "2.42.5.2")
	s.fill()
	s.exec("UPDATE enrollment SET status = 'x' WHERE enrollmentid = 2000")
	before := s.look()
	s.exec("UPDATE enrollment SET status = 'x' WHERE enrollmentid = 1000")
	for _, sql := range []string{"VACUUM (FREEZE) enrollment", "VACUUM (FULL, FREEZE) enrollment"} {
		if _, err := s.sql.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"+" + person}, s.found(before)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", sql, diff)
		}
	}
}

func TestCheck(t *testing.T) {
	mark := dhis2db.Mark{System: "1", Database: 2, Timeline: 1, Oldest: 5_000_000_000, Next: 5_000_000_010, Layout: "event"}
	later := func(change func(*dhis2db.Mark)) dhis2db.Mark {
		now := mark
		now.Oldest, now.Next = now.Oldest+100, now.Next+100
		change(&now)
		return now
	}
	for name, c := range map[string]struct {
		now    dhis2db.Mark
		reason string
	}{
		"the same":           {later(func(*dhis2db.Mark) {}), ""},
		"another cluster":    {later(func(m *dhis2db.Mark) { m.System = "2" }), "cluster"},
		"another database":   {later(func(m *dhis2db.Mark) { m.Database = 3 }), "made anew"},
		"another timeline":   {later(func(m *dhis2db.Mark) { m.Timeline = 2 }), "earlier moment"},
		"another version":    {later(func(m *dhis2db.Mark) { m.Layout = "trackerevent" }), "tables"},
		"set back":           {later(func(m *dhis2db.Mark) { m.Next = mark.Next - 1 }), "set back"},
		"just in the window": {later(func(m *dhis2db.Mark) { m.Next = mark.Oldest + 1<<31 - 1 }), ""},
		"half the circle":    {later(func(m *dhis2db.Mark) { m.Next = mark.Oldest + 1<<31 }), "2^31"},
	} {
		err := mark.Check(c.now)
		var all *dhis2db.CompareAllError
		if c.reason == "" && err != nil || c.reason != "" && (!errors.As(err, &all) || !strings.Contains(all.Reason, c.reason)) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
}

// openRefuses: a database without DHIS2's tables is none, and no password is in an error.
func openRefuses(t *testing.T, cluster *postgrestest.Cluster) {
	url := cluster.Database(t)
	var all *dhis2db.CompareAllError
	if _, err := dhis2db.Open(t.Context(), url, dhis2db.Options{}); !errors.As(err, &all) {
		t.Errorf("an empty database: %v", err)
	}
	for _, url := range []string{"postgres://kit:geheim@127.0.0.1:1/x", "postgres://kit:geheim@127.0.0.1:port/x"} {
		if _, err := dhis2db.Open(t.Context(), url, dhis2db.Options{}); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v", err)
		}
	}
}
