package dhis2api

import (
	"encoding/json"
	"strconv"
)

// TrackedEntity is a person (or another thing) followed over time, as the tracker API shows and takes it.
//
// All times are strings as the server wrote them: wall clock in the server's zone, without offset. Convert
// with Client.ParseTime. On import the server ignores CreatedAt, UpdatedAt, CreatedBy, UpdatedBy, Deleted
// and ProgramOwners, and sets CreatedAtClient and UpdatedAtClient to null where they are left out.
type TrackedEntity struct {
	TrackedEntity      string          `json:"trackedEntity,omitempty"`
	TrackedEntityType  string          `json:"trackedEntityType,omitempty"`
	OrgUnit            string          `json:"orgUnit,omitempty"`
	CreatedAt          string          `json:"createdAt,omitempty"`
	CreatedAtClient    string          `json:"createdAtClient,omitempty"`
	UpdatedAt          string          `json:"updatedAt,omitempty"`
	UpdatedAtClient    string          `json:"updatedAtClient,omitempty"`
	Inactive           bool            `json:"inactive,omitempty"`
	Deleted            bool            `json:"deleted,omitempty"`
	PotentialDuplicate bool            `json:"potentialDuplicate,omitempty"`
	Geometry           json.RawMessage `json:"geometry,omitempty"`
	StoredBy           string          `json:"storedBy,omitempty"`
	CreatedBy          *UserRef        `json:"createdBy,omitempty"`
	UpdatedBy          *UserRef        `json:"updatedBy,omitempty"`
	Attributes         []Attribute     `json:"attributes,omitempty"`
	Enrollments        []*Enrollment   `json:"enrollments,omitempty"`
	Relationships      []*Relationship `json:"relationships,omitempty"`
	ProgramOwners      []ProgramOwner  `json:"programOwners,omitempty"`
}

