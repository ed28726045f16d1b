package orchestrator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// stackKit is a kit that runs its own containers, used by the program itself, and a world around it.
type stackKit struct {
	*world
	engine  *engine
	program string
	clinic  netip.AddrPort
}

// newStackKit makes a kit for an engine, whose central is simulated. The clinic reaches it at address.
func newStackKit(t *testing.T, e *engine, address string) *stackKit {
	t.Helper()
	w := &world{t: t, ids: map[string]string{}, metadata: map[string][]map[string]any{}, kitDir: t.TempDir(), now: time.Now}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed: %d", seed)
	w.random = rand.New(rand.NewPCG(seed, 0))
	central := simulated(t, "2.42.5.2")
	w.environment = map[string]string{
		"FIELDKIT_CENTRAL_USER": "admin", "FIELDKIT_CENTRAL_PASSWORD": "district",
		"DOCKER_HOST": e.host(), "HOME": w.kitDir, "XDG_CONFIG_HOME": filepath.Join(w.kitDir, ".config"), "PATH": os.Getenv("PATH"),
	}
	w.central = w.connect(orchestrator.Central, central)
	k := &stackKit{world: w, engine: e, program: filepath.Join(t.TempDir(), "fieldkit"), clinic: freePort(t, address)}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", k.program, "../cmd/fieldkit")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	config := fmt.Sprintf("name: bocas-1\ncentral: {url: %s}\nscope:\n  orgUnits: [%s]\n  programs: [%s, %s]\n  dataSets: [%s]\n"+
		"dhis2: {image: %s}\npostgres: {image: %q}\nclinic: {name: bocas-1.clinic.lan, address: %s, port: %d}\n",
		central, w.id("villages"), w.id("program"), w.id("water"), w.id("form"), simulatedImage, postgresImage, k.clinic.Addr(), k.clinic.Port())
	k.write("fieldkit.yaml", config)
	t.Cleanup(func() {
		// The project's containers would outlive the test in an engine that is shared.
		if out, err := k.try("down"); err != nil {
			t.Logf("down: %v\n%s", err, out)
		}
	})
	k.setUp()
	return k
}

// write writes a file into the kit.
func (k *stackKit) write(name, content string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.kitDir, name), []byte(content), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// freePort is a port of an address that nobody listens on.
func freePort(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// fieldkit runs the program on the kit and returns what it printed on standard output; it must end with 0.
func (k *stackKit) fieldkit(arguments ...string) string {
	k.t.Helper()
	command := k.command(arguments...)
	var talk bytes.Buffer
	command.Stderr = &talk
	out, err := command.Output()
	if err != nil {
		k.t.Fatalf("fieldkit %s: %v\n%s\n%s", strings.Join(arguments, " "), err, out, talk.String())
	}
	return string(out)
}

// try runs the program where it may fail, and returns everything that it printed.
func (k *stackKit) try(arguments ...string) (string, error) {
	out, err := k.command(arguments...).CombinedOutput()
	return string(out), err
}

func (k *stackKit) command(arguments ...string) *exec.Cmd {
	command := exec.CommandContext(context.WithoutCancel(k.t.Context()), k.program, append(arguments, "--kit", k.kitDir)...)
	for name, value := range k.environment {
		command.Env = append(command.Env, name+"="+value)
	}
	return command
}

// record is what the kit keeps of its stack.
func (k *stackKit) record() (record struct{ Project, AdminPassword, DatabasePassword, EncryptionPassword string }) {
	k.t.Helper()
	raw, err := os.ReadFile(filepath.Join(k.kitDir, "stack.json"))
	if err != nil {
		k.t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &record); err != nil {
		k.t.Fatal(err)
	}
	return record
}

// container is the name of a service's container.
func (k *stackKit) container(service string) string {
	k.t.Helper()
	name := k.engine.docker("ps", "-a", "--format", "{{.Names}}", "--filter", "label=com.docker.compose.project="+k.record().Project,
		"--filter", "label=com.docker.compose.service="+service)
	if name == "" || strings.Contains(name, "\n") {
		k.t.Fatalf("want one container of %s, have %q", service, name)
	}
	return name
}

// sql runs a statement in the kit's database.
func (k *stackKit) sql(statement string) string {
	k.t.Helper()
	return k.engine.docker("exec", k.container("postgres"), "psql", "-v", "ON_ERROR_STOP=1", "-qAt", "-U", "dhis", "-d", "dhis2", "-c", statement)
}

// tablet is a client as it stands at a station: at the clinic's address.
func (k *stackKit) tablet(ctx context.Context) (*dhis2api.Client, error) {
	return dhis2api.Connect(ctx, "http://"+k.clinic.String(), dhis2api.Credentials{Username: "admin", Password: k.record().AdminPassword}, dhis2api.Options{})
}

// tablets is what some tablets do until they are told to stop.
type tablets struct {
	mu           sync.Mutex
	acknowledged []string // names of patients whose job report said that they are stored
	sent         int
}

// work registers one patient after the other until the day ends, each again and again until a job's report says
// that it is stored: what a tablet does as long as a record is not green.
func (k *stackKit) work(ctx context.Context, day <-chan struct{}, number int, all *tablets, patients map[string]*dhis2api.TrackedEntity) {
	var client *dhis2api.Client
	for _, name := range slices.Sorted(maps.Keys(patients)) {
		select {
		case <-day:
			return
		case <-time.After(50 * time.Millisecond):
		}
		for stored := false; !stored; {
			if ctx.Err() != nil {
				return
			}
			err := func() error {
				patience, cancel := context.WithTimeout(ctx, 20*time.Second)
				defer cancel()
				var err error
				if client == nil {
					if client, err = k.tablet(patience); err != nil {
						return err
					}
				}
				all.mu.Lock()
				all.sent++
				all.mu.Unlock()
				job, err := client.ImportAsync(patience, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{patients[name]}}, dhis2api.ImportOptions{})
				if err != nil {
					return err
				}
				report, err := client.AwaitImport(patience, job)
				if err != nil {
					return err
				}
				if len(report.Errors) > 0 {
					k.t.Errorf("tablet %d: %s is refused: %s", number, name, asJSON(report.Errors))
					return nil
				}
				all.mu.Lock()
				all.acknowledged = append(all.acknowledged, name)
				all.mu.Unlock()
				return nil
			}()
			stored = err == nil
			if err != nil {
				client = nil // log in again, when somebody answers
				select {
				case <-ctx.Done():
				case <-time.After(300 * time.Millisecond):
				}
			}
		}
	}
}

