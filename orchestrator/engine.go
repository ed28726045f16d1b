package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/compose"
)

// Engine is what the workflows need of a Docker engine; package compose has the real one.
type Engine interface {
	Info(ctx context.Context) (compose.EngineInfo, error)
	Up(ctx context.Context, stack *compose.Stack, tell func(step string)) (changed bool, err error)
	Down(ctx context.Context, project string) error
	Destroy(ctx context.Context, project string) error
	State(ctx context.Context, project string) ([]compose.ServiceState, error)
	Logs(ctx context.Context, project string, options compose.LogOptions, w io.Writer) error
	Volumes(ctx context.Context, project string) ([]compose.Volume, error)
	Image(ctx context.Context, reference string) (compose.Image, error)
	Pull(ctx context.Context, reference string, progress func(done, total int64)) error
	// SaveImages, VerifyImages and LoadImages keep images in a directory and bring them back.
	SaveImages(ctx context.Context, dir string, references ...string) error
	VerifyImages(dir string, references ...string) ([]compose.ArchivedImage, error)
	LoadImages(ctx context.Context, dir string, references ...string) error
	Close() error
}

// dockerEngine is the engine of this machine, with its images' archive.
type dockerEngine struct{ *compose.Engine }

func (e dockerEngine) SaveImages(ctx context.Context, dir string, references ...string) error {
	return compose.SaveImages(ctx, e.Engine, dir, references...)
}

func (e dockerEngine) VerifyImages(dir string, references ...string) ([]compose.ArchivedImage, error) {
	return compose.VerifyImages(dir, references...)
}

func (e dockerEngine) LoadImages(ctx context.Context, dir string, references ...string) error {
	return compose.LoadImages(ctx, e.Engine, dir, references...)
}

// ConnectDocker reaches the Docker engine at host; "" is Docker's usual socket.
func ConnectDocker(ctx context.Context, host string) (Engine, error) {
	engine, err := compose.Connect(ctx, host)
	if err != nil {
		return nil, err
	}
	return dockerEngine{engine}, nil
}

// ofEngine is an error that is an ErrEngine, with the words of another.
type ofEngine struct{ error }

func (e ofEngine) Unwrap() error        { return e.error }
func (e ofEngine) Is(target error) bool { return target == ErrEngine }

// enginef returns an error of the kind ErrEngine.
func enginef(format string, arguments ...any) error {
	return ofEngine{fmt.Errorf(format, arguments...)}
}

// atEngine adds to an error of package compose's what kind of trouble it is and what to do about it. Any other
// error, and that of a cancelled ctx, comes back as it is.
func atEngine(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	var (
		engine  *compose.EngineError
		memory  *compose.MemoryError
		key     *compose.KeyError
		volume  *compose.VolumeError
		port    *compose.PortError
		service *compose.ServiceError
		archive *compose.ArchiveError
	)
	switch {
	case errors.As(err, &engine):
		return WithHint(ofEngine{err}, "%s", engineHint(engine))
	case errors.As(err, &memory):
		return WithHint(ofEngine{err}, "use a machine with more memory; 8 GB serve a clinic well")
	case errors.As(err, &key):
		return WithHint(kindError{kind: ErrUsage, message: err.Error()}, "what the file may hold is in the reference, under compose.override.yaml")
	case errors.As(err, &volume):
		return WithHint(err, "put back the image that made it, in %s; or, once everything is home, `fieldkit down --delete-data` and `fieldkit prepare`", ConfigFile)
	case errors.As(err, &port) && port.Taken:
		return WithHint(err, "%s", portHint(port.Port.Port()))
	case errors.As(err, &port):
		return WithHint(err, "connect this machine to the clinic's network first")
	case errors.As(err, &service) && service.Unfinished:
		return WithHint(ofEngine{err}, "`fieldkit down --delete-data` and `fieldkit prepare` make it again")
	case errors.As(err, &service):
		return WithHint(ofEngine{err}, "`fieldkit logs --service %s --tail 50` shows why", service.Service)
	case errors.As(err, &archive):
		return WithHint(err, "`fieldkit prepare` writes it anew where there is internet; another kit's images folder does as well")
	case errors.Is(err, compose.ErrNoImage):
		return WithHint(err, "`fieldkit prepare` fetches it where there is internet")
	}
	return err
}

func engineHint(e *compose.EngineError) string {
	switch e.Fault {
	case compose.EngineAbsent:
		return "is Docker Engine installed and started? `sudo systemctl start docker`; DOCKER_HOST names another socket"
	case compose.EngineNoPermission:
		return "run it as root, or let this user in: `sudo usermod -aG docker USER`, and log in again"
	case compose.EnginePodman:
		return "install Docker Engine (Debian's package docker.io): podman does not start the kit again after a power cut"
	case compose.EngineNotLinux:
		return "switch it to Linux containers"
	case compose.EngineTooOld:
		return "update Docker Engine to 20.10 or later"
	}
	return ""
}

func portHint(port uint16) string {
	return fmt.Sprintf("`sudo ss -ltnp 'sport = :%d'` shows who listens there; stop that", port)
}
