package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// Level says how bad a check's finding is.
type Level string

// The levels.
const (
	LevelOK      Level = "ok"
	LevelWarning Level = "warning"
	LevelError   Level = "error" // a trip would not work, or not come home
)

// Check is one line of doctor's.
type Check struct {
	Level  Level  `json:"level"`
	Name   string `json:"check"`
	Detail string `json:"detail"`
	// Hint says what to do about it; empty when ok.
	Hint string `json:"hint,omitempty"`
}

// Doctor looks at everything that can be known before departure and returns one check a line, in a fixed order. It
// changes nothing anywhere. What a check needs and another one found missing is left out. The error is ctx's, or
// that of an account that is not given and cannot be asked for.
func (k *Kit) Doctor(ctx context.Context) ([]Check, error) {
	return examine(ctx, doctorOptions{Config: k.config, Dir: k.dir, Environment: k.options.Getenv,
		Ask: k.options.Ask, Now: k.options.Now, HTTP: k.clientOptions(), kit: k})
}

// doctorOptions say what to examine.
type doctorOptions struct {
	Config      *Config
	Dir         string
	Environment func(string) string
	Ask         Ask
	Now         func() time.Time
	// HTTP is for the connections to both servers.
	HTTP dhis2api.Options
	kit  *Kit
}

// examine looks at everything that can be known before departure and returns one check a line, in a fixed
// order. It changes nothing anywhere. What a check needs and another one found missing is left out. The error
// is ctx's, or that of an account that is not given and cannot be asked for.
func examine(ctx context.Context, options doctorOptions) ([]Check, error) {
	if options.HTTP.Now == nil {
		options.HTTP.Now = options.Now
	}
	d := &doctor{doctorOptions: options}
	d.config()
	for _, step := range []func(context.Context) error{d.connectCentral, d.connectLocal} {
		if err := step(ctx); err != nil {
			return d.checks, err
		}
	}
	d.versions()
	d.zones()
	d.clocks()
	d.disk()
	d.database(ctx)
	d.numbers(ctx)
	d.defaultPassword(ctx)
	d.account(ctx)
	return d.checks, ctx.Err()
}

// doctor collects what is found.
type doctor struct {
	doctorOptions
	checks         []Check
	central, local *dhis2api.Client // nil when not reached
	own            *stack           // the kit's own containers, nil unless they run
}

func (d *doctor) add(level Level, name, hint, format string, arguments ...any) {
	check := Check{Level: level, Name: name, Detail: fmt.Sprintf(format, arguments...)}
	if level != LevelOK {
		check.Hint = hint
	}
	d.checks = append(d.checks, check)
}

func (d *doctor) config() {
	scope := d.Config.Scope
	d.add(LevelOK, "config", "", "kit %s carries %s, programs: %s, data sets: %s", d.Config.Name,
		strings.Join(scope.OrgUnits, ", "), scope.Programs, scope.DataSets)
	switch n := len(d.Config.Encrypt.Recipients); n {
	case 0:
		d.add(LevelOK, "encryption", "", "snapshots are for the key in this user's configuration directory")
	default:
		d.add(LevelOK, "encryption", "", "snapshots are for %d recipients", n)
	}
}

func (d *doctor) connectCentral(ctx context.Context) (err error) {
	d.central, err = d.connect(ctx, Central, d.Config.Central.URL)
	if u, parseErr := url.Parse(d.Config.Central.URL); parseErr == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		d.add(LevelWarning, "central", "use https", "accounts and patients travel unencrypted to %s", d.Config.Central.URL)
	}
	return err
}

func (d *doctor) connectLocal(ctx context.Context) (err error) {
	if d.Config.Local == nil {
		return d.stack(ctx)
	}
	d.local, err = d.connect(ctx, Local, d.Config.Local.URL)
	return err
}

