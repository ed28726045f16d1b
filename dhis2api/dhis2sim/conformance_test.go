package dhis2sim

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
)

// TestConformance replays what real DHIS2 servers answered. Conversations build on each other, so all are
// played on one server in file order; a -run pattern chooses whose differences are reported.
func TestConformance(t *testing.T) {
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			server, err := New(Options{Version: version})
			if err != nil {
				t.Fatal(err)
			}
			playAll(t, version, server, func() http.Handler { return server })
		})
	}
}

// A server with a database answers like one without, though it is started anew before every conversation.
func TestConformanceWithDatabase(t *testing.T) {
	cluster := postgrestest.Start(t)
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			database := Database{URL: cluster.Database(t)}
			var server *Server
			start := func() http.Handler {
				if server != nil {
					server.Close()
				}
				var err error
				if server, err = Open(t.Context(), Options{Version: version}, database); err != nil {
					t.Fatal(err)
				}
				server.lag = 50 * time.Millisecond // closing waits for it
				return server
			}
			playAll(t, version, start(), start)
			server.Close()
		})
	}
}

func versions() []string { return []string{"2.41.9.1", "2.42.5.2", "2.43.1"} }

// playAll plays a version's conversations, each on what next returns.
func playAll(t *testing.T, version string, server http.Handler, next func() http.Handler) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "conformance", version, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings of %s: %v", version, err)
	}
	replay := replay{server: server, said: map[string]bool{}}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c conversation
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		replay.server = next()
		differences := replay.play(c)
		t.Run(c.Conversation, func(t *testing.T) {
			for _, d := range differences {
				t.Error(d)
			}
		})
	}
}

// conversation is one recording.
type conversation struct {
	Conversation string `json:"conversation"`
	Steps        []step `json:"steps"`
}

type step struct {
	Name    string `json:"name"`
	Request struct {
		Method      string            `json:"method"`
		Path        string            `json:"path"`
		Query       map[string]any    `json:"query"`
		Headers     map[string]string `json:"headers"`
		Auth        string            `json:"auth"`
		ContentType string            `json:"contentType"`
		Body        json.RawMessage   `json:"body"`
		BodyBase64  string            `json:"bodyBase64"`
		Gzip        bool              `json:"gzip"`
	} `json:"request"`
	Capture  map[string]string `json:"capture"`
	Poll     bool              `json:"poll"`
	Compare  string            `json:"compare"`
	Response struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
	} `json:"response"`
}

// replay plays conversations on one server.
type replay struct {
	server    http.Handler
	said      map[string]bool // every string that a request has carried so far: what is not among them, the server made
	saidTimes []string
}

// play asks what a conversation asks and returns the differences.
func (p *replay) play(c conversation) []string {
	var differences []string
	variables := map[string]string{}
	recordedMade, gotMade := map[string]bool{}, map[string]bool{}
	for _, s := range c.Steps {
		request, _ := json.Marshal(s.Request)
		p.hear(decode(request))
		var status int
		var body any
		for range 600 {
			status, body = p.ask(s, variables)
			if !s.Poll || finished(body) {
				break
			}
			time.Sleep(time.Millisecond) // the interval of polling; the answer decides when it ends
		}
		want := decode(s.Response.Body)
		for name, path := range s.Capture {
			if v, ok := valueAt(want, path); ok {
				recordedMade[v] = true
			}
			if v, ok := valueAt(body, path); ok {
				gotMade[v] = true
				variables[name] = v
			}
		}
		if status != s.Response.Status {
			differences = append(differences, fmt.Sprintf("%s: status: recorded %d, got %d: %.300s", s.Name, s.Response.Status, status, fmt.Sprint(body)))
		}
		if page, ok := want.(map[string]any); ok && page["_text"] != nil {
			want = nil
		}
		if s.Poll {
			continue
		}
		count := s.Compare == "count"
		recorded := reduction{p, recordedMade, count}.reduce(want, "")
		got := reduction{p, gotMade, count}.reduce(body, "")
		for _, d := range diff(recorded, got, "") {
			differences = append(differences, s.Name+": "+d)
		}
	}
	return differences
}

