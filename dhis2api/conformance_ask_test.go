package dhis2api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

var errNotAsked = errors.New("nothing in the client asks for this")

// ask calls the client for the step. What it returns, if anything, must encode to what the answer holds.
func ask(t *testing.T, c *Client, step recorded) (any, error) {
	ctx := t.Context()
	method := step.Request.Method
	parts := strings.Split(strings.TrimPrefix(step.Request.Path, "/api/"), "/")
	query := url.Values{}
	for name, value := range step.Request.Query {
		query.Set(name, value)
	}
	last := parts[len(parts)-1]
	route := method + " " + parts[0]
	if parts[0] == "tracker" && len(parts) > 1 {
		route += "/" + parts[1]
	}
	if parts[0] == "system" {
		route += "/" + parts[1]
	}
	switch route {
	case "GET system/info":
		err := c.meet(ctx)
		return nil, err
	case "GET me":
		return nil, askMe(t, c, step)
	case "GET ping", "DELETE options", "DELETE optionSets", "PATCH organisationUnits":
		return nil, c.Do(ctx, method, step.Request.Path, query, nil, nil)

	case "POST tracker":
		return askImport(t, c, step, query)
	case "GET tracker/jobs":
		if last == "report" {
			return nil, asReport(step, func() (*ImportReport, error) { return c.ImportReportOf(ctx, parts[2]) })
		}
		progress, err := c.ImportJob(ctx, parts[2])
		if err == nil && progress.Known != (string(step.Response.Body) != "[]") {
			t.Errorf("progress %+v of %s", progress, step.Response.Body)
		}
		return nil, err
	case "PUT tracker/ownership":
		return nil, c.TransferOwnership(ctx, query.Get("trackedEntity"), query.Get("program"), query.Get("orgUnit"))
	case "GET tracker/trackedEntities":
		if last == "file" {
			return nil, askBytes(step, func() (io.ReadCloser, error) {
				return c.ValueFile(ctx, FileValue{TrackedEntity: parts[2], Attribute: parts[4]})
			})
		}
		if len(parts) == 3 {
			return one(c.TrackedEntity(ctx, last, Lookup{}))
		}
		return many[TrackedEntity](t, c, listTrackedEntities, query)
	case "GET tracker/enrollments":
		if len(parts) == 3 {
			return one(c.Enrollment(ctx, last, Lookup{}))
		}
		return many[Enrollment](t, c, listEnrollments, query)
	case "GET tracker/events":
		if len(parts) == 3 {
			return one(c.Event(ctx, last, Lookup{}))
		}
		return many[Event](t, c, listEvents, query)
	case "GET tracker/relationships":
		return many[Relationship](t, c, listRelationships, query)

	case "GET metadata":
		if len(parts) == 2 {
			return nil, c.Do(ctx, method, step.Request.Path, query, nil, &json.RawMessage{})
		}
		metadata, err := c.MetadataExport(ctx, MetadataQuery{})
		return expectClasses(t, step, metadata, err)
	case "POST metadata":
		if query.Get("async") == "true" {
			return nil, expectJob(step, func(into any) error {
				return c.Do(ctx, method, step.Request.Path, query, []byte(step.Request.Body), into)
			})
		}
		return nil, askMetadataImport(t, c, step)
	case "GET system/tasks":
		var log []notification
		err := c.getJSON(ctx, step.Request.Path, nil, &log)
		if err == nil && !progressOf(log).Done {
			t.Errorf("not done: %+v", log)
		}
		return nil, err
	case "GET system/taskSummaries":
		if parts[2] == "METADATA_IMPORT" {
			var summary sentMetadataReport
			err := c.getJSON(ctx, step.Request.Path, nil, &summary)
			if err == nil && summary.report().Stats.Total == 0 {
				t.Error("no stats")
			}
			return nil, err
		}
		var summary sentDataValueReport
		err := c.getJSON(ctx, step.Request.Path, nil, &summary)
		if err == nil && summary.report().Imported+summary.report().Updated == 0 {
			t.Error("nothing counted")
		}
		return nil, err

	case "GET dataValueSets":
		return askDataValues(t, c, step)
	case "POST dataValueSets", "POST completeDataSetRegistrations":
		return nil, askAggregateImport(t, c, step, query)
	case "GET completeDataSetRegistrations":
		completions := []*Completion{}
		for completion, err := range c.Completions(ctx, CompletionQuery{}) {
			if err != nil {
				return nil, err
			}
			completions = append(completions, completion)
		}
		return map[string]any{"completeDataSetRegistrations": completions}, nil

	case "POST fileResources":
		file, err := c.UploadFile(ctx, anyUID, "photo.png", "image/png", "", bytes.NewReader([]byte("x")))
		if err == nil && (file.ContentLength == 0 || file.Domain != DomainDataValue || !ValidUID(file.ID)) {
			t.Errorf("file %+v", file)
		}
		return nil, err
	case "GET fileResources":
		file, err := c.File(ctx, last)
		if err == nil && (file.ContentLength == 0 || file.ContentMD5 == "") {
			t.Errorf("file %+v", file)
		}
		return nil, err

	case "POST users":
		if last == "disabled" {
			return nil, c.DisableUser(ctx, parts[1], true)
		}
		return nil, c.CreateUser(ctx, User{Username: "x"})
	case "PATCH users":
		return nil, c.SetUserUnits(ctx, last, UserUnits{Capture: []string{anyUID}})
	case "POST apiTokens":
		var answer struct{ Response struct{ Key string } }
		err := c.Do(ctx, method, step.Request.Path, query, []byte(step.Request.Body), &answer)
		if err == nil && answer.Response.Key == "" {
			t.Error("no key")
		}
		return nil, err

	case "GET systemSettings":
		settings, err := c.Settings(ctx)
		return settings, err
	case "POST systemSettings":
		return nil, c.SetSetting(ctx, last, query.Get("value"))
	case "GET dataStore":
		if len(parts) == 3 {
			var value any
			err := c.DataStoreGet(ctx, parts[1], parts[2], &value)
			return value, err
		}
		if len(parts) == 2 {
			if step.Response.Status == http.StatusNotFound { // no keys, by DataStoreKeys
				return nil, c.Do(ctx, method, step.Request.Path, nil, nil, nil)
			}
			keys, err := c.DataStoreKeys(ctx, parts[1])
			return keys, err
		}
		namespaces, err := c.DataStoreNamespaces(ctx)
		return namespaces, err
	case "PUT dataStore":
		return nil, c.DataStorePut(ctx, parts[1], parts[2], step.Request.Body)
	case "POST dataStore", "POST potentialDuplicates":
		return nil, c.Do(ctx, method, step.Request.Path, query, []byte(step.Request.Body), &json.RawMessage{})
	case "GET potentialDuplicates":
		count := 0
		for duplicate, err := range c.PotentialDuplicates(ctx, query.Get("status")) {
			if err != nil {
				return nil, err
			}
			if count++; duplicate.Original == "" || duplicate.Duplicate == "" || duplicate.Status == "" {
				t.Errorf("duplicate %+v", duplicate)
			}
		}
		if count != 1 {
			t.Errorf("%d duplicates, 1 expected", count)
		}
		return nil, nil
	case "GET trackedEntityAttributes":
		switch last {
		case "generate":
			var value ReservedValue
			err := c.getJSON(ctx, step.Request.Path, query, &value)
			if err == nil && value.Value == "" {
				t.Error("no value")
			}
			return nil, err
		case "generateAndReserve":
			var list []json.RawMessage
			_ = json.Unmarshal(step.Response.Body, &list) // a refusal is no list
			values, err := c.ReserveValues(ctx, parts[1], max(1, len(list)), 60, nil)
			if err == nil && (len(values) != len(list) || values[0].Value == "" || values[0].ExpiryDate == "") {
				t.Errorf("values %+v", values)
			}
			return nil, err
		case "requiredValues":
			required, optional, err := c.RequiredValues(ctx, parts[1])
			return map[string]any{"REQUIRED": append([]string{}, required...), "OPTIONAL": optional}, err
		}
	}
	if method == http.MethodGet && len(parts) == 3 && last == "metadata.json" {
		metadata, err := c.MetadataWithDependencies(ctx, parts[0], parts[1])
		return expectClasses(t, step, metadata, err)
	}
	if method == http.MethodGet && len(parts) == 2 {
		var object json.RawMessage
		err := c.Get(ctx, parts[0], parts[1], query.Get("fields"), &object)
		if err != nil {
			return nil, err
		}
		return object, nil
	}
	if method == http.MethodGet && len(parts) == 1 {
		objects := []json.RawMessage{}
		for object, err := range c.List(ctx, parts[0], ListQuery{}) {
			if err != nil {
				return nil, err
			}
			objects = append(objects, object)
		}
		var answer map[string]json.RawMessage
		if err := json.Unmarshal(step.Response.Body, &answer); err != nil {
			return nil, err
		}
		list, err := json.Marshal(objects)
		answer[parts[0]] = list
		return answer, err
	}
	return nil, fmt.Errorf("%w: %s %s", errNotAsked, method, step.Request.Path)
}

