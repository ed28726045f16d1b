package orchestrator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/compose"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
)

const (
	stackVersion  = "2.42.5.2"
	stackDHIS2    = "dhis2/core:" + stackVersion
	stackPostgres = "ghcr.io/baosystems/postgis:16-3.5"
)

// imaginedEngine is a Docker engine that runs nothing: where its DHIS2 would be, a simulated one answers.
type imaginedEngine struct {
	t        *testing.T
	machine  *imaginedMachine
	info     compose.EngineInfo
	images   map[string]compose.Image
	archive  map[string]compose.ArchivedImage
	damaged  bool // the archive
	fails    error
	projects map[string]*imaginedProject
	// did is everything that changed something.
	did []string
}

// imaginedProject is a stack of an imagined engine.
type imaginedProject struct {
	data    bool // its volumes are there
	running bool
	open    bool
	dhis2   compose.ServiceState
}

func (e *imaginedEngine) Info(context.Context) (compose.EngineInfo, error) { return e.info, nil }
func (e *imaginedEngine) Close() error                                     { return nil }

// project reads a stack's name and whether it is open from what it would export.
func (e *imaginedEngine) project(stack *compose.Stack) (name string, open bool) {
	var b bytes.Buffer
	if err := stack.Export(&b); err != nil {
		e.t.Fatal(err)
	}
	_, after, _ := strings.Cut(b.String(), "\nname: ")
	name, _, _ = strings.Cut(after, "\n")
	return name, strings.Contains(b.String(), "published:")
}

func (e *imaginedEngine) Up(_ context.Context, stack *compose.Stack, tell func(string)) (bool, error) {
	name, open := e.project(stack)
	p := e.projects[name]
	if p == nil {
		p = &imaginedProject{}
		e.projects[name] = p
	}
	if p.running && p.open == open {
		return false, nil
	}
	for _, image := range stack.Images() {
		if _, there := e.images[image]; !there {
			return false, fmt.Errorf("%s: %w", image, compose.ErrNoImage)
		}
	}
	e.did = append(e.did, fmt.Sprintf("up, open: %t", open))
	if !p.data {
		e.machine.fresh(e.t)
	}
	p.data = true
	if err := e.fails; err != nil {
		e.fails = nil
		return true, err
	}
	tell("creating postgres")
	e.machine.clock.Add(int64(100 * time.Millisecond))
	tell("waiting for postgres")
	e.machine.clock.Add(int64(40 * time.Second))
	tell("starting dhis2")
	e.machine.clock.Add(int64(200 * time.Millisecond))
	p.running, p.open = true, open
	return true, nil
}

func (e *imaginedEngine) Down(_ context.Context, project string) error {
	if p := e.projects[project]; p != nil {
		p.running, p.open = false, false
		e.did = append(e.did, "down")
	}
	return nil
}

func (e *imaginedEngine) Destroy(_ context.Context, project string) error {
	delete(e.projects, project)
	e.did = append(e.did, "destroy")
	return nil
}

func (e *imaginedEngine) State(_ context.Context, project string) ([]compose.ServiceState, error) {
	p := e.projects[project]
	if p == nil || !p.running {
		return nil, nil
	}
	dhis2 := p.dhis2
	if dhis2.Status == "" {
		dhis2 = compose.ServiceState{Running: true, Status: "running", Address: netip.MustParseAddr("127.0.0.77")}
	}
	dhis2.Service, dhis2.Container, dhis2.Image = compose.ServiceDHIS2, project+"-dhis2-1", stackDHIS2
	if p.open {
		dhis2.Published = netip.MustParseAddrPort("192.168.8.2:80")
	}
	return []compose.ServiceState{dhis2, {
		Service: compose.ServicePostgres, Container: project + "-postgres-1", Image: stackPostgres, Running: true, Status: "running",
		Health: "healthy", Address: netip.MustParseAddr("127.0.0.77"),
	}}, nil
}

func (e *imaginedEngine) Logs(_ context.Context, _ string, _ compose.LogOptions, w io.Writer) error {
	_, err := io.WriteString(w, "dhis2 | up\n")
	return err
}

func (e *imaginedEngine) Volumes(_ context.Context, project string) ([]compose.Volume, error) {
	if p := e.projects[project]; p != nil && p.data {
		return []compose.Volume{{Key: "database"}, {Key: "home"}}, nil
	}
	return nil, nil
}

func (e *imaginedEngine) Image(_ context.Context, reference string) (compose.Image, error) {
	if image, there := e.images[reference]; there {
		return image, nil
	}
	return compose.Image{}, compose.ErrNoImage
}

func (e *imaginedEngine) Pull(_ context.Context, reference string, _ func(done, total int64)) error {
	if reference != stackDHIS2 && reference != stackPostgres {
		return errors.New("no such image in the registry")
	}
	e.did = append(e.did, "pull "+reference)
	e.images[reference] = compose.Image{Reference: reference, ID: "sha256:" + reference, Size: 1 << 20}
	return nil
}

func (e *imaginedEngine) SaveImages(_ context.Context, _ string, references ...string) error {
	e.did = append(e.did, "save")
	for _, reference := range references {
		e.archive[reference] = compose.ArchivedImage{Reference: reference, ID: e.images[reference].ID, Bytes: 1 << 20}
	}
	return nil
}

func (e *imaginedEngine) VerifyImages(dir string, references ...string) ([]compose.ArchivedImage, error) {
	var found []compose.ArchivedImage
	for _, reference := range references {
		image, there := e.archive[reference]
		if !there || e.damaged {
			return nil, &compose.ArchiveError{File: filepath.Join(dir, "image.tar.zst"), Why: "it is cut short"}
		}
		found = append(found, image)
	}
	return found, nil
}

func (e *imaginedEngine) LoadImages(_ context.Context, dir string, references ...string) error {
	found, err := e.VerifyImages(dir, references...)
	for _, image := range found {
		e.did = append(e.did, "load "+image.Reference)
		e.images[image.Reference] = compose.Image{Reference: image.Reference, ID: image.ID}
	}
	return err
}

// imaginedMachine is a machine in the clinic's network, with a simulated DHIS2 behind every address.
type imaginedMachine struct {
	addresses []netip.Addr
	taken     bool // the clinic's port
	free      uint64
	server    *httptest.Server
	dhis2     atomic.Pointer[dhis2sim.Server]
	clock     atomic.Int64
	refuse    func(*http.Request) bool
	silent    bool // nothing answers
}

// fresh puts a DHIS2 on an empty database behind the addresses.
func (m *imaginedMachine) fresh(t *testing.T) {
	server, err := dhis2sim.New(dhis2sim.Options{Version: stackVersion})
	if err != nil {
		t.Fatal(err)
	}
	m.dhis2.Store(server)
}

func (m *imaginedMachine) Addresses() ([]netip.Addr, error) { return m.addresses, nil }

func (m *imaginedMachine) Listen(netip.AddrPort) error {
	if m.taken {
		return &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	return nil
}

func (m *imaginedMachine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.silent || address != "127.0.0.77:8080" && address != "192.168.8.2:80" {
		return nil, fmt.Errorf("nothing is at %s", address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, m.server.Listener.Addr().String())
}

func (m *imaginedMachine) LookupHost(context.Context, string) ([]netip.Addr, error) {
	return m.addresses, nil
}

func (m *imaginedMachine) FreeBytes(string) (uint64, bool) { return m.free, true }

// Wait lets the time pass without waiting for it.
func (m *imaginedMachine) Wait(ctx context.Context, d time.Duration) error {
	m.clock.Add(int64(d))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Millisecond): // lets others run
		return nil
	}
}
