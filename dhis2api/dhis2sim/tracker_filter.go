package dhis2sim

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// valueFilter is what the value of one attribute or data element must be like.
type valueFilter struct {
	uid, valueType string
	conditions     []valueCondition // none: there must be a value
}

// valueCondition is an operator and its operand, in lower case: DHIS2 ignores case in tracker.
type valueCondition struct{ operator, operand string }

// valueOperators are the operators that filters take.
var valueOperators = []string{
	"eq", "gt", "ge", "lt", "le", "like", "in", "sw", "ew", "null", "!null", "ieq", "ne", "neq", "!eq", "!ieq", "!like", "ilike", "!ilike",
}

// numericTypes are the value types that are compared as numbers.
var numericTypes = map[string]bool{
	"NUMBER": true, "UNIT_INTERVAL": true, "PERCENTAGE": true, "INTEGER": true, "INTEGER_POSITIVE": true, "INTEGER_NEGATIVE": true,
	"INTEGER_ZERO_OR_POSITIVE": true,
}

// filters reads filters of the form uid:operator:value:operator:value,uid... in which a slash makes a comma,
// a colon or a slash part of a value.
func (q *trackerQuery) filters(parameter string) []*valueFilter {
	var out []*valueFilter
	wrong := func(why string) []*valueFilter {
		q.refuse(badRequest("%s=%s is invalid. %s", parameter, q.Get(parameter), why))
		return nil
	}
	for _, segments := range splitFilters(strings.Join(q.Values[parameter], ",")) {
		uid := segments[0]
		if uid == "" && len(segments) == 1 {
			continue
		}
		if !isUID(uid) {
			return wrong(uid + " is not a uid.")
		}
		at := slices.IndexFunc(out, func(f *valueFilter) bool { return f.uid == uid })
		if at < 0 {
			at, out = len(out), append(out, &valueFilter{uid: uid})
		}
		f := out[at]
		for rest := segments[1:]; len(rest) > 0; {
			operator := strings.ToLower(rest[0])
			switch {
			case operator == "" && len(rest) == 1:
				rest = nil
			case !slices.Contains(valueOperators, operator):
				return wrong("'" + rest[0] + "' is not a valid operator.")
			case operator == "null" || operator == "!null":
				f.conditions = append(f.conditions, valueCondition{operator: operator})
				rest = rest[1:]
				if len(rest) > 0 && rest[0] != "" && !slices.Contains(valueOperators, strings.ToLower(rest[0])) {
					return wrong("Unary operator '" + operator + "' cannot have a value.")
				}
			case len(rest) < 2 || rest[1] == "":
				return wrong("Binary operator '" + operator + "' must have a value.")
			default:
				f.conditions = append(f.conditions, valueCondition{operator, strings.ToLower(rest[1])})
				rest = rest[2:]
			}
		}
	}
	return out
}

// checkOperands refuses operands that are not of the value type where the comparison is one of numbers.
func (q *trackerQuery) checkOperands(f *valueFilter) {
	for _, c := range f.conditions {
		if !numericTypes[f.valueType] || !slices.Contains([]string{"eq", "!eq", "ne", "neq", "gt", "ge", "lt", "le", "in"}, c.operator) {
			continue
		}
		for _, operand := range strings.Split(c.operand, ";") {
			_, err := strconv.ParseFloat(operand, 64)
			if strings.HasPrefix(f.valueType, "INTEGER") {
				_, err = strconv.Atoi(operand)
			}
			if err != nil {
				q.refuse(&refusal{http.StatusBadRequest, "", "Filter for " + f.uid + " is invalid. The value type is " + f.valueType + " but the value `" + operand + "` is not."})
			}
		}
	}
}

// splitFilters splits at commas, and those at colons, but not at escaped ones.
func splitFilters(input string) [][]string {
	if input == "" {
		return nil
	}
	filters := [][]string{{""}}
	add := func(c byte) {
		f := filters[len(filters)-1]
		f[len(f)-1] += string(c)
	}
	for i := 0; i < len(input); i++ {
		switch c := input[i]; {
		case c == '/' && i+1 < len(input) && strings.IndexByte("/:,", input[i+1]) >= 0:
			i++
			add(input[i])
		case c == ',':
			filters = append(filters, []string{""})
		case c == ':':
			filters[len(filters)-1] = append(filters[len(filters)-1], "")
		default:
			add(c)
		}
	}
	return filters
}

// exact is the one value that satisfies the filter, if it asks for one: an index can find it.
func (f *valueFilter) exact() (string, bool) {
	if len(f.conditions) == 1 && (f.conditions[0].operator == "eq" || f.conditions[0].operator == "ieq") {
		return f.conditions[0].operand, true
	}
	return "", false
}

// matches tells whether a value satisfies the filter; held says whether there is a value at all.
func (f *valueFilter) matches(value string, held bool) bool {
	if len(f.conditions) == 0 {
		return held
	}
	value = strings.ToLower(value)
	for _, c := range f.conditions {
		switch c.operator {
		case "null":
			if held {
				return false
			}
		case "!null":
			if !held {
				return false
			}
		default:
			if !held || !c.holds(value, f.valueType) {
				return false
			}
		}
	}
	return true
}

func (c valueCondition) holds(value, valueType string) bool {
	operator, negated := strings.CutPrefix(c.operator, "!")
	switch operator {
	case "ne", "neq":
		return compareValues(value, c.operand, valueType) != 0
	case "eq":
		return (compareValues(value, c.operand, valueType) == 0) != negated
	case "ieq":
		return (value == c.operand) != negated
	case "gt":
		return compareValues(value, c.operand, valueType) > 0
	case "ge":
		return compareValues(value, c.operand, valueType) >= 0
	case "lt":
		return compareValues(value, c.operand, valueType) < 0
	case "le":
		return compareValues(value, c.operand, valueType) <= 0
	case "like", "ilike":
		return strings.Contains(value, c.operand) != negated
	case "sw":
		return strings.HasPrefix(value, c.operand)
	case "ew":
		return strings.HasSuffix(value, c.operand)
	case "in":
		return slices.ContainsFunc(strings.Split(c.operand, ";"), func(one string) bool { return compareValues(value, one, valueType) == 0 })
	}
	return false
}

// compareValues compares numbers as numbers and everything else as text.
func compareValues(a, b, valueType string) int {
	if numericTypes[valueType] {
		x, err := strconv.ParseFloat(a, 64)
		y, err2 := strconv.ParseFloat(b, 64)
		if err == nil && err2 == nil {
			return cmp.Compare(x, y)
		}
	}
	return strings.Compare(a, b)
}
