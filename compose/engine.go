package compose

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Engine is a Docker engine that was reached. It may be used from several goroutines.
type Engine struct{ docker docker }

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
func Connect(ctx context.Context, host string) (*Engine, error) {
	docker, err := newDocker(host)
	if err != nil {
		return nil, &EngineError{Host: host, Fault: EngineAbsent, Err: err}
	}
	fault := func(fault EngineFault, err error) (*Engine, error) {
		docker.close()
		return nil, &EngineError{Host: docker.host(), Fault: fault, Err: err}
	}
	_, system, newest, _, components, err := docker.version(ctx)
	switch {
	case ctx.Err() != nil:
		docker.close()
		return nil, ctx.Err()
	case errors.Is(err, fs.ErrPermission) || err != nil && strings.Contains(err.Error(), "permission denied"):
		return fault(EngineNoPermission, err)
	case err != nil && docker.isUnreachable(err):
		return fault(EngineAbsent, nil) // the client's words say no more
	case err != nil:
		return fault(EngineAbsent, err)
	case slices.ContainsFunc(components, func(name string) bool { return strings.Contains(name, "Podman") }):
		return fault(EnginePodman, nil)
	case system != "linux":
		return fault(EngineNotLinux, nil)
	case older(newest, 1, 41):
		return fault(EngineTooOld, fmt.Errorf("it speaks version %s of the API", newest))
	}
	return &Engine{docker}, nil
}

// older tells whether a version such as "1.41" is below major.minor.
func older(version string, major, minor int) bool {
	a, b, _ := strings.Cut(version, ".")
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	return errX == nil && errY == nil && (x < major || x == major && y < minor)
}

// Close gives the connections back. The engine must not be used afterwards.
func (e *Engine) Close() error { return e.docker.close() }

// Info asks the engine about itself.
func (e *Engine) Info(ctx context.Context) (EngineInfo, error) {
	info, apart, err := e.docker.info(ctx)
	if err != nil {
		return EngineInfo{}, fmt.Errorf("asking the Docker engine about its machine: %w", err)
	}
	info.Local = !apart && strings.HasPrefix(e.docker.host(), "unix://")
	switch info.Architecture { // the engine says what uname does
	case "x86_64":
		info.Architecture = "amd64"
	case "aarch64":
		info.Architecture = "arm64"
	}
	return info, nil
}

// ServiceState is how one container of a project is.
type ServiceState struct {
	Service     string         // "postgres", "dhis2"
	Container   string         // its name
	Image       string         // the reference it was made from
	ImageID     string         // "sha256:..."
	Running     bool           // now, not about to be started again
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
	containers, err := e.containers(ctx, project)
	var states []ServiceState
	for _, container := range containers {
		states = append(states, container.ServiceState)
	}
	slices.SortStableFunc(states, func(a, b ServiceState) int { return strings.Compare(a.Service, b.Service) })
	return states, err
}

// containers inspects all containers of a project.
func (e *Engine) containers(ctx context.Context, project string) ([]inspected, error) {
	containers, err := e.docker.containers(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("listing the containers of %s: %w", project, err)
	}
	return containers, nil
}

// find returns a project's container of a service.
func (e *Engine) find(ctx context.Context, project, service string) (inspected, error) {
	containers, err := e.containers(ctx, project)
	if err != nil {
		return inspected{}, err
	}
	at := slices.IndexFunc(containers, func(container inspected) bool { return container.service == service })
	if at < 0 {
		return inspected{}, &ServiceError{Service: service, Why: "has no container"}
	}
	return containers[at], nil
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
	seen, err := e.docker.volumes(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("listing the volumes of %s: %w", project, err)
	}
	var volumes []Volume
	for _, volume := range seen {
		volumes = append(volumes, Volume{Key: volume.key, Name: volume.name, Created: volume.created, PostgresMajor: volume.major})
	}
	slices.SortFunc(volumes, func(a, b Volume) int { return strings.Compare(a.Key+a.Name, b.Key+b.Name) })
	return volumes, nil
}
