package dhis2sim

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// aggregateSummary is the report of an import of data values or completions.
type aggregateSummary struct {
	ResponseType    string              `json:"responseType"`
	Status          string              `json:"status"`
	Description     string              `json:"description,omitempty"`
	Counts          aggregateCounts     `json:"importCount"`
	Conflicts       []aggregateConflict `json:"conflicts"`
	RejectedIndexes []int               `json:"rejectedIndexes"`
	DataSetComplete string              `json:"dataSetComplete,omitempty"`
}

type aggregateCounts struct {
	Imported int `json:"imported"`
	Updated  int `json:"updated"`
	Ignored  int `json:"ignored"`
	Deleted  int `json:"deleted"`
}

type aggregateConflict struct {
	Object    string            `json:"object,omitempty"`
	Objects   map[string]string `json:"objects,omitempty"`
	Value     string            `json:"value"`
	ErrorCode string            `json:"errorCode,omitempty"`
	Property  string            `json:"property,omitempty"`
	Indexes   []int             `json:"indexes,omitempty"`
}

func newSummary(description string) *aggregateSummary {
	return &aggregateSummary{ResponseType: "ImportSummary", Status: "SUCCESS", Description: description, Conflicts: []aggregateConflict{}, RejectedIndexes: []int{}}
}

// conflict notes what is wrong with a row; the same conflict of several rows is one with several indexes.
func (s *aggregateSummary) conflict(index int, c aggregateConflict) {
	s.RejectedIndexes = append(s.RejectedIndexes, index)
	for i, known := range s.Conflicts {
		if known.ErrorCode == c.ErrorCode && known.Value == c.Value && c.ErrorCode != "" {
			s.Conflicts[i].Indexes = append(s.Conflicts[i].Indexes, index)
			return
		}
	}
	if c.ErrorCode != "" {
		c.Indexes = []int{index}
	}
	s.Conflicts = append(s.Conflicts, c)
}

// writeSummary answers with a summary: 409 unless all went well, though some rows may have been stored.
func writeSummary(w http.ResponseWriter, summary *aggregateSummary) {
	if summary.Status != "SUCCESS" {
		writeMessage(w, http.StatusConflict, summary.Status, "One more conflicts encountered, please check import summary.", summary)
		return
	}
	writeMessage(w, http.StatusOK, "OK", "Import was successful.", summary)
}

// dataValueImport is one import of data values under way.
type dataValueImport struct {
	*Server
	caller     *account
	parameters url.Values
	summary    *aggregateSummary
	dataSet    object // of the head, nil when it names none
	head       object
	strategy   string
	dryRun     bool
}

// postDataValues serves POST /api/dataValueSets.
func (s *Server) postDataValues(w http.ResponseWriter, r *http.Request, caller *account) {
	if !s.authorized(w, caller, "F_DATAVALUE_ADD") {
		return
	}
	payload, err := parseObject(r.Body)
	if err != nil && !(s.minor == 43 && errors.Is(err, errNotObject)) {
		summary := newSummary("The import process failed: " + err.Error())
		summary.Status = "ERROR"
		writeSummary(w, summary)
		return
	}
	parameters := r.URL.Query()
	begin := func() *dataValueImport {
		i := &dataValueImport{Server: s, caller: caller, parameters: parameters, head: payload, summary: newSummary(""), strategy: parameters.Get("importStrategy"), dryRun: parameters.Get("dryRun") == "true"}
		if i.strategy == "" {
			i.strategy = "CREATE_AND_UPDATE"
		}
		i.dataSet = i.find("dataSets", text(payload["dataSet"]), "dataSetIdScheme")
		return i
	}
	work := func() *aggregateSummary {
		i := begin()
		if s.minor < 43 {
			i.importRows()
		} else {
			i.importGroup()
		}
		return i.summary
	}
	if parameters.Get("async") == "true" {
		s.startTask(w, r, "DATAVALUE_IMPORT", func() any { return work() })
		return
	}
	if i := begin(); s.minor == 43 {
		if fault := i.broken(i.rows()); fault != "" {
			writeError(w, http.StatusInternalServerError, "", fault)
			return
		}
	}
	writeSummary(w, work())
}

