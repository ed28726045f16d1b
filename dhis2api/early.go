package dhis2api

import (
	"slices"
	"time"
)

// early1900 is where Java's older calendar, by which DHIS2 stores times, stops knowing what offset a zone had: before,
// it uses the zone's standard offset of today. DHIS2 2.43 shows times by the newer one, which knows: a date of birth or
// an incident of 1890 at Panama is shown 18 minutes before what was sent (observed on 2.43.1; 2.41 and 2.42 show what
// was sent).
const early1900 = -2208988800 // 1900-01-01T00:00:00Z, in seconds since 1970

// asShown writes the times of a payload so that the server shows those in it. The payload is not changed.
func (c *Client) asShown(payload TrackerPayload) TrackerPayload {
	if c.info.Version.Minor < 43 {
		return payload
	}
	standard := standardOffset(c.zone, c.options.Now())
	payload.TrackedEntities = replaced(payload.TrackedEntities, func(t *TrackedEntity) *TrackedEntity {
		enrollments := replaced(t.Enrollments, func(e *Enrollment) *Enrollment { return c.enrollmentAsShown(e, standard) })
		if same(enrollments, t.Enrollments) {
			return t
		}
		changed := *t
		changed.Enrollments = enrollments
		return &changed
	})
	payload.Enrollments = replaced(payload.Enrollments, func(e *Enrollment) *Enrollment { return c.enrollmentAsShown(e, standard) })
	payload.Events = replaced(payload.Events, func(e *Event) *Event { return c.eventAsShown(e, standard) })
	return payload
}

func (c *Client) enrollmentAsShown(e *Enrollment, standard *time.Location) *Enrollment {
	changed := *e
	changed.Events = replaced(e.Events, func(e *Event) *Event { return c.eventAsShown(e, standard) })
	early := c.timesAsShown(standard, &changed.EnrolledAt, &changed.OccurredAt, &changed.CompletedAt)
	if !early && same(changed.Events, e.Events) {
		return e
	}
	return &changed
}

func (c *Client) eventAsShown(e *Event, standard *time.Location) *Event {
	changed := *e
	if !c.timesAsShown(standard, &changed.OccurredAt, &changed.ScheduledAt, &changed.CompletedAt) {
		return e
	}
	return &changed
}

// timesAsShown rewrites those of the times that are early, and tells whether there were any.
func (c *Client) timesAsShown(standard *time.Location, times ...*string) (any bool) {
	for _, text := range times {
		if *text == "" || *text >= "1900-01-02" {
			continue
		}
		at, err := c.ParseTime(*text)
		if err != nil || at.Unix() >= early1900 {
			continue
		}
		*text, any = at.In(standard).Format("2006-01-02T15:04:05.000"), true
	}
	return any
}

// standardOffset is a zone that has at all times the standard offset that another one has today.
func standardOffset(zone *time.Location, now time.Time) *time.Location {
	at := now.In(zone)
	if at.IsDST() {
		at = at.AddDate(0, 6, 0)
	}
	_, offset := at.Zone()
	return time.FixedZone("", offset)
}

// replaced is a list with its elements replaced, the list itself where none is.
func replaced[T any](list []*T, by func(*T) *T) []*T {
	var changed []*T
	for i, element := range list {
		other := by(element)
		if other == element {
			continue
		}
		if changed == nil {
			changed = slices.Clone(list)
		}
		changed[i] = other
	}
	if changed == nil {
		return list
	}
	return changed
}

func same[T any](a, b []*T) bool { return slices.Equal(a, b) }
