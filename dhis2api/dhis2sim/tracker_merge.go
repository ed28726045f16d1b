package dhis2sim

import (
	"net/http"
	"slices"
	"strings"
)

// mergeDuplicate answers POST /api/potentialDuplicates/UID/merge: the duplicate's attribute values, relationships and
// enrollments go to the original, and the duplicate is deleted with all that is left in it. AUTO takes what the original
// lacks, and refuses where the two differ or are in the same program; MANUAL takes what the body names (DHIS2 2.41 to 2.43).
func (s *Server) mergeDuplicate(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	d := s.duplicate(r.PathValue("uid"))
	if d == nil {
		refuse(w, noDuplicate(r.PathValue("uid")))
		return
	}
	strategy := q.choice("mergeStrategy", "AUTO", "AUTO", "MANUAL")
	m := merging{store: s.tracker, original: q.findEntity(d.original, nil), duplicate: q.findEntity(d.duplicate, nil)}
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	var no string
	if strategy == "MANUAL" {
		body, _ := readJSON(r.Body)
		sent, _ := body.(object)
		no = m.manual(texts(sent["trackedEntityAttributes"]), texts(sent["relationships"]), texts(sent["enrollments"]))
	} else {
		no = m.automatic()
	}
	switch {
	case no != "":
		q.refuse(&refusal{http.StatusConflict, "", no})
	case !caller.may("F_TRACKED_ENTITY_MERGE"):
		q.refuse(&refusal{http.StatusForbidden, "", "Insufficient access: Missing required authority for merging tracked entities."})
	}
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	now := s.tracker.tick(s.now())
	m.carryOut(s.tracker.person(caller.person()), now)
	d.status, d.updated = "MERGED", now
	s.changed.note(d)
	w.WriteHeader(http.StatusOK)
}

// merging is what goes from a duplicate to its original.
type merging struct {
	store               *trackerStore
	original, duplicate *trackedEntity
	attributes          []string
	relationships       []*relationship
	enrollments         []*enrollment
}

// automatic takes all that the original lacks; it says why it cannot.
func (m *merging) automatic() string {
	const cannot = "PotentialDuplicate cannot be merged automatically: "
	if m.original.entityType != m.duplicate.entityType {
		return cannot + "Entities have different Tracked Entity Types."
	}
	for _, e := range m.duplicate.enrollments {
		if !e.deleted && m.enrolled(e.program) {
			return cannot + "Both entities enrolled in the same program."
		}
	}
	for _, v := range m.duplicate.attributes {
		switch held, has := m.original.value(v.attribute); {
		case has && held != v.value:
			return cannot + "Entities have conflicting values for the same attributes."
		case !has:
			m.attributes = append(m.attributes, v.attribute)
		}
	}
	for _, e := range m.duplicate.enrollments {
		if !e.deleted {
			m.enrollments = append(m.enrollments, e)
		}
	}
	for _, r := range m.duplicate.relationships {
		if !r.deleted && !m.between(r) && !m.tied(r) {
			m.relationships = append(m.relationships, r)
		}
	}
	return ""
}

// manual takes what is named; it says why it cannot.
func (m *merging) manual(attributes, relationships, enrollments []string) string {
	for _, uid := range attributes {
		if _, has := m.duplicate.value(uid); !has {
			return "Merging conflict: Duplicate has no attribute '" + uid + "'."
		}
	}
	m.attributes = attributes
	for _, uid := range relationships {
		i := slices.IndexFunc(m.duplicate.relationships, func(r *relationship) bool { return r.uid == uid && !r.deleted })
		if i < 0 {
			return "Merging conflict: Duplicate has no relationship '" + uid + "'."
		}
		m.relationships = append(m.relationships, m.duplicate.relationships[i])
	}
	for _, uid := range enrollments {
		i := slices.IndexFunc(m.duplicate.enrollments, func(e *enrollment) bool { return e.uid == uid && !e.deleted })
		if i < 0 {
			return "Merging conflict: Duplicate has no enrollment '" + uid + "'."
		}
		m.enrollments = append(m.enrollments, m.duplicate.enrollments[i])
	}
	for _, r := range m.relationships {
		if m.tied(r) {
			return "Merging conflict: Invalid relationship '" + r.uid + "'. A similar relationship already exists on original."
		}
	}
	for _, e := range m.enrollments {
		if m.enrolled(e.program) {
			return "Merging conflict: Invalid enrollment '" + e.program + "'. A similar enrollment already exists on original."
		}
	}
	for _, r := range m.relationships {
		if m.between(r) {
			return "Merging conflict: Invalid relationship '" + r.uid + "'. Relationship is between original and duplicate."
		}
	}
	return ""
}

// enrolled tells whether the original is in a program.
func (m *merging) enrolled(program string) bool {
	return slices.ContainsFunc(m.original.enrollments, func(e *enrollment) bool { return !e.deleted && e.program == program })
}

// between tells whether a relationship of the duplicate is one with the original.
func (m *merging) between(r *relationship) bool {
	return r.from.uid() == m.original.uid || r.to.uid() == m.original.uid
}

// tied tells whether the original has a similar relationship: of the type, with one of the ends.
func (m *merging) tied(r *relationship) bool {
	return slices.ContainsFunc(m.original.relationships, func(other *relationship) bool {
		same := other.from.uid() == r.from.uid() || other.to.uid() == r.to.uid()
		crossed := r.bidirectional && (other.from.uid() == r.to.uid() || other.to.uid() == r.from.uid())
		return !other.deleted && other.relationshipType == r.relationshipType && (same || crossed)
	})
}

// carryOut moves what goes and deletes the duplicate.
func (m *merging) carryOut(by *person, now instant) {
	t := m.store
	for _, attribute := range m.attributes {
		value, _ := m.duplicate.value(attribute)
		t.setValue(m.duplicate, attribute, "", "", now)
		t.setValue(m.original, attribute, value, by.username, now)
	}
	for _, r := range m.relationships {
		delete(t.relationshipsBy, r.key())
		for _, end := range []*relationshipItem{&r.from, &r.to} {
			if end.trackedEntity == m.duplicate {
				end.trackedEntity = m.original
			}
		}
		m.duplicate.relationships = slices.DeleteFunc(m.duplicate.relationships, func(other *relationship) bool { return other == r })
		m.original.relationships = append(m.original.relationships, r)
		t.relationshipsBy[r.key()] = r
		t.changed.note(r)
	}
	for _, e := range m.enrollments {
		e.moveTo(m.original)
		e.updated, e.updatedBy = now, by
		t.changed.note(e)
		if i := slices.IndexFunc(m.duplicate.owners, func(o programOwner) bool { return o.program == e.program }); i >= 0 {
			unit := m.duplicate.owners[i].unit
			m.duplicate.owners = slices.Delete(m.duplicate.owners, i, i+1)
			owned := programOwner{e.program, unit}
			t.byOwner[owned] = slices.DeleteFunc(t.byOwner[owned], func(other *trackedEntity) bool { return other == m.duplicate })
			t.setOwner(m.original, e.program, unit)
		}
	}
	t.deleteEntity(m.duplicate, by, now)
	m.original.updated, m.original.updatedBy = now, by
	t.changed.note(m.original)
}

// texts are the texts of a JSON list.
func texts(value any) []string {
	var all []string
	for _, item := range list(value) {
		if one := strings.TrimSpace(text(item)); one != "" {
			all = append(all, one)
		}
	}
	return all
}
