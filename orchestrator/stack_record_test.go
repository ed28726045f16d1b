package orchestrator

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/google/go-cmp/cmp"
)

func TestNewStack(t *testing.T) {
	// What DHIS2 2.42 asks of a password, and what package compose asks of the others.
	administrator := []*regexp.Regexp{
		regexp.MustCompile(`[A-Z]`), regexp.MustCompile(`[a-z]`), regexp.MustCompile(`[0-9]`), regexp.MustCompile(`[^A-Za-z0-9]`), regexp.MustCompile(`^.{8,72}$`),
	}
	plain := regexp.MustCompile(`^[A-Za-z0-9]{24,}$`)
	project := regexp.MustCompile(`^fieldkit-bocas-del-toro-1-[0-9a-f]{6}$`)
	seen := map[string]bool{}
	for range 50 {
		r, err := newStack("Bocas del Toro 1")
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range administrator {
			if !rule.MatchString(r.AdminPassword) {
				t.Errorf("%s does not match %s", r.AdminPassword, rule)
			}
		}
		if !plain.MatchString(r.DatabasePassword) || !plain.MatchString(r.EncryptionPassword) || !project.MatchString(r.Project) {
			t.Errorf("got %+v", r)
		}
		for _, secret := range []string{r.AdminPassword, r.DatabasePassword, r.EncryptionPassword} {
			if seen[secret] {
				t.Error("a secret came twice")
			}
			seen[secret] = true
		}
	}
}

func TestStackRecordIsReadBack(t *testing.T) {
	dir := t.TempDir()
	if r, err := readStack(dir); r != nil || err != nil {
		t.Errorf("without a file: %v, %v", r, err)
	}
	want, err := newStack("kit")
	if err != nil {
		t.Fatal(err)
	}
	want.Data = &stackData{DHIS2Version: "2.43.1", DHIS2Image: "dhis2/core:2.43.1.0", PostgresImage: "p:1", Zone: "America/Panama"}
	want.Clinic = &clinicIdentity{Name: "a", Address: "10.0.0.1", Port: 80}
	want.Exposed = true
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := readStack(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	path := filepath.Join(dir, stackName)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, content := range []string{"", "{}", `{"project": "x", "databasePassword": "hunter2"`, `{"project": "x", "databasePassword": "hunter2"}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readStack(dir); err == nil || strings.Contains(err.Error(), "hunter2") || Hint(err) == "" {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestImageFor(t *testing.T) {
	for _, test := range []struct{ image, version, want string }{
		{"dhis2/core", "2.42.5.2", "dhis2/core:2.42.5.2"},
		{"dhis2/core", "2.43.1", "dhis2/core:2.43.1.0"},
		{"dhis2/core", "2.41.0", "dhis2/core:2.41.0.0"},
		{"localhost:5000/dhis2/core", "2.43.1", "localhost:5000/dhis2/core:2.43.1.0"},
		{"dhis2/core-dev:latest", "2.44-SNAPSHOT", "dhis2/core-dev:latest"},
		{"dhis2/core", "2.43-SNAPSHOT", ""},
	} {
		version, err := dhis2api.ParseVersion(test.version)
		if err != nil {
			t.Fatal(err)
		}
		got, err := imageFor(test.image, version)
		if got != test.want || (err != nil) != (test.want == "") || err != nil && !errors.Is(err, ErrUsage) {
			t.Errorf("imageFor(%s, %s) = %q, %v, want %q", test.image, test.version, got, err, test.want)
		}
	}
}

func TestMayUpdate(t *testing.T) {
	for _, test := range []struct {
		old, version string
		may          bool
	}{
		{"2.42.5.1", "2.42.5.1", true}, {"2.42.5.1", "2.42.5.2", true}, {"2.42.5.2", "2.42.5.1", false},
		{"2.42.5.2", "2.43.1", false}, {"2.43.1", "2.43.1.0", true}, {"2.43.1", "2.42.5.2", false},
	} {
		old, oldErr := dhis2api.ParseVersion(test.old)
		version, err := dhis2api.ParseVersion(test.version)
		if err := errors.Join(oldErr, err); err != nil {
			t.Fatal(err)
		}
		if err := mayUpdate(old, version); (err == nil) != test.may || err != nil && Hint(err) == "" {
			t.Errorf("from %s to %s: %v", test.old, test.version, err)
		}
	}
}

func TestSuggestedName(t *testing.T) {
	for kit, want := range map[string]string{"bocas-1": "bocas-1.clinic.lan", "Bocas del Toro": "bocas-del-toro.clinic.lan", "Río": "r-o.clinic.lan"} {
		if got := suggestedName(kit); got != want || checkHostName(got) != nil {
			t.Errorf("%s: %s, want %s", kit, got, want)
		}
	}
}
