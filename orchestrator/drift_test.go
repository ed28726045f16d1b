package orchestrator_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// bitten is a person with an enrollment for bites, and one of them of a disease.
func (w againWorld) bitten(name, disease string) *dhis2api.TrackedEntity {
	p := w.patient(name, map[string]string{})
	enrollment := p.Enrollments[0]
	enrollment.Program = w.id("vector")
	event := enrollment.Events[0]
	event.Program, event.ProgramStage = w.id("vector"), w.id("bite")
	event.DataValues = []dhis2api.EventDataValue{{DataElement: w.id("bites"), Value: "1"}, {DataElement: w.id("disease"), Value: "ACC_" + disease + "_" + w.id("run")}}
	return p
}

// driftOf is what a report says of drift, with names instead of uids.
func (w againWorld) driftOf(r *report.Report) []string {
	var said []string
	for _, d := range r.Drift {
		said = append(said, strings.ReplaceAll(fmt.Sprintf("%s %s %s: %d, %d", d.Class, d.Name, d.What, d.Holds, d.MayHold), " "+w.id("run"), ""))
	}
	return said
}

// TestDrift: what changed in central's metadata and touches the changes at hand is named before anything is sent, with how many
// it holds back. The rest goes, and so do these when it is put right.
func TestDrift(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			w := newAgainWorld(t, version)
			w.programs = append(w.programs, "vector")
			w.scope()
			w.patientsAtCentral()
			w.again()
			w.local = w.connect(orchestrator.Local, w.local.BaseURL())
			w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
				w.bitten("Ines", "malaria"), w.bitten("Julia", "dengue"),
				w.patient("Karla", map[string]string{"phone": "6000-0007"}), w.patient("Luisa", map[string]string{"phone": "6000-0008", "community": "Soloy"}),
			}}, "")
			w.values(w.local, "202605", map[string]string{"cases": "7"})

			// At central malaria is no option any more, and a person of the program needs a community. That bites are new and
			// another option is gone touches nothing.
			w.edit("optionSets", "diagnosis", func(set map[string]any) { set["options"] = []any{w.ref("dengue")} })
			w.remove("options", "malaria", "other")
			w.edit("programs", "program", func(program map[string]any) {
				for _, place := range program["programTrackedEntityAttributes"].([]any) {
					place := place.(map[string]any)
					place["mandatory"] = place["trackedEntityAttribute"].(map[string]any)["id"] == w.id("community")
				}
			})
			w.edit("dataSets", "form", func(form map[string]any) { form["organisationUnits"] = []any{w.ref("cerro"), w.ref("city")} })

			want := []string{
				"dataSets Acceptance form is no longer offered there: 0, 1",
				"options Acceptance malaria was withdrawn from Acceptance diagnosis: 1, 0",
				"trackedEntityAttributes Acceptance community must now be filled in for the program Acceptance program: 2, 0",
			}
			if diff := cmp.Diff(want, w.driftOf(w.reconcile(true))); diff != "" {
				t.Errorf("planned: %s", diff)
			}
			r := w.reconcile(false)
			if diff := cmp.Diff(want, w.driftOf(r)); diff != "" {
				t.Errorf("sent: %s", diff)
			}
			for _, name := range []string{"Julia", "Luisa"} {
				if _, err := w.central.TrackedEntity(t.Context(), w.id(name), dhis2api.Lookup{}); err != nil {
					t.Errorf("%s is not at central: %v", name, err)
				}
			}
			if r.Sums.Open > 0 || r.Sums.Held < 3 {
				t.Errorf("the sums: %+v", r.Sums)
			}

			// The option comes back, and so does what it held.
			set := map[string]any{}
			w.must(w.central.Get(t.Context(), "optionSets", w.id("diagnosis"), ":owner", &set))
			set["options"] = []any{w.ref("dengue"), w.ref("malaria")}
			option := map[string]any{"id": w.id("malaria"), "name": "malaria", "code": "ACC_malaria_" + w.id("run"), "optionSet": w.ref("diagnosis"), "sortOrder": 2}
			bundle := map[string]any{"options": []any{option}, "optionSets": []any{set}}
			if back, err := w.central.ImportMetadata(t.Context(), bundle, dhis2api.MetadataImportOptions{}); err != nil || back.Status != "OK" {
				t.Fatalf("central does not take the option back: %v %s", err, asJSON(back))
			}
			if r = w.reconcile(false); slicesContain(w.driftOf(r), "malaria") {
				t.Errorf("after it was put right: %v", w.driftOf(r))
			}
			if _, err := w.central.Event(t.Context(), w.id("Ines's first visit"), dhis2api.Lookup{}); err != nil {
				t.Errorf("what the option held is not at central: %v", err)
			}
		})
	}
}

func slicesContain(all []string, part string) bool {
	return strings.Contains(strings.Join(all, "\n"), part)
}

// TestDriftStopsTheRun: where central would refuse most of what is to be sent, nothing is sent before somebody says so.
func TestDriftStopsTheRun(t *testing.T) {
	w := newAgainWorld(t, "2.42.5.2")
	w.programs = append(w.programs, "vector")
	w.scope()
	w.again()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	var people []*dhis2api.TrackedEntity
	for i := range 12 {
		people = append(people, w.bitten(fmt.Sprintf("bitten %d", i), "malaria"))
	}
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: people}, "")
	w.edit("programs", "vector", func(program map[string]any) {
		program["programTrackedEntityAttributes"].([]any)[0].(map[string]any)["mandatory"] = true
	})
	plan := w.reconcile(true)
	if len(plan.Drift) != 1 || plan.Drift[0].Holds != 24 || !slicesContain(plan.Warnings, "central would refuse 24 of 36 changes") {
		t.Fatalf("planned: %s %v", asJSON(plan.Drift), plan.Warnings)
	}
	if _, err := w.tryReconcile(orchestrator.ReconcileOptions{}); !errors.Is(err, orchestrator.ErrLimits) || !strings.Contains(orchestrator.Hint(err), "--allow 24") {
		t.Fatalf("it ends with %v (hint: %s)", err, orchestrator.Hint(err))
	}
	if _, err := w.central.TrackedEntity(t.Context(), w.id("bitten 3"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("somebody was sent before it was allowed: %v", err)
	}
	r, err := w.tryReconcile(orchestrator.ReconcileOptions{Allow: 24})
	if err != nil || r.Sums.Pushed != 12 || r.Sums.Held != 24 {
		t.Errorf("allowed: %v %s", err, asJSON(r))
	}
}
