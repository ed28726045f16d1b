package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

var update = flag.Bool("update", false, "rewrite golden files")

func testKeys(t *testing.T) *Keys {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return &Keys{
		recipients: []age.Recipient{identity.Recipient()}, identities: []age.Identity{identity}, tried: []string{"the test's key"},
	}
}

// testClock is a clock that moves a second each time it is read.
func testClock() func() time.Time {
	now := time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)
	return func() time.Time {
		now = now.Add(time.Second)
		return now
	}
}

func testAbout() About {
	return About{
		Scope: &Scope{
			Wanted:   Wanted{OrgUnits: []string{"RIOCANA"}, Since: "2024-01-01"},
			OrgUnits: []OrgUnit{{ID: "P1J4eyjXQeT", Code: "RIOCANA", Name: "Río Caña", Path: "/zDtBfyIHGje/jMnOQwfpLgG/P1J4eyjXQeT", Level: 3}},
			Programs: []Program{
				{
					ID: "xIkcI00xjZE", Name: "Mobile clinic visit", Type: WithRegistration, TrackedEntityType: "ig1m3E2NSOb",
					Stages: []Stage{{ID: "m9JW68Avdyx", Name: "Triage"}},
				},
				{ID: "Deay1MNLTQW", Name: "Water source check", Type: WithoutRegistration},
			},
			DataSets:           []DataSet{{ID: "ztr8khGB7BY", Name: "Monthly report", PeriodType: "Monthly"}},
			TrackedEntityTypes: []TrackedEntityType{{ID: "ig1m3E2NSOb", Name: "Person"}},
		},
		Server: Server{
			URL: "https://dhis2.example.org", SystemID: "d85c246c-8e80-4fc5-a6cc-1cf53298b092", Version: "2.42.5.2",
			TimeZone: "America/Panama", RootOrgUnits: []string{"zDtBfyIHGje"},
		},
		Account: "sync",
	}
}

func testPerson(n int) *dhis2api.TrackedEntity {
	uid := fmt.Sprintf("P%010d", n)
	return &dhis2api.TrackedEntity{
		TrackedEntity: uid, TrackedEntityType: "ig1m3E2NSOb", OrgUnit: "P1J4eyjXQeT",
		Geometry:   json.RawMessage(`{"type":"Point","coordinates":[-81.73,8.77]}`),
		Attributes: []dhis2api.Attribute{{Attribute: "GoX1JP83DWF", Value: fmt.Sprintf("Ana <%d> & \"Abrego\"\r\n", n)}},
		Enrollments: []*dhis2api.Enrollment{{
			Enrollment: fmt.Sprintf("N%010d", n), TrackedEntity: uid, Program: "xIkcI00xjZE", Status: "ACTIVE", EnrolledAt: "2026-11-10T00:00:00.000",
			Events: []*dhis2api.Event{{Event: fmt.Sprintf("E%010d", n), DataValues: []dhis2api.EventDataValue{{DataElement: "SHUMZIdrf6Y", Value: "54.50"}}}},
		}},
	}
}

func testRelationship(n int) *dhis2api.Relationship {
	return &dhis2api.Relationship{
		Relationship: fmt.Sprintf("R%010d", n), RelationshipType: "lLTCzq8mnWU",
		From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, fmt.Sprintf("P%010d", n)),
		To:   dhis2api.ItemRef(dhis2api.KindTrackedEntity, fmt.Sprintf("P%010d", n+1)),
	}
}

const (
	testBatches = 3
	testPersons = 40 // a batch
)

// writeSample writes what a small take writes: three batches of patients with relationships, each with its
// cursor, a batch of values and a document. It goes on where an earlier call was cut.
func writeSample(directory string, keys *Keys, d disk) error {
	w, err := OpenWriter(directory, Taken, keys, testAbout(), WriterOptions{Now: testClock(), disk: d})
	if errors.Is(err, ErrFinished) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	if err := writeSamplePatients(w); err != nil {
		return err
	}
	if _, done := w.Cursor("values-ztr8khGB7BY"); !done {
		batch := w.Batch("values-ztr8khGB7BY")
		defer batch.Abandon()
		err := batch.Add(DataValues, Subject{DataSet: "ztr8khGB7BY"}, &dhis2api.DataValue{DataElement: "B9X7wdHBEt6", Period: "202610", Value: "12"})
		if err != nil {
			return err
		}
		if err := batch.Commit("", true); err != nil {
			return err
		}
	}
	err = w.Document("metadata", func(to io.Writer) error {
		_, err := io.WriteString(to, `{"organisationUnits":[]}`)
		return err
	})
	if err != nil {
		return err
	}
	return w.Finish()
}

