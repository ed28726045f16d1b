package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

const changeColumns = `number, kind, uid, field, parent_kind, parent_uid, root, verb, base, local, central, state, code, reason, hint, circumstance, content, run`

// Tx is one transaction on the journal, or a part of one.
type Tx struct {
	ctx context.Context
	tx  *database
}

// Update carries out f in one transaction: all it writes is on the disk when Update returns nil, or none; within
// Together, when that returns.
func (j *Journal) Update(ctx context.Context, f func(*Tx) error) error {
	return j.Together(ctx, func() error { return f(&Tx{ctx: ctx, tx: j.db}) })
}

// Put writes a change under its key, replacing how it stood; its number stays.
func (t *Tx) Put(c Change) error {
	content := ""
	if len(c.Content) > 0 {
		raw, err := json.Marshal(c.Content)
		if err != nil {
			return fmt.Errorf("cannot write %s %s to the journal: %w", c.Ref.Kind, c.UID, err)
		}
		content = string(raw)
	}
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO change(kind, uid, field, parent_kind, parent_uid, root, verb, base, local, central, state, code, reason, hint, circumstance, content, run)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(kind, uid, field) DO UPDATE SET parent_kind = excluded.parent_kind, parent_uid = excluded.parent_uid, root = excluded.root,
		verb = excluded.verb, base = excluded.base, local = excluded.local, central = excluded.central, state = excluded.state, code = excluded.code,
		reason = excluded.reason, hint = excluded.hint, circumstance = excluded.circumstance, content = excluded.content, run = excluded.run`,
		c.Ref.Kind, c.UID, c.Field, c.Parent.Kind, c.Parent.UID, c.Root, c.Verb, c.Base, c.Local, c.Central, c.State, c.Code, c.Reason, c.Hint, c.Circumstance, content, c.Run)
	if err != nil {
		return fmt.Errorf("cannot write %s %s to the journal: %w", c.Ref.Kind, c.UID, err)
	}
	return nil
}

// Withdraw removes a change that the kit no longer has: its field is back at what it was.
func (t *Tx) Withdraw(ref merge.Ref, field string) error {
	_, err := t.tx.ExecContext(t.ctx, `DELETE FROM change WHERE kind = ? AND uid = ? AND field = ?`, ref.Kind, ref.UID, field)
	if err != nil {
		return fmt.Errorf("cannot withdraw %s %s from the journal: %w", ref.Kind, ref.UID, err)
	}
	return nil
}

// SetBase sets what a field is compared with from now on.
func (t *Tx) SetBase(b merge.Base) error {
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO base(kind, uid, field, taken, loaded, taken_present, loaded_present) VALUES(?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(kind, uid, field) DO UPDATE SET taken = excluded.taken, loaded = excluded.loaded, taken_present = excluded.taken_present, loaded_present = excluded.loaded_present`,
		b.Kind, b.UID, b.Field, b.Taken, b.Loaded, b.TakenPresent, b.LoadedPresent)
	if err != nil {
		return fmt.Errorf("cannot write the base of %s %s to the journal: %w", b.Kind, b.UID, err)
	}
	return nil
}

// Note writes a note, replacing an earlier one about the same field.
func (t *Tx) Note(n Note, run int) error {
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO note(kind, object, uid, field, person, base, local, central, reason, run) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(kind, object, uid, field) DO UPDATE SET base = excluded.base, local = excluded.local, central = excluded.central, reason = excluded.reason, run = excluded.run`,
		n.Kind, n.Ref.Kind, n.UID, n.Field, n.Person, n.Base, n.Local, n.Central, n.Reason, run)
	if err != nil {
		return fmt.Errorf("cannot write a note on %s %s to the journal: %w", n.Ref.Kind, n.UID, err)
	}
	return nil
}

func stateClause(states []State) (string, []any) {
	if len(states) == 0 {
		return "", nil
	}
	args := make([]any, len(states))
	for i, s := range states {
		args[i] = s
	}
	return ` AND state IN (?` + strings.Repeat(`, ?`, len(states)-1) + `)`, args
}

func (j *Journal) page(ctx context.Context, query string, args ...any) ([]Change, error) {
	rows, err := j.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's changes: %w", err)
	}
	defer rows.Close()
	var page []Change
	for rows.Next() {
		var c Change
		var content string
		if err := rows.Scan(&c.Number, &c.Ref.Kind, &c.UID, &c.Field, &c.Parent.Kind, &c.Parent.UID, &c.Root, &c.Verb, &c.Base, &c.Local, &c.Central,
			&c.State, &c.Code, &c.Reason, &c.Hint, &c.Circumstance, &content, &c.Run); err != nil {
			return nil, fmt.Errorf("cannot read the journal's changes: %w", err)
		}
		if content != "" {
			if err := json.Unmarshal([]byte(content), &c.Content); err != nil {
				return nil, fmt.Errorf("cannot read the journal's change %d: %w", c.Number, err)
			}
		}
		page = append(page, c)
	}
	return page, rows.Err()
}
