package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// TestSoakTrips plays whole trips drawn from a seed: what people do on the kit and at central, how often they go out, when the
// line is cut, servers fail, the run is stopped, and tablets upload while reconcile runs. After each night it holds both
// servers against what they held before: nothing lost, nothing reverted, everything told, and a second run sends nothing.
// A failure is played again by its seed: FIELDKIT_TRIP=SEED go test -run TestSoakTrips ./orchestrator.
func TestSoakTrips(t *testing.T) {
	trips := 500
	if os.Getenv("FIELDKIT_SOAK") != "" {
		trips = 100_000
	}
	playTrips(t, trips)
}

func playTrips(t *testing.T, trips int) {
	first := uint64(1)
	if seed := os.Getenv("FIELDKIT_TRIP"); seed != "" {
		var err error
		if first, err = strconv.ParseUint(seed, 10, 64); err != nil {
			t.Fatal(err)
		}
		trips = 1
	}
	if testing.Short() {
		trips = min(trips, 5) // the race detector need not see them all
	}
	var failed atomic.Int64
	for seed := first; seed < first+uint64(trips); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			if failed.Load() >= 5 {
				t.Skip("enough seeds have failed")
			}
			newSeededTrip(t, seed).play()
			if t.Failed() {
				failed.Add(1)
			}
		})
	}
}

// virtualClock goes on a little whenever it is asked, and as far as somebody sleeps.
type virtualClock struct {
	nanoseconds atomic.Int64
	offset      time.Duration
}

func (c *virtualClock) now() time.Time {
	return time.Unix(0, c.nanoseconds.Add(int64(time.Millisecond))).Add(c.offset)
}

func (c *virtualClock) sleep(ctx context.Context, d time.Duration) error {
	c.nanoseconds.Add(int64(d))
	return ctx.Err()
}

// seededTrip is one play: a world of its own, and the dice.
type seededTrip struct {
	*world
	seed  uint64
	dice  *rand.Rand
	clock *virtualClock
	sides map[orchestrator.Side]*actor
	// trouble is what goes wrong during a run; nil: nothing.
	trouble atomic.Pointer[trouble]
	// busy are the requests that the servers are at work on, also those that a run that was stopped has left.
	busy sync.WaitGroup
	// ties are the relationships that were seen, by uid.
	ties map[string]datum
	// log is what was done, and report what was told last, for whoever has to understand a failure.
	log    []string
	report *report.Report
}

func newSeededTrip(t *testing.T, seed uint64) *seededTrip {
	s := &seededTrip{seed: seed, dice: rand.New(rand.NewPCG(seed, 1)), clock: &virtualClock{}, ties: map[string]datum{}}
	s.clock.nanoseconds.Store(time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC).UnixNano())
	version := []string{"2.41.9.1", "2.42.5.2", "2.43.1"}[s.dice.IntN(3)]
	// The clock of a kit that lay without power.
	kitClock := &virtualClock{}
	kitClock.nanoseconds.Store(s.clock.nanoseconds.Load())
	ahead := s.dice.IntN(4) == 0
	if ahead {
		kitClock.offset = -30 * 365 * 24 * time.Hour
	}
	central := s.server(t, orchestrator.Central, version, s.clock.now)
	local := s.server(t, orchestrator.Local, version, kitClock.now)
	s.world = newSeededWorld(t, central, local, "", seed)
	s.world.now, s.world.sleep, s.world.ahead = s.clock.now, s.clock.sleep, ahead
	s.sides = map[orchestrator.Side]*actor{
		orchestrator.Central: {trip: s, side: orchestrator.Central}, orchestrator.Local: {trip: s, side: orchestrator.Local},
	}
	return s
}

