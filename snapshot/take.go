package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// partTrackedEntities and partEvents are how many objects make a part of their kind: what an interrupted take
// asks for again at most.
const (
	partTrackedEntities = 2000
	partEvents          = 10_000
	// partRows is the number of rows after which a receipt is written even when few of them were kept.
	partRows = 10_000
)

// TakeOptions bend Take.
type TakeOptions struct {
	// Progress, unless nil, is told how far things are, from the goroutine that called Take.
	Progress func(Progress)
	// Warn, unless nil, is told what was left out and why: a SearchScopeError where tracked entities without
	// any enrollment cannot be listed. Without it such an error ends Take.
	Warn func(error)
	// PageSize is the number of tracked entities a request; 500 when zero.
	PageSize int
	// IncludeDeleted brings tombstones along.
	IncludeDeleted bool
	// Before, unless nil, is the snapshot of the trip before, from the same server: what has not changed there since is
	// copied from its taken face. Nil asks for everything.
	Before *Snapshot
	// Settled, unless nil, is called whenever all that was asked for so far is durable.
	Settled func() error
	// Mentioned, unless nil, is told of every org unit that a record names, once: also of those outside the scope,
	// and of those that earlier runs met.
	Mentioned func(orgUnit string)
	// partSize replaces the number of objects a part in tests.
	partSize int
}

// Progress is how far one stream of a face is.
type Progress struct {
	Face Face
	Kind Kind
	Subject
	// Name is the name of the program, tracked entity type or data set.
	Name string
	// Done counts the objects that were read of this stream, those of earlier runs included where known.
	Done int64
	// Total is how many there are at the server; 0 where it is not known.
	Total int64
	// Bytes is the size of the whole face as stored so far.
	Bytes int64
}

