package snapshot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

const (
	// flatFactor is how many times more events, values or relationships than tracked entities make a batch.
	flatFactor = 10
	// maxSends bounds how often a batch is sent whose outcome stays unknown.
	maxSends = 4

	// What the reading back asks for: what is there, and who owns it.
	thereFields = "trackedEntity,programOwners[program,orgUnit],enrollments[enrollment,events[event]]"
)

// importOptions are those under which history is loaded.
func importOptions() dhis2api.ImportOptions {
	return dhis2api.ImportOptions{SkipSideEffects: true, SkipRuleEngine: true}
}

func (l *loader) loadTrackedEntities(
	ctx context.Context, subject Subject, taken iter.Seq2[*dhis2api.TrackedEntity, error], sink loadSink,
) error {
	work := func(ctx context.Context, batch []*dhis2api.TrackedEntity) (*loadResult, error) {
		b := newTrackerBatch(l, subject, len(batch))
		for _, entity := range batch {
			if l.skip(merge.TrackedEntity, entity.TrackedEntity) {
				b.result.receipt.count(merge.TrackedEntity).Taken++
				b.result.receipt.count(merge.TrackedEntity).Skipped++
				continue
			}
			b.entities = append(b.entities, entity)
		}
		if err := b.load(ctx); err != nil {
			return nil, err
		}
		return b.result, nil
	}
	return inBatches(ctx, taken, l.options.BatchSize, l.options.Posters, work, sink.take)
}

func (l *loader) loadEvents(
	ctx context.Context, subject Subject, taken iter.Seq2[*dhis2api.Event, error], sink loadSink,
) error {
	work := func(ctx context.Context, batch []*dhis2api.Event) (*loadResult, error) {
		b := newTrackerBatch(l, subject, len(batch))
		for _, event := range batch {
			if l.skip(merge.Event, event.Event) {
				b.result.receipt.count(merge.Event).Taken++
				b.result.receipt.count(merge.Event).Skipped++
				continue
			}
			b.events = append(b.events, event)
		}
		if err := b.load(ctx); err != nil {
			return nil, err
		}
		return b.result, nil
	}
	return inBatches(ctx, taken, l.options.BatchSize*flatFactor, l.options.Posters, work, sink.take)
}

// trackerBatch is tracked entities with all that is in them, or events without registration, on their way.
type trackerBatch struct {
	*loader
	program  string
	entities []*dhis2api.TrackedEntity
	events   []*dhis2api.Event
	result   *loadResult

	sent dhis2api.TrackerPayload
	// named are the files of the batch's values.
	named []*namedFile
	// subject is the program, or the tracked entity type of those without enrollment.
	subject Subject
	// stood are the tracked entities that the target had before.
	stood map[string]*dhis2api.TrackedEntity
	// stored are the objects that passed validation and were stored, relaxed those said to be stored without
	// validation, problems why others were refused.
	stored   map[merge.Ref]bool
	relaxed  map[merge.Ref]bool
	problems map[merge.Ref]dhis2api.ImportProblem
}

func newTrackerBatch(l *loader, subject Subject, lines int) *trackerBatch {
	return &trackerBatch{
		loader: l, subject: subject, program: subject.Program, result: &loadResult{lines: lines},
		stood: map[string]*dhis2api.TrackedEntity{}, stored: map[merge.Ref]bool{}, relaxed: map[merge.Ref]bool{},
		problems: map[merge.Ref]dhis2api.ImportProblem{},
	}
}

// load brings a batch to the target: what it needs first, then the objects, then owners, then the reading
// back.
func (b *trackerBatch) load(ctx context.Context) error {
	if len(b.entities)+len(b.events) == 0 {
		return nil
	}
	b.build()
	if err := b.ensureUnits(ctx, unitsOf(b.sent, b.entities)); err != nil {
		return err
	}
	if err := b.prepareValues(ctx); err != nil {
		return err
	}
	report, err := b.post(ctx)
	if err != nil {
		return err
	}
	if err := b.retryRefused(ctx, report); err != nil {
		return err
	}
	if err := b.deleteTombstones(ctx); err != nil {
		return err
	}
	return b.readBack(ctx)
}

func (b *trackerBatch) build() {
	for _, entity := range b.entities {
		if !entity.Deleted {
			b.sent.TrackedEntities = append(b.sent.TrackedEntities, b.payload.trackedEntity(entity))
		}
	}
	for _, event := range b.events {
		if !event.Deleted {
			b.sent.Events = append(b.sent.Events, b.payload.event(event))
		}
	}
}

