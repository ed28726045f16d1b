package dhis2api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Icon is a picture for programs, data elements and the like, which name it by its key. Every server has the same
// few hundred; custom ones somebody uploaded (since 2.41).
type Icon struct {
	Key         string   `json:"key"`
	Description string   `json:"description,omitempty"`
	Keywords    []string `json:"keywords,omitempty"`
	Custom      bool     `json:"custom,omitempty"`
	// FileResource is the file that holds the picture.
	FileResource Ref `json:"fileResource"`
}

// Icons reads those of the icons with the keys that the server has, in any order.
func (c *Client) Icons(ctx context.Context, keys ...string) ([]Icon, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var answer struct{ Icons []Icon }
	query := url.Values{"keys": {strings.Join(keys, ",")}, "paging": {"false"}, "fields": {"key,description,keywords,custom,fileResource[id]"}}
	if err := c.getJSON(ctx, "/api/icons", query, &answer); err != nil {
		return nil, err
	}
	return answer.Icons, nil
}

// IconContent reads the picture of an icon; the caller closes it. DHIS2 gives it smaller than it was uploaded.
func (c *Client) IconContent(ctx context.Context, key string) (io.ReadCloser, error) {
	return c.stream(ctx, download(http.MethodGet, "/api/icons/"+url.PathEscape(key)+"/icon", nil))
}

// DomainIcon is the domain of files that are icons.
const DomainIcon = "ICON"

// AddIcon makes a custom icon of a file that was uploaded with DomainIcon, under a name that ends in .png. DHIS2
// stores files in the background and does not find this one before (2.43), so it may take some seconds. A key
// that is taken is a StatusError (400), a file that is not there NotFound.
func (c *Client) AddIcon(ctx context.Context, icon Icon) error {
	const tries, pause = 40, 250 * time.Millisecond
	body := map[string]any{"key": icon.Key, "description": icon.Description, "keywords": icon.Keywords, "fileResourceId": icon.FileResource.ID}
	for try := 1; ; try++ {
		err := c.postJSON(ctx, "/api/icons", nil, body, false, nil)
		if err == nil {
			return nil
		}
		if !NotFound(err) || try == tries {
			return fmt.Errorf("icon %s: %w", icon.Key, err)
		}
		if err := c.options.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// DeleteIcon removes a custom icon; NotFound tells that there is none.
func (c *Client) DeleteIcon(ctx context.Context, key string) error {
	return c.do(ctx, &request{method: http.MethodDelete, path: "/api/icons/" + url.PathEscape(key), repeatable: true}, nil)
}
