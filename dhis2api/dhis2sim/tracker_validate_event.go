package dhis2sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// withoutValues tells whether events of a status may have no data values.
func withoutValues(status string) bool {
	return status == "SCHEDULE" || status == "SKIPPED" || status == "OVERDUE"
}

// validateEvent checks one event.
func (i *importer) validateEvent(e *eventInput) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEvent, uid, code, args...) }
	exists := func() {
		switch {
		case e.stored != nil && e.stored.deleted:
			fail("E1082", uid)
		case e.stored != nil && e.strategy == create:
			fail("E1030", uid)
		case e.stored == nil && e.strategy != create:
			fail("E1032", uid)
		}
	}
	if e.strategy == remove {
		i.stages(kindEvent, uid, exists, func() { i.checkEventAccess(e) })
		return
	}
	var p *program
	var stage *programStage
	i.stages(kindEvent, uid,
		func() { i.checkUID(kindEvent, uid, func() string { return i.eventText(e) }) },
		exists,
		func() { i.checkEventFields(e) },
		func() {
			if i.catalog.unitPath(string(e.OrgUnit)) == "" {
				fail("E1011", identifier(e.OrgUnit))
			}
			if p = i.catalog.program(string(e.Program)); p == nil {
				fail("E1010", identifier(e.Program))
			}
			if stage = i.catalog.programStage(string(e.ProgramStage)); stage == nil {
				fail("E1013", identifier(e.ProgramStage))
			}
		},
		func() {
			if e.strategy != update {
				return
			}
			if e.stored.programStage != string(e.ProgramStage) {
				fail("E1128", "programStage")
			}
			if e.Enrollment != "" && e.stored.enrollment != nil && e.stored.enrollment.uid != string(e.Enrollment) {
				fail("E1128", "enrollment")
			}
		},
		func() { i.checkEventRelations(e, p, stage) },
		func() {
			if i.minor >= 43 && stage.blockForm && e.strategy == update && e.Status == "COMPLETED" && e.stored.status == "COMPLETED" {
				fail("E1326", uid)
			}
		},
		func() {
			if i.minor >= 43 {
				i.checkEventOptions(e, p)
			}
		},
		func() {
			if i.minor >= 43 && e.single && withoutValues(string(e.Status)) {
				fail("E1318", string(e.Status))
			}
		},
		func() { i.checkEventAccess(e) },
		func() {
			i.checkOptionDates(e, p)
			i.checkEventDates(e, p)
			i.checkGeometry(kindEvent, uid, e.Geometry, stage.featureType)
			e.Notes = i.checkNotes(kindEvent, uid, e.Notes)
			i.checkDataValues(e, stage)
			if e.strategy == update && !withoutValues(e.stored.status) && withoutValues(string(e.Status)) && (i.minor < 43 || !e.single) {
				fail("E1316", e.stored.status, string(e.Status))
			}
			i.checkAssignee(e, stage)
		},
	)
}

// checkEventFields reports what an event must name and does not.
func (i *importer) checkEventFields(e *eventInput) {
	fail := func(code string, args ...string) { i.report.fail(kindEvent, string(e.UID), code, args...) }
	if e.OrgUnit == "" {
		fail("E1123", "orgUnit")
	}
	if e.ProgramStage == "" {
		fail("E1123", "programStage")
	}
	if i.minor >= 43 && !e.single && e.Enrollment == "" {
		fail("E1123", "enrollment")
	}
	if stage := i.catalog.programStage(string(e.ProgramStage)); stage != nil {
		if stage.program == "" {
			fail("E1008", identifier(e.ProgramStage))
		}
	} else if e.Program == "" {
		fail("E1123", "program")
	}
}

