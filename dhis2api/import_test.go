package dhis2api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const reportWithEverything = `{"status":"OK","validationReport":{
	"errorReports":[
		{"message":"m","errorCode":"E1064","trackerType":"TRACKED_ENTITY","uid":"aaaaaaaaaa2","args":["8-111-1","TrackedEntityAttribute{valueType=TEXT}"]},
		{"message":"m","errorCode":"E5000","trackerType":"ENROLLMENT","uid":"aaaaaaaaaa3","args":["enrollment","aaaaaaaaaa3","trackedEntity","aaaaaaaaaa2"]},
		{"message":"m","errorCode":"E1302","trackerType":"EVENT","uid":"aaaaaaaaaa4","args":[7]}],
	"warningReports":[
		{"message":"m","warningCode":"E4015","trackerType":"RELATIONSHIP","uid":"aaaaaaaaaa5"},
		{"message":"m","errorCode":"E1119","trackerType":"EVENT","uid":"aaaaaaaaaa6"}]},
	"stats":{"created":1,"updated":1,"deleted":0,"ignored":5,"total":7},
	"bundleReport":{"typeReportMap":{
		"TRACKED_ENTITY":{"stats":{"created":1,"total":2},"objectReports":[{"trackerType":"TRACKED_ENTITY","uid":"aaaaaaaaaa1","errorReports":[]}]},
		"EVENT":{"stats":{"updated":1,"total":3},"objectReports":[{"trackerType":"EVENT","uid":"aaaaaaaaaa6","errorReports":[]}]}}}}`

func TestReportObjectByObject(t *testing.T) {
	report, err := parseImportReport([]byte(reportWithEverything))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		kind Kind
		uid  string
		want OutcomeState
		code string
	}{
		{KindTrackedEntity, "aaaaaaaaaa1", OutcomeStored, ""},
		{KindTrackedEntity, "aaaaaaaaaa2", OutcomeRefused, "E1064"},
		{KindEnrollment, "aaaaaaaaaa3", OutcomeRefused, "E5000"},
		{KindEvent, "aaaaaaaaaa4", OutcomeRefused, "E1302"},
		{KindRelationship, "aaaaaaaaaa5", OutcomeIgnored, "E4015"},
		{KindEvent, "aaaaaaaaaa6", OutcomeStored, "E1119"},
		{KindEvent, "aaaaaaaaaa7", OutcomeUnknown, ""},      // an event below a refused enrollment
		{KindEnrollment, "aaaaaaaaaa1", OutcomeUnknown, ""}, // of another kind
	}
	for _, test := range tests {
		outcome := report.Outcome(test.kind, test.uid)
		code := ""
		for _, problem := range slices.Concat(outcome.Errors, outcome.Warnings) {
			code += problem.Code
		}
		if outcome.State != test.want || code != test.code {
			t.Errorf("%s %s: %v %q, want %v %q", test.kind, test.uid, outcome.State, code, test.want, test.code)
		}
	}
	if report.KindStats[KindEvent].Updated != 1 || report.Stats.Ignored != 5 || !report.Refused() {
		t.Errorf("stats %+v %+v", report.Stats, report.KindStats)
	}
	encoded, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var again ImportReport
	if err := json.Unmarshal(encoded, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report.byObject, again.byObject); diff != "" {
		t.Errorf("lost on the way to JSON and back: %s", diff)
	}
}

func TestABrokenDownImportKnowsNothing(t *testing.T) {
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		answerJSON(w, 409, `{"status":"ERROR","message":"NullPointerException","validationReport":{"errorReports":[],"warningReports":[]},"stats":{"total":0}}`)
	}, Options{})
	report, err := c.Import(t.Context(), payloadOf(uidOf(1)), ImportOptions{})
	if err != nil || report.Message == "" || report.Outcome(KindTrackedEntity, uidOf(1)).State != OutcomeUnknown {
		t.Errorf("%+v %v", report, err)
	}
}

