package snapshot

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// changing is a central at which things happen by chance.
type changing struct {
	*clinic
	t      *testing.T
	random *rand.Rand
	// next numbers what is made.
	next int
	// people, events, relations are uids that are there or were.
	people, sources, relations []string
}

const (
	visitNote  = "VisitFrom01" // relationship types
	triageNote = "TriageFrm01"
)

// TestTakeOfChangesIsTakeOfEverything lets chance change central between trips; what is taken with the help of the trip
// before is what is taken without.
func TestTakeOfChangesIsTakeOfEverything(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		for _, since := range []string{"", "2026-01-15"} {
			t.Run(version+" since "+since, func(t *testing.T) {
				t.Parallel()
				const rounds, changes = 8, 14
				c := &changing{clinic: newClinic(t, version), t: t, random: rand.New(rand.NewPCG(uint64(len(since)), uint64(version[3]))), next: 1000}
				c.populate(t)
				c.begin()
				keys := testKeys(t)
				wanted := Wanted{OrgUnits: []string{"RIOCANA", "CERROBRUJO"}, Since: since}
				before := c.clinic.take(t, t.TempDir(), keys, wanted, Taken)
				var copied, all int64
				for round := range rounds {
					var done []string
					for range changes {
						done = append(done, c.change())
					}
					whole := c.takeWith(keys, wanted, nil)
					now := c.takeWith(keys, wanted, before)
					if diff := cmp.Diff(takenContent(t, whole), takenContent(t, now)); diff != "" {
						t.Fatalf("round %d, after %v (-whole +changes):\n%s", round, done, diff)
					}
					if diff := cmp.Diff(contents(t, whole, Taken), contents(t, now, Taken)); diff != "" {
						t.Fatalf("round %d, after %v: how often (-whole +changes):\n%s", round, done, diff)
					}
					if receipt := now.Manifest().Faces[Taken].Take; receipt != nil {
						c, a := receipt.Unchanged()
						copied, all = copied+c, all+a
					}
					before = now
				}
				if copied*4 < all {
					t.Errorf("of %d objects only %d were copied", all, copied)
				}
			})
		}
	}
}

// takenContent is the canonical content of the taken face.
func takenContent(t *testing.T, s *Snapshot) map[merge.Ref]merge.Object {
	t.Helper()
	canonical := Canonical{}
	var face merge.Face
	for _, part := range s.Manifest().Faces[Taken].Parts {
		switch part.Kind {
		case TrackedEntities:
			each(t, s.TrackedEntities(t.Context(), part), func(e *dhis2api.TrackedEntity) { canonical.AddTrackedEntity(&face, e) })
		case Events:
			each(t, s.Events(t.Context(), part), func(e *dhis2api.Event) { canonical.AddEvent(&face, e) })
		case Relationships:
			each(t, s.Relationships(t.Context(), part), func(r *dhis2api.Relationship) { canonical.AddRelationship(&face, r) })
		case DataValues:
			each(t, s.DataValues(t.Context(), part), func(v *dhis2api.DataValue) { canonical.AddDataValue(&face, v) })
		case Completions:
			each(t, s.Completions(t.Context(), part), func(c *dhis2api.Completion) { canonical.AddCompletion(&face, c) })
		}
	}
	return face.Objects
}

func each[T any](t *testing.T, items func(func(T, error) bool), do func(T)) {
	t.Helper()
	for item, err := range items {
		if err != nil {
			t.Fatal(err)
		}
		do(item)
	}
}

