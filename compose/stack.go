package compose

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
)

//go:embed compose.yaml
var composeFile string

// embeddedName is what messages and labels call the embedded compose file.
const embeddedName = "compose.yaml (in fieldkit)"

// Stack is what is to run: the embedded compose file with a kit's settings and the user's override in it.
// It does not change once it is loaded.
type Stack struct {
	project  *types.Project // its secrets and configs hold their contents
	files    map[string][]file
	override string // the override's path, "" without one
	place    string // the kit's directory, "" when unknown
}

// Load reads the embedded compose file and the user's override, and checks both and the settings. A key in
// the override that is not realised, or a file that cannot be read as one, is a *KeyError.
func Load(ctx context.Context, settings Settings) (*Stack, error) {
	if err := settings.check(); err != nil {
		return nil, err
	}
	stack := &Stack{place: settings.Directory}
	details := types.ConfigDetails{
		WorkingDir:  settings.Directory,
		ConfigFiles: []types.ConfigFile{{Filename: embeddedName, Content: []byte(composeFile)}},
		Environment: settings.variables(),
	}
	var lines keyLines
	if settings.Override != "" {
		path, err := filepath.Abs(settings.Override)
		if err != nil {
			return nil, fmt.Errorf("finding the compose override: %w", err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the compose override: %w", err)
		}
		if len(strings.TrimSpace(string(content))) > 0 {
			if lines, err = readKeyLines(path, content, details.Environment); err != nil {
				return nil, err
			}
			stack.override = path
			details.WorkingDir = filepath.Dir(path) // paths in the override are relative to it
			details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: path, Content: content})
		}
	}
	project, err := load(ctx, details, settings.Project, lines)
	if err != nil {
		return nil, err
	}
	stack.project = project
	if err := stack.check(lines); err != nil {
		return nil, err
	}
	if settings.Clinic == nil {
		shut(project)
	}
	if stack.files, err = collectFiles(project, settings, lines); err != nil {
		return nil, err
	}
	return stack, nil
}

// load has compose-go read, merge and check the files.
func load(ctx context.Context, details types.ConfigDetails, name string, lines keyLines) (*types.Project, error) {
	var unsupported []loader.UnsupportedAttribute
	project, err := loader.LoadWithContext(ctx, details, func(options *loader.Options) {
		options.SetProjectName(name, true)
		options.SkipInclude, options.SkipExtends = true, true // neither is realised: both are reported below
		options.Interpolate = &interpolation.Options{
			LookupValue:     details.LookupEnv,
			TypeCastMapping: options.Interpolate.TypeCastMapping,
			Substitute: func(text string, mapping template.Mapping) (string, error) {
				return template.SubstituteWithOptions(text, mapping, template.WithoutLogging)
			},
		}
		options.UnsupportedAttributesCheck = &loader.UnsupportedAttributesCheck{
			Supported: realisedKeys(),
			Report:    func(found []loader.UnsupportedAttribute) { unsupported = found },
		}
	})
	if len(unsupported) > 0 {
		return nil, lines.fail(unsupported[0].Path.String(), "fieldkit does not realise this key")
	}
	if err != nil {
		if lines.file == "" {
			return nil, fmt.Errorf("reading %s: %w", embeddedName, err)
		}
		return nil, lines.explain(err)
	}
	return project, nil
}

// check refuses what an override may write but must not bring about.
func (s *Stack) check(lines keyLines) error {
	for _, name := range s.project.ServiceNames() {
		if name != ServicePostgres && name != ServiceDHIS2 {
			return lines.fail("services."+name, "the stack's services are postgres and dhis2")
		}
		service := s.project.Services[name]
		key := "services." + name + "."
		want := 0
		if name == ServiceDHIS2 {
			want = 1
		}
		if len(service.Ports) != want {
			return lines.fail(key+"ports", "the clinic's port is the only one, and fieldkit.yaml says which")
		}
		for _, volume := range service.Volumes {
			if !slices.Contains([]string{types.VolumeTypeVolume, types.VolumeTypeBind, types.VolumeTypeTmpfs}, volume.Type) {
				return lines.fail(key+"volumes", fmt.Sprintf("a volume of type %s is not realised", volume.Type))
			}
		}
	}
	for _, name := range s.project.NetworkNames() {
		if name != "data" && name != "clinic" {
			return lines.fail("networks."+name, "the stack's networks are data and clinic")
		}
	}
	if !s.project.Networks["data"].Internal {
		return lines.fail("networks.data.internal", "nothing leads out of this network")
	}
	data := s.project.Services[ServiceDHIS2].Networks
	if _, ok := data["data"]; !ok || len(s.project.Services[ServicePostgres].Networks) != 1 {
		return lines.fail("services", "postgres is on the network data alone, and dhis2 on data and clinic")
	}
	return nil
}

// shut takes away all by which a stack is reached from outside.
func shut(project *types.Project) {
	delete(project.Networks, "clinic")
	for name, service := range project.Services {
		delete(service.Networks, "clinic")
		service.Ports = nil
		project.Services[name] = service
	}
}

