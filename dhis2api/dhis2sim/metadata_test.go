package dhis2sim

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMetadataReads(t *testing.T) {
	t.Parallel()
	s := newServer(t, village)
	for _, test := range []struct{ path, at, want string }{
		{"/api/organisationUnits/aUnitBelow1?fields=path,level,parent", "path", `"/aUnitAbove1/aUnitBelow1"`},
		{"/api/organisationUnits/aUnitBelow1?fields=path,level,parent", "parent", `{"id":"aUnitAbove1"}`},
		{"/api/42/organisationUnits/aUnitAbove1.json?fields=children[name],leaf", "children", `[{"name":"Village"}]`},
		{"/api/organisationUnits?fields=name&order=level:desc", "organisationUnits.0.name", `"Village"`},
		{"/api/organisationUnits?fields=id&filter=path:like:aUnitAbove1&filter=level:gt:1", "organisationUnits", `[{"id":"aUnitBelow1"}]`},
		{"/api/organisationUnits?fields=id&filter=code:in:[V,X]", "organisationUnits", `[{"id":"aUnitBelow1"}]`},
		{"/api/organisationUnits?fields=id&filter=parent:null", "organisationUnits", `[{"id":"aUnitAbove1"}]`},
		{"/api/organisationUnits?fields=id&filter=parent.code:eq:C", "organisationUnits", `[{"id":"aUnitBelow1"}]`},
		{"/api/organisationUnits?fields=id&filter=code:eq:V&filter=code:eq:C&rootJunction=OR", "pager.total", `2`},
		{"/api/organisationUnits?fields=id&query=vill", "organisationUnits", `[{"id":"aUnitBelow1"}]`},
		{"/api/organisationUnits?pageSize=1&page=2", "pager.pageCount", `2`},
		{"/api/organisationUnits?pageSize=1", "pager.nextPage", `"http://example.com/api/organisationUnits?page=2\u0026pageSize=1"`},
		{"/api/organisationUnits?paging=false", "pager", `null`},
		{"/api/dataSets/aMonthlyDS1?fields=dataSetElements[dataElement[name]],categoryCombo[name]", "dataSetElements.0", `{"dataElement":{"name":"Seen"}}`},
		{"/api/dataSets/aMonthlyDS1?fields=dataSetElements[dataElement[name]],categoryCombo[name]", "categoryCombo", `{"name":"default"}`},
		{"/api/dataElements/aPlainDE111?fields=:owner&defaults=EXCLUDE", "categoryCombo", `null`},
		{"/api/categoryCombos/anAgeCombo1?fields=categoryOptionCombos[name]", "categoryOptionCombos", `[{"name":"Young"},{"name":"Old"}]`},
		{"/api/users/aNurseUser1?fields=displayName,userRoles[name],password", "displayName", `"Nora Nueve"`},
		{"/api/users/aNurseUser1", "password", `null`},
		{"/api/metadata?organisationUnits=true&organisationUnits:fields=id&organisationUnits:filter=code:eq:C", "organisationUnits", `[{"id":"aUnitAbove1"}]`},
		{"/api/dataSets/aMonthlyDS1/metadata", "categories.0.name", `"Age"`},
	} {
		status, answer := call(t, s, http.MethodGet, test.path, "")
		if got := at(t, answer, test.at); status != http.StatusOK || got != test.want {
			t.Errorf("%s: %s is %s, status %d; want %s", test.path, test.at, got, status, test.want)
		}
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	for path, want := range map[string]string{"/api/programs/abcdefghijk": `"E1005"`, "/api/programs/abcdefghijk/metadata": "null", "/api/nothing": "null", "/elsewhere": "null"} {
		status, answer := call(t, s, http.MethodGet, path, "")
		if got := at(t, answer, "errorCode"); status != http.StatusNotFound || got != want {
			t.Errorf("%s: %d, code %s; want 404, %s", path, status, got, want)
		}
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	const element = `{"id": "aNewElement", "name": "New", "shortName": "New", "valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE"}`
	for name, test := range map[string]struct {
		query, body          string
		status               int
		stats, code, finally string // the class's counts, its first error, and what is stored at the end
	}{
		"create":                {"", `{"dataElements": [` + element + `]}`, 200, `{"created":1,"deleted":0,"ignored":0,"total":1,"updated":0}`, "nothing", `"New"`},
		"validate only":         {"?importMode=VALIDATE", `{"dataElements": [` + element + `]}`, 200, `{"created":1,"deleted":0,"ignored":0,"total":1,"updated":0}`, "nothing", "null"},
		"update what is not":    {"?importStrategy=UPDATE", `{"dataElements": [` + element + `]}`, 409, `{"created":0,"deleted":0,"ignored":1,"total":1,"updated":0}`, `"E5001"`, "null"},
		"create what is":        {"?importStrategy=CREATE", `{"dataElements": [{"id": "aPlainDE111", "name": "Stock"}]}`, 409, `{"created":0,"deleted":0,"ignored":1,"total":1,"updated":0}`, `"E5000"`, "null"},
		"unknown reference":     {"", `{"dataElements": [{"id": "aNewElement", "name": "New", "shortName": "New", "valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE", "optionSet": {"id": "noSuchSet11"}}]}`, 409, `{"created":0,"deleted":0,"ignored":2,"total":2,"updated":0}`, `"E5002"`, "null"},
		"unknown reader":        {"", `{"dataElements": [{"id": "aNewElement", "name": "New", "shortName": "New", "valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE", "sharing": {"public": "r-------", "users": {"noSuchUser1": {"id": "noSuchUser1", "access": "r-------"}}}}]}`, 409, `{"created":0,"deleted":0,"ignored":2,"total":2,"updated":0}`, `"E5002"`, "null"},
		"readers skipped":       {"?skipSharing=true", `{"dataElements": [{"id": "aNewElement", "name": "New", "shortName": "New", "valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE", "sharing": {"public": "r-------", "users": {"noSuchUser1": {"id": "noSuchUser1", "access": "r-------"}}}}]}`, 200, `{"created":1,"deleted":0,"ignored":0,"total":1,"updated":0}`, "nothing", `"New"`},
		"missing property":      {"", `{"dataElements": [{"id": "aNewElement", "name": "New", "shortName": "New"}]}`, 409, `{"created":0,"deleted":0,"ignored":1,"total":1,"updated":0}`, `"E4000"`, "null"},
		"name taken":            {"", `{"dataElements": [{"id": "aNewElement", "name": "Stock", "shortName": "New", "valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE"}]}`, 409, `{"created":0,"deleted":0,"ignored":1,"total":1,"updated":0}`, `"E5003"`, "null"},
		"one bad, all out":      {"", `{"dataElements": [` + element + `, {"id": "aBadElement", "name": "Bad"}]}`, 409, `{"created":0,"deleted":0,"ignored":2,"total":2,"updated":0}`, "nothing", "null"},
		"one bad, the rest in":  {"?atomicMode=NONE", `{"dataElements": [{"id": "aBadElement", "name": "Bad"}, ` + element + `]}`, 409, `{"created":1,"deleted":0,"ignored":1,"total":2,"updated":0}`, `"E4000"`, `"New"`},
		"not a uid":             {"", `{"constants": [{"id": "short", "name": "C", "shortName": "C", "value": 1}]}`, 409, `{"created":0,"deleted":0,"ignored":2,"total":2,"updated":0}`, `"E4014"`, "null"},
		"default object":        {"", `{"categoryCombos": [{"id": "bjDvmb4bfuf", "name": "default"}]}`, 200, "nothing", "nothing", "null"},
		"delete":                {"?importStrategy=DELETE", `{"dataSets": [{"id": "aMonthlyDS1"}]}`, 200, `{"created":0,"deleted":1,"ignored":0,"total":1,"updated":0}`, "nothing", "null"},
		"delete what is needed": {"?importStrategy=DELETE", `{"organisationUnits": [{"id": "aUnitAbove1"}]}`, 200, `{"created":0,"deleted":0,"ignored":1,"total":1,"updated":0}`, `"E4030"`, "null"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, village)
			status, answer := call(t, s, http.MethodPost, "/api/metadata"+test.query, test.body)
			if status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			if got := at(t, answer, "response.typeReports.0.stats"); got != test.stats {
				t.Errorf("counts %s, want %s", got, test.stats)
			}
			if got := at(t, answer, "response.typeReports.0.objectReports.0.errorReports.0.errorCode"); got != test.code && test.code != "nothing" {
				t.Errorf("error %s, want %s", got, test.code)
			}
			_, stored := call(t, s, http.MethodGet, "/api/dataElements/aNewElement?fields=name", "")
			if got := at(t, stored, "name"); got != test.finally {
				t.Errorf("stored name %s, want %s", got, test.finally)
			}
		})
	}
}

