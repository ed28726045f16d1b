package compose

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
)

const exportHeader = `# Written by fieldkit. It starts the same servers on the same data without fieldkit:
#
#   docker compose -f THIS-FILE up -d
#
# It holds no password: those are in the volumes, since the servers first ran. Run "fieldkit down" before.
`

// Export writes a compose file that plain `docker compose up` starts on the same volumes. It holds no
// secret of fieldkit's: PostgreSQL keeps its password in the volume "database" and DHIS2 its configuration in
// "home", since the stack first ran. So a stack that never ran cannot be started from it. Images that are given
// (Engine.Image) are named by their ids, so that a tag that moved does not matter; others by their references.
func (s *Stack) Export(w io.Writer, images ...Image) error {
	project := *s.project
	project.Services = types.Services{}
	for name, service := range s.project.Services {
		project.Services[name] = exportService(service, images)
	}
	project.Volumes = types.Volumes{}
	for key := range s.project.Volumes {
		project.Volumes[key] = types.VolumeConfig{Name: s.volumeName(key), External: true}
	}
	// What the override adds comes from files.
	project.Secrets, project.Configs = types.Secrets{}, types.Configs{}
	for name, secret := range s.project.Secrets {
		if secret.File != "" {
			project.Secrets[name] = secret
		}
	}
	for name, config := range s.project.Configs {
		if name != configInitialise {
			project.Configs[name] = config
		}
	}
	for name, service := range project.Services {
		service.Secrets = slices.DeleteFunc(slices.Clone(service.Secrets), func(secret types.ServiceSecretConfig) bool {
			_, stays := project.Secrets[secret.Source]
			return !stays
		})
		service.Configs = slices.DeleteFunc(slices.Clone(service.Configs), func(config types.ServiceConfigObjConfig) bool {
			return config.Source == configInitialise
		})
		project.Services[name] = service
	}
	data, err := project.MarshalYAML()
	if err != nil {
		return fmt.Errorf("writing the stack as a compose file: %w", err)
	}
	data = bytes.ReplaceAll(data, []byte("$"), []byte("$$")) // its variables have their values already
	_, err = w.Write(append([]byte(exportHeader), data...))
	return err
}

// configInitialise is the script that PostgreSQL runs when it makes the database.
const configInitialise = "initialise"

// exportService names a service's image as it is here, and takes away the variables that name files which
// are not there: without them PostgreSQL does not look for its password.
func exportService(service types.ServiceConfig, images []Image) types.ServiceConfig {
	service.PullPolicy = types.PullPolicyMissing
	if at := slices.IndexFunc(images, func(image Image) bool { return image.Reference == service.Image }); at >= 0 {
		service.Image, service.PullPolicy = images[at].ID, types.PullPolicyNever
	}
	var secrets []string
	for _, secret := range service.Secrets {
		secrets = append(secrets, path.Join("/run/secrets", secret.Source))
	}
	environment := types.MappingWithEquals{}
	for name, value := range service.Environment {
		if value == nil || !slices.Contains(secrets, *value) {
			environment[name] = value
		}
	}
	service.Environment = environment
	return service
}
