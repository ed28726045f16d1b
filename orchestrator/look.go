package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// comparison is one trip's four faces at hand: the two of the snapshot by index, the two servers by id.
type comparison struct {
	trip           *trip
	scope          *snapshot.Scope
	central, local *dhis2api.Client
	// taken and loaded index the snapshot; centralForm and localForm turn each server's objects canonical.
	taken, loaded *index
	// aliases are the people whom central holds under another uid.
	aliases                *aliases
	centralForm, localForm snapshot.Canonical
	rules                  merge.Rules
	run                    int
	// circumstances tells what the answer to an operation depended on, beside what was sent.
	circumstances *circumstances
	// files brings home the files that values name.
	files *files
	// decisions are what is decided about conflicts; nil: nothing is, and they all stay as they are.
	decisions *decisions
	// kept is a plan that is to be carried out; nil: everything goes.
	kept *keptPlan
	// openDatabase opens the database of the kit's DHIS2; found says how the candidates were found.
	openDatabase func(context.Context) (*dhis2db.Database, error)
	found        report.Candidates
	// numbers holds the numbers of the kit against those that central reserved; nil where there are none.
	numbers *numberProof
	// sideEffects tells whether central is to send its messages for what arrives.
	sideEffects bool
}

// view is what a look at some roots shows: both servers as they are now, and the changes, which are in the
// journal too.
type view struct {
	roots          []root
	local, central *holding
	records        map[root]merge.Record
	loaded         map[root]merge.Face
	changes        map[root][]journal.Change
}

// open are the changes of the view that are to be sent, in the order of its roots.
func (v *view) open(wanted func(journal.Change) bool) []journal.Change {
	var open []journal.Change
	for _, r := range v.roots {
		for _, c := range v.changes[r] {
			if c.State == journal.Open && wanted(c) {
				open = append(open, c)
			}
		}
	}
	return open
}

// rowsUnder reads the journal's changes of some roots at once.
func rowsUnder(ctx context.Context, j *journal.Journal, roots []root) (map[root][]journal.Change, error) {
	names := make([]string, len(roots))
	for i, r := range roots {
		names[i] = r.String()
	}
	found, err := j.ChangesUnder(ctx, names...)
	if err != nil {
		return nil, err
	}
	rows := make(map[root][]journal.Change, len(found))
	for i, r := range roots {
		if some := found[names[i]]; len(some) > 0 {
			rows[r] = some
		}
	}
	return rows, nil
}

// judgeAll settles what was sent of the roots of a view, compares each, and files what comes of it.
func (c *comparison) judgeAll(ctx context.Context, v *view, rows map[root][]journal.Change) error {
	var settled []root
	for _, r := range v.roots {
		if !slices.ContainsFunc(rows[r], func(row journal.Change) bool { return row.State == journal.Sent }) {
			continue
		}
		if err := c.settle(ctx, r, v.records[r], rows[r]); err != nil {
			return err
		}
		settled = append(settled, r)
	}
	if len(settled) > 0 {
		again, err := rowsUnder(ctx, c.trip.journal, settled)
		if err != nil {
			return err
		}
		for _, r := range settled {
			rows[r] = again[r]
		}
	}
	bases, err := c.basesOf(ctx, v.records, rows)
	if err != nil {
		return err
	}
	for _, r := range v.roots {
		if err := c.judge(ctx, v, r, rows[r], bases.of(r, v.records[r], rows[r])); err != nil {
			return err
		}
	}
	return nil
}

// within leaves out of the kit's face what belongs to programs that the trip does not carry, unless it knows it: a
// change that is held travels on with its whole record, even when its program has left the scope.
func (c *comparison) within(record merge.Record) merge.Face {
	face := record.Local
	objects := map[merge.Ref]merge.Object{}
	for ref, object := range face.Objects {
		program := object.Fields[merge.FieldProgram]
		_, taken := record.Taken.Objects[ref]
		_, loaded := record.Loaded.Objects[ref]
		if _, carried := c.scope.Program(program); carried || program == "" || taken || loaded {
			objects[ref] = object
		}
	}
	face.Objects = objects
	return face
}

