// Package report says how a trip's changes ended: in a form for people (one HTML file), for spreadsheets
// (conflicts.csv) and for programs (report.json).
//
// The nouns: a sum counts changes in one bucket; a conflict is a change held because both sides made
// different ones; a decision is what people, or a rule of theirs, made of a conflict; a refusal is a change that
// central said no to; what waits depends on one of these. The report is written from the journal, which is the
// truth, and names its hash.
package report

import (
	"iter"
	"slices"
	"time"
)

// Format is the version of the JSON form. Fields are only ever added within one format; docs/report-1.schema.json is made
// of them and of their comments, by TestSchemaIsThatOfReport.
const Format = 1

// Report is how a trip stands after a run of reconcile.
type Report struct {
	Format  int     `json:"format"`
	Kit     string  `json:"kit"`
	Trip    string  `json:"trip"`
	Central Central `json:"central"`
	// Language is that of report.html, by its code; English without. Reasons are English here.
	Language string `json:"language,omitempty"`
	// Names tells whether people are named.
	Names bool `json:"names,omitempty"`
	// PlanOnly is true when the run stopped before sending.
	PlanOnly bool      `json:"planOnly"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Run counts the runs of reconcile on this trip, from 1.
	Run int `json:"run"`
	// Sent is the number of operations sent to central in this run alone.
	Sent int `json:"sent"`
	// Closed is true when nothing of the trip is open, and nothing held that is not signed off.
	Closed bool `json:"closed"`
	// JournalHash is the SHA-256 of the journal's changes that this report was written from.
	JournalHash string `json:"journalHash"`

	Sums   Sums            `json:"sums"`
	ByKind map[string]Sums `json:"byKind"`

	// Candidates says how this run found what the kit may have changed.
	Candidates Candidates `json:"candidates"`

	// Kept says what became of the plan that this run was to carry out; nil where it planned anew.
	Kept *Kept `json:"kept,omitempty"`

	// Files counts the files, such as photographs, that values of the trip name and that are at central.
	Files Files `json:"files,omitzero"`

	// Numbers says what became of the values of generated attributes; nil where none were reserved for the trip.
	Numbers *Numbers `json:"numbers,omitempty"`

	Conflicts []Conflict `json:"conflicts"`
	Refusals  []Refusal  `json:"refusals"`
	// Waiting holds what was not sent, or could not be taken, because it depends on something held.
	Waiting []Waiting `json:"waiting"`
	// SamePeople are people of the kit who may be, or are by somebody's word, people whom central holds under another uid.
	SamePeople []SamePerson `json:"samePeople,omitempty"`
	// Drift is what changed in central's metadata since the trip began, and holds changes back.
	Drift []Drift `json:"drift,omitempty"`
	// Decisions are what was decided on this trip, or stands from an earlier one, in the order in which it was.
	Decisions []Decision `json:"decisions"`
	// SignedOff says who signed off held changes so that the trip could close, latest first; those still count as held.
	SignedOff []SignOff `json:"signedOff,omitempty"`
	// Exported says where else all that is held lies, encrypted and outside of the kit; nil where it does not.
	Exported *Export `json:"exported,omitempty"`
	// Merged names events that both sides edited, for a clinician's eye, even where no field clashed.
	Merged []Merged `json:"merged"`
	// Rewritten holds values that central's own rules changed while taking what was sent.
	Rewritten []Conflict `json:"rewritten"`
	// Overtaken holds fields that somebody changed at central between the read and the write.
	Overtaken []Conflict `json:"overtaken"`
	// NotLoaded holds what prepare could not bring to the kit, so what the clinic worked without.
	NotLoaded []Refusal `json:"notLoaded,omitempty"`
	Warnings  []string  `json:"warnings,omitempty"`
	// Timeline is what happened on the trip, earliest first.
	Timeline []Moment `json:"timeline,omitempty"`
}

// Drift is a change of central's metadata since the trip began.
type Drift struct {
	// Class and UID name the object that changed, Name is what people call it; "system" is DHIS2 itself.
	Class string `json:"class"`
	UID   string `json:"uid,omitempty"`
	Name  string `json:"name"`
	// What happened is a part of a sentence, Remedy is what can be done.
	What   string `json:"what"`
	Remedy string `json:"remedy"`
	// Holds counts the changes that central would refuse for it, as it said before anything was sent.
	Holds int `json:"holds"`
	// MayHold counts the values and completions of aggregate forms that it is about: central was not asked about those.
	MayHold int `json:"mayHold,omitempty"`
}

// The ways in which candidates are found.
const (
	ByTransaction = "transactionId"
	ByComparison  = "comparison"
)

// Candidates says how the records were found that the kit may have changed. The changes are the same either way.
type Candidates struct {
	// By is ByTransaction, in the kit's own database, or ByComparison of everything in scope.
	By string `json:"by"`
	// Reason says why everything was compared; empty else.
	Reason string `json:"reason,omitempty"`
	// Records counts them: people, events of programs without registration, relationships, forms.
	Records int `json:"records"`
}

// Files counts files: each is at central with its bytes, compared by checksum, and central gives it by the value that
// names it. Values that are held because of their files are among the refusals.
type Files struct {
	Home  int   `json:"home"`
	Bytes int64 `json:"bytes"`
}

// MB is their size in millions of bytes.
func (f Files) MB() float64 { return float64(f.Bytes) / 1e6 }

// Numbers holds the values of generated attributes that people got on the kit against what central reserved for it.
type Numbers struct {
	// Checked counts them.
	Checked int `json:"checked"`
	// Outside are numbers that were not reserved, Twice those that two tracked entities got.
	Outside []Number `json:"outside,omitempty"`
	Twice   []Number `json:"twice,omitempty"`
}

// Number names a value by its attribute and the tracked entity that has it; Other has it too.
type Number struct {
	Attribute     string `json:"attribute"`
	TrackedEntity string `json:"trackedEntity"`
	Other         string `json:"other,omitempty"`
}

// Central says which server the trip belongs to.
type Central struct {
	URL      string `json:"url"`
	SystemID string `json:"systemId,omitempty"`
	Version  string `json:"version"`
}

// Sums counts changes, over the whole trip, whatever the number of runs:
// Total = Pushed + AlreadyThere + Held + OutOfScope + Dropped + Open.
type Sums struct {
	Total        int `json:"total"`
	Pushed       int `json:"pushed"`
	AlreadyThere int `json:"alreadyThere"`
	Held         int `json:"held"`
	OutOfScope   int `json:"outOfScope"`
	// Dropped counts changes about which it was decided that central's state stands. They are a bucket of their
	// own: central does not hold them, so they are not home, and no rule keeps them back, but a person's word.
	Dropped int `json:"dropped"`
	// Open counts what is planned and not yet sent and verified: all of it after --plan, none after a
	// run that came to its end.
	Open int `json:"open"`
}

// Plus is the sum of both, bucket by bucket.
func (s Sums) Plus(other Sums) Sums {
	return Sums{
		Total: s.Total + other.Total, Pushed: s.Pushed + other.Pushed, AlreadyThere: s.AlreadyThere + other.AlreadyThere,
		Held: s.Held + other.Held, OutOfScope: s.OutOfScope + other.OutOfScope,
		Dropped: s.Dropped + other.Dropped, Open: s.Open + other.Open,
	}
}

// Home is what is at central: what was sent and verified, and what was there already.
func (s Sums) Home() int { return s.Pushed + s.AlreadyThere }

// Reference names one object.
type Reference struct {
	Kind string `json:"kind"`
	UID  string `json:"uid"`
	// Person is the tracked entity the object belongs to; empty where there is none.
	Person string `json:"person,omitempty"`
	// Name is what DHIS2 shows of that person in lists; empty unless fieldkit.yaml asks for names.
	Name string `json:"name,omitempty"`
}

// References yields every record that the report names, to be changed in place.
func (r *Report) References() iter.Seq[*Reference] {
	return func(yield func(*Reference) bool) {
		var all []*Reference
		for _, list := range [][]Conflict{r.Conflicts, r.Rewritten, r.Overtaken} {
			for i := range list {
				all = append(all, &list[i].Reference)
			}
		}
		for _, list := range [][]Refusal{r.Refusals, r.NotLoaded} {
			for i := range list {
				all = append(all, &list[i].Reference)
			}
		}
		waiting := [][]Waiting{r.Waiting}
		if r.Kept != nil {
			waiting = append(waiting, r.Kept.Moved)
		}
		for _, list := range waiting {
			for i := range list {
				all = append(all, &list[i].Reference)
			}
		}
		for i := range r.Decisions {
			all = append(all, &r.Decisions[i].Reference)
		}
		for i := range r.SamePeople {
			all = append(all, &r.SamePeople[i].Reference)
		}
		for i := range r.Merged {
			all = append(all, &r.Merged[i].Reference)
		}
		for _, reference := range all {
			if !yield(reference) {
				return
			}
		}
	}
}

// Conflict is one field that both sides hold differently. Base, Local and Central are canonical values;
// all are empty for a whole object, whose Reason says what happened.
type Conflict struct {
	Reference
	// Number is short and the same in all runs and trips, as long as both sides are what they are; decisions refer
	// to it. When one of them moves on the conflict is shown under another number.
	Number  int    `json:"number"`
	Verb    string `json:"verb"`
	Field   string `json:"field"`
	Label   string `json:"label,omitempty"`
	Base    string `json:"base"`
	Local   string `json:"local"`
	Central string `json:"central"`
	Reason  string `json:"reason"`
	// LocalEdit and CentralEdit say who made each side what it is, and when; empty where that is not known.
	LocalEdit   Edit `json:"localEdit,omitzero"`
	CentralEdit Edit `json:"centralEdit,omitzero"`
}

// Edit is a user name and a time on the clock of the server, which may be wrong.
type Edit struct {
	By string `json:"by,omitempty"`
	At string `json:"at,omitempty"`
}

// The states of a decision.
const (
	// DecisionPlanned: given together with --plan, so not recorded.
	DecisionPlanned = "planned"
	// DecisionCarriedOut: central was read back and holds what was decided.
	DecisionCarriedOut = "carriedOut"
	// DecisionWaits: recorded, and its change is still held for another reason.
	DecisionWaits = "waits"
	// DecisionNotApplied: it is without effect, for the reason given.
	DecisionNotApplied = "notApplied"
)

// Decision is what somebody, or a policy of fieldkit.yaml, decided about a conflict. Base, Local and Central are what
// was shown when it was decided.
type Decision struct {
	Reference
	Number  int    `json:"number"`
	Verb    string `json:"verb"`
	Field   string `json:"field"`
	Label   string `json:"label,omitempty"`
	Base    string `json:"base"`
	Local   string `json:"local"`
	Central string `json:"central"`
	Choice  Choice `json:"choice"`
	Value   string `json:"value,omitempty"`
	// By is who decided, At when; At is zero for what is only planned.
	By     string    `json:"by"`
	At     time.Time `json:"at,omitzero"`
	Policy bool      `json:"policy,omitempty"`
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"`
}

