package compose

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"
)

// docker is the engine's API in this package's own words. This is the only file that knows the client: its
// successor lives under another path, and moving there must stay a morning's work.
type docker struct{ api *client.Client }

// newDocker makes a client; nothing is sent yet.
func newDocker(host string) (docker, error) {
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	api, err := client.NewClientWithOpts(options...)
	return docker{api}, err
}

func (d docker) close() error { return d.api.Close() }

// host is where the engine is, e.g. "unix:///var/run/docker.sock".
func (d docker) host() string { return d.api.DaemonHost() }

func (d docker) isUnreachable(err error) bool { return client.IsErrConnectionFailed(err) }

// version returns the engine's version, system, the versions of its API that it speaks last and that was
// negotiated, and the names of its components.
func (d docker) version(ctx context.Context) (version, system, newest, negotiated string, components []string, err error) {
	answer, err := d.api.ServerVersion(ctx)
	for _, component := range answer.Components {
		components = append(components, component.Name)
	}
	return answer.Version, answer.Os, answer.APIVersion, d.api.ClientVersion(), components, err
}

// info is what the engine says about its machine. apart is true when containers are not reached by their own
// addresses although the socket is here: in Docker Desktop's virtual machine, and without root.
func (d docker) info(ctx context.Context) (info EngineInfo, apart bool, err error) {
	answer, err := d.api.Info(ctx)
	if err != nil {
		return EngineInfo{}, false, err
	}
	apart = strings.Contains(answer.OperatingSystem, "Docker Desktop") ||
		slices.ContainsFunc(answer.SecurityOptions, func(option string) bool { return strings.Contains(option, "rootless") })
	return EngineInfo{
		Version: answer.ServerVersion, APIVersion: d.api.ClientVersion(), Architecture: answer.Architecture,
		Memory: answer.MemTotal, CPUs: answer.NCPU, RootDir: answer.DockerRootDir,
	}, apart, nil
}

// ofProject selects what belongs to a project.
func ofProject(project string) filters.Args {
	return filters.NewArgs(filters.Arg("label", labelProject+"="+project))
}

func (d docker) containers(ctx context.Context, project string) ([]inspected, error) {
	list, err := d.api.ContainerList(ctx, container.ListOptions{All: true, Filters: ofProject(project)})
	if err != nil {
		return nil, err
	}
	var found []inspected
	for _, entry := range list {
		seen, err := d.inspect(ctx, entry.ID)
		if cerrdefs.IsNotFound(err) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, err
		}
		found = append(found, seen)
	}
	return found, nil
}

// inspected is all that is asked about one container.
type inspected struct {
	observedContainer
	ServiceState
	probe []string // the health check's command, nil without one
}

// published is the one place at which a container is reached from outside; invalid when there is none.
func published(ports nat.PortMap) (at netip.AddrPort) {
	for _, bindings := range ports {
		for _, binding := range bindings {
			if address, err := netip.ParseAddrPort(binding.HostIP + ":" + binding.HostPort); err == nil {
				at = address
			}
		}
	}
	return at
}

func (d docker) inspect(ctx context.Context, id string) (inspected, error) {
	answer, err := d.api.ContainerInspect(ctx, id)
	if err != nil {
		return inspected{}, err
	}
	labels, state := answer.Config.Labels, answer.State
	seen := inspected{observedContainer: observedContainer{
		id: answer.ID, name: strings.TrimPrefix(answer.Name, "/"), service: labels[labelService],
		hash: labels[labelHash], imageID: labels[labelImage], state: state.Status, networks: map[string]string{},
	}}
	for _, dependency := range strings.Split(labels[labelDependsOn], ",") {
		service, _, _ := strings.Cut(dependency, ":")
		seen.dependsOn = append(seen.dependsOn, service)
	}
	if state.Health != nil && state.Health.Status != container.NoHealthcheck {
		seen.health = state.Health.Status
	}
	seen.ServiceState = ServiceState{
		Service: seen.service, Container: seen.name, Image: answer.Config.Image, ImageID: answer.Image,
		Running: state.Running && !state.Paused && !state.Restarting, Status: state.Status, Health: seen.health,
		ExitCode: state.ExitCode, Restarts: answer.RestartCount, OutOfMemory: state.OOMKilled, Since: instant(state.StartedAt),
	}
	if !seen.Running {
		seen.Since = instant(state.FinishedAt)
	}
	for name, endpoint := range answer.NetworkSettings.Networks {
		seen.networks[name] = endpoint.NetworkID
		if name == labels[labelProject]+"_data" {
			seen.Address, _ = netip.ParseAddr(endpoint.IPAddress)
		}
	}
	seen.Published = published(answer.NetworkSettings.Ports)
	if !seen.Published.IsValid() && (state.Running || state.Restarting) {
		// While the engine starts a container again it shows no ports, and may hold them already.
		seen.Published = published(answer.HostConfig.PortBindings)
	}
	if check := answer.Config.Healthcheck; check != nil && len(check.Test) > 1 {
		switch check.Test[0] {
		case "CMD":
			seen.probe = check.Test[1:]
		case "CMD-SHELL":
			seen.probe = []string{"/bin/sh", "-c", check.Test[1]}
		}
	}
	return seen, nil
}

