package orchestrator

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

const (
	// factMark is where the journal keeps the trip's mark.
	factMark = "mark"
	// keysName is the file with the keys of the kit's database at the mark. It holds no patient's data: uids, and
	// fingerprints of row numbers.
	keysName = "keys"
)

// tripMark is the moment from which on what is written into the kit's database counts for a trip. It lies before
// the loaded face is read, so that nothing falls between the two.
type tripMark struct {
	dhis2db.Mark
	// Unusable says why there is no mark; then everything is compared.
	Unusable string `json:"unusable,omitempty"`
	// Keys is the SHA-256 of the file of keys.
	Keys string `json:"keys,omitempty"`
	// Settled is set when the loaded face is complete. Unsettled are the roots that were written between the mark
	// and then: what is in the loaded face of them may be older than the keys, or newer.
	Settled   bool     `json:"settled"`
	Unsettled []string `json:"unsettled,omitempty"`
}

func (t *trip) mark(ctx context.Context) (tripMark, error) {
	kept, err := t.journal.Fact(ctx, factMark)
	if err != nil || kept == "" {
		return tripMark{Unusable: "the trip was prepared without looking into it"}, err
	}
	var mark tripMark
	if err := json.Unmarshal([]byte(kept), &mark); err != nil {
		return tripMark{}, fmt.Errorf("cannot read the mark of trip %s: %w", t.id, err)
	}
	return mark, nil
}

func (t *trip) setMark(ctx context.Context, mark tripMark) error {
	kept, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	return t.journal.SetFact(ctx, factMark, string(kept))
}

// forgetMark is for a loaded face that is read anew.
func (t *trip) forgetMark(ctx context.Context) error { return t.journal.SetFact(ctx, factMark, "") }

// markBeforeLoad remembers the moment before the load, so that noteMark can tell whether the load went into the
// database that fieldkit.yaml names. Without it nothing is told; why not, noteMark will hear.
func (p *preparation) markBeforeLoad(ctx context.Context) {
	_ = withDatabase(ctx, p.kit.openDatabase, func(look *dhis2db.Look) error {
		mark := look.Mark()
		p.beforeLoad = &mark
		return nil
	})
}

// checkLoaded makes sure that what was loaded is in the database, and not in another one: a copy would never change,
// and nothing would ever come home. A load that had nothing to do proves nothing.
func (p *preparation) checkLoaded(ctx context.Context, look *dhis2db.Look) error {
	var loaded int64
	for _, count := range p.receipt.Load.Counts {
		loaded += count.Loaded - count.Alike
	}
	if p.beforeLoad == nil || loaded == 0 {
		return nil
	}
	if err := p.beforeLoad.Check(look.Mark()); err != nil {
		return err
	}
	next, stop := iter.Pull2(look.Changed(ctx, *p.beforeLoad, databaseScope(p.scope)))
	defer stop()
	if _, err, some := next(); some {
		return err
	}
	return &dhis2db.CompareAllError{Reason: "what was loaded is not in it, so it is not that of " + p.local.BaseURL()}
}

// noteMark notes the mark and the keys, before the loaded face is read. A run that goes on with an interrupted one
// leaves what that noted: part of the loaded face may have been read since. A database that cannot be looked
// into is no failure: reconcile will compare everything.
func (p *preparation) noteMark(ctx context.Context) error {
	if noted, err := p.trip.journal.Fact(ctx, factMark); err != nil || noted != "" {
		return err
	}
	p.kit.options.Progress.Step("noting what is in the kit's database")
	mark := tripMark{}
	err := withDatabase(ctx, p.kit.openDatabase, func(look *dhis2db.Look) (err error) {
		if err := p.checkLoaded(ctx, look); err != nil {
			return err
		}
		mark.Mark = look.Mark()
		mark.Keys, err = writeKeys(p.trip.file(keysName), look.Keys(ctx))
		return err
	})
	if err := p.unusable(ctx, err); err != nil {
		return err
	}
	if err != nil {
		mark = tripMark{Unusable: compareAll(err).Reason}
	}
	return p.trip.setMark(ctx, mark)
}

// settleMark notes what was written while the loaded face was read.
func (p *preparation) settleMark(ctx context.Context) error {
	mark, err := p.trip.mark(ctx)
	if err != nil || mark.Unusable != "" || mark.Settled {
		return err
	}
	written := map[root]bool{}
	err = withDatabase(ctx, p.kit.openDatabase, func(look *dhis2db.Look) error {
		return eachChange(ctx, look, p.trip, mark, p.scope, func(r root, _ bool) { written[r] = true }, func(root) error { return nil })
	})
	if err := p.unusable(ctx, err); err != nil {
		return err
	}
	if err != nil {
		return p.trip.setMark(ctx, tripMark{Unusable: compareAll(err).Reason})
	}
	mark.Settled = true
	for r := range written {
		mark.Unsettled = append(mark.Unsettled, r.String())
	}
	return p.trip.setMark(ctx, mark)
}

