package orchestrator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// decide reads what is decided about the conflicts of a trip: in its journal, in a file, in fieldkit.yaml. The
// error is an ErrUsage for a mistake in the file or the configuration; then nothing of either counts.
func (k *Kit) decide(ctx context.Context, t *trip, s *snapshot.Snapshot, path string) (*decisions, error) {
	d, err := newDecisions(ctx, t.journal, s.Scope())
	if err != nil {
		return nil, err
	}
	if d.policies, err = newPolicies(k.config, s); err != nil || path == "" {
		return d, err
	}
	file, err := os.Open(path)
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, usagef("the decisions %s cannot be read: %v", path, err)
	}
	decided, err := report.ReadDecisions(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, mistakeIn(path, err)
	}
	r := &decisionReader{decisions: d, journal: t.journal, snapshot: s}
	if r.given, err = t.journal.Decisions(ctx); err != nil {
		return nil, err
	}
	for _, one := range decided {
		if err := r.read(ctx, one); err != nil {
			return nil, mistakeIn(path, err)
		}
	}
	return d, nil
}

// mistakeIn makes a usage error of a mistake in a file of decisions.
func mistakeIn(path string, err error) error {
	var mistake *report.DecisionError
	if !errors.As(err, &mistake) {
		return err
	}
	wrong := usagef("%s:%d: %s", path, mistake.Line, mistake.Message)
	if mistake.Advice == "" {
		return wrong
	}
	return WithHint(wrong, "%s", mistake.Advice)
}

// decisionReader takes decisions from a file, one after another.
type decisionReader struct {
	*decisions
	journal  *journal.Journal
	snapshot *snapshot.Snapshot
	// given are those that the journal has.
	given []journal.Decision
	// kinds are what values may be, by attribute and data element, once they were needed.
	kinds map[string]valueKind
}

// read takes one decision. One that was given before counts once. What is settled, or is shown under another number
// by now, is taken down as not applied, since whoever decided saw something else.
func (r *decisionReader) read(ctx context.Context, one report.Decided) error {
	fail := func(hint, format string, arguments ...any) error {
		return &report.DecisionError{Line: one.Line, Message: fmt.Sprintf(format, arguments...), Advice: hint}
	}
	shown, known, err := r.journal.Shown(ctx, one.Number)
	if err != nil {
		return err
	}
	if !known {
		return fail("`fieldkit report` lists the conflicts with their numbers", "there is no conflict %d", one.Number)
	}
	row, there, err := r.row(ctx, shown)
	if err != nil {
		return err
	}
	last, _, err := r.journal.LastShown(ctx, shown.Ref, shown.Field)
	if err != nil {
		return err
	}
	switch heldBy := strings.HasPrefix(shown.Circumstance, circumstanceHeldBy); {
	case one.Choice == report.ChooseAdopt && r.adopted(one.Number):
		return nil
	case heldBy && last.Number != shown.Number: // it was about somebody else
	case one.Choice == report.ChooseAdopt:
		identity, err := r.adoption(ctx, shown)
		if errors.Is(err, errNobodySame) {
			return fail("`fieldkit report` shows who may be the same person; local, central or = and a value is for anything else",
				"conflict %d cannot be adopted: %v", one.Number, err)
		}
		if err != nil {
			return err
		}
		one.Value = identity.AtCentral
	case heldBy:
		return fail("adopt, where it is the same person; else the value has to be put right on the kit or at central",
			"conflict %d cannot be decided so: somebody else at central holds its unique value", one.Number)
	case one.Choice != report.ChooseCentral:
		if shown.Circumstance == circumstanceGone {
			return fail("central takes nothing into what it deleted: central, or leave it held", "conflict %d cannot be decided so: it is deleted at central", one.Number)
		}
	}
	if one.Choice == report.ChooseValue {
		value, err := r.value(shown, one.Value)
		if err != nil {
			return fail(Hint(err), "conflict %d: %v", one.Number, err)
		}
		one.Value = value
	}
	before := slices.ContainsFunc(r.given, func(d journal.Decision) bool {
		return d.Number == one.Number && !d.Policy && d.Choice == string(one.Choice) && d.Value == one.Value && d.Outcome != journal.Replaced
	})
	if before {
		return nil
	}
	decision := &journal.Decision{Shown: shown, Choice: string(one.Choice), Value: one.Value}
	switch {
	case there && row.State == journal.Unclear && one.Choice != report.ChooseAdopt && last.Number == shown.Number:
		return fail("", "conflict %d cannot be decided: %s", one.Number, row.Reason)
	case !there || !row.State.Held() && row.State != journal.Open && row.State != journal.Sent:
		decision.Outcome, decision.Reason = journal.NotApplied, "it was settled before"
	case last.Number != shown.Number:
		decision.Outcome = journal.NotApplied
		decision.Reason = fmt.Sprintf("%s: it is conflict %d now", moved(shown, row), last.Number)
	default:
		r.fresh[changeKey{shown.Ref, shown.Field}] = decision
		r.roots[shown.Root] = true
		return nil
	}
	r.settled = append(r.settled, decision)
	return nil
}

