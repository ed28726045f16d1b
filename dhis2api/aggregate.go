package dhis2api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

const (
	dataValueSetsPath = "/api/dataValueSets"
	completionsPath   = "/api/completeDataSetRegistrations"
)

// DataValue is one aggregate figure. Its key is data element, period, org unit and the two option combos; it
// has no uid.
type DataValue struct {
	DataElement          string `json:"dataElement"`
	Period               string `json:"period"` // in DHIS2's form: "202611", "2026W47"
	OrgUnit              string `json:"orgUnit"`
	CategoryOptionCombo  string `json:"categoryOptionCombo,omitempty"`  // the default one when left out on import
	AttributeOptionCombo string `json:"attributeOptionCombo,omitempty"` // the default one when left out on import
	// Value is kept as sent. Sent empty, it deletes.
	Value    string `json:"value"`
	Comment  string `json:"comment,omitempty"`
	FollowUp bool   `json:"followup,omitempty"`
	StoredBy string `json:"storedBy,omitempty"`
	Created  string `json:"created,omitempty"` // with an offset, unlike the times of tracker objects
	// LastUpdated is the server's clock at the last import of the value, changed or not.
	LastUpdated string `json:"lastUpdated,omitempty"`
	Deleted     bool   `json:"deleted,omitempty"` // sent, it deletes
}

// DataValueQuery selects data values: by data sets, data elements or groups of these; by periods, dates or
// change; by org units. DHIS2 wants one of each kind and answers 409 otherwise; from 2.43 on LastUpdated alone
// does not count as a time.
type DataValueQuery struct {
	DataSets              []string
	DataElements          []string
	DataElementGroups     []string
	Periods               []string
	StartDate, EndDate    string // "2026-01-31"
	OrgUnits              []string
	Children              bool // everything below the org units too
	AttributeOptionCombos []string
	LastUpdated           string // inclusive, in the server's zone
	IncludeDeleted        bool
	Limit                 int // for each 200 org units; 0: none
}

// DataValues reads the data values that the query selects, as they arrive: DHIS2 has no pages here. An answer
// that is cut on the way ends the iterator with an error; then begin again. All values carry their whole key.
func (c *Client) DataValues(ctx context.Context, query DataValueQuery) iter.Seq2[*DataValue, error] {
	values := parameters{}
	values.add("dataSet", query.DataSets)
	values.add("dataElement", query.DataElements)
	values.add("dataElementGroup", query.DataElementGroups)
	values.set("startDate", query.StartDate)
	values.set("endDate", query.EndDate)
	values.add("attributeOptionCombo", query.AttributeOptionCombos)
	values.set("lastUpdated", query.LastUpdated)
	values.includeDeleted(query.IncludeDeleted)
	if query.Limit > 0 {
		values.set("limit", strconv.Itoa(query.Limit))
	}
	return func(yield func(*DataValue, error) bool) {
		for chunk := range chunked(values, query.Periods, query.OrgUnits, query.Children) {
			// DHIS2 2.43 says once, before the values, what all of them share. JSON knows no order, so a value that
			// is not whole waits for what may come after.
			shared := map[string]json.RawMessage{}
			var waiting []*DataValue
			goOn := streamOf(ctx, c, dataValueSetsPath, chunk, "dataValues", shared, func(value *DataValue, err error) bool {
				if err != nil {
					return yield(nil, err)
				}
				if !value.complete(shared) {
					waiting = append(waiting, value)
					return true
				}
				return yield(value, nil)
			})
			for _, value := range waiting {
				if goOn {
					value.complete(shared)
					goOn = yield(value, nil)
				}
			}
			if !goOn {
				return
			}
		}
	}
}

// complete fills the key from what the values of a set share, and tells whether it is whole.
func (v *DataValue) complete(shared map[string]json.RawMessage) bool {
	for name, field := range map[string]*string{"period": &v.Period, "orgUnit": &v.OrgUnit, "attributeOptionCombo": &v.AttributeOptionCombo} {
		if raw, present := shared[name]; *field == "" && present {
			_ = json.Unmarshal(raw, field) // a null, or what is no text, leaves it empty
		}
	}
	return v.Period != "" && v.OrgUnit != "" && v.AttributeOptionCombo != ""
}

