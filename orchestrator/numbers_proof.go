package orchestrator

import (
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// numberProof shows that the numbers which people got on the kit are the kit's own, and that nobody has another's. It
// may be nil, where nothing was reserved.
type numberProof struct {
	held     *numbers.Reservations
	patterns map[string]numbers.Pattern
	// holders are the tracked entities that have each value, by attribute and value.
	holders map[[2]string]string
	found   report.Numbers
}

// newNumberProof reads what was reserved for a trip; nil where nothing was.
func newNumberProof(t *trip) (*numberProof, error) {
	held, err := numbers.Read(t.file(numbers.FileName))
	if err != nil || held == nil {
		return nil, err
	}
	p := &numberProof{held: held, patterns: map[string]numbers.Pattern{}, holders: map[[2]string]string{}}
	for _, attribute := range held.Attributes {
		if p.patterns[attribute.UID], err = numbers.Parse(attribute.Pattern); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// note holds the values that came up on the kit, in one look, against what was reserved.
func (p *numberProof) note(loaded, local map[root]merge.Face) {
	if p == nil {
		return
	}
	for r, face := range local {
		if r.kind != rootPerson {
			continue
		}
		for ref, object := range face.Objects {
			if ref.Kind != merge.TrackedEntity {
				continue
			}
			for uid, pattern := range p.patterns {
				value := object.Fields[uid]
				if value == "" || loaded[r].Objects[ref].Fields[uid] == value {
					continue
				}
				p.check(ref, uid, pattern, value)
			}
		}
	}
}

func (p *numberProof) check(ref merge.Ref, attribute string, pattern numbers.Pattern, value string) {
	p.found.Checked++
	at := [2]string{attribute, value}
	if other := p.holders[at]; other != "" && other != ref.UID {
		p.found.Twice = append(p.found.Twice, report.Number{Attribute: attribute, TrackedEntity: ref.UID, Other: other})
	}
	p.holders[at] = ref.UID
	if pattern.Kind() != numbers.Sequential {
		return // the kit draws its own, which need not be on the list
	}
	for _, key := range p.held.Attribute(attribute).Keys {
		if number, ok := pattern.Number(key.Key, value); ok && numbers.Contains(key.Blocks, number) {
			return
		}
	}
	p.found.Outside = append(p.found.Outside, report.Number{Attribute: attribute, TrackedEntity: ref.UID})
}

// report adds to a report what was found.
func (p *numberProof) report(result *report.Report) {
	if p == nil {
		return
	}
	result.Numbers = &p.found
	for _, one := range p.found.Outside {
		result.Warnings = append(result.Warnings, fmt.Sprintf(
			"the value of attribute %s that tracked entity %s got on the kit is none of those that central reserved for this trip: somebody else may get it too", one.Attribute, one.TrackedEntity))
	}
	for _, one := range p.found.Twice {
		result.Warnings = append(result.Warnings, fmt.Sprintf(
			"tracked entities %s and %s got the same value of attribute %s on the kit", one.Other, one.TrackedEntity, one.Attribute))
	}
}
