package orchestrator

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// look puts the four faces of the roots side by side, settles what an earlier run or batch sent, compares, and
// writes every change with its verdict to the journal.
func (c *comparison) look(ctx context.Context, roots []root) (*view, error) {
	g, err := c.glance(ctx, roots)
	if err != nil {
		return nil, err
	}
	if err := g.askServers(ctx); err != nil {
		return nil, err
	}
	return g.judge(ctx)
}

// looks looks at the roots batch by batch. While one batch is compared, and the caller is at work on it, both servers are
// asked about the next already.
func (c *comparison) looks(ctx context.Context, roots []root) iter.Seq2[*view, error] {
	return func(yield func(*view, error) bool) {
		asking, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		begin := func(batch []root) func() (*glance, error) {
			g, err := c.glance(ctx, batch)
			if err != nil {
				return func() (*glance, error) { return nil, err }
			}
			asked := make(chan error, 1)
			running.Go(func() { asked <- g.askServers(asking) })
			return func() (*glance, error) { return g, <-asked }
		}
		batches := slices.Collect(slices.Chunk(roots, batchRoots))
		var next func() (*glance, error)
		for i, batch := range batches {
			if i == 0 {
				next = begin(batch)
			}
			g, err := next()
			if err == nil && i+1 < len(batches) {
				next = begin(batches[i+1])
			}
			var v *view
			if err == nil {
				v, err = g.judge(ctx)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// glance is a look that has not come to its end: what snapshot and journal hold of some roots, and what the two servers do.
type glance struct {
	comparison     *comparison
	roots          []root
	taken, loaded  map[root]merge.Face
	rows           map[root][]journal.Change
	local, central *holding
	// expectedLocal and expectedCentral are the objects that either server held before.
	expectedLocal, expectedCentral expectation
}

// glance reads what snapshot and journal hold of the roots.
func (c *comparison) glance(ctx context.Context, roots []root) (*glance, error) {
	g := &glance{comparison: c, roots: roots}
	var err error
	if g.taken, err = c.taken.faces(ctx, roots); err != nil {
		return nil, err
	}
	if g.loaded, err = c.loaded.faces(ctx, roots); err != nil {
		return nil, err
	}
	if g.rows, err = rowsUnder(ctx, c.trip.journal, roots); err != nil {
		return nil, err
	}
	return g, g.expect(ctx)
}

// expect works out what the servers are to be asked for by id. What only a base knows is among it: a deletion that is not
// home is proven by that alone, once the kit has purged what was deleted there.
func (g *glance) expect(ctx context.Context) error {
	filed := map[root]merge.Record{}
	for r := range g.rows {
		filed[r] = merge.Record{Taken: g.taken[r], Loaded: g.loaded[r]}
	}
	bases, err := g.comparison.basesOf(ctx, filed, g.rows)
	if err != nil {
		return err
	}
	g.expectedLocal, g.expectedCentral = expectation{}, expectation{}
	for _, r := range g.roots {
		known := merge.Record{Taken: g.taken[r], Loaded: g.loaded[r]}
		if rows := g.rows[r]; len(rows) > 0 {
			known = merge.Overlay(known, bases.of(r, known, rows))
		}
		g.expectedLocal[r], g.expectedCentral[r] = known.Loaded.Objects, known.Taken.Objects
	}
	return nil
}

// askServers reads what both servers hold of the roots now. It uses neither snapshot nor journal.
func (g *glance) askServers(ctx context.Context) error {
	c := g.comparison
	var err error
	if g.local, err = read(ctx, c.local, g.roots, g.expectedLocal, nil); err != nil {
		return atServer(ctx, Local, c.local.BaseURL(), err)
	}
	if g.central, err = c.readCentral(ctx, g.roots, g.expectedCentral, g.local.faces); err != nil {
		return atServer(ctx, Central, c.central.BaseURL(), err)
	}
	return nil
}

// judge settles, compares and files.
func (g *glance) judge(ctx context.Context) (*view, error) {
	v := &view{
		roots: g.roots, local: g.local, central: g.central, loaded: g.loaded,
		records: map[root]merge.Record{}, changes: map[root][]journal.Change{},
	}
	for _, r := range g.roots {
		v.records[r] = merge.Record{Taken: g.taken[r], Loaded: g.loaded[r], Local: g.local.faces[r], Central: g.central.faces[r]}
	}
	err := g.comparison.trip.journal.Together(ctx, func() error { return g.comparison.judgeAll(ctx, v, g.rows) })
	if err != nil {
		return v, err
	}
	return v, g.comparison.kept.judge(v)
}