// Take reads what the writer's scope holds from a server into the writer's face: tracked entities with
// enrollments, events and notes, program by program; tracked entities without any enrollment; events of
// programs without registration; relationships, and the tracked entities at their other ends; data values and completions. The taken face is bounded by
// the scope's since and lacks what central marked skipSynchronization, the loaded one does not (see Listing).
// What an earlier run made durable is not asked for again. It does not finish the face: more may belong to it,
// such as the metadata.
//
// With TakeOptions.Before only changes are asked for, and the result is what it is without: of each stream the uids
// are listed with what tells when a record changes, what is as it was is copied, the rest is asked for by uid, and
// what is not listed is gone. A stream is read whole where that snapshot lacks it, and where anything else that
// decides what is shown of a record has changed: the account and its rights, the version of the server, the date of
// the scope, attributes, stages, data elements and who may see them, what never travels. A record is asked for
// although it seems unchanged when it names an org unit that left the scope's tree, or when one of its events is
// assigned to somebody who is called otherwise now.
//
// What tells a change, as observed on DHIS2 2.42.5.2 and 2.43.1:
//
//	change                                             seen in updatedAt of the tracked entity
//	attribute, org unit, geometry, inactive            yes
//	enrollment made, changed, deleted                  yes
//	event made, changed, deleted                       yes
//	note in an import                                  yes
//	note by /enrollments/UID/note, /events/UID/note    no, nor in any other time: the number of notes is listed
//	relationship that begins at a tracked entity,      yes; of it alone, and with a bidirectional one of both
//	  made or deleted, also with the other end
//	relationship that begins at an enrollment or event no: their uids are listed, where there are such types
//	ownership transferred                              yes, though nothing in the source asks for it: owners are listed
//	marked as a potential duplicate                    no; it is not content
//	the same imported again                            yes
//
// An event without registration has a time of its own, to which the same applies. Data values are asked for by their
// time, from some hours before the take before began, with those deleted since; one that was deleted and purged from
// the database in between leaves no trace and stays.
//
// Errors are the client's, with what was read; the writer stays fit for another Take.
func Take(ctx context.Context, source *dhis2api.Client, w *Writer, o TakeOptions) error {
	t := &taking{
		w: w, options: o, client: source,
		listing:  Listing{Client: source, Scope: w.Scope(), IncludeDeleted: o.IncludeDeleted, PageSize: o.PageSize},
		everyone: newUIDSet(), relations: newUIDSet(), programs: map[string]*uidSet{},
	}
	if w.Face() == Taken {
		t.listing.WithoutUnsynchronized = true
		t.listing.Since = w.Scope().Wanted.Since
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	if o.Mentioned != nil {
		var err error
		if t.mentions, err = newMentions(ctx, source, o.Mentioned); err != nil {
			return err
		}
	}
	if err := t.recall(ctx); err != nil {
		return fmt.Errorf("cannot go on with the snapshot: %w", err)
	}
	t.receipts = len(w.history)
	for _, program := range w.Scope().Programs {
		var err error
		if program.Registers() {
			err = t.trackedEntities(ctx, program)
		} else {
			err = t.events(ctx, program)
		}
		if err := t.settle(err); err != nil {
			return err
		}
	}
	for _, kind := range w.Scope().TrackedEntityTypes {
		if err := t.settle(t.unenrolled(ctx, kind)); err != nil {
			return err
		}
	}
	if err := t.settle(t.others(ctx)); err != nil {
		return err
	}
	for _, dataSet := range w.Scope().DataSets {
		if err := t.settle(t.aggregate(ctx, dataSet)); err != nil {
			return err
		}
	}
	return nil
}

// settle ends a stream. One that an earlier run has ended settles nothing: what was asked for since may belong to the
// next.
func (t *taking) settle(err error) error {
	if err != nil || t.options.Settled == nil || len(t.w.history) == t.receipts {
		return err
	}
	t.receipts = len(t.w.history)
	return t.options.Settled()
}

// look finds out what central shows today and what it showed before. The loaded face needs neither.
func (t *taking) look(ctx context.Context) error {
	if t.w.Face() != Taken {
		return nil
	}
	now, err := takeView(ctx, t.client, t.w)
	if err != nil {
		return err
	}
	t.listing.enrollmentTies, t.listing.eventTies = now.Enrollments, now.Events
	t.possible = now.Ties
	t.before, err = openBefore(ctx, t.options.Before, now)
	var damaged *DamagedError
	if errors.As(err, &damaged) && t.options.Warn != nil {
		t.options.Warn(fmt.Errorf("everything is asked for again: the trip before: %w", err))
		return nil
	}
	return err
}

// taking is one run of Take.
type taking struct {
	w       *Writer
	options TakeOptions
	client  *dhis2api.Client
	listing Listing
	// everyone are the tracked entities known to be in a program of the scope; relations the relationships
	// written; programs what was written of each program.
	everyone, relations *uidSet
	programs            map[string]*uidSet
	// possible are the types of relationships that are taken; nil takes all.
	possible map[string]bool
	// mentions is nil where nobody wants to know.
	mentions *mentions
	// before is nil where everything is asked for.
	before *before
	// receipts is how many there were when a stream ended last.
	receipts int
}

// recall learns from the parts of earlier runs what is written already.
func (t *taking) recall(ctx context.Context) error {
	for _, part := range t.w.parts {
		if err := t.recallMentions(ctx, part); err != nil {
			return err
		}
		var seen *uidSet
		switch part.Kind {
		case TrackedEntities, Events, Beyond:
			seen = t.seen(part.UID())
		case Relationships:
			seen = t.relations
		default:
			continue
		}
		for object, err := range eachLine[struct{ TrackedEntity, Event, Relationship string }](ctx, t.w.directory, t.w.keys, part) {
			if err != nil {
				return err
			}
			switch part.Kind {
			case TrackedEntities, Beyond:
				seen.add(object.TrackedEntity)
				t.everyone.add(object.TrackedEntity)
			case Events:
				seen.add(object.Event)
			default:
				seen.add(object.Relationship)
			}
		}
	}
	return nil
}

// recallMentions finds the org units that a part's records name.
func (t *taking) recallMentions(ctx context.Context, part Part) error {
	if t.mentions == nil {
		return nil
	}
	var err error
	switch part.Kind {
	case TrackedEntities:
		err = findMentions[dhis2api.TrackedEntity](ctx, t, part)
	case Events:
		err = findMentions[dhis2api.Event](ctx, t, part)
	case DataValues:
		err = findMentions[dhis2api.DataValue](ctx, t, part)
	}
	return err
}

func findMentions[T any](ctx context.Context, t *taking, part Part) error {
	for object, err := range eachLine[*T](ctx, t.w.directory, t.w.keys, part) {
		if err != nil {
			return err
		}
		t.mentions.in(object)
	}
	return nil
}

// mention finds the org units that a record names.
func (t *taking) mention(object any) {
	if t.mentions != nil {
		t.mentions.in(object)
	}
}

func (t *taking) seen(subject string) *uidSet {
	if t.programs[subject] == nil {
		t.programs[subject] = newUIDSet()
	}
	return t.programs[subject]
}

// report tells how far a stream is.
func (t *taking) report(p Progress) {
	if t.options.Progress == nil {
		return
	}
	p.Face = t.w.face
	for _, part := range t.w.parts {
		p.Bytes += part.Bytes
	}
	t.options.Progress(p)
}

func (t *taking) trackedEntities(ctx context.Context, program Program) error {
	subject := Subject{Program: program.ID}
	s := stream[*dhis2api.TrackedEntity]{
		taking: t, name: string(TrackedEntities) + "-" + program.ID, subject: subject, kind: TrackedEntities, size: cmp.Or(t.options.partSize, partTrackedEntities),
		question: t.listing.trackedEntities(program), detach: DetachRelationships, seen: t.seen(program.ID),
		progress: Progress{Kind: TrackedEntities, Subject: subject, Name: program.Name}, likeness: t.entityLikeness(),
		total: func() int64 {
			return t.total(ctx, "trackedEntities", url.Values{
				"program": {program.ID}, "orgUnits": {strings.Join(t.w.Scope().Roots(), ",")}, "fields": {"trackedEntity"},
			})
		},
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	t.everyone.addAll(s.seen)
	delete(t.programs, program.ID)
	return nil
}

func (t *taking) events(ctx context.Context, program Program) error {
	subject := Subject{Program: program.ID}
	for _, root := range t.w.Scope().OrgUnits {
		s := stream[*dhis2api.Event]{
			taking: t, name: string(Events) + "-" + program.ID + "-" + root.ID, subject: subject, kind: Events, size: cmp.Or(t.options.partSize, partEvents),
			question: t.listing.events(program, root), detach: detachEvent, seen: t.seen(program.ID),
			progress: Progress{Kind: Events, Subject: subject, Name: program.Name}, likeness: t.eventLikeness(),
			total: func() int64 {
				query := url.Values{"program": {program.ID}, "orgUnit": {root.ID}, "fields": {"event"}}
				if t.listing.Since != "" {
					query.Set("occurredAfter", t.listing.Since)
				}
				return t.total(ctx, "events", query)
			},
		}
		if err := s.take(ctx); err != nil {
			return err
		}
	}
	delete(t.programs, program.ID)
	return nil
}

// total asks how many rows a list has; 0 where the server does not say. It is for the eye only, so an error
// is no more than that: the list itself will meet it again.
func (t *taking) total(ctx context.Context, resource string, query url.Values) int64 {
	if t.options.Progress == nil {
		return 0
	}
	query.Set("orgUnitMode", dhis2api.OrgUnitModeDescendants)
	query.Set("pageSize", "1")
	query.Set("totalPages", "true")
	var answer struct{ Pager struct{ Total int64 } }
	if err := t.client.Do(ctx, "GET", "/api/tracker/"+resource, query, nil, &answer); err != nil {
		return 0
	}
	return answer.Pager.Total
}

// stream is a question whose answers become parts.
type stream[T any] struct {
	taking   *taking
	name     string
	kind     Kind
	subject  Subject
	size     int
	question question[T]
	detach   func(T) []*dhis2api.Relationship
	seen     *uidSet
	progress Progress
	total    func() int64
	likeness likeness[T]
}

func (s stream[T]) take(ctx context.Context) error {
	w := s.taking.w
	cursor, done := w.Cursor(s.name)
	if done {
		return nil
	}
	if s.byChanges(cursor) {
		return s.takeChanges(ctx)
	}
	if strings.HasPrefix(cursor, changedCursor) {
		cursor = "" // the snapshot before is not at hand any more
	}
	s.progress.Total = s.total()
	s.progress.Done = int64(s.seen.size())
	s.taking.report(s.progress)
	batch := w.Batch(s.name)
	defer func() { batch.Abandon() }()
	kept, read := 0, 0
	for piece, err := range s.question.ask(ctx, cursor, s.seen) {
		if err != nil {
			return err
		}
		for _, object := range piece.items {
			if err := s.add(batch, object); err != nil {
				return err
			}
		}
		for _, beyond := range piece.beyond {
			if err := batch.Add(Beyond, s.subject, beyond); err != nil {
				return err
			}
		}
		kept, read, cursor = kept+len(piece.items), read+piece.read, piece.cursor
		s.progress.Done += int64(piece.read)
		if kept >= s.size || read >= partRows {
			if err := batch.Commit(cursor, false); err != nil {
				return err
			}
			batch = w.Batch(s.name)
			kept, read = 0, 0
		}
		s.taking.report(s.progress)
	}
	if err := batch.Commit("", true); err != nil {
		return err
	}
	s.taking.report(s.progress)
	return nil
}

func (s stream[T]) add(batch *Batch, object T) error {
	related := s.detach(object)
	s.taking.mention(object)
	if err := batch.Add(s.kind, s.subject, object); err != nil {
		return err
	}
	return s.taking.relate(batch, related)
}

// relate writes the relationships that are not written yet.
func (t *taking) relate(batch *Batch, related []*dhis2api.Relationship) error {
	for _, r := range related {
		if !t.takes(r) || !t.relations.add(r.Relationship) {
			continue
		}
		if err := batch.Add(Relationships, Subject{}, r); err != nil {
			return err
		}
	}
	return nil
}

func (t *taking) unenrolled(ctx context.Context, kind TrackedEntityType) (err error) {
	subject := Subject{TrackedEntityType: kind.ID}
	name := string(TrackedEntities) + "-" + kind.ID
	if _, done := t.w.Cursor(name); done {
		return nil
	}
	progress := Progress{Kind: TrackedEntities, Subject: subject, Name: kind.Name}
	var known func(*dhis2api.TrackedEntity) (bool, error)
	unchanged := newUIDSet()
	if t.before.serves(subject) {
		var then *stamps
		if then, err = newStamps(ctx, t.w.directory); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, then.close()) }()
		if err := t.unenrolledBefore(ctx, subject, then); err != nil {
			return err
		}
		known = func(e *dhis2api.TrackedEntity) (bool, error) {
			was, there, err := then.of(ctx, e.TrackedEntity)
			alike := there && was == t.before.markOf(e, false)
			if alike {
				unchanged.add(e.TrackedEntity)
			}
			return alike, err
		}
	}
	batch := t.w.Batch(name)
	defer batch.Abandon()
	for person, err := range t.listing.unenrolled(ctx, kind, t.everyone, known) {
		var refused *SearchScopeError
		if errors.As(err, &refused) && t.options.Warn != nil {
			t.options.Warn(err)
			unchanged = newUIDSet()
			break
		}
		if err != nil {
			return err
		}
		related := DetachRelationships(person)
		if t.w.Face() == Taken {
			person.ProgramOwners = nil // of enrollments that are deleted: nobody can be given an owner without one
		}
		t.mention(person)
		if err := batch.Add(TrackedEntities, subject, person); err != nil {
			return err
		}
		if err := t.relate(batch, related); err != nil {
			return err
		}
		progress.Done++
	}
	if known != nil {
		batch.source, batch.whole = name, t.before.cost(name)
		if err := t.copyUnenrolled(ctx, batch, subject, unchanged); err != nil {
			return err
		}
	}
	if err := batch.Commit("", true); err != nil {
		return err
	}
	t.report(progress)
	return nil
}
