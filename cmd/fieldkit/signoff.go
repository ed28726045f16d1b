package main

import (
	"context"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func signOffCommand() command {
	return command{
		name:  "sign-off",
		usage: "close a trip although changes are held",
		description: "Says in your name that what the last reconcile left held may stay so. Nothing is sent and nothing is lost: " +
			"what is held stays on the kit, travels on and is in every report, with who signed it off and why.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Usage: "why it may stay held, in a few words: `TEXT`"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			options := orchestrator.SignOffOptions{Who: c.who(), Reason: c.parsed.String("reason"), Confirm: c.confirm}
			result, err := kit.SignOff(ctx, options)
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(result, func(w io.Writer) { printReport(w, kit, result) })
		},
	}
}
