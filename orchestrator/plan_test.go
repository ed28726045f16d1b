package orchestrator_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// planned is a line of a plan.
type planned struct {
	Do, Verb, Kind, UID, Person, Cause, Assumes string
	Fields                                      []struct{ Field, Label, Base, Local, Central string }
	Content                                     map[string]string
}

// plan plans, and returns the lines of the plan.
func (w *world) plan() []string {
	w.t.Helper()
	r := w.reconcile(true)
	content, err := os.ReadFile(filepath.Join(w.kitDir, "trips", r.Trip, "plan.jsonl"))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
}

func (w *world) operation(line string) planned {
	w.t.Helper()
	var p planned
	if err := json.Unmarshal([]byte(line), &p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// without leaves the operations on some objects out of a plan.
func (w *world) without(lines []string, names ...string) []string {
	w.t.Helper()
	kept := slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return w.operation(line).UID == w.id(name) })
	})
	if len(lines)-len(kept) < len(names) {
		w.t.Fatalf("%q are not all in the plan:\n%s", names, strings.Join(lines, "\n"))
	}
	return kept
}

// keep writes a plan to a file of its own.
func (w *world) keep(lines []string) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "read.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) carryOut(lines []string) *report.Report {
	w.t.Helper()
	r, err := w.tryReconcile(orchestrator.ReconcileOptions{Planned: w.keep(lines)})
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Kept == nil {
		w.t.Fatal("the report says nothing of the plan")
	}
	return r
}

// moved are the reasons for which operations did not go, by object.
func moved(r *report.Report) map[string]string {
	reasons := map[string]string{}
	for _, m := range r.Kept.Moved {
		reasons[m.UID] = m.Reason
	}
	return reasons
}

func away(t *testing.T) *world { return awayWith(t, "2.42.5.2") }

func awayWith(t *testing.T, version string) *world {
	w := newWorld(t, simulated(t, version), simulated(t, version), "")
	w.outAndBack()
	return w
}

// TestPlanSaysWhatIsToBecome reads the plan of a day: each object once for each end, with its fields' values and what
// central is assumed to hold.
func TestPlanSaysWhatIsToBecome(t *testing.T) {
	w := away(t)
	lines := w.plan()
	var header struct{ JournalHash string }
	if err := json.Unmarshal([]byte(lines[0]), &header); err != nil {
		t.Fatal(err)
	}
	last, err := report.Read(filepath.Join(w.kitDir, "trips", w.reconcile(true).Trip))
	if err != nil || header.JournalHash != last.JournalHash {
		t.Errorf("the plan names the journal's hash %s, the report %+v: %v", header.JournalHash, last, err)
	}
	found := map[string]planned{}
	for _, line := range lines[1:] {
		p := w.operation(line)
		key := p.Do + " " + p.Verb + " " + p.UID
		if _, twice := found[key]; twice {
			t.Errorf("%s stands in the plan twice", key)
		}
		found[key] = p
	}
	for _, row := range []struct {
		key, person, cause string
		fields             int
		there              bool
	}{
		{"send update " + w.id("Ana"), "Ana", "changed on the kit alone", 1, true},
		{"send update " + w.id("Berta"), "Berta", "changed on the kit alone", 1, true},
		{"hold update " + w.id("Berta"), "Berta", "changed on both sides", 1, true},
		{"hold update " + w.id("Carlos"), "Carlos", "", 1, false},
		{"send create " + w.id("Yara"), "Yara", "changed on the kit alone", 0, false},
		{"send delete " + w.id("Elena's first visit"), "Elena", "changed on the kit alone", 0, true},
	} {
		p, ok := found[row.key]
		if !ok || p.Person != w.id(row.person) || len(p.Fields) != row.fields || (p.Assumes != "") != row.there || row.cause != "" && p.Cause != row.cause {
			t.Errorf("%s: got %+v (%v), want %+v", row.key, p, ok, row)
		}
	}
	ana := found["send update "+w.id("Ana")].Fields[0]
	if ana.Field != w.id("phone") || ana.Label == "" || ana.Base != "6000-0001" || ana.Local != "6111-0001" || ana.Central != "6000-0001" {
		t.Errorf("Ana's phone: %+v", ana)
	}
	if got := found["send create "+w.id("Yara")].Content[w.id("nationalID")]; got != "8-999-8" {
		t.Errorf("Yara's national id is %q in the plan", got)
	}
	if info, err := os.Stat(filepath.Join(w.kitDir, "trips", w.reconcile(true).Trip, "plan.jsonl")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the plan's file: %v %v", info.Mode(), err)
	}
}

