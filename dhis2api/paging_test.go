package dhis2api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// uidOf is the uid of the object at a position.
func uidOf(i int) string { return fmt.Sprintf("a%010d", i) }

// population is a server with that many events, of which it shows pages; answer may do something else for a
// request, and then returns true.
type population struct {
	total  int
	hidden func(i int) bool // dropped from pages after they were cut, as DHIS2 2.42 does
	answer func(w http.ResponseWriter, page, size int) bool

	mu       sync.Mutex
	asked    []string // "page/size" in the order of arrival
	running  int
	together int // the most requests at a time
}

func (p *population) handle(w http.ResponseWriter, r *http.Request) {
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	size, _ := strconv.Atoi(r.URL.Query().Get("pageSize"))
	p.mu.Lock()
	p.asked = append(p.asked, fmt.Sprintf("%d/%d", page, size))
	p.running++
	p.together = max(p.together, p.running)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.running--
		p.mu.Unlock()
	}()
	if p.answer != nil && p.answer(w, page, size) {
		return
	}
	events := []map[string]string{}
	for i := (page - 1) * size; i < min(page*size, p.total); i++ {
		if p.hidden == nil || !p.hidden(i) {
			events = append(events, map[string]string{"event": uidOf(i)})
		}
	}
	answerJSON(w, 200, map[string]any{"pager": map[string]int{"page": page, "pageSize": size}, "events": events})
}

func readEvents(t *testing.T, c *Client, query EventQuery) ([]string, error) {
	t.Helper()
	var uids []string
	for event, err := range c.Events(t.Context(), query) {
		if err != nil {
			return uids, err
		}
		uids = append(uids, event.Event)
	}
	return uids, nil
}

func wantUIDs(from, to int) []string {
	var uids []string
	for i := from; i < to; i++ {
		uids = append(uids, uidOf(i))
	}
	return uids
}

func TestPagesComeInOrderAndWhole(t *testing.T) {
	tests := []struct {
		name        string
		total, size int
		parallel    int
		from        int
	}{
		{"none", 0, 10, 2, 1},
		{"less than a page", 7, 10, 2, 1},
		{"exactly a page", 10, 10, 2, 1},
		{"many pages", 95, 10, 2, 1},
		{"one at a time", 95, 10, 1, 1},
		{"eight at a time", 95, 10, 8, 1},
		{"resumed", 95, 10, 3, 4},
		{"resumed beyond the end", 95, 10, 3, 40},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := &population{total: test.total}
			// Earlier pages answer later, so that order is not luck.
			server.answer = func(w http.ResponseWriter, page, size int) bool {
				for range (10 - page) * 200 {
					runtime.Gosched()
				}
				return false
			}
			options := newClock().options()
			options.Parallel = test.parallel
			c := connect(t, "2.42.5.2", server.handle, options)
			query := EventQuery{Paging: Paging{PageSize: test.size, Page: test.from}}
			got, err := readEvents(t, c, query)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantUIDs((test.from-1)*test.size, test.total), got); diff != "" {
				t.Error(diff)
			}
			server.mu.Lock() // a page read ahead may still be running
			together := server.together
			server.mu.Unlock()
			if together > test.parallel {
				t.Errorf("%d requests at a time, at most %d asked for", together, test.parallel)
			}
			number := test.from
			for page, err := range c.EventPages(t.Context(), query) {
				if err != nil || page.Number != number || len(page.Items) == 0 {
					t.Errorf("page %d: %d items, %v; want page %d", page.Number, len(page.Items), err, number)
				}
				number++
			}
		})
	}
}

func TestAShortPageIsNotTheLast(t *testing.T) {
	server := &population{total: 50, hidden: func(i int) bool { return i%10 != 3 && i < 40 }}
	got, err := readEvents(t, connect(t, "2.42.5.2", server.handle, Options{}), EventQuery{Paging: Paging{PageSize: 10}})
	if err != nil || len(got) != 14 {
		t.Errorf("%d events, %v; want 14", len(got), err)
	}
}

