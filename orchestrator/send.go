package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// batchRoots is how many roots are looked at and sent together. A person is some five objects, and two hundred
// of them is where a server's import stops getting faster (DHIS2 2.42).
const batchRoots = 100

// maxTries is how often a batch whose outcome stays unknown is sent before the run gives up and leaves it to
// the next one.
const maxTries = 3

// sender carries open changes to central, batch by batch: looked at afresh, noted in the journal, sent, read
// back, settled.
type sender struct {
	*comparison
	progress Progress
	now      func() time.Time
	// sent counts the objects sent in this run, done and total the roots.
	sent        int
	done, total int64
}

// wave is one kind of request: which changes go in it, and how they are sent.
type wave struct {
	name string
	// takes tells whether a change goes in this wave.
	takes func(journal.Change) bool
	// carry sends the objects and returns central's answer; an UnknownOutcomeError where there was none.
	carry func(ctx context.Context, v *view, objects []objectChanges) (*answer, error)
	// trial is the strategy with which central can be asked beforehand; empty when it cannot.
	trial dhis2api.ImportStrategy
}

// waves are the requests in their order: deletions first, for an event that was deleted and made again may be
// the only one of its stage; people before the relationships between them; values before completions.
func (s *sender) waves() []wave {
	tracker := func(kinds ...merge.Kind) func(journal.Change) bool {
		return func(c journal.Change) bool { return slices.Contains(kinds, c.Ref.Kind) }
	}
	people := tracker(merge.TrackedEntity, merge.Enrollment, merge.Event)
	ties := tracker(merge.Relationship)
	isDelete := func(c journal.Change) bool { return c.Verb == merge.Delete }
	return []wave{
		{name: "relationships removed", takes: func(c journal.Change) bool { return ties(c) && isDelete(c) }, carry: s.remove},
		{
			name: "records deleted", takes: func(c journal.Change) bool { return people(c) && isDelete(c) }, carry: s.remove,
			trial: dhis2api.ImportStrategyDelete,
		},
		{
			name: "records", takes: func(c journal.Change) bool { return people(c) && !isDelete(c) }, carry: s.store,
			trial: dhis2api.ImportStrategyCreateAndUpdate,
		},
		{name: "relationships", takes: func(c journal.Change) bool { return ties(c) && !isDelete(c) }, carry: s.store},
		{name: "values removed", takes: func(c journal.Change) bool { return c.Ref.Kind == merge.DataValue && isDelete(c) }, carry: s.removeValues},
		{name: "values", takes: func(c journal.Change) bool { return c.Ref.Kind == merge.DataValue && !isDelete(c) }, carry: s.storeValues},
		{name: "completions", takes: tracker(merge.Completion), carry: s.storeCompletions},
	}
}

// send carries everything that is open.
func (s *sender) send(ctx context.Context) error {
	for _, w := range s.waves() {
		roots, err := s.openRoots(ctx, w)
		if err != nil {
			return err
		}
		s.done, s.total = 0, int64(len(roots))
		if len(roots) > 0 {
			s.progress.Step("sending " + w.name)
		}
		for batch := range slices.Chunk(roots, batchRoots) {
			if err := s.sendBatch(ctx, w, batch); err != nil {
				return err
			}
			s.done += int64(len(batch))
			s.progress.Count(w.name, s.done, s.total)
		}
	}
	return nil
}

// openRoots lists the roots that have something to send in a wave.
func (s *sender) openRoots(ctx context.Context, w wave) ([]root, error) {
	var roots []root
	known := map[root]bool{}
	add := func(c journal.Change) error {
		if !w.takes(c) {
			return nil
		}
		r, err := parseRoot(c.Root)
		if err == nil && !known[r] {
			known[r] = true
			roots = append(roots, r)
		}
		return err
	}
	for c, err := range s.trip.journal.Changes(ctx, journal.Open) {
		if err := errors.Join(err, add(c)); err != nil {
			return nil, err
		}
	}
	for _, c := range s.decisions.foretoldOpen() {
		if err := add(c); err != nil {
			return nil, err
		}
	}
	return roots, nil
}

