package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// loader loads taken objects into one target.
type loader struct {
	local   *dhis2api.Client
	options LoadOptions
	payload payload
	back    payload
	skipped skipped
	// files are the attributes and data elements whose values are uids of files.
	files map[string]bool
	// empty are the tracked entity types, and the programs without registration, of which the target had nothing
	// when the load began, not even deleted.
	empty map[string]bool
	// strict: the account is no superuser.
	strict bool
	// bending: one batch at a time bends the target's rules.
	bending sync.Mutex

	// mutex guards what is learned on the way: which org units, data elements and users the target has.
	mutex    sync.Mutex
	units    map[string]bool
	elements map[string]bool
	users    map[string]*dhis2api.UserRef
}

// newLoader learns what the target's metadata say about values.
func newLoader(ctx context.Context, scope *Scope, local *dhis2api.Client, options LoadOptions) (*loader, error) {
	if options.BatchSize == 0 {
		options.BatchSize = 200
	}
	if options.Posters == 0 {
		options.Posters = 2
	}
	l := &loader{
		local: local, options: options, payload: payload{defaults: options.Defaults},
		skipped: skipped{attributes: map[string]bool{}, dataElements: map[string]bool{}},
		files:   map[string]bool{}, empty: map[string]bool{}, units: map[string]bool{}, elements: map[string]bool{}, users: map[string]*dhis2api.UserRef{},
	}
	l.back = l.payload.reversed()
	me, err := local.Me(ctx)
	if err != nil {
		return nil, err
	}
	l.strict = !slices.Contains(me.Authorities, "ALL")
	for _, class := range []string{"trackedEntityAttributes", "dataElements"} {
		type field struct{ ID, ValueType string }
		for one, err := range dhis2api.ListAs[field](ctx, local, class, dhis2api.ListQuery{Fields: "id,valueType"}) {
			if err != nil {
				return nil, err
			}
			if slices.Contains(dhis2api.FileValueTypes(), one.ValueType) {
				l.files[one.ID] = true
			}
			if class == "dataElements" {
				l.elements[one.ID] = true
			}
		}
	}
	query := dhis2api.ListQuery{Fields: "id", Filters: []string{"skipSynchronization:eq:true"}}
	for one, err := range dhis2api.ListAs[named](ctx, local, "trackedEntityAttributes", query) {
		if err != nil {
			return nil, err
		}
		l.skipped.attributes[one.ID] = true
	}
	stages := dhis2api.ListQuery{Fields: "id,programStageDataElements[skipSynchronization,dataElement[id]]"}
	type stage struct {
		ID                       string
		ProgramStageDataElements []struct {
			SkipSynchronization bool
			DataElement         named
		}
	}
	for one, err := range dhis2api.ListAs[stage](ctx, local, "programStages", stages) {
		if err != nil {
			return nil, err
		}
		for _, element := range one.ProgramStageDataElements {
			if element.SkipSynchronization {
				l.skipped.dataElements[one.ID+"."+element.DataElement.ID] = true
			}
		}
	}
	return l, l.findEmpty(ctx, scope)
}

func (l *loader) skip(kind merge.Kind, uid string) bool {
	return l.options.Skip != nil && l.options.Skip(merge.Ref{Kind: kind, UID: uid})
}

// ensureUnits brings org units that objects name and the target lacks over from central, with their
// ancestors: a person may be registered, seen or owned outside the scope. What central does not show
// either, or the account may not make, is left for the target to refuse.
func (l *loader) ensureUnits(ctx context.Context, uids map[string]bool) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(uids, "")
	unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(uids)), func(uid string) bool { return l.units[uid] })
	if len(unknown) == 0 {
		return nil
	}
	there, err := idsThere(ctx, l.local, "organisationUnits", unknown)
	if err != nil {
		return err
	}
	for _, uid := range unknown {
		l.units[uid] = true
	}
	lacking := slices.DeleteFunc(unknown, func(uid string) bool { return there[uid] })
	if len(lacking) == 0 || l.options.Central == nil {
		return nil
	}
	taking := &metadataTaking{central: l.options.Central, collection: newMetadataCollection()}
	if err := taking.fetch(ctx, "organisationUnits", lacking); err != nil {
		return fmt.Errorf("read org units from central: %w", err)
	}
	ancestors := map[string]bool{}
	for _, raw := range taking.collection.objects["organisationUnits"] {
		unit, err := decodeObject(raw)
		if err != nil {
			return err
		}
		path, _ := unit["path"].(string)
		for ancestor := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			ancestors[ancestor] = true
		}
	}
	delete(ancestors, "")
	above := slices.Sorted(maps.Keys(ancestors))
	if there, err = idsThere(ctx, l.local, "organisationUnits", above); err != nil {
		return err
	}
	above = slices.DeleteFunc(above, func(uid string) bool { return there[uid] })
	if err := taking.fetch(ctx, "organisationUnits", above); err != nil {
		return fmt.Errorf("read org units from central: %w", err)
	}
	bundle, err := withParents(taking.collection.metadata())
	if err != nil || bundle.Count() == 0 {
		return err
	}
	report, err := l.local.ImportMetadata(ctx, bundle, dhis2api.MetadataImportOptions{})
	if err != nil {
		return fmt.Errorf("import org units: %w", err)
	}
	if len(report.Problems) > 0 && !l.strict {
		return &MetadataRefusedError{Refused: refusals(report.Problems)}
	}
	return nil
}

