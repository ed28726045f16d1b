package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/compose"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/google/go-cmp/cmp"
)

// stackWorld is a kit with containers of its own, on an imagined machine.
type stackWorld struct {
	*world
	engine   *imaginedEngine
	machine  *imaginedMachine
	noEngine error
}

const clinicLine = "clinic: {name: bocas-1.clinic.lan, address: 192.168.8.2}\n"

func newStackWorld(t *testing.T) *stackWorld {
	machine := &imaginedMachine{addresses: []netip.Addr{netip.MustParseAddr("192.168.8.2")}, free: 100 << 30}
	machine.fresh(t)
	machine.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if machine.refuse != nil && machine.refuse(r) {
			http.Error(w, `{"message": "not now"}`, http.StatusConflict)
			return
		}
		machine.dhis2.Load().ServeHTTP(w, r)
	}))
	t.Cleanup(machine.server.Close)
	w := &stackWorld{world: newWorld(t, simulated(t, stackVersion), machine.server.URL, ""), machine: machine}
	w.engine = &imaginedEngine{
		t: t, machine: machine, info: compose.EngineInfo{Memory: 8 << 30, RootDir: "/var/lib/docker", Local: true},
		images: map[string]compose.Image{}, archive: map[string]compose.ArchivedImage{}, projects: map[string]*imaginedProject{},
	}
	w.now = func() time.Time { return time.Now().Add(time.Duration(machine.clock.Load())) }
	delete(w.environment, "FIELDKIT_LOCAL_USER")
	delete(w.environment, "FIELDKIT_LOCAL_PASSWORD")
	w.local = nil // the kit's own goes as a whole
	w.configure("local:", clinicLine)
	w.setUp()
	w.patientsAtCentral()
	return w
}