// SignOff is somebody's word that held changes may stay held.
type SignOff struct {
	Changes int       `json:"changes"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"`
}

// Export is a file with all that is held, written outside of the kit and read back there.
type Export struct {
	Path   string    `json:"path"`
	SHA256 string    `json:"sha256"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
}

// SignOff counts one more held change as signed off.
func (r *Report) SignOff(by, reason string, at time.Time) {
	i := slices.IndexFunc(r.SignedOff, func(s SignOff) bool { return s.By == by && s.Reason == reason && s.At.Equal(at) })
	if i < 0 {
		i = len(r.SignedOff)
		for i > 0 && r.SignedOff[i-1].At.Before(at) {
			i--
		}
		r.SignedOff = slices.Insert(r.SignedOff, i, SignOff{By: by, Reason: reason, At: at})
	}
	r.SignedOff[i].Changes++
}

// SignedOffAll tells whether everything that is held is signed off.
func (r *Report) SignedOffAll() bool {
	signed := 0
	for _, s := range r.SignedOff {
		signed += s.Changes
	}
	return signed == r.Sums.Held
}

// Refusal is a change that central did not take, with DHIS2's code and what it means.
type Refusal struct {
	Reference
	Verb   string `json:"verb,omitempty"`
	Field  string `json:"field,omitempty"`
	Label  string `json:"label,omitempty"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
}

