package snapshot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// changePage is how many records a page of changes lists: with notes and relationships the server reads much of
// each (DHIS2 2.42 and 2.43: a third of the time of the whole record, for a twentieth of the bytes).
const changePage = 2000

// changedCursor begins the cursors of a stream that is taken with the help of the snapshot before.
const changedCursor = "changed/"

// likeness is how the records of one kind are held against those of the snapshot before.
type likeness[T any] struct {
	// mark is of a record in a list of changes or, detached, of one in a snapshot.
	mark func(record T, detached bool) mark
	// current tells of one whose mark is the same whether all else is.
	current func(context.Context, T) (bool, error)
	// below are the uids of the record and of all in it.
	below func(T) iter.Seq[string]
}

func (t *taking) entityLikeness() likeness[*dhis2api.TrackedEntity] {
	return likeness[*dhis2api.TrackedEntity]{
		mark: func(e *dhis2api.TrackedEntity, detached bool) mark { return t.before.markOf(e, detached) },
		current: func(ctx context.Context, e *dhis2api.TrackedEntity) (bool, error) {
			return t.current(ctx, unitsNamed(e), assignedIn(eventsBelow(e)...))
		},
		below: belowEntity,
	}
}

func (t *taking) eventLikeness() likeness[*dhis2api.Event] {
	return likeness[*dhis2api.Event]{
		mark: func(e *dhis2api.Event, detached bool) mark { return t.before.markOfEvent(e, detached) },
		current: func(ctx context.Context, e *dhis2api.Event) (bool, error) {
			return t.current(ctx, slices.Values([]string{e.OrgUnit}), assignedIn(e))
		},
		below: func(e *dhis2api.Event) iter.Seq[string] { return slices.Values([]string{e.Event}) },
	}
}

// copyName is the stream of what is copied for another one.
func (s stream[T]) copyName() string { return s.name + copySuffix }

const copySuffix = "-before"

// byChanges tells whether the stream is taken with the help of the snapshot before. A stream goes on as it was begun.
func (s stream[T]) byChanges(cursor string) bool {
	if !s.taking.before.serves(s.subject) {
		return false
	}
	_, copied := s.taking.w.Cursor(s.copyName())
	return copied || cursor == "" || strings.HasPrefix(cursor, changedCursor)
}

// takeChanges lists the stream, copies what is as it was and asks for the rest by uid.
func (s stream[T]) takeChanges(ctx context.Context) (err error) {
	listed, err := newStamps(ctx, s.taking.w.directory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, listed.close()) }()
	pages, err := s.list(ctx, listed)
	if err != nil {
		return fmt.Errorf("cannot read the changes of %s: %w", s.question.about, err)
	}
	s.progress.Total = listed.size
	if err := s.copyUnchanged(ctx, listed); err != nil {
		return err
	}
	s.progress.Done = int64(s.seen.size())
	s.taking.report(s.progress)
	if err := s.fetchRest(ctx, listed); err != nil {
		return err
	}
	batch := s.taking.w.Batch(s.name)
	defer batch.Abandon()
	if pages > 1 {
		// Between two pages of the list others may have slipped through, as in question.ask.
		missed, err := s.question.missed(ctx, s.seen)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", s.question.about, err)
		}
		if err := s.fetch(ctx, batch, missed); err != nil {
			return err
		}
	}
	if err := batch.Commit("", true); err != nil {
		return err
	}
	s.taking.report(s.progress)
	return nil
}

// list reads the marks of the whole stream, and says how many pages that took.
func (s stream[T]) list(ctx context.Context, listed *stamps) (pages int, err error) {
	for page, err := range s.question.changes(ctx, dhis2api.Paging{PageSize: changePage, Page: 1}) {
		if err != nil {
			return 0, err
		}
		for _, item := range page.Items {
			if err := listed.add(ctx, s.question.uid(item), s.likeness.mark(item, false)); err != nil {
				return 0, err
			}
		}
		pages++
	}
	return pages, listed.sort(ctx)
}

// fetchRest asks for what is listed and not written, by this run or an earlier one.
func (s stream[T]) fetchRest(ctx context.Context, listed *stamps) error {
	var rest []string
	asked := 0
	fetch := func() error {
		if len(rest) == 0 {
			return nil
		}
		batch := s.taking.w.Batch(s.name)
		if err := s.fetch(ctx, batch, rest); err != nil {
			return err
		}
		asked += len(rest)
		rest = rest[:0]
		return batch.Commit(fmt.Sprint(changedCursor, asked), false)
	}
	for uid, err := range listed.uids(ctx) {
		if err != nil {
			return err
		}
		if s.seen.has(uid) {
			continue
		}
		if rest = append(rest, uid); len(rest) == s.size {
			if err := fetch(); err != nil {
				return err
			}
		}
	}
	return fetch()
}

