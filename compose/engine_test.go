package compose

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
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

func TestUp(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)

	steps, changed := up(t, engine, settings)
	want := []string{"creating the volume database", "creating the volume home", "creating postgres", "starting postgres", "waiting for postgres", "creating dhis2", "starting dhis2"}
	if diff := cmp.Diff(want, steps); diff != "" || !changed {
		t.Fatalf("first up: changed %t (-want +got):\n%s", changed, diff)
	}
	closed := states(t, engine, project)
	for name, state := range closed {
		if !state.Running || !state.Address.IsValid() || state.Published.IsValid() || state.Since.IsZero() {
			t.Errorf("%s of a closed stack: %+v", name, state)
		}
	}
	answers(t, "http://"+netip.AddrPortFrom(closed["dhis2"].Address, DHIS2Port).String())
	if out := cli(t.Context(), t, engine, "port", closed["dhis2"].Container); out != "" {
		t.Errorf("a closed stack publishes %s", out)
	}

	// Again: nothing.
	if steps, changed := up(t, engine, settings); changed || len(steps) > 0 && steps[0] != "waiting for postgres" {
		t.Errorf("second up changed the stack: %t %q", changed, steps)
	}
	if diff := cmp.Diff(ids(t, engine, project), ids(t, engine, project)); diff != "" {
		t.Error(diff)
	}

	// Open: only DHIS2 is made anew.
	before := ids(t, engine, project)
	settings.Clinic = clinicAt(freePort(t))
	up(t, engine, settings)
	after := ids(t, engine, project)
	if before["postgres"] != after["postgres"] || before["dhis2"] == after["dhis2"] {
		t.Errorf("opening changed %v to %v", before, after)
	}
	open := states(t, engine, project)
	address := netip.AddrPortFrom(settings.Clinic.Address, settings.Clinic.Port)
	if open["dhis2"].Published != address || open["postgres"].Published.IsValid() {
		t.Errorf("published: dhis2 %s, postgres %s", open["dhis2"].Published, open["postgres"].Published)
	}
	answers(t, "http://"+address.String())
	answers(t, "http://"+netip.AddrPortFrom(open["dhis2"].Address, DHIS2Port).String())

	// Down keeps the volumes, and what is in them.
	for range 2 {
		if err := engine.Down(t.Context(), project); err != nil {
			t.Fatal(err)
		}
	}
	volumes, err := engine.Volumes(t.Context(), project)
	if err != nil || len(volumes) != 2 || volumes[0].Key != "database" || volumes[0].PostgresMajor != "15" || volumes[1].Key != "home" {
		t.Fatalf("volumes after down: %+v, %v", volumes, err)
	}
	if left := resources(t.Context(), t, engine, project); strings.Contains(left, "ps ") || strings.Contains(left, "network ") {
		t.Errorf("left after down:\n%s", left)
	}
	settings.Clinic = nil
	up(t, engine, settings)
	if got := sql(t, engine, project, settings, "SELECT current_user || ' ' || rolsuper FROM pg_roles WHERE rolname = current_user"); got != "dhis false" {
		t.Errorf("DHIS2's user, superuser: %s", got)
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
func sql(t *testing.T, engine *Engine, project string, settings Settings, statement string) string {
	t.Helper()
	container := states(t, engine, project)["postgres"]
	out := cli(t.Context(), t, engine, "exec", "-e", "PGPASSWORD="+settings.DatabasePassword, container.Container,
		"psql", "-h", container.Address.String(), "-U", DatabaseUser, "-d", DatabaseName, "-tAXc", statement)
	return strings.TrimSpace(out)
}

func TestDatabaseIsDurable(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)
	up(t, engine, settings)
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes", "data_checksums"} {
		if got := sql(t, engine, project, settings, "SHOW "+name); got != "on" {
			t.Errorf("%s is %s", name, got)
		}
	}
	if got := sql(t, engine, project, settings, "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension WHERE extname IN ('postgis', 'btree_gin', 'pg_trgm')"); got != "btree_gin pg_trgm postgis" {
		t.Errorf("extensions: %s", got)
	}
	if got := sql(t, engine, project, settings, "CREATE TABLE public.a (b int); SELECT 1"); !strings.HasSuffix(got, "1") {
		t.Errorf("DHIS2's user cannot make tables: %s", got)
	}
}

