package dhis2sim

import (
	"slices"
	"strings"
)

// commit stores what is left of the payload, or deletes it, and reports what became of each object.
func (i *importer) commit() *bundleReport {
	bundle := &bundleReport{Types: map[string]*typeReport{}}
	if i.params.validateOnly {
		return bundle
	}
	for _, k := range kinds() {
		bundle.Types[k.reportName()] = &typeReport{TrackerType: k.reportName(), Objects: []objectReport{}}
	}
	if i.params.strategy == remove {
		i.commitDeletion(bundle)
		return bundle
	}
	for _, e := range i.in.TrackedEntities {
		bundle.count(kindEntity, string(e.UID), e.strategy, i.saveEntity(e))
	}
	for _, e := range i.in.Enrollments {
		bundle.count(kindEnrollment, string(e.UID), e.strategy, i.saveEnrollment(e))
	}
	for _, e := range i.in.Events {
		bundle.count(kindEvent, string(e.UID), e.strategy, i.saveEvent(e))
	}
	for _, r := range i.in.Relationships {
		bundle.count(kindRelationship, string(r.UID), r.strategy, i.saveRelationship(r))
	}
	for e := range i.touched {
		e.updated, e.updatedBy = i.now, i.by
		i.tracker.changed.note(e)
	}
	return bundle
}

// count notes what became of an object; what was not done was ignored.
func (b *bundleReport) count(k kind, uid string, s strategy, done bool) {
	t := b.Types[k.reportName()]
	switch {
	case !done:
		t.Stats.Ignored++
		return
	case s == create:
		t.Stats.Created++
	case s == update:
		t.Stats.Updated++
	case s == remove:
		t.Stats.Deleted++
	}
	t.Objects = append(t.Objects, objectReport{k.reportName(), uid, []importError{}})
}

// commitDeletion deletes from the bottom up, as DHIS2 does.
func (i *importer) commitDeletion(bundle *bundleReport) {
	for _, r := range i.in.Relationships {
		i.tracker.deleteRelationship(r.stored, i.by, i.now)
		bundle.count(kindRelationship, string(r.UID), remove, true)
	}
	for _, e := range i.in.Events {
		i.tracker.deleteEvent(e.stored, i.by, i.now)
		bundle.count(kindEvent, string(e.UID), remove, true)
	}
	for _, e := range i.in.Enrollments {
		i.tracker.deleteEnrollment(e.stored, i.by, i.now)
		bundle.count(kindEnrollment, string(e.UID), remove, true)
	}
	for _, e := range i.in.TrackedEntities {
		i.tracker.deleteEntity(e.stored, i.by, i.now)
		bundle.count(kindEntity, string(e.UID), remove, true)
	}
}

// storedBy is the storedBy of a new object: the payload's in 2.42, else the importing user.
func (i *importer) storedBy(sent looseText) string {
	if i.minor == 42 {
		return string(sent)
	}
	return i.caller.username
}

// saveEntity stores a tracked entity. Its scalars are replaced, its attribute values merged.
func (i *importer) saveEntity(in *entityInput) bool {
	e := in.stored
	if in.strategy == create {
		if i.tracker.entities[string(in.UID)] != nil {
			return false // twice in the payload
		}
		e = &trackedEntity{uid: string(in.UID), created: i.now, createdBy: i.by, storedBy: i.storedBy(in.StoredBy)}
		i.tracker.addEntity(e)
	} else if e == nil {
		return false
	}
	i.tracker.changed.note(e)
	if i.minor == 41 {
		e.storedBy = i.caller.username
	}
	e.updated, e.updatedBy = i.now, i.by
	e.createdAtClient, e.updatedAtClient = in.CreatedAtClient.at, in.UpdatedAtClient.at
	e.unit, e.entityType = string(in.OrgUnit), string(in.TrackedEntityType)
	e.inactive, e.potentialDuplicate, e.geometry = in.Inactive, in.PotentialDuplicate, string(in.Geometry)
	i.saveAttributes(e, in.Attributes)
	return true
}

// saveAttributes merges attribute values: an empty one removes what is there, one that is not sent stays.
func (i *importer) saveAttributes(e *trackedEntity, attributes []attributeInput) {
	if e.attributes == nil {
		e.attributes = make([]attributeValue, 0, len(attributes))
	}
	for _, v := range attributes {
		uid, value := string(v.Attribute), v.text()
		if old, ok := e.value(uid); ok && old == value {
			continue
		}
		a := i.catalog.attribute(uid)
		if a != nil {
			uid = a.uid // shared by all who have it
			if a.valueType == "FILE_RESOURCE" && value != "" {
				i.assignFile(value)
				i.tracker.fileOwners[value] = e.uid
			}
		}
		i.tracker.setValue(e, uid, value, i.storedBy(v.StoredBy), i.now)
	}
}

