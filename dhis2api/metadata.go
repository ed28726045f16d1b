package dhis2api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// Metadata is a set of metadata objects by class, each as the server wrote it.
type Metadata map[string][]json.RawMessage

// Ref names a metadata object; all but ID are filled where they were asked for.
type Ref struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"`
	Name string `json:"name,omitempty"`
	// Path of an org unit: its ancestors' uids and its own, each after a slash.
	Path  string `json:"path,omitempty"`
	Level int    `json:"level,omitempty"` // of an org unit, 1 at the root
}

// ListQuery selects objects of one class.
type ListQuery struct {
	Fields   string   // ":owner" when empty: what the object itself holds, as an import wants it
	Filters  []string // "property:operator:value"
	AnyOf    bool     // one of the filters is enough
	Order    string   // "id:asc" when empty
	PageSize int      // 1000 when zero
}

// List reads the objects of a class, page after page.
func (c *Client) List(ctx context.Context, class string, query ListQuery) iter.Seq2[json.RawMessage, error] {
	return ListAs[json.RawMessage](ctx, c, class, query)
}

// ListAs reads the objects of a class as T.
func ListAs[T any](ctx context.Context, c *Client, class string, query ListQuery) iter.Seq2[T, error] {
	values := parameters{}
	values.set("fields", cmp.Or(query.Fields, ":owner"))
	values.filters(query.Filters)
	if query.AnyOf {
		values.set("rootJunction", "OR")
	}
	values.set("order", cmp.Or(query.Order, "id:asc"))
	values.set("paging", "true")
	values.set("pageSize", strconv.Itoa(cmp.Or(query.PageSize, 1000)))
	return pagedList[T](ctx, c, "/api/"+class, class, values)
}

// pagedList reads a list whose pager counts its pages. To ask for a page beyond the last is no way to find the
// end: DHIS2 then gives the last again.
func pagedList[T any](ctx context.Context, c *Client, path, key string, values parameters) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page := 1; ; page++ {
			values.set("page", strconv.Itoa(page))
			other := map[string]json.RawMessage{}
			r := &request{method: http.MethodGet, path: path, query: url.Values(values)}
			items, err := listOf[T](ctx, c, r, key, 0, other)
			if err != nil {
				var none T
				yield(none, fmt.Errorf("page %d: %w", page, err))
				return
			}
			for _, item := range items {
				if !yield(*item, nil) {
					return
				}
			}
			var pager struct{ Page, PageCount, PageSize int }
			if raw, paged := other["pager"]; !paged || json.Unmarshal(raw, &pager) != nil {
				return
			}
			// A pager without a count comes with lists that end with an empty page.
			if len(items) == 0 || (pager.PageCount > 0 && page >= pager.PageCount) {
				return
			}
		}
	}
}

// Get reads one object into into; NotFound tells that there is none. Fields is DHIS2's field filter, ":owner"
// when empty.
func (c *Client) Get(ctx context.Context, class, uid, fields string, into any) error {
	if !ValidUID(uid) {
		return fmt.Errorf("%s: %q is not a uid", class, uid)
	}
	return c.getJSON(ctx, "/api/"+class+"/"+uid, url.Values{"fields": {cmp.Or(fields, ":owner")}}, into)
}

// MetadataQuery selects metadata across classes.
type MetadataQuery struct {
	// Classes to export, each with what to take of it; all classes when empty, which needs the authority
	// F_METADATA_EXPORT. An export of all holds apiToken objects that no import accepts.
	Classes     map[string]MetadataClassQuery
	Fields      string // ":owner" when empty
	SkipSharing bool
	// SkipDefaults leaves out the default category objects, which every server has under ids of its own.
	SkipDefaults bool
}

// MetadataClassQuery narrows one class of a MetadataQuery; the zero value takes it whole.
type MetadataClassQuery struct {
	Fields  string
	Filters []string
	Order   string
}

func (q MetadataQuery) query() url.Values {
	values := parameters{}
	values.set("fields", q.Fields)
	if q.SkipSharing {
		values.set("skipSharing", "true")
	}
	if q.SkipDefaults {
		values.set("defaults", "EXCLUDE")
	}
	for class, of := range q.Classes {
		values.set(class, "true")
		values.set(class+":fields", of.Fields)
		values.set(class+":order", of.Order)
		values.add(class+":filter", of.Filters)
	}
	return url.Values(values)
}

// MetadataExport reads metadata of several classes at once, for which the server needs one long breath: by
// List, class after class, it comes in pages. "system" is left out.
func (c *Client) MetadataExport(ctx context.Context, query MetadataQuery) (Metadata, error) {
	return c.metadata(ctx, "/api/metadata", query.query())
}

