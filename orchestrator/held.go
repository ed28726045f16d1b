package orchestrator

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// heldName is the file of a trip's folder with what is held, so that it outlives the kit's database.
const heldName = "held.tar.zst.age"

// HeldFormat is the version of the files that hold what is held; docs/format.md describes them.
const HeldFormat = 1

// HeldExport is the first entry of such a file, held.json: where it comes from.
type HeldExport struct {
	Format      int             `json:"format"`
	Kit         string          `json:"kit"`
	Trip        string          `json:"trip"`
	Central     snapshot.Server `json:"central"`
	JournalHash string          `json:"journalHash"`
	At          time.Time       `json:"at"`
	Who         string          `json:"who,omitempty"`
}

// HeldSums is its last entry, sums.json: what is in it.
type HeldSums struct {
	Changes int `json:"changes"`
	// Records are the kit's records that the changes are of, whole.
	Records int   `json:"records"`
	Files   int   `json:"files"`
	Bytes   int64 `json:"bytes"` // of the files
	// Lacking are the uids of files that the kit does not give.
	Lacking []string `json:"lacking,omitempty"`
}

// heldChange is a line of an entry changes/NUMBER.jsonl.
type heldChange struct {
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
	// Conflict is its number in reports; 0 where it is no conflict.
	Conflict  int         `json:"conflict,omitempty"`
	Code      string      `json:"code,omitempty"`
	Hint      string      `json:"hint,omitempty"`
	OnKit     report.Edit `json:"onKit,omitzero"`
	AtCentral report.Edit `json:"atCentral,omitzero"`
}

// heldRecord is a line of an entry records/NUMBER.jsonl: a record as the kit holds it, in DHIS2's own form.
type heldRecord struct {
	Root          string                  `json:"root"`
	TrackedEntity *dhis2api.TrackedEntity `json:"trackedEntity,omitempty"`
	Event         *dhis2api.Event         `json:"event,omitempty"`
	Relationship  *dhis2api.Relationship  `json:"relationship,omitempty"`
	DataValues    []*dhis2api.DataValue   `json:"dataValues,omitempty"`
	Completions   []*dhis2api.Completion  `json:"completions,omitempty"`
}

// heldWriter writes the entries of one file.
type heldWriter struct {
	*comparison
	out  *tar.Writer
	at   time.Time
	sums HeldSums
	// numbers count the entries of each kind; lines are those of the entry that is being filled.
	numbers map[string]int
	lines   bytes.Buffer
	count   int
	// done are the files that are written.
	done map[string]bool
}

// linesAtOnce is how many lines make an entry.
const linesAtOnce = 1000

// exportHeld writes what the trip holds back to a sealed file: the changes, the kit's records that they are of, and the
// files that they name. Where nothing is held there is no such file afterwards. It returns the file's SHA-256, "" without.
func (k *Kit) exportHeld(ctx context.Context, c *comparison, path, who string) (sum string, err error) {
	counts, err := c.trip.journal.Counts(ctx)
	if err != nil {
		return "", err
	}
	held := 0
	for _, states := range counts {
		held += sumsOf(states).Held
	}
	if held == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		return "", nil
	}
	k.options.Progress.Step("keeping a copy of what is held")
	sealed, err := snapshot.CreateSealed(path, k.keyOptions())
	if err != nil {
		return "", wrongKey(err)
	}
	defer sealed.Abandon()
	w := &heldWriter{comparison: c, out: tar.NewWriter(sealed), at: k.options.Now(), numbers: map[string]int{}, done: map[string]bool{}}
	head := HeldExport{Format: HeldFormat, Kit: k.config.Name, Trip: c.trip.id, Central: c.taken.snapshot.Manifest().Central(), At: w.at, Who: who}
	if head.JournalHash, err = c.trip.journal.Hash(ctx); err != nil {
		return "", err
	}
	if err := w.write(ctx, head); err != nil {
		return "", fmt.Errorf("cannot keep a copy of what is held: %w", err)
	}
	sum, err = sealed.Commit()
	return sum, err
}

