package compose

import (
	"maps"
	"slices"
	"strings"
)

// The labels that Compose gives, by which `docker compose ls`, `ps` and `logs` see a stack. Fieldkit finds
// what it made by them too.
const (
	labelProject     = "com.docker.compose.project"
	labelService     = "com.docker.compose.service"
	labelNumber      = "com.docker.compose.container-number"
	labelOneOff      = "com.docker.compose.oneoff"
	labelHash        = "com.docker.compose.config-hash"
	labelImage       = "com.docker.compose.image"
	labelDependsOn   = "com.docker.compose.depends_on"
	labelConfigFiles = "com.docker.compose.project.config_files"
	labelWorkingDir  = "com.docker.compose.project.working_dir"
	labelVersion     = "com.docker.compose.version"
	labelNetwork     = "com.docker.compose.network"
	labelVolume      = "com.docker.compose.volume"
)

// labelPostgresMajor is fieldkit's own, of the volume that holds the database: the major version that made it.
const labelPostgresMajor = "fieldkit.postgres-major"

// composeVersion is the version of Compose whose labels these are.
const composeVersion = "2.40.0"

// containerLabels are those of a service's container, made from the image of that id.
func (s *Stack) containerLabels(name, hash, imageID string) map[string]string {
	service := s.project.Services[name]
	labels := map[string]string{}
	maps.Copy(labels, service.Labels)
	var dependencies []string
	for dependency, condition := range service.DependsOn {
		dependencies = append(dependencies, dependency+":"+condition.Condition+":false")
	}
	slices.Sort(dependencies)
	files := embeddedName
	if s.override != "" {
		files += "," + s.override
	}
	maps.Copy(labels, map[string]string{
		labelProject:     s.project.Name,
		labelService:     name,
		labelNumber:      "1",
		labelOneOff:      "False",
		labelHash:        hash,
		labelImage:       imageID,
		labelDependsOn:   strings.Join(dependencies, ","),
		labelConfigFiles: files,
		labelWorkingDir:  s.place,
		labelVersion:     composeVersion,
	})
	return labels
}

// networkLabels are those of a network.
func (s *Stack) networkLabels(key, hash string) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, s.project.Networks[key].Labels)
	maps.Copy(labels, map[string]string{labelProject: s.project.Name, labelNetwork: key, labelHash: hash, labelVersion: composeVersion})
	return labels
}

// volumeLabels are those of a volume; major is PostgreSQL's for the volume of the database, else "".
func (s *Stack) volumeLabels(key, major string) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, s.project.Volumes[key].Labels)
	maps.Copy(labels, map[string]string{labelProject: s.project.Name, labelVolume: key, labelVersion: composeVersion})
	if major != "" {
		labels[labelPostgresMajor] = major
	}
	return labels
}
