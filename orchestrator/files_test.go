package orchestrator_test

import (
	"bytes"
	"crypto/sha256"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// picture is an image: DHIS2 never stores what claims to be one and is none.
func picture(seed uint8) []byte {
	drawn := image.NewGray(image.Rect(0, 0, 64, 64))
	for x := range 64 {
		for y := range 64 {
			drawn.SetGray(x, y, color.Gray{Y: uint8(x*y)*seed + seed})
		}
	}
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, drawn); err != nil {
		panic(err) // a buffer takes everything
	}
	return encoded.Bytes()
}

// upload stores a file, as the Android app does before it sends the value that names it.
func (w *world) upload(client *dhis2api.Client, name, contentType string, content []byte) {
	w.t.Helper()
	extension := strings.TrimPrefix(contentType[strings.Index(contentType, "/"):], "/")
	if _, err := client.UploadFile(w.t.Context(), w.id(name), "file."+extension, contentType, "", bytes.NewReader(content)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := client.AwaitFile(w.t.Context(), w.id(name)); err != nil {
		w.t.Fatal(err)
	}
}

// expectFile compares the bytes that central gives for a value.
func (w *world) expectFile(at dhis2api.FileValue, want []byte) {
	w.t.Helper()
	content, err := w.central.ValueFile(w.t.Context(), at)
	if err != nil {
		w.t.Errorf("central does not give the file of %+v: %v", at, err)
		return
	}
	got, err := io.ReadAll(content)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
		w.t.Errorf("central gives %d bytes for %+v (%v), want the %d of the kit", len(got), at, err, len(want))
	}
	_ = content.Close()
}

func (w *world) photoOf(name string) dhis2api.FileValue {
	return dhis2api.FileValue{TrackedEntity: w.id(name), Attribute: w.id("photo"), Program: w.id("program")}
}

// sheet is a form's value that is a file.
func (w *world) sheet(value string) *dhis2api.DataValue {
	return &dhis2api.DataValue{DataElement: w.id("sheet"), Period: "202605", OrgUnit: w.id("soloy"), Value: value}
}

// inTheField is a trip whose kit is out, with a photograph of Berta's from before.
func (w *world) inTheField() {
	w.t.Helper()
	w.setUp()
	w.patientsAtCentral()
	w.upload(w.central, "Berta's face", "image/png", picture(9))
	w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "photo", w.id("Berta's face"))}}, "")
	w.prepare()
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
}

// settled holds the second run against the first: it sends nothing and says the same.
func (w *world) settled(first *report.Report) {
	w.t.Helper()
	second := w.reconcile(false)
	if second.Sent != 0 || second.Sums != first.Sums || second.Files != first.Files {
		w.t.Errorf("the second run sent %d, %+v %+v; the first came to %+v %+v", second.Sent, second.Sums, second.Files, first.Sums, first.Files)
	}
}

// pair is a world of simulated servers that can be troubled.
func pair(t *testing.T, version string) (central, local *dhis2sim.Server, w *world) {
	t.Helper()
	start := func(options dhis2sim.Options) (*dhis2sim.Server, string) {
		server, err := dhis2sim.New(options)
		if err != nil {
			t.Fatal(err)
		}
		listening := httptest.NewServer(server)
		t.Cleanup(listening.Close)
		return server, listening.URL
	}
	central, centralURL := start(dhis2sim.Options{Version: version})
	local, localURL := start(dhis2sim.Options{Version: version, MaxFile: 100_000_000})
	return central, local, newWorld(t, centralURL, localURL, "")
}

func eachVersion(t *testing.T, run func(t *testing.T, version string)) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			run(t, version)
		})
	}
}

// TestFiles: files of every kind of value, made on the kit, come home whole and once.
func TestFiles(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		central, _, w := pair(t, version)
		filesComeHome(t, w, func() int { return central.Requests()["POST /api/fileResources"] })
	})
}

