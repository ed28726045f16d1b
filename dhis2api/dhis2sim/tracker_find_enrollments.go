package dhis2sim

import (
	"net/http"
	"slices"
)

// enrollmentSearch is a request for enrollments.
type enrollmentSearch struct {
	*trackerQuery
	scope      *unitScope
	program    *program
	listed     []string
	entity     string
	entityType string
	filter     *enrollmentFilter
	updated    span
	order      []orderTerm
}

func (q *trackerQuery) enrollmentSearch() *enrollmentSearch {
	s := &enrollmentSearch{trackerQuery: q}
	program := q.uid("program", "")
	s.listed, s.entity = q.uids("enrollments", "enrollment"), q.uid("trackedEntity", "")
	if q.minor >= 43 && program == "" {
		q.refuse(badRequest("Program is mandatory"))
	}
	s.program = q.trackerProgram(program)
	if q.minor < 43 { // later versions do not know the parameter
		s.entityType = q.readableType(q.uid("trackedEntityType", ""))
	}
	if program != "" && s.entityType != "" {
		q.refuse(badRequest("`program` and `trackedEntityType` cannot be specified simultaneously"))
	}
	q.readableEntity(s.entity)
	s.filter = &enrollmentFilter{
		status: q.enrollmentStatus("status"), followUp: q.flag("followUp"),
		enrolled: q.span("enrolledAfter", "enrolledBefore"), occurred: anyTime(), eventOccurred: anyTime(), assignees: &assigneeFilter{}, includeDeleted: q.isSet("includeDeleted"),
	}
	if program == "" && (s.filter.status != "" || s.filter.followUp != nil || s.filter.enrolled.given()) {
		q.refuse(badRequest("`program` must be defined when a parameter about enrollments is specified"))
	}
	s.updated = q.updated("")
	s.order = q.order("completedAt createdAt createdAtClient enrolledAt updatedAt updatedAtClient", false)
	s.scope = q.scope(scopeRules{units: "orgUnits", oldUnits: "orgUnit", oldMode: "ouMode", listed: len(s.listed) > 0, superusersAnywhere: true}, s.program)
	if q.minor < 43 && slices.ContainsFunc(s.order, func(o orderTerm) bool { return o.field == "createdAt" || o.field == "updatedAt" }) {
		// DHIS2 2.41 and 2.42 ask the database for a column that two tables have.
		q.refuse(&refusal{http.StatusConflict, "", "Could not execute statement; ambiguous column"})
	}
	return s
}

// readableEntity checks the tracked entity that a request names.
func (q *trackerQuery) readableEntity(uid string) {
	if uid == "" {
		return
	}
	e := q.store.entities[uid]
	switch {
	case e == nil || e.deleted && !q.isSet("includeDeleted"):
		q.refuse(badRequest("Tracked entity is specified but does not exist: %s", uid))
	case !q.mayReadClass("trackedEntityTypes", e.entityType):
		q.refuse(forbidden("User is not authorized to read data from the tracked entity's type: %s", uid))
	}
}

// matches tells whether an enrollment is among those asked for and the caller may see it. It is where the
// unit that owns its tracked entity is.
func (s *enrollmentSearch) matches(e *enrollment) bool {
	if len(s.listed) > 0 && !slices.Contains(s.listed, e.uid) || s.program != nil && e.program != s.program.uid ||
		s.entity != "" && e.trackedEntity.uid != s.entity || s.entityType != "" && e.trackedEntity.entityType != s.entityType ||
		!s.updated.has(e.updated) || !s.filter.matches(e, s.now) {
		return false
	}
	owner := e.trackedEntity.owner(e.program)
	return owner != "" && s.scope.has(owner) && s.mayReadEnrollment(e)
}

func (s *enrollmentSearch) find(p paging) part[*enrollment] {
	list := s.store.enrollmentList
	if e := s.store.entities[s.entity]; e != nil {
		list = e.enrollments
	}
	all, matches := newestFirst(list), s.matches
	if len(s.order) == 1 && s.order[0].field == "createdAt" && !s.order[0].descending {
		all = oldestFirst(list, func(e *enrollment) instant { return e.created })
	} else if len(s.order) > 0 {
		all = sorted(all, matches, s.order, enrollmentKey, func(e *enrollment) int64 { return e.number })
		matches = func(*enrollment) bool { return true }
	}
	return take(all, matches, p, 0)
}

func enrollmentKey(e *enrollment, field string) sortKey {
	return timeKey(map[string]instant{
		"completedAt": e.completed, "createdAt": e.created, "createdAtClient": e.createdAtClient, "enrolledAt": e.enrolled,
		"updatedAt": e.updated, "updatedAtClient": e.updatedAtClient,
	}[field])
}

// listEnrollments answers GET /api/tracker/enrollments.
func (s *Server) listEnrollments(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	p := q.paging()
	search := q.enrollmentSearch()
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	found := search.find(p)
	view := s.newTrackerView(q.access)
	view.includeDeleted = search.filter.includeDeleted
	filter := q.fields("*,!relationships,!events,!attributes")
	q.writeList(w, view, "enrollments", p, found.more, found.total, func(i int) bool {
		view.enrollment(found.items[i], filter, alone)
		return true
	}, len(found.items))
}
