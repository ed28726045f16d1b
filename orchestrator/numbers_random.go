package orchestrator

import (
	"math"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
)

// random is the status of a key of a random pattern, of which the kit's DHIS2 draws its own values.
func (s NumberStatus) random(key *numbers.Key) (NumberStatus, error) {
	pattern, err := numbers.Parse(s.Pattern)
	if err != nil {
		return s, err
	}
	s.Reserved, s.Unseeded = int64(len(key.Values)), true
	s.Collision = collision(pattern.Space(), float64(key.Wanted))
	return s, nil
}

// collision is how likely two who draw that many values each, of so many, have one in common.
func collision(space, each float64) float64 { return 1 - math.Exp(-each*each/space) }