// askMe compares what Me has a field for.
func askMe(t *testing.T, c *Client, step recorded) error {
	me, err := c.Me(t.Context())
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(me)
	if err != nil {
		return err
	}
	var want, got map[string]any
	if err := json.Unmarshal(step.Response.Body, &want); err != nil {
		return err
	}
	if err := json.Unmarshal(encoded, &got); err != nil {
		return err
	}
	for key := range want {
		if _, known := got[key]; !known {
			delete(want, key)
		}
	}
	if len(want) == 0 {
		t.Error("nothing to compare")
	}
	for _, lost := range missing("", want, got) {
		t.Errorf("lost in decoding: %s", lost)
	}
	return nil
}

func one[T any](object *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return object, nil
}

// many reads the recorded query's pages; the answer to the first must decode whole.
func many[T any](t *testing.T, c *Client, list string, query url.Values) (any, error) {
	r := reader[T]{client: c, path: trackerPath + "/" + list, list: list, query: query, first: 1, size: 50}
	items := []*T{}
	for page, err := range r.pages(t.Context()) {
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
	}
	return nil, expectList(t, c, list, query, items)
}

// expectList compares the items with the answer, which the replaying server gives again.
func expectList[T any](t *testing.T, c *Client, list string, query url.Values, items []*T) error {
	var raw map[string]any
	if err := c.getJSON(t.Context(), trackerPath+"/"+list, query, &raw); err != nil {
		return err
	}
	if query.Get("page") > "1" {
		return nil // the replaying server empties these
	}
	encoded, err := json.Marshal(items)
	if err != nil {
		return err
	}
	var got any
	if err := json.Unmarshal(encoded, &got); err != nil {
		return err
	}
	for _, lost := range missing(list, raw[list], got) {
		t.Errorf("lost in decoding: %s", lost)
	}
	return nil
}

