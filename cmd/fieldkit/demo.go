package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func demoCommand() command {
	return command{
		name:  "demo",
		usage: "play a whole trip on this machine: two servers, a clinic day, the report",
		description: "Central and the kit's DHIS2 are simulated within this program: no network, no Docker. " +
			"Nothing of yours is touched; the people are invented. It ends with 0 when the day went as told, " +
			"and the last line is the report's path.",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep", Usage: "leave the whole kit, not the report alone"},
			&cli.BoolFlag{Name: "serve", Usage: "keep both servers up until interrupted, to try things out"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			dir := c.kit()
			if !c.parsed.IsSet("kit") {
				var err error
				if dir, err = os.MkdirTemp("", "fieldkit-demo-"); err != nil {
					return 0, err
				}
			}
			keep, serve := c.parsed.Bool("keep"), c.parsed.Bool("serve")
			var shown error
			result, err := orchestrator.Demo(ctx, orchestrator.DemoOptions{
				Dir: dir, Keep: keep, Serve: serve, Now: c.Now, Progress: c.progress(), Version: c.Version,
				Ready: func(result *orchestrator.DemoResult) {
					shown = c.show(result, func(w io.Writer) { printDemo(w, result, keep, serve) })
				},
			})
			if err != nil && result == nil {
				_ = os.Remove(dir) // only when it is empty
				return 0, err
			}
			if err != nil {
				c.say("the report of what went otherwise: %s", result.ReportPath)
				return 0, err
			}
			return exitHome, shown
		},
	}
}

// printDemo says what was played, where to look further, and at last where the report is.
func printDemo(w io.Writer, result *orchestrator.DemoResult, keep, serve bool) {
	fmt.Fprintf(w, "the day went as told: %d checks at central in %.1f seconds\n", result.Checks, result.Took.Seconds())
	printSums(w, result.Report)
	if keep || serve {
		fmt.Fprintf(w, "kit: %s\n", result.Kit)
	}
	if serve {
		fmt.Fprintf(w, "central: %s\nlocal: %s\n", result.Central, result.Local)
		for _, login := range result.Logins {
			fmt.Fprintf(w, "account at %s: %s, password %s\n", login.Where, login.Username, login.Password)
		}
		fmt.Fprintf(w, "to work on the kit: export %s\n", strings.Join(result.Env, " "))
		fmt.Fprintln(w, "both servers stay up until Ctrl-C")
	}
	fmt.Fprintln(w, result.ReportPath)
}
