package dhis2sim

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// aggregateStore keeps data values and completions in the order in which they came.
type aggregateStore struct {
	values      map[dataValueKey]*aggregateValue
	valueKeys   []dataValueKey
	completions map[completionKey]*completion
	forms       []completionKey
	changed     *changes
}

type dataValueKey struct{ dataElement, period, orgUnit, categoryOptionCombo, attributeOptionCombo string }

type aggregateValue struct {
	value, comment, storedBy string
	followup, deleted        bool
	created, lastUpdated     time.Time
}

type completionKey struct{ dataSet, period, orgUnit, attributeOptionCombo string }

type completion struct {
	date      time.Time
	storedBy  string
	completed bool
}

func newAggregateStore() *aggregateStore {
	return &aggregateStore{values: map[dataValueKey]*aggregateValue{}, completions: map[completionKey]*completion{}}
}

func (a *aggregateStore) put(key dataValueKey, value *aggregateValue) {
	if a.values[key] == nil {
		a.valueKeys = append(a.valueKeys, key)
	}
	a.values[key] = value
	a.changed.note(key)
}

// purge removes for good what was deleted.
func (a *aggregateStore) purge() {
	for key, v := range a.values {
		if v.deleted {
			delete(a.values, key)
			a.changed.note(key)
		}
	}
	a.valueKeys = slices.DeleteFunc(a.valueKeys, func(key dataValueKey) bool { return a.values[key] == nil })
}

func (a *aggregateStore) complete(key completionKey, c *completion) {
	if a.completions[key] == nil {
		a.forms = append(a.forms, key)
	}
	a.completions[key] = c
	a.changed.note(key)
}

func (s *Server) aggregateRoutes() {
	s.handle("GET /api/dataValueSets", s.exportDataValues)
	s.handle("POST /api/dataValueSets", s.postDataValues)
	s.handle("GET /api/completeDataSetRegistrations", s.exportCompletions)
	s.handle("POST /api/completeDataSetRegistrations", s.postCompletions)
	s.handle("DELETE /api/completeDataSetRegistrations", s.deleteCompletion)
}

// selection is what an aggregate query asks for.
type selection struct {
	zone       *time.Location
	dataSets   []string
	units      []string
	below      bool // children=true
	periods    map[string]bool
	start, end time.Time
	since      time.Time // last updated, or created
}

// several joins a parameter that may be given several times; DHIS2 2.42 also takes commas.
func several(parameters url.Values, name string) []string {
	joined := strings.Join(parameters[name], ",")
	if joined == "" {
		return nil
	}
	return strings.Split(joined, ",")
}

// selectData reads a query. Its second result is the code and message of what is wrong with it, in the
// order in which this version looks: 2.43 stops at the first, others report the last.
func (s *Server) selectData(parameters url.Values, needs, since string) (selection, [][2]string) {
	var wrong [][2]string
	fail := func(failed bool, code, message string) {
		if failed {
			wrong = append(wrong, [2]string{code, message})
		}
	}
	q := selection{zone: s.options.Zone, below: parameters.Get("children") == "true", periods: map[string]bool{}}
	identify := func(class, name, scheme string) (found []string) {
		for _, id := range several(parameters, name) {
			if o := s.named(class, id, first(parameters, scheme, "inputIdScheme")); o != nil {
				found = append(found, text(o["id"]))
			}
		}
		return found
	}
	q.dataSets = identify("dataSets", "dataSet", "inputDataSetIdScheme")
	q.units = identify("organisationUnits", "orgUnit", "inputOrgUnitIdScheme")
	groups := identify("organisationUnitGroups", "orgUnitGroup", "inputIdScheme")
	for _, group := range groups {
		q.units = append(q.units, refUIDs(s.object("organisationUnitGroups", group)["organisationUnits"])...)
	}
	for _, period := range several(parameters, "period") {
		if p, ok := parsePeriod(period, q.zone); ok {
			q.periods[p.iso] = true
		}
	}
	q.start, q.end = s.day(parameters.Get("startDate")), s.day(parameters.Get("endDate"))
	q.since = s.day(parameters.Get(since))
	duration, durationOK := durationOf(parameters.Get(since + "Duration"))
	if durationOK {
		q.since = s.now().Add(-duration)
	}
	dated := !q.start.IsZero() && !q.end.IsZero()
	updated := !q.since.IsZero() && (s.minor < 43 || since == "created")
	nothing := len(q.dataSets) == 0 && (needs == "E2013" || !parameters.Has("dataElement") && !parameters.Has("dataElementGroup"))
	fail(nothing, needs, "At least one data element, data set or data element group must be specified")
	fail(len(q.periods) == 0 && !dated && !updated, "E2002", "At least one period, start/end dates, last updated or last updated duration must be specified")
	fail(len(q.periods) > 0 && dated && s.minor == 43, "E2003", "Both periods and start/end date cannot be specified")
	fail(dated && q.start.After(q.end), "E2004", "Start date must be before end date")
	fail(parameters.Has(since+"Duration") && !durationOK, "E2005", "Duration is not valid: `"+parameters.Get(since+"Duration")+"`")
	fail(len(q.units) == 0, "E2006", "At least one organisation unit or organisation unit group must be specified")
	fail(number(looseNumber(parameters.Get("limit"))) < 0, "E2009", "Limit cannot be less than zero: `"+parameters.Get("limit")+"`")
	fail(q.below && len(groups) > 0, "E2007", "Organisation unit children cannot be included for organisation unit groups")
	return q, wrong
}

