package dhis2sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// importGroup imports as 2.43 does: all rows stand and fall together in what they name and when, and only
// values are refused one by one.
func (i *dataValueImport) importGroup() {
	i.summary.DataSetComplete = "false"
	rows := i.rows()
	if code, message := i.checkGroup(rows); code != "" {
		i.summary.Status = "ERROR"
		for _, r := range rows {
			i.summary.conflict(r.index, aggregateConflict{ErrorCode: code, Value: message})
		}
		return
	}
	for _, r := range rows {
		if code, message := i.checkValue(r); code != "" {
			i.summary.Counts.Ignored++
			i.summary.conflict(r.index, aggregateConflict{ErrorCode: code, Value: message})
			continue
		}
		key := i.key(r)
		value := &aggregateValue{value: normalBoolean(text(r.element["valueType"]), r.value), comment: r.comment, followup: i.followUp(r), storedBy: i.caller.username, created: i.now(), lastUpdated: i.now()}
		if old := i.aggregate.values[key]; old != nil {
			value.created = old.created
			if r.deleted || i.strategy == "DELETE" {
				value.value, value.comment, value.followup = old.value, old.comment, old.followup
			}
		}
		value.deleted = r.deleted || i.strategy == "DELETE"
		if i.strategy == "DELETE" {
			i.summary.Counts.Deleted++
		} else {
			i.summary.Counts.Updated++
		}
		i.put(key, value) // a deletion of what does not exist, too
	}
	if i.summary.warn(); len(i.summary.Conflicts) > 0 && i.summary.Counts.Updated == 0 {
		i.summary.Status = "ERROR"
	}
	if len(i.summary.Conflicts) == 0 {
		i.completeHead()
	}
}

// checkGroup returns the code and the message of what keeps the whole group out.
func (i *dataValueImport) checkGroup(rows []row) (code, message string) {
	for _, r := range rows {
		for _, field := range [][3]string{{"period", "E8100", "period"}, {"dataElement", "E8102", "data element"}, {"orgUnit", "E8105", "org unit"}} {
			if i.name(r.sent, field[0]) == "" {
				return field[1], fmt.Sprintf("Value #%d %s not defined in group or value: `%s`", r.index, field[2], i.javaInput(r))
			}
		}
	}
	if given := text(i.head["dataSet"]); given != "" && i.dataSet == nil {
		return "E8020", "Data set " + given + " not usable with data element(s): `" + javaList(i.names(rows, "dataElement", everyRow)) + "`"
	}
	if len(rows) == 0 {
		return "", ""
	}
	dataSet := i.dataSet
	if dataSet == nil {
		found := map[string]object{}
		for _, r := range rows {
			for _, d := range i.formsOf(text(r.element["id"])) {
				found[text(d["id"])] = d
			}
		}
		switch names := slices.Sorted(maps.Keys(found)); len(names) {
		case 0:
			return "E8003", "Data set detection failed, found no set for data element(s): `" + javaList(i.names(rows, "dataElement", everyRow)) + "`"
		case 1:
			dataSet = found[names[0]]
		default:
			return "E8002", "Data set detection failed, found multiple sets: `" + javaList(names) + "`"
		}
	}
	return i.checkKeys(rows, dataSet)
}