func writeSamplePatients(w *Writer) error {
	cursor, done := w.Cursor("tracker-xIkcI00xjZE")
	if done {
		return nil
	}
	first := 0
	if cursor != "" {
		if _, err := fmt.Sscan(cursor, &first); err != nil {
			return err
		}
	}
	for number := first; number < testBatches; number++ {
		batch := w.Batch("tracker-xIkcI00xjZE")
		for n := number * testPersons; n < (number+1)*testPersons; n++ {
			err := batch.Add(TrackedEntities, Subject{Program: "xIkcI00xjZE"}, testPerson(n))
			if err == nil && n%10 == 0 {
				err = batch.Add(Relationships, Subject{}, testRelationship(n))
			}
			if err != nil {
				batch.Abandon()
				return err
			}
		}
		if err := batch.Commit(fmt.Sprint(number+1), number == testBatches-1); err != nil {
			return err
		}
	}
	return nil
}

// checkSample reads a snapshot of writeSample back.
func checkSample(t *testing.T, directory string, keys *Keys) {
	t.Helper()
	s, err := Open(directory, keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, part := range s.Manifest().Parts(Taken, TrackedEntities) {
		for person, err := range s.TrackedEntities(t.Context(), part) {
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(testPerson(n), person); diff != "" {
				t.Fatalf("patient %d (-written +read):\n%s", n, diff)
			}
			n++
		}
	}
	if n != testBatches*testPersons {
		t.Errorf("%d patients read, %d written", n, testBatches*testPersons)
	}
	if got := s.Manifest().Objects(Taken, Relationships); got != testBatches*testPersons/10 {
		t.Errorf("%d relationships", got)
	}
	document, err := s.Document(Taken, "metadata")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = document.Close() }()
	if content, err := io.ReadAll(document); err != nil || string(content) != `{"organisationUnits":[]}` {
		t.Errorf("metadata %q, error %v", content, err)
	}
}

func files(t *testing.T, directory string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, relErr := filepath.Rel(directory, path)
			names, err = append(names, filepath.ToSlash(name)), relErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func sampleFiles() []string {
	return []string{
		"manifest.json",
		"taken/metadata.json.zst.age",
		"taken/relationships-00001.jsonl.zst.age",
		"taken/relationships-00002.jsonl.zst.age",
		"taken/relationships-00003.jsonl.zst.age",
		"taken/tracker-xIkcI00xjZE-00001.jsonl.zst.age",
		"taken/tracker-xIkcI00xjZE-00002.jsonl.zst.age",
		"taken/tracker-xIkcI00xjZE-00003.jsonl.zst.age",
		"taken/values-ztr8khGB7BY-00001.jsonl.zst.age",
	}
}

func TestRoundTrip(t *testing.T) {
	directory, keys := filepath.Join(t.TempDir(), "snapshot"), testKeys(t)
	if err := writeSample(directory, keys, realDisk{}); err != nil {
		t.Fatal(err)
	}
	checkSample(t, directory, keys)
	if diff := cmp.Diff(sampleFiles(), files(t, directory)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, name := range sampleFiles() {
		path := filepath.Join(directory, name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte("Abrego")) || bytes.Contains(content, []byte("P0000000001")) {
			t.Errorf("%s shows a patient", name)
		}
		for _, path := range []string{path, filepath.Dir(path)} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s can be read by others: %v, %v", path, info.Mode(), err)
			}
		}
	}
}

