// Package scratch keeps what a run has to know of every record and cannot hold in memory: a scratch file is an SQLite
// database on disk that lasts no longer than the run. Nothing in it has to survive a crash, and nothing goes in but uids and
// digests.
package scratch

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	// The SQLite driver, in Go: no cgo in what ships.
	_ "modernc.org/sqlite"
)

// File is one scratch file.
type File struct {
	*sql.DB
	path string
}

// Open begins an empty file, in place of what a run that was cut off left there. It can be read by its owner only. It is
// used over one connection, which caches 8 MB of it, whatever its size.
func Open(path string) (*File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot begin a scratch file: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot begin a scratch file: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("cannot begin a scratch file: %w", err)
	}
	name := (&url.URL{Path: path}).EscapedPath()
	db, err := sql.Open("sqlite", "file:"+name+"?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=locking_mode(EXCLUSIVE)&_pragma=cache_size(-8000)")
	if err != nil {
		return nil, fmt.Errorf("cannot begin a scratch file: %w", err)
	}
	db.SetMaxOpenConns(1)
	return &File{DB: db, path: path}, nil
}

// Close removes the file. It may be called on nil.
func (f *File) Close() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.DB.Close(), os.Remove(f.path))
}
