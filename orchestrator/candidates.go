package orchestrator

import (
	"cmp"
	"context"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// candidates finds the roots that the kit may have changed: it streams what local holds of the scope and
// compares digests with the loaded face. What is loaded and no longer listed is a candidate too; whether it
// is deleted only a lookup by its id can tell.
func (c *comparison) candidates(ctx context.Context, progress Progress) ([]root, error) {
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
	carried, err := c.carried(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range carried {
		found[r] = true
	}
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
