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

// Overlay returns the record with its taken and loaded faces corrected by the bases, which are applied in
// the order given, so the last one for a field wins. An object that a base takes away takes along what hangs
// below it; one that a base puts in has the parent that another face knows. The record itself is not changed,
// and neither are unreadable faces made readable.
func Overlay(record Record, bases []Base) Record {
	if len(bases) == 0 {
		return record
	}
	c := comparison{record: record}
	taken, loaded := newLayer(&c, record.Taken), newLayer(&c, record.Loaded)
	for _, base := range bases {
		known, _ := c.object(base.Ref)
		taken.apply(base.Ref, known.Parent, base.Field, base.Taken, base.TakenPresent)
		loaded.apply(base.Ref, known.Parent, base.Field, base.Loaded, base.LoadedPresent)
	}
	record.Taken, record.Loaded = taken.face, loaded.face
	return record
}

// layer is a face that is being corrected: its maps are its own, and the fields of the objects in own too.
type layer struct {
	record *comparison
	face   Face
	own    map[Ref]bool
}

func newLayer(record *comparison, face Face) *layer {
	face.Objects, face.Deleted = maps.Clone(face.Objects), maps.Clone(face.Deleted)
	if face.Objects == nil {
		face.Objects = map[Ref]Object{}
	}
	return &layer{record: record, face: face, own: map[Ref]bool{}}
}

func (l *layer) apply(ref, parent Ref, field, value string, present bool) {
	object, there := l.face.Objects[ref]
	if field == "" && !present {
		for _, under := range l.record.below(ref, l.face) {
			l.remove(under)
		}
		l.remove(ref)
		return
	}
	if !there {
		if field != "" {
			return
		}
		object = Object{Ref: ref, Parent: parent}
	}
	if !l.own[ref] {
		object.Fields = maps.Clone(object.Fields)
		if object.Fields == nil {
			object.Fields = map[string]string{}
		}
		l.own[ref] = true
	}
	switch {
	case field == "":
	case present:
		object.Fields[field] = value
	default:
		delete(object.Fields, field)
	}
	l.face.Objects[ref] = object
	delete(l.face.Deleted, ref)
}

func (l *layer) remove(ref Ref) {
	delete(l.face.Objects, ref)
	delete(l.own, ref)
}