// judge compares one record and files what comes of it.
func (c *comparison) judge(ctx context.Context, v *view, r root, rows []journal.Change, bases []merge.Base) error {
	record := merge.Overlay(v.records[r], bases)
	record.Local = c.within(record)
	if err := c.keepUnseen(ctx, r, v.local, &record); err != nil {
		return err
	}
	record, rows, err := c.meetAdopted(ctx, r, record, rows)
	if err != nil {
		return err
	}
	v.records[r] = record
	if c.aliases.foretold[r.uid] && r.kind == rootPerson {
		v.changes[r], err = c.foretellAdopted(ctx, v, r, record, rows)
		return err
	}
	ruling := c.decisions.rule(record, false)
	filed, err := c.file(ctx, v, r, rows, c.compare(record, rows, ruling), ruling)
	if err != nil {
		return err
	}
	v.changes[r], err = c.foretell(ctx, v, r, record, rows, filed)
	return err
}

// compare compares a record. What was sent already and central wrote over, by a rule of its own that it would follow again,
// is a conflict as long as both sides stand as they did then: to send it in every run would change nothing.
func (c *comparison) compare(record merge.Record, rows []journal.Change, ruling *ruling) []merge.Change {
	changes := merge.Compare(record, ruling.rules(c.rules))
	c.holdShared(record, changes)
	known := byKey(rows)
	for i, change := range changes {
		before, again := known[changeKey{change.Ref, change.Field}]
		if !again || change.Verdict != merge.Push || before.State != journal.Conflict || before.Reason != reasonWrittenOver ||
			before.Local != change.Local || before.Central != change.Central {
			continue
		}
		changes[i].Verdict, changes[i].Reason = merge.Conflict, before.Reason
		if ruling.decisions == nil {
			continue
		}
		switch ruling.decide(changes[i]) {
		case merge.ForLocal:
			changes[i].Verdict, changes[i].Reason = merge.Push, ""
		case merge.ForCentral:
			changes[i].Verdict, changes[i].Reason = merge.Dropped, merge.ReasonDropped
		}
	}
	return changes
}

// refsOf are the objects of a record that its root is the place for. A person's relationships, which taken and
// central hold for deletions to be judged by, are roots of their own.
func refsOf(r root, record merge.Record) map[merge.Ref]bool {
	refs := map[merge.Ref]bool{}
	for _, face := range []merge.Face{record.Taken, record.Loaded, record.Local, record.Central} {
		for ref := range face.Objects {
			if r.kind != rootPerson || ref.Kind != merge.Relationship {
				refs[ref] = true
			}
		}
	}
	return refs
}

// basesByObject are bases that were read at once.
type basesByObject map[merge.Ref][]merge.Base

// basesOf reads the bases of every object that the records or the journal's rows mention.
func (c *comparison) basesOf(ctx context.Context, records map[root]merge.Record, rows map[root][]journal.Change) (basesByObject, error) {
	mentioned := map[merge.Ref]bool{}
	for r, record := range records {
		maps.Copy(mentioned, refsOf(r, record))
		for _, row := range rows[r] {
			mentioned[row.Ref] = true
		}
		if r.kind == rootPerson {
			for _, tie := range tiesOf(record) {
				mentioned[tie] = true
			}
		}
	}
	found, err := c.trip.journal.Bases(ctx, slices.Collect(maps.Keys(mentioned))...)
	bases := basesByObject{}
	for _, base := range found {
		bases[base.Ref] = append(bases[base.Ref], base)
	}
	return bases, err
}

// of are the bases of one record. Of a person's relationships, which are records of their own, only what central has tied
// since a deletion counts.
func (b basesByObject) of(r root, record merge.Record, rows []journal.Change) []merge.Base {
	if len(b) == 0 {
		return nil
	}
	refs := refsOf(r, record)
	for _, row := range rows {
		refs[row.Ref] = true
	}
	var bases []merge.Base
	for _, ref := range slices.SortedFunc(maps.Keys(refs), merge.Ref.Compare) {
		bases = append(bases, b[ref]...)
	}
	if r.kind != rootPerson {
		return bases
	}
	for _, tie := range tiesOf(record) {
		for _, base := range b[tie] {
			if base.Field == tiedSince {
				bases = append(bases, merge.Base{Ref: tie})
			}
		}
	}
	return bases
}

// tiedSince marks the base of a relationship that central has made since a deletion on the kit of one of its ends, and that
// the trip took along: the deletion was made without knowing of it.
const tiedSince = "tiedSince"

