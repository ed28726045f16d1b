package snapshot

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// The whole of loading between two servers: simulated ones, or those that FIELDKIT_TEST_CENTRAL and
// FIELDKIT_TEST_LOCAL name (account admin:district, central with nothing but what the test puts there).

func testServers(t *testing.T, version string) (central, local *dhis2api.Client) {
	t.Helper()
	connect := func(variable string) *dhis2api.Client {
		url := os.Getenv(variable)
		if url == "" {
			url = simulated(t, version)
		}
		client, err := dhis2api.Connect(t.Context(), url, dhis2api.Credentials{Username: "admin", Password: "district"}, dhis2api.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	return connect("FIELDKIT_TEST_CENTRAL"), connect("FIELDKIT_TEST_LOCAL")
}

// simulated is the address of a fresh simulated server.
func simulated(t *testing.T, version string) string {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	return listener.URL
}

// again is a client with a session of its own: one keeps the units that its account had when it began.
func again(t *testing.T, client *dhis2api.Client) *dhis2api.Client {
	t.Helper()
	credentials := dhis2api.Credentials{Username: "admin", Password: "district"}
	fresh, err := dhis2api.Connect(t.Context(), client.BaseURL(), credentials, dhis2api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

// clinicRecords gives central the clinic's metadata and a few records of every sort.
func clinicRecords(t *testing.T, central *dhis2api.Client) *dhis2api.Client {
	t.Helper()
	if err := central.ClearCache(t.Context()); err != nil {
		t.Fatal(err)
	}
	metadata, err := os.ReadFile("../dhis2api/testdata/clinic/metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	report, err := central.ImportMetadata(t.Context(), bytes.NewReader(metadata), dhis2api.MetadataImportOptions{})
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("clinic metadata: %v %+v", err, report)
	}
	me, err := central.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	panama := []string{"zDtBfyIHGje"}
	if err := central.SetUserUnits(t.Context(), me.ID, dhis2api.UserUnits{Capture: panama, View: panama, Search: panama}); err != nil {
		t.Fatal(err)
	}
	central = again(t, central)
	photo, err := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
	if err != nil {
		t.Fatal(err)
	}
	_, err = central.UploadFile(t.Context(), "ldPhoto0001", "photo.png", "image/png", "DATA_VALUE", bytes.NewReader(photo))
	if err != nil && !isStatus(err) {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/load-records.json")
	if err != nil {
		t.Fatal(err)
	}
	var records struct {
		dhis2api.TrackerPayload
		// Odd are records that validation refuses: history, from before a rule was made.
		Odd         dhis2api.TrackerPayload
		DataValues  []*dhis2api.DataValue
		Completions []*dhis2api.Completion
	}
	if err := json.Unmarshal(raw, &records); err != nil {
		t.Fatal(err)
	}
	store := func(payload dhis2api.TrackerPayload, options dhis2api.ImportOptions) {
		t.Helper()
		report, err := central.Import(t.Context(), payload, options)
		if err != nil || len(report.Errors) > 0 {
			t.Fatalf("records: %v %+v", err, report)
		}
	}
	store(records.TrackerPayload, dhis2api.ImportOptions{})
	// Without validation a note that is there already breaks the whole import: not twice.
	if _, err := central.TrackedEntity(t.Context(), "ldPerson005", dhis2api.Lookup{}); dhis2api.NotFound(err) {
		store(records.Odd, dhis2api.ImportOptions{ValidationMode: "SKIP", SkipRuleEngine: true})
	}
	if err := central.TransferOwnership(t.Context(), "ldPerson002", "xIkcI00xjZE", "pt1tlNJMGea"); err != nil {
		t.Fatal(err)
	}
	if _, err := central.ImportDataValues(t.Context(), dhis2api.DataValueSet{DataValues: records.DataValues}, dhis2api.DataValueImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := central.ImportCompletions(t.Context(), records.Completions, dhis2api.DataValueImportOptions{}); err != nil {
		t.Fatal(err)
	}
	return central
}

// takeFace takes a face of the scope into a directory, metadata included for the taken one.
func takeFace(t *testing.T, server *dhis2api.Client, w *Writer) {
	t.Helper()
	if err := Take(t.Context(), server, w, TakeOptions{Warn: func(err error) { t.Log(err) }}); err != nil {
		t.Fatal(err)
	}
}

// contentOf is the canonical content of a face, by object.
func contentOf(t *testing.T, s *Snapshot, face Face, zone *time.Location) map[merge.Ref]map[string]string {
	t.Helper()
	c := Canonical{Zone: zone}
	var f merge.Face
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range s.Manifest().Faces[face].Parts {
		switch part.Kind {
		case TrackedEntities:
			for object, err := range s.TrackedEntities(t.Context(), part) {
				check(err)
				c.AddTrackedEntity(&f, object)
			}
		case Events:
			for object, err := range s.Events(t.Context(), part) {
				check(err)
				c.AddEvent(&f, object)
			}
		case Relationships:
			for object, err := range s.Relationships(t.Context(), part) {
				check(err)
				c.AddRelationship(&f, object)
			}
		case DataValues:
			for object, err := range s.DataValues(t.Context(), part) {
				check(err)
				c.AddDataValue(&f, object)
			}
		case Completions:
			for object, err := range s.Completions(t.Context(), part) {
				check(err)
				c.AddCompletion(&f, object)
			}
		case Document:
		}
	}
	content := map[merge.Ref]map[string]string{}
	for ref, object := range f.Objects {
		content[ref] = object.Fields
	}
	return content
}

func TestLoadFromServerToServer(t *testing.T) {
	if os.Getenv("FIELDKIT_TEST_CENTRAL") != "" {
		loadFromServerToServer(t, "")
		return
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) { loadFromServerToServer(t, version) })
	}
}

func loadFromServerToServer(t *testing.T, version string) {
	t.Helper()
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
	for _, unit := range metadata["organisationUnits"] {
		if id := objectID(unit); id == "YHa4SyAIFQk" {
			t.Errorf("unit %s of another district was taken", id)
		}
	}
	for _, round := range []string{"into an empty server", "again"} {
		receipt, err := LoadMetadata(t.Context(), local, metadata, scope, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(receipt.Refused)+len(receipt.Missing) > 0 {
			t.Errorf("metadata %s: refused %v, missing %v", round, receipt.Refused, receipt.Missing)
		}
	}
	me, err := local.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, units := range [][]dhis2api.Ref{me.OrganisationUnits, me.DataViewOrganisationUnits, me.TeiSearchOrganisationUnits} {
		if len(units) < 2 {
			t.Errorf("the account has units %v, want the scope's root and its ancestor", units)
		}
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
	for _, round := range []string{"first", "second"} {
		w = openFace(t, directory, Loaded, keys, scope, local)
		receipt, err := Load(t.Context(), s, local, w, LoadOptions{Central: central, BatchSize: 2})
		if err != nil {
			t.Fatal(err)
		}
		if len(receipt.Refused)+len(receipt.Omitted) > 0 {
			t.Errorf("%s load: refused %+v, omitted %+v", round, receipt.Refused, receipt.Omitted)
		}
		for kind, count := range receipt.Counts {
			t.Logf("%s load: %s %+v", round, kind, *count)
			if count.Taken != count.Loaded {
				t.Errorf("%s load: %d %s taken, %d loaded", round, count.Taken, kind, count.Loaded)
			}
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
	if len(taken) < 15 {
		t.Errorf("only %d objects were taken", len(taken))
	}
	if local.Version().Minor == 41 {
		// DHIS2 2.41 sets an enrollment's completion to the moment of the import.
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
	content, err := local.ValueFile(t.Context(), dhis2api.FileValue{TrackedEntity: "ldPerson001", Attribute: "nlKzWyTL0GL", Program: "xIkcI00xjZE"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	if photo, err := io.ReadAll(content); err != nil || len(photo) != 70 {
		t.Errorf("the photograph has %d bytes on local: %v", len(photo), err)
	}
}

func openFace(t *testing.T, directory string, face Face, keys *Keys, scope *Scope, server *dhis2api.Client) *Writer {
	t.Helper()
	identity, err := IdentifyServer(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	about := About{Scope: scope, Server: identity, Account: "admin"}
	w, err := OpenWriter(directory, face, keys, about, WriterOptions{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestLoadMetadataBesideOtherData loads over a server that has objects of its own under the same names and
// codes: they stay, and what cannot be beside them is named.
func TestLoadMetadataBesideOtherData(t *testing.T) {
	if os.Getenv("FIELDKIT_TEST_LOCAL") != "" {
		t.Skip("it would leave its objects behind")
	}
	central, local := testServers(t, "2.42.5.2")
	central = clinicRecords(t, central)
	scope, err := ResolveScope(t.Context(), central, Wanted{OrgUnits: []string{"PA-BOC"}})
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := TakeMetadata(t.Context(), central, scope)
	if err != nil {
		t.Fatal(err)
	}
	own := `{"organisationUnits": [{"id": "ownUnit0001", "name": "Own", "shortName": "Own", "openingDate": "2020-01-01"}],
		"constants": [{"id": "ownConstant", "name": "Clinic days per month", "shortName": "Days", "code": "CLINIC_DAYS", "value": 1}]}`
	if _, err := local.ImportMetadata(t.Context(), strings.NewReader(own), dhis2api.MetadataImportOptions{}); err != nil {
		t.Fatal(err)
	}
	me, err := local.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	units := dhis2api.UserUnits{Capture: []string{"ownUnit0001"}, View: []string{"ownUnit0001"}, Search: []string{"ownUnit0001"}}
	if err := local.SetUserUnits(t.Context(), me.ID, units); err != nil {
		t.Fatal(err)
	}
	receipt, err := LoadMetadata(t.Context(), local, metadata, scope, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(receipt.Refused) != 1 || receipt.Refused[0].UID != "TvIPZ7rHiTb" || receipt.Refused[0].Code != "E5003" {
		t.Errorf("refused %+v, want the constant with the name and code of another", receipt.Refused)
	}
	if len(receipt.Missing) > 0 {
		t.Errorf("missing %v", receipt.Missing)
	}
	if me, err = local.Me(t.Context()); err != nil {
		t.Fatal(err)
	}
	if me.OrganisationUnits[0].ID != "ownUnit0001" && len(me.OrganisationUnits) != 3 {
		t.Errorf("the account's units are %v, want its own and the scope's", me.OrganisationUnits)
	}
	var constant struct{ Value json.Number }
	if err := local.Get(t.Context(), "constants", "ownConstant", "value", &constant); err != nil || cmp.Or(strings.TrimSuffix(constant.Value.String(), ".0"), "") != "1" {
		t.Errorf("the server's own constant is now %v: %v", constant.Value, err)
	}
}
