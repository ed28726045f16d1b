package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// lockName is the file whose lock a run holds.
const lockName = ".fieldkit.lock"

// OpenOptions say where the kit is and how to reach the world around it.
type OpenOptions struct {
	// Dir is the kit's directory, which holds its fieldkit.yaml.
	Dir string
	// Getenv reads the environment: credentials and keys.
	Getenv func(string) string
	// Ask puts a question to whoever runs fieldkit; nil when nobody is there.
	Ask Ask
	Now func() time.Time
	// Sleep waits before a request is tried again, or returns the context's error early; it waits really when nil.
	Sleep func(ctx context.Context, d time.Duration) error
	// Patience is the longest silence of a server within one request; as dhis2api has it when zero.
	Patience time.Duration
	// JournalWrite is told of every write to a trip's journal, as journal.Watch says; nil is not.
	JournalWrite func(written bool) error
	// Progress is told what is going on; Quiet when nil.
	Progress Progress
	// ConfigDirectory is the user's configuration directory for fieldkit, where the default identity lies.
	ConfigDirectory string
	// Look opens the kit for looking only: it takes no lock and writes nothing.
	Look bool
	// Version is fieldkit's own, sent as the user agent.
	Version string
	// RequestsPerSecond bounds what central is asked; 0 leaves it to fieldkit.yaml.
	RequestsPerSecond float64
	// Machine is the machine that the kit's own containers run on; the real one when nil.
	Machine Machine
	// ConnectEngine reaches the Docker engine; the one that DOCKER_HOST names, or the usual one, when nil.
	ConnectEngine func(ctx context.Context) (Engine, error)
}

// Kit is one kit's directory, held by this run until Close.
type Kit struct {
	dir     string
	config  *Config
	options OpenOptions
	lock    *flock.Flock
	// engine is the Docker engine, once it was reached.
	engine Engine
}

// Open reads the kit's fieldkit.yaml and takes its lock. The error is a ConfigError for a file that is missing
// or wrong, and ErrLocked when another run holds the kit.
func Open(options OpenOptions) (*Kit, error) {
	if options.Progress == nil {
		options.Progress = Quiet{}
	}
	if options.Machine == nil {
		options.Machine = thisMachine{}
	}
	if options.ConnectEngine == nil {
		options.ConnectEngine = func(ctx context.Context) (Engine, error) { return ConnectDocker(ctx, options.Getenv("DOCKER_HOST")) }
	}
	config, err := LoadConfig(filepath.Join(options.Dir, ConfigFile))
	if err != nil {
		return nil, err
	}
	k := &Kit{dir: options.Dir, config: config, options: options}
	if options.Look {
		return k, nil
	}
	k.lock = flock.New(filepath.Join(options.Dir, lockName), flock.SetPermissions(0o600))
	held, err := k.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("cannot lock the kit %s: %w", options.Dir, err)
	}
	if !held {
		return nil, WithHint(fmt.Errorf("%w: %s", ErrLocked, options.Dir), "wait for it to end, or stop it: what it has done is kept")
	}
	return k, nil
}

// Close lets the kit go. It may be called twice.
func (k *Kit) Close() error {
	var err error
	if k.engine != nil {
		err, k.engine = k.engine.Close(), nil
	}
	if k.lock != nil {
		err = errors.Join(err, k.lock.Unlock())
	}
	return err
}

// Config is what fieldkit.yaml says.
func (k *Kit) Config() *Config { return k.config }

// Dir is the kit's directory.
func (k *Kit) Dir() string { return k.dir }

// connectCentral connects to central with the account that the environment, or whoever is there, gives.
func (k *Kit) connectCentral(ctx context.Context) (*dhis2api.Client, error) {
	return k.connectCentralThrough(ctx, nil)
}

// connectCentralThrough does that with something between; see dhis2api.Options.
func (k *Kit) connectCentralThrough(ctx context.Context, through func(http.RoundTripper) http.RoundTripper) (*dhis2api.Client, error) {
	options := k.clientOptions()
	options.RequestsPerSecond = cmp.Or(k.options.RequestsPerSecond, k.config.Central.Rate)
	options.Through = through
	return k.connect(ctx, Central, k.config.Central.URL, options)
}

// connectLocal connects to the kit's DHIS2.
func (k *Kit) connectLocal(ctx context.Context) (*dhis2api.Client, error) {
	if k.ownStack() {
		s, err := k.openStack(ctx)
		if err != nil {
			return nil, err
		}
		if s == nil {
			return nil, WithHint(fmt.Errorf("%w: the kit has no DHIS2 yet", ErrNoSnapshot), "fieldkit prepare")
		}
		return s.connect(ctx)
	}
	return k.connect(ctx, Local, k.config.Local.URL, k.clientOptions())
}

func (k *Kit) connect(ctx context.Context, side Side, url string, options dhis2api.Options) (*dhis2api.Client, error) {
	credentials, err := Credentials(side, k.options.Getenv, k.options.Ask)
	if err != nil {
		return nil, err
	}
	return Connect(ctx, side, url, credentials, options)
}

func (k *Kit) clientOptions() dhis2api.Options {
	return dhis2api.Options{Now: k.options.Now, Sleep: k.options.Sleep, RequestTimeout: k.options.Patience, UserAgent: "fieldkit/" + k.options.Version}
}

// keyOptions say where the keys for the trip's snapshot come from.
func (k *Kit) keyOptions() snapshot.KeyOptions {
	return snapshot.KeyOptions{Recipients: k.config.Encrypt.Recipients, Getenv: k.options.Getenv, ConfigDirectory: k.options.ConfigDirectory}
}

// makePrivate makes a directory that nobody else can read.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make %s: %w", dir, err)
	}
	return os.Chmod(dir, 0o700)
}
