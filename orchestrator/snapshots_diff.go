package orchestrator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// SnapshotDiff says what two faces have otherwise: those that two trips took, or the taken and the loaded one of a trip.
type SnapshotDiff struct {
	From DiffSide `json:"from"`
	To   DiffSide `json:"to"`
	// Counts has an entry for each kind of which something differs.
	Counts map[merge.Kind]*DiffCount `json:"counts"`
}

// DiffSide is one face of one trip's snapshot.
type DiffSide struct {
	Trip string        `json:"trip"`
	Face snapshot.Face `json:"face"`
}

// DiffCount counts the objects of one kind.
type DiffCount struct {
	Added   int64 `json:"added"`
	Removed int64 `json:"removed"`
	Changed int64 `json:"changed"`
}

// How an object differs.
const (
	DiffAdded   = "added"
	DiffRemoved = "removed"
	DiffChanged = "changed"
)

// ObjectDiff is one object that differs. It names nobody.
type ObjectDiff struct {
	// How is DiffAdded, DiffRemoved or DiffChanged.
	How  string     `json:"how"`
	Kind merge.Kind `json:"kind"`
	// UID is the object's; a value's and a completion's is their key.
	UID string `json:"uid"`
	// Fields are those that differ in a changed object, by name (see snapshot.Canonical).
	Fields []FieldDiff `json:"fields,omitempty"`
}

