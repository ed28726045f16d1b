package orchestrator

import (
	"context"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
)

// NumberStatus is how far the kit is with the values of one generated attribute and key.
type NumberStatus struct {
	Attribute string `json:"attribute"`
	Name      string `json:"name"`
	Pattern   string `json:"pattern"`
	// Key is the pattern with the org unit's code and the date filled in; each key counts for itself.
	Key         string         `json:"key"`
	Kind        numbers.Method `json:"kind"`
	OrgUnitCode string         `json:"orgUnitCode,omitempty"`
	// Reserved counts the values that the kit can hand out and nobody else does; for a random pattern those that central
	// keeps for it.
	Reserved int64 `json:"reserved"`
	// HandedOut counts those that the kit has, and Left the rest; nil where that is not known.
	HandedOut *int64 `json:"handedOut"`
	Left      *int64 `json:"left"`
	// Beyond counts the numbers that the kit handed out after its own were used up: they may be others'.
	Beyond int64 `json:"beyond,omitempty"`
	// Ahead tells that the numbers are those of a later day, chosen by the kit's name and not reserved.
	Ahead bool `json:"ahead,omitempty"`
	// Unseeded tells that the kit's DHIS2 does not hand out what was reserved, but its own.
	Unseeded bool `json:"unseeded,omitempty"`
	// Collision is how likely one of the numbers wanted for the trip is the same as one that somebody else draws who
	// draws as many, 0 to 1, where the kit draws at random.
	Collision float64 `json:"collision,omitempty"`
}

// Low tells whether under a fifth is left.
func (s NumberStatus) Low() bool { return s.Left != nil && *s.Left*5 < s.Reserved }

// numberStatus is how far the kit is with the numbers of a trip, as its database says; nil where none were reserved.
// Without access it says what was reserved.
func (k *Kit) numberStatus(ctx context.Context, t *trip) ([]NumberStatus, error) {
	held, err := numbers.Read(t.file(numbers.FileName))
	if err != nil || held == nil {
		return nil, err
	}
	reaching, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	database, leave := k.databaseIfAny(reaching)
	defer leave()
	var all []NumberStatus
	for _, attribute := range held.Attributes {
		for _, key := range attribute.Keys {
			one, err := numbersOf(reaching, attribute, key, database)
			if err != nil {
				return nil, err
			}
			// Of the days to come only those that were begun are worth a line.
			if !key.Ahead || one.HandedOut != nil && *one.HandedOut > 0 {
				all = append(all, one)
			}
		}
	}
	return all, nil
}

func numbersOf(ctx context.Context, attribute *numbers.Attribute, key *numbers.Key, database *dhis2db.Database) (NumberStatus, error) {
	s := NumberStatus{
		Attribute: attribute.UID, Name: attribute.Name, Pattern: attribute.Pattern, Key: key.Key, Kind: attribute.Kind,
		OrgUnitCode: key.OrgUnitCode, Ahead: key.Ahead,
	}
	if attribute.Kind == numbers.Random {
		return s.random(key)
	}
	if s.Unseeded = key.Seeded == nil; s.Unseeded {
		s.Reserved = key.Usable().Size()
		return s, nil
	}
	s.Reserved = key.Seeded.Size()
	if database == nil {
		return s, nil
	}
	next, err := database.Counter(ctx, attribute.UID, key.Key)
	if err != nil {
		return s, err
	}
	handed := min(max(next-key.Seeded.First, 0), s.Reserved)
	left := s.Reserved - handed
	s.HandedOut, s.Left, s.Beyond = &handed, &left, max(next-key.Seeded.Last-1, 0)
	return s, nil
}
