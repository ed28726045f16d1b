// Package postgrestest starts PostgreSQL for tests.
//
// A cluster is one private PostgreSQL server with its own directory and a free port of the loopback address; it is thrown
// away when the test ends and promises nothing about a power cut. A database of it has the extensions that DHIS2 asks for
// before its first start: postgis, btree_gin and pg_trgm.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cluster is a running PostgreSQL server. Its methods may be called from several goroutines, except Stop and Start.
type Cluster struct {
	binaries, data string
	port           int
	owner          *syscall.Credential // nil: whoever runs the test
	databases      atomic.Int64
	ended          chan struct{} // closed when the process started last is gone
	process        *os.Process
}

// Start makes and starts a cluster that ends with the test. Under -short the test is skipped. On a machine without PostgreSQL and
// PostGIS it is skipped too, except when the environment's CI is "true": there it fails.
func Start(t testing.TB) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("starts PostgreSQL")
	}
	binaries, err := findBinaries()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	c := &Cluster{binaries: binaries}
	root, err := os.MkdirTemp("", "postgrestest") // not t.TempDir: its parents are closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if c.owner, err = otherUser(); err != nil {
		t.Fatal(err)
	}
	if c.owner != nil {
		if err := os.Chown(root, int(c.owner.Uid), int(c.owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	c.data = filepath.Join(root, "data")
	initdb := c.command(t.Context(), "initdb", "--pgdata", c.data, "--username", "postgres", "--auth", "trust",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions")
	if output, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, output)
	}
	if c.port, err = freePort(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	c.Start(t)
	return c
}

// URL is the address of a database of the cluster, for its superuser.
func (c *Cluster) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", c.port, database)
}

// Port is where the cluster listens on the loopback address; it stays the same when the cluster is stopped and started.
func (c *Cluster) Port() int { return c.port }

// Database makes an empty database with DHIS2's extensions and returns its address.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := "test" + strconv.FormatInt(c.databases.Add(1), 10)
	c.run(t, "postgres", "CREATE DATABASE "+name)
	c.run(t, name, "CREATE EXTENSION postgis; CREATE EXTENSION btree_gin; CREATE EXTENSION pg_trgm")
	return c.URL(name)
}

func (c *Cluster) run(t testing.TB, database, sql string) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), c.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close(context.WithoutCancel(t.Context())) }()
	if _, err := connection.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Start starts the cluster again after Stop or Kill and returns when it accepts connections.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(c.data+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	server := c.command(context.WithoutCancel(t.Context()), "postgres", "-D", c.data, "-p", strconv.Itoa(c.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "shared_buffers=32MB", "-c", "max_connections=60")
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait()
		close(ended)
	}()
	c.process, c.ended = server.Process, ended
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for {
		connection, err := pgx.Connect(t.Context(), c.URL("postgres"))
		if err == nil {
			_ = connection.Close(t.Context())
			return
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(c.data + ".log")
			t.Fatalf("PostgreSQL ended at once:\n%s", text)
		case <-patience.C:
			t.Fatalf("PostgreSQL does not accept connections: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the cluster in an orderly way, breaking off all sessions. It may be called twice.
func (c *Cluster) Stop() { c.signal(syscall.SIGINT) }

// Kill ends the cluster as a crash would; what was committed is there after Start. It may be called twice.
func (c *Cluster) Kill() { c.signal(syscall.SIGQUIT) }

func (c *Cluster) signal(signal syscall.Signal) {
	if c.process == nil {
		return
	}
	_ = c.process.Signal(signal) // it may have ended
	<-c.ended
	c.process = nil
}

// command is a program of PostgreSQL, run as a user that PostgreSQL accepts: never root.
func (c *Cluster) command(ctx context.Context, name string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(c.binaries, name), arguments...) //nolint:gosec // found below PostgreSQL's own directory
	command.Dir = "/"
	if c.owner != nil {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: c.owner}
	}
	return command
}

// errNoPostgres is a machine on which these tests cannot run.
var errNoPostgres = errors.New("no PostgreSQL with PostGIS on this machine: install postgresql-postgis")

// findBinaries is the directory of the newest PostgreSQL that has PostGIS, as Debian lays them out.
func findBinaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	slices.SortFunc(found, func(a, b string) int { return major(b) - major(a) })
	for _, binary := range found {
		extension := fmt.Sprintf("/usr/share/postgresql/%d/extension/postgis.control", major(binary))
		if _, err := os.Stat(extension); err == nil {
			return filepath.Dir(binary), nil
		}
	}
	return "", errNoPostgres
}

// major is the version in such a path.
func major(path string) int {
	version, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return version
}

// otherUser is the user postgres when the test runs as root, nil otherwise.
func otherUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil //nolint:nilnil // no other user is needed
	}
	postgres, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("root needs the user postgres to run PostgreSQL: %w", err)
	}
	uid, err := strconv.ParseUint(postgres.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(postgres.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// freePort is a port of the loopback address that nobody listens on.
func freePort(ctx context.Context) (int, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }()
	return strconv.Atoi(strings.TrimPrefix(listener.Addr().String(), "127.0.0.1:"))
}
