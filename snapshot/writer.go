package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// About says what a face is made of.
type About struct {
	Scope   *Scope
	Server  Server
	Account string
}

// WriterOptions bend a Writer.
type WriterOptions struct {
	// Now is the clock for the manifest's times.
	Now func() time.Time
	// Traffic, unless nil, is what this run has exchanged with the server so far, for the receipt of the take.
	Traffic func() dhis2api.Traffic
	// disk replaces the real one in tests.
	disk disk
}

// Writer writes one face of a snapshot, over as many runs as it takes. It is for one goroutine.
type Writer struct {
	directory string
	face      Face
	keys      *Keys
	now       func() time.Time
	disk      disk
	opening   opening
	manifest  *Manifest
	streams   map[string]receipt
	// history are all receipts in their order.
	history []receipt
	parts   []Part
	// traffic is nil where nobody counts; counted is what the receipts of this run have of it.
	traffic  func() dhis2api.Traffic
	counted  dhis2api.Traffic
	numbers  map[partSeries]int
	receipts file
	size     int64
	packers  []*zstd.Encoder
	// broken is the error after which the receipts cannot be relied upon by this Writer.
	broken   error
	finished bool
}

type partSeries struct {
	kind    Kind
	subject Subject
}

// OpenWriter begins a face of the snapshot in a directory (made 0700), or goes on with one that was begun:
// then the scope as first resolved is kept (see Writer.Scope) and unfinished files are removed. The loaded
// face needs the taken one finished. The caller holds whatever lock keeps a second fieldkit out.
//
// The error is MismatchError where the directory holds another scope or the face came from another server,
// ErrFinished where the face is finished, ErrNoSnapshot for a loaded face without a taken one, and
// DamagedError where a part with a receipt is not there any more.
func OpenWriter(directory string, face Face, keys *Keys, about About, o WriterOptions) (*Writer, error) {
	if o.disk == nil {
		o.disk = realDisk{}
	}
	w := &Writer{
		directory: directory, face: face, keys: keys, now: o.Now, disk: o.disk, traffic: o.Traffic,
		streams: map[string]receipt{}, numbers: map[partSeries]int{},
	}
	if err := os.MkdirAll(w.path(string(face)), 0o700); err != nil {
		return nil, err
	}
	if err := w.readManifest(about); err != nil {
		return nil, err
	}
	read, err := readReceipts(directory, face)
	if err != nil {
		return nil, err
	}
	if err := w.resume(read, about); err != nil {
		return nil, err
	}
	if err := w.openReceipts(read); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Writer) path(name string) string {
	return filepath.Join(w.directory, filepath.FromSlash(name))
}

