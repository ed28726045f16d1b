package orchestrator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// TestTwoKits runs two kits of one name on one machine: neither sees the other. Then one is opened and closed
// twenty times, which leaves nothing behind but its data, and takes hardly longer than its servers' start.
func TestTwoKits(t *testing.T) {
	e := newEngine(t, 222)
	before := e.everything()
	one, other := newStackKit(t, e, "127.0.0.1"), newStackKit(t, e, "127.0.0.1")
	for _, k := range []*stackKit{one, other} {
		k.write("compose.override.yaml", "services: {dhis2: {environment: {DHIS2SIM_BOOT: 0s}}}\n")
		k.patientsAtCentral()
		k.fieldkit("prepare", "--yes")
		k.fieldkit("up")
	}
	one.register(0, 3)
	one.sees(3)
	other.sees(0)
	for _, from := range []*stackKit{one, other} {
		to := one
		if from == one {
			to = other
		}
		address := e.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", to.container("postgres"))
		for _, ip := range strings.Fields(address) {
			if err := e.try("exec", from.container("postgres"), "timeout", "3", "pg_isready", "-q", "-h", ip); err == nil {
				t.Errorf("one kit's PostgreSQL reaches the other's at %s", ip)
			}
		}
	}
	other.fieldkit("down")
	one.sees(3)

	one.fieldkit("down")
	closed := e.everything()
	rounds := 20
	var own []float64
	for range rounds {
		var up struct{ OwnSeconds float64 }
		if err := json.Unmarshal([]byte(one.fieldkit("up", "--json")), &up); err != nil {
			t.Fatal(err)
		}
		own = append(own, up.OwnSeconds)
		one.fieldkit("down")
	}
	if left := e.everything(); !slices.Equal(left, closed) {
		t.Errorf("after %d times up and down the engine holds\n%v\nand held before\n%v", rounds, left, closed)
	}
	slices.Sort(own)
	t.Logf("up's own time, beside its servers' start: %.2f s at least, median %.2f s, at most %.2f s", own[0], own[len(own)/2], own[len(own)-1])
	if own[0] > 3 { // the least, as the machine may be busy with something else
		t.Errorf("up takes %.2f s beside its servers' start, the bar is 3 s", own[0])
	}
	one.fieldkit("up")
	one.sees(3)

	// What is to go away for good goes away, without a trace.
	for _, k := range []*stackKit{one, other} {
		if out, err := k.try("down", "--delete-data", "--yes"); err == nil {
			t.Errorf("what tablets may have sent since the last reconcile was deleted: %s", out)
		}
		k.fieldkit("down")
		k.reconcile(false)
		k.fieldkit("down", "--delete-data", "--yes")
	}
	if left := e.everything(); !slices.Equal(left, before) {
		t.Errorf("after the data was deleted the engine holds\n%v\nand held before\n%v", left, before)
	}
}

// everything lists all that an engine holds.
func (e *engine) everything() []string {
	var all []string
	for _, kind := range []string{"container", "network", "volume", "image"} {
		format := "{{.Name}}"
		switch kind {
		case "container":
			format = "{{.Names}}"
		case "image":
			format = "{{.ID}}"
		}
		arguments := []string{kind, "ls", "--format", format}
		if kind == "container" {
			arguments = append(arguments, "--all")
		}
		for _, name := range strings.Fields(e.docker(arguments...)) {
			all = append(all, kind+" "+name)
		}
	}
	slices.Sort(all)
	return all
}

// sees makes sure that a tablet finds so many patients beside the five that came from central.
func (k *stackKit) sees(registered int) {
	k.t.Helper()
	query := dhis2api.TrackedEntityQuery{OrgUnitMode: dhis2api.OrgUnitModeAccessible, TrackedEntityType: k.id("patient")}
	var found []string
	for person, err := range k.atClinic().TrackedEntities(k.t.Context(), query) {
		if err != nil {
			k.t.Fatal(err)
		}
		found = append(found, person.TrackedEntity)
	}
	if len(found) != 5+registered {
		k.t.Errorf("%s has %d people, want %d", k.kitDir, len(found), 5+registered)
	}
}

