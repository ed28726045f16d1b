package orchestrator_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"syscall"
	"testing"
)

// memoryBar is what fieldkit may use at its peak, in bytes, whatever the size of the scope.
const memoryBar = 200 << 20

// TestSoakPrepareMemory prepares many tracked entities, each with an enrollment and two events, from one
// simulated server into another, with the program itself, and holds its peak memory under the bar: 100,000 with
// `make soak`, a short form of it otherwise.
func TestSoakPrepareMemory(t *testing.T) {
	people := 2_000
	if os.Getenv("FIELDKIT_SOAK") != "" {
		people = 100_000
	}
	if testing.Short() {
		t.Skip("the short form runs without -short")
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "../cmd/fieldkit", "../cmd/dhis2sim")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	central, local := simulatedProcess(t, bin), simulatedProcess(t, bin)
	w := newWorld(t, central, local, "")
	w.setUp()
	w.crowd(people)

	prepare := exec.CommandContext(t.Context(), filepath.Join(bin, "fieldkit"), "prepare", "--yes", "--json", "--kit", w.kitDir)
	prepare.Env = append(os.Environ(), "HOME="+w.kitDir, "XDG_CONFIG_HOME="+filepath.Join(w.kitDir, ".config"))
	for name, value := range w.environment {
		prepare.Env = append(prepare.Env, name+"="+value)
	}
	forgetPeak(t)
	out, err := prepare.Output()
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	var receipt struct {
		Verified bool
		Taken    map[string]int
	}
	if err := json.Unmarshal(out, &receipt); err != nil {
		t.Fatalf("prepare printed no receipt: %v", err)
	}
	if receipt.Taken["tracker"] != people || !receipt.Verified {
		t.Errorf("took %v of %d people, verified: %v", receipt.Taken, people, receipt.Verified)
	}
	peak := prepare.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	t.Logf("%d people: peak memory %d MB", people, peak>>20)
	if peak > memoryBar {
		t.Errorf("peak memory %d MB, the bar is %d MB", peak>>20, memoryBar>>20)
	}
}

// forgetPeak makes this process small, and its peak what it is now: Linux counts the peak of whoever starts a program as
// the program's own.
func forgetPeak(t testing.TB) {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Logf("the peak has this process's in it: %v", err)
	}
}

// simulatedProcess runs the simulated server as a program of its own, so that its memory is its own, and
// returns its URL.
func simulatedProcess(t testing.TB, bin string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	server := exec.CommandContext(ctx, filepath.Join(bin, "dhis2sim"), "-listen", "127.0.0.1:0")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.Stderr = server.Stdout
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = server.Wait() // killed: that is the point
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(lines.Text()); url != "" {
			return url
		}
	}
	t.Fatal("the simulated server said no address")
	return ""
}
