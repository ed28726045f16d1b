package dhis2api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
)

// What the clinic metadata calls its things.
const (
	country     = "zDtBfyIHGje"
	clinic      = "P1J4eyjXQeT"
	otherClinic = "pt1tlNJMGea"
	person      = "ig1m3E2NSOb"
	visit       = "xIkcI00xjZE"
	triage      = "m9JW68Avdyx"
	water       = "Deay1MNLTQW"
	waterStage  = "f41ircQKy8O"
	firstName   = "GoX1JP83DWF"
	lastName    = "k0aoyOGu3L2"
	phone       = "AxEFHTvb07i"
	photo       = "nlKzWyTL0GL"
	number      = "kmrPSZsLthX"
	weight      = "SHUMZIdrf6Y"
	height      = "J837zyhoZKy"
	motherOf    = "lLTCzq8mnWU"
	monthly     = "ztr8khGB7BY"
	daysOut     = "Mfj7peAru0e"
)

func newUID() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	uid := make([]byte, 11)
	for i := range uid {
		uid[i] = letters[rand.N(len(letters))]
	}
	return string(uid)
}

// TestJourney uses the whole client on simulated servers of all versions, and on the real one whose address is
// in FIELDKIT_TEST_DHIS2, if any, as FIELDKIT_TEST_USER: a superuser who works in the whole country of the clinic
// metadata. It deletes what it makes.
func TestJourney(t *testing.T) {
	panama, err := time.LoadLocation("America/Panama")
	must(t, err)
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			server, err := dhis2sim.New(dhis2sim.Options{Version: version, Zone: panama})
			if err != nil {
				t.Fatal(err)
			}
			served := httptest.NewServer(server)
			t.Cleanup(served.Close)
			c := admin(t, served.URL)
			prepareClinic(t, c)
			journey(t, c)
		})
	}
	if address := os.Getenv("FIELDKIT_TEST_DHIS2"); address != "" {
		t.Run("real", func(t *testing.T) {
			c, err := dhis2api.Connect(t.Context(), address, dhis2api.Credentials{
				Username: os.Getenv("FIELDKIT_TEST_USER"), Password: os.Getenv("FIELDKIT_TEST_PASSWORD"),
			}, dhis2api.Options{})
			must(t, err)
			journey(t, c)
		})
	}
}

