package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// The documents of the snapshot: the metadata, the settings, the org units that records merely name.
const (
	metadataName = "metadata"
	settingsName = "settings"
	unitsName    = "units"
)

// factReceipt is where the journal keeps the receipt of prepare.
const factReceipt = "receipt"

// PrepareOptions bend Prepare.
type PrepareOptions struct {
	// Confirm is asked before anything is loaded into a local server that is not empty; nil loads without
	// asking. Its error ends the run.
	Confirm func(ctx context.Context, question string) error
	// LockOuts is asked before anything is loaded, once central was asked for everything, when metadata changed so
	// that the kit will refuse what tablets have not sent yet, and tablets may have something to send; nil loads
	// without asking. Its error ends the run; what was taken stays.
	LockOuts func(ctx context.Context, found []LockOut) error
	// Who is whoever runs it, for the receipt.
	Who string
	// Full asks central for everything; without it what has not changed there since the trip before is copied from that.
	Full bool
}

// PrepareReceipt is what a trip left base with.
type PrepareReceipt struct {
	PrepareProof
	Trip    string          `json:"trip"`
	Central snapshot.Server `json:"central"`
	Local   snapshot.Server `json:"local"`
	Account string          `json:"account"`
	// Began and Ended are the times of the run that ended it.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// OrgUnits, Programs and DataSets are the names of what the trip carries.
	OrgUnits []string `json:"orgUnits"`
	Programs []string `json:"programs"`
	DataSets []string `json:"dataSets"`
	// Taken counts the objects taken from central, by kind.
	Taken map[snapshot.Kind]int64 `json:"taken"`
	// Take says what taking them cost, and what of them had not changed since the trip before; nil where an older
	// fieldkit took them.
	Take *snapshot.TakeReceipt `json:"take,omitempty"`
	// Metadata and Load say what became of it on the kit; Load is of the last run alone.
	Metadata *snapshot.MetadataReceipt `json:"metadata"`
	Load     *snapshot.LoadReceipt     `json:"load"`
	// Removed says what became of metadata that earlier trips brought and this one does not need.
	Removed *snapshot.MetadataRemoval `json:"removed,omitempty"`
	// LockOuts are the changes of metadata for which the kit refuses what tablets have not sent yet.
	LockOuts []LockOut `json:"lockOuts,omitempty"`
	// People says who can log in on the kit; nil where fieldkit.yaml gives nobody a password.
	People *PeopleReceipt `json:"people,omitempty"`
	// RemovedRecords counts the objects and values that the trip before had brought to the kit and this one does not carry:
	// deleted at central, moved away, or out of the scope.
	RemovedRecords int `json:"removedRecords,omitempty"`
	// Differing counts the records that the kit gives back otherwise than central gave them, Missing those
	// that it does not give back at all.
	Differing int `json:"differing"`
	Missing   int `json:"missing"`
	// Carried counts the changes of the trip before that are not home yet and travel on.
	Carried int `json:"carried"`
	// Arrived counts the changes that reached the kit while it was loaded. They travel on too.
	Arrived int `json:"arrived,omitempty"`
	// Identity is the key that was made for this kit's snapshots because there was none; nil otherwise.
	Identity *snapshot.NewIdentity `json:"identity,omitempty"`
	// Warnings are worth reading before departure.
	Warnings []string `json:"warnings,omitempty"`
	// Verified tells whether all that was taken is on the kit, alike.
	Verified bool `json:"verified"`
}

// Prepare takes the scope of fieldkit.yaml from central and loads it into local: metadata, people, values. It
// ends with both faces of the snapshot on disk and compared. Central is only read, but for the numbers that it
// is asked to set aside.
//
// A prepare that was interrupted goes on where it stopped. Changes of the trip before that are not home are
// not overwritten: they keep their base and travel on. The error is an ErrUsage for an org unit, program or
// data set that central does not know, ErrCentral when central cannot be used.
func (k *Kit) Prepare(ctx context.Context, options PrepareOptions) (*PrepareReceipt, error) {
	people, err := k.readPeople()
	if err != nil {
		return nil, err
	}
	var answers *snapshot.Answers
	central, err := k.connectCentralThrough(ctx, func(next http.RoundTripper) http.RoundTripper {
		answers = snapshot.NewAnswers(next)
		return answers
	})
	if err != nil {
		return nil, err
	}
	p := &preparation{kit: k, options: options, central: central, answers: answers, people: people, receipt: &PrepareReceipt{Began: k.options.Now()}}
	if err := p.resolve(ctx); err != nil {
		return nil, err
	}
	if err := p.reachLocal(ctx); err != nil {
		return nil, err
	}
	if strings.TrimRight(central.BaseURL(), "/") == strings.TrimRight(p.local.BaseURL(), "/") {
		return nil, WithHint(usagef("central and local are the same server: %s", central.BaseURL()), "set local.url in %s to the kit's own DHIS2", ConfigFile)
	}
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	receipt, err := p.run(ctx)
	return receipt, errors.Join(err, p.past.close(), p.trip.close())
}

