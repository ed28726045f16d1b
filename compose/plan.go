package compose

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// observed is what the engine has of a project, and of what the stack names.
type observed struct {
	containers []observedContainer
	networks   []observedNetwork
	volumes    map[string]observedVolume // by name, also those of others
	images     map[string]observedImage  // by reference; absent when the engine has none
}

type observedContainer struct {
	id, name, service string
	hash, imageID     string            // what it was made from
	dependsOn         []string          // services
	state, health     string            // Docker's words
	networks          map[string]string // ids by name
}

type observedNetwork struct{ id, name, key, hash string }

type observedVolume struct {
	name, key, project, major string
	driver                    string
	options                   map[string]string
	created                   time.Time
}

type observedImage struct{ id, postgresMajor string }

// verb is what an operation does to its object: one call to the engine, but for copyFiles and await.
type verb string

const (
	stopContainer   verb = "stop container"
	removeContainer verb = "remove container"
	removeNetwork   verb = "remove network"
	createNetwork   verb = "create network"
	createVolume    verb = "create volume"
	createContainer verb = "create container"
	connectNetwork  verb = "connect container"
	copyFiles       verb = "copy files into container"
	startContainer  verb = "start container"
	awaitHealth     verb = "wait for container"
)

// operation is one step from what is observed to what is desired.
type operation struct {
	verb  verb
	name  string // of the object, as the engine knows it
	id    string // of the object when it is there already
	key   string // service, network or volume in the compose file; "" when it has none
	to    string // of connectNetwork: the network's key
	cause string // why it is needed
}

// String is the operation on one line, e.g. "stop container kit-dhis2-1: its configuration changed".
func (o operation) String() string {
	text := string(o.verb) + " " + o.name
	if o.to != "" {
		text += " to " + o.to
	}
	if o.cause != "" {
		text += ": " + o.cause
	}
	return text
}

// words says an operation to a person; "" is not worth saying.
func (o operation) words() string {
	name := o.key
	if name == "" {
		name = o.name
	}
	switch o.verb {
	case stopContainer:
		return fmt.Sprintf("stopping %s: %s", name, o.cause)
	case createVolume:
		return "creating the volume " + name
	case createContainer:
		return "creating " + name
	case startContainer:
		return "starting " + name
	case awaitHealth:
		return "waiting for " + name
	}
	return ""
}

// makePlan says what has to be done so that the engine runs the stack and nothing else of its project. It is
// empty when that is so already. A volume that the stack must not use is a *VolumeError, an image that the
// engine lacks ErrNoImage.
func makePlan(stack *Stack, seen observed) ([]operation, error) {
	p := planner{stack: stack, seen: seen, keep: map[string]observedContainer{}, kept: map[string]bool{}}
	for _, reference := range stack.Images() {
		if _, ok := seen.images[reference]; !ok {
			return nil, fmt.Errorf("%s: %w", reference, ErrNoImage)
		}
	}
	volumes, err := p.volumes()
	if err != nil {
		return nil, err
	}
	if err := p.judgeNetworks(); err != nil {
		return nil, err
	}
	if err := p.judgeContainers(); err != nil {
		return nil, err
	}
	return slices.Concat(p.removals(), p.creations(volumes)), nil
}

// planner carries what is decided from step to step.
type planner struct {
	stack *Stack
	seen  observed
	keep  map[string]observedContainer // by service: containers that stay
	kept  map[string]bool              // by key: networks that stay
	gone  []operation                  // removals of networks
	lost  []doomed
}

// doomed is a container that does not stay.
type doomed struct {
	container observedContainer
	cause     string
}

