package snapshot

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// photoOf is a photograph of one pixel and some further bytes.
func photoOf(t *testing.T, more string) []byte {
	t.Helper()
	photo, err := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
	if err != nil {
		t.Fatal(err)
	}
	return append(photo, more...)
}

// TestLoadFiles: photographs go over with their bytes, once; another one follows; and what differs, or is lost on
// either side, is named.
func TestLoadFiles(t *testing.T) {
	const (
		person, photo = "ldPerson001", "nlKzWyTL0GL"
		file, other   = "ldPhoto0001", "ldPhoto0002"
	)
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			server, err := dhis2sim.New(dhis2sim.Options{Version: version})
			if err != nil {
				t.Fatal(err)
			}
			listener := httptest.NewServer(server)
			t.Cleanup(listener.Close)
			central, err := dhis2api.Connect(t.Context(), listener.URL, dhis2api.Credentials{Username: "admin", Password: "district"}, dhis2api.Options{})
			if err != nil {
				t.Fatal(err)
			}
			central = clinicRecords(t, central)
			k := newKit(t, central, version)
			bytesOnKit := func() string {
				t.Helper()
				content, err := k.client.ValueFile(t.Context(), dhis2api.FileValue{TrackedEntity: person, Attribute: photo, Program: visit})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = content.Close() }()
				read, err := io.ReadAll(content)
				if err != nil {
					t.Fatal(err)
				}
				return string(read)
			}
			load := func(when string, want FileCount, omitted string) {
				t.Helper()
				receipt, _, _ := k.load(t, k.take(t, central), LoadOptions{Central: central})
				if diff := gocmp.Diff(want, receipt.Files); diff != "" {
					t.Errorf("%s (-want +got):\n%s", when, diff)
				}
				var reasons []string
				for _, omission := range receipt.Omitted {
					if omission.UID != person || omission.Kind != merge.TrackedEntity || omission.Field != photo {
						t.Errorf("%s: %+v is omitted", when, omission)
					}
					reasons = append(reasons, omission.Reason)
				}
				if got := strings.Join(reasons, "; "); (got == "") != (omitted == "") || !strings.Contains(got, omitted) {
					t.Errorf("%s: omitted %q, want %q", when, got, omitted)
				}
			}
			length := int64(len(photoOf(t, "")))
			load("the first load", FileCount{Named: 1, Sent: 1, Bytes: length}, "")
			if bytesOnKit() != string(photoOf(t, "")) {
				t.Error("the photograph's bytes on the kit are others than central's")
			}
			load("nothing new", FileCount{Named: 1, Alike: 1}, "")

			if _, err := central.UploadFile(t.Context(), other, "other.png", "image/png", "", bytes.NewReader(photoOf(t, "more"))); err != nil {
				t.Fatal(err)
			}
			give := func(uid string) {
				t.Helper()
				entity, err := central.TrackedEntity(t.Context(), person, dhis2api.Lookup{Fields: "trackedEntity,trackedEntityType,orgUnit"})
				if err != nil {
					t.Fatal(err)
				}
				entity.Attributes = []dhis2api.Attribute{{Attribute: photo, Value: uid}}
				report, err := central.Import(t.Context(), dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{entity}}, dhis2api.ImportOptions{})
				if err != nil || len(report.Errors) > 0 {
					t.Fatalf("%v %+v", err, report)
				}
			}
			give(other)
			load("another photograph", FileCount{Named: 1, Sent: 1, Bytes: length + 4}, "")
			if bytesOnKit() != string(photoOf(t, "more")) {
				t.Error("the kit still gives the photograph that was replaced")
			}

			if err := k.server.LoseFile(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			load("lost on the kit", FileCount{Named: 1, Alike: 1}, "does not give it")

			const third, fourth = "ldPhoto0003", "ldPhoto0004"
			for uid, server := range map[string]*dhis2api.Client{third: central, fourth: central} {
				if _, err := server.UploadFile(t.Context(), uid, "third.png", "image/png", "", bytes.NewReader(photoOf(t, "third"))); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := k.client.UploadFile(t.Context(), third, "third.png", "image/png", "", bytes.NewReader(photoOf(t, "other bytes"))); err != nil {
				t.Fatal(err)
			}
			give(third)
			load("another under the same uid", FileCount{Named: 1}, "differs from central's")

			give(fourth)
			if err := server.LoseFile(t.Context(), fourth); err != nil {
				t.Fatal(err)
			}
			load("lost at central", FileCount{Named: 1}, "central does not give its file")
		})
	}
}
