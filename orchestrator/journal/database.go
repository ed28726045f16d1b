package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// database is the file, over one connection: within Together every statement is part of its transaction. Statements are
// parsed once.
type database struct {
	file       *sql.DB
	connection *sql.Conn
	statements map[string]*sql.Stmt
	// together tells that a transaction is open, failed that something within it failed, so that none of it is kept.
	together bool
	failed   error
	// hash is of the changes as they stand; empty when something was written since it was worked out.
	hash string
	// watch is told of every write, before and after it is on the disk; nil tells nobody.
	watch func(written bool) error
}

// openDatabase connects to the file and makes what of the schema it lacks.
func openDatabase(ctx context.Context, address, schema string) (*database, error) {
	file, err := sql.Open("sqlite", address)
	if err != nil {
		return nil, err
	}
	if _, err := file.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	connection, err := file.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &database{file: file, connection: connection, statements: map[string]*sql.Stmt{}}, nil
}

func (d *database) close() error {
	var err error
	for _, statement := range d.statements {
		err = errors.Join(err, statement.Close())
	}
	return errors.Join(err, d.connection.Close(), d.file.Close())
}

func (d *database) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if known := d.statements[query]; known != nil {
		return known, nil
	}
	statement, err := d.connection.PrepareContext(ctx, query)
	if err == nil {
		d.statements[query] = statement
	}
	return statement, err
}

// brief is the context of a statement, each of which is so short that it is not worth to be interrupted: for that the driver
// would start a goroutine for every one. What has been stopped begins none.
func brief(ctx context.Context) (context.Context, error) {
	return context.WithoutCancel(ctx), ctx.Err()
}

// ExecContext carries out a statement, by itself or within Together.
func (d *database) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, err error) {
	if d.together {
		return d.exec(ctx, query, args...)
	}
	err = d.watched(func() error {
		result, err = d.exec(ctx, query, args...)
		return err
	})
	return result, err
}

// watched tells whoever watches of a write that is to be on the disk when commit returns.
func (d *database) watched(commit func() error) error {
	if d.watch == nil {
		return commit()
	}
	if err := d.watch(false); err != nil {
		return err
	}
	if err := commit(); err != nil {
		return err
	}
	return d.watch(true)
}

func (d *database) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	d.hash = ""
	ctx, err := brief(ctx)
	if err != nil {
		return nil, err
	}
	statement, err := d.statement(ctx, query) //nolint:sqlclosecheck // kept for the next time; close closes it
	if err != nil {
		return nil, err
	}
	return statement.ExecContext(ctx, args...)
}

// QueryContext carries out a query.
func (d *database) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx, err := brief(ctx)
	if err != nil {
		return nil, err
	}
	statement, err := d.statement(ctx, query) //nolint:sqlclosecheck // kept for the next time; close closes it
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

// QueryRowContext carries out a query for one row.
func (d *database) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	statement, err := d.statement(ctx, query) //nolint:sqlclosecheck // kept for the next time; close closes it
	if err != nil {
		return d.connection.QueryRowContext(ctx, query, args...) // which fails alike, and says so
	}
	return statement.QueryRowContext(ctx, args...)
}

// Together carries out f, in which every method of the journal may be called, in one transaction: all that it writes is
// on the disk when Together returns nil, or none. A disk that has to be waited for is waited for once. It may be called
// within itself.
func (j *Journal) Together(ctx context.Context, f func() error) error {
	d := j.db
	if d.together {
		err := f()
		d.failed = errors.Join(d.failed, err)
		return err
	}
	if _, err := d.exec(ctx, `BEGIN IMMEDIATE`); err != nil {
		return fmt.Errorf("cannot write to the journal: %w", err)
	}
	d.together = true
	defer func() { d.together, d.failed = false, nil }()
	err := f()
	if err == nil {
		err = d.failed
	}
	if err == nil {
		err = d.watched(func() error {
			_, err := d.exec(ctx, `COMMIT`)
			return err
		})
		if err == nil {
			return nil
		}
		err = fmt.Errorf("cannot write to the journal: %w", err)
	}
	// Also when the run is being stopped; SQLite may have rolled back by itself, and says so.
	_, undo := d.exec(context.WithoutCancel(ctx), `ROLLBACK`)
	if undo != nil && strings.Contains(undo.Error(), "no transaction is active") {
		undo = nil
	}
	return errors.Join(err, undo)
}
