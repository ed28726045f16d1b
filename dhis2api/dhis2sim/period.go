package dhis2sim

import (
	"fmt"
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

// periodForm is how periods of one type are written: a year and which of the year's periods it is. They are
// counted in months from a first one, or in weeks that begin with a weekday.
type periodForm struct {
	kind, write   string
	pattern       *regexp.Regexp
	months, first int // first: January is 1, the November before it -1; 0 months: in weeks
	weekday       time.Weekday
	weeks         int
}

// periodForms are all period types but days.
var periodForms = []periodForm{
	yearly("Yearly", "", 1),
	{kind: "Monthly", write: "%d%02d", pattern: regexp.MustCompile(`^(\d{4})-?(\d\d)$`), months: 1, first: 1},
	{kind: "BiMonthly", write: "%d%02dB", pattern: regexp.MustCompile(`^(\d{4})(\d\d)B$`), months: 2, first: 1},
	monthly("Quarterly", "Q", 3, 1),
	monthly("QuarterlyNov", "NovQ", 3, -1),
	monthly("SixMonthly", "S", 6, 1),
	monthly("SixMonthlyApril", "AprilS", 6, 4),
	monthly("SixMonthlyNov", "NovS", 6, -1),
	yearly("FinancialApril", "April", 4),
	yearly("FinancialJuly", "July", 7),
	yearly("FinancialOct", "Oct", 10),
	yearly("FinancialNov", "Nov", 11),
	weekly("Weekly", "W", time.Monday, 1),
	weekly("WeeklyWednesday", "WedW", time.Wednesday, 1),
	weekly("WeeklyThursday", "ThuW", time.Thursday, 1),
	weekly("WeeklyFriday", "FriW", time.Friday, 1),
	weekly("WeeklySaturday", "SatW", time.Saturday, 1),
	weekly("WeeklySunday", "SunW", time.Sunday, 1),
	weekly("BiWeekly", "BiW", time.Monday, 2),
}

func yearly(kind, mark string, first int) periodForm {
	return periodForm{kind: kind, write: "%d" + mark, pattern: regexp.MustCompile(`^(\d{4})` + mark + `()$`), months: 12, first: first}
}

func monthly(kind, mark string, months, first int) periodForm {
	return periodForm{kind: kind, write: "%d" + mark + "%d", pattern: regexp.MustCompile(`^(\d{4})` + mark + `(\d)$`), months: months, first: first}
}

func weekly(kind, mark string, weekday time.Weekday, weeks int) periodForm {
	return periodForm{kind: kind, write: "%d" + mark + "%d", pattern: regexp.MustCompile(`^(\d{4})` + mark + `(\d{1,2})$`), weekday: weekday, weeks: weeks}
}

// inYear is how many periods a year has at most.
func (f periodForm) inYear() int {
	if f.months == 0 {
		return 53 / f.weeks
	}
	return 12 / f.months
}

// at is a year's period by its place, from 1.
func (f periodForm) at(year, place int, zone *time.Location) isoPeriod {
	iso := fmt.Sprintf(f.write, year, place)
	if f.months == 12 {
		iso = fmt.Sprintf(f.write, year)
	}
	if f.months > 0 {
		return isoPeriod{iso, f.kind, time.Date(year, time.Month(f.first+f.months*(place-1)), 1, 0, 0, 0, 0, zone)}
	}
	// The first week is the one with January 4th in it.
	anchor := time.Date(year, 1, 4, 0, 0, 0, 0, zone)
	back := (int(anchor.Weekday()) - int(f.weekday) + 7) % 7
	return isoPeriod{iso, f.kind, anchor.AddDate(0, 0, 7*f.weeks*(place-1)-back)}
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
		if found := f.pattern.FindStringSubmatch(text); found != nil {
			year, _ := strconv.Atoi(found[1])
			place := 1
			if found[2] != "" {
				place, _ = strconv.Atoi(found[2])
			}
			return f.at(year, place, zone), place >= 1 && place <= f.inYear()
		}
	}
	return isoPeriod{}, false
}

// periodOf is the period of a type in which a day lies; false for a type that is not known.
func periodOf(kind string, day time.Time) (isoPeriod, bool) {
	if kind == "Daily" {
		return parsePeriod(day.Format("20060102"), day.Location())
	}
	for _, f := range periodForms {
		if f.kind != kind {
			continue
		}
		for year := day.Year() + 1; year >= day.Year()-1; year-- {
			for place := f.inYear(); place >= 1; place-- {
				if p := f.at(year, place, day.Location()); !day.Before(p.start) {
					return p, true
				}
			}
		}
	}
	return isoPeriod{}, false
}

// end is midnight of the period's last day.
func (p isoPeriod) end() time.Time {
	end, _ := periodEnd(p.kind, p.start)
	return end
}

// latestOpen is the latest period that a data set is open for: with 0 open future periods that is the one before
// the period in which now lies. False for a period type that is not known.
func latestOpen(kind string, openFuturePeriods int, now time.Time) (isoPeriod, bool) {
	latest, known := periodOf(kind, now)
	if !known {
		return latest, false
	}
	latest, _ = periodOf(kind, latest.start.AddDate(0, 0, -1))
	for range openFuturePeriods {
		latest, _ = periodOf(kind, latest.end().AddDate(0, 0, 1))
	}
	return latest, true
}
