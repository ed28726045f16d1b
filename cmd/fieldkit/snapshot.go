package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func snapshotCommand() command {
	return command{
		name:  "snapshot",
		usage: "look into what trips took along",
		below: []command{snapshotListCommand(), snapshotShowCommand(), snapshotVerifyCommand(), snapshotDiffCommand()},
	}
}

func snapshotListCommand() command {
	return command{
		name:        "ls",
		usage:       "list the kit's trips with their snapshots",
		description: "Needs no key and no server.",
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			all, err := kit.Snapshots(ctx)
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(all, func(w io.Writer) { printSnapshots(w, all) })
		},
	}
}

func printSnapshots(w io.Writer, all []orchestrator.SnapshotSummary) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no trip yet")
	}
	for _, s := range all {
		printSummary(w, s)
	}
}

func printSummary(w io.Writer, s orchestrator.SnapshotSummary) {
	fmt.Fprintf(w, "trip %s is %s, %s on disk\n", s.Trip, s.State, megabytes(s.Bytes))
	switch {
	case s.Damage != "":
		fmt.Fprintf(w, "  %s\n", s.Damage)
		return
	case s.Taken == nil:
		fmt.Fprintln(w, "  no face is finished")
		return
	}
	fmt.Fprintf(w, "  taken %s from %s", s.Taken.Local().Format(time.DateTime), s.Central)
	if s.Loaded != nil {
		fmt.Fprintf(w, ", loaded %s\n", s.Loaded.Local().Format(time.DateTime))
	} else {
		fmt.Fprintln(w, ", not loaded to the end")
	}
	printTaken(w, s.Objects)
}

func snapshotShowCommand() command {
	return command{
		name:      "show",
		usage:     "say what a trip's snapshot holds",
		arguments: "[TRIP]",
		most:      1,
		description: "The latest trip's, when none is named. Needs no key, and names no patient. With --records it prints " +
			"what is stored, one JSON object a line: that is patients' data, and needs the key.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "records", Usage: "print the `KIND`: tracker, events, relationships, values, completions, or a document such as metadata"},
			&cli.StringFlag{Name: "face", Value: "taken", Usage: "with --records: `FACE` to read, taken or loaded"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			trip := c.parsed.Args().First()
			if c.parsed.IsSet("records") {
				return exitHome, c.printRecords(ctx, kit, trip)
			}
			if c.parsed.IsSet("face") {
				return 0, usage("--records KIND --face FACE", "--face goes with --records")
			}
			details, err := kit.Snapshot(ctx, trip)
			if err != nil {
				return 0, err
			}
			return exitHome, c.show(details, func(w io.Writer) { printSnapshot(w, details) })
		},
	}
}

// printRecords prints what is stored, line by line.
func (c *call) printRecords(ctx context.Context, kit *orchestrator.Kit, trip string) error {
	return kit.SnapshotRecords(ctx, trip, c.parsed.String("face"), c.parsed.String("records"), func(record json.RawMessage) error {
		_, err := fmt.Fprintf(c.Stdout, "%s\n", record)
		return err
	})
}

func printSnapshot(w io.Writer, d *orchestrator.SnapshotDetails) {
	printSummary(w, d.SnapshotSummary)
	if d.Receipt != nil {
		printProof(w, &d.Receipt.PrepareProof)
	}
	for _, unit := range d.Scope.OrgUnits {
		fmt.Fprintf(w, "org unit %s (%s) with all below\n", unit.Name, unit.ID)
	}
	for _, program := range d.Scope.Programs {
		fmt.Fprintf(w, "program %s (%s)\n", program.Name, program.ID)
	}
	for _, dataSet := range d.Scope.DataSets {
		fmt.Fprintf(w, "data set %s (%s)\n", dataSet.Name, dataSet.ID)
	}
	if since := d.Scope.Wanted.Since; since != "" {
		fmt.Fprintf(w, "history from %s on\n", since)
	}
	for _, face := range d.Faces {
		fmt.Fprintf(w, "%s: from %s, DHIS2 %s, read by %s from %s to %s\n", face.Face, face.Server.URL, face.Server.Version, face.Account,
			face.Started.Local().Format(time.DateTime), face.Finished.Local().Format(time.DateTime))
		for _, content := range face.Contents {
			fmt.Fprintf(w, "  %8d  %-14s %10d bytes in %d files", content.Objects, content.Kind, content.Bytes, content.Files)
			if content.Name != "" {
				fmt.Fprintf(w, ", %s", content.Name)
			}
			fmt.Fprintln(w)
		}
		for _, document := range face.Documents {
			fmt.Fprintf(w, "            %-14s %10d bytes\n", document.Name, document.Bytes)
		}
	}
}

func snapshotVerifyCommand() command {
	return command{
		name:      "verify",
		usage:     "read every file of a trip's snapshot and say which are damaged",
		arguments: "[TRIP]",
		most:      1,
		description: "The latest trip's, when none is named. Compares sizes and SHA-256 sums, decrypts and unpacks, reads the JSON and " +
			"counts the lines; without a key sizes and sums alone, and says so.",
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			v, err := kit.VerifySnapshot(ctx, c.parsed.Args().First())
			if err != nil {
				return 0, err
			}
			code := exitHome
			if len(v.Damaged) > 0 {
				code = exitDamaged
			}
			for _, damaged := range v.Damaged {
				c.say("%s", damaged.Reason)
			}
			if code == exitDamaged {
				fmt.Fprintf(c.Stderr, "hint: %s\n", v.Damaged[0].Hint)
			}
			return code, c.show(v, func(w io.Writer) { printVerification(w, v) })
		},
	}
}

func printVerification(w io.Writer, v *orchestrator.SnapshotVerification) {
	how := "read to their ends"
	if !v.Read {
		how = "compared with their checksums only, for there is no key to read them"
	}
	fmt.Fprintf(w, "trip %s: %d files, %s, %s\n", v.Trip, v.Files, megabytes(v.Bytes), how)
	for _, face := range v.Missing {
		fmt.Fprintf(w, "the face %q is not finished\n", face)
	}
	if len(v.Damaged) == 0 {
		fmt.Fprintln(w, "all are as they were written")
		return
	}
	for _, damaged := range v.Damaged {
		fmt.Fprintf(w, "damaged: %s\n", damaged.Part)
	}
}
