package snapshot

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
	"path"
	"path/filepath"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// Snapshot reads a snapshot of which at least the taken face is finished. It may be used by several
// goroutines at once.
type Snapshot struct {
	directory string
	keys      *Keys
	manifest  *Manifest
}

// Open opens the snapshot in a directory. Errors as of ReadManifest; whether the keys fit shows when a part
// is read, or in CheckKeys. Without keys (nil) it is only for its manifest and for VerifyEach.
func Open(directory string, keys *Keys) (*Snapshot, error) {
	manifest, err := ReadManifest(directory)
	if err != nil {
		return nil, err
	}
	return &Snapshot{directory: directory, keys: keys, manifest: manifest}, nil
}

// Manifest is what the snapshot holds; not to be changed.
func (s *Snapshot) Manifest() *Manifest { return s.manifest }

// Scope is what the snapshot carries; not to be changed.
func (s *Snapshot) Scope() *Scope { return s.manifest.Scope }

// CheckKeys tells whether the keys open the snapshot, by its first part: WrongKeyError if not.
func (s *Snapshot) CheckKeys() error {
	parts := s.allParts()
	if len(parts) == 0 {
		return nil
	}
	r, err := openPart(s.directory, s.keys, parts[0])
	if err != nil {
		return err
	}
	return r.Close()
}

// TrackedEntities reads a part of kind TrackedEntities; errors as of Each.
func (s *Snapshot) TrackedEntities(ctx context.Context, part Part) iter.Seq2[*dhis2api.TrackedEntity, error] {
	return Each[*dhis2api.TrackedEntity](ctx, s, part)
}

// Events reads a part of kind Events; errors as of Each.
func (s *Snapshot) Events(ctx context.Context, part Part) iter.Seq2[*dhis2api.Event, error] {
	return Each[*dhis2api.Event](ctx, s, part)
}

// Relationships reads a part of kind Relationships; errors as of Each.
func (s *Snapshot) Relationships(ctx context.Context, part Part) iter.Seq2[*dhis2api.Relationship, error] {
	return Each[*dhis2api.Relationship](ctx, s, part)
}

// DataValues reads a part of kind DataValues; errors as of Each.
func (s *Snapshot) DataValues(ctx context.Context, part Part) iter.Seq2[*dhis2api.DataValue, error] {
	return Each[*dhis2api.DataValue](ctx, s, part)
}

// Completions reads a part of kind Completions; errors as of Each.
func (s *Snapshot) Completions(ctx context.Context, part Part) iter.Seq2[*dhis2api.Completion, error] {
	return Each[*dhis2api.Completion](ctx, s, part)
}

// Each reads the objects of a part one by one, in the order in which they were written, holding only one in
// memory. An error ends the sequence: DamagedError, WrongKeyError, or the context's. What was yielded before
// an error is authentic, but not all. The sequence may be run again, from the start.
func Each[T any](ctx context.Context, s *Snapshot, part Part) iter.Seq2[T, error] {
	return eachLine[T](ctx, s.directory, s.keys, part)
}

func eachLine[T any](ctx context.Context, directory string, keys *Keys, part Part) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for line, err := range eachRaw(ctx, directory, keys, part) {
			var object T
			if err == nil {
				if err = json.Unmarshal(line, &object); err != nil {
					err = &DamagedError{Part: part.Name, Reason: "what it holds is not JSON of its kind", Err: err}
				}
			}
			if !yield(object, err) || err != nil {
				return
			}
		}
	}
}

// Lines reads the objects of a part as they stand there, JSON, which begins with the object's own uid where it has one;
// otherwise as Each. A line is good until the next.
func (s *Snapshot) Lines(ctx context.Context, part Part) iter.Seq2[[]byte, error] {
	return eachRaw(ctx, s.directory, s.keys, part)
}

