package snapshot

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// valuesOverlap is how far before the beginning of the take before changed values are asked for: what was being
// imported then got its time when that began, and zones change their clocks.
const valuesOverlap = 6 * time.Hour

// aggregate takes a data set's values and completions; the server gives them unpaged, root by root.
func (t *taking) aggregate(ctx context.Context, dataSet DataSet) error {
	subject := Subject{DataSet: dataSet.ID}
	progress := Progress{Kind: DataValues, Subject: subject, Name: dataSet.Name}
	for _, root := range t.w.Scope().OrgUnits {
		name := string(DataValues) + "-" + dataSet.ID + "-" + root.ID
		if _, done := t.w.Cursor(name); done {
			continue
		}
		if err := t.aggregateBelow(ctx, name, dataSet, root, &progress); err != nil {
			return err
		}
		t.report(progress)
	}
	return nil
}

func (t *taking) aggregateBelow(ctx context.Context, name string, dataSet DataSet, root OrgUnit, progress *Progress) error {
	batch := t.w.Batch(name)
	defer batch.Abandon()
	values := t.allValues
	if t.before.serves(progress.Subject) && t.before.view.Began != "" {
		values = t.changedValues
		batch.source, batch.whole = name, t.before.cost(name)
	}
	if err := values(ctx, batch, dataSet, root, progress); err != nil {
		return err
	}
	for c, err := range t.listing.completions(ctx, dataSet, root) {
		if err != nil {
			return err
		}
		if err := batch.Add(Completions, progress.Subject, c); err != nil {
			return err
		}
	}
	return batch.Commit("", true)
}

// allValues takes the values of a data set at and below a root.
func (t *taking) allValues(ctx context.Context, batch *Batch, dataSet DataSet, root OrgUnit, progress *Progress) error {
	for v, err := range t.listing.dataValues(ctx, dataSet, root) {
		if err != nil {
			return err
		}
		if err := t.addValue(batch, v, progress); err != nil {
			return err
		}
	}
	return nil
}

func (t *taking) addValue(batch *Batch, v *dhis2api.DataValue, progress *Progress) error {
	t.mention(v)
	if err := batch.Add(DataValues, progress.Subject, v); err != nil {
		return err
	}
	if progress.Done++; progress.Done%partEvents == 0 {
		t.report(*progress)
	}
	return nil
}

// changedValues takes those that were written or deleted since the take before, and of the others what that took. A
// value that was deleted and then purged from central's database leaves no trace: it is copied.
func (t *taking) changedValues(ctx context.Context, batch *Batch, dataSet DataSet, root OrgUnit, progress *Progress) error {
	began, err := t.client.ParseTime(t.before.view.Began)
	if err != nil {
		return fmt.Errorf("the take before: %w", err)
	}
	listing := t.listing
	listing.IncludeDeleted = true
	listing.changedSince = t.client.FormatTime(began.Add(-valuesOverlap))
	changed := map[[16]byte]struct{}{}
	for v, err := range listing.dataValues(ctx, dataSet, root) {
		if err != nil {
			return err
		}
		changed[valueKey(v)] = struct{}{}
		if v.Deleted && !t.options.IncludeDeleted {
			continue
		}
		if err := t.addValue(batch, v, progress); err != nil {
			return err
		}
	}
	units, err := t.unitsBelow(ctx, root)
	if err != nil {
		return err
	}
	for _, part := range t.before.parts(DataValues, progress.Subject) {
		for v, err := range t.before.snapshot.DataValues(ctx, part) {
			if err != nil {
				return err
			}
			if _, other := changed[valueKey(v)]; other || !units[v.OrgUnit] {
				continue
			}
			t.mention(v)
			if err := batch.Copy(DataValues, progress.Subject, v); err != nil {
				return err
			}
			progress.Done++
		}
	}
	return nil
}

// unitsBelow are the uids of the org units at and below a root. Where there is one root alone, the view knows them.
func (t *taking) unitsBelow(ctx context.Context, root OrgUnit) (map[string]bool, error) {
	units := map[string]bool{}
	if len(t.w.Scope().OrgUnits) == 1 {
		for _, unit := range t.before.now.Units {
			units[unit] = true
		}
		return units, nil
	}
	query := dhis2api.ListQuery{Fields: "id", Filters: []string{"path:like:" + root.ID}}
	for unit, err := range dhis2api.ListAs[dhis2api.Ref](ctx, t.client, "organisationUnits", query) {
		if err != nil {
			return nil, fmt.Errorf("org units: %w", err)
		}
		units[unit.ID] = true
	}
	return units, nil
}

// valueKey is the five-part key of a value in 16 bytes.
func valueKey(v *dhis2api.DataValue) [16]byte {
	parts := []string{v.DataElement, v.Period, v.OrgUnit, v.CategoryOptionCombo, v.AttributeOptionCombo}
	sum := sha256.Sum256([]byte(strings.Join(parts, ".")))
	return [16]byte(sum[:16])
}