func TestEngineShowsNoSecrets(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)
	settings.Clinic = clinicAt(freePort(t))
	up(t, engine, settings)
	shown := cli(t.Context(), t, engine, "ps", "-a", "--no-trunc", "--format", "{{json .}}")
	for _, state := range states(t, engine, project) {
		shown += cli(t.Context(), t, engine, "inspect", state.Container)
		shown += cli(t.Context(), t, engine, "top", state.Container)
		shown += cli(t.Context(), t, engine, "logs", state.Container)
	}
	for _, volume := range []string{"_database", "_home"} {
		shown += cli(t.Context(), t, engine, "volume", "inspect", project+volume)
	}
	for _, secret := range []string{settings.DatabasePassword, settings.EncryptionPassword} {
		if strings.Contains(shown, secret) {
			t.Error("the engine shows a secret")
		}
	}

	// The files are there, for their readers alone.
	for _, test := range []struct{ service, path, want string }{
		{"postgres", "/run/secrets/database-password", "0 0 400"},
		{"postgres", "/docker-entrypoint-initdb.d/20-dhis2.sh", "0 0 755"},
	} {
		container := states(t, engine, project)[test.service].Container
		if got := strings.TrimSpace(cli(t.Context(), t, engine, "exec", container, "stat", "-c", "%u %g %a", test.path)); got != test.want {
			t.Errorf("%s: owner and mode %s, want %s", test.path, got, test.want)
		}
	}
	if got := mounted(t, engine, project+"_home", "/home/dhis.conf"); got != "65534 65534 600" {
		t.Errorf("dhis.conf: owner and mode %s", got)
	}
	if got := mounted(t, engine, project+"_home", "/home"); !strings.HasPrefix(got, "65534 ") {
		t.Errorf("DHIS2's directory: owner and mode %s", got)
	}
}

// mounted says owner and mode of a file in a volume.
func mounted(t *testing.T, engine *Engine, volume, path string) string {
	t.Helper()
	return strings.TrimSpace(cli(t.Context(), t, engine, "run", "--rm", "--network", "none", "-v", volume+":/home", "--entrypoint", "stat", postgresImage, "-c", "%u %g %a", path))
}

func TestComposeSeesTheStack(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := override(t, engineSettings(project), "services: {dhis2: {labels: {team: bocas}}}\n")
	settings.Directory = t.TempDir()
	up(t, engine, settings)
	var labels map[string]string
	if err := json.Unmarshal([]byte(cli(t.Context(), t, engine, "inspect", "-f", "{{json .Config.Labels}}", project+"-dhis2-1")), &labels); err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{
		"com.docker.compose.project":              project,
		"com.docker.compose.service":              "dhis2",
		"com.docker.compose.container-number":     "1",
		"com.docker.compose.oneoff":               "False",
		"com.docker.compose.project.config_files": embeddedName + "," + settings.Override,
		"com.docker.compose.project.working_dir":  settings.Directory,
		"com.docker.compose.depends_on":           "postgres:service_healthy:false",
		"team":                                    "bocas",
	} {
		if labels[label] != want {
			t.Errorf("%s is %q, want %q", label, labels[label], want)
		}
	}
	if len(labels["com.docker.compose.config-hash"]) != 64 || labels["com.docker.compose.version"] == "" {
		t.Errorf("labels %v", labels)
	}
	for _, test := range []struct{ kind, name, label, want string }{
		{"network", project + "_data", "com.docker.compose.network", "data"},
		{"volume", project + "_home", "com.docker.compose.volume", "home"},
	} {
		format := fmt.Sprintf("{{index .Labels %q}} {{index .Labels %q}}", "com.docker.compose.project", test.label)
		if got := strings.TrimSpace(cli(t.Context(), t, engine, test.kind, "inspect", "-f", format, test.name)); got != project+" "+test.want {
			t.Errorf("labels of the %s %s: %s", test.kind, test.name, got)
		}
	}
}

