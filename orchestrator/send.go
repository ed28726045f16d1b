package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// batchRoots is how many roots are looked at together.
const batchRoots = 100

// mostRoots is how many roots are sent together at most. How many objects that may be says batchSize.
const mostRoots = 2 * batchRoots

// sender carries open changes to central, batch by batch: looked at afresh, noted in the journal, sent, read
// back, settled.
type sender struct {
	*comparison
	progress Progress
	now      func() time.Time
	// sent counts the objects sent in this run, done and total the roots.
	sent        int
	done, total int64
	// size is how much goes in one request.
	size batchSize
	// answered counts the requests that central answered in this run.
	answered int
	// suspects are the objects that central breaks off on. aside are these, and what cannot go without them; true where it is
	// a creation.
	suspects []suspect
	aside    map[merge.Ref]bool
	// resolving is the one that is sent once more, lone tells that it is the only one; nil while the others are sent.
	resolving *suspect
	lone      bool
}

// wave is one kind of request: which changes go in it, and how they are sent.
type wave struct {
	name string
	// takes tells whether a change goes in this wave.
	takes func(journal.Change) bool
	// carry sends the objects and returns central's answer; an UnknownOutcomeError where there was none.
	carry func(ctx context.Context, v *view, objects []objectChanges) (*answer, error)
	// trial is the strategy with which central can be asked beforehand; empty when it cannot.
	trial dhis2api.ImportStrategy
}

// waves are the requests in their order: deletions first, for an event that was deleted and made again may be
// the only one of its stage; people before the relationships between them; values before completions.
func (s *sender) waves() []wave {
	tracker := func(kinds ...merge.Kind) func(journal.Change) bool {
		return func(c journal.Change) bool { return slices.Contains(kinds, c.Ref.Kind) }
	}
	people := tracker(merge.TrackedEntity, merge.Enrollment, merge.Event)
	ties := tracker(merge.Relationship)
	isDelete := func(c journal.Change) bool { return c.Verb == merge.Delete }
	return []wave{
		{name: "relationships removed", takes: func(c journal.Change) bool { return ties(c) && isDelete(c) }, carry: s.remove},
		{
			name: "records deleted", takes: func(c journal.Change) bool { return people(c) && isDelete(c) }, carry: s.remove,
			trial: dhis2api.ImportStrategyDelete,
		},
		{
			name: "records", takes: func(c journal.Change) bool { return people(c) && !isDelete(c) }, carry: s.store,
			trial: dhis2api.ImportStrategyCreateAndUpdate,
		},
		{name: "relationships", takes: func(c journal.Change) bool { return ties(c) && !isDelete(c) }, carry: s.store},
		{name: "values removed", takes: func(c journal.Change) bool { return c.Ref.Kind == merge.DataValue && isDelete(c) }, carry: s.removeValues},
		{name: "values", takes: func(c journal.Change) bool { return c.Ref.Kind == merge.DataValue && !isDelete(c) }, carry: s.storeValues},
		{name: "completions", takes: tracker(merge.Completion), carry: s.storeCompletions},
	}
}

// send carries everything that is open. What central broke off on is sent once more when the rest is home, and after it what
// waited for it.
func (s *sender) send(ctx context.Context) error {
	for {
		if err := s.sendWaves(ctx); err != nil || len(s.suspects) == 0 {
			return err
		}
		if err := s.resolve(ctx); err != nil {
			return err
		}
	}
}

func (s *sender) sendWaves(ctx context.Context) error {
	for _, w := range s.waves() {
		roots, err := s.openRoots(ctx, w)
		if err != nil {
			return err
		}
		s.done, s.total = 0, int64(len(roots))
		if len(roots) > 0 {
			s.progress.Step("sending " + w.name)
		}
		for len(roots) > 0 {
			batch := s.batch(roots)
			roots = roots[len(batch):]
			if err := s.sendPart(ctx, w, part{roots: rootsOf(batch)}); err != nil {
				return err
			}
			s.done += int64(len(batch))
			s.progress.Count(w.name, s.done, s.total)
		}
	}
	return nil
}

