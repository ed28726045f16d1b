package orchestrator

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestQuoteIsReadBack(t *testing.T) {
	for _, text := range []string{"RIOCANA", "0042", "a b", "no", "all", "true", "null", "~", "#x", "x #y", "a: b", "a,b", "[a]", "'", `"\`,
		"-", "- a", "é", "1e3", "0x1F", "2024-01-01", "a:b", "a:", ":a", "https://x:80/y?", "https://x:80", "http://x/dhis/", "{", "*a", "&a", "!a", "%a", "@a", "`a"} {
		file := "name: x\ncentral: {url: https://x}\nscope: {orgUnits: " + quoteList([]string{text, text}) + "}\n"
		config, err := ParseConfig("f", []byte(file))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff([]string{text, text}, config.Scope.OrgUnits); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAddressesAreReadBack(t *testing.T) {
	for _, address := range []string{"https://x", "http://127.0.0.1:8086", "https://x:80/dhis", "https://x/a,b", "https://x/{a}", "http://[::1]:80"} {
		file := (&InitOptions{Name: "x", Central: address, OrgUnits: []string{"A"}, Local: address}).file()
		config, err := ParseConfig("f", []byte(file))
		if err != nil {
			t.Errorf("%s: %v", address, err)
		} else if config.Central.URL != address || config.Local.URL != address {
			t.Errorf("%s read back as %s and %s", address, config.Central.URL, config.Local.URL)
		}
	}
}

func TestPick(t *testing.T) {
	found := []choice{{"aaaaaaaaaaa", "ONE", "First"}, {"bbbbbbbbbbb", "", "Second"}, {"ccccccccccc", "7", "Third"}}
	tests := []struct {
		answer string
		free   bool
		want   []string
		wrong  string
	}{
		{"1 2", false, []string{"ONE", "bbbbbbbbbbb"}, ""},
		{"aaaaaaaaaaa,ONE", false, []string{"ONE", "ONE"}, ""},
		{"7", false, []string{"7"}, ""},
		{"4", false, nil, "4"},
		{"0", true, nil, "0"},
		{"", false, nil, ""},
		{"", true, nil, ""},
		{"all", true, nil, ""},
		{"none", true, []string{}, ""},
		{"OTHER", false, nil, "OTHER"},
		{"OTHER 2", true, []string{"OTHER", "bbbbbbbbbbb"}, ""},
	}
	for _, test := range tests {
		got, wrong := pick(test.answer, found, test.free)
		if diff := cmp.Diff(test.want, got); diff != "" && test.wrong == "" || wrong != test.wrong {
			t.Errorf("pick(%q) = %q, wrong %q", test.answer, got, wrong)
		}
	}
}

func TestInitAsksAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kit 7")
	answers := map[string][]string{
		"the kit's name [kit 7]": {""},
		"central's address":      {"", "dhis2.example.org"},
		"not the address of a server (as in https://dhis2.example.org); central's address":                          {"https://dhis2.example.org"},
		"carry data since which day, as in 2024-01-31 (empty: everything)":                                          {"soon"},
		`"soon" is not a date (as in 2024-01-31); carry data since which day, as in 2024-01-31 (empty: everything)`: {""},
		"address of the DHIS2 that serves as the kit's (empty: the kit runs its own)":                               {"http://127.0.0.1:8086"},
	}
	ask := func(p Prompt) (string, error) {
		left := answers[p.Text]
		if len(left) == 0 {
			return "", errors.New("not expected: " + p.Text)
		}
		answers[p.Text] = left[1:]
		return left[0], nil
	}
	path, err := Init(t.Context(), InitOptions{Dir: dir, OrgUnits: []string{"A"}, Programs: []string{"all"}, DataSets: []string{"D"}, Ask: ask})
	if err != nil {
		t.Fatal(err)
	}
	config, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{Path: path, Name: "kit 7", Central: CentralConfig{URL: "https://dhis2.example.org"},
		Scope: Scope{OrgUnits: []string{"A"}, Programs: Selection{All: true}, DataSets: Selection{Names: []string{"D"}}},
		Local: &LocalConfig{URL: "http://127.0.0.1:8086"}, Numbers: NumbersConfig{Patients: 500, Days: 30}, Limits: LimitsConfig{Deletions: 2, Overwrites: 50}}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestInitAsksForTheClinic(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bocas-1")
	answers := map[string]string{
		"address of the DHIS2 that serves as the kit's (empty: the kit runs its own)":                  "",
		"this machine's address in the clinic's network; now it has 192.168.8.2 (empty: decide later)": "eth0",
		"not an IPv4 address (as in 192.168.8.2: what this machine has in the clinic's network); " +
			"this machine's address in the clinic's network; now it has 192.168.8.2 (empty: decide later)": "192.168.8.2",
		"name by which tablets find the kit, unlike any other kit's [bocas-1.clinic.lan]": "",
	}
	ask := func(p Prompt) (string, error) {
		answer, expected := answers[p.Text]
		if !expected {
			return "", errors.New("not expected: " + p.Text)
		}
		return answer, nil
	}
	options := InitOptions{Dir: dir, Name: "bocas-1", Central: "https://x", OrgUnits: []string{"A"}, Programs: []string{"all"},
		DataSets: []string{"all"}, Since: "2024-01-01", Ask: ask, Machine: oneAddress{}}
	path, err := Init(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	config, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	want := &ClinicConfig{Name: "bocas-1.clinic.lan", Address: netip.MustParseAddr("192.168.8.2"), Port: 80}
	if diff := cmp.Diff(want, config.Clinic, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

// oneAddress is a machine in one network.
type oneAddress struct{ thisMachine }

func (oneAddress) Addresses() ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.168.8.2"), netip.MustParseAddr("::1")}, nil
}
