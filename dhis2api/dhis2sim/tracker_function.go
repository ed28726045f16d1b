package dhis2sim

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ruleScope is what an expression can refer to.
type ruleScope struct {
	variables   map[string]*ruleValue // by name
	environment map[string]any        // V{...}
	constants   map[string]any        // C{...}
	groups      []string              // org unit groups of the unit, by uid and code
	roles       []string              // roles of the user
}

// ruleValue is the value of a rule variable.
type ruleValue struct {
	text string
	set  bool
	kind string   // NUMERIC, BOOLEAN or TEXT (dates too)
	all  []string // every value of the field that is known
	date string   // of the event that gave the value
}

// typed is the value as its type has it; an empty one is that type's nothing.
func (v *ruleValue) typed() any {
	switch {
	case v.kind == "BOOLEAN":
		return v.set && v.text == "true"
	case v.kind == "NUMERIC" && !v.set:
		return 0.0
	case v.kind == "NUMERIC":
		if f, err := strconv.ParseFloat(v.text, 64); err == nil {
			return f
		}
	}
	return v.text
}

// variable reads #{name}, A{name}, V{name} or C{name}.
func variable(prefix, name string) expression {
	return func(s *ruleScope) (any, error) {
		switch prefix {
		case "V":
			v, ok := s.environment[name]
			if !ok {
				return nil, errNotExpression
			}
			return v, nil
		case "C":
			v, ok := s.constants[name]
			if !ok {
				return nil, errNotExpression
			}
			return v, nil
		}
		v := s.variables[name]
		if v == nil {
			return nil, errNotExpression
		}
		return v.typed(), nil
	}
}

// function makes a call of a d2 function. subject is the variable that the first argument names.
func function(name, subject string, arguments []expression) (expression, error) {
	about := func(f func(*ruleScope, *ruleValue) any) (expression, error) {
		return func(s *ruleScope) (any, error) {
			v := s.variables[subject]
			if v == nil {
				if value, ok := s.environment[subject]; ok {
					v = &ruleValue{text: ruleText(value), set: ruleText(value) != ""}
				} else {
					return nil, errNotExpression
				}
			}
			return f(s, v), nil
		}, nil
	}
	numbers := func(count int, f func([]float64) any) (expression, error) {
		if len(arguments) != count {
			return nil, errNotExpression
		}
		return func(s *ruleScope) (any, error) {
			values := make([]float64, count)
			for i := range values {
				var err error
				if values[i], err = asNumber(arguments[i], s); err != nil {
					return nil, err
				}
			}
			return f(values), nil
		}, nil
	}
	texts := func(count int, f func([]string) (any, error)) (expression, error) {
		if count >= 0 && len(arguments) != count {
			return nil, errNotExpression
		}
		return func(s *ruleScope) (any, error) {
			values := make([]string, len(arguments))
			for i := range values {
				var err error
				if values[i], err = asText(arguments[i], s); err != nil {
					return nil, err
				}
			}
			return f(values)
		}, nil
	}
	switch name {
	case "hasValue":
		return about(func(_ *ruleScope, v *ruleValue) any { return v.set })
	case "count":
		return about(func(_ *ruleScope, v *ruleValue) any { return float64(len(v.all)) })
	case "countIfZeroPos":
		return about(func(_ *ruleScope, v *ruleValue) any {
			n := 0.0
			for _, text := range v.all {
				if f, err := strconv.ParseFloat(text, 64); err == nil && f >= 0 {
					n++
				}
			}
			return n
		})
	case "maxValue", "minValue":
		return about(func(_ *ruleScope, v *ruleValue) any { return extreme(v.all, name == "maxValue") })
	case "lastEventDate":
		return about(func(_ *ruleScope, v *ruleValue) any { return v.date })
	case "countIfValue":
		if len(arguments) != 2 {
			return nil, errNotExpression
		}
		return func(s *ruleScope) (any, error) {
			want, err := asText(arguments[1], s)
			v := s.variables[subject]
			if err != nil || v == nil {
				return nil, errNotExpression
			}
			n := 0.0
			for _, text := range v.all {
				if text == want {
					n++
				}
			}
			return n, nil
		}, nil
	case "floor":
		return numbers(1, func(v []float64) any { return math.Floor(v[0]) })
	case "ceil":
		return numbers(1, func(v []float64) any { return math.Ceil(v[0]) })
	case "round":
		return numbers(1, func(v []float64) any { return math.Floor(v[0] + 0.5) })
	case "modulus":
		return numbers(2, func(v []float64) any { return math.Mod(v[0], v[1]) })
	case "zing":
		return numbers(1, func(v []float64) any { return max(v[0], 0) })
	case "oizp":
		return numbers(1, func(v []float64) any {
			if v[0] >= 0 {
				return 1.0
			}
			return 0.0
		})
	case "concatenate":
		return texts(-1, func(v []string) (any, error) { return strings.Join(v, ""), nil })
	case "length":
		return texts(1, func(v []string) (any, error) { return float64(len([]rune(v[0]))), nil })
	case "left", "right", "substring", "split":
		return texts(len(arguments), func(v []string) (any, error) { return piece(name, v) })
	case "validatePattern":
		return texts(2, func(v []string) (any, error) {
			pattern, err := regexp.Compile("^(?:" + v[1] + ")$")
			return err == nil && pattern.MatchString(v[0]), err
		})
	case "addDays":
		return texts(2, func(v []string) (any, error) {
			day, err := time.Parse(time.DateOnly, firstTen(v[0]))
			n, ok := numeric(v[1])
			if err != nil || !ok {
				return nil, errValue
			}
			return day.AddDate(0, 0, int(n)).Format(time.DateOnly), nil
		})
	case "daysBetween", "weeksBetween", "monthsBetween", "yearsBetween", "minutesBetween":
		return texts(2, func(v []string) (any, error) { return between(name, v[0], v[1]) })
	case "inOrgUnitGroup":
		return ofText(arguments, func(s *ruleScope, group string) any { return slices.Contains(s.groups, group) })
	case "hasUserRole":
		return ofText(arguments, func(s *ruleScope, role string) any { return slices.Contains(s.roles, role) })
	}
	return nil, errNotExpression
}