// troubles are the bad things that happen to a kit, by name.
func (k *stackKit) troubles() map[string]func() {
	return map[string]func(){
		"the plug was pulled":  func() { k.engine.pullPlug(); k.engine.start() },
		"dhis2 was killed":     func() { k.killProcess("dhis2") },
		"postgres was killed":  func() { k.killProcess("postgres") },
		"both were killed":     func() { k.killProcess("postgres"); k.killProcess("dhis2") },
		"postgres was stopped": func() { k.engine.docker("restart", k.container("postgres")) },
		"the plug, once more":  func() { k.engine.pullPlug(); k.engine.start() },
	}
}

// killProcess kills a service's first process, as the kernel does for want of memory.
func (k *stackKit) killProcess(service string) {
	k.t.Helper()
	pid, err := strconv.Atoi(k.engine.docker("inspect", "-f", "{{.State.Pid}}", k.container(service)))
	if err != nil {
		k.t.Fatal(err)
	}
	if pid == 0 {
		return // it is just being started again
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		k.t.Fatal(err)
	}
}

// longAgo is a day before what a clock shows that is thirty years behind.
const longAgo = "1996-05-04"

// TestSoakClinicDay runs a whole trip with the kit's own containers on a real engine: while tablets work through the
// clinic's port, its processes and its engine are killed by chance, its clock is thirty years behind, and rows
// vanish from its database. Everything that a job report had acknowledged must be home.
func TestSoakClinicDay(t *testing.T) {
	e := newEngine(t, 220)
	k := newStackKit(t, e, "127.0.0.1")
	k.patientsAtCentral()
	k.fieldkit("prepare", "--yes")

	// A wrong clock: nothing may depend on it, neither on the kit's DHIS2 nor on fieldkit's own.
	k.write("compose.override.yaml", "services: {dhis2: {environment: {DHIS2SIM_CLOCK: -262800h}}}\n")
	k.now = func() time.Time { return time.Now().AddDate(-30, 0, 0) }
	k.fieldkit("up")

	rounds, stations := 1, 3 // in each round every trouble happens once
	if os.Getenv("FIELDKIT_SOAK") != "" {
		rounds = 20
	}
	all, day := &tablets{}, make(chan struct{})
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute+time.Duration(rounds)*2*time.Minute)
	defer stop()
	var working sync.WaitGroup
	for number := range stations {
		patients := map[string]*dhis2api.TrackedEntity{}
		for i := range 500 * rounds { // more than it can get through
			name := fmt.Sprintf("patient %d of tablet %d", i, number)
			patients[name] = k.patient(name, map[string]string{"nationalID": fmt.Sprintf("N-%d-%d", number, i), "phone": "6000-0000"})
			// DHIS2 refuses what lies in its future: the clinic writes the date that its clocks show.
			enrollment := patients[name].Enrollments[0]
			enrollment.EnrolledAt, enrollment.OccurredAt, enrollment.Events[0].OccurredAt = longAgo, longAgo, longAgo
		}
		working.Go(func() { k.work(ctx, day, number, all, patients) })
	}
	for range rounds {
		names := slices.Sorted(maps.Keys(k.troubles()))
		k.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			time.Sleep(time.Duration(500+k.random.IntN(3000)) * time.Millisecond)
			t.Log(name)
			k.troubles()[name]()
		}
	}
	close(day)
	working.Wait()
	if ctx.Err() != nil {
		t.Fatalf("the tablets did not come to their end: %d acknowledged", len(all.acknowledged))
	}
	t.Logf("%d patients acknowledged, sent %d times", len(all.acknowledged), all.sent)
	if len(all.acknowledged) == 0 || all.sent == len(all.acknowledged) {
		t.Errorf("the trouble hit nobody: %d patients acknowledged, sent %d times", len(all.acknowledged), all.sent)
	}

	// Somebody sets the kit's clock right in the middle of the day. Records are changed, and rows are gone.
	k.write("compose.override.yaml", "services: {}\n")
	k.fieldkit("up")
	k.local = k.atClinic()
	k.environment["FIELDKIT_LOCAL_USER"], k.environment["FIELDKIT_LOCAL_PASSWORD"] = "admin", k.record().AdminPassword
	k.clinicDay()
	for _, removed := range []string{
		fmt.Sprintf("delete from trackedentityattributevalue v using trackedentity t, trackedentityattribute a where v.trackedentityid = t.trackedentityid and v.trackedentityattributeid = a.trackedentityattributeid and t.uid = '%s' and a.uid = '%s'",
			k.id("Delia"), k.id("phone")),
		fmt.Sprintf("delete from event where uid = '%s'", k.id("Carlos's first visit")),
	} {
		k.sql(removed)
	}
	e.docker("restart", k.container("dhis2"))

	r := k.reconcile(false)
	if r.Candidates.By != report.ByTransaction {
		t.Errorf("changes were looked for by %s: %s", r.Candidates.By, r.Candidates.Reason)
	}
	if r.Sums.Open != 0 {
		t.Errorf("%d changes are open: %s", r.Sums.Open, asJSON(r))
	}
	for _, name := range all.acknowledged {
		person, err := k.central.TrackedEntity(t.Context(), k.id(name), dhis2api.Lookup{Program: k.id("program")})
		if err != nil {
			t.Errorf("%s was acknowledged and is not at central: %v", name, err)
			continue
		}
		if len(person.Enrollments) != 1 || len(person.Enrollments[0].Events) != 1 {
			t.Errorf("%s is at central without enrollment or visit: %s", name, asJSON(person))
		}
	}
	if got := k.attributes(k.central, "Ana")["phone"]; got != "6111-0001" {
		t.Errorf("Ana's phone at central is %q", got)
	}
	if got, there := k.attributes(k.central, "Delia")["phone"]; there {
		t.Errorf("Delia's phone, whose row was removed, is at central: %q", got)
	}
	if _, err := k.central.Event(t.Context(), k.id("Carlos's first visit"), dhis2api.Lookup{}); !dhis2api.NotFound(err) {
		t.Errorf("Carlos's visit, whose row was removed, is at central: %v", err)
	}
	again := k.reconcile(false)
	if again.Sent != 0 {
		t.Errorf("the second run sent %d operations", again.Sent)
	}
	k.noSecrets()
}

