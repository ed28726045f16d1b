package snapshot

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// Canonical reduces what a DHIS2 server gave to canonical content, and adds it to a face. A zero face is
// fine: its maps are made. Adding an object twice leaves it as it is; adding a tracked entity once a program
// (the server shows only one program's attributes and enrollments at a time) unites what was seen.
//
// An object that the server marks as deleted goes to the face's Deleted, with everything nested in it.
//
// This is the content, field by field. An empty value is no entry.
//
//	object         field                 from
//	trackedEntity  trackedEntityType     the uid
//	               orgUnit               the uid
//	               geometry              GeoJSON, see below
//	               inactive              "true" or no entry
//	               ATTRIBUTE             the value as it is, of its own or of an enrollment's attributes
//	               owner.PROGRAM         the owning unit in that program
//	enrollment     trackedEntity         the uid; also its parent
//	               program, orgUnit      the uids
//	               status                ACTIVE, COMPLETED, CANCELLED
//	               enrolledAt            a time, see below
//	               occurredAt            a time
//	               completedAt           a time (from DHIS2 2.42 on: 2.41 makes it the moment of the import)
//	               followUp              "true" or no entry
//	               geometry              GeoJSON
//	               attributeOptionCombo  the uid; no entry for the default one (DHIS2 2.43; never before it)
//	               notes.NOTE            the text
//	event          program, programStage the uids
//	               enrollment            the uid; also its parent; none in a program without registration
//	               orgUnit               the uid
//	               status                ACTIVE, COMPLETED, SCHEDULE, OVERDUE, SKIPPED, VISITED
//	               occurredAt            a time
//	               scheduledAt           a time
//	               completedAt           a time
//	               attributeOptionCombo  the uid
//	               assignedUser          the user name; the uid where there is none
//	               geometry              GeoJSON
//	               DATAELEMENT           the value as it is
//	               notes.NOTE            the text
//	relationship   relationshipType      the uid
//	               bidirectional         "true" or no entry
//	               from, to              the kind and the uid of the end: trackedEntity.UID, enrollment.UID, event.UID
//	dataValue      value, comment        as they are
//	               followUp              "true" or no entry
//	completion     completed             "true" or no entry
//
// A time is the wall clock of the server's zone to the millisecond, 2006-01-02T15:04:05.000, as DHIS2 writes
// it itself: without an offset. A time that has an offset is turned to the zone, and a date gets midnight.
// What is no time stays as it is.
//
// Geometry is GeoJSON with nothing but type, coordinates and geometries, in that order of the alphabet, and
// each number in its shortest form that is the same 64-bit float: DHIS2 stores and shows coordinates as those
// (2.41 to 2.43: -81.7321 comes back as -81.7321, and 8 as 8.0).
//
// A user has another uid on another server when the account was made there by hand (the administrator always
// has one already), but the same name: so assignedUser is the name.
//
// Not content, because an import rewrites it, somebody else derives it, or it is about who and when:
// createdAt, updatedAt, createdAtClient, updatedAtClient, createdBy, updatedBy, storedBy, completedBy, a note's
// author and time, an event's followUp (DHIS2 2.41 to 2.43: its enrollment's), a completion's date and people, code, displayName, valueType, relationshipName,
// potentialDuplicate, attributeCategoryOptions, providedElsewhere.
type Canonical struct {
	// Zone is the zone of the server that gave the objects; nil means UTC. It matters only to times with an
	// offset.
	Zone *time.Location
	// ownCompletion tells that the server itself says when an enrollment was completed, so that it is no content.
	ownCompletion bool
}

// CanonicalOf reduces what a server gave.
func CanonicalOf(server *dhis2api.Client) Canonical {
	return Canonical{Zone: server.Zone(), ownCompletion: server.Version().Minor < 42}
}

// defaultCategoryOptionCombo is fixed in DHIS2 2.43, the first version in which an enrollment has one.
const defaultCategoryOptionCombo = "HllvX50cXC0"