// unitsOf are the org units that objects name, owners among them.
func unitsOf(sent dhis2api.TrackerPayload, taken []*dhis2api.TrackedEntity) map[string]bool {
	units := map[string]bool{}
	for event := range eventsOf(sent) {
		units[event.OrgUnit] = true
	}
	for _, entity := range sent.TrackedEntities {
		units[entity.OrgUnit] = true
		for _, enrollment := range entity.Enrollments {
			units[enrollment.OrgUnit] = true
		}
	}
	for _, entity := range taken {
		for _, owner := range entity.ProgramOwners {
			units[owner.OrgUnit] = true
		}
	}
	return units
}

// eventsOf are all events of a payload, nested or not.
func eventsOf(p dhis2api.TrackerPayload) iter.Seq[*dhis2api.Event] {
	return func(yield func(*dhis2api.Event) bool) {
		for _, entity := range p.TrackedEntities {
			for _, enrollment := range entity.Enrollments {
				for _, event := range enrollment.Events {
					if !yield(event) {
						return
					}
				}
			}
		}
		for _, event := range p.Events {
			if !yield(event) {
				return
			}
		}
	}
}

// prepareValues brings what values name, and drops what cannot be on the target: values without their data element or
// file, for which an import refuses the whole event, and assigned users that it does not know.
func (b *trackerBatch) prepareValues(ctx context.Context) error {
	if err := b.prepareElements(ctx); err != nil {
		return err
	}
	if err := b.prepareFiles(ctx); err != nil {
		return err
	}
	for event := range eventsOf(b.sent) {
		if event.AssignedUser == nil {
			continue
		}
		user, err := b.assignee(ctx, event.AssignedUser)
		if err != nil {
			return fmt.Errorf("look up a user: %w", err)
		}
		if user == nil {
			b.omit(merge.Event, event.Event, "assignedUser", "user "+event.AssignedUser.UID+" is not on the server")
		}
		event.AssignedUser = user
	}
	return nil
}

// prepareElements brings the data elements that the target lacks, and drops the values whose element it cannot have.
func (b *trackerBatch) prepareElements(ctx context.Context) error {
	uids := map[string]bool{}
	for event := range eventsOf(b.sent) {
		for _, value := range event.DataValues {
			uids[value.DataElement] = true
		}
	}
	lacking, err := b.ensureElements(ctx, uids)
	if err != nil || len(lacking) == 0 {
		return err
	}
	for event := range eventsOf(b.sent) {
		event.DataValues = slices.DeleteFunc(event.DataValues, func(value dhis2api.EventDataValue) bool {
			if lacking[value.DataElement] {
				b.omit(merge.Event, event.Event, value.DataElement, "its data element is not on the server")
			}
			return lacking[value.DataElement]
		})
	}
	return nil
}

func (b *trackerBatch) omit(kind merge.Kind, uid, field, reason string) {
	b.result.receipt.omit(merge.Ref{Kind: kind, UID: uid}, field, reason)
}

// post sends the batch. Before each sending it looks at what the target has, unless that is known to be nothing,
// so that sending again after an unknown outcome, or in a later run, adds nothing twice.
func (b *trackerBatch) post(ctx context.Context) (*dhis2api.ImportReport, error) {
	for sends := 1; ; sends++ {
		if sends > 1 || !b.empty[b.subject.UID()] {
			if err := b.lookAtStanding(ctx, sends == 1); err != nil {
				return nil, fmt.Errorf("look at what the server has: %w", err)
			}
		}
		if b.sent.Empty() {
			return &dhis2api.ImportReport{}, nil
		}
		report, err := b.local.Import(ctx, b.sent, importOptions())
		var unknown *dhis2api.UnknownOutcomeError
		if errors.As(err, &unknown) && sends < maxSends && ctx.Err() == nil {
			continue
		}
		if isStatus(err) {
			// The server takes none of it: one malformed uid is enough for that. One by one it will be
			// seen which.
			return &dhis2api.ImportReport{}, nil
		}
		return report, err
	}
}

