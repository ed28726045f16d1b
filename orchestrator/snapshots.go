package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// SnapshotSummary is a trip and what its snapshot holds, as the kit's disk tells without any key.
type SnapshotSummary struct {
	Trip string `json:"trip"`
	// State is preparing, ready or closed.
	State string `json:"state"`
	// Taken and Loaded are when the faces were finished; nil for one that is not.
	Taken  *time.Time `json:"taken"`
	Loaded *time.Time `json:"loaded"`
	// Central is the address that the snapshot was taken from; empty before the taken face is finished.
	Central string `json:"central"`
	// Bytes is the size of all files of the snapshot, those of an unfinished face included.
	Bytes int64 `json:"bytes"`
	// Objects counts what the taken face holds, by kind.
	Objects map[snapshot.Kind]int64 `json:"objects"`
	// Damage says why what the snapshot holds is not known; empty where it is.
	Damage string `json:"damage,omitempty"`
}

// SnapshotDetails is one snapshot, as its manifest tells. It names no patient.
type SnapshotDetails struct {
	SnapshotSummary
	Format int             `json:"format"`
	Scope  *snapshot.Scope `json:"scope"`
	// Faces are the finished ones, taken first.
	Faces []FaceDetails `json:"faces"`
	// Receipt is that of prepare; nil before it came to its end.
	Receipt *PrepareReceipt `json:"receipt"`
}

// FaceDetails is one face of a snapshot.
type FaceDetails struct {
	Face     snapshot.Face   `json:"face"`
	Server   snapshot.Server `json:"server"`
	Account  string          `json:"account"`
	Started  time.Time       `json:"started"`
	Finished time.Time       `json:"finished"`
	// Contents are the parts, those of one kind and subject together.
	Contents []Content `json:"contents"`
	// Documents are the names of what is one JSON value, such as metadata.
	Documents []Content `json:"documents"`
}

// Content is what the parts of one kind and subject hold together.
type Content struct {
	Kind snapshot.Kind `json:"kind"`
	snapshot.Subject
	// Name is the subject's, or the document's; empty for what has no subject.
	Name    string `json:"name"`
	Files   int    `json:"files"`
	Objects int64  `json:"objects"`
	// Bytes is the size as stored, compressed and encrypted.
	Bytes int64 `json:"bytes"`
}

// Snapshots lists the kit's trips with their snapshots, the latest last. It needs no key and no server, and may be
// called while another run is at work.
func (k *Kit) Snapshots(ctx context.Context) ([]SnapshotSummary, error) {
	ids, err := k.trips()
	if err != nil {
		return nil, err
	}
	all := []SnapshotSummary{}
	for _, id := range ids {
		t, err := k.begunTrip(ctx, id)
		if err != nil {
			return nil, err
		}
		if t == nil {
			continue
		}
		summary, err := t.summary()
		if err := errors.Join(err, t.close()); err != nil {
			return nil, err
		}
		all = append(all, summary)
	}
	return all, nil
}

// Snapshot describes the snapshot of a trip; of the latest one when the trip is empty. Errors: ErrUsage for a trip that
// the kit has not made, ErrNoSnapshot when there is none, ErrDamaged where the manifest is not what was written.
func (k *Kit) Snapshot(ctx context.Context, trip string) (*SnapshotDetails, error) {
	t, err := k.namedTrip(ctx, trip)
	if err != nil {
		return nil, err
	}
	details, err := t.details(ctx)
	return details, errors.Join(err, t.close())
}

// SnapshotRecords calls f with the objects of one kind, as they are stored, or with the document of that name, such as
// metadata. This is patients' data. An empty trip is the latest; the face is taken or loaded. Errors as of Snapshot, ErrUsage
// for another face and what the face does not have, and ErrWrongKey.
func (k *Kit) SnapshotRecords(ctx context.Context, trip, face, kind string, f func(json.RawMessage) error) error {
	of := snapshot.Face(face)
	if of != snapshot.Taken && of != snapshot.Loaded {
		return WithHint(usagef("a snapshot has no face %q", face), "it is taken or loaded")
	}
	t, err := k.namedTrip(ctx, trip)
	if err != nil {
		return err
	}
	return errors.Join(t.records(ctx, k.keyOptions(), of, kind, f), t.close())
}

