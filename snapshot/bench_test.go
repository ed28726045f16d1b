package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

const (
	// benchRounds is how often two ways are tried in turn; what counts is the median of their ratios.
	benchRounds = 3
	// benchParallel is the number of pages that a Client reads, and of batches that Load sends, at the same time.
	benchParallel = 2
)

// requests remembers what is asked of a server.
type requests struct {
	mu    sync.Mutex
	sent  []sentRequest
	quiet bool // remember nothing more
}

type sentRequest struct {
	method, url string
	body        []byte
}

func (r *requests) RoundTrip(request *http.Request) (*http.Response, error) {
	r.mu.Lock()
	quiet := r.quiet
	r.mu.Unlock()
	if quiet {
		return http.DefaultTransport.RoundTrip(request)
	}
	sent := sentRequest{method: request.Method, url: request.URL.String()}
	if request.Body != nil {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		sent.body = body
		request = request.Clone(request.Context())
		request.Body = io.NopCloser(bytes.NewReader(body))
	}
	r.mu.Lock()
	r.sent = append(r.sent, sent)
	r.mu.Unlock()
	return http.DefaultTransport.RoundTrip(request)
}

// BenchmarkExport takes a program from a server, and downloads the very pages that this asks for with as many loops of
// curl at the same time, in turn. The ratio is of patients a second.
func BenchmarkExport(b *testing.B) { benchServers(b, "FIELDKIT_BENCH_CENTRAL", benchmarkExport) }

func benchmarkExport(b *testing.B, url string) {
	patients, rounds := benchNumber("FIELDKIT_BENCH_PATIENTS", 6000), benchNumber("FIELDKIT_BENCH_ROUNDS", benchRounds)
	marker := benchMarker(int(time.Now().Unix() % 676))
	register(b, benchClient(b, url, nil), marker, patients)
	keys := benchKeys(b)
	take := func(client *dhis2api.Client, answers *Answers) time.Duration {
		s, took := benchTake(b, client, answers, keys, nil)
		if taken := s.manifest.Objects(Taken, TrackedEntities); taken < int64(patients) {
			b.Fatalf("%d patients taken of %d", taken, patients)
		}
		return took
	}
	asked := &requests{}
	take(benchTaker(b, url, asked))
	pages := asked.pages()
	cookies := loggedIn(b, url)
	download(b, cookies, pages)
	client, answers := benchTaker(b, url, nil)
	for b.Loop() {
		var ratios, rates, curls []float64
		for round := range rounds {
			var ours, theirs time.Duration
			if round%2 == 0 {
				ours, theirs = take(client, answers), download(b, cookies, pages)
			} else {
				theirs, ours = download(b, cookies, pages), take(client, answers)
			}
			b.Logf("take %v, curl %v", ours.Round(time.Millisecond), theirs.Round(time.Millisecond))
			ratios = append(ratios, float64(theirs)/float64(ours))
			rates, curls = append(rates, float64(patients)/ours.Seconds()), append(curls, float64(patients)/theirs.Seconds())
		}
		b.ReportMetric(median(ratios), "ratio")
		b.ReportMetric(median(rates), "patients/s")
		b.ReportMetric(median(curls), "curl-patients/s")
	}
}

// register gives a server a crowd of patients.
func register(b *testing.B, client *dhis2api.Client, marker string, patients int) {
	b.Helper()
	for numbers := range slices.Chunk(slices.Collect(count(patients)), 500) {
		var payload dhis2api.TrackerPayload
		for _, n := range numbers {
			payload.TrackedEntities = append(payload.TrackedEntities, benchPatient(marker, n))
		}
		report, err := client.Import(b.Context(), payload, importOptions())
		if err != nil || len(report.Errors) > 0 {
			b.Fatalf("register patients: %v %+v", err, report)
		}
	}
}

func count(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// pages are the addresses of whole records that were asked for, those behind the last included.
func (r *requests) pages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet = true
	var pages []string
	for _, sent := range r.sent {
		if sent.method == http.MethodGet && strings.Contains(sent.url, "/api/tracker/trackedEntities?") && strings.Contains(sent.url, "dataValues") {
			pages = append(pages, sent.url)
		}
	}
	return pages
}

// loggedIn is a file with the cookies of a session, as curl reads it.
func loggedIn(b *testing.B, url string) string {
	b.Helper()
	cookies := filepath.Join(b.TempDir(), "cookies")
	login := exec.CommandContext(b.Context(), "curl", "-sSf", "-o", os.DevNull, "-u", "admin:district", "-c", cookies, url+"/api/me?fields=id")
	if out, err := login.CombinedOutput(); err != nil {
		b.Fatalf("curl: %v\n%s", err, out)
	}
	return cookies
}

// download gets pages with as many loops of curl as Take reads pages at a time, and throws them away.
func download(b *testing.B, cookies string, pages []string) time.Duration {
	b.Helper()
	loops := make([]string, benchParallel)
	for i, page := range pages {
		loops[i%benchParallel] += fmt.Sprintf("curl -sSf --compressed -o /dev/null -b '%s' '%s' || exit 1\n", cookies, page)
	}
	began := time.Now()
	inParallel(b, loops, func(ctx context.Context, loop string) error {
		if out, err := exec.CommandContext(ctx, "sh", "-c", loop).CombinedOutput(); err != nil {
			return fmt.Errorf("curl: %w: %s", err, out)
		}
		return nil
	})
	return time.Since(began)
}

