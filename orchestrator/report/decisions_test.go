package report

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

func TestReadDecisions(t *testing.T) {
	three := []Decided{{Line: 2, Number: 3, Choice: ChooseLocal}, {Line: 3, Number: 9, Choice: ChooseCentral}, {Line: 5, Number: 12, Choice: ChooseValue, Value: "José 1"}}
	const plain = "number,kind,decision\n3,event,local\n9,event,central\n10,event,\n12,event,=José 1\n"
	latin := strings.ReplaceAll(plain, "é", "\xe9")
	units := utf16.Encode([]rune(strings.ReplaceAll(plain, ",", "\t")))
	wide := []byte{0xFF, 0xFE}
	for _, unit := range units {
		wide = binary.LittleEndian.AppendUint16(wide, unit)
	}
	for name, tc := range map[string]struct {
		text string
		want []Decided
	}{
		"as it was written":         {plain, three},
		"with its mark":             {"\ufeff" + plain, three},
		"lines end as on Windows":   {strings.ReplaceAll(plain, "\n", "\r\n"), three},
		"lines end as on old Macs":  {strings.ReplaceAll(plain, "\n", "\r"), three},
		"Spanish Excel":             {strings.ReplaceAll(latin, ",", ";"), three},
		"Excel's text":              {string(wide), three},
		"the words in any letters":  {"Number;DECISION\n3; Local \n9;CENTRAL\n\n12;= José 1\n", three},
		"Excel names the separator": {"sep=;\nnumber;decision\n3;local\n", []Decided{{Line: 3, Number: 3, Choice: ChooseLocal}}},
		"other columns":             {"when;decision;base;number\n24/11/2026;local;7,1E+10;3\n", []Decided{{Line: 2, Number: 3, Choice: ChooseLocal}}},
		"numbers with decimals":     {"number;decision\n3,00;local\n9.0;central\n", []Decided{{Line: 2, Number: 3, Choice: ChooseLocal}, {Line: 3, Number: 9, Choice: ChooseCentral}}},
		"quoted cells":              {"number,base,decision\n3,\"a, \"\"b\"\"\nc\",\"=1, 2\"\n4,,local\n", []Decided{{Line: 2, Number: 3, Choice: ChooseValue, Value: "1, 2"}, {Line: 4, Number: 4, Choice: ChooseLocal}}},
		"kept from being a formula": {"number;decision\n3;'=+507 6111\n'4;'local\n", []Decided{{Line: 2, Number: 3, Choice: ChooseValue, Value: "+507 6111"}, {Line: 3, Number: 4, Choice: ChooseLocal}}},
		"a value that is empty":     {"number;decision\n3;=\n", []Decided{{Line: 2, Number: 3, Choice: ChooseValue}}},
		"twice the same":            {"number;decision\n3;local\n3;local\n", []Decided{{Line: 2, Number: 3, Choice: ChooseLocal}}},
		"short and long lines":      {"number;decision\n3\n4;local;x;y\n;\n", []Decided{{Line: 3, Number: 4, Choice: ChooseLocal}}},
		"nothing decided":           {"number;decision\n3;\n", nil},
		"no line but the first":     {"number;decision", nil},
		"columns of like names":     {"number;decision;decision x\n3;local;y\n", []Decided{{Line: 2, Number: 3, Choice: ChooseLocal}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadDecisions(strings.NewReader(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("decisions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadDecisionsNamesTheLine(t *testing.T) {
	for name, tc := range map[string]struct {
		text, want string
	}{
		"empty":                {"", `line 1: the first line names no columns "number" and "decision"`},
		"no column":            {"number;kind\n3;x\n", `line 1: the first line names no columns "number" and "decision"`},
		"two columns":          {"number;decision;decision\n", `line 1: there are two columns "decision"`},
		"an unknown word":      {"number;decision\n3;local\n4;#NAME?\n", `line 3: "#NAME?" is no decision`},
		"after a long cell":    {"number;base;decision\n3;\"a\nb\";local\n4;;both\n", `line 4: "both" is no decision`},
		"no number":            {"number;decision\n;local\n", `line 2: "" is no number of a conflict`},
		"a number as a date":   {"number;decision\n3-ene;local\n", `line 2: "3-ene" is no number of a conflict`},
		"a negative number":    {"number;decision\n-3;local\n", `line 2: "-3" is no number of a conflict`},
		"thousands":            {"number;decision\n1.049;local\n", `line 2: "1.049" is no number of a conflict`},
		"two decisions":        {"number;decision\n3;local\n4;local\n3;central\n", `line 4: conflict 3 is decided in another way on line 2`},
		"two values":           {"number;decision\n3;=1\n3;=2\n", `line 3: conflict 3 is decided in another way on line 2`},
		"after the separator":  {"sep=,\nnumber,decision\n3,maybe\n", `line 3: "maybe" is no decision`},
		"a report that is not": {"<html>\n", `line 1: the first line names no columns "number" and "decision"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadDecisions(strings.NewReader(tc.text))
			var mistake *DecisionError
			if !errors.As(err, &mistake) || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// TestDecisionsComeBack: what waits or is only planned stands in the file again, and everything else is to be filled in.
func TestDecisionsComeBack(t *testing.T) {
	r := sample()
	r.Decisions = append(r.Decisions,
		Decision{Number: 3, Field: "At000000001", Choice: ChooseValue, Value: "+507 1", State: DecisionPlanned},
		Decision{Number: 9, Field: "At000000002", Choice: ChooseLocal, State: DecisionNotApplied},
		Decision{Number: 12, Choice: ChooseLocal, State: DecisionWaits, Policy: true})
	var out strings.Builder
	if err := writeCSV(&out, r); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDecisions(strings.NewReader(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].Line = 0
	}
	want := []Decided{{Number: 3, Choice: ChooseValue, Value: "+507 1"}, {Number: 5, Choice: ChooseLocal}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	filled := strings.ReplaceAll(out.String(), ",\r\n", ",central\r\n")
	if got, err = ReadDecisions(strings.NewReader(filled)); err != nil || len(got) != len(r.Conflicts)+2 { // with who may be the same person; and the decision that is planned
		t.Errorf("filled in: %+v, %v", got, err)
	}
}

func FuzzReadDecisions(f *testing.F) {
	f.Add("number,decision\n3,local\n")
	f.Add("\ufeffnumber;decision\r\n3;'=x\r\n")
	f.Add("sep=;\nnumber;decision\n\"3\";\"a\nb\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		decided, err := ReadDecisions(strings.NewReader(text))
		var mistake *DecisionError
		if err != nil && !errors.As(err, &mistake) {
			t.Fatalf("an error that names no line: %v", err)
		}
		seen := map[int]bool{}
		for _, d := range decided {
			if seen[d.Number] || d.Line < 1 || d.Number < 1 {
				t.Fatalf("%+v", d)
			}
			seen[d.Number] = true
		}
	})
}
