// Command dhis2sim runs a simulated DHIS2 server, for trying things out and for tests in other languages.
//
// It starts as a fresh server does, with the account admin/district, and keeps everything in memory.
package main

import (
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
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
)

const usage = `Usage: dhis2sim [flags]

Runs a simulated DHIS2 server in memory, fresh: admin/district, no metadata. It prints the address when it
is ready and ends on SIGINT or SIGTERM.

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
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(2) //nolint:gocritic // stop is called
	case err != nil:
		fmt.Fprintln(os.Stderr, "dhis2sim:", err)
		stop()
		os.Exit(1)
	}
}

// errUsage is a command line that cannot be understood.
var errUsage = errors.New("see dhis2sim --help")

// run serves until ctx ends.
func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("dhis2sim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
		fmt.Fprint(stderr, faultUsage)
	}
	listen := flags.String("listen", "127.0.0.1:8099", "`address` to listen on; port 0 takes a free one")
	version := flags.String("version", "2.42.5.2", "DHIS2 `version` to behave as: 2.41, 2.42 or 2.43")
	zone := flags.String("zone", "UTC", "time `zone` of the server, such as America/Panama")
	seed := flags.String("seed", "", "metadata `file` (JSON) to import before the first request")
	latency := flags.Duration("latency", 0, "`time` that every answer takes at least")
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: %w", flags.Arg(0), errUsage)
	}
	location, err := time.LoadLocation(*zone)
	if err != nil {
		return fmt.Errorf("zone %q: %w", *zone, err)
	}
	sim, err := dhis2sim.New(dhis2sim.Options{Version: *version, Zone: location})
	if err != nil {
		return err
	}
	if *seed != "" {
		file, err := os.Open(*seed)
		if err != nil {
			return err
		}
		err = sim.Seed(file)
		_ = file.Close() // only read
		if err != nil {
			return fmt.Errorf("seed %s: %w", *seed, err)
		}
	}
	if *latency > 0 {
		sim.Inject(dhis2sim.Fault{Delay: *latency})
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	control := &control{sim: sim}
	mux.HandleFunc("POST /sim/faults", control.inject)
	mux.HandleFunc("DELETE /sim/faults", control.reset)
	mux.HandleFunc("GET /sim/requests", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(sim.Requests()) })
	mux.Handle("/", sim)
	return serve(ctx, listener, mux, stdout)
}

// serve serves until ctx ends; running requests get a few seconds then.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, stdout io.Writer) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "http://%s\n", listener.Addr())
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(patience)
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
