package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

func TestEditDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"RIOCANA", "RIOCANA", 0},
		{"RIOCANA", "riocana", 0},
		{"RIOCANA", "RIO_CANA", 1},
		{"RIOCANA", "RIOCAÑA", 1},
		{"RIOCANA", "BOQUETE", 7},
		{"RIOCANA", "", 7},
		{"kitten", "sitting", 3},
	}
	for _, test := range tests {
		t.Run(test.a+" "+test.b, func(t *testing.T) {
			if got := editDistance(test.a, test.b); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if got := editDistance(test.b, test.a); got != test.want {
				t.Errorf("the other way round got %d, want %d", got, test.want)
			}
		})
	}
}

func TestScopeContains(t *testing.T) {
	scope := testAbout().Scope
	for path, want := range map[string]bool{
		"/zDtBfyIHGje/jMnOQwfpLgG/P1J4eyjXQeT":             true,
		"/zDtBfyIHGje/jMnOQwfpLgG/P1J4eyjXQeT/NAcHEVPrf2A": true,
		"/zDtBfyIHGje/jMnOQwfpLgG":                         false,
		"/zDtBfyIHGje/jMnOQwfpLgG/P1J4eyjXQeTx":            false,
	} {
		if got := scope.Contains(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// catalogue answers the few metadata lists that resolving asks for, by id, code and path.
func catalogue(t *testing.T) *dhis2api.Client {
	t.Helper()
	const path = "/zDtBfyIHGje/jMnOQwfpLgG/P1J4eyjXQeT"
	type object = map[string]any
	classes := map[string][]object{
		"organisationUnits": {
			{"id": "zDtBfyIHGje", "code": "PANAMA", "name": "Panamá", "path": "/zDtBfyIHGje", "level": 1},
			{"id": "jMnOQwfpLgG", "code": "BOCAS", "name": "Bocas del Toro", "path": "/zDtBfyIHGje/jMnOQwfpLgG", "level": 2},
			{"id": "P1J4eyjXQeT", "code": "RIOCANA", "name": "Río Caña", "path": path, "level": 3},
			{"id": "HqaTG4yv5kR", "code": "CHIRIQUI", "name": "Chiriquí", "path": "/zDtBfyIHGje/HqaTG4yv5kR", "level": 2},
		},
		"programs": {
			{
				"id": "xIkcI00xjZE", "name": "Mobile clinic visit", "programType": "WITH_REGISTRATION",
				"trackedEntityType": object{"id": "ig1m3E2NSOb"}, "paths": []string{path},
				"programStages": []object{
					{"id": "nZrv0BgEY2b", "name": "Provider"},
					{"id": "m9JW68Avdyx", "name": "Triage", "programStageDataElements": []object{
						{"dataElement": object{"id": "SHUMZIdrf6Y"}},
						{"dataElement": object{"id": "J837zyhoZKy"}, "skipSynchronization": true},
					}},
				},
			},
			{"id": "Deay1MNLTQW", "code": "WATER", "name": "Water source check", "programType": "WITHOUT_REGISTRATION", "paths": []string{path}},
			{"id": "Deay1MNLTQX", "code": "CHI", "name": "Chiriquí only", "programType": "WITHOUT_REGISTRATION", "paths": []string{"/zDtBfyIHGje/HqaTG4yv5kR"}},
		},
		"dataSets":           {{"id": "ztr8khGB7BY", "name": "Monthly report", "periodType": "Monthly", "paths": []string{path}}},
		"trackedEntityTypes": {{"id": "ig1m3E2NSOb", "name": "Person"}},
		"trackedEntityAttributes": {
			{"id": "GoX1JP83DWF", "name": "First name", "skipSynchronization": false},
			{"id": "AxEFHTvb07i", "name": "Phone", "skipSynchronization": true},
		},
	}
	matches := func(o object, filter string) bool {
		part := strings.SplitN(filter, ":", 3)
		if part[0] == "organisationUnits.path" {
			return slices.ContainsFunc(o["paths"].([]string), func(path string) bool { return strings.Contains(path, part[2]) })
		}
		return fmt.Sprint(o[part[0]]) == part[2]
	}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/"), "/")
		switch objects, known := classes[parts[0]]; {
		case r.URL.Path == "/api/system/info":
			answer(w, object{"version": "2.42.5.2", "systemId": "s", "serverTimeZoneId": "America/Panama"})
		case !known:
			answer(w, object{"id": "M5zQapPyTZI", "username": "admin"})
		case len(parts) == 2:
			i := slices.IndexFunc(objects, func(o object) bool { return o["id"] == parts[1] })
			answer(w, objects[i])
		default:
			found := []object{}
			for _, o := range objects {
				if !slices.ContainsFunc(r.URL.Query()["filter"], func(f string) bool { return !matches(o, f) }) {
					found = append(found, o)
				}
			}
			if page := r.URL.Query().Get("page"); page != "" && page != "1" {
				found = found[:0]
			}
			answer(w, object{parts[0]: found})
		}
	}))
	t.Cleanup(server.Close)
	client, err := dhis2api.Connect(t.Context(), server.URL, dhis2api.Credentials{Username: "admin", Password: "district"}, dhis2api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestResolveScope(t *testing.T) {
	client := catalogue(t)
	mobile := Program{
		ID: "xIkcI00xjZE", Name: "Mobile clinic visit", Type: WithRegistration, TrackedEntityType: "ig1m3E2NSOb",
		Stages: []Stage{{ID: "m9JW68Avdyx", Name: "Triage"}, {ID: "nZrv0BgEY2b", Name: "Provider"}},
	}
	water := Program{ID: "Deay1MNLTQW", Code: "WATER", Name: "Water source check", Type: WithoutRegistration}
	monthly := DataSet{ID: "ztr8khGB7BY", Name: "Monthly report", PeriodType: "Monthly"}
	rio := OrgUnit{ID: "P1J4eyjXQeT", Code: "RIOCANA", Name: "Río Caña", Path: "/zDtBfyIHGje/jMnOQwfpLgG/P1J4eyjXQeT", Level: 3}
	bocas := OrgUnit{ID: "jMnOQwfpLgG", Code: "BOCAS", Name: "Bocas del Toro", Path: "/zDtBfyIHGje/jMnOQwfpLgG", Level: 2}
	phone := Unsynchronized{Attributes: []string{"AxEFHTvb07i"}}
	both := Unsynchronized{Attributes: phone.Attributes, DataElements: []string{"m9JW68Avdyx.J837zyhoZKy"}}
	person := TrackedEntityType{ID: "ig1m3E2NSOb", Name: "Person"}
	tests := []struct {
		name   string
		wanted Wanted
		want   Scope
	}{
		{
			"all that is assigned below",
			Wanted{OrgUnits: []string{"RIOCANA"}},
			Scope{
				OrgUnits: []OrgUnit{rio}, Programs: []Program{mobile, water}, DataSets: []DataSet{monthly},
				TrackedEntityTypes: []TrackedEntityType{person}, Unsynchronized: both,
			},
		},
		{
			"nested roots, and one twice",
			Wanted{OrgUnits: []string{"RIOCANA", "BOCAS", "jMnOQwfpLgG"}, Programs: []string{}, DataSets: []string{}},
			Scope{OrgUnits: []OrgUnit{bocas}, Unsynchronized: phone},
		},
		{
			"by code and by uid, one twice",
			Wanted{OrgUnits: []string{"P1J4eyjXQeT"}, Programs: []string{"WATER", "Deay1MNLTQW"}, DataSets: []string{"ztr8khGB7BY"}, Since: "2024-01-31"},
			Scope{OrgUnits: []OrgUnit{rio}, Programs: []Program{water}, DataSets: []DataSet{monthly}, Unsynchronized: phone},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ResolveScope(t.Context(), client, test.wanted)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Wanted = test.wanted
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("scope (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveScopeNamesWhatItDoesNotKnow(t *testing.T) {
	client := catalogue(t)
	tests := []struct {
		name   string
		wanted Wanted
		want   UnknownNameError
	}{
		{
			"a misspelt org unit", Wanted{OrgUnits: []string{"RIO_CANA"}},
			UnknownNameError{Kind: "org unit", Name: "RIO_CANA", Near: []string{"RIOCANA (Río Caña)"}},
		},
		{
			"a uid of nothing", Wanted{OrgUnits: []string{"P1J4eyjXQeU"}},
			UnknownNameError{Kind: "org unit", Name: "P1J4eyjXQeU", Near: []string{"RIOCANA (Río Caña)"}},
		},
		{
			"a name instead of a code", Wanted{OrgUnits: []string{"BOCAS"}, Programs: []string{"Mobile clinic"}},
			UnknownNameError{Kind: "program", Name: "Mobile clinic", Near: []string{"xIkcI00xjZE (Mobile clinic visit)"}},
		},
		{
			"nothing like it", Wanted{OrgUnits: []string{"BOCAS"}, DataSets: []string{"???"}},
			UnknownNameError{Kind: "data set", Name: "???"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ResolveScope(t.Context(), client, test.wanted)
			var unknown *UnknownNameError
			if !errors.As(err, &unknown) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(&test.want, unknown); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
	for _, wanted := range []Wanted{{}, {OrgUnits: []string{"BOCAS"}, Since: "last year"}} {
		if _, err := ResolveScope(t.Context(), client, wanted); err == nil {
			t.Errorf("%v was resolved", wanted)
		}
	}
}

func TestIdentifyServer(t *testing.T) {
	got, err := IdentifyServer(t.Context(), catalogue(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Server{
		URL: got.URL, SystemID: "s", Version: "2.42.5.2", TimeZone: "America/Panama", RootOrgUnits: []string{"zDtBfyIHGje"},
	}
	if diff := cmp.Diff(want, got); diff != "" || got.URL == "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
	other := got
	other.Version = "2.43.1"
	if !got.Same(other) {
		t.Error("an updated server is another one")
	}
	other.URL += "/"
	if !got.Same(other) {
		t.Error("a slash makes another server")
	}
	other.SystemID = "copy"
	if got.Same(other) {
		t.Error("another system id is the same server")
	}
}

func TestStripUnsynchronized(t *testing.T) {
	u := Unsynchronized{Attributes: []string{"GoX1JP83DWF"}, DataElements: []string{"m9JW68Avdyx.SHUMZIdrf6Y"}}
	p := testPerson(1)
	p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: "k0aoyOGu3L2", Value: "Abrego"})
	events := p.Enrollments[0].Events
	events[0].ProgramStage = "m9JW68Avdyx"
	other := *events[0]
	other.ProgramStage = "nZrv0BgEY2b"
	other.DataValues = slices.Clone(other.DataValues)
	p.Enrollments[0].Events = append(events, &other)
	u.strip(p)
	if len(p.Attributes) != 1 || p.Attributes[0].Attribute != "k0aoyOGu3L2" {
		t.Errorf("attributes %v", p.Attributes)
	}
	if len(events[0].DataValues) != 0 || len(other.DataValues) != 1 {
		t.Errorf("values %v in the marked stage, %v in the other", events[0].DataValues, other.DataValues)
	}
}
