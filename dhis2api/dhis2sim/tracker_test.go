package dhis2sim

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// trackerMetadata is a small registry: two districts, a program with all sorts of limits, a protected one, an
// event program and a clerk of the first facility.
const trackerMetadata = `{
"organisationUnits":[
 {"id":"OuCountry01","name":"Country","shortName":"Country","openingDate":"2000-01-01"},
 {"id":"OuDistrict1","name":"North","shortName":"North","openingDate":"2000-01-01","parent":{"id":"OuCountry01"}},
 {"id":"OuFacility1","name":"First","shortName":"First","openingDate":"2000-01-01","parent":{"id":"OuDistrict1"}},
 {"id":"OuFacility2","name":"Second","shortName":"Second","openingDate":"2000-01-01","parent":{"id":"OuDistrict1"}},
 {"id":"OuFacility3","name":"Far","shortName":"Far","openingDate":"2000-01-01","parent":{"id":"OuCountry01"}}],
"optionSets":[{"id":"OptionSet01","name":"Colours","valueType":"TEXT","options":[{"id":"OptionRed01"}]}],
"options":[{"id":"OptionRed01","code":"RED","name":"Red","sortOrder":1,"optionSet":{"id":"OptionSet01"}}],
"trackedEntityAttributes":[
 {"id":"AttrName001","name":"Name","shortName":"Name","valueType":"TEXT","aggregationType":"NONE"},
 {"id":"AttrAge0001","name":"Age","shortName":"Age","valueType":"INTEGER","aggregationType":"NONE"},
 {"id":"AttrColour1","name":"Colour","shortName":"Colour","valueType":"TEXT","aggregationType":"NONE","optionSet":{"id":"OptionSet01"}},
 {"id":"AttrUnique1","name":"Number","shortName":"Number","valueType":"TEXT","aggregationType":"NONE","unique":true}],
"dataElements":[
 {"id":"DeWeight001","name":"Weight","shortName":"Weight","valueType":"NUMBER","aggregationType":"NONE","domainType":"TRACKER"},
 {"id":"DeRemark001","name":"Remark","shortName":"Remark","valueType":"TEXT","aggregationType":"NONE","domainType":"TRACKER"}],
"trackedEntityTypes":[{"id":"TypePerson1","name":"Person","shortName":"Person","sharing":{"public":"rwrw----"},"minAttributesRequiredToSearch":1,
 "trackedEntityTypeAttributes":[
  {"trackedEntityAttribute":{"id":"AttrName001"},"mandatory":true,"searchable":true},
  {"trackedEntityAttribute":{"id":"AttrUnique1"},"mandatory":false,"searchable":true}]}],
"programs":[
 {"id":"ProgClinic1","name":"Clinic","shortName":"Clinic","programType":"WITH_REGISTRATION","displayIncidentDate":false,"trackedEntityType":{"id":"TypePerson1"},"accessLevel":"OPEN",
  "sharing":{"public":"rwrw----"},"programStages":[{"id":"StageVisit1"},{"id":"StageBirth1"}],
  "organisationUnits":[{"id":"OuFacility1"},{"id":"OuFacility2"},{"id":"OuFacility3"}],
  "programTrackedEntityAttributes":[
   {"trackedEntityAttribute":{"id":"AttrName001"},"mandatory":false,"searchable":true},{"trackedEntityAttribute":{"id":"AttrAge0001"},"mandatory":false},
   {"trackedEntityAttribute":{"id":"AttrColour1"},"mandatory":false}]},
 {"id":"ProgSecret1","name":"Secret","shortName":"Secret","programType":"WITH_REGISTRATION","displayIncidentDate":false,"trackedEntityType":{"id":"TypePerson1"},"accessLevel":"PROTECTED",
  "sharing":{"public":"rwrw----"},"programStages":[{"id":"StageSecre1"}],"organisationUnits":[{"id":"OuFacility1"},{"id":"OuFacility2"}]},
 {"id":"ProgEvents1","name":"Events","shortName":"Events","programType":"WITHOUT_REGISTRATION","sharing":{"public":"rwrw----"},
  "programStages":[{"id":"StageEvent1"}],"organisationUnits":[{"id":"OuFacility1"}]}],
"programStages":[
 {"id":"StageVisit1","name":"Visit","program":{"id":"ProgClinic1"},"repeatable":true,"sortOrder":1,"sharing":{"public":"rwrw----"},"validationStrategy":"ON_COMPLETE",
  "programStageDataElements":[{"dataElement":{"id":"DeWeight001"},"compulsory":true},{"dataElement":{"id":"DeRemark001"},"compulsory":false}]},
 {"id":"StageBirth1","name":"Birth","program":{"id":"ProgClinic1"},"repeatable":false,"sortOrder":2,"sharing":{"public":"rwrw----"},
  "programStageDataElements":[{"dataElement":{"id":"DeWeight001"},"compulsory":false}]},
 {"id":"StageSecre1","name":"Secret visit","program":{"id":"ProgSecret1"},"repeatable":true,"sortOrder":1,"sharing":{"public":"rwrw----"}},
 {"id":"StageEvent1","name":"Event","program":{"id":"ProgEvents1"},"sortOrder":1,"sharing":{"public":"rwrw----"},
  "programStageDataElements":[{"dataElement":{"id":"DeRemark001"},"compulsory":false}]}],
"relationshipTypes":[{"id":"RelSibling1","name":"Sibling","fromToName":"a","toFromName":"b","bidirectional":true,"sharing":{"public":"rwrw----"},
 "fromConstraint":{"relationshipEntity":"TRACKED_ENTITY_INSTANCE","trackedEntityType":{"id":"TypePerson1"}},
 "toConstraint":{"relationshipEntity":"TRACKED_ENTITY_INSTANCE","trackedEntityType":{"id":"TypePerson1"}}}],
"userRoles":[{"id":"RoleClerk01","name":"Clerk","authorities":["F_VIEW_EVENT_ANALYTICS"]}],
"users":[{"id":"UserClerk01","username":"clerk","password":"Clerk1pass!","firstName":"Cle","surname":"Rk","userRoles":[{"id":"RoleClerk01"}],
 "organisationUnits":[{"id":"OuFacility1"}],"teiSearchOrganisationUnits":[{"id":"OuDistrict1"}]}]}`

