package dhis2sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{"": true, "2.41": true, "2.42.5.2": true, "2.43.1": true, "2.40.11": false, "2.44": false, "42": false} {
		if _, err := New(Options{Version: version}); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestLogins(t *testing.T) {
	t.Parallel()
	s := newServer(t, village)
	ask := func(path string, prepare func(*http.Request)) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		prepare(r)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Result()
	}
	basic := ask("/api/me", func(r *http.Request) { r.SetBasicAuth("nurse", "Nurse-2026!") })
	cookies := basic.Cookies()
	if basic.StatusCode != http.StatusOK || len(cookies) != 1 {
		t.Fatalf("no session for name and password: %d, %v", basic.StatusCode, cookies)
	}
	withCookie := func(r *http.Request) { r.AddCookie(cookies[0]) }
	if again := ask("/api/me", withCookie); again.StatusCode != http.StatusOK {
		t.Errorf("session refused: %d", again.StatusCode)
	}
	s.EvictSessions()
	if evicted := ask("/api/me", withCookie); evicted.StatusCode != http.StatusFound || !strings.Contains(evicted.Header.Get("Location"), "logout") {
		t.Errorf("evicted session: %d to %q, want 302 to the logout page", evicted.StatusCode, evicted.Header.Get("Location"))
	}
	if wrong := ask("/api/me", func(r *http.Request) { r.SetBasicAuth("nurse", "wrong") }); wrong.StatusCode != http.StatusUnauthorized {
		t.Errorf("wrong password: %d", wrong.StatusCode)
	}
	if none := ask("/api/me", func(*http.Request) {}); none.StatusCode != http.StatusFound {
		t.Errorf("nothing given: %d, want 302 to the login page", none.StatusCode)
	}

	_, made := call(t, s, http.MethodPost, "/api/apiToken", `{"type": "PERSONAL_ACCESS_TOKEN_V2"}`)
	withToken := func(r *http.Request) {
		r.Header.Set("Authorization", "ApiToken "+strings.Trim(at(t, made, "response.key"), `"`))
	}
	const tracker = "/api/tracker/events?paging=false"
	if fresh := ask(tracker, withToken); fresh.StatusCode != http.StatusInternalServerError {
		t.Errorf("fresh token on tracker: %d, want 500", fresh.StatusCode)
	}
	if me := ask("/api/me", withToken); me.StatusCode != http.StatusOK {
		t.Errorf("token: %d", me.StatusCode)
	}
	if met := ask(tracker, withToken); met.StatusCode != http.StatusOK {
		t.Errorf("token on tracker after /api/me: %d", met.StatusCode)
	}
	call(t, s, http.MethodDelete, "/api/apiToken/"+strings.Trim(at(t, made, "response.uid"), `"`), "")
	if revoked := ask("/api/me", withToken); revoked.StatusCode != http.StatusBadRequest {
		t.Errorf("revoked token: %d, want 400", revoked.StatusCode)
	}
	if wrong := ask("/api/me", func(r *http.Request) { r.Header.Set("Authorization", "ApiToken d2p_wrong") }); wrong.StatusCode != http.StatusBadRequest {
		t.Errorf("wrong token: %d, want 400", wrong.StatusCode)
	}
}

