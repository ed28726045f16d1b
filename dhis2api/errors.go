package dhis2api

import "time"

type UnreachableError struct {
	URL string
	Err error
}
type NotDHIS2Error struct {
	URL         string
	Status      int
	ContentType string
	Location    string
}
type UnauthorizedError struct {
	Method, Path string
	Status       int
	Message      string
}
type UnsupportedVersionError struct {
	URL     string
	Version Version
}
type StatusError struct {
	Method, Path string
	Status       int
	Message      string
	ErrorCode    string
	RetryAfter   time.Duration
}
type UnknownOutcomeError struct {
	Method, Path string
	Err          error
}

func (e *UnreachableError) Error() string        { return "" }
func (e *UnreachableError) Unwrap() error        { return e.Err }
func (e *UnreachableError) Hint() string         { return "" }
func (e *NotDHIS2Error) Error() string           { return "" }
func (e *NotDHIS2Error) Hint() string            { return "" }
func (e *UnauthorizedError) Error() string       { return "" }
func (e *UnauthorizedError) Hint() string        { return "" }
func (e *UnsupportedVersionError) Error() string { return "" }
func (e *UnsupportedVersionError) Hint() string  { return "" }
func (e *StatusError) Error() string             { return "" }
func (e *UnknownOutcomeError) Error() string     { return "" }
func (e *UnknownOutcomeError) Unwrap() error     { return e.Err }
func (e *UnknownOutcomeError) Hint() string      { return "" }

// NotFound tells whether err is a 404 of DHIS2's.
func NotFound(err error) bool { return false }
