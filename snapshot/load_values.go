package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// unitsAtOnce and periodsAtOnce bound the request line of a read-back of values.
const (
	unitsAtOnce   = 100
	periodsAtOnce = 100
)

// loadDataValues loads the values of a data set.
func (l *loader) loadDataValues(
	ctx context.Context, subject Subject, taken iter.Seq2[*dhis2api.DataValue, error], sink loadSink,
) error {
	work := func(ctx context.Context, batch []*dhis2api.DataValue) (*loadResult, error) {
		v := &valueBatch{loader: l, dataSet: subject.DataSet, result: &loadResult{lines: len(batch)}, reasons: map[string]Refusal{}}
		count := v.result.receipt.count(merge.DataValue)
		var deleted []*dhis2api.DataValue
		for _, value := range batch {
			count.Taken++
			switch {
			case l.options.Skip != nil && l.options.Skip(DataValueRef(value)):
				count.Skipped++
			case value.Deleted:
				count.Deleted++
				deleted = append(deleted, l.payload.dataValue(value))
			default:
				v.taken = append(v.taken, value)
				v.values = append(v.values, l.payload.dataValue(value))
			}
		}
		if err := v.deleteValues(ctx, deleted); err != nil {
			return nil, err
		}
		if err := v.loadValues(ctx); err != nil {
			return nil, err
		}
		return v.result, nil
	}
	return inBatches(ctx, taken, l.options.BatchSize*flatFactor, l.options.Posters, work, sink.take)
}

// valueBatch is aggregate values of one data set on their way.
type valueBatch struct {
	*loader
	dataSet string
	// taken and values are the same, as central and as the target is given them.
	taken  []*dhis2api.DataValue
	values []*dhis2api.DataValue
	// named are the files that the values are.
	named   []*namedFile
	result  *loadResult
	reasons map[string]Refusal
}

// valueOptions are those under which history is loaded: without an audit trail of the loading itself.
func valueOptions() dhis2api.DataValueImportOptions {
	return dhis2api.DataValueImportOptions{SkipAudit: true}
}

func (v *valueBatch) loadValues(ctx context.Context) error {
	if len(v.values) == 0 {
		return nil
	}
	units := map[string]bool{}
	for _, value := range v.values {
		units[value.OrgUnit] = true
	}
	if err := v.ensureUnits(ctx, units); err != nil {
		return err
	}
	if err := v.prepareFiles(ctx); err != nil {
		return err
	}
	if err := v.leaveOut(ctx); err != nil {
		return err
	}
	if len(v.values) == 0 {
		return v.checkFiles(ctx, v.named, &v.result.receipt)
	}
	report, err := v.send(ctx, v.values, valueOptions())
	if err != nil {
		return err
	}
	if len(report.Conflicts) > 0 {
		if err := v.force(ctx, v.conflicting(report)); err != nil {
			return err
		}
		if err := v.bend(ctx); err != nil {
			return err
		}
	}
	if err := v.readBack(ctx); err != nil {
		return err
	}
	return v.checkFiles(ctx, v.named, &v.result.receipt)
}

// send imports values; sending them twice stores the same.
func (v *valueBatch) send(ctx context.Context, values []*dhis2api.DataValue, options dhis2api.DataValueImportOptions) (*dhis2api.DataValueReport, error) {
	for sends := 1; ; sends++ {
		report, err := v.local.ImportDataValues(ctx, dhis2api.DataValueSet{DataValues: values}, options)
		var unknown *dhis2api.UnknownOutcomeError
		if errors.As(err, &unknown) && sends < maxSends && ctx.Err() == nil {
			continue
		}
		return report, err
	}
}

// conflicting are the values that a report's conflicts name; all of them where it does not say which.
func (v *valueBatch) conflicting(report *dhis2api.DataValueReport) []*dhis2api.DataValue {
	var values []*dhis2api.DataValue
	seen := map[int]bool{}
	for _, conflict := range report.Conflicts {
		if len(conflict.Indexes) == 0 {
			return slices.Clone(v.values)
		}
		for _, index := range conflict.Indexes {
			if index >= 0 && index < len(v.values) && !seen[index] {
				seen[index] = true
				values = append(values, v.values[index])
			}
		}
	}
	return values
}

