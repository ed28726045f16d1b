package orchestrator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestNamesOnlyWhenAsked: nothing that reconcile writes for people names anybody, until fieldkit.yaml asks for it; then every
// record says whose it is.
func TestNamesOnlyWhenAsked(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	named := func(r *report.Report) (forms string) {
		for _, name := range []string{report.HTMLName, report.CSVName} {
			content, err := os.ReadFile(filepath.Join(w.kitDir, "trips", r.Trip, name))
			if err != nil {
				t.Fatal(err)
			}
			forms += string(content)
		}
		return forms
	}
	forms := named(first)
	for _, name := range []string{"Ana", "Berta", "Carlos", "Delia", "Elena"} {
		if strings.Contains(forms, name) {
			t.Errorf("%s is named, and nobody asked", name)
		}
	}
	path := filepath.Join(w.kitDir, orchestrator.ConfigFile)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(content, "\nreport: {names: true}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	r := w.reconcile(false)
	forms = named(r)
	for _, name := range []string{"Ana", "Berta", "Carlos", "Delia"} { // Elena was deleted on the kit
		if strings.Count(forms, name) < 2 {
			t.Errorf("%s is not named in both forms", name)
		}
	}
	for reference := range r.References() {
		if reference.UID == w.id("Delia's first visit") && reference.Name != "Delia" {
			t.Errorf("Delia's visit is of %q", reference.Name)
		}
	}
	if !r.Names || !strings.Contains(forms, "holds people&#39;s names") && !strings.Contains(forms, "holds people's names") {
		t.Error("the page does not say that it holds names")
	}
}
