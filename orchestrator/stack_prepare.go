package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
)

// deletedStack is what factStack says of a trip whose data was deleted from the kit on purpose.
const deletedStack = "deleted"

// reachLocal connects to the kit's DHIS2, which is started first when it is the kit's own.
func (p *preparation) reachLocal(ctx context.Context) error {
	if err := p.lookBack(ctx); err != nil {
		return err
	}
	var err error
	if p.kit.ownStack() {
		if p.stack, err = p.kit.makeStack(ctx); err != nil {
			return err
		}
		if err := p.startStack(ctx); err != nil {
			return err
		}
	}
	p.local, err = p.kit.connectLocal(ctx)
	return err
}

// project names the stack that the trip is loaded into; empty for a DHIS2 of somebody else's.
func (p *preparation) project() string {
	if p.stack == nil {
		return ""
	}
	return p.stack.record.Project
}

// lookBack decides what the trip before means for this one, before anything is started: whether what it did not
// bring home is on the kit to be looked for. Where it is elsewhere, looking here would find everything deleted.
func (p *preparation) lookBack(ctx context.Context) error {
	t, err := p.kit.presentTrip(ctx)
	switch {
	case errors.Is(err, ErrNoSnapshot):
		return nil
	case err != nil:
		return err
	case t.state == tripPreparing && !t.carried:
		return errors.Join(p.sameKit(ctx, t), t.close())
	}
	return errors.Join(p.judge(ctx, t), t.close())
}

// sameKit gives up a trip that was begun for another DHIS2 than the kit's present one.
func (p *preparation) sameKit(ctx context.Context, t *trip) error {
	project, err := t.loadedInto(ctx)
	if err != nil || !p.kit.ownStack() {
		p.elsewhere = project != ""
		return err
	}
	record, err := readStack(p.kit.dir)
	p.elsewhere = record == nil || record.Project != project
	return err
}

// judge tells whether the kit holds a trip's data, as it must before something else may be loaded over it.
func (p *preparation) judge(ctx context.Context, t *trip) error {
	project, err := t.loadedInto(ctx)
	if err != nil {
		return err
	}
	if project == deletedStack {
		p.elsewhere = true
		return nil
	}
	_, elsewhere := p.kit.tripStack(ctx, t)
	if elsewhere == nil {
		p.holds = true
		return nil
	}
	away, err := t.away(ctx)
	if err != nil {
		return err
	}
	if away > 0 || t.state == tripReady || ctx.Err() != nil || errors.Is(elsewhere, ErrEngine) {
		return elsewhere
	}
	p.elsewhere = true
	return nil
}

// presentTrip opens the trip that the kit holds: the latest, or the one before as long as prepare has only begun
// and loaded nothing yet. The error is ErrNoSnapshot when the kit has made no trip.
func (k *Kit) presentTrip(ctx context.Context) (*trip, error) {
	latest, err := k.latestTrip(ctx)
	if err != nil {
		return nil, err
	}
	carried, err := latest.journal.Fact(ctx, factCarried)
	if err != nil {
		return nil, errors.Join(err, latest.close())
	}
	latest.carried = carried != ""
	if latest.state != tripPreparing || latest.carried {
		return latest, nil
	}
	before, err := k.tripBefore(ctx, latest.id)
	if err != nil {
		return nil, errors.Join(err, latest.close())
	}
	if before == nil {
		return latest, nil
	}
	return before, latest.close()
}

// away counts the trip's changes that are known and not home.
func (t *trip) away(ctx context.Context) (int, error) {
	counts, err := t.journal.Counts(ctx)
	if err != nil {
		return 0, err
	}
	away := 0
	for _, states := range counts {
		for state, n := range states {
			if state == journal.Open || state == journal.Sent || state.Held() {
				away += n
			}
		}
	}
	return away, nil
}

// settle notes where a new trip is loaded.
func (p *preparation) settle(ctx context.Context) error {
	return p.trip.journal.SetFact(ctx, factStack, p.project())
}

// startStack makes the kit's own DHIS2 run, closed to the clinic, with central's exact version and time zone,
// and keeps its images. Tablets must not upload between prepare's look at the kit and its loading.
func (p *preparation) startStack(ctx context.Context) error {
	s, progress := p.stack, p.kit.options.Progress
	if err := p.plan(ctx); err != nil {
		return err
	}
	described, err := s.describe(ctx, nil)
	if err != nil {
		return err
	}
	services, err := s.state(ctx)
	if err != nil {
		return err
	}
	if isOpen(services) {
		if err := p.confirm(ctx, "close the kit to the clinic: no tablet reaches it any more"); err != nil {
			return err
		}
	}
	if err := s.room(ctx, leastForContainers); err != nil {
		return err
	}
	if err := s.fetchImages(ctx, described.Images()); err != nil {
		return err
	}
	if err := s.checkVersion(ctx); err != nil {
		return err
	}
	if err := s.keep(); err != nil {
		return err
	}
	progress.Step("starting the kit's own DHIS2, closed to the clinic")
	if _, err := s.start(ctx, described, progress.Step); err != nil {
		return err
	}
	progress.Step("waiting for DHIS2")
	client, err := s.await(ctx, s.url(), !p.holds)
	if err != nil {
		return err
	}
	return p.received(ctx, client)
}

