package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/urfave/cli/v2"
)

func reconcileCommand() command {
	return command{
		name:  "reconcile",
		usage: "bring home what was done on the kit",
		description: "Finds what changed on the kit, compares it with what central holds now, writes a plan, sends it, " +
			"reads everything back and writes a report. What both sides changed is held, never overwritten, until somebody " +
			"decides: fill in the column `decision` of the trip's `conflicts.csv` and give the file with --decisions. " +
			"A second run sends nothing twice.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "decisions", Usage: "carry out what is decided about conflicts in `FILE`: local, central, adopt, or = and a value"},
			&cli.IntFlag{Name: "allow", Usage: "delete or overwrite `N` objects of a kind at central although that is beyond the limits of " + orchestrator.ConfigFile},
			&cli.BoolFlag{Name: "refresh", Usage: "then bring to the kit what central gained, as `fieldkit prepare` does: the next trip begins from it"},
			&cli.StringFlag{Name: "planned", Usage: "send only what is planned in `FILE`, a plan.jsonl that somebody has read: what is left out of it, or is not so any more, stays open"},
			&cli.BoolFlag{Name: "plan", Usage: "stop before sending; the exit code is what the run's would be"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			if c.parsed.IsSet("decisions") && c.parsed.String("decisions") == "" {
				return 0, usage("it is the trip's conflicts.csv, filled in", "--decisions names no file")
			}
			if c.parsed.IsSet("planned") && c.parsed.String("planned") == "" {
				return 0, usage("it is a trip's plan.jsonl", "--planned names no file")
			}
			refresh := c.parsed.Bool("refresh")
			if c.parsed.IsSet("planned") && c.parsed.Bool("plan") {
				return 0, usage("make a plan, read it, then carry it out", "--planned does not go with --plan")
			}
			if refresh && c.parsed.Bool("plan") {
				return 0, usage("a plan changes nothing: leave one of them out", "--refresh does not go with --plan")
			}
			result, err := kit.Reconcile(ctx, orchestrator.ReconcileOptions{
				PlanOnly: c.parsed.Bool("plan"), Decisions: c.parsed.String("decisions"), Planned: c.parsed.String("planned"), Who: c.who(), Confirm: c.confirm,
				Allow: c.parsed.Int("allow"),
			})
			if err != nil {
				return 0, err
			}
			if err := c.show(result, func(w io.Writer) { printReport(w, kit, result) }); err != nil || !refresh {
				return result.ExitCode(), err
			}
			return result.ExitCode(), c.takeAlong(ctx, kit)
		},
	}
}

// printReport says how a trip stands, and where all of it is told.
func printReport(w io.Writer, kit *orchestrator.Kit, r *report.Report) {
	printSums(w, r)
	fmt.Fprintln(w, kit.ReportPath(r.Trip))
}

// printSums says how a trip stands: the sums, and what somebody has to look at.
func printSums(w io.Writer, r *report.Report) {
	sums := r.Sums
	dropped, open := "were dropped, as decided: central's value stands", "were not sent yet"
	if r.PlanOnly {
		dropped, open = "would be dropped, as decided: central's value stands", "would be sent"
	}
	fmt.Fprintf(w, "trip %s: %d changes made on the kit\n", r.Trip, sums.Total)
	for _, line := range []struct {
		count int
		what  string
	}{
		{sums.Pushed, "arrived at central and were read back there"},
		{sums.AlreadyThere, "were there already"},
		{sums.Open, open},
		{sums.Held, "are held"},
		{sums.Dropped, dropped},
		{sums.OutOfScope, "are out of scope by rule"},
	} {
		if line.count > 0 {
			fmt.Fprintf(w, "  %6d  %s\n", line.count, line.what)
		}
	}
	for _, signed := range r.SignedOff {
		fmt.Fprintf(w, "%d of them are signed off by %s: %s\n", signed.Changes, signed.By, signed.Reason)
	}
	for _, drift := range r.Drift {
		fmt.Fprintf(w, "changed at central since the trip began: %s %s%s\n", drift.Name, drift.What, heldBack(drift))
	}
	if r.Kept != nil {
		fmt.Fprintf(w, "of the kept plan's %d operations %d are home; it leaves out %d changes\n", r.Kept.Operations, r.Kept.Home, r.Kept.LeftOut)
		for _, moved := range r.Kept.Moved {
			fmt.Fprintf(w, "not as planned: %s %s: %s\n", moved.Kind, moved.UID, moved.Reason)
		}
	}
	for _, conflict := range r.Conflicts {
		fmt.Fprintf(w, "conflict %d: %s %s %s: %s\n", conflict.Number, conflict.Kind, conflict.UID, conflict.Field, conflict.Reason)
	}
	for _, decision := range r.Decisions {
		switch decision.State {
		case report.DecisionNotApplied:
			fmt.Fprintf(w, "decision %d was not applied: %s\n", decision.Number, decision.Reason)
		case report.DecisionWaits:
			fmt.Fprintf(w, "decision %d is not carried out yet: %s\n", decision.Number, decision.Reason)
		}
	}
	for _, refusal := range r.Refusals {
		fmt.Fprintf(w, "refused: %s %s: %s %s\n", refusal.Kind, refusal.UID, refusal.Code, refusal.Reason)
	}
	for _, same := range r.SamePeople {
		if !same.Adopted {
			fmt.Fprintf(w, "offer %d: trackedEntity %s may be %s at central; adopt it where they are the same person\n", same.Number, same.UID, same.AtCentral)
		}
	}
	for _, waiting := range r.Waiting {
		fmt.Fprintf(w, "waiting: %s %s: %s\n", waiting.Kind, waiting.UID, waiting.Reason)
	}
}

// heldBack says how many changes a drift holds back.
func heldBack(drift report.Drift) string {
	switch {
	case drift.Holds > 0:
		return fmt.Sprintf("; it holds back %d changes: %s", drift.Holds, drift.Remedy)
	case drift.MayHold > 0:
		return fmt.Sprintf("; it may hold back %d values: %s", drift.MayHold, drift.Remedy)
	}
	return ""
}
