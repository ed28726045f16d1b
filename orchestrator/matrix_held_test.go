package orchestrator_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// heldEntry is what report.json says of one thing that is held, in the words of the cell that it belongs to.
type heldEntry struct {
	list   string // conflict, refusal or waiting
	object string // the kind, and which one of the cell
	verb   string
	field  string
	reason string
}

func (e heldEntry) String() string {
	what := e.verb + " of the " + e.object
	if e.field != "" {
		what = fmt.Sprintf("`%s` of the %s", e.field, e.object)
	}
	if e.list != "conflict" {
		what = e.list + ": " + what
	}
	return what + ": " + e.reason
}

// heldIn reads the report of the last run, as it lies on the disk, and returns what it holds, by cell.
func (m *matrix) heldIn(trip string, cells []*matrixCell) map[string][]heldEntry {
	content, err := os.ReadFile(filepath.Join(m.kitDir, "trips", trip, report.JSONName))
	m.must(err)
	var r report.Report
	m.must(json.Unmarshal(content, &r))
	words := m.words(cells)
	held := map[string][]heldEntry{}
	add := func(list string, of report.Reference, verb, field, reason string) {
		cell, object := words.object(of)
		if cell == "" {
			m.t.Errorf("the report holds %s %s, of no cell: %s", of.Kind, of.UID, reason)
		}
		if verb != "update" && field != "" {
			m.t.Errorf("%s: the %s of a whole %s names the field %s", cell, verb, of.Kind, field)
		}
		held[cell] = append(held[cell], heldEntry{list, object, verb, words.in(cell, field), words.in(cell, reason)})
	}
	for _, c := range r.Conflicts {
		add("conflict", c.Reference, c.Verb, c.Field, c.Reason)
		if c.Number == 0 || c.Field != "" && c.Local == c.Central && c.Reason != "deleted at central" {
			m.t.Errorf("a conflict that nobody can decide about: %s", asJSON(c))
		}
	}
	for _, no := range r.Refusals {
		add("refusal", no.Reference, no.Verb, no.Field, no.Code+" "+no.Reason)
	}
	for _, w := range r.Waiting {
		add("waiting", w.Reference, w.Verb, w.Field, w.Reason)
	}
	for _, entries := range held {
		slices.SortFunc(entries, func(a, b heldEntry) int { return strings.Compare(a.String(), b.String()) })
	}
	return held
}

// cellWords turn uids into the words by which the rows call what they are of.
type cellWords struct {
	names   map[string]string // by uid
	periods map[string]string // cells by the month of their form
	cells   []string          // longest first
}

func (m *matrix) words(cells []*matrixCell) *cellWords {
	w := &cellWords{names: map[string]string{}, periods: map[string]string{}}
	for name, uid := range m.ids {
		w.names[uid] = name
	}
	for cell, period := range m.periods {
		w.periods[period] = cell
	}
	for _, cell := range cells {
		w.cells = append(w.cells, cell.name)
	}
	slices.SortFunc(w.cells, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return w
}

// object returns the cell of what an entry is about, and which of the cell's objects it is.
func (w *cellWords) object(of report.Reference) (cell, object string) {
	parts := strings.Split(of.UID, ".")
	if len(parts) > 1 { // a value or a completion of a form
		return w.periods[parts[1]], of.Kind
	}
	name := w.names[of.UID]
	i := slices.IndexFunc(w.cells, func(cell string) bool { return name == cell || strings.HasPrefix(name, cell+"'s ") })
	if i < 0 {
		return "", of.Kind + " " + name
	}
	cell = w.cells[i]
	if own := w.in(cell, of.UID); own != "" && own != of.Kind {
		return cell, of.Kind + " " + own
	}
	return cell, of.Kind
}

// keyIn finds the key of a form's value or completion, with the space before it.
var keyIn = regexp.MustCompile(` ?\b[A-Za-z0-9]{11}\.\d{6}(\.[A-Za-z0-9]{11})+`)

// uidIn finds what may be a uid in a text, with the space before it.
var uidIn = regexp.MustCompile(` ?\b[A-Za-z][A-Za-z0-9]{10}\b`)

// in replaces the uids of a text by what the cell calls them.
func (w *cellWords) in(cell, text string) string {
	return uidIn.ReplaceAllStringFunc(keyIn.ReplaceAllString(text, ""), func(found string) string {
		uid := strings.TrimPrefix(found, " ")
		name, known := w.names[uid]
		if !known {
			return found
		}
		name = strings.TrimPrefix(strings.TrimPrefix(name, cell), "'s ")
		switch {
		case name == "" || name == "enrollment": // the kind that stands before it says so
			return ""
		case uid != found:
			return " " + name
		}
		return name
	})
}
