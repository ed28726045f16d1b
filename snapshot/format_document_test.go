package snapshot

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const formerSnapshot = "testdata/format-1"

// TestManifestsSatisfyTheSchema holds a manifest that is kept and one that is written now to the published schema, and the
// schema to refusing what is none.
func TestManifestsSatisfyTheSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../docs/manifest-1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	former, err := os.ReadFile(filepath.Join(formerSnapshot, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := encodeManifest(&Manifest{Format: Format, Scope: testAbout().Scope, Faces: map[Face]*FaceInfo{Taken: {
		Server: testAbout().Server, Account: "fieldkit", Take: &TakeReceipt{Asked: map[Kind]int64{Events: 2}, Streams: map[string]int64{"events-x": 4}},
		Parts: []Part{{Name: "taken/values-x-00001.jsonl.zst.age", Face: Taken, Kind: DataValues, Subject: Subject{DataSet: "x"}, Number: 1, Objects: 3, Bytes: 9, SHA256: strings.Repeat("0", 64)}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		content []byte
		valid   bool
	}{
		{"kept", former, true},
		{"fresh", fresh, true},
		{"another format", bytes.Replace(fresh, []byte(`"format": 1`), []byte(`"format": 2`), 1), false},
		{"an unknown kind", bytes.Replace(fresh, []byte(`"kind": "values"`), []byte(`"kind": "patients"`), 1), false},
		{"a part outside", bytes.Replace(fresh, []byte("taken/values"), []byte("taken/../values"), 1), false},
		{"no sum", bytes.Replace(fresh, []byte("sha256"), []byte("sha1"), 2), false},
	} {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(row.content))
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if err := schema.Validate(value); (err == nil) != row.valid {
			t.Errorf("%s: valid %v, want %v: %v", row.name, err == nil, row.valid, err)
		}
	}
}

// TestReadableWithoutFieldkit reads the kept snapshot by nothing but age, zstd and JSON, as the documentation says: by Go's
// libraries, and by the programs where they are installed.
func TestReadableWithoutFieldkit(t *testing.T) {
	identity, err := age.ParseX25519Identity(formerIdentity)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(formerSnapshot, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Faces map[string]struct {
			Parts []struct {
				Name, Kind string
				Objects    int
			}
		}
	}
	if err := json.Unmarshal(content, &manifest); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "identity.txt")
	if err := os.WriteFile(key, []byte(formerIdentity+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	programs := true
	for _, program := range []string{"age", "zstd", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			programs = false
		}
	}
	read := 0
	for _, face := range manifest.Faces {
		for _, part := range face.Parts {
			path := filepath.Join(formerSnapshot, filepath.FromSlash(part.Name))
			if lines := countLines(t, path, identity); part.Kind != "document" && lines != part.Objects {
				t.Errorf("%s has %d lines, its manifest says %d", part.Name, lines, part.Objects)
			}
			read++
			if !programs || part.Kind != "tracker" {
				continue
			}
			output, err := exec.CommandContext(t.Context(), "sh", "-c", `age -d -i "$1" "$2" | zstd -d | jq -c .trackedEntity`, "sh", key, path).Output()
			if lines := bytes.Count(output, []byte("\n")); err != nil || lines != part.Objects {
				t.Errorf("%s: the programs read %d lines, want %d: %v", part.Name, lines, part.Objects, err)
			}
		}
	}
	if read == 0 {
		t.Error("there was nothing to read")
	}
}

func countLines(t *testing.T, path string, identity age.Identity) int {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := age.Decrypt(file, identity)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	unpacked, err := zstd.NewReader(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer unpacked.Close()
	lines := 0
	scanner := bufio.NewScanner(unpacked)
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		lines++
		if !json.Valid(scanner.Bytes()) {
			t.Errorf("%s, line %d: not JSON", path, lines)
		}
	}
	if err := scanner.Err(); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return lines
}
