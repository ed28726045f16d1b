package snapshot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

// formerIdentity opens the snapshots of former formats in testdata. It guards nothing but made-up patients.
const formerIdentity = "AGE-SECRET-KEY-10CG3373NERKDRYYE6R67C7WCTA8579DMH443HMHUK8LRN26XAP2QR4C9VP"

// TestFormerFormats reads what earlier versions of fieldkit wrote. Never rewrite these snapshots: add one when
// the format changes.
func TestFormerFormats(t *testing.T) {
	identity, err := age.ParseX25519Identity(formerIdentity)
	if err != nil {
		t.Fatal(err)
	}
	keys := &Keys{identities: []age.Identity{identity}, tried: []string{"the former identity"}}
	for _, format := range []string{"format-1"} {
		t.Run(format, func(t *testing.T) {
			checkSample(t, filepath.Join("testdata", format), keys)
		})
	}
}

func TestLaterFormatIsRefused(t *testing.T) {
	content, err := encodeManifest(&Manifest{Format: Format + 1, Scope: &Scope{}, Faces: map[Face]*FaceInfo{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeManifest(content); err == nil || !strings.Contains(err.Error(), "another format: version 2") {
		t.Errorf("error %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	content, err := encodeManifest(&Manifest{Format: Format, Scope: testAbout().Scope, Faces: map[Face]*FaceInfo{Taken: {Parts: []Part{{Name: "taken/x"}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte("{}"))
	f.Add(append(checksumLine([]byte("}\n")), "}\n"...))
	f.Fuzz(func(t *testing.T, content []byte) {
		// A manifest that fits its checksum and is JSON may still be nonsense: it must not panic.
		if manifest, err := decodeManifest(content); err == nil {
			manifest.Parts(Taken, TrackedEntities)
			manifest.Central()
		}
		rest := content[strings.IndexByte(string(content), '\n')+1:]
		if manifest, err := decodeManifest(append(checksumLine(rest), rest...)); err == nil {
			manifest.Parts(Loaded, Document)
			_ = manifest.Scope.Contains("/x")
		}
	})
}

func FuzzReceipts(f *testing.F) {
	f.Add([]byte(`{"format":1,"scope":{},"server":{}}` + "\n" + `{"stream":"a","parts":[{"name":"taken/x"}]}` + "\n"))
	f.Add([]byte("{}\n{}\n{"))
	f.Add([]byte("null\nnull\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		directory := t.TempDir()
		if err := os.Mkdir(filepath.Join(directory, string(Taken)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(directory, string(Taken), receiptsName), content, 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := OpenWriter(directory, Taken, &Keys{}, testAbout(), WriterOptions{Now: testClock(), disk: quickDisk{}})
		if err == nil {
			_ = w.Close()
		}
	})
}
