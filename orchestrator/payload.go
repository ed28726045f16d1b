package orchestrator

import (
	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// objectChanges are the open changes of one object.
type objectChanges struct {
	ref     merge.Ref
	verb    merge.Verb
	changes []journal.Change
}

// has tells whether the field is among the changes.
func (o objectChanges) has(field string) bool {
	for _, c := range o.changes {
		if c.Field == field {
			return true
		}
	}
	return false
}

// carries tells whether a field's value is to be sent: any of a created object that may travel, else the
// changed ones.
func (o objectChanges) carries(field string) bool {
	for _, c := range o.changes {
		if c.Field == field || c.Verb == merge.Create && c.Content[field] != "" {
			return true
		}
	}
	return false
}

// byObject groups changes by object, keeping their order.
func byObject(changes []journal.Change) []objectChanges {
	var groups []objectChanges
	at := map[merge.Ref]int{}
	for _, c := range changes {
		i, known := at[c.Ref]
		if !known {
			i = len(groups)
			at[c.Ref] = i
			groups = append(groups, objectChanges{ref: c.Ref, verb: c.Verb})
		}
		groups[i].changes = append(groups[i].changes, c)
	}
	return groups
}

// upserts is what central takes to carry the changes: central's scalars as just read with the kit's changed
// ones over them, and of values and notes only those that changed. The importer replaces an object's scalars
// and merges its values (DHIS2 2.41 to 2.43), so anything else would undo what others did.
func upserts(objects []objectChanges, local, central *holding) dhis2api.TrackerPayload {
	var payload dhis2api.TrackerPayload
	for _, o := range objects {
		switch o.ref.Kind {
		case merge.TrackedEntity:
			if l := local.persons[o.ref.UID]; l != nil {
				payload.TrackedEntities = append(payload.TrackedEntities, personPayload(o, decidedPerson(o, l), central.persons[o.ref.UID]))
			}
		case merge.Enrollment:
			if l := local.enrollments[o.ref.UID]; l != nil {
				payload.Enrollments = append(payload.Enrollments, enrollmentPayload(o, decidedEnrollment(o, l), central.enrollments[o.ref.UID]))
			}
		case merge.Event:
			if l := local.events[o.ref.UID]; l != nil {
				payload.Events = append(payload.Events, eventPayload(o, decidedEvent(o, l), central.events[o.ref.UID]))
			}
		case merge.Relationship:
			if l := local.relationships[o.ref.UID]; l != nil {
				payload.Relationships = append(payload.Relationships, relationshipPayload(l))
			}
		}
	}
	return payload
}

// deletions is the payload of a deletion: ids alone.
func deletions(objects []objectChanges) dhis2api.TrackerPayload {
	var payload dhis2api.TrackerPayload
	for _, o := range objects {
		switch o.ref.Kind {
		case merge.TrackedEntity:
			payload.TrackedEntities = append(payload.TrackedEntities, &dhis2api.TrackedEntity{TrackedEntity: o.ref.UID})
		case merge.Enrollment:
			payload.Enrollments = append(payload.Enrollments, &dhis2api.Enrollment{Enrollment: o.ref.UID})
		case merge.Event:
			payload.Events = append(payload.Events, &dhis2api.Event{Event: o.ref.UID})
		case merge.Relationship:
			payload.Relationships = append(payload.Relationships, &dhis2api.Relationship{Relationship: o.ref.UID})
		}
	}
	return payload
}

func personPayload(o objectChanges, local, central *dhis2api.TrackedEntity) *dhis2api.TrackedEntity {
	if o.verb == merge.Create || central == nil {
		return &dhis2api.TrackedEntity{
			TrackedEntity: local.TrackedEntity, TrackedEntityType: local.TrackedEntityType, OrgUnit: local.OrgUnit,
			Inactive: local.Inactive, PotentialDuplicate: local.PotentialDuplicate, Geometry: local.Geometry,
			StoredBy: author(local.StoredBy, local.UpdatedBy), CreatedAtClient: clientTime(local.CreatedAtClient, local.CreatedAt), UpdatedAtClient: clientTime(local.UpdatedAtClient, local.UpdatedAt),
			Attributes: attributeValues(local, o.carries),
		}
	}
	p := &dhis2api.TrackedEntity{
		TrackedEntity: central.TrackedEntity, TrackedEntityType: central.TrackedEntityType, OrgUnit: central.OrgUnit,
		Inactive: central.Inactive, PotentialDuplicate: central.PotentialDuplicate, Geometry: central.Geometry,
		StoredBy: central.StoredBy, CreatedAtClient: central.CreatedAtClient, UpdatedAtClient: clientTime(local.UpdatedAtClient, local.UpdatedAt),
		Attributes: attributeValues(local, o.carries),
	}
	for _, c := range o.changes {
		switch c.Field {
		case "orgUnit":
			p.OrgUnit = local.OrgUnit
		case "inactive":
			p.Inactive = local.Inactive
		case "geometry":
			p.Geometry = local.Geometry
		default:
			if sentValue(c) == "" && merge.IsUID(c.Field) {
				p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: c.Field})
			}
		}
	}
	return p
}

