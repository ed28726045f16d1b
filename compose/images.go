package compose

import (
	"context"
	"errors"
)

// Image is one image that an engine has.
type Image struct {
	Reference    string            // by which it was asked for
	ID           string            // "sha256:..."
	Architecture string            // "amd64", "arm64"
	Labels       map[string]string // of a DHIS2: DHIS2_VERSION, DHIS2_BUILD_REVISION
	Size         int64             // bytes, unpacked
}

// Image looks an image up by its reference. One that is not there is ErrNoImage.
func (e *Engine) Image(ctx context.Context, reference string) (Image, error) {
	return Image{}, errors.New("not yet")
}

// Pull fetches an image from its registry. progress may be nil, and is called with the bytes fetched and
// known of so far; both may grow.
func (e *Engine) Pull(ctx context.Context, reference string, progress func(done, total int64)) error {
	return errors.New("not yet")
}