// instant reads the engine's times; its zero and what is no time are the zero time.
func instant(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() <= 1 {
		return time.Time{}
	}
	return at
}

func (d docker) networks(ctx context.Context, project string) ([]observedNetwork, error) {
	list, err := d.api.NetworkList(ctx, network.ListOptions{Filters: ofProject(project)})
	var found []observedNetwork
	for _, entry := range list {
		found = append(found, observedNetwork{id: entry.ID, name: entry.Name, key: entry.Labels[labelNetwork], hash: entry.Labels[labelHash]})
	}
	return found, err
}

// persistently tries three times what the engine could not do for the packet filter: another engine, or a
// firewall that is just being loaded, changes the same rules at the same moment.
func persistently(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == 3 || !strings.Contains(err.Error(), "iptables failed") {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// createNetwork relies on the client, which asks engines before API 1.44 to refuse a name that exists.
func (d docker) createNetwork(ctx context.Context, name string, config types.NetworkConfig, labels map[string]string) error {
	options := network.CreateOptions{Driver: "bridge", Internal: config.Internal, Options: config.DriverOpts, Labels: labels}
	for _, pool := range config.Ipam.Config {
		if options.IPAM == nil {
			options.IPAM = &network.IPAM{}
		}
		options.IPAM.Config = append(options.IPAM.Config, network.IPAMConfig{Subnet: pool.Subnet, IPRange: pool.IPRange, Gateway: pool.Gateway})
	}
	return persistently(ctx, func() error {
		_, err := d.api.NetworkCreate(ctx, name, options)
		return err
	})
}

// removeNetwork removes a network of ours. An engine that was killed may remember endpoints of containers
// that are gone: they are cut off.
func (d docker) removeNetwork(ctx context.Context, id string) error {
	remove := func() error { return d.api.NetworkRemove(ctx, id) }
	err := persistently(ctx, remove)
	if err == nil || cerrdefs.IsNotFound(err) {
		return nil
	}
	answer, failed := d.api.NetworkInspect(ctx, id, network.InspectOptions{})
	if failed != nil {
		return err
	}
	for name, endpoint := range answer.Containers {
		if endpoint.Name != "" {
			name = endpoint.Name
		}
		if failed := d.api.NetworkDisconnect(ctx, id, name, true); failed != nil {
			return errors.Join(err, failed)
		}
	}
	if err := persistently(ctx, remove); err != nil && !cerrdefs.IsNotFound(err) {
		return err
	}
	return nil
}

func (d docker) volumes(ctx context.Context, project string) ([]observedVolume, error) {
	list, err := d.api.VolumeList(ctx, volume.ListOptions{Filters: ofProject(project)})
	var found []observedVolume
	for _, entry := range list.Volumes {
		found = append(found, newVolume(*entry))
	}
	return found, err
}

// volume looks one up by name, whoever made it; found is false when there is none.
func (d docker) volume(ctx context.Context, name string) (seen observedVolume, found bool, err error) {
	answer, err := d.api.VolumeInspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return observedVolume{}, false, nil
	}
	return newVolume(answer), err == nil, err
}

func newVolume(answer volume.Volume) observedVolume {
	created, _ := time.Parse(time.RFC3339, answer.CreatedAt)
	return observedVolume{
		name: answer.Name, key: answer.Labels[labelVolume], project: answer.Labels[labelProject], major: answer.Labels[labelPostgresMajor],
		driver: answer.Driver, options: answer.Options, created: created,
	}
}

// createVolume must be preceded by a look: the engine takes an existing name for success.
func (d docker) createVolume(ctx context.Context, name string, config types.VolumeConfig, labels map[string]string) error {
	_, err := d.api.VolumeCreate(ctx, volume.CreateOptions{Name: name, Driver: config.Driver, DriverOpts: config.DriverOpts, Labels: labels})
	return err
}

func (d docker) removeVolume(ctx context.Context, name string) error {
	if err := d.api.VolumeRemove(ctx, name, false); err != nil && !cerrdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// createContainer makes a container on one network. Engines before API 1.44 take no more than one.
func (d docker) createContainer(ctx context.Context, name string, service types.ServiceConfig, labels map[string]string, networkName string, aliases []string) (string, error) {
	config := &container.Config{
		Image: service.Image, Cmd: []string(service.Command), Entrypoint: []string(service.Entrypoint), User: service.User,
		WorkingDir: service.WorkingDir, Hostname: service.Hostname, Labels: labels, StopSignal: service.StopSignal,
		Env: environment(service.Environment), Healthcheck: healthcheck(service.HealthCheck), ExposedPorts: nat.PortSet{},
	}
	if service.StopGracePeriod != nil {
		seconds := int(time.Duration(*service.StopGracePeriod).Seconds())
		config.StopTimeout = &seconds
	}
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(networkName), PortBindings: nat.PortMap{},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyMode(service.Restart)},
		CapAdd:        service.CapAdd, CapDrop: service.CapDrop, SecurityOpt: service.SecurityOpt, ReadonlyRootfs: service.ReadOnly,
		ShmSize: int64(service.ShmSize), Sysctls: service.Sysctls, Init: service.Init, OomScoreAdj: int(service.OomScoreAdj),
		DNS: service.DNS, ExtraHosts: service.ExtraHosts.AsList(":"), Tmpfs: map[string]string{}, Mounts: mounts(service.Volumes),
	}
	host.Resources = container.Resources{
		Memory: int64(service.MemLimit), MemoryReservation: int64(service.MemReservation), MemorySwap: int64(service.MemSwapLimit),
		NanoCPUs: int64(service.CPUS * 1e9), CPUShares: service.CPUShares,
	}
	if service.PidsLimit != 0 {
		host.PidsLimit = &service.PidsLimit
	}
	if service.Restart == "" {
		host.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if logging := service.Logging; logging != nil {
		host.LogConfig = container.LogConfig{Type: logging.Driver, Config: logging.Options}
	}
	for _, place := range service.Tmpfs {
		path, options, _ := strings.Cut(place, ":")
		host.Tmpfs[path] = options
	}
	for _, name := range slices.Sorted(maps.Keys(service.Ulimits)) {
		limit := service.Ulimits[name]
		if limit.Single != 0 {
			limit = &types.UlimitsConfig{Soft: limit.Single, Hard: limit.Single}
		}
		host.Ulimits = append(host.Ulimits, &container.Ulimit{Name: name, Soft: int64(limit.Soft), Hard: int64(limit.Hard)})
	}
	for _, port := range service.Ports {
		inside := nat.Port(strconv.Itoa(int(port.Target)) + "/" + port.Protocol)
		config.ExposedPorts[inside] = struct{}{}
		host.PortBindings[inside] = append(host.PortBindings[inside], nat.PortBinding{HostIP: port.HostIP, HostPort: port.Published})
	}
	networks := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{networkName: {Aliases: aliases}}}
	answer, err := d.api.ContainerCreate(ctx, config, host, networks, nil, name)
	return answer.ID, err
}