// openRoot is a root that has something to send, and of how many objects.
type openRoot struct {
	root    root
	objects int
}

func rootsOf(open []openRoot) []root {
	roots := make([]root, len(open))
	for i, o := range open {
		roots[i] = o.root
	}
	return roots
}

// batch takes of the roots, which are some, as many as go in one request, one at least.
func (s *sender) batch(roots []openRoot) []openRoot {
	objects := roots[0].objects
	for n := 1; ; n++ {
		if n == len(roots) || n == mostRoots || objects+roots[n].objects > s.size.objects() {
			return roots[:n]
		}
		objects += roots[n].objects
	}
}

// openRoots lists the roots that have something to send in a wave.
func (s *sender) openRoots(ctx context.Context, w wave) ([]openRoot, error) {
	var roots []openRoot
	at := map[root]int{}
	counted := map[merge.Ref]bool{}
	add := func(c journal.Change) error {
		if !w.takes(c) || counted[c.Ref] || !s.kept.goes(c) {
			return nil
		}
		counted[c.Ref] = true
		r, err := parseRoot(c.Root)
		if err != nil {
			return err
		}
		if _, known := at[r]; !known {
			at[r] = len(roots)
			roots = append(roots, openRoot{root: r})
		}
		roots[at[r]].objects++
		return nil
	}
	for c, err := range s.trip.journal.Changes(ctx, journal.Open) {
		if err := errors.Join(err, add(c)); err != nil {
			return nil, err
		}
	}
	for _, c := range s.decisions.foretoldOpen() {
		if err := add(c); err != nil {
			return nil, err
		}
	}
	return roots, nil
}

// lookWithFiles looks at the roots and brings the files home that their open changes name. Where it brought any it
// looks again, for that may have taken long: what is sent is made of what central held just before. Values whose files
// cannot go are held, and not among the open changes.
func (s *sender) lookWithFiles(ctx context.Context, w wave, p part) (*view, []journal.Change, []heldFile, error) {
	for {
		v, err := s.look(ctx, p.roots)
		if err != nil {
			return nil, nil, nil, err
		}
		open, err := s.withoutWaiting(ctx, v, s.withoutAside(p.of(v.open(w.takes))))
		if err != nil {
			return nil, nil, nil, err
		}
		brought, err := s.files.bring(ctx, v, open, s.progress)
		if err != nil {
			return nil, nil, nil, err
		}
		if brought {
			s.progress.Step("sending " + w.name)
			continue
		}
		open, held, err := s.files.withhold(ctx, v, open)
		return v, open, held, err
	}
}

// withoutWaiting holds back what depends on something held: an object below one that central refused, a
// relationship with such an end, or one that went with somebody whose deletion does not go. What depends on something that a
// kept plan leaves out stays open.
func (s *sender) withoutWaiting(ctx context.Context, v *view, open []journal.Change) ([]journal.Change, error) {
	var free []journal.Change
	for _, c := range open {
		on, err := s.waitsFor(ctx, v, c)
		if err != nil {
			return nil, err
		}
		switch {
		case on == nil:
			free = append(free, c)
			continue
		case on.State == journal.Dropped:
			if err := s.dropWith(ctx, v, c, on.Ref); err != nil {
				return nil, err
			}
			continue
		case !on.State.Held():
			s.kept.leaveOut(c, on.Ref)
			continue
		}
		c.State, c.Reason = journal.Waiting, fmt.Sprintf("waits for %s %s, which is held", on.Ref.Kind, on.UID)
		if err := s.trip.journal.Update(ctx, func(tx *journal.Tx) error { return tx.Put(c) }); err != nil {
			return nil, err
		}
	}
	return free, nil
}