func TestPagesShrinkAndGrow(t *testing.T) {
	failures := map[string]func(w http.ResponseWriter){
		"500":       func(w http.ResponseWriter) { answerJSON(w, 500, map[string]any{"message": "out of memory"}) },
		"504":       func(w http.ResponseWriter) { answerPage(w, 504) },
		"413":       func(w http.ResponseWriter) { answerPage(w, 413) },
		"cut":       func(w http.ResponseWriter) { cut(w) },
		"truncated": func(w http.ResponseWriter) { answerJSON(w, 200, `{"events":[{"event":"a0000000000"},{"ev`) },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			server := &population{total: 400}
			server.answer = func(w http.ResponseWriter, page, size int) bool {
				// Objects 40 to 79 are heavy: no more than ten of them at a time.
				from, to := (page-1)*size, page*size
				if size > 10 && from < 80 && to > 40 {
					fail(w)
					return true
				}
				return false
			}
			options := newClock().options()
			options.Parallel = 1
			c := connect(t, "2.42.5.2", server.handle, options)
			var numbers []int
			var got []string
			for page, err := range c.EventPages(t.Context(), EventQuery{Paging: Paging{PageSize: 40}}) {
				if err != nil {
					t.Fatal(err)
				}
				numbers = append(numbers, page.Number)
				for _, event := range page.Items {
					got = append(got, event.Event)
				}
			}
			if diff := cmp.Diff(wantUIDs(0, 400), got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, numbers); diff != "" {
				t.Errorf("pages as yielded stay what they were: %s", diff)
			}
			if last := server.asked[len(server.asked)-2]; last != "10/40" {
				t.Errorf("the last full page was asked for as %s: it did not grow again: %v", last, server.asked)
			}
		})
	}
}

func TestPagesGiveUpOnWhatAlwaysFails(t *testing.T) {
	server := &population{total: 400}
	server.answer = func(w http.ResponseWriter, page, size int) bool {
		if from, to := (page-1)*size, page*size; from <= 77 && 77 < to {
			answerJSON(w, 500, map[string]any{"message": "broken object"})
			return true
		}
		return false
	}
	c := connect(t, "2.42.5.2", server.handle, Options{})
	got, err := readEvents(t, c, EventQuery{Paging: Paging{PageSize: 40}})
	if !is[*StatusError](err) || !strings.Contains(err.Error(), "page 2") {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff(wantUIDs(0, 40), got); diff != "" {
		t.Errorf("what came before is yielded: %s", diff)
	}
	if !slices.Contains(server.asked, "78/1") {
		t.Errorf("the object was not asked for alone: %v", server.asked)
	}
}

func TestRefusedQueriesAreNotShrunk(t *testing.T) {
	server := &population{answer: func(w http.ResponseWriter, page, size int) bool {
		answerJSON(w, 409, map[string]any{"message": "At least 1 attributes should be mentioned in the search criteria"})
		return true
	}}
	_, err := readEvents(t, connect(t, "2.42.5.2", server.handle, Options{}), EventQuery{})
	if !is[*StatusError](err) || len(server.asked) != 1 {
		t.Errorf("%v after %v", err, server.asked)
	}
}

// TestPagesAreReadTogether waits in the server until as many requests are there as must come together.
func TestPagesAreReadTogether(t *testing.T) {
	for name, test := range map[string]struct {
		paging Paging
		total  int
		want   map[int]int // page: how many requests there are with it
	}{
		"many pages expected":           {Paging{Page: 1, PageSize: 10}, 60, map[int]int{1: 3, 2: 3, 3: 3}},
		"many after a full first one":   {Paging{PageSize: 10}, 60, map[int]int{1: 1, 2: 3, 3: 3, 4: 3}},
		"few after one that is not":     {Paging{PageSize: 10}, 5, map[int]int{1: 1, 2: 1}},
		"the rest of what was expected": {Paging{Page: 6, PageSize: 10}, 55, map[int]int{6: 3, 7: 3, 8: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			server := &population{total: test.total}
			var mu sync.Mutex
			arrived := map[int]chan struct{}{} // a group of requests that wait for each other, by its size
			waiting := map[int]int{}
			server.answer = func(_ http.ResponseWriter, page, _ int) bool {
				group := test.want[page]
				if group < 2 {
					return false
				}
				mu.Lock()
				if waiting[group] == 0 {
					arrived[group] = make(chan struct{})
				}
				all := arrived[group]
				if waiting[group]++; waiting[group] == group {
					waiting[group] = -1 << 30 // the first of them only
					close(all)
				}
				mu.Unlock()
				<-all
				return false
			}
			options := newClock().options()
			options.Parallel = 3
			c := connect(t, "2.42.5.2", server.handle, options)
			got, err := readEvents(t, c, EventQuery{Paging: test.paging})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantUIDs((max(1, test.paging.Page)-1)*10, test.total), got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			server.mu.Lock() // a request that was given up may still be under way
			together := server.together
			server.mu.Unlock()
			if most := slices.Max(slices.Collect(maps.Values(test.want))); together != most {
				t.Errorf("%d requests at a time, want %d", together, most)
			}
		})
	}
}

func TestLeavingEarlyStopsReading(t *testing.T) {
	server := &population{total: 100000}
	options := newClock().options()
	options.Parallel = 4
	c := connect(t, "2.42.5.2", server.handle, options)
	for event, err := range c.Events(t.Context(), EventQuery{Paging: Paging{PageSize: 10}}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Event == uidOf(25) {
			break
		}
	}
	// The server notices a little later than the client that nobody waits for an answer any more.
	running, asked := 0, 0
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		server.mu.Lock()
		running, asked = server.running, len(server.asked)
		server.mu.Unlock()
		if running == 0 {
			break
		}
	}
	if running != 0 || asked > 8 {
		t.Errorf("%d requests running, %d made", running, asked)
	}
}

