package compose

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"
)

// Engine is a Docker engine that was reached. It may be used from several goroutines.
type Engine struct{}

// EngineInfo is what an engine says about itself and its machine.
type EngineInfo struct {
	Version      string // e.g. "20.10.24"
	APIVersion   string // as negotiated, e.g. "1.41"
	Architecture string // as images name it: "amd64", "arm64"
	Memory       int64  // bytes
	CPUs         int
	RootDir      string // where it keeps volumes and images, e.g. "/var/lib/docker"
	Local        bool   // it runs on this machine: containers are reached by their own addresses
}

// Connect reaches the engine at host, e.g. "unix:///var/run/docker.sock"; "" is the environment's
// (DOCKER_HOST), and without that Docker's usual socket. The API version is negotiated. An engine that
// cannot be used is an *EngineError.
func Connect(ctx context.Context, host string) (*Engine, error) { return nil, errors.New("not yet") }

// Close gives the connections back. The engine must not be used afterwards.
func (e *Engine) Close() error { return nil }

// Info asks the engine about itself.
func (e *Engine) Info(ctx context.Context) (EngineInfo, error) {
	return EngineInfo{}, errors.New("not yet")
}

// Up makes the engine run the stack: networks, volumes and containers that are missing are made, those that
// differ from what the stack says are made anew (volumes never), and what belongs to the project but not to
// the stack is removed. It ends when PostgreSQL is healthy and DHIS2 was started; DHIS2 has no health check,
// whoever needs it waits for its answers. tell hears each step before it is taken, in words for a person.
//
// changed is true when anything was done. Called again it does nothing; after an interruption it goes on.
// No image is pulled: a missing one is ErrNoImage, before anything is touched. Other errors: *VolumeError,
// *PortError, *ServiceError.
func (e *Engine) Up(ctx context.Context, stack *Stack, tell func(step string)) (changed bool, err error) {
	return false, errors.New("not yet")
}

// Down stops and removes a project's containers and networks, and keeps its volumes. It may be called
// twice, and for a project that never was.
func (e *Engine) Down(ctx context.Context, project string) error { return errors.New("not yet") }

// Destroy is Down, and removes the volumes with all data. It may be called twice.
func (e *Engine) Destroy(ctx context.Context, project string) error { return errors.New("not yet") }

// Restart stops a service's container gently and starts it again, and ends as soon as it is started.
func (e *Engine) Restart(ctx context.Context, project, service string) error {
	return errors.New("not yet")
}

// ServiceState is how one container of a project is.
type ServiceState struct {
	Service     string         // "postgres", "dhis2"
	Container   string         // its name
	Image       string         // the reference it was made from
	ImageID     string         // "sha256:..."
	Running     bool           //
	Status      string         // Docker's word: "created", "running", "restarting", "exited", "paused", "dead"
	Health      string         // "starting", "healthy", "unhealthy"; "" without a health check
	ExitCode    int            // of the last end, while not running
	Restarts    int            // how often the engine started it again by itself since it was made
	OutOfMemory bool           // its last end was for want of memory
	Since       time.Time      // start of the present run, or end of the last one; zero when it never ran
	Address     netip.Addr     // on the network "data", reachable from this machine; invalid while not running
	Published   netip.AddrPort // where it is reached from outside; invalid when it is not
}

// State lists a project's containers by service name. A project without any is an empty list.
func (e *Engine) State(ctx context.Context, project string) ([]ServiceState, error) {
	return nil, errors.New("not yet")
}

// LogOptions choose what Logs writes.
type LogOptions struct {
	Service    string    // "" is all
	Tail       int       // the last so many lines of each service; 0 is all
	Since      time.Time // zero is from the beginning
	Follow     bool      // goes on until ctx ends, which is no error then
	Timestamps bool      // the engine's time before each line
}

// Logs writes a project's container logs line by line. With more than one service each line begins with
// the service's name and " | ".
func (e *Engine) Logs(ctx context.Context, project string, options LogOptions, w io.Writer) error {
	return errors.New("not yet")
}

// Volume is one of a project's volumes.
type Volume struct {
	Key           string    // as in the compose file: "database", "home"
	Name          string    // as the engine knows it
	Created       time.Time // by the engine's clock
	PostgresMajor string    // of "database": the major version that made it, e.g. "16"
}

// Volumes lists a project's volumes by key. A project without any is an empty list.
func (e *Engine) Volumes(ctx context.Context, project string) ([]Volume, error) {
	return nil, errors.New("not yet")
}
