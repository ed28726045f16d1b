package dhis2sim

import (
	"encoding/json"
	"strings"
)

// class is what the server knows of one class of metadata beyond the objects' own JSON.
type class struct {
	// klass is the Java class that reports name.
	klass string
	// shared classes have sharing; an object without any gets it on import.
	shared bool
	// required properties must not be empty (E4000), separated by spaces.
	required string
	// unique properties may hold a value once in a class (E5003), separated by spaces.
	unique string
	// defaults are the values of properties that an import left out, as a JSON object.
	defaults string
}

// classes are the classes by the name under which the API serves them.
var classes = map[string]class{
	"aggregateDataExchanges":          {klass: "dataexchange.aggregate.AggregateDataExchange", shared: true, required: "name source target", unique: "name code"},
	"apiToken":                        {klass: "security.apikey.ApiToken", shared: true, required: "key type"},
	"attributes":                      {klass: "attribute.Attribute", shared: true, required: "name valueType", unique: "name code", defaults: `{"mandatory":false,"unique":false}`},
	"categories":                      {klass: "category.Category", shared: true, required: "name shortName dataDimensionType", unique: "name shortName code", defaults: `{"categoryOptions":[],"dataDimension":false}`},
	"categoryCombos":                  {klass: "category.CategoryCombo", shared: true, required: "name dataDimensionType", unique: "name code", defaults: `{"categories":[],"skipTotal":false}`},
	"categoryOptionCombos":            {klass: "category.CategoryOptionCombo", required: "categoryCombo", unique: "code", defaults: `{"categoryOptions":[],"ignoreApproval":false}`},
	"categoryOptionGroupSets":         {klass: "category.CategoryOptionGroupSet", shared: true, required: "name shortName dataDimensionType", unique: "name shortName code", defaults: `{"categoryOptionGroups":[],"dataDimension":true}`},
	"categoryOptionGroups":            {klass: "category.CategoryOptionGroup", shared: true, required: "name shortName dataDimensionType", unique: "name shortName code", defaults: `{"categoryOptions":[]}`},
	"categoryOptions":                 {klass: "category.CategoryOption", shared: true, required: "name shortName", unique: "name shortName code", defaults: `{"organisationUnits":[]}`},
	"constants":                       {klass: "constant.Constant", shared: true, required: "name shortName", unique: "name shortName code", defaults: `{"value":0.0}`},
	"dashboards":                      {klass: "dashboard.Dashboard", shared: true, required: "name", unique: "code", defaults: `{"dashboardItems":[],"restrictFilters":false}`},
	"dataApprovalLevels":              {klass: "dataapproval.DataApprovalLevel", shared: true, required: "name level orgUnitLevel", unique: "name code"},
	"dataApprovalWorkflows":           {klass: "dataapproval.DataApprovalWorkflow", shared: true, required: "name periodType", unique: "name code"},
	"dataElementGroupSets":            {klass: "dataelement.DataElementGroupSet", shared: true, required: "name shortName", unique: "name shortName code", defaults: `{"dataElementGroups":[],"compulsory":false,"dataDimension":true}`},
	"dataElementGroups":               {klass: "dataelement.DataElementGroup", shared: true, required: "name shortName", unique: "name shortName code", defaults: `{"dataElements":[]}`},
	"dataElements":                    {klass: "dataelement.DataElement", shared: true, required: "name shortName valueType domainType aggregationType", unique: "name shortName code", defaults: `{"legendSets":[],"aggregationLevels":[],"zeroIsSignificant":false,"categoryCombo":{"id":"bjDvmb4bfuf"}}`},
	"dataEntryForms":                  {klass: "dataentryform.DataEntryForm", required: "name", unique: "name code"},
	"dataSetNotificationTemplates":    {klass: "dataset.notifications.DataSetNotificationTemplate", required: "name messageTemplate", unique: "code"},
	"dataSets":                        {klass: "dataset.DataSet", shared: true, required: "name shortName periodType", unique: "shortName code", defaults: `{"dataSetElements":[],"organisationUnits":[],"indicators":[],"version":0,"dataInputPeriods":[],"compulsoryDataElementOperands":[],"legendSets":[],"mobile":false,"expiryDays":0.0,"timelyDays":15.0,"notifyCompletingUser":false,"openFuturePeriods":0,"openPeriodsAfterCoEndDate":0,"fieldCombinationRequired":false,"validCompleteOnly":false,"noValueRequiresComment":false,"skipOffline":false,"dataElementDecoration":false,"renderAsTabs":false,"renderHorizontally":false,"compulsoryFieldsCompleteOnly":false,"categoryCombo":{"id":"bjDvmb4bfuf"}}`},
	"documents":                       {klass: "document.Document", shared: true, required: "name url", unique: "code"},
	"eventFilters":                    {klass: "programstagefilter.EventFilter", shared: true, required: "name program"},
	"eventHooks":                      {klass: "eventhook.EventHook", shared: true, required: "name source targets", unique: "name code"},
	"eventReports":                    {klass: "eventreport.EventReport", shared: true, required: "name program type", unique: "code"},
	"eventCharts":                     {klass: "eventchart.EventChart", shared: true, required: "name program type", unique: "code"},
	"eventVisualizations":             {klass: "eventvisualization.EventVisualization", shared: true, required: "name program type", unique: "code"},
	"expressionDimensionItems":        {klass: "expressiondimensionitem.ExpressionDimensionItem", shared: true, required: "name shortName", unique: "code"},
	"externalMapLayers":               {klass: "mapping.ExternalMapLayer", shared: true, required: "name url mapLayerPosition mapService imageFormat", unique: "name code"},
	"indicatorGroupSets":              {klass: "indicator.IndicatorGroupSet", shared: true, required: "name shortName", unique: "shortName code", defaults: `{"indicatorGroups":[],"compulsory":false}`},
	"indicatorGroups":                 {klass: "indicator.IndicatorGroup", shared: true, required: "name", unique: "code", defaults: `{"indicators":[]}`},
	"indicatorTypes":                  {klass: "indicator.IndicatorType", required: "name factor", unique: "name code", defaults: `{"number":false}`},
	"indicators":                      {klass: "indicator.Indicator", shared: true, required: "name shortName indicatorType numerator denominator", unique: "code", defaults: `{"legendSets":[],"annualized":false}`},
	"legendSets":                      {klass: "legend.LegendSet", shared: true, required: "name", unique: "name code", defaults: `{"legends":[]}`},
	"maps":                            {klass: "mapping.Map", shared: true, required: "name", unique: "code"},
	"optionGroupSets":                 {klass: "option.OptionGroupSet", shared: true, required: "name", unique: "name code", defaults: `{"optionGroups":[],"dataDimension":true}`},
	"optionGroups":                    {klass: "option.OptionGroup", shared: true, required: "name shortName", unique: "name shortName code", defaults: `{"options":[]}`},
	"optionSets":                      {klass: "option.OptionSet", shared: true, required: "name valueType", unique: "name code", defaults: `{"options":[],"version":0}`},
	"options":                         {klass: "option.Option", required: "name code"},
	"organisationUnitGroupSets":       {klass: "organisationunit.OrganisationUnitGroupSet", shared: true, required: "name shortName", unique: "name shortName code", defaults: `{"organisationUnitGroups":[],"compulsory":false,"dataDimension":true,"includeSubhierarchyInAnalytics":false}`},
	"organisationUnitGroups":          {klass: "organisationunit.OrganisationUnitGroup", shared: true, required: "name shortName", unique: "name shortName code", defaults: `{"organisationUnits":[]}`},
	"organisationUnitLevels":          {klass: "organisationunit.OrganisationUnitLevel", required: "name level", unique: "level code"},
	"organisationUnits":               {klass: "organisationunit.OrganisationUnit", required: "name shortName openingDate", unique: "code"},
	"predictorGroups":                 {klass: "predictor.PredictorGroup", shared: true, required: "name", unique: "name code", defaults: `{"predictors":[]}`},
	"predictors":                      {klass: "predictor.Predictor", required: "name shortName output periodType generator", unique: "name shortName code"},
	"programIndicatorGroups":          {klass: "program.ProgramIndicatorGroup", shared: true, required: "name", unique: "name code", defaults: `{"programIndicators":[]}`},
	"programIndicators":               {klass: "program.ProgramIndicator", shared: true, required: "name shortName program", unique: "name shortName code", defaults: `{"legendSets":[],"displayInForm":false,"analyticsType":"EVENT","analyticsPeriodBoundaries":[]}`},
	"programNotificationTemplates":    {klass: "program.notification.ProgramNotificationTemplate", required: "name messageTemplate", unique: "code", defaults: `{"notifyUsersInHierarchyOnly":false,"sendRepeatable":false}`},
	"programRuleActions":              {klass: "programrule.ProgramRuleAction", required: "programRuleActionType", unique: "code"},
	"programRuleVariables":            {klass: "programrule.ProgramRuleVariable", required: "name program programRuleVariableSourceType", unique: "code", defaults: `{"useCodeForOptionSet":false,"valueType":"TEXT"}`},
	"programRules":                    {klass: "programrule.ProgramRule", required: "name program", unique: "code"},
	"programSections":                 {klass: "program.ProgramSection", required: "name", unique: "code", defaults: `{"trackedEntityAttributes":[],"sortOrder":0}`},
	"programStageSections":            {klass: "program.ProgramStageSection", required: "name", unique: "code", defaults: `{"dataElements":[],"programIndicators":[],"sortOrder":0}`},
	"programStageWorkingLists":        {klass: "programstageworkinglist.ProgramStageWorkingList", shared: true, required: "name program programStage", unique: "code"},
	"programStages":                   {klass: "program.ProgramStage", shared: true, required: "name", unique: "code", defaults: `{"notificationTemplates":[],"programStageDataElements":[],"repeatable":false,"minDaysFromStart":0,"autoGenerateEvent":true,"displayGenerateEventBox":true,"generatedByEnrollmentDate":false,"blockEntryForm":false,"preGenerateUID":false,"openAfterEnrollment":false,"remindCompleted":false,"allowGenerateNextVisit":false,"hideDueDate":false,"enableUserAssignment":false,"referral":false,"validationStrategy":"ON_COMPLETE","featureType":"NONE"}`},
	"programs":                        {klass: "program.Program", shared: true, required: "name shortName programType", unique: "code", defaults: `{"notificationTemplates":[],"programTrackedEntityAttributes":[],"organisationUnits":[],"version":0,"displayIncidentDate":true,"ignoreOverdueEvents":false,"onlyEnrollOnce":false,"selectEnrollmentDatesInFuture":false,"selectIncidentDatesInFuture":false,"skipOffline":false,"displayFrontPageList":false,"useFirstStageDuringRegistration":false,"expiryDays":0,"completeEventsExpiryDays":0,"openDaysAfterCoEndDate":0,"minAttributesRequiredToSearch":1,"maxTeiCountToReturn":0,"accessLevel":"OPEN","categoryCombo":{"id":"bjDvmb4bfuf"}}`},
	"relationshipTypes":               {klass: "relationship.RelationshipType", shared: true, required: "name fromToName fromConstraint toConstraint", unique: "name code", defaults: `{"bidirectional":false,"referral":false}`},
	"reports":                         {klass: "report.Report", shared: true, required: "name", unique: "code"},
	"routes":                          {klass: "route.Route", shared: true, required: "name", unique: "name code"},
	"sections":                        {klass: "dataset.Section", required: "name dataSet", unique: "code", defaults: `{"dataElements":[],"indicators":[],"greyedFields":[],"sortOrder":0,"showRowTotals":false,"showColumnTotals":false,"disableDataElementAutoGroup":false}`},
	"sqlViews":                        {klass: "sqlview.SqlView", shared: true, required: "name sqlQuery type cacheStrategy", unique: "name code"},
	"trackedEntityAttributes":         {klass: "trackedentity.TrackedEntityAttribute", shared: true, required: "name shortName valueType aggregationType", unique: "name shortName code", defaults: `{"legendSets":[],"aggregationType":"NONE","inherit":false,"displayOnVisitSchedule":false,"displayInListNoProgram":false,"confidential":false,"unique":false,"generated":false,"pattern":"","orgunitScope":false,"skipSynchronization":false}`},
	"trackedEntityInstanceFilters":    {klass: "trackedentityfilter.TrackedEntityFilter", shared: true, required: "name program", unique: "code"},
	"trackedEntityTypes":              {klass: "trackedentity.TrackedEntityType", shared: true, required: "name shortName", unique: "name shortName code", defaults: `{"trackedEntityTypeAttributes":[],"minAttributesRequiredToSearch":1,"maxTeiCountToReturn":0,"allowAuditLog":false,"featureType":"NONE"}`},
	"userGroups":                      {klass: "user.UserGroup", shared: true, required: "name", unique: "code", defaults: `{"users":[],"managedGroups":[]}`},
	"userRoles":                       {klass: "user.UserRole", shared: true, required: "name", unique: "name code", defaults: `{"authorities":[],"restrictions":[]}`},
	"users":                           {klass: "user.User", required: "firstName surname", unique: "code", defaults: `{"organisationUnits":[],"dataViewOrganisationUnits":[],"teiSearchOrganisationUnits":[],"userRoles":[],"cogsDimensionConstraints":[],"catDimensionConstraints":[],"externalAuth":false,"selfRegistered":false,"invitation":false,"disabled":false}`},
	"validationNotificationTemplates": {klass: "validation.notification.ValidationNotificationTemplate", required: "name", unique: "code"},
	"validationRuleGroups":            {klass: "validation.ValidationRuleGroup", shared: true, required: "name", unique: "name code", defaults: `{"validationRules":[]}`},
	"validationRules":                 {klass: "validation.ValidationRule", shared: true, required: "name leftSide operator periodType rightSide", unique: "name shortName code", defaults: `{"legendSets":[],"notificationTemplates":[]}`},
	"visualizations":                  {klass: "visualization.Visualization", shared: true, required: "name type", unique: "code"},
}

