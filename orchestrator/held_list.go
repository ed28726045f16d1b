package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// HeldList is what the latest trip holds back.
type HeldList struct {
	Trip    string       `json:"trip"`
	Changes []HeldChange `json:"changes"`
	// Exported is the file outside of the kit in which all that is not home lies; empty where there is none that still does.
	Exported string `json:"exported,omitempty"`
}

// HeldChange is one held change. Its values are patients' data.
type HeldChange struct {
	// Conflict is its number in reports; 0 where it is no conflict.
	Conflict int `json:"conflict,omitempty"`
	// State is conflict, unclear, refused or waiting.
	State  journal.State `json:"state"`
	Verb   merge.Verb    `json:"verb"`
	Kind   merge.Kind    `json:"kind"`
	UID    string        `json:"uid"`
	Field  string        `json:"field,omitempty"`
	Code   string        `json:"code,omitempty"`
	Reason string        `json:"reason,omitempty"`
	// Base, Local and Central are empty unless they were asked for.
	Base    string `json:"base,omitempty"`
	Local   string `json:"local,omitempty"`
	Central string `json:"central,omitempty"`
	// SignedOffBy said that it may stay held, and SignedOff when; empty where nobody did.
	SignedOffBy string    `json:"signedOffBy,omitempty"`
	SignedOff   time.Time `json:"signedOff,omitzero"`
}

// Held lists what the latest trip holds back, from its journal alone: no server is asked. Their values are in it when
// values is true. The error is ErrNoSnapshot where no trip was made.
func (k *Kit) Held(ctx context.Context, values bool) (*HeldList, error) {
	t, err := k.namedTrip(ctx, "")
	if err != nil {
		return nil, err
	}
	list, err := t.held(ctx, values)
	return list, errors.Join(err, t.close())
}

func (t *trip) held(ctx context.Context, values bool) (*HeldList, error) {
	known, err := signOffsOf(ctx, t.journal)
	if err != nil {
		return nil, err
	}
	list := &HeldList{Trip: t.id, Changes: []HeldChange{}}
	for c, err := range t.journal.Changes(ctx, journal.Conflict, journal.Unclear, journal.Refused, journal.Waiting) {
		if err != nil {
			return nil, err
		}
		held := HeldChange{State: c.State, Verb: c.Verb, Kind: c.Ref.Kind, UID: c.UID, Field: c.Field, Code: c.Code, Reason: c.Reason}
		if c.State == journal.Conflict || c.State == journal.Unclear {
			shown, _, err := t.journal.LastShown(ctx, c.Ref, c.Field)
			if err != nil {
				return nil, err
			}
			held.Conflict = shown.Number
		}
		if values {
			held.Base, held.Local, held.Central = c.Base, c.Local, c.Central
		}
		if s := known[changeKey{c.Ref, c.Field}]; s.Of(c) {
			held.SignedOffBy, held.SignedOff = s.Who, s.At
		}
		list.Changes = append(list.Changes, held)
	}
	exported, err := t.exported(ctx)
	if exported != nil {
		list.Exported = exported.Path
	}
	return list, err
}
