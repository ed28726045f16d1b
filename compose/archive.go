package compose

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
)

// ArchivedImage is one image in a directory of saved images: an element of its images.json.
type ArchivedImage struct {
	Reference    string   `json:"reference"`
	ID           string   `json:"id"`
	Architecture string   `json:"architecture"`
	Layers       []string `json:"layers"` // digests of the unpacked layers
	File         string   `json:"file"`   // in the same directory
	Bytes        int64    `json:"bytes"`  // the file's length
	SHA256       string   `json:"sha256"` // of the file, hexadecimal
}

// same tells whether an image of an engine is the archived one. Engines that keep images in different ways
// give the same one different ids, never different layers.
func (a ArchivedImage) same(image Image) bool {
	return a.Architecture == image.Architecture &&
		(a.ID == image.ID || len(a.Layers) > 0 && slices.Equal(a.Layers, image.layers))
}

const (
	archiveIndex  = "images.json"
	archiveSuffix = ".tar.zst"
)

// SaveImages writes images of the engine into dir, which is made when it is missing: one file NAME.tar.zst
// an image, and images.json, which is written last. Images that are there already and whole are not written
// again; other saved images that the directory holds are removed. Files appear whole or not at all. An image
// that the engine lacks is ErrNoImage, before anything is written.
func SaveImages(ctx context.Context, engine *Engine, dir string, references ...string) error {
	references = slices.Compact(slices.Sorted(slices.Values(references)))
	images := make([]Image, len(references))
	for i, reference := range references {
		var err error
		if images[i], err = engine.Image(ctx, reference); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory for images: %w", err)
	}
	var index []ArchivedImage
	for _, image := range images {
		archived, err := verifyImage(dir, image.Reference)
		if err != nil || !archived.same(image) {
			if archived, err = saveImage(ctx, engine, dir, image); err != nil {
				return fmt.Errorf("saving the image %s: %w", image.Reference, err)
			}
		}
		index = append(index, archived)
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, archiveIndex), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", archiveIndex, err)
	}
	return removeOthers(dir, index)
}

// removeOthers removes saved images that the index does not name.
func removeOthers(dir string, index []ArchivedImage) error {
	found, err := filepath.Glob(filepath.Join(dir, "*"+archiveSuffix))
	if err != nil {
		return err
	}
	for _, path := range found {
		if slices.ContainsFunc(index, func(archived ArchivedImage) bool { return archived.File == filepath.Base(path) }) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing an image that is no longer needed: %w", err)
		}
	}
	return nil
}

// saveImage writes one image. It is asked for by reference, so that the archive knows that too.
func saveImage(ctx context.Context, engine *Engine, dir string, image Image) (ArchivedImage, error) {
	archived := ArchivedImage{Reference: image.Reference, ID: image.ID, Architecture: image.Architecture, Layers: image.layers, File: archiveName(image.Reference)}
	out, err := renameio.NewPendingFile(filepath.Join(dir, archived.File), renameio.WithPermissions(0o644))
	if err != nil {
		return archived, err
	}
	defer out.Cleanup() //nolint:errcheck // only removes the temporary file when something failed before
	stream, err := engine.docker.save(ctx, image.Reference)
	if err != nil {
		return archived, err
	}
	defer stream.Close()
	sum := sha256.New()
	count := &countingWriter{w: io.MultiWriter(out, sum)}
	packed, err := zstd.NewWriter(count)
	if err != nil {
		return archived, err
	}
	if _, err := io.Copy(packed, stream); err != nil {
		return archived, errors.Join(err, packed.Close())
	}
	if err := packed.Close(); err != nil {
		return archived, err
	}
	archived.Bytes, archived.SHA256 = count.n, hex.EncodeToString(sum.Sum(nil))
	return archived, out.CloseAtomicallyReplace()
}