// sendBatch sends what is open of the roots in one request. An unknown outcome is looked at, and what did not
// arrive is sent again. A request that central refuses as a whole is halved until the root that spoils it is
// alone.
func (s *sender) sendBatch(ctx context.Context, w wave, roots []root) error {
	for try := 1; ; try++ {
		v, open, held, err := s.lookWithFiles(ctx, w, roots)
		if err != nil {
			return err
		}
		if len(open) == 0 {
			return s.files.hold(ctx, v, held)
		}
		objects := byObject(open)
		if err := s.markSent(ctx, v, open); err != nil {
			return err
		}
		batch, err := s.trip.journal.BeginBatch(ctx, s.run, w.name, len(objects), s.now())
		if err != nil {
			return err
		}
		s.sent += len(objects)
		a, err := w.carry(ctx, v, objects)
		said := "answered"
		if err != nil {
			said = err.Error()
		}
		if noteErr := s.trip.journal.EndBatch(ctx, batch, said, s.now()); noteErr != nil {
			return errors.Join(err, noteErr)
		}
		var unknown *dhis2api.UnknownOutcomeError
		switch {
		case err == nil:
			return s.verify(ctx, v, objects, held, a)
		case errors.As(err, &unknown) && try < maxTries:
			continue // the next look settles what arrived and opens what did not
		case refusedWhole(err) && len(roots) > 1:
			middle := len(roots) / 2
			if err := s.sendBatch(ctx, w, roots[:middle]); err != nil {
				return err
			}
			return s.sendBatch(ctx, w, roots[middle:])
		case refusedWhole(err):
			return s.verify(ctx, v, objects, held, refusedAll(objects, err))
		}
		if unknown != nil && ctx.Err() == nil {
			return &ServerError{Side: Central, URL: s.central.BaseURL(), Err: err, Advice: "run reconcile again: it looks at what arrived before it sends anything"}
		}
		return atServer(ctx, Central, s.central.BaseURL(), err)
	}
}

// lookWithFiles looks at the roots and brings the files home that their open changes name. Where it brought any it
// looks again, for that may have taken long: what is sent is made of what central held just before. Values whose files
// cannot go are held, and not among the open changes.
func (s *sender) lookWithFiles(ctx context.Context, w wave, roots []root) (*view, []journal.Change, []heldFile, error) {
	for {
		v, err := s.look(ctx, roots)
		if err != nil {
			return nil, nil, nil, err
		}
		open, err := s.withoutWaiting(ctx, v.open(w.takes))
		if err != nil {
			return nil, nil, nil, err
		}
		brought, err := s.files.bring(ctx, v, open, s.progress)
		if err != nil {
			return nil, nil, nil, err
		}
		if brought {
			s.progress.Step("sending " + w.name)
			continue
		}
		open, held, err := s.files.withhold(ctx, v, open)
		return v, open, held, err
	}
}

// refusedWhole tells whether central read the request and would have none of it, without an answer object by
// object.
func refusedWhole(err error) bool {
	var status *dhis2api.StatusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusNotFound:
		return true
	}
	return false
}

func refusedAll(objects []objectChanges, err error) *answer {
	a := &answer{refusals: map[merge.Ref]refusal{}}
	code := "HTTP"
	var status *dhis2api.StatusError
	if errors.As(err, &status) {
		code = fmt.Sprintf("HTTP %d", status.Status)
		if status.ErrorCode != "" {
			code = status.ErrorCode
		}
	}
	reason, hint := dhis2api.Explain(code, nil)
	if reason == "" {
		reason = err.Error()
	}
	for _, o := range objects {
		a.refusals[o.ref] = refusal{state: journal.Refused, code: code, reason: reason, hint: hint}
	}
	return a
}

// withoutWaiting holds back what depends on something held: an object below one that central refused, a
// relationship with such an end.
func (s *sender) withoutWaiting(ctx context.Context, open []journal.Change) ([]journal.Change, error) {
	var free []journal.Change
	for _, c := range open {
		on, err := s.waitsFor(ctx, c)
		if err != nil {
			return nil, err
		}
		if on == nil {
			free = append(free, c)
			continue
		}
		c.State, c.Reason = journal.Waiting, fmt.Sprintf("waits for %s %s, which is held", on.Kind, on.UID)
		if err := s.trip.journal.Update(ctx, func(tx *journal.Tx) error { return tx.Put(c) }); err != nil {
			return nil, err
		}
	}
	return free, nil
}

// waitsFor names the held creation that the change depends on; nil when there is none.
func (s *sender) waitsFor(ctx context.Context, c journal.Change) (*merge.Ref, error) {
	needed := []merge.Ref{c.Parent}
	if c.Ref.Kind == merge.Relationship && c.Verb == merge.Create {
		needed = append(needed, endsOf(c)...)
	}
	for _, ref := range needed {
		if ref == (merge.Ref{}) {
			continue
		}
		rows, err := s.trip.journal.ChangesOf(ctx, ref)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.Verb == merge.Create && row.Field == "" && row.State.Held() {
				return &ref, nil
			}
		}
	}
	return nil, nil
}

// endsOf reads the ends of a relationship's content.
func endsOf(c journal.Change) []merge.Ref {
	var ends []merge.Ref
	for _, field := range []string{merge.FieldFrom, merge.FieldTo} {
		if ref, ok := parseEnd(c.Content[field]); ok {
			ends = append(ends, ref)
		}
	}
	return ends
}

