package dhis2sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// validate checks the payload as DHIS2's importer does, kind by kind, and reports what is wrong. Validators
// of one object run in stages: a stage in which something failed is its last.
func (i *importer) validate() {
	for _, e := range i.in.TrackedEntities {
		i.validateEntity(e)
	}
	for _, e := range i.in.Enrollments {
		i.validateEnrollment(e)
	}
	for _, e := range i.in.Events {
		i.validateEvent(e)
	}
	i.validateRepeatedEvents()
	for _, r := range i.in.Relationships {
		i.validateRelationship(r)
	}
}

// stages runs stages until one of them reports something of the object.
func (i *importer) stages(k kind, uid string, stages ...func()) {
	for _, stage := range stages {
		before := len(i.report.errors)
		stage()
		if i.report.stopped || len(i.report.errors) > before && i.report.isInvalid(k, uid) {
			return
		}
	}
}

// identifier is how DHIS2 writes a reference to metadata in an argument.
func identifier(uid looseText) string {
	if uid == "" {
		uid = "null"
	}
	return "MetadataIdentifier(idScheme=UID, identifier=" + string(uid) + ", attributeValue=null)"
}

// described is how DHIS2 writes a whole metadata object in an argument.
func described(class string, o object) string {
	field := func(name string) string {
		if v := text(o[name]); v != "" {
			return v
		}
		return "null"
	}
	return fmt.Sprintf(`{"class":"class %s", "hashCode":"0", "id":"0", "uid":"%s", "code":"%s", "name":"%s", "shortName":"null", "description":"null", "created":"null", "lastUpdated":"null" }`,
		class, field("id"), field("code"), field("name"))
}

func (i *importer) unitText(uid looseText) string {
	return described("org.hisp.dhis.organisationunit.OrganisationUnit", i.object("organisationUnits", string(uid)))
}

func (i *importer) programText(uid looseText) string {
	return described("org.hisp.dhis.program.Program", i.object("programs", string(uid)))
}

// callerText is how DHIS2 writes the importing user.
func (i *importer) callerText() string {
	if i.minor == 41 {
		return fmt.Sprintf(`{"class":"class org.hisp.dhis.user.User", "id":"0", "uid":"%s", "code":"null", "name":"%s", "created":"null", "lastUpdated":"null" }`,
			i.caller.uid, i.caller.name())
	}
	return "org.hisp.dhis.user.UserDetailsImpl@" + i.caller.uid
}

// instantText is how DHIS2 writes a time in an argument.
func instantText(at instant) string {
	if !at.set() {
		return "null"
	}
	return at.time().UTC().Format(time.RFC3339Nano)
}

// checkUID reports an ill-formed uid, which only 2.41 lets through to the validators.
func (i *importer) checkUID(k kind, uid string, of func() string) {
	if i.minor == 41 && !isUID(uid) {
		i.report.fail(k, uid, "E1048", uid, of(), uid)
	}
}

// checkCapture reports a unit outside the caller's capture scope.
func (i *importer) checkCapture(k kind, uid string, unit looseText) {
	if !i.access(i.catalog).inCapture(string(unit)) {
		i.report.fail(k, uid, "E1000", i.callerText(), i.unitText(unit))
	}
}

// checkNotes warns of notes that exist already and returns the others.
func (i *importer) checkNotes(k kind, uid string, notes []noteInput) []noteInput {
	return slices.DeleteFunc(notes, func(n noteInput) bool {
		known := i.tracker.notes[string(n.UID)]
		if known {
			i.report.warn(k, uid, "E1119", string(n.UID))
		}
		return known
	})
}

// checkGeometry reports a geometry that is not of the feature type of the program or stage.
func (i *importer) checkGeometry(k kind, uid string, geometry []byte, featureType string) {
	switch {
	case geometry == nil:
	case featureType == "":
		i.report.fail(k, uid, "E1074")
	case featureType == "NONE" || featureType != geometryType(geometry):
		i.report.fail(k, uid, "E1012", featureType)
	}
}

