package compose

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	testDatabasePassword   = "Db0123456789abcdefghijklmnop"
	testEncryptionPassword = "En0123456789abcdefghijklmnop"
)

// testSettings are a kit's, open when clinic is true.
func testSettings(clinic bool) Settings {
	settings := Settings{
		Project:            "fieldkit-bocas-1-a1b2c3",
		DHIS2Image:         "dhis2/core:2.42.5.2",
		PostgresImage:      "postgis/postgis:15-3.3",
		Zone:               "America/Panama",
		Sizes:              Sizes{Heap: 900 * mebibyte, DHIS2Memory: 1600 * mebibyte, PostgresMemory: gibibyte, SharedBuffers: 256 * mebibyte, Connections: 20},
		DatabasePassword:   testDatabasePassword,
		EncryptionPassword: testEncryptionPassword,
	}
	if clinic {
		settings.Clinic = &ClinicPort{Name: "bocas-1.clinic.lan", Address: netip.MustParseAddr("192.168.8.2"), Port: 8090}
	}
	return settings
}

func mustLoad(t *testing.T, settings Settings) *Stack {
	t.Helper()
	stack, err := Load(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	return stack
}

// override writes a compose.override.yaml and names it in settings.
func override(t *testing.T, settings Settings, text string) Settings {
	t.Helper()
	settings.Override = filepath.Join(t.TempDir(), "compose.override.yaml")
	if err := os.WriteFile(settings.Override, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return settings
}

func TestLoad(t *testing.T) {
	for _, test := range []struct {
		name     string
		clinic   bool
		networks []string
		ports    int
		base     string
	}{
		{"an open stack has one port, on its own network", true, []string{"clinic", "data"}, 1, "server.base.url = http://bocas-1.clinic.lan:8090\n"},
		{"a closed stack has neither port nor network", false, []string{"data"}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			stack := mustLoad(t, testSettings(test.clinic))
			if diff := cmp.Diff(test.networks, stack.project.NetworkNames()); diff != "" {
				t.Errorf("networks (-want +got):\n%s", diff)
			}
			if !stack.project.Networks["data"].Internal {
				t.Error("the network data leads out")
			}
			dhis2, postgres := stack.project.Services["dhis2"], stack.project.Services["postgres"]
			if len(dhis2.Ports) != test.ports || len(postgres.Ports) != 0 {
				t.Errorf("ports of dhis2 %v, of postgres %v", dhis2.Ports, postgres.Ports)
			}
			for _, port := range dhis2.Ports {
				if port.HostIP != "192.168.8.2" || port.Published != "8090" || port.Target != DHIS2Port {
					t.Errorf("port %+v", port)
				}
			}
			if got := *dhis2.Environment["JAVA_TOOL_OPTIONS"]; !strings.Contains(got, "-Xmx900m -Duser.timezone=America/Panama ") {
				t.Errorf("JAVA_TOOL_OPTIONS %q", got)
			}
			for _, want := range []string{"fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=256MB", "max_connections=40"} {
				if !slices.Contains(postgres.Command, want) {
					t.Errorf("postgres runs without %s: %q", want, postgres.Command)
				}
			}
			if diff := cmp.Diff([]string{"postgres", "dhis2"}, stack.order()); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			conf := fileOf(t, stack, "dhis2", "/opt/dhis2/dhis.conf")
			if conf.UID != 65534 || conf.Mode != 0o600 || !conf.Secret || !conf.Directory {
				t.Errorf("dhis.conf: owner %d, mode %o, secret %t, directory %t", conf.UID, conf.Mode, conf.Secret, conf.Directory)
			}
			for _, want := range []string{"connection.password = " + testDatabasePassword + "\n", "encryption.password = " + testEncryptionPassword + "\n", "connection.pool.max_size = 20\n", test.base} {
				if !strings.Contains(string(conf.Content), want) {
					t.Errorf("dhis.conf without %q:\n%s", want, conf.Content)
				}
			}
			if test.base == "" && strings.Contains(string(conf.Content), "server.base.url") {
				t.Error("a closed stack's dhis.conf names an address")
			}
			password := fileOf(t, stack, "postgres", "/run/secrets/database-password")
			if string(password.Content) != testDatabasePassword || password.Mode != 0o400 || password.Directory {
				t.Errorf("password file: mode %o, directory %t, right content %t", password.Mode, password.Directory, string(password.Content) == testDatabasePassword)
			}
			script := fileOf(t, stack, "postgres", "/docker-entrypoint-initdb.d/20-dhis2.sh")
			if script.Mode != 0o755 || !strings.Contains(string(script.Content), `--username "$POSTGRES_USER"`) {
				t.Errorf("script: mode %o\n%s", script.Mode, script.Content)
			}
			if diff := cmp.Diff([]string{"dhis2/core:2.42.5.2", "postgis/postgis:15-3.3"}, stack.Images()); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
		})
	}
}

func fileOf(t *testing.T, stack *Stack, service, path string) file {
	t.Helper()
	for _, file := range stack.files[service] {
		if file.Path == path {
			return file
		}
	}
	t.Fatalf("%s gets no file %s", service, path)
	return file{}
}

// What an engine shows to whoever may ask it must hold no secret: neither the model nor a hash's input does,
// but for the files.
func TestSecretsAreInFilesOnly(t *testing.T) {
	stack := mustLoad(t, testSettings(true))
	for name, service := range stack.project.Services {
		shown, err := json.Marshal(service)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{testDatabasePassword, testEncryptionPassword} {
			if strings.Contains(string(shown), secret) {
				t.Errorf("service %s shows a secret:\n%s", name, shown)
			}
		}
	}
}

func TestHash(t *testing.T) {
	hash := func(settings Settings, service string) string {
		hash, err := mustLoad(t, settings).hash(service)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	closed := testSettings(false)
	moved := closed
	moved.Directory = t.TempDir()
	withPassword := closed
	withPassword.EncryptionPassword = "Other6789abcdefghijklmnopqrstu"
	overridden := override(t, closed, "services: {dhis2: {mem_limit: 2g}}\n")
	for _, test := range []struct {
		name            string
		settings        Settings
		postgres, dhis2 bool // the same as closed
	}{
		{"the same settings", closed, true, true},
		{"another directory", moved, true, true},
		{"an open stack", testSettings(true), true, false},
		{"another password in a file", withPassword, true, false},
		{"an override for one service", overridden, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := hash(test.settings, "postgres") == hash(closed, "postgres"); got != test.postgres {
				t.Errorf("postgres the same: %t", got)
			}
			if got := hash(test.settings, "dhis2") == hash(closed, "dhis2"); got != test.dhis2 {
				t.Errorf("dhis2 the same: %t", got)
			}
		})
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Settings){
		"project":             func(s *Settings) { s.Project = "Bocas 1" },
		"no project":          func(s *Settings) { s.Project = "" },
		"image":               func(s *Settings) { s.DHIS2Image = "dhis2/core 2.42" },
		"zone":                func(s *Settings) { s.Zone = "America/Panama -Dx=y" },
		"short password":      func(s *Settings) { s.DatabasePassword = "short" },
		"password for SQL":    func(s *Settings) { s.DatabasePassword = "0123456789abcdefghijkl'; DROP" },
		"password properties": func(s *Settings) { s.EncryptionPassword = "0123456789abcdefghijk${HOME}" },
		"sizes":               func(s *Settings) { s.Sizes = Sizes{} },
		"heap beyond memory":  func(s *Settings) { s.Sizes.Heap = 2 * s.Sizes.DHIS2Memory },
		"clinic's name":       func(s *Settings) { s.Clinic.Name = "a b" },
		"clinic's port":       func(s *Settings) { s.Clinic.Port = 0 },
		"clinic's address":    func(s *Settings) { s.Clinic.Address = netip.Addr{} },
	} {
		t.Run(name, func(t *testing.T) {
			settings := testSettings(true)
			change(&settings)
			_, err := Load(t.Context(), settings)
			if err == nil {
				t.Fatal("loaded")
			}
			for _, secret := range []string{"0123456789abcdef", "short"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows a password: %v", err)
				}
			}
		})
	}
}