// server starts a simulated server to which the trip's trouble happens.
func (s *seededTrip) server(t *testing.T, side orchestrator.Side, version string, now func() time.Time) string {
	t.Helper()
	server, err := dhis2sim.New(dhis2sim.Options{Version: version, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range troubles() {
		fault.Match = func(r *http.Request) bool {
			u := s.trouble.Load()
			return u != nil && ofTheRun(r) && u.happens(side, r, fault)
		}
		server.Inject(fault)
	}
	listening := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.busy.Add(1)
		defer s.busy.Done()
		if u := s.trouble.Load(); u != nil && ofTheRun(r) {
			u.request(side, r)
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(listening.Close)
	return listening.URL
}

// ofTheRun tells the requests of fieldkit from those of tablets and of this test.
func ofTheRun(r *http.Request) bool { return r.UserAgent() == "fieldkit/acceptance" }

func troubles() []dhis2sim.Fault {
	return []dhis2sim.Fault{
		{CutBefore: true}, {CutAfter: true}, {Truncate: true},
		{Status: http.StatusBadGateway, Body: "<html>Bad Gateway</html>"},
		{Status: http.StatusInternalServerError, Body: "oops"},
		{Status: http.StatusTooManyRequests},
	}
}

// trouble is what goes wrong during one run. Whether it happens to a request depends on the request alone and on how often
// it was made, not on which of two that are under way comes first: so a seed always plays the same.
type trouble struct {
	seed uint64
	// oneIn is how many requests go well for each that does not, stopsOneIn for each at which the run is stopped,
	// uploadOneIn for each during which a tablet uploads; 0: none.
	oneIn, stopsOneIn, uploadOneIn uint64
	stop                           context.CancelFunc
	upload                         func()

	mutex sync.Mutex
	seen  map[string]uint64
}

func (u *trouble) draw(side orchestrator.Side, r *http.Request, what string, times uint64) uint64 {
	hash := fnv.New64a()
	fmt.Fprint(hash, u.seed, side, r.Method, r.URL.Path, r.URL.RawQuery, r.ContentLength, what, times)
	return rand.New(rand.NewPCG(hash.Sum64(), 2)).Uint64()
}

// request counts a request, stops the run, and lets tablets upload.
func (u *trouble) request(side orchestrator.Side, r *http.Request) {
	u.mutex.Lock()
	key := fmt.Sprint(side, r.Method, r.URL.Path, r.URL.RawQuery, r.ContentLength)
	times := u.seen[key]
	u.seen[key]++
	u.mutex.Unlock()
	if u.stopsOneIn > 0 && u.draw(side, r, "stop", times)%u.stopsOneIn == 0 {
		u.stop()
	}
	if u.uploadOneIn > 0 && side == orchestrator.Central && u.draw(side, r, "upload", times)%u.uploadOneIn == 0 {
		u.upload()
	}
}

// happens tells whether a fault befalls a request.
func (u *trouble) happens(side orchestrator.Side, r *http.Request, fault dhis2sim.Fault) bool {
	if u.oneIn == 0 {
		return false
	}
	u.mutex.Lock()
	times := u.seen[fmt.Sprint(side, r.Method, r.URL.Path, r.URL.RawQuery, r.ContentLength)]
	u.mutex.Unlock()
	kinds := uint64(len(troubles()))
	drawn := u.draw(side, r, fmt.Sprint(fault.CutBefore, fault.CutAfter, fault.Truncate, fault.Status), times)
	return drawn%(u.oneIn*kinds) == 0
}

// play is one or two trips of one to three nights.
func (s *seededTrip) play() {
	defer func() {
		if s.t.Failed() {
			s.t.Logf("seed %d; what was done:", s.seed)
			for _, line := range s.log {
				s.t.Log(line)
			}
			s.t.Logf("the report: %s", asJSON(s.report))
		}
	}()
	s.setUp()
	s.patientsAtCentral()
	base := content{}
	for trip := range 1 + s.dice.IntN(2) {
		s.note("trip %d", trip+1)
		s.expectAlike(s.prepare())
		s.local = s.connect(orchestrator.Local, s.local.BaseURL())
		base = began(base, s.holds(s.local), s.holds(s.central))
		for night := range 1 + s.dice.IntN(3) {
			s.note("day %d", night+1)
			base = s.day(base)
			if s.t.Failed() {
				return
			}
		}
	}
}

// expectAlike expects the kit to give back what central gave, but for what prepare names: relationships with somebody whom
// the kit has not, because a deletion there is held; and the owner of somebody whose only enrollment was deleted and whom
// something that is held ties to the kit, for DHIS2 lets go of an owner with the person alone.
func (s *seededTrip) expectAlike(receipt *orchestrator.PrepareReceipt) {
	s.t.Helper()
	unlike := map[string]bool{}
	for _, one := range receipt.Unlike {
		if one.Kind != "relationship" || !one.Missing || !s.tiedToNobody(one.UID) {
			unlike[one.UID] = true
		}
	}
	if len(unlike) == 0 {
		return
	}
	kit := s.open()
	defer kit.Close()
	var differs []string
	_, err := kit.DiffSnapshots(s.t.Context(), receipt.Trip, "", orchestrator.DiffOptions{Values: true, Each: func(d orchestrator.ObjectDiff) error {
		differs = append(differs, asJSON(d))
		ownersAlone := !slices.ContainsFunc(d.Fields, func(f orchestrator.FieldDiff) bool { return !strings.HasPrefix(f.Field, "owner.") || f.From != "" })
		if d.How == orchestrator.DiffChanged && ownersAlone {
			delete(unlike, d.UID)
		}
		return nil
	}})
	if len(unlike) == 0 && err == nil {
		return
	}
	s.t.Errorf("prepare: the kit gives %v back otherwise: %s; all that differs: %v, %v", slices.Sorted(maps.Keys(unlike)), asJSON(receipt), differs, err)
}

// tiedToNobody tells whether an end of a relationship of central's is not on the kit.
func (s *seededTrip) tiedToNobody(uid string) bool {
	r, err := s.central.Relationship(s.t.Context(), uid, dhis2api.Lookup{})
	if err != nil {
		s.t.Error(err)
		return false
	}
	for _, end := range []*dhis2api.RelationshipItem{r.From, r.To} {
		_, person := end.Ref()
		if _, err := s.local.TrackedEntity(s.t.Context(), person, dhis2api.Lookup{Fields: "trackedEntity"}); dhis2api.NotFound(err) {
			return true
		}
	}
	return false
}

func (s *seededTrip) note(format string, values ...any) {
	s.log = append(s.log, fmt.Sprintf(format, values...))
}

// day is what both sides do, and the reconcile of that night, troubled or not. It returns what the kit and central agree on.
func (s *seededTrip) day(base content) content {
	for range s.dice.IntN(12) {
		s.sides[orchestrator.Local].act()
	}
	for range s.dice.IntN(8) {
		s.sides[orchestrator.Central].act()
	}
	before := s.holds(s.central)
	unsure := content{}
	if s.dice.IntN(2) == 0 {
		for range 1 + s.dice.IntN(3) {
			s.troubledRun(unsure)
		}
	}
	kit := s.holds(s.local)
	r := s.reconcile(false)
	after := s.holds(s.central)
	s.report = r
	s.judge(base, kit, before, after, unsure, r)
	again := s.reconcile(false)
	if again.Sent > 0 {
		// What is held is sent again when what it clashed with changed at central, and the run before may have changed it:
		// somebody's number that was given back in it, for one.
		r, after = again, s.holds(s.central)
		again = s.reconcile(false)
	}
	if again.Sent != 0 || again.Sums != r.Sums {
		s.t.Errorf("a run that follows sent %d operations; sums %+v, before %+v: %s", again.Sent, again.Sums, r.Sums, asJSON(again))
	}
	return agreed(base, kit, after)
}

// troubledRun is one that may fail. What tablets upload meanwhile is noted in unsure.
func (s *seededTrip) troubledRun(unsure content) {
	ctx, stop := context.WithCancel(s.t.Context())
	defer stop()
	one := []uint64{0, 5, 20}[s.dice.IntN(3)]
	u := &trouble{seed: s.dice.Uint64(), oneIn: one, stop: stop, seen: map[string]uint64{}}
	if s.dice.IntN(2) == 0 {
		u.stopsOneIn = 15
	}
	uploads := 0
	if s.dice.IntN(3) == 0 {
		u.uploadOneIn = 10
		var one sync.Mutex
		u.upload = func() {
			one.Lock()
			defer one.Unlock()
			if uploads++; uploads <= 2 {
				was := s.holds(s.local)
				s.sides[orchestrator.Local].act()
				is := s.holds(s.local)
				for _, one := range []content{was, is} {
					for key := range one {
						if was[key] != is[key] {
							unsure[key] = is[key]
						}
					}
				}
			}
		}
	}
	s.note("a run with trouble: one in %d requests, stopped one in %d, uploads one in %d", one, u.stopsOneIn, u.uploadOneIn)
	s.trouble.Store(u)
	kit := s.open()
	r, err := kit.Reconcile(ctx, orchestrator.ReconcileOptions{})
	s.trouble.Store(nil)
	s.busy.Wait()
	if closing := kit.Close(); closing != nil {
		s.t.Fatal(closing)
	}
	var failed *orchestrator.ServerError
	switch {
	case err == nil:
		// What tablets take back while it runs may stay open until the next run.
		if sums := r.Sums; sums.Open > uploads || sums.Total != sums.Home()+sums.Held+sums.OutOfScope+sums.Dropped+sums.Open {
			s.t.Errorf("a run that came to its end does not add up: %+v", sums)
		}
	case errors.Is(err, context.Canceled), errors.As(err, &failed):
		s.note("it ended with %v", err)
	default:
		s.t.Errorf("a troubled run ended with %v, which names no server", err)
	}
}
