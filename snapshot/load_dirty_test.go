package snapshot

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// TestLoadDirtyHistory loads records that break central's own rules of today: the rules came later, or nobody looked.
// They arrive as they are, and what does not is named with whose it is. It runs on real servers too, as
// TestLoadFromServerToServer does.
func TestLoadDirtyHistory(t *testing.T) {
	if os.Getenv("FIELDKIT_TEST_CENTRAL") != "" {
		loadDirtyHistory(t, "")
		return
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) { loadDirtyHistory(t, version) })
	}
}

const (
	triageStage, providerStage  = "m9JW68Avdyx", "nZrv0BgEY2b"
	height, referred, diagnosis = "J837zyhoZKy", "Gb6YVv2JBte", "lEZ8ezLq03e"
	nationalID, sex             = "QSE0SDVStuG", "roHIpaSBGyX"
	stranger                    = "drUserGone1"
	sabana                      = "NAcHEVPrf2A"
)

// dirtyRecord is one patient, or single event, of whom something is wrong.
type dirtyRecord struct {
	name    string
	payload dhis2api.TrackerPayload
}

// dirtyPatient is a patient as they should be, for the case to spoil.
func dirtyPatient(n int, spoil func(entity *dhis2api.TrackedEntity, enrollment *dhis2api.Enrollment, event *dhis2api.Event)) dhis2api.TrackerPayload {
	uid := func(kind string) string { return fmt.Sprintf("dr%s%05d", kind, n) }
	event := &dhis2api.Event{
		Event: uid("Even"), Program: visit, ProgramStage: triageStage, Enrollment: uid("Enro"), TrackedEntity: uid("Pers"), OrgUnit: rioCana,
		Status: "ACTIVE", OccurredAt: "2026-03-02", DataValues: []dhis2api.EventDataValue{{DataElement: weight, Value: "61.0"}},
	}
	enrollment := &dhis2api.Enrollment{
		Enrollment: uid("Enro"), TrackedEntity: uid("Pers"), Program: visit, OrgUnit: rioCana, Status: "ACTIVE",
		EnrolledAt: "2026-03-01", OccurredAt: "2026-03-01", Events: []*dhis2api.Event{event},
	}
	entity := &dhis2api.TrackedEntity{
		TrackedEntity: uid("Pers"), TrackedEntityType: "ig1m3E2NSOb", OrgUnit: rioCana, Enrollments: []*dhis2api.Enrollment{enrollment},
		Attributes: []dhis2api.Attribute{{Attribute: "GoX1JP83DWF", Value: "Nombre"}, {Attribute: "k0aoyOGu3L2", Value: "Apellido"}},
	}
	if spoil != nil {
		spoil(entity, enrollment, event)
	}
	return dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{entity}}
}

