package dhis2sim

import (
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What DHIS2 (ValidationUtils, MathUtils, DateUtils) takes for values of a type.
var (
	numberForm    = regexp.MustCompile(`^(-?0|-?[1-9][0-9]*)(\.[0-9]+)?$`)
	integerForm   = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
	phoneForm     = regexp.MustCompile(`^[0-9+()#.\s/ext-]{6,50}$`)
	dateForm      = regexp.MustCompile(`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(.*[0-9A-Za-z_])?$`)
	timeOfDayForm = regexp.MustCompile(`^([0-9]|0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]$`)
	usernameForm  = regexp.MustCompile(`^[-_.@a-zA-Z0-9]{4,255}$`)
)

// checkValueType reports a value that is not of its type. code is E1007 for attributes, E1302 for data
// elements.
func (i *importer) checkValueType(k kind, uid string, s strategy, code, valueType, value string) {
	wrong := ""
	switch {
	case !validValue(valueType, value):
		wrong = fmt.Sprintf("Value type is %s but the value `%s` is not.", valueType, value)
	case value == "":
	case valueType == "FILE_RESOURCE" || valueType == "IMAGE":
		if !i.fileKnown(value) {
			wrong = fmt.Sprintf("File resource `%s` could not be found.", value)
		}
	case valueType == "ORGANISATION_UNIT":
		if i.object("organisationUnits", value) == nil {
			wrong = fmt.Sprintf("Organisation unit `%s` could not be found.", value)
		}
	case valueType == "USERNAME":
		if i.userNamed(value) == nil || k == kindEvent && !i.mentionsUser(value) {
			wrong = fmt.Sprintf("Username `%s` could not be found.", value)
		}
	}
	if wrong != "" {
		i.report.fail(k, uid, code, valueType, wrong)
	}
	if (valueType == "FILE_RESOURCE" || valueType == "IMAGE") && i.fileKnown(value) {
		owner := i.tracker.fileOwners[value]
		if s == create && i.file(value).assigned || s == update && owner != "" && owner != uid {
			i.report.fail(k, uid, "E1009", value)
		}
	}
}

// mentionsUser tells whether the import has to do with a user apart from data values: for data values alone
// DHIS2 looks no user up, and then does not know them.
func (i *importer) mentionsUser(username string) bool {
	named := func(attributes []attributeInput) bool {
		return slices.ContainsFunc(attributes, func(v attributeInput) bool {
			a := i.catalog.attribute(string(v.Attribute))
			return a != nil && a.valueType == "USERNAME" && v.text() == username
		})
	}
	return username == i.caller.username ||
		slices.ContainsFunc(i.in.Events, func(e *eventInput) bool {
			return e.AssignedUser != nil && string(e.AssignedUser.Username) == username
		}) ||
		slices.ContainsFunc(i.in.TrackedEntities, func(e *entityInput) bool { return named(e.Attributes) }) ||
		slices.ContainsFunc(i.in.Enrollments, func(e *enrollmentInput) bool { return named(e.Attributes) })
}

// checkOption reports a value that is not in its option set.
func (i *importer) checkOption(k kind, uid, optionSet, valueType, value string) {
	if optionSet == "" {
		return
	}
	codes := i.catalog.optionCodes(optionSet)
	values := []string{value}
	if valueType == "MULTI_TEXT" {
		values = strings.Split(value, ",")
	}
	for _, v := range values {
		if !codes[v] {
			i.report.fail(k, uid, "E1125", value, optionSet)
			return
		}
	}
}

// validValue tells whether a value has the form of its type; a blank one always has.
func validValue(valueType, value string) bool {
	const maxLength = 50000
	if strings.TrimSpace(value) == "" {
		return true
	}
	if utf16Length(value) > maxLength {
		return false
	}
	switch valueType {
	case "LETTER":
		r, size := utf8.DecodeRuneInString(value)
		return size == len(value) && unicode.IsLetter(r)
	case "NUMBER":
		return isNumber(value)
	case "UNIT_INTERVAL":
		return isNumber(value) && inRange(value, 0, 1)
	case "PERCENTAGE":
		return isNumber(value) && inRange(value, 0, 100)
	case "INTEGER":
		return isInteger(value)
	case "INTEGER_POSITIVE":
		return isInteger(value) && value[0] != '-' && value != "0"
	case "INTEGER_NEGATIVE":
		return isInteger(value) && value[0] == '-'
	case "INTEGER_ZERO_OR_POSITIVE":
		return isInteger(value) && value[0] != '-'
	case "PHONE_NUMBER":
		return phoneForm.MatchString(value)
	case "EMAIL":
		address, err := mail.ParseAddress(value)
		return err == nil && address.Address == value && strings.Contains(value[strings.LastIndexByte(value, '@'):], ".")
	case "BOOLEAN":
		return strings.EqualFold(value, "true") || strings.EqualFold(value, "false")
	case "TRUE_ONLY":
		return strings.EqualFold(value, "true")
	case "DATE", "AGE":
		return isDate(value)
	case "DATETIME":
		_, ok := parseTime(value, time.UTC)
		return ok && strings.ContainsAny(value, "T ")
	case "COORDINATE":
		return isCoordinate(value)
	case "URL":
		return isURL(value)
	case "FILE_RESOURCE", "IMAGE", "ORGANISATION_UNIT":
		return isUID(value)
	case "TIME":
		return timeOfDayForm.MatchString(value)
	case "USERNAME":
		return usernameForm.MatchString(value) && !strings.ContainsAny(value[:1]+value[len(value)-1:], "-_.@")
	}
	return true // text of all kinds
}

func isNumber(value string) bool { return len(value) < 250 && numberForm.MatchString(value) }

func isInteger(value string) bool {
	_, err := strconv.ParseInt(value, 10, 32)
	return err == nil && integerForm.MatchString(value)
}

func inRange(value string, low, high float64) bool {
	f, err := strconv.ParseFloat(value, 64)
	return err == nil && f >= low && f <= high
}

// isDate tells whether value begins with a date that exists; what follows it does not matter to DHIS2.
func isDate(value string) bool {
	if !dateForm.MatchString(value) {
		return false
	}
	_, err := time.Parse(time.DateOnly, value[:10])
	return err == nil
}

// isURL tells whether value is the address of something on a host with a top-level domain or an IP address.
func isURL(value string) bool {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "ftp" {
		return false
	}
	host := u.Hostname()
	top := host[strings.LastIndexByte(host, '.')+1:]
	return net.ParseIP(host) != nil || len(top) > 1 && len(top) < len(host)
}

// isCoordinate tells whether value is "[longitude, latitude]".
func isCoordinate(value string) bool {
	value = strings.Join(strings.Fields(value), "")
	if len(value) < 5 || value[0] != '[' || value[len(value)-1] != ']' {
		return false
	}
	longitude, latitude, ok := strings.Cut(value[1:len(value)-1], ",")
	return ok && inRange(longitude, -180, 180) && inRange(latitude, -90, 90)
}

// utf16Length is a string's length as Java counts it.
func utf16Length(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}

// periodEnd is midnight of the last day of the period of that type in which a day lies; false for a type
// that is not known.
func periodEnd(periodType string, day time.Time) (time.Time, bool) {
	y, m, d := day.Date()
	at := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, day.Location()) }
	weekEnd := func(last time.Weekday) time.Time { return at(y, m, d+(int(last)-int(day.Weekday())+7)%7) }
	months := func(each, first int) time.Time { // first is the month, counted from 0, with which a year's first period begins
		passed := (int(m) - 1 - first + 12) % 12
		return at(y, m+time.Month(each-passed%each), 0)
	}
	switch periodType {
	case "Daily":
		return at(y, m, d), true
	case "Weekly":
		return weekEnd(time.Sunday), true
	case "WeeklyWednesday":
		return weekEnd(time.Tuesday), true
	case "WeeklyThursday":
		return weekEnd(time.Wednesday), true
	case "WeeklySaturday":
		return weekEnd(time.Friday), true
	case "WeeklySunday":
		return weekEnd(time.Saturday), true
	case "BiWeekly":
		end := weekEnd(time.Sunday)
		if _, week := end.ISOWeek(); week%2 == 1 {
			end = end.AddDate(0, 0, 7)
		}
		return end, true
	case "Monthly":
		return months(1, 0), true
	case "BiMonthly":
		return months(2, 0), true
	case "Quarterly":
		return months(3, 0), true
	case "SixMonthly":
		return months(6, 0), true
	case "SixMonthlyApril":
		return months(6, 3), true
	case "SixMonthlyNov":
		return months(6, 10), true
	case "Yearly":
		return months(12, 0), true
	case "FinancialApril":
		return months(12, 3), true
	case "FinancialJuly":
		return months(12, 6), true
	case "FinancialOct":
		return months(12, 9), true
	case "FinancialNov":
		return months(12, 10), true
	}
	return time.Time{}, false
}
