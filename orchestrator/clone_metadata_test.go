package orchestrator_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// metadataOfClinic gives central the clinic's metadata, programs of all value types, and much that a kit leaves at home.
func (c *clone) metadataOfClinic() {
	c.t.Helper()
	if err := c.central.ClearCache(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	content, err := os.ReadFile("../dhis2api/testdata/clinic/metadata.json")
	if err != nil {
		c.t.Fatal(err)
	}
	var clinic map[string][]map[string]any
	if err := json.Unmarshal(content, &clinic); err != nil {
		c.t.Fatal(err)
	}
	for _, class := range []string{"trackedEntityAttributes", "trackedEntityTypes"} {
		for _, object := range clinic[class] {
			object["shortName"] = "Clinic " + object["shortName"].(string) // the plain ones are the published programme's
		}
	}
	c.give(clinic)
	c.defineCare()
	c.defineElsewhere()
	c.defineForms()
	c.definePeople()
	c.give(c.metadata)
	c.metadata = map[string][]map[string]any{}
}

// give imports metadata into central.
func (c *clone) give(metadata any) {
	c.t.Helper()
	result, err := c.central.ImportMetadata(c.t.Context(), metadata, dhis2api.MetadataImportOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	if result.Status != "OK" {
		c.t.Fatalf("central does not take metadata: %s", asJSON(result))
	}
}

func sharedByAll() map[string]any { return map[string]any{"public": "rwrw----", "external": false} }

func reference(uid string) map[string]any { return map[string]any{"id": uid} }

func references(uids ...string) []any {
	var refs []any
	for _, uid := range uids {
		refs = append(refs, reference(uid))
	}
	return refs
}

// valueTypes are DHIS2's, but for those that need more than a value.
func valueTypes() []string {
	return []string{
		"TEXT", "LONG_TEXT", "LETTER", "NUMBER", "INTEGER", "INTEGER_POSITIVE", "INTEGER_NEGATIVE", "INTEGER_ZERO_OR_POSITIVE", "UNIT_INTERVAL",
		"PERCENTAGE", "BOOLEAN", "TRUE_ONLY", "DATE", "DATETIME", "TIME", "AGE", "PHONE_NUMBER", "EMAIL", "URL", "USERNAME", "COORDINATE",
		"ORGANISATION_UNIT", "FILE_RESOURCE", "IMAGE",
	}
}

// defineCare defines a program with every value type, attribute option combos, geometry and assigned users.
func (c *clone) defineCare() {
	var ofProgram, ofStage []any
	for i, kind := range valueTypes() {
		attribute, element := "attribute "+kind, "element "+kind
		c.define("trackedEntityAttributes", attribute, map[string]any{"valueType": kind, "aggregationType": "NONE", "sharing": sharedByAll()})
		c.define("dataElements", element, map[string]any{"valueType": kind, "domainType": "TRACKER", "aggregationType": "NONE", "categoryCombo": c.defaultCombo(), "sharing": sharedByAll()})
		ofProgram = append(ofProgram, map[string]any{
			"id": c.id("in care " + attribute), "program": c.ref("care"), "trackedEntityAttribute": c.ref(attribute), "searchable": false, "sortOrder": i + 1,
		})
		ofStage = append(ofStage, map[string]any{
			"id": c.id("in consult " + element), "programStage": c.ref("consult"), "dataElement": c.ref(element), "compulsory": false, "sortOrder": i + 1,
		})
	}
	for _, funder := range []string{"state", "mission"} {
		c.define("categoryOptions", funder, map[string]any{"sharing": sharedByAll()})
	}
	c.define("categories", "funder", map[string]any{"dataDimensionType": "ATTRIBUTE", "categoryOptions": references(c.id("state"), c.id("mission")), "sharing": sharedByAll()})
	c.define("categoryCombos", "funding", map[string]any{"dataDimensionType": "ATTRIBUTE", "categories": references(c.id("funder")), "sharing": sharedByAll()})
	for _, funder := range []string{"state", "mission"} {
		c.define("categoryOptionCombos", "of "+funder, map[string]any{"categoryCombo": c.ref("funding"), "categoryOptions": references(c.id(funder))})
	}
	c.define("programStages", "consult", map[string]any{
		"program": c.ref("care"), "repeatable": true, "sharing": sharedByAll(), "programStageDataElements": ofStage, "featureType": "POINT",
		"enableUserAssignment": true, "sortOrder": 1,
	})
	c.define("programStages", "house call", map[string]any{
		"program": c.ref("care"), "repeatable": true, "sharing": sharedByAll(), "programStageDataElements": []any{}, "featureType": "POLYGON", "sortOrder": 2,
	})
	c.define("programs", "care", map[string]any{
		"programType": "WITH_REGISTRATION", "trackedEntityType": reference(personType), "categoryCombo": c.ref("funding"), "accessLevel": "OPEN",
		"featureType": "POLYGON", "organisationUnits": references(bocas, base, rioCana, cerro, sabana, soloy, boquete),
		"programStages": references(c.id("consult"), c.id("house call")), "programTrackedEntityAttributes": ofProgram, "sharing": sharedByAll(),
	})
	end := func(entity string, more map[string]any) map[string]any {
		constraint := map[string]any{"relationshipEntity": entity}
		maps.Copy(constraint, more)
		return constraint
	}
	person := end("TRACKED_ENTITY_INSTANCE", map[string]any{"trackedEntityType": reference(personType)})
	tie := func(name string, from, to map[string]any) {
		c.define("relationshipTypes", name, map[string]any{"bidirectional": false, "fromToName": name, "fromConstraint": from, "toConstraint": to, "sharing": sharedByAll()})
	}
	tie("sent by", person, person)
	tie("because of", end("PROGRAM_INSTANCE", map[string]any{"program": c.ref("care")}), end("PROGRAM_STAGE_INSTANCE", map[string]any{"program": reference(waterProgram), "programStage": reference(waterStage)}))
	tie("also elsewhere", person, end("PROGRAM_INSTANCE", map[string]any{"program": c.ref("elsewhere")}))
}

// defineElsewhere defines what a kit leaves at home.
func (c *clone) defineElsewhere() {
	units := references(bocas, base, rioCana, cerro, sabana, soloy, boquete)
	c.define("dataElements", "secret", map[string]any{"valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE", "categoryCombo": c.defaultCombo(), "sharing": sharedByAll()})
	stageOf := func(stage, program string) {
		c.define("programStages", stage, map[string]any{
			"program": c.ref(program), "sharing": sharedByAll(), "repeatable": true,
			"programStageDataElements": []any{map[string]any{"id": c.id("in " + stage), "programStage": c.ref(stage), "dataElement": c.ref("secret")}},
		})
	}
	stageOf("elsewhere visit", "elsewhere")
	stageOf("survey visit", "survey")
	c.define("programs", "elsewhere", map[string]any{
		"programType": "WITH_REGISTRATION", "trackedEntityType": reference(personType), "categoryCombo": c.defaultCombo(), "accessLevel": "OPEN",
		"organisationUnits": units, "programStages": references(c.id("elsewhere visit")), "sharing": sharedByAll(),
	})
	c.define("programs", "survey", map[string]any{
		"programType": "WITHOUT_REGISTRATION", "categoryCombo": c.defaultCombo(), "accessLevel": "OPEN", "organisationUnits": units,
		"programStages": references(c.id("survey visit")), "sharing": sharedByAll(),
	})
}

// defineForms defines a weekly data set with attribute option combos, and one that stays at home.
func (c *clone) defineForms() {
	form := func(name, kind, combo, element string) {
		c.define("dataElements", element, map[string]any{"valueType": "INTEGER", "domainType": "AGGREGATE", "aggregationType": "SUM", "categoryCombo": c.defaultCombo(), "zeroIsSignificant": true, "sharing": sharedByAll()})
		categoryCombo := c.defaultCombo()
		if combo != "" {
			categoryCombo = c.ref(combo)
		}
		c.define("dataSets", name, map[string]any{
			"periodType": kind, "categoryCombo": categoryCombo, "openFuturePeriods": 2, "sharing": sharedByAll(),
			"organisationUnits": references(base, rioCana, cerro, sabana, soloy, boquete),
			"dataSetElements":   []any{map[string]any{"dataSet": c.ref(name), "dataElement": c.ref(element)}},
		})
	}
	form("weekly", "Weekly", "funding", "malaria")
	form("other form", "Monthly", "", "stock")
	c.define("validationRules", "not negative", map[string]any{
		"importance": "MEDIUM", "operator": "greater_than_or_equal_to", "periodType": "Weekly",
		"leftSide":  map[string]any{"expression": "#{" + c.id("malaria") + "}", "description": "malaria", "missingValueStrategy": "NEVER_SKIP"},
		"rightSide": map[string]any{"expression": "0", "description": "none", "missingValueStrategy": "NEVER_SKIP"},
	})
	c.define("organisationUnitGroups", "villages", map[string]any{"organisationUnits": references(rioCana, cerro, soloy), "sharing": sharedByAll()})
}

// definePeople defines people above, within and outside the scope.
func (c *clone) definePeople() {
	person := func(name string, units ...string) {
		c.metadata["users"] = append(c.metadata["users"], map[string]any{
			"id": c.id(name), "username": name, "firstName": "F " + name, "surname": "S " + name, "userRoles": references("VBn0y9di06Z"), "password": "Clinic-2026!",
			"organisationUnits": references(units...), "dataViewOrganisationUnits": references(units...), "teiSearchOrganisationUnits": references(panama),
		})
	}
	person("country1", panama)
	person("outside1", soloy)
	person("both1", soloy, rioCana)
	c.define("userGroups", "doctors", map[string]any{"users": references(c.id("country1"), c.id("outside1"), triageUser), "sharing": sharedByAll()})
}

// aPublishedProgramme gives central a WHO programme where one is at hand, and puts one of its districts into the scope.
func (c *clone) aPublishedProgramme() {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(os.Getenv("FIELDKIT_PACKAGES"), "who-*.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	if os.Getenv("FIELDKIT_PACKAGES") == "" || len(files) == 0 {
		c.t.Log("FIELDKIT_PACKAGES names no folder with published packages: without a WHO programme")
		return
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		c.t.Fatal(err)
	}
	c.give(json.RawMessage(content))
	var published struct {
		OrganisationUnits []struct {
			ID     string
			Parent *dhis2api.Ref
		}
		Programs, DataSets []dhis2api.Ref
	}
	if err := json.Unmarshal(content, &published); err != nil {
		c.t.Fatal(err)
	}
	var parents, facilities []string
	var country string
	above := map[string]string{}
	for _, unit := range published.OrganisationUnits {
		if unit.Parent == nil {
			country = unit.ID
			continue
		}
		above[unit.ID] = unit.Parent.ID
		parents = append(parents, unit.Parent.ID)
	}
	for unit := range above {
		if !slices.Contains(parents, unit) {
			facilities = append(facilities, unit)
		}
	}
	slices.Sort(facilities)
	c.ids["country of the WHO"] = country
	c.enter(c.central, "country of the WHO")
	c.central = c.connect(orchestrator.Central, c.central.BaseURL())
	district := above[facilities[0]]
	c.orgUnits = append(c.orgUnits, district)
	for _, program := range published.Programs {
		c.programs = append(c.programs, program.ID)
		for i := range 24 {
			name := program.ID + string(rune('a'+i))
			c.patients(c.patientOf(name, program.ID, facilities[i%len(facilities)]))
		}
	}
	for _, dataSet := range published.DataSets {
		c.dataSets = append(c.dataSets, dataSet.ID)
	}
}
