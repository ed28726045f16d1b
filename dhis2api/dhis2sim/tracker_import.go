package dhis2sim

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// strategy is what an import does to one object, or to all of them.
type strategy int

const (
	createAndUpdate strategy = iota
	create
	update
	remove
)

// importParams are the parameters of POST /api/tracker.
type importParams struct {
	async, validateOnly, objectByObject bool
	strategy                            strategy
	skipValidation, failFast, skipRules bool
	reportMode                          string
}

// parseImportParams reads the parameters; what is not among a parameter's values is an error, as in DHIS2.
func parseImportParams(r *http.Request) (p importParams, wrong string) {
	query := r.URL.Query()
	pick := func(name string, values ...string) int {
		value := query.Get(name)
		if value == "" {
			return 0
		}
		i := slices.Index(values, strings.ToUpper(value))
		if i < 0 && wrong == "" {
			wrong = "Value '" + value + "' is not valid for parameter " + name + ". Valid values are: [" + strings.Join(values, ", ") + "]"
		}
		return i
	}
	flag := func(name string, otherwise bool) bool {
		value := query.Get(name)
		if value == "" {
			return otherwise
		}
		b, err := strconv.ParseBool(value)
		if err != nil && wrong == "" {
			wrong = "Value '" + value + "' is not valid for parameter " + name + ". It should be of type boolean"
		}
		return b
	}
	p.async = flag("async", true)
	p.skipRules = flag("skipRuleEngine", false)
	flag("skipSideEffects", false)
	flag("skipPatternValidation", false)
	p.strategy = strategy(pick("importStrategy", "CREATE_AND_UPDATE", "CREATE", "UPDATE", "DELETE"))
	p.validateOnly = pick("importMode", "COMMIT", "VALIDATE") == 1
	p.objectByObject = pick("atomicMode", "ALL", "OBJECT") == 1
	pick("flushMode", "AUTO", "OBJECT")
	validation := pick("validationMode", "FULL", "FAIL_FAST", "SKIP")
	p.failFast, p.skipValidation = validation == 1, validation == 2
	modes := []string{"ERRORS", "WARNINGS", "FULL"}
	if i := pick("reportMode", modes...); i >= 0 {
		p.reportMode = modes[i]
	}
	for name := range query {
		if strings.HasSuffix(strings.ToLower(name), "idscheme") {
			pick(name, "UID") // the simulator knows no other
		}
	}
	return p, wrong
}

// serveImport answers POST /api/tracker.
func (s *Server) serveImport(w http.ResponseWriter, r *http.Request, caller *account) {
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		writeError(w, http.StatusUnsupportedMediaType, "", "Content-Type '"+kind+"' is not supported")
		return
	}
	params, wrong := parseImportParams(r)
	if wrong != "" {
		writeError(w, http.StatusBadRequest, "", wrong)
		return
	}
	body, _ := io.ReadAll(r.Body) // already in memory
	in, err := decodePayload(body, s.options.Zone, s.minor)
	if err != nil {
		writeError(w, http.StatusBadRequest, "", "JSON parse error: "+err.Error())
		return
	}
	if params.async {
		s.startImport(w, r, caller, in, params)
		return
	}
	report := s.importTracker(caller, in, params)
	status := http.StatusOK
	if report.Status == "ERROR" {
		status = http.StatusConflict
	}
	writeJSON(w, status, report.shown(params.reportMode))
}

// importer is one import.
type importer struct {
	*Server
	catalog *catalog
	caller  *account
	params  importParams
	in      *payload
	report  *reporter
	now     instant
	by      *person

	// The payload's objects by uid, for references among them.
	entities    map[string]*entityInput
	enrollments map[string]*enrollmentInput
	events      map[string]*eventInput
	taken       map[uniqueValue][]holder      // the payload's unique values that more than one tracked entity has
	byEntity    map[string][]*enrollmentInput // the payload's enrollments by tracked entity
	touched     map[*trackedEntity]bool       // whose time of change the commit brings up to date
}

