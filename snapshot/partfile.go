package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// window is zstd's memory: larger buys little on JSON lines, and reader and writer pay for it.
const window = 1 << 20

// partFile is one part while it is written: JSON lines, zstd, age, and a temporary file.
type partFile struct {
	part Part
	// path is where the part will be; until then it is written beside it.
	path   string
	disk   disk
	file   file
	sum    hash.Hash
	sealed io.WriteCloser
	packed *zstd.Encoder
	lines  *json.Encoder
}

// newPartFile begins a part. The packer is reset and used until finish or abandon.
func newPartFile(d disk, path string, part Part, keys *Keys, packer *zstd.Encoder) (*partFile, error) {
	p := &partFile{part: part, path: path, disk: d, sum: sha256.New(), packed: packer}
	var err error
	if p.file, err = d.create(p.temporary()); err != nil {
		return nil, err
	}
	if p.sealed, err = age.Encrypt(storedWriter{p}, keys.recipients...); err != nil {
		p.abandon()
		return nil, err
	}
	p.packed.Reset(p.sealed)
	p.lines = json.NewEncoder(p.packed)
	p.lines.SetEscapeHTML(false)
	return p, nil
}

func (p *partFile) temporary() string { return p.path + temporarySuffix }

// storedWriter sees the bytes as they are stored.
type storedWriter struct{ p *partFile }

func (w storedWriter) Write(b []byte) (int, error) {
	n, err := w.p.file.Write(b)
	w.p.part.Bytes += int64(n)
	w.p.sum.Write(b[:n])
	return n, err
}

func (p *partFile) add(object any) error {
	if err := p.lines.Encode(object); err != nil {
		return err
	}
	p.part.Objects++
	return nil
}

// finish makes the content durable, still under its temporary name.
func (p *partFile) finish() error {
	if err := p.packed.Close(); err != nil {
		return err
	}
	if err := p.sealed.Close(); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	f := p.file
	p.file = nil
	if err := f.Close(); err != nil {
		return err
	}
	p.part.SHA256 = hex.EncodeToString(p.sum.Sum(nil))
	return nil
}

// abandon removes what was written. It may be called at any time before the part has its final name.
func (p *partFile) abandon() {
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
	_ = p.disk.remove(p.temporary())
}

func newPacker() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true))
}
