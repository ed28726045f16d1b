package orchestrator_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// againWorld is a world whose metadata central changes between one prepare and the next, on the two servers that
// the acceptance suite would take.
type againWorld struct {
	peopleWorld
	programs []string // in scope, by name
	units    []string
}

// secondPrepares are changes at central, or of the scope, and what they come to on the kit.
func secondPrepares() map[string]func(againWorld) {
	return map[string]func(againWorld){
		"a program is added, removed, and added again":        againWorld.programComesAndGoes,
		"an option is withdrawn and one renamed":              againWorld.optionsChange,
		"units move, get names, close, go and come back":      againWorld.unitsChange,
		"fields become mandatory, change type, come and go":   againWorld.fieldsChange,
		"stages, rules and sections come and go":              againWorld.stagesChange,
		"translations and sharing change":                     againWorld.wordsChange,
		"people change their names and units, leave, return":  againWorld.peopleChange,
		"what others made on the kit stays":                   againWorld.othersStay,
		"a code and a name go from one object to another":     againWorld.namesChangeHands,
		"somebody is made anew under another uid":             againWorld.madeAnew,
		"an account that lost its rights removes nobody":      againWorld.blindAccount,
		"what left with its patients comes back with them":    againWorld.patientsComeAndGo,
		"what has data on the kit is hidden, and shown again": againWorld.dataKeeps,
	}
}

func TestSecondPrepare(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector takes ten times as long")
	}
	for name, change := range secondPrepares() {
		t.Run(name, func(t *testing.T) { change(newAgainWorld(t, "2.43.1")) })
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2"} {
		t.Run(version, func(t *testing.T) { newAgainWorld(t, version).programComesAndGoes() })
	}
}

func newAgainWorld(t *testing.T, version string) againWorld {
	t.Helper()
	central, local := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL")
	if central == "" {
		central, local = simulated(t, version), simulated(t, version)
	}
	w := againWorld{peopleWorld{newWorld(t, central, local, "")}, []string{"program", "water"}, []string{"villages"}}
	w.setUp()
	sharing := map[string]any{"public": "rwrw----", "external": false}
	w.define("options", "malaria", map[string]any{"optionSet": w.ref("diagnosis"), "sortOrder": 1})
	w.define("options", "dengue", map[string]any{"optionSet": w.ref("diagnosis"), "sortOrder": 2})
	w.define("options", "other", map[string]any{"optionSet": w.ref("diagnosis"), "sortOrder": 3})
	w.define("optionSets", "diagnosis", map[string]any{
		"valueType": "TEXT", "options": []any{w.ref("malaria"), w.ref("dengue"), w.ref("other")}, "sharing": sharing,
	})
	w.define("dataElements", "disease", map[string]any{
		"valueType": "TEXT", "domainType": "TRACKER", "aggregationType": "NONE", "categoryCombo": w.defaultCombo(), "optionSet": w.ref("diagnosis"), "sharing": sharing,
	})
	w.define("dataElements", "bites", map[string]any{
		"valueType": "INTEGER", "domainType": "TRACKER", "aggregationType": "NONE", "categoryCombo": w.defaultCombo(), "sharing": sharing,
	})
	w.define("trackedEntityAttributes", "village", map[string]any{"valueType": "TEXT", "aggregationType": "NONE", "sharing": sharing})
	w.define("programStages", "bite", map[string]any{"program": w.ref("vector"), "sharing": sharing, "programStageDataElements": []any{
		w.stageElement("bite", "bites"), w.stageElement("bite", "disease"),
	}})
	w.define("programs", "vector", map[string]any{
		"programType": "WITH_REGISTRATION", "trackedEntityType": w.ref("patient"), "categoryCombo": w.defaultCombo(), "accessLevel": "OPEN", "sharing": sharing,
		"organisationUnits": []any{w.ref("soloy"), w.ref("cerro")}, "programStages": []any{w.ref("bite")},
		"programTrackedEntityAttributes": []any{map[string]any{
			"id": w.id("in vector village"), "program": w.ref("vector"), "trackedEntityAttribute": w.ref("village"), "sortOrder": 1,
		}},
	})
	w.define("programRuleVariables", "bitten", map[string]any{
		"program": w.ref("vector"), "dataElement": w.ref("bites"), "programRuleVariableSourceType": "DATAELEMENT_CURRENT_EVENT", "valueType": "INTEGER",
	})
	w.define("programRules", "many", map[string]any{
		"program": w.ref("vector"), "condition": "#{" + "bitten" + "} > 5", "programRuleActions": []any{w.ref("warn")},
	})
	w.define("programRuleActions", "warn", map[string]any{
		"programRule": w.ref("many"), "programRuleActionType": "SHOWWARNING", "content": "many bites", "dataElement": w.ref("bites"),
	})
	w.define("relationshipTypes", "contact", map[string]any{
		"bidirectional": true, "fromToName": "contact of", "toFromName": "contact of", "sharing": sharing,
		"fromConstraint": map[string]any{"relationshipEntity": "TRACKED_ENTITY_INSTANCE", "trackedEntityType": w.ref("patient"), "program": w.ref("vector")},
		"toConstraint":   map[string]any{"relationshipEntity": "TRACKED_ENTITY_INSTANCE", "trackedEntityType": w.ref("patient")},
	})
	w.define("trackedEntityInstanceFilters", "bittenToday", map[string]any{"program": w.ref("vector"), "entityQueryCriteria": map[string]any{"enrollmentStatus": "ACTIVE"}, "sharing": sharing})
	w.give("optionSets", "options", "dataElements", "trackedEntityAttributes", "programStages", "programs", "programRuleVariables", "programRules",
		"programRuleActions", "relationshipTypes")
	w.give("trackedEntityInstanceFilters")
	staff := map[string]any{"id": w.id("staff"), "name": "Staff " + w.id("run"), "authorities": []string{"F_DATAVALUE_ADD"}}
	w.must(w.central.Do(t.Context(), http.MethodPost, "/api/userRoles", nil, staff, nil))
	for name, unit := range map[string]string{"lidia": "soloy", "marta": "villages", "nilda": "cerro"} {
		w.must(w.central.CreateUser(t.Context(), dhis2api.User{
			ID: w.id(name), Username: w.username(name), FirstName: name, Surname: "Sanjur", Password: "Central-" + w.id(name) + "-1",
			UserRoles: []dhis2api.Ref{{ID: w.id("staff")}}, OrganisationUnits: []dhis2api.Ref{{ID: w.id(unit)}},
		}))
	}
	w.scope()
	return w
}

