package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// SignOff is somebody's word that a held change may stay as it is, so that the trip can close. It is about what both
// sides held then: when one of them moves on it is about nothing any more.
type SignOff struct {
	merge.Ref
	Field          string
	Verb           merge.Verb
	Local, Central string
	Who, Reason    string
	At             time.Time
}

// Of tells whether the change is what was signed off.
func (s SignOff) Of(c Change) bool {
	return c.State.Held() && s.Ref == c.Ref && s.Field == c.Field && s.Verb == c.Verb && s.Local == c.Local && s.Central == c.Central
}

const signOffSchema = `
CREATE TABLE IF NOT EXISTS signoff(
	kind TEXT NOT NULL, uid TEXT NOT NULL, field TEXT NOT NULL, verb TEXT NOT NULL, local TEXT NOT NULL, central TEXT NOT NULL,
	who TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY(kind, uid, field)) WITHOUT ROWID;
`

// SignOff writes that a change was signed off, replacing what was signed off of it before.
func (t *Tx) SignOff(s SignOff) error {
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO signoff(kind, uid, field, verb, local, central, who, reason, at) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(kind, uid, field) DO UPDATE SET verb = excluded.verb, local = excluded.local, central = excluded.central,
		who = excluded.who, reason = excluded.reason, at = excluded.at`,
		s.Ref.Kind, s.UID, s.Field, s.Verb, s.Local, s.Central, s.Who, s.Reason, s.At.UTC().Format(time.RFC3339Nano))
	if err != nil {
		return fmt.Errorf("cannot write to the journal that %s %s was signed off: %w", s.Ref.Kind, s.UID, err)
	}
	return nil
}

// SignOffs returns all that was signed off, in the order of kind, uid and field.
func (j *Journal) SignOffs(ctx context.Context) ([]SignOff, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT kind, uid, field, verb, local, central, who, reason, at FROM signoff ORDER BY kind, uid, field`)
	if err != nil {
		return nil, fmt.Errorf("cannot read from the journal what was signed off: %w", err)
	}
	defer rows.Close()
	var all []SignOff
	for rows.Next() {
		var s SignOff
		var at string
		if err := rows.Scan(&s.Ref.Kind, &s.UID, &s.Field, &s.Verb, &s.Local, &s.Central, &s.Who, &s.Reason, &at); err != nil {
			return nil, fmt.Errorf("cannot read from the journal what was signed off: %w", err)
		}
		if s.At, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return nil, fmt.Errorf("cannot read from the journal what was signed off: %w", err)
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
