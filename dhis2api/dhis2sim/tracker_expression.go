package dhis2sim

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// expression is a parsed expression of a program rule: it yields a string, a float64, a bool, or nil for
// nothing. What cannot be evaluated is an error, and the rule then does nothing.
type expression func(*ruleScope) (any, error)

// errNotExpression says that a text is not an expression that the simulator understands.
var errNotExpression = errors.New("not an expression that is understood")

// errValue says that an operator or function met a value of the wrong type.
var errValue = errors.New("value of the wrong type")

// parseExpression parses the language of program rules: literals, #{variable}, A{attribute}, V{environment},
// C{constant}, operators and the d2 functions that evaluate knows.
func parseExpression(source string) (expression, error) {
	p := &expressionParser{rest: strings.TrimSpace(source)}
	e, err := p.or()
	if err == nil && p.rest != "" {
		err = errNotExpression
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// expressionParser is a recursive descent over what is left of the source.
type expressionParser struct{ rest string }

// take consumes one of the tokens and returns it, "" where none comes next.
func (p *expressionParser) take(tokens ...string) string {
	for _, token := range tokens {
		after, ok := strings.CutPrefix(p.rest, token)
		word := token[0] >= 'a' && token[0] <= 'z'
		if !ok || word && after != "" && (isNameByte(after[0])) {
			continue
		}
		p.rest = strings.TrimSpace(after)
		return token
	}
	return ""
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// binary parses a chain of left-associative operators.
func (p *expressionParser) binary(next func() (expression, error), tokens ...string) (expression, error) {
	left, err := next()
	for err == nil {
		token := p.take(tokens...)
		if token == "" {
			return left, nil
		}
		var right expression
		if right, err = next(); err == nil {
			left = operator(token, left, right)
		}
	}
	return nil, err
}

func (p *expressionParser) or() (expression, error)  { return p.binary(p.and, "||", "or") }
func (p *expressionParser) and() (expression, error) { return p.binary(p.equal, "&&", "and") }
func (p *expressionParser) equal() (expression, error) {
	return p.binary(p.compare, "==", "!=")
}
func (p *expressionParser) compare() (expression, error) {
	return p.binary(p.sum, "<=", ">=", "<", ">")
}
func (p *expressionParser) sum() (expression, error)     { return p.binary(p.product, "+", "-") }
func (p *expressionParser) product() (expression, error) { return p.binary(p.power, "*", "/", "%") }
func (p *expressionParser) power() (expression, error)   { return p.binary(p.unary, "^") }

func (p *expressionParser) unary() (expression, error) {
	switch p.take("!", "not", "-", "+") {
	case "!", "not":
		e, err := p.unary()
		return func(s *ruleScope) (any, error) {
			b, err := asBool(e, s)
			return !b, err
		}, err
	case "-":
		e, err := p.unary()
		return func(s *ruleScope) (any, error) {
			f, err := asNumber(e, s)
			return -f, err
		}, err
	case "+":
		return p.unary()
	}
	return p.primary()
}

func (p *expressionParser) primary() (expression, error) {
	if p.take("(") != "" {
		e, err := p.or()
		if err == nil && p.take(")") == "" {
			err = errNotExpression
		}
		return e, err
	}
	switch p.take("true", "false") {
	case "true":
		return constantly(true), nil
	case "false":
		return constantly(false), nil
	}
	for _, prefix := range []string{"#{", "A{", "V{", "C{"} {
		if name, ok := p.braced(prefix); ok {
			return variable(prefix[:1], name), nil
		}
	}
	if p.rest != "" && (p.rest[0] == '\'' || p.rest[0] == '"') {
		return p.quoted()
	}
	if strings.HasPrefix(p.rest, "d2:") {
		return p.call()
	}
	end := 0
	for end < len(p.rest) && (p.rest[end] >= '0' && p.rest[end] <= '9' || p.rest[end] == '.') {
		end++
	}
	f, err := strconv.ParseFloat(p.rest[:end], 64)
	if err != nil {
		return nil, errNotExpression
	}
	p.rest = strings.TrimSpace(p.rest[end:])
	return constantly(f), nil
}

// braced takes `prefix name }`.
func (p *expressionParser) braced(prefix string) (string, bool) {
	after, ok := strings.CutPrefix(p.rest, prefix)
	if !ok {
		return "", false
	}
	name, after, ok := strings.Cut(after, "}")
	if ok {
		p.rest = strings.TrimSpace(after)
	}
	return strings.TrimSpace(name), ok
}

func (p *expressionParser) quoted() (expression, error) {
	quote := p.rest[0]
	var text strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '\\' && i+1 < len(p.rest):
			i++
			text.WriteByte(p.rest[i])
		case c == quote:
			p.rest = strings.TrimSpace(p.rest[i+1:])
			return constantly(text.String()), nil
		default:
			text.WriteByte(c)
		}
	}
	return nil, errNotExpression
}

// call parses `d2:name(a, b)`. The first argument of functions about a variable is its name, quoted or not.
func (p *expressionParser) call() (expression, error) {
	name, after, ok := strings.Cut(p.rest[len("d2:"):], "(")
	if !ok {
		return nil, errNotExpression
	}
	name = strings.TrimSpace(name)
	p.rest = strings.TrimSpace(after)
	var subject string
	var arguments []expression
	for p.take(")") == "" {
		if len(arguments) > 0 && p.take(",") == "" {
			return nil, errNotExpression
		}
		if len(arguments) == 0 {
			subject = p.subject()
		}
		e, err := p.or()
		if err != nil {
			return nil, err
		}
		arguments = append(arguments, e)
	}
	return function(name, subject, arguments)
}

// subject is the variable that the next argument names, without taking it.
func (p *expressionParser) subject() string {
	probe := *p
	for _, prefix := range []string{"#{", "A{", "V{"} {
		if name, ok := probe.braced(prefix); ok {
			return name
		}
	}
	if probe.rest != "" && (probe.rest[0] == '\'' || probe.rest[0] == '"') {
		if e, err := probe.quoted(); err == nil {
			name, _ := e(nil)
			return name.(string)
		}
	}
	return ""
}

func constantly(v any) expression { return func(*ruleScope) (any, error) { return v, nil } }

func asBool(e expression, s *ruleScope) (bool, error) {
	v, err := e(s)
	if err != nil {
		return false, err
	}
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		b, err := strconv.ParseBool(v)
		if v == "" {
			return false, nil
		}
		return b, err
	}
	return false, errValue
}

