package orchestrator

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// keptPlan is a plan that somebody has read, to be carried out: nothing goes but its operations, and of these only those that are
// planned just so again, each time that their records are looked at. A nil one lets everything go.
type keptPlan struct {
	operations map[operationKey]*keptOperation
}

// keptOperation is one that a kept plan would have sent.
type keptOperation struct {
	assumes string
	digest  [16]byte
	fields  []string
	person  string
	// goes tells whether it was planned so again when it was looked at last; changes counts its changes, reason is why not.
	goes    bool
	changes int
	reason  string
}

// keptPlan reads the plan that is to be carried out; nil where there is none.
func (k *Kit) keptPlan(t *trip, taken *snapshot.Snapshot, options ReconcileOptions) (*keptPlan, error) {
	switch {
	case options.Planned == "":
		return nil, nil
	case options.PlanOnly:
		return nil, usagef("a kept plan is carried out or made anew, not both")
	}
	return readPlan(options.Planned, planHeader{Kit: k.config.Name, Trip: t.id, Central: taken.Manifest().Central().SystemID})
}

// readPlan reads a kept plan. The error is an ErrUsage when it is another trip's, of another format, or no plan.
func readPlan(path string, of planHeader) (*keptPlan, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usagef("cannot read the plan: %v", err)
	}
	defer file.Close()
	kept := &keptPlan{operations: map[operationKey]*keptOperation{}}
	begun := false
	lines := bufio.NewReader(file)
	for number := 1; ; number++ {
		line, reading := lines.ReadBytes('\n')
		if reading != nil && !errors.Is(reading, io.EOF) {
			return nil, usagef("cannot read the plan: %v", reading)
		}
		line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
		switch {
		case len(line) == 0:
		case begun:
			err = kept.add(line)
		default:
			begun, err = true, of.expect(line)
		}
		switch {
		case err != nil:
			return nil, WithHint(usagef("%s, line %d: %v", path, number, err), "lines may be left out of a plan, not changed; fieldkit reconcile --plan writes it anew")
		case reading != nil && !begun:
			return nil, usagef("%s is no plan: it is empty", path)
		case reading != nil:
			return kept, nil
		}
	}
}

// expect reads the first line of a plan, which is to be like the header.
func (h planHeader) expect(line []byte) error {
	var found planHeader
	switch err := strictly(line, &found); {
	case err != nil || found.Format == 0:
		return errors.New("this is no plan")
	case found.Format != PlanFormat:
		return fmt.Errorf("this plan is of format %d, and this fieldkit knows %d", found.Format, PlanFormat)
	case found.Trip != h.Trip || found.Kit != h.Kit || found.Central != h.Central:
		return fmt.Errorf("this is a plan of kit %s, trip %s, and this is kit %s, trip %s", found.Kit, found.Trip, h.Kit, h.Trip)
	}
	return nil
}

func (p *keptPlan) add(line []byte) error {
	var o operation
	if err := strictly(line, &o); err != nil {
		return fmt.Errorf("this is no operation: %w", err)
	}
	switch {
	case !slices.Contains([]string{doSend, doHold, doAlreadyThere, doDrop, doOutOfScope}, o.Do):
		return fmt.Errorf("nobody knows how to do %q", o.Do)
	case !slices.Contains([]merge.Verb{merge.Create, merge.Update, merge.Delete}, o.Verb) || !known(o.Kind) || o.UID == "":
		return errors.New("the operation names no object, or not what to do with it")
	case o.Do != doSend:
		return nil
	}
	digest, err := o.digest()
	if err != nil {
		return err
	}
	if p.operations[o.key()] != nil {
		return fmt.Errorf("%s %s stands in it twice", o.Kind, o.UID)
	}
	kept := &keptOperation{assumes: o.Assumes, digest: digest, person: o.Person, reason: reasonKitMoved}
	for _, f := range o.Fields {
		kept.fields = append(kept.fields, f.Field)
	}
	p.operations[o.key()] = kept
	return nil
}

// known tells whether objects are of such a kind.
func known(kind merge.Kind) bool {
	return slices.Contains([]merge.Kind{merge.TrackedEntity, merge.Enrollment, merge.Event, merge.Relationship, merge.DataValue, merge.Completion}, kind)
}

// strictly reads one JSON value with no key that is not known: what is not understood is not carried out.
func strictly(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more on the line")
	}
	return nil
}

// Why an operation of a kept plan is not carried out.
const (
	reasonCentralMoved = "central moved on since it was planned"
	reasonKitMoved     = "the kit's side was changed since it was planned"
	reasonLeftOut      = "waits for %s %s, which is not sent"
)

