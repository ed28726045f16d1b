package dhis2sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// kind is one of the four kinds of tracker objects.
type kind int

const (
	kindEntity kind = iota
	kindEnrollment
	kindEvent
	kindRelationship
)

// kinds are all of them, in the order of an import.
func kinds() []kind { return []kind{kindEntity, kindEnrollment, kindEvent, kindRelationship} }

// reportName is the kind in reports ("TRACKED_ENTITY").
func (k kind) reportName() string {
	return [...]string{"TRACKED_ENTITY", "ENROLLMENT", "EVENT", "RELATIONSHIP"}[k]
}

// fieldName is the kind as the field that holds its uid ("trackedEntity").
func (k kind) fieldName() string {
	return [...]string{"trackedEntity", "enrollment", "event", "relationship"}[k]
}

// payload is the body of POST /api/tracker. Fields that DHIS2 ignores on import are left out.
type payload struct {
	TrackedEntities []*entityInput       `json:"trackedEntities"`
	Enrollments     []*enrollmentInput   `json:"enrollments"`
	Events          []*eventInput        `json:"events"`
	Relationships   []*relationshipInput `json:"relationships"`
}

type entityInput struct {
	UID                looseText            `json:"trackedEntity"`
	TrackedEntityType  looseText            `json:"trackedEntityType"`
	OrgUnit            looseText            `json:"orgUnit"`
	CreatedAtClient    timeInput            `json:"createdAtClient"`
	UpdatedAtClient    timeInput            `json:"updatedAtClient"`
	Inactive           bool                 `json:"inactive"`
	PotentialDuplicate bool                 `json:"potentialDuplicate"`
	Geometry           json.RawMessage      `json:"geometry"`
	StoredBy           looseText            `json:"storedBy"`
	Attributes         []attributeInput     `json:"attributes"`
	Enrollments        []*enrollmentInput   `json:"enrollments"`
	Relationships      []*relationshipInput `json:"relationships"`

	strategy strategy
	stored   *trackedEntity
}

type attributeInput struct {
	Attribute looseText  `json:"attribute"`
	StoredBy  looseText  `json:"storedBy"`
	Value     *looseText `json:"value"`
}

// text is the value, empty where it is null.
func (a attributeInput) text() string {
	if a.Value == nil {
		return ""
	}
	return string(*a.Value)
}

type enrollmentInput struct {
	UID                  looseText            `json:"enrollment"`
	TrackedEntity        looseText            `json:"trackedEntity"`
	Program              looseText            `json:"program"`
	OrgUnit              looseText            `json:"orgUnit"`
	Status               looseText            `json:"status"`
	EnrolledAt           timeInput            `json:"enrolledAt"`
	OccurredAt           timeInput            `json:"occurredAt"`
	CompletedAt          timeInput            `json:"completedAt"`
	CreatedAtClient      timeInput            `json:"createdAtClient"`
	UpdatedAtClient      timeInput            `json:"updatedAtClient"`
	FollowUp             bool                 `json:"followUp"`
	Geometry             json.RawMessage      `json:"geometry"`
	StoredBy             looseText            `json:"storedBy"`
	AttributeOptionCombo looseText            `json:"attributeOptionCombo"`
	Attributes           []attributeInput     `json:"attributes"`
	Notes                []noteInput          `json:"notes"`
	Events               []*eventInput        `json:"events"`
	Relationships        []*relationshipInput `json:"relationships"`

	strategy strategy
	stored   *enrollment
}

