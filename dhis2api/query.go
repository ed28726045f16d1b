package dhis2api

// The modes in which org units select, for the OrgUnitMode of queries.
const (
	OrgUnitModeSelected    = "SELECTED"    // exactly the units given
	OrgUnitModeChildren    = "CHILDREN"    // and their children
	OrgUnitModeDescendants = "DESCENDANTS" // and everything below
	OrgUnitModeAccessible  = "ACCESSIBLE"  // what the account may reach; no units given
	OrgUnitModeCapture     = "CAPTURE"     // what the account may write to; no units given
	OrgUnitModeAll         = "ALL"         // everything, with the authority for it; no units given
)

// Field lists that hold all a copy of the object needs and little else: DHIS2 2.42 sends a fifth of the bytes
// that "*" costs.
const (
	RelationshipFields = "relationship,relationshipType,bidirectional,createdAt,createdAtClient,updatedAt," +
		"from[trackedEntity[trackedEntity],enrollment[enrollment],event[event]]," +
		"to[trackedEntity[trackedEntity],enrollment[enrollment],event[event]]"

	noteFields = "notes[note,value,storedAt,storedBy]"

	EventFields = "event,program,programStage,enrollment,trackedEntity,orgUnit,status,occurredAt,scheduledAt," +
		"completedAt,completedBy,createdAt,createdAtClient,updatedAt,updatedAtClient,followUp,deleted,attributeOptionCombo," +
		"attributeCategoryOptions,assignedUser,geometry,storedBy,updatedBy[uid,username]," +
		"dataValues[dataElement,value,providedElsewhere,updatedAt,storedBy]," + noteFields +
		",relationships[" + RelationshipFields + "]"

	EnrollmentFields = "enrollment,trackedEntity,program,orgUnit,status,enrolledAt,occurredAt,completedAt,completedBy," +
		"createdAt,createdAtClient,updatedAt,updatedAtClient,followUp,deleted,attributeOptionCombo,geometry,storedBy," +
		"updatedBy[uid,username]," + noteFields + ",relationships[" + RelationshipFields + "],events[" + EventFields + "]"

	TrackedEntityFields = "trackedEntity,trackedEntityType,orgUnit,createdAt,createdAtClient,updatedAt,updatedAtClient," +
		"inactive,deleted,potentialDuplicate,geometry,storedBy,updatedBy[uid,username]," +
		"attributes[attribute,value,valueType,updatedAt,storedBy],programOwners[program,orgUnit,trackedEntity]," +
		"relationships[" + RelationshipFields + "],enrollments[" + EnrollmentFields + "]"
)

// Field lists for what records say, without who wrote it and when: for a look at whether they are as they should be.
const (
	noteContentFields = "notes[note,value]"

	EventContentFields = "event,program,programStage,enrollment,trackedEntity,orgUnit,status,occurredAt,scheduledAt," +
		"completedAt,followUp,deleted,attributeOptionCombo,assignedUser,geometry," +
		"dataValues[dataElement,value]," + noteContentFields + ",relationships[" + RelationshipFields + "]"

	EnrollmentContentFields = "enrollment,trackedEntity,program,orgUnit,status,enrolledAt,occurredAt,completedAt," +
		"followUp,deleted,attributeOptionCombo,geometry," + noteContentFields +
		",relationships[" + RelationshipFields + "],events[" + EventContentFields + "]"

	TrackedEntityContentFields = "trackedEntity,trackedEntityType,orgUnit,inactive,deleted,potentialDuplicate,geometry," +
		"attributes[attribute,value],programOwners[program,orgUnit,trackedEntity]," +
		"relationships[" + RelationshipFields + "],enrollments[" + EnrollmentContentFields + "]"
)

// TrackedEntityQuery selects tracked entities. Program or TrackedEntityType is required, not both. Only
// attributes of the tracked entity type and of Program come back, only enrollments in Program, and the org
// unit compared is Program's owner: read once for each program and merge.
type TrackedEntityQuery struct {
	Program           string
	TrackedEntityType string
	OrgUnits          []string
	OrgUnitMode       string // SELECTED when there are OrgUnits, else ACCESSIBLE
	EnrollmentStatus  string // with Program only
	FollowUp          *bool  // with Program only
	// Times as DHIS2 writes them, in the server's zone (Client.FormatTime). UpdatedAfter is inclusive, and
	// does not see a transfer of ownership.
	UpdatedAfter, UpdatedBefore             string
	EnrollmentEnrolledAfter                 string // with Program only
	EnrollmentEnrolledBefore                string // with Program only
	EnrollmentOccurredAfter                 string // with Program only
	EnrollmentOccurredBefore                string // with Program only
	EventStatus                             string // with both bounds below, or none of the three
	EventOccurredAfter, EventOccurredBefore string
	Filters                                 []string // "attributeUID:eq:value"
	IncludeDeleted                          bool
	Paging
}

// EnrollmentQuery selects enrollments. Program is required from DHIS2 2.43 on.
type EnrollmentQuery struct {
	Program        string
	TrackedEntity  string
	OrgUnits       []string
	OrgUnitMode    string
	Status         string
	FollowUp       *bool
	UpdatedAfter   string // the server's zone, inclusive
	EnrolledAfter  string
	EnrolledBefore string
	IncludeDeleted bool
	Paging
}

// EventQuery selects events, of programs with registration and without. Program is required from DHIS2 2.43
// on. The org unit compared is the event's own.
type EventQuery struct {
	Program                       string
	ProgramStage                  string
	TrackedEntity                 string
	Enrollments                   []string
	OrgUnit                       string // one: DHIS2 knows no list here
	OrgUnitMode                   string
	Status                        string
	UpdatedAfter, UpdatedBefore   string // the server's zone, inclusive
	OccurredAfter, OccurredBefore string
	ScheduledAfter                string
	ScheduledBefore               string
	AttributeCategoryCombo        string
	AttributeCategoryOptions      []string
	Filters                       []string // "dataElementUID:eq:value"
	IncludeDeleted                bool
	Paging
}

// RelationshipQuery selects the relationships of one object: exactly one of the three uids is set. DHIS2 has
// no other way to ask for them.
type RelationshipQuery struct {
	TrackedEntity  string
	Enrollment     string
	Event          string
	IncludeDeleted bool // what is deleted cannot be told from what is not
	Paging
}

// Paging says what comes back of each object, and in which pages.
type Paging struct {
	// Fields is DHIS2's field filter; when empty the constant named after the object (TrackedEntityFields...).
	Fields string
	// Page is the first page to read, 1 when zero: an interrupted reading goes on with the page after the last
	// that was kept, provided PageSize is the same. Whoever gives it expects many pages: several are read at the
	// same time from the start, and not only once the first proves to be full.
	Page int
	// PageSize is the number of objects a page, 500 for tracked entities and 1000 for the rest when zero. When
	// the server fails on a page it is asked for in smaller parts; what is yielded as one page stays the same.
	PageSize int
	// Order is DHIS2's ("createdAt:asc"); when empty one under which paging is stable.
	Order string
}

// Page is one page of a query's result, never empty.
type Page[T any] struct {
	Number int // from 1
	Items  []T
}

// Lookup says what comes back of objects that are asked for by uid.
type Lookup struct {
	// Program brings the attributes of that program along, without which a tracked entity comes with those of its
	// type only; a tracked entity that was never in the program is then not found by TrackedEntitiesByID. Lists of
	// enrollments and events need it from DHIS2 2.43 on.
	Program string
	Fields  string // as in Paging
	// IncludeDeleted brings tombstones along, with Deleted set.
	IncludeDeleted bool
}