func TestImportAsks(t *testing.T) {
	var query, body string
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.Query().Encode()
		read, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		body = string(read)
		if r.Header.Get("Content-Encoding") != "" {
			t.Error("DHIS2 understands no compressed requests")
		}
		answerJSON(w, 200, `{"status":"OK","stats":{"total":1}}`)
	}, Options{})
	payload := TrackerPayload{
		Events: []*Event{{Event: uidOf(1), DataValues: []EventDataValue{{DataElement: uidOf(2), Value: ""}}}},
		Relationships: []*Relationship{{Relationship: uidOf(3), RelationshipType: uidOf(4),
			From: ItemRef(KindTrackedEntity, uidOf(5)), To: ItemRef(KindEvent, uidOf(1))}},
	}
	if _, err := c.Import(t.Context(), payload, ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := "async=false&atomicMode=OBJECT&importStrategy=CREATE_AND_UPDATE&reportMode=FULL"; query != want {
		t.Errorf("asked %s, want %s", query, want)
	}
	wantBody := `{"events":[{"event":"a0000000001","dataValues":[{"dataElement":"a0000000002","value":""}]}],` +
		`"relationships":[{"relationship":"a0000000003","relationshipType":"a0000000004",` +
		`"from":{"trackedEntity":{"trackedEntity":"a0000000005"}},"to":{"event":{"event":"a0000000001"}}}]}`
	if body != wantBody {
		t.Errorf("sent\n%s, want\n%s", body, wantBody)
	}
	_, err := c.Import(t.Context(), payload, ImportOptions{Strategy: ImportStrategyUpdate, AtomicMode: AtomicAll, ValidationMode: ValidationSkip,
		DryRun: true, SkipSideEffects: true, SkipRuleEngine: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := "async=false&atomicMode=ALL&importMode=VALIDATE&importStrategy=UPDATE&reportMode=FULL&skipRuleEngine=true&skipSideEffects=true&validationMode=SKIP"; query != want {
		t.Errorf("asked %s, want %s", query, want)
	}
}

func TestImportRefusesBeforeSending(t *testing.T) {
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) { t.Errorf("sent %s", r.URL) }, Options{})
	deleted := TrackerPayload{TrackedEntities: []*TrackedEntity{{TrackedEntity: uidOf(1), Enrollments: []*Enrollment{
		{Enrollment: uidOf(2), Events: []*Event{{Event: uidOf(3), Deleted: true}}},
	}}}}
	if _, err := c.Import(t.Context(), deleted, ImportOptions{}); err == nil || !strings.Contains(err.Error(), uidOf(3)) {
		t.Errorf("a deleted event was sent: %v", err)
	}
	if _, err := c.ImportAsync(t.Context(), payloadOf("short"), ImportOptions{}); err == nil {
		t.Error("a malformed uid was sent")
	}
	if report, err := c.Import(t.Context(), TrackerPayload{}, ImportOptions{}); err != nil || report.Status != ReportOK {
		t.Errorf("nothing: %+v %v", report, err)
	}
}

func TestPayloadObjects(t *testing.T) {
	payload := TrackerPayload{
		TrackedEntities: []*TrackedEntity{{TrackedEntity: "t", Enrollments: []*Enrollment{{Enrollment: "n", Events: []*Event{{Event: "e"}}}},
			Relationships: []*Relationship{{Relationship: "r"}}}},
		Events: []*Event{{Event: "s"}},
	}
	var got []string
	for object := range payload.Objects() {
		got = append(got, object.UID)
	}
	if diff := cmp.Diff([]string{"t", "n", "e", "r", "s"}, got); diff != "" {
		t.Error(diff)
	}
	for object := range payload.Objects() {
		if object.UID == "e" {
			break
		}
	}
}

