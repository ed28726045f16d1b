package snapshot

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// kit is a simulated local server with the metadata of a scope, and what was taken for it.
type kit struct {
	server *dhis2sim.Server
	client *dhis2api.Client
	scope  *Scope
	keys   *Keys
}

func newKit(t *testing.T, central *dhis2api.Client, version string) *kit {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	options := dhis2api.Options{Sleep: impatient().Sleep}
	client, err := dhis2api.Connect(t.Context(), listener.URL, dhis2api.Credentials{Username: "admin", Password: "district"}, options)
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{server: server, client: client, keys: testKeys(t)}
	if k.scope, err = ResolveScope(t.Context(), central, Wanted{OrgUnits: []string{"PA-BOC"}}); err != nil {
		t.Fatal(err)
	}
	metadata, err := TakeMetadata(t.Context(), central, k.scope)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMetadata(t.Context(), client, metadata, k.scope, nil); err != nil {
		t.Fatal(err)
	}
	if k.client, err = dhis2api.Connect(t.Context(), listener.URL, dhis2api.Credentials{Username: "admin", Password: "district"}, options); err != nil {
		t.Fatal(err)
	}
	return k
}

// take takes what central now holds into a new snapshot's directory.
func (k *kit) take(t *testing.T, central *dhis2api.Client) string {
	t.Helper()
	directory := t.TempDir()
	w := openFace(t, directory, Taken, k.keys, k.scope, central)
	if err := Take(t.Context(), central, w, TakeOptions{IncludeDeleted: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return directory
}

// load loads a snapshot, and reads both faces.
func (k *kit) load(t *testing.T, directory string, options LoadOptions) (receipt *LoadReceipt, taken, loaded map[merge.Ref]map[string]string) {
	t.Helper()
	s, err := Open(directory, k.keys)
	if err != nil {
		t.Fatal(err)
	}
	w := openFace(t, directory, Loaded, k.keys, k.scope, k.client)
	if receipt, err = Load(t.Context(), s, k.client, w, options); err != nil {
		t.Fatal(err)
	}
	takeFace(t, k.client, w)
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(directory, k.keys); err != nil {
		t.Fatal(err)
	}
	return receipt, contentOf(t, s, Taken, time.UTC), contentOf(t, s, Loaded, time.UTC)
}

func people(n int) dhis2api.TrackerPayload {
	var payload dhis2api.TrackerPayload
	for i := range n {
		payload.TrackedEntities = append(payload.TrackedEntities, visitor(i, rioCana, "2026-10-02"))
		payload.Events = append(payload.Events, source(i, cerroBrujo, "2026-10-03"))
	}
	return payload
}

// TestLoadThroughCutLines: the answer to an import is lost, before or after the server has done it. What is
// loaded is loaded once, notes too.
func TestLoadThroughCutLines(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		for name, fault := range map[string]dhis2sim.Fault{
			"before": {CutBefore: true}, "after": {CutAfter: true}, "half an answer": {Truncate: true}, "502": {Status: http.StatusBadGateway, Body: "<html>"},
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				central := newClinic(t, version)
				central.load(t, people(7))
				k := newKit(t, central.client, version)
				directory := k.take(t, central.client)
				fault.Times = 2
				fault.Match = func(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == "/api/tracker" }
				k.server.Inject(fault)
				receipt, taken, loaded := k.load(t, directory, LoadOptions{BatchSize: 3})
				if len(receipt.Refused)+len(receipt.Omitted) > 0 {
					t.Errorf("refused %v, omitted %v", receipt.Refused, receipt.Omitted)
				}
				if len(taken) != 28 {
					t.Errorf("%d objects were taken, want 28", len(taken))
				}
				if diff := gocmp.Diff(taken, loaded); diff != "" {
					t.Errorf("loaded (-central +local):\n%s", diff)
				}
			})
		}
	}
}

