package dhis2sim

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Database says where a server keeps its data.
type Database struct {
	// URL is the PostgreSQL database: "postgres://user:password@host:port/name". It needs PostGIS, and has either nothing in it
	// or what a Server of the same minor version has made.
	URL string
	// Files is the directory for the content of files; they are in the database too when it is empty.
	Files string
}

// Open returns a server that keeps its data in a database, in the tables and columns of a real one of its version: a fresh
// server when the database is empty, else one with what is there. A change is committed before it is answered; jobs and
// sessions alone end with the server. What others change in the database is seen by the next request.
//
// It fails when the version cannot be simulated, when the database cannot be reached or is another program's or another
// version's. Only one Server may use a database. Whoever opened it closes it.
func Open(ctx context.Context, options Options, database Database) (*Server, error) {
	s, err := emptyServer(options)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(database.URL)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	config.ConnConfig.RuntimeParams["application_name"] = "dhis2sim"
	config.ConnConfig.RuntimeParams["dhis2sim.own"] = "on" // tells our writes from those of others, see table.watch
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	p := &postgres{pool: pool, files: database.Files, dialect: newDialect(s.minor), zone: s.options.Zone, seed: maphash.MakeSeed()}
	s.storage, s.changed = p, &changes{noted: map[any]bool{}}
	s.stale.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("database: %w", err)
	}
	return s, nil
}

// Close gives back the connections to the database, if there is one; requests fail from then on. It may be called twice.
func (s *Server) Close() {
	if s.storage != nil {
		s.pending.Wait()
		s.storage.close()
	}
}

// postgres keeps a server's data in a database.
type postgres struct {
	pool    *pgxpool.Pool
	files   string // directory of files, "" when they are in the database
	dialect *dialect
	zone    *time.Location
	seed    maphash.Seed

	// The numbers of changes by others when memory was loaded: of everything but counters, and of counters.
	outside, counters atomic.Int64

	// What follows is guarded by the server's lock.

	// numbers are the ids that rows have, by kind ("programs", "period") and name (uid).
	numbers map[string]map[string]int64
	last    int64
	stored  map[any][]storedRow // the rows of everything that changes can name
	made    []tableRow          // rows that others need and that are not stored yet
}

func (p *postgres) close() { p.pool.Close() }

func (p *postgres) current(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	outside, counters, err := p.state(ctx, p.pool)
	if err != nil && ctx.Err() == nil { // connections from before a restart of the database fail once
		p.pool.Reset()
		outside, counters, err = p.state(ctx, p.pool)
	}
	return err == nil && outside == p.outside.Load() && counters == p.counters.Load(), err
}

// querier is what a row is read from: a transaction, or any connection.
type querier interface {
	QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row
}

// state is how often others have changed something.
func (p *postgres) state(ctx context.Context, in querier) (outside, counters int64, err error) {
	err = in.QueryRow(ctx, "SELECT outside, counters FROM dhis2sim_state").Scan(&outside, &counters)
	return outside, counters, err
}

func (p *postgres) loggedIn(ctx context.Context, user string, at time.Time) error {
	_, err := p.pool.Exec(ctx, "UPDATE userinfo SET lastlogin = $1 WHERE uid = $2", at.In(p.zone), user)
	return err
}

// number is the id of the row of what has this name among its kind; a new one when it has none yet.
func (p *postgres) number(kind, name string) int64 {
	if p.numbers[kind] == nil {
		p.numbers[kind] = map[string]int64{}
	}
	n, known := p.numbers[kind][name]
	if !known {
		p.last++
		n = p.last
		p.numbers[kind][name] = n
	}
	return n
}

// reference is number, NULL when there is no name.
func (p *postgres) reference(kind, name string) any {
	if name == "" {
		return nil
	}
	return p.number(kind, name)
}

// errOutside is a row that is not what it was when it was loaded.
var errOutside = errors.New("a row was changed by somebody else meanwhile")

func (p *postgres) save(ctx context.Context, s *Server, changed []any) error {
	rows := map[any][]tableRow{}
	batch := &pgx.Batch{}
	for _, what := range changed { // objects are numbered in their order, whoever refers to them first
		if key, ok := what.(objectKey); ok {
			p.number(key.class, key.uid)
		}
	}
	for _, what := range changed {
		now := p.rowsOf(s, what)
		rows[what] = now
		p.queue(batch, p.stored[what], now)
		if file, ok := what.(fileKey); ok && len(p.stored[what]) == 0 {
			if err := p.writeFile(batch, s, string(file)); err != nil {
				return err
			}
		}
	}
	for _, row := range p.made {
		sql, arguments := row.insert()
		batch.Queue(sql, arguments...)
	}
	if batch.Len() > 0 {
		err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() })
		if err != nil {
			return err
		}
	}
	p.made = nil
	for what, now := range rows {
		p.remember(what, now)
	}
	return nil
}

