package orchestrator_test

import (
	"encoding/csv"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestPeople follows the people of a clinic over several trips, on the two servers that the acceptance suite
// would take.
func TestPeople(t *testing.T) {
	w := newPeopleWorld(t, "users: generate\n")
	receipt := w.prepare()
	if diff := cmp.Diff(&orchestrator.PeopleReceipt{Ready: 2, Given: 2, Without: []string{w.username("boss")}}, receipt.People); diff != "" {
		t.Errorf("the first prepare: %s", diff)
	}
	first := w.peopleFile()
	if diff := cmp.Diff([]string{w.username("lidia"), w.username("marta")}, slices.Sorted(maps.Keys(first))); diff != "" {
		t.Errorf("people in the file: %s", diff)
	}
	w.expectLogin("lidia", first[w.username("lidia")], true)
	w.expectLogin("marta", first[w.username("marta")], true)
	for _, password := range first {
		w.expectLogin("elsewhere", password, false)
		w.expectLogin("gone", password, false)
		w.expectLogin("boss", password, false)
	}

	// Tablets with unsent work know the old password: the next trip brings no other.
	receipt = w.prepare()
	if diff := cmp.Diff(&orchestrator.PeopleReceipt{Ready: 2, Without: []string{w.username("boss")}}, receipt.People); diff != "" {
		t.Errorf("the second prepare: %s", diff)
	}
	if diff := cmp.Diff(first, w.peopleFile()); diff != "" {
		t.Errorf("the passwords changed: %s", diff)
	}
	w.expectLogin("lidia", first[w.username("lidia")], true)

	// Lidia chooses her own, and keeps it.
	const own = "Mi-propia-clave-7"
	w.changePassword("lidia", first[w.username("lidia")], own)
	receipt = w.prepare()
	if diff := cmp.Diff([]string{w.username("lidia")}, receipt.People.Own); diff != "" || receipt.People.Given != 0 || receipt.People.Ready != 1 {
		t.Errorf("after somebody chose a password: %s", asJSON(receipt.People))
	}
	if !slices.ContainsFunc(receipt.Warnings, func(warning string) bool { return strings.Contains(warning, "stay on the kit: "+w.username("lidia")) }) {
		t.Errorf("nothing says so: %s", asJSON(receipt.Warnings))
	}
	w.expectLogin("lidia", own, true)

	// She forgets it: the team writes another one into the file.
	const written = "Otra.clave8"
	w.writePeople(strings.Replace(w.peopleText(), first[w.username("lidia")], written, 1))
	receipt = w.prepare()
	if receipt.People.Given != 1 || receipt.People.Ready != 2 || len(receipt.People.Own) != 0 {
		t.Errorf("after the team wrote a password: %s", asJSON(receipt.People))
	}
	w.expectLogin("lidia", written, true)
	w.expectLogin("lidia", own, false)

	// The kit's directory moves to another machine, whose server takes the same passwords.
	if os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL") == "" {
		old := w.kitDir
		w.kitDir, w.local = t.TempDir(), w.connect(orchestrator.Local, simulated(t, "2.43.1"))
		w.configure("users: generate\n")
		for _, name := range []string{orchestrator.PeopleFile, "accounts.json"} {
			content, err := os.ReadFile(filepath.Join(old, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(w.kitDir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		receipt = w.prepare()
		if receipt.People.Given != 2 {
			t.Errorf("on another server: %s", asJSON(receipt.People))
		}
		w.expectLogin("lidia", written, true)
		w.expectLogin("marta", first[w.username("marta")], true)
	}
}

func TestPeopleRenamedAtCentral(t *testing.T) {
	w := newPeopleWorld(t, "users: generate\n")
	w.prepare()
	password := w.peopleFile()[w.username("lidia")]
	user := map[string]any{}
	if err := w.central.Get(t.Context(), "users", w.id("lidia"), ":owner", &user); err != nil {
		t.Fatal(err)
	}
	user["username"] = w.username("lidia") + ".sanjur"
	imported, err := w.central.ImportMetadata(t.Context(), map[string]any{"users": []any{user}}, dhis2api.MetadataImportOptions{})
	if err != nil || imported.Status != "OK" {
		t.Fatalf("central does not rename: %v %s", err, asJSON(imported))
	}
	receipt := w.prepare()
	if receipt.People.Given != 0 || receipt.People.Ready != 2 {
		t.Errorf("after a renaming: %s", asJSON(receipt.People))
	}
	if diff := cmp.Diff(password, w.peopleFile()[w.username("lidia")+".sanjur"]); diff != "" {
		t.Errorf("another password: %s", diff)
	}
	if _, err := w.login(w.username("lidia")+".sanjur", password); err != nil {
		t.Error(err)
	}
}

// TestPeopleOfTheirOwnServer: where the kit's DHIS2 belongs to somebody, its accounts keep their passwords.
func TestPeopleOfTheirOwnServer(t *testing.T) {
	w := newPeopleWorld(t, "users: generate\n")
	roles := superRole(t, w.local)
	const owners = "Del-dueno-123"
	for name, uid := range map[string]string{"lidia": w.id("lidia"), "marta": "xOtherMarta"} {
		err := w.local.CreateUser(t.Context(), dhis2api.User{ID: uid, Username: w.username(name), FirstName: name, Surname: "Dueño", Password: owners, UserRoles: roles})
		if err != nil {
			t.Fatal(err)
		}
	}
	receipt := w.prepare()
	if receipt.People.Given != 0 || receipt.People.Ready != 0 || len(receipt.People.Own) != 2 {
		t.Errorf("%s", asJSON(receipt.People))
	}
	w.expectLogin("lidia", owners, true)
	w.expectLogin("marta", owners, true)

	// But for whom the team writes another one.
	const written = "Otra.clave8"
	w.writePeople(strings.Replace(w.peopleText(), w.peopleFile()[w.username("marta")], written, 1))
	receipt = w.prepare()
	if receipt.People.Given != 1 || receipt.People.Ready != 1 || len(receipt.People.Own) != 1 {
		t.Errorf("after the team wrote a password: %s", asJSON(receipt.People))
	}
	w.expectLogin("lidia", owners, true)
	w.expectLogin("marta", written, true)
	if _, err := w.login("admin", "district"); err != nil {
		t.Errorf("the account in use: %v", err)
	}
}

func TestPeopleFromFile(t *testing.T) {
	w := newPeopleWorld(t, "users: {file: equipo.csv}\n")
	lidia, stranger := w.username("lidia"), "nadie"
	// As a spreadsheet in Spanish saves it.
	content := "\ufeffUsername;Password;Station;Phone\r\n" + lidia + ";Clave-de-Lidia-1;Triaje;6000\r\n\r\n" + stranger + ";Clave-de-otro-1;;\r\n"
	file := filepath.Join(w.kitDir, "equipo.csv")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	receipt := w.prepare()
	if diff := cmp.Diff(&orchestrator.PeopleReceipt{Ready: 1, Given: 1, Without: []string{w.username("boss"), w.username("marta")}}, receipt.People); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"nadie of " + file + " has no account", "without a password in " + file} {
		if !slices.ContainsFunc(receipt.Warnings, func(warning string) bool { return strings.Contains(warning, want) }) {
			t.Errorf("no warning %q in %s", want, asJSON(receipt.Warnings))
		}
	}
	w.expectLogin("lidia", "Clave-de-Lidia-1", true)
	if got, err := os.ReadFile(file); err != nil || string(got) != content {
		t.Errorf("the file was changed: %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(w.kitDir, orchestrator.PeopleFile)); err == nil {
		t.Error("there is a file that nobody asked for")
	}
}

func TestPeopleFileMistakes(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"no such column":    {"username,pass\nlidia,x\n", ":1:1: there is no column password"},
		"empty":             {"", ":1:1: there is no column username"},
		"no username":       {"username,password\n\n,Clave-de-1\n", ":3:1: there is no username"},
		"twice":             {"username,password\nlidia,Clave-de-1\nLidia,Clave-de-2\n", ":3:1: Lidia is there already"},
		"too short":         {"username,password\nlidia,Cl-1\n", ":2:1: the password of lidia has less than 8"},
		"all small letters": {"username,password\nlidia,clave-de-1\n", ":2:1: the password of lidia has no capital letter"},
		"a forbidden word":  {"username,password\nlidia,Admin-clave-1\n", ":2:1: the password of lidia holds the word admin"},
		"the username":      {"username,password\nlidia,Soy-lidia-1\n", ":2:1: the password of lidia holds the username"},
		"broken quotes":     {"username,password\n\"lidia,x\n", ":2:1: not a table"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			config := "name: x\ncentral: {url: 'http://127.0.0.1:9'}\nscope: {orgUnits: [A]}\nlocal: {url: 'http://127.0.0.1:9'}\nusers: {file: p.csv}\n"
			for file, content := range map[string]string{orchestrator.ConfigFile: config, "p.csv": test.file} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			kit, err := orchestrator.Open(orchestrator.OpenOptions{Dir: dir, Getenv: func(string) string { return "" }, ConfigDirectory: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer kit.Close()
			_, err = kit.Prepare(t.Context(), orchestrator.PrepareOptions{})
			if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "p.csv")+test.want) || !errors.Is(err, orchestrator.ErrUsage) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "-1") || strings.Contains(err.Error(), "clave")) {
				t.Errorf("tells the password: %v", err)
			}
		})
	}
}

