package dhis2sim

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ruleSet is what a program's rules say, of those that a server acts upon.
type ruleSet struct {
	rules     []rule // by priority
	variables []ruleVariable
}

// rule is one program rule.
type rule struct {
	uid, programStage string
	priority          int64
	condition         expression
	actions           []ruleAction
}

// ruleAction is what a rule does when its condition holds.
type ruleAction struct {
	kind                   string // ASSIGN, SHOWERROR, ...
	content                string
	data                   expression // nil where there is none
	dataElement, attribute string
}

// ruleVariable says where a variable has its value from.
type ruleVariable struct {
	name, source, kind, optionSet        string
	dataElement, attribute, programStage string
}

// rulesOf are the rules of a program. A rule or action that is not understood is left out.
func (c *catalog) rulesOf(p *program) *ruleSet {
	if p.rules != nil {
		return p.rules
	}
	p.rules = &ruleSet{}
	actions := map[string][]object{}
	for _, o := range c.server.objects("programRuleActions") {
		actions[refUID(o["programRule"])] = append(actions[refUID(o["programRule"])], o)
	}
	for _, o := range c.server.objects("programRules") {
		if refUID(o["program"]) != p.uid {
			continue
		}
		condition, err := parseExpression(text(o["condition"]))
		if err != nil {
			continue
		}
		r := rule{uid: text(o["id"]), programStage: refUID(o["programStage"]), priority: math.MaxInt64, condition: condition}
		if o["priority"] != nil {
			r.priority = number(o["priority"])
		}
		own := actions[r.uid]
		for _, uid := range refUIDs(o["programRuleActions"]) {
			if a := c.server.object("programRuleActions", uid); a != nil && refUID(a["programRule"]) != r.uid {
				own = append(own, a)
			}
		}
		for _, a := range own {
			if action, ok := parseAction(a); ok {
				r.actions = append(r.actions, action)
			}
		}
		if len(r.actions) > 0 {
			p.rules.rules = append(p.rules.rules, r)
		}
	}
	slices.SortStableFunc(p.rules.rules, func(a, b rule) int { return cmp.Compare(a.priority, b.priority) })
	for _, o := range c.server.objects("programRuleVariables") {
		if refUID(o["program"]) == p.uid {
			p.rules.variables = append(p.rules.variables, c.ruleVariable(o))
		}
	}
	return p.rules
}

func parseAction(o object) (ruleAction, bool) {
	a := ruleAction{
		kind: text(o["programRuleActionType"]), content: text(o["content"]),
		dataElement: refUID(o["dataElement"]), attribute: refUID(o["trackedEntityAttribute"]),
	}
	switch a.kind {
	case "ASSIGN", "SHOWERROR", "SHOWWARNING", "ERRORONCOMPLETE", "WARNINGONCOMPLETE", "SETMANDATORYFIELD":
	default:
		return a, false
	}
	if data := strings.TrimSpace(text(o["data"])); data != "" && a.kind != "SETMANDATORYFIELD" {
		e, err := parseExpression(data)
		if err != nil {
			return a, false
		}
		a.data = e
	}
	return a, a.kind != "ASSIGN" || a.data != nil
}

func (c *catalog) ruleVariable(o object) ruleVariable {
	v := ruleVariable{
		name: text(o["name"]), source: text(o["programRuleVariableSourceType"]), dataElement: refUID(o["dataElement"]),
		attribute: refUID(o["trackedEntityAttribute"]), programStage: refUID(o["programStage"]),
	}
	valueType := text(o["valueType"])
	if d := c.dataElement(v.dataElement); d != nil {
		valueType, v.optionSet = d.valueType, d.optionSet
	}
	if a := c.attribute(v.attribute); a != nil {
		valueType, v.optionSet = a.valueType, a.optionSet
	}
	if o["useCodeForOptionSet"] == true {
		v.optionSet = ""
	}
	switch {
	case valueType == "BOOLEAN" || valueType == "TRUE_ONLY":
		v.kind = "BOOLEAN"
	case isNumericType(valueType):
		v.kind = "NUMERIC"
	}
	return v
}

// isNumericType tells whether values of a type are numbers.
func isNumericType(valueType string) bool {
	return valueType == "NUMBER" || valueType == "UNIT_INTERVAL" || valueType == "PERCENTAGE" || strings.HasPrefix(valueType, "INTEGER")
}