// javaClass is the full name of a class in reports.
func javaClass(name string) string { return "org.hisp.dhis." + classes[name].klass }

// simpleName is a class's Java name without its package, as messages write it.
func simpleName(name string) string {
	klass := classes[name].klass
	return klass[strings.LastIndexByte(klass, '.')+1:]
}

// literal decodes one of this file's JSON objects, anew at every call.
func literal(defaults string) object {
	o := object{}
	if defaults != "" {
		dec := json.NewDecoder(strings.NewReader(defaults))
		dec.UseNumber()
		_ = dec.Decode(&o) // a literal of this file
	}
	return o
}

// namedReferences are references whose property is not named for the class that it refers to.
var namedReferences = map[string]string{
	"parent":                                "organisationUnits",
	"children":                              "organisationUnits",
	"dataViewOrganisationUnits":             "organisationUnits",
	"teiSearchOrganisationUnits":            "organisationUnits",
	"relatedProgram":                        "programs",
	"commentOptionSet":                      "optionSets",
	"managedGroups":                         "userGroups",
	"managedByGroups":                       "userGroups",
	"recipientUserGroup":                    "userGroups",
	"recipientProgramAttribute":             "trackedEntityAttributes",
	"recipientDataElement":                  "dataElements",
	"workflow":                              "dataApprovalWorkflows",
	"output":                                "dataElements",
	"outputCombo":                           "categoryOptionCombos",
	"createdBy":                             "users",
	"lastUpdatedBy":                         "users",
	"user":                                  "users",
	"notificationRecipients":                "userGroups",
	"recipientUserGroups":                   "userGroups",
	"attributeCombo":                        "categoryCombos",
	"catDimensionConstraints":               "categories",
	"cogsDimensionConstraints":              "categoryOptionGroupSets",
	"dataElementValueDimension":             "dataElements",
	"attributeValueDimension":               "trackedEntityAttributes",
	"itemOrganisationUnitGroups":            "organisationUnitGroups",
	"nextScheduleDate":                      "dataElements",
	"resources":                             "documents",
	"dataElementGroups.groupSets":           "dataElementGroupSets",
	"indicatorGroups.groupSets":             "indicatorGroupSets",
	"organisationUnitGroups.groupSets":      "organisationUnitGroupSets",
	"categoryOptionGroups.groupSets":        "categoryOptionGroupSets",
	"dataSets.notificationTemplates":        "dataSetNotificationTemplates",
	"programs.notificationTemplates":        "programNotificationTemplates",
	"programStages.notificationTemplates":   "programNotificationTemplates",
	"validationRules.notificationTemplates": "validationNotificationTemplates",
}

