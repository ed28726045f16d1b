package orchestrator

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/renameio/v2"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// planHeader is the first line of a plan: the journal that it was written from.
type planHeader struct {
	Format      int    `json:"format"`
	Trip        string `json:"trip"`
	JournalHash string `json:"journalHash"`
}

// planLine is one operation of a plan: one object, one verb, and its cause.
type planLine struct {
	Number  int               `json:"number"`
	State   journal.State     `json:"state"`
	Verb    merge.Verb        `json:"verb"`
	Kind    merge.Kind        `json:"kind"`
	UID     string            `json:"uid"`
	Root    string            `json:"root"`
	Field   string            `json:"field,omitempty"`
	Base    string            `json:"base,omitempty"`
	Local   string            `json:"local,omitempty"`
	Central string            `json:"central,omitempty"`
	Content map[string]string `json:"content,omitempty"`
	Cause   string            `json:"cause"`
}

// writePlan writes plan.jsonl from the journal and from new decisions: every change that is not home, what would be
// done with it and why. The file appears whole or not at all.
func writePlan(ctx context.Context, t *trip, d *decisions) error {
	hash, err := t.journal.Hash(ctx)
	if err != nil {
		return err
	}
	file, err := renameio.NewPendingFile(t.file(planName), renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return fmt.Errorf("cannot write the plan: %w", err)
	}
	defer file.Cleanup() //nolint:errcheck // only removes the temporary file when something failed before
	w := bufio.NewWriter(file)
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	if err := lines.Encode(planHeader{Format: 1, Trip: t.id, JournalHash: hash}); err != nil {
		return fmt.Errorf("cannot write the plan: %w", err)
	}
	for c, err := range t.journal.Changes(ctx) {
		if err != nil {
			return err
		}
		if will, decided := d.foretells(c); decided {
			c = will
		}
		if c.State == journal.Pushed {
			continue
		}
		if err := lines.Encode(planLineOf(c)); err != nil {
			return fmt.Errorf("cannot write the plan: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("cannot write the plan: %w", err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("cannot write the plan: %w", err)
	}
	return nil
}

func planLineOf(c journal.Change) planLine {
	line := planLine{
		Number: c.Number, State: c.State, Verb: c.Verb, Kind: c.Ref.Kind, UID: c.UID, Root: c.Root,
		Field: c.Field, Base: c.Base, Local: c.Local, Central: c.Central, Cause: c.Reason,
	}
	if c.Verb == merge.Create || sentValue(c) != c.Local {
		line.Content = c.Content
	}
	if line.Cause == "" && c.Field != "" && c.Central != c.Base {
		line.Cause = "decided"
	}
	if line.Cause == "" {
		line.Cause = "changed on the kit alone"
	}
	return line
}
