package snapshot

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// TestTakeOfChangesCompressed: where answers come compressed a whole record is little more than its uids, and what lists
// uids saves less; still, when a hundredth of the patients changed less than a seventh comes, metadata and all.
func TestTakeOfChangesCompressed(t *testing.T) {
	const patients, changed = 2000, 20
	c, keys := newClinic(t, "2.42.5.2"), testKeys(t)
	c.line.handler = packing(c.line.handler)
	crowd := c.crowd(t, patients)
	wanted := Wanted{OrgUnits: []string{"PA"}}
	take := func(before *Snapshot) (*Snapshot, *TakeReceipt) {
		directory := t.TempDir()
		client := c.as(t, "admin", "district")
		w, err := OpenWriter(directory, Taken, keys, c.about(t, client, wanted), WriterOptions{Now: testClock(), Traffic: client.Traffic, disk: quickDisk{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := TakeMetadata(t.Context(), client, w.Scope()); err != nil {
			t.Fatal(err)
		}
		if err := takeInto(t.Context(), t, client, w, TakeOptions{Before: before}); err != nil {
			t.Fatal(err)
		}
		s, err := Open(directory, keys)
		if err != nil {
			t.Fatal(err)
		}
		return s, s.Manifest().Faces[Taken].Take
	}
	first, whole := take(nil)
	for n := range changed {
		e := crowd[n*patients/changed].Enrollments[0]
		e.Events[0].Enrollment, e.Events[0].Status = e.Enrollment, "ACTIVE"
		c.load(t, dhis2api.TrackerPayload{Events: e.Events[:1]})
	}
	second, changes := take(first)
	t.Logf("%+v, then %+v", whole.Traffic, changes.Traffic)
	if moved := changes.Traffic.Received + changes.Traffic.Sent; moved*7 >= whole.Traffic.Received+whole.Traffic.Sent {
		t.Errorf("%+v after %+v: %v", changes.Traffic, whole.Traffic, changes.Streams)
	}
	want := &TakeReceipt{
		Asked: map[Kind]int64{TrackedEntities: changed}, Copied: map[Kind]int64{TrackedEntities: patients - changed},
		Traffic: changes.Traffic, Whole: changes.Whole, Streams: changes.Streams,
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
	if changes.Whole < whole.Traffic.Received*9/10 || changes.Whole > whole.Traffic.Received*11/10 {
		t.Errorf("everything would have been about %d bytes, and was %d", changes.Whole, whole.Traffic.Received)
	}
	if copied, all := changes.Unchanged(); copied != patients-changed || all != patients {
		t.Errorf("%d of %d were unchanged", copied, all)
	}
	if got := second.Manifest().Objects(Taken, TrackedEntities); got != patients {
		t.Errorf("%d patients were taken", got)
	}
}

// crowd gives the clinic patients who were seen three times each: uids, names, remarks and times as no two have them.
func (c *clinic) crowd(t *testing.T, patients int) (crowd []*dhis2api.TrackedEntity) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	chosen := func(letters string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(letters[random.IntN(len(letters))])
		}
		return b.String()
	}
	const small = "abcdefghijklmnopqrstuvwxyz"
	word := func(n int) string { return chosen(small, n) }
	uid := func() string { return word(1) + chosen(small+strings.ToUpper(small)+"0123456789", 10) }
	moment := func() string {
		return time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC).Add(time.Duration(random.Int64N(int64(180 * 24 * time.Hour)))).Format("2006-01-02T15:04:05.000")
	}
	var payload dhis2api.TrackerPayload
	for n := range patients {
		p := visitor(n, []string{rioCana, cerroBrujo, soloy}[n%3], "2026-11-10")
		p.Attributes = append(p.Attributes[:0], dhis2api.Attribute{Attribute: firstName, Value: word(8)},
			dhis2api.Attribute{Attribute: lastName, Value: word(9)}, dhis2api.Attribute{Attribute: community, Value: word(14)})
		p.TrackedEntity = uid()
		p.CreatedAtClient, p.UpdatedAtClient = moment(), moment()
		e := p.Enrollments[0]
		e.Enrollment = uid()
		e.CreatedAtClient, e.UpdatedAtClient, e.Notes, e.Events = moment(), moment(), nil, nil
		if n%10 == 0 {
			e.Notes = []dhis2api.Note{{Note: uid(), Value: word(60)}}
		}
		seen := func(stage string, values ...string) {
			event := &dhis2api.Event{
				Event: uid(), Program: visit, ProgramStage: stage, OrgUnit: p.OrgUnit, OccurredAt: moment(), Status: "COMPLETED",
				CreatedAtClient: moment(), UpdatedAtClient: moment(),
			}
			for pair := range slices.Chunk(values, 2) {
				event.DataValues = append(event.DataValues, dhis2api.EventDataValue{DataElement: pair[0], Value: pair[1]})
			}
			e.Events = append(e.Events, event)
		}
		measured := func(from, tenths int) string {
			tenths = 10*from + random.IntN(tenths)
			return fmt.Sprintf("%d.%d", tenths/10, tenths%10)
		}
		seen(triage, weight, measured(40, 400), "J837zyhoZKy", measured(140, 500), "z0yQ1hh25FC", measured(36, 40), "dfEWQ3KY64w", fmt.Sprint(90+random.IntN(80)))
		seen("nZrv0BgEY2b", "mVXpUJrUGop", word(6)+" "+word(4)+", "+word(7)+" "+word(5)+"; "+word(9)+" "+word(6)+" "+word(8)+" "+word(7),
			"Gb6YVv2JBte", "false", "MYywn1OKDan", moment()[:10])
		seen("VjWz0burhoQ", "Scv6YvzhSPX", fmt.Sprint(1+random.IntN(60)), "dLHlQZa1tWd", "true")
		payload.TrackedEntities, crowd = append(payload.TrackedEntities, p), append(crowd, p)
		if len(payload.TrackedEntities) == 500 || n == patients-1 {
			c.load(t, payload)
			payload = dhis2api.TrackerPayload{}
		}
	}
	return crowd
}

// packing compresses answers for whoever takes that, as a proxy before a server does.
func packing(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			server.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		var content bytes.Buffer
		packer := gzip.NewWriter(&content)
		_, _ = packer.Write(answer.Body.Bytes()) // to memory
		_ = packer.Close()
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.Header().Del("Content-Length")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(content.Bytes())
	})
}
