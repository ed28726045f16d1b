package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// The same person, under two uids: the clinic registered somebody whom central has, and central refuses the unique value that
// both hold (E1064); or central merged somebody whom the kit has into another one. Either is offered with its number. Who
// decides adopt makes the kit's uid an alias: from then on, on later trips too, the kit's person is compared with central's
// other one, and what belongs to it goes there.

// codeNotUnique is DHIS2's refusal of a unique value that somebody else holds (2.41 to 2.43). It does not say who.
const codeNotUnique = "E1064"

// circumstanceHeldBy begins the circumstance of a refusal that is shown under a number, before the uid of who holds the value.
const circumstanceHeldBy = "heldBy "

// offerOf is who a refused person may be, where one person alone holds the unique values; holders are as circumstances has them.
func offerOf(no journal.Change, holders []string) *journal.Identity {
	if no.Code != codeNotUnique || no.Verb != merge.Create || no.Ref.Kind != merge.TrackedEntity || len(holders) == 0 {
		return nil
	}
	attribute, holder, _ := strings.Cut(holders[0], " ")
	for _, other := range holders[1:] {
		if _, uid, _ := strings.Cut(other, " "); uid != holder {
			return nil
		}
	}
	return &journal.Identity{Person: no.UID, AtCentral: holder, Attribute: attribute}
}

// offerAnew ends what was offered of a person who was sent, and shows her under a number where there is an offer now; v may be
// nil without one.
func offerAnew(tx *journal.Tx, v *view, row journal.Change, offered *journal.Identity) error {
	if row.Ref.Kind != merge.TrackedEntity || row.Verb != merge.Create {
		return nil
	}
	if err := tx.EndOffer(row.UID); err != nil || offered == nil {
		return err
	}
	if err := tx.Identify(*offered); err != nil {
		return err
	}
	row.Circumstance = circumstanceHeldBy + offered.AtCentral
	return tx.Show(row, v.local.edit(row.Change), journal.Edit{})
}