func (w againWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w againWorld) stageElement(stage, element string) map[string]any {
	return map[string]any{"id": w.id(stage + " " + element), "programStage": w.ref(stage), "dataElement": w.ref(element), "compulsory": false}
}

// scope writes fieldkit.yaml.
func (w againWorld) scope() {
	w.t.Helper()
	list := func(names []string) string {
		var ids []string
		for _, name := range names {
			ids = append(ids, w.id(name))
		}
		return "[" + strings.Join(ids, ", ") + "]"
	}
	config := fmt.Sprintf("name: again\ncentral: {url: %s}\nscope: {orgUnits: %s, programs: %s, dataSets: %s}\nlocal: {url: %s}\nusers: generate\n",
		w.central.BaseURL(), list(w.units), list(w.programs), list([]string{"form"}), w.local.BaseURL())
	w.must(os.WriteFile(filepath.Join(w.kitDir, orchestrator.ConfigFile), []byte(config), 0o600))
}

// give sends the classes, as they are defined, to central.
func (w againWorld) give(classes ...string) {
	w.t.Helper()
	bundle := map[string][]map[string]any{}
	for _, class := range classes {
		bundle[class] = w.metadata[class]
	}
	report, err := w.central.ImportMetadata(w.t.Context(), bundle, dhis2api.MetadataImportOptions{})
	w.must(err)
	if report.Status != "OK" {
		w.t.Fatalf("central refuses %v: %s", classes, asJSON(report))
	}
}

// edit changes an object at central.
func (w againWorld) edit(class, name string, change func(object map[string]any)) {
	w.t.Helper()
	object := map[string]any{}
	w.must(w.central.Get(w.t.Context(), class, w.id(name), ":owner", &object))
	change(object)
	report, err := w.central.ImportMetadata(w.t.Context(), map[string]any{class: []any{object}}, dhis2api.MetadataImportOptions{})
	w.must(err)
	if report.Status != "OK" {
		w.t.Fatalf("central refuses %s %s: %s", class, name, asJSON(report))
	}
}

// remove deletes objects at central.
func (w againWorld) remove(class string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		bundle := map[string]any{class: []any{w.ref(name)}}
		report, err := w.central.ImportMetadata(w.t.Context(), bundle, dhis2api.MetadataImportOptions{Strategy: dhis2api.ImportStrategyDelete})
		w.must(err)
		if report.Status != "OK" {
			w.t.Fatalf("central keeps %s %s: %s", class, name, asJSON(report))
		}
	}
}