func eachRaw(ctx context.Context, directory string, keys *Keys, part Part) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r, err := openPart(directory, keys, part)
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() { _ = r.Close() }()
		lines := bufio.NewReaderSize(r, 1<<16)
		var long []byte
		for n := int64(0); ; n++ {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			line, err := readLine(lines, &long)
			switch {
			case errors.Is(err, io.EOF) && len(line) == 0 && n == part.Objects:
				return
			case errors.Is(err, io.EOF):
				yield(nil, &DamagedError{Part: part.Name, Reason: fmt.Sprintf("%d objects instead of %d", n, part.Objects)})
				return
			case err != nil:
				yield(nil, r.explain(err))
				return
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

// readLine reads up to the next line's end, into long where the reader's buffer is too small for it.
func readLine(r *bufio.Reader, long *[]byte) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	*long = (*long)[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		*long = append(*long, line...)
		line, err = r.ReadSlice('\n')
	}
	*long = append(*long, line...)
	return *long, err
}

// Document opens the document NAME.json of a face, such as "metadata". The error is fs.ErrNotExist where the
// face has none, or as of Each; reading it to the end gives DamagedError where it is not whole.
func (s *Snapshot) Document(face Face, name string) (io.ReadCloser, error) {
	for _, part := range s.manifest.Parts(face, Document) {
		if part.Name == path.Join(string(face), name+".json"+partSuffix) {
			return openPart(s.directory, s.keys, part)
		}
	}
	return nil, fmt.Errorf("document %s of face %s: %w", name, face, os.ErrNotExist)
}

// Verify reads every file of the snapshot to its end: sizes, SHA-256 sums, that each decrypts and unpacks,
// and that it holds JSON, as many objects as the manifest says. The first damage is the error: DamagedError or
// WrongKeyError, with the part's name; or the context's.
func (s *Snapshot) Verify(ctx context.Context) error {
	return s.VerifyEach(ctx, func(_ Part, damage error) error { return damage })
}

// VerifyEach does what Verify does and calls f with every part and what is wrong with it, nil where nothing is. It goes
// on behind damage, and ends with f's error or the context's. A snapshot that was opened without keys is looked at as it
// is stored: sizes and SHA-256 sums.
func (s *Snapshot) VerifyEach(ctx context.Context, f func(part Part, damage error) error) error {
	for _, part := range s.allParts() {
		damage := verifyPart(ctx, s.directory, s.keys, part)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(part, damage); err != nil {
			return err
		}
	}
	return nil
}

func (s *Snapshot) allParts() []Part {
	var parts []Part
	for _, face := range []Face{Taken, Loaded} {
		if info := s.manifest.Faces[face]; info != nil {
			parts = append(parts, info.Parts...)
		}
	}
	return parts
}

func verifyPart(ctx context.Context, directory string, keys *Keys, part Part) error {
	if err := verifyStored(directory, part); err != nil || keys == nil {
		return err
	}
	if part.Kind != Document {
		for _, err := range eachLine[json.RawMessage](ctx, directory, keys, part) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	r, err := openPart(directory, keys, part)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	tokens := json.NewDecoder(r)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch _, err := tokens.Token(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return r.explain(err)
		}
	}
}

// verifyStored compares a file with its size and sum in the manifest.
func verifyStored(directory string, part Part) error {
	f, err := os.Open(filepath.Join(directory, filepath.FromSlash(part.Name)))
	if err != nil {
		return &DamagedError{Part: part.Name, Reason: "it cannot be opened", Err: err}
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return &DamagedError{Part: part.Name, Reason: "it cannot be read", Err: err}
	}
	if size != part.Bytes {
		return &DamagedError{Part: part.Name, Reason: fmt.Sprintf("%d bytes instead of %d", size, part.Bytes)}
	}
	if hex.EncodeToString(sum.Sum(nil)) != part.SHA256 {
		return &DamagedError{Part: part.Name, Reason: "its SHA-256 is not the one in the manifest"}
	}
	return nil
}

// partReader is the plain content of a part.
type partReader struct {
	directory string
	keys      *Keys
	part      Part
	file      *os.File
	unpacked  *zstd.Decoder
}

func openPart(directory string, keys *Keys, part Part) (*partReader, error) {
	r := &partReader{directory: directory, keys: keys, part: part}
	var err error
	if r.file, err = os.Open(filepath.Join(directory, filepath.FromSlash(part.Name))); err != nil {
		return nil, &DamagedError{Part: part.Name, Reason: "it cannot be opened", Err: err}
	}
	plain, err := age.Decrypt(bufio.NewReaderSize(r.file, 1<<16), keys.identities...)
	if err == nil {
		r.unpacked, err = zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	}
	if err != nil {
		err = r.explain(err)
		_ = r.file.Close()
		return nil, err
	}
	return r, nil
}

func (r *partReader) Read(b []byte) (int, error) {
	n, err := r.unpacked.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.explain(err)
	}
	return n, err
}

func (r *partReader) Close() error {
	r.unpacked.Close()
	return r.file.Close()
}

// explain says why a part cannot be read. A flipped bit in the file's head looks like a wrong key, so the
// file's sum decides.
func (r *partReader) explain(err error) error {
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		return damaged
	}
	if stored := verifyStored(r.directory, r.part); stored != nil {
		return stored
	}
	var wrong *WrongKeyError
	if explained := r.keys.explain(r.part.Name, err); errors.As(explained, &wrong) {
		return wrong
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return &DamagedError{Part: r.part.Name, Reason: "what it holds is not JSON", Err: err}
	}
	return &DamagedError{Part: r.part.Name, Reason: "it does not decrypt and unpack to its end", Err: err}
}
