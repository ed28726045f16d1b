package merge

import (
	"fmt"
	"slices"
	"strings"
)

// Compare returns every local change of the record with its verdict, ordered parents first (by kind, uid and
// field). It reads its arguments only; equal arguments give equal answers. Each created or deleted object and
// each differing field of an object that stands on the kit before and now is in exactly one change.
func Compare(record Record, rules Rules) []Change {
	c := comparison{record: record, rules: rules, created: map[Ref]Change{}}
	if reason := firstOf(record.Local.Unreadable, record.Loaded.Unreadable); reason != "" {
		return c.unreadableOnKit(reason)
	}
	for _, ref := range c.refs() {
		local, onKit := record.Local.Objects[ref]
		loaded, wasLoaded := record.Loaded.Objects[ref]
		switch {
		case onKit && wasLoaded:
			c.compareFields(ref, loaded, local)
		case onKit:
			c.compareCreated(ref, local)
		case wasLoaded:
			c.compareGone(ref, loaded)
		}
	}
	slices.SortFunc(c.changes, compareChanges)
	return c.changes
}

// comparison is one Compare under way.
type comparison struct {
	record  Record
	rules   Rules
	changes []Change
	// created holds the creations judged so far; parents come before their children.
	created map[Ref]Change
}

// The reasons that more than one place gives.
const (
	reasonSame         = "central holds the same"
	reasonBoth         = "changed on both sides"
	reasonDeleted      = "deleted at central"
	reasonNotListed    = "central no longer lists it, and no deletion is proven"
	reasonStoodBefore  = "stood on the kit before this trip was loaded"
	reasonSkipped      = "never travels: marked so at central"
	reasonNoteTaken    = "central holds another text under this note's uid"
	reasonNotRewritten = "central never rewrites a note or a relationship"
)

// ReasonDropped is the reason of a change about which it was decided that central's state stands.
const ReasonDropped = "decided: central's state stands"

