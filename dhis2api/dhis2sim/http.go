package dhis2sim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// handler answers one request on behalf of an account.
type handler func(w http.ResponseWriter, r *http.Request, caller *account)

// handle serves a pattern of http.ServeMux. The request's account is known by then, its body read, and the
// lock held: for reading when the method is GET or HEAD, else for writing. The answer is sent after the
// lock was given back, so that a slow client holds up nobody.
func (s *Server) handle(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, h, r.Method != http.MethodGet && r.Method != http.MethodHead)
	})
}

// handleExclusive is handle for a GET that changes something.
func (s *Server) handleExclusive(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, h, true) })
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, h handler, exclusive bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	out := newAnswer(w.Header())
	run := s.read
	if exclusive {
		run = s.write
	}
	if err := run(r.Context(), func() {
		if caller, ok := s.authenticate(out, r); ok {
			h(out, r, caller)
		}
	}); err != nil {
		out.status = http.StatusOK
		out.body.Reset()
		s.refuseUnstored(out, r, err)
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body.Bytes()) // the client has gone; nobody is left to tell
}

// answer keeps what a handler wrote until the lock is free.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newAnswer(header http.Header) *answer { return &answer{header: header, status: http.StatusOK} }

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// versionedPath is the optional API version in a path; every version that DHIS2 still serves behaves alike.
var versionedPath = regexp.MustCompile(`^/api/[0-9]{2}/`)

// ServeHTTP answers as DHIS2 would, unless a fault was injected.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := versionedPath.ReplaceAllString(r.URL.Path, "/api/")
	if !strings.HasPrefix(path, "/api/dataStore/") {
		path = strings.TrimSuffix(path, ".json")
	}
	if path != r.URL.Path {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = path, ""
	}
	s.faults.serve(w, r, s.mux)
}

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
	_ = enc.Encode(v) // an answer is written to memory
}

// writeMessage answers with a web message; status is OK, WARNING or ERROR. response may be nil.
func writeMessage(w http.ResponseWriter, code int, status, message string, response any) {
	writeJSON(w, code, webMessage{HTTPStatus: http.StatusText(code), HTTPStatusCode: code, Status: status, Message: message, Response: response})
}

// writeError answers with a web message of status ERROR. errorCode may be empty.
func writeError(w http.ResponseWriter, code int, errorCode, message string) {
	writeJSON(w, code, webMessage{HTTPStatus: http.StatusText(code), HTTPStatusCode: code, Status: "ERROR", Message: message, ErrorCode: errorCode})
}

// readJSON decodes one JSON value, with numbers as json.Number so that they stay as they were written.
func readJSON(r io.Reader) (any, error) {
	dec := json.NewDecoder(r)
	dec.UseNumber()
	var v any
	err := dec.Decode(&v)
	return v, err
}

// baseURL is where the client reached this server.
func baseURL(r *http.Request) string { return "http://" + r.Host }
