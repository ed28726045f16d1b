package orchestrator

import (
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// enrolledAs names the enrollments at central that stand against one from the kit, so that both can be looked at side by
// side; empty where that was not the reason. DHIS2 2.41 to 2.43: E1015 is about active enrollments in the program, E1016
// about those that are not cancelled.
func enrolledAs(no journal.Change, central merge.Face) string {
	statuses := map[string][]string{"E1015": {"ACTIVE"}, "E1016": {"ACTIVE", "COMPLETED"}}[no.Code]
	var others []string
	for _, ref := range slices.SortedFunc(maps.Keys(central.Objects), merge.Ref.Compare) {
		fields := central.Objects[ref].Fields
		if ref.Kind == merge.Enrollment && ref != no.Ref && fields[merge.FieldProgram] == no.Content[merge.FieldProgram] &&
			slices.Contains(statuses, fields[merge.FieldStatus]) {
			others = append(others, ref.UID)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return "at central it is enrollment " + strings.Join(others, ", ") + "; "
}