// MetadataStream is MetadataExport as bytes, in DHIS2's own form; the caller closes it.
func (c *Client) MetadataStream(ctx context.Context, query MetadataQuery) (io.ReadCloser, error) {
	return c.stream(ctx, &request{method: http.MethodGet, path: "/api/metadata", query: query.query()})
}

// MetadataWithDependencies reads an object with all that DHIS2 counts to it. Classes that have this are
// programs, dataSets, categoryCombos, dataElementGroups, dashboards and optionSets. Not included are org units,
// users, relationship types and constants.
func (c *Client) MetadataWithDependencies(ctx context.Context, class, uid string) (Metadata, error) {
	if !ValidUID(uid) {
		return nil, fmt.Errorf("%s: %q is not a uid", class, uid)
	}
	return c.metadata(ctx, "/api/"+class+"/"+uid+"/metadata.json", nil)
}

func (c *Client) metadata(ctx context.Context, path string, query url.Values) (Metadata, error) {
	var classes map[string]json.RawMessage
	if err := c.getJSON(ctx, path, query, &classes); err != nil {
		return nil, err
	}
	delete(classes, "system")
	metadata := make(Metadata, len(classes))
	for class, raw := range classes {
		var objects []json.RawMessage
		if err := json.Unmarshal(raw, &objects); err != nil {
			return nil, fmt.Errorf("GET %s: %w: %q is not a list", path, errFormat, class)
		}
		metadata[class] = objects
	}
	return metadata, nil
}

// MetadataImportOptions of a metadata import; the zero value creates and updates, all or nothing.
type MetadataImportOptions struct {
	Strategy        ImportStrategy // ImportStrategyCreateAndUpdate when empty
	AtomicMode      string         // "ALL" when empty, or "NONE"
	DryRun          bool           // validate, store nothing
	SkipSharing     bool
	SkipTranslation bool
	SkipValidation  bool
	// Async runs it as a job and waits for that: for imports that outlast what a proxy allows a request.
	Async bool
}

func (o MetadataImportOptions) query() url.Values {
	values := parameters{}
	values.set("importStrategy", string(cmp.Or(o.Strategy, ImportStrategyCreateAndUpdate)))
	values.set("atomicMode", cmp.Or(o.AtomicMode, "ALL"))
	if o.DryRun {
		values.set("importMode", "VALIDATE")
	}
	for name, set := range map[string]bool{
		"skipSharing": o.SkipSharing, "skipTranslation": o.SkipTranslation, "skipValidation": o.SkipValidation, "async": o.Async,
	} {
		if set {
			values.set(name, "true")
		}
	}
	return url.Values(values)
}

// MetadataReport is what the server says about a metadata import.
type MetadataReport struct {
	Status   string // ReportOK, or else look at Problems
	Stats    ImportStats
	Problems []MetadataProblem
}

// MetadataProblem is why an object was refused. With AtomicMode ALL nothing else was stored either.
type MetadataProblem struct {
	Class    string // the Java class without its package: "DataElement"
	UID      string
	Code     string // of DHIS2's metadata codes, such as E5002 for an invalid reference
	Property string
	Message  string
}

func (p MetadataProblem) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", p.Class, p.UID, p.Code, p.Message))
}

type sentMetadataReport struct {
	Status      string       `json:"status"`
	Stats       *ImportStats `json:"stats"`
	TypeReports []struct {
		ObjectReports []struct {
			Klass        string `json:"klass"`
			UID          string `json:"uid"`
			ErrorReports []struct {
				Message       string `json:"message"`
				MainKlass     string `json:"mainKlass"`
				MainID        string `json:"mainId"`
				ErrorCode     string `json:"errorCode"`
				ErrorProperty string `json:"errorProperty"`
			} `json:"errorReports"`
		} `json:"objectReports"`
	} `json:"typeReports"`
}

func (s sentMetadataReport) report() *MetadataReport {
	report := &MetadataReport{Status: s.Status}
	if s.Stats != nil {
		report.Stats = *s.Stats
	}
	for _, ofType := range s.TypeReports {
		for _, object := range ofType.ObjectReports {
			for _, problem := range object.ErrorReports {
				class := cmp.Or(object.Klass, problem.MainKlass)
				report.Problems = append(report.Problems, MetadataProblem{
					Class: strings.TrimPrefix(path.Ext(class), "."), UID: cmp.Or(object.UID, problem.MainID), Code: problem.ErrorCode,
					Property: problem.ErrorProperty, Message: problem.Message,
				})
			}
		}
	}
	return report
}

