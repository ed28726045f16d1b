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
			"reads everything back and writes a report. What both sides changed is held, never overwritten. " +
			"A second run sends nothing twice.",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "plan", Usage: "stop before sending; the exit code is what the run's would be"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			result, err := kit.Reconcile(ctx, orchestrator.ReconcileOptions{PlanOnly: c.parsed.Bool("plan"), Confirm: c.confirm})
			if err != nil {
				return 0, err
			}
			return result.ExitCode(), c.show(result, func(w io.Writer) { printReport(w, kit, result) })
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
	fmt.Fprintf(w, "trip %s: %d changes made on the kit\n", r.Trip, sums.Total)
	for _, line := range []struct {
		count int
		what  string
	}{
		{sums.Pushed, "arrived at central and were read back there"},
		{sums.AlreadyThere, "were there already"},
		{sums.Open, "would be sent"},
		{sums.Held, "are held"},
		{sums.OutOfScope, "are out of scope by rule"},
	} {
		if line.count > 0 {
			fmt.Fprintf(w, "  %6d  %s\n", line.count, line.what)
		}
	}
	for _, conflict := range r.Conflicts {
		fmt.Fprintf(w, "conflict %d: %s %s %s: %s\n", conflict.Number, conflict.Kind, conflict.UID, conflict.Field, conflict.Reason)
	}
	for _, refusal := range r.Refusals {
		fmt.Fprintf(w, "refused: %s %s: %s %s\n", refusal.Kind, refusal.UID, refusal.Code, refusal.Reason)
	}
	for _, waiting := range r.Waiting {
		fmt.Fprintf(w, "waiting: %s %s: %s\n", waiting.Kind, waiting.UID, waiting.Reason)
	}
}
