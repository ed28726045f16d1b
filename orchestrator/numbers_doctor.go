package orchestrator

import (
	"context"
	"errors"
	"fmt"
)

// numbers examines whether the kit has numbers left for new patients, as far as a trip was prepared.
func (d *doctor) numbers(ctx context.Context) {
	if d.kit == nil {
		return
	}
	t, err := d.kit.latestTrip(ctx)
	if errors.Is(err, ErrNoSnapshot) {
		return
	}
	var all []NumberStatus
	if err == nil {
		all, err = d.kit.numberStatus(ctx, t)
		err = errors.Join(err, t.close())
	}
	if err != nil {
		d.add(LevelWarning, "numbers", "", "how many are left cannot be told: %v", err)
		return
	}
	for _, one := range all {
		level, detail, hint := one.finding()
		d.add(level, "numbers", hint, "%s, %s: %s", one.Name, one.Key, detail)
	}
}

// finding says in words how a key stands.
func (s NumberStatus) finding() (level Level, detail, hint string) {
	switch {
	case s.Collision > 0:
		return s.randomLevel(), fmt.Sprintf("%d are reserved, and the kit draws its own at random: the likelihood that one is another kit's is %.2g", s.Reserved, s.Collision),
			"reconcile names and holds what collides; a wider pattern makes it rarer"
	case s.Unseeded:
		return LevelWarning, fmt.Sprintf("%d are reserved, and the kit does not hand them out: its own may collide with others'", s.Reserved),
			"say where the kit's database is (local: {database: ...}) and prepare again"
	case s.Left == nil:
		return LevelOK, fmt.Sprintf("%d are reserved; without the kit's database it is not known how many are left", s.Reserved), ""
	case s.Beyond > 0:
		return LevelWarning, fmt.Sprintf("all %d are used up, and %d more were handed out that may be somebody else's", s.Reserved, s.Beyond), "prepare reserves more"
	case s.Low():
		return LevelWarning, fmt.Sprintf("%d of %d are left", *s.Left, s.Reserved), "prepare reserves more"
	}
	return LevelOK, fmt.Sprintf("%d of %d are left", *s.Left, s.Reserved), ""
}

// randomLevel: one chance in a hundred is worth a word.
func (s NumberStatus) randomLevel() Level {
	if s.Collision >= 0.01 {
		return LevelWarning
	}
	return LevelOK
}
