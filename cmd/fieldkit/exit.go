package main

import (
	"context"
	"errors"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// The exit codes are a contract with whoever scripts fieldkit. A code that is not listed here means failure.
const (
	exitHome        = 0   // done; after reconcile: everything is home
	exitFailed      = 1   // something went wrong; also: local cannot be reached, the disk is full, doctor found an error
	exitUsage       = 2   // the command line or fieldkit.yaml is wrong, or --yes is missing
	exitRefused     = 3   // reconcile: central refused some changes, they are held
	exitConflicts   = 4   // reconcile: conflicts wait (also when some changes were refused)
	exitNoSnapshot  = 10  // nothing was prepared in this kit
	exitLocked      = 11  // another run holds the kit
	exitWrongKey    = 12  // the snapshot cannot be decrypted with the identity at hand
	exitCentral     = 20  // central is unreachable, is no DHIS2, or refuses the account
	exitInterrupted = 130 // a signal
)

// exitCode says how an error ends the program. Reports end it by report.ExitCode.
func exitCode(err error) int {
	for _, row := range []struct {
		err  error
		code int
	}{
		{context.Canceled, exitInterrupted},
		{orchestrator.ErrUsage, exitUsage},
		{orchestrator.ErrLocked, exitLocked},
		{orchestrator.ErrNoSnapshot, exitNoSnapshot},
		{orchestrator.ErrWrongKey, exitWrongKey},
		{orchestrator.ErrCentral, exitCentral},
	} {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return exitFailed
}
