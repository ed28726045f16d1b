package dhis2sim

import (
	"net/http"
	"slices"
	"strings"
)

// eventSearch is a request for events.
type eventSearch struct {
	*trackerQuery
	scope                        *unitScope
	program                      *program
	stage, entity, status        string
	listed, enrollments          []string
	enrollment                   *enrollmentFilter
	occurred, scheduled, updated span
	optionCombo                  string
	assignees                    *assigneeFilter
	dataElements, attributes     []*valueFilter
	includeDeleted               bool
	order                        []orderTerm
	single                       *bool // 2.43: only events of event programs, or none of them
	readable, readableStage      map[string]bool
}

// eventFields are what events can be ordered by.
const eventFields = "assignedUser assignedUserDisplayName attributeOptionCombo completedAt completedBy createdAt createdAtClient createdBy " +
	"deleted enrolledAt enrollment enrollmentStatus event followUp occurredAt orgUnit program programStage scheduledAt status storedBy " +
	"trackedEntity updatedAt updatedAtClient updatedBy"

func (q *trackerQuery) eventSearch(single *bool) *eventSearch {
	s := &eventSearch{trackerQuery: q, single: single, readable: map[string]bool{}, readableStage: map[string]bool{}}
	s.listed, s.enrollments, s.entity = q.uids("events", "event"), q.uids("enrollments", ""), q.uid("trackedEntity", "")
	s.program = q.eventProgram(q.uid("program", ""))
	if single != nil && s.program != nil && s.program.registration == *single {
		q.refuse(badRequest("Program %s is not of the type of this endpoint.", s.program.uid))
	}
	s.stage = q.uid("programStage", "")
	if s.stage != "" {
		switch o := q.server.object("programStages", s.stage); {
		case o == nil:
			q.refuse(badRequest("Program stage is specified but does not exist: %s", s.stage))
		case !q.server.mayReadData(q.caller, o):
			q.refuse(forbidden("User has no access to program stage: %s", s.stage))
		}
	}
	q.readableEntity(s.entity)
	s.status = q.choice("status", "", "ACTIVE", "COMPLETED", "VISITED", "SCHEDULE", "OVERDUE", "SKIPPED")
	s.enrollment = &enrollmentFilter{
		status: q.enrollmentStatus("enrollmentStatus"), followUp: q.flag("followUp"), enrolled: q.span("enrollmentEnrolledAfter", "enrollmentEnrolledBefore"),
		occurred: q.span("enrollmentOccurredAfter", "enrollmentOccurredBefore"), assignees: &assigneeFilter{}, includeDeleted: true,
	}
	s.occurred, s.scheduled, s.updated = q.span("occurredAfter", "occurredBefore"), q.span("scheduledAfter", "scheduledBefore"), q.updated("updatedBefore")
	s.optionCombo = q.optionComboOf()
	s.assignees, s.includeDeleted = q.assigneeFilter(), q.isSet("includeDeleted")
	if len(s.listed) > 0 && q.Get("filter") != "" {
		q.refuse(badRequest("filters can not be specified together with events"))
	}
	s.dataElements = q.filters("filter")
	for _, f := range s.dataElements {
		o := q.server.object("dataElements", f.uid)
		if o == nil {
			q.refuse(badRequest("filter is invalid. Data element '%s' does not exist.", f.uid))
		}
		f.valueType = text(o["valueType"])
		q.checkOperands(f)
	}
	s.attributes = q.attributeFilters("filterAttributes")
	fields := eventFields
	switch {
	case single != nil && *single:
		fields = "completedAt createdAt occurredAt updatedAt"
	case single != nil:
		fields = "completedAt createdAt occurredAt scheduledAt updatedAt"
	}
	s.order = q.order(fields, true)
	for _, term := range s.order {
		if isUID(term.field) && q.server.object("dataElements", term.field) == nil && q.server.object("trackedEntityAttributes", term.field) == nil {
			q.refuse(badRequest("Cannot order by '%s' as its neither a data element nor a tracked entity attribute.", term.field))
		}
	}
	s.scope = q.scope(scopeRules{units: "orgUnit", oldMode: "ouMode", listed: false}, s.program)
	return s
}

