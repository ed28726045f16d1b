package dhis2db

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
)

// Key is a root that is there, and which rows it consists of.
type Key struct {
	Kind Kind
	// Name is the root's as the database orders it; Look.Root makes it the root's key.
	Name string
	// Rows is a fingerprint of the ids of its rows. It means something only within one database.
	Rows string
}

// Keys yields every root that is there and not marked as deleted, in or out of scope, in a fixed order: by kind,
// then by the bytes of its name.
func (l *Look) Keys(ctx context.Context) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		for _, tables := range l.layout.roots {
			more, err := l.each(ctx, func(rows pgx.Rows) (bool, error) {
				key := Key{Kind: tables.kind}
				err := rows.Scan(&key.Name, &key.Rows)
				return err == nil && yield(key, nil), err
			}, tables.keysQuery())
			if err != nil {
				yield(Key{}, fmt.Errorf("cannot read the keys of kind %s from the kit's database: %w", tables.kind, err))
			}
			if !more {
				return
			}
		}
	}
}

// Root is the root that a key is of. The error is a CompareAllError for a period that cannot be written in ISO
// form.
func (l *Look) Root(key Key) (Root, error) { return l.layout.root(key.Kind, key.Name) }

// Difference is a root whose rows are not those that they were.
type Difference struct {
	Key
	// Gone tells that the root itself is there no more.
	Gone bool
}

// CompareKeys holds two sequences of Keys against each other and yields the roots of the first that the second
// has no more, or has with other rows. What only the second has was written in between, and is found as that.
// present, unless nil, is called with every key of the second. Neither sequence is kept in memory.
func CompareKeys(before, now iter.Seq2[Key, error], present func(Key) error) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		next, stop := iter.Pull2(before)
		defer stop()
		old, oldErr, more := next()
		advance := func() { old, oldErr, more = next() }
		for key, err := range now {
			if err == nil && present != nil {
				err = present(key)
			}
			if err != nil {
				yield(Difference{}, err)
				return
			}
			for more && oldErr == nil && old.before(key) {
				if !yield(Difference{Key: old, Gone: true}, nil) {
					return
				}
				advance()
			}
			if more && oldErr == nil && old.Kind == key.Kind && old.Name == key.Name {
				if old.Rows != key.Rows && !yield(Difference{Key: key}, nil) {
					return
				}
				advance()
			}
		}
		for more && oldErr == nil {
			if !yield(Difference{Key: old, Gone: true}, nil) {
				return
			}
			advance()
		}
		if oldErr != nil {
			yield(Difference{}, oldErr)
		}
	}
}

// before tells whether a key comes before another in the order of Keys.
func (k Key) before(other Key) bool {
	if k.Kind != other.Kind {
		return k.Kind.place() < other.Kind.place()
	}
	return k.Name < other.Name
}

func (k Kind) place() int {
	switch k {
	case TrackedEntity:
		return 0
	case Event:
		return 1
	case Relationship:
		return 2
	}
	return 3
}