func (w *heldWriter) write(ctx context.Context, head HeldExport) error {
	if err := w.document("held.json", head); err != nil {
		return err
	}
	var roots []root
	seen := map[root]bool{}
	for c, err := range w.trip.journal.Changes(ctx, journal.Conflict, journal.Unclear, journal.Refused, journal.Waiting) {
		if err != nil {
			return err
		}
		r, err := parseRoot(c.Root)
		if err != nil {
			return err
		}
		if !seen[r] {
			seen[r] = true
			roots = append(roots, r)
		}
		shown, _, err := w.trip.journal.LastShown(ctx, c.Ref, c.Field)
		if err != nil {
			return err
		}
		line := heldChange{
			Number: c.Number, State: c.State, Verb: c.Verb, Kind: c.Ref.Kind, UID: c.UID, Root: c.Root, Field: c.Field,
			Base: c.Base, Local: c.Local, Central: c.Central, Cause: causeOf(c), Code: c.Code, Hint: c.Hint,
			OnKit: report.Edit(shown.OnKit), AtCentral: report.Edit(shown.AtCentral),
		}
		if c.Verb == merge.Create || sentValue(c) != c.Local {
			line.Content = c.Content
		}
		if c.State == journal.Conflict || c.State == journal.Unclear {
			line.Conflict = shown.Number
		}
		w.sums.Changes++
		if err := w.line("changes", line); err != nil {
			return err
		}
	}
	if err := w.flush("changes"); err != nil {
		return err
	}
	for batch := range slices.Chunk(roots, batchRoots) {
		if err := w.records(ctx, batch); err != nil {
			return err
		}
	}
	if err := w.document("sums.json", w.sums); err != nil {
		return err
	}
	return w.out.Close()
}

