package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

const jsonName = "report.json"

// ErrNone means that no report was written yet.
var ErrNone = errors.New("there is no report")

// Write writes the report into a trip's folder, each file whole or not at all, readable by its owner alone.
func Write(dir string, r *Report) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, jsonName), append(content, '\n'), 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("cannot write the report: %w", err)
	}
	return nil
}

// Read reads the report in a trip's folder. The error is ErrNone when there is none.
func Read(dir string) (*Report, error) {
	content, err := os.ReadFile(filepath.Join(dir, jsonName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the report: %w", err)
	}
	r := New()
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("cannot read the report %s: %w", filepath.Join(dir, jsonName), err)
	}
	return r, nil
}
