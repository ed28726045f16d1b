package orchestrator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestAcceptance runs the whole loop on two servers: those named by FIELDKIT_ACCEPTANCE_CENTRAL and _LOCAL
// (`make acceptance`), else simulated ones of every supported version. It brings its own metadata under ids
// that nobody else has, leaves other data alone, and cleans up after itself.
func TestAcceptance(t *testing.T) {
	if central := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"); central != "" {
		acceptance(t, central, os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL_DATABASE"))
		return
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			acceptance(t, simulated(t, version), simulated(t, version), "")
		})
	}
}

// simulated starts a simulated server and returns its URL.
func simulated(t *testing.T, version string) string {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	return listening.URL
}

// world is what the acceptance suite works in: two servers and metadata of its own.
type world struct {
	t              testing.TB
	central, local *dhis2api.Client
	database       string // of local; empty without access
	kitDir         string
	environment    map[string]string
	random         *rand.Rand
	ids            map[string]string
	metadata       map[string][]map[string]any
	now            func() time.Time
	sleep          func(context.Context, time.Duration) error // nil: really
	patience       time.Duration                              // zero: minutes
	journalWrite   func(written bool) error                   // nil: nobody watches
	// ahead lets a server whose clock is behind take dates of today, which it takes for the future.
	ahead bool
}

func acceptance(t *testing.T, centralURL, localURL, database string) {
	w := newWorld(t, centralURL, localURL, database)
	w.setUp()
	w.patientsAtCentral()

	receipt := w.prepare()
	if receipt.Missing != 0 || receipt.Differing != 0 {
		t.Errorf("prepare: %d records missing and %d different on the kit; receipt: %s", receipt.Missing, receipt.Differing, asJSON(receipt))
	}
	w.clinicDay()
	w.meanwhileAtCentral()

	planned := w.reconcile(true)
	if planned.Sent != 0 {
		t.Errorf("--plan sent %d operations", planned.Sent)
	}
	if planned.Sums.Open == 0 || planned.ExitCode() != 4 {
		t.Errorf("--plan: %d open and exit code %d, want some and 4", planned.Sums.Open, planned.ExitCode())
	}
	first := w.reconcile(false)
	w.checkHome(first)
	if planned.Sums.Held != first.Sums.Held || planned.Sums.Open != first.Sums.Pushed {
		t.Errorf("--plan foretold %+v, the run came to %+v", planned.Sums, first.Sums)
	}

	before := w.timestamps()
	second := w.reconcile(false)
	if second.Sent != 0 {
		t.Errorf("the second run sent %d operations", second.Sent)
	}
	if second.Sums != first.Sums {
		t.Errorf("the second run's sums are %+v, the first's were %+v", second.Sums, first.Sums)
	}
	if got := second.ExitCode(); got != first.ExitCode() {
		t.Errorf("the second run ends with %d, the first with %d", got, first.ExitCode())
	}
	if after := w.timestamps(); !slices.Equal(before, after) {
		t.Errorf("the second run changed timestamps at central:\n%v\n%v", before, after)
	}

	w.nextTrip(first)
}

func newWorld(t testing.TB, centralURL, localURL, database string) *world {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed of the ids: %d", seed)
	return newSeededWorld(t, centralURL, localURL, database, seed)
}

