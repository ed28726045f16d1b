package snapshot

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// crowd is a server with a number of patients that it makes up as it is asked, holding none in memory.
type crowd struct{ patients int }

func (c crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	switch r.URL.Path {
	case "/api/system/info":
		_, _ = io.WriteString(w, `{"version":"2.42.5.2","serverTimeZoneId":"America/Panama"}`)
	case "/api/me":
		_, _ = io.WriteString(w, `{"id":"M5zQapPyTZI","username":"admin"}`)
	case "/api/tracker/trackedEntities":
		size, _ := strconv.Atoi(query.Get("pageSize"))
		page, _ := strconv.Atoi(query.Get("page"))
		c.list(w, (max(1, page)-1)*size, size, query.Get("fields") == "trackedEntity")
	default:
		http.NotFound(w, r)
	}
}

func (c crowd) list(w io.Writer, from, size int, bare bool) {
	_, _ = io.WriteString(w, `{"trackedEntities":[`)
	for n := from; n < min(c.patients, from+size); n++ {
		if n > from {
			_, _ = io.WriteString(w, ",")
		}
		if bare {
			_, _ = fmt.Fprintf(w, `{"trackedEntity":"P%010d"}`, n)
			continue
		}
		_, _ = fmt.Fprintf(w, `{"trackedEntity":"P%010d","trackedEntityType":"ig1m3E2NSOb","orgUnit":"P1J4eyjXQeT","attributes":[`, n)
		for a := range 8 {
			_, _ = fmt.Fprintf(w, `{"attribute":"A%010d","value":"value %d of %d"},`, a, a, n)
		}
		_, _ = fmt.Fprintf(w, `{"attribute":"A9999999999","value":"%d"}],"enrollments":[{"enrollment":"N%010d","program":"xIkcI00xjZE",`+
			`"orgUnit":"P1J4eyjXQeT","enrolledAt":"2026-11-10T00:00:00.000","status":"ACTIVE","events":[`, n, n)
		for e := range 3 {
			if e > 0 {
				_, _ = io.WriteString(w, ",")
			}
			_, _ = fmt.Fprintf(w, `{"event":"E%d%09d","program":"xIkcI00xjZE","programStage":"m9JW68Avdyx","occurredAt":"2026-11-10T00:00:00.000","dataValues":[`, e, n)
			for v := range 5 {
				if v > 0 {
					_, _ = io.WriteString(w, ",")
				}
				_, _ = fmt.Fprintf(w, `{"dataElement":"D%010d","value":"%d.%d"}`, v, v, n)
			}
			_, _ = io.WriteString(w, `]}`)
		}
		_, _ = io.WriteString(w, `]}]}`)
	}
	_, _ = io.WriteString(w, `]}`)
}

// takeCrowd takes a number of patients and returns the most memory that was in use meanwhile, in bytes.
func takeCrowd(tb testing.TB, patients int) uint64 {
	tb.Helper()
	server := httptest.NewServer(crowd{patients})
	defer server.Close()
	client, err := dhis2api.Connect(tb.Context(), server.URL, dhis2api.Credentials{Username: "admin", Password: "district"}, dhis2api.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	keys := &Keys{}
	if keys.recipients, err = ParseRecipients([]string{"age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"}); err != nil {
		tb.Fatal(err)
	}
	about := testAbout()
	about.Scope.Programs, about.Scope.DataSets, about.Scope.Wanted.Since = about.Scope.Programs[:1], nil, ""
	w, err := OpenWriter(tb.TempDir(), Taken, keys, about, WriterOptions{Now: testClock()})
	if err != nil {
		tb.Fatal(err)
	}
	var most uint64
	var done int64
	err = Take(tb.Context(), client, w, TakeOptions{Progress: func(p Progress) {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		most = max(most, stats.HeapInuse+stats.StackInuse)
		done = max(done, p.Done)
	}})
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		tb.Fatal(err)
	}
	if done != int64(patients) {
		tb.Fatalf("%d patients taken of %d", done, patients)
	}
	return most
}

// TestTakeInFlatMemory takes five times as many patients in hardly more memory.
func TestTakeInFlatMemory(t *testing.T) {
	few := takeCrowd(t, 4000)
	many := takeCrowd(t, 20_000)
	t.Logf("4,000 patients: %d MB, 20,000: %d MB", few>>20, many>>20)
	if many > few+few/2+16<<20 {
		t.Errorf("memory grows with the data: %d MB for 4,000 patients, %d MB for 20,000", few>>20, many>>20)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, patients := range []int{10_000, 100_000} {
		b.Run(strings.ReplaceAll(fmt.Sprint(patients, " patients"), " ", "-"), func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(float64(takeCrowd(b, patients)>>20), "MB-peak")
			}
		})
	}
}