// configure replaces the line of fieldkit.yaml that begins like that.
func (w *stackWorld) configure(begin, line string) {
	path := filepath.Join(w.kitDir, "fieldkit.yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	var kept strings.Builder
	for l := range strings.Lines(string(content)) {
		if !strings.HasPrefix(l, begin) {
			kept.WriteString(l)
		}
	}
	if err := os.WriteFile(path, []byte(kept.String()+line), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// with opens the kit for one run.
func (w *stackWorld) with(run func(*orchestrator.Kit) error) error {
	w.t.Helper()
	kit, err := orchestrator.Open(orchestrator.OpenOptions{
		Dir: w.kitDir, Getenv: w.getenv, Now: w.now, ConfigDirectory: w.kitDir + "/configuration", Machine: w.machine,
		ConnectEngine: func(context.Context) (orchestrator.Engine, error) { return w.engine, w.noEngine },
	})
	if err != nil {
		return err
	}
	return errors.Join(run(kit), kit.Close())
}

func (w *stackWorld) prepare() error {
	return w.with(func(kit *orchestrator.Kit) error {
		receipt, err := kit.Prepare(w.t.Context(), orchestrator.PrepareOptions{})
		if err == nil && !receipt.Verified {
			return fmt.Errorf("not verified: %s", asJSON(receipt))
		}
		return err
	})
}

func (w *stackWorld) up() (result *orchestrator.UpResult, err error) {
	err = w.with(func(kit *orchestrator.Kit) error {
		result, err = kit.Up(w.t.Context())
		return err
	})
	return result, err
}

func (w *stackWorld) down(deleteData bool) error {
	return w.with(func(kit *orchestrator.Kit) error {
		_, err := kit.Down(w.t.Context(), orchestrator.DownOptions{DeleteData: deleteData})
		return err
	})
}

func (w *stackWorld) reconcile() error {
	return w.with(func(kit *orchestrator.Kit) error {
		_, err := kit.Reconcile(w.t.Context(), orchestrator.ReconcileOptions{})
		return err
	})
}

// must fails the test at once on an error.
func (w *stackWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v (hint: %s)", err, orchestrator.Hint(err))
	}
}

// changes returns what the engine was made to do since it was last asked.
func (w *stackWorld) changes() []string {
	did := w.engine.did
	w.engine.did = nil
	return did
}

// refused makes sure of an error of a kind, with a hint.
func (w *stackWorld) refused(err, kind error, text string) {
	w.t.Helper()
	if err == nil || kind != nil && !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		w.t.Fatalf("got %v, want one of kind %v about %q", err, kind, text)
	}
	if orchestrator.Hint(err) == "" {
		w.t.Errorf("no hint: %v", err)
	}
}

func TestStackGoesOnATrip(t *testing.T) {
	w := newStackWorld(t)
	w.must(w.prepare())
	want := []string{"pull " + stackDHIS2, "pull " + stackPostgres, "save", "up, open: false"}
	if diff := cmp.Diff(want, w.changes()); diff != "" {
		t.Errorf("prepare (-want +got):\n%s", diff)
	}
	fresh := dhis2api.Credentials{Username: "admin", Password: "district"}
	if _, err := dhis2api.Connect(t.Context(), w.machine.server.URL, fresh, dhis2api.Options{MaxTries: 1}); err == nil {
		t.Error("the password that every DHIS2 begins with still logs in")
	}
	if info, err := os.Stat(filepath.Join(w.kitDir, "stack.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("stack.json: %v, %v", info, err)
	}

	first, err := w.up()
	w.must(err)
	if !first.Changed || first.URL != "http://bocas-1.clinic.lan" || first.AddressURL != "http://192.168.8.2" || first.DHIS2 != stackVersion {
		t.Errorf("up: %s", asJSON(first))
	}
	if first.Seconds < 40 || first.OwnSeconds > 3 || first.OwnSeconds < 0.3 {
		t.Errorf("of %.1f s %.1f s are said to be fieldkit's own", first.Seconds, first.OwnSeconds)
	}
	if diff := cmp.Diff([]string{"up, open: true"}, w.changes()); diff != "" {
		t.Error(diff)
	}
	second, err := w.up()
	w.must(err)
	if second.Changed || len(w.changes()) > 0 {
		t.Errorf("a second up changed something: %s", asJSON(second))
	}

	w.refused(w.down(true), nil, "tablets could reach the kit")
	w.must(w.down(false))
	w.must(w.down(false))
	w.changes()
	w.must(w.reconcile())
	if diff := cmp.Diff([]string{"up, open: false"}, w.changes()); diff != "" {
		t.Errorf("reconcile on a stack that is down (-want +got):\n%s", diff)
	}
	w.must(w.down(true))
	if _, err := os.Stat(filepath.Join(w.kitDir, "stack.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stack.json is still there: %v", err)
	}
	_, err = w.up()
	w.refused(err, orchestrator.ErrNoSnapshot, "was deleted")
	w.refused(w.reconcile(), orchestrator.ErrNoSnapshot, "was deleted")
	w.changes()
	w.must(w.prepare())
	if diff := cmp.Diff([]string{"up, open: false"}, w.changes()); diff != "" {
		t.Errorf("prepare with all images at hand (-want +got):\n%s", diff)
	}
}

// TestPrepareClosesTheKit: between its look at the kit and its loading no tablet may send.
func TestPrepareClosesTheKit(t *testing.T) {
	w := newStackWorld(t)
	w.must(w.prepare())
	_, err := w.up()
	w.must(err)
	w.changes()
	asked := ""
	err = w.with(func(kit *orchestrator.Kit) error {
		_, err := kit.Prepare(t.Context(), orchestrator.PrepareOptions{Confirm: func(_ context.Context, question string) error {
			asked = question
			return errors.New("no")
		}})
		return err
	})
	if err == nil || !strings.Contains(asked, "close the kit to the clinic") || len(w.changes()) > 0 {
		t.Errorf("asked %q, error %v, did %v", asked, err, w.engine.did)
	}
	w.must(w.prepare())
	if diff := cmp.Diff([]string{"up, open: false"}, w.changes()); diff != "" {
		t.Error(diff)
	}
}

func TestPrepareOfStackGoesOn(t *testing.T) {
	for name, trouble := range map[string]func(*stackWorld) (mend func()){
		"after a start that failed": func(w *stackWorld) func() {
			w.engine.fails = &compose.ServiceError{Service: "postgres", Why: "stopped"}
			return func() {}
		},
		"before the password was replaced": func(w *stackWorld) func() { return w.refuse(http.MethodPatch, "/api/users/") },
		"after the password was replaced":  func(w *stackWorld) func() { return w.refuse(http.MethodPost, "/api/maintenance") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newStackWorld(t)
			mend := trouble(w)
			if err := w.prepare(); err == nil {
				t.Fatal("nothing went wrong")
			}
			mend()
			w.must(w.prepare())
			_, err := w.up()
			w.must(err)
		})
	}
}

// refuse lets the kit's DHIS2 refuse matching requests until mend is called.
func (w *stackWorld) refuse(method, path string) (mend func()) {
	var over atomic.Bool
	w.machine.refuse = func(r *http.Request) bool {
		return !over.Load() && r.Method == method && strings.HasPrefix(r.URL.Path, path)
	}
	return func() { over.Store(true) }
}

func TestUpRefuses(t *testing.T) {
	w := newStackWorld(t)
	_, err := w.up()
	w.refused(err, orchestrator.ErrNoSnapshot, "has made no trip")
	w.must(w.prepare())
	for name, test := range map[string]struct {
		trouble, mend func()
		kind          error
		text          string
	}{
		"without a clinic": {
			func() { w.configure("clinic:", "") }, func() { w.configure("clinic:", clinicLine) },
			orchestrator.ErrUsage, "does not say where the clinic finds the kit",
		},
		"an address of another machine": {
			func() { w.machine.addresses = []netip.Addr{netip.MustParseAddr("10.0.0.9")} },
			func() { w.machine.addresses = []netip.Addr{netip.MustParseAddr("192.168.8.2")} }, nil, "192.168.8.2 is not an address of this machine",
		},
		"a port that is taken": {
			func() { w.machine.taken = true }, func() { w.machine.taken = false }, nil, "port 80 of 192.168.8.2 is taken by another program",
		},
		"no engine": {
			func() { w.noEngine = &compose.EngineError{Host: "unix:///x", Fault: compose.EngineAbsent} }, func() { w.noEngine = nil },
			orchestrator.ErrEngine, "no Docker engine answers at unix:///x",
		},
		"no permission": {
			func() { w.noEngine = &compose.EngineError{Host: "unix:///x", Fault: compose.EngineNoPermission} }, func() { w.noEngine = nil },
			orchestrator.ErrEngine, "no permission to use the Docker engine",
		},
		"podman": {
			func() { w.noEngine = &compose.EngineError{Host: "unix:///x", Fault: compose.EnginePodman} }, func() { w.noEngine = nil },
			orchestrator.ErrEngine, "Podman answers",
		},
		"too little memory": {
			func() { w.engine.info.Memory = 2 << 30 }, func() { w.engine.info.Memory = 8 << 30 }, orchestrator.ErrEngine, "2048 MiB of memory",
		},
		"too little disk": {
			func() { w.machine.free = 500 << 20 }, func() { w.machine.free = 100 << 30 }, orchestrator.ErrEngine, "0.5 GB are free at /var/lib/docker",
		},
		"another postgres in the file": {
			func() { w.configure("postgres:", "postgres: {image: 'postgis/postgis:17-3.5'}\n") }, func() { w.configure("postgres:", "") },
			orchestrator.ErrUsage, "names the image postgis/postgis:17-3.5, and the kit's data was made with " + stackPostgres,
		},
		"another DHIS2 in the file": {
			func() { w.configure("dhis2:", "dhis2: {image: 'dhis2/core:2.43.1.0'}\n") }, func() { w.configure("dhis2:", "") },
			orchestrator.ErrUsage, "names the image dhis2/core:2.43.1.0",
		},
		"another DHIS2 behind the tag": {
			func() {
				w.engine.images[stackDHIS2] = compose.Image{ID: "sha256:1", Labels: map[string]string{"DHIS2_VERSION": "2.42.6"}}
			},
			func() { w.engine.images[stackDHIS2] = compose.Image{ID: "sha256:1"} }, nil, "is DHIS2 2.42.6, and the kit needs 2.42.5.2",
		},
		"a damaged archive where an image is missing": {
			func() { delete(w.engine.images, stackPostgres); w.engine.damaged = true },
			func() { w.engine.images[stackPostgres] = compose.Image{ID: "sha256:2"}; w.engine.damaged = false }, nil, "it is cut short",
		},
		"the volumes are gone": {
			func() { w.all(func(p *imaginedProject) { p.data = false }) }, func() { w.all(func(p *imaginedProject) { p.data = true }) },
			nil, "is not on this machine",
		},
		"the passwords are gone": {
			func() { w.rename("stack.json", "elsewhere.json") }, func() { w.rename("elsewhere.json", "stack.json") },
			nil, "stack.json is missing: it holds the passwords",
		},
		"an override that asks for too much": {
			func() { w.write("compose.override.yaml", "services: {dhis2: {privileged: true}}\n") }, func() { w.remove("compose.override.yaml") },
			orchestrator.ErrUsage, "services.dhis2.privileged",
		},
	} {
		t.Run(name, func(t *testing.T) {
			record := w.read("stack.json")
			w.changes()
			test.trouble()
			_, err := w.up()
			test.mend()
			w.refused(err, test.kind, test.text)
			if did := w.changes(); len(did) > 0 {
				t.Errorf("refused, and yet it did %v", did)
			}
			if w.read("stack.json") != record {
				t.Error("refused, and yet stack.json changed")
			}
		})
	}
	delete(w.engine.images, stackDHIS2)
	result, err := w.up()
	w.must(err)
	if diff := cmp.Diff([]string{"load " + stackDHIS2, "up, open: true"}, w.changes()); diff != "" || !result.Changed {
		t.Errorf("up with a saved image (-want +got):\n%s", diff)
	}
	w.configure("clinic:", "clinic: {name: bocas-2.clinic.lan, address: 192.168.8.2}\n")
	_, err = w.up()
	w.refused(err, orchestrator.ErrUsage, "tablets know this kit as {name: bocas-1.clinic.lan, address: 192.168.8.2, port: 80}")
}

// TestNoTripInAFreshDatabase: what is not in a database that somebody replaced was not deleted by the clinic.
func TestNoTripInAFreshDatabase(t *testing.T) {
	w := newStackWorld(t)
	w.must(w.prepare())
	w.must(w.down(false))
	w.machine.fresh(t)
	for what, run := range map[string]func() error{
		"up": func() error { _, err := w.up(); return err }, "reconcile": w.reconcile, "prepare": w.prepare,
	} {
		if err := run(); err == nil || !strings.Contains(err.Error(), "is a fresh one") {
			t.Errorf("%s: %v", what, err)
		}
		w.must(w.down(false))
	}
}

// TestStackThatDoesNotComeUp ends the waiting when there is nothing to wait for.
func TestStackThatDoesNotComeUp(t *testing.T) {
	for name, test := range map[string]struct {
		dhis2 compose.ServiceState
		text  string
	}{
		"stopped":             {compose.ServiceState{Status: "exited", ExitCode: 1}, "DHIS2 stopped with exit code 1"},
		"silent for too long": {compose.ServiceState{Status: "running", Running: true}, "DHIS2 does not answer after 20m"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newStackWorld(t)
			w.must(w.prepare())
			w.all(func(p *imaginedProject) { p.dhis2 = test.dhis2 })
			w.machine.silent = true
			_, err := w.up()
			w.refused(err, orchestrator.ErrEngine, test.text)
		})
	}
}

