package dhis2api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// ImportStrategy says what an import may do.
type ImportStrategy string

// The import strategies, of tracker, metadata and data values alike.
const (
	ImportStrategyCreateAndUpdate ImportStrategy = "CREATE_AND_UPDATE"
	ImportStrategyCreate          ImportStrategy = "CREATE"
	ImportStrategyUpdate          ImportStrategy = "UPDATE"
	ImportStrategyDelete          ImportStrategy = "DELETE"
)

// AtomicMode says what becomes of the rest when one object is refused.
type AtomicMode string

// The atomic modes of tracker imports.
const (
	AtomicObject AtomicMode = "OBJECT" // the rest is stored
	AtomicAll    AtomicMode = "ALL"    // nothing is stored
)

// The validation modes of tracker imports.
const (
	ValidationFull     = "FULL"
	ValidationFailFast = "FAIL_FAST" // stop at the first error
	ValidationSkip     = "SKIP"      // none, for superusers: stores whatever is sent, even a taken unique value
)

// ImportOptions of a tracker import. The zero value creates and updates, validates fully, and stores what is
// not refused.
type ImportOptions struct {
	Strategy        ImportStrategy // ImportStrategyCreateAndUpdate when empty
	AtomicMode      AtomicMode     // AtomicObject when empty, unlike DHIS2's own default
	ValidationMode  string         // ValidationFull when empty
	DryRun          bool           // validate, store nothing
	SkipSideEffects bool           // no notifications and the like
	SkipRuleEngine  bool           // no program rules
}

func (o ImportOptions) query(async bool) url.Values {
	values := parameters{}
	values.set("async", fmt.Sprint(async)) // DHIS2's default is true
	values.set("importStrategy", string(cmp.Or(o.Strategy, ImportStrategyCreateAndUpdate)))
	values.set("atomicMode", string(cmp.Or(o.AtomicMode, AtomicObject)))
	values.set("reportMode", "FULL") // else warnings are left out, and with them what was there already
	values.set("validationMode", o.ValidationMode)
	if o.DryRun {
		values.set("importMode", "VALIDATE")
	}
	if o.SkipSideEffects {
		values.set("skipSideEffects", "true")
	}
	if o.SkipRuleEngine {
		values.set("skipRuleEngine", "true")
	}
	return url.Values(values)
}

// Import sends the payload and waits for the report. That objects are refused is no error: the report says so.
// Sending the same again changes nothing but times and people, provided that all objects have uids.
//
// Errors: UnknownOutcomeError when it may have been stored, StatusError (400: DHIS2 could not read the payload,
// nothing is stored), UnreachableError and UnauthorizedError (nothing is stored). A payload with a deleted
// object in it is refused before it is sent, as DHIS2 would bring that object to life; so is a malformed uid.
func (c *Client) Import(ctx context.Context, payload TrackerPayload, options ImportOptions) (*ImportReport, error) {
	if payload.Empty() {
		return &ImportReport{Status: ReportOK}, nil
	}
	if err := payload.check(options.Strategy); err != nil {
		return nil, err
	}
	var answer json.RawMessage
	if err := c.postJSON(ctx, trackerPath, options.query(false), c.asShown(payload), true, &answer); err != nil {
		return nil, err
	}
	report, err := parseImportReport(answer)
	if err == nil {
		return report, nil
	}
	// An answer that is no report was given before the import began.
	var envelope struct {
		HTTPStatusCode     int
		Message, ErrorCode string
	}
	if json.Unmarshal(answer, &envelope) == nil && envelope.HTTPStatusCode >= 400 {
		return nil, &StatusError{
			Method: http.MethodPost, Path: trackerPath, Status: envelope.HTTPStatusCode, Message: envelope.Message,
			ErrorCode: envelope.ErrorCode, Body: answer,
		}
	}
	return nil, &UnknownOutcomeError{Method: http.MethodPost, Path: trackerPath, Err: err}
}

// ImportAsync sends the payload as a job and returns the job's id at once: keep it before doing anything else,
// then AwaitImport. Errors are those of Import.
func (c *Client) ImportAsync(ctx context.Context, payload TrackerPayload, options ImportOptions) (job string, err error) {
	if payload.Empty() {
		return "", errors.New("tracker import: nothing to import")
	}
	if err := payload.check(options.Strategy); err != nil {
		return "", err
	}
	var answer struct{ Response struct{ ID string } }
	if err := c.postJSON(ctx, trackerPath, options.query(true), c.asShown(payload), false, &answer); err != nil {
		return "", err
	}
	if answer.Response.ID == "" {
		return "", &UnknownOutcomeError{Method: http.MethodPost, Path: trackerPath, Err: fmt.Errorf("%w: no job id", errFormat)}
	}
	return answer.Response.ID, nil
}

// ImportProgress is how far a job is.
type ImportProgress struct {
	// Known is false while the job waits in the server's queue, and after the server forgot it: jobs live in its
	// memory and die with it.
	Known   bool
	Done    bool // the report can be read
	Failed  bool // the job's last word was an error: that of the import, or of the job itself
	Message string
}

// notification is one line of a job's log.
type notification struct {
	Level     string
	Message   string
	Completed bool
}

