package dhis2db

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Counter is the next number that DHIS2 hands out for a generated attribute and a key of its pattern. It is 1 where
// DHIS2 has no counter, which it makes with the first number.
//
// DHIS2 2.41 to 2.43: function incrementSequentialCounter.
func (d *Database) Counter(ctx context.Context, attribute, key string) (int64, error) {
	var next int64
	err := d.connection.QueryRow(ctx, `SELECT counter FROM sequentialnumbercounter WHERE owneruid = $1 AND key = $2`, attribute, key).Scan(&next)
	if errors.Is(err, pgx.ErrNoRows) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the counter of attribute %s: %w", attribute, err)
	}
	return next, nil
}

// AdvanceCounter makes next the number that DHIS2 hands out next for an attribute and a key, unless it has come
// further already: a counter never goes back. It returns where the counter then stands, and may be called again.
func (d *Database) AdvanceCounter(ctx context.Context, attribute, key string, next int64) (int64, error) {
	// The id is DHIS2's, which finds a counter by attribute and key and by nothing else.
	const query = `INSERT INTO sequentialnumbercounter AS c (id, owneruid, key, counter)
		VALUES (COALESCE(nextval(to_regclass('hibernate_sequence')), (SELECT COALESCE(max(id), 0) + 1 FROM sequentialnumbercounter)), $1, $2, $3)
		ON CONFLICT (owneruid, key) DO UPDATE SET counter = GREATEST(c.counter, EXCLUDED.counter) RETURNING counter`
	var now int64
	if err := d.connection.QueryRow(ctx, query, attribute, key, next).Scan(&now); err != nil {
		return 0, fmt.Errorf("cannot set the counter of attribute %s: %w", attribute, err)
	}
	return now, nil
}
