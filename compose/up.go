package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// Up makes the engine run the stack: networks, volumes and containers that are missing are made, those that
// differ from what the stack says are made anew (volumes never), and what belongs to the project but not to
// the stack is removed. It ends when PostgreSQL is healthy and DHIS2 was started; DHIS2 has no health check,
// whoever needs it waits for its answers. tell hears each step before it is taken, in words for a person.
//
// changed is true when anything was done. Called again it does nothing; after an interruption it goes on.
// No image is pulled: a missing one is ErrNoImage, before anything is touched. Other errors: *VolumeError
// before anything is touched, *PortError, *ServiceError.
func (e *Engine) Up(ctx context.Context, stack *Stack, tell func(step string)) (changed bool, err error) {
	seen, err := e.observe(ctx, stack)
	if err != nil {
		return false, err
	}
	plan, err := makePlan(stack, seen)
	if err != nil {
		return false, err
	}
	run := executor{docker: e.docker, stack: stack, seen: seen, ids: map[string]string{}}
	for _, step := range plan {
		if words := step.words(); words != "" && tell != nil {
			tell(words)
		}
		if err := run.do(ctx, step); err != nil {
			return changed, err
		}
		changed = changed || step.verb != awaitHealth
	}
	return changed, nil
}

// observe asks the engine for all that a plan depends on.
func (e *Engine) observe(ctx context.Context, stack *Stack) (observed, error) {
	seen := observed{volumes: map[string]observedVolume{}, images: map[string]observedImage{}}
	containers, err := e.containers(ctx, stack.Project())
	if err != nil {
		return observed{}, err
	}
	for _, container := range containers {
		// The engine looks every few seconds only.
		if container.Running && container.probe != nil && container.health != "healthy" && e.docker.probe(ctx, container) {
			container.health = "healthy"
		}
		seen.containers = append(seen.containers, container.observedContainer)
	}
	if seen.networks, err = e.docker.networks(ctx, stack.Project()); err != nil {
		return observed{}, fmt.Errorf("listing the networks of %s: %w", stack.Project(), err)
	}
	for _, key := range stack.project.VolumeNames() {
		volume, found, err := e.docker.volume(ctx, stack.volumeName(key))
		if err != nil {
			return observed{}, fmt.Errorf("looking for the volume %s: %w", stack.volumeName(key), err)
		}
		if found {
			seen.volumes[volume.name] = volume
		}
	}
	for _, reference := range stack.Images() {
		image, env, found, err := e.docker.image(ctx, reference)
		if err != nil {
			return observed{}, fmt.Errorf("looking for the image %s: %w", reference, err)
		}
		if found {
			seen.images[reference] = observedImage{id: image.ID, postgresMajor: postgresMajor(env)}
		}
	}
	return seen, nil
}

// executor carries a plan out, operation by operation.
type executor struct {
	docker docker
	stack  *Stack
	seen   observed
	ids    map[string]string // of containers that it made, by service
}

