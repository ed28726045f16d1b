package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// parsed reads a JSON value of a test table.
func parsed[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

func TestPayloadTrackedEntity(t *testing.T) {
	taken := `{"trackedEntity": "person00001", "trackedEntityType": "personType1", "orgUnit": "unit0000001",
		"createdAt": "2026-01-01T00:00:00.000", "updatedAt": "2026-01-02T00:00:00.000",
		"createdAtClient": "2026-01-01T08:00:00.000", "updatedAtClient": "2026-01-02T08:00:00.000",
		"storedBy": "triage1", "inactive": true, "updatedBy": {"uid": "user0000001"},
		"geometry": {"type": "Point", "coordinates": [-81.7, 8.4]},
		"programOwners": [{"program": "program0001", "orgUnit": "unit0000002"}],
		"relationships": [{"relationship": "relation001"}],
		"attributes": [{"attribute": "attribute01", "value": "Ana", "valueType": "TEXT", "displayName": "Name", "updatedAt": "2026-01-02T00:00:00.000"}],
		"enrollments": [
			{"enrollment": "enrollment1", "program": "program0001", "orgUnit": "unit0000001", "status": "COMPLETED",
			"enrolledAt": "2026-01-01T00:00:00.000", "completedAt": "2026-01-03T00:00:00.000", "completedBy": "triage1", "followUp": true,
			"attributeOptionCombo": "cocCentral1",
			"notes": [{"note": "note0000001", "value": "came by boat", "storedAt": "2026-01-01T00:00:00.000", "storedBy": "triage1"}],
			"events": [
				{"event": "event000001", "program": "program0001", "programStage": "stage000001", "orgUnit": "unit0000001", "status": "ACTIVE",
				"occurredAt": "2026-01-01T00:00:00.000", "attributeOptionCombo": "cocCentral1", "attributeCategoryOptions": "optCentral1",
				"assignedUser": {"uid": "user0000001", "username": "triage1", "displayName": "T"},
				"dataValues": [{"dataElement": "element0001", "value": "61.0", "updatedAt": "2026-01-02T00:00:00.000", "storedBy": "triage1"}]},
				{"event": "event000002", "deleted": true}]},
			{"enrollment": "enrollment2", "program": "program0001", "deleted": true}]}`
	want := `{"trackedEntity": "person00001", "trackedEntityType": "personType1", "orgUnit": "unit0000001",
		"createdAtClient": "2026-01-01T08:00:00.000", "updatedAtClient": "2026-01-02T08:00:00.000", "storedBy": "triage1", "inactive": true,
		"geometry": {"type": "Point", "coordinates": [-81.7, 8.4]},
		"attributes": [{"attribute": "attribute01", "value": "Ana"}],
		"enrollments": [
			{"enrollment": "enrollment1", "trackedEntity": "person00001", "program": "program0001", "orgUnit": "unit0000001", "status": "COMPLETED",
			"enrolledAt": "2026-01-01T00:00:00.000", "completedAt": "2026-01-03T00:00:00.000", "followUp": true,
			"attributeOptionCombo": "cocLocal001",
			"notes": [{"note": "note0000001", "value": "came by boat", "storedBy": "triage1"}],
			"events": [
				{"event": "event000001", "program": "program0001", "programStage": "stage000001", "enrollment": "enrollment1",
				"trackedEntity": "person00001", "orgUnit": "unit0000001", "status": "ACTIVE",
				"occurredAt": "2026-01-01T00:00:00.000", "attributeOptionCombo": "cocLocal001", "attributeCategoryOptions": "optLocal001",
				"assignedUser": {"uid": "user0000001", "username": "triage1", "displayName": "T"},
				"dataValues": [{"dataElement": "element0001", "value": "61.0", "storedBy": "triage1"}]}]}]}`
	p := payload{defaults: map[string]string{"cocCentral1": "cocLocal001", "optCentral1": "optLocal001"}}
	given := parsed[*dhis2api.TrackedEntity](t, taken)
	got := p.trackedEntity(given)
	if diff := cmp.Diff(parsed[*dhis2api.TrackedEntity](t, want), got, cmp.AllowUnexported()); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(parsed[*dhis2api.TrackedEntity](t, taken), given); diff != "" {
		t.Errorf("the taken object was changed (-before +after):\n%s", diff)
	}
	if back := p.reversed().mapped(got.Enrollments[0].Events[0].AttributeOptionCombo); back != "cocCentral1" {
		t.Errorf("mapped back: attribute option combo %s, want cocCentral1", back)
	}
}

func TestPayloadEventWithoutRegistration(t *testing.T) {
	taken := parsed[*dhis2api.Event](t, `{"event": "event000001", "enrollment": "madeByServ1", "program": "program0001", "status": "ACTIVE"}`)
	if got := (payload{}).event(taken); got.Enrollment != "" {
		t.Errorf("the enrollment that the server made was sent: %s", got.Enrollment)
	}
}

func TestPayloadRelationship(t *testing.T) {
	taken := parsed[*dhis2api.Relationship](t, `{"relationship": "relation001", "relationshipType": "type0000001", "createdAt": "2026-01-01T00:00:00.000",
		"from": {"trackedEntity": {"trackedEntity": "person00001", "orgUnit": "unit0000001"}}, "to": {"event": {"event": "event000001", "status": "ACTIVE"}}}`)
	want := parsed[*dhis2api.Relationship](t, `{"relationship": "relation001", "relationshipType": "type0000001",
		"from": {"trackedEntity": {"trackedEntity": "person00001"}}, "to": {"event": {"event": "event000001"}}}`)
	if diff := cmp.Diff(want, (payload{}).relationship(taken)); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	taken.To = nil
	if got := (payload{}).relationship(taken); got != nil {
		t.Errorf("a relationship without an end was made a payload: %v", got)
	}
}

func TestReconcileStanding(t *testing.T) {
	tests := []struct{ name, sent, standing, want string }{
		{
			name:     "a value that central emptied is cleared, one that never travels is left alone",
			sent:     `{"attributes": [{"attribute": "attribute01", "value": "Ana"}]}`,
			standing: `{"attributes": [{"attribute": "attribute01"}, {"attribute": "attribute02"}, {"attribute": "neverTravel"}]}`,
			want:     `{"attributes": [{"attribute": "attribute01", "value": "Ana"}, {"attribute": "attribute02", "value": ""}]}`,
		},
		{
			name: "notes and values of events",
			sent: `{"enrollments": [{"enrollment": "enrollment1", "notes": [{"note": "note0000001"}, {"note": "note0000002"}],
				"events": [{"event": "event000001", "programStage": "stage000001", "notes": [{"note": "note0000003"}]}, {"event": "event000002"}]}]}`,
			standing: `{"enrollments": [{"enrollment": "enrollment1", "notes": [{"note": "note0000001"}],
				"events": [{"event": "event000001", "notes": [{"note": "note0000003"}], "dataValues": [{"dataElement": "element0001"}, {"dataElement": "neverTravel"}]}]},
				{"enrollment": "onlyLocal01"}]}`,
			want: `{"enrollments": [{"enrollment": "enrollment1", "notes": [{"note": "note0000002"}],
				"events": [{"event": "event000001", "programStage": "stage000001", "notes": [], "dataValues": [{"dataElement": "element0001", "value": ""}]},
				{"event": "event000002"}]}]}`,
		},
	}
	skip := skipped{
		attributes:   map[string]bool{"neverTravel": true},
		dataElements: map[string]bool{"stage000001.neverTravel": true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := parsed[*dhis2api.TrackedEntity](t, test.sent)
			reconcileStanding(got, parsed[*dhis2api.TrackedEntity](t, test.standing), spared{skipped: skip})
			if diff := cmp.Diff(parsed[*dhis2api.TrackedEntity](t, test.want), got); diff != "" {
				t.Errorf("payload (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInBatches(t *testing.T) {
	numbers := func(n int, last error) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for i := range n {
				if !yield(i, nil) {
					return
				}
			}
			if last != nil {
				yield(0, last)
			}
		}
	}
	errRead, errWork, errTake := errors.New("read"), errors.New("work"), errors.New("take")
	tests := []struct {
		name               string
		readError          error
		failWork, failTake int
		want               error
		wantBatches        int
	}{
		{name: "all in order", failWork: -1, failTake: -1, wantBatches: 11},
		{name: "a read error comes after what was read", readError: errRead, failWork: -1, failTake: -1, want: errRead, wantBatches: 10},
		{name: "an error of the work ends it", failWork: 4, failTake: -1, want: errWork, wantBatches: 4},
		{name: "an error of the taking ends it", failWork: -1, failTake: 2, want: errTake, wantBatches: 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var atATime, most atomic.Int32
			var firsts []int
			work := func(_ context.Context, batch []int) (*loadResult, error) {
				most.Store(max(most.Load(), atATime.Add(1)))
				defer atATime.Add(-1)
				if batch[0]/10 == test.failWork {
					return nil, errWork
				}
				return &loadResult{lines: batch[0]}, nil
			}
			take := func(result *loadResult) error {
				if result.lines/10 == test.failTake {
					return errTake
				}
				firsts = append(firsts, result.lines)
				return nil
			}
			err := inBatches(t.Context(), numbers(103, test.readError), 10, 2, work, take)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if len(firsts) != test.wantBatches || !slices.IsSorted(firsts) {
				t.Errorf("the batches that begin with %v, want the first %d in order", firsts, test.wantBatches)
			}
			if most.Load() > 2 {
				t.Errorf("%d batches at a time", most.Load())
			}
		})
	}
}

// TestASlowBatchKeepsNobodyWaiting holds the first batch up until the fourth has been worked on.
func TestASlowBatchKeepsNobodyWaiting(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fourth := make(chan struct{})
	work := func(ctx context.Context, batch []int) (*loadResult, error) {
		switch batch[0] {
		case 0:
			select {
			case <-fourth:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case 30:
			close(fourth)
		}
		return &loadResult{lines: batch[0]}, nil
	}
	var firsts []int
	take := func(result *loadResult) error {
		firsts = append(firsts, result.lines)
		return nil
	}
	numbers := func(yield func(int, error) bool) {
		for n := 0; n < 60 && yield(n, nil); n++ {
		}
	}
	if err := inBatches(ctx, numbers, 10, 2, work, take); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{0, 10, 20, 30, 40, 50}, firsts); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
}
