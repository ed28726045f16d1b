package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// The demo's servers: what they simulate, and who may log in.
const (
	demoVersion  = "2.42.5.2"
	demoZone     = "America/Panama"
	demoAdmin    = "admin"
	demoDistrict = "district"
	demoPassword = "Clinic-2026!"
)

// DemoOptions say where and how the demo is played.
type DemoOptions struct {
	// Dir is where the demo makes its kit; it is made when it is not there. A kit that is there is an ErrUsage.
	Dir string
	// Keep leaves the whole kit in Dir; else only the report's files stay.
	Keep bool
	// Serve keeps both servers up, after everything was played and checked, until ctx ends.
	Serve bool
	// Ready is told the result when all is played and checked, before Serve waits. It may be nil.
	Ready func(*DemoResult)
	Now   func() time.Time
	// Progress is told what is going on; Quiet when nil.
	Progress Progress
	// Version is fieldkit's own.
	Version string
}

// DemoResult is what the demo came to.
type DemoResult struct {
	Report *report.Report `json:"report"`
	// ReportPath is the report for people, which stays.
	ReportPath string `json:"reportPath"`
	// Kit is the directory of the kit, of which little is left without Keep.
	Kit string `json:"kit"`
	// Central and Local are the addresses of the servers, Logins the accounts there. They are of use with Serve.
	Central string      `json:"central"`
	Local   string      `json:"local"`
	Logins  []DemoLogin `json:"logins"`
	// Env are the settings NAME=value with which fieldkit works on the kit.
	Env []string `json:"environment"`
	// Checks is how many checks were made when all was done.
	Checks int `json:"checks"`
	// Took is the time from nothing to the last check.
	Took time.Duration `json:"tookNanoseconds"`
}

