package dhis2sim

import (
	"net/http"
	"slices"
)

// changeMembers serves POST, PUT and DELETE below /api/CLASS/UID: LIST/MEMBER, or LIST with a body that names
// the members.
func (s *Server) changeMembers(w http.ResponseWriter, r *http.Request, class string, o object, path []string, caller *account) {
	if !mayUpdate(caller, class, o) {
		refuseMetadata(w)
		return
	}
	property := path[0]
	members := referredClass(class, property)
	if members == "" {
		notFoundPage(w, r)
		return
	}
	var added, removed []string
	if len(path) == 2 {
		added = path[1:]
	} else {
		body, ok := readObject(w, r)
		if !ok {
			return
		}
		added = append(refUIDs(body["additions"]), refUIDs(body["identifiableObjects"])...)
		removed = refUIDs(body["deletions"])
	}
	switch r.Method {
	case http.MethodDelete:
		added, removed = nil, append(removed, added...)
	case http.MethodPut:
		for _, uid := range refUIDs((viewer{Server: s}).property(class, o, property)) {
			if !slices.Contains(added, uid) {
				removed = append(removed, uid)
			}
		}
	}
	unknown := func(uid string) bool { return s.object(members, uid) == nil } // they are not even counted
	added, removed = slices.DeleteFunc(added, unknown), slices.DeleteFunc(removed, unknown)
	report := classReport{ObjectReports: []objectErrors{}}
	for _, uid := range added {
		if s.setMember(class, text(o["id"]), property, uid, true) {
			report.Stats.add(metadataStats{Updated: 1})
		} else {
			report.Stats.add(metadataStats{Ignored: 1})
		}
	}
	for _, uid := range removed {
		if s.setMember(class, text(o["id"]), property, uid, false) {
			report.Stats.add(metadataStats{Deleted: 1})
		} else {
			report.Stats.add(metadataStats{Ignored: 1})
		}
	}
	writeMessage(w, http.StatusOK, "OK", "", struct {
		classReport
		Status       string `json:"status"`
		ResponseType string `json:"responseType"`
	}{report, "OK", "TypeReport"})
}

// setMember puts an object into another's list or takes it out, and tells whether that changed anything.
func (s *Server) setMember(class, uid, property, member string, in bool) bool {
	if from, ok := inverses[class][property]; ok { // the other side keeps the list
		class, uid, property, member = from.class, member, from.property, uid
	}
	o := s.object(class, uid)
	if o == nil || slices.Contains(refUIDs(o[property]), member) == in {
		return false
	}
	if singulars[property] != "" || property == "parent" {
		s.change(class, uid, property, map[bool]any{true: reference(member)}[in])
		s.placeUnits()
		return true
	}
	kept := slices.DeleteFunc(slices.Clone(list(o[property])), func(item any) bool { return refUID(item) == member })
	if in {
		kept = append(kept, reference(member))
	}
	s.change(class, uid, property, kept)
	for _, f := range families {
		if f.parents != class || f.list != property {
			continue
		}
		if in {
			s.change(f.children, member, f.parent, reference(uid))
		} else {
			s.change(f.children, member, f.parent, nil)
		}
	}
	return true
}
