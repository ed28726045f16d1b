package postgrestest_test

import (
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
	"github.com/jackc/pgx/v5"
)

// What was committed is there after an orderly end and after a crash, at the same address.
func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Start(t)
	database := cluster.Database(t)
	place := func(sql string) (x float64) {
		t.Helper()
		connection, err := pgx.Connect(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = connection.Close(t.Context()) }()
		if err := connection.QueryRow(t.Context(), sql).Scan(&x); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return x
	}
	connection, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	_, err = connection.Exec(t.Context(), "CREATE TABLE place AS SELECT ST_MakePoint(1, 2) AS geometry")
	_ = connection.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){"stopped": cluster.Stop, "killed": cluster.Kill} {
		end()
		cluster.Start(t)
		if x := place("SELECT ST_X(geometry) FROM place"); x != 1 {
			t.Errorf("%s: x is %v, want 1", name, x)
		}
	}
}
