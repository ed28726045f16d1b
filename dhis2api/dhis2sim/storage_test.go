package dhis2sim

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// openServer opens a server of a version on a database, closed with the test.
func openServer(t *testing.T, version string, database Database) *Server {
	t.Helper()
	s, err := Open(t.Context(), Options{Version: version}, database)
	if err != nil {
		t.Fatal(err)
	}
	s.lag = 0
	t.Cleanup(s.Close)
	return s
}

// sql runs SQL as somebody else than the server.
func sql(t *testing.T, url, statement string) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close(context.WithoutCancel(t.Context())) }()
	if _, err := connection.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// column is the first column of what SQL finds, as texts.
func column(t *testing.T, url, query string) []string {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close(context.WithoutCancel(t.Context())) }()
	rows, err := connection.Query(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return found
}

// entities is the answer for all tracked entities of the clinic, with everything in them.
const entities = "/api/tracker/trackedEntities?program=xIkcI00xjZE&orgUnits=zDtBfyIHGje&orgUnitMode=DESCENDANTS&fields=*&pageSize=1000"

// TestDatabase tries a server with a database, one after the other on one PostgreSQL: a transaction that runs elsewhere in it
// would show in the transaction ids that one of them compares.
func TestDatabase(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Start(t)
	for name, test := range map[string]func(*testing.T, *postgrestest.Cluster){
		"only changed rows are written": testOnlyChangedRowsAreWritten,
		"changes from outside":          testChangesFromOutside,
		"counter from outside":          testCounterFromOutside,
		"failed commit":                 testFailedCommit,
		"restart":                       testRestart,
		"other version":                 testOtherVersion,
		"concurrent requests":           testConcurrentWithDatabase,
	} {
		t.Run(name, func(t *testing.T) { test(t, cluster) })
	}
}

// Only what a request changed is written: SQL that looks for a transaction's rows finds them and no others.
func testOnlyChangedRowsAreWritten(t *testing.T, cluster *postgrestest.Cluster) {
	t.Helper()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			database := Database{URL: cluster.Database(t)}
			s := openServer(t, version, database)
			clinic(t, s)
			scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(0, 20))
			s.Close()
			s = openServer(t, version, database)
			since := column(t, database.URL, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text")[0]
			events := newDialect(s.minor).event
			changed := func() []string {
				var all []string
				for _, table := range s.storage.(*postgres).dialect.tables {
					for _, row := range column(t, database.URL, "SELECT '"+table.name+" '||coalesce(to_jsonb(x)->>'uid', '') FROM "+table.name+" x WHERE xmin::text::bigint >= "+since) {
						if !strings.HasPrefix(row, "userinfo ") { // the time of the last login
							all = append(all, strings.TrimSpace(row))
						}
					}
				}
				return all
			}
			person := fmt.Sprintf(`{"trackedEntities":[{"trackedEntity":%q,"trackedEntityType":"ig1m3E2NSOb","orgUnit":%q,"createdAtClient":"2026-01-01T08:00:00.000","attributes":[{"attribute":"GoX1JP83DWF","value":"Another"},{"attribute":"k0aoyOGu3L2","value":"Last 7"}]}]}`, scaleUID('T', 7), clinicUnits[7%5])
			scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", []byte(person))
			want := []string{"trackedentity " + scaleUID('T', 7), "trackedentityattributevalue"}
			if diff := cmp.Diff(want, changed()); diff != "" {
				t.Errorf("one attribute was changed (-want +got):\n%s", diff)
			}
			since = column(t, database.URL, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text")[0]
			scaleCall(t, s, http.MethodPost, "/api/tracker?async=false&importStrategy=DELETE", []byte(`{"events":[{"event":"`+scaleUID('V', 8)+`"}]}`))
			want = []string{"trackedentity " + scaleUID('T', 4), "enrollment " + scaleUID('N', 4), events + " " + scaleUID('V', 8)}
			if diff := cmp.Diff(want, changed()); diff != "" {
				t.Errorf("one event was deleted (-want +got):\n%s", diff)
			}
		})
	}
}

