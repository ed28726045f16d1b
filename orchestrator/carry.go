package orchestrator

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// carriage is what a trip has not brought home, on its way into the next one: each change with the base of its
// whole record. Conflicts keep their numbers, and with them goes what was decided.
type carriage struct {
	changes   []journal.Change
	bases     []merge.Base
	shown     []journal.Shown
	decisions []journal.Decision
	signed    []journal.SignOff
	// identities go on whether anything of them is open or not: what tablets send for an adopted person goes where it went.
	identities []journal.Identity
}

// factCarried is set when what the trip before has not brought home was taken over.
const factCarried = "carried"

// carriedElsewhere is the fact where the data of the trip before is not on the kit, and need not be.
const carriedElsewhere = "elsewhere"

// carry takes over what the trip before has not brought home. It is the last thing before the kit is loaded, so
// that tablets may go on uploading while central is asked for its data; what arrives during the loading itself
// arrived finds. It is done once: when the loading has begun, the kit no longer shows what the trip before left.
func (p *preparation) carry(ctx context.Context) error {
	if done, err := p.trip.journal.Fact(ctx, factCarried); err != nil || done != "" {
		return err
	}
	before, err := p.kit.tripBefore(ctx, p.trip.id)
	if err != nil {
		return err
	}
	if before != nil {
		carried, err := p.unfinished(ctx, before, func(c *comparison) ([]root, error) { return c.candidates(ctx, p.kit.options.Progress) })
		if err := errors.Join(err, before.close()); err != nil {
			return err
		}
		if err := carried.write(ctx, p.trip.journal); err != nil {
			return err
		}
	}
	return p.trip.journal.SetFact(ctx, factCarried, "done")
}

// openBefore opens the snapshot of the trip before, which must be of the same central.
func (p *preparation) openBefore(t *trip) (*snapshot.Snapshot, error) {
	keys, err := snapshot.ReadingKeys(t.snapshotDir(), p.kit.keyOptions())
	if err != nil {
		return nil, wrongKey(err)
	}
	s, err := snapshot.Open(t.snapshotDir(), keys)
	if err != nil {
		return nil, wrongKey(err)
	}
	if err := s.CheckKeys(); err != nil {
		return nil, wrongKey(err)
	}
	if !p.about.Server.Same(s.Manifest().Central()) {
		return nil, otherServer(Central, p.central.BaseURL(), s.Manifest().Central(), p.about.Server)
	}
	return s, nil
}

// unfinished looks at the kit once more, before a new trip overwrites it: what tablets sent after the last
// reconcile, and what is held, is found and taken over. candidates says where to look.
func (p *preparation) unfinished(ctx context.Context, t *trip, candidates func(*comparison) ([]root, error)) (*carriage, error) {
	s, err := p.openBefore(t)
	if err != nil {
		return nil, err
	}
	c, err := p.kit.newComparison(ctx, t, s, p.central, p.local)
	if err != nil {
		return nil, err
	}
	if c.decisions, err = newDecisions(ctx, t.journal, s.Scope()); err != nil {
		return nil, err
	}
	c.decisions.closed = true
	if c.run, err = t.journal.BeginRun(ctx, "carry", p.kit.options.Now()); err != nil {
		return nil, err
	}
	roots, err := candidates(c)
	if err != nil {
		return nil, err
	}
	carried := &carriage{}
	for batch := range slices.Chunk(roots, batchRoots) {
		v, err := c.look(ctx, batch)
		if err != nil {
			return nil, err
		}
		for _, r := range batch {
			carried.add(r, v.records[r], v.changes[r])
		}
	}
	if carried.shown, err = t.journal.AllShown(ctx); err != nil {
		return nil, err
	}
	if carried.decisions, err = t.journal.Decisions(ctx); err != nil {
		return nil, err
	}
	if carried.signed, err = t.journal.SignOffs(ctx); err != nil {
		return nil, err
	}
	if carried.identities, err = t.journal.Identities(ctx); err != nil {
		return nil, err
	}
	return carried, t.journal.EndRun(ctx, c.run, "carried on", p.kit.options.Now())
}

