package main

import (
	"context"
	"errors"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// The exit codes are a contract with whoever scripts fieldkit. A code that is not listed here means failure.
const (
	exitHome        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitConflicts   = 4
	exitNoSnapshot  = 10
	exitLocked      = 11
	exitWrongKey    = 12
	exitLockOuts    = 13
	exitDamaged     = 14
	exitLimits      = 15
	exitCentral     = 20
	exitEngine      = 30
	exitInterrupted = 130
)

// ending is one exit code and what it says, for the reference.
type ending struct {
	code int
	says string
}

// endings lists every exit code.
func endings() []ending {
	return []ending{
		{exitHome, "done; after `reconcile`: everything is home"},
		{exitFailed, "something went wrong; also: the kit's DHIS2 cannot be reached, the disk is full, `doctor` found an error"},
		{exitUsage, "the command line or `fieldkit.yaml` is wrong, central knows no such org unit, or `--yes` is missing"},
		{exitRefused, "`reconcile`: central refused some changes; they are held"},
		{exitConflicts, "`reconcile`: conflicts wait, also when some changes were refused"},
		{exitNoSnapshot, "nothing was prepared in this kit"},
		{exitLocked, "another run holds the kit"},
		{exitWrongKey, "the snapshot cannot be decrypted with the key at hand"},
		{exitLockOuts, "`prepare`: the kit would refuse what tablets have not sent yet, and nobody said yes to that; nothing was loaded"},
		{exitDamaged, "a file of the snapshot is not what was written; `snapshot verify` names all such files"},
		{exitLimits, "`reconcile`: more would be deleted, overwritten or refused at central than the limits let pass; nothing was sent"},
		{exitCentral, "central is unreachable, is no DHIS2 of a supported version, or refuses the account"},
		{exitEngine, "the kit's own containers cannot run here: no Docker engine that can be used, too little memory or disk, or DHIS2 does not come up"},
		{exitInterrupted, "interrupted by a signal: the same command goes on where it stopped"},
	}
}

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
		{orchestrator.ErrLockOuts, exitLockOuts},
		{orchestrator.ErrDamaged, exitDamaged},
		{orchestrator.ErrLimits, exitLimits},
		{orchestrator.ErrCentral, exitCentral},
		{orchestrator.ErrEngine, exitEngine},
	} {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return exitFailed
}
