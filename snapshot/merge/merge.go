// Package merge decides, from four views of the same patients' records, what has to travel home.
//
// The nouns:
//
//   - An object is one tracked entity, enrollment, event, relationship, data value or completion, reduced
//     to its canonical content: a flat set of named fields, each one string (see Object).
//   - A face is what one server held at one moment: taken (central, when the trip began), loaded (the kit,
//     when it had been loaded), local (the kit, now) and central (central, now).
//   - A record is the four faces of objects that belong together: a tracked entity with its enrollments and
//     events; or a single event, a relationship, a data value or a completion alone.
//   - A change is one field of one object that local holds differently from loaded. A created and a deleted
//     object are one change each, and so is a note.
//   - A verdict says where a change goes: push, already there, conflict, unclear, out of scope or dropped.
//   - A decision is what people, or a rule of theirs, made of a conflict: the kit's side or central's.
//
// A local change is a difference between local and loaded; a central change is one between central and
// taken. No time is ever compared with another to decide which is newer: the clocks of field servers are
// wrong. Absence is not deletion: an object that a face does not list is only deleted where the face says so.
//
// # The matrix
//
// What the kit did stands on the left, what central did at the top. "Deleted" means proven; "absent" means
// that central neither lists the object nor is known to have deleted it.
//
//	kit \ central   nothing     same end      another end      deleted       absent
//	nothing         -           -             -                -             -
//	update (field)  push        alreadyThere  conflict         conflict      unclear
//	note            push        alreadyThere  unclear (uid)    conflict      unclear
//	create          push        alreadyThere  conflict (field) conflict      push
//	delete          push        alreadyThere  conflict         alreadyThere  unclear
//	missing         unclear     unclear       unclear          unclear       unclear
//
// Around it:
//
//   - Central objects that only central created, changed or deleted are no change: nothing has to travel.
//   - An update of a field that central changed beside other fields is a push: the comparison is by field.
//   - A deletion looks below: anything that central added or changed in the object or under it, that it no
//     longer lists without proof of deletion, or that never reached the kit, makes it a conflict. What
//     central itself deleted below does not.
//   - Objects that went with a deleted parent are part of the parent's one change. The same holds for what is
//     missing with a missing parent.
//   - Taken, but not loaded (it failed to load): absent on the kit it is no change. If it appears there, it
//     counts as created; fields that equal taken or central are part of that creation, which is already
//     there, and others are unclear, because nobody knows what they started from.
//   - Loaded, but not taken (it stood on the kit before): every change is out of scope.
//   - A creation depends on its parent: if the parent is deleted at central it is a conflict, and if the
//     parent's own creation does not go, it shares its verdict.
//   - Created on both sides: the fields that both hold alike are together one creation that is already there
//     (none, if they have none alike); each that local holds and central does not hold alike is a conflict
//     with an empty base; what only central holds is no change.
//   - A relationship is also already there when central holds one of its type between its ends under
//     another uid. Neither relationships nor notes are ever rewritten: a difference in one is out of scope.
//   - An owner that appears with an enrollment in its program and equals the enrollment's unit is a part of
//     that enrollment (DHIS2 2.41 to 2.43: the first enrollment in a program sets the owner).
//
// A decision (see Rules.Decide) turns a conflict into a push or drops the change. It is no way round the matrix:
// central takes nothing into what it deleted, so there only central's side can be decided for, and a field stays
// held as long as another one that belongs to it is an undecided conflict. Nor does it make central do what it cannot (see Beyond),
// which is a conflict although only the kit changed it. The dates of a status follow it. What the kit changed together with a
// dropped field is dropped with it, unless that was decided by itself; so is what was created below a dropped
// creation.
//
// testdata/*.txt spells out each cell.
//
// Everything here is a pure function over its arguments. The package does no I/O and knows nothing of HTTP.
package merge

import (
	"cmp"
	"slices"
	"strings"
)

// Kind says what an object is, in the words of the DHIS2 API.
type Kind string

