package dhis2api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// UnreachableError: the server gave no answer: no connection, none in time, or a cut one. Only requests that
// changed nothing end so; a write that may have arrived ends in an UnknownOutcomeError.
type UnreachableError struct {
	URL string // of the server, without credentials
	Err error
	// sent: a connection stood, so the server may have seen the request.
	sent bool
}

func (e *UnreachableError) Error() string {
	if e.sent {
		return fmt.Sprintf("%s did not answer: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("%s cannot be reached: %v", e.URL, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *UnreachableError) Hint() string {
	if untrusted(e.Err) {
		return "the server's certificate is not trusted here: check the address and this computer's date, or install the certificate authority"
	}
	return "check the address, the network, and that the server runs"
}

// NotDHIS2Error: something answered that does not speak DHIS2's API, such as a captive portal, a login page or
// another web server.
type NotDHIS2Error struct {
	URL         string // what was asked, without its query
	Status      int
	ContentType string
	Location    string // where it redirected to, if it did, without its query
}

func (e *NotDHIS2Error) Error() string {
	switch {
	case e.Location != "":
		return fmt.Sprintf("%s is not answered by DHIS2: status %d, redirected to %s", e.URL, e.Status, e.Location)
	case e.ContentType != "":
		return fmt.Sprintf("%s is not answered by DHIS2: status %d with %s instead of JSON", e.URL, e.Status, e.ContentType)
	}
	return fmt.Sprintf("%s is not answered by DHIS2: status %d and no JSON", e.URL, e.Status)
}

// Hint says what to do about it.
func (e *NotDHIS2Error) Hint() string {
	return "open the address in a browser: DHIS2's own login page must appear, and the address ends before /api; a network's sign-in page may stand between"
}

// UnauthorizedError: the server does not accept the credentials (401, or 400 for a token that is none), or
// the account may not do this (403). A server whose database is down answers 401 too (DHIS2 2.42).
type UnauthorizedError struct {
	Method, Path string
	Status       int
	Message      string // DHIS2's own
	// accepted: the same credentials were good before.
	accepted bool
}

func (e *UnauthorizedError) Error() string {
	what := "the credentials are refused"
	if e.Status == http.StatusForbidden {
		what = "the account may not do this"
	}
	return fmt.Sprintf("%s %s: %s (status %d)%s", e.Method, e.Path, what, e.Status, suffix(e.Message))
}

// Hint says what to do about it.
func (e *UnauthorizedError) Hint() string {
	switch {
	case e.Status == http.StatusForbidden:
		return "the account lacks an authority, sharing or an org unit: ask the administrator of the server"
	case e.Status == http.StatusBadRequest:
		return "the personal access token is wrong: copy it again, whole"
	case e.accepted:
		return "the account was accepted before: its password or token was changed or has expired, or the server's database is down"
	}
	return "check username and password, or the token and its expiry; an account with two-factor login cannot be used here"
}

// UnsupportedVersionError: the server is a DHIS2 of a version that this package does not speak.
type UnsupportedVersionError struct {
	URL     string
	Version Version
}

func (e *UnsupportedVersionError) Error() string {
	return fmt.Sprintf("%s runs DHIS2 %s; supported are 2.41, 2.42 and 2.43", e.URL, e.Version)
}

// Hint says what to do about it.
func (e *UnsupportedVersionError) Hint() string {
	return "use a server of DHIS2 2.41 to 2.43, or a release of this program made for that version"
}

// StatusError: the server answered that it will not or cannot do what was asked.
type StatusError struct {
	Method, Path string
	Status       int
	Message      string        // DHIS2's own, whole: it may hold data; empty where a proxy answered
	ErrorCode    string        // DHIS2's own, such as E1005; often empty
	RetryAfter   time.Duration // as the server asked for, 0 when it did not
	// Body is the answer where it was JSON. It may hold data: it is not part of Error.
	Body json.RawMessage
}

func (e *StatusError) Error() string {
	code := ""
	if e.ErrorCode != "" {
		code = " " + e.ErrorCode
	}
	message := suffix(e.Message)
	if e.Status >= http.StatusInternalServerError {
		message = "" // of what broke inside; it may quote the statement and its values
	}
	return fmt.Sprintf("%s %s: status %d%s%s", e.Method, e.Path, e.Status, code, message)
}

// Hint says what to do about it, or is empty.
func (e *StatusError) Hint() string {
	switch e.Status {
	case http.StatusTooManyRequests:
		return "the server limits requests: lower the rate"
	case http.StatusRequestEntityTooLarge:
		return "a proxy before the server limits what may be sent at once: send less, or raise the limit"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "the server is starting, overloaded or down behind its proxy: try again later"
	}
	return ""
}

// UnknownOutcomeError: a write was sent and its fate is not known: the answer did not come, was cut, or says
// that something broke. Look at the server before sending again.
type UnknownOutcomeError struct {
	Method, Path string
	Err          error
}

func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("%s %s: outcome unknown: %v", e.Method, e.Path, e.Err)
}

func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// Hint says what to do about it.
func (e *UnknownOutcomeError) Hint() string {
	return "the server may have stored it: read it back before sending it again"
}

// NotFound tells whether err says that the server knows no such object (404).
func NotFound(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusNotFound
}

// NotUnderstood tells whether err says that an answer is not of the form in which DHIS2 answers: something on the way
// answered in its place, or it answered yes with an error inside.
func NotUnderstood(err error) bool { return errors.Is(err, errFormat) }

// tooMuch tells whether err may pass when less is asked for at once.
func tooMuch(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Status >= 500 || status.Status == http.StatusRequestEntityTooLarge
	}
	var unreachable *UnreachableError
	return errors.As(err, &unreachable) && unreachable.sent
}

// suffix is a message to hang on: its first line, without the details of a database, which may hold data, and
// cut to what one line bears.
func suffix(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	message, _, _ = strings.Cut(message, "Detail:")
	if message = strings.TrimSpace(message); message == "" {
		return ""
	}
	const most = 300
	if runes := []rune(message); len(runes) > most {
		message = string(runes[:most]) + "..."
	}
	return ": " + message
}
