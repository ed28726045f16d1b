package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// storeValues sends aggregate values: central's value, comment and mark as just read with the kit's changed
// ones over them, because a row replaces the row that is there.
func (s *sender) storeValues(ctx context.Context, v *view, objects []objectChanges) (*answer, error) {
	var set dhis2api.DataValueSet
	for _, o := range objects {
		if local := v.local.dataValues[o.ref.UID]; local != nil {
			set.DataValues = append(set.DataValues, valuePayload(o, decidedValue(o, local), v.central.dataValues[o.ref.UID]))
		}
	}
	report, err := s.central.ImportDataValues(ctx, set, dhis2api.DataValueImportOptions{})
	if err != nil {
		return nil, err
	}
	return valueAnswer(report, set.DataValues), nil
}

func valuePayload(o objectChanges, local, central *dhis2api.DataValue) *dhis2api.DataValue {
	p := &dhis2api.DataValue{
		DataElement: local.DataElement, Period: local.Period, OrgUnit: local.OrgUnit,
		CategoryOptionCombo: local.CategoryOptionCombo, AttributeOptionCombo: local.AttributeOptionCombo,
		Value: local.Value, Comment: local.Comment, FollowUp: local.FollowUp, StoredBy: local.StoredBy,
	}
	if o.verb == merge.Create || central == nil || central.Deleted {
		return p
	}
	p.Value, p.Comment, p.FollowUp = central.Value, central.Comment, central.FollowUp
	for _, c := range o.changes {
		switch c.Field {
		case "value":
			p.Value = local.Value
		case "comment":
			p.Comment = local.Comment
		case "followUp":
			p.FollowUp = local.FollowUp
		}
	}
	return p
}

// removeValues deletes aggregate values; each stays at central as a deleted row.
func (s *sender) removeValues(ctx context.Context, v *view, objects []objectChanges) (*answer, error) {
	var set dhis2api.DataValueSet
	for _, o := range objects {
		if central := v.central.dataValues[o.ref.UID]; central != nil {
			set.DataValues = append(set.DataValues, &dhis2api.DataValue{
				DataElement: central.DataElement, Period: central.Period, OrgUnit: central.OrgUnit,
				CategoryOptionCombo: central.CategoryOptionCombo, AttributeOptionCombo: central.AttributeOptionCombo,
				Value: central.Value,
			})
		}
	}
	report, err := s.central.ImportDataValues(ctx, set, dhis2api.DataValueImportOptions{Strategy: dhis2api.ImportStrategyDelete})
	if err != nil {
		return nil, err
	}
	return valueAnswer(report, set.DataValues), nil
}

// valueAnswer finds what each conflict of a report is about: by its row where DHIS2 says which, else by the
// objects that it names. Where it says neither, the read-back tells what was not stored.
func valueAnswer(report *dhis2api.DataValueReport, rows []*dhis2api.DataValue) *answer {
	a := &answer{refusals: map[merge.Ref]refusal{}}
	for _, conflict := range report.Conflicts {
		no := conflictRefusal(conflict)
		for i, row := range rows {
			if slices.Contains(conflict.Indexes, i) || len(conflict.Indexes) == 0 && names(conflict.Objects, row) {
				a.refusals[snapshot.DataValueRef(row)] = no
			}
		}
	}
	return a
}

func conflictRefusal(conflict dhis2api.DataValueConflict) refusal {
	reason, hint := dhis2api.Explain(conflict.Code, nil)
	if reason == "" {
		reason = conflict.Message
	}
	return refusal{state: journal.Refused, code: conflict.Code, reason: reason, hint: hint}
}

// names tells whether every object that a conflict names is one of the row's.
func names(objects map[string]string, row *dhis2api.DataValue) bool {
	own := []string{row.DataElement, row.Period, row.OrgUnit, row.CategoryOptionCombo, row.AttributeOptionCombo}
	for _, uid := range objects {
		if !slices.Contains(own, uid) {
			return false
		}
	}
	return len(objects) > 0
}

// storeCompletions marks forms complete at central, or no longer complete, as they are on the kit.
func (s *sender) storeCompletions(ctx context.Context, v *view, objects []objectChanges) (*answer, error) {
	a := &answer{refusals: map[merge.Ref]refusal{}}
	var completions []*dhis2api.Completion
	for _, o := range objects {
		if o.verb == merge.Delete {
			completion, err := parseCompletion(o.ref)
			if err != nil {
				return nil, err
			}
			if err := s.central.DeleteCompletion(ctx, completion); refusedWhole(err) || forbidden(err) {
				a.refusals[o.ref] = refusedAll([]objectChanges{o}, err).refusals[o.ref]
			} else if err != nil {
				return nil, err
			}
			continue
		}
		if local := v.local.completions[o.ref.UID]; local != nil {
			completions = append(completions, &dhis2api.Completion{
				DataSet: local.DataSet, Period: local.Period, OrganisationUnit: local.OrganisationUnit,
				AttributeOptionCombo: local.AttributeOptionCombo, Date: local.Date, StoredBy: local.StoredBy, Completed: local.Completed,
			})
		}
	}
	if len(completions) == 0 {
		return a, nil
	}
	report, err := s.central.ImportCompletions(ctx, completions, dhis2api.DataValueImportOptions{SkipNotifications: !s.sideEffects})
	if err != nil {
		return nil, err
	}
	for _, conflict := range report.Conflicts {
		no := conflictRefusal(conflict)
		for i, o := range objects {
			if o.verb != merge.Delete && (len(conflict.Indexes) == 0 || slices.Contains(conflict.Indexes, i)) {
				a.refusals[o.ref] = no
			}
		}
	}
	return a, nil
}

// parseCompletion reads a completion's key.
func parseCompletion(ref merge.Ref) (dhis2api.Completion, error) {
	parts := strings.Split(ref.UID, ".")
	if len(parts) != 4 {
		return dhis2api.Completion{}, fmt.Errorf("the journal names the completion %s, which is no key", ref.UID)
	}
	return dhis2api.Completion{DataSet: parts[0], Period: parts[1], OrganisationUnit: parts[2], AttributeOptionCombo: parts[3]}, nil
}