// TestAcceptanceFiles is TestFiles on the servers of the acceptance suite.
func TestAcceptanceFiles(t *testing.T) {
	central := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL")
	if central == "" {
		t.Skip("no servers are named")
	}
	w := newWorld(t, central, os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL_DATABASE"))
	filesComeHome(t, w, nil)
}

// filesComeHome plays a day with files; uploads counts those that central has seen, nil where nobody can.
func filesComeHome(t *testing.T, w *world, uploads func() int) {
	if uploads == nil {
		uploads = func() int { return 0 }
	}
	w.inTheField()
	leaflet := bytes.Repeat([]byte("%PDF leaflet "), 5000)
	for i, name := range []string{"Ana's face", "Zoe's face", "Zoe's wound", "Berta's new face"} {
		w.upload(w.local, name, "image/png", picture(uint8(i+20)))
	}
	w.upload(w.local, "leaflet of the spring", "application/pdf", leaflet)
	w.upload(w.local, "sheet of May", "application/pdf", leaflet)
	zoe := w.patient("Zoe", map[string]string{"phone": "6000-0099", "photo": w.id("Zoe's face")})
	visit := zoe.Enrollments[0].Events[0]
	visit.DataValues = append(visit.DataValues, dhis2api.EventDataValue{DataElement: w.id("wound"), Value: w.id("Zoe's wound")})
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
		zoe, w.changed("Ana", "photo", w.id("Ana's face")), w.changed("Berta", "photo", w.id("Berta's new face")),
	}, Events: []*dhis2api.Event{{
		Event: w.id("spring"), Program: w.id("water"), ProgramStage: w.id("sample"), OrgUnit: w.id("cerro"), Status: "COMPLETED", OccurredAt: "2026-05-05",
		DataValues: []dhis2api.EventDataValue{{DataElement: w.id("leaflet"), Value: w.id("leaflet of the spring")}},
	}}}, "")
	if _, err := w.local.ImportDataValues(t.Context(), dhis2api.DataValueSet{DataValues: []*dhis2api.DataValue{w.sheet(w.id("sheet of May"))}}, dhis2api.DataValueImportOptions{}); err != nil {
		t.Fatal(err)
	}

	before := uploads()
	planned := w.reconcile(true)
	if sent := uploads() - before; sent != 0 || planned.Sums.Held != 0 {
		t.Errorf("--plan sent %d files and foretells %s", sent, asJSON(planned))
	}
	r := w.reconcile(false)
	if r.ExitCode() != 0 || r.Sums.Pushed != planned.Sums.Open {
		t.Errorf("not all is home: %s", asJSON(r))
	}
	w.expectFile(w.photoOf("Ana"), picture(20))
	w.expectFile(w.photoOf("Zoe"), picture(21))
	w.expectFile(dhis2api.FileValue{Event: visit.Event, DataElement: w.id("wound")}, picture(22))
	w.expectFile(w.photoOf("Berta"), picture(23))
	w.expectFile(dhis2api.FileValue{Event: w.id("spring"), DataElement: w.id("leaflet")}, leaflet)
	w.expectFile(dhis2api.FileValue{DataValue: w.sheet("")}, leaflet)
	if _, err := w.central.File(t.Context(), w.id("Berta's face")); err != nil {
		t.Errorf("the file that was replaced: %v; it is central's to remove", err)
	}
	w.settled(r)
	if sent := uploads() - before; before > 0 && sent != 6 || r.Files.Home != 6 {
		t.Errorf("six files were sent in %d requests, and %d are home", sent, r.Files.Home)
	}
}