// dirtyRecords are the records as central holds them.
func dirtyRecords() []dirtyRecord {
	type spoiler = func(*dhis2api.TrackedEntity, *dhis2api.Enrollment, *dhis2api.Event)
	cases := []struct {
		name  string
		spoil spoiler
	}{
		{"before attributes and values became compulsory", nil},
		{"withdrawn options", func(p *dhis2api.TrackedEntity, _ *dhis2api.Enrollment, e *dhis2api.Event) {
			p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: sex, Value: "SEX_OLD"})
			e.DataValues = append(e.DataValues, dhis2api.EventDataValue{DataElement: "JahFmUbR8od", Value: "TRIAGE_OLD"})
		}},
		{"values that are none", func(p *dhis2api.TrackedEntity, _ *dhis2api.Enrollment, e *dhis2api.Event) {
			p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: "cHsNSVWvjuJ", Value: "about 1950"})
			e.DataValues = append(e.DataValues, dhis2api.EventDataValue{DataElement: height, Value: "tall"})
		}},
		{"a unique value", func(p *dhis2api.TrackedEntity, _ *dhis2api.Enrollment, _ *dhis2api.Event) {
			p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: nationalID, Value: "8-1-1"})
		}},
		{"the same unique value", func(p *dhis2api.TrackedEntity, _ *dhis2api.Enrollment, _ *dhis2api.Event) {
			p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: nationalID, Value: "8-1-1"})
		}},
		{"at a unit that was closed", func(p *dhis2api.TrackedEntity, n *dhis2api.Enrollment, e *dhis2api.Event) {
			p.OrgUnit, n.OrgUnit, e.OrgUnit = cerroBrujo, cerroBrujo, cerroBrujo
		}},
		{"at a unit that lost the program", func(p *dhis2api.TrackedEntity, n *dhis2api.Enrollment, e *dhis2api.Event) {
			p.OrgUnit, n.OrgUnit, e.OrgUnit = sabana, sabana, sabana
		}},
		{"events after completion", func(_ *dhis2api.TrackedEntity, n *dhis2api.Enrollment, e *dhis2api.Event) {
			n.Status, n.CompletedAt = "COMPLETED", "2026-03-02"
			e.Status, e.CompletedAt, e.OccurredAt = "COMPLETED", "2026-04-01", "2026-04-01"
		}},
		{"seen before they were enrolled, and in the future", func(_ *dhis2api.TrackedEntity, n *dhis2api.Enrollment, e *dhis2api.Event) {
			e.OccurredAt = "2026-02-01"
			n.OccurredAt, n.EnrolledAt = "2031-01-01", "2031-01-01"
		}},
		{"a stage twice that is now once", func(_ *dhis2api.TrackedEntity, n *dhis2api.Enrollment, e *dhis2api.Event) {
			second := *e
			second.Event, second.OccurredAt = "drSecondEv1", "2026-03-09"
			n.Events = append(n.Events, &second)
		}},
		{"enrolled twice, where once is allowed now", func(p *dhis2api.TrackedEntity, n *dhis2api.Enrollment, _ *dhis2api.Event) {
			second := *n
			second.Enrollment, second.Events = "drSecondEn1", nil
			p.Enrollments = append(p.Enrollments, &second)
		}},
		{"a value of an element that its stage lost", func(_ *dhis2api.TrackedEntity, n *dhis2api.Enrollment, e *dhis2api.Event) {
			e.ProgramStage, e.DataValues = providerStage, []dhis2api.EventDataValue{{DataElement: referred, Value: "true"}, {DataElement: diagnosis, Value: "DX_1"}}
		}},
		{"planned, with values, and overdue", func(_ *dhis2api.TrackedEntity, _ *dhis2api.Enrollment, e *dhis2api.Event) {
			e.Status, e.ScheduledAt, e.OccurredAt = "OVERDUE", "2026-03-05", ""
		}},
		{"cancelled, with a date of completion", func(_ *dhis2api.TrackedEntity, n *dhis2api.Enrollment, e *dhis2api.Event) {
			n.Status, n.CompletedAt = "CANCELLED", "2026-03-02"
			e.Status, e.ScheduledAt = "SKIPPED", "2026-03-05"
		}},
		{"assigned to somebody whom the kit does not have", func(_ *dhis2api.TrackedEntity, _ *dhis2api.Enrollment, e *dhis2api.Event) {
			e.AssignedUser = &dhis2api.UserRef{UID: stranger, Username: "drgone"}
		}},
		{"a place that is none for its type", func(p *dhis2api.TrackedEntity, n *dhis2api.Enrollment, _ *dhis2api.Event) {
			p.Geometry = json.RawMessage(`{"type":"Point","coordinates":[-81.7,8.9]}`)
			n.Geometry = json.RawMessage(`{"type":"Point","coordinates":[-81.7,8.9]}`)
		}},
	}
	var records []dirtyRecord
	for n, c := range cases {
		records = append(records, dirtyRecord{c.name, dirtyPatient(n, c.spoil)})
	}
	well := &dhis2api.Event{
		Event: "drWellEven1", Program: "Deay1MNLTQW", ProgramStage: "f41ircQKy8O", OrgUnit: rioCana, Status: "COMPLETED", OccurredAt: "2026-03-02",
		DataValues: []dhis2api.EventDataValue{{DataElement: "caHLGXkL6QX", Value: "little"}},
	}
	return append(records, dirtyRecord{"a sample with a value that is none", dhis2api.TrackerPayload{Events: []*dhis2api.Event{well}}})
}

// newRules are the rules that central makes when it has the records.
func newRules(t *testing.T, metadata map[string][]map[string]any) {
	t.Helper()
	find := func(class, id string) map[string]any {
		t.Helper()
		for _, object := range metadata[class] {
			if object["id"] == id {
				return object
			}
		}
		t.Fatalf("the metadata have no %s %s", class, id)
		return nil
	}
	without := func(list any, id, property string) []any {
		return slices.DeleteFunc(slices.Clone(list.([]any)), func(one any) bool {
			of := one.(map[string]any)
			if property != "" {
				of = of[property].(map[string]any)
			}
			return of["id"] == id
		})
	}
	program := find("programs", visit)
	program["expiryDays"], program["expiryPeriodType"], program["completeEventsExpiryDays"], program["onlyEnrollOnce"] = 1, "Monthly", 1, true
	program["organisationUnits"] = without(program["organisationUnits"], sabana, "")
	for _, attribute := range program["programTrackedEntityAttributes"].([]any) {
		a := attribute.(map[string]any)
		if a["trackedEntityAttribute"].(map[string]any)["id"] == "aCvpmbJNoty" {
			a["mandatory"] = true
		}
	}
	triage := find("programStages", triageStage)
	triage["repeatable"] = false
	for _, element := range triage["programStageDataElements"].([]any) {
		e := element.(map[string]any)
		if e["dataElement"].(map[string]any)["id"] == height {
			e["compulsory"] = true
		}
	}
	provider := find("programStages", providerStage)
	provider["programStageDataElements"] = without(provider["programStageDataElements"], referred, "dataElement")
	find("organisationUnits", cerroBrujo)["closedDate"] = "2026-01-31"
	set := find("dataSets", "ztr8khGB7BY")
	set["expiryDays"] = 1
	set["organisationUnits"] = without(set["organisationUnits"], sabana, "")
}

