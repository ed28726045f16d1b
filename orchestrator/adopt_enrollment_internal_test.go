package orchestrator

import (
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

func TestEnrolledAs(t *testing.T) {
	central := merge.Face{Objects: map[merge.Ref]merge.Object{}}
	put := func(kind merge.Kind, uid, program, status string) {
		ref := merge.Ref{Kind: kind, UID: uid}
		central.Objects[ref] = merge.Object{Ref: ref, Fields: map[string]string{merge.FieldProgram: program, merge.FieldStatus: status}}
	}
	put(merge.Enrollment, "Active", "Malaria", "ACTIVE")
	put(merge.Enrollment, "Completed", "Malaria", "COMPLETED")
	put(merge.Enrollment, "Cancelled", "Malaria", "CANCELLED")
	put(merge.Enrollment, "Elsewhere", "Nutrition", "ACTIVE")
	put(merge.Event, "Visit", "Malaria", "ACTIVE")
	for _, tc := range []struct{ code, uid, program, want string }{
		{"E1015", "Kit", "Malaria", "at central it is enrollment Active; "},
		{"E1016", "Kit", "Malaria", "at central it is enrollment Active, Completed; "},
		{"E1016", "Active", "Malaria", "at central it is enrollment Completed; "},
		{"E1015", "Kit", "Tuberculosis", ""},
		{"E1064", "Kit", "Malaria", ""},
	} {
		no := journal.Change{Code: tc.code}
		no.Ref, no.Content = merge.Ref{Kind: merge.Enrollment, UID: tc.uid}, map[string]string{merge.FieldProgram: tc.program}
		if got := enrolledAs(no, central); got != tc.want {
			t.Errorf("%s of %s in %s: %q, want %q", tc.code, tc.uid, tc.program, got, tc.want)
		}
	}
}