// TestPlannedWhole carries out a plan as it was made: it comes to what reconcile comes to, and given again it sends nothing.
func TestPlannedWhole(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w := awayWith(t, version)
			lines := w.plan()
			r := w.carryOut(lines)
			w.checkHome(r)
			if r.Kept.LeftOut != 0 || len(r.Kept.Moved) != 0 || r.Kept.Operations == 0 || r.Kept.Operations != r.Kept.Home+r.Kept.Held {
				t.Errorf("of the plan: %+v", r.Kept)
			}
			again := w.carryOut(lines)
			if again.Sent != 0 || again.Sums != r.Sums {
				t.Errorf("given again, it sent %d; sums %+v, before %+v", again.Sent, again.Sums, r.Sums)
			}
		})
	}
}

// TestPlannedLeavesOut deletes lines from a plan: what they name does not go, nor what depends on it, and stays open.
func TestPlannedLeavesOut(t *testing.T) {
	w := away(t)
	lines := w.plan()
	r := w.carryOut(w.without(lines, "Ana", "Yara", "Elena's first visit"))
	w.expectAttributes("Ana", map[string]string{"phone": "6000-0001", "community": "Boca de Soloy"})
	w.expectAttributes("Berta", map[string]string{"phone": "6222-0002", "birthDate": "1991-02-02"})
	if _, err := w.central.TrackedEntity(t.Context(), w.id("Yara"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("Yara, who was left out, is at central: %v", err)
	}
	if _, err := w.central.Event(t.Context(), w.id("Elena's first visit"), dhis2api.Lookup{}); err != nil {
		t.Errorf("Elena's visit, whose deletion was left out: %v", err)
	}
	want := map[string]string{
		w.id("Yara's enrollment"):  "waits for trackedEntity " + w.id("Yara") + ", which is not sent",
		w.id("Yara's first visit"): "waits for enrollment " + w.id("Yara's enrollment") + ", which is not sent",
		w.id("Ana mother of Yara"): "waits for trackedEntity " + w.id("Yara") + ", which is not sent",
	}
	got := moved(r)
	for uid, reason := range want {
		if got[uid] != reason {
			t.Errorf("%s did not go because %q, want %q", uid, got[uid], reason)
		}
	}
	if r.Sums.Open == 0 || r.Kept.LeftOut == 0 || r.Closed {
		t.Errorf("what was left out is not open: %+v %+v", r.Sums, r.Kept)
	}
	w.checkHome(w.reconcile(false))
}

// TestPlannedIsNotForced moves both sides on after the plan was made: what it touches is not sent, and said to be so. The
// next run plans it anew.
func TestPlannedIsNotForced(t *testing.T) {
	w := away(t)
	lines := w.plan()
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "birthDate", "1984-03-03")}}, "")
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "birthDate", "1991-02-03")}}, "")
	for i, line := range lines { // somebody edits a line
		if p := w.operation(line); p.UID == w.id("well") || p.Kind == "dataValue" && p.Do == "send" {
			lines[i] = strings.Replace(line, `"local":"5"`, `"local":"50"`, 1)
		}
	}
	r := w.carryOut(lines)
	w.expectAttributes("Ana", map[string]string{"phone": "6000-0001", "community": "Boca de Soloy", "birthDate": "1984-03-03"})
	w.expectAttributes("Berta", map[string]string{"phone": "6222-0002", "birthDate": "1990-01-01"})
	got := moved(r)
	want := map[string]string{
		w.id("Ana"): "central moved on since it was planned", w.id("Berta"): "the kit's side was changed since it was planned",
	}
	for uid, reason := range got {
		if strings.HasPrefix(uid, w.id("cases")+".") && reason == "the kit's side was changed since it was planned" {
			delete(got, uid)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(r.Kept.Moved) != 3 {
		t.Errorf("what did not go (-want +got):\n%s%s", diff, asJSON(r.Kept))
	}
	w.reconcile(false)
	w.expectAttributes("Ana", map[string]string{"phone": "6111-0001", "community": "Boca de Soloy", "birthDate": "1984-03-03"})
	w.expectAttributes("Berta", map[string]string{"phone": "6222-0002", "birthDate": "1991-02-03"})
}

// TestPlannedLooksAgain lets somebody change Ana at central while the question is asked: she is not sent, for the plan assumes
// something else.
func TestPlannedLooksAgain(t *testing.T) {
	w := away(t)
	asked := ""
	r, err := w.tryReconcile(orchestrator.ReconcileOptions{Planned: w.keep(w.plan()), Confirm: func(_ context.Context, question string) error {
		asked = question
		w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "birthDate", "1984-03-03")}}, "")
		return nil
	}})
	if err != nil || asked == "" {
		t.Fatalf("asked %q: %v", asked, err)
	}
	w.expectAttributes("Ana", map[string]string{"phone": "6000-0001", "community": "Boca de Soloy", "birthDate": "1984-03-03"})
	want := map[string]string{w.id("Ana"): "central moved on since it was planned"}
	if diff := cmp.Diff(want, moved(r)); diff != "" || r.ExitCode() == 0 {
		t.Errorf("exit code %d; what did not go (-want +got):\n%s", r.ExitCode(), diff)
	}
}