// begunTrip opens a trip that was begun, without making anything; nil where the folder holds none.
func (k *Kit) begunTrip(ctx context.Context, id string) (*trip, error) {
	if _, err := os.Stat(filepath.Join(k.tripDir(id), journalName)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	t, err := k.openTrip(ctx, id)
	if err != nil {
		return nil, err
	}
	if t.state == "" {
		return nil, t.close()
	}
	return t, nil
}

// namedTrip opens a trip by its id; the latest when that is empty.
func (k *Kit) namedTrip(ctx context.Context, id string) (*trip, error) {
	if id == "" {
		return k.latestTrip(ctx)
	}
	ids, err := k.trips()
	if err != nil {
		return nil, err
	}
	if slices.Contains(ids, id) {
		if t, err := k.begunTrip(ctx, id); t != nil || err != nil {
			return t, err
		}
	}
	hint := "`fieldkit snapshot ls` lists the trips"
	if nearest, ok := Nearest(id, ids); ok {
		hint = "did you mean " + nearest + "?"
	}
	return nil, WithHint(usagef("the kit %s has made no trip %q", k.config.Name, id), "%s", hint)
}

// summary is what the snapshot's folder tells.
func (t *trip) summary() (SnapshotSummary, error) {
	s := SnapshotSummary{Trip: t.id, State: t.state, Objects: map[snapshot.Kind]int64{}}
	var err error
	if s.Bytes, err = sizeBelow(t.snapshotDir()); err != nil {
		return s, err
	}
	manifest, err := snapshot.ReadManifest(t.snapshotDir())
	if err != nil {
		return s.unread(err), nil
	}
	if taken := manifest.Faces[snapshot.Taken]; taken != nil {
		s.Taken, s.Central = &taken.FinishedAt, taken.Server.URL
		for _, part := range taken.Parts {
			s.Objects[part.Kind] += part.Objects
		}
	}
	if loaded := manifest.Faces[snapshot.Loaded]; loaded != nil {
		s.Loaded = &loaded.FinishedAt
	}
	return s, nil
}

// unread is the summary of a snapshot that there is not yet, or that cannot be read.
func (s SnapshotSummary) unread(why error) SnapshotSummary {
	if !errors.Is(why, snapshot.ErrNoSnapshot) {
		s.Damage = why.Error()
	}
	return s
}

// sizeBelow is the number of bytes in the files below a directory; 0 where there is none.
func sizeBelow(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				sum += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another run is at work
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot measure %s: %w", dir, err)
	}
	return sum, nil
}

func (t *trip) details(ctx context.Context) (*SnapshotDetails, error) {
	summary, err := t.summary()
	if err != nil {
		return nil, err
	}
	manifest, err := snapshot.ReadManifest(t.snapshotDir())
	if err != nil {
		return nil, brokenSnapshot(err)
	}
	d := &SnapshotDetails{SnapshotSummary: summary, Format: manifest.Format, Scope: manifest.Scope}
	for _, face := range []snapshot.Face{snapshot.Taken, snapshot.Loaded} {
		if info := manifest.Faces[face]; info != nil {
			d.Faces = append(d.Faces, faceDetails(manifest.Scope, face, info))
		}
	}
	d.Receipt, err = receiptOf(ctx, t.journal)
	return d, err
}