type eventInput struct {
	UID                      looseText            `json:"event"`
	Program                  looseText            `json:"program"`
	ProgramStage             looseText            `json:"programStage"`
	Enrollment               looseText            `json:"enrollment"`
	OrgUnit                  looseText            `json:"orgUnit"`
	Status                   looseText            `json:"status"`
	OccurredAt               timeInput            `json:"occurredAt"`
	ScheduledAt              timeInput            `json:"scheduledAt"`
	CompletedAt              timeInput            `json:"completedAt"`
	CreatedAtClient          timeInput            `json:"createdAtClient"`
	UpdatedAtClient          timeInput            `json:"updatedAtClient"`
	Geometry                 json.RawMessage      `json:"geometry"`
	StoredBy                 looseText            `json:"storedBy"`
	AttributeOptionCombo     looseText            `json:"attributeOptionCombo"`
	AttributeCategoryOptions looseText            `json:"attributeCategoryOptions"`
	AssignedUser             *userInput           `json:"assignedUser"`
	DataValues               []dataValueInput     `json:"dataValues"`
	Notes                    []noteInput          `json:"notes"`
	Relationships            []*relationshipInput `json:"relationships"`

	strategy strategy
	stored   *event
	single   bool     // of an event program
	options  []string // the category options that were named
}

type dataValueInput struct {
	DataElement       looseText  `json:"dataElement"`
	ProvidedElsewhere bool       `json:"providedElsewhere"`
	Value             *looseText `json:"value"`
}

// text is the value, empty where it is null.
func (d dataValueInput) text() string {
	if d.Value == nil {
		return ""
	}
	return string(*d.Value)
}

type userInput struct {
	UID      looseText `json:"uid"`
	Username looseText `json:"username"`
}

type noteInput struct {
	UID      looseText `json:"note"`
	Value    looseText `json:"value"`
	StoredBy looseText `json:"storedBy"`
}

type relationshipInput struct {
	UID              looseText  `json:"relationship"`
	RelationshipType looseText  `json:"relationshipType"`
	CreatedAtClient  timeInput  `json:"createdAtClient"`
	From             *itemInput `json:"from"`
	To               *itemInput `json:"to"`

	strategy strategy
	stored   *relationship
}

type itemInput struct {
	TrackedEntity *struct {
		UID looseText `json:"trackedEntity"`
	} `json:"trackedEntity"`
	Enrollment *struct {
		UID looseText `json:"enrollment"`
	} `json:"enrollment"`
	Event *struct {
		UID looseText `json:"event"`
	} `json:"event"`
}

// ends are the things that the item names; a valid item names one.
func (i *itemInput) ends() []trackerReference {
	var out []trackerReference
	if i == nil {
		return nil
	}
	if i.TrackedEntity != nil && i.TrackedEntity.UID != "" {
		out = append(out, trackerReference{kindEntity, string(i.TrackedEntity.UID)})
	}
	if i.Enrollment != nil && i.Enrollment.UID != "" {
		out = append(out, trackerReference{kindEnrollment, string(i.Enrollment.UID)})
	}
	if i.Event != nil && i.Event.UID != "" {
		out = append(out, trackerReference{kindEvent, string(i.Event.UID)})
	}
	return out
}

// trackerReference names one tracker object.
type trackerReference struct {
	kind kind
	uid  string
}

// looseText is a string that may also be sent as a number or a boolean, as Jackson takes them.
type looseText string

// UnmarshalJSON takes any scalar; null leaves it empty.
func (t *looseText) UnmarshalJSON(b []byte) error {
	switch {
	case bytes.Equal(b, []byte("null")):
		return nil
	case b[0] == '"':
		return json.Unmarshal(b, (*string)(t))
	case b[0] == '{' || b[0] == '[':
		return fmt.Errorf("%.20s is not text", b)
	}
	*t = looseText(b)
	return nil
}

// timeInput is a time as it was sent, and what it means once resolve has run.
type timeInput struct {
	text string
	at   instant
}

// UnmarshalJSON takes a string or null.
func (t *timeInput) UnmarshalJSON(b []byte) error {
	if len(b) > 1 && b[0] == '"' && !bytes.ContainsRune(b, '\\') {
		t.text = string(b[1 : len(b)-1])
		return nil
	}
	return json.Unmarshal(b, &t.text)
}

// resolve reads the time in the server's zone.
func (t *timeInput) resolve(zone *time.Location) error {
	t.at = none
	if t.text == "" {
		return nil
	}
	at, ok := parseTime(t.text, zone)
	if !ok {
		return fmt.Errorf("invalid date format: %q", t.text)
	}
	t.at = at
	return nil
}