// importTracker runs an import: preheat, preprocess, validate, rules, commit. It changes nothing before
// the commit.
func (s *Server) importTracker(caller *account, in *payload, params importParams) *importReport {
	i := &importer{
		Server: s, catalog: s.newCatalog(caller), caller: caller, params: params, in: in,
		report: newReporter(params.failFast), now: s.tracker.tick(s.now()),
		entities: map[string]*entityInput{}, enrollments: map[string]*enrollmentInput{}, events: map[string]*eventInput{},
		touched: map[*trackedEntity]bool{},
	}
	i.by = s.tracker.person(caller.person())
	i.preheat()
	sizes := [4]int{len(in.TrackedEntities), len(in.Enrollments), len(in.Events), len(in.Relationships)}
	i.preprocess()
	if !params.skipValidation || !caller.superuser() {
		i.validate()
		i.keepPersistable()
	}
	if !params.skipRules && params.strategy != remove {
		i.runRules()
		if !params.skipValidation || !caller.superuser() {
			i.keepPersistable()
		}
	}
	report := &importReport{Status: "OK", Validation: validationReport{i.report.errors, i.report.warnings}}
	if len(i.report.errors) > 0 && !params.objectByObject {
		report.Status = "ERROR"
		report.Stats.Ignored = sizes[0] + sizes[1] + sizes[2] + sizes[3]
		if s.minor >= 43 {
			report.Stats.Ignored = i.sizeAfter43()
		}
		report.Stats.sum()
		return report
	}
	if s.minor >= 43 {
		// Since 2.43 the sizes are counted after validation: what was dropped silently is in none of them.
		for _, k := range kinds() {
			sizes[k] = i.report.objectsInErrorOf(k) + i.count(k)
		}
	}
	report.Bundle = i.commit()
	for _, t := range report.Bundle.Types {
		report.Stats.add(t.Stats)
	}
	report.Stats.Ignored += i.report.objectsInError()
	report.Stats.sum()
	for _, k := range kinds() {
		if t := report.Bundle.Types[k.reportName()]; t != nil {
			t.Stats.Ignored = sizes[k] - t.Stats.Created - t.Stats.Updated - t.Stats.Deleted
			t.Stats.sum()
		}
	}
	return report
}

func (i *importer) count(k kind) int {
	return [...]int{len(i.in.TrackedEntities), len(i.in.Enrollments), len(i.in.Events), len(i.in.Relationships)}[k]
}

// sizeAfter43 is how many objects 2.43 says to have ignored when an import fails as a whole.
func (i *importer) sizeAfter43() int {
	size := 0
	for _, k := range kinds() {
		size += i.report.objectsInErrorOf(k) + i.count(k)
	}
	return size
}

// preheat finds what is stored of the payload's objects and decides what is done to each.
func (i *importer) preheat() {
	t := i.tracker
	decide := func(exists bool) strategy {
		switch {
		case i.params.strategy != createAndUpdate:
			return i.params.strategy
		case exists:
			return update
		}
		return create
	}
	for _, e := range i.in.TrackedEntities {
		e.stored = t.entities[string(e.UID)]
		e.strategy = decide(e.stored != nil)
		i.entities[string(e.UID)] = e
	}
	for _, e := range i.in.Enrollments {
		e.stored = t.enrollments[string(e.UID)]
		e.strategy = decide(e.stored != nil)
		i.enrollments[string(e.UID)] = e
	}
	for _, e := range i.in.Events {
		e.stored = t.events[string(e.UID)]
		e.single = i.isSingle(e)
		if i.minor >= 43 && e.stored != nil && e.stored.single != e.single {
			e.stored = nil // 2.43 keeps the two kinds of events apart
		}
		e.strategy = decide(e.stored != nil)
		i.events[string(e.UID)] = e
	}
	for _, r := range i.in.Relationships {
		r.stored = t.relationships[string(r.UID)]
		r.strategy = decide(r.stored != nil)
	}
	if i.params.strategy != remove {
		i.findSharedValues()
	}
}

// isSingle tells whether an event is one of an event program.
func (i *importer) isSingle(e *eventInput) bool {
	if e.stored != nil && (i.params.strategy == update || i.params.strategy == remove || i.minor < 43) {
		return e.stored.single
	}
	if p := i.catalog.program(string(e.Program)); p != nil {
		return !p.registration
	}
	if stage := i.catalog.programStage(string(e.ProgramStage)); stage != nil {
		if p := i.catalog.program(stage.program); p != nil {
			return !p.registration
		}
	}
	return false
}

// preprocess completes what may be left out. It does nothing to a deletion.
func (i *importer) preprocess() {
	if i.params.strategy == remove {
		return
	}
	i.dropDoubleRelationships()
	assignees := true
	for _, e := range i.in.Events {
		stage := i.catalog.programStage(string(e.ProgramStage))
		program := i.catalog.program(string(e.Program))
		switch {
		case e.Program == "" && stage != nil:
			e.Program = looseText(stage.program)
			i.catalog.forgetDetails(stage.program)
			program = i.catalog.program(stage.program)
		case e.ProgramStage == "" && program != nil && !program.registration && len(program.stages) > 0:
			e.ProgramStage = looseText(program.stages[0])
			stage = i.catalog.programStage(program.stages[0])
		}
		if e.Status == "VISITED" {
			e.Status = "ACTIVE"
		}
		if i.minor < 43 {
			of := program
			if stage != nil {
				of = i.catalog.program(stage.program)
			}
			if of != nil && !of.registration {
				e.Enrollment = looseText(i.tracker.hiddenEnrollment(of.uid, i.now).uid)
			}
		}
		if program != nil && e.AttributeOptionCombo == "" && len(e.options) > 0 {
			if combo := i.catalog.optionComboOf(program.categoryCombo, e.options); combo != nil {
				e.AttributeOptionCombo = looseText(combo.uid)
			}
		}
		// The assignees are completed up to the first event that has none: an oversight in 2.41 to 2.43.
		if e.AssignedUser == nil {
			assignees = false
		} else if assignees {
			i.completeAssignee(e.AssignedUser)
		}
	}
}

