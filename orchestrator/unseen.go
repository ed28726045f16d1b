package orchestrator

import (
	"context"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// keepUnseen gives the kit's face of a person the attribute values that were loaded and that the kit cannot show now: those of
// a program in which the person has no enrollment there any more, not even a deleted one, once prepare has made the kit forget
// what was deleted (DHIS2 2.41 to 2.43: a program's attributes are shown of those enrolled in it). Nobody has emptied them.
func (c *comparison) keepUnseen(ctx context.Context, r root, local *holding, record *merge.Record) error {
	ref := merge.Ref{Kind: merge.TrackedEntity, UID: r.uid}
	here, onKit := record.Local.Objects[ref]
	loaded := record.Loaded.Objects[ref]
	if r.kind != rootPerson || !onKit || showsAll(local.shownIn[r.uid], record.Loaded) {
		return nil
	}
	lacking := map[string]string{}
	for field, value := range loaded.Fields {
		if _, shown := here.Fields[field]; !shown && value != "" && merge.IsUID(field) {
			lacking[field] = value
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	shown, err := c.attributesShown(ctx, here.Fields["trackedEntityType"], local.shownIn[r.uid])
	if err != nil {
		return err
	}
	maps.DeleteFunc(lacking, func(attribute, _ string) bool { return slices.Contains(shown, attribute) })
	if len(lacking) == 0 {
		return nil
	}
	here.Fields = maps.Clone(here.Fields)
	maps.Copy(here.Fields, lacking)
	record.Local.Objects = maps.Clone(record.Local.Objects)
	record.Local.Objects[ref] = here
	return nil
}

// showsAll tells whether the programs are all those in which the face has an enrollment.
func showsAll(programs []string, face merge.Face) bool {
	for ref, object := range face.Objects {
		if ref.Kind == merge.Enrollment && !slices.Contains(programs, object.Fields[merge.FieldProgram]) {
			return false
		}
	}
	return true
}

// attributesShown are the attributes that the kit shows of a person of a type whom it finds in some programs.
func (c *comparison) attributesShown(ctx context.Context, entityType string, programs []string) ([]string, error) {
	type attribute struct {
		Attribute dhis2api.Ref `json:"trackedEntityAttribute"`
	}
	var of struct {
		OfType    []attribute `json:"trackedEntityTypeAttributes"`
		OfProgram []attribute `json:"programTrackedEntityAttributes"`
	}
	if err := c.local.Get(ctx, "trackedEntityTypes", entityType, "trackedEntityTypeAttributes[trackedEntityAttribute[id]]", &of); err != nil {
		return nil, atServer(ctx, Local, c.local.BaseURL(), err)
	}
	all := of.OfType
	for _, program := range programs {
		of.OfProgram = nil
		if err := c.local.Get(ctx, "programs", program, "programTrackedEntityAttributes[trackedEntityAttribute[id]]", &of); err != nil {
			return nil, atServer(ctx, Local, c.local.BaseURL(), err)
		}
		all = append(all, of.OfProgram...)
	}
	uids := make([]string, len(all))
	for i, a := range all {
		uids[i] = a.Attribute.ID
	}
	return uids, nil
}
