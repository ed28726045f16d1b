package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// fault is what becomes of one request in place of its answer, before it is carried out or after.
type fault struct {
	kind  string
	after bool
}

// faultyProxy stands before a server. At the requests that were drawn something goes wrong, some times in a row.
type faultyProxy struct {
	server http.Handler
	mu     sync.Mutex
	seen   int
	at     map[int]fault
}

// drawFaults draws up to four troubles among the next requests.
func (p *faultyProxy) drawFaults(random *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kinds := []string{"cut", "delay", "half", "401", "429", "500", "502", "error inside", "login page"}
	p.at = map[int]fault{}
	for range 1 + random.IntN(4) {
		at := p.seen + 1 + random.IntN(60)
		one := fault{kinds[random.IntN(len(kinds))], random.IntN(2) == 0}
		for i := range 1 + random.IntN(6) { // more than the client's own patience
			p.at[at+i] = one
		}
	}
}

func (p *faultyProxy) next() (fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen++
	one, troubled := p.at[p.seen]
	return one, troubled
}

func (p *faultyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one, troubled := p.next()
	if !troubled {
		p.server.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	if one.after || one.kind == "half" || one.kind == "delay" {
		p.server.ServeHTTP(answer, r)
	}
	say := func(status int, contentType, body string) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
	const inside = `{"httpStatus":"Internal Server Error","httpStatusCode":500,"status":"ERROR","message":"something broke"}`
	switch one.kind {
	case "cut":
		panic(http.ErrAbortHandler) // how net/http cuts a connection
	case "delay":
		time.Sleep(5 * time.Millisecond)
		repeat(w, answer, answer.Body.Len())
	case "half":
		repeat(w, answer, answer.Body.Len()/2)
		panic(http.ErrAbortHandler)
	case "401":
		say(http.StatusUnauthorized, "application/json", `{"httpStatus":"Unauthorized","httpStatusCode":401,"status":"ERROR","message":"Unauthorized"}`)
	case "429":
		say(http.StatusTooManyRequests, "text/plain", "slow down")
	case "500":
		say(http.StatusInternalServerError, "application/json", inside)
	case "502":
		say(http.StatusBadGateway, "text/html", "<html><h1>Bad Gateway</h1></html>")
	case "error inside":
		say(http.StatusOK, "application/json", inside)
	case "login page":
		say(http.StatusOK, "text/html", "<html><title>DHIS 2</title>sign in</html>")
	}
}

// repeat gives as much of an answer as is wanted.
func repeat(w http.ResponseWriter, answer *httptest.ResponseRecorder, bytes int) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes()[:bytes]) //nolint:errcheck // who does not listen is told nothing
}

// TestSoakFaults brings a day home through a proxy in which things go wrong at requests drawn from a seed: any request, reads
// and writes, before or after it was carried out. Whatever it was, the end is that of an undisturbed run: nothing lost, nothing
// doubled, nothing unknown. FIELDKIT_FAULTS plays one seed again; make soak draws a thousand.
func TestSoakFaults(t *testing.T) {
	first, count := uint64(1), uint64(50)
	switch one := os.Getenv("FIELDKIT_FAULTS"); {
	case one != "":
		seed, err := strconv.ParseUint(one, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, count = seed, 1
	case os.Getenv("FIELDKIT_SOAK") != "":
		count = 1000
	case testing.Short():
		count = 10
	}
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			throughFaults(t, seed)
		})
	}
}

func throughFaults(t *testing.T, seed uint64) {
	server, err := dhis2sim.New(dhis2sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	proxy := &faultyProxy{server: server}
	listening := httptest.NewServer(proxy)
	t.Cleanup(listening.Close)
	w := newSeededWorld(t, listening.URL, simulated(t, "2.42.5.2"), "", seed)
	w.outAndBack()
	w.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	random := rand.New(rand.NewPCG(seed, 1))
	for run := range 20 {
		if run < 3 {
			proxy.drawFaults(random)
		}
		r, err := w.tryReconcile(orchestrator.ReconcileOptions{})
		if err != nil {
			var at *orchestrator.ServerError
			if !errors.As(err, &at) {
				t.Fatalf("a run ended with %v, which names no server", err)
			}
			if orchestrator.Hint(err) == "" {
				t.Errorf("a run ended with %v, and no hint", err)
			}
			continue
		}
		proxy.drawNone()
		if r.Sums.Held > 0 { // a proof of a file may have been disturbed: then it is held, and home with the next run
			r = w.reconcile(false)
		}
		w.checkHome(r)
		if again := w.reconcile(false); again.Sent != 0 || again.Sums != r.Sums {
			t.Errorf("a run after it sent %d operations, sums %+v, before %+v", again.Sent, again.Sums, r.Sums)
		}
		return
	}
	t.Error("no run of 20 came to its end")
}

// drawNone ends all trouble.
func (p *faultyProxy) drawNone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = nil
}
