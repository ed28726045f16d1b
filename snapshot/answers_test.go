package snapshot

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answering counts what it answers by question.
type answering map[string]int

func (a answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a[r.Method+" "+r.URL.RequestURI()]++
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Set-Cookie", "JSESSIONID=secret")
	if strings.Contains(r.URL.Path, "denied") {
		w.WriteHeader(http.StatusForbidden)
	}
	fmt.Fprintf(w, `{"question":%q,"time":%d,"person":"Ana Abrego"}`+"\n\n", r.URL.RequestURI(), a[r.Method+" "+r.URL.RequestURI()])
}

// run is one run of a program that asks through Answers.
type answersRun struct {
	t       *testing.T
	url     string
	answers *Answers
}

func (r answersRun) ask(method, question string, most int64) string {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+question, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	request.SetBasicAuth("admin", "district")
	answer, err := r.answers.RoundTrip(request)
	if err != nil {
		r.t.Fatal(err)
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		r.t.Fatal(err)
	}
	return string(content)
}

func TestAnswers(t *testing.T) {
	asked := answering{}
	server := httptest.NewServer(asked)
	defer server.Close()
	directory, keys := t.TempDir(), testKeys(t)
	begin := func() answersRun {
		w, err := OpenWriter(directory, Taken, keys, About{Scope: &Scope{}}, WriterOptions{Now: testClock(), disk: quickDisk{}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Close() })
		run := answersRun{t, server.URL, NewAnswers(http.DefaultTransport)}
		if err := run.answers.Open(w); err != nil {
			t.Fatal(err)
		}
		return run
	}
	const all = 1 << 20
	first := begin()
	page := first.ask("GET", "/api/tracker/events?page=1", all)
	again := first.ask("GET", "/api/tracker/events?page=1", all)
	if page == again {
		t.Error("within one run the same question is asked twice where it is put twice")
	}
	first.ask("GET", "/api/tracker/events?page=2", 5)    // the reader breaks off, but little is left
	first.ask("GET", "/api/programs?fields=id", 5)       // as good as whole
	first.ask("GET", "/api/denied", all)                 // may be allowed next time
	first.ask("GET", "/api/me", all)                     // who am I
	first.ask("GET", "/api/system/info", all)            // where am I
	first.ask("POST", "/api/tracker", all)               // no question
	first.ask("GET", "/api/x/generateAndReserve", all)   // uses something up
	first.ask("GET", "/api/organisationUnits?page=1", 0) // not even begun, but it is short
	before := len(asked)

	second := begin()
	for range 2 {
		if got := second.ask("GET", "/api/tracker/events?page=1", all); got != page && got != again {
			t.Errorf("got %q", got)
		}
	}
	second.ask("GET", "/api/tracker/events?page=2", all)
	second.ask("GET", "/api/tracker/events?page=1", all) // once more than before
	second.ask("GET", "/api/denied", all)
	second.ask("GET", "/api/me", all)
	second.ask("GET", "/api/x/generateAndReserve", all)
	want := answering{
		"GET /api/tracker/events?page=1": 3, "GET /api/tracker/events?page=2": 1, "GET /api/programs?fields=id": 1, "GET /api/denied": 2,
		"GET /api/me": 2, "GET /api/system/info": 1, "POST /api/tracker": 1, "GET /api/x/generateAndReserve": 2, "GET /api/organisationUnits?page=1": 1,
	}
	if diff := cmp.Diff(want, asked); diff != "" || len(asked) != before {
		t.Errorf("asked (-want +got):\n%s", diff)
	}

	// On disk is nothing to read, and no trace of who asked.
	names, err := filepath.Glob(filepath.Join(directory, string(Taken), answersName, "*"))
	if err != nil || len(names) != 6 {
		t.Errorf("%d answers are kept: %v", len(names), err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"Abrego", "JSESSIONID", "district", "events"} {
			if bytes.Contains(content, []byte(secret)) || strings.Contains(name, secret) {
				t.Errorf("%s can be read in %s", secret, name)
			}
		}
	}

	// A file that a power cut tore is as good as none.
	if err := os.Truncate(names[len(names)-1], 100); err != nil {
		t.Fatal(err)
	}
	third := begin()
	for question := range want {
		if method, path, _ := strings.Cut(question, " "); method == "GET" {
			third.ask("GET", path, all)
		}
	}
	if err := third.answers.ForgetRecords(); err != nil {
		t.Fatal(err)
	}
	third.ask("GET", "/api/organisationUnits?page=3", all)
	third.answers.Close()
	third.ask("GET", "/api/organisationUnits?page=4", all)
	names, err = filepath.Glob(filepath.Join(directory, string(Taken), answersName, "*"))
	if err != nil || len(names) != 3 {
		t.Errorf("%d answers are kept when those about records are forgotten: %v", len(names), names)
	}
}