// attributeValues are the wanted attribute values as an import takes them.
func attributeValues(local *dhis2api.TrackedEntity, wanted func(string) bool) []dhis2api.Attribute {
	var values []dhis2api.Attribute
	for _, a := range local.Attributes {
		if wanted(a.Attribute) && a.Value != "" {
			values = append(values, dhis2api.Attribute{Attribute: a.Attribute, Value: a.Value, StoredBy: author(a.StoredBy, local.UpdatedBy)})
		}
	}
	return values
}

func enrollmentPayload(o objectChanges, local, central *dhis2api.Enrollment) *dhis2api.Enrollment {
	from := local
	if o.verb != merge.Create && central != nil {
		from = central
	}
	p := &dhis2api.Enrollment{
		Enrollment: from.Enrollment, TrackedEntity: from.TrackedEntity, Program: from.Program, OrgUnit: from.OrgUnit, Status: from.Status,
		EnrolledAt: from.EnrolledAt, OccurredAt: from.OccurredAt, CompletedAt: from.CompletedAt, FollowUp: from.FollowUp,
		AttributeOptionCombo: from.AttributeOptionCombo, Geometry: from.Geometry, StoredBy: from.StoredBy,
		CreatedAtClient: from.CreatedAtClient, UpdatedAtClient: clientTime(local.UpdatedAtClient, local.UpdatedAt),
		Notes: newNotes(o, local.Notes),
	}
	if from == local {
		p.StoredBy, p.CreatedAtClient = author(local.StoredBy, local.UpdatedBy), clientTime(local.CreatedAtClient, local.CreatedAt)
		return p
	}
	for _, c := range o.changes {
		switch c.Field {
		case "orgUnit":
			p.OrgUnit = local.OrgUnit
		case "status":
			p.Status = local.Status
		case "enrolledAt":
			p.EnrolledAt = local.EnrolledAt
		case "occurredAt":
			p.OccurredAt = local.OccurredAt
		case "completedAt":
			p.CompletedAt = local.CompletedAt
		case "followUp":
			p.FollowUp = local.FollowUp
		case "geometry":
			p.Geometry = local.Geometry
		case "attributeOptionCombo":
			p.AttributeOptionCombo = local.AttributeOptionCombo
		}
	}
	return p
}

