package main

import (
	"context"
	"fmt"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func logsCommand() command {
	return command{
		name:  "logs",
		usage: "print what the kit's containers say",
		description: "They may name patients: keep them to the terminal, and read them before you send them to anybody. " +
			"With --follow it goes on until it is interrupted.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "service", Usage: "only `SERVICE`: dhis2 or postgres"},
			&cli.BoolFlag{Name: "follow", Usage: "go on with what they say from now on"},
			&cli.StringFlag{Name: "since", Usage: "only what is younger than `AGE`, as in 10m or 2h, or than a time, as in 2024-01-31T08:00:00Z"},
			&cli.IntFlag{Name: "tail", Usage: "only the last `LINES` of each (default: all)"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			options, err := logOptions(c)
			if err != nil {
				return 0, err
			}
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			return exitHome, kit.Logs(ctx, options, c.Stdout)
		},
	}
}

func logOptions(c *call) (orchestrator.LogOptions, error) {
	options := orchestrator.LogOptions{
		Service: c.parsed.String("service"), Follow: c.parsed.Bool("follow"), Tail: c.parsed.Int("tail"), Timestamps: true,
	}
	if c.parsed.Bool("json") {
		return options, usage("", "logs are lines, not JSON")
	}
	switch options.Service {
	case "", orchestrator.ServiceDHIS2, orchestrator.ServicePostgres:
	default:
		return options, usage(fmt.Sprintf("it is %s or %s", orchestrator.ServiceDHIS2, orchestrator.ServicePostgres), "--service: there is no %q", options.Service)
	}
	if options.Tail < 0 {
		return options, usage("", "--tail: %d is no number of lines", options.Tail)
	}
	since := c.parsed.String("since")
	if since == "" {
		return options, nil
	}
	if age, err := time.ParseDuration(since); err == nil && age >= 0 {
		options.Since = c.Now().Add(-age)
		return options, nil
	}
	at, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return options, usage("as in 10m, 2h, or 2024-01-31T08:00:00Z", "--since: %q is neither an age nor a time", since)
	}
	options.Since = at
	return options, nil
}
