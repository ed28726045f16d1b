package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

func doctorCommand() command {
	return command{
		name:  "doctor",
		usage: "say before departure what would go wrong",
		description: "One line a check: ok, warning or error, what was checked, what was found; under whatever is not ok, " +
			"what to do about it. Ends with 1 when there is an error. Changes nothing.",
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			checks, err := kit.Doctor(ctx)
			if err != nil {
				return 0, err
			}
			code := exitHome
			for _, check := range checks {
				if check.Level == orchestrator.LevelError {
					code = exitFailed
				}
			}
			return code, c.show(checks, func(w io.Writer) { printChecks(w, checks) })
		},
	}
}

// printChecks prints one line a check, and hints under what is not ok.
func printChecks(w io.Writer, checks []orchestrator.Check) {
	for _, check := range checks {
		fmt.Fprintf(w, "%-8s %-11s %s\n", check.Level, check.Name, check.Detail)
		if check.Hint != "" {
			fmt.Fprintf(w, "%-8s %-11s hint: %s\n", "", "", check.Hint)
		}
	}
}
