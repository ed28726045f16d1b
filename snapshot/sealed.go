package snapshot

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"filippo.io/age"
	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
)

// Sealed is a file of its own that only its keys open, compressed (zstd) and encrypted (age). What is written to it is
// under its name, 0600 and durable, once Commit has returned nil, and nothing is before.
type Sealed struct {
	pending *renameio.PendingFile
	sum     hash.Hash
	sealed  io.WriteCloser
	packed  *zstd.Encoder
}

// CreateSealed begins a sealed file. It is encrypted for the recipients, else for the passphrase, else for the identities
// of FIELDKIT_IDENTITY_FILE or the default one, as a snapshot is, but lies alone: whoever has the key needs nothing
// beside it. The error is a WrongKeyError where there is no key. Abandon is to be called in any case.
func CreateSealed(path string, o KeyOptions) (*Sealed, error) {
	recipients, err := sealingRecipients(o)
	if err != nil {
		return nil, err
	}
	pending, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600), renameio.IgnoreUmask())
	if err != nil {
		return nil, err
	}
	s := &Sealed{pending: pending, sum: sha256.New()}
	if s.sealed, err = age.Encrypt(io.MultiWriter(pending, s.sum), recipients...); err == nil {
		s.packed, err = zstd.NewWriter(s.sealed, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	}
	if err != nil {
		return nil, errors.Join(err, pending.Cleanup())
	}
	return s, nil
}

func sealingRecipients(o KeyOptions) ([]age.Recipient, error) {
	if len(o.Recipients) > 0 {
		return ParseRecipients(o.Recipients)
	}
	if passphrase := o.Getenv("FIELDKIT_PASSPHRASE"); passphrase != "" && o.Getenv("FIELDKIT_IDENTITY_FILE") == "" {
		recipient, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return nil, err
		}
		if o.work > 0 {
			recipient.SetWorkFactor(o.work)
		}
		return []age.Recipient{recipient}, nil
	}
	keys, err := ReadingKeys("", o)
	if err != nil {
		return nil, err
	}
	return recipientsOf(keys.identities[:keys.first])
}

// Write writes what is to be sealed.
func (s *Sealed) Write(b []byte) (int, error) { return s.packed.Write(b) }

// Commit makes the file appear, and returns the SHA-256 of what is on the disk, in hexadecimal.
func (s *Sealed) Commit() (string, error) {
	if err := errors.Join(s.packed.Close(), s.sealed.Close()); err != nil {
		return "", err
	}
	return hex.EncodeToString(s.sum.Sum(nil)), s.pending.CloseAtomicallyReplace()
}

// Abandon removes what was not committed. After Commit it does nothing.
func (s *Sealed) Abandon() { _ = s.pending.Cleanup() }

// OpenSealed opens a sealed file. The error is fs.ErrNotExist, a WrongKeyError where no key at hand opens it, else a
// DamagedError, also from Read: what was read until then is authentic, but not all.
func OpenSealed(path string, o KeyOptions) (io.ReadCloser, error) {
	var identities []age.Identity
	keys, err := ReadingKeys("", o)
	var wrong *WrongKeyError
	if err != nil && !errors.As(err, &wrong) {
		return nil, err
	}
	tried := []string{"no key"}
	if keys != nil {
		identities, tried = keys.identities, keys.tried
	}
	if passphrase := o.Getenv("FIELDKIT_PASSPHRASE"); passphrase != "" {
		identity, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, err
		}
		identities, tried = append(identities, identity), append(tried, "FIELDKIT_PASSPHRASE")
	}
	if len(identities) == 0 {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(bufio.NewReader(file), identities...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		err = &WrongKeyError{Part: path, Reason: fmt.Sprintf("none of %v opens it", tried)}
	case err != nil:
		err = &DamagedError{Part: path, Reason: "it is not a sealed file, or its head is damaged", Err: err}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	unpacked, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &sealedReader{path: path, file: file, unpacked: unpacked}, nil
}

type sealedReader struct {
	path     string
	file     *os.File
	unpacked *zstd.Decoder
}

func (r *sealedReader) Read(b []byte) (int, error) {
	n, err := r.unpacked.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &DamagedError{Part: r.path, Reason: "it does not decrypt and unpack to its end", Err: err}
	}
	return n, err
}

func (r *sealedReader) Close() error {
	r.unpacked.Close()
	return r.file.Close()
}