// find is an object that a row or the head names, in the id scheme of the request.
func (i *dataValueImport) find(class, id, scheme string) object {
	given := first(i.parameters, scheme, "idScheme")
	if inHead := text(i.head[scheme]); inHead != "" {
		given = inHead
	}
	return i.named(class, id, given)
}

// row is one data value of the payload with what it names.
type row struct {
	index                              int
	sent                               object
	element, unit, category, attribute object // nil when unknown
	period                             isoPeriod
	periodOK                           bool
	value, comment                     string
	deleted                            bool
}

// name is an id in a row, or in the head where the row has none.
func (i *dataValueImport) name(sent object, field string) string {
	if own := scalar(sent[field]); own != "" {
		return own
	}
	return scalar(i.head[field])
}

func (i *dataValueImport) rows() []row {
	var rows []row
	for index, item := range list(i.head["dataValues"]) {
		sent, _ := item.(object)
		r := row{
			index: index, sent: sent, value: scalar(sent["value"]), comment: text(sent["comment"]), deleted: sent["deleted"] == true,
			element:   i.find("dataElements", i.name(sent, "dataElement"), "dataElementIdScheme"),
			unit:      i.find("organisationUnits", i.name(sent, "orgUnit"), "orgUnitIdScheme"),
			category:  i.find("categoryOptionCombos", scalar(sent["categoryOptionCombo"]), "categoryOptionComboIdScheme"),
			attribute: i.find("categoryOptionCombos", i.name(sent, "attributeOptionCombo"), "categoryOptionComboIdScheme"),
		}
		r.period, r.periodOK = parsePeriod(i.name(sent, "period"), i.options.Zone)
		rows = append(rows, r)
	}
	return rows
}

// key is where a row's value is stored; option combos that the row leaves out are the default one.
func (i *dataValueImport) key(r row) dataValueKey {
	key := dataValueKey{text(r.element["id"]), r.period.iso, text(r.unit["id"]), text(r.category["id"]), text(r.attribute["id"])}
	if key.categoryOptionCombo == "" {
		key.categoryOptionCombo = i.defaultOptionCombo()
	}
	if key.attributeOptionCombo == "" {
		key.attributeOptionCombo = i.defaultOptionCombo()
	}
	return key
}

// importRows imports as 2.41 and 2.42 do: each row by itself.
func (i *dataValueImport) importRows() {
	i.summary.Description = "Import process completed successfully"
	i.summary.DataSetComplete = "false"
	if !i.checkHead() {
		i.summary.Status, i.summary.Description = "ERROR", "Import process was aborted"
		return
	}
	i.completeHead()
	for _, r := range i.rows() {
		if code, property, message := i.checkRow(r); code != "" {
			i.summary.Counts.Ignored++
			i.summary.conflict(r.index, aggregateConflict{Object: conflictObject(r, property), Value: message, ErrorCode: code, Property: property})
			continue
		}
		i.storeRow(r)
	}
	i.summary.warn()
}

// warn takes back the success where there are conflicts.
func (s *aggregateSummary) warn() {
	if len(s.Conflicts) > 0 {
		s.Status = "WARNING"
	}
}

// conflictObject is the id in the row that a conflict is about.
func conflictObject(r row, property string) string {
	switch property {
	case "value", "comment":
		property = "dataElement"
	}
	return scalar(r.sent[property])
}

