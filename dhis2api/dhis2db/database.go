package dhis2db

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Options bend Open.
type Options struct {
	// Password is used where the URL has none.
	Password string
}

// Database is a connection to the database of the kit's DHIS2. It is for use by one goroutine at a time.
type Database struct {
	connection *pgx.Conn
	layout     layout
}

// Open connects to the database that a postgres:// URL names. The error names no password; it is a
// CompareAllError when what answers is no database of a DHIS2 2.41 to 2.43.
func Open(ctx context.Context, url string, options Options) (*Database, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("cannot read the URL of the kit's database: %w", err)
	}
	if config.Password == "" {
		config.Password = options.Password
	}
	config.RuntimeParams["application_name"] = "fieldkit"
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the kit's database: %w", err)
	}
	d := &Database{connection: connection}
	if d.layout, err = layoutOf(ctx, connection); err != nil {
		return nil, errors.Join(err, d.Close(ctx))
	}
	return d, nil
}

// Close ends the connection. It may be called twice.
func (d *Database) Close(ctx context.Context) error { return d.connection.Close(ctx) }

// layoutOf tells by its tables which versions' database this is.
func layoutOf(ctx context.Context, connection *pgx.Conn) (layout, error) {
	var one, two bool
	err := connection.QueryRow(ctx, `SELECT to_regclass('event') IS NOT NULL, to_regclass('trackerevent') IS NOT NULL`).Scan(&one, &two)
	switch {
	case err != nil:
		return layout{}, fmt.Errorf("cannot look into the kit's database: %w", err)
	case two:
		return trackerEventLayout(), nil
	case one:
		return eventLayout(), nil
	}
	return layout{}, &CompareAllError{Reason: "it has not the tables of a DHIS2 2.41 to 2.43"}
}

// Look is one moment of a database. It is valid within the function that it was given to.
type Look struct {
	tx     pgx.Tx
	layout layout
	mark   Mark
}

// Look calls f with the database as it is now: everything that f asks is answered from one moment, whatever
// is written meanwhile.
func (d *Database) Look(ctx context.Context, f func(*Look) error) error {
	tx, err := d.connection.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("cannot look into the kit's database: %w", err)
	}
	l := &Look{tx: tx, layout: d.layout}
	err = l.begin(ctx)
	if err == nil {
		err = f(l)
	}
	// Nothing was written, so nothing is lost by a rollback that fails.
	if undone := tx.Rollback(context.WithoutCancel(ctx)); err == nil && undone != nil {
		return fmt.Errorf("cannot end the look into the kit's database: %w", undone)
	}
	return err
}

func (l *Look) begin(ctx context.Context) error {
	// Compiling a query that runs once costs more than it saves.
	if _, err := l.tx.Exec(ctx, `SET LOCAL jit = off`); err != nil {
		return fmt.Errorf("cannot look into the kit's database: %w", err)
	}
	var err error
	l.mark, err = l.readMark(ctx)
	return err
}

// Mark is the moment of the look.
func (l *Look) Mark() Mark { return l.mark }
