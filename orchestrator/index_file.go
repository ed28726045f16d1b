package orchestrator

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/scratch"
)

// indexName is the file in a trip's folder that indexes are kept in while they are needed.
const indexName = "index.db"

// indexFile is where indexes lie: on disk, for a scope may have a million records.
type indexFile struct{ db *scratch.File }

// openIndexFile begins an empty file; close removes it.
func openIndexFile(path string) (*indexFile, error) {
	db, err := scratch.Open(path)
	if err != nil {
		return nil, err
	}
	return &indexFile{db: db}, nil
}

// close removes the file. It may be called on nil.
func (f *indexFile) close() error {
	if f == nil {
		return nil
	}
	return f.db.Close()
}

// indexRows is how many rows go to the file at once.
const indexRows = 200

// indexWriter fills one index of a file: pieces in any order, several of one key too.
type indexWriter struct {
	file   *indexFile
	name   string
	tx     *sql.Tx
	many   *sql.Stmt
	values []any
}

// write begins the index of a name anew. No other index of the file can be used until finish or abandon.
func (f *indexFile) write(ctx context.Context, name string) (*indexWriter, error) {
	tx, err := f.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot write the index: %w", err)
	}
	w := &indexWriter{file: f, name: name, tx: tx}
	for _, statement := range []string{
		`DROP TABLE IF EXISTS ` + name,
		`DROP TABLE IF EXISTS piece`,
		`CREATE TABLE piece(root TEXT NOT NULL, subject TEXT NOT NULL, place INTEGER NOT NULL, a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER NOT NULL, d INTEGER NOT NULL)`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot write the index: %w", err), tx.Rollback())
		}
	}
	if w.many, err = tx.PrepareContext(ctx, insertPieces(indexRows)); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot write the index: %w", err), tx.Rollback())
	}
	return w, nil
}

const pieceColumns = 7

func insertPieces(rows int) string {
	return `INSERT INTO piece VALUES ` + strings.TrimSuffix(strings.Repeat(`(?,?,?,?,?,?,?),`, rows), ",")
}

// add adds a piece that lies at a place of the snapshot; the zero place will do where it is never read again.
func (w *indexWriter) add(ctx context.Context, key pieceKey, at place, content [16]byte) error {
	w.values = append(w.values, key.root.String(), key.subject, int64(at))
	for word := range 4 {
		value := content[4*word:]
		w.values = append(w.values, int64(value[0])<<24|int64(value[1])<<16|int64(value[2])<<8|int64(value[3]))
	}
	if len(w.values) < indexRows*pieceColumns {
		return nil
	}
	_, err := w.many.ExecContext(ctx, w.values...)
	w.values = w.values[:0]
	return cmp.Or(ctx.Err(), err)
}

// finish makes the index of what was added, and returns how many entries it has. The content of an entry is the sum
// of its pieces', word by word, for a form arrives value by value.
func (w *indexWriter) finish(ctx context.Context) (entries int64, err error) {
	defer func() {
		if err != nil {
			err = w.abandon(fmt.Errorf("cannot write the index: %w", cmp.Or(ctx.Err(), err)))
		}
	}()
	if rows := len(w.values) / pieceColumns; rows > 0 {
		if _, err := w.tx.ExecContext(ctx, insertPieces(rows), w.values...); err != nil {
			return 0, err
		}
	}
	for _, statement := range []string{
		`CREATE TABLE ` + w.name + `(root TEXT NOT NULL, subject TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
			a INTEGER NOT NULL, b INTEGER NOT NULL, c INTEGER NOT NULL, d INTEGER NOT NULL, PRIMARY KEY(root, subject)) WITHOUT ROWID`,
		`INSERT INTO ` + w.name + ` SELECT root, subject, min(place), max(place), sum(a), sum(b), sum(c), sum(d) FROM piece
			GROUP BY root, subject ORDER BY root, subject`,
		`DROP TABLE piece`,
	} {
		if _, err := w.tx.ExecContext(ctx, statement); err != nil {
			return 0, err
		}
	}
	if err := w.tx.QueryRowContext(ctx, `SELECT count(*) FROM `+w.name).Scan(&entries); err != nil {
		return 0, err
	}
	return entries, w.tx.Commit()
}

// abandon gives an index up; err is why. When the run is being stopped the transaction has ended by itself.
func (w *indexWriter) abandon(err error) error {
	undo := w.tx.Rollback()
	if errors.Is(undo, sql.ErrTxDone) {
		undo = nil
	}
	return errors.Join(err, undo)
}

// difference is an entry that another index lacks, or has with other content.
type difference struct {
	pieceKey
	// missing tells that the other lacks it, empty that it has no content here.
	missing, empty bool
}

// differences calls f with what one index has otherwise than another. Meanwhile f may not use the file.
func (f *indexFile) differences(ctx context.Context, name, other string, yield func(difference) error) error {
	return f.each(ctx, func(rows *sql.Rows) error {
		var text string
		var d difference
		if err := rows.Scan(&text, &d.subject, &d.missing, &d.empty); err != nil {
			return err
		}
		var err error
		if d.root, err = parseRoot(text); err != nil {
			return err
		}
		return yield(d)
	}, `SELECT x.root, x.subject, o.root IS NULL, (x.a, x.b, x.c, x.d) = (0, 0, 0, 0)`+differs(name, other))
}

// differs selects the entries x of one index of which another has none, or one of other content (o).
func differs(name, other string) string {
	return ` FROM ` + name + ` x LEFT JOIN ` + other + ` o ON o.root = x.root AND o.subject = x.subject
		WHERE o.root IS NULL OR (x.a, x.b, x.c, x.d) <> (o.a, o.b, o.c, o.d)`
}

// lacking calls f with the roots of one index of which another has nothing. Meanwhile f may not use the file.
func (f *indexFile) lacking(ctx context.Context, name, other string, yield func(root) error) error {
	return f.each(ctx, func(rows *sql.Rows) error {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		r, err := parseRoot(text)
		if err != nil {
			return err
		}
		return yield(r)
	}, `SELECT DISTINCT root FROM `+name+` x WHERE NOT EXISTS (SELECT 1 FROM `+other+` o WHERE o.root = x.root)`)
}

// places calls f with the first and the last place of the roots' pieces.
func (f *indexFile) places(ctx context.Context, name string, roots []root, yield func(r root, first, last place) error) error {
	names := make([]string, len(roots))
	for i, r := range roots {
		names[i] = r.String()
	}
	list, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return f.each(ctx, func(rows *sql.Rows) error {
		var text string
		var first, last place
		if err := rows.Scan(&text, &first, &last); err != nil {
			return err
		}
		r, err := parseRoot(text)
		if err != nil {
			return err
		}
		return yield(r, first, last)
	}, `SELECT root, first, last FROM `+name+` WHERE root IN (SELECT value FROM json_each(?))`, string(list))
}

func (f *indexFile) each(ctx context.Context, yield func(*sql.Rows) error, query string, arguments ...any) (err error) {
	rows, err := f.db.QueryContext(ctx, query, arguments...)
	if err != nil {
		return fmt.Errorf("cannot read the index: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := yield(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("cannot read the index: %w", err)
	}
	return nil
}
