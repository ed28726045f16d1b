package dhis2api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Paths and list keys of the tracker API.
const (
	trackerPath = "/api/tracker"

	listTrackedEntities = "trackedEntities"
	listEnrollments     = "enrollments"
	listEvents          = "events"
	listRelationships   = "relationships"
)

const (
	treePageSize = 500  // of tracked entities with all that hangs on them
	flatPageSize = 1000 // of anything else
	lookupSize   = 200  // uids a request; 600 fill the 8 KB that DHIS2's container allows a request line
)

// TrackedEntities reads the tracked entities that the query selects.
func (c *Client) TrackedEntities(ctx context.Context, query TrackedEntityQuery) iter.Seq2[*TrackedEntity, error] {
	return itemsOf(c.TrackedEntityPages(ctx, query))
}

// TrackedEntityPages reads the same by pages, so that an interrupted reading can go on at Paging.Page.
func (c *Client) TrackedEntityPages(ctx context.Context, query TrackedEntityQuery) iter.Seq2[Page[*TrackedEntity], error] {
	values := parameters{}
	values.set("program", query.Program)
	values.set("trackedEntityType", query.TrackedEntityType)
	values.orgUnits(query.OrgUnits, query.OrgUnitMode)
	values.set(c.enrollmentStatusParameter(), query.EnrollmentStatus)
	values.setBool("followUp", query.FollowUp)
	values.set("updatedAfter", query.UpdatedAfter)
	values.set("updatedBefore", query.UpdatedBefore)
	values.set("enrollmentEnrolledAfter", query.EnrollmentEnrolledAfter)
	values.set("enrollmentEnrolledBefore", query.EnrollmentEnrolledBefore)
	values.set("enrollmentOccurredAfter", query.EnrollmentOccurredAfter)
	values.set("enrollmentOccurredBefore", query.EnrollmentOccurredBefore)
	values.set("eventStatus", query.EventStatus)
	values.set("eventOccurredAfter", query.EventOccurredAfter)
	values.set("eventOccurredBefore", query.EventOccurredBefore)
	values.filters(query.Filters)
	values.includeDeleted(query.IncludeDeleted)
	var err error
	if (query.Program == "") == (query.TrackedEntityType == "") {
		err = errors.New("tracked entities: exactly one of program and tracked entity type must be given")
	}
	return readerOf[TrackedEntity](c, listTrackedEntities, values, query.Paging, defaults{TrackedEntityFields, treePageSize, "createdAt:asc"}, err).pages(ctx)
}

// Enrollments reads the enrollments that the query selects, in no particular order.
func (c *Client) Enrollments(ctx context.Context, query EnrollmentQuery) iter.Seq2[*Enrollment, error] {
	return itemsOf(c.EnrollmentPages(ctx, query))
}

// EnrollmentPages reads the same by pages. DHIS2's own order, by internal id from the newest down, shifts when
// enrollments are added meanwhile: an enrollment may then come twice.
func (c *Client) EnrollmentPages(ctx context.Context, query EnrollmentQuery) iter.Seq2[Page[*Enrollment], error] {
	values := parameters{}
	values.set("program", query.Program)
	values.set("trackedEntity", query.TrackedEntity)
	values.orgUnits(query.OrgUnits, query.OrgUnitMode)
	if c.info.Version.Minor >= 42 {
		values.set("status", query.Status)
	} else {
		values.set("programStatus", query.Status)
	}
	values.setBool("followUp", query.FollowUp)
	values.set("updatedAfter", query.UpdatedAfter)
	values.set("enrolledAfter", query.EnrolledAfter)
	values.set("enrolledBefore", query.EnrolledBefore)
	values.includeDeleted(query.IncludeDeleted)
	// DHIS2 2.42 answers 409 to order=createdAt here (an ambiguous column): leave the order to it.
	return readerOf[Enrollment](c, listEnrollments, values, query.Paging, defaults{EnrollmentFields, flatPageSize, ""},
		c.programRequired("enrollments", query.Program)).pages(ctx)
}

// Events reads the events that the query selects.
func (c *Client) Events(ctx context.Context, query EventQuery) iter.Seq2[*Event, error] {
	return itemsOf(c.EventPages(ctx, query))
}

