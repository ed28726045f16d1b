package numbers_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
)

func TestPattern(t *testing.T) {
	at := time.Date(2026, 3, 5, 23, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		pattern, code string
		kind          numbers.Method
		space         float64
		key           string // empty: none for this code and date
		value         string // of number 42; empty where it has none
	}{
		{`"FD-"+SEQUENTIAL(######)`, "", numbers.Sequential, 999_999, "FD-SEQUENTIAL(######)", "FD-000042"},
		{`ORG_UNIT_CODE(...) + "-" + SEQUENTIAL(###)`, "BOCAS", numbers.Sequential, 999, "BOC-SEQUENTIAL(###)", "BOC-042"},
		{`ORG_UNIT_CODE() + SEQUENTIAL(##)+"/x"`, "BOCAS", numbers.Sequential, 99, "BOCASSEQUENTIAL(##)/x", "BOCAS42/x"},
		{`ORG_UNIT_CODE(...)+SEQUENTIAL(###)`, "BO", numbers.Sequential, 999, "", ""},
		{`ORG_UNIT_CODE(..$)+SEQUENTIAL(###)`, "BO", numbers.Sequential, 999, "BOSEQUENTIAL(###)", "BO042"},
		{`ORG_UNIT_CODE(..$)+SEQUENTIAL(###)`, "BOCAS", numbers.Sequential, 999, "", ""},
		{`ORG_UNIT_CODE(...)+SEQUENTIAL(###)`, "", numbers.Sequential, 999, "", ""},
		{`CURRENT_DATE(yyyyMMdd)+"-"+SEQUENTIAL(####)`, "", numbers.Sequential, 9999, "20260305-SEQUENTIAL(####)", "20260305-0042"},
		{`CURRENT_DATE(yy-M)+SEQUENTIAL(##)`, "", numbers.Sequential, 99, "26-3SEQUENTIAL(##)", "26-342"},
		{`CURRENT_DATE(yyww)+SEQUENTIAL(##)`, "", numbers.Sequential, 99, "", ""},
		{`"R"+RANDOM(#Xx*)`, "", numbers.Random, 10 * 26 * 26 * 62, "RRANDOM(#Xx*)", ""},
		{`"only text"`, "", numbers.Text, 1, "only text", ""},
	} {
		p, err := numbers.Parse(test.pattern)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		key, err := p.Key(test.code, at)
		if p.Kind() != test.kind || p.Space() != test.space || key != test.key || (err == nil) != (test.key != "") {
			t.Errorf("%s with %q: %s, %g values, key %q, %v", test.pattern, test.code, p.Kind(), p.Space(), key, err)
		}
		if test.value == "" {
			continue
		}
		if got := p.Value(key, 42); got != test.value {
			t.Errorf("%s: value %q, want %q", test.pattern, got, test.value)
		}
		if number, ok := p.Number(key, test.value); !ok || number != 42 {
			t.Errorf("%s: number of %q is %d, %t", test.pattern, test.value, number, ok)
		}
		for _, other := range []string{"", "x" + test.value, test.value[1:], "+" + test.value[1:]} {
			if number, ok := p.Number(key, other); ok && other != test.value {
				t.Errorf("%s: %q has the number %d", test.pattern, other, number)
			}
		}
	}
	for _, wrong := range []string{"", `"open`, `SEQUENTIAL()`, `SEQUENTIAL(###)+`, `SEQUENTIAL(#x)`, `NAME(..)`, `RANDOM(#############)`} {
		if p, err := numbers.Parse(wrong); err == nil {
			t.Errorf("%q is read as %v", wrong, p)
		}
	}
	p, _ := numbers.Parse(`CURRENT_DATE(ww)+SEQUENTIAL(##)`)
	if _, err := p.Key("", at); !errors.Is(err, numbers.ErrOwnDate) {
		t.Errorf("a week: %v", err)
	}
}

func TestBlocks(t *testing.T) {
	block := func(first, last int64) numbers.Block { return numbers.Block{First: first, Last: last} }
	blocks := numbers.Add(nil, block(5, 9), block(1, 3), block(20, 29), block(10, 10), block(4, 3))
	if diff := cmp.Diff([]numbers.Block{block(1, 3), block(5, 10), block(20, 29)}, blocks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]numbers.Block{block(7, 10), block(20, 29)}, numbers.From(blocks, 7)); diff != "" {
		t.Error(diff)
	}
	if got := numbers.Largest(blocks); got != block(20, 29) {
		t.Errorf("largest: %v", got)
	}
	if got := numbers.Largest(nil).Size(); got != 0 {
		t.Errorf("the largest of none has %d numbers", got)
	}
	if numbers.Contains(blocks, 4) || !numbers.Contains(blocks, 10) {
		t.Errorf("4 is in %v, or 10 is not", blocks)
	}
}

func TestReservationsFile(t *testing.T) {
	path := t.TempDir() + "/" + numbers.FileName
	if held, err := numbers.Read(path); held != nil || err != nil {
		t.Errorf("no file: %v, %v", held, err)
	}
	held := &numbers.Reservations{Central: "https://central", Attributes: []*numbers.Attribute{{
		UID: "aNumberAtt1", Kind: numbers.Sequential, Keys: []*numbers.Key{{Key: "SEQUENTIAL(##)", Wanted: 5, Blocks: []numbers.Block{{First: 1, Last: 9}, {First: 20, Last: 24}}, Floor: 7}},
	}}}
	if err := held.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := numbers.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(held, got); diff != "" {
		t.Error(diff)
	}
	if usable := got.Attribute("aNumberAtt1").Find("SEQUENTIAL(##)").Usable(); usable != (numbers.Block{First: 20, Last: 24}) {
		t.Errorf("usable: %v", usable)
	}
	if key := got.Attribute("unknownAtt1").Find("x"); key != nil {
		t.Errorf("an unknown attribute has %v", key)
	}
}