// newSeededWorld is a world with the ids that come of a seed.
func newSeededWorld(t testing.TB, centralURL, localURL, database string, seed uint64) *world {
	w := &world{t: t, ids: map[string]string{}, metadata: map[string][]map[string]any{}, kitDir: t.TempDir(), database: database}
	w.now = time.Now
	w.random = rand.New(rand.NewPCG(seed, 0))
	w.environment = map[string]string{}
	for _, side := range []string{"CENTRAL", "LOCAL"} {
		w.environment["FIELDKIT_"+side+"_TOKEN"] = os.Getenv("FIELDKIT_" + side + "_TOKEN")
		w.environment["FIELDKIT_"+side+"_USER"] = or(os.Getenv("FIELDKIT_"+side+"_USER"), "admin")
		w.environment["FIELDKIT_"+side+"_PASSWORD"] = or(os.Getenv("FIELDKIT_"+side+"_PASSWORD"), "district")
	}
	w.central = w.connect(orchestrator.Central, centralURL)
	w.local = w.connect(orchestrator.Local, localURL)
	local := "local: {url: " + localURL + "}\n"
	if database != "" {
		local = "local: {url: " + localURL + ", database: '" + database + "'}\n"
	}
	config := fmt.Sprintf("name: acceptance\ncentral: {url: %s}\nscope:\n  orgUnits: [%s]\n  programs: [%s, %s]\n  dataSets: [%s]\n%s",
		centralURL, w.id("villages"), w.id("program"), w.id("water"), w.id("form"), local)
	if err := os.WriteFile(filepath.Join(w.kitDir, "fieldkit.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (w *world) connect(side orchestrator.Side, url string) *dhis2api.Client {
	w.t.Helper()
	credentials, err := orchestrator.Credentials(side, w.getenv, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := dhis2api.Connect(w.t.Context(), url, credentials, dhis2api.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}

func (w *world) getenv(name string) string { return w.environment[name] }

// id is the uid that goes by a name in this run.
func (w *world) id(name string) string {
	if w.ids[name] == "" {
		const letters, all = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		uid := []byte{letters[w.random.IntN(len(letters))]}
		for len(uid) < 11 {
			uid = append(uid, all[w.random.IntN(len(all))])
		}
		w.ids[name] = string(uid)
	}
	return w.ids[name]
}

func (w *world) ref(name string) map[string]any { return map[string]any{"id": w.id(name)} }

// define adds an object to the metadata of the run. Its name is unique on the server.
func (w *world) define(class, name string, more map[string]any) {
	object := map[string]any{
		"id": w.id(name), "name": "Acceptance " + name + " " + w.id("run"), "shortName": name + " " + w.id("run"), "code": "ACC_" + name + "_" + w.id("run"),
	}
	for key, value := range more {
		object[key] = value
	}
	w.metadata[class] = append(w.metadata[class], object)
}

func (w *world) setUp() {
	w.t.Helper()
	sharing := map[string]any{"public": "rwrw----", "external": false}
	w.define("organisationUnits", "country", map[string]any{"openingDate": "2000-01-01"})
	w.define("organisationUnits", "villages", map[string]any{"openingDate": "2000-01-01", "parent": w.ref("country")})
	w.define("organisationUnits", "soloy", map[string]any{"openingDate": "2000-01-01", "parent": w.ref("villages")})
	w.define("organisationUnits", "cerro", map[string]any{"openingDate": "2000-01-01", "parent": w.ref("villages")})
	w.define("organisationUnits", "city", map[string]any{"openingDate": "2000-01-01", "parent": w.ref("country")})
	units := []any{w.ref("soloy"), w.ref("cerro"), w.ref("city")}
	var attributes, ofType, ofProgram []any
	for _, a := range []struct {
		name, valueType string
		unique          bool
	}{{"firstName", "TEXT", false}, {"nationalID", "TEXT", true}, {"birthDate", "DATE", false}, {"phone", "PHONE_NUMBER", false}, {"community", "TEXT", false}, {"photo", "IMAGE", false}} {
		w.define("trackedEntityAttributes", a.name, map[string]any{"valueType": a.valueType, "aggregationType": "NONE", "unique": a.unique, "sharing": sharing})
		attributes = append(attributes, a.name)
		ofProgram = append(ofProgram, map[string]any{
			"id": w.id("in program " + a.name), "program": w.ref("program"), "trackedEntityAttribute": w.ref(a.name), "searchable": true, "sortOrder": len(attributes),
		})
	}
	for _, name := range []string{"firstName", "nationalID"} {
		ofType = append(ofType, map[string]any{"id": w.id("in type " + name), "trackedEntityAttribute": w.ref(name), "searchable": true, "displayInList": name == "firstName"})
	}
	w.define("trackedEntityTypes", "patient", map[string]any{"trackedEntityTypeAttributes": ofType, "sharing": sharing})
	for _, name := range []string{"weight", "remark", "wound", "chlorine", "leaflet"} {
		valueType := map[string]string{"weight": "NUMBER", "remark": "TEXT", "wound": "IMAGE", "chlorine": "NUMBER", "leaflet": "FILE_RESOURCE"}[name]
		w.define("dataElements", name, map[string]any{"valueType": valueType, "domainType": "TRACKER", "aggregationType": "NONE", "categoryCombo": w.defaultCombo(), "sharing": sharing})
	}
	var elements []any
	for _, name := range []string{"cases", "deaths"} {
		w.define("dataElements", name, map[string]any{"valueType": "INTEGER_ZERO_OR_POSITIVE", "domainType": "AGGREGATE", "aggregationType": "SUM", "categoryCombo": w.defaultCombo(), "zeroIsSignificant": true, "sharing": sharing})
		elements = append(elements, map[string]any{"id": w.id("in form " + name), "dataElement": w.ref(name), "dataSet": w.ref("form")})
	}
	stageElement := func(stage, element string) map[string]any {
		return map[string]any{"id": w.id(stage + " " + element), "programStage": w.ref(stage), "dataElement": w.ref(element), "compulsory": false}
	}
	w.define("dataElements", "sheet", map[string]any{"valueType": "FILE_RESOURCE", "domainType": "AGGREGATE", "aggregationType": "NONE", "categoryCombo": w.defaultCombo(), "sharing": sharing})
	elements = append(elements, map[string]any{"id": w.id("in form sheet"), "dataElement": w.ref("sheet"), "dataSet": w.ref("form")})
	w.define("programStages", "visit", map[string]any{
		"program": w.ref("program"), "repeatable": true, "sharing": sharing, "programStageDataElements": []any{stageElement("visit", "weight"), stageElement("visit", "remark"), stageElement("visit", "wound")},
	})
	w.define("programStages", "sample", map[string]any{"program": w.ref("water"), "sharing": sharing, "programStageDataElements": []any{stageElement("sample", "chlorine"), stageElement("sample", "leaflet")}})
	w.define("programs", "program", map[string]any{
		"programType": "WITH_REGISTRATION", "trackedEntityType": w.ref("patient"), "categoryCombo": w.defaultCombo(), "accessLevel": "OPEN",
		"selectEnrollmentDatesInFuture": w.ahead, "selectIncidentDatesInFuture": w.ahead,
		"organisationUnits": units, "programStages": []any{w.ref("visit")}, "programTrackedEntityAttributes": ofProgram, "sharing": sharing,
	})
	w.define("programs", "water", map[string]any{
		"programType": "WITHOUT_REGISTRATION", "categoryCombo": w.defaultCombo(), "accessLevel": "OPEN", "organisationUnits": units,
		"programStages": []any{w.ref("sample")}, "sharing": sharing,
	})
	end := map[string]any{"relationshipEntity": "TRACKED_ENTITY_INSTANCE", "trackedEntityType": w.ref("patient")}
	w.define("relationshipTypes", "mother", map[string]any{"bidirectional": false, "fromToName": "mother of", "fromConstraint": end, "toConstraint": end, "sharing": sharing})
	openFuturePeriods := 2
	if w.ahead {
		openFuturePeriods = 40 * 12
	}
	w.define("dataSets", "form", map[string]any{
		"periodType": "Monthly", "categoryCombo": w.defaultCombo(), "dataSetElements": elements, "organisationUnits": units, "sharing": sharing, "openFuturePeriods": openFuturePeriods,
	})
	ctx := w.t.Context()
	if err := w.central.ClearCache(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.cleanUp)
	result, err := w.central.ImportMetadata(ctx, w.metadata, dhis2api.MetadataImportOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if result.Status != "OK" {
		w.t.Fatalf("central does not take the suite's metadata: %s", asJSON(result))
	}
	w.enter(w.central, "country")
	w.central = w.connect(orchestrator.Central, w.central.BaseURL()) // a session keeps the units it began with
}

// enter gives the account at a server a unit to work in, in addition to those it has.
func (w *world) enter(client *dhis2api.Client, unit string) {
	w.t.Helper()
	me, err := client.Me(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	with := func(refs []dhis2api.Ref) []string {
		ids := []string{w.id(unit)}
		for _, r := range refs {
			ids = append(ids, r.ID)
		}
		return ids
	}
	units := dhis2api.UserUnits{Capture: with(me.OrganisationUnits), View: with(me.DataViewOrganisationUnits), Search: with(me.TeiSearchOrganisationUnits)}
	if err := client.SetUserUnits(w.t.Context(), me.ID, units); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) defaultCombo() map[string]any {
	for combo, err := range dhis2api.ListAs[dhis2api.Ref](w.t.Context(), w.central, "categoryCombos", dhis2api.ListQuery{Fields: "id", Filters: []string{"name:eq:default"}}) {
		if err != nil {
			w.t.Fatal(err)
		}
		return map[string]any{"id": combo.ID}
	}
	w.t.Fatal("central has no default category combo")
	return nil
}

// patient is a tracked entity with an enrollment and one visit.
func (w *world) patient(name string, attributes map[string]string) *dhis2api.TrackedEntity {
	p := &dhis2api.TrackedEntity{TrackedEntity: w.id(name), TrackedEntityType: w.id("patient"), OrgUnit: w.id("soloy")}
	attributes["firstName"] = name
	for _, attribute := range slices.Sorted(maps.Keys(attributes)) {
		p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: w.id(attribute), Value: attributes[attribute]})
	}
	p.Enrollments = []*dhis2api.Enrollment{{
		Enrollment: w.id(name + "'s enrollment"), TrackedEntity: p.TrackedEntity, Program: w.id("program"), OrgUnit: w.id("soloy"), Status: "ACTIVE",
		EnrolledAt: "2026-05-04", OccurredAt: "2026-05-04",
		Events: []*dhis2api.Event{w.visit(name, "first visit", "61.5")},
	}}
	return p
}

func (w *world) visit(patient, name, weight string) *dhis2api.Event {
	return &dhis2api.Event{
		Event: w.id(patient + "'s " + name), Program: w.id("program"), ProgramStage: w.id("visit"), Enrollment: w.id(patient + "'s enrollment"),
		TrackedEntity: w.id(patient), OrgUnit: w.id("soloy"), Status: "ACTIVE", OccurredAt: "2026-05-04T09:00:00.000",
		DataValues: []dhis2api.EventDataValue{{DataElement: w.id("weight"), Value: weight}},
	}
}

func (w *world) patientsAtCentral() {
	w.t.Helper()
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
		w.patient("Ana", map[string]string{"phone": "6000-0001", "community": "Soloy"}),
		w.patient("Berta", map[string]string{"phone": "6000-0002", "birthDate": "1990-01-01", "nationalID": "8-1-1"}),
		w.patient("Carlos", map[string]string{"phone": "6000-0003"}),
		w.patient("Delia", map[string]string{"phone": "6000-0004"}),
		w.patient("Elena", map[string]string{"phone": "6000-0005"}),
	}, Events: []*dhis2api.Event{{
		Event: w.id("well"), Program: w.id("water"), ProgramStage: w.id("sample"), OrgUnit: w.id("soloy"), Status: "COMPLETED", OccurredAt: "2026-05-04",
		DataValues: []dhis2api.EventDataValue{{DataElement: w.id("chlorine"), Value: "0.4"}},
	}}}, "")
	w.values(w.central, "202605", map[string]string{"cases": "3", "deaths": "0"})
}

func (w *world) clinicDay() {
	w.t.Helper()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	change := func(name string, values map[string]string) *dhis2api.TrackedEntity {
		p := &dhis2api.TrackedEntity{TrackedEntity: w.id(name), TrackedEntityType: w.id("patient"), OrgUnit: w.id("soloy")}
		for _, attribute := range slices.Sorted(maps.Keys(values)) {
			p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: w.id(attribute), Value: values[attribute]})
		}
		return p
	}
	zoe := w.patient("Zoe", map[string]string{"nationalID": "8-999-9", "phone": "6000-0099"})
	w.upload(w.local, "Yara's face", "image/png", picture(1))
	w.upload(w.local, "Delia's burn", "image/png", picture(2))
	yara := w.patient("Yara", map[string]string{"nationalID": "8-999-8", "photo": w.id("Yara's face")})
	yara.Enrollments[0].Notes = []dhis2api.Note{{Note: w.id("note"), Value: "came on foot"}}
	visited := w.visit("Delia", "first visit", "62.0")
	visited.DataValues = append(visited.DataValues,
		dhis2api.EventDataValue{DataElement: w.id("remark"), Value: "cough"}, dhis2api.EventDataValue{DataElement: w.id("wound"), Value: w.id("Delia's burn")})
	visited.Status = "COMPLETED"
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
		change("Ana", map[string]string{"phone": "6111-0001"}),
		change("Berta", map[string]string{"phone": "6111-0002", "birthDate": "1991-02-02"}),
		change("Carlos", map[string]string{"phone": "6111-0003"}),
		zoe, yara,
	}, Events: []*dhis2api.Event{
		visited, w.visit("Ana", "second visit", "60.1"),
		{
			Event: w.id("spring"), Program: w.id("water"), ProgramStage: w.id("sample"), OrgUnit: w.id("cerro"), Status: "COMPLETED", OccurredAt: "2026-05-05",
			DataValues: []dhis2api.EventDataValue{{DataElement: w.id("chlorine"), Value: "0.1"}},
		},
	}}, "")
	w.send(w.local, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{
		w.mother("Zoe", "Ana"), w.mother("Ana", "Yara"),
	}}, "")
	w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: w.id("Elena's first visit")}}}, dhis2api.ImportStrategyDelete)
	w.values(w.local, "202605", map[string]string{"cases": "5"})
}

