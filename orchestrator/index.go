package orchestrator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// piece is one line of a face or of a server's scope: a root, or as much of it as one program shows.
type piece struct {
	root    root
	subject string
	face    merge.Face
}

// pieceKey names a piece. A person in two programs has two.
type pieceKey struct {
	root    root
	subject string
}

// index knows one face of a snapshot: where its records lie, and, once they are digested, what differs. It lies in a file
// of the trip's, so that it takes no more memory for many records than for few.
type index struct {
	snapshot *snapshot.Snapshot
	face     snapshot.Face
	parts    []snapshot.Part
	file     *indexFile
	// name is the index's in the file.
	name string
	// read tells that the places of the records are known; entries is how many pieces there are of different keys.
	read    bool
	entries int64
	// canonical makes pieces of its records; cursor is where reading them stands.
	canonical snapshot.Canonical
	cursor    cursor
}

// The indexes that are read in a run.
const (
	takenIndex  = "taken"
	loadedIndex = "loaded"
	// stoodIndex is of the loaded face of the trip before.
	stoodIndex = "stood"
	// nowIndex is of what the kit holds now, presentIndex of whatever is there at all.
	nowIndex     = "now"
	presentIndex = "present"
)

// readIndex reads a face once, into the trip's file: where each of its records lies, and its digest.
func (t *trip) readIndex(ctx context.Context, name string, s *snapshot.Snapshot, face snapshot.Face, canonical snapshot.Canonical) (*index, error) {
	x, err := t.newIndex(name, s, face, canonical)
	if err != nil {
		return nil, err
	}
	return x, x.digest(ctx)
}

