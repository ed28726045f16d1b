package dhis2sim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// importStats counts objects by what became of them.
type importStats struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
	Deleted int `json:"deleted"`
	Ignored int `json:"ignored"`
	Total   int `json:"total"`
}

func (s *importStats) add(other importStats) {
	s.Created += other.Created
	s.Updated += other.Updated
	s.Deleted += other.Deleted
	s.Ignored += other.Ignored
}

func (s *importStats) sum() { s.Total = s.Created + s.Updated + s.Deleted + s.Ignored }

// importReport is the answer of a tracker import.
type importReport struct {
	Status     string           `json:"status"`
	Validation validationReport `json:"validationReport"`
	Stats      importStats      `json:"stats"`
	Bundle     *bundleReport    `json:"bundleReport,omitempty"`
}

type validationReport struct {
	Errors   []importError   `json:"errorReports"`
	Warnings []importWarning `json:"warningReports"`
}

type importError struct {
	Message     string    `json:"message"`
	ErrorCode   string    `json:"errorCode"`
	TrackerType string    `json:"trackerType"`
	UID         string    `json:"uid"`
	Args        []*string `json:"args"`
}

type importWarning struct {
	Message     string `json:"message"`
	WarningCode string `json:"warningCode,omitempty"`
	TrackerType string `json:"trackerType"`
	UID         string `json:"uid"`
}

type bundleReport struct {
	Types map[string]*typeReport `json:"typeReportMap"`
}

type typeReport struct {
	TrackerType string         `json:"trackerType"`
	Stats       importStats    `json:"stats"`
	Objects     []objectReport `json:"objectReports"`
}

type objectReport struct {
	TrackerType string        `json:"trackerType"`
	UID         string        `json:"uid"`
	Errors      []importError `json:"errorReports"`
}

// shown is the report in a report mode: warnings only where the mode asks for them.
func (r *importReport) shown(mode string) *importReport {
	out := *r
	if mode == "ERRORS" {
		out.Validation.Warnings = []importWarning{}
	}
	return &out
}

// reporter collects what validators find.
type reporter struct {
	errors   []importError
	warnings []importWarning
	said     map[string]bool // what was reported already: DHIS2 reports nothing twice
	invalid  [4]map[string]bool
	failFast bool
	stopped  bool // failFast has met its first error
	texts    map[string]string
}

func newReporter(failFast bool) *reporter {
	r := &reporter{
		said: map[string]bool{}, failFast: failFast, errors: []importError{}, warnings: []importWarning{}, texts: importMessages(),
	}
	for i := range r.invalid {
		r.invalid[i] = map[string]bool{}
	}
	return r
}

// fail reports an error of an object.
func (r *reporter) fail(k kind, uid, code string, args ...string) {
	if r.stopped {
		return
	}
	r.invalid[k][uid] = true
	r.stopped = r.failFast
	r.addError(k, uid, code, args)
}

// addError reports without making the object invalid: E5000 alone does so.
func (r *reporter) addError(k kind, uid, code string, args []string) {
	key := strings.Join(append([]string{code, k.reportName(), uid}, args...), "\x00")
	if r.said[key] {
		return
	}
	r.said[key] = true
	e := importError{Message: r.message(code, args), ErrorCode: code, TrackerType: k.reportName(), UID: uid, Args: make([]*string, len(args))}
	for i, arg := range args {
		if arg != absent {
			e.Args[i] = &arg
		}
	}
	r.errors = append(r.errors, e)
}

// warn reports what does not stop the import.
func (r *reporter) warn(k kind, uid, code string, args ...string) {
	key := strings.Join(append([]string{"warning", code, k.reportName(), uid}, args...), "\x00")
	if r.stopped || r.said[key] {
		return
	}
	r.said[key] = true
	r.warnings = append(r.warnings, importWarning{r.message(code, args), code, k.reportName(), uid})
}

func (r *reporter) isInvalid(k kind, uid string) bool { return r.invalid[k][uid] }

// objectsInError counts the objects that errors name, whatever their kind.
func (r *reporter) objectsInError() int {
	uids := map[string]bool{}
	for _, e := range r.errors {
		uids[e.UID] = true
	}
	return len(uids)
}