// TestPlannedWithDecisions carries out a plan that was made with decisions: with them it goes, and without them what they
// were about is held, as it is.
func TestPlannedWithDecisions(t *testing.T) {
	w, first := disputed(t, "2.42.5.2")
	decided := map[int]string{
		w.conflict(first, "Ana", "phone"): "local", w.conflict(first, "Berta", "phone"): "local", w.conflict(first, "Carlos", "phone"): "=6333-0003",
	}
	w.planDecided(decided)
	content, err := os.ReadFile(filepath.Join(w.kitDir, "trips", first.Trip, "plan.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := w.without(strings.Split(strings.TrimSpace(string(content)), "\n"), "Berta")
	undecided := w.carryOut(lines)
	w.expectAttributes("Ana", map[string]string{"phone": "6222-0001", "community": "Soloy"})
	if undecided.Sent != 0 || moved(undecided)[w.id("Ana")] != "changed on both sides" {
		t.Errorf("without the decisions %d were sent: %s", undecided.Sent, asJSON(undecided.Kept))
	}
	r, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: w.decisions(decided), Who: "maria", Planned: w.keep(lines)})
	if err != nil {
		t.Fatal(err)
	}
	w.expectAttributes("Ana", map[string]string{"phone": "6111-0001", "community": "Soloy"})
	w.expectAttributes("Berta", map[string]string{"phone": "6222-0002", "birthDate": "1990-01-01", "nationalID": "8-1-1"})
	w.expectAttributes("Carlos", map[string]string{"phone": "6333-0003"})
	if r.Kept.Home != 2 || r.Kept.LeftOut != 1 || len(r.Kept.Moved) != 0 {
		t.Errorf("of the plan: %s", asJSON(r.Kept))
	}
	w.reconcile(false)
	w.expectAttributes("Berta", map[string]string{"phone": "6111-0002", "birthDate": "1990-01-01", "nationalID": "8-1-1"})
}

