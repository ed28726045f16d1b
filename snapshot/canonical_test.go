package snapshot

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

func recordedVersions() []string { return []string{"2.41.9.1", "2.42.5.2", "2.43.1"} }

// recordedAnswer decodes what a real server answered to one step of a recorded conversation.
func recordedAnswer[T any](t *testing.T, version, conversation, step string) T {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "dhis2api", "testdata", "conformance", version, conversation+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var recording struct {
		Steps []struct {
			Name     string
			Response struct{ Body json.RawMessage }
		}
	}
	if err := json.Unmarshal(content, &recording); err != nil {
		t.Fatal(err)
	}
	for _, recorded := range recording.Steps {
		if recorded.Name != step {
			continue
		}
		var answer T
		if err := json.Unmarshal(recorded.Response.Body, &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	t.Fatalf("%s of %s has no step %q", conversation, version, step)
	panic("unreachable")
}

type recordedPage struct {
	TrackedEntities              []*dhis2api.TrackedEntity
	Enrollments                  []*dhis2api.Enrollment
	Events                       []*dhis2api.Event
	Relationships                []*dhis2api.Relationship
	DataValues                   []*dhis2api.DataValue
	CompleteDataSetRegistrations []*dhis2api.Completion
}

// patient is the one of whom the recordings hold every form.
const (
	patient           = "HOYKNfERbK7"
	patientEnrollment = "FvRaP8pAkAU"
	patientEvent      = "ALWyvloeya6"
)

// TestCanonicalForms: an object is the same in whatever form a server gave it.
func TestCanonicalForms(t *testing.T) {
	for _, version := range recordedVersions() {
		t.Run(version, func(t *testing.T) {
			read := func(add func(face *merge.Face)) merge.Face {
				var face merge.Face
				add(&face)
				return face
			}
			single := read(func(face *merge.Face) {
				entity := recordedAnswer[dhis2api.TrackedEntity](t, version, "04-tracker-read", "one, its program attributes too")
				Canonical{}.AddTrackedEntity(face, &entity)
			})
			list := read(func(face *merge.Face) {
				for _, entity := range recordedAnswer[recordedPage](t, version, "04-tracker-read", "all fields").TrackedEntities {
					if entity.TrackedEntity == patient {
						Canonical{}.AddTrackedEntity(face, entity)
					}
				}
			})
			if diff := cmp.Diff(single, list); diff != "" {
				t.Errorf("alone and in a list (-alone +list):\n%s", diff)
			}
			flat := read(func(face *merge.Face) {
				for _, enrollment := range recordedAnswer[recordedPage](t, version, "04-tracker-read", "enrollments").Enrollments {
					Canonical{}.AddEnrollment(face, enrollment)
				}
				for _, event := range recordedAnswer[recordedPage](t, version, "04-tracker-read", "events of the program").Events {
					Canonical{}.AddEvent(face, event)
				}
				enrollment := recordedAnswer[dhis2api.Enrollment](t, version, "04-tracker-read", "one enrollment")
				Canonical{}.AddEnrollment(face, &enrollment)
				event := recordedAnswer[dhis2api.Event](t, version, "04-tracker-read", "one event")
				Canonical{}.AddEvent(face, &event)
			})
			for _, ref := range []merge.Ref{{Kind: merge.Enrollment, UID: patientEnrollment}, {Kind: merge.Event, UID: patientEvent}} {
				if _, there := flat.Objects[ref]; !there {
					t.Fatalf("%v was not read", ref)
				}
				if diff := cmp.Diff(single.Objects[ref], flat.Objects[ref]); diff != "" {
					t.Errorf("nested and flat (-nested +flat):\n%s", diff)
				}
			}
		})
	}
}

// TestCanonicalVersions: what each version of DHIS2 made of the same import is the same, but for the time at
// which a server completed what came without one.
func TestCanonicalVersions(t *testing.T) {
	everything := func(t *testing.T, version string) merge.Face {
		var face merge.Face
		for _, entity := range recordedAnswer[recordedPage](t, version, "04-tracker-read", "all fields").TrackedEntities {
			Canonical{}.AddTrackedEntity(&face, entity)
		}
		for _, event := range recordedAnswer[recordedPage](t, version, "04-tracker-read", "events without registration").Events {
			Canonical{}.AddEvent(&face, event)
		}
		enrollment := recordedAnswer[dhis2api.Enrollment](t, version, "06-tracker-update", "the enrollment with notes")
		Canonical{}.AddEnrollment(&face, &enrollment)
		for _, relationship := range recordedAnswer[recordedPage](t, version, "09-relationships", "of the mother").Relationships {
			Canonical{}.AddRelationship(&face, relationship)
		}
		for _, completion := range recordedAnswer[recordedPage](t, version, "11-data-value-sets", "read completions").CompleteDataSetRegistrations {
			Canonical{}.AddCompletion(&face, completion)
		}
		for _, object := range face.Objects {
			delete(object.Fields, merge.FieldCompletedAt)
		}
		return face
	}
	oldest := everything(t, "2.41.9.1")
	kinds := map[merge.Kind]int{}
	for ref := range oldest.Objects {
		kinds[ref.Kind]++
	}
	want := map[merge.Kind]int{merge.TrackedEntity: 3, merge.Enrollment: 4, merge.Event: 5, merge.Relationship: 1, merge.Completion: 1}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("objects read (-want +got):\n%s", diff)
	}
	for _, version := range recordedVersions()[1:] {
		if diff := cmp.Diff(oldest, everything(t, version)); diff != "" {
			t.Errorf("2.41.9.1 and %s (-old +new):\n%s", version, diff)
		}
	}
}

// TestCanonicalContent spells out what a whole patient is.
func TestCanonicalContent(t *testing.T) {
	entity := &dhis2api.TrackedEntity{
		TrackedEntity: "person00001", TrackedEntityType: "personType1", OrgUnit: "unit0000001", Inactive: true,
		CreatedAt: "2026-11-23T00:17:06.836", UpdatedAt: "2026-11-23T00:17:06.836", StoredBy: "admin", PotentialDuplicate: true,
		CreatedAtClient: "2026-11-09T07:00:00.000", UpdatedAtClient: "2026-11-09T07:00:00.000",
		Geometry:      json.RawMessage(`{"type":"Point", "coordinates":[-81.7321, 8.0], "crs":{"type":"name"}}`),
		Attributes:    []dhis2api.Attribute{{Attribute: "firstName01", Value: " Ana ", Code: "FIRST"}, {Attribute: "phone000001", Value: ""}},
		ProgramOwners: []dhis2api.ProgramOwner{{Program: "program0001", OrgUnit: "unit0000002", TrackedEntity: "person00001"}},
		Enrollments: []*dhis2api.Enrollment{{
			Enrollment: "enrolment01", TrackedEntity: "person00001", Program: "program0001", OrgUnit: "unit0000001",
			Status: "COMPLETED", EnrolledAt: "2026-11-10", OccurredAt: "2026-11-09T00:00:00.000", CompletedAt: "2026-11-11T10:00:00.000",
			CompletedBy: "admin", FollowUp: true, AttributeOptionCombo: defaultCategoryOptionCombo,
			Attributes: []dhis2api.Attribute{{Attribute: "nationalID1", Value: "8-111-1"}},
			Notes:      []dhis2api.Note{{Note: "note0000001", Value: "Returns on Friday", StoredAt: "2026-11-23T00:17:22.652", StoredBy: "admin"}},
			Events: []*dhis2api.Event{{
				Event: "event000001", Program: "program0001", ProgramStage: "stage000001", Enrollment: "enrolment01", TrackedEntity: "person00001",
				OrgUnit: "unit0000001", Status: "SCHEDULE", ScheduledAt: "2026-11-20T00:00:00.000", FollowUp: true,
				AttributeOptionCombo: "HllvX50cXC0", AttributeCategoryOptions: "xYerKDKCefk",
				AssignedUser: &dhis2api.UserRef{UID: "v4VujyGC7dQ", Username: "provider1", FirstName: "Provider"},
				DataValues:   []dhis2api.EventDataValue{{DataElement: "weight00001", Value: "61.0", StoredBy: "admin", ProvidedElsewhere: true}},
			}},
		}},
	}
	person := merge.Ref{Kind: merge.TrackedEntity, UID: "person00001"}
	enrollment := merge.Ref{Kind: merge.Enrollment, UID: "enrolment01"}
	event := merge.Ref{Kind: merge.Event, UID: "event000001"}
	want := merge.Face{Objects: map[merge.Ref]merge.Object{
		person: {Ref: person, Fields: map[string]string{
			"trackedEntityType": "personType1", "orgUnit": "unit0000001", "inactive": "true",
			"geometry":    `{"coordinates":[-81.7321,8],"type":"Point"}`,
			"firstName01": " Ana ", "nationalID1": "8-111-1", "owner.program0001": "unit0000002",
		}},
		enrollment: {Ref: enrollment, Parent: person, Fields: map[string]string{
			"trackedEntity": "person00001", "program": "program0001", "orgUnit": "unit0000001", "status": "COMPLETED",
			"enrolledAt": "2026-11-10T00:00:00.000", "occurredAt": "2026-11-09T00:00:00.000", "completedAt": "2026-11-11T10:00:00.000",
			"followUp": "true", "notes.note0000001": "Returns on Friday",
		}},
		event: {Ref: event, Parent: enrollment, Fields: map[string]string{
			"program": "program0001", "programStage": "stage000001", "enrollment": "enrolment01", "orgUnit": "unit0000001",
			"status": "SCHEDULE", "scheduledAt": "2026-11-20T00:00:00.000", "attributeOptionCombo": "HllvX50cXC0",
			"assignedUser": "provider1", "weight00001": "61.0",
		}},
	}}
	var got merge.Face
	Canonical{}.AddTrackedEntity(&got, entity)
	Canonical{}.AddTrackedEntity(&got, entity) // twice is as good as once
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}

	entity.Deleted = true
	var gone merge.Face
	Canonical{}.AddTrackedEntity(&gone, entity)
	if diff := cmp.Diff(merge.Face{Deleted: map[merge.Ref]bool{person: true, enrollment: true, event: true}}, gone); diff != "" {
		t.Errorf("a deleted patient (-want +got):\n%s", diff)
	}
}