// chunked makes queries that fit a request line.
func chunked(values parameters, periods, orgUnits []string, children bool) iter.Seq[url.Values] {
	chunks := func(all []string) [][]string {
		if len(all) == 0 {
			return [][]string{nil}
		}
		return slices.Collect(slices.Chunk(all, lookupSize))
	}
	return func(yield func(url.Values) bool) {
		for _, somePeriods := range chunks(periods) {
			for _, someUnits := range chunks(orgUnits) {
				query := parameters{}
				for name, value := range values {
					query[name] = value
				}
				query.add("period", somePeriods)
				query.add("orgUnit", someUnits)
				if children {
					query.set("children", "true")
				}
				if !yield(url.Values(query)) {
					return
				}
			}
		}
	}
}

// streamOf hands over the items of the list named key as they arrive, then false when the reading ended early.
// An answer without the list has none.
func streamOf[T any](ctx context.Context, c *Client, path string, query url.Values, key string, other map[string]json.RawMessage, yield func(*T, error) bool) bool {
	answer, err := c.send(ctx, &request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		yield(nil, err)
		return false
	}
	defer answer.body.Close()
	goOn := true
	_, err = eachOf(json.NewDecoder(answer.body), key, other, func(item *T) bool {
		goOn = yield(item, nil)
		return goOn
	})
	if err != nil && goOn {
		yield(nil, answer.failure(err))
		return false
	}
	return goOn
}

// DataValueSet is what ImportDataValues takes.
type DataValueSet struct {
	// DataSet helps DHIS2 2.43, which refuses values whose data set it cannot tell (E8002, E8003).
	DataSet string `json:"dataSet,omitempty"`
	// CompleteDate also completes the data set, for which Period and OrgUnit must be given.
	CompleteDate         string       `json:"completeDate,omitempty"`
	Period               string       `json:"period,omitempty"`
	OrgUnit              string       `json:"orgUnit,omitempty"`
	AttributeOptionCombo string       `json:"attributeOptionCombo,omitempty"`
	DataValues           []*DataValue `json:"dataValues"`
}

// DataValueImportOptions of an import of data values or completions; the zero value creates and updates.
type DataValueImportOptions struct {
	Strategy  ImportStrategy // ImportStrategyCreateAndUpdate when empty
	DryRun    bool           // validate, store nothing
	Force     bool           // ignore that periods are closed, for superusers
	SkipAudit bool           // needs F_SKIP_DATA_IMPORT_AUDIT
	Async     bool           // run as a job and wait for it
	// SkipNotifications has nobody told that a data set was completed (DHIS2 2.41 to 2.43); values tell nobody anyhow.
	SkipNotifications bool
}

func (o DataValueImportOptions) query() url.Values {
	values := parameters{}
	values.set("importStrategy", string(cmp.Or(o.Strategy, ImportStrategyCreateAndUpdate)))
	for name, set := range map[string]bool{"dryRun": o.DryRun, "force": o.Force, "skipAudit": o.SkipAudit, "async": o.Async, "skipNotifications": o.SkipNotifications} {
		if set {
			values.set(name, "true")
		}
	}
	return url.Values(values)
}

// DataValueReport is what the server says about an import of data values or completions. Counts are the
// server's own and mean little: DHIS2 2.43 counts new values as updated.
type DataValueReport struct {
	Status      string // "SUCCESS", or "WARNING" or "ERROR" when values were refused
	Description string
	Imported    int
	Updated     int
	Ignored     int // refused, or (up to DHIS2 2.42) the same already
	Deleted     int
	Conflicts   []DataValueConflict
	// Rejected are the positions of the values that were refused, where the server tells.
	Rejected []int
}

// DataValueConflict is why values were refused.
type DataValueConflict struct {
	Code     string            // of the E7600 group, or from DHIS2 2.43 on of the E8000 group: see Explain
	Message  string            // may hold data
	Property string            // what was wrong: "value", "period"; empty from DHIS2 2.43 on
	Objects  map[string]string // what it is about
	// Indexes are the positions of the refused values, where the server tells. DHIS2 2.43 may refuse all values
	// for one that does not belong to the data set.
	Indexes []int
}

