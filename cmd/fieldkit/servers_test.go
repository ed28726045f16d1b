package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/gofrs/flock"
	"github.com/rogpeppe/go-internal/testscript"
)

// Where the clinic's metadata is, and the uids that scripts use most. The patients are in testdata/patients.json.
const (
	clinicMetadata = "../../dhis2api/testdata/clinic/metadata.json"
	admin          = "M5zQapPyTZI" // of every fresh DHIS2
	panama         = "zDtBfyIHGje" // the clinic's root unit
)

// startServers starts two simulated servers for a script, in $CENTRAL and $LOCAL, both fresh, with the
// default account in the environment, and some that misbehave: $LOGIN shows a login page to everybody,
// $SILENT accepts connections and says nothing, $CLOSED is where nothing listens.
func startServers(env *testscript.Env) error {
	barrier := &gate{}
	env.Values[gateKey] = barrier
	for _, name := range []string{"CENTRAL", "LOCAL"} {
		server, err := dhis2sim.New(dhis2sim.Options{Version: "2.42.5.2"})
		if err != nil {
			return err
		}
		listening := httptest.NewServer(barrier.before(name, server))
		env.Defer(listening.Close)
		env.Setenv(name, listening.URL)
		env.Setenv("FIELDKIT_"+name+"_USER", "admin")
		env.Setenv("FIELDKIT_"+name+"_PASSWORD", "district")
	}
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html><body>Please log in to the hotel's Wi-Fi</body></html>")
	}))
	env.Defer(login.Close)
	env.Setenv("LOGIN", login.URL)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Defer(func() { silent.Close() })
	env.Setenv("SILENT", "http://"+silent.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Setenv("CLOSED", "http://"+closed.Addr().String())
	return closed.Close()
}

// seed gives a fresh server the clinic's metadata and patients, and its admin the whole country.
func seed(ts *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) != 1 {
		ts.Fatalf("usage: seed URL")
	}
	const units = `[{"op": "add", "path": "/organisationUnits", "value": [{"id": "` + panama + `"}]},
		{"op": "add", "path": "/teiSearchOrganisationUnits", "value": [{"id": "` + panama + `"}]},
		{"op": "add", "path": "/dataViewOrganisationUnits", "value": [{"id": "` + panama + `"}]}]`
	metadata, err := os.ReadFile(clinicMetadata)
	ts.Check(err)
	patients, err := os.ReadFile("testdata/patients.json")
	ts.Check(err)
	for _, step := range []struct {
		method, path string
		body         []byte
	}{
		{http.MethodPost, "/api/metadata", metadata},
		{http.MethodPatch, "/api/users/" + admin, []byte(units)},
		{http.MethodPost, "/api/tracker?async=false", patients},
	} {
		_, err := send(step.method, arguments[0]+step.path, step.body)
		ts.Check(err)
	}
}

// requestMain is the program `request METHOD URL [FILE]`: it sends the file as admin and prints the answer.
func requestMain() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: request METHOD URL [FILE]")
		os.Exit(2)
	}
	var body []byte
	if len(os.Args) == 4 {
		var err error
		if body, err = os.ReadFile(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	answer, err := send(os.Args[1], os.Args[2], body)
	os.Stdout.Write(answer)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// send makes one request as admin. The error is a status other than 2xx.
func send(method, url string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth("admin", "district")
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/json-patch+json")
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, content)
	}
	return content, err
}

// hold holds a kit for the rest of the script, as another run of fieldkit would.
func hold(ts *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) != 1 {
		ts.Fatalf("usage: hold DIR")
	}
	lock := flock.New(filepath.Join(ts.MkAbs(arguments[0]), ".fieldkit.lock"))
	held, err := lock.TryLock()
	ts.Check(err)
	if !held {
		ts.Fatalf("somebody holds %s already", arguments[0])
	}
	ts.Defer(func() { ts.Check(lock.Unlock()) })
}

// expand replaces $CENTRAL and the like in files: what is in a script's archive is not expanded otherwise.
func expand(ts *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, name := range arguments {
		content := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(content), 0o600))
	}
}

// kit writes the fieldkit.yaml of a kit for Río Caña between $CENTRAL and $LOCAL.
func kit(ts *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) != 1 {
		ts.Fatalf("usage: kit DIR")
	}
	dir := ts.MkAbs(arguments[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	lines := []string{"name: bocas-1", "central: {url: " + ts.Getenv("CENTRAL") + "}", "scope: {orgUnits: [RIOCANA]}",
		"local: {url: " + ts.Getenv("LOCAL") + "}", ""}
	ts.Check(os.WriteFile(filepath.Join(dir, "fieldkit.yaml"), []byte(strings.Join(lines, "\n")), 0o600))
}

// gateKey is where a script's environment keeps its gate.
const gateKey = "gate"

// gate holds requests back.
type gate struct {
	mu      sync.Mutex
	pattern *regexp.Regexp // nil: open
	reached chan struct{}
	release chan struct{}
}

// before puts the gate before a server: a request that matches, as "NAME METHOD path", waits for the release
// and is then carried out, whether or not whoever sent it is still there.
func (g *gate) before(name string, server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		held := g.pattern != nil && g.pattern.MatchString(name+" "+r.Method+" "+r.URL.Path)
		reached, release := g.reached, g.release
		g.mu.Unlock()
		if held {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			select {
			case reached <- struct{}{}:
			default:
			}
			<-release
		}
		server.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	})
}

// gateCommand closes and opens the script's gate.
func gateCommand(ts *testscript.TestScript, negated bool, arguments []string) {
	g := ts.Value(gateKey).(*gate)
	open := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.pattern != nil {
			g.pattern = nil
			close(g.release)
		}
	}
	switch {
	case !negated && len(arguments) == 2 && arguments[0] == "close":
		pattern, err := regexp.Compile(arguments[1])
		ts.Check(err)
		g.mu.Lock()
		g.pattern, g.reached, g.release = pattern, make(chan struct{}, 1), make(chan struct{})
		g.mu.Unlock()
		ts.Defer(open)
	case !negated && len(arguments) == 1 && arguments[0] == "reached":
		select {
		case <-g.reached:
		case <-time.After(time.Minute):
			ts.Fatalf("nothing came to the gate")
		}
	case !negated && len(arguments) == 1 && arguments[0] == "open":
		open()
	default:
		ts.Fatalf("usage: gate close PATTERN | gate reached | gate open")
	}
}