// eventProgram is the program of a request for events, of either kind.
func (q *trackerQuery) eventProgram(uid string) *program {
	if uid == "" {
		return nil
	}
	o := q.server.object("programs", uid)
	switch {
	case o == nil:
		q.refuse(badRequest("Program is specified but does not exist: %s", uid))
		return nil
	case !q.server.mayReadData(q.caller, o) || refUID(o["trackedEntityType"]) != "" && !q.mayReadClass("trackedEntityTypes", refUID(o["trackedEntityType"])):
		q.refuse(forbidden("User has no access to program: %s", uid))
		return nil
	}
	return q.catalog.program(uid)
}

// optionComboOf reads the attribute option combo, which is named by its category combo and options.
func (q *trackerQuery) optionComboOf() string {
	combo, options := q.uid("attributeCategoryCombo", "attributeCc"), q.uids("attributeCategoryOptions", "attributeCos")
	if combo == "" && len(options) == 0 {
		return ""
	}
	found := q.catalog.optionComboOf(q.notDefault(combo), options)
	if found == nil || (combo == "") != (len(options) == 0) {
		q.refuse(&refusal{http.StatusConflict, "E2040", "Attribute option combo does not exist for the given category combo and category options."})
		return ""
	}
	return found.uid
}

// matches tells whether an event is among those asked for and the caller may see it. It is where the unit
// that owns its tracked entity is, or where it took place when it is of nobody.
func (s *eventSearch) matches(e *event) bool {
	if e.deleted && !s.includeDeleted || s.program != nil && e.program != s.program.uid || s.stage != "" && e.programStage != s.stage ||
		len(s.listed) > 0 && !slices.Contains(s.listed, e.uid) || s.single != nil && e.single != *s.single ||
		!hasStatus(e, s.status, s.now) || !s.occurred.has(e.occurred) || !s.scheduled.has(e.scheduled) || !s.updated.has(e.updated) ||
		s.optionCombo != "" && e.attributeOptionCombo != s.optionCombo || !s.assignees.matches(e.assignedUser) {
		return false
	}
	if len(s.enrollments) > 0 && (e.enrollment == nil || !slices.Contains(s.enrollments, e.enrollment.uid)) ||
		e.enrollment != nil && !s.enrollment.matches(e.enrollment, s.now) {
		return false
	}
	of := e.trackedEntity()
	if s.entity != "" && (of == nil || of.uid != s.entity) {
		return false
	}
	for _, f := range s.dataElements {
		if !f.matches(e.value(f.uid)) {
			return false
		}
	}
	for _, f := range s.attributes {
		if of == nil || !f.matches(of.value(f.uid)) {
			return false
		}
	}
	unit := e.unit
	if of != nil {
		if owner := of.owner(e.program); owner != "" {
			unit = owner
		}
	}
	return s.scope.has(unit) && (s.caller.superuser() || s.mayReadEvent(e))
}