// EventPages reads the same by pages.
func (c *Client) EventPages(ctx context.Context, query EventQuery) iter.Seq2[Page[*Event], error] {
	values := parameters{}
	values.set("program", query.Program)
	values.set("programStage", query.ProgramStage)
	values.set("trackedEntity", query.TrackedEntity)
	values.setList("enrollments", query.Enrollments)
	values.set("orgUnit", query.OrgUnit)
	values.set("orgUnitMode", query.OrgUnitMode)
	values.set("status", query.Status)
	values.set("updatedAfter", query.UpdatedAfter)
	values.set("updatedBefore", query.UpdatedBefore)
	values.set("occurredAfter", query.OccurredAfter)
	values.set("occurredBefore", query.OccurredBefore)
	values.set("scheduledAfter", query.ScheduledAfter)
	values.set("scheduledBefore", query.ScheduledBefore)
	values.set("attributeCategoryCombo", query.AttributeCategoryCombo)
	values.setList("attributeCategoryOptions", query.AttributeCategoryOptions)
	values.filters(query.Filters)
	values.includeDeleted(query.IncludeDeleted)
	return readerOf[Event](c, listEvents, values, query.Paging, defaults{EventFields, flatPageSize, "createdAt:asc"},
		c.programRequired("events", query.Program)).pages(ctx)
}

// Relationships reads the relationships of one object.
func (c *Client) Relationships(ctx context.Context, query RelationshipQuery) iter.Seq2[*Relationship, error] {
	values := parameters{}
	values.set("trackedEntity", query.TrackedEntity)
	values.set("enrollment", query.Enrollment)
	values.set("event", query.Event)
	var err error
	if len(values) != 1 {
		err = errors.New("relationships: exactly one of tracked entity, enrollment and event must be given")
	}
	values.includeDeleted(query.IncludeDeleted)
	return itemsOf(readerOf[Relationship](c, listRelationships, values, query.Paging, defaults{RelationshipFields, flatPageSize, "createdAt:asc"}, err).pages(ctx))
}

// TrackedEntitiesByID reads the tracked entities with the uids, in no particular order, leaving out what the
// server does not find: with Lookup.IncludeDeleted that never was, was purged, or is hidden from the account.
func (c *Client) TrackedEntitiesByID(ctx context.Context, uids []string, lookup Lookup) iter.Seq2[*TrackedEntity, error] {
	return lookupOf[TrackedEntity](ctx, c, listTrackedEntities, uids, lookup, TrackedEntityFields, nil)
}

// EnrollmentsByID does the same for enrollments.
func (c *Client) EnrollmentsByID(ctx context.Context, uids []string, lookup Lookup) iter.Seq2[*Enrollment, error] {
	return lookupOf[Enrollment](ctx, c, listEnrollments, uids, lookup, EnrollmentFields, c.programRequired("enrollments", lookup.Program))
}

// EventsByID does the same for events.
func (c *Client) EventsByID(ctx context.Context, uids []string, lookup Lookup) iter.Seq2[*Event, error] {
	return lookupOf[Event](ctx, c, listEvents, uids, lookup, EventFields, c.programRequired("events", lookup.Program))
}

// TrackedEntity reads one; NotFound tells that there is none, or a deleted one. Lookup.IncludeDeleted has no
// effect here.
func (c *Client) TrackedEntity(ctx context.Context, uid string, lookup Lookup) (*TrackedEntity, error) {
	return oneOf[TrackedEntity](ctx, c, listTrackedEntities, uid, lookup, TrackedEntityFields, KindTrackedEntity, func(e *TrackedEntity) string { return e.TrackedEntity })
}

// Enrollment reads one, as TrackedEntity does.
func (c *Client) Enrollment(ctx context.Context, uid string, lookup Lookup) (*Enrollment, error) {
	return oneOf[Enrollment](ctx, c, listEnrollments, uid, lookup, EnrollmentFields, KindEnrollment, func(e *Enrollment) string { return e.Enrollment })
}

// Event reads one, as TrackedEntity does.
func (c *Client) Event(ctx context.Context, uid string, lookup Lookup) (*Event, error) {
	return oneOf[Event](ctx, c, listEvents, uid, lookup, EventFields, KindEvent, func(e *Event) string { return e.Event })
}

// Relationship reads one, as TrackedEntity does.
func (c *Client) Relationship(ctx context.Context, uid string, lookup Lookup) (*Relationship, error) {
	return oneOf[Relationship](ctx, c, listRelationships, uid, lookup, RelationshipFields, KindRelationship, func(r *Relationship) string { return r.Relationship })
}

// oneOf reads one object. An answer that does not name it is none, though its status be 200: it may be an error, by whatever
// stands before the server. uidOf is what an answer names; where other fields than that were asked for it is not looked at.
func oneOf[T any](ctx context.Context, c *Client, list, uid string, lookup Lookup, fields string, kind Kind, uidOf func(*T) string) (*T, error) {
	if !ValidUID(uid) {
		return nil, fmt.Errorf("%s: %q is not a uid", list, uid)
	}
	values := parameters{}
	values.set("fields", cmp.Or(lookup.Fields, fields))
	if list == listTrackedEntities {
		values.set("program", lookup.Program)
	}
	item := new(T)
	path := trackerPath + "/" + list + "/" + uid
	if err := c.getJSON(ctx, path, url.Values(values), item); err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(values["fields"][0], ",")
	asked := strings.EqualFold(first, strings.ReplaceAll(string(kind), "_", ""))
	if named := uidOf(item); named != uid && (named != "" || asked) {
		return nil, fmt.Errorf("GET %s: %w: it names %q", path, errFormat, named)
	}
	return item, nil
}

