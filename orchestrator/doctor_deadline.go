package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// deadline is the last day on which central takes something that the kit makes today.
type deadline struct {
	day    time.Time
	reason string
}

// soon is how near a deadline may be before it is worth a warning.
const soon = 7 * 24 * time.Hour

// programRules are a program's rules on late changes.
type programRules struct {
	Name                     string
	ExpiryDays               int
	ExpiryPeriodType         string
	CompleteEventsExpiryDays int
}

// formRules are a data set's rules on late changes.
type formRules struct {
	Name             string
	PeriodType       string
	ExpiryDays       float64 // DHIS2 2.39: may be a part of a day
	DataInputPeriods []struct {
		Period      struct{ ID string }
		ClosingDate string
	}
}

// deadlines says by which day the kit should be back. Expiry does not bind an account with F_EDIT_EXPIRED
// (E1043, E1047, and a data set's lock); closing dates bind all.
func (a account) deadlines(ctx context.Context) {
	zone := a.doctor.central.Zone()
	if zone == nil {
		zone = time.UTC
	}
	today := dayOf(a.doctor.Now().In(zone))
	found, err := a.collectDeadlines(ctx, today)
	if err != nil {
		a.doctor.add(LevelWarning, "back by", Hint(err), "cannot be told: %v", err)
		return
	}
	for _, d := range found {
		if d.day.Before(today) {
			a.doctor.add(LevelWarning, "back by", "what is made there now will be refused", "since %s already, %s", d.day.Format(time.DateOnly), d.reason)
		}
	}
	found = slices.DeleteFunc(found, func(d deadline) bool { return d.day.Before(today) })
	if len(found) == 0 {
		a.doctor.add(LevelOK, "back by", "", "no date binds %s", a.me.Username)
		return
	}
	first := slices.MinFunc(found, func(x, y deadline) int { return cmp.Or(x.day.Compare(y.day), cmp.Compare(x.reason, y.reason)) })
	level := LevelOK
	if first.day.Sub(today) < soon {
		level = LevelWarning
	}
	a.doctor.add(level, "back by", "reconcile until then, or give the account F_EDIT_EXPIRED", "%s: %s", first.day.Format(time.DateOnly), first.reason)
}

// collectDeadlines asks central for every rule that sets one.
func (a account) collectDeadlines(ctx context.Context, today time.Time) ([]deadline, error) {
	central := a.doctor.central
	expires := !a.may("F_EDIT_EXPIRED")
	programs, err := listByID[programRules](ctx, central, "programs", "name,expiryDays,expiryPeriodType,completeEventsExpiryDays", programIDs(a.scope))
	if err != nil {
		return nil, err
	}
	forms, err := listByID[formRules](ctx, central, "dataSets", "name,periodType,expiryDays,dataInputPeriods[period[id],closingDate]", dataSetIDs(a.scope))
	if err != nil {
		return nil, err
	}
	var found []deadline
	for _, program := range programs {
		if expires {
			found = append(found, program.deadlines(today)...)
		}
	}
	for _, form := range forms {
		found = append(found, form.deadlines(today, expires)...)
	}
	for _, unit := range a.scope.OrgUnits {
		query := dhis2api.ListQuery{Fields: "name,closedDate", Filters: []string{"path:like:" + unit.ID, "closedDate:!null"}}
		for closed, err := range dhis2api.ListAs[struct{ Name, ClosedDate string }](ctx, central, "organisationUnits", query) {
			if err != nil {
				return nil, err
			}
			if day, ok := parseDay(closed.ClosedDate); ok {
				found = append(found, deadline{day, fmt.Sprintf("org unit %s is closed from then on", closed.Name)})
			}
		}
	}
	return found, nil
}

func (p programRules) deadlines(today time.Time) []deadline {
	var found []deadline
	if days := p.CompleteEventsExpiryDays; days > 0 {
		found = append(found, deadline{today.AddDate(0, 0, days),
			fmt.Sprintf("program %s takes no change to events completed more than %d days before", p.Name, days)})
	}
	if end, ok := periodEnd(p.ExpiryPeriodType, today); ok && p.ExpiryDays > 0 {
		found = append(found, deadline{end.AddDate(0, 0, p.ExpiryDays),
			fmt.Sprintf("program %s takes events up to %d days after their period (%s)", p.Name, p.ExpiryDays, p.ExpiryPeriodType)})
	}
	return found
}

func (f formRules) deadlines(today time.Time, expires bool) []deadline {
	var found []deadline
	if end, ok := periodEnd(f.PeriodType, today); ok && expires && f.ExpiryDays > 0 {
		found = append(found, deadline{end.AddDate(0, 0, int(f.ExpiryDays)),
			fmt.Sprintf("data set %s is locked %g days after its period (%s)", f.Name, f.ExpiryDays, f.PeriodType)})
	}
	for _, input := range f.DataInputPeriods {
		if day, ok := parseDay(input.ClosingDate); ok && !day.Before(today) {
			found = append(found, deadline{day, fmt.Sprintf("data set %s takes period %s until then", f.Name, input.Period.ID)})
		}
	}
	return found
}

// dayOf is a moment's day, as midnight UTC.
func dayOf(moment time.Time) time.Time {
	year, month, day := moment.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// parseDay reads the day of a DHIS2 date or time.
func parseDay(text string) (time.Time, bool) {
	if len(text) < len(time.DateOnly) {
		return time.Time{}, false
	}
	day, err := time.Parse(time.DateOnly, text[:len(time.DateOnly)])
	return day, err == nil
}

// periodEnd is the last day of the period of a DHIS2 period type that a day falls in; false for a type that
// is not known.
func periodEnd(periodType string, day time.Time) (time.Time, bool) {
	if first, ok := map[string]time.Weekday{"Weekly": time.Monday, "WeeklyWednesday": time.Wednesday,
		"WeeklyThursday": time.Thursday, "WeeklyFriday": time.Friday, "WeeklySaturday": time.Saturday, "WeeklySunday": time.Sunday}[periodType]; ok {
		return day.AddDate(0, 0, 6-int(day.Weekday()-first+7)%7), true
	}
	switch periodType {
	case "Daily":
		return day, true
	case "BiWeekly":
		end, _ := periodEnd("Weekly", day)
		if _, week := day.ISOWeek(); week%2 == 1 {
			end = end.AddDate(0, 0, 7)
		}
		return end, true
	}
	// The others are months in a row, counted from one month of the year.
	months, ok := map[string]struct {
		from  time.Month
		count int
	}{
		"Monthly": {1, 1}, "BiMonthly": {1, 2}, "Quarterly": {1, 3}, "QuarterlyNov": {11, 3},
		"SixMonthly": {1, 6}, "SixMonthlyApril": {4, 6}, "SixMonthlyNov": {11, 6},
		"Yearly": {1, 12}, "FinancialApril": {4, 12}, "FinancialJuly": {7, 12}, "FinancialSep": {9, 12}, "FinancialOct": {10, 12}, "FinancialNov": {11, 12},
	}[periodType]
	if !ok {
		return time.Time{}, false
	}
	into := (int(day.Month()-months.from) + 12) % months.count
	return time.Date(day.Year(), day.Month()+time.Month(months.count-into), 0, 0, 0, 0, 0, time.UTC), true
}
