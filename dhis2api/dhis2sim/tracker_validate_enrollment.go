package dhis2sim

import (
	"slices"
	"time"
)

// validateEnrollment checks one enrollment.
func (i *importer) validateEnrollment(e *enrollmentInput) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEnrollment, uid, code, args...) }
	exists := func() {
		switch {
		case e.stored != nil && e.stored.deleted:
			fail("E1113", uid)
		case e.stored != nil && e.strategy == create:
			fail("E1080", uid)
		case e.stored == nil && e.strategy != create:
			fail("E1081", uid)
		}
	}
	if e.strategy == remove {
		i.stages(kindEnrollment, uid, exists, func() { i.checkEnrollmentAccess(e) })
		return
	}
	var p *program
	i.stages(kindEnrollment, uid,
		func() { i.checkUID(kindEnrollment, uid, func() string { return "Enrollment(enrollment=" + uid + ")" }) },
		exists,
		func() {
			if e.OrgUnit == "" {
				fail("E1122", "orgUnit")
			}
			if e.Program == "" {
				fail("E1122", "program")
			}
			if e.TrackedEntity == "" {
				fail("E1122", "trackedEntity")
			}
		},
		func() {
			if i.catalog.unitPath(string(e.OrgUnit)) == "" {
				fail("E1070", identifier(e.OrgUnit))
			}
			if p = i.catalog.program(string(e.Program)); p == nil {
				fail("E1069", identifier(e.Program))
			}
			if !i.isStored(trackerReference{kindEntity, string(e.TrackedEntity)}) && i.entities[string(e.TrackedEntity)] == nil {
				fail("E1068", string(e.TrackedEntity))
			}
		},
		func() {
			if e.strategy != update {
				return
			}
			if e.stored.program != p.uid {
				fail("E1127", "program")
			}
			if e.stored.trackedEntity == nil || e.stored.trackedEntity.uid != string(e.TrackedEntity) {
				fail("E1127", "trackedEntity")
			}
		},
		func() {
			if !p.registration {
				fail("E1014", i.programText(e.Program))
			}
			if !p.units[string(e.OrgUnit)] {
				fail("E1041", i.unitText(e.OrgUnit), i.programText(e.Program))
			}
			if p.entityType != "" && i.entityTypeOf(string(e.TrackedEntity)) != p.entityType {
				fail("E1022", string(e.TrackedEntity), i.programText(e.Program))
			}
		},
		func() {
			if i.minor >= 43 {
				i.checkEnrollmentOptions(e, p)
			}
		},
		func() { i.checkEnrollmentAccess(e) },
		func() {
			e.Notes = i.checkNotes(kindEnrollment, uid, e.Notes)
			i.checkOtherEnrollments(e, p)
			i.checkGeometry(kindEnrollment, uid, e.Geometry, p.featureType)
			i.checkEnrollmentDates(e, p)
			i.checkEnrollmentAttributes(e, p)
		},
	)
}

// entityTypeOf is the type of a tracked entity, stored or in the payload.
func (i *importer) entityTypeOf(uid string) string {
	if stored := i.tracker.entities[uid]; stored != nil {
		return stored.entityType
	}
	if e := i.entities[uid]; e != nil {
		return string(e.TrackedEntityType)
	}
	return ""
}

// checkEnrollmentOptions checks the attribute option combo that an enrollment may have since 2.43.
func (i *importer) checkEnrollmentOptions(e *enrollmentInput, p *program) {
	fail := func(code string, args ...string) { i.report.fail(kindEnrollment, string(e.UID), code, args...) }
	if e.AttributeOptionCombo == "" {
		if p.enrollmentCategoryCombo != "" {
			fail("E1055")
		}
		return
	}
	combo := i.catalog.optionCombo(string(e.AttributeOptionCombo))
	switch {
	case combo == nil:
		fail("E1115", identifier(e.AttributeOptionCombo))
	case combo.categoryCombo == p.enrollmentCategoryCombo:
	case combo.categoryCombo == "":
		fail("E1055")
	default:
		fail("E1130", identifier(e.AttributeOptionCombo), p.enrollmentCategoryCombo)
	}
}

// checkEnrollmentAccess checks what the caller may do with an enrollment.
func (i *importer) checkEnrollmentAccess(e *enrollmentInput) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEnrollment, uid, code, args...) }
	a := i.access(i.catalog)
	programUID, trackedEntity := string(e.Program), string(e.TrackedEntity)
	if e.strategy != create {
		programUID = e.stored.program
		trackedEntity = e.stored.trackedEntity.uid
	}
	switch e.strategy {
	case create:
		i.checkCapture(kindEnrollment, uid, e.OrgUnit)
	case update:
		if e.stored.unit != string(e.OrgUnit) {
			i.checkCapture(kindEnrollment, uid, e.OrgUnit)
		}
	case remove:
		i.checkCapture(kindEnrollment, uid, looseText(e.stored.unit))
		// Deleted events count too: DHIS2 looks at the enrollment's deletion mark instead of theirs.
		if len(e.stored.events) > 0 && !i.caller.may("F_ENROLLMENT_CASCADE_DELETE") {
			fail("E1103", i.callerText(), uid)
		}
	}
	p := i.catalog.program(programUID)
	if p == nil {
		return
	}
	if !i.mayWriteData(i.caller, p.object) {
		fail("E1091", i.callerText(), i.programText(looseText(p.uid)))
	}
	if !a.mayReadClass("trackedEntityTypes", p.entityType) {
		fail("E1104", i.callerText(), i.programText(looseText(p.uid)), p.entityType)
	}
	owner := ""
	if stored := i.tracker.entities[trackedEntity]; stored != nil {
		owner = ownerOf(stored, p.uid)
	} else if sent := i.entities[trackedEntity]; sent != nil {
		owner = string(sent.OrgUnit)
	}
	if !a.mayReach(trackedEntity, owner, p) {
		fail("E1102", i.callerText(), trackedEntity, i.programText(looseText(p.uid)))
	}
}

