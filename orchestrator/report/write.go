package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// The names of a report's three forms in a trip's folder.
const (
	HTMLName = "report.html"
	CSVName  = "conflicts.csv"
	JSONName = "report.json"
)

// ErrNone means that no report was written yet.
var ErrNone = errors.New("there is no report")

// Write writes the report into a trip's folder, in its three forms, each file whole or not at all and readable
// by its owner alone. All three are written out before the first of them replaces an earlier report's; the JSON
// form, which Read reads, comes last. It may be called again.
func Write(dir string, r *Report) (err error) {
	texts, err := textsIn(cmp.Or(r.Language, English))
	if err != nil {
		return err
	}
	forms := []struct {
		name  string
		write func(io.Writer) error
	}{
		{HTMLName, func(w io.Writer) error { return writeHTML(w, r, texts) }},
		{CSVName, func(w io.Writer) error { return writeCSV(w, r) }},
		{JSONName, func(w io.Writer) error { return writeJSON(w, r) }},
	}
	var files []*renameio.PendingFile
	defer func() {
		for _, file := range files {
			err = errors.Join(err, file.Cleanup()) // of those that replaced nothing
		}
	}()
	for _, form := range forms {
		file, err := renameio.NewPendingFile(filepath.Join(dir, form.name), renameio.WithPermissions(0o600), renameio.IgnoreUmask())
		if err != nil {
			return fmt.Errorf("cannot write the report: %w", err)
		}
		files = append(files, file)
		w := bufio.NewWriter(file)
		if err := errors.Join(form.write(w), w.Flush()); err != nil {
			return fmt.Errorf("cannot write %s: %w", form.name, err)
		}
	}
	for _, file := range files {
		if err := file.CloseAtomicallyReplace(); err != nil {
			return fmt.Errorf("cannot write the report: %w", err)
		}
	}
	return nil
}

// writeJSON writes the report for programs.
func writeJSON(w io.Writer, r *Report) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(content, '\n'))
	return err
}

// Read reads the report in a trip's folder. The error is ErrNone when there is none.
func Read(dir string) (*Report, error) {
	content, err := os.ReadFile(filepath.Join(dir, JSONName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the report: %w", err)
	}
	r := New()
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("cannot read the report %s: %w", filepath.Join(dir, JSONName), err)
	}
	return r, nil
}