// ruleEvent is an event as rules see it: as the payload has it, or as it is stored.
type ruleEvent struct {
	uid, stage, status, unit   string
	date, scheduled, completed instant
	created                    instant
	values                     map[string]string
	sent                       *eventInput // nil for one that is only stored
}

// ruleEffect is what a rule wants of one object.
type ruleEffect struct {
	rule   string
	action ruleAction
	data   string
}

// runRules lets the programs' rules act on the payload: they set values, and report.
func (i *importer) runRules() {
	if i.report.stopped {
		return
	}
	byEnrollment := map[string][]*eventInput{}
	for _, e := range i.in.Events {
		if !e.single {
			byEnrollment[string(e.Enrollment)] = append(byEnrollment[string(e.Enrollment)], e)
		}
	}
	ruled := func(uid string) *program {
		if p := i.catalog.program(uid); p != nil && len(i.catalog.rulesOf(p).rules) > 0 {
			return p
		}
		return nil
	}
	effects := map[*eventInput][]ruleEffect{}
	enrollmentEffects := map[*enrollmentInput][]ruleEffect{}
	done := map[string]bool{}
	for _, e := range i.in.Enrollments {
		done[string(e.UID)] = true
		if p := ruled(string(e.Program)); p != nil {
			all := i.ruleEvents(string(e.UID), byEnrollment[string(e.UID)])
			enrollmentEffects[e] = i.applyRules(p, i.sentScope(p, e), nil, all)
			for _, current := range all {
				if current.sent != nil {
					effects[current.sent] = i.applyRules(p, i.sentScope(p, e), current, all)
				}
			}
		}
	}
	for uid, sent := range byEnrollment {
		stored := i.tracker.enrollments[uid]
		if done[uid] || stored == nil {
			continue
		}
		if p := ruled(stored.program); p != nil {
			all := i.ruleEvents(uid, sent)
			for _, current := range all {
				if current.sent != nil {
					effects[current.sent] = i.applyRules(p, i.storedScope(p, stored), current, all)
				}
			}
		}
	}
	for _, e := range i.in.Events {
		if p := ruled(string(e.Program)); p != nil && e.single {
			current := i.sentEvent(e)
			effects[e] = i.applyRules(p, i.newScope(p, string(e.OrgUnit)), current, []*ruleEvent{current})
		}
	}
	if !i.params.skipValidation || !i.caller.superuser() {
		i.validateAfterRules(enrollmentEffects, effects)
	}
}

// validateAfterRules carries out what rules want and checks the values again.
func (i *importer) validateAfterRules(enrollments map[*enrollmentInput][]ruleEffect, events map[*eventInput][]ruleEffect) {
	if len(enrollments)+len(events) == 0 {
		return // nothing can differ from the first validation
	}
	for _, e := range i.in.TrackedEntities {
		i.checkEntityAttributes(e)
	}
	for _, e := range i.in.Enrollments {
		for _, effect := range enrollments[e] {
			i.carryOutOnEnrollment(e, effect)
		}
		i.checkEnrollmentAttributes(e, i.catalog.program(string(e.Program)))
	}
	for _, e := range i.in.Events {
		stage := i.catalog.programStage(string(e.ProgramStage))
		if stage.checksValues(string(e.Status)) {
			for _, effect := range events[e] {
				i.carryOutOnEvent(e, stage, effect)
			}
		}
		i.checkDataValues(e, stage)
	}
}

// newScope is a scope with what is the same for all objects of an enrollment.
func (i *importer) newScope(p *program, unit string) *ruleScope {
	s := &ruleScope{variables: map[string]*ruleValue{}, constants: map[string]any{}}
	for _, o := range i.objects("constants") {
		value, _ := numeric(ruleNumber(o["value"]))
		s.constants[text(o["id"])] = value
		s.constants[text(o["name"])] = value
	}
	s.environment = map[string]any{
		"current_date": i.Server.now().Format(time.DateOnly), "environment": "Server", "program_name": p.name,
		"org_unit": unit, "orgunit_code": text(i.object("organisationUnits", unit)["code"]),
		"event_date": "", "event_status": "", "event_id": "", "due_date": "", "completed_date": "", "program_stage_id": "", "program_stage_name": "",
		"enrollment_date": "", "incident_date": "", "enrollment_status": "", "enrollment_id": "", "enrollment_count": 0.0, "tei_count": 0.0, "event_count": 0.0,
	}
	for _, o := range i.objects("organisationUnitGroups") {
		if slices.Contains(refUIDs(o["organisationUnits"]), unit) {
			s.groups = append(s.groups, text(o["id"]), text(o["code"]))
		}
	}
	s.roles = refUIDs(i.object("users", i.caller.uid)["userRoles"])
	return s
}