// dirtyCentral gives central the clinic's metadata, the records, and then the rules.
func dirtyCentral(t *testing.T, central *dhis2api.Client) *dhis2api.Client {
	t.Helper()
	central = clinicRecords(t, central)
	raw, err := os.ReadFile("../dhis2api/testdata/clinic/metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	var metadata map[string][]map[string]any
	if err := json.Unmarshal(raw, &metadata); err != nil {
		t.Fatal(err)
	}
	give := func(what string) {
		t.Helper()
		report, err := central.ImportMetadata(t.Context(), metadata, dhis2api.MetadataImportOptions{})
		if err != nil || len(report.Problems) > 0 {
			t.Fatalf("%s: %v %+v", what, err, report)
		}
	}
	for _, stage := range metadata["programStages"] {
		stage["enableUserAssignment"] = stage["id"] == triageStage
	}
	role := metadata["userRoles"][0]["id"]
	metadata["users"] = append(metadata["users"], map[string]any{
		"id": stranger, "username": "drgone", "firstName": "Gone", "surname": "Gone", "userRoles": []any{map[string]any{"id": role}},
		"organisationUnits": []any{map[string]any{"id": "E4Y9h4vPMzj"}},
	})
	give("users")
	for _, record := range dirtyRecords() {
		options := dhis2api.ImportOptions{ValidationMode: "SKIP", SkipRuleEngine: true, AtomicMode: dhis2api.AtomicAll}
		report, err := central.Import(t.Context(), record.payload, options)
		if err != nil || len(report.Errors) > 0 || report.Stats.Ignored > 0 {
			t.Fatalf("central does not take %q: %v %+v", record.name, err, report)
		}
	}
	values := dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{
		{DataElement: "dze2yNmEQM7", Period: "202503", OrgUnit: cerroBrujo, Value: "3"},
		{DataElement: "dze2yNmEQM7", Period: "202602", OrgUnit: cerroBrujo, Value: "4"},
		{DataElement: "dze2yNmEQM7", Period: "202503", OrgUnit: sabana, Value: "5"},
	}}
	if report, err := central.ImportDataValues(t.Context(), values, dhis2api.DataValueImportOptions{}); err != nil || len(report.Conflicts) > 0 {
		t.Fatalf("values: %v %+v", err, report)
	}
	newRules(t, metadata)
	give("rules")
	return again(t, central)
}