// ofText makes a function of the scope and one text.
func ofText(arguments []expression, f func(*ruleScope, string) any) (expression, error) {
	if len(arguments) != 1 {
		return nil, errNotExpression
	}
	return func(s *ruleScope) (any, error) {
		v, err := asText(arguments[0], s)
		return f(s, v), err
	}, nil
}

// extreme is the largest or smallest of the numbers among texts.
func extreme(texts []string, largest bool) any {
	var out any
	for _, text := range texts {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		if known, ok := out.(float64); !ok || largest == (f > known) {
			out = f
		}
	}
	return out
}

func firstTen(s string) string { return s[:min(len(s), len(time.DateOnly))] }

// piece cuts a piece out of a text.
func piece(name string, v []string) (any, error) {
	text := []rune(v[0])
	position := func(i int) int {
		f, ok := numeric(v[i])
		if !ok {
			return -1
		}
		return min(int(f), len(text))
	}
	switch {
	case name == "split" && len(v) == 3:
		f, ok := numeric(v[2])
		pieces := strings.Split(v[0], v[1])
		if !ok || f < 0 || int(f) >= len(pieces) {
			return "", nil
		}
		return pieces[int(f)], nil
	case name == "left" && len(v) == 2 && position(1) >= 0:
		return string(text[:position(1)]), nil
	case name == "right" && len(v) == 2 && position(1) >= 0:
		return string(text[len(text)-position(1):]), nil
	case name == "substring" && len(v) == 3 && position(1) >= 0 && position(2) >= position(1):
		return string(text[position(1):position(2)]), nil
	}
	return nil, errValue
}

// between is the time from one date to another in whole units; nothing where a date is missing.
func between(name, from, to string) (any, error) {
	if from == "" || to == "" {
		return 0.0, nil
	}
	a, err := time.Parse(time.DateOnly, firstTen(from))
	if err != nil {
		return nil, errValue
	}
	b, err := time.Parse(time.DateOnly, firstTen(to))
	if err != nil {
		return nil, errValue
	}
	days := math.Round(b.Sub(a).Hours() / 24)
	months := func() float64 {
		first, last, sign := a, b, 1.0
		if b.Before(a) {
			first, last, sign = b, a, -1
		}
		n := (last.Year()-first.Year())*12 + int(last.Month()) - int(first.Month())
		if last.Day() < first.Day() {
			n--
		}
		return sign * float64(n)
	}
	switch name {
	case "daysBetween":
		return days, nil
	case "weeksBetween":
		return math.Trunc(days / 7), nil
	case "monthsBetween":
		return months(), nil
	case "yearsBetween":
		return math.Trunc(months() / 12), nil
	}
	return days * 24 * 60, nil
}