// plan decides what the stack is made of, and refuses what would not go with the data that it holds already.
func (p *preparation) plan(ctx context.Context) error {
	s, version := p.stack, p.central.Version()
	image, err := imageFor(p.kit.config.DHIS2.Image, version)
	if err != nil {
		return err
	}
	zone := p.central.Info().ZoneID
	if zone == "" {
		zone = "Etc/UTC"
	}
	there, err := s.hasData(ctx)
	if err != nil {
		return err
	}
	if before := s.record.Data; before != nil && there {
		old, err := dhis2api.ParseVersion(before.DHIS2Version)
		if err != nil {
			return fmt.Errorf("%s: %w", stackName, err)
		}
		if err := mayUpdate(old, version); err != nil {
			return err
		}
		if version.Compare(old) != 0 {
			p.kit.options.Progress.Note(fmt.Sprintf("the kit's DHIS2 is updated from %s to central's %s", old, version))
		}
	}
	s.record.Data = &stackData{
		DHIS2Version: version.String(), DHIS2Image: image, PostgresImage: p.kit.config.Postgres.Image, Zone: zone,
	}
	return nil
}

// mayUpdate refuses another DHIS2 on a database than one that may follow the one that made it: the same, or a
// later one of its minor version.
func mayUpdate(old, version dhis2api.Version) error {
	if version.Minor == old.Minor && version.Compare(old) >= 0 {
		return nil
	}
	return WithHint(fmt.Errorf("the kit's database was made by DHIS2 %s, and central runs %s", old, version),
		"once everything is home: `fieldkit down --delete-data`, then `fieldkit prepare` again")
}

// received makes sure that what was started is what was asked for, and ready to be loaded.
func (p *preparation) received(ctx context.Context, client *dhis2api.Client) error {
	s, version := p.stack, p.central.Version()
	if client.Version().Compare(version) != 0 {
		s.record.Data.DHIS2Version = client.Version().String()
		return errors.Join(WithHint(fmt.Errorf("the image %s runs DHIS2 %s, and central %s", s.record.Data.DHIS2Image, client.Version(), version),
			"name the image of central's version, or none: `dhis2: {image: ...}` in %s; then `fieldkit down --delete-data` and prepare again", ConfigFile), s.keep())
	}
	if here, there := client.Info().ZoneID, p.central.Info().ZoneID; here != there {
		p.warn(fmt.Errorf("the kit's DHIS2 is in the time zone %s, central in %s: their times carry none", here, there))
	}
	// A first start leaves an empty list of period types in the query cache (DHIS2 2.42).
	if err := client.ClearCache(ctx); err != nil {
		return atServer(ctx, Local, s.url(), err)
	}
	return nil
}

// loaded notes that all that tablets did is known, and that the stack holds the trip.
func (p *preparation) loaded() error {
	if p.stack == nil {
		return nil
	}
	p.stack.record.Exposed = false
	return p.stack.keep()
}

// versionLabel is the label by which DHIS2's images tell their version.
const versionLabel = "DHIS2_VERSION"

// checkVersion compares the version in the image's label, where it has one, with what the stack is to run. Only
// asking the running server is certain.
func (s *stack) checkVersion(ctx context.Context) error {
	data := s.record.Data
	image, err := s.engine.Image(ctx, data.DHIS2Image)
	if err != nil {
		return atEngine(ctx, err)
	}
	labelled, err := dhis2api.ParseVersion(image.Labels[versionLabel])
	if err != nil {
		return nil //nolint:nilerr // no label, or none that says anything
	}
	wanted, err := dhis2api.ParseVersion(data.DHIS2Version)
	if err != nil {
		return fmt.Errorf("%s: %w", stackName, err)
	}
	if labelled.Compare(wanted) != 0 {
		return WithHint(fmt.Errorf("the image %s is DHIS2 %s, and the kit needs %s", data.DHIS2Image, labelled, wanted),
			"`docker image rm %s`, then `fieldkit prepare` fetches it anew; or correct `dhis2: {image: ...}` in %s", data.DHIS2Image, ConfigFile)
	}
	return nil
}
