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
// Windows, commas, and an empty column for the decision.
func writeCSV(w io.Writer, r *Report) error {
	if _, err := io.WriteString(w, byteOrderMark); err != nil {
		return err
	}
	rows := csv.NewWriter(w)
	rows.UseCRLF = true
	if err := rows.Write([]string{"number", "kind", "uid", "person", "field", "label", "base", "local", "central", "reason", "decision"}); err != nil {
		return err
	}
	for _, c := range r.Conflicts {
		row := []string{strconv.Itoa(c.Number), c.Kind, c.UID, c.Person, c.Field, c.Label, c.Base, c.Local, c.Central, c.Reason, ""}
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
