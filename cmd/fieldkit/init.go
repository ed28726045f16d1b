package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func initCommand() command {
	return command{
		name:  "init",
		usage: "write fieldkit.yaml, asking for what the flags do not give",
		description: "Org units, programs and data sets are named by code or uid; their flags may be given more than once. " +
			"What is asked is offered from central's own lists.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "the kit's `NAME`"},
			&cli.StringFlag{Name: "central", Usage: "central's address, `URL`"},
			&cli.StringSliceFlag{Name: "org-unit", Usage: "carry `UNIT` and all below it"},
			&cli.StringSliceFlag{Name: "program", Usage: "carry `PROGRAM` (default: all)"},
			&cli.StringSliceFlag{Name: "data-set", Usage: "carry `FORM` (default: all)"},
			&cli.StringFlag{Name: "since", Usage: "leave what is older than `DATE` at central"},
			&cli.StringFlag{Name: "local", Usage: "the kit's DHIS2 runs already, at `URL`"},
			&cli.StringFlag{Name: "clinic-address", Usage: "this machine has `ADDRESS` in the clinic's network"},
			&cli.StringFlag{Name: "clinic-name", Usage: "tablets find the kit by `HOST` (default: made of the kit's name)"},
			&cli.StringFlag{Name: "clinic-port", Usage: "tablets connect to `PORT` (default: 80)"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			path, err := orchestrator.Init(ctx, orchestrator.InitOptions{
				Dir:       c.kit(),
				Overwrite: c.yes(),
				Name:      c.parsed.String("name"),
				Central:   c.parsed.String("central"),
				OrgUnits:  c.parsed.StringSlice("org-unit"),
				Programs:  c.parsed.StringSlice("program"),
				DataSets:  c.parsed.StringSlice("data-set"),
				Since:     c.parsed.String("since"),
				Local:     c.parsed.String("local"),

				ClinicName:    c.parsed.String("clinic-name"),
				ClinicAddress: c.parsed.String("clinic-address"),
				ClinicPort:    c.parsed.String("clinic-port"),

				Environment: c.Getenv,
				Ask:         c.asker(ctx),
				Tell:        func(line string) { c.say("%s", line) },
			})
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(map[string]string{"file": path}, func(w io.Writer) {
				fmt.Fprintf(w, "wrote %s; `fieldkit doctor` checks it\n", path)
			})
		},
	}
}