// judge takes out of a view the open changes that do not go: those that the plan does not name, those that are planned
// otherwise now, and what is created below them.
func (p *keptPlan) judge(v *view) error {
	if p == nil {
		return nil
	}
	for _, r := range v.roots {
		going, stays := map[operationKey]bool{}, map[merge.Ref]bool{}
		for _, o := range operationsOf(r, v.records[r], v.changes[r]) {
			if o.Do != doSend {
				continue
			}
			goes, err := p.assess(o, stays[o.parent])
			if err != nil {
				return err
			}
			if going[o.key()] = goes; !goes && o.Verb == merge.Create {
				stays[o.key().ref] = true
			}
		}
		v.changes[r] = slices.DeleteFunc(v.changes[r], func(c journal.Change) bool {
			return c.State == journal.Open && !going[operationKey{c.Ref, c.Verb}]
		})
	}
	return nil
}

// assess tells whether an operation goes.
func (p *keptPlan) assess(o *operation, parentStays bool) (bool, error) {
	kept := p.operations[o.key()]
	if kept == nil {
		return false, nil
	}
	digest, err := o.digest()
	if err != nil {
		return false, err
	}
	kept.goes, kept.changes, kept.reason = false, o.changes, ""
	switch {
	case parentStays:
		kept.reason = fmt.Sprintf(reasonLeftOut, o.parent.Kind, o.parent.UID)
	case kept.assumes != o.Assumes:
		kept.reason = reasonCentralMoved
	case kept.digest != digest:
		kept.reason = reasonKitMoved
	default:
		kept.goes = true
	}
	return kept.goes, nil
}

// goes tells whether a change was to be sent when it was looked at last.
func (p *keptPlan) goes(c journal.Change) bool {
	if p == nil {
		return true
	}
	kept := p.operations[operationKey{c.Ref, c.Verb}]
	return kept != nil && kept.goes
}

// leaveOut keeps a change from going that depends on what does not.
func (p *keptPlan) leaveOut(c journal.Change, on merge.Ref) {
	if kept := p.operations[operationKey{c.Ref, c.Verb}]; kept != nil {
		kept.goes, kept.reason = false, fmt.Sprintf(reasonLeftOut, on.Kind, on.UID)
	}
}

// going counts what goes: its changes, and its objects by kind and verb.
func (p *keptPlan) going() (changes int, objects []journal.Going) {
	for key, kept := range p.operations {
		if !kept.goes {
			continue
		}
		changes += kept.changes
		i := slices.IndexFunc(objects, func(g journal.Going) bool { return g.Kind == key.ref.Kind && g.Verb == key.verb })
		if i < 0 {
			i = len(objects)
			objects = append(objects, journal.Going{Kind: key.ref.Kind, Verb: key.verb})
		}
		objects[i].Objects++
	}
	slices.SortFunc(objects, func(a, b journal.Going) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Verb, b.Verb)) })
	return changes, objects
}

// report says what became of the plan: of what is open, what it leaves out, and which of its operations did not go.
func (p *keptPlan) report(ctx context.Context, j *journal.Journal, open int) (*report.Kept, error) {
	if p == nil {
		return nil, nil
	}
	result := &report.Kept{Operations: len(p.operations), LeftOut: open, Moved: []report.Waiting{}}
	keys := make([]operationKey, 0, len(p.operations))
	for key := range p.operations {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b operationKey) int { return cmp.Or(a.ref.Compare(b.ref), cmp.Compare(a.verb, b.verb)) })
	for _, key := range keys {
		rows, err := j.ChangesOf(ctx, key.ref)
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(c journal.Change) bool { return c.Verb != key.verb })
		kept := p.operations[key]
		state, reason := kept.ended(rows)
		switch {
		case state == journal.Pushed:
			result.Home++
			continue
		case state.Held() && kept.goes:
			result.Held++
			continue
		}
		for _, row := range rows {
			if row.State == journal.Open {
				result.LeftOut--
			}
		}
		result.Moved = append(result.Moved, report.Waiting{
			Reference: report.Reference{Kind: string(key.ref.Kind), UID: key.ref.UID, Person: kept.person}, Verb: string(key.verb), Reason: reason,
		})
	}
	return result, nil
}

// ended tells from the journal's rows of its object how an operation ended: home (Pushed), or where the change stands that is
// furthest from it, and why.
func (k *keptOperation) ended(rows []journal.Change) (state journal.State, reason string) {
	planned := slices.DeleteFunc(slices.Clone(rows), func(c journal.Change) bool { return c.Field != "" && !slices.Contains(k.fields, c.Field) })
	if len(planned) == 0 {
		return "", "the kit has no such change any more"
	}
	worst := slices.MaxFunc(planned, func(a, b journal.Change) int { return cmp.Compare(awayness(a.State), awayness(b.State)) })
	switch awayness(worst.State) {
	case 0:
		return journal.Pushed, ""
	case 3:
		return worst.State, cmp.Or(k.reason, reasonKitMoved)
	}
	return worst.State, worst.Reason
}

// awayness is how far from home a state is.
func awayness(state journal.State) int {
	switch {
	case state == journal.Pushed || state == journal.AlreadyThere:
		return 0
	case state == journal.Dropped || state == journal.OutOfScope:
		return 1
	case state.Held():
		return 2
	}
	return 3
}
