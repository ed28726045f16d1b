package snapshot

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// The others are the tracked entities at the far ends of relationships, outside the scope: a mother who lives in the
// next district, say. A relationship cannot stand on the kit without them (DHIS2 2.41 to 2.43: E4012), so they go
// along: who they are, with the attributes of their type, but none of their enrollments and none of their other
// relationships. On the kit one of them may seem to be a tracked entity of its type without any enrollment, so that is
// the Subject.

// othersName is the stream of the others.
const othersName = string(TrackedEntities) + "-others"

// otherFields are what goes along of them. Without their time: should the next trip carry one as its own, he is not
// taken for unchanged.
const otherFields = "trackedEntity,trackedEntityType,orgUnit,inactive,geometry,createdAt,createdAtClient,updatedAtClient,storedBy,attributes"

// others reads them by uid; who is not shown to the account is left out.
func (l Listing) others(ctx context.Context, uids []string) iter.Seq2[*dhis2api.TrackedEntity, error] {
	return func(yield func(*dhis2api.TrackedEntity, error) bool) {
		for person, err := range l.byID(ctx, uids, dhis2api.Lookup{Fields: otherFields}) {
			if err != nil {
				yield(nil, fmt.Errorf("cannot read the tracked entities at the other ends of relationships: %w", err))
				return
			}
			if l.WithoutUnsynchronized {
				l.Scope.Unsynchronized.strip(person)
			}
			if !yield(person, nil) {
				return
			}
		}
	}
}

// entitiesTied are the tracked entities at the ends of a relationship.
func entitiesTied(r *dhis2api.Relationship) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, end := range []*dhis2api.RelationshipItem{r.From, r.To} {
			if kind, uid := end.Ref(); kind == dhis2api.KindTrackedEntity && !yield(uid) {
				return
			}
		}
	}
}

// others takes them, once all relationships are written. They are few, and asked for each time.
func (t *taking) others(ctx context.Context) error {
	if _, done := t.w.Cursor(othersName); done {
		return nil
	}
	carried, err := t.carried(ctx)
	if err != nil {
		return err
	}
	others := newUIDSet()
	for _, part := range t.w.parts {
		if part.Kind != Relationships {
			continue
		}
		for r, err := range eachLine[*dhis2api.Relationship](ctx, t.w.directory, t.w.keys, part) {
			if err != nil {
				return err
			}
			for uid := range entitiesTied(r) {
				if !carried.has(uid) {
					others.add(uid)
				}
			}
		}
	}
	batch := t.w.Batch(othersName)
	defer batch.Abandon()
	for person, err := range t.listing.others(ctx, slices.Sorted(others.all())) {
		if err != nil {
			return err
		}
		t.mention(person)
		if err := batch.Add(TrackedEntities, Subject{TrackedEntityType: person.TrackedEntityType}, person); err != nil {
			return err
		}
	}
	return batch.Commit("", true)
}

// carried are the tracked entities that are written already. Everyone would do, but for those who are known and left
// out because of the date of the scope.
func (t *taking) carried(ctx context.Context) (*uidSet, error) {
	if t.listing.Since == "" {
		return t.everyone, nil
	}
	carried := newUIDSet()
	for _, part := range t.w.parts {
		if part.Kind != TrackedEntities {
			continue
		}
		for person, err := range eachLine[struct{ TrackedEntity string }](ctx, t.w.directory, t.w.keys, part) {
			if err != nil {
				return nil, err
			}
			carried.add(person.TrackedEntity)
		}
	}
	return carried, nil
}

// takes tells whether a relationship is taken.
func (t *taking) takes(r *dhis2api.Relationship) bool {
	return t.possible == nil || t.possible[r.RelationshipType]
}

// possibleTies are the types of relationships that can stand on the kit: those that need no program outside the scope.
// Nil stands for all, where the account may not read the types.
func possibleTies(ctx context.Context, central *dhis2api.Client, scope *Scope) (map[string]bool, error) {
	type end struct{ Program, ProgramStage dhis2api.Ref }
	inScope := func(e end) bool {
		known := func(p Program) bool {
			ofStage := slices.ContainsFunc(p.Stages, func(s Stage) bool { return s.ID == e.ProgramStage.ID })
			return (e.Program.ID == "" || e.Program.ID == p.ID) && (e.ProgramStage.ID == "" || ofStage)
		}
		return e == end{} || slices.ContainsFunc(scope.Programs, known)
	}
	possible := map[string]bool{}
	query := dhis2api.ListQuery{Fields: "id,fromConstraint[program[id],programStage[id]],toConstraint[program[id],programStage[id]]"}
	kinds := dhis2api.ListAs[struct {
		ID                           string
		FromConstraint, ToConstraint end
	}](ctx, central, "relationshipTypes", query)
	for kind, err := range kinds {
		if isDenied(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("relationship types: %w", err)
		}
		possible[kind.ID] = inScope(kind.FromConstraint) && inScope(kind.ToConstraint)
	}
	return possible, nil
}
