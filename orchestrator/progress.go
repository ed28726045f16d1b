package orchestrator

import "time"

// Progress is told what a workflow is doing. A terminal draws it, a script gets plain lines, a test may
// keep it. Its methods are called from one goroutine at a time and return quickly.
type Progress interface {
	// Step says what begins now, in a few words ("reading patients").
	Step(name string)
	// Count says how far the present step has come: done of total, in units named by what ("patients").
	// Total is 0 while it is not known; done never falls within a step.
	Count(what string, done, total int64)
	// Waiting says, about once a second, for what the present step waits and for how long it has; an empty what
	// says that the waiting is over.
	Waiting(what string, elapsed time.Duration)
	// Note says something worth reading once, a whole line without a full stop.
	Note(text string)
}

// Quiet is a Progress that says nothing.
type Quiet struct{}

// Step does nothing.
func (Quiet) Step(string) {}

// Count does nothing.
func (Quiet) Count(string, int64, int64) {}

// Waiting does nothing.
func (Quiet) Waiting(string, time.Duration) {}

// Note does nothing.
func (Quiet) Note(string) {}
