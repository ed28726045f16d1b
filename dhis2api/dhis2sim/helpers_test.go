package dhis2sim

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// moment is when tests happen, so that no expiry depends on the day they run.
var moment = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// newServer is a fresh 2.42 server with the metadata, a JSON object of lists, in it.
func newServer(t *testing.T, metadata string) *Server {
	t.Helper()
	return newVersion(t, "2.42.5.2", metadata)
}

func newVersion(t *testing.T, version, metadata string) *Server {
	t.Helper()
	s, err := New(Options{Version: version, Now: func() time.Time { return moment }})
	if err != nil {
		t.Fatal(err)
	}
	if metadata != "" {
		if err := s.Seed(t.Context(), strings.NewReader(metadata)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// call asks as the administrator and returns the status and the decoded answer.
func call(t *testing.T, s http.Handler, method, path, body string) (int, object) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.SetBasicAuth("admin", "district")
	return do(t, s, r)
}

func do(t *testing.T, s http.Handler, r *http.Request) (int, object) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var answer any
	if w.Body.Len() > 0 && strings.Contains(w.Header().Get("Content-Type"), "json") {
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s %s: %v in %.200s", r.Method, r.URL, err, w.Body)
		}
	}
	o, _ := answer.(object)
	if several, ok := answer.([]any); ok {
		o = object{"list": several}
	}
	return w.Code, o
}

// at is the value at a path such as "response.stats.created", as JSON.
func at(t *testing.T, answer object, path string) string {
	t.Helper()
	var value any = answer
	for _, name := range strings.Split(path, ".") {
		switch container := value.(type) {
		case object:
			value = container[name]
		case []any:
			n := int(name[0] - '0')
			if n >= len(container) {
				return "nothing"
			}
			value = container[n]
		default:
			return "nothing"
		}
	}
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// village is a small country: two units, a data set with one disaggregated element, one user role.
const village = `{
"organisationUnits": [
	{"id": "aUnitBelow1", "name": "Village", "shortName": "Village", "code": "V", "openingDate": "2020-01-01", "parent": {"id": "aUnitAbove1"}},
	{"id": "aUnitAbove1", "name": "Country", "shortName": "Country", "code": "C", "openingDate": "2020-01-01"}],
"categoryOptions": [{"id": "aYoungOptio", "name": "Young", "shortName": "Young"}, {"id": "anOldOption", "name": "Old", "shortName": "Old"}],
"categories": [{"id": "anAgeCatego", "name": "Age", "shortName": "Age", "dataDimensionType": "DISAGGREGATION", "categoryOptions": [{"id": "aYoungOptio"}, {"id": "anOldOption"}]}],
"categoryCombos": [{"id": "anAgeCombo1", "name": "Age", "dataDimensionType": "DISAGGREGATION", "categories": [{"id": "anAgeCatego"}]}],
"categoryOptionCombos": [
	{"id": "aYoungCombo", "name": "Young", "categoryCombo": {"id": "anAgeCombo1"}, "categoryOptions": [{"id": "aYoungOptio"}]},
	{"id": "anOldCombo1", "name": "Old", "categoryCombo": {"id": "anAgeCombo1"}, "categoryOptions": [{"id": "anOldOption"}]}],
"dataElements": [
	{"id": "aCountedDE1", "name": "Seen", "shortName": "Seen", "valueType": "INTEGER_ZERO_OR_POSITIVE", "domainType": "AGGREGATE", "aggregationType": "SUM", "categoryCombo": {"id": "anAgeCombo1"}},
	{"id": "aPlainDE111", "name": "Stock", "shortName": "Stock", "valueType": "INTEGER", "domainType": "AGGREGATE", "aggregationType": "SUM"}],
"dataSets": [{"id": "aMonthlyDS1", "name": "Monthly", "shortName": "Monthly", "periodType": "Monthly", "openFuturePeriods": 1, "expiryDays": 15, "sharing": {"public": "rwrw----"},
	"dataSetElements": [{"dataElement": {"id": "aCountedDE1"}}, {"dataElement": {"id": "aPlainDE111"}}], "organisationUnits": [{"id": "aUnitBelow1"}]}],
"userRoles": [{"id": "aStaffRole1", "name": "Staff", "authorities": ["F_DATAVALUE_ADD"]}],
"users": [
	{"id": "M5zQapPyTZI", "username": "admin", "firstName": "admin", "surname": "admin", "userRoles": [{"id": "yrB6vc5Ip3r"}], "organisationUnits": [{"id": "aUnitAbove1"}]},
	{"id": "aNurseUser1", "username": "nurse", "firstName": "Nora", "surname": "Nueve", "password": "Nurse-2026!", "userRoles": [{"id": "aStaffRole1"}], "organisationUnits": [{"id": "aUnitBelow1"}]}]
}`
