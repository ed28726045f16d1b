package orchestrator_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
)

var updateMatrix = flag.Bool("update-matrix", false, "write docs/matrix.md anew from what came of TestMatrix")

// The columns of the matrix: who does it.
const (
	onKit           = "on the kit"
	atCentral       = "at central"
	bothAlike       = "both alike"
	bothDifferently = "both differently"
)

func matrixColumns() []string { return []string{onKit, atCentral, bothAlike, bothDifferently} }

// matrix is one trip in which every kind of change happens, each in a record of its own.
type matrix struct {
	againWorld
	periods map[string]string
}

// matrixCell is one row and column.
type matrixCell struct {
	row     matrixRow
	column  string
	name    string
	outcome string
	// held is what the report says of it.
	held []heldEntry
	// before is what central showed of it before reconcile, kit what the kit shows.
	before, kit string
}

// TestMatrix plays every kind of change, made on the kit, at central and on both sides, in one trip, and holds what came of
// each against the table that the guide shows. FIELDKIT_ACCEPTANCE_CENTRAL and FIELDKIT_ACCEPTANCE_LOCAL name real servers.
func TestMatrix(t *testing.T) {
	versions := []string{"2.41.9.1", "2.42.5.2", "2.43.1"}
	if os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL") != "" {
		versions = []string{"these servers"}
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			m := &matrix{newAgainWorld(t, version), map[string]string{}}
			cells := m.play()
			got := pageOf(cells)
			path := filepath.Join("..", "docs", "matrix.md")
			if m.central.Version().Minor < 42 { // it says itself when an enrollment was completed, so that is no content
				path = filepath.Join("testdata", "matrix-2.41.md")
			}
			if *updateMatrix {
				m.must(os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			m.must(err)
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the outcomes are not those of %s (-want +got):\n%s", path, diff)
			}
		})
	}
}

// play plays the trip and returns what came of every cell.
func (m *matrix) play() []*matrixCell {
	t := m.t
	for class, name := range map[string]string{"trackedEntityTypes": "patient", "programs": "program", "programStages": "visit"} {
		m.edit(class, name, func(object map[string]any) { object["featureType"] = "POINT" })
	}
	m.edit("programStages", "visit", func(stage map[string]any) { stage["enableUserAssignment"] = true })
	m.defineSecrets()
	cells := slices.Concat(cellsOf(matrixRows(), matrixColumns()), cellsOf(deletedRows(), deletedColumns()))
	for _, cell := range cells {
		if cell.row.base != nil {
			cell.row.base(m, m.central, cell.name, 1)
		}
	}
	m.again()
	m.local = m.connect(orchestrator.Local, m.local.BaseURL())

	for _, cell := range cells {
		switch {
		case cell.row.never[cell.column] == "":
			cell.act(m)
		case cell.row.tried:
			cell.try(m)
		}
	}

	for _, cell := range cells {
		cell.before, cell.kit = cell.row.seen(m, m.central, cell.name), cell.row.seen(m, m.local, cell.name)
	}
	first, err := m.tryReconcile(orchestrator.ReconcileOptions{Allow: 1})
	if err != nil {
		first, err = m.tryReconcile(orchestrator.ReconcileOptions{Allow: allowed(err)})
	}
	m.must(err)
	if first.Sums.Open > 0 {
		t.Errorf("%d changes are open", first.Sums.Open)
	}
	states, held := m.states(), m.heldIn(first.Trip, cells)
	for _, cell := range cells {
		cell.held = held[cell.name]
		cell.judge(m, states)
	}
	if second := m.reconcile(false); second.Sent > 0 || second.Sums != first.Sums {
		t.Errorf("a second run sends %d; %+v, then %+v", second.Sent, first.Sums, second.Sums)
	}
	m.nextTrip(cells, first.Sums.Held)
	return cells
}