// copyUnchanged copies out of the snapshot before what the list shows as it was, with its relationships, unless an
// earlier run did.
func (s stream[T]) copyUnchanged(ctx context.Context, listed *stamps) error {
	t := s.taking
	if _, done := t.w.Cursor(s.copyName()); done {
		return nil
	}
	batch := t.w.Batch(s.copyName())
	defer batch.Abandon()
	for _, part := range t.before.parts(s.kind, s.subject) {
		for object, err := range Each[T](ctx, t.before.snapshot, part) {
			if err != nil {
				return err
			}
			uid := s.question.uid(object)
			there, known, err := listed.of(ctx, uid)
			if err != nil {
				return err
			}
			if !known || there != s.likeness.mark(object, true) || s.seen.has(uid) {
				continue
			}
			current, err := s.likeness.current(ctx, object)
			if err != nil {
				return err
			}
			if !current {
				continue
			}
			s.seen.add(uid)
			t.before.keepTies(s.likeness.below(object))
			t.mention(object)
			if err := batch.Copy(s.kind, s.subject, object); err != nil {
				return err
			}
		}
	}
	if err := s.copyBeyond(ctx, batch, listed); err != nil {
		return err
	}
	if err := t.copyTies(ctx, batch); err != nil {
		return err
	}
	batch.source, batch.whole = s.name, t.before.cost(s.name)
	return batch.Commit("", true)
}

// copyBeyond copies of what the date of the scope leaves out that it does, so that it is not asked for again.
func (s stream[T]) copyBeyond(ctx context.Context, batch *Batch, listed *stamps) error {
	for _, part := range s.taking.before.parts(Beyond, s.subject) {
		for object, err := range Each[T](ctx, s.taking.before.snapshot, part) {
			if err != nil {
				return err
			}
			uid := s.question.uid(object)
			there, known, err := listed.of(ctx, uid)
			if err != nil {
				return err
			}
			// Relationships do not matter: those of what is left out are left out.
			if !known || there.base != s.likeness.mark(object, true).base || s.seen.has(uid) {
				continue
			}
			s.seen.add(uid)
			if err := batch.Add(Beyond, s.subject, object); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyTies copies the relationships of what was copied that are not written yet.
func (t *taking) copyTies(ctx context.Context, batch *Batch) error {
	for r, err := range t.before.keptTies(ctx) {
		if err != nil {
			return err
		}
		if !t.takes(r) || !t.relations.add(r.Relationship) {
			continue
		}
		if err := batch.Copy(Relationships, Subject{}, r); err != nil {
			return err
		}
	}
	return nil
}

// fetch writes what the uids name, so far as it was not seen.
func (s stream[T]) fetch(ctx context.Context, batch *Batch, uids []string) error {
	for item, err := range s.question.fetch(ctx, uids) {
		if err != nil {
			batch.Abandon()
			return fmt.Errorf("cannot read %s: %w", s.question.about, err)
		}
		s.progress.Done++
		if !s.seen.add(s.question.uid(item)) {
			continue
		}
		if kept, left := s.question.keeps(item); kept {
			err = s.add(batch, item)
		} else {
			err = batch.Add(Beyond, s.subject, left)
		}
		if err != nil {
			batch.Abandon()
			return err
		}
	}
	s.taking.report(s.progress)
	return nil
}

// unenrolledBefore are the marks of the tracked entities of a type that were without any enrollment before.
func (t *taking) unenrolledBefore(ctx context.Context, subject Subject, then *stamps) error {
	likeness := t.entityLikeness()
	for _, part := range t.before.parts(TrackedEntities, subject) {
		for e, err := range t.before.snapshot.TrackedEntities(ctx, part) {
			if err != nil {
				return err
			}
			current, err := likeness.current(ctx, e)
			if err != nil {
				return err
			}
			if !current {
				continue
			}
			if err := then.add(ctx, e.TrackedEntity, likeness.mark(e, true)); err != nil {
				return err
			}
		}
	}
	return then.sort(ctx)
}

// copyUnenrolled copies those that are unchanged.
func (t *taking) copyUnenrolled(ctx context.Context, batch *Batch, subject Subject, unchanged *uidSet) error {
	for _, part := range t.before.parts(TrackedEntities, subject) {
		for e, err := range t.before.snapshot.TrackedEntities(ctx, part) {
			if err != nil {
				return err
			}
			if !unchanged.has(e.TrackedEntity) {
				continue
			}
			t.before.keepTies(belowEntity(e))
			t.mention(e)
			if err := batch.Copy(TrackedEntities, subject, e); err != nil {
				return err
			}
		}
	}
	return t.copyTies(ctx, batch)
}
