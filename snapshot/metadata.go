package snapshot

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Metadata is the metadata of a scope as one server gave it: JSON objects by class, the classes named as in
// DHIS2's metadata export ("programs", "dataElements"). Every object has an id and stands there once. It is
// the bundle that the metadata import takes, once prepared (see Metadata.Prepare).
type Metadata map[string][]json.RawMessage

// IDs are the ids of the objects of one class, in the order they stand there.
func (m Metadata) IDs(class string) []string {
	ids := make([]string, 0, len(m[class]))
	for _, object := range m[class] {
		ids = append(ids, objectID(object))
	}
	return ids
}

// Count is the number of objects of all classes.
func (m Metadata) Count() int {
	count := 0
	for _, objects := range m {
		count += len(objects)
	}
	return count
}

// With is m and the objects of more that m does not have.
func (m Metadata) With(more Metadata) Metadata {
	all := maps.Clone(m)
	for class, objects := range more {
		has := map[string]bool{}
		for _, id := range m.IDs(class) {
			has[id] = true
		}
		list := slices.Clone(m[class])
		for _, object := range objects {
			if !has[objectID(object)] {
				list = append(list, object)
			}
		}
		all[class] = list
	}
	return all
}

// Classes are the names of the classes that have objects, sorted.
func (m Metadata) Classes() []string {
	return slices.Sorted(maps.Keys(m))
}

// parents are the uids of the org units' parents, by their own.
func (m Metadata) parents() map[string]string {
	parents := map[string]string{}
	for _, raw := range m["organisationUnits"] {
		var unit struct {
			ID     string
			Parent struct{ ID string }
		}
		if json.Unmarshal(raw, &unit) == nil && unit.Parent.ID != "" {
			parents[unit.ID] = unit.Parent.ID
		}
	}
	return parents
}

// objectID is the id of a metadata object; empty where it has none.
func objectID(object json.RawMessage) string {
	var head struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(object, &head) != nil {
		return ""
	}
	return head.ID
}

// neverCloned tells whether a class stays behind whatever it holds: what would make the kit act towards
// other machines on its own, credentials, the server's own records, and files.
func neverCloned(class string) bool {
	switch class {
	case "system", "date",
		"jobConfigurations", "eventHooks", "routes", "aggregateDataExchanges",
		"apiToken", "apiTokens", "oAuth2Clients", "oauth2Clients", "oAuth2Authorizations", "oAuth2AuthorizationConsents",
		"metadataVersions", "metadataProposals", "pushAnalyses", "smsCommands",
		"fileResources", "externalFileResources", "documents", "icons":
		return true
	}
	return false
}

// isDefaultCategoryClass tells whether DHIS2 makes an object named "default" of this class on every server.
func isDefaultCategoryClass(class string) bool {
	return slices.Contains(defaultCategoryClasses(), class)
}

func defaultCategoryClasses() []string {
	return []string{"categoryOptions", "categories", "categoryCombos", "categoryOptionCombos"}
}

// Defaults are the uids of a server's default category objects. A fresh server makes them with fixed uids
// (DefaultCategoryService, 2.40 to 2.43), servers that were born long ago have others.
type Defaults struct {
	CategoryOption      string `json:"categoryOption,omitempty"`
	Category            string `json:"category,omitempty"`
	CategoryCombo       string `json:"categoryCombo,omitempty"`
	CategoryOptionCombo string `json:"categoryOptionCombo,omitempty"`
}

// Defaults are the default category objects that the metadata holds; a class without one is left empty.
func (m Metadata) Defaults() Defaults {
	var d Defaults
	for class, uid := range map[string]*string{
		"categoryOptions": &d.CategoryOption, "categories": &d.Category,
		"categoryCombos": &d.CategoryCombo, "categoryOptionCombos": &d.CategoryOptionCombo,
	} {
		for _, object := range m[class] {
			var head struct{ ID, Name, Code string }
			if json.Unmarshal(object, &head) == nil && head.Name == "default" {
				*uid = head.ID
			}
		}
	}
	return d
}

// Mapping maps the uids of d's objects to those of another server's. Equal and unknown ones are not in it,
// so that between most servers it is empty.
func (d Defaults) Mapping(to Defaults) map[string]string {
	mapping := map[string]string{}
	for _, pair := range [][2]string{
		{d.CategoryOption, to.CategoryOption}, {d.Category, to.Category},
		{d.CategoryCombo, to.CategoryCombo}, {d.CategoryOptionCombo, to.CategoryOptionCombo},
	} {
		if pair[0] != "" && pair[1] != "" && pair[0] != pair[1] {
			mapping[pair[0]] = pair[1]
		}
	}
	return mapping
}

