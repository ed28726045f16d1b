package orchestrator

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

func TestDecidedValues(t *testing.T) {
	of := func(valueType string) valueKind { return valueKind{valueType: valueType, mayBeEmpty: true} }
	scalar := func(kind merge.Kind, field string) valueKind {
		k, ok := scalarKind(kind, field)
		if !ok {
			t.Fatalf("%s takes no value", field)
		}
		return k
	}
	for _, tc := range []struct {
		kind        valueKind
		value, want string
		good        bool
	}{
		{of("NUMBER"), "62.5", "62.5", true},
		{of("NUMBER"), "62,5", "", false},
		{of("NUMBER"), "", "", true},
		{of("INTEGER"), "-3", "-3", true},
		{of("INTEGER"), "3.0", "", false},
		{of("INTEGER_POSITIVE"), "0", "", false},
		{of("INTEGER_ZERO_OR_POSITIVE"), "0", "0", true},
		{of("INTEGER_NEGATIVE"), "3", "", false},
		{of("PERCENTAGE"), "101", "", false},
		{of("UNIT_INTERVAL"), "0.5", "0.5", true},
		{of("BOOLEAN"), "TRUE", "", false},
		{of("TRUE_ONLY"), "false", "", false},
		{of("DATE"), "2026-11-24", "2026-11-24", true},
		{of("DATE"), "24/11/2026", "", false},
		{of("AGE"), "2026-02-30", "", false},
		{of("IMAGE"), "abcdefghijk", "", false},
		{of("TEXT"), "=1+1", "=1+1", true},
		{of(""), "anything", "anything", true},
		{valueKind{valueType: "TEXT", options: []string{"MALE", "FEMALE"}}, "FEMALE", "FEMALE", true},
		{valueKind{valueType: "TEXT", options: []string{"MALE", "FEMALE"}}, "Female", "", false},
		{valueKind{valueType: "NUMBER"}, "", "", false},
		{scalar(merge.Event, merge.FieldOccurredAt), "2026-11-24", "2026-11-24T00:00:00.000", true},
		{scalar(merge.Event, merge.FieldOccurredAt), "2026-11-24T18:30", "2026-11-24T18:30:00.000", true},
		{scalar(merge.Event, merge.FieldOccurredAt), "24.11.2026", "", false},
		{scalar(merge.Event, merge.FieldOccurredAt), "", "", false},
		{scalar(merge.Event, merge.FieldStatus), "SKIPPED", "SKIPPED", true},
		{scalar(merge.Enrollment, merge.FieldStatus), "SKIPPED", "", false},
		{scalar(merge.TrackedEntity, merge.FieldOrgUnit), "P1J4eyjXQeT", "P1J4eyjXQeT", true},
		{scalar(merge.TrackedEntity, merge.FieldOrgUnit), "Soloy", "", false},
		{scalar(merge.Enrollment, "followUp"), "", "", true},
		{scalar(merge.DataValue, "comment"), "", "", true},
	} {
		got, err := tc.kind.canonical(tc.value)
		if (err == nil) != tc.good || got != tc.want {
			t.Errorf("%q as %s: %q, %v; want %q", tc.value, tc.kind.valueType, got, err, tc.want)
		}
	}
	for _, field := range []string{merge.NotePrefix + "n", merge.OwnerPrefix + "p", merge.FieldGeometry, "assignedUser", "attributeOptionCombo", "completed"} {
		if _, ok := scalarKind(merge.Event, field); ok {
			t.Errorf("%s takes a value from a file", field)
		}
	}
}

// TestCarryingTwice: what is carried into the next trip is there once, also when a crash has it carried again.
func TestCarryingTwice(t *testing.T) {
	j, err := journal.OpenFile(t.Context(), filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ref := merge.Ref{Kind: merge.TrackedEntity, UID: "p1"}
	shown := journal.Shown{Number: 7, Ref: ref, Field: "phone", Root: "person:p1", Verb: merge.Update}
	c := &carriage{
		changes: []journal.Change{{Change: merge.Change{Ref: ref, Field: "phone", Verb: merge.Update}, Root: "person:p1", State: journal.Refused}},
		shown:   []journal.Shown{shown},
		decisions: []journal.Decision{
			{Shown: shown, Choice: "local", At: time.Unix(1, 0), Outcome: journal.Replaced}, {Shown: shown, Choice: "value", Value: "1", At: time.Unix(2, 0)},
		},
	}
	for range 2 {
		if err := c.write(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	all, err := j.Decisions(t.Context())
	if err != nil || len(all) != 2 || all[1].Outcome != journal.Standing || !all[0].Carried || all[1].Number != 7 {
		t.Errorf("decisions %+v, %v", all, err)
	}
}