type sentDataValueReport struct {
	Status      string `json:"status"`
	Description string `json:"description"`
	ImportCount *struct {
		Imported int `json:"imported"`
		Updated  int `json:"updated"`
		Ignored  int `json:"ignored"`
		Deleted  int `json:"deleted"`
	} `json:"importCount"`
	Conflicts []struct {
		Object    string         `json:"object"`
		Objects   map[string]any `json:"objects"`
		Value     string         `json:"value"`
		ErrorCode string         `json:"errorCode"`
		Property  string         `json:"property"`
		Indexes   []int          `json:"indexes"`
	} `json:"conflicts"`
	RejectedIndexes []int `json:"rejectedIndexes"`
}

func (s sentDataValueReport) report() *DataValueReport {
	report := &DataValueReport{Status: s.Status, Description: s.Description, Rejected: s.RejectedIndexes}
	if count := s.ImportCount; count != nil {
		report.Imported, report.Updated, report.Ignored, report.Deleted = count.Imported, count.Updated, count.Ignored, count.Deleted
	}
	for _, conflict := range s.Conflicts {
		parsed := DataValueConflict{Code: conflict.ErrorCode, Message: conflict.Value, Property: conflict.Property, Indexes: conflict.Indexes}
		for name, value := range conflict.Objects {
			if parsed.Objects == nil {
				parsed.Objects = map[string]string{}
			}
			parsed.Objects[name] = fmt.Sprint(value)
		}
		if parsed.Objects == nil && conflict.Object != "" {
			parsed.Objects = map[string]string{"object": conflict.Object}
		}
		report.Conflicts = append(report.Conflicts, parsed)
	}
	return report
}

// ImportDataValues sends data values. That some are refused is no error: the report says so. DHIS2 keeps no
// version of a value: the last import wins. Sending the same again changes nothing but times and people.
func (c *Client) ImportDataValues(ctx context.Context, set DataValueSet, options DataValueImportOptions) (*DataValueReport, error) {
	var body any = set
	if c.info.Version.Minor >= 43 {
		body = laterSetOf(set)
	}
	return c.importAggregate(ctx, dataValueSetsPath, "DATAVALUE_IMPORT", body, options)
}

// laterSet is a set as DHIS2 2.43 reads it: it writes followup, and reads followUp (observed on 2.43.1).
type laterSet struct {
	DataValueSet
	DataValues []laterValue `json:"dataValues"`
}

type laterValue struct {
	*DataValue
	FollowUp bool `json:"followUp,omitempty"`
}

func laterSetOf(set DataValueSet) laterSet {
	later := laterSet{DataValueSet: set, DataValues: make([]laterValue, len(set.DataValues))}
	for i, value := range set.DataValues {
		later.DataValues[i] = laterValue{DataValue: value, FollowUp: value.FollowUp}
	}
	return later
}

func (c *Client) importAggregate(ctx context.Context, path, task string, body any, options DataValueImportOptions) (*DataValueReport, error) {
	if options.Async {
		var job struct{ Response struct{ ID string } }
		if err := c.postJSON(ctx, path, options.query(), body, false, &job); err != nil {
			return nil, err
		}
		var summary sentDataValueReport
		if err := c.awaitTask(ctx, path, task, job.Response.ID, &summary); err != nil {
			return nil, fmt.Errorf("import %s: %w", job.Response.ID, err)
		}
		return summary.report(), nil
	}
	var answer struct {
		HTTPStatusCode int                 `json:"httpStatusCode"`
		Message        string              `json:"message"`
		ErrorCode      string              `json:"errorCode"`
		Response       sentDataValueReport `json:"response"`
		sentDataValueReport
	}
	if err := c.postJSON(ctx, path, options.query(), body, true, &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.Response.ImportCount != nil:
		return answer.Response.report(), nil
	case answer.sentDataValueReport.ImportCount != nil: // without envelope
		return answer.sentDataValueReport.report(), nil
	case answer.HTTPStatusCode >= 400:
		return nil, &StatusError{
			Method: http.MethodPost, Path: path, Status: answer.HTTPStatusCode, Message: answer.Message, ErrorCode: answer.ErrorCode,
		}
	}
	return nil, &UnknownOutcomeError{Method: http.MethodPost, Path: path, Err: fmt.Errorf("%w: it is not a report", errFormat)}
}

