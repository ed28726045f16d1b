package orchestrator_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// departure is one way in which the second and the third prepare may differ from the first: what happens at central or
// to the scope in between, and what the kit has then. Names are those of patients and of the world's other objects.
type departure struct {
	// before the second prepare, and before the third.
	out, back func(w *world)
	// gone is not on the kit after the second prepare; all of it is there again after the third, but for lost.
	gone, lost []string
}

func departures() map[string]departure {
	return map[string]departure{
		"an org unit out of the scope and back": {
			out:  func(w *world) { w.carry("orgUnits", "cerro") },
			back: func(w *world) { w.carry("orgUnits", "villages") },
			gone: []string{"Ana", "Ana's first visit", "Carlos", "Yara", "Yara's first visit", "well", "Ana mother of Yara", "cases 202605"},
		},
		"a program removed and added": {
			out:  func(w *world) { w.carry("programs", "water") },
			back: func(w *world) { w.carry("programs", "program", "water") },
			gone: []string{"Ana", "Ana's enrollment", "Delia's first visit", "Yara", "Ana mother of Yara"},
		},
		"a program without registration removed and added": {
			out:  func(w *world) { w.carry("programs", "program") },
			back: func(w *world) { w.carry("programs", "program", "water") },
			gone: []string{"well", "spring"},
		},
		"a data set out and back": {
			out:  func(w *world) { w.carry("dataSets") },
			back: func(w *world) { w.carry("dataSets", "form") },
			gone: []string{"cases 202605", "completion 202605"},
		},
		"deleted at central, and made anew there under the same uid": {
			out: func(w *world) {
				w.send(w.central, dhis2api.TrackerPayload{
					TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: w.id("Ana")}, {TrackedEntity: w.id("Yara")}},
					Events:          []*dhis2api.Event{{Event: w.id("well")}},
				}, dhis2api.ImportStrategyDelete)
			},
			back: func(w *world) {
				w.purge(w.central)
				w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
					w.patient("Ana", map[string]string{"phone": "6000-0001", "community": "Soloy"}),
				}}, "")
			},
			gone: []string{"Ana", "Ana's enrollment", "Ana's first visit", "Yara", "well", "Ana mother of Yara"},
			lost: []string{"Yara", "well", "Ana mother of Yara"},
		},
		"transferred out and back": {
			out: func(w *world) { w.transfer("Ana", "city"); w.transfer("Yara", "city") },
			back: func(w *world) {
				w.transfer("Ana", "cerro")
				w.transfer("Yara", "soloy")
			},
			gone: []string{"Ana", "Ana's enrollment", "Ana's first visit", "Yara"},
		},
		"an enrollment, an event and values removed": {
			out: func(w *world) {
				w.send(w.central, dhis2api.TrackerPayload{
					Enrollments: []*dhis2api.Enrollment{{Enrollment: w.id("Ana's enrollment")}}, Events: []*dhis2api.Event{{Event: w.id("Yara's first visit")}},
				}, dhis2api.ImportStrategyDelete)
				w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Carlos", "phone", "")}}, "")
				emptied := w.visit("Delia", "first visit", "")
				w.send(w.central, dhis2api.TrackerPayload{Events: []*dhis2api.Event{emptied}}, "")
				w.deleteValue(w.central, "202605", "cases")
			},
			back: func(w *world) {
				w.purge(w.central)
				ana := w.patient("Ana", map[string]string{})
				w.send(w.central, dhis2api.TrackerPayload{Enrollments: ana.Enrollments, Events: []*dhis2api.Event{w.visit("Yara", "first visit", "50.5"), w.visit("Delia", "first visit", "61.5")}}, "")
				w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Carlos", "phone", "6000-0003")}}, "")
				w.values(w.central, "202605", map[string]string{"cases": "4"})
			},
			gone: []string{"Ana's enrollment", "Ana's first visit", "Yara's first visit", "Carlos's phone", "weight of Delia's first visit", "cases 202605"},
		},
		"a relationship removed, and made again under another uid": {
			out: func(w *world) {
				w.send(w.central, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{{Relationship: w.id("Ana mother of Yara")}}}, dhis2api.ImportStrategyDelete)
			},
			back: func(w *world) {
				tie := w.mother("Ana", "Yara")
				tie.Relationship = w.id("the same tie")
				w.send(w.central, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{tie}}, "")
				w.ids["Ana mother of Yara"] = tie.Relationship
			},
			gone: []string{"Ana mother of Yara"},
		},
		"deleted on the kit, home, and made anew at central": {
			out: func(w *world) {
				w.purge(w.central)
				w.send(w.central, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Elena", "first visit", "71.0")}}, "")
				w.send(w.central, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: w.id("Carlos's first visit")}}}, dhis2api.ImportStrategyDelete)
			},
			back: func(w *world) {
				w.purge(w.central)
				w.send(w.central, dhis2api.TrackerPayload{Events: []*dhis2api.Event{w.visit("Carlos", "first visit", "71.0")}}, "")
			},
			gone: []string{"Carlos's first visit"},
		},
	}
}