func TestUpdateReplaces(t *testing.T) {
	t.Parallel()
	s := newServer(t, village)
	_, before := call(t, s, http.MethodGet, "/api/organisationUnits/aUnitBelow1?fields=:owner", "")
	status, _ := call(t, s, http.MethodPut, "/api/organisationUnits/aUnitBelow1", `{"name": "Hamlet", "shortName": "H", "openingDate": "2021-01-01"}`)
	_, after := call(t, s, http.MethodGet, "/api/organisationUnits/aUnitBelow1?fields=:owner", "")
	want := before
	want["name"], want["shortName"], want["openingDate"], want["path"], want["level"] = "Hamlet", "H", "2021-01-01T00:00:00.000", "/aUnitBelow1", 1.0
	delete(want, "code")
	delete(want, "parent")
	if diff := cmp.Diff(want, after); status != http.StatusOK || diff != "" {
		t.Errorf("status %d (-want +got):\n%s", status, diff)
	}
}

func TestPatch(t *testing.T) {
	t.Parallel()
	s := newServer(t, village)
	for _, test := range []struct {
		patch, at, want string
		status          int
	}{
		{`[{"op": "replace", "path": "/surname", "value": "Nuevo"}]`, "surname", `"Nuevo"`, 200},
		{`[{"op": "add", "path": "/organisationUnits/-", "value": {"id": "aUnitAbove1"}}]`, "organisationUnits", `[{"id":"aUnitBelow1"},{"id":"aUnitAbove1"}]`, 200},
		{`[{"op": "remove-by-id", "path": "/organisationUnits", "id": "aUnitBelow1"}]`, "organisationUnits", `[{"id":"aUnitAbove1"}]`, 200},
		{`[{"op": "remove", "path": "/userRoles"}]`, "userRoles", `[{"id":"aStaffRole1"}]`, 409},
		{`[{"op": "add", "path": "/organisationUnits", "value": [{"id": "noSuchUnit1"}]}]`, "organisationUnits", `[{"id":"aUnitAbove1"}]`, 409},
		{`not json`, "surname", `"Nuevo"`, 400},
	} {
		status, _ := call(t, s, http.MethodPatch, "/api/users/aNurseUser1", test.patch)
		_, user := call(t, s, http.MethodGet, "/api/users/aNurseUser1", "")
		if got := at(t, user, test.at); status != test.status || got != test.want {
			t.Errorf("%s: status %d, %s is %s; want %d, %s", test.patch, status, test.at, got, test.status, test.want)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/api/me?fields=username,authorities", nil)
	r.SetBasicAuth("nurse", "Nurse-2026!")
	if status, me := do(t, s, r); status != http.StatusOK || at(t, me, "authorities") != `["F_DATAVALUE_ADD"]` {
		t.Errorf("the nurse's password or role was lost: %d, %v", status, me)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	s := newServer(t, `{"optionSets": [{"id": "anOptionSet", "name": "Set", "valueType": "TEXT", "options": [{"id": "anOption111"}, {"id": "anOption222"}]}],
		"options": [{"id": "anOption111", "name": "One", "code": "1", "sortOrder": 2}, {"id": "anOption222", "name": "Two", "code": "2", "sortOrder": 1}],
		"userGroups": [{"id": "aUserGroup1", "name": "Group"}]}`)
	for _, test := range []struct{ method, path, read, at, want string }{
		{http.MethodGet, "/api/optionSets", "/api/options/anOption111?fields=optionSet", "optionSet", `{"id":"anOptionSet"}`},
		{http.MethodGet, "/api/optionSets", "/api/optionSets/anOptionSet?fields=options[code]", "options", `[{"code":"2"},{"code":"1"}]`},
		{http.MethodDelete, "/api/optionSets/anOptionSet/options/anOption222", "/api/optionSets/anOptionSet?fields=options[code]", "options", `[{"code":"1"}]`},
		{http.MethodPost, "/api/users/M5zQapPyTZI/userGroups/aUserGroup1", "/api/userGroups/aUserGroup1?fields=users", "users.0.username", `"admin"`},
	} {
		if status, _ := call(t, s, test.method, test.path, ""); status != http.StatusOK {
			t.Errorf("%s %s: %d", test.method, test.path, status)
		}
		_, answer := call(t, s, http.MethodGet, test.read, "")
		if got := at(t, answer, test.at); got != test.want {
			t.Errorf("after %s %s: %s is %s, want %s", test.method, test.path, test.at, got, test.want)
		}
	}
}

// TestRoundTrip moves metadata to another server, twice, as prepare does.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	export := func(s *Server) string {
		r := httptest.NewRequest(http.MethodGet, "/api/metadata?defaults=EXCLUDE&fields=:owner,!createdBy,!lastUpdatedBy,!version", nil)
		r.SetBasicAuth("admin", "district")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Body.String()
	}
	central := newServer(t, village)
	local := newServer(t, "")
	for range 2 {
		if err := local.Seed(t.Context(), strings.NewReader(export(central))); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(export(central), export(local)); diff != "" {
		t.Errorf("(-central +local):\n%s", diff)
	}
}