func admin(t *testing.T, address string) *dhis2api.Client {
	t.Helper()
	c, err := dhis2api.Connect(t.Context(), address, dhis2api.Credentials{Username: "admin", Password: "district"}, dhis2api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// prepareClinic gives a fresh server the clinic metadata, and its admin the country.
func prepareClinic(t *testing.T, c *dhis2api.Client) {
	t.Helper()
	file, err := os.Open("testdata/clinic/metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	must(t, c.ClearCache(t.Context()))
	for _, options := range []dhis2api.MetadataImportOptions{{DryRun: true}, {Async: true}, {}} {
		report, err := c.ImportMetadata(t.Context(), file, options)
		must(t, err)
		if report.Status != dhis2api.ReportOK || report.Stats.Total == 0 || len(report.Problems) > 0 {
			t.Fatalf("metadata import %+v: %+v", options, report)
		}
	}
	me, err := c.Me(t.Context())
	must(t, err)
	units := []string{country}
	must(t, c.SetUserUnits(t.Context(), me.ID, dhis2api.UserUnits{Capture: units, View: units, Search: units}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patient is a person with a visit to the clinic.
func patient(i int) *dhis2api.TrackedEntity {
	uid := newUID()
	return &dhis2api.TrackedEntity{
		TrackedEntity: uid, TrackedEntityType: person, OrgUnit: clinic,
		Attributes: []dhis2api.Attribute{{Attribute: firstName, Value: fmt.Sprintf("Ana %d", i)}, {Attribute: lastName, Value: "Pinto"}},
		Enrollments: []*dhis2api.Enrollment{{
			Enrollment: newUID(), TrackedEntity: uid, Program: visit, OrgUnit: clinic, Status: "ACTIVE", EnrolledAt: "2026-11-10", OccurredAt: "2026-11-10",
			Events: []*dhis2api.Event{{
				Event: newUID(), Program: visit, ProgramStage: triage, OrgUnit: clinic, Status: "ACTIVE", OccurredAt: "2026-11-10",
				DataValues: []dhis2api.EventDataValue{{DataElement: weight, Value: "61.0"}, {DataElement: height, Value: "170"}},
			}},
		}},
	}
}

func journey(t *testing.T, c *dhis2api.Client) {
	t.Run("tracker", func(t *testing.T) { trackerJourney(t, c) })
	t.Run("times of before 1900", func(t *testing.T) { earlyJourney(t, c) })
	t.Run("events without registration", func(t *testing.T) { eventJourney(t, c) })
	t.Run("data values", func(t *testing.T) { aggregateJourney(t, c) })
	t.Run("files", func(t *testing.T) { fileJourney(t, c) })
	t.Run("the rest", func(t *testing.T) { restJourney(t, c) })
}

func imported(t *testing.T, c *dhis2api.Client, payload dhis2api.TrackerPayload, options dhis2api.ImportOptions) *dhis2api.ImportReport {
	t.Helper()
	report, err := c.Import(t.Context(), payload, options)
	must(t, err)
	for object := range payload.Objects() {
		if outcome := report.Outcome(object.Kind, object.UID); outcome.State != dhis2api.OutcomeStored {
			t.Fatalf("%s %s: %+v", object.Kind, object.UID, outcome)
		}
	}
	return report
}

func trackerJourney(t *testing.T, c *dhis2api.Client) {
	ctx := t.Context()
	before := c.FormatTime(time.Now().Add(c.Info().Skew - 5*time.Second))
	var payload dhis2api.TrackerPayload
	var uids []string
	for i := range 53 {
		payload.TrackedEntities = append(payload.TrackedEntities, patient(i))
		uids = append(uids, payload.TrackedEntities[i].TrackedEntity)
	}
	mother := &dhis2api.Relationship{Relationship: newUID(), RelationshipType: motherOf,
		From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, uids[0]), To: dhis2api.ItemRef(dhis2api.KindTrackedEntity, uids[1])}
	payload.Relationships = append(payload.Relationships, mother)
	imported(t, c, payload, dhis2api.ImportOptions{SkipSideEffects: true})
	t.Cleanup(func() {
		var gone dhis2api.TrackerPayload
		for _, uid := range uids {
			gone.TrackedEntities = append(gone.TrackedEntities, &dhis2api.TrackedEntity{TrackedEntity: uid})
		}
		ctx := context.WithoutCancel(ctx) // the test is over
		if _, err := c.Import(ctx, gone, dhis2api.ImportOptions{Strategy: dhis2api.ImportStrategyDelete}); err != nil {
			t.Error("left behind:", err)
		}
	})

	// Read all by pages, deletions and times aside.
	read := map[string]*dhis2api.TrackedEntity{}
	query := dhis2api.TrackedEntityQuery{Program: visit, OrgUnits: []string{clinic}, UpdatedAfter: before, Paging: dhis2api.Paging{PageSize: 10}}
	for entity, err := range c.TrackedEntities(ctx, query) {
		must(t, err)
		read[entity.TrackedEntity] = entity
	}
	for i, sent := range payload.TrackedEntities {
		got := read[sent.TrackedEntity]
		if got == nil {
			t.Fatalf("patient %d was not read", i)
		}
		if len(got.Enrollments) != 1 || len(got.Enrollments[0].Events) != 1 {
			t.Fatalf("patient %d: %+v", i, got)
		}
		values := got.Enrollments[0].Events[0].DataValues
		if slices.ContainsFunc(values, func(v dhis2api.EventDataValue) bool { return v.DataElement == weight && v.Value != "61.0" }) || len(values) != 2 {
			t.Errorf("patient %d: values %+v", i, values)
		}
		if owners := got.ProgramOwners; len(owners) != 1 || owners[0].OrgUnit != clinic {
			t.Errorf("patient %d: owners %+v", i, owners)
		}
	}
	if relationships := read[uids[0]].Relationships; len(relationships) != 1 || relationships[0].Relationship != mother.Relationship {
		t.Errorf("relationships %+v", relationships)
	}
	for relationship, err := range c.Relationships(ctx, dhis2api.RelationshipQuery{TrackedEntity: uids[1]}) {
		must(t, err)
		if kind, uid := relationship.From.Ref(); kind != dhis2api.KindTrackedEntity || uid != uids[0] {
			t.Errorf("from %s %s", kind, uid)
		}
	}

	// What was read can be sent; a relationship that is there is ignored.
	again, err := c.Import(ctx, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{mother}}, dhis2api.ImportOptions{})
	must(t, err)
	if state := again.Outcome(dhis2api.KindRelationship, mother.Relationship).State; state == dhis2api.OutcomeRefused || again.Stats.Ignored != 1 {
		t.Errorf("%v, %+v", state, again)
	}

	// By ids: one is not there.
	var found []string
	for entity, err := range c.TrackedEntitiesByID(ctx, append([]string{newUID()}, uids...), dhis2api.Lookup{Program: visit, Fields: "trackedEntity"}) {
		must(t, err)
		found = append(found, entity.TrackedEntity)
	}
	slices.Sort(found)
	if diff := cmp.Diff(slices.Sorted(slices.Values(uids)), found); diff != "" {
		t.Error(diff)
	}

	// Change one attribute and clear a value, as a job.
	changed := read[uids[2]]
	event := changed.Enrollments[0].Events[0]
	event.DataValues = []dhis2api.EventDataValue{{DataElement: height, Value: ""}}
	event.Enrollment = changed.Enrollments[0].Enrollment
	job, err := c.ImportAsync(ctx, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: uids[2], TrackedEntityType: person, OrgUnit: clinic,
			Attributes: []dhis2api.Attribute{{Attribute: phone, Value: "66666666"}}}},
		Events: []*dhis2api.Event{event},
	}, dhis2api.ImportOptions{})
	must(t, err)
	report, err := c.AwaitImport(ctx, job)
	must(t, err)
	if report.Outcome(dhis2api.KindEvent, event.Event).State != dhis2api.OutcomeStored {
		t.Errorf("%+v", report)
	}
	entity, err := c.TrackedEntity(ctx, uids[2], dhis2api.Lookup{Program: visit})
	must(t, err)
	if !slices.ContainsFunc(entity.Attributes, func(a dhis2api.Attribute) bool { return a.Attribute == phone && a.Value == "66666666" }) {
		t.Errorf("attributes %+v", entity.Attributes)
	}
	reread, err := c.Event(ctx, event.Event, dhis2api.Lookup{})
	must(t, err)
	if len(reread.DataValues) != 1 || reread.DataValues[0].DataElement != weight {
		t.Errorf("values after clearing %+v", reread.DataValues)
	}

	// A refusal, and what it drags along.
	bad := patient(100)
	bad.Attributes = bad.Attributes[:1]
	refused, err := c.Import(ctx, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{bad}}, dhis2api.ImportOptions{})
	must(t, err)
	outcome := refused.Outcome(dhis2api.KindEnrollment, bad.Enrollments[0].Enrollment)
	if outcome.State != dhis2api.OutcomeRefused || dhis2api.ClassOf(outcome.Errors[0].Code) != dhis2api.ClassMandatory {
		t.Errorf("%+v", refused)
	}
	uids = append(uids, bad.TrackedEntity)

	// Delete: gone from where it was, a tombstone by id.
	gone := uids[3]
	imported(t, c, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: gone}}}, dhis2api.ImportOptions{Strategy: dhis2api.ImportStrategyDelete})
	if _, err := c.TrackedEntity(ctx, gone, dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("got %v", err)
	}
	tombstones := 0
	for entity, err := range c.TrackedEntitiesByID(ctx, []string{gone}, dhis2api.Lookup{IncludeDeleted: true}) {
		must(t, err)
		if tombstones++; !entity.Deleted {
			t.Errorf("%+v is not deleted", entity)
		}
	}
	if tombstones != 1 {
		t.Errorf("%d tombstones", tombstones)
	}

	must(t, c.TransferOwnership(ctx, uids[4], visit, otherClinic))
	moved, err := c.TrackedEntity(ctx, uids[4], dhis2api.Lookup{Program: visit})
	must(t, err)
	if len(moved.ProgramOwners) != 1 || moved.ProgramOwners[0].OrgUnit != otherClinic || moved.OrgUnit != clinic {
		t.Errorf("owners %+v, org unit %s", moved.ProgramOwners, moved.OrgUnit)
	}

	enrollments := 0
	for enrollment, err := range c.Enrollments(ctx, dhis2api.EnrollmentQuery{Program: visit, OrgUnits: []string{country}, OrgUnitMode: dhis2api.OrgUnitModeDescendants,
		UpdatedAfter: before, Paging: dhis2api.Paging{PageSize: 9}}) {
		must(t, err)
		if slices.Contains(uids, enrollment.TrackedEntity) {
			enrollments++
		}
	}
	if enrollments != 52 { // 53 patients, one of them deleted
		t.Errorf("%d enrollments, want 52", enrollments)
	}
}