func TestManifestGolden(t *testing.T) {
	directory := t.TempDir()
	if err := writeSample(directory, testKeys(t), quickDisk{}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(directory, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	// What encryption makes different each time.
	content = regexp.MustCompile(`"[0-9a-f]{64}"`).ReplaceAll(content, []byte(`"SHA-256"`))
	content = regexp.MustCompile(`"bytes": \d+`).ReplaceAll(content, []byte(`"bytes": 1`))
	golden := filepath.Join("testdata", "manifest.golden.json")
	if *update {
		if err := os.WriteFile(golden, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(content)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func TestEmptyStreamsLeaveNoPart(t *testing.T) {
	directory, keys := t.TempDir(), testKeys(t)
	w, err := OpenWriter(directory, Taken, keys, testAbout(), WriterOptions{Now: testClock()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Batch("events-Deay1MNLTQW").Commit("", true); err != nil {
		t.Fatal(err)
	}
	if _, done := w.Cursor("events-Deay1MNLTQW"); !done {
		t.Error("the stream is not done")
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"manifest.json"}, files(t, directory)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestLargeBatchRollsOver(t *testing.T) {
	directory, keys := t.TempDir(), testKeys(t)
	w, err := OpenWriter(directory, Taken, keys, testAbout(), WriterOptions{Now: testClock()})
	if err != nil {
		t.Fatal(err)
	}
	batch := w.Batch("values-ztr8khGB7BY")
	for n := range partObjects*2 + 1 {
		if err := batch.Add(DataValues, Subject{DataSet: "ztr8khGB7BY"}, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Commit("", true); err != nil {
		t.Fatal(err)
	}
	next := 0
	for i, part := range w.Parts() {
		if want := fmt.Sprintf("taken/values-ztr8khGB7BY-%05d.jsonl.zst.age", i+1); part.Name != want || part.Number != i+1 {
			t.Errorf("part %d is %s, want %s", part.Number, part.Name, want)
		}
		for n, err := range eachLine[int](t.Context(), directory, keys, part) {
			if err != nil || n != next {
				t.Fatalf("read %d, want %d; error %v", n, next, err)
			}
			next++
		}
	}
	if next != partObjects*2+1 {
		t.Errorf("%d lines", next)
	}
}

func TestFinishNeedsEveryStreamsEnd(t *testing.T) {
	w, err := OpenWriter(t.TempDir(), Taken, testKeys(t), testAbout(), WriterOptions{Now: testClock()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Batch("tracker-xIkcI00xjZE").Commit("500/2", false); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err == nil || !strings.Contains(err.Error(), "tracker-xIkcI00xjZE") {
		t.Errorf("error %v", err)
	}
}

func TestOpenWriterRefuses(t *testing.T) {
	finished, begun, keys := t.TempDir(), t.TempDir(), testKeys(t)
	if err := writeSample(finished, keys, quickDisk{}); err != nil {
		t.Fatal(err)
	}
	w, err := OpenWriter(begun, Taken, keys, testAbout(), WriterOptions{Now: testClock()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	otherScope, otherServer := testAbout(), testAbout()
	otherScope.Scope.Wanted.Programs = []string{}
	otherServer.Server.RootOrgUnits = []string{"aaaaaaaaaaa"}
	tests := []struct {
		name      string
		directory string
		face      Face
		about     About
		want      string
	}{
		{"a finished face", finished, Taken, testAbout(), "this face of the snapshot is finished"},
		{"another scope", finished, Loaded, otherScope, "another scope"},
		{"another scope, begun", begun, Taken, otherScope, "another scope"},
		{"another server, begun", begun, Taken, otherServer, "another server"},
		{"loaded before taken", t.TempDir(), Loaded, testAbout(), "no snapshot in"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := OpenWriter(test.directory, test.face, keys, test.about, WriterOptions{Now: testClock()})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	if err := Discard(finished, Taken); !errors.Is(err, ErrFinished) {
		t.Errorf("discarding a finished face: %v", err)
	}
	if err := Discard(begun, Taken); err != nil {
		t.Errorf("discarding a begun face: %v", err)
	}
	if _, err := os.Stat(filepath.Join(begun, string(Taken))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of the discarded face there is something left: %v", err)
	}
}

func TestLoadedFace(t *testing.T) {
	directory, keys := t.TempDir(), testKeys(t)
	if err := writeSample(directory, keys, quickDisk{}); err != nil {
		t.Fatal(err)
	}
	about := testAbout()
	about.Server = Server{URL: "http://127.0.0.1:8086", Version: "2.42.5.2"}
	w, err := OpenWriter(directory, Loaded, keys, about, WriterOptions{Now: testClock()})
	if err != nil {
		t.Fatal(err)
	}
	batch := w.Batch("tracker-xIkcI00xjZE")
	if err := batch.Add(TrackedEntities, Subject{Program: "xIkcI00xjZE"}, testPerson(7)); err != nil {
		t.Fatal(err)
	}
	if err := batch.Commit("", true); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	checkSample(t, directory, keys)
	manifest, err := ReadManifest(directory)
	if err != nil {
		t.Fatal(err)
	}
	if !manifest.Finished(Taken) || !manifest.Finished(Loaded) || manifest.Central().URL != "https://dhis2.example.org" {
		t.Errorf("faces %v, central %v", manifest.Faces, manifest.Central())
	}
	if got := manifest.Objects(Loaded, TrackedEntities); got != 1 {
		t.Errorf("%d patients loaded", got)
	}
}

func TestEachStopsWithTheContext(t *testing.T) {
	directory, keys := t.TempDir(), testKeys(t)
	if err := writeSample(directory, keys, quickDisk{}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range s.TrackedEntities(ctx, s.Manifest().Parts(Taken, TrackedEntities)[0]) {
		if last = err; err == nil {
			n++
			cancel()
		}
	}
	// What was read ahead of the cancellation is not given any more.
	if n != 1 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d patients, then %v", n, last)
	}
	if err := s.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify: %v", err)
	}
}
