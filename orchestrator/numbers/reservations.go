package numbers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/google/renameio/v2"
)

// FileName is the file's name in a trip's folder.
const FileName = "numbers.json"

// fileVersion is the version of the file's form; one that is newer is refused.
const fileVersion = 1

// Reservations are what central has reserved for a kit.
type Reservations struct {
	Version int `json:"version"`
	// Central is the address of the server that reserved them.
	Central    string       `json:"central"`
	Attributes []*Attribute `json:"attributes"`
}

// Attribute is a generated attribute.
type Attribute struct {
	UID     string `json:"attribute"`
	Name    string `json:"name"`
	Pattern string `json:"pattern"`
	Kind    Method `json:"kind"`
	Keys    []*Key `json:"keys"`
}

// Key is what was reserved of one key.
type Key struct {
	Key string `json:"key"`
	// OrgUnitCode is the code that central was given; empty where the pattern has none.
	OrgUnitCode string `json:"orgUnitCode,omitempty"`
	// Wanted is how many values the trip is to have.
	Wanted int64 `json:"wanted"`
	// Blocks are what central gave, of a sequential pattern, ascending. It gives none of them to anybody else, ever.
	Blocks []Block `json:"blocks,omitempty"`
	// Values are what central gave, of a random pattern, until Expires.
	Values  []string `json:"values,omitempty"`
	Expires string   `json:"expires,omitempty"`
	// Ahead tells that the key is that of a later day, for which central reserves nothing yet: Blocks are then chosen by
	// the kit's name, far above where central begins.
	Ahead bool `json:"ahead,omitempty"`
	// Floor is the least number that the kit has not handed out, as far as it was looked at.
	Floor int64 `json:"floor,omitempty"`
	// Seeded is the block that the kit's counter was set to; nil as long as it was not.
	Seeded *Block `json:"seeded,omitempty"`
}

// Usable is the largest block of what the kit may still hand out.
func (k *Key) Usable() Block { return Largest(From(k.Blocks, k.Floor)) }

// Attribute finds an attribute by its uid, nil where there is none.
func (r *Reservations) Attribute(uid string) *Attribute {
	if r == nil {
		return nil
	}
	if i := slices.IndexFunc(r.Attributes, func(a *Attribute) bool { return a.UID == uid }); i >= 0 {
		return r.Attributes[i]
	}
	return nil
}

// Find finds a key, nil where there is none. It may be called on nil.
func (a *Attribute) Find(key string) *Key {
	if a == nil {
		return nil
	}
	if i := slices.IndexFunc(a.Keys, func(k *Key) bool { return k.Key == key }); i >= 0 {
		return a.Keys[i]
	}
	return nil
}

// Read reads a file of reservations; nil where there is none.
func Read(path string) (*Reservations, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what central has reserved: %w", err)
	}
	var r Reservations
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("cannot read what central has reserved: %s: %w", path, err)
	}
	if r.Version > fileVersion {
		return nil, fmt.Errorf("cannot read what central has reserved: %s is of a newer fieldkit", path)
	}
	return &r, nil
}

// Write writes the file, whole or not at all, for nobody else to read.
func (r *Reservations) Write(path string) error {
	r.Version = fileVersion
	content, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(path, append(content, '\n'), 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("cannot keep what central has reserved: %w", err)
	}
	return nil
}
