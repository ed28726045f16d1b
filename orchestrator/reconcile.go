package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// ReconcileOptions say how far reconcile goes.
type ReconcileOptions struct {
	// PlanOnly stops before anything is sent. Neither server is changed.
	PlanOnly bool
	// Decisions is the path of a conflicts.csv that somebody has filled in; "" when there is none. Nothing is sent,
	// and nothing recorded, as long as there is a mistake in it.
	Decisions string
	// Planned is the path of a plan that somebody has read, lines left out of it or not: nothing else is sent, and of it only
	// what is planned just so again; "" plans anew and sends everything that is open. It does not go with PlanOnly.
	Planned string
	// Who decided, for the journal and the report.
	Who string
	// Allow lets so many objects of a kind be deleted or overwritten though they are beyond the limits.
	Allow int
	// Confirm is asked before the first change is sent or dropped; nil goes on without asking. Its error ends the run.
	Confirm func(ctx context.Context, question string) error
}

// Reconcile brings the changes made on the kit home: it finds them, compares them with what central holds now,
// writes the plan, sends what only the kit changed, reads everything back, and writes the report. What both
// sides changed is held; what central refuses is held; neither keeps the rest from going.
//
// It may be called any number of times, also after a crash: what arrived is found there and not sent again. The
// error is ErrNoSnapshot without a prepared trip, ErrWrongKey when the snapshot cannot be decrypted, ErrCentral
// when central cannot be used or is not the trip's, ErrLimits when too much would be deleted, overwritten or refused,
// ErrUsage for a mistake in the decisions, the policies or the kept plan, and for a plan of another trip.
func (k *Kit) Reconcile(ctx context.Context, options ReconcileOptions) (*report.Report, error) {
	t, err := k.readyTrip(ctx)
	if err != nil {
		return nil, err
	}
	result, err := k.reconcile(ctx, t, options)
	return result, errors.Join(err, t.close())
}

func (k *Kit) reconcile(ctx context.Context, t *trip, options ReconcileOptions) (*report.Report, error) {
	c, err := k.compareTrip(ctx, t, options)
	if err != nil {
		return nil, err
	}
	started := k.options.Now()
	mode := modeReconcile
	if options.PlanOnly {
		mode = modePlan
	} else if err := k.overtake(ctx, t); err != nil {
		return nil, err
	}
	if c.run, err = t.journal.BeginRun(ctx, mode, started); err != nil {
		return nil, err
	}
	outcome, err := k.carryOut(ctx, c, options)
	if err != nil {
		ended := context.WithoutCancel(ctx)
		return nil, errors.Join(err, t.journal.EndRun(ended, c.run, "failed", k.options.Now()))
	}
	if !options.PlanOnly {
		if _, err := k.exportHeld(ctx, c, t.file(heldName), options.Who); err != nil {
			return nil, err
		}
		if err := k.writeLedger(ctx, c); err != nil {
			return nil, err
		}
	}
	result, err := k.writeReport(ctx, c, started, outcome, options.PlanOnly)
	if err != nil {
		return nil, err
	}
	if !options.PlanOnly {
		if err := k.lookedAt(ctx); err != nil {
			return nil, err
		}
	}
	return result, t.journal.EndRun(ctx, c.run, fmt.Sprintf("exit %d", result.ExitCode()), k.options.Now())
}

// outcome is what a run did beside what is in the journal.
type outcome struct {
	// sent counts the objects sent.
	sent int
	// predicted are the changes that central would refuse, when the run stopped before sending.
	predicted []journal.Change
	// drift is what changed in central's metadata and holds changes back; beyond is why a run would stop for it.
	drift  []report.Drift
	beyond error
}

