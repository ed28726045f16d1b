package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
	"github.com/google/go-cmp/cmp"
)

// TestMain runs the program itself where a test has started this binary to be killed.
func TestMain(m *testing.M) {
	if os.Getenv("DHIS2SIM_TEST_PROGRAM") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is the program as a process of its own.
type program struct {
	*exec.Cmd
	address string
}

// startProgram starts the program and returns when it has printed its address.
func startProgram(t *testing.T, arguments ...string) *program {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-listen", "127.0.0.1:0"}, arguments...)...) //nolint:gosec // this binary
	command.Env = append(os.Environ(), "DHIS2SIM_TEST_PROGRAM=1")
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return &program{command, strings.TrimSpace(line)}
}

// ask makes a request as the administrator; its error is one of the connection.
func (p *program) ask(ctx context.Context, method, path, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.address+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.SetBasicAuth("admin", "district")
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(content), err
}

const registry = `{
"organisationUnits": [{"id": "aUnitAbove1", "name": "Country", "shortName": "Country", "openingDate": "2020-01-01"}],
"trackedEntityTypes": [{"id": "aPersonType", "name": "Person", "shortName": "Person"}],
"programs": [{"id": "aProgram111", "name": "Visits", "shortName": "Visits", "programType": "WITH_REGISTRATION", "trackedEntityType": {"id": "aPersonType"}, "organisationUnits": [{"id": "aUnitAbove1"}]}],
"users": [{"id": "M5zQapPyTZI", "username": "admin", "firstName": "admin", "surname": "admin", "userRoles": [{"id": "yrB6vc5Ip3r"}], "organisationUnits": [{"id": "aUnitAbove1"}]}]}`

// person is the payload of one tracked entity.
func person(client, number int) (uid, payload string) {
	uid = fmt.Sprintf("P%02d%08d", client, number)
	return uid, `{"trackedEntities": [{"trackedEntity": "` + uid + `", "trackedEntityType": "aPersonType", "orgUnit": "aUnitAbove1"}]}`
}

// Clients post while the program is killed, again and again: what was answered for is there when it runs again, whether the
// answer was to the request itself or the report of a job.
func TestKilled(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Start(t)
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			database := cluster.Database(t)
			const rounds, clients = 3, 4
			var mu sync.Mutex
			var acknowledged []string
			var next atomic.Int64
			for round := range rounds {
				p := startProgram(t, "-version", version, "-database", database)
				if round == 0 {
					if status, answer, err := p.ask(t.Context(), http.MethodPost, "/api/metadata", registry); status != http.StatusOK || err != nil {
						t.Fatal(status, answer, err)
					}
				}
				enough := make(chan struct{})
				var answers atomic.Int64
				var wait sync.WaitGroup
				for client := range clients {
					wait.Go(func() {
						for {
							uid, payload := person(client, int(next.Add(1)))
							if !p.post(t.Context(), payload, client%2 == 0) {
								return // killed
							}
							mu.Lock()
							acknowledged = append(acknowledged, uid)
							mu.Unlock()
							if answers.Add(1) == 40 {
								close(enough)
							}
						}
					})
				}
				<-enough
				if err := p.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				wait.Wait()
				_ = p.Wait() // it was killed
			}
			p := startProgram(t, "-version", version, "-database", database)
			missing := 0
			for _, uid := range acknowledged {
				if status, answer, err := p.ask(t.Context(), http.MethodGet, "/api/tracker/trackedEntities/"+uid, ""); status != http.StatusOK || err != nil {
					missing++
					t.Log(uid, status, answer, err)
				}
			}
			if missing > 0 || len(acknowledged) < rounds*40 {
				t.Errorf("%d of %d acknowledged tracked entities are missing", missing, len(acknowledged))
			}
			_ = p.Process.Kill()
			_ = p.Wait()
		})
	}
}

