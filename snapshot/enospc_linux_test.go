package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestRealFullDisk fills a real file system.
func TestRealFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	directory, keys := filepath.Join(mount, "snapshot"), testKeys(t)
	ballast := filepath.Join(mount, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 44<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeSample(directory, keys, realDisk{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("error %v, want a full disk's", err)
	}
	whole := durable(t, directory)
	for _, name := range files(t, directory) {
		if _, known := whole[name]; !known && name != "taken/"+receiptsName {
			t.Errorf("%s is left", name)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := writeSample(directory, keys, realDisk{}); err != nil {
		t.Fatalf("going on with room again: %v", err)
	}
	checkSample(t, directory, keys)
}
