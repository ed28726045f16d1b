package merge

import (
	"maps"
	"slices"
)

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

// LetGo returns the bases that make a dropped change no change any more: both faces are from now on what the two
// servers hold, different as they are.
func LetGo(change Change, record Record) []Base {
	local, central := record.Local.Objects[change.Ref], record.Central.Objects[change.Ref]
	_, atCentral := record.Central.Objects[change.Ref]
	switch change.Verb {
	case Create:
		bases := []Base{{Ref: change.Ref, TakenPresent: atCentral, LoadedPresent: true}}
		for _, field := range fieldsOfBoth(local, central) {
			bases = append(bases, asHeld(change.Ref, field, local, central))
		}
		return bases
	case Delete:
		bases := []Base{{Ref: change.Ref, TakenPresent: true}}
		for _, ref := range Below(record, record.Loaded, change.Ref) {
			bases = append(bases, Base{Ref: ref, TakenPresent: true})
		}
		return bases
	default:
		return []Base{asHeld(change.Ref, change.Field, local, central)}
	}
}

// Met returns the bases of an object that both sides created, once something of it is decided, given the changes of
// its record: what is alike is no change any more, and what is not keeps an empty base. For any other object it
// returns none.
func Met(ref Ref, record Record, changes []Change) []Base {
	local, onKit := record.Local.Objects[ref]
	central, atCentral := record.Central.Objects[ref]
	if _, loaded := record.Loaded.Objects[ref]; loaded || !onKit || !atCentral || ref.Kind == Relationship {
		return nil
	}
	bases := []Base{{Ref: ref, TakenPresent: true, LoadedPresent: true}}
	for _, field := range fieldsOfBoth(local, central) {
		i := slices.IndexFunc(changes, func(c Change) bool { return c.Ref == ref && c.Field == field })
		switch {
		case i < 0:
			bases = append(bases, asHeld(ref, field, local, central))
		case changes[i].Verdict == Conflict && changes[i].Central == "":
			// As if central had emptied it: that it never had a value there is not for the kit's to go by itself.
			bases = append(bases, Base{Ref: ref, Field: field, Taken: changes[i].Local, TakenPresent: true})
		}
	}
	return bases
}

// asHeld is the base of a field that both servers may hold as they do.
func asHeld(ref Ref, field string, local, central Object) Base {
	taken, loaded := central.Fields[field], local.Fields[field]
	return Base{Ref: ref, Field: field, Taken: taken, Loaded: loaded, TakenPresent: taken != "", LoadedPresent: loaded != ""}
}

// fieldsOfBoth lists the fields of two objects, each once, in order.
func fieldsOfBoth(a, b Object) []string {
	fields := slices.Collect(maps.Keys(a.Fields))
	for field := range b.Fields {
		if _, twice := a.Fields[field]; !twice {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	return fields
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
