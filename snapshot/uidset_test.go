package snapshot

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUIDSetAgainstMap puts uids into a set and into a map, and holds one against the other.
func TestUIDSetAgainstMap(t *testing.T) {
	const characters = "zZaAmM059bC"
	random := rand.New(rand.NewPCG(1, 2))
	uids := []string{"", "short", "0bcdefghijk", "abcdefghij-", "AAAAAAAAAAA", "zzzzzzzzzzz", "Z9999999999", "m0000000000", "AAAAAAAAAAAA", "åbcdefghij"}
	for range 20_000 {
		uid := []byte{characters[random.IntN(6)]}
		for len(uid) < 11 {
			uid = append(uid, characters[random.IntN(len(characters))])
		}
		uids = append(uids, string(uid))
	}
	for n := range 5_000 {
		uids = append(uids, fmt.Sprintf("E%010d", n)) // neighbours
	}
	set, known := newUIDSet(), map[string]bool{}
	for _, uid := range append(uids, uids...) {
		if set.has(uid) != known[uid] {
			t.Fatalf("has(%q) = %v", uid, !known[uid])
		}
		if set.add(uid) == known[uid] {
			t.Fatalf("add(%q) = %v", uid, known[uid])
		}
		known[uid] = true
	}
	if set.size() != len(known) {
		t.Errorf("size %d, want %d", set.size(), len(known))
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(known)), slices.Sorted(set.all())); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	other := newUIDSet()
	other.add("AAAAAAAAAAA")
	other.addAll(set)
	if other.size() != len(known) {
		t.Errorf("size of the united %d, want %d", other.size(), len(known))
	}
}

func BenchmarkUIDSet(b *testing.B) {
	uids := make([]string, 1_000_000)
	for n := range uids {
		uids[n] = fmt.Sprintf("E%010d", n*7919)
	}
	b.ReportAllocs()
	for b.Loop() {
		set := newUIDSet()
		for _, uid := range uids {
			set.add(uid)
		}
		b.ReportMetric(float64(tableBytes(set))/float64(len(uids)), "bytes/uid")
	}
}

func tableBytes(s *uidSet) (bytes int) {
	for i := range s.shards {
		bytes += 8 * len(s.shards[i].table)
	}
	return bytes
}