// What others change by SQL is seen by the next request.
func testChangesFromOutside(t *testing.T, cluster *postgrestest.Cluster) {
	t.Helper()
	database := Database{URL: cluster.Database(t)}
	s := openServer(t, "2.42.5.2", database)
	clinic(t, s)
	scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(0, 3))
	first, second := scaleUID('T', 0), scaleUID('T', 1)
	sql(t, database.URL, `UPDATE trackedentityattributevalue SET value = 'By hand' WHERE value = 'First 0';
		DELETE FROM trackedentityattributevalue WHERE value = 'First 1'`)
	for _, test := range []struct{ uid, value string }{{first, `"By hand"`}, {second, `null`}} {
		_, answer := call(t, s, http.MethodGet, "/api/tracker/trackedEntities/"+test.uid+"?program=xIkcI00xjZE&fields=attributes", "")
		got := "null"
		for i := range list(answer["attributes"]) {
			if at(t, answer, fmt.Sprintf("attributes.%d.attribute", i)) == `"GoX1JP83DWF"` {
				got = at(t, answer, fmt.Sprintf("attributes.%d.value", i))
			}
		}
		if got != test.value {
			t.Errorf("%s: value %s, want %s", test.uid, got, test.value)
		}
	}
	sql(t, database.URL, `DELETE FROM event_notes; DELETE FROM event; DELETE FROM enrollment_notes; DELETE FROM enrollment; DELETE FROM trackedentityattributevalue;
		DELETE FROM trackedentityprogramowner; DELETE FROM trackedentity`)
	if _, answer := call(t, s, http.MethodGet, entities, ""); at(t, answer, "trackedEntities") != "[]" {
		t.Errorf("all rows were removed, and still there are %s", at(t, answer, "trackedEntities"))
	}
	scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(0, 3))
}

// A number that SQL put into the counter is the next one to be handed out.
func testCounterFromOutside(t *testing.T, cluster *postgrestest.Cluster) {
	t.Helper()
	database := Database{URL: cluster.Database(t)}
	s := openServer(t, "2.42.5.2", database)
	seed := `{"trackedEntityAttributes":[{"id":"aNumberAtt1","name":"Number","shortName":"Number","valueType":"TEXT","aggregationType":"NONE","unique":true,"generated":true,"pattern":"\"FD-\"+SEQUENTIAL(######)"}]}`
	if err := s.Seed(t.Context(), strings.NewReader(seed)); err != nil {
		t.Fatal(err)
	}
	next := func() string {
		_, answer := call(t, s, http.MethodGet, "/api/trackedEntityAttributes/aNumberAtt1/generate", "")
		return at(t, answer, "value")
	}
	if got := next(); got != `"FD-000001"` {
		t.Errorf("first number %s", got)
	}
	if got := column(t, database.URL, "SELECT key||' '||counter FROM sequentialnumbercounter WHERE owneruid = 'aNumberAtt1'"); !slices.Equal(got, []string{"FD-SEQUENTIAL(######) 2"}) {
		t.Errorf("counter %q", got)
	}
	sql(t, database.URL, "UPDATE sequentialnumbercounter SET counter = 501 WHERE owneruid = 'aNumberAtt1'")
	if got := next(); got != `"FD-000501"` {
		t.Errorf("number after the counter was set: %s", got)
	}
	s.Close()
	s = openServer(t, "2.42.5.2", database)
	if got := next(); got != `"FD-000502"` {
		t.Errorf("number after a restart: %s", got)
	}
}