// dropWith drops the removal of a relationship with the deletion of one of its ends, about which it was decided that central's
// state stands.
func (s *sender) dropWith(ctx context.Context, v *view, c journal.Change, end merge.Ref) error {
	r, err := parseRoot(c.Root)
	if err != nil {
		return err
	}
	c.State, c.Reason = journal.Dropped, fmt.Sprintf("together with %s %s, %s", end.Kind, end.UID, merge.ReasonDropped)
	return s.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		if err := tx.Put(c); err != nil {
			return err
		}
		return setBases(tx, merge.LetGo(c.Change, v.records[r]))
	})
}

// waitsFor is the creation that the change depends on and that is held, or that does not go, or the deletion that a
// relationship was removed with and that does not go; nil when there is none.
func (s *sender) waitsFor(ctx context.Context, v *view, c journal.Change) (*journal.Change, error) {
	if c.Ref.Kind == merge.Relationship && c.Verb == merge.Delete {
		return s.removedWith(ctx, v, c)
	}
	needed := []merge.Ref{c.Parent}
	if c.Ref.Kind == merge.Relationship && c.Verb == merge.Create {
		needed = append(needed, endsOf(c.Content)...)
	}
	for _, ref := range needed {
		if ref == (merge.Ref{}) {
			continue
		}
		rows, err := s.trip.journal.ChangesOf(ctx, ref)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.Verb == merge.Create && row.Field == "" && (row.State.Held() || row.State == journal.Open && !s.kept.goes(row)) {
				return &row, nil
			}
		}
	}
	return nil, nil
}

// removedWith is the deletion of one end of a removed relationship, where it does not go: a server removes the relationships of
// whom it deletes.
func (s *sender) removedWith(ctx context.Context, v *view, c journal.Change) (*journal.Change, error) {
	r, err := parseRoot(c.Root)
	if err != nil {
		return nil, err
	}
	for _, ref := range endsOf(v.records[r].Taken.Objects[c.Ref].Fields) {
		rows, err := s.trip.journal.ChangesOf(ctx, ref)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.Verb == merge.Delete && (row.State.Held() || row.State == journal.Dropped) {
				return &row, nil
			}
		}
	}
	return nil, nil
}

// endsOf reads the ends of a relationship's canonical content.
func endsOf(fields map[string]string) []merge.Ref {
	var ends []merge.Ref
	for _, field := range []string{merge.FieldFrom, merge.FieldTo} {
		if ref, ok := parseEnd(fields[field]); ok {
			ends = append(ends, ref)
		}
	}
	return ends
}

// parseEnd reads one end of a relationship's canonical content, such as trackedEntity.UID.
func parseEnd(end string) (merge.Ref, bool) {
	kind, uid, ok := strings.Cut(end, ".")
	return merge.Ref{Kind: merge.Kind(kind), UID: uid}, ok
}

// markSent notes in the journal what is about to be sent, with its content and who made it, before it is.
func (s *sender) markSent(ctx context.Context, v *view, open []journal.Change) error {
	now := s.now()
	return s.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for _, c := range open {
			c.State = journal.Sent
			if err := tx.Put(c); err != nil {
				return err
			}
			made := journal.Authorship{Ref: c.Ref, Field: c.Field, Verb: c.Verb, Made: v.local.made(c.Change), Sent: now}
			if err := tx.SetAuthorship(made); err != nil {
				return err
			}
		}
		return nil
	})
}

