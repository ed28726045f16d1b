package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/compose"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

var update = flag.Bool("update", false, "write the parts of the guide that are made from the code anew")

// generated is a part of a page that is made from the code: all between two marks, which Markdown does not show.
var generated = regexp.MustCompile(`(?s)(<!-- made from the code: ([a-z ]+) -->\n)(.*?)(<!-- end -->)`)

// TestReference holds the guide to the code's own tables: commands, keys, variables, exit codes, memory. With
// -update it writes them into the pages.
func TestReference(t *testing.T) {
	tables := map[string]func(*testing.T) string{
		"commands": commandTables, "keys": keyTable, "environment": environmentTable, "exit codes": exitTable,
		"compose keys": composeTable, "memory": memoryTable,
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		want := generated.ReplaceAllStringFunc(string(content), func(part string) string {
			fields := generated.FindStringSubmatch(part)
			table, known := tables[fields[2]]
			if !known {
				t.Fatalf("%s: no table %q, or it is there twice", page, fields[2])
			}
			delete(tables, fields[2])
			return fields[1] + "\n" + table(t) + "\n" + fields[4]
		})
		if *update {
			if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(content), "\n")); diff != "" {
			t.Errorf("`go test ./cmd/fieldkit -run TestReference -update` puts %s right (- code, + page):\n%s", page, diff)
		}
	}
	for name := range tables {
		t.Errorf("no page has a part %q", name)
	}
}

// commandTables describes every command, in the order of a trip.
func commandTables(*testing.T) string {
	var b strings.Builder
	var common []cli.Flag
	var describe func(name string, command *cli.Command)
	describe = func(name string, command *cli.Command) {
		for _, below := range command.Subcommands {
			describe(name+" "+below.Name, below)
		}
		if len(command.Subcommands) > 0 {
			return
		}
		fmt.Fprintf(&b, "### %s\n\n`%s`: %s.", name, strings.TrimSuffix("fieldkit "+name+" "+command.ArgsUsage, " "), command.Usage)
		if command.Description != "" {
			fmt.Fprintf(&b, "\n\n%s", command.Description)
		}
		b.WriteString("\n\n")
		var own []cli.Flag
		for _, flag := range command.Flags {
			if isCommon(flag) {
				common = append(common, flag)
				continue
			}
			own = append(own, flag)
		}
		if len(own) > 0 {
			b.WriteString(flagTable(own) + "\n")
		}
	}
	for _, c := range commands() {
		code := 0
		describe(c.name, c.build(Host{}, &code))
	}
	return "Every command takes\n\n" + flagTable(common[:3]) + "\n" + strings.TrimSuffix(b.String(), "\n")
}

// isCommon tells whether every command has a flag.
func isCommon(flag cli.Flag) bool {
	switch flag.Names()[0] {
	case "kit", "json", "yes":
		return true
	}
	return false
}

var placeholder = regexp.MustCompile("`([^`]+)`")

func flagTable(flags []cli.Flag) string {
	rows := [][]string{}
	for _, flag := range flags {
		documented := flag.(cli.DocGenerationFlag)
		name, says := "--"+flag.Names()[0], documented.GetUsage()
		if found := placeholder.FindStringSubmatch(says); found != nil {
			name += " " + found[1]
		} else if documented.TakesValue() {
			name += " VALUE"
		}
		says = placeholder.ReplaceAllString(says, "$1")
		if _, many := flag.(*cli.StringSliceFlag); many {
			says += "; may be given more than once"
		}
		if value := documented.GetValue(); documented.TakesValue() && value != "" && !strings.Contains(says, "default") {
			says += fmt.Sprintf(" (default: `%s`)", strings.Trim(value, `"`))
		}
		rows = append(rows, []string{"`" + name + "`", says})
	}
	return table([]string{"flag", ""}, rows)
}

func keyTable(*testing.T) string {
	rows := [][]string{}
	for _, key := range orchestrator.ConfigKeys() {
		without := key.Default
		if key.Required {
			without = "**must be there**"
			if parent, _, below := strings.Cut(key.Path, "."); below && isOptional(parent) {
				without = fmt.Sprintf("must be there in `%s`", parent)
			}
		}
		rows = append(rows, []string{"`" + key.Path + "`", key.Meaning, without})
	}
	return table([]string{"key", "meaning", "without it"}, rows)
}

// isOptional tells whether a mapping may be left out: those are keys of their own in the table.
func isOptional(mapping string) bool {
	for _, key := range orchestrator.ConfigKeys() {
		if key.Path == mapping {
			return !key.Required
		}
	}
	return false
}

