package orchestrator_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// files lists the files under a directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo [1]") // a name that is a pattern, too
	ready := 0
	result, err := orchestrator.Demo(t.Context(), orchestrator.DemoOptions{
		Dir: dir, Now: time.Now, Version: "test", Ready: func(*orchestrator.DemoResult) { ready++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("took %v, %d checks, sums %+v", result.Took, result.Checks, result.Report.Sums)
	if result.Took > 15*time.Second {
		t.Errorf("the demo took %v, more than 15 seconds", result.Took)
	}
	if ready != 1 {
		t.Errorf("ready was told %d times", ready)
	}
	if result.Report.ExitCode() != 4 {
		t.Errorf("the day ends with %d, want 4: conflicts wait", result.Report.ExitCode())
	}
	if diff := cmp.Diff([]string{report.CSVName, report.HTMLName, report.JSONName}, files(t, dir)); diff != "" {
		t.Errorf("what the demo leaves (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(result.ReportPath); err != nil {
		t.Errorf("the report: %v", err)
	}
	if _, err := http.Get(result.Central); err == nil {
		t.Error("central is still up")
	}
	again, err := orchestrator.Demo(t.Context(), orchestrator.DemoOptions{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatalf("the second demo in the same directory: %v", err)
	}
	if again.ReportPath == result.ReportPath || len(files(t, dir)) != 6 {
		t.Errorf("the second demo wrote over the first's report: %v", files(t, dir))
	}
}

// TestDemoKeepsAndServes: the kit that the demo leaves is one that fieldkit works on, as long as the servers are up.
func TestDemoKeepsAndServes(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := false
	_, err := orchestrator.Demo(ctx, orchestrator.DemoOptions{
		Dir: dir, Keep: true, Serve: true, Now: time.Now, Version: "test",
		Ready: func(result *orchestrator.DemoResult) {
			served = true
			cancel() // the demo ends when this has returned
			environment := map[string]string{}
			for _, line := range result.Env {
				name, value, _ := strings.Cut(line, "=")
				environment[name] = value
			}
			kit, err := orchestrator.Open(orchestrator.OpenOptions{
				Dir: dir, Getenv: func(name string) string { return environment[name] }, Now: time.Now, ConfigDirectory: t.TempDir(), Version: "test",
			})
			if err != nil {
				t.Error(err)
				return
			}
			again, err := kit.Reconcile(t.Context(), orchestrator.ReconcileOptions{})
			if err := errors.Join(err, kit.Close()); err != nil {
				t.Errorf("reconcile on the demo's kit: %v", err)
				return
			}
			if again.Sent != 0 || again.Sums != result.Report.Sums {
				t.Errorf("a second run sent %d, sums %+v after %+v", again.Sent, again.Sums, result.Report.Sums)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !served {
		t.Fatal("the demo never was ready")
	}
	if !slices.Contains(files(t, dir), orchestrator.ConfigFile) {
		t.Error("the kit is gone")
	}
	if _, err := orchestrator.Demo(t.Context(), orchestrator.DemoOptions{Dir: dir, Now: time.Now}); !errors.Is(err, orchestrator.ErrUsage) {
		t.Errorf("a second demo in the same directory: %v, want ErrUsage", err)
	}
	if !slices.Contains(files(t, dir), orchestrator.ConfigFile) {
		t.Error("the refused demo cleared the kit away")
	}
	if err := os.Remove(filepath.Join(dir, orchestrator.ConfigFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := orchestrator.Demo(t.Context(), orchestrator.DemoOptions{Dir: dir, Now: time.Now}); !errors.Is(err, orchestrator.ErrUsage) {
		t.Errorf("a demo beside a trip's journal: %v, want ErrUsage", err)
	}
	if !slices.Contains(files(t, dir), "journal.db") {
		t.Error("the refused demo cleared a journal away")
	}
}

// TestDemoInterrupted: nothing but the directory is left of a demo that was interrupted early.
func TestDemoInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := orchestrator.Demo(ctx, orchestrator.DemoOptions{Dir: dir, Now: time.Now}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was interrupted", err)
	}
	if left := files(t, dir); left != nil {
		t.Errorf("left: %v", left)
	}
}
