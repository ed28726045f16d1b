package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func snapshotDiffCommand() command {
	return command{
		name:      "diff",
		usage:     "say what two trips took otherwise, or what of one trip the kit gives back otherwise",
		arguments: "[TRIP [TRIP]]",
		most:      2,
		description: "With two trips it compares what each took from central; with one, or with none for the latest, what that took with " +
			"what the kit gave back once it was loaded. Names objects by uid and fields by name, and nobody.",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "values", Usage: "print the values of fields too: patients' data"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			values := c.parsed.Bool("values")
			each := func(found orchestrator.ObjectDiff) error { return printDifference(c.Stdout, found, values) }
			list := &jsonList{w: c.Stdout}
			if c.parsed.Bool("json") {
				each = func(found orchestrator.ObjectDiff) error { return list.add(found) }
			}
			diff, err := kit.DiffSnapshots(ctx, c.parsed.Args().Get(0), c.parsed.Args().Get(1), orchestrator.DiffOptions{Values: values, Each: each})
			if err != nil {
				return 0, err
			}
			if c.parsed.Bool("json") {
				return exitHome, list.end(diff)
			}
			printDiff(c.Stdout, diff)
			return exitHome, nil
		},
	}
}

// printDifference prints one object that differs, a line, and with values one more for each field.
func printDifference(w io.Writer, found orchestrator.ObjectDiff, values bool) error {
	_, err := fmt.Fprintf(w, "%-7s  %s %s", found.How, found.Kind, found.UID)
	for i, field := range found.Fields {
		before := ", "
		switch {
		case values:
			before = "\n           "
		case i == 0:
			before = ": "
		}
		fmt.Fprintf(w, "%s%s", before, field.Field)
		if values {
			fmt.Fprintf(w, ": %q to %q", field.From, field.To)
		}
	}
	fmt.Fprintln(w)
	return err
}

func printDiff(w io.Writer, diff *orchestrator.SnapshotDiff) {
	fmt.Fprintf(w, "from what trip %s has %s to what trip %s has %s\n", diff.From.Trip, diff.From.Face, diff.To.Trip, diff.To.Face)
	if len(diff.Counts) == 0 {
		fmt.Fprintln(w, "nothing differs")
	}
	for _, kind := range slices.Sorted(maps.Keys(diff.Counts)) {
		n := diff.Counts[kind]
		fmt.Fprintf(w, "  %-13s  %d added, %d removed, %d changed\n", kind, n.Added, n.Removed, n.Changed)
	}
}

// jsonList prints one JSON object that holds a list of any length: {"objects": [...], "summary": ...}.
type jsonList struct {
	w     io.Writer
	begun bool
}

func (l *jsonList) add(item any) error {
	written, err := json.Marshal(item)
	if err != nil {
		return err
	}
	before := ",\n    "
	if !l.begun {
		before, l.begun = "{\n  \"objects\": [\n    ", true
	}
	_, err = fmt.Fprintf(l.w, "%s%s", before, written)
	return err
}

func (l *jsonList) end(summary any) error {
	written, err := json.MarshalIndent(summary, "  ", "  ")
	if err != nil {
		return err
	}
	before := "\n  ],\n"
	if !l.begun {
		before = "{\n  \"objects\": [],\n"
	}
	_, err = fmt.Fprintf(l.w, "%s  \"summary\": %s\n}\n", before, written)
	return err
}
