package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// disputed is a world in which both sides changed the phones of Ana, Berta, Carlos and Delia and a value of Elena's
// visit, and in which Elena was deleted on the kit while central gave her another visit. It was reconciled once.
func disputed(t *testing.T, version string) (*world, *report.Report) {
	w := newWorld(t, simulated(t, version), simulated(t, version), "")
	return w, w.dispute()
}

func (w *world) dispute() *report.Report {
	w.t.Helper()
	w.setUp()
	w.patientsAtCentral()
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.disputeAt(w.local, "6111")
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Elena")}}}, dhis2api.ImportStrategyDelete)
	w.disputeAt(w.central, "6222")
	w.send(w.central, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Elena", "second visit", "70.0")}}, "")
	first := w.reconcile(false)
	if s := first.Sums; len(first.Conflicts) != 7 || s.Held != 7 || s.Total != 7 {
		w.t.Fatalf("want seven conflicts and nothing else: %s", asJSON(first))
	}
	return first
}

// disputeAt changes four phones, the weight of Delia's visit and the cases of the form at one server.
func (w *world) disputeAt(client *dhis2api.Client, prefix string) {
	w.t.Helper()
	var people []*dhis2api.TrackedEntity
	for i, name := range []string{"Ana", "Berta", "Carlos", "Delia"} {
		people = append(people, w.changed(name, "phone", fmt.Sprintf("%s-000%d", prefix, i+1)))
	}
	w.send(client, dhis2api.TrackerPayload{TrackedEntities: people, Events: []*dhis2api.Event{w.visit("Delia", "first visit", prefix[1:])}}, "")
	w.values(client, "202605", map[string]string{"cases": prefix[3:]})
}

// conflict is the number of a conflict.
func (w *world) conflict(r *report.Report, name, field string) int {
	w.t.Helper()
	for _, c := range r.Conflicts {
		if (c.UID == w.id(name) || strings.HasPrefix(c.UID, w.id(name)+".")) && (field == "" && c.Field == "" || c.Field == field || c.Field == w.ids[field]) {
			return c.Number
		}
	}
	w.t.Fatalf("no conflict of %s's %s: %s", name, field, asJSON(r.Conflicts))
	return 0
}

// decisions writes a file of decisions by number.
func (w *world) decisions(decided map[int]string) string {
	w.t.Helper()
	var b strings.Builder
	b.WriteString("\ufeffdecision;number\r\n")
	for number, decision := range decided {
		fmt.Fprintf(&b, "%s;%d\r\n", decision, number)
	}
	path := filepath.Join(w.t.TempDir(), "decided.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) tryReconcile(options orchestrator.ReconcileOptions) (*report.Report, error) {
	w.t.Helper()
	kit := w.open()
	r, err := kit.Reconcile(w.t.Context(), options)
	if closing := kit.Close(); closing != nil {
		w.t.Fatal(closing)
	}
	if err == nil {
		expectPublishedForms(w.t, w.kitDir, r.Trip)
	}
	return r, err
}

func (w *world) decide(decided map[int]string) *report.Report {
	w.t.Helper()
	r, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: w.decisions(decided), Who: "maria"})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) planDecided(decided map[int]string) *report.Report {
	w.t.Helper()
	r, err := w.tryReconcile(orchestrator.ReconcileOptions{PlanOnly: true, Decisions: w.decisions(decided), Who: "maria"})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) expectSums(r *report.Report, want report.Sums) {
	w.t.Helper()
	if r.Sums != want {
		w.t.Errorf("sums %+v, want %+v", r.Sums, want)
	}
}

// expectQuiet runs once more: nothing is sent, and nothing is counted in another way.
func (w *world) expectQuiet(before *report.Report) {
	w.t.Helper()
	if again := w.reconcile(false); again.Sent != 0 || again.Sums != before.Sums || len(again.Conflicts) != len(before.Conflicts) {
		w.t.Errorf("a run after it sent %d operations, sums %+v, before %+v", again.Sent, again.Sums, before.Sums)
	}
}