// checkHead tells whether the head names only what exists and may be used.
func (i *dataValueImport) checkHead() bool {
	refuse := func(code, property, message string) {
		i.summary.Conflicts = append(i.summary.Conflicts, aggregateConflict{Object: text(i.head[property]), ErrorCode: code, Property: property, Value: message + ": `" + text(i.head[property]) + "`"})
	}
	if given := text(i.head["dataSet"]); given != "" && i.dataSet == nil {
		refuse("E7600", "dataSet", "Data set not found or not accessible")
	}
	if i.dataSet != nil && !i.mayWriteData(i.caller, i.dataSet) {
		refuse("E7601", "dataSet", "User does not have write access for DataSet")
	}
	if given := text(i.head["orgUnit"]); given != "" && i.find("organisationUnits", given, "orgUnitIdScheme") == nil {
		refuse("E7603", "orgUnit", "Org unit not found or not accessible")
	}
	if given := text(i.head["attributeOptionCombo"]); given != "" && i.find("categoryOptionCombos", given, "categoryOptionComboIdScheme") == nil {
		refuse("E7604", "attributeOptionCombo", "Attribute option combo not found or not accessible")
	}
	return len(i.summary.Conflicts) == 0
}

// completeHead marks the form of the head as complete where it has a completeDate.
func (i *dataValueImport) completeHead() {
	date := scalar(i.head["completeDate"])
	unit := i.find("organisationUnits", text(i.head["orgUnit"]), "orgUnitIdScheme")
	period, ok := parsePeriod(scalar(i.head["period"]), i.options.Zone)
	if date == "" || date == "false" || i.dataSet == nil || unit == nil || !ok {
		return
	}
	at := i.day(date)
	if at.IsZero() || at.After(i.now()) {
		at = i.now()
	}
	i.summary.DataSetComplete = at.Format(time.DateOnly)
	if !i.dryRun {
		i.aggregate.complete(completionKey{text(i.dataSet["id"]), period.iso, text(unit["id"]), i.defaultOptionCombo()}, &completion{date: at, storedBy: i.caller.username, completed: true})
	}
}

// strict tells whether a check was asked for, by parameter or by system setting.
func (i *dataValueImport) strict(check string) bool {
	return i.parameters.Get("strict"+check) == "true" || i.setting("keyDataImportStrict"+check) == true
}

// checkRow returns the code, the property and the message of what is first wrong with a row.
func (i *dataValueImport) checkRow(r row) (code, property, message string) {
	sent := func(field string) string { // as Java writes it
		if own := scalar(r.sent[field]); own != "" {
			return own
		}
		return "null"
	}
	quoted := func(text string, values ...any) string { return fmt.Sprintf(text, values...) }
	element, category, attribute := sent("dataElement"), scalar(r.sent["categoryOptionCombo"]), i.name(r.sent, "attributeOptionCombo")
	switch {
	case r.element == nil || !i.mayRead(i.caller, r.element):
		return "E7610", "dataElement", quoted("Data element not found or not accessible: `%s`", element)
	case !r.periodOK:
		return "E7611", "period", quoted("Period not valid: `%s`", sent("period"))
	case r.unit == nil:
		return "E7612", "orgUnit", quoted("Organisation unit not found or not accessible: `%s`", sent("orgUnit"))
	case r.category == nil && category != "":
		return "E7613", "categoryOptionCombo", quoted("Category option combo not found or not accessible for writing data: `%s`", category)
	case r.attribute == nil && attribute != "":
		return "E7615", "attributeOptionCombo", quoted("Attribute option combo not found or not accessible for writing data: `%s`", attribute)
	}
	for _, combo := range []struct {
		code, property, what string
		of                   object
	}{{"E7614", "categoryOptionCombo", "Category", r.category}, {"E7616", "attributeOptionCombo", "Attribute", r.attribute}} {
		for _, option := range refUIDs(combo.of["categoryOptions"]) {
			if !i.mayWriteData(i.caller, i.object("categoryOptions", option)) {
				return combo.code, combo.property, quoted("%s option combo: `%s` option not accessible: `%s`", combo.what, combo.of["id"], option)
			}
		}
	}
	valueType := text(r.element["valueType"])
	empty := strings.TrimSpace(r.value) == ""
	deletes := r.deleted || i.strategy == "DELETE"
	switch {
	case !i.unitWithin(text(r.unit["id"]), i.caller.captureUnits):
		return "E7617", "orgUnit", quoted("Organisation unit: `%s` not in hierarchy of current user: `%s`", sent("orgUnit"), i.caller.uid)
	case empty && r.comment == "" && !deletes:
		return "E7618", "value", quoted("Data value or comment not specified for data element: `%s`", element)
	case !validValue(valueType, normalBoolean(valueType, r.value)):
		return "E7619", "value", quoted("Value must match value type of data element `%s`: `%s`", element, valueProblem(valueType, r.value))
	case len(r.comment) > 50000:
		return "E7620", "comment", "Invalid comment: comment_length_greater_than_max_length"
	case !empty && !i.isOption(r.element, r.value):
		return "E7621", "value", quoted("Data value is not a valid option of the data element option set: `%s`", element)
	}
	return i.checkForms(r, element)
}