// force sends refused values once more: locked or closed periods are no reason to leave history out, and superusers
// may force it. For one value that does not belong to its data set DHIS2 2.43 refuses them all (E8020 to E8025): then
// it is found by halves.
func (v *valueBatch) force(ctx context.Context, values []*dhis2api.DataValue) error {
	options := valueOptions()
	options.Force = true
	report, err := v.send(ctx, values, options)
	if err != nil {
		return err
	}
	many := func(conflict dhis2api.DataValueConflict) bool { return len(conflict.Indexes) != 1 }
	if len(values) == 1 || report.Imported+report.Updated > 0 || !slices.ContainsFunc(report.Conflicts, many) {
		v.note(report, values)
		return nil
	}
	slices.SortFunc(values, func(a, b *dhis2api.DataValue) int {
		return cmp.Or(cmp.Compare(a.OrgUnit, b.OrgUnit), cmp.Compare(a.Period, b.Period), cmp.Compare(a.DataElement, b.DataElement))
	})
	half := len(values) / 2
	if err := v.force(ctx, values[:half:half]); err != nil {
		return err
	}
	return v.force(ctx, values[half:])
}

// note keeps the reasons of conflicts by the values, or else by the objects, that they name.
func (v *valueBatch) note(report *dhis2api.DataValueReport, values []*dhis2api.DataValue) {
	for _, conflict := range report.Conflicts {
		reason := Refusal{Kind: merge.DataValue, Code: conflict.Code}
		if reason.Reason, _ = dhis2api.Explain(conflict.Code, nil); dhis2api.ClassOf(conflict.Code) == dhis2api.ClassUnclassified {
			reason.Reason = cmp.Or(conflict.Message, reason.Reason)
		}
		for _, index := range conflict.Indexes {
			if index >= 0 && index < len(values) {
				v.reasons[DataValueRef(values[index]).UID] = reason
			}
		}
		if len(values) == 1 {
			v.reasons[DataValueRef(values[0]).UID] = reason
			continue
		}
		for _, uid := range conflict.Objects {
			v.reasons[uid] = reason
		}
		v.reasons[""] = reason
	}
}

func (v *valueBatch) deleteValues(ctx context.Context, deleted []*dhis2api.DataValue) error {
	if len(deleted) == 0 {
		return nil
	}
	options := valueOptions()
	options.Strategy = dhis2api.ImportStrategyDelete
	_, err := v.send(ctx, deleted, options)
	return err
}

// leaveOut takes out of the batch the values that stand on the target alike, and counts them.
func (v *valueBatch) leaveOut(ctx context.Context) error {
	standing, err := v.standing(ctx)
	if err != nil {
		return err
	}
	count := v.result.receipt.count(merge.DataValue)
	taken, values := v.taken[:0], v.values[:0]
	for i, value := range v.values {
		there := standing[DataValueRef(v.taken[i])]
		if there != nil && there.Value == value.Value && there.Comment == value.Comment && there.FollowUp == value.FollowUp {
			count.Loaded++
			count.Alike++
			continue
		}
		taken, values = append(taken, v.taken[i]), append(values, value)
	}
	v.taken, v.values = taken, values
	return nil
}

// standing are the values that the target has of the batch's data set, units and periods.
func (v *valueBatch) standing(ctx context.Context) (map[merge.Ref]*dhis2api.DataValue, error) {
	units, periods := map[string]bool{}, map[string]bool{}
	for _, value := range v.values {
		units[value.OrgUnit], periods[value.Period] = true, true
	}
	found := map[merge.Ref]*dhis2api.DataValue{}
	for unitChunk := range slices.Chunk(slices.Sorted(maps.Keys(units)), unitsAtOnce) {
		for periodChunk := range slices.Chunk(slices.Sorted(maps.Keys(periods)), periodsAtOnce) {
			query := dhis2api.DataValueQuery{DataSets: []string{v.dataSet}, OrgUnits: unitChunk, Periods: periodChunk}
			for value, err := range v.local.DataValues(ctx, query) {
				if err != nil {
					return nil, fmt.Errorf("look for values: %w", err)
				}
				value.CategoryOptionCombo = v.back.mapped(value.CategoryOptionCombo)
				value.AttributeOptionCombo = v.back.mapped(value.AttributeOptionCombo)
				found[DataValueRef(value)] = value
			}
		}
	}
	return found, nil
}

func (v *valueBatch) readBack(ctx context.Context) error {
	found, err := v.standing(ctx)
	if err != nil {
		return err
	}
	count := v.result.receipt.count(merge.DataValue)
	for _, taken := range v.taken {
		ref := DataValueRef(taken)
		if value := found[ref]; value != nil {
			count.Loaded++
			continue
		}
		count.Refused++
		v.result.receipt.Refused = append(v.result.receipt.Refused, v.refusal(ref, taken))
	}
	return nil
}

