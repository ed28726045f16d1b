package orchestrator

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// PeopleFile is where `users: generate` keeps the passwords, within the kit's directory.
const PeopleFile = "people.csv"

// The columns of a people file. It may have others, which stay as they are.
const (
	columnName     = "name"
	columnStation  = "station"
	columnUsername = "username"
	columnPassword = "password"
)

// roster is a people file: who logs in on the kit with which password. It is a table that people edit, also
// with a spreadsheet, so whatever separates its columns and whatever else stands in it stays.
type roster struct {
	path string
	// separator is a comma, a semicolon or a tab.
	separator rune
	header    []string
	rows      [][]string
	// lines are the rows' places in the file.
	lines []int
}

// rosterEntry is one line of a people file.
type rosterEntry struct {
	Name, Station, Username, Password string
}

// newRoster is the people file that is made when there is none.
func newRoster(path string) *roster {
	return &roster{path: path, separator: ',', header: []string{columnName, columnStation, columnUsername, columnPassword}}
}

// readRoster reads a people file. A mistake in it is a *ConfigError; when there is no such file the error is
// fs.ErrNotExist. Passwords are never part of an error.
func readRoster(path string) (*roster, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // spreadsheets put it there
	r := &roster{path: path, separator: separatorOf(content)}
	reader := csv.NewReader(bytes.NewReader(content))
	reader.Comma, reader.FieldsPerRecord, reader.TrimLeadingSpace = r.separator, -1, true
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			var wrong *csv.ParseError
			if errors.As(err, &wrong) {
				return nil, r.fail(wrong.Line, "", "not a table: %v", wrong.Err)
			}
			return nil, r.fail(0, "", "not a table: %v", err)
		}
		line, _ := reader.FieldPos(0)
		switch {
		case r.header == nil:
			r.header = record
		case strings.TrimSpace(strings.Join(record, "")) != "":
			r.rows, r.lines = append(r.rows, record), append(r.lines, line)
		}
	}
	for _, column := range []string{columnUsername, columnPassword} {
		if r.column(column) < 0 {
			return nil, r.fail(1, "the first line names the columns: name,station,username,password; the first two may be left out",
				"there is no column %s", column)
		}
	}
	return r, r.check()
}

// separatorOf is what separates the columns of a table's first line.
func separatorOf(content []byte) rune {
	first, _, _ := bytes.Cut(content, []byte("\n"))
	for _, separator := range []rune{';', '\t'} {
		if bytes.ContainsRune(first, separator) {
			return separator
		}
	}
	return ','
}

// check finds what is wrong with the lines. A line without a password is somebody who has none yet.
func (r *roster) check() error {
	seen := map[string]bool{}
	for i := range r.rows {
		entry := r.entry(i)
		name := strings.ToLower(entry.Username)
		switch {
		case name == "":
			return r.fail(r.lines[i], "", "there is no username")
		case seen[name]:
			return r.fail(r.lines[i], "", "%s is there already", entry.Username)
		}
		seen[name] = true
		if entry.Password == "" {
			continue
		}
		if weakness := passwordWeakness(entry.Password, entry.Username); weakness != "" {
			return r.fail(r.lines[i], "DHIS2 would refuse it", "the password of %s %s", entry.Username, weakness)
		}
	}
	return nil
}

func (r *roster) fail(line int, hint, format string, arguments ...any) error {
	e := &ConfigError{File: r.path, Message: fmt.Sprintf(format, arguments...), Advice: hint}
	if line > 0 {
		e.Line, e.Column = line, 1
	}
	return e
}

// column is the place of a column, or -1.
func (r *roster) column(name string) int {
	return slices.IndexFunc(r.header, func(title string) bool { return strings.EqualFold(strings.TrimSpace(title), name) })
}

func (r *roster) entry(row int) rosterEntry {
	cell := func(name string) string {
		column := r.column(name)
		if column < 0 || column >= len(r.rows[row]) {
			return ""
		}
		return strings.TrimSpace(r.rows[row][column])
	}
	return rosterEntry{cell(columnName), cell(columnStation), cell(columnUsername), cell(columnPassword)}
}

// row is the place of the line of a username, in any case of its letters, or -1.
func (r *roster) row(username string) int {
	for i := range r.rows {
		if strings.EqualFold(r.entry(i).Username, username) {
			return i
		}
	}
	return -1
}

// find is the line of a username.
func (r *roster) find(username string) (rosterEntry, bool) {
	if i := r.row(username); i >= 0 {
		return r.entry(i), true
	}
	return rosterEntry{}, false
}

// set puts a value into a line; a column that the file does not have stays away.
func (r *roster) set(row int, name, value string) {
	column := r.column(name)
	if column < 0 {
		return
	}
	for len(r.rows[row]) <= column {
		r.rows[row] = append(r.rows[row], "")
	}
	r.rows[row][column] = value
}

// add appends a line.
func (r *roster) add(entry rosterEntry) {
	r.rows, r.lines = append(r.rows, make([]string, len(r.header))), append(r.lines, 0)
	row := len(r.rows) - 1
	r.set(row, columnName, entry.Name)
	r.set(row, columnStation, entry.Station)
	r.set(row, columnUsername, entry.Username)
	r.set(row, columnPassword, entry.Password)
}

// write puts the file in place, whole, readable by its owner alone.
func (r *roster) write() error {
	var content bytes.Buffer
	writer := csv.NewWriter(&content)
	writer.Comma = r.separator
	if err := writer.WriteAll(append([][]string{r.header}, r.rows...)); err != nil {
		return fmt.Errorf("cannot write %s: %w", r.path, err)
	}
	return renameio.WriteFile(r.path, content.Bytes(), 0o600, renameio.IgnoreUmask())
}

// readPeople reads the people file of the configuration: nil when people get no passwords, a new one when
// they are made here and none was made yet.
func (k *Kit) readPeople() (*roster, error) {
	if k.config.Users.Generate {
		r, err := readRoster(filepath.Join(k.dir, PeopleFile))
		if errors.Is(err, fs.ErrNotExist) {
			return newRoster(filepath.Join(k.dir, PeopleFile)), nil
		}
		return r, err
	}
	if k.config.Users.File == "" {
		return nil, nil
	}
	path := k.config.Users.File
	if !filepath.IsAbs(path) {
		path = filepath.Join(k.dir, path)
	}
	r, err := readRoster(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &ConfigError{File: path, Message: "there is no such file",
			Advice: fmt.Sprintf("%s names it under users; `users: generate` makes passwords instead", ConfigFile)}
	}
	return r, err
}
