package snapshot

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	temporarySuffix = ".tmp"
	partSuffix      = ".zst.age"
)

// file is what the format needs of an open file.
type file interface {
	io.Writer
	Sync() error
	Close() error
}

// disk is what the format needs of a file system; tests put a failing one in its place.
type disk interface {
	// create makes a new empty file, 0600, in place of what has that name.
	create(path string) (file, error)
	// open opens a file for appending, 0600, made where there is none.
	open(path string) (file, error)
	truncate(path string, size int64) error
	rename(from, to string) error
	remove(path string) error
	// sync makes the names in a directory durable.
	sync(directory string) error
}

type realDisk struct{}

func (realDisk) create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

func (realDisk) open(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

func (realDisk) truncate(path string, size int64) error { return os.Truncate(path, size) }
func (realDisk) rename(from, to string) error           { return os.Rename(from, to) }
func (realDisk) remove(path string) error               { return os.Remove(path) }

func (realDisk) sync(directory string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be flushed there; NTFS journals renames itself
	}
	d, err := os.Open(directory)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}

// writeWhole puts content into a file so that it is there whole or, after any crash, as it was before.
func writeWhole(d disk, path string, content []byte) error {
	temporary := path + temporarySuffix
	if err := writeTemporary(d, temporary, content); err != nil {
		_ = d.remove(temporary)
		return err
	}
	if err := d.rename(temporary, path); err != nil {
		_ = d.remove(temporary)
		return err
	}
	return d.sync(filepath.Dir(path))
}

func writeTemporary(d disk, path string, content []byte) error {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// removeStrays removes from a face's directory what an interrupted take left: temporary files, and parts
// that no receipt mentions.
func removeStrays(d disk, directory string, known map[string]bool) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		stray := strings.HasSuffix(name, temporarySuffix) || strings.HasSuffix(name, partSuffix) && !known[name]
		if !stray {
			continue
		}
		if err := d.remove(filepath.Join(directory, name)); err != nil {
			return err
		}
	}
	return nil
}