// again prepares and expects that all metadata arrived whole and that nothing is left over.
func (w againWorld) again() *orchestrator.PrepareReceipt {
	w.t.Helper()
	receipt := w.prepare()
	if m := receipt.Metadata; len(m.Refused)+len(m.Missing)+len(m.Differing) > 0 {
		w.t.Errorf("metadata: %s", asJSON(m))
	}
	if r := receipt.Removed; len(r.Hidden)+len(r.Used)+len(r.Unknown) > 0 {
		w.t.Errorf("removed: %s", asJSON(r))
	}
	return receipt
}

// shown is an object as a server shows it; nil where it does not. Server's own properties are left out, lists sorted.
func (w againWorld) shown(client *dhis2api.Client, class, name string) map[string]any {
	w.t.Helper()
	object := map[string]any{}
	err := client.Get(w.t.Context(), class, w.id(name), ":owner", &object)
	if dhis2api.NotFound(err) {
		return nil
	}
	w.must(err)
	var clean func(value any)
	clean = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			for _, own := range strings.Fields(`created lastUpdated createdBy lastUpdatedBy user access href owner displayName version passwordLastUpdated
				lastLogin hierarchyLevel favorites leaf twoFactorEnabled`) {
				delete(value, own)
			}
			for _, inner := range value {
				clean(inner)
			}
		case []any:
			for _, inner := range value {
				clean(inner)
			}
			slices.SortFunc(value, func(a, b any) int { return strings.Compare(asJSON(a), asJSON(b)) })
		}
	}
	clean(object)
	return object
}

// alike expects objects of a class to be the same at both servers, but for units outside the scope.
func (w againWorld) alike(class string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		want, got := w.shown(w.central, class, name), w.shown(w.local, class, name)
		if units, is := want["organisationUnits"].([]any); is {
			want["organisationUnits"] = slices.DeleteFunc(units, func(unit any) bool {
				id, _ := unit.(map[string]any)["id"].(string)
				return id == w.id("city")
			})
		}
		if diff := cmp.Diff(want, got); want == nil || diff != "" {
			w.t.Errorf("%s %s (-central +kit):\n%s", class, name, diff)
		}
	}
}

// gone expects objects of a class not to be on the kit.
func (w againWorld) gone(class string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		if got := w.shown(w.local, class, name); got != nil {
			w.t.Errorf("%s %s is still on the kit: %s", class, name, asJSON(got))
		}
	}
}

func (w againWorld) programComesAndGoes() {
	w.again()
	w.gone("programs", "vector")
	everything := func(check func(class string, names ...string)) {
		check("programs", "vector")
		check("programStages", "bite")
		check("dataElements", "bites", "disease")
		check("trackedEntityAttributes", "village")
		check("optionSets", "diagnosis")
		check("options", "malaria", "dengue", "other")
		check("programRules", "many")
		check("programRuleActions", "warn")
		check("programRuleVariables", "bitten")
		check("relationshipTypes", "contact")
		check("trackedEntityInstanceFilters", "bittenToday")
	}
	for range 2 {
		w.programs = []string{"program", "water", "vector"}
		w.scope()
		w.again()
		everything(w.alike)
		w.programs = []string{"program", "water"}
		w.scope()
		receipt := w.again()
		everything(w.gone)
		if receipt.Removed.Removed < 12 {
			w.t.Errorf("%d objects removed", receipt.Removed.Removed)
		}
		w.alike("trackedEntityTypes", "patient")
		w.alike("programs", "program", "water")
	}
}

func (w againWorld) optionsChange() {
	w.programs = append(w.programs, "vector")
	w.scope()
	w.again()
	w.edit("options", "dengue", func(option map[string]any) { option["name"], option["code"] = "Dengue fever", "ACC_DF_"+w.id("run") })
	w.edit("optionSets", "diagnosis", func(set map[string]any) { set["options"] = []any{w.ref("dengue"), w.ref("other")} })
	w.remove("options", "malaria")
	w.again()
	w.gone("options", "malaria")
	w.alike("options", "dengue", "other")
	w.alike("optionSets", "diagnosis")
	// It comes back under its old uid.
	w.give("options")
	w.edit("optionSets", "diagnosis", func(set map[string]any) { set["options"] = []any{w.ref("malaria"), w.ref("dengue"), w.ref("other")} })
	w.again()
	w.alike("options", "malaria", "dengue", "other")
	w.alike("optionSets", "diagnosis")
}

