package snapshot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// DHIS2 2.43 takes no value of a form from before its org unit was opened or after it was closed (E8031), and none at
// an org unit that the form has lost (E8022), not even from a superuser who forces it. So that history arrives as it
// is, the target bends these two rules for a moment.

// bend sends the values once more that were refused for such a rule, with the rule out of the way. What an interruption
// leaves bent the next loading of the metadata straightens, before which no load goes on.
func (v *valueBatch) bend(ctx context.Context) error {
	closed, lost := map[string]bool{}, map[string]bool{}
	var refused []*dhis2api.DataValue
	for _, value := range v.values {
		switch v.reasons[DataValueRef(value).UID].Code {
		case "E8031":
			closed[value.OrgUnit] = true
		case "E8022":
			// An org unit that the form has lost may be closed too, which is looked at after that.
			closed[value.OrgUnit], lost[value.OrgUnit] = true, true
		default:
			continue
		}
		refused = append(refused, value)
	}
	if len(refused) == 0 || v.strict {
		return nil
	}
	v.bending.Lock()
	defer v.bending.Unlock()
	straighten, err := v.bendRules(ctx, slices.Sorted(maps.Keys(closed)), slices.Sorted(maps.Keys(lost)))
	if err == nil {
		for _, value := range refused {
			delete(v.reasons, DataValueRef(value).UID)
		}
		err = v.force(ctx, refused)
	}
	return errors.Join(err, straighten(context.WithoutCancel(ctx)))
}

// bendRules opens org units for all times and gives others back to the form, and returns what undoes it. A target
// that does not let us is left as it is.
func (v *valueBatch) bendRules(ctx context.Context, closed, lost []string) (straighten func(context.Context) error, err error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	var undo []func(context.Context) error
	straighten = func(ctx context.Context) error {
		for _, step := range slices.Backward(undo) {
			if err := step(ctx); err != nil {
				return fmt.Errorf("put back what was bent to load history: %w", err)
			}
		}
		return nil
	}
	for _, uid := range closed {
		var unit struct{ OpeningDate, ClosedDate string }
		if err := v.local.Get(ctx, "organisationUnits", uid, "openingDate,closedDate", &unit); err != nil {
			return straighten, err
		}
		patch := []operation{{Op: "add", Path: "/openingDate", Value: firstDate}}
		back := []operation{{Op: "add", Path: "/openingDate", Value: unit.OpeningDate}}
		if unit.ClosedDate != "" {
			patch = append(patch, operation{Op: "remove", Path: "/closedDate"})
			back = append(back, operation{Op: "add", Path: "/closedDate", Value: unit.ClosedDate})
		}
		undo = append(undo, func(ctx context.Context) error { return v.local.Patch(ctx, "organisationUnits", uid, back) })
		if err := v.local.Patch(ctx, "organisationUnits", uid, patch); err != nil && !isStatus(err) {
			return straighten, err
		}
	}
	if len(lost) == 0 {
		return straighten, nil
	}
	var units []dhis2api.Ref
	for _, uid := range lost {
		units = append(units, dhis2api.Ref{ID: uid})
	}
	members := "/api/dataSets/" + v.dataSet + "/organisationUnits"
	undo = append(undo, func(ctx context.Context) error {
		return v.local.Do(ctx, http.MethodPost, members, nil, map[string][]dhis2api.Ref{"deletions": units}, nil)
	})
	if err := v.local.Do(ctx, http.MethodPost, members, nil, map[string][]dhis2api.Ref{"additions": units}, nil); err != nil && !isStatus(err) {
		return straighten, err
	}
	return straighten, nil
}
