package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

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
	var adopted, offers []report.SamePerson
	for _, i := range identities {
		same := report.SamePerson{
			Reference: report.Reference{Kind: string(merge.TrackedEntity), UID: i.Person, Person: i.Person},
			AtCentral: i.AtCentral, Attribute: i.Attribute, Adopted: i.Adopted, Number: i.Number, By: i.Who, At: i.At,
			Fields: []report.SameField{}, OnKit: []report.Enrolled{}, Central: []report.Enrolled{},
		}
		if i.Adopted {
			adopted = append(adopted, same)
			continue
		}
		if same.Number, err = c.offered(ctx, i); err != nil {
			return err
		}
		if same.Number == 0 {
			continue
		}
		offers = append(offers, same)
		for at := range result.Conflicts {
			if conflict := &result.Conflicts[at]; i.Attribute == "" && conflict.Person == i.Person {
				conflict.Reason += fmt.Sprintf("; central merged this person into trackedEntity %s, whom you may adopt", i.AtCentral)
			}
		}
	}
	shown, err := shownInLists(c.taken.snapshot)
	if err != nil {
		return err
	}
	private := func(kind, attribute string) bool { return !result.Names && slices.Contains(shown[kind], attribute) }
	// Apart, for somebody adopted may be offered once more as somebody else.
	for _, people := range [][]report.SamePerson{offers, adopted} {
		for batch := range slices.Chunk(people, batchRoots) {
			if err := c.sideBySide(ctx, batch, private); err != nil {
				return err
			}
		}
	}
	result.SamePeople = slices.Concat(offers, adopted)
	slices.SortStableFunc(result.SamePeople, func(a, b report.SamePerson) int { return cmp.Compare(a.UID, b.UID) })
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

// sideBySide reads some people at both servers and compares their attributes. private are those whose values are not told.
func (c *comparison) sideBySide(ctx context.Context, people []report.SamePerson, private func(trackedEntityType, attribute string) bool) error {
	roots := make([]root, len(people))
	named := &aliases{atCentral: map[string]string{}}
	for i, same := range people {
		roots[i] = root{kind: rootPerson, uid: same.UID}
		named.atCentral[same.UID] = same.AtCentral
	}
	kit, err := read(ctx, c.local, roots, nil, nil)
	if err != nil {
		return atServer(ctx, Local, c.local.BaseURL(), err)
	}
	central := newHolding(c.central, nil, nil)
	central.aliases = named
	if err := central.read(ctx, roots); err != nil {
		return atServer(ctx, Central, c.central.BaseURL(), err)
	}
	for i, r := range roots {
		same := &people[i]
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
		same.OnKit, same.Central = enrolled(kit.faces[r]), enrolled(central.faces[r])
	}
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

// enrolled lists the enrollments in a person's face, by date.
func enrolled(face merge.Face) []report.Enrolled {
	list := []report.Enrolled{}
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