// ruleNumber is a JSON number as text.
func ruleNumber(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	if n, ok := v.(interface{ String() string }); ok {
		return n.String()
	}
	return text(v)
}

func (i *importer) dateText(at instant) string {
	if !at.set() {
		return ""
	}
	return at.time().In(i.options.Zone).Format(time.DateOnly)
}

func (i *importer) enrolledScope(p *program, unit, uid, status, trackedEntity string, enrolled, occurred instant, given []attributeInput) *ruleScope {
	s := i.newScope(p, unit)
	if !occurred.set() {
		occurred = enrolled
	}
	s.environment["enrollment_date"], s.environment["incident_date"] = i.dateText(enrolled), i.dateText(occurred)
	s.environment["enrollment_status"], s.environment["enrollment_id"] = status, uid
	s.environment["enrollment_count"], s.environment["tei_count"] = 1.0, 1.0
	values := map[string]string{}
	if stored := i.tracker.entities[trackedEntity]; stored != nil {
		for _, v := range stored.attributes {
			values[v.attribute] = v.value
		}
	}
	if sent := i.entities[trackedEntity]; sent != nil {
		given = append(slices.Clone(sent.Attributes), given...)
	}
	for _, v := range given {
		if v.Value != nil {
			values[string(v.Attribute)] = v.text()
		}
	}
	for _, v := range p.rules.variables {
		if v.source == "TEI_ATTRIBUTE" {
			s.set(i.catalog, v, values[v.attribute], "")
		}
	}
	return s
}

func (i *importer) sentScope(p *program, e *enrollmentInput) *ruleScope {
	return i.enrolledScope(p, string(e.OrgUnit), string(e.UID), string(e.Status), string(e.TrackedEntity), e.EnrolledAt.at, e.OccurredAt.at, e.Attributes)
}

func (i *importer) storedScope(p *program, e *enrollment) *ruleScope {
	return i.enrolledScope(p, e.unit, e.uid, e.status, e.trackedEntity.uid, e.enrolled, e.occurred, nil)
}

// set gives a variable its value.
func (s *ruleScope) set(c *catalog, v ruleVariable, value, date string) {
	if value != "" && v.optionSet != "" {
		value = c.optionName(v.optionSet, value)
	}
	held := &ruleValue{text: value, set: value != "", kind: v.kind, date: date}
	if held.set {
		held.all = []string{value}
	}
	s.variables[v.name] = held
}

func (i *importer) sentEvent(e *eventInput) *ruleEvent {
	out := &ruleEvent{
		uid: string(e.UID), stage: string(e.ProgramStage), status: string(e.Status), unit: string(e.OrgUnit), date: e.OccurredAt.at,
		scheduled: e.ScheduledAt.at, completed: e.CompletedAt.at, created: i.now, values: map[string]string{}, sent: e,
	}
	if e.stored != nil {
		out.created = e.stored.created
	}
	for _, v := range e.DataValues {
		if v.Value != nil {
			out.values[string(v.DataElement)] = v.text()
		}
	}
	if !out.date.set() {
		out.date = out.scheduled
	}
	return out
}

// ruleEvents are all events of an enrollment, the newest first; the payload's go before the stored ones.
func (i *importer) ruleEvents(enrollment string, sent []*eventInput) []*ruleEvent {
	var all []*ruleEvent
	for _, e := range sent {
		all = append(all, i.sentEvent(e))
	}
	if stored := i.tracker.enrollments[enrollment]; stored != nil {
		for _, e := range stored.events {
			if e.deleted || i.events[e.uid] != nil {
				continue
			}
			known := &ruleEvent{
				uid: e.uid, stage: e.programStage, status: e.status, unit: e.unit, date: e.occurred, scheduled: e.scheduled,
				completed: e.completed, created: e.created, values: map[string]string{},
			}
			for _, v := range e.dataValues {
				known.values[v.dataElement] = v.value
			}
			if !known.date.set() {
				known.date = known.scheduled
			}
			all = append(all, known)
		}
	}
	slices.SortStableFunc(all, func(a, b *ruleEvent) int {
		return cmp.Or(cmp.Compare(b.date, a.date), cmp.Compare(b.created, a.created))
	})
	return all
}

