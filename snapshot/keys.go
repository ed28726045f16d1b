package snapshot

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

const (
	keyName      = "key.age"
	identityName = "identity.txt"
	ageIntro     = "age-encryption.org/v1"

	// passphraseWork is age's own default: about a second, paid once a run and not once a part.
	passphraseWork = 18
)

// KeyOptions say where keys come from.
type KeyOptions struct {
	// Recipients are the public keys of fieldkit.yaml (age1...).
	Recipients []string
	// Getenv reads FIELDKIT_IDENTITY_FILE and FIELDKIT_PASSPHRASE.
	Getenv func(string) string
	// ConfigDirectory holds the default identity; usually os.UserConfigDir() with "fieldkit" below.
	ConfigDirectory string
	// work is the logarithm of the passphrase's work factor; zero: passphraseWork. Tests lower it.
	work int
}

// Keys encrypt and decrypt the files of a snapshot.
type Keys struct {
	recipients []age.Recipient
	identities []age.Identity
	// tried says in words which identities these are, for WrongKeyError.
	tried []string
	// first is how many identities come from the first source.
	first int
}

// NewIdentity is the default identity that WritingKeys made because there was no key at all.
type NewIdentity struct {
	// Path is the file with the secret key: whoever loses it loses the snapshot.
	Path string
	// Recipient is its public key.
	Recipient string
}

// WritingKeys gives the keys for writing the snapshot in a directory, and makes what is missing. What is
// encrypted to, in this order: the recipients; the passphrase, by a key of the snapshot's own that lies
// beside it as key.age, encrypted with the passphrase; the identities of FIELDKIT_IDENTITY_FILE; the default
// identity, which is made (0600) where there is none: then the second result says so, and is nil otherwise.
//
// The error is WrongKeyError where the keys at hand could not read what they would write, so that this
// shows before anything is asked of a server. It may be called again for the same directory.
func WritingKeys(directory string, o KeyOptions) (*Keys, *NewIdentity, error) {
	keys := &Keys{}
	var made *NewIdentity
	var err error
	passphrase := o.Getenv("FIELDKIT_PASSPHRASE")
	switch identityFile := o.Getenv("FIELDKIT_IDENTITY_FILE"); {
	case len(o.Recipients) > 0:
		keys.recipients, err = ParseRecipients(o.Recipients)
	case passphrase != "" && identityFile == "":
		err = makeSnapshotKey(directory, passphrase, o.work)
	case identityFile == "":
		made, err = makeDefaultIdentity(o.ConfigDirectory)
	}
	if err != nil {
		return nil, nil, err
	}
	reading, err := ReadingKeys(directory, o)
	if err != nil {
		return nil, nil, err
	}
	keys.identities, keys.tried = reading.identities, reading.tried
	if len(keys.recipients) == 0 {
		// The first source alone: reading may find older keys besides those to write for.
		keys.recipients, err = recipientsOf(reading.identities[:reading.first])
		if err != nil {
			return nil, nil, err
		}
	}
	if err := keys.check(); err != nil {
		return nil, nil, err
	}
	return keys, made, nil
}

// ReadingKeys gives the keys for reading the snapshot in a directory: its own key where the passphrase opens
// it, the identities of FIELDKIT_IDENTITY_FILE (which may itself be encrypted with the passphrase), and the
// default identity. The error is WrongKeyError where there is no key, or the passphrase is wrong. Without a directory
// ("") there is no key of a snapshot's own.
func ReadingKeys(directory string, o KeyOptions) (*Keys, error) {
	keys := &Keys{}
	passphrase := o.Getenv("FIELDKIT_PASSPHRASE")
	add := func(path, name string) error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		identities, err := parseIdentities(content, name, passphrase)
		if err != nil {
			return err
		}
		if len(keys.tried) == 0 {
			keys.first = len(identities)
		}
		keys.identities = append(keys.identities, identities...)
		keys.tried = append(keys.tried, name)
		return nil
	}
	if identityFile := o.Getenv("FIELDKIT_IDENTITY_FILE"); identityFile != "" {
		if err := add(identityFile, "FIELDKIT_IDENTITY_FILE"); err != nil {
			return nil, fmt.Errorf("cannot use FIELDKIT_IDENTITY_FILE: %w", err)
		}
	}
	if passphrase != "" && directory != "" {
		// With an identity file the passphrase is that file's, and need not fit the snapshot's key too.
		err := add(filepath.Join(directory, keyName), keyName)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && len(keys.identities) == 0 {
			return nil, err
		}
	}
	if o.ConfigDirectory != "" {
		err := add(filepath.Join(o.ConfigDirectory, identityName), "the default identity")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot use the default identity: %w", err)
		}
	}
	if len(keys.identities) == 0 {
		return nil, &WrongKeyError{Part: "the snapshot", Reason: "there is no key: no identity file, no passphrase that fits and no default identity"}
	}
	return keys, nil
}

