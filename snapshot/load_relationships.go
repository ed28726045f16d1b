package snapshot

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// loadRelationships loads relationships when their ends are there.
func (l *loader) loadRelationships(
	ctx context.Context, taken iter.Seq2[*dhis2api.Relationship, error], sink loadSink,
) error {
	work := func(ctx context.Context, batch []*dhis2api.Relationship) (*loadResult, error) {
		b := newTrackerBatch(l, Subject{}, len(batch))
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
		return b.result, b.loadRelationships(ctx)
	}
	return inBatches(ctx, taken, l.options.BatchSize*flatFactor, l.options.Posters, work, sink.take)
}

// loadRelationships brings a batch of relationships to the target: those that it does not have. They are not sent
// without validation: one whose ends are not there cannot be stored, and one that is there under another uid must
// not be stored twice.
func (b *trackerBatch) loadRelationships(ctx context.Context) error {
	if err := b.leaveOutRelationships(ctx); err != nil {
		return err
	}
	if b.sent.Empty() {
		return nil
	}
	report, err := b.send(ctx, b.sent)
	if err != nil {
		return err
	}
	refused := b.refusedOf(report, b.sent)
	if report.Stats.Total == 0 {
		// The server took none of it: one by one it is seen which.
		refused = dhis2api.TrackerPayload{}
		for _, one := range objectsOf(b.sent) {
			if report, err = b.send(ctx, one); err != nil {
				return err
			}
			join(&refused, b.refusedOf(report, one))
		}
	}
	if _, err := b.revive(ctx, refused); err != nil {
		return err
	}
	return b.readBackRelationships(ctx)
}

// leaveOutRelationships takes out of the batch what the target has, and counts it.
func (b *trackerBatch) leaveOutRelationships(ctx context.Context) error {
	if b.nothingStood() || b.sent.Empty() {
		return nil
	}
	found, err := b.relationshipsOf(ctx, b.sent.Relationships)
	if err != nil {
		return err
	}
	count := b.result.receipt.count(merge.Relationship)
	b.sent.Relationships = slices.DeleteFunc(b.sent.Relationships, func(sent *dhis2api.Relationship) bool {
		standing := found[sent.Relationship]
		if standing == nil {
			return false
		}
		var given, there merge.Face
		b.form().AddRelationship(&given, sent)
		b.form().AddRelationship(&there, standing)
		ref := merge.Ref{Kind: merge.Relationship, UID: sent.Relationship}
		if !maps.Equal(given.Objects[ref].Fields, there.Objects[ref].Fields) {
			return false
		}
		count.Loaded++
		count.Alike++
		return true
	})
	return nil
}

// relationshipsOf finds relationships on the target by their ends, since DHIS2 has no list of them by uid.
func (b *trackerBatch) relationshipsOf(ctx context.Context, relationships []*dhis2api.Relationship) (map[string]*dhis2api.Relationship, error) {
	ends := map[dhis2api.Kind][]string{}
	seen := map[string]bool{}
	for _, relationship := range relationships {
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
			return nil, fmt.Errorf("look for relationships: %w", err)
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
					return nil, fmt.Errorf("look for relationships: %w", err)
				}
				add([]*dhis2api.Relationship{relationship})
			}
		}
	}
	return found, nil
}

// readBackRelationships accounts for every relationship that was sent.
func (b *trackerBatch) readBackRelationships(ctx context.Context) error {
	found, err := b.relationshipsOf(ctx, b.sent.Relationships)
	if err != nil {
		return err
	}
	count := b.result.receipt.count(merge.Relationship)
	for _, sent := range b.sent.Relationships {
		ref := merge.Ref{Kind: merge.Relationship, UID: sent.Relationship}
		if found[sent.Relationship] == nil {
			count.Refused++
			b.result.receipt.Refused = append(b.result.receipt.Refused, b.refusal(ref, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{sent}}))
			continue
		}
		count.Loaded++
	}
	return nil
}
