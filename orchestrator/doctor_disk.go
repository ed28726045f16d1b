package orchestrator

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// What should be free on the kit's disk: below the first a trip may not fit, below the second nothing does.
const (
	plentyFree = 2 << 30
	leastFree  = 200 << 20
)

// disk examines the disk that holds the kit's directory.
func (d *doctor) disk() {
	if free, known := freeBytes(d.Dir); known {
		level, hint := LevelOK, "make room: a snapshot, the journal and the reports go there"
		switch {
		case free < leastFree:
			level = LevelError
		case free < plentyFree:
			level = LevelWarning
		}
		d.add(level, "disk", hint, "%.1f GB are free for %s", float64(free)/1e9, d.Dir)
	}
	directory, err := filepath.Abs(d.Dir)
	if err != nil {
		return
	}
	encrypted, device, err := diskEncryption(systemFiles(), directory)
	switch {
	case err != nil:
		d.add(LevelWarning, "disk", "make sure that it is", "whether the disk is encrypted cannot be told: %v", err)
	case encrypted:
		d.add(LevelOK, "disk", "", "%s is encrypted", device)
	default:
		d.add(LevelWarning, "disk", "install the machine with an encrypted disk (LUKS): the running database lies on it in the clear",
			"%s is not encrypted", device)
	}
}

// diskEncryption tells whether a directory lies on a disk that Linux decrypts (dm-crypt, LUKS), itself or
// below LVM, and names the file system's device. The error says why it cannot be told.
func diskEncryption(system fs.FS, directory string) (encrypted bool, device string, err error) {
	mounts, err := fs.ReadFile(system, "proc/self/mountinfo")
	if err != nil {
		return false, "", fmt.Errorf("this system does not list its file systems: %w", err)
	}
	var number, at string
	for lines := bufio.NewScanner(bytes.NewReader(mounts)); lines.Scan(); {
		// 36 35 98:0 /root /mount/point options optional-fields... - type source options
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, source := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(source) < 2 {
			continue
		}
		point := unescapeMount(fields[4])
		if mountedAt(directory, point) && len(point) >= len(at) {
			number, at, device = fields[2], point, source[1]
		}
	}
	if number == "" {
		return false, "", fmt.Errorf("%s is on no file system that is listed", directory)
	}
	if _, err := fs.Stat(system, "sys/dev/block/"+number); err != nil {
		return false, device, fmt.Errorf("%s is no disk of this machine's", device)
	}
	return isCrypt(system, "sys/dev/block/"+number, 8), device, nil
}

// isCrypt tells whether a block device, or every device that it is made of, is decrypted by the kernel.
func isCrypt(system fs.FS, device string, depth int) bool {
	if uuid, err := fs.ReadFile(system, device+"/dm/uuid"); err == nil && bytes.HasPrefix(uuid, []byte("CRYPT-")) {
		return true
	}
	below, err := fs.ReadDir(system, device+"/slaves")
	if err != nil || len(below) == 0 || depth == 0 {
		return false
	}
	for _, part := range below {
		if !isCrypt(system, "sys/class/block/"+part.Name(), depth-1) {
			return false
		}
	}
	return true
}

// mountedAt tells whether a path is a mount point or below it.
func mountedAt(name, point string) bool {
	return name == point || strings.HasPrefix(name, strings.TrimRight(path.Clean(point), "/")+"/")
}

// unescapeMount undoes what the kernel does to blanks in mount points.
func unescapeMount(text string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(text)
}