// TestFilesHeld: a file that cannot go holds back the value that names it, and nothing else.
func TestFilesHeld(t *testing.T) {
	taken := func(status int, body string) *dhis2sim.Fault {
		return &dhis2sim.Fault{Status: status, Body: body, ContentType: "application/json", Match: func(r *http.Request) bool {
			return r.Method == http.MethodPost && r.URL.Path == "/api/fileResources"
		}}
	}
	for name, test := range map[string]struct {
		content []byte
		// spoil goes wrong before the day is reconciled.
		spoil        func(t *testing.T, w *world, local *dhis2sim.Server, file string)
		fault        *dhis2sim.Fault
		code, reason string
	}{
		"larger than central takes": {content: make([]byte, 10_000_001), code: "FILE", reason: "too large: 10.0 MB"},
		"of a type that central does not take": {
			fault: taken(http.StatusConflict, `{"httpStatusCode":409,"status":"ERROR","message":"File type not allowed","errorCode":"E6101"}`),
			code:  "E6101", reason: "no files of this type (application/pdf)",
		},
		"refused without a code": {
			fault: taken(http.StatusConflict, `{"httpStatusCode":409,"status":"ERROR","message":"File size can't be bigger than 100, current file size 200"}`),
			code:  "HTTP 409", reason: "central did not take its file",
		},
		"gone from the kit's disk": {
			spoil: func(t *testing.T, _ *world, local *dhis2sim.Server, file string) {
				if err := local.LoseFile(t.Context(), file); err != nil {
					t.Fatal(err)
				}
			},
			code: "FILE", reason: "does not have its bytes",
		},
		"another one under its uid at central": {
			spoil: func(t *testing.T, w *world, _ *dhis2sim.Server, file string) {
				if _, err := w.central.UploadFile(t.Context(), file, "other.pdf", "application/pdf", "", strings.NewReader("other")); err != nil {
					t.Fatal(err)
				}
			},
			code: "FILE", reason: "another file under the same uid",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			central, local, w := pair(t, "2.42.5.2")
			w.inTheField()
			if test.content == nil {
				test.content = []byte("a leaflet")
			}
			for _, file := range []string{"first leaflet", "second leaflet"} {
				w.upload(w.local, file, "application/pdf", test.content)
			}
			sample := func(event, unit, file string) *dhis2api.Event {
				return &dhis2api.Event{
					Event: w.id(event), Program: w.id("water"), ProgramStage: w.id("sample"), OrgUnit: w.id(unit), Status: "COMPLETED", OccurredAt: "2026-05-04",
					DataValues: []dhis2api.EventDataValue{{DataElement: w.id("chlorine"), Value: "0.7"}, {DataElement: w.id("leaflet"), Value: w.id(file)}},
				}
			}
			w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{sample("well", "soloy", "first leaflet"), sample("spring", "cerro", "second leaflet")}}, "")
			if test.spoil != nil {
				test.spoil(t, w, local, w.id("first leaflet"))
				test.spoil(t, w, local, w.id("second leaflet"))
			}
			if test.fault != nil {
				defer central.Inject(*test.fault)()
			}
			planned := w.reconcile(true)
			r := w.reconcile(false)
			if test.fault == nil && (planned.Sums.Held != r.Sums.Held || planned.Sums.Open != r.Sums.Pushed || planned.Sums.Total != r.Sums.Total) {
				t.Errorf("--plan foretold %+v, the run came to %+v", planned.Sums, r.Sums)
			}
			if len(r.Refusals) != 2 || r.Sums.Held != 2 || r.Sums.Pushed != 2 || r.ExitCode() != 3 {
				t.Errorf("want two values held, and a value and an event home: %s", asJSON(r))
			}
			for _, no := range r.Refusals {
				if no.Code != test.code || !strings.Contains(no.Reason, test.reason) || no.Field != w.id("leaflet") || no.Hint == "" {
					t.Errorf("held as %s", asJSON(no))
				}
			}
			for _, name := range []string{"well", "spring"} {
				event, err := w.central.Event(t.Context(), w.id(name), dhis2api.Lookup{})
				if err != nil {
					t.Error(err)
				} else if len(event.DataValues) != 1 || event.DataValues[0].Value != "0.7" {
					t.Errorf("the %s at central: %s", name, asJSON(event.DataValues))
				}
			}
			w.settled(r)
			w.prepare()
			if next := w.reconcile(false); next.Sent != 0 || len(next.Refusals) != 2 || next.Sums.Held != 2 {
				t.Errorf("on the next trip both are held still: %s", asJSON(next))
			}
		})
	}
}