// Completion says that a data set was filled for a period and an org unit.
type Completion struct {
	DataSet              string `json:"dataSet"`
	Period               string `json:"period"`
	OrganisationUnit     string `json:"organisationUnit"`
	AttributeOptionCombo string `json:"attributeOptionCombo,omitempty"` // the default one when left out on import
	Date                 string `json:"date,omitempty"`                 // "2026-11-23"
	StoredBy             string `json:"storedBy,omitempty"`
	LastUpdated          string `json:"lastUpdated,omitempty"`
	LastUpdatedBy        string `json:"lastUpdatedBy,omitempty"`
	Completed            bool   `json:"completed"` // false: taken back, and kept as such
}

// CompletionQuery selects completions: DHIS2 wants data sets, periods or dates or change, and org units.
type CompletionQuery struct {
	DataSets           []string
	Periods            []string
	StartDate, EndDate string
	OrgUnits           []string
	Children           bool
	LastUpdated        string
}

// No period lies outside of these dates.
const (
	firstDate = "1900-01-01"
	lastDate  = "2999-12-31"
)

// Completions reads the completions that the query selects. Periods are picked out here and not by the server:
// DHIS2 2.43 keeps its database's numbers of periods in memory for good, so one whose database was replaced while
// it ran finds no completion by its period, and one that is not found would pass for taken back.
func (c *Client) Completions(ctx context.Context, query CompletionQuery) iter.Seq2[*Completion, error] {
	if len(query.Periods) > 0 {
		query.StartDate, query.EndDate = firstDate, lastDate
	}
	values := parameters{}
	values.add("dataSet", query.DataSets)
	values.set("startDate", query.StartDate)
	values.set("endDate", query.EndDate)
	values.set("lastUpdated", query.LastUpdated)
	return func(yield func(*Completion, error) bool) {
		wanted := func(completion *Completion, err error) bool {
			other := err == nil && len(query.Periods) > 0 && !slices.Contains(query.Periods, completion.Period)
			return other || yield(completion, err)
		}
		for chunk := range chunked(values, nil, query.OrgUnits, query.Children) {
			if !streamOf(ctx, c, completionsPath, chunk, "completeDataSetRegistrations", nil, wanted) {
				return
			}
		}
	}
}

// ImportCompletions completes data sets; send their data values first. May be called twice with the same.
func (c *Client) ImportCompletions(ctx context.Context, completions []*Completion, options DataValueImportOptions) (*DataValueReport, error) {
	body := struct {
		Completions []*Completion `json:"completeDataSetRegistrations"`
	}{completions}
	return c.importAggregate(ctx, completionsPath, "COMPLETE_DATA_SET_REGISTRATION_IMPORT", body, options)
}

// DeleteCompletion takes a completion back. One that is not there is no error.
func (c *Client) DeleteCompletion(ctx context.Context, completion Completion) error {
	if completion.AttributeOptionCombo != "" {
		// DELETE names the combo by category combo and options; the import names it as it is.
		report, err := c.ImportCompletions(ctx, []*Completion{&completion}, DataValueImportOptions{Strategy: ImportStrategyDelete})
		if err != nil {
			return err
		}
		if len(report.Conflicts) > 0 {
			return fmt.Errorf("completion of data set %s, period %s, org unit %s: %s", completion.DataSet, completion.Period,
				completion.OrganisationUnit, report.Conflicts[0].Message)
		}
		return nil
	}
	return c.do(ctx, &request{
		method: http.MethodDelete, path: completionsPath, repeatable: true,
		query: url.Values{"ds": {completion.DataSet}, "pe": {completion.Period}, "ou": {completion.OrganisationUnit}},
	}, nil)
}