// records writes what the kit holds of some roots, and the files that their held changes name.
func (w *heldWriter) records(ctx context.Context, roots []root) error {
	kit, err := read(ctx, w.local, roots, nil, nil)
	if err != nil {
		return atServer(ctx, Local, w.local.BaseURL(), err)
	}
	for _, r := range roots {
		record := heldRecord{Root: r.String()}
		for _, ref := range slices.SortedFunc(maps.Keys(kit.faces[r].Objects), merge.Ref.Compare) {
			switch {
			case ref.Kind == merge.TrackedEntity:
				record.TrackedEntity = kit.persons[ref.UID]
			case ref.Kind == merge.Event && r.kind == rootEvent:
				record.Event = kit.events[ref.UID]
			case ref.Kind == merge.Relationship && r.kind == rootRelationship:
				record.Relationship = kit.relationships[ref.UID]
			case ref.Kind == merge.DataValue:
				record.DataValues = append(record.DataValues, kit.dataValues[ref.UID])
			case ref.Kind == merge.Completion:
				record.Completions = append(record.Completions, kit.completions[ref.UID])
			}
		}
		w.sums.Records++
		if err := w.line("records", record); err != nil {
			return err
		}
	}
	if err := w.flush("records"); err != nil {
		return err
	}
	rows, err := rowsUnder(ctx, w.trip.journal, roots)
	if err != nil {
		return err
	}
	for _, r := range roots {
		for _, c := range rows[r] {
			if !c.State.Held() {
				continue
			}
			named, err := w.files.named(ctx, c, kit.faces[r])
			if err != nil {
				return err
			}
			for _, value := range named {
				if err := w.file(ctx, value); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// file writes one file, once.
func (w *heldWriter) file(ctx context.Context, value fileValue) error {
	if w.done[value.file] {
		return nil
	}
	w.done[value.file] = true
	known, err := w.local.File(ctx, value.file)
	var content io.ReadCloser
	if err == nil {
		content, err = w.files.open(ctx, value)
	}
	if gone(err) {
		w.sums.Lacking = append(w.sums.Lacking, value.file)
		return nil
	}
	if err != nil {
		return atServer(ctx, Local, w.local.BaseURL(), err)
	}
	err = w.entry("files/"+value.file, known.ContentLength, io.LimitReader(content, known.ContentLength))
	w.sums.Files++
	w.sums.Bytes += known.ContentLength
	return errors.Join(err, content.Close())
}

func (w *heldWriter) document(name string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return w.entry(name, int64(len(content)), bytes.NewReader(content))
}

func (w *heldWriter) line(kind string, value any) error {
	lines := json.NewEncoder(&w.lines)
	lines.SetEscapeHTML(false)
	if err := lines.Encode(value); err != nil {
		return err
	}
	if w.count++; w.count < linesAtOnce {
		return nil
	}
	return w.flush(kind)
}

func (w *heldWriter) flush(kind string) error {
	if w.count == 0 {
		return nil
	}
	w.numbers[kind]++
	err := w.entry(fmt.Sprintf("%s/%06d.jsonl", kind, w.numbers[kind]), int64(w.lines.Len()), &w.lines)
	w.lines.Reset()
	w.count = 0
	return err
}

func (w *heldWriter) entry(name string, size int64, content io.Reader) error {
	if err := w.out.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: w.at, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.Copy(w.out, content)
	return err
}

// factExported is what was exported last to outside the kit: a heldReceipt.
const factExported = "exported"

// heldReceipt says that what is held was exported, and where to.
type heldReceipt struct {
	Path, SHA256, JournalHash, Who string
	At                             time.Time
}

// ExportHeldOptions say where to, and who does it.
type ExportHeldOptions struct{ To, Who string }

// HeldFile is what a file with held changes says of itself.
type HeldFile struct {
	Path   string     `json:"path"`
	SHA256 string     `json:"sha256"`
	From   HeldExport `json:"from"`
	Sums   HeldSums   `json:"sums"`
}

// ExportHeld writes what the latest trip holds back to a file of its own, encrypted as the snapshot is: the changes with
// their base, the kit's records, the files. It reads the file back, and notes in the journal where it lies and its
// checksum: with nothing left open, the kit's data may then be deleted. It may be called again.
//
// The error is ErrNoSnapshot where nothing was prepared, an ErrUsage where nothing is held or the file would be within
// the kit, which it has to outlive.
func (k *Kit) ExportHeld(ctx context.Context, options ExportHeldOptions) (*HeldFile, error) {
	to, err := filepath.Abs(options.To)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(k.dir)
	if err != nil {
		return nil, err
	}
	if within, err := filepath.Rel(dir, to); err == nil && within != ".." && !strings.HasPrefix(within, ".."+string(filepath.Separator)) {
		return nil, WithHint(usagef("%s lies within the kit, which it is to outlive", to), "name a file elsewhere, best on another machine's disk")
	}
	t, err := k.readyTrip(ctx)
	if err != nil {
		return nil, err
	}
	file, err := k.exportHeldTo(ctx, t, to, options.Who)
	return file, errors.Join(err, t.close())
}

func (k *Kit) exportHeldTo(ctx context.Context, t *trip, to, who string) (*HeldFile, error) {
	c, err := k.compareTrip(ctx, t, ReconcileOptions{})
	if err != nil {
		return nil, err
	}
	sum, err := k.exportHeld(ctx, c, to, who)
	if err != nil {
		return nil, err
	}
	if sum == "" {
		return nil, usagef("nothing of trip %s is held", t.id)
	}
	file, err := ReadHeld(ctx, k.options, to, nil)
	if err != nil {
		return nil, err
	}
	receipt := heldReceipt{Path: to, SHA256: sum, JournalHash: file.From.JournalHash, Who: who, At: k.options.Now()}
	kept, err := json.Marshal(receipt)
	if err != nil {
		return nil, err
	}
	if err := t.journal.SetFact(ctx, factExported, string(kept)); err != nil {
		return nil, err
	}
	return file, t.tellExported(ctx)
}

// ReadHeld reads a file with held changes to its end, and so makes sure that it is whole; it needs no kit, only the key,
// as the options' environment and configuration directory have it. Each entry but the first and the last goes to f, by
// its name; nil reads past them. The error is an ErrUsage where there is no such file, ErrWrongKey, or ErrDamaged.
func ReadHeld(ctx context.Context, options OpenOptions, path string, f func(name string, content io.Reader) error) (*HeldFile, error) {
	sealed, err := snapshot.OpenSealed(path, snapshot.KeyOptions{Getenv: options.Getenv, ConfigDirectory: options.ConfigDirectory})
	if errors.Is(err, os.ErrNotExist) {
		return nil, usagef("there is no file %s", path)
	}
	if err != nil {
		return nil, brokenSnapshot(err)
	}
	file, err := readHeld(ctx, sealed, f)
	if err := errors.Join(err, sealed.Close()); err != nil {
		return nil, brokenSnapshot(err)
	}
	file.Path = path
	file.SHA256, err = sumOf(path)
	return file, err
}

func readHeld(ctx context.Context, sealed io.Reader, f func(name string, content io.Reader) error) (*HeldFile, error) {
	file := &HeldFile{}
	entries := tar.NewReader(sealed)
	whole := false
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, &snapshot.DamagedError{Part: "of what is held", Reason: "it is no archive", Err: err}
		}
		switch {
		case entry.Name == "held.json":
			err = json.NewDecoder(entries).Decode(&file.From)
		case entry.Name == "sums.json":
			whole = true
			err = json.NewDecoder(entries).Decode(&file.Sums)
		case f != nil:
			err = f(entry.Name, entries)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case file.From.Format > HeldFormat:
		return nil, usagef("it was written in format %d, and this fieldkit knows up to %d", file.From.Format, HeldFormat)
	case !whole:
		return nil, &snapshot.DamagedError{Part: "of what is held", Reason: "its end is missing"}
	}
	// What follows is padding; reading it to its end checks the last of the encryption.
	_, err := io.Copy(io.Discard, sealed)
	return file, err
}

func sumOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	return hex.EncodeToString(sum.Sum(nil)), errors.Join(err, file.Close())
}

// exported is the file outside of the kit in which all that the trip has not brought home lies; nil where there is none:
// nothing is open, the journal stands as it did when the file was written, and the file is as it was then.
func (t *trip) exported(ctx context.Context) (*report.Export, error) {
	kept, err := t.journal.Fact(ctx, factExported)
	if err != nil || kept == "" {
		return nil, err
	}
	var receipt heldReceipt
	if err := json.Unmarshal([]byte(kept), &receipt); err != nil {
		return nil, fmt.Errorf("cannot read the receipt of what was exported: %w", err)
	}
	counts, err := t.journal.Counts(ctx)
	if err != nil {
		return nil, err
	}
	for _, states := range counts {
		if states[journal.Open]+states[journal.Sent] > 0 {
			return nil, nil
		}
	}
	hash, err := t.journal.Hash(ctx)
	if err != nil || hash != receipt.JournalHash {
		return nil, err
	}
	if sum, err := sumOf(receipt.Path); err != nil || sum != receipt.SHA256 {
		return nil, nil //nolint:nilerr // a disk that is not at hand keeps nothing safe
	}
	return &report.Export{Path: receipt.Path, SHA256: receipt.SHA256, By: receipt.Who, At: receipt.At}, nil
}

// tellExported says in the trip's last report, where it still is true, where else all that is held lies.
func (t *trip) tellExported(ctx context.Context) error {
	last, err := report.Read(t.dir)
	if errors.Is(err, report.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	hash, err := t.journal.Hash(ctx)
	if err != nil || hash != last.JournalHash {
		return err
	}
	if last.Exported, err = t.exported(ctx); err != nil {
		return err
	}
	return report.Write(t.dir, last)
}