// carryOut plans and then sends, or asks central what it would refuse.
func (k *Kit) carryOut(ctx context.Context, c *comparison, options ReconcileOptions) (outcome, error) {
	s := &sender{comparison: c, progress: k.options.Progress, now: k.options.Now, size: newBatchSize()}
	p, d := &prediction{sender: s}, &drifting{comparison: c}
	var plan *planWriter
	if c.kept == nil { // else there is a plan, and it stays as it was read
		var err error
		if plan, err = newPlanWriter(c, k.config.Name); err != nil {
			return outcome{}, err
		}
		defer plan.discard()
	}
	looking := func(ctx context.Context, v *view) error {
		if err := errors.Join(d.note(v), plan.add(v)); err != nil || !options.PlanOnly {
			return err
		}
		return p.ask(ctx, v)
	}
	if err := c.plan(ctx, k.options.Progress, looking); err != nil {
		return outcome{}, err
	}
	if err := c.offerSurvivors(ctx); err != nil {
		return outcome{}, err
	}
	hash, err := c.trip.journal.Hash(ctx)
	if err != nil {
		return outcome{}, err
	}
	if err := plan.finish(hash); err != nil {
		return outcome{}, err
	}
	open, err := c.openCount(ctx)
	if err != nil {
		return outcome{}, err
	}
	decided, dropped := c.decisions.counts()
	if open += decided; c.kept != nil {
		open, _ = c.kept.going()
	}
	if open+dropped == 0 {
		if options.PlanOnly {
			return outcome{}, nil
		}
		if err := c.recordDecisions(ctx, options.Who, k); err != nil {
			return outcome{}, err
		}
		return outcome{}, c.carryOutDecisions(ctx)
	}
	drift, err := d.find(ctx, s)
	if err != nil {
		return outcome{}, err
	}
	beyond := d.withinDrift(drift, options.Allow)
	if options.PlanOnly {
		predicted, err := p.refusals(ctx)
		return outcome{predicted: predicted, drift: drift, beyond: beyond}, err
	}
	if err := cmp.Or(k.withinLimits(ctx, c, options.Allow), beyond); err != nil {
		return outcome{}, err
	}
	if options.Confirm != nil {
		question := fmt.Sprintf("send %d changes to %s", open, c.central.BaseURL())
		if dropped > 0 {
			question += fmt.Sprintf(" and drop %d as decided", dropped)
		}
		if err := options.Confirm(ctx, question); err != nil {
			return outcome{}, err
		}
	}
	if err := c.recordDecisions(ctx, options.Who, k); err != nil {
		return outcome{}, err
	}
	if err := c.carryOutDecisions(ctx); err != nil {
		return outcome{}, err
	}
	err = s.send(ctx)
	return outcome{sent: s.sent, drift: drift}, err
}

// compareTrip connects both servers and puts the trip's four faces at hand.
func (k *Kit) compareTrip(ctx context.Context, t *trip, options ReconcileOptions) (*comparison, error) {
	keys, err := snapshot.ReadingKeys(t.snapshotDir(), k.keyOptions())
	if err != nil {
		return nil, wrongKey(err)
	}
	taken, err := snapshot.Open(t.snapshotDir(), keys)
	if err != nil {
		return nil, wrongKey(err)
	}
	if err := taken.CheckKeys(); err != nil {
		return nil, wrongKey(err)
	}
	decisions, err := k.decide(ctx, t, taken, options.Decisions)
	if err != nil {
		return nil, err
	}
	kept, err := k.keptPlan(t, taken, options)
	if err != nil {
		return nil, err
	}
	central, err := k.connectCentral(ctx)
	if err != nil {
		return nil, err
	}
	if err := sameServer(ctx, Central, central, taken.Manifest().Central()); err != nil {
		return nil, err
	}
	local, err := k.tripLocal(ctx, t)
	if err != nil {
		return nil, err
	}
	c, err := k.newComparison(ctx, t, taken, central, local)
	if err != nil {
		return nil, err
	}
	c.decisions, c.kept = decisions, kept
	return c, c.foretellAliases()
}