// progressOf reads a job's log, which has the newest line first.
func progressOf(log []notification) ImportProgress {
	if len(log) == 0 {
		return ImportProgress{}
	}
	progress := ImportProgress{Known: true, Message: log[0].Message}
	for _, line := range log {
		if line.Completed {
			progress.Done, progress.Failed, progress.Message = true, line.Level == "ERROR", line.Message
			break
		}
	}
	return progress
}

// ImportJob reads how far a tracker import is. An unknown job is no error.
func (c *Client) ImportJob(ctx context.Context, job string) (ImportProgress, error) {
	var log []notification
	if err := c.getJSON(ctx, trackerPath+"/jobs/"+url.PathEscape(job), nil, &log); err != nil {
		return ImportProgress{}, err
	}
	return progressOf(log), nil
}

// ImportReportOf reads the report of a tracker import that is done; NotFound tells that there is none (yet).
func (c *Client) ImportReportOf(ctx context.Context, job string) (*ImportReport, error) {
	var answer json.RawMessage
	path := trackerPath + "/jobs/" + url.PathEscape(job) + "/report"
	if err := c.getJSON(ctx, path, url.Values{"reportMode": {"FULL"}}, &answer); err != nil {
		return nil, err
	}
	report, err := parseImportReport(answer)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return report, nil
}

// AwaitImport waits until a tracker import is done and returns its report. It may be called again, by another
// process too. A job that the server has forgotten is an UnknownOutcomeError.
func (c *Client) AwaitImport(ctx context.Context, job string) (*ImportReport, error) {
	err := c.awaitJob(ctx, trackerPath, func() (ImportProgress, error) { return c.ImportJob(ctx, job) })
	if err != nil {
		return nil, fmt.Errorf("tracker import %s: %w", job, err)
	}
	report, err := c.ImportReportOf(ctx, job)
	if NotFound(err) {
		err = &UnknownOutcomeError{Method: http.MethodPost, Path: trackerPath, Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("tracker import %s: %w", job, err)
	}
	return report, nil
}

var errForgotten = errors.New("the server knows nothing of the job (it was restarted, or the job is long over)")

// awaitJob asks poll, less and less often, until the job that was started at path is done.
func (c *Client) awaitJob(ctx context.Context, path string, poll func() (ImportProgress, error)) error {
	const (
		often     = 200 * time.Millisecond
		seldom    = 5 * time.Second
		forgotten = 2 * time.Minute // DHIS2 may keep a job in its queue for a while
	)
	var unknown time.Duration
	for wait := often; ; wait = min(wait*3/2, seldom) {
		progress, err := poll()
		if err != nil {
			return err
		}
		switch {
		case progress.Done:
			return nil
		case progress.Known:
			unknown = 0
		case unknown >= forgotten:
			return &UnknownOutcomeError{Method: http.MethodPost, Path: path, Err: errForgotten}
		default:
			unknown += wait
		}
		if err := c.options.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// check finds what must not be sent.
func (p TrackerPayload) check(strategy ImportStrategy) error {
	for object := range p.Objects() {
		if object.UID != "" && !ValidUID(object.UID) {
			return fmt.Errorf("tracker import: %s %q: not a uid", object.Kind, object.UID)
		}
		if object.Deleted && strategy != ImportStrategyDelete {
			return fmt.Errorf("tracker import: %s %s is deleted: sent like this it would come to life", object.Kind, object.UID)
		}
	}
	return nil
}

// PayloadObject is one object somewhere in a payload.
type PayloadObject struct {
	Kind    Kind
	UID     string
	Deleted bool
}

// Objects yields all objects of the payload, those in trees too, each before what hangs on it.
func (p TrackerPayload) Objects() iter.Seq[PayloadObject] {
	return func(yield func(PayloadObject) bool) {
		w := walker{yield: yield}
		for _, trackedEntity := range p.TrackedEntities {
			w.trackedEntity(trackedEntity)
		}
		for _, enrollment := range p.Enrollments {
			w.enrollment(enrollment)
		}
		for _, event := range p.Events {
			w.event(event)
		}
		w.relationships(p.Relationships)
	}
}

// walker walks a payload until yield returns false.
type walker struct {
	yield func(PayloadObject) bool
	done  bool
}

func (w *walker) see(kind Kind, uid string, deleted bool) {
	if !w.done {
		w.done = !w.yield(PayloadObject{kind, uid, deleted})
	}
}

func (w *walker) trackedEntity(t *TrackedEntity) {
	w.see(KindTrackedEntity, t.TrackedEntity, t.Deleted)
	for _, enrollment := range t.Enrollments {
		w.enrollment(enrollment)
	}
	w.relationships(t.Relationships)
}

func (w *walker) enrollment(e *Enrollment) {
	w.see(KindEnrollment, e.Enrollment, e.Deleted)
	for _, event := range e.Events {
		w.event(event)
	}
	w.relationships(e.Relationships)
}

func (w *walker) event(e *Event) {
	w.see(KindEvent, e.Event, e.Deleted)
	w.relationships(e.Relationships)
}

func (w *walker) relationships(relationships []*Relationship) {
	for _, relationship := range relationships {
		w.see(KindRelationship, relationship.Relationship, false)
	}
}
