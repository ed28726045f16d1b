package snapshot

import (
	"context"
	"fmt"
	"iter"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

const (
	// nestedPage is the page size for whole trees, where DHIS2 2.42 is fastest for its memory; flatPage is
	// that for single events, identifierPage that for bare uids.
	nestedPage     = 500
	flatPage       = 1000
	identifierPage = 5000
)

// piece is some of a stream, and where the stream goes on behind it.
type piece[T any] struct {
	items []T
	// beyond is what the stream's date leaves out, reduced to what tells when it changes.
	beyond []T
	cursor string
	// read counts the rows that the server sent for it, kept or not.
	read int
}

// question is what is asked of a server to read one stream of objects that have uids.
type question[T any] struct {
	// about is what the stream is, for errors.
	about    string
	pageSize int
	uid      func(T) string
	// pages lists whole objects; identifiers only their uids, of the very same objects.
	pages       func(ctx context.Context, paging dhis2api.Paging) iter.Seq2[dhis2api.Page[T], error]
	identifiers func(ctx context.Context, paging dhis2api.Paging) iter.Seq2[dhis2api.Page[T], error]
	byID        func(ctx context.Context, uids []string) iter.Seq2[T, error]
	// changes lists the same objects with what tells when they change.
	changes func(ctx context.Context, paging dhis2api.Paging) iter.Seq2[dhis2api.Page[T], error]
	// keep tells whether an object belongs to the stream at all, and may trim it.
	keep func(T) bool
	// reduce is what tells when an object changes; nil where all are kept.
	reduce func(T) T
}

// keeps tells whether an object belongs to the stream, which may trim it, and if not, what to remember of it.
func (q question[T]) keeps(item T) (kept bool, beyond T) {
	if q.reduce != nil {
		beyond = q.reduce(item)
	}
	return q.keep(item), beyond
}

// take adds what was not seen yet.
func (p *piece[T]) take(q question[T], item T, seen *uidSet) {
	if !seen.add(q.uid(item)) {
		return
	}
	switch kept, beyond := q.keeps(item); {
	case kept:
		p.items = append(p.items, item)
	case q.reduce != nil:
		p.beyond = append(p.beyond, beyond)
	}
}

// ask reads a stream from a cursor on (empty: from the start). While pages are read rows may be deleted or
// moved at the server, and then others slip between two pages unseen; so at the end the uids are listed
// again, and what was never seen is fetched by uid. What was seen is added to seen, and nothing is yielded
// twice. The last piece may be empty.
func (q question[T]) ask(ctx context.Context, cursor string, seen *uidSet) iter.Seq2[piece[T], error] {
	return func(yield func(piece[T], error) bool) {
		fail := func(err error) { yield(piece[T]{}, fmt.Errorf("cannot read %s: %w", q.about, err)) }
		paging := dhis2api.Paging{PageSize: q.pageSize, Page: 1}
		if cursor != "" {
			if _, err := fmt.Sscanf(cursor, "%d/%d", &paging.PageSize, &paging.Page); err != nil {
				fail(fmt.Errorf("its receipt holds no page but %q", cursor))
				return
			}
		}
		pageSize := paging.PageSize
		for page, err := range q.pages(ctx, paging) {
			if err != nil {
				fail(err)
				return
			}
			next := piece[T]{cursor: fmt.Sprintf("%d/%d", pageSize, page.Number+1), read: len(page.Items)}
			cursor = next.cursor
			for _, item := range page.Items {
				next.take(q, item, seen)
			}
			if !yield(next, nil) {
				return
			}
		}
		missed, err := q.missed(ctx, seen)
		if err != nil {
			fail(err)
			return
		}
		last := piece[T]{cursor: cursor}
		for item, err := range q.fetch(ctx, missed) {
			if err != nil {
				fail(err)
				return
			}
			last.read++
			last.take(q, item, seen)
			if len(last.items) == pageSize {
				if !yield(last, nil) {
					return
				}
				last = piece[T]{cursor: cursor}
			}
		}
		yield(last, nil)
	}
}

func (q question[T]) fetch(ctx context.Context, uids []string) iter.Seq2[T, error] {
	if len(uids) == 0 {
		return func(func(T, error) bool) {}
	}
	return q.byID(ctx, uids)
}

// missed lists the uids that paging has not shown.
func (q question[T]) missed(ctx context.Context, seen *uidSet) ([]string, error) {
	var missed []string
	for page, err := range q.identifiers(ctx, dhis2api.Paging{PageSize: identifierPage}) {
		if err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			if !seen.has(q.uid(item)) {
				missed = append(missed, q.uid(item))
			}
		}
	}
	return missed, nil
}