// DemoLogin is an account of the demo's servers.
type DemoLogin struct {
	Where    string `json:"where"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// Demo plays a whole trip on this machine, with two simulated servers on the loopback and no other network:
// twelve patients at central, prepare, a clinic day of three stations, changes at central meanwhile, reconcile,
// the report. Then it checks at central that everything went as told; what did not is in the error, and the
// result is there nevertheless. The report stays in Dir whatever else is cleared away.
//
// With Serve it returns when ctx ends, and that is no error.
func Demo(ctx context.Context, options DemoOptions) (result *DemoResult, err error) {
	if options.Progress == nil {
		options.Progress = Quiet{}
	}
	if err := demoMayUse(options.Dir); err != nil {
		return nil, err
	}
	d := &demo{options: options, result: &DemoResult{Kit: options.Dir}}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.play(ctx); err != nil {
		if d.result.ReportPath == "" {
			return nil, err
		}
		return d.result, err
	}
	if options.Ready != nil {
		options.Ready(d.result)
	}
	if options.Serve {
		<-ctx.Done()
	}
	return d.result, nil
}

// demoMayUse makes sure that nothing of a kit is in the directory: neither its file nor a trip's journal.
func demoMayUse(dir string) error {
	for _, pattern := range []string{ConfigFile, path.Join(tripsDir, "*", journalName)} {
		found, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return WithHint(usagef("%s is a kit already", dir), "the demo makes one of its own: give it another directory, or none")
		}
	}
	return nil
}

// demo is one demo being played.
type demo struct {
	options   DemoOptions
	programme *demoProgramme
	servers   []*http.Server
	// base and field are the administrators' connections to central and local.
	base, field *dhis2api.Client
	receipt     *PrepareReceipt
	result      *DemoResult
}

// play plays all of it, from two empty servers to the checks.
func (d *demo) play(ctx context.Context) error {
	began := d.options.Now()
	zone, err := time.LoadLocation(demoZone)
	if err != nil {
		return fmt.Errorf("the time zone of the demo: %w", err)
	}
	// The clinic was yesterday: whatever the hour is now, none of its times lies in the future.
	if d.programme, err = newDemoProgramme(began.In(zone).AddDate(0, 0, -1)); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"starting two simulated DHIS2 servers", func(ctx context.Context) error { return d.start(ctx, zone) }},
		{"registering twelve patients at central", d.before},
		{"fieldkit init, fieldkit prepare", d.prepare},
		{"the clinic day: triage, provider and pharmacy work on the kit's server", d.clinicDay},
		{"meanwhile at central: other hands change the same records", d.meanwhile},
		{"fieldkit reconcile", d.reconcile},
		{"checking at central that everything went as told", d.check},
	} {
		d.options.Progress.Step(step.name)
		if err := step.do(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the demo failed (%s): %w", step.name, err)
		}
	}
	d.result.Took = d.options.Now().Sub(began)
	return nil
}

// start starts both servers, and gives central the programme and its administrator the country.
func (d *demo) start(ctx context.Context, zone *time.Location) error {
	central, err := d.listen(zone)
	if err != nil {
		return err
	}
	local, err := d.listen(zone)
	if err != nil {
		return err
	}
	d.result.Central, d.result.Local = central, local
	if d.base, err = d.login(ctx, central, demoAdmin, demoDistrict); err != nil {
		return err
	}
	imported, err := d.base.ImportMetadata(ctx, demoMetadata, dhis2api.MetadataImportOptions{})
	if err != nil {
		return err
	}
	if imported.Status != dhis2api.ReportOK {
		return fmt.Errorf("central does not take the demo's metadata: %s", imported.Status)
	}
	me, err := d.base.Me(ctx)
	if err != nil {
		return err
	}
	country := []string{d.programme.id("PA")}
	if err := d.base.SetUserUnits(ctx, me.ID, dhis2api.UserUnits{Capture: country, View: country, Search: country}); err != nil {
		return err
	}
	// A session keeps the org units that its account had when it began: begin another.
	if d.base, err = d.login(ctx, central, demoAdmin, demoDistrict); err != nil {
		return err
	}
	d.field, err = d.login(ctx, local, demoAdmin, demoDistrict)
	return err
}

// listen starts a fresh simulated server on a free port of the loopback and returns its address.
func (d *demo) listen(zone *time.Location) (string, error) {
	simulated, err := dhis2sim.New(dhis2sim.Options{Version: demoVersion, Now: d.options.Now, Zone: zone})
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a free port of the loopback is there at once
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: simulated, ReadHeaderTimeout: 10 * time.Second}
	d.servers = append(d.servers, server)
	go func() { _ = server.Serve(listener) }() // ends with close
	return "http://" + listener.Addr().String(), nil
}

func (d *demo) login(ctx context.Context, url, username, password string) (*dhis2api.Client, error) {
	return dhis2api.Connect(ctx, url, dhis2api.Credentials{Username: username, Password: password}, dhis2api.Options{Now: d.options.Now})
}

// before registers the patients that central knows before the trip.
func (d *demo) before(ctx context.Context) error {
	p := d.programme
	var payload dhis2api.TrackerPayload
	for _, key := range p.known() {
		payload.TrackedEntities = append(payload.TrackedEntities, p.earlierPatient(key))
	}
	if err := importAll(ctx, d.base, payload, ""); err != nil {
		return err
	}
	return d.values(ctx, d.base, map[string]string{"PEOPLE_SEEN": "21", "HOUSES_VISITED": "12"})
}

// identityDir is where the demo's key lies: with the kit, where the user's own would not.
func (d *demo) identityDir() string { return filepath.Join(d.options.Dir, "identity") }

// getenv is the environment that the demo's runs of fieldkit see: the accounts, and nothing else.
func (d *demo) getenv(name string) string {
	return map[string]string{
		"FIELDKIT_CENTRAL_USER": demoAdmin, "FIELDKIT_CENTRAL_PASSWORD": demoDistrict,
		"FIELDKIT_LOCAL_USER": demoAdmin, "FIELDKIT_LOCAL_PASSWORD": demoDistrict,
	}[name]
}

// open opens the kit as every command does.
func (d *demo) open() (*Kit, error) {
	return Open(OpenOptions{
		Dir: d.options.Dir, Getenv: d.getenv, Now: d.options.Now, Progress: d.options.Progress,
		ConfigDirectory: d.identityDir(), Version: d.options.Version,
	})
}

// prepare makes the kit and takes the district along, then gives the stations' accounts their passwords on the
// kit: no server gives passwords away.
func (d *demo) prepare(ctx context.Context) error {
	_, err := Init(ctx, InitOptions{
		Dir: d.options.Dir, Name: "besiko-1", Central: d.result.Central, OrgUnits: []string{"BESIKO"}, Local: d.result.Local, Environment: d.getenv,
	})
	if err != nil {
		return err
	}
	kit, err := d.open()
	if err != nil {
		return err
	}
	d.receipt, err = kit.Prepare(ctx, PrepareOptions{})
	if err := errors.Join(err, kit.Close()); err != nil {
		return err
	}
	d.result.Logins = []DemoLogin{{"central", demoAdmin, demoDistrict}, {"local", demoAdmin, demoDistrict}}
	for _, station := range demoStations() {
		user, err := d.user(ctx, station)
		if err != nil {
			return err
		}
		if err := d.field.SetPassword(ctx, user, demoPassword); err != nil {
			return err
		}
		d.result.Logins = append(d.result.Logins, DemoLogin{"local", station, demoPassword})
	}
	return nil
}

// user is the uid of an account on the kit.
func (d *demo) user(ctx context.Context, username string) (string, error) {
	query := dhis2api.ListQuery{Fields: "id", Filters: []string{"username:eq:" + username}}
	for user, err := range dhis2api.ListAs[dhis2api.Ref](ctx, d.field, "users", query) {
		return user.ID, err
	}
	return "", fmt.Errorf("the account %s did not come along to the kit", username)
}

// reconcile brings the day home.
func (d *demo) reconcile(ctx context.Context) error {
	kit, err := d.open()
	if err != nil {
		return err
	}
	d.result.Report, err = kit.Reconcile(ctx, ReconcileOptions{})
	if err := errors.Join(err, kit.Close()); err != nil {
		return err
	}
	d.result.ReportPath = kit.ReportPath(d.result.Report.Trip)
	for _, name := range []string{"FIELDKIT_CENTRAL_USER", "FIELDKIT_CENTRAL_PASSWORD", "FIELDKIT_LOCAL_USER", "FIELDKIT_LOCAL_PASSWORD"} {
		d.result.Env = append(d.result.Env, name+"="+d.getenv(name))
	}
	if d.receipt.Identity == nil {
		return nil
	}
	identity, err := filepath.Abs(d.receipt.Identity.Path)
	d.result.Env = append(d.result.Env, "FIELDKIT_IDENTITY_FILE="+identity)
	return err
}

// close ends both servers and clears away what is not to be kept.
func (d *demo) close() error {
	var errs []error
	for _, server := range d.servers {
		errs = append(errs, server.Close())
	}
	if !d.options.Keep {
		errs = append(errs, clearDemo(d.options.Dir))
	}
	return errors.Join(errs...)
}

// clearDemo removes what a demo made in a directory, the report's files apart. What else is there stays.
func clearDemo(dir string) error {
	errs := []error{os.RemoveAll(filepath.Join(dir, "identity"))}
	for _, name := range []string{ConfigFile, accountsName, broughtName, lockName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	trips, err := fs.Glob(os.DirFS(dir), path.Join(tripsDir, "*"))
	errs = append(errs, err)
	for _, trip := range trips {
		trip = filepath.Join(dir, trip)
		entries, err := os.ReadDir(trip)
		errs = append(errs, err)
		for _, entry := range entries {
			if !slices.Contains([]string{report.HTMLName, report.JSONName, report.CSVName}, entry.Name()) {
				errs = append(errs, os.RemoveAll(filepath.Join(trip, entry.Name())))
			}
		}
	}
	return errors.Join(errs...)
}