// saveEnrollment stores an enrollment. The first one of a tracked entity in a program makes its unit the
// owner there.
func (i *importer) saveEnrollment(in *enrollmentInput) bool {
	e := in.stored
	if in.strategy == create {
		of := i.tracker.entities[string(in.TrackedEntity)]
		if of == nil || i.tracker.enrollments[string(in.UID)] != nil {
			return false
		}
		e = &enrollment{
			uid: string(in.UID), trackedEntity: of, created: i.now, createdBy: i.by, storedBy: i.storedBy(in.StoredBy),
			status: "ACTIVE", completed: none,
		}
		e.program, e.unit = i.sharedUID("programs", in.Program), i.sharedUID("organisationUnits", in.OrgUnit)
		i.tracker.addEnrollment(e)
	} else if e == nil {
		return false
	} else if i.minor == 41 {
		e.storedBy = "" // DHIS2 2.41 loses it on update
	}
	if of := i.tracker.entities[string(in.TrackedEntity)]; of != nil && of != e.trackedEntity {
		// Nothing but the validation (E1127) keeps an enrollment with its person (measured on DHIS2 2.42).
		e.moveTo(of)
	}
	i.tracker.changed.note(e)
	e.updated, e.updatedBy = i.now, i.by
	e.createdAtClient, e.updatedAtClient = in.CreatedAtClient.at, in.UpdatedAtClient.at
	e.unit = i.sharedUID("organisationUnits", in.OrgUnit)
	e.enrolled, e.occurred = in.EnrolledAt.at, in.OccurredAt.at
	if !e.occurred.set() {
		e.occurred = e.enrolled
	}
	e.followUp, e.geometry = in.FollowUp, string(in.Geometry)
	if status := string(in.Status); status != e.status {
		e.status = sharedStatus(status)
		e.completed, e.completedBy = none, ""
		if status != "ACTIVE" {
			e.completed = i.now
			if i.minor >= 42 && in.CompletedAt.at.set() {
				e.completed = in.CompletedAt.at
			}
		}
		if status == "COMPLETED" {
			e.completedBy = i.caller.username
		}
	}
	if i.minor >= 43 {
		e.attributeOptionCombo = i.optionComboUID(in.AttributeOptionCombo)
	}
	e.notes = append(e.notes, i.newNotes(in.Notes)...)
	i.saveAttributes(e.trackedEntity, in.Attributes)
	i.touched[e.trackedEntity] = true
	return true
}

// sharedUID is the uid as its object holds it, so that a hundred thousand records share one string.
func (i *importer) sharedUID(class string, uid looseText) string {
	if shared := text(i.object(class, string(uid))["id"]); shared != "" {
		return shared
	}
	return string(uid)
}

// sharedStatus is a status as a constant.
func sharedStatus(status string) string {
	for _, known := range []string{"ACTIVE", "COMPLETED", "CANCELLED", "SCHEDULE", "OVERDUE", "SKIPPED"} {
		if known == status {
			return known
		}
	}
	return status
}

func (i *importer) optionComboUID(sent looseText) string {
	if combo := i.catalog.optionCombo(string(sent)); combo != nil {
		return combo.uid
	}
	return i.catalog.defaultOptionCombo().uid
}

func (i *importer) newNotes(in []noteInput) []note {
	var out []note
	for _, n := range in {
		if i.tracker.notes[string(n.UID)] {
			continue
		}
		i.tracker.notes[string(n.UID)] = true
		out = append(out, note{number: i.tracker.nextNumber(), uid: string(n.UID), value: string(n.Value), storedBy: i.storedBy(n.StoredBy), stored: i.now, createdBy: i.by})
	}
	return out
}