func faceDetails(scope *snapshot.Scope, face snapshot.Face, info *snapshot.FaceInfo) FaceDetails {
	d := FaceDetails{
		Face: face, Server: info.Server, Account: info.Account, Started: info.StartedAt, Finished: info.FinishedAt,
		Contents: []Content{}, Documents: []Content{},
	}
	for _, part := range info.Parts {
		content := Content{Kind: part.Kind, Subject: part.Subject, Name: subjectName(scope, part.Subject), Files: 1, Objects: part.Objects, Bytes: part.Bytes}
		if part.Kind == snapshot.Document {
			content.Name = documentName(part)
			d.Documents = append(d.Documents, content)
			continue
		}
		i := slices.IndexFunc(d.Contents, func(c Content) bool { return c.Kind == part.Kind && c.Subject == part.Subject })
		if i < 0 {
			d.Contents = append(d.Contents, content)
			continue
		}
		d.Contents[i].Files++
		d.Contents[i].Objects += part.Objects
		d.Contents[i].Bytes += part.Bytes
	}
	return d
}

// documentName is a document's name, such as metadata for taken/metadata.json.zst.age.
func documentName(part snapshot.Part) string {
	name, _, _ := strings.Cut(path.Base(part.Name), ".")
	return name
}

func subjectName(scope *snapshot.Scope, subject snapshot.Subject) string {
	for _, program := range scope.Programs {
		if program.ID == subject.Program {
			return program.Name
		}
	}
	for _, kind := range scope.TrackedEntityTypes {
		if kind.ID == subject.TrackedEntityType {
			return kind.Name
		}
	}
	for _, dataSet := range scope.DataSets {
		if dataSet.ID == subject.DataSet {
			return dataSet.Name
		}
	}
	return subject.UID()
}

// openSnapshot opens the trip's snapshot with the keys at hand.
func (t *trip) openSnapshot(options snapshot.KeyOptions) (*snapshot.Snapshot, error) {
	if _, err := snapshot.ReadManifest(t.snapshotDir()); err != nil {
		return nil, brokenSnapshot(err)
	}
	keys, err := snapshot.ReadingKeys(t.snapshotDir(), options)
	if err != nil {
		return nil, wrongKey(err)
	}
	s, err := snapshot.Open(t.snapshotDir(), keys)
	return s, brokenSnapshot(err)
}

func (t *trip) records(ctx context.Context, keys snapshot.KeyOptions, face snapshot.Face, kind string, f func(json.RawMessage) error) error {
	s, err := t.openSnapshot(keys)
	if err != nil {
		return err
	}
	info := s.Manifest().Faces[face]
	if info == nil {
		return usagef("the snapshot of trip %s has no face %q that is finished", t.id, face)
	}
	known := []string{
		string(snapshot.TrackedEntities), string(snapshot.Events), string(snapshot.Relationships), string(snapshot.DataValues),
		string(snapshot.Completions), string(snapshot.Beyond),
	}
	if slices.Contains(known, kind) {
		for _, part := range s.Manifest().Parts(face, snapshot.Kind(kind)) {
			if err := eachOf(snapshot.Each[json.RawMessage](ctx, s, part), f); err != nil {
				return brokenSnapshot(err)
			}
		}
		return nil
	}
	for _, part := range info.Parts {
		if part.Kind == snapshot.Document {
			known = append(known, documentName(part))
		}
	}
	r, err := s.Document(face, kind)
	if errors.Is(err, fs.ErrNotExist) {
		return WithHint(usagef("the %s face of trip %s has no %q", face, t.id, kind), "it has %s", strings.Join(known, ", "))
	}
	if err != nil {
		return brokenSnapshot(err)
	}
	content, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return brokenSnapshot(err)
	}
	return f(content)
}

// brokenSnapshot makes an ErrDamaged, ErrWrongKey or ErrNoSnapshot of what is wrong with a snapshot.
func brokenSnapshot(err error) error {
	var damaged *snapshot.DamagedError
	if errors.As(err, &damaged) {
		return WithHint(kindError{kind: ErrDamaged, message: err.Error()}, "%s", damaged.Hint())
	}
	return wrongKey(err)
}
