// Package journal keeps the truth of a trip: every change found on the kit, what was sent to central for
// it, and how it ended. It survives any crash; plan and report are written from it.
//
// The nouns:
//
//   - A run is one going of reconcile.
//   - A change is a row that ends in exactly one bucket (see State). It is found again under the same key
//     in every run: kind, uid, field.
//   - A base (merge.Base) is what a later run compares a field with instead of the snapshot: what was pushed and
//     verified, or, carried over from an earlier trip, what a held change started from.
//   - A conflict is shown to people under a number, and a decision is what they made of it (see Shown).
//   - An identity is a person of the kit whom central holds, perhaps, under another uid; adopted, an alias.
//   - A sign-off is somebody's word that a held change may stay held.
//   - An authorship is who made a change that was sent, and when, on the kit.
//   - A file is the receipt of a file that values name: what was sent of it, and how far it came.
//   - A fact is one named value about the trip.
//
// The file is SQLite with synchronous=FULL: when a method returns, what it wrote is on the disk, within Together
// when that returns. It holds values of patients, so it is 0600 in a 0700 directory.
package journal

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"os"
	"time"

	// The SQLite driver, in Go: no cgo in what ships.
	_ "modernc.org/sqlite"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// State is where a change stands.
type State string

// The states. Open and Sent are on the way; the others are ends, though a held change may be opened again.
const (
	Open         State = "open"
	Sent         State = "sent"
	Pushed       State = "pushed"
	AlreadyThere State = "alreadyThere"
	Conflict     State = "conflict"
	Refused      State = "refused"
	Waiting      State = "waiting"
	Unclear      State = "unclear"
	OutOfScope   State = "outOfScope"
	// Dropped is the end of a change about which it was decided that central's state stands.
	Dropped State = "dropped"
)

// Held tells whether the state keeps a change from going home.
func (s State) Held() bool {
	return s == Conflict || s == Refused || s == Waiting || s == Unclear
}

// Change is one row: a change and where it stands.
type Change struct {
	merge.Change
	// Root names what the change is looked at and sent with, in the orchestrator's words.
	Root string
	// Number is short and lasts as long as the trip.
	Number int
	State  State
	// Code is DHIS2's error code for a refusal, Hint what to do about it.
	Code, Hint string
	// Circumstance is a fingerprint of what a refusal depended on: while it is unchanged, asking again is
	// pointless. For a conflict it is as in Shown.
	Circumstance string
	// Content is, for a change on its way, what was sent of its object: field to canonical value.
	Content map[string]string
	// Run is the run that last touched the row.
	Run int
}

// Same tells whether another change is this one, and stands as it does. Numbers and verdicts do not count.
func (c Change) Same(other Change) bool {
	other.Verdict = c.Verdict
	return c.Change == other.Change && c.Root == other.Root && c.State == other.State && c.Code == other.Code && c.Hint == other.Hint &&
		c.Circumstance == other.Circumstance && c.Run == other.Run && maps.Equal(c.Content, other.Content)
}

// NoteKind says what a note in the journal is about.
type NoteKind string

// The kinds of notes that end up in the report beside the changes.
const (
	Rewritten NoteKind = "rewritten"
	Overtaken NoteKind = "overtaken"
	Merged    NoteKind = "merged"
)

// Note is something to tell about a field that is not a change of the kit's.
type Note struct {
	Kind NoteKind
	merge.Ref
	Person               string
	Field                string
	Base, Local, Central string
	Reason               string
}

// Journal is one trip's journal. It is safe for use by one goroutine at a time.
type Journal struct {
	db *database
}