// TestLoadRefreshes: what central emptied, deleted, changed and added since an earlier trip is so on the kit
// after the next load; what the kit has besides stays.
func TestLoadRefreshes(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			central := newClinic(t, version)
			central.load(t, people(3))
			k := newKit(t, central.client, version)
			k.load(t, k.take(t, central.client), LoadOptions{})

			changed := visitor(0, rioCana, "2026-10-02")
			changed.Attributes[1].Value = "" // the last name
			changed.Enrollments[0].Events[0].DataValues = []dhis2api.EventDataValue{{DataElement: weight, Value: "55"}}
			changed.Enrollments[0].Notes = []dhis2api.Note{{Note: "T0000000009", Value: "came again"}}
			central.load(t, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{changed}})
			options := dhis2api.ImportOptions{Strategy: dhis2api.ImportStrategyDelete}
			gone := dhis2api.TrackerPayload{
				TrackedEntities: []*dhis2api.TrackedEntity{{TrackedEntity: "P0000000001"}},
				Enrollments:     []*dhis2api.Enrollment{{Enrollment: "N0000000002"}},
				Events:          []*dhis2api.Event{{Event: "W0000000001"}},
			}
			if report, err := central.client.Import(t.Context(), gone, options); err != nil || len(report.Errors) > 0 {
				t.Fatalf("%v %v", err, report)
			}
			own := dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{visitor(50, rioCana, "2026-10-04")}}
			if report, err := k.client.Import(t.Context(), own, dhis2api.ImportOptions{}); err != nil || len(report.Errors) > 0 {
				t.Fatalf("%v %v", err, report)
			}

			_, taken, loaded := k.load(t, k.take(t, central.client), LoadOptions{})
			for _, uid := range []string{"P0000000050", "N0000000050", "E0000000050"} {
				for _, kind := range []merge.Kind{merge.TrackedEntity, merge.Enrollment, merge.Event} {
					ref := merge.Ref{Kind: kind, UID: uid}
					if object, there := loaded[ref]; there {
						taken[ref] = object
					}
				}
			}
			if len(taken) != len(loaded) {
				t.Errorf("%d objects at central and on the kit alone, %d in all on the kit", len(taken), len(loaded))
			}
			if diff := gocmp.Diff(taken, loaded); diff != "" {
				t.Errorf("loaded (-central +local):\n%s", diff)
			}
			if _, there := loaded[merge.Ref{Kind: merge.TrackedEntity, UID: "P0000000050"}]; !there {
				t.Error("the kit's own patient is gone")
			}
		})
	}
}

// TestLoadSkips: what has open changes from an earlier trip stays as the kit has it.
func TestLoadSkips(t *testing.T) {
	central := newClinic(t, "2.42.5.2")
	central.load(t, people(3))
	k := newKit(t, central.client, "2.42.5.2")
	skip := func(ref merge.Ref) bool { return ref.UID == "P0000000001" || ref.UID == "W0000000002" }
	receipt, _, loaded := k.load(t, k.take(t, central.client), LoadOptions{Skip: skip})
	for _, ref := range []merge.Ref{
		{Kind: merge.TrackedEntity, UID: "P0000000001"}, {Kind: merge.Event, UID: "E0000000001"}, {Kind: merge.Event, UID: "W0000000002"},
	} {
		if loaded[ref] != nil {
			t.Errorf("%v was loaded", ref)
		}
	}
	if got := *receipt.Counts[merge.TrackedEntity]; got != (LoadCount{Taken: 3, Loaded: 2, Skipped: 1}) {
		t.Errorf("tracked entities: %+v", got)
	}
}

// TestLoadNamesWhatIsRefused: an object that the kit cannot store, whatever the validation, is named with its
// reason and does not keep others from being loaded.
func TestLoadNamesWhatIsRefused(t *testing.T) {
	central := newClinic(t, "2.42.5.2")
	k := newKit(t, central.client, "2.42.5.2")
	directory := t.TempDir()
	w := openFace(t, directory, Taken, k.keys, k.scope, central.client)
	batch := w.Batch("people")
	stranger := visitor(1, rioCana, "2026-10-02")
	stranger.TrackedEntityType = "noSuchType1"
	lost := visitor(2, rioCana, "2026-10-02")
	lost.Enrollments[0].Events[0].AssignedUser = &dhis2api.UserRef{UID: "noSuchUser1", Username: "nobody"}
	for _, entity := range []*dhis2api.TrackedEntity{visitor(0, rioCana, "2026-10-02"), stranger, lost} {
		if err := batch.Add(TrackedEntities, Subject{Program: visit}, entity); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Commit("", true); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	receipt, _, loaded := k.load(t, directory, LoadOptions{})
	if loaded[merge.Ref{Kind: merge.Event, UID: "E0000000000"}] == nil || loaded[merge.Ref{Kind: merge.Event, UID: "E0000000002"}] == nil {
		t.Error("others were not loaded")
	}
	refused := map[string]bool{}
	for _, refusal := range receipt.Refused {
		refused[refusal.UID] = true
		if refusal.Reason == "" || refusal.Code == "" {
			t.Errorf("%s is refused without a reason", refusal.UID)
		}
		if refusal.UID == "P0000000001" && refusal.Code != "E1005" {
			t.Errorf("the tracked entity of an unknown type is refused with %s, want E1005", refusal.Code)
		}
	}
	want := map[string]bool{"P0000000001": true, "N0000000001": true, "E0000000001": true}
	if diff := gocmp.Diff(want, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if len(receipt.Omitted) != 1 || receipt.Omitted[0].Field != "assignedUser" || receipt.Omitted[0].UID != "E0000000002" {
		t.Errorf("omitted %+v, want the assigned user", receipt.Omitted)
	}
}
