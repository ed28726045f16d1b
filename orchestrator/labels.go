package orchestrator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// addLabels gives every field that is named by a uid the name that people know it by, from the trip's own
// metadata. A form's value goes by its data element.
func addLabels(ctx context.Context, s *snapshot.Snapshot, result *report.Report) error {
	listed := len(result.Conflicts) + len(result.Refusals) + len(result.Waiting) + len(result.Rewritten) + len(result.Overtaken) +
		len(result.NotLoaded) + len(result.Decisions) + len(result.Merged) + len(result.SamePeople)
	if listed == 0 {
		return nil
	}
	labels, err := fieldLabels(s)
	if err != nil {
		return err
	}
	label := func(r report.Reference, field string) string {
		if element, _, _ := strings.Cut(r.UID, "."); r.Kind == string(merge.DataValue) {
			return labels[element]
		}
		return labels[field]
	}
	for _, list := range [][]report.Conflict{result.Conflicts, result.Rewritten, result.Overtaken} {
		for i, c := range list {
			list[i].Label = label(c.Reference, c.Field)
		}
	}
	for i := range result.Merged {
		m := &result.Merged[i]
		m.ProgramStageLabel, m.OrgUnitLabel = labels[m.ProgramStage], labels[m.OrgUnit]
		for _, list := range [][]report.Edited{m.OnKit, m.AtCentral} {
			for at, edited := range list {
				list[at].Label = labels[edited.Field]
			}
		}
	}
	for i := range result.SamePeople {
		same := &result.SamePeople[i]
		same.Label = labels[same.Attribute]
		for at := range same.Fields {
			same.Fields[at].Label = labels[same.Fields[at].Field]
		}
		for _, list := range [][]report.Enrolled{same.OnKit, same.Central} {
			for at := range list {
				list[at].ProgramLabel, list[at].OrgUnitLabel = labels[list[at].Program], labels[list[at].OrgUnit]
			}
		}
	}
	for i, d := range result.Decisions {
		result.Decisions[i].Label = label(d.Reference, d.Field)
	}
	for i, no := range result.Refusals {
		result.Refusals[i].Label = label(no.Reference, no.Field)
	}
	for i, no := range result.NotLoaded {
		result.NotLoaded[i].Label = label(no.Reference, no.Field)
	}
	for i, w := range result.Waiting {
		result.Waiting[i].Label = label(w.Reference, w.Field)
	}
	return ctx.Err()
}

// fieldLabels are the names of the attributes, data elements, programs, their stages and org units that a snapshot carries, by uid:
// that on forms where there is one.
func fieldLabels(s *snapshot.Snapshot) (map[string]string, error) {
	metadata, err := metadataOf(s)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	for _, class := range []string{"trackedEntityAttributes", "dataElements", "programs", "programStages", "organisationUnits"} {
		for _, raw := range metadata[class] {
			var named struct{ ID, FormName, Name string }
			if err := json.Unmarshal(raw, &named); err != nil {
				return nil, fmt.Errorf("cannot read the snapshot's metadata: %w", err)
			}
			labels[named.ID] = cmp.Or(named.FormName, named.Name)
		}
	}
	return labels, nil
}

// metadataOf reads the metadata that a snapshot carries, the org units that records merely name included.
func metadataOf(s *snapshot.Snapshot) (snapshot.Metadata, error) {
	all := snapshot.Metadata{}
	for _, name := range []string{metadataName, unitsName} {
		document, err := s.Document(snapshot.Taken, name)
		if name == unitsName && errors.Is(err, fs.ErrNotExist) {
			continue // taken before fieldkit knew of them
		}
		if err != nil {
			return nil, err
		}
		var metadata snapshot.Metadata
		if err := errors.Join(json.NewDecoder(document).Decode(&metadata), document.Close()); err != nil {
			return nil, fmt.Errorf("cannot read the snapshot's metadata: %w", err)
		}
		all = all.With(metadata)
	}
	return all, nil
}

// settingsOf reads the settings that a snapshot carries; none where it was taken before fieldkit knew of them.
func settingsOf(s *snapshot.Snapshot) (*snapshot.Settings, error) {
	settings := &snapshot.Settings{}
	document, err := s.Document(snapshot.Taken, settingsName)
	if errors.Is(err, fs.ErrNotExist) {
		return settings, nil
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewDecoder(document).Decode(settings), document.Close()); err != nil {
		return nil, fmt.Errorf("cannot read the snapshot's settings: %w", err)
	}
	return settings, nil
}
