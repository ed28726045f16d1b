package dhis2sim

import (
	"net/http"
	"sync"
)

// faults misbehave on purpose and count the requests seen.
type faults struct {
	mu   sync.Mutex
	seen map[string]int // requests by "METHOD path"
}

func (f *faults) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	f.mu.Lock()
	f.seen[r.Method+" "+r.URL.Path]++
	f.mu.Unlock()
	next.ServeHTTP(w, r)
}
