package dhis2sim

import (
	"fmt"
	"maps"
	"slices"
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
		value := &aggregateValue{value: normalBoolean(text(r.element["valueType"]), r.value), comment: r.comment, followup: r.sent["followup"] == true, storedBy: i.caller.username, created: i.now(), lastUpdated: i.now()}
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
		if !value.deleted || i.aggregate.values[key] != nil {
			i.put(key, value)
		}
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
	if given := text(i.head["dataSet"]); given != "" && i.dataSet == nil {
		return "E8005", "Data set not found: `" + given + "`"
	}
	for _, r := range rows {
		for field, codes := range map[string][2]string{"period": {"E8100", "period"}, "dataElement": {"E8102", "data element"}, "orgUnit": {"E8105", "org unit"}} {
			if i.name(r.sent, field) == "" || field == "period" && !r.periodOK {
				return codes[0], fmt.Sprintf("Value #%d %s not defined in group or value", r.index, codes[1])
			}
		}
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
			return "E8003", "Data set detection failed, found no set for data element(s): `" + javaList(i.names(rows, "dataElement", func(row) bool { return true })) + "`"
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
	for _, check := range []struct {
		code, text, field string
		faulty            func(row) bool
	}{
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
		{"E8024", "Data set " + uid + " + data element not usable with category option combo(s): `%s`", "categoryOptionCombo", func(r row) bool {
			return r.sent["categoryOptionCombo"] != nil && combo(r.category) != elementCombo(dataSet, r.element)
		}},
		{"E8031", "Untimely data entry for org unit and period(s): `%s`", "period", func(r row) bool {
			opens, closes := i.day(text(r.unit["openingDate"])), i.day(text(r.unit["closedDate"]))
			return r.period.start.Before(opens) || !closes.IsZero() && r.period.start.After(closes)
		}},
		{"E8030", "Untimely data entry for data set " + uid + " and period(s): `%s`", "period", func(r row) bool {
			if i.forced() {
				return false
			}
			if len(list(dataSet["dataInputPeriods"])) > 0 {
				return !i.open(dataSet, r.period)
			}
			return i.locked(dataSet, r.period) || i.tooEarly(dataSet, r.period) != ""
		}},
	} {
		if names := i.names(rows, check.field, check.faulty); len(names) > 0 {
			return check.code, fmt.Sprintf(check.text, javaList(names))
		}
	}
	seen := map[dataValueKey]bool{}
	for _, r := range rows {
		key := i.key(r)
		if seen[key] {
			return "E8128", "Several values affect the same data value"
		}
		seen[key] = true
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
