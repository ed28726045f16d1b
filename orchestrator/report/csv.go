package report

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// byteOrderMark makes spreadsheets read the file as UTF-8.
const byteOrderMark = "\ufeff"

// writeCSV writes the conflicts, and who may be the same person, for a spreadsheet, one a line, by number: UTF-8 with its mark, lines that end as on
// Windows, commas, and a column for the decision, which ReadDecisions reads. What was decided in vain or for a plan
// only stands there again: whoever filled this very file in must not find it emptied.
func writeCSV(w io.Writer, r *Report) error {
	if _, err := io.WriteString(w, byteOrderMark); err != nil {
		return err
	}
	rows := csv.NewWriter(w)
	rows.UseCRLF = true
	head := []string{
		numberColumn, "kind", "uid", "person", "name", "field", "label", "base", "local", "local by", "local at",
		"central", "central by", "central at", "reason", decisionColumn,
	}
	if err := rows.Write(head); err != nil {
		return err
	}
	given := decisionsGiven(r)
	conflicts := slices.Clone(r.Conflicts)
	for number, d := range given {
		if !slices.ContainsFunc(r.Conflicts, func(c Conflict) bool { return c.Number == number }) {
			conflicts = append(conflicts, Conflict{
				Reference: d.Reference, Number: number, Verb: d.Verb, Field: d.Field, Label: d.Label, Base: d.Base, Local: d.Local, Central: d.Central, Reason: d.Reason,
			})
		}
	}
	for _, same := range r.SamePeople {
		listed := slices.ContainsFunc(conflicts, func(c Conflict) bool { return c.Number == same.Number })
		if same.Adopted || listed {
			continue
		}
		conflicts = append(conflicts, Conflict{
			Reference: same.Reference, Number: same.Number, Verb: "create",
			Reason: fmt.Sprintf("central refused it: trackedEntity %s has the same %s there; adopt, where it is the same person", same.AtCentral, cmp.Or(same.Label, same.Attribute)),
		})
	}
	slices.SortStableFunc(conflicts, func(a, b Conflict) int { return a.Number - b.Number })
	for _, c := range conflicts {
		row := []string{
			strconv.Itoa(c.Number), c.Kind, c.UID, c.Person, c.Name, c.Field, c.Label, c.Base, c.Local, c.LocalEdit.By, value(c.LocalEdit.At),
			c.Central, c.CentralEdit.By, value(c.CentralEdit.At), c.Reason, given[c.Number].text(),
		}
		for i := range row {
			row[i] = plainCell(row[i])
		}
		if err := rows.Write(row); err != nil {
			return err
		}
	}
	rows.Flush()
	return rows.Error()
}

// decisionsGiven are people's decisions that are not carried out yet, by number.
func decisionsGiven(r *Report) map[int]Decision {
	given := map[int]Decision{}
	for _, d := range r.Decisions {
		if !d.Policy && (d.State == DecisionPlanned || d.State == DecisionWaits) {
			given[d.Number] = d
		}
	}
	return given
}

// text is the decision as ReadDecisions reads it.
func (d Decision) text() string {
	if d.Choice == ChooseValue {
		return "=" + d.Value
	}
	return string(d.Choice)
}

// plainCell keeps a spreadsheet from taking text for a formula: what begins like one gets an apostrophe in
// front. (OWASP: CSV injection.)
func plainCell(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
