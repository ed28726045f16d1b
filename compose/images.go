package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Image is one image that an engine has.
type Image struct {
	Reference    string            // by which it was asked for
	ID           string            // "sha256:..."
	Architecture string            // "amd64", "arm64"
	Labels       map[string]string // of a DHIS2: DHIS2_VERSION, DHIS2_BUILD_REVISION
	Size         int64             // bytes, unpacked

	layers []string // digests of the unpacked layers: the same in every engine
}

// Image looks an image up by its reference. One that is not there is ErrNoImage.
func (e *Engine) Image(ctx context.Context, reference string) (Image, error) {
	image, _, found, err := e.docker.image(ctx, reference)
	if err != nil {
		return Image{}, fmt.Errorf("looking for the image %s: %w", reference, err)
	}
	if !found {
		return Image{}, fmt.Errorf("%s: %w", reference, ErrNoImage)
	}
	return image, nil
}

// Pull fetches an image from its registry. progress may be nil, and is called with the bytes fetched and
// known of so far; both may grow.
func (e *Engine) Pull(ctx context.Context, reference string, progress func(done, total int64)) error {
	stream, err := e.docker.pull(ctx, reference)
	if err != nil {
		return fmt.Errorf("pulling %s: %w", reference, err)
	}
	defer stream.Close()
	if err := readProgress(stream, progress); err != nil {
		return fmt.Errorf("pulling %s: %w", reference, err)
	}
	return nil
}

// readProgress reads what an engine says while it pulls or loads, to the end. The engine has answered 200 long
// before it fails: an error is one of the messages.
func readProgress(stream io.Reader, progress func(done, total int64)) error {
	type layer struct{ current, total int64 }
	layers := map[string]layer{}
	for decoder := json.NewDecoder(stream); ; {
		var message struct {
			ID             string `json:"id"`
			Status         string `json:"status"`
			ProgressDetail struct {
				Current int64 `json:"current"`
				Total   int64 `json:"total"`
			} `json:"progressDetail"`
			Error       string `json:"error"`
			ErrorDetail struct {
				Message string `json:"message"`
			} `json:"errorDetail"`
		}
		err := decoder.Decode(&message)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the engine's answer broke off: %w", err)
		}
		if text := message.ErrorDetail.Message; text != "" {
			return errors.New(text)
		}
		if message.Error != "" {
			return errors.New(message.Error)
		}
		if progress == nil || message.ID == "" {
			continue
		}
		switch message.Status {
		case "Downloading":
			layers[message.ID] = layer{message.ProgressDetail.Current, message.ProgressDetail.Total}
		case "Download complete":
			layers[message.ID] = layer{layers[message.ID].total, layers[message.ID].total}
		default:
			continue
		}
		var done, total int64
		for _, layer := range layers {
			done, total = done+layer.current, total+layer.total
		}
		progress(done, total)
	}
}

// postgresMajor reads the major version from the environment that PostgreSQL's images set; "" when they do not.
func postgresMajor(env []string) string {
	at := slices.IndexFunc(env, func(variable string) bool { return strings.HasPrefix(variable, "PG_MAJOR=") })
	if at < 0 {
		return ""
	}
	return strings.TrimPrefix(env[at], "PG_MAJOR=")
}