func askImport(t *testing.T, c *Client, step recorded, query url.Values) (any, error) {
	var payload TrackerPayload
	if json.Unmarshal(step.Request.Body, &payload) != nil || payload.Empty() || payload.check(ImportStrategy(query.Get("importStrategy"))) != nil {
		return nil, c.Do(t.Context(), http.MethodPost, trackerPath, query, []byte(`{}`), &json.RawMessage{})
	}
	if query.Get("async") == "true" {
		job, err := c.ImportAsync(t.Context(), payload, ImportOptions{})
		if err == nil && !ValidUID(job) {
			t.Errorf("job %q", job)
		}
		return nil, err
	}
	return nil, asReport(step, func() (*ImportReport, error) {
		return c.Import(t.Context(), payload, ImportOptions{Strategy: ImportStrategy(query.Get("importStrategy"))})
	})
}

// asReport compares a tracker report with the answer it was read from.
func asReport(step recorded, read func() (*ImportReport, error)) error {
	report, err := read()
	if err != nil {
		return err
	}
	var answer struct {
		Status           string
		Stats            ImportStats
		ValidationReport struct{ ErrorReports, WarningReports []sentProblem }
	}
	if err := json.Unmarshal(step.Response.Body, &answer); err != nil {
		return err
	}
	if report.Stats != answer.Stats || report.Status != answer.Status {
		return fmt.Errorf("report %+v of %+v", report, answer)
	}
	if stored := answer.Stats.Created + answer.Stats.Updated + answer.Stats.Deleted; len(report.Stored) != stored {
		return fmt.Errorf("%d stored, %d counted", len(report.Stored), stored)
	}
	for _, problem := range answer.ValidationReport.ErrorReports {
		outcome := report.Outcome(problem.TrackerType, problem.UID)
		if outcome.State != OutcomeRefused || outcome.Errors[0].Code == "" {
			return fmt.Errorf("outcome %+v of refused %s %s", outcome, problem.TrackerType, problem.UID)
		}
		if ClassOf(problem.ErrorCode) == ClassUnclassified {
			return fmt.Errorf("code %s has no class", problem.ErrorCode)
		}
	}
	encoded, err := json.Marshal(report)
	if err != nil {
		return err
	}
	var again ImportReport
	if err := json.Unmarshal(encoded, &again); err != nil {
		return err
	}
	for ref, outcome := range report.byObject {
		if again.Outcome(ref.Kind, ref.UID).State != outcome.State {
			return fmt.Errorf("outcome of %v lost in encoding", ref)
		}
	}
	return nil
}

