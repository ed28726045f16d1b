package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// factLeaving is set before the first record leaves the kit.
const factLeaving = "leaving"

// leave removes from the kit what the trip before left there and central did not give this time: deleted at central,
// moved away, or out of the scope. Then it makes the kit forget what was deleted on it, or its uids could never
// come back. What is carried stays, and so does what the trip before does not know, for it may have come from a
// tablet in this very moment: then the record is looked at once more, and travels on.
//
// It may be called again after an interruption: what is gone is gone.
func (p *preparation) leave(ctx context.Context, taken *snapshot.Snapshot) error {
	before, err := p.earlier(ctx)
	if err != nil || before == nil {
		return err
	}
	p.kit.options.Progress.Step("removing from the kit what central no longer has, or the scope")
	l := &leaving{preparation: p, rules: rulesOf(before.snapshot.Scope())}
	if _, err = p.indexTaken(ctx, taken); err != nil {
		return err
	}
	if l.carried, err = carriedRefs(ctx, p.trip.journal); err != nil {
		return err
	}
	if begun, err := p.trip.journal.Fact(ctx, factLeaving); err != nil {
		return err
	} else if begun != "" {
		l.again = true
	}
	roots, err := l.candidates(ctx)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(roots, batchRoots) {
		if err := l.batch(ctx, batch); err != nil {
			return err
		}
	}
	if err := l.carryLate(ctx); err != nil {
		return err
	}
	return l.purge(ctx)
}

// leaving is one run of leave.
type leaving struct {
	*preparation
	carried map[merge.Ref]bool
	rules   merge.Rules
	// again: an interrupted run has removed some of it already.
	again bool
	// late are the roots that hold what the trip before does not know.
	late []root
}

