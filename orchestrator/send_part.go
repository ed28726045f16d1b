package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// maxTries is how often an object whose outcome stays unknown is sent alone before it is set aside.
const maxTries = 3

// mostSuspects is how many objects may be set aside while central answers no import at all: then it is not the objects.
const mostSuspects = 3

// part is what one request carries: what is open of some roots, or of some objects of them alone.
type part struct {
	roots []root
	// only, unless nil, are the objects that go.
	only map[merge.Ref]bool
}

// of are those of the changes that belong to the part.
func (p part) of(open []journal.Change) []journal.Change {
	if p.only == nil {
		return open
	}
	return slices.DeleteFunc(open, func(c journal.Change) bool { return !p.only[c.Ref] })
}

// halves parts what one request did not carry: the roots, or the objects of one root, parents first.
func halves(objects []objectChanges) (first, second part, err error) {
	var roots []root
	for _, o := range objects {
		r, err := parseRoot(o.changes[0].Root)
		if err != nil {
			return part{}, part{}, err
		}
		if !slices.Contains(roots, r) {
			roots = append(roots, r)
		}
	}
	if middle := len(roots) / 2; middle > 0 {
		return part{roots: roots[:middle]}, part{roots: roots[middle:]}, nil
	}
	sorted := slices.SortedStableFunc(slices.Values(objects), func(a, b objectChanges) int { return cmp.Compare(depth(a.ref.Kind), depth(b.ref.Kind)) })
	only := func(objects []objectChanges) map[merge.Ref]bool {
		refs := map[merge.Ref]bool{}
		for _, o := range objects {
			refs[o.ref] = true
		}
		return refs
	}
	middle := len(sorted) / 2
	return part{roots, only(sorted[:middle])}, part{roots, only(sorted[middle:])}, nil
}

// depth is how far below its person an object of a kind stands.
func depth(kind merge.Kind) int {
	return slices.Index([]merge.Kind{merge.TrackedEntity, merge.Enrollment, merge.Event}, kind)
}

// suspect is an object that central broke off on when it was sent alone.
type suspect struct {
	wave wave
	root root
	ref  merge.Ref
	// answered is how many requests central had answered before.
	answered int
}

// attempt is one request, what it carried and how that ended.
type attempt struct {
	view    *view
	objects []objectChanges
	held    []heldFile
	answer  *answer
	err     error // of the request; nil when nothing was open
}

// sendPart sends what is open of a part. Each request begins with a look at central: so an unknown outcome is looked at, and
// only what did not arrive is sent again. What was too much, or what central refused as a whole, is halved, in the end
// to single objects. One that central refuses alone is held; one that it breaks off on is set aside.
func (s *sender) sendPart(ctx context.Context, w wave, p part) error {
	for try := 1; ; try++ {
		a, err := s.attempt(ctx, w, p)
		if err != nil {
			return err
		}
		if a.err == nil {
			return s.settleAttempt(ctx, a)
		}
		tooMuch := brokeOff(a.err) || tooLarge(a.err)
		switch {
		case ctx.Err() != nil || !tooMuch && !refusedWhole(a.err):
			return atServer(ctx, Central, s.central.BaseURL(), a.err)
		case len(a.objects) > 1:
			return s.sendHalves(ctx, w, a, tooMuch)
		case refusedWhole(a.err):
			a.answer = refusedAll(a.objects, a.err)
			return s.settleAttempt(ctx, a)
		case try == maxTries:
			return s.setAside(ctx, w, a)
		}
	}
}

// sendHalves sends in halves what was too much, or refused, in one request.
func (s *sender) sendHalves(ctx context.Context, w wave, a *attempt, tooMuch bool) error {
	before, suspects := s.size, len(s.suspects)
	if tooMuch {
		s.size.failed(len(a.objects))
	}
	first, second, err := halves(a.objects)
	if err != nil {
		return err
	}
	if err := s.sendPart(ctx, w, first); err != nil {
		return err
	}
	if err := s.sendPart(ctx, w, second); err != nil {
		return err
	}
	if len(s.suspects) > suspects {
		s.size = before // it was one object, not their number
	}
	return nil
}

// attempt looks at a part and sends what is open of it. Its error is not that of the request.
func (s *sender) attempt(ctx context.Context, w wave, p part) (*attempt, error) {
	v, open, held, err := s.lookWithFiles(ctx, w, p)
	if err != nil {
		return nil, err
	}
	a := &attempt{view: v, objects: byObject(open), held: held}
	if len(open) == 0 {
		return a, nil
	}
	if err := s.markSent(ctx, v, open); err != nil {
		return nil, err
	}
	began := s.now()
	batch, err := s.trip.journal.BeginBatch(ctx, s.run, w.name, len(a.objects), began)
	if err != nil {
		return nil, err
	}
	s.sent += len(a.objects)
	a.answer, a.err = w.carry(ctx, v, a.objects)
	ended := s.now()
	said := "answered"
	if a.err != nil {
		said = a.err.Error()
	} else {
		s.answered++
		s.size.answered(len(a.objects), ended.Sub(began))
	}
	if err := s.trip.journal.EndBatch(ctx, batch, said, ended); err != nil {
		return nil, errors.Join(a.err, err)
	}
	return a, nil
}

