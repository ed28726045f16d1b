package dhis2sim

import "strings"

// trackerView writes tracker objects as one request is to see them.
type trackerView struct {
	access
	*jsonWriter
	minor          int
	includeDeleted bool
	ofOneKind      bool   // an endpoint of 2.43 for one kind of events, which shows no category options
	program        string // of which enrollments, owners and attributes are shown; empty for all

	attributeViews map[string]*attributeView
	shownByProgram map[string]map[string]bool
	comboOptions   map[string]string
}

// attributeView is what a value shows of its attribute, as JSON.
type attributeView struct{ uid, code, name, valueType string }

func (s *Server) newTrackerView(a access) *trackerView {
	return &trackerView{
		access: a, jsonWriter: s.newJSONWriter(), minor: s.minor,
		attributeViews: map[string]*attributeView{}, shownByProgram: map[string]map[string]bool{}, comboOptions: map[string]string{},
	}
}

// within says in what an object is shown.
type within int

const (
	alone          within = iota
	inRelationship        // as one end of a relationship: shows less of itself, and no relationships
)

// entity writes a tracked entity with the attributes that shown names; nil shows all.
func (v *trackerView) entity(e *trackedEntity, filter *fieldFilter, shown map[string]bool, in within) {
	o := v.object(filter)
	o.string("trackedEntity", e.uid)
	o.string("trackedEntityType", e.entityType)
	o.instant("createdAt", e.created)
	o.instant("createdAtClient", e.createdAtClient)
	o.instant("updatedAt", e.updated)
	o.instant("updatedAtClient", e.updatedAtClient)
	o.string("orgUnit", e.unit)
	o.flag("inactive", e.inactive)
	o.flag("deleted", e.deleted)
	o.flag("potentialDuplicate", e.potentialDuplicate)
	if in == alone || v.minor == 41 {
		o.raw("geometry", e.geometry)
	}
	if v.minor == 41 {
		o.string("storedBy", e.storedBy)
	}
	o.person("createdBy", e.createdBy, false)
	o.person("updatedBy", e.updatedBy, false)
	if in == alone {
		v.relationships(&o, e.uid, e.relationships)
	}
	v.attributes(&o, e, shown, in)
	o.each("enrollments", len(e.enrollments), func(i int, below *fieldFilter) bool {
		enrollment := e.enrollments[i]
		if v.program != "" && enrollment.program != v.program || !v.showsDeleted(enrollment.deleted, in) || !v.mayReadEnrollment(enrollment) {
			return false
		}
		v.enrollment(enrollment, below, in)
		return true
	})
	o.each("programOwners", len(e.owners), func(i int, below *fieldFilter) bool {
		if v.program != "" && e.owners[i].program != v.program {
			return false
		}
		owner := v.object(below)
		owner.string("orgUnit", e.owners[i].unit)
		owner.string("trackedEntity", e.uid)
		owner.string("program", e.owners[i].program)
		owner.end()
		return true
	})
	o.end()
}

func (v *trackerView) showsDeleted(deleted bool, in within) bool {
	return !deleted || v.includeDeleted && in == alone
}

// attributes writes a tracked entity's attribute values.
func (v *trackerView) attributes(o *objectWriter, e *trackedEntity, shown map[string]bool, in within) {
	o.each("attributes", len(e.attributes), func(i int, below *fieldFilter) bool {
		value := &e.attributes[i]
		if shown != nil && !shown[value.attribute] {
			return false
		}
		a := v.attributeView(value.attribute)
		item := v.object(below)
		item.string("attribute", a.uid)
		item.string("code", a.code)
		item.string("displayName", a.name)
		item.instant("createdAt", value.created)
		item.instant("updatedAt", value.updated)
		if in == alone || v.minor == 41 {
			item.string("storedBy", value.storedBy)
		}
		item.string("valueType", a.valueType)
		item.string("value", value.value)
		item.end()
		return true
	})
}

func (v *trackerView) attributeView(uid string) *attributeView {
	a := v.attributeViews[uid]
	if a == nil {
		o := v.server.object("trackedEntityAttributes", uid)
		a = &attributeView{uid, text(o["code"]), text(o["name"]), text(o["valueType"])}
		v.attributeViews[uid] = a
	}
	return a
}