// parseTime reads a time in one of the forms that DHIS2's DateUtils takes; without an offset it is local.
func parseTime(text string, zone *time.Location) (instant, bool) {
	layouts := []string{
		"2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999-0700",
		"2006-01-02T15:04", "2006-01-02T15:04Z07:00", "2006-01-02T15", "20060102", "2006-01", "2006",
		"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05-0700",
	}
	if len(text) == len("2006-01-02") {
		layouts = []string{"2006-01-02"}
	}
	for _, layout := range layouts {
		if at, err := time.ParseInLocation(layout, text, zone); err == nil {
			return instant(at.UnixMilli()), true
		}
	}
	return none, false
}

// decodePayload reads a body, flattens what is nested, gives uids to what has none and resolves times.
// From 2.42 on an ill-formed uid spoils the whole payload; 2.41 reports it per object.
func decodePayload(body []byte, zone *time.Location, minor int) (*payload, error) {
	p := &payload{}
	if err := json.Unmarshal(body, p); err != nil {
		return nil, err
	}
	p.flatten()
	return p, p.resolve(zone, minor >= 42)
}

func (p *payload) flatten() {
	dropNil := func(p *payload) {
		p.TrackedEntities = slices.DeleteFunc(p.TrackedEntities, func(e *entityInput) bool { return e == nil })
		p.Enrollments = slices.DeleteFunc(p.Enrollments, func(e *enrollmentInput) bool { return e == nil })
		p.Events = slices.DeleteFunc(p.Events, func(e *eventInput) bool { return e == nil })
		p.Relationships = slices.DeleteFunc(p.Relationships, func(r *relationshipInput) bool { return r == nil })
	}
	dropNil(p)
	out := payload{TrackedEntities: p.TrackedEntities}
	for _, e := range p.TrackedEntities {
		e.UID = uidOr(e.UID)
		noEmptyValues(e.Attributes)
		for _, nested := range e.Enrollments {
			if nested != nil {
				nested.TrackedEntity = e.UID
				out.Enrollments = append(out.Enrollments, nested)
			}
		}
		out.Relationships = append(out.Relationships, e.Relationships...)
		e.Enrollments, e.Relationships = nil, nil
	}
	out.Enrollments = append(out.Enrollments, p.Enrollments...)
	for _, e := range out.Enrollments {
		e.UID = uidOr(e.UID)
		noEmptyValues(e.Attributes)
		for _, nested := range e.Events {
			if nested != nil {
				nested.Enrollment = e.UID
				out.Events = append(out.Events, nested)
			}
		}
		out.Relationships = append(out.Relationships, e.Relationships...)
		e.Events, e.Relationships = nil, nil
		e.Notes = namedNotes(e.Notes)
	}
	out.Events = append(out.Events, p.Events...)
	for _, e := range out.Events {
		e.UID = uidOr(e.UID)
		for i := range e.DataValues {
			if e.DataValues[i].text() == "" {
				e.DataValues[i].Value = nil
			}
		}
		out.Relationships = append(out.Relationships, e.Relationships...)
		e.Relationships = nil
		e.Notes = namedNotes(e.Notes)
	}
	out.Relationships = append(out.Relationships, p.Relationships...)
	dropNil(&out)
	for _, r := range out.Relationships {
		r.UID = uidOr(r.UID)
	}
	*p = out
}

// noEmptyValues makes empty values null: DHIS2's decoder tells no difference.
func noEmptyValues(attributes []attributeInput) {
	for i := range attributes {
		if attributes[i].text() == "" {
			attributes[i].Value = nil
		}
	}
}

func uidOr(uid looseText) looseText {
	if uid == "" {
		return looseText(newUID())
	}
	return uid
}

// namedNotes are the notes that say something, each with a uid.
func namedNotes(notes []noteInput) []noteInput {
	notes = slices.DeleteFunc(notes, func(n noteInput) bool { return n.Value == "" })
	for i := range notes {
		notes[i].UID = uidOr(notes[i].UID)
	}
	return notes
}

