package numbers

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Method says what stands for a segment of a pattern in a value.
type Method string

// The methods, as DHIS2 calls them.
const (
	Text        Method = "TEXT"
	OrgUnitCode Method = "ORG_UNIT_CODE"
	CurrentDate Method = "CURRENT_DATE"
	Sequential  Method = "SEQUENTIAL"
	Random      Method = "RANDOM"
)

// Segment is one summand of a pattern: the text itself, or a method's parameter.
type Segment struct {
	Method    Method
	Parameter string
}

// raw is how the segment stands in a key while it is not filled in.
func (s Segment) raw() string { return string(s.Method) + "(" + s.Parameter + ")" }

// Pattern is a pattern that was read.
type Pattern struct {
	Segments []Segment
	// generated is the place of the first segment that generates; -1 where none does.
	generated int
}

// segmentForm and methodForm are DHIS2 2.42's: TextPatternParser, TextPatternMethod.
var segmentForm = regexp.MustCompile(`^\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([A-Z_]+)\((.*?)\))\s*(\+|$)`)

var methodForm = regexp.MustCompile(`^(ORG_UNIT_CODE\((\^?\.+\$?)?\)|CURRENT_DATE\(.+\)|SEQUENTIAL\(#{1,12}\)|RANDOM\([#Xx*]{1,12}\))$`)

// Parse reads a pattern.
func Parse(text string) (Pattern, error) {
	p := Pattern{generated: -1}
	for rest := text; ; {
		found := segmentForm.FindStringSubmatch(rest)
		if found == nil {
			return Pattern{}, fmt.Errorf("%q is not a pattern of DHIS2's", text)
		}
		segment := Segment{Text, found[1]}
		if found[2] != "" {
			segment = Segment{Method(found[2]), found[3]}
			if !methodForm.MatchString(segment.raw()) {
				return Pattern{}, fmt.Errorf("%q is not a pattern of DHIS2's: it has no %s", text, segment.raw())
			}
		}
		if p.generated < 0 && (segment.Method == Sequential || segment.Method == Random) {
			p.generated = len(p.Segments)
		}
		p.Segments = append(p.Segments, segment)
		rest = rest[len(found[0]):]
		if found[4] == "" {
			return p, nil
		}
	}
}

// Kind is Sequential or Random; Text for a pattern that generates nothing.
func (p Pattern) Kind() Method {
	if p.generated < 0 {
		return Text
	}
	return p.Segments[p.generated].Method
}

// Asks tells whether a method is part of the pattern.
func (p Pattern) Asks(method Method) bool {
	for _, segment := range p.Segments {
		if segment.Method == method {
			return true
		}
	}
	return false
}

// Space is how many values a key has: those of SEQUENTIAL without the one of zeros only, which DHIS2 does not use.
func (p Pattern) Space() float64 {
	if p.generated < 0 {
		return 1
	}
	segment := p.Segments[p.generated]
	if segment.Method == Sequential {
		return math.Pow10(len(segment.Parameter)) - 1
	}
	space := 1.0
	for _, letter := range segment.Parameter {
		space *= map[rune]float64{'#': 10, 'X': 26, 'x': 26, '*': 62}[letter]
	}
	return space
}

// ErrOwnDate says that only the server can tell the key, because its date is written in a way that depends on it.
var ErrOwnDate = errors.New("only the server can write this date")

// Key is the pattern with the code and the date filled in; at is in the server's zone. The error is ErrOwnDate for
// a date that only the server can write, else about a code that is too short. DHIS2 2.42: a code is matched from its
// beginning, so ORG_UNIT_CODE(..$) takes codes of two characters and refuses all others.
func (p Pattern) Key(orgUnitCode string, at time.Time) (string, error) {
	var key strings.Builder
	for _, segment := range p.Segments {
		switch segment.Method {
		case Text:
			key.WriteString(segment.Parameter)
		case OrgUnitCode:
			code, ok := cut(segment.Parameter, orgUnitCode)
			if !ok {
				return "", fmt.Errorf("the code %q does not go with %s", orgUnitCode, segment.raw())
			}
			key.WriteString(code)
		case CurrentDate:
			date, err := javaDate(segment.Parameter, at)
			if err != nil {
				return "", err
			}
			key.WriteString(date)
		default:
			key.WriteString(segment.raw())
		}
	}
	return key.String(), nil
}

// cut cuts a code by the parameter of ORG_UNIT_CODE.
func cut(parameter, code string) (string, bool) {
	letters, length := []rune(code), strings.Count(parameter, ".")
	switch {
	case code == "" || len(letters) < length:
		return "", false
	case length == 0:
		return code, true
	case strings.HasSuffix(parameter, "$") && len(letters) != length:
		return "", false
	}
	return string(letters[:length]), true
}

// javaDate writes a date by the letters of Java's SimpleDateFormat that no language and no calendar changes.
func javaDate(format string, at time.Time) (string, error) {
	var date strings.Builder
	for i := 0; i < len(format); {
		letter, n := format[i], 1
		for i+n < len(format) && format[i+n] == letter {
			n++
		}
		i += n
		switch {
		case letter == 'y' && n == 2:
			fmt.Fprintf(&date, "%02d", at.Year()%100)
		case letter == 'y':
			fmt.Fprintf(&date, "%0*d", n, at.Year())
		case letter == 'M' && n <= 2:
			fmt.Fprintf(&date, "%0*d", n, int(at.Month()))
		case letter == 'd':
			fmt.Fprintf(&date, "%0*d", n, at.Day())
		case letter == 'D':
			fmt.Fprintf(&date, "%0*d", n, at.YearDay())
		case letter >= 'a' && letter <= 'z' || letter >= 'A' && letter <= 'Z' || letter == '\'':
			return "", ErrOwnDate
		default:
			date.WriteString(strings.Repeat(string(letter), n))
		}
	}
	return date.String(), nil
}

// Number is the number in a value of a sequential pattern's key; false where the value is none of that key.
func (p Pattern) Number(key, value string) (int64, bool) {
	if p.Kind() != Sequential {
		return 0, false
	}
	segment := p.Segments[p.generated]
	before, after, ok := strings.Cut(key, segment.raw())
	if !ok || len(value) != len(before)+len(segment.Parameter)+len(after) || !strings.HasPrefix(value, before) || !strings.HasSuffix(value, after) {
		return 0, false
	}
	digits := value[len(before) : len(before)+len(segment.Parameter)]
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, false
		}
	}
	number, err := strconv.ParseInt(digits, 10, 64)
	return number, err == nil
}

// Value is Number the other way round.
func (p Pattern) Value(key string, number int64) string {
	segment := p.Segments[p.generated]
	return strings.Replace(key, segment.raw(), fmt.Sprintf("%0*d", len(segment.Parameter), number), 1)
}