// atClinic is a tablet's client, once the kit answers.
func (k *stackKit) atClinic() *dhis2api.Client {
	k.t.Helper()
	var client *dhis2api.Client
	k.engine.until(2*time.Minute, "the kit answers at the clinic's address", func() (err error) {
		patience, cancel := context.WithTimeout(k.t.Context(), 5*time.Second)
		defer cancel()
		client, err = k.tablet(patience)
		return err
	})
	return client
}

// noSecrets makes sure that no secret of the kit's stack is where somebody may read it.
func (k *stackKit) noSecrets() {
	k.t.Helper()
	record := k.record()
	places := map[string]string{}
	for _, id := range strings.Fields(k.engine.docker("ps", "-aq")) {
		places["docker inspect "+id] = k.engine.docker("inspect", id)
		logs, err := k.engine.command("logs", id).CombinedOutput()
		if err != nil {
			k.t.Fatal(err)
		}
		places["docker logs "+id] = string(logs)
		places["docker top "+id] = k.engine.docker("top", id)
	}
	for _, kind := range []string{"volume", "network", "image"} {
		for _, id := range strings.Fields(k.engine.docker(kind, "ls", "-q")) {
			places["docker inspect "+kind+" "+id] = k.engine.docker(kind, "inspect", id)
		}
	}
	log, err := os.ReadFile(filepath.Join(k.engine.dir, "log"))
	if err != nil {
		k.t.Fatal(err)
	}
	places["the engine's own log"] = string(log)
	err = filepath.WalkDir(k.kitDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "stack.json" || strings.HasPrefix(path, filepath.Join(k.kitDir, "images")) {
			return err
		}
		content, err := os.ReadFile(path)
		places[path] = string(content)
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
	if len(places) < 10 {
		k.t.Errorf("only %d places were looked at", len(places))
	}
	for place, content := range places {
		for name, secret := range map[string]string{"administrator's": record.AdminPassword, "database's": record.DatabasePassword, "encryption": record.EncryptionPassword} {
			if secret == "" {
				k.t.Fatalf("the kit has no %s password", name)
			}
			if strings.Contains(content, secret) {
				k.t.Errorf("the %s password is in %s", name, place)
			}
		}
	}
}
