package snapshot

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// BenchmarkIncremental takes a program, changes one patient of a hundred, and takes it again with the help of the first.
// The ratio is of the bytes that go over the line, both ways; once as servers answer by themselves, once through a proxy
// that compresses, as most have in front of them.
func BenchmarkIncremental(b *testing.B) {
	server := os.Getenv("FIELDKIT_BENCH_CENTRAL")
	if server == "" {
		server = simulatedProcess(b)
	}
	address := clinicServer(b, server)
	marker := benchMarker(int(time.Now().Unix()%670) + 1)
	patients := benchNumber("FIELDKIT_BENCH_PATIENTS", 4000)
	register(b, benchClient(b, address, nil), marker, patients)
	b.Run("plain", func(b *testing.B) { benchmarkIncremental(b, address, address, marker, patients) })
	b.Run("compressed", func(b *testing.B) { benchmarkIncremental(b, address, compressing(b, address), marker, patients) })
}

// benchmarkIncremental changes patients at one address and takes from another of the same server.
func benchmarkIncremental(b *testing.B, address, through, marker string, patients int) {
	keys := benchKeys(b)
	take := func(before *Snapshot) (*Snapshot, int64, time.Duration) {
		client, answers := benchTaker(b, through, nil)
		connecting := client.Traffic()
		s, took := benchTake(b, client, answers, keys, before)
		traffic := client.Traffic().Minus(connecting)
		return s, traffic.Sent + traffic.Received, took
	}
	for b.Loop() {
		first, full, long := take(nil)
		client := benchClient(b, address, nil)
		var payload dhis2api.TrackerPayload
		for n := 0; n < patients; n += 100 {
			patient := benchPatient(marker, n)
			patient.Attributes[0].Value += time.Now().Format(" 15.04.05.000")
			patient.Enrollments = nil
			payload.TrackedEntities = append(payload.TrackedEntities, patient)
		}
		report, err := client.Import(b.Context(), payload, importOptions())
		if err != nil || len(report.Errors) > 0 {
			b.Fatalf("change patients: %v %+v", err, report)
		}
		second, less, short := take(first)
		if had, has := first.manifest.Objects(Taken, TrackedEntities), second.manifest.Objects(Taken, TrackedEntities); had != has || has < int64(patients) {
			b.Fatalf("%d patients, then %d", had, has)
		}
		b.ReportMetric(float64(less)/float64(full), "ratio")
		b.ReportMetric(float64(full)/1e6, "MB-full")
		b.ReportMetric(float64(less)/1e6, "MB-incremental")
		b.ReportMetric(short.Seconds()/long.Seconds(), "time-ratio")
	}
}

// compressing is the address under which a server's answers come compressed.
func compressing(b *testing.B, address string) string {
	b.Helper()
	target, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(answer *http.Response) error {
			plain, compressed := answer.Body, (*io.PipeWriter)(nil)
			answer.Body, compressed = io.Pipe()
			answer.Header.Set("Content-Encoding", "gzip")
			answer.Header.Del("Content-Length")
			answer.ContentLength = -1
			go func() {
				packer := gzip.NewWriter(compressed)
				_, err := io.Copy(packer, plain)
				if closed := packer.Close(); err == nil {
					err = closed
				}
				_ = plain.Close()
				_ = compressed.CloseWithError(err)
			}()
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	b.Cleanup(server.Close)
	return server.URL
}
