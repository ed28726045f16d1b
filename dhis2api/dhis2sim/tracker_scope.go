package dhis2sim

import "slices"

// unitScope is the org units that a request is about.
type unitScope struct {
	access
	mode  string
	roots []string        // units of the request, or the caller's where the mode says so
	known map[string]bool // answers given before
}

// scopeRules are how the kinds of objects differ in what they ask of org units.
type scopeRules struct {
	units, oldUnits, oldMode string // names of parameters
	listed                   bool   // uids are given: then no unit need be
	superusersAnywhere       bool   // a superuser may name units outside of the search scope
}

// scope reads org units and their mode. p is the program that is asked for, nil for none.
func (q *trackerQuery) scope(rules scopeRules, p *program) *unitScope {
	s := &unitScope{access: q.access, known: map[string]bool{}}
	s.roots = q.uids(rules.units, rules.oldUnits)
	s.mode = q.choice("orgUnitMode", rules.oldMode, "SELECTED", "CHILDREN", "DESCENDANTS", "ACCESSIBLE", "CAPTURE", "ALL")
	if s.mode == "" {
		s.mode = "ACCESSIBLE"
		if len(s.roots) > 0 {
			s.mode = "SELECTED"
		}
	}
	named := s.mode == "SELECTED" || s.mode == "CHILDREN" || s.mode == "DESCENDANTS"
	switch {
	case !named && len(s.roots) > 0:
		q.refuse(badRequest("%s cannot be set for org unit mode %s", rules.units, s.mode))
	case named && len(s.roots) == 0 && !rules.listed:
		q.refuse(badRequest("At least one org unit is required for org unit mode %s", s.mode))
	}
	for _, unit := range s.roots {
		switch {
		case q.unitPath(unit) == "":
			q.refuse(badRequest("Organisation unit does not exist: %s", unit))
		case !q.inSearch(unit) && !(rules.superusersAnywhere && q.caller.superuser()):
			q.refuse(forbidden("Organisation unit is not part of the search scope: %s", unit))
		}
	}
	q.resolve(s, p)
	return s
}

// resolve finds the roots of the modes that name the caller's units, and refuses a caller who has none.
func (q *trackerQuery) resolve(s *unitScope, p *program) {
	captured := p != nil && (p.accessLevel == "PROTECTED" || p.accessLevel == "CLOSED")
	switch {
	case s.mode == "ALL":
		if !q.caller.superuser() && !q.caller.may("F_TRACKED_ENTITY_INSTANCE_SEARCH_IN_ALL_ORGUNITS") {
			q.refuse(forbidden("User is not authorized to query across all organisation units"))
		}
	case (s.mode == "CAPTURE" || captured) && len(q.caller.captureUnits) == 0:
		q.refuse(forbidden("User needs to be assigned data capture org units"))
	case !captured && len(q.searchRoots()) == 0:
		q.refuse(forbidden("User needs to be assigned either search or data capture org units"))
	}
	switch s.mode {
	case "CAPTURE":
		s.roots = q.caller.captureUnits
	case "ACCESSIBLE":
		s.roots = q.searchRoots()
	}
}

// searchRoots are where the caller may search: the search scope, or the capture scope of who has none.
func (a access) searchRoots() []string {
	if len(a.caller.searchUnits) > 0 {
		return a.caller.searchUnits
	}
	return a.caller.captureUnits
}

// has tells whether a unit is one of the scope's.
func (s *unitScope) has(unit string) bool {
	in, ok := s.known[unit]
	if !ok {
		in = s.find(unit)
		s.known[unit] = in
	}
	return in
}

func (s *unitScope) find(unit string) bool {
	switch {
	case s.mode == "ALL" || len(s.roots) == 0:
		return true
	case s.mode == "SELECTED":
		return slices.Contains(s.roots, unit)
	case s.mode == "CHILDREN":
		return slices.Contains(s.roots, unit) || slices.Contains(s.roots, refUID(s.server.object("organisationUnits", unit)["parent"]))
	}
	return s.within(unit, s.roots)
}

// beyondCapture tells whether the scope reaches outside of the caller's capture scope: then a search must
// name enough attributes. With roots only, what is below them counts as they do.
func (s *unitScope) beyondCapture() bool {
	if s.mode == "CAPTURE" {
		return false
	}
	if s.mode == "ALL" {
		return !slices.ContainsFunc(s.server.objects("organisationUnits"), func(o object) bool {
			return refUID(o["parent"]) == "" && s.inCapture(text(o["id"]))
		})
	}
	searched := s.roots
	if s.mode == "CHILDREN" || s.mode == "DESCENDANTS" {
		// Only parents are kept: children are who names one.
		searched = nil
		for _, o := range s.server.objects("organisationUnits") {
			if slices.Contains(s.roots, refUID(o["parent"])) {
				searched = append(searched, text(o["id"]))
			}
		}
	}
	return slices.ContainsFunc(searched, func(unit string) bool { return !s.inCapture(unit) })
}