// formsOf are the data sets that a data element belongs to.
func (s *Server) formsOf(element string) []object {
	var found []object
	for _, dataSet := range s.objects("dataSets") {
		if slices.ContainsFunc(list(dataSet["dataSetElements"]), func(member any) bool { return refUID(member.(object)["dataElement"]) == element }) {
			found = append(found, dataSet)
		}
	}
	return found
}

// elementCombo is the category combo of a data element in a data set, which may have its own there.
func elementCombo(dataSet, element object) string {
	for _, item := range list(dataSet["dataSetElements"]) {
		member := item.(object)
		if combo := refUID(member["categoryCombo"]); combo != "" && refUID(member["dataElement"]) == element["id"] {
			return combo
		}
	}
	return refUID(element["categoryCombo"])
}

// checkForms checks a row against the data sets that it may belong to.
func (i *dataValueImport) checkForms(r row, element string) (code, property, message string) {
	key := i.key(r)
	forms := i.formsOf(key.dataElement)
	own := forms
	if i.dataSet != nil {
		own = []object{i.dataSet}
	}
	period, unit := scalar(r.sent["period"]), scalar(r.sent["orgUnit"])
	holds := func(forms []object, condition func(object) bool) bool { return slices.ContainsFunc(forms, condition) }
	inUnit := func(dataSet object) bool { return slices.Contains(refUIDs(dataSet["organisationUnits"]), key.orgUnit) }
	required := func(what string) bool {
		return i.parameters.Get("require"+what) == "true" || i.setting("keyDataImportRequire"+what) == true
	}
	switch {
	case r.category == nil && required("CategoryOptionCombo"):
		return "E7630", "categoryOptionCombo", "Category option combo is required but is not specified"
	case r.attribute == nil && required("AttributeOptionCombo"):
		return "E7631", "attributeOptionCombo", "Attribute option combo is required but is not specified"
	case i.strict("Periods") && !holds(forms, func(d object) bool { return d["periodType"] == r.period.kind }):
		return "E7632", "", fmt.Sprintf("Period type of period: `%s` not valid for data element: `%s`", period, element)
	case i.strict("DataElements") && !holds(own, func(d object) bool { return holds(forms, func(f object) bool { return f["id"] == d["id"] }) }):
		return "E7633", "dataElement", fmt.Sprintf("Data element: `%s` is not part of dataset(s): `%s`", element, strings.Join(ids(own), ","))
	case i.strict("CategoryOptionCombos") && !holds(append(forms, nil), func(d object) bool {
		return refUID(i.object("categoryOptionCombos", key.categoryOptionCombo)["categoryCombo"]) == elementCombo(d, r.element)
	}):
		return "E7634", "categoryOptionCombo", fmt.Sprintf("Category option combo: `%s` must be part of category combo of data element: `%s`", key.categoryOptionCombo, element)
	case i.strict("AttributeOptionCombos") && !holds(forms, func(d object) bool {
		return refUID(i.object("categoryOptionCombos", key.attributeOptionCombo)["categoryCombo"]) == refUID(d["categoryCombo"])
	}):
		return "E7635", "attributeOptionCombo", fmt.Sprintf("Attribute option combo: `%s` must be part of category combo of data sets of data element: `%s`", key.attributeOptionCombo, element)
	case i.strict("OrganisationUnits") && !holds(forms, inUnit):
		return "E7636", "orgUnit", fmt.Sprintf("Data element: `%s` must be assigned through data sets to organisation unit: `%s`", element, unit)
	}
	if i.forced() {
		return "", "", ""
	}
	targets := own
	if i.dataSet == nil {
		targets = slices.DeleteFunc(slices.Clone(forms), func(d object) bool {
			return !inUnit(d) || refUID(d["categoryCombo"]) != refUID(i.object("categoryOptionCombos", key.attributeOptionCombo)["categoryCombo"])
		})
	}
	for _, dataSet := range targets {
		uid := text(dataSet["id"])
		switch {
		case i.locked(dataSet, r.period):
			return "E7640", "period", fmt.Sprintf("Current date is past expiry days for period: `%s`  and data set: `%s`", period, uid)
		case i.tooEarly(dataSet, r.period) != "":
			return "E7641", "period", fmt.Sprintf("Period: `%s` is after latest open future period: `%s` for data element: `%s` and data set: `%s`", period, i.tooEarly(dataSet, r.period), element, uid)
		case !i.open(dataSet, r.period):
			return "E7643", "period", fmt.Sprintf("Period: `%s` is not open for this data set at this time: `%s`", period, uid)
		}
	}
	return "", "", ""
}

