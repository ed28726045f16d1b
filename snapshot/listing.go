package snapshot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// Listing reads what a scope holds from one server, central or the kit's, object by object and in flat
// memory. The zero values of its options read everything that is live.
type Listing struct {
	Client *dhis2api.Client
	Scope  *Scope
	// Since bounds history as Wanted.Since says; empty: no bound. The kit is read without: a visit of long
	// ago that was entered there today must come home.
	Since string
	// IncludeDeleted brings the tombstones of tracked entities, enrollments, events and data values along.
	IncludeDeleted bool
	// PageSize is the number of tracked entities a request; 500 when zero.
	PageSize int
	// WithoutUnsynchronized leaves out the values that never travel. Central is read so; the kit is not, for
	// what was entered there is a change, if one out of scope.
	WithoutUnsynchronized bool
	// enrollmentTies and eventTies tell whether a list of changes shows the relationships that begin there.
	enrollmentTies, eventTies bool
	// changedSince, unless empty, leaves out the data values that were written before it: a time in the server's zone.
	changedSince string
}

// tiesFields are the relationships in a list of changes.
const tiesFields = ",relationships[relationship]"

// noteCount is what a list of changes shows of notes. They are only ever added, so their number tells; their uids would
// make up a fifth of a list that is compressed.
const noteCount = "notes::size"

// eventChanges is what a list of changes shows of an event besides its times.
func (l Listing) eventChanges() string {
	fields := noteCount
	if l.eventTies {
		fields += tiesFields
	}
	return fields
}

// entityChanges is what a list of changes shows of a tracked entity; see Take.
func (l Listing) entityChanges() string {
	enrollment := noteCount + ",events[" + l.eventChanges() + "]"
	if l.enrollmentTies {
		enrollment += tiesFields
	}
	return entityTimes + ",enrollments[" + enrollment + "]"
}

// entityTimes is what a list of changes shows of the tracked entity itself.
const entityTimes = "trackedEntity,updatedAt,programOwners[orgUnit]"

// reducedEntity is a tracked entity as a list of changes shows it.
func reducedEntity(t *dhis2api.TrackedEntity) *dhis2api.TrackedEntity {
	notes := func(all []dhis2api.Note) []dhis2api.Note {
		var named []dhis2api.Note
		for _, note := range all {
			named = append(named, dhis2api.Note{Note: note.Note})
		}
		return named
	}
	r := &dhis2api.TrackedEntity{TrackedEntity: t.TrackedEntity, UpdatedAt: t.UpdatedAt, ProgramOwners: t.ProgramOwners}
	for _, enrollment := range t.Enrollments {
		e := &dhis2api.Enrollment{Notes: notes(enrollment.Notes)}
		for _, event := range enrollment.Events {
			e.Notes = append(e.Notes, notes(event.Notes)...)
		}
		if len(e.Notes) > 0 {
			r.Enrollments = append(r.Enrollments, e)
		}
	}
	return r
}

// belongs trims a tracked entity to what is wanted of it, and tells whether it is wanted at all.
func (l Listing) belongs(t *dhis2api.TrackedEntity) bool {
	if l.WithoutUnsynchronized {
		l.Scope.Unsynchronized.strip(t)
	}
	return l.Since == "" || boundHistory(t, l.Since)
}

// Found is one object of a Listing: exactly one of the pointers is set, that of Kind.
type Found struct {
	Kind Kind
	Subject
	TrackedEntity *dhis2api.TrackedEntity
	Event         *dhis2api.Event
	Relationship  *dhis2api.Relationship
	DataValue     *dhis2api.DataValue
	Completion    *dhis2api.Completion
}