// singulars maps "dataElement" to "dataElements" for every class.
var singulars = func() map[string]string {
	out := map[string]string{}
	for plural := range classes {
		singular := strings.TrimSuffix(plural, "s")
		if stem, ok := strings.CutSuffix(plural, "ies"); ok {
			singular = stem + "y"
		}
		out[singular] = plural
	}
	return out
}()

// referredClass is the class that a property of a class refers to, "" when the property holds no
// reference. in is "" inside an embedded object.
func referredClass(in, property string) string {
	if class := namedReferences[in+"."+property]; class != "" {
		return class
	}
	if class := namedReferences[property]; class != "" {
		return class
	}
	if _, ok := classes[property]; ok {
		return property
	}
	return singulars[property]
}

// inverse is a property that is not kept but found from the objects that refer here.
type inverse struct{ class, property string } // the objects that refer, and by which of their properties

// inverses are the inverse properties by class and property.
var inverses = map[string]map[string]inverse{
	"categories":             {"categoryCombos": {"categoryCombos", "categories"}},
	"categoryCombos":         {"categoryOptionCombos": {"categoryOptionCombos", "categoryCombo"}},
	"categoryOptions":        {"categories": {"categories", "categoryOptions"}, "categoryOptionCombos": {"categoryOptionCombos", "categoryOptions"}, "categoryOptionGroups": {"categoryOptionGroups", "categoryOptions"}},
	"categoryOptionGroups":   {"groupSets": {"categoryOptionGroupSets", "categoryOptionGroups"}},
	"dataElements":           {"dataElementGroups": {"dataElementGroups", "dataElements"}, "dataSetElements": {"dataSets", "dataSetElements"}},
	"dataElementGroups":      {"groupSets": {"dataElementGroupSets", "dataElementGroups"}},
	"dataSets":               {"sections": {"sections", "dataSet"}},
	"indicators":             {"indicatorGroups": {"indicatorGroups", "indicators"}, "dataSets": {"dataSets", "indicators"}},
	"indicatorGroups":        {"groupSets": {"indicatorGroupSets", "indicatorGroups"}},
	"organisationUnits":      {"children": {"organisationUnits", "parent"}, "programs": {"programs", "organisationUnits"}, "dataSets": {"dataSets", "organisationUnits"}, "organisationUnitGroups": {"organisationUnitGroups", "organisationUnits"}, "users": {"users", "organisationUnits"}},
	"organisationUnitGroups": {"groupSets": {"organisationUnitGroupSets", "organisationUnitGroups"}},
	"dataApprovalWorkflows":  {"dataSets": {"dataSets", "workflow"}},
	"predictors":             {"predictorGroups": {"predictorGroups", "predictors"}},
	"programIndicators":      {"programIndicatorGroups": {"programIndicatorGroups", "programIndicators"}},
	"programs":               {"programIndicators": {"programIndicators", "program"}, "programRuleVariables": {"programRuleVariables", "program"}, "userRoles": {"userRoles", "programs"}},
	"userGroups":             {"managedByGroups": {"userGroups", "managedGroups"}},
	"userRoles":              {"users": {"users", "userRoles"}},
	"users":                  {"userGroups": {"userGroups", "users"}},
	"validationRules":        {"validationRuleGroups": {"validationRuleGroups", "validationRules"}},
}