// applyRules evaluates a program's rules for an event, or for the enrollment itself where current is nil.
func (i *importer) applyRules(p *program, s *ruleScope, current *ruleEvent, all []*ruleEvent) []ruleEffect {
	s.environment["event_count"] = float64(len(all))
	if current != nil {
		s.environment["event_date"], s.environment["event_status"] = i.dateText(current.date), current.status
		s.environment["event_id"], s.environment["due_date"] = current.uid, i.dateText(current.scheduled)
		s.environment["completed_date"], s.environment["program_stage_id"] = i.dateText(current.completed), current.stage
		s.environment["program_stage_name"] = text(i.object("programStages", current.stage)["name"])
		s.environment["org_unit"] = current.unit
		s.environment["orgunit_code"] = text(i.object("organisationUnits", current.unit)["code"])
	}
	for _, v := range p.rules.variables {
		if v.source != "TEI_ATTRIBUTE" {
			i.setEventVariable(s, v, current, all)
		}
	}
	var effects []ruleEffect
	for _, r := range p.rules.rules {
		if r.programStage != "" && (current == nil || r.programStage != current.stage) {
			continue
		}
		holds, err := asBool(r.condition, s)
		if err != nil {
			failed := ruleAction{kind: "SHOWWARNING", content: err.Error()}
			effects = append(effects, ruleEffect{rule: r.uid, action: failed})
		}
		if !holds {
			continue
		}
		for _, a := range r.actions {
			if current == nil && a.dataElement != "" || current != nil && a.attribute != "" && a.dataElement == "" {
				continue
			}
			data := ""
			if a.data != nil {
				v, err := a.data(s)
				if err != nil {
					continue
				}
				data = ruleText(v)
			}
			if name, ok := strings.CutPrefix(a.content, "#{"); ok && a.kind == "ASSIGN" {
				if v := s.variables[strings.TrimSuffix(strings.TrimSpace(name), "}")]; v != nil {
					v.text, v.set, v.all = data, data != "", []string{data}
				}
				if a.dataElement == "" && a.attribute == "" {
					continue
				}
			}
			effects = append(effects, ruleEffect{r.uid, a, data})
		}
	}
	return effects
}

// setEventVariable gives a variable the value that an event has for it.
func (i *importer) setEventVariable(s *ruleScope, v ruleVariable, current *ruleEvent, all []*ruleEvent) {
	s.set(i.catalog, v, "", "")
	var from *ruleEvent
	for _, e := range all {
		if e.values[v.dataElement] == "" {
			continue
		}
		matches := false
		switch v.source {
		case "DATAELEMENT_CURRENT_EVENT":
			matches = e == current
		case "DATAELEMENT_NEWEST_EVENT_PROGRAM":
			matches = true
		case "DATAELEMENT_NEWEST_EVENT_PROGRAM_STAGE":
			matches = e.stage == v.programStage
		case "DATAELEMENT_PREVIOUS_EVENT":
			matches = current != nil && e != current && (e.date < current.date || e.date == current.date && e.created < current.created)
		}
		if matches && from == nil {
			from = e
		}
	}
	if from != nil {
		s.set(i.catalog, v, from.values[v.dataElement], i.dateText(from.date))
	}
	s.variables[v.name].all = nil
	for _, e := range all {
		if value := e.values[v.dataElement]; value != "" {
			s.variables[v.name].all = append(s.variables[v.name].all, value)
		}
	}
}