// connect makes one side's connection and says what answered. The client is nil when none did.
func (d *doctor) connect(ctx context.Context, side Side, address string) (*dhis2api.Client, error) {
	credentials, err := Credentials(side, d.Environment, d.Ask)
	if err != nil {
		return nil, err
	}
	client, err := Connect(ctx, side, address, credentials, d.HTTP)
	if err == nil {
		var me *dhis2api.Me
		if me, err = client.Me(ctx); err == nil {
			d.add(LevelOK, string(side), "", "%s runs DHIS2 %s, account %s", address, client.Version(), me.Username)
			return client, nil
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	hint := Hint(err)
	var refused *dhis2api.UnauthorizedError
	if errors.As(err, &refused) && hint == "" {
		hint = "is the account right? one with two-factor authentication cannot be used"
	}
	var server *ServerError
	if errors.As(err, &server) {
		err = server.Err // the line names the side already
	}
	d.add(LevelError, string(side), hint, "%s: %v", address, err)
	return nil, nil
}

// server is one side that answered.
type server struct {
	name   Side
	client *dhis2api.Client
}

// reached lists the sides that answered.
func (d *doctor) reached() []server {
	return slices.DeleteFunc([]server{{Central, d.central}, {Local, d.local}}, func(s server) bool { return s.client == nil })
}

// isLoopback tells whether a host is this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// soundPatch returns, for a minor version, the first patch release without two known faults: the clean-up
// job that deletes patients' files, and the refusal of valid images (DHIS2-21427, DHIS2-21870).
func soundPatch(v dhis2api.Version) (dhis2api.Version, bool) {
	switch v.Minor {
	case 41:
		return dhis2api.Version{Major: 2, Minor: 41, Patch: 9, Hotfix: 1}, true
	case 42:
		return dhis2api.Version{Major: 2, Minor: 42, Patch: 5, Hotfix: 2}, true
	case 43:
		return dhis2api.Version{Major: 2, Minor: 43, Patch: 1}, true
	}
	return dhis2api.Version{}, false
}

func (d *doctor) versions() {
	for _, side := range d.reached() {
		version := side.client.Version()
		if sound, known := soundPatch(version); known && version.Compare(sound) < 0 {
			d.add(LevelWarning, "version", fmt.Sprintf("update it to %s", sound),
				"%s's DHIS2 %s may delete patients' files and refuse valid images", side.name, version)
		}
	}
	if d.central == nil || d.local == nil {
		return
	}
	if c, l := d.central.Version(), d.local.Version(); c.Compare(l) != 0 {
		d.add(LevelWarning, "version", "run central's exact version on the kit", "central runs %s, local %s", c, l)
		return
	}
	d.add(LevelOK, "version", "", "both run %s", d.central.Version())
}

func (d *doctor) zones() {
	if d.central == nil || d.local == nil {
		return
	}
	if c, l := d.central.Info().ZoneID, d.local.Info().ZoneID; c != l {
		d.add(LevelWarning, "time zone", fmt.Sprintf("start the kit's Java with -Duser.timezone=%s", c),
			"central is in %s, local in %s: DHIS2's times carry no zone", c, l)
		return
	}
	d.add(LevelOK, "time zone", "", "both are in %s", d.central.Info().ZoneID)
}

// maxSkew is what two clocks may differ by before somebody should be told.
const maxSkew = time.Minute

func (d *doctor) clocks() {
	for _, side := range d.reached() {
		skew := side.client.Info().Skew.Round(time.Second)
		direction := "ahead of"
		if skew < 0 {
			direction = "behind"
		}
		if skew.Abs() > maxSkew {
			d.add(LevelWarning, "clock", "set whichever is wrong: DHIS2 refuses dates in the future",
				"%s's is %s %s this machine's", side.name, skew.Abs(), direction)
			continue
		}
		d.add(LevelOK, "clock", "", "%s's and this machine's agree", side.name)
	}
}

// database examines whether the kit's database can be asked what changed. Without, reconcile compares everything.
func (d *doctor) database(ctx context.Context) {
	if d.Config.Local != nil {
		u, err := url.Parse(d.Config.Local.Database)
		if err != nil || d.Config.Local.Database == "" {
			return // the configuration's reader has refused what cannot be read
		}
		if _, inFile := u.User.Password(); inFile {
			d.add(LevelWarning, "database", "leave it out of the URL and set PGPASSWORD",
				"fieldkit.yaml holds the password of the kit's database")
		}
	} else if d.own == nil {
		return
	}
	reaching, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	database, err := d.kit.openDatabase(reaching)
	if err != nil {
		d.add(LevelWarning, "database", "reconcile will compare everything, which takes longer", "it cannot tell what changed: %v", err)
		return
	}
	_ = database.Close(reaching) // it was only read
	d.add(LevelOK, "database", "", "it can tell what changed on the kit")
}

// defaultPassword tries the account that every fresh DHIS2 has.
func (d *doctor) defaultPassword(ctx context.Context) {
	if d.local == nil {
		return
	}
	options := d.HTTP
	if d.own != nil {
		options = d.own.clientOptions()
	}
	if client, err := Connect(ctx, Local, d.local.BaseURL(), freshAdministrator(), options); err == nil {
		if _, err := client.Me(ctx); err == nil {
			d.add(LevelWarning, "password", "change it before tablets can reach the kit",
				"local's admin still has the password that every DHIS2 begins with")
			return
		}
	}
	if ctx.Err() == nil {
		d.add(LevelOK, "password", "", "local's admin does not have the password that every DHIS2 begins with")
	}
}

// account examines what the account at central may do with the scope, and until when.
func (d *doctor) account(ctx context.Context) {
	if d.central == nil {
		return
	}
	me, err := d.central.Me(ctx)
	if err != nil {
		d.add(LevelError, "account", Hint(err), "%v", err)
		return
	}
	scope, err := snapshot.ResolveScope(ctx, d.central, d.Config.Scope.wanted())
	if err != nil {
		d.add(LevelError, "scope", Hint(err), "%v", err)
		return
	}
	d.add(LevelOK, "scope", "", "org units at its top: %d, programs: %d, data sets: %d",
		len(scope.OrgUnits), len(scope.Programs), len(scope.DataSets))
	a := account{doctor: d, me: me, scope: scope}
	a.authorities()
	a.reach()
	a.access(ctx)
	a.deadlines(ctx)
}

// wanted is the scope in the snapshot's words.
func (s Scope) wanted() snapshot.Wanted {
	return snapshot.Wanted{OrgUnits: s.OrgUnits, Programs: s.Programs.names(), DataSets: s.DataSets.names(), Since: s.Since, AllMetadata: s.AllMetadata}
}

// String is `all`, `none` or the names.
func (s Selection) String() string {
	switch {
	case s.All:
		return "all"
	case len(s.Names) == 0:
		return "none"
	}
	return strings.Join(s.Names, ", ")
}