// objectsInErrorOf counts the objects of one kind that errors name.
func (r *reporter) objectsInErrorOf(k kind) int {
	uids := map[string]bool{}
	for _, e := range r.errors {
		if e.TrackerType == k.reportName() {
			uids[e.UID] = true
		}
	}
	return len(uids)
}

// absent is an argument that is null in the report.
const absent = "\x00null"

// message says in words what a code means for its arguments.
func (r *reporter) message(code string, args []string) string {
	message := r.texts[code]
	if message == "" {
		message = "Refused with " + code + "."
	}
	for i, arg := range args {
		message = strings.ReplaceAll(message, fmt.Sprintf("{%d}", i), strings.Replace(arg, absent, "null", 1))
	}
	return message
}

// trackerJob is one asynchronous import.
type trackerJob struct {
	uid    string
	log    []object // newest first, as the API shows it
	report *importReport
}

// note adds a line to a job's log.
func (s *Server) note(job *trackerJob, level, message string, completed bool) {
	uid := newUID()
	job.log = slices.Insert(job.log, 0, object{
		"uid": uid, "id": uid, "level": level, "category": "TRACKER_IMPORT_JOB", "time": s.timestamp(s.now()),
		"message": message, "completed": completed,
	})
}

// startImport queues an import and answers with its job.
func (s *Server) startImport(w http.ResponseWriter, r *http.Request, caller *account, in *payload, p importParams) {
	started := &trackerJob{uid: newUID()}
	s.tracker.reports[started.uid] = started
	s.note(started, "INFO", "Tracker import started", false)
	s.later(job{run: func() {
		report := s.importTracker(caller, in, p)
		for i := range report.Validation.Warnings {
			// DHIS2 stores a job's report under one name of this field and reads it under another.
			report.Validation.Warnings[i].WarningCode = ""
		}
		started.report = report
		level := "INFO"
		if report.Status == "ERROR" {
			level = "ERROR"
		}
		s.note(started, level, fmt.Sprintf("Import complete with status %s", report.Status), true)
	}, failed: func() {
		started.report = nil
		s.note(started, "ERROR", "Import failed: could not open JPA EntityManager for transaction", true)
	}})
	location := baseURL(r) + "/tracker/jobs/" + started.uid
	response := object{"id": started.uid, "location": location, "responseType": "TrackerJob"}
	if s.minor == 41 {
		location = baseURL(r) + "/api/tracker/jobs/" + started.uid
		response = object{"id": started.uid, "location": location}
	}
	w.Header().Set("Location", location)
	writeMessage(w, http.StatusOK, "OK", "Tracker job added", response)
}

// serveJob answers with a job's log; of an unknown job it is empty.
func (s *Server) serveJob(w http.ResponseWriter, r *http.Request, _ *account) {
	log := []object{}
	if job := s.tracker.reports[r.PathValue("uid")]; job != nil {
		log = job.log
	}
	w.Header().Set("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate")
	writeJSON(w, http.StatusOK, log)
}

func (s *Server) serveJobReport(w http.ResponseWriter, r *http.Request, _ *account) {
	mode := strings.ToUpper(cmp.Or(r.URL.Query().Get("reportMode"), "ERRORS"))
	job := s.tracker.reports[r.PathValue("uid")]
	switch {
	case !slices.Contains([]string{"ERRORS", "WARNINGS", "FULL"}, mode):
		writeError(w, http.StatusBadRequest, "", "Value '"+mode+"' is not valid for parameter reportMode.")
	case job == nil || job.report == nil:
		writeError(w, http.StatusNotFound, "E1005", "Summary for job "+r.PathValue("uid")+" does not exist")
	default:
		writeJSON(w, http.StatusOK, job.report.shown(mode))
	}
}

