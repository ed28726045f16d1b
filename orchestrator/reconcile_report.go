package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// writeReport writes the report of a run from the journal, in all its forms, into the trip's folder.
func (k *Kit) writeReport(ctx context.Context, c *comparison, started time.Time, did outcome, planOnly bool) (*report.Report, error) {
	result, err := reportOf(ctx, c.trip.journal, c.decisions)
	if err != nil {
		return nil, err
	}
	result.Language = k.config.Report.Language
	result.Kit, result.Trip, result.PlanOnly, result.Run, result.Sent = k.config.Name, c.trip.id, planOnly, c.run, did.sent
	result.Central = report.Central{URL: c.central.BaseURL(), SystemID: c.central.Info().SystemID, Version: c.central.Version().String()}
	if err := foretell(ctx, c.trip.journal, result, did.predicted); err != nil {
		return nil, err
	}
	if result.Kept, err = c.kept.report(ctx, c.trip.journal, result.Sums.Open); err != nil {
		return nil, err
	}
	result.Candidates, result.Drift = c.found, did.drift
	if result.Files.Home, result.Files.Bytes, err = c.trip.journal.FilesHome(ctx); err != nil {
		return nil, err
	}
	result.Started, result.Finished = started, k.options.Now()
	if err := addSignOffs(ctx, c.trip.journal, result); err != nil {
		return nil, err
	}
	if result.Exported, err = c.trip.exported(ctx); err != nil {
		return nil, err
	}
	result.Closed = !planOnly && result.SignedOffAll() && result.Sums.Open == 0
	if err := addDeparture(ctx, c.trip.journal, result); err != nil {
		return nil, err
	}
	c.numbers.report(result)
	if did.beyond != nil {
		result.Warnings = append(result.Warnings, fmt.Sprintf("a run would stop before it sends anything: %s", did.beyond))
	}
	if planOnly {
		if err := k.addBeyond(ctx, c, func(warning string) { result.Warnings = append(result.Warnings, warning) }); err != nil {
			return nil, err
		}
	}
	if err := sumUp(ctx, c.trip.journal, result); err != nil {
		return nil, err
	}
	if err := addTimeline(ctx, c.trip.journal, result); err != nil {
		return nil, err
	}
	result.Names = k.config.Report.Names
	if err := c.addSamePeople(ctx, result); err != nil {
		return nil, err
	}
	if err := addLabels(ctx, c.loaded.snapshot, result); err != nil {
		return nil, err
	}
	if result.Names {
		if err := c.addNames(ctx, result); err != nil {
			return nil, err
		}
	}
	if !planOnly {
		state := tripReady
		if result.Closed {
			state = tripClosed
		}
		if err := c.trip.setState(ctx, state); err != nil {
			return nil, err
		}
	}
	return result, report.Write(c.trip.dir, result)
}

// reportOf reads how a trip stands from its journal, and how it would with new decisions.
func reportOf(ctx context.Context, j *journal.Journal, d *decisions) (*report.Report, error) {
	result := report.New()
	var err error
	if result.JournalHash, err = j.Hash(ctx); err != nil {
		return nil, err
	}
	counts, err := j.Counts(ctx)
	if err != nil {
		return nil, err
	}
	for kind, states := range counts {
		sums := sumsOf(states)
		result.ByKind[string(kind)] = sums
		result.Sums = result.Sums.Plus(sums)
	}
	for kind, shift := range d.shifts() {
		result.ByKind[string(kind)] = result.ByKind[string(kind)].Plus(shift)
		result.Sums = result.Sums.Plus(shift)
	}
	for c, err := range j.Changes(ctx, journal.Conflict, journal.Unclear, journal.Refused, journal.Waiting) {
		if err != nil {
			return nil, err
		}
		if will, decided := d.foretells(c); decided {
			if c = will; !c.State.Held() {
				continue
			}
		}
		if err := addHeld(ctx, j, result, c); err != nil {
			return nil, err
		}
	}
	for _, will := range d.broughtAbout() {
		if err := addHeld(ctx, j, result, will); err != nil {
			return nil, err
		}
	}
	if err := addDecisions(ctx, j, d, result); err != nil {
		return nil, err
	}
	return result, addNotes(ctx, j, result)
}

func sumsOf(states map[journal.State]int) report.Sums {
	var sums report.Sums
	for state, n := range states {
		sums.Total += n
		switch {
		case state.Held():
			sums.Held += n
		case state == journal.Pushed:
			sums.Pushed += n
		case state == journal.AlreadyThere:
			sums.AlreadyThere += n
		case state == journal.OutOfScope:
			sums.OutOfScope += n
		case state == journal.Dropped:
			sums.Dropped += n
		default:
			sums.Open += n
		}
	}
	return sums
}

// addHeld puts a held change into the list of the report where it belongs.
func addHeld(ctx context.Context, j *journal.Journal, result *report.Report, c journal.Change) error {
	r, err := parseRoot(c.Root)
	if err != nil {
		return err
	}
	reference := report.Reference{Kind: string(c.Ref.Kind), UID: c.UID, Person: r.person()}
	switch c.State {
	case journal.Refused:
		result.Refusals = append(result.Refusals, report.Refusal{
			Reference: reference, Verb: string(c.Verb), Field: c.Field, Code: c.Code, Reason: c.Reason, Hint: c.Hint,
		})
	case journal.Waiting:
		result.Waiting = append(result.Waiting, report.Waiting{Reference: reference, Verb: string(c.Verb), Field: c.Field, Reason: c.Reason})
	default:
		shown, _, err := j.LastShown(ctx, c.Ref, c.Field)
		if err != nil {
			return err
		}
		result.Conflicts = append(result.Conflicts, report.Conflict{
			Reference: reference, Number: shown.Number, Verb: string(c.Verb), Field: c.Field,
			Base: c.Base, Local: c.Local, Central: c.Central, Reason: c.Reason,
			LocalEdit: report.Edit(shown.OnKit), CentralEdit: report.Edit(shown.AtCentral),
		})
	}
	return nil
}

func addNotes(ctx context.Context, j *journal.Journal, result *report.Report) error {
	lists := map[journal.NoteKind]*[]report.Conflict{journal.Rewritten: &result.Rewritten, journal.Overtaken: &result.Overtaken}
	for _, kind := range []journal.NoteKind{journal.Merged, journal.Rewritten, journal.Overtaken} {
		notes, err := j.Notes(ctx, kind)
		if err != nil {
			return err
		}
		for _, n := range notes {
			if kind == journal.Merged {
				merged, err := mergedOf(n)
				if err != nil {
					return err
				}
				result.Merged = append(result.Merged, merged)
				continue
			}
			reference := report.Reference{Kind: string(n.Ref.Kind), UID: n.UID, Person: n.Person}
			*lists[kind] = append(*lists[kind], report.Conflict{
				Reference: reference, Verb: string(merge.Update), Field: n.Field, Base: n.Base, Local: n.Local, Central: n.Central, Reason: n.Reason,
			})
		}
	}
	return nil
}

// LastReport reads the report that the last run of reconcile on the kit's latest trip wrote. The error is
// ErrNoSnapshot when there is none.
func (k *Kit) LastReport() (*report.Report, error) {
	ids, err := k.trips()
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Backward(ids) {
		result, err := report.Read(k.tripDir(id))
		if err == nil {
			return result, nil
		}
		if !errors.Is(err, report.ErrNone) {
			return nil, err
		}
	}
	return nil, WithHint(fmt.Errorf("%w: nothing was reconciled yet", ErrNoSnapshot), "fieldkit reconcile")
}