// first is the first parameter that is set, "" when none is.
func first(parameters url.Values, names ...string) string {
	for _, name := range names {
		if value := parameters.Get(name); value != "" {
			return value
		}
	}
	return ""
}

// named finds an object by id, or by code where the id scheme says so.
func (s *Server) named(class, id, scheme string) object {
	if strings.EqualFold(scheme, "CODE") {
		return s.objectByCode(class, id)
	}
	return s.object(class, id)
}

// day reads a date parameter, which may have a time; zero when it is none.
func (s *Server) day(value string) time.Time {
	for _, layout := range []string{"2006-01-02T15:04:05.000", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, value, s.options.Zone); err == nil {
			return t
		}
	}
	return time.Time{}
}

// durationOf reads a duration as DHIS2 writes it: "10d", "4h", "30m".
func durationOf(value string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(value, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		return 24 * d, err == nil
	}
	d, err := time.ParseDuration(value)
	return d, err == nil && value != ""
}

// inScope tells whether a unit and a period belong to the selection.
func (q selection) inScope(s *Server, unit, period string) bool {
	if !slices.Contains(q.units, unit) && !(q.below && s.unitWithin(unit, q.units)) {
		return false
	}
	if len(q.periods) > 0 {
		return q.periods[period]
	}
	if q.start.IsZero() || q.end.IsZero() {
		return true
	}
	p, ok := parsePeriod(period, q.zone)
	return ok && !p.start.Before(q.start) && !p.end().After(q.end)
}

// refuse answers a query that is wrong.
func (s *Server) refuse(w http.ResponseWriter, wrong [][2]string) bool {
	if len(wrong) == 0 {
		return false
	}
	failed := wrong[len(wrong)-1]
	if s.minor == 43 {
		failed = wrong[0]
	}
	writeError(w, http.StatusConflict, failed[0], failed[1])
	return true
}

// hidden is the code and the message of what in a query the caller may not see, "" when he may see it all.
func (s *Server) hidden(q selection, caller *account) (code, message string) {
	for _, dataSet := range q.dataSets {
		if !s.mayReadData(caller, s.object("dataSets", dataSet)) {
			return "E2010", "User is not allowed to read data for data set: `" + dataSet + "`"
		}
	}
	visible := caller.viewUnits
	if len(visible) == 0 {
		visible = caller.captureUnits
	}
	for _, unit := range q.units {
		if !s.unitWithin(unit, visible) && !(s.minor == 43 && caller.superuser()) {
			return "E2012", "User is not allowed to view org unit: `" + unit + "`"
		}
	}
	return "", ""
}