func (w *Writer) readManifest(about About) error {
	manifest, err := ReadManifest(w.directory)
	switch {
	case errors.Is(err, ErrNoSnapshot) && w.face == Taken:
		w.manifest = &Manifest{Format: Format, Faces: map[Face]*FaceInfo{}}
		return nil
	case err != nil:
		return err
	case !manifest.Scope.Wanted.equal(about.Scope.Wanted):
		return &MismatchError{What: "scope", Stored: manifest.Scope.Wanted.String(), Wanted: about.Scope.Wanted.String()}
	case manifest.Finished(w.face):
		// The manifest is the last word; receipts beside it are what a cut in Finish left.
		err := w.disk.remove(w.path(path.Join(string(w.face), receiptsName)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := w.forgetAnswers(); err != nil {
			return err
		}
		return ErrFinished
	}
	w.manifest = manifest
	return nil
}

// resume takes over what an earlier run finished.
func (w *Writer) resume(read *receipts, about About) error {
	if read.opening == nil {
		w.opening = opening{
			Format: Format, Scope: about.Scope, Server: about.Server, Account: about.Account, StartedAt: w.now().UTC(),
		}
		if w.manifest.Scope != nil {
			w.opening.Scope = w.manifest.Scope
		}
		return removeStrays(w.disk, w.path(string(w.face)), nil)
	}
	w.opening = *read.opening
	if !w.opening.Scope.Wanted.equal(about.Scope.Wanted) {
		return &MismatchError{What: "scope", Stored: w.opening.Scope.Wanted.String(), Wanted: about.Scope.Wanted.String()}
	}
	if !w.opening.Server.Same(about.Server) {
		return &MismatchError{What: "server", Stored: w.opening.Server.String(), Wanted: about.Server.String()}
	}
	known := map[string]bool{}
	for _, r := range read.receipts {
		w.remember(r)
		for _, part := range r.Parts {
			info, err := os.Stat(w.path(part.Name))
			if err != nil || info.Size() != part.Bytes {
				return &DamagedError{Part: part.Name, Reason: "it has a receipt, but not the size in it", Err: err}
			}
			known[path.Base(part.Name)] = true
		}
	}
	return removeStrays(w.disk, w.path(string(w.face)), known)
}

func (w *Writer) remember(r receipt) {
	w.streams[r.Stream] = r
	w.history = append(w.history, r)
	w.parts = append(w.parts, r.Parts...)
	for _, part := range r.Parts {
		series := partSeries{part.Kind, part.Subject}
		w.numbers[series] = max(w.numbers[series], part.Number)
	}
}

func (w *Writer) openReceipts(read *receipts) error {
	name := w.path(path.Join(string(w.face), receiptsName))
	var err error
	if w.receipts, err = w.disk.open(name); err != nil {
		return err
	}
	w.size = read.size
	if err = w.disk.truncate(name, read.size); err == nil && read.opening == nil {
		err = w.append(w.opening)
	}
	if err != nil {
		_ = w.receipts.Close()
		return err
	}
	return w.disk.sync(filepath.Dir(name))
}

// append makes one more line durable, or leaves the file as it was.
func (w *Writer) append(line any) error {
	content, err := json.Marshal(line)
	if err != nil {
		return err
	}
	content = append(content, '\n')
	_, err = w.receipts.Write(content)
	if err == nil {
		err = w.receipts.Sync()
	}
	if err != nil {
		name := w.path(path.Join(string(w.face), receiptsName))
		if undo := w.disk.truncate(name, w.size); undo != nil {
			w.broken = fmt.Errorf("a receipt could not be written (%w) nor taken back", err)
		}
		return err
	}
	w.size += int64(len(content))
	return nil
}

// Scope is the scope that this snapshot carries: the one given, or the one that an earlier run resolved from
// the same wishes.
func (w *Writer) Scope() *Scope { return w.opening.Scope }

// Face is the face that is written.
func (w *Writer) Face() Face { return w.face }

// Directory is the snapshot's directory.
func (w *Writer) Directory() string { return w.directory }

// Keys are the keys that the Writer encrypts with.
func (w *Writer) Keys() *Keys { return w.keys }

// Parts are the parts that are durable so far, in the order in which they were written.
func (w *Writer) Parts() []Part { return append([]Part(nil), w.parts...) }

// Cursor tells how far a stream is: the cursor of its last batch (empty for none) and whether it is done.
func (w *Writer) Cursor(stream string) (cursor string, done bool) {
	r := w.streams[stream]
	return r.Cursor, r.Done
}

// Document writes one JSON value, such as the metadata, as the part NAME.json; write is called once. A
// document that is there already is left alone and write is not called. The name must suit a file name.
func (w *Writer) Document(name string, write func(io.Writer) error) error {
	stream := "document-" + name
	if _, done := w.Cursor(stream); done {
		return nil
	}
	batch := w.Batch(stream)
	defer batch.Abandon()
	part := Part{Name: path.Join(string(w.face), name+".json"+partSuffix), Face: w.face, Kind: Document}
	p, err := batch.begin(part)
	if err != nil {
		return err
	}
	if err := write(p.packed); err != nil {
		return fmt.Errorf("cannot write %s: %w", part.Name, err)
	}
	p.part.Objects = 1
	return batch.Commit("", true)
}

// Finish closes the face: the manifest names its parts from now on, and the receipts are gone.
func (w *Writer) Finish() error {
	if w.broken != nil {
		return w.broken
	}
	for stream, r := range w.streams {
		if !r.Done {
			return fmt.Errorf("the snapshot's stream %s has no end yet", stream)
		}
	}
	w.manifest.Scope = w.opening.Scope
	w.manifest.Faces[w.face] = &FaceInfo{
		Server: w.opening.Server, Account: w.opening.Account,
		StartedAt: w.opening.StartedAt, FinishedAt: w.now().UTC(), Parts: w.parts,
		Take: takeReceipt(w.history),
	}
	content, err := encodeManifest(w.manifest)
	if err == nil {
		err = writeWhole(w.disk, w.path(manifestName), content)
	}
	if err != nil {
		delete(w.manifest.Faces, w.face)
		return fmt.Errorf("cannot write %s: %w", manifestName, err)
	}
	w.finished = true
	if err := w.Close(); err != nil {
		return err
	}
	return errors.Join(w.forgetAnswers(), w.disk.remove(w.path(path.Join(string(w.face), receiptsName))))
}

// forgetAnswers removes what was remembered while the face was unfinished; see Answers.
func (w *Writer) forgetAnswers() error {
	return os.RemoveAll(w.path(path.Join(string(w.face), answersName)))
}

// Copied tells whether something in the face came out of the snapshot before.
func (w *Writer) Copied() bool {
	return slices.ContainsFunc(w.history, func(r receipt) bool { return len(r.Copied) > 0 })
}

// Close lets go of the receipts' file; what is unfinished waits for the next OpenWriter. It may be called
// twice, and after Finish.
func (w *Writer) Close() error {
	if w.receipts == nil {
		return nil
	}
	f := w.receipts
	w.receipts = nil
	return f.Close()
}

// packer lends a compressor; their tables are worth keeping.
func (w *Writer) packer() (*zstd.Encoder, error) {
	if n := len(w.packers); n > 0 {
		packer := w.packers[n-1]
		w.packers = w.packers[:n-1]
		return packer, nil
	}
	return newPacker()
}

func (w *Writer) takeBack(packer *zstd.Encoder) {
	packer.Reset(io.Discard)
	w.packers = append(w.packers, packer)
}

// Discard removes an unfinished face, so that it can be begun with another scope or from another server. A
// finished face is left alone: the error is ErrFinished.
func Discard(directory string, face Face) error {
	manifest, err := ReadManifest(directory)
	if err != nil && !errors.Is(err, ErrNoSnapshot) {
		return err
	}
	if manifest != nil && manifest.Finished(face) {
		return ErrFinished
	}
	return os.RemoveAll(filepath.Join(directory, string(face)))
}
