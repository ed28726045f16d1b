package orchestrator

import (
	"context"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// loadMetadata gives local the metadata, the settings and the people that were taken.
func (p *preparation) loadMetadata(ctx context.Context, taken *snapshot.Snapshot) error {
	p.kit.options.Progress.Step("loading metadata")
	metadata, err := metadataOf(taken)
	if err != nil {
		return err
	}
	if err := p.noteAccounts(ctx, metadata); err != nil {
		return err
	}
	settings, err := settingsOf(taken)
	if err != nil {
		return err
	}
	if overlay := p.kit.config.Android; overlay != nil {
		if settings, err = settings.WithAndroid(*overlay); err != nil {
			return err
		}
	}
	changes, err := settings.LoadSystem(ctx, p.local)
	if err != nil {
		return err
	}
	for _, change := range changes {
		p.kit.options.Progress.Note(fmt.Sprintf("the kit's setting %s was %q and is %q now, as at central", change.Key, change.Was, change.Is))
	}
	brought, err := p.brought(ctx)
	if err != nil {
		return err
	}
	if p.receipt.Metadata, err = snapshot.LoadMetadata(ctx, p.local, metadata, p.scope, brought); err != nil {
		return err
	}
	for _, refused := range p.receipt.Metadata.Refused {
		p.warn(fmt.Errorf("the kit does not take %s %s: %s %s", refused.Class, refused.UID, refused.Code, refused.Reason))
	}
	for _, missing := range p.receipt.Metadata.Missing {
		p.warn(fmt.Errorf("the kit took %s %s and does not show it", missing.Class, missing.ID))
	}
	for _, differing := range p.receipt.Metadata.Differing {
		p.warn(fmt.Errorf("the kit took %s %s and gives it back otherwise", differing.Class, differing.ID))
	}
	// A session keeps the org units that its account had when it began: begin another.
	if p.local, err = p.kit.connectLocal(ctx); err != nil {
		return err
	}
	if err := p.givePasswords(ctx, metadata); err != nil {
		return err
	}
	return p.loadUserSettings(ctx, settings, metadata)
}

// loadUserSettings keeps people's own settings in step with central's, on the accounts that prepare made. What
// somebody set on the kit stays.
func (p *preparation) loadUserSettings(ctx context.Context, settings *snapshot.Settings, metadata snapshot.Metadata) error {
	people, err := peopleOf(metadata, p.kit.options.Now())
	if err != nil {
		return err
	}
	for _, one := range people {
		known := p.accounts.People[one.id]
		if known == nil || !known.Made {
			continue
		}
		if known.Settings, err = settings.LoadUser(ctx, p.local, one.username, known.Settings); err != nil {
			return err
		}
	}
	return p.kit.writeAccounts(p.accounts)
}

// removeMetadata takes from local what earlier trips brought and this one does not need, once nothing that is
// carried names it any more.
func (p *preparation) removeMetadata(ctx context.Context) error {
	p.kit.options.Progress.Step("removing metadata that the scope no longer has")
	taken, err := snapshot.Open(p.trip.snapshotDir(), p.keys)
	if err != nil {
		return wrongKey(err)
	}
	metadata, err := metadataOf(taken)
	if err != nil {
		return err
	}
	brought, err := p.brought(ctx)
	if err != nil {
		return err
	}
	if p.receipt.Removed, err = snapshot.RemoveMetadata(ctx, p.central, p.local, metadata, brought); err != nil {
		return err
	}
	for _, hidden := range p.receipt.Removed.Hidden {
		p.warn(fmt.Errorf("the scope no longer has %s %s; the kit keeps it out of sight, because: %s %s", hidden.Class, hidden.UID, hidden.Code, hidden.Reason))
	}
	for _, used := range p.receipt.Removed.Used {
		p.warn(fmt.Errorf("the scope no longer has %s %s; it stays, for what others made on the kit names it", used.Class, used.ID))
	}
	for _, class := range p.receipt.Removed.Unknown {
		p.warn(WithHint(fmt.Errorf("central shows the account no %s any more, so those of the kit stay", class), "has the account lost the right to read them?"))
	}
	return nil
}
