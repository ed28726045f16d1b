package dhis2sim

import (
	"net/http"
	"slices"
	"strconv"
)

// entitySearch is a request for tracked entities.
type entitySearch struct {
	*trackerQuery
	scope          *unitScope
	program        *program
	entityType     string
	listed         map[string]bool // the uids asked for, nil for any
	updated        span
	includeDeleted bool
	duplicate      *bool
	enrollments    *enrollmentFilter
	filters        []*valueFilter
	order          []orderTerm
	throughs       map[string][]*program // the programs through which the caller sees a type
}

// enrollmentFilter is what an enrollment of the program must be like for its tracked entity to be found.
type enrollmentFilter struct {
	status             string
	followUp           *bool
	enrolled, occurred span
	eventStatus        string
	eventOccurred      span
	eventStage         string
	assignees          *assigneeFilter
	includeDeleted     bool
}

// anyEnrollment lets every enrollment pass that is not deleted.
func anyEnrollment() *enrollmentFilter {
	return &enrollmentFilter{enrolled: anyTime(), occurred: anyTime(), eventOccurred: anyTime(), assignees: &assigneeFilter{}}
}

// assigneeFilter is to whom an event must be assigned.
type assigneeFilter struct {
	mode  string
	users []string
}

func (q *trackerQuery) assigneeFilter() *assigneeFilter {
	f := &assigneeFilter{users: q.uids("assignedUsers", "assignedUser")}
	f.mode = q.choice("assignedUserMode", "", "CURRENT", "PROVIDED", "NONE", "ANY", "ALL")
	switch {
	case f.mode != "" && f.mode != "PROVIDED" && len(f.users) > 0:
		q.refuse(illegalQuery("Assigned users cannot be specified if selectionMode is not PROVIDED"))
	case f.mode == "PROVIDED" && len(f.users) == 0:
		q.refuse(illegalQuery("Assigned users must be specified if selectionMode is PROVIDED"))
	case f.mode == "CURRENT":
		f.users = []string{q.caller.uid}
	}
	return f
}

func (f *assigneeFilter) matches(assigned *person) bool {
	switch {
	case f.mode == "NONE":
		return assigned == nil
	case f.mode == "ANY":
		return assigned != nil
	case len(f.users) > 0:
		return assigned != nil && slices.Contains(f.users, assigned.uid)
	}
	return true
}

// entitySearch reads and checks the parameters.
func (q *trackerQuery) entitySearch() *entitySearch {
	s := &entitySearch{trackerQuery: q, throughs: map[string][]*program{}}
	if q.minor == 41 {
		for _, gone := range []string{"query", "attribute", "includeAllAttributes"} {
			if q.Get(gone) != "" {
				q.refuse(badRequest("Parameter '%s' was removed.", gone))
			}
		}
	}
	uids := q.uids("trackedEntities", "trackedEntity")
	if len(uids) > 0 {
		s.listed = map[string]bool{}
		for _, uid := range uids {
			s.listed[uid] = true
		}
	}
	program, entityType := q.uid("program", ""), q.uid("trackedEntityType", "")
	switch {
	case program == "" && entityType == "" && s.listed == nil:
		q.refuse(badRequest("Either `program`, `trackedEntityType` or `trackedEntities` should be specified"))
	case program != "" && entityType != "":
		q.refuse(badRequest("`program` and `trackedEntityType` cannot be specified simultaneously"))
	}
	s.program = q.trackerProgram(program)
	s.entityType = q.readableType(entityType)
	if s.program != nil {
		s.entityType = s.program.entityType
	}
	s.updated, s.includeDeleted, s.duplicate = q.updated("updatedBefore"), q.isSet("includeDeleted"), q.flag("potentialDuplicate")
	s.enrollments = q.enrollmentFilter(program != "")
	s.enrollments.includeDeleted = s.includeDeleted
	s.order = q.order("trackedEntity createdAt createdAtClient updatedAt updatedAtClient enrolledAt inactive", true)
	for _, term := range s.order {
		switch {
		case term.field == "trackedEntity" && q.minor >= 43:
			// DHIS2 2.43 asks the database for a column that two tables have.
			q.refuse(&refusal{http.StatusConflict, "E7145", "Query failed because of a syntax error"})
		case term.field == "enrolledAt" && program == "":
			q.refuse(badRequest("Program is required when ordering by enrolledAt"))
		case isUID(term.field) && q.server.object("trackedEntityAttributes", term.field) == nil:
			q.refuse(badRequest("Cannot order by '%s' as it is not a tracked entity attribute.", term.field))
		}
	}
	s.filters = q.attributeFilters("filter")
	s.scope = q.scope(scopeRules{units: "orgUnits", oldUnits: "orgUnit", oldMode: "ouMode", listed: s.listed != nil, superusersAnywhere: true}, s.program)
	if q.refused == nil {
		s.limitSearch()
	}
	return s
}

