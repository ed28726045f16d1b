package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/compose"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// UpResult says that the kit is open to the clinic.
type UpResult struct {
	Trip string `json:"trip"`
	// URL is what is typed on the tablets, AddressURL the same by the kit's address.
	URL        string `json:"url"`
	AddressURL string `json:"addressUrl"`
	// DHIS2 is the version that runs.
	DHIS2 string `json:"dhis2"`
	// Changed is false when the kit was open already and nothing was done.
	Changed bool   `json:"changed"`
	Steps   []Step `json:"steps"`
	// Seconds is how long all of it took, OwnSeconds how much of that was neither the servers' own starting and
	// stopping nor the loading of images.
	Seconds    float64 `json:"seconds"`
	OwnSeconds float64 `json:"ownSeconds"`
}

// Step is one step of up, and how long it took.
type Step struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	// Of says what the time was spent on: fieldkit's own work, the servers' starting and stopping, or the loading of images.
	Of string `json:"of"`
}

// What time is spent on.
const (
	ofOwn     = "own"
	ofServers = "servers"
	ofImages  = "images"
)

// Up opens the kit to the clinic: it starts the kit's own DHIS2 where it is down, publishes it at the clinic's
// address, and ends when DHIS2 answers there and can import. It needs no internet. Called again it changes
// nothing.
//
// What cannot work is refused before anything is changed. The error is ErrNoSnapshot without a prepared trip,
// ErrUsage for what fieldkit.yaml does not say or says otherwise than tablets know it, ErrEngine for an engine
// that cannot be used and for too little memory or disk.
func (k *Kit) Up(ctx context.Context) (*UpResult, error) {
	if !k.ownStack() {
		return nil, k.notOurs()
	}
	clock := &stopwatch{now: k.options.Now, progress: k.options.Progress}
	clock.step("checking that the kit can open", ofOwn)
	t, err := k.readyTrip(ctx)
	if err != nil {
		return nil, err
	}
	defer t.close()
	u := &opening{kit: k, trip: t, clock: clock}
	if err := u.check(ctx); err != nil {
		return nil, err
	}
	return u.open(ctx)
}

// opening is one run of up.
type opening struct {
	kit       *Kit
	trip      *trip
	clock     *stopwatch
	stack     *stack
	described *compose.Stack
	clinic    clinicIdentity
	missing   []string // images that the engine does not have
}

// check refuses what cannot work. It changes nothing.
func (u *opening) check(ctx context.Context) error {
	var err error
	if err := u.checkClinic(); err != nil {
		return err
	}
	if u.stack, err = u.kit.tripStack(ctx, u.trip); err != nil {
		return err
	}
	if err := u.kit.checkAddress(u.kit.config.Clinic.Address); err != nil {
		return err
	}
	if err := u.checkData(); err != nil {
		return err
	}
	if u.described, err = u.stack.describe(ctx, &u.clinic); err != nil {
		return err
	}
	if err := u.stack.checkPort(ctx, u.clinic); err != nil {
		return err
	}
	if u.missing, err = u.stack.missingImages(ctx, u.described.Images()); err != nil {
		return err
	}
	if len(u.missing) > 0 {
		u.clock.step("checking the saved images", ofImages)
		if err := u.stack.checkArchive(ctx, u.missing); err != nil {
			return err
		}
		u.clock.step("checking that the kit can open", ofOwn)
	} else if err := u.stack.room(ctx, leastForContainers); err != nil {
		return err
	}
	if !slices.Contains(u.missing, u.stack.record.Data.DHIS2Image) {
		return u.stack.checkVersion(ctx)
	}
	return nil
}

// checkClinic makes sure that the file says where the clinic finds the kit, as tablets know it.
func (u *opening) checkClinic() error {
	clinic := u.kit.config.Clinic
	if clinic == nil {
		return WithHint(usagef("%s does not say where the clinic finds the kit", ConfigFile),
			"clinic: {name: %s, address: 192.168.8.2}, with this machine's address in the clinic's network", suggestedName(u.kit.config.Name))
	}
	u.clinic = identityOf(clinic)
	record, err := readStack(u.kit.dir)
	if err != nil || record == nil {
		return err
	}
	if known := record.Clinic; known != nil && *known != u.clinic {
		return WithHint(usagef("%s says clinic: %s, and tablets know this kit as %s", ConfigFile, u.clinic, *known),
			"put the old one back: tablets key their data by it, and take another for another server")
	}
	return nil
}

// suggestedName is a host name for a kit.
func suggestedName(kit string) string {
	return strings.TrimSuffix(strings.TrimPrefix(projectPrefix(kit), "fieldkit-"), "-") + ".clinic.lan"
}

// checkAddress makes sure that the clinic's address is one of this machine's.
func (k *Kit) checkAddress(address netip.Addr) error {
	addresses, err := k.options.Machine.Addresses()
	if err != nil {
		return fmt.Errorf("cannot list this machine's addresses: %w", err)
	}
	if address.IsLoopback() || slices.Contains(addresses, address) {
		return nil
	}
	return WithHint(fmt.Errorf("%s is not an address of this machine", address),
		"connect it to the clinic's network first%s", others(addresses))
}

