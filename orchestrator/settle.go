package orchestrator

import (
	"context"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// refusal is why central did not take an object.
type refusal struct {
	// state is journal.Refused, or journal.Waiting where only something else that it depends on was refused.
	state              journal.State
	code, reason, hint string
	// circumstance is what the answer depended on; empty where that is still to be found out.
	circumstance string
}

// answer is what central said to a request, object by object. A nil answer is an unknown outcome: the cut
// line, the timeout, the run that was killed. Then only what central holds now can tell.
type answer struct {
	refusals map[merge.Ref]refusal
}

// refused is central's no to an object, or what to say when it said yes and does not show it. DHIS2 does not name
// everything that goes with a refused parent (2.41 to 2.43): an event below an enrollment that was not taken, for
// one, is in no list.
func (a *answer) refused(ref, parent merge.Ref) refusal {
	if r, named := a.refusals[ref]; named {
		return r
	}
	if above, named := a.refusals[parent]; named {
		return refusal{state: journal.Waiting, code: above.code, reason: fmt.Sprintf("waits for %s %s, which central did not take", parent.Kind, parent.UID)}
	}
	return refusal{
		state: journal.Refused, code: codeSilent,
		reason: "central answered that it took this, and does not show it",
		hint:   "look at central's log for the time of this run, then reconcile again",
	}
}

// codeSilent stands where DHIS2 gives no code: the object is in no list of its answer and not stored.
const codeSilent = "SILENT"

// settle looks at everything of one root that was sent, and writes down how it ended: central holds it, central
// refused it, or it never arrived and is open again.
func (c *comparison) settle(ctx context.Context, r root, record merge.Record, rows []journal.Change) error {
	return c.settleWith(ctx, nil, r, record, rows, nil)
}

func (c *comparison) settleWith(ctx context.Context, v *view, r root, record merge.Record, rows []journal.Change, a *answer) error {
	var settled []journal.Change
	var notes []journal.Note
	var offered *journal.Identity // a root is of one person
	for _, row := range rows {
		if row.State != journal.Sent {
			continue
		}
		row.Run = c.run
		note, identity, err := c.end(ctx, v, r, record, &row, a)
		if err != nil {
			return err
		}
		if note != nil {
			notes = append(notes, *note)
		}
		if identity != nil {
			offered = identity
		}
		notes = append(notes, rewrittenOf(row, record.Central, r)...)
		settled = append(settled, row)
	}
	if len(settled) == 0 {
		return nil
	}
	for _, row := range settled {
		if row.State == journal.Pushed || row.State == journal.Conflict {
			c.decisions.ended(changeKey{row.Ref, row.Field})
		}
	}
	return c.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for _, row := range settled {
			if err := tx.Put(row); err != nil {
				return err
			}
			if row.State == journal.Pushed {
				if err := putBases(tx, row, sentFace(row), record.Central); err != nil {
					return err
				}
			}
			if err := concludeSent(tx, row); err != nil {
				return err
			}
			if err := offerAnew(tx, v, row, offered); err != nil {
				return err
			}
		}
		for _, note := range notes {
			if err := tx.Note(note, c.run); err != nil {
				return err
			}
		}
		return nil
	})
}

// concludeSent writes what came of the decision about a change that was sent.
func concludeSent(tx *journal.Tx, row journal.Change) error {
	switch row.State {
	case journal.Pushed:
		return tx.EndDecision(row.Ref, row.Field, journal.CarriedOut, "")
	case journal.Conflict:
		if err := tx.EndDecision(row.Ref, row.Field, journal.NotApplied, row.Reason); err != nil {
			return err
		}
		return tx.Show(row, journal.Edit{}, journal.Edit{})
	}
	return nil
}

// sentValue is the value that is sent for a field: the kit's, unless another was decided.
func sentValue(row journal.Change) string {
	if value, decided := row.Content[row.Field]; decided {
		return value
	}
	return row.Local
}

// end decides how one change that was sent ended. Of a person who was refused it tells who that may be.
func (c *comparison) end(
	ctx context.Context, v *view, r root, record merge.Record, row *journal.Change, a *answer,
) (*journal.Note, *journal.Identity, error) {
	object, there := record.Central.Objects[row.Ref]
	switch {
	case record.Central.Unreadable != "":
		row.State, row.Reason = journal.Unclear, record.Central.Unreadable
		return nil, nil, nil
	case row.Verb == merge.Delete && !there, row.Verb == merge.Create && there,
		row.Verb == merge.Update && there && object.Fields[row.Field] == sentValue(*row):
		row.State, row.Code, row.Reason, row.Hint = journal.Pushed, "", "", ""
		return nil, nil, c.files.prove(ctx, record, row)
	case a == nil:
		row.State = journal.Open
		return nil, nil, nil
	}
	if _, said := a.refusals[row.Ref]; !said && row.Verb == merge.Update && there {
		row.State, row.Central, row.Circumstance = journal.Conflict, object.Fields[row.Field], ""
		row.Reason = reasonWrittenOver
		return &journal.Note{
			Kind: journal.Overtaken, Ref: row.Ref, Person: r.person(), Field: row.Field,
			Base: row.Base, Local: row.Local, Central: row.Central, Reason: row.Reason,
		}, nil, nil
	}
	no := a.refused(row.Ref, row.Parent)
	row.State, row.Code, row.Reason, row.Hint = no.state, no.code, no.reason, no.hint
	if row.Circumstance = no.circumstance; row.State != journal.Refused || v == nil || no.circumstance != "" {
		return nil, nil, nil
	}
	circumstance, holders, err := c.circumstances.of(ctx, v, r, *row)
	row.Circumstance, row.Hint = circumstance, heldBy(row.Code, holders)+enrolledAs(*row, record.Central)+row.Hint
	return nil, offerOf(*row, holders), err
}

