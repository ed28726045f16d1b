package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// The modes of reconcile's runs in the journal.
const (
	modePlan      = "plan"
	modeReconcile = "reconcile"
)

// sumUp notes in the journal how the trip stands after the report's run.
func sumUp(ctx context.Context, j *journal.Journal, result *report.Report) error {
	sums, err := json.Marshal(result.Sums)
	if err != nil {
		return fmt.Errorf("cannot note how the trip stands: %w", err)
	}
	return j.SumUp(ctx, result.Run, string(sums))
}

// addTimeline says in the report what happened when. It may be called again.
func addTimeline(ctx context.Context, j *journal.Journal, result *report.Report) error {
	result.Timeline = nil
	receipt, err := receiptOf(ctx, j)
	if err != nil {
		return err
	}
	if receipt != nil {
		result.Timeline = append(result.Timeline, report.Moment{What: report.MomentPrepared, At: receipt.Ended})
	}
	runs, err := j.Runs(ctx)
	if err != nil {
		return err
	}
	for _, run := range runs {
		moment, told, err := momentOf(run, result)
		if err != nil {
			return err
		}
		if told {
			result.Timeline = append(result.Timeline, moment)
		}
	}
	for _, signed := range result.SignedOff {
		result.Timeline = append(result.Timeline, report.Moment{What: report.MomentSignedOff, At: signed.At, By: signed.By, Changes: signed.Changes})
	}
	slices.SortStableFunc(result.Timeline, func(a, b report.Moment) int { return a.At.Compare(b.At) })
	return nil
}

// momentOf is what the timeline tells of a run; of a run that only carried held changes over it tells nothing.
func momentOf(run journal.Run, result *report.Report) (moment report.Moment, told bool, err error) {
	moment = report.Moment{Run: run.Number, At: run.Ended}
	switch run.Mode {
	case modePlan:
		moment.What = report.MomentPlanned
	case modeReconcile:
		moment.What = report.MomentReconciled
	default:
		return moment, false, nil
	}
	if run.Number == result.Run {
		moment.At = result.Finished
	} else if run.Sums == "" {
		moment.What = report.MomentStopped
	}
	if moment.At.IsZero() {
		moment.At = run.Began
	}
	if run.Sums == "" {
		return moment, true, nil
	}
	moment.Sums = &report.Sums{}
	if err := json.Unmarshal([]byte(run.Sums), moment.Sums); err != nil {
		return moment, false, fmt.Errorf("cannot read how the trip stood after run %d: %w", run.Number, err)
	}
	return moment, true, nil
}