// Images are the references of all images that the stack needs, sorted.
func (s *Stack) Images() []string {
	var images []string
	for _, service := range s.project.Services {
		images = append(images, service.Image)
	}
	slices.Sort(images)
	return slices.Compact(images)
}

// Project is the stack's Docker project name.
func (s *Stack) Project() string { return s.project.Name }

// names of what the engine is asked to make, as Compose gives them.
func (s *Stack) containerName(service string) string { return s.project.Name + "-" + service + "-1" }
func (s *Stack) networkName(key string) string       { return s.project.Name + "_" + key }
func (s *Stack) volumeName(key string) string        { return s.project.Name + "_" + key }

// order lists the services so that each comes after those that it depends on.
func (s *Stack) order() []string {
	var order []string
	var visit func(name string)
	visit = func(name string) {
		if slices.Contains(order, name) {
			return
		}
		service := s.project.Services[name]
		dependencies := service.GetDependencies()
		slices.Sort(dependencies)
		for _, dependency := range dependencies { // compose-go has refused circles
			visit(dependency)
		}
		order = append(order, name)
	}
	for _, name := range s.project.ServiceNames() {
		visit(name)
	}
	return order
}

// check refuses settings that would end up as something else than they say in a file or a command line.
func (s Settings) check() error {
	word := func(text, extra string) bool {
		return text != "" && strings.IndexFunc(text, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(extra, r))
		}) < 0
	}
	switch {
	case loader.NormalizeProjectName(s.Project) != s.Project || s.Project == "":
		return fmt.Errorf("project name %q: lower case letters, digits, - and _ only", s.Project)
	case !word(s.DHIS2Image, "./:@_-") || !word(s.PostgresImage, "./:@_-"):
		return fmt.Errorf("images %q and %q: not both are references of images", s.DHIS2Image, s.PostgresImage)
	case !word(s.Zone, "/_+-:"):
		return fmt.Errorf("time zone %q: not a name of a zone", s.Zone)
	case len(s.DatabasePassword) < 24 || !word(s.DatabasePassword, ""):
		return errors.New("the database password is not 24 or more letters and digits")
	case len(s.EncryptionPassword) < 24 || !word(s.EncryptionPassword, ""):
		return errors.New("the encryption password is not 24 or more letters and digits")
	case s.Sizes.Heap < mebibyte || s.Sizes.DHIS2Memory < s.Sizes.Heap || s.Sizes.SharedBuffers < mebibyte ||
		s.Sizes.PostgresMemory < s.Sizes.SharedBuffers || s.Sizes.Connections < 1:
		return fmt.Errorf("sizes %+v: not such that the services could run", s.Sizes)
	case s.Clinic != nil && (!word(s.Clinic.Name, ".-:[]") || !s.Clinic.Address.IsValid() || s.Clinic.Port == 0):
		return fmt.Errorf("clinic %q at %s, port %d: not an address", s.Clinic.Name, s.Clinic.Address, s.Clinic.Port)
	}
	return nil
}

// variables are what stands in place of ${...} in the compose file and may stand in an override; no secret
// is among them.
func (s Settings) variables() types.Mapping {
	clinic := ClinicPort{Port: 80} // of a closed stack: what uses it is taken away once it is read
	if s.Clinic != nil {
		clinic = *s.Clinic
	}
	address := "127.0.0.1"
	if clinic.Address.IsValid() {
		address = clinic.Address.String()
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return types.Mapping{
		"FIELDKIT_POSTGRES_IMAGE":       s.PostgresImage,
		"FIELDKIT_DHIS2_IMAGE":          s.DHIS2Image,
		"FIELDKIT_ZONE":                 s.Zone,
		"FIELDKIT_HEAP":                 number(s.Sizes.Heap / mebibyte),
		"FIELDKIT_DHIS2_MEMORY":         number(s.Sizes.DHIS2Memory),
		"FIELDKIT_POSTGRES_MEMORY":      number(s.Sizes.PostgresMemory),
		"FIELDKIT_SHARED_BUFFERS":       number(s.Sizes.SharedBuffers / mebibyte),
		"FIELDKIT_CACHE":                number(s.Sizes.PostgresMemory * 3 / 4 / mebibyte),
		"FIELDKIT_DATABASE_CONNECTIONS": number(int64(s.Sizes.Connections) + 20),
		"FIELDKIT_CLINIC_ADDRESS":       address,
		"FIELDKIT_CLINIC_PORT":          number(int64(clinic.Port)),
	}
}

// hash names a service's configuration: containers of another one are made anew. Besides what the compose
// file says it covers the contents of the files that are copied in, not the versions of images.
func (s *Stack) hash(name string) (string, error) {
	service := s.project.Services[name]
	service.DependsOn = nil // says when, not how it runs
	files := s.files[name]
	data, err := json.Marshal(struct {
		Service types.ServiceConfig
		Files   []file
	}{service, files})
	if err != nil {
		return "", fmt.Errorf("naming the configuration of %s: %w", name, err)
	}
	return digest(data), nil
}

// readFile reads a file that an override names.
func readFile(lines keyLines, key, path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	var failure *fs.PathError
	if errors.As(err, &failure) {
		return nil, lines.fail(key, fmt.Sprintf("cannot read %s: %v", path, failure.Err))
	}
	return content, err
}
