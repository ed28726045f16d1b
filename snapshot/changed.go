package snapshot

import (
	"bytes"
	"context"
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

// stamp is what is kept of one record in a list of changes: 32 bytes.
type stamp struct {
	uid    [11]byte
	copied bool
	mark
}

// stamps are sorted by uid.
type stamps []stamp

func (s *stamps) add(uid string, m mark) error {
	if len(uid) != 11 {
		return fmt.Errorf("%q is not a uid", uid)
	}
	*s = append(*s, stamp{uid: [11]byte([]byte(uid)), mark: m})
	return nil
}

func (s *stamps) sort() {
	byUID := func(a, b stamp) int { return bytes.Compare(a.uid[:], b.uid[:]) }
	slices.SortFunc(*s, byUID)
	*s = slices.CompactFunc(*s, func(a, b stamp) bool { return a.uid == b.uid })
}

// find is the stamp of a uid; nil where there is none.
func (s stamps) find(uid string) *stamp {
	if len(uid) != 11 {
		return nil
	}
	at, found := slices.BinarySearchFunc(s, [11]byte([]byte(uid)), func(a stamp, b [11]byte) int { return bytes.Compare(a.uid[:], b[:]) })
	if !found {
		return nil
	}
	return &s[at]
}

// rest are the uids of what was not copied.
func (s stamps) rest() []string {
	var uids []string
	for _, stamp := range s {
		if !stamp.copied {
			uids = append(uids, string(stamp.uid[:]))
		}
	}
	return uids
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
func (s stream[T]) takeChanges(ctx context.Context, cursor string) error {
	asked := 0
	if cursor != "" {
		if _, err := fmt.Sscanf(cursor, changedCursor+"%d", &asked); err != nil {
			return fmt.Errorf("cannot read %s: its receipt holds no number but %q", s.question.about, cursor)
		}
	}
	listed, pages, err := s.list(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the changes of %s: %w", s.question.about, err)
	}
	s.progress.Total = int64(len(listed))
	if err := s.copyUnchanged(ctx, listed); err != nil {
		return err
	}
	rest := listed.rest()
	s.progress.Done = int64(len(listed) - len(rest) + min(asked, len(rest)))
	s.taking.report(s.progress)
	for asked < len(rest) {
		next := min(asked+s.size, len(rest))
		batch := s.taking.w.Batch(s.name)
		if err := s.fetch(ctx, batch, rest[asked:next]); err != nil {
			return err
		}
		if err := batch.Commit(fmt.Sprint(changedCursor, next), false); err != nil {
			return err
		}
		asked = next
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
func (s stream[T]) list(ctx context.Context) (listed stamps, pages int, err error) {
	// As many as there were and some more: a list that grows is for moments there twice.
	expected := int64(changePage)
	for _, kind := range []Kind{s.kind, Beyond} {
		for _, part := range s.taking.before.parts(kind, s.subject) {
			expected += part.Objects
		}
	}
	listed = make(stamps, 0, expected+expected/8)
	for page, err := range s.question.changes(ctx, dhis2api.Paging{PageSize: changePage, Page: 1}) {
		if err != nil {
			return nil, 0, err
		}
		for _, item := range page.Items {
			if err := listed.add(s.question.uid(item), s.likeness.mark(item, false)); err != nil {
				return nil, 0, err
			}
		}
		pages++
	}
	listed.sort()
	return listed, pages, nil
}

// copyUnchanged copies out of the snapshot before what the list shows as it was, with its relationships, unless an
// earlier run did, and notes it in the list.
func (s stream[T]) copyUnchanged(ctx context.Context, listed stamps) error {
	t := s.taking
	if _, done := t.w.Cursor(s.copyName()); done {
		return s.recallCopied(ctx, listed)
	}
	batch := t.w.Batch(s.copyName())
	defer batch.Abandon()
	for _, part := range t.before.parts(s.kind, s.subject) {
		for object, err := range Each[T](ctx, t.before.snapshot, part) {
			if err != nil {
				return err
			}
			uid := s.question.uid(object)
			there := listed.find(uid)
			if there == nil || there.mark != s.likeness.mark(object, true) || s.seen.has(uid) {
				continue
			}
			current, err := s.likeness.current(ctx, object)
			if err != nil {
				return err
			}
			if !current {
				continue
			}
			there.copied = s.seen.add(uid)
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
func (s stream[T]) copyBeyond(ctx context.Context, batch *Batch, listed stamps) error {
	for _, part := range s.taking.before.parts(Beyond, s.subject) {
		for object, err := range Each[T](ctx, s.taking.before.snapshot, part) {
			if err != nil {
				return err
			}
			uid := s.question.uid(object)
			// Relationships do not matter: those of what is left out are left out.
			there := listed.find(uid)
			if there == nil || there.base != s.likeness.mark(object, true).base || s.seen.has(uid) {
				continue
			}
			there.copied = s.seen.add(uid)
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

// recallCopied notes in the list what an earlier run copied.
func (s stream[T]) recallCopied(ctx context.Context, listed stamps) error {
	w := s.taking.w
	for _, part := range w.streams[s.copyName()].Parts {
		if part.Kind != s.kind && part.Kind != Beyond {
			continue
		}
		for object, err := range eachLine[T](ctx, w.directory, w.keys, part) {
			if err != nil {
				return err
			}
			if there := listed.find(s.question.uid(object)); there != nil {
				there.copied = true
			}
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
func (t *taking) unenrolledBefore(ctx context.Context, subject Subject) (stamps, error) {
	var then stamps
	likeness := t.entityLikeness()
	for _, part := range t.before.parts(TrackedEntities, subject) {
		for e, err := range t.before.snapshot.TrackedEntities(ctx, part) {
			if err != nil {
				return nil, err
			}
			current, err := likeness.current(ctx, e)
			if err != nil {
				return nil, err
			}
			if !current {
				continue
			}
			if err := then.add(e.TrackedEntity, likeness.mark(e, true)); err != nil {
				return nil, err
			}
		}
	}
	then.sort()
	return then, nil
}

// copyUnenrolled copies what is noted as unchanged.
func (t *taking) copyUnenrolled(ctx context.Context, batch *Batch, subject Subject, unchanged stamps) error {
	for _, part := range t.before.parts(TrackedEntities, subject) {
		for e, err := range t.before.snapshot.TrackedEntities(ctx, part) {
			if err != nil {
				return err
			}
			if then := unchanged.find(e.TrackedEntity); then == nil || !then.copied {
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
