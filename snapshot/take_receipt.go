package snapshot

import "github.com/dhis2-fieldkit/fieldkit/dhis2api"

// TakeReceipt says what taking a face cost, over all the runs that it took.
type TakeReceipt struct {
	// Asked counts the objects that the server was asked for, Copied those that came out of the snapshot before, both by
	// kind.
	Asked  map[Kind]int64 `json:"asked,omitempty"`
	Copied map[Kind]int64 `json:"copied,omitempty"`
	// Traffic is what was exchanged with the server up to the last durable piece of each run: what a killed run did
	// after that is not in it. Zero where nobody counted.
	Traffic dhis2api.Traffic `json:"traffic"`
	// Whole is the number of bytes that came in, or would have: each stream as it was when last read whole. It is 0
	// where that is not known of every stream.
	Whole int64 `json:"whole,omitempty"`
	// Streams are those bytes stream by stream, for the next time.
	Streams map[string]int64 `json:"streams,omitempty"`
}

// Unchanged is the number of records that were not asked for again, and of all.
func (r *TakeReceipt) Unchanged() (copied, all int64) {
	for _, n := range r.Copied {
		copied += n
		all += n
	}
	for _, n := range r.Asked {
		all += n
	}
	return copied, all
}

// takeReceipt sums up the receipts of a face; nil where nobody counted and nothing was copied.
func takeReceipt(receipts []receipt) *TakeReceipt {
	sum := &TakeReceipt{Asked: map[Kind]int64{}, Copied: map[Kind]int64{}, Streams: map[string]int64{}}
	before := map[string]int64{}
	known := true
	for _, r := range receipts {
		for _, part := range r.Parts {
			if part.Kind != Document && part.Kind != Beyond {
				sum.Asked[part.Kind] += part.Objects
			}
		}
		for kind, n := range r.Copied {
			sum.Asked[kind] -= n
			sum.Copied[kind] += n
		}
		if r.Traffic != nil {
			sum.Traffic = sum.Traffic.Plus(*r.Traffic)
			sum.Streams[r.Stream] += r.Traffic.Received
		}
		if r.For != "" {
			before[r.For] = r.Whole
		}
	}
	if sum.Traffic.Requests == 0 && len(sum.Copied) == 0 {
		return nil
	}
	for stream, whole := range before {
		known = known && whole > 0
		delete(sum.Streams, stream+copySuffix)
		sum.Streams[stream] = whole
		if whole == 0 {
			delete(sum.Streams, stream)
		}
	}
	if known && sum.Traffic.Received > 0 {
		for _, bytes := range sum.Streams {
			sum.Whole += bytes
		}
	}
	return sum
}

// cost is the number of bytes that reading a stream whole took when that was last done; 0 where it is not known.
func (b *before) cost(stream string) int64 {
	if take := b.snapshot.manifest.Faces[Taken].Take; take != nil {
		return take.Streams[stream]
	}
	return 0
}
