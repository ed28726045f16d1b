package orchestrator

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// ledgerName is the file of a trip's folder that says who made what went home.
const ledgerName = "ledger.jsonl.zst.age"

// LedgerFormat is the version of ledgers; docs/format.md describes them.
const LedgerFormat = 1

// LedgerHead is the first line of a ledger.
type LedgerHead struct {
	Format  int             `json:"format"`
	Kit     string          `json:"kit"`
	Trip    string          `json:"trip"`
	Central snapshot.Server `json:"central"`
	At      time.Time       `json:"at"`
}

// LedgerEntry is every other line: a change that went home, without its value.
type LedgerEntry struct {
	Kind merge.Kind `json:"kind"`
	UID  string     `json:"uid"`
	// Field is empty where the change is of the object as a whole.
	Field string     `json:"field,omitempty"`
	Verb  merge.Verb `json:"verb"`
	// OnKit is who made it and when, in the kit's time.
	OnKit report.Edit `json:"onKit"`
	// Sent is when it was sent.
	Sent time.Time `json:"sent"`
	// Answer is what became of it at central: stored, or deleted.
	Answer string `json:"answer"`
}

// The answers in a ledger.
const (
	ledgerStored  = "stored"
	ledgerDeleted = "deleted"
)

// made is who made a change and when: of a new object who stored it first, else who edited it last.
func (h *holding) made(c merge.Change) journal.Edit {
	made := h.edit(c)
	if c.Verb != merge.Create {
		if p := h.persons[c.UID]; made.By == "" && c.Ref.Kind == merge.TrackedEntity && p != nil {
			made.By = author("", p.UpdatedBy) // an attribute value names nobody whom the client did not name (DHIS2 2.42)
		}
		return made
	}
	var at, storedBy string
	switch c.Ref.Kind {
	case merge.TrackedEntity:
		if p := h.persons[c.UID]; p != nil {
			at, storedBy = p.CreatedAt, author(p.StoredBy, p.UpdatedBy)
		}
	case merge.Enrollment:
		if e := h.enrollments[c.UID]; e != nil {
			at, storedBy = e.CreatedAt, author(e.StoredBy, e.UpdatedBy)
		}
	case merge.Event:
		if e := h.events[c.UID]; e != nil {
			at, storedBy = e.CreatedAt, author(e.StoredBy, e.UpdatedBy)
		}
	case merge.Relationship:
		if r := h.relationships[c.UID]; r != nil {
			at = clientTime(r.CreatedAtClient, r.CreatedAt)
		}
	}
	if at != "" {
		made = h.editOf(at, nil, storedBy)
	}
	return made
}

// writeLedger writes the trip's ledger anew, whole or not at all. Where nothing went home there is none.
func (k *Kit) writeLedger(ctx context.Context, c *comparison) error {
	var sealed *snapshot.Sealed
	var lines *json.Encoder
	for a, err := range c.trip.journal.Authorships(ctx) {
		if err != nil {
			return err
		}
		if sealed == nil {
			k.options.Progress.Step("writing down who made what went home")
			if sealed, err = snapshot.CreateSealed(c.trip.file(ledgerName), k.keyOptions()); err != nil {
				return wrongKey(err)
			}
			defer sealed.Abandon()
			lines = json.NewEncoder(sealed)
			head := LedgerHead{Format: LedgerFormat, Kit: k.config.Name, Trip: c.trip.id, Central: c.taken.snapshot.Manifest().Central(), At: k.options.Now()}
			if err := lines.Encode(head); err != nil {
				return fmt.Errorf("cannot write the ledger: %w", err)
			}
		}
		entry := LedgerEntry{Kind: a.Ref.Kind, UID: a.UID, Field: a.Field, Verb: a.Verb, OnKit: report.Edit(a.Made), Sent: a.Sent, Answer: ledgerStored}
		if a.Verb == merge.Delete {
			entry.Answer = ledgerDeleted
		}
		if err := lines.Encode(entry); err != nil {
			return fmt.Errorf("cannot write the ledger: %w", err)
		}
	}
	if sealed == nil {
		return nil
	}
	_, err := sealed.Commit()
	return err
}

// Ledger calls f with who made what of a trip went home, in the order in which it was found; an empty trip is the latest.
// The error is ErrNoSnapshot where no trip was made, an ErrUsage for a trip that there is not, and where nothing of it went
// home; ErrWrongKey; ErrDamaged, also after some calls.
func (k *Kit) Ledger(ctx context.Context, trip string, f func(LedgerEntry) error) (*LedgerHead, error) {
	t, err := k.namedTrip(ctx, trip)
	if err != nil {
		return nil, err
	}
	path := t.file(ledgerName)
	if err := t.close(); err != nil {
		return nil, err
	}
	sealed, err := snapshot.OpenSealed(path, k.keyOptions())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, WithHint(usagef("trip %s has no ledger: nothing of it went home", t.id), "fieldkit reconcile")
	}
	if err != nil {
		return nil, brokenSnapshot(err)
	}
	head, err := readLedger(bufio.NewReader(sealed), path, f)
	return head, errors.Join(err, sealed.Close())
}

func readLedger(from *bufio.Reader, path string, f func(LedgerEntry) error) (*LedgerHead, error) {
	lines := json.NewDecoder(from)
	damaged := func(err error) error {
		var known *snapshot.DamagedError
		if !errors.As(err, &known) {
			known = &snapshot.DamagedError{Part: path, Reason: "it is no ledger", Err: err}
		}
		return brokenSnapshot(known)
	}
	head := &LedgerHead{}
	if err := lines.Decode(head); err != nil {
		return nil, damaged(err)
	}
	if head.Format > LedgerFormat {
		return nil, usagef("it was written in format %d, and this fieldkit knows up to %d", head.Format, LedgerFormat)
	}
	for lines.More() {
		var entry LedgerEntry
		if err := lines.Decode(&entry); err != nil {
			return nil, damaged(err)
		}
		if err := f(entry); err != nil {
			return nil, err
		}
	}
	// More hides why it ended: what is left shows it.
	if _, err := lines.Token(); !errors.Is(err, io.EOF) {
		return nil, damaged(err)
	}
	return head, nil
}
