package orchestrator

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// decisions are what is decided about the conflicts of a trip. Those in the journal are carried out. New ones,
// from a file or by a policy, are foretold until they are recorded all at once: until then nothing of them is in
// the journal, so that a run that is not confirmed has done nothing.
type decisions struct {
	recorded, fresh map[changeKey]*journal.Decision
	// settled are new ones that cannot be applied any more; they are recorded for what they are.
	settled []*journal.Decision
	// policies decides what nobody did, while decisions are foretold.
	policies *policies
	// foretold are the changes that new decisions turn into something else.
	foretold map[changeKey]foretold
	// unapplied says why a new decision comes to nothing.
	unapplied map[changeKey]string
	// roots are those that people's decisions are about.
	roots  map[string]bool
	scope  *snapshot.Scope
	closed bool // new ones were recorded; no more are made in this run
}

// foretold is what a change is in the journal, and what a new decision makes of it.
type foretold struct{ was, will journal.Change }

// newDecisions reads the decisions in a journal that stand.
func newDecisions(ctx context.Context, j *journal.Journal, scope *snapshot.Scope) (*decisions, error) {
	d := &decisions{
		recorded: map[changeKey]*journal.Decision{}, fresh: map[changeKey]*journal.Decision{}, foretold: map[changeKey]foretold{},
		unapplied: map[changeKey]string{}, roots: map[string]bool{}, scope: scope,
	}
	all, err := j.Decisions(ctx)
	if err != nil {
		return nil, err
	}
	for _, decision := range all {
		if decision.Outcome == journal.Standing {
			d.recorded[changeKey{decision.Ref, decision.Field}] = &decision
			d.roots[decision.Root] = true
		}
	}
	return d, nil
}

// ruling is the decisions at work on one record.
type ruling struct {
	*decisions
	record merge.Record
	// foretelling lets new decisions count.
	foretelling bool
	// applied are the decisions that fit a change, why says of others why they do not.
	applied map[changeKey]*journal.Decision
	why     map[changeKey]string
}

func (d *decisions) rule(record merge.Record, foretelling bool) *ruling {
	return &ruling{decisions: d, record: record, foretelling: foretelling, applied: map[changeKey]*journal.Decision{}, why: map[changeKey]string{}}
}

// rules are the comparison's rules with the decisions among them. Without decisions nothing is decided.
func (r *ruling) rules(rules merge.Rules) merge.Rules {
	if r.decisions != nil {
		rules.Decide = r.decide
	}
	return rules
}

// decide is merge.Rules.Decide. A decision counts as long as both sides are as they were when the conflict was shown.
func (r *ruling) decide(change merge.Change) merge.Decision {
	key := changeKey{change.Ref, change.Field}
	decision := r.recorded[key]
	if newer := r.fresh[key]; r.foretelling && newer != nil {
		decision = newer
	}
	if decision == nil && r.foretelling && !r.closed && change.Verdict == merge.Conflict {
		decision = r.byPolicy(change)
	}
	if decision == nil || decision.Choice == string(report.ChooseAdopt) {
		return merge.Undecided // who is adopted is compared as such
	}
	shown := journal.Change{Change: change, Circumstance: circumstanceOf(change, r.record)}
	if !decision.Of(shown) {
		r.why[key] = moved(decision.Shown, shown)
		return merge.Undecided
	}
	if decision.Policy && !r.closed && string(r.policies.choice(change, r.record)) != decision.Choice {
		r.why[key] = ConfigFile + " says something else by now"
		return merge.Undecided
	}
	if reason := r.cannotGo(decision, change); reason != "" {
		r.why[key] = reason
		return merge.Undecided
	}
	r.applied[key] = decision
	switch report.Choice(decision.Choice) {
	case report.ChooseCentral:
		return merge.ForCentral
	case report.ChooseValue:
		if decision.Value == change.Central {
			return merge.ForCentral // nothing to send
		}
	}
	return merge.ForLocal
}

// byPolicy asks the policies, and keeps what they say as a new decision.
func (r *ruling) byPolicy(change merge.Change) *journal.Decision {
	choice := r.policies.choice(change, r.record)
	if choice == "" {
		return nil
	}
	decision := &journal.Decision{
		Shown: journal.Shown{
			Ref: change.Ref, Field: change.Field, Verb: change.Verb, Base: change.Base, Local: change.Local, Central: change.Central,
			Circumstance: circumstanceOf(change, r.record),
		},
		Choice: string(choice), Who: policyName, Policy: true,
	}
	r.fresh[changeKey{change.Ref, change.Field}] = decision
	return decision
}

