package dhis2sim

import "slices"

// catalog is the metadata that tracker needs, read from objects once per request and kept typed.
// What the caller may not read is not in it, as in DHIS2's own importer.
type catalog struct {
	server *Server
	caller *account

	programs          map[string]*program
	programStages     map[string]*programStage
	entityTypes       map[string]*entityType
	attributes        map[string]*attribute
	dataElements      map[string]*dataElement
	optionSets        map[string]map[string]bool
	relationshipTypes map[string]*relationshipType
	optionCombos      map[string]*optionCombo
	defaultOptions    *optionCombo
	typeAttributes    map[string]bool
	units             map[string]string // uid to path
}

// program is a tracker program (registration) or an event program.
type program struct {
	uid, name, entityType, accessLevel        string
	registration                              bool
	units                                     map[string]bool
	onlyEnrollOnce, displayIncidentDate       bool
	futureEnrollment, futureIncident          bool
	completeEventsExpiryDays, expiryDays      int
	expiryPeriodType, featureType             string
	categoryCombo, enrollmentCategoryCombo    string // empty for the default one
	minAttributesToSearch, maxEntitiesToFetch int
	attributes                                []memberAttribute
	stages                                    []string
	object                                    object
	rules                                     *ruleSet // read on first need
}

// memberAttribute is an attribute as part of a program or of a tracked entity type.
type memberAttribute struct {
	uid                   string
	mandatory, searchable bool
}

// programStage is one stage of a program.
type programStage struct {
	uid, program, featureType             string
	repeatable, userAssignment, blockForm bool
	onComplete                            bool // values are checked on completion only
	dataElements                          []stageDataElement
	object                                object
}

type stageDataElement struct {
	uid        string
	compulsory bool
}

// has tells whether a data element belongs to the stage.
func (p *programStage) has(dataElement string) bool {
	return slices.ContainsFunc(p.dataElements, func(d stageDataElement) bool { return d.uid == dataElement })
}

// entityType is a tracked entity type.
type entityType struct {
	uid                                       string
	minAttributesToSearch, maxEntitiesToFetch int
	attributes                                []memberAttribute
	object                                    object
}

// attribute is a tracked entity attribute.
type attribute struct {
	uid, code, name, valueType, optionSet string
	unique, orgUnitScope, confidential    bool
	object                                object
}

type dataElement struct{ uid, valueType, optionSet string }

// relationshipType says what may be at either end of a relationship.
type relationshipType struct {
	uid, name     string
	bidirectional bool
	from, to      relationshipConstraint
	object        object
}

// relationshipConstraint is what one end may be, and what of it is shown (nil: everything).
type relationshipConstraint struct {
	kind                     kind
	entityType               string
	attributes, dataElements map[string]bool
}

// optionCombo is a category option combination.
type optionCombo struct {
	uid, categoryCombo string // categoryCombo is empty for the default one
	options            []string
}

func (s *Server) newCatalog(caller *account) *catalog {
	return &catalog{
		server: s, caller: caller,
		programs: map[string]*program{}, programStages: map[string]*programStage{}, entityTypes: map[string]*entityType{},
		attributes: map[string]*attribute{}, dataElements: map[string]*dataElement{}, optionSets: map[string]map[string]bool{},
		relationshipTypes: map[string]*relationshipType{}, optionCombos: map[string]*optionCombo{}, units: map[string]string{},
	}
}

// readable is the object, nil when it is unknown or hidden from the caller.
func (c *catalog) readable(class, uid string) object {
	o := c.server.object(class, uid)
	if o == nil || !c.server.mayRead(c.caller, o) {
		return nil
	}
	return o
}

// lookup finds uid in known or makes it; what cannot be made is remembered as nil.
func lookup[T any](known map[string]*T, uid string, make func() *T) *T {
	if v, ok := known[uid]; ok {
		return v
	}
	v := make()
	known[uid] = v
	return v
}