// nextTrip prepares again: but for what is held, the kit then shows what central shows, and there is nothing to send.
func (m *matrix) nextTrip(cells []*matrixCell, held int) {
	m.again()
	m.local = m.connect(orchestrator.Local, m.local.BaseURL())
	if plan := m.reconcile(true); plan.Sums.Held != held || plan.Sums.Total != held+plan.Sums.AlreadyThere {
		m.t.Errorf("the next trip begins with %+v, and %d were held", plan.Sums, held)
	}
	for _, cell := range cells {
		// The kit's DHIS2 does not let a time of completion be changed either, and what never travels does not come to the kit.
		if len(cell.held) > 0 || strings.HasSuffix(cell.row.kind, "date of completion") || strings.HasSuffix(cell.row.kind, "skipSynchronization") {
			continue
		}
		if atCentral, onKit := cell.row.seen(m, m.central, cell.name), cell.row.seen(m, m.local, cell.name); atCentral != onKit {
			m.t.Errorf("%s, %s: on the next trip the kit shows %q, and central %q", cell.name, cell.outcome, onKit, atCentral)
		}
	}
}

// cellsOf are the cells of a table, row by row.
func cellsOf(rows []matrixRow, columns []string) []*matrixCell {
	var cells []*matrixCell
	for _, row := range rows {
		for _, column := range columns {
			cells = append(cells, &matrixCell{row: row, column: column, name: fmt.Sprintf("%s, %s, %s", row.kind, row.verb, column)})
		}
	}
	return cells
}

// allowed is the number that a run beyond the limits names.
func allowed(err error) int {
	var n int
	if _, found, _ := strings.Cut(orchestrator.Hint(err), "--allow "); found != "" {
		fmt.Sscan(found, &n) //nolint:errcheck // 0 is not allowed either, and the run says so
	}
	return n
}

func (c *matrixCell) act(m *matrix) {
	switch c.column {
	case onKit:
		c.row.do(m, m.local, c.name, 1)
	case atCentral:
		c.row.do(m, m.central, c.name, 1)
	case bothAlike:
		c.row.do(m, m.local, c.name, 1)
		c.row.do(m, m.central, c.name, 1)
	case deletedOnKit:
		c.row.do(m, m.local, c.name, 1)
		c.row.other(m, m.central, c.name, 1)
	case deletedAtCentral:
		c.row.do(m, m.central, c.name, 1)
		c.row.other(m, m.local, c.name, 1)
	case bothDifferently:
		c.row.do(m, m.local, c.name, 1)
		if c.row.other != nil {
			c.row.other(m, m.central, c.name, 2)
		} else {
			c.row.do(m, m.central, c.name, 2)
		}
	}
}

// try does what no server does, at both.
func (c *matrixCell) try(m *matrix) {
	for _, at := range []*dhis2api.Client{m.local, m.central} {
		before := c.row.seen(m, at, c.name)
		c.row.do(m, at, c.name, 1)
		if after := c.row.seen(m, at, c.name); after != before {
			m.t.Errorf("%s can be done: from %q to %q", c.name, before, after)
		}
	}
}

// states are the states of the changes in the journal, by root.
func (m *matrix) states() map[string][]journal.State {
	paths, err := filepath.Glob(filepath.Join(m.kitDir, "trips", "*", "journal.db"))
	m.must(err)
	j, err := journal.OpenFile(m.t.Context(), paths[len(paths)-1])
	m.must(err)
	defer j.Close()
	states := map[string][]journal.State{}
	for c, err := range j.Changes(m.t.Context()) {
		m.must(err)
		states[c.Root] = append(states[c.Root], c.State)
	}
	return states
}

