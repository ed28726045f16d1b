package snapshot

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// mentions finds the org units that records name: where they belong, who owns them, and values that are org units.
type mentions struct {
	// tell is told of each unit once.
	tell func(orgUnit string)
	told map[string]bool
	// unitValued are the attributes and data elements whose values are org units.
	unitValued map[string]bool
}

// newMentions asks a server which values are org units.
func newMentions(ctx context.Context, server *dhis2api.Client, tell func(orgUnit string)) (*mentions, error) {
	m := &mentions{tell: tell, told: map[string]bool{}, unitValued: map[string]bool{}}
	for _, class := range []string{"trackedEntityAttributes", "dataElements"} {
		query := dhis2api.ListQuery{Fields: "id", Filters: []string{"valueType:eq:ORGANISATION_UNIT"}}
		for object, err := range dhis2api.ListAs[dhis2api.Ref](ctx, server, class, query) {
			if err != nil {
				return nil, fmt.Errorf("%s whose values are org units: %w", class, err)
			}
			m.unitValued[object.ID] = true
		}
	}
	return m, nil
}

func (m *mentions) unit(uid string) {
	if uid != "" && !m.told[uid] {
		m.told[uid] = true
		m.tell(uid)
	}
}

func (m *mentions) value(of, value string) {
	if m.unitValued[of] {
		m.unit(value)
	}
}

// in finds the units that an object of a stream names.
func (m *mentions) in(object any) {
	switch object := object.(type) {
	case *dhis2api.TrackedEntity:
		m.unit(object.OrgUnit)
		for _, owner := range object.ProgramOwners {
			m.unit(owner.OrgUnit)
		}
		for _, attribute := range object.Attributes {
			m.value(attribute.Attribute, attribute.Value)
		}
		for _, enrollment := range object.Enrollments {
			m.unit(enrollment.OrgUnit)
			for _, attribute := range enrollment.Attributes {
				m.value(attribute.Attribute, attribute.Value)
			}
			for _, event := range enrollment.Events {
				m.in(event)
			}
		}
	case *dhis2api.Event:
		m.unit(object.OrgUnit)
		for _, value := range object.DataValues {
			m.value(value.DataElement, value.Value)
		}
	case *dhis2api.DataValue:
		m.value(object.DataElement, object.Value)
	}
}

// TakeMentionedUnits reads from central those of the org units that lie outside the scope, with their ancestors:
// what records of the scope merely name. On the kit they are for reference (see Metadata.Prepare). Units that
// central does not show are left out.
func TakeMentionedUnits(ctx context.Context, central *dhis2api.Client, scope *Scope, orgUnits []string) (Metadata, error) {
	t := &metadataTaking{central: central, collection: newMetadataCollection()}
	if err := t.takeReferenceUnits(ctx, scope, orgUnits); err != nil {
		return nil, fmt.Errorf("org units that records name: %w", err)
	}
	return t.collection.metadata(), nil
}

// takeReferenceUnits takes units by their uids, but for those in the scope, with their ancestors.
func (t *metadataTaking) takeReferenceUnits(ctx context.Context, scope *Scope, uids []string) error {
	ancestors := map[string]bool{}
	for chunk := range slices.Chunk(uids, idsAtOnce) {
		query := dhis2api.ListQuery{Fields: "id,path", Filters: []string{idFilter(chunk)}}
		for unit, err := range dhis2api.ListAs[dhis2api.Ref](ctx, t.central, "organisationUnits", query) {
			if err != nil {
				return err
			}
			if scope.Contains(unit.Path) {
				continue
			}
			for _, uid := range strings.Split(strings.Trim(unit.Path, "/"), "/") {
				if !t.collection.has("organisationUnits", uid) {
					ancestors[uid] = true
				}
			}
		}
	}
	return t.fetch(ctx, "organisationUnits", slices.Sorted(maps.Keys(ancestors)))
}

// takeOptionUnits makes sure that a category option of other org units stays one: it keeps one of them.
func (t *metadataTaking) takeOptionUnits(ctx context.Context, scope *Scope) error {
	var elsewhere []string
	for _, raw := range t.collection.objects["categoryOptions"] {
		option, err := decodeObject(raw)
		if err != nil {
			return fmt.Errorf("categoryOptions %s: %w", objectID(raw), err)
		}
		units, _ := option["organisationUnits"].([]any)
		if len(units) == 0 || refersTo(option, "organisationUnits", t.collection.objects["organisationUnits"]) {
			continue
		}
		var uids []string
		for _, unit := range units {
			reference, _ := unit.(map[string]any)
			if uid, _ := reference["id"].(string); uid != "" {
				uids = append(uids, uid)
			}
		}
		elsewhere = append(elsewhere, slices.Min(uids))
	}
	slices.Sort(elsewhere)
	return t.takeReferenceUnits(ctx, scope, slices.Compact(elsewhere))
}