// remember notes which rows are stored.
func (p *postgres) remember(what any, rows []tableRow) {
	if len(rows) == 0 {
		delete(p.stored, what)
		return
	}
	stored := make([]storedRow, len(rows))
	for i, r := range rows {
		stored[i] = storedRow{r.rowKey, r.hash(p.seed)}
	}
	p.stored[what] = stored
}

// queue adds what makes the stored rows those that ought to be there now; rows that are alike are left alone, so that only
// what changed gets a new transaction id (xmin).
func (p *postgres) queue(batch *pgx.Batch, stored []storedRow, now []tableRow) {
	hashes := make(map[rowKey]uint64, len(stored))
	for _, s := range stored {
		hashes[s.rowKey] = s.hash
	}
	var changed []tableRow
	for _, r := range now {
		hash, known := hashes[r.rowKey]
		if !known || hash != r.hash(p.seed) {
			changed = append(changed, r)
		}
		delete(hashes, r.rowKey)
	}
	for _, s := range stored { // rows that are no more go first: others may take their names
		if _, left := hashes[s.rowKey]; left {
			sql, arguments := s.delete(p.dialect)
			batch.Queue(sql, arguments...)
		}
	}
	known := make(map[rowKey]bool, len(stored))
	for _, s := range stored {
		known[s.rowKey] = true
	}
	for _, r := range changed {
		if !known[r.rowKey] {
			sql, arguments := r.insert()
			batch.Queue(sql, arguments...)
			continue
		}
		sql, arguments := r.update(p.dialect)
		batch.Queue(sql, arguments...).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() != 1 {
				return fmt.Errorf("%s: %w", r.table, errOutside)
			}
			return nil
		})
	}
}

func (p *postgres) load(ctx context.Context, s *Server, everything bool) error {
	if err := p.prepare(ctx, s); err != nil {
		return err
	}
	tx, err := p.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it only read
	outside, counters, err := p.state(ctx, tx)
	if err != nil {
		return err
	}
	l := &loader{p: p, s: s, tx: tx, names: map[string]map[int64]string{}, people: map[string]*person{}}
	if !everything && outside == p.outside.Load() {
		s.counters, s.reserved = map[string]int{}, map[string]reservation{}
		if err := l.counters(ctx); err != nil {
			return err
		}
		p.remember(countersCollection, p.rowsOf(s, countersCollection))
		p.remember(reservedCollection, p.rowsOf(s, reservedCollection))
		p.counters.Store(counters)
		return nil
	}
	s.forget()
	p.numbers, p.last, p.made, p.stored = map[string]map[string]int64{}, 0, nil, map[any][]storedRow{}
	if err := l.load(ctx); err != nil {
		return err
	}
	s.changed.clear()
	p.rememberAll(s)
	if len(s.objects("users")) == 0 { // made just now, or ended before anything was in it
		s.populate()
		if err := p.save(ctx, s, s.changed.list); err != nil {
			return err
		}
	}
	p.outside.Store(outside)
	p.counters.Store(counters)
	return nil
}

// prepare makes the tables in an empty database, and refuses one of another version.
func (p *postgres) prepare(ctx context.Context, s *Server) error {
	var made bool
	if err := p.pool.QueryRow(ctx, "SELECT to_regclass('public.dhis2sim_state') IS NOT NULL").Scan(&made); err != nil {
		return err
	}
	if made {
		var version string
		if err := p.pool.QueryRow(ctx, "SELECT version FROM dhis2sim_state").Scan(&version); err != nil {
			return err
		}
		if minor, _ := minorOf(version); minor != s.minor {
			return fmt.Errorf("it was made by version %s, which %s cannot go on with", version, s.options.Version)
		}
		return nil
	}
	sql := "CREATE EXTENSION IF NOT EXISTS postgis;\n" + stateSQL
	for _, t := range p.dialect.tables {
		sql += t.create()
	}
	for _, t := range p.dialect.tables {
		sql += t.watch()
	}
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
		for number, name := range periodTypes {
			if name == "" {
				continue
			}
			if _, err := tx.Exec(ctx, "INSERT INTO periodtype (periodtypeid, name) VALUES ($1, $2)", number, name); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "INSERT INTO dhis2sim_state (version, outside, counters) VALUES ($1, 0, 0)", s.options.Version)
		return err
	})
}