func (p *payload) resolve(zone *time.Location, strictUIDs bool) error {
	var failed error
	fail := func(err error) {
		if err != nil && failed == nil {
			failed = err
		}
	}
	times := func(all ...*timeInput) {
		for _, t := range all {
			fail(t.resolve(zone))
		}
	}
	uids := func(all ...looseText) {
		for _, uid := range all {
			if strictUIDs && uid != "" && !isUID(string(uid)) {
				fail(fmt.Errorf("UID must be an alphanumeric string of 11 characters starting with a letter, but was: %q", string(uid)))
			}
		}
	}
	status := func(status *looseText, allowed string) {
		if *status == "" {
			*status = "ACTIVE"
		}
		if !strings.Contains(allowed, " "+string(*status)+" ") {
			fail(fmt.Errorf("unknown status %q", string(*status)))
		}
	}
	for _, e := range p.TrackedEntities {
		uids(e.UID)
		times(&e.CreatedAtClient, &e.UpdatedAtClient)
		fail(checkGeometry(&e.Geometry))
	}
	for _, e := range p.Enrollments {
		uids(e.UID, e.TrackedEntity)
		times(&e.EnrolledAt, &e.OccurredAt, &e.CompletedAt, &e.CreatedAtClient, &e.UpdatedAtClient)
		status(&e.Status, " ACTIVE COMPLETED CANCELLED ")
		fail(checkGeometry(&e.Geometry))
		for _, n := range e.Notes {
			uids(n.UID)
		}
	}
	for _, e := range p.Events {
		uids(e.UID, e.Enrollment)
		times(&e.OccurredAt, &e.ScheduledAt, &e.CompletedAt, &e.CreatedAtClient, &e.UpdatedAtClient)
		status(&e.Status, " ACTIVE COMPLETED VISITED SCHEDULE OVERDUE SKIPPED ")
		fail(checkGeometry(&e.Geometry))
		for _, n := range e.Notes {
			uids(n.UID)
		}
		for _, option := range strings.Split(string(e.AttributeCategoryOptions), ",") {
			if option = strings.TrimSpace(option); option != "" && !slices.Contains(e.options, option) {
				e.options = append(e.options, option)
			}
		}
	}
	for _, r := range p.Relationships {
		uids(r.UID)
		times(&r.CreatedAtClient)
		for _, end := range append(r.From.ends(), r.To.ends()...) {
			uids(looseText(end.uid))
		}
	}
	return failed
}

// isUID tells whether text has the form of a uid.
func isUID(text string) bool {
	if len(text) != 11 {
		return false
	}
	for i := range len(text) {
		c := text[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// checkGeometry makes "null" empty and refuses what is not GeoJSON.
func checkGeometry(geometry *json.RawMessage) error {
	if len(*geometry) == 0 || bytes.Equal(*geometry, []byte("null")) {
		*geometry = nil
		return nil
	}
	if geometryType(*geometry) == "" {
		return fmt.Errorf("geometry is not GeoJSON")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, *geometry); err != nil {
		return err
	}
	// DHIS2 keeps coordinates as floating-point numbers and shows them with a fraction.
	*geometry = wholeCoordinate.ReplaceAll(wholeCoordinate.ReplaceAll(compact.Bytes(), []byte("$1$2.0$3")), []byte("$1$2.0$3"))
	return nil
}

// wholeCoordinate is a coordinate without a fraction.
var wholeCoordinate = regexp.MustCompile(`([\[,])(-?[0-9]+)([\],])`)

// geometryType is the feature type of a GeoJSON geometry ("POINT"), empty where it is none.
func geometryType(geometry []byte) string {
	var g struct {
		Type        string          `json:"type"`
		Coordinates json.RawMessage `json:"coordinates"`
	}
	if json.Unmarshal(geometry, &g) != nil || len(g.Coordinates) == 0 || g.Coordinates[0] != '[' {
		return ""
	}
	switch g.Type {
	case "Point":
		return "POINT"
	case "Polygon":
		return "POLYGON"
	case "MultiPolygon":
		return "MULTI_POLYGON"
	case "LineString", "MultiPoint", "MultiLineString":
		return "OTHER"
	}
	return ""
}
