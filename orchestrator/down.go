package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dhis2-fieldkit/fieldkit/compose"
)

// DownOptions bend Down.
type DownOptions struct {
	// DeleteData removes the volumes too, with all that is in them, and forgets the kit's secrets and how
	// tablets know it.
	DeleteData bool
	// Confirm is asked before data is deleted; nil deletes without asking. Its error ends the run.
	Confirm func(ctx context.Context, question string) error
}

// DownResult says what became of the kit's containers.
type DownResult struct {
	// Stopped tells whether anything ran.
	Stopped bool `json:"stopped"`
	// Deleted tells whether data was deleted.
	Deleted bool `json:"deleted"`
}

// Down stops the kit's own DHIS2 and removes its containers and networks. Its data stays, and so does how
// tablets know it: the next up goes on. It may be called twice.
//
// With DeleteData the data goes too. That is refused while any of it is neither home nor known to be: as long as
// changes are open or held, and as long as tablets could reach the kit since reconcile last looked at it.
func (k *Kit) Down(ctx context.Context, options DownOptions) (*DownResult, error) {
	if !k.ownStack() {
		return nil, k.notOurs()
	}
	s, err := k.openStack(ctx)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return &DownResult{}, k.withoutRecord(ctx)
	}
	if options.DeleteData {
		if err := s.mayDelete(ctx, options); err != nil {
			return nil, err
		}
	}
	services, err := s.state(ctx)
	if err != nil {
		return nil, err
	}
	result := &DownResult{Stopped: len(services) > 0}
	if !options.DeleteData {
		k.options.Progress.Step("stopping the kit's own DHIS2")
		return result, atEngine(ctx, s.engine.Down(ctx, s.record.Project))
	}
	k.options.Progress.Step("deleting the kit's containers and their data")
	if err := k.forget(ctx); err != nil {
		return nil, err
	}
	if err := s.engine.Destroy(ctx, s.record.Project); err != nil {
		return nil, atEngine(ctx, err)
	}
	// Last: without it nobody would know whose the volumes are.
	if err := os.Remove(filepath.Join(k.dir, stackName)); err != nil {
		return nil, err
	}
	result.Deleted = true
	return result, nil
}

// withoutRecord is what down comes to without stack.json: nothing, unless the latest trip says that there is a
// stack.
func (k *Kit) withoutRecord(ctx context.Context) error {
	t, err := k.latestTrip(ctx)
	if errors.Is(err, ErrNoSnapshot) {
		return nil
	}
	if err != nil {
		return err
	}
	project, err := t.loadedInto(ctx)
	if project == "" || project == deletedStack {
		return errors.Join(err, t.close())
	}
	return errors.Join(k.holds(ctx, nil, t), t.close())
}

// mayDelete refuses to delete what is not home, and asks.
func (s *stack) mayDelete(ctx context.Context, options DownOptions) error {
	there, err := s.hasData(ctx)
	if err != nil {
		return err
	}
	away, exported, err := s.away(ctx)
	if err != nil {
		return err
	}
	question := "delete the data of the kit's own DHIS2 for good"
	switch {
	case !there && away > 0:
		question = fmt.Sprintf("the data is gone already; forget the %d changes that never came home", away)
	case away > 0 && exported == "":
		return WithHint(fmt.Errorf("%d changes made on the kit are not home: they would be lost", away),
			"`fieldkit reconcile` brings them home, its report says what holds the others, and `fieldkit held export` keeps those elsewhere")
	case there && s.record.Exposed:
		return WithHint(errors.New("tablets could reach the kit since reconcile last looked at it: what they sent would be lost"),
			"`fieldkit down`, then `fieldkit reconcile`, which looks while no tablet can send; then this again")
	}
	if exported != "" && there {
		question = fmt.Sprintf("delete the data of the kit's own DHIS2 for good; the %d changes that are not home stay in %s alone", away, exported)
	}
	if options.Confirm == nil {
		return nil
	}
	return options.Confirm(ctx, question)
}

// away counts what of the trip that the kit holds is known and not home, and says in which file outside of the kit all of
// it lies; "" where it does not.
func (s *stack) away(ctx context.Context) (away int, exported string, err error) {
	t, err := s.kit.presentTrip(ctx)
	if errors.Is(err, ErrNoSnapshot) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if away, err = t.away(ctx); err != nil || away == 0 {
		return away, "", err
	}
	file, err := t.exported(ctx)
	if file != nil {
		exported = file.Path
	}
	return away, exported, err
}

// forget notes in the trips of this stack that their data was deleted, so that nobody looks for it.
func (k *Kit) forget(ctx context.Context) error {
	ids, err := k.trips()
	if err != nil {
		return err
	}
	for _, id := range ids {
		t, err := k.openTrip(ctx, id)
		if err != nil {
			return err
		}
		project, err := t.loadedInto(ctx)
		if err == nil && project != "" {
			err = t.journal.SetFact(ctx, factStack, deletedStack)
		}
		if err := errors.Join(err, t.close()); err != nil {
			return err
		}
	}
	return nil
}

// The services of a kit's own stack, by which its logs are chosen.
const (
	ServiceDHIS2    = compose.ServiceDHIS2
	ServicePostgres = compose.ServicePostgres
)

// LogOptions choose what Logs writes.
type LogOptions = compose.LogOptions

// Logs writes what the kit's containers said, line by line. It may hold data of patients: let it go nowhere but
// to whoever asked. It may be called while another run is at work.
func (k *Kit) Logs(ctx context.Context, options LogOptions, w io.Writer) error {
	s, err := k.presentStack(ctx)
	if err != nil {
		return err
	}
	return atEngine(ctx, s.engine.Logs(ctx, s.record.Project, options, w))
}

// ExportCompose writes a compose file that plain `docker compose up` starts on the same volumes, open as the
// clinic knows the kit when fieldkit.yaml says so. It holds no secret. It may be called while another run is at
// work.
func (k *Kit) ExportCompose(ctx context.Context, w io.Writer) error {
	s, err := k.presentStack(ctx)
	if err != nil {
		return err
	}
	var clinic *clinicIdentity
	if k.config.Clinic != nil {
		identity := identityOf(k.config.Clinic)
		clinic = &identity
	}
	described, err := s.describe(ctx, clinic)
	if err != nil {
		return err
	}
	var images []compose.Image
	for _, reference := range described.Images() {
		image, err := s.engine.Image(ctx, reference)
		if errors.Is(err, compose.ErrNoImage) {
			continue // it is named by its tag then, and fetched
		}
		if err != nil {
			return atEngine(ctx, err)
		}
		images = append(images, image)
	}
	return described.Export(w, images...)
}

// presentStack opens the stack of a kit that was prepared.
func (k *Kit) presentStack(ctx context.Context) (*stack, error) {
	if !k.ownStack() {
		return nil, k.notOurs()
	}
	s, err := k.openStack(ctx)
	if err != nil {
		return nil, err
	}
	if s == nil || s.record.Data == nil {
		return nil, WithHint(fmt.Errorf("%w: the kit has no containers yet", ErrNoSnapshot), "fieldkit prepare")
	}
	return s, nil
}
