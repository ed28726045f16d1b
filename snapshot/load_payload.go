package snapshot

import (
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// payload makes of objects as a server showed them what an import takes: without what the importer ignores
// or forbids, without tombstones (a "deleted" that is sent is stored as a live object), with this server's
// default category objects. Objects are never changed, always copied.
type payload struct {
	// defaults maps uids of default category objects.
	defaults map[string]string
}

// trackedEntity is a tracked entity with its live enrollments and events.
func (p payload) trackedEntity(taken *dhis2api.TrackedEntity) *dhis2api.TrackedEntity {
	sent := &dhis2api.TrackedEntity{
		TrackedEntity: taken.TrackedEntity, TrackedEntityType: taken.TrackedEntityType, OrgUnit: taken.OrgUnit,
		CreatedAtClient: taken.CreatedAtClient, UpdatedAtClient: taken.UpdatedAtClient,
		Inactive: taken.Inactive, PotentialDuplicate: taken.PotentialDuplicate,
		Geometry: taken.Geometry, StoredBy: taken.StoredBy,
	}
	for _, attribute := range taken.Attributes {
		sent.Attributes = append(sent.Attributes, dhis2api.Attribute{Attribute: attribute.Attribute, Value: attribute.Value})
	}
	for _, enrollment := range taken.Enrollments {
		if !enrollment.Deleted {
			sent.Enrollments = append(sent.Enrollments, p.enrollment(enrollment, taken.TrackedEntity))
		}
	}
	return sent
}

func (p payload) enrollment(taken *dhis2api.Enrollment, trackedEntity string) *dhis2api.Enrollment {
	sent := &dhis2api.Enrollment{
		Enrollment: taken.Enrollment, TrackedEntity: trackedEntity, Program: taken.Program, OrgUnit: taken.OrgUnit,
		Status: taken.Status, EnrolledAt: taken.EnrolledAt, OccurredAt: taken.OccurredAt, CompletedAt: taken.CompletedAt,
		CreatedAtClient: taken.CreatedAtClient, UpdatedAtClient: taken.UpdatedAtClient, FollowUp: taken.FollowUp,
		AttributeOptionCombo: p.mapped(taken.AttributeOptionCombo), Geometry: taken.Geometry, StoredBy: taken.StoredBy,
		Notes: notes(taken.Notes),
	}
	for _, event := range taken.Events {
		if event.Deleted {
			continue
		}
		child := p.event(event)
		child.Enrollment, child.TrackedEntity = taken.Enrollment, trackedEntity
		sent.Events = append(sent.Events, child)
	}
	return sent
}

// event is an event alone. One without a tracked entity is of a program without registration, and the
// enrollment that DHIS2 2.41 and 2.42 show on it is another one on every server.
func (p payload) event(taken *dhis2api.Event) *dhis2api.Event {
	sent := &dhis2api.Event{
		Event: taken.Event, Program: taken.Program, ProgramStage: taken.ProgramStage, OrgUnit: taken.OrgUnit,
		TrackedEntity: taken.TrackedEntity, Status: taken.Status,
		OccurredAt: taken.OccurredAt, ScheduledAt: taken.ScheduledAt, CompletedAt: taken.CompletedAt,
		CreatedAtClient: taken.CreatedAtClient, UpdatedAtClient: taken.UpdatedAtClient, FollowUp: taken.FollowUp,
		AttributeOptionCombo: p.mapped(taken.AttributeOptionCombo), AttributeCategoryOptions: p.mappedList(taken.AttributeCategoryOptions),
		AssignedUser: taken.AssignedUser, Geometry: taken.Geometry, StoredBy: taken.StoredBy,
		Notes: notes(taken.Notes),
	}
	if taken.TrackedEntity != "" {
		sent.Enrollment = taken.Enrollment
	}
	for _, value := range taken.DataValues {
		sent.DataValues = append(sent.DataValues, dhis2api.EventDataValue{
			DataElement: value.DataElement, Value: value.Value,
			ProvidedElsewhere: value.ProvidedElsewhere, StoredBy: value.StoredBy,
		})
	}
	return sent
}

func notes(taken []dhis2api.Note) []dhis2api.Note {
	var sent []dhis2api.Note
	for _, note := range taken {
		sent = append(sent, dhis2api.Note{Note: note.Note, Value: note.Value, StoredBy: note.StoredBy})
	}
	return sent
}

// relationship is a relationship with its ends reduced to their uids; nil where an end is not known.
func (p payload) relationship(taken *dhis2api.Relationship) *dhis2api.Relationship {
	sent := &dhis2api.Relationship{
		Relationship: taken.Relationship, RelationshipType: taken.RelationshipType,
		Bidirectional: taken.Bidirectional, CreatedAtClient: taken.CreatedAtClient,
		From: dhis2api.ItemRef(taken.From.Ref()), To: dhis2api.ItemRef(taken.To.Ref()),
	}
	if sent.From == nil || sent.To == nil {
		return nil
	}
	return sent
}

func (p payload) dataValue(taken *dhis2api.DataValue) *dhis2api.DataValue {
	sent := *taken
	sent.CategoryOptionCombo = p.mapped(taken.CategoryOptionCombo)
	sent.AttributeOptionCombo = p.mapped(taken.AttributeOptionCombo)
	sent.Created, sent.LastUpdated = "", ""
	return &sent
}

func (p payload) completion(taken *dhis2api.Completion) *dhis2api.Completion {
	sent := *taken
	sent.AttributeOptionCombo = p.mapped(taken.AttributeOptionCombo)
	sent.LastUpdated, sent.LastUpdatedBy = "", ""
	return &sent
}

func (p payload) mapped(uid string) string {
	if other, there := p.defaults[uid]; there {
		return other
	}
	return uid
}

// mappedList maps uids joined by commas or, before DHIS2 2.41, semicolons.
func (p payload) mappedList(uids string) string {
	if len(p.defaults) == 0 {
		return uids
	}
	separator := ","
	if strings.Contains(uids, ";") {
		separator = ";"
	}
	list := strings.Split(uids, separator)
	for i, uid := range list {
		list[i] = p.mapped(uid)
	}
	return strings.Join(list, separator)
}

// reversed maps the other way.
func (p payload) reversed() payload {
	reversed := payload{defaults: map[string]string{}}
	for from, to := range p.defaults {
		reversed.defaults[to] = from
	}
	return reversed
}

// reconcileStanding makes a payload right for an object that the target has already: values that it has and
// central does not are sent empty, which clears them (an import leaves alone what is left out), and notes
// that it has are not sent again: it never takes one twice.
func reconcileStanding(sent *dhis2api.TrackedEntity, standing *dhis2api.TrackedEntity, spared spared) {
	if standing == nil {
		return
	}
	for _, attribute := range standing.Attributes {
		has := slices.ContainsFunc(sent.Attributes, func(a dhis2api.Attribute) bool { return a.Attribute == attribute.Attribute })
		if !has && !spared.attribute(attribute.Attribute) {
			sent.Attributes = append(sent.Attributes, dhis2api.Attribute{Attribute: attribute.Attribute})
		}
	}
	for _, enrollment := range sent.Enrollments {
		i := slices.IndexFunc(standing.Enrollments, func(e *dhis2api.Enrollment) bool { return e.Enrollment == enrollment.Enrollment })
		if i < 0 {
			continue
		}
		enrollment.Notes = withoutNotes(enrollment.Notes, standing.Enrollments[i].Notes)
		for _, event := range enrollment.Events {
			j := slices.IndexFunc(standing.Enrollments[i].Events, func(e *dhis2api.Event) bool { return e.Event == event.Event })
			if j >= 0 {
				reconcileStandingEvent(event, standing.Enrollments[i].Events[j], spared)
			}
		}
	}
}

func reconcileStandingEvent(sent *dhis2api.Event, standing *dhis2api.Event, spared spared) {
	sent.Notes = withoutNotes(sent.Notes, standing.Notes)
	for _, value := range standing.DataValues {
		has := slices.ContainsFunc(sent.DataValues, func(v dhis2api.EventDataValue) bool { return v.DataElement == value.DataElement })
		if !has && !spared.dataElement(sent.ProgramStage, value.DataElement) {
			sent.DataValues = append(sent.DataValues, dhis2api.EventDataValue{DataElement: value.DataElement})
		}
	}
}

func withoutNotes(sent, standing []dhis2api.Note) []dhis2api.Note {
	return slices.DeleteFunc(sent, func(note dhis2api.Note) bool {
		return slices.ContainsFunc(standing, func(s dhis2api.Note) bool { return s.Note == note.Note })
	})
}

// skipped are the values that never travel: what is marked skipSynchronization.
type skipped struct {
	attributes map[string]bool
	// dataElements has program stage and data element joined by a dot.
	dataElements map[string]bool
}

func (s skipped) attribute(uid string) bool { return s.attributes[uid] }

func (s skipped) dataElement(stage, uid string) bool { return s.dataElements[stage+"."+uid] }

// spared are the values of an object on the target that are left alone although they are not sent: those that never
// travel, or all.
type spared struct {
	skipped
	all bool
}

func (s spared) attribute(uid string) bool { return s.all || s.skipped.attribute(uid) }

func (s spared) dataElement(stage, uid string) bool {
	return s.all || s.skipped.dataElement(stage, uid)
}
