package snapshot

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// hideAll takes out of sight what the target did not let go.
func (r *metadataRemoving) hideAll(ctx context.Context) error {
	for _, class := range slices.Sorted(maps.Keys(r.gone)) {
		objects, err := r.stored(ctx, class, r.gone[class])
		if err != nil {
			return fmt.Errorf("hide %s: %w", class, err)
		}
		for _, id := range r.gone[class] {
			reason := r.reasons[Reference{class, id}]
			if object := objects[id]; object != nil && hide(class, object) {
				problem, err := r.importObject(ctx, class, object)
				if err != nil {
					return fmt.Errorf("hide %s %s: %w", class, id, err)
				}
				if problem != "" {
					reason.Reason += "; it cannot be hidden either: " + problem
				}
			}
			r.removal.Hidden = append(r.removal.Hidden, reason)
		}
	}
	return nil
}

// importObject gives the target one object in another form, and returns why it is refused.
func (l *metadataLoading) importObject(ctx context.Context, class string, object map[string]any) (string, error) {
	raw, err := encodeObject(object)
	if err != nil {
		return "", err
	}
	report, err := l.importBundle(ctx, Metadata{class: {raw}})
	if err != nil {
		return "", err
	}
	if len(report.Problems) > 0 {
		return report.Problems[0].Code + " " + report.Problems[0].Message, nil
	}
	return "", nil
}

// hide makes of an object one that nobody is offered, and tells whether there is anything about it to change. A unit
// is closed from the day on which it opened: the data that keeps it is not the scope's.
func hide(class string, object map[string]any) bool {
	changed := false
	if _, shared := object["sharing"].(map[string]any); shared {
		object["sharing"] = map[string]any{"public": "--------", "external": false, "users": map[string]any{}, "userGroups": map[string]any{}}
		changed = true
	}
	for _, property := range prunedLists(class) {
		object[property] = []any{}
		changed = true
	}
	switch class {
	case "users":
		object["disabled"] = true
	case "organisationUnits":
		object["closedDate"], changed = object["openingDate"], true
	}
	return changed
}

// makeWay renames objects that loading brought and that the metadata no longer has, where another object now has
// their name or code: DHIS2 lets no two have them (E5003), and they are removed only at the end.
func (l *metadataLoading) makeWay(ctx context.Context) error {
	brought := l.target.Brought
	if brought == nil {
		return nil
	}
	for class, objects := range l.metadata {
		if class == customIcons || class == "users" {
			continue
		}
		carried, taken := map[string]bool{}, map[string]bool{}
		for _, raw := range objects {
			object, err := decodeObject(raw)
			if err != nil {
				return fmt.Errorf("%s %s: %w", class, objectID(raw), err)
			}
			carried[objectID(raw)] = true
			for _, property := range uniqueNames() {
				if name, _ := object[property].(string); name != "" {
					taken[property+" "+name] = true
				}
			}
		}
		gone := slices.DeleteFunc(brought.ids(class), func(id string) bool { return carried[id] })
		there, err := l.stored(ctx, class, gone)
		if err != nil {
			return fmt.Errorf("%s: %w", class, err)
		}
		for _, id := range slices.Sorted(maps.Keys(there)) {
			object, inTheWay := there[id], false
			for _, property := range uniqueNames() {
				if name, _ := object[property].(string); name != "" && taken[property+" "+name] {
					object[property], inTheWay = id, true
				}
			}
			if !inTheWay {
				continue
			}
			if _, err := l.importObject(ctx, class, object); err != nil {
				return fmt.Errorf("rename %s %s: %w", class, id, err)
			}
		}
	}
	return nil
}

// uniqueNames are the properties that no two objects of a class may share, in many classes.
func uniqueNames() []string { return []string{"name", "shortName", "code"} }