// judge says what came of a cell, and holds central against it.
func (c *matrixCell) judge(m *matrix, states map[string][]journal.State) {
	if why := c.row.never[c.column]; why != "" {
		c.outcome = "– (" + why + ")"
		return
	}
	roots := []string{"person:" + m.id(c.name)}
	if c.row.roots != nil {
		roots = c.row.roots(m, c.name)
	}
	var found []journal.State
	for _, root := range roots {
		found = append(found, states[root]...)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	after := c.row.seen(m, m.central, c.name)
	held := slices.DeleteFunc(slices.Clone(found), func(s journal.State) bool { return !s.Held() })
	switch {
	case len(found) == 0:
		c.outcome = "stays as central has it"
	case len(held) > 0:
		c.outcome = map[journal.State]string{journal.Conflict: "held: you decide", journal.Unclear: "held: not clear", journal.Refused: "held: refused", journal.Waiting: "held: waits"}[held[0]]
	case slices.Contains(found, journal.Pushed):
		c.outcome = "goes home"
	case slices.Contains(found, journal.OutOfScope):
		c.outcome = "never travels"
	case slices.Contains(found, journal.AlreadyThere):
		c.outcome = "there already"
	default:
		c.outcome = fmt.Sprint(found)
	}
	if (len(held) > 0) != (len(c.held) > 0) {
		m.t.Errorf("%s: %s in the journal, and the report holds %v", c.name, c.outcome, c.held)
	}
	if c.column == bothDifferently && len(held) == 0 && c.outcome != "never travels" && after != c.kit {
		c.outcome = "both stand"
		return
	}
	want := c.before
	if c.outcome == "goes home" {
		want = c.kit
	}
	if after != want {
		m.t.Errorf("%s: %s, and central has %q, want %q (kit %q, before %q)", c.name, c.outcome, after, want, c.kit, c.before)
	}
}

// pageOf is the guide's page.
func pageOf(cells []*matrixCell) string {
	first := len(matrixRows()) * len(matrixColumns())
	return matrixIntroduction + tableOf(cells[:first], matrixColumns()) +
		deletedIntroduction + tableOf(cells[first:], deletedColumns()) +
		heldIntroduction + reasonsOf(cells)
}

// reasonsOf lists what is held, and the report's reason.
func reasonsOf(cells []*matrixCell) string {
	var b strings.Builder
	b.WriteString("| cell | what the report holds, and why |\n| --- | --- |\n")
	for _, cell := range cells {
		var texts []string
		for _, entry := range cell.held {
			texts = append(texts, entry.String())
		}
		if len(texts) > 0 {
			fmt.Fprintf(&b, "| %s | %s |\n", cell.name, strings.Join(texts, "<br>"))
		}
	}
	return b.String()
}

// tableOf is a table of the guide.
func tableOf(cells []*matrixCell, columns []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| what | | %s |\n| --- | ---%s |\n", strings.Join(columns, " | "), strings.Repeat(" | ---", len(columns)))
	before := ""
	for row := range slices.Chunk(cells, len(columns)) {
		kind := row[0].row.kind
		if kind == before {
			kind = ""
		}
		before = row[0].row.kind
		fmt.Fprintf(&b, "| %s | %s |", kind, row[0].row.verb)
		for _, cell := range row {
			fmt.Fprintf(&b, " %s |", cell.outcome)
		}
		b.WriteString("\n")
	}
	return b.String()
}

const matrixIntroduction = `# Every kind of change

What reconcile makes of each kind of change, made on the kit, at central, or on both sides since the trip began. The table is
what came of one trip in which all of it happens, each in a record of its own (` + "`TestMatrix`" + `; ` + "`make matrix CENTRAL=url LOCAL=url`" + `
plays it on two real servers). After it every record at central was looked at: what goes home is there, and what is held, or
was done at central, stands as central had it. A second run sends nothing. Then the kit is prepared again: but for what is held it
shows what central shows, and the next trip begins with nothing to send.

*Goes home*: sent, read back. *Stays as central has it*: nothing has to travel; the next prepare, or ` + "`--refresh`" + `, brings it to the
kit. *There already*: both sides hold the same. *Both stand*: they are two records, and both remain. *Never travels*: central
marked it skipSynchronization. *Held*: central keeps its own until somebody decides.

Notes are only ever added, and neither a relationship nor a note is changed. A tracked entity's own change is that of its
attributes, owners and so on. Where both sides complete a record and the tablets say different times, that is a conflict about
the time. DHIS2 2.41 says itself when an enrollment was completed, so there it is none.

What DHIS2 (2.41 to 2.43) cannot take is held, with that as the reason, and is not sent. It sets the time of completion only as
the status changes: of a visit that the kit opened again, put right and completed again, all goes home but that time. And it takes
an assigned user away from no event, on the kit either, so that the change does not come about there.

`

const deletedIntroduction = `
## Deleted on one side

What comes of it when one side deletes what the other has changed, or has hung something on. What is in the second column was
done by the side that did not delete. A deletion takes along all that hangs below: a tracked entity's enrollments, events and
relationships, an enrollment's events.

`

const heldIntroduction = `
## What is held, and why

Every cell above that is held, with what ` + "`report.json`" + ` holds of it: the field, or the creation or deletion of the object, and the
reason that it gives.

`
