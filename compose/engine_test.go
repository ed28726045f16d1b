package compose

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// The stand-in images that `make images` builds.
const (
	postgresImage = "postgis/postgis:15-3.3"
	dhis2Image    = "fieldkit/dhis2sim:2.42.5.2"
)

// testEngine reaches the engine at DOCKER_HOST. Without one, or without the images, the test is skipped; in
// CI it fails.
func testEngine(t *testing.T) *Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine: not with -short")
	}
	without := func(format string, arguments ...any) {
		t.Helper()
		if os.Getenv("CI") != "" {
			t.Fatalf(format, arguments...)
		}
		t.Skip("SKIPPED, NOTHING WAS TESTED: " + fmt.Sprintf(format, arguments...))
	}
	engine, err := Connect(t.Context(), "")
	if err != nil {
		without("%v", err)
	}
	t.Cleanup(func() { engine.Close() })
	for _, image := range []string{postgresImage, dhis2Image} {
		if _, err := engine.Image(t.Context(), image); err != nil {
			without("%v (`make images` builds it)", err)
		}
	}
	return engine
}

// newProject makes a project's name, and removes whatever has it when the test ends.
func newProject(t *testing.T, engine *Engine) string {
	t.Helper()
	project := "fieldkit-test-" + strings.ToLower(rand.Text()[:8])
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
		defer cancel()
		if t.Failed() {
			var log bytes.Buffer
			engine.Logs(ctx, project, LogOptions{Tail: 30}, &log)
			t.Logf("the services' logs:\n%s", &log)
		}
		if err := engine.Destroy(ctx, project); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
		if left := resources(ctx, t, engine, project); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
	return project
}

// resources lists all that carries a project's name or label.
func resources(ctx context.Context, t *testing.T, engine *Engine, project string) string {
	t.Helper()
	var left []string
	for _, kind := range [][]string{{"ps", "-a", "--format", "{{.Names}} {{.Labels}}"}, {"network", "ls", "--format", "{{.Name}}"}, {"volume", "ls", "--format", "{{.Name}}"}} {
		for _, line := range strings.Split(cli(ctx, t, engine, kind...), "\n") {
			if strings.Contains(line, project) {
				left = append(left, kind[0]+" "+line)
			}
		}
	}
	return strings.Join(left, "\n")
}

// cli runs Docker's own client, as somebody who looks from outside.
func cli(ctx context.Context, t *testing.T, engine *Engine, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(ctx, "docker", arguments...)
	command.Env = append(os.Environ(), "DOCKER_HOST="+engine.docker.host())
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	return string(out)
}

// engineSettings are a kit's with the stand-in images.
func engineSettings(project string) Settings {
	settings := testSettings(false)
	settings.Project, settings.PostgresImage, settings.DHIS2Image = project, postgresImage, dhis2Image
	settings.DatabasePassword, settings.EncryptionPassword = rand.Text(), rand.Text()
	settings.Sizes = Sizes{Heap: 64 * mebibyte, DHIS2Memory: 256 * mebibyte, PostgresMemory: 512 * mebibyte, SharedBuffers: 32 * mebibyte, Connections: 10}
	return settings
}

// freePort finds a port of the loopback address that nobody listens on.
func freePort(t *testing.T) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String()).Port()
}

func clinicAt(port uint16) *ClinicPort {
	return &ClinicPort{Name: "kit.test", Address: netip.MustParseAddr("127.0.0.1"), Port: port}
}

// up brings a stack up and returns the steps that were told.
func up(t *testing.T, engine *Engine, settings Settings) (steps []string, changed bool) {
	t.Helper()
	changed, err := engine.Up(t.Context(), mustLoad(t, settings), func(step string) { steps = append(steps, step) })
	if err != nil {
		t.Fatalf("after %q: %v", steps, err)
	}
	return steps, changed
}

// states are a project's services by name.
func states(t *testing.T, engine *Engine, project string) map[string]ServiceState {
	t.Helper()
	list, err := engine.State(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]ServiceState{}
	for _, state := range list {
		byName[state.Service] = state
	}
	return byName
}

// answers waits until DHIS2 does.
func answers(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for poll := time.NewTicker(100 * time.Millisecond); ; {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/ping", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode < 500 {
				return
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("nothing answers at %s: %v", url, err)
		}
	}
}

// ids are the containers' ids by service.
func ids(t *testing.T, engine *Engine, project string) map[string]string {
	t.Helper()
	containers, err := engine.containers(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, container := range containers {
		found[container.service] = container.id
	}
	return found
}

// sql runs one statement as DHIS2's user, over the network as DHIS2 does.
func sql(t *testing.T, engine *Engine, settings Settings, statement string) string {
	t.Helper()
	container := states(t, engine, settings.Project)["postgres"]
	out := cli(t.Context(), t, engine, "exec", "-e", "PGPASSWORD="+settings.DatabasePassword, container.Container,
		"psql", "-h", container.Address.String(), "-U", DatabaseUser, "-d", DatabaseName, "-tAXc", statement)
	return strings.TrimSpace(out)
}

func TestConnectRefuses(t *testing.T) {
	serve := func(version string) string {
		mux := http.NewServeMux()
		mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, version)
		})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: mux}
		go server.Serve(listener)
		t.Cleanup(func() { server.Close() })
		return "tcp://" + listener.Addr().String()
	}
	for _, test := range []struct {
		name, host string
		want       EngineFault
	}{
		{"nothing there", "unix://" + t.TempDir() + "/docker.sock", EngineAbsent},
		{"no host at all", "nonsense", EngineAbsent},
		{"Podman", serve(`{"Os":"linux","ApiVersion":"1.41","Components":[{"Name":"Podman Engine"}]}`), EnginePodman},
		{"Windows containers", serve(`{"Os":"windows","ApiVersion":"1.41"}`), EngineNotLinux},
		{"Docker 18", serve(`{"Os":"linux","ApiVersion":"1.39"}`), EngineTooOld},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Connect(t.Context(), test.host)
			var failure *EngineError
			if !errors.As(err, &failure) || failure.Fault != test.want {
				t.Errorf("got %v", err)
			}
			t.Log(err)
		})
	}
}

func TestInfo(t *testing.T) {
	engine := testEngine(t)
	info, err := engine.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Version == "" || info.Memory < gibibyte || info.CPUs < 1 || info.RootDir == "" || !slices.Contains([]string{"amd64", "arm64"}, info.Architecture) {
		t.Errorf("%+v", info)
	}
	// A client that speaks a newer API than the engine negotiates down to it.
	if older(info.APIVersion, 1, 41) {
		t.Errorf("API %s", info.APIVersion)
	}
}