// All reads everything of the scope: program by program, then tracked entities without enrollment, then those at the
// other ends of relationships, then data set by data set. A tracked entity comes once for each of its programs in scope, with that program's
// attributes (besides its type's) and enrollments: merge by uid. Relationships come on their own, each once,
// and not inside other objects. A value whose data element is in two data sets comes twice. An error ends
// the sequence; what the account may not list without search attributes is a SearchScopeError.
func (l Listing) All(ctx context.Context) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		relations := newUIDSet()
		everyone := newUIDSet()
		tied := newUIDSet()
		ok := true
		emit := func(found Found, related []*dhis2api.Relationship) bool {
			ok = yield(found, nil)
			for _, r := range related {
				if ok && relations.add(r.Relationship) {
					for uid := range entitiesTied(r) {
						tied.add(uid)
					}
					ok = yield(Found{Kind: Relationships, Relationship: r}, nil)
				}
			}
			return ok
		}
		stop := func(err error) bool {
			if err != nil {
				yield(Found{}, err)
			}
			return err != nil || !ok
		}
		for _, program := range l.Scope.Programs {
			var err error
			if program.Registers() {
				err = l.allTrackedEntities(ctx, program, everyone, emit)
			} else {
				err = l.allEvents(ctx, program, emit)
			}
			if stop(err) {
				return
			}
		}
		for _, kind := range l.Scope.TrackedEntityTypes {
			if stop(l.allUnenrolled(ctx, kind, everyone, emit)) {
				return
			}
		}
		if stop(l.allOthers(ctx, tied, everyone, emit)) {
			return
		}
		for _, dataSet := range l.Scope.DataSets {
			if stop(l.allAggregate(ctx, dataSet, emit)) {
				return
			}
		}
	}
}

type emitter func(Found, []*dhis2api.Relationship) bool

func (l Listing) allTrackedEntities(ctx context.Context, program Program, everyone *uidSet, emit emitter) error {
	seen := newUIDSet()
	for piece, err := range l.trackedEntities(program).ask(ctx, "", seen) {
		if err != nil {
			return err
		}
		for _, t := range piece.items {
			related := DetachRelationships(t)
			if !emit(Found{Kind: TrackedEntities, Subject: Subject{Program: program.ID}, TrackedEntity: t}, related) {
				return nil
			}
		}
	}
	everyone.addAll(seen)
	return nil
}

func (l Listing) allUnenrolled(ctx context.Context, kind TrackedEntityType, everyone *uidSet, emit emitter) error {
	for t, err := range l.unenrolled(ctx, kind, everyone, nil) {
		if err != nil {
			return err
		}
		related := DetachRelationships(t)
		if !emit(Found{Kind: TrackedEntities, Subject: Subject{TrackedEntityType: kind.ID}, TrackedEntity: t}, related) {
			return nil
		}
	}
	return nil
}