// others lists a machine's IPv4 addresses in the networks around it, for a hint.
func others(addresses []netip.Addr) string {
	var texts []string
	for _, a := range addresses {
		if a.Is4() && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			texts = append(texts, a.String())
		}
	}
	if texts == nil {
		return "; now it is in none"
	}
	return "; now it has " + strings.Join(texts, ", ")
}

// checkData makes sure that there is data, of what the file still names.
func (u *opening) checkData() error {
	if u.stack.record.Data == nil {
		return WithHint(fmt.Errorf("%w: nothing was loaded into the kit's containers", ErrNoSnapshot), "fieldkit prepare")
	}
	return u.kit.checkImages(u.stack.record.Data)
}

// checkImages makes sure that the file names the images that the data was made with: only prepare changes them.
func (k *Kit) checkImages(data *stackData) error {
	version, err := dhis2api.ParseVersion(data.DHIS2Version)
	if err != nil {
		return fmt.Errorf("%s: %w", stackName, err)
	}
	dhis2, err := imageFor(k.config.DHIS2.Image, version)
	if err != nil {
		return err
	}
	for _, image := range []struct{ key, named, made string }{
		{"dhis2", dhis2, data.DHIS2Image}, {"postgres", k.config.Postgres.Image, data.PostgresImage},
	} {
		if image.named != image.made {
			return WithHint(usagef("%s names the image %s, and the kit's data was made with %s (DHIS2 %s)", ConfigFile, image.named, image.made, data.DHIS2Version),
				"put it back: `%s: {image: %s}`; at base, `fieldkit prepare` changes images", image.key, image.made)
		}
	}
	return nil
}

// checkPort makes sure that nobody but this stack listens where tablets connect.
func (s *stack) checkPort(ctx context.Context, clinic clinicIdentity) error {
	services, err := s.state(ctx)
	if err != nil {
		return err
	}
	address, err := netip.ParseAddr(clinic.Address)
	if err != nil {
		return err
	}
	at := netip.AddrPortFrom(address, clinic.Port)
	if slices.ContainsFunc(services, func(s compose.ServiceState) bool { return s.Published == at }) {
		return nil
	}
	err = s.kit.options.Machine.Listen(at)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return WithHint(fmt.Errorf("port %d of %s is taken by another program", clinic.Port, clinic.Address), "%s", portHint(clinic.Port))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return WithHint(fmt.Errorf("%s is not an address of this machine", clinic.Address), "connect it to the clinic's network first")
	}
	// Not everybody may listen below 1024; the engine may.
	return nil
}

// open starts the stack, open, and waits for it.
func (u *opening) open(ctx context.Context) (*UpResult, error) {
	s := u.stack
	if len(u.missing) > 0 {
		u.clock.step("loading images from "+u.kit.imagesDir(), ofImages)
		if err := s.engine.LoadImages(ctx, u.kit.imagesDir(), u.missing...); err != nil {
			return nil, atEngine(ctx, err)
		}
		if err := s.checkVersion(ctx); err != nil {
			return nil, err
		}
	}
	// Written before the first tablet can connect, so that no crash forgets it.
	if s.record.Clinic == nil || !s.record.Exposed {
		s.record.Clinic, s.record.Exposed = &u.clinic, true
		if err := s.keep(); err != nil {
			return nil, err
		}
	}
	u.clock.step("starting the containers", ofOwn)
	changed, err := s.start(ctx, u.described, u.clock.containers)
	if err != nil {
		return nil, err
	}
	result := &UpResult{Trip: u.trip.id, URL: u.clinic.url(u.clinic.Name), AddressURL: u.clinic.url(u.clinic.Address), Changed: changed || len(u.missing) > 0}
	of := ofOwn
	if changed {
		of = ofServers
	}
	u.clock.step("waiting for DHIS2 at "+result.URL, of)
	client, err := s.await(ctx, result.URL, false)
	if err != nil {
		return nil, err
	}
	result.DHIS2 = client.Version().String()
	result.Steps = u.clock.stop()
	for _, step := range result.Steps {
		result.Seconds += step.Seconds
		if step.Of == ofOwn {
			result.OwnSeconds += step.Seconds
		}
	}
	return result, nil
}

// stopwatch measures the steps of a run, and tells them.
type stopwatch struct {
	now      func() time.Time
	progress Progress
	began    time.Time
	steps    []Step
}

// step ends the step before and begins another. One that is taken up again is told once.
func (w *stopwatch) step(name, of string) {
	told := slices.ContainsFunc(w.steps, func(s Step) bool { return s.Name == name })
	w.lap()
	w.steps = append(w.steps, Step{Name: name, Of: of})
	if !told {
		w.progress.Step(name)
	}
}

// containers takes a step of the engine's: what it waits for, also when it stops one, is the servers' time.
func (w *stopwatch) containers(name string) {
	of := ofOwn
	if strings.HasPrefix(name, "waiting for ") || strings.HasPrefix(name, "stopping ") {
		of = ofServers
	}
	w.step(name, of)
}

func (w *stopwatch) lap() {
	now := w.now()
	if n := len(w.steps); n > 0 {
		w.steps[n-1].Seconds = now.Sub(w.began).Seconds()
	}
	w.began = now
}

// stop ends the last step and returns them all.
func (w *stopwatch) stop() []Step {
	w.lap()
	return w.steps
}
