package merge

import (
	"fmt"
	"slices"
	"strings"
)

// maxDepth bounds a walk from an object to its ancestors: event, enrollment, tracked entity. Anything deeper
// is broken input, in which parents may even go round in a circle.
const maxDepth = 4

// compareGone judges an object that was loaded and that the kit no longer lists.
func (c *comparison) compareGone(ref Ref, loaded Object) {
	proven := c.deletedOnKit(ref)
	if c.goneWithParent(ref, loaded, proven) {
		return
	}
	change := Change{Ref: ref, Parent: loaded.Parent, Verb: Delete}
	_, wasTaken := c.record.Taken.Objects[ref]
	_, atCentral := c.record.Central.Objects[ref]
	switch {
	case c.record.Taken.Unreadable != "":
		change.Verdict, change.Reason = Unclear, c.record.Taken.Unreadable
	case !wasTaken:
		change.Verdict, change.Reason = OutOfScope, reasonStoodBefore
	case !proven:
		change.Verdict, change.Reason = Unclear, "the kit no longer lists it, and no deletion is proven"
	case c.record.Central.Unreadable != "":
		change.Verdict, change.Reason = Unclear, c.record.Central.Unreadable
	case !atCentral && c.deletedAtCentral(ref):
		change.Verdict, change.Reason = AlreadyThere, "deleted at central too"
	case !atCentral:
		change.Verdict, change.Reason = Unclear, reasonNotListed
	default:
		if change.Verdict, change.Reason = c.lookBelow(ref); change.Verdict == Conflict {
			c.decide(&change)
		}
	}
	c.add(change)
}

// goneWithParent tells whether the object's disappearance is a part of an ancestor's.
func (c *comparison) goneWithParent(ref Ref, loaded Object, proven bool) bool {
	_, taken := c.record.Taken.Objects[ref]
	parent := loaded.Parent
	for child := ref; ; {
		object, known := c.record.Loaded.Objects[parent]
		if !known || parent.Kind.rank() >= child.Kind.rank() { // broken input: nothing hangs on its like
			return false
		}
		if _, stands := c.record.Local.Objects[parent]; stands {
			return false
		}
		_, parentTaken := c.record.Taken.Objects[parent]
		if (c.deletedOnKit(parent) || !proven) && (parentTaken || !taken) {
			return true
		}
		child, parent = parent, object.Parent
	}
}

// lookBelow judges a proven deletion of an object that central still holds.
func (c *comparison) lookBelow(root Ref) (Verdict, string) {
	if standing := c.below(root, c.record.Local); len(standing) > 0 {
		first := slices.MinFunc(standing, Ref.Compare)
		return Unclear, fmt.Sprintf("%s %s below it still stands on the kit", first.Kind, first.UID)
	}
	taken, central := c.record.Taken, c.record.Central
	refs := append(c.below(root, taken), c.below(root, central)...)
	refs = append(refs, root)
	slices.SortFunc(refs, Ref.Compare)
	var news []string
	for _, ref := range slices.Compact(refs) {
		if text := c.newAtCentral(ref); text != "" {
			news = append(news, text)
		}
	}
	const named = 3
	if len(news) == 0 {
		return Push, ""
	}
	if more := len(news) - named; more > 0 {
		news = append(news[:named], fmt.Sprintf("and %d more", more))
	}
	return Conflict, "the deletion would take along what is new at central: " + strings.Join(news, "; ")
}