// row is the change that was shown, as it stands.
func (r *decisionReader) row(ctx context.Context, shown journal.Shown) (journal.Change, bool, error) {
	rows, err := r.journal.ChangesOf(ctx, shown.Ref)
	i := slices.IndexFunc(rows, func(c journal.Change) bool { return c.Field == shown.Field })
	if err != nil || i < 0 {
		return journal.Change{}, false, err
	}
	return rows[i], true, nil
}

// value makes a decided value canonical, or says why it cannot be one.
func (r *decisionReader) value(shown journal.Shown, value string) (string, error) {
	if shown.Verb != merge.Update || shown.Field == "" {
		return "", WithHint(errors.New("it is about a whole record, which has no one value"), "local or central")
	}
	var kind valueKind
	switch {
	case merge.IsUID(shown.Field), shown.Ref.Kind == merge.DataValue && shown.Field == "value":
		if r.kinds == nil {
			var err error
			if r.kinds, err = valueKinds(r.snapshot); err != nil {
				return "", err
			}
		}
		element := elementOf(shown.UID)
		if merge.IsUID(shown.Field) {
			element = shown.Field
		}
		kind = r.kinds[element]
		kind.mayBeEmpty = shown.Ref.Kind != merge.DataValue
	default:
		var ok bool
		if kind, ok = scalarKind(shown.Ref.Kind, shown.Field); !ok {
			return "", WithHint(fmt.Errorf("%s takes no value from a file", cmp.Or(shown.Field, "it")), "local or central")
		}
	}
	return kind.canonical(value)
}

// elementOf is the data element in the key of a form's value.
func elementOf(key string) string {
	element, _, _ := strings.Cut(key, ".")
	return element
}

// valueKind says what a value may be.
type valueKind struct {
	// valueType is DHIS2's name of it.
	valueType string
	// options are the codes that it is chosen from; nil for any.
	options    []string
	mayBeEmpty bool
}

// scalarKind says what a field of a record may be; false for one that cannot be given in a file.
func scalarKind(kind merge.Kind, field string) (valueKind, bool) {
	switch field {
	case merge.FieldStatus:
		if kind == merge.Enrollment {
			return valueKind{options: []string{"ACTIVE", "COMPLETED", "CANCELLED"}}, true
		}
		return valueKind{options: []string{"ACTIVE", "COMPLETED", "SCHEDULE", "OVERDUE", "SKIPPED", "VISITED"}}, true
	case merge.FieldOccurredAt, merge.FieldScheduledAt, merge.FieldCompletedAt, "enrolledAt":
		return valueKind{valueType: "time"}, true
	case merge.FieldOrgUnit:
		return valueKind{valueType: "ORGANISATION_UNIT"}, true
	case "inactive", "followUp":
		return valueKind{options: []string{"true", ""}, mayBeEmpty: true}, true
	case "comment":
		return valueKind{mayBeEmpty: true}, kind == merge.DataValue
	}
	return valueKind{}, false
}