func (c *changing) takeWith(keys *Keys, wanted Wanted, before *Snapshot) *Snapshot {
	c.t.Helper()
	directory := c.t.TempDir()
	w, err := OpenWriter(directory, Taken, keys, c.about(c.t, c.client, wanted), WriterOptions{Now: testClock(), Traffic: c.client.Traffic, disk: quickDisk{}})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := takeInto(c.t.Context(), c.t, c.client, w, TakeOptions{PageSize: 4, partSize: 8, Before: before}); err != nil {
		c.t.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// begin adds what the clinic lacks: relationship types that begin at visits, and lists what there is.
func (c *changing) begin() {
	end := func(entity, property, uid string) map[string]any {
		return map[string]any{"relationshipEntity": entity, property: map[string]any{"id": uid}}
	}
	someone := end("TRACKED_ENTITY_INSTANCE", "trackedEntityType", person)
	kind := func(uid string, from map[string]any) map[string]any {
		return map[string]any{
			"id": uid, "name": uid, "bidirectional": false, "fromToName": "notes", "sharing": map[string]any{"public": "rwrw----"},
			"fromConstraint": from, "toConstraint": someone,
		}
	}
	c.metadata(map[string]any{"relationshipTypes": []any{
		kind(visitNote, end("PROGRAM_INSTANCE", "program", visit)), kind(triageNote, end("PROGRAM_STAGE_INSTANCE", "programStage", triage)),
	}})
	for n := range 40 {
		c.people = append(c.people, fmt.Sprintf("P%010d", n))
	}
	for n := range 4 {
		c.sources = append(c.sources, fmt.Sprintf("W%010d", n))
	}
	c.relations = uids("R", 0, 2, 3, 5)
}

func (c *changing) metadata(content any) {
	c.t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		c.t.Fatal(err)
	}
	report, err := c.client.ImportMetadata(c.t.Context(), json.RawMessage(raw), dhis2api.MetadataImportOptions{})
	if err != nil {
		c.t.Fatalf("%v: %+v", err, report)
	}
}

// object is a metadata object as it is, to be changed and imported again.
func (c *changing) object(class, uid string) map[string]any {
	c.t.Helper()
	var object map[string]any
	if err := c.client.Get(c.t.Context(), class, uid, ":owner", &object); err != nil {
		c.t.Fatal(err)
	}
	return object
}

func pick[T any](c *changing, from []T) T { return from[c.random.IntN(len(from))] }

func (c *changing) unit() string { return pick(c, []string{rioCana, cerroBrujo, soloy}) }

func (c *changing) day() string { return pick(c, []string{"2026-11-10", "2026-11-12", "2019-03-01"}) }

func (c *changing) number() int { c.next++; return c.next }

// someone is a patient as central has him; nil when he is not there any more.
func (c *changing) someone() *dhis2api.TrackedEntity {
	c.t.Helper()
	p, err := c.client.TrackedEntity(c.t.Context(), pick(c, c.people), dhis2api.Lookup{Program: visit})
	if dhis2api.NotFound(err) {
		return nil
	}
	if err != nil {
		p, err = c.client.TrackedEntity(c.t.Context(), pick(c, c.people), dhis2api.Lookup{})
	}
	if err != nil {
		return nil
	}
	return p
}

// visit is somebody's enrollment; nil where he has none, or no visit in it.
func (c *changing) visit() *dhis2api.Enrollment {
	p := c.someone()
	if p == nil || len(p.Enrollments) == 0 || len(p.Enrollments[0].Events) == 0 {
		return nil
	}
	return p.Enrollments[0]
}

// try imports what central may refuse.
func (c *changing) try(payload dhis2api.TrackerPayload, strategy dhis2api.ImportStrategy) {
	_, _ = c.client.Import(c.t.Context(), payload, dhis2api.ImportOptions{Strategy: strategy})
}

func (c *changing) post(path string, body any) {
	c.t.Helper()
	if err := c.client.Do(c.t.Context(), http.MethodPost, path, nil, body, nil); err != nil {
		c.t.Fatal(err)
	}
}

// change does one thing at central, and says what.
func (c *changing) change() string {
	changes := c.changes()
	names := make([]string, 0, len(changes))
	for name := range changes {
		names = append(names, name)
	}
	slices.Sort(names)
	name := pick(c, names)
	changes[name]()
	return name
}

func (c *changing) changes() map[string]func() {
	all := map[string]func(){}
	for name, do := range c.changesOfPeople() {
		all[name] = do
	}
	for name, do := range c.changesOfVisits() {
		all[name] = do
	}
	for name, do := range c.changesOfOthers() {
		all[name] = do
	}
	return all
}

func (c *changing) changesOfPeople() map[string]func() {
	return map[string]func(){
		"attribute": func() {
			if p := c.someone(); p != nil {
				p.Enrollments, p.Relationships = nil, nil
				p.Attributes = []dhis2api.Attribute{{Attribute: firstName, Value: fmt.Sprint("Berta", c.number())}}
				c.try(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{p}}, "")
			}
		},
		"org unit of a person": func() {
			if p := c.someone(); p != nil {
				p.Enrollments, p.Relationships, p.OrgUnit = nil, nil, c.unit()
				c.try(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{p}}, "")
			}
		},
		"new person": func() {
			n := c.number()
			c.people = append(c.people, fmt.Sprintf("P%010d", n))
			c.try(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{visitor(n, c.unit(), pick(c, []string{"", c.day()}))}}, "")
		},
		"person deleted": func() {
			c.try(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: pick(c, c.people)}}}, dhis2api.ImportStrategyDelete)
		},
		"ownership": func() {
			_ = c.client.TransferOwnership(c.t.Context(), pick(c, c.people), visit, c.unit()) // refused where there is none
		},
		"relationship": func() {
			r := &dhis2api.Relationship{
				Relationship: fmt.Sprintf("R%010d", c.number()), RelationshipType: motherOf,
				From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, pick(c, c.people)), To: dhis2api.ItemRef(dhis2api.KindTrackedEntity, pick(c, c.people)),
			}
			c.relations = append(c.relations, r.Relationship)
			c.try(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{r}}, "")
		},
		"relationship of a visit": func() {
			if e := c.visit(); e != nil {
				r := &dhis2api.Relationship{
					Relationship: fmt.Sprintf("R%010d", c.number()), RelationshipType: visitNote,
					From: dhis2api.ItemRef(dhis2api.KindEnrollment, e.Enrollment), To: dhis2api.ItemRef(dhis2api.KindTrackedEntity, pick(c, c.people)),
				}
				if c.random.IntN(2) == 0 {
					r.RelationshipType, r.From = triageNote, dhis2api.ItemRef(dhis2api.KindEvent, e.Events[0].Event)
				}
				c.relations = append(c.relations, r.Relationship)
				c.try(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{r}}, "")
			}
		},
		"relationship deleted": func() {
			c.try(dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{{Relationship: pick(c, c.relations)}}}, dhis2api.ImportStrategyDelete)
		},
		"purge": func() {
			for _, kind := range []string{"Relationship", "Event", "Enrollment", "TrackedEntity"} {
				query := map[string][]string{"softDeleted" + kind + "Removal": {"true"}}
				if err := c.client.Do(c.t.Context(), http.MethodPost, "/api/maintenance", query, nil, nil); err != nil {
					c.t.Fatal(err)
				}
			}
		},
	}
}

