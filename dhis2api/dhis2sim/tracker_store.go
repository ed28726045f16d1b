package dhis2sim

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// instant is a point in time in milliseconds of Unix time, or none.
type instant int64

// none is the instant that is not set.
const none instant = math.MinInt64

func (i instant) set() bool       { return i != none }
func (i instant) time() time.Time { return time.UnixMilli(int64(i)) }

// person is what a record keeps of the user who wrote it: a copy, so that it outlives the user.
type person struct{ uid, username, firstName, surname string }

// trackedEntity is one stored tracked entity. Deleted ones stay, without attributes, until the purge.
type trackedEntity struct {
	number                                int64 // grows with every object stored; DHIS2's own id
	uid, entityType, unit, storedBy       string
	created, updated                      instant
	createdAtClient, updatedAtClient      instant
	createdBy, updatedBy                  *person
	geometry                              string // GeoJSON as it was sent
	inactive, deleted, potentialDuplicate bool
	attributes                            []attributeValue
	owners                                []programOwner
	enrollments                           []*enrollment
	relationships                         []*relationship
}

// attributeValue is the value of one tracked entity attribute.
type attributeValue struct {
	attribute, value, storedBy string
	created, updated           instant
}

// programOwner says which org unit owns a tracked entity in a program.
type programOwner struct{ program, unit string }

// enrollment is one stored enrollment. The one of an event program (until 2.42) has no tracked entity and
// holds all events of its program.
type enrollment struct {
	number                               int64
	uid, program, unit, status, storedBy string
	trackedEntity                        *trackedEntity
	created, updated                     instant
	createdAtClient, updatedAtClient     instant
	enrolled, occurred, completed        instant
	completedBy                          string
	createdBy, updatedBy                 *person
	geometry, attributeOptionCombo       string
	followUp, deleted                    bool
	notes                                []note
	events                               []*event
	relationships                        []*relationship
}

// event is one stored event.
type event struct {
	number                             int64
	uid, program, programStage, unit   string
	status, storedBy                   string
	enrollment                         *enrollment // nil for an event of an event program since 2.43
	created, updated                   instant
	createdAtClient, updatedAtClient   instant
	occurred, scheduled, completed     instant
	completedBy                        string
	createdBy, updatedBy, assignedUser *person
	geometry, attributeOptionCombo     string
	single, deleted                    bool // single: of an event program
	dataValues                         []dataValue
	notes                              []note
	relationships                      []*relationship
}

// trackedEntity is whom the event is about, nil in an event program.
func (e *event) trackedEntity() *trackedEntity {
	if e.enrollment == nil {
		return nil
	}
	return e.enrollment.trackedEntity
}

// dataValue is the value of one data element in an event.
type dataValue struct {
	dataElement, value, storedBy string
	created, updated             instant
	createdBy, updatedBy         *person
	providedElsewhere            bool
}

// note is a remark on an enrollment or event.
type note struct {
	number               int64 // as of other tracker objects
	uid, value, storedBy string
	stored               instant
	createdBy            *person
}

// relationship is one stored relationship.
type relationship struct {
	number                            int64
	uid, relationshipType             string
	from, to                          relationshipItem
	created, updated, createdAtClient instant
	bidirectional, deleted            bool
}

// relationshipItem is one end of a relationship: exactly one of the three is set.
type relationshipItem struct {
	trackedEntity *trackedEntity
	enrollment    *enrollment
	event         *event
}

// uid is the id of what the item is.
func (i relationshipItem) uid() string {
	switch {
	case i.trackedEntity != nil:
		return i.trackedEntity.uid
	case i.enrollment != nil:
		return i.enrollment.uid
	case i.event != nil:
		return i.event.uid
	}
	return ""
}

// relationships is the list in which what the item is keeps its relationships.
func (i relationshipItem) relationships() *[]*relationship {
	switch {
	case i.trackedEntity != nil:
		return &i.trackedEntity.relationships
	case i.enrollment != nil:
		return &i.enrollment.relationships
	case i.event != nil:
		return &i.event.relationships
	}
	return nil
}

// relationshipKey names a relationship by its type and ends, by which DHIS2 finds doubles.
type relationshipKey struct{ relationshipType, from, to string }

func (k relationshipKey) inverse() relationshipKey {
	return relationshipKey{k.relationshipType, k.to, k.from}
}

