package orchestrator_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// bodyOf reads a request's body and leaves it as it was.
func bodyOf(t *testing.T, r *http.Request) []byte {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// brokenInside is how DHIS2 answers when something broke inside it.
func brokenInside() dhis2sim.Fault {
	return dhis2sim.Fault{
		Status: http.StatusInternalServerError, ContentType: "application/json",
		Body: `{"httpStatus":"Internal Server Error","httpStatusCode":500,"status":"ERROR","message":"Index 0 out of bounds for length 0"}`,
	}
}

// TestPoisonousObject: central breaks off on every import that has one certain object in it. That object is held with the
// reason, what depends on it waits, the rest goes. It is sent again in the next run, and goes when central is cured.
func TestPoisonousObject(t *testing.T) {
	tests := []struct {
		name, kind, poison string
		fault              dhis2sim.Fault
		code               string
		// waiting are those that wait for it.
		waiting []string
	}{
		{name: "an event", kind: "event", poison: "Delia's first visit", fault: brokenInside(), code: "HTTP 500"},
		{name: "a new person", kind: "trackedEntity", poison: "Yara", fault: brokenInside(), code: "HTTP 500", waiting: []string{"Yara's enrollment", "Yara's first visit", "Ana mother of Yara"}},
		{name: "an enrollment, behind a proxy", kind: "enrollment", poison: "Yara's enrollment", fault: dhis2sim.Fault{Status: http.StatusBadGateway, Body: "<html>"}, code: "HTTP 502", waiting: []string{"Yara's first visit"}},
		{name: "a relationship, and the line is cut", kind: "relationship", poison: "Ana mother of Yara", fault: dhis2sim.Fault{CutBefore: true}, code: "SILENT"},
		{name: "a request that no proxy lets through", kind: "event", poison: "spring", fault: dhis2sim.Fault{Status: http.StatusRequestEntityTooLarge}, code: "HTTP 413"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, w := newTroubledWorld(t)
			w.outAndBack()
			mark := fmt.Appendf(nil, `{"%s":"%s"`, test.kind, w.id(test.poison))
			sent := 0
			test.fault.Match = func(r *http.Request) bool {
				if r.Method != http.MethodPost || r.URL.Path != "/api/tracker" || !bytes.Contains(bodyOf(t, r), mark) {
					return false
				}
				sent++
				return true
			}
			remove := server.Inject(test.fault)
			r := w.reconcile(false)
			refused := slices.ContainsFunc(r.Refusals, func(no report.Refusal) bool {
				return no.UID == w.id(test.poison) && no.Code == test.code && no.Reason != "" && no.Hint != ""
			})
			if !refused {
				t.Errorf("%s is not refused with %s: %s", test.poison, test.code, asJSON(r.Refusals))
			}
			for _, name := range test.waiting {
				if !slices.ContainsFunc(r.Waiting, func(held report.Waiting) bool { return held.UID == w.id(name) }) {
					t.Errorf("%s does not wait: %s", name, asJSON(r.Waiting))
				}
			}
			if r.Sums.Open != 0 || r.Sums.Pushed < 8 {
				t.Errorf("the rest did not go: %+v", r.Sums)
			}
			if r.ExitCode() != 4 {
				t.Errorf("exit code %d, want 4", r.ExitCode())
			}
			if sent == 0 {
				t.Fatal("it was never sent")
			}
			remove()
			cured := w.reconcile(false)
			if test.code == "HTTP 413" {
				// That was an answer: it is asked again when something changes, or somebody decides.
				return
			}
			w.checkHome(cured)
		})
	}
}

// TestPoisonousObjectAlone: where there is nothing else to send, DHIS2's own word is taken that it breaks off on that.
func TestPoisonousObjectAlone(t *testing.T) {
	for name, fault := range map[string]dhis2sim.Fault{"DHIS2 says so": brokenInside(), "a proxy says so": {Status: http.StatusBadGateway, Body: "<html>"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, w := newTroubledWorld(t)
			w.setUp()
			w.patientsAtCentral()
			w.prepare()
			w.local = w.connect(orchestrator.Local, w.local.BaseURL())
			w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Ana", "second visit", "60.1")}}, "")
			fault.Match = isImport
			server.Inject(fault)
			kit := w.open()
			r, err := kit.Reconcile(t.Context(), orchestrator.ReconcileOptions{})
			if closing := kit.Close(); closing != nil {
				t.Fatal(closing)
			}
			var failed *orchestrator.ServerError
			switch {
			case fault.ContentType == "" && !errors.As(err, &failed):
				t.Errorf("the run ended with %v, want an error that names central", err)
			case fault.ContentType != "" && (err != nil || len(r.Refusals) != 1 || r.Refusals[0].Code != "HTTP 500"):
				t.Errorf("the run ended with %v and %s", err, asJSON(r))
			}
		})
	}
}

func isImport(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Path == "/api/tracker"
}

// TestNoImportIsAnswered: a central that answers what it holds, and breaks off on every import, is in trouble itself: the run
// says so before it has tried every object.
func TestNoImportIsAnswered(t *testing.T) {
	server, w := newTroubledWorld(t)
	w.outAndBack()
	fault := brokenInside()
	fault.Match = isImport
	remove := server.Inject(fault)
	kit := w.open()
	_, err := kit.Reconcile(t.Context(), orchestrator.ReconcileOptions{})
	if closing := kit.Close(); closing != nil {
		t.Fatal(closing)
	}
	var failed *orchestrator.ServerError
	if !errors.As(err, &failed) || orchestrator.Hint(err) == "" {
		t.Errorf("the run ended with %v, hint %q", err, orchestrator.Hint(err))
	}
	if sent := server.Requests()["POST /api/tracker"]; sent > 30 {
		t.Errorf("%d imports were tried", sent)
	}
	remove()
	w.checkHome(w.reconcile(false))
}

// TestLargeRequestsFail: a central, or a proxy before it, that fails on large requests gets small ones, and all goes home. The
// plan says so before.
func TestLargeRequestsFail(t *testing.T) {
	const people, most = 120, 20_000
	faults := map[string]dhis2sim.Fault{
		"too large for a proxy":     {Status: http.StatusRequestEntityTooLarge, Body: "<html>"},
		"a proxy does not wait":     {Status: http.StatusGatewayTimeout, Body: "<html>"},
		"DHIS2 breaks off":          brokenInside(),
		"cut after they are stored": {CutAfter: true},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, w := newTroubledWorld(t)
			w.setUp()
			w.crowd(2*people + 20)
			w.prepare()
			w.local = w.connect(orchestrator.Local, w.local.BaseURL())
			w.crowdChanges(people)
			failed, imports := 0, 0
			fault.Match = func(r *http.Request) bool {
				if !isImport(r) {
					return false
				}
				imports++
				if len(bodyOf(t, r)) <= most {
					return false
				}
				failed++
				return true
			}
			server.Inject(fault)
			if planned := w.reconcile(true); planned.Sums.Open < 4*people || planned.Sums.Held > 0 {
				t.Errorf("the plan says %+v", planned.Sums)
			}
			plannedImports, plannedFailed := imports, failed
			r := w.reconcile(false)
			if r.Sums.Held+r.Sums.Open > 0 || r.Sums.Pushed < 4*people {
				t.Errorf("not all is home: %+v", r.Sums)
			}
			if failed -= plannedFailed; failed == 0 || failed > 10 {
				t.Errorf("%d of %d imports failed, want some and not many", failed, imports-plannedImports)
			}
			if again := w.reconcile(false); again.Sent != 0 {
				t.Errorf("the next run sent %d objects", again.Sent)
			}
		})
	}
}