// environment lists variables as "NAME=value", sorted; one without a value is left out.
func environment(variables types.MappingWithEquals) []string {
	var list []string
	for name, value := range variables {
		if value != nil {
			list = append(list, name+"="+*value)
		}
	}
	slices.Sort(list)
	return list
}

func healthcheck(check *types.HealthCheckConfig) *container.HealthConfig {
	if check == nil {
		return nil
	}
	if check.Disable {
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	span := func(d *types.Duration) time.Duration {
		if d == nil {
			return 0
		}
		return time.Duration(*d)
	}
	config := &container.HealthConfig{Test: check.Test, Interval: span(check.Interval), Timeout: span(check.Timeout), StartPeriod: span(check.StartPeriod)}
	if check.Retries != nil {
		config.Retries = int(*check.Retries)
	}
	return config
}

func mounts(volumes []types.ServiceVolumeConfig) []mount.Mount {
	var list []mount.Mount
	for _, volume := range volumes {
		one := mount.Mount{Type: mount.Type(volume.Type), Source: volume.Source, Target: volume.Target, ReadOnly: volume.ReadOnly}
		if volume.Volume != nil {
			one.VolumeOptions = &mount.VolumeOptions{NoCopy: volume.Volume.NoCopy}
		}
		if volume.Bind != nil {
			one.BindOptions = &mount.BindOptions{CreateMountpoint: bool(volume.Bind.CreateHostPath)}
		}
		list = append(list, one)
	}
	return list
}

func (d docker) connect(ctx context.Context, networkName, id string, aliases []string) error {
	return d.api.NetworkConnect(ctx, networkName, id, &network.EndpointSettings{Aliases: aliases})
}

// copy unpacks a tar archive into a directory of a container that need not run.
func (d docker) copy(ctx context.Context, id, directory string, archive io.Reader) error {
	return d.api.CopyToContainer(ctx, id, directory, archive, container.CopyToContainerOptions{})
}

func (d docker) start(ctx context.Context, id string) error {
	return persistently(ctx, func() error { return d.api.ContainerStart(ctx, id, container.StartOptions{}) })
}

// stop waits as long as the container was made to be given.
func (d docker) stop(ctx context.Context, id string) error {
	if err := d.api.ContainerStop(ctx, id, container.StopOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// remove takes the container's nameless volumes along: images declare some, and they would pile up.
func (d docker) remove(ctx context.Context, id string) error {
	err := d.api.ContainerRemove(ctx, id, container.RemoveOptions{RemoveVolumes: true, Force: true})
	if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) { // a conflict: it is being removed
		return err
	}
	return nil
}

// run runs a command in a container and returns its exit code. What it prints is dropped.
func (d docker) run(ctx context.Context, id string, command []string) (int, error) {
	made, err := d.api.ContainerExecCreate(ctx, id, container.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, err
	}
	attached, err := d.api.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, err
	}
	defer attached.Close()
	stop := context.AfterFunc(ctx, attached.Close) // the connection outlives its context otherwise
	defer stop()
	if _, err := io.Copy(io.Discard, attached.Reader); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	result, err := d.api.ContainerExecInspect(ctx, made.ID)
	return result.ExitCode, err
}

// probe runs a container's own check once.
func (d docker) probe(ctx context.Context, container inspected) bool {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	code, err := d.run(ctx, container.id, container.probe)
	return err == nil && code == 0 // else it may have stopped meanwhile; whoever waits looks again
}

// logs writes a container's output and errors to w until it ends or, when followed, ctx does.
func (d docker) logs(ctx context.Context, id string, options LogOptions, w io.Writer) error {
	ask := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: options.Follow, Timestamps: options.Timestamps, Tail: "all"}
	if options.Tail > 0 {
		ask.Tail = strconv.Itoa(options.Tail)
	}
	if !options.Since.IsZero() {
		ask.Since = options.Since.UTC().Format(time.RFC3339Nano)
	}
	stream, err := d.api.ContainerLogs(ctx, id, ask)
	if err != nil {
		return err
	}
	defer stream.Close()
	_, err = stdcopy.StdCopy(w, w, stream)
	return err
}