// trackerServer is a server with that metadata, whose administrator works in the whole country.
func trackerServer(t *testing.T, version string) *Server {
	t.Helper()
	s := newVersion(t, version, trackerMetadata)
	r := httptest.NewRequest(http.MethodPatch, "/api/users/"+adminUID, strings.NewReader(`[{"op":"add","path":"/organisationUnits","value":[{"id":"OuCountry01"}]}]`))
	r.Header.Set("Content-Type", "application/json-patch+json")
	r.SetBasicAuth("admin", "district")
	if status, answer := do(t, s, r); status != http.StatusOK {
		t.Fatalf("cannot give the administrator a unit: %d %v", status, answer)
	}
	return s
}

// ask asks as an account.
func ask(t *testing.T, s *Server, account, method, path, body string) (int, object) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	name, password, _ := strings.Cut(account, ":")
	r.SetBasicAuth(name, password)
	return do(t, s, r)
}

const (
	administrator = "admin:district"
	clerk         = "clerk:Clerk1pass!"
)

// codes are the error codes of an import's report.
func codes(report object) []string {
	validation, _ := report["validationReport"].(object)
	var out []string
	for _, e := range list(validation["errorReports"]) {
		out = append(out, text(e.(object)["errorCode"])+" "+text(e.(object)["uid"]))
	}
	return out
}

// load imports a payload that must be accepted.
func load(t *testing.T, s *Server, query, payload string) object {
	t.Helper()
	status, report := ask(t, s, administrator, http.MethodPost, "/api/tracker?async=false"+query, payload)
	if status != http.StatusOK {
		t.Fatalf("import refused: %d %v %v", status, codes(report), report["message"])
	}
	return report
}

