package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// nearNames is how many candidates an UnknownNameError names at most.
const nearNames = 3

// ResolveScope looks up at central what is wanted. Names are codes or uids; a name that central does not
// know, or does not show to the account, is an UnknownNameError. An org unit below another is left out: the
// other includes it. The lists are ordered by name, so that the same scope always reads the same.
func ResolveScope(ctx context.Context, client *dhis2api.Client, wanted Wanted) (*Scope, error) {
	if len(wanted.OrgUnits) == 0 {
		return nil, errors.New("a scope needs at least one org unit")
	}
	if wanted.Since != "" {
		if _, err := time.Parse(time.DateOnly, wanted.Since); err != nil {
			return nil, fmt.Errorf("since is not a date like 2024-01-31: %q", wanted.Since)
		}
	}
	scope := &Scope{Wanted: wanted}
	steps := []func(context.Context, *dhis2api.Client) error{
		scope.resolveOrgUnits, scope.resolvePrograms, scope.resolveDataSets, scope.resolveTrackedEntityTypes,
		scope.resolveUnsynchronized,
	}
	for _, step := range steps {
		if err := step(ctx, client); err != nil {
			return nil, err
		}
	}
	return scope, nil
}

// named is what every metadata object can be asked for by.
type named struct {
	ID   string `json:"id"`
	Code string `json:"code"`
	Name string `json:"name"`
}