// TestPlannedThroughTrouble carries out a plan while every import is cut off after central stored it: given again until it
// comes to its end, it brings home what stands in it, once, and nothing else.
func TestPlannedThroughTrouble(t *testing.T) {
	server, w := newTroubledWorld(t)
	w.outAndBack()
	path := w.keep(w.without(w.plan(), "Ana"))
	count := 0
	remove := server.Inject(dhis2sim.Fault{CutAfter: true, Match: func(r *http.Request) bool {
		if r.Method != http.MethodPost || r.URL.Path != "/api/tracker" {
			return false
		}
		count++
		return count%4 != 0
	}})
	var r *report.Report
	for range 10 {
		var err error
		if r, err = w.tryReconcile(orchestrator.ReconcileOptions{Planned: path}); err == nil {
			break
		}
	}
	remove()
	if r == nil || count < 2 {
		t.Fatalf("it never came to its end; %d imports", count)
	}
	w.expectAttributes("Ana", map[string]string{"phone": "6000-0001", "community": "Boca de Soloy"})
	w.expectAttributes("Yara", map[string]string{"nationalID": "8-999-8"})
	if r.Kept.LeftOut != 1 || len(r.Kept.Moved) != 0 {
		t.Errorf("of the plan: %s", asJSON(r.Kept))
	}
	w.checkHome(w.reconcile(false))
}

// TestPlannedRefused gives what is no plan of this trip: nothing is sent.
func TestPlannedRefused(t *testing.T) {
	w := away(t)
	lines := w.plan()
	before := w.reconcile(true)
	first, send := lines[0], slices.IndexFunc(lines[1:], func(line string) bool { return w.operation(line).Do == "send" })+1
	replaced := func(i int, old, text string) []string {
		some := slices.Clone(lines)
		if some[i] = strings.Replace(some[i], old, text, 1); some[i] == lines[i] {
			t.Fatalf("%s is not in %s", old, lines[i])
		}
		return some
	}
	for _, row := range []struct {
		name, want string
		lines      []string
	}{
		{"another trip", "line 1: this is a plan of kit", replaced(0, before.Trip, "2020-01-01-1")},
		{"another central", "line 1: this is a plan of kit", replaced(0, `"central":"`, `"central":"x`)},
		{"another format", "line 1: this plan is of format 2", replaced(0, `"format":1`, `"format":2`)},
		{"no header", "line 1: this is no plan", lines[1:]},
		{"nothing", "is no plan: it is empty", nil},
		{"half a line", "this is no operation", append(slices.Clone(lines[:send]), lines[send][:40])},
		{"a key that nobody knows", "this is no operation", replaced(send, `{"do"`, `{"force":true,"do"`)},
		{"two on a line", "there is more on the line", replaced(send, lines[send], lines[send]+lines[send])},
		{"one twice", "stands in it twice", append(slices.Clone(lines), lines[send])},
		{"another verb", "names no object", replaced(send, `"verb":"`, `"verb":"x`)},
		{"another end", `how to do "xsend"`, replaced(send, `"do":"`, `"do":"x`)},
	} {
		_, err := w.tryReconcile(orchestrator.ReconcileOptions{Planned: w.keep(row.lines)})
		if !errors.Is(err, orchestrator.ErrUsage) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want an ErrUsage with %q", row.name, err, row.want)
		}
	}
	for _, options := range []orchestrator.ReconcileOptions{{Planned: filepath.Join(t.TempDir(), "none.jsonl")}, {Planned: w.keep([]string{first}), PlanOnly: true}} {
		if _, err := w.tryReconcile(options); !errors.Is(err, orchestrator.ErrUsage) {
			t.Errorf("got %v, want an ErrUsage", err)
		}
	}
	if after := w.reconcile(true); after.Sums != before.Sums {
		t.Errorf("sums %+v, before %+v", after.Sums, before.Sums)
	}
	if r := w.carryOut([]string{first}); r.Sent != 0 || r.Kept.LeftOut != before.Sums.Open+before.Sums.Held-r.Sums.Held {
		t.Errorf("a plan of nothing sent %d and leaves out %+v of %+v", r.Sent, r.Kept, r.Sums)
	}
}
