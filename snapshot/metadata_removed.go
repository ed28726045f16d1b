package snapshot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// MetadataRemoval is what became of the metadata that a scope no longer has.
type MetadataRemoval struct {
	// Removed counts the objects that are gone from the target.
	Removed int `json:"removed"`
	// Hidden are those that the target keeps because something uses them, each with its reason: nobody is offered
	// them any more. The next RemoveMetadata tries again.
	Hidden []MetadataRefusal `json:"hidden,omitempty"`
	// Used are those that objects of the target's owner name; they stay as they are.
	Used []Reference `json:"used,omitempty"`
	// Unknown are the classes that central does not show to the account any more: whether their objects are gone
	// there nobody knows, and they stay.
	Unknown []string `json:"unknown,omitempty"`
}

// RemoveMetadata takes from the target what loading made there (see Brought) and the metadata no longer has:
// objects that were deleted at central, and what a narrower scope does not need. It comes after loading metadata
// and data: by then nothing that is carried names these objects.
//
// What DHIS2 keeps because something uses it is taken out of sight: without org units, shared with nobody; a
// user is disabled, an org unit closed. Objects that prepare did not bring stay, and so does what those name.
// May be called any number of times.
func RemoveMetadata(ctx context.Context, central, local *dhis2api.Client, metadata Metadata, brought *Brought) (*MetadataRemoval, error) {
	r := &metadataRemoving{
		metadataLoading: metadataLoading{local: local, metadata: metadata, target: Target{Brought: brought}},
		central:         central, gone: map[string][]string{}, reasons: map[Reference]MetadataRefusal{},
	}
	if brought == nil {
		return &r.removal, nil
	}
	if err := r.find(ctx); err != nil {
		return nil, fmt.Errorf("look for metadata that the scope no longer has: %w", err)
	}
	if len(r.gone) > 0 {
		if err := r.spare(ctx); err != nil {
			return nil, fmt.Errorf("look at the server's own metadata: %w", err)
		}
		if err := r.removeAll(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.hideAll(ctx); err != nil {
		return nil, err
	}
	return &r.removal, brought.save()
}

// metadataRemoving is the state of one RemoveMetadata.
type metadataRemoving struct {
	metadataLoading
	central *dhis2api.Client
	// gone are the objects to remove that the target still has, by class.
	gone    map[string][]string
	reasons map[Reference]MetadataRefusal
	removal MetadataRemoval
}

// find lists what loading made and the metadata lacks. Of a class of which the metadata has nothing central is
// asked: an account that lost the right to read users sees none, and that is no reason to remove them.
func (r *metadataRemoving) find(ctx context.Context) error {
	if err := r.readTarget(ctx); err != nil {
		return err
	}
	known := newPreparation(r.metadata, r.target).known
	for _, class := range r.target.Brought.classes() {
		if class == customIcons {
			if err := r.removeIcons(ctx); err != nil {
				return err
			}
			continue
		}
		ids := slices.DeleteFunc(r.target.Brought.ids(class), func(id string) bool { return known[Reference{class, id}] })
		if len(ids) == 0 {
			continue
		}
		there, err := r.present(ctx, class, ids)
		if err != nil {
			return fmt.Errorf("%s: %w", class, err)
		}
		if there == nil {
			continue
		}
		r.forget(class, ids, there)
		if len(there) == 0 {
			continue
		}
		if len(r.metadata[class]) == 0 {
			switch readable, err := r.readable(ctx, class); {
			case err != nil:
				return fmt.Errorf("%s: %w", class, err)
			case !readable:
				r.removal.Unknown = append(r.removal.Unknown, class)
				continue
			}
		}
		r.gone[class] = slices.Sorted(maps.Keys(there))
	}
	return nil
}

// forget notes that objects which the target does not show any more are not there to be removed.
func (r *metadataRemoving) forget(class string, ids []string, there map[string]bool) {
	for _, id := range ids {
		if !there[id] {
			delete(r.target.Brought.objects, Reference{class, id})
		}
	}
}

// readable tells whether central shows the account objects of a class at all.
func (r *metadataRemoving) readable(ctx context.Context, class string) (bool, error) {
	for _, err := range r.central.List(ctx, class, dhis2api.ListQuery{Fields: "id", PageSize: 1}) {
		if isDenied(err) {
			return false, nil
		}
		return err == nil, err
	}
	return true, nil
}

// removeIcons removes the custom icons that no carried object shows.
func (r *metadataRemoving) removeIcons(ctx context.Context) error {
	shown := map[string]bool{}
	for _, raw := range r.metadata[customIcons] {
		var icon customIcon
		if err := json.Unmarshal(raw, &icon); err != nil {
			return err
		}
		shown[icon.Icon.Key] = true
	}
	for _, key := range r.target.Brought.ids(customIcons) {
		if shown[key] {
			continue
		}
		if err := r.local.DeleteIcon(ctx, key); err != nil && !dhis2api.NotFound(err) {
			return fmt.Errorf("icon %s: %w", key, err)
		}
		delete(r.target.Brought.objects, Reference{customIcons, key})
		r.removal.Removed++
	}
	return nil
}

// spare leaves out what objects name that stay, those of the target's owner and of unknown classes, and what that
// names in turn: DHIS2 would take some of it out of them without a word.
func (r *metadataRemoving) spare(ctx context.Context) error {
	carried := map[Reference]bool{{"users", r.me.ID}: true}
	for class := range r.metadata {
		for _, id := range r.metadata.IDs(class) {
			carried[Reference{class, id}] = true
		}
	}
	goes := map[Reference]bool{}
	for class, ids := range r.gone {
		for _, id := range ids {
			goes[Reference{class, id}] = true
		}
	}
	var used []Reference
	use := func(class string, object map[string]any) {
		for _, named := range references(class, object) {
			if goes[named] {
				delete(goes, named)
				used = append(used, named)
			}
		}
	}
	for _, class := range r.removal.Unknown {
		objects, err := r.stored(ctx, class, r.target.Brought.ids(class))
		if err != nil {
			return fmt.Errorf("%s: %w", class, err)
		}
		for _, object := range objects {
			use(class, object)
		}
	}
	unknown := len(used)
	for _, class := range append(everyClass(), "organisationUnits", "users") {
		var owned []string
		for object, err := range dhis2api.ListAs[dhis2api.Ref](ctx, r.local, class, dhis2api.ListQuery{Fields: "id"}) {
			if isDenied(err) {
				break
			}
			if err != nil {
				return fmt.Errorf("%s: %w", class, err)
			}
			if object := (Reference{class, object.ID}); !carried[object] && !r.target.Brought.has(object) {
				owned = append(owned, object.ID)
			}
		}
		objects, err := r.stored(ctx, class, owned)
		if err != nil {
			return fmt.Errorf("%s: %w", class, err)
		}
		for _, object := range objects {
			use(class, object)
		}
	}
	for i := 0; i < len(used); i++ { // use makes it longer
		objects, err := r.stored(ctx, used[i].Class, []string{used[i].ID})
		if err != nil {
			return fmt.Errorf("%s: %w", used[i].Class, err)
		}
		for _, object := range objects {
			use(used[i].Class, object)
		}
	}
	for _, spared := range used {
		r.gone[spared.Class] = slices.DeleteFunc(r.gone[spared.Class], func(id string) bool { return id == spared.ID })
	}
	r.removal.Used = slices.SortedFunc(slices.Values(used[unknown:]), func(a, b Reference) int {
		return cmp.Or(strings.Compare(a.Class, b.Class), strings.Compare(a.ID, b.ID))
	})
	return nil
}

// removalOrder are the classes in an order in which nothing goes before what names it (2.41 to 2.43). DHIS2 refuses
// the others, or rolls back without saying why (a program with a working list, 2.42).
func removalOrder() []string {
	return strings.Fields(`dashboards visualizations eventVisualizations eventCharts eventReports maps mapViews reports
		trackedEntityInstanceFilters programStageWorkingLists eventFilters relationshipTypes
		programRuleActions programRules programRuleVariables programNotificationTemplates
		programIndicatorGroups programStageSections programSections programIndicators programStages programs
		validationNotificationTemplates validationRuleGroups validationRules predictorGroups predictors
		sections dataSetNotificationTemplates dataSets dataApprovalLevels dataApprovalWorkflows
		indicatorGroupSets indicatorGroups indicators indicatorTypes dataEntryForms
		dataElementGroupSets dataElementGroups trackedEntityTypes trackedEntityAttributes dataElements
		optionGroupSets optionGroups options optionSets legendSets
		categoryOptionGroupSets categoryOptionGroups categoryOptionCombos categoryCombos categories categoryOptions
		constants externalMapLayers users userGroups userRoles
		organisationUnitGroupSets organisationUnitGroups organisationUnits organisationUnitLevels attributes`)
}

// removeAll removes class after class, and again as long as something goes: what kept an object may have gone
// after it.
func (r *metadataRemoving) removeAll(ctx context.Context) error {
	order := removalOrder()
	for class := range r.gone {
		if !slices.Contains(order, class) {
			order = append([]string{class}, order...)
		}
	}
	for {
		before := r.removal.Removed
		for _, class := range order {
			if err := r.removeClass(ctx, class); err != nil {
				return fmt.Errorf("remove %s: %w", class, err)
			}
		}
		if r.removal.Removed == before || r.left() == 0 {
			return nil
		}
	}
}

// left counts the objects that still have to go.
func (r *metadataRemoving) left() int {
	left := 0
	for _, ids := range r.gone {
		left += len(ids)
	}
	return left
}

// removeClass removes objects of a class, all at once where the target lets it, else one by one. What is gone the
// target is asked: DHIS2 says of an option in a set that it deleted it, and keeps it (2.42).
func (r *metadataRemoving) removeClass(ctx context.Context, class string) error {
	ids := r.gone[class]
	if len(ids) == 0 {
		return nil
	}
	if class == "organisationUnits" {
		ids = r.deepestFirst(ctx, ids)
	} else if _, err := r.remove(ctx, class, ids); err != nil {
		return err
	}
	there, err := r.present(ctx, class, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !there[id] {
			continue
		}
		reason, err := r.remove(ctx, class, []string{id})
		if err != nil {
			return err
		}
		reason.Class, reason.UID = class, id
		r.reasons[Reference{class, id}] = reason
	}
	if there, err = r.present(ctx, class, ids); err != nil {
		return err
	}
	r.forget(class, ids, there)
	r.removal.Removed += len(ids) - len(there)
	r.gone[class] = slices.DeleteFunc(ids, func(id string) bool { return !there[id] })
	return nil
}

// remove asks the target to delete objects and returns why it did not.
func (r *metadataRemoving) remove(ctx context.Context, class string, ids []string) (MetadataRefusal, error) {
	objects := make([]dhis2api.Ref, 0, len(ids))
	for _, id := range ids {
		objects = append(objects, dhis2api.Ref{ID: id})
	}
	report, err := r.local.ImportMetadata(ctx, map[string][]dhis2api.Ref{class: objects}, dhis2api.MetadataImportOptions{Strategy: dhis2api.ImportStrategyDelete})
	var status *dhis2api.StatusError
	var unknown *dhis2api.UnknownOutcomeError
	switch {
	case ctx.Err() != nil:
		return MetadataRefusal{}, ctx.Err()
	case errors.As(err, &status):
		return MetadataRefusal{Code: status.ErrorCode, Reason: status.Message}, nil
	case errors.As(err, &unknown):
		return MetadataRefusal{Reason: unknown.Error()}, nil
	case err != nil:
		return MetadataRefusal{}, err
	case len(report.Problems) > 0:
		return MetadataRefusal{Code: report.Problems[0].Code, Reason: report.Problems[0].Message}, nil
	}
	return MetadataRefusal{Reason: "the server keeps it and does not say why"}, nil
}

// deepestFirst orders org units so that those below others come first.
func (r *metadataRemoving) deepestFirst(ctx context.Context, ids []string) []string {
	level := map[string]int{}
	for chunk := range slices.Chunk(ids, idsAtOnce) {
		query := dhis2api.ListQuery{Fields: "id,path", Filters: []string{idFilter(chunk)}}
		for unit, err := range dhis2api.ListAs[dhis2api.Ref](ctx, r.local, "organisationUnits", query) {
			if err != nil {
				break // whatever keeps it from listing them keeps it from removing them
			}
			level[unit.ID] = strings.Count(unit.Path, "/")
		}
	}
	return slices.SortedFunc(slices.Values(ids), func(a, b string) int {
		return cmp.Or(cmp.Compare(level[b], level[a]), strings.Compare(a, b))
	})
}
