package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// What the documentation calls the two servers of its examples, and the machine in the clinic's network.
const (
	documentedCentral = "https://dhis2.example.org"
	documentedLocal   = "http://127.0.0.1:8080"
	documentedAddress = "192.168.8.2"
)

// The images that stand in for DHIS2 and PostgreSQL where there is an engine: `make images` builds them.
const (
	standInDHIS2    = "fieldkit/dhis2sim"
	standInPostgres = "postgis/postgis:15-3.3"
)

// example is a block of a page that is marked to be run, or to be a file:
//
//	<!-- run -->                      the commands in it are run; what stands under each is its result
//	<!-- run: seed $CENTRAL -->       after these commands of a script, separated by semicolons; beside those of
//	                                  TestScripts there is `containers DIR`, which lets a kit run the stand-in
//	                                  images and opens it on this machine alone; only where [engine] holds
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
		Dir: dir, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DOCKER_HOST", os.Getenv("DOCKER_HOST"))
			return setupScript(env)
		},
		Condition: func(name string) (bool, error) {
			if name != "engine" {
				return condition(name)
			}
			return haveEngine(t.Context())
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"seed": seed, "kit": kit, "example": runExample, "document": document, "containers": containers,
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
	replace := []string{ts.Getenv("CENTRAL"), documentedCentral, ts.Getenv("LOCAL"), documentedLocal}
	if port := ts.Getenv("CLINIC_PORT"); port != "" {
		replace = append(replace, "127.0.0.1:"+port, documentedAddress, ":"+port, "")
	}
	got := strings.NewReplacer(replace...).Replace(ts.ReadFile("stdout"))
	if wants, gots := timeless(want), timeless(got); !matches(wants, gots) {
		ts.Fatalf("%s (-page +result):\n%s", strings.Join(command[1:], " "), cmp.Diff(wants, gots))
	}
}

// haveEngine tells whether a Docker engine with the stand-in images answers. In CI one has to.
func haveEngine(ctx context.Context) (bool, error) {
	if testing.Short() {
		return false, nil
	}
	out, err := exec.CommandContext(ctx, "docker", "image", "inspect", standInDHIS2+":2.42.5.2", standInPostgres).CombinedOutput()
	if err != nil && os.Getenv("CI") != "" {
		return false, fmt.Errorf("the stand-in images are not here: %w: %s", err, out)
	}
	return err == nil, nil
}

// containers lets a kit run the stand-in images, opens it to nobody but this machine, and takes its containers
// and volumes away at the script's end.
func containers(ts *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) != 1 {
		ts.Fatalf("usage: containers DIR")
	}
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	port := free.Addr().(*net.TCPAddr).Port
	ts.Check(free.Close())
	ts.Setenv("CLINIC_PORT", strconv.Itoa(port))
	file := filepath.Join(arguments[0], "fieldkit.yaml")
	written := regexp.MustCompile(`(?m)^clinic: .*\n`).ReplaceAllString(ts.ReadFile(file), "")
	content := fmt.Sprintf("%sdhis2: {image: %s}\npostgres: {image: %s}\nclinic: {name: bocas-1.clinic.lan, address: 127.0.0.1, port: %d}\n",
		written, standInDHIS2, standInPostgres, port)
	ts.Check(os.WriteFile(ts.MkAbs(file), []byte(content), 0o600))
	ts.Defer(func() {
		var stack struct{ Project string }
		if kept, err := os.ReadFile(ts.MkAbs(filepath.Join(arguments[0], "stack.json"))); err != nil || json.Unmarshal(kept, &stack) != nil || stack.Project == "" {
			return // nothing was started
		}
		of := "label=com.docker.compose.project=" + stack.Project
		for _, clean := range []string{
			"docker ps -aq --filter " + of + " | xargs -r docker rm -f", "docker network ls -q --filter " + of + " | xargs -r docker network rm",
			"docker volume ls -q --filter " + of + " | xargs -r docker volume rm",
		} {
			if out, err := exec.Command("sh", "-c", clean).CombinedOutput(); err != nil {
				ts.Logf("%s: %v: %s", clean, err, out)
			}
		}
	})
}

// timeless takes out of a result what differs from run to run, and splits it into lines.
func timeless(text string) []string {
	for _, varies := range []struct{ pattern, as string }{
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "TIME"}, {`\d{4}-\d\d-\d\d-\d+`, "TRIP"}, {`\d+\.\d seconds`, "SECONDS"},
		{`\d+\.\d GB`, "ROOM"}, {`after \d+ s$`, "after SECONDS"},
	} {
		text = regexp.MustCompile("(?m)"+varies.pattern).ReplaceAllString(text, varies.as)
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

// TestTestsExist looks for the tests that the guide and the README give as reasons.
func TestTestsExist(t *testing.T) {
	const root = "../.."
	there := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case strings.HasSuffix(name, ".txtar"):
			there[name] = true
		case strings.HasSuffix(name, "_test.go"):
			source, err := os.ReadFile(path)
			for _, found := range function.FindAllStringSubmatch(string(source), -1) {
				there[found[1]] = true
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+|\\w+\\.txtar)`")
	for _, page := range append(pages, root+"/README.md") {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range named.FindAllStringSubmatch(string(content), -1) {
			if !there[found[1]] {
				t.Errorf("%s names %s, which is nowhere", page, found[1])
			}
		}
	}
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