func eventPayload(o objectChanges, local, central *dhis2api.Event) *dhis2api.Event {
	from := local
	if o.verb != merge.Create && central != nil {
		from = central
	}
	p := &dhis2api.Event{
		Event: from.Event, Program: from.Program, ProgramStage: from.ProgramStage, OrgUnit: from.OrgUnit, Status: from.Status,
		OccurredAt: from.OccurredAt, ScheduledAt: from.ScheduledAt, CompletedAt: from.CompletedAt,
		AttributeOptionCombo: from.AttributeOptionCombo, AssignedUser: assignee(from.AssignedUser), Geometry: from.Geometry,
		StoredBy: from.StoredBy, CreatedAtClient: from.CreatedAtClient, UpdatedAtClient: clientTime(local.UpdatedAtClient, local.UpdatedAt),
		DataValues: dataValues(local.DataValues, o.carries), Notes: newNotes(o, local.Notes),
	}
	if from.TrackedEntity != "" {
		// An event without a person belongs, in DHIS2 2.41 and 2.42, to an enrollment that the server made
		// for itself: central has its own.
		p.Enrollment = from.Enrollment
		p.TrackedEntity = from.TrackedEntity
	}
	if from == local {
		p.StoredBy, p.CreatedAtClient = author(local.StoredBy, local.UpdatedBy), clientTime(local.CreatedAtClient, local.CreatedAt)
		return p
	}
	for _, c := range o.changes {
		switch c.Field {
		case "orgUnit":
			p.OrgUnit = local.OrgUnit
		case "status":
			p.Status = local.Status
		case "occurredAt":
			p.OccurredAt = local.OccurredAt
		case "scheduledAt":
			p.ScheduledAt = local.ScheduledAt
		case "completedAt":
			p.CompletedAt = local.CompletedAt
		case "geometry":
			p.Geometry = local.Geometry
		case "attributeOptionCombo":
			p.AttributeOptionCombo = local.AttributeOptionCombo
		case "assignedUser":
			p.AssignedUser = assignee(local.AssignedUser)
		default:
			if sentValue(c) == "" && merge.IsUID(c.Field) {
				p.DataValues = append(p.DataValues, dhis2api.EventDataValue{DataElement: c.Field})
			}
		}
	}
	return p
}

// dataValues are the wanted values of an event as an import takes them.
func dataValues(all []dhis2api.EventDataValue, wanted func(string) bool) []dhis2api.EventDataValue {
	var values []dhis2api.EventDataValue
	for _, v := range all {
		if wanted(v.DataElement) && v.Value != "" {
			values = append(values, dhis2api.EventDataValue{DataElement: v.DataElement, Value: v.Value, ProvidedElsewhere: v.ProvidedElsewhere})
		}
	}
	return values
}

func relationshipPayload(local *dhis2api.Relationship) *dhis2api.Relationship {
	fromKind, from := local.From.Ref()
	toKind, to := local.To.Ref()
	return &dhis2api.Relationship{
		Relationship: local.Relationship, RelationshipType: local.RelationshipType, CreatedAtClient: clientTime(local.CreatedAtClient, local.CreatedAt),
		From: dhis2api.ItemRef(fromKind, from), To: dhis2api.ItemRef(toKind, to),
	}
}

// newNotes are the notes among the changes; all of them for a created object. Notes are only ever added, and
// a known one would be answered with a warning.
func newNotes(o objectChanges, notes []dhis2api.Note) []dhis2api.Note {
	var added []dhis2api.Note
	for _, n := range notes {
		if o.carries(merge.NotePrefix + n.Note) {
			added = append(added, dhis2api.Note{Note: n.Note, Value: n.Value, StoredBy: n.StoredBy})
		}
	}
	return added
}

// assignee names a user by uid and username both (DHIS2 2.42: with one of them the importer may answer E1118).
func assignee(user *dhis2api.UserRef) *dhis2api.UserRef {
	if user == nil {
		return nil
	}
	return &dhis2api.UserRef{UID: user.UID, Username: user.Username}
}

// author is who stored something first, as the tablet said, else who wrote it on the kit. Central keeps it where its version
// takes storedBy (DHIS2 2.42, of new objects and of attribute values; 2.41 and 2.43 put the importing account).
func author(storedBy string, user *dhis2api.UserRef) string {
	if storedBy == "" && user != nil {
		return user.Username
	}
	return storedBy
}

// clientTime is the time at which something happened on a tablet, where it said so, else on the kit. It is
// the only time that travels: central sets all others itself.
func clientTime(client, server string) string {
	if client != "" {
		return client
	}
	return server
}
