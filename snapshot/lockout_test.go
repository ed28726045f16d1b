package snapshot

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// lockedOut is a small clinic's metadata, for changes of it.
const lockedOut = `{
"organisationUnits": [
  {"id": "unitCountry", "name": "Panama", "openingDate": "2000-01-01"},
  {"id": "unitBocas01", "name": "Bocas", "openingDate": "2000-01-01", "parent": {"id": "unitCountry"}},
  {"id": "unitSoloy01", "name": "Soloy", "openingDate": "2000-01-01", "parent": {"id": "unitBocas01"}},
  {"id": "unitCity001", "name": "City", "openingDate": "2000-01-01", "parent": {"id": "unitCountry"}}],
"optionSets": [{"id": "setDiagnos1", "name": "Diagnosis"}, {"id": "setOther001", "name": "Other set"}],
"options": [{"id": "optMalaria1", "name": "Malaria", "code": "MAL", "optionSet": {"id": "setDiagnos1"}},
  {"id": "optDengue01", "name": "Dengue", "code": "DEN", "optionSet": {"id": "setDiagnos1"}}],
"dataElements": [{"id": "elWeight001", "name": "Weight", "valueType": "NUMBER"},
  {"id": "elDiagnosis", "name": "Diagnosis", "valueType": "TEXT", "optionSet": {"id": "setDiagnos1"}},
  {"id": "elCases0001", "name": "Cases", "valueType": "INTEGER"}],
"trackedEntityAttributes": [{"id": "atFirstName", "name": "First name", "valueType": "TEXT", "unique": false},
  {"id": "atPhone0001", "name": "Phone", "valueType": "PHONE_NUMBER", "unique": false}],
"trackedEntityTypes": [{"id": "tyPatient01", "name": "patient", "trackedEntityTypeAttributes": [{"trackedEntityAttribute": {"id": "atFirstName"}, "mandatory": false}]}],
"programStages": [{"id": "stVisit0001", "name": "Visit", "program": {"id": "prVisit0001"}, "repeatable": true, "validationStrategy": "ON_COMPLETE",
  "sharing": {"public": "rwrw----"},
  "programStageDataElements": [{"dataElement": {"id": "elWeight001"}, "compulsory": false}, {"dataElement": {"id": "elDiagnosis"}, "compulsory": true}]}],
"programs": [{"id": "prVisit0001", "name": "Clinic visit", "trackedEntityType": {"id": "tyPatient01"}, "categoryCombo": {"id": "coDefault01"},
  "organisationUnits": [{"id": "unitSoloy01"}, {"id": "unitCity001"}], "programStages": [{"id": "stVisit0001"}],
  "onlyEnrollOnce": false, "selectEnrollmentDatesInFuture": true, "expiryDays": 0, "sharing": {"public": "r-------", "userGroups": {"grDoctors01": {"access": "rwrw----"}}},
  "programTrackedEntityAttributes": [{"trackedEntityAttribute": {"id": "atFirstName"}, "mandatory": false}, {"trackedEntityAttribute": {"id": "atPhone0001"}, "mandatory": false}]}],
"programRules": [{"id": "ruHeavy0001", "name": "Too heavy", "program": {"id": "prVisit0001"}, "condition": "#{w} > 300"}],
"programRuleActions": [{"id": "acHeavy0001", "programRule": {"id": "ruHeavy0001"}, "programRuleActionType": "SHOWERROR", "dataElement": {"id": "elWeight001"}, "content": "too heavy"}],
"dataSets": [{"id": "dsMonthly01", "name": "Monthly", "categoryCombo": {"id": "coDefault01"}, "organisationUnits": [{"id": "unitSoloy01"}], "expiryDays": 0, "openFuturePeriods": 2,
  "dataSetElements": [{"dataElement": {"id": "elCases0001"}}]}],
"categoryOptions": [{"id": "opProject01", "name": "Project A", "endDate": "2027-12-31T00:00:00.000"}],
"users": [{"id": "usLidia0001", "username": "lidia", "firstName": "Lidia", "surname": "Sanjur", "disabled": false, "userRoles": [{"id": "roStaff0001"}], "organisationUnits": [{"id": "unitSoloy01"}]},
  {"id": "usMarta0001", "username": "marta", "firstName": "Marta", "surname": "Abrego", "disabled": false, "userRoles": [{"id": "roStaff0001"}], "organisationUnits": [{"id": "unitCountry"}]},
  {"id": "usGone00001", "username": "gone", "disabled": true, "userRoles": [{"id": "roStaff0001"}], "organisationUnits": [{"id": "unitSoloy01"}]}]
}`