// trackerProgram is the program of a request for tracked entities or enrollments.
func (q *trackerQuery) trackerProgram(uid string) *program {
	if uid == "" {
		return nil
	}
	o := q.server.object("programs", uid)
	switch {
	case o == nil:
		q.refuse(badRequest("Program is specified but does not exist: %s", uid))
		return nil
	case text(o["programType"]) != "WITH_REGISTRATION":
		q.refuse(badRequest("Program specified is not a tracker program: %s", uid))
		return nil
	case !q.server.mayReadData(q.caller, o) || !q.mayReadClass("trackedEntityTypes", refUID(o["trackedEntityType"])):
		q.refuse(forbidden("User has no access to program: %s", uid))
		return nil
	}
	return q.catalog.program(uid)
}

// readableType is the tracked entity type of a request.
func (q *trackerQuery) readableType(uid string) string {
	if uid == "" {
		return ""
	}
	o := q.server.object("trackedEntityTypes", uid)
	switch {
	case o == nil:
		q.refuse(badRequest("Tracked entity type is specified but does not exist: %s", uid))
	case !q.server.mayReadData(q.caller, o):
		q.refuse(forbidden("User has no access to tracked entity type: %s", uid))
	}
	return uid
}

// enrollmentFilter reads what enrollments and their events must be like. Most of it needs a program.
func (q *trackerQuery) enrollmentFilter(ofProgram bool) *enrollmentFilter {
	f := &enrollmentFilter{
		status: q.enrollmentStatus("enrollmentStatus"), followUp: q.flag("followUp"),
		enrolled:      q.span("enrollmentEnrolledAfter", "enrollmentEnrolledBefore"),
		occurred:      q.span("enrollmentOccurredAfter", "enrollmentOccurredBefore"),
		eventStatus:   q.choice("eventStatus", "", "ACTIVE", "COMPLETED", "VISITED", "SCHEDULE", "OVERDUE", "SKIPPED"),
		eventOccurred: q.span("eventOccurredAfter", "eventOccurredBefore"),
		eventStage:    q.uid("programStage", ""), assignees: q.assigneeFilter(),
	}
	switch {
	case !ofProgram && (f.status != "" || f.followUp != nil || f.enrolled.given() || f.occurred.given() || f.eventStage != ""):
		q.refuse(badRequest("Program must be defined when a parameter about enrollments is specified"))
	case (f.eventStatus != "") != f.eventOccurred.after.set(), (f.eventStatus != "") != f.eventOccurred.before.set():
		q.refuse(badRequest("eventOccurredAfter, eventOccurredBefore and eventStatus must be specified together"))
	}
	return f
}

// enrollmentStatus reads the status of enrollments, which has an older name that is still taken.
func (q *trackerQuery) enrollmentStatus(name string) string {
	status := q.choice(name, "", "ACTIVE", "COMPLETED", "CANCELLED")
	older := q.choice("programStatus", "", "ACTIVE", "COMPLETED", "CANCELLED")
	if status != "" && older != "" {
		q.refuse(badRequest("Only one parameter of 'programStatus' and '%s' must be specified.", name))
	}
	return status + older
}

// attributeFilters reads filters on attributes.
func (q *trackerQuery) attributeFilters(parameter string) []*valueFilter {
	filters := q.filters(parameter)
	for _, f := range filters {
		o := q.server.object("trackedEntityAttributes", f.uid)
		if o == nil {
			q.refuse(badRequest("attribute filters are invalid. Tracked entity attribute '%s' does not exist.", f.uid))
		}
		if q.minor > 41 {
			f.valueType = text(o["valueType"]) // 2.41 compares all values as text
		}
		q.checkOperands(f)
	}
	return filters
}

