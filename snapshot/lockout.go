package snapshot

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// LockOut is a change of metadata for which the kit will refuse what somebody entered on a tablet under the
// metadata of the trip before and has not sent yet.
type LockOut struct {
	// Class and UID name the object that changed, Name is what people call it.
	Class string `json:"class"`
	UID   string `json:"uid"`
	Name  string `json:"name"`
	// What happened, and Whom it concerns: parts of a sentence.
	What string `json:"what"`
	Whom string `json:"whom"`
	// Remedy is what to do before answering yes.
	Remedy string `json:"remedy"`
}

// String says all of it in one sentence.
func (l LockOut) String() string {
	return fmt.Sprintf("%s %s (%s): %s", l.Name, l.What, l.Whom, l.Remedy)
}

// syncFirst is what helps against nearly every lock-out.
const syncFirst = "sync all tablets with the kit first"

// Carried is the metadata of a trip, with the scope that it was taken for.
type Carried struct {
	Metadata Metadata
	Scope    *Scope
}

// LockOuts lists the changes from what tablets were given on the trip before to what this one gives them that make
// uploads fail: of forms, of where and when they may be filled in, of rules, and of people. It errs on the side of
// naming too many. Now tells whose account has expired. The order is that of the classes, then names.
//
// The rules are those of DHIS2's imports (2.41 to 2.43): options and value types are checked on every upload
// (E1125, E1302, E1007), what is mandatory too (E1018, E1090, E1303), and so are assignments of programs (E1029,
// E1041) and rules (E1300 to E1310); of data sets closed units and periods.
func LockOuts(before, after Carried, now time.Time) ([]LockOut, error) {
	then, err := readForms(before)
	if err != nil {
		return nil, fmt.Errorf("metadata of the trip before: %w", err)
	}
	is, err := readForms(after)
	if err != nil {
		return nil, fmt.Errorf("metadata of this trip: %w", err)
	}
	c := &lockOuts{before: then, after: is, now: now}
	for _, compare := range []func(){
		c.programs, c.stages, c.attributes, c.dataSets, c.elements, c.options, c.categoryOptions, c.units, c.rules, c.people,
	} {
		compare()
	}
	var found []LockOut
	for _, one := range c.sorted() {
		found = append(found, one.LockOut)
	}
	return found, nil
}

// lockOuts is the state of one LockOuts.
type lockOuts struct {
	before, after *forms
	now           time.Time
	found         []foundLockOut
}

// foundLockOut is a LockOut with what it is about besides its object.
type foundLockOut struct {
	LockOut
	// form is the uid of the program, stage or type for which the object must now be filled in; "" for any other change.
	form string
}

// sorted is what was found, in the order of the classes, then names.
func (c *lockOuts) sorted() []foundLockOut {
	slices.SortStableFunc(c.found, func(a, b foundLockOut) int {
		return cmp.Or(strings.Compare(a.Class, b.Class), strings.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID))
	})
	return c.found
}

func (c *lockOuts) add(class string, of object, whom, what string, arguments ...any) {
	c.found = append(c.found, foundLockOut{LockOut: LockOut{
		Class: class, UID: of.ID, Name: of.name(), What: fmt.Sprintf(what, arguments...), Whom: whom, Remedy: syncFirst,
	}})
}

// object is what all metadata has.
type object struct {
	ID, Name, Code string
	Sharing        sharing
}

// name is what people call it.
func (o object) name() string { return cmp.Or(o.Name, o.Code, o.ID) }

type sharing struct {
	Public            string
	Users, UserGroups map[string]struct{ Access string }
}

// writers are those who may enter data, by a word for each.
func (s sharing) writers() map[string]bool {
	writers := map[string]bool{}
	add := func(who, access string) {
		if len(access) > 3 && access[3] == 'w' {
			writers[who] = true
		}
	}
	add("everybody", s.Public)
	for id, one := range s.Users {
		add("user "+id, one.Access)
	}
	for id, one := range s.UserGroups {
		add("group "+id, one.Access)
	}
	return writers
}

// lost are those who could enter data before and cannot now, sorted.
func (s sharing) lost(now sharing) []string {
	writers := now.writers()
	if writers["everybody"] {
		return nil
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.writers())), func(who string) bool { return writers[who] })
}

// lockRef is a reference to another object.
type lockRef struct{ ID string }

// forms is metadata as far as it decides what may be entered.
type forms struct {
	scope      *Scope
	parents    map[string]string
	programs   map[string]lockProgram
	stages     map[string]lockStage
	attributes map[string]lockElement
	types      map[string]lockType
	dataSets   map[string]lockDataSet
	elements   map[string]lockElement
	options    map[string]lockOption
	optionSets map[string]object
	categories map[string]lockPeriod
	units      map[string]lockPeriod
	rules      map[string]lockRule
	actions    map[string]lockAction
	users      map[string]lockUser
}

