package snapshot

import (
	"context"
	"fmt"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// readBack asks the target for what was sent: what it does not show, and what it gives back otherwise. A class
// that it cannot list counts as neither.
//
// What RemoveMetadata will take counts as gone: a stage that left its program stays in the target's list until then,
// and so may other members.
func (l *metadataLoading) readBack(ctx context.Context, bundle Metadata) (missing, differing []Reference, err error) {
	going := l.going()
	for _, class := range bundle.Classes() {
		stored, err := l.stored(ctx, class, bundle.IDs(class))
		if err != nil {
			return nil, nil, fmt.Errorf("read back %s: %w", class, err)
		}
		for _, raw := range bundle[class] {
			if stored == nil {
				break
			}
			sent, err := decodeObject(raw)
			if err != nil {
				return nil, nil, err
			}
			id, _ := sent["id"].(string)
			withoutMembers(stored[id], going)
			withoutMembers(sent, going)
			switch got := stored[id]; {
			case got == nil:
				missing = append(missing, Reference{class, id})
			case !holds(got, sent) || keeps(class, got, sent):
				differing = append(differing, Reference{class, id})
			}
		}
	}
	return missing, differing, nil
}

// going are the ids of what loading made and the metadata no longer has.
func (l *metadataLoading) going() map[string]bool {
	going := map[string]bool{}
	if l.target.Brought == nil {
		return going
	}
	for object := range l.target.Brought.objects {
		going[object.ID] = true
	}
	for class := range l.metadata {
		for _, id := range l.metadata.IDs(class) {
			delete(going, id)
		}
	}
	return going
}

// withoutMembers takes objects out of the lists of another one.
func withoutMembers(object map[string]any, members map[string]bool) {
	for property, value := range object {
		if list, is := value.([]any); is {
			object[property] = slices.DeleteFunc(list, func(item any) bool {
				member, _ := item.(map[string]any)
				id, _ := member["id"].(string)
				return members[id]
			})
		}
	}
}

// stored reads objects of a class from the target; nil where it cannot list the class.
func (l *metadataLoading) stored(ctx context.Context, class string, ids []string) (map[string]map[string]any, error) {
	objects := map[string]map[string]any{}
	for chunk := range slices.Chunk(ids, idsAtOnce) {
		for raw, err := range l.local.List(ctx, class, dhis2api.ListQuery{Filters: []string{idFilter(chunk)}}) {
			if isDenied(err) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			object, err := decodeObject(raw)
			if err != nil {
				return nil, err
			}
			id, _ := object["id"].(string)
			objects[id] = object
		}
	}
	return objects, nil
}

// isServersOwn tells whether a property says who wrote an object and when, or is reckoned by the server.
func isServersOwn(property string) bool {
	switch property {
	case "created", "lastUpdated", "version", "owner", "dimensionItem", "displayName", "displayDescription":
		return true
	}
	return false
}

// keeps tells whether a server's object has a text, a reference or a list that was not sent: what central has removed
// must not be left on the kit.
func keeps(class string, stored, sent map[string]any) bool {
	for property, value := range stored {
		if _, is := sent[property]; is || isServersOwn(property) || slices.Contains(dropped(class), property) {
			continue
		}
		switch value := value.(type) {
		case string:
			if value != "" {
				return true
			}
		case []any:
			if len(value) > 0 {
				return true
			}
		case map[string]any:
			if len(value) > 0 {
				return true
			}
		}
	}
	return false
}

// holds tells whether what a server gives back has all that was sent, and in lists nothing else. They are held against each other without
// their order, which DHIS2 keeps for some and not for others; an embedded object is found by its id.
func holds(stored, sent any) bool {
	switch sent := sent.(type) {
	case map[string]any:
		object, is := stored.(map[string]any)
		if !is {
			return len(sent) == 0
		}
		for property, value := range sent {
			if !isServersOwn(property) && !holds(object[property], value) {
				return false
			}
		}
		return true
	case []any:
		list, _ := stored.([]any)
		if len(list) > len(sent) {
			return false
		}
		byID := map[any]any{}
		for _, item := range list {
			if object, is := item.(map[string]any); is && object["id"] != nil {
				byID[object["id"]] = item
			}
		}
		for _, item := range sent {
			if object, is := item.(map[string]any); is && byID[object["id"]] != nil {
				if !holds(byID[object["id"]], item) {
					return false
				}
				continue
			}
			if !slices.ContainsFunc(list, func(other any) bool { return holds(other, item) }) {
				return false
			}
		}
		return true
	case nil:
		return true
	}
	return stored == sent
}
