package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errCut = errors.New("power cut")

// quickDisk does not wait for the real disk: what is tested is the order of things.
type quickDisk struct{ realDisk }

type quickFile struct{ file }

func (quickFile) Sync() error { return nil }

func (d quickDisk) create(path string) (file, error) {
	f, err := d.realDisk.create(path)
	return quickFile{f}, err
}

func (d quickDisk) open(path string) (file, error) {
	f, err := d.realDisk.open(path)
	return quickFile{f}, err
}

func (quickDisk) sync(string) error { return nil }

// faultyDisk works until a number of operations is used up. Then, as a power cut does, it does nothing any
// more; or, as a full disk does, it refuses whatever needs room.
type faultyDisk struct {
	quickDisk
	left int
	full bool
}

func (d *faultyDisk) step(needsRoom bool) error {
	if d.full && !needsRoom {
		return nil
	}
	d.left--
	switch {
	case d.left >= 0:
		return nil
	case d.full:
		return syscall.ENOSPC
	}
	return errCut
}

func (d *faultyDisk) create(path string) (file, error) {
	if err := d.step(true); err != nil {
		return nil, err
	}
	f, err := d.quickDisk.create(path)
	return &faultyFile{f, d}, err
}

func (d *faultyDisk) open(path string) (file, error) {
	if err := d.step(true); err != nil {
		return nil, err
	}
	f, err := d.quickDisk.open(path)
	return &faultyFile{f, d}, err
}

func (d *faultyDisk) truncate(path string, size int64) error {
	if err := d.step(false); err != nil {
		return err
	}
	return d.realDisk.truncate(path, size)
}

func (d *faultyDisk) rename(from, to string) error {
	if err := d.step(true); err != nil {
		return err
	}
	return d.realDisk.rename(from, to)
}

func (d *faultyDisk) remove(path string) error {
	if err := d.step(false); err != nil {
		return err
	}
	return d.realDisk.remove(path)
}

func (d *faultyDisk) sync(directory string) error {
	if err := d.step(true); err != nil {
		return err
	}
	return d.quickDisk.sync(directory)
}

// faultyFile writes half of what no longer fits.
type faultyFile struct {
	file
	d *faultyDisk
}

func (f *faultyFile) Write(b []byte) (int, error) {
	if err := f.d.step(true); err != nil {
		n, _ := f.file.Write(b[:len(b)/2])
		return n, err
	}
	return f.file.Write(b)
}

func (f *faultyFile) Sync() error {
	if err := f.d.step(true); err != nil {
		return err
	}
	return f.file.Sync()
}

// TestResumeAfterEveryCut cuts the power at every operation on the disk; the next run goes on, and what comes
// out is what an uninterrupted run makes.
func TestResumeAfterEveryCut(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	for cut := 0; ; cut += stride() {
		directory := t.TempDir()
		d := &faultyDisk{left: cut}
		err := writeSample(directory, keys, d)
		if d.left >= 0 {
			if err != nil {
				t.Fatal(err)
			}
			if cut < 50 {
				t.Fatalf("only %d operations were cut", cut)
			}
			return
		}
		if err == nil && d.left < 0 {
			// Only what may fail in silence failed: nothing here.
			t.Fatalf("cut %d went unnoticed", cut)
		}
		before := durable(t, directory)
		if err := writeSample(directory, keys, quickDisk{}); err != nil {
			t.Fatalf("going on after cut %d: %v", cut, err)
		}
		checkSample(t, directory, keys)
		if diff := cmp.Diff(sampleFiles(), files(t, directory)); diff != "" {
			t.Fatalf("files after cut %d (-want +got):\n%s", cut, diff)
		}
		for name, content := range before {
			now, err := os.ReadFile(filepath.Join(directory, name))
			if err != nil || string(now) != content {
				t.Fatalf("after cut %d the durable part %s was written again", cut, name)
			}
		}
	}
}

// stride is from which operation to the next a test goes that fails at each: with -short not at every one.
func stride() int {
	if testing.Short() {
		return 11
	}
	return 1
}

// durable reads the parts that have a receipt.
func durable(t *testing.T, directory string) map[string]string {
	t.Helper()
	contents := map[string]string{}
	read, err := readReceipts(directory, Taken)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range read.receipts {
		for _, part := range r.Parts {
			content, err := os.ReadFile(filepath.Join(directory, part.Name))
			if err != nil {
				t.Fatalf("a part with a receipt is not there: %v", err)
			}
			contents[part.Name] = string(content)
		}
	}
	return contents
}