func eventJourney(t *testing.T, c *dhis2api.Client) {
	ctx := t.Context()
	var payload dhis2api.TrackerPayload
	var uids []string
	for range 23 {
		uid := newUID()
		uids = append(uids, uid)
		payload.Events = append(payload.Events, &dhis2api.Event{Event: uid, Program: water, ProgramStage: waterStage, OrgUnit: clinic,
			Status: "ACTIVE", OccurredAt: "2026-11-11", Geometry: []byte(`{"type":"Point","coordinates":[-82.12,8.93]}`),
			Notes: []dhis2api.Note{{Note: newUID(), Value: "after the rain"}}})
	}
	imported(t, c, payload, dhis2api.ImportOptions{})
	var gone dhis2api.TrackerPayload
	for _, uid := range uids {
		gone.Events = append(gone.Events, &dhis2api.Event{Event: uid})
	}
	found := 0
	for event, err := range c.Events(ctx, dhis2api.EventQuery{Program: water, OrgUnit: clinic, OccurredAfter: "2026-11-11", OccurredBefore: "2026-11-11",
		Paging: dhis2api.Paging{PageSize: 5}}) {
		must(t, err)
		if !slices.Contains(uids, event.Event) {
			continue
		}
		if found++; len(event.Notes) != 1 || event.Notes[0].Value != "after the rain" || len(event.Geometry) == 0 {
			t.Errorf("event %+v", event)
		}
	}
	if found != 23 {
		t.Errorf("%d events, want 23", found)
	}
	imported(t, c, gone, dhis2api.ImportOptions{Strategy: dhis2api.ImportStrategyDelete})
	for event, err := range c.EventsByID(ctx, uids, dhis2api.Lookup{Program: water, IncludeDeleted: true}) {
		must(t, err)
		if found--; !event.Deleted {
			t.Errorf("%s lives", event.Event)
		}
	}
	if found != 0 {
		t.Errorf("%d tombstones missing", found)
	}
}