// preparation is one run of prepare.
type preparation struct {
	kit            *Kit
	options        PrepareOptions
	central, local *dhis2api.Client
	// answers remembers central's while the taken face is unfinished.
	answers *snapshot.Answers
	scope   *snapshot.Scope
	trip    *trip
	// past is the trip before, nil where there is none or as long as nobody asked; taken indexes what was taken.
	past    *past
	taken   *index
	keys    *snapshot.Keys
	about   snapshot.About
	receipt *PrepareReceipt
	// stack is the kit's own containers, nil without.
	stack *stack
	// holds tells that the kit holds the data of the trip before, elsewhere that it does not and need not.
	holds, elsewhere bool
	// people are the passwords of fieldkit.yaml, nil without; accounts what became of them on the kit.
	people   *roster
	accounts *localAccounts
	// beforeLoad is the mark of the kit's database before this run's load; nil without access.
	beforeLoad *dhis2db.Mark
}

// resolve finds the scope at central.
func (p *preparation) resolve(ctx context.Context) error {
	p.kit.options.Progress.Step("finding the scope at central")
	scope, err := snapshot.ResolveScope(ctx, p.central, p.kit.config.Scope.wanted())
	var unknown *snapshot.UnknownNameError
	if errors.As(err, &unknown) {
		return WithHint(kindError{kind: ErrUsage, message: err.Error()}, "%s", unknown.Hint())
	}
	if err != nil {
		return atServer(ctx, Central, p.central.BaseURL(), err)
	}
	p.scope = scope
	server, err := snapshot.IdentifyServer(ctx, p.central)
	if err != nil {
		return atServer(ctx, Central, p.central.BaseURL(), err)
	}
	me, err := p.central.Me(ctx)
	if err != nil {
		return atServer(ctx, Central, p.central.BaseURL(), err)
	}
	p.about = snapshot.About{Scope: scope, Server: server, Account: me.Username}
	p.receipt.Central, p.receipt.Account = server, me.Username
	return nil
}

// names are the names of a selection; nil when it is everything.
func (s Selection) names() []string {
	if s.All {
		return nil
	}
	return append([]string{}, s.Names...)
}

// begin opens the trip to work on: the one that an interrupted prepare left, or a new one.
func (p *preparation) begin(ctx context.Context) error {
	latest, err := p.kit.latestTrip(ctx)
	switch {
	case errors.Is(err, ErrNoSnapshot):
		if p.trip, err = p.kit.newTrip(ctx); err != nil {
			return err
		}
		if err := p.settle(ctx); err != nil {
			return err
		}
		return p.trip.setState(ctx, tripPreparing)
	case err != nil:
		return err
	case latest.state != tripReady && latest.state != tripClosed && !p.elsewhere:
		p.trip = latest
		return p.overtaken(ctx)
	}
	if err := p.confirm(ctx, fmt.Sprintf("load central's data anew into %s", p.local.BaseURL())); err != nil {
		return errors.Join(err, latest.close())
	}
	if !p.elsewhere {
		_, err = p.openBefore(latest)
	}
	if err := errors.Join(err, latest.close()); err != nil {
		return err
	}
	if p.trip, err = p.kit.newTrip(ctx); err != nil {
		return err
	}
	if p.elsewhere {
		err = p.trip.journal.SetFact(ctx, factCarried, carriedElsewhere)
	}
	if err := errors.Join(err, p.settle(ctx)); err != nil {
		return errors.Join(err, p.trip.close())
	}
	return p.trip.setState(ctx, tripPreparing)
}

func (p *preparation) confirm(ctx context.Context, question string) error {
	if p.options.Confirm == nil {
		return nil
	}
	return p.options.Confirm(ctx, question)
}

// run takes and loads.
func (p *preparation) run(ctx context.Context) (*PrepareReceipt, error) {
	var err error
	if p.keys, p.receipt.Identity, err = snapshot.WritingKeys(p.trip.snapshotDir(), p.kit.keyOptions()); err != nil {
		return nil, wrongKey(err)
	}
	if err := p.take(ctx); err != nil {
		return nil, atServer(ctx, Central, p.central.BaseURL(), err)
	}
	if err := p.reserveNumbers(ctx); err != nil {
		return nil, atServer(ctx, Central, p.central.BaseURL(), err)
	}
	if err := p.askLockOuts(ctx); err != nil {
		return nil, atServer(ctx, Local, p.local.BaseURL(), err)
	}
	if err := p.load(ctx); err != nil {
		return nil, atServer(ctx, Local, p.local.BaseURL(), err)
	}
	if err := p.seedNumbers(ctx); err != nil {
		return nil, atServer(ctx, Local, p.local.BaseURL(), err)
	}
	if err := p.removeMetadata(ctx); err != nil {
		return nil, atServer(ctx, Local, p.local.BaseURL(), err)
	}
	if err := p.compare(ctx); err != nil {
		return nil, err
	}
	if err := p.finish(ctx); err != nil {
		return nil, err
	}
	return p.receipt, nil
}

