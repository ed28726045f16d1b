//go:build !linux

package orchestrator

import (
	"embed"
	"io/fs"
)

// freeBytes is not known here.
func freeBytes(string) (uint64, bool) { return 0, false }

// systemFiles holds nothing: this system keeps no such files.
func systemFiles() fs.FS { return embed.FS{} }
