package orchestrator_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// decision is what the report says about the last decision on a number.
func (w *world) decision(r *report.Report, number int) report.Decision {
	w.t.Helper()
	for _, d := range slices.Backward(r.Decisions) {
		if d.Number == number {
			return d
		}
	}
	w.t.Fatalf("no decision on conflict %d: %s", number, asJSON(r.Decisions))
	return report.Decision{}
}

// TestDecisionRefused: a decided value that central refuses is held with the decision, sent once, also over the next
// trip, and can be decided again.
func TestDecisionRefused(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "nationalID", "8-2-2")}}, "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "nationalID", "8-3-3")}}, "")
	first := w.reconcile(false)
	ana := w.conflict(first, "Ana", "nationalID")
	planned := w.planDecided(map[int]string{ana: "=8-1-1"}) // Berta's
	if len(planned.Refusals) != 1 || planned.Refusals[0].Code != "E1064" || planned.ExitCode() != 3 {
		t.Errorf("the plan does not foretell the refusal: %s", asJSON(planned))
	}
	w.expectQuiet(first)
	refused := w.decide(map[int]string{ana: "=8-1-1"})
	w.expectSums(refused, report.Sums{Total: 1, Held: 1})
	if d := w.decision(refused, ana); d.State != report.DecisionWaits || len(refused.Refusals) != 1 || refused.Sent != 1 {
		t.Errorf("sent %d, refused %s, decision %s", refused.Sent, asJSON(refused.Refusals), asJSON(d))
	}
	if hint := refused.Refusals[0].Hint; !strings.Contains(hint, "at central it is trackedEntity "+w.id("Berta")) {
		t.Errorf("the hint does not name Berta, who has the number: %q", hint)
	}
	w.expectQuiet(refused)
	w.prepare()
	next := w.reconcile(false)
	w.expectSums(next, refused.Sums)
	if d := w.decision(next, ana); d.State != report.DecisionWaits || next.Sent != 0 || next.ExitCode() != 3 {
		t.Errorf("on the next trip: sent %d, exit code %d, decision %s", next.Sent, next.ExitCode(), asJSON(d))
	}
	// Berta gives the number up: the decided value is sent once more, and would arrive but for its being decided anew.
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "nationalID", "8-5-5")}}, "")
	if freed := w.reconcile(true); freed.Sums.Open != 1 {
		t.Errorf("the number is free and the decision is not to be sent: %+v", freed.Sums)
	}
	last := w.decide(map[int]string{ana: "=8-4-4"})
	w.expectSums(last, report.Sums{Total: 1, Pushed: 1})
	w.expectAttributes("Ana", map[string]string{"nationalID": "8-4-4"})
	if d := w.decision(last, ana); d.State != report.DecisionCarriedOut || d.Value != "8-4-4" || len(last.Decisions) != 1 {
		t.Errorf("decided again: %s", asJSON(last.Decisions))
	}
	w.expectQuiet(last)
}

// TestDecisionsOnWhatBelongsTogether: the status takes its date along, and a dropped change stays dropped until the
// kit changes the field once more.
func TestDecisionsOnWhatBelongsTogether(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	enrollment := func(name, status string) *dhis2api.Enrollment {
		e := w.patient(name, map[string]string{}).Enrollments[0]
		e.Status, e.Events = status, nil
		return e
	}
	yara, hers := w.patient("Yara", map[string]string{"phone": "6111-0009", "community": "Soloy"}), w.patient("Yara", map[string]string{"phone": "6222-0009", "community": "Cerro"})
	w.send(w.local, dhis2api.TrackerPayload{
		Enrollments:     []*dhis2api.Enrollment{enrollment("Ana", "COMPLETED"), enrollment("Berta", "COMPLETED")},
		TrackedEntities: []*dhis2api.TrackedEntity{yara},
	}, "")
	w.send(w.central, dhis2api.TrackerPayload{
		Enrollments:     []*dhis2api.Enrollment{enrollment("Ana", "CANCELLED"), enrollment("Berta", "CANCELLED")},
		TrackedEntities: []*dhis2api.TrackedEntity{hers},
	}, "")
	first := w.reconcile(false)
	r := w.decide(map[int]string{
		w.conflict(first, "Ana's enrollment", "status"): "central", w.conflict(first, "Berta's enrollment", "status"): "local",
		w.conflict(first, "Yara", "phone"): "local", w.conflict(first, "Yara", "community"): "central",
	})
	if r.Sums.Held > 0 || r.Sums.Total != first.Sums.Total || r.Sums.Dropped < 2 {
		t.Errorf("sums %+v, before %+v: %s", r.Sums, first.Sums, asJSON(r.Conflicts))
	}
	for name, status := range map[string]string{"Ana": "CANCELLED", "Berta": "COMPLETED"} {
		e, err := w.central.Enrollment(t.Context(), w.id(name+"'s enrollment"), dhis2api.Lookup{})
		if err != nil || e.Status != status {
			t.Errorf("%s's enrollment at central: %s, %v", name, asJSON(e), err)
		}
	}
	w.expectAttributes("Yara", map[string]string{"phone": "6111-0009", "community": "Cerro"})
	w.expectQuiet(r)

	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Yara", "community", "Boca de Soloy")}}, "")
	later := w.reconcile(false)
	w.expectAttributes("Yara", map[string]string{"phone": "6111-0009", "community": "Boca de Soloy"})
	if later.Sums.Total != r.Sums.Total || later.Sums.Dropped != r.Sums.Dropped-1 || later.Sums.Pushed != r.Sums.Pushed+1 {
		t.Errorf("sums %+v, before %+v", later.Sums, r.Sums)
	}
	w.expectQuiet(later)
}