// checkEventRelations checks that enrollment, program, stage and unit of an event belong together.
func (i *importer) checkEventRelations(e *eventInput, p *program, stage *programStage) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEvent, uid, code, args...) }
	named := i.minor < 43 && p.registration || i.minor >= 43 && !e.single
	enrolled, trackedEntity := i.enrollmentFacts(string(e.Enrollment))
	if named && e.Enrollment != "" && trackedEntity == "" {
		if i.minor == 41 {
			fail("E1313", i.eventText(e))
		} else {
			fail("E1313", uid)
		}
	}
	if p.uid != stage.program {
		fail("E1089", i.eventText(e), described("org.hisp.dhis.program.ProgramStage", stage.object), i.programText(e.Program))
	}
	switch {
	case !named:
	case e.Enrollment == "":
		fail("E1033", uid)
	case enrolled != p.uid:
		fail("E1079", i.eventText(e), i.programText(e.Program), string(e.Enrollment))
	}
	if !p.units[string(e.OrgUnit)] {
		fail("E1029", i.unitText(e.OrgUnit), i.programText(e.Program))
	}
	if i.minor < 43 {
		i.checkEventOptions(e, p)
	}
}

// enrollmentFacts are the program and tracked entity of an enrollment, stored or in the payload.
func (i *importer) enrollmentFacts(uid string) (program, trackedEntity string) {
	if stored := i.tracker.enrollments[uid]; stored != nil {
		if stored.trackedEntity != nil {
			trackedEntity = stored.trackedEntity.uid
		}
		return stored.program, trackedEntity
	}
	if sent := i.enrollments[uid]; sent != nil {
		if i.catalog.program(string(sent.Program)) != nil {
			program = string(sent.Program)
		}
		return program, string(sent.TrackedEntity)
	}
	return "", ""
}

// checkEventOptions checks the attribute option combo and the category options of an event.
func (i *importer) checkEventOptions(e *eventInput, p *program) {
	fail := func(code string, args ...string) { i.report.fail(kindEvent, string(e.UID), code, args...) }
	ok := true
	combo := i.catalog.optionCombo(string(e.AttributeOptionCombo))
	if e.AttributeOptionCombo != "" && combo == nil {
		fail("E1115", identifier(e.AttributeOptionCombo))
		ok = false
	}
	for _, option := range e.options {
		if i.object("categoryOptions", option) == nil {
			fail("E1116", identifier(looseText(option)))
			ok = false
		}
	}
	if p.categoryCombo != "" && (e.AttributeOptionCombo == "" && len(e.options) == 0 || combo != nil && combo.categoryCombo == "") {
		fail("E1055")
		ok = false
	}
	if !ok {
		return
	}
	if combo == nil && p.categoryCombo == "" {
		combo = i.catalog.defaultOptionCombo()
	}
	options := "[" + strings.Join(e.options, ", ") + "]"
	subject := identifier(e.AttributeOptionCombo)
	if e.AttributeOptionCombo == "" {
		subject = described("org.hisp.dhis.category.CategoryCombo", i.object("categoryCombos", refUID(p.object["categoryCombo"])))
	}
	switch {
	case combo == nil:
		fail("E1117", subject, options)
	case e.AttributeOptionCombo != "" && combo.categoryCombo != p.categoryCombo:
		fail("E1054", identifier(e.AttributeOptionCombo),
			described("org.hisp.dhis.category.CategoryCombo", i.object("categoryCombos", refUID(p.object["categoryCombo"]))))
	case len(e.options) > 0 && !sameOptions(combo.options, e.options):
		fail("E1117", subject, options)
	}
}

// inSearchScope tells whether an event may be made in the caller's search scope: a bare appointment.
func inSearchScope(status string, values int, occurred instant) bool {
	return status == "SCHEDULE" && values == 0 && !occurred.set()
}

