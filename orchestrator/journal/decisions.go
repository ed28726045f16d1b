package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// Edit is who changed something last and when, as a server tells it; empty where it does not. The time is the
// wall clock of the server's zone, and its clock may be wrong: it is there to be read, never compared.
type Edit struct{ By, At string }

// Shown is a conflict as people were shown it. Its number stands for what both sides held then, over all runs and
// trips: when one of them moves on, the conflict is shown anew under another number.
type Shown struct {
	Number int
	merge.Ref
	Field string
	// Root is as in Change.
	Root                 string
	Verb                 merge.Verb
	Base, Local, Central string
	// Circumstance is a fingerprint of what central held, where Central does not say it all.
	Circumstance     string
	OnKit, AtCentral Edit
}

// Of tells whether the change is still what was shown.
func (s Shown) Of(c Change) bool {
	return s.Ref == c.Ref && s.Field == c.Field && s.Verb == c.Verb && s.Local == c.Local && s.Central == c.Central && s.Circumstance == c.Circumstance
}

// Outcome is what came of a decision.
type Outcome string

// The outcomes.
const (
	// Standing: it was given, and its change is not settled yet.
	Standing Outcome = ""
	// CarriedOut: central was read back and holds what was decided.
	CarriedOut Outcome = "carriedOut"
	// NotApplied: it was about a state that is no more, or cannot be.
	NotApplied Outcome = "notApplied"
	// Replaced: another decision was given in its place.
	Replaced Outcome = "replaced"
)

// Decision is what somebody, or a rule of fieldkit.yaml, decided about a conflict.
type Decision struct {
	Shown
	// Choice is a word of the orchestrator's; Value goes with it.
	Choice, Value string
	Who           string
	At            time.Time
	// Policy is true for a rule's decision.
	Policy  bool
	Outcome Outcome
	// Reason says why it was not applied.
	Reason string
	// Carried is true when it was given on an earlier trip.
	Carried bool
}

const decisionSchema = `
CREATE TABLE IF NOT EXISTS conflict(
	number INTEGER PRIMARY KEY AUTOINCREMENT,
	kind TEXT NOT NULL, uid TEXT NOT NULL, field TEXT NOT NULL, root TEXT NOT NULL, verb TEXT NOT NULL,
	base TEXT NOT NULL, local TEXT NOT NULL, central TEXT NOT NULL, circumstance TEXT NOT NULL,
	local_by TEXT NOT NULL, local_at TEXT NOT NULL, central_by TEXT NOT NULL, central_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS conflict_object ON conflict(kind, uid, field);
CREATE TABLE IF NOT EXISTS decision(
	id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL REFERENCES conflict(number),
	choice TEXT NOT NULL, value TEXT NOT NULL, who TEXT NOT NULL, at TEXT NOT NULL, policy INTEGER NOT NULL,
	outcome TEXT NOT NULL, reason TEXT NOT NULL, carried INTEGER NOT NULL);
`

const shownColumns = `c.number, c.kind, c.uid, c.field, c.root, c.verb, c.base, c.local, c.central, c.circumstance, c.local_by, c.local_at, c.central_by, c.central_at`

func (s *Shown) fields() []any {
	return []any{
		&s.Number, &s.Ref.Kind, &s.UID, &s.Field, &s.Root, &s.Verb, &s.Base, &s.Local, &s.Central, &s.Circumstance,
		&s.OnKit.By, &s.OnKit.At, &s.AtCentral.By, &s.AtCentral.At,
	}
}

// Shown returns the conflict that was shown under a number, and whether there is one.
func (j *Journal) Shown(ctx context.Context, number int) (Shown, bool, error) {
	return shown(j.db.QueryRowContext(ctx, `SELECT `+shownColumns+` FROM conflict c WHERE number = ?`, number))
}

// LastShown returns a change as it was shown last, and whether it ever was.
func (j *Journal) LastShown(ctx context.Context, ref merge.Ref, field string) (Shown, bool, error) {
	return shown(j.db.QueryRowContext(ctx, lastShown, ref.Kind, ref.UID, field))
}

const lastShown = `SELECT ` + shownColumns + ` FROM conflict c WHERE kind = ? AND uid = ? AND field = ? ORDER BY number DESC LIMIT 1`

