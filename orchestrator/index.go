package orchestrator

import (
	"context"
	"encoding/binary"
	"maps"
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

// entry is what an index keeps of a piece: some forty bytes, whatever its size.
type entry struct {
	// digest is the piece's content. A form arrives value by value: its digest is the sum of its values'.
	digest [2]uint64
	// first and last are the numbers of the parts that hold it.
	first, last uint32
	seen        bool
}

// index knows one face of a snapshot by digests: enough to tell what differs, and where to read it.
type index struct {
	snapshot *snapshot.Snapshot
	face     snapshot.Face
	parts    []snapshot.Part
	entries  map[pieceKey]*entry
	// firstPart is the number of the first part that holds a piece of a root.
	firstPart map[root]uint32
}

// readIndex reads a face once.
func readIndex(ctx context.Context, s *snapshot.Snapshot, face snapshot.Face, canonical snapshot.Canonical) (*index, error) {
	x := &index{snapshot: s, face: face, entries: map[pieceKey]*entry{}, firstPart: map[root]uint32{}}
	if info := s.Manifest().Faces[face]; info != nil {
		x.parts = info.Parts
	}
	for number, part := range x.parts {
		err := eachPiece(ctx, s, part, canonical, func(p piece) error {
			for _, p := range x.under(p) {
				x.add(p, uint32(number))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return x, nil
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

func (x *index) add(p piece, part uint32) {
	key := pieceKey{p.root, p.subject}
	e := x.entries[key]
	if e == nil {
		e = &entry{first: part}
		x.entries[key] = e
	}
	e.last = part
	if _, known := x.firstPart[p.root]; !known {
		x.firstPart[p.root] = part
	}
	e.digest = sum(e.digest, digest(p))
}

// digest is a piece's content in 16 bytes; zero when it has none.
func digest(p piece) [2]uint64 {
	if len(p.face.Objects) == 0 {
		return [2]uint64{}
	}
	h := merge.HashTree(slices.Collect(maps.Values(p.face.Objects)))
	return [2]uint64{binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:])}
}

func sum(a, b [2]uint64) [2]uint64 { return [2]uint64{a[0] + b[0], a[1] + b[1]} }

// faces reads what the indexed face holds of the roots, from the parts that hold it and no others.
func (x *index) faces(ctx context.Context, roots []root, canonical snapshot.Canonical) (map[root]merge.Face, error) {
	faces := make(map[root]merge.Face, len(roots))
	for _, r := range roots {
		faces[r] = merge.Face{Objects: map[merge.Ref]merge.Object{}, Deleted: map[merge.Ref]bool{}}
	}
	wanted := map[uint32]bool{}
	for key, e := range x.entries {
		if _, asked := faces[key.root]; asked {
			for number := e.first; number <= e.last; number++ {
				wanted[number] = true
			}
		}
	}
	for _, number := range slices.Sorted(maps.Keys(wanted)) {
		err := eachPiece(ctx, x.snapshot, x.parts[number], canonical, func(p piece) error {
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