func (w againWorld) unitsChange() {
	w.define("organisationUnits", "barrio", map[string]any{"openingDate": "2000-01-01", "parent": w.ref("soloy")})
	w.define("organisationUnits", "river", map[string]any{"openingDate": "2000-01-01", "parent": w.ref("country")})
	w.give("organisationUnits")
	w.edit("programs", "water", func(program map[string]any) {
		program["organisationUnits"] = append(program["organisationUnits"].([]any), w.ref("barrio"), w.ref("river"))
	})
	w.again()
	paths := func(names ...string) {
		for _, name := range names {
			var here, there struct {
				Path  string
				Level int
			}
			w.must(w.central.Get(w.t.Context(), "organisationUnits", w.id(name), "path,level", &there))
			w.must(w.local.Get(w.t.Context(), "organisationUnits", w.id(name), "path,level", &here))
			if here.Path != there.Path || here.Level != strings.Count(here.Path, "/") {
				w.t.Errorf("%s is at %s, level %d; at central at %s", name, here.Path, here.Level, there.Path)
			}
		}
	}
	paths("soloy", "barrio")
	// Soloy moves below Cerro, with its quarter; Cerro gets another name.
	w.edit("organisationUnits", "soloy", func(unit map[string]any) {
		unit["parent"] = w.ref("cerro")
		delete(unit, "path")
		delete(unit, "level")
	})
	w.edit("organisationUnits", "cerro", func(unit map[string]any) { unit["name"], unit["shortName"] = "Cerro Alto", "Alto" })
	w.edit("organisationUnits", "barrio", func(unit map[string]any) { unit["closedDate"] = "2025-12-31T00:00:00.000" })
	w.again()
	paths("soloy", "barrio", "cerro")
	w.alike("organisationUnits", "soloy", "barrio", "cerro")
	// It opens again.
	w.edit("organisationUnits", "barrio", func(unit map[string]any) { delete(unit, "closedDate") })
	// The river comes into the scope, and leaves it.
	w.gone("organisationUnits", "river")
	for range 2 {
		w.units = []string{"villages", "river"}
		w.scope()
		w.again()
		w.alike("organisationUnits", "river", "barrio")
		w.alike("programs", "water")
		w.units = []string{"villages"}
		w.scope()
		w.again()
		w.gone("organisationUnits", "river")
	}
}

func (w againWorld) fieldsChange() {
	w.again()
	w.edit("programs", "program", func(program map[string]any) {
		var kept []any
		for _, item := range program["programTrackedEntityAttributes"].([]any) {
			switch of := item.(map[string]any)["trackedEntityAttribute"].(map[string]any)["id"]; of {
			case w.id("community"):
				continue
			case w.id("phone"):
				item.(map[string]any)["mandatory"] = true
			}
			kept = append(kept, item)
		}
		program["programTrackedEntityAttributes"] = kept
	})
	w.edit("trackedEntityTypes", "patient", func(of map[string]any) {
		of["trackedEntityTypeAttributes"].([]any)[0].(map[string]any)["mandatory"] = true
	})
	w.edit("dataElements", "weight", func(element map[string]any) { element["valueType"] = "INTEGER" })
	w.edit("dataElements", "chlorine", func(element map[string]any) { element["optionSet"] = w.ref("diagnosis"); element["valueType"] = "TEXT" })
	w.edit("programStages", "visit", func(stage map[string]any) {
		stage["repeatable"] = false
		stage["programStageDataElements"] = slices.DeleteFunc(stage["programStageDataElements"].([]any), func(item any) bool {
			return item.(map[string]any)["dataElement"].(map[string]any)["id"] == w.id("remark")
		})
	})
	w.define("dataElements", "births", map[string]any{
		"valueType": "INTEGER_ZERO_OR_POSITIVE", "domainType": "AGGREGATE", "aggregationType": "SUM", "categoryCombo": w.defaultCombo(),
		"sharing": map[string]any{"public": "rwrw----", "external": false},
	})
	w.give("dataElements")
	w.edit("dataElements", "weight", func(element map[string]any) { element["valueType"] = "INTEGER" })
	w.edit("dataElements", "chlorine", func(element map[string]any) { element["optionSet"] = w.ref("diagnosis"); element["valueType"] = "TEXT" })
	w.edit("dataSets", "form", func(form map[string]any) {
		form["dataSetElements"] = []any{
			map[string]any{"dataElement": w.ref("cases"), "dataSet": w.ref("form")}, map[string]any{"dataElement": w.ref("births"), "dataSet": w.ref("form")},
		}
	})
	w.again()
	w.alike("programs", "program")
	w.alike("trackedEntityTypes", "patient")
	w.alike("programStages", "visit", "sample")
	w.alike("dataElements", "weight", "chlorine", "cases", "births")
	w.alike("dataSets", "form")
	w.alike("optionSets", "diagnosis")
	w.gone("trackedEntityAttributes", "community")
	w.gone("dataElements", "remark", "deaths")
}

