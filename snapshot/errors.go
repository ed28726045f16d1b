package snapshot

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoSnapshot: there is no finished snapshot in the directory. A snapshot whose taking was interrupted is
// not one yet; taking it again goes on.
var ErrNoSnapshot = errors.New("no snapshot")

// ErrFinished: the face is finished, and what is finished never changes.
var ErrFinished = errors.New("this face of the snapshot is finished")

// DamagedError: a file of the snapshot is not what was written.
type DamagedError struct {
	// Part is the damaged file, relative to the snapshot's directory, with slashes.
	Part string
	// Reason says in what way.
	Reason string
	Err    error
}

func (e *DamagedError) Error() string {
	text := "snapshot part " + e.Part + " is damaged: " + e.Reason
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *DamagedError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *DamagedError) Hint() string {
	return "copy the snapshot again from where it is whole, or prepare anew"
}

// WrongKeyError: no key at hand opens a file.
type WrongKeyError struct {
	// Part is the file, as in DamagedError.
	Part string
	// Reason says what was tried.
	Reason string
}

func (e *WrongKeyError) Error() string { return "cannot decrypt " + e.Part + ": " + e.Reason }

// Hint says what to do.
func (e *WrongKeyError) Hint() string {
	return "set FIELDKIT_IDENTITY_FILE or FIELDKIT_PASSPHRASE to the key the snapshot was made for"
}

// MismatchError: the directory holds a snapshot, whole or begun, of something else.
type MismatchError struct {
	// What differs: "scope", "server" or "format".
	What string
	// Stored and Wanted are the two sides, in words.
	Stored, Wanted string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("the snapshot in this directory has another %s: %s, not %s", e.What, e.Stored, e.Wanted)
}

// Hint says what to do about another format; empty for everything else.
func (e *MismatchError) Hint() string {
	if e.What != "format" {
		return ""
	}
	return "another version of fieldkit wrote it: read it with that one or a newer one"
}

// UnknownNameError: a name in fieldkit.yaml that central does not know, or does not show to the account.
type UnknownNameError struct {
	// Kind is "org unit", "program" or "data set".
	Kind string
	Name string
	// Near holds the nearest names that central does know, best first; may be empty.
	Near []string
}

func (e *UnknownNameError) Error() string {
	return fmt.Sprintf("central knows no %s %q", e.Kind, e.Name)
}

// Hint names the nearest candidates.
func (e *UnknownNameError) Hint() string {
	if len(e.Near) == 0 {
		return fmt.Sprintf("give the code or uid of an existing %s that the account can read", e.Kind)
	}
	return "did you mean " + strings.Join(e.Near, ", ") + "?"
}

// SearchScopeError: the server takes the question for a search outside the account's capture org units and
// therefore wants search attributes (DHIS2 2.41 to 2.43: a query by org unit is free of them only below
// one's own capture org units, even for superusers).
type SearchScopeError struct {
	// Subject is the uid of the program or tracked entity type asked for.
	Subject string
	Err     error
}

func (e *SearchScopeError) Error() string {
	return fmt.Sprintf("cannot list the tracked entities of %s: %v", e.Subject, e.Err)
}

func (e *SearchScopeError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *SearchScopeError) Hint() string {
	return "give the account the scope's org units (or one above them) as data capture org units"
}