func (c *changing) changesOfVisits() map[string]func() {
	withVisit := func(do func(e *dhis2api.Enrollment)) func() {
		return func() {
			if e := c.visit(); e != nil {
				e.Relationships, e.Attributes = nil, nil
				for _, event := range e.Events {
					event.Relationships = nil
				}
				do(e)
			}
		}
	}
	enrollment := func(e *dhis2api.Enrollment) {
		e.Events = nil
		c.try(dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{e}}, "")
	}
	event := func(e *dhis2api.Event) { c.try(dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "") }
	return map[string]func(){
		"enrolled on": withVisit(func(e *dhis2api.Enrollment) { e.EnrolledAt = c.day(); enrollment(e) }),
		"enrollment status": withVisit(func(e *dhis2api.Enrollment) {
			e.Status = pick(c, []string{"ACTIVE", "COMPLETED", "CANCELLED"})
			enrollment(e)
		}),
		"enrolled": func() {
			n := c.number()
			c.try(dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{{
				Enrollment: fmt.Sprintf("N%010d", n), TrackedEntity: pick(c, c.people), Program: visit, OrgUnit: c.unit(),
				EnrolledAt: c.day(), OccurredAt: c.day(), Status: "ACTIVE",
			}}}, "")
		},
		"enrollment deleted": withVisit(func(e *dhis2api.Enrollment) {
			c.try(dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{{Enrollment: e.Enrollment}}}, dhis2api.ImportStrategyDelete)
		}),
		"weight": withVisit(func(e *dhis2api.Enrollment) {
			e.Events[0].DataValues = []dhis2api.EventDataValue{{DataElement: weight, Value: fmt.Sprint(40 + c.random.IntN(40))}}
			event(e.Events[0])
		}),
		"another visit": withVisit(func(e *dhis2api.Enrollment) {
			event(&dhis2api.Event{
				Event: fmt.Sprintf("E%010d", c.number()), Program: visit, ProgramStage: triage, Enrollment: e.Enrollment, TrackedEntity: e.TrackedEntity,
				OrgUnit: c.unit(), OccurredAt: c.day(), Status: "ACTIVE",
			})
		}),
		"visit deleted": withVisit(func(e *dhis2api.Enrollment) {
			c.try(dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: e.Events[0].Event}}}, dhis2api.ImportStrategyDelete)
		}),
		"visit assigned": withVisit(func(e *dhis2api.Enrollment) {
			user := c.object("users", c.triager())
			e.Events[0].AssignedUser = &dhis2api.UserRef{UID: c.triager(), Username: user["username"].(string)}
			event(e.Events[0])
		}),
		"somebody renamed": func() {
			user := c.object("users", c.triager())
			user["username"] = fmt.Sprint("triage", c.number())
			c.metadata(map[string]any{"users": []any{user}})
		},
		"note on an enrollment": withVisit(func(e *dhis2api.Enrollment) {
			c.post("/api/tracker/enrollments/"+e.Enrollment+"/note", map[string]any{"value": "asked for her sister"})
		}),
		"note on a visit": withVisit(func(e *dhis2api.Enrollment) {
			c.post("/api/tracker/events/"+e.Events[0].Event+"/note", map[string]any{"value": "came late"})
		}),
	}
}