// jobServer runs one import as a job: log is what it answers, poll after poll.
func jobServer(log []string, report string) http.HandlerFunc {
	polls := atomic.Int32{}
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			answerJSON(w, 200, `{"status":"OK","response":{"id":"a0000000009"}}`)
		case strings.HasSuffix(r.URL.Path, "/report") && report != "":
			answerJSON(w, 200, report)
		case strings.HasSuffix(r.URL.Path, "/report"):
			answerJSON(w, 404, `{"httpStatusCode":404,"errorCode":"E1005"}`)
		default:
			answerJSON(w, 200, log[min(int(polls.Add(1))-1, len(log)-1)])
		}
	}
}

func TestAwaitImport(t *testing.T) {
	const (
		running = `[{"level":"INFO","message":"validating","completed":false}]`
		done    = `[{"level":"INFO","message":"done","completed":true},{"level":"INFO","message":"validating","completed":false}]`
		failed  = `[{"level":"ERROR","message":"done","completed":true}]`
	)
	tests := []struct {
		name    string
		log     []string
		report  string
		unknown bool
	}{
		{"at once", []string{done}, reportWithEverything, false},
		{"queued, then running", []string{"[]", "[]", running, running, done}, reportWithEverything, false},
		{"refused", []string{failed}, reportWithEverything, false},
		{"forgotten", []string{"[]"}, "", true},
		{"forgotten on the way", []string{running, "[]"}, "", true},
		{"report gone", []string{done}, "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock := newClock()
			c := connect(t, "2.42.5.2", jobServer(test.log, test.report), clock.options())
			job, err := c.ImportAsync(t.Context(), payloadOf(uidOf(1)), ImportOptions{})
			if err != nil || job != "a0000000009" {
				t.Fatalf("%q %v", job, err)
			}
			report, err := c.AwaitImport(t.Context(), job)
			if test.unknown {
				if !is[*UnknownOutcomeError](err) || !strings.Contains(err.Error(), job) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || len(report.Errors) != 3 {
				t.Errorf("%+v %v", report, err)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	reason, hint := Explain("E1064", []string{"8-111-1", "TrackedEntityAttribute{unique=true}"})
	if strings.Contains(reason, "8-111-1") || !strings.Contains(reason, "unique") || hint == "" {
		t.Errorf("%q %q", reason, hint)
	}
	reason, _ = Explain("E1018", []string{"MetadataIdentifier(idScheme=UID, identifier=k0aoyOGu3L2, attributeValue=null)", "xIkcI00xjZE", "xIkcI00xjZE"})
	if !strings.HasSuffix(reason, "(k0aoyOGu3L2, xIkcI00xjZE)") {
		t.Errorf("%q", reason)
	}
	reason, hint = Explain("E9876", nil)
	if !strings.Contains(reason, "E9876") || hint == "" {
		t.Errorf("%q %q", reason, hint)
	}
	for code := range explanations {
		reason, hint := Explain(code, nil)
		if reason == "" || hint == "" || ClassOf(code) == ClassUnclassified {
			t.Errorf("%s: %q %q", code, reason, hint)
		}
		for _, jargon := range []string{"null", "uid", "UID", "{", "`"} {
			if strings.Contains(reason, jargon) {
				t.Errorf("%s: %q is not plain", code, reason)
			}
		}
	}
}

func TestFilesUpAndDown(t *testing.T) {
	var uid, name, content string
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			file, header, err := r.FormFile("file")
			if err != nil {
				t.Error(err)
				return
			}
			read, err := io.ReadAll(file)
			if err != nil {
				t.Error(err)
			}
			uid, name, content = r.URL.Query().Get("uid"), header.Filename, string(read)
			answerJSON(w, 202, map[string]any{"response": map[string]any{"fileResource": map[string]any{"id": uid, "contentLength": len(read)}}})
		case r.URL.Path == "/elsewhere":
			if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
				t.Error("the store of files was told who asks")
			}
			_, _ = io.WriteString(w, "picture")
		case r.URL.Path == "/api/fileResources/a0000000002/data":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		default:
			w.Header().Set("Content-Type", "text/html") // a file may be a page
			_, _ = io.WriteString(w, "<html>picture</html>")
		}
	}
	c := connect(t, "2.42.5.2", handler, Options{})
	file, err := c.UploadFile(t.Context(), uidOf(1), `Ana "Ñ".png`, "image/png", "", strings.NewReader("picture"))
	if err != nil || file.ContentLength != 7 || uid != uidOf(1) || name != `Ana "Ñ".png` || content != "picture" {
		t.Errorf("%+v %v: %s %s %s", file, err, uid, name, content)
	}
	for want, read := range map[string]func() (io.ReadCloser, error){
		"picture": func() (io.ReadCloser, error) { return c.FileContent(t.Context(), uidOf(2)) },
		"<html>picture</html>": func() (io.ReadCloser, error) {
			return c.ValueFile(t.Context(), FileValue{Event: uidOf(3), DataElement: uidOf(4)})
		},
	} {
		body, err := read()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != want {
			t.Errorf("%s %v", got, err)
		}
		body.Close()
	}
}

// TestUploadPassesThrough: the server has the first half of a file before the second is there.
func TestUploadPassesThrough(t *testing.T) {
	const half = 1 << 20
	arrived := make(chan struct{})
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 2*half {
			t.Errorf("the request says that it is %d bytes long", r.ContentLength)
		}
		if _, err := io.CopyN(io.Discard, r.Body, half); err != nil {
			t.Error(err)
		}
		close(arrived)
		rest, err := io.Copy(io.Discard, r.Body)
		if err != nil || rest < half {
			t.Errorf("%d bytes more, %v", rest, err)
		}
		answerJSON(w, 202, map[string]any{"response": map[string]any{"fileResource": map[string]any{"id": uidOf(1), "contentLength": 2 * half}}})
	}, Options{})
	closed := make(chan struct{})
	_, err := c.Upload(t.Context(), FileUpload{UID: uidOf(1), Name: "film.mp4", Length: 2 * half, Open: func() (io.ReadCloser, error) {
		second := readerFunc(func(p []byte) (int, error) {
			<-arrived
			return len(p), nil
		})
		return closing{io.MultiReader(bytes.NewReader(make([]byte, half)), io.LimitReader(second, half)), func() { close(closed) }}, nil
	}})
	if err != nil {
		t.Error(err)
	}
	<-closed // what was opened for sending
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type closing struct {
	io.Reader
	close func()
}