func shown(row *sql.Row) (Shown, bool, error) {
	var s Shown
	err := row.Scan(s.fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		return Shown{}, false, nil
	}
	if err != nil {
		return Shown{}, false, fmt.Errorf("cannot read the journal's conflicts: %w", err)
	}
	return s, true, nil
}

// AllShown returns every conflict that was ever shown, by number.
func (j *Journal) AllShown(ctx context.Context) ([]Shown, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT `+shownColumns+` FROM conflict c ORDER BY number`)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's conflicts: %w", err)
	}
	defer rows.Close()
	var all []Shown
	for rows.Next() {
		var s Shown
		if err := rows.Scan(s.fields()...); err != nil {
			return nil, fmt.Errorf("cannot read the journal's conflicts: %w", err)
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// Decisions returns every decision in the order in which they were given.
func (j *Journal) Decisions(ctx context.Context) ([]Decision, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT d.choice, d.value, d.who, d.at, d.policy, d.outcome, d.reason, d.carried, `+shownColumns+`
		FROM decision d JOIN conflict c ON c.number = d.number ORDER BY d.id`)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's decisions: %w", err)
	}
	defer rows.Close()
	var all []Decision
	for rows.Next() {
		var d Decision
		var at string
		if err := rows.Scan(append([]any{&d.Choice, &d.Value, &d.Who, &at, &d.Policy, &d.Outcome, &d.Reason, &d.Carried}, d.fields()...)...); err != nil {
			return nil, fmt.Errorf("cannot read the journal's decisions: %w", err)
		}
		if d.At, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return nil, fmt.Errorf("cannot read the journal's decisions: %w", err)
		}
		all = append(all, d)
	}
	return all, rows.Err()
}

// Show gives a held change its number: that which it has, as long as it is what was shown under it, else the next.
func (t *Tx) Show(c Change, onKit, atCentral Edit) error {
	last, known, err := shown(t.tx.QueryRowContext(t.ctx, lastShown, c.Ref.Kind, c.UID, c.Field))
	if err != nil {
		return err
	}
	if known && last.Of(c) {
		return nil
	}
	return t.PutShown(Shown{
		Ref: c.Ref, Field: c.Field, Root: c.Root, Verb: c.Verb, Base: c.Base, Local: c.Local, Central: c.Central, Circumstance: c.Circumstance,
		OnKit: onKit, AtCentral: atCentral,
	})
}

// PutShown writes a conflict under its number, or under the next one when it has none. What stands under a number
// already stays.
func (t *Tx) PutShown(s Shown) error {
	var number any
	if s.Number != 0 {
		number = s.Number
	}
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO conflict(number, kind, uid, field, root, verb, base, local, central, circumstance, local_by, local_at, central_by, central_at)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(number) DO NOTHING`,
		number, s.Ref.Kind, s.UID, s.Field, s.Root, s.Verb, s.Base, s.Local, s.Central, s.Circumstance, s.OnKit.By, s.OnKit.At, s.AtCentral.By, s.AtCentral.At)
	if err != nil {
		return fmt.Errorf("cannot write the conflict of %s %s to the journal: %w", s.Ref.Kind, s.UID, err)
	}
	return nil
}

// Decide writes a decision. One about the same change that still stands is replaced by it.
func (t *Tx) Decide(d Decision) error {
	if d.Outcome == Standing {
		if err := t.EndDecision(d.Ref, d.Field, Replaced, ""); err != nil {
			return err
		}
	}
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO decision(number, choice, value, who, at, policy, outcome, reason, carried) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.Number, d.Choice, d.Value, d.Who, d.At.UTC().Format(time.RFC3339Nano), d.Policy, d.Outcome, d.Reason, d.Carried)
	if err != nil {
		return fmt.Errorf("cannot write the decision on conflict %d to the journal: %w", d.Number, err)
	}
	return nil
}

// EndDecision writes what came of the decision about a change that still stands; without one it does nothing.
func (t *Tx) EndDecision(ref merge.Ref, field string, outcome Outcome, reason string) error {
	_, err := t.tx.ExecContext(t.ctx, `UPDATE decision SET outcome = ?, reason = ? WHERE outcome = '' AND number IN
		(SELECT number FROM conflict WHERE kind = ? AND uid = ? AND field = ?)`, outcome, reason, ref.Kind, ref.UID, field)
	if err != nil {
		return fmt.Errorf("cannot write what came of a decision on %s %s to the journal: %w", ref.Kind, ref.UID, err)
	}
	return nil
}