func (c *catalog) program(uid string) *program {
	return lookup(c.programs, uid, func() *program {
		o := c.readable("programs", uid)
		if o == nil {
			return nil
		}
		p := &program{
			uid: text(o["id"]), name: text(o["name"]), object: o,
			registration:             text(o["programType"]) == "WITH_REGISTRATION",
			entityType:               refUID(o["trackedEntityType"]),
			accessLevel:              text(o["accessLevel"]),
			onlyEnrollOnce:           o["onlyEnrollOnce"] == true,
			displayIncidentDate:      o["displayIncidentDate"] == true,
			futureEnrollment:         o["selectEnrollmentDatesInFuture"] == true,
			futureIncident:           o["selectIncidentDatesInFuture"] == true,
			completeEventsExpiryDays: int(number(o["completeEventsExpiryDays"])),
			expiryDays:               int(number(o["expiryDays"])),
			expiryPeriodType:         text(o["expiryPeriodType"]),
			featureType:              text(o["featureType"]),
			categoryCombo:            c.notDefault(refUID(o["categoryCombo"])),
			enrollmentCategoryCombo:  c.notDefault(refUID(o["enrollmentCategoryCombo"])),
			minAttributesToSearch:    numberOr(o["minAttributesRequiredToSearch"], 1),
			maxEntitiesToFetch:       int(number(o["maxTeiCountToReturn"])),
			units:                    map[string]bool{},
			stages:                   refUIDs(o["programStages"]),
			attributes:               members(o["programTrackedEntityAttributes"]),
		}
		if p.accessLevel == "" {
			p.accessLevel = "OPEN"
		}
		for _, unit := range refUIDs(o["organisationUnits"]) {
			p.units[unit] = true
		}
		return p
	})
}

// forgetDetails cuts a program to what DHIS2 knows of it where an event of the payload names only its stage:
// then, for the whole payload, the program has no attributes and sets no limits of its own.
func (c *catalog) forgetDetails(uid string) {
	p := c.program(uid)
	if p == nil {
		return
	}
	c.programs[uid] = &program{
		uid: p.uid, name: p.name, object: p.object, registration: p.registration, entityType: p.entityType, accessLevel: p.accessLevel,
		categoryCombo: p.categoryCombo, units: p.units, stages: p.stages, rules: p.rules,
	}
}

// numberOr is a JSON number, or otherwise where there is none.
func numberOr(v any, otherwise int) int {
	if v == nil {
		return otherwise
	}
	return int(number(v))
}

func members(v any) []memberAttribute {
	var out []memberAttribute
	for _, item := range list(v) {
		o, _ := item.(object)
		if uid := refUID(o["trackedEntityAttribute"]); uid != "" {
			out = append(out, memberAttribute{uid, o["mandatory"] == true, o["searchable"] == true})
		}
	}
	return out
}

// notDefault is the uid of a category combination, or empty where it names the one called "default".
func (c *catalog) notDefault(uid string) string {
	if text(c.server.object("categoryCombos", uid)["name"]) == "default" {
		return ""
	}
	return uid
}

func (c *catalog) programStage(uid string) *programStage {
	return lookup(c.programStages, uid, func() *programStage {
		o := c.readable("programStages", uid)
		if o == nil {
			return nil
		}
		p := &programStage{
			uid: text(o["id"]), object: o, program: refUID(o["program"]), featureType: text(o["featureType"]),
			repeatable:     o["repeatable"] == true,
			userAssignment: o["enableUserAssignment"] == true,
			blockForm:      o["blockEntryForm"] == true,
			onComplete:     text(o["validationStrategy"]) != "ON_UPDATE_AND_INSERT",
		}
		if p.program == "" {
			for _, program := range c.server.objects("programs") {
				if slices.Contains(refUIDs(program["programStages"]), uid) {
					p.program = text(program["id"])
				}
			}
		}
		for _, item := range list(o["programStageDataElements"]) {
			member, _ := item.(object)
			p.dataElements = append(p.dataElements, stageDataElement{refUID(member["dataElement"]), member["compulsory"] == true})
		}
		return p
	})
}

func (c *catalog) entityType(uid string) *entityType {
	return lookup(c.entityTypes, uid, func() *entityType {
		o := c.readable("trackedEntityTypes", uid)
		if o == nil {
			return nil
		}
		return &entityType{
			uid: text(o["id"]), object: o, attributes: members(o["trackedEntityTypeAttributes"]),
			minAttributesToSearch: numberOr(o["minAttributesRequiredToSearch"], 1),
			maxEntitiesToFetch:    int(number(o["maxTeiCountToReturn"])),
		}
	})
}

func (c *catalog) attribute(uid string) *attribute {
	return lookup(c.attributes, uid, func() *attribute {
		o := c.readable("trackedEntityAttributes", uid)
		if o == nil {
			return nil
		}
		return &attribute{
			uid: text(o["id"]), object: o, code: text(o["code"]), name: text(o["name"]), valueType: text(o["valueType"]),
			optionSet: refUID(o["optionSet"]), unique: o["unique"] == true, orgUnitScope: o["orgunitScope"] == true,
			confidential: o["confidential"] == true,
		}
	})
}

func (c *catalog) dataElement(uid string) *dataElement {
	return lookup(c.dataElements, uid, func() *dataElement {
		o := c.readable("dataElements", uid)
		if o == nil {
			return nil
		}
		return &dataElement{text(o["id"]), text(o["valueType"]), refUID(o["optionSet"])}
	})
}

