package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func downCommand() command {
	return command{
		name:  "down",
		usage: "stop the kit's own DHIS2; nothing is lost",
		description: "Removes its containers and networks, and keeps its data: the next `up` goes on. It may be called twice. " +
			"With --delete-data the data goes too, which is refused while any of it is not home.",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "delete-data", Usage: "delete the data too, with the kit's secrets and how tablets know it"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			options := orchestrator.DownOptions{DeleteData: c.parsed.Bool("delete-data"), Confirm: c.confirm}
			result, err := kit.Down(ctx, options)
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(result, func(w io.Writer) { printDown(w, result) })
		},
	}
}

func printDown(w io.Writer, result *orchestrator.DownResult) {
	switch {
	case result.Deleted:
		fmt.Fprintln(w, "the kit's containers and their data are deleted; `fieldkit prepare` begins anew")
	case result.Stopped:
		fmt.Fprintln(w, "the kit is down; its data is kept, `fieldkit up` goes on")
	default:
		fmt.Fprintln(w, "the kit was down already")
	}
}
