package orchestrator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// planWriter writes plan.jsonl while the records are looked at. The file appears whole or not at all. A nil one writes nothing.
type planWriter struct {
	file     *renameio.PendingFile
	buffer   *bufio.Writer
	lines    *json.Encoder
	snapshot *snapshot.Snapshot
	// labels are what people call fields; nil before the first is named.
	labels map[string]string
	// hashAt is where in the file the journal's hash has its place.
	hashAt int64
}

// journalHashDigits is how long the journal's hash is.
const journalHashDigits = 64

// newPlanWriter begins a plan.
func newPlanWriter(c *comparison, kit string) (*planWriter, error) {
	file, err := renameio.NewPendingFile(c.trip.file(planName), renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return nil, cannotPlan(err)
	}
	w := &planWriter{file: file, buffer: bufio.NewWriter(file), snapshot: c.taken.snapshot}
	w.lines = json.NewEncoder(w.buffer)
	w.lines.SetEscapeHTML(false)
	header := planHeader{
		Format: PlanFormat, Kit: kit, Trip: c.trip.id, Central: c.taken.snapshot.Manifest().Central().SystemID, Run: c.run,
		JournalHash: strings.Repeat("0", journalHashDigits), // until it is known
	}
	if err := w.lines.Encode(header); err != nil {
		w.discard()
		return nil, cannotPlan(err)
	}
	w.hashAt = int64(w.buffer.Buffered() - len("\"}\n") - journalHashDigits)
	return w, nil
}

// add writes the operations of a view.
func (w *planWriter) add(v *view) error {
	if w == nil {
		return nil
	}
	for _, r := range v.roots {
		for _, o := range operationsOf(r, v.records[r], v.changes[r]) {
			if err := w.label(o); err != nil {
				return err
			}
			if err := w.lines.Encode(o); err != nil {
				return cannotPlan(err)
			}
		}
	}
	return nil
}

func (w *planWriter) label(o *operation) error {
	if len(o.Fields) == 0 {
		return nil
	}
	if w.labels == nil {
		labels, err := fieldLabels(w.snapshot)
		if err != nil {
			return err
		}
		w.labels = labels
	}
	for i := range o.Fields {
		named := o.Fields[i].Field
		if o.Kind == merge.DataValue {
			named, _, _ = strings.Cut(o.UID, ".")
		}
		o.Fields[i].Label = w.labels[named]
	}
	return nil
}

// finish puts the plan in its place, with the journal's hash.
func (w *planWriter) finish(journalHash string) error {
	if w == nil {
		return nil
	}
	if err := w.buffer.Flush(); err != nil {
		return cannotPlan(err)
	}
	if _, err := w.file.WriteAt([]byte(journalHash), w.hashAt); err != nil {
		return cannotPlan(err)
	}
	if err := w.file.CloseAtomicallyReplace(); err != nil {
		return cannotPlan(err)
	}
	return nil
}

// discard removes what was not finished.
func (w *planWriter) discard() {
	if w != nil {
		_ = w.file.Cleanup() // only removes the temporary file when something failed before
	}
}

func cannotPlan(err error) error { return fmt.Errorf("cannot write the plan: %w", err) }
