package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/compose"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// overrideName is the file in the kit's directory by which somebody who knows Docker may bend the stack.
const overrideName = "compose.override.yaml"

// factStack is where a trip's journal keeps the project name of the stack that the trip was loaded into; empty
// for a trip that was loaded into a DHIS2 of somebody else's.
const factStack = "stack"

// stack is the kit's own containers. Closed, they run and nothing outside this machine reaches them; open, the
// clinic does.
type stack struct {
	kit    *Kit
	engine Engine
	record *stackRecord
}

// ownStack tells whether the kit runs its own containers.
func (k *Kit) ownStack() bool { return k.config.Local == nil }

// notOurs says that the kit's DHIS2 is somebody else's to start and stop.
func (k *Kit) notOurs() error {
	return WithHint(errors.New("this kit's DHIS2 is not fieldkit's to start or stop"),
		"%s says `local: {url: %s}`: whoever set that server up starts and stops it", ConfigFile, k.config.Local.URL)
}

// openEngine reaches the Docker engine, once a run.
func (k *Kit) openEngine(ctx context.Context) (Engine, error) {
	if k.engine != nil {
		return k.engine, nil
	}
	engine, err := k.options.ConnectEngine(ctx)
	if err != nil {
		return nil, atEngine(ctx, err)
	}
	k.engine = engine
	return engine, nil
}

// openStack reads what the kit keeps of its stack and reaches the engine. Without such a record the stack is
// nil: the kit has had no containers yet.
func (k *Kit) openStack(ctx context.Context) (*stack, error) {
	record, err := readStack(k.dir)
	if err != nil || record == nil {
		return nil, err
	}
	engine, err := k.openEngine(ctx)
	if err != nil {
		return nil, err
	}
	return &stack{kit: k, engine: engine, record: record}, nil
}

// makeStack is openStack, and begins the record of a kit that has had no containers yet.
func (k *Kit) makeStack(ctx context.Context) (*stack, error) {
	s, err := k.openStack(ctx)
	if s != nil || err != nil {
		return s, err
	}
	engine, err := k.openEngine(ctx)
	if err != nil {
		return nil, err
	}
	record, err := newStack(k.config.Name)
	if err != nil {
		return nil, err
	}
	return &stack{kit: k, engine: engine, record: record}, record.write(k.dir)
}

// keep writes the record.
func (s *stack) keep() error { return s.record.write(s.kit.dir) }

// describe reads the compose file and the user's override for this machine. A nil clinic is the closed stack.
func (s *stack) describe(ctx context.Context, clinic *clinicIdentity) (*compose.Stack, error) {
	info, err := s.engine.Info(ctx)
	if err != nil {
		return nil, atEngine(ctx, err)
	}
	sizes, err := compose.Fit(info.Memory)
	if err != nil {
		return nil, atEngine(ctx, err)
	}
	settings := compose.Settings{
		Project: s.record.Project, Directory: s.kit.dir, Sizes: sizes,
		DHIS2Image: s.record.Data.DHIS2Image, PostgresImage: s.record.Data.PostgresImage, Zone: s.record.Data.Zone,
		DatabasePassword: s.record.DatabasePassword, EncryptionPassword: s.record.EncryptionPassword,
	}
	if override := filepath.Join(s.kit.dir, overrideName); fileExists(override) {
		settings.Override = override
	}
	if clinic != nil {
		address, err := netip.ParseAddr(clinic.Address)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stackName, err)
		}
		settings.Clinic = &compose.ClinicPort{Name: clinic.Name, Address: address, Port: clinic.Port}
	}
	described, err := compose.Load(ctx, settings)
	return described, atEngine(ctx, err)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// start makes the engine run what is described, all whose images it has, and tells what it does.
func (s *stack) start(ctx context.Context, described *compose.Stack, tell func(step string)) (changed bool, err error) {
	changed, err = s.engine.Up(ctx, described, tell)
	return changed, atEngine(ctx, err)
}

// state lists the stack's services; empty when it is down.
func (s *stack) state(ctx context.Context) ([]compose.ServiceState, error) {
	services, err := s.engine.State(ctx, s.record.Project)
	return services, atEngine(ctx, err)
}