func aggregateJourney(t *testing.T, c *dhis2api.Client) {
	ctx := t.Context()
	value := &dhis2api.DataValue{DataElement: daysOut, Period: "202503", OrgUnit: clinic, Value: "7", Comment: "the boat broke down", FollowUp: true}
	query := dhis2api.DataValueQuery{DataSets: []string{monthly}, Periods: []string{"202503"}, OrgUnits: []string{country}, Children: true}
	for _, options := range []dhis2api.DataValueImportOptions{{DryRun: true}, {}, {Async: true}} {
		report, err := c.ImportDataValues(ctx, dhis2api.DataValueSet{DataSet: monthly, DataValues: []*dhis2api.DataValue{value}}, options)
		must(t, err)
		if report.Status != "SUCCESS" || len(report.Conflicts) > 0 {
			t.Fatalf("%+v: %+v", options, report)
		}
	}
	count := 0
	for got, err := range c.DataValues(ctx, query) {
		must(t, err)
		if got.DataElement != daysOut {
			continue
		}
		if count++; got.Value != "7" || got.Comment != value.Comment || !got.FollowUp || got.OrgUnit != clinic || got.Period != "202503" || got.AttributeOptionCombo == "" {
			t.Errorf("%+v", got)
		}
	}
	if count != 1 {
		t.Errorf("%d values", count)
	}
	refused, err := c.ImportDataValues(ctx, dhis2api.DataValueSet{DataSet: monthly, DataValues: []*dhis2api.DataValue{
		{DataElement: daysOut, Period: "202503", OrgUnit: clinic, Value: "many"},
	}}, dhis2api.DataValueImportOptions{})
	must(t, err)
	if len(refused.Conflicts) != 1 || dhis2api.ClassOf(refused.Conflicts[0].Code) != dhis2api.ClassValue {
		t.Errorf("%+v", refused)
	}

	completion := dhis2api.Completion{DataSet: monthly, Period: "202503", OrganisationUnit: clinic, Completed: true}
	other := completion
	other.Period = "202502"
	_, err = c.ImportCompletions(ctx, []*dhis2api.Completion{&completion, &other}, dhis2api.DataValueImportOptions{})
	must(t, err)
	completions := func() (count int) {
		for got, err := range c.Completions(ctx, dhis2api.CompletionQuery{DataSets: []string{monthly}, Periods: []string{"202503"}, OrgUnits: []string{clinic}}) {
			must(t, err)
			if got.Completed {
				count++
			}
		}
		return count
	}
	if completions() != 1 {
		t.Errorf("%d completions, want 1", completions())
	}
	must(t, c.DeleteCompletion(ctx, completion))
	must(t, c.DeleteCompletion(ctx, completion))
	if completions() != 0 {
		t.Errorf("%d completions, want none", completions())
	}
	_, err = c.ImportDataValues(ctx, dhis2api.DataValueSet{DataSet: monthly, DataValues: []*dhis2api.DataValue{value}},
		dhis2api.DataValueImportOptions{Strategy: dhis2api.ImportStrategyDelete})
	must(t, err)
	for got, err := range c.DataValues(ctx, query) {
		must(t, err)
		if got.DataElement == daysOut {
			t.Errorf("%+v is not deleted", got)
		}
	}
}

