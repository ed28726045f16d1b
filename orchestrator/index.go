package orchestrator

import (
	"cmp"
	"context"
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

// index knows one face of a snapshot by digests: enough to tell what differs, and where to read it. It lies in a file
// of the trip's, so that it takes no more memory for many records than for few.
type index struct {
	snapshot *snapshot.Snapshot
	face     snapshot.Face
	parts    []snapshot.Part
	file     *indexFile
	// name is the index's in the file.
	name string
	// entries is how many pieces there are of different keys.
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

// readIndex reads a face once, into the trip's file.
func (t *trip) readIndex(ctx context.Context, name string, s *snapshot.Snapshot, face snapshot.Face, canonical snapshot.Canonical) (*index, error) {
	x := &index{snapshot: s, face: face, name: name, canonical: canonical}
	if info := s.Manifest().Faces[face]; info != nil {
		x.parts = info.Parts
	}
	var err error
	if x.file, err = t.indexes(); err != nil {
		return nil, err
	}
	w, err := x.file.write(ctx, name)
	if err != nil {
		return nil, err
	}
	for number, part := range x.parts {
		line := 0
		err := eachPiece(ctx, s, part, canonical, func(p piece) error {
			for _, p := range x.under(p) {
				if err := w.add(ctx, p.key(), placeOf(number, line), digest(p)); err != nil {
					return err
				}
			}
			line++
			return nil
		})
		if err != nil {
			return nil, w.abandon(err)
		}
	}
	x.entries, err = w.finish(ctx)
	t.read = append(t.read, x)
	return x, err
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
	found := false
	err := x.file.places(ctx, x.name, []root{r}, func(root, place, place) error {
		found = true
		return nil
	})
	return found, err
}

// inOrder puts roots in the snapshot's order, in which faces reads it once; those that it does not have come last.
func (x *index) inOrder(ctx context.Context, roots []root) error {
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
	wanted := map[int]lines{}
	err := x.file.places(ctx, x.name, roots, func(_ root, first, last place) error {
		for part := first.part(); part <= last.part(); part++ {
			within := lines{0, math.MaxInt}
			if part == first.part() {
				within.first = first.line()
			}
			if part == last.part() {
				within.last = last.line()
			}
			if known, there := wanted[part]; there {
				within = lines{min(known.first, within.first), max(known.last, within.last)}
			}
			wanted[part] = within
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, part := range slices.Sorted(maps.Keys(wanted)) {
		err := x.cursor.read(ctx, x.pieces, part, wanted[part], func(p piece) {
			for _, p := range x.under(p) {
				if face, asked := faces[p.root]; asked {
					addPiece(face, p)
				}
			}
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

// eachPiece reads one part of a snapshot.
func eachPiece(ctx context.Context, s *snapshot.Snapshot, part snapshot.Part, canonical snapshot.Canonical, yield func(piece) error) error {
	switch part.Kind {
	case snapshot.TrackedEntities:
		return eachOf(s.TrackedEntities(ctx, part), func(person *dhis2api.TrackedEntity) error {
			return yield(personPiece(canonical, part.Subject, person))
		})
	case snapshot.Events:
		return eachOf(s.Events(ctx, part), func(event *dhis2api.Event) error {
			return yield(eventPiece(canonical, part.Subject, event))
		})
	case snapshot.Relationships:
		return eachOf(s.Relationships(ctx, part), func(relationship *dhis2api.Relationship) error {
			return yield(relationshipPiece(canonical, relationship))
		})
	case snapshot.DataValues:
		return eachOf(s.DataValues(ctx, part), func(value *dhis2api.DataValue) error {
			return yield(valuePiece(canonical, part.Subject, value))
		})
	case snapshot.Completions:
		return eachOf(s.Completions(ctx, part), func(completion *dhis2api.Completion) error {
			return yield(completionPiece(canonical, completion))
		})
	}
	return nil
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