// TestFilesOnBothSides: the uid is the value, and a decision for the kit's brings its file.
func TestFilesOnBothSides(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		central, _, w := pair(t, version)
		w.inTheField()
		w.upload(w.local, "kit's", "image/png", picture(3))
		w.upload(w.central, "central's", "image/png", picture(4))
		w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "photo", w.id("kit's"))}}, "")
		w.send(w.central, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "photo", w.id("central's"))}}, "")
		before := central.Requests()["POST /api/fileResources"]
		r := w.reconcile(false)
		w.expectConflict(r, "trackedEntity", w.id("Berta"), w.id("photo"), w.id("Berta's face"), w.id("kit's"), w.id("central's"))
		if sent := central.Requests()["POST /api/fileResources"] - before; sent != 0 {
			t.Errorf("%d files were sent for a conflict", sent)
		}
		r, err := w.tryReconcile(orchestrator.ReconcileOptions{Decisions: w.decisions(map[int]string{w.conflict(r, "Berta", "photo"): "local"}), Who: "maria"})
		if err != nil {
			t.Fatal(err)
		}
		if r.ExitCode() != 0 || r.Files.Home != 1 {
			t.Errorf("not all is home: %s", asJSON(r))
		}
		w.expectFile(w.photoOf("Berta"), picture(3))
		w.settled(r)
	})
}

// TestFileRemoved: a value that was emptied on the kit is emptied at central; its file is central's to remove.
func TestFileRemoved(t *testing.T) {
	_, _, w := pair(t, "2.42.5.2")
	w.inTheField()
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Berta", "photo", "")}}, "")
	r := w.reconcile(false)
	if r.ExitCode() != 0 || r.Sums.Pushed != 1 || r.Files.Home != 0 {
		t.Errorf("not all is home: %s", asJSON(r))
	}
	if _, err := w.central.ValueFile(t.Context(), w.photoOf("Berta")); !dhis2api.NotFound(err) {
		t.Errorf("Berta's photograph at central: %v", err)
	}
}

// TestFileSentButNotItsValue: a run that ends between a file and its value leaves the file to the next one.
func TestFileSentButNotItsValue(t *testing.T) {
	central, _, w := pair(t, "2.42.5.2")
	w.inTheField()
	w.upload(w.local, "Ana's face", "image/png", picture(5))
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "photo", w.id("Ana's face"))}}, "")
	before := central.Requests()["POST /api/fileResources"]
	remove := central.Inject(dhis2sim.Fault{CutBefore: true, Match: func(r *http.Request) bool {
		return r.Method == http.MethodPost && r.URL.Path == "/api/tracker"
	}})
	if _, err := w.tryReconcile(orchestrator.ReconcileOptions{}); err == nil {
		t.Fatal("the run without a line came to its end")
	}
	remove()
	r := w.reconcile(false)
	if r.ExitCode() != 0 || r.Files.Home != 1 {
		t.Errorf("not all is home: %s", asJSON(r))
	}
	w.expectFile(w.photoOf("Ana"), picture(5))
	if sent := central.Requests()["POST /api/fileResources"] - before; sent != 1 {
		t.Errorf("the file was sent %d times", sent)
	}
}

// TestFilesNotServed: a value is home when central gives its file, and not before.
func TestFilesNotServed(t *testing.T) {
	central, _, w := pair(t, "2.42.5.2")
	w.inTheField()
	for i, name := range []string{"Ana", "Zoe"} {
		w.upload(w.local, name+"'s face", "image/png", picture(uint8(i+6)))
	}
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
		w.changed("Ana", "photo", w.id("Ana's face")), w.patient("Zoe", map[string]string{"photo": w.id("Zoe's face")}),
	}}, "")
	remove := central.Inject(dhis2sim.Fault{Status: http.StatusConflict, Match: func(r *http.Request) bool {
		return r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/file")
	}})
	r := w.reconcile(false)
	held := slices.Collect(func(yield func(string) bool) {
		for _, no := range r.Refusals {
			if no.Code == "FILE" && !yield(no.UID) {
				return
			}
		}
	})
	slices.Sort(held)
	want := []string{w.id("Ana"), w.id("Zoe")}
	slices.Sort(want)
	if !slices.Equal(held, want) || r.Files.Home != 0 || r.Sums.Held != 2 {
		t.Errorf("want both photographs held: %s", asJSON(r))
	}
	w.settled(r)
	remove()
	r = w.reconcile(false)
	if r.ExitCode() != 0 || r.Files.Home != 2 || r.Sent != 0 {
		t.Errorf("both photographs are given now: %s", asJSON(r))
	}
}
