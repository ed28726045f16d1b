package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a report that has everything in it.
func sample() *Report {
	panama := time.FixedZone("", -5*60*60)
	person := func(uid string) Reference { return Reference{Kind: "trackedEntity", UID: uid, Person: uid} }
	event := Reference{Kind: "event", UID: "Ev000000001", Person: "Pa000000002"}
	r := New()
	r.Kit, r.Trip, r.Run, r.Sent = "besiko-1", "2026-11-24-1", 2, 45
	r.Central = Central{URL: "https://dhis2.example.org", SystemID: "b2f0ab21-0000-4000-8000-000000000001", Version: "2.42.5.2"}
	r.Started = time.Date(2026, 11, 24, 18, 0, 12, 0, panama)
	r.Finished = time.Date(2026, 11, 24, 18, 2, 40, 0, panama)
	r.JournalHash = strings.Repeat("4f1c", 16)
	r.Candidates = Candidates{By: ByComparison, Reason: "it was made anew since the trip began", Records: 512}
	r.Files = Files{Home: 12, Bytes: 4_260_000}
	r.Sums = Sums{Total: 1051, Pushed: 1039, AlreadyThere: 3, Held: 7, OutOfScope: 1, Dropped: 1}
	r.ByKind = map[string]Sums{
		"trackedEntity": {Total: 502, Pushed: 494, AlreadyThere: 1, Held: 5, OutOfScope: 1, Dropped: 1},
		"event":         {Total: 530, Pushed: 528, AlreadyThere: 2},
		"relationship":  {Total: 2, Held: 2},
		"dataValue":     {Total: 17, Pushed: 17},
	}
	r.Conflicts = []Conflict{
		{Reference: person("Pa000000001"), Number: 3, Verb: "update", Field: "At000000001", Label: "Phone", Base: "+507 6000 0001", Local: "+507 6111 1111", Central: "+507 6222 2222", Reason: "changed on both sides",
			LocalEdit: Edit{By: "ana", At: "2026-11-24T10:12:00.000"}, CentralEdit: Edit{At: "2026-11-23T08:00:30.000"}},
		{Reference: person("Pa000000002"), Number: 9, Verb: "update", Field: "At000000002", Label: "Community <b>", Local: `<script>alert("gone")</script>`, Central: `a "quoted" 'value', & more` + "\nof it", Reason: "changed on both sides"},
		{Reference: event, Number: 12, Verb: "update", Field: "occurredAt", Base: "2026-11-23T00:00:00.000", Local: "2026-11-24T09:30:00.000", Central: "2026-11-22T00:00:00.000", Reason: "changed on both sides"},
		{Reference: person("Pa000000003"), Number: 17, Verb: "delete", Reason: "central has something new below it"},
	}
	decided := time.Date(2026, 11, 24, 18, 2, 0, 0, panama)
	r.Decisions = []Decision{
		{Reference: person("Pa000000005"), Number: 1, Verb: "update", Field: "At000000001", Label: "Phone", Base: "1", Local: "2", Central: "3", Choice: ChooseCentral, By: "maria", At: decided, State: DecisionCarriedOut},
		{Reference: event, Number: 2, Verb: "update", Field: "De000000001", Label: "Dose", Local: "2", Central: "4", Choice: ChooseValue, Value: "3", By: "maria", At: decided, State: DecisionNotApplied, Reason: "central moved on after the conflict was shown: it is conflict 12 now"},
		{Reference: event, Number: 4, Verb: "update", Field: "status", Local: "COMPLETED", Central: "SKIPPED", Choice: ChooseLocal, By: "fieldkit.yaml", At: decided, Policy: true, State: DecisionWaits, Reason: "together with completedAt"},
		{Reference: person("Pa000000006"), Number: 5, Verb: "delete", Choice: ChooseLocal, State: DecisionPlanned},
	}
	r.Refusals = []Refusal{{
		Reference: person("Pa000000009"), Verb: "create", Code: "E1064", Reason: "somebody else has this value of a unique attribute (At000000003)",
		Hint: "find who holds the number there: the same person (merge the records) or another (give a new number)",
	}}
	r.Waiting = []Waiting{
		{Reference: Reference{Kind: "enrollment", UID: "En000000009", Person: "Pa000000009"}, Verb: "create", Reason: "waits for trackedEntity Pa000000009, which is held"},
		{Reference: Reference{Kind: "relationship", UID: "Re000000001"}, Verb: "create", Reason: "waits for trackedEntity Pa000000009, which is held"},
	}
	r.SamePeople = []SamePerson{
		{
			Reference: person("Pa000000009"), AtCentral: "Pa000000019", Number: 21, Attribute: "At000000003", Label: "National ID",
			Fields: []SameField{
				{Field: "At000000003", Label: "National ID", Agreement: Alike, Local: "8-999-9", Central: "8-999-9"},
				{Field: "At000000004", Label: "First name", Agreement: Different},
				{Field: "At000000001", Label: "Phone", Agreement: OnKitAlone, Local: "+507 6000 0099"},
			},
			OnKit: []Enrolled{{
				UID: "En000000009", Program: "Pr000000001", ProgramLabel: "Clinic", OrgUnit: "Ou000000001", OrgUnitLabel: "Soloy", Status: "ACTIVE",
				EnrolledAt: "2026-11-23T00:00:00.000", Events: 2,
			}},
			Central: []Enrolled{},
		},
		{Reference: person("Pa000000010"), AtCentral: "Pa000000020", Number: 2, Adopted: true, By: "maria", At: decided, Fields: []SameField{}, OnKit: []Enrolled{}, Central: []Enrolled{}},
	}
	r.Drift = []Drift{
		{Class: "options", UID: "Op000000001", Name: "Malaria", What: "was withdrawn from Diagnosis", Remedy: "enter another option on the kit, or let central's administrator bring it back; then reconcile again", Holds: 3},
		{Class: "dataSets", UID: "Ds000000001", Name: "Monthly", What: "is no longer offered there", Remedy: "let central's administrator put it back for the time that reconcile takes, or enter it at central by hand", MayHold: 12},
	}
	r.Kept = &Kept{Operations: 47, Home: 45, Held: 1, LeftOut: 0, Moved: []Waiting{
		{Reference: Reference{Kind: "event", UID: "Ev000000002", Person: "Pa000000002"}, Verb: "update", Reason: "central moved on since it was planned"},
	}}
	r.Merged = []Merged{{
		Reference: event, ProgramStage: "St000000001", ProgramStageLabel: "Triage", OccurredAt: "2026-11-24T00:00:00.000", OrgUnit: "Ou000000001", OrgUnitLabel: "Soloy",
		OnKit:     []Edited{{Field: "De000000001", Label: "Dose", Before: "1", After: "2"}},
		AtCentral: []Edited{{Field: "De000000002", Label: "Remark", After: "<i>seen</i>"}},
	}}
	r.Timeline = []Moment{
		{What: MomentPrepared, At: time.Date(2026, 11, 20, 6, 30, 0, 0, panama)},
		{What: MomentStopped, At: time.Date(2026, 11, 24, 17, 50, 0, 0, panama), Run: 1},
		{What: MomentReconciled, At: r.Finished, Run: 2, Sums: &r.Sums},
		{What: MomentSignedOff, At: r.Finished.Add(time.Hour), By: "maria", Changes: 7},
	}
	r.Rewritten = []Conflict{{Reference: event, Verb: "update", Field: "De000000001", Label: "Dose", Local: "2", Central: "2.0", Reason: "central stored it so, by a rule of its own"}}
	r.Overtaken = []Conflict{{Reference: event, Verb: "update", Field: "status", Base: "ACTIVE", Central: "COMPLETED", Reason: "changed at central while the kit's changes were sent"}}
	r.NotLoaded = []Refusal{{Reference: person("Pa000000044"), Code: "E1007", Reason: "a value does not fit its type", Hint: "put it right at central before the next trip"}}
	r.Warnings = []string{"the kit's clock is 4 minutes behind central's"}
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", name, diff)
	}
}

