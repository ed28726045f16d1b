package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// overtaken gives up what an interrupted prepare took, where reconcile has changed it at central since. Nothing of it
// was loaded: else reconcile would have had no trip to bring home.
func (p *preparation) overtaken(ctx context.Context) error {
	by, err := p.trip.journal.Fact(ctx, factOvertaken)
	if err != nil || by == "" {
		return err
	}
	p.kit.options.Progress.Note(fmt.Sprintf("beginning trip %s again: reconcile brought trip %s home since", p.trip.id, by))
	if err := errors.Join(os.RemoveAll(p.trip.snapshotDir()), p.trip.forgetMark(ctx)); err != nil {
		return err
	}
	return p.trip.journal.SetFact(ctx, factOvertaken, "")
}

// take writes the taken face, unless an earlier run did.
func (p *preparation) take(ctx context.Context) error {
	w, err := p.openTaken()
	var mismatch *snapshot.MismatchError
	if errors.As(err, &mismatch) {
		// fieldkit.yaml or central changed since the interrupted run: what that took is of no use.
		w, err = p.beginTakenAgain(ctx, mismatch.Error())
	}
	if err == nil && p.options.Full && w.Copied() {
		if err = w.Close(); err == nil {
			w, err = p.beginTakenAgain(ctx, "everything is to be asked for")
		}
	}
	switch {
	case errors.Is(err, snapshot.ErrFinished):
	case err != nil:
		return err
	default:
		p.scope = w.Scope()
		if err := errors.Join(p.takeInto(ctx, w), w.Close()); err != nil {
			return err
		}
	}
	manifest, err := snapshot.ReadManifest(p.trip.snapshotDir())
	if err != nil {
		return err
	}
	p.receipt.Take = manifest.Faces[snapshot.Taken].Take
	return nil
}

func (p *preparation) openTaken() (*snapshot.Writer, error) {
	return snapshot.OpenWriter(p.trip.snapshotDir(), snapshot.Taken, p.keys, p.about, snapshot.WriterOptions{
		Now: p.kit.options.Now, Traffic: p.central.Traffic,
	})
}

// beginTakenAgain drops what an interrupted run took.
func (p *preparation) beginTakenAgain(ctx context.Context, why string) (*snapshot.Writer, error) {
	p.kit.options.Progress.Note(fmt.Sprintf("beginning trip %s again: %s", p.trip.id, why))
	err := errors.Join(snapshot.Discard(p.trip.snapshotDir(), snapshot.Loaded), snapshot.Discard(p.trip.snapshotDir(), snapshot.Taken), p.trip.forgetMark(ctx))
	if err != nil {
		return nil, err
	}
	return p.openTaken()
}

func (p *preparation) takeInto(ctx context.Context, w *snapshot.Writer) error {
	if err := p.answers.Open(w); err != nil {
		return err
	}
	defer p.answers.Close()
	if err := p.takeMetadata(ctx, w); err != nil {
		return err
	}
	before, err := p.takenBefore(ctx)
	if err != nil {
		return err
	}
	mentioned := map[string]bool{}
	err = snapshot.Take(ctx, p.central, w, snapshot.TakeOptions{
		Progress: p.progress("taking"), Warn: p.warn, Mentioned: func(orgUnit string) { mentioned[orgUnit] = true },
		Before: before, Settled: p.answers.ForgetRecords,
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
	p.answers.Close()
	return w.Finish()
}

// takenBefore is the snapshot of the trip before, out of which comes what has not changed at central; nil where there is
// none that serves: then everything is asked for.
func (p *preparation) takenBefore(ctx context.Context) (*snapshot.Snapshot, error) {
	if p.options.Full {
		return nil, nil
	}
	before, err := p.kit.tripBefore(ctx, p.trip.id)
	if err != nil || before == nil {
		return nil, err
	}
	s, err := p.openBefore(before)
	if err != nil {
		p.kit.options.Progress.Note(fmt.Sprintf("everything is asked for: trip %s cannot be used: %v", before.id, err))
	}
	return s, before.close()
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