// names are the distinct ids that the rows with some fault give in a field.
func (i *dataValueImport) names(rows []row, field string, faulty func(row) bool) []string {
	var out []string
	for _, r := range rows {
		if name := i.name(r.sent, field); faulty(r) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func everyRow(row) bool { return true }

// broken is what this version cannot read, and fails at with a status of 500, "" when it can read all rows.
func (i *dataValueImport) broken(rows []row) string {
	for _, r := range rows {
		if _, isText := r.sent["value"].(string); !isText && r.sent["value"] != nil {
			return "Path `$.value` does not contain an STRING: " + r.value
		}
		if !r.periodOK && i.name(r.sent, "period") != "" {
			return "Cannot invoke \"org.hisp.dhis.datavalue.DataEntryGroup.deletion()\" because \"group\" is null"
		}
	}
	return ""
}

// orNull is an id that a row, or the head, gives in a field, as Java writes it.
func (i *dataValueImport) orNull(r row, field string) string {
	if name := i.name(r.sent, field); name != "" || r.sent[field] != nil {
		return name
	}
	return "null"
}

// javaInput writes a row as Java writes the record that it is read into.
func (i *dataValueImport) javaInput(r row) string {
	var fields []string
	for _, field := range []string{"dataElement", "orgUnit", "categoryOptionCombo", "categoryOptions", "attributeOptionCombo", "attributeCombo", "attributeOptions", "period", "value", "comment", "followUp", "deleted"} {
		fields = append(fields, field+"="+i.orNull(r, field))
	}
	return "Input[" + strings.Join(fields, ", ") + "]"
}

// javaList writes a list as Java does.
func javaList(items []string) string { return "[" + strings.Join(items, ", ") + "]" }

// checkKeys checks a group against its data set, for access, for consistency and for time, in that order.
func (i *dataValueImport) checkKeys(rows []row, dataSet object) (code, message string) {
	uid := text(dataSet["id"])
	forms := func(element string) bool {
		return slices.ContainsFunc(i.formsOf(element), func(d object) bool { return d["id"] == dataSet["id"] })
	}
	combo := func(o object) string { return refUID(o["categoryCombo"]) }
	if !i.caller.superuser() && !i.mayWriteData(i.caller, dataSet) {
		return "E8010", "Current user cannot enter data for data set: `" + uid + "`"
	}
	type check struct {
		code, text, field string
		faulty            func(row) bool
	}
	checks := []check{
		{"E8011", "Current user cannot enter data for org unit(s): `%s`", "orgUnit", func(r row) bool {
			return !i.caller.superuser() && !i.unitWithin(text(r.unit["id"]), i.caller.captureUnits)
		}},
		{"E8020", "Data set " + uid + " not usable with data element(s): `%s`", "dataElement", func(r row) bool { return !forms(text(r.element["id"])) }},
		{"E8022", "Data set " + uid + " not usable with org unit(s): `%s`", "orgUnit", func(r row) bool {
			return !slices.Contains(refUIDs(dataSet["organisationUnits"]), text(r.unit["id"]))
		}},
		{"E8021", "Data set " + uid + " not usable with period(s): `%s`", "period", func(r row) bool { return r.period.kind != dataSet["periodType"] }},
		{"E8023", "Data set " + uid + " not usable with attribute option combo(s): `%s`", "attributeOptionCombo", func(r row) bool {
			return i.name(r.sent, "attributeOptionCombo") != "" && combo(r.attribute) != combo(dataSet)
		}},
	}
	for _, element := range i.names(rows, "dataElement", everyRow) {
		checks = append(checks, check{"E8024", "Data set " + uid + " + data element " + element + " not usable with category option combo(s): `%s`", "categoryOptionCombo", func(r row) bool {
			return i.name(r.sent, "dataElement") == element && r.sent["categoryOptionCombo"] != nil && combo(r.category) != elementCombo(dataSet, r.element)
		}})
	}
	for _, unit := range i.names(rows, "orgUnit", everyRow) {
		checks = append(checks, check{"E8031", "Untimely data entry for org unit " + unit + " and period(s): `%s`", "period", func(r row) bool {
			opens, closes := i.day(text(r.unit["openingDate"])), i.day(text(r.unit["closedDate"]))
			return i.name(r.sent, "orgUnit") == unit && (r.period.start.Before(opens) || !closes.IsZero() && r.period.start.After(closes))
		}})
	}
	checks = append(checks, []check{
		{"E8030", "Untimely data entry for data set " + uid + " and period(s): `%s`", "period", func(r row) bool {
			if i.forced() {
				return false
			}
			if len(list(dataSet["dataInputPeriods"])) > 0 {
				return !i.open(dataSet, r.period)
			}
			return !i.caller.may("F_EDIT_EXPIRED") && (i.locked(dataSet, r.period) || i.tooEarly(dataSet, r.period) != "")
		}},
	}...)
	for _, check := range checks {
		if names := i.names(rows, check.field, check.faulty); len(names) > 0 {
			return check.code, fmt.Sprintf(check.text, javaList(names))
		}
	}
	same := map[dataValueKey][]string{}
	for _, r := range rows {
		same[i.key(r)] = append(same[i.key(r)], strconv.Itoa(r.index))
	}
	for _, r := range rows {
		if indexes := same[i.key(r)]; len(indexes) > 1 {
			return "E8128", fmt.Sprintf("Value #%s all affect the same data value: `DataValueKey[dataElement=%s, orgUnit=%s, categoryOptionCombo=%s, attributeOptionCombo=%s, period=%s]`",
				javaList(indexes), i.orNull(r, "dataElement"), i.orNull(r, "orgUnit"), i.orNull(r, "categoryOptionCombo"), i.orNull(r, "attributeOptionCombo"), r.period.iso)
		}
	}
	return "", ""
}

// checkValue returns the code and the message of what is wrong with one row's value.
func (i *dataValueImport) checkValue(r row) (code, message string) {
	valueType := text(r.element["valueType"])
	value := normalBoolean(valueType, r.value)
	switch {
	case r.deleted || i.strategy == "DELETE":
		return "", ""
	case value == "":
		return "E8120", fmt.Sprintf("Value #%d value is required", r.index)
	case !validValue(valueType, value):
		return "E8122", fmt.Sprintf("Value #%d value `%s` is no valid %s: %s", r.index, value, valueType, valueProblem(valueType, value))
	case !i.isOption(r.element, value):
		return "E8123", fmt.Sprintf("Value #%d value `%s` is no valid option for data element `%s`", r.index, value, r.element["id"])
	case len(r.comment) > 5000:
		return "E8125", fmt.Sprintf("Value #%d comment too long (max 5000 characters)`", r.index)
	}
	return "", ""
}
