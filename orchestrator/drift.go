package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// drifting looks for what changed in central's metadata since the trip began, and holds changes at hand back: an option that
// was withdrawn, an attribute that must be filled in now. What it finds is told before anything is sent.
type drifting struct {
	*comparison
	// usage is what the changes use; nil before the first is noted.
	usage *snapshot.Usage
	// open counts the changes that were noted, roots are those that have some, in the order of the looks.
	open  int
	roots []root
}

// note notes what the open changes of a view use.
func (d *drifting) note(v *view) error {
	if d.usage == nil {
		metadata, err := metadataOf(d.taken.snapshot)
		if err != nil {
			return wrongKey(err)
		}
		if d.usage, err = snapshot.NewUsage(snapshot.Carried{Metadata: metadata, Scope: d.scope}); err != nil {
			return err
		}
	}
	for _, r := range v.roots {
		before := d.open
		for _, change := range v.changes[r] {
			if change.State == journal.Open {
				d.open++
				d.usage.Note(usedBy(change, v.records[r].Local))
			}
		}
		if d.open > before {
			d.roots = append(d.roots, r)
		}
	}
	return nil
}

// usedBy is as much of an object as a change of it is about.
func usedBy(change journal.Change, local merge.Face) merge.Object {
	object := merge.Object{Ref: change.Ref, Parent: change.Parent, Fields: map[string]string{}}
	if change.Verb == merge.Delete {
		return object
	}
	if change.Verb == merge.Create {
		object.Fields = change.Content
		return object
	}
	whole := local.Objects[change.Ref].Fields
	for _, field := range []string{"trackedEntityType", merge.FieldProgram, "programStage"} {
		object.Fields[field] = whole[field]
	}
	object.Fields[change.Field] = sentValue(change)
	return object
}

// find lists what drifted and holds changes back, with how many: central is asked about those that it touches, without storing
// anything. About values of aggregate forms it is not asked: they may be held back.
func (d *drifting) find(ctx context.Context, s *sender) ([]report.Drift, error) {
	found := d.upgraded()
	if d.usage == nil {
		return found, nil
	}
	drifts, err := d.usage.Drifts(ctx, d.central)
	if err != nil {
		return nil, atServer(ctx, Central, d.central.BaseURL(), err)
	}
	if len(drifts) == 0 {
		return found, nil
	}
	counted := make([]report.Drift, len(drifts))
	for i, drift := range drifts {
		counted[i] = report.Drift{Class: drift.Class, UID: drift.UID, Name: drift.Name, What: drift.What, Remedy: drift.Remedy}
	}
	for v, err := range d.looks(ctx, d.roots) {
		if err != nil {
			return nil, err
		}
		if err := d.count(ctx, s, v, drifts, counted); err != nil {
			return nil, err
		}
	}
	return append(found, slices.DeleteFunc(counted, func(one report.Drift) bool { return one.Holds+one.MayHold == 0 })...), nil
}

// upgraded tells of another version of DHIS2 at central.
func (d *drifting) upgraded() []report.Drift {
	was, is := d.taken.snapshot.Manifest().Central().Version, d.central.Version().String()
	if was == is {
		return nil
	}
	return []report.Drift{{
		Class: "system", Name: "DHIS2", What: fmt.Sprintf("is %s at central now, and was %s when the trip began", is, was),
		Remedy: "where its rules differ, central's refusals say so; prepare the next trip with a kit of that version",
	}}
}

// count asks central about the changes of a view, where a drift touches one, and counts what it would refuse for each.
func (d *drifting) count(ctx context.Context, s *sender, v *view, drifts []snapshot.Drift, counted []report.Drift) error {
	touching := map[merge.Ref]int{} // the drift that touches an object most closely
	ask := false
	for r, changes := range v.changes {
		for _, change := range changes {
			if change.State != journal.Open {
				continue
			}
			nearest := d.nearest(drifts, usedBy(change, v.records[r].Local))
			switch {
			case nearest < 0:
			case change.Ref.Kind == merge.DataValue || change.Ref.Kind == merge.Completion:
				counted[nearest].MayHold++
			default:
				touching[change.Ref], ask = nearest, true
			}
		}
	}
	if !ask {
		return nil
	}
	trial := &prediction{sender: s}
	if err := trial.ask(ctx, v); err != nil {
		return err
	}
	for _, no := range trial.refused {
		nearest, touched := touching[no.Ref]
		if !touched && no.State == journal.Waiting {
			nearest, touched = touching[no.Parent]
			touching[no.Ref] = nearest
		}
		if touched {
			counted[nearest].Holds++
		}
	}
	return nil
}

// nearest is which of the drifts is closest to what a record is refused for: one of a value, then one of the form, then of
// the org unit; -1 when none touches it.
func (d *drifting) nearest(drifts []snapshot.Drift, record merge.Object) int {
	order := []string{"options", "dataElements", "trackedEntityAttributes", "programStages", "dataSets", "programs", "trackedEntityTypes", "organisationUnits"}
	best, at := -1, len(order)
	for i, drift := range drifts {
		if place := slices.Index(order, drift.Class); place < at && d.usage.Touches(drift, record) {
			best, at = i, place
		}
	}
	return best
}

// fewDrifted changes that central would refuse are no reason to stop, whatever their share.
const fewDrifted = 10

// withinDrift stops a run of which central would refuse most, unless just that many was allowed.
func (d *drifting) withinDrift(drifts []report.Drift, allowed int) error {
	held := 0
	var said []string
	for _, one := range drifts {
		if held += one.Holds; one.Holds > 0 {
			said = append(said, fmt.Sprintf("%s %s", one.Name, one.What))
		}
	}
	if held < fewDrifted || 2*held <= d.open || held == allowed {
		return nil
	}
	return WithHint(fmt.Errorf("%w: central would refuse %d of %d changes, because its metadata changed since the trip began: %s; nothing was sent",
		ErrLimits, held, d.open, strings.Join(said, "; ")),
		"look at `fieldkit reconcile --plan` and have it put right at central; or send what goes: fieldkit reconcile --allow %d", held)
}
