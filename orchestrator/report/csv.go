package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
)

// byteOrderMark makes spreadsheets read the file as UTF-8.
const byteOrderMark = "\ufeff"

// writeCSV writes the conflicts for a spreadsheet, one a line: UTF-8 with its mark, lines that end as on
// Windows, commas, and an empty column for the decision, which ReadDecisions reads.
func writeCSV(w io.Writer, r *Report) error {
	if _, err := io.WriteString(w, byteOrderMark); err != nil {
		return err
	}
	rows := csv.NewWriter(w)
	rows.UseCRLF = true
	head := []string{
		numberColumn, "kind", "uid", "person", "field", "label", "base", "local", "local by", "local at",
		"central", "central by", "central at", "reason", decisionColumn,
	}
	if err := rows.Write(head); err != nil {
		return err
	}
	for _, c := range r.Conflicts {
		row := []string{
			strconv.Itoa(c.Number), c.Kind, c.UID, c.Person, c.Field, c.Label, c.Base, c.Local, c.LocalEdit.By, value(c.LocalEdit.At),
			c.Central, c.CentralEdit.By, value(c.CentralEdit.At), c.Reason, "",
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

// plainCell keeps a spreadsheet from taking text for a formula: what begins like one gets an apostrophe in
// front. (OWASP: CSV injection.)
func plainCell(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
