package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/compose"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

const referencePage = "../../docs/reference.md"

var update = flag.Bool("update", false, "write the reference anew")

// generated is a part of the reference that is made from the code: all between two marks, which Markdown does
// not show.
var generated = regexp.MustCompile(`(?s)(<!-- made from the code: ([a-z ]+) -->\n)(.*?)(<!-- end -->)`)

// TestReference holds the reference to the code's own tables: commands, keys, variables, exit codes. With
// -update it writes them into the page.
func TestReference(t *testing.T) {
	content, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]func() string{
		"commands": commandTables, "keys": keyTable, "environment": environmentTable, "exit codes": exitTable,
		"compose keys": composeTable,
	}
	want := generated.ReplaceAllStringFunc(string(content), func(part string) string {
		fields := generated.FindStringSubmatch(part)
		table, known := tables[fields[2]]
		if !known {
			t.Fatalf("no table %q, or it is there twice", fields[2])
		}
		delete(tables, fields[2])
		return fields[1] + "\n" + table() + "\n" + fields[4]
	})
	for name := range tables {
		t.Errorf("%s has no part %q", referencePage, name)
	}
	if *update {
		if err := os.WriteFile(referencePage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(content), "\n")); diff != "" {
		t.Errorf("`go test ./cmd/fieldkit -run TestReference -update` puts this right (- code, + page):\n%s", diff)
	}
}

// commandTables describes every command, in the order of a trip.
func commandTables() string {
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
		fmt.Fprintf(&b, "### %s\n\n`fieldkit %[1]s`: %s.", name, command.Usage)
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

func keyTable() string {
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

func environmentTable() string {
	rows := [][]string{}
	for _, v := range environment() {
		rows = append(rows, []string{"`" + v.name + "`", v.says})
	}
	return table([]string{"variable", ""}, rows)
}

func exitTable() string {
	rows := [][]string{}
	for _, end := range endings() {
		rows = append(rows, []string{fmt.Sprintf("%d", end.code), end.says})
	}
	return table([]string{"code", ""}, rows)
}

// composeTable lists the keys that an override may hold, those below one beside it.
func composeTable() string {
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
		line(cells)
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
