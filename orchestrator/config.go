package orchestrator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	Local   *LocalConfig
	Encrypt EncryptConfig
}

// CentralConfig says where central is.
type CentralConfig struct {
	// URL is the server's base address, without /api and without a slash at its end.
	URL string
}

// LocalConfig says where the kit's DHIS2 is.
type LocalConfig struct {
	// URL is as central's.
	URL string
	// Database is the postgres:// URL of its database, or "". It may hold a password: never print it.
	Database string
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
