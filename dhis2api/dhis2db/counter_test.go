package dhis2db_test

import (
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
)

// TestCounter sets a counter that is missing, further on, and back, which leaves it where it is.
func TestCounter(t *testing.T) {
	cluster := postgrestest.Start(t)
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			s := openTables(t, cluster, version)
			const attribute, key = "aNumberAtt1", "FD-SEQUENTIAL(######)"
			check := func(want int64) {
				t.Helper()
				if next, err := s.database.Counter(t.Context(), attribute, key); err != nil || next != want {
					t.Errorf("the next number is %d, want %d: %v", next, want, err)
				}
			}
			check(1)
			for _, step := range []struct{ to, want int64 }{{501, 501}, {2001, 2001}, {7, 2001}} {
				if now, err := s.database.AdvanceCounter(t.Context(), attribute, key, step.to); err != nil || now != step.want {
					t.Errorf("advanced to %d it stands at %d, want %d: %v", step.to, now, step.want, err)
				}
				check(step.want)
			}
			if next, err := s.database.Counter(t.Context(), attribute, "other"); err != nil || next != 1 {
				t.Errorf("another key: %d, %v", next, err)
			}
		})
	}
}