// triager is the uid of the account to which visits are assigned.
func (c *changing) triager() string {
	c.t.Helper()
	for user, err := range dhis2api.ListAs[struct{ ID, Surname, Username string }](c.t.Context(), c.client, "users", dhis2api.ListQuery{Fields: "id,username"}) {
		if err != nil {
			c.t.Fatal(err)
		}
		if len(user.Username) > 6 && user.Username[:6] == "triage" {
			return user.ID
		}
	}
	c.t.Fatal("nobody is called triage")
	return ""
}

func (c *changing) changesOfOthers() map[string]func() {
	return map[string]func(){
		"water": func() {
			n := c.number()
			e := source(n, c.unit(), c.day())
			if c.random.IntN(2) == 0 {
				e.Event = pick(c, c.sources)
				e.DataValues[0].Value = fmt.Sprintf("0.%d", n%10)
			}
			c.sources = append(c.sources, e.Event)
			c.try(dhis2api.TrackerPayload{Events: []*dhis2api.Event{e}}, "")
		},
		"water deleted": func() {
			c.try(dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: pick(c, c.sources)}}}, dhis2api.ImportStrategyDelete)
		},
		"note on water": func() {
			path := "/api/tracker/events/" + pick(c, c.sources) + "/note"
			_ = c.client.Do(c.t.Context(), http.MethodPost, path, nil, map[string]any{"value": "dry"}, nil) // perhaps it was deleted
		},
		"value": func() {
			v := &dhis2api.DataValue{DataElement: medicines, OrgUnit: pick(c, []string{rioCana, cerroBrujo, soloy}), Period: pick(c, []string{"202610", "201901"})}
			v.Value, v.Comment = fmt.Sprint(c.random.IntN(30)), pick(c, []string{"", "counted twice"})
			_, _ = c.client.ImportDataValues(c.t.Context(), dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{v}}, dhis2api.DataValueImportOptions{Force: true})
		},
		"value deleted": func() {
			v := &dhis2api.DataValue{DataElement: medicines, OrgUnit: pick(c, []string{rioCana, cerroBrujo}), Period: pick(c, []string{"202610", "201901"}), Value: "1"}
			_, _ = c.client.ImportDataValues(c.t.Context(), dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{v}},
				dhis2api.DataValueImportOptions{Force: true, Strategy: dhis2api.ImportStrategyDelete})
		},
		"completion": func() {
			completion := &dhis2api.Completion{DataSet: monthly, Period: pick(c, []string{"202609", "202610"}), OrganisationUnit: c.unit(), Completed: true}
			_, _ = c.client.ImportCompletions(c.t.Context(), []*dhis2api.Completion{completion}, dhis2api.DataValueImportOptions{})
		},
		"unit moved": func() {
			unit := c.object("organisationUnits", soloy)
			unit["parent"] = map[string]any{"id": pick(c, []string{panama, cerroBrujo})}
			c.metadata(map[string]any{"organisationUnits": []any{unit}})
			_ = c.client.UpdateOrgUnitPaths(c.t.Context())
		},
		"attribute that stays at home": func() {
			attribute := c.object("trackedEntityAttributes", community)
			attribute["skipSynchronization"] = c.random.IntN(2) == 0
			c.metadata(map[string]any{"trackedEntityAttributes": []any{attribute}})
		},
	}
}
