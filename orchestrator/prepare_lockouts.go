package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// LockOut is a change of metadata for which the kit will refuse what tablets have not sent yet.
type LockOut = snapshot.LockOut

// factLockOuts is where the journal keeps the lock-outs that somebody accepted.
const factLockOuts = "lockOuts"

// askLockOuts names the changes since the trip before that lock tablets out, and waits for a yes. Without one
// nothing is loaded, and what was taken stays: the next prepare asks again. It asks while tablets could have
// entered something since the kit was last looked at to the end; of a DHIS2 of somebody else's that is always.
func (p *preparation) askLockOuts(ctx context.Context) error {
	found, err := p.lockOuts(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	p.receipt.LockOuts = found
	if p.stack != nil && !p.stack.record.Exposed {
		for _, lockOut := range found {
			p.warn(fmt.Errorf("what a tablet has not sent yet may be refused: %s", lockOut))
		}
		return nil
	}
	kept, err := p.trip.journal.Fact(ctx, factLockOuts)
	if err != nil {
		return err
	}
	var accepted []LockOut
	if kept != "" {
		if err := json.Unmarshal([]byte(kept), &accepted); err != nil {
			return fmt.Errorf("cannot read the lock-outs that were accepted: %w", err)
		}
	}
	if !slices.ContainsFunc(found, func(lockOut LockOut) bool { return !slices.Contains(accepted, lockOut) }) {
		return nil
	}
	if p.options.LockOuts != nil {
		if err := p.options.LockOuts(ctx, found); err != nil {
			return err
		}
	}
	noted, err := json.Marshal(found)
	if err != nil {
		return err
	}
	return p.trip.journal.SetFact(ctx, factLockOuts, string(noted))
}

// lockOuts compares what was taken with what tablets were given on the trip before.
func (p *preparation) lockOuts(ctx context.Context) ([]LockOut, error) {
	if p.elsewhere {
		return nil, nil
	}
	carried, err := p.trip.journal.Fact(ctx, factCarried)
	if err != nil || carried == carriedElsewhere {
		return nil, err
	}
	t, err := p.kit.tripBefore(ctx, p.trip.id)
	if err != nil || t == nil {
		return nil, err
	}
	found, err := p.lockOutsSince(ctx, t)
	return found, errors.Join(err, t.close())
}

func (p *preparation) lockOutsSince(ctx context.Context, t *trip) ([]LockOut, error) {
	earlier, err := p.openBefore(t)
	if err != nil {
		return nil, err
	}
	taken, err := snapshot.Open(p.trip.snapshotDir(), p.keys)
	if err != nil {
		return nil, wrongKey(err)
	}
	var faces [2]snapshot.Carried
	for i, s := range []*snapshot.Snapshot{earlier, taken} {
		metadata, err := metadataOf(s)
		if err != nil {
			return nil, err
		}
		faces[i] = snapshot.Carried{Metadata: metadata, Scope: s.Scope()}
	}
	found, err := snapshot.LockOuts(faces[0], faces[1], p.kit.options.Now())
	if err != nil {
		return nil, err
	}
	passwords, err := p.changedPasswords(ctx)
	return append(found, passwords...), err
}

// changedPasswords names the people who get another password than the one that their tablets know.
func (p *preparation) changedPasswords(ctx context.Context) ([]LockOut, error) {
	if p.people == nil {
		return nil, nil
	}
	accounts, err := p.kit.readAccounts()
	if err != nil {
		return nil, err
	}
	server, err := snapshot.IdentifyServer(ctx, p.local)
	if err != nil || !accounts.Server.Same(server) {
		return nil, err
	}
	var found []LockOut
	for uid, known := range accounts.People {
		entry, listed := p.people.find(known.Username)
		if !listed || !known.Carried || known.Seal == "" || entry.Password == "" || opensSeal(known.Seal, entry.Password) {
			continue
		}
		found = append(found, LockOut{
			Class: "users", UID: uid, Name: known.Username, What: "gets another password", Whom: known.Name,
			Remedy: "let the tablet send first, and hand out the new card",
		})
	}
	slices.SortFunc(found, func(a, b LockOut) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}