// ImportMetadata sends metadata: Metadata, []byte, an io.ReadSeeker, or whatever encodes to DHIS2's JSON. That
// objects are refused is no error: the report says so. May be called twice with the same.
//
// A server on a fresh database may refuse all of it until ClearCache (DHIS2 2.42).
func (c *Client) ImportMetadata(ctx context.Context, metadata any, options MetadataImportOptions) (*MetadataReport, error) {
	const path = "/api/metadata"
	var answer struct {
		HTTPStatusCode int                `json:"httpStatusCode"`
		Message        string             `json:"message"`
		ErrorCode      string             `json:"errorCode"`
		Response       sentMetadataReport `json:"response"`
		sentMetadataReport
	}
	if options.Async {
		var job struct{ Response struct{ ID, JobType string } }
		if err := c.postJSON(ctx, path, options.query(), metadata, false, &job); err != nil {
			return nil, err
		}
		if err := c.awaitTask(ctx, path, "METADATA_IMPORT", job.Response.ID, &answer.sentMetadataReport); err != nil {
			return nil, fmt.Errorf("metadata import %s: %w", job.Response.ID, err)
		}
		return answer.sentMetadataReport.report(), nil
	}
	if err := c.postJSON(ctx, path, options.query(), metadata, true, &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.Response.Stats != nil:
		return answer.Response.report(), nil
	case answer.sentMetadataReport.Stats != nil: // without envelope
		return answer.sentMetadataReport.report(), nil
	case answer.HTTPStatusCode >= 400:
		return nil, &StatusError{
			Method: http.MethodPost, Path: path, Status: answer.HTTPStatusCode, Message: answer.Message, ErrorCode: answer.ErrorCode,
		}
	}
	return nil, &UnknownOutcomeError{Method: http.MethodPost, Path: path, Err: fmt.Errorf("%w: it is not a report", errFormat)}
}

// awaitTask waits for a job of the system's that was started at path, and reads its summary into into.
func (c *Client) awaitTask(ctx context.Context, path, kind, job string, into any) error {
	if job == "" {
		return &UnknownOutcomeError{Method: http.MethodPost, Path: path, Err: fmt.Errorf("%w: no job id", errFormat)}
	}
	err := c.awaitJob(ctx, path, func() (ImportProgress, error) {
		var log []notification
		err := c.getJSON(ctx, "/api/system/tasks/"+kind+"/"+url.PathEscape(job), nil, &log)
		return progressOf(log), err
	})
	if err != nil {
		return err
	}
	return c.getJSON(ctx, "/api/system/taskSummaries/"+kind+"/"+url.PathEscape(job), nil, into)
}

// ClearCache makes the server forget what it remembers of its database. Needed once after a server's first
// start on an empty database, whose query cache holds an empty list of period types (DHIS2 2.42).
func (c *Client) ClearCache(ctx context.Context) error {
	return c.do(ctx, &request{
		method: http.MethodPost, path: "/api/maintenance", query: url.Values{"cacheClear": {"true"}}, repeatable: true,
	}, nil)
}

// PurgeDeleted makes the server forget for good what was deleted on it: tracked entities, enrollments, events,
// relationships and data values, everybody's. Only then can their uids be used again. It needs the authority
// F_PERFORM_MAINTENANCE, and may be called at any time.
func (c *Client) PurgeDeleted(ctx context.Context) error {
	// One after the other, what hangs on others first (DHIS2 2.41 to 2.43 ask for them in no order of their own).
	for _, kind := range []string{"Relationship", "Event", "Enrollment", "TrackedEntity", "DataValue"} {
		err := c.do(ctx, &request{
			method: http.MethodPost, path: "/api/maintenance", query: url.Values{"softDeleted" + kind + "Removal": {"true"}}, repeatable: true,
		}, nil)
		if err != nil {
			return fmt.Errorf("purge what was deleted: %w", err)
		}
	}
	return nil
}

// UpdateOrgUnitPaths makes the server reckon the paths and levels of all org units anew. Of the units below one that
// moved it changes only the paths by itself (DHIS2 2.42).
func (c *Client) UpdateOrgUnitPaths(ctx context.Context) error {
	return c.do(ctx, &request{
		method: http.MethodPost, path: "/api/maintenance", query: url.Values{"ouPathsUpdate": {"true"}}, repeatable: true,
	}, nil)
}

// stream is the answer's body; cuts on the way are the reader's to see.
func (c *Client) stream(ctx context.Context, r *request) (io.ReadCloser, error) {
	answer, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	return &streamBody{answer}, nil
}

// streamBody hands out an answer's body, and its failures as errors of this package.
type streamBody struct{ answer *response }

func (s *streamBody) Read(p []byte) (int, error) {
	n, err := s.answer.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.answer.failure(err)
	}
	return n, err
}

func (s *streamBody) Close() error { return s.answer.body.Close() }