// ParseRecipients reads public keys (age1...) as fieldkit.yaml holds them. The error names the one that is
// none.
func ParseRecipients(texts []string) ([]age.Recipient, error) {
	var recipients []age.Recipient
	for _, text := range texts {
		parsed, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(parsed) != 1 {
			return nil, fmt.Errorf("not an age recipient: %q (a public key begins with age1)", text)
		}
		recipients = append(recipients, parsed...)
	}
	return recipients, nil
}

// check tells whether what the keys encrypt they can decrypt.
func (k *Keys) check() error {
	var probe bytes.Buffer
	w, err := age.Encrypt(&probe, k.recipients...)
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err = age.Decrypt(&probe, k.identities...)
	return k.explain("what would be written", err)
}

// explain turns age's error into ours; nil stays nil.
func (k *Keys) explain(part string, err error) error {
	var mismatch *age.NoIdentityMatchError
	if errors.As(err, &mismatch) {
		return &WrongKeyError{Part: part, Reason: "tried " + strings.Join(k.tried, ", ")}
	}
	return err
}

func parseIdentities(content []byte, name, passphrase string) ([]age.Identity, error) {
	if bytes.HasPrefix(content, []byte(ageIntro)) {
		if passphrase == "" {
			return nil, &WrongKeyError{Part: name, Reason: "it is encrypted and FIELDKIT_PASSPHRASE is not set"}
		}
		scrypt, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, err
		}
		plain, err := age.Decrypt(bytes.NewReader(content), scrypt)
		var mismatch *age.NoIdentityMatchError
		if errors.As(err, &mismatch) {
			return nil, &WrongKeyError{Part: name, Reason: "the passphrase does not fit"}
		}
		if err == nil {
			content, err = io.ReadAll(plain)
		}
		if err != nil {
			return nil, &DamagedError{Part: name, Reason: "it does not decrypt", Err: err}
		}
	}
	identities, err := age.ParseIdentities(bytes.NewReader(content))
	if err != nil {
		// age's own error may quote the line, and the line may be a secret key.
		return nil, fmt.Errorf("%s holds no age identity (a line beginning with AGE-SECRET-KEY-)", name)
	}
	return identities, nil
}

func recipientsOf(identities []age.Identity) ([]age.Recipient, error) {
	var recipients []age.Recipient
	for _, identity := range identities {
		switch identity := identity.(type) {
		case *age.X25519Identity:
			recipients = append(recipients, identity.Recipient())
		case *age.HybridIdentity:
			recipients = append(recipients, identity.Recipient())
		default:
			return nil, fmt.Errorf("an identity of type %T cannot be encrypted to; set encrypt.recipients", identity)
		}
	}
	return recipients, nil
}

// makeDefaultIdentity makes the default identity where there is none; the result is nil where there is.
func makeDefaultIdentity(directory string) (*NewIdentity, error) {
	if directory == "" {
		return nil, errors.New("no configuration directory for the default identity; set FIELDKIT_IDENTITY_FILE")
	}
	path := filepath.Join(directory, identityName)
	if _, err := os.Stat(path); err == nil {
		return nil, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	made := &NewIdentity{Path: path, Recipient: identity.Recipient().String()}
	text := "# fieldkit's default identity. public key: " + made.Recipient + "\n" + identity.String() + "\n"
	err = writeOnce(path, []byte(text))
	if errors.Is(err, fs.ErrExist) {
		return nil, nil // another fieldkit was faster, and its key must not be lost
	}
	if err != nil {
		return nil, fmt.Errorf("cannot keep the default identity: %w", err)
	}
	return made, nil
}

// writeOnce puts content into a file that must not exist: of two that try, one gets fs.ErrExist.
func writeOnce(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+temporarySuffix) // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	err = os.Link(temporary.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(temporary.Name(), path) // a file system without links, such as a stick's
	}
	if err != nil {
		return err
	}
	return realDisk{}.sync(filepath.Dir(path))
}

// makeSnapshotKey makes a snapshot's own key where there is none.
func makeSnapshotKey(directory, passphrase string, work int) error {
	path := filepath.Join(directory, keyName)
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return err
	}
	recipient.SetWorkFactor(cmp.Or(work, passphraseWork))
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	var content bytes.Buffer
	w, err := age.Encrypt(&content, recipient)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, identity.String()+"\n"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := writeOnce(path, content.Bytes()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot keep the snapshot's key: %w", err)
	}
	return nil
}
