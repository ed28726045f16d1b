package dhis2sim

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// storage keeps a server's data where they outlive the process; a server without one keeps them in memory only. Memory is
// the working copy all the same: requests are answered from it, and what a request changed is saved before it is answered.
type storage interface {
	// current tells whether memory still holds what the storage holds; it does not when somebody else has changed that.
	// It fails when the storage cannot be reached. It may be called without the server's lock.
	current(ctx context.Context) (bool, error)
	// load replaces the server's data in memory by what is stored: everything, or what others have changed since it was last
	// loaded. The server's lock is held for writing.
	load(ctx context.Context, s *Server, everything bool) error
	// save stores what changed, all of it or, when it fails, nothing. The server's lock is held for writing.
	save(ctx context.Context, s *Server, changed []any) error
	// loggedIn notes when a user opened a session. It may be called without the server's lock.
	loggedIn(ctx context.Context, user string, at time.Time) error
	// close gives back what the storage holds on to. It may be called twice.
	close()
}

// changes are what was changed in memory since it was last saved, in the order in which it first was: tracker objects by
// their pointers, everything else by keys. A nil one notes nothing.
type changes struct {
	noted map[any]bool
	list  []any
}

func (c *changes) note(what any) {
	if c != nil && !c.noted[what] {
		c.noted[what] = true
		c.list = append(c.list, what)
	}
}

func (c *changes) clear() {
	clear(c.noted)
	c.list = nil
}

// objectKey names a metadata object among what changed.
type objectKey struct{ class, uid string }

// fileKey names a file, by its uid, among what changed.
type fileKey string

// collection names data that are few: all of them are looked at when one of them changed.
type collection string

const (
	settingsCollection   collection = "system settings"
	dataStoreCollection  collection = "data store"
	userValuesCollection collection = "user settings"
	tokensCollection     collection = "personal access tokens"
	countersCollection   collection = "sequential numbers"
	reservedCollection   collection = "reserved values"
	temporaryCollection  collection = "temporary ownerships"
)

// patience is how long saving and loading may take.
const patience = time.Minute

func collections() []collection {
	return []collection{settingsCollection, dataStoreCollection, userValuesCollection, tokensCollection, countersCollection, reservedCollection, temporaryCollection}
}

// read runs work, which changes nothing, with the lock held for reading. It fails, without having run it, when the storage
// cannot be reached.
func (s *Server) read(ctx context.Context, work func()) error {
	if s.storage != nil {
		if current, err := s.storage.current(ctx); err != nil {
			return err
		} else if !current || s.stale.Load() {
			if err := s.reload(ctx); err != nil {
				return err
			}
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	work()
	return nil
}

// write runs work with the lock held for writing and saves what it changed. When it fails nothing of that is kept, neither
// in the storage nor in memory.
func (s *Server) write(ctx context.Context, work func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storage == nil {
		work()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience) // a client that goes does not undo its request
	defer cancel()
	current, err := s.storage.current(ctx)
	if err == nil && (!current || s.stale.Load()) {
		err = s.load(ctx)
	}
	if err != nil {
		return err
	}
	work()
	if len(s.changed.list) == 0 {
		return nil
	}
	if err := s.storage.save(ctx, s, s.changed.list); err != nil {
		s.stale.Store(true)
		s.changed.clear()
		return &unsavedError{err}
	}
	s.changed.clear()
	return nil
}

// unsavedError is a failure to save what a request had done in memory.
type unsavedError struct{ err error }

func (e *unsavedError) Error() string { return "save: " + e.err.Error() }
func (e *unsavedError) Unwrap() error { return e.err }

// reload loads everything from the storage, once for all requests that found memory out of date together.
func (s *Server) reload(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	current, err := s.storage.current(ctx)
	if err != nil || current && !s.stale.Load() {
		return err
	}
	return s.load(ctx)
}

// load brings memory up to date with the storage; the lock is held for writing.
func (s *Server) load(ctx context.Context) error {
	everything := s.stale.Swap(true)
	if err := s.storage.load(ctx, s, everything); err != nil {
		return err
	}
	s.changed.clear()
	s.stale.Store(false)
	return nil
}

// forget empties memory of what the storage keeps; jobs and sessions stay.
func (s *Server) forget() {
	generation, reports, clock := s.metadata.generation, s.tracker.reports, s.tracker.clock
	s.metadata, s.tracker, s.aggregate = newMetadataStore(), newTrackerStore(), newAggregateStore()
	s.metadata.generation = generation + 1
	s.tracker.reports, s.tracker.clock = reports, clock
	s.metadata.changed, s.tracker.changed, s.aggregate.changed = s.changed, s.changed, s.changed
	s.files, s.dataStore, s.settings = map[string]*fileResource{}, map[string]map[string]any{}, map[string]string{}
	s.userValues, s.counters, s.reserved = map[string]map[string]any{}, map[string]int{}, map[string]reservation{}
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	s.logins.passwords, s.logins.tokens = map[string]string{}, map[string]*token{}
}

// trouble tells of a failure of the storage.
func (s *Server) trouble(err error) {
	if s.options.Trouble != nil {
		s.options.Trouble(err)
	}
}

// refuseUnstored answers a request that the storage kept from being served: as DHIS2 2.42 was seen to while its database was
// down, a name and a password are wrong then, however right they are.
func (s *Server) refuseUnstored(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil { // else the client has gone
		s.trouble(err)
	}
	for name := range w.Header() {
		w.Header().Del(name)
	}
	var unsaved *unsavedError
	if _, _, named := r.BasicAuth(); named && !errors.As(err, &unsaved) {
		writeError(w, http.StatusUnauthorized, "", "Unauthorized")
		return
	}
	writeError(w, http.StatusInternalServerError, "", "Could not open JPA EntityManager for transaction")
}