// saveEvent stores an event. Its scalars are replaced (but for the assignee, whom an omission keeps), its
// data values merged.
func (i *importer) saveEvent(in *eventInput) bool {
	e := in.stored
	if in.strategy == create {
		enrolled := i.tracker.enrollments[string(in.Enrollment)]
		if i.tracker.events[string(in.UID)] != nil || enrolled == nil && (!in.single || i.minor < 43) {
			return false
		}
		if in.single && i.minor >= 43 {
			enrolled = nil
		}
		e = &event{
			uid: string(in.UID), enrollment: enrolled, single: in.single, created: i.now, createdBy: i.by,
			storedBy: i.storedBy(in.StoredBy), completed: none,
		}
		e.program, e.programStage = i.sharedUID("programs", in.Program), i.sharedUID("programStages", in.ProgramStage)
		i.tracker.addEvent(e)
	} else if e == nil {
		return false
	} else if i.minor == 41 {
		e.storedBy = "" // DHIS2 2.41 loses it on update
	}
	i.tracker.changed.note(e)
	e.updated, e.updatedBy = i.now, i.by
	e.createdAtClient, e.updatedAtClient = in.CreatedAtClient.at, in.UpdatedAtClient.at
	e.unit = i.sharedUID("organisationUnits", in.OrgUnit)
	e.occurred, e.scheduled, e.geometry = in.OccurredAt.at, in.ScheduledAt.at, string(in.Geometry)
	if in.single && i.minor >= 43 {
		e.scheduled = none
	}
	switch {
	case in.Status != "COMPLETED":
		e.completed, e.completedBy = none, ""
	case e.status != "COMPLETED":
		e.completed, e.completedBy = i.now, i.caller.username
		if in.CompletedAt.at.set() {
			e.completed = in.CompletedAt.at
		}
	}
	e.status = sharedStatus(string(in.Status))
	e.attributeOptionCombo = i.optionComboUID(in.AttributeOptionCombo)
	if stage := i.catalog.programStage(e.programStage); stage != nil && stage.userAssignment && in.AssignedUser != nil {
		if user := i.userNamed(string(in.AssignedUser.Username)); user != nil {
			e.assignedUser = i.tracker.person(person{text(user["id"]), text(user["username"]), text(user["firstName"]), text(user["surname"])})
		}
	}
	e.notes = append(e.notes, i.newNotes(in.Notes)...)
	i.saveDataValues(e, in.DataValues)
	if of := e.trackedEntity(); of != nil {
		i.touched[of] = true
	}
	return true
}

// saveDataValues merges data values: a blank one removes what is there, an equal one changes nothing.
func (i *importer) saveDataValues(e *event, values []dataValueInput) {
	if e.dataValues == nil {
		e.dataValues = make([]dataValue, 0, len(values))
	}
	for _, v := range values {
		uid, value := string(v.DataElement), v.text()
		blank := strings.TrimSpace(value) == ""
		d := i.catalog.dataElement(uid)
		at := slices.IndexFunc(e.dataValues, func(known dataValue) bool { return known.dataElement == uid })
		switch {
		case blank && at >= 0:
			e.dataValues = slices.Delete(e.dataValues, at, at+1)
		case blank || at >= 0 && e.dataValues[at].value == value:
			continue
		case at >= 0:
			known := &e.dataValues[at]
			known.value, known.providedElsewhere, known.updated, known.updatedBy = value, v.ProvidedElsewhere, i.now, i.by
		default:
			if d != nil {
				uid = d.uid // shared by all who have it
			}
			e.dataValues = append(e.dataValues, dataValue{
				dataElement: uid, value: value, storedBy: i.caller.username, created: i.now, updated: i.now,
				createdBy: i.by, updatedBy: i.by, providedElsewhere: v.ProvidedElsewhere,
			})
		}
		if d != nil && (d.valueType == "FILE_RESOURCE" || d.valueType == "IMAGE") && !blank {
			i.assignFile(value)
			i.tracker.fileOwners[value] = e.uid
		}
	}
}

// saveRelationship stores a new relationship; one that exists is never changed.
func (i *importer) saveRelationship(in *relationshipInput) bool {
	from, to := in.From.ends(), in.To.ends()
	if in.strategy != create || len(from) != 1 || len(to) != 1 || i.tracker.relationships[string(in.UID)] != nil {
		return false
	}
	r := &relationship{
		uid: string(in.UID), relationshipType: i.sharedUID("relationshipTypes", in.RelationshipType), from: i.storedItem(from[0]), to: i.storedItem(to[0]),
		created: i.now, updated: i.now, createdAtClient: in.CreatedAtClient.at,
	}
	if kind := i.catalog.relationshipType(r.relationshipType); kind != nil {
		r.bidirectional = kind.bidirectional
	}
	if r.from.uid() == "" || r.to.uid() == "" {
		return false
	}
	i.tracker.addRelationship(r)
	for _, e := range r.origins() {
		i.touched[e] = true
	}
	return true
}
