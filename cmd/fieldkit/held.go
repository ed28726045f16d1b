package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func heldCommand() command {
	return command{
		name:  "held",
		usage: "keep what is held in a file of its own, and look into such files",
		below: []command{heldExportCommand(), heldShowCommand(), heldVerifyCommand()},
	}
}

func heldExportCommand() command {
	return command{
		name:  "export",
		usage: "write what is held to a file outside of the kit, encrypted",
		description: "The changes with their base and both sides, the kit's records that they are of, and the files that they name; for the " +
			"key that the snapshot is for. Reconcile keeps the same in the trip's folder. Once all that is not home lies in such a file, " +
			"`down --delete-data` may delete the kit's data.",
		flags: []cli.Flag{&cli.StringFlag{Name: "to", Usage: "write it to `FILE`"}},
		do: func(ctx context.Context, c *call) (int, error) {
			if c.parsed.String("to") == "" {
				return 0, usage("--to FILE, best on another machine's disk", "which file?")
			}
			kit, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			file, err := kit.ExportHeld(ctx, orchestrator.ExportHeldOptions{To: c.parsed.String("to"), Who: c.who()})
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(file, func(w io.Writer) { printHeld(w, file) })
		},
	}
}

func heldVerifyCommand() command {
	return command{
		name: "verify", arguments: "FILE", most: 1,
		usage:       "read such a file to its end",
		description: "Says from which kit and trip it is and what is in it, and names no patient. Ends with 14 when it is damaged.",
		do: func(ctx context.Context, c *call) (int, error) {
			file, err := c.readHeld(ctx, nil)
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(file, func(w io.Writer) { printHeld(w, file) })
		},
	}
}

func heldShowCommand() command {
	return command{
		name: "show", arguments: "FILE", most: 1,
		usage:       "print the changes in such a file, one JSON object a line",
		description: "That is patients' data. With --records it prints the kit's records that the changes are of.",
		flags:       []cli.Flag{&cli.BoolFlag{Name: "records", Usage: "print the records instead"}},
		do: func(ctx context.Context, c *call) (int, error) {
			wanted := "changes/"
			if c.parsed.Bool("records") {
				wanted = "records/"
			}
			_, err := c.readHeld(ctx, func(name string, content io.Reader) error {
				if !strings.HasPrefix(name, wanted) {
					return nil
				}
				_, err := io.Copy(c.Stdout, content)
				return err
			})
			return exitHome, err
		},
	}
}

func (c *call) readHeld(ctx context.Context, f func(name string, content io.Reader) error) (*orchestrator.HeldFile, error) {
	path := c.parsed.Args().First()
	if path == "" {
		return nil, usage("one that `fieldkit held export` wrote, or held.tar.zst.age in a trip's folder", "which file?")
	}
	return orchestrator.ReadHeld(ctx, c.options(ctx), path, f)
}

func printHeld(w io.Writer, file *orchestrator.HeldFile) {
	fmt.Fprintf(w, "%s: what kit %s, trip %s held on %s\n", file.Path, file.From.Kit, file.From.Trip, file.From.At.Local().Format("2006-01-02 15:04"))
	fmt.Fprintf(w, "  %6d  changes\n  %6d  records of the kit's\n", file.Sums.Changes, file.Sums.Records)
	if file.Sums.Files > 0 {
		fmt.Fprintf(w, "  %6d  files, %s\n", file.Sums.Files, megabytes(file.Sums.Bytes))
	}
	for _, uid := range file.Sums.Lacking {
		fmt.Fprintf(w, "file %s is not in it: the kit does not give it\n", uid)
	}
	fmt.Fprintf(w, "SHA-256 %s\n", file.SHA256)
}
