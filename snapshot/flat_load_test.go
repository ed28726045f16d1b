package snapshot

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// swallower is a server that says it stored whatever it is given, and keeps nothing.
type swallower struct{}

func (swallower) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/api/system/info":
		_, _ = io.WriteString(w, `{"version":"2.42.5.2","serverTimeZoneId":"America/Panama"}`)
	case r.URL.Path == "/api/me":
		_, _ = io.WriteString(w, `{"id":"M5zQapPyTZI","username":"admin"}`)
	case r.Method == http.MethodPost && r.URL.Path == "/api/tracker":
		var payload dhis2api.TrackerPayload
		if err := json.NewDecoder(r.Body).Decode(&payload); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		report := map[dhis2api.Kind][]string{}
		for kind, one := range objectsOf(payload) {
			report[kind] = append(report[kind], fmt.Sprintf(`{"trackerType":"%s","uid":"%s","errorReports":[]}`, kind, uidOf(one)))
		}
		var kinds []string
		for kind, objects := range report {
			kinds = append(kinds, fmt.Sprintf(`"%s":{"objectReports":[%s]}`, kind, strings.Join(objects, ",")))
		}
		_, _ = fmt.Fprintf(w, `{"status":"OK","bundleReport":{"typeReportMap":{%s}}}`, strings.Join(kinds, ","))
	case r.Method == http.MethodGet:
		name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		_, _ = fmt.Fprintf(w, `{"pager":{"page":1,"pageCount":1,"total":0},"%s":[]}`, name)
	default:
		http.NotFound(w, r)
	}
}

// write makes a snapshot of the crowd's events, line by line.
func (c crowd) write(tb testing.TB, keys *Keys) *Snapshot {
	tb.Helper()
	directory := tb.TempDir()
	w, err := OpenWriter(directory, Taken, keys, c.about(), WriterOptions{Now: testClock()})
	if err != nil {
		tb.Fatal(err)
	}
	kind, objects, size := TrackedEntities, c.events/eventsEach, partTrackedEntities
	if c.alone {
		kind, objects, size = Events, c.events, partEvents
	}
	subject := Subject{Program: c.about().Scope.Programs[0].ID}
	for from := 0; from < objects; from += size {
		batch := w.Batch("crowd")
		for n := from; n < min(from+size, objects); n++ {
			var line strings.Builder
			if c.alone {
				eventOf(&line, 0, n, false)
			} else {
				patientOf(&line, n, false)
			}
			if err := batch.Add(kind, subject, json.RawMessage(line.String())); err != nil {
				tb.Fatal(err)
			}
		}
		if err := batch.Commit("", from+size >= objects); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		tb.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// loadCrowd loads a crowd and returns the most memory that was in use meanwhile, in bytes.
func loadCrowd(tb testing.TB, c crowd) uint64 {
	tb.Helper()
	keys := flatKeys(tb)
	s := c.write(tb, keys)
	server := httptest.NewServer(swallower{})
	defer server.Close()
	client, err := dhis2api.Connect(tb.Context(), server.URL, dhis2api.Credentials{Username: "admin", Password: "district"}, dhis2api.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	w, err := OpenWriter(s.directory, Loaded, keys, c.about(), WriterOptions{Now: testClock()})
	if err != nil {
		tb.Fatal(err)
	}
	runtime.GC()
	var most uint64
	var last LoadProgress
	_, err = Load(tb.Context(), s, client, w, LoadOptions{Progress: func(p LoadProgress) { most, last = max(most, heapInUse()), p }})
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		tb.Fatal(err)
	}
	if last.AllDone == 0 || last.AllDone != last.AllTotal {
		tb.Fatalf("%d of %d loaded", last.AllDone, last.AllTotal)
	}
	return most
}

func TestLoadInFlatMemory(t *testing.T) { inFlatMemory(t, loadCrowd, 100_000) }

func TestSoakLoadMemory(t *testing.T) {
	if os.Getenv("FIELDKIT_SOAK") == "" {
		t.Skip("the full number runs with make soak")
	}
	inFlatMemory(t, loadCrowd, 1_000_000)
}
