package orchestrator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// BenchmarkPlan changes tracked entities, enrollments and events on the kit, 100,000 of them all told, and lets the program
// itself plan how they go home. What it needs for that is its own processor time, for the servers run beside it, and
// its peak memory; the wall clock has the servers' answers in it.
func BenchmarkPlan(b *testing.B) {
	people := benchPeople(25_000)
	bin := b.TempDir()
	buildPrograms(b, bin)
	w := newWorld(b, simulatedProcess(b, bin), simulatedProcess(b, bin), "")
	w.setUp()
	w.crowd(people)
	w.program(bin, "prepare", "--yes")
	w.local = w.connect("local", w.local.BaseURL())
	w.crowdChanges(people)
	for b.Loop() {
		out, state, took := w.program(bin, "reconcile", "--plan")
		var planned struct{ Sums struct{ Open int } }
		if err := json.Unmarshal(out, &planned); err != nil {
			b.Fatalf("reconcile printed no report: %v", err)
		}
		if planned.Sums.Open < 4*people {
			b.Fatalf("%d changes are planned of %d", planned.Sums.Open, 4*people)
		}
		own := state.UserTime() + state.SystemTime()
		objects := 4 * float64(people)
		b.ReportMetric(own.Seconds()/objects*100_000, "own-s/100000")
		b.ReportMetric(took.Seconds()/objects*100_000, "all-s/100000")
		b.ReportMetric(float64(state.SysUsage().(*syscall.Rusage).Maxrss>>10), "MB")
	}
}

// BenchmarkReconcile brings home what was changed of 300 people, in a scope of ten times as many. own-share is how much of
// the time no server was at work on a request; import-ratio the time that central took for what was sent, of what
// the same payload takes in the best of some sizes of batches; read-share is how much of the time central and the kit
// were asked what they hold.
func BenchmarkReconcile(b *testing.B) {
	if central, local := os.Getenv("FIELDKIT_BENCH_CENTRAL"), os.Getenv("FIELDKIT_BENCH_LOCAL"); central != "" && local != "" {
		b.Run("server", func(b *testing.B) {
			bin := b.TempDir()
			buildPrograms(b, bin)
			benchmarkReconcile(b, bin, central, local, 0)
		})
		return
	}
	b.Run("paced", func(b *testing.B) {
		bin := b.TempDir()
		buildPrograms(b, bin)
		benchmarkReconcile(b, bin, simulatedProcess(b, bin), simulatedProcess(b, bin), dhis2Pace)
	})
}

func benchmarkReconcile(b *testing.B, bin, centralURL, localURL string, pace float64) {
	changed := benchPeople(300)
	central, local := watch(b, centralURL, pace), watch(b, localURL, pace)
	w := newWorld(b, central.URL, local.URL, "")
	w.setUp()
	w.crowd(10 * changed)
	w.program(bin, "prepare", "--yes")
	w.local = w.connect(orchestrator.Local, local.URL)
	for b.Loop() {
		w.crowdChanges(changed)
		from := central.mark(local)
		out, _, took := w.program(bin, "reconcile", "--yes")
		var home struct {
			Sums struct{ Pushed, Held, Open int }
		}
		if err := json.Unmarshal(out, &home); err != nil {
			b.Fatalf("reconcile printed no report: %v", err)
		}
		if home.Sums.Pushed < 4*changed || home.Sums.Held+home.Sums.Open > 0 {
			b.Fatalf("of the changes of %d people not all are home: %+v", changed, home.Sums)
		}
		waited := busy(central.since(from[0]), local.since(from[1]))
		imports, bodies := imported(central.since(from[0]))
		best := time.Duration(math.MaxInt64)
		for together := range bodies {
			best = min(best, w.sendRaw(bodies, together+1))
		}
		b.ReportMetric(1-waited.Seconds()/took.Seconds(), "own-share")
		b.ReportMetric((waited-imports).Seconds()/took.Seconds(), "read-share")
		b.ReportMetric(imports.Seconds()/best.Seconds(), "import-ratio")
		b.ReportMetric(took.Seconds(), "s")
	}
}

// dhis2Pace is how many bytes of payload a DHIS2 2.42.5.2 on two cores imports a second, and gives out two times as
// many.
const dhis2Pace = 687 * 3.4e3 / 2

// watchedServer is a server behind a proxy that notes each request.
type watchedServer struct {
	URL  string
	mu   sync.Mutex
	seen []seenRequest
}

type seenRequest struct {
	began, ended time.Time
	path         string
	body         []byte
}