// FieldDiff is one field of a changed object.
type FieldDiff struct {
	Field string `json:"field"`
	// From and To are the values, only where they were asked for; an absent one is empty.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// DiffOptions bend DiffSnapshots.
type DiffOptions struct {
	// Values tells the values of fields that differ: patients' data.
	Values bool
	// Each, unless nil, is called with every object that differs, by kind and uid.
	Each func(ObjectDiff) error
}

// DiffSnapshots compares the canonical content of what two trips took; of what one trip took and what the kit gave back
// when to is empty. Memory does not grow with the snapshots. Meanwhile a file in the later trip's folder holds digests
// of what differs, and with Values the values. Errors: ErrUsage for a trip that the kit has not made, ErrNoSnapshot for a
// face that is not finished, ErrWrongKey, ErrDamaged.
func (k *Kit) DiffSnapshots(ctx context.Context, from, to string, o DiffOptions) (diff *SnapshotDiff, err error) {
	first, err := k.namedTrip(ctx, from)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, first.close()) }()
	second, face := first, snapshot.Loaded
	if to != "" {
		if second, err = k.namedTrip(ctx, to); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, second.close()) }()
		face = snapshot.Taken
	}
	scratch, err := os.MkdirTemp(second.dir, "diff-*") // 0700
	if err != nil {
		return nil, fmt.Errorf("cannot compare snapshots: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	file, err := openIndexFile(filepath.Join(scratch, indexName))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.close()) }()
	d := &differ{file: file, options: o, progress: k.options.Progress}
	if d.sides[0], err = first.diffSide(k.keyOptions(), snapshot.Taken); err != nil {
		return nil, err
	}
	if d.sides[1], err = second.diffSide(k.keyOptions(), face); err != nil {
		return nil, err
	}
	diff = &SnapshotDiff{From: d.sides[0].DiffSide, To: d.sides[1].DiffSide, Counts: map[merge.Kind]*DiffCount{}}
	return diff, brokenSnapshot(d.run(ctx, diff))
}

// diffFace is one side that is being compared.
type diffFace struct {
	DiffSide
	snapshot  *snapshot.Snapshot
	parts     []snapshot.Part
	canonical snapshot.Canonical
}

func (t *trip) diffSide(keys snapshot.KeyOptions, face snapshot.Face) (diffFace, error) {
	side := diffFace{DiffSide: DiffSide{Trip: t.id, Face: face}}
	var err error
	if side.snapshot, err = t.openSnapshot(keys); err != nil {
		return side, err
	}
	info := side.snapshot.Manifest().Faces[face]
	if info == nil {
		return side, WithHint(fmt.Errorf("%w: the %s face of trip %s is not finished", ErrNoSnapshot, face, t.id), "fieldkit prepare goes on with it")
	}
	side.parts = info.Parts
	if side.canonical.Zone, err = time.LoadLocation(info.Server.TimeZone); err != nil {
		return side, fmt.Errorf("the %s face of trip %s: %w", face, t.id, err)
	}
	return side, nil
}

// differ compares two faces: digests of records first, then the fields of those records alone that differ.
type differ struct {
	file     *indexFile
	sides    [2]diffFace
	options  DiffOptions
	progress Progress
}

// diffDigests is the table of one side's digests, diffFields that of the fields of what differs.
func diffDigests(side int) string { return [2]string{"digest_from", "digest_to"}[side] }
func diffFields(side int) string  { return [2]string{"field_from", "field_to"}[side] }

func (d *differ) run(ctx context.Context, diff *SnapshotDiff) error {
	for i := range d.sides {
		if err := d.digest(ctx, i); err != nil {
			return err
		}
	}
	if err := d.differing(ctx); err != nil {
		return err
	}
	for i := range d.sides {
		if err := d.fields(ctx, i); err != nil {
			return err
		}
	}
	return d.tell(ctx, diff)
}

// each reads one side, piece by piece.
func (d *differ) each(ctx context.Context, side int, f func(part int, p piece) error) error {
	of := d.sides[side]
	for number, part := range of.parts {
		d.progress.Count("files", int64(number), int64(len(of.parts)))
		if !hasRecords(part) {
			continue
		}
		err := eachOf(of.snapshot.Lines(ctx, part), func(line []byte) error {
			p, err := pieceOf(of.canonical, part, line)
			if err != nil {
				return err
			}
			return f(number, p)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) digest(ctx context.Context, side int) error {
	d.progress.Step(fmt.Sprintf("reading what trip %s has %s", d.sides[side].Trip, d.sides[side].Face))
	w, err := d.file.write(ctx, diffDigests(side))
	if err != nil {
		return err
	}
	if err := d.each(ctx, side, func(part int, p piece) error { return w.add(ctx, p.key(), placeOf(part, 0), digest(p)) }); err != nil {
		return w.abandon(err)
	}
	_, err = w.finish(ctx)
	return err
}

// differing lists the records of which anything differs.
func (d *differ) differing(ctx context.Context) error {
	from, to := diffDigests(0), diffDigests(1)
	for _, statement := range []string{
		`CREATE TABLE differing(root TEXT PRIMARY KEY) WITHOUT ROWID`,
		`INSERT OR IGNORE INTO differing SELECT x.root` + differs(from, to),
		`INSERT OR IGNORE INTO differing SELECT x.root` + differs(to, from),
		`CREATE TABLE ` + diffFields(0) + `(kind TEXT, uid TEXT, field TEXT, value BLOB, PRIMARY KEY(kind, uid, field)) WITHOUT ROWID`,
		`CREATE TABLE ` + diffFields(1) + `(kind TEXT, uid TEXT, field TEXT, value BLOB, PRIMARY KEY(kind, uid, field)) WITHOUT ROWID`,
	} {
		if _, err := d.file.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("cannot compare snapshots: %w", err)
		}
	}
	return nil
}

// fields keeps the fields of the differing records of one side. A field without a name stands for the object itself.
func (d *differ) fields(ctx context.Context, side int) (err error) {
	d.progress.Step("comparing what differs")
	tx, err := d.file.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("cannot compare snapshots: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	concerns, err := tx.PrepareContext(ctx, `SELECT EXISTS(SELECT 1 FROM differing WHERE root = ?)`)
	if err != nil {
		return fmt.Errorf("cannot compare snapshots: %w", err)
	}
	defer func() { err = errors.Join(err, concerns.Close()) }()
	insert, err := tx.PrepareContext(ctx, `INSERT OR REPLACE INTO `+diffFields(side)+` VALUES(?, ?, ?, ?)`)
	if err != nil {
		return fmt.Errorf("cannot compare snapshots: %w", err)
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	err = d.each(ctx, side, func(_ int, p piece) error {
		var differs bool
		if err := concerns.QueryRowContext(ctx, p.root.String()).Scan(&differs); err != nil || !differs {
			return err
		}
		for ref, object := range p.face.Objects {
			if _, err := insert.ExecContext(ctx, string(ref.Kind), ref.UID, "", nil); err != nil {
				return err
			}
			for field, value := range object.Fields {
				if _, err := insert.ExecContext(ctx, string(ref.Kind), ref.UID, field, d.kept(value)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}

// kept is what is kept of a value.
func (d *differ) kept(value string) []byte {
	if d.options.Values {
		return []byte(value)
	}
	sum := sha256.Sum256([]byte(value))
	return sum[:16]
}

// sided is an object that both sides may have: its fields on each; nil where a side lacks it.
type sided struct {
	kind, uid string
	fields    [2]map[string]string
}

// tell goes through the fields of both sides in one order, object by object.
func (d *differ) tell(ctx context.Context, diff *SnapshotDiff) error {
	var object sided
	flush := func() error {
		found, differs := object.compare(d.options.Values)
		if !differs {
			return nil
		}
		diff.count(found)
		if d.options.Each == nil {
			return nil
		}
		return d.options.Each(found)
	}
	err := d.file.each(ctx, func(rows *sql.Rows) error {
		var side int
		var kind, uid, field string
		var value []byte
		if err := rows.Scan(&side, &kind, &uid, &field, &value); err != nil {
			return err
		}
		if kind != object.kind || uid != object.uid {
			if err := flush(); err != nil {
				return err
			}
			object = sided{kind: kind, uid: uid}
		}
		if object.fields[side] == nil {
			object.fields[side] = map[string]string{}
		}
		if field != "" {
			object.fields[side][field] = string(value)
		}
		return nil
	}, `SELECT 0 AS side, kind, uid, field, value FROM `+diffFields(0)+` UNION ALL SELECT 1, kind, uid, field, value FROM `+diffFields(1)+`
		ORDER BY kind, uid, field, side`)
	if err != nil {
		return err
	}
	return flush()
}

// compare says how the object differs, with or without the values; false where it does not.
func (s sided) compare(values bool) (ObjectDiff, bool) {
	found := ObjectDiff{Kind: merge.Kind(s.kind), UID: s.uid, How: DiffChanged}
	from, to := s.fields[0], s.fields[1]
	switch {
	case from == nil && to == nil:
		return found, false
	case from == nil:
		found.How = DiffAdded
		return found, true
	case to == nil:
		found.How = DiffRemoved
		return found, true
	}
	add := func(field string) {
		if from[field] == to[field] {
			return
		}
		one := FieldDiff{Field: field}
		if values {
			one.From, one.To = from[field], to[field]
		}
		found.Fields = append(found.Fields, one)
	}
	for field := range from {
		add(field)
	}
	for field := range to {
		if _, both := from[field]; !both {
			add(field)
		}
	}
	slices.SortFunc(found.Fields, func(a, b FieldDiff) int { return cmp.Compare(a.Field, b.Field) })
	return found, len(found.Fields) > 0
}

func (diff *SnapshotDiff) count(found ObjectDiff) {
	n := diff.Counts[found.Kind]
	if n == nil {
		n = &DiffCount{}
		diff.Counts[found.Kind] = n
	}
	switch found.How {
	case DiffAdded:
		n.Added++
	case DiffRemoved:
		n.Removed++
	default:
		n.Changed++
	}
}
