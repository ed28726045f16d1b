package snapshot

import (
	"cmp"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// Wanted is what fieldkit.yaml asks a kit to carry.
type Wanted struct {
	// OrgUnits are codes or uids; everything below each is included. At least one.
	OrgUnits []string `json:"orgUnits"`
	// Programs and DataSets are codes or uids. Nil means all: those assigned to an org unit at or below
	// the roots. Empty and not nil means none.
	Programs []string `json:"programs"`
	DataSets []string `json:"dataSets"`
	// Since is a date, 2024-01-31, from which history is carried; empty: everything, future periods too.
	// An enrollment that began on or after it, or has an event on or after it, is carried whole.
	Since string `json:"since,omitempty"`
	// AllMetadata carries the metadata of all programs and forms, dashboards and the like, not only what the
	// carried ones need. Org units and people stay those of the scope.
	AllMetadata bool `json:"allMetadata,omitempty"`
}

func (w Wanted) equal(other Wanted) bool {
	same := func(a, b []string) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }
	return same(w.OrgUnits, other.OrgUnits) && same(w.Programs, other.Programs) &&
		same(w.DataSets, other.DataSets) && w.Since == other.Since && w.AllMetadata == other.AllMetadata
}

func (w Wanted) String() string {
	list := func(names []string) string {
		if names == nil {
			return "all"
		}
		return "[" + strings.Join(names, ", ") + "]"
	}
	text := "org units " + list(w.OrgUnits) + ", programs " + list(w.Programs) + ", data sets " + list(w.DataSets) +
		", since " + cmp.Or(w.Since, "ever")
	if w.AllMetadata {
		text += ", all metadata"
	}
	return text
}

// Scope is what a kit carries, resolved against central. It names no patient.
type Scope struct {
	Wanted Wanted `json:"wanted"`
	// OrgUnits are the roots: none lies below another.
	OrgUnits []OrgUnit `json:"orgUnits"`
	Programs []Program `json:"programs"`
	DataSets []DataSet `json:"dataSets"`
	// TrackedEntityTypes are those of the programs with registration, by name.
	TrackedEntityTypes []TrackedEntityType `json:"trackedEntityTypes"`
	// Unsynchronized are the values that never travel, in neither direction.
	Unsynchronized Unsynchronized `json:"unsynchronized,omitzero"`
}

// Unsynchronized names what central marked skipSynchronization.
type Unsynchronized struct {
	// Attributes are uids of tracked entity attributes, sorted.
	Attributes []string `json:"attributes,omitempty"`
	// DataElements are a program stage's uid and a data element's, joined by a dot, sorted.
	DataElements []string `json:"dataElements,omitempty"`
}

// Attribute tells whether an attribute's values never travel.
func (u Unsynchronized) Attribute(uid string) bool { return slices.Contains(u.Attributes, uid) }

// DataElement tells whether a data element's values never travel in the events of a program stage.
func (u Unsynchronized) DataElement(programStage, uid string) bool {
	return slices.Contains(u.DataElements, programStage+"."+uid)
}

// strip removes the values that never travel from a tracked entity and all below it.
func (u Unsynchronized) strip(t *dhis2api.TrackedEntity) {
	if len(u.Attributes) > 0 {
		t.Attributes = slices.DeleteFunc(t.Attributes, func(a dhis2api.Attribute) bool { return u.Attribute(a.Attribute) })
	}
	for _, enrollment := range t.Enrollments {
		for _, event := range enrollment.Events {
			u.stripEvent(event)
		}
	}
}

func (u Unsynchronized) stripEvent(e *dhis2api.Event) {
	if len(u.DataElements) > 0 {
		e.DataValues = slices.DeleteFunc(e.DataValues, func(v dhis2api.EventDataValue) bool { return u.DataElement(e.ProgramStage, v.DataElement) })
	}
}

// OrgUnit is an organisation unit.
type OrgUnit struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"`
	Name string `json:"name"`
	// Path holds the uids from the server's root down to this unit, each after a slash.
	Path string `json:"path"`
	// Level counts from 1, the server's root.
	Level int `json:"level"`
}

// The types of programs.
const (
	WithRegistration    = "WITH_REGISTRATION"
	WithoutRegistration = "WITHOUT_REGISTRATION"
)

// Program is a program in scope.
type Program struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"`
	Name string `json:"name"`
	// Type is WithRegistration or WithoutRegistration.
	Type string `json:"programType"`
	// TrackedEntityType is a uid; empty without registration.
	TrackedEntityType string  `json:"trackedEntityType,omitempty"`
	Stages            []Stage `json:"programStages"`
}

// Registers tells whether the program follows tracked entities.
func (p Program) Registers() bool { return p.Type == WithRegistration }

// Stage is a program stage.
type Stage struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// DataSet is a data set in scope.
type DataSet struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"`
	Name string `json:"name"`
	// PeriodType is DHIS2's: Monthly, Weekly, Yearly, ...
	PeriodType string `json:"periodType"`
}

// TrackedEntityType is a tracked entity type in scope.
type TrackedEntityType struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Roots are the uids of the root org units.
func (s *Scope) Roots() []string {
	uids := make([]string, 0, len(s.OrgUnits))
	for _, unit := range s.OrgUnits {
		uids = append(uids, unit.ID)
	}
	return uids
}

// Contains tells whether an org unit with that path is at or below a root.
func (s *Scope) Contains(path string) bool {
	for _, root := range s.OrgUnits {
		if path == root.Path || strings.HasPrefix(path, root.Path+"/") {
			return true
		}
	}
	return false
}

// Program finds a program by its uid; the second result is false where the scope has none.
func (s *Scope) Program(uid string) (Program, bool) {
	i := slices.IndexFunc(s.Programs, func(p Program) bool { return p.ID == uid })
	if i < 0 {
		return Program{}, false
	}
	return s.Programs[i], true
}
