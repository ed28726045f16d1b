package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
)

// The clinic's metadata, by uid.
const (
	panama, rioCana, cerroBrujo, soloy = "zDtBfyIHGje", "P1J4eyjXQeT", "pt1tlNJMGea", "YHa4SyAIFQk"
	visit, triage                      = "xIkcI00xjZE", "m9JW68Avdyx"
	water, waterCheck                  = "Deay1MNLTQW", "f41ircQKy8O"
	person, firstName, lastName        = "ig1m3E2NSOb", "GoX1JP83DWF", "k0aoyOGu3L2"
	community, weight, motherOf        = "aCvpmbJNoty", "SHUMZIdrf6Y", "lLTCzq8mnWU"
	monthly, medicines                 = "ztr8khGB7BY", "dze2yNmEQM7"
)

// line breaks the connection once a number of answers was given; below zero it never does.
type line struct {
	handler http.Handler
	left    atomic.Int64
}

func (l *line) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.left.Add(-1) == -1 {
		l.left.Store(0)
		panic(http.ErrAbortHandler)
	}
	l.handler.ServeHTTP(w, r)
}

func impatient() dhis2api.Options {
	return dhis2api.Options{
		MaxTries: 1, Parallel: 1,
		Sleep: func(context.Context, time.Duration) error { return nil },
	}
}

// clinic is a simulated central with a small clinic's data.
type clinic struct {
	line   *line
	client *dhis2api.Client
	url    string
}

func newClinic(t *testing.T, version string) *clinic {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	c := &clinic{line: &line{handler: server}}
	c.line.left.Store(1 << 60)
	listener := httptest.NewServer(c.line)
	t.Cleanup(listener.Close)
	c.url = listener.URL
	c.client = c.as(t, "admin", "district")
	metadata, err := os.ReadFile(filepath.Join("..", "dhis2api", "testdata", "clinic", "metadata.json"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := c.client.ImportMetadata(t.Context(), json.RawMessage(metadata), dhis2api.MetadataImportOptions{})
	if err != nil {
		t.Fatalf("%v: %v", err, report)
	}
	me, err := c.client.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	units := []string{panama}
	err = c.client.SetUserUnits(t.Context(), me.ID, dhis2api.UserUnits{Capture: units, View: units, Search: units})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *clinic) as(t *testing.T, username, password string) *dhis2api.Client {
	t.Helper()
	client, err := dhis2api.Connect(t.Context(), c.url, dhis2api.Credentials{Username: username, Password: password}, impatient())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (c *clinic) load(t *testing.T, payload dhis2api.TrackerPayload) {
	t.Helper()
	report, err := c.client.Import(t.Context(), payload, dhis2api.ImportOptions{AtomicMode: dhis2api.AtomicAll})
	if err != nil {
		t.Fatalf("%v: %+v", err, report)
	}
}

// visitor is somebody who came to the clinic on a day, or, with none, was only registered.
func visitor(n int, orgUnit, day string) *dhis2api.TrackedEntity {
	p := &dhis2api.TrackedEntity{
		TrackedEntity: fmt.Sprintf("P%010d", n), TrackedEntityType: person, OrgUnit: orgUnit,
		Attributes: []dhis2api.Attribute{{Attribute: firstName, Value: fmt.Sprintf("Ana%d", n)}, {Attribute: lastName, Value: "Abrego"}},
	}
	if day == "" {
		return p
	}
	p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: community, Value: "Río arriba"})
	p.Enrollments = []*dhis2api.Enrollment{{
		Enrollment: fmt.Sprintf("N%010d", n), Program: visit, OrgUnit: orgUnit, EnrolledAt: day, OccurredAt: day, Status: "ACTIVE",
		Notes: []dhis2api.Note{{Note: fmt.Sprintf("T%010d", n), Value: "came by boat"}},
		Events: []*dhis2api.Event{{
			Event: fmt.Sprintf("E%010d", n), Program: visit, ProgramStage: triage, OrgUnit: orgUnit, OccurredAt: day, Status: "COMPLETED",
			DataValues: []dhis2api.EventDataValue{{DataElement: weight, Value: "54.50"}},
		}},
	}}
	return p
}

func source(n int, orgUnit, day string) *dhis2api.Event {
	return &dhis2api.Event{
		Event: fmt.Sprintf("W%010d", n), Program: water, ProgramStage: waterCheck, OrgUnit: orgUnit, OccurredAt: day, Status: "COMPLETED",
		DataValues: []dhis2api.EventDataValue{{DataElement: "caHLGXkL6QX", Value: "0.4"}},
	}
}

func mother(n, child int) *dhis2api.Relationship {
	return &dhis2api.Relationship{
		Relationship: fmt.Sprintf("R%010d", n), RelationshipType: motherOf,
		From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, fmt.Sprintf("P%010d", n)),
		To:   dhis2api.ItemRef(dhis2api.KindTrackedEntity, fmt.Sprintf("P%010d", child)),
	}
}