// household is a mother and a child with a visit each, and that they are siblings of all things.
const household = `{"trackedEntities":[
 {"trackedEntity":"TeMother001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1","attributes":[{"attribute":"AttrName001","value":"Ana"},{"attribute":"AttrUnique1","value":"A-1"}],
  "enrollments":[{"enrollment":"EnMother001","program":"ProgClinic1","orgUnit":"OuFacility1","enrolledAt":"2026-11-01","attributes":[{"attribute":"AttrAge0001","value":"31"}],
   "events":[{"event":"EvMother001","programStage":"StageVisit1","program":"ProgClinic1","orgUnit":"OuFacility1","occurredAt":"2026-11-02","status":"COMPLETED",
    "dataValues":[{"dataElement":"DeWeight001","value":"60"},{"dataElement":"DeRemark001","value":"well"}],"notes":[{"note":"NoteMother1","value":"call"}]}]}]},
 {"trackedEntity":"TeChild0001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility2","attributes":[{"attribute":"AttrName001","value":"Bo"}],
  "enrollments":[{"enrollment":"EnChild0001","program":"ProgClinic1","orgUnit":"OuFacility2","enrolledAt":"2026-11-01"}]},
 {"trackedEntity":"TeHidden001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility2","attributes":[{"attribute":"AttrName001","value":"Cleo"}],
  "enrollments":[{"enrollment":"EnHidden001","program":"ProgSecret1","orgUnit":"OuFacility2","enrolledAt":"2026-11-01"}]}],
"relationships":[{"relationship":"ReSibling01","relationshipType":"RelSibling1","from":{"trackedEntity":{"trackedEntity":"TeMother001"}},"to":{"trackedEntity":{"trackedEntity":"TeChild0001"}}}]}`