// checkEventAccess checks what the caller may do with an event.
func (i *importer) checkEventAccess(e *eventInput) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEvent, uid, code, args...) }
	a := i.access(i.catalog)
	programUID, stageUID, unit, combo := string(e.Program), string(e.ProgramStage), e.OrgUnit, string(e.AttributeOptionCombo)
	searchable := inSearchScope(string(e.Status), len(e.DataValues), e.OccurredAt.at)
	if e.strategy != create {
		programUID, stageUID = e.stored.program, e.stored.programStage
		searchable = inSearchScope(e.stored.status, len(e.stored.dataValues), e.stored.occurred)
		combo = e.stored.attributeOptionCombo
		if e.strategy == remove {
			unit = looseText(e.stored.unit)
		}
	}
	p, stage := i.catalog.program(programUID), i.catalog.programStage(stageUID)
	if p == nil || stage == nil {
		return
	}
	checkUnit := func(unit looseText, searchable bool) {
		if !a.inCapture(string(unit)) && (!searchable || !a.inSearch(string(unit))) {
			fail("E1000", i.callerText(), i.unitText(unit))
		}
	}
	switch {
	case e.strategy != update:
		checkUnit(unit, searchable && (i.minor < 43 || p.registration))
	case !p.registration && i.minor >= 43:
		checkUnit(looseText(e.stored.unit), false)
		if e.stored.unit != string(unit) {
			checkUnit(unit, false)
		}
	case !p.registration:
		checkUnit(unit, searchable)
		if e.stored.unit != string(unit) {
			checkUnit(unit, false)
		}
	case e.stored.unit != string(unit):
		checkUnit(unit, false)
	}
	if !p.registration {
		if !i.mayWriteData(i.caller, p.object) {
			fail("E1091", i.callerText(), i.programText(looseText(p.uid)))
		}
	} else {
		i.checkStageAccess(e, a, p, stage)
	}
	if o := i.catalog.optionCombo(combo); o != nil {
		for _, option := range o.options {
			if !i.mayWriteData(i.caller, i.object("categoryOptions", option)) {
				fail("E1099", i.callerText(), described("org.hisp.dhis.category.CategoryOption", i.object("categoryOptions", option)))
			}
		}
	}
	if e.strategy == update && e.stored.status == "COMPLETED" && e.Status != "COMPLETED" && !i.caller.may("F_UNCOMPLETE_EVENT") {
		fail("E1083", i.callerText())
	}
}

// checkStageAccess checks what the caller may do with events of a tracker program's stage.
func (i *importer) checkStageAccess(e *eventInput, a access, p *program, stage *programStage) {
	fail := func(code string, args ...string) { i.report.fail(kindEvent, string(e.UID), code, args...) }
	if !i.mayWriteData(i.caller, stage.object) {
		fail("E1095", i.callerText(), described("org.hisp.dhis.program.ProgramStage", stage.object))
	}
	if !i.mayReadData(i.caller, p.object) {
		fail("E1096", i.callerText(), i.programText(looseText(p.uid)))
	}
	if !a.mayReadClass("trackedEntityTypes", p.entityType) {
		fail("E1104", i.callerText(), i.programText(looseText(p.uid)), p.entityType)
	}
	enrollment := string(e.Enrollment)
	if e.stored != nil && e.stored.enrollment != nil {
		enrollment = e.stored.enrollment.uid
	}
	_, trackedEntity := i.enrollmentFacts(enrollment)
	owner := ""
	if stored := i.tracker.entities[trackedEntity]; stored != nil {
		owner = stored.owner(p.uid)
	}
	if !a.mayReach(trackedEntity, owner, p) {
		fail("E1102", i.callerText(), trackedEntity, i.programText(looseText(p.uid)))
	}
}

// checkOptionDates refuses an event outside the validity of its category options.
func (i *importer) checkOptionDates(e *eventInput, p *program) {
	combo := i.catalog.optionCombo(string(e.AttributeOptionCombo))
	if p.categoryCombo == "" || combo == nil {
		combo = i.catalog.defaultOptionCombo()
	}
	at := i.now
	if e.OccurredAt.at.set() {
		at = e.OccurredAt.at
	} else if e.ScheduledAt.at.set() && (i.minor < 43 || !e.single) {
		at = e.ScheduledAt.at
	}
	date := at.time().In(i.options.Zone).Format(time.DateOnly)
	for _, uid := range combo.options {
		option := i.object("categoryOptions", uid)
		if start, ok := parseTime(text(option["startDate"]), i.options.Zone); ok && at < start {
			i.report.fail(kindEvent, string(e.UID), "E1056", date, text(option["startDate"])[:10], text(option["name"]))
		}
		if end, ok := parseTime(text(option["endDate"]), i.options.Zone); ok && at > end+instant(24*time.Hour/time.Millisecond)-1 {
			i.report.fail(kindEvent, string(e.UID), "E1057", date, text(option["endDate"])[:10], text(option["name"]), p.name)
		}
	}
}