type lockProgram struct {
	object
	OrganisationUnits, ProgramStages                                           []lockRef
	TrackedEntityType, CategoryCombo                                           lockRef
	OnlyEnrollOnce, SelectEnrollmentDatesInFuture, SelectIncidentDatesInFuture bool
	ExpiryDays, CompleteEventsExpiryDays                                       float64
	ProgramTrackedEntityAttributes                                             []lockField
}

type lockType struct {
	object
	TrackedEntityTypeAttributes []lockField
}

type lockStage struct {
	object
	Program                  lockRef
	Repeatable               bool
	ValidationStrategy       string
	ProgramStageDataElements []lockField
}

// lockField is a place in a form.
type lockField struct {
	TrackedEntityAttribute, DataElement, CategoryCombo lockRef
	Mandatory, Compulsory                              bool
}

// samePlace tells whether two places of a form are for the same data element or attribute.
func (f lockField) samePlace(other lockField) bool {
	return f.DataElement == other.DataElement && f.TrackedEntityAttribute == other.TrackedEntityAttribute
}

type lockDataSet struct {
	object
	OrganisationUnits []lockRef
	CategoryCombo     lockRef
	DataSetElements   []lockField
	ExpiryDays        float64
	OpenFuturePeriods float64
}

type lockElement struct {
	object
	ValueType                string
	OptionSet, CategoryCombo lockRef
	Unique                   bool
}

type lockOption struct {
	object
	OptionSet lockRef
}

// lockPeriod is something that is open for a time.
type lockPeriod struct {
	object
	StartDate, EndDate      string
	OpeningDate, ClosedDate string
}

type lockRule struct {
	object
	Program            lockRef
	Condition          string
	ProgramRuleActions []lockRef
}

type lockAction struct {
	object
	ProgramRule                                              lockRef
	ProgramRuleActionType, Content, Data                     string
	DataElement, TrackedEntityAttribute, Option, OptionGroup lockRef
}

type lockUser struct {
	object
	Username, FirstName, Surname, AccountExpiry string
	Disabled                                    bool
	UserRoles, OrganisationUnits                []lockRef
}

func readForms(carried Carried) (*forms, error) {
	m := carried.Metadata
	f := &forms{scope: carried.Scope, parents: m.parents()}
	return f, cmp.Or(
		readObjects(m, "programs", &f.programs), readObjects(m, "programStages", &f.stages),
		readObjects(m, "trackedEntityAttributes", &f.attributes), readObjects(m, "trackedEntityTypes", &f.types),
		readObjects(m, "dataSets", &f.dataSets), readObjects(m, "dataElements", &f.elements),
		readObjects(m, "options", &f.options), readObjects(m, "optionSets", &f.optionSets),
		readObjects(m, "categoryOptions", &f.categories), readObjects(m, "organisationUnits", &f.units),
		readObjects(m, "programRules", &f.rules), readObjects(m, "programRuleActions", &f.actions), readObjects(m, "users", &f.users))
}

// readObjects reads the objects of a class, by their uids.
func readObjects[T any](m Metadata, class string, into *map[string]T) error {
	*into = make(map[string]T, len(m[class]))
	for _, raw := range m[class] {
		var one T
		if err := json.Unmarshal(raw, &one); err != nil {
			return fmt.Errorf("%s %s: %w", class, objectID(raw), err)
		}
		(*into)[objectID(raw)] = one
	}
	return nil
}

// holds tells whether a unit lies in the scope.
func (f *forms) holds(unit string) bool {
	roots := f.scope.Roots()
	for ; unit != ""; unit = f.parents[unit] {
		if slices.Contains(roots, unit) {
			return true
		}
	}
	return false
}

// usedIn names the forms that have a data element or an attribute.
func (f *forms) usedIn(element string) string {
	var names []string
	has := func(fields []lockField) bool {
		return slices.ContainsFunc(fields, func(field lockField) bool {
			return field.DataElement.ID == element || field.TrackedEntityAttribute.ID == element
		})
	}
	for _, program := range f.programs {
		inStage := slices.ContainsFunc(program.ProgramStages, func(stage lockRef) bool { return has(f.stages[stage.ID].ProgramStageDataElements) })
		if inStage || has(program.ProgramTrackedEntityAttributes) || has(f.types[program.TrackedEntityType.ID].TrackedEntityTypeAttributes) {
			names = append(names, program.name())
		}
	}
	for _, dataSet := range f.dataSets {
		if has(dataSet.DataSetElements) {
			names = append(names, dataSet.name())
		}
	}
	return whoFillsIn(names...)
}

// whoFillsIn says whom something about forms concerns.
func whoFillsIn(names ...string) string {
	if len(names) == 0 {
		return "everybody"
	}
	slices.Sort(names)
	return "whoever fills in " + strings.Join(names, ", ")
}

// sortedIDs are the uids of objects, sorted.
func sortedIDs[T any](objects map[string]T) []string { return slices.Sorted(maps.Keys(objects)) }

// day cuts a time to its day.
func day(at string) string { return at[:min(len(at), len("2006-01-02"))] }