// AddTrackedEntity adds a tracked entity with its enrollments and their events to the face. Relationships are
// records of their own: see NestedRelationships.
func (c Canonical) AddTrackedEntity(face *merge.Face, entity *dhis2api.TrackedEntity) {
	ref := merge.Ref{Kind: merge.TrackedEntity, UID: entity.TrackedEntity}
	if entity.Deleted {
		c.deleteTrackedEntity(face, entity)
		return
	}
	fields := content(face, ref, merge.Ref{})
	fields.set("trackedEntityType", entity.TrackedEntityType)
	fields.set(merge.FieldOrgUnit, entity.OrgUnit)
	fields.set(merge.FieldGeometry, geometry(entity.Geometry))
	fields.flag("inactive", entity.Inactive)
	fields.attributes(entity.Attributes)
	for _, owner := range entity.ProgramOwners {
		fields.set(merge.OwnerPrefix+owner.Program, owner.OrgUnit)
	}
	for _, enrollment := range entity.Enrollments {
		if !enrollment.Deleted {
			fields.attributes(enrollment.Attributes)
		}
		c.addEnrollment(face, enrollment, entity.TrackedEntity)
	}
}

// AddEnrollment adds an enrollment that came alone, with its events, to the face. Its attributes belong to the
// tracked entity and are added to it where the face has it already.
func (c Canonical) AddEnrollment(face *merge.Face, enrollment *dhis2api.Enrollment) {
	entity := merge.Ref{Kind: merge.TrackedEntity, UID: enrollment.TrackedEntity}
	if _, there := face.Objects[entity]; there && !enrollment.Deleted {
		content(face, entity, merge.Ref{}).attributes(enrollment.Attributes)
	}
	c.addEnrollment(face, enrollment, enrollment.TrackedEntity)
}

func (c Canonical) addEnrollment(face *merge.Face, enrollment *dhis2api.Enrollment, entity string) {
	ref := merge.Ref{Kind: merge.Enrollment, UID: enrollment.Enrollment}
	if enrollment.Deleted {
		c.deleteEnrollment(face, enrollment)
		return
	}
	fields := content(face, ref, refOf(merge.TrackedEntity, entity))
	fields.set(merge.FieldTrackedEntity, entity)
	fields.set(merge.FieldProgram, enrollment.Program)
	fields.set(merge.FieldOrgUnit, enrollment.OrgUnit)
	fields.set(merge.FieldStatus, enrollment.Status)
	fields.set("enrolledAt", c.Time(enrollment.EnrolledAt))
	fields.set(merge.FieldOccurredAt, c.Time(enrollment.OccurredAt))
	if !c.ownCompletion {
		fields.set(merge.FieldCompletedAt, c.Time(enrollment.CompletedAt))
	}
	fields.flag("followUp", enrollment.FollowUp)
	fields.set(merge.FieldGeometry, geometry(enrollment.Geometry))
	if enrollment.AttributeOptionCombo != defaultCategoryOptionCombo {
		fields.set("attributeOptionCombo", enrollment.AttributeOptionCombo)
	}
	fields.notes(enrollment.Notes)
	for _, event := range enrollment.Events {
		c.addEvent(face, event, enrollment.Enrollment)
	}
}

// AddEvent adds an event that came alone to the face. One without a tracked entity is of a program without
// registration: the enrollment that DHIS2 2.41 and 2.42 show on it was made by the server and is another one
// on each, so it is no content. The event must have been read with its trackedEntity, therefore.
func (c Canonical) AddEvent(face *merge.Face, event *dhis2api.Event) {
	enrollment := event.Enrollment
	if event.TrackedEntity == "" {
		enrollment = ""
	}
	c.addEvent(face, event, enrollment)
}

func (c Canonical) addEvent(face *merge.Face, event *dhis2api.Event, enrollment string) {
	ref := merge.Ref{Kind: merge.Event, UID: event.Event}
	if event.Deleted {
		markDeleted(face, ref)
		return
	}
	fields := content(face, ref, refOf(merge.Enrollment, enrollment))
	fields.set(merge.FieldEnrollment, enrollment)
	fields.set(merge.FieldProgram, event.Program)
	fields.set("programStage", event.ProgramStage)
	fields.set(merge.FieldOrgUnit, event.OrgUnit)
	fields.set(merge.FieldStatus, event.Status)
	fields.set(merge.FieldOccurredAt, c.Time(event.OccurredAt))
	fields.set(merge.FieldScheduledAt, c.Time(event.ScheduledAt))
	fields.set(merge.FieldCompletedAt, c.Time(event.CompletedAt))
	fields.set("attributeOptionCombo", event.AttributeOptionCombo)
	if user := event.AssignedUser; user != nil && user.Username != "" {
		fields.set(merge.FieldAssignedUser, user.Username)
	} else if user != nil {
		fields.set(merge.FieldAssignedUser, user.UID)
	}
	fields.set(merge.FieldGeometry, geometry(event.Geometry))
	for _, value := range event.DataValues {
		fields.set(value.DataElement, value.Value)
	}
	fields.notes(event.Notes)
}

