package dhis2db

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// root makes a root of a name as the layout's queries give it.
func (l layout) root(kind Kind, name string) (Root, error) {
	if kind != Form || l.isoPeriods {
		return Root{Kind: kind, Key: name}, nil
	}
	// DATASET.TYPE YYYY-MM-DD.ORGUNIT
	dataSet, rest, _ := strings.Cut(name, ".")
	period, orgUnit, ok := strings.Cut(rest, ".")
	periodType, first, spaced := strings.Cut(period, " ")
	if !ok || !spaced {
		return Root{}, fmt.Errorf("%q names no form", name)
	}
	iso, err := isoPeriod(periodType, first)
	if err != nil {
		return Root{}, err
	}
	return Root{Kind: kind, Key: dataSet + "." + iso + "." + orgUnit}, nil
}

// checkCalendar makes sure that periods follow the calendar that isoPeriod knows.
func (l *Look) checkCalendar(ctx context.Context) error {
	if l.layout.isoPeriods {
		return nil
	}
	var calendar string
	err := l.tx.QueryRow(ctx, `SELECT coalesce(value, '') FROM systemsetting WHERE name = 'keyCalendar'`).Scan(&calendar)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("cannot read the calendar of the kit's DHIS2: %w", err)
	}
	switch strings.Trim(calendar, `"`) {
	case "", "iso8601", "gregorian":
		return nil
	}
	return &CompareAllError{Reason: "its periods follow the calendar " + calendar}
}

// isoPeriod writes the period of a type that begins on a day as DHIS2 2.41 and 2.42 do.
func isoPeriod(periodType, first string) (string, error) {
	day, err := time.Parse(time.DateOnly, first)
	if err != nil {
		return "", fmt.Errorf("%q is no first day of a period: %w", first, err)
	}
	year, month := day.Year(), int(day.Month())
	// A year that begins in November counts as the one that follows.
	november := year
	if month >= 11 {
		november++
	}
	sinceNovember := (month + 1) % 12 // months
	switch periodType {
	case "Daily":
		return day.Format("20060102"), nil
	case "Weekly":
		return week(day, "W", 1), nil
	case "WeeklyWednesday", "WeeklyThursday", "WeeklyFriday", "WeeklySaturday", "WeeklySunday":
		return week(day, strings.TrimPrefix(periodType, "Weekly")[:3]+"W", 1), nil
	case "BiWeekly":
		return week(day, "BiW", 2), nil
	case "Monthly":
		return day.Format("200601"), nil
	case "BiMonthly":
		return fmt.Sprintf("%d%02dB", year, (month+1)/2), nil
	case "Quarterly":
		return fmt.Sprintf("%dQ%d", year, (month+2)/3), nil
	case "QuarterlyNov":
		return fmt.Sprintf("%dNovQ%d", november, sinceNovember/3+1), nil
	case "SixMonthly":
		return fmt.Sprintf("%dS%d", year, (month+5)/6), nil
	case "SixMonthlyApril":
		return fmt.Sprintf("%dAprilS%d", year, (month+8)%12/6+1), nil
	case "SixMonthlyNov":
		return fmt.Sprintf("%dNovS%d", november, sinceNovember/6+1), nil
	case "Yearly":
		return fmt.Sprint(year), nil
	case "FinancialApril", "FinancialJuly", "FinancialSep", "FinancialOct":
		return fmt.Sprint(year, strings.TrimPrefix(periodType, "Financial")), nil
	case "FinancialNov":
		return fmt.Sprint(november, "Nov"), nil
	}
	return "", &CompareAllError{Reason: "it has periods of the type " + periodType + ", which this version of fieldkit does not know"}
}

// week writes the week, or the one of several weeks, that begins on a day. The first of a year is the one with January
// 4th in it.
func week(first time.Time, mark string, weeks int) string {
	fourth := first.AddDate(0, 0, 3)
	return fmt.Sprintf("%d%s%d", fourth.Year(), mark, ((fourth.YearDay()-1)/7)/weeks+1)
}