// TestImportErrors: what is refused, and with which code. The family is there already.
func TestImportErrors(t *testing.T) {
	entity := func(rest string) string {
		return `{"trackedEntities":[{"trackedEntity":"TeNew000001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1",` + rest + `}]}`
	}
	named := `"attributes":[{"attribute":"AttrName001","value":"Dia"}]`
	event := func(rest string) string {
		return `{"events":[{"event":"EvNew000001","program":"ProgClinic1","programStage":"StageVisit1","enrollment":"EnMother001","orgUnit":"OuFacility1","occurredAt":"2026-11-03",` + rest + `}]}`
	}
	tests := map[string]struct {
		query, payload string
		account        string
		want           []string
	}{
		"good":                     {payload: entity(named)},
		"mandatory attribute":      {payload: entity(`"attributes":[]`), want: []string{"E1090 TeNew000001"}},
		"mandatory emptied":        {payload: entity(`"attributes":[{"attribute":"AttrName001","value":""}]`), want: []string{"E1076 TeNew000001"}},
		"unknown attribute":        {payload: entity(`"attributes":[{"attribute":"AttrName001","value":"D"},{"attribute":"AttrNope001","value":"x"}]`), want: []string{"E1006 TeNew000001"}},
		"not of the type":          {payload: entity(`"attributes":[{"attribute":"AttrName001","value":"D"},{"attribute":"AttrAge0001","value":"old"}]`), want: []string{"E1007 TeNew000001"}},
		"not an option":            {payload: entity(`"attributes":[{"attribute":"AttrName001","value":"D"},{"attribute":"AttrColour1","value":"BLUE"}]`), want: []string{"E1125 TeNew000001"}},
		"taken":                    {payload: entity(`"attributes":[{"attribute":"AttrName001","value":"D"},{"attribute":"AttrUnique1","value":"A-1"}]`), want: []string{"E1064 TeNew000001"}},
		"unknown unit":             {payload: strings.Replace(entity(named), "OuFacility1", "OuNowhere01", 1), want: []string{"E1049 TeNew000001"}},
		"create what exists":       {query: "&importStrategy=CREATE", payload: household, want: []string{"E1002 TeMother001", "E1002 TeChild0001", "E1002 TeHidden001", "E1080 EnMother001", "E1080 EnChild0001", "E1080 EnHidden001", "E1030 EvMother001", "E4015 ReSibling01"}},
		"update what does not":     {query: "&importStrategy=UPDATE", payload: entity(named), want: []string{"E1063 TeNew000001"}},
		"delete what does not":     {query: "&importStrategy=DELETE", payload: event(`"status":"ACTIVE"`), want: []string{"E1032 EvNew000001"}},
		"second active enrollment": {payload: `{"enrollments":[{"enrollment":"EnNew000001","trackedEntity":"TeMother001","program":"ProgClinic1","orgUnit":"OuFacility1","enrolledAt":"2026-11-01"}]}`, want: []string{"E1015 EnNew000001"}},
		"enrolled tomorrow":        {payload: `{"enrollments":[{"enrollment":"EnNew000001","trackedEntity":"TeMother001","program":"ProgSecret1","orgUnit":"OuFacility1","enrolledAt":"2099-01-01"}]}`, want: []string{"E1020 EnNew000001"}},
		"unit of no program":       {payload: `{"enrollments":[{"enrollment":"EnNew000001","trackedEntity":"TeMother001","program":"ProgSecret1","orgUnit":"OuFacility3","enrolledAt":"2026-11-01"}]}`, want: []string{"E1041 EnNew000001"}},
		"compulsory at completion": {payload: event(`"status":"COMPLETED"`), want: []string{"E1303 EvNew000001"}},
		"compulsory before":        {payload: event(`"status":"ACTIVE"`)},
		"foreign data element":     {payload: strings.Replace(event(`"status":"ACTIVE","dataValues":[{"dataElement":"DeRemark001","value":"x"}]`), "StageVisit1", "StageBirth1", 1), want: []string{"E1305 EvNew000001"}},
		"values of a schedule":     {payload: event(`"status":"SCHEDULE","scheduledAt":"2026-12-01","dataValues":[{"dataElement":"DeWeight001","value":"1"}]`), want: []string{"E1315 EvNew000001"}},
		"twice what is not repeated": {payload: `{"events":[` +
			`{"event":"EvNew000001","program":"ProgClinic1","programStage":"StageBirth1","enrollment":"EnMother001","orgUnit":"OuFacility1","occurredAt":"2026-11-03"},` +
			`{"event":"EvNew000002","program":"ProgClinic1","programStage":"StageBirth1","enrollment":"EnMother001","orgUnit":"OuFacility1","occurredAt":"2026-11-03"}]}`,
			want: []string{"E1039 EvNew000001", "E1039 EvNew000002"}},
		"double relationship": {payload: `{"relationships":[{"relationship":"ReNew000001","relationshipType":"RelSibling1","from":{"trackedEntity":{"trackedEntity":"TeChild0001"}},"to":{"trackedEntity":{"trackedEntity":"TeMother001"}}}]}`,
			want: []string{"E4018 ReNew000001"}},
		"clerk elsewhere": {account: clerk, payload: strings.Replace(entity(named), "OuFacility1", "OuFacility2", 1), want: []string{"E1000 TeNew000001"}},
		"clerk deletes":   {account: clerk, query: "&importStrategy=DELETE", payload: `{"trackedEntities":[{"trackedEntity":"TeMother001"}]}`, want: []string{"E1100 TeMother001"}},
		"parent refused": {payload: `{"trackedEntities":[{"trackedEntity":"TeNew000001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1","enrollments":[` +
			`{"enrollment":"EnNew000001","program":"ProgClinic1","orgUnit":"OuFacility1","enrolledAt":"2026-11-01"}]}]}`,
			want: []string{"E1090 TeNew000001", "E5000 EnNew000001"}},
	}
	s := trackerServer(t, "2.42.5.2")
	load(t, s, "", household)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			account := tt.account
			if account == "" {
				account = administrator
			}
			status, report := ask(t, s, account, http.MethodPost, "/api/tracker?async=false&importMode=VALIDATE"+tt.query, tt.payload)
			if diff := cmp.Diff(tt.want, codes(report)); diff != "" {
				t.Errorf("codes (-want +got):\n%s%d %v", diff, status, report["message"])
			}
		})
	}
}

