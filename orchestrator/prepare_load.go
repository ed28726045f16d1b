package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// load gives local what was taken and writes the loaded face: all that local then holds of the scope, what
// stood there before included.
func (p *preparation) load(ctx context.Context) error {
	taken, err := snapshot.Open(p.trip.snapshotDir(), p.keys)
	if err != nil {
		return err
	}
	if taken.Manifest().Finished(snapshot.Loaded) {
		return nil
	}
	if err := p.carry(ctx); err != nil {
		return err
	}
	if err := p.leave(ctx, taken); err != nil {
		return err
	}
	if err := p.loadMetadata(ctx, taken); err != nil {
		return err
	}
	server, err := snapshot.IdentifyServer(ctx, p.local)
	if err != nil {
		return err
	}
	me, err := p.local.Me(ctx)
	if err != nil {
		return err
	}
	p.receipt.Local = server
	about := snapshot.About{Scope: p.scope, Server: server, Account: me.Username}
	w, err := snapshot.OpenWriter(p.trip.snapshotDir(), snapshot.Loaded, p.keys, about, snapshot.WriterOptions{Now: p.kit.options.Now})
	if err != nil {
		return err
	}
	return errors.Join(p.loadInto(ctx, taken, w), w.Close())
}

func (p *preparation) loadInto(ctx context.Context, taken *snapshot.Snapshot, w *snapshot.Writer) error {
	skip, err := carriedRefs(ctx, p.trip.journal)
	if err != nil {
		return err
	}
	p.receipt.Carried = len(skip)
	p.kit.options.Progress.Step("loading")
	options := snapshot.LoadOptions{
		Skip: func(ref merge.Ref) bool { return skip[ref] }, Central: p.central, Defaults: p.receipt.Metadata.Defaults,
		KeepUnknown: p.past != nil, Revive: p.revive,
		Progress: func(at snapshot.LoadProgress) {
			p.kit.options.Progress.Count("objects loaded", at.AllDone, at.AllTotal)
		},
	}
	p.markBeforeLoad(ctx)
	if p.receipt.Load, err = snapshot.Load(ctx, taken, p.local, w, options); err != nil {
		return err
	}
	p.noteSpared()
	if p.receipt.Load.Strict && len(p.receipt.Load.Refused)+len(p.receipt.Load.Omitted) > 0 {
		p.warn(WithHint(errors.New("the kit's account is no superuser, so the kit holds central's old records against the rules of today; what it refuses is named"),
			"give the account of local the authority ALL while prepare runs"))
	}
	if err := p.noteMark(ctx); err != nil {
		return err
	}
	if err := snapshot.Take(ctx, p.local, w, snapshot.TakeOptions{Progress: p.progress("reading back"), Warn: p.warn}); err != nil {
		return err
	}
	if err := p.settleMark(ctx); err != nil {
		return err
	}
	return w.Finish()
}

// noteSpared says what the kit had already, and what left it.
func (p *preparation) noteSpared() {
	var alike, taken int64
	for _, count := range p.receipt.Load.Counts {
		alike, taken = alike+count.Alike, taken+count.Taken
	}
	if alike > 0 {
		p.kit.options.Progress.Note(fmt.Sprintf("%d of %d objects stood on the kit alike already", alike, taken))
	}
	if removed := p.receipt.RemovedRecords; removed > 0 {
		p.kit.options.Progress.Note(fmt.Sprintf("%d objects and values left the kit: central has them no more, or the scope", removed))
	}
}