func TestQueriesSpeakTheDialect(t *testing.T) {
	yes := true
	var got string
	handler := func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		query.Del("fields")
		if query.Get("page") == "1" {
			got = r.URL.Path + "?" + query.Encode()
		}
		answerJSON(w, 200, `{"trackedEntities":[],"enrollments":[],"events":[],"relationships":[]}`)
	}
	tests := []struct {
		name, version, want string
		read                func(c *Client) error
	}{
		{"tracked entities", "2.42.5.2", "/api/tracker/trackedEntities?enrollmentStatus=ACTIVE&followUp=true&includeDeleted=true&order=createdAt%3Aasc" +
			"&orgUnitMode=DESCENDANTS&orgUnits=aaaaaaaaaa1%2Caaaaaaaaaa2&page=1&pageSize=500&program=aaaaaaaaaa3&updatedAfter=2026-01-01",
			func(c *Client) error {
				return drain(c.TrackedEntities(t.Context(), TrackedEntityQuery{Program: "aaaaaaaaaa3", OrgUnits: []string{"aaaaaaaaaa1", "aaaaaaaaaa2"},
					OrgUnitMode: OrgUnitModeDescendants, EnrollmentStatus: "ACTIVE", FollowUp: &yes, UpdatedAfter: "2026-01-01", IncludeDeleted: true}))
			}},
		{"tracked entities, 2.41", "2.41.9.1", "/api/tracker/trackedEntities?order=createdAt%3Aasc&page=1&pageSize=500&program=aaaaaaaaaa3&programStatus=ACTIVE",
			func(c *Client) error {
				return drain(c.TrackedEntities(t.Context(), TrackedEntityQuery{Program: "aaaaaaaaaa3", EnrollmentStatus: "ACTIVE"}))
			}},
		{"enrollments", "2.43.1", "/api/tracker/enrollments?page=1&pageSize=1000&program=aaaaaaaaaa3&status=ACTIVE",
			func(c *Client) error {
				return drain(c.Enrollments(t.Context(), EnrollmentQuery{Program: "aaaaaaaaaa3", Status: "ACTIVE"}))
			}},
		{"enrollments, 2.41", "2.41.9.1", "/api/tracker/enrollments?page=1&pageSize=1000&programStatus=ACTIVE",
			func(c *Client) error { return drain(c.Enrollments(t.Context(), EnrollmentQuery{Status: "ACTIVE"})) }},
		{"events", "2.42.5.2", "/api/tracker/events?occurredAfter=2026-01-01&order=createdAt%3Aasc&orgUnit=aaaaaaaaaa1&orgUnitMode=DESCENDANTS&page=1&pageSize=1000&program=aaaaaaaaaa3",
			func(c *Client) error {
				return drain(c.Events(t.Context(), EventQuery{Program: "aaaaaaaaaa3", OrgUnit: "aaaaaaaaaa1", OrgUnitMode: OrgUnitModeDescendants, OccurredAfter: "2026-01-01"}))
			}},
		{"relationships", "2.42.5.2", "/api/tracker/relationships?order=createdAt%3Aasc&page=1&pageSize=1000&trackedEntity=aaaaaaaaaa1",
			func(c *Client) error {
				return drain(c.Relationships(t.Context(), RelationshipQuery{TrackedEntity: "aaaaaaaaaa1"}))
			}},
		{"by id", "2.43.1", "/api/tracker/events?events=aaaaaaaaaa1%2Caaaaaaaaaa2&includeDeleted=true&page=1&pageSize=2&program=aaaaaaaaaa3",
			func(c *Client) error {
				return drain(c.EventsByID(t.Context(), []string{"aaaaaaaaaa1", "aaaaaaaaaa2"}, Lookup{Program: "aaaaaaaaaa3", IncludeDeleted: true}))
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got = ""
			if err := test.read(connect(t, test.version, handler, Options{})); err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("asked\n%s, want\n%s", got, test.want)
			}
		})
	}
}