// trackerStore keeps tracked entities, enrollments, events, relationships and what belongs to them.
// It stores what it is given: what may be stored is for the validators to say.
type trackerStore struct {
	entities      map[string]*trackedEntity
	enrollments   map[string]*enrollment
	events        map[string]*event
	relationships map[string]*relationship
	notes         map[string]bool

	// The same objects by number, which is also the order of their creation times.
	entityList      []*trackedEntity
	enrollmentList  []*enrollment
	eventList       []*event
	relationshipsBy map[relationshipKey]*relationship // those not deleted

	// byOwner lists the tracked entities that a unit owns in a program, by number.
	byOwner map[programOwner][]*trackedEntity
	// byValue finds tracked entities by the value of an attribute; an attribute is indexed on first need.
	byValue   map[string]map[string][]*trackedEntity
	byValueMu sync.Mutex // a reading request may be the first to need an index

	hidden     map[string]*enrollment // the enrollment of an event program, by program
	duplicates []*potentialDuplicate
	temporary  map[temporaryOwner]instant // until when
	reports    map[string]*trackerJob     // by job uid
	people     map[person]*person
	fileOwners map[string]string // uid of the tracked entity or event whose value refers to a file
	numbers    int64
	clock      instant // the last time that was given out
	changed    *changes
}

// temporaryOwner is who broke the glass for whom.
type temporaryOwner struct{ user, trackedEntity, program string }

func newTrackerStore() *trackerStore {
	return &trackerStore{
		entities:        map[string]*trackedEntity{},
		enrollments:     map[string]*enrollment{},
		events:          map[string]*event{},
		relationships:   map[string]*relationship{},
		notes:           map[string]bool{},
		relationshipsBy: map[relationshipKey]*relationship{},
		byOwner:         map[programOwner][]*trackedEntity{},
		byValue:         map[string]map[string][]*trackedEntity{},
		hidden:          map[string]*enrollment{},
		temporary:       map[temporaryOwner]instant{},
		reports:         map[string]*trackerJob{},
		people:          map[person]*person{},
		fileOwners:      map[string]string{},
	}
}

// tick is now, or the last time given out where the clock went back: times never decrease with numbers.
func (t *trackerStore) tick(now time.Time) instant {
	t.clock = max(t.clock, instant(now.UnixMilli()))
	return t.clock
}

func (t *trackerStore) nextNumber() int64 { t.numbers++; return t.numbers }

// person is the shared copy of what records keep of a user.
func (t *trackerStore) person(p person) *person {
	if known := t.people[p]; known != nil {
		return known
	}
	t.people[p] = &p
	return &p
}

func (t *trackerStore) addEntity(e *trackedEntity) {
	e.number = t.nextNumber()
	t.changed.note(e)
	t.entities[e.uid] = e
	t.entityList = append(t.entityList, e)
}

func (t *trackerStore) addEnrollment(e *enrollment) {
	e.number = t.nextNumber()
	t.changed.note(e)
	t.enrollments[e.uid] = e
	if e.trackedEntity == nil {
		return // hidden: in no list
	}
	t.enrollmentList = append(t.enrollmentList, e)
	e.trackedEntity.enrollments = append(e.trackedEntity.enrollments, e)
	if e.trackedEntity.owner(e.program) == "" {
		t.setOwner(e.trackedEntity, e.program, e.unit)
	}
}

// moveTo makes an enrollment another tracked entity's.
func (e *enrollment) moveTo(of *trackedEntity) {
	from := e.trackedEntity
	from.enrollments = slices.DeleteFunc(from.enrollments, func(other *enrollment) bool { return other == e })
	e.trackedEntity, of.enrollments = of, append(of.enrollments, e)
}

func (t *trackerStore) addEvent(e *event) {
	e.number = t.nextNumber()
	t.changed.note(e)
	t.events[e.uid] = e
	t.eventList = append(t.eventList, e)
	if e.enrollment != nil && e.enrollment.trackedEntity != nil {
		e.enrollment.events = append(e.enrollment.events, e)
	}
}

func (t *trackerStore) addRelationship(r *relationship) {
	r.number = t.nextNumber()
	t.changed.note(r)
	t.relate(r)
}

// relate makes the store know a relationship, and its ends know of it.
func (t *trackerStore) relate(r *relationship) {
	t.relationships[r.uid] = r
	if !r.deleted {
		t.relationshipsBy[r.key()] = r
	}
	for i, item := range []relationshipItem{r.from, r.to} {
		if i == 1 && item.uid() == r.from.uid() {
			continue
		}
		if list := item.relationships(); list != nil {
			*list = append(*list, r)
		}
	}
}

func (r *relationship) key() relationshipKey {
	return relationshipKey{r.relationshipType, r.from.uid(), r.to.uid()}
}

// hiddenEnrollment is the enrollment that DHIS2 until 2.42 keeps for an event program, made on first need.
func (t *trackerStore) hiddenEnrollment(program string, now instant) *enrollment {
	e := t.hidden[program]
	if e == nil {
		e = &enrollment{
			uid: newUID(), program: program, status: "ACTIVE", created: now, updated: now, createdAtClient: none,
			updatedAtClient: none, enrolled: now, occurred: now, completed: none,
		}
		t.hidden[program] = e
		t.addEnrollment(e)
	}
	return e
}