// checkEventDates checks the dates of an event and whether it may still be changed.
func (i *importer) checkEventDates(e *eventInput, p *program) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEvent, uid, code, args...) }
	if !e.OccurredAt.at.set() && (!p.registration || e.Status == "ACTIVE" || e.Status == "COMPLETED") {
		fail("E1031", i.eventText(e))
		return
	}
	if !e.ScheduledAt.at.set() && e.Status == "SCHEDULE" && (i.minor < 43 || !e.single) {
		fail("E1050", i.eventText(e))
		return
	}
	if i.minor >= 42 && e.CompletedAt.at.set() && e.Status != "COMPLETED" {
		fail("E1051", i.eventText(e), string(e.Status))
	}
	if i.caller.may("F_EDIT_EXPIRED") {
		return
	}
	day := instant(24 * time.Hour / time.Millisecond)
	completed := e.CompletedAt.at
	if i.minor >= 43 && e.stored != nil && e.stored.status == "COMPLETED" && e.stored.completed.set() {
		completed = e.stored.completed
	} else if e.Status != "COMPLETED" {
		completed = none
	}
	if p.completeEventsExpiryDays > 0 {
		switch {
		case completed.set():
			if i.now > completed+day*instant(p.completeEventsExpiryDays) {
				fail("E1043", i.eventText(e))
			}
		case i.minor == 41 && e.Status == "COMPLETED":
			fail("E1042", i.eventText(e))
		}
	}
	if p.expiryPeriodType == "" || p.expiryDays == 0 {
		return
	}
	at := e.OccurredAt.at
	if !at.set() {
		at = e.ScheduledAt.at
	}
	if !at.set() {
		fail("E1046", i.eventText(e))
		return
	}
	end, ok := periodEnd(p.expiryPeriodType, at.time().In(i.options.Zone))
	if ok && i.Server.now().After(end.AddDate(0, 0, p.expiryDays+1)) {
		fail("E1047", i.eventText(e))
	}
}

// checkDataValues checks the data values of an event. It runs again after program rules.
func (i *importer) checkDataValues(e *eventInput, stage *programStage) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEvent, uid, code, args...) }
	for _, v := range e.DataValues {
		d := i.catalog.dataElement(string(v.DataElement))
		if d == nil {
			fail("E1304", identifier(v.DataElement))
		} else if v.Value != nil {
			i.checkOption(kindEvent, uid, d.optionSet, d.valueType, v.text())
			i.checkValueType(kindEvent, uid, e.strategy, "E1302", d.valueType, v.text())
		}
	}
	if withoutValues(string(e.Status)) && len(e.DataValues) > 0 {
		allowed := map[int]string{41: "[ACTIVE, VISITED, COMPLETED]", 42: "[COMPLETED, ACTIVE, VISITED]", 43: "[VISITED, ACTIVE, COMPLETED]"}
		fail("E1315", string(e.Status), allowed[i.minor])
	}
	if stage.checksValues(string(e.Status)) {
		for _, member := range stage.dataElements {
			if !member.compulsory {
				continue
			}
			if !i.hasDataValue(e, member.uid) {
				fail("E1303", identifier(looseText(member.uid)))
			}
			if e.empties(member.uid) {
				fail("E1076", "DataElement", identifier(looseText(member.uid)))
			}
		}
	}
	for _, v := range e.DataValues {
		if !stage.has(string(v.DataElement)) {
			fail("E1305", identifier(v.DataElement), stage.uid)
		}
	}
}

// checksValues tells whether a stage checks values of an event of that status.
func (p *programStage) checksValues(status string) bool {
	return !withoutValues(status) && (!p.onComplete || status == "COMPLETED")
}

// hasDataValue tells whether an event has a value or is being sent one, be it null.
func (i *importer) hasDataValue(e *eventInput, dataElement string) bool {
	if slices.ContainsFunc(e.DataValues, func(v dataValueInput) bool { return string(v.DataElement) == dataElement }) {
		return true
	}
	if e.stored == nil {
		return false
	}
	_, ok := e.stored.value(dataElement)
	return ok
}

