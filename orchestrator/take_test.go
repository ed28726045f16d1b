package orchestrator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// TestPrepareMovesWhatChanged: after a hundredth of the patients changed at central, the second prepare moves less than a
// tenth of the first one's bytes; and asked for everything, as much again.
func TestPrepareMovesWhatChanged(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector takes ten times as long")
	}
	const patients, changed = 2000, 20
	w := newWorld(t, simulated(t, "2.42.5.2"), simulated(t, "2.42.5.2"), "")
	w.setUp()
	w.seen(patients)
	whole := w.prepare()
	if whole.Take == nil || whole.Take.Traffic.Received == 0 || len(whole.Take.Copied) > 0 {
		t.Fatalf("the first prepare cost %+v", whole.Take)
	}
	for n := range changed {
		name := fmt.Sprint("person ", n*patients/changed)
		event := w.visit(name, "visit 0", "70.5")
		w.send(w.central, dhis2api.TrackerPayload{Events: []*dhis2api.Event{event}}, "")
	}
	again := w.prepare()
	moved := func(r *orchestrator.PrepareReceipt) int64 { return r.Take.Traffic.Received + r.Take.Traffic.Sent }
	t.Logf("%d bytes in %d requests, then %d in %d: %.1f %%", moved(whole), whole.Take.Traffic.Requests, moved(again),
		again.Take.Traffic.Requests, 100*float64(moved(again))/float64(moved(whole)))
	if moved(again)*10 >= moved(whole) {
		t.Errorf("the second prepare moved %d bytes, the first %d: %+v", moved(again), moved(whole), again.Take.Streams)
	}
	if asked, copied := again.Take.Asked[snapshot.TrackedEntities], again.Take.Copied[snapshot.TrackedEntities]; asked != changed || copied != patients-changed {
		t.Errorf("%d patients were asked for and %d copied", asked, copied)
	}
	if estimate := again.Take.Whole; estimate < moved(whole)*9/10 || estimate > moved(whole) {
		t.Errorf("everything would have been about %d bytes, and was %d", estimate, moved(whole))
	}
	if !again.Verified {
		t.Errorf("%d records are missing, %d different", again.Missing, again.Differing)
	}
	kit := w.open()
	full, err := kit.Prepare(t.Context(), orchestrator.PrepareOptions{Full: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := kit.Close(); err != nil {
		t.Fatal(err)
	}
	if len(full.Take.Copied) > 0 || moved(full) < moved(whole)*9/10 {
		t.Errorf("with everything asked for %v were copied and %d bytes moved, not %d", full.Take.Copied, moved(full), moved(whole))
	}
}

// seen gives central patients who were seen three times each: names, numbers, remarks and times as no two have them.
func (w *world) seen(patients int) {
	w.t.Helper()
	words := strings.Fields(`fever since yesterday cough with blood pain in the left knee headache comes back next week gave paracetamol referred
		to hospital pregnant second child mother asks for vaccine pressure high measured twice walks three hours from village no appetite`)
	say := func(n int) string {
		var said []string
		for range n {
			said = append(said, words[w.random.IntN(len(words))])
		}
		return strings.Join(said, " ")
	}
	moment := func() string {
		return time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC).Add(time.Duration(w.random.Int64N(int64(200 * 24 * time.Hour)))).Format("2006-01-02T15:04:05.000")
	}
	var payload dhis2api.TrackerPayload
	for n := range patients {
		name := fmt.Sprint("person ", n)
		p := w.patient(name, map[string]string{
			"nationalID": fmt.Sprintf("%d-%d-%d", w.random.IntN(13), w.random.IntN(1000), n), "phone": fmt.Sprintf("6%07d", w.random.IntN(1e7)),
			"community": say(2), "birthDate": fmt.Sprintf("19%02d-%02d-%02d", w.random.IntN(99), 1+w.random.IntN(12), 1+w.random.IntN(28)),
		})
		p.CreatedAtClient, p.UpdatedAtClient = moment(), moment()
		enrollment := p.Enrollments[0]
		enrollment.CreatedAtClient, enrollment.UpdatedAtClient, enrollment.EnrolledAt, enrollment.Events = moment(), moment(), moment(), nil
		for visit := range 3 {
			event := w.visit(name, fmt.Sprint("visit ", visit), fmt.Sprintf("%d.%d", 40+w.random.IntN(50), w.random.IntN(10)))
			event.CreatedAtClient, event.UpdatedAtClient, event.OccurredAt = moment(), moment(), moment()
			event.DataValues = append(event.DataValues, dhis2api.EventDataValue{DataElement: w.id("remark"), Value: say(12)})
			enrollment.Events = append(enrollment.Events, event)
		}
		payload.TrackedEntities = append(payload.TrackedEntities, p)
		if len(payload.TrackedEntities) == 500 || n == patients-1 {
			w.send(w.central, payload, "")
			payload = dhis2api.TrackerPayload{}
		}
	}
}
