package compose

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// neighbour is another machine on the clinic's network: a network namespace that is tied to this one by a cable.
type neighbour struct {
	t         *testing.T
	namespace string
	here      netip.Addr // this machine's address on the cable
	there     netip.Addr // its own
}

func newNeighbour(t *testing.T) *neighbour {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("another machine is played by a network namespace: that needs root and iproute2")
		}
		t.Skip("SKIPPED, NOTHING WAS TESTED: another machine is played by a network namespace: that needs root and iproute2")
	}
	number := rand.IntN(200) + 20
	n := &neighbour{
		t: t, namespace: fmt.Sprintf("fieldkit-%d-%d", os.Getpid(), number),
		here: netip.AddrFrom4([4]byte{10, 212, byte(number), 1}), there: netip.AddrFrom4([4]byte{10, 212, byte(number), 2}),
	}
	cable := fmt.Sprintf("fk%d", number)
	run := func(command string, arguments ...any) {
		t.Helper()
		if out, err := exec.Command("sh", "-c", fmt.Sprintf(command, arguments...)).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", fmt.Sprintf(command, arguments...), err, out)
		}
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", n.namespace).Run() })
	run("ip netns add %s", n.namespace)
	run("ip link add %sa type veth peer name %sb", cable, cable)
	t.Cleanup(func() { exec.Command("ip", "link", "del", cable+"a").Run() })
	run("ip link set %sb netns %s && ip addr add %s/24 dev %sa && ip link set %sa up", cable, n.namespace, n.here, cable, cable)
	run("ip -n %s addr add %s/24 dev %sb && ip -n %s link set %sb up", n.namespace, n.there, cable, n.namespace, cable)
	return n
}

// trespasses has the other machine send everything here, also what is for a container's own address.
func (n *neighbour) trespasses() {
	n.t.Helper()
	if out, err := exec.Command("ip", "-n", n.namespace, "route", "replace", "default", "via", n.here.String()).CombinedOutput(); err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
}

// as runs something on a thread that is in the other machine. Sockets stay where they were made.
func (n *neighbour) as(run func()) {
	n.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		namespace, err := os.Open(filepath.Join("/var/run/netns", n.namespace))
		if err == nil {
			defer namespace.Close()
			err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			run()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// reaches tells whether a connection from there to an address here succeeds.
func (n *neighbour) reaches(address netip.AddrPort) bool {
	n.t.Helper()
	var reached bool
	n.as(func() {
		connection, err := net.DialTimeout("tcp", address.String(), time.Second)
		if reached = err == nil; reached {
			connection.Close()
		}
	})
	return reached
}

func TestIsolation(t *testing.T) {
	engine := testEngine(t)
	other := newNeighbour(t)
	project := newProject(t, engine)
	settings := engineSettings(project)
	up(t, engine, settings)
	// From inside a network, is there a way out?
	outside := outsideListener(t, other)
	leaves := func(network string) bool {
		command := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--network", network, "--entrypoint", "timeout", postgresImage,
			"2", "bash", "-c", fmt.Sprintf("echo > /dev/tcp/%s/%d", outside.Addr(), outside.Port()))
		command.Env = append(os.Environ(), "DOCKER_HOST="+engine.docker.host())
		return command.Run() == nil
	}
	plain := project + "_plain" // the control: an ordinary network has one
	cli(t.Context(), t, engine, "network", "create", "--label", labelProject+"="+project, plain)
	if !leaves(plain) {
		t.Fatal("an ordinary container does not get out, so this test shows nothing")
	}
	if leaves(project + "_data") {
		t.Error("there is a way out of the network data")
	}

	settings.Clinic = &ClinicPort{Name: "kit.test", Address: other.here, Port: 8099}
	up(t, engine, settings)
	answers(t, "http://"+netip.AddrPortFrom(other.here, 8099).String())
	if leaves(project + "_clinic") {
		t.Error("there is a way out of the network clinic")
	}

	// From outside, what is reached but the clinic's port?
	other.trespasses()
	open := states(t, engine, project)
	if !other.reaches(netip.AddrPortFrom(other.here, 8099)) {
		t.Error("a tablet does not reach the clinic's port")
	}
	for _, address := range []netip.AddrPort{
		netip.AddrPortFrom(open["postgres"].Address, PostgresPort), netip.AddrPortFrom(open["dhis2"].Address, DHIS2Port),
		netip.AddrPortFrom(other.here, PostgresPort), netip.AddrPortFrom(other.here, DHIS2Port),
	} {
		if other.reaches(address) {
			t.Errorf("another machine reaches %s of an open stack", address)
		}
	}
	settings.Clinic = nil
	up(t, engine, settings)
	closed := states(t, engine, project)
	for _, address := range []netip.AddrPort{
		netip.AddrPortFrom(closed["postgres"].Address, PostgresPort), netip.AddrPortFrom(closed["dhis2"].Address, DHIS2Port),
		netip.AddrPortFrom(other.here, 8099), netip.AddrPortFrom(other.here, PostgresPort), netip.AddrPortFrom(other.here, DHIS2Port),
	} {
		if other.reaches(address) {
			t.Errorf("another machine reaches %s of a closed stack", address)
		}
	}
}

// outsideListener listens in the other machine until the test ends.
func outsideListener(t *testing.T, other *neighbour) netip.AddrPort {
	t.Helper()
	var listener net.Listener
	var err error
	other.as(func() { listener, err = net.Listen("tcp", other.there.String()+":0") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connection.Close()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}