// readPlaces reads where each record of the face lies, and no digests: until digest is called, the index cannot be compared
// with another. It is some ten times as quick. What is read already is not read again.
func (x *index) readPlaces(ctx context.Context) error {
	if x.read {
		return nil
	}
	return x.fill(ctx, func(part snapshot.Part, line []byte, add func(pieceKey, [16]byte) error) error {
		if key, ok := keyOf(part, line); ok {
			return add(key, [16]byte{})
		}
		p, err := pieceOf(x.canonical, part, line)
		if err != nil {
			return err
		}
		for _, p := range x.under(p) {
			if err := add(p.key(), [16]byte{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// newIndex is an index of a face that has not been read yet.
func (t *trip) newIndex(name string, s *snapshot.Snapshot, face snapshot.Face, canonical snapshot.Canonical) (*index, error) {
	x := &index{snapshot: s, face: face, name: name, canonical: canonical}
	if info := s.Manifest().Faces[face]; info != nil {
		x.parts = info.Parts
	}
	t.read = append(t.read, x)
	var err error
	x.file, err = t.indexes()
	return x, err
}

// digest reads the face with its content. It may be called again.
func (x *index) digest(ctx context.Context) error {
	return x.fill(ctx, func(part snapshot.Part, line []byte, add func(pieceKey, [16]byte) error) error {
		p, err := pieceOf(x.canonical, part, line)
		if err != nil {
			return err
		}
		for _, p := range x.under(p) {
			if err := add(p.key(), digest(p)); err != nil {
				return err
			}
		}
		return nil
	})
}

// fill writes the index anew with what each line of the face adds to it.
func (x *index) fill(ctx context.Context, each func(part snapshot.Part, line []byte, add func(pieceKey, [16]byte) error) error) error {
	w, err := x.file.write(ctx, x.name)
	if err != nil {
		return err
	}
	for number, part := range x.parts {
		if !hasRecords(part) {
			continue
		}
		count := 0
		add := func(key pieceKey, content [16]byte) error { return w.add(ctx, key, placeOf(number, count), content) }
		err := eachOf(x.snapshot.Lines(ctx, part), func(line []byte) error {
			err := each(part, line, add)
			count++
			return err
		})
		if err != nil {
			return w.abandon(err)
		}
	}
	x.entries, err = w.finish(ctx)
	x.read = err == nil
	return err
}

// indexes is the trip's file of indexes; closing the trip removes it.
func (t *trip) indexes() (*indexFile, error) {
	if t.index != nil {
		return t.index, nil
	}
	var err error
	t.index, err = openIndexFile(t.file(indexName))
	return t.index, err
}

// under is a piece under every root that it belongs to. A relationship is a root of its own; of what central gave
// it is also a part of the people at its ends, who are not deleted when central has another one.
func (x *index) under(p piece) []piece {
	pieces := []piece{p}
	if p.root.kind != rootRelationship || x.face != snapshot.Taken {
		return pieces
	}
	for _, object := range p.face.Objects {
		for _, field := range []string{merge.FieldFrom, merge.FieldTo} {
			if end, ok := parseEnd(object.Fields[field]); ok && end.Kind == merge.TrackedEntity {
				pieces = append(pieces, piece{root: root{kind: rootPerson, uid: end.UID}, subject: tiesSubject, face: p.face})
			}
		}
	}
	return pieces
}

// tiesSubject is the subject of the pieces that hold a person's relationships.
const tiesSubject = "relationships"

func (p piece) key() pieceKey { return pieceKey{p.root, p.subject} }

// digest is a piece's content in 16 bytes; zero when it has none.
func digest(p piece) (content [16]byte) {
	if len(p.face.Objects) > 0 {
		h := merge.HashTree(slices.Collect(maps.Values(p.face.Objects)))
		copy(content[:], h[:])
	}
	return content
}

// against calls f with what the index has otherwise than another one of the same file. Meanwhile f may use neither.
func (x *index) against(ctx context.Context, other *index, f func(difference) error) error {
	return x.file.differences(ctx, x.name, other.name, f)
}

// has tells whether the index holds anything of a root.
func (x *index) has(ctx context.Context, r root) (bool, error) {
	if err := x.readPlaces(ctx); err != nil {
		return false, err
	}
	found := false
	err := x.file.places(ctx, x.name, []root{r}, func(root, place, place) error {
		found = true
		return nil
	})
	return found, err
}

// inOrder puts roots in the snapshot's order, in which faces reads it once; those that it does not have come last.
func (x *index) inOrder(ctx context.Context, roots []root) error {
	if err := x.readPlaces(ctx); err != nil {
		return err
	}
	at := make(map[root]place, len(roots))
	for _, r := range roots {
		at[r] = placeOf(len(x.parts), 0)
	}
	err := x.file.places(ctx, x.name, roots, func(r root, first, _ place) error {
		at[r] = min(at[r], first)
		return nil
	})
	slices.SortFunc(roots, func(a, b root) int {
		return cmp.Or(cmp.Compare(at[a], at[b]), cmp.Compare(a.String(), b.String()))
	})
	return err
}

// faces reads what the indexed face holds of the roots, from the parts that hold it and no others.
func (x *index) faces(ctx context.Context, roots []root) (map[root]merge.Face, error) {
	faces := make(map[root]merge.Face, len(roots))
	for _, r := range roots {
		faces[r] = merge.Face{Objects: map[merge.Ref]merge.Object{}, Deleted: map[merge.Ref]bool{}}
	}
	if err := x.readPlaces(ctx); err != nil {
		return nil, err
	}
	wanted := map[int][]lines{}
	err := x.file.places(ctx, x.name, roots, func(_ root, first, last place) error {
		for part := first.part(); part <= last.part(); part++ {
			some := lines{0, math.MaxInt}
			if part == first.part() {
				some.first = first.line()
			}
			if part == last.part() {
				some.last = last.line()
			}
			wanted[part] = append(wanted[part], some)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, number := range slices.Sorted(maps.Keys(wanted)) {
		part := x.parts[number]
		open := func(ctx context.Context) iter.Seq2[[]byte, error] { return x.snapshot.Lines(ctx, part) }
		err := x.cursor.read(ctx, number, open, wanted[number], func(line []byte) error {
			p, err := pieceOf(x.canonical, part, line)
			if err != nil {
				return err
			}
			for _, p := range x.under(p) {
				if face, asked := faces[p.root]; asked {
					addPiece(face, p)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return faces, nil
}

// addPiece adds a piece to a face. A person seen through several programs is one object with the attributes
// of them all.
func addPiece(face merge.Face, p piece) {
	for ref, object := range p.face.Objects {
		if known, there := face.Objects[ref]; there {
			fields := maps.Clone(known.Fields)
			maps.Copy(fields, object.Fields)
			object.Fields = fields
		}
		face.Objects[ref] = object
	}
	maps.Copy(face.Deleted, p.face.Deleted)
}

// hasRecords tells whether the lines of a part are records that are compared.
func hasRecords(part snapshot.Part) bool {
	return part.Kind != snapshot.Document && part.Kind != snapshot.Beyond
}

// pieceOf is a line of a part.
func pieceOf(canonical snapshot.Canonical, part snapshot.Part, line []byte) (piece, error) {
	switch part.Kind {
	case snapshot.TrackedEntities:
		return parsed(part, line, func(person *dhis2api.TrackedEntity) piece { return personPiece(canonical, part.Subject, person) })
	case snapshot.Events:
		return parsed(part, line, func(event *dhis2api.Event) piece { return eventPiece(canonical, part.Subject, event) })
	case snapshot.Relationships:
		return parsed(part, line, func(relationship *dhis2api.Relationship) piece { return relationshipPiece(canonical, relationship) })
	case snapshot.DataValues:
		return parsed(part, line, func(value *dhis2api.DataValue) piece { return valuePiece(canonical, part.Subject, value) })
	case snapshot.Completions:
		return parsed(part, line, func(completion *dhis2api.Completion) piece { return completionPiece(canonical, completion) })
	}
	return piece{}, fmt.Errorf("part %s has no records", part.Name)
}

func parsed[T any](part snapshot.Part, line []byte, of func(*T) piece) (piece, error) {
	var object T
	if err := json.Unmarshal(line, &object); err != nil {
		return piece{}, fmt.Errorf("cannot read part %s: %w", part.Name, err)
	}
	return of(&object), nil
}

// keyOf finds the key of a line without reading the rest of it, where the line begins with the uid.
func keyOf(part snapshot.Part, line []byte) (pieceKey, bool) {
	const uid = 11
	switch part.Kind {
	case snapshot.TrackedEntities:
		if rest, ok := bytes.CutPrefix(line, []byte(`{"trackedEntity":"`)); ok && len(rest) > uid && rest[uid] == '"' {
			return pieceKey{root{kind: rootPerson, uid: string(rest[:uid])}, part.Subject.UID()}, true
		}
	case snapshot.Events:
		if rest, ok := bytes.CutPrefix(line, []byte(`{"event":"`)); ok && len(rest) > uid && rest[uid] == '"' {
			return pieceKey{eventRoot(part.Subject.Program, string(rest[:uid])), part.Subject.UID()}, true
		}
	}
	return pieceKey{}, false
}

// eachOf calls f with every item until either fails.
func eachOf[T any](items func(func(T, error) bool), f func(T) error) error {
	for item, err := range items {
		if err != nil {
			return err
		}
		if err := f(item); err != nil {
			return err
		}
	}
	return nil
}

func personPiece(canonical snapshot.Canonical, subject snapshot.Subject, person *dhis2api.TrackedEntity) piece {
	p := piece{root: root{kind: rootPerson, uid: person.TrackedEntity}, subject: subject.UID()}
	canonical.AddTrackedEntity(&p.face, person)
	return p
}

func eventPiece(canonical snapshot.Canonical, subject snapshot.Subject, event *dhis2api.Event) piece {
	p := piece{root: eventRoot(subject.Program, event.Event), subject: subject.UID()}
	canonical.AddEvent(&p.face, event)
	return p
}

func relationshipPiece(canonical snapshot.Canonical, relationship *dhis2api.Relationship) piece {
	p := piece{root: root{kind: rootRelationship, uid: relationship.Relationship}}
	canonical.AddRelationship(&p.face, relationship)
	return p
}

func valuePiece(canonical snapshot.Canonical, subject snapshot.Subject, value *dhis2api.DataValue) piece {
	p := piece{root: form{dataSet: subject.DataSet, period: value.Period, orgUnit: value.OrgUnit}.root(), subject: "values"}
	canonical.AddDataValue(&p.face, value)
	return p
}

func completionPiece(canonical snapshot.Canonical, completion *dhis2api.Completion) piece {
	f := form{dataSet: completion.DataSet, period: completion.Period, orgUnit: completion.OrganisationUnit}
	p := piece{root: f.root(), subject: "completions"}
	canonical.AddCompletion(&p.face, completion)
	return p
}

// foundPiece is what a server's listing yields as a piece.
func foundPiece(canonical snapshot.Canonical, found snapshot.Found) piece {
	switch found.Kind {
	case snapshot.TrackedEntities:
		return personPiece(canonical, found.Subject, found.TrackedEntity)
	case snapshot.Events:
		return eventPiece(canonical, found.Subject, found.Event)
	case snapshot.Relationships:
		return relationshipPiece(canonical, found.Relationship)
	case snapshot.DataValues:
		return valuePiece(canonical, found.Subject, found.DataValue)
	default:
		return completionPiece(canonical, found.Completion)
	}
}