// picture is the smallest PNG there is.
func picture() []byte {
	return []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89" +
		"\x00\x00\x00\rIDATx\xdac\xfc\xcf\xc0\x50\x0f\x00\x04\x85\x01\x80\x84\xa9\x8c\x21\x00\x00\x00\x00IEND\xaeB`\x82")
}

func fileJourney(t *testing.T, c *dhis2api.Client) {
	ctx := t.Context()
	uid := newUID()
	file, err := c.UploadFile(ctx, uid, "photo.png", "image/png", "", bytes.NewReader(picture()))
	must(t, err)
	if file.ID != uid || file.ContentLength != int64(len(picture())) {
		t.Errorf("%+v", file)
	}
	var status *dhis2api.StatusError
	if _, err := c.UploadFile(ctx, uid, "photo.png", "image/png", "", bytes.NewReader(picture())); !errors.As(err, &status) || status.Status != http.StatusConflict {
		t.Errorf("the same uid again: %v", err)
	}
	known, err := c.File(ctx, uid)
	must(t, err)
	if known.ContentMD5 == "" || known.Name != "photo.png" {
		t.Errorf("%+v", known)
	}
	owner := patient(200)
	owner.Attributes = append(owner.Attributes, dhis2api.Attribute{Attribute: photo, Value: uid})
	imported(t, c, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{owner}}, dhis2api.ImportOptions{})
	content, err := c.ValueFile(ctx, dhis2api.FileValue{TrackedEntity: owner.TrackedEntity, Attribute: photo, Program: visit})
	must(t, err)
	defer content.Close()
	got, err := io.ReadAll(content)
	must(t, err)
	if !bytes.Equal(got, picture()) {
		t.Errorf("%d bytes came back", len(got))
	}
	imported(t, c, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: owner.TrackedEntity}}}, dhis2api.ImportOptions{Strategy: dhis2api.ImportStrategyDelete})
}

