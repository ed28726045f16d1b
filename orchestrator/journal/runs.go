package journal

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Run is one going of reconcile, as it was noted.
type Run struct {
	// Number counts from 1. Mode is what BeginRun was given.
	Number int
	Mode   string
	Began  time.Time
	// Ended is zero, and Outcome empty, for a run that has not ended or was killed.
	Ended   time.Time
	Outcome string
	// Sums is what SumUp was given; empty where the run did not come so far.
	Sums string
}

// sumsOf is the fact that holds how the trip stood after a run.
const sumsOf = "sums of run "

// SumUp notes how the trip stands after a run, in the caller's words. It may be called again.
func (j *Journal) SumUp(ctx context.Context, run int, sums string) error {
	return j.SetFact(ctx, fmt.Sprintf("%s%d", sumsOf, run), sums)
}

// Runs returns all runs in their order.
func (j *Journal) Runs(ctx context.Context) ([]Run, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT r.id, r.mode, r.began, r.ended, coalesce(r.outcome, ''), coalesce(f.value, '')
		FROM run r LEFT JOIN fact f ON f.name = ? || r.id ORDER BY r.id`, sumsOf)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's runs: %w", err)
	}
	defer rows.Close()
	var runs []Run
	for rows.Next() {
		var r Run
		var began string
		var ended sql.NullString
		if err := rows.Scan(&r.Number, &r.Mode, &began, &ended, &r.Outcome, &r.Sums); err != nil {
			return nil, fmt.Errorf("cannot read the journal's runs: %w", err)
		}
		if r.Began, err = time.Parse(time.RFC3339Nano, began); err != nil {
			return nil, fmt.Errorf("cannot read when run %d began: %w", r.Number, err)
		}
		if ended.Valid {
			if r.Ended, err = time.Parse(time.RFC3339Nano, ended.String); err != nil {
				return nil, fmt.Errorf("cannot read when run %d ended: %w", r.Number, err)
			}
		}
		runs = append(runs, r)
	}
	return runs, rows.Err()
}
