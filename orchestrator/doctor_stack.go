package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/compose"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// plentyForContainers is what should be free on the engine's disk for a trip of some days.
const plentyForContainers = 5 << 30

// stack examines what the kit's own containers need, and connects to their DHIS2 where it runs.
func (d *doctor) stack(ctx context.Context) error {
	d.clinic(ctx)
	engine, err := d.kit.openEngine(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.add(LevelError, "engine", Hint(err), "%v", err)
		return nil
	}
	info, err := engine.Info(ctx)
	if err != nil {
		d.add(LevelError, "engine", Hint(err), "%v", err)
		return nil
	}
	d.engine(info)
	record, err := readStack(d.Dir)
	if err != nil {
		d.add(LevelError, "containers", Hint(err), "%v", err)
		return nil
	}
	known := record != nil
	if !known {
		record = &stackRecord{Project: projectPrefix(d.Config.Name) + "none"}
	}
	s := &stack{kit: d.kit, engine: engine, record: record}
	d.images(ctx, s)
	d.port(ctx, s)
	if !known {
		d.add(LevelOK, "containers", "", "none yet: `fieldkit prepare` makes them")
		return nil
	}
	d.containers(ctx)
	d.data(ctx, s)
	d.ownServer(ctx, s)
	return nil
}

// engine examines the Docker engine and what its machine has.
func (d *doctor) engine(info compose.EngineInfo) {
	if info.Local {
		d.add(LevelOK, "engine", "", "Docker %s, API %s, %s", info.Version, info.APIVersion, info.Architecture)
	} else {
		d.add(LevelError, "engine", "use this machine's own: unset DOCKER_HOST", "the Docker engine runs on another machine, whose containers are not reached from here")
	}
	if sizes, err := compose.Fit(info.Memory); err != nil {
		d.add(LevelError, "memory", "use a machine with more memory; 8 GB serve a clinic well", "%v", err)
	} else {
		d.add(LevelOK, "memory", "", "%.1f GB: DHIS2 gets %.1f GB, PostgreSQL %.1f GB", float64(info.Memory)/1e9,
			float64(sizes.DHIS2Memory)/1e9, float64(sizes.PostgresMemory)/1e9)
	}
	if free, known := d.kit.options.Machine.FreeBytes(info.RootDir); known && info.Local {
		level := LevelOK
		switch {
		case free < leastForContainers:
			level = LevelError
		case free < plentyForContainers:
			level = LevelWarning
		}
		d.add(level, "disk", "make room: the kit's database goes there", "%.1f GB are free at %s, where the Docker engine keeps its data", float64(free)/1e9, info.RootDir)
	}
}

// clinic examines where tablets are to find the kit.
func (d *doctor) clinic(ctx context.Context) {
	clinic := d.Config.Clinic
	if clinic == nil {
		d.add(LevelWarning, "clinic", fmt.Sprintf("clinic: {name: %s, address: 192.168.8.2}", suggestedName(d.Config.Name)),
			"%s does not say where tablets find the kit: `fieldkit up` will be refused", ConfigFile)
		return
	}
	if record, err := readStack(d.Dir); err == nil && record != nil && record.Clinic != nil && *record.Clinic != identityOf(clinic) {
		d.add(LevelError, "clinic", "put the old one back: tablets key their data by it", "%s says %s, and tablets know this kit as %s",
			ConfigFile, identityOf(clinic), *record.Clinic)
	}
	if err := d.kit.checkAddress(clinic.Address); err != nil {
		d.add(LevelWarning, "clinic", Hint(err), "%v", err)
	} else if clinic.Address.IsLoopback() {
		d.add(LevelWarning, "clinic", "name the address that this machine has in the clinic's network", "no tablet reaches %s", clinic.Address)
	} else {
		d.add(LevelOK, "clinic", "", "%s is an address of this machine", clinic.Address)
	}
	looking, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	found, err := d.kit.options.Machine.LookupHost(looking, clinic.Name)
	hint := fmt.Sprintf("let the clinic's router know %s as %s; as long as it does not, tablets use the address", clinic.Name, clinic.Address)
	switch {
	case strings.HasSuffix(clinic.Name, ".local"):
		d.add(LevelWarning, "clinic", "take another ending, as in .clinic.lan", "names that end with .local are not found by Android before 13")
	case err != nil || len(found) == 0:
		d.add(LevelWarning, "clinic", hint, "this machine does not find %s by its name", clinic.Name)
	case !slices.ContainsFunc(found, func(a netip.Addr) bool { return a.Unmap() == clinic.Address }):
		d.add(LevelWarning, "clinic", hint, "%s is found at another address than %s", clinic.Name, clinic.Address)
	default:
		d.add(LevelOK, "clinic", "", "%s is found at %s", clinic.Name, clinic.Address)
	}
}

