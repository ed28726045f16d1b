package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

func statusCommand() command {
	return command{
		name:        "status",
		usage:       "say how the kit stands",
		description: "Asks no server, and may be called while another run is at work.",
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			status, err := kit.Status(ctx)
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(status, func(w io.Writer) { printStatus(w, status) })
		},
	}
}

func printStatus(w io.Writer, status *orchestrator.Status) {
	local := status.Local
	if local == "" {
		local = "its own containers"
	}
	fmt.Fprintf(w, "kit %s: %s to %s\n", status.Kit, status.Central, local)
	trip := status.Trip
	if trip == nil {
		fmt.Fprintln(w, "no trip yet")
		return
	}
	fmt.Fprintf(w, "trip %s is %s\n", trip.ID, trip.State)
	if trip.Prepared != nil {
		fmt.Fprintf(w, "prepared %s with\n", trip.Prepared.Local().Format(time.DateTime))
	}
	printTaken(w, trip.Taken)
	if trip.Reconciled == nil {
		fmt.Fprintln(w, "not reconciled yet")
		return
	}
	sums := trip.Sums
	fmt.Fprintf(w, "reconciled %s: of %d changes %d are home, %d held, %d out of scope, %d open\n",
		trip.Reconciled.Local().Format(time.DateTime), sums.Total, sums.Pushed+sums.AlreadyThere, sums.Held, sums.OutOfScope, sums.Open)
}
