package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

func prepareCommand() command {
	return command{
		name:  "prepare",
		usage: "take the scope from central and load it into the kit's DHIS2",
		description: "Central is only read. A prepare that was interrupted goes on where it stopped. " +
			"What the trip before has not brought home is kept and travels on.",
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			receipt, err := kit.Prepare(ctx, orchestrator.PrepareOptions{Confirm: c.confirm})
			if err != nil {
				return 0, err
			}
			if made := receipt.Identity; made != nil {
				c.say("made a key for this user's snapshots: %s", made.Path)
				c.say("whoever loses it cannot read them: keep a copy, or name recipients in %s", orchestrator.ConfigFile)
			}
			for _, warning := range receipt.Warnings {
				c.say("%s", warning)
			}
			return exitHome, c.show(receipt, func(w io.Writer) { printReceipt(w, receipt) })
		},
	}
}

// printReceipt says in a few lines what goes out.
func printReceipt(w io.Writer, receipt *orchestrator.PrepareReceipt) {
	fmt.Fprintf(w, "trip %s is ready\n", receipt.Trip)
	printTaken(w, receipt.Taken)
	if receipt.Carried > 0 {
		fmt.Fprintf(w, "%d changes of the trip before are not home yet and travel on\n", receipt.Carried)
	}
	if people := receipt.People; people != nil {
		fmt.Fprintf(w, "%d people can log in with the passwords of the kit; `fieldkit cards` prints them\n", people.Ready)
	}
	if receipt.Verified {
		fmt.Fprintln(w, "read back and compared: the kit has everything, alike")
	} else {
		fmt.Fprintf(w, "read back and compared: %d records missing, %d different\n", receipt.Missing, receipt.Differing)
	}
}

// printTaken says what a trip carries, by the snapshot's kinds.
func printTaken[Kind ~string](w io.Writer, taken map[Kind]int64) {
	for _, line := range []struct {
		kind Kind
		what string
	}{
		{"tracker", "tracked entities, with their enrollments and events"},
		{"events", "events without registration"},
		{"relationships", "relationships"},
		{"values", "values of forms"},
		{"completions", "completed forms"},
	} {
		if n := taken[line.kind]; n > 0 {
			fmt.Fprintf(w, "  %8d  %s\n", n, line.what)
		}
	}
}
