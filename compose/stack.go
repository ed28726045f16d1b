package compose

import (
	"context"
	"errors"
	"io"
)

// Stack is what is to run: the embedded compose file with a kit's settings and the user's override in it.
type Stack struct{}

// Load reads the embedded compose file and the user's override, and checks both and the settings. A key in
// the override that is not realised, or a file that cannot be read as one, is a *KeyError.
func Load(ctx context.Context, settings Settings) (*Stack, error) {
	return nil, errors.New("not yet")
}

// Images are the references of all images that the stack needs, sorted.
func (s *Stack) Images() []string { return nil }

// Export writes a compose file that plain `docker compose up` starts on the same volumes. It holds no
// secret: those are in the volumes since the stack first ran, so a stack that never ran cannot be started
// from it.
func (s *Stack) Export(w io.Writer) error { return errors.New("not yet") }