func TestReservedValues(t *testing.T) {
	t.Parallel()
	s := newServer(t, `{"trackedEntityAttributes": [
		{"id": "aSequential", "name": "S", "shortName": "S", "valueType": "TEXT", "unique": true, "generated": true, "pattern": "ORG_UNIT_CODE(..)+\"-\"+CURRENT_DATE(yyyy)+\"-\"+SEQUENTIAL(###)"},
		{"id": "aRandomOne1", "name": "R", "shortName": "R", "valueType": "TEXT", "unique": true, "generated": true, "pattern": "\"R\"+RANDOM(#)"},
		{"id": "aPlainOne11", "name": "P", "shortName": "P", "valueType": "TEXT"}]}`)
	const attributes = "/api/trackedEntityAttributes/"
	for _, test := range []struct {
		path   string
		status int
		at     string
		want   string
	}{
		{"aSequential/requiredValues", 200, "REQUIRED", `["ORG_UNIT_CODE"]`},
		{"aSequential/requiredValues", 200, "OPTIONAL", `["SEQUENTIAL"]`},
		{"aSequential/generate", 409, "message", `"Missing required values: ORG_UNIT_CODE"`},
		{"aSequential/generate?ORG_UNIT_CODE=R", 500, "message", `"Value is invalid: ORG_UNIT_CODE -\u003e R"`},
		{"aSequential/generate?ORG_UNIT_CODE=RIO", 200, "value", `"RI-2026-001"`},
		{"aSequential/generateAndReserve?ORG_UNIT_CODE=RIO&numberToReserve=2", 200, "list.1.value", `"RI-2026-003"`},
		{"aSequential/generateAndReserve?ORG_UNIT_CODE=SOL", 200, "list.0.value", `"SO-2026-001"`},
		{"aSequential/generateAndReserve?ORG_UNIT_CODE=SOL&numberToReserve=1001", 400, "status", `"ERROR"`},
		{"aRandomOne1/generateAndReserve?numberToReserve=10", 200, "list.0.key", `"RRANDOM(#)"`},
		{"aRandomOne1/generate", 409, "status", `"ERROR"`}, // all ten are gone
		{"aPlainOne11/generate", 400, "status", `"ERROR"`},
		{"noSuchOne11/generate", 404, "errorCode", `"E1005"`},
	} {
		status, answer := call(t, s, http.MethodGet, attributes+test.path, "")
		if got := at(t, answer, test.at); status != test.status || got != test.want {
			t.Errorf("%s: status %d, %s is %s; want %d, %s", test.path, status, test.at, got, test.status, test.want)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	upload := func(query string) (int, object) {
		var body strings.Builder
		form := multipart.NewWriter(&body)
		part, _ := form.CreateFormFile("file", "note.txt")
		_, _ = io.WriteString(part, "hello")
		_ = form.Close()
		r := httptest.NewRequest(http.MethodPost, "/api/fileResources?domain=DATA_VALUE"+query, strings.NewReader(body.String()))
		r.Header.Set("Content-Type", form.FormDataContentType())
		r.SetBasicAuth("admin", "district")
		return do(t, s, r)
	}
	if status, answer := upload("&uid=aFileOfMine"); status != http.StatusAccepted || at(t, answer, "response.fileResource.contentMd5") != `"5d41402abc4b2a76b9719d911017c592"` {
		t.Errorf("upload: %d, %v", status, answer)
	}
	if status, answer := upload("&uid=aFileOfMine"); status != http.StatusConflict || at(t, answer, "errorCode") != `"E1119"` {
		t.Errorf("the same id again: %d, %v", status, answer)
	}
	if _, record := call(t, s, http.MethodGet, "/api/fileResources/aFileOfMine", ""); at(t, record, "storageStatus") != `"STORED"` {
		t.Errorf("record: %v", record)
	}
	// Nobody gets the file of a value by the file's uid.
	if status, answer := call(t, s, http.MethodGet, "/api/fileResources/aFileOfMine/data", ""); status != http.StatusForbidden {
		t.Errorf("content: %d, %v", status, answer)
	}
	status, answer := call(t, s, http.MethodGet, "/api/fileResources?filter=id:in:[aFileOfMine,aFileOfYour]&fields=id,contentLength,storageStatus", "")
	if status != http.StatusOK || at(t, answer, "fileResources") != `[{"contentLength":5,"id":"aFileOfMine","storageStatus":"NONE"}]` {
		t.Errorf("list: %d, %v", status, answer)
	}
	if err := s.LoseFile(t.Context(), "aFileOfMine"); err != nil {
		t.Fatal(err)
	}
	if _, record := call(t, s, http.MethodGet, "/api/fileResources/aFileOfMine", ""); at(t, record, "storageStatus") != `"PENDING"` {
		t.Errorf("record of a lost file: %v", record)
	}
}

// TestFilesRefused: what DHIS2 takes from nobody.
func TestFilesRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	for name, test := range map[string]struct {
		file, contentType string
		length            int
		code              string
	}{
		"a program":     {"setup.EXE", "application/octet-stream", 5, `"E6101"`},
		"a web page":    {"page", "text/html", 5, `"E6101"`},
		"too large":     {"scan.pdf", "application/pdf", 10_000_001, "null"},
		"nothing":       {"scan.pdf", "application/pdf", 0, `"E1004"`},
		"just not so":   {"scan.pdf", "application/pdf", 10_000_000, ""},
		"a photograph":  {"photo.jpg", "image/jpeg", 5, ""},
		"without a dot": {"exe", "application/pdf", 5, ""},
	} {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		part, err := form.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {`form-data; name="file"; filename="` + test.file + `"`}, "Content-Type": {test.contentType},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(bytes.Repeat([]byte("x"), test.length))
		_ = form.Close()
		r := httptest.NewRequest(http.MethodPost, "/api/fileResources", &body)
		r.Header.Set("Content-Type", form.FormDataContentType())
		r.SetBasicAuth("admin", "district")
		status, answer := do(t, s, r)
		if taken := test.code == ""; taken != (status == http.StatusAccepted) {
			t.Errorf("%s: %d, %v", name, status, answer)
		} else if !taken && at(t, answer, "errorCode") != test.code {
			t.Errorf("%s: %d, %v; want code %s", name, status, answer, test.code)
		}
	}
}

func TestTask(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	_, job := call(t, s, http.MethodPost, "/api/metadata?async=true", `{"constants": [{"id": "aConstant11", "name": "C", "shortName": "C", "value": 1.0}]}`)
	summary := "/api/system/taskSummaries/METADATA_IMPORT/" + strings.Trim(at(t, job, "response.id"), `"`)
	for {
		_, done := call(t, s, http.MethodGet, summary, "")
		if done == nil {
			runtime.Gosched() // not yet; the test's own limit ends this
			continue
		}
		if got := at(t, done, "stats.created"); got != "1" {
			t.Errorf("created %s", got)
		}
		return
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	server := httptest.NewServer(s)
	defer server.Close()
	post := func() (int, string, error) {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/metadata", strings.NewReader(`{"constants": [{"id": "aConstant11", "name": "C", "shortName": "C", "value": 1.0}]}`))
		r.SetBasicAuth("admin", "district")
		answer, err := server.Client().Do(r)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(body), err
	}
	stored := func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return len(s.objects("constants")) > 0
	}

	s.Inject(Fault{Times: 1, CutBefore: true})
	if _, _, err := post(); err == nil || stored() {
		t.Errorf("cut before: error %v, stored %t", err, stored())
	}
	s.Inject(Fault{Times: 1, Status: http.StatusServiceUnavailable, Body: "<html>", RetryAfter: 2 * time.Second, Delay: time.Millisecond})
	if status, body, _ := post(); status != http.StatusServiceUnavailable || body != "<html>" || stored() {
		t.Errorf("status: %d %q, stored %t", status, body, stored())
	}
	s.Inject(Fault{Times: 1, CutAfter: true})
	if _, _, err := post(); err == nil || !stored() {
		t.Errorf("cut after: error %v, stored %t", err, stored())
	}
	s.Inject(Fault{Times: 1, Truncate: true})
	if status, body, err := post(); status != http.StatusOK || err != nil || json.Valid([]byte(body)) {
		t.Errorf("truncated: %d %v %q", status, err, body)
	}
	remove := s.Inject(Fault{LoginPage: true, Match: func(r *http.Request) bool { return r.Method == http.MethodPost }})
	for range 2 {
		if status, body, _ := post(); status != http.StatusOK || !strings.Contains(body, "<html>") {
			t.Errorf("login page: %d %q", status, body)
		}
	}
	remove()
	remove()
	if status, _, _ := post(); status != http.StatusOK {
		t.Errorf("after all faults: %d", status)
	}
	if got := s.Requests()["POST /api/metadata"]; got != 7 {
		t.Errorf("%d requests counted, want 7", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := newServer(t, village)
	done := make(chan string)
	for worker := range 4 {
		go func() {
			for i := range 20 {
				uid := fmt.Sprintf("aConst%02d%03d", worker, i)
				r := httptest.NewRequest(http.MethodPost, "/api/constants", strings.NewReader(fmt.Sprintf(`{"id": %q, "name": %q, "shortName": %q, "value": 1.0}`, uid, uid, uid)))
				r.Header.Set("Content-Type", "application/json")
				r.SetBasicAuth("admin", "district")
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				read := httptest.NewRequest(http.MethodGet, "/api/organisationUnits?fields=*", nil)
				read.SetBasicAuth("nurse", "Nurse-2026!")
				s.ServeHTTP(httptest.NewRecorder(), read)
				if w.Code != http.StatusCreated {
					done <- w.Body.String()
					return
				}
			}
			done <- ""
		}()
	}
	for range 4 {
		if wrong := <-done; wrong != "" {
			t.Error(wrong)
		}
	}
	if got := len(s.objects("constants")); got != 80 {
		t.Errorf("%d constants, want 80", got)
	}
}
