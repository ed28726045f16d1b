package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// addSamePeople lists who on the kit may be, or is by somebody's word, a person whom central holds under another uid, both side
// by side. An offer without a change that is held for it is over.
func (c *comparison) addSamePeople(ctx context.Context, result *report.Report) error {
	identities, err := c.trip.journal.Identities(ctx)
	if err != nil || len(identities) == 0 {
		return err
	}
	shown, err := shownInLists(c.taken.snapshot)
	if err != nil {
		return err
	}
	for _, i := range identities {
		same := report.SamePerson{
			Reference: report.Reference{Kind: string(merge.TrackedEntity), UID: i.Person, Person: i.Person},
			AtCentral: i.AtCentral, Attribute: i.Attribute, Adopted: i.Adopted, Number: i.Number, By: i.Who, At: i.At,
			Fields: []report.SameField{}, OnKit: []report.Enrolled{}, Central: []report.Enrolled{},
		}
		if !i.Adopted {
			if same.Number, err = c.offered(ctx, i); err != nil {
				return err
			}
			if same.Number == 0 {
				continue
			}
		}
		if err := c.sideBySide(ctx, &same, func(kind, attribute string) bool {
			return !result.Names && slices.Contains(shown[kind], attribute)
		}); err != nil {
			return err
		}
		result.SamePeople = append(result.SamePeople, same)
		if i.Adopted || i.Attribute != "" {
			continue
		}
		for at := range result.Conflicts {
			if conflict := &result.Conflicts[at]; conflict.Person == i.Person {
				conflict.Reason += fmt.Sprintf("; central merged this person into trackedEntity %s, whom you may adopt", i.AtCentral)
			}
		}
	}
	return nil
}

// offered is the number of the change that is held and may be decided by adopting; 0 where there is none.
func (c *comparison) offered(ctx context.Context, identity journal.Identity) (int, error) {
	r := root{kind: rootPerson, uid: identity.Person}
	rows, err := rowsUnder(ctx, c.trip.journal, []root{r})
	if err != nil {
		return 0, err
	}
	number := 0
	for _, row := range rows[r] {
		ofMerge := (row.State == journal.Conflict || row.State == journal.Unclear) && row.Circumstance == circumstanceGone && identity.Attribute == ""
		ofValue := row.State == journal.Refused && row.Ref == rootRef(r) && row.Verb == merge.Create
		if !ofMerge && !ofValue {
			continue
		}
		last, known, err := c.trip.journal.LastShown(ctx, row.Ref, row.Field)
		if err != nil {
			return 0, err
		}
		if known && (number == 0 || last.Number < number) {
			number = last.Number
		}
	}
	return number, nil
}

// sideBySide reads both people and compares their attributes. private are those whose values are not told.
func (c *comparison) sideBySide(ctx context.Context, same *report.SamePerson, private func(trackedEntityType, attribute string) bool) error {
	r := root{kind: rootPerson, uid: same.UID}
	kit, err := read(ctx, c.local, []root{r}, nil, nil)
	if err != nil {
		return atServer(ctx, Local, c.local.BaseURL(), err)
	}
	central := newHolding(c.central, nil, nil)
	central.aliases = &aliases{atCentral: map[string]string{same.UID: same.AtCentral}}
	if err := central.read(ctx, []root{r}); err != nil {
		return atServer(ctx, Central, c.central.BaseURL(), err)
	}
	here, there := kit.faces[r].Objects[rootRef(r)], central.faces[r].Objects[rootRef(r)]
	for _, field := range fieldsOf(here.Fields, there.Fields) {
		if !merge.IsUID(field) {
			continue
		}
		compared := report.SameField{Field: field, Agreement: agreement(here.Fields[field], there.Fields[field])}
		if !private(cmp.Or(here.Fields["trackedEntityType"], there.Fields["trackedEntityType"]), field) {
			compared.Local, compared.Central = here.Fields[field], there.Fields[field]
		}
		same.Fields = append(same.Fields, compared)
	}
	same.OnKit, same.Central = enrolled(kit.persons[same.UID], kit.faces[r]), enrolled(central.persons[same.UID], central.faces[r])
	return nil
}

func agreement(here, there string) report.Agreement {
	switch {
	case here == there:
		return report.Alike
	case there == "":
		return report.OnKitAlone
	case here == "":
		return report.AtCentralAlone
	}
	return report.Different
}

// enrolled lists the enrollments of a person in one face, by date.
func enrolled(person *dhis2api.TrackedEntity, face merge.Face) []report.Enrolled {
	list := []report.Enrolled{}
	if person == nil {
		return list
	}
	for _, ref := range slices.SortedFunc(maps.Keys(face.Objects), merge.Ref.Compare) {
		if ref.Kind != merge.Enrollment {
			continue
		}
		fields := face.Objects[ref].Fields
		one := report.Enrolled{
			UID: ref.UID, Program: fields[merge.FieldProgram], OrgUnit: fields[merge.FieldOrgUnit], Status: fields[merge.FieldStatus], EnrolledAt: fields["enrolledAt"],
		}
		for _, object := range face.Objects {
			if object.Kind == merge.Event && object.Parent == ref {
				one.Events++
			}
		}
		list = append(list, one)
	}
	slices.SortStableFunc(list, func(a, b report.Enrolled) int { return cmp.Compare(a.EnrolledAt, b.EnrolledAt) })
	return list
}