func drain[T any](items func(func(T, error) bool)) error {
	for _, err := range items {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestImpossibleQueriesAreNotAsked(t *testing.T) {
	c := connect(t, "2.43.1", func(w http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.URL) }, Options{})
	for name, err := range map[string]error{
		"events without program":             drain(c.Events(t.Context(), EventQuery{})),
		"enrollments without program":        drain(c.Enrollments(t.Context(), EnrollmentQuery{})),
		"tracked entities of nothing":        drain(c.TrackedEntities(t.Context(), TrackedEntityQuery{})),
		"relationships of two":               drain(c.Relationships(t.Context(), RelationshipQuery{TrackedEntity: uidOf(1), Event: uidOf(2)})),
		"relationships of nothing":           drain(c.Relationships(t.Context(), RelationshipQuery{IncludeDeleted: true})),
		"a malformed uid among those sought": drain(c.TrackedEntitiesByID(t.Context(), []string{uidOf(1), "../me"}, Lookup{})),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLookupInChunks(t *testing.T) {
	var mu sync.Mutex
	var sizes []int
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		uids := strings.Split(r.URL.Query().Get("trackedEntities"), ",")
		mu.Lock()
		sizes = append(sizes, len(uids))
		mu.Unlock()
		if len(r.URL.RawQuery) > 8000 {
			answerPage(w, 400)
			return
		}
		if len(uids) > 60 {
			answerPage(w, 504)
			return
		}
		found := []map[string]string{}
		for _, uid := range uids {
			if uid != uidOf(7) { // one is not there
				found = append(found, map[string]string{"trackedEntity": uid})
			}
		}
		answerJSON(w, 200, map[string]any{"trackedEntities": found})
	}, Options{})
	got := map[string]bool{}
	for entity, err := range c.TrackedEntitiesByID(t.Context(), wantUIDs(0, 450), Lookup{}) {
		if err != nil {
			t.Fatal(err)
		}
		got[entity.TrackedEntity] = true
	}
	if len(got) != 449 || got[uidOf(7)] {
		t.Errorf("%d found, want 449; asked in %v", len(got), sizes)
	}
}

// TestReadingHoldsPagesNotData reads 200,000 events of a kilobyte each.
func TestReadingHoldsPagesNotData(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 200 MB")
	}
	const total, size = 200000, 1000
	filler := strings.Repeat("x", 1000)
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"pager":{},"events":[`)
		for i := (page - 1) * size; i < min(page*size, total); i++ {
			if i%size > 0 {
				_, _ = io.WriteString(w, ",")
			}
			_, _ = fmt.Fprintf(w, `{"event":"%s","dataValues":[{"dataElement":"%s","value":"%s"}]}`, uidOf(i), uidOf(1), filler)
		}
		_, _ = io.WriteString(w, `]}`)
	}, Options{})
	var peak uint64
	count := 0
	for _, err := range c.Events(t.Context(), EventQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count%10000 == 0 {
			runtime.GC()
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			peak = max(peak, memory.HeapAlloc)
		}
	}
	if count != total {
		t.Errorf("%d events, want %d", count, total)
	}
	t.Logf("%d MB held at most", peak>>20)
	if most := uint64(20 << 20); peak > most {
		t.Errorf("%d MB held, want at most %d", peak>>20, most>>20)
	}
}

func TestSilenceShrinksPages(t *testing.T) {
	server := &population{total: 30}
	release := make(chan struct{})
	server.answer = func(w http.ResponseWriter, page, size int) bool {
		if size > 5 {
			<-release
			return true
		}
		return false
	}
	options := newClock().options()
	options.RequestTimeout = 30 * time.Millisecond
	c := connect(t, "2.42.5.2", server.handle, options)
	t.Cleanup(func() { close(release) })
	got, err := readEvents(t, c, EventQuery{Paging: Paging{PageSize: 10}})
	if err != nil || len(got) != 30 {
		t.Errorf("%d events, %v", len(got), err)
	}
}

func TestMetadataListEndsWithItsPager(t *testing.T) {
	asked := 0
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		asked++
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		page = min(page, 3) // DHIS2 gives the last page again to who asks beyond it
		answerJSON(w, 200, map[string]any{
			"pager":             map[string]int{"page": page, "pageCount": 3, "total": 5, "pageSize": 2},
			"organisationUnits": []map[string]any{{"id": uidOf(page * 2), "name": "Clinic"}, {"id": uidOf(page*2 + 1)}}[:2-page/3],
		})
	}, Options{})
	var got []string
	for unit, err := range ListAs[Ref](t.Context(), c, "organisationUnits", ListQuery{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, unit.ID)
	}
	if diff := cmp.Diff([]string{uidOf(2), uidOf(3), uidOf(4), uidOf(5), uidOf(6)}, got); diff != "" || asked != 3 {
		t.Errorf("asked %d times: %s", asked, diff)
	}
}

func TestAnswersOfAnotherShape(t *testing.T) {
	for _, body := range []string{`[]`, `{"instances":[]}`, `{"events":{}}`, `{"events":[{"event":7}]}`, `"x"`} {
		c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, body) }, Options{})
		if _, err := readEvents(t, c, EventQuery{}); !errors.Is(err, errFormat) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// FuzzEachOf holds the walk over an answer to what decoding it whole gives.
func FuzzEachOf(f *testing.F) {
	for _, seed := range []string{`{"events":[{"event":"a"},{"event":"b"}],"page":1}`, `{"page":{"x":[1]},"events":null}`, `{}`, `{"events":[`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var items []Event
		found, err := eachOf(json.NewDecoder(strings.NewReader(body)), "events", nil, func(event *Event) bool {
			items = append(items, *event)
			return true
		})
		var whole map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &whole) != nil || err != nil || strings.Count(body, "vents\"") > 1 || strings.Contains(body, `\`) {
			return
		}
		raw, present := whole["events"]
		if present != found {
			t.Fatalf("found %v, present %v", found, present)
		}
		var want []Event
		if present && json.Unmarshal(raw, &want) == nil && len(want) != len(items) {
			t.Errorf("%d items, want %d", len(items), len(want))
		}
	})
}
