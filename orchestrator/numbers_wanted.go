package orchestrator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// wantedNumbers are values of one generated attribute and one org unit code that a trip is to have.
type wantedNumbers struct {
	attribute, name, text string
	pattern               numbers.Pattern
	// orgUnitCode is empty where the pattern has none.
	orgUnitCode string
	count       int64
}

// hoard is how many values of an attribute the Android app keeps in store for each account and org unit, where its
// settings say nothing.
const hoard = 100

// generatedAttribute is what central's metadata says of an attribute with a pattern.
type generatedAttribute struct {
	ID, Name, Pattern              string
	Generated, SkipSynchronization bool
}

// attributeUses are the org units in which somebody may register with an attribute: by attribute, and by unit.
type attributeUses map[string]map[string]bool

// unitOfScope is an org unit where people work.
type unitOfScope struct{ ID, Name, Code, Path, ClosedDate string }

// numbersInScope are the generated attributes of the scope's programs and tracked entity types, and how many values of
// each key tablets and new patients need.
func (p *preparation) numbersInScope(metadata snapshot.Metadata) ([]wantedNumbers, error) {
	units, uses, err := p.attributeUses(metadata)
	if err != nil {
		return nil, err
	}
	accounts, err := p.accountsAt(metadata, units)
	if err != nil {
		return nil, err
	}
	var all []wantedNumbers
	for _, raw := range metadata["trackedEntityAttributes"] {
		var a generatedAttribute
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, fmt.Errorf("cannot read an attribute of central's: %w", err)
		}
		if !a.Generated || a.Pattern == "" || a.SkipSynchronization || uses[a.ID] == nil {
			continue
		}
		pattern, err := numbers.Parse(a.Pattern)
		if err != nil {
			p.warn(fmt.Errorf("the values of attribute %s cannot be reserved: %w", a.ID, err))
			continue
		}
		if pattern.Kind() == numbers.Text {
			continue
		}
		all = append(all, p.wantedOf(a, pattern, uses[a.ID], units, accounts)...)
	}
	slices.SortFunc(all, func(a, b wantedNumbers) int {
		return cmp.Or(strings.Compare(a.attribute, b.attribute), strings.Compare(a.orgUnitCode, b.orgUnitCode))
	})
	return all, nil
}

// wantedOf is what one attribute needs. Units whose codes the pattern cuts to the same share one key.
func (p *preparation) wantedOf(a generatedAttribute, pattern numbers.Pattern, at map[string]bool, units map[string]unitOfScope, accounts map[string]map[string]bool) []wantedNumbers {
	type group struct {
		code   string
		people map[string]bool
		units  int64
	}
	groups := map[string]*group{}
	var without []string
	for _, id := range slices.Sorted(maps.Keys(at)) {
		unit, code, key := units[id], "", ""
		if pattern.Asks(numbers.OrgUnitCode) {
			var err error
			code = unit.Code
			if key, err = pattern.Key(code, p.kit.options.Now()); err != nil && !errors.Is(err, numbers.ErrOwnDate) {
				without = append(without, unit.Name)
				continue
			}
			if err != nil {
				key = code
			}
		}
		g := groups[key]
		if g == nil {
			g = &group{code: code, people: map[string]bool{}}
			groups[key] = g
		}
		g.units++
		maps.Copy(g.people, accounts[id])
	}
	if len(without) > 0 {
		p.warn(WithHint(fmt.Errorf("attribute %s %s has no numbers in %s: their codes do not go with %s", a.ID, a.Name, someNames(without), a.Pattern),
			"give these org units codes at central"))
	}
	kept := int64(hoard)
	if p.kit.config.Android != nil && p.kit.config.Android.ReservedValues > 0 {
		kept = int64(p.kit.config.Android.ReservedValues)
	}
	var wanted []wantedNumbers
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		hoarders := max(int64(len(g.people)), 1)
		if pattern.Asks(numbers.OrgUnitCode) {
			hoarders *= g.units // the app keeps a store for each org unit
		}
		count := hoarders*kept + int64(p.kit.config.Numbers.Patients)
		// A key with few values is not to be emptied by one kit.
		if most := int64(min(pattern.Space()/mostOfSpace, 1e9)); count > most {
			p.warn(fmt.Errorf("attribute %s %s has room for %.0f values, so this trip gets %d of them and not %d", a.ID, a.Name, pattern.Space(), max(most, 1), count))
			count = max(most, 1)
		}
		wanted = append(wanted, wantedNumbers{attribute: a.ID, name: a.Name, text: a.Pattern, pattern: pattern, orgUnitCode: g.code, count: count})
	}
	return wanted
}

