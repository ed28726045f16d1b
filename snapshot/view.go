package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// viewName is the document of the taken face that holds its view.
const viewName = "view"

// view is what decides, besides the records themselves, what of them central shows: which attributes and stages a
// program has, what the account may see, which relationships there are. Two takes whose views of a stream are alike
// show an unchanged record alike.
type view struct {
	// Began is central's clock when the taking began, a wall clock in its zone.
	Began string `json:"began"`
	// Streams are digests by the uid of a program, tracked entity type or data set.
	Streams map[string]string `json:"streams"`
	// Units are the uids of the scope's org units, sorted.
	Units []string `json:"units"`
	// Enrollments and Events tell whether relationships may begin at these: such a relationship changes no time of a
	// tracked entity.
	Enrollments bool `json:"enrollments,omitempty"`
	Events      bool `json:"events,omitempty"`
	// Ties tells of each relationship type whether its relationships can stand on the kit; nil where the account may not
	// read the types: then all are tried.
	Ties map[string]bool `json:"ties,omitempty"`
}

// alike tells whether an unchanged record of a stream is shown as it was before.
func (v *view) alike(before *view, subject Subject) bool {
	digest := v.Streams[subject.UID()]
	return digest != "" && digest == before.Streams[subject.UID()]
}

// takeView reads the view of the writer's scope, unless an earlier run has written it, and keeps it.
func takeView(ctx context.Context, central *dhis2api.Client, w *Writer) (*view, error) {
	if _, done := w.Cursor("document-" + viewName); !done {
		v, err := readView(ctx, central, w)
		if err != nil {
			return nil, fmt.Errorf("what central shows: %w", err)
		}
		return v, w.Document(viewName, func(out io.Writer) error { return json.NewEncoder(out).Encode(v) })
	}
	name := path.Join(string(w.face), viewName+".json"+partSuffix)
	i := slices.IndexFunc(w.parts, func(part Part) bool { return part.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("document %s of face %s is missing", viewName, w.face)
	}
	r, err := openPart(w.directory, w.keys, w.parts[i])
	if err != nil {
		return nil, err
	}
	return decodeView(r)
}

// viewOf is the view of a finished snapshot; nil where it has none.
func viewOf(s *Snapshot) (*view, error) {
	if !slices.ContainsFunc(s.manifest.Parts(Taken, Document), func(part Part) bool {
		return part.Name == path.Join(string(Taken), viewName+".json"+partSuffix)
	}) {
		return nil, nil
	}
	r, err := s.Document(Taken, viewName)
	if err != nil {
		return nil, err
	}
	return decodeView(r)
}

func decodeView(r io.ReadCloser) (*view, error) {
	defer func() { _ = r.Close() }()
	v := &view{}
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return nil, fmt.Errorf("document %s: %w", viewName, err)
	}
	return v, nil
}

// viewReading is the state of one readView.
type viewReading struct {
	central *dhis2api.Client
	scope   *Scope
	view    *view
	// common is what counts for every stream.
	common []byte
}

func readView(ctx context.Context, central *dhis2api.Client, w *Writer) (*view, error) {
	r := &viewReading{central: central, scope: w.Scope(), view: &view{Began: central.Info().ServerDate, Streams: map[string]string{}}}
	for _, step := range []func(context.Context) error{r.account, r.relationshipTypes, r.units, r.programs, r.types, r.dataSets} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return r.view, nil
}

// account is who looks and through what: the account with its rights, the server's version and zone, what is asked
// of a record, and what never travels.
func (r *viewReading) account(ctx context.Context) error {
	var me json.RawMessage
	fields := map[string][]string{"fields": {
		"id,authorities,organisationUnits[id],dataViewOrganisationUnits[id],teiSearchOrganisationUnits[id],userGroups[id]",
	}}
	if err := r.central.Do(ctx, "GET", "/api/me", fields, nil, &me); err != nil {
		return err
	}
	me, err := orderless(me)
	if err != nil {
		return err
	}
	r.common, err = json.Marshal([]any{
		me, r.central.Version().String(), r.central.Info().ZoneID, r.scope.Wanted.Since, r.scope.Unsynchronized,
		dhis2api.TrackedEntityFields, dhis2api.EventFields,
	})
	return err
}