// optionCodes are the codes of an option set.
func (c *catalog) optionCodes(optionSet string) map[string]bool {
	if codes, ok := c.optionSets[optionSet]; ok {
		return codes
	}
	codes := map[string]bool{}
	for _, option := range refUIDs(c.server.object("optionSets", optionSet)["options"]) {
		codes[text(c.server.object("options", option)["code"])] = true
	}
	c.optionSets[optionSet] = codes
	return codes
}

// optionName is the name that belongs to a code of an option set, the code itself where there is none.
func (c *catalog) optionName(optionSet, code string) string {
	for _, option := range refUIDs(c.server.object("optionSets", optionSet)["options"]) {
		if o := c.server.object("options", option); text(o["code"]) == code {
			return text(o["name"])
		}
	}
	return code
}

func (c *catalog) relationshipType(uid string) *relationshipType {
	return lookup(c.relationshipTypes, uid, func() *relationshipType {
		o := c.readable("relationshipTypes", uid)
		if o == nil {
			return nil
		}
		return &relationshipType{
			uid: text(o["id"]), name: text(o["name"]), bidirectional: o["bidirectional"] == true, object: o,
			from: constraint(o["fromConstraint"]), to: constraint(o["toConstraint"]),
		}
	})
}

func constraint(v any) relationshipConstraint {
	o, _ := v.(object)
	out := relationshipConstraint{entityType: refUID(o["trackedEntityType"])}
	switch text(o["relationshipEntity"]) {
	case "PROGRAM_INSTANCE":
		out.kind = kindEnrollment
	case "PROGRAM_STAGE_INSTANCE":
		out.kind = kindEvent
	}
	if view, ok := o["trackerDataView"].(object); ok {
		out.attributes, out.dataElements = map[string]bool{}, map[string]bool{}
		for _, uid := range refUIDs(view["attributes"]) {
			out.attributes[uid] = true
		}
		for _, uid := range refUIDs(view["dataElements"]) {
			out.dataElements[uid] = true
		}
	}
	return out
}

func (c *catalog) optionCombo(uid string) *optionCombo {
	return lookup(c.optionCombos, uid, func() *optionCombo {
		o := c.server.object("categoryOptionCombos", uid)
		if o == nil {
			return nil
		}
		return &optionCombo{text(o["id"]), c.notDefault(refUID(o["categoryCombo"])), refUIDs(o["categoryOptions"])}
	})
}

// defaultOptionCombo is the combination that stands for "no category".
func (c *catalog) defaultOptionCombo() *optionCombo {
	if c.defaultOptions == nil {
		for _, o := range c.server.objects("categoryOptionCombos") {
			if text(o["name"]) == "default" {
				c.defaultOptions = c.optionCombo(text(o["id"]))
				break
			}
		}
		if c.defaultOptions == nil {
			c.defaultOptions = &optionCombo{}
		}
	}
	return c.defaultOptions
}

// optionComboOf finds the combination of exactly these options in a category combo.
func (c *catalog) optionComboOf(categoryCombo string, options []string) *optionCombo {
	for _, o := range c.server.objects("categoryOptionCombos") {
		combo := c.optionCombo(text(o["id"]))
		if combo.categoryCombo == categoryCombo && sameOptions(combo.options, options) {
			return combo
		}
	}
	return nil
}

// sameOptions tells whether both lists name the same options in whatever order.
func sameOptions(a, b []string) bool {
	for _, option := range a {
		if !slices.Contains(b, option) {
			return false
		}
	}
	for _, option := range b {
		if !slices.Contains(a, option) {
			return false
		}
	}
	return true
}

// anyTypeAttributes are the attributes of all tracked entity types together: DHIS2 2.42 shows these whatever
// the type is.
func (c *catalog) anyTypeAttributes() map[string]bool {
	if c.typeAttributes == nil {
		c.typeAttributes = map[string]bool{}
		for _, o := range c.server.objects("trackedEntityTypes") {
			for _, member := range members(o["trackedEntityTypeAttributes"]) {
				c.typeAttributes[member.uid] = true
			}
		}
	}
	return c.typeAttributes
}

// trackerPrograms are the programs with registration whose data the caller may read.
func (c *catalog) trackerPrograms() []*program {
	var out []*program
	for _, o := range c.server.objects("programs") {
		if p := c.program(text(o["id"])); p != nil && p.registration && c.server.mayReadData(c.caller, o) {
			out = append(out, p)
		}
	}
	return out
}

// unitPath is the path of an org unit, empty for an unknown one.
func (c *catalog) unitPath(uid string) string {
	path, ok := c.units[uid]
	if !ok {
		path = c.server.unitPath(uid)
		c.units[uid] = path
	}
	return path
}