func TestStackStatus(t *testing.T) {
	w := newStackWorld(t)
	state := func() (status *orchestrator.Status) {
		w.must(w.with(func(kit *orchestrator.Kit) (err error) {
			status, err = kit.Status(t.Context())
			return err
		}))
		return status
	}
	states := []orchestrator.StackState{state().Stack.State}
	w.must(w.prepare())
	states = append(states, state().Stack.State)
	_, err := w.up()
	w.must(err)
	open := state().Stack
	states = append(states, open.State)
	if open.URL != "http://bocas-1.clinic.lan" || open.DHIS2 != stackVersion || len(open.Services) != 2 || open.Services[0].Published != "192.168.8.2:80" {
		t.Errorf("open: %s", asJSON(open))
	}
	w.must(w.down(false))
	states = append(states, state().Stack.State)
	w.noEngine = &compose.EngineError{Host: "unix:///x", Fault: compose.EngineAbsent}
	unknown := state()
	states = append(states, unknown.Stack.State)
	if unknown.Trip == nil || unknown.Stack.Trouble == "" || unknown.Stack.Hint == "" {
		t.Errorf("without an engine: %s", asJSON(unknown))
	}
	want := []orchestrator.StackState{
		orchestrator.StackNone, orchestrator.StackClosed, orchestrator.StackOpen, orchestrator.StackDown, orchestrator.StackUnknown,
	}
	if !slices.Equal(states, want) {
		t.Errorf("got %v, want %v", states, want)
	}
	for _, secret := range []string{"Password", "K7-"} {
		if strings.Contains(asJSON(unknown)+asJSON(open), secret) {
			t.Errorf("the status tells a secret: %s", asJSON(open))
		}
	}
}