// service finds a service's state; the zero value when it does not exist.
func service(services []compose.ServiceState, name string) compose.ServiceState {
	if i := slices.IndexFunc(services, func(s compose.ServiceState) bool { return s.Service == name }); i >= 0 {
		return services[i]
	}
	return compose.ServiceState{}
}

// runs tells whether all of the stack runs.
func runs(services []compose.ServiceState) bool {
	return service(services, compose.ServicePostgres).Running && service(services, compose.ServiceDHIS2).Running
}

// isOpen tells whether something outside this machine can reach the stack.
func isOpen(services []compose.ServiceState) bool {
	return slices.ContainsFunc(services, func(s compose.ServiceState) bool { return s.Published.IsValid() })
}

// hasData tells whether the stack's volumes are in the engine.
func (s *stack) hasData(ctx context.Context) (bool, error) {
	volumes, err := s.engine.Volumes(ctx, s.record.Project)
	if err != nil {
		return false, atEngine(ctx, err)
	}
	return slices.ContainsFunc(volumes, func(v compose.Volume) bool { return v.Key == databaseVolume }), nil
}

// databaseVolume is the volume that holds PostgreSQL's data.
const databaseVolume = "database"

// The stack's DHIS2 is known by a name of its own that never changes, while its address may with every start:
// only this program finds it under that name.
func (s *stack) url() string {
	return "http://" + hostPort(s.record.Project, compose.DHIS2Port)
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// httpClient reaches the stack's DHIS2 under its own name, and under the clinic's at the clinic's address.
// It goes through no proxy.
func (s *stack) httpClient() *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second}
	transport.DialContext = s.dial
	return &http.Client{Transport: transport}
}

// clientOptions are the options of a connection to the stack's DHIS2.
func (s *stack) clientOptions() dhis2api.Options {
	options := s.kit.clientOptions()
	options.HTTPClient = s.httpClient()
	return options
}

// connect connects to the stack's DHIS2 as its administrator.
func (s *stack) connect(ctx context.Context) (*dhis2api.Client, error) {
	return Connect(ctx, Local, s.url(), s.administrator(), s.clientOptions())
}

func (s *stack) administrator() dhis2api.Credentials {
	return dhis2api.Credentials{Username: "admin", Password: s.record.AdminPassword}
}

// databaseURL is where the stack's database is, with its password: never print it. It is reached from this
// machine alone, and as long as the container runs.
func (s *stack) databaseURL(ctx context.Context) (string, error) {
	services, err := s.state(ctx)
	if err != nil {
		return "", err
	}
	postgres := service(services, compose.ServicePostgres)
	if !postgres.Running || !postgres.Address.IsValid() {
		return "", WithHint(errors.New("the kit's PostgreSQL does not run"), "`fieldkit status` says how it is")
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(compose.DatabaseUser, s.record.DatabasePassword),
		Host: hostPort(postgres.Address.String(), compose.PostgresPort), Path: "/" + compose.DatabaseName, RawQuery: "sslmode=disable",
	}
	return u.String(), nil
}

// loadedInto is the project name of the stack that a trip was loaded into; empty for a DHIS2 of somebody else's.
func (t *trip) loadedInto(ctx context.Context) (string, error) { return t.journal.Fact(ctx, factStack) }

