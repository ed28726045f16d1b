package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// archived writes a directory with one saved image, whose file holds content.
func archived(t *testing.T, content []byte, change func(*ArchivedImage)) (dir string, image ArchivedImage) {
	t.Helper()
	dir = t.TempDir()
	image = ArchivedImage{
		Reference: "dhis2/core:2.42.5.2", ID: "sha256:ab", Architecture: "amd64", Layers: []string{"sha256:cd"},
		File: archiveName("dhis2/core:2.42.5.2"), Bytes: int64(len(content)), SHA256: digest(content),
	}
	if change != nil {
		change(&image)
	}
	index, err := json.Marshal([]ArchivedImage{image})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{archiveIndex: index, image.File: content} {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, image
}

func TestVerifyImages(t *testing.T) {
	content := bytes.Repeat([]byte("image"), 1000)
	write := func(change func(data []byte) []byte) func(t *testing.T, dir, file string) {
		return func(t *testing.T, dir, file string) {
			path := filepath.Join(dir, file)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(t *testing.T, dir, file string) {
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	file := archiveName("dhis2/core:2.42.5.2")
	for _, test := range []struct {
		name, file string
		harm       func(t *testing.T, dir, file string)
		reference  string
		why        string // "" when it verifies
	}{
		{name: "whole"},
		{name: "cut short", file: file, harm: write(func(data []byte) []byte { return data[:len(data)-1] }), why: "is cut short: 4999 of 5000 bytes"},
		{name: "empty", file: file, harm: write(func([]byte) []byte { return nil }), why: "is cut short: 0 of 5000 bytes"},
		{name: "longer", file: file, harm: write(func(data []byte) []byte { return append(data, 0) }), why: "is altered: its checksum is another"},
		{name: "one bit flipped", file: file, harm: write(func(data []byte) []byte { data[2500] ^= 1; return data }), why: "is altered: its checksum is another"},
		{name: "missing", file: file, harm: remove, why: "is missing"},
		{name: "no index", file: archiveIndex, harm: remove, why: "is not there: no images were saved"},
		{name: "an index that is cut short", file: archiveIndex, harm: write(func(data []byte) []byte { return data[:20] }), why: "is altered"},
		{name: "an image that was not saved", reference: "dhis2/core:2.43.1.0", why: "does not list dhis2/core:2.43.1.0"},
		{name: "an index that names another directory", file: archiveIndex, harm: write(func(data []byte) []byte {
			return bytes.Replace(data, []byte(file), []byte("../"+file), 1)
		}), why: "is altered: it names a file elsewhere"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, want := archived(t, content, nil)
			if test.harm != nil {
				test.harm(t, dir, test.file)
			}
			reference := "dhis2/core:2.42.5.2"
			if test.reference != "" {
				reference = test.reference
			}
			got, err := VerifyImages(dir, reference)
			if test.why == "" {
				if diff := cmp.Diff([]ArchivedImage{want}, got); err != nil || diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
				return
			}
			var failure *ArchiveError
			if !errors.As(err, &failure) || failure.Why != test.why || len(got) != 0 {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestReadProgress(t *testing.T) {
	for _, test := range []struct {
		name, stream, want string
		done, total        int64
	}{
		{name: "nothing"},
		{name: "layers add up", stream: `{"status":"Pulling from a","id":"1.0"}
			{"status":"Downloading","progressDetail":{"current":10,"total":100},"id":"a"}
			{"status":"Downloading","progressDetail":{"current":20,"total":50},"id":"b"}
			{"status":"Download complete","id":"a"}
			{"status":"Extracting","progressDetail":{"current":1,"total":2},"id":"a"}`, done: 120, total: 150},
		{name: "an error in the middle", stream: `{"stream":"Loading"}{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}`, want: "unexpected EOF"},
		{name: "an error of the old form", stream: `{"error":"no space left"}`, want: "no space left"},
		{name: "an answer that breaks off", stream: `{"status":"Downlo`, want: "the engine's answer broke off: unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var done, total int64
			err := readProgress(strings.NewReader(test.stream), func(d, n int64) { done, total = d, n })
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want || done != test.done || total != test.total {
				t.Errorf("got %q, %d of %d", got, done, total)
			}
		})
	}
}

// smallImage loads an image of a few bytes into the engine, and removes it when the test ends.
func smallImage(t *testing.T, engine *Engine) string {
	t.Helper()
	reference := "fieldkit-test/" + strings.ToLower(rand.Text()[:8]) + ":1"
	layer, err := packFiles([]file{{Path: "/is", Content: []byte(reference)}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Labels": map[string]string{"DHIS2_VERSION": "2.42.5.2"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{reference}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for _, part := range []struct {
		name string
		data []byte
	}{{"config.json", config}, {"layer.tar", layer}, {"manifest.json", manifest}} {
		if err := writer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: part.name, Mode: 0o644, Size: int64(len(part.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write(part.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	stream, err := engine.docker.load(t.Context(), &archive)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := readProgress(stream, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeImage(t, engine, reference) })
	return reference
}

// removeImage removes an image that may be gone.
func removeImage(t *testing.T, engine *Engine, reference string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // it is called by Cleanup too
	if _, err := engine.Image(ctx, reference); err == nil {
		cli(ctx, t, engine, "image", "rm", "-f", reference)
	}
}

func TestImagesGoThroughFiles(t *testing.T) {
	engine := testEngine(t)
	reference, other := smallImage(t, engine), smallImage(t, engine)
	before, err := engine.Image(t.Context(), reference)
	if err != nil || before.Labels["DHIS2_VERSION"] != "2.42.5.2" || before.Architecture != runtime.GOARCH {
		t.Fatalf("%+v, %v", before, err)
	}
	dir := filepath.Join(t.TempDir(), "images")
	if err := SaveImages(t.Context(), engine, dir, reference, other, reference); err != nil {
		t.Fatal(err)
	}
	verified, err := VerifyImages(dir, reference, other)
	if err != nil || len(verified) != 2 || verified[0].ID != before.ID {
		t.Fatalf("%+v, %v", verified, err)
	}

	// What is whole is not written again.
	path := filepath.Join(dir, archiveName(reference))
	old := stat(t, path)
	if err := SaveImages(t.Context(), engine, dir, reference, other); err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(old, stat(t, path)) {
		t.Error("a whole file was written again")
	}

	// What is not is, and what is not asked for goes.
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if err := SaveImages(t.Context(), engine, dir, reference); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyImages(dir, reference); err != nil {
		t.Error(err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) != 2 {
		t.Errorf("the directory holds %v", found)
	}

	removeImage(t, engine, reference)
	for range 2 {
		if err := LoadImages(t.Context(), engine, dir, reference); err != nil {
			t.Fatal(err)
		}
	}
	after, err := engine.Image(t.Context(), reference)
	if err != nil || after.ID != before.ID {
		t.Errorf("loaded %+v, %v", after, err)
	}
	if err := SaveImages(t.Context(), engine, dir, "fieldkit-test/nothing:1"); !errors.Is(err, ErrNoImage) {
		t.Errorf("an image that the engine lacks: %v", err)
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// Nothing is loaded when one of the files is not as it was written, not even the others.
func TestLoadImagesRefuses(t *testing.T) {
	engine := testEngine(t)
	for _, test := range []struct {
		name, why string
		harm      func(t *testing.T, dir string, image *ArchivedImage)
	}{
		{"a truncated file", "is cut short", func(t *testing.T, dir string, image *ArchivedImage) {
			if err := os.Truncate(filepath.Join(dir, image.File), image.Bytes/2); err != nil {
				t.Fatal(err)
			}
		}},
		{"an image for another machine", "holds an image for riscv64", func(_ *testing.T, _ string, image *ArchivedImage) { image.Architecture = "riscv64" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			good, bad := smallImage(t, engine), smallImage(t, engine)
			dir := t.TempDir()
			if err := SaveImages(t.Context(), engine, dir, good, bad); err != nil {
				t.Fatal(err)
			}
			reindex(t, dir, bad, func(image *ArchivedImage) { test.harm(t, dir, image) })
			removeImage(t, engine, good)
			removeImage(t, engine, bad)
			err := LoadImages(t.Context(), engine, dir, good, bad)
			var failure *ArchiveError
			if !errors.As(err, &failure) || !strings.HasPrefix(failure.Why, test.why) {
				t.Errorf("got %v", err)
			}
			for _, reference := range []string{good, bad} {
				if _, err := engine.Image(t.Context(), reference); !errors.Is(err, ErrNoImage) {
					t.Errorf("%s was loaded: %v", reference, err)
				}
			}
		})
	}

	// The index may be wrong together with the file: what the engine says is heard, and what it made looked at.
	t.Run("a file that the engine cannot read to its end", func(t *testing.T) {
		good := smallImage(t, engine)
		dir := t.TempDir()
		if err := SaveImages(t.Context(), engine, dir, good); err != nil {
			t.Fatal(err)
		}
		reindex(t, dir, good, func(image *ArchivedImage) {
			path := filepath.Join(dir, image.File)
			unpacked := unpack(t, path)
			data := pack(t, unpacked[:len(unpacked)/2])
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			image.Bytes, image.SHA256 = int64(len(data)), digest(data)
		})
		removeImage(t, engine, good)
		err := LoadImages(t.Context(), engine, dir, good)
		var failure *ArchiveError
		if !errors.As(err, &failure) {
			t.Errorf("got %v", err)
		}
		t.Log(err)
	})
	t.Run("another image than the index says", func(t *testing.T) {
		reference := smallImage(t, engine)
		dir := t.TempDir()
		if err := SaveImages(t.Context(), engine, dir, reference); err != nil {
			t.Fatal(err)
		}
		reindex(t, dir, reference, func(image *ArchivedImage) { image.ID, image.Layers = "sha256:other", []string{"sha256:other"} })
		removeImage(t, engine, reference)
		err := LoadImages(t.Context(), engine, dir, reference)
		var failure *ArchiveError
		if !errors.As(err, &failure) || !strings.HasPrefix(failure.Why, "holds the image sha256:") {
			t.Errorf("got %v", err)
		}
	})
}

// reindex changes an image's entry in images.json.
func reindex(t *testing.T, dir, reference string, change func(*ArchivedImage)) {
	t.Helper()
	path := filepath.Join(dir, archiveIndex)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var index []ArchivedImage
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	for i := range index {
		if index[i].Reference == reference {
			change(&index[i])
		}
	}
	if data, err = json.Marshal(index); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	out, err := reader.DecodeAll(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func pack(t *testing.T, data []byte) []byte {
	t.Helper()
	writer, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	return writer.EncodeAll(data, nil)
}