func (w *world) weight(event string) string {
	w.t.Helper()
	e, err := w.central.Event(w.t.Context(), w.id(event), dhis2api.Lookup{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, v := range e.DataValues {
		if v.DataElement == w.id("weight") {
			return v.Value
		}
	}
	return ""
}

// TestDecisions decides each conflict in one of the ways, after a plan that foretells it and does nothing.
func TestDecisions(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w, first := disputed(t, version)
			decided := map[int]string{
				w.conflict(first, "Ana", "phone"):                  "local",
				w.conflict(first, "Berta", "phone"):                "CENTRAL",
				w.conflict(first, "Carlos", "phone"):               "=6333-0003",
				w.conflict(first, "Delia's first visit", "weight"): "'=63.5",
				w.conflict(first, "cases", "value"):                "=4",
				w.conflict(first, "Elena", ""):                     "local",
			}
			want := report.Sums{Total: 7, Pushed: 5, Dropped: 1, Held: 1}
			planned := w.planDecided(decided)
			w.expectSums(planned, report.Sums{Total: 7, Open: 5, Dropped: 1, Held: 1})
			for _, d := range planned.Decisions {
				if d.State != report.DecisionPlanned {
					t.Errorf("a planned decision: %+v", d)
				}
			}
			w.expectQuiet(first)

			r := w.decide(decided)
			w.expectSums(r, want)
			if r.ExitCode() != 4 || r.Closed {
				t.Errorf("exit code %d, closed %v, while Delia's phone is open", r.ExitCode(), r.Closed)
			}
			for name, phone := range map[string]string{"Ana": "6111-0001", "Berta": "6222-0002", "Carlos": "6333-0003", "Delia": "6222-0004"} {
				w.expectAttributes(name, map[string]string{"phone": phone})
			}
			if got := w.weight("Delia's first visit"); got != "63.5" {
				t.Errorf("Delia's weight at central is %q", got)
			}
			if got := w.formValues(w.central, "202605"); got["cases"] != "4" {
				t.Errorf("the form at central holds %v", got)
			}
			if _, err := w.central.TrackedEntity(t.Context(), w.id("Elena"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
				t.Errorf("Elena is at central: %v", err)
			}
			if len(r.Decisions) != 6 {
				t.Errorf("%d decisions are told, want 6", len(r.Decisions))
			}
			for _, d := range r.Decisions {
				if d.State != report.DecisionCarriedOut || d.By != "maria" || d.At.IsZero() || d.Policy {
					t.Errorf("a decision that was carried out: %s", asJSON(d))
				}
			}
			w.expectQuiet(r)
			// The same file again changes nothing, and neither does another word about what is settled.
			if again := w.decide(decided); again.Sent != 0 || again.Sums != want || len(again.Decisions) != 6 {
				t.Errorf("the same file again: sent %d, %+v, %d decisions", again.Sent, again.Sums, len(again.Decisions))
			}
			late := w.decide(map[int]string{w.conflict(first, "Ana", "phone"): "central"})
			if late.Sent != 0 || late.Sums != want || late.Decisions[6].State != report.DecisionNotApplied {
				t.Errorf("too late: sent %d, %+v, %s", late.Sent, late.Sums, asJSON(late.Decisions[6:]))
			}
			w.expectAttributes("Ana", map[string]string{"phone": "6111-0001"})

			// What was dropped or sent is no longer the kit's: the next trip begins with central's values.
			receipt := w.prepare()
			if receipt.Carried != 1 || receipt.Arrived != 0 {
				t.Errorf("the next trip carries %d and finds %d that arrived, want Delia's phone alone", receipt.Carried, receipt.Arrived)
			}
			for name, phone := range map[string]string{"Ana": "6111-0001", "Berta": "6222-0002", "Carlos": "6333-0003", "Delia": "6111-0004"} {
				if got := w.attributes(w.local, name)["phone"]; got != phone {
					t.Errorf("on the next trip %s's phone on the kit is %q, want %q", name, got, phone)
				}
			}
			next := w.reconcile(false)
			w.expectSums(next, report.Sums{Total: 1, Held: 1})
			if got := w.conflict(next, "Delia", "phone"); got != w.conflict(first, "Delia", "phone") {
				t.Errorf("on the next trip the conflict has the number %d", got)
			}
			if len(next.Decisions) != 0 {
				t.Errorf("decisions of the last trip are told again: %s", asJSON(next.Decisions))
			}
			// By the number that it had on the first trip.
			last := w.decide(map[int]string{w.conflict(first, "Delia", "phone"): "local"})
			w.expectSums(last, report.Sums{Total: 1, Pushed: 1})
			if last.ExitCode() != 0 || !last.Closed {
				t.Errorf("exit code %d, closed %v", last.ExitCode(), last.Closed)
			}
			w.expectAttributes("Delia", map[string]string{"phone": "6111-0004"})
		})
	}
}