// AddRelationship adds a relationship to the face. It has no parent, since its ends are of equal rank.
func (c Canonical) AddRelationship(face *merge.Face, relationship *dhis2api.Relationship) {
	fields := content(face, refOf(merge.Relationship, relationship.Relationship), merge.Ref{})
	fields.set(merge.FieldRelationshipType, relationship.RelationshipType)
	fields.flag(merge.FieldBidirectional, relationship.Bidirectional)
	fields.set(merge.FieldFrom, end(relationship.From))
	fields.set(merge.FieldTo, end(relationship.To))
}

// AddDataValue adds an aggregate value to the face.
func (c Canonical) AddDataValue(face *merge.Face, value *dhis2api.DataValue) {
	ref := DataValueRef(value)
	if value.Deleted {
		markDeleted(face, ref)
		return
	}
	fields := content(face, ref, merge.Ref{})
	fields.set("value", value.Value)
	fields.set("comment", value.Comment)
	fields.flag("followUp", value.FollowUp)
}

// AddCompletion adds a data set's completion to the face. One that was taken back on the server (completed is
// false) is an object without content.
func (c Canonical) AddCompletion(face *merge.Face, completion *dhis2api.Completion) {
	content(face, CompletionRef(completion), merge.Ref{}).flag("completed", completion.Completed)
}

// DataValueRef names an aggregate value by its five-part key, as the server writes it.
func DataValueRef(value *dhis2api.DataValue) merge.Ref {
	return refOf(merge.DataValue, strings.Join([]string{
		value.DataElement, value.Period, value.OrgUnit, value.CategoryOptionCombo, value.AttributeOptionCombo,
	}, "."))
}

// CompletionRef names a completion by its four-part key, as the server writes it.
func CompletionRef(completion *dhis2api.Completion) merge.Ref {
	return refOf(merge.Completion, strings.Join([]string{
		completion.DataSet, completion.Period, completion.OrganisationUnit, completion.AttributeOptionCombo,
	}, "."))
}

// NestedRelationships returns the relationships found in a tracked entity, its enrollments and its events,
// each uid once, in the order in which they are found.
func NestedRelationships(entity *dhis2api.TrackedEntity) []*dhis2api.Relationship {
	var relationships []*dhis2api.Relationship
	seen := map[string]bool{}
	add := func(found []*dhis2api.Relationship) {
		for _, relationship := range found {
			if !seen[relationship.Relationship] {
				seen[relationship.Relationship] = true
				relationships = append(relationships, relationship)
			}
		}
	}
	add(entity.Relationships)
	for _, enrollment := range entity.Enrollments {
		add(enrollment.Relationships)
		for _, event := range enrollment.Events {
			add(event.Relationships)
		}
	}
	return relationships
}

// deleteTrackedEntity marks a tracked entity and all that is nested in it as deleted.
func (c Canonical) deleteTrackedEntity(face *merge.Face, entity *dhis2api.TrackedEntity) {
	markDeleted(face, refOf(merge.TrackedEntity, entity.TrackedEntity))
	for _, enrollment := range entity.Enrollments {
		c.deleteEnrollment(face, enrollment)
	}
}

func (c Canonical) deleteEnrollment(face *merge.Face, enrollment *dhis2api.Enrollment) {
	markDeleted(face, refOf(merge.Enrollment, enrollment.Enrollment))
	for _, event := range enrollment.Events {
		markDeleted(face, refOf(merge.Event, event.Event))
	}
}

