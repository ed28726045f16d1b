package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// broughtName is the file in the kit's directory that says which metadata of the kit's DHIS2 prepare brought there.
const broughtName = "brought.json"

// broughtMetadata is what prepare brought to one server: uids by class, of icons keys. Only that is ever removed.
type broughtMetadata struct {
	Server  snapshot.Server     `json:"server"`
	Objects map[string][]string `json:"objects"`
}

// brought opens the account of what prepare brought to local; of another server than this one it begins anew.
func (p *preparation) brought(ctx context.Context) (*snapshot.Brought, error) {
	server, err := snapshot.IdentifyServer(ctx, p.local)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(p.kit.dir, broughtName)
	known := broughtMetadata{}
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(content, &known); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", path, err)
		}
	}
	if !known.Server.Same(server) {
		known.Objects = nil
	}
	return snapshot.NewBrought(known.Objects, func(objects map[string][]string) error {
		content, err := json.Marshal(broughtMetadata{Server: server, Objects: objects})
		if err != nil {
			return err
		}
		return renameio.WriteFile(path, append(content, '\n'), 0o600, renameio.IgnoreUmask())
	}), nil
}