func (w *world) mother(of, child string) *dhis2api.Relationship {
	return &dhis2api.Relationship{
		Relationship: w.id(of + " mother of " + child), RelationshipType: w.id("mother"),
		From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, w.id(of)), To: dhis2api.ItemRef(dhis2api.KindTrackedEntity, w.id(child)),
	}
}

func (w *world) meanwhileAtCentral() {
	w.t.Helper()
	change := func(name, attribute, value string) *dhis2api.TrackedEntity {
		return &dhis2api.TrackedEntity{
			TrackedEntity: w.id(name), TrackedEntityType: w.id("patient"), OrgUnit: w.id("soloy"),
			Attributes: []dhis2api.Attribute{{Attribute: w.id(attribute), Value: value}},
		}
	}
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
		change("Ana", "community", "Boca de Soloy"),
		change("Berta", "phone", "6222-0002"),
		w.patient("Xenia", map[string]string{"nationalID": "8-999-9"}),
	}}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Carlos")}}}, dhis2api.ImportStrategyDelete)
	w.values(w.central, "202605", map[string]string{"deaths": "1"})
}

// checkHome holds central and the report against what the day should have come to.
func (w *world) checkHome(r *report.Report) {
	w.t.Helper()
	t := w.t
	t.Logf("report: %s", asJSON(r))
	w.expectAttributes("Ana", map[string]string{"phone": "6111-0001", "community": "Boca de Soloy"})
	w.expectAttributes("Berta", map[string]string{"phone": "6222-0002", "birthDate": "1991-02-02"})
	w.expectAttributes("Yara", map[string]string{"nationalID": "8-999-8"})
	if _, err := w.central.TrackedEntity(t.Context(), w.id("Zoe"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("Zoe, whose number is Xenia's, is at central: %v", err)
	}
	if _, err := w.central.Event(t.Context(), w.id("Elena's first visit"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("Elena's event, deleted on the kit, is at central: %v", err)
	}
	for _, event := range []string{"Ana's second visit", "spring"} {
		if _, err := w.central.Event(t.Context(), w.id(event), dhis2api.Lookup{}); err != nil {
			t.Errorf("%s is not at central: %v", event, err)
		}
	}
	delia, err := w.central.Event(t.Context(), w.id("Delia's first visit"), dhis2api.Lookup{})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, v := range delia.DataValues {
		values[v.DataElement] = v.Value
	}
	if values[w.id("weight")] != "62.0" || values[w.id("remark")] != "cough" || delia.Status != "COMPLETED" {
		t.Errorf("Delia's visit at central: %s %v", delia.Status, values)
	}
	if _, err := w.central.Relationship(t.Context(), w.id("Ana mother of Yara"), dhis2api.Lookup{}); err != nil {
		t.Errorf("the relationship of Ana and Yara is not at central: %v", err)
	}
	enrollment, err := w.central.Enrollment(t.Context(), w.id("Yara's enrollment"), dhis2api.Lookup{})
	if err != nil || len(enrollment.Notes) != 1 || enrollment.Notes[0].Value != "came on foot" {
		t.Errorf("Yara's enrollment at central: %s, %v", asJSON(enrollment), err)
	}
	w.expectFile(dhis2api.FileValue{TrackedEntity: w.id("Yara"), Attribute: w.id("photo"), Program: w.id("program")}, picture(1))
	w.expectFile(dhis2api.FileValue{Event: w.id("Delia's first visit"), DataElement: w.id("wound")}, picture(2))
	if want := (report.Files{Home: 2, Bytes: int64(len(picture(1)) + len(picture(2)))}); r.Files != want {
		t.Errorf("the report has files %+v, want %+v", r.Files, want)
	}
	if got := w.formValues(w.central, "202605"); got["cases"] != "5" || got["deaths"] != "1" {
		t.Errorf("the form at central holds %v", got)
	}

	w.expectConflict(r, "trackedEntity", w.id("Berta"), w.id("phone"), "6000-0002", "6111-0002", "6222-0002")
	w.expectConflict(r, "trackedEntity", w.id("Carlos"), w.id("phone"), "6000-0003", "6111-0003", "")
	if len(r.Conflicts) != 2 {
		t.Errorf("%d conflicts, want Berta's and Carlos's phones: %s", len(r.Conflicts), asJSON(r.Conflicts))
	}
	refused := slices.ContainsFunc(r.Refusals, func(no report.Refusal) bool { return no.UID == w.id("Zoe") && no.Code == "E1064" })
	if !refused {
		t.Errorf("Zoe is not among the refusals with E1064: %s", asJSON(r.Refusals))
	}
	waits := slices.ContainsFunc(r.Waiting, func(held report.Waiting) bool { return held.UID == w.id("Zoe mother of Ana") })
	if !waits {
		t.Errorf("Zoe's relationship does not wait: %s", asJSON(r.Waiting))
	}
	s := r.Sums
	if s.Total != s.Pushed+s.AlreadyThere+s.Held+s.OutOfScope || s.Open != 0 {
		t.Errorf("the sums do not add up: %+v", s)
	}
	// Berta's and Carlos's phones; Zoe, her enrollment, her visit and her relationship.
	if s.Held != 6 {
		t.Errorf("%d changes are held, want 6", s.Held)
	}
	// Ana's phone, Berta's birth date, Yara with enrollment and visit, Delia's weight, remark, wound and status (with
	// its date), Ana's second visit, the spring, Ana's motherhood, Elena's event, the cases.
	if want := 13; s.Pushed < want {
		t.Errorf("%d changes were pushed, want %d at least", s.Pushed, want)
	}
	if r.ExitCode() != 4 {
		t.Errorf("exit code %d, want 4: conflicts wait", r.ExitCode())
	}
}

// nextTrip goes out again with what is held: nothing of it may be overwritten, and it must show again.
func (w *world) nextTrip(first *report.Report) {
	w.t.Helper()
	if receipt := w.prepare(); receipt.Arrived != 0 {
		w.t.Errorf("%d changes are said to have arrived while the kit was loaded, and nobody sent any", receipt.Arrived)
	}
	for name, phone := range map[string]string{"Berta": "6111-0002", "Carlos": "6111-0003", "Zoe": "6000-0099"} {
		if got := w.attributes(w.local, name)["phone"]; got != phone {
			w.t.Errorf("after the next prepare %s's phone on the kit is %q, want %q", name, got, phone)
		}
	}
	again := w.reconcile(false)
	if again.Sent != 0 {
		w.t.Errorf("the next trip sent %d operations, and nothing was done on it", again.Sent)
	}
	if again.Trip == first.Trip {
		w.t.Errorf("the next trip is called %s too", again.Trip)
	}
	w.expectConflict(again, "trackedEntity", w.id("Berta"), w.id("phone"), "6000-0002", "6111-0002", "6222-0002")
	if again.Sums.Held != first.Sums.Held {
		w.t.Errorf("%d changes are held on the next trip, %d were on the first: %s", again.Sums.Held, first.Sums.Held, asJSON(again))
	}
}

func (w *world) open() *orchestrator.Kit {
	w.t.Helper()
	return w.openTelling(orchestrator.Quiet{})
}

func (w *world) openTelling(progress orchestrator.Progress) *orchestrator.Kit {
	w.t.Helper()
	kit, err := orchestrator.Open(orchestrator.OpenOptions{
		Dir: w.kitDir, Getenv: w.getenv, Now: w.now, Sleep: w.sleep, Patience: w.patience, ConfigDirectory: filepath.Join(w.kitDir, ".config", "fieldkit"), Version: "acceptance", Progress: progress,
		JournalWrite: w.journalWrite,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return kit
}

func (w *world) prepare() *orchestrator.PrepareReceipt {
	w.t.Helper()
	kit := w.open()
	receipt, err := kit.Prepare(w.t.Context(), orchestrator.PrepareOptions{})
	if err := errors.Join(err, kit.Close()); err != nil {
		w.t.Fatalf("prepare: %v", err)
	}
	return receipt
}

func (w *world) reconcile(planOnly bool) *report.Report {
	w.t.Helper()
	kit := w.open()
	r, err := kit.Reconcile(w.t.Context(), orchestrator.ReconcileOptions{PlanOnly: planOnly})
	if err := errors.Join(err, kit.Close()); err != nil {
		w.t.Fatalf("reconcile: %v", err)
	}
	expectPublishedForms(w.t, w.kitDir, r.Trip)
	if by := r.Candidates.By; w.database != "" && by != report.ByTransaction {
		w.t.Errorf("the changes were found by %s: %s", by, r.Candidates.Reason)
	}
	return r
}

func (w *world) send(client *dhis2api.Client, payload dhis2api.TrackerPayload, strategy dhis2api.ImportStrategy) {
	w.t.Helper()
	r, err := client.Import(w.t.Context(), payload, dhis2api.ImportOptions{Strategy: strategy, AtomicMode: dhis2api.AtomicAll})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(r.Errors) > 0 {
		w.t.Fatalf("%s refuses: %s", client.BaseURL(), asJSON(r.Errors))
	}
}

func (w *world) values(client *dhis2api.Client, period string, values map[string]string) {
	w.t.Helper()
	var set dhis2api.DataValueSet
	for _, element := range slices.Sorted(maps.Keys(values)) {
		set.DataValues = append(set.DataValues, &dhis2api.DataValue{DataElement: w.id(element), Period: period, OrgUnit: w.id("soloy"), Value: values[element]})
	}
	r, err := client.ImportDataValues(w.t.Context(), set, dhis2api.DataValueImportOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(r.Conflicts) > 0 {
		w.t.Fatalf("%s refuses values: %s", client.BaseURL(), asJSON(r))
	}
}

func (w *world) formValues(client *dhis2api.Client, period string) map[string]string {
	w.t.Helper()
	values := map[string]string{}
	query := dhis2api.DataValueQuery{DataSets: []string{w.id("form")}, Periods: []string{period}, OrgUnits: []string{w.id("soloy")}}
	for value, err := range client.DataValues(w.t.Context(), query) {
		if err != nil {
			w.t.Fatal(err)
		}
		for _, name := range []string{"cases", "deaths"} {
			if w.id(name) == value.DataElement {
				values[name] = value.Value
			}
		}
	}
	return values
}

func (w *world) attributes(client *dhis2api.Client, name string) map[string]string {
	w.t.Helper()
	p, err := client.TrackedEntity(w.t.Context(), w.id(name), dhis2api.Lookup{Program: w.id("program")})
	if err != nil {
		w.t.Errorf("%s at %s: %v", name, client.BaseURL(), err)
		return nil
	}
	values := map[string]string{}
	for _, attribute := range []string{"firstName", "nationalID", "birthDate", "phone", "community"} {
		for _, a := range p.Attributes {
			if a.Attribute == w.id(attribute) {
				values[attribute] = a.Value
			}
		}
	}
	return values
}

func (w *world) expectAttributes(name string, want map[string]string) {
	w.t.Helper()
	got := w.attributes(w.central, name)
	for attribute, value := range want {
		if got[attribute] != value {
			w.t.Errorf("%s's %s at central is %q, want %q", name, attribute, got[attribute], value)
		}
	}
}

func (w *world) expectConflict(r *report.Report, kind, uid, field, base, local, central string) {
	w.t.Helper()
	for _, c := range r.Conflicts {
		if c.Kind == kind && c.UID == uid && c.Field == field {
			if c.Base != base || c.Local != local || c.Central != central {
				w.t.Errorf("conflict of %s %s: base %q, local %q, central %q; want %q, %q, %q", uid, field, c.Base, c.Local, c.Central, base, local, central)
			}
			return
		}
	}
	w.t.Errorf("no conflict of %s %s %s: %s", kind, uid, field, asJSON(r.Conflicts))
}

// timestamps are when everything of the run was last changed at central.
func (w *world) timestamps() []string {
	w.t.Helper()
	var times []string
	query := dhis2api.TrackedEntityQuery{Program: w.id("program"), OrgUnits: []string{w.id("country")}, OrgUnitMode: dhis2api.OrgUnitModeDescendants}
	for p, err := range w.central.TrackedEntities(w.t.Context(), query) {
		if err != nil {
			w.t.Fatal(err)
		}
		times = append(times, p.TrackedEntity+" "+p.UpdatedAt)
		for _, e := range p.Enrollments {
			times = append(times, e.Enrollment+" "+e.UpdatedAt)
			for _, v := range e.Events {
				times = append(times, v.Event+" "+v.UpdatedAt)
			}
		}
	}
	slices.Sort(times)
	return times
}

// cleanUp removes what the run made, on both servers, as far as a server lets it.
func (w *world) cleanUp() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), time.Minute)
	defer cancel()
	for _, client := range []*dhis2api.Client{w.central, w.local} {
		if client == nil {
			continue // the kit has its own containers: they go as a whole
		}
		if err := w.cleanUpAt(ctx, client); err != nil {
			w.t.Logf("cleaning up at %s: %v", client.BaseURL(), err)
		}
	}
}

func (w *world) cleanUpAt(ctx context.Context, client *dhis2api.Client) error {
	var people dhis2api.TrackerPayload
	query := dhis2api.TrackedEntityQuery{Program: w.id("program"), OrgUnits: []string{w.id("country")}, OrgUnitMode: dhis2api.OrgUnitModeDescendants, Paging: dhis2api.Paging{Fields: "trackedEntity"}}
	for p, err := range client.TrackedEntities(ctx, query) {
		if err != nil {
			return err
		}
		people.TrackedEntities = append(people.TrackedEntities, &dhis2api.TrackedEntity{TrackedEntity: p.TrackedEntity})
	}
	for _, event := range []string{"well", "spring"} {
		people.Events = append(people.Events, &dhis2api.Event{Event: w.id(event)})
	}
	if _, err := client.Import(ctx, people, dhis2api.ImportOptions{Strategy: dhis2api.ImportStrategyDelete}); err != nil {
		return err
	}
	// Nothing before what it hangs on. A server keeps deleted records as tombstones until its own maintenance
	// purges them, and until then it lets go of nothing that they point to: what stays is named.
	var kept []string
	for _, class := range []string{
		"dataSets", "relationshipTypes", "programs", "programStages", "trackedEntityTypes", "trackedEntityAttributes", "dataElements", "organisationUnits",
	} {
		for _, object := range slices.Backward(w.metadata[class]) {
			err := client.Do(ctx, http.MethodDelete, "/api/"+class+"/"+object["id"].(string), nil, nil, nil)
			if err != nil && !dhis2api.NotFound(err) {
				kept = append(kept, class+" "+object["id"].(string))
			}
		}
	}
	if len(kept) > 0 {
		return fmt.Errorf("the server keeps %s", strings.Join(kept, ", "))
	}
	return nil
}

func asJSON(v any) string {
	raw, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// crowd registers people at central, in batches.
func (w *world) crowd(people int) {
	w.t.Helper()
	var payload dhis2api.TrackerPayload
	for i := range people {
		name := fmt.Sprintf("person %d", i)
		p := w.patient(name, map[string]string{"nationalID": fmt.Sprintf("N-%d", i), "phone": fmt.Sprintf("6%07d", i)})
		p.Enrollments[0].Events = append(p.Enrollments[0].Events, w.visit(name, "second visit", "62.5"))
		payload.TrackedEntities = append(payload.TrackedEntities, p)
		if len(payload.TrackedEntities) == 500 || i == people-1 {
			w.send(w.central, payload, "")
			payload = dhis2api.TrackerPayload{}
		}
	}
}

// crowdChanges changes on the kit every tracked entity of a crowd, its enrollment and its two events, a field of each.
func (w *world) crowdChanges(people int) {
	w.t.Helper()
	var payload dhis2api.TrackerPayload
	for i := range people {
		name := fmt.Sprintf("person %d", i)
		p := w.patient(name, map[string]string{"nationalID": fmt.Sprintf("N-%d", i), "phone": fmt.Sprintf("7%07d", i)})
		p.Enrollments[0].FollowUp = true
		p.Enrollments[0].Events[0].DataValues[0].Value = "70.5"
		p.Enrollments[0].Events = append(p.Enrollments[0].Events, w.visit(name, "second visit", "71.5"))
		payload.TrackedEntities = append(payload.TrackedEntities, p)
		if len(payload.TrackedEntities) == 500 || i == people-1 {
			w.send(w.local, payload, "")
			payload = dhis2api.TrackerPayload{}
		}
	}
}