// tiesOf are the relationships that a record of a person names, at central now or when the trip began.
func tiesOf(record merge.Record) []merge.Ref {
	var ties []merge.Ref
	for ref := range record.Taken.Objects {
		if ref.Kind == merge.Relationship {
			ties = append(ties, ref)
		}
	}
	for ref := range record.Central.Objects {
		if _, taken := record.Taken.Objects[ref]; ref.Kind == merge.Relationship && !taken {
			ties = append(ties, ref)
		}
	}
	return ties
}

// changeKey finds a change again from run to run.
type changeKey struct {
	ref   merge.Ref
	field string
}

// file writes the changes of one record to the journal, each in the state that its verdict gives it, and
// withdraws those that the kit no longer has.
func (c *comparison) file(ctx context.Context, v *view, r root, rows []journal.Change, changes []merge.Change, ruling *ruling) ([]journal.Change, error) {
	record := ruling.record
	known := byKey(rows)
	filed, stands, err := c.placeAll(ctx, v, r, known, changes, ruling)
	if err != nil {
		return nil, err
	}
	unfit := ruling.unfit(r, changes)
	err = c.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for _, row := range filed {
			if !stands[changeKey{row.Ref, row.Field}] {
				if err := tx.Put(row); err != nil {
					return err
				}
			}
			if err := c.conclude(tx, v, row, filed, changes, ruling); err != nil {
				return err
			}
		}
		for key, reason := range unfit {
			if err := tx.EndDecision(key.ref, key.field, journal.NotApplied, reason); err != nil {
				return err
			}
		}
		for key, row := range known {
			if row.State == journal.Pushed || row.State == journal.AlreadyThere || row.State == journal.Sent || row.State == journal.Dropped {
				continue
			}
			if err := tx.Withdraw(key.ref, key.field); err != nil {
				return err
			}
		}
		for _, ref := range merge.Merged(record) {
			note, err := c.mergedNote(r, record, ref)
			if err != nil {
				return err
			}
			if err := tx.Note(note, c.run); err != nil {
				return err
			}
		}
		return nil
	})
	for key := range unfit {
		c.decisions.ended(key)
	}
	for _, row := range filed {
		if row.State == journal.Dropped {
			c.decisions.ended(changeKey{row.Ref, row.Field})
		}
	}
	return filed, err
}

// placeAll gives every change its state, tells which stand in the journal already, just so, and leaves in known what the kit
// no longer has.
func (c *comparison) placeAll(
	ctx context.Context, v *view, r root, known map[changeKey]journal.Change, changes []merge.Change, ruling *ruling,
) (filed []journal.Change, stands map[changeKey]bool, err error) {
	stands = map[changeKey]bool{}
	for _, change := range changes {
		key := changeKey{change.Ref, change.Field}
		before, again := known[key]
		delete(known, key)
		after := journal.Change{Change: change, Root: r.String(), Run: c.run, Content: c.contentOf(change, ruling.record.Local, ruling)}
		if err := c.place(ctx, v, r, &after, before, again); err != nil {
			return nil, nil, err
		}
		filed = append(filed, after)
		stands[key] = again && before.Same(after)
	}
	return filed, stands, nil
}

// conclude writes what the state of a change means for later runs: what it is compared with from now on, its
// number where it is held for a decision, and what came of one.
func (c *comparison) conclude(tx *journal.Tx, v *view, row journal.Change, filed []journal.Change, changes []merge.Change, ruling *ruling) error {
	record := ruling.record
	settles := row.Verdict == merge.Push || row.Verdict == merge.Dropped
	if settles && row.Verb == merge.Update && ruling.applied[changeKey{row.Ref, row.Field}] != nil {
		if err := setBases(tx, merge.Met(row.Ref, record, changes)); err != nil {
			return err
		}
	}
	switch row.State {
	case journal.AlreadyThere:
		if row.Verb == merge.Create && disputed(filed, row.Ref) {
			return nil
		}
		return putBases(tx, row, record.Local, record.Central)
	case journal.Conflict, journal.Unclear:
		return tx.Show(row, v.local.edit(row.Change), v.central.edit(row.Change))
	case journal.Dropped:
		if err := tx.EndDecision(row.Ref, row.Field, journal.CarriedOut, ""); err != nil {
			return err
		}
		return setBases(tx, merge.LetGo(row.Change, record))
	}
	return nil
}