func (c closing) Close() error {
	c.close()
	return nil
}

func TestDownloadThatIsCutSaysSo(t *testing.T) {
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}, Options{})
	body, err := c.FileContent(t.Context(), uidOf(1))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadAll(body); !is[*UnreachableError](err) {
		t.Errorf("got %v", err)
	}
}

func TestDataValuesInChunks(t *testing.T) {
	var asked []string
	c := connect(t, "2.43.1", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		asked = append(asked, query.Encode())
		if len(r.URL.RawQuery) > 8000 {
			answerPage(w, 400)
			return
		}
		first := query["orgUnit"][0]
		answerJSON(w, 200, map[string]any{"dataSet": uidOf(1), "orgUnit": first, "period": "202611",
			"dataValues": []map[string]any{{"dataElement": uidOf(2), "value": "1", "comment": nil}}})
	}, Options{})
	var got []string
	for value, err := range c.DataValues(t.Context(), DataValueQuery{DataSets: []string{uidOf(1)}, Periods: []string{"202611"}, OrgUnits: wantUIDs(0, 450)}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, value.OrgUnit+value.Period)
	}
	if diff := cmp.Diff([]string{uidOf(0) + "202611", uidOf(200) + "202611", uidOf(400) + "202611"}, got); diff != "" || len(asked) != 3 {
		t.Errorf("asked %d times: %s", len(asked), diff)
	}
	headFirst := connect(t, "2.43.1", func(w http.ResponseWriter, r *http.Request) {
		answerJSON(w, 200, `{"dataSet":"a0000000001","period":"202611","orgUnit":"a0000000003","attributeOptionCombo":"a0000000004",
			"dataValues":[{"dataElement":"a0000000002","value":"1"},{"dataElement":"a0000000002","orgUnit":"a0000000005","value":"2"}]}`)
	}, Options{})
	got = nil
	for value, err := range headFirst.DataValues(t.Context(), DataValueQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, value.Period+value.OrgUnit+value.AttributeOptionCombo)
	}
	if diff := cmp.Diff([]string{"202611a0000000003a0000000004", "202611a0000000005a0000000004"}, got); diff != "" {
		t.Error(diff)
	}
	cutOff := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		answerJSON(w, 200, `{"dataValues":[{"dataElement":"a0000000002","period":"202611","orgUnit":"a0000000003","attributeOptionCombo":"a0000000004","value":"1"},{"dataEl`)
	}, Options{})
	count := 0
	var last error
	for _, err := range cutOff.DataValues(t.Context(), DataValueQuery{}) {
		count++
		last = err
	}
	if count != 2 || !is[*UnreachableError](last) {
		t.Errorf("%d items, %v; want one value and one error", count, last)
	}
}

