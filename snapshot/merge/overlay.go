package merge

import "maps"

// Base says from what one object or field has to be compared instead of what the snapshot holds: what was
// pushed in an earlier run, or the own base of a change held over from an earlier trip.
type Base struct {
	Ref
	// Field is the field meant; empty for the object's existence.
	Field string
	// Taken and Loaded are the field's values in the two faces; ignored for existence.
	Taken, Loaded string
	// TakenPresent and LoadedPresent tell whether the face holds the object (Field empty) or the field. A
	// field's base means nothing in a face that does not hold the object.
	TakenPresent, LoadedPresent bool
}

// Pushed returns the bases that make a change that arrived at central no change any more, given the object as
// it stood on the kit when it was pushed (ignored for a deletion).
func Pushed(change Change, local Object) []Base {
	switch change.Verb {
	case Create:
		bases := []Base{{Ref: change.Ref, TakenPresent: true, LoadedPresent: true}}
		for field, value := range local.Fields {
			bases = append(bases, Base{
				Ref: change.Ref, Field: field,
				Taken: value, Loaded: value, TakenPresent: true, LoadedPresent: true,
			})
		}
		return bases
	case Delete:
		return []Base{{Ref: change.Ref}}
	default:
		return []Base{{
			Ref: change.Ref, Field: change.Field,
			Taken: change.Local, Loaded: change.Local, TakenPresent: true, LoadedPresent: true,
		}}
	}
}

// Overlay returns the record with its taken and loaded faces corrected by the bases. Their order matters only
// between bases of one field, where the last one wins. An object that they put in has the parent that another
// face knows or its fields name; one that they take out of both faces was deleted, so it takes along what hangs
// below it. The record itself is not changed, and neither are unreadable faces made readable.
func Overlay(record Record, bases []Base) Record {
	if len(bases) == 0 {
		return record
	}
	c := comparison{record: record}
	taken, loaded := newLayer(record.Taken), newLayer(record.Loaded)
	existence := map[Ref]Base{}
	for _, base := range bases {
		if base.Field == "" {
			existence[base.Ref] = base
		}
	}
	for ref, base := range existence {
		known, _ := c.object(ref)
		taken.put(ref, known.Parent, base.TakenPresent)
		loaded.put(ref, known.Parent, base.LoadedPresent)
	}
	for _, base := range bases {
		if base.Field != "" {
			taken.set(base.Ref, base.Field, base.Taken, base.TakenPresent)
			loaded.set(base.Ref, base.Field, base.Loaded, base.LoadedPresent)
		}
	}
	for ref, base := range existence {
		if !base.TakenPresent && !base.LoadedPresent {
			taken.remove(c.below(ref, taken.face))
			loaded.remove(c.below(ref, loaded.face))
		}
	}
	record.Taken, record.Loaded = taken.face, loaded.face
	return record
}

// layer is a face that is being corrected: its maps are its own, and so are the fields of the objects in own.
type layer struct {
	face Face
	own  map[Ref]bool
}

func newLayer(face Face) *layer {
	face.Objects, face.Deleted = maps.Clone(face.Objects), maps.Clone(face.Deleted)
	if face.Objects == nil {
		face.Objects = map[Ref]Object{}
	}
	return &layer{face: face, own: map[Ref]bool{}}
}

// put makes the face hold the object or not.
func (l *layer) put(ref, parent Ref, present bool) {
	_, there := l.face.Objects[ref]
	switch {
	case !present:
		delete(l.face.Objects, ref)
	case !there:
		l.face.Objects[ref] = Object{Ref: ref, Parent: parent}
		delete(l.face.Deleted, ref)
	}
}

func (l *layer) remove(refs []Ref) {
	for _, ref := range refs {
		delete(l.face.Objects, ref)
	}
}

// set gives a field of an object that the face holds another value, or none.
func (l *layer) set(ref Ref, field, value string, present bool) {
	object, there := l.face.Objects[ref]
	if !there {
		return
	}
	if !l.own[ref] {
		l.own[ref] = true
		object.Fields = maps.Clone(object.Fields)
		if object.Fields == nil {
			object.Fields = map[string]string{}
		}
		l.face.Objects[ref] = object
	}
	if parent := parentNamed(ref, field, value); present && object.Parent == (Ref{}) && parent != (Ref{}) {
		object.Parent = parent
		l.face.Objects[ref] = object
	}
	if present {
		object.Fields[field] = value
	} else {
		delete(object.Fields, field)
	}
}

// parentNamed returns the parent that a field names; the zero ref if the field names none.
func parentNamed(ref Ref, field, value string) Ref {
	switch {
	case value == "":
		return Ref{}
	case ref.Kind == Event && field == FieldEnrollment:
		return Ref{Kind: Enrollment, UID: value}
	case ref.Kind == Enrollment && field == FieldTrackedEntity:
		return Ref{Kind: TrackedEntity, UID: value}
	}
	return Ref{}
}
