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
		description: "Asks no server but the kit's own database, and may be called while another run is at work.",
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
	printStack(w, status.Stack)
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
	printNumbers(w, trip.Numbers)
	printProof(w, trip.Proof)
	if trip.Reconciled == nil {
		fmt.Fprintln(w, "not reconciled yet")
		return
	}
	sums := trip.Sums
	fmt.Fprintf(w, "reconciled %s: of %d changes %d are home, %d held, %d out of scope, %d open",
		trip.Reconciled.Local().Format(time.DateTime), sums.Total, sums.Pushed+sums.AlreadyThere, sums.Held, sums.OutOfScope, sums.Open)
	if sums.Dropped > 0 {
		fmt.Fprintf(w, ", %d dropped as decided", sums.Dropped)
	}
	fmt.Fprintln(w)
}

// printStack says how the kit's own containers are, one line each.
func printStack(w io.Writer, stack *orchestrator.StackStatus) {
	if stack == nil {
		return
	}
	switch stack.State {
	case orchestrator.StackNone:
		fmt.Fprintln(w, "it has no containers yet")
	case orchestrator.StackDown:
		fmt.Fprintln(w, "its DHIS2 is down; `fieldkit up` starts it")
	case orchestrator.StackOpen:
		fmt.Fprintf(w, "its DHIS2 %s is open to the clinic at %s\n", stack.DHIS2, stack.URL)
	case orchestrator.StackClosed:
		fmt.Fprintf(w, "its DHIS2 %s runs, closed to the clinic\n", stack.DHIS2)
	case orchestrator.StackFailing:
		fmt.Fprintln(w, "its DHIS2 does not run as it should; `fieldkit logs` shows why")
	case orchestrator.StackUnknown:
		fmt.Fprintf(w, "how its containers are is not known: %s\n", stack.Trouble)
		if stack.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", stack.Hint)
		}
	}
	for _, service := range stack.Services {
		fmt.Fprintf(w, "  %-9s %s", service.Service, service.State)
		if service.Health != "" {
			fmt.Fprintf(w, ", %s", service.Health)
		}
		if !service.Since.IsZero() {
			fmt.Fprintf(w, " since %s", service.Since.Local().Format(time.DateTime))
		}
		if service.Restarts > 0 {
			fmt.Fprintf(w, ", started again %d times", service.Restarts)
		}
		if service.OutOfMemory {
			fmt.Fprint(w, ", last ended for want of memory")
		}
		if service.Published != "" {
			fmt.Fprintf(w, ", at %s", service.Published)
		}
		fmt.Fprintf(w, ", of %s\n", service.Image)
	}
}

// printNumbers says how far the kit is with its numbers, one line for each attribute and key.
func printNumbers(w io.Writer, all []orchestrator.NumberStatus) {
	for _, one := range all {
		fmt.Fprintf(w, "  numbers of %s, %s: %d reserved", one.Name, one.Key, one.Reserved)
		switch {
		case one.Collision > 0:
			fmt.Fprintf(w, "; the kit draws its own at random, one may be another kit's with a likelihood of %.2g", one.Collision)
		case one.Unseeded:
			fmt.Fprint(w, "; the kit hands out others, which may be somebody else's too")
		case one.Left == nil:
			fmt.Fprint(w, "; without the kit's database it is not known how many are left")
		default:
			fmt.Fprintf(w, ", %d handed out, %d left", *one.HandedOut, *one.Left)
		}
		if one.Beyond > 0 {
			fmt.Fprintf(w, "; %d MORE WERE HANDED OUT that may be somebody else's", one.Beyond)
		} else if one.Low() {
			fmt.Fprint(w, "; under a fifth: prepare again when you can")
		}
		fmt.Fprintln(w)
	}
}