// programAttributes are the attributes of a program.
func (v *trackerView) programAttributes(program string) map[string]bool {
	shown := v.shownByProgram[program]
	if shown == nil {
		shown = map[string]bool{}
		for _, member := range members(v.server.object("programs", program)["programTrackedEntityAttributes"]) {
			shown[member.uid] = true
		}
		v.shownByProgram[program] = shown
	}
	return shown
}

// enrollment writes an enrollment. Its attributes are its tracked entity's, cut to the program's.
func (v *trackerView) enrollment(e *enrollment, filter *fieldFilter, in within) {
	o := v.object(filter)
	o.string("enrollment", e.uid)
	o.instant("createdAt", e.created)
	o.instant("createdAtClient", e.createdAtClient)
	o.instant("updatedAt", e.updated)
	o.instant("updatedAtClient", e.updatedAtClient)
	if e.trackedEntity != nil {
		o.string("trackedEntity", e.trackedEntity.uid)
	}
	o.string("program", e.program)
	o.string("status", e.status)
	o.string("orgUnit", e.unit)
	o.instant("enrolledAt", e.enrolled)
	o.instant("occurredAt", e.occurred)
	o.flag("followUp", e.followUp)
	if in == alone || v.minor == 41 {
		o.string("completedBy", e.completedBy)
	}
	o.instant("completedAt", e.completed)
	o.flag("deleted", e.deleted)
	o.string("storedBy", e.storedBy)
	o.person("createdBy", e.createdBy, false)
	o.person("updatedBy", e.updatedBy, false)
	o.raw("geometry", e.geometry)
	if v.minor >= 43 && in == alone {
		o.string("attributeOptionCombo", e.attributeOptionCombo)
	}
	o.each("events", len(e.events), func(i int, below *fieldFilter) bool {
		event := e.events[i]
		if !v.showsDeleted(event.deleted, in) || !v.mayReadEvent(event) {
			return false
		}
		v.event(event, below, in)
		return true
	})
	if in == alone {
		v.relationships(&o, e.uid, e.relationships)
	}
	if e.trackedEntity != nil {
		shown := v.programAttributes(e.program)
		if in == inRelationship {
			shown = nil
		}
		v.attributes(&o, e.trackedEntity, shown, in)
	}
	v.notes(&o, e.notes)
	o.end()
}

// event writes an event. followUp is its enrollment's.
func (v *trackerView) event(e *event, filter *fieldFilter, in within) {
	o := v.object(filter)
	followUp := e.enrollment != nil && e.enrollment.followUp
	o.string("event", e.uid)
	o.string("status", e.status)
	o.string("program", e.program)
	o.string("programStage", e.programStage)
	if e.enrollment != nil {
		o.string("enrollment", e.enrollment.uid)
	}
	if of := e.trackedEntity(); of != nil && (in == alone || v.minor == 41) {
		o.string("trackedEntity", of.uid)
	}
	o.string("orgUnit", e.unit)
	if in == alone {
		v.relationships(&o, e.uid, e.relationships)
	}
	o.instant("occurredAt", e.occurred)
	o.instant("scheduledAt", e.scheduled)
	o.string("storedBy", e.storedBy)
	o.flag("followUp", followUp)
	v.eventRest(&o, e, in)
	if v.minor == 41 {
		o.flag("followup", followUp)
	}
	o.end()
}

// singleEvent writes an event of an event program as 2.43's own endpoint for them does.
func (v *trackerView) singleEvent(e *event, filter *fieldFilter) {
	o := v.object(filter)
	o.string("event", e.uid)
	o.string("status", e.status)
	o.string("program", e.program)
	o.string("orgUnit", e.unit)
	v.relationships(&o, e.uid, e.relationships)
	o.instant("occurredAt", e.occurred)
	o.string("storedBy", e.storedBy)
	v.eventRest(&o, e, alone)
	o.end()
}