// image looks an image up; found is false when there is none.
func (d docker) image(ctx context.Context, reference string) (seen Image, env []string, found bool, err error) {
	answer, err := d.api.ImageInspect(ctx, reference)
	if cerrdefs.IsNotFound(err) {
		return Image{}, nil, false, nil
	}
	if err != nil {
		return Image{}, nil, false, err
	}
	seen = Image{Reference: reference, ID: answer.ID, Architecture: answer.Architecture, Size: answer.Size, layers: answer.RootFS.Layers}
	if answer.Config != nil {
		seen.Labels, env = answer.Config.Labels, answer.Config.Env
	}
	return seen, env, true, nil
}

// pull, save and load give the engine's stream; errors may be in it, see readProgress.
func (d docker) pull(ctx context.Context, reference string) (io.ReadCloser, error) {
	return d.api.ImagePull(ctx, reference, image.PullOptions{})
}

func (d docker) save(ctx context.Context, references ...string) (io.ReadCloser, error) {
	return d.api.ImageSave(ctx, references)
}

// load takes an archive; the client closes it when it can, so it must not be a file that is still needed.
func (d docker) load(ctx context.Context, archive io.Reader) (io.ReadCloser, error) {
	answer, err := d.api.ImageLoad(ctx, archive)
	return answer.Body, err
}