func loadDirtyHistory(t *testing.T, version string) {
	t.Helper()
	central, local := testServers(t, version)
	central = dirtyCentral(t, central)
	scope, err := ResolveScope(t.Context(), central, Wanted{OrgUnits: []string{"PA-BOC"}})
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := TakeMetadata(t.Context(), central, scope)
	if err != nil {
		t.Fatal(err)
	}
	if err := local.ClearCache(t.Context()); err != nil {
		t.Fatal(err)
	}
	if receipt, err := LoadMetadata(t.Context(), local, metadata, scope, nil); err != nil || len(receipt.Refused) > 0 {
		t.Fatalf("metadata: %v %+v", err, receipt)
	}
	local = again(t, local)
	directory, keys := t.TempDir(), testKeys(t)
	w := openFace(t, directory, Taken, keys, scope, central)
	takeFace(t, central, w)
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		t.Fatal(err)
	}
	var receipt *LoadReceipt
	for _, round := range []string{"first", "second"} {
		w = openFace(t, directory, Loaded, keys, scope, local)
		if receipt, err = Load(t.Context(), s, local, w, LoadOptions{Central: central}); err != nil {
			t.Fatal(err)
		}
		for kind, count := range receipt.Counts {
			t.Logf("%s load: %s %+v", round, kind, *count)
			if count.Loaded != count.Taken || round == "second" && count.Alike != count.Loaded && local.Version().Minor > 41 {
				t.Errorf("%s load of %s: %+v", round, kind, *count)
			}
		}
		for _, refusal := range receipt.Refused {
			t.Errorf("%s load: %+v is refused", round, refusal)
		}
		if round == "first" {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := Discard(directory, Loaded); err != nil {
				t.Fatal(err)
			}
		}
	}
	takeFace(t, local, w)
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(directory, keys); err != nil {
		t.Fatal(err)
	}
	taken, loaded := contentOf(t, s, Taken, central.Zone()), contentOf(t, s, Loaded, local.Zone())
	assigned := merge.Ref{Kind: merge.Event, UID: "drEven00014"}
	if taken[assigned]["assignedUser"] != "drgone" {
		t.Errorf("nobody was assigned at central: %v", taken[assigned])
	}
	delete(taken[assigned], "assignedUser")
	wantOmitted := []Omission{{
		Kind: merge.Event, UID: "drEven00014", Whose: Whose{Person: "drPers00014", OrgUnit: rioCana, Date: "2026-03-02"},
		Field: "assignedUser", Reason: "user " + stranger + " is not on the server",
	}}
	if diff := gocmp.Diff(wantOmitted, receipt.Omitted); diff != "" {
		t.Errorf("omitted (-want +got):\n%s", diff)
	}
	if local.Version().Minor == 41 {
		for _, face := range []map[merge.Ref]map[string]string{taken, loaded} {
			for ref, fields := range face {
				if ref.Kind == merge.Enrollment {
					delete(fields, merge.FieldCompletedAt)
				}
			}
		}
	}
	if diff := gocmp.Diff(taken, loaded); diff != "" {
		t.Errorf("what local holds differs from what central gave (-central +local):\n%s", diff)
	}
	var unit struct{ OpeningDate, ClosedDate string }
	if err := local.Get(t.Context(), "organisationUnits", cerroBrujo, "openingDate,closedDate", &unit); err != nil || !strings.HasPrefix(unit.ClosedDate, "2026-01-31") || strings.HasPrefix(unit.OpeningDate, firstDate) {
		t.Errorf("the closed unit is now %+v: %v", unit, err)
	}
	var set struct{ OrganisationUnits []dhis2api.Ref }
	if err := local.Get(t.Context(), "dataSets", "ztr8khGB7BY", "organisationUnits", &set); err != nil || slices.Contains(set.OrganisationUnits, dhis2api.Ref{ID: sabana}) {
		t.Errorf("the form's org units are now %v: %v", set.OrganisationUnits, err)
	}
	if _, there := loaded[merge.Ref{Kind: merge.TrackedEntity, UID: "drPers00004"}]; !there {
		t.Error("the second holder of a unique value is not on the kit")
	}
}

// TestLoadWithoutSuperuser loads with an account that DHIS2 holds to its rules: the receipt says so, and names what is
// refused by whose it is.
func TestLoadWithoutSuperuser(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			central, local := testServers(t, version)
			central = clinicRecords(t, central)
			scope, err := ResolveScope(t.Context(), central, Wanted{OrgUnits: []string{"PA-BOC"}})
			if err != nil {
				t.Fatal(err)
			}
			metadata, err := TakeMetadata(t.Context(), central, scope)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := LoadMetadata(t.Context(), local, metadata, scope, nil); err != nil {
				t.Fatal(err)
			}
			units := []dhis2api.Ref{{ID: "jMnOQwfpLgG"}}
			clerk := dhis2api.User{
				ID: "drClerkUser", Username: "clerk", FirstName: "Clerk", Surname: "Clerk", Password: "Clinic-2026!", UserRoles: []dhis2api.Ref{{ID: "VBn0y9di06Z"}},
				OrganisationUnits: units, DataViewOrganisationUnits: units, TeiSearchOrganisationUnits: units,
			}
			if err := local.CreateUser(t.Context(), clerk); err != nil {
				t.Fatal(err)
			}
			credentials := dhis2api.Credentials{Username: clerk.Username, Password: clerk.Password}
			if local, err = dhis2api.Connect(t.Context(), local.BaseURL(), credentials, dhis2api.Options{}); err != nil {
				t.Fatal(err)
			}
			directory, keys := t.TempDir(), testKeys(t)
			w := openFace(t, directory, Taken, keys, scope, central)
			takeFace(t, central, w)
			if err := w.Finish(); err != nil {
				t.Fatal(err)
			}
			s, err := Open(directory, keys)
			if err != nil {
				t.Fatal(err)
			}
			receipt, err := Load(t.Context(), s, local, openFace(t, directory, Loaded, keys, scope, local), LoadOptions{Central: central})
			if err != nil {
				t.Fatal(err)
			}
			if !receipt.Strict {
				t.Error("the receipt does not say that the account is no superuser")
			}
			i := slices.IndexFunc(receipt.Refused, func(r Refusal) bool { return r.UID == "ldPerson005" })
			if i < 0 {
				t.Fatalf("the person with a withdrawn option is not refused: %+v", receipt.Refused)
			}
			if got := receipt.Refused[i]; got.Person != "ldPerson005" || got.OrgUnit != rioCana || got.Code == "" || got.Reason == "" {
				t.Errorf("refused: %+v", got)
			}
		})
	}
}