// checkOtherEnrollments refuses a second active enrollment, and any second one where the program allows one.
func (i *importer) checkOtherEnrollments(e *enrollmentInput, p *program) {
	if e.Status == "CANCELLED" || e.Status == "COMPLETED" && !p.onlyEnrollOnce {
		return
	}
	status := map[string]string{} // of the others; what the payload says goes before what is stored
	if stored := i.tracker.entities[string(e.TrackedEntity)]; stored != nil {
		for _, other := range stored.enrollments {
			if !other.deleted && other.program == p.uid {
				status[other.uid] = other.status
			}
		}
	}
	for _, other := range i.enrollmentsOf(string(e.TrackedEntity)) {
		if string(other.Program) != p.uid {
			continue
		}
		if other.Status != "CANCELLED" {
			status[string(other.UID)] = string(other.Status)
		}
	}
	delete(status, string(e.UID))
	active, any := false, false
	for _, s := range status {
		active = active || s == "ACTIVE"
		any = any || s == "ACTIVE" || s == "COMPLETED"
	}
	if active && e.Status == "ACTIVE" {
		i.report.fail(kindEnrollment, string(e.UID), "E1015", entityText(e.TrackedEntity), i.programText(e.Program))
	}
	if any && p.onlyEnrollOnce {
		i.report.fail(kindEnrollment, string(e.UID), "E1016", entityText(e.TrackedEntity), i.programText(e.Program))
	}
}

// enrollmentsOf are the payload's enrollments of a tracked entity.
func (i *importer) enrollmentsOf(trackedEntity string) []*enrollmentInput {
	if i.byEntity == nil {
		i.byEntity = map[string][]*enrollmentInput{}
		for _, e := range i.in.Enrollments {
			i.byEntity[string(e.TrackedEntity)] = append(i.byEntity[string(e.TrackedEntity)], e)
		}
	}
	return i.byEntity[trackedEntity]
}

func (i *importer) checkEnrollmentDates(e *enrollmentInput, p *program) {
	fail := func(code string, args ...string) { i.report.fail(kindEnrollment, string(e.UID), code, args...) }
	var nothing []string // 2.41 gives the missing date as an argument
	if i.minor == 41 {
		nothing = []string{absent}
	}
	if !e.EnrolledAt.at.set() {
		fail("E1025", nothing...)
	}
	if !p.futureEnrollment && i.inFuture(e.EnrolledAt.at) {
		fail("E1020", instantText(e.EnrolledAt.at))
	}
	if !p.futureIncident && i.inFuture(e.OccurredAt.at) {
		fail("E1021", instantText(e.OccurredAt.at))
	}
	if p.displayIncidentDate && !e.OccurredAt.at.set() {
		fail("E1023", nothing...)
	}
	if i.minor >= 42 && e.CompletedAt.at.set() && e.Status == "ACTIVE" {
		fail("E1052", "Enrollment(enrollment="+string(e.UID)+")", string(e.Status))
	}
}

// inFuture tells whether a time lies on a later day than today in the server's zone.
func (i *importer) inFuture(at instant) bool {
	if !at.set() {
		return false
	}
	today := i.Server.now()
	y, m, d := today.Date()
	return !at.time().Before(time.Date(y, m, d+1, 0, 0, 0, 0, today.Location()))
}

// checkEnrollmentAttributes checks the attributes that came with an enrollment, and that its tracked entity
// has or gets what the program demands. It runs again after program rules.
func (i *importer) checkEnrollmentAttributes(e *enrollmentInput, p *program) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEnrollment, uid, code, args...) }
	isMember := func(uid string, mandatoryOnly bool) bool {
		return slices.ContainsFunc(p.attributes, func(m memberAttribute) bool { return m.uid == uid && (m.mandatory || !mandatoryOnly) })
	}
	unit := ""
	if sent := i.entities[string(e.TrackedEntity)]; sent != nil {
		unit = string(sent.OrgUnit)
	}
	given := map[string]string{}
	for _, v := range e.Attributes {
		if v.Attribute == "" {
			fail("E1075", "Attribute(attribute="+identifier("")+", value="+v.text()+")")
			continue
		}
		if v.Value == nil && isMember(string(v.Attribute), true) {
			fail("E1076", "TrackedEntityAttribute", identifier(v.Attribute))
		}
		a := i.catalog.attribute(string(v.Attribute))
		if a == nil {
			fail("E1006", identifier(v.Attribute))
			continue
		}
		if v.Value != nil {
			given[a.uid] = v.text()
			i.checkAttributeValue(kindEnrollment, uid, string(e.TrackedEntity), e.strategy, unit, a, v.text())
		}
	}
	for attribute, value := range given {
		if !isMember(attribute, false) {
			fail("E1019", attribute+"="+value)
		}
	}
	var has map[string]bool
	for _, member := range p.attributes {
		if !member.mandatory {
			continue
		}
		if has == nil {
			has = i.entityAttributes(string(e.TrackedEntity))
		}
		if _, ok := given[member.uid]; !ok && !has[member.uid] {
			fail("E1018", identifier(looseText(member.uid)), p.uid, uid)
		}
	}
}

// entityText is how DHIS2 writes a tracked entity in an argument.
func entityText(uid looseText) string { return "TrackedEntity{uid='" + string(uid) + "'}" }
