package orchestrator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// PlanFormat is the version of plans; docs/results.md describes them, docs/plan-1.schema.json is their schema.
const PlanFormat = 1

// planHeader is the first line of a plan.
type planHeader struct {
	Format  int    `json:"format"`
	Kit     string `json:"kit"`
	Trip    string `json:"trip"`
	Central string `json:"central"` // the system id
	Run     int    `json:"run"`
	// JournalHash is that of the journal when everything was planned, 64 digits.
	JournalHash string `json:"journalHash"`
}

// What is to become of an operation.
const (
	doSend         = "send"
	doHold         = "hold"
	doAlreadyThere = "alreadyThere"
	doDrop         = "drop"
	doOutOfScope   = "outOfScope"
)

// operation is one line of a plan: what is to become of one object's changes of one kind, and why.
type operation struct {
	Do     string     `json:"do"`
	Verb   merge.Verb `json:"verb"`
	Kind   merge.Kind `json:"kind"`
	UID    string     `json:"uid"`
	Person string     `json:"person,omitempty"`
	Cause  string     `json:"cause"`
	Code   string     `json:"code,omitempty"`
	Hint   string     `json:"hint,omitempty"`
	// Assumes is a digest of what central holds of the object, and for a deletion of all below it; empty where it holds
	// nothing.
	Assumes string         `json:"assumes"`
	Fields  []plannedField `json:"fields,omitempty"`
	// Content is what a new object holds.
	Content map[string]string `json:"content,omitempty"`

	parent  merge.Ref
	changes int
}

// plannedField is one field of an operation.
type plannedField struct {
	Field   string `json:"field"`
	Label   string `json:"label,omitempty"`
	Base    string `json:"base"`
	Local   string `json:"local"`
	Central string `json:"central"`
	// Value is what is sent where that is not the kit's; nil where it is.
	Value *string `json:"value,omitempty"`
}

// operationKey names an operation: in one plan at most one is to be sent under it.
type operationKey struct {
	ref  merge.Ref
	verb merge.Verb
}

func (o *operation) key() operationKey {
	return operationKey{merge.Ref{Kind: o.Kind, UID: o.UID}, o.Verb}
}

// digest is that of what would be sent, and of what central is assumed to hold. Two operations with the same digest do the same.
// The base does not count: a decision moves it.
func (o *operation) digest() ([16]byte, error) {
	what := operation{Do: o.Do, Verb: o.Verb, Kind: o.Kind, UID: o.UID, Assumes: o.Assumes, Content: o.Content}
	for _, f := range o.Fields {
		f.Base, f.Label = "", ""
		what.Fields = append(what.Fields, f)
	}
	slices.SortFunc(what.Fields, func(a, b plannedField) int { return cmp.Compare(a.Field, b.Field) })
	content, err := json.Marshal(what)
	if err != nil {
		return [16]byte{}, fmt.Errorf("cannot digest an operation on %s %s: %w", o.Kind, o.UID, err)
	}
	sum := sha256.Sum256(content)
	return [16]byte(sum[:16]), nil
}

// operationsOf gathers the changes of one record into operations, parents first.
func operationsOf(r root, record merge.Record, changes []journal.Change) []*operation {
	type key struct {
		operationKey
		do string
	}
	var operations []*operation
	at := map[key]*operation{}
	causes := map[*operation][]string{}
	for _, c := range changes {
		do, planned := becomes(c.State)
		if !planned {
			continue
		}
		k := key{operationKey{c.Ref, c.Verb}, do}
		o := at[k]
		if o == nil {
			o = &operation{
				Do: do, Verb: c.Verb, Kind: c.Ref.Kind, UID: c.UID, Person: r.person(), Code: c.Code, Hint: c.Hint,
				Assumes: assumed(record, c), parent: c.Parent,
			}
			at[k] = o
			operations = append(operations, o)
		}
		o.changes++
		if cause := causeOf(c); !slices.Contains(causes[o], cause) {
			causes[o] = append(causes[o], cause)
			o.Cause = joined(o.Cause, cause)
		}
		if c.Field != "" {
			o.Fields = append(o.Fields, plannedFieldOf(c))
		}
		if c.Verb == merge.Create && do == doSend {
			o.Content = c.Content
		}
	}
	slices.SortStableFunc(operations, func(a, b *operation) int { return cmp.Compare(depth(a.Kind), depth(b.Kind)) })
	return operations
}

func joined(text, more string) string {
	if text == "" {
		return more
	}
	return text + "; " + more
}

// becomes tells what is to become of a change in a state; not of one that is home or under way.
func becomes(state journal.State) (do string, planned bool) {
	switch {
	case state == journal.Open:
		return doSend, true
	case state.Held():
		return doHold, true
	case state == journal.AlreadyThere:
		return doAlreadyThere, true
	case state == journal.Dropped:
		return doDrop, true
	case state == journal.OutOfScope:
		return doOutOfScope, true
	}
	return "", false
}

func plannedFieldOf(c journal.Change) plannedField {
	f := plannedField{Field: c.Field, Base: c.Base, Local: c.Local, Central: c.Central}
	if value := sentValue(c); c.State == journal.Open && value != c.Local {
		f.Value = &value
	}
	return f
}

// causeOf says why a change is planned as it is.
func causeOf(c journal.Change) string {
	switch {
	case c.Reason != "":
		return c.Reason
	case c.State == journal.AlreadyThere:
		return "both sides hold the same"
	case c.Field != "" && c.Central != c.Base:
		return "decided"
	}
	return "changed on the kit alone"
}

// assumed is the digest of what central holds of the object of a change; for a deletion, of all that belongs to it, but for
// relationships, which are operations of their own.
func assumed(record merge.Record, c journal.Change) string {
	object, there := record.Central.Objects[c.Ref]
	if !there {
		return ""
	}
	digest := merge.Hash(object)
	if c.Verb == merge.Delete {
		isTie := func(below merge.Object) bool { return below.Kind == merge.Relationship && below.Ref != c.Ref }
		digest = merge.HashTree(slices.DeleteFunc(merge.Subtree(record, c.Ref), isTie))
	}
	return hex.EncodeToString(digest[:])
}
