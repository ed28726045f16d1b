package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// holding is what one server has of some roots: in DHIS2's own form, for writing, and as faces, for comparing.
type holding struct {
	server    *dhis2api.Client
	canonical snapshot.Canonical

	persons       map[string]*dhis2api.TrackedEntity
	enrollments   map[string]*dhis2api.Enrollment
	events        map[string]*dhis2api.Event
	relationships map[string]*dhis2api.Relationship
	dataValues    map[string]*dhis2api.DataValue
	completions   map[string]*dhis2api.Completion

	faces map[root]merge.Face
	// shownIn are the programs whose attributes the server shows of a person.
	shownIn map[string][]string
	// ties are the relationships as the other server holds them.
	ties map[root]merge.Face
	// person, event and values are the fields that are read of people, of events by themselves, and of attributes.
	person, event, values string
	// expected is what is looked up by its id where no list shows it.
	expected expectation
	// aliases are the people whom this server knows under another uid; nil for the kit.
	aliases *aliases
}

// expectation is what a server is asked about beyond what it lists: objects that it, or the other one, held
// before. Such an object is looked up by its id; only what is not found then counts as deleted.
type expectation map[root]map[merge.Ref]merge.Object

// read asks the server for everything it has of the roots, by id and without limits of program or org unit. ties
// says that this is central, where a person's relationships count as part of the record, and holds those of the
// kit, whose ends are looked at for the same tie under another id; nil for the kit.
func read(ctx context.Context, server *dhis2api.Client, roots []root, expected expectation, ties map[root]merge.Face) (*holding, error) {
	h := newHolding(server, expected, ties)
	return h, h.read(ctx, roots)
}

// readCentral reads central as read does; people whom it knows under another uid have the kit's.
func (c *comparison) readCentral(ctx context.Context, roots []root, expected expectation, ties map[root]merge.Face) (*holding, error) {
	h := newHolding(c.central, expected, ties)
	h.aliases = c.aliases
	return h, h.read(ctx, roots)
}

// readBack reads central as readCentral does, without who wrote what and when.
func (c *comparison) readBack(ctx context.Context, roots []root, expected expectation, ties map[root]merge.Face) (*holding, error) {
	h := newHolding(c.central, expected, ties)
	h.aliases = c.aliases
	h.contentAlone()
	return h, h.read(ctx, roots)
}

// contentAlone leaves out of what is read who wrote what and when.
func (h *holding) contentAlone() {
	h.person, h.event, h.values = dhis2api.TrackedEntityContentFields, dhis2api.EventContentFields, "attribute,value"
}

func newHolding(server *dhis2api.Client, expected expectation, ties map[root]merge.Face) *holding {
	return &holding{
		server:        server,
		canonical:     snapshot.CanonicalOf(server),
		persons:       map[string]*dhis2api.TrackedEntity{},
		enrollments:   map[string]*dhis2api.Enrollment{},
		events:        map[string]*dhis2api.Event{},
		relationships: map[string]*dhis2api.Relationship{},
		dataValues:    map[string]*dhis2api.DataValue{},
		completions:   map[string]*dhis2api.Completion{},
		faces:         map[root]merge.Face{},
		shownIn:       map[string][]string{},
		ties:          ties,
		expected:      expected,
		person:        dhis2api.TrackedEntityFields,
		event:         dhis2api.EventFields,
		values:        "attribute,value,valueType,updatedAt,storedBy",
	}
}

func (h *holding) read(ctx context.Context, roots []root) error {
	byKind := map[rootKind][]root{}
	for _, r := range roots {
		h.faces[r] = merge.Face{Objects: map[merge.Ref]merge.Object{}, Deleted: map[merge.Ref]bool{}}
		byKind[r.kind] = append(byKind[r.kind], r)
	}
	readers := []struct {
		kind rootKind
		read func(context.Context, []root) error
	}{
		{rootPerson, h.readPersons}, {rootEvent, h.readEvents}, {rootRelationship, h.readRelationships}, {rootForm, h.readForms},
	}
	for _, reader := range readers {
		if group := byKind[reader.kind]; len(group) > 0 {
			if err := reader.read(ctx, group); err != nil {
				return err
			}
		}
	}
	for _, r := range roots {
		if err := h.lookUp(ctx, r, h.expected[r]); err != nil {
			return err
		}
	}
	return nil
}

