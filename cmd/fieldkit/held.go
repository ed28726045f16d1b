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
		below: []command{heldListCommand(), heldExportCommand(), heldShowCommand(), heldVerifyCommand()},
	}
}

func heldListCommand() command {
	return command{
		name:        "ls",
		usage:       "list what the latest trip holds back",
		description: "From the kit's own journal: no server is asked, and no key is needed. It names no patient, and shows values only with --values.",
		flags:       []cli.Flag{&cli.BoolFlag{Name: "values", Usage: "show the values too, which are patients' data"}},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			values := c.parsed.Bool("values")
			list, err := kit.Held(ctx, values)
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(list, func(w io.Writer) { printHeldList(w, list, values) })
		},
	}
}

func printHeldList(w io.Writer, list *orchestrator.HeldList, values bool) {
	fmt.Fprintf(w, "trip %s holds %d changes back\n", list.Trip, len(list.Changes))
	for _, held := range list.Changes {
		name := string(held.State)
		if held.Conflict > 0 {
			name += fmt.Sprintf(" %d", held.Conflict)
		}
		fmt.Fprintf(w, "%s: %s %s %s", name, held.Verb, held.Kind, held.UID)
		if held.Field != "" {
			fmt.Fprintf(w, " %s", held.Field)
		}
		if values {
			fmt.Fprintf(w, ", was %q, on the kit %q, at central %q", held.Base, held.Local, held.Central)
		}
		fmt.Fprintf(w, ": %s\n", strings.TrimSpace(held.Code+" "+held.Reason))
		if held.SignedOffBy != "" {
			fmt.Fprintf(w, "  signed off by %s on %s\n", held.SignedOffBy, held.SignedOff.Local().Format("2006-01-02 15:04"))
		}
	}
	if list.Exported != "" {
		fmt.Fprintf(w, "all of it lies in %s too\n", list.Exported)
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
