package orchestrator

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// ConfigFile is the name of a kit's configuration within the kit's directory.
const ConfigFile = "fieldkit.yaml"

// Config is what fieldkit.yaml says: which central, what of it the kit carries, and where the kit's own
// DHIS2 is. It never holds central's credentials.
type Config struct {
	// Path is the file it was read from.
	Path string
	// Name is the kit's, for reports and for telling kits apart.
	Name    string
	Central CentralConfig
	Scope   Scope
	// Local is the DHIS2 that runs already and serves as the kit's; nil when the kit is to run its own
	// containers.
	Local *LocalConfig
	// DHIS2 and Postgres say what the kit's own containers are made of; empty with Local.
	DHIS2    ImageConfig
	Postgres ImageConfig
	// Clinic is where tablets find the kit's own DHIS2; nil when that is not decided yet, and with Local.
	Clinic *ClinicConfig
	// Android is what the clinic's tablets are told over central's Android settings; nil where central's are left
	// as they are, which is with Local as long as the file says nothing.
	Android *snapshot.AndroidOverlay
	Users   UsersConfig
	Encrypt EncryptConfig
	// Numbers says how many values of generated attributes a trip is to have.
	Numbers NumbersConfig
	// Conflicts are the owner's rules for conflicts; all are held where there is none.
	Conflicts ConflictsConfig
	Report    ReportConfig
	// SideEffects has central send its messages (SMS, e-mail) for what reconcile brings.
	SideEffects bool
	Limits      LimitsConfig
}

// ReportConfig says how the report for people is written.
type ReportConfig struct {
	// Language is its code, one of report.Languages; "" is English.
	Language string
	// Names has people named in it.
	Names bool
}

// CentralConfig says where central is.
type CentralConfig struct {
	// URL is the server's base address, without /api and without a slash at its end.
	URL string
	// Rate is the most requests a second that it is asked; 0 is no bound.
	Rate float64
}

// LocalConfig says where the kit's DHIS2 is.
type LocalConfig struct {
	// URL is as central's.
	URL string
	// Database is the postgres:// URL of its database, or "". It may hold a password: never print it.
	Database string
}

// UsersConfig says where the passwords come from with which people log in on the kit: central gives none away.
// The zero value gives nobody one.
type UsersConfig struct {
	// Generate makes passwords and keeps them in PeopleFile in the kit's directory.
	Generate bool
	// File is one with people's own passwords, relative to the kit's directory; "" with Generate.
	File string
}

// ImageConfig says from which image a container is made.
type ImageConfig struct {
	// Image is its name. DHIS2's may be without a tag, which is then central's full version.
	Image string
}

// The images that are used when the file names none. PostGIS's own has no build for arm64.
const (
	defaultDHIS2Image    = "dhis2/core"
	defaultPostgresImage = "ghcr.io/baosystems/postgis:16-3.5"
)

// defaultPort is the port that a browser asks when the address names none.
const defaultPort = 80

// ClinicConfig is what tablets type to reach the kit. They key their data by it, so it is unique to the kit and
// stays as it is once it was used.
type ClinicConfig struct {
	// Name is a host name in lower case, as in bocas-1.clinic.lan.
	Name string
	// Address is the IPv4 address of this machine at which the clinic's network finds it.
	Address netip.Addr
	Port    uint16
}

// Scope is what a kit carries.
type Scope struct {
	// OrgUnits are codes or uids, at least one. Everything below each is carried too.
	OrgUnits []string
	Programs Selection
	DataSets Selection
	// Since is a date, YYYY-MM-DD, or "": events and periods before it stay at central. Without it
	// everything is carried, future periods too.
	Since string
	// AllMetadata carries all of central's metadata along, not only what the programs and forms need.
	AllMetadata bool
}

// Selection is all objects of a class, or those named.
type Selection struct {
	All bool
	// Names are codes or uids, empty when All.
	Names []string
}

// EncryptConfig says for whom what the kit keeps on disk is encrypted.
type EncryptConfig struct {
	// Recipients are age public keys, age1...; none when the file names none.
	Recipients []string
}

// NumbersConfig says how many values of generated attributes a trip is to have.
type NumbersConfig struct {
	// Patients is how many new patients are expected on one trip, Days how many days it lasts at most.
	Patients, Days int
}

// defaultNumbers is what holds where the file says nothing.
func defaultNumbers() NumbersConfig { return NumbersConfig{Patients: 500, Days: 30} }

// ConfigError is a mistake in a configuration file, at a place in it. It is an ErrUsage.
type ConfigError struct {
	File string
	// Line and Column count from 1; both are 0 when the mistake is about the whole file.
	Line, Column int
	// Message says what is wrong, lower case, without the place.
	Message string
	// Advice says what to do about it, or "".
	Advice string
}

// Error returns file:line:column: message.
func (e *ConfigError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Hint returns the advice.
func (e *ConfigError) Hint() string { return e.Advice }

// Is makes every mistake in the file an ErrUsage.
func (e *ConfigError) Is(target error) bool { return target == ErrUsage }

// LoadConfig reads the configuration file at path. A file that is not there, cannot be read or holds a
// mistake is a *ConfigError; the first mistake in the file is the one reported.
func LoadConfig(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &ConfigError{File: path, Message: "there is no such file",
			Advice: "`fieldkit init` writes one; --kit DIR names another directory"}
	case err != nil:
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, &ConfigError{File: path, Message: fmt.Sprintf("cannot be read: %v", err)}
	}
	config, err := ParseConfig(path, data)
	if err != nil {
		return nil, err
	}
	return config, nil
}
