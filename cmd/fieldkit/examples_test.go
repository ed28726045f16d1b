package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// What the documentation calls the two servers of its examples.
const (
	documentedCentral = "https://dhis2.example.org"
	documentedLocal   = "http://127.0.0.1:8080"
)

// example is a block of a page that is marked to be run, or to be a file:
//
//	<!-- run -->                      the commands in it are run; what stands under each is its result
//	<!-- run: seed $CENTRAL -->       after these commands of a script, separated by semicolons
//	<!-- file: bocas/fieldkit.yaml -->
//
// A command that ends otherwise than with 0 says so: "$ fieldkit ... # ends with 4". A line of dots stands for any
// lines.
var example = regexp.MustCompile("(?ms)^<!-- (run|file)(?:: ([^\n]*?))? -->\n+```[a-z]+\n(.*?)^```$")

// TestExamples runs the examples of the README and of the guide's pages, a page's in their order.
func TestExamples(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, examples := t.TempDir(), 0
	for _, page := range append(pages, "../../README.md") {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := example.FindAllStringSubmatch(string(content), -1)
		if marks := strings.Count(string(content), "\n<!-- run") + strings.Count(string(content), "\n<!-- file"); marks != len(blocks) {
			t.Errorf("%s has %d marks and %d blocks below them", page, marks, len(blocks))
		}
		if len(blocks) == 0 {
			continue
		}
		examples += len(blocks)
		name := strings.ToLower(strings.TrimSuffix(filepath.Base(page), ".md")) + ".txtar"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(exampleScript(blocks)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if examples == 0 {
		t.Fatal("no page has an example that is run")
	}
	testscript.Run(t, testscript.Params{
		Dir: dir, RequireExplicitExec: true, Setup: setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"seed": seed, "kit": kit, "example": runExample, "document": document,
		},
	})
}

// exampleScript turns a page's blocks into a script.
func exampleScript(blocks [][]string) string {
	var script, files strings.Builder
	for i, block := range blocks {
		kind, argument, body := block[1], block[2], block[3]
		if kind == "file" {
			fmt.Fprintf(&files, "-- %s --\n%s", argument, body)
			fmt.Fprintf(&script, "document %s\n", argument)
			continue
		}
		for line := range strings.SplitSeq(argument, ";") {
			fmt.Fprintln(&script, strings.TrimSpace(line))
		}
		for j, step := range strings.Split("\n"+body, "\n$ ")[1:] {
			command, result, _ := strings.Cut(step, "\n")
			command, code, ends := strings.Cut(command, " # ends with ")
			if !ends {
				code = "0"
			}
			name := fmt.Sprintf("example-%d-%d", i+1, j+1)
			if result != "" && !strings.HasSuffix(result, "\n") {
				result += "\n"
			}
			fmt.Fprintf(&files, "-- %s --\n%s", name, result)
			fmt.Fprintf(&script, "example %s %s %s\n", name, code, strings.TrimSpace(command))
		}
	}
	return script.String() + files.String()
}

// document puts the servers' true addresses into a file that a page shows.
func document(ts *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) != 1 {
		ts.Fatalf("usage: document FILE")
	}
	content := truly(ts, ts.ReadFile(arguments[0]))
	ts.Check(os.WriteFile(ts.MkAbs(arguments[0]), []byte(content), 0o600))
}

// truly puts the servers' true addresses in place of the documented ones.
func truly(ts *testscript.TestScript, text string) string {
	return strings.NewReplacer(documentedCentral, ts.Getenv("CENTRAL"), documentedLocal, ts.Getenv("LOCAL")).Replace(text)
}

// runExample runs a command and compares its result with a file's, apart from addresses and times.
func runExample(ts *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) < 3 {
		ts.Fatalf("usage: example RESULT CODE PROGRAM ARGUMENT...")
	}
	want, command := ts.ReadFile(arguments[0]), arguments[1:]
	for i := range command {
		command[i] = truly(ts, command[i])
	}
	exits(ts, false, command)
	got := strings.NewReplacer(ts.Getenv("CENTRAL"), documentedCentral, ts.Getenv("LOCAL"), documentedLocal).Replace(ts.ReadFile("stdout"))
	if wants, gots := timeless(want), timeless(got); !matches(wants, gots) {
		ts.Fatalf("%s (-page +result):\n%s", strings.Join(command[1:], " "), cmp.Diff(wants, gots))
	}
}

// timeless takes out of a result what differs from run to run, and splits it into lines.
func timeless(text string) []string {
	for _, varies := range []struct{ pattern, as string }{
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "TIME"}, {`\d{4}-\d\d-\d\d-\d+`, "TRIP"}, {`\d+\.\d seconds`, "SECONDS"},
		{`\d+\.\d GB`, "ROOM"},
	} {
		text = regexp.MustCompile(varies.pattern).ReplaceAllString(text, varies.as)
	}
	return strings.Split(strings.TrimSpace(text), "\n")
}

// matches tells whether the lines are those that are wanted, where "..." stands for any.
func matches(want, got []string) bool {
	if len(want) == 0 || len(got) == 0 {
		return len(got) == 0 && !slices.ContainsFunc(want, func(line string) bool { return line != "..." })
	}
	if want[0] == "..." {
		return matches(want[1:], got) || matches(want, got[1:])
	}
	return strings.TrimSpace(want[0]) == strings.TrimSpace(got[0]) && matches(want[1:], got[1:])
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		want, got string
		ok        bool
	}{
		{"a b", "a b", true}, {"a b", "a c", false}, {"a b", "a", false}, {"a", "a b", false}, {"...", "a b", true},
		{"a ...", "a b c", true}, {"a ... c", "a b c", true}, {"a ... c", "a b b", false}, {"a ...", "a", true},
	} {
		if got := matches(strings.Fields(test.want), strings.Fields(test.got)); got != test.ok {
			t.Errorf("%q and %q: %v", test.want, test.got, got)
		}
	}
}
