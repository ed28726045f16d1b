package snapshot

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// closureScope is the scope of the closure tests: two programs and two forms at one half of the units.
func closureScope(t *testing.T, central *dhis2api.Client) *Scope {
	t.Helper()
	scope, err := ResolveScope(t.Context(), central, Wanted{
		OrgUnits: []string{"PA-BOC"}, Programs: []string{"VISIT", "WATER", "CL_ARRIVE"}, DataSets: []string{"DS_MONTH", "CL_WEEKLY"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return scope
}

// closureMetadata is what central holds: the clinic's metadata and testdata/closure.json. Objects that the scope does not
// need have ids with an F for far.
func closureMetadata(t *testing.T, central *dhis2api.Client) map[string][]map[string]any {
	t.Helper()
	if err := central.ClearCache(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := map[string][]map[string]any{}
	for _, file := range []string{"../dhis2api/testdata/clinic/metadata.json", "testdata/closure.json"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		report, err := central.ImportMetadata(t.Context(), bytes.NewReader(content), dhis2api.MetadataImportOptions{})
		if err != nil || len(report.Problems) > 0 {
			t.Fatalf("%s: %v %+v", file, err, report)
		}
		var metadata map[string][]map[string]any
		if err := json.Unmarshal(content, &metadata); err != nil {
			t.Fatal(err)
		}
		for class, objects := range metadata {
			all[class] = append(all[class], objects...)
		}
	}
	return all
}

// ofOthers are the ids of the fixtures' objects that the scope does not need. Of the units outside it needs Soloy: a
// category option is for Soloy alone.
func ofOthers() []string {
	return []string{
		"clElementF1", "clElementF2", "clValidateF", "clOptionF01", "clOptionSeF", "clOptionGrF", "clStageFar1", "clProgramFa", "clFilterFar",
		"clEventFilF", "clRelationF", "clUnitGrFar", "E4Y9h4vPMzj",
	}
}

// stored is an object as a server holds it, without what is the server's own: who wrote it and when. Lists of references
// have no order, but for options.
func stored(t *testing.T, server *dhis2api.Client, class, id string) map[string]any {
	t.Helper()
	object := map[string]any{}
	err := server.Get(t.Context(), class, id, ":owner", &object)
	if dhis2api.NotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var clean func(value any)
	clean = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			for _, own := range []string{
				"created", "lastUpdated", "createdBy", "lastUpdatedBy", "user", "access", "href", "owner", "displayName", "version",
				"passwordLastUpdated", "lastLogin", "path", "level", "hierarchyLevel", "favorites", "leaf",
			} {
				delete(value, own)
			}
			for _, inner := range value {
				clean(inner)
			}
		case []any:
			for _, inner := range value {
				clean(inner)
			}
		}
	}
	clean(object)
	for property, value := range object {
		if list, is := value.([]any); is && (class != "optionSets" || property != "options") {
			slices.SortFunc(list, func(a, b any) int {
				return strings.Compare(string(mustJSON(t, a)), string(mustJSON(t, b)))
			})
		}
	}
	return object
}

func mustJSON(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// pruneUnits removes from an object as central has it the units that are not carried, and where a nested list of
// references holds other things that are not, those.
func pruneUnits(object map[string]any, others []string) {
	for property, value := range object {
		if list, is := value.([]any); is {
			object[property] = slices.DeleteFunc(list, func(item any) bool {
				reference, _ := item.(map[string]any)
				id, _ := reference["id"].(string)
				return slices.Contains(others, id)
			})
		}
	}
}

// TestMetadataByClosure takes what a scope needs of a server that holds more, gives it to an empty one, and holds every
// object of the two against each other.
func TestMetadataByClosure(t *testing.T) {
	if os.Getenv("FIELDKIT_TEST_CENTRAL") != "" {
		metadataByClosure(t, "", false, ofOthers())
		return
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) { metadataByClosure(t, version, false, ofOthers()) })
	}
}

// TestAllMetadata takes everything, but for units elsewhere and a list of what stands in one of them.
func TestAllMetadata(t *testing.T) {
	metadataByClosure(t, "2.43.1", true, []string{"E4Y9h4vPMzj", "clEventFilF"})
}

func metadataByClosure(t *testing.T, version string, everything bool, others []string) {
	central, local := testServers(t, version)
	all := closureMetadata(t, central)
	scope := closureScope(t, central)
	scope.Wanted.AllMetadata = everything
	metadata, err := TakeMetadata(t.Context(), central, scope)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := LoadMetadata(t.Context(), local, metadata, scope, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(receipt.Refused)+len(receipt.Missing)+len(receipt.Differing) > 0 {
		t.Errorf("refused %v, missing %v, differing %v", receipt.Refused, receipt.Missing, receipt.Differing)
	}
	for _, class := range slices.Sorted(maps.Keys(all)) {
		for _, object := range all[class] {
			id := object["id"].(string)
			got := stored(t, local, class, id)
			if slices.Contains(others, id) {
				if got != nil {
					t.Errorf("%s %s is on the kit, and the scope does not need it", class, id)
				}
				continue
			}
			want := stored(t, central, class, id)
			pruneUnits(want, others)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s %s (-central +kit):\n%s", class, id, diff)
			}
		}
	}
}

// TestMentionedUnits: records name org units outside the scope. These come along for reference: the records load as they
// are, and nobody captures there.
func TestMentionedUnits(t *testing.T) {
	central, local := testServers(t, "2.43.1")
	closureMetadata(t, central)
	me, err := central.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := []string{panama}
	if err := central.SetUserUnits(t.Context(), me.ID, dhis2api.UserUnits{Capture: all, View: all, Search: all}); err != nil {
		t.Fatal(err)
	}
	// Somebody works in the whole country.
	if err := central.SetUserUnits(t.Context(), "v4VujyGC7dQ", dhis2api.UserUnits{Capture: all, Search: all}); err != nil {
		t.Fatal(err)
	}
	central = again(t, central)
	const boquete = "E4Y9h4vPMzj"
	patient := visitor(1, rioCana, "2026-05-04")
	patient.TrackedEntity, patient.Enrollments[0].Enrollment = "mtPatient01", "mtEnrollm01"
	for _, event := range patient.Enrollments[0].Events {
		event.Event, event.OrgUnit = "mtEvent0001", soloy
	}
	report, err := central.Import(t.Context(), dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{patient},
		Events: []*dhis2api.Event{{
			Event: "mtArrival01", Program: "clProgramEv", ProgramStage: "clStageEven", OrgUnit: rioCana, Status: "COMPLETED", OccurredAt: "2026-05-04",
			AttributeOptionCombo: "clCatOptCo1", DataValues: []dhis2api.EventDataValue{{DataElement: "clElementOU", Value: boquete}},
		}},
	}, dhis2api.ImportOptions{AtomicMode: dhis2api.AtomicAll})
	if err != nil || len(report.Errors) > 0 {
		t.Fatalf("%v %+v", err, report)
	}
	scope := closureScope(t, central)
	metadata, err := TakeMetadata(t.Context(), central, scope)
	if err != nil {
		t.Fatal(err)
	}
	directory, keys := t.TempDir(), testKeys(t)
	mentioned := map[string]bool{}
	w := openFace(t, directory, Taken, keys, scope, central)
	if err := Take(t.Context(), central, w, TakeOptions{Mentioned: func(unit string) { mentioned[unit] = true }}); err != nil {
		t.Fatal(err)
	}
	// What an earlier run met is met again.
	recalled := map[string]bool{}
	if err := Take(t.Context(), central, w, TakeOptions{Mentioned: func(unit string) { recalled[unit] = true }}); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{rioCana: true, soloy: true, boquete: true}
	for _, got := range []map[string]bool{mentioned, recalled} {
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("units that records name: %s", diff)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	units, err := TakeMentionedUnits(t.Context(), central, scope, slices.Sorted(maps.Keys(mentioned)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]string{boquete, "HqaTG4yv5kR", soloy, panama}, units.IDs("organisationUnits")); diff != "" {
		t.Errorf("units for reference: %s", diff)
	}
	receipt, err := LoadMetadata(t.Context(), local, metadata.With(units), scope, nil)
	if err != nil || len(receipt.Refused)+len(receipt.Missing)+len(receipt.Differing) > 0 {
		t.Fatalf("%v %+v", err, receipt)
	}
	local = again(t, local)
	s, err := Open(directory, keys)
	if err != nil {
		t.Fatal(err)
	}
	loaded := openFace(t, directory, Loaded, keys, scope, local)
	loading, err := Load(t.Context(), s, local, loaded, LoadOptions{Central: central})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", loading)
	event, err := local.Event(t.Context(), "mtEvent0001", dhis2api.Lookup{})
	if err != nil || event.OrgUnit != soloy {
		t.Errorf("the event at a unit outside the scope: %v %+v", err, event)
	}
	arrival, err := local.Event(t.Context(), "mtArrival01", dhis2api.Lookup{Program: "clProgramEv"})
	if err != nil || len(arrival.DataValues) != 1 || arrival.DataValues[0].Value != boquete {
		t.Errorf("the event that names one: %v %+v", err, arrival)
	}
	var user struct{ OrganisationUnits, TeiSearchOrganisationUnits []dhis2api.Ref }
	if err := local.Get(t.Context(), "users", "v4VujyGC7dQ", "organisationUnits[id],teiSearchOrganisationUnits[id]", &user); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]dhis2api.Ref{{ID: "jMnOQwfpLgG"}}, user.OrganisationUnits); diff != "" {
		t.Errorf("where somebody of the whole country captures: %s", diff)
	}
	if diff := gocmp.Diff([]dhis2api.Ref{{ID: panama}}, user.TeiSearchOrganisationUnits); diff != "" {
		t.Errorf("and where he searches: %s", diff)
	}
}

