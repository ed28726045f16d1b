package dhis2db

import (
	"errors"
	"testing"
)

func TestISOPeriod(t *testing.T) {
	for _, c := range []struct{ periodType, first, want string }{
		{"Daily", "2026-05-04", "20260504"},
		{"Weekly", "2026-05-04", "2026W19"}, {"Weekly", "2025-12-29", "2026W1"}, {"Weekly", "2020-12-28", "2020W53"},
		{"WeeklyWednesday", "2026-05-06", "2026WedW19"}, {"WeeklyThursday", "2026-01-01", "2026ThuW1"}, {"WeeklySaturday", "2026-01-03", "2026SatW1"},
		{"WeeklySunday", "2026-01-04", "2026SunW1"}, {"WeeklyFriday", "2026-01-02", "2026FriW1"},
		{"BiWeekly", "2025-12-29", "2026BiW1"}, {"BiWeekly", "2026-01-12", "2026BiW2"},
		{"Monthly", "2026-05-01", "202605"}, {"BiMonthly", "2026-05-01", "202603B"}, {"Quarterly", "2026-10-01", "2026Q4"},
		{"QuarterlyNov", "2025-11-01", "2026NovQ1"}, {"QuarterlyNov", "2026-08-01", "2026NovQ4"},
		{"SixMonthly", "2026-07-01", "2026S2"}, {"SixMonthlyApril", "2026-04-01", "2026AprilS1"}, {"SixMonthlyApril", "2026-10-01", "2026AprilS2"},
		{"SixMonthlyNov", "2025-11-01", "2026NovS1"}, {"SixMonthlyNov", "2026-05-01", "2026NovS2"},
		{"Yearly", "2026-01-01", "2026"}, {"FinancialApril", "2026-04-01", "2026April"}, {"FinancialJuly", "2026-07-01", "2026July"},
		{"FinancialSep", "2026-09-01", "2026Sep"}, {"FinancialOct", "2026-10-01", "2026Oct"}, {"FinancialNov", "2026-11-01", "2027Nov"},
	} {
		got, err := isoPeriod(c.periodType, c.first)
		if err != nil || got != c.want {
			t.Errorf("%s from %s: %q, %v, want %q", c.periodType, c.first, got, err, c.want)
		}
	}
	var all *CompareAllError
	if _, err := isoPeriod("Lunar", "2026-05-01"); !errors.As(err, &all) {
		t.Errorf("a period type that nobody knows: %v", err)
	}
	if _, err := isoPeriod("Monthly", "May"); err == nil {
		t.Error("a day that is none is taken")
	}
}
