package dhis2sim

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Fault is a misbehaviour. Of the faults that match a request, delays add up, and the first that does more
// than delay decides the answer.
type Fault struct {
	// Match chooses the requests; nil chooses all.
	Match func(*http.Request) bool
	// Times is how many requests it applies to; 0 is every one until it is removed.
	Times int
	// Delay comes before the request is looked at.
	Delay time.Duration

	// Status answers with this status instead of doing anything, with Body of type ContentType (HTML when
	// empty) and, with RetryAfter, that header in seconds.
	Status            int
	Body, ContentType string
	RetryAfter        time.Duration
	// LoginPage answers 200 with DHIS2's login page instead of doing anything.
	LoginPage bool
	// Silent says nothing until the client has gone.
	Silent bool
	// After has Status, LoginPage or Silent come when all was done, in place of the server's own answer.
	After bool
	// CutBefore cuts the connection before anything was done, CutAfter when all was done.
	CutBefore, CutAfter bool
	// Truncate does what was asked, and sends half of the answer as if it were the whole.
	Truncate bool
}

// faults misbehave on purpose and count the requests seen.
type faults struct {
	mu       sync.Mutex
	injected []*Fault
	seen     map[string]int // requests by "METHOD path"
}

// Inject makes the server misbehave until the fault is used up or removed. Removing it twice is no error.
func (s *Server) Inject(fault Fault) (remove func()) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	injected := &fault
	s.faults.injected = append(s.faults.injected, injected)
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.injected = slices.DeleteFunc(s.faults.injected, func(f *Fault) bool { return f == injected })
	}
}

// Requests are the numbers of requests seen so far by "METHOD path", the path without API version and ".json".
func (s *Server) Requests() map[string]int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return maps.Clone(s.faults.seen)
}

// delays tells whether the fault does nothing but delay.
func (f *Fault) delays() bool {
	return f.Status == 0 && !f.LoginPage && !f.Silent && !f.CutBefore && !f.CutAfter && !f.Truncate
}

// next is what happens to a request, and uses up the faults that make it happen.
func (f *faults) next(r *http.Request) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[r.Method+" "+r.URL.Path]++
	var applied Fault
	left := f.injected[:0:0]
	for _, fault := range f.injected {
		if !applied.delays() && !fault.delays() || fault.Match != nil && !fault.Match(r) {
			left = append(left, fault)
			continue
		}
		delay := applied.Delay + fault.Delay
		if !fault.delays() {
			applied = *fault
		}
		applied.Delay = delay
		if fault.Times != 1 {
			fault.Times = max(fault.Times-1, 0)
			left = append(left, fault)
		}
	}
	f.injected = left
	return applied
}

func (f *faults) serve(w http.ResponseWriter, r *http.Request, server http.Handler) {
	fault := f.next(r)
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if fault.CutAfter || fault.After {
		server.ServeHTTP(newAnswer(http.Header{}), r)
	}
	switch {
	case fault.CutBefore, fault.CutAfter:
		panic(http.ErrAbortHandler) // how net/http cuts a connection
	case fault.Silent:
		_, _ = io.Copy(io.Discard, r.Body) // until it is read nobody hears the client go
		<-r.Context().Done()
	case fault.LoginPage:
		loginPage(w, r)
	case fault.Status != 0:
		if fault.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(fault.RetryAfter/time.Second)))
		}
		if fault.ContentType == "" {
			fault.ContentType = "text/html"
		}
		w.Header().Set("Content-Type", fault.ContentType)
		w.WriteHeader(fault.Status)
		_, _ = w.Write([]byte(fault.Body))
	case fault.Truncate:
		whole := newAnswer(w.Header())
		server.ServeHTTP(whole, r)
		w.WriteHeader(whole.status)
		_, _ = w.Write(whole.body.Bytes()[:whole.body.Len()/2])
	default:
		server.ServeHTTP(w, r)
	}
}