func TestCanonicalTombstones(t *testing.T) {
	for _, version := range recordedVersions() {
		var face merge.Face
		for _, event := range recordedAnswer[recordedPage](t, version, "08-tracker-delete", "events, deleted too").Events {
			Canonical{}.AddEvent(&face, event)
		}
		if len(face.Deleted) != 1 || len(face.Objects) != 1 {
			t.Errorf("%s: %d live and %d deleted events, want 1 of each", version, len(face.Objects), len(face.Deleted))
		}
	}
}

// TestCanonicalSingleEvent: the enrollment that a server made up for an event without registration is no content.
func TestCanonicalSingleEvent(t *testing.T) {
	for _, version := range recordedVersions() {
		var face merge.Face
		for _, event := range recordedAnswer[recordedPage](t, version, "04-tracker-read", "events without registration").Events {
			Canonical{}.AddEvent(&face, event)
		}
		if len(face.Objects) == 0 {
			t.Fatalf("%s: no events", version)
		}
		for _, object := range face.Objects {
			if object.Parent != (merge.Ref{}) || object.Fields["enrollment"] != "" {
				t.Errorf("%s: %s hangs on %v", version, object.UID, object.Parent)
			}
			if want := `{"coordinates":[-81.73,8.77],"type":"Point"}`; object.Fields["geometry"] != want {
				t.Errorf("%s: geometry %s, want %s", version, object.Fields["geometry"], want)
			}
		}
	}
}

