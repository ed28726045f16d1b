package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// accountsName is the file in the kit's directory that says what prepare did with people's accounts.
const accountsName = "accounts.json"

// localAccounts are the people whom prepare brought to one server. DHIS2 does not tell who has a password there
// (passwordLastUpdated is set on everybody, and anew by every import: 2.43), so the kit remembers.
type localAccounts struct {
	Server snapshot.Server `json:"server"`
	// People are by uid.
	People map[string]*localAccount `json:"people"`
}

// localAccount is one of them.
type localAccount struct {
	Username string `json:"username"`
	Name     string `json:"name,omitempty"`
	Station  string `json:"station,omitempty"`
	// Made tells that prepare made the account.
	Made bool `json:"made,omitempty"`
	// Seal is of the password that stood in the people file at the last prepare, see sealPassword; "" when none
	// did. Another one in the file is one that somebody means to be set.
	Seal string `json:"seal,omitempty"`
	// Settings are what prepare set for this person on the account that it made: language and the like; nil as long
	// as it did not.
	Settings map[string]string `json:"settings"`
	// Carried: the last prepare brought this person, with a password of the people file. Own: he does not log
	// in with it.
	Carried bool `json:"carried,omitempty"`
	Own     bool `json:"own,omitempty"`
}

func newAccounts() *localAccounts { return &localAccounts{People: map[string]*localAccount{}} }

// readAccounts reads the file; where there is none, it is empty.
func (k *Kit) readAccounts() (*localAccounts, error) {
	path := filepath.Join(k.dir, accountsName)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newAccounts(), nil
	}
	if err != nil {
		return nil, err
	}
	a := newAccounts()
	if err := json.Unmarshal(content, a); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return a, nil
}

func (k *Kit) writeAccounts(a *localAccounts) error {
	content, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(k.dir, accountsName), append(content, '\n'), 0o600, renameio.IgnoreUmask())
}
