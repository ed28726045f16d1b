package snapshot

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exported is the whole metadata export of a recorded server.
func exported(t *testing.T) Metadata {
	t.Helper()
	raw, err := os.ReadFile("../dhis2api/testdata/conformance/2.42.5.2/03-metadata-export.json")
	if err != nil {
		t.Fatal(err)
	}
	var conversation struct {
		Steps []struct {
			Name     string
			Response struct{ Body json.RawMessage }
		}
	}
	if err := json.Unmarshal(raw, &conversation); err != nil {
		t.Fatal(err)
	}
	metadata := Metadata{}
	for _, step := range conversation.Steps {
		if step.Name != "whole export without defaults" && step.Name != "a data set and all it needs" {
			continue
		}
		var classes map[string]json.RawMessage
		if err := json.Unmarshal(step.Response.Body, &classes); err != nil {
			t.Fatal(err)
		}
		for class, raw := range classes {
			var objects []json.RawMessage
			if json.Unmarshal(raw, &objects) == nil && (metadata[class] == nil || isDefaultCategoryClass(class)) {
				metadata[class] = append(metadata[class], objects...)
			}
		}
	}
	return metadata
}

func TestPrepareRecordedExport(t *testing.T) {
	metadata := exported(t)
	carried := map[string]bool{"zDtBfyIHGje": true, "jMnOQwfpLgG": true, "P1J4eyjXQeT": true}
	var units []json.RawMessage
	for _, unit := range metadata["organisationUnits"] {
		if carried[objectID(unit)] {
			units = append(units, unit)
		}
	}
	metadata["organisationUnits"] = units
	bundle, err := metadata.Prepare(Target{
		Account: Account{ID: "M5zQapPyTZI", Username: "admin", Roles: []Role{{ID: "yrB6vc5Ip3r", Name: "Superuser"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	compact, err := encodeObject(bundle)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, compact, "", " "); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "metadata-prepared.json")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("prepared metadata (-want +got):\n%s", diff)
	}
}

func TestPrepare(t *testing.T) {
	account := Account{ID: "localAdmin1", Username: "admin", Roles: []Role{{ID: "localRole01", Name: "Superuser"}}}
	tests := []struct {
		name         string
		target       Target
		before, want string
	}{
		{
			name: "assignments are cut down to carried units",
			before: `{"organisationUnits": [{"id": "unit0000001", "path": "/unit0000001", "level": 1}],
				"programs": [{"id": "program0001", "organisationUnits": [{"id": "unit0000001"}, {"id": "unit0000002"}]}]}`,
			want: `{"organisationUnits": [{"id": "unit0000001"}],
				"programs": [{"id": "program0001", "organisationUnits": [{"id": "unit0000001"}]}]}`,
		},
		{
			name: "what the target has besides is kept, what central took away is not",
			target: Target{Existing: map[string]map[string][]string{
				"program0001": {"organisationUnits": {"unit0000001", "unit0000009"}}}},
			before: `{"organisationUnits": [{"id": "unit0000001"}, {"id": "unit0000003"}],
				"programs": [{"id": "program0001", "organisationUnits": [{"id": "unit0000003"}]}]}`,
			want: `{"organisationUnits": [{"id": "unit0000001"}, {"id": "unit0000003"}],
				"programs": [{"id": "program0001", "organisationUnits": [{"id": "unit0000003"}, {"id": "unit0000009"}]}]}`,
		},
		{
			name: "authors, access and links go, translations stay",
			before: `{"constants": [{"id": "constant001", "value": 12.0, "href": "x", "access": {"read": true},
				"createdBy": {"id": "u"}, "lastUpdatedBy": {"id": "u"}, "user": {"id": "u"},
				"translations": [{"locale": "es", "property": "NAME", "value": "Días"}]}]}`,
			want: `{"constants": [{"id": "constant001", "value": 12.0,
				"translations": [{"locale": "es", "property": "NAME", "value": "Días"}]}]}`,
		},
		{
			name: "sharing names only who is carried",
			before: `{"userGroups": [{"id": "group000001"}], "constants": [{"id": "constant001", "sharing": {
				"owner": "stranger001", "public": "rw------", "users": {"stranger001": {"id": "stranger001", "access": "rw------"}},
				"userGroups": {"group000001": {"id": "group000001", "access": "rwrw----", "displayName": "Team"},
					"group000002": {"id": "group000002", "access": "rwrw----"}}}}]}`,
			want: `{"userGroups": [{"id": "group000001"}], "constants": [{"id": "constant001", "sharing": {
				"public": "rw------", "users": {}, "userGroups": {"group000001": {"id": "group000001", "access": "rwrw----"}}}}]}`,
		},
		{
			name:   "central's admin is not imported over the account in use, and stands for it",
			target: Target{Account: account},
			before: `{"users": [{"id": "centralAdm1", "username": "Admin", "userRoles": [{"id": "centralRol1"}]},
					{"id": "nurse000001", "username": "nurse", "password": "x", "twoFactorType": "TOTP_ENABLED",
					"userRoles": [{"id": "centralRol1"}, {"id": "staffRole01"}]}],
				"userRoles": [{"id": "centralRol1", "name": "Superuser", "authorities": ["ALL"]},
					{"id": "staffRole01", "name": "Staff", "authorities": ["F_DATAVALUE_ADD"]}],
				"userGroups": [{"id": "group000001", "users": [{"id": "centralAdm1"}, {"id": "nurse000001"}, {"id": "stranger001"}],
					"sharing": {"owner": "centralAdm1", "users": {}, "userGroups": {}}}]}`,
			want: `{"users": [{"id": "nurse000001", "username": "nurse", "userRoles": [{"id": "localRole01"}, {"id": "staffRole01"}]}],
				"userRoles": [{"id": "staffRole01", "name": "Staff", "authorities": ["F_DATAVALUE_ADD"]}],
				"userGroups": [{"id": "group000001", "users": [{"id": "localAdmin1"}, {"id": "nurse000001"}],
					"sharing": {"owner": "localAdmin1", "users": {}, "userGroups": {}}}]}`,
		},
		{
			name:   "a user whom the target has under another uid stays as he is there, and stands for central's",
			target: Target{Users: map[string]string{"nurse": "localNurse1", "doctor": "doctor00001"}},
			before: `{"users": [{"id": "nurse000001", "username": "Nurse"}, {"id": "doctor00001", "username": "doctor"}],
				"userGroups": [{"id": "group000001", "users": [{"id": "nurse000001"}, {"id": "doctor00001"}]}]}`,
			want: `{"users": [{"id": "doctor00001", "username": "doctor"}],
				"userGroups": [{"id": "group000001", "users": [{"id": "localNurse1"}, {"id": "doctor00001"}]}]}`,
		},
		{
			name: "default category objects are the target's own",
			target: Target{Defaults: Defaults{
				CategoryOption: "optionLocal", Category: "categoryLoc", CategoryCombo: "comboLocal1", CategoryOptionCombo: "cocLocal001"}},
			before: `{"categoryCombos": [{"id": "comboCentra", "name": "default"}, {"id": "comboAge001", "name": "Age"}],
				"categoryOptionCombos": [{"id": "cocCentral1", "name": "default"}],
				"dataElements": [{"id": "element0001", "categoryCombo": {"id": "comboCentra"}}, {"id": "element0002", "categoryCombo": {"id": "comboAge001"}}],
				"dataSets": [{"id": "dataSet0001", "workflow": {"id": "workflow001"}, "compulsoryDataElementOperands":
					[{"dataElement": {"id": "element0001"}, "categoryOptionCombo": {"id": "cocCentral1"}}]}]}`,
			want: `{"categoryCombos": [{"id": "comboAge001", "name": "Age"}],
				"dataElements": [{"id": "element0001", "categoryCombo": {"id": "comboLocal1"}}, {"id": "element0002", "categoryCombo": {"id": "comboAge001"}}],
				"dataSets": [{"id": "dataSet0001", "compulsoryDataElementOperands":
					[{"dataElement": {"id": "element0001"}, "categoryOptionCombo": {"id": "cocLocal001"}}]}]}`,
		},
		{
			name: "a dashboard loses what never is cloned",
			before: `{"visualizations": [{"id": "visual00001"}], "documents": [{"id": "document001"}], "dashboards": [{"id": "dashboard01", "dashboardItems": [
				{"id": "item0000001", "type": "RESOURCES", "resources": [{"id": "document001"}]},
				{"id": "item0000002", "type": "VISUALIZATION", "visualization": {"id": "visual00001"}}]}]}`,
			want: `{"visualizations": [{"id": "visual00001"}], "dashboards": [{"id": "dashboard01", "dashboardItems": [
				{"id": "item0000002", "type": "VISUALIZATION", "visualization": {"id": "visual00001"}}]}]}`,
		},
		{
			name:   "people capture in the scope alone, and search where they do at central",
			target: Target{Roots: []string{"districtA01", "districtB01"}},
			before: `{"organisationUnits": [{"id": "country0001"}, {"id": "districtA01", "parent": {"id": "country0001"}}, {"id": "districtB01", "parent": {"id": "country0001"}},
					{"id": "districtC01", "parent": {"id": "country0001"}}, {"id": "villageA001", "parent": {"id": "districtA01"}}],
				"users": [{"id": "nurse000001", "username": "nurse", "organisationUnits": [{"id": "villageA001"}, {"id": "districtC01"}, {"id": "elsewhere01"}]},
					{"id": "chief000001", "username": "chief", "organisationUnits": [{"id": "country0001"}, {"id": "districtA01"}],
						"teiSearchOrganisationUnits": [{"id": "country0001"}, {"id": "elsewhere01"}]}]}`,
			want: `{"organisationUnits": [{"id": "country0001"}, {"id": "districtA01", "parent": {"id": "country0001"}}, {"id": "districtB01", "parent": {"id": "country0001"}},
					{"id": "districtC01", "parent": {"id": "country0001"}}, {"id": "villageA001", "parent": {"id": "districtA01"}}],
				"users": [{"id": "nurse000001", "username": "nurse", "organisationUnits": [{"id": "villageA001"}]},
					{"id": "chief000001", "username": "chief", "organisationUnits": [{"id": "districtA01"}, {"id": "districtB01"}],
						"teiSearchOrganisationUnits": [{"id": "country0001"}]}]}`,
		},
		{
			name:   "expressions and custom forms name the target's own default, too",
			target: Target{Defaults: Defaults{CategoryOptionCombo: "cocLocal001"}},
			before: `{"categoryOptionCombos": [{"id": "cocCentral1", "name": "default"}],
				"indicators": [{"id": "indicator01", "numerator": "#{element0001.cocCentral1} + #{element0001.cocOther001}"}],
				"dataEntryForms": [{"id": "entryForm01", "htmlCode": "<input id=\"element0001-cocCentral1-val\"/>"}]}`,
			want: `{"indicators": [{"id": "indicator01", "numerator": "#{element0001.cocLocal001} + #{element0001.cocOther001}"}],
				"dataEntryForms": [{"id": "entryForm01", "htmlCode": "<input id=\"element0001-cocLocal001-val\"/>"}]}`,
		},
		{
			name:   "who logs in by another system at central logs in by password on the kit",
			before: `{"users": [{"id": "nurse000001", "username": "nurse", "externalAuth": true, "ldapId": "cn=nurse", "openId": "n@example.org"}]}`,
			want:   `{"users": [{"id": "nurse000001", "username": "nurse"}]}`,
		},
		{
			name: "what would act on its own, and keys, are never cloned",
			before: `{"jobConfigurations": [{"id": "job00000001"}], "eventHooks": [{"id": "hook0000001"}], "routes": [{"id": "route000001"}],
				"apiToken": [{"id": "token000001"}], "aggregateDataExchanges": [{"id": "exchange001"}], "oAuth2Clients": [{"id": "client00001"}],
				"constants": [{"id": "constant001"}]}`,
			want: `{"constants": [{"id": "constant001"}]}`,
		},
		{
			name:   "an object the target refuses is left out of lists too, unless the target has it already",
			target: Target{Without: map[string]bool{"option00001": true, "option00002": true}, Present: map[string]bool{"option00002": true}},
			before: `{"options": [{"id": "option00001"}, {"id": "option00002"}, {"id": "option00003"}],
				"optionSets": [{"id": "optionSet01", "options": [{"id": "option00001"}, {"id": "option00002"}, {"id": "option00003"}]}]}`,
			want: `{"options": [{"id": "option00003"}],
				"optionSets": [{"id": "optionSet01", "options": [{"id": "option00002"}, {"id": "option00003"}]}]}`,
		},
		{
			name:   "a link to an object that is left out goes with it",
			target: Target{Without: map[string]bool{"attribute01": true}},
			before: `{"trackedEntityAttributes": [{"id": "attribute01"}, {"id": "attribute02"}], "programs": [{"id": "program0001",
				"relatedProgram": {"id": "program0002"}, "programTrackedEntityAttributes": [
					{"id": "embedded001", "program": {"id": "program0001"}, "trackedEntityAttribute": {"id": "attribute01"}},
					{"id": "embedded002", "program": {"id": "program0001"}, "trackedEntityAttribute": {"id": "attribute02"}}]}]}`,
			want: `{"trackedEntityAttributes": [{"id": "attribute02"}], "programs": [{"id": "program0001", "programTrackedEntityAttributes": [
				{"id": "embedded002", "program": {"id": "program0001"}, "trackedEntityAttribute": {"id": "attribute02"}}]}]}`,
		},
		{
			name:   "a working list waits for those who are carried",
			target: Target{Users: map[string]string{"doctor": "localDoctor"}},
			before: `{"users": [{"id": "nurse000001", "username": "nurse"}, {"id": "doctor00001", "username": "doctor"}], "trackedEntityInstanceFilters":
				[{"id": "filter00001", "entityQueryCriteria": {"assignedUsers": ["stranger001", "nurse000001", "doctor00001"]}}]}`,
			want: `{"users": [{"id": "nurse000001", "username": "nurse"}], "trackedEntityInstanceFilters":
				[{"id": "filter00001", "entityQueryCriteria": {"assignedUsers": ["nurse000001", "localDoctor"]}}]}`,
		},
		{
			name: "an attribute value without its attribute is dropped, embedded objects are cleaned",
			before: `{"attributes": [{"id": "attribute01"}], "programStages": [{"id": "stage000001",
				"attributeValues": [{"value": "a", "attribute": {"id": "attribute01"}}, {"value": "b", "attribute": {"id": "attribute02"}}],
				"programStageDataElements": [{"id": "embedded001", "access": {"read": true}, "compulsory": true, "sortOrder": 1}]}]}`,
			want: `{"attributes": [{"id": "attribute01"}], "programStages": [{"id": "stage000001",
				"attributeValues": [{"value": "a", "attribute": {"id": "attribute01"}}],
				"programStageDataElements": [{"id": "embedded001", "compulsory": true, "sortOrder": 1}]}]}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var metadata Metadata
			if err := json.Unmarshal([]byte(test.before), &metadata); err != nil {
				t.Fatal(err)
			}
			before, err := encodeObject(metadata)
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := metadata.Prepare(test.target)
			if err != nil {
				t.Fatal(err)
			}
			got, err := encodeObject(bundle)
			if err != nil {
				t.Fatal(err)
			}
			var gotValue, wantValue any
			if err := json.Unmarshal(got, &gotValue); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(test.want), &wantValue); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantValue, gotValue); diff != "" {
				t.Errorf("prepared (-want +got):\n%s", diff)
			}
			if after, _ := encodeObject(metadata); !bytes.Equal(before, after) {
				t.Error("preparing changed the metadata it was given")
			}
		})
	}
}

func TestReferences(t *testing.T) {
	object, err := decodeObject(json.RawMessage(`{"id": "dataSet0001", "notificationTemplates": [{"id": "template001"}],
		"dataSetElements": [{"dataSet": {"id": "dataSet0001"}, "dataElement": {"id": "element0001"}}],
		"sharing": {"owner": "user0000001", "userGroups": {"group000001": {"id": "group000001"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Reference{
		{"dataElements", "element0001"}, {"dataSetNotificationTemplates", "template001"},
		{"dataSets", "dataSet0001"}, {"userGroups", "group000001"},
	}
	if diff := cmp.Diff(want, references("dataSets", object)); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
}

// TestReferencesOfSchemas holds properties against the class that DHIS2's schemas say they refer to (2.43).
func TestReferencesOfSchemas(t *testing.T) {
	for _, test := range []struct{ class, property, want string }{
		{"programs", "enrollmentCategoryCombo", "categoryCombos"},
		{"programs", "categoryCombo", "categoryCombos"},
		{"programIndicators", "attributeCombo", "categoryCombos"},
		{"programStages", "nextScheduleDate", "dataElements"},
		{"programStages", "notificationTemplates", "programNotificationTemplates"},
		{"dataSets", "notificationTemplates", "dataSetNotificationTemplates"},
		{"validationRuleGroups", "validationRules", "validationRules"},
		{"validationNotificationTemplates", "recipientUserGroups", "userGroups"},
		{"predictors", "output", "dataElements"},
		{"predictors", "outputCombo", "categoryOptionCombos"},
		{"optionGroupSets", "optionGroups", "optionGroups"},
		{"categoryOptionGroupSets", "categoryOptionGroups", "categoryOptionGroups"},
		{"users", "teiSearchOrganisationUnits", "organisationUnits"},
	} {
		if got := referencedClass(test.class, test.property); got != test.want {
			t.Errorf("%s.%s refers to %q, want %q", test.class, test.property, got, test.want)
		}
	}
}
