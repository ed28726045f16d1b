// Package dhis2sim is a simulated DHIS2 server: an http.Handler that behaves, towards a client of the
// tracker, aggregate and metadata APIs, as recorded DHIS2 2.41, 2.42 and 2.43 servers did.
//
// It exists because a real DHIS2 cannot be had where the tests run. It serves tests and the demo; it is
// not a DHIS2. Where a real server and this one differ, this one is wrong.
//
// Nouns: an object is one piece of metadata (a program, an org unit, a user) kept as the JSON it was
// imported as; a class is the plural name under which the API serves objects ("organisationUnits");
// tracked entities, enrollments, events and relationships are kept apart from metadata, typed; an account
// is a user seen from what he may do; a fault is a misbehaviour that a test asked for.
//
// A Server starts as a fresh DHIS2 does: one account (admin/district), the default category objects and
// nothing else. Everything lives in memory, behind one lock; a server with a database also keeps it there, in the tables of
// a real one, and answers for nothing before that is done.
package dhis2sim

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what server to be.
type Options struct {
	// Version is the full version to report and to behave as, "2.42.5.2" when empty.
	// Supported minors are 2.41, 2.42 and 2.43; any other is an error of New.
	Version string
	// Now tells the time; time.Now when nil.
	Now func() time.Time
	// Zone is the server's time zone, in which it writes its JSON times; UTC when nil.
	Zone *time.Location
	// MaxFile is the largest file that it takes, in bytes (max.file_upload_size); 10,000,000 when zero.
	MaxFile int
	// Trouble is told when the database fails a request or a job; nobody is when nil. It may be called from several goroutines.
	Trouble func(error)
}

// Server is one simulated DHIS2. It is safe for concurrent use.
type Server struct {
	options Options
	minor   int           // 41, 42 or 43
	lag     time.Duration // see slowly
	mux     *http.ServeMux

	storage storage     // nil: everything is in memory only
	stale   atomic.Bool // memory does not hold what the storage holds

	// mu guards everything below down to the blank line. A request that only reads holds it for reading;
	// any other, and a job, for writing.
	mu         sync.RWMutex
	changed    *changes
	metadata   *metadataStore
	tasks      map[string]*task // by KIND/UID
	tracker    *trackerStore
	aggregate  *aggregateStore
	files      map[string]*fileResource
	dataStore  map[string]map[string]any // namespace, key
	settings   map[string]string         // of the system, those that were set
	userValues map[string]map[string]any // user uid, user setting
	counters   map[string]int            // SEQUENTIAL values given out, by attribute and key
	reserved   map[string]reservation    // RANDOM values given out, by attribute and value

	referrals referrals
	logins    logins
	jobs      jobs
	pending   sync.WaitGroup // changes that wait for their time, see slowly
	faults    faults
}

// New returns a fresh server that keeps everything in memory. It fails when the version is not one that can be simulated.
func New(options Options) (*Server, error) {
	s, err := emptyServer(options)
	if err != nil {
		return nil, err
	}
	s.populate()
	return s, nil
}

// emptyServer is a server with nothing in it, not even an account.
func emptyServer(options Options) (*Server, error) {
	if options.Version == "" {
		options.Version = "2.42.5.2"
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Zone == nil {
		options.Zone = time.UTC
	}
	if options.MaxFile == 0 {
		options.MaxFile = 10_000_000
	}
	var err error
	s := &Server{
		options:    options,
		lag:        time.Second,
		mux:        http.NewServeMux(),
		metadata:   newMetadataStore(),
		tracker:    newTrackerStore(),
		tasks:      map[string]*task{},
		aggregate:  newAggregateStore(),
		files:      map[string]*fileResource{},
		dataStore:  map[string]map[string]any{},
		settings:   map[string]string{},
		userValues: map[string]map[string]any{},
		counters:   map[string]int{},
		reserved:   map[string]reservation{},
	}
	if s.minor, err = minorOf(options.Version); err != nil {
		return nil, err
	}
	s.faults.seen = map[string]int{}
	s.systemRoutes()
	s.taskRoutes()
	s.userRoutes()
	s.metadataRoutes()
	s.aggregateRoutes()
	s.fileRoutes()
	s.iconRoutes()
	s.reservedValueRoutes()
	s.trackerRoutes()
	return s, nil
}

// minorOf is the minor version, 42 of "2.42.5.2".
func minorOf(version string) (int, error) {
	for minor := 41; minor <= 43; minor++ {
		if strings.HasPrefix(version+".", fmt.Sprintf("2.%d.", minor)) {
			return minor, nil
		}
	}
	return 0, fmt.Errorf("cannot simulate DHIS2 %q: 2.41, 2.42 and 2.43 are known", version)
}

// object is one metadata object as JSON: what was imported and what the server adds to it.
// An object in the store is never changed in place; an update stores another one.
type object = map[string]any

// now is the server's clock.
func (s *Server) now() time.Time { return s.options.Now().In(s.options.Zone) }

// timestamp writes an instant as DHIS2 does: in the server's zone, without saying which.
func (s *Server) timestamp(t time.Time) string {
	return t.In(s.options.Zone).Format("2006-01-02T15:04:05.000")
}