// refs returns the objects that may have changed locally, parents first.
func (c *comparison) refs() []Ref {
	refs := make([]Ref, 0, len(c.record.Local.Objects))
	for ref := range c.record.Local.Objects {
		refs = append(refs, ref)
	}
	for ref := range c.record.Loaded.Objects {
		if _, twice := c.record.Local.Objects[ref]; !twice {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, Ref.Compare)
	return refs
}

// unreadableOnKit answers for a record of which the kit's side is not known: one unclear change for each
// topmost object.
func (c *comparison) unreadableOnKit(reason string) []Change {
	tops := map[Ref]Object{}
	for _, face := range []Face{c.record.Taken, c.record.Loaded, c.record.Local} {
		for ref, object := range face.Objects {
			if _, known := c.object(object.Parent); !known {
				tops[ref] = object
			}
		}
	}
	for ref, object := range tops {
		c.add(Change{Ref: ref, Parent: object.Parent, Verb: Update, Verdict: Unclear, Reason: reason})
	}
	slices.SortFunc(c.changes, compareChanges)
	return c.changes
}

func (c *comparison) add(change Change) { c.changes = append(c.changes, change) }

// compareFields judges the fields of an object that was loaded and stands on the kit.
func (c *comparison) compareFields(ref Ref, loaded, local Object) {
	first := len(c.changes)
	for field, value := range local.Fields {
		if base := loaded.Fields[field]; value != base {
			c.compareField(ref, local, field, base)
		}
	}
	for field, base := range loaded.Fields {
		_, compared := local.Fields[field]
		if base == "" || compared || strings.HasPrefix(field, NotePrefix) {
			continue // a note that is no longer there is no change: notes are only ever added
		}
		c.compareField(ref, local, field, base)
	}
	if changes := c.changes[first:]; len(changes) > 0 {
		c.holdTogether(ref, local, changes)
	}
}

// compareField judges one field that local holds differently from loaded.
func (c *comparison) compareField(ref Ref, local Object, field, base string) {
	value := local.Fields[field]
	note := strings.HasPrefix(field, NotePrefix)
	if note && value == "" || c.ownerOfEnrollment(ref, field, base, value) {
		return
	}
	change := Change{Ref: ref, Parent: local.Parent, Verb: Update, Field: field, Base: base, Local: value}
	taken, wasTaken := c.record.Taken.Objects[ref]
	central, atCentral := c.record.Central.Objects[ref]
	change.Central = central.Fields[field]
	switch {
	case c.skip(local, field):
		change.Verdict, change.Reason = OutOfScope, reasonSkipped
	case c.record.Taken.Unreadable != "":
		change.Verdict, change.Reason = Unclear, c.record.Taken.Unreadable
	case !wasTaken:
		change.Verdict, change.Reason = OutOfScope, reasonStoodBefore
	case note && base != "" || ref.Kind == Relationship:
		change.Verdict, change.Reason = OutOfScope, reasonNotRewritten
	case c.record.Central.Unreadable != "":
		change.Verdict, change.Reason = Unclear, c.record.Central.Unreadable
	case !atCentral && c.deletedAtCentral(ref):
		change.Verdict, change.Reason = Conflict, reasonDeleted
	case !atCentral:
		change.Verdict, change.Reason = Unclear, reasonNotListed
	case value == change.Central:
		change.Verdict, change.Reason = AlreadyThere, reasonSame
	case note && change.Central != "":
		change.Verdict, change.Reason = Unclear, reasonNoteTaken
	case note, change.Central == taken.Fields[field], c.ownerSetByEnrollment(ref, field, base):
		change.Verdict = Push
	default:
		change.Verdict, change.Reason = Conflict, reasonBoth
	}
	c.add(change) // what was decided about it is asked when its object's fields are seen together
}

// compareCreated judges an object that stands on the kit and was not loaded.
func (c *comparison) compareCreated(ref Ref, local Object) {
	change := Change{Ref: ref, Parent: local.Parent, Verb: Create}
	_, wasTaken := c.record.Taken.Objects[ref]
	central, atCentral := c.record.Central.Objects[ref]
	switch {
	case c.record.Taken.Unreadable != "":
		change.Verdict, change.Reason = Unclear, c.record.Taken.Unreadable
	case c.record.Central.Unreadable != "":
		change.Verdict, change.Reason = Unclear, c.record.Central.Unreadable
	case atCentral:
		alike, differs := c.compareBothCreated(ref, local, central)
		change.Verdict, change.Reason = AlreadyThere, reasonSame
		if differs {
			change.Reason = "central holds it too; what differs is listed by field"
		}
		if c.created[ref] = change; differs && !alike {
			return // nothing of it is there already: the fields say all
		}
	case ref.Kind == Relationship && c.twin(local) != "":
		change.Verdict, change.Reason = AlreadyThere, "central holds the same relationship as "+c.twin(local)
	case c.record.Central.Deleted[ref]:
		change.Verdict, change.Reason = Conflict, "deleted at central, which never takes the same uid again"
	case wasTaken:
		change.Verdict, change.Reason = Unclear, reasonNotListed
	case c.deletedEnd(local) != (Ref{}):
		change.Verdict, change.Reason = Conflict, dependsOn(c.deletedEnd(local), reasonDeleted)
	default:
		change.Verdict, change.Reason = c.underParent(local.Parent)
	}
	if change.Verdict == Conflict && c.decision(change) == ForCentral {
		drop(&change)
	}
	c.created[ref] = change
	c.add(change)
}

// compareBothCreated lists the fields in which central differs from an object that the kit created, and tells
// whether there are fields that are alike and fields that differ, notes aside.
func (c *comparison) compareBothCreated(ref Ref, local, central Object) (alike, differs bool) {
	taken, wasTaken := c.record.Taken.Objects[ref]
	for field, value := range local.Fields {
		note := strings.HasPrefix(field, NotePrefix)
		if value == "" || value == central.Fields[field] || wasTaken && value == taken.Fields[field] ||
			c.ownerOfEnrollment(ref, field, taken.Fields[field], value) {
			alike = alike || value != "" && !note
			continue
		}
		differs = differs || !note
		change := Change{
			Ref: ref, Parent: local.Parent, Verb: Update, Field: field,
			Base: taken.Fields[field], Local: value, Central: central.Fields[field],
		}
		switch {
		case c.skip(local, field):
			change.Verdict, change.Reason = OutOfScope, reasonSkipped
		case note && change.Central == "":
			change.Verdict = Push
		case note:
			change.Verdict, change.Reason = Unclear, reasonNoteTaken
		case wasTaken:
			change.Verdict, change.Reason = Unclear, "could not be loaded and appeared on the kit later: what it started from is not known"
		default:
			change.Verdict, change.Reason = Conflict, "created on both sides"
			c.decide(&change)
		}
		c.add(change)
	}
	return alike, differs
}

// Twins tells whether two relationships are the same tie: of one type, between the same ends.
// DHIS2: two such relationships cannot exist (E4018), and a bidirectional one is the same from either end.
func Twins(a, b Object) bool {
	if a.Fields[FieldRelationshipType] != b.Fields[FieldRelationshipType] {
		return false
	}
	from, to := b.Fields[FieldFrom], b.Fields[FieldTo]
	same := from == a.Fields[FieldFrom] && to == a.Fields[FieldTo]
	swapped := a.Fields[FieldBidirectional] == "true" && from == a.Fields[FieldTo] && to == a.Fields[FieldFrom]
	return same || swapped
}

// twin returns the uid of central's relationship that is the same tie; empty if none.
func (c *comparison) twin(local Object) string {
	var twins []string
	for ref, central := range c.record.Central.Objects {
		if ref.Kind == Relationship && Twins(local, central) {
			twins = append(twins, ref.UID)
		}
	}
	if len(twins) == 0 {
		return ""
	}
	return slices.Min(twins)
}

// deletedEnd is the end of a relationship that central has deleted; the zero Ref where there is none. DHIS2 2.42 and 2.43
// take a relationship of somebody deleted all the same, where nobody will ever see it.
func (c *comparison) deletedEnd(relationship Object) Ref {
	for _, field := range []string{FieldFrom, FieldTo} {
		kind, uid, _ := strings.Cut(relationship.Fields[field], ".")
		if end := (Ref{Kind: Kind(kind), UID: uid}); c.record.Central.Deleted[end] {
			return end
		}
	}
	return Ref{}
}

// underParent judges a creation that central does not know by what it hangs on.
func (c *comparison) underParent(parent Ref) (Verdict, string) {
	if parent == (Ref{}) {
		return Push, ""
	}
	if creation, ok := c.created[parent]; ok {
		if creation.Verdict == Push || creation.Verdict == AlreadyThere {
			return Push, ""
		}
		if strings.HasPrefix(creation.Reason, "depends on ") {
			return creation.Verdict, creation.Reason // the root of it all is named
		}
		return creation.Verdict, dependsOn(parent, creation.Reason)
	}
	_, atCentral := c.record.Central.Objects[parent]
	_, wasTaken := c.record.Taken.Objects[parent]
	_, wasLoaded := c.record.Loaded.Objects[parent]
	switch {
	case atCentral:
		return Push, ""
	case c.deletedAtCentral(parent):
		return Conflict, dependsOn(parent, reasonDeleted)
	case wasTaken:
		return Unclear, dependsOn(parent, reasonNotListed)
	case wasLoaded:
		return OutOfScope, dependsOn(parent, reasonStoodBefore)
	}
	return Push, "" // outside this record: central will say whether it knows it
}

func dependsOn(parent Ref, reason string) string {
	return fmt.Sprintf("depends on %s %s: %s", parent.Kind, parent.UID, reason)
}

// ownerOfEnrollment tells whether the field is an owner that came with an enrollment of the same record, and
// that central does not hold differently: such an owner is a part of the enrollment, not a change.
func (c *comparison) ownerOfEnrollment(ref Ref, field, base, value string) bool {
	if base != "" || value == "" || !strings.HasPrefix(field, OwnerPrefix) || !enrolledAt(c.record.Local, field, value) {
		return false
	}
	central := c.record.Central.Objects[ref].Fields[field]
	return central == "" || central == value
}

// ownerSetByEnrollment tells whether central's owner came with an enrollment: then nobody chose it there, and
// the kit's transfer does not clash with it.
func (c *comparison) ownerSetByEnrollment(ref Ref, field, base string) bool {
	if base != "" || !strings.HasPrefix(field, OwnerPrefix) || c.record.Taken.Objects[ref].Fields[field] != "" {
		return false
	}
	return enrolledAt(c.record.Central, field, c.record.Central.Objects[ref].Fields[field])
}

// enrolledAt tells whether the face has an enrollment at the unit in the program of an owner field.
func enrolledAt(face Face, ownerField, unit string) bool {
	program := strings.TrimPrefix(ownerField, OwnerPrefix)
	for ref, object := range face.Objects {
		if ref.Kind == Enrollment && object.Fields[FieldProgram] == program && object.Fields[FieldOrgUnit] == unit {
			return true
		}
	}
	return false
}

func (c *comparison) skip(object Object, field string) bool {
	return c.rules.Skip != nil && c.rules.Skip(object, field)
}

// firstOf returns the first of its arguments that is not empty.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