// offerSurvivors asks central who the people are now that it has deleted by merging them, and that the kit has changes of.
func (c *comparison) offerSurvivors(ctx context.Context) error {
	known := map[string]journal.Identity{}
	identities, err := c.trip.journal.Identities(ctx)
	if err != nil {
		return err
	}
	for _, i := range identities {
		if !i.Adopted {
			known[i.Person] = i
		}
	}
	people := map[string][]string{} // by their uid at central, those on the kit
	// A person who was merged is deleted, and what went on to the other one is found there: that is no deletion, and not clear.
	for change, err := range c.trip.journal.Changes(ctx, journal.Conflict, journal.Unclear) {
		if err != nil {
			return err
		}
		r, err := parseRoot(change.Root)
		if err != nil {
			return err
		}
		uid := c.aliases.of(r.uid)
		if change.Circumstance == circumstanceGone && r.kind == rootPerson && !slices.Contains(people[uid], r.uid) {
			people[uid] = append(people[uid], r.uid)
		}
	}
	survivors, err := c.survivors(ctx, people)
	if err != nil || len(survivors) == 0 {
		return err
	}
	return c.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		for gone, survivor := range survivors {
			for _, person := range people[gone] {
				identity := journal.Identity{Person: person, AtCentral: survivor}
				if known[person] == identity {
					continue
				}
				if err := tx.Identify(identity); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// survivors are the people into whom central has merged others, by those. It may have merged them further.
func (c *comparison) survivors(ctx context.Context, gone map[string][]string) (map[string]string, error) {
	into := map[string]string{}
	asked := map[string]bool{}
	for ask := slices.Sorted(maps.Keys(gone)); len(ask) > 0; {
		for _, uid := range ask {
			asked[uid] = true
		}
		var next []string
		for pair, err := range c.central.PotentialDuplicates(ctx, mergedDuplicates, ask...) {
			if forbidden(err) {
				return nil, nil // the account may not look: there is nobody to offer
			}
			if err != nil {
				return nil, atServer(ctx, Central, c.central.BaseURL(), err)
			}
			if !slices.Contains(ask, pair.Duplicate) {
				continue // it is the one that stayed
			}
			if into[pair.Duplicate] = pair.Original; !asked[pair.Original] && !slices.Contains(next, pair.Original) {
				next = append(next, pair.Original)
			}
		}
		ask = next
	}
	survivors := map[string]string{}
	for uid := range gone {
		last := uid
		for range into { // at most as often as there were merges
			if further, merged := into[last]; merged {
				last = further
			}
		}
		if last != uid {
			survivors[uid] = last
		}
	}
	return survivors, nil
}

// mergedDuplicates is DHIS2's word for pairs of tracked entities of which one was merged into the other.
const mergedDuplicates = "MERGED"

// errNobodySame tells that a conflict is not about somebody who may be somebody else.
var errNobodySame = errors.New("nobody at central is known to be the same person")

// adoption reads the decision that a kit's person is the one who is offered. The error says why it cannot be that.
func (r *decisionReader) adoption(ctx context.Context, shown journal.Shown) (journal.Identity, error) {
	identities, err := r.journal.Identities(ctx)
	if err != nil {
		return journal.Identity{}, err
	}
	root, err := parseRoot(shown.Root)
	if err != nil {
		return journal.Identity{}, err
	}
	for _, i := range identities {
		ofValue := shown.Circumstance == circumstanceHeldBy+i.AtCentral
		ofMerge := shown.Circumstance == circumstanceGone && i.Attribute == ""
		if root.kind == rootPerson && i.Person == root.uid && !i.Adopted && (ofValue || ofMerge) {
			return i, nil
		}
	}
	return journal.Identity{}, errNobodySame
}

// adopted tells whether that was decided before.
func (r *decisionReader) adopted(number int) bool {
	return slices.ContainsFunc(r.given, func(d journal.Decision) bool {
		return d.Number == number && d.Choice == string(report.ChooseAdopt) && d.Outcome == journal.CarriedOut
	})
}

// adopts are the decisions among the new ones that make an alias.
func (d *decisions) adopts() []*journal.Decision {
	var all []*journal.Decision
	if d == nil || d.closed {
		return nil
	}
	for _, decision := range d.fresh {
		if decision.Choice == string(report.ChooseAdopt) {
			all = append(all, decision)
		}
	}
	return all
}

// foretellAliases lets the run look at people as new decisions will have it, without recording anything.
func (c *comparison) foretellAliases() error {
	for _, decision := range c.decisions.adopts() {
		r, err := parseRoot(decision.Root)
		if err != nil {
			return err
		}
		c.aliases.atCentral[r.uid], c.aliases.foretold[r.uid] = decision.Value, true
	}
	return nil
}

// adopt writes that the kit's person is central's other one, as was decided. With that the decision is carried out.
func (c *comparison) adopt(tx *journal.Tx, decision *journal.Decision) error {
	r, err := parseRoot(decision.Root)
	if err != nil {
		return err
	}
	alias := journal.Identity{Person: r.uid, AtCentral: decision.Value, Adopted: true, Who: decision.Who, At: decision.At, Number: decision.Number}
	if err := tx.Identify(alias); err != nil {
		return err
	}
	c.aliases.atCentral[r.uid] = decision.Value
	delete(c.aliases.foretold, r.uid)
	decision.Outcome = journal.CarriedOut
	return tx.EndDecision(decision.Ref, decision.Field, journal.CarriedOut, "")
}

// meet lets an adopted person whom the kit registered begin as central holds it: what is alike, and what is central's to say
// of somebody whom it knew, such as the org unit, is no change; a value that central lacks is one, and of two different ones
// somebody has to decide. It returns the bases of that and the end of the registration, nothing where they have met before.
func (c *comparison) meet(r root, record merge.Record) ([]merge.Base, journal.Change) {
	ref := rootRef(r)
	local, onKit := record.Local.Objects[ref]
	central, atCentral := record.Central.Objects[ref]
	if _, loaded := record.Loaded.Objects[ref]; !c.aliases.adopted(r) || loaded || !onKit || !atCentral {
		return nil, journal.Change{}
	}
	bases := []merge.Base{{Ref: ref, TakenPresent: true, LoadedPresent: true}}
	for _, field := range fieldsOf(local.Fields, central.Fields) {
		if local.Fields[field] == central.Fields[field] || !merge.IsUID(field) && central.Fields[field] != "" {
			bases = append(bases, baseOf(ref, field, local, central))
		}
	}
	return bases, journal.Change{
		Change: merge.Change{
			Ref: ref, Verb: merge.Create, Verdict: merge.AlreadyThere,
			Reason: fmt.Sprintf("adopted: at central it is trackedEntity %s", c.aliases.of(r.uid)),
		},
		Root: r.String(), State: journal.AlreadyThere, Run: c.run,
	}
}

// meetAdopted lets an adopted person begin as meet says, and writes it down, unless that is only foretold.
func (c *comparison) meetAdopted(ctx context.Context, r root, record merge.Record, rows []journal.Change) (merge.Record, []journal.Change, error) {
	bases, registered := c.meet(r, record)
	if len(bases) == 0 {
		return record, rows, nil
	}
	record = merge.Overlay(record, bases)
	if c.aliases.foretold[r.uid] {
		return record, rows, nil
	}
	rows = slices.DeleteFunc(slices.Clone(rows), func(row journal.Change) bool { return row.Ref == registered.Ref && row.Field == "" })
	return record, append(rows, registered), c.trip.journal.Update(ctx, func(tx *journal.Tx) error {
		if err := setBases(tx, bases); err != nil {
			return err
		}
		return tx.Put(registered)
	})
}

// foretellAdopted compares a person as a new decision will have it, and notes what that makes of the changes. Nothing is
// written.
func (c *comparison) foretellAdopted(ctx context.Context, v *view, r root, record merge.Record, rows []journal.Change) ([]journal.Change, error) {
	will, err := c.foretellChanges(ctx, v, r, record, rows, rows)
	if err != nil {
		return nil, err
	}
	registered := changeKey{ref: rootRef(r)}
	if before, refused := byKey(rows)[registered]; refused && before.Verb == merge.Create && before.State.Held() {
		after := before
		after.State = journal.AlreadyThere
		c.decisions.foretold[registered] = foretold{was: before, will: after}
	}
	return will, nil
}

// holdShared holds the deletion of an adopted person: on the kit it removes a second registration, and at central it would
// remove somebody whom central knew before.
func (c *comparison) holdShared(record merge.Record, changes []merge.Change) {
	for i, change := range changes {
		adopted := change.Ref.Kind == merge.TrackedEntity && c.aliases.of(change.UID) != change.UID
		if _, atCentral := record.Central.Objects[change.Ref]; adopted && atCentral && change.Verb == merge.Delete && change.Verdict == merge.Push {
			changes[i].Verdict, changes[i].Reason = merge.Conflict, reasonShared
		}
	}
}

// reasonShared is why the deletion of an adopted person does not go.
const reasonShared = "adopted: at central it is somebody whom central knew before"