// carryOutOnEvent does to an event what a rule wants.
func (i *importer) carryOutOnEvent(e *eventInput, stage *programStage, effect ruleEffect) {
	uid, field := string(e.UID), effect.action.dataElement
	if field != "" && !stage.has(field) {
		return
	}
	switch effect.action.kind {
	case "ASSIGN":
		d := i.catalog.dataElement(field)
		if d == nil {
			return
		}
		at := slices.IndexFunc(e.DataValues, func(v dataValueInput) bool { return string(v.DataElement) == field })
		value := looseText(effect.data)
		switch {
		case at < 0:
			e.DataValues = append(e.DataValues, dataValueInput{DataElement: looseText(field), Value: &value})
		case sameRuleValue(effect.data, e.DataValues[at].Value, d.valueType):
			e.DataValues[at].Value = &value
		default:
			i.report.fail(kindEvent, uid, "E1307", effect.rule, field, effect.data)
			return
		}
		i.report.warn(kindEvent, uid, "E1308", effect.rule, field, uid)
	case "SETMANDATORYFIELD":
		switch {
		case e.empties(field):
			i.report.fail(kindEvent, uid, "E1314", effect.rule, field)
		case !i.hasDataValue(e, field):
			i.report.fail(kindEvent, uid, "E1301", effect.rule, field)
		}
	default:
		i.reportRule(kindEvent, uid, effect, field, e.Status == "COMPLETED")
	}
}

// carryOutOnEnrollment does to an enrollment, or to its tracked entity, what a rule wants.
func (i *importer) carryOutOnEnrollment(e *enrollmentInput, effect ruleEffect) {
	uid, field := string(e.UID), effect.action.attribute
	in := func(attributes []attributeInput) int {
		return slices.IndexFunc(attributes, func(v attributeInput) bool { return string(v.Attribute) == field })
	}
	of := i.entities[string(e.TrackedEntity)]
	switch effect.action.kind {
	case "ASSIGN":
		a := i.catalog.attribute(field)
		if a == nil {
			return
		}
		value := looseText(effect.data)
		own, shared := in(e.Attributes), -1
		if of != nil {
			shared = in(of.Attributes)
		}
		sent := (*looseText)(nil)
		if own >= 0 {
			sent = e.Attributes[own].Value
		} else if shared >= 0 {
			sent = of.Attributes[shared].Value
		}
		if own >= 0 || shared >= 0 {
			if !sameRuleValue(effect.data, sent, a.valueType) {
				i.report.fail(kindEnrollment, uid, "E1309", effect.rule, field, effect.data)
				return
			}
		}
		switch {
		case shared >= 0:
			of.Attributes[shared].Value = &value
		case own >= 0:
			e.Attributes[own].Value = &value
		default:
			e.Attributes = append(e.Attributes, attributeInput{Attribute: looseText(field), Value: &value})
		}
		i.report.warn(kindEnrollment, uid, "E1310", effect.rule, field, string(e.TrackedEntity))
	case "SETMANDATORYFIELD":
		own := in(e.Attributes)
		switch {
		case own < 0 && !i.entityAttributes(string(e.TrackedEntity))[field]:
			i.report.fail(kindEnrollment, uid, "E1306", effect.rule, field)
		case own >= 0 && e.Attributes[own].text() == "":
			i.report.fail(kindEnrollment, uid, "E1317", effect.rule, field)
		}
	default:
		i.reportRule(kindEnrollment, uid, effect, field, e.Status == "COMPLETED")
	}
}

// reportRule reports the error or warning that a rule shows.
func (i *importer) reportRule(k kind, uid string, effect ruleEffect, field string, completed bool) {
	parts := []string{effect.action.content}
	if effect.action.data != nil {
		parts = append(parts, effect.data)
	}
	if field != "" {
		parts = append(parts, "("+field+")")
	}
	message := strings.TrimSpace(strings.Join(parts, " "))
	switch kind := effect.action.kind; {
	case kind == "SHOWERROR" || kind == "ERRORONCOMPLETE" && completed:
		i.report.fail(k, uid, "E1300", effect.rule, message)
	case kind == "SHOWWARNING" || kind == "WARNINGONCOMPLETE" && completed:
		i.report.warn(k, uid, "E1300", effect.rule, message)
	}
}

// sameRuleValue tells whether a rule may set a value over what was sent.
func sameRuleValue(data string, sent *looseText, valueType string) bool {
	if sent == nil {
		return false
	}
	if data == string(*sent) {
		return true
	}
	a, aok := numeric(data)
	b, bok := numeric(string(*sent))
	return isNumericType(valueType) && aok && bok && math.Abs(a-b) < 0.01
}