// owner is the unit that owns the tracked entity in a program, empty when nobody does yet.
func (e *trackedEntity) owner(program string) string {
	for _, o := range e.owners {
		if o.program == program {
			return o.unit
		}
	}
	return ""
}

// setOwner makes a unit the owner of a tracked entity in a program.
func (t *trackerStore) setOwner(e *trackedEntity, program, unit string) {
	byNumber := func(e *trackedEntity, number int64) int { return cmp.Compare(e.number, number) }
	for i, o := range e.owners {
		if o.program != program {
			continue
		}
		held := t.byOwner[o]
		if at, ok := slices.BinarySearchFunc(held, e.number, byNumber); ok {
			t.byOwner[o] = slices.Delete(held, at, at+1)
		}
		e.owners = slices.Delete(e.owners, i, i+1)
		break
	}
	t.changed.note(e)
	o := programOwner{program, unit}
	e.owners = append(e.owners, o)
	held := t.byOwner[o]
	at, _ := slices.BinarySearchFunc(held, e.number, byNumber)
	t.byOwner[o] = slices.Insert(held, at, e)
}

// value is the value of an attribute and whether there is one.
func (e *trackedEntity) value(attribute string) (string, bool) {
	for i := range e.attributes {
		if e.attributes[i].attribute == attribute {
			return e.attributes[i].value, true
		}
	}
	return "", false
}

// value is the value of a data element and whether there is one.
func (e *event) value(dataElement string) (string, bool) {
	for i := range e.dataValues {
		if e.dataValues[i].dataElement == dataElement {
			return e.dataValues[i].value, true
		}
	}
	return "", false
}

// holders are the tracked entities that have this value of the attribute, in whatever case.
func (t *trackerStore) holders(attribute, value string) []*trackedEntity {
	t.byValueMu.Lock()
	defer t.byValueMu.Unlock()
	index := t.byValue[attribute]
	if index == nil {
		index = map[string][]*trackedEntity{}
		for _, e := range t.entityList {
			if held, ok := e.value(attribute); ok {
				held = strings.ToLower(held)
				index[held] = append(index[held], e)
			}
		}
		t.byValue[attribute] = index
	}
	return index[strings.ToLower(value)]
}

// setValue stores the value of an attribute; an empty one removes it.
func (t *trackerStore) setValue(e *trackedEntity, attribute, value, storedBy string, now instant) {
	t.changed.note(e)
	i := slices.IndexFunc(e.attributes, func(v attributeValue) bool { return v.attribute == attribute })
	if index := t.byValue[attribute]; index != nil {
		if i >= 0 {
			old := strings.ToLower(e.attributes[i].value)
			index[old] = slices.DeleteFunc(index[old], func(other *trackedEntity) bool { return other == e })
			if len(index[old]) == 0 {
				delete(index, old)
			}
		}
		if value != "" {
			key := strings.ToLower(value)
			index[key] = append(index[key], e)
		}
	}
	switch {
	case value == "" && i >= 0:
		e.attributes = slices.Delete(e.attributes, i, i+1)
	case value == "":
	case i >= 0:
		v := &e.attributes[i]
		v.value, v.storedBy, v.updated = value, storedBy, now
	default:
		e.attributes = append(e.attributes, attributeValue{attribute, value, storedBy, now, now})
	}
}

// deleteEntity marks a tracked entity and all below it as deleted. DHIS2 2.41 to 2.43 all remove its
// attribute values at once.
func (t *trackerStore) deleteEntity(e *trackedEntity, by *person, now instant) {
	for _, enrollment := range e.enrollments {
		if !enrollment.deleted {
			t.deleteEnrollment(enrollment, by, now)
		}
	}
	t.deleteRelationships(e.relationships, by, now)
	for len(e.attributes) > 0 {
		t.setValue(e, e.attributes[len(e.attributes)-1].attribute, "", "", now)
	}
	e.deleted, e.updated, e.updatedBy = true, now, by
	t.changed.note(e)
}

// deleteEnrollment marks an enrollment and all below it as deleted, which cancels it.
func (t *trackerStore) deleteEnrollment(e *enrollment, by *person, now instant) {
	for _, event := range e.events {
		if !event.deleted {
			t.deleteEvent(event, by, now)
		}
	}
	t.deleteRelationships(e.relationships, by, now)
	e.deleted, e.status, e.updated, e.updatedBy = true, "CANCELLED", now, by
	t.changed.note(e)
	t.touch(e.trackedEntity, by, now)
}