// retryRefused sends what was refused again: first what had been deleted on the target and may come back, then the
// rest without validation: together, and what then still is not stored one by one, for DHIS2 may answer what it
// cannot store with an error for the whole request.
func (b *trackerBatch) retryRefused(ctx context.Context, report *dhis2api.ImportReport) error {
	refused, err := b.revive(ctx, b.refusedOf(report, b.sent))
	if err != nil || refused.Empty() {
		return err
	}
	rest, err := b.sendRelaxed(ctx, refused)
	if err != nil || rest.Empty() || countObjects(refused) == 1 {
		return err
	}
	for _, one := range objectsOf(rest) {
		if _, err := b.sendRelaxed(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// refusedOf returns what a report says was not stored, and notes why.
func (b *trackerBatch) refusedOf(report *dhis2api.ImportReport, sent dhis2api.TrackerPayload) dhis2api.TrackerPayload {
	var refused dhis2api.TrackerPayload
	for kind, one := range objectsOf(sent) {
		ref := refOfKind(kind, uidOf(one))
		outcome := report.Outcome(kind, ref.UID)
		if isThere(outcome) {
			b.stored[ref] = true
			delete(b.problems, ref)
			continue
		}
		if len(outcome.Errors) > 0 {
			b.problems[ref] = outcome.Errors[0]
		}
		join(&refused, one)
	}
	return refused
}

// sendRelaxed sends objects without validation, and returns those that were not stored.
func (b *trackerBatch) sendRelaxed(ctx context.Context, objects dhis2api.TrackerPayload) (dhis2api.TrackerPayload, error) {
	options := importOptions()
	options.ValidationMode = "SKIP"
	report, err := b.local.Import(ctx, objects, options)
	var unknown *dhis2api.UnknownOutcomeError
	switch {
	case ctx.Err() != nil:
		return dhis2api.TrackerPayload{}, ctx.Err()
	case errors.As(err, &unknown), isStatus(err):
		return objects, nil // in the end the reading back tells
	case err != nil:
		return dhis2api.TrackerPayload{}, err
	}
	var rest dhis2api.TrackerPayload
	for kind, one := range objectsOf(objects) {
		ref := refOfKind(kind, uidOf(one))
		outcome := report.Outcome(kind, ref.UID)
		if isThere(outcome) {
			b.relaxed[ref] = true
			continue
		}
		if len(outcome.Errors) > 0 && b.problems[ref].Code == "" {
			b.problems[ref] = outcome.Errors[0]
		}
		join(&rest, one)
	}
	return rest, nil
}

func isThere(outcome dhis2api.Outcome) bool {
	return outcome.State == dhis2api.OutcomeStored || outcome.State == dhis2api.OutcomeIgnored
}

// join appends the objects of one payload to another.
func join(to *dhis2api.TrackerPayload, more dhis2api.TrackerPayload) {
	to.TrackedEntities = append(to.TrackedEntities, more.TrackedEntities...)
	to.Enrollments = append(to.Enrollments, more.Enrollments...)
	to.Events = append(to.Events, more.Events...)
	to.Relationships = append(to.Relationships, more.Relationships...)
}

func countObjects(p dhis2api.TrackerPayload) int {
	return len(p.TrackedEntities) + len(p.Enrollments) + len(p.Events) + len(p.Relationships)
}

// isStatus tells whether a server that knows the account answered that it does not do this.
func isStatus(err error) bool {
	var status *dhis2api.StatusError
	return errors.As(err, &status) || isForbidden(err)
}

func isForbidden(err error) bool {
	var unauthorized *dhis2api.UnauthorizedError
	return errors.As(err, &unauthorized) && unauthorized.Status == http.StatusForbidden
}

// objectsOf are the objects of a payload one by one, parents first, each as a payload without what is in it.
func objectsOf(p dhis2api.TrackerPayload) iter.Seq2[dhis2api.Kind, dhis2api.TrackerPayload] {
	return func(yield func(dhis2api.Kind, dhis2api.TrackerPayload) bool) {
		for _, entity := range p.TrackedEntities {
			alone := *entity
			alone.Enrollments = nil
			if !yield(dhis2api.KindTrackedEntity, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{&alone}}) {
				return
			}
			for _, enrollment := range entity.Enrollments {
				alone := *enrollment
				alone.Events = nil
				if !yield(dhis2api.KindEnrollment, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{&alone}}) {
					return
				}
			}
		}
		for _, enrollment := range p.Enrollments {
			if !yield(dhis2api.KindEnrollment, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{enrollment}}) {
				return
			}
		}
		for event := range eventsOf(p) {
			if !yield(dhis2api.KindEvent, dhis2api.TrackerPayload{Events: []*dhis2api.Event{event}}) {
				return
			}
		}
		for _, relationship := range p.Relationships {
			if !yield(dhis2api.KindRelationship, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{relationship}}) {
				return
			}
		}
	}
}

// uidOf is the uid of the only object in a payload.
func uidOf(one dhis2api.TrackerPayload) string {
	switch {
	case len(one.TrackedEntities) > 0:
		return one.TrackedEntities[0].TrackedEntity
	case len(one.Enrollments) > 0:
		return one.Enrollments[0].Enrollment
	case len(one.Events) > 0:
		return one.Events[0].Event
	case len(one.Relationships) > 0:
		return one.Relationships[0].Relationship
	}
	return ""
}

func refOfKind(kind dhis2api.Kind, uid string) merge.Ref {
	switch kind {
	case dhis2api.KindTrackedEntity:
		return merge.Ref{Kind: merge.TrackedEntity, UID: uid}
	case dhis2api.KindEnrollment:
		return merge.Ref{Kind: merge.Enrollment, UID: uid}
	case dhis2api.KindEvent:
		return merge.Ref{Kind: merge.Event, UID: uid}
	default:
		return merge.Ref{Kind: merge.Relationship, UID: uid}
	}
}
