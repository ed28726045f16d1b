package snapshot

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// The benchmarks measure against a simulated server in a process of its own, twice: as fast as it can, which no DHIS2
// is, and at the pace of a DHIS2 2.42 on two cores. Where FIELDKIT_BENCH_CENTRAL and FIELDKIT_BENCH_LOCAL name servers
// to play with (account admin:district), they measure against those: they are given the clinic's metadata and as many
// patients as it takes.

const (
	benchProgram = "xIkcI00xjZE"
	benchRoot    = "zDtBfyIHGje"
)

// benchNumber is a number from the environment.
func benchNumber(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// The pace of a DHIS2 2.42.5.2 on two cores that answers two requests at a time: whole patients, of 6.1 KB here, 658 a
// second, and new ones of five objects in batches of 200, 687 a second.
const (
	exportPace = 658 * 6.1e3 / 2
	importPace = 687 * 3.4e3 / 2
)

// benchServers runs a benchmark for each server that there is to measure against: that which the variable names, or
// simulated ones.
func benchServers(b *testing.B, variable string, run func(b *testing.B, url string)) {
	b.Helper()
	if url := os.Getenv(variable); url != "" {
		b.Run("server", func(b *testing.B) { run(b, clinicServer(b, url)) })
		return
	}
	b.Run("paced", func(b *testing.B) { run(b, paced(b, clinicServer(b, simulatedProcess(b)))) })
	b.Run("unpaced", func(b *testing.B) { run(b, clinicServer(b, simulatedProcess(b))) })
}

// paced is the address under which a server takes and gives no more bytes a second, each request by itself, than a
// DHIS2 does.
func paced(b *testing.B, address string) string {
	b.Helper()
	target, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // cookies and links stay those of the address that was asked
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(answer *http.Response) error {
			answer.Body = &pacedBody{ReadCloser: answer.Body, began: time.Now()}
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(float64(max(0, r.ContentLength)) / importPace * float64(time.Second)))
		proxy.ServeHTTP(w, r)
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// pacedBody is an answer that takes its time.
type pacedBody struct {
	io.ReadCloser
	began time.Time
	read  int64
}

func (p *pacedBody) Read(into []byte) (int, error) {
	n, err := p.ReadCloser.Read(into)
	p.read += int64(n)
	due := time.Duration(float64(p.read) / exportPace * float64(time.Second))
	time.Sleep(due - time.Since(p.began))
	return n, err
}

// clinicServer gives the server at an address the clinic's metadata, and returns the address.
func clinicServer(b *testing.B, url string) string {
	b.Helper()
	client := benchClient(b, url, nil)
	metadata, err := os.ReadFile("../dhis2api/testdata/clinic/metadata.json")
	if err != nil {
		b.Fatal(err)
	}
	report, err := client.ImportMetadata(b.Context(), bytes.NewReader(metadata), dhis2api.MetadataImportOptions{})
	if err != nil || len(report.Problems) > 0 {
		b.Fatalf("clinic metadata: %v %+v", err, report)
	}
	me, err := client.Me(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	units := []string{benchRoot}
	if err := client.SetUserUnits(b.Context(), me.ID, dhis2api.UserUnits{Capture: units, View: units, Search: units}); err != nil {
		b.Fatal(err)
	}
	return url
}

// simulatedProcess runs the simulated server as a program of its own, so that its work is not in our process, and
// returns its address.
func simulatedProcess(b *testing.B) string {
	b.Helper()
	program := filepath.Join(b.TempDir(), "dhis2sim")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, "../cmd/dhis2sim").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	server := exec.CommandContext(ctx, program, "-listen", "127.0.0.1:0")
	out, err := server.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	server.Stderr = server.Stdout
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cancel()
		_ = server.Wait() // killed: that is the point
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(lines.Text()); url != "" {
			return url
		}
	}
	b.Fatal("the simulated server said no address")
	return ""
}

// benchClient is a client with a session of its own whose requests go through transport, unless that is nil.
func benchClient(b *testing.B, url string, transport http.RoundTripper) *dhis2api.Client {
	b.Helper()
	options := dhis2api.Options{}
	if transport != nil {
		options.HTTPClient = &http.Client{Transport: transport}
	}
	client, err := dhis2api.Connect(b.Context(), url, dhis2api.Credentials{Username: "admin", Password: "district"}, options)
	if err != nil {
		b.Fatal(err)
	}
	return client
}

// benchTaker is a client as prepare uses it: it remembers what the server answers until it is settled.
func benchTaker(b *testing.B, url string, transport http.RoundTripper) (*dhis2api.Client, *Answers) {
	b.Helper()
	var answers *Answers
	options := dhis2api.Options{Through: func(next http.RoundTripper) http.RoundTripper {
		answers = NewAnswers(next)
		return answers
	}}
	if transport != nil {
		options.HTTPClient = &http.Client{Transport: transport}
	}
	client, err := dhis2api.Connect(b.Context(), url, dhis2api.Credentials{Username: "admin", Password: "district"}, options)
	if err != nil {
		b.Fatal(err)
	}
	return client, answers
}

// benchTake takes the clinic's programme as prepare does.
func benchTake(b *testing.B, client *dhis2api.Client, answers *Answers, keys *Keys, before *Snapshot) (*Snapshot, time.Duration) {
	b.Helper()
	directory := b.TempDir()
	w, err := OpenWriter(directory, Taken, keys, benchAbout(), WriterOptions{Now: testClock()})
	if err != nil {
		b.Fatal(err)
	}
	if err := answers.Open(w); err != nil {
		b.Fatal(err)
	}
	defer answers.Close()
	began := time.Now()
	if err := Take(b.Context(), client, w, TakeOptions{Before: before, Progress: func(Progress) {}, Settled: answers.ForgetRecords}); err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	if err := w.Finish(); err != nil {
		b.Fatal(err)
	}
	s, err := Open(directory, keys)
	if err != nil {
		b.Fatal(err)
	}
	return s, took
}

// benchMarker marks the uids and the unique values of one crowd of patients, so that the same crowd can be had again
// under other uids.
func benchMarker(n int) string { return fmt.Sprintf("Q%cv%c", 'a'+n/26, 'a'+n%26) }

// benchPatient is a patient of the clinic as a visit leaves one: enrolled, seen at three stations. Tablets send along when
// each object was made and changed there.
func benchPatient(marker string, n int) *dhis2api.TrackedEntity {
	uid := func(kind string) string { return kind + marker + scattered(kind, n) }
	units := []string{"P1J4eyjXQeT", "pt1tlNJMGea", "NAcHEVPrf2A", "YHa4SyAIFQk"}
	unit := units[n%len(units)]
	person := uid("P")
	// Some day of a year, to the millisecond.
	clock := func(kind string) string {
		sum := sha256.Sum256(fmt.Append(nil, "clock", kind, n))
		return time.UnixMilli(1759363200000 + int64(binary.BigEndian.Uint64(sum[:])%(300*24*3600*1000))).UTC().Format("2006-01-02T15:04:05.000")
	}
	event := func(kind, stage string, values ...string) *dhis2api.Event {
		e := &dhis2api.Event{
			Event: uid(kind), Program: benchProgram, ProgramStage: stage, Enrollment: uid("N"), TrackedEntity: person, OrgUnit: unit,
			Status: "COMPLETED", OccurredAt: "2026-10-02T00:00:00.000", CompletedAt: "2026-10-02T00:00:00.000",
			CreatedAtClient: clock(kind), UpdatedAtClient: clock(kind + "again"),
		}
		for pair := range slices.Chunk(values, 2) {
			e.DataValues = append(e.DataValues, dhis2api.EventDataValue{DataElement: pair[0], Value: pair[1]})
		}
		return e
	}
	var notes []dhis2api.Note
	if n%5 == 0 {
		notes = []dhis2api.Note{{Note: uid("M"), Value: "Came by boat"}}
	}
	return &dhis2api.TrackedEntity{
		TrackedEntity: person, TrackedEntityType: "ig1m3E2NSOb", OrgUnit: unit, CreatedAtClient: clock("P"), UpdatedAtClient: clock("Pagain"),
		Attributes: []dhis2api.Attribute{
			{Attribute: "GoX1JP83DWF", Value: "Ana " + scattered("first", n)}, {Attribute: "k0aoyOGu3L2", Value: "Ábrego " + scattered("last", n%97)},
			{Attribute: "cHsNSVWvjuJ", Value: fmt.Sprintf("19%02d-02-03", n%80+10)}, {Attribute: "roHIpaSBGyX", Value: fmt.Sprintf("SEX_%d", n%3+1)},
			{Attribute: "QSE0SDVStuG", Value: marker + scattered("id", n)}, {Attribute: "AxEFHTvb07i", Value: fmt.Sprintf("+507%08d", n)},
			{Attribute: "aCvpmbJNoty", Value: "Río Caña"},
		},
		Enrollments: []*dhis2api.Enrollment{{
			Enrollment: uid("N"), TrackedEntity: person, Program: benchProgram, OrgUnit: unit, Status: "ACTIVE",
			EnrolledAt: "2026-10-02T00:00:00.000", OccurredAt: "2026-10-02T00:00:00.000", CreatedAtClient: clock("N"), UpdatedAtClient: clock("Nagain"),
			Notes: notes,
			Events: []*dhis2api.Event{
				event("E", "m9JW68Avdyx", "SHUMZIdrf6Y", fmt.Sprintf("%d.5", 40+n%50), "J837zyhoZKy", "163", "z0yQ1hh25FC", "36.5",
					"dfEWQ3KY64w", "120", "JahFmUbR8od", fmt.Sprintf("TRIAGE_%d", n%3+1)),
				event("F", "nZrv0BgEY2b", "lEZ8ezLq03e", fmt.Sprintf("DX_%d", n%10+1), "mVXpUJrUGop", "Cough for a week, no fever; lungs clear.",
					"Gb6YVv2JBte", "false", "MYywn1OKDan", "2026-11-02"),
				event("G", "VjWz0burhoQ", "ML7ZbiVLLpZ", fmt.Sprintf("MED_%d", n%10+1), "Scv6YvzhSPX", "20", "dLHlQZa1tWd", "true"),
			},
		}},
	}
}

// scattered are six characters as of a uid: like those of servers they cannot be compressed.
func scattered(kind string, n int) string {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	sum := sha256.Sum256(fmt.Append(nil, kind, n))
	for i := range 6 {
		sum[i] = characters[int(sum[i])%len(characters)]
	}
	return string(sum[:6])
}

// benchAbout is about the clinic's programme and nothing else.
func benchAbout() About {
	return About{
		Scope: &Scope{
			Wanted:   Wanted{OrgUnits: []string{benchRoot}},
			OrgUnits: []OrgUnit{{ID: benchRoot, Name: "Panamá", Path: "/" + benchRoot, Level: 1}},
			Programs: []Program{{ID: benchProgram, Name: "Mobile clinic visit", Type: WithRegistration, TrackedEntityType: "ig1m3E2NSOb"}},
		},
		Account: "admin",
	}
}

// benchKeys are keys that open what they wrote.
func benchKeys(b *testing.B) *Keys {
	b.Helper()
	keys, _, err := WritingKeys(b.TempDir(), KeyOptions{Getenv: func(string) string { return "" }, ConfigDirectory: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	return keys
}

// median of some figures; they are sorted by it.
func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
}
