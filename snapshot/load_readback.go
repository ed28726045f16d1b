package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

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

// readBack sets owners that differ and accounts for every object that was sent. What passed
// validation and was stored is there: the loaded face is going to be read and compared anyway. Everything
// else is looked up.
func (b *trackerBatch) readBack(ctx context.Context) error {
	there := maps.Clone(b.stored)
	if err := b.readBackEntities(ctx, there); err != nil {
		return err
	}
	if err := b.readBackEvents(ctx, there); err != nil {
		return err
	}
	var refused []merge.Ref
	for kind, one := range objectsOf(b.sent) {
		ref := refOfKind(kind, uidOf(one))
		count := b.result.receipt.count(ref.Kind)
		count.Taken++
		switch {
		case !there[ref]:
			count.Refused++
			refused = append(refused, ref)
			b.result.receipt.Refused = append(b.result.receipt.Refused, b.refusal(ref, one))
		case b.relaxed[ref]:
			count.Relaxed++
			fallthrough
		default:
			count.Loaded++
			b.noteUnchanged(ref)
		}
	}
	files := slices.DeleteFunc(b.named, func(file *namedFile) bool { return slices.Contains(refused, file.ref) })
	if err := b.checkFiles(ctx, files, &b.result.receipt); err != nil {
		return err
	}
	b.nameOmitted()
	return nil
}

// nameOmitted says whose the objects are of which something was left out.
func (b *trackerBatch) nameOmitted() {
	if len(b.result.receipt.Omitted) == 0 {
		return
	}
	all := map[merge.Ref]Whose{}
	for kind, one := range objectsOf(dhis2api.TrackerPayload{TrackedEntities: b.entities, Events: b.events}) {
		all[refOfKind(kind, uidOf(one))] = whose(one)
	}
	for i := range b.result.receipt.Omitted {
		omission := &b.result.receipt.Omitted[i]
		omission.Whose = all[merge.Ref{Kind: omission.Kind, UID: omission.UID}]
	}
}

// whose says whose the only object in a payload is.
func whose(one dhis2api.TrackerPayload) Whose {
	day := func(time string) string { return time[:min(len(time), len("2026-05-04"))] }
	for _, entity := range one.TrackedEntities {
		return Whose{Person: entity.TrackedEntity, OrgUnit: entity.OrgUnit}
	}
	for _, enrollment := range one.Enrollments {
		return Whose{Person: enrollment.TrackedEntity, OrgUnit: enrollment.OrgUnit, Date: day(enrollment.EnrolledAt)}
	}
	for _, event := range one.Events {
		return Whose{Person: event.TrackedEntity, OrgUnit: event.OrgUnit, Date: day(cmp.Or(event.OccurredAt, event.ScheduledAt))}
	}
	for _, relationship := range one.Relationships {
		if kind, uid := relationship.From.Ref(); kind == dhis2api.KindTrackedEntity {
			return Whose{Person: uid}
		}
	}
	return Whose{}
}

func (b *trackerBatch) refusal(ref merge.Ref, one dhis2api.TrackerPayload) Refusal {
	refusal := Refusal{Kind: ref.Kind, UID: ref.UID, Whose: whose(one), Reason: "the server did not store it and gave no reason"}
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

// readBackEntities looks without a program: with one, a person whose enrollment was refused would seem not to
// be there.
func (b *trackerBatch) readBackEntities(ctx context.Context, there map[merge.Ref]bool) error {
	taken := map[string]*dhis2api.TrackedEntity{}
	for _, entity := range b.entities {
		taken[entity.TrackedEntity] = entity
	}
	var uids []string
	sent := map[string]bool{}
	for _, entity := range b.sent.TrackedEntities {
		sent[entity.TrackedEntity] = true
	}
	for uid, standing := range b.stood {
		if sent[uid] {
			continue
		}
		if err := b.transferOwners(ctx, taken[uid], standing); err != nil {
			return err
		}
	}
	for _, entity := range b.sent.TrackedEntities {
		if !b.allStored(entity) || !b.ownersFollow(taken[entity.TrackedEntity], entity) {
			uids = append(uids, entity.TrackedEntity)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	for entity, err := range b.local.TrackedEntitiesByID(ctx, uids, dhis2api.Lookup{Fields: thereFields}) {
		if err != nil {
			return fmt.Errorf("read back tracked entities: %w", err)
		}
		there[merge.Ref{Kind: merge.TrackedEntity, UID: entity.TrackedEntity}] = true
		for _, enrollment := range entity.Enrollments {
			there[merge.Ref{Kind: merge.Enrollment, UID: enrollment.Enrollment}] = true
			for _, event := range enrollment.Events {
				there[merge.Ref{Kind: merge.Event, UID: event.Event}] = true
			}
		}
		if err := b.transferOwners(ctx, taken[entity.TrackedEntity], entity); err != nil {
			return err
		}
	}
	return nil
}

// allStored tells whether a tracked entity and all that is in it passed validation and was stored.
func (b *trackerBatch) allStored(entity *dhis2api.TrackedEntity) bool {
	for kind, one := range objectsOf(dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{entity}}) {
		if !b.stored[refOfKind(kind, uidOf(one))] {
			return false
		}
	}
	return true
}

// ownersFollow tells whether the owners come out as central has them by the import alone, which makes the
// org unit of the first enrollment in a program the owner. Of one that was there before that is not known.
func (b *trackerBatch) ownersFollow(taken, sent *dhis2api.TrackedEntity) bool {
	for _, owner := range taken.ProgramOwners {
		for _, enrollment := range sent.Enrollments {
			if enrollment.Program == owner.Program && enrollment.OrgUnit != owner.OrgUnit {
				return false
			}
		}
	}
	return b.stood[sent.TrackedEntity] == nil
}

// transferOwners sets the owners that central has. An import makes the first enrollment's org unit the
// owner, and a person may have moved since.
func (b *trackerBatch) transferOwners(ctx context.Context, taken, found *dhis2api.TrackedEntity) error {
	owners := map[string]string{}
	for _, owner := range found.ProgramOwners {
		owners[owner.Program] = owner.OrgUnit
	}
	for _, owner := range taken.ProgramOwners {
		has, owned := owners[owner.Program]
		if !owned || has == owner.OrgUnit || owner.OrgUnit == "" {
			continue
		}
		err := b.local.TransferOwnership(ctx, found.TrackedEntity, owner.Program, owner.OrgUnit)
		if isStatus(err) {
			b.omit(merge.TrackedEntity, found.TrackedEntity, merge.OwnerPrefix+owner.Program, "the server does not transfer it to "+owner.OrgUnit)
			continue
		}
		if err != nil {
			return fmt.Errorf("transfer tracked entity %s: %w", found.TrackedEntity, err)
		}
	}
	return nil
}

func (b *trackerBatch) readBackEvents(ctx context.Context, there map[merge.Ref]bool) error {
	if len(b.sent.Events) == 0 {
		return nil
	}
	uids := make([]string, 0, len(b.sent.Events))
	for _, event := range b.sent.Events {
		if !b.stored[merge.Ref{Kind: merge.Event, UID: event.Event}] {
			uids = append(uids, event.Event)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	for event, err := range b.local.EventsByID(ctx, uids, dhis2api.Lookup{Program: b.program, Fields: "event"}) {
		if err != nil {
			return fmt.Errorf("read back events: %w", err)
		}
		there[merge.Ref{Kind: merge.Event, UID: event.Event}] = true
	}
	return nil
}