// While its database is down the server knows no password, and it goes on by itself when the database is back.
func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Start(t)
	database := Database{URL: cluster.Database(t)}
	s := openServer(t, "2.42.5.2", database)
	clinic(t, s)
	scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(0, 2))
	cluster.Kill()
	for _, request := range []struct{ method, path string }{{http.MethodGet, "/api/me"}, {http.MethodGet, entities}, {http.MethodPost, "/api/tracker?async=false"}} {
		if status, _ := call(t, s, request.method, request.path, string(scalePayload(2, 3))); status != http.StatusUnauthorized {
			t.Errorf("%s %s without the database: %d, want 401", request.method, request.path, status)
		}
	}
	cluster.Start(t)
	if _, answer := call(t, s, http.MethodGet, entities, ""); len(list(answer["trackedEntities"])) != 2 {
		t.Errorf("after the database came back: %v", answer)
	}
	scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(2, 3))
}

// The database is killed while clients post: what was answered with success is in it when it is back.
func TestDatabaseKilled(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Start(t)
	s := openServer(t, "2.42.5.2", Database{URL: cluster.Database(t)})
	clinic(t, s)
	const clients, each = 4, 60
	var mu sync.Mutex
	var acknowledged []string
	refused := 0
	var wait sync.WaitGroup
	half := make(chan struct{})
	for client := range clients {
		wait.Go(func() {
			for i := range each {
				n := each*client + i
				r := httptest.NewRequest(http.MethodPost, "/api/tracker?async=false", bytes.NewReader(scalePayload(n, n+1)))
				r.SetBasicAuth("admin", "district")
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				mu.Lock()
				if w.Code == http.StatusOK {
					acknowledged = append(acknowledged, scaleUID('T', n))
				} else {
					refused++
				}
				if len(acknowledged)+refused == clients*each/2 {
					close(half)
				}
				mu.Unlock()
			}
		})
	}
	<-half
	cluster.Kill()
	cluster.Start(t)
	wait.Wait()
	for _, uid := range acknowledged {
		if status, answer := call(t, s, http.MethodGet, "/api/tracker/trackedEntities/"+uid+"?program=xIkcI00xjZE", ""); status != http.StatusOK {
			t.Errorf("%s was acknowledged and is missing: %d %v", uid, status, answer)
		}
	}
	t.Logf("%d acknowledged, %d refused", len(acknowledged), refused)
	if len(acknowledged) < clients*each/4 {
		t.Errorf("only %d were acknowledged", len(acknowledged))
	}
}

// What cannot be committed is answered with an error and is in memory no more.
func testFailedCommit(t *testing.T, cluster *postgrestest.Cluster) {
	t.Helper()
	database := Database{URL: cluster.Database(t)}
	s := openServer(t, "2.42.5.2", database)
	clinic(t, s)
	scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(0, 1))
	sql(t, database.URL, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$;
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if status, answer := call(t, s, http.MethodPost, "/api/tracker?async=false", string(scalePayload(1, 2))); status != http.StatusInternalServerError {
		t.Errorf("import: %d %v", status, answer)
	}
	_, started := call(t, s, http.MethodPost, "/api/tracker", string(scalePayload(1, 2)))
	job := strings.Trim(at(t, started, "response.id"), `"`)
	for done := false; !done; { // the job ends by itself
		_, log := call(t, s, http.MethodGet, "/api/tracker/jobs/"+job, "")
		done = at(t, log, "list.0.completed") == "true"
	}
	if status, _ := call(t, s, http.MethodGet, "/api/tracker/jobs/"+job+"/report", ""); status != http.StatusNotFound {
		t.Errorf("the report of a job that failed: %d, want 404", status)
	}
	if _, answer := call(t, s, http.MethodGet, entities, ""); len(list(answer["trackedEntities"])) != 1 {
		t.Errorf("after imports that failed there are %d tracked entities, want 1", len(list(answer["trackedEntities"])))
	}
	sql(t, database.URL, "DROP FUNCTION refuse CASCADE")
	scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(1, 2))
}