// TestDecisionCannotDelete: a person of whom central has something in a program that the kit does not carry is never
// deleted from the kit.
func TestDecisionCannotDelete(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Elena")}}}, dhis2api.ImportStrategyDelete)

	w.define("programs", "elsewhere", map[string]any{
		"programType": "WITH_REGISTRATION", "trackedEntityType": w.ref("patient"), "categoryCombo": w.defaultCombo(), "accessLevel": "OPEN",
		"organisationUnits": []any{w.ref("soloy")}, "sharing": map[string]any{"public": "rwrw----", "external": false},
	})
	programs := w.metadata["programs"]
	result, err := w.central.ImportMetadata(t.Context(), map[string][]map[string]any{"programs": programs[len(programs)-1:]}, dhis2api.MetadataImportOptions{})
	if err != nil || result.Status != "OK" {
		t.Fatalf("central does not take the program: %s, %v", asJSON(result), err)
	}
	w.send(w.central, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{{
		Enrollment: w.id("enrollment elsewhere"), TrackedEntity: w.id("Elena"), Program: w.id("elsewhere"), OrgUnit: w.id("soloy"), Status: "ACTIVE",
		EnrolledAt: "2026-05-04", OccurredAt: "2026-05-04",
	}}}, "")
	first := w.reconcile(false)
	elena := w.conflict(first, "Elena", "")
	for _, r := range []*report.Report{w.planDecided(map[int]string{elena: "local"}), w.decide(map[int]string{elena: "local"})} {
		w.expectSums(r, report.Sums{Total: 1, Held: 1})
		if d := w.decision(r, elena); d.State != report.DecisionNotApplied || !strings.Contains(d.Reason, "delete it at central") {
			t.Errorf("%s", asJSON(d))
		}
	}
	if _, err := w.central.TrackedEntity(t.Context(), w.id("Elena"), dhis2api.Lookup{}); err != nil {
		t.Errorf("Elena at central: %v", err)
	}
	last := w.decide(map[int]string{elena: "central"})
	w.expectSums(last, report.Sums{Total: 1, Dropped: 1})
	w.expectQuiet(last)
}

// TestWrittenOver: central takes a change and somebody there writes over it at once. That is told once, and not sent in every
// run; a decision for central ends it, and one for the kit is tried once.
func TestWrittenOver(t *testing.T) {
	target, err := url.Parse(simulated(t, "2.42.5.2"))
	if err != nil {
		t.Fatal(err)
	}
	var (
		armed     atomic.Bool
		writeOver func()
	)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(answer *http.Response) error {
		r := answer.Request
		if r.Method == http.MethodPost && r.URL.Path == "/api/tracker" && r.URL.Query().Get("importMode") != "VALIDATE" && armed.CompareAndSwap(true, false) {
			writeOver() // passes here too
			armed.Store(true)
		}
		return nil
	}
	central := httptest.NewServer(proxy)
	t.Cleanup(central.Close)
	w := newWorld(t, central.URL, simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	chlorine := func(value string) dhis2api.TrackerPayload {
		return dhis2api.TrackerPayload{Events: []*dhis2api.Event{{
			Event: w.id("well"), Program: w.id("water"), ProgramStage: w.id("sample"), OrgUnit: w.id("soloy"), OccurredAt: "2026-05-04", Status: "COMPLETED",
			DataValues: []dhis2api.EventDataValue{{DataElement: w.id("chlorine"), Value: value}},
		}}}
	}
	w.send(w.local, chlorine("0.5"), "")
	writeOver = func() { w.send(w.central, chlorine("0.9"), "") }
	armed.Store(true)
	defer armed.Store(false)
	first := w.reconcile(false)
	if len(first.Conflicts) != 1 || first.Conflicts[0].Field != w.id("chlorine") || !strings.Contains(first.Conflicts[0].Reason, "wrote over it") {
		t.Fatalf("want one conflict of the chlorine: %s", asJSON(first))
	}
	w.decidedOnce(first, 1)
}

// TestCompletedAgain: a sample that is opened again on the kit, put right and completed again goes home, but for the time of
// its completion, which DHIS2 sets only as the status changes. That is held, never sent, and can be decided for central only.
func TestCompletedAgain(t *testing.T) {
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	well := dhis2api.Event{
		Event: w.id("well"), Program: w.id("water"), ProgramStage: w.id("sample"), OrgUnit: w.id("soloy"), OccurredAt: "2026-05-04",
		DataValues: []dhis2api.EventDataValue{{DataElement: w.id("chlorine"), Value: "0.5"}},
	}
	for _, status := range []string{"ACTIVE", "COMPLETED"} {
		well.Status = status
		w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{&well}}, "")
	}
	first := w.reconcile(false)
	w.expectSums(first, report.Sums{Total: 2, Pushed: 1, Held: 1})
	if len(first.Conflicts) != 1 || first.Conflicts[0].Reason != "central sets the time of completion only as the status changes" {
		t.Fatalf("want one conflict of completedAt: %s", asJSON(first))
	}
	w.decidedOnce(first, 0)
}