// SamePerson is a person of the kit beside the one at central who may be the same.
type SamePerson struct {
	Reference
	// AtCentral is the uid of central's person.
	AtCentral string `json:"atCentral"`
	// Number is what the decision to adopt refers to, or referred to.
	Number int `json:"number"`
	// Attribute is the unique attribute of which both have the same value; empty where central merged the kit's person into its
	// other one, and of one that is adopted.
	Attribute string `json:"attribute,omitempty"`
	Label     string `json:"label,omitempty"`
	// Adopted is true when somebody decided that they are the same; By and At say who, and when.
	Adopted bool      `json:"adopted"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at,omitzero"`
	// Fields are the attributes of both, side by side.
	Fields []SameField `json:"fields"`
	// OnKit and Central are the enrollments of either.
	OnKit   []Enrolled `json:"onKit"`
	Central []Enrolled `json:"central"`
}

// Agreement is how a value on the kit stands to that at central.
type Agreement string

// The agreements.
const (
	Alike          Agreement = "alike"
	Different      Agreement = "different"
	OnKitAlone     Agreement = "onKitAlone"
	AtCentralAlone Agreement = "atCentralAlone"
)

// SameField is one attribute of two people. Its values are left out where DHIS2 shows the attribute in lists, as it does names,
// unless fieldkit.yaml asks for names.
type SameField struct {
	Field     string    `json:"field"`
	Label     string    `json:"label,omitempty"`
	Agreement Agreement `json:"agreement"`
	Local     string    `json:"local,omitempty"`
	Central   string    `json:"central,omitempty"`
}