// validateEntity checks one tracked entity.
func (i *importer) validateEntity(e *entityInput) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEntity, uid, code, args...) }
	exists := func() {
		switch {
		case e.stored != nil && e.stored.deleted:
			fail("E1114", uid)
		case e.stored != nil && e.strategy == create:
			fail("E1002", uid)
		case e.stored == nil && e.strategy != create:
			fail("E1063", uid)
		}
	}
	if e.strategy == remove {
		i.stages(kindEntity, uid, exists, func() { i.checkEntityAccess(e) })
		return
	}
	i.stages(kindEntity, uid,
		func() {
			i.checkUID(kindEntity, uid, func() string { return "TrackedEntity(trackedEntity=" + uid + ")" })
		},
		exists,
		func() {
			if e.TrackedEntityType == "" {
				fail("E1121", "trackedEntityType")
			}
			if e.OrgUnit == "" {
				fail("E1121", "orgUnit")
			}
		},
		func() {
			if i.catalog.unitPath(string(e.OrgUnit)) == "" {
				fail("E1049", identifier(e.OrgUnit))
			}
			if i.catalog.entityType(string(e.TrackedEntityType)) == nil {
				fail("E1005", identifier(e.TrackedEntityType))
			}
		},
		func() {
			if e.strategy == update && e.stored.entityType != string(e.TrackedEntityType) {
				fail("E1126", "trackedEntityType")
			}
		},
		func() { i.checkEntityAccess(e) },
		func() { i.checkEntityAttributes(e) },
	)
}

// checkEntityAccess checks what the caller may do with a tracked entity.
func (i *importer) checkEntityAccess(e *entityInput) {
	uid := string(e.UID)
	fail := func(code string, args ...string) { i.report.fail(kindEntity, uid, code, args...) }
	a := i.access(i.catalog)
	unit, kind := e.OrgUnit, string(e.TrackedEntityType)
	if e.strategy != create {
		unit, kind = looseText(e.stored.unit), e.stored.entityType
	}
	mayWriteType := i.mayWriteData(i.caller, i.object("trackedEntityTypes", kind))
	if i.minor < 43 {
		if e.strategy == create && !mayWriteType {
			fail("E1001", i.callerText(), described("org.hisp.dhis.trackedentity.TrackedEntityType", i.object("trackedEntityTypes", kind)))
		}
		if e.strategy != update {
			i.checkCapture(kindEntity, uid, unit)
		}
		if e.strategy != create && !a.mayWriteEntity(e.stored) {
			fail("E1003", i.caller.uid, uid)
		}
	} else if !i.caller.superuser() {
		if e.strategy != update && !a.inCapture(string(unit)) {
			fail("E1000", i.caller.uid, "["+i.unitText(unit)+"]")
		}
		if !mayWriteType {
			fail("E1001", i.caller.uid, "["+kind+"]")
		}
		if e.strategy != create && !a.mayWriteThroughProgram(e.stored) {
			fail("E1324", i.caller.uid, "["+uid+"]")
		}
	}
	if i.minor >= 43 && e.strategy == update && e.stored.unit != string(e.OrgUnit) {
		i.checkCapture(kindEntity, uid, e.OrgUnit)
	}
	if e.strategy == remove && !i.caller.may("F_TEI_CASCADE_DELETE") &&
		slices.ContainsFunc(e.stored.enrollments, func(e *enrollment) bool { return !e.deleted }) {
		fail("E1100", i.callerText(), entityText(looseText(uid)))
	}
}

// entityAttributes are the attributes that a tracked entity has or is being given.
func (i *importer) entityAttributes(uid string) map[string]bool {
	out := map[string]bool{}
	if stored := i.tracker.entities[uid]; stored != nil {
		for _, v := range stored.attributes {
			out[v.attribute] = true
		}
	}
	if e := i.entities[uid]; e != nil {
		for _, v := range e.Attributes {
			out[string(v.Attribute)] = true
		}
	}
	return out
}

// checkEntityAttributes checks the attribute values of a tracked entity. It runs again after program rules.
func (i *importer) checkEntityAttributes(e *entityInput) {
	uid := string(e.UID)
	kind := i.catalog.entityType(string(e.TrackedEntityType))
	mandatory := map[string]bool{}
	var has map[string]bool
	for _, member := range kind.attributes {
		if !member.mandatory {
			continue
		}
		if has == nil {
			has = i.entityAttributes(uid)
		}
		mandatory[member.uid] = true
		if !has[member.uid] {
			i.report.fail(kindEntity, uid, "E1090", identifier(looseText(member.uid)), kind.uid, uid)
		}
	}
	for _, v := range e.Attributes {
		attribute := i.catalog.attribute(string(v.Attribute))
		switch {
		case attribute == nil:
			i.report.fail(kindEntity, uid, "E1006", identifier(v.Attribute))
		case v.Value != nil:
			i.checkAttributeValue(kindEntity, uid, uid, e.strategy, string(e.OrgUnit), attribute, v.text())
		case mandatory[attribute.uid]:
			i.report.fail(kindEntity, uid, "E1076", "TrackedEntityAttribute", identifier(v.Attribute))
		}
	}
}