// Attribute is one attribute value of a tracked entity.
type Attribute struct {
	Attribute string `json:"attribute"`
	// Value is kept as sent. Sent empty, it clears the value.
	Value       string `json:"value"`
	Code        string `json:"code,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
	ValueType   string `json:"valueType,omitempty"`
	CreatedAt   string `json:"createdAt,omitempty"`
	UpdatedAt   string `json:"updatedAt,omitempty"`
	StoredBy    string `json:"storedBy,omitempty"`
}

// ProgramOwner says which org unit owns a tracked entity in a program. Read only: it is changed by
// Client.TransferOwnership.
type ProgramOwner struct {
	Program       string `json:"program,omitempty"`
	OrgUnit       string `json:"orgUnit,omitempty"`
	TrackedEntity string `json:"trackedEntity,omitempty"`
}

// Enrollment is a tracked entity's stay in a program.
type Enrollment struct {
	Enrollment      string `json:"enrollment,omitempty"`
	TrackedEntity   string `json:"trackedEntity,omitempty"`
	Program         string `json:"program,omitempty"`
	OrgUnit         string `json:"orgUnit,omitempty"`
	Status          string `json:"status,omitempty"` // ACTIVE, COMPLETED, CANCELLED; left out on import it becomes ACTIVE
	EnrolledAt      string `json:"enrolledAt,omitempty"`
	OccurredAt      string `json:"occurredAt,omitempty"`
	CompletedAt     string `json:"completedAt,omitempty"`
	CompletedBy     string `json:"completedBy,omitempty"`
	CreatedAt       string `json:"createdAt,omitempty"`
	CreatedAtClient string `json:"createdAtClient,omitempty"`
	UpdatedAt       string `json:"updatedAt,omitempty"`
	UpdatedAtClient string `json:"updatedAtClient,omitempty"`
	FollowUp        bool   `json:"followUp,omitempty"`
	Deleted         bool   `json:"deleted,omitempty"`
	// AttributeOptionCombo exists from DHIS2 2.43 on.
	AttributeOptionCombo string          `json:"attributeOptionCombo,omitempty"`
	Geometry             json.RawMessage `json:"geometry,omitempty"`
	StoredBy             string          `json:"storedBy,omitempty"`
	CreatedBy            *UserRef        `json:"createdBy,omitempty"`
	UpdatedBy            *UserRef        `json:"updatedBy,omitempty"`
	// Attributes belong to the tracked entity, whichever form they arrive in.
	Attributes    []Attribute     `json:"attributes,omitempty"`
	Events        []*Event        `json:"events,omitempty"`
	Notes         Notes           `json:"notes,omitempty"`
	Relationships []*Relationship `json:"relationships,omitempty"`
}

// Event is one visit, or one line of a program without registration; the latter has no TrackedEntity and,
// from DHIS2 2.43 on, no Enrollment either (earlier versions show one that nobody made).
type Event struct {
	Event                    string           `json:"event,omitempty"`
	Program                  string           `json:"program,omitempty"`
	ProgramStage             string           `json:"programStage,omitempty"`
	Enrollment               string           `json:"enrollment,omitempty"`
	TrackedEntity            string           `json:"trackedEntity,omitempty"`
	OrgUnit                  string           `json:"orgUnit,omitempty"`
	Status                   string           `json:"status,omitempty"` // left out on import it becomes ACTIVE
	OccurredAt               string           `json:"occurredAt,omitempty"`
	ScheduledAt              string           `json:"scheduledAt,omitempty"`
	CompletedAt              string           `json:"completedAt,omitempty"`
	CompletedBy              string           `json:"completedBy,omitempty"`
	CreatedAt                string           `json:"createdAt,omitempty"`
	CreatedAtClient          string           `json:"createdAtClient,omitempty"`
	UpdatedAt                string           `json:"updatedAt,omitempty"`
	UpdatedAtClient          string           `json:"updatedAtClient,omitempty"`
	FollowUp                 bool             `json:"followUp,omitempty"` // DHIS2 2.41 writes followup too: decoded alike
	Deleted                  bool             `json:"deleted,omitempty"`
	AttributeOptionCombo     string           `json:"attributeOptionCombo,omitempty"`
	AttributeCategoryOptions string           `json:"attributeCategoryOptions,omitempty"`
	AssignedUser             *UserRef         `json:"assignedUser,omitempty"`
	Geometry                 json.RawMessage  `json:"geometry,omitempty"`
	StoredBy                 string           `json:"storedBy,omitempty"`
	CreatedBy                *UserRef         `json:"createdBy,omitempty"`
	UpdatedBy                *UserRef         `json:"updatedBy,omitempty"`
	DataValues               []EventDataValue `json:"dataValues,omitempty"`
	Notes                    Notes            `json:"notes,omitempty"`
	Relationships            []*Relationship  `json:"relationships,omitempty"`
}

// EventDataValue is one value of an event. (DataValue is the aggregate one.)
type EventDataValue struct {
	DataElement string `json:"dataElement"`
	// Value is kept as sent. Sent empty, it clears the value.
	Value             string   `json:"value"`
	ProvidedElsewhere bool     `json:"providedElsewhere,omitempty"`
	CreatedAt         string   `json:"createdAt,omitempty"`
	UpdatedAt         string   `json:"updatedAt,omitempty"`
	StoredBy          string   `json:"storedBy,omitempty"`
	CreatedBy         *UserRef `json:"createdBy,omitempty"`
	UpdatedBy         *UserRef `json:"updatedBy,omitempty"`
}

// Note is a remark on an enrollment or event. Notes are only ever added: one whose uid is known is dropped
// with a warning.
type Note struct {
	Note      string   `json:"note,omitempty"`
	Value     string   `json:"value,omitempty"`
	StoredAt  string   `json:"storedAt,omitempty"`
	StoredBy  string   `json:"storedBy,omitempty"`
	CreatedBy *UserRef `json:"createdBy,omitempty"`
}

// Notes are the notes of an enrollment or event.
type Notes []Note

// UnmarshalJSON reads a list of notes, or, where only their number was asked for (notes::size), that many empty ones.
func (n *Notes) UnmarshalJSON(raw []byte) error {
	if count, err := strconv.Atoi(string(raw)); err == nil && count >= 0 && count < 1<<20 {
		*n = nil
		if count > 0 {
			*n = make(Notes, count)
		}
		return nil
	}
	return json.Unmarshal(raw, (*[]Note)(n))
}

// Relationship ties two tracked entities, enrollments or events. It is never updated; the API does not show
// whether one is deleted.
type Relationship struct {
	Relationship     string            `json:"relationship,omitempty"`
	RelationshipType string            `json:"relationshipType,omitempty"`
	RelationshipName string            `json:"relationshipName,omitempty"`
	Bidirectional    bool              `json:"bidirectional,omitempty"`
	CreatedAt        string            `json:"createdAt,omitempty"`
	CreatedAtClient  string            `json:"createdAtClient,omitempty"`
	UpdatedAt        string            `json:"updatedAt,omitempty"`
	From             *RelationshipItem `json:"from,omitempty"`
	To               *RelationshipItem `json:"to,omitempty"`
}

// RelationshipItem is one end of a relationship: exactly one field is set. On import only the uids count.
type RelationshipItem struct {
	TrackedEntity *TrackedEntity `json:"trackedEntity,omitempty"`
	Enrollment    *Enrollment    `json:"enrollment,omitempty"`
	Event         *Event         `json:"event,omitempty"`
}

// Ref is the kind and the uid of the end; both empty when no field is set.
func (item *RelationshipItem) Ref() (Kind, string) {
	switch {
	case item == nil:
		return "", ""
	case item.TrackedEntity != nil:
		return KindTrackedEntity, item.TrackedEntity.TrackedEntity
	case item.Enrollment != nil:
		return KindEnrollment, item.Enrollment.Enrollment
	case item.Event != nil:
		return KindEvent, item.Event.Event
	}
	return "", ""
}

// ItemRef is a relationship end that names an object and carries nothing else of it, as an import wants it.
// It is nil for a kind that cannot be an end.
func ItemRef(kind Kind, uid string) *RelationshipItem {
	switch kind {
	case KindTrackedEntity:
		return &RelationshipItem{TrackedEntity: &TrackedEntity{TrackedEntity: uid}}
	case KindEnrollment:
		return &RelationshipItem{Enrollment: &Enrollment{Enrollment: uid}}
	case KindEvent:
		return &RelationshipItem{Event: &Event{Event: uid}}
	}
	return nil
}

// UserRef names a user inside tracker objects. To assign an event to somebody, send UID and Username both
// (DHIS2 2.42: with one of them the importer may answer E1118).
type UserRef struct {
	UID         string `json:"uid,omitempty"`
	Username    string `json:"username,omitempty"`
	FirstName   string `json:"firstName,omitempty"`
	Surname     string `json:"surname,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
}

// Kind is DHIS2's trackerType: what an import report calls the kind of an object.
type Kind string

// The four kinds of tracker objects.
const (
	KindTrackedEntity Kind = "TRACKED_ENTITY"
	KindEnrollment    Kind = "ENROLLMENT"
	KindEvent         Kind = "EVENT"
	KindRelationship  Kind = "RELATIONSHIP"
)

// TrackerPayload is what Client.Import takes: flat lists, nested trees, or both. Objects without a uid get
// one from the server and then cannot be sent again safely: always set uids. For ImportStrategyDelete the
// uids alone are enough.
type TrackerPayload struct {
	TrackedEntities []*TrackedEntity `json:"trackedEntities,omitempty"`
	Enrollments     []*Enrollment    `json:"enrollments,omitempty"`
	Events          []*Event         `json:"events,omitempty"`
	Relationships   []*Relationship  `json:"relationships,omitempty"`
}

// Empty tells whether there is nothing to import.
func (p TrackerPayload) Empty() bool {
	return len(p.TrackedEntities)+len(p.Enrollments)+len(p.Events)+len(p.Relationships) == 0
}
