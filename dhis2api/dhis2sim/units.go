package dhis2sim

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// unitPath is an org unit's path, "/ROOT/.../UID", empty for an unknown unit.
func (s *Server) unitPath(uid string) string {
	return text(s.object("organisationUnits", uid)["path"])
}

// unitWithin tells whether a unit is one of the roots or lies below one.
func (s *Server) unitWithin(uid string, roots []string) bool {
	path := s.unitPath(uid)
	for _, root := range roots {
		if path != "" && (uid == root || strings.Contains(path, "/"+root+"/")) {
			return true
		}
	}
	return false
}

// placeUnits works out the paths of all org units, and the levels of those that were just stored: DHIS2 leaves
// those of units below one that moved as they were.
func (s *Server) placeUnits() {
	paths := map[string]string{}
	var path func(uid string) string
	path = func(uid string) string {
		if known, ok := paths[uid]; ok {
			return known
		}
		unit := s.object("organisationUnits", uid)
		if unit == nil {
			return ""
		}
		paths[uid] = "/" + uid // a unit that lies below itself ends here
		paths[uid] = path(refUID(unit["parent"])) + "/" + uid
		return paths[uid]
	}
	for _, unit := range slices.Clone(s.objects("organisationUnits")) {
		uid := text(unit["id"])
		at := path(uid)
		if at != unit["path"] {
			s.change("organisationUnits", uid, "path", at)
		}
		if unit["level"] == nil {
			s.change("organisationUnits", uid, "level", strings.Count(at, "/"))
		}
	}
}

// unitsAround are the units that a request for one unit asks for besides or instead of it: its children, all
// below it, all above it or those some levels down. Nil when it asks for the unit alone.
func (s *Server) unitsAround(unit object, parameters url.Values) []object {
	uid, level := text(unit["id"]), number(unit["level"])
	down, levelErr := strconv.ParseInt(parameters.Get("level"), 10, 64)
	path := strings.Split(text(unit["path"]), "/")
	wanted := map[string]func(other object) bool{
		"includeChildren":    func(other object) bool { return other["id"] == uid || refUID(other["parent"]) == uid },
		"includeDescendants": func(other object) bool { return s.unitWithin(text(other["id"]), []string{uid}) },
		"includeAncestors":   func(other object) bool { return slices.Contains(path, text(other["id"])) },
	}
	for name, belongs := range wanted {
		if parameters.Get(name) == "true" {
			return filterObjects(s.objects("organisationUnits"), belongs)
		}
	}
	if levelErr != nil {
		return nil
	}
	return filterObjects(s.objects("organisationUnits"), func(other object) bool {
		return number(other["level"]) == level+down && s.unitWithin(text(other["id"]), []string{uid})
	})
}

// unitsListed cuts a list of units by the parameters that only units have.
func unitsListed(units []object, parameters url.Values, caller *account) []object {
	if level, err := strconv.ParseInt(parameters.Get("level"), 10, 64); err == nil {
		units = filterObjects(units, func(unit object) bool { return number(unit["level"]) == level })
	}
	if level, err := strconv.ParseInt(parameters.Get("maxLevel"), 10, 64); err == nil {
		units = filterObjects(units, func(unit object) bool { return number(unit["level"]) <= level })
	}
	if parameters.Get("userOnly") == "true" {
		units = filterObjects(units, func(unit object) bool { return slices.Contains(caller.captureUnits, text(unit["id"])) })
	}
	return units
}

func filterObjects(objects []object, keep func(object) bool) []object {
	return slices.DeleteFunc(slices.Clone(objects), func(o object) bool { return !keep(o) })
}
