package dhis2api

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The statuses of reports. A status says little: OK may stand over refused objects. Go by outcomes.
const (
	ReportOK      = "OK"
	ReportWarning = "WARNING"
	ReportError   = "ERROR"
)

// ImportStats counts objects.
type ImportStats struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
	Deleted int `json:"deleted"`
	Ignored int `json:"ignored"`
	Total   int `json:"total"`
}

// ImportReport is what the server says about a tracker import. It encodes to JSON and back.
type ImportReport struct {
	Status string `json:"status"`
	// Message is set when the import broke down as a whole; then nothing is known of any object.
	Message   string               `json:"message,omitempty"`
	Stats     ImportStats          `json:"stats"`
	KindStats map[Kind]ImportStats `json:"kindStats,omitempty"`
	// Errors and Warnings are of all objects, in the server's order.
	Errors   []ImportProblem `json:"errors,omitempty"`
	Warnings []ImportProblem `json:"warnings,omitempty"`
	// Stored are the objects that were created, updated or deleted (the report does not tell which). Of what a
	// deletion takes along only the object named in the payload is among them.
	Stored []ObjectRef `json:"stored,omitempty"`

	byObject map[ObjectRef]Outcome
}

// ObjectRef names a tracker object.
type ObjectRef struct {
	Kind Kind   `json:"kind"`
	UID  string `json:"uid"`
}

// ImportProblem is why an object was refused, or a remark on it.
type ImportProblem struct {
	Code    string   `json:"code"` // such as E1064; may be missing from the warnings of a job's report
	Kind    Kind     `json:"kind"`
	UID     string   `json:"uid"`
	Message string   `json:"message,omitempty"` // DHIS2's; its wording changes between versions, and it may hold data
	Args    []string `json:"args,omitempty"`    // what the message is about; may hold data
}

// Outcome is what a report says about one object.
type Outcome struct {
	State    OutcomeState
	Errors   []ImportProblem
	Warnings []ImportProblem
}

// OutcomeState is what became of an object.
type OutcomeState int

// The states. Only OutcomeStored and OutcomeRefused are certain.
const (
	// OutcomeUnknown: the report does not mention the object. It was not sent, the import was a dry run or broke
	// down, another object's error stopped it (AtomicAll), or storing it failed silently (AtomicObject).
	OutcomeUnknown OutcomeState = iota
	// OutcomeStored: created, updated or deleted.
	OutcomeStored
	// OutcomeRefused: not stored, with errors.
	OutcomeRefused
	// OutcomeIgnored: not stored, with warnings only: it was there already, as a relationship that is sent again.
	OutcomeIgnored
)

func (s OutcomeState) String() string {
	switch s {
	case OutcomeStored:
		return "stored"
	case OutcomeRefused:
		return "refused"
	case OutcomeIgnored:
		return "ignored"
	}
	return "unknown"
}

// Outcome is what the report says about the object.
func (r *ImportReport) Outcome(kind Kind, uid string) Outcome {
	return r.byObject[ObjectRef{kind, uid}]
}

// Refused tells whether any object was.
func (r *ImportReport) Refused() bool { return len(r.Errors) > 0 }

// index makes byObject from the lists.
func (r *ImportReport) index() {
	r.byObject = make(map[ObjectRef]Outcome, len(r.Stored)+len(r.Errors))
	for _, ref := range r.Stored {
		r.byObject[ref] = Outcome{State: OutcomeStored}
	}
	for _, warning := range r.Warnings {
		ref := ObjectRef{warning.Kind, warning.UID}
		outcome := r.byObject[ref]
		if outcome.State == OutcomeUnknown {
			outcome.State = OutcomeIgnored
		}
		outcome.Warnings = append(outcome.Warnings, warning)
		r.byObject[ref] = outcome
	}
	for _, problem := range r.Errors {
		ref := ObjectRef{problem.Kind, problem.UID}
		outcome := r.byObject[ref]
		outcome.State = OutcomeRefused
		outcome.Errors = append(outcome.Errors, problem)
		r.byObject[ref] = outcome
	}
}

