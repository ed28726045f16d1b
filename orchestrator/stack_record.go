package orchestrator

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// stackName is the file in the kit's directory that keeps what its stack needs from one start to the next.
const stackName = "stack.json"

// stackRecord is what a kit keeps of its stack. Whoever loses it cannot use the stack's volumes any more: it is
// the only place of their passwords, which is why it is for its owner alone.
type stackRecord struct {
	// Project is the stack's name in the Docker engine, unique to the kit.
	Project            string `json:"project"`
	DatabasePassword   string `json:"databasePassword"`
	EncryptionPassword string `json:"encryptionPassword"`
	AdminPassword      string `json:"adminPassword"`
	// Data says what is in the volumes; nil before the first start.
	Data *stackData `json:"data,omitempty"`
	// Clinic is how tablets came to know the kit; nil before it was opened.
	Clinic *clinicIdentity `json:"clinic,omitempty"`
	// Exposed tells that tablets could reach the kit since its data was last looked at to the end.
	Exposed bool `json:"exposed,omitempty"`
}

// stackData is what the volumes were made with. Images and version change only by prepare.
type stackData struct {
	DHIS2Version  string `json:"dhis2Version"`
	DHIS2Image    string `json:"dhis2Image"`
	PostgresImage string `json:"postgresImage"`
	// Zone is central's time zone.
	Zone string `json:"zone"`
}

// clinicIdentity is what tablets key their data by.
type clinicIdentity struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Port    uint16 `json:"port"`
}

func identityOf(c *ClinicConfig) clinicIdentity {
	return clinicIdentity{Name: c.Name, Address: c.Address.String(), Port: c.Port}
}

func (c clinicIdentity) String() string {
	return fmt.Sprintf("{name: %s, address: %s, port: %d}", c.Name, c.Address, c.Port)
}

// url is what is typed on a tablet, by the clinic's name for the kit or by its address.
func (c clinicIdentity) url(host string) string {
	if c.Port == defaultPort {
		return "http://" + host
	}
	return fmt.Sprintf("http://%s:%d", host, c.Port)
}

// readStack reads the kit's record; nil when there is none.
func readStack(dir string) (*stackRecord, error) {
	path := filepath.Join(dir, stackName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what the kit keeps of its containers: %w", err)
	}
	var r stackRecord
	if err := json.Unmarshal(data, &r); err != nil || r.Project == "" || r.DatabasePassword == "" || r.EncryptionPassword == "" || r.AdminPassword == "" {
		// The parser's message may repeat what it could not read.
		return nil, WithHint(fmt.Errorf("%s is damaged: it holds the passwords of the kit's containers", path), "bring it back from a copy of the kit's directory")
	}
	return &r, nil
}

// write keeps the record, whole or not at all, readable by its owner alone.
func (r *stackRecord) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, stackName), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot keep what the kit's containers need: %w", err)
	}
	return nil
}

// newStack is the record of a kit that has had no containers yet, with random secrets.
func newStack(kit string) (*stackRecord, error) {
	var suffix [3]byte
	if _, err := rand.Read(suffix[:]); err != nil {
		return nil, err
	}
	r := &stackRecord{Project: projectPrefix(kit) + hex.EncodeToString(suffix[:])}
	for _, secret := range []*string{&r.DatabasePassword, &r.EncryptionPassword, &r.AdminPassword} {
		var err error
		if *secret, err = randomText(32); err != nil {
			return nil, err
		}
	}
	// DHIS2 2.42 wants a capital, a digit and a sign that is neither, and no word such as "admin" within.
	r.AdminPassword = "K7-" + r.AdminPassword
	return r, nil
}

// randomText returns letters and digits, without vowels, so that they never make a word.
func randomText(length int) (string, error) {
	const letters = "bcdfghjkmnpqrstvwxzBCDFGHJKLMNPQRSTVWXZ23456789"
	var b strings.Builder
	for range length {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			return "", err
		}
		b.WriteByte(letters[i.Int64()])
	}
	return b.String(), nil
}

// projectPrefix is what the project names of a kit's stacks begin with: Docker takes small letters, digits and
// dashes.
func projectPrefix(kit string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.ToLower(kit))
	return "fieldkit-" + strings.Trim(name, "-") + "-"
}