// eventRest writes what all views of an event share.
func (v *trackerView) eventRest(o *objectWriter, e *event, in within) {
	o.flag("deleted", e.deleted)
	o.instant("createdAt", e.created)
	o.instant("createdAtClient", e.createdAtClient)
	o.instant("updatedAt", e.updated)
	o.instant("updatedAtClient", e.updatedAtClient)
	o.string("attributeOptionCombo", e.attributeOptionCombo)
	if !v.ofOneKind || in == inRelationship {
		o.string("attributeCategoryOptions", v.optionsOf(e.attributeOptionCombo))
	}
	o.string("completedBy", e.completedBy)
	o.instant("completedAt", e.completed)
	o.raw("geometry", e.geometry)
	o.person("assignedUser", e.assignedUser, true)
	o.person("createdBy", e.createdBy, false)
	o.person("updatedBy", e.updatedBy, false)
	o.each("dataValues", len(e.dataValues), func(i int, below *fieldFilter) bool {
		d := &e.dataValues[i]
		item := v.object(below)
		item.instant("createdAt", d.created)
		item.instant("updatedAt", d.updated)
		if in == alone || v.minor == 41 {
			item.string("storedBy", d.storedBy)
		}
		item.flag("providedElsewhere", d.providedElsewhere && (in == alone || v.minor == 41))
		item.string("dataElement", d.dataElement)
		item.string("value", d.value)
		if v.minor >= 42 {
			item.person("createdBy", d.createdBy, false)
			item.person("updatedBy", d.updatedBy, false)
		}
		item.end()
		return true
	})
	v.notes(o, e.notes)
}

// optionsOf are the category options of a combination, in one text.
func (v *trackerView) optionsOf(combo string) string {
	joined, ok := v.comboOptions[combo]
	if !ok {
		if c := v.optionCombo(combo); c != nil {
			joined = strings.Join(c.options, ",")
		}
		v.comboOptions[combo] = joined
	}
	return joined
}

func (v *trackerView) notes(o *objectWriter, notes []note) {
	o.each("notes", len(notes), func(i int, below *fieldFilter) bool {
		n := v.object(below)
		n.string("note", notes[i].uid)
		n.instant("storedAt", notes[i].stored)
		n.string("value", notes[i].value)
		n.string("storedBy", notes[i].storedBy)
		n.person("createdBy", notes[i].createdBy, true)
		n.end()
		return true
	})
}

// relationships writes the relationships that start at an object, and those that end at it where they go
// both ways.
func (v *trackerView) relationships(o *objectWriter, uid string, all []*relationship) {
	o.each("relationships", len(all), func(i int, below *fieldFilter) bool {
		r := all[i]
		if r.deleted && !v.includeDeleted || !r.bidirectional && r.from.uid() != uid || !v.mayReadRelationship(r) {
			return false
		}
		v.relationship(r, below)
		return true
	})
}

// relationship writes a relationship with both of its ends.
func (v *trackerView) relationship(r *relationship, filter *fieldFilter) {
	kind := v.server.object("relationshipTypes", r.relationshipType)
	o := v.object(filter)
	o.string("relationship", r.uid)
	o.string("relationshipName", text(kind["name"]))
	o.string("relationshipType", r.relationshipType)
	o.instant("createdAt", r.created)
	o.instant("createdAtClient", r.createdAtClient)
	o.instant("updatedAt", r.updated)
	o.flag("bidirectional", r.bidirectional)
	v.item(&o, "from", r.from, constraint(kind["fromConstraint"]))
	v.item(&o, "to", r.to, constraint(kind["toConstraint"]))
	o.end()
}

// item writes one end of a relationship, with the attributes and data elements that the type's data view
// names.
func (v *trackerView) item(o *objectWriter, name string, i relationshipItem, c relationshipConstraint) {
	below, ok := o.field(name)
	if !ok {
		return
	}
	program := v.program
	v.program = "" // an end shows all of its enrollments and owners
	defer func() { v.program = program }()
	end := v.object(below)
	switch {
	case i.trackedEntity != nil:
		if below, ok := end.field("trackedEntity"); ok {
			v.entity(i.trackedEntity, below, c.attributes, inRelationship)
		}
	case i.enrollment != nil:
		if below, ok := end.field("enrollment"); ok {
			v.enrollment(i.enrollment, below, inRelationship)
		}
	case i.event != nil:
		if below, ok := end.field("event"); ok {
			v.event(i.event, below, inRelationship)
		}
	}
	end.end()
}
