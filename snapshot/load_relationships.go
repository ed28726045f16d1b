package snapshot

import (
	"context"
	"fmt"
	"iter"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// loadRelationships loads relationships when their ends are there.
func (l *loader) loadRelationships(
	ctx context.Context, taken iter.Seq2[*dhis2api.Relationship, error], sink loadSink,
) error {
	work := func(ctx context.Context, batch []*dhis2api.Relationship) (*loadResult, error) {
		b := newTrackerBatch(l, "", len(batch))
		count := b.result.receipt.count(merge.Relationship)
		for _, relationship := range batch {
			count.Taken++
			if l.skip(merge.Relationship, relationship.Relationship) {
				count.Skipped++
				continue
			}
			sent := l.payload.relationship(relationship)
			if sent == nil {
				count.Refused++
				b.result.receipt.Refused = append(b.result.receipt.Refused, Refusal{
					Kind: merge.Relationship, UID: relationship.Relationship, Reason: "one of its ends is not known",
				})
				continue
			}
			b.sent.Relationships = append(b.sent.Relationships, sent)
		}
		report, err := b.post(ctx)
		if err != nil {
			return nil, err
		}
		if err := b.retryRelationships(ctx, report); err != nil {
			return nil, err
		}
		return b.result, b.readBackRelationships(ctx)
	}
	return inBatches(ctx, taken, l.options.BatchSize*flatFactor, l.options.Posters, work, sink.take)
}

// retryRelationships notes why relationships were refused. They are not sent without validation: one whose
// ends are not there cannot be stored, and one that is there under another uid must not be stored twice.
func (b *trackerBatch) retryRelationships(ctx context.Context, report *dhis2api.ImportReport) error {
	for _, relationship := range b.sent.Relationships {
		outcome := report.Outcome(dhis2api.KindRelationship, relationship.Relationship)
		if outcome.State == dhis2api.OutcomeUnknown && report.Stats.Total == 0 {
			one := dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{relationship}}
			again, err := b.local.Import(ctx, one, importOptions())
			if isStatus(err) {
				continue
			}
			if err != nil {
				return err
			}
			outcome = again.Outcome(dhis2api.KindRelationship, relationship.Relationship)
		}
		if len(outcome.Errors) > 0 {
			b.problems[merge.Ref{Kind: merge.Relationship, UID: relationship.Relationship}] = outcome.Errors[0]
		}
	}
	return nil
}

// readBackRelationships finds the relationships by their ends, since DHIS2 has no list of them by uid.
func (b *trackerBatch) readBackRelationships(ctx context.Context) error {
	ends := map[dhis2api.Kind][]string{}
	seen := map[string]bool{}
	for _, relationship := range b.sent.Relationships {
		kind, uid := relationship.From.Ref()
		if !seen[uid] {
			seen[uid] = true
			ends[kind] = append(ends[kind], uid)
		}
	}
	found := map[string]*dhis2api.Relationship{}
	add := func(relationships []*dhis2api.Relationship) {
		for _, relationship := range reduced(relationships) {
			found[relationship.Relationship] = relationship
		}
	}
	nested := "relationships[" + dhis2api.RelationshipFields + "]"
	lookup := dhis2api.Lookup{Fields: "trackedEntity," + nested}
	for entity, err := range b.local.TrackedEntitiesByID(ctx, ends[dhis2api.KindTrackedEntity], lookup) {
		if err != nil {
			return fmt.Errorf("read back relationships: %w", err)
		}
		add(entity.Relationships)
	}
	// From DHIS2 2.43 on enrollments and events are listed by program only, hence one by one.
	for _, kind := range []dhis2api.Kind{dhis2api.KindEnrollment, dhis2api.KindEvent} {
		for _, uid := range ends[kind] {
			query := dhis2api.RelationshipQuery{Enrollment: uid}
			if kind == dhis2api.KindEvent {
				query = dhis2api.RelationshipQuery{Event: uid}
			}
			for relationship, err := range b.local.Relationships(ctx, query) {
				if isStatus(err) {
					break // the end itself is not there
				}
				if err != nil {
					return fmt.Errorf("read back relationships: %w", err)
				}
				add([]*dhis2api.Relationship{relationship})
			}
		}
	}
	count := b.result.receipt.count(merge.Relationship)
	for _, sent := range b.sent.Relationships {
		ref := merge.Ref{Kind: merge.Relationship, UID: sent.Relationship}
		relationship := found[sent.Relationship]
		if relationship == nil {
			count.Refused++
			b.result.receipt.Refused = append(b.result.receipt.Refused, b.refusal(ref))
			continue
		}
		count.Loaded++
	}
	return nil
}