// TestCustomIcons: a program's own icon comes along, is not sent twice, and changes with central's.
func TestCustomIcons(t *testing.T) {
	central, local := testServers(t, "2.43.1")
	closureMetadata(t, central)
	pictures := map[string]string{
		"clIconFile1": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==",
		"clIconFile2": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
	}
	give := func(file string) {
		t.Helper()
		picture, err := base64.StdEncoding.DecodeString(pictures[file])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := central.UploadFile(t.Context(), file, "boat.png", "image/png", dhis2api.DomainIcon, bytes.NewReader(picture)); err != nil {
			t.Fatal(err)
		}
		icon := dhis2api.Icon{Key: "clinic_boat", Description: "Boat", Keywords: []string{"river"}, FileResource: dhis2api.Ref{ID: file}}
		if err := central.AddIcon(t.Context(), icon); err != nil {
			t.Fatal(err)
		}
	}
	style := []map[string]any{{"op": "add", "path": "/style", "value": map[string]any{"icon": "clinic_boat"}}}
	if err := central.Patch(t.Context(), "programs", "clProgramEv", style); err != nil {
		t.Fatal(err)
	}
	scope := closureScope(t, central)
	for _, file := range []string{"clIconFile1", "clIconFile1", "clIconFile2"} {
		if icons, err := central.Icons(t.Context(), "clinic_boat"); err != nil || len(icons) != 1 || icons[0].FileResource.ID != file {
			if len(icons) > 0 {
				if err := central.DeleteIcon(t.Context(), "clinic_boat"); err != nil {
					t.Fatal(err)
				}
			}
			give(file)
		}
		metadata, err := TakeMetadata(t.Context(), central, scope)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff([]string{file}, metadata.IDs(customIcons)); diff != "" {
			t.Errorf("icons taken: %s", diff)
		}
		if _, err := LoadMetadata(t.Context(), local, metadata, scope, nil); err != nil {
			t.Fatal(err)
		}
		icons, err := local.Icons(t.Context(), "clinic_boat")
		want := []dhis2api.Icon{{Key: "clinic_boat", Description: "Boat", Keywords: []string{"river"}, Custom: true, FileResource: dhis2api.Ref{ID: file}}}
		if diff := gocmp.Diff(want, icons); err != nil || diff != "" {
			t.Errorf("icons on the kit: %v %s", err, diff)
		}
		content, err := local.IconContent(t.Context(), "clinic_boat")
		if err != nil {
			t.Fatal(err)
		}
		if picture, err := io.ReadAll(content); err != nil || http.DetectContentType(picture) != "image/png" {
			t.Errorf("the picture: %v %d bytes", err, len(picture))
		}
		if err := content.Close(); err != nil {
			t.Error(err)
		}
	}
}
