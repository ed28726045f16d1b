package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunningStack looks at one open stack in all ways that do not change it.
func TestRunningStack(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := override(t, engineSettings(project), "services: {dhis2: {labels: {team: bocas}}}\n")
	settings.Directory = t.TempDir()
	settings.Clinic = clinicAt(freePort(t))
	up(t, engine, settings)
	answers(t, "http://"+netip.AddrPortFrom(settings.Clinic.Address, settings.Clinic.Port).String())
	for _, test := range []struct {
		name string
		look func(t *testing.T, engine *Engine, settings Settings)
	}{
		{"the database is durable", databaseIsDurable},
		{"DHIS2's user is no superuser", userOwnsItsDatabase},
		{"the engine shows no secret", engineShowsNoSecret},
		{"files have owner and mode", filesHaveOwnerAndMode},
		{"Compose sees it", composeSeesTheStack},
		{"logs", logs},
		{"limits", limits},
		{"the exported file starts the same data", exportedFileStarts}, // last: it puts others in the place of the containers
	} {
		t.Run(test.name, func(t *testing.T) { test.look(t, engine, settings) })
	}
}

func databaseIsDurable(t *testing.T, engine *Engine, settings Settings) {
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes", "data_checksums"} {
		if got := sql(t, engine, settings, "SHOW "+name); got != "on" {
			t.Errorf("%s is %s", name, got)
		}
	}
}

func userOwnsItsDatabase(t *testing.T, engine *Engine, settings Settings) {
	if got := sql(t, engine, settings, "SELECT current_user || ' ' || rolsuper FROM pg_roles WHERE rolname = current_user"); got != "dhis false" {
		t.Errorf("user and superuser: %s", got)
	}
	if got := sql(t, engine, settings, "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension WHERE extname IN ('postgis', 'btree_gin', 'pg_trgm')"); got != "btree_gin pg_trgm postgis" {
		t.Errorf("extensions: %s", got)
	}
	if got := sql(t, engine, settings, "CREATE TABLE public.own (a int); SELECT 1"); !strings.HasSuffix(got, "1") {
		t.Errorf("it cannot make tables: %s", got)
	}
	// What finding changes by transaction id needs.
	if got := sql(t, engine, settings, "SELECT count(*) FROM pg_control_system() WHERE system_identifier <> 0 AND pg_current_snapshot() IS NOT NULL"); got != "1" {
		t.Errorf("it cannot see the cluster's identity: %s", got)
	}
}

func engineShowsNoSecret(t *testing.T, engine *Engine, settings Settings) {
	shown := cli(t.Context(), t, engine, "ps", "-a", "--no-trunc", "--format", "{{json .}}")
	for _, state := range states(t, engine, settings.Project) {
		shown += cli(t.Context(), t, engine, "inspect", state.Container)
		shown += cli(t.Context(), t, engine, "top", state.Container)
		shown += cli(t.Context(), t, engine, "logs", state.Container)
	}
	for _, volume := range []string{"_database", "_home"} {
		shown += cli(t.Context(), t, engine, "volume", "inspect", settings.Project+volume)
	}
	if !strings.Contains(shown, "PGDATA=") {
		t.Fatal("that is not what the engine shows")
	}
	for _, secret := range []string{settings.DatabasePassword, settings.EncryptionPassword} {
		if strings.Contains(shown, secret) {
			t.Error("the engine shows a secret")
		}
	}
}

func filesHaveOwnerAndMode(t *testing.T, engine *Engine, settings Settings) {
	look := func(path string, arguments ...string) string {
		return strings.TrimSpace(cli(t.Context(), t, engine, append(arguments, "-c", "%u %g %a", path)...))
	}
	postgres := []string{"exec", settings.Project + "-postgres-1", "stat"}
	// DHIS2's image may have no shell: another container looks into its volume.
	home := []string{"run", "--rm", "--network", "none", "-v", settings.Project + "_home:/home", "--entrypoint", "stat", postgresImage}
	for _, test := range []struct{ path, got, want string }{
		{"the password", look("/run/secrets/database-password", postgres...), "0 0 400"},
		{"the script", look("/docker-entrypoint-initdb.d/20-dhis2.sh", postgres...), "0 0 755"},
		{"dhis.conf", look("/home/dhis.conf", home...), "65534 65534 600"},
		{"DHIS2's directory", look("/home", home...), "65534 65534 755"},
	} {
		if test.got != test.want {
			t.Errorf("%s: owner and mode %s, want %s", test.path, test.got, test.want)
		}
	}
}