// TestClinicPortAlone looks at a kit from another machine, which a network namespace stands in for: nothing but
// the clinic's port answers, not even to somebody who knows the containers' addresses, and the password that
// every DHIS2 begins with does not log in.
func TestClinicPortAlone(t *testing.T) {
	e := newEngine(t, 223)
	neighbour := newNeighbour(t, "10.99.223.1", "10.99.223.2")
	quiet := neighbour.openPorts("10.99.223.1")
	k := newStackKit(t, e, "10.99.223.1")
	k.patientsAtCentral()
	k.fieldkit("prepare", "--yes")
	if open := neighbour.openPorts("10.99.223.1"); !slices.Equal(open, quiet) {
		t.Errorf("after prepare, closed, ports %v answer; before it were %v", open, quiet)
	}
	k.fieldkit("up")
	want := append(slices.Clone(quiet), int(k.clinic.Port()))
	slices.Sort(want)
	if open := neighbour.openPorts("10.99.223.1"); !slices.Equal(open, want) {
		t.Errorf("at the clinic's address ports %v answer, want %v", open, want)
	}
	// The neighbour tells its own machine that the containers lie behind this one.
	neighbour.run("ip", "route", "add", "10.223.0.0/16", "via", "10.99.223.1")
	for _, service := range []string{"postgres", "dhis2"} {
		for _, address := range strings.Fields(e.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", k.container(service))) {
			for _, port := range []int{5432, 8080} {
				answers := neighbour.answers(address, port)
				// Docker lets whoever finds the way to DHIS2's own address in: the same door as the published port.
				if door := service == "dhis2" && port == 8080; answers && !door {
					t.Errorf("%s answers to a neighbour at %s:%d", service, address, port)
				}
			}
		}
	}
	for password, status := range map[string]int{"district": http.StatusUnauthorized, k.record().AdminPassword: http.StatusOK} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+k.clinic.String()+"/api/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("admin", password)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != status {
			t.Errorf("logging in as admin is answered with %d, want %d", answer.StatusCode, status)
		}
	}
	k.noSecrets()
}

// neighbour is another machine in the clinic's network.
type neighbour struct {
	t    *testing.T
	name string
}

// newNeighbour makes a network of two: this machine and its neighbour.
func newNeighbour(t *testing.T, here, there string) *neighbour {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatal(err)
	}
	n := &neighbour{t: t, name: "fk" + strconv.Itoa(os.Getpid())}
	system(t, "ip", "netns", "add", n.name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n.name).Run() })
	system(t, "ip", "link", "add", n.name, "type", "veth", "peer", "name", "eth0", "netns", n.name)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", n.name).Run() })
	system(t, "ip", "address", "add", here+"/24", "dev", n.name)
	system(t, "ip", "link", "set", n.name, "up")
	n.run("ip", "address", "add", there+"/24", "dev", "eth0")
	n.run("ip", "link", "set", "eth0", "up")
	n.run("ip", "link", "set", "lo", "up")
	return n
}

// run runs a program at the neighbour's.
func (n *neighbour) run(program string, arguments ...string) string {
	n.t.Helper()
	return system(n.t, "ip", append([]string{"netns", "exec", n.name, program}, arguments...)...)
}

// knockVariable tells the test's own program, run in the neighbour's network, where to knock.
const knockVariable = "FIELDKIT_TEST_KNOCK"

// openPorts lists the TCP ports of an address that answer the neighbour.
func (n *neighbour) openPorts(address string) []int { return n.knock(address, 1, 65535) }

// answers tells whether one port answers the neighbour.
func (n *neighbour) answers(address string, port int) bool {
	return len(n.knock(address, port, port)) == 1
}

func (n *neighbour) knock(address string, first, last int) []int {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	command := exec.CommandContext(n.t.Context(), "ip", "netns", "exec", n.name, self, "-test.run=^TestKnock$")
	command.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", knockVariable, address, first, last))
	out, err := command.Output()
	if err != nil {
		n.t.Fatalf("knocking at %s: %v: %s", address, err, out)
	}
	var ports []int
	for line := range strings.Lines(string(out)) {
		if port, found := strings.CutPrefix(strings.TrimSpace(line), "open "); found {
			number, err := strconv.Atoi(port)
			if err != nil {
				n.t.Fatal(err)
			}
			ports = append(ports, number)
		}
	}
	return ports
}

// TestKnock is no test: it is the neighbour that knocks at ports, and prints those that answer.
func TestKnock(t *testing.T) {
	wanted := os.Getenv(knockVariable)
	if wanted == "" {
		t.Skip("only run by the neighbour of TestClinicPortAlone")
	}
	var (
		address     string
		first, last int
	)
	if _, err := fmt.Sscan(wanted, &address, &first, &last); err != nil {
		t.Fatal(err)
	}
	var (
		mu   sync.Mutex
		open []int
		busy sync.WaitGroup
	)
	hands := make(chan struct{}, 256)
	for port := first; port <= last; port++ {
		hands <- struct{}{}
		busy.Go(func() {
			defer func() { <-hands }()
			connection, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(t.Context(), "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				open = append(open, port)
				if err := connection.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	busy.Wait()
	slices.Sort(open)
	for _, port := range open {
		fmt.Println("open", port)
	}
}