// What an interruption or somebody else left is mended by the next up.
func TestUpMends(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)
	up(t, engine, settings)
	postgres, dhis2 := project+"-postgres-1", project+"-dhis2-1"
	for _, test := range []struct {
		name string
		harm func()
		want []string // containers that are made anew
	}{
		{"a container was stopped", func() { cli(t.Context(), t, engine, "stop", dhis2) }, nil},
		{"both containers were killed", func() { cli(t.Context(), t, engine, "kill", dhis2, postgres) }, nil},
		{"a container was removed", func() { cli(t.Context(), t, engine, "rm", "-f", dhis2) }, []string{"dhis2"}},
		{"a container was paused", func() { cli(t.Context(), t, engine, "pause", dhis2) }, []string{"dhis2"}},
		{"a container has lost its network", func() { cli(t.Context(), t, engine, "network", "disconnect", "-f", project+"_data", postgres) }, []string{"postgres"}},
		{"all was stopped and the network removed", func() {
			cli(t.Context(), t, engine, "stop", dhis2, postgres)
			cli(t.Context(), t, engine, "network", "disconnect", "-f", project+"_data", dhis2)
			cli(t.Context(), t, engine, "network", "disconnect", "-f", project+"_data", postgres)
			cli(t.Context(), t, engine, "network", "rm", project+"_data")
		}, []string{"dhis2", "postgres"}},
		{"something else is in the project", func() {
			cli(t.Context(), t, engine, "create", "--name", project+"-other-1", "--label", "com.docker.compose.project="+project, "--label", "com.docker.compose.service=other", postgresImage)
			cli(t.Context(), t, engine, "network", "create", "--label", "com.docker.compose.project="+project, "--label", "com.docker.compose.network=other", project+"_other")
		}, nil},
		{"an up was interrupted before it had copied the files", func() {
			ctx, cancel := context.WithCancel(t.Context())
			cli(t.Context(), t, engine, "rm", "-f", dhis2)
			_, err := engine.Up(ctx, mustLoad(t, settings), func(step string) {
				if step == "starting dhis2" {
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
		}, []string{"dhis2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := ids(t, engine, project)
			test.harm()
			if _, changed := up(t, engine, settings); !changed {
				t.Error("up changed nothing")
			}
			after := ids(t, engine, project)
			for _, service := range []string{"postgres", "dhis2"} {
				if anew := before[service] != after[service]; anew != slices.Contains(test.want, service) {
					t.Errorf("%s was made anew: %t", service, anew)
				}
			}
			if len(after) != 2 {
				t.Errorf("containers %v", after)
			}
			answers(t, "http://"+netip.AddrPortFrom(states(t, engine, project)["dhis2"].Address, DHIS2Port).String())
			if steps, changed := up(t, engine, settings); changed {
				t.Errorf("the next up changed something: %q", steps)
			}
		})
	}
}

func TestUpRefuses(t *testing.T) {
	engine := testEngine(t)
	t.Run("an image that is missing", func(t *testing.T) {
		project := newProject(t, engine)
		settings := engineSettings(project)
		settings.DHIS2Image = "fieldkit/nothing:1"
		_, err := engine.Up(t.Context(), mustLoad(t, settings), nil)
		if !errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), "fieldkit/nothing:1") {
			t.Errorf("got %v", err)
		}
		if left := resources(t.Context(), t, engine, project); left != "" {
			t.Errorf("made:\n%s", left)
		}
	})
	for name, labels := range map[string][]string{
		"another project's volume":      {"--label", "com.docker.compose.project=other"},
		"a volume that nobody labelled": {},
	} {
		t.Run(name, func(t *testing.T) {
			project := newProject(t, engine)
			volume := project + "_home"
			cli(t.Context(), t, engine, slices.Concat([]string{"volume", "create"}, labels, []string{volume})...)
			t.Cleanup(func() { cli(context.WithoutCancel(t.Context()), t, engine, "volume", "rm", volume) })
			_, err := engine.Up(t.Context(), mustLoad(t, engineSettings(project)), nil)
			var failure *VolumeError
			if !errors.As(err, &failure) || failure.Volume != volume {
				t.Errorf("got %v", err)
			}
			if left := resources(t.Context(), t, engine, project); strings.Count(left, "\n") > 0 {
				t.Errorf("made:\n%s", left)
			}
		})
	}
	t.Run("a port that is taken", func(t *testing.T) {
		project := newProject(t, engine)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		settings := engineSettings(project)
		settings.Clinic = clinicAt(netip.MustParseAddrPort(listener.Addr().String()).Port())
		_, err = engine.Up(t.Context(), mustLoad(t, settings), nil)
		var failure *PortError
		if !errors.As(err, &failure) || !failure.Taken || failure.Port.Port() != settings.Clinic.Port {
			t.Fatalf("got %v", err)
		}
		// Once it is free, the next up succeeds.
		listener.Close()
		up(t, engine, settings)
		answers(t, "http://127.0.0.1:"+strconv.Itoa(int(settings.Clinic.Port)))
	})
	t.Run("an address of another machine", func(t *testing.T) {
		project := newProject(t, engine)
		settings := engineSettings(project)
		settings.Clinic = &ClinicPort{Name: "kit.test", Address: netip.MustParseAddr("192.0.2.7"), Port: 80}
		_, err := engine.Up(t.Context(), mustLoad(t, settings), nil)
		var failure *PortError
		if !errors.As(err, &failure) || failure.Taken {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a database that ends at once", func(t *testing.T) {
		project := newProject(t, engine)
		settings := override(t, engineSettings(project), "services: {postgres: {command: [postgres, -c, nonsense=on]}}\n")
		_, err := engine.Up(t.Context(), mustLoad(t, settings), nil)
		var failure *ServiceError
		if !errors.As(err, &failure) || failure.Service != "postgres" {
			t.Fatalf("got %v", err)
		}
		t.Log(err)
	})
}

// A change of the stack makes anew what it concerns, and keeps the data.
func TestUpRecreates(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)
	up(t, engine, settings)
	sql(t, engine, project, settings, "CREATE TABLE kept (a int)")
	for _, test := range []struct {
		name, override string
		want           []string
	}{
		{"memory of postgres", "services: {postgres: {mem_limit: 600m}}\n", []string{"postgres"}},
		{"a network's addresses", "networks: {data: {ipam: {config: [{subnet: 10.213.250.0/28}]}}}\n", []string{"dhis2", "postgres"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			up(t, engine, settings)
			before := ids(t, engine, project)
			changed := override(t, settings, test.override)
			up(t, engine, changed)
			after := ids(t, engine, project)
			for _, service := range []string{"postgres", "dhis2"} {
				if anew := before[service] != after[service]; anew != slices.Contains(test.want, service) {
					t.Errorf("%s was made anew: %t", service, anew)
				}
			}
			if got := sql(t, engine, project, settings, "SELECT count(*) FROM kept"); got != "0" {
				t.Errorf("the database: %s", got)
			}
		})
	}
	t.Run("a volume's device cannot change", func(t *testing.T) {
		_, err := engine.Up(t.Context(), mustLoad(t, override(t, settings, "volumes: {database: {driver_opts: {type: ext4, device: /dev/sdb1}}}\n")), nil)
		var failure *VolumeError
		if !errors.As(err, &failure) {
			t.Errorf("got %v", err)
		}
	})
}