// exportDataValues serves GET /api/dataValueSets.
func (s *Server) exportDataValues(w http.ResponseWriter, r *http.Request, caller *account) {
	parameters := r.URL.Query()
	for _, period := range several(parameters, "period") {
		if _, ok := parsePeriod(period, s.options.Zone); !ok && s.minor == 43 {
			writeError(w, http.StatusBadRequest, "", "No period: `"+period+"`")
			return
		}
	}
	q, wrong := s.selectData(parameters, "E2001", "lastUpdated")
	if s.refuse(w, wrong) {
		return
	}
	if code, message := s.hidden(q, caller); code != "" {
		if s.minor == 43 { // before, the answer has begun by then, and stays empty
			writeError(w, http.StatusConflict, code, message)
		}
		return
	}
	elements := map[string]bool{}
	for _, dataSet := range q.dataSets {
		for _, member := range list(s.object("dataSets", dataSet)["dataSetElements"]) {
			elements[refUID(member.(object)["dataElement"])] = true
		}
	}
	for _, element := range several(parameters, "dataElement") {
		elements[element] = true
	}
	for _, group := range several(parameters, "dataElementGroup") {
		for _, element := range refUIDs(s.object("dataElementGroups", group)["dataElements"]) {
			elements[element] = true
		}
	}
	options := several(parameters, "attributeOptionCombo")
	limit := int(number(looseNumber(parameters.Get("limit"))))
	found := []dataValueKey{}
	for _, key := range s.aggregate.valueKeys {
		value := s.aggregate.values[key]
		if !elements[key.dataElement] || !q.inScope(s, key.orgUnit, key.period) || value.deleted && parameters.Get("includeDeleted") != "true" ||
			value.lastUpdated.Before(q.since) || len(options) > 0 && !slices.Contains(options, key.attributeOptionCombo) ||
			!s.mayUseOptions(caller, key.attributeOptionCombo, s.mayReadData) {
			continue
		}
		if limit > 0 && len(found) == limit {
			break
		}
		found = append(found, key)
	}
	answer := object{}
	scheme := func(name string) string { return first(parameters, name, "idScheme", "outputIdScheme") }
	oneSet, onePeriod, oneUnit := len(q.dataSets) == 1, len(q.periods) == 1, len(q.units) == 1 && !q.below
	if s.minor < 43 && !(oneSet && onePeriod && oneUnit) {
		oneSet, onePeriod, oneUnit = false, false, false // 2.42: all of the head or nothing
	}
	period := slices.Collect(maps.Keys(q.periods))
	if oneSet {
		answer["dataSet"] = s.idIn("dataSets", q.dataSets[0], scheme("dataSetIdScheme"))
	}
	if onePeriod {
		answer["period"] = period[0]
	}
	if oneUnit {
		answer["orgUnit"] = s.idIn("organisationUnits", q.units[0], scheme("orgUnitIdScheme"))
	}
	oneOption := s.minor == 43 && len(options) == 1
	if oneOption {
		answer["attributeOptionCombo"] = s.idIn("categoryOptionCombos", options[0], scheme("attributeOptionComboIdScheme"))
	}
	if s.minor < 43 && oneSet {
		answer["completeDate"] = nil
		if c := s.aggregate.completions[completionKey{q.dataSets[0], period[0], q.units[0], s.defaultOptionCombo()}]; c != nil {
			answer["completeDate"] = c.date.Format(time.DateOnly)
		}
	}
	values := make([]any, len(found))
	for i, key := range found {
		value := s.aggregate.values[key]
		shown := object{
			"dataElement":         s.idIn("dataElements", key.dataElement, scheme("dataElementIdScheme")),
			"categoryOptionCombo": s.idIn("categoryOptionCombos", key.categoryOptionCombo, scheme("categoryOptionComboIdScheme")),
			"value":               value.value, "storedBy": value.storedBy,
			"created": s.greenwich(value.created), "lastUpdated": s.greenwich(value.lastUpdated),
		}
		if !oneOption {
			shown["attributeOptionCombo"] = s.idIn("categoryOptionCombos", key.attributeOptionCombo, scheme("attributeOptionComboIdScheme"))
		}
		if s.minor < 43 || !onePeriod {
			shown["period"] = key.period
		}
		if s.minor < 43 || !oneUnit {
			shown["orgUnit"] = s.idIn("organisationUnits", key.orgUnit, scheme("orgUnitIdScheme"))
		}
		if s.minor < 43 {
			shown["comment"], shown["followup"] = nil, value.followup
		} else if value.followup {
			shown["followup"] = true
		}
		if value.comment != "" {
			shown["comment"] = value.comment
		}
		if value.deleted {
			shown["deleted"] = true
		}
		values[i] = shown
	}
	writeJSON(w, http.StatusOK, dataValueSet{heading: answer, values: values})
}

