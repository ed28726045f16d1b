package snapshot

import (
	"context"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

const (
	standingNotes       = "notes[note,value]"
	standingEventFields = "event,program,programStage,enrollment,trackedEntity,orgUnit,status,occurredAt,scheduledAt,completedAt," +
		"followUp,attributeOptionCombo,assignedUser,geometry,dataValues[dataElement,value]," + standingNotes
	standingFields = "trackedEntity,trackedEntityType,orgUnit,inactive,geometry,attributes[attribute,value],programOwners[program,orgUnit]," +
		"enrollments[enrollment,trackedEntity,program,orgUnit,status,enrolledAt,occurredAt,completedAt,followUp,attributeOptionCombo," +
		"geometry," + standingNotes + ",events[" + standingEventFields + "]]"
)

// findEmpty finds out of what the target has nothing at all, so that nothing has to be looked for there: one
// question a tracked entity type or program without registration. A server that does not answer it is looked at
// record by record.
func (l *loader) findEmpty(ctx context.Context, scope *Scope) error {
	one := dhis2api.Paging{PageSize: 1}
	for _, kind := range scope.TrackedEntityTypes {
		one.Fields = "trackedEntity"
		query := dhis2api.TrackedEntityQuery{TrackedEntityType: kind.ID, OrgUnitMode: dhis2api.OrgUnitModeAccessible, Paging: one}
		empty, err := isEmpty(l.local.TrackedEntities(ctx, query))
		if err != nil {
			return err
		}
		l.empty[kind.ID] = empty
		for _, program := range scope.Programs {
			if program.TrackedEntityType == kind.ID {
				l.empty[program.ID] = empty
			}
		}
	}
	for _, program := range scope.Programs {
		if program.Registers() {
			continue
		}
		one.Fields = "event"
		query := dhis2api.EventQuery{Program: program.ID, OrgUnitMode: dhis2api.OrgUnitModeAccessible, Paging: one}
		empty, err := isEmpty(l.local.Events(ctx, query))
		if err != nil {
			return err
		}
		l.empty[program.ID] = empty
	}
	return nil
}

// nothingStood tells whether the target had nothing at all when the load began.
func (l *loader) nothingStood() bool {
	for _, empty := range l.empty {
		if !empty {
			return false
		}
	}
	return true
}

// isEmpty tells whether a list has nothing. What the server does not list is not known to be empty.
func isEmpty[T any](list func(func(T, error) bool)) (bool, error) {
	for _, err := range list {
		if isStatus(err) {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

// lookAtStanding adapts the payload to what the target has of it already. The first time what stands there alike
// is taken out of it; later it may be there because it was sent.
func (b *trackerBatch) lookAtStanding(ctx context.Context, first bool) error {
	byUID := map[string]*dhis2api.TrackedEntity{}
	uids := make([]string, 0, len(b.sent.TrackedEntities))
	for _, entity := range b.sent.TrackedEntities {
		byUID[entity.TrackedEntity] = entity
		uids = append(uids, entity.TrackedEntity)
	}
	alike := map[merge.Ref]bool{}
	if len(uids) > 0 {
		lookup := dhis2api.Lookup{Program: b.program, Fields: standingFields}
		for standing, err := range b.local.TrackedEntitiesByID(ctx, uids, lookup) {
			if err != nil {
				return err
			}
			if sent := byUID[standing.TrackedEntity]; sent != nil {
				b.stood[standing.TrackedEntity] = standing
				var given, there merge.Face
				b.form().AddTrackedEntity(&given, sent)
				b.form().AddTrackedEntity(&there, standing)
				b.compare(given, there, alike)
				reconcileStanding(sent, standing, b.spared())
			}
		}
	}
	if len(b.sent.Events) > 0 {
		if err := b.lookAtStandingEvents(ctx, alike); err != nil {
			return err
		}
	}
	if first {
		b.leaveOut(alike)
	}
	return nil
}

func (b *trackerBatch) lookAtStandingEvents(ctx context.Context, alike map[merge.Ref]bool) error {
	events := map[string]*dhis2api.Event{}
	uids := make([]string, 0, len(b.sent.Events))
	for _, event := range b.sent.Events {
		events[event.Event] = event
		uids = append(uids, event.Event)
	}
	for standing, err := range b.local.EventsByID(ctx, uids, dhis2api.Lookup{Program: b.program, Fields: standingEventFields}) {
		if err != nil {
			return err
		}
		if sent := events[standing.Event]; sent != nil {
			var given, there merge.Face
			b.form().AddEvent(&given, sent)
			b.form().AddEvent(&there, standing)
			b.compare(given, there, alike)
			reconcileStandingEvent(sent, standing, b.spared())
		}
	}
	return nil
}

func (b *trackerBatch) form() Canonical { return CanonicalOf(b.local) }

// spared are the values that are not cleared on the target although central does not give them.
func (b *trackerBatch) spared() spared { return spared{skipped: b.skipped, all: b.options.KeepUnknown} }

// compare finds the objects that stand on the target as they are to be.
func (b *trackerBatch) compare(given, there merge.Face, alike map[merge.Ref]bool) {
	for ref, object := range given.Objects {
		if standing, found := there.Objects[ref]; found && b.same(object, standing) {
			alike[ref] = true
		}
	}
}

// same tells whether an object stands on the target as it is to be.
func (b *trackerBatch) same(given, standing merge.Object) bool {
	for field, value := range given.Fields {
		if standing.Fields[field] != value {
			return false
		}
	}
	for field := range standing.Fields {
		if _, has := given.Fields[field]; !has && !b.stays(given, field) {
			return false
		}
	}
	return true
}

// stays tells of a field that is not given whether it is left on the target.
func (b *trackerBatch) stays(given merge.Object, field string) bool {
	switch {
	case strings.HasPrefix(field, merge.OwnerPrefix), strings.HasPrefix(field, merge.NotePrefix):
		return true
	case field == "assignedUser": // no import takes one away
		return true
	case !merge.IsUID(field):
		return false
	}
	return b.options.KeepUnknown || given.Kind == merge.TrackedEntity && b.skipped.attribute(field) ||
		given.Kind == merge.Event && b.skipped.dataElement(given.Fields["programStage"], field)
}

// leaveOut takes what the target has alike out of the payload and counts it. A parent stays in as long as anything
// below it is sent.
func (b *trackerBatch) leaveOut(alike map[merge.Ref]bool) {
	if len(alike) == 0 {
		return
	}
	note := func(ref merge.Ref) {
		count := b.result.receipt.count(ref.Kind)
		count.Taken++
		count.Loaded++
		count.Alike++
	}
	drop := func(ref merge.Ref) bool {
		if alike[ref] {
			note(ref)
		}
		return alike[ref]
	}
	dropEvent := func(event *dhis2api.Event) bool { return drop(merge.Ref{Kind: merge.Event, UID: event.Event}) }
	b.sent.Events = slices.DeleteFunc(b.sent.Events, dropEvent)
	b.sent.TrackedEntities = slices.DeleteFunc(b.sent.TrackedEntities, func(entity *dhis2api.TrackedEntity) bool {
		entity.Enrollments = slices.DeleteFunc(entity.Enrollments, func(enrollment *dhis2api.Enrollment) bool {
			enrollment.Events = slices.DeleteFunc(enrollment.Events, dropEvent)
			return len(enrollment.Events) == 0 && drop(merge.Ref{Kind: merge.Enrollment, UID: enrollment.Enrollment})
		})
		return len(entity.Enrollments) == 0 && drop(merge.Ref{Kind: merge.TrackedEntity, UID: entity.TrackedEntity})
	})
}
