package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// TestPrepareKilled kills prepare 50 times, with SIGKILL, at moments drawn from a seed while it takes: before a question
// is answered, in the middle of an answer, after it. Begun again as often as it takes it ends with what an undisturbed
// one takes, and central answers no question again whose answer had been received.
//
// Received is what central can know to be: an answer behind which the same connection brought another question that
// was answered too. A connection is not used again before an answer on it was read to its end. What is not yet
// received in this sense was in flight. The questions by which every run finds out where it is, who asks and what the
// scope is are not counted: they are put before anything can be remembered.
func TestPrepareKilled(t *testing.T) {
	const kills = 50
	random := rand.New(rand.NewPCG(20261125, kills))
	central := &deadly{t: t, server: clinicServer(t)}
	listening := httptest.NewServer(central)
	defer listening.Close()

	central.learnOpening(listening.URL)
	undisturbed := newKilledKit(t, listening.URL)
	central.trip()
	if err := undisturbed.prepare(central, -1, 0); err != nil {
		t.Fatal(err)
	}
	want := undisturbed.taken()

	for killed := 0; killed < kills; {
		k := newKilledKit(t, listening.URL)
		central.trip()
		for {
			die := -1
			if killed < kills {
				die = random.IntN(25)
			}
			err := k.prepare(central, die, random.IntN(3))
			if err == nil {
				break
			}
			if !central.struck() {
				t.Fatal(err)
			}
			killed++
		}
		if diff := cmp.Diff(want, k.taken()); diff != "" {
			t.Fatalf("after %d kills (-undisturbed +killed):\n%s", killed, diff)
		}
	}
	t.Logf("%d questions, of which %d came again because their answers were in flight", central.questions, central.repeated)
	if most := 2 * kills; central.repeated > most {
		t.Errorf("%d questions came again; with two at a time %d may be in flight", central.repeated, most)
	}
}

// killedKit is a kit whose prepare is a process of its own.
type killedKit struct {
	t         *testing.T
	directory string
	local     string
}