// dataValueSet is written with what its values share before them: a client that reads as it arrives needs it so.
type dataValueSet struct {
	heading object
	values  []any
}

// MarshalJSON writes the heading's properties in order, then the values.
func (d dataValueSet) MarshalJSON() ([]byte, error) {
	values, err := json.Marshal(d.values)
	if err != nil {
		return nil, err
	}
	heading, err := json.Marshal(d.heading)
	if err != nil {
		return nil, err
	}
	heading = bytes.TrimSuffix(heading, []byte("}"))
	if len(d.heading) > 0 {
		heading = append(heading, ',')
	}
	return slices.Concat(heading, []byte(`"dataValues":`), values, []byte("}")), nil
}

// greenwich writes the times of data values, which alone have a zone; before 2.43 whole seconds were stored.
func (s *Server) greenwich(t time.Time) string {
	if s.minor < 43 {
		t = t.Truncate(time.Second)
	}
	return t.UTC().Format("2006-01-02T15:04:05.000-0700")
}

// idIn is how an id scheme names an object.
func (s *Server) idIn(class, uid, scheme string) string {
	if strings.EqualFold(scheme, "CODE") {
		return text(s.object(class, uid)["code"])
	}
	return uid
}

// mayUseOptions tells whether the caller may use all category options of an option combo.
func (s *Server) mayUseOptions(caller *account, combo string, may func(*account, object) bool) bool {
	if caller.superuser() {
		return true
	}
	for _, option := range refUIDs(s.object("categoryOptionCombos", combo)["categoryOptions"]) {
		if !may(caller, s.object("categoryOptions", option)) {
			return false
		}
	}
	return true
}

// defaultOptionCombo is the uid of the option combo that stands for "no categories".
func (s *Server) defaultOptionCombo() string {
	for _, combo := range s.objects("categoryOptionCombos") {
		if isDefault("categoryOptionCombos", combo) {
			return text(combo["id"])
		}
	}
	return ""
}

// exportCompletions serves GET /api/completeDataSetRegistrations.
func (s *Server) exportCompletions(w http.ResponseWriter, r *http.Request, caller *account) {
	q, wrong := s.selectData(r.URL.Query(), "E2013", "created")
	if s.refuse(w, wrong) {
		return
	}
	if code, message := s.hidden(q, caller); code != "" {
		writeError(w, http.StatusConflict, code, message)
		return
	}
	found := []any{}
	for _, key := range s.aggregate.forms {
		c := s.aggregate.completions[key]
		if slices.Contains(q.dataSets, key.dataSet) && q.inScope(s, key.orgUnit, key.period) && !c.date.Before(q.since) {
			found = append(found, object{
				"dataSet": key.dataSet, "period": key.period, "organisationUnit": key.orgUnit, "attributeOptionCombo": key.attributeOptionCombo,
				"date": c.date.Format(time.DateOnly), "storedBy": c.storedBy, "completed": c.completed,
			})
		}
	}
	answer := object{}
	if len(found) > 0 {
		answer["completeDataSetRegistrations"] = found
	}
	writeJSON(w, http.StatusOK, answer)
}

// postCompletions serves POST /api/completeDataSetRegistrations.
func (s *Server) postCompletions(w http.ResponseWriter, r *http.Request, caller *account) {
	payload, ok := readObject(w, r)
	if !ok {
		return
	}
	parameters := r.URL.Query()
	summary := newSummary("Import process complete.")
	sent := list(payload["completeDataSetRegistrations"])
	if s.minor == 43 && slices.ContainsFunc(sent, func(item any) bool { return s.fatalPeriod(item, parameters) }) {
		summary.Status = "ERROR" // 2.43 fails as a whole then, and does not say why
		writeSummary(w, summary)
		return
	}
	for i, item := range sent {
		registration, _ := item.(object)
		s.importCompletion(summary, i, registration, parameters, caller)
	}
	count := &summary.Counts
	count.Ignored = len(sent) - count.Imported - count.Updated - count.Deleted
	if count.Ignored == len(sent) && len(sent) > 0 {
		summary.Status = "ERROR"
	}
	writeSummary(w, summary)
}