// family is a pair of properties that mirror each other: the parent lists its children, the child names
// its parent. Both are kept, the child's word counts.
type family struct{ parents, list, children, parent string }

var families = []family{
	{"optionSets", "options", "options", "optionSet"},
	{"programRules", "programRuleActions", "programRuleActions", "programRule"},
	{"programStages", "programStageSections", "programStageSections", "programStage"},
	{"programs", "programStages", "programStages", "program"},
	{"programs", "programSections", "programSections", "program"},
}

// embedded is an object that lives inside another and has no class of its own.
type embedded struct {
	owner    string // its property that names the object around it
	subject  string // its property that names what it is about
	defaults string // as of a class
}

// embeddedLists are the embedded objects by the property that lists them.
var embeddedLists = map[string]embedded{
	"dataSetElements":                {owner: "dataSet", subject: "dataElement"},
	"programStageDataElements":       {"programStage", "dataElement", `{"compulsory":false,"allowProvidedElsewhere":false,"displayInReports":false,"allowFutureDate":false,"renderOptionsAsRadio":false,"skipSynchronization":false,"skipAnalytics":false}`},
	"programTrackedEntityAttributes": {"program", "trackedEntityAttribute", `{"mandatory":false,"displayInList":false,"allowFutureDate":false,"renderOptionsAsRadio":false,"searchable":false}`},
	"trackedEntityTypeAttributes":    {"trackedEntityType", "trackedEntityAttribute", `{"mandatory":false,"displayInList":false,"searchable":false}`},
}

// computed properties are never kept: the server makes them.
var computed = fields(`access allItems dimension dimensionItem dimensionItemType dimensionType displayContent displayDenominatorDescription
displayDescription displayDueDateLabel displayEnrollmentDateLabel displayExecutionDateLabel displayFormName displayFromToName displayIncidentDateLabel
displayName displayNumeratorDescription displayShortName displayToFromName externalAccess favorite favorites href interpretations isDefault items leaf
lastUpdated lastUpdatedBy optionSetValue periodOffset publicAccess registration subscribed subscribers user userAccesses userCredentials userGroupAccesses
withoutRegistration`)

// fields is a set of names separated by white space.
func fields(names string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(names) {
		set[name] = true
	}
	return set
}
