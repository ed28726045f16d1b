package dhis2sim

import "strings"

// access answers what an account may see and do with tracker data (DHIS2: TrackerAccessManager,
// TrackerOwnershipManager).
type access struct {
	*catalog
	store *trackerStore
	now   instant
}

func (s *Server) access(c *catalog) access {
	return access{c, s.tracker, instant(s.now().UnixMilli())}
}

// within tells whether a unit is one of the roots or below one. Nobody is above this, superusers included.
func (c *catalog) within(unit string, roots []string) bool {
	path := c.unitPath(unit)
	for path != "" {
		i := strings.LastIndexByte(path, '/')
		for _, root := range roots {
			if path[i+1:] == root {
				return true
			}
		}
		path = path[:i]
	}
	return false
}

// inCapture tells whether a unit is in the caller's capture scope.
func (a access) inCapture(unit string) bool { return a.within(unit, a.caller.captureUnits) }

// inSearch tells whether a unit is in the caller's search or capture scope.
func (a access) inSearch(unit string) bool {
	return a.within(unit, a.caller.searchUnits) || a.inCapture(unit)
}

// mayReach tells whether the caller may work with a tracked entity that unit owns in a program. Whose
// tracked entity it is matters only where the glass was broken; it may be empty.
func (a access) mayReach(trackedEntity, unit string, p *program) bool {
	if a.caller.superuser() || p == nil || !p.registration || unit == "" {
		return true
	}
	switch p.accessLevel {
	case "PROTECTED":
		until := a.store.temporary[temporaryOwner{a.caller.uid, trackedEntity, p.uid}]
		return a.inCapture(unit) || until > a.now
	case "CLOSED":
		return a.inCapture(unit)
	}
	return a.inSearch(unit)
}

// ownerOf is the unit that owns a tracked entity in a program: its own unit where nobody does.
func ownerOf(e *trackedEntity, program string) string {
	if unit := e.owner(program); unit != "" {
		return unit
	}
	return e.unit
}

func (a access) mayReadClass(class, uid string) bool {
	return a.server.mayReadData(a.caller, a.server.object(class, uid))
}

// mayReadEntity tells whether the caller may read a tracked entity through some program of its type.
func (a access) mayReadEntity(e *trackedEntity) bool {
	if e == nil || a.caller.superuser() {
		return true
	}
	if !a.mayReadClass("trackedEntityTypes", e.entityType) {
		return false
	}
	for _, p := range a.trackerPrograms() {
		if p.entityType == e.entityType && a.mayReach(e.uid, ownerOf(e, p.uid), p) {
			return true
		}
	}
	return false
}

// mayWriteEntity tells whether the caller may write to a tracked entity through some program of its type.
func (a access) mayWriteEntity(e *trackedEntity) bool {
	if a.caller.superuser() {
		return true
	}
	return a.server.mayWriteData(a.caller, a.server.object("trackedEntityTypes", e.entityType)) && a.mayWriteThroughProgram(e)
}

func (a access) mayWriteThroughProgram(e *trackedEntity) bool {
	for _, o := range a.server.objects("programs") {
		p := a.program(text(o["id"]))
		if p != nil && p.registration && p.entityType == e.entityType && a.server.mayWriteData(a.caller, o) &&
			a.mayReach(e.uid, ownerOf(e, p.uid), p) {
			return true
		}
	}
	return false
}

// mayReadEnrollment tells whether the caller may read an enrollment.
func (a access) mayReadEnrollment(e *enrollment) bool {
	if e == nil || a.caller.superuser() {
		return true
	}
	p := a.program(e.program)
	if p == nil || !a.server.mayReadData(a.caller, p.object) {
		return false
	}
	if e.trackedEntity == nil {
		return a.mayReadAt(e.unit, p)
	}
	return a.mayReadClass("trackedEntityTypes", p.entityType) && a.mayReach(e.trackedEntity.uid, ownerOf(e.trackedEntity, p.uid), p)
}

// mayReadEvent tells whether the caller may read an event.
func (a access) mayReadEvent(e *event) bool {
	if e == nil || a.caller.superuser() {
		return true
	}
	p, stage := a.program(e.program), a.programStage(e.programStage)
	if p == nil || stage == nil || !a.server.mayReadData(a.caller, p.object) || !a.mayReadOptions(e.attributeOptionCombo) {
		return false
	}
	if e.single {
		return a.mayReadAt(e.unit, p)
	}
	return a.server.mayReadData(a.caller, stage.object) && a.mayReadEnrollment(e.enrollment)
}

// mayReadAt tells whether the caller may read what an event program holds at a unit.
func (a access) mayReadAt(unit string, p *program) bool {
	if unit == "" {
		return true
	}
	if p.accessLevel == "CLOSED" || p.accessLevel == "PROTECTED" {
		return a.inCapture(unit)
	}
	return a.inSearch(unit)
}

// mayReadOptions tells whether the caller may read data of every category option of a combination.
func (a access) mayReadOptions(combo string) bool {
	if o := a.optionCombo(combo); o != nil {
		for _, option := range o.options {
			if !a.mayReadClass("categoryOptions", option) {
				return false
			}
		}
	}
	return true
}

// mayReadRelationship tells whether the caller may read a relationship: its type and both of its ends.
func (a access) mayReadRelationship(r *relationship) bool {
	if a.caller.superuser() {
		return true
	}
	if !a.mayReadClass("relationshipTypes", r.relationshipType) {
		return false
	}
	for _, item := range []relationshipItem{r.from, r.to} {
		if !a.mayReadEntity(item.trackedEntity) || !a.mayReadEnrollment(item.enrollment) || !a.mayReadEvent(item.event) {
			return false
		}
	}
	return true
}

// mayWriteItem tells whether the caller may make or remove a relationship at this end.
func (a access) mayWriteItem(i relationshipItem) bool {
	switch {
	case a.caller.superuser():
		return true
	case i.trackedEntity != nil:
		return a.mayWriteEntity(i.trackedEntity)
	case i.enrollment != nil:
		p := a.program(i.enrollment.program)
		return p != nil && a.server.mayWriteData(a.caller, p.object) && a.mayReadEnrollment(i.enrollment)
	case i.event != nil:
		p, stage := a.program(i.event.program), a.programStage(i.event.programStage)
		if p == nil || stage == nil {
			return false
		}
		if i.event.single {
			return a.server.mayWriteData(a.caller, p.object)
		}
		return a.server.mayWriteData(a.caller, stage.object) && a.inSearch(i.event.unit) && a.mayReadEvent(i.event)
	}
	return true
}
