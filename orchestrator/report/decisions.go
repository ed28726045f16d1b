package report

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The columns of conflicts.csv that are read back.
const (
	numberColumn   = "number"
	decisionColumn = "decision"
)

// Choice is one of the words that a decision is made of.
type Choice string

// The choices.
const (
	// ChooseLocal sends the kit's value to central.
	ChooseLocal Choice = "local"
	// ChooseCentral lets central's value stand and drops the kit's change.
	ChooseCentral Choice = "central"
	// ChooseAdopt says that the kit's person is the one at central who is offered; Value is then the uid of that one.
	ChooseAdopt Choice = "adopt"
	// ChooseValue sends a value that neither side has.
	ChooseValue Choice = "value"
)

// Decided is one decision as somebody wrote it into a file.
type Decided struct {
	// Line is the line of the file on which it stands, from 1.
	Line int
	// Number is the conflict's.
	Number int
	Choice Choice
	// Value goes with ChooseValue; it is empty to clear a field.
	Value string
}

// DecisionError is a mistake in a file of decisions, on one of its lines.
type DecisionError struct {
	// Line counts from 1.
	Line int
	// Message says what is wrong, lower case, without the line.
	Message string
	// Advice says what to do about it, or "".
	Advice string
}

// Error returns line N: message.
func (e *DecisionError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Message) }

// Hint returns the advice.
func (e *DecisionError) Hint() string { return e.Advice }

// ReadDecisions reads the decisions in a conflicts.csv that somebody has filled in, in the order of its lines.
// Only the columns number and decision are read, wherever they stand; lines without a decision are none. What
// spreadsheets do to such a file on the way is borne: another separator, another encoding, a mark at its
// beginning, other ends of lines, changed dates and ids. A number that is decided twice in the same way is one
// decision. The error is a *DecisionError.
func ReadDecisions(r io.Reader) ([]Decided, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	text := endLines(asText(raw))
	skipped := 0
	if first, rest, _ := strings.Cut(text, "\n"); strings.HasPrefix(strings.ToLower(first), "sep=") {
		text, skipped = rest, 1 // Excel's own way of naming the separator
	}
	rows, number, decision, err := rowsOf(text)
	if err != nil {
		return nil, err
	}
	var all []Decided
	for {
		record, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			line := 1
			var parse *csv.ParseError
			if errors.As(err, &parse) {
				line = parse.Line
			}
			return nil, &DecisionError{Line: line + skipped, Message: "this is no line of a CSV file"}
		}
		line, _ := rows.FieldPos(0)
		one, err := decidedOf(cellOf(record, number), cellOf(record, decision), line+skipped)
		if err != nil {
			return nil, err
		}
		if one == nil {
			continue
		}
		before := slices.IndexFunc(all, func(d Decided) bool { return d.Number == one.Number })
		switch {
		case before < 0:
			all = append(all, *one)
		case all[before].Choice != one.Choice || all[before].Value != one.Value:
			return nil, &DecisionError{
				Line: one.Line, Message: fmt.Sprintf("conflict %d is decided in another way on line %d", one.Number, all[before].Line),
				Advice: "leave one of the two",
			}
		}
	}
}

// rowsOf finds the separator by the names of the columns, and returns what stands below them.
func rowsOf(text string) (rows *csv.Reader, number, decision int, err error) {
	for _, separator := range []rune{',', ';', '\t'} {
		rows = csv.NewReader(strings.NewReader(text))
		rows.Comma, rows.FieldsPerRecord, rows.LazyQuotes = separator, -1, true
		head, err := rows.Read()
		if err != nil {
			continue
		}
		for i := range head {
			head[i] = strings.ToLower(strings.TrimSpace(head[i]))
		}
		number, decision = slices.Index(head, numberColumn), slices.Index(head, decisionColumn)
		if number < 0 || decision < 0 {
			continue
		}
		for _, column := range []string{numberColumn, decisionColumn} {
			if slices.Index(head, column) != lastIndex(head, column) {
				return nil, 0, 0, &DecisionError{Line: 1, Message: fmt.Sprintf("there are two columns %q", column)}
			}
		}
		return rows, number, decision, nil
	}
	return nil, 0, 0, &DecisionError{
		Line: 1, Message: fmt.Sprintf("the first line names no columns %q and %q", numberColumn, decisionColumn),
		Advice: "fill in the last column of the trip's " + CSVName + " and keep its first line",
	}
}

func lastIndex(list []string, wanted string) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == wanted {
			return i
		}
	}
	return -1
}

// cellOf is a cell without what is around it: spaces, no-break spaces, and the apostrophe that keeps a
// spreadsheet from taking it for a formula.
func cellOf(record []string, column int) string {
	if column >= len(record) {
		return ""
	}
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(record[column]), "'"))
}

// decidedOf reads one line; nil when nothing is decided on it.
func decidedOf(number, decision string, line int) (*Decided, error) {
	if decision == "" {
		return nil, nil
	}
	d := &Decided{Line: line}
	var ok bool
	if d.Number, ok = readNumber(number); !ok {
		return nil, &DecisionError{Line: line, Message: fmt.Sprintf("%q is no number of a conflict", number)}
	}
	value, isValue := strings.CutPrefix(decision, "=")
	switch word := strings.ToLower(decision); {
	case isValue:
		d.Choice, d.Value = ChooseValue, strings.TrimSpace(value)
	case word == string(ChooseLocal), word == string(ChooseCentral), word == string(ChooseAdopt):
		d.Choice = Choice(word)
	default:
		return nil, &DecisionError{
			Line: line, Message: fmt.Sprintf("%q is no decision", decision),
			Advice: "local, central, adopt, or = and a value; in a spreadsheet a value begins with '= so that it is not taken for a formula",
		}
	}
	return d, nil
}

// readNumber reads a number, also one that a spreadsheet gave decimals.
func readNumber(cell string) (int, bool) {
	for _, zeros := range []string{".0", ".00", ",0", ",00"} {
		if whole, cut := strings.CutSuffix(cell, zeros); cut {
			cell = whole
			break
		}
	}
	n, err := strconv.Atoi(cell)
	return n, err == nil && n > 0
}

// endLines makes all lines end alike: old Macs, and Excel there, end them with a carriage return alone.
func endLines(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}

// asText decodes what spreadsheets write: UTF-8 with or without its mark, UTF-16 with one, else Windows-1252,
// which is what "CSV" is in a Spanish or French Excel.
func asText(raw []byte) string {
	switch {
	case bytes.HasPrefix(raw, []byte{0xFF, 0xFE}):
		return fromUTF16(raw[2:], binary.LittleEndian)
	case bytes.HasPrefix(raw, []byte{0xFE, 0xFF}):
		return fromUTF16(raw[2:], binary.BigEndian)
	case utf8.Valid(raw):
		return strings.TrimPrefix(string(raw), byteOrderMark)
	}
	var b strings.Builder
	for _, c := range raw {
		if c >= 0x80 && c < 0xA0 {
			b.WriteRune(windows1252[c-0x80])
		} else {
			b.WriteRune(rune(c))
		}
	}
	return b.String()
}

// windows1252 is where that encoding differs from Unicode's first 256 characters.
var windows1252 = [32]rune{ //nolint:gochecknoglobals // a table
	'€', utf8.RuneError, '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', utf8.RuneError, 'Ž', utf8.RuneError,
	utf8.RuneError, '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', utf8.RuneError, 'ž', 'Ÿ',
}

func fromUTF16(raw []byte, order binary.ByteOrder) string {
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = order.Uint16(raw[2*i:])
	}
	return string(utf16.Decode(units))
}
