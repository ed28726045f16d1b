package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// SignOffOptions say whose word it is.
type SignOffOptions struct {
	Who, Reason string
	// Confirm is asked first; nil goes on without asking. Its error ends the run.
	Confirm func(ctx context.Context, question string) error
}

// SignOff records that what the last reconcile left held may stay so, and closes the trip. Nothing is sent and nothing
// lost: what is held stays on the kit, travels on and is in every report. When either side of it changes, it is no
// longer signed off. It may be called again. It returns the last run's report with the signature in it.
//
// The error is ErrNoSnapshot where nothing was reconciled, an ErrUsage without a reason, or where something is not sent
// yet or nothing is held.
func (k *Kit) SignOff(ctx context.Context, options SignOffOptions) (*report.Report, error) {
	if options.Reason == "" {
		return nil, WithHint(usagef("why may it stay held?"), "--reason, in a few words, for the report")
	}
	t, err := k.readyTrip(ctx)
	if err != nil {
		return nil, err
	}
	result, err := k.signOff(ctx, t, options)
	return result, errors.Join(err, t.close())
}

func (k *Kit) signOff(ctx context.Context, t *trip, options SignOffOptions) (*report.Report, error) {
	result, err := report.Read(t.dir)
	if errors.Is(err, report.ErrNone) {
		return nil, WithHint(fmt.Errorf("%w: trip %s was not reconciled yet", ErrNoSnapshot, t.id), "fieldkit reconcile")
	}
	if err != nil {
		return nil, err
	}
	hash, err := t.journal.Hash(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case result.PlanOnly || hash != result.JournalHash || result.Sums.Open > 0:
		return nil, WithHint(usagef("the report of trip %s is not that of a run that came to its end", t.id), "fieldkit reconcile, and look at its report")
	case result.Sums.Held == 0:
		return nil, usagef("nothing of trip %s is held", t.id)
	}
	if options.Confirm != nil {
		if err := options.Confirm(ctx, fmt.Sprintf("sign off %d held changes as %s and close trip %s", result.Sums.Held, options.Who, t.id)); err != nil {
			return nil, err
		}
	}
	now := k.options.Now()
	err = t.journal.Together(ctx, func() error {
		for c, err := range t.journal.Changes(ctx, journal.Conflict, journal.Unclear, journal.Refused, journal.Waiting) {
			if err != nil {
				return err
			}
			signed := journal.SignOff{
				Ref: c.Ref, Field: c.Field, Verb: c.Verb, Local: c.Local, Central: c.Central, Who: options.Who, Reason: options.Reason, At: now,
			}
			if err := t.journal.Update(ctx, func(tx *journal.Tx) error { return tx.SignOff(signed) }); err != nil {
				return err
			}
		}
		return t.setState(ctx, tripClosed)
	})
	if err != nil {
		return nil, err
	}
	if err := addSignOffs(ctx, t.journal, result); err != nil {
		return nil, err
	}
	if err := addTimeline(ctx, t.journal, result); err != nil {
		return nil, err
	}
	result.Closed = true
	return result, report.Write(t.dir, result)
}

// addSignOffs says in the report what of the held changes is signed off, and by whom.
func addSignOffs(ctx context.Context, j *journal.Journal, result *report.Report) error {
	known, err := signOffsOf(ctx, j)
	if err != nil || len(known) == 0 {
		return err
	}
	result.SignedOff = nil
	for c, err := range j.Changes(ctx, journal.Conflict, journal.Unclear, journal.Refused, journal.Waiting) {
		if err != nil {
			return err
		}
		if s, ok := known[changeKey{c.Ref, c.Field}]; ok && s.Of(c) {
			result.SignOff(s.Who, s.Reason, s.At)
		}
	}
	return nil
}

// signOffsOf are the sign-offs in a journal, by what they are about.
func signOffsOf(ctx context.Context, j *journal.Journal) (map[changeKey]journal.SignOff, error) {
	signed, err := j.SignOffs(ctx)
	known := make(map[changeKey]journal.SignOff, len(signed))
	for _, s := range signed {
		known[changeKey{s.Ref, s.Field}] = s
	}
	return known, err
}
