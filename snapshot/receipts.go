package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

const receiptsName = "parts.jsonl"

// opening is the first line of a face's receipts.
type opening struct {
	Format    int       `json:"format"`
	Scope     *Scope    `json:"scope"`
	Server    Server    `json:"server"`
	Account   string    `json:"account"`
	StartedAt time.Time `json:"startedAt"`
}

// receipt is every further line: a batch that is durable.
type receipt struct {
	Stream string `json:"stream"`
	// Cursor is where the stream goes on.
	Cursor string `json:"cursor,omitempty"`
	// Done: the stream has no more.
	Done  bool   `json:"done,omitempty"`
	Parts []Part `json:"parts,omitempty"`
	// Copied counts the objects in the parts that came out of the snapshot before.
	Copied map[Kind]int64 `json:"copied,omitempty"`
	// Traffic is what was exchanged with the server since this run's last receipt; nil where nobody counts.
	Traffic *dhis2api.Traffic `json:"traffic,omitempty"`
	// For is the stream that was copied for, Whole the bytes that it cost when it was last read whole, 0 where that is
	// not known.
	For   string `json:"for,omitempty"`
	Whole int64  `json:"whole,omitempty"`
}

// receipts are the lines of one unfinished face.
type receipts struct {
	opening  *opening
	receipts []receipt
	// size is the length of the whole lines; what follows was torn by a crash.
	size int64
}

// readReceipts reads the receipts of a face; the opening is nil where there are none.
func readReceipts(directory string, face Face) (*receipts, error) {
	name := path.Join(string(face), receiptsName)
	content, err := os.ReadFile(filepath.Join(directory, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return &receipts{}, nil
	}
	if err != nil {
		return nil, err
	}
	read := &receipts{size: int64(bytes.LastIndexByte(content, '\n') + 1)}
	for line := range bytes.Lines(content[:read.size]) {
		if read.opening == nil {
			read.opening = &opening{}
			err = json.Unmarshal(line, read.opening)
		} else {
			var r receipt
			err = json.Unmarshal(line, &r)
			read.receipts = append(read.receipts, r)
		}
		if err != nil {
			return nil, &DamagedError{Part: name, Reason: "a receipt is not JSON", Err: err}
		}
	}
	if o := read.opening; o != nil && (o.Format != Format || o.Scope == nil) {
		return nil, &DamagedError{Part: name, Reason: "its first line does not open a face of a known format"}
	}
	return read, nil
}