// archiveName makes a file's name of a reference, e.g. "postgis-postgis-15-3.3.tar.zst".
func archiveName(reference string) string {
	return strings.NewReplacer("/", "-", ":", "-", "@", "-").Replace(reference) + archiveSuffix
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(data []byte) (int, error) {
	n, err := c.w.Write(data)
	c.n += int64(n)
	return n, err
}

// VerifyImages reads every byte of the files of these images and compares them with images.json. An image
// that is not there, a file that is missing, cut short or altered is an *ArchiveError.
func VerifyImages(dir string, references ...string) ([]ArchivedImage, error) {
	verified := make([]ArchivedImage, 0, len(references))
	for _, reference := range references {
		archived, err := verifyImage(dir, reference)
		if err != nil {
			return nil, err
		}
		verified = append(verified, archived)
	}
	return verified, nil
}

// verifyImage finds an image in the index and compares its file with what that says.
func verifyImage(dir, reference string) (ArchivedImage, error) {
	path := filepath.Join(dir, archiveIndex)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ArchivedImage{}, &ArchiveError{File: path, Why: "is not there: no images were saved"}
	}
	if err != nil {
		return ArchivedImage{}, &ArchiveError{File: path, Why: "cannot be read", Err: err}
	}
	var index []ArchivedImage
	if err := json.Unmarshal(data, &index); err != nil {
		return ArchivedImage{}, &ArchiveError{File: path, Why: "is altered", Err: err}
	}
	at := slices.IndexFunc(index, func(archived ArchivedImage) bool { return archived.Reference == reference })
	if at < 0 {
		return ArchivedImage{}, &ArchiveError{File: path, Why: "does not list " + reference}
	}
	archived := index[at]
	if archived.File != filepath.Base(archived.File) {
		return ArchivedImage{}, &ArchiveError{File: path, Why: "is altered: it names a file elsewhere"}
	}
	return archived, verifyFile(filepath.Join(dir, archived.File), archived)
}

func verifyFile(path string, archived ArchivedImage) error {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &ArchiveError{File: path, Why: "is missing"}
	}
	if err != nil {
		return &ArchiveError{File: path, Why: "cannot be read", Err: err}
	}
	defer in.Close()
	sum := sha256.New()
	length, err := io.Copy(sum, in)
	switch {
	case err != nil:
		return &ArchiveError{File: path, Why: "cannot be read", Err: err}
	case length < archived.Bytes:
		return &ArchiveError{File: path, Why: fmt.Sprintf("is cut short: %d of %d bytes", length, archived.Bytes)}
	case length != archived.Bytes || hex.EncodeToString(sum.Sum(nil)) != archived.SHA256:
		return &ArchiveError{File: path, Why: "is altered: its checksum is another"}
	}
	return nil
}

// LoadImages gives the engine the images that it does not have yet, all of them verified before the first
// is loaded. One for another architecture than the engine's, and one that is another once it is loaded, is an
// *ArchiveError too. It may be called twice: the second time nothing is read but images.json.
func LoadImages(ctx context.Context, engine *Engine, dir string, references ...string) error {
	info, err := engine.Info(ctx)
	if err != nil {
		return err
	}
	var missing []ArchivedImage
	for _, reference := range references {
		_, err := engine.Image(ctx, reference)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrNoImage) {
			return err
		}
		archived, err := verifyImage(dir, reference)
		if err != nil {
			return err
		}
		if archived.Architecture != info.Architecture {
			return &ArchiveError{File: filepath.Join(dir, archived.File), Why: fmt.Sprintf("holds an image for %s, and this machine is %s", archived.Architecture, info.Architecture)}
		}
		missing = append(missing, archived)
	}
	for _, archived := range missing {
		if err := loadImage(ctx, engine, filepath.Join(dir, archived.File), archived); err != nil {
			return err
		}
	}
	return nil
}

// loadImage gives one verified archive to the engine and looks at what that made of it.
func loadImage(ctx context.Context, engine *Engine, path string, archived ArchivedImage) error {
	in, err := os.Open(path)
	if err != nil {
		return &ArchiveError{File: path, Why: "cannot be read", Err: err}
	}
	defer in.Close()
	unpacked, err := zstd.NewReader(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return err
	}
	defer unpacked.Close()
	answer, err := engine.docker.load(ctx, unpacked)
	if err != nil {
		return fmt.Errorf("loading the image %s: %w", archived.Reference, err)
	}
	defer answer.Close()
	if err := readProgress(answer, nil); err != nil {
		return &ArchiveError{File: path, Why: "is refused by the engine", Err: err}
	}
	image, err := engine.Image(ctx, archived.Reference)
	if err != nil {
		return &ArchiveError{File: path, Why: "does not hold what " + archiveIndex + " says", Err: err}
	}
	if !archived.same(image) {
		return &ArchiveError{File: path, Why: fmt.Sprintf("holds the image %s, not %s", image.ID, archived.ID)}
	}
	return nil
}