// holds makes sure that the trip's data is where the kit works: in this stack, or with a nil stack in the DHIS2
// that fieldkit.yaml names. To look for a trip's data elsewhere would find everything deleted.
func (k *Kit) holds(ctx context.Context, s *stack, t *trip) error {
	project, err := t.loadedInto(ctx)
	if err != nil {
		return err
	}
	if project == deletedStack {
		return WithHint(fmt.Errorf("%w: the data of trip %s was deleted from the kit", ErrNoSnapshot, t.id), "fieldkit prepare")
	}
	if !k.ownStack() {
		if project == "" {
			return nil
		}
		return WithHint(fmt.Errorf("trip %s was loaded into the kit's own containers, and %s names another DHIS2", t.id, ConfigFile),
			"take `local:` out of the file again")
	}
	switch {
	case project == "":
		return WithHint(fmt.Errorf("trip %s was loaded into a DHIS2 beside the kit, and %s names none", t.id, ConfigFile),
			"put `local: {url: ...}` back and `fieldkit reconcile`: a trip whose changes are all home is closed, and the next may go into containers")
	case s == nil:
		return WithHint(fmt.Errorf("%s is missing: it holds the passwords of the containers that trip %s was loaded into (%s)", stackName, t.id, project),
			"bring it back from a copy of the kit's directory: without it nobody reads that data")
	case s.record.Project != project:
		return WithHint(fmt.Errorf("trip %s was loaded into other containers (%s) than the kit's present ones (%s)", t.id, project, s.record.Project),
			"bring the %s back that belongs to them", stackName)
	}
	there, err := s.hasData(ctx)
	if err != nil || there {
		return err
	}
	return WithHint(fmt.Errorf("the data of trip %s is not on this machine: the Docker engine has no volume of %s", t.id, s.record.Project),
		"is this the machine that was prepared, and its usual engine? If the data is lost for good: `fieldkit down --delete-data`, then `fieldkit prepare`")
}

// tripLocal connects to the DHIS2 that holds the trip, which is started when it is the kit's own and down.
func (k *Kit) tripLocal(ctx context.Context, t *trip) (*dhis2api.Client, error) {
	s, err := k.tripStack(ctx, t)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if err := s.run(ctx); err != nil {
			return nil, err
		}
	}
	return k.connectLocal(ctx)
}

// lookedAt notes that all that tablets did is known: the stack was looked at to the end. While it is open that
// holds for a moment only. No other run opens it meanwhile: this one holds the kit.
func (k *Kit) lookedAt(ctx context.Context) error {
	if !k.ownStack() {
		return nil
	}
	s, err := k.openStack(ctx)
	if err != nil || s == nil {
		return err
	}
	services, err := s.state(ctx)
	if err != nil || isOpen(services) {
		return err
	}
	s.record.Exposed = false
	return s.keep()
}

// tripStack opens the stack and makes sure that it holds the trip; nil where the kit has no stack of its own.
func (k *Kit) tripStack(ctx context.Context, t *trip) (*stack, error) {
	var s *stack
	if k.ownStack() {
		var err error
		if s, err = k.openStack(ctx); err != nil {
			return nil, err
		}
	}
	return s, k.holds(ctx, s, t)
}

// run makes sure that the kit's own DHIS2 runs and can import, for reading it: open or closed when it runs
// already, else closed.
func (s *stack) run(ctx context.Context) error {
	progress := s.kit.options.Progress
	services, err := s.state(ctx)
	if err != nil {
		return err
	}
	if !runs(services) {
		progress.Step("starting the kit's own DHIS2, closed to the clinic")
		described, err := s.describe(ctx, nil)
		if err != nil {
			return err
		}
		if err := s.loadImages(ctx, described.Images()); err != nil {
			return err
		}
		if _, err := s.start(ctx, described, progress.Step); err != nil {
			return err
		}
		progress.Note("the kit's own DHIS2 keeps running afterwards, closed to the clinic; `fieldkit down` stops it")
	}
	_, err = s.await(ctx, s.url(), false)
	return err
}

// imageFor is the image of a DHIS2 version: as named, or with the full version for a tag. Tags of fewer digits
// move on to later versions: of DHIS2 2.43.1 the one that stays is 2.43.1.0.
func imageFor(image string, version dhis2api.Version) (string, error) {
	if hasTag(image) {
		return image, nil
	}
	if strings.Trim(version.String(), "0123456789.") != "" {
		return "", WithHint(usagef("central runs %s, for which %s has no tag that stays", version, image),
			"name an image with its tag: `dhis2: {image: ...}` in %s", ConfigFile)
	}
	return image + ":" + fullVersion(version), nil
}

// fullVersion is a version with all four numbers.
func fullVersion(v dhis2api.Version) string {
	return fmt.Sprintf("%d.%d.%d.%d", v.Major, v.Minor, v.Patch, v.Hotfix)
}