func TestWriteWritesThreePrivateFiles(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // a second report replaces the first
		if err := Write(dir, sample()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", entry.Name(), info.Mode())
		}
	}
	if diff := cmp.Diff([]string{CSVName, HTMLName, JSONName}, names); diff != "" {
		t.Errorf("files in the folder (-want +got):\n%s", diff)
	}
	for _, name := range []string{JSONName, CSVName} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, content)
	}
	back, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(asJSON(t, sample()), asJSON(t, back)); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestWriteLeavesAnEarlierReportWhenItFails(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, sample()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "gone"), 0o700); err != nil {
		t.Fatal(err)
	}
	broken := sample()
	broken.Finished = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC) // no JSON time
	if err := Write(dir, broken); err == nil {
		t.Error("a report that cannot be written as JSON was written")
	}
	if _, err := Read(dir); err != nil {
		t.Errorf("the earlier report: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	if err := Write(filepath.Join(dir, "nowhere"), sample()); err == nil {
		t.Error("a folder that is not there took a report")
	}
}

func TestReadWithoutReport(t *testing.T) {
	if _, err := Read(t.TempDir()); !errors.Is(err, ErrNone) {
		t.Errorf("got %v, want ErrNone", err)
	}
}

func asJSON(t *testing.T, r *Report) string {
	t.Helper()
	content, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestCSVIsReadAlike: whatever is in a cell, a reader of CSV gets it back, formulas with their apostrophe.
func TestCSVIsReadAlike(t *testing.T) {
	values := []string{"plain", "=1+1", "+507", "-5", "@SUM(A1)", "\tx", "\rx", "a,b", `say "so"`, "two\nlines", " =1", "ñandú", ""}
	r := New()
	for i, v := range values {
		r.Conflicts = append(r.Conflicts, Conflict{Number: i, Base: v})
	}
	var out bytes.Buffer
	if err := writeCSV(&out, r); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte("\xEF\xBB\xBFnumber,kind,")) {
		t.Errorf("the file begins with %q", out.Bytes()[:20])
	}
	rows, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(out.Bytes(), []byte("\xEF\xBB\xBF")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows[1:] {
		got = append(got, row[7])
	}
	// A carriage return in a cell is dropped: it is half of a line's end.
	want := []string{"plain", "'=1+1", "'+507", "'-5", "'@SUM(A1)", "'\tx", "'x", "a,b", `say "so"`, "two\nlines", " =1", "ñandú", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

func english(t *testing.T) *language {
	t.Helper()
	texts, err := textsIn("en")
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var out strings.Builder
	if err := writeHTML(&out, r, english(t)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestHTMLTellsEverything(t *testing.T) {
	html := pageOf(t, sample())
	for _, want := range []string{
		`<html lang="en">`, `<h1>4 conflicts wait for a decision, 1 change was refused, 2 depend on what is held, 1 was dropped as decided, 1,042 are home</h1>`,
		"Kit besiko-1, trip 2026-11-24-1", "2026-11-24 18:02:40 -05:00", `<td class="n">1,051</td>`,
		"ana, 2026-11-24 10:12<", "2026-11-23 08:00:30<", `id="decisions"`, "maria<", "it is conflict 12 now", "By policy<",
		`<tr id="conflict-3">`, "Pa000000001", "&#43;507 6000 0001", "&#43;507 6111 1111", "&#43;507 6222 2222", "<code>At000000001</code>",
		"2026-11-24 09:30<", "2026-11-23<", "Deleted on the kit",
		"E1064", "Somebody else has this value", "Find who holds the number there", "Waits for person Pa000000009",
		`id="merged"`, "Triage<br>2026-11-24<br>Soloy", "1</span> → <span", "&lt;i&gt;seen", `id="rewritten"`,
		`id="timeline"`, "The trip was taken along from central", "Run 1 did not come to its end", "maria signed off 7 held changes",
		`id="kinds"`, "Home: 495; Held: 5; Dropped: 1; Out of scope: 1", "Not as planned: 1", "Central moved on since it was planned", `id="overtaken"`, `id="notloaded"`, `id="warnings"`, "The kit&#39;s clock is 4 minutes behind",
		strings.Repeat("4f1c", 16),
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, never := range []string{"<script", "src=", "@import", "<b>", "<i>", "ZgotmplZ", "%!"} {
		if strings.Contains(html, never) {
			t.Errorf("the page holds %q", never)
		}
	}
	if outside := regexp.MustCompile(`(href="|url\()[^#]`).FindAllString(html, -1); outside != nil {
		t.Errorf("the page names something outside of it: %q", outside)
	}
	for _, within := range regexp.MustCompile(`href="#([^"]+)"|url\(#([^)]+)\)|aria-labelledby="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		for id := range strings.FieldsSeq(strings.Join(within[1:], "")) {
			if !strings.Contains(html, ` id="`+id+`"`) {
				t.Errorf("there is no %s in the page", id)
			}
		}
	}
	for _, escaped := range []string{"&lt;script&gt;alert(&#34;gone&#34;)&lt;/script&gt;", "a &#34;quoted&#34; &#39;value&#39;, &amp; more", "Community &lt;b&gt;"} {
		if !strings.Contains(html, escaped) {
			t.Errorf("the page does not hold %s", escaped)
		}
	}
	if tables, captions := strings.Count(html, "<table"), strings.Count(html, "<caption"); tables != captions+1 { // the sums are under a heading of their own
		t.Errorf("%d tables and %d captions", tables, captions)
	}
	if bare := regexp.MustCompile(`<th(?: class="\w+")?>`).FindAllString(html, -1); bare != nil {
		t.Errorf("header cells without a scope: %v", bare)
	}
}

// TestHTMLEscapesEverywhere puts markup into every text of a report.
func TestHTMLEscapesEverywhere(t *testing.T) {
	const evil = `"><script>x</script>'`
	r := sample()
	reference := Reference{Kind: evil, UID: evil, Person: evil + "p"}
	conflict := Conflict{Reference: reference, Verb: evil, Field: evil, Label: evil, Base: evil, Local: evil, Central: evil, Reason: evil}
	refusal := Refusal{Reference: reference, Verb: evil, Field: evil, Label: evil, Code: evil, Reason: evil, Hint: evil}
	r.Kit, r.Trip, r.JournalHash, r.Central = evil, evil, evil, Central{URL: evil, SystemID: evil, Version: evil}
	r.Conflicts, r.Rewritten, r.Overtaken = []Conflict{conflict}, []Conflict{conflict}, []Conflict{conflict}
	r.Refusals, r.NotLoaded, r.Merged, r.Warnings = []Refusal{refusal}, []Refusal{refusal}, []Merged{{
		Reference: reference, ProgramStageLabel: evil, OccurredAt: evil, OrgUnit: evil, OnKit: []Edited{{Field: evil, Label: evil, Before: evil, After: evil}},
	}}, []string{evil}
	r.Timeline = append(r.Timeline, Moment{What: MomentSignedOff, By: evil})
	r.Conflicts[0].LocalEdit, r.Conflicts[0].CentralEdit = Edit{By: evil, At: evil}, Edit{By: evil, At: evil}
	r.Decisions = []Decision{{Reference: reference, Verb: evil, Field: evil, Label: evil, Local: evil, Central: evil, Choice: ChooseValue, Value: evil, By: evil, State: DecisionPlanned, Reason: evil}}
	r.Waiting = []Waiting{{Reference: reference, Verb: evil, Field: evil, Label: evil, Reason: evil}}
	r.ByKind[evil] = Sums{Total: 1}
	if html := pageOf(t, r); strings.Contains(html, "<script") {
		t.Error("the page holds a script")
	}
}

func TestHeadline(t *testing.T) {
	list := func(conflicts, refusals, waiting int) func(*Report) {
		return func(r *Report) {
			r.Conflicts, r.Refusals, r.Waiting = make([]Conflict, conflicts), make([]Refusal, refusals), make([]Waiting, waiting)
			r.Sums.Held = conflicts + refusals + waiting
			r.Sums.Total += r.Sums.Held
		}
	}
	for _, tc := range []struct {
		want   string
		sums   Sums
		plan   bool
		change func(*Report)
	}{
		{want: "Nothing was changed on the kit"},
		{want: "All 37 changes are home", sums: Sums{Total: 37, Pushed: 30, AlreadyThere: 7}},
		{want: "The one change made on the kit is home", sums: Sums{Total: 1, Pushed: 1}},
		{want: "All 12,345,678 changes are home", sums: Sums{Total: 12345678, Pushed: 12345678}},
		{want: "All 37 changes are home, 1 stays on the kit by rule", sums: Sums{Total: 38, Pushed: 37, OutOfScope: 1}},
		{want: "All 3 changes are home, 1 was dropped as decided", sums: Sums{Total: 4, Pushed: 3, Dropped: 1}},
		{want: "2 were dropped as decided", sums: Sums{Total: 2, Dropped: 2}},
		{want: "3 changes would be sent, 1 would be dropped", sums: Sums{Total: 4, Open: 3, Dropped: 1}, plan: true},
		{want: "All 2 changes made on the kit stay there by rule", sums: Sums{Total: 2, OutOfScope: 2}},
		{want: "3 conflicts wait for a decision, 2 changes were refused, 41 are home", sums: Sums{Total: 41, Pushed: 41}, change: list(3, 2, 0)},
		{want: "1 conflict waits for a decision, 1 change was refused, 1 depends on what is held, 1 is home", sums: Sums{Total: 1, Pushed: 1}, change: list(1, 1, 1)},
		{want: "2 changes were refused", change: list(0, 2, 0)},
		{want: "4 were not sent yet, 5 are home", sums: Sums{Total: 9, Pushed: 5, Open: 4}},
		{want: "41 changes would be sent", sums: Sums{Total: 50, Pushed: 9, Open: 41}, plan: true},
		{want: "41 changes would be sent, 1 conflict waits for a decision", sums: Sums{Total: 41, Open: 41}, plan: true, change: list(1, 0, 0)},
		{want: "1 conflict waits for a decision", plan: true, change: list(1, 0, 0)},
		{want: "40 changes would be sent, 1 would be refused, 2 would wait for them", sums: Sums{Total: 40, Open: 40}, plan: true, change: list(0, 1, 2)},
		{want: "All 9 changes are home", sums: Sums{Total: 9, Pushed: 9}, plan: true},
	} {
		r := New()
		r.Sums, r.PlanOnly = tc.sums, tc.plan
		if tc.change != nil {
			tc.change(r)
		}
		if html := pageOf(t, r); !strings.Contains(html, "<h1>"+tc.want+"</h1>") {
			t.Errorf("want the headline %q, got %s", tc.want, regexp.MustCompile("<h1>.*</h1>").FindString(html))
		}
	}
}

// TestBarAddsUp: the parts are the total, and the bar is full.
func TestBarAddsUp(t *testing.T) {
	huge := sample()
	huge.Sums.Pushed, huge.Sums.Total = 1_000_000, 1_000_012
	planned := sample()
	planned.PlanOnly, planned.Sums.Open, planned.Sums.Pushed = true, planned.Sums.Pushed, 0
	unlisted := sample()
	unlisted.Conflicts = nil
	for name, r := range map[string]*Report{"sample": sample(), "huge": huge, "planned": planned, "unlisted": unlisted, "nothing": New()} {
		count, width := 0, 0.0
		for _, p := range partsOf(r) {
			if math.Abs(p.X-width) > 1e-6 || p.Width < 11.999 {
				t.Errorf("%s: part %+v begins elsewhere than at %f, or cannot be seen", name, p, width)
			}
			count += p.Count
			width += p.Width
		}
		if count != r.Sums.Total {
			t.Errorf("%s: the parts are %d, the total %d", name, count, r.Sums.Total)
		}
		if count > 0 && math.Abs(width-1000) > 1e-6 {
			t.Errorf("%s: the bar is %f wide", name, width)
		}
	}
}

// TestCatalogue: every text that the page asks for is there, and none is left over.
func TestCatalogue(t *testing.T) {
	known := english(t).catalogue
	used := map[string]bool{"language": true, "thousands": true, "and": true}
	var code []byte
	for _, name := range []string{"html.go", "chart.go"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code = append(code, content...)
	}
	for _, asked := range regexp.MustCompile(`say "([^"]+)"`).FindAllStringSubmatch(pageSource, -1) {
		used[asked[1]] = true
		if _, there := known[asked[1]]; !there {
			t.Errorf("no text for %q", asked[1])
		}
	}
	for key := range known {
		base := strings.TrimSuffix(strings.TrimSuffix(key, ".one"), ".many")
		group, _, _ := strings.Cut(base, ".")
		found := used[key] || bytes.Contains(code, []byte(`"`+base+`"`)) || slices.Contains([]string{"kind", "verb", "field", "choice", "outcome", "moment", "agreement"}, group)
		if !found {
			t.Errorf("nobody asks for the text %q", key)
		}
		if base != key && (known[base+".one"] == "" || known[base+".many"] == "") {
			t.Errorf("%q lacks its singular or its plural", base)
		}
	}
	if err := writeHTML(&strings.Builder{}, sample(), &language{catalogue: catalogue{}}); err == nil {
		t.Error("a page without texts was written")
	}
}

// TestContrast holds every colour of text to 4.5 and every colour of the bar to 3 against what is behind it
// (WCAG 2.1, 1.4.3 and 1.4.11), in each of the three palettes.
func TestContrast(t *testing.T) {
	palettes := strings.Split(pageSource, ":root {")[1:]
	if len(palettes) != 3 {
		t.Fatalf("%d palettes, want light, dark and print", len(palettes))
	}
	for i, palette := range palettes {
		palette, _, _ = strings.Cut(palette, "}")
		colours := map[string]string{}
		for _, set := range regexp.MustCompile(`--(\w+): (#[0-9a-f]{6})`).FindAllStringSubmatch(palette, -1) {
			colours[set[1]] = set[2]
		}
		for _, name := range []string{"ink", "muted", "open"} {
			for _, behind := range []string{"paper", "ground"} {
				if c := contrast(t, colours[name], colours[behind]); c < 4.5 {
					t.Errorf("palette %d: %s on %s has a contrast of %.1f", i, name, behind, c)
				}
			}
		}
		for _, name := range []string{"pushed", "already", "open", "conflicts", "refused", "waiting", "held", "dropped", "out"} {
			if c := contrast(t, colours[name], colours["paper"]); c < 3 {
				t.Errorf("palette %d: %s has a contrast of %.1f", i, name, c)
			}
		}
	}
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	luminance := func(colour string) float64 {
		var sum float64
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			if len(colour) != 7 {
				t.Fatalf("no colour: %q", colour)
			}
			n, err := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			c := float64(n) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			sum += weight * c
		}
		return sum
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestLongReport: ten thousand conflicts are written without trouble.
func TestLongReport(t *testing.T) {
	r := sample()
	for i := range 10_000 {
		c := r.Conflicts[0]
		c.Number = i + 100
		r.Conflicts = append(r.Conflicts, c)
	}
	if html := pageOf(t, r); !strings.Contains(html, fmt.Sprintf(`id="conflict-%d"`, 10_099)) {
		t.Error("the last conflict is missing")
	}
}