func (k *Kit) newComparison(ctx context.Context, t *trip, s *snapshot.Snapshot, central, local *dhis2api.Client) (*comparison, error) {
	identities, err := t.journal.Identities(ctx)
	if err != nil {
		return nil, err
	}
	c := &comparison{
		trip: t, scope: s.Scope(), central: central, local: local, openDatabase: k.openDatabase,
		centralForm: snapshot.CanonicalOf(central),
		localForm:   snapshot.CanonicalOf(local),
		rules:       rulesOf(s.Scope()),
		sideEffects: k.config.SideEffects, aliases: newAliases(identities),
	}
	c.files = &files{comparison: c, standing: map[string]*fileStanding{}, programs: map[string]string{}}
	c.circumstances = &circumstances{central: central, aliases: c.aliases, files: c.files}
	if c.taken, err = t.newIndex(takenIndex, s, snapshot.Taken, c.centralForm); err != nil {
		return nil, err
	}
	c.loaded, err = t.newIndex(loadedIndex, s, snapshot.Loaded, c.localForm)
	return c, err
}

// rulesOf are the rules that a scope sets: what central marked skipSynchronization never travels.
func rulesOf(scope *snapshot.Scope) merge.Rules {
	return merge.Rules{Skip: func(object merge.Object, field string) bool {
		switch object.Kind {
		case merge.TrackedEntity:
			return scope.Unsynchronized.Attribute(field)
		case merge.Event:
			return scope.Unsynchronized.DataElement(object.Fields["programStage"], field)
		}
		return false
	}}
}

// sameServer makes sure that a server is the one that the trip was made with.
func sameServer(ctx context.Context, side Side, client *dhis2api.Client, known snapshot.Server) error {
	server, err := snapshot.IdentifyServer(ctx, client)
	if err != nil {
		return atServer(ctx, side, client.BaseURL(), err)
	}
	if server.Same(known) {
		return nil
	}
	return otherServer(side, client.BaseURL(), known, server)
}

func otherServer(side Side, url string, known, server snapshot.Server) error {
	return &ServerError{
		Side: side, URL: url, Err: fmt.Errorf("this is not the server that the trip was made with: that was %s, this is %s", known, server),
		Advice: "set central.url back to the trip's server, or prepare a new trip",
	}
}

// wrongKey makes an ErrWrongKey of a snapshot that cannot be decrypted, and an ErrNoSnapshot of one that is not
// there.
func wrongKey(err error) error {
	var wrong *snapshot.WrongKeyError
	switch {
	case errors.As(err, &wrong):
		return WithHint(fmt.Errorf("%w: %w", ErrWrongKey, err), "%s", wrong.Hint())
	case errors.Is(err, snapshot.ErrNoSnapshot):
		return WithHint(fmt.Errorf("%w: %w", ErrNoSnapshot, err), "fieldkit prepare")
	}
	return err
}

// plan looks at every candidate and files its changes. each is called with every view; it may be nil.
func (c *comparison) plan(ctx context.Context, progress Progress, each func(context.Context, *view) error) error {
	roots, err := c.candidates(ctx, progress)
	if err != nil {
		return err
	}
	if len(roots) > 0 {
		progress.Step("comparing with central")
	}
	var done int64
	if c.numbers, err = newNumberProof(c.trip); err != nil {
		return err
	}
	for v, err := range c.looks(ctx, roots) {
		if err != nil {
			return err
		}
		c.numbers.note(v.loaded, v.local.faces)
		if each != nil {
			if err := each(ctx, v); err != nil {
				return err
			}
		}
		done += int64(len(v.roots))
		progress.Count("records compared", done, int64(len(roots)))
	}
	return nil
}

// openCount counts the changes that are to be sent.
func (c *comparison) openCount(ctx context.Context) (int, error) {
	counts, err := c.trip.journal.Counts(ctx)
	if err != nil {
		return 0, err
	}
	open := 0
	for _, states := range counts {
		open += states[journal.Open] + states[journal.Sent]
	}
	return open, nil
}