// The kinds of objects.
const (
	TrackedEntity Kind = "trackedEntity"
	Enrollment    Kind = "enrollment"
	Event         Kind = "event"
	Relationship  Kind = "relationship"
	DataValue     Kind = "dataValue"
	Completion    Kind = "completion"
)

// The names that fields with a key begin with, and the fields that the comparison itself has to know. All
// others are just names to it.
const (
	// NotePrefix begins the field of a note; its uid follows.
	NotePrefix = "notes."
	// OwnerPrefix begins the field of a tracked entity's owner in a program; the program's uid follows.
	OwnerPrefix = "owner."

	// FieldTrackedEntity names an enrollment's parent, FieldEnrollment an event's.
	FieldTrackedEntity = "trackedEntity"
	FieldEnrollment    = "enrollment"

	FieldStatus           = "status"
	FieldOccurredAt       = "occurredAt"
	FieldScheduledAt      = "scheduledAt"
	FieldCompletedAt      = "completedAt"
	FieldOrgUnit          = "orgUnit"
	FieldProgram          = "program"
	FieldGeometry         = "geometry"
	FieldAssignedUser     = "assignedUser"
	FieldRelationshipType = "relationshipType"
	FieldFrom             = "from"
	FieldTo               = "to"
	// FieldBidirectional is "true" for a relationship that means the same read from either end.
	FieldBidirectional = "bidirectional"
)

// Ref names one object.
type Ref struct {
	Kind Kind
	// UID is the object's uid. Data values and completions have none in DHIS2: theirs is the key's parts
	// joined by dots (dataElement.period.orgUnit.categoryOptionCombo.attributeOptionCombo and
	// dataSet.period.orgUnit.attributeOptionCombo).
	UID string
}

// Compare orders refs parents first: by kind (tracked entities, enrollments, events, relationships, data
// values, completions), then by uid. It returns -1, 0 or 1.
func (r Ref) Compare(other Ref) int {
	return cmp.Or(
		cmp.Compare(r.Kind.rank(), other.Kind.rank()),
		strings.Compare(string(r.Kind), string(other.Kind)),
		strings.Compare(r.UID, other.UID))
}

// rank is a kind's place in the order parents first.
func (k Kind) rank() int {
	switch k {
	case TrackedEntity:
		return 0
	case Enrollment:
		return 1
	case Event:
		return 2
	case Relationship:
		return 3
	case DataValue:
		return 4
	case Completion:
		return 5
	default:
		return 6
	}
}

// Object is the canonical content of one object. Two objects with equal Fields are the same to a clinic,
// whatever their timestamps and authors.
type Object struct {
	Ref
	// Parent is the object this one hangs on: an enrollment's tracked entity, an event's enrollment; zero
	// where there is none.
	Parent Ref
	// Fields maps a field to its canonical value; an empty value is the same as no entry. Scalars have
	// their API name (orgUnit, status, occurredAt, ...); an attribute value has its attribute's uid, a data
	// value in an event its data element's uid, a note is "notes." and its uid, an owner "owner." and its
	// program's uid.
	Fields map[string]string
}

// Face is what one server held of a record at one moment.
type Face struct {
	Objects map[Ref]Object
	// Deleted holds objects whose deletion is proven: a tombstone, or an id that a lookup by id did not find.
	Deleted map[Ref]bool
	// Unreadable is why the server could not be asked about this record; empty when it could. What is not
	// known is never guessed: changes of such a record are unclear.
	Unreadable string
}

// Record is the four faces of objects that belong together.
//
// Relationships are records of their own. The taken and the central face of a tracked entity may hold its
// relationships as well (loaded and local must not, or they would be counted twice): they are then looked at
// before the tracked entity's deletion goes, which takes them along.
type Record struct {
	Taken, Loaded, Local, Central Face
}

// Verb is what a change does to its object.
type Verb string

// The verbs.
const (
	Create Verb = "create"
	Update Verb = "update"
	Delete Verb = "delete"
)