func (i *importer) completeAssignee(u *userInput) {
	if u.UID == "" {
		u.UID = looseText(text(i.userNamed(string(u.Username))["id"]))
	}
	if u.Username == "" {
		u.Username = looseText(text(i.object("users", string(u.UID))["username"]))
	}
}

// dropDoubleRelationships keeps the first of the payload's relationships of one type between the same ends.
func (i *importer) dropDoubleRelationships() {
	seen := map[relationshipKey]bool{}
	i.in.Relationships = slices.DeleteFunc(i.in.Relationships, func(r *relationshipInput) bool {
		kind := i.catalog.relationshipType(string(r.RelationshipType))
		from, to := r.From.ends(), r.To.ends()
		if kind == nil || len(from) != 1 || len(to) != 1 {
			return false
		}
		key := relationshipKey{kind.uid, from[0].uid, to[0].uid}
		double := seen[key] || kind.bidirectional && seen[key.inverse()]
		seen[key] = true
		return double
	})
}

// keepPersistable drops from the payload what is invalid and what hangs on something that will not exist.
func (i *importer) keepPersistable() {
	if i.params.strategy == remove {
		i.in.TrackedEntities = slices.DeleteFunc(i.in.TrackedEntities, func(e *entityInput) bool {
			return i.report.isInvalid(kindEntity, string(e.UID))
		})
		i.in.Enrollments = slices.DeleteFunc(i.in.Enrollments, func(e *enrollmentInput) bool {
			return i.report.isInvalid(kindEnrollment, string(e.UID))
		})
		i.in.Events = slices.DeleteFunc(i.in.Events, func(e *eventInput) bool { return i.report.isInvalid(kindEvent, string(e.UID)) })
		i.in.Relationships = slices.DeleteFunc(i.in.Relationships, func(r *relationshipInput) bool {
			return i.report.isInvalid(kindRelationship, string(r.UID))
		})
		return
	}
	var kept [4]map[string]bool
	for k := range kept {
		kept[k] = map[string]bool{}
	}
	// keep tells whether an object may be stored, and reports which of its parents it fails with.
	keep := func(k kind, uid string, parents ...trackerReference) bool {
		if i.report.isInvalid(k, uid) {
			return false
		}
		ok := true
		for _, parent := range parents {
			ok = ok && (kept[parent.kind][parent.uid] || i.isStored(parent))
		}
		if ok {
			kept[k][uid] = true
			return true
		}
		for _, parent := range parents {
			if i.report.isInvalid(parent.kind, parent.uid) {
				i.report.addError(k, uid, "E5000", []string{k.fieldName(), uid, parent.kind.fieldName(), parent.uid})
			}
		}
		return false
	}
	i.in.TrackedEntities = slices.DeleteFunc(i.in.TrackedEntities, func(e *entityInput) bool {
		return !keep(kindEntity, string(e.UID))
	})
	i.in.Enrollments = slices.DeleteFunc(i.in.Enrollments, func(e *enrollmentInput) bool {
		return !keep(kindEnrollment, string(e.UID), trackerReference{kindEntity, string(e.TrackedEntity)})
	})
	i.in.Events = slices.DeleteFunc(i.in.Events, func(e *eventInput) bool {
		if e.single && i.minor >= 43 {
			return !keep(kindEvent, string(e.UID))
		}
		return !keep(kindEvent, string(e.UID), trackerReference{kindEnrollment, string(e.Enrollment)})
	})
	i.in.Relationships = slices.DeleteFunc(i.in.Relationships, func(r *relationshipInput) bool {
		return !keep(kindRelationship, string(r.UID), append(r.From.ends(), r.To.ends()...)...)
	})
}

// isStored tells whether an object is in the store, be it deleted.
func (i *importer) isStored(r trackerReference) bool {
	switch r.kind {
	case kindEntity:
		return i.tracker.entities[r.uid] != nil
	case kindEnrollment:
		return i.tracker.enrollments[r.uid] != nil
	case kindEvent:
		return i.tracker.events[r.uid] != nil
	}
	return i.tracker.relationships[r.uid] != nil
}