// reasonWrittenOver is why a change that arrived is a conflict all the same.
const reasonWrittenOver = "central took it and holds something else now: somebody, or a rule of the program, wrote over it"

// sentFace is the object as it stood on the kit when it was sent.
func sentFace(row journal.Change) merge.Face {
	if row.Verb == merge.Update && row.Field != "" {
		return merge.Face{Objects: map[merge.Ref]merge.Object{row.Ref: {Ref: row.Ref, Parent: row.Parent, Fields: map[string]string{row.Field: row.Local}}}}
	}
	return merge.Face{Objects: map[merge.Ref]merge.Object{row.Ref: {Ref: row.Ref, Parent: row.Parent, Fields: row.Content}}}
}

// rewrittenOf names the fields of a created object that central stored differently from what was sent.
func rewrittenOf(row journal.Change, central merge.Face, r root) []journal.Note {
	if row.State != journal.Pushed || row.Verb != merge.Create {
		return nil
	}
	var notes []journal.Note
	stored := central.Objects[row.Ref].Fields
	for _, field := range fieldsOf(stored, row.Content) {
		if stored[field] != row.Content[field] {
			notes = append(notes, journal.Note{
				Kind: journal.Rewritten, Ref: row.Ref, Person: r.person(), Field: field, Local: row.Content[field], Central: stored[field],
				Reason: "central stored it so, by a rule of its own",
			})
		}
	}
	return notes
}

// overtaken names the fields of what was sent, not among the changes, that central holds differently now
// from the read just before: written by somebody else in between, or by central's own rules.
func overtaken(objects []objectChanges, before, after *holding, r root) []journal.Note {
	var notes []journal.Note
	for _, o := range objects {
		was, there := before.faces[r].Objects[o.ref]
		is, still := after.faces[r].Objects[o.ref]
		if !there || !still || o.verb != merge.Update {
			continue
		}
		for _, field := range fieldsOf(was.Fields, is.Fields) {
			if was.Fields[field] != is.Fields[field] && !o.has(field) {
				notes = append(notes, journal.Note{
					Kind: journal.Overtaken, Ref: o.ref, Person: r.person(), Field: field,
					Base: was.Fields[field], Central: is.Fields[field],
					Reason: "changed at central while the kit's changes were sent: by somebody there, or by a rule of the program",
				})
			}
		}
	}
	return notes
}

// answerOf reads central's import report.
func (c *comparison) answerOf(report *dhis2api.ImportReport, objects []objectChanges) *answer {
	a := &answer{refusals: map[merge.Ref]refusal{}}
	for _, o := range objects {
		outcome := report.Outcome(trackerKind(o.ref.Kind), c.aliases.ref(o.ref).UID)
		if len(outcome.Errors) == 0 {
			continue
		}
		a.refusals[o.ref] = refusalOf(outcome.Errors)
	}
	return a
}

// refusalOf picks the error that says most. E5000 and its like never are the cause: the parent is.
func refusalOf(problems []dhis2api.ImportProblem) refusal {
	for _, p := range problems {
		if p.Code == "E5000" {
			continue
		}
		reason, hint := dhis2api.Explain(p.Code, p.Args)
		if reason == "" {
			reason = p.Message
		}
		return refusal{state: journal.Refused, code: p.Code, reason: reason, hint: hint}
	}
	parent := "what it belongs to"
	if args := problems[0].Args; len(args) >= 4 {
		parent = fmt.Sprintf("%s %s", args[2], args[3])
	}
	return refusal{state: journal.Waiting, code: problems[0].Code, reason: "waits for " + parent + ", which central did not take"}
}

func trackerKind(kind merge.Kind) dhis2api.Kind {
	switch kind {
	case merge.TrackedEntity:
		return dhis2api.KindTrackedEntity
	case merge.Enrollment:
		return dhis2api.KindEnrollment
	case merge.Event:
		return dhis2api.KindEvent
	default:
		return dhis2api.KindRelationship
	}
}