// Verdict says where a change goes.
type Verdict string

// The verdicts.
const (
	// Push: only the kit changed it; central takes it.
	Push Verdict = "push"
	// AlreadyThere: central holds the same already.
	AlreadyThere Verdict = "alreadyThere"
	// Conflict: both sides changed it, to different ends.
	Conflict Verdict = "conflict"
	// Unclear: a side could not be read well enough to decide; held.
	Unclear Verdict = "unclear"
	// OutOfScope: a rule says that this never travels.
	OutOfScope Verdict = "outOfScope"
	// Dropped: it was decided that central's state stands; the kit's change ends here.
	Dropped Verdict = "dropped"
)

// Decision says whose side was decided for.
type Decision string

// The decisions.
const (
	Undecided  Decision = ""
	ForLocal   Decision = "local"
	ForCentral Decision = "central"
)

// Change is one difference between local and loaded, with what has to be known to judge it.
type Change struct {
	Ref
	Parent Ref
	Verb   Verb
	// Field is the field that differs; empty for a created or deleted object, and for a record that could
	// not be read on the kit (an unclear update).
	Field string
	// Base, Local and Central are the field's values when loaded, on the kit now, and at central now.
	// Empty for a created or deleted object.
	Base, Local, Central string
	Verdict              Verdict
	// Reason says in plain words why the verdict is what it is; empty for Push. It names objects by kind and
	// uid and fields by name, and never holds a value.
	Reason string
}

// compareChanges orders changes parents first: by object, then by field.
func compareChanges(a, b Change) int {
	return cmp.Or(a.Ref.Compare(b.Ref), strings.Compare(a.Field, b.Field))
}

// Rules are the owner's and the programme's rules that bend a comparison.
type Rules struct {
	// Unit names the group of fields within one object that are merged together or not at all: a conflict in
	// one holds the local changes of all, and so does a field that only central changed. Nil, or an empty
	// name: the field stands alone. It is given the object as local holds it.
	//
	// Status and its dates are one unit whatever Unit says, in which only a conflict holds the others:
	// status and completedAt of an enrollment or event; and, as long as a face holds the event as planned
	// (SCHEDULE, OVERDUE, SKIPPED), its occurredAt and scheduledAt too, because turning a plan into a visit
	// sets them. Otherwise these two stand alone. Geometry, notes and owners always do.
	Unit func(Object, string) string
	// Skip tells whether a field never travels (skipSynchronization at central). Nil: none. It is given the
	// object as the side being looked at holds it. Skipped fields are out of scope. Where central holds one, the object's
	// deletion is a conflict: it was never taken, so whoever deleted the object did not see it.
	Skip func(Object, string) bool
	// Decide tells what was decided about a change that is a conflict, or that was one when it was decided
	// about; nil: nothing. It may be asked about one change more than once.
	Decide func(Change) Decision
}

// Merged returns the events that both sides edited, in order, even where no field clashed: their merged form
// was never seen by anybody, and a clinician should. Events that both sides brought to the same content are
// not among them. It wants the record as it was compared, before anything is pushed.
func Merged(record Record) []Ref {
	var merged []Ref
	for ref, local := range record.Local.Objects {
		if ref.Kind != Event {
			continue
		}
		taken, inTaken := record.Taken.Objects[ref]
		loaded, inLoaded := record.Loaded.Objects[ref]
		central, inCentral := record.Central.Objects[ref]
		if inTaken && inLoaded && inCentral && !sameFields(local, loaded) && !sameFields(central, taken) && !sameFields(local, central) {
			merged = append(merged, ref)
		}
	}
	slices.SortFunc(merged, Ref.Compare)
	return merged
}

// sameFields tells whether two objects have the same content.
func sameFields(a, b Object) bool {
	for field, value := range a.Fields {
		if b.Fields[field] != value {
			return false
		}
	}
	for field, value := range b.Fields {
		if a.Fields[field] != value {
			return false
		}
	}
	return true
}