// mostOfSpace: one trip takes at most the fifth part of a key's values.
const mostOfSpace = 5

// attributeUses finds the scope's open org units, and in which of them each attribute is used.
func (p *preparation) attributeUses(metadata snapshot.Metadata) (map[string]unitOfScope, attributeUses, error) {
	units, uses := map[string]unitOfScope{}, attributeUses{}
	today := p.kit.options.Now().Format("2006-01-02")
	for _, raw := range metadata["organisationUnits"] {
		var unit unitOfScope
		if err := json.Unmarshal(raw, &unit); err != nil {
			return nil, nil, fmt.Errorf("cannot read an org unit of central's: %w", err)
		}
		if p.scope.Contains(unit.Path) && (unit.ClosedDate == "" || unit.ClosedDate >= today) {
			units[unit.ID] = unit
		}
	}
	type use struct{ TrackedEntityAttribute dhis2api.Ref }
	note := func(all []use, at []dhis2api.Ref) {
		for _, one := range all {
			for _, unit := range at {
				if _, known := units[unit.ID]; !known {
					continue
				}
				if uses[one.TrackedEntityAttribute.ID] == nil {
					uses[one.TrackedEntityAttribute.ID] = map[string]bool{}
				}
				uses[one.TrackedEntityAttribute.ID][unit.ID] = true
			}
		}
	}
	atType := map[string][]dhis2api.Ref{}
	for _, raw := range metadata["programs"] {
		var program struct {
			ID                             string
			TrackedEntityType              dhis2api.Ref
			OrganisationUnits              []dhis2api.Ref
			ProgramTrackedEntityAttributes []use
		}
		if err := json.Unmarshal(raw, &program); err != nil {
			return nil, nil, fmt.Errorf("cannot read a program of central's: %w", err)
		}
		if _, carried := p.scope.Program(program.ID); !carried {
			continue
		}
		note(program.ProgramTrackedEntityAttributes, program.OrganisationUnits)
		atType[program.TrackedEntityType.ID] = append(atType[program.TrackedEntityType.ID], program.OrganisationUnits...)
	}
	for _, raw := range metadata["trackedEntityTypes"] {
		var kind struct {
			ID                          string
			TrackedEntityTypeAttributes []use
		}
		if err := json.Unmarshal(raw, &kind); err != nil {
			return nil, nil, fmt.Errorf("cannot read a tracked entity type of central's: %w", err)
		}
		note(kind.TrackedEntityTypeAttributes, atType[kind.ID])
	}
	return units, uses, nil
}

// accountsAt are, by org unit, the people who register there: their own units are it or one above.
func (p *preparation) accountsAt(metadata snapshot.Metadata, units map[string]unitOfScope) (map[string]map[string]bool, error) {
	people, err := peopleOf(metadata, p.kit.options.Now())
	if err != nil {
		return nil, err
	}
	works := map[string]bool{}
	for _, one := range people {
		works[one.id] = true
	}
	at := map[string]map[string]bool{}
	for _, raw := range metadata["users"] {
		var user struct {
			ID                string
			OrganisationUnits []dhis2api.Ref
		}
		if err := json.Unmarshal(raw, &user); err != nil {
			return nil, fmt.Errorf("cannot read a user of central's: %w", err)
		}
		for _, own := range user.OrganisationUnits {
			for id, unit := range units {
				if works[user.ID] && slices.Contains(strings.Split(unit.Path, "/"), own.ID) {
					if at[id] == nil {
						at[id] = map[string]bool{}
					}
					at[id][user.ID] = true
				}
			}
		}
	}
	return at, nil
}