// TestImportObjectByObject: what is good is stored though something else was refused.
func TestImportObjectByObject(t *testing.T) {
	s := trackerServer(t, "2.42.5.2")
	payload := `{"trackedEntities":[{"trackedEntity":"TeGood00001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1","attributes":[{"attribute":"AttrName001","value":"G"}]},
		{"trackedEntity":"TeBad000001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1"}]}`
	if status, _ := ask(t, s, administrator, http.MethodPost, "/api/tracker?async=false", payload); status != http.StatusConflict {
		t.Errorf("all or nothing answered %d", status)
	}
	if status, _ := ask(t, s, administrator, http.MethodGet, "/api/tracker/trackedEntities/TeGood00001", ""); status != http.StatusNotFound {
		t.Errorf("all or nothing left something: %d", status)
	}
	report := load(t, s, "&atomicMode=OBJECT", payload)
	if diff := cmp.Diff(`{"created":1,"deleted":0,"ignored":1,"total":2,"updated":0}`, at(t, report, "stats")); diff != "" {
		t.Error(diff)
	}
}

// TestMerge: values merge, scalars are replaced, notes are only ever added.
func TestMerge(t *testing.T) {
	s := trackerServer(t, "2.42.5.2")
	load(t, s, "", household)
	report := load(t, s, "&reportMode=FULL", `{"events":[{"event":"EvMother001","programStage":"StageVisit1","program":"ProgClinic1","orgUnit":"OuFacility1","enrollment":"EnMother001",
		"occurredAt":"2026-11-05","status":"COMPLETED","dataValues":[{"dataElement":"DeRemark001","value":null}],"notes":[{"note":"NoteMother1","value":"other"},{"note":"NoteMother2","value":"more"}]}]}`)
	if got := at(t, report, "validationReport.warningReports.0.warningCode"); got != `"E1119"` {
		t.Errorf("no warning about the note: %s", got)
	}
	_, event := call(t, s, http.MethodGet, "/api/tracker/events/EvMother001?fields=occurredAt,dataValues[dataElement,value],notes[note,value]", "")
	want := object{
		"occurredAt": "2026-11-05T00:00:00.000", "dataValues": []any{object{"dataElement": "DeWeight001", "value": "60"}},
		"notes": []any{object{"note": "NoteMother1", "value": "call"}, object{"note": "NoteMother2", "value": "more"}},
	}
	if diff := cmp.Diff(want, event); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

// TestDeletion: a deletion takes along what is below, burns the uids until the purge, and is seen by who asks
// for what was deleted.
func TestDeletion(t *testing.T) {
	s := trackerServer(t, "2.42.5.2")
	load(t, s, "", household)
	load(t, s, "&importStrategy=DELETE", `{"trackedEntities":[{"trackedEntity":"TeMother001"}]}`)
	for _, path := range []string{"trackedEntities/TeMother001", "enrollments/EnMother001", "events/EvMother001", "relationships/ReSibling01"} {
		if status, _ := call(t, s, http.MethodGet, "/api/tracker/"+path, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
	list := "/api/tracker/trackedEntities?trackedEntities=TeMother001&fields=deleted,attributes,enrollments[status,deleted,events[deleted]]&includeDeleted="
	_, gone := call(t, s, http.MethodGet, list+"true", "")
	want := []any{object{"deleted": true, "attributes": []any{}, "enrollments": []any{object{"status": "CANCELLED", "deleted": true, "events": []any{object{"deleted": true}}}}}}
	if diff := cmp.Diff(want, gone["trackedEntities"]); diff != "" {
		t.Errorf("tombstone (-want +got):\n%s", diff)
	}
	if _, none := call(t, s, http.MethodGet, list+"false", ""); len(none["trackedEntities"].([]any)) != 0 {
		t.Errorf("a deleted tracked entity is listed: %v", none)
	}
	again := `{"trackedEntities":[{"trackedEntity":"TeMother001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1","attributes":[{"attribute":"AttrName001","value":"Ana"}]}]}`
	_, report := call(t, s, http.MethodPost, "/api/tracker?async=false", again)
	if diff := cmp.Diff([]string{"E1114 TeMother001"}, codes(report)); diff != "" {
		t.Errorf("a burned uid (-want +got):\n%s", diff)
	}
	for _, kind := range []string{"Event", "Enrollment", "TrackedEntity"} {
		call(t, s, http.MethodPost, fmt.Sprintf("/api/maintenance?softDeleted%sRemoval=true", kind), "")
	}
	load(t, s, "", again)
}

// TestLists: who sees which tracked entities, by unit and program.
func TestLists(t *testing.T) {
	s := trackerServer(t, "2.42.5.2")
	load(t, s, "", household)
	tests := map[string]struct {
		account, query string
		status         int
		want           []string
	}{
		"a facility":              {administrator, "program=ProgClinic1&orgUnits=OuFacility1", 200, []string{"TeMother001"}},
		"children of a district":  {administrator, "program=ProgClinic1&orgUnits=OuDistrict1&orgUnitMode=CHILDREN", 200, []string{"TeChild0001", "TeMother001"}},
		"all below":               {administrator, "trackedEntityType=TypePerson1&orgUnits=OuCountry01&orgUnitMode=DESCENDANTS&order=createdAt:asc", 200, []string{"TeHidden001", "TeChild0001", "TeMother001"}},
		"by name":                 {administrator, "program=ProgClinic1&orgUnitMode=ALL&filter=AttrName001:like:AN", 200, []string{"TeMother001"}},
		"by number":               {administrator, "trackedEntityType=TypePerson1&filter=AttrUnique1:eq:a-1", 200, []string{"TeMother001"}},
		"by uid":                  {administrator, "trackedEntities=TeChild0001,TeNever0001", 200, []string{"TeChild0001"}},
		"not since":               {administrator, "program=ProgClinic1&orgUnitMode=ALL&updatedAfter=2026-11-24", 200, nil},
		"by an order":             {administrator, "program=ProgClinic1&orgUnitMode=ALL&order=AttrName001:desc", 200, []string{"TeChild0001", "TeMother001"}},
		"clerk captures":          {clerk, "program=ProgClinic1&orgUnitMode=CAPTURE", 200, []string{"TeMother001"}},
		"clerk searches too much": {clerk, "program=ProgClinic1", 409, nil},
		"clerk searches":          {clerk, "program=ProgClinic1&filter=AttrName001:eq:bo", 200, []string{"TeChild0001"}},
		"clerk is protected from": {clerk, "program=ProgSecret1&filter=AttrName001:eq:cleo", 409, nil},
		"clerk too far":           {clerk, "program=ProgClinic1&orgUnits=OuFacility3", 403, nil},
		"event program":           {administrator, "program=ProgEvents1", 400, nil},
		"unit and no unit":        {administrator, "program=ProgClinic1&orgUnits=OuFacility1&orgUnitMode=ALL", 400, nil},
		"nothing":                 {administrator, "", 400, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, answer := ask(t, s, tt.account, http.MethodGet, "/api/tracker/trackedEntities?fields=trackedEntity&"+tt.query, "")
			var got []string
			for _, e := range list(answer["trackedEntities"]) {
				got = append(got, text(e.(object)["trackedEntity"]))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || status != tt.status {
				t.Errorf("%d (-want +got):\n%s%v", status, diff, answer["message"])
			}
		})
	}
}

// TestPagers: each version has its own.
func TestPagers(t *testing.T) {
	path := "/api/tracker/trackedEntities?program=ProgClinic1&orgUnitMode=ALL&fields=trackedEntity&pageSize=1"
	want := map[string]object{
		"2.41.9.1": {"pager": object{"page": 1.0, "pageSize": 1.0, "total": 2.0, "pageCount": 2.0}, "page": 1.0, "pageSize": 1.0, "total": 2.0, "pageCount": 2.0},
		"2.42.5.2": {"pager": object{
			"page": 1.0, "pageSize": 1.0, "total": 2.0, "pageCount": 2.0,
			"nextPage": "http://example.com/api/tracker/trackedEntities?fields=trackedEntity&orgUnitMode=ALL&page=2&pageSize=1&program=ProgClinic1&totalPages=true",
		}},
	}
	for version, pager := range want {
		t.Run(version, func(t *testing.T) {
			s := trackerServer(t, version)
			load(t, s, "", household)
			_, answer := call(t, s, http.MethodGet, path+"&totalPages=true", "")
			delete(answer, "trackedEntities")
			if diff := cmp.Diff(pager, answer); diff != "" {
				t.Errorf("pager (-want +got):\n%s", diff)
			}
			if status, _ := call(t, s, http.MethodGet, path+"&page=0", ""); status != http.StatusBadRequest {
				t.Errorf("page 0 answered %d", status)
			}
		})
	}
}

// TestOwnership: a transfer changes who owns, a broken glass who sees.
func TestOwnership(t *testing.T) {
	s := trackerServer(t, "2.42.5.2")
	load(t, s, "", household)
	through := "/api/tracker/trackedEntities/TeHidden001?fields=programOwners[orgUnit]&program=ProgSecret1"
	if status, _ := ask(t, s, clerk, http.MethodGet, through, ""); status != http.StatusNotFound {
		t.Errorf("a clerk sees what is protected: %d", status)
	}
	ask(t, s, clerk, http.MethodPost, "/api/tracker/ownership/override?trackedEntity=TeHidden001&program=ProgSecret1&reason=care", "{}")
	if status, _ := ask(t, s, clerk, http.MethodGet, "/api/tracker/enrollments/EnHidden001", ""); status != http.StatusOK {
		t.Errorf("a broken glass still hides: %d", status)
	}
	if status, answer := call(t, s, http.MethodPut, "/api/tracker/ownership/transfer?trackedEntity=TeHidden001&program=ProgSecret1&orgUnit=OuFacility1", ""); status != http.StatusOK {
		t.Fatalf("transfer: %d %v", status, answer)
	}
	_, seen := ask(t, s, clerk, http.MethodGet, through, "")
	if diff := cmp.Diff([]any{object{"orgUnit": "OuFacility1"}}, seen["programOwners"]); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

// TestExpressions evaluates what program rules are written in.
func TestExpressions(t *testing.T) {
	tests := map[string]any{
		"1 + 2 * 3":                                 7.0,
		"'a' == 'a' && !false":                      true,
		"(1 > 2) || 2 >= 2":                         true,
		"d2:concatenate('a', 'b')":                  "ab",
		"d2:daysBetween('2026-01-01','2026-01-31')": 30.0,
		"d2:floor(2.9) == 2":                        true,
		"d2:length('abcd') % 3":                     1.0,
		"d2:left('abcd', 2)":                        "ab",
		"d2:validatePattern('123', '[0-9]+')":       true,
	}
	for source, want := range tests {
		t.Run(source, func(t *testing.T) {
			e, err := parseExpression(source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := e(&ruleScope{})
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	for _, source := range []string{"1 +", "d2:nothing(1)", "#{a", "1 2", ""} {
		if _, err := parseExpression(source); err == nil {
			t.Errorf("%q parses", source)
		}
	}
}