// decodeObject reads a JSON object with its numbers as they were written.
func decodeObject(raw json.RawMessage) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, err
	}
	return object, nil
}

// encodeObject writes a JSON object with its keys sorted and its text as it is.
func encodeObject(object any) (json.RawMessage, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buffer.Bytes(), "\n"), nil
}

// Reference is a metadata object that another one names.
type Reference struct {
	Class, ID string
}

// referencedClass is the class of the objects that a property of an object of class names; empty where the
// property refers to nothing that a scope carries.
func referencedClass(class, property string) string {
	switch property {
	case "categories", "categoryCombos", "categoryOptionCombos", "categoryOptionGroups", "categoryOptions", "dataApprovalLevels",
		"dataElementGroups", "dataElements", "dataSets", "indicatorGroups", "indicators", "legendSets", "optionGroups", "options",
		"organisationUnitGroups", "organisationUnits", "predictors", "programIndicators", "programRuleActions", "programSections",
		"programStageSections", "programStages", "sections", "trackedEntityAttributes", "userGroups", "userRoles", "users", "validationRules":
		return property
	case "attribute", "categoryCombo", "categoryOption", "categoryOptionCombo", "categoryOptionGroup", "categoryOptionGroupSet",
		"dataElement", "dataEntryForm", "dataSet", "eventVisualization", "indicator", "indicatorType", "legendSet", "map", "option",
		"optionGroup", "optionSet", "program", "programIndicator", "programRule", "programStage", "programStageSection",
		"trackedEntityAttribute", "trackedEntityType", "visualization":
		return property + "s"
	case "notificationTemplates":
		if class == "dataSets" {
			return "dataSetNotificationTemplates"
		}
		return "programNotificationTemplates"
	case "category", "catDimensionConstraints":
		return "categories"
	case "enrollmentCategoryCombo", "attributeCombo": // of 2.43
		return "categoryCombos"
	case "attributeOptionCombo", "outputCombo":
		return "categoryOptionCombos"
	case "cogsDimensionConstraints":
		return "categoryOptionGroupSets"
	case "nextScheduleDate", "output", "recipientDataElement":
		return "dataElements"
	case "commentOptionSet":
		return "optionSets"
	case "relatedProgram":
		return "programs"
	case "recipientProgramAttribute":
		return "trackedEntityAttributes"
	case "dataViewOrganisationUnits", "teiSearchOrganisationUnits", "parent":
		return "organisationUnits"
	case "managedGroups", "managedByGroups", "recipientUserGroup", "recipientUserGroups", "notificationRecipients":
		return "userGroups"
	case "workflow":
		return "dataApprovalWorkflows"
	case "resources": // of dashboards
		return "documents"
	}
	return ""
}

// isFollowed tells whether an object of this class is fetched when something carried names it. Programs,
// data sets and what belongs to one of them are carried by the scope or not at all, units and people by
// rules of their own; what is left is what forms are made of.
func isFollowed(class string) bool {
	switch class {
	case "categories", "categoryCombos", "categoryOptions", "categoryOptionCombos", "dataElements",
		"dataEntryForms", "indicators", "indicatorTypes", "legendSets", "attributes", "options",
		"optionGroups", "optionSets", "programNotificationTemplates", "dataSetNotificationTemplates",
		"trackedEntityTypes", "trackedEntityAttributes", "userGroups":
		return true
	}
	return false
}

// references lists what an object names, each once, sorted; groups named in its sharing are among them.
func references(class string, object map[string]any) []Reference {
	found := map[Reference]bool{}
	var walk func(property string, value any)
	walk = func(property string, value any) {
		switch value := value.(type) {
		case []any:
			for _, item := range value {
				walk(property, item)
			}
		case map[string]any:
			if property == "sharing" {
				groups, _ := value["userGroups"].(map[string]any)
				for id := range groups {
					found[Reference{"userGroups", id}] = true
				}
				return
			}
			if id, _ := value["id"].(string); id != "" {
				if target := referencedClass(class, property); target != "" {
					found[Reference{target, id}] = true
				}
			}
			for property, value := range value {
				walk(property, value)
			}
		}
	}
	for property, value := range object {
		walk(property, value)
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b Reference) int {
		return cmp.Or(strings.Compare(a.Class, b.Class), strings.Compare(a.ID, b.ID))
	})
}