// verify reads central back and settles every change that was sent, then writes down what was held for its files.
func (s *sender) verify(ctx context.Context, before *view, objects []objectChanges, held []heldFile, a *answer) error {
	expected := expectation{}
	for r, record := range before.records {
		expected[r] = record.Taken.Objects
	}
	for _, o := range objects {
		if o.ref.Kind != merge.Relationship || o.verb != merge.Create {
			continue
		}
		// What is not shown in a list, though central said that it took it, is asked for by its id.
		r := root{kind: rootRelationship, uid: o.ref.UID}
		expected[r] = maps.Clone(expected[r])
		if expected[r] == nil {
			expected[r] = map[merge.Ref]merge.Object{}
		}
		expected[r][o.ref] = merge.Object{Ref: o.ref}
	}
	after, err := s.readBack(ctx, before.roots, expected, before.local.faces)
	if err != nil {
		return atServer(ctx, Central, s.central.BaseURL(), err)
	}
	v := &view{roots: before.roots, local: before.local, central: after, records: before.records}
	err = s.trip.journal.Together(ctx, func() error {
		rows, err := rowsUnder(ctx, s.trip.journal, before.roots)
		if err != nil {
			return err
		}
		for _, r := range before.roots {
			if err := s.verifyRoot(ctx, before, v, r, rows[r], objects, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.files.hold(ctx, v, held)
}

// verifyRoot settles what was sent of one root.
func (s *sender) verifyRoot(ctx context.Context, before, after *view, r root, rows []journal.Change, objects []objectChanges, a *answer) error {
	record := before.records[r]
	record.Central = after.central.faces[r]
	if err := s.settleWith(ctx, after, r, record, rows, a); err != nil {
		return err
	}
	notes := overtaken(objectsOf(objects, r, before), before.central, after.central, r)
	if len(notes) == 0 {
		return nil
	}
	return s.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for _, note := range notes {
			if err := tx.Note(note, s.run); err != nil {
				return err
			}
		}
		return nil
	})
}

// objectsOf are those of the objects that belong to one root.
func objectsOf(objects []objectChanges, r root, v *view) []objectChanges {
	var own []objectChanges
	for _, o := range objects {
		if _, there := v.records[r].Local.Objects[o.ref]; there {
			own = append(own, o)
		}
	}
	return own
}

func (c *comparison) importOptions(strategy dhis2api.ImportStrategy) dhis2api.ImportOptions {
	// Messages to patients and staff were sent, or not, on the day; they are sent again from base only when asked for.
	return dhis2api.ImportOptions{Strategy: strategy, AtomicMode: dhis2api.AtomicObject, SkipSideEffects: !c.sideEffects}
}

// store creates and updates tracker objects, then moves owners.
func (s *sender) store(ctx context.Context, v *view, objects []objectChanges) (*answer, error) {
	report, err := s.central.Import(ctx, s.aliases.sent(upserts(objects, v.local, v.central)), s.importOptions(dhis2api.ImportStrategyCreateAndUpdate))
	if err != nil {
		return nil, err
	}
	a := s.answerOf(report, objects)
	return a, s.moveOwners(ctx, objects, a)
}

// ownerProgram is the program of an owner's field.
func ownerProgram(field string) (string, bool) { return strings.CutPrefix(field, merge.OwnerPrefix) }

// moveOwners transfers people whose owner changed on the kit: no import does that (DHIS2 2.41 to 2.43).
func (s *sender) moveOwners(ctx context.Context, objects []objectChanges, a *answer) error {
	for _, o := range objects {
		for _, c := range o.changes {
			program, isOwner := ownerProgram(c.Field)
			if !isOwner || c.Local == "" {
				continue
			}
			err := s.central.TransferOwnership(ctx, s.aliases.of(o.ref.UID), program, c.Local)
			switch {
			case refusedWhole(err) || forbidden(err):
				a.refusals[o.ref] = refusedAll([]objectChanges{o}, err).refusals[o.ref]
			case err != nil:
				return err
			}
		}
	}
	return nil
}

// remove deletes tracker objects. That central has deleted one already is no error: the read-back shows it.
func (s *sender) remove(ctx context.Context, _ *view, objects []objectChanges) (*answer, error) {
	report, err := s.central.Import(ctx, deletions(objects), s.importOptions(dhis2api.ImportStrategyDelete))
	if err != nil {
		return nil, err
	}
	return s.answerOf(report, objects), nil
}
