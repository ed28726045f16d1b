package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

func ledgerCommand() command {
	return command{
		name:  "ledger",
		usage: "who on the kit made what went home",
		below: []command{ledgerShowCommand()},
	}
}

func ledgerShowCommand() command {
	return command{
		name: "show", arguments: "[TRIP]", most: 1,
		usage: "print who made what of a trip went home, and when",
		description: "The latest trip's, when none is named. At central all of it bears the name of the account that reconciles. " +
			"It holds users' names and no values, and needs the key.",
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			entries := []orchestrator.LedgerEntry{}
			head, err := kit.Ledger(ctx, c.parsed.Args().First(), func(entry orchestrator.LedgerEntry) error {
				entries = append(entries, entry)
				return nil
			})
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(entries, func(w io.Writer) { printLedger(w, head, entries) })
		},
	}
}

func printLedger(w io.Writer, head *orchestrator.LedgerHead, entries []orchestrator.LedgerEntry) {
	fmt.Fprintf(w, "%d changes of trip %s are home\n", len(entries), head.Trip)
	for _, e := range entries {
		what := fmt.Sprintf("%s %s %s", e.Verb, e.Kind, e.UID)
		if e.Field != "" {
			what += " " + e.Field
		}
		fmt.Fprintf(w, "%s  %s: %s, sent %s\n", cmp.Or(e.OnKit.At, "at a time not known"), cmp.Or(e.OnKit.By, "somebody"), what,
			e.Sent.Local().Format("2006-01-02 15:04"))
	}
}