// do carries out one operation. Every one may be done again after an interruption, by planning anew.
func (x *executor) do(ctx context.Context, step operation) error {
	id := step.id
	if made, ok := x.ids[step.key]; ok {
		id = made
	}
	var err error
	switch step.verb {
	case stopContainer:
		err = x.docker.stop(ctx, id)
	case removeContainer:
		err = x.docker.remove(ctx, id)
	case removeNetwork:
		err = x.docker.removeNetwork(ctx, id)
	case createNetwork:
		err = x.createNetwork(ctx, step)
	case createVolume:
		labels := x.stack.volumeLabels(step.key, x.stack.volumeMajor(step.key, x.seen.images))
		err = x.docker.createVolume(ctx, step.name, x.stack.project.Volumes[step.key], labels)
	case createContainer:
		err = x.createContainer(ctx, step)
	case connectNetwork:
		err = x.docker.connect(ctx, x.stack.networkName(step.to), id, []string{step.key})
	case copyFiles:
		err = x.copyFiles(ctx, id, step.key)
	case startContainer:
		err = x.start(ctx, id, step.key)
	case awaitHealth:
		return x.await(ctx, id, step.key)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

func (x *executor) createNetwork(ctx context.Context, step operation) error {
	hash, err := x.stack.networkHash(step.key)
	if err != nil {
		return err
	}
	return x.docker.createNetwork(ctx, step.name, x.stack.project.Networks[step.key], x.stack.networkLabels(step.key, hash))
}

func (x *executor) createContainer(ctx context.Context, step operation) error {
	service := x.stack.project.Services[step.key]
	hash, err := x.stack.hash(step.key)
	if err != nil {
		return err
	}
	service.Volumes = slices.Clone(service.Volumes)
	for i, volume := range service.Volumes {
		if _, named := x.stack.project.Volumes[volume.Source]; named && volume.Type == "volume" {
			service.Volumes[i].Source = x.stack.volumeName(volume.Source)
		}
	}
	labels := x.stack.containerLabels(step.key, hash, x.seen.images[service.Image].id)
	network := x.stack.networkName(x.stack.serviceNetworks(step.key)[0])
	x.ids[step.key], err = x.docker.createContainer(ctx, step.name, service, labels, network, []string{step.key})
	return err
}

// copyFiles puts a service's secrets and configs into its container, which has not started yet.
func (x *executor) copyFiles(ctx context.Context, id, service string) error {
	archive, err := packFiles(x.stack.files[service])
	if err != nil {
		return err
	}
	if err := x.docker.copy(ctx, id, "/", bytes.NewReader(archive)); err != nil {
		return err
	}
	syncDisks() // the engine does not: after a power cut the files would be there and empty
	return nil
}

// packFiles makes a tar archive of files, to be unpacked at the root.
func packFiles(files []file) ([]byte, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, file := range files {
		name := strings.TrimPrefix(file.Path, "/")
		if file.Directory {
			header := &tar.Header{Typeflag: tar.TypeDir, Name: path.Dir(name) + "/", Mode: 0o755, Uid: file.UID, Gid: file.GID}
			if err := archive.WriteHeader(header); err != nil {
				return nil, err
			}
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: file.Mode, Uid: file.UID, Gid: file.GID, Size: int64(len(file.Content))}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(file.Content); err != nil {
			return nil, err
		}
	}
	err := archive.Close()
	return out.Bytes(), err
}

// start starts a container, and says so when it is the port that cannot be had.
func (x *executor) start(ctx context.Context, id, service string) error {
	err := x.docker.start(ctx, id)
	if err == nil || len(x.stack.project.Services[service].Ports) == 0 {
		return err
	}
	port := x.stack.project.Services[service].Ports[0]
	published, failed := netip.ParseAddrPort(port.HostIP + ":" + port.Published)
	if strings.Contains(port.HostIP, ":") {
		published, failed = netip.ParseAddrPort("[" + port.HostIP + "]:" + port.Published)
	}
	if failed != nil {
		return err
	}
	switch text := err.Error(); {
	case strings.Contains(text, "already allocated"), strings.Contains(text, "already in use"):
		return &PortError{Port: published, Taken: true, Err: err}
	case strings.Contains(text, "cannot assign requested address"):
		return &PortError{Port: published, Err: err}
	}
	return err
}

const (
	// healthPoll is how often a service that starts is looked at.
	healthPoll = 250 * time.Millisecond
	// healthLimit is how long it may take. PostgreSQL replays its log after a power cut before it answers.
	healthLimit = 10 * time.Minute
	// restartLimit is how often the engine may start it again before that counts as a failure.
	restartLimit = 3
)

// await waits until a container is healthy. Besides asking the engine, which looks every few seconds, it runs
// the container's own check.
func (x *executor) await(ctx context.Context, id, service string) error {
	waiting, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	poll := time.NewTicker(healthPoll)
	defer poll.Stop()
	for first := -1; ; {
		seen, err := x.docker.inspect(waiting, id)
		if waiting.Err() == nil {
			if err != nil {
				return fmt.Errorf("waiting for %s: %w", service, err)
			}
			if first < 0 {
				first = seen.Restarts
			}
			healthy, err := x.healthy(waiting, seen, first)
			if healthy && service == ServicePostgres {
				return x.checkDatabase(ctx, id)
			}
			if healthy || err != nil {
				return err
			}
		}
		select {
		case <-poll.C:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &ServiceError{Service: service, Why: fmt.Sprintf("is not healthy after %s", healthLimit)}
		}
	}
}

// healthy tells whether a container is; a *ServiceError that it will not be. It had been restarted that often
// when the waiting began.
func (x *executor) healthy(ctx context.Context, seen inspected, restarts int) (bool, error) {
	switch {
	case seen.OutOfMemory && !seen.Running:
		return false, &ServiceError{Service: seen.service, Why: "ran out of memory"}
	case seen.state == "exited" || seen.state == "dead" || seen.Restarts >= restarts+restartLimit:
		return false, &ServiceError{Service: seen.service, Why: fmt.Sprintf("stopped with exit code %d", seen.ExitCode)}
	case !seen.Running:
		return false, nil
	case seen.probe == nil || seen.health == "healthy":
		return true, nil
	case seen.health == "unhealthy":
		return false, &ServiceError{Service: seen.service, Why: "is unhealthy"}
	}
	return x.docker.probe(ctx, seen), nil
}

// probeLimit is how long a container's own check may take: a command in a container may never end.
const probeLimit = 5 * time.Second

// checkDatabase finds out whether PostgreSQL came to the end of making its database. An image that is
// interrupted there goes on as if it had, and DHIS2 would never get in.
func (x *executor) checkDatabase(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	code, err := x.docker.run(ctx, id, []string{"/bin/sh", "-c",
		`psql -U "${POSTGRES_USER:-postgres}" -d "$POSTGRES_DB" -qtAXc "SELECT 1/count(*) FROM pg_roles WHERE rolname = '` + DatabaseUser + `'"`})
	if err != nil {
		return fmt.Errorf("looking at the database: %w", err)
	}
	if code != 0 {
		return &ServiceError{Service: ServicePostgres, Unfinished: true, Why: "was interrupted when it made its database, which holds nothing yet"}
	}
	return nil
}