// TestFullDiskLeavesNothing fills the disk at every operation that needs room: the error says so, and what
// is left are durable parts and receipts, nothing half.
func TestFullDiskLeavesNothing(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	for room := 0; ; room += stride() {
		directory := t.TempDir()
		d := &faultyDisk{left: room, full: true}
		err := writeSample(directory, keys, d)
		if d.left >= 0 {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("room for %d operations: error %v", room, err)
		}
		whole := durable(t, directory)
		for _, name := range files(t, directory) {
			if _, known := whole[name]; !known && name != "taken/"+receiptsName && name != manifestName {
				t.Fatalf("room for %d operations: %s is left", room, name)
			}
		}
		if err := writeSample(directory, keys, quickDisk{}); err != nil {
			t.Fatalf("going on with room again after %d operations: %v", room, err)
		}
		checkSample(t, directory, keys)
	}
}

// TestReceiptsTorn tears the receipts here and there: what was whole counts, the rest is written again.
func TestReceiptsTorn(t *testing.T) {
	t.Parallel()
	keys, directory := testKeys(t), t.TempDir()
	if err := writeSample(directory, keys, &faultyDisk{left: 60}); err == nil {
		t.Fatal("nothing was cut")
	}
	path := filepath.Join(directory, "taken", receiptsName)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kept := snapshotOf(t, directory)
	for size := 0; size < len(content); size += 97 {
		copied := t.TempDir()
		restore(t, copied, kept)
		if err := os.Truncate(filepath.Join(copied, "taken", receiptsName), int64(size)); err != nil {
			t.Fatal(err)
		}
		if err := writeSample(copied, keys, quickDisk{}); err != nil {
			t.Fatalf("receipts torn at %d: %v", size, err)
		}
		checkSample(t, copied, keys)
	}
}

func snapshotOf(t *testing.T, directory string) map[string][]byte {
	t.Helper()
	kept := map[string][]byte{}
	for _, name := range files(t, directory) {
		content, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			t.Fatal(err)
		}
		kept[name] = content
	}
	return kept
}

func restore(t *testing.T, directory string, kept map[string][]byte) {
	t.Helper()
	for name, content := range kept {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamageIsNamed damages every file of a snapshot, a bit or the end, at every KiB: Verify names the file,
// and so does reading the part.
func TestDamageIsNamed(t *testing.T) {
	keys, directory := testKeys(t), t.TempDir()
	if err := writeSample(directory, keys, quickDisk{}); err != nil {
		t.Fatal(err)
	}
	type damage struct {
		name string
		do   func([]byte, int) []byte
	}
	damages := []damage{
		{"bit flipped", func(content []byte, at int) []byte {
			content[at] ^= 1 << (at % 8)
			return content
		}},
		{"truncated", func(content []byte, at int) []byte { return content[:at] }},
		{"longer", func(content []byte, _ int) []byte { return append(content, 0) }},
	}
	for _, name := range files(t, directory) {
		path := filepath.Join(directory, name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		offsets := []int{0, 1, 30, 100, 180, len(content) - 1} // besides, age's head
		for at := 0; at < len(content); at += 1024 {
			offsets = append(offsets, at)
		}
		for _, d := range damages {
			for _, at := range offsets {
				if at >= len(content) {
					continue
				}
				if err := os.WriteFile(path, d.do(append([]byte(nil), content...), at), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := readEverything(t, directory, keys); !isDamage(err, name) {
					t.Fatalf("%s %s at %d: reading says %v", name, d.name, at, err)
				}
				if err := verify(t, directory, keys); !isDamage(err, name) {
					t.Fatalf("%s %s at %d: Verify says %v", name, d.name, at, err)
				}
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		missing := verify(t, directory, keys)
		if name == manifestName && !errors.Is(missing, ErrNoSnapshot) || name != manifestName && !isDamage(missing, name) {
			t.Fatalf("%s missing: Verify says %v", name, missing)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	checkSample(t, directory, keys)
}

func verify(t *testing.T, directory string, keys *Keys) error {
	t.Helper()
	s, err := Open(directory, keys)
	if err != nil {
		return err
	}
	return s.Verify(t.Context())
}

// readEverything reads all parts without Verify, to the end.
func readEverything(t *testing.T, directory string, keys *Keys) error {
	t.Helper()
	s, err := Open(directory, keys)
	if err != nil {
		return err
	}
	for _, part := range s.allParts() {
		for _, err := range Each[any](t.Context(), s, part) {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func isDamage(err error, name string) bool {
	var damaged *DamagedError
	return errors.As(err, &damaged) && damaged.Part == name
}