func environmentTable(*testing.T) string {
	rows := [][]string{}
	for _, v := range environment() {
		rows = append(rows, []string{"`" + v.name + "`", v.says})
	}
	return table([]string{"variable", ""}, rows)
}

func exitTable(*testing.T) string {
	rows := [][]string{}
	for _, end := range endings() {
		rows = append(rows, []string{fmt.Sprintf("%d", end.code), end.says})
	}
	return table([]string{"code", ""}, rows)
}

// composeTable lists the keys that an override may hold, those below one beside it.
func composeTable(*testing.T) string {
	rows, below := [][]string{}, map[string][]string{}
	for _, path := range compose.RealisedKeys() {
		parts := slices.DeleteFunc(strings.Split(path, "."), func(part string) bool { return part == "[]" })
		for i, part := range parts {
			if part == "*" {
				parts[i] = "NAME"
			}
		}
		// A service's keys are what most are about: services.NAME.KEY; of others the two first belong together.
		head := min(len(parts), 3)
		if parts[0] != "services" {
			head = min(len(parts), 1)
		}
		key := strings.Join(parts[:head], ".")
		if _, known := below[key]; !known {
			rows, below[key] = append(rows, []string{key}), nil
		}
		if rest := strings.TrimSuffix(strings.Join(parts[head:], "."), ".NAME"); rest != "" && rest != "NAME" {
			below[key] = append(below[key], "`"+rest+"`")
		}
	}
	for i, row := range rows {
		rows[i] = []string{"`" + row[0] + "`", strings.Join(below[row[0]], ", ")}
	}
	return table([]string{"key", "below it"}, rows)
}

// memoryTable says what the kit's containers get of machines as they are sold: of their memory the system sees
// some percent less.
func memoryTable(t *testing.T) string {
	rows := [][]string{}
	var tooLittle *compose.MemoryError
	if _, err := compose.Fit(0); !errors.As(err, &tooLittle) {
		t.Fatalf("a machine without memory: %v", err)
	}
	mebibytes := func(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
	for _, gigabytes := range []int64{4, 8, 16} {
		sizes, err := compose.Fit(gigabytes << 30 * 95 / 100)
		if err != nil {
			t.Fatalf("%d GB: %v", gigabytes, err)
		}
		rows = append(rows, []string{
			fmt.Sprintf("%d GB", gigabytes), mebibytes(sizes.Heap), mebibytes(sizes.DHIS2Memory), mebibytes(sizes.PostgresMemory), strconv.Itoa(sizes.Connections),
		})
	}
	rows = append(rows, []string{"less than " + mebibytes(tooLittle.Needed), "refused"})
	return table([]string{"machine", "DHIS2's Java heap", "DHIS2's container", "PostgreSQL's container", "connections"}, rows)
}

// table writes a table in Markdown.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) {
		for _, cell := range cells {
			b.WriteString(strings.TrimRight("| "+strings.ReplaceAll(cell, "|", `\|`), " ") + " ")
		}
		b.WriteString("|\n")
	}
	line(head)
	b.WriteString(strings.Repeat("| --- ", len(head)) + "|\n")
	for _, cells := range rows {
		line(append(cells, make([]string, len(head)-len(cells))...))
	}
	return b.String()
}

// TestEnvironmentIsListed finds the variables that the code names, and those that it puts together, in the list.
// Package compose is left out: it reads none, and its variables are those of its own compose file.
func TestEnvironmentIsListed(t *testing.T) {
	listed := map[string]bool{}
	for _, v := range environment() {
		listed[v.name] = true
	}
	named := map[string]string{}
	for _, side := range []orchestrator.Side{orchestrator.Central, orchestrator.Local} {
		_, _ = orchestrator.Credentials(side, func(name string) string { named[name] = "Credentials"; return "" }, nil)
	}
	literal := regexp.MustCompile(`"(FIELDKIT_[A-Z_]*[A-Z]|PG[A-Z]+|DOCKER_[A-Z]+)"`)
	for _, root := range []string{".", "../../orchestrator", "../../snapshot", "../../dhis2api"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "environment.go" {
				return err
			}
			source, err := os.ReadFile(path)
			for _, found := range literal.FindAllStringSubmatch(string(source), -1) {
				named[found[1]] = path
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, where := range named {
		if !listed[name] {
			t.Errorf("%s reads %s, which environment() does not list", where, name)
		}
	}
	for name := range listed {
		if _, read := named[name]; !read {
			t.Errorf("environment() lists %s, which nothing reads", name)
		}
	}
}