func TestCanonicalRelationship(t *testing.T) {
	for _, version := range recordedVersions() {
		t.Run(version, func(t *testing.T) {
			var flat, nested merge.Face
			for _, relationship := range recordedAnswer[recordedPage](t, version, "09-relationships", "of the mother").Relationships {
				Canonical{}.AddRelationship(&flat, relationship)
			}
			mother := recordedAnswer[dhis2api.TrackedEntity](t, version, "09-relationships", "within the mother")
			for _, relationship := range NestedRelationships(&mother) {
				Canonical{}.AddRelationship(&nested, relationship)
			}
			ref := merge.Ref{Kind: merge.Relationship, UID: "hSNVx94IFk9"}
			want := map[string]string{
				"relationshipType": "lLTCzq8mnWU", "bidirectional": "true",
				"from": "trackedEntity.j6sa0EeRiZY", "to": "trackedEntity.TGE2ZEfRFCS",
			}
			if diff := cmp.Diff(want, flat.Objects[ref].Fields); diff != "" {
				t.Errorf("flat (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(flat, nested); diff != "" {
				t.Errorf("flat and nested (-flat +nested):\n%s", diff)
			}
		})
	}
}

func TestCanonicalAggregate(t *testing.T) {
	var face merge.Face
	for _, value := range recordedAnswer[recordedPage](t, "2.42.5.2", "11-data-value-sets", "read, deleted too").DataValues {
		Canonical{}.AddDataValue(&face, value)
	}
	Canonical{}.AddDataValue(&face, &dhis2api.DataValue{
		DataElement: "d", Period: "202611", OrgUnit: "u", CategoryOptionCombo: "c", AttributeOptionCombo: "a",
		Value: "012", Comment: "late", FollowUp: true, StoredBy: "admin", LastUpdated: "2026-11-23T00:29:43.000+0000",
	})
	Canonical{}.AddCompletion(&face, &dhis2api.Completion{DataSet: "s", Period: "202611", OrganisationUnit: "u", AttributeOptionCombo: "a", Date: "2026-11-23", Completed: true})
	Canonical{}.AddCompletion(&face, &dhis2api.Completion{DataSet: "s", Period: "202610", OrganisationUnit: "u", AttributeOptionCombo: "a", Date: "2026-11-23"})
	want := map[merge.Ref]map[string]string{
		{Kind: merge.DataValue, UID: "d.202611.u.c.a"}:                                         {"value": "012", "comment": "late", "followUp": "true"},
		{Kind: merge.Completion, UID: "s.202611.u.a"}:                                          {"completed": "true"},
		{Kind: merge.Completion, UID: "s.202610.u.a"}:                                          {},
		{Kind: merge.DataValue, UID: "B9X7wdHBEt6.202610.P1J4eyjXQeT.NYCIIgWuUDk.HllvX50cXC0"}: {"value": "12"},
	}
	for ref, fields := range want {
		if diff := cmp.Diff(fields, face.Objects[ref].Fields); diff != "" {
			t.Errorf("%v (-want +got):\n%s", ref, diff)
		}
	}
	if len(face.Deleted) != 1 {
		t.Errorf("%d deleted values, want 1", len(face.Deleted))
	}
}

func TestCanonicalTime(t *testing.T) {
	panama, err := time.LoadLocation("America/Panama")
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"2026-11-10T09:00:00.000":          "2026-11-10T09:00:00.000",
		"2026-11-10T09:00:00":              "2026-11-10T09:00:00.000",
		"2026-11-10T09:00":                 "2026-11-10T09:00:00.000",
		"2026-11-10T09:00:00.123456":       "2026-11-10T09:00:00.123",
		"2026-11-10":                       "2026-11-10T00:00:00.000",
		"2026-11-10T14:00:00.000Z":         "2026-11-10T09:00:00.000",
		"2026-11-10T14:00:00.000+0000":     "2026-11-10T09:00:00.000",
		"2026-11-10T15:00:00.123456+01:00": "2026-11-10T09:00:00.123",
		"2026-11-10T14:00Z":                "2026-11-10T09:00:00.000",
		"":                                 "",
		"not a time, but just as long":     "not a time, but just as long",
		"2026-11-10X09:00:00.000":          "2026-11-10X09:00:00.000",
	} {
		if got := (Canonical{Zone: panama}).Time(value); got != want {
			t.Errorf("Time(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestCanonicalGeometry(t *testing.T) {
	for raw, want := range map[string]string{
		``:     ``,
		`null`: ``,
		`{"type":"Point","coordinates":[-81.73,8.77]}`:                                                 `{"coordinates":[-81.73,8.77],"type":"Point"}`,
		`{ "coordinates": [-81.730, 8.0, -0.0], "type": "Point", "bbox": [1] }`:                        `{"coordinates":[-81.73,8,0],"type":"Point"}`,
		`{"type":"Point","coordinates":[1.0E-5,-8173e-2]}`:                                             `{"coordinates":[0.00001,-81.73],"type":"Point"}`,
		`{"type":"Polygon","coordinates":[[[1.0,2.0],[3.0,4.0],[1,2]]]}`:                               `{"coordinates":[[[1,2],[3,4],[1,2]]],"type":"Polygon"}`,
		`{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1.0,2.0],"id":7}]}`: `{"geometries":[{"coordinates":[1,2],"type":"Point"}],"type":"GeometryCollection"}`,
		`{"type":"Point","coordinates":[-81.73212345678901,8.77123456789012]}`:                         `{"coordinates":[-81.73212345678901,8.77123456789012],"type":"Point"}`,
		`POINT(1 2)`: `POINT(1 2)`,
	} {
		if got := geometry(json.RawMessage(raw)); got != want {
			t.Errorf("geometry(%s) = %s, want %s", raw, got, want)
		}
	}
}

// TestSeenTwice adds one tracked entity as it was seen through two programs: each of what it has stands there once.
func TestSeenTwice(t *testing.T) {
	first := &dhis2api.TrackedEntity{
		TrackedEntity: "p", OrgUnit: "u",
		Attributes:    []dhis2api.Attribute{{Attribute: "name", Value: "Ana"}, {Attribute: "ofFirst", Value: "1"}},
		ProgramOwners: []dhis2api.ProgramOwner{{Program: "P", OrgUnit: "u"}},
		Enrollments:   []*dhis2api.Enrollment{{Enrollment: "n1", Program: "P", Events: []*dhis2api.Event{{Event: "e1"}}}},
	}
	second := &dhis2api.TrackedEntity{
		TrackedEntity: "p", OrgUnit: "u",
		Attributes:    []dhis2api.Attribute{{Attribute: "name", Value: "Ana"}, {Attribute: "ofSecond", Value: "2"}},
		ProgramOwners: []dhis2api.ProgramOwner{{Program: "P", OrgUnit: "u"}, {Program: "Q", OrgUnit: "v"}},
		Enrollments: []*dhis2api.Enrollment{
			{Enrollment: "n2", Program: "Q"},
			{Enrollment: "n1", Program: "P", Status: "ACTIVE", Events: []*dhis2api.Event{{Event: "e2"}}},
		},
	}
	whole := &dhis2api.TrackedEntity{
		TrackedEntity: "p", OrgUnit: "u",
		Attributes:    []dhis2api.Attribute{{Attribute: "name", Value: "Ana"}, {Attribute: "ofFirst", Value: "1"}, {Attribute: "ofSecond", Value: "2"}},
		ProgramOwners: []dhis2api.ProgramOwner{{Program: "P", OrgUnit: "u"}, {Program: "Q", OrgUnit: "v"}},
		Enrollments: []*dhis2api.Enrollment{
			{Enrollment: "n1", Program: "P", Status: "ACTIVE", Events: []*dhis2api.Event{{Event: "e1"}, {Event: "e2"}}},
			{Enrollment: "n2", Program: "Q"},
		},
	}
	var added, once merge.Face
	Canonical{}.AddTrackedEntity(&added, first)
	Canonical{}.AddTrackedEntity(&added, second)
	Canonical{}.AddTrackedEntity(&once, whole)
	if diff := cmp.Diff(once, added); diff != "" {
		t.Errorf("added one after the other (-whole +added):\n%s", diff)
	}
}
