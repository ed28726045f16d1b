package orchestrator

import "time"

// The bounds within which the size of batches follows central's answers.
const (
	// firstBatch is how many objects the first request of a run carries. It is where the import of a DHIS2 2.42 on two
	// cores stops getting much faster.
	firstBatch = 400
	// largestBatch is the most that a request carries: what central needs for more may be more than it has.
	largestBatch = 1000
	// quickAnswer is an answer after which more is tried, slowAnswer one after which less is.
	quickAnswer = 10 * time.Second
	slowAnswer  = time.Minute
	// mostPatience bounds how many quick answers in a row it takes to try more again.
	mostPatience = 16
)

// batchSize is how many objects go to central in one request. It follows central's answers: doubled after a quick one, halved
// after a slow one and after a request that was too much for central or for the line. Each such failure doubles the number
// of quick answers that it takes to try more again. The zero value is not ready; see newBatchSize.
type batchSize struct {
	size int
	// patience is how many quick answers in a row it takes to try more, quick how many there were.
	patience, quick int
}

func newBatchSize() batchSize { return batchSize{size: firstBatch, patience: 1} }

// objects is how many may go in the next request, one at least.
func (b *batchSize) objects() int { return b.size }

// answered notes that central answered a request with so many objects, after that time. A request that was small says
// nothing about larger ones.
func (b *batchSize) answered(objects int, took time.Duration) {
	switch {
	case took >= slowAnswer:
		b.halve(objects)
	case took > quickAnswer:
		b.quick = 0
	case 2*objects > b.size:
		if b.quick++; b.quick >= b.patience {
			b.size, b.quick = min(2*b.size, largestBatch), 0
		}
	}
}

// failed notes that a request with so many objects was too much: no answer in time, a cut line, a 5xx, a 413.
func (b *batchSize) failed(objects int) {
	b.patience = min(2*b.patience, mostPatience)
	b.halve(objects)
}

// halve makes what comes next half of what was sent, unless it is that small already.
func (b *batchSize) halve(objects int) { b.size, b.quick = max(min(b.size, objects/2), 1), 0 }