// candidates are the roots that the trip before left on the kit otherwise than central gave them now.
func (l *leaving) candidates(ctx context.Context) ([]root, error) {
	found := map[root]bool{}
	err := l.past.stood.against(ctx, l.taken, func(d difference) error {
		found[d.root] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	home, err := changedRoots(ctx, l.past.trip.journal)
	if err != nil {
		return nil, err
	}
	maps.Copy(found, home)
	maps.DeleteFunc(found, func(r root, _ bool) bool { return l.carried[rootRef(r)] })
	roots := slices.Collect(maps.Keys(found))
	return roots, l.past.stood.inOrder(ctx, roots)
}

// departures are what goes from the kit in one batch.
type departures struct {
	deleted []merge.Ref
	emptied []journal.Change
}

func (l *leaving) batch(ctx context.Context, roots []root) error {
	left, err := l.past.left(ctx, roots)
	if err != nil {
		return err
	}
	taken, err := l.taken.faces(ctx, roots)
	if err != nil {
		return wrongKey(err)
	}
	// With the ties: a deletion takes along the relationships of what is deleted.
	kit, err := read(ctx, l.local, roots, nil, map[root]merge.Face{})
	if err != nil {
		return err
	}
	var leaves departures
	for _, r := range roots {
		if err := l.judge(ctx, r, left[r], taken[r], kit, &leaves); err != nil {
			return err
		}
	}
	if len(leaves.deleted)+len(leaves.emptied) == 0 {
		return nil
	}
	if err := l.trip.journal.SetFact(ctx, factLeaving, "begun"); err != nil {
		return err
	}
	l.receipt.RemovedRecords += len(leaves.deleted) + len(leaves.emptied)
	return l.carryOut(ctx, leaves, kit)
}

// judge finds what of a root goes.
func (l *leaving) judge(ctx context.Context, r root, left, taken merge.Face, kit *holding, leaves *departures) error {
	there := kit.faces[r]
	if there.Unreadable != "" {
		l.warn(fmt.Errorf("%s stays on the kit: %s", r, there.Unreadable))
		return nil
	}
	unknown := l.unknown(left, there)
	goes := map[merge.Ref]bool{}
	for ref, object := range there.Objects {
		stood, known := left.Objects[ref]
		given, stays := taken.Objects[ref]
		if !known || stays && !disowned(stood, given) || l.carried[ref] || ref.Kind == merge.Relationship && r.kind != rootRelationship {
			continue
		}
		if above, down := left.Objects[object.Parent], taken.Objects[object.Parent]; above.UID != "" && down.UID == "" {
			continue // it goes with its parent
		}
		if unknown[ref] {
			l.late = append(l.late, r)
			return nil
		}
		goes[ref] = true
	}
	tied, err := l.tied(ctx, r, goes, kit)
	if err != nil {
		return err
	}
	if tied != (merge.Ref{}) {
		l.late = append(l.late, r, root{kind: rootRelationship, uid: tied.UID})
		return nil
	}
	for ref := range goes {
		leaves.deleted = append(leaves.deleted, ref)
	}
	leaves.emptied = append(leaves.emptied, emptied(left, taken, there, l.rules)...)
	return nil
}

// disowned tells whether somebody is in fewer programs than the trip before left him in. DHIS2 lets go of an owner only
// with the tracked entity (2.41 to 2.43), and of a program only when nobody is owned in it: so he goes, and is loaded
// again.
func disowned(left, given merge.Object) bool {
	for field, owner := range left.Fields {
		if strings.HasPrefix(field, merge.OwnerPrefix) && owner != "" && given.Fields[field] == "" {
			return true
		}
	}
	return false
}

// unknown are the objects that the kit has otherwise than the trip before left them, and all above them.
func (l *leaving) unknown(left, there merge.Face) map[merge.Ref]bool {
	unknown := map[merge.Ref]bool{}
	for _, change := range merge.Compare(merge.Record{Taken: left, Loaded: left, Local: there, Central: left}, l.rules) {
		if change.Ref.Kind == merge.Relationship || change.Verb == merge.Delete || change.Verdict == merge.OutOfScope {
			continue
		}
		for ref := change.Ref; ref != (merge.Ref{}) && !unknown[ref]; ref = there.Objects[ref].Parent {
			unknown[ref] = true
		}
	}
	return unknown
}

// tied is a relationship that would go with what goes, and must not: it is not home, or the trip before does not
// know it. The zero ref when there is none.
func (l *leaving) tied(ctx context.Context, r root, goes map[merge.Ref]bool, kit *holding) (merge.Ref, error) {
	if len(goes) == 0 {
		return merge.Ref{}, nil
	}
	face := merge.Face{Objects: maps.Clone(kit.faces[r].Objects)}
	for gone := range goes {
		if err := kit.addTiesOf(ctx, gone, &face); err != nil {
			return merge.Ref{}, err
		}
	}
	for ref, object := range face.Objects {
		if ref.Kind != merge.Relationship || goes[ref] || !touches(object, goes, kit.faces[r]) {
			continue
		}
		tie := root{kind: rootRelationship, uid: ref.UID}
		left, err := l.past.left(ctx, []root{tie})
		if err != nil {
			return ref, err
		}
		if _, known := left[tie].Objects[ref]; known && !l.carried[ref] {
			continue
		}
		// What is read of a person with all that is deleted shows deleted relationships too, as if they stood.
		if err := kit.ask(ctx, ref); err == nil || !dhis2api.NotFound(err) {
			return ref, err
		}
	}
	return merge.Ref{}, nil
}

// touches tells whether an end of a relationship goes, by itself or with what it hangs on.
func touches(relationship merge.Object, goes map[merge.Ref]bool, face merge.Face) bool {
	for _, field := range []string{merge.FieldFrom, merge.FieldTo} {
		end, _ := parseEnd(relationship.Fields[field])
		for ref := end; ref != (merge.Ref{}); ref = face.Objects[ref].Parent {
			if goes[ref] {
				return true
			}
		}
	}
	return false
}

// emptied are the values that go from objects which stay: central has them no more, and the kit still has them as the
// trip before left them.
func emptied(left, taken, there merge.Face, rules merge.Rules) []journal.Change {
	var changes []journal.Change
	for ref, given := range taken.Objects {
		object, stands := there.Objects[ref]
		if !stands {
			continue
		}
		for field, value := range left.Objects[ref].Fields {
			if merge.IsUID(field) && value != "" && given.Fields[field] == "" && object.Fields[field] == value && !rules.Skip(object, field) {
				change := merge.Change{Ref: ref, Parent: object.Parent, Verb: merge.Update, Field: field, Local: value}
				changes = append(changes, journal.Change{Change: change, Content: map[string]string{field: ""}})
			}
		}
	}
	slices.SortFunc(changes, func(a, b journal.Change) int { return a.Ref.Compare(b.Ref) })
	return changes
}

// carryOut removes from the kit what goes.
func (l *leaving) carryOut(ctx context.Context, leaves departures, kit *holding) error {
	var gone []objectChanges
	var values dhis2api.DataValueSet
	var completions []*dhis2api.Completion
	for _, ref := range leaves.deleted {
		switch ref.Kind {
		case merge.DataValue:
			value := *kit.dataValues[ref.UID]
			value.Created, value.LastUpdated = "", ""
			values.DataValues = append(values.DataValues, &value)
		case merge.Completion:
			completions = append(completions, kit.completions[ref.UID])
		default:
			gone = append(gone, objectChanges{ref: ref, verb: merge.Delete})
		}
	}
	if err := l.remove(ctx, deletions(gone)); err != nil {
		return err
	}
	if err := l.empty(ctx, upserts(byObject(leaves.emptied), kit, kit)); err != nil {
		return err
	}
	options := dhis2api.DataValueImportOptions{Strategy: dhis2api.ImportStrategyDelete, SkipAudit: true, Force: true}
	if len(values.DataValues) > 0 {
		report, err := l.local.ImportDataValues(ctx, values, options)
		if err != nil {
			return fmt.Errorf("remove values: %w", err)
		}
		for _, conflict := range report.Conflicts {
			l.warn(fmt.Errorf("the kit does not let go of a value that is out of the scope: %s", conflict.Code))
		}
	}
	for _, completion := range completions {
		if err := l.local.DeleteCompletion(ctx, *completion); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes objects on the kit, each with all that hangs on it. What is gone already is no error.
func (l *leaving) remove(ctx context.Context, gone dhis2api.TrackerPayload) error {
	if gone.Empty() {
		return nil
	}
	options := dhis2api.ImportOptions{Strategy: dhis2api.ImportStrategyDelete, SkipSideEffects: true, SkipRuleEngine: true}
	report, err := l.local.Import(ctx, gone, options)
	var unknown *dhis2api.UnknownOutcomeError
	if errors.As(err, &unknown) {
		report, err = l.local.Import(ctx, gone, options)
	}
	if err != nil {
		return fmt.Errorf("remove records: %w", err)
	}
	for _, problem := range report.Errors {
		if class := dhis2api.ClassOf(problem.Code); class != dhis2api.ClassDeleted && class != dhis2api.ClassMissing && class != dhis2api.ClassParent {
			reason, _ := dhis2api.Explain(problem.Code, problem.Args)
			l.warn(fmt.Errorf("%s %s stays on the kit, which does not let go of it: %s %s", problem.Kind, problem.UID, problem.Code, reason))
		}
	}
	return nil
}

// empty takes values off the kit's records, against its rules where they are in the way: central did.
func (l *leaving) empty(ctx context.Context, emptied dhis2api.TrackerPayload) error {
	if emptied.Empty() {
		return nil
	}
	options := dhis2api.ImportOptions{SkipSideEffects: true, SkipRuleEngine: true}
	report, err := l.local.Import(ctx, emptied, options)
	if err == nil && len(report.Errors) > 0 {
		options.ValidationMode = "SKIP"
		_, err = l.local.Import(ctx, emptied, options)
	}
	if err != nil {
		return fmt.Errorf("empty values: %w", err)
	}
	return nil
}

// carryLate looks once more at the roots that hold what the trip before does not know, and takes over what is not
// home. After an interruption that cannot be done: what the first run removed would look deleted by a tablet.
func (l *leaving) carryLate(ctx context.Context) error {
	if len(l.late) == 0 {
		return nil
	}
	if l.again {
		for _, r := range l.late {
			l.warn(fmt.Errorf("%s stays on the kit: it was changed there while prepare was interrupted", r))
		}
		return nil
	}
	slices.SortFunc(l.late, func(a, b root) int { return cmp.Compare(a.String(), b.String()) })
	late := slices.Compact(l.late)
	carried, err := l.unfinished(ctx, l.past.trip, func(*comparison) ([]root, error) { return late, nil })
	if err != nil {
		return err
	}
	return carried.write(ctx, l.trip.journal)
}

// purge makes the kit forget what was deleted on it. By now every deletion there is home, is carried, or was ours.
func (l *leaving) purge(ctx context.Context) error {
	if begun, err := l.trip.journal.Fact(ctx, factLeaving); err != nil || begun == "" {
		return err
	}
	err := l.local.PurgeDeleted(ctx)
	if err != nil && forbidden(err) {
		l.warn(WithHint(err, "what left the kit cannot come back before it has: give the local account F_PERFORM_MAINTENANCE"))
		return nil
	}
	return err
}