// fatalPeriod tells whether a registration has a period that 2.43 fails at: none at all, or one of a type
// that is not the data set's.
func (s *Server) fatalPeriod(item any, parameters url.Values) bool {
	sent, _ := item.(object)
	dataSet := s.named("dataSets", text(sent["dataSet"]), parameters.Get("idScheme"))
	period, ok := parsePeriod(scalar(sent["period"]), s.options.Zone)
	return dataSet != nil && (!ok || parameters.Get("strictPeriods") != "true" && period.kind != dataSet["periodType"])
}

func (s *Server) importCompletion(summary *aggregateSummary, index int, sent object, parameters url.Values, caller *account) {
	scheme := parameters.Get("idScheme")
	dataSet := s.named("dataSets", text(sent["dataSet"]), scheme)
	unit := s.named("organisationUnits", text(sent["organisationUnit"]), first(parameters, "orgUnitIdScheme", "idScheme"))
	period, periodOK := parsePeriod(scalar(sent["period"]), s.options.Zone)
	combo := s.named("categoryOptionCombos", text(sent["attributeOptionCombo"]), scheme)
	if combo == nil {
		combo = s.object("categoryOptionCombos", s.defaultOptionCombo())
	}
	refuse := func(object, message string) {
		summary.conflict(index, aggregateConflict{Object: object, Value: message})
	}
	switch {
	case dataSet == nil:
		refuse(text(sent["dataSet"]), "Data set not found or not accessible")
		return
	case !periodOK:
		refuse(scalar(sent["period"]), "Period not valid")
		return
	case unit == nil:
		refuse(text(sent["organisationUnit"]), "Organisation unit not found or not accessible")
		return
	case !s.unitWithin(text(unit["id"]), caller.captureUnits):
		refuse(text(unit["id"]), "Organisation unit is not in hierarchy of user: "+caller.username)
		return
	case !s.mayWriteData(caller, dataSet):
		refuse("dataSet", "User has no data write access for DataSet: "+text(dataSet["id"]))
		return
	case parameters.Get("strictPeriods") == "true" && dataSet["periodType"] != period.kind:
		refuse(period.iso, "Period type of period: "+period.iso+" is not equal to the period type of data set: ["+text(dataSet["periodType"])+"]")
		return
	case parameters.Get("strictOrganisationUnits") == "true" && !slices.Contains(refUIDs(dataSet["organisationUnits"]), text(unit["id"])):
		refuse(text(dataSet["id"]), "Data set "+text(dataSet["id"])+" is not assigned to organisation unit "+text(unit["id"]))
		return
	}
	key := completionKey{text(dataSet["id"]), period.iso, text(unit["id"]), text(combo["id"])}
	exists := s.aggregate.completions[key] != nil
	strategy, touch := parameters.Get("importStrategy"), parameters.Get("dryRun") != "true"
	switch {
	case strategy == "DELETE" && exists:
		summary.Counts.Deleted++
		if touch {
			s.removeCompletion(key)
		}
		return
	case strategy == "DELETE", exists && strategy == "CREATE", !exists && strategy == "UPDATE":
		return
	case exists:
		summary.Counts.Updated++
	default:
		summary.Counts.Imported++
	}
	if touch {
		c := &completion{date: s.now(), storedBy: caller.username, completed: sent["completed"] != false}
		if storedBy := text(sent["storedBy"]); storedBy != "" {
			c.storedBy = storedBy
		}
		if date := s.day(text(sent["date"])); !date.IsZero() {
			c.date = date
		}
		s.aggregate.complete(key, c)
	}
}

func (s *Server) removeCompletion(key completionKey) {
	delete(s.aggregate.completions, key)
	s.aggregate.changed.note(key)
	s.aggregate.forms = slices.DeleteFunc(s.aggregate.forms, func(k completionKey) bool { return k == key })
}

// deleteCompletion serves DELETE /api/completeDataSetRegistrations?ds&pe&ou.
func (s *Server) deleteCompletion(w http.ResponseWriter, r *http.Request, caller *account) {
	parameters := r.URL.Query()
	for _, dataSet := range several(parameters, "ds") {
		if !s.mayWriteData(caller, s.object("dataSets", dataSet)) {
			writeError(w, http.StatusConflict, "E2010", "User is not allowed to write data for data set: `"+dataSet+"`")
			return
		}
		s.removeCompletion(completionKey{dataSet, parameters.Get("pe"), parameters.Get("ou"), s.defaultOptionCombo()})
	}
	w.WriteHeader(http.StatusNoContent)
}
