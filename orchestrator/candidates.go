package orchestrator

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// candidates finds the roots that the kit may have changed: by transaction id in the kit's own database, or, where
// that cannot tell, by comparing everything. Both lead to the same changes.
func (c *comparison) candidates(ctx context.Context, progress Progress) ([]root, error) {
	found, err := c.byTransaction(ctx, progress)
	c.found = report.Candidates{By: report.ByTransaction}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		why := compareAll(err)
		c.found = report.Candidates{By: report.ByComparison, Reason: why.Error()}
		if why.Reason != noDatabase {
			progress.Note("comparing everything: " + why.Error())
		}
		if found, err = c.byComparison(ctx, progress); err != nil {
			return nil, err
		}
	}
	// Those of earlier runs, and those carried over from an earlier trip: their faces may differ from the snapshot
	// only by their bases.
	carried, err := changedRoots(ctx, c.trip.journal)
	if err != nil {
		return nil, err
	}
	maps.Copy(found, carried)
	c.found.Records = len(found)
	roots := slices.Collect(maps.Keys(found))
	return roots, c.loaded.inOrder(ctx, roots)
}

// byTransaction finds what the kit's database says was written, or has lost rows, since the trip's mark. What is
// neither in the scope now nor was loaded is not the kit's to bring home.
func (c *comparison) byTransaction(ctx context.Context, progress Progress) (map[root]bool, error) {
	mark, err := c.trip.mark(ctx)
	switch {
	case err != nil:
		return nil, err
	case mark.Unusable != "":
		return nil, &dhis2db.CompareAllError{Reason: mark.Unusable}
	case !mark.Settled:
		return nil, &dhis2db.CompareAllError{Reason: "it was not looked into when the kit had been loaded"}
	}
	progress.Step("reading the snapshot")
	if err := c.loaded.readPlaces(ctx); err != nil {
		return nil, err
	}
	progress.Step("looking for changes in the kit's database")
	written := map[root]bool{} // and whether it is in the scope
	present, err := c.loaded.file.write(ctx, presentIndex)
	if err != nil {
		return nil, err
	}
	err = withDatabase(ctx, c.openDatabase, func(look *dhis2db.Look) error {
		found := func(r root, inScope bool) { written[r] = written[r] || inScope }
		return eachChange(ctx, look, c.trip, mark, c.scope, found, func(r root) error {
			return present.add(ctx, pieceKey{root: r}, 0, [16]byte{})
		})
	})
	if err != nil {
		return nil, present.abandon(err)
	}
	if _, err := present.finish(ctx); err != nil {
		return nil, err
	}
	for _, name := range mark.Unsettled {
		r, err := parseRoot(name)
		if err != nil {
			return nil, err
		}
		if _, known := written[r]; !known {
			written[r] = false
		}
	}
	found := map[root]bool{}
	for r, inScope := range written {
		if !inScope {
			if inScope, err = c.loaded.has(ctx, r); err != nil {
				return nil, err
			}
		}
		if inScope {
			found[r] = true
		}
	}
	err = c.loaded.file.lacking(ctx, c.loaded.name, presentIndex, func(r root) error {
		found[r] = true
		return nil
	})
	return found, err
}

// byComparison streams what local holds of the scope and compares digests with the loaded face, which is digested while the
// first of it is on its way. What is loaded and no longer listed is a candidate too; whether it is deleted only a lookup by
// its id can tell.
func (c *comparison) byComparison(ctx context.Context, progress Progress) (map[root]bool, error) {
	progress.Step("reading what the kit holds")
	ctx, cancel := context.WithCancel(ctx)
	listed := c.listed(ctx)
	defer func() {
		cancel()
		for range listed { // until it has ended
		}
	}()
	if err := c.loaded.digest(ctx); err != nil {
		return nil, err
	}
	w, err := c.loaded.file.write(ctx, nowIndex)
	if err != nil {
		return nil, err
	}
	var read int64
	for p := range listed {
		if p.err != nil {
			return nil, w.abandon(atServer(ctx, Local, c.local.BaseURL(), p.err))
		}
		read++
		progress.Count("objects read", read, c.loaded.entries)
		if err := w.add(ctx, p.key, 0, p.content); err != nil {
			return nil, w.abandon(err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, w.abandon(err)
	}
	now := &index{file: c.loaded.file, name: nowIndex, read: true}
	if now.entries, err = w.finish(ctx); err != nil {
		return nil, err
	}
	found := map[root]bool{}
	differs := func(d difference) error {
		found[d.root] = true
		return nil
	}
	err = errors.Join(now.against(ctx, c.loaded, differs), c.loaded.against(ctx, now, differs))
	return found, err
}

// listedPiece is a piece of what the kit holds now, as far as it is compared, or why there are no more.
type listedPiece struct {
	key     pieceKey
	content [16]byte
	err     error
}

// listed reads what the kit holds of the scope, some way ahead of whoever receives it. It ends early when the context does.
func (c *comparison) listed(ctx context.Context) <-chan listedPiece {
	pieces := make(chan listedPiece, 2000)
	go func() {
		defer close(pieces)
		listing := snapshot.Listing{Client: c.local, Scope: c.scope}
		for object, err := range listing.All(ctx) {
			next := listedPiece{err: err}
			if err == nil {
				p := foundPiece(c.localForm, object)
				next.key, next.content = p.key(), digest(p)
			}
			select {
			case pieces <- next:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return pieces
}