// lookupOf asks for uids in chunks; a chunk that the server cannot answer is halved.
func lookupOf[T any](ctx context.Context, c *Client, list string, uids []string, lookup Lookup, fields string, err error) iter.Seq2[*T, error] {
	for _, uid := range uids {
		if err == nil && !ValidUID(uid) {
			err = fmt.Errorf("%s: %q is not a uid", list, uid)
		}
	}
	if err != nil {
		return func(yield func(*T, error) bool) { yield(nil, err) }
	}
	var ask func(ctx context.Context, chunk []string) ([]*T, error)
	ask = func(ctx context.Context, chunk []string) ([]*T, error) {
		values := parameters{}
		values.setList(list, chunk) // the parameter is named after the list
		values.set("program", lookup.Program)
		values.set("fields", cmp.Or(lookup.Fields, fields))
		values.includeDeleted(lookup.IncludeDeleted)
		values.set("page", "1")
		values.set("pageSize", strconv.Itoa(len(chunk))) // DHIS2 pages by 50 even here
		r := &request{method: http.MethodGet, path: trackerPath + "/" + list, query: url.Values(values), once: len(chunk) > 1}
		items, err := listOf[T](ctx, c, r, list, len(chunk), nil)
		if err == nil || len(chunk) == 1 || !tooMuch(err) {
			return items, err
		}
		if c.options.Sleep(ctx, backoff(1)) != nil {
			return nil, err
		}
		first, err := ask(ctx, chunk[:len(chunk)/2])
		if err != nil {
			return nil, err
		}
		rest, err := ask(ctx, chunk[len(chunk)/2:])
		return append(first, rest...), err
	}
	chunks := slices.Collect(slices.Chunk(uids, lookupSize))
	ahead := func(int, Page[*T]) int { return c.options.Parallel }
	answers := ordered(ctx, ahead, func(ctx context.Context, index int) (Page[*T], error) {
		if index >= len(chunks) {
			return Page[*T]{}, errEnd
		}
		items, err := ask(ctx, chunks[index])
		return Page[*T]{Number: index + 1, Items: items}, err
	})
	return itemsOf(answers)
}

// defaults are what a query falls back to.
type defaults struct {
	fields string
	size   int
	order  string
}

func readerOf[T any](c *Client, list string, values parameters, paging Paging, d defaults, err error) reader[T] {
	values.set("fields", cmp.Or(paging.Fields, d.fields))
	values.set("order", cmp.Or(paging.Order, d.order))
	size := paging.PageSize
	if size <= 0 {
		size = d.size
	}
	return reader[T]{
		client: c, path: trackerPath + "/" + list, list: list, query: url.Values(values),
		first: max(1, paging.Page), size: size, many: paging.Page > 0, err: err,
	}
}

// enrollmentStatusParameter is named differently in DHIS2 2.41, and what a version does not know it ignores.
func (c *Client) enrollmentStatusParameter() string {
	if c.info.Version.Minor >= 42 {
		return "enrollmentStatus"
	}
	return "programStatus"
}

// programRequired is the error of a list that DHIS2 2.43 gives for a program only.
func (c *Client) programRequired(list, program string) error {
	if c.info.Version.Minor >= 43 && program == "" {
		return fmt.Errorf("%s: DHIS2 %s lists them for one program at a time, and none is given", list, c.info.Version)
	}
	return nil
}

// parameters are a query under construction; what is empty is left out.
type parameters url.Values

func (p parameters) set(name, value string) {
	if value != "" {
		url.Values(p).Set(name, value)
	}
}

func (p parameters) setList(name string, values []string) { p.set(name, strings.Join(values, ",")) }

func (p parameters) setBool(name string, value *bool) {
	if value != nil {
		p.set(name, strconv.FormatBool(*value))
	}
}

func (p parameters) add(name string, values []string) {
	for _, value := range values {
		url.Values(p).Add(name, value)
	}
}

func (p parameters) filters(filters []string) { p.add("filter", filters) }

func (p parameters) orgUnits(uids []string, mode string) {
	p.setList("orgUnits", uids)
	p.set("orgUnitMode", mode)
}

func (p parameters) includeDeleted(include bool) {
	if include {
		p.set("includeDeleted", "true")
	}
}

// ValidUID tells whether s is a DHIS2 uid: a letter and ten letters or digits. A malformed one anywhere in an
// import makes DHIS2 refuse the whole of it.
func ValidUID(s string) bool {
	if len(s) != 11 {
		return false
	}
	for i := range len(s) {
		letter := s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z'
		if !letter && (i == 0 || s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}