func (w againWorld) stagesChange() {
	w.programs = append(w.programs, "vector")
	w.scope()
	w.define("programStages", "followUp", map[string]any{"program": w.ref("vector"), "programStageDataElements": []any{w.stageElement("followUp", "bites")}})
	w.define("programStageSections", "about", map[string]any{"programStage": w.ref("bite"), "dataElements": []any{w.ref("bites")}, "sortOrder": 1})
	w.define("programSections", "who", map[string]any{"program": w.ref("vector"), "trackedEntityAttributes": []any{w.ref("village")}, "sortOrder": 1})
	for _, object := range w.metadata["programs"] {
		if object["id"] == w.id("vector") {
			object["programStages"], object["programSections"] = []any{w.ref("bite"), w.ref("followUp")}, []any{w.ref("who")}
		}
	}
	for _, object := range w.metadata["programStages"] {
		if object["id"] == w.id("bite") {
			object["programStageSections"] = []any{w.ref("about")}
		}
	}
	w.give("programs", "programSections", "programStages", "programStageSections")
	w.again()
	w.alike("programStages", "bite", "followUp")
	w.alike("programStageSections", "about")
	w.alike("programSections", "who")
	w.remove("programStageSections", "about")
	w.remove("programSections", "who")
	w.remove("programStages", "followUp")
	w.remove("programRuleActions", "warn")
	w.remove("programRules", "many")
	w.remove("programRuleVariables", "bitten")
	w.again()
	w.gone("programStages", "followUp")
	w.gone("programStageSections", "about")
	w.gone("programSections", "who")
	w.gone("programRuleActions", "warn")
	w.gone("programRules", "many")
	w.gone("programRuleVariables", "bitten")
	w.alike("programs", "vector")
	w.alike("programStages", "bite")
}

func (w againWorld) wordsChange() {
	w.again()
	group := map[string]any{"id": w.id("doctors"), "name": "Doctors " + w.id("run"), "users": []any{w.ref("lidia")}}
	w.must(w.central.Do(w.t.Context(), http.MethodPost, "/api/userGroups", nil, group, nil))
	w.edit("programs", "program", func(program map[string]any) {
		program["translations"] = []any{map[string]any{"locale": "es", "property": "NAME", "value": "Visita"}}
		program["sharing"] = map[string]any{
			"public": "r-r-----", "external": false,
			"userGroups": map[string]any{w.id("doctors"): map[string]any{"id": w.id("doctors"), "access": "rwrw----"}},
		}
	})
	w.edit("dataElements", "weight", func(element map[string]any) {
		element["translations"] = []any{map[string]any{"locale": "es", "property": "NAME", "value": "Peso"}}
		element["formName"], element["description"] = "How heavy", "In kilograms"
	})
	w.again()
	w.alike("programs", "program")
	w.alike("dataElements", "weight")
	w.alike("userGroups", "doctors")
	w.edit("dataElements", "weight", func(element map[string]any) {
		element["translations"] = []any{}
		delete(element, "formName")
		delete(element, "description")
	})
	w.edit("programs", "program", func(program map[string]any) {
		program["sharing"] = map[string]any{"public": "rwrw----", "external": false}
	})
	w.remove("userGroups", "doctors")
	w.again()
	w.alike("programs", "program")
	w.alike("dataElements", "weight")
	w.gone("userGroups", "doctors")
}

func (w againWorld) namesChangeHands() {
	w.programs = append(w.programs, "vector")
	w.scope()
	w.again()
	var code, name string
	w.edit("dataElements", "bites", func(element map[string]any) { code, name = element["code"].(string), element["name"].(string) })
	w.remove("programRuleActions", "warn")
	w.remove("programRules", "many")
	w.remove("programRuleVariables", "bitten")
	w.edit("programStages", "bite", func(stage map[string]any) {
		stage["programStageDataElements"] = []any{w.stageElement("bite", "disease")}
	})
	w.remove("dataElements", "bites")
	w.define("dataElements", "stings", map[string]any{
		"name": name, "code": code, "valueType": "INTEGER", "domainType": "TRACKER", "aggregationType": "NONE", "categoryCombo": w.defaultCombo(),
	})
	w.metadata["dataElements"] = slices.DeleteFunc(w.metadata["dataElements"], func(object map[string]any) bool { return object["id"] == w.id("bites") })
	w.give("dataElements")
	w.edit("programStages", "bite", func(stage map[string]any) {
		stage["programStageDataElements"] = []any{w.stageElement("bite", "disease"), w.stageElement("bite", "stings")}
	})
	w.again()
	w.alike("dataElements", "stings")
	w.gone("dataElements", "bites")
}
