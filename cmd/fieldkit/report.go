package main

import (
	"context"
	"io"
)

func reportCommand() command {
	return command{
		name:  "report",
		usage: "print how the last reconcile ended",
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			result, err := kit.LastReport()
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(result, func(w io.Writer) { printReport(w, kit, result) })
		},
	}
}
