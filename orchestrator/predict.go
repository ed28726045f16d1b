package orchestrator

import (
	"context"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// prediction is what central would refuse of the open changes. It is asked without storing anything
// (importMode=VALIDATE), and the journal is not told: only what was really sent has an answer. Relationships are not asked
// about, since their ends may not be there yet, but wait with an end that would be refused. Aggregate values are taken as
// they are.
type prediction struct {
	*sender
	refused []journal.Change
	held    map[merge.Ref]bool
}

// ask asks central about what is open in a view.
func (p *prediction) ask(ctx context.Context, v *view) error {
	if p.held == nil {
		p.held = map[merge.Ref]bool{}
	}
	for _, w := range p.waves() {
		if w.trial == "" {
			continue
		}
		no, err := p.predict(ctx, w, v)
		if err != nil {
			return err
		}
		for _, c := range no {
			p.held[c.Ref] = true
		}
		p.refused = append(p.refused, no...)
	}
	return nil
}

// refusals are the changes that central would refuse, when it was asked about everything.
func (p *prediction) refusals(ctx context.Context) ([]journal.Change, error) {
	for c, err := range p.trip.journal.Changes(ctx, journal.Open) {
		if err != nil {
			return nil, err
		}
		if c.Ref.Kind != merge.Relationship || c.Verb != merge.Create {
			continue
		}
		if slices.ContainsFunc(endsOf(c.Content), func(ref merge.Ref) bool { return p.held[ref] }) {
			c.State, c.Reason = journal.Waiting, "waits for one of its ends, which central would not take"
			p.refused = append(p.refused, c)
		}
	}
	return p.refused, nil
}

// predict asks about the changes of one wave.
func (p *prediction) predict(ctx context.Context, w wave, v *view) ([]journal.Change, error) {
	open := v.open(w.takes)
	if len(open) == 0 {
		return nil, nil
	}
	files, err := p.files.distinct(ctx, v, open)
	if err != nil {
		return nil, err
	}
	if err := p.files.assess(ctx, files); err != nil {
		return nil, err
	}
	open, held, err := p.files.withhold(ctx, v, open)
	if err != nil {
		return nil, err
	}
	var refused []journal.Change
	if len(open) == 0 {
		return withHeldFiles(refused, held), nil
	}
	a, err := p.trial(ctx, w, v, byObject(open))
	if err != nil {
		return nil, err
	}
	for _, c := range open {
		no, named := a.refusals[c.Ref]
		if !named {
			parent, below := a.refusals[c.Parent]
			if !below {
				continue
			}
			no = refusal{state: journal.Waiting, code: parent.code, reason: "waits for " + string(c.Parent.Kind) + " " + c.Parent.UID + ", which central would not take"}
		}
		c.State, c.Code, c.Reason, c.Hint = no.state, no.code, no.reason, no.hint
		refused = append(refused, c)
	}
	return withHeldFiles(refused, held), nil
}

// trial asks about some objects, in halves where central gives no answer about all of them. What it gives none about alone, one
// root's objects, is left open; where it gives none at all, that ends the run.
func (p *prediction) trial(ctx context.Context, w wave, v *view, objects []objectChanges) (*answer, error) {
	payload := deletions(objects)
	if w.trial != dhis2api.ImportStrategyDelete {
		payload = p.aliases.sent(upserts(objects, v.local, v.central))
	}
	options := p.importOptions(w.trial)
	options.DryRun = true
	report, err := p.central.Import(ctx, payload, options)
	switch {
	case err == nil:
		p.answered++
		return p.answerOf(report, objects), nil
	case ctx.Err() != nil || !brokeOff(err) && !refusedWhole(err):
		return nil, atServer(ctx, Central, p.central.BaseURL(), err)
	}
	first, second, splitErr := halves(objects)
	switch {
	case splitErr != nil:
		return nil, splitErr
	case first.only == nil:
		return p.trials(ctx, w, v, objects, first, second)
	case refusedWhole(err):
		return refusedAll(objects, err), nil
	case p.answered == 0:
		return nil, &ServerError{Side: Central, URL: p.central.BaseURL(), Err: err}
	}
	return &answer{}, nil
}

// trials asks about two parts of the objects.
func (p *prediction) trials(ctx context.Context, w wave, v *view, objects []objectChanges, parts ...part) (*answer, error) {
	both := &answer{refusals: map[merge.Ref]refusal{}}
	for _, half := range parts {
		names := map[string]bool{}
		for _, r := range half.roots {
			names[r.String()] = true
		}
		var some []objectChanges
		for _, o := range objects {
			if names[o.changes[0].Root] {
				some = append(some, o)
			}
		}
		a, err := p.trial(ctx, w, v, some)
		if err != nil {
			return nil, err
		}
		maps.Copy(both.refusals, a.refusals)
	}
	return both, nil
}

// withHeldFiles adds the values that would be held because of their files, but those of objects that are refused.
func withHeldFiles(refused []journal.Change, held []heldFile) []journal.Change {
	for _, h := range held {
		if !h.created || !slices.ContainsFunc(refused, func(c journal.Change) bool { return c.Ref == h.Ref }) {
			refused = append(refused, h.Change)
		}
	}
	return refused
}

// foretell moves predicted refusals of a plan's report from what is open to what is held. A value that a created
// object would go without is a change of its own, which the journal does not have yet.
func foretell(ctx context.Context, j *journal.Journal, result *report.Report, predicted []journal.Change) error {
	for _, c := range predicted {
		if err := addHeld(ctx, j, result, c); err != nil {
			return err
		}
		shift := report.Sums{Open: -1, Held: 1}
		if rows, err := j.ChangesOf(ctx, c.Ref); err != nil {
			return err
		} else if !slices.ContainsFunc(rows, func(row journal.Change) bool { return row.Field == c.Field }) {
			shift = report.Sums{Total: 1, Held: 1}
		}
		result.Sums = result.Sums.Plus(shift)
		result.ByKind[string(c.Ref.Kind)] = result.ByKind[string(c.Ref.Kind)].Plus(shift)
	}
	return nil
}
