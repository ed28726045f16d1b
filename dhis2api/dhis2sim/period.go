package dhis2sim

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// isoPeriod is a period as data values name it: "202610", "2026W3", "2026Q1".
type isoPeriod struct {
	iso   string // canonical: "2026-10" is "202610"
	kind  string // period type
	start time.Time
}

// periodForm is how periods of one type are written: a year and, where there is a second group, which of the
// year's periods it is.
type periodForm struct {
	kind    string
	pattern *regexp.Regexp
	months  int // of one period; 0: counted in weeks
	first   int // the month with which the first period begins; 0 is the previous year's December
	weekday time.Weekday
	weeks   int
}

func form(kind, pattern string, months, first int) periodForm {
	return periodForm{kind: kind, pattern: regexp.MustCompile("^" + pattern + "$"), months: months, first: first}
}

func weekly(kind, mark string, weekday time.Weekday, weeks int) periodForm {
	return periodForm{kind: kind, pattern: regexp.MustCompile(`^(\d{4})` + mark + `(\d{1,2})$`), weekday: weekday, weeks: weeks}
}

var periodForms = []periodForm{
	form("Yearly", `(\d{4})()`, 12, 1),
	form("Monthly", `(\d{4})-?(\d\d)`, 1, 1),
	form("BiMonthly", `(\d{4})(\d\d)B`, 2, 1),
	form("Quarterly", `(\d{4})Q(\d)`, 3, 1),
	form("QuarterlyNov", `(\d{4})NovQ(\d)`, 3, -1),
	form("SixMonthly", `(\d{4})S(\d)`, 6, 1),
	form("SixMonthlyApril", `(\d{4})AprilS(\d)`, 6, 4),
	form("SixMonthlyNov", `(\d{4})NovS(\d)`, 6, -1),
	form("FinancialApril", `(\d{4})April()`, 12, 4),
	form("FinancialJuly", `(\d{4})July()`, 12, 7),
	form("FinancialOct", `(\d{4})Oct()`, 12, 10),
	form("FinancialNov", `(\d{4})Nov()`, 12, 11),
	weekly("Weekly", "W", time.Monday, 1),
	weekly("WeeklyWednesday", "WedW", time.Wednesday, 1),
	weekly("WeeklyThursday", "ThuW", time.Thursday, 1),
	weekly("WeeklyFriday", "FriW", time.Friday, 1),
	weekly("WeeklySaturday", "SatW", time.Saturday, 1),
	weekly("WeeklySunday", "SunW", time.Sunday, 1),
	weekly("BiWeekly", "BiW", time.Monday, 2),
}

var dailyForm = regexp.MustCompile(`^\d{4}(-?)\d\d(-?)\d\d$`)

// parsePeriod reads a period; false when it is none.
func parsePeriod(text string, zone *time.Location) (isoPeriod, bool) {
	if dailyForm.MatchString(text) {
		iso := strings.ReplaceAll(text, "-", "")
		start, err := time.ParseInLocation("20060102", iso, zone)
		return isoPeriod{iso, "Daily", start}, err == nil
	}
	for _, f := range periodForms {
		found := f.pattern.FindStringSubmatch(text)
		if found == nil {
			continue
		}
		year, _ := strconv.Atoi(found[1])
		place := 1
		if found[2] != "" {
			place, _ = strconv.Atoi(found[2])
		}
		if f.months == 0 {
			// The first week is the one with January 4th in it.
			anchor := time.Date(year, 1, 4, 0, 0, 0, 0, zone)
			back := (int(anchor.Weekday()) - int(f.weekday) + 7) % 7
			start := anchor.AddDate(0, 0, 7*f.weeks*(place-1)-back)
			return isoPeriod{text, f.kind, start}, place >= 1 && place <= 53/f.weeks
		}
		start := time.Date(year, time.Month(f.first+f.months*(place-1)), 1, 0, 0, 0, 0, zone)
		return isoPeriod{strings.ReplaceAll(text, "-", ""), f.kind, start}, place >= 1 && place <= 12/f.months
	}
	return isoPeriod{}, false
}

// end is midnight of the period's last day.
func (p isoPeriod) end() time.Time {
	end, _ := periodEnd(p.kind, p.start)
	return end
}

// afterOpen tells whether the period lies after the latest one that a data set is open for: with 0 open
// future periods that is the period before the one in which now lies.
func (p isoPeriod) afterOpen(kind string, openFuturePeriods int, now time.Time) bool {
	end, known := periodEnd(kind, now)
	if !known {
		return false
	}
	if openFuturePeriods == 0 {
		mine, _ := periodEnd(kind, p.start)
		return !mine.Before(end)
	}
	for range openFuturePeriods - 1 {
		end, _ = periodEnd(kind, end.AddDate(0, 0, 1))
	}
	return p.start.After(end)
}