// touch notes that a tracked entity changed because something below it was deleted. DHIS2 then fills its
// client times too where the client sent none.
func (t *trackerStore) touch(e *trackedEntity, by *person, now instant) {
	t.changed.note(e)
	e.updated, e.updatedBy = now, by
	if !e.createdAtClient.set() {
		e.createdAtClient = e.created
	}
	if !e.updatedAtClient.set() {
		e.updatedAtClient = now
	}
}

// deleteEvent marks an event as deleted.
func (t *trackerStore) deleteEvent(e *event, by *person, now instant) {
	t.deleteRelationships(e.relationships, by, now)
	e.deleted, e.updated, e.updatedBy = true, now, by
	t.changed.note(e)
	if entity := e.trackedEntity(); entity != nil {
		t.touch(entity, by, now)
		t.changed.note(e.enrollment)
		e.enrollment.updated, e.enrollment.updatedBy, e.enrollment.updatedAtClient = now, by, now
		if !e.enrollment.createdAtClient.set() {
			e.enrollment.createdAtClient = e.enrollment.created
		}
	}
}

func (t *trackerStore) deleteRelationships(all []*relationship, by *person, now instant) {
	for _, r := range all {
		if !r.deleted {
			t.deleteRelationship(r, by, now)
		}
	}
}

// deleteRelationship marks a relationship as deleted and touches the tracked entities that it starts from.
func (t *trackerStore) deleteRelationship(r *relationship, by *person, now instant) {
	delete(t.relationshipsBy, r.key())
	r.deleted, r.updated = true, now
	t.changed.note(r)
	for _, e := range r.origins() {
		t.touch(e, by, now)
	}
}

// origins are the tracked entities that a change of the relationship touches: where it starts, and where it
// ends when it is bidirectional.
func (r *relationship) origins() []*trackedEntity {
	var origins []*trackedEntity
	if r.from.trackedEntity != nil {
		origins = append(origins, r.from.trackedEntity)
	}
	if r.bidirectional && r.to.trackedEntity != nil {
		origins = append(origins, r.to.trackedEntity)
	}
	return origins
}

// purge removes for good what was deleted. kind names it as the maintenance parameters do: "TrackedEntity",
// "Enrollment", "Event" or "Relationship"; another does nothing. A purged parent takes what is below it
// along. A purged uid may be used again.
func (t *trackerStore) purge(kind string) {
	entityGone := func(e *trackedEntity) bool { return e != nil && e.deleted && kind == "TrackedEntity" }
	enrollmentGone := func(e *enrollment) bool {
		return e != nil && (e.deleted && kind == "Enrollment" || entityGone(e.trackedEntity))
	}
	eventGone := func(e *event) bool {
		return e != nil && (e.deleted && kind == "Event" || enrollmentGone(e.enrollment))
	}
	itemGone := func(i relationshipItem) bool {
		return entityGone(i.trackedEntity) || enrollmentGone(i.enrollment) || eventGone(i.event)
	}
	relationshipGone := func(r *relationship) bool {
		return r.deleted && kind == "Relationship" || itemGone(r.from) || itemGone(r.to)
	}
	maps.DeleteFunc(t.relationships, func(_ string, r *relationship) bool {
		if !relationshipGone(r) {
			return false
		}
		t.changed.note(r)
		delete(t.relationshipsBy, r.key())
		for _, item := range []relationshipItem{r.from, r.to} {
			if list := item.relationships(); list != nil {
				*list = slices.DeleteFunc(*list, func(other *relationship) bool { return other == r })
			}
		}
		return true
	})
	t.eventList = slices.DeleteFunc(t.eventList, func(e *event) bool {
		if !eventGone(e) {
			return false
		}
		t.changed.note(e)
		delete(t.events, e.uid)
		t.forgetNotes(e.notes)
		if e.enrollment != nil {
			e.enrollment.events = slices.DeleteFunc(e.enrollment.events, func(other *event) bool { return other == e })
		}
		return true
	})
	t.enrollmentList = slices.DeleteFunc(t.enrollmentList, func(e *enrollment) bool {
		if !enrollmentGone(e) {
			return false
		}
		t.changed.note(e)
		delete(t.enrollments, e.uid)
		t.forgetNotes(e.notes)
		of := e.trackedEntity
		of.enrollments = slices.DeleteFunc(of.enrollments, func(other *enrollment) bool { return other == e })
		return true
	})
	t.entityList = slices.DeleteFunc(t.entityList, func(e *trackedEntity) bool {
		if !entityGone(e) {
			return false
		}
		t.changed.note(e)
		delete(t.entities, e.uid)
		t.changed.note(temporaryCollection)
		for _, o := range e.owners {
			t.byOwner[o] = slices.DeleteFunc(t.byOwner[o], func(other *trackedEntity) bool { return other == e })
		}
		return true
	})
}

func (t *trackerStore) forgetNotes(notes []note) {
	for _, n := range notes {
		delete(t.notes, n.uid)
	}
}