// volumes checks those that are there and lists those to be made. None is ever removed.
func (p *planner) volumes() ([]operation, error) {
	var made []operation
	for _, key := range p.stack.project.VolumeNames() {
		name := p.stack.volumeName(key)
		volume, ok := p.seen.volumes[name]
		if !ok {
			made = append(made, operation{verb: createVolume, name: name, key: key, cause: "missing"})
			continue
		}
		wanted := p.stack.project.Volumes[key]
		driver := wanted.Driver
		if driver == "" {
			driver = "local"
		}
		major := p.stack.volumeMajor(key, p.seen.images)
		switch {
		case volume.project == "":
			return nil, &VolumeError{Volume: name, Why: "was not made for this stack"}
		case volume.project != p.stack.project.Name:
			return nil, &VolumeError{Volume: name, Why: fmt.Sprintf("belongs to the stack %s", volume.project)}
		case volume.driver != driver || !maps.Equal(volume.options, wanted.DriverOpts):
			return nil, &VolumeError{Volume: name, Why: "was made with other driver options than the override asks for now"}
		case major != "" && volume.major != "" && major != volume.major:
			return nil, &VolumeError{Volume: name, Why: fmt.Sprintf("holds data of PostgreSQL %s, and %s is PostgreSQL %s",
				volume.major, p.stack.project.Services[ServicePostgres].Image, major)}
		}
	}
	return made, nil
}

// volumeMajor is the major version of the PostgreSQL that keeps its data in a volume; "" for other volumes,
// and when the image does not say.
func (s *Stack) volumeMajor(key string, images map[string]observedImage) string {
	service := s.project.Services[ServicePostgres]
	if slices.ContainsFunc(service.Volumes, func(volume types.ServiceVolumeConfig) bool { return volume.Source == key }) {
		return images[service.Image].postgresMajor
	}
	return ""
}

// judgeNetworks decides which networks stay: one for each that is wanted, made as it is wanted.
func (p *planner) judgeNetworks() error {
	for _, network := range p.seen.networks {
		remove := func(cause string) {
			p.gone = append(p.gone, operation{verb: removeNetwork, name: network.name, id: network.id, key: network.key, cause: cause})
		}
		if _, wanted := p.stack.project.Networks[network.key]; !wanted {
			remove("not in the stack")
			continue
		}
		hash, err := p.stack.networkHash(network.key)
		switch {
		case err != nil:
			return err
		case network.hash != hash:
			remove("its configuration changed")
		case p.kept[network.key]:
			remove("there are two of it")
		default:
			p.kept[network.key] = true
		}
	}
	return nil
}

// judgeContainers decides which containers stay: one for each service, as its service and image are now, and
// such that starting it is enough.
func (p *planner) judgeContainers() error {
	for _, container := range p.seen.containers {
		cause, err := p.verdict(container)
		if err != nil {
			return err
		}
		if cause == "" {
			p.keep[container.service] = container
			continue
		}
		p.lost = append(p.lost, doomed{container, cause})
	}
	return nil
}

// verdict is why a container cannot stay, "" when it can.
func (p *planner) verdict(container observedContainer) (string, error) {
	service, wanted := p.stack.project.Services[container.service]
	if !wanted {
		return "not in the stack", nil
	}
	if _, double := p.keep[container.service]; double {
		return "there are two of it", nil
	}
	hash, err := p.stack.hash(container.service)
	if err != nil {
		return "", err
	}
	switch {
	case container.hash != hash:
		return "its configuration changed", nil
	case container.imageID != p.seen.images[service.Image].id:
		return "its image changed", nil
	case container.state == "created":
		return "it was never started", nil // what is copied into it may be missing
	case !slices.Contains([]string{"running", "restarting", "exited"}, container.state):
		return "it is " + container.state, nil
	}
	for key := range service.Networks {
		id, connected := container.networks[p.stack.networkName(key)]
		if !connected || !p.kept[key] || !slices.ContainsFunc(p.seen.networks, func(n observedNetwork) bool { return n.key == key && n.id == id }) {
			return "its network " + key + " changed", nil
		}
	}
	return "", nil
}

// removals takes away what does not stay, first those on which nothing else depends.
func (p *planner) removals() []operation {
	var operations []operation
	containers := make([]observedContainer, len(p.lost))
	for i, lost := range p.lost {
		containers[i] = lost.container
	}
	for _, container := range stopOrder(containers) {
		at := slices.IndexFunc(p.lost, func(lost doomed) bool { return lost.container.id == container.id })
		step := operation{name: container.name, id: container.id, key: container.service, cause: p.lost[at].cause}
		if slices.Contains([]string{"running", "restarting", "paused"}, container.state) {
			step.verb = stopContainer
			operations = append(operations, step)
		}
		step.verb = removeContainer
		operations = append(operations, step)
	}
	slices.SortFunc(p.gone, func(a, b operation) int { return strings.Compare(a.name+a.id, b.name+b.id) })
	return append(operations, p.gone...)
}

