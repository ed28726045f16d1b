package orchestrator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine is a Docker engine of one test's own, so that the test may pull its plug.
type engine struct {
	t    *testing.T
	dir  string
	pool int // the second byte of its networks' addresses
	// daemon is nil while it is off; ended is closed when it ends.
	daemon *exec.Cmd
	ended  chan struct{}
}

// needEngine makes sure that tests with containers can run: a Docker engine with the stand-in images in it,
// which `make test` provides, and the right to start another. Without them the test is skipped, in CI it fails.
func needEngine(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Docker engine: not with -short")
	}
	without := func(format string, arguments ...any) {
		t.Helper()
		reason := fmt.Sprintf(format, arguments...)
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip("SKIPPED, NOTHING WAS TESTED: " + reason)
	}
	if os.Geteuid() != 0 {
		without("only root can start a Docker engine")
	}
	for _, name := range []string{"dockerd", "docker", "containerd", "runc", "iptables"} {
		if _, err := exec.LookPath(name); err != nil {
			without("there is no %s here", name)
		}
	}
	for _, image := range []string{simulatedImage + ":2.42.5.2", postgresImage} {
		if out, err := exec.CommandContext(t.Context(), "docker", "image", "inspect", image).CombinedOutput(); err != nil {
			without("the engine at DOCKER_HOST has no image %s (`make images` builds it): %s", image, out)
		}
	}
}

// The stand-in images that `make images` builds, named for what they are.
const (
	simulatedImage = "fieldkit/dhis2sim"
	postgresImage  = "postgis/postgis:15-3.3"
)

// newEngine starts an engine that holds the stand-in images. Its networks lie in 10.POOL.0.0/16: two engines
// at the same time need two pools.
func newEngine(t *testing.T, pool int) *engine {
	t.Helper()
	needEngine(t)
	// The socket's path must stay short, and the daemon's folders must outlive t.TempDir's removal order.
	dir, err := os.MkdirTemp("", "engine")
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, dir: dir, pool: pool}
	t.Cleanup(e.remove)
	e.start()
	for _, image := range []string{simulatedImage + ":2.42.5.2", postgresImage} {
		e.copyImage(image)
	}
	return e
}

// run is what /run is to an engine of the system: empty after every start of the machine.
func (e *engine) run() string { return filepath.Join(e.dir, "run") }

// host is where the engine listens.
func (e *engine) host() string { return "unix://" + filepath.Join(e.dir, "docker.sock") }