func (v *valueBatch) refusal(ref merge.Ref, taken *dhis2api.DataValue) Refusal {
	from := Whose{OrgUnit: taken.OrgUnit, Date: taken.Period}
	for _, uid := range []string{DataValueRef(v.payload.dataValue(taken)).UID, taken.DataElement, taken.Period, taken.OrgUnit, taken.CategoryOptionCombo, taken.AttributeOptionCombo, ""} {
		if reason, there := v.reasons[uid]; there {
			reason.UID, reason.Whose = ref.UID, from
			return reason
		}
	}
	return Refusal{Kind: ref.Kind, UID: ref.UID, Whose: from, Reason: "the server did not store it and gave no reason"}
}

// loadCompletions loads the completions of a data set.
func (l *loader) loadCompletions(
	ctx context.Context, subject Subject, taken iter.Seq2[*dhis2api.Completion, error], sink loadSink,
) error {
	work := func(ctx context.Context, batch []*dhis2api.Completion) (*loadResult, error) {
		result := &loadResult{lines: len(batch)}
		count := result.receipt.count(merge.Completion)
		var kept, sent []*dhis2api.Completion
		units, periods := map[string]bool{}, map[string]bool{}
		for _, completion := range batch {
			count.Taken++
			if l.options.Skip != nil && l.options.Skip(CompletionRef(completion)) {
				count.Skipped++
				continue
			}
			kept = append(kept, completion)
			units[completion.OrganisationUnit], periods[completion.Period] = true, true
		}
		if len(kept) == 0 {
			return result, nil
		}
		standing, err := l.completionsOf(ctx, subject.DataSet, slices.Sorted(maps.Keys(units)), slices.Sorted(maps.Keys(periods)))
		if err != nil {
			return nil, err
		}
		kept = slices.DeleteFunc(kept, func(completion *dhis2api.Completion) bool {
			there := standing[CompletionRef(completion)]
			if there == nil || there.Completed != completion.Completed {
				return false
			}
			count.Loaded++
			count.Alike++
			return true
		})
		if len(kept) == 0 {
			return result, nil
		}
		for _, completion := range kept {
			sent = append(sent, l.payload.completion(completion))
		}
		reason, err := l.sendCompletions(ctx, sent)
		if err != nil {
			return nil, err
		}
		found, err := l.completionsOf(ctx, subject.DataSet, slices.Sorted(maps.Keys(units)), slices.Sorted(maps.Keys(periods)))
		if err != nil {
			return nil, err
		}
		for _, completion := range kept {
			ref := CompletionRef(completion)
			if there := found[ref]; there != nil {
				count.Loaded++
				continue
			}
			count.Refused++
			reason.UID, reason.Whose = ref.UID, Whose{OrgUnit: completion.OrganisationUnit, Date: completion.Period}
			result.receipt.Refused = append(result.receipt.Refused, reason)
		}
		return result, nil
	}
	return inBatches(ctx, taken, l.options.BatchSize*flatFactor, l.options.Posters, work, sink.take)
}

// sendCompletions imports completions, and returns what to say of one that is not there afterwards.
func (l *loader) sendCompletions(ctx context.Context, sent []*dhis2api.Completion) (Refusal, error) {
	reason := Refusal{Kind: merge.Completion, Reason: "the server did not store it and gave no reason"}
	for sends := 1; ; sends++ {
		report, err := l.local.ImportCompletions(ctx, sent, dhis2api.DataValueImportOptions{SkipNotifications: true})
		var unknown *dhis2api.UnknownOutcomeError
		if errors.As(err, &unknown) && sends < maxSends && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return reason, err
		}
		for _, conflict := range report.Conflicts {
			reason.Code, reason.Reason = conflict.Code, conflict.Message
		}
		return reason, nil
	}
}

func (l *loader) completionsOf(ctx context.Context, dataSet string, units, periods []string) (map[merge.Ref]*dhis2api.Completion, error) {
	found := map[merge.Ref]*dhis2api.Completion{}
	for unitChunk := range slices.Chunk(units, unitsAtOnce) {
		for periodChunk := range slices.Chunk(periods, periodsAtOnce) {
			query := dhis2api.CompletionQuery{DataSets: []string{dataSet}, OrgUnits: unitChunk, Periods: periodChunk}
			for completion, err := range l.local.Completions(ctx, query) {
				if err != nil {
					return nil, fmt.Errorf("look for completions: %w", err)
				}
				completion.AttributeOptionCombo = l.back.mapped(completion.AttributeOptionCombo)
				found[CompletionRef(completion)] = completion
			}
		}
	}
	return found, nil
}
