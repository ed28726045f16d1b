package orchestrator

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/google/renameio/v2"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// receiptName is the file in a trip's folder that holds the receipt of prepare.
const receiptName = "receipt.json"

// mostNamed is how many records a receipt names; the counts are of all.
const mostNamed = 100

// PrepareProof is what makes a receipt of prepare's summary.
type PrepareProof struct {
	// Who ran it: FIELDKIT_WHO, or the user of the machine. The account at central is the receipt's Account.
	Who string `json:"who,omitempty"`
	// Fieldkit is fieldkit's version.
	Fieldkit string `json:"fieldkit,omitempty"`
	// Checksum is over the taken face's content.
	Checksum Checksum `json:"checksum"`
	// Bytes is the size of the snapshot as stored, both faces.
	Bytes int64 `json:"bytes"`
	// LeftOut says what did not come along, and why.
	LeftOut []LeftOut `json:"leftOut,omitempty"`
	// Unlike names the records that the kit gives back otherwise or not at all, at most 100: Missing and Differing count
	// them all.
	Unlike []UnlikeRecord `json:"unlike,omitempty"`
}

// Checksum is two SHA-256 sums in hexadecimal over what a face holds: the same for the same content, in whatever order it
// was taken, however it is split into files and whatever key it is encrypted with.
//
// Records is over all records of the face in the order of their names, each a line: the record's name, the uid of the
// program, tracked entity type or data set that it was taken for, and a digest of its canonical content, see
// snapshot.Canonical and merge.HashTree; the digests of a form's values are added up, each as four numbers of 32 bits.
// Metadata is snapshot.Metadata.Checksum.
type Checksum struct {
	Records  string `json:"records"`
	Metadata string `json:"metadata"`
}

// LeftOut is something that did not come along.
type LeftOut struct {
	What   string `json:"what"`
	Count  int64  `json:"count"`
	Reason string `json:"reason"`
}

// UnlikeRecord is a record that the kit gives back otherwise than central gave it. It names nobody.
type UnlikeRecord struct {
	// Kind is person, event, relationship or form.
	Kind string `json:"kind"`
	// UID is the record's; an event's is PROGRAM.EVENT, a form's DATASET.PERIOD.ORGUNIT.
	UID string `json:"uid"`
	// Missing tells that it is not there at all.
	Missing bool `json:"missing,omitempty"`
}

// unlike counts and names a record that the kit gives back otherwise.
func (r *PrepareReceipt) unlike(d difference) {
	if d.missing {
		r.Missing++
	} else {
		r.Differing++
	}
	if len(r.Unlike) < mostNamed {
		r.Unlike = append(r.Unlike, UnlikeRecord{Kind: string(d.root.kind), UID: d.root.uid, Missing: d.missing})
	}
}

// prove completes the receipt with what proves it.
func (p *preparation) prove(ctx context.Context, s *snapshot.Snapshot, taken *index) error {
	r := p.receipt
	r.Who, r.Fieldkit = p.options.Who, p.kit.options.Version
	var err error
	if r.Checksum.Records, err = taken.checksum(ctx); err != nil {
		return err
	}
	metadata, err := metadataOf(s)
	if err != nil {
		return err
	}
	if r.Checksum.Metadata, err = metadata.Checksum(); err != nil {
		return fmt.Errorf("cannot sum up the metadata: %w", err)
	}
	for _, info := range s.Manifest().Faces {
		for _, part := range info.Parts {
			r.Bytes += part.Bytes
		}
	}
	r.LeftOut = leftOut(s.Manifest(), r)
	return nil
}

// leftOut says what did not come along.
func leftOut(m *snapshot.Manifest, r *PrepareReceipt) []LeftOut {
	var all []LeftOut
	add := func(what string, count int, reason string) {
		if count > 0 {
			all = append(all, LeftOut{What: what, Count: int64(count), Reason: reason})
		}
	}
	add("tracked entities", int(m.Objects(snapshot.Taken, snapshot.Beyond)), "all their history is before "+m.Scope.Wanted.Since)
	unsynchronized := m.Scope.Unsynchronized
	add("attributes", len(unsynchronized.Attributes), "central marked them skipSynchronization")
	add("data elements of program stages", len(unsynchronized.DataElements), "central marked them skipSynchronization")
	if r.Metadata != nil {
		add("metadata objects", len(r.Metadata.Refused), "the kit refused them: metadata.refused names each and why")
	}
	if r.Load != nil {
		add("records", len(r.Load.Refused), "the kit refused them: load.refused names each and why")
		add("values", len(r.Load.Omitted), "they could not be loaded with their records: load.omitted names each and why")
	}
	return all
}

// keepReceipt writes the receipt's file.
func (t *trip) keepReceipt(receipt *PrepareReceipt) error {
	content, err := json.MarshalIndent(receipt, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(t.file(receiptName), append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot keep the receipt: %w", err)
	}
	return nil
}

// checksum sums up what the index holds; see Checksum.
func (x *index) checksum(ctx context.Context) (string, error) {
	sum := sha256.New()
	err := x.file.each(ctx, func(rows *sql.Rows) error {
		var root, subject string
		var words [4]int64
		if err := rows.Scan(&root, &subject, &words[0], &words[1], &words[2], &words[3]); err != nil {
			return err
		}
		var digest []byte
		for _, word := range words {
			digest = binary.BigEndian.AppendUint64(digest, uint64(word))
		}
		_, err := fmt.Fprintf(sum, "%s %s %x\n", root, subject, digest)
		return err
	}, `SELECT root, subject, a, b, c, d FROM `+x.name+` WHERE subject <> ? ORDER BY root, subject`, tiesSubject)
	return hex.EncodeToString(sum.Sum(nil)), err
}