// unusable tells of a database that could not be looked into; its own error is ctx's.
func (p *preparation) unusable(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil && compareAll(err).Reason != noDatabase {
		p.kit.options.Progress.Note("reconcile will have to compare everything: " + compareAll(err).Error())
	}
	return ctx.Err()
}

// compareAll makes any error a reason to compare everything.
func compareAll(err error) *dhis2db.CompareAllError {
	var known *dhis2db.CompareAllError
	if errors.As(err, &known) {
		return known
	}
	return &dhis2db.CompareAllError{Reason: err.Error()}
}

// withDatabase looks once into the database that open opens.
func withDatabase(ctx context.Context, open func(context.Context) (*dhis2db.Database, error), f func(*dhis2db.Look) error) error {
	database, err := open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(database.Look(ctx, f), database.Close(context.WithoutCancel(ctx)))
}

// eachChange calls found with every root that was written since the mark, or has lost rows since then, and whether
// it is in the scope now; present with every root that is there. Both may come more than once.
func eachChange(
	ctx context.Context, look *dhis2db.Look, t *trip, mark tripMark, scope *snapshot.Scope, found func(r root, inScope bool), present func(root) error,
) error {
	if err := mark.Check(look.Mark()); err != nil {
		return err
	}
	for changed, err := range look.Changed(ctx, mark.Mark, databaseScope(scope)) {
		if err != nil {
			return err
		}
		found(databaseRoot(changed.Root), changed.InScope)
	}
	there := func(key dhis2db.Key) error {
		r, err := look.Root(key)
		if err != nil {
			return err
		}
		return present(databaseRoot(r))
	}
	for lost, err := range dhis2db.CompareKeys(readKeys(t.file(keysName), mark.Keys), look.Keys(ctx), there) {
		if err != nil {
			return err
		}
		r, err := look.Root(lost.Key)
		if err != nil {
			return err
		}
		found(databaseRoot(r), false)
	}
	return nil
}

// databaseScope is the scope in the words of package dhis2db.
func databaseScope(scope *snapshot.Scope) dhis2db.Scope {
	s := dhis2db.Scope{OrgUnits: scope.Roots()}
	for _, program := range scope.Programs {
		s.Programs = append(s.Programs, program.ID)
	}
	for _, kind := range scope.TrackedEntityTypes {
		s.TrackedEntityTypes = append(s.TrackedEntityTypes, kind.ID)
	}
	for _, dataSet := range scope.DataSets {
		s.DataSets = append(s.DataSets, dataSet.ID)
	}
	return s
}

// databaseRoot is a root as package dhis2db names it: its keys are written alike.
func databaseRoot(r dhis2db.Root) root {
	kinds := map[dhis2db.Kind]rootKind{
		dhis2db.TrackedEntity: rootPerson, dhis2db.Event: rootEvent, dhis2db.Relationship: rootRelationship, dhis2db.Form: rootForm,
	}
	return root{kind: kinds[r.Kind], uid: r.Key}
}

// writeKeys writes the keys into a file, whole or not at all, one a line, and returns its SHA-256.
func writeKeys(path string, keys iter.Seq2[dhis2db.Key, error]) (sum string, err error) {
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return "", fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, file.Cleanup()) }()
	hash := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(file, hash))
	for key, err := range keys {
		if err != nil {
			return "", err
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", key.Kind, key.Name, key.Rows); err != nil {
			return "", fmt.Errorf("cannot write %s: %w", path, err)
		}
	}
	if err := errors.Join(w.Flush(), file.CloseAtomicallyReplace()); err != nil {
		return "", fmt.Errorf("cannot write %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// readKeys reads what writeKeys wrote; the last error is about a file that is not what was written.
func readKeys(path, sum string) iter.Seq2[dhis2db.Key, error] {
	return func(yield func(dhis2db.Key, error) bool) {
		file, err := os.Open(path)
		if err != nil {
			yield(dhis2db.Key{}, &dhis2db.CompareAllError{Reason: "what it held when the trip began is not known: " + err.Error()})
			return
		}
		defer file.Close() // it was only read
		hash := sha256.New()
		lines := bufio.NewScanner(io.TeeReader(file, hash))
		for lines.Scan() {
			parts := strings.Split(lines.Text(), "\t")
			if len(parts) != 3 {
				break
			}
			if !yield(dhis2db.Key{Kind: dhis2db.Kind(parts[0]), Name: parts[1], Rows: parts[2]}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(dhis2db.Key{}, fmt.Errorf("cannot read %s: %w", path, err))
			return
		}
		if hex.EncodeToString(hash.Sum(nil)) != sum {
			yield(dhis2db.Key{}, &dhis2db.CompareAllError{Reason: path + " is not what was written when the trip began"})
		}
	}
}