// TestLeavesAndComesBack makes a trip on which something is held, and then prepares twice more: what central no longer
// has, or the scope, is gone from the kit and can come back, and what is held travels along unharmed. Real servers
// (FIELDKIT_ACCEPTANCE_CENTRAL and _LOCAL) lose all that was ever deleted on them, by whomever.
func TestLeavesAndComesBack(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector takes ten times as long")
	}
	if central := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"); central != "" {
		for name, scenario := range departures() {
			t.Run(name, func(t *testing.T) {
				leavesAndComesBack(t, newWorld(t, central, os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL"), ""), scenario)
			})
		}
		return
	}
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		for name, scenario := range departures() {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				leavesAndComesBack(t, newWorld(t, simulated(t, version), simulated(t, version), ""), scenario)
			})
		}
	}
}

func leavesAndComesBack(t *testing.T, w *world, scenario departure) {
	t.Helper()
	w.firstTrip()
	scenario.out(w)
	second := w.prepare()
	w.expectAlike("second", second)
	for _, name := range scenario.gone {
		if w.onKit(name) {
			t.Errorf("after the second prepare %s is on the kit", name)
		}
	}
	if second.RemovedRecords == 0 {
		t.Error("the second prepare says that it removed nothing")
	}
	w.expectHeld("second")

	scenario.back(w)
	third := w.prepare()
	w.expectAlike("third", third)
	for _, name := range scenario.gone {
		if want := !slices.Contains(scenario.lost, name); w.onKit(name) != want {
			t.Errorf("after the third prepare %s is on the kit: %v, want %v", name, !want, want)
		}
	}
	w.expectHeld("third")

	fourth := w.prepare()
	w.expectAlike("fourth", fourth)
	for kind, count := range fourth.Load.Counts {
		if count.Loaded != count.Alike {
			t.Errorf("the fourth prepare, before which nothing happened, sent %d of %d %s", count.Loaded-count.Alike, count.Loaded, kind)
		}
	}
	if fourth.RemovedRecords != 0 {
		t.Errorf("the fourth prepare removed %d objects", fourth.RemovedRecords)
	}
}

// firstTrip goes out and home: Yara and the spring are new, Elena's visit is deleted, and Berta's phone is held.
func (w *world) firstTrip() {
	w.t.Helper()
	w.setUp()
	w.patientsAtCentral()
	w.values(w.central, "202604", map[string]string{"cases": "1"})
	w.complete(w.central, "202605")
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "phone", "6111-0002"), w.patient("Yara", map[string]string{"nationalID": "8-999-8"})},
		Events: []*dhis2api.Event{{
			Event: w.id("spring"), Program: w.id("water"), ProgramStage: w.id("sample"), OrgUnit: w.id("cerro"), Status: "COMPLETED", OccurredAt: "2026-05-05",
			DataValues: []dhis2api.EventDataValue{{DataElement: w.id("chlorine"), Value: "0.1"}},
		}},
	}, "")
	w.send(w.local, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{w.mother("Ana", "Yara")}}, "")
	w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: w.id("Elena's first visit")}}}, dhis2api.ImportStrategyDelete)
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "phone", "6222-0002")}}, "")
	if r := w.reconcile(false); r.Sums.Held != 1 || r.Sums.Open != 0 {
		w.t.Fatalf("the first trip: %s", asJSON(r))
	}
}