// populate gives the clinic 30 patients in two villages of the scope, some of long ago, some only registered,
// some elsewhere; relationships within the scope and out of it; water sources; a form.
func (c *clinic) populate(t *testing.T) {
	t.Helper()
	var payload dhis2api.TrackerPayload
	for n := range 40 {
		orgUnit, day := []string{rioCana, cerroBrujo, rioCana, soloy}[n%4], "2026-11-10"
		switch n % 10 {
		case 5:
			day = ""
		case 6:
			day = "2019-03-01"
		}
		payload.TrackedEntities = append(payload.TrackedEntities, visitor(n, orgUnit, day))
	}
	for n, at := range []string{rioCana, cerroBrujo, soloy, rioCana} {
		payload.Events = append(payload.Events, source(n, at, []string{"2026-11-10", "2026-11-11", "2026-11-12", "2019-01-01"}[n]))
	}
	c.load(t, payload)
	c.load(t, dhis2api.TrackerPayload{Relationships: []*dhis2api.Relationship{mother(0, 1), mother(2, 3), mother(3, 7), mother(5, 4)}})
	set := dhis2api.DataValueSet{}
	for _, v := range [][2]string{{rioCana, "202610"}, {rioCana, "202612"}, {cerroBrujo, "201901"}, {soloy, "202610"}} {
		set.DataValues = append(set.DataValues, &dhis2api.DataValue{DataElement: medicines, OrgUnit: v[0], Period: v[1], Value: "3"})
	}
	if report, err := c.client.ImportDataValues(t.Context(), set, dhis2api.DataValueImportOptions{Force: true}); err != nil {
		t.Fatalf("%v: %+v", err, report)
	}
	completion := &dhis2api.Completion{DataSet: monthly, Period: "202610", OrganisationUnit: rioCana, Completed: true}
	if report, err := c.client.ImportCompletions(t.Context(), []*dhis2api.Completion{completion}, dhis2api.DataValueImportOptions{}); err != nil {
		t.Fatalf("%v: %+v", err, report)
	}
}