// progress tells the kit's progress how far a stream is.
func (p *preparation) progress(verb string) func(snapshot.Progress) {
	step := ""
	return func(at snapshot.Progress) {
		if now := verb + " " + at.Name; now != step {
			step = now
			p.kit.options.Progress.Step(step)
		}
		p.kit.options.Progress.Count(string(at.Kind), at.Done, at.Total)
	}
}

func (p *preparation) warn(err error) {
	text := err.Error()
	if hint := Hint(err); hint != "" {
		text += ": " + hint
	}
	p.receipt.Warnings = append(p.receipt.Warnings, text)
	p.kit.options.Progress.Note(text)
}

// compare holds the two faces against each other.
func (p *preparation) compare(ctx context.Context) error {
	p.kit.options.Progress.Step("comparing what was taken with what was loaded")
	s, err := snapshot.Open(p.trip.snapshotDir(), p.keys)
	if err != nil {
		return wrongKey(err)
	}
	taken, err := p.indexTaken(ctx, s)
	if err != nil {
		return err
	}
	loaded, err := p.trip.readIndex(ctx, loadedIndex, s, snapshot.Loaded, snapshot.CanonicalOf(p.local))
	if err != nil {
		return wrongKey(err)
	}
	skip, err := changedRoots(ctx, p.trip.journal)
	if err != nil {
		return err
	}
	away, err := keptAway(ctx, p.trip.journal, func(person merge.Ref) bool { return skip[root{kind: rootPerson, uid: person.UID}] })
	if err != nil {
		return err
	}
	for person := range away {
		skip[root{kind: rootPerson, uid: person.UID}] = true
	}
	var ties []difference // which those may be an end of
	err = taken.against(ctx, loaded, func(d difference) error {
		if d.subject != tiesSubject && !d.empty && !skip[d.root] {
			if d.root.kind == rootRelationship && len(away) > 0 {
				ties = append(ties, d)
				return nil
			}
			p.receipt.unlike(d)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, tie := range ties {
		faces, err := taken.faces(ctx, []root{tie.root})
		if err != nil {
			return wrongKey(err)
		}
		ends := endsOf(faces[tie.root].Objects[rootRef(tie.root)].Fields)
		if !slices.ContainsFunc(ends, func(end merge.Ref) bool { return away[end] }) {
			p.receipt.unlike(tie)
		}
	}
	p.receipt.Verified = p.receipt.Missing == 0 && p.receipt.Differing == 0
	p.receipt.Taken = map[snapshot.Kind]int64{}
	for _, part := range taken.parts {
		p.receipt.Taken[part.Kind] += part.Objects
	}
	if err := p.prove(ctx, s, taken); err != nil {
		return err
	}
	return p.arrived(ctx, taken, loaded)
}

// indexTaken indexes what was taken, once a run.
func (p *preparation) indexTaken(ctx context.Context, s *snapshot.Snapshot) (*index, error) {
	if p.taken == nil {
		taken, err := p.trip.readIndex(ctx, takenIndex, s, snapshot.Taken, snapshot.CanonicalOf(p.central))
		if err != nil {
			return nil, wrongKey(err)
		}
		p.taken = taken
	}
	return p.taken, nil
}

// finish makes the trip ready and keeps the receipt in its journal.
func (p *preparation) finish(ctx context.Context) error {
	p.receipt.Trip, p.receipt.Ended = p.trip.id, p.kit.options.Now()
	p.receipt.OrgUnits, p.receipt.Programs, p.receipt.DataSets = scopeNames(p.scope)
	kept, err := json.Marshal(p.receipt)
	if err != nil {
		return err
	}
	if err := p.trip.journal.SetFact(ctx, factReceipt, string(kept)); err != nil {
		return err
	}
	if err := p.trip.keepReceipt(p.receipt); err != nil {
		return err
	}
	if err := p.loaded(); err != nil {
		return err
	}
	return p.trip.setState(ctx, tripReady)
}

// receiptOf reads the receipt of a trip's prepare.
func receiptOf(ctx context.Context, j *journal.Journal) (*PrepareReceipt, error) {
	kept, err := j.Fact(ctx, factReceipt)
	if err != nil || kept == "" {
		return nil, err
	}
	var receipt PrepareReceipt
	if err := json.Unmarshal([]byte(kept), &receipt); err != nil {
		return nil, fmt.Errorf("cannot read the receipt of prepare: %w", err)
	}
	return &receipt, nil
}