// cannotGo says why what was decided for the kit cannot go: central cannot take it, or it is a deletion that would take along
// what nobody of the kit can have seen.
func (r *ruling) cannotGo(decision *journal.Decision, change merge.Change) string {
	if decision.Choice == string(report.ChooseCentral) {
		return ""
	}
	if reason := merge.Beyond(change, r.record); reason != "" {
		return reason
	}
	if change.Verb != merge.Delete || decision.Choice != string(report.ChooseLocal) {
		return ""
	}
	for _, object := range merge.Subtree(r.record, change.Ref) {
		program := object.Fields[merge.FieldProgram]
		carried := slices.ContainsFunc(r.scope.Programs, func(p snapshot.Program) bool { return p.ID == program })
		if program != "" && !carried {
			return fmt.Sprintf("the deletion would take along %s %s of a program that the kit does not carry: delete it at central", object.Kind, object.UID)
		}
	}
	return ""
}

// content is what is sent of a decided field, nil where it is the kit's value.
func (r *ruling) content(change merge.Change) map[string]string {
	decision := r.applied[changeKey{change.Ref, change.Field}]
	if decision == nil || decision.Choice != string(report.ChooseValue) || change.Verdict != merge.Push {
		return nil
	}
	return map[string]string{change.Field: decision.Value}
}

// unfit ends the recorded decisions about a root's objects that fit no change of it: what they were about is no
// more. Where a side cannot be read they stand.
func (r *ruling) unfit(root root, changes []merge.Change) map[changeKey]string {
	ended := map[changeKey]string{}
	if r.decisions == nil || !r.roots[root.String()] {
		return ended
	}
	for key, decision := range r.recorded {
		if decision.Root == root.String() && r.applied[key] == nil {
			if reason := r.unfitFor(key, changes); reason != "" {
				ended[key] = reason
			}
		}
	}
	return ended
}

// unfitFor says why a decision fits no change; empty where that is not known.
func (r *ruling) unfitFor(key changeKey, changes []merge.Change) string {
	i := slices.IndexFunc(changes, func(c merge.Change) bool { return c.Ref == key.ref && c.Field == key.field })
	switch {
	case i < 0:
		return "the kit has no such change any more"
	case changes[i].Verdict == merge.Unclear:
		return ""
	case changes[i].Verdict == merge.AlreadyThere:
		return "both sides hold the same by now"
	}
	return cmp.Or(r.why[key], "nothing is left to be decided")
}

// moved says what is another than when the conflict was shown.
func moved(shown journal.Shown, now journal.Change) string {
	if shown.Local != now.Local || shown.Verb != now.Verb {
		return "the kit's side was changed after the conflict was shown"
	}
	return "central moved on after the conflict was shown"
}

// circumstanceGone is the circumstance of a conflict with a deletion at central.
const circumstanceGone = "gone"

// circumstanceOf is what central's side of a conflict is, beyond the value of a field.
func circumstanceOf(change merge.Change, record merge.Record) string {
	if _, there := record.Central.Objects[change.Ref]; !there {
		return circumstanceGone
	}
	if change.Verb != merge.Delete {
		return ""
	}
	digest := merge.HashTree(merge.Subtree(record, change.Ref))
	return hex.EncodeToString(digest[:])
}

// foretell compares a record once more with the new decisions, and notes what they make of its changes. It returns
// the changes as they will be.
func (c *comparison) foretell(ctx context.Context, v *view, r root, record merge.Record, rows, filed []journal.Change) ([]journal.Change, error) {
	d := c.decisions
	conflict := func(c journal.Change) bool { return c.State == journal.Conflict }
	if d == nil || d.closed || !d.roots[r.String()] && (d.policies == nil || !slices.ContainsFunc(filed, conflict)) {
		return filed, nil
	}
	return c.foretellChanges(ctx, v, r, record, rows, filed)
}

