package snapshot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"filippo.io/age"
)

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func identityFile(t *testing.T) (path string, recipient string) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key.txt")
	if err := os.WriteFile(path, []byte("# a key\n"+identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, identity.Recipient().String()
}

func encryptedIdentityFile(t *testing.T, passphrase string) (path string, recipient string) {
	t.Helper()
	plain, recipient := identityFile(t)
	content, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	scrypt, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	scrypt.SetWorkFactor(testWork)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, scrypt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plain, sealed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return plain, recipient
}

const testWork = 4

// TestKeys writes with one set of keys and reads with another.
func TestKeys(t *testing.T) {
	alice, aliceRecipient := identityFile(t)
	bob, bobRecipient := identityFile(t)
	sealed, sealedRecipient := encryptedIdentityFile(t, "colibrí")
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	hybridFile := filepath.Join(t.TempDir(), "hybrid.txt")
	if err := os.WriteFile(hybridFile, []byte(hybrid.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	type use struct {
		recipients []string
		getenv     func(string) string
		fresh      bool // with a configuration directory of its own, holding no identity
	}
	tests := []struct {
		name           string
		write, read    use
		writing, wrong bool // WrongKeyError when writing, reading
		made           bool
	}{
		{name: "the default identity, made", write: use{getenv: environment()}, read: use{getenv: environment()}, made: true},
		{
			name:  "the default identity, elsewhere",
			write: use{getenv: environment()}, read: use{getenv: environment(), fresh: true}, made: true, wrong: true,
		},
		{
			name:  "a recipient and its identity file",
			write: use{recipients: []string{aliceRecipient}, getenv: environment("FIELDKIT_IDENTITY_FILE", alice)},
			read:  use{getenv: environment("FIELDKIT_IDENTITY_FILE", alice)},
		},
		{
			name:  "two recipients, the other's identity file",
			write: use{recipients: []string{aliceRecipient, bobRecipient}, getenv: environment("FIELDKIT_IDENTITY_FILE", alice)},
			read:  use{getenv: environment("FIELDKIT_IDENTITY_FILE", bob)},
		},
		{
			name:  "another's identity file",
			write: use{recipients: []string{aliceRecipient}, getenv: environment("FIELDKIT_IDENTITY_FILE", alice)},
			read:  use{getenv: environment("FIELDKIT_IDENTITY_FILE", bob)}, wrong: true,
		},
		{
			name:  "a recipient without its identity",
			write: use{recipients: []string{aliceRecipient}, getenv: environment("FIELDKIT_IDENTITY_FILE", bob)}, writing: true,
		},
		{
			name:  "a recipient and no identity at all",
			write: use{recipients: []string{aliceRecipient}, getenv: environment()}, writing: true,
		},
		{
			name:  "an identity file alone",
			write: use{getenv: environment("FIELDKIT_IDENTITY_FILE", alice)}, read: use{getenv: environment("FIELDKIT_IDENTITY_FILE", alice)},
		},
		{
			name:  "a hybrid identity file alone",
			write: use{getenv: environment("FIELDKIT_IDENTITY_FILE", hybridFile)}, read: use{getenv: environment("FIELDKIT_IDENTITY_FILE", hybridFile)},
		},
		{
			name:  "a passphrase",
			write: use{getenv: environment("FIELDKIT_PASSPHRASE", "colibrí")}, read: use{getenv: environment("FIELDKIT_PASSPHRASE", "colibrí")},
		},
		{
			name:  "another passphrase",
			write: use{getenv: environment("FIELDKIT_PASSPHRASE", "colibrí")}, read: use{getenv: environment("FIELDKIT_PASSPHRASE", "tucán")}, wrong: true,
		},
		{
			name:  "a passphrase, forgotten",
			write: use{getenv: environment("FIELDKIT_PASSPHRASE", "colibrí")}, read: use{getenv: environment()}, wrong: true,
		},
		{
			name: "an identity file under a passphrase",
			write: use{
				recipients: []string{sealedRecipient},
				getenv:     environment("FIELDKIT_IDENTITY_FILE", sealed, "FIELDKIT_PASSPHRASE", "colibrí"),
			},
			read: use{getenv: environment("FIELDKIT_IDENTITY_FILE", sealed, "FIELDKIT_PASSPHRASE", "colibrí")},
		},
		{
			name:  "an identity file under a passphrase that is not given",
			write: use{getenv: environment("FIELDKIT_IDENTITY_FILE", sealed)}, writing: true,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			directory, config := filepath.Join(t.TempDir(), "snapshot"), filepath.Join(t.TempDir(), "fieldkit")
			options := func(u use) KeyOptions {
				o := KeyOptions{Recipients: u.recipients, Getenv: u.getenv, ConfigDirectory: config, work: testWork}
				if u.fresh {
					o.ConfigDirectory = t.TempDir()
				}
				return o
			}
			var wrong *WrongKeyError
			keys, made, err := WritingKeys(directory, options(test.write))
			if test.writing {
				if !errors.As(err, &wrong) {
					t.Errorf("error %v, want WrongKeyError", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (made != nil) != test.made {
				t.Errorf("identity made: %v, want %v", made, test.made)
			}
			again, madeAgain, err := WritingKeys(directory, options(test.write))
			if err != nil || madeAgain != nil {
				t.Errorf("a second time: %v, %v", madeAgain, err)
			}
			if err := writeSample(directory, again, quickDisk{}); err != nil {
				t.Fatal(err)
			}
			checkSample(t, directory, keys)
			reading, err := ReadingKeys(directory, options(test.read))
			if err == nil {
				var s *Snapshot
				if s, err = Open(directory, reading); err == nil {
					err = s.CheckKeys()
				}
			}
			if test.wrong != errors.As(err, &wrong) || !test.wrong && err != nil {
				t.Errorf("reading: error %v, want WrongKeyError %v", err, test.wrong)
			}
		})
	}
}

func TestMadeIdentityIsPrivate(t *testing.T) {
	config := filepath.Join(t.TempDir(), "fieldkit")
	_, made, err := WritingKeys(t.TempDir(), KeyOptions{Getenv: environment(), ConfigDirectory: config})
	if err != nil {
		t.Fatal(err)
	}
	if made.Path != filepath.Join(config, "identity.txt") || !strings.HasPrefix(made.Recipient, "age1") {
		t.Errorf("made %v", made)
	}
	for _, path := range []string{config, made.Path} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

// TestFirstRunsAtOnce begins several kits at the same moment: all end up with one identity.
func TestFirstRunsAtOnce(t *testing.T) {
	config := filepath.Join(t.TempDir(), "fieldkit")
	var runs sync.WaitGroup
	var made atomic.Int64
	for range 8 {
		runs.Go(func() {
			directory := filepath.Join(t.TempDir(), "snapshot")
			keys, identity, err := WritingKeys(directory, KeyOptions{Getenv: environment(), ConfigDirectory: config})
			if err != nil {
				t.Error(err)
				return
			}
			if identity != nil {
				made.Add(1)
			}
			if err := writeSample(directory, keys, quickDisk{}); err != nil {
				t.Error(err)
				return
			}
			later, err := ReadingKeys(directory, KeyOptions{Getenv: environment(), ConfigDirectory: config})
			if err != nil {
				t.Error(err)
				return
			}
			if s, err := Open(directory, later); err != nil || s.CheckKeys() != nil {
				t.Errorf("the identity that was written for is gone: %v", err)
			}
		})
	}
	runs.Wait()
	if made.Load() != 1 {
		t.Errorf("%d identities were made", made.Load())
	}
	if names := files(t, config); len(names) != 1 {
		t.Errorf("left in the configuration directory: %v", names)
	}
}

func TestParseRecipients(t *testing.T) {
	if _, err := ParseRecipients([]string{"age1nonsense"}); err == nil || !strings.Contains(err.Error(), "age1nonsense") {
		t.Errorf("error %v", err)
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.txt")
	secret := "AGE-SECRET-KEY-1BROKEN"
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ReadingKeys(t.TempDir(), KeyOptions{Getenv: environment("FIELDKIT_IDENTITY_FILE", path)})
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("error %v", err)
	}
}
