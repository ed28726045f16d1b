package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// addLabels gives every field that is named by a uid the name that people know it by, from the trip's own
// metadata.
func addLabels(ctx context.Context, s *snapshot.Snapshot, result *report.Report) error {
	lists := [][]report.Conflict{result.Conflicts, result.Rewritten, result.Overtaken}
	if len(lists[0])+len(lists[1])+len(lists[2]) == 0 {
		return nil
	}
	metadata, err := metadataOf(s)
	if err != nil {
		return err
	}
	labels := map[string]string{}
	for _, class := range []string{"trackedEntityAttributes", "dataElements"} {
		for _, raw := range metadata[class] {
			var named struct{ ID, FormName, Name string }
			if err := json.Unmarshal(raw, &named); err != nil {
				return fmt.Errorf("cannot read the snapshot's metadata: %w", err)
			}
			labels[named.ID] = named.Name
			if named.FormName != "" {
				labels[named.ID] = named.FormName
			}
		}
	}
	for _, list := range lists {
		for i := range list {
			list[i].Label = labels[list[i].Field]
		}
	}
	return ctx.Err()
}

// metadataOf reads the metadata that a snapshot carries.
func metadataOf(s *snapshot.Snapshot) (snapshot.Metadata, error) {
	document, err := s.Document(snapshot.Taken, metadataName)
	if err != nil {
		return nil, err
	}
	var metadata snapshot.Metadata
	if err := errors.Join(json.NewDecoder(document).Decode(&metadata), document.Close()); err != nil {
		return nil, fmt.Errorf("cannot read the snapshot's metadata: %w", err)
	}
	return metadata, nil
}