// limitSearch applies the limits that programs and types set to searches outside of the capture scope.
func (s *entitySearch) limitSearch() {
	if !s.scope.beyondCapture() {
		return
	}
	var searchable []memberAttribute
	least, most := 0, 0
	switch {
	case s.program != nil:
		searchable, least, most = s.program.attributes, s.program.minAttributesToSearch, s.program.maxEntitiesToFetch
	case s.entityType != "":
		if t := s.catalog.entityType(s.entityType); t != nil {
			searchable, least, most = t.attributes, t.minAttributesToSearch, t.maxEntitiesToFetch
		}
	default:
		return
	}
	unique := false
	for _, f := range s.filters {
		isUnique := s.server.object("trackedEntityAttributes", f.uid)["unique"] == true
		unique = unique || isUnique && len(f.conditions) > 0
		if !isUnique && !slices.ContainsFunc(searchable, func(m memberAttribute) bool { return m.uid == f.uid && m.searchable }) {
			s.refuse(illegalQuery("Non-searchable attribute(s) can not be used during global search: %s", f.uid))
			return
		}
	}
	if s.listed == nil && !unique && len(s.filters) < least {
		s.refuse(illegalQuery("At least %d attributes should be mentioned in the search criteria.", least))
		return
	}
	if most > 0 {
		found := take(s.all(), s.matches, paging{page: 1, size: most}, most)
		if found.more {
			s.refuse(illegalQuery("maxteicountreached"))
		}
	}
}

// all is what the search must look at, in the order that was asked for where that needs no sorting.
func (s *entitySearch) all() func(yield func(*trackedEntity) bool) {
	list := s.store.entityList
	if s.listed != nil {
		list = nil
		for uid := range s.listed {
			if e := s.store.entities[uid]; e != nil {
				list = append(list, e)
			}
		}
	} else if few := s.fewer(len(list)); few != nil {
		list = *few
	}
	if s.listed != nil {
		slices.SortFunc(list, func(a, b *trackedEntity) int { return int(a.number - b.number) })
	}
	if len(s.order) == 1 && s.order[0].field == "createdAt" && !s.order[0].descending {
		return oldestFirst(list, func(e *trackedEntity) instant { return e.created })
	}
	return newestFirst(list)
}

// fewer are the tracked entities that an index finds, by number, nil where it finds too many to help.
func (s *entitySearch) fewer(all int) *[]*trackedEntity {
	for _, f := range s.filters {
		value, ok := f.exact()
		if !ok || s.server.object("trackedEntityAttributes", f.uid)["unique"] != true {
			continue
		}
		found := slices.Clone(s.store.holders(f.uid, value))
		slices.SortFunc(found, func(a, b *trackedEntity) int { return int(a.number - b.number) })
		return &found
	}
	if s.program == nil || s.scope.mode == "ALL" {
		return nil
	}
	var found []*trackedEntity
	lists := 0
	for o, held := range s.store.byOwner {
		if o.program != s.program.uid || !s.scope.has(o.unit) || len(held) == 0 {
			continue
		}
		if lists == 0 {
			found = held
		} else if len(found)+len(held) > all/8 {
			return nil
		} else {
			found = append(slices.Clip(found), held...)
		}
		lists++
	}
	if lists > 1 {
		slices.SortFunc(found, func(a, b *trackedEntity) int { return int(a.number - b.number) })
	}
	return &found
}

// matches tells whether a tracked entity is among those asked for and the caller may see it.
func (s *entitySearch) matches(e *trackedEntity) bool {
	if e.deleted && !s.includeDeleted || s.listed != nil && !s.listed[e.uid] || s.entityType != "" && e.entityType != s.entityType ||
		!s.updated.has(e.updated) || s.duplicate != nil && e.potentialDuplicate != *s.duplicate {
		return false
	}
	for _, f := range s.filters {
		if !f.matches(e.value(f.uid)) {
			return false
		}
	}
	if s.program != nil {
		owner := e.owner(s.program.uid)
		if owner == "" || !s.scope.has(owner) || !s.mayReach(e.uid, owner, s.program) {
			return false
		}
		return slices.ContainsFunc(e.enrollments, func(n *enrollment) bool {
			return n.program == s.program.uid && s.enrollments.matches(n, s.now)
		})
	}
	for _, p := range s.through(e.entityType) {
		if unit := ownerOf(e, p.uid); s.scope.has(unit) && s.mayReach(e.uid, unit, p) {
			return true
		}
	}
	return false
}

// through are the programs of a type through which the caller may see tracked entities.
func (s *entitySearch) through(entityType string) []*program {
	programs, ok := s.throughs[entityType]
	if !ok {
		for _, p := range s.trackerPrograms() {
			if p.entityType == entityType && s.mayReadClass("trackedEntityTypes", entityType) {
				programs = append(programs, p)
			}
		}
		s.throughs[entityType] = programs
	}
	return programs
}

