package merge_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// family is one patient with an enrollment and an event in every face.
func family(t *testing.T, lines ...string) merge.Record {
	t.Helper()
	var record merge.Record
	for _, text := range append([]string{
		"all trackedEntity p1: name=Ana phone=1",
		"all enrollment n1 < trackedEntity p1: program=P",
		"all event e1 < enrollment n1: weight=61",
	}, lines...) {
		readLine(t, &record, text)
	}
	return record
}

func compared(record merge.Record) []string {
	var lines []string
	for _, change := range merge.Compare(record, merge.Rules{}) {
		lines = append(lines, line(change))
	}
	return lines
}

func TestOverlay(t *testing.T) {
	patient := merge.Ref{Kind: merge.TrackedEntity, UID: "p1"}
	event := merge.Ref{Kind: merge.Event, UID: "e1"}
	created := merge.Ref{Kind: merge.Event, UID: "e2"}
	phone := func(value string) merge.Base {
		return merge.Base{Ref: patient, Field: "phone", Taken: value, Loaded: value, TakenPresent: true, LoadedPresent: true}
	}
	tests := []struct {
		name  string
		lines []string
		bases []merge.Base
		want  []string
	}{
		{
			"a field pushed in an earlier run is no change",
			[]string{"local,central trackedEntity p1: phone=2"},
			[]merge.Base{phone("2")}, nil,
		},
		{
			"and one changed again since then is",
			[]string{"local trackedEntity p1: phone=3", "central trackedEntity p1: phone=2"},
			[]merge.Base{phone("2")},
			[]string{`push update trackedEntity p1 phone "2" "3" "2"`},
		},
		{
			"the last base for a field wins",
			[]string{"local,central trackedEntity p1: phone=3"},
			[]merge.Base{phone("2"), phone("3")}, nil,
		},
		{
			"a field held over keeps its own base",
			[]string{"taken,central trackedEntity p1: phone=9", "loaded,local trackedEntity p1: phone=2"},
			[]merge.Base{phone("1")},
			[]string{`conflict update trackedEntity p1 phone "1" "2" "9": changed on both sides`},
		},
		{
			"a field that was not there when it was held",
			[]string{"taken,central trackedEntity p1: phone=9", "loaded,local trackedEntity p1: phone=2"},
			[]merge.Base{{Ref: patient, Field: "phone"}},
			[]string{`conflict update trackedEntity p1 phone "" "2" "9": changed on both sides`},
		},
		{
			"an object held over counts as created",
			[]string{"loaded,local event e2 < enrollment n1: weight=70"},
			[]merge.Base{{Ref: created}},
			[]string{`push create event e2`},
		},
		{
			"an object created in an earlier run is no change",
			[]string{"local,central event e2 < enrollment n1: weight=70"},
			merge.Pushed(merge.Change{Ref: created, Verb: merge.Create}, merge.Object{Ref: created, Fields: map[string]string{"weight": "70"}}),
			nil,
		},
		{
			"and deleted on the kit afterwards it is a deletion",
			[]string{"central event e2 < enrollment n1: weight=70", "local deleted event e2"},
			merge.Pushed(merge.Change{Ref: created, Verb: merge.Create}, merge.Object{Ref: created, Fields: map[string]string{"weight": "70"}}),
			[]string{`push delete event e2`},
		},
		{
			"a patient deleted in an earlier run is no change, nor is what went along",
			[]string{"local,central deleted trackedEntity p1", "local,central deleted enrollment n1", "local,central deleted event e1"},
			merge.Pushed(merge.Change{Ref: patient, Verb: merge.Delete}, merge.Object{}),
			nil,
		},
		{
			"nor is what an earlier run created below it",
			[]string{"local,central deleted trackedEntity p1", "local,central deleted enrollment n1", "local,central deleted event e1", "local,central deleted event e2"},
			append(merge.Pushed(merge.Change{Ref: patient, Verb: merge.Delete}, merge.Object{}),
				merge.Base{Ref: created, TakenPresent: true, LoadedPresent: true},
				merge.Base{Ref: created, Field: "enrollment", Taken: "n1", Loaded: "n1", TakenPresent: true, LoadedPresent: true}),
			nil,
		},
		{
			"what was created below a patient who stood on the kit before stays",
			[]string{"taken gone trackedEntity p1", "taken,loaded gone enrollment n1", "taken,loaded gone event e1", "local deleted event e1", "local enrollment n1: orgUnit=u2"},
			[]merge.Base{
				{Ref: patient, LoadedPresent: true},
				{Ref: merge.Ref{Kind: merge.Enrollment, UID: "n1"}, TakenPresent: true, LoadedPresent: true},
				{Ref: merge.Ref{Kind: merge.Enrollment, UID: "n1"}, Field: "program", Taken: "P", Loaded: "P", TakenPresent: true, LoadedPresent: true},
			},
			[]string{`push update enrollment n1 orgUnit "" "u2" ""`},
		},
		{
			"a field of an object that the snapshot lacks changes nothing",
			[]string{"taken,loaded gone event e1"},
			[]merge.Base{{Ref: event, Field: "weight", Taken: "60", Loaded: "60", TakenPresent: true, LoadedPresent: true}},
			[]string{`alreadyThere create event e1: central holds the same`},
		},
		{
			"created, deleted and nothing left of it",
			[]string{"local,central deleted event e2"},
			append(merge.Pushed(merge.Change{Ref: created, Verb: merge.Create}, merge.Object{Fields: map[string]string{"weight": "70"}}),
				merge.Pushed(merge.Change{Ref: created, Verb: merge.Delete}, merge.Object{})...),
			nil,
		},
		{
			"created, deleted and created again, as only a purge allows",
			[]string{"local,central event e2 < enrollment n1: weight=70"},
			append(merge.Pushed(merge.Change{Ref: created, Verb: merge.Create}, merge.Object{Fields: map[string]string{"weight": "70"}}),
				merge.Base{Ref: created}, merge.Base{Ref: created, TakenPresent: true, LoadedPresent: true},
				merge.Base{Ref: created, Field: "weight", Taken: "70", Loaded: "70", TakenPresent: true, LoadedPresent: true}),
			nil,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			record := family(t, test.lines...)
			got := compared(merge.Overlay(record, test.bases))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(family(t, test.lines...), record); diff != "" {
				t.Errorf("the record itself was changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestHash(t *testing.T) {
	ref := merge.Ref{Kind: merge.Event, UID: "e1"}
	object := merge.Object{Ref: ref, Fields: map[string]string{"a": "1", "b": "2"}}
	same := merge.Object{Ref: ref, Fields: map[string]string{"b": "2", "a": "1", "c": ""}}
	if merge.Hash(object) != merge.Hash(same) {
		t.Error("an empty field or the order of fields matters")
	}
	others := map[string]merge.Object{
		"value":    {Ref: ref, Fields: map[string]string{"a": "1", "b": "3"}},
		"boundary": {Ref: ref, Fields: map[string]string{"a": "1b2"}},
		"field":    {Ref: ref, Fields: map[string]string{"a": "1", "c": "2"}},
		"uid":      {Ref: merge.Ref{Kind: merge.Event, UID: "e2"}, Fields: object.Fields},
		"kind":     {Ref: merge.Ref{Kind: merge.Enrollment, UID: "e1"}, Fields: object.Fields},
		"parent":   {Ref: ref, Parent: ref, Fields: object.Fields},
	}
	seen := map[[16]byte]string{merge.Hash(object): "the object"}
	for name, other := range others {
		hash := merge.Hash(other)
		if twin, twice := seen[hash]; twice {
			t.Errorf("another %s has the hash of %s", name, twin)
		}
		seen[hash] = "another " + name
	}
	one, two := object, others["uid"]
	if merge.HashTree([]merge.Object{one, two}) != merge.HashTree([]merge.Object{two, one}) {
		t.Error("the order of objects matters")
	}
	if merge.HashTree([]merge.Object{one, one}) == merge.HashTree([]merge.Object{one}) {
		t.Error("how often an object is there does not matter")
	}
}

func TestIsUID(t *testing.T) {
	for field, want := range map[string]bool{
		"QSE0SDVStuG": true, "completedAt": false, "scheduledAt": false, "status": false, "0SE0SDVStuG": false,
		"notes.aaaaa": false, "QSE0SDVStu": false, "": false,
	} {
		if got := merge.IsUID(field); got != want {
			t.Errorf("IsUID(%q) = %v", field, got)
		}
	}
}
