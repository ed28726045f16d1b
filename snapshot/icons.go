package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// customIcons is the class under which Metadata holds the icons that somebody uploaded: objects of ours, for DHIS2's
// metadata import knows no icons.
const customIcons = "customIcons"

// customIcon is an icon with its picture. Its id is that of the file.
type customIcon struct {
	ID      string        `json:"id"`
	Icon    dhis2api.Icon `json:"icon"`
	Content []byte        `json:"content"`
}

// iconsAtOnce is how many keys a request names.
const iconsAtOnce = 100

// takeIcons takes the custom icons that carried objects show. Those that come with DHIS2 the kit has.
func (t *metadataTaking) takeIcons(ctx context.Context, _ *Scope) error {
	keys := map[string]bool{}
	for _, objects := range t.collection.objects {
		for _, raw := range objects {
			var object struct{ Style struct{ Icon string } }
			if json.Unmarshal(raw, &object) == nil && object.Style.Icon != "" {
				keys[object.Style.Icon] = true
			}
		}
	}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(keys)), iconsAtOnce) {
		icons, err := t.central.Icons(ctx, chunk...)
		if isDenied(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, icon := range icons {
			if !icon.Custom {
				continue
			}
			if err := t.takeIcon(ctx, icon); err != nil {
				return fmt.Errorf("%s: %w", icon.Key, err)
			}
		}
	}
	return nil
}

func (t *metadataTaking) takeIcon(ctx context.Context, icon dhis2api.Icon) error {
	content, err := t.central.IconContent(ctx, icon.Key)
	if dhis2api.NotFound(err) {
		return nil // without its file it shows nowhere
	}
	if err != nil {
		return err
	}
	picture, err := io.ReadAll(content)
	if err := errors.Join(err, content.Close()); err != nil {
		return err
	}
	object, err := encodeObject(customIcon{ID: icon.FileResource.ID, Icon: icon, Content: picture})
	if err != nil {
		return err
	}
	return t.collection.add(customIcons, object)
}

// loadIcons gives the target the icons that it lacks, or has with another picture.
func (l *metadataLoading) loadIcons(ctx context.Context) error {
	icons, owned := map[string]customIcon{}, map[string]bool{}
	for _, raw := range l.metadata[customIcons] {
		var icon customIcon
		if err := json.Unmarshal(raw, &icon); err != nil {
			return err
		}
		icons[icon.Icon.Key] = icon
	}
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(icons)), iconsAtOnce) {
		there, err := l.local.Icons(ctx, chunk...)
		if err != nil {
			return err
		}
		for _, icon := range there {
			switch {
			case icon.FileResource.ID == icons[icon.Key].ID:
				delete(icons, icon.Key)
			case icon.Custom:
				owned[icon.Key] = !l.target.Brought.has(Reference{customIcons, icon.Key})
				if err := l.local.DeleteIcon(ctx, icon.Key); err != nil && !dhis2api.NotFound(err) {
					return fmt.Errorf("%s: %w", icon.Key, err)
				}
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(icons)) {
		icon := icons[key]
		if !owned[key] {
			if err := l.target.Brought.add(Reference{customIcons, key}); err != nil {
				return err
			}
		}
		_, err := l.local.UploadFile(ctx, icon.ID, key+".png", "image/png", dhis2api.DomainIcon, bytes.NewReader(icon.Content))
		var status *dhis2api.StatusError
		if err != nil && (!errors.As(err, &status) || status.ErrorCode != "E1119") { // an interrupted run left it there
			return fmt.Errorf("%s: %w", key, err)
		}
		if err := l.local.AddIcon(ctx, icon.Icon); err != nil {
			return err
		}
	}
	return nil
}