func watch(b *testing.B, address string, pace float64) *watchedServer {
	b.Helper()
	target, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // cookies and links stay those of the address that was asked
	}}
	w := &watchedServer{}
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		seen := seenRequest{began: time.Now(), path: r.Method + " " + r.URL.Path}
		if seen.body, err = io.ReadAll(r.Body); err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(seen.body))
		counted := &countedAnswer{ResponseWriter: out}
		proxy.ServeHTTP(counted, r)
		if pace > 0 {
			due := time.Duration((float64(len(seen.body))/pace + float64(counted.bytes)/pace/2) * float64(time.Second))
			time.Sleep(due - time.Since(seen.began))
		}
		seen.ended = time.Now()
		w.mu.Lock()
		w.seen = append(w.seen, seen)
		w.mu.Unlock()
	}))
	b.Cleanup(server.Close)
	w.URL = server.URL
	return w
}

type countedAnswer struct {
	http.ResponseWriter
	bytes int64
}

func (c *countedAnswer) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

// mark is how much was seen of two servers.
func (w *watchedServer) mark(other *watchedServer) [2]int {
	return [2]int{len(w.since(0)), len(other.since(0))}
}

func (w *watchedServer) since(from int) []seenRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen[from:])
}

// busy is how long at least one of the requests was under way.
func busy(lists ...[]seenRequest) time.Duration {
	all := slices.SortedFunc(slices.Values(slices.Concat(lists...)), func(a, b seenRequest) int { return a.began.Compare(b.began) })
	var sum time.Duration
	var until time.Time
	for _, r := range all {
		if r.began.After(until) {
			until = r.began
		}
		if r.ended.After(until) {
			sum += r.ended.Sub(until)
			until = r.ended
		}
	}
	return sum
}

// imported is how long the imports of records took, and what they sent.
func imported(seen []seenRequest) (took time.Duration, bodies [][]byte) {
	for _, r := range seen {
		if r.path == "POST /api/tracker" {
			took += r.ended.Sub(r.began)
			bodies = append(bodies, r.body)
		}
	}
	return took, bodies
}

// sendRaw sends what was sent once more, some of its batches in one, and returns how long central took.
func (w *world) sendRaw(bodies [][]byte, together int) time.Duration {
	w.t.Helper()
	var batches []dhis2api.TrackerPayload
	for some := range slices.Chunk(bodies, together) {
		var batch dhis2api.TrackerPayload
		for _, body := range some {
			var one dhis2api.TrackerPayload
			if err := json.Unmarshal(body, &one); err != nil {
				w.t.Fatal(err)
			}
			batch.TrackedEntities = append(batch.TrackedEntities, one.TrackedEntities...)
			batch.Enrollments = append(batch.Enrollments, one.Enrollments...)
			batch.Events = append(batch.Events, one.Events...)
		}
		batches = append(batches, batch)
	}
	began := time.Now()
	for _, batch := range batches {
		w.send(w.central, batch, "")
	}
	return time.Since(began)
}

// buildPrograms builds fieldkit and the simulated server.
func buildPrograms(b *testing.B, bin string) {
	b.Helper()
	build := exec.CommandContext(b.Context(), "go", "build", "-o", bin+"/", "../cmd/fieldkit", "../cmd/dhis2sim")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
}

// program runs fieldkit on the world's kit and returns what it printed, how it ended and how long it took.
func (w *world) program(bin string, arguments ...string) ([]byte, *os.ProcessState, time.Duration) {
	w.t.Helper()
	run := exec.CommandContext(w.t.Context(), filepath.Join(bin, "fieldkit"), append(arguments, "--json", "--kit", w.kitDir)...)
	run.Env = append(os.Environ(), "HOME="+w.kitDir, "XDG_CONFIG_HOME="+filepath.Join(w.kitDir, ".config"))
	for name, value := range w.environment {
		run.Env = append(run.Env, name+"="+value)
	}
	forgetPeak(w.t)
	began := time.Now()
	out, err := run.Output()
	took := time.Since(began)
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr[max(0, len(failed.Stderr)-2000):])
		}
		w.t.Fatalf("fieldkit %s: %v", arguments[0], err)
	}
	return out, run.ProcessState, took
}

// benchPeople is how many people a benchmark has, unless FIELDKIT_BENCH_PATIENTS says otherwise.
func benchPeople(otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv("FIELDKIT_BENCH_PATIENTS")); err == nil && n > 0 {
		return n
	}
	return otherwise
}
