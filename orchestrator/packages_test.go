package orchestrator_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestPublishedPackages prepares kits with programmes that were published by others: real metadata that nobody
// wrote with fieldkit in mind. They are not part of this repository: FIELDKIT_PACKAGES names the folder that
// holds them as JSON files. Where CI is set they must be there.
func TestPublishedPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector takes ten times as long")
	}
	folder := os.Getenv("FIELDKIT_PACKAGES")
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if folder == "" || len(files) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("no published packages in FIELDKIT_PACKAGES=%q, and CI does not do without", folder)
		}
		t.Skip("FIELDKIT_PACKAGES names no folder with published packages")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { preparePackage(t, file, false) })
		t.Run(filepath.Base(file)+" and all metadata", func(t *testing.T) { preparePackage(t, file, true) })
	}
}

func preparePackage(t *testing.T, file string, everything bool) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var metadata dhis2api.Metadata
	if err := json.Unmarshal(content, &metadata); err != nil {
		t.Fatal(err)
	}
	var root string
	for _, raw := range metadata["organisationUnits"] {
		var unit struct {
			ID     string
			Parent *struct{ ID string }
		}
		if err := json.Unmarshal(raw, &unit); err != nil {
			t.Fatal(err)
		}
		if unit.Parent == nil {
			root = unit.ID
		}
	}
	central, local := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL")
	if central == "" {
		central, local = simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2")
	}
	w := newWorld(t, central, local, "")
	imported, err := w.central.ImportMetadata(t.Context(), metadata, dhis2api.MetadataImportOptions{})
	if err != nil || imported.Status != "OK" {
		t.Fatalf("central does not take the package: %v %s", err, asJSON(imported))
	}
	w.ids["country"] = root
	w.enter(w.central, "country")
	config := "name: package\ncentral: {url: " + w.central.BaseURL() + "}\nscope: {orgUnits: [" + root + "]}\nlocal: {url: " + w.local.BaseURL() + "}\n"
	classes := []string{"programs", "programStages", "programRules", "programRuleActions", "optionSets", "options", "trackedEntityAttributes", "dataElements"}
	if everything {
		config += "metadata: all\n"
		classes = slices.Collect(maps.Keys(metadata))
	}
	if err := os.WriteFile(filepath.Join(w.kitDir, orchestrator.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	receipt := w.prepare()
	if len(receipt.Metadata.Refused) > 0 || len(receipt.Metadata.Missing) > 0 || len(receipt.Metadata.Differing) > 0 || len(receipt.Programs) == 0 {
		t.Errorf("the kit lacks metadata of the package: %s", asJSON(receipt))
	}
	for _, class := range classes {
		there := map[string]bool{}
		for object, err := range dhis2api.ListAs[dhis2api.Ref](t.Context(), w.local, class, dhis2api.ListQuery{Fields: "id"}) {
			if err != nil {
				t.Fatal(err)
			}
			there[object.ID] = true
		}
		for _, raw := range metadata[class] {
			var object struct{ ID string }
			if err := json.Unmarshal(raw, &object); err != nil {
				t.Fatal(err)
			}
			if !there[object.ID] {
				t.Errorf("%s %s did not come along", class, object.ID)
			}
		}
	}
}
