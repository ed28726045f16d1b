package journal

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// Authorship is who made a change on the kit, and when, as the kit said when it was sent: central puts the importing
// account and its own time (DHIS2 2.41 to 2.43).
type Authorship struct {
	merge.Ref
	Field string
	Verb  merge.Verb
	// Made is by whom and when on the kit; empty where the kit does not say.
	Made Edit
	// Sent is when it was sent last.
	Sent time.Time
}

const ledgerSchema = `
CREATE TABLE IF NOT EXISTS authorship(
	kind TEXT NOT NULL, uid TEXT NOT NULL, field TEXT NOT NULL, made_by TEXT NOT NULL, made_at TEXT NOT NULL, sent TEXT NOT NULL,
	PRIMARY KEY(kind, uid, field)) WITHOUT ROWID;
`

// SetAuthorship writes who made a change that is being sent, replacing what was written of it before.
func (t *Tx) SetAuthorship(a Authorship) error {
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO authorship(kind, uid, field, made_by, made_at, sent) VALUES(?, ?, ?, ?, ?, ?)
		ON CONFLICT(kind, uid, field) DO UPDATE SET made_by = excluded.made_by, made_at = excluded.made_at, sent = excluded.sent`,
		a.Ref.Kind, a.UID, a.Field, a.Made.By, a.Made.At, a.Sent.UTC().Format(time.RFC3339Nano))
	if err != nil {
		return fmt.Errorf("cannot write to the journal who changed %s %s: %w", a.Ref.Kind, a.UID, err)
	}
	return nil
}

// Authorships yields who made what was sent and is proven to be home, in the order of the changes' numbers. The journal
// must not be written to meanwhile.
func (j *Journal) Authorships(ctx context.Context) iter.Seq2[Authorship, error] {
	return func(yield func(Authorship, error) bool) {
		fail := func(err error) {
			yield(Authorship{}, fmt.Errorf("cannot read from the journal who changed what: %w", err))
		}
		rows, err := j.db.QueryContext(ctx, `SELECT a.kind, a.uid, a.field, c.verb, a.made_by, a.made_at, a.sent FROM change c
			JOIN authorship a ON a.kind = c.kind AND a.uid = c.uid AND a.field = c.field WHERE c.state = ? ORDER BY c.number`, Pushed)
		if err != nil {
			fail(err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var a Authorship
			var sent string
			if err := rows.Scan(&a.Ref.Kind, &a.UID, &a.Field, &a.Verb, &a.Made.By, &a.Made.At, &sent); err != nil {
				fail(err)
				return
			}
			if a.Sent, err = time.Parse(time.RFC3339Nano, sent); err != nil {
				fail(err)
				return
			}
			if !yield(a, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			fail(err)
		}
	}
}
