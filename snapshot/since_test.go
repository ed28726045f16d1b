package snapshot

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

func TestBoundHistory(t *testing.T) {
	const since = "2024-01-01"
	enrollment := func(uid, enrolledAt string, events ...*dhis2api.Event) *dhis2api.Enrollment {
		return &dhis2api.Enrollment{Enrollment: uid, EnrolledAt: enrolledAt, OccurredAt: enrolledAt, Events: events, Status: "ACTIVE"}
	}
	occurred := func(at string) *dhis2api.Event { return &dhis2api.Event{OccurredAt: at} }
	tests := []struct {
		name        string
		enrollments []*dhis2api.Enrollment
		want        []string
	}{
		{"the day itself", []*dhis2api.Enrollment{enrollment("a", "2024-01-01T00:00:00.000")}, []string{"a"}},
		{"the day before", []*dhis2api.Enrollment{enrollment("a", "2023-12-31T23:59:59.999")}, nil},
		{
			"an old enrollment with a new event is whole",
			[]*dhis2api.Enrollment{enrollment("a", "2019-05-01T00:00:00.000", occurred("2019-05-01T00:00:00.000"), occurred("2024-02-01T08:00:00.000"))},
			[]string{"a"},
		},
		{
			"an old enrollment with an appointment to come",
			[]*dhis2api.Enrollment{enrollment("a", "2019-05-01T00:00:00.000", &dhis2api.Event{ScheduledAt: "2027-01-01T00:00:00.000"})},
			[]string{"a"},
		},
		{
			"what the server noted itself does not count",
			[]*dhis2api.Enrollment{{
				Enrollment: "a", EnrolledAt: "2019-05-01T00:00:00.000", CompletedAt: "2026-06-01T00:00:00.000", UpdatedAt: "2026-06-01T00:00:00.000",
				Events: []*dhis2api.Event{{OccurredAt: "2019-05-01T00:00:00.000", CompletedAt: "2026-06-01T00:00:00.000"}},
			}},
			nil,
		},
		{
			"one of two",
			[]*dhis2api.Enrollment{enrollment("a", "2019-05-01T00:00:00.000", occurred("2019-06-01T00:00:00.000")), enrollment("b", "2025-05-01T00:00:00.000")},
			[]string{"b"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			person := &dhis2api.TrackedEntity{Enrollments: test.enrollments}
			if kept := boundHistory(person, since); kept != (test.want != nil) {
				t.Errorf("kept: %v", kept)
			}
			var got []string
			for _, e := range person.Enrollments {
				got = append(got, e.Enrollment)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("enrollments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPeriodStart(t *testing.T) {
	tests := []struct{ periodType, since, want string }{
		{"Monthly", "", "1900-01-01"},
		{"Daily", "2024-05-17", "2024-05-17"},
		{"Weekly", "2024-05-17", "2024-05-11"},
		{"WeeklySunday", "2024-01-03", "2023-12-28"},
		{"BiWeekly", "2024-05-17", "2024-05-04"},
		{"Monthly", "2024-05-17", "2024-05-01"},
		{"Monthly", "2024-01-01", "2024-01-01"},
		{"BiMonthly", "2024-05-17", "2024-05-01"},
		{"BiMonthly", "2024-06-17", "2024-05-01"},
		{"Quarterly", "2024-05-17", "2024-04-01"},
		{"QuarterlyNov", "2024-01-31", "2023-11-01"},
		{"QuarterlyNov", "2024-02-01", "2024-02-01"},
		{"SixMonthly", "2024-05-17", "2024-01-01"},
		{"SixMonthlyApril", "2024-03-31", "2023-10-01"},
		{"SixMonthlyApril", "2024-04-01", "2024-04-01"},
		{"SixMonthlyNov", "2024-04-30", "2023-11-01"},
		{"Yearly", "2024-05-17", "2024-01-01"},
		{"FinancialApril", "2024-03-31", "2023-04-01"},
		{"FinancialApril", "2024-04-01", "2024-04-01"},
		{"FinancialJuly", "2024-05-17", "2023-07-01"},
		{"FinancialSep", "2024-09-01", "2024-09-01"},
		{"FinancialOct", "2024-05-17", "2023-10-01"},
		{"FinancialNov", "2024-12-31", "2024-11-01"},
		{"SomethingNew", "2024-05-17", "2023-05-17"},
	}
	for _, test := range tests {
		t.Run(test.periodType+" "+test.since, func(t *testing.T) {
			if got := periodStart(test.periodType, test.since); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
