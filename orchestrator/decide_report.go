package orchestrator

import (
	"cmp"
	"context"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// shifts are what new decisions do to the sums of each kind: every change stays in one bucket.
func (d *decisions) shifts() map[merge.Kind]report.Sums {
	shifts := map[merge.Kind]report.Sums{}
	if d == nil || d.closed {
		return shifts
	}
	for key, f := range d.foretold {
		if f.was.State == "" { // the decision brings it about
			shifts[key.ref.Kind] = shifts[key.ref.Kind].Plus(sumsOf(map[journal.State]int{f.will.State: 1}))
			continue
		}
		from, to := sumsOf(map[journal.State]int{f.was.State: -1}), sumsOf(map[journal.State]int{f.will.State: 1})
		shifts[key.ref.Kind] = shifts[key.ref.Kind].Plus(from).Plus(to)
	}
	return shifts
}

// broughtAbout are the changes that new decisions will bring about and that will be held.
func (d *decisions) broughtAbout() []journal.Change {
	var held []journal.Change
	if d == nil || d.closed {
		return nil
	}
	for _, f := range d.foretold {
		if f.was.State == "" && f.will.State.Held() {
			held = append(held, f.will)
		}
	}
	slices.SortFunc(held, func(a, b journal.Change) int { return cmp.Or(a.Ref.Compare(b.Ref), cmp.Compare(a.Field, b.Field)) })
	return held
}

// addDecisions lists what was decided on the trip, or stands from an earlier one, and with a plan what new
// decisions would come to.
func addDecisions(ctx context.Context, j *journal.Journal, d *decisions, result *report.Report) error {
	recorded, err := j.Decisions(ctx)
	if err != nil {
		return err
	}
	for _, decision := range recorded {
		if decision.Outcome == journal.Replaced || decision.Carried && decision.Outcome != journal.Standing {
			continue
		}
		state, reason := report.DecisionCarriedOut, decision.Reason
		switch decision.Outcome {
		case journal.NotApplied:
			state = report.DecisionNotApplied
		case journal.Standing:
			state = report.DecisionWaits
			if reason, err = whyHeld(ctx, j, decision.Shown); err != nil {
				return err
			}
		}
		if err := addDecision(result, decision, state, reason); err != nil {
			return err
		}
	}
	if d == nil || d.closed {
		return nil
	}
	planned := slices.Clone(d.settled)
	for _, decision := range d.fresh {
		planned = append(planned, decision)
	}
	slices.SortFunc(planned, func(a, b *journal.Decision) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), a.Ref.Compare(b.Ref), cmp.Compare(a.Field, b.Field))
	})
	for _, decision := range planned {
		state, reason := report.DecisionPlanned, decision.Reason
		if why, comesToNothing := d.unapplied[changeKey{decision.Ref, decision.Field}]; comesToNothing && !decision.Policy {
			reason = why
		}
		if reason != "" {
			state = report.DecisionNotApplied
		}
		if decision.Number == 0 {
			shown, _, err := j.LastShown(ctx, decision.Ref, decision.Field)
			if err != nil {
				return err
			}
			decision.Shown = shown
		}
		if err := addDecision(result, *decision, state, reason); err != nil {
			return err
		}
	}
	return nil
}

// whyHeld says why what was decided about has not come to its end.
func whyHeld(ctx context.Context, j *journal.Journal, shown journal.Shown) (string, error) {
	rows, err := j.ChangesOf(ctx, shown.Ref)
	for _, row := range rows {
		if row.Field == shown.Field && row.State.Held() {
			return row.Reason, err
		}
	}
	return "", err
}

func addDecision(result *report.Report, d journal.Decision, state, reason string) error {
	r, err := parseRoot(d.Root)
	if err != nil {
		return err
	}
	result.Decisions = append(result.Decisions, report.Decision{
		Reference: report.Reference{Kind: string(d.Ref.Kind), UID: d.UID, Person: r.person()}, Number: d.Number, Verb: string(d.Verb),
		Field: d.Field, Base: d.Base, Local: d.Local, Central: d.Central, Choice: report.Choice(d.Choice), Value: d.Value,
		By: d.Who, At: d.At, Policy: d.Policy, State: state, Reason: reason,
	})
	return nil
}
