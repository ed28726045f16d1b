package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// addNames gives every record in a report what DHIS2 shows in lists of the person that it belongs to, as the kit holds it. Who
// is not on the kit any more stays without.
func (c *comparison) addNames(ctx context.Context, result *report.Report) error {
	shown, err := shownInLists(c.taken.snapshot)
	if err != nil {
		return err
	}
	var people []root
	known := map[string]bool{}
	for reference := range result.References() {
		if reference.Person != "" && !known[reference.Person] {
			known[reference.Person] = true
			people = append(people, root{kind: rootPerson, uid: reference.Person})
		}
	}
	names := map[string]string{}
	for batch := range slices.Chunk(people, batchRoots) {
		held, err := read(ctx, c.local, batch, nil, nil)
		if err != nil {
			return atServer(ctx, Local, c.local.BaseURL(), err)
		}
		for _, r := range batch {
			person := held.faces[r].Objects[merge.Ref{Kind: merge.TrackedEntity, UID: r.uid}]
			var parts []string
			for _, attribute := range shown[person.Fields["trackedEntityType"]] {
				if value := person.Fields[attribute]; value != "" {
					parts = append(parts, value)
				}
			}
			names[r.uid] = strings.Join(parts, " ")
		}
	}
	for reference := range result.References() {
		reference.Name = names[reference.Person]
	}
	return nil
}

// shownInLists are the attributes that DHIS2 shows in lists (displayInList) of people of each tracked entity type, in their
// order.
func shownInLists(s *snapshot.Snapshot) (map[string][]string, error) {
	metadata, err := metadataOf(s)
	if err != nil {
		return nil, err
	}
	shown := map[string][]string{}
	for _, raw := range metadata["trackedEntityTypes"] {
		var kind struct {
			ID                          string
			TrackedEntityTypeAttributes []struct {
				DisplayInList          bool
				TrackedEntityAttribute struct{ ID string }
			}
		}
		if err := json.Unmarshal(raw, &kind); err != nil {
			return nil, fmt.Errorf("cannot read the snapshot's metadata: %w", err)
		}
		for _, attribute := range kind.TrackedEntityTypeAttributes {
			if attribute.DisplayInList {
				shown[kind.ID] = append(shown[kind.ID], attribute.TrackedEntityAttribute.ID)
			}
		}
	}
	return shown, nil
}
