package orchestrator

import (
	"context"
	"errors"
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
		if slices.ContainsFunc(endsOf(c), func(ref merge.Ref) bool { return p.held[ref] }) {
			c.State, c.Reason = journal.Waiting, "waits for one of its ends, which central would not take"
			p.refused = append(p.refused, c)
		}
	}
	return p.refused, nil
}

// predict asks about the changes of one wave.
func (s *sender) predict(ctx context.Context, w wave, v *view) ([]journal.Change, error) {
	open := v.open(w.takes)
	if len(open) == 0 {
		return nil, nil
	}
	files, err := s.files.distinct(ctx, v, open)
	if err != nil {
		return nil, err
	}
	if err := s.files.assess(ctx, files); err != nil {
		return nil, err
	}
	open, held, err := s.files.withhold(ctx, v, open)
	if err != nil {
		return nil, err
	}
	var refused []journal.Change
	if len(open) == 0 {
		return withHeldFiles(refused, held), nil
	}
	objects := byObject(open)
	payload := deletions(objects)
	if w.trial != dhis2api.ImportStrategyDelete {
		payload = upserts(objects, v.local, v.central)
	}
	options := s.importOptions(w.trial)
	options.DryRun = true
	answered, err := s.central.Import(ctx, payload, options)
	var a *answer
	var unknown *dhis2api.UnknownOutcomeError
	switch {
	case refusedWhole(err):
		a = refusedAll(objects, err)
	case errors.As(err, &unknown):
		return nil, &ServerError{Side: Central, URL: s.central.BaseURL(), Err: err}
	case err != nil:
		return nil, atServer(ctx, Central, s.central.BaseURL(), err)
	default:
		a = answerOf(answered, objects)
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