func (r *viewReading) relationshipTypes(ctx context.Context) error {
	type end struct{ RelationshipEntity string }
	found, err := r.list(ctx, "relationshipTypes", nil, "id,sharing,bidirectional,"+
		"fromConstraint[relationshipEntity,trackedEntityType[id],program[id],programStage[id]],"+
		"toConstraint[relationshipEntity,trackedEntityType[id],program[id],programStage[id]]")
	if err != nil {
		return err
	}
	if r.view.Ties, err = possibleTies(ctx, r.central, r.scope); err != nil {
		return err
	}
	for _, raw := range found {
		r.common = fmt.Append(append(r.common, raw...), r.view.Ties[objectID(raw)])
		var kind struct {
			FromConstraint, ToConstraint end
			Bidirectional                bool
		}
		if err := json.Unmarshal(raw, &kind); err != nil {
			return fmt.Errorf("relationship types: %w", err)
		}
		for i, end := range []end{kind.FromConstraint, kind.ToConstraint} {
			shown := i == 0 || kind.Bidirectional
			r.view.Enrollments = r.view.Enrollments || shown && end.RelationshipEntity == "PROGRAM_INSTANCE"
			r.view.Events = r.view.Events || shown && end.RelationshipEntity == "PROGRAM_STAGE_INSTANCE"
		}
	}
	return nil
}

// units are the scope's org units. Which of them there are matters to forms alone, for a record is listed with the
// unit that it has.
func (r *viewReading) units(ctx context.Context) error {
	for _, root := range r.scope.OrgUnits {
		query := dhis2api.ListQuery{Fields: "id", Filters: []string{"path:like:" + root.ID}}
		for unit, err := range dhis2api.ListAs[dhis2api.Ref](ctx, r.central, "organisationUnits", query) {
			if isDenied(err) {
				break
			}
			if err != nil {
				return fmt.Errorf("org units: %w", err)
			}
			r.view.Units = append(r.view.Units, unit.ID)
		}
	}
	slices.Sort(r.view.Units)
	r.view.Units = slices.Compact(r.view.Units)
	return nil
}

// comboFields are the options by which an event or a value may be hidden from an account.
const comboFields = "categoryCombo[id,categories[id,categoryOptions[id,sharing]]]"

const typeFields = "id,sharing,trackedEntityTypeAttributes[trackedEntityAttribute[id]]"

func (r *viewReading) programs(ctx context.Context) error {
	var uids []string
	for _, program := range r.scope.Programs {
		uids = append(uids, program.ID)
	}
	return r.streams(ctx, "programs", uids, "id,accessLevel,sharing,"+comboFields+",trackedEntityType["+typeFields+"],"+
		"programTrackedEntityAttributes[trackedEntityAttribute[id]],"+
		"programStages[id,sharing,programStageDataElements[skipSynchronization,dataElement[id]]]", nil)
}

func (r *viewReading) types(ctx context.Context) error {
	var uids []string
	for _, kind := range r.scope.TrackedEntityTypes {
		uids = append(uids, kind.ID)
	}
	return r.streams(ctx, "trackedEntityTypes", uids, typeFields, nil)
}

func (r *viewReading) dataSets(ctx context.Context) error {
	var uids []string
	for _, dataSet := range r.scope.DataSets {
		uids = append(uids, dataSet.ID)
	}
	return r.streams(ctx, "dataSets", uids, "id,sharing,periodType,"+comboFields+",dataSetElements[dataElement[id],"+comboFields+"]",
		[]byte(strings.Join(r.view.Units, ",")))
}

// streams makes the digests of the objects of a class.
func (r *viewReading) streams(ctx context.Context, class string, uids []string, fields string, besides []byte) error {
	for chunk := range slices.Chunk(uids, idsAtOnce) {
		found, err := r.list(ctx, class, []string{idFilter(chunk)}, fields)
		if err != nil {
			return err
		}
		for _, raw := range found {
			sum := sha256.Sum256(slices.Concat(r.common, raw, besides))
			r.view.Streams[objectID(raw)] = hex.EncodeToString(sum[:])
		}
	}
	return nil
}

// list reads objects of a class, each without an order of what is in it; none where the account may not.
func (r *viewReading) list(ctx context.Context, class string, filters []string, fields string) ([]json.RawMessage, error) {
	var found []json.RawMessage
	for raw, err := range r.central.List(ctx, class, dhis2api.ListQuery{Fields: fields, Filters: filters}) {
		if isDenied(err) {
			return nil, nil
		}
		if err == nil {
			raw, err = orderless(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", class, err)
		}
		found = append(found, raw)
	}
	return found, nil
}

// orderless is JSON with all lists sorted: what DHIS2 keeps as sets it writes in any order.
func orderless(raw json.RawMessage) (json.RawMessage, error) {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, err
	}
	return json.Marshal(sorted(value))
}

func sorted(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			value[key] = sorted(below)
		}
	case []any:
		type item struct {
			value any
			text  []byte
		}
		items := make([]item, len(value))
		for i, below := range value {
			below = sorted(below)
			text, _ := json.Marshal(below) // what was JSON is again
			items[i] = item{below, text}
		}
		slices.SortFunc(items, func(a, b item) int { return bytes.Compare(a.text, b.text) })
		for i := range items {
			value[i] = items[i].value
		}
	}
	return value
}