// settleAttempt reads central back and settles what was sent; files that could not go hold their values.
func (s *sender) settleAttempt(ctx context.Context, a *attempt) error {
	if a.answer == nil {
		return s.files.hold(ctx, a.view, a.held)
	}
	return s.verify(ctx, a.view, a.objects, a.held, a.answer)
}

// setAside leaves for the end of the run an object that central breaks off on, or holds it when that is why it was sent
// again. That central takes others is what tells such an object from a server in trouble, which ends the run.
func (s *sender) setAside(ctx context.Context, w wave, a *attempt) error {
	switch {
	case s.resolving != nil && s.toBlame(*s.resolving, a.err):
		a.answer = brokenOff(a.objects, a.err)
		return s.settleAttempt(ctx, a)
	case s.resolving != nil || s.answered == 0 && len(s.suspects)+1 >= mostSuspects:
		advice := "run reconcile again: it looks at what arrived before it sends anything"
		return &ServerError{Side: Central, URL: s.central.BaseURL(), Err: a.err, Advice: advice}
	}
	object := a.objects[0]
	r, err := parseRoot(object.changes[0].Root)
	if err != nil {
		return err
	}
	s.suspects = append(s.suspects, suspect{wave: w, root: r, ref: object.ref, answered: s.answered})
	if s.aside == nil {
		s.aside = map[merge.Ref]bool{}
	}
	s.aside[object.ref] = object.verb == merge.Create
	return nil
}

// resolve sends once more, each alone, what central broke off on.
func (s *sender) resolve(ctx context.Context) error {
	suspects := s.suspects
	s.suspects, s.aside, s.lone = nil, nil, len(suspects) == 1
	defer func() { s.resolving = nil }()
	for _, one := range suspects {
		s.resolving = &one
		if err := s.sendPart(ctx, one.wave, part{roots: []root{one.root}, only: map[merge.Ref]bool{one.ref: true}}); err != nil {
			return err
		}
	}
	return nil
}

// toBlame tells whether it is the object on which central broke off with err, and not central that is in trouble: it has
// answered other requests since, or it is DHIS2 itself that says so, and it answered others before, or there was no other.
func (s *sender) toBlame(one suspect, err error) bool {
	var status *dhis2api.StatusError
	said := errors.As(err, &status) && status.Status == http.StatusInternalServerError && status.Body != nil
	return s.answered > one.answered || said && (s.answered > 0 || s.lone)
}

// withoutAside leaves out what is set aside, and what is created below it or tied to it.
func (s *sender) withoutAside(open []journal.Change) []journal.Change {
	if len(s.aside) == 0 {
		return open
	}
	parentsFirst := slices.SortedStableFunc(slices.Values(open), func(a, b journal.Change) int { return cmp.Compare(depth(a.Ref.Kind), depth(b.Ref.Kind)) })
	for _, c := range parentsFirst {
		needed := []merge.Ref{c.Parent}
		if c.Ref.Kind == merge.Relationship && c.Verb == merge.Create {
			needed = append(needed, endsOf(c.Content)...)
		}
		if _, aside := s.aside[c.Ref]; !aside && slices.ContainsFunc(needed, func(ref merge.Ref) bool { return s.aside[ref] }) {
			s.aside[c.Ref] = c.Verb == merge.Create
		}
	}
	return slices.DeleteFunc(open, func(c journal.Change) bool {
		_, aside := s.aside[c.Ref]
		return aside
	})
}

// brokeOff tells whether the fate of a request is not known: the line was cut, no answer came in time, or central or a
// proxy before it failed.
func brokeOff(err error) bool {
	var unknown *dhis2api.UnknownOutcomeError
	return errors.As(err, &unknown)
}

// tooLarge tells whether a request was larger than what is taken at once.
func tooLarge(err error) bool {
	var status *dhis2api.StatusError
	return errors.As(err, &status) && status.Status == http.StatusRequestEntityTooLarge
}

// askedAgain is the circumstance of a refusal that is no answer: the change is sent again in the next run.
const askedAgain = "again"

// brokenOff is the answer to objects on which central breaks off.
func brokenOff(objects []objectChanges, err error) *answer {
	no := refusal{
		state: journal.Refused, code: codeSilent, circumstance: askedAgain,
		reason: "central gives no answer when this is sent, alone, and takes others",
		hint:   "give the time of this run to central's administrator, whose log says why; it is sent again in every run",
	}
	var status *dhis2api.StatusError
	if errors.As(err, &status) {
		no.code = fmt.Sprintf("HTTP %d", status.Status)
		no.reason = "central fails when this is sent, alone, and takes others"
	}
	a := &answer{refusals: map[merge.Ref]refusal{}}
	for _, o := range objects {
		a.refusals[o.ref] = no
	}
	return a
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