// TestDecisionOvertaken: a decision about what central no longer holds is not applied; the conflict is shown anew.
func TestDecisionOvertaken(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	ana, berta, carlos := w.conflict(first, "Ana", "phone"), w.conflict(first, "Berta", "phone"), w.conflict(first, "Carlos", "phone")
	elena := w.conflict(first, "Elena", "")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "phone", "6444-0001")}}, "")
	w.send(w.central, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Elena", "third visit", "71.0")}}, "")
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "phone", "6444-0002")}}, "")
	r := w.decide(map[int]string{ana: "local", berta: "central", carlos: "local", elena: "local"})
	w.expectSums(r, report.Sums{Total: 7, Pushed: 1, Held: 6})
	w.expectConflict(r, "trackedEntity", w.id("Ana"), w.id("phone"), "6000-0001", "6111-0001", "6444-0001")
	w.expectConflict(r, "trackedEntity", w.id("Berta"), w.id("phone"), "6000-0002", "6444-0002", "6222-0002")
	w.expectAttributes("Ana", map[string]string{"phone": "6444-0001"})
	if _, err := w.central.TrackedEntity(t.Context(), w.id("Elena"), dhis2api.Lookup{}); err != nil {
		t.Errorf("Elena, of whom central has something that nobody saw, is gone: %v", err)
	}
	states := map[int]string{}
	for _, d := range r.Decisions {
		states[d.Number] = d.State
	}
	for number, want := range map[int]string{
		ana: report.DecisionNotApplied, berta: report.DecisionNotApplied, carlos: report.DecisionCarriedOut, elena: report.DecisionNotApplied,
	} {
		if states[number] != want {
			t.Errorf("decision %d is %q, want %q", number, states[number], want)
		}
	}
	anew := w.conflict(r, "Ana", "phone")
	if anew == ana || w.conflict(r, "Berta", "phone") == berta || w.conflict(r, "Elena", "") == elena {
		t.Error("a conflict of which a side moved on has its old number")
	}
	w.expectQuiet(r)
	// The old file again does nothing; the new number counts.
	if again := w.decide(map[int]string{ana: "local", berta: "central"}); again.Sent != 0 || again.Sums != r.Sums {
		t.Errorf("the old file again: sent %d, %+v", again.Sent, again.Sums)
	}
	last := w.decide(map[int]string{anew: "local", w.conflict(r, "Berta", "phone"): "central", w.conflict(r, "Elena", ""): "central"})
	w.expectSums(last, report.Sums{Total: 7, Pushed: 2, Dropped: 2, Held: 3})
	w.expectAttributes("Ana", map[string]string{"phone": "6111-0001"})
	w.expectQuiet(last)
}

// TestDecisionMistakes: with a mistake anywhere in the file nothing of it counts, and no server is asked.
func TestDecisionMistakes(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Carlos")}}}, dhis2api.ImportStrategyDelete)
	r := w.reconcile(false)
	ana, gone := w.conflict(first, "Ana", "phone"), w.conflict(r, "Carlos", "phone")
	for name, tc := range map[string]struct {
		number         int
		decision, want string
	}{
		"an unknown number":         {4711, "local", "there is no conflict 4711"},
		"an unknown word":           {gone, "kit", `"kit" is no decision`},
		"into a deleted record":     {gone, "local", fmt.Sprintf("conflict %d cannot be decided so: it is deleted at central", gone)},
		"a value for a deletion":    {w.conflict(r, "Elena", ""), "=x", "it is about a whole record, which has no one value"},
		"a value of the wrong type": {w.conflict(r, "Delia's first visit", "weight"), "=63,5", `"63,5" cannot be its value`},
		"no value of a form":        {w.conflict(r, "cases", "value"), "=", "it cannot be empty"},
		"two decisions":             {ana, "central", fmt.Sprintf("conflict %d is decided in another way on line 2", ana)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "decided.csv")
			text := fmt.Sprintf("number;decision\n%d;local\n%d;%s\n", ana, tc.number, tc.decision)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: path})
			if !errors.Is(err, orchestrator.ErrUsage) || !strings.HasPrefix(err.Error(), path+":3: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a usage error of line 3 with %q", err, tc.want)
			}
		})
	}
	w.expectAttributes("Ana", map[string]string{"phone": "6222-0001"})
	w.expectQuiet(r)
	if _, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: filepath.Join(t.TempDir(), "none.csv")}); !errors.Is(err, orchestrator.ErrUsage) {
		t.Errorf("a file that is not there: %v", err)
	}
	// What central deleted can only be left as it is.
	last := w.decide(map[int]string{gone: "central"})
	w.expectSums(last, report.Sums{Total: 7, Dropped: 1, Held: 6})
	w.expectQuiet(last)
}

