package orchestrator

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// past is the trip before, as far as the kit still holds its data: what it left there of each record.
type past struct {
	trip     *trip
	snapshot *snapshot.Snapshot
	// stood is the trip's loaded face.
	stood *index
	form  snapshot.Canonical
	// mutex: several loaders may ask at once.
	mutex sync.Mutex
}

// earlier opens the trip before, once a run; nil where there is none whose data is on the kit.
func (p *preparation) earlier(ctx context.Context) (*past, error) {
	if p.past != nil {
		return p.past, nil
	}
	carried, err := p.trip.journal.Fact(ctx, factCarried)
	if err != nil || carried == carriedElsewhere {
		return nil, err
	}
	before, err := p.kit.tripBefore(ctx, p.trip.id)
	if err != nil || before == nil {
		return nil, err
	}
	opened := &past{trip: before, form: snapshot.CanonicalOf(p.local)}
	p.past = opened
	if opened.snapshot, err = p.openBefore(before); err != nil {
		return nil, err
	}
	opened.stood, err = p.trip.readIndex(ctx, stoodIndex, opened.snapshot, snapshot.Loaded, opened.form)
	return opened, wrongKey(err)
}

// close closes the trip before. It may be called on nil.
func (b *past) close() error {
	if b == nil {
		return nil
	}
	return b.trip.close()
}

// left is what stood on the kit of some roots when the trip before was looked at last.
func (b *past) left(ctx context.Context, roots []root) (map[root]merge.Face, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	faces, err := b.stood.faces(ctx, roots)
	if err != nil {
		return nil, wrongKey(err)
	}
	rows, err := rowsUnder(ctx, b.trip.journal, roots)
	if err != nil {
		return nil, err
	}
	for _, r := range roots {
		if faces[r], err = b.asLeft(ctx, merge.Record{Loaded: faces[r]}, rows[r]); err != nil {
			return nil, err
		}
	}
	return faces, nil
}

// asLeft is the loaded face of a record with what was found and is home since. The record's other faces only say
// which objects may have come besides.
func (b *past) asLeft(ctx context.Context, record merge.Record, rows []journal.Change) (merge.Face, error) {
	refs := map[merge.Ref]bool{}
	for _, face := range []merge.Face{record.Loaded, record.Local} {
		for ref := range face.Objects {
			refs[ref] = true
		}
	}
	for _, row := range rows {
		refs[row.Ref] = true
	}
	bases, err := b.trip.journal.Bases(ctx, slices.Collect(maps.Keys(refs))...)
	return merge.Overlay(record, bases).Loaded, err
}

// revive tells whether an object that was deleted on the kit may come back: yes, unless the trip before left it
// there alive. Then somebody at a tablet has deleted it since, and that is a change to bring home. It may be called
// by several goroutines at once.
func (p *preparation) revive(ctx context.Context, record, object merge.Ref) (bool, error) {
	b := p.past
	if b == nil {
		return true, nil
	}
	for _, r := range p.rootsOf(record) {
		left, err := b.left(ctx, []root{r})
		if err != nil {
			return false, err
		}
		if _, stood := left[r].Objects[object]; stood {
			return false, nil
		}
	}
	return true, nil
}

// rootsOf are the roots that a record may be under.
func (p *preparation) rootsOf(record merge.Ref) []root {
	switch record.Kind {
	case merge.TrackedEntity:
		return []root{{kind: rootPerson, uid: record.UID}}
	case merge.Relationship:
		return []root{{kind: rootRelationship, uid: record.UID}}
	}
	var roots []root
	for _, program := range p.scope.Programs {
		if !program.Registers() {
			roots = append(roots, eventRoot(program.ID, record.UID))
		}
	}
	return roots
}
