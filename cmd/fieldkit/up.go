package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

func upCommand() command {
	return command{
		name:  "up",
		usage: "open the kit to the clinic",
		description: "Starts the kit's own DHIS2 where it is down, publishes it at the clinic's address of `fieldkit.yaml`, and ends when " +
			"tablets may connect. Needs no internet. What cannot work is refused before anything is changed. A second `up` changes nothing.",
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			result, err := kit.Up(ctx)
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(result, func(w io.Writer) { printUp(w, result, c.Terminal) })
		},
	}
}

// printUp says what to type on the tablets.
func printUp(w io.Writer, result *orchestrator.UpResult, terminal bool) {
	if result.Changed {
		fmt.Fprintf(w, "the kit is open: DHIS2 %s with trip %s, after %.0f s\n", result.DHIS2, result.Trip, result.Seconds)
	} else {
		fmt.Fprintf(w, "the kit was open already, nothing was changed: DHIS2 %s with trip %s\n", result.DHIS2, result.Trip)
	}
	fmt.Fprintf(w, "type on every tablet: %s\n", result.URL)
	fmt.Fprintf(w, "by address the same is %s: use one of the two on all tablets, always\n", result.AddressURL)
	if code, err := qrCode(result.URL, terminal); err == nil {
		fmt.Fprint(w, code)
	}
}
