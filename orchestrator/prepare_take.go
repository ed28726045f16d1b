package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// take writes the taken face, unless an earlier run did.
func (p *preparation) take(ctx context.Context) error {
	w, err := snapshot.OpenWriter(p.trip.snapshotDir(), snapshot.Taken, p.keys, p.about, snapshot.WriterOptions{Now: p.kit.options.Now})
	var mismatch *snapshot.MismatchError
	if errors.As(err, &mismatch) {
		// fieldkit.yaml or central changed since the interrupted run: what that took is of no use.
		p.kit.options.Progress.Note(fmt.Sprintf("beginning trip %s again: %v", p.trip.id, mismatch))
		if err := errors.Join(snapshot.Discard(p.trip.snapshotDir(), snapshot.Loaded), snapshot.Discard(p.trip.snapshotDir(), snapshot.Taken), p.trip.forgetMark(ctx)); err != nil {
			return err
		}
		w, err = snapshot.OpenWriter(p.trip.snapshotDir(), snapshot.Taken, p.keys, p.about, snapshot.WriterOptions{Now: p.kit.options.Now})
	}
	if errors.Is(err, snapshot.ErrFinished) {
		return nil
	}
	if err != nil {
		return err
	}
	p.scope = w.Scope()
	return errors.Join(p.takeInto(ctx, w), w.Close())
}

func (p *preparation) takeInto(ctx context.Context, w *snapshot.Writer) error {
	if err := p.takeMetadata(ctx, w); err != nil {
		return err
	}
	mentioned := map[string]bool{}
	err := snapshot.Take(ctx, p.central, w, snapshot.TakeOptions{
		Progress: p.progress("taking"), Warn: p.warn, Mentioned: func(orgUnit string) { mentioned[orgUnit] = true },
	})
	if err != nil {
		return err
	}
	units, err := snapshot.TakeMentionedUnits(ctx, p.central, w.Scope(), slices.Sorted(maps.Keys(mentioned)))
	if err != nil {
		return err
	}
	if err := w.Document(unitsName, func(out io.Writer) error { return json.NewEncoder(out).Encode(units) }); err != nil {
		return err
	}
	return w.Finish()
}

// takeMetadata takes the metadata, and the settings that go with it, unless an earlier run did.
func (p *preparation) takeMetadata(ctx context.Context, w *snapshot.Writer) error {
	documents := slices.DeleteFunc(w.Parts(), func(part snapshot.Part) bool { return part.Kind != snapshot.Document })
	if len(documents) >= 2 {
		return nil
	}
	p.kit.options.Progress.Step("taking metadata")
	metadata, err := snapshot.TakeMetadata(ctx, p.central, w.Scope())
	if err != nil {
		return err
	}
	settings, err := snapshot.TakeSettings(ctx, p.central, metadata)
	if err != nil {
		return err
	}
	if err := w.Document(metadataName, func(out io.Writer) error { return json.NewEncoder(out).Encode(metadata) }); err != nil {
		return err
	}
	return w.Document(settingsName, func(out io.Writer) error { return json.NewEncoder(out).Encode(settings) })
}
