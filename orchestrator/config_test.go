package orchestrator

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

const (
	smallest  = "name: bocas-1\ncentral: {url: https://dhis2.example.org}\nscope: {orgUnits: [RIOCANA]}\n"
	recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
)

func TestParseConfig(t *testing.T) {
	all := Selection{All: true}
	dhis2, postgres := ImageConfig{"dhis2/core"}, ImageConfig{"ghcr.io/baosystems/postgis:16-3.5"}
	tests := map[string]struct {
		file string
		want Config
	}{
		"the smallest": {smallest, Config{Name: "bocas-1", Central: CentralConfig{URL: "https://dhis2.example.org"},
			Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all}, DHIS2: dhis2, Postgres: postgres}},
		"its own containers": {smallest + "clinic: {name: bocas-1.clinic.lan, address: 192.168.8.2}\n", Config{Name: "bocas-1",
			Central: CentralConfig{URL: "https://dhis2.example.org"}, Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all},
			DHIS2: dhis2, Postgres: postgres,
			Clinic: &ClinicConfig{Name: "bocas-1.clinic.lan", Address: netip.MustParseAddr("192.168.8.2"), Port: 80}}},
		"other images": {smallest + "clinic:\n  name: kit\n  address: 10.0.0.1\n  port: 8080\ndhis2: {image: 'localhost:5000/dhis2/core'}\n" +
			"postgres: {image: 'postgis/postgis:15-3.3'}\n", Config{Name: "bocas-1",
			Central: CentralConfig{URL: "https://dhis2.example.org"}, Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all},
			DHIS2: ImageConfig{"localhost:5000/dhis2/core"}, Postgres: ImageConfig{"postgis/postgis:15-3.3"},
			Clinic: &ClinicConfig{Name: "kit", Address: netip.MustParseAddr("10.0.0.1"), Port: 8080}}},
		"tablets of its own containers": {smallest + "clinic: {name: kit, address: 10.0.0.1, android: {dataSync: 1h, encryptDB: false, teiDownload: 500}}\n", Config{Name: "bocas-1",
			Central: CentralConfig{URL: "https://dhis2.example.org"}, Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all},
			DHIS2: dhis2, Postgres: postgres, Clinic: &ClinicConfig{Name: "kit", Address: netip.MustParseAddr("10.0.0.1"), Port: 80},
			Android: &snapshot.AndroidOverlay{DataSync: "1h", MetadataSync: "1h", SettingDownload: "PER_ORG_UNIT", TrackedEntities: 500, Events: 3000, ReservedValues: 100}}},
		"tablets of another DHIS2": {smallest + "local: {url: 'http://x'}\nclinic:\n  android:\n    metadataSync: manual\n    allowScreenCapture: true\n    reservedValues: 20\n", Config{Name: "bocas-1",
			Central: CentralConfig{URL: "https://dhis2.example.org"}, Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all},
			Local: &LocalConfig{URL: "http://x"}, Android: &snapshot.AndroidOverlay{
				DataSync: "30m", MetadataSync: "manual", SettingDownload: "PER_ORG_UNIT", TrackedEntities: 2000, Events: 3000, ReservedValues: 20, EncryptDB: true, AllowScreenCapture: true,
			}}},
		"all metadata": {smallest + "metadata: all\n", Config{Name: "bocas-1", Central: CentralConfig{URL: "https://dhis2.example.org"},
			Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all, AllMetadata: true}, DHIS2: dhis2, Postgres: postgres}},
		"patients expected": {smallest + "numbers: {patients: 60, days: 7}\n", Config{Name: "bocas-1", Central: CentralConfig{URL: "https://dhis2.example.org"},
			Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all}, DHIS2: dhis2, Postgres: postgres, Numbers: NumbersConfig{Patients: 60, Days: 7}}},
		"limits and a language": {smallest + "limits: {deletions: 5, overwrites: 100}\nreport: {language: es}\nsideEffects: true\n", Config{Name: "bocas-1",
			Central: CentralConfig{URL: "https://dhis2.example.org"}, Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all},
			DHIS2: dhis2, Postgres: postgres, Limits: LimitsConfig{Deletions: 5, Overwrites: 100}, Report: ReportConfig{Language: "es"}, SideEffects: true}},
		"passwords made": {smallest + "users: generate\n", Config{Name: "bocas-1", Central: CentralConfig{URL: "https://dhis2.example.org"},
			Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all}, DHIS2: dhis2, Postgres: postgres,
			Users: UsersConfig{Generate: true}}},
		"passwords given": {smallest + "users: {file: staff/people.csv}\n", Config{Name: "bocas-1", Central: CentralConfig{URL: "https://dhis2.example.org"},
			Scope: Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all}, DHIS2: dhis2, Postgres: postgres,
			Users: UsersConfig{File: "staff/people.csv"}}},
		"everything": {`
# a comment
name: "bocas 1"
central:
  url: https://example.org/dhis/   # the slash goes
scope:
  orgUnits:
    - RIOCANA
    - 0042
  programs: [IpHINAT79UW]
  dataSets: []
  since: 2024-01-01
local:
  url: http://127.0.0.1:8086
  database: postgres://dhis:secret@127.0.0.1/dhis2
encrypt: {recipients: [` + recipient + `]}
`, Config{Name: "bocas 1", Central: CentralConfig{URL: "https://example.org/dhis"},
			Scope: Scope{OrgUnits: []string{"RIOCANA", "0042"}, Programs: Selection{Names: []string{"IpHINAT79UW"}},
				Since: "2024-01-01"},
			Local:   &LocalConfig{URL: "http://127.0.0.1:8086", Database: "postgres://dhis:secret@127.0.0.1/dhis2"},
			Encrypt: EncryptConfig{Recipients: []string{recipient}}}},
		"said to be all": {smallest + "# nothing below\n", Config{Name: "bocas-1",
			Central: CentralConfig{URL: "https://dhis2.example.org"},
			Scope:   Scope{OrgUnits: []string{"RIOCANA"}, Programs: all, DataSets: all}, DHIS2: dhis2, Postgres: postgres}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseConfig("fieldkit.yaml", []byte(test.file))
			if err != nil {
				t.Fatal(err)
			}
			test.want.Path = "fieldkit.yaml"
			if test.want.Limits == (LimitsConfig{}) {
				test.want.Limits = LimitsConfig{Deletions: 2, Overwrites: 50}
			}
			if test.want.Numbers == (NumbersConfig{}) {
				test.want.Numbers = NumbersConfig{Patients: 500, Days: 30}
			}
			if test.want.Android == nil && test.want.Local == nil {
				android := defaultAndroid()
				test.want.Android = &android
			}
			if diff := cmp.Diff(&test.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseConfigRefuses(t *testing.T) {
	tests := map[string]struct{ file, want, hint string }{
		"an empty file":        {"", "f: name is missing", ""},
		"a comment alone":      {"# soon\n", "f: name is missing", ""},
		"a misspelt key":       {"nmae: x\n", `f:1:1: unknown key "nmae"`, `did you mean "name"?`},
		"a misspelt key below": {strings.Replace(smallest, "orgUnits", "orgunit", 1), `f:3:9: unknown key "orgunit" in scope`, `did you mean "orgUnits"?`},
		"a key one level up":   {"name: x\norgUnits: [A]\n", `f:2:1: unknown key "orgUnits"`, "scope.orgUnits is known: is the line indented as it should be?"},
		"a key from nowhere":   {"keeper: {}\n", `f:1:1: unknown key "keeper"`, "the file may hold name, central, scope, metadata, local, clinic, dhis2, postgres, users, conflicts, report, sideEffects, limits, numbers, encrypt"},
		"two kinds of local":   {smallest + "local: {url: http://x}\nclinic: {name: a, address: 10.0.0.1}\n", "f:5:1: clinic is about the kit's own containers, and local names a DHIS2 that runs already", "leave out local, or this"},
		"no clinic's address":  {smallest + "clinic: {name: a}\n", "f:4:9: clinic.address is missing", ""},
		"an address for name":  {smallest + "clinic: {name: 10.0.0.1, address: 10.0.0.1}\n", "f:4:16: not a host name", "small letters, digits, - and dots, as in bocas-1.clinic.lan"},
		"a name in capitals":   {smallest + "clinic: {name: Bocas, address: 10.0.0.1}\n", "f:4:16: not a host name", "small letters, digits, - and dots, as in bocas-1.clinic.lan"},
		"every address":        {smallest + "clinic: {name: a, address: 0.0.0.0}\n", "f:4:28: not the address of one machine", "the one that this machine has in the clinic's network, so that the kit is open to no other"},
		"an IPv6 address":      {smallest + "clinic: {name: a, address: '::1'}\n", "f:4:28: not an IPv4 address", "as in 192.168.8.2: what this machine has in the clinic's network"},
		"no port":              {smallest + "clinic: {name: a, address: 10.0.0.1, port: 0}\n", "f:4:44: a port is a number from 1 to 65535", ""},
		"a digest":             {smallest + "dhis2: {image: 'dhis2/core@sha256:0'}\n", "f:4:16: an image is named by its tag here, not by a digest", "digests do not survive being saved to a file; the image's id is recorded and checked instead"},
		"no image":             {smallest + "dhis2: {image: 'dhis2/Core:'}\n", "f:4:16: not the name of an image", "as in dhis2/core, or registry.example.org/dhis2/core:2.42.5.2"},
		"no postgres tag":      {smallest + "postgres: {image: 'h:1/postgis'}\n", "f:4:19: the image has no tag, and what it stands for then moves", "as in ghcr.io/baosystems/postgis:16-3.5"},
		"a key of later on":    {smallest + "local: {url: http://x, store: y}\n", `f:4:24: unknown key "store" in local`, "local may hold url, database"},
		"a key twice":          {"name: x\nname: y\n", `f:2:1: not YAML: mapping key "name" already defined at [1:1]`, ""},
		"broken YAML":          {"name: [x\n", "f:1:7: not YAML: sequence end token ']' not found", ""},
		"two documents":        {smallest + "---\nname: y\n", "f:5:5: a second document begins here; one is all that is read", ""},
		"a list":               {"- name\n", "f:1:1: the file holds keys, not a value", "as in name: bocas-1"},
		"no name":              {"central: {url: https://x}\nscope: {orgUnits: [A]}\n", "f:1:8: name is missing", ""},
		"a name without value": {"name:\n", "f:1:1: name has no value", ""},
		"a name of two":        {"name: [a, b]\n", "f:1:7: one value is wanted here, not a list", ""},
		"a name with a slash":  {"name: a/b\n", "f:1:7: a kit's name has at most 63 letters and no slash", ""},
		"a truth":              {"name: true\n", "f:1:7: text is wanted here, not true", "put it in quotes if it is meant as text"},
		"an alias":             {"name: &a x\n", "f:1:7: anchors, aliases and tags are not read", "write the value out"},
		"no central":           {"name: x\nscope: {orgUnits: [A]}\n", "f:1:5: central.url is missing", ""},
		"central as text":      {"name: x\ncentral: https://x\n", "f:2:10: central holds keys, not a value", "as in central: {url: ...}"},
		"an empty central":     {"name: x\ncentral:\n", "f:2:10: central.url is missing", ""},
		"no scope":             {"name: x\ncentral: {url: https://x}\n", "f:1:5: scope.orgUnits is missing", ""},
		"no org units":         {strings.Replace(smallest, "[RIOCANA]", "[]", 1), "f:3:19: the list is empty", ""},
		"one org unit bare":    {strings.Replace(smallest, "[RIOCANA]", "RIOCANA", 1), "f:3:19: a list is wanted here", "in brackets, or one a line after a dash"},
		"an org unit of keys":  {strings.Replace(smallest, "[RIOCANA]", "[{a: b}]", 1), "f:3:20: one value is wanted here", ""},
		"one program bare":     {strings.Replace(smallest, "]}", "], programs: X}", 1), "f:3:40: `all` or a list of codes or uids is wanted here", "a single one goes into brackets, too"},
		"no day":               {strings.Replace(smallest, "]}", "], since: 2024-02-30}", 1), `f:3:37: "2024-02-30" is not a date`, "as in 2024-01-31"},
		"no address":           {"name: x\ncentral: {url: dhis2.example.org}\n", "f:2:16: not the address of a server", "as in https://dhis2.example.org"},
		"an api address":       {"name: x\ncentral: {url: https://x/api/}\n", "f:2:16: not the base address of a server", "leave out /api"},
		"a query":              {"name: x\ncentral: {url: https://x/?a=b}\n", "f:2:16: not the base address of a server", "leave out everything from the ? or # on"},
		"local without url":    {smallest + "local: {}\n", "f:4:8: local.url is missing", ""},
		"another database":     {smallest + "local: {url: http://x, database: mysql://root:secret@h/d}\n", "f:4:34: not the address of a PostgreSQL database", "as in postgres://dhis@127.0.0.1:5432/dhis2, the password in PGPASSWORD"},
		"an ssh key":           {smallest + "encrypt: {recipients: [ssh-ed25519 AAAA]}\n", "f:4:24: not an age public key", "it begins with age1: `age-keygen` makes one"},
		"a damaged key":        {smallest + "encrypt: {recipients: [" + recipient[:61] + "q]}\n", "f:4:24: not an age public key", "it begins with age1: `age-keygen` makes one"},
		"half the metadata":    {smallest + "metadata: half\n", "f:4:11: `all` is wanted here", "leave the key out for what the scope needs"},
		"users as they like":   {smallest + "users: random\n", "f:4:8: `generate` or {file: people.csv} is wanted here", ""},
		"users of no file":     {smallest + "users: {}\n", "f:4:8: users.file is missing", ""},
		"an unknown policy":    {smallest + "conflicts: {default: newest}\n", `f:4:22: hold, local or central is wanted here, not "newest"`, ""},
		"a policy for nothing": {smallest + "conflicts: {fields: {PHONE: }}\n", "f:4:22: PHONE has no value", ""},
		"policies as a list":   {smallest + "conflicts: {programs: [local]}\n", "f:4:23: names are wanted here, each with a policy", "as in {PHONE: local}"},
		"tablets, no clinic":   {smallest + "clinic: {android: {dataSync: 1h}}\n", "f:4:1: clinic.name is missing", ""},
		"a port beside local":  {smallest + "local: {url: http://x}\nclinic: {port: 80, android: {dataSync: 1h}}\n", "f:5:9: clinic.name is missing", ""},
		"too often":            {smallest + "clinic: {name: a, address: 10.0.0.1, android: {dataSync: 5m}}\n", `f:4:58: 30m, 1h, 6h, 12h, 24h or manual is wanted here, not "5m"`, ""},
		"too many numbers":     {smallest + "clinic: {name: a, address: 10.0.0.1, android: {reservedValues: 501}}\n", "f:4:64: not a number that can be used here", "from 1 to 500"},
		"encrypted, perhaps":   {smallest + "clinic: {name: a, address: 10.0.0.1, android: {encryptDB: 'yes'}}\n", "f:4:59: true or false is wanted here", ""},
		"no such app setting":  {smallest + "clinic: {name: a, address: 10.0.0.1, android: {datasync: 1h}}\n", `f:4:48: unknown key "datasync" in clinic.android`, `did you mean "dataSync"?`},
		"no recipients":        {smallest + "encrypt: {recipients: []}\n", "f:4:23: the list is empty", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfig("f", []byte(test.file))
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff([]string{test.want, test.hint}, []string{err.Error(), Hint(err)}); diff != "" {
				t.Error(diff)
			}
			if !errors.Is(err, ErrUsage) {
				t.Error("not a usage error")
			}
		})
	}
}

func TestConfigErrorsKeepSecrets(t *testing.T) {
	for _, file := range []string{
		"name: x\ncentral: {url: 'https://admin:secret@example.org'}\n",
		"name: x\ncentral: {url: 'https://admin:secret@exa mple.org:x'}\n",
		smallest + "local: {url: http://x, database: 'postgres://dhis:secret@h:port/d'}\n",
		smallest + "local: {url: http://x, database: 'postgres://dhis:secret@h'}\n",
		smallest + "encrypt: {recipients: [AGE-SECRET-KEY-1secret]}\n",
	} {
		_, err := ParseConfig("f", []byte(file))
		if err == nil {
			t.Errorf("accepted: %s", file)
		} else if strings.Contains(err.Error()+Hint(err), "secret@") || strings.Contains(err.Error()+Hint(err), "1secret") {
			t.Errorf("tells the secret: %v", err)
		}
	}
}

func TestLoadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), ConfigFile)
	_, err := LoadConfig(path)
	if !errors.Is(err, ErrUsage) || !strings.Contains(Hint(err), "fieldkit init") {
		t.Errorf("no file: %v, hint %q", err, Hint(err))
	}
	if err := os.WriteFile(path, []byte(smallest), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if config.Path != path || config.Name != "bocas-1" {
		t.Errorf("got %+v", config)
	}
	if _, err := LoadConfig(filepath.Dir(path)); !errors.Is(err, ErrUsage) {
		t.Errorf("a directory: %v", err)
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"name", "central", "scope", "orgUnits", "programs", "dataSets", "since"}
	for word, want := range map[string]string{
		"nmae": "name", "Name": "name", "orgunit": "orgUnits", "organisationUnits": "", "dataset": "dataSets",
		"sicne": "since", "x": "", "scoop": "scope", "": "", "programme": "programs",
	} {
		if got, _ := Nearest(word, candidates); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestHint(t *testing.T) {
	base := errors.New("broken")
	outer := &ServerError{Side: Central, URL: "https://x", Err: WithHint(base, "mend %s", "it")}
	tests := []struct {
		err  error
		want string
	}{
		{nil, ""}, {base, ""}, {WithHint(base, "mend it"), "mend it"},
		{outer, "mend it"}, {errors.Join(base, outer), "mend it"}, {WithHint(outer, "first"), "first"},
	}
	for _, test := range tests {
		if got := Hint(test.err); got != test.want {
			t.Errorf("Hint(%v) = %q, want %q", test.err, got, test.want)
		}
	}
	if !errors.Is(outer, ErrCentral) || !errors.Is(outer, base) {
		t.Error("trouble with central is not ErrCentral, or hides its cause")
	}
	if errors.Is(&ServerError{Side: Local, Err: base}, ErrCentral) {
		t.Error("trouble with local is ErrCentral")
	}
}