func TestDataStorePutCreatesWhatIsNotThere(t *testing.T) {
	var methods []string
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		methods = append(methods, r.Method+" "+r.URL.EscapedPath())
		if r.Method == http.MethodPut {
			answerJSON(w, 404, `{"httpStatusCode":404}`)
			return
		}
		answerJSON(w, 201, `{}`)
	}, Options{})
	if err := c.DataStorePut(t.Context(), "fieldkit", "a/b c", 7); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"PUT /api/dataStore/fieldkit/a%2Fb%20c", "POST /api/dataStore/fieldkit/a%2Fb%20c"}, methods); diff != "" {
		t.Error(diff)
	}
}

func TestReserveValuesInCalls(t *testing.T) {
	var asked []string
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("numberToReserve"))
		if len(asked) == 3 {
			answerJSON(w, 409, `{"httpStatusCode":409,"message":"exhausted"}`)
			return
		}
		list := make([]ReservedValue, 1000)
		answerJSON(w, 200, list)
	}, Options{})
	values, err := c.ReserveValues(t.Context(), uidOf(1), 2500, 60, nil)
	var status *StatusError
	if !errors.As(err, &status) || len(values) != 2000 {
		t.Errorf("%d values, %v", len(values), err)
	}
	if diff := cmp.Diff([]string{"1000", "1000", "500"}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestVersions(t *testing.T) {
	tests := []struct {
		raw       string
		minor     int
		supported bool
	}{
		{"2.42.5.2", 42, true}, {"2.41", 41, true}, {"2.43.1-SNAPSHOT", 43, true}, {"2.43-SNAPSHOT", 43, true},
		{"2.40.11", 40, false}, {"2.44.0", 44, false}, {"3.42.0", 42, false},
	}
	for _, test := range tests {
		version, err := ParseVersion(test.raw)
		if err != nil || version.Minor != test.minor || version.Supported() != test.supported || version.String() != test.raw {
			t.Errorf("%s: %+v %v", test.raw, version, err)
		}
	}
	for _, raw := range []string{"", "2", "two.forty", "2.x", "2.99999999999999999999"} {
		if _, err := ParseVersion(raw); err == nil {
			t.Errorf("%q is no version", raw)
		}
	}
	older, _ := ParseVersion("2.42.4") // valid, see above
	newer, _ := ParseVersion("2.42.5.2")
	if older.Compare(newer) >= 0 || newer.Compare(older) <= 0 || newer.Compare(newer) != 0 {
		t.Error("Compare")
	}
}
