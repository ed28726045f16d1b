package dhis2sim

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// clinicUnits are units of the clinic's program.
var clinicUnits = []string{"P1J4eyjXQeT", "pt1tlNJMGea", "NAcHEVPrf2A", "YHa4SyAIFQk", "E4Y9h4vPMzj"}

// scaleUID is the uid of the i-th object of a kind.
func scaleUID(kind byte, i int) string { return fmt.Sprintf("%c%010d", kind, i) }

// scalePayload is a payload of tracked entities from first to before last, each with an enrollment of two
// events.
func scalePayload(first, last int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"trackedEntities":[`)
	for i := first; i < last; i++ {
		if i > first {
			b.WriteByte(',')
		}
		unit := clinicUnits[i%len(clinicUnits)]
		fmt.Fprintf(&b, `{"trackedEntity":%q,"trackedEntityType":"ig1m3E2NSOb","orgUnit":%q,"createdAtClient":"2026-01-01T08:00:00.000","attributes":[`+
			`{"attribute":"GoX1JP83DWF","value":"First %d"},{"attribute":"k0aoyOGu3L2","value":"Last %d"},{"attribute":"QSE0SDVStuG","value":"8-%d"},`+
			`{"attribute":"cHsNSVWvjuJ","value":"1980-01-01"}],"enrollments":[{"enrollment":%q,"program":"xIkcI00xjZE","orgUnit":%q,"enrolledAt":"2026-01-02",`+
			`"occurredAt":"2026-01-02","status":"ACTIVE","attributes":[{"attribute":"roHIpaSBGyX","value":"SEX_1"}],"events":[`+
			`{"event":%q,"program":"xIkcI00xjZE","programStage":"m9JW68Avdyx","orgUnit":%q,"occurredAt":"2026-01-02","status":"COMPLETED","dataValues":[`+
			`{"dataElement":"SHUMZIdrf6Y","value":"54.5"},{"dataElement":"z0yQ1hh25FC","value":"38.1"},{"dataElement":"JahFmUbR8od","value":"TRIAGE_2"}]},`+
			`{"event":%q,"program":"xIkcI00xjZE","programStage":"nZrv0BgEY2b","orgUnit":%q,"occurredAt":"2026-01-02","status":"ACTIVE","dataValues":[`+
			`{"dataElement":"mVXpUJrUGop","value":"Cough %d"}]}]}]}`,
			scaleUID('T', i), unit, i, i, i, scaleUID('N', i), unit, scaleUID('V', 2*i), unit, scaleUID('V', 2*i+1), unit, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// scaleServer is a server with the clinic's metadata.
func scaleServer(tb testing.TB) *Server {
	tb.Helper()
	s, err := New(Options{})
	if err != nil {
		tb.Fatal(err)
	}
	clinic(tb, s)
	return s
}

// clinic gives a server the clinic's metadata and lets the administrator capture there.
func clinic(tb testing.TB, s *Server) {
	tb.Helper()
	metadata, err := os.ReadFile(filepath.Join("..", "testdata", "clinic", "metadata.json"))
	if err != nil {
		tb.Fatal(err)
	}
	scaleCall(tb, s, http.MethodPost, "/api/metadata", metadata)
	scaleCall(tb, s, http.MethodPatch, "/api/users/"+adminUID, []byte(`[{"op":"add","path":"/organisationUnits","value":[{"id":"zDtBfyIHGje"}]}]`))
}

// scaleCall makes a request as the administrator, which must succeed, and returns the answer's body.
func scaleCall(tb testing.TB, s *Server, method, path string, body []byte) []byte {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), method, path, bytes.NewReader(body))
	r.SetBasicAuth("admin", "district")
	r.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/json-patch+json")
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		tb.Fatalf("%s %s: %d %.500s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// BenchmarkTrackerScale imports a hundred thousand tracked entities, each with an enrollment and two events,
// in batches of 500, and pages through them all with every field. It reports the rates and the memory held.
// Run it with -benchtime=1x.
func BenchmarkTrackerScale(b *testing.B) {
	const entities, batch = 100_000, 500
	for b.Loop() {
		s := scaleServer(b)
		before := heapInUse()
		start := time.Now()
		for i := 0; i < entities; i += batch {
			scaleCall(b, s, http.MethodPost, "/api/tracker?async=false", scalePayload(i, i+batch))
		}
		imported := time.Since(start)
		held := heapInUse() - before

		start = time.Now()
		bytesRead := 0
		for page := 1; page <= entities/batch; page++ {
			path := fmt.Sprintf("/api/tracker/trackedEntities?program=xIkcI00xjZE&orgUnits=zDtBfyIHGje&orgUnitMode=DESCENDANTS&order=createdAt:asc"+
				"&fields=*&pageSize=%d&page=%d", batch, page)
			answer := scaleCall(b, s, http.MethodGet, path, nil)
			if got := bytes.Count(answer, []byte(`"programOwners"`)); got != batch {
				b.Fatalf("page %d has %d tracked entities", page, got)
			}
			bytesRead += len(answer)
		}
		read := time.Since(start)
		b.ReportMetric(4*entities/imported.Seconds(), "objects-imported/s")
		b.ReportMetric(4*entities/read.Seconds(), "objects-read/s")
		b.ReportMetric(float64(bytesRead)/(1<<20)/read.Seconds(), "MB-read/s")
		b.ReportMetric(float64(held)/(1<<20), "MB-held")
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
