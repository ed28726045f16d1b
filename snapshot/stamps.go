package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/scratch"
)

// stampsName is the file in a snapshot's directory that stamps are kept in while they are needed.
const stampsName = "changes.db"

// stamps are the marks of many records, by uid. They lie in a scratch file, for a scope may have a million. First all are
// added, then they are looked for.
type stamps struct {
	file   *scratch.File
	tx     *sql.Tx
	insert *sql.Stmt
	rows   []any
	find   *sql.Stmt
	// size is how many there are of different uids, once they are sorted.
	size int64
}

// stampRows is how many go to the file at once.
const stampRows = 200

func insertStamps(rows int) string {
	return `INSERT INTO listed VALUES ` + strings.TrimSuffix(strings.Repeat(`(?,?,?),`, rows), ",")
}

// newStamps begins with none. close is to be called in any case.
func newStamps(ctx context.Context, directory string) (*stamps, error) {
	file, err := scratch.Open(filepath.Join(directory, stampsName))
	if err != nil {
		return nil, err
	}
	s := &stamps{file: file}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot note what may have changed: %w", err), s.close())
	}
	return s, nil
}

func (s *stamps) begin(ctx context.Context) (err error) {
	if s.tx, err = s.file.BeginTx(ctx, nil); err != nil {
		return err
	}
	if _, err = s.tx.ExecContext(ctx, `CREATE TABLE listed(uid TEXT NOT NULL, base INTEGER NOT NULL, ties INTEGER NOT NULL)`); err != nil {
		return err
	}
	s.insert, err = s.tx.PrepareContext(ctx, insertStamps(stampRows))
	return err
}

// add notes a record. One that is added twice, otherwise, is like nothing that there was.
func (s *stamps) add(ctx context.Context, uid string, m mark) error {
	s.rows = append(s.rows, uid, int64(m.base), int64(m.ties))
	if len(s.rows) < 3*stampRows {
		return nil
	}
	_, err := s.insert.ExecContext(ctx, s.rows...)
	s.rows = s.rows[:0]
	return err
}

// sort ends the adding.
func (s *stamps) sort(ctx context.Context) error {
	if len(s.rows) > 0 {
		if _, err := s.tx.ExecContext(ctx, insertStamps(len(s.rows)/3), s.rows...); err != nil {
			return err
		}
		s.rows = nil
	}
	for _, statement := range []string{
		`CREATE TABLE stamp(uid TEXT PRIMARY KEY, base INTEGER NOT NULL, ties INTEGER NOT NULL) WITHOUT ROWID`,
		`INSERT INTO stamp SELECT uid, max(base), max(ties) FROM listed GROUP BY uid ORDER BY uid`,
		`DROP TABLE listed`,
	} {
		if _, err := s.tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if err := s.tx.QueryRowContext(ctx, `SELECT count(*) FROM stamp`).Scan(&s.size); err != nil {
		return err
	}
	err := s.tx.Commit()
	s.tx = nil
	if err == nil {
		s.find, err = s.file.PrepareContext(ctx, `SELECT base, ties FROM stamp WHERE uid = ?`)
	}
	return err
}

// of is the mark of a uid, and whether it has one.
func (s *stamps) of(ctx context.Context, uid string) (mark, bool, error) {
	var base, ties int64
	err := s.find.QueryRowContext(ctx, uid).Scan(&base, &ties)
	if errors.Is(err, sql.ErrNoRows) {
		return mark{}, false, nil
	}
	return mark{base: uint64(base), ties: uint64(ties)}, err == nil, err
}

// uids yields all, in order. Meanwhile nothing may be looked for.
func (s *stamps) uids(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		rows, err := s.file.QueryContext(ctx, `SELECT uid FROM stamp ORDER BY uid`)
		if err != nil {
			yield("", err)
			return
		}
		defer func() { _ = rows.Close() }() // its error is that of rows.Err
		for rows.Next() {
			var uid string
			if err := rows.Scan(&uid); !yield(uid, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield("", err)
		}
	}
}

// close removes the file.
func (s *stamps) close() error {
	var err error
	if s.tx != nil {
		err = s.tx.Rollback()
	}
	if s.find != nil {
		err = errors.Join(err, s.find.Close())
	}
	return errors.Join(err, s.file.Close())
}