// creations makes what is missing and starts it, each service after those that it depends on.
func (p *planner) creations(operations []operation) []operation {
	for _, key := range p.stack.project.NetworkNames() {
		if !p.kept[key] {
			operations = append(operations, operation{verb: createNetwork, name: p.stack.networkName(key), key: key, cause: "missing"})
		}
	}
	for _, service := range p.stack.order() {
		container, stays := p.keep[service]
		step := operation{name: p.stack.containerName(service), id: container.id, key: service}
		add := func(verb verb, to, cause string) {
			step.verb, step.to, step.cause = verb, to, cause
			operations = append(operations, step)
		}
		if !stays {
			add(createContainer, "", "missing")
			for _, network := range p.stack.serviceNetworks(service)[1:] {
				add(connectNetwork, network, "")
			}
			if len(p.stack.files[service]) > 0 {
				add(copyFiles, "", "")
			}
			add(startContainer, "", "")
		} else if container.state == "exited" {
			add(startContainer, "", "it is stopped")
		} else if dependency := p.unready(service); dependency != "" {
			// After a power cut the engine starts all at once. DHIS2 looks for its database only once, and stays
			// half up without.
			add(stopContainer, "", "it was started before "+dependency+" was ready")
			add(startContainer, "", "")
		}
		if p.awaited(service) {
			add(awaitHealth, "", "")
		}
	}
	return operations
}

// awaited tells whether a service's health is to be waited for: it is not healthy yet, or another is about to
// start that depends on it. The latter looks at more than health, see checkDatabase.
func (p *planner) awaited(service string) bool {
	container, stays := p.keep[service]
	ready := stays && container.ready()
	for name, other := range p.stack.project.Services {
		if other.DependsOn[service].Condition != types.ServiceConditionHealthy {
			continue
		}
		dependent, dependentStays := p.keep[name]
		if !ready || !dependentStays || dependent.state == "exited" {
			return true
		}
	}
	return false
}

// unready is a service that stays but was not healthy when it was looked at, and on whose health this one
// depends; "" when there is none.
func (p *planner) unready(service string) string {
	for _, name := range slices.Sorted(maps.Keys(p.stack.project.Services[service].DependsOn)) {
		container, stays := p.keep[name]
		if stays && !container.ready() && p.stack.project.Services[service].DependsOn[name].Condition == types.ServiceConditionHealthy {
			return name
		}
	}
	return ""
}

func (c observedContainer) ready() bool { return c.state == "running" && c.health == "healthy" }

// serviceNetworks lists a service's networks. The first is the one with which its container is made: the one
// that leads out, if there is one, because ports are published through it.
func (s *Stack) serviceNetworks(service string) []string {
	keys := slices.Sorted(maps.Keys(s.project.Services[service].Networks))
	slices.SortStableFunc(keys, func(a, b string) int {
		rank := func(key string) int {
			if s.project.Networks[key].Internal {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	return keys
}

// networkHash names a network's configuration.
func (s *Stack) networkHash(key string) (string, error) {
	data, err := json.Marshal(s.project.Networks[key])
	if err != nil {
		return "", fmt.Errorf("naming the configuration of the network %s: %w", key, err)
	}
	return digest(data), nil
}

// stopOrder sorts containers so that each comes before those that it depends on.
func stopOrder(containers []observedContainer) []observedContainer {
	left := slices.Clone(containers)
	slices.SortFunc(left, func(a, b observedContainer) int { return strings.Compare(a.name+a.id, b.name+b.id) })
	var order []observedContainer
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(candidate observedContainer) bool {
			return !slices.ContainsFunc(left, func(other observedContainer) bool {
				return other.service != candidate.service && slices.Contains(other.dependsOn, candidate.service)
			})
		})
		next = max(next, 0) // labels of a circle: somewhere it has to begin
		order = append(order, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return order
}