func setBases(tx *journal.Tx, bases []merge.Base) error {
	for _, base := range bases {
		if err := tx.SetBase(base); err != nil {
			return err
		}
	}
	return nil
}

// disputed tells whether an object that both sides created is not alike in everything: then its fields keep the
// empty base that the conflict is about.
func disputed(filed []journal.Change, ref merge.Ref) bool {
	return slices.ContainsFunc(filed, func(c journal.Change) bool { return c.Ref == ref && c.Field != "" })
}

// contentOf is what will be sent for a change: for a created object all of it that may travel, else the one field,
// which may have been given another value than the kit's.
func (c *comparison) contentOf(change merge.Change, local merge.Face, ruling *ruling) map[string]string {
	if decided := ruling.content(change); decided != nil {
		return decided
	}
	switch {
	case change.Verb == merge.Create:
		object := local.Objects[change.Ref]
		content := maps.Clone(object.Fields)
		maps.DeleteFunc(content, func(field, _ string) bool { return c.rules.Skip(object, field) })
		return content
	case change.Verb == merge.Update && change.Field != "":
		return map[string]string{change.Field: change.Local}
	}
	return nil
}

// place gives a change its state. What central refused before, or what waits, is opened again only when
// something that it depended on has changed.
func (c *comparison) place(ctx context.Context, v *view, r root, after *journal.Change, before journal.Change, again bool) error {
	switch after.Verdict {
	case merge.AlreadyThere:
		after.State = journal.AlreadyThere
		if again && before.State == journal.Refused && before.Code == codeFile { // the value is home, its file was not
			return c.files.prove(ctx, v.records[r], after)
		}
	case merge.Conflict:
		after.State, after.Circumstance = journal.Conflict, circumstanceOf(after.Change, v.records[r])
	case merge.OutOfScope:
		after.State = journal.OutOfScope
	case merge.Dropped:
		after.State = journal.Dropped
	case merge.Unclear:
		after.State, after.Circumstance = journal.Unclear, circumstanceOf(after.Change, v.records[r])
	case merge.Push:
		after.State = journal.Open
		if !again || before.State != journal.Refused || before.Local != after.Local || before.Verb != after.Verb || sentValue(before) != sentValue(*after) {
			return nil
		}
		now := askedAgain
		if before.Circumstance != askedAgain {
			var err error
			if now, _, err = c.circumstances.of(ctx, v, r, *after); err != nil {
				return err
			}
		} else if before.Run != c.run {
			return nil
		}
		if now == before.Circumstance {
			after.State, after.Code, after.Reason, after.Hint, after.Circumstance = before.State, before.Code, before.Reason, before.Hint, before.Circumstance
		}
	default:
		return fmt.Errorf("%s %s: the comparison gave the verdict %q, which is none", after.Ref.Kind, after.UID, after.Verdict)
	}
	return nil
}

// putBases makes a change that central holds no change any more: from now on both faces of its field are what
// the two servers hold.
func putBases(tx *journal.Tx, change journal.Change, local, central merge.Face) error {
	if change.Field != "" {
		return tx.SetBase(baseOf(change.Ref, change.Field, local.Objects[change.Ref], central.Objects[change.Ref]))
	}
	if change.Verb == merge.Delete {
		return tx.SetBase(merge.Base{Ref: change.Ref})
	}
	if err := tx.SetBase(merge.Base{Ref: change.Ref, TakenPresent: true, LoadedPresent: true}); err != nil {
		return err
	}
	for _, field := range fieldsOf(local.Objects[change.Ref].Fields, central.Objects[change.Ref].Fields) {
		if err := tx.SetBase(baseOf(change.Ref, field, local.Objects[change.Ref], central.Objects[change.Ref])); err != nil {
			return err
		}
	}
	return nil
}

func baseOf(ref merge.Ref, field string, local, central merge.Object) merge.Base {
	taken, loaded := central.Fields[field], local.Fields[field]
	return merge.Base{Ref: ref, Field: field, Taken: taken, Loaded: loaded, TakenPresent: taken != "", LoadedPresent: loaded != ""}
}

// fieldsOf lists the fields of both, each once, in order.
func fieldsOf(a, b map[string]string) []string {
	set := map[string]bool{}
	for field := range a {
		set[field] = true
	}
	for field := range b {
		set[field] = true
	}
	return slices.Sorted(maps.Keys(set))
}
