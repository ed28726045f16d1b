package dhis2db

import (
	"context"
	"fmt"
	"strconv"
)

// Mark is a moment in the life of one database.
type Mark struct {
	// System identifies the PostgreSQL cluster, Database the database in it; a restored copy has other ones.
	System   string `json:"system"`
	Database uint32 `json:"database"`
	// Timeline counts how often the cluster was brought back to an earlier moment by its archived log.
	Timeline int `json:"timeline"`
	// Oldest is the id, in 64 bits, of the oldest transaction that was not over: rows written later, also by
	// transactions that were under way, have an id at or above it.
	Oldest uint64 `json:"oldest"`
	// Next is the first id that was not given out. It never falls.
	Next uint64 `json:"next"`
	// Layout names the tables that the database had; DHIS2 changes them from version to version.
	Layout string `json:"layout"`
}

// CompareAllError says that transaction ids cannot tell what changed, so that everything has to be compared.
type CompareAllError struct {
	// Reason completes "the kit's database cannot tell what changed: ".
	Reason string
}

// Error says why.
func (e *CompareAllError) Error() string {
	return "the kit's database cannot tell what changed: " + e.Reason
}

// window is how far PostgreSQL's 32-bit transaction ids can be told apart: half of their circle.
const window = 1 << 31

// Check tells whether what was written between a mark and a later one can be told by transaction ids; else the
// error is a CompareAllError.
func (m Mark) Check(now Mark) error {
	because := func(format string, args ...any) error { return &CompareAllError{Reason: fmt.Sprintf(format, args...)} }
	switch {
	case m.System != now.System:
		return because("it is in another PostgreSQL cluster than when the trip began")
	case m.Database != now.Database:
		return because("it was made anew since the trip began")
	case m.Timeline != now.Timeline:
		return because("it was brought back to an earlier moment since the trip began")
	case m.Layout != now.Layout:
		return because("DHIS2 has other tables in it than when the trip began: its version was changed")
	case now.Next < m.Next:
		return because("its transactions count from before the trip began: it was set back to an earlier state")
	case now.Next-m.Oldest >= window:
		return because("more than 2^31 transactions have passed since the trip began")
	}
	return nil
}

func (l *Look) readMark(ctx context.Context) (Mark, error) {
	mark := Mark{Layout: l.layout.name}
	var oldest, next string
	// Functions since PostgreSQL 13; what calls the same in 9.6 to 12 is not worth its code.
	const query = `SELECT (SELECT system_identifier FROM pg_control_system())::text, (SELECT oid FROM pg_database WHERE datname = current_database()),
		(SELECT timeline_id FROM pg_control_checkpoint()),
		pg_snapshot_xmin(pg_current_snapshot())::text, pg_snapshot_xmax(pg_current_snapshot())::text`
	err := l.tx.QueryRow(ctx, query).Scan(&mark.System, &mark.Database, &mark.Timeline, &oldest, &next)
	if err != nil {
		return Mark{}, fmt.Errorf("cannot read the transaction id of the kit's database: %w", err)
	}
	if mark.Oldest, err = strconv.ParseUint(oldest, 10, 64); err != nil {
		return Mark{}, fmt.Errorf("cannot read the transaction id of the kit's database: %w", err)
	}
	if mark.Next, err = strconv.ParseUint(next, 10, 64); err != nil {
		return Mark{}, fmt.Errorf("cannot read the transaction id of the kit's database: %w", err)
	}
	return mark, nil
}