func askBytes(step recorded, read func() (io.ReadCloser, error)) error {
	content, err := read()
	if err != nil {
		return err
	}
	defer content.Close()
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return expectSame(step.Response.Body, "_bytes", float64(len(data)))
}

// expectSame compares one property of a JSON object.
func expectSame(body []byte, key string, got any) error {
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	if want, present := answer[key]; present && want != got {
		return fmt.Errorf("%s: got %v, want %v", key, got, want)
	}
	return nil
}

func expectClasses(t *testing.T, step recorded, metadata Metadata, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if _, present := metadata["system"]; present {
		t.Error("system is no class")
	}
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(step.Response.Body, &answer); err != nil {
		return nil, err
	}
	for class, raw := range answer {
		var objects []json.RawMessage
		if class == "system" {
			continue
		}
		if err := json.Unmarshal(raw, &objects); err != nil {
			return nil, err
		}
		if len(objects) != len(metadata[class]) {
			t.Errorf("%s: %d objects, want %d", class, len(metadata[class]), len(objects))
		}
	}
	return nil, nil
}

func expectJob(step recorded, do func(into any) error) error {
	var job struct{ Response struct{ ID, JobType string } }
	if err := do(&job); err != nil {
		return err
	}
	if !ValidUID(job.Response.ID) {
		return fmt.Errorf("job %+v of %s", job, step.Response.Body)
	}
	return nil
}

func askMetadataImport(t *testing.T, c *Client, step recorded) error {
	report, err := c.ImportMetadata(t.Context(), []byte(`{}`), MetadataImportOptions{})
	if err != nil {
		return err
	}
	var answer struct{ Response sentMetadataReport }
	if err := json.Unmarshal(step.Response.Body, &answer); err != nil {
		return err
	}
	if answer.Response.Stats == nil || report.Stats != *answer.Response.Stats {
		t.Errorf("report %+v of %s", report, step.Response.Body)
	}
	if refused := step.Response.Status == http.StatusConflict; refused != (len(report.Problems) > 0) {
		t.Errorf("problems %+v, status %d", report.Problems, step.Response.Status)
	}
	for _, problem := range report.Problems {
		if problem.Class == "" || problem.UID == "" || problem.Code == "" || strings.Contains(problem.Class, ".") {
			t.Errorf("problem %+v", problem)
		}
	}
	return nil
}

func askAggregateImport(t *testing.T, c *Client, step recorded, query url.Values) error {
	if query.Get("async") == "true" {
		return expectJob(step, func(into any) error {
			return c.Do(t.Context(), http.MethodPost, step.Request.Path, query, []byte(step.Request.Body), into)
		})
	}
	var report *DataValueReport
	var err error
	if strings.Contains(step.Request.Path, "complete") {
		report, err = c.ImportCompletions(t.Context(), []*Completion{{}}, DataValueImportOptions{})
	} else {
		var set DataValueSet
		if err := json.Unmarshal(step.Request.Body, &set); err != nil {
			return err
		}
		report, err = c.ImportDataValues(t.Context(), set, DataValueImportOptions{})
	}
	if err != nil {
		return err
	}
	if refused := step.Response.Status == http.StatusConflict; refused != (len(report.Conflicts) > 0) {
		t.Errorf("report %+v, status %d", report, step.Response.Status)
	}
	for _, conflict := range report.Conflicts {
		if ClassOf(conflict.Code) == ClassUnclassified || len(conflict.Objects) == 0 || conflict.Message == "" || len(conflict.Indexes) == 0 {
			t.Errorf("conflict %+v", conflict)
		}
	}
	return nil
}

func askDataValues(t *testing.T, c *Client, step recorded) (any, error) {
	values := []*DataValue{}
	for value, err := range c.DataValues(t.Context(), DataValueQuery{}) {
		if err != nil {
			return nil, err
		}
		if value.Period == "" || value.OrgUnit == "" || value.AttributeOptionCombo == "" || value.CategoryOptionCombo == "" {
			t.Errorf("a value without its whole key: %+v", value)
		}
		values = append(values, value)
	}
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(step.Response.Body, &answer); err != nil {
		return nil, err
	}
	list, err := json.Marshal(values)
	answer["dataValues"] = list
	return answer, err
}
