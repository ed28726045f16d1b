package dhis2sim

import (
	"net/http"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
)

// BenchmarkDatabaseScale imports tracked entities, each with an enrollment and two events, in batches of 500 into a server with
// a database, and opens another server on what is there. It reports the rates and the memory held. Run it with -benchtime=1x.
func BenchmarkDatabaseScale(b *testing.B) {
	const entities, batch = 20_000, 500
	cluster := postgrestest.Start(b)
	for b.Loop() {
		database := Database{URL: cluster.Database(b)}
		s, err := Open(b.Context(), Options{}, database)
		if err != nil {
			b.Fatal(err)
		}
		clinic(b, s)
		start := time.Now()
		for i := 0; i < entities; i += batch {
			scaleCall(b, s, http.MethodPost, "/api/tracker?async=false", scalePayload(i, i+batch))
		}
		b.ReportMetric(4*entities/time.Since(start).Seconds(), "objects-imported/s")
		s.Close()
		before := heapInUse()
		start = time.Now()
		if s, err = Open(b.Context(), Options{}, database); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(4*entities/time.Since(start).Seconds(), "objects-loaded/s")
		b.ReportMetric(float64(heapInUse()-before)/(1<<20), "MB-held")
		s.Close()
	}
}