// newAtCentral says what a deletion of the object would destroy that the kit never saw; empty if nothing.
func (c *comparison) newAtCentral(ref Ref) string {
	taken, wasTaken := c.record.Taken.Objects[ref]
	central, atCentral := c.record.Central.Objects[ref]
	_, wasLoaded := c.record.Loaded.Objects[ref]
	switch {
	case !atCentral && c.deletedAtCentral(ref):
		return ""
	case !atCentral:
		return fmt.Sprintf("%s %s is no longer listed, and no deletion is proven", ref.Kind, ref.UID)
	case !wasTaken:
		return fmt.Sprintf("%s %s was added", ref.Kind, ref.UID)
	case !wasLoaded && ref.Kind != Relationship:
		return fmt.Sprintf("%s %s never reached the kit", ref.Kind, ref.UID)
	case taken.Parent != central.Parent:
		return fmt.Sprintf("%s %s was moved", ref.Kind, ref.UID)
	}
	fields := changedFields(taken, central)
	if i := slices.IndexFunc(fields, func(field string) bool { return !c.skip(central, field) }); i < 0 && len(fields) > 0 {
		return fmt.Sprintf("%s %s has %s, which never travels", ref.Kind, ref.UID, strings.Join(fields, ", "))
	}
	if len(fields) > 0 {
		return fmt.Sprintf("%s %s has another %s", ref.Kind, ref.UID, strings.Join(fields, ", "))
	}
	return ""
}

// Subtree returns what central holds of an object and of all that its deletion would take along, in order.
func Subtree(record Record, ref Ref) []Object {
	refs := Below(record, record.Central, ref)
	if _, there := record.Central.Objects[ref]; there {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, Ref.Compare)
	objects := make([]Object, len(refs))
	for i, ref := range refs {
		objects[i] = record.Central.Objects[ref]
	}
	return objects
}

// Below returns the objects of one of the record's faces that hang under an object at any depth, and the
// relationships that end in one of them or in it, in no defined order.
func Below(record Record, face Face, ref Ref) []Ref {
	c := comparison{record: record}
	return c.below(ref, face)
}

// changedFields returns the names of the fields in which two contents of one object differ, in order. Those that a rule skips
// are among them: they were never taken, so nobody on the kit knew what a deletion takes along.
func changedFields(a, b Object) []string {
	var fields []string
	for field, value := range a.Fields {
		if value != b.Fields[field] {
			fields = append(fields, field)
		}
	}
	for field, value := range b.Fields {
		if _, seen := a.Fields[field]; !seen && value != "" {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	return fields
}

// below returns the objects of a face that hang under root at any depth, and the relationships that end in
// root or in one of them; root itself is not among them. The order is not defined.
func (c *comparison) below(root Ref, face Face) []Ref {
	var refs []Ref
	ends := map[string]bool{string(root.Kind) + "." + root.UID: true}
	for ref, object := range face.Objects {
		if ref != root && c.isBelow(root, object, face) {
			refs = append(refs, ref)
			ends[string(ref.Kind)+"."+ref.UID] = true
		}
	}
	for ref, object := range face.Objects {
		if ref.Kind == Relationship && ref != root && (ends[object.Fields[FieldFrom]] || ends[object.Fields[FieldTo]]) && !c.isBelow(root, object, face) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// isBelow tells whether root is among the object's ancestors in the face, or, where the face lacks one of them,
// as another face knows it.
func (c *comparison) isBelow(root Ref, object Object, face Face) bool {
	for range maxDepth {
		if object.Parent == root {
			return true
		}
		parent, known := face.Objects[object.Parent]
		if !known {
			if parent, known = c.object(object.Parent); !known {
				return false
			}
		}
		object = parent
	}
	return false
}

// deletedOnKit tells whether the object's deletion on the kit is proven: its own, or an ancestor's, which
// takes it along.
func (c *comparison) deletedOnKit(ref Ref) bool { return c.deleted(ref, c.record.Local) }

// deletedAtCentral is deletedOnKit for central.
func (c *comparison) deletedAtCentral(ref Ref) bool { return c.deleted(ref, c.record.Central) }

func (c *comparison) deleted(ref Ref, face Face) bool {
	for range maxDepth {
		if _, there := face.Objects[ref]; there || ref == (Ref{}) {
			return false
		}
		if face.Deleted[ref] {
			return true
		}
		object, known := c.object(ref)
		if !known {
			return false
		}
		ref = object.Parent
	}
	return false
}

// object returns an object as any face holds it, for its parent.
func (c *comparison) object(ref Ref) (Object, bool) {
	for _, face := range []*Face{&c.record.Local, &c.record.Loaded, &c.record.Taken, &c.record.Central} {
		if object, ok := face.Objects[ref]; ok {
			return object, true
		}
	}
	return Object{}, false
}