func asNumber(e expression, s *ruleScope) (float64, error) {
	v, err := e(s)
	if err != nil {
		return 0, err
	}
	f, ok := numeric(v)
	if !ok {
		return 0, errValue
	}
	return f, nil
}

func asText(e expression, s *ruleScope) (string, error) {
	v, err := e(s)
	return ruleText(v), err
}

// numeric is a value as a number where it is one.
func numeric(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case string:
		f, err := strconv.ParseFloat(v, 64)
		return f, err == nil
	}
	return 0, false
}

// ruleText is a value as the rule engine writes it: whole numbers without a point.
func ruleText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// operator joins two operands.
func operator(token string, left, right expression) expression {
	return func(s *ruleScope) (any, error) {
		switch token {
		case "||", "or", "&&", "and":
			l, err := asBool(left, s)
			all := token == "&&" || token == "and"
			if err != nil || l != all {
				return l, err
			}
			return asBool(right, s)
		case "==", "!=", "<", "<=", ">", ">=":
			l, err := left(s)
			if err != nil {
				return nil, err
			}
			r, err := right(s)
			if err != nil {
				return nil, err
			}
			return compareRule(token, l, r)
		}
		l, err := asNumber(left, s)
		if err != nil {
			return nil, err
		}
		r, err := asNumber(right, s)
		if err != nil {
			return nil, err
		}
		switch token {
		case "+":
			return l + r, nil
		case "-":
			return l - r, nil
		case "*":
			return l * r, nil
		case "/":
			return l / r, nil
		case "%":
			return math.Mod(l, r), nil
		}
		return math.Pow(l, r), nil
	}
}

// compareRule compares as booleans or numbers where both sides are some, else as texts.
func compareRule(token string, l, r any) (any, error) {
	order := strings.Compare(ruleText(l), ruleText(r))
	lf, lok := numeric(l)
	rf, rok := numeric(r)
	if lok && rok {
		switch {
		case lf < rf:
			order = -1
		case lf > rf:
			order = 1
		default:
			order = 0
		}
	}
	switch token {
	case "==":
		return order == 0, nil
	case "!=":
		return order != 0, nil
	}
	if lok != rok {
		return nil, nil // neither more nor less
	}
	switch token {
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	}
	return order >= 0, nil
}