func (c *clinic) about(t *testing.T, client *dhis2api.Client, wanted Wanted) About {
	t.Helper()
	scope, err := ResolveScope(t.Context(), client, wanted)
	if err != nil {
		t.Fatal(err)
	}
	server, err := IdentifyServer(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return About{Scope: scope, Server: server, Account: "admin"}
}

// contents are the uids or keys of a face by kind, sorted.
func contents(t *testing.T, s *Snapshot, face Face) map[Kind][]string {
	t.Helper()
	held := map[Kind][]string{}
	if info := s.Manifest().Faces[face]; info != nil {
		for _, part := range info.Parts {
			if part.Kind == Document || part.Kind == Beyond {
				continue
			}
			for line, err := range Each[json.RawMessage](t.Context(), s, part) {
				if err != nil {
					t.Fatal(err)
				}
				held[part.Kind] = append(held[part.Kind], keyOf(t, part, line))
			}
		}
	}
	for _, keys := range held {
		slices.Sort(keys)
	}
	return held
}

// keyOf is what the tests know a line by.
func keyOf(t *testing.T, part Part, line []byte) string {
	t.Helper()
	var o struct {
		TrackedEntity, Event, Relationship, DataElement, Period, OrgUnit, OrganisationUnit string
	}
	if err := json.Unmarshal(line, &o); err != nil {
		t.Fatal(err)
	}
	switch part.Kind {
	case TrackedEntities:
		return o.TrackedEntity
	case Events:
		return o.Event
	case Relationships:
		return o.Relationship
	case DataValues:
		return o.OrgUnit + "." + o.Period
	}
	return o.OrganisationUnit + "." + o.Period
}

func uids(letter string, numbers ...int) []string {
	var list []string
	for _, n := range numbers {
		list = append(list, fmt.Sprintf("%s%010d", letter, n))
	}
	return list
}

// inScope are the patients of Río Caña and Cerro Brujo among the first 40, without those that drop says.
func inScope(drop func(n int) bool) []string {
	var numbers []int
	for n := range 40 {
		// The third belongs elsewhere, and is at the other end of a relationship.
		if n == 3 || n%4 != 3 && !drop(n) {
			numbers = append(numbers, n)
		}
	}
	return uids("P", numbers...)
}

func nobody(int) bool { return false }

func takeInto(ctx context.Context, t *testing.T, client *dhis2api.Client, w *Writer, o TakeOptions) error {
	t.Helper()
	defer func() { _ = w.Close() }()
	if err := Take(ctx, client, w, o); err != nil {
		return err
	}
	return w.Finish()
}

func (c *clinic) take(t *testing.T, directory string, keys *Keys, wanted Wanted, face Face) *Snapshot {
	t.Helper()
	w, err := OpenWriter(directory, face, keys, c.about(t, c.client, wanted), WriterOptions{Now: testClock(), disk: quickDisk{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := takeInto(t.Context(), t, c.client, w, TakeOptions{PageSize: 4, partSize: 8}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTake(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			c, keys := newClinic(t, version), testKeys(t)
			c.populate(t)
			s := c.take(t, t.TempDir(), keys, Wanted{OrgUnits: []string{"RIOCANA", "CERROBRUJO"}}, Taken)
			want := map[Kind][]string{
				TrackedEntities: inScope(nobody),
				Events:          uids("W", 0, 1, 3),
				Relationships:   uids("R", 0, 2, 5),
				DataValues:      {rioCana + ".202610", rioCana + ".202612", cerroBrujo + ".201901"},
				Completions:     {rioCana + ".202610"},
			}
			slices.Sort(want[DataValues])
			if diff := cmp.Diff(want, contents(t, s, Taken)); diff != "" {
				t.Fatalf("taken (-want +got):\n%s", diff)
			}
			checkPatients(t, s)
		})
	}
}

// checkPatients looks whether patients are whole.
func checkPatients(t *testing.T, s *Snapshot) {
	t.Helper()
	for _, part := range s.Manifest().Parts(Taken, TrackedEntities) {
		for p, err := range s.TrackedEntities(t.Context(), part) {
			if err != nil {
				t.Fatal(err)
			}
			if part.TrackedEntityType != "" {
				attributes := 2
				if p.TrackedEntity == uids("P", 3)[0] {
					attributes = 3 // at the other end of a relationship: a patient elsewhere
				}
				if len(p.Enrollments) > 0 || len(p.Attributes) != attributes {
					t.Errorf("%s, only registered, has %d enrollments, %d attributes", p.TrackedEntity, len(p.Enrollments), len(p.Attributes))
				}
				continue
			}
			if len(p.Attributes) != 3 || len(p.Enrollments) != 1 || len(p.ProgramOwners) != 1 || len(p.Relationships) != 0 {
				t.Fatalf("%s has %d attributes, %d enrollments, %d owners, %d relationships inside",
					p.TrackedEntity, len(p.Attributes), len(p.Enrollments), len(p.ProgramOwners), len(p.Relationships))
			}
			e := p.Enrollments[0]
			if e.Program != visit || e.EnrolledAt == "" || len(e.Notes) != 1 || len(e.Events) != 1 || e.Events[0].DataValues[0].Value != "54.50" {
				t.Fatalf("%s: enrollment %+v", p.TrackedEntity, e)
			}
		}
	}
	for _, part := range s.Manifest().Parts(Taken, Relationships) {
		for r, err := range s.Relationships(t.Context(), part) {
			if err != nil {
				t.Fatal(err)
			}
			from, fromUID := r.From.Ref()
			to, toUID := r.To.Ref()
			if from != dhis2api.KindTrackedEntity || to != from || !strings.HasPrefix(fromUID, "P0") || !strings.HasPrefix(toUID, "P0") || r.RelationshipType != motherOf {
				t.Errorf("relationship %s from %s %s to %s %s", r.Relationship, from, fromUID, to, toUID)
			}
		}
	}
}

func TestTakeSince(t *testing.T) {
	c, keys := newClinic(t, "2.42.5.2"), testKeys(t)
	c.populate(t)
	wanted := Wanted{OrgUnits: []string{"RIOCANA", "CERROBRUJO"}, Since: "2026-01-15"}
	directory := t.TempDir()
	s := c.take(t, directory, keys, wanted, Taken)
	want := map[Kind][]string{
		TrackedEntities: inScope(func(n int) bool { return n%10 == 6 }),
		Events:          uids("W", 0, 1),
		Relationships:   uids("R", 0, 2, 5),
		DataValues:      {rioCana + ".202610", rioCana + ".202612"},
		Completions:     {rioCana + ".202610"},
	}
	if diff := cmp.Diff(want, contents(t, s, Taken)); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	// What was entered on the kit for a day of long ago must be seen there.
	s = c.take(t, directory, keys, wanted, Loaded)
	want[TrackedEntities] = inScope(nobody)
	want[Events] = uids("W", 0, 1, 3)
	want[DataValues] = append(want[DataValues], cerroBrujo+".201901")
	slices.Sort(want[DataValues])
	if diff := cmp.Diff(want, contents(t, s, Loaded)); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
}

// TestTakeGoesOnAfterEveryCut breaks the line after every number of answers; the next run ends with what an
// uninterrupted one takes, and does not write a durable part again.
func TestTakeGoesOnAfterEveryCut(t *testing.T) {
	c, keys := newClinic(t, "2.42.5.2"), testKeys(t)
	c.populate(t)
	wanted := Wanted{OrgUnits: []string{"RIOCANA", "CERROBRUJO"}}
	want := contents(t, c.take(t, t.TempDir(), keys, wanted, Taken), Taken)
	about := c.about(t, c.client, wanted)
	options := TakeOptions{PageSize: 4, partSize: 8}
	for cut := int64(0); ; cut++ {
		directory := t.TempDir()
		w, err := OpenWriter(directory, Taken, keys, about, WriterOptions{Now: testClock(), disk: quickDisk{}})
		if err != nil {
			t.Fatal(err)
		}
		c.line.left.Store(cut)
		err = takeInto(t.Context(), t, c.client, w, options)
		c.line.left.Store(1 << 60)
		if err == nil {
			if cut < 15 {
				t.Errorf("only %d requests were cut", cut)
			}
			return
		}
		before := durable(t, directory)
		w, err = OpenWriter(directory, Taken, keys, about, WriterOptions{Now: testClock(), disk: quickDisk{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := takeInto(t.Context(), t, c.client, w, options); err != nil {
			t.Fatalf("going on after %d answers: %v", cut, err)
		}
		s, err := Open(directory, keys)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, contents(t, s, Taken)); diff != "" {
			t.Fatalf("taken after %d answers and a break (-want +got):\n%s", cut, diff)
		}
		for name, content := range before {
			now, err := os.ReadFile(filepath.Join(directory, name))
			if err != nil || string(now) != content {
				t.Fatalf("after %d answers the durable part %s was written again", cut, name)
			}
		}
	}
}

// TestTakeWithoutCaptureUnits takes as somebody whose capture units do not hold the scope: patients come by
// way of their enrollments, and a warning says who is left out.
func TestTakeWithoutCaptureUnits(t *testing.T) {
	c, keys := newClinic(t, "2.42.5.2"), testKeys(t)
	c.populate(t)
	triager := c.as(t, "triage1", "Clinic-2026!")
	about := c.about(t, triager, Wanted{OrgUnits: []string{"PA"}, DataSets: []string{}})
	directory := t.TempDir()
	w, err := OpenWriter(directory, Taken, keys, about, WriterOptions{Now: testClock(), disk: quickDisk{}})
	if err != nil {
		t.Fatal(err)
	}
	var warnings []error
	warn := func(err error) { warnings = append(warnings, err) }
	if err := takeInto(t.Context(), t, triager, w, TakeOptions{PageSize: 4, Warn: warn}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for n := range 40 {
		if n%10 != 5 || n == 5 { // the fifth is known by a relationship
			numbers = append(numbers, n)
		}
	}
	if diff := cmp.Diff(uids("P", numbers...), contents(t, s, Taken)[TrackedEntities]); diff != "" {
		t.Errorf("patients (-want +got):\n%s", diff)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), person) {
		t.Errorf("warnings %v", warnings)
	}
}

func TestListingAllIsWhatTakeWrites(t *testing.T) {
	c, keys := newClinic(t, "2.42.5.2"), testKeys(t)
	c.populate(t)
	s := c.take(t, t.TempDir(), keys, Wanted{OrgUnits: []string{"RIOCANA", "CERROBRUJO"}}, Taken)
	found := map[Kind][]string{}
	for f, err := range (Listing{Client: c.client, Scope: s.Scope(), PageSize: 4}).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		var line any = f.Completion
		switch f.Kind {
		case TrackedEntities:
			line = f.TrackedEntity
		case Events:
			line = f.Event
		case Relationships:
			line = f.Relationship
		case DataValues:
			line = f.DataValue
		}
		content, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		found[f.Kind] = append(found[f.Kind], keyOf(t, Part{Kind: f.Kind}, content))
	}
	for _, keys := range found {
		slices.Sort(keys)
	}
	if diff := cmp.Diff(contents(t, s, Taken), found); diff != "" {
		t.Errorf("taken against listed (-taken +listed):\n%s", diff)
	}
	for range (Listing{Client: c.client, Scope: s.Scope()}).All(t.Context()) {
		break // must not go on in the background
	}
}

func TestTakeReportsProgress(t *testing.T) {
	c, keys := newClinic(t, "2.42.5.2"), testKeys(t)
	c.populate(t)
	w, err := OpenWriter(t.TempDir(), Taken, keys, c.about(t, c.client, Wanted{OrgUnits: []string{"PA"}}), WriterOptions{Now: testClock(), disk: quickDisk{}})
	if err != nil {
		t.Fatal(err)
	}
	last := map[Kind]Progress{}
	progress := func(p Progress) {
		if p.Done < last[p.Kind].Done && p.Subject == last[p.Kind].Subject {
			t.Errorf("%v falls from %d to %d", p.Kind, last[p.Kind].Done, p.Done)
		}
		if p.TrackedEntityType == "" {
			last[p.Kind] = p
		}
	}
	if err := takeInto(t.Context(), t, c.client, w, TakeOptions{PageSize: 4, Progress: progress}); err != nil {
		t.Fatal(err)
	}
	patients, events := last[TrackedEntities], last[Events]
	if patients.Done != 36 || patients.Total != 36 || patients.Name != "Mobile clinic visit" || patients.Bytes == 0 {
		t.Errorf("patients: %+v", patients)
	}
	if events.Done != 4 || events.Total != 4 {
		t.Errorf("events: %+v", events)
	}
}