// empties tells whether the payload sets a data element to null.
func (e *eventInput) empties(dataElement string) bool {
	return slices.ContainsFunc(e.DataValues, func(v dataValueInput) bool { return string(v.DataElement) == dataElement && v.Value == nil })
}

// checkAssignee checks the user to whom an event is assigned.
func (i *importer) checkAssignee(e *eventInput, stage *programStage) {
	u := e.AssignedUser
	if u == nil || u.UID == "" && u.Username == "" {
		return
	}
	if u.Username == "" || i.userNamed(string(u.Username)) == nil {
		names := ""
		if i.minor == 41 {
			names = ", firstName=null, surname=null"
		}
		i.report.fail(kindEvent, string(e.UID), "E1118", fmt.Sprintf("User(uid=%s, username=%s%s)", cmp.Or(u.UID, "null"), cmp.Or(u.Username, "null"), names))
	}
	if !stage.userAssignment {
		i.report.warn(kindEvent, string(e.UID), "E1120", identifier(e.ProgramStage))
	}
}

// validateRepeatedEvents refuses a second event of a stage that is not repeatable.
func (i *importer) validateRepeatedEvents() {
	if i.report.stopped {
		return
	}
	type place struct{ stage, enrollment string }
	var candidates []*eventInput
	count := map[place]int{}
	for _, e := range i.in.Events {
		stage := i.catalog.programStage(string(e.ProgramStage))
		if e.strategy == remove || stage == nil || stage.repeatable || i.report.isInvalid(kindEvent, string(e.UID)) {
			continue
		}
		if p := i.catalog.program(stage.program); p == nil || !p.registration {
			continue
		}
		candidates = append(candidates, e)
		count[place{stage.uid, string(e.Enrollment)}]++
	}
	for _, e := range candidates {
		taken := count[place{string(e.ProgramStage), string(e.Enrollment)}] > 1
		if enrolled := i.tracker.enrollments[string(e.Enrollment)]; enrolled != nil && e.strategy == create {
			taken = taken || slices.ContainsFunc(enrolled.events, func(other *event) bool {
				return !other.deleted && other.status != "SKIPPED" && other.programStage == string(e.ProgramStage)
			})
		}
		if taken {
			i.report.fail(kindEvent, string(e.UID), "E1039", identifier(e.ProgramStage))
		}
	}
}

// eventText is how DHIS2 writes a whole event in an argument.
func (i *importer) eventText(e *eventInput) string {
	class := "Event"
	if i.minor >= 43 {
		class = "TrackerEvent"
		if e.single {
			class = "SingleEvent"
		}
	}
	or := func(v looseText) string {
		if v == "" {
			return "null"
		}
		return string(v)
	}
	var values []string
	for _, v := range e.DataValues {
		value := "null"
		if v.Value != nil {
			value = v.text()
		}
		values = append(values, fmt.Sprintf("DataValue(storedBy=null, providedElsewhere=%t, dataElement=%s, value=%s)", v.ProvidedElsewhere, identifier(v.DataElement), value))
	}
	return fmt.Sprintf("%s(event=%s, status=%s, program=%s, programStage=%s, enrollment=%s, orgUnit=%s, occurredAt=%s, scheduledAt=%s, storedBy=%s, createdAtClient=%s, updatedAtClient=%s, attributeOptionCombo=%s, attributeCategoryOptions=[], completedAt=%s, geometry=null, assignedUser=null, dataValues=[%s], notes=[])",
		class, e.UID, e.Status, identifier(e.Program), identifier(e.ProgramStage), or(e.Enrollment), identifier(e.OrgUnit),
		instantText(e.OccurredAt.at), instantText(e.ScheduledAt.at), or(e.StoredBy), instantText(e.CreatedAtClient.at), instantText(e.UpdatedAtClient.at),
		identifier(e.AttributeOptionCombo), instantText(e.CompletedAt.at), strings.Join(values, ", "))
}
