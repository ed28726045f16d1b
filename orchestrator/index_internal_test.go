package orchestrator

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openTestIndexes(tb testing.TB) *indexFile {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "a trip?", indexName)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		tb.Fatal(err)
	}
	f, err := openIndexFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.close(); err != nil {
			tb.Error(err)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
			tb.Errorf("left behind: %v %v", left, err)
		}
	})
	return f
}

type testPiece struct {
	uid, subject string
	part         int
	content      byte
}

func writeTestIndex(tb testing.TB, f *indexFile, name string, pieces func(yield func(testPiece) bool)) int64 {
	tb.Helper()
	w, err := f.write(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	for p := range pieces {
		content := [16]byte{p.content, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, p.content}
		if p.content == 0 {
			content = [16]byte{}
		}
		if err := w.add(tb.Context(), pieceKey{root{rootForm, p.uid}, p.subject}, placeOf(p.part, 0), content); err != nil {
			tb.Fatal(err)
		}
	}
	entries, err := w.finish(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return entries
}

func slicePieces(pieces []testPiece) func(func(testPiece) bool) {
	return func(yield func(testPiece) bool) {
		for _, p := range pieces {
			if !yield(p) {
				return
			}
		}
	}
}

func TestIndexFile(t *testing.T) {
	f := openTestIndexes(t)
	writeTestIndex(t, f, takenIndex, slicePieces([]testPiece{{"before", "", 0, 9}}))
	entries := writeTestIndex(t, f, takenIndex, slicePieces([]testPiece{
		{"same", "values", 0, 1}, {"sum", "values", 0, 1}, {"other", "values", 1, 1}, {"gone", "values", 1, 5}, {"empty", "values", 1, 0},
		{"sum", "values", 2, 2}, {"two", "values", 2, 1}, {"two", "completions", 4, 1},
	}))
	writeTestIndex(t, f, loadedIndex, slicePieces([]testPiece{
		{"sum", "values", 0, 2}, {"sum", "values", 0, 1}, {"same", "values", 0, 1}, {"other", "values", 0, 2}, {"two", "values", 0, 1},
	}))
	if entries != 7 {
		t.Errorf("%d entries, want 7", entries)
	}
	var differ []string
	err := f.differences(t.Context(), takenIndex, loadedIndex, func(d difference) error {
		differ = append(differ, fmt.Sprint(d.root, " ", d.subject, " missing=", d.missing, " empty=", d.empty))
		return nil
	})
	want := []string{
		"form:empty values missing=true empty=true", "form:gone values missing=true empty=false", "form:other values missing=false empty=false",
		"form:two completions missing=true empty=false",
	}
	if diff := cmp.Diff(want, differ); err != nil || diff != "" {
		t.Errorf("%v, differences (-want +got):\n%s", err, diff)
	}
	var lacking []string
	err = f.lacking(t.Context(), takenIndex, loadedIndex, func(r root) error {
		lacking = append(lacking, r.uid)
		return nil
	})
	if diff := cmp.Diff([]string{"empty", "gone"}, lacking); err != nil || diff != "" {
		t.Errorf("%v, lacking (-want +got):\n%s", err, diff)
	}
	var parts []string
	err = f.places(t.Context(), takenIndex, []root{{rootForm, "two"}, {rootForm, "sum"}, {rootForm, "unknown"}}, func(r root, first, last place) error {
		parts = append(parts, fmt.Sprint(r.uid, " ", first.part(), "-", last.part()))
		return nil
	})
	if diff := cmp.Diff([]string{"sum 0-2", "two 4-4", "two 2-2"}, parts); err != nil || diff != "" {
		t.Errorf("%v, parts (-want +got):\n%s", err, diff)
	}
}

// indexMemory is the most memory that Go has in use while two faces of so many events are indexed and compared, in
// bytes, and how long it takes.
func indexMemory(tb testing.TB, events int) (most uint64, took time.Duration) {
	tb.Helper()
	f := openTestIndexes(tb)
	crowd := func(yield func(testPiece) bool) {
		for n := range events {
			if n%5000 == 0 {
				most = max(most, heapInUse())
			}
			// In an order that is not the index's.
			if !yield(testPiece{fmt.Sprintf("Deay1MNLTQW.E%010d", n*7919%events), "Deay1MNLTQW", n / 10_000, 1}) {
				return
			}
		}
	}
	runtime.GC()
	began := time.Now()
	writeTestIndex(tb, f, takenIndex, crowd)
	writeTestIndex(tb, f, loadedIndex, crowd)
	err := f.differences(tb.Context(), takenIndex, loadedIndex, func(d difference) error { return fmt.Errorf("%s differs", d.root) })
	if err != nil {
		tb.Fatal(err)
	}
	return max(most, heapInUse()), time.Since(began)
}

func heapInUse() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64()
}

// TestIndexInFlatMemory indexes ten times as many events in the same memory.
func TestIndexInFlatMemory(t *testing.T) {
	few, _ := indexMemory(t, 10_000)
	many, took := indexMemory(t, 100_000)
	t.Logf("10,000 events: %d MB, 100,000: %d MB in %v", few>>20, many>>20, took)
	if many > few+8<<20 {
		t.Errorf("memory grows with the data: %d MB for 10,000 events, %d MB for 100,000", few>>20, many>>20)
	}
}

// TestSoakIndexMemory does the same with a million.
func TestSoakIndexMemory(t *testing.T) {
	if os.Getenv("FIELDKIT_SOAK") == "" {
		t.Skip("the full number runs with make soak")
	}
	few, _ := indexMemory(t, 10_000)
	many, took := indexMemory(t, 1_000_000)
	t.Logf("10,000 events: %d MB, 1,000,000: %d MB in %v", few>>20, many>>20, took)
	if many > few+8<<20 {
		t.Errorf("memory grows with the data: %d MB for 10,000 events, %d MB for 1,000,000", few>>20, many>>20)
	}
}

// BenchmarkMemory says how much memory is in use at most while two faces of ten thousand events, and of a million, are
// indexed and compared.
func BenchmarkMemory(b *testing.B) {
	b.Run("compare", func(b *testing.B) {
		for b.Loop() {
			few, _ := indexMemory(b, 10_000)
			many, _ := indexMemory(b, 1_000_000)
			b.ReportMetric(float64(few>>20), "MB-10000")
			b.ReportMetric(float64(many>>20), "MB-1000000")
		}
	})
}
