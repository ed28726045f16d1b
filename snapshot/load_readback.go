package snapshot

import (
	"context"
	"errors"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// deleteTombstones deletes on the target what central had deleted, where the target still has it. An error
// report is no error here: what is not there needs no deleting.
func (b *trackerBatch) deleteTombstones(ctx context.Context) error {
	var deleted dhis2api.TrackerPayload
	for _, entity := range b.entities {
		if entity.Deleted {
			deleted.TrackedEntities = append(deleted.TrackedEntities, &dhis2api.TrackedEntity{TrackedEntity: entity.TrackedEntity})
			continue
		}
		for _, enrollment := range entity.Enrollments {
			if enrollment.Deleted {
				deleted.Enrollments = append(deleted.Enrollments, &dhis2api.Enrollment{Enrollment: enrollment.Enrollment})
				continue
			}
			for _, event := range enrollment.Events {
				if event.Deleted {
					deleted.Events = append(deleted.Events, &dhis2api.Event{Event: event.Event})
				}
			}
		}
	}
	for _, event := range b.events {
		if event.Deleted {
			deleted.Events = append(deleted.Events, &dhis2api.Event{Event: event.Event})
		}
	}
	b.result.receipt.count(merge.TrackedEntity).Taken += int64(len(deleted.TrackedEntities))
	b.result.receipt.count(merge.TrackedEntity).Deleted += int64(len(deleted.TrackedEntities))
	b.result.receipt.count(merge.Enrollment).Taken += int64(len(deleted.Enrollments))
	b.result.receipt.count(merge.Enrollment).Deleted += int64(len(deleted.Enrollments))
	b.result.receipt.count(merge.Event).Taken += int64(len(deleted.Events))
	b.result.receipt.count(merge.Event).Deleted += int64(len(deleted.Events))
	if deleted.Empty() {
		return nil
	}
	options := importOptions()
	options.Strategy = dhis2api.ImportStrategyDelete
	_, err := b.local.Import(ctx, deleted, options)
	var unknown *dhis2api.UnknownOutcomeError
	if errors.As(err, &unknown) {
		_, err = b.local.Import(ctx, deleted, options)
	}
	return err
}

// readBack reads what the target now has of the batch, sets owners that differ, and accounts for every
// object that was sent.
func (b *trackerBatch) readBack(ctx context.Context) error {
	there := map[merge.Ref]bool{}
	if err := b.readBackEntities(ctx, there); err != nil {
		return err
	}
	if err := b.readBackEvents(ctx, there); err != nil {
		return err
	}
	for kind, one := range objectsOf(b.sent) {
		ref := refOfKind(kind, uidOf(one))
		count := b.result.receipt.count(ref.Kind)
		count.Taken++
		switch {
		case !there[ref]:
			count.Refused++
			b.result.receipt.Refused = append(b.result.receipt.Refused, b.refusal(ref))
		case b.relaxed[ref]:
			count.Relaxed++
			fallthrough
		default:
			count.Loaded++
			b.noteUnchanged(ref)
		}
	}
	return nil
}

func (b *trackerBatch) refusal(ref merge.Ref) Refusal {
	refusal := Refusal{Kind: ref.Kind, UID: ref.UID, Reason: "the server did not store it and gave no reason"}
	if problem := b.problems[ref]; problem.Code != "" {
		refusal.Code = problem.Code
		refusal.Reason, _ = dhis2api.Explain(problem.Code, problem.Args)
	}
	return refusal
}

// noteUnchanged names an object that the target has in an earlier form because it refuses the taken one.
func (b *trackerBatch) noteUnchanged(ref merge.Ref) {
	if problem := b.problems[ref]; problem.Code != "" && !b.relaxed[ref] {
		reason, _ := dhis2api.Explain(problem.Code, problem.Args)
		b.omit(ref.Kind, ref.UID, "", "stays as the server has it: "+problem.Code+" "+reason)
	}
}

func (b *trackerBatch) readBackEntities(ctx context.Context, there map[merge.Ref]bool) error {
	uids := make([]string, 0, len(b.sent.TrackedEntities))
	taken := map[string]*dhis2api.TrackedEntity{}
	for _, entity := range b.entities {
		taken[entity.TrackedEntity] = entity
	}
	for _, entity := range b.sent.TrackedEntities {
		uids = append(uids, entity.TrackedEntity)
	}
	found, err := b.entitiesByID(ctx, uids)
	if err != nil {
		return err
	}
	var moved []string
	for _, uid := range uids {
		if found[uid] == nil {
			continue
		}
		transferred, err := b.transferOwners(ctx, taken[uid], found[uid])
		if err != nil {
			return err
		}
		if transferred {
			moved = append(moved, uid)
		}
	}
	again, err := b.entitiesByID(ctx, moved)
	if err != nil {
		return err
	}
	for _, uid := range uids {
		entity := found[uid]
		if again[uid] != nil {
			entity = again[uid]
		}
		if entity == nil {
			continue
		}
		there[merge.Ref{Kind: merge.TrackedEntity, UID: uid}] = true
		for _, enrollment := range entity.Enrollments {
			there[merge.Ref{Kind: merge.Enrollment, UID: enrollment.Enrollment}] = true
			for _, event := range enrollment.Events {
				there[merge.Ref{Kind: merge.Event, UID: event.Event}] = true
			}
		}
	}
	return nil
}

func (b *trackerBatch) entitiesByID(ctx context.Context, uids []string) (map[string]*dhis2api.TrackedEntity, error) {
	found := map[string]*dhis2api.TrackedEntity{}
	if len(uids) == 0 {
		return found, nil
	}
	lookup := dhis2api.Lookup{Program: b.program, Fields: withoutRelationships(dhis2api.TrackedEntityFields)}
	for entity, err := range b.local.TrackedEntitiesByID(ctx, uids, lookup) {
		if err != nil {
			return nil, fmt.Errorf("read back tracked entities: %w", err)
		}
		found[entity.TrackedEntity] = entity
	}
	return found, nil
}

// transferOwners sets the owners that central has. An import makes the first enrollment's org unit the
// owner, and a person may have moved since.
func (b *trackerBatch) transferOwners(ctx context.Context, taken, found *dhis2api.TrackedEntity) (bool, error) {
	owners := map[string]string{}
	for _, owner := range found.ProgramOwners {
		owners[owner.Program] = owner.OrgUnit
	}
	transferred := false
	for _, owner := range taken.ProgramOwners {
		has, owned := owners[owner.Program]
		if !owned || has == owner.OrgUnit || owner.OrgUnit == "" {
			continue
		}
		err := b.local.TransferOwnership(ctx, found.TrackedEntity, owner.Program, owner.OrgUnit)
		switch {
		case isStatus(err):
			b.omit(merge.TrackedEntity, found.TrackedEntity, merge.OwnerPrefix+owner.Program, "the server does not transfer it to "+owner.OrgUnit)
		case err != nil:
			return false, fmt.Errorf("transfer tracked entity %s: %w", found.TrackedEntity, err)
		default:
			transferred = true
		}
	}
	return transferred, nil
}

func (b *trackerBatch) readBackEvents(ctx context.Context, there map[merge.Ref]bool) error {
	if len(b.sent.Events) == 0 {
		return nil
	}
	uids := make([]string, 0, len(b.sent.Events))
	for _, event := range b.sent.Events {
		uids = append(uids, event.Event)
	}
	found := map[string]*dhis2api.Event{}
	lookup := dhis2api.Lookup{Program: b.program, Fields: withoutRelationships(dhis2api.EventFields)}
	for event, err := range b.local.EventsByID(ctx, uids, lookup) {
		if err != nil {
			return fmt.Errorf("read back events: %w", err)
		}
		found[event.Event] = event
	}
	for _, uid := range uids {
		event := found[uid]
		if event == nil {
			continue
		}
		there[merge.Ref{Kind: merge.Event, UID: uid}] = true
	}
	return nil
}
