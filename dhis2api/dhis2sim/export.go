package dhis2sim

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// exportMetadata exports everything, or the classes named by the parameters, each with its own fields,
// filter and order.
func (s *Server) exportMetadata(w http.ResponseWriter, r *http.Request, caller *account) {
	parameters := r.URL.Query()
	selected := []string{}
	for name := range parameters {
		class, _, _ := strings.Cut(name, ":")
		if _, known := classes[class]; known && parameters.Get(class) != "false" && !slices.Contains(selected, class) {
			selected = append(selected, class)
		}
	}
	if len(selected) == 0 {
		if !caller.may("F_METADATA_EXPORT") {
			writeError(w, http.StatusConflict, "", "Unfiltered access to metadata export requires super user or 'F_METADATA_EXPORT' authority.")
			return
		}
		selected = slices.Collect(maps.Keys(classes))
	}
	if parameters.Has("users") && !caller.may("F_USER_VIEW") && !caller.may("F_METADATA_EXPORT") {
		writeError(w, http.StatusConflict, "", "Unfiltered access to metadata export requires super user or 'F_METADATA_EXPORT' authority.")
		return
	}
	export := s.exportHead()
	for _, class := range selected {
		own := url.Values{}
		for _, name := range []string{"fields", "filter", "order", "rootJunction"} {
			own[name] = parameters[name]
			if specific, ok := parameters[class+":"+name]; ok {
				own[name] = specific
			}
		}
		viewer := s.viewer(parameters)
		found, err := query{viewer, class, own}.find(caller)
		if err != nil {
			writeError(w, http.StatusBadRequest, "E1003", err.Error())
			return
		}
		filter := fieldsOf(own, ":owner")
		for _, o := range found {
			export[class] = append(list(export[class]), viewer.object(class, o, filter))
		}
	}
	writeJSON(w, http.StatusOK, export)
}

// exportHead is what every export begins with.
func (s *Server) exportHead() object {
	return object{"system": object{"id": nil, "rev": s.revision(), "version": s.options.Version, "date": s.now().Format("2006-01-02T15:04:05.000-0700")}}
}

// dependencies are the properties that an export by dependency follows, by class; a dot goes through a part.
var dependencies = map[string][]string{
	"programs":                     strings.Fields("categoryCombo dataEntryForm trackedEntityType programSections notificationTemplates programStages programTrackedEntityAttributes.trackedEntityAttribute programIndicators programRuleVariables"),
	"dataSets":                     strings.Fields("dataSetElements.dataElement dataSetElements.categoryCombo sections indicators dataEntryForm legendSets categoryCombo compulsoryDataElementOperands.dataElement compulsoryDataElementOperands.categoryOptionCombo"),
	"categoryCombos":               strings.Fields("categories categoryOptionCombos"),
	"dashboards":                   strings.Fields("dashboardItems.visualization dashboardItems.eventVisualization dashboardItems.eventChart dashboardItems.eventReport dashboardItems.map dashboardItems.reports dashboardItems.resources"),
	"dataElementGroups":            strings.Fields("dataElements legendSets"),
	"optionSets":                   strings.Fields("options"),
	"optionGroups":                 strings.Fields("optionSet options"),
	"categories":                   strings.Fields("categoryOptions"),
	"categoryOptionCombos":         strings.Fields("categoryOptions"),
	"dataElements":                 strings.Fields("categoryCombo optionSet commentOptionSet"),
	"sections":                     strings.Fields("dataElements indicators greyedFields.dataElement greyedFields.categoryOptionCombo"),
	"indicators":                   strings.Fields("indicatorType"),
	"trackedEntityAttributes":      strings.Fields("optionSet"),
	"programSections":              strings.Fields("trackedEntityAttributes"),
	"programStages":                strings.Fields("notificationTemplates programStageDataElements.dataElement programStageSections dataEntryForm"),
	"programStageSections":         strings.Fields("programIndicators"),
	"programRuleVariables":         strings.Fields("trackedEntityAttribute dataElement programStage"),
	"programRules":                 strings.Fields("programRuleActions"),
	"programRuleActions":           strings.Fields("dataElement trackedEntityAttribute programIndicator programStageSection programStage optionGroup"),
	"programNotificationTemplates": strings.Fields("recipientProgramAttribute recipientDataElement"),
}

// exportWithDependencies exports an object with what it needs to work on another server.
func (s *Server) exportWithDependencies(w http.ResponseWriter, r *http.Request, class string, o object) {
	viewer := viewer{Server: s, withoutSharing: r.URL.Query().Get("skipSharing") == "true"} // `defaults` has no say here
	export := s.exportHead()
	filter := parseFields(":owner")
	done := map[string]bool{}
	var add func(class, uid string)
	add = func(class, uid string) {
		o := s.object(class, uid)
		if o == nil || done[class+uid] {
			return
		}
		done[class+uid] = true
		export[class] = append(list(export[class]), viewer.object(class, o, filter))
		for _, value := range list(o["attributeValues"]) {
			add("attributes", refUID(value.(object)["attribute"]))
		}
		for _, path := range dependencies[class] {
			names := strings.Split(path, ".")
			inside := class
			if len(names) > 1 {
				inside = ""
			}
			target := referredClass(inside, names[len(names)-1])
			for _, value := range (query{viewer: viewer}).valuesAt(class, o, names) {
				add(target, refUID(value))
			}
		}
		if class == "programs" {
			for _, rule := range s.referrers("programRules", "program", uid) {
				add("programRules", rule)
			}
		}
	}
	add(class, text(o["id"]))
	writeJSON(w, http.StatusOK, export)
}