// add takes over a root's changes that are not home. The whole record keeps its base: a deletion, for one, is
// judged by everything below it. Only of a form the other values go their own way.
func (c *carriage) add(r root, record merge.Record, changes []journal.Change) {
	var away []journal.Change
	for _, change := range changes {
		if change.State == journal.Open || change.State.Held() {
			away = append(away, change)
		}
	}
	if len(away) == 0 {
		return
	}
	c.changes = append(c.changes, away...)
	refs := map[merge.Ref]bool{}
	if r.kind != rootForm {
		refs = refsOf(r, record)
	}
	for _, change := range away {
		refs[change.Ref] = true
	}
	if r.kind == rootPerson && slices.ContainsFunc(away, func(c journal.Change) bool { return c.Verb == merge.Delete }) {
		for _, tie := range tiesOf(record) {
			if _, known := record.Taken.Objects[tie]; !known {
				c.bases = append(c.bases, merge.Base{Ref: tie, Field: tiedSince})
			}
		}
	}
	for ref := range refs {
		taken, inTaken := record.Taken.Objects[ref]
		loaded, inLoaded := record.Loaded.Objects[ref]
		c.bases = append(c.bases, merge.Base{Ref: ref, TakenPresent: inTaken, LoadedPresent: inLoaded})
		fields := fieldsOf(taken.Fields, loaded.Fields)
		for _, field := range fieldsOf(record.Central.Objects[ref].Fields, record.Local.Objects[ref].Fields) {
			if !slices.Contains(fields, field) {
				fields = append(fields, field)
			}
		}
		for _, field := range fields {
			if inTaken || inLoaded {
				c.bases = append(c.bases, baseOf(ref, field, loaded, taken))
			}
		}
	}
}

// write puts what is carried into the new trip's journal. It may be called again after a crash.
func (c *carriage) write(ctx context.Context, j *journal.Journal) error {
	there, err := j.Decisions(ctx)
	if err != nil {
		return err
	}
	return j.Update(ctx, func(tx *journal.Tx) error {
		for _, change := range c.changes {
			change.Run = 0
			if err := tx.Put(change); err != nil {
				return err
			}
		}
		for _, base := range c.bases {
			if err := tx.SetBase(base); err != nil {
				return err
			}
		}
		// All of them, settled ones too: no number may ever mean two things.
		for _, shown := range c.shown {
			if err := tx.PutShown(shown); err != nil {
				return err
			}
		}
		for _, identity := range c.identities {
			if err := tx.Identify(identity); err != nil {
				return err
			}
		}
		for _, signed := range c.signed {
			if err := tx.SignOff(signed); err != nil {
				return err
			}
		}
		for _, decision := range c.decisions {
			if len(there) > 0 {
				break // nothing is decided on a trip that has not begun: they were written before
			}
			decision.Carried = true
			if err := tx.Decide(decision); err != nil {
				return err
			}
		}
		return nil
	})
}

// carriedRefs are the objects that the new trip must leave as they are on the kit: the roots of what was carried over and every
// object that it is about. Of somebody adopted that is central's person too: what is hers there lives with the kit's.
func carriedRefs(ctx context.Context, j *journal.Journal) (map[merge.Ref]bool, error) {
	refs := map[merge.Ref]bool{}
	for change, err := range j.Changes(ctx) {
		if err != nil {
			return nil, err
		}
		r, err := parseRoot(change.Root)
		if err != nil {
			return nil, err
		}
		refs[change.Ref] = true
		refs[rootRef(r)] = true
	}
	away, err := keptAway(ctx, j, func(person merge.Ref) bool { return refs[person] })
	if err != nil {
		return nil, err
	}
	maps.Copy(refs, away)
	delete(refs, merge.Ref{}) // a form's: of a form the other values go their own way
	return refs, nil
}

// keptAway are the people of central's whom the kit has under another uid, by which something of them is held: they do not come
// to the kit as well.
func keptAway(ctx context.Context, j *journal.Journal, held func(person merge.Ref) bool) (map[merge.Ref]bool, error) {
	identities, err := j.Identities(ctx)
	if err != nil {
		return nil, err
	}
	away := map[merge.Ref]bool{}
	for _, i := range identities {
		if i.Adopted && held(merge.Ref{Kind: merge.TrackedEntity, UID: i.Person}) {
			away[merge.Ref{Kind: merge.TrackedEntity, UID: i.AtCentral}] = true
		}
	}
	return away, nil
}

// changedRoots are the roots that a journal has changes of.
func changedRoots(ctx context.Context, j *journal.Journal) (map[root]bool, error) {
	names, err := j.Roots(ctx)
	if err != nil {
		return nil, err
	}
	roots := map[root]bool{}
	for _, name := range names {
		r, err := parseRoot(name)
		if err != nil {
			return nil, err
		}
		roots[r] = true
	}
	return roots, nil
}

// rootRef is the object that a root is named by; a form has none.
func rootRef(r root) merge.Ref {
	switch r.kind {
	case rootPerson:
		return merge.Ref{Kind: merge.TrackedEntity, UID: r.uid}
	case rootEvent:
		_, event, err := r.event()
		if err != nil {
			return merge.Ref{}
		}
		return merge.Ref{Kind: merge.Event, UID: event}
	case rootRelationship:
		return merge.Ref{Kind: merge.Relationship, UID: r.uid}
	}
	return merge.Ref{}
}