func ids(objects []object) []string {
	var out []string
	for _, o := range objects {
		out = append(out, text(o["id"]))
	}
	return out
}

// forced tells whether a superuser asked to have time limits overlooked.
func (i *dataValueImport) forced() bool {
	return i.parameters.Get("force") == "true" && i.caller.superuser()
}

// locked tells whether a data set's expiry days have passed for a period, and for the caller.
func (i *dataValueImport) locked(dataSet object, p isoPeriod) bool {
	days := int(number(wholeNumber(dataSet["expiryDays"])))
	if days <= 0 || i.caller.may("F_EDIT_EXPIRED") {
		return false
	}
	return i.now().After(p.end().AddDate(0, 0, days+1))
}

// tooEarly is the latest period that a data set is open for, where this one ends after it.
func (i *dataValueImport) tooEarly(dataSet object, p isoPeriod) string {
	latest, known := latestOpen(text(dataSet["periodType"]), int(number(dataSet["openFuturePeriods"])), i.now())
	if known && p.end().After(latest.end()) {
		return latest.iso
	}
	return ""
}

// open tells whether the data set's input periods, where it has any, admit the period now.
func (i *dataValueImport) open(dataSet object, p isoPeriod) bool {
	periods := list(dataSet["dataInputPeriods"])
	for _, item := range periods {
		input := item.(object)
		opens, closes := i.day(text(input["openingDate"])), i.day(text(input["closingDate"]))
		if refUID(input["period"]) == p.iso && !i.now().Before(opens) && (closes.IsZero() || !i.now().After(closes)) {
			return true
		}
	}
	return len(periods) == 0
}

// isOption tells whether a value is one of the element's options, where it has an option set.
func (i *dataValueImport) isOption(element object, value string) bool {
	set := refUID(element["optionSet"])
	if set == "" {
		return true
	}
	values := []string{value}
	if element["valueType"] == "MULTI_TEXT" {
		values = strings.Split(value, ",")
	}
	codes := map[string]bool{}
	for _, option := range i.referrers("options", "optionSet", set) {
		codes[text(i.object("options", option)["code"])] = true
	}
	return !slices.ContainsFunc(values, func(v string) bool { return !codes[v] })
}

// insignificant tells whether a value is a zero that its data element does not keep.
func insignificant(element object, value string) bool {
	summed := slices.Contains([]string{"SUM", "AVERAGE_SUM_ORG_UNIT", "LAST", "LAST_AVERAGE_ORG_UNIT"}, text(element["aggregationType"]))
	return isNumber(value) && strings.Trim(value, "0.") == "" && summed && element["zeroIsSignificant"] != true
}