// start starts the daemon and waits until it answers. Engines that start at the same moment may trip over each
// other's packet filter rules, and end: the next try finds them made.
func (e *engine) start() {
	e.t.Helper()
	for range 5 {
		e.launch()
		for try := 0; try < 600 && e.alive(); try++ {
			if e.try("version") == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	e.t.Fatalf("the engine does not start: see %s", filepath.Join(e.dir, "log"))
}

// launch starts the daemon.
func (e *engine) launch() {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	daemon := exec.CommandContext(context.WithoutCancel(e.t.Context()), "dockerd", "--host", e.host(),
		"--data-root", filepath.Join(e.dir, "root"), "--exec-root", e.run(), "--pidfile", filepath.Join(e.run(), "dockerd.pid"),
		"--bridge", "none", "--default-address-pool", fmt.Sprintf("base=10.%d.0.0/16,size=24", e.pool), "--shutdown-timeout", "5")
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := daemon.Start(); err != nil {
		e.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = daemon.Wait() // how it ended is in its log
	}()
	e.daemon, e.ended = daemon, ended
}

// alive tells whether the daemon runs.
func (e *engine) alive() bool {
	if e.daemon == nil {
		return false
	}
	select {
	case <-e.ended:
		return false
	default:
		return true
	}
}

// until waits for a condition.
func (e *engine) until(patience time.Duration, what string, ready func() error) {
	e.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("waited %s until %s: %v", patience, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// docker runs the docker client against the engine and returns what it printed.
func (e *engine) docker(arguments ...string) string {
	e.t.Helper()
	out, err := e.command(arguments...).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			e.t.Fatalf("docker %s: %v: %s", strings.Join(arguments, " "), err, failed.Stderr)
		}
		e.t.Fatalf("docker %s: %v", strings.Join(arguments, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// try runs the docker client where it may fail.
func (e *engine) try(arguments ...string) error {
	out, err := e.command(arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker %s: %w: %s", strings.Join(arguments, " "), err, out)
	}
	return nil
}

func (e *engine) command(arguments ...string) *exec.Cmd {
	command := exec.CommandContext(context.WithoutCancel(e.t.Context()), "docker", arguments...)
	command.Env = append(os.Environ(), "DOCKER_HOST="+e.host())
	return command
}

// copyImage brings an image over from the engine at DOCKER_HOST.
func (e *engine) copyImage(image string) {
	e.t.Helper()
	save := exec.CommandContext(e.t.Context(), "docker", "save", image)
	load := e.command("load")
	reader, writer := io.Pipe()
	var said bytes.Buffer
	save.Stdout, save.Stderr, load.Stdin = writer, &said, reader
	if err := load.Start(); err != nil {
		e.t.Fatal(err)
	}
	err := save.Run()
	_ = writer.CloseWithError(err)
	if err := errors.Join(err, load.Wait()); err != nil {
		e.t.Fatalf("copying image %s: %v: %s", image, err, said.String())
	}
}

// pullPlug kills the engine and everything in it at once, as a power cut does. What the kernel holds in its
// page cache survives: see TestPowerCut for what does not.
func (e *engine) pullPlug() {
	e.t.Helper()
	// The daemon and containerd first, so that nobody restarts anything.
	for _, pattern := range []string{"dockerd", "containerd", ""} {
		for _, pid := range e.processes(pattern) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
		}
	}
	<-e.ended
	e.daemon = nil
	e.until(10*time.Second, "all its processes are gone", func() error {
		if left := e.processes(""); len(left) > 0 {
			return fmt.Errorf("still there: %v", left)
		}
		return nil
	})
	e.unmount(e.dir) // containers' file systems, too
	if err := os.RemoveAll(e.run()); err != nil {
		e.t.Fatal(err)
	}
}

// unmount takes away all that is mounted below dir.
func (e *engine) unmount(dir string) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		e.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			_ = syscall.Unmount(fields[1], syscall.MNT_DETACH) // below another one, it went with that
		}
	}
}

// processes are the engine's own processes whose program has that name; of any name, and of its containers
// too, when program is empty.
func (e *engine) processes(program string) []int {
	parents := map[int]int{}
	var ours []int
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		e.t.Fatal(err)
	}
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil || len(line) == 0 {
			continue // gone, or a zombie
		}
		stat, err := os.ReadFile(filepath.Join(folder, "stat"))
		if err != nil {
			continue
		}
		// pid (name) state parent ...; the name may hold anything, a parenthesis too.
		if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
		name := filepath.Base(string(line[:max(0, bytes.IndexByte(line, 0))]))
		if bytes.Contains(line, []byte(e.dir+"/")) && name != "docker" && (program == "" || name == program) {
			ours = append(ours, pid)
		}
	}
	if program != "" {
		return ours
	}
	for again := true; again; { // children, and theirs
		again = false
		for pid, parent := range parents {
			if slices.Contains(ours, parent) && !slices.Contains(ours, pid) {
				ours, again = append(ours, pid), true
			}
		}
	}
	return ours
}

// remove takes the engine and all that it held away.
func (e *engine) remove() {
	if e.alive() {
		for _, id := range strings.Fields(e.docker("ps", "-aq")) {
			_ = e.try("rm", "-f", id)
		}
		for _, id := range strings.Fields(e.docker("network", "ls", "-q", "--filter", "type=custom")) {
			_ = e.try("network", "rm", id)
		}
		_ = e.daemon.Process.Signal(syscall.SIGTERM)
		<-e.ended
	}
	for _, pid := range e.processes("") {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	e.unmount(e.dir)
	if err := os.RemoveAll(e.dir); err != nil {
		e.t.Errorf("the engine leaves files behind: %v", err)
	}
}