// The same requests leave the same behind, with and without a database, before and after a restart.
func testRestart(t *testing.T, cluster *postgrestest.Cluster) {
	t.Helper()
	for _, version := range versions() {
		for _, files := range []string{"", t.TempDir()} {
			t.Run(version+" files "+fmt.Sprint(files != ""), func(t *testing.T) {
				database := Database{URL: cluster.Database(t), Files: files}
				s := openServer(t, version, database)
				clinic(t, s)
				scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(0, 5))
				if status, answer := call(t, s, http.MethodPost, "/api/dataStore/fieldkit/kit", `{"b": [1.0, null], "a": "ñ"}`); status != http.StatusCreated {
					t.Fatal(status, answer)
				}
				if status, answer := call(t, s, http.MethodPost, "/api/systemSettings/applicationTitle?value=Kit", ""); status != http.StatusOK {
					t.Fatal(status, answer)
				}
				s.pending.Wait()
				photo := upload(t, s, "photo.png", "a photograph")
				ask := []string{
					entities, "/api/dataStore/fieldkit/kit", "/api/systemSettings/applicationTitle", "/api/fileResources/" + photo, "/api/fileResources/" + photo + "/data",
					"/api/organisationUnits?fields=*&paging=false", "/api/users?fields=*&paging=false",
				}
				answers := func() (all []string) {
					for _, path := range ask {
						all = append(all, unordered(scaleCall(t, s, http.MethodGet, path, nil)))
					}
					return all
				}
				before := answers()
				s.Close()
				s = openServer(t, version, database)
				if diff := cmp.Diff(before, answers()); diff != "" {
					t.Errorf("after a restart (-before +after):\n%s", diff)
				}
			})
		}
	}
}

// unordered is JSON with sorted lists and properties: in which order values come is nobody's promise. What is no JSON stays.
func unordered(raw []byte) string {
	v, err := readJSON(bytes.NewReader(raw))
	if err != nil {
		return string(raw)
	}
	var sorted func(any) any
	sorted = func(v any) any {
		switch v := v.(type) {
		case object:
			for name, value := range v {
				v[name] = sorted(value)
			}
		case []any:
			for i, item := range v {
				v[i] = sorted(item)
			}
			slices.SortFunc(v, func(a, b any) int { return strings.Compare(string(asJSON(a)), string(asJSON(b))) })
		}
		return v
	}
	return string(asJSON(sorted(v)))
}

// upload uploads a file and returns its uid.
func upload(t *testing.T, s http.Handler, name, content string) string {
	t.Helper()
	body := "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\nContent-Type: image/png\r\n\r\n" + content + "\r\n--x--\r\n"
	r := httptest.NewRequest(http.MethodPost, "/api/fileResources?domain=DOCUMENT", strings.NewReader(body))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	r.SetBasicAuth("admin", "district")
	_, answer := do(t, s, r)
	return strings.Trim(at(t, answer, "response.fileResource.id"), `"`)
}

// A database that another minor version made is refused.
func testOtherVersion(t *testing.T, cluster *postgrestest.Cluster) {
	t.Helper()
	database := Database{URL: cluster.Database(t)}
	openServer(t, "2.42.5.2", database).Close()
	if s, err := Open(t.Context(), Options{Version: "2.43.1"}, database); err == nil {
		s.Close()
		t.Error("2.43 opened what 2.42 had made")
	}
	openServer(t, "2.42.4", database)
}

// Requests at the same time, of which some change something, all see what is committed.
func testConcurrentWithDatabase(t *testing.T, cluster *postgrestest.Cluster) {
	t.Helper()
	database := Database{URL: cluster.Database(t)}
	s := openServer(t, "2.42.5.2", database)
	clinic(t, s)
	start := time.Now()
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 5 {
				first := 100*i + 10*j
				scaleCall(t, s, http.MethodPost, "/api/tracker?async=false", scalePayload(first, first+10))
				scaleCall(t, s, http.MethodGet, "/api/tracker/trackedEntities/"+scaleUID('T', first)+"?program=xIkcI00xjZE", nil)
			}
		})
	}
	wait.Wait()
	t.Logf("%.0f objects a second", 8*5*10*4/time.Since(start).Seconds())
	if got := column(t, database.URL, "SELECT count(*)::text FROM trackedentity"); got[0] != "400" {
		t.Errorf("%s tracked entities, want 400", got)
	}
}