func restJourney(t *testing.T, c *dhis2api.Client) {
	ctx := t.Context()
	values, err := c.ReserveValues(ctx, number, 3, 60, nil)
	must(t, err)
	if len(values) != 3 || values[0].Value == values[1].Value || values[0].OwnerUID != number {
		t.Errorf("%+v", values)
	}
	required, optional, err := c.RequiredValues(ctx, number)
	must(t, err)
	if len(required) != 0 || len(optional) != 1 {
		t.Errorf("required %v, optional %v", required, optional)
	}

	units := map[string]bool{}
	for unit, err := range dhis2api.ListAs[dhis2api.Ref](ctx, c, "organisationUnits", dhis2api.ListQuery{Fields: "id,path,level", Filters: []string{"path:like:" + country}, PageSize: 2}) {
		must(t, err)
		if unit.Path == "" || unit.Level == 0 || units[unit.ID] {
			t.Errorf("%+v (twice: %v)", unit, units[unit.ID])
		}
		units[unit.ID] = true
	}
	if len(units) < 9 {
		t.Errorf("%d org units, want 9 at least", len(units))
	}
	var program struct {
		Name          string
		ProgramStages []dhis2api.Ref
	}
	must(t, c.Get(ctx, "programs", visit, "name,programStages[id]", &program))
	if program.Name != "Mobile clinic visit" || len(program.ProgramStages) != 3 {
		t.Errorf("%+v", program)
	}
	if err := c.Get(ctx, "programs", newUID(), "", &program); !dhis2api.NotFound(err) {
		t.Errorf("got %v", err)
	}
	metadata, err := c.MetadataWithDependencies(ctx, "programs", visit)
	must(t, err)
	if len(metadata["programStages"]) != 3 || len(metadata["programs"]) != 1 {
		t.Errorf("%d stages, %d programs", len(metadata["programStages"]), len(metadata["programs"]))
	}
	metadata, err = c.MetadataExport(ctx, dhis2api.MetadataQuery{Classes: map[string]dhis2api.MetadataClassQuery{
		"constants": {Fields: "id,code", Filters: []string{"code:eq:CLINIC_DAYS"}}, "relationshipTypes": {},
	}})
	must(t, err)
	if len(metadata["constants"]) != 1 || len(metadata["relationshipTypes"]) == 0 || len(metadata) != 2 {
		t.Errorf("%v", metadata)
	}
	report, err := c.ImportMetadata(ctx, dhis2api.Metadata{"constants": metadata["constants"]}, dhis2api.MetadataImportOptions{DryRun: true})
	must(t, err)
	if report.Stats.Total != 1 {
		t.Errorf("%+v", report)
	}

	namespace := "fieldkit" + newUID()
	must(t, c.DataStorePut(ctx, namespace, "a", map[string]int{"n": 1}))
	must(t, c.DataStorePut(ctx, namespace, "a", map[string]int{"n": 2}))
	var entry struct{ N int }
	must(t, c.DataStoreGet(ctx, namespace, "a", &entry))
	keys, err := c.DataStoreKeys(ctx, namespace)
	must(t, err)
	if entry.N != 2 || len(keys) != 1 {
		t.Errorf("%+v, keys %v", entry, keys)
	}
	must(t, c.Do(ctx, http.MethodDelete, "/api/dataStore/"+namespace, nil, nil, nil))
	if keys, err = c.DataStoreKeys(ctx, namespace); err != nil || len(keys) != 0 {
		t.Errorf("keys %v, %v", keys, err)
	}
	title, err := c.Setting(ctx, "applicationTitle")
	must(t, err)
	if title == "" {
		t.Error("no title")
	}
	_, err = c.UserSettings(ctx, "admin")
	must(t, err)
	for _, err := range c.PotentialDuplicates(ctx, "ALL") {
		must(t, err)
	}
}

