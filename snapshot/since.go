package snapshot

import (
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// The ends of everything: what no period that a clinic uses lies beyond.
const (
	firstDate = "1900-01-01"
	lastDate  = "2999-12-31"
)

// enrollmentSince tells whether an enrollment, or an event of it, happened or is to happen on or after a date.
// All are wall clock in one zone, so comparing the text compares the dates. What a server notes on its own
// does not count: created and updated times, and completed ones, which are the moment of the import where
// nobody gave them (DHIS2 2.41 to 2.43).
func enrollmentSince(e *dhis2api.Enrollment, since string) bool {
	if e.EnrolledAt >= since || e.OccurredAt >= since {
		return true
	}
	for _, event := range e.Events {
		if event.OccurredAt >= since || event.ScheduledAt >= since {
			return true
		}
	}
	return false
}

// boundHistory drops the enrollments that ended before a date, and tells whether any is left.
func boundHistory(t *dhis2api.TrackedEntity, since string) bool {
	kept := t.Enrollments[:0]
	for _, e := range t.Enrollments {
		if enrollmentSince(e, since) {
			kept = append(kept, e)
		}
	}
	clear(t.Enrollments[len(kept):])
	t.Enrollments = kept
	return len(kept) > 0
}

// periodStart is the first day of the period of a type that holds a date: DHIS2 gives the values of periods
// that lie wholly between two dates (2.42: startdate >= and enddate <=), so that asking from the date itself
// would lose the period around it. For types whose periods do not follow the calendar's months it is the
// earliest first day that such a period could have. An unknown type counts as a year. An empty date is
// the beginning of everything.
func periodStart(periodType, since string) string {
	date, err := time.Parse(time.DateOnly, since)
	if err != nil {
		return firstDate
	}
	// months is the period's length, offset the month (0 for January) in which one of them begins.
	aligned := func(months, offset int) string {
		back := (int(date.Month()) - 1 - offset + 12) % months
		return time.Date(date.Year(), date.Month()-time.Month(back), 1, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
	}
	switch periodType {
	case "Daily":
		return since
	case "Weekly", "WeeklyWednesday", "WeeklyThursday", "WeeklyFriday", "WeeklySaturday", "WeeklySunday":
		return date.AddDate(0, 0, -6).Format(time.DateOnly)
	case "BiWeekly":
		return date.AddDate(0, 0, -13).Format(time.DateOnly)
	case "Monthly":
		return aligned(1, 0)
	case "BiMonthly":
		return aligned(2, 0)
	case "Quarterly":
		return aligned(3, 0)
	case "QuarterlyNov":
		return aligned(3, 10)
	case "SixMonthly":
		return aligned(6, 0)
	case "SixMonthlyApril":
		return aligned(6, 3)
	case "SixMonthlyNov":
		return aligned(6, 10)
	case "Yearly":
		return aligned(12, 0)
	case "FinancialApril":
		return aligned(12, 3)
	case "FinancialJuly":
		return aligned(12, 6)
	case "FinancialSep":
		return aligned(12, 8)
	case "FinancialOct":
		return aligned(12, 9)
	case "FinancialNov":
		return aligned(12, 10)
	}
	return date.AddDate(-1, 0, 0).Format(time.DateOnly)
}
