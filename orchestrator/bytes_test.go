package orchestrator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// countedLine is the line to a server that compresses its answers: what passes over it, both directions together.
type countedLine struct {
	net.Listener
	bytes, requests atomic.Int64
	// pace is how many bytes pass in a second; 0: all at once.
	pace atomic.Int64
}

// passed counts what has passed, and makes it take its time.
func (l *countedLine) passed(n int) {
	l.bytes.Add(int64(n))
	if pace := l.pace.Load(); pace > 0 {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(pace))
	}
}

func (l *countedLine) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countedConnection{connection, l}, nil
}

type countedConnection struct {
	net.Conn
	line *countedLine
}

func (c countedConnection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.line.passed(n)
	return n, err
}

func (c countedConnection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.line.passed(n)
	return n, err
}

// overLine starts a simulated server behind a line that is counted.
func overLine(t *testing.T) (*dhis2sim.Server, *countedLine, string) {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	line := &countedLine{}
	compressed := gzhttp.GzipHandler(server)
	listening := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line.requests.Add(1)
		compressed.ServeHTTP(w, r)
	}))
	line.Listener = listening.Listener
	listening.Listener = line
	listening.Start()
	t.Cleanup(listening.Close)
	return server, line, listening.URL
}

// patientsOfYears registers people at central who have been there before, each with so many visits.
func (w *world) patientsOfYears(people, visits int) {
	w.t.Helper()
	var payload dhis2api.TrackerPayload
	for i := range people {
		name := fmt.Sprintf("person %d", i)
		p := w.patient(name, map[string]string{"nationalID": fmt.Sprintf("N-%d", i), "phone": fmt.Sprintf("6%07d", i), "community": "Soloy", "birthDate": "1990-02-03"})
		for v := range visits - 1 {
			p.Enrollments[0].Events = append(p.Enrollments[0].Events, w.longVisit(name, fmt.Sprint("visit ", v), 50+v))
		}
		payload.TrackedEntities = append(payload.TrackedEntities, p)
		if len(payload.TrackedEntities) == 200 || i == people-1 {
			w.send(w.central, payload, "")
			payload = dhis2api.TrackerPayload{}
		}
	}
}

func (w *world) longVisit(patient, name string, weight int) *dhis2api.Event {
	visit := w.visit(patient, name, fmt.Sprintf("%d.5", weight))
	visit.DataValues = append(visit.DataValues, dhis2api.EventDataValue{DataElement: w.id("remark"), Value: fmt.Sprintf("cough for %d days, no fever", weight%9)})
	return visit
}

// busyDay is a day on the kit with so many patients. Of each ten two are new and eight come again; all have a visit, four a new
// phone, one turns out to be the mother of another; and of each twenty one loses a visit that was entered by mistake. It
// returns how large the JSON of what changed is, as the kit gives it, object by object.
func (w *world) busyDay(patients int) int {
	w.t.Helper()
	var payload, ties, removed dhis2api.TrackerPayload
	var people, visits []string
	for i := range patients {
		name := fmt.Sprintf("person %d", i)
		switch {
		case i%5 == 0:
			name = fmt.Sprintf("new person %d", i)
			p := w.patient(name, map[string]string{"nationalID": fmt.Sprintf("K-%d", i), "phone": fmt.Sprintf("5%07d", i), "community": "Cerro", "birthDate": "2001-02-03"})
			p.Enrollments[0].Notes = []dhis2api.Note{{Note: w.id("note of " + name), Value: "came on foot"}}
			payload.TrackedEntities = append(payload.TrackedEntities, p)
		case i%2 == 0:
			people = append(people, w.id(name))
			payload.TrackedEntities = append(payload.TrackedEntities, &dhis2api.TrackedEntity{
				TrackedEntity: w.id(name), TrackedEntityType: w.id("patient"), OrgUnit: w.id("soloy"),
				Attributes: []dhis2api.Attribute{{Attribute: w.id("phone"), Value: fmt.Sprintf("7%07d", i)}},
			})
			fallthrough
		default:
			payload.Events = append(payload.Events, w.longVisit(name, "visit today", 71+i%2))
			visits = append(visits, w.id(name+"'s visit today"))
		}
		if i%20 == 1 {
			removed.Events = append(removed.Events, &dhis2api.Event{Event: w.id(name + "'s visit 0")})
		}
		if i%10 == 2 {
			ties.Relationships = append(ties.Relationships, w.mother(name, fmt.Sprintf("person %d", i+1)))
		}
	}
	w.send(w.local, payload, "")
	w.send(w.local, ties, "")
	w.send(w.local, removed, dhis2api.ImportStrategyDelete)
	w.values(w.local, "202605", map[string]string{"cases": "5", "deaths": "1"})
	size := len(asLine(w.t, ties)) + len(asLine(w.t, removed))
	for person, err := range w.local.TrackedEntitiesByID(w.t.Context(), people, dhis2api.Lookup{Program: w.id("program")}) {
		if err != nil {
			w.t.Fatal(err)
		}
		person.Enrollments, person.Relationships = nil, nil
		size += len(asLine(w.t, person))
	}
	for i := 0; i < patients; i += 5 {
		person, err := w.local.TrackedEntity(w.t.Context(), w.id(fmt.Sprintf("new person %d", i)), dhis2api.Lookup{Program: w.id("program")})
		if err != nil {
			w.t.Fatal(err)
		}
		size += len(asLine(w.t, person))
	}
	for event, err := range w.local.EventsByID(w.t.Context(), visits, dhis2api.Lookup{Program: w.id("program")}) {
		if err != nil {
			w.t.Fatal(err)
		}
		size += len(asLine(w.t, event))
	}
	return size
}