// port examines whether tablets' port is free, or ours.
func (d *doctor) port(ctx context.Context, s *stack) {
	if d.Config.Clinic == nil || d.kit.checkAddress(d.Config.Clinic.Address) != nil {
		return
	}
	identity := identityOf(d.Config.Clinic)
	if err := s.checkPort(ctx, identity); err != nil {
		d.add(LevelError, "port", Hint(err), "%v", err)
		return
	}
	d.add(LevelOK, "port", "", "port %d of %s is free, or the kit's already", identity.Port, identity.Address)
}

// images examines whether the images are at hand, for a place without internet too.
func (d *doctor) images(ctx context.Context, s *stack) {
	for _, reference := range d.references(s.record) {
		image, err := s.engine.Image(ctx, reference)
		there := err == nil
		if err != nil && !errors.Is(err, compose.ErrNoImage) {
			d.add(LevelError, "image", Hint(err), "%v", err)
			continue
		}
		archived, err := s.engine.VerifyImages(d.kit.imagesDir(), reference)
		const prepare = "`fieldkit prepare` fetches and saves it, where there is internet"
		switch {
		case !there && err != nil:
			d.add(LevelWarning, "image", prepare, "%s is neither in the Docker engine nor whole in %s", reference, imagesName)
		case err != nil:
			d.add(LevelWarning, "image", "`fieldkit prepare` saves it", "%s is in the Docker engine, and not whole in %s: %v", reference, imagesName, err)
		case there && !slices.ContainsFunc(archived, func(a compose.ArchivedImage) bool { return a.ID == image.ID }):
			d.add(LevelWarning, "image", "`fieldkit prepare` saves it", "%s in the Docker engine is another than the one in %s", reference, imagesName)
		default:
			d.add(LevelOK, "image", "", "%s is saved, whole", reference)
		}
	}
}

// references are the images that the kit has or, before the first prepare, will want, as far as that is known.
func (d *doctor) references(record *stackRecord) []string {
	if record.Data != nil {
		return []string{record.Data.DHIS2Image, record.Data.PostgresImage}
	}
	references := []string{d.Config.Postgres.Image}
	if d.central != nil {
		if image, err := imageFor(d.Config.DHIS2.Image, d.central.Version()); err == nil {
			references = append(references, image)
		}
	}
	return references
}

// containers says how the stack is.
func (d *doctor) containers(ctx context.Context) {
	status := d.kit.stackStatus(ctx)
	switch status.State {
	case StackUnknown:
		d.add(LevelError, "containers", status.Hint, "%s", status.Trouble)
	case StackFailing:
		d.add(LevelError, "containers", "`fieldkit logs --tail 50` shows why", "not all of them run")
	default:
		d.add(LevelOK, "containers", "", "%s are %s", status.Project, status.State)
	}
	for _, service := range status.Services {
		if service.OutOfMemory || service.Restarts > 0 {
			d.add(LevelWarning, "containers", fmt.Sprintf("`fieldkit logs --service %s --tail 50` shows why", service.Service),
				"%s was started again %d times, for want of memory: %t", service.Service, service.Restarts, service.OutOfMemory)
		}
	}
}

// data compares what is in the volumes with the file and with central.
func (d *doctor) data(ctx context.Context, s *stack) {
	there, err := s.hasData(ctx)
	switch {
	case err != nil:
		d.add(LevelError, "data", Hint(err), "%v", err)
		return
	case s.record.Data == nil || !there:
		d.add(LevelOK, "data", "", "none yet")
		return
	}
	data := s.record.Data
	if err := d.kit.checkImages(data); err != nil {
		d.add(LevelWarning, "data", Hint(err), "%v", err)
	}
	old, err := dhis2api.ParseVersion(data.DHIS2Version)
	if err != nil || d.central == nil {
		d.add(LevelOK, "data", "", "made by DHIS2 %s", data.DHIS2Version)
		return
	}
	if err := mayUpdate(old, d.central.Version()); err != nil {
		d.add(LevelError, "data", Hint(err), "%v", err)
		return
	}
	d.add(LevelOK, "data", "", "made by DHIS2 %s, central runs %s", old, d.central.Version())
}

// ownServer connects to the kit's own DHIS2 where it runs.
func (d *doctor) ownServer(ctx context.Context, s *stack) {
	services, err := s.state(ctx)
	if err != nil || !runs(services) {
		return
	}
	client, err := s.connect(ctx)
	if err != nil {
		d.add(LevelError, string(Local), Hint(err), "%v", err)
		return
	}
	d.local, d.own = client, s
	d.add(LevelOK, string(Local), "", "the kit's own, DHIS2 %s", client.Version())
}
