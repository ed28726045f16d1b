package compose

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

func TestExport(t *testing.T) {
	settings := override(t, testSettings(true), "services: {dhis2: {environment: {PRICE: $$5}, secrets: [ldap]}}\nsecrets: {ldap: {file: ldap.txt}}\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(settings.Override), "ldap.txt"), []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	stack := mustLoad(t, settings)
	before, err := stack.hash("dhis2")
	if err != nil {
		t.Fatal(err)
	}
	id := "sha256:" + strings.Repeat("ab", 32)
	var out bytes.Buffer
	if err := stack.Export(&out, Image{Reference: "dhis2/core:2.42.5.2", ID: id}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{testDatabasePassword, testEncryptionPassword, "hush", "PASSWORD", "FIELDKIT"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the file holds %q:\n%s", secret, &out)
		}
	}
	path := filepath.Join(t.TempDir(), "exported.yaml")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	project := exported(t, path)
	if project.Name != settings.Project {
		t.Errorf("project %q", project.Name)
	}
	for _, key := range []string{"database", "home"} {
		if volume := project.Volumes[key]; !volume.External || volume.Name != settings.Project+"_"+key {
			t.Errorf("volume %s: %+v", key, volume)
		}
	}
	if diff := cmp.Diff([]string{"ldap"}, slices.Sorted(maps.Keys(project.Secrets))); diff != "" || len(project.Configs) != 0 {
		t.Errorf("secrets (-want +got):\n%s\nconfigs %v", diff, project.Configs)
	}
	if got := project.Services["dhis2"]; got.Image != id || got.PullPolicy != "never" || *got.Environment["PRICE"] != "$5" {
		t.Errorf("dhis2: image %s, pull %s, environment %v", got.Image, got.PullPolicy, got.Environment)
	}
	// But for what is told above, the services are the same.
	for name, got := range project.Services {
		want := stack.project.Services[name]
		want.Image, want.PullPolicy, want.Secrets, want.Configs, want.Environment = got.Image, got.PullPolicy, got.Secrets, got.Configs, got.Environment
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(stack.project.Networks, project.Networks); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
	if after, _ := stack.hash("dhis2"); after != before {
		t.Error("exporting changed the stack")
	}
}

// exported reads a file as Compose would.
func exported(t *testing.T, path string) *types.Project {
	t.Helper()
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: filepath.Dir(path), ConfigFiles: []types.ConfigFile{{Filename: path}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return project
}