func inParallel[T any](b *testing.B, work []T, do func(context.Context, T) error) {
	b.Helper()
	errs := make(chan error, len(work))
	for _, one := range work {
		go func() { errs <- do(b.Context(), one) }()
	}
	for range work {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoad loads a snapshot into a server, and posts the very batches that this sends with as many posters and
// nothing else, in turn; each time the patients are others. The ratio is of patients a second.
func BenchmarkLoad(b *testing.B) { benchServers(b, "FIELDKIT_BENCH_LOCAL", benchmarkLoad) }

func benchmarkLoad(b *testing.B, url string) {
	patients, rounds := benchNumber("FIELDKIT_BENCH_PATIENTS", 6000), benchNumber("FIELDKIT_BENCH_ROUNDS", benchRounds)
	keys := benchKeys(b)
	start := int(time.Now().Unix()) % 20 * 30
	load := func(client *dhis2api.Client, marker string) time.Duration {
		s, w := written(b, keys, marker, patients)
		began := time.Now()
		receipt, err := Load(b.Context(), s, client, w, LoadOptions{Progress: func(LoadProgress) {}})
		if err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		for kind, count := range receipt.Counts {
			if count.Loaded != count.Taken || count.Relaxed > 0 {
				b.Fatalf("%s: %+v %+v", kind, count, receipt.Refused[:min(3, len(receipt.Refused))])
			}
		}
		return took
	}
	first := benchMarker(start)
	sent := &requests{}
	load(benchClient(b, url, sent), first)
	batches := sent.batches()
	poster := newPoster(b, url)
	post := func(marker string) time.Duration {
		var mine []sentRequest
		for _, batch := range batches {
			batch.body = bytes.ReplaceAll(batch.body, []byte(first), []byte(marker))
			mine = append(mine, batch)
		}
		return poster.post(b, mine)
	}
	post(benchMarker(start + 1))
	client := benchClient(b, url, nil)
	for b.Loop() {
		var ratios, rates, raws []float64
		for round := range rounds {
			var ours, theirs time.Duration
			one, other := benchMarker(start+2+2*round), benchMarker(start+3+2*round)
			if round%2 == 0 {
				ours, theirs = load(client, one), post(other)
			} else {
				theirs, ours = post(one), load(client, other)
			}
			b.Logf("load %v, raw %v", ours.Round(time.Millisecond), theirs.Round(time.Millisecond))
			ratios = append(ratios, float64(theirs)/float64(ours))
			rates, raws = append(rates, float64(patients)/ours.Seconds()), append(raws, float64(patients)/theirs.Seconds())
		}
		b.ReportMetric(median(ratios), "ratio")
		b.ReportMetric(median(rates), "patients/s")
		b.ReportMetric(median(raws), "raw-patients/s")
	}
}

// written is a snapshot with a crowd of patients, and a writer for its loaded face.
func written(b *testing.B, keys *Keys, marker string, patients int) (*Snapshot, *Writer) {
	b.Helper()
	directory := b.TempDir()
	about := benchAbout()
	w, err := OpenWriter(directory, Taken, keys, about, WriterOptions{Now: testClock()})
	if err != nil {
		b.Fatal(err)
	}
	for numbers := range slices.Chunk(slices.Collect(count(patients)), partTrackedEntities) {
		batch := w.Batch("patients")
		for _, n := range numbers {
			if err := batch.Add(TrackedEntities, Subject{Program: benchProgram}, benchPatient(marker, n)); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Commit("", true); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		b.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		b.Fatal(err)
	}
	loaded, err := OpenWriter(directory, Loaded, keys, about, WriterOptions{Now: testClock()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = loaded.Close() })
	return s, loaded
}

// batches are the imports that were sent.
func (r *requests) batches() []sentRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet = true
	return slices.DeleteFunc(slices.Clone(r.sent), func(sent sentRequest) bool {
		return sent.method != http.MethodPost || !strings.Contains(sent.url, "/api/tracker?")
	})
}

// poster posts and reads the answers, no more.
type poster struct{ client *http.Client }

func newPoster(b *testing.B, url string) poster {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	p := poster{client: &http.Client{Jar: jar}}
	login, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url+"/api/me?fields=id", nil)
	if err != nil {
		b.Fatal(err)
	}
	login.SetBasicAuth("admin", "district")
	if err := p.send(login); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p poster) send(request *http.Request) error {
	request.Header.Set("X-Requested-With", "XMLHttpRequest")
	answer, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.300s", request.Method, request.URL.Path, answer.Status, content)
	}
	return err
}

// post sends batches, each by whichever poster is free.
func (p poster) post(b *testing.B, batches []sentRequest) time.Duration {
	b.Helper()
	queue := make(chan sentRequest, len(batches))
	for _, batch := range batches {
		queue <- batch
	}
	close(queue)
	began := time.Now()
	inParallel(b, make([]struct{}, benchParallel), func(ctx context.Context, _ struct{}) error {
		for batch := range queue {
			request, err := http.NewRequestWithContext(ctx, batch.method, batch.url, bytes.NewReader(batch.body))
			if err != nil {
				return err
			}
			request.Header.Set("Content-Type", "application/json")
			if err := p.send(request); err != nil {
				return err
			}
		}
		return nil
	})
	return time.Since(began)
}