func asLine(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// traffic is what a reconcile moved over central's line, and how large the JSON of what it brought home is.
type traffic struct {
	bytes, requests int64
	changed         int
	// slept is how long fieldkit waited of its own accord.
	slept time.Duration
}

// broughtHome brings a busy day home and counts. trouble, unless nil, is made before.
func broughtHome(t *testing.T, scope, patients int, trouble func(*dhis2sim.Server, *countedLine)) traffic {
	t.Helper()
	server, line, url := overLine(t)
	w := newWorld(t, url, simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsOfYears(scope, 8)
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	moved := traffic{changed: w.busyDay(patients)}
	var slept atomic.Int64
	w.sleep = func(ctx context.Context, d time.Duration) error {
		slept.Add(int64(d))
		return ctx.Err()
	}
	if trouble != nil {
		trouble(server, line)
	}
	bytes, requests := line.bytes.Load(), line.requests.Load()
	r := w.reconcile(false)
	if r.Sums.Held+r.Sums.Open > 0 || r.Sums.Pushed < patients {
		t.Errorf("not all is home: %+v", r.Sums)
	}
	moved.bytes, moved.requests, moved.slept = line.bytes.Load()-bytes, line.requests.Load()-requests, time.Duration(slept.Load())
	return moved
}

// TestSoakBytes counts what a reconcile moves over central's line, both directions together: three times the JSON of what
// changed at most, whatever the scope.
func TestSoakBytes(t *testing.T) {
	patients, scopes := 100, []int{500, 2500}
	if os.Getenv("FIELDKIT_SOAK") != "" {
		patients, scopes = 300, []int{5000, 50_000}
	}
	if testing.Short() {
		patients, scopes = 50, []int{100, 500}
	}
	var moved []int64
	for _, scope := range scopes {
		one := broughtHome(t, scope, patients, nil)
		ratio := float64(one.bytes) / float64(one.changed)
		t.Logf("%d of %d patients: %d bytes in %d requests for %d bytes of JSON: %.2f", patients, scope, one.bytes, one.requests, one.changed, ratio)
		if ratio > 3 {
			t.Errorf("of %d patients %d changed: %d bytes for %d of JSON is %.2f times as much, want 3 at most", scope, patients, one.bytes, one.changed, ratio)
		}
		moved = append(moved, one.bytes)
	}
	if more := float64(moved[1]) / float64(moved[0]); more > 1.05 || more < 0.95 {
		t.Errorf("a scope of %d moves %.2f times what one of %d does", scopes[1], more, scopes[0])
	}
}

// The line of a base camp.
const (
	slowBytes = 256_000 / 8 // a second
	slowTurn  = 600 * time.Millisecond
	slowCuts  = 50 // one request in so many is cut
)

// TestSoakSlowLine brings the day of 300 patients home over the line of a base camp, on which one request in fifty is cut,
// before or after it was carried out, in less than ten minutes. The time is worked out from what was moved: so many turns,
// one after another, so many bytes, so long waited. In make soak it is really so slow.
func TestSoakSlowLine(t *testing.T) {
	const patients = 300
	var seen atomic.Int64
	cut := func(at int64) func(*http.Request) bool {
		return func(*http.Request) bool { return seen.Load()%(2*slowCuts) == at }
	}
	began := time.Now()
	moved := broughtHome(t, 400, patients, func(server *dhis2sim.Server, line *countedLine) {
		began = time.Now()
		turn := dhis2sim.Fault{Delay: time.Nanosecond, Match: func(*http.Request) bool { return seen.Add(1) > 0 }}
		if os.Getenv("FIELDKIT_SOAK") != "" {
			turn.Delay = slowTurn
			line.pace.Store(slowBytes)
		}
		server.Inject(turn)
		server.Inject(dhis2sim.Fault{CutBefore: true, Match: cut(7)})
		server.Inject(dhis2sim.Fault{CutAfter: true, Match: cut(7 + slowCuts)})
	})
	took := time.Duration(moved.requests)*slowTurn + time.Duration(moved.bytes)*time.Second/slowBytes + moved.slept
	really := time.Since(began)
	t.Logf("%d requests, %d bytes, %s waited: %s; it really took %s", moved.requests, moved.bytes, moved.slept, took, really)
	if took > 10*time.Minute || really > 10*time.Minute {
		t.Errorf("%d requests and %d bytes take %s, and really took %s; want ten minutes at most", moved.requests, moved.bytes, took, really)
	}
	if moved.requests < slowCuts+7 {
		t.Errorf("%d requests: not both cuts befell one", moved.requests)
	}
}