var (
	timePattern    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d`)
	elevenLetters  = regexp.MustCompile(`[A-Za-z0-9]{11}`)
	placeholder    = regexp.MustCompile(`\$\{(\w+)\}`)
	millisInName   = regexp.MustCompile(`\(\d{13}\)`)
	comparedFields = fields(`status httpStatusCode errorCode version trackedEntities trackedEntity trackedEntityType orgUnit orgUnits inactive deleted
potentialDuplicate attributes attribute value enrollments enrollment program programStage events event occurredAt enrolledAt scheduledAt
followUp dataValues dataElement providedElsewhere notes note relationships relationship relationshipType from to bidirectional programOwners
geometry type coordinates assignedUser username storedBy createdAtClient updatedAtClient completedAt completedBy instances pager page pageSize total pageCount
stats created updated ignored bundleReport typeReportMap TRACKED_ENTITY ENROLLMENT EVENT RELATIONSHIP validationReport
errorReports warningReports trackerType uid response typeReports klass importCount imported conflicts period categoryOptionCombo attributeOptionCombo
comment dataSet organisationUnit completed completeDataSetRegistrations organisationUnits id code name path level parent
programs programStages optionSets options dataElements trackedEntityAttributes trackedEntityTypes relationshipTypes categories
categoryCombos categoryOptions categoryOptionCombos dataSets programRules programRuleVariables programRuleActions userRoles userGroups users
constants organisationUnitLevels valueType optionSet unique generated pattern mandatory compulsory repeatable programType
programTrackedEntityAttributes programStageDataElements dataSetElements firstName surname authorities key original duplicate
potentialDuplicates REQUIRED OPTIONAL reservedValues encryptDB applicationTitle domain fileResource storageStatus isAssigned contentLength contentMd5 contentType closedDate _sha256 _bytes`)
	sortFields = strings.Fields("trackedEntity enrollment event relationship attribute dataElement note uid id username program klass")
)

// hear remembers every string of a request.
func (p *replay) hear(v any) {
	switch v := v.(type) {
	case string:
		p.said[v] = true
		if len(v) != 11 {
			for _, part := range elevenLetters.FindAllString(v, -1) {
				p.said[part] = true
			}
		}
		if timePattern.MatchString(v) {
			p.saidTimes = append(p.saidTimes, v)
		}
	case map[string]any:
		for _, item := range v {
			p.hear(item)
		}
	case []any:
		for _, item := range v {
			p.hear(item)
		}
	}
}

// ask sends a step's request with the variables filled in.
func (p *replay) ask(s step, variables map[string]string) (int, any) {
	fill := func(text string) string {
		return placeholder.ReplaceAllStringFunc(text, func(v string) string {
			if value, ok := variables[v[2:len(v)-1]]; ok {
				return value
			}
			return v
		})
	}
	query := url.Values{}
	for name, value := range s.Request.Query {
		if several, ok := value.([]any); ok {
			for _, v := range several {
				query.Add(name, fill(fmt.Sprint(v)))
			}
			continue
		}
		query.Set(name, fill(fmt.Sprint(value)))
	}
	var data []byte
	switch {
	case s.Request.Body != nil:
		data = []byte(fill(string(s.Request.Body)))
	case s.Request.BodyBase64 != "":
		data, _ = base64.StdEncoding.DecodeString(s.Request.BodyBase64)
	}
	if s.Request.Gzip {
		var compressed bytes.Buffer
		w := gzip.NewWriter(&compressed)
		_, _ = w.Write(data)
		_ = w.Close()
		data = compressed.Bytes()
	}
	r := httptest.NewRequest(s.Request.Method, fill(s.Request.Path), bytes.NewReader(data))
	r.URL.RawQuery = query.Encode()
	for name, value := range s.Request.Headers {
		r.Header.Set(name, fill(value))
	}
	if data != nil {
		r.Header.Set("Content-Type", s.Request.ContentType)
	}
	if s.Request.Gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	switch s.Request.Auth {
	case "", "none":
	case "admin":
		r.SetBasicAuth("admin", "district")
	default:
		username, password, _ := strings.Cut(s.Request.Auth, ":")
		r.SetBasicAuth(username, password)
	}
	w := httptest.NewRecorder()
	p.server.ServeHTTP(w, r)
	answer := w.Body.Bytes()
	if len(answer) == 0 {
		return w.Code, nil
	}
	if !json.Valid(answer) {
		if strings.Contains(w.Header().Get("Content-Type"), "text") {
			return w.Code, nil
		}
		sum := sha256.Sum256(answer)
		return w.Code, map[string]any{"_bytes": int64(len(answer)), "_sha256": hex.EncodeToString(sum[:])}
	}
	return w.Code, decode(answer)
}

// decode reads JSON with whole numbers as int64 and others as float64.
func decode(raw []byte) any {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	_ = dec.Decode(&v) // no JSON is nothing
	return wholeNumbers(v)
}

func wholeNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for key, item := range v {
			v[key] = wholeNumbers(item)
		}
	case []any:
		for i, item := range v {
			v[i] = wholeNumbers(item)
		}
	}
	return v
}

// finished tells whether a polled answer is complete.
func finished(body any) bool {
	switch body := body.(type) {
	case map[string]any:
		return body["status"] != nil
	case []any:
		return slices.ContainsFunc(body, func(item any) bool {
			entry, _ := item.(map[string]any)
			return entry["completed"] == true
		})
	}
	return false
}

func valueAt(v any, path string) (string, bool) {
	for _, part := range strings.Split(path, ".") {
		switch container := v.(type) {
		case map[string]any:
			v = container[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(container) {
				return "", false
			}
			v = container[i]
		}
	}
	found, ok := v.(string)
	return found, ok
}

// reduction keeps of an answer what is compared: what a client acts on, not texts, nor times and ids that
// the server made.
type reduction struct {
	replay *replay
	made   map[string]bool
	count  bool
}

func (r reduction) reduce(v any, field string) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for key, item := range v {
			if !comparedFields[key] {
				continue
			}
			switch item := r.reduce(item, key).(type) {
			case nil:
			case string:
				if item != "" {
					kept[key] = item
				}
			case map[string]any:
				if len(item) > 0 {
					kept[key] = item
				}
			case []any:
				if len(item) > 0 {
					kept[key] = item
				}
			default:
				kept[key] = item
			}
		}
		return kept
	case []any:
		if r.count {
			return int64(len(v))
		}
		kept := make([]any, len(v))
		keys := map[int]string{}
		for i, item := range v {
			kept[i] = r.reduce(item, field)
		}
		for i, item := range kept {
			var lead []any
			if o, ok := item.(map[string]any); ok {
				for _, name := range sortFields {
					lead = append(lead, o[name])
				}
			}
			key, _ := json.Marshal(append(lead, item))
			keys[i] = string(key)
		}
		order := slices.SortedFunc(maps.Keys(keys), func(a, b int) int { return cmp.Compare(keys[a], keys[b]) })
		sorted := make([]any, len(kept))
		for i, place := range order {
			sorted[i] = kept[place]
		}
		return sorted
	case string:
		if r.made[v] || validUID.MatchString(v) && !r.replay.said[v] {
			return "<made by the server>"
		}
		if timePattern.MatchString(v) && !slices.ContainsFunc(r.replay.saidTimes, func(t string) bool { return strings.HasPrefix(t, v[:19]) }) {
			return "<a time>"
		}
		if field == "name" {
			return millisInName.ReplaceAllString(v, "(time)")
		}
		return v
	}
	return v
}

// diff describes where two reduced answers differ.
func diff(want, got any, at string) []string {
	differ := []string{fmt.Sprintf("%s: recorded %.200s, got %.200s", cmp.Or(at, "."), fmt.Sprint(want), fmt.Sprint(got))}
	switch want := want.(type) {
	case map[string]any:
		other, ok := got.(map[string]any)
		if !ok {
			return differ
		}
		both := maps.Clone(want)
		maps.Copy(both, other)
		var out []string
		for _, key := range slices.Sorted(maps.Keys(both)) {
			out = append(out, diff(want[key], other[key], at+"."+key)...)
		}
		return out
	case []any:
		other, ok := got.([]any)
		if !ok {
			return differ
		}
		var out []string
		if len(want) != len(other) {
			out = append(out, fmt.Sprintf("%s: recorded %d items, got %d", at, len(want), len(other)))
		}
		for i := range min(len(want), len(other)) {
			out = append(out, diff(want[i], other[i], fmt.Sprintf("%s[%d]", at, i))...)
		}
		return out
	}
	if want != got {
		return differ
	}
	return nil
}