func composeSeesTheStack(t *testing.T, engine *Engine, settings Settings) {
	var labels map[string]string
	if err := json.Unmarshal([]byte(cli(t.Context(), t, engine, "inspect", "-f", "{{json .Config.Labels}}", settings.Project+"-dhis2-1")), &labels); err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{
		"com.docker.compose.project":              settings.Project,
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
		{"network", "_data", "com.docker.compose.network", "data"},
		{"network", "_clinic", "com.docker.compose.network", "clinic"},
		{"volume", "_database", "com.docker.compose.volume", "database"},
		{"volume", "_home", "com.docker.compose.volume", "home"},
	} {
		format := fmt.Sprintf("{{index .Labels %q}} {{index .Labels %q}}", "com.docker.compose.project", test.label)
		if got := strings.TrimSpace(cli(t.Context(), t, engine, test.kind, "inspect", "-f", format, settings.Project+test.name)); got != settings.Project+" "+test.want {
			t.Errorf("labels of the %s %s: %s", test.kind, test.name, got)
		}
	}
	if plugin(t, engine) {
		if out := cli(t.Context(), t, engine, "compose", "ls"); !strings.Contains(out, settings.Project) || !strings.Contains(out, "running(2)") {
			t.Errorf("docker compose ls:\n%s", out)
		}
		if out := cli(t.Context(), t, engine, "compose", "-p", settings.Project, "ps", "--services"); out != "dhis2\npostgres\n" {
			t.Errorf("docker compose ps:\n%s", out)
		}
	}
}

// plugin tells whether Compose itself is here. It is asked where it is, and not needed.
func plugin(t *testing.T, engine *Engine) bool {
	t.Helper()
	return strings.Contains(cli(t.Context(), t, engine, "info", "-f", "{{range .ClientInfo.Plugins}}{{.Name}} {{end}}"), "compose")
}

func logs(t *testing.T, engine *Engine, settings Settings) {
	read := func(options LogOptions) string {
		var out bytes.Buffer
		if err := engine.Logs(t.Context(), settings.Project, options, &out); err != nil {
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
	if err := engine.Logs(t.Context(), settings.Project, LogOptions{Service: "keeper"}, &bytes.Buffer{}); !errors.As(err, &failure) {
		t.Errorf("a service that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := engine.Logs(ctx, settings.Project, LogOptions{Follow: true}, cancelWriter(cancel)); err != nil {
		t.Errorf("following until the end: %v", err)
	}
}

// cancelWriter ends what is followed at the first line.
type cancelWriter func()

func (w cancelWriter) Write(data []byte) (int, error) { w(); return len(data), nil }

func limits(t *testing.T, engine *Engine, settings Settings) {
	format := "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{json .HostConfig.LogConfig}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}"
	for service, memory := range map[string]int64{"postgres": settings.Sizes.PostgresMemory, "dhis2": settings.Sizes.DHIS2Memory} {
		want := fmt.Sprintf(`%d unless-stopped {"Type":"json-file","Config":{"max-file":"3","max-size":"10m"}} [ALL] [no-new-privileges:true]`, memory)
		if got := strings.TrimSpace(cli(t.Context(), t, engine, "inspect", "-f", format, settings.Project+"-"+service+"-1")); got != want {
			t.Errorf("%s: %s\nwant %s", service, got, want)
		}
	}
}

// exportedFileStarts has the exported file started on the volumes: by Compose where it is, else by this
// package, without any secret.
func exportedFileStarts(t *testing.T, engine *Engine, settings Settings) {
	sql(t, engine, settings, "CREATE TABLE exported (a int)")
	path := filepath.Join(t.TempDir(), "exported.yaml")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := mustLoad(t, settings).Export(out); err != nil {
		t.Fatal(err)
	}
	if err := engine.Down(t.Context(), settings.Project); err != nil {
		t.Fatal(err)
	}
	if plugin(t, engine) {
		cli(t.Context(), t, engine, "compose", "-f", path, "up", "-d")
	} else {
		stack := mustLoad(t, settings)
		for name, service := range exported(t, path).Services {
			stack.project.Services[name] = service
		}
		stack.files = nil
		if _, err := engine.Up(t.Context(), stack, nil); err != nil {
			t.Fatal(err)
		}
	}
	answers(t, "http://"+netip.AddrPortFrom(settings.Clinic.Address, settings.Clinic.Port).String())
	if got := sql(t, engine, settings, "SELECT count(*) FROM exported"); got != "0" {
		t.Errorf("the database: %s", got)
	}
	// Fieldkit takes over again.
	if _, changed := up(t, engine, settings); !changed {
		t.Error("up took the exported file's containers for its own")
	}
}