// UnmarshalJSON reads what encoding an ImportReport wrote.
func (r *ImportReport) UnmarshalJSON(data []byte) error {
	type plain ImportReport
	if err := json.Unmarshal(data, (*plain)(r)); err != nil {
		return err
	}
	r.index()
	return nil
}

// sentProblem is a problem as DHIS2 writes it.
type sentProblem struct {
	Message     string            `json:"message"`
	ErrorCode   string            `json:"errorCode"`
	WarningCode string            `json:"warningCode"`
	TrackerType Kind              `json:"trackerType"`
	UID         string            `json:"uid"`
	Args        []json.RawMessage `json:"args"`
}

func (p sentProblem) problem() ImportProblem {
	problem := ImportProblem{Code: p.ErrorCode + p.WarningCode, Kind: p.TrackerType, UID: p.UID, Message: p.Message}
	for _, arg := range p.Args {
		var text string
		if json.Unmarshal(arg, &text) != nil {
			text = string(arg)
		}
		problem.Args = append(problem.Args, text)
	}
	return problem
}

// parseImportReport reads a report as DHIS2 2.41 to 2.43 write it.
func parseImportReport(data []byte) (*ImportReport, error) {
	var sent struct {
		Status           string       `json:"status"`
		Message          string       `json:"message"`
		Stats            *ImportStats `json:"stats"`
		ValidationReport *struct {
			ErrorReports   []sentProblem `json:"errorReports"`
			WarningReports []sentProblem `json:"warningReports"`
		} `json:"validationReport"`
		BundleReport *struct {
			TypeReportMap map[Kind]struct {
				Stats         ImportStats `json:"stats"`
				ObjectReports []struct {
					TrackerType  Kind          `json:"trackerType"`
					UID          string        `json:"uid"`
					ErrorReports []sentProblem `json:"errorReports"`
				} `json:"objectReports"`
			} `json:"typeReportMap"`
		} `json:"bundleReport"`
	}
	if err := json.Unmarshal(data, &sent); err != nil {
		return nil, fmt.Errorf("%w: import report", errFormat)
	}
	if sent.Stats == nil && sent.ValidationReport == nil && sent.BundleReport == nil {
		return nil, fmt.Errorf("%w: it is not an import report", errFormat)
	}
	report := &ImportReport{Status: sent.Status, Message: sent.Message}
	if sent.Stats != nil {
		report.Stats = *sent.Stats
	}
	if sent.ValidationReport != nil {
		for _, problem := range sent.ValidationReport.ErrorReports {
			report.Errors = append(report.Errors, problem.problem())
		}
		for _, problem := range sent.ValidationReport.WarningReports {
			report.Warnings = append(report.Warnings, problem.problem())
		}
	}
	if sent.BundleReport != nil {
		for _, kind := range []Kind{KindTrackedEntity, KindEnrollment, KindEvent, KindRelationship} {
			ofKind, reported := sent.BundleReport.TypeReportMap[kind]
			if !reported {
				continue
			}
			if report.KindStats == nil {
				report.KindStats = map[Kind]ImportStats{}
			}
			report.KindStats[kind] = ofKind.Stats
			for _, object := range ofKind.ObjectReports {
				for _, problem := range object.ErrorReports {
					report.Errors = append(report.Errors, problem.problem())
				}
				if len(object.ErrorReports) == 0 {
					report.Stored = append(report.Stored, ObjectRef{kind, object.UID})
				}
			}
		}
	}
	report.index()
	return report, nil
}

// uidsIn are the uids that an argument of a problem names: the argument itself, or those inside one of the
// server's own descriptions ("MetadataIdentifier(idScheme=UID, identifier=GoX1JP83DWF, ...)").
func uidsIn(arg string) []string {
	if ValidUID(arg) {
		return []string{arg}
	}
	var uids []string
	words := strings.FieldsFunc(arg, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9')
	})
	for i, word := range words {
		if i > 0 && (words[i-1] == "identifier" || words[i-1] == "uid") && ValidUID(word) {
			uids = append(uids, word)
		}
	}
	return uids
}
