package snapshot

import "github.com/dhis2-fieldkit/fieldkit/dhis2api"

// DetachRelationships takes the relationships out of a tracked entity, its enrollments and their events, and
// returns them with their ends reduced to uids. A relationship is listed with each of its ends, so the same
// one comes out of several objects.
func DetachRelationships(t *dhis2api.TrackedEntity) []*dhis2api.Relationship {
	detached := t.Relationships
	t.Relationships = nil
	for _, enrollment := range t.Enrollments {
		detached = append(detached, enrollment.Relationships...)
		enrollment.Relationships = nil
		for _, event := range enrollment.Events {
			detached = append(detached, event.Relationships...)
			event.Relationships = nil
		}
	}
	return reduced(detached)
}

func detachEvent(e *dhis2api.Event) []*dhis2api.Relationship {
	detached := e.Relationships
	e.Relationships = nil
	return reduced(detached)
}

func reduced(relationships []*dhis2api.Relationship) []*dhis2api.Relationship {
	for _, r := range relationships {
		r.From = dhis2api.ItemRef(r.From.Ref())
		r.To = dhis2api.ItemRef(r.To.Ref())
	}
	return relationships
}
