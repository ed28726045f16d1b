package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// LoadOptions bend a Load; the zero value is good.
type LoadOptions struct {
	// Skip tells what to leave as it is on the target, because changes of it are still open from an earlier
	// trip: tracked entities (with all that is in them), events without registration, relationships, data
	// values and completions, by their refs. What is skipped is not in the loaded face. Nil: nothing.
	Skip func(merge.Ref) bool
	// KeepUnknown leaves values on the target that were not taken: whoever calls has removed those that have to
	// go, and what is there now came from a tablet. Without it the target's records get to hold what was taken
	// and nothing else.
	KeepUnknown bool
	// Revive tells whether an object that was deleted on the target may come back; root is the tracked entity, the
	// event without registration or the relationship that it belongs to. For that everything that was ever deleted
	// on the target is purged. Nil: what was deleted stays deleted.
	Revive func(ctx context.Context, root, object merge.Ref) (bool, error)
	// Progress is called after every batch, from one goroutine. May be nil.
	Progress func(LoadProgress)
	// Defaults maps central's default category objects to the target's own (MetadataReceipt.Defaults).
	Defaults map[string]string
	// Central gives the files and the org units that loaded objects name and the target lacks. Without it
	// values that name a file are left out, and objects at unknown org units are refused.
	Central *dhis2api.Client
	// BatchSize is the number of tracked entities an import (200 when zero), or of ten times as many of
	// anything smaller.
	BatchSize int
	// Posters is the number of imports under way at a time; 2 when zero (on two cores more is slower).
	Posters int
}

// LoadProgress says how far a load is. The counts are lines of parts: tracked entities with all that is in
// them, events without registration, data values, completions, relationships.
type LoadProgress struct {
	Kind Kind
	// Done and Total are of the kind, AllDone and AllTotal of everything.
	Done, Total       int64
	AllDone, AllTotal int64
}

// LoadReceipt says what became of the taken objects on the target.
type LoadReceipt struct {
	// Counts has an entry for each kind of object that was taken.
	Counts map[merge.Kind]*LoadCount `json:"counts"`
	// Refused are the objects that are not on the target, with the reason.
	Refused []Refusal `json:"refused,omitempty"`
	// Omitted are the values that were left out of objects that are on the target.
	Omitted []Omission `json:"omitted,omitempty"`
	// Files counts the files that values name.
	Files FileCount `json:"files,omitzero"`
	// Strict tells that the account on the target is no superuser, so that DHIS2 held history against the rules of
	// today (2.41 to 2.43 skip them for superusers alone).
	Strict bool `json:"strict,omitempty"`
}

func (r *LoadReceipt) omit(ref merge.Ref, field, reason string) {
	r.Omitted = append(r.Omitted, Omission{Kind: ref.Kind, UID: ref.UID, Field: field, Reason: reason})
}

// LoadCount counts objects of one kind.
type LoadCount struct {
	// Taken are all objects given; each is loaded, skipped, refused or deleted.
	Taken   int64 `json:"taken"`
	Loaded  int64 `json:"loaded"`
	Skipped int64 `json:"skipped,omitempty"`
	Refused int64 `json:"refused,omitempty"`
	// Deleted are tombstones.
	Deleted int64 `json:"deleted,omitempty"`
	// Relaxed are those among Loaded that the target took only without validation.
	Relaxed int64 `json:"relaxed,omitempty"`
	// Alike are those among Loaded that stood there alike, and were not sent.
	Alike int64 `json:"alike,omitempty"`
}

// Whose says whose an object is, and from where, without naming anybody.
type Whose struct {
	// Person is a tracked entity's uid; empty for what is nobody's.
	Person string `json:"person,omitempty"`
	// OrgUnit is the uid of the object's own org unit.
	OrgUnit string `json:"orgUnit,omitempty"`
	// Date is when it happened, 2026-05-04, or the period of a value.
	Date string `json:"date,omitempty"`
}

// From is the org unit and the date in brackets, to stand behind a reason; empty where neither is known.
func (w Whose) From() string {
	switch {
	case w.OrgUnit == "" && w.Date == "":
		return ""
	case w.Date == "":
		return " (org unit " + w.OrgUnit + ")"
	case w.OrgUnit == "":
		return " (" + w.Date + ")"
	}
	return " (org unit " + w.OrgUnit + ", " + w.Date + ")"
}

// Refusal is an object that the target does not have.
type Refusal struct {
	Kind merge.Kind `json:"kind"`
	UID  string     `json:"uid"`
	Whose
	// Code is DHIS2's; empty where the object was accepted, or silently dropped, and is not there.
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason"`
}

