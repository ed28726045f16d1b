package snapshot

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// crowd is a server with a number of events that it makes up as it is asked, holding none in memory: either three
// to a patient, in the programme with registration, or alone, in the one without.
type crowd struct {
	events int
	alone  bool
}

// eventsEach is how many events a patient has.
const eventsEach = 3

func (c crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	size, _ := strconv.Atoi(query.Get("pageSize"))
	page, _ := strconv.Atoi(query.Get("page"))
	from := (max(1, page) - 1) * size
	// What has no values is a list of uids, or of changes.
	bare := !strings.Contains(query.Get("fields"), "dataValues")
	switch r.URL.Path {
	case "/api/system/info":
		_, _ = io.WriteString(w, `{"version":"2.42.5.2","serverTimeZoneId":"America/Panama"}`)
	case "/api/me":
		_, _ = io.WriteString(w, `{"id":"M5zQapPyTZI","username":"admin"}`)
	case "/api/programs":
		_, _ = io.WriteString(w, `{"pager":{"page":1,"pageCount":1},"programs":[{"id":"xIkcI00xjZE"},{"id":"Deay1MNLTQW"}]}`)
	case "/api/tracker/trackedEntities":
		list(w, "trackedEntities", from, min(from+size, c.events/eventsEach), func(n int) { patientOf(w, n, bare) })
	case "/api/tracker/events":
		list(w, "events", from, min(from+size, c.events), func(n int) { eventOf(w, 0, n, bare) })
	default:
		http.NotFound(w, r)
	}
}

func list(w io.Writer, name string, from, to int, one func(n int)) {
	_, _ = fmt.Fprintf(w, `{"%s":[`, name)
	for n := from; n < to; n++ {
		if n > from {
			_, _ = io.WriteString(w, ",")
		}
		one(n)
	}
	_, _ = io.WriteString(w, `]}`)
}

func patientOf(w io.Writer, n int, bare bool) {
	_, _ = fmt.Fprintf(w, `{"trackedEntity":"P%010d","updatedAt":"2026-11-10T00:00:00.000"`, n)
	if bare {
		_, _ = io.WriteString(w, `}`)
		return
	}
	_, _ = io.WriteString(w, `,"trackedEntityType":"ig1m3E2NSOb","orgUnit":"P1J4eyjXQeT","attributes":[`)
	for a := range 8 {
		_, _ = fmt.Fprintf(w, `{"attribute":"A%010d","value":"value %d of %d"},`, a, a, n)
	}
	_, _ = fmt.Fprintf(w, `{"attribute":"A9999999999","value":"%d"}],"enrollments":[{"enrollment":"N%010d","program":"xIkcI00xjZE",`+
		`"orgUnit":"P1J4eyjXQeT","enrolledAt":"2026-11-10T00:00:00.000","status":"ACTIVE","events":[`, n, n)
	for e := range eventsEach {
		if e > 0 {
			_, _ = io.WriteString(w, ",")
		}
		eventOf(w, e, n, false)
	}
	_, _ = io.WriteString(w, `]}]}`)
}

func eventOf(w io.Writer, e, n int, bare bool) {
	_, _ = fmt.Fprintf(w, `{"event":"E%d%09d","updatedAt":"2026-11-10T00:00:00.000"`, e, n)
	if !bare {
		_, _ = io.WriteString(w, `,"program":"xIkcI00xjZE","programStage":"m9JW68Avdyx","occurredAt":"2026-11-10T00:00:00.000","dataValues":[`)
		for v := range 5 {
			_, _ = fmt.Fprintf(w, `{"dataElement":"D%010d","value":"%d.%d"},`, v, v, n)
		}
		_, _ = fmt.Fprintf(w, `{"dataElement":"D9999999999","value":"%d"}]`, n)
	}
	_, _ = io.WriteString(w, `}`)
}

// about is about the programme that the crowd is in.
func (c crowd) about() About {
	about := testAbout()
	scope := about.Scope
	scope.DataSets, scope.Wanted.Since = nil, ""
	if c.alone {
		scope.Programs, scope.TrackedEntityTypes = scope.Programs[1:], nil
		scope.Programs[0].Stages = []Stage{{ID: "m9JW68Avdyx", Name: "Check"}}
	} else {
		scope.Programs = scope.Programs[:1]
	}
	return about
}

// heapInUse is how much memory Go has in use for objects, in bytes: what there is, and what is not collected yet.
func heapInUse() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64()
}

