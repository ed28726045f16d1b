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
//   - A verdict says where a change goes: push, already there, conflict, unclear or out of scope.
//
// A local change is a difference between local and loaded; a central change is one between central and
// taken. No time is ever compared with another to decide which is newer: the clocks of field servers are
// wrong. Absence is not deletion: an object that a face does not list is only deleted where the face says so.
//
// Everything here is a pure function over its arguments. The package does no I/O and knows nothing of HTTP.
package merge

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

// Ref names one object.
type Ref struct {
	Kind Kind
	// UID is the object's uid. Data values and completions have none in DHIS2: theirs is the key's parts
	// joined by dots (dataElement.period.orgUnit.categoryOptionCombo.attributeOptionCombo and
	// dataSet.period.orgUnit.attributeOptionCombo).
	UID string
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
	// value in an event its data element's uid, a note is "notes." and its uid.
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
)

// Change is one difference between local and loaded, with what has to be known to judge it.
type Change struct {
	Ref
	Parent Ref
	Verb   Verb
	// Field is the field that differs; empty for a created or deleted object.
	Field string
	// Base, Local and Central are the field's values when loaded, on the kit now, and at central now.
	// Empty for a created or deleted object.
	Base, Local, Central string
	Verdict              Verdict
	// Reason says in plain words why the verdict is what it is; empty for Push.
	Reason string
}

// Rules are the owner's and the programme's rules that bend a comparison.
type Rules struct {
	// Unit names the group of fields within one object that mean something only together: a conflict in
	// one holds the changes of all. Nil, or an empty name: the field stands alone. Status and its dates are
	// one unit whatever Unit says.
	Unit func(Object, string) string
	// Skip tells whether a field never travels (skipSynchronization at central). Nil: none.
	Skip func(Object, string) bool
}
