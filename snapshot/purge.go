package snapshot

import (
	"context"
	"errors"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// A uid that was deleted on a server is never taken again (E1082, E1113, E1114, E4017) until the server has purged
// what was deleted. Then it may be.

// revive sends once more what was refused because it had been deleted on the target and may come back, and returns
// what is still refused for another reason.
func (b *trackerBatch) revive(ctx context.Context, refused dhis2api.TrackerPayload) (dhis2api.TrackerPayload, error) {
	var again dhis2api.TrackerPayload
	revived := false
	for kind, one := range objectsOf(refused) {
		ref := refOfKind(kind, uidOf(one))
		if dhis2api.ClassOf(b.problems[ref].Code) == dhis2api.ClassDeleted {
			may, err := b.mayRevive(ctx, rootOf(one), ref)
			if err != nil {
				return again, err
			}
			if !may {
				continue
			}
			revived = true
		}
		join(&again, one)
	}
	if !revived {
		return again, nil
	}
	if err := b.purge(ctx); err != nil || again.Empty() {
		return again, err
	}
	report, err := b.send(ctx, again)
	if err != nil {
		return again, err
	}
	return b.refusedOf(report, again), nil
}

func (l *loader) mayRevive(ctx context.Context, root, object merge.Ref) (bool, error) {
	if l.options.Revive == nil {
		return false, nil
	}
	return l.options.Revive(ctx, root, object)
}

// rootOf is the record that the only object in a payload belongs to.
func rootOf(one dhis2api.TrackerPayload) merge.Ref {
	switch {
	case len(one.Enrollments) > 0:
		return merge.Ref{Kind: merge.TrackedEntity, UID: one.Enrollments[0].TrackedEntity}
	case len(one.Events) > 0 && one.Events[0].TrackedEntity != "":
		return merge.Ref{Kind: merge.TrackedEntity, UID: one.Events[0].TrackedEntity}
	}
	for kind, object := range objectsOf(one) {
		return refOfKind(kind, uidOf(object))
	}
	return merge.Ref{}
}

// purge makes the target forget what was deleted on it. One that does not let us is left: what is refused is named.
func (l *loader) purge(ctx context.Context) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if err := l.local.PurgeDeleted(ctx); err != nil && !isStatus(err) {
		return err
	}
	return nil
}

// send imports objects; sending them twice stores the same.
func (l *loader) send(ctx context.Context, objects dhis2api.TrackerPayload) (*dhis2api.ImportReport, error) {
	for sends := 1; ; sends++ {
		report, err := l.local.Import(ctx, objects, importOptions())
		var unknown *dhis2api.UnknownOutcomeError
		switch {
		case errors.As(err, &unknown) && sends < maxSends && ctx.Err() == nil:
			continue
		case isStatus(err):
			return &dhis2api.ImportReport{}, nil
		}
		return report, err
	}
}
