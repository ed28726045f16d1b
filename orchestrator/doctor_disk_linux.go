package orchestrator

import (
	"io/fs"
	"os"
	"syscall"
)

// freeBytes is what an ordinary user may still write to a directory's disk.
func freeBytes(directory string) (uint64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(directory, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true
}

// systemFiles are the machine's own.
func systemFiles() fs.FS { return os.DirFS("/") }