// take takes a crowd, with the help of the snapshot before unless that is nil, and returns the snapshot and the most
// memory that was in use meanwhile, in bytes.
func (c crowd) take(tb testing.TB, keys *Keys, before *Snapshot) (*Snapshot, uint64) {
	tb.Helper()
	server := httptest.NewServer(c)
	defer server.Close()
	var answers *Answers
	options := dhis2api.Options{Through: func(next http.RoundTripper) http.RoundTripper {
		answers = NewAnswers(next)
		return answers
	}}
	client, err := dhis2api.Connect(tb.Context(), server.URL, dhis2api.Credentials{Username: "admin", Password: "district"}, options)
	if err != nil {
		tb.Fatal(err)
	}
	directory := tb.TempDir()
	w, err := OpenWriter(directory, Taken, keys, c.about(), WriterOptions{Now: testClock()})
	if err != nil {
		tb.Fatal(err)
	}
	if err := answers.Open(w); err != nil {
		tb.Fatal(err)
	}
	defer answers.Close()
	runtime.GC()
	var most uint64
	progress := func(Progress) { most = max(most, heapInUse()) }
	err = Take(tb.Context(), client, w, TakeOptions{Before: before, Progress: progress, Settled: answers.ForgetRecords})
	if err == nil {
		err = w.Finish()
	}
	if err != nil {
		tb.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		tb.Fatal(err)
	}
	taken, want := s.manifest.Objects(Taken, Events), int64(c.events)
	if !c.alone {
		taken, want = s.manifest.Objects(Taken, TrackedEntities), int64(c.events/eventsEach)
	}
	if taken != want {
		tb.Fatalf("%d taken of %d", taken, want)
	}
	return s, most
}

// takeCrowd is the memory that taking a crowd takes.
func takeCrowd(tb testing.TB, c crowd) uint64 {
	tb.Helper()
	_, most := c.take(tb, flatKeys(tb), nil)
	return most
}

// takeCrowdAgain is the memory that taking a crowd takes of which a snapshot is there.
func takeCrowdAgain(tb testing.TB, c crowd) uint64 {
	tb.Helper()
	keys := flatKeys(tb)
	before, _ := c.take(tb, keys, nil)
	again, most := c.take(tb, keys, before)
	if take := again.manifest.Faces[Taken].Take; take == nil || take.Copied[TrackedEntities]+take.Copied[Events] != before.manifest.Objects(Taken, TrackedEntities)+before.manifest.Objects(Taken, Events) {
		tb.Fatalf("not all were copied: %+v", take)
	}
	return most
}

func flatKeys(tb testing.TB) *Keys {
	tb.Helper()
	keys, _, err := WritingKeys(tb.TempDir(), KeyOptions{Getenv: func(string) string { return "" }, ConfigDirectory: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// flat is how much more memory may be in use for many events than for few, in bytes: a million uids and what the
// garbage collector leaves lying meanwhile.
const flat = 32 << 20

// inFlatMemory holds the memory that many events take against that of ten thousand.
func inFlatMemory(t *testing.T, memory func(testing.TB, crowd) uint64, events int) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a while")
	}
	for name, alone := range map[string]bool{"of patients": false, "without registration": true} {
		t.Run(name, func(t *testing.T) {
			few := memory(t, crowd{events: 10_000, alone: alone})
			many := memory(t, crowd{events: events, alone: alone})
			t.Logf("10,000 events: %d MB, %d: %d MB", few>>20, events, many>>20)
			if many > few+flat {
				t.Errorf("memory grows with the data: %d MB for 10,000 events, %d MB for %d", few>>20, many>>20, events)
			}
		})
	}
}

func TestTakeInFlatMemory(t *testing.T) { inFlatMemory(t, takeCrowd, 100_000) }

func TestTakeAgainInFlatMemory(t *testing.T) { inFlatMemory(t, takeCrowdAgain, 100_000) }

func TestSoakTakeMemory(t *testing.T) {
	if os.Getenv("FIELDKIT_SOAK") == "" {
		t.Skip("the full number runs with make soak")
	}
	inFlatMemory(t, takeCrowd, 1_000_000)
	inFlatMemory(t, takeCrowdAgain, 1_000_000)
}

// BenchmarkMemory says how much memory is in use at most while ten thousand events, and a million, are taken and loaded.
func BenchmarkMemory(b *testing.B) {
	for name, memory := range map[string]func(testing.TB, crowd) uint64{"take": takeCrowd, "again": takeCrowdAgain, "load": loadCrowd} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				few, many := memory(b, crowd{events: 10_000, alone: true}), memory(b, crowd{events: 1_000_000, alone: true})
				b.ReportMetric(float64(few>>20), "MB-10000")
				b.ReportMetric(float64(many>>20), "MB-1000000")
			}
		})
	}
}