// allOthers reads who is at the other ends of relationships, everyone else being read.
func (l Listing) allOthers(ctx context.Context, tied, everyone *uidSet, emit emitter) error {
	var uids []string
	for uid := range tied.all() {
		if !everyone.has(uid) {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	for t, err := range l.others(ctx, uids) {
		if err != nil {
			return err
		}
		if !emit(Found{Kind: TrackedEntities, Subject: Subject{TrackedEntityType: t.TrackedEntityType}, TrackedEntity: t}, nil) {
			return nil
		}
	}
	return nil
}

func (l Listing) allEvents(ctx context.Context, program Program, emit emitter) error {
	seen := newUIDSet()
	for _, root := range l.Scope.OrgUnits {
		for piece, err := range l.events(program, root).ask(ctx, "", seen) {
			if err != nil {
				return err
			}
			for _, e := range piece.items {
				related := detachEvent(e)
				if !emit(Found{Kind: Events, Subject: Subject{Program: program.ID}, Event: e}, related) {
					return nil
				}
			}
		}
	}
	return nil
}

func (l Listing) allAggregate(ctx context.Context, dataSet DataSet, emit emitter) error {
	subject := Subject{DataSet: dataSet.ID}
	for _, root := range l.Scope.OrgUnits {
		for v, err := range l.dataValues(ctx, dataSet, root) {
			if err != nil {
				return err
			}
			if !emit(Found{Kind: DataValues, Subject: subject, DataValue: v}, nil) {
				return nil
			}
		}
		for c, err := range l.completions(ctx, dataSet, root) {
			if err != nil {
				return err
			}
			if !emit(Found{Kind: Completions, Subject: subject, Completion: c}, nil) {
				return nil
			}
		}
	}
	return nil
}

// trackedEntities asks for those that the scope's org units own in a program, with their enrollments in it.
func (l Listing) trackedEntities(program Program) question[*dhis2api.TrackedEntity] {
	query := dhis2api.TrackedEntityQuery{
		Program: program.ID, OrgUnits: l.Scope.Roots(), OrgUnitMode: dhis2api.OrgUnitModeDescendants,
		IncludeDeleted: l.IncludeDeleted,
	}
	lookup := dhis2api.Lookup{Program: program.ID, IncludeDeleted: l.IncludeDeleted}
	list := func(fields string) func(context.Context, dhis2api.Paging) iter.Seq2[dhis2api.Page[*dhis2api.TrackedEntity], error] {
		return func(ctx context.Context, paging dhis2api.Paging) iter.Seq2[dhis2api.Page[*dhis2api.TrackedEntity], error] {
			query.Paging = paging
			query.Fields = fields
			lookup := lookup
			lookup.Fields = fields
			return l.orByEnrollment(ctx, l.Client.TrackedEntityPages(ctx, query), paging, lookup)
		}
	}
	var reduce func(*dhis2api.TrackedEntity) *dhis2api.TrackedEntity
	if l.Since != "" {
		reduce = reducedEntity
	}
	return question[*dhis2api.TrackedEntity]{
		about:       fmt.Sprintf("the tracked entities of program %s (%s)", program.Name, program.ID),
		pageSize:    l.pageSize(),
		uid:         func(t *dhis2api.TrackedEntity) string { return t.TrackedEntity },
		pages:       list(""),
		identifiers: list("trackedEntity"),
		changes:     list(l.entityChanges()),
		byID: func(ctx context.Context, uids []string) iter.Seq2[*dhis2api.TrackedEntity, error] {
			return l.byID(ctx, uids, lookup)
		},
		keep:   l.belongs,
		reduce: reduce,
	}
}

func (l Listing) pageSize() int {
	if l.PageSize > 0 {
		return l.PageSize
	}
	return nestedPage
}

// searchRefused tells whether a server refused to list without search attributes. DHIS2 2.41 to 2.43 answer
// 409 then, without a code.
func searchRefused(err error) bool {
	var status *dhis2api.StatusError
	return errors.As(err, &status) && status.Status == http.StatusConflict
}

// orByEnrollment yields the pages, or, where the server refuses them without search attributes, takes the way
// round: enrollments are listed without that rule, and tracked entities looked up by uid too.
func (l Listing) orByEnrollment(
	ctx context.Context, pages iter.Seq2[dhis2api.Page[*dhis2api.TrackedEntity], error], paging dhis2api.Paging, lookup dhis2api.Lookup,
) iter.Seq2[dhis2api.Page[*dhis2api.TrackedEntity], error] {
	return func(yield func(dhis2api.Page[*dhis2api.TrackedEntity], error) bool) {
		for page, err := range pages {
			if searchRefused(err) {
				l.byEnrollment(ctx, paging, lookup)(yield)
				return
			}
			if !yield(page, err) {
				return
			}
		}
	}
}

// byEnrollment yields, for each page of enrollments in a program, whom they are of; somebody enrolled twice
// may come twice.
func (l Listing) byEnrollment(
	ctx context.Context, paging dhis2api.Paging, lookup dhis2api.Lookup,
) iter.Seq2[dhis2api.Page[*dhis2api.TrackedEntity], error] {
	return func(yield func(dhis2api.Page[*dhis2api.TrackedEntity], error) bool) {
		query := dhis2api.EnrollmentQuery{
			Program: lookup.Program, OrgUnits: l.Scope.Roots(), OrgUnitMode: dhis2api.OrgUnitModeDescendants,
			IncludeDeleted: l.IncludeDeleted, Paging: paging,
		}
		query.Fields = "trackedEntity"
		for enrolled, err := range l.Client.EnrollmentPages(ctx, query) {
			page := dhis2api.Page[*dhis2api.TrackedEntity]{Number: enrolled.Number}
			if err != nil {
				yield(page, &SearchScopeError{Subject: lookup.Program, Err: err})
				return
			}
			var uids []string
			for _, enrollment := range enrolled.Items {
				uids = append(uids, enrollment.TrackedEntity)
			}
			slices.Sort(uids)
			for t, err := range l.byID(ctx, slices.Compact(uids), lookup) {
				if err != nil {
					yield(page, err)
					return
				}
				page.Items = append(page.Items, t)
			}
			if !yield(page, nil) {
				return
			}
		}
	}
}

// unenrolled reads the tracked entities of a type in the scope's org units that are in no program at all.
// Those in everyone are known to be in one. A type's tracked entities may be many and nearly all enrolled,
// in programs that the scope does not have: so uids come first, then who is enrolled, then the rest whole.
// Those of which known says so are left out; nil knows none.
func (l Listing) unenrolled(
	ctx context.Context, kind TrackedEntityType, everyone *uidSet, known func(*dhis2api.TrackedEntity) (bool, error),
) iter.Seq2[*dhis2api.TrackedEntity, error] {
	return func(yield func(*dhis2api.TrackedEntity, error) bool) {
		fail := func(err error) {
			yield(nil, fmt.Errorf("cannot read the tracked entities of type %s (%s) without enrollment: %w", kind.Name, kind.ID, err))
		}
		unknown, err := l.ofType(ctx, kind, everyone)
		if err != nil {
			fail(err)
			return
		}
		lookup := dhis2api.Lookup{Fields: "trackedEntity,enrollments[enrollment]", IncludeDeleted: l.IncludeDeleted}
		if known != nil {
			lookup.Fields = entityTimes + ",enrollments[enrollment]"
		}
		var without []string
		for t, err := range l.byID(ctx, unknown, lookup) {
			if err != nil {
				fail(err)
				return
			}
			if len(t.Enrollments) > 0 || !everyone.add(t.TrackedEntity) {
				continue
			}
			if known != nil {
				is, err := known(t)
				if err != nil {
					fail(err)
					return
				}
				if is {
					continue
				}
			}
			without = append(without, t.TrackedEntity)
		}
		for t, err := range l.byID(ctx, without, dhis2api.Lookup{IncludeDeleted: l.IncludeDeleted}) {
			if err != nil {
				fail(err)
				return
			}
			if l.WithoutUnsynchronized {
				l.Scope.Unsynchronized.strip(t)
			}
			if !yield(t, nil) {
				return
			}
		}
	}
}

// ofType are the uids of the tracked entities of a type in the scope's org units, but for those in everyone.
func (l Listing) ofType(ctx context.Context, kind TrackedEntityType, everyone *uidSet) ([]string, error) {
	query := dhis2api.TrackedEntityQuery{
		TrackedEntityType: kind.ID, OrgUnits: l.Scope.Roots(), OrgUnitMode: dhis2api.OrgUnitModeDescendants,
		IncludeDeleted: l.IncludeDeleted, Paging: dhis2api.Paging{Fields: "trackedEntity", PageSize: identifierPage},
	}
	var unknown []string
	for page, err := range l.Client.TrackedEntityPages(ctx, query) {
		if searchRefused(err) {
			err = &SearchScopeError{Subject: kind.ID, Err: err}
		}
		if err != nil {
			return nil, err
		}
		for _, t := range page.Items {
			if !everyone.has(t.TrackedEntity) {
				unknown = append(unknown, t.TrackedEntity)
			}
		}
	}
	return unknown, nil
}

func (l Listing) byID(ctx context.Context, uids []string, lookup dhis2api.Lookup) iter.Seq2[*dhis2api.TrackedEntity, error] {
	if len(uids) == 0 {
		return func(func(*dhis2api.TrackedEntity, error) bool) {}
	}
	return l.Client.TrackedEntitiesByID(ctx, uids, lookup)
}

// events asks for the events of a program without registration at and below one root: DHIS2 knows no list of
// org units there.
func (l Listing) events(program Program, root OrgUnit) question[*dhis2api.Event] {
	query := dhis2api.EventQuery{
		Program: program.ID, OrgUnit: root.ID, OrgUnitMode: dhis2api.OrgUnitModeDescendants,
		IncludeDeleted: l.IncludeDeleted, OccurredAfter: l.Since,
	}
	lookup := dhis2api.Lookup{Program: program.ID, IncludeDeleted: l.IncludeDeleted}
	pages := func(fields string) func(context.Context, dhis2api.Paging) iter.Seq2[dhis2api.Page[*dhis2api.Event], error] {
		return func(ctx context.Context, paging dhis2api.Paging) iter.Seq2[dhis2api.Page[*dhis2api.Event], error] {
			if len(program.Stages) == 0 { // then it has no events, and DHIS2 2.43.1 answers 500 when asked for them
				return func(func(dhis2api.Page[*dhis2api.Event], error) bool) {}
			}
			query.Paging = paging
			query.Fields = fields
			return l.Client.EventPages(ctx, query)
		}
	}
	return question[*dhis2api.Event]{
		about:       fmt.Sprintf("the events of program %s (%s)", program.Name, program.ID),
		pageSize:    flatPage,
		uid:         func(e *dhis2api.Event) string { return e.Event },
		pages:       pages(""),
		identifiers: pages("event"),
		changes:     pages("event,updatedAt," + l.eventChanges()),
		byID: func(ctx context.Context, uids []string) iter.Seq2[*dhis2api.Event, error] {
			return l.Client.EventsByID(ctx, uids, lookup)
		},
		keep: func(e *dhis2api.Event) bool {
			if l.WithoutUnsynchronized {
				l.Scope.Unsynchronized.stripEvent(e)
			}
			return true
		},
	}
}

// dataValues reads the values of a data set at and below one root.
func (l Listing) dataValues(ctx context.Context, dataSet DataSet, root OrgUnit) iter.Seq2[*dhis2api.DataValue, error] {
	query := dhis2api.DataValueQuery{
		DataSets: []string{dataSet.ID}, OrgUnits: []string{root.ID}, Children: true, IncludeDeleted: l.IncludeDeleted,
		StartDate: periodStart(dataSet.PeriodType, l.Since), EndDate: lastDate, LastUpdated: l.changedSince,
	}
	return explained(l.Client.DataValues(ctx, query), fmt.Sprintf("the values of data set %s (%s)", dataSet.Name, dataSet.ID))
}

// completions reads which forms of a data set are complete at and below one root.
func (l Listing) completions(ctx context.Context, dataSet DataSet, root OrgUnit) iter.Seq2[*dhis2api.Completion, error] {
	query := dhis2api.CompletionQuery{
		DataSets: []string{dataSet.ID}, OrgUnits: []string{root.ID}, Children: true,
		StartDate: periodStart(dataSet.PeriodType, l.Since), EndDate: lastDate,
	}
	return explained(l.Client.Completions(ctx, query), fmt.Sprintf("the completions of data set %s (%s)", dataSet.Name, dataSet.ID))
}

// explained says of an error what was read.
func explained[T any](sequence iter.Seq2[T, error], about string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for one, err := range sequence {
			if err != nil {
				yield(one, fmt.Errorf("cannot read %s: %w", about, err))
				return
			}
			if !yield(one, nil) {
				return
			}
		}
	}
}
