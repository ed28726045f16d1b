package dhis2api_test

import (
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// earlyJourney: times before 1900, which DHIS2 2.43 shows otherwise than it stores them, are shown as they were sent,
// and what was sent is left as it was. In the hours after midnight a day is at stake.
func earlyJourney(t *testing.T, c *dhis2api.Client) {
	for _, at := range []string{
		"1890-01-01T00:00:00.000", "1889-12-31T23:41:52.000", "1890-01-01T12:00:00.000", "1899-12-31T12:00:00.000", "1800-06-01T00:00:00.000",
		"1900-01-01T00:00:00.000", "1905-06-01T10:00:00.000", "1990-02-03T00:00:00.000",
	} {
		p := patient(300)
		enrollment := p.Enrollments[0]
		event := enrollment.Events[0]
		enrollment.EnrolledAt, enrollment.OccurredAt, event.OccurredAt, event.ScheduledAt = at, at, at, at
		imported(t, c, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{p}}, dhis2api.ImportOptions{ValidationMode: "SKIP"})
		if enrollment.OccurredAt != at || event.ScheduledAt != at {
			t.Errorf("%s: the payload was changed: %+v", at, enrollment)
		}
		for range 2 { // as they are shown, they are sent again
			shown, err := c.Enrollment(t.Context(), enrollment.Enrollment, dhis2api.Lookup{Fields: "enrollment,trackedEntity,program,orgUnit,status,enrolledAt,occurredAt"})
			must(t, err)
			below, err := c.Event(t.Context(), event.Event, dhis2api.Lookup{Fields: "event,enrollment,program,programStage,orgUnit,status,occurredAt,scheduledAt"})
			must(t, err)
			for name, got := range map[string]string{
				"enrolledAt": shown.EnrolledAt, "occurredAt": shown.OccurredAt, "occurredAt of the event": below.OccurredAt, "scheduledAt": below.ScheduledAt,
			} {
				if got != at {
					t.Errorf("%s %s is shown as %s", name, at, got)
				}
			}
			imported(t, c, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{shown}, Events: []*dhis2api.Event{below}}, dhis2api.ImportOptions{ValidationMode: "SKIP"})
		}
	}
}