// foretellChanges compares a record with the new decisions, and notes what they make of its changes, which are filed so far. It
// returns the changes as they will be; rows are those that the run found in the journal.
func (c *comparison) foretellChanges(ctx context.Context, v *view, r root, record merge.Record, rows, filed []journal.Change) ([]journal.Change, error) {
	d := c.decisions
	ruling := d.rule(record, true)
	changes := c.compare(record, rows, ruling)
	for key, decision := range d.fresh {
		if decision.Root == r.String() && ruling.applied[key] == nil && decision.Choice != string(report.ChooseAdopt) {
			d.unapplied[key] = ruling.unfitFor(key, changes)
		}
	}
	known, was := byKey(rows), byKey(filed)
	will := make([]journal.Change, 0, len(changes))
	for _, change := range changes {
		key := changeKey{change.Ref, change.Field}
		after := journal.Change{Change: change, Root: r.String(), Run: c.run, Content: c.contentOf(change, record.Local, ruling)}
		before, again := known[key]
		if err := c.place(ctx, v, r, &after, before, again); err != nil {
			return nil, err
		}
		after.Number = was[key].Number
		if w := was[key]; w.State != after.State || w.Content[change.Field] != after.Content[change.Field] {
			d.foretold[key] = foretold{was: w, will: after}
		}
		will = append(will, after)
	}
	return will, nil
}

func byKey(changes []journal.Change) map[changeKey]journal.Change {
	keyed := make(map[changeKey]journal.Change, len(changes))
	for _, change := range changes {
		keyed[changeKey{change.Ref, change.Field}] = change
	}
	return keyed
}

// counts counts what new decisions will have sent and dropped.
func (d *decisions) counts() (open, dropped int) {
	for _, f := range d.foretold {
		if f.will.State == journal.Open && f.was.State != journal.Open {
			open++
		}
		if f.will.State == journal.Dropped {
			dropped++
			if f.was.State == journal.Open {
				open--
			}
		}
	}
	return open, dropped
}

// recordDecisions writes all new decisions to the journal at once. From then on they are carried out, by whichever run.
func (c *comparison) recordDecisions(ctx context.Context, who string, k *Kit) error {
	d := c.decisions
	now := k.options.Now()
	d.closed = true
	if len(d.fresh)+len(d.settled) == 0 {
		return nil
	}
	all := slices.Clone(d.settled)
	for key, decision := range d.fresh {
		if decision.Number == 0 {
			shown, known, err := c.trip.journal.LastShown(ctx, key.ref, key.field)
			if err != nil {
				return err
			}
			if !known {
				continue // of a policy, about what is no conflict after all
			}
			decision.Shown = shown
		}
		all = append(all, decision)
	}
	slices.SortFunc(all, func(a, b *journal.Decision) int { return cmp.Compare(a.Number, b.Number) })
	return c.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for _, decision := range all {
			decision.At = now
			if !decision.Policy {
				decision.Who = who
			}
			if err := tx.Decide(*decision); err != nil {
				return err
			}
			if decision.Outcome == journal.Standing && decision.Choice == string(report.ChooseAdopt) {
				if err := c.adopt(tx, decision); err != nil {
					return err
				}
			}
			if decision.Outcome == journal.Standing {
				d.recorded[changeKey{decision.Ref, decision.Field}] = decision
				d.roots[decision.Root] = true
			}
		}
		return nil
	})
}

// carryOutDecisions looks once more at what new decisions are about, now that they are recorded.
func (c *comparison) carryOutDecisions(ctx context.Context) error {
	if len(c.decisions.fresh) == 0 {
		return nil
	}
	named := map[root]bool{}
	for _, decision := range slices.Concat(slices.Collect(maps.Values(c.decisions.recorded)), slices.Collect(maps.Values(c.decisions.fresh))) {
		r, err := parseRoot(decision.Root)
		if err != nil {
			return err
		}
		named[r] = true
	}
	roots := make([]root, 0, len(named))
	for r := range named {
		roots = append(roots, r)
	}
	slices.SortFunc(roots, func(a, b root) int { return cmp.Compare(a.String(), b.String()) })
	for batch := range slices.Chunk(roots, batchRoots) {
		if _, err := c.look(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// ended forgets a decision that the journal has the end of.
func (d *decisions) ended(key changeKey) {
	if d != nil {
		delete(d.recorded, key)
	}
}

// foretells returns what a new decision makes of a change, if any does.
func (d *decisions) foretells(c journal.Change) (journal.Change, bool) {
	if d == nil || d.closed {
		return journal.Change{}, false
	}
	f, there := d.foretold[changeKey{c.Ref, c.Field}]
	return f.will, there
}

// foretoldOpen are the changes that are to be sent by a new decision.
func (d *decisions) foretoldOpen() []journal.Change {
	if d == nil || d.closed {
		return nil
	}
	var open []journal.Change
	for _, f := range d.foretold {
		if f.will.State == journal.Open && f.was.State != journal.Open {
			open = append(open, f.will)
		}
	}
	slices.SortFunc(open, func(a, b journal.Change) int { return cmp.Or(a.Ref.Compare(b.Ref), cmp.Compare(a.Field, b.Field)) })
	return open
}