// checkAttributeValue checks one value of an attribute of a tracked entity. unit is the tracked entity's in
// the payload, for attributes that are unique per org unit.
func (i *importer) checkAttributeValue(k kind, uid, trackedEntity string, s strategy, unit string, a *attribute, value string) {
	const maxLength = 1200
	if utf16Length(value) > maxLength {
		i.report.fail(k, uid, "E1077", value, fmt.Sprint(maxLength))
	}
	if a.confidential {
		i.report.fail(k, uid, "E1112", value, "missing_encryption_password")
	}
	i.checkValueType(k, uid, s, "E1007", a.valueType, value)
	i.checkOption(k, uid, a.optionSet, a.valueType, value)
	if a.unique && i.isTaken(trackedEntity, unit, a, value) {
		i.report.fail(k, uid, "E1064", value, attributeText(a))
	}
}

// uniqueValue is one value of one unique attribute.
type uniqueValue struct{ attribute, value string }

// holder is who has a unique value in the payload.
type holder struct{ trackedEntity, unit string }

// findSharedValues notes the unique values that more than one of the payload's tracked entities has.
func (i *importer) findSharedValues() {
	all := map[uniqueValue][]holder{}
	add := func(attributes []attributeInput, h holder) {
		for _, v := range attributes {
			a := i.catalog.attribute(string(v.Attribute))
			if a == nil || !a.unique {
				continue
			}
			key := uniqueValue{a.uid, v.text()}
			if !slices.ContainsFunc(all[key], func(other holder) bool { return other.trackedEntity == h.trackedEntity }) {
				all[key] = append(all[key], h)
			}
		}
	}
	for _, e := range i.in.TrackedEntities {
		add(e.Attributes, holder{string(e.UID), string(e.OrgUnit)})
	}
	for _, e := range i.in.Enrollments {
		if len(e.Attributes) == 0 {
			continue
		}
		h := holder{trackedEntity: string(e.TrackedEntity)}
		if sent := i.entities[h.trackedEntity]; sent != nil {
			h.unit = string(sent.OrgUnit)
		} else if stored := i.tracker.entities[h.trackedEntity]; stored != nil {
			h.unit = stored.unit
		}
		add(e.Attributes, h)
	}
	i.taken = map[uniqueValue][]holder{}
	for key, holders := range all {
		if len(holders) > 1 {
			i.taken[key] = holders
		}
	}
}

// isTaken tells whether another tracked entity, stored or in the payload, has a unique value. Case matters.
func (i *importer) isTaken(trackedEntity, unit string, a *attribute, value string) bool {
	stored := i.tracker.entities[trackedEntity] != nil
	for _, h := range i.taken[uniqueValue{a.uid, value}] {
		// DHIS2 takes a new tracked entity's own value for another's: what a payload shares among new ones is
		// taken even where it need be unique per org unit only.
		if (h.trackedEntity != trackedEntity || !stored) && (!a.orgUnitScope || h.unit == unit) {
			return true
		}
	}
	for _, other := range i.tracker.holders(a.uid, value) {
		held, _ := other.value(a.uid)
		if held == value && other.uid != trackedEntity && (!a.orgUnitScope || other.unit == unit) {
			return true
		}
	}
	return false
}

// attributeText is how DHIS2 writes a unique attribute in an argument.
func attributeText(a *attribute) string {
	field := func(name string) string {
		if v := text(a.object[name]); v != "" {
			return v
		}
		return "null"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "TrackedEntityAttribute{description='%s', formName='%s', valueType=%s, inherit=%t, optionSet=null, expression='null', ",
		field("description"), field("formName"), a.valueType, a.object["inherit"] == true)
	fmt.Fprintf(&b, "displayOnVisitSchedule=%t, sortOrderInVisitSchedule=null, displayInListNoProgram=%t, sortOrderInListNoProgram=null, ",
		a.object["displayOnVisitSchedule"] == true, a.object["displayInListNoProgram"] == true)
	fmt.Fprintf(&b, "confidential=%t, unique=%t, generated=%t, pattern='%s', textPattern=null, style=null, orgunitScope=%t, skipSynchronization=%t}",
		a.confidential, a.unique, a.object["generated"] == true, text(a.object["pattern"]), a.orgUnitScope, a.object["skipSynchronization"] == true)
	return b.String()
}
