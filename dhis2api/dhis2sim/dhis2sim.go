// Package dhis2sim is a simulated DHIS2 server: an http.Handler that behaves, towards a client of the
// tracker, aggregate and metadata APIs, as recorded DHIS2 2.41, 2.42 and 2.43 servers did.
//
// It exists because a real DHIS2 cannot be had where the tests run. It serves tests and the demo; it is
// not a DHIS2. Where a real server and this one differ, this one is wrong.
//
// Nouns: an object is one piece of metadata (a program, an org unit, a user) kept as the JSON it was
// imported as; a class is the plural name under which the API serves objects ("organisationUnits");
// tracked entities, enrollments, events and relationships are kept apart from metadata, typed.
//
// A Server starts as a fresh DHIS2 does: one account (admin/district), the default category objects and
// nothing else. Everything lives in memory, behind one lock.
package dhis2sim

import (
	"encoding/json"
	"net/http"
	"sync"
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
}

// Server is one simulated DHIS2. It is safe for concurrent use.
type Server struct {
	options Options
	minor   int // 41, 42 or 43
	mux     *http.ServeMux

	// mu guards everything below. A request that only reads holds it for reading; an import, for writing.
	mu sync.RWMutex

	metadata *metadataStore
	tracker  *trackerStore
}

// object is one metadata object as JSON: what was imported and what the server adds to it.
type object = map[string]any

// account is the user on whose behalf a request runs.
type account struct {
	uid, username, firstName, surname string
	authorities                       map[string]bool
	// captureUnits and searchUnits are org unit uids; each includes everything below it.
	captureUnits, searchUnits []string
	groups                    []string
}

// superuser tells whether the account holds the authority ALL.
func (a *account) superuser() bool { return a.authorities["ALL"] }

// may tells whether the account holds the authority, or ALL.
func (a *account) may(authority string) bool { return a.superuser() || a.authorities[authority] }

// webMessage is DHIS2's envelope of everything that is not data.
type webMessage struct {
	HTTPStatus     string `json:"httpStatus"`
	HTTPStatusCode int    `json:"httpStatusCode"`
	Status         string `json:"status"`
	Message        string `json:"message,omitempty"`
	ErrorCode      string `json:"errorCode,omitempty"`
	Response       any    `json:"response,omitempty"`
}

// writeJSON answers with v as JSON.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the client has gone; nobody is left to tell
}

// writeError answers with a web message of status ERROR. code may be empty.
func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, webMessage{HTTPStatus: http.StatusText(status), HTTPStatusCode: status, Status: "ERROR", Message: message, ErrorCode: code})
}

// timestamp writes an instant as DHIS2 does: in the server's zone, without saying which.
func (s *Server) timestamp(t time.Time) string {
	return t.In(s.options.Zone).Format("2006-01-02T15:04:05.000")
}