// TestDecisionsNotConfirmed: who does not want it after all has decided nothing.
func TestDecisionsNotConfirmed(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	no := errors.New("no")
	asked := ""
	_, err := w.tryReconcile(orchestrator.ReconcileOptions{
		Decisions: w.decisions(map[int]string{w.conflict(first, "Ana", "phone"): "local", w.conflict(first, "Berta", "phone"): "central"}),
		Confirm:   func(_ context.Context, question string) error { asked = question; return no },
	})
	if !errors.Is(err, no) || !strings.Contains(asked, "send 1 changes") || !strings.Contains(asked, "drop 1") {
		t.Errorf("asked %q, got %v", asked, err)
	}
	w.expectQuiet(first)
	w.expectAttributes("Ana", map[string]string{"phone": "6222-0001"})
}

// TestDecisionsThroughTrouble cuts the line to central at one import after another, for good, after the decisions were
// recorded. A later run, without the file, carries out what was decided.
func TestDecisionsThroughTrouble(t *testing.T) {
	for name, trouble := range map[string]dhis2sim.Fault{"before the request": {CutBefore: true}, "after the commit": {CutAfter: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at++ {
				if decidedThroughTrouble(t, trouble, at) {
					t.Logf("stopped at each of %d requests", at-1)
					return
				}
			}
		})
	}
}

func decidedThroughTrouble(t *testing.T, trouble dhis2sim.Fault, at int) (ended bool) {
	server, w := newTroubledWorld(t)
	first := w.dispute()
	path := w.decisions(map[int]string{
		w.conflict(first, "Ana", "phone"): "local", w.conflict(first, "Berta", "phone"): "central", w.conflict(first, "Carlos", "phone"): "=6333-0003",
		w.conflict(first, "cases", "value"): "=4", w.conflict(first, "Elena", ""): "local",
	})
	count := 0
	trouble.Match = func(r *http.Request) bool { // the first is the first to be sent: the decisions are recorded by then
		if r.Method == http.MethodPost {
			count++
		}
		return count >= at
	}
	remove := server.Inject(trouble)
	_, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: path, Who: "maria"})
	remove()
	if err == nil {
		return true
	}
	r := w.reconcile(false)
	w.expectSums(r, report.Sums{Total: 7, Pushed: 4, Dropped: 1, Held: 2})
	for name, phone := range map[string]string{"Ana": "6111-0001", "Berta": "6222-0002", "Carlos": "6333-0003"} {
		w.expectAttributes(name, map[string]string{"phone": phone})
	}
	if len(r.Decisions) != 5 {
		t.Errorf("stopped at request %d: %d decisions are told: %s", at, len(r.Decisions), asJSON(r.Decisions))
	}
	w.expectQuiet(r)
	return t.Failed()
}

// TestPolicies: what fieldkit.yaml says decides fields; deletions wait for people, and people come before policies.
func TestPolicies(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	config := filepath.Join(w.kitDir, "fieldkit.yaml")
	before, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	policies := fmt.Sprintf("conflicts:\n  default: local\n  programs: {ACC_program_%s: hold}\n  fields: {ACC_cases_%s: central}\n", w.id("run"), w.id("run"))
	if err := os.WriteFile(config, append(before, policies...), 0o600); err != nil {
		t.Fatal(err)
	}
	planned := w.reconcile(true)
	w.expectSums(planned, report.Sums{Total: 7, Open: 4, Dropped: 1, Held: 2})
	r := w.decide(map[int]string{w.conflict(first, "Delia", "phone"): "=6333-0004"})
	w.expectSums(r, report.Sums{Total: 7, Pushed: 4, Dropped: 1, Held: 2})
	for name, phone := range map[string]string{"Ana": "6111-0001", "Berta": "6111-0002", "Delia": "6333-0004"} {
		w.expectAttributes(name, map[string]string{"phone": phone})
	}
	byPolicy := 0
	for _, d := range r.Decisions {
		if d.State != report.DecisionCarriedOut {
			t.Errorf("%s", asJSON(d))
		}
		if d.Policy {
			byPolicy++
		}
	}
	if byPolicy != 4 || len(r.Decisions) != 5 {
		t.Errorf("%d of %d decisions are by policy, want 4 of 5", byPolicy, len(r.Decisions))
	}
	w.conflict(r, "Elena", "")
	w.conflict(r, "Delia's first visit", "weight")
	w.expectQuiet(r)

	if err := os.WriteFile(config, before, 0o600); err != nil {
		t.Fatal(err)
	}
	w.expectQuiet(r) // what was decided stays decided without the policy

	if err := os.WriteFile(config, append(before, "conflicts: {fields: {NOSUCH: local}}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tryReconcile(orchestrator.ReconcileOptions{}); !errors.Is(err, orchestrator.ErrUsage) || !strings.Contains(err.Error(), "NOSUCH") {
		t.Errorf("a policy for what is not carried: %v", err)
	}
}
