package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// idsAtOnce is how many uids a filter names in one request. A request line of 8 KB holds some 600 (DHIS2
// 2.42); a filter is percent-encoded and shares the line with others.
const idsAtOnce = 150

// TakeMetadata reads from central what a kit with this scope needs: for every program and data set the
// server's own dependency export, and what that leaves out. That is the org units of the scope with
// everything below them and all their ancestors, all levels, the unit groups that have one of these units,
// constants, option groups, relationship types between things carried, working lists, validation rules over
// carried data elements, the default category objects, the users whose capture units lie in the scope or above
// it with their roles and groups, groups named in sharing, and whatever else these objects name.
//
// The account of central needs to read metadata and users (F_METADATA_EXPORT or F_USER_VIEW); without it
// there are simply no users in the result. The objects are kept as central gave them.
func TakeMetadata(ctx context.Context, central *dhis2api.Client, scope *Scope) (Metadata, error) {
	t := &metadataTaking{central: central, collection: newMetadataCollection()}
	steps := []struct {
		what string
		take func(context.Context, *Scope) error
	}{
		{"organisation units", t.takeUnits},
		{"programs and data sets", t.takeForms},
		{"everything", t.takeEverything},
		{"levels, groups and constants", t.takeCommon},
		{"default category objects", t.takeDefaults},
		{"relationship types", t.takeRelationshipTypes},
		{"validation rules", t.takeValidationRules},
		{"users", t.takePeople},
		{"working lists", t.takeWorkingLists},
		{"what these objects name", func(ctx context.Context, _ *Scope) error { return t.takeReferences(ctx) }},
		{"org units of category options", t.takeOptionUnits},
		{"icons", t.takeIcons},
	}
	for _, step := range steps {
		if err := step.take(ctx, scope); err != nil {
			return nil, fmt.Errorf("metadata: %s: %w", step.what, err)
		}
	}
	return t.collection.metadata(), nil
}

// metadataTaking is the state of one TakeMetadata.
type metadataTaking struct {
	central    *dhis2api.Client
	collection *metadataCollection
}

// takeUnits takes the units of the scope with all below, and their ancestors.
func (t *metadataTaking) takeUnits(ctx context.Context, scope *Scope) error {
	for _, root := range scope.OrgUnits {
		if err := t.list(ctx, "organisationUnits", []string{"path:like:" + root.ID}, nil); err != nil {
			return err
		}
		if err := t.fetch(ctx, "organisationUnits", strings.Split(strings.Trim(root.Path, "/"), "/")); err != nil {
			return err
		}
		if !t.collection.has("organisationUnits", root.ID) {
			return fmt.Errorf("%s cannot be read", root.ID)
		}
	}
	return nil
}

// takeForms takes the programs and data sets with what the server counts as their dependencies.
func (t *metadataTaking) takeForms(ctx context.Context, scope *Scope) error {
	for _, program := range scope.Programs {
		if err := t.takeForm(ctx, "programs", program.ID); err != nil {
			return fmt.Errorf("program %s: %w", program.ID, err)
		}
	}
	for _, dataSet := range scope.DataSets {
		if err := t.takeForm(ctx, "dataSets", dataSet.ID); err != nil {
			return fmt.Errorf("data set %s: %w", dataSet.ID, err)
		}
	}
	return nil
}

func (t *metadataTaking) takeForm(ctx context.Context, class, uid string) error {
	bundle, err := t.central.MetadataWithDependencies(ctx, class, uid)
	if err != nil {
		return err
	}
	for class, objects := range bundle {
		if neverCloned(class) {
			continue
		}
		if err := t.collection.add(class, objects...); err != nil {
			return err
		}
	}
	return nil
}