// list is what the search must look at, by number.
func (s *eventSearch) list() []*event {
	switch e := s.store.entities[s.entity]; {
	case len(s.listed) > 0:
		var list []*event
		for _, uid := range s.listed {
			if e := s.store.events[uid]; e != nil && !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
		slices.SortFunc(list, func(a, b *event) int { return int(a.number - b.number) })
		return list
	case e != nil:
		var list []*event
		for _, enrolled := range e.enrollments {
			list = append(list, enrolled.events...)
		}
		slices.SortFunc(list, func(a, b *event) int { return int(a.number - b.number) })
		return list
	}
	return s.store.eventList
}

func (s *eventSearch) find(p paging) part[*event] {
	list := s.list()
	all, matches := newestFirst(list), s.matches
	if len(s.order) == 1 && s.order[0].field == "createdAt" && !s.order[0].descending {
		all = oldestFirst(list, func(e *event) instant { return e.created })
	} else if len(s.order) > 0 {
		all = sorted(all, matches, s.order, s.key, func(e *event) int64 { return e.number })
		matches = func(*event) bool { return true }
	}
	return take(all, matches, p, 0)
}

func (s *eventSearch) key(e *event, field string) sortKey {
	if isUID(field) {
		if value, ok := e.value(field); ok || e.trackedEntity() == nil {
			return textKey(strings.ToLower(value))
		}
		value, _ := e.trackedEntity().value(field)
		return textKey(value)
	}
	switch field {
	case "completedAt":
		return timeKey(e.completed)
	case "createdAt":
		return timeKey(e.created)
	case "createdAtClient":
		return timeKey(e.createdAtClient)
	case "occurredAt":
		return timeKey(e.occurred)
	case "scheduledAt":
		return timeKey(e.scheduled)
	case "updatedAt":
		return timeKey(e.updated)
	case "updatedAtClient":
		return timeKey(e.updatedAtClient)
	case "deleted":
		return flagKey(e.deleted)
	case "enrolledAt", "followUp", "enrollment", "enrollmentStatus", "trackedEntity":
		return s.enrollmentKey(e, field)
	}
	name := func(p *person) string {
		if p == nil {
			return ""
		}
		return p.username
	}
	values := map[string]string{
		"attributeOptionCombo": e.attributeOptionCombo, "completedBy": e.completedBy, "createdBy": name(e.createdBy), "event": e.uid,
		"orgUnit": e.unit, "program": e.program, "programStage": e.programStage, "status": e.status, "storedBy": e.storedBy,
		"updatedBy": name(e.updatedBy),
	}
	if e.assignedUser != nil {
		values["assignedUser"] = e.assignedUser.uid
		values["assignedUserDisplayName"] = e.assignedUser.firstName + " " + e.assignedUser.surname
	}
	return textKey(values[field])
}

func (s *eventSearch) enrollmentKey(e *event, field string) sortKey {
	if e.enrollment == nil {
		return sortKey{absent: true}
	}
	switch field {
	case "enrolledAt":
		return timeKey(e.enrollment.enrolled)
	case "followUp":
		return flagKey(e.enrollment.followUp)
	case "enrollment":
		return textKey(e.enrollment.uid)
	case "enrollmentStatus":
		return textKey(e.enrollment.status)
	}
	if of := e.trackedEntity(); of != nil {
		return textKey(of.uid)
	}
	return sortKey{absent: true}
}

// listEvents answers GET /api/tracker/events. Since 2.43 it serves one program, of either kind; trackerEvents
// and singleEvents serve the events of one kind.
func (s *Server) listEvents(name string, single *bool) handler {
	return func(w http.ResponseWriter, r *http.Request, caller *account) {
		q := s.trackerQuery(r, caller)
		if s.minor >= 43 && q.Get("program") == "" && single != nil {
			q.refuse(badRequest("Program is mandatory"))
		}
		p := q.paging()
		search := q.eventSearch(single)
		if s.minor >= 43 && q.Get("program") == "" && single == nil && (q.refused == nil || q.refused.code != "") {
			writePage(w, http.StatusBadRequest) // DHIS2 finds nothing to answer then; a malformed parameter goes first
			return
		}
		if q.refused != nil {
			refuse(w, q.refused)
			return
		}
		found := search.find(p)
		view := s.newTrackerView(q.access)
		view.includeDeleted, view.ofOneKind = search.includeDeleted, single != nil
		filter := q.fields("*,!relationships")
		q.writeList(w, view, name, p, found.more, found.total, func(i int) bool {
			if single != nil && *single {
				view.singleEvent(found.items[i], filter)
			} else {
				view.event(found.items[i], filter, alone)
			}
			return true
		}, len(found.items))
	}
}

// writePage answers with a web page, as the servlet container does where DHIS2 leaves it to it.
func writePage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<!doctype html><html lang=\"en\"><head><title>HTTP Status</title></head><body></body></html>"))
}