func markDeleted(face *merge.Face, ref merge.Ref) {
	if face.Deleted == nil {
		face.Deleted = map[merge.Ref]bool{}
	}
	face.Deleted[ref] = true
	delete(face.Objects, ref)
}

// refOf names an object; the zero ref for an empty uid.
func refOf(kind merge.Kind, uid string) merge.Ref {
	if uid == "" {
		return merge.Ref{}
	}
	return merge.Ref{Kind: kind, UID: uid}
}

// fieldSet is the content of one object under construction.
type fieldSet map[string]string

// content returns the fields of an object in the face, which is put there when it is new.
func content(face *merge.Face, ref, parent merge.Ref) fieldSet {
	if face.Objects == nil {
		face.Objects = map[merge.Ref]merge.Object{}
	}
	object, there := face.Objects[ref]
	if !there {
		object = merge.Object{Ref: ref, Parent: parent, Fields: map[string]string{}}
		face.Objects[ref] = object
	}
	return object.Fields
}

func (f fieldSet) set(field, value string) {
	if value != "" {
		f[field] = value
	}
}

func (f fieldSet) flag(field string, value bool) {
	if value {
		f[field] = "true"
	}
}

func (f fieldSet) attributes(attributes []dhis2api.Attribute) {
	for _, attribute := range attributes {
		f.set(attribute.Attribute, attribute.Value)
	}
}

func (f fieldSet) notes(notes []dhis2api.Note) {
	for _, note := range notes {
		if note.Note != "" {
			f.set(merge.NotePrefix+note.Note, note.Value)
		}
	}
}

// end names one end of a relationship.
func end(item *dhis2api.RelationshipItem) string {
	kind, uid := item.Ref()
	switch kind {
	case dhis2api.KindTrackedEntity:
		return string(merge.TrackedEntity) + "." + uid
	case dhis2api.KindEnrollment:
		return string(merge.Enrollment) + "." + uid
	case dhis2api.KindEvent:
		return string(merge.Event) + "." + uid
	}
	return ""
}

// canonicalTime is how DHIS2 2.41 to 2.43 write a time.
const canonicalTime = "2006-01-02T15:04:05.000"

// Time returns a time in canonical form (see Canonical); what is no time comes back as it is.
func (c Canonical) Time(value string) string {
	if len(value) == len(canonicalTime) && wallClock(value) {
		return value // nearly all of them
	}
	zone := c.Zone
	if zone == nil {
		zone = time.UTC
	}
	// Fractions of any length are read by these too. The forms are those that DHIS2 reads.
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700"} {
		if instant, err := time.Parse(layout, value); err == nil {
			return instant.In(zone).Format(canonicalTime)
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if wall, err := time.Parse(layout, value); err == nil {
			return wall.Format(canonicalTime)
		}
	}
	return value
}

// wallClock tells whether a value of the right length has the canonical form, without reading it in full.
func wallClock(value string) bool {
	for i := range len(value) {
		digit := '0' <= value[i] && value[i] <= '9'
		if pattern := canonicalTime[i]; '0' <= pattern && pattern <= '9' {
			if !digit {
				return false
			}
		} else if value[i] != pattern {
			return false
		}
	}
	return true
}

// geometry returns GeoJSON in canonical form; what is no GeoJSON comes back as it is.
func geometry(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var read map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&read); err != nil {
		return string(raw)
	}
	written, err := json.Marshal(geometryOnly(read)) // the keys of a map come out in order
	if err != nil {
		return string(raw)
	}
	return string(written)
}

// geometryOnly keeps what is stored of a GeoJSON geometry.
func geometryOnly(read map[string]any) map[string]any {
	kept := map[string]any{}
	for _, key := range []string{"type", "coordinates", "geometries"} {
		if value, there := read[key]; there {
			kept[key] = shortNumbers(value)
		}
	}
	return kept
}

func shortNumbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		number, err := strconv.ParseFloat(value.String(), 64)
		if err != nil {
			return value
		}
		return json.Number(strconv.FormatFloat(number+0, 'f', -1, 64)) // + 0: there is no -0 on the map
	case []any:
		short := make([]any, len(value))
		for i := range value {
			short[i] = shortNumbers(value[i])
		}
		return short
	case map[string]any:
		return geometryOnly(value)
	}
	return value
}