// post imports a payload and tells whether the server said that it did: at once, or in the report of a job.
func (p *program) post(ctx context.Context, payload string, async bool) bool {
	status, answer, err := p.ask(ctx, http.MethodPost, fmt.Sprintf("/api/tracker?async=%t", async), payload)
	if err != nil || status != http.StatusOK || !async {
		return err == nil && status == http.StatusOK
	}
	_, rest, _ := strings.Cut(answer, `"id":"`)
	job, _, _ := strings.Cut(rest, `"`)
	for {
		status, answer, err := p.ask(ctx, http.MethodGet, "/api/tracker/jobs/"+job+"/report", "")
		switch {
		case err != nil:
			return false
		case status == http.StatusOK:
			return strings.Contains(answer, `"created":1`)
		}
	}
}

// As the program of the image does: the port is there at once, answers come when the server is ready, and SIGTERM ends it with 143.
func TestStandIn(t *testing.T) {
	t.Parallel()
	cluster := postgrestest.Start(t)
	database := cluster.Database(t)
	home := t.TempDir()
	conf := "# made by hand\nconnection.url = jdbc:postgresql://127.0.0.1:${DB_PORT}/" + filepath.Base(strings.TrimSuffix(database, "?sslmode=disable")) +
		"\nconnection.username = postgres \nconnection.password = ${DB_PASSWORD}\n"
	if err := os.WriteFile(filepath.Join(home, "dhis.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()                                                                       // only its port is wanted
	command := exec.CommandContext(t.Context(), os.Args[0], "-home", home, "-listen", address) //nolint:gosec // this binary
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, os.Stderr
	command.Env = append(os.Environ(), "DHIS2SIM_TEST_PROGRAM=1", "DHIS2SIM_VERSION=2.43.1", "DHIS2SIM_BOOT=3s", "DHIS2SIM_CLOCK=-262800h", "DB_PASSWORD=any",
		fmt.Sprintf("DB_PORT=%d", cluster.Port()), "JAVA_TOOL_OPTIONS=-Xmx700m -Duser.timezone=America/Panama")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	for { // the port is bound at once
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = connection.Close()
			break
		}
	}
	p := &program{command, "http://" + address}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, answer, err := p.ask(short, http.MethodGet, "/api/ping", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it starts it answers %q, %v; want nothing yet", answer, err)
	}
	status, answer, err := p.ask(t.Context(), http.MethodGet, "/api/system/info", "")
	if err != nil || status != http.StatusOK {
		t.Fatal(status, answer, err)
	}
	year := fmt.Sprintf(`"serverDate":"%d-`, time.Now().Add(-262800*time.Hour).Year())
	for _, part := range []string{`"version":"2.43.1"`, `"serverTimeZoneId":"America/Panama"`, year} {
		if !strings.Contains(answer, part) {
			t.Errorf("system info lacks %s: %s", part, answer)
		}
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait() // its status is looked at
	if code := command.ProcessState.ExitCode(); code != 143 {
		t.Errorf("status %d after SIGTERM, want 143", code)
	}
	at := 0
	for _, marker := range []string{"Initializing ProtocolHandler", "Starting service [Catalina]", "All startup routines done", "Starting ProtocolHandler", "Server startup in ["} {
		found := strings.Index(output.String()[at:], marker)
		if found < 0 {
			t.Fatalf("log lacks %q after what came before:\n%s", marker, output.String())
		}
		at += found
	}
}

// Without its database the stand-in ends, so that its container starts again.
func TestNoDatabase(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"-listen", "127.0.0.1:0", "-database", "postgres://dhis:secret@127.0.0.1:1/dhis2"}, noEnvironment, io.Discard, io.Discard)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("ended with %v", err)
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"DB_PASSWORD": "p${x}=", "DB": "dhis2"}
	got := parseProperties("\n! a remark\n# another\nconnection.url=jdbc:postgresql://postgres:5432/${DB}  \r\n  connection.password : ${DB_PASSWORD}\nlong = one \\\n   two\nwith\\ blank=v\nunknown=${NOTHING}\nempty=\nunicode=\\u00f1 \\\\\nalone", func(name string) string { return environment[name] })
	want := map[string]string{
		"connection.url": "jdbc:postgresql://postgres:5432/dhis2", "connection.password": "p${x}=", "long": "one two", "with blank": "v", "unknown": "${NOTHING}",
		"empty": "", "unicode": `ñ \`, "alone": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
}