func newKilledKit(t *testing.T, central string) *killedKit {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{Version: "2.42.5.2"})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	k := &killedKit{t, t.TempDir(), listening.URL}
	config := fmt.Sprintf("name: killed\ncentral: {url: %s}\nscope: {orgUnits: [PA]}\nlocal: {url: %s}\n", central, k.local)
	if err := os.WriteFile(filepath.Join(k.directory, "fieldkit.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

// prepare runs `fieldkit prepare` until its end, or until central kills it: at the question with that number, below zero
// never, before, in or after its answer. The error is nil when it came to its end.
func (k *killedKit) prepare(central *deadly, question, stage int) error {
	k.t.Helper()
	ctx, cancel := context.WithCancel(k.t.Context())
	defer cancel()
	program, err := os.Executable()
	if err != nil {
		k.t.Fatal(err)
	}
	run := exec.CommandContext(ctx, program, "prepare", "--yes", "--kit", k.directory)
	run.Args[0] = "fieldkit" // see TestMain
	run.Env = append(os.Environ(), "HOME="+k.directory, "XDG_CONFIG_HOME="+filepath.Join(k.directory, ".config"),
		"FIELDKIT_CENTRAL_USER=admin", "FIELDKIT_CENTRAL_PASSWORD=district", "FIELDKIT_LOCAL_USER=admin", "FIELDKIT_LOCAL_PASSWORD=district")
	var said bytes.Buffer
	run.Stdout, run.Stderr = &said, &said
	central.aim(question, stage, func() { _ = run.Process.Kill() })
	if err := run.Run(); err != nil {
		return fmt.Errorf("prepare: %w\n%s", err, said.String())
	}
	return nil
}

// taken are the lines of the taken face by kind, sorted: all but what is of the moment.
func (k *killedKit) taken() map[string][]string {
	k.t.Helper()
	directories, err := filepath.Glob(filepath.Join(k.directory, "trips", "*", "snapshot"))
	if err != nil || len(directories) != 1 {
		k.t.Fatalf("the kit has %d snapshots: %v", len(directories), err)
	}
	keys, err := snapshot.ReadingKeys(directories[0], snapshot.KeyOptions{
		Getenv: func(string) string { return "" }, ConfigDirectory: filepath.Join(k.directory, ".config", "fieldkit"),
	})
	if err != nil {
		k.t.Fatal(err)
	}
	s, err := snapshot.Open(directories[0], keys)
	if err != nil {
		k.t.Fatal(err)
	}
	if rest, err := filepath.Glob(filepath.Join(directories[0], "taken", "answers*")); err != nil || len(rest) > 0 {
		k.t.Errorf("answers are still remembered: %v", rest)
	}
	lines := map[string][]string{}
	for _, part := range s.Manifest().Faces[snapshot.Taken].Parts {
		kind := string(part.Kind) + " " + part.UID()
		if part.Kind == snapshot.Document {
			if strings.Contains(part.Name, "view") {
				continue // says when the taking began
			}
			kind = part.Name
		}
		for line, err := range snapshot.Each[json.RawMessage](k.t.Context(), s, part) {
			if err != nil {
				k.t.Fatal(err)
			}
			lines[kind] = append(lines[kind], string(line))
		}
	}
	for kind := range lines {
		slices.Sort(lines[kind])
	}
	return lines
}

// deadly is a server that kills its client at one of its questions, and knows what answers the client received.
type deadly struct {
	t      *testing.T
	server http.Handler

	mu sync.Mutex
	// die is the question at which to kill, counted down; below zero never again.
	die, stage int
	kill       func()
	hit        bool
	// last is what was answered last on a connection of this run, received how often this trip's runs have received an
	// answer.
	last     map[string]string
	received map[string]int
	// asked counts this run's questions, seen are those of the trip that were answered.
	asked map[string]int
	seen  map[string]bool
	// questions counts all, repeated those that had been answered before.
	questions, repeated int
	// opening are the questions by which every run begins; learning: they are being learnt.
	opening  map[string]bool
	learning bool
}

// learnOpening finds out by which questions a run begins.
func (d *deadly) learnOpening(url string) {
	d.t.Helper()
	d.trip()
	d.aim(-1, 0, nil)
	d.opening, d.learning = map[string]bool{}, true
	client, err := dhis2api.Connect(d.t.Context(), url, dhis2api.Credentials{Username: "admin", Password: "district"}, dhis2api.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := snapshot.ResolveScope(d.t.Context(), client, snapshot.Wanted{OrgUnits: []string{"PA"}}); err != nil {
		d.t.Fatal(err)
	}
	if _, err := snapshot.IdentifyServer(d.t.Context(), client); err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.learning = false
}

// trip forgets what other kits were told.
func (d *deadly) trip() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.received, d.seen = map[string]int{}, map[string]bool{}
}

// aim begins a run.
func (d *deadly) aim(question, stage int, kill func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.die, d.stage, d.kill, d.hit = question, stage, kill, false
	d.last, d.asked = map[string]string{}, map[string]int{}
}

func (d *deadly) struck() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hit
}

// counts tells whether a question is one that is to be put once only.
func (d *deadly) counts(r *http.Request) bool {
	return r.Method == http.MethodGet && !d.opening[r.URL.RequestURI()] && !strings.HasPrefix(r.URL.Path, "/api/me") && !strings.HasPrefix(r.URL.Path, "/api/system/")
}

func (d *deadly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	question := r.URL.RequestURI()
	d.mu.Lock()
	if d.learning {
		d.opening[question] = true
	}
	counts, strike := d.counts(r), d.die == 0
	d.die--
	if d.hit { // a last word of whoever is being killed
		d.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	if strike {
		d.hit = true
	}
	if counts {
		d.questions++
		d.asked[question]++
		if d.seen[question] {
			d.repeated++
		}
		// Some are put more than once by every run.
		if d.received[question] >= d.asked[question] {
			d.t.Errorf("central is asked again what was answered and received: %s", question)
		}
	}
	stage, kill := d.stage, d.kill
	d.mu.Unlock()

	if strike && stage == 0 {
		kill()
		panic(http.ErrAbortHandler)
	}
	answer := httptest.NewRecorder()
	d.server.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(answer.Body.Len()))
	w.WriteHeader(answer.Code)
	if strike && stage == 1 {
		_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		kill()
		panic(http.ErrAbortHandler)
	}
	_, err := w.Write(answer.Body.Bytes())
	_ = http.NewResponseController(w).Flush()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && !d.hit && answer.Code == http.StatusOK {
		// The one before on this connection was read to its end.
		if before := d.last[r.RemoteAddr]; before != "" {
			d.received[before]++
		}
		d.last[r.RemoteAddr] = ""
		if counts {
			d.last[r.RemoteAddr] = question
			d.seen[question] = true
		}
	}
	if strike {
		kill()
	}
}

// clinicServer is a simulated server with the clinic's metadata and some hundred patients.
func clinicServer(t *testing.T) http.Handler {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{Version: "2.42.5.2"})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	defer listening.Close()
	metadata, err := os.ReadFile(clinicMetadata)
	if err != nil {
		t.Fatal(err)
	}
	units := fmt.Sprintf(`[{"op": "add", "path": "/organisationUnits", "value": [{"id": %[1]q}]},
		{"op": "add", "path": "/teiSearchOrganisationUnits", "value": [{"id": %[1]q}]},
		{"op": "add", "path": "/dataViewOrganisationUnits", "value": [{"id": %[1]q}]}]`, panama)
	patients, err := json.Marshal(patients(1200))
	if err := errors.Join(err, post(http.MethodPost, listening.URL+"/api/metadata", metadata),
		post(http.MethodPatch, listening.URL+"/api/users/"+admin, []byte(units)),
		post(http.MethodPost, listening.URL+"/api/tracker?async=false", patients)); err != nil {
		t.Fatal(err)
	}
	return server
}

func post(method, url string, body []byte) error {
	_, err := send(method, url, body)
	return err
}

// patients were seen once, or, every third, only registered.
func patients(number int) dhis2api.TrackerPayload {
	var payload dhis2api.TrackerPayload
	for n := range number {
		p := &dhis2api.TrackedEntity{
			TrackedEntity: fmt.Sprintf("P%010d", n), TrackedEntityType: "ig1m3E2NSOb", OrgUnit: "P1J4eyjXQeT",
			Attributes: []dhis2api.Attribute{{Attribute: "GoX1JP83DWF", Value: fmt.Sprint("Ana", n)}, {Attribute: "k0aoyOGu3L2", Value: "Abrego"}},
		}
		if n%3 > 0 {
			p.Enrollments = []*dhis2api.Enrollment{{
				Enrollment: fmt.Sprintf("N%010d", n), Program: "xIkcI00xjZE", OrgUnit: p.OrgUnit, EnrolledAt: "2026-11-10", OccurredAt: "2026-11-10", Status: "ACTIVE",
				Events: []*dhis2api.Event{{
					Event: fmt.Sprintf("E%010d", n), Program: "xIkcI00xjZE", ProgramStage: "m9JW68Avdyx", OrgUnit: p.OrgUnit, OccurredAt: "2026-11-10", Status: "COMPLETED",
					DataValues: []dhis2api.EventDataValue{{DataElement: "SHUMZIdrf6Y", Value: "54.5"}},
				}},
			}}
		}
		payload.TrackedEntities = append(payload.TrackedEntities, p)
	}
	return payload
}
