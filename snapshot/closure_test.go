package snapshot

import (
	"bytes"
	"encoding/json"
	"maps"
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
		OrgUnits: []string{"PA-BOC"}, Programs: []string{"VISIT", "WATER"}, DataSets: []string{"DS_MONTH", "CL_WEEKLY"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return scope
}

// closureMetadata is what central holds: the clinic's metadata and testdata/closure.json, where ids that end in F, Fa
// or Far (and F with a number) are of objects that the scope does not need.
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

// ofOthers are the ids of the fixtures' objects that the scope does not need.
func ofOthers() []string {
	return []string{
		"clElementF1", "clElementF2", "clValidateF", "clOptionF01", "clOptionSeF", "clOptionGrF", "clStageFar1", "clProgramFa", "clFilterFar",
		"clEventFilF", "clRelationF", "clUnitGrFar", "HqaTG4yv5kR", "YHa4SyAIFQk", "E4Y9h4vPMzj",
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
		metadataByClosure(t, "")
		return
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) { metadataByClosure(t, version) })
	}
}

func metadataByClosure(t *testing.T, version string) {
	central, local := testServers(t, version)
	all := closureMetadata(t, central)
	scope := closureScope(t, central)
	metadata, err := TakeMetadata(t.Context(), central, scope)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := LoadMetadata(t.Context(), local, metadata, scope)
	if err != nil {
		t.Fatal(err)
	}
	if len(receipt.Refused)+len(receipt.Missing)+len(receipt.Differing) > 0 {
		t.Errorf("refused %v, missing %v, differing %v", receipt.Refused, receipt.Missing, receipt.Differing)
	}
	others := ofOthers()
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