// parseEnd reads one end of a relationship's canonical content, such as trackedEntity.UID.
func parseEnd(end string) (merge.Ref, bool) {
	kind, uid, ok := strings.Cut(end, ".")
	return merge.Ref{Kind: merge.Kind(kind), UID: uid}, ok
}

// markSent notes in the journal what is about to be sent, with its content and who made it, before it is.
func (s *sender) markSent(ctx context.Context, v *view, open []journal.Change) error {
	now := s.now()
	return s.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for _, c := range open {
			c.State = journal.Sent
			if err := tx.Put(c); err != nil {
				return err
			}
			made := journal.Authorship{Ref: c.Ref, Field: c.Field, Verb: c.Verb, Made: v.local.made(c.Change), Sent: now}
			if err := tx.SetAuthorship(made); err != nil {
				return err
			}
		}
		return nil
	})
}

// verify reads central back and settles every change that was sent, then writes down what was held for its files.
func (s *sender) verify(ctx context.Context, before *view, objects []objectChanges, held []heldFile, a *answer) error {
	expected := expectation{}
	for r, record := range before.records {
		expected[r] = record.Taken.Objects
	}
	after, err := read(ctx, s.central, before.roots, expected, before.local.faces)
	if err != nil {
		return atServer(ctx, Central, s.central.BaseURL(), err)
	}
	v := &view{roots: before.roots, local: before.local, central: after, records: before.records}
	err = s.trip.journal.Together(ctx, func() error {
		rows, err := rowsUnder(ctx, s.trip.journal, before.roots)
		if err != nil {
			return err
		}
		for _, r := range before.roots {
			if err := s.verifyRoot(ctx, before, v, r, rows[r], objects, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.files.hold(ctx, v, held)
}

// verifyRoot settles what was sent of one root.
func (s *sender) verifyRoot(ctx context.Context, before, after *view, r root, rows []journal.Change, objects []objectChanges, a *answer) error {
	record := before.records[r]
	record.Central = after.central.faces[r]
	if err := s.settleWith(ctx, after, r, record, rows, a); err != nil {
		return err
	}
	notes := overtaken(objectsOf(objects, r, before), before.central, after.central, r)
	if len(notes) == 0 {
		return nil
	}
	return s.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for _, note := range notes {
			if err := tx.Note(note, s.run); err != nil {
				return err
			}
		}
		return nil
	})
}

// objectsOf are those of the objects that belong to one root.
func objectsOf(objects []objectChanges, r root, v *view) []objectChanges {
	var own []objectChanges
	for _, o := range objects {
		if _, there := v.records[r].Local.Objects[o.ref]; there {
			own = append(own, o)
		}
	}
	return own
}

func (c *comparison) importOptions(strategy dhis2api.ImportStrategy) dhis2api.ImportOptions {
	// Messages to patients and staff were sent, or not, on the day; they are sent again from base only when asked for.
	return dhis2api.ImportOptions{Strategy: strategy, AtomicMode: dhis2api.AtomicObject, SkipSideEffects: !c.sideEffects}
}

// store creates and updates tracker objects, then moves owners.
func (s *sender) store(ctx context.Context, v *view, objects []objectChanges) (*answer, error) {
	report, err := s.central.Import(ctx, upserts(objects, v.local, v.central), s.importOptions(dhis2api.ImportStrategyCreateAndUpdate))
	if err != nil {
		return nil, err
	}
	a := answerOf(report, objects)
	return a, s.moveOwners(ctx, objects, a)
}

// ownerProgram is the program of an owner's field.
func ownerProgram(field string) (string, bool) { return strings.CutPrefix(field, merge.OwnerPrefix) }

// moveOwners transfers people whose owner changed on the kit: no import does that (DHIS2 2.41 to 2.43).
func (s *sender) moveOwners(ctx context.Context, objects []objectChanges, a *answer) error {
	for _, o := range objects {
		for _, c := range o.changes {
			program, isOwner := ownerProgram(c.Field)
			if !isOwner || c.Local == "" {
				continue
			}
			err := s.central.TransferOwnership(ctx, o.ref.UID, program, c.Local)
			switch {
			case refusedWhole(err) || forbidden(err):
				a.refusals[o.ref] = refusedAll([]objectChanges{o}, err).refusals[o.ref]
			case err != nil:
				return err
			}
		}
	}
	return nil
}

// remove deletes tracker objects. That central has deleted one already is no error: the read-back shows it.
func (s *sender) remove(ctx context.Context, _ *view, objects []objectChanges) (*answer, error) {
	report, err := s.central.Import(ctx, deletions(objects), s.importOptions(dhis2api.ImportStrategyDelete))
	if err != nil {
		return nil, err
	}
	return answerOf(report, objects), nil
}