// TestFaults reads and writes while the server misbehaves.
func TestFaults(t *testing.T) {
	server, err := dhis2sim.New(dhis2sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(server)
	t.Cleanup(served.Close)
	prepareClinic(t, admin(t, served.URL))
	var mu sync.Mutex
	var slept time.Duration
	c, err := dhis2api.Connect(t.Context(), served.URL, dhis2api.Credentials{Username: "admin", Password: "district"}, dhis2api.Options{
		Sleep: func(_ context.Context, d time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			slept += d
			return nil
		},
	})
	must(t, err)
	sent := patient(1)
	payload := dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{sent}}
	imports := func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == "/api/tracker" }
	reads := func(r *http.Request) bool { return r.URL.Path == "/api/tracker/trackedEntities" }

	for name, fault := range map[string]dhis2sim.Fault{
		"cut before": {CutBefore: true}, "cut after": {CutAfter: true}, "truncated": {Truncate: true}, "502": {Status: 502},
	} {
		fault.Match, fault.Times = imports, 1
		server.Inject(fault)
		if _, err := c.Import(t.Context(), payload, dhis2api.ImportOptions{}); !isUnknown(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Sent again, all is as it should be.
	imported(t, c, payload, dhis2api.ImportOptions{})

	for name, fault := range map[string]dhis2sim.Fault{
		"cut": {CutBefore: true}, "truncated": {Truncate: true}, "500": {Status: 500}, "502": {Status: 502},
		"429": {Status: 429, RetryAfter: 3 * time.Second}, "login page": {LoginPage: true},
	} {
		fault.Match, fault.Times = reads, 1
		server.Inject(fault)
		count := 0
		for entity, err := range c.TrackedEntities(t.Context(), dhis2api.TrackedEntityQuery{Program: visit, OrgUnits: []string{clinic}}) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			if entity.TrackedEntity == sent.TrackedEntity {
				count++
			}
		}
		if count != 1 {
			t.Errorf("%s: read %d times", name, count)
		}
	}
	// An error inside a 200 is no record: whoever asks whether one is there must not be told so.
	single := func(r *http.Request) bool { return r.URL.Path == "/api/tracker/trackedEntities/"+sent.TrackedEntity }
	server.Inject(dhis2sim.Fault{Match: single, Times: 1, Status: 200, ContentType: "application/json", Body: `{"httpStatusCode":500,"status":"ERROR"}`})
	if _, err := c.TrackedEntity(t.Context(), sent.TrackedEntity, dhis2api.Lookup{Fields: "trackedEntity"}); !dhis2api.NotUnderstood(err) {
		t.Errorf("an error inside a 200: %v", err)
	}
	if slept < 3*time.Second {
		t.Errorf("waited %v in all, Retry-After alone was 3s", slept)
	}
}

func isUnknown(err error) bool {
	var unknown *dhis2api.UnknownOutcomeError
	return errors.As(err, &unknown)
}