const schema = `
CREATE TABLE IF NOT EXISTS fact(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run(id INTEGER PRIMARY KEY, mode TEXT NOT NULL, began TEXT NOT NULL, ended TEXT, outcome TEXT);
CREATE TABLE IF NOT EXISTS change(
	number INTEGER PRIMARY KEY,
	kind TEXT NOT NULL, uid TEXT NOT NULL, field TEXT NOT NULL,
	parent_kind TEXT NOT NULL, parent_uid TEXT NOT NULL, root TEXT NOT NULL,
	verb TEXT NOT NULL, base TEXT NOT NULL, local TEXT NOT NULL, central TEXT NOT NULL,
	state TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, hint TEXT NOT NULL,
	circumstance TEXT NOT NULL, content TEXT NOT NULL, run INTEGER NOT NULL,
	UNIQUE(kind, uid, field));
CREATE INDEX IF NOT EXISTS change_state ON change(state);
CREATE INDEX IF NOT EXISTS change_root ON change(root);
CREATE TABLE IF NOT EXISTS base(
	kind TEXT NOT NULL, uid TEXT NOT NULL, field TEXT NOT NULL,
	taken TEXT NOT NULL, loaded TEXT NOT NULL, taken_present INTEGER NOT NULL, loaded_present INTEGER NOT NULL,
	PRIMARY KEY(kind, uid, field)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch(
	id INTEGER PRIMARY KEY, run INTEGER NOT NULL, what TEXT NOT NULL, objects INTEGER NOT NULL,
	sent TEXT NOT NULL, answered TEXT, answer TEXT);
CREATE TABLE IF NOT EXISTS note(
	kind TEXT NOT NULL, object TEXT NOT NULL, uid TEXT NOT NULL, field TEXT NOT NULL, person TEXT NOT NULL,
	base TEXT NOT NULL, local TEXT NOT NULL, central TEXT NOT NULL, reason TEXT NOT NULL, run INTEGER NOT NULL,
	PRIMARY KEY(kind, object, uid, field)) WITHOUT ROWID;
`

// OpenFile opens the journal in the file, making it when there is none. The file is 0600.
func OpenFile(ctx context.Context, path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	name := (&url.URL{Path: path}).EscapedPath() // a directory may be called anything, question marks included
	db, err := openDatabase(ctx, "file:"+name+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)", schema+decisionSchema+identitySchema+fileSchema+signOffSchema+ledgerSchema)
	if err != nil {
		return nil, fmt.Errorf("cannot open the journal %s: %w", path, err)
	}
	return &Journal{db: db}, nil
}

// Watch has f told of every write, just before it is on the disk (false) and as soon as it is (true). An error of f's ends
// the method that writes: before, nothing is written. It is how tests stop a run at any of them.
func (j *Journal) Watch(f func(written bool) error) { j.db.watch = f }

// Close closes the file.
func (j *Journal) Close() error { return j.db.close() }

// Fact returns the named fact; empty when it was never set.
func (j *Journal) Fact(ctx context.Context, name string) (string, error) {
	var value string
	err := j.db.QueryRowContext(ctx, `SELECT value FROM fact WHERE name = ?`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read %s from the journal: %w", name, err)
	}
	return value, nil
}

// SetFact sets the named fact, replacing what it was.
func (j *Journal) SetFact(ctx context.Context, name, value string) error {
	_, err := j.db.ExecContext(ctx, `INSERT INTO fact(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value`, name, value)
	if err != nil {
		return fmt.Errorf("cannot write %s to the journal: %w", name, err)
	}
	return nil
}

// BeginRun opens a run and returns its number, counted from 1.
func (j *Journal) BeginRun(ctx context.Context, mode string, now time.Time) (int, error) {
	res, err := j.db.ExecContext(ctx, `INSERT INTO run(mode, began) VALUES(?, ?)`, mode, now.UTC().Format(time.RFC3339Nano))
	if err != nil {
		return 0, fmt.Errorf("cannot begin a run in the journal: %w", err)
	}
	id, err := res.LastInsertId()
	return int(id), err
}

// EndRun notes how a run ended.
func (j *Journal) EndRun(ctx context.Context, run int, outcome string, now time.Time) error {
	_, err := j.db.ExecContext(ctx, `UPDATE run SET ended = ?, outcome = ? WHERE id = ?`, now.UTC().Format(time.RFC3339Nano), outcome, run)
	if err != nil {
		return fmt.Errorf("cannot end run %d in the journal: %w", run, err)
	}
	return nil
}

