package compose

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/compose-spec/compose-go/v2/types"
)

//go:embed dhis.conf.tmpl
var dhisConfText string

// file is one that is copied into a container after it was made and before it starts: a secret or a config
// of the compose file. That way its content is in no label, environment or argument, and its owner and mode
// are what the compose file says.
type file struct {
	Path    string // absolute, in the container
	UID     int
	GID     int
	Mode    int64 // permissions
	Content []byte
	Secret  bool
	// Directory is true when the file lies directly in a volume: that directory then gets the file's owner,
	// who else could not write to a volume that did not get its first content from the image.
	Directory bool
}

// collectFiles reads the contents of all secrets and configs and lists them by service.
func collectFiles(project *types.Project, settings Settings, lines keyLines) (map[string][]file, error) {
	conf, err := dhisConf(settings)
	if err != nil {
		return nil, err
	}
	given := map[string][]byte{
		"FIELDKIT_DATABASE_PASSWORD": []byte(settings.DatabasePassword),
		"FIELDKIT_DHIS_CONF":         conf,
	}
	secret := func(name string) ([]byte, error) {
		return content(types.FileObjectConfig(project.Secrets[name]), "secrets."+name, given, lines)
	}
	config := func(name string) ([]byte, error) {
		return content(types.FileObjectConfig(project.Configs[name]), "configs."+name, given, lines)
	}
	files := map[string][]file{}
	for name, service := range project.Services {
		for _, reference := range service.Secrets {
			made, err := newFile(types.FileReferenceConfig(reference), "/run/secrets/", secret)
			if err != nil {
				return nil, err
			}
			made.Secret = true
			files[name] = append(files[name], made)
		}
		for _, reference := range service.Configs {
			made, err := newFile(types.FileReferenceConfig(reference), "/", config)
			if err != nil {
				return nil, err
			}
			files[name] = append(files[name], made)
		}
		for i := range files[name] {
			files[name][i].Directory = slices.ContainsFunc(service.Volumes, func(volume types.ServiceVolumeConfig) bool {
				return volume.Type == types.VolumeTypeVolume && path.Clean(volume.Target) == path.Dir(files[name][i].Path)
			})
		}
		slices.SortFunc(files[name], func(a, b file) int { return strings.Compare(a.Path, b.Path) })
	}
	return files, nil
}

// content finds what a secret or config holds; given are fieldkit's own.
func content(source types.FileObjectConfig, key string, given map[string][]byte, lines keyLines) ([]byte, error) {
	switch {
	case source.Environment != "":
		if content, ok := given[source.Environment]; ok {
			return content, nil
		}
		return nil, lines.fail(key+".environment", "only a file can be the source of a secret or config")
	case source.File != "":
		return readFile(lines, key+".file", source.File)
	}
	return []byte(source.Content), nil
}

// newFile places one secret or config. A target without a directory lies in base.
func newFile(reference types.FileReferenceConfig, base string, read func(name string) ([]byte, error)) (file, error) {
	made := file{Path: reference.Target, Mode: 0o444}
	if made.Path == "" {
		made.Path = reference.Source
	}
	if !path.IsAbs(made.Path) {
		made.Path = base + made.Path
	}
	made.Path = path.Clean(made.Path)
	if reference.Mode != nil {
		made.Mode = int64(*reference.Mode) & 0o7777
	}
	for _, owner := range []struct {
		text   string
		target *int
	}{{reference.UID, &made.UID}, {reference.GID, &made.GID}} {
		if owner.text == "" {
			continue
		}
		id, err := strconv.Atoi(owner.text)
		if err != nil {
			return file{}, fmt.Errorf("owner of %s: %q is not a number", made.Path, owner.text)
		}
		*owner.target = id
	}
	var err error
	made.Content, err = read(reference.Source)
	return made, err
}

// dhisConf writes DHIS2's configuration. The passwords are letters and digits, so nothing needs escaping.
func dhisConf(settings Settings) ([]byte, error) {
	parsed, err := template.New("dhis.conf").Parse(dhisConfText)
	if err != nil {
		return nil, err
	}
	values := struct {
		DatabasePassword, EncryptionPassword, BaseURL string
		Connections                                   int
	}{settings.DatabasePassword, settings.EncryptionPassword, "", settings.Sizes.Connections}
	if settings.Clinic != nil {
		values.BaseURL = settings.Clinic.URL()
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, values); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// URL is what a tablet's user types, e.g. "http://bocas-1.clinic.lan" or "http://bocas-1.clinic.lan:8080".
func (c ClinicPort) URL() string {
	if c.Port == 80 {
		return "http://" + c.Name
	}
	return "http://" + net.JoinHostPort(strings.Trim(c.Name, "[]"), strconv.Itoa(int(c.Port)))
}

// digest is the SHA-256 of data, hexadecimal.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