// followUp tells whether a row is marked for follow-up. DHIS2 2.43 writes followup and reads followUp (observed on
// 2.43.1).
func (i *dataValueImport) followUp(r row) bool {
	if i.minor >= 43 {
		return r.sent["followUp"] == true
	}
	return r.sent["followup"] == true
}

// storeRow stores a row that was found good, and counts it.
func (i *dataValueImport) storeRow(r row) {
	key := i.key(r)
	old := i.aggregate.values[key]
	creates, updates := strings.HasPrefix(i.strategy, "CREATE"), strings.HasSuffix(i.strategy, "UPDATE")
	zero := insignificant(r.element, r.value)
	if zero && (old == nil || i.strategy == "CREATE") {
		return
	}
	value := &aggregateValue{
		value: normalBoolean(text(r.element["valueType"]), r.value), comment: r.comment, followup: i.followUp(r),
		storedBy: i.caller.username, created: i.now(), lastUpdated: i.now(), deleted: r.deleted,
	}
	if storedBy := text(r.sent["storedBy"]); storedBy != "" {
		value.storedBy = storedBy
	}
	if old != nil {
		value.created = old.created
	}
	count := &i.summary.Counts
	empty := value.value == "" && value.comment == ""
	switch live := old != nil && !old.deleted; {
	case live && i.strategy == "DELETE", live && updates && (empty || r.deleted || zero):
		count.Deleted++
		value.deleted = true
	case live && updates && value.value == old.value && value.comment == old.comment && value.followup == old.followup:
		count.Ignored++
		return
	case live && updates:
		count.Updated++
	case !live && creates && !empty:
		count.Imported++
	default:
		count.Ignored++
		if !(!live && creates) {
			i.summary.RejectedIndexes = append(i.summary.RejectedIndexes, r.index)
		}
		return
	}
	i.put(key, value)
}

// put stores a value, and notes the file that it refers to.
func (i *dataValueImport) put(key dataValueKey, value *aggregateValue) {
	if i.dryRun {
		return
	}
	i.aggregate.put(key, value)
	if i.fileKnown(value.value) && !value.deleted {
		i.assignFile(value.value)
	}
}

// normalBoolean is a value as it is stored: of booleans, the many ways to say yes and no become true and false.
func normalBoolean(valueType, value string) string {
	if valueType == "BOOLEAN" {
		switch strings.ToLower(value) {
		case "t", "y", "1", "yes", "true":
			return "true"
		case "f", "n", "0", "no", "false":
			return "false"
		}
	}
	return value
}

// valueProblem is DHIS2's key for a value that does not have the form of its type.
func valueProblem(valueType, value string) string {
	if utf16Length(value) > 50000 {
		return "value_length_greater_than_max_length"
	}
	switch valueType {
	case "NUMBER":
		return "value_not_numeric"
	case "PHONE_NUMBER", "COORDINATE", "URL", "UNIT_INTERVAL", "PERCENTAGE", "INTEGER", "TRUE_ONLY":
		return "value_not_" + strings.ToLower(valueType)
	case "INTEGER_POSITIVE", "INTEGER_NEGATIVE", "INTEGER_ZERO_OR_POSITIVE":
		return "value_not_" + strings.ToLower(strings.TrimPrefix(valueType, "INTEGER_")) + "_integer"
	case "BOOLEAN":
		return "value_not_bool"
	case "FILE_RESOURCE", "IMAGE":
		return "value_not_valid_file_resource_uid"
	case "ORGANISATION_UNIT":
		return "value_not_valid_org_unit_uid"
	}
	return "value_not_valid_" + strings.ToLower(valueType)
}

// wholeNumber cuts the fraction off a JSON number such as 15.0.
func wholeNumber(v any) any {
	whole, _, _ := strings.Cut(scalar(v), ".")
	return looseNumber(whole)
}