// BeginBatch notes that a request is about to be sent, and returns its number. It is called before sending.
func (j *Journal) BeginBatch(ctx context.Context, run int, what string, objects int, now time.Time) (int64, error) {
	res, err := j.db.ExecContext(ctx, `INSERT INTO batch(run, what, objects, sent) VALUES(?, ?, ?, ?)`, run, what, objects, now.UTC().Format(time.RFC3339Nano))
	if err != nil {
		return 0, fmt.Errorf("cannot note a request in the journal: %w", err)
	}
	return res.LastInsertId()
}

// EndBatch notes central's answer to a request, in few words.
func (j *Journal) EndBatch(ctx context.Context, batch int64, answer string, now time.Time) error {
	_, err := j.db.ExecContext(ctx, `UPDATE batch SET answered = ?, answer = ? WHERE id = ?`, now.UTC().Format(time.RFC3339Nano), answer, batch)
	if err != nil {
		return fmt.Errorf("cannot note an answer in the journal: %w", err)
	}
	return nil
}

// Counts returns how many changes stand in each state, by kind.
func (j *Journal) Counts(ctx context.Context) (map[merge.Kind]map[State]int, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT kind, state, count(*) FROM change GROUP BY kind, state`)
	if err != nil {
		return nil, fmt.Errorf("cannot count the journal's changes: %w", err)
	}
	defer rows.Close()
	counts := map[merge.Kind]map[State]int{}
	for rows.Next() {
		var kind merge.Kind
		var state State
		var n int
		if err := rows.Scan(&kind, &state, &n); err != nil {
			return nil, fmt.Errorf("cannot count the journal's changes: %w", err)
		}
		if counts[kind] == nil {
			counts[kind] = map[State]int{}
		}
		counts[kind][state] = n
	}
	return counts, rows.Err()
}

// Going counts the objects of one kind that are to be changed in one way.
type Going struct {
	Kind    merge.Kind
	Verb    merge.Verb
	Objects int
}

// Going counts what is open or under way, by kind and verb, in their order.
func (j *Journal) Going(ctx context.Context) ([]Going, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT kind, verb, count(DISTINCT uid) FROM change WHERE state IN ('open', 'sent') GROUP BY kind, verb ORDER BY kind, verb`)
	if err != nil {
		return nil, fmt.Errorf("cannot count the journal's changes: %w", err)
	}
	defer rows.Close()
	var all []Going
	for rows.Next() {
		var g Going
		if err := rows.Scan(&g.Kind, &g.Verb, &g.Objects); err != nil {
			return nil, fmt.Errorf("cannot count the journal's changes: %w", err)
		}
		all = append(all, g)
	}
	return all, rows.Err()
}

// Changes yields the changes in the given states, all when none is given, in the order of their numbers.
// They are read page by page: the caller may write to the journal between two of them.
func (j *Journal) Changes(ctx context.Context, states ...State) iter.Seq2[Change, error] {
	where, args := stateClause(states)
	return func(yield func(Change, error) bool) {
		last := 0
		for {
			page, err := j.page(ctx, `SELECT `+changeColumns+` FROM change WHERE number > ?`+where+` ORDER BY number LIMIT 500`, append([]any{last}, args...)...)
			if err != nil {
				yield(Change{}, err)
				return
			}
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
				last = c.Number
			}
			if len(page) < 500 {
				return
			}
		}
	}
}

// ChangesOf returns the changes of one object.
func (j *Journal) ChangesOf(ctx context.Context, ref merge.Ref) ([]Change, error) {
	return j.page(ctx, `SELECT `+changeColumns+` FROM change WHERE kind = ? AND uid = ? ORDER BY number`, ref.Kind, ref.UID)
}

