package snapshot

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSealed: a sealed file is opened by the key for which it was made and by no other, in each way to name one.
func TestSealed(t *testing.T) {
	identity, recipient := identityFile(t)
	other, _ := identityFile(t)
	tests := []struct {
		name        string
		write, read KeyOptions
		wrong       KeyOptions
	}{
		{name: "recipients", write: KeyOptions{Recipients: []string{recipient}, Getenv: environment()},
			read:  KeyOptions{Getenv: environment("FIELDKIT_IDENTITY_FILE", identity)},
			wrong: KeyOptions{Getenv: environment("FIELDKIT_IDENTITY_FILE", other)}},
		{name: "an identity file", write: KeyOptions{Getenv: environment("FIELDKIT_IDENTITY_FILE", identity)},
			read: KeyOptions{Getenv: environment("FIELDKIT_IDENTITY_FILE", identity)}, wrong: KeyOptions{Getenv: environment()}},
		{name: "a passphrase", write: KeyOptions{Getenv: environment("FIELDKIT_PASSPHRASE", "río caña"), work: testWork},
			read:  KeyOptions{Getenv: environment("FIELDKIT_PASSPHRASE", "río caña")},
			wrong: KeyOptions{Getenv: environment("FIELDKIT_PASSPHRASE", "rio cana")}},
	}
	const content = "Ana, Río Caña"
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "held.age")
			s, err := CreateSealed(path, test.write)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Abandon()
			if _, err := io.WriteString(s, content); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is there before it is whole: %v", err)
			}
			sum, err := s.Commit()
			if err != nil || len(sum) != 64 {
				t.Fatalf("sum %q, %v", sum, err)
			}
			stored, err := os.ReadFile(path)
			if err != nil || strings.Contains(string(stored), "Caña") {
				t.Errorf("it lies in the clear, or %v", err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("it is %v, %v", info.Mode(), err)
			}
			r, err := OpenSealed(path, test.read)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if read, err := io.ReadAll(r); err != nil || string(read) != content {
				t.Errorf("read %q, %v", read, err)
			}
			var wrong *WrongKeyError
			if _, err := OpenSealed(path, test.wrong); !errors.As(err, &wrong) {
				t.Errorf("with another key: %v", err)
			}
			if err := os.WriteFile(path, stored[:len(stored)-3], 0o600); err != nil {
				t.Fatal(err)
			}
			var damaged *DamagedError
			cut, err := OpenSealed(path, test.read)
			if err == nil {
				defer cut.Close()
				_, err = io.ReadAll(cut)
			}
			if !errors.As(err, &damaged) {
				t.Errorf("cut short: %v", err)
			}
		})
	}
}

// TestSealedAbandoned: what is given up leaves nothing, and what was there stays.
func TestSealedAbandoned(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "held.age")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := CreateSealed(path, KeyOptions{Getenv: environment("FIELDKIT_PASSPHRASE", "río caña"), work: testWork})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(s, "half")
	s.Abandon()
	entries, err := os.ReadDir(directory)
	if content, _ := os.ReadFile(path); err != nil || len(entries) != 1 || string(content) != "before" {
		t.Errorf("%d files, %q, %v", len(entries), content, err)
	}
}
