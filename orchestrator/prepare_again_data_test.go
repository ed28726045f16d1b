package orchestrator_test

import (
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// What becomes of metadata that data, or other metadata, holds on to.

func (w againWorld) othersStay() {
	w.programs = append(w.programs, "vector")
	w.scope()
	w.again()
	// Somebody makes a program on the kit that uses one of ours, and others of his own.
	own := map[string][]map[string]any{
		"dataElements": {{
			"id": w.id("mine"), "name": "Mine " + w.id("run"), "shortName": "M " + w.id("run"), "valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE",
			"categoryCombo": w.defaultCombo(), "optionSet": w.ref("diagnosis"),
		}},
		"programStages": {{"id": w.id("my stage"), "name": "My stage", "program": w.ref("my program"), "programStageDataElements": []any{
			w.stageElement("my stage", "mine"), w.stageElement("my stage", "bites"),
		}}},
		"programs": {{
			"id": w.id("my program"), "name": "My program " + w.id("run"), "shortName": "P " + w.id("run"), "programType": "WITHOUT_REGISTRATION",
			"categoryCombo": w.defaultCombo(), "organisationUnits": []any{w.ref("soloy")}, "programStages": []any{w.ref("my stage")},
		}},
	}
	report, err := w.local.ImportMetadata(w.t.Context(), own, dhis2api.MetadataImportOptions{})
	w.must(err)
	if report.Status != "OK" {
		w.t.Fatalf("the kit refuses: %s", asJSON(report))
	}
	before := asJSON([]any{w.shown(w.local, "programs", "my program"), w.shown(w.local, "programStages", "my stage"), w.shown(w.local, "dataElements", "mine")})
	w.programs = []string{"program", "water"}
	w.scope()
	receipt := w.prepare()
	after := asJSON([]any{w.shown(w.local, "programs", "my program"), w.shown(w.local, "programStages", "my stage"), w.shown(w.local, "dataElements", "mine")})
	if diff := cmp.Diff(before, after); diff != "" {
		w.t.Errorf("what somebody made on the kit changed: %s", diff)
	}
	w.gone("programs", "vector")
	w.gone("dataElements", "disease")
	w.alike("dataElements", "bites")
	w.alike("optionSets", "diagnosis")
	w.alike("options", "malaria")
	var used []string
	for _, reference := range receipt.Removed.Used {
		used = append(used, reference.ID)
	}
	for _, name := range []string{"bites", "diagnosis", "malaria", "dengue", "other"} {
		if !slices.Contains(used, w.id(name)) {
			w.t.Errorf("%s is not among what others use: %s", name, asJSON(receipt.Removed))
		}
	}
}

func (w againWorld) patientsComeAndGo() {
	bitten := func(name, unit string) *dhis2api.TrackedEntity {
		return &dhis2api.TrackedEntity{
			TrackedEntity: w.id(name), TrackedEntityType: w.id("patient"), OrgUnit: w.id(unit),
			Attributes: []dhis2api.Attribute{{Attribute: w.id("village"), Value: "Soloy"}},
			Enrollments: []*dhis2api.Enrollment{{
				Enrollment: w.id(name + "'s bites"), TrackedEntity: w.id(name), Program: w.id("vector"), OrgUnit: w.id(unit), Status: "ACTIVE",
				EnrolledAt: "2026-05-04", OccurredAt: "2026-05-04", Events: []*dhis2api.Event{{
					Event: w.id(name + "'s bite"), Program: w.id("vector"), ProgramStage: w.id("bite"), OrgUnit: w.id(unit), Status: "COMPLETED", OccurredAt: "2026-05-04",
					DataValues: []dhis2api.EventDataValue{{DataElement: w.id("bites"), Value: "7"}, {DataElement: w.id("disease"), Value: "ACC_malaria_" + w.id("run")}},
				}},
			}},
		}
	}
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{bitten("Ana", "soloy"), bitten("Berta", "cerro")}}, "")
	there := func(wanted bool, names ...string) {
		w.t.Helper()
		w.local = w.connect(orchestrator.Local, w.local.BaseURL())
		for _, name := range names {
			_, err := w.local.TrackedEntity(w.t.Context(), w.id(name), dhis2api.Lookup{})
			if err != nil && !dhis2api.NotFound(err) {
				w.t.Fatal(err)
			}
			if is := err == nil; is != wanted {
				w.t.Errorf("%s is on the kit: %v", name, is)
			}
		}
	}
	for range 2 {
		w.programs = []string{"program", "water", "vector"}
		w.scope()
		receipt := w.again()
		there(true, "Ana", "Berta")
		if !receipt.Verified {
			w.t.Errorf("not all arrived: %s", asJSON(receipt))
		}
		w.units = []string{"soloy"}
		w.scope()
		w.again()
		there(true, "Ana")
		there(false, "Berta")
		w.gone("organisationUnits", "cerro")
		w.units, w.programs = []string{"villages"}, []string{"program", "water"}
		w.scope()
		w.again()
		there(false, "Ana", "Berta")
		w.gone("programs", "vector")
		w.gone("options", "malaria")
	}
}

func (w againWorld) dataKeeps() {
	w.programs = append(w.programs, "vector")
	w.scope()
	w.again()
	// A tablet enters something that central does not take: it is held, and keeps its program.
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{
		TrackedEntity: w.id("Zoe"), TrackedEntityType: w.id("patient"), OrgUnit: w.id("soloy"),
		Attributes: []dhis2api.Attribute{{Attribute: w.id("village"), Value: "Soloy"}},
		Enrollments: []*dhis2api.Enrollment{{
			Enrollment: w.id("Zoe's enrollment"), TrackedEntity: w.id("Zoe"), Program: w.id("vector"), OrgUnit: w.id("soloy"), Status: "ACTIVE",
			EnrolledAt: "2026-05-04", OccurredAt: "2026-05-04",
		}},
	}}}, "")
	w.programs = []string{"program", "water"}
	w.scope()
	receipt := w.prepare()
	hidden := slices.ContainsFunc(receipt.Removed.Hidden, func(kept snapshot.MetadataRefusal) bool { return kept.UID == w.id("vector") })
	program := w.shown(w.local, "programs", "vector")
	if !hidden || program == nil {
		w.t.Fatalf("the program: %s %s", asJSON(program), asJSON(receipt.Removed))
	}
	if units, _ := program["organisationUnits"].([]any); len(units) > 0 {
		w.t.Errorf("tablets are offered it at %v", units)
	}
	if public := program["sharing"].(map[string]any)["public"]; public != "--------" {
		w.t.Errorf("everybody sees it: %v", public)
	}
	if _, err := w.local.TrackedEntity(w.t.Context(), w.id("Zoe"), dhis2api.Lookup{}); err != nil {
		w.t.Errorf("what a tablet entered: %v", err)
	}
	w.programs = append(w.programs, "vector")
	w.scope()
	w.again()
	w.alike("programs", "vector")
}