// clinicMetadata is lockedOut, decoded for changing.
type clinicMetadata map[string][]map[string]any

func readClinic(t *testing.T) clinicMetadata {
	t.Helper()
	var m clinicMetadata
	if err := json.Unmarshal([]byte(lockedOut), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// of finds an object.
func (m clinicMetadata) of(id string) map[string]any {
	for _, objects := range m {
		for _, object := range objects {
			if object["id"] == id {
				return object
			}
		}
	}
	return nil
}

func (m clinicMetadata) without(id string) {
	for class, objects := range m {
		m[class] = slices.DeleteFunc(objects, func(object map[string]any) bool { return object["id"] == id })
	}
}

func (m clinicMetadata) metadata(t *testing.T) Metadata {
	t.Helper()
	all := Metadata{}
	for class, objects := range m {
		for _, object := range objects {
			all[class] = append(all[class], mustJSON(t, object))
		}
	}
	return all
}

func clinicScopeFor(program bool, roots ...string) *Scope {
	scope := &Scope{}
	for _, root := range roots {
		scope.OrgUnits = append(scope.OrgUnits, OrgUnit{ID: root})
	}
	if program {
		scope.Programs = []Program{{ID: "prVisit0001", Name: "Clinic visit"}}
	}
	return scope
}

func TestLockOuts(t *testing.T) {
	set := func(id, property string, value any) func(clinicMetadata) {
		return func(m clinicMetadata) { m.of(id)[property] = value }
	}
	refs := func(property string, ids ...string) []any {
		var list []any
		for _, id := range ids {
			list = append(list, map[string]any{property: map[string]any{"id": id}})
		}
		return list
	}
	tests := map[string]struct {
		change func(clinicMetadata)
		want   []string
	}{
		"nothing": {func(clinicMetadata) {}, nil},
		"a name":  {set("elWeight001", "name", "Body weight"), nil},
		"a new optional field": {func(m clinicMetadata) {
			m.of("stVisit0001")["programStageDataElements"] = append(m.of("stVisit0001")["programStageDataElements"].([]any), refs("dataElement", "elCases0001")...)
		}, nil},
		"an option withdrawn":    {func(m clinicMetadata) { m.without("optMalaria1") }, []string{"Malaria was withdrawn from Diagnosis (whoever fills in Clinic visit)"}},
		"an option's code":       {set("optMalaria1", "code", "MALARIA"), []string{"Malaria of Diagnosis now has the code MALARIA, not MAL (whoever fills in Clinic visit)"}},
		"an option's name":       {set("optMalaria1", "name", "Malaria, any"), nil},
		"another option set":     {set("elDiagnosis", "optionSet", map[string]any{"id": "setOther001"}), []string{"Diagnosis now takes the options of Other set only (whoever fills in Clinic visit)"}},
		"no option set any more": {func(m clinicMetadata) { delete(m.of("elDiagnosis"), "optionSet") }, nil},
		"a value type":           {set("elWeight001", "valueType", "INTEGER"), []string{"Weight now takes INTEGER, not NUMBER (whoever fills in Clinic visit)"}},
		"an attribute unique":    {set("atPhone0001", "unique", true), []string{"Phone now takes no value twice (whoever fills in Clinic visit)"}},
		"an attribute mandatory": {func(m clinicMetadata) {
			m.of("prVisit0001")["programTrackedEntityAttributes"].([]any)[1].(map[string]any)["mandatory"] = true
		}, []string{"Phone must now be filled in for the program Clinic visit (whoever fills in Clinic visit)"}},
		"mandatory for its type": {func(m clinicMetadata) {
			m.of("tyPatient01")["trackedEntityTypeAttributes"].([]any)[0].(map[string]any)["mandatory"] = true
		}, []string{"First name must now be filled in for every patient (whoever registers one)"}},
		"a data element compulsory": {func(m clinicMetadata) {
			m.of("stVisit0001")["programStageDataElements"].([]any)[0].(map[string]any)["compulsory"] = true
		}, []string{"Weight must now be filled in for the stage Visit (whoever fills in Clinic visit)"}},
		"a new compulsory element": {func(m clinicMetadata) {
			m.of("stVisit0001")["programStageDataElements"] = append(m.of("stVisit0001")["programStageDataElements"].([]any), map[string]any{"dataElement": map[string]any{"id": "elCases0001"}, "compulsory": true})
		}, []string{"Cases must now be filled in for the stage Visit (whoever fills in Clinic visit)"}},
		"an attribute removed":        {set("prVisit0001", "programTrackedEntityAttributes", refs("trackedEntityAttribute", "atFirstName")), []string{"Phone was removed from the program Clinic visit (whoever fills in Clinic visit)"}},
		"a data element removed":      {set("stVisit0001", "programStageDataElements", refs("dataElement", "elDiagnosis")), []string{"Weight was removed from the stage Visit (whoever fills in Clinic visit)"}},
		"an element of a form":        {set("dsMonthly01", "dataSetElements", []any{}), []string{"Cases was removed from the form Monthly (whoever fills in Monthly)"}},
		"a stage removed":             {func(m clinicMetadata) { m.without("stVisit0001"); m.of("prVisit0001")["programStages"] = []any{} }, []string{"Visit was removed from its program (whoever fills in Clinic visit)"}},
		"a stage not repeatable":      {set("stVisit0001", "repeatable", false), []string{"Visit can no longer be repeated (whoever fills in Clinic visit)"}},
		"a stage checked always":      {set("stVisit0001", "validationStrategy", "ON_UPDATE_AND_INSERT"), []string{"Visit is now checked whenever it is saved, not only when it is completed (whoever fills in Clinic visit)"}},
		"enrolled once":               {set("prVisit0001", "onlyEnrollOnce", true), []string{"Clinic visit now enrolls nobody twice (whoever fills in Clinic visit)"}},
		"no future dates":             {set("prVisit0001", "selectEnrollmentDatesInFuture", false), []string{"Clinic visit no longer takes dates in the future (whoever fills in Clinic visit)"}},
		"expiry":                      {set("prVisit0001", "expiryDays", 5), []string{"Clinic visit is now closed sooner after its period (whoever fills in Clinic visit)"}},
		"a program not offered":       {set("prVisit0001", "organisationUnits", []any{map[string]any{"id": "unitCity001"}}), []string{"Clinic visit is no longer offered there (whoever works at Soloy)"}},
		"not offered elsewhere":       {set("prVisit0001", "organisationUnits", []any{map[string]any{"id": "unitSoloy01"}}), nil},
		"a group may not write":       {set("prVisit0001", "sharing", map[string]any{"public": "r-r-----"}), []string{"Clinic visit no longer lets group grDoctors01 enter data (whoever fills in Clinic visit)"}},
		"everybody may write":         {set("prVisit0001", "sharing", map[string]any{"public": "rwrw----"}), nil},
		"a data set removed":          {func(m clinicMetadata) { m.without("dsMonthly01") }, []string{"Monthly is no longer carried (whoever fills in Monthly)"}},
		"a form opens later":          {set("dsMonthly01", "openFuturePeriods", 0), []string{"Monthly now opens later (whoever fills in Monthly)"}},
		"a unit closed":               {set("unitSoloy01", "closedDate", "2026-10-31T00:00:00.000"), []string{"Soloy closes on 2026-10-31 (whoever works at Soloy)"}},
		"a unit elsewhere closed":     {set("unitCity001", "closedDate", "2026-10-31T00:00:00.000"), nil},
		"a category option's end":     {set("opProject01", "endDate", "2026-12-31T00:00:00.000"), []string{"Project A closes on 2026-12-31 (whoever chooses it)"}},
		"a rule's condition":          {set("ruHeavy0001", "condition", "#{w} > 200"), []string{"Too heavy is a rule that changed and may refuse what was entered (whoever fills in Clinic visit)"}},
		"a rule's words":              {set("acHeavy0001", "content", "really?"), nil},
		"a rule that only warns":      {set("acHeavy0001", "programRuleActionType", "SHOWWARNING"), nil},
		"a user disabled":             {set("usLidia0001", "disabled", true), []string{"lidia is disabled (Lidia Sanjur)"}},
		"an account expires":          {set("usLidia0001", "accountExpiry", "2026-01-01T00:00:00.000"), []string{"lidia has an account that expired (Lidia Sanjur)"}},
		"a user without a role":       {set("usLidia0001", "userRoles", []any{}), []string{"lidia has no role (Lidia Sanjur)"}},
		"a user elsewhere":            {set("usLidia0001", "organisationUnits", []any{map[string]any{"id": "unitCity001"}}), []string{"lidia has no unit in the scope (Lidia Sanjur)"}},
		"a user gone":                 {func(m clinicMetadata) { m.without("usMarta0001") }, []string{"marta no longer works in the scope (Marta Abrego)"}},
		"one who never could is gone": {func(m clinicMetadata) { m.without("usGone00001") }, nil},
		"a user with another name":    {set("usLidia0001", "username", "lidia.s"), []string{"lidia is called lidia.s now: a tablet on which lidia logged in does not know the new name (Lidia Sanjur)"}},
		"a user made anew":            {set("usLidia0001", "id", "usLidia0002"), nil},
		"a unit that moves within":    {set("unitSoloy01", "name", "Soloy town"), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changed := readClinic(t)
			test.change(changed)
			before := Carried{readClinic(t).metadata(t), clinicScopeFor(true, "unitBocas01")}
			after := Carried{changed.metadata(t), clinicScopeFor(true, "unitBocas01")}
			expectLockOuts(t, before, after, test.want)
		})
	}
	t.Run("a program out of the scope", func(t *testing.T) {
		changed := readClinic(t)
		changed.without("prVisit0001")
		before := Carried{readClinic(t).metadata(t), clinicScopeFor(true, "unitBocas01")}
		expectLockOuts(t, before, Carried{changed.metadata(t), clinicScopeFor(false, "unitBocas01")}, []string{
			"Clinic visit is no longer carried (whoever fills in Clinic visit)",
		})
	})
	t.Run("a unit out of the scope", func(t *testing.T) {
		m := readClinic(t).metadata(t)
		before := Carried{m, clinicScopeFor(true, "unitBocas01", "unitCity001")}
		expectLockOuts(t, before, Carried{m, clinicScopeFor(true, "unitBocas01")}, []string{
			"City is no longer in the scope (whoever works at City)",
		})
	})
}

func expectLockOuts(t *testing.T, before, after Carried, want []string) {
	t.Helper()
	found, err := LockOuts(before, after, time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, lockOut := range found {
		got = append(got, lockOut.Name+" "+lockOut.What+" ("+lockOut.Whom+")")
		if lockOut.Remedy == "" || lockOut.UID == "" || lockOut.Class == "" {
			t.Errorf("not whole: %+v", lockOut)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("lock-outs (-want +got):\n%s", diff)
	}
}