func (f *enrollmentFilter) matches(e *enrollment, now instant) bool {
	if e.deleted && !f.includeDeleted || f.status != "" && e.status != f.status || f.followUp != nil && e.followUp != *f.followUp ||
		!f.enrolled.has(e.enrolled) || !f.occurred.has(e.occurred) {
		return false
	}
	if f.eventStatus == "" && f.assignees.mode == "" && len(f.assignees.users) == 0 {
		return true // DHIS2 looks at the stage only where it looks at events for another reason
	}
	return slices.ContainsFunc(e.events, func(v *event) bool {
		return (!v.deleted || f.includeDeleted) && (f.eventStage == "" || v.programStage == f.eventStage) && f.assignees.matches(v.assignedUser) &&
			hasStatus(v, f.eventStatus, now) && f.eventOccurred.has(statusDate(v, f.eventStatus))
	})
}

// hasStatus tells whether an event has a status; two of them are not stored but told from dates.
func hasStatus(e *event, status string, now instant) bool {
	switch status {
	case "":
		return true
	case "VISITED":
		return e.status == "ACTIVE" && e.occurred.set()
	case "OVERDUE":
		return e.status == "SCHEDULE" && e.scheduled.set() && e.scheduled < now
	}
	return e.status == status
}

// statusDate is the date of an event by which it is searched under a status.
func statusDate(e *event, status string) instant {
	if status == "SCHEDULE" || status == "OVERDUE" || status == "SKIPPED" {
		return e.scheduled
	}
	return e.occurred
}

// find returns the page that was asked for.
func (s *entitySearch) find(p paging) part[*trackedEntity] {
	most := s.server.trackedEntityLimit()
	all, matches := s.all(), s.matches
	byCreation := len(s.order) == 1 && s.order[0].field == "createdAt"
	if len(s.order) > 0 && !(byCreation && !s.order[0].descending) {
		all = sorted(all, matches, s.order, s.key, func(e *trackedEntity) int64 { return e.number })
		matches = func(*trackedEntity) bool { return true }
	}
	return take(all, matches, p, most)
}

func (s *entitySearch) key(e *trackedEntity, field string) sortKey {
	switch field {
	case "trackedEntity":
		return textKey(e.uid)
	case "createdAt":
		return timeKey(e.created)
	case "createdAtClient":
		return timeKey(e.createdAtClient)
	case "updatedAt":
		return timeKey(e.updated)
	case "updatedAtClient":
		return timeKey(e.updatedAtClient)
	case "inactive":
		return flagKey(e.inactive)
	case "enrolledAt":
		latest := none
		for _, n := range e.enrollments {
			if n.program == s.program.uid && s.enrollments.matches(n, s.now) {
				latest = max(latest, n.enrolled)
			}
		}
		return timeKey(latest)
	}
	value, _ := e.value(field)
	return textKey(value)
}

// trackedEntityLimit is the largest page of tracked entities.
func (s *Server) trackedEntityLimit() int {
	if limit, err := strconv.Atoi(s.settings["KeyTrackedEntityMaxLimit"]); err == nil && limit > 0 {
		return limit
	}
	return 50000
}

// listEntities answers GET /api/tracker/trackedEntities.
func (s *Server) listEntities(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	p := q.paging()
	if p.size > s.trackedEntityLimit() && q.Get("pageSize") != "" {
		q.refuse(badRequest("Invalid page size: %d. It must not exceed the system limit of KeyTrackedEntityMaxLimit %d.", p.size, s.trackedEntityLimit()))
	}
	search := q.entitySearch()
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	found := search.find(p)
	view := s.newTrackerView(q.access)
	view.includeDeleted, view.program = search.includeDeleted, q.Get("program")
	filter := q.fields("*,!relationships,!enrollments,!events,!programOwners")
	shown := view.shownAttributes(search.program)
	q.writeList(w, view, "trackedEntities", p, found.more, found.total, func(i int) bool {
		view.entity(found.items[i], filter, shown, alone)
		return true
	}, len(found.items))
}

// fields is the filter that was asked for, or the default one of the endpoint.
func (q *trackerQuery) fields(otherwise string) *fieldFilter {
	if given := q.Get("fields"); given != "" {
		return parseFields(given)
	}
	return parseFields(otherwise)
}

// shownAttributes are the attributes that a list of tracked entities shows. nil stands for all.
func (v *trackerView) shownAttributes(p *program) map[string]bool {
	if v.minor == 41 && v.caller.superuser() {
		return nil
	}
	shown := map[string]bool{}
	for uid := range v.anyTypeAttributes() {
		shown[uid] = true
	}
	if p != nil {
		for uid := range v.programAttributes(p.uid) {
			shown[uid] = true
		}
	}
	return shown
}