// ensureElements brings data elements over from central that events have values of and the target lacks: those that
// their program stage has lost are no part of the scope's metadata. The elements that the target does not have then
// are returned.
func (l *loader) ensureElements(ctx context.Context, uids map[string]bool) (map[string]bool, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	lacking := slices.DeleteFunc(slices.Sorted(maps.Keys(uids)), func(uid string) bool { return l.elements[uid] })
	if len(lacking) == 0 || l.options.Central == nil {
		return nil, nil
	}
	taking := &metadataTaking{central: l.options.Central, collection: newMetadataCollection()}
	if err := taking.fetch(ctx, "dataElements", lacking); err != nil {
		return nil, fmt.Errorf("read data elements from central: %w", err)
	}
	bundle, err := l.bareElements(taking.collection.objects["dataElements"])
	if err != nil {
		return nil, err
	}
	if bundle.Count() > 0 {
		if _, err := l.local.ImportMetadata(ctx, bundle, dhis2api.MetadataImportOptions{}); err != nil && !isStatus(err) {
			return nil, fmt.Errorf("import data elements: %w", err)
		}
	}
	there, err := idsThere(ctx, l.local, "dataElements", lacking)
	if err != nil {
		return nil, err
	}
	maps.Copy(l.elements, there)
	still := map[string]bool{}
	for _, uid := range lacking {
		if !l.elements[uid] {
			still[uid] = true
		}
	}
	return still, nil
}

// bareElements are data elements with no more than a value needs: nothing that they name has to be on the target.
func (l *loader) bareElements(objects map[string]json.RawMessage) (Metadata, error) {
	bundle := Metadata{}
	for _, uid := range slices.Sorted(maps.Keys(objects)) {
		element, err := decodeObject(objects[uid])
		if err != nil {
			return nil, err
		}
		bare := map[string]any{}
		for _, property := range []string{"id", "name", "shortName", "code", "valueType", "domainType", "aggregationType", "zeroIsSignificant"} {
			if value, has := element[property]; has {
				bare[property] = value
			}
		}
		raw, err := encodeObject(bare)
		if err != nil {
			return nil, err
		}
		bundle["dataElements"] = append(bundle["dataElements"], raw)
	}
	return bundle, nil
}

// withParents prepares org units alone, without losing parents that the target has already.
func withParents(units Metadata) (Metadata, error) {
	bundle := Metadata{}
	p := newPreparation(units, Target{})
	for _, raw := range units["organisationUnits"] {
		unit, err := decodeObject(raw)
		if err != nil {
			return nil, err
		}
		if parent, _ := unit["parent"].(map[string]any); parent != nil {
			id, _ := parent["id"].(string)
			p.known[Reference{"organisationUnits", id}] = true
		}
		p.clean("organisationUnits", unit)
		prepared, err := encodeObject(unit)
		if err != nil {
			return nil, err
		}
		bundle["organisationUnits"] = append(bundle["organisationUnits"], prepared)
	}
	return bundle, nil
}

// idsThere tells which of the ids a server has.
func idsThere(ctx context.Context, server *dhis2api.Client, class string, ids []string) (map[string]bool, error) {
	there := map[string]bool{}
	for chunk := range slices.Chunk(ids, idsAtOnce) {
		query := dhis2api.ListQuery{Fields: "id", Filters: []string{idFilter(chunk)}}
		for one, err := range dhis2api.ListAs[named](ctx, server, class, query) {
			if err != nil {
				return nil, err
			}
			there[one.ID] = true
		}
	}
	return there, nil
}

// assignee is the target's user for a user of central's, by uid or else by name; nil where there is none.
// An import wants both (facts of DHIS2 2.42: else E1118).
func (l *loader) assignee(ctx context.Context, user *dhis2api.UserRef) (*dhis2api.UserRef, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	key := user.UID + " " + user.Username
	if found, asked := l.users[key]; asked {
		return found, nil
	}
	l.users[key] = nil
	for _, filter := range []string{"id:eq:" + user.UID, "username:eq:" + user.Username} {
		if strings.HasSuffix(filter, ":") {
			continue
		}
		query := dhis2api.ListQuery{Fields: "id,username", Filters: []string{filter}}
		for one, err := range dhis2api.ListAs[dhis2api.User](ctx, l.local, "users", query) {
			if err != nil {
				return nil, err
			}
			l.users[key] = &dhis2api.UserRef{UID: one.ID, Username: one.Username}
			return l.users[key], nil
		}
	}
	return nil, nil
}