// Enrolled is an enrollment of somebody, with the number of its events.
type Enrolled struct {
	UID          string `json:"uid"`
	Program      string `json:"program"`
	ProgramLabel string `json:"programLabel,omitempty"`
	OrgUnit      string `json:"orgUnit"`
	OrgUnitLabel string `json:"orgUnitLabel,omitempty"`
	Status       string `json:"status"`
	EnrolledAt   string `json:"enrolledAt"`
	Events       int    `json:"events"`
}

// Waiting is a change that depends on a held one.
type Waiting struct {
	Reference
	Verb   string `json:"verb,omitempty"`
	Field  string `json:"field,omitempty"`
	Label  string `json:"label,omitempty"`
	Reason string `json:"reason"`
}

// Merged is an event that both sides edited.
type Merged struct {
	Reference
	// ProgramStage and OrgUnit are uids with their names, OccurredAt is the event's date; empty where an older fieldkit noted it.
	ProgramStage      string `json:"programStage,omitempty"`
	ProgramStageLabel string `json:"programStageLabel,omitempty"`
	OccurredAt        string `json:"occurredAt,omitempty"`
	OrgUnit           string `json:"orgUnit,omitempty"`
	OrgUnitLabel      string `json:"orgUnitLabel,omitempty"`
	// OnKit and AtCentral are what either side changed since the trip began.
	OnKit     []Edited `json:"onKit"`
	AtCentral []Edited `json:"atCentral"`
}

// Edited is one field that one side changed, from Before to After.
type Edited struct {
	Field  string `json:"field"`
	Label  string `json:"label,omitempty"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// The kinds of moments.
const (
	// MomentPrepared: the trip was taken along from central.
	MomentPrepared = "prepared"
	// MomentPlanned: a run stopped before sending. MomentReconciled: one came to its end. MomentStopped: one did not.
	MomentPlanned    = "planned"
	MomentReconciled = "reconciled"
	MomentStopped    = "stopped"
	// MomentSignedOff: somebody signed off what was held.
	MomentSignedOff = "signedOff"
)

// Moment is something that happened on a trip: prepared, planned, reconciled, stopped or signedOff.
type Moment struct {
	What string `json:"what"`
	// At is by the clock of the machine that fieldkit ran on.
	At time.Time `json:"at"`
	// Run is the number of the run, Sums how the trip stood after it; nil where it did not come so far.
	Run  int   `json:"run,omitempty"`
	Sums *Sums `json:"sums,omitempty"`
	// By signed off so many Changes.
	By      string `json:"by,omitempty"`
	Changes int    `json:"changes,omitempty"`
}

// Kept says what became of a kept plan. Every operation that it would have sent is home, held or moved.
type Kept struct {
	// Operations counts those that it would have sent, each of one object; Home those that are at central, now or already.
	Operations int `json:"operations"`
	Home       int `json:"home"`
	// Held counts those that were sent, or would have been, and are held now; they stand in the other lists.
	Held int `json:"held"`
	// LeftOut counts the changes that are open because it does not name them.
	LeftOut int `json:"leftOut"`
	// Moved are those that were not sent, because one of the sides is not what it was when they were planned.
	Moved []Waiting `json:"moved"`
}

// New is an empty report: its lists are empty, not absent, in JSON.
func New() *Report {
	return &Report{
		Format: Format, ByKind: map[string]Sums{}, Conflicts: []Conflict{}, Refusals: []Refusal{}, Waiting: []Waiting{},
		Decisions: []Decision{}, Merged: []Merged{}, Rewritten: []Conflict{}, Overtaken: []Conflict{},
	}
}

// The exit codes of a run that came to an end.
const (
	exitHome      = 0
	exitOpen      = 1
	exitRefused   = 3
	exitConflicts = 4
)

// ExitCode is the exit code that tells this report's outcome: 0 all home, 3 some refused, 4 conflicts wait
// (also when some were refused), 1 when changes are still open after a run that meant to send them.
func (r *Report) ExitCode() int {
	switch {
	case len(r.Conflicts) > 0:
		return exitConflicts
	case len(r.Refusals) > 0 || r.Sums.Held > 0:
		return exitRefused
	case r.Sums.Open > 0 && !r.PlanOnly:
		return exitOpen
	}
	return exitHome
}