// peopleWorld is a world with staff at central.
type peopleWorld struct{ *world }

func newPeopleWorld(t *testing.T, users string) peopleWorld {
	central, local := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL")
	if central == "" {
		central, local = simulated(t, "2.43.1"), simulated(t, "2.43.1")
	}
	w := peopleWorld{newWorld(t, central, local, "")}
	w.setUp()
	w.configure(users)
	super := superRole(t, w.central)
	if err := w.central.Do(t.Context(), http.MethodPost, "/api/userRoles", nil, map[string]any{
		"id": w.id("staff"), "name": "Staff " + w.id("run"), "authorities": []string{"F_DATAVALUE_ADD"},
	}, nil); err != nil {
		t.Fatal(err)
	}
	staff := []dhis2api.Ref{{ID: w.id("staff")}}
	for name, user := range map[string]dhis2api.User{
		"lidia":     {UserRoles: staff, OrganisationUnits: []dhis2api.Ref{{ID: w.id("soloy")}}},
		"marta":     {UserRoles: staff, OrganisationUnits: []dhis2api.Ref{{ID: w.id("country")}}},
		"elsewhere": {UserRoles: staff, OrganisationUnits: []dhis2api.Ref{{ID: w.id("city")}}},
		"gone":      {UserRoles: staff, OrganisationUnits: []dhis2api.Ref{{ID: w.id("soloy")}}, Disabled: true},
		"boss":      {UserRoles: super, OrganisationUnits: []dhis2api.Ref{{ID: w.id("country")}}},
	} {
		user.ID, user.Username, user.FirstName, user.Surname, user.Password = w.id(name), w.username(name), name, "Sanjur", "Central-"+w.id(name)+"-1"
		if err := w.central.CreateUser(t.Context(), user); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func superRole(t *testing.T, client *dhis2api.Client) []dhis2api.Ref {
	t.Helper()
	me, err := client.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return me.UserRoles
}

func (w peopleWorld) configure(users string) {
	w.t.Helper()
	config := "name: people\ncentral: {url: " + w.central.BaseURL() + "}\nscope: {orgUnits: [" + w.id("villages") + "], programs: [" + w.id("program") + "], dataSets: []}\n" +
		"local: {url: " + w.local.BaseURL() + "}\n" + users
	if err := os.WriteFile(filepath.Join(w.kitDir, orchestrator.ConfigFile), []byte(config), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w peopleWorld) username(name string) string { return name + "." + strings.ToLower(w.id("run")) }

func (w peopleWorld) peopleText() string {
	w.t.Helper()
	path := filepath.Join(w.kitDir, orchestrator.PeopleFile)
	info, err := os.Stat(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		w.t.Errorf("%s may be read by others: %v", path, info.Mode())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(content)
}

func (w peopleWorld) writePeople(content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.kitDir, orchestrator.PeopleFile), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// peopleFile are the passwords of the people file by username.
func (w peopleWorld) peopleFile() map[string]string {
	w.t.Helper()
	records, err := csv.NewReader(strings.NewReader(w.peopleText())).ReadAll()
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"name", "station", "username", "password"}, records[0]); diff != "" {
		w.t.Fatal(diff)
	}
	passwords := map[string]string{}
	for _, record := range records[1:] {
		passwords[record[2]] = record[3]
	}
	return passwords
}

func (w peopleWorld) login(username, password string) (*dhis2api.Client, error) {
	return dhis2api.Connect(w.t.Context(), w.local.BaseURL(), dhis2api.Credentials{Username: username, Password: password}, dhis2api.Options{})
}

func (w peopleWorld) expectLogin(name, password string, want bool) {
	w.t.Helper()
	_, err := w.login(w.username(name), password)
	var refused *dhis2api.UnauthorizedError
	if in := err == nil; in != want || (!in && !errors.As(err, &refused)) {
		w.t.Errorf("login of %s: %v, want it to work: %v", name, err, want)
	}
}

func (w peopleWorld) changePassword(name, old, changed string) {
	w.t.Helper()
	client, err := w.login(w.username(name), old)
	if err != nil {
		w.t.Fatal(err)
	}
	body := map[string]any{"oldPassword": old, "newPassword": changed}
	if err := client.Do(w.t.Context(), http.MethodPut, "/api/me/changePassword", nil, body, nil); err != nil {
		w.t.Fatal(err)
	}
}
