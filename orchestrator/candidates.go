package orchestrator

import (
	"cmp"
	"context"
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
	carried, err := c.carried(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range carried {
		found[r] = true
	}
	c.found.Records = len(found)
	roots := make([]root, 0, len(found))
	for r := range found {
		roots = append(roots, r)
	}
	// In the order of the snapshot's parts, so that neighbours are read together.
	slices.SortFunc(roots, func(a, b root) int {
		return cmp.Or(cmp.Compare(c.loaded.partOf(a), c.loaded.partOf(b)), cmp.Compare(a.String(), b.String()))
	})
	return roots, nil
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
	progress.Step("looking for changes in the kit's database")
	found := map[root]bool{}
	add := func(r root, inScope bool) {
		if _, loaded := c.loaded.firstPart[r]; loaded || inScope {
			found[r] = true
		}
	}
	gone := maps.Clone(c.loaded.firstPart)
	err = withDatabase(ctx, c.openDatabase, func(look *dhis2db.Look) error {
		return eachChange(ctx, look, c.trip, mark, c.scope, add, func(r root) { delete(gone, r) })
	})
	if err != nil {
		return nil, err
	}
	for r := range gone {
		found[r] = true
	}
	for _, name := range mark.Unsettled {
		r, err := parseRoot(name)
		if err != nil {
			return nil, err
		}
		add(r, false)
	}
	return found, nil
}

// byComparison streams what local holds of the scope and compares digests with the loaded face. What is loaded
// and no longer listed is a candidate too; whether it is deleted only a lookup by its id can tell.
func (c *comparison) byComparison(ctx context.Context, progress Progress) (map[root]bool, error) {
	progress.Step("reading what the kit holds")
	found := map[root]bool{}
	forms := map[pieceKey][2]uint64{}
	listing := snapshot.Listing{Client: c.local, Scope: c.scope}
	var read int64
	for object, err := range listing.All(ctx) {
		if err != nil {
			return nil, atServer(ctx, Local, c.local.BaseURL(), err)
		}
		p := foundPiece(c.localForm, object)
		read++
		progress.Count("objects read", read, int64(len(c.loaded.entries)))
		key := pieceKey{p.root, p.subject}
		if p.root.kind == rootForm {
			forms[key] = sum(forms[key], digest(p)) // a form comes value by value
			continue
		}
		c.loaded.compare(key, digest(p), found)
	}
	for key, content := range forms {
		c.loaded.compare(key, content, found)
	}
	for key, e := range c.loaded.entries {
		if !e.seen {
			found[key.root] = true
		}
	}
	return found, nil
}

// carried lists the roots that the journal has changes of: those of earlier runs, and those carried over from
// an earlier trip. Their faces may differ from the snapshot only by their bases.
func (c *comparison) carried(ctx context.Context) ([]root, error) {
	names, err := c.trip.journal.Roots(ctx)
	if err != nil {
		return nil, err
	}
	roots := make([]root, 0, len(names))
	for _, name := range names {
		r, err := parseRoot(name)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r)
	}
	return roots, nil
}

// compare marks a piece as seen, and its root as a candidate when it differs from what was loaded.
func (x *index) compare(key pieceKey, content [2]uint64, candidates map[root]bool) {
	e := x.entries[key]
	if e == nil {
		candidates[key.root] = true
		return
	}
	e.seen = true
	if e.digest != content {
		candidates[key.root] = true
	}
}

// partOf is the first part that holds a piece of the root; a created root comes after all of them.
func (x *index) partOf(r root) uint32 {
	if first, known := x.firstPart[r]; known {
		return first
	}
	return uint32(len(x.parts))
}