// Omission is a part of an object that was not loaded with it.
type Omission struct {
	Kind merge.Kind `json:"kind"`
	UID  string     `json:"uid"`
	Whose
	// Field as in the canonical content: an attribute's or data element's uid, assignedUser, owner.PROGRAM.
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

func (r *LoadReceipt) count(kind merge.Kind) *LoadCount {
	if r.Counts == nil {
		r.Counts = map[merge.Kind]*LoadCount{}
	}
	if r.Counts[kind] == nil {
		r.Counts[kind] = &LoadCount{}
	}
	return r.Counts[kind]
}

// add takes another receipt's content into r.
func (r *LoadReceipt) add(other *LoadReceipt) {
	for kind, more := range other.Counts {
		count := r.count(kind)
		count.Taken += more.Taken
		count.Loaded += more.Loaded
		count.Skipped += more.Skipped
		count.Refused += more.Refused
		count.Deleted += more.Deleted
		count.Relaxed += more.Relaxed
		count.Alike += more.Alike
	}
	r.Refused = append(r.Refused, other.Refused...)
	r.Omitted = append(r.Omitted, other.Omitted...)
	r.Files.add(other.Files)
}

// kindsInLoadingOrder: relationships last, when both ends are there.
func kindsInLoadingOrder() []Kind {
	return []Kind{TrackedEntities, Events, DataValues, Completions, Relationships}
}

// Load gives the target the data of a snapshot's taken face, and reads back that it is there. The metadata must
// have been loaded before. w is a writer for the loaded face, in which Load leaves a receipt for each part and
// no objects: what the loaded face holds is all that the target then has of the scope, what stood there before
// included, and Take reads that.
//
// What stands there alike is not sent. What was deleted there stays deleted unless Revive says otherwise.
//
// History is loaded as it is: side effects and program rules are off, and what the target refuses is tried
// again without validation (which DHIS2 grants to superusers only). What then is still missing is named in
// the receipt and is no error.
//
// An interrupted load goes on with the parts that are not in w yet when it is called again; loading a part
// twice changes nothing. The receipt is of this call's parts alone.
func Load(ctx context.Context, s *Snapshot, local *dhis2api.Client, w *Writer, options LoadOptions) (*LoadReceipt, error) {
	l, err := newLoader(ctx, s.Scope(), local, options)
	if err != nil {
		return nil, fmt.Errorf("look at the server: %w", err)
	}
	progress := LoadProgress{}
	for _, kind := range kindsInLoadingOrder() {
		progress.AllTotal += s.Manifest().Objects(Taken, kind)
	}
	receipt := &LoadReceipt{Strict: l.strict}
	for _, kind := range kindsInLoadingOrder() {
		progress.Kind, progress.Done, progress.Total = kind, 0, s.Manifest().Objects(Taken, kind)
		for _, part := range s.Manifest().Parts(Taken, kind) {
			advance := func(lines int) {
				progress.Done += int64(lines)
				progress.AllDone += int64(lines)
				if options.Progress != nil {
					options.Progress(progress)
				}
			}
			if err := l.loadPart(ctx, s, part, w, advance, receipt); err != nil {
				return receipt, fmt.Errorf("load %s: %w", part.Name, err)
			}
		}
	}
	slices.SortStableFunc(receipt.Refused, func(a, b Refusal) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.UID, b.UID))
	})
	return receipt, nil
}

// loadPart loads one part and writes its counterpart, unless that was done before.
func (l *loader) loadPart(ctx context.Context, s *Snapshot, part Part, w *Writer, advance func(int), receipt *LoadReceipt) error {
	stream := "load-" + part.Name
	if _, done := w.Cursor(stream); done {
		advance(int(part.Objects))
		return nil
	}
	batch := w.Batch(stream)
	defer batch.Abandon()
	ofPart := &LoadReceipt{}
	sink := loadSink{advance: advance, receipt: ofPart}
	var err error
	switch part.Kind {
	case TrackedEntities:
		err = l.loadTrackedEntities(ctx, part.Subject, s.TrackedEntities(ctx, part), sink)
	case Events:
		err = l.loadEvents(ctx, part.Subject, s.Events(ctx, part), sink)
	case Relationships:
		err = l.loadRelationships(ctx, s.Relationships(ctx, part), sink)
	case DataValues:
		err = l.loadDataValues(ctx, part.Subject, s.DataValues(ctx, part), sink)
	case Completions:
		err = l.loadCompletions(ctx, part.Subject, s.Completions(ctx, part), sink)
	case Document:
	}
	if err != nil {
		return err
	}
	receipt.add(ofPart)
	return batch.Commit("", true)
}

// loadSink is where the results of a part go, from one goroutine.
type loadSink struct {
	advance func(lines int)
	receipt *LoadReceipt
}

// loadResult is what became of one batch.
type loadResult struct {
	lines   int
	receipt LoadReceipt
}

func (sink loadSink) take(result *loadResult) error {
	sink.receipt.add(&result.receipt)
	sink.advance(result.lines)
	return nil
}

// inBatches cuts a sequence into batches, works on several at a time, and hands the results on in the
// sequence's order from the calling goroutine. What is done may wait for an earlier batch that takes longer, without
// keeping others from being worked on: so up to three times as many batches are there.
func inBatches[T any](
	ctx context.Context, source iter.Seq2[T, error], size, workers int,
	work func(context.Context, []T) (*loadResult, error), take func(*loadResult) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		result *loadResult
		err    error
	}
	queue := make(chan chan outcome, 2*workers)
	working := make(chan struct{}, workers)
	go func() {
		defer close(queue)
		batch := make([]T, 0, size)
		post := func(readError error) bool {
			ready := make(chan outcome, 1)
			select {
			case queue <- ready:
			case <-ctx.Done():
				return false
			}
			if readError != nil {
				ready <- outcome{err: readError}
				return false
			}
			select {
			case working <- struct{}{}:
			case <-ctx.Done():
				ready <- outcome{err: ctx.Err()}
				return false
			}
			go func(batch []T) {
				result, err := work(ctx, batch)
				<-working
				ready <- outcome{result, err}
			}(batch)
			batch = make([]T, 0, size)
			return true
		}
		for object, err := range source {
			if err != nil {
				post(err)
				return
			}
			batch = append(batch, object)
			if len(batch) == size && !post(nil) {
				return
			}
		}
		if len(batch) > 0 {
			post(nil)
		}
	}()
	for ready := range queue {
		done := <-ready
		if done.err != nil {
			return done.err
		}
		if err := take(done.result); err != nil {
			return err
		}
	}
	return ctx.Err()
}