// readPersons reads tracked entities whole. A list without a program shows only the attributes of the
// tracked entity type (DHIS2 2.41 to 2.43), so each program that one of them is in is asked once more. A list by program
// lacks whose enrollment in it is deleted, unless what is deleted is asked for too: their attributes would seem emptied.
func (h *holding) readPersons(ctx context.Context, roots []root) error {
	programs := map[string][]string{}
	found := map[string]*dhis2api.TrackedEntity{}
	for person, err := range h.server.TrackedEntitiesByID(ctx, h.aliases.everyOf(uidsOf(roots)), dhis2api.Lookup{IncludeDeleted: true, Fields: h.person}) {
		if err != nil {
			return err
		}
		found[person.TrackedEntity] = person
		for _, program := range programsOf(person) {
			programs[program] = append(programs[program], person.TrackedEntity)
		}
	}
	for _, program := range slices.Sorted(maps.Keys(programs)) {
		lookup := dhis2api.Lookup{Program: program, IncludeDeleted: true, Fields: "trackedEntity,attributes[" + h.values + "]"}
		for seen, err := range h.server.TrackedEntitiesByID(ctx, programs[program], lookup) {
			if err != nil {
				return err
			}
			if person := found[seen.TrackedEntity]; person != nil {
				addAttributes(person, seen.Attributes)
				h.shownIn[seen.TrackedEntity] = append(h.shownIn[seen.TrackedEntity], program)
			}
		}
	}
	for _, r := range roots {
		person := found[h.aliases.of(r.uid)]
		if person == nil {
			continue
		}
		h.addPerson(r, onKit(person, r.uid))
	}
	for _, r := range roots {
		if err := h.readTiesOfDeleted(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// addPerson takes in a person with all that is in it.
func (h *holding) addPerson(r root, person *dhis2api.TrackedEntity) {
	h.persons[r.uid] = person
	for _, enrollment := range person.Enrollments {
		h.enrollments[enrollment.Enrollment] = enrollment
		for _, event := range enrollment.Events {
			h.events[event.Event] = event
		}
	}
	h.add(r, func(face *merge.Face) {
		h.canonical.AddTrackedEntity(face, person)
		if h.ties == nil {
			return
		}
		for _, relationship := range snapshot.NestedRelationships(person) {
			h.canonical.AddRelationship(face, relationship)
		}
	})
}

// readTiesOfDeleted adds the relationships of what the kit has deleted: a deletion takes them along.
func (h *holding) readTiesOfDeleted(ctx context.Context, r root) error {
	face := h.faces[r]
	for ref := range h.ties[r].Deleted {
		if _, there := face.Objects[ref]; !there {
			continue
		}
		if err := h.addTiesOf(ctx, ref, &face); err != nil {
			return err
		}
	}
	h.faces[r] = face
	return nil
}

// addTiesOf adds to a face the relationships that begin or end in an object. Records show those alone that begin in them
// or go both ways (DHIS2 2.41 to 2.43).
func (h *holding) addTiesOf(ctx context.Context, ref merge.Ref, face *merge.Face) error {
	known := h.aliases.ref(ref)
	query, ok := endOf(known)
	if !ok {
		return nil
	}
	for relationship, err := range h.server.Relationships(ctx, query) {
		if err != nil {
			return err
		}
		if known != ref {
			relationship = tieOnKit(relationship, known.UID, ref.UID)
		}
		h.canonical.AddRelationship(face, relationship)
	}
	return nil
}

// programsOf lists the programs whose attributes a tracked entity may carry, each once.
func programsOf(person *dhis2api.TrackedEntity) []string {
	if person.Deleted {
		return nil
	}
	set := map[string]bool{}
	for _, enrollment := range person.Enrollments {
		if !enrollment.Deleted {
			set[enrollment.Program] = true
		}
	}
	for _, owner := range person.ProgramOwners {
		set[owner.Program] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// addAttributes adds the attribute values that the person does not show yet.
func addAttributes(person *dhis2api.TrackedEntity, attributes []dhis2api.Attribute) {
	for _, a := range attributes {
		if !slices.ContainsFunc(person.Attributes, func(b dhis2api.Attribute) bool { return b.Attribute == a.Attribute }) {
			person.Attributes = append(person.Attributes, a)
		}
	}
}

func (h *holding) readEvents(ctx context.Context, roots []root) error {
	byProgram := map[string][]string{}
	for _, r := range roots {
		program, event, err := r.event()
		if err != nil {
			return err
		}
		byProgram[program] = append(byProgram[program], event)
	}
	for _, program := range slices.Sorted(maps.Keys(byProgram)) {
		for event, err := range h.server.EventsByID(ctx, byProgram[program], dhis2api.Lookup{Program: program, IncludeDeleted: true, Fields: h.event}) {
			if err != nil {
				return err
			}
			h.events[event.Event] = event
			h.add(eventRoot(program, event.Event), func(face *merge.Face) { h.canonical.AddEvent(face, event) })
		}
	}
	return nil
}

// readForms reads each form's values and completions, those removed included.
func (h *holding) readForms(ctx context.Context, roots []root) error {
	for _, r := range roots {
		f, err := r.form()
		if err != nil {
			return err
		}
		values := dhis2api.DataValueQuery{DataSets: []string{f.dataSet}, Periods: []string{f.period}, OrgUnits: []string{f.orgUnit}, IncludeDeleted: true}
		for value, err := range h.server.DataValues(ctx, values) {
			if err != nil {
				return err
			}
			h.dataValues[snapshot.DataValueRef(value).UID] = value
			h.add(r, func(face *merge.Face) { h.canonical.AddDataValue(face, value) })
		}
		completions := dhis2api.CompletionQuery{DataSets: []string{f.dataSet}, Periods: []string{f.period}, OrgUnits: []string{f.orgUnit}}
		for completion, err := range h.server.Completions(ctx, completions) {
			if err != nil {
				return err
			}
			h.completions[snapshot.CompletionRef(completion).UID] = completion
			h.add(r, func(face *merge.Face) { h.canonical.AddCompletion(face, completion) })
		}
	}
	return nil
}

// add puts an object into the face of the root that was asked for; anything else that came along is not ours.
func (h *holding) add(r root, put func(*merge.Face)) {
	if face, ok := h.faces[r]; ok {
		put(&face)
		h.faces[r] = face
	}
}

// unreadable notes that the server keeps part of a root from us: nothing is decided about it then.
func (h *holding) unreadable(r root, ref merge.Ref, err error) {
	face := h.faces[r]
	face.Unreadable = fmt.Sprintf("%s %s cannot be read: %v", ref.Kind, ref.UID, err)
	h.faces[r] = face
}

// lookUp asks by id for every expected object that the lists did not show. Not found is deleted; no access
// makes the root unreadable.
func (h *holding) lookUp(ctx context.Context, r root, expected map[merge.Ref]merge.Object) error {
	face := h.faces[r]
	for _, ref := range slices.SortedFunc(maps.Keys(expected), merge.Ref.Compare) {
		if _, there := face.Objects[ref]; there || face.Deleted[ref] {
			continue
		}
		parent := expected[ref].Parent
		if parent != (merge.Ref{}) && face.Deleted[parent] {
			face.Deleted[ref] = true // a deletion takes along what hangs on the object
			continue
		}
		err := h.ask(ctx, ref)
		switch {
		case err == nil:
			// There, but not under this root: moved to another parent, which no client can do. Say so
			// rather than guess.
			h.unreadable(r, ref, errors.New("it is found by its id, but not under "+r.String()))
			return nil
		case dhis2api.NotFound(err):
			face.Deleted[ref] = true
		case forbidden(err):
			h.unreadable(r, ref, err)
			return nil
		default:
			return err
		}
	}
	return nil
}

// ask looks one object up by its id and returns nil when it is there. A data value or completion that its
// own form does not list is not there.
func (h *holding) ask(ctx context.Context, ref merge.Ref) error {
	var err error
	ref = h.aliases.ref(ref)
	switch ref.Kind {
	case merge.TrackedEntity:
		_, err = h.server.TrackedEntity(ctx, ref.UID, dhis2api.Lookup{Fields: "trackedEntity"})
	case merge.Enrollment:
		_, err = h.server.Enrollment(ctx, ref.UID, dhis2api.Lookup{Fields: "enrollment"})
	case merge.Event:
		_, err = h.server.Event(ctx, ref.UID, dhis2api.Lookup{Fields: "event"})
	case merge.Relationship:
		_, err = h.server.Relationship(ctx, ref.UID, dhis2api.Lookup{Fields: "relationship"})
	default:
		err = &dhis2api.StatusError{Status: http.StatusNotFound}
	}
	return err
}

// endOf asks for the relationships that begin or end in an object; false where nothing of its kind can be an end.
func endOf(ref merge.Ref) (dhis2api.RelationshipQuery, bool) {
	switch ref.Kind {
	case merge.TrackedEntity:
		return dhis2api.RelationshipQuery{TrackedEntity: ref.UID}, true
	case merge.Enrollment:
		return dhis2api.RelationshipQuery{Enrollment: ref.UID}, true
	case merge.Event:
		return dhis2api.RelationshipQuery{Event: ref.UID}, true
	}
	return dhis2api.RelationshipQuery{}, false
}

// forbidden tells whether the server knows the object and does not show it to this account.
func forbidden(err error) bool {
	var unauthorized *dhis2api.UnauthorizedError
	if errors.As(err, &unauthorized) {
		return unauthorized.Status == http.StatusForbidden
	}
	var status *dhis2api.StatusError
	return errors.As(err, &status) && (status.Status == http.StatusForbidden || status.Status == http.StatusConflict)
}

// refused tells whether a server has answered, and said no; not that it was asked too often.
func refused(err error) bool {
	var status *dhis2api.StatusError
	return errors.As(err, &status) && status.Status != http.StatusTooManyRequests &&
		status.Status >= http.StatusBadRequest && status.Status < http.StatusInternalServerError
}

func uidsOf(roots []root) []string {
	uids := make([]string, len(roots))
	for i, r := range roots {
		uids[i] = r.uid
	}
	return uids
}