func TestOverride(t *testing.T) {
	settings := override(t, testSettings(true), `
services:
  dhis2:
    mem_limit: 3g
    environment: {CATALINA_OPTS: -Dx=y, ZONE: "${FIELDKIT_ZONE}", PRICE: "$$5"}
    volumes: ["./apps:/apps:ro"]
    ulimits: {nofile: 65536}
    secrets: [{source: ldap, target: /run/ldap}]
  postgres:
    logging: {options: {max-size: 1m}}
volumes:
  database:
    driver_opts: {type: ext4, device: /dev/sdb1}
networks:
  data:
    ipam: {config: [{subnet: 10.99.0.0/24}]}
secrets:
  ldap: {file: ldap.txt}
x-note: of the team
`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(settings.Override), "ldap.txt"), []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	stack := mustLoad(t, settings)
	dhis2, postgres := stack.project.Services["dhis2"], stack.project.Services["postgres"]
	if dhis2.MemLimit != 3<<30 || *dhis2.Environment["CATALINA_OPTS"] != "-Dx=y" || *dhis2.Environment["ZONE"] != "America/Panama" || *dhis2.Environment["PRICE"] != "$5" {
		t.Errorf("dhis2: memory %d, environment %v", dhis2.MemLimit, dhis2.Environment)
	}
	if dhis2.Environment["JAVA_TOOL_OPTIONS"] == nil {
		t.Error("the override's environment replaced the stack's")
	}
	if want := filepath.Join(filepath.Dir(settings.Override), "apps"); len(dhis2.Volumes) != 2 || dhis2.Volumes[1].Source != want {
		t.Errorf("volumes %+v", dhis2.Volumes)
	}
	if postgres.Logging.Options["max-size"] != "1m" || postgres.Logging.Options["max-file"] != "3" {
		t.Errorf("logging %v", postgres.Logging)
	}
	if stack.project.Volumes["database"].DriverOpts["device"] != "/dev/sdb1" {
		t.Errorf("volume %+v", stack.project.Volumes["database"])
	}
	if !stack.project.Networks["data"].Internal || stack.project.Networks["data"].Ipam.Config[0].Subnet != "10.99.0.0/24" {
		t.Errorf("network %+v", stack.project.Networks["data"])
	}
	if got := fileOf(t, stack, "dhis2", "/run/ldap"); string(got.Content) != "hush" {
		t.Errorf("secret from a file: %q", got.Content)
	}
}