// A kit is opened and closed many times.
func TestUpAndDownLeaveNothing(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)
	names := func() string {
		return cli(t.Context(), t, engine, "volume", "ls", "-q", "--filter", "dangling=true")
	}
	up(t, engine, settings)
	if err := engine.Down(t.Context(), project); err != nil {
		t.Fatal(err)
	}
	before := names()
	for range 20 {
		up(t, engine, settings)
		if err := engine.Down(t.Context(), project); err != nil {
			t.Fatal(err)
		}
	}
	// Other tests may make volumes meanwhile; nameless ones are 64 digits.
	for _, name := range strings.Fields(names()) {
		if len(name) == 64 && !strings.Contains(before, name) {
			t.Errorf("a nameless volume was left: %s", name)
		}
	}
	for range 2 {
		if err := engine.Destroy(t.Context(), project); err != nil {
			t.Fatal(err)
		}
	}
	if left := resources(t.Context(), t, engine, project); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

func TestLogs(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	up(t, engine, engineSettings(project))
	answers(t, "http://"+netip.AddrPortFrom(states(t, engine, project)["dhis2"].Address, DHIS2Port).String()) // it has said so
	read := func(options LogOptions) string {
		var out bytes.Buffer
		if err := engine.Logs(t.Context(), project, options, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if all := read(LogOptions{}); !strings.Contains(all, "\npostgres | ") || !strings.Contains(all, "dhis2    | ") {
		t.Errorf("both services: %s", all)
	}
	if one := read(LogOptions{Service: "postgres", Tail: 2}); strings.Count(one, "\n") > 4 || strings.Contains(one, " | ") || one == "" {
		t.Errorf("the last lines of one: %q", one)
	}
	var failure *ServiceError
	if err := engine.Logs(t.Context(), project, LogOptions{Service: "keeper"}, &bytes.Buffer{}); !errors.As(err, &failure) {
		t.Errorf("a service that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	follow := &cancelWriter{cancel: cancel}
	if err := engine.Logs(ctx, project, LogOptions{Follow: true}, follow); err != nil {
		t.Errorf("following until the end: %v", err)
	}
}

// cancelWriter ends what is followed at the first line.
type cancelWriter struct{ cancel func() }

func (w *cancelWriter) Write(data []byte) (int, error) { w.cancel(); return len(data), nil }

func TestRestart(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	up(t, engine, engineSettings(project))
	before := states(t, engine, project)["dhis2"]
	if err := engine.Restart(t.Context(), project, "dhis2"); err != nil {
		t.Fatal(err)
	}
	after := states(t, engine, project)["dhis2"]
	if !after.Since.After(before.Since) || !after.Running {
		t.Errorf("before %+v, after %+v", before, after)
	}
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