// importMessages are the texts of error and warning codes, with {0} and on for the arguments.
func importMessages() map[string]string {
	return map[string]string{
		"E1000": "User `{0}` may not write to organisation unit `{1}`.",
		"E1001": "User `{0}` may not write data of tracked entity type `{1}`.",
		"E1002": "Tracked entity `{0}` already exists.",
		"E1003": "User `{0}` may not write to tracked entity `{1}`.",
		"E1005": "Tracked entity type `{0}` could not be found.",
		"E1006": "Attribute `{0}` does not exist.",
		"E1007": "The value of an attribute of type `{0}` is not valid: {1}",
		"E1008": "Program stage `{0}` belongs to no program.",
		"E1009": "File resource `{0}` is assigned to another object already.",
		"E1010": "Program `{0}`, to which the event belongs, could not be found.",
		"E1011": "Organisation unit `{0}`, to which the event belongs, could not be found.",
		"E1012": "The geometry is not of feature type `{0}`.",
		"E1013": "Program stage `{0}`, to which the event belongs, could not be found.",
		"E1014": "Program `{0}` is without registration: nobody can be enrolled in it.",
		"E1015": "Tracked entity `{0}` already has an active enrollment in program `{1}`.",
		"E1016": "Tracked entity `{0}` was enrolled in program `{1}` before, which allows that once.",
		"E1018": "Attribute `{0}` is mandatory in program `{1}` and missing in enrollment `{2}`.",
		"E1019": "Only attributes of the program may be given with an enrollment, not `{0}`.",
		"E1020": "The enrollment date `{0}` lies in the future.",
		"E1021": "The incident date `{0}` lies in the future.",
		"E1022": "Tracked entity `{0}` is not of the type of program `{1}`.",
		"E1023": "The program shows an incident date and occurredAt is missing.",
		"E1025": "enrolledAt is missing.",
		"E1029": "Organisation unit `{0}` of the event is not assigned to program `{1}`.",
		"E1030": "Event `{0}` already exists.",
		"E1031": "occurredAt of the event is missing.",
		"E1032": "Event `{0}` does not exist.",
		"E1033": "Event `{0}` names no enrollment.",
		"E1039": "Program stage `{0}` is not repeatable and has an event already.",
		"E1041": "Organisation unit `{0}` of the enrollment is not assigned to program `{1}`.",
		"E1042": "Event `{0}` needs a completion date.",
		"E1043": "Event `{0}` was completed too long ago to be changed.",
		"E1046": "Event `{0}` needs a date of occurrence or a scheduled date.",
		"E1047": "The date of event `{0}` lies in a period that has expired.",
		"E1048": "`{0}` has not the form of a uid.",
		"E1049": "Organisation unit `{0}`, to which the tracked entity belongs, could not be found.",
		"E1050": "scheduledAt of the event is missing.",
		"E1051": "Event `{0}` must have no completedAt while its status is `{1}`.",
		"E1052": "Enrollment `{0}` must have no completedAt while its status is `{1}`.",
		"E1054": "Attribute option combo `{0}` is not in category combo `{1}` of the program.",
		"E1055": "The default attribute option combo is not allowed: the program has a category combo of its own.",
		"E1056": "The event's date `{0}` lies before the start `{1}` of category option `{2}`.",
		"E1057": "The event's date `{0}` lies after the end `{1}` of category option `{2}` in program `{3}`.",
		"E1063": "Tracked entity `{0}` does not exist.",
		"E1064": "The value `{0}` of attribute `{1}` is taken.",
		"E1068": "Tracked entity `{0}`, to which the enrollment belongs, could not be found.",
		"E1069": "Program `{0}`, to which the enrollment belongs, could not be found.",
		"E1070": "Organisation unit `{0}`, to which the enrollment belongs, could not be found.",
		"E1074": "There is a geometry but no feature type.",
		"E1075": "Attribute `{0}` has no uid.",
		"E1076": "{0} `{1}` is mandatory and cannot be emptied.",
		"E1077": "The value `{0}` is longer than {1} characters.",
		"E1079": "The program `{1}` of event `{0}` is not that of enrollment `{2}`.",
		"E1080": "Enrollment `{0}` already exists.",
		"E1081": "Enrollment `{0}` does not exist.",
		"E1082": "Event `{0}` was deleted and cannot be changed.",
		"E1083": "User `{0}` may not reopen completed events.",
		"E1089": "Program stage `{1}` of event `{0}` does not belong to program `{2}`.",
		"E1090": "Attribute `{0}` is mandatory in tracked entity type `{1}` and missing in tracked entity `{2}`.",
		"E1091": "User `{0}` may not write data of program `{1}`.",
		"E1095": "User `{0}` may not write data of program stage `{1}`.",
		"E1096": "User `{0}` may not read data of program `{1}`.",
		"E1099": "User `{0}` may not write with category option `{1}`.",
		"E1100": "User `{0}` lacks the authority F_TEI_CASCADE_DELETE to delete tracked entity `{1}`.",
		"E1102": "User `{0}` has no access to tracked entity `{1}` in program `{2}`.",
		"E1103": "User `{0}` lacks the authority F_ENROLLMENT_CASCADE_DELETE to delete enrollment `{1}`.",
		"E1104": "User `{0}` may not read data of program `{1}`, tracked entity type `{2}`.",
		"E1112": "The value `{0}` is confidential and encryption is not set up: `{1}`.",
		"E1113": "Enrollment `{0}` was deleted and cannot be changed.",
		"E1114": "Tracked entity `{0}` was deleted and cannot be changed.",
		"E1115": "Category option combo `{0}` could not be found.",
		"E1116": "Category option `{0}` could not be found.",
		"E1117": "`{0}` has no category option combo of the options `{1}`.",
		"E1118": "User `{0}` cannot be assigned.",
		"E1119": "A note with uid `{0}` already exists.",
		"E1120": "Program stage `{0}` does not allow users to be assigned.",
		"E1121": "The tracked entity's `{0}` is missing.",
		"E1122": "The enrollment's `{0}` is missing.",
		"E1123": "The event's `{0}` is missing.",
		"E1124": "The relationship's `{0}` is missing.",
		"E1125": "`{0}` is not a code of option set `{1}`.",
		"E1126": "A tracked entity's {0} cannot be changed.",
		"E1127": "An enrollment's {0} cannot be changed.",
		"E1128": "An event's {0} cannot be changed.",
		"E1130": "Attribute option combo `{0}` is not in category combo `{1}` of the program's enrollments.",
		"E1300": "Program rule `{0}`: {1}",
		"E1301": "Program rule `{0}`: data element `{1}` is mandatory and missing.",
		"E1302": "The value of a data element of type `{0}` is not valid: {1}",
		"E1303": "Data element `{0}` is mandatory and missing.",
		"E1304": "Data element `{0}` could not be found.",
		"E1305": "Data element `{0}` is not part of program stage `{1}`.",
		"E1306": "Program rule `{0}`: attribute `{1}` is mandatory and missing.",
		"E1307": "Program rule `{0}`: data element `{1}` must be empty or have the value `{2}`.",
		"E1308": "Program rule `{0}`: data element `{1}` was set in event `{2}`.",
		"E1309": "Program rule `{0}`: attribute `{1}` must be empty or have the value `{2}`.",
		"E1310": "Program rule `{0}`: attribute `{1}` was set in tracked entity `{2}`.",
		"E1313": "The enrollment of event `{0}` names no tracked entity.",
		"E1314": "Program rule `{0}`: data element `{1}` is mandatory and cannot be emptied.",
		"E1315": "Status `{0}` allows no data values; these do: {1}.",
		"E1316": "An event cannot go from status `{0}` to status `{1}`.",
		"E1317": "Program rule `{0}`: attribute `{1}` is mandatory and cannot be emptied.",
		"E1318": "An event of an event program cannot have status `{0}`.",
		"E1326": "Event `{0}` is completed, and its program stage allows no changes then.",
		"E4000": "Relationship `{0}` links something to itself.",
		"E4001": "The `{0}` of relationship `{1}` must name exactly one tracked entity, enrollment or event.",
		"E4006": "Relationship type `{0}` could not be found.",
		"E4010": "The `{0}` of the relationship type requires a {1}, not a {2}.",
		"E4012": "The {0} `{1}`, to which the relationship leads, could not be found.",
		"E4014": "The `{0}` of the relationship type requires tracked entity type `{1}`, not `{2}`.",
		"E4015": "Relationship `{0}` already exists.",
		"E4016": "Relationship `{0}` does not exist.",
		"E4017": "Relationship `{0}` was deleted and cannot be changed.",
		"E4018": "Relationship `{0}` from {1} `{2}` to {3} `{4}` already exists.",
		"E4020": "User `{0}` may not write to relationship `{1}`.",
		"E5000": "{0} `{1}` cannot be created, because {2} `{3}` to which it refers could not be.",
	}
}