// takeEverything takes all metadata, where that is wanted.
func (t *metadataTaking) takeEverything(ctx context.Context, scope *Scope) error {
	if !scope.Wanted.AllMetadata {
		return nil
	}
	for _, class := range everyClass() {
		if err := t.list(ctx, class, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// everyClass are the classes that go along when all metadata is wanted (2.41 to 2.43; a version that lacks one
// gives nothing). Not among them: org units, users and working lists, of which only some go; what is never
// cloned; and SQL that the server would run.
func everyClass() []string {
	return strings.Fields(`attributes categories categoryCombos categoryOptionCombos categoryOptionGroupSets categoryOptionGroups
		categoryOptions constants dashboards dataApprovalLevels dataApprovalWorkflows dataElementGroupSets dataElementGroups dataElements
		dataEntryForms dataSetNotificationTemplates dataSets eventCharts eventReports eventVisualizations externalMapLayers indicatorGroupSets
		indicatorGroups indicatorTypes indicators legendSets mapViews maps optionGroupSets optionGroups optionSets options
		organisationUnitGroupSets organisationUnitGroups organisationUnitLevels predictorGroups predictors programIndicatorGroups
		programIndicators programNotificationTemplates programRuleActions programRuleVariables programRules programSections
		programStageSections programStages programs relationshipTypes reports sections trackedEntityAttributes trackedEntityTypes
		userGroups userRoles validationNotificationTemplates validationRuleGroups validationRules visualizations`)
}

// takeCommon takes what forms use without naming it by a reference: levels, constants in expressions, unit
// groups in program rules, option groups that rules show and hide.
func (t *metadataTaking) takeCommon(ctx context.Context, _ *Scope) error {
	for _, class := range []string{"organisationUnitLevels", "constants"} {
		if err := t.list(ctx, class, nil, nil); err != nil {
			return err
		}
	}
	units := t.collection.objects["organisationUnits"]
	if err := t.list(ctx, "organisationUnitGroups", nil, func(group map[string]any) bool {
		return refersTo(group, "organisationUnits", units)
	}); err != nil {
		return err
	}
	optionSets := t.collection.objects["optionSets"]
	return t.list(ctx, "optionGroups", nil, func(group map[string]any) bool {
		optionSet, _ := group["optionSet"].(map[string]any)
		id, _ := optionSet["id"].(string)
		return optionSets[id] != nil
	})
}

// takeDefaults takes the default category objects, by which central's uids for them become known.
func (t *metadataTaking) takeDefaults(ctx context.Context, _ *Scope) error {
	for _, class := range defaultCategoryClasses() {
		if err := t.list(ctx, class, []string{"name:eq:default"}, nil); err != nil {
			return err
		}
	}
	return nil
}

// takeRelationshipTypes takes the relationship types of which one end at least is carried and the other
// can be: a tracked entity type can, a program outside the scope cannot.
func (t *metadataTaking) takeRelationshipTypes(ctx context.Context, _ *Scope) error {
	return t.list(ctx, "relationshipTypes", nil, func(relationshipType map[string]any) bool {
		touches := false
		for _, end := range []string{"fromConstraint", "toConstraint"} {
			constraint, _ := relationshipType[end].(map[string]any)
			for _, reference := range references("relationshipTypes", constraint) {
				switch {
				case t.collection.has(reference.Class, reference.ID):
					touches = true
				case !isFollowed(reference.Class):
					return false
				}
			}
		}
		return touches
	})
}

// takeValidationRules takes the rules that the data entry app runs over the scope's forms: those all of whose
// data elements are carried. With another one in it a rule could not be reckoned on the kit.
func (t *metadataTaking) takeValidationRules(ctx context.Context, _ *Scope) error {
	operand := regexp.MustCompile(`#\{([A-Za-z][A-Za-z0-9]{10})[}.]`)
	return t.list(ctx, "validationRules", nil, func(rule map[string]any) bool {
		operands := 0
		for _, property := range []string{"leftSide", "rightSide"} {
			side, _ := rule[property].(map[string]any)
			expression, _ := side["expression"].(string)
			for _, found := range operand.FindAllStringSubmatch(expression, -1) {
				operands++
				if !t.collection.has("dataElements", found[1]) {
					return false
				}
			}
		}
		return operands > 0
	})
}

// takeWorkingLists takes the lists that people work through, of the scope's programs. A list of what stands in
// another org unit, or waits for others only, is of no use on the kit.
func (t *metadataTaking) takeWorkingLists(ctx context.Context, scope *Scope) error {
	for class, criteria := range workingLists() {
		err := t.list(ctx, class, nil, func(list map[string]any) bool {
			program, _ := list["program"].(string) // of event filters; of the others it is an object
			if object, is := list["program"].(map[string]any); is {
				program, _ = object["id"].(string)
			}
			query, _ := list[criteria].(map[string]any)
			unit, _ := query["organisationUnit"].(string)
			assigned, _ := query["assignedUsers"].([]any)
			_, carried := scope.Program(program)
			return (carried || scope.Wanted.AllMetadata) && (unit == "" || t.collection.has("organisationUnits", unit)) &&
				(len(assigned) == 0 || slices.ContainsFunc(assigned, func(user any) bool {
					id, _ := user.(string)
					return t.collection.has("users", id)
				}))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// workingLists are the classes of working lists, each with the property that holds its criteria.
func workingLists() map[string]string {
	return map[string]string{
		"trackedEntityInstanceFilters": "entityQueryCriteria", "programStageWorkingLists": "programStageQueryCriteria", "eventFilters": "eventQueryCriteria",
	}
}

// takePeople takes the users who work in the scope, with their roles and groups.
func (t *metadataTaking) takePeople(ctx context.Context, scope *Scope) error {
	for _, root := range scope.OrgUnits {
		ancestors := strings.Split(strings.Trim(root.Path, "/"), "/")
		for _, filter := range []string{
			"organisationUnits.path:like:" + root.ID,
			"organisationUnits.id:in:[" + strings.Join(ancestors, ",") + "]",
		} {
			if err := t.list(ctx, "users", []string{filter}, nil); err != nil {
				return err
			}
		}
	}
	users := t.collection.objects["users"]
	roles := map[string]bool{}
	for _, raw := range users {
		user, err := decodeObject(raw)
		if err != nil {
			return err
		}
		for _, reference := range references("users", user) {
			if reference.Class == "userRoles" {
				roles[reference.ID] = true
			}
		}
	}
	if err := t.fetch(ctx, "userRoles", slices.Sorted(maps.Keys(roles))); err != nil {
		return err
	}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(users)), idsAtOnce) {
		filters := []string{"users.id:in:[" + strings.Join(chunk, ",") + "]"}
		if err := t.list(ctx, "userGroups", filters, nil); err != nil {
			return err
		}
	}
	return nil
}

// takeReferences fetches what carried objects name and the collection lacks, and what that names in turn,
// until nothing is missing that central shows. A group's own references are not followed: they lead to all
// of central's groups.
func (t *metadataTaking) takeReferences(ctx context.Context) error {
	asked := map[Reference]bool{}
	for {
		missing := map[string][]string{}
		for class, objects := range t.collection.objects {
			if class == "userGroups" {
				continue
			}
			for _, raw := range objects {
				object, err := decodeObject(raw)
				if err != nil {
					return fmt.Errorf("%s %s: %w", class, objectID(raw), err)
				}
				for _, reference := range references(class, object) {
					if !isFollowed(reference.Class) || t.collection.has(reference.Class, reference.ID) || asked[reference] {
						continue
					}
					asked[reference] = true
					missing[reference.Class] = append(missing[reference.Class], reference.ID)
				}
			}
		}
		if len(missing) == 0 {
			return nil
		}
		// In one order, so that a run that goes on after a cut asks the same again.
		for _, class := range slices.Sorted(maps.Keys(missing)) {
			slices.Sort(missing[class])
			if err := t.fetch(ctx, class, missing[class]); err != nil {
				return err
			}
		}
		for chunk := range slices.Chunk(missing["categoryCombos"], idsAtOnce) {
			filters := []string{"categoryCombo.id:in:[" + strings.Join(chunk, ",") + "]"}
			if err := t.list(ctx, "categoryOptionCombos", filters, nil); err != nil {
				return err
			}
		}
	}
}

// fetch adds objects by their ids; ids that central does not show are left out.
func (t *metadataTaking) fetch(ctx context.Context, class string, ids []string) error {
	for chunk := range slices.Chunk(ids, idsAtOnce) {
		if err := t.list(ctx, class, []string{idFilter(chunk)}, nil); err != nil {
			return err
		}
	}
	return nil
}

// list adds the objects of a class that pass the filters and, where there is one, the test. A class that
// this version or account does not have adds nothing.
func (t *metadataTaking) list(ctx context.Context, class string, filters []string, wanted func(map[string]any) bool) error {
	query := dhis2api.ListQuery{Filters: filters, Order: "id:asc"}
	for raw, err := range t.central.List(ctx, class, query) {
		if isDenied(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", class, err)
		}
		if wanted != nil {
			object, err := decodeObject(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", class, err)
			}
			if !wanted(object) {
				continue
			}
		}
		if err := t.collection.add(class, raw); err != nil {
			return err
		}
	}
	return nil
}

// isDenied tells whether a server knows the account but does not have the class, or not for this account.
func isDenied(err error) bool { return dhis2api.NotFound(err) || isForbidden(err) }

// refersTo tells whether a list of references in an object names one of the objects.
func refersTo(object map[string]any, property string, objects map[string]json.RawMessage) bool {
	list, _ := object[property].([]any)
	for _, item := range list {
		reference, _ := item.(map[string]any)
		id, _ := reference["id"].(string)
		if objects[id] != nil {
			return true
		}
	}
	return false
}

// metadataCollection gathers metadata objects from several answers, each object once.
type metadataCollection struct {
	objects map[string]map[string]json.RawMessage
}

func newMetadataCollection() *metadataCollection {
	return &metadataCollection{objects: map[string]map[string]json.RawMessage{}}
}

// add puts objects of a class into the collection. An object that is there already keeps its first form.
func (c *metadataCollection) add(class string, objects ...json.RawMessage) error {
	for _, object := range objects {
		id := objectID(object)
		if id == "" {
			return fmt.Errorf("%s: an object without id", class)
		}
		if c.objects[class] == nil {
			c.objects[class] = map[string]json.RawMessage{}
		}
		if _, there := c.objects[class][id]; !there {
			c.objects[class][id] = object
		}
	}
	return nil
}

func (c *metadataCollection) has(class, id string) bool {
	_, there := c.objects[class][id]
	return there
}

// metadata is the collection with each class sorted by id, so that the same objects give the same bytes.
func (c *metadataCollection) metadata() Metadata {
	m := Metadata{}
	for class, objects := range c.objects {
		for _, id := range slices.Sorted(maps.Keys(objects)) {
			m[class] = append(m[class], objects[id])
		}
	}
	return m
}
