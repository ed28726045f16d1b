package orchestrator

import (
	"context"
	"errors"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// SnapshotVerification says how the files of a snapshot are.
type SnapshotVerification struct {
	Trip string `json:"trip"`
	// Files and Bytes count what was read.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Read tells that every file was decrypted, unpacked, and its JSON counted. Without it, for want of a key, sizes and
	// SHA-256 sums were compared, and NoKey says what was tried.
	Read  bool   `json:"read"`
	NoKey string `json:"noKey,omitempty"`
	// Damaged are the files that are not what was written.
	Damaged []DamagedPart `json:"damaged"`
	// Missing are the faces that are not finished.
	Missing []snapshot.Face `json:"missing"`
}

// DamagedPart is a file that is not what was written.
type DamagedPart struct {
	// Part is the file below the trip's snapshot folder.
	Part   string `json:"part"`
	Reason string `json:"reason"`
	Hint   string `json:"hint"`
}

// VerifySnapshot reads every file of a trip's snapshot, of the latest one's when the trip is empty. It goes on behind
// damage: that is in the result. Errors as of Snapshot.
func (k *Kit) VerifySnapshot(ctx context.Context, trip string) (*SnapshotVerification, error) {
	t, err := k.namedTrip(ctx, trip)
	if err != nil {
		return nil, err
	}
	v, err := t.verify(ctx, k.keyOptions(), k.options.Progress)
	return v, errors.Join(err, t.close())
}

func (t *trip) verify(ctx context.Context, options snapshot.KeyOptions, progress Progress) (*SnapshotVerification, error) {
	v := &SnapshotVerification{Trip: t.id, Read: true, Damaged: []DamagedPart{}, Missing: []snapshot.Face{}}
	s, err := t.openSnapshot(options)
	if err == nil {
		err = wrongKey(s.CheckKeys())
	}
	if errors.Is(err, ErrWrongKey) {
		v.Read, v.NoKey = false, err.Error()
		s, err = snapshot.Open(t.snapshotDir(), nil)
	}
	if s == nil {
		return nil, err
	}
	var total int64
	for _, face := range []snapshot.Face{snapshot.Taken, snapshot.Loaded} {
		info := s.Manifest().Faces[face]
		if info == nil {
			v.Missing = append(v.Missing, face)
			continue
		}
		for _, part := range info.Parts {
			total += part.Bytes
		}
	}
	progress.Step("verifying the snapshot of trip " + t.id)
	err = s.VerifyEach(ctx, func(part snapshot.Part, damage error) error {
		v.Files++
		v.Bytes += part.Bytes
		progress.Count("bytes", v.Bytes, total)
		if damage != nil {
			v.Damaged = append(v.Damaged, DamagedPart{Part: part.Name, Reason: damage.Error(), Hint: Hint(damage)})
		}
		return nil
	})
	return v, err
}
