package orchestrator

import (
	"testing"
	"time"
)

// TestBatchSize plays servers by what they take: the size finds it from below, keeps below it, and never leaves its bounds.
func TestBatchSize(t *testing.T) {
	tests := []struct {
		name string
		// most is the number of objects that the server takes at once, perObject how long it needs for one.
		most      int
		perObject time.Duration
		// least and largest bound the size after thirty requests.
		least, largest int
		// failures is how many of the thirty may fail.
		failures int
	}{
		{name: "a server that takes anything quickly", most: 1 << 20, perObject: time.Millisecond, least: largestBatch, largest: largestBatch},
		{name: "a server that is neither quick nor slow", most: 1 << 20, perObject: 50 * time.Millisecond, least: firstBatch, largest: firstBatch},
		{name: "a slow server", most: 1 << 20, perObject: time.Second, least: 11, largest: 59},
		{name: "a proxy that takes little at once", most: 60, perObject: time.Millisecond, least: 50, largest: 100, failures: 5},
		{name: "a server that takes one", most: 1, perObject: time.Millisecond, least: 1, largest: 2, failures: 11},
		{name: "a server that takes none", most: 0, least: 1, largest: 1, failures: 30},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBatchSize()
			failures := 0
			for range 30 {
				sent := b.objects()
				if sent < 1 || sent > largestBatch {
					t.Fatalf("the size is %d", sent)
				}
				if sent > test.most {
					failures++
					b.failed(sent)
				} else {
					b.answered(sent, time.Duration(sent)*test.perObject)
				}
			}
			if b.objects() < test.least || b.objects() > test.largest {
				t.Errorf("the size is %d, want %d to %d", b.objects(), test.least, test.largest)
			}
			if failures > test.failures {
				t.Errorf("%d of 30 requests failed, want %d at most", failures, test.failures)
			}
		})
	}
}

// TestBatchSizeAfterSmallRequest: a small request that goes well says nothing about larger ones, and one that fails says that
// larger ones fail too.
func TestBatchSizeAfterSmallRequest(t *testing.T) {
	b := newBatchSize()
	b.answered(3, time.Millisecond)
	if b.objects() != firstBatch {
		t.Errorf("after a small request the size is %d, want %d", b.objects(), firstBatch)
	}
	b.failed(30)
	if b.objects() != 15 {
		t.Errorf("after 30 failed the size is %d, want 15", b.objects())
	}
	b.answered(15, time.Millisecond)
	if b.objects() != 15 {
		t.Errorf("after one quick answer the size is %d, and it takes two", b.objects())
	}
	b.answered(15, time.Millisecond)
	if b.objects() != 30 {
		t.Errorf("after two quick answers the size is %d, want 30", b.objects())
	}
}
