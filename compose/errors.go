package compose

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrNoImage says that the engine has no image of that reference.
var ErrNoImage = errors.New("the engine has no such image")

// EngineFault says why an engine cannot be used.
type EngineFault int

// The reasons. The numbers are not kept anywhere.
const (
	EngineAbsent       EngineFault = iota + 1 // nothing answers at the host
	EngineNoPermission                        // the user may not use the socket
	EnginePodman                              // Podman answers: it starts no health checks without systemd, and restarts nothing at boot
	EngineNotLinux                            // it runs containers of another system
	EngineTooOld                              // its API is older than 1.41 (Docker 20.10)
)

// EngineError says that no engine can be used at a host.
type EngineError struct {
	Host  string // e.g. "unix:///var/run/docker.sock"
	Fault EngineFault
	Err   error // what the attempt ended with, may be nil
}

func (e *EngineError) Error() string {
	text := map[EngineFault]string{
		EngineAbsent:       "no Docker engine answers",
		EngineNoPermission: "no permission to use the Docker engine",
		EnginePodman:       "Podman answers, Docker is needed",
		EngineNotLinux:     "the Docker engine runs no Linux containers",
		EngineTooOld:       "the Docker engine is older than 20.10",
	}[e.Fault]
	if e.Err == nil {
		return fmt.Sprintf("%s at %s", text, e.Host)
	}
	return fmt.Sprintf("%s at %s: %v", text, e.Host, e.Err)
}

func (e *EngineError) Unwrap() error { return e.Err }

// KeyError says that a compose file asks for something that is not realised.
type KeyError struct {
	File string // the override's path
	Line int    // where the key stands, counted from 1; 0 when unknown
	Key  string // e.g. "services.dhis2.privileged"; "" when the file as a whole cannot be read
	Why  string // what is wrong with it
}

func (e *KeyError) Error() string {
	place := e.File
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Key == "" {
		return fmt.Sprintf("%s: %s", place, e.Why)
	}
	return fmt.Sprintf("%s: %s: %s", place, e.Key, e.Why)
}

// VolumeError says that a volume that is there already is not one that this stack may use.
type VolumeError struct{ Volume, Why string }

func (e *VolumeError) Error() string { return fmt.Sprintf("volume %s: %s", e.Volume, e.Why) }

// PortError says that the clinic's port cannot be opened.
type PortError struct {
	Port netip.AddrPort
	// Taken is true when something else listens there, false when the address is not this machine's.
	Taken bool
	Err   error // the engine's words
}

func (e *PortError) Error() string {
	if e.Taken {
		return fmt.Sprintf("port %d of %s is taken", e.Port.Port(), e.Port.Addr())
	}
	return fmt.Sprintf("%s is not an address of this machine", e.Port.Addr())
}

func (e *PortError) Unwrap() error { return e.Err }

// ServiceError says that a service did not come up.
type ServiceError struct {
	Service string
	Why     string // e.g. "stopped with exit code 1", "is not healthy after 2m0s"
	// Unfinished is true when PostgreSQL was interrupted while it made its database: it has never held data,
	// and never will. Engine.Destroy, then Engine.Up, mends that.
	Unfinished bool
}

func (e *ServiceError) Error() string { return fmt.Sprintf("%s %s", e.Service, e.Why) }

// ArchiveError says that a file of saved images is missing, cut short or altered. Nothing was loaded from it.
type ArchiveError struct {
	File string
	Why  string
	Err  error // may be nil
}

func (e *ArchiveError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("image archive %s: %s", e.File, e.Why)
	}
	return fmt.Sprintf("image archive %s: %s: %v", e.File, e.Why, e.Err)
}

func (e *ArchiveError) Unwrap() error { return e.Err }
