package orchestrator

import (
	"errors"
	"fmt"
)

// The sentinels below say what kind of trouble an error is. The command line turns each into its exit code,
// which is a contract; an error that is none of them is a failure (exit code 1). Test with errors.Is.
var (
	// ErrUsage is a mistake in the command line or in fieldkit.yaml: something that whoever runs fieldkit
	// puts right by typing something else. A *ConfigError is one, an org unit that central does not know
	// is one, and so is a missing --yes.
	ErrUsage = errors.New("usage")
	// ErrNoSnapshot means that the kit has no prepared trip to work on.
	ErrNoSnapshot = errors.New("no snapshot")
	// ErrLockOuts means that metadata changed so that the kit would refuse what tablets have not sent yet, and nobody
	// said yes to that.
	ErrLockOuts = errors.New("lock-outs")
	// ErrLimits means that reconcile would change more at central than the limits of fieldkit.yaml let pass.
	ErrLimits = errors.New("limits")
	// ErrLocked means that another fieldkit is at work on the same kit.
	ErrLocked = errors.New("another run holds the kit")
	// ErrWrongKey means that a snapshot cannot be decrypted with the identities at hand.
	ErrWrongKey = errors.New("wrong key")
	// ErrDamaged means that a file of a snapshot is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrCentral means that central cannot be reached, is not a DHIS2 that fieldkit speaks to, or refuses
	// the account. A *ServerError of central is one.
	ErrCentral = errors.New("central")
	// ErrEngine means that the kit's own containers cannot run on this machine: there is no Docker engine that
	// can be used, or too little memory or disk.
	ErrEngine = errors.New("engine")
)

// hinted is an error with a line that says what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// Hint returns what to do about the error.
func (h hinted) Hint() string { return h.hint }

// WithHint adds to err a line that says what to do about it, shown under the error by the command line.
// A nil err stays nil.
func WithHint(err error, format string, arguments ...any) error {
	if err == nil {
		return nil
	}
	return hinted{error: err, hint: fmt.Sprintf(format, arguments...)}
}

// Hint returns what to do about err: what the outermost error in its tree that has a method
// `Hint() string` says, or "" when none has anything to say.
func Hint(err error) string {
	var h interface{ Hint() string }
	for errors.As(err, &h) {
		if hint := h.Hint(); hint != "" {
			return hint
		}
		wrapped, ok := h.(interface{ Unwrap() error })
		if !ok {
			return ""
		}
		err = wrapped.Unwrap()
	}
	return ""
}

// usagef returns an error of the kind ErrUsage whose text is the message alone.
func usagef(format string, arguments ...any) error {
	return kindError{kind: ErrUsage, message: fmt.Sprintf(format, arguments...)}
}

// kindError is an error of one of the kinds above with a text of its own.
type kindError struct {
	kind    error
	message string
}

func (e kindError) Error() string        { return e.message }
func (e kindError) Is(target error) bool { return target == e.kind }

// Side is one of the two servers of a kit.
type Side string

// The two sides.
const (
	Central Side = "central"
	Local   Side = "local"
)

// ServerError is trouble with one of the two servers as a whole: it cannot be reached, it is no DHIS2, its
// version is not supported, it refuses the account. At central it is an ErrCentral.
type ServerError struct {
	Side Side
	URL  string
	Err  error
	// Advice is the hint; when empty, Err's own is used.
	Advice string
}

// Error names the server and says what went wrong with it.
func (e *ServerError) Error() string { return fmt.Sprintf("%s %s: %v", e.Side, e.URL, e.Err) }

// Unwrap returns the cause.
func (e *ServerError) Unwrap() error { return e.Err }

// Is makes every error of central's an ErrCentral.
func (e *ServerError) Is(target error) bool { return target == ErrCentral && e.Side == Central }

// Hint says what to do about it.
func (e *ServerError) Hint() string { return e.Advice }