// ChangesUnder returns the changes of some roots, by root; one of which there are none is not among them.
func (j *Journal) ChangesUnder(ctx context.Context, roots ...string) (map[string][]Change, error) {
	list, err := json.Marshal(roots)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's changes: %w", err)
	}
	all, err := j.page(ctx, `SELECT `+changeColumns+` FROM change WHERE root IN (SELECT value FROM json_each(?)) ORDER BY number`, string(list))
	if err != nil {
		return nil, err
	}
	changes := make(map[string][]Change, len(roots))
	for _, c := range all {
		changes[c.Root] = append(changes[c.Root], c)
	}
	return changes, nil
}

// Roots returns the roots of all changes, each once, in the order of their first change.
func (j *Journal) Roots(ctx context.Context) ([]string, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT root FROM change GROUP BY root ORDER BY min(number)`)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's changes: %w", err)
	}
	defer rows.Close()
	var roots []string
	for rows.Next() {
		var root string
		if err := rows.Scan(&root); err != nil {
			return nil, fmt.Errorf("cannot read the journal's changes: %w", err)
		}
		roots = append(roots, root)
	}
	return roots, rows.Err()
}

// Bases returns the bases of some objects, in the order of kind, uid and field.
func (j *Journal) Bases(ctx context.Context, refs ...merge.Ref) ([]merge.Base, error) {
	names := make([][2]string, len(refs))
	for i, ref := range refs {
		names[i] = [2]string{string(ref.Kind), ref.UID}
	}
	list, err := json.Marshal(names)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's bases: %w", err)
	}
	rows, err := j.db.QueryContext(ctx, `SELECT b.kind, b.uid, b.field, b.taken, b.loaded, b.taken_present, b.loaded_present
		FROM json_each(?) o CROSS JOIN base b ON b.kind = o.value->>0 AND b.uid = o.value->>1 ORDER BY b.kind, b.uid, b.field`, string(list))
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's bases: %w", err)
	}
	defer rows.Close()
	var bases []merge.Base
	for rows.Next() {
		var b merge.Base
		if err := rows.Scan(&b.Kind, &b.UID, &b.Field, &b.Taken, &b.Loaded, &b.TakenPresent, &b.LoadedPresent); err != nil {
			return nil, fmt.Errorf("cannot read the journal's bases: %w", err)
		}
		bases = append(bases, b)
	}
	return bases, rows.Err()
}

// Notes yields the notes of one kind.
func (j *Journal) Notes(ctx context.Context, kind NoteKind) ([]Note, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT object, uid, field, person, base, local, central, reason FROM note WHERE kind = ? ORDER BY object, uid, field`, kind)
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal's notes: %w", err)
	}
	defer rows.Close()
	var notes []Note
	for rows.Next() {
		n := Note{Kind: kind}
		if err := rows.Scan(&n.Ref.Kind, &n.UID, &n.Field, &n.Person, &n.Base, &n.Local, &n.Central, &n.Reason); err != nil {
			return nil, fmt.Errorf("cannot read the journal's notes: %w", err)
		}
		notes = append(notes, n)
	}
	return notes, rows.Err()
}

// Hash is the SHA-256 of every change and how it stands, in hexadecimal. It is worked out anew only when something was
// written since.
func (j *Journal) Hash(ctx context.Context) (string, error) {
	if j.db.hash != "" {
		return j.db.hash, nil
	}
	rows, err := j.db.QueryContext(ctx, `SELECT number, kind, uid, field, verb, base, local, central, state FROM change ORDER BY number`)
	if err != nil {
		return "", fmt.Errorf("cannot read the journal's changes: %w", err)
	}
	defer rows.Close()
	h := sha256.New()
	for rows.Next() {
		var number int
		var text [8]string
		if err := rows.Scan(&number, &text[0], &text[1], &text[2], &text[3], &text[4], &text[5], &text[6], &text[7]); err != nil {
			return "", fmt.Errorf("cannot read the journal's changes: %w", err)
		}
		fmt.Fprintf(h, "%d %q %q %q %q %q %q %q %q\n", number, text[0], text[1], text[2], text[3], text[4], text[5], text[6], text[7])
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("cannot read the journal's changes: %w", err)
	}
	j.db.hash = hex.EncodeToString(h.Sum(nil))
	return j.db.hash, nil
}