// canonical checks a value and returns it as the comparison has it.
func (k valueKind) canonical(value string) (string, error) {
	if value == "" {
		if !k.mayBeEmpty {
			return "", errors.New("it cannot be empty")
		}
		return "", nil
	}
	if k.options != nil {
		if slices.Contains(k.options, value) {
			return value, nil
		}
		const few = 8
		hint := strings.Join(k.options[:min(few, len(k.options))], ", ")
		if len(k.options) > few {
			hint += ", ..."
		}
		return "", WithHint(fmt.Errorf("%q is none of the values to choose from", value), "%s", hint)
	}
	number, err := strconv.ParseFloat(value, 64)
	whole := err == nil && !strings.ContainsAny(value, ".eE")
	day := func() error { _, err := time.Parse(time.DateOnly, value); return err }
	good, example := true, ""
	switch k.valueType {
	case "NUMBER":
		good, example = err == nil, "62.5, with a point"
	case "PERCENTAGE":
		good, example = err == nil && number >= 0 && number <= 100, "62.5"
	case "UNIT_INTERVAL":
		good, example = err == nil && number >= 0 && number <= 1, "0.5"
	case "INTEGER":
		good, example = whole, "62"
	case "INTEGER_POSITIVE":
		good, example = whole && number > 0, "62"
	case "INTEGER_ZERO_OR_POSITIVE":
		good, example = whole && number >= 0, "62"
	case "INTEGER_NEGATIVE":
		good, example = whole && number < 0, "-62"
	case "BOOLEAN":
		good, example = value == "true" || value == "false", "true"
	case "TRUE_ONLY":
		good, example = value == "true", "true"
	case "DATE", "AGE":
		good, example = day() == nil, "2026-11-24"
	case "ORGANISATION_UNIT":
		good, example = merge.IsUID(value), "the org unit's uid"
	case "FILE_RESOURCE", "IMAGE":
		return "", WithHint(errors.New("a file cannot be given so"), "local or central")
	case "time":
		value = snapshot.Canonical{}.Time(value)
		_, err := time.Parse("2006-01-02T15:04:05.000", value)
		good, example = err == nil, "2026-11-24, or 2026-11-24T18:30"
	}
	if !good {
		return "", WithHint(fmt.Errorf("%q cannot be its value", value), "as in %s", example)
	}
	return value, nil
}

// valueKinds reads what attributes and data elements may be from the metadata of a snapshot.
func valueKinds(s *snapshot.Snapshot) (map[string]valueKind, error) {
	metadata, err := metadataOf(s)
	if err != nil {
		return nil, err
	}
	codes := map[string][]string{}
	for _, raw := range metadata["options"] {
		var option struct {
			Code      string
			OptionSet struct{ ID string }
		}
		if err := json.Unmarshal(raw, &option); err != nil {
			return nil, fmt.Errorf("cannot read the snapshot's metadata: %w", err)
		}
		codes[option.OptionSet.ID] = append(codes[option.OptionSet.ID], option.Code)
	}
	kinds := map[string]valueKind{}
	for _, class := range []string{"trackedEntityAttributes", "dataElements"} {
		for _, raw := range metadata[class] {
			var typed struct {
				ID, ValueType string
				OptionSet     struct{ ID string }
			}
			if err := json.Unmarshal(raw, &typed); err != nil {
				return nil, fmt.Errorf("cannot read the snapshot's metadata: %w", err)
			}
			kind := valueKind{valueType: typed.ValueType}
			if typed.ValueType != "MULTI_TEXT" {
				kind.options = codes[typed.OptionSet.ID]
			}
			kinds[typed.ID] = kind
		}
	}
	return kinds, nil
}