func TestKeysThatAreNotRealised(t *testing.T) {
	for _, test := range []struct {
		name, text, key string
		line            int
	}{
		{"a key of a service", "services:\n  dhis2:\n    image: x:1\n    privileged: true\n", "services.dhis2.privileged", 4},
		{"a key further down", "services:\n  dhis2:\n    healthcheck:\n      test: [CMD, a]\n      start_interval: 1s\n", "services.dhis2.healthcheck.start_interval", 5},
		{"a key at the top", "include: [other.yaml]\n", "include", 1},
		{"extends", "services:\n  dhis2:\n    extends: {file: other.yaml, service: x}\n", "services.dhis2.extends", 3},
		{"a network that is there already", "networks:\n  data:\n    external: true\n", "networks.data.external", 3},
		{"another network", "networks:\n  lan: {}\nservices:\n  dhis2:\n    networks: [lan]\n", "networks.lan", 2},
		{"a way out of the network data", "networks:\n  data:\n    internal: false\n", "networks.data.internal", 3},
		{"another service", "services:\n  proxy:\n    image: nginx:1\n", "services.proxy", 2},
		{"a port of dhis2", "services:\n  dhis2:\n    ports: ['8443:8080']\n", "services.dhis2.ports", 3},
		{"a port of postgres", "services:\n  postgres:\n    ports: ['5432:5432']\n", "services.postgres.ports", 3},
		{"postgres on the clinic's network", "services:\n  postgres:\n    networks: [clinic]\n", "services", 1},
		{"a variable without a value", "services:\n  dhis2:\n    environment:\n      A: x${SECRET}\n", "services.dhis2.environment.A", 4},
		{"a secret from the environment", "secrets:\n  other: {environment: HOME}\nservices:\n  dhis2:\n    secrets: [other]\n", "secrets.other.environment", 2},
		{"a file that is not there", "configs:\n  other:\n    file: nowhere\nservices:\n  dhis2:\n    configs: [other]\n", "configs.other.file", 3},
		{"an unknown key", "services:\n  dhis2:\n    memory: 3\n", "services.dhis2.memory", 3},
		{"an unknown key further down", "services:\n  dhis2:\n    image: x:1\n    logging:\n      size: 3\n", "services.dhis2.logging.size", 5},
		{"an unknown key at the top", "servces: {}\n", "servces", 1},
		{"no YAML", "services: [\n", "", 0},
		{"no mapping", "- a\n", "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			settings := override(t, testSettings(true), test.text)
			_, err := Load(t.Context(), settings)
			var failure *KeyError
			if !errors.As(err, &failure) {
				t.Fatalf("got %v, want a *KeyError", err)
			}
			if failure.Key != test.key || failure.Line != test.line || failure.File != settings.Override {
				t.Errorf("got %+v", *failure)
			}
			t.Log(err)
		})
	}
	if _, err := Load(t.Context(), override(t, testSettings(true), "  \n")); err != nil {
		t.Errorf("an empty override: %v", err)
	}
}

func TestFit(t *testing.T) {
	for _, test := range []struct {
		name   string
		memory int64
		heap   int64 // MiB, 0 when it is refused
	}{
		{"2 GB", 2 * gibibyte, 0},
		{"4 GB as the system sees them", 3700 * mebibyte, 900},
		{"8 GB", 7800 * mebibyte, 2048},
		{"16 GB", 15600 * mebibyte, 4096},
		{"64 GB", 64 * gibibyte, 4096},
	} {
		t.Run(test.name, func(t *testing.T) {
			sizes, err := Fit(test.memory)
			var little *MemoryError
			if test.heap == 0 {
				if !errors.As(err, &little) {
					t.Fatalf("got %v, want a *MemoryError", err)
				}
				return
			}
			if err != nil || sizes.Heap != test.heap*mebibyte {
				t.Fatalf("got a heap of %d MiB, %v", sizes.Heap/mebibyte, err)
			}
			if total := sizes.DHIS2Memory + sizes.PostgresMemory; total > test.memory*9/10 {
				t.Errorf("the services may take %d of %d MiB: nothing is left for the machine", total/mebibyte, test.memory/mebibyte)
			}
			if sizes.Heap > sizes.DHIS2Memory*3/4 || sizes.SharedBuffers > sizes.PostgresMemory/2 {
				t.Errorf("a service outgrows its container: %+v", sizes)
			}
		})
	}
}