func (s *Scope) resolveOrgUnits(ctx context.Context, client *dhis2api.Client) error {
	var units []OrgUnit
	for _, name := range s.Wanted.OrgUnits {
		unit, err := resolveOne[OrgUnit](ctx, client, "org unit", "organisationUnits", "id,code,name,path,level", name)
		if err != nil {
			return err
		}
		units = append(units, unit)
	}
	for _, unit := range units {
		below := slices.ContainsFunc(units, func(other OrgUnit) bool {
			return strings.HasPrefix(unit.Path, other.Path+"/")
		})
		known := slices.ContainsFunc(s.OrgUnits, func(other OrgUnit) bool { return other.ID == unit.ID })
		if !below && !known {
			s.OrgUnits = append(s.OrgUnits, unit)
		}
	}
	slices.SortFunc(s.OrgUnits, func(a, b OrgUnit) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return nil
}

const programFields = "id,code,name,programType,trackedEntityType[id]," +
	"programStages[id,name,programStageDataElements[skipSynchronization,dataElement[id]]]"

// programRow is a program as the API writes it.
type programRow struct {
	named
	ProgramType       string `json:"programType"`
	TrackedEntityType *struct {
		ID string `json:"id"`
	} `json:"trackedEntityType"`
	ProgramStages []struct {
		Stage
		ProgramStageDataElements []struct {
			SkipSynchronization bool  `json:"skipSynchronization"`
			DataElement         named `json:"dataElement"`
		} `json:"programStageDataElements"`
	} `json:"programStages"`
}

func (s *Scope) resolvePrograms(ctx context.Context, client *dhis2api.Client) error {
	rows, err := resolveMany[programRow](ctx, client, "program", "programs", programFields, s.Wanted.Programs, s)
	if err != nil {
		return err
	}
	for _, row := range rows {
		program := Program{ID: row.ID, Code: row.Code, Name: row.Name, Type: row.ProgramType}
		if row.TrackedEntityType != nil && program.Registers() {
			program.TrackedEntityType = row.TrackedEntityType.ID
		}
		for _, stage := range row.ProgramStages {
			program.Stages = append(program.Stages, stage.Stage)
			for _, element := range stage.ProgramStageDataElements {
				if element.SkipSynchronization {
					s.Unsynchronized.DataElements = append(s.Unsynchronized.DataElements, stage.ID+"."+element.DataElement.ID)
				}
			}
		}
		slices.SortFunc(program.Stages, func(a, b Stage) int { return strings.Compare(a.ID, b.ID) })
		s.Programs = append(s.Programs, program)
	}
	s.Programs = sortUnique(s.Programs, func(p Program) (string, string) { return p.Name, p.ID })
	slices.Sort(s.Unsynchronized.DataElements)
	s.Unsynchronized.DataElements = slices.Compact(s.Unsynchronized.DataElements)
	return nil
}

func (s *Scope) resolveDataSets(ctx context.Context, client *dhis2api.Client) error {
	var err error
	s.DataSets, err = resolveMany[DataSet](ctx, client, "data set", "dataSets", "id,code,name,periodType", s.Wanted.DataSets, s)
	s.DataSets = sortUnique(s.DataSets, func(d DataSet) (string, string) { return d.Name, d.ID })
	return err
}

func (s *Scope) resolveTrackedEntityTypes(ctx context.Context, client *dhis2api.Client) error {
	for _, program := range s.Programs {
		uid := program.TrackedEntityType
		known := slices.ContainsFunc(s.TrackedEntityTypes, func(t TrackedEntityType) bool { return t.ID == uid })
		if uid == "" || known {
			continue
		}
		var found TrackedEntityType
		if err := client.Get(ctx, "trackedEntityTypes", uid, "id,name", &found); err != nil {
			return fmt.Errorf("cannot read the tracked entity type of program %s: %w", program.ID, err)
		}
		s.TrackedEntityTypes = append(s.TrackedEntityTypes, found)
	}
	s.TrackedEntityTypes = sortUnique(s.TrackedEntityTypes, func(t TrackedEntityType) (string, string) { return t.Name, t.ID })
	return nil
}

func (s *Scope) resolveUnsynchronized(ctx context.Context, client *dhis2api.Client) error {
	query := dhis2api.ListQuery{Fields: "id", Filters: []string{"skipSynchronization:eq:true"}}
	for attribute, err := range dhis2api.ListAs[named](ctx, client, "trackedEntityAttributes", query) {
		if err != nil {
			return fmt.Errorf("cannot read which attributes are not synchronized: %w", err)
		}
		s.Unsynchronized.Attributes = append(s.Unsynchronized.Attributes, attribute.ID)
	}
	slices.Sort(s.Unsynchronized.Attributes)
	return nil
}

func sortUnique[T any](list []T, key func(T) (name, id string)) []T {
	order := func(a, b T) int {
		nameA, idA := key(a)
		nameB, idB := key(b)
		return cmp.Or(strings.Compare(nameA, nameB), strings.Compare(idA, idB))
	}
	slices.SortFunc(list, order)
	return slices.CompactFunc(list, func(a, b T) bool { return order(a, b) == 0 })
}

// resolveMany finds the wanted objects of a class, or for nil all that are assigned in the scope's org units.
func resolveMany[T any](ctx context.Context, client *dhis2api.Client, kind, class, fields string, names []string, s *Scope) ([]T, error) {
	if names == nil {
		return assigned[T](ctx, client, class, fields, s)
	}
	var found []T
	for _, name := range names {
		one, err := resolveOne[T](ctx, client, kind, class, fields, name)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, nil
}

// assigned lists what is assigned to an org unit at or below a root. DHIS2 filters by a member's path, which
// spares fetching the thousands of units of a national program.
func assigned[T any](ctx context.Context, client *dhis2api.Client, class, fields string, s *Scope) ([]T, error) {
	var found []T
	for _, root := range s.OrgUnits {
		query := dhis2api.ListQuery{Fields: fields, Filters: []string{"organisationUnits.path:like:" + root.ID}, Order: "id:asc"}
		for one, err := range dhis2api.ListAs[T](ctx, client, class, query) {
			if err != nil {
				return nil, fmt.Errorf("cannot list the %s of org unit %s: %w", class, root.ID, err)
			}
			found = append(found, one)
		}
	}
	return found, nil
}

// uidPattern is DHIS2's own rule for uids.
var uidPattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]{10}$`)

// resolveOne finds an object by its uid, else by its code; a code may look like a uid.
func resolveOne[T any](ctx context.Context, client *dhis2api.Client, kind, class, fields, name string) (T, error) {
	var none T
	filters := []string{"code:eq:" + name}
	if uidPattern.MatchString(name) {
		filters = append([]string{"id:eq:" + name}, filters...)
	}
	for _, filter := range filters {
		query := dhis2api.ListQuery{Fields: fields, Filters: []string{filter}}
		for one, err := range dhis2api.ListAs[T](ctx, client, class, query) {
			if err != nil {
				return none, fmt.Errorf("cannot look up %s %q: %w", kind, name, err)
			}
			return one, nil
		}
	}
	near, err := nearest(ctx, client, class, name)
	if err != nil {
		return none, err
	}
	return none, &UnknownNameError{Kind: kind, Name: name, Near: near}
}

// nearest finds the objects whose code or name is nearest to one that central does not know.
func nearest(ctx context.Context, client *dhis2api.Client, class, name string) ([]string, error) {
	type candidate struct {
		text     string
		distance int
	}
	var candidates []candidate
	limit := max(2, len(name)/3)
	for one, err := range dhis2api.ListAs[named](ctx, client, class, dhis2api.ListQuery{Fields: "id,code,name"}) {
		if err != nil {
			return nil, fmt.Errorf("cannot look for names like %q: %w", name, err)
		}
		distance := min(editDistance(name, one.Code), editDistance(name, one.Name), editDistance(name, one.ID))
		if distance > limit && !containsFold(one.Name, name) {
			continue
		}
		candidates = append(candidates, candidate{fmt.Sprintf("%s (%s)", cmp.Or(one.Code, one.ID), one.Name), distance})
		slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
		candidates = candidates[:min(len(candidates), nearNames)]
	}
	var near []string
	for _, c := range candidates {
		near = append(near, c.text)
	}
	return near, nil
}

func containsFold(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// editDistance is the number of letters to insert, remove or replace, regardless of case.
func editDistance(a, b string) int {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	if len(x) == 0 || len(y) == 0 {
		return max(len(x), len(y))
	}
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range y {
			change := diagonal
			if r != s {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(y)]
}

// IdentifyServer reads what tells a server from another, by an account that is logged in to it.
func IdentifyServer(ctx context.Context, client *dhis2api.Client) (Server, error) {
	info := client.Info()
	server := Server{
		URL: client.BaseURL(), SystemID: info.SystemID, Version: info.Version.String(), TimeZone: info.ZoneID,
		RootOrgUnits: []string{},
	}
	query := dhis2api.ListQuery{Fields: "id", Filters: []string{"level:eq:1"}}
	for root, err := range dhis2api.ListAs[named](ctx, client, "organisationUnits", query) {
		if err != nil {
			return Server{}, fmt.Errorf("cannot read the root org units of %s: %w", server.URL, err)
		}
		server.RootOrgUnits = append(server.RootOrgUnits, root.ID)
	}
	slices.Sort(server.RootOrgUnits)
	return server, nil
}