// expectHeld looks at what would come home: the conflict over Berta's phone, and nothing else.
func (w *world) expectHeld(when string) {
	w.t.Helper()
	plan := w.reconcile(true)
	w.expectConflict(plan, "trackedEntity", w.id("Berta"), w.id("phone"), "6000-0002", "6111-0002", "6222-0002")
	if plan.Sums.Held != 1 || plan.Sums.Open != 0 || plan.Sums.Pushed != 0 {
		w.t.Errorf("after the %s prepare reconcile would find more than the conflict: %s", when, asJSON(plan))
	}
	if got := w.attributes(w.local, "Berta")["phone"]; got != "6111-0002" {
		w.t.Errorf("after the %s prepare Berta's phone on the kit is %q", when, got)
	}
}

func (w *world) expectAlike(which string, receipt *orchestrator.PrepareReceipt) {
	w.t.Helper()
	if !receipt.Verified || len(receipt.Load.Refused)+len(receipt.Load.Omitted) > 0 || receipt.Arrived != 0 {
		w.t.Errorf("the %s prepare: %s", which, asJSON(receipt))
	}
}

// carry puts other names into a list of the scope.
func (w *world) carry(list string, names ...string) {
	w.t.Helper()
	path := filepath.Join(w.kitDir, "fieldkit.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, name := range names {
		ids = append(ids, w.id(name))
	}
	changed := regexp.MustCompile(`(?m)^  `+list+`: \[.*\]$`).ReplaceAll(config, []byte("  "+list+": ["+strings.Join(ids, ", ")+"]"))
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) purge(client *dhis2api.Client) {
	w.t.Helper()
	if err := client.PurgeDeleted(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) transfer(name, unit string) {
	w.t.Helper()
	if err := w.central.TransferOwnership(w.t.Context(), w.id(name), w.id("program"), w.id(unit)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deleteValue(client *dhis2api.Client, period, element string) {
	w.t.Helper()
	value := &dhis2api.DataValue{DataElement: w.id(element), Period: period, OrgUnit: w.id("soloy"), Value: "0"}
	options := dhis2api.DataValueImportOptions{Strategy: dhis2api.ImportStrategyDelete}
	if _, err := client.ImportDataValues(w.t.Context(), dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{value}}, options); err != nil {
		w.t.Fatal(err)
	}
}

// onKit tells whether the kit has what goes by a name.
func (w *world) onKit(name string) bool {
	w.t.Helper()
	ctx, lookup := w.t.Context(), dhis2api.Lookup{}
	found := func(err error) bool {
		if err != nil && !dhis2api.NotFound(err) {
			w.t.Errorf("%s on the kit: %v", name, err)
		}
		return err == nil
	}
	var form dhis2api.Ref
	switch {
	case strings.HasSuffix(name, " 202605") && dhis2api.NotFound(w.local.Get(ctx, "dataSets", w.id("form"), "id", &form)):
		return false
	case strings.HasPrefix(name, "cases "):
		return w.formValues(w.local, strings.TrimPrefix(name, "cases "))["cases"] != ""
	case strings.HasPrefix(name, "completion "):
		query := dhis2api.CompletionQuery{DataSets: []string{w.id("form")}, Periods: []string{strings.TrimPrefix(name, "completion ")}, OrgUnits: []string{w.id("soloy")}}
		for _, err := range w.local.Completions(ctx, query) {
			return found(err)
		}
		return false
	case strings.HasSuffix(name, "'s phone"):
		return w.attributes(w.local, strings.TrimSuffix(name, "'s phone"))["phone"] != ""
	case strings.HasPrefix(name, "weight of "):
		event, err := w.local.Event(ctx, w.id(strings.TrimPrefix(name, "weight of ")), lookup)
		return found(err) && len(event.DataValues) > 0
	case strings.HasSuffix(name, "'s enrollment"):
		_, err := w.local.Enrollment(ctx, w.id(name), lookup)
		return found(err)
	case strings.Contains(name, " mother of "):
		_, err := w.local.Relationship(ctx, w.id(name), lookup)
		return found(err)
	case strings.HasSuffix(name, " visit"), name == "well", name == "spring":
		_, err := w.local.Event(ctx, w.id(name), lookup)
		return found(err)
	}
	_, err := w.local.TrackedEntity(ctx, w.id(name), lookup)
	return found(err)
}