func TestDoctorOfStack(t *testing.T) {
	w := newStackWorld(t)
	lines := func() string {
		var b strings.Builder
		w.must(w.with(func(kit *orchestrator.Kit) error {
			checks, err := kit.Doctor(t.Context())
			for _, check := range checks {
				fmt.Fprintf(&b, "%s %s: %s\n", check.Level, check.Name, check.Detail)
				if check.Level != orchestrator.LevelOK && check.Hint == "" {
					t.Errorf("no hint: %s: %s", check.Name, check.Detail)
				}
			}
			return err
		}))
		return b.String()
	}
	expect := func(when string, wanted ...string) {
		t.Helper()
		got := lines()
		for _, want := range wanted {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", when, want, got)
			}
		}
	}
	expect("before the first prepare", "ok engine: Docker ", "ok memory: 8.6 GB: DHIS2 gets", "ok disk: 107.4 GB are free at /var/lib/docker",
		"warning image: "+stackDHIS2+" is neither in the Docker engine nor whole in images", "ok clinic: 192.168.8.2 is an address of this machine",
		"ok clinic: bocas-1.clinic.lan is found at 192.168.8.2", "ok port: port 80 of 192.168.8.2", "ok containers: none yet")
	w.must(w.prepare())
	expect("after prepare", "ok image: "+stackDHIS2+" is saved, whole", " are closed\n", "ok data: made by DHIS2 2.42.5.2, central runs 2.42.5.2",
		"ok local: the kit's own, DHIS2 2.42.5.2", "warning database: it cannot tell what changed", "ok password: ", "ok version: both run 2.42.5.2")
	w.machine.taken, w.machine.free, w.engine.info.Memory, w.engine.damaged = true, 300<<20, 1<<30, true
	expect("in trouble", "error port: port 80 of 192.168.8.2 is taken", "error disk: 0.3 GB are free at /var/lib/docker", "error memory: ",
		"warning image: "+stackDHIS2+" is in the Docker engine, and not whole in images")
	w.machine.addresses = nil
	expect("at base", "warning clinic: 192.168.8.2 is not an address of this machine", "warning clinic: this machine does not find bocas-1.clinic.lan")
	w.configure("clinic:", "")
	expect("without a clinic", "warning clinic: fieldkit.yaml does not say where tablets find the kit")
}

// all changes every stack of the engine.
func (w *stackWorld) all(change func(*imaginedProject)) {
	for _, p := range w.engine.projects {
		change(p)
	}
}

func (w *stackWorld) rename(from, to string) {
	w.must(os.Rename(filepath.Join(w.kitDir, from), filepath.Join(w.kitDir, to)))
}

func (w *stackWorld) write(name, content string) {
	w.must(os.WriteFile(filepath.Join(w.kitDir, name), []byte(content), 0o600))
}

func (w *stackWorld) remove(name string) { w.must(os.Remove(filepath.Join(w.kitDir, name))) }

func (w *stackWorld) read(name string) string {
	content, err := os.ReadFile(filepath.Join(w.kitDir, name))
	w.must(err)
	return string(content)
}
