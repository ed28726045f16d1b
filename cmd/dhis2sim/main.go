// Command dhis2sim runs a simulated DHIS2 server, for trying things out and for tests in other languages.
//
// It starts as a fresh server does, with the account admin/district, and keeps everything in memory, or in a PostgreSQL database.
// With a home directory it stands in for the program of the image dhis2/core: it reads dhis.conf there, and binds its port long
// before it answers.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
	_ "time/tzdata" // the image has no zones of its own

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
)

const usage = `Usage: dhis2sim [flags]

Runs a simulated DHIS2 server, fresh: admin/district, no metadata. It prints the address when it is ready and
ends on SIGINT or SIGTERM. It keeps everything in memory, unless a database is named.

With -home it is started as the program of the image dhis2/core is: database and password from dhis.conf, the
zone from -Duser.timezone in JAVA_TOOL_OPTIONS, the log on standard output, status 143 after SIGTERM.

Flags:
`

const faultUsage = `
Faults: POST /sim/faults (no credentials) with JSON such as
  {"method": "POST", "path": "^/api/tracker$", "times": 2, "status": 502, "body": "<html>Bad Gateway</html>"}
method and path (a regular expression) choose the requests, both may be left out; times 0 is for ever.
What happens: "delay" ("2s"); "status" with "body", "contentType" and "retryAfter" ("5s"); "loginPage";
"cutBefore" or "cutAfter" (the connection, before or after the work is done); "truncate" (half an answer).
DELETE /sim/faults removes them all. GET /sim/requests counts the requests seen by "METHOD path".
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(2) //nolint:gocritic // stop is called
	case errors.Is(err, errTerminated):
		stop()
		os.Exit(143)
	case err != nil:
		fmt.Fprintln(os.Stderr, "dhis2sim:", err)
		stop()
		os.Exit(1)
	}
}

// errUsage is a command line that cannot be understood.
var errUsage = errors.New("see dhis2sim --help")

// errTerminated is the end of a stand-in that was told to stop, as Java ends.
var errTerminated = errors.New("terminated")

// settings are what the command line, the environment and dhis.conf say.
type settings struct {
	listen, seed  string
	home          string
	database      dhis2sim.Database
	version       string
	zone          *time.Location
	latency, boot time.Duration
	clock         time.Duration // how far the server's clock is off
}

// parse reads the command line; getenv looks into the environment.
func parse(arguments []string, getenv func(string) string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("dhis2sim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
		fmt.Fprint(stderr, faultUsage)
	}
	flags.StringVar(&s.listen, "listen", "", "`address` to listen on; port 0 takes a free one (127.0.0.1:8099; :8080 with -home)")
	flags.StringVar(&s.version, "version", cmp.Or(getenv("DHIS2SIM_VERSION"), "2.42.5.2"), "DHIS2 `version` to behave as: 2.41, 2.42 or 2.43; env DHIS2SIM_VERSION")
	zone := flags.String("zone", cmp.Or(javaProperty(getenv("JAVA_TOOL_OPTIONS"), "user.timezone"), "UTC"), "time `zone` of the server, such as America/Panama")
	flags.StringVar(&s.seed, "seed", "", "metadata `file` (JSON) to import before the first request")
	flags.DurationVar(&s.latency, "latency", 0, "`time` that every answer takes at least")
	flags.StringVar(&s.database.URL, "database", "", "PostgreSQL `URL` (postgres://user:password@host:port/name) to keep the data in")
	flags.StringVar(&s.home, "home", "", "`directory` with dhis.conf, which names the database; files are kept there")
	boot := flags.String("boot", getenv("DHIS2SIM_BOOT"), "`time` that the start takes at least (2s with -home); env DHIS2SIM_BOOT")
	clock := flags.String("clock", getenv("DHIS2SIM_CLOCK"), "how far off the server's clock is, a `duration` such as -262800h; env DHIS2SIM_CLOCK")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errUsage
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: %w", flags.Arg(0), errUsage)
	}
	if s.home != "" {
		if *boot == "" {
			*boot = "2s"
		}
		s.listen = cmp.Or(s.listen, ":8080")
		s.database.Files = filepath.Join(s.home, "files")
	}
	s.listen = cmp.Or(s.listen, "127.0.0.1:8099")
	var err error
	if s.boot, err = duration(*boot); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	if s.clock, err = duration(*clock); err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	if s.zone, err = time.LoadLocation(*zone); err != nil {
		return nil, fmt.Errorf("zone %q: %w", *zone, err)
	}
	if s.home != "" && s.database.URL == "" {
		s.database.URL, err = databaseOf(filepath.Join(s.home, "dhis.conf"), getenv)
	}
	return s, err
}

// run serves until ctx ends.
func run(ctx context.Context, arguments []string, getenv func(string) string, stdout, stderr io.Writer) error {
	s, err := parse(arguments, getenv, stderr)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return err
	}
	log := &bootLog{stdout: stdout, quiet: s.home == "", now: s.now}
	log.line("org.apache.coyote.AbstractProtocol.init", `Initializing ProtocolHandler ["http-nio-8080"]`)
	log.line("org.apache.catalina.core.StandardService.startInternal", "Starting service [Catalina]")
	gate := &gate{ready: make(chan struct{})}
	server := &http.Server{Handler: gate, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() { _ = server.Close() }() // nothing is left to close after an orderly end

	begun := time.Now()
	sim, err := start(ctx, s, stderr)
	if err != nil {
		return err
	}
	defer sim.Close()
	select {
	case <-time.After(s.boot - time.Since(begun)):
	case <-ctx.Done():
	}
	log.line("org.hisp.dhis.system.startup.DefaultStartupRoutineExecutor", "All startup routines done")
	log.line("org.apache.coyote.AbstractProtocol.start", `Starting ProtocolHandler ["http-nio-8080"]`)
	log.line("org.apache.catalina.startup.Catalina.start", fmt.Sprintf("Server startup in [%d] milliseconds", time.Since(begun).Milliseconds()))
	gate.open(handler(sim))
	if s.home == "" {
		fmt.Fprintf(stdout, "http://%s\n", listener.Addr())
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = server.Shutdown(patience)
	if err == nil && s.home != "" {
		return errTerminated
	}
	return err
}

// now is the server's clock.
func (s *settings) now() time.Time { return time.Now().Add(s.clock).In(s.zone) }

// start makes the server.
func start(ctx context.Context, s *settings, stderr io.Writer) (*dhis2sim.Server, error) {
	options := dhis2sim.Options{Version: s.version, Zone: s.zone, Now: s.now, Trouble: func(err error) { fmt.Fprintln(stderr, "dhis2sim:", err) }}
	var sim *dhis2sim.Server
	var err error
	if s.database.URL != "" {
		sim, err = dhis2sim.Open(ctx, options, s.database)
	} else {
		sim, err = dhis2sim.New(options)
	}
	if err != nil {
		return nil, err
	}
	if s.seed != "" {
		file, err := os.Open(s.seed)
		if err != nil {
			return nil, err
		}
		err = sim.Seed(ctx, file)
		_ = file.Close() // only read
		if err != nil {
			return nil, fmt.Errorf("seed %s: %w", s.seed, err)
		}
	}
	if s.latency > 0 {
		sim.Inject(dhis2sim.Fault{Delay: s.latency})
	}
	return sim, nil
}

// handler serves the server and, beside it, the control of its faults.
func handler(sim *dhis2sim.Server) http.Handler {
	mux := http.NewServeMux()
	control := &control{sim: sim}
	mux.HandleFunc("POST /sim/faults", control.inject)
	mux.HandleFunc("DELETE /sim/faults", control.reset)
	mux.HandleFunc("GET /sim/requests", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(sim.Requests()) })
	mux.Handle("/", sim)
	return mux
}

// control injects and removes faults.
type control struct {
	sim    *dhis2sim.Server
	mu     sync.Mutex
	remove []func()
}

// reset removes all faults that were asked for by HTTP.
func (c *control) reset(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, remove := range c.remove {
		remove()
	}
	c.remove = nil
	w.WriteHeader(http.StatusNoContent)
}

func (c *control) inject(w http.ResponseWriter, r *http.Request) {
	var wanted struct {
		Method, Path        string
		Times, Status       int
		Delay, RetryAfter   string
		Body, ContentType   string
		LoginPage, Truncate bool
		CutBefore, CutAfter bool
	}
	if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	path, err := regexp.Compile(wanted.Path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fault := dhis2sim.Fault{
		Match: func(r *http.Request) bool {
			return (wanted.Method == "" || wanted.Method == r.Method) && path.MatchString(r.URL.Path)
		},
		Times: wanted.Times, Status: wanted.Status, Body: wanted.Body, ContentType: wanted.ContentType, LoginPage: wanted.LoginPage,
		CutBefore: wanted.CutBefore, CutAfter: wanted.CutAfter, Truncate: wanted.Truncate,
	}
	if fault.Delay, err = duration(wanted.Delay); err == nil {
		fault.RetryAfter, err = duration(wanted.RetryAfter)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove = append(c.remove, c.sim.Inject(fault))
	w.WriteHeader(http.StatusNoContent)
}

// duration reads a duration, 0 when it is left out.
func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}