// decidedOnce has a lone conflict that central cannot take held in later runs, decided for the kit, which sends so many
// operations and ends nothing, and decided for central, which ends it.
func (w *world) decidedOnce(first *report.Report, sent int) {
	w.t.Helper()
	for range 2 {
		if again := w.reconcile(false); again.Sent > 0 || again.Sums != first.Sums || again.Conflicts[0].Number != first.Conflicts[0].Number {
			w.t.Errorf("a run that follows sent %d and came to %+v, conflict %d; before %+v, conflict %d", again.Sent, again.Sums, again.Conflicts[0].Number, first.Sums, first.Conflicts[0].Number)
		}
	}
	number := first.Conflicts[0].Number
	r := w.decide(map[int]string{number: "local"})
	if r.Sent != sent || len(r.Conflicts) != 1 {
		w.t.Errorf("decided for the kit: sent %d, %s", r.Sent, asJSON(r.Conflicts))
	}
	if d := w.decision(r, number); d.State != report.DecisionNotApplied || d.Reason != first.Conflicts[0].Reason {
		w.t.Errorf("decided for the kit: %s", asJSON(d))
	}
	r = w.decide(map[int]string{r.Conflicts[0].Number: "central"})
	if r.Sums.Held != 0 || r.Sums.Dropped != 1 {
		w.t.Errorf("decided for central: %s", asJSON(r))
	}
}

// TestAssigneeGone: no DHIS2 takes an assigned user away from an event. Where the kit shows none all the same, that is held
// with the reason and not sent, what else was changed goes home, and central's user stays.
func TestAssigneeGone(t *testing.T) {
	w := newAgainWorld(t, "2.43.1")
	target, err := url.Parse(w.local.BaseURL())
	w.must(err)
	var hiding atomic.Bool
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(answer *http.Response) error {
			content, err := io.ReadAll(answer.Body)
			if hiding.Load() {
				content = regexp.MustCompile(`,?"assignedUser":\{[^{}]*\}`).ReplaceAll(content, nil)
			}
			answer.Body = io.NopCloser(bytes.NewReader(content))
			answer.Header.Set("Content-Length", strconv.Itoa(len(content)))
			return err
		},
	}
	local := httptest.NewServer(proxy)
	t.Cleanup(local.Close)
	w.local = w.connect(orchestrator.Local, local.URL)
	w.scope()
	w.edit("programStages", "visit", func(stage map[string]any) { stage["enableUserAssignment"] = true })
	ana := w.patient("Ana", map[string]string{})
	visit := ana.Enrollments[0].Events[0]
	visit.AssignedUser = &dhis2api.UserRef{Username: w.username("nilda")}
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{ana}}, "")
	w.again()
	w.local = w.connect(orchestrator.Local, local.URL)
	w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Ana", "first visit", "62.5")}}, "")
	hiding.Store(true)
	first := w.reconcile(false)
	w.expectSums(first, report.Sums{Total: 2, Pushed: 1, Held: 1})
	if len(first.Conflicts) != 1 || first.Conflicts[0].Field != "assignedUser" || first.Conflicts[0].Reason != "central takes an assigned user away from no event" {
		t.Fatalf("want one conflict of the assigned user: %s", asJSON(first))
	}
	if there, err := w.central.Event(t.Context(), visit.Event, dhis2api.Lookup{}); err != nil || there.AssignedUser == nil {
		t.Errorf("central's event: %v, %s", err, asJSON(there))
	}
	w.decidedOnce(first, 0)
}
