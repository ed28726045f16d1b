package dhis2db

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
)

// Scope is what a kit carries, by uids. Everything at and below OrgUnits belongs to it.
type Scope struct {
	Programs, TrackedEntityTypes, DataSets, OrgUnits []string
}

// Root names a root. Key is the uid of a tracked entity or relationship, PROGRAM.EVENT of an event, and
// DATASET.PERIOD.ORGUNIT of a form, the period in ISO form.
type Root struct {
	Kind Kind
	Key  string
}

// Changed is a root of which a row was written.
type Changed struct {
	Root
	// InScope tells whether it belongs to the scope as it is now. One that was deleted, or that left the
	// scope, does not: whether it ever did the caller knows.
	InScope bool
}

// Changed yields the roots of which a row was written since a mark, each once: its own row or one that belongs
// to it (attribute values, owners, enrollments, events, notes, ends of relationships, files, values,
// completions), a row that was only marked as deleted included. A row that was removed is not among them: see
// Keys. The mark must have passed Check.
func (l *Look) Changed(ctx context.Context, since Mark, scope Scope) iter.Seq2[Changed, error] {
	return func(yield func(Changed, error) bool) {
		if err := l.checkCalendar(ctx); err != nil {
			yield(Changed{}, err)
			return
		}
		parameters := []any{list(scope.Programs), list(scope.TrackedEntityTypes), list(scope.DataSets), list(scope.OrgUnits), int64(since.Oldest & 0xffffffff)}
		for _, tables := range l.layout.roots {
			more, err := l.each(ctx, func(rows pgx.Rows) (bool, error) {
				var raw string
				found := Changed{}
				err := rows.Scan(&raw, &found.InScope)
				if err == nil {
					found.Root, err = l.layout.root(tables.kind, raw)
				}
				return err == nil && yield(found, nil), err
			}, tables.changedQuery(), parameters...)
			if err != nil {
				yield(Changed{}, fmt.Errorf("cannot read the kit's database for changes of kind %s: %w", tables.kind, err))
			}
			if !more {
				return
			}
		}
	}
}

// each reads the rows of a query until visit wants no more, and tells whether it wants more of another.
func (l *Look) each(ctx context.Context, visit func(pgx.Rows) (more bool, err error), query string, parameters ...any) (more bool, err error) {
	rows, err := l.tx.Query(ctx, query, parameters...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		if more, err := visit(rows); err != nil || !more {
			return false, err
		}
	}
	return rows.Err() == nil, rows.Err()
}

// list makes an empty array of nil, which would be null.
func list(uids []string) []string {
	if uids == nil {
		return []string{}
	}
	return uids
}
