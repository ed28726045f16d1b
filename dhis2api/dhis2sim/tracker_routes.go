package dhis2sim

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// trackerRoutes serves tracker data: import and its jobs, lists and single objects, files, notes, ownership
// and potential duplicates.
func (s *Server) trackerRoutes() {
	s.handle("POST /api/tracker", s.serveImport)
	s.handle("GET /api/tracker/jobs/{uid}", s.serveJob)
	s.handle("GET /api/tracker/jobs/{uid}/report", s.serveJobReport)

	s.handle("GET /api/tracker/trackedEntities", s.listEntities)
	s.handle("GET /api/tracker/trackedEntities/{uid}", s.showEntity)
	s.handle("GET /api/tracker/enrollments", s.listEnrollments)
	s.handle("GET /api/tracker/enrollments/{uid}", s.showEnrollment)
	s.handle("GET /api/tracker/events", s.listEvents("events", nil))
	s.handle("GET /api/tracker/events/{uid}", s.showEvent(nil))
	if s.minor >= 43 {
		single, ofEntities := true, false
		s.handle("GET /api/tracker/singleEvents", s.listEvents("singleEvents", &single))
		s.handle("GET /api/tracker/singleEvents/{uid}", s.showEvent(&single))
		s.handle("GET /api/tracker/trackerEvents", s.listEvents("trackerEvents", &ofEntities))
		s.handle("GET /api/tracker/trackerEvents/{uid}", s.showEvent(&ofEntities))
	}
	s.handle("GET /api/tracker/relationships", s.listRelationships)
	s.handle("GET /api/tracker/relationships/{uid}", s.showRelationship)

	for _, form := range []string{"file", "image"} {
		s.handle("GET /api/tracker/trackedEntities/{uid}/attributes/{value}/"+form, s.serveAttributeFile)
		s.handle("GET /api/tracker/events/{uid}/dataValues/{value}/"+form, s.serveDataValueFile)
	}
	s.handle("POST /api/tracker/enrollments/{uid}/note", s.addNote(kindEnrollment))
	s.handle("POST /api/tracker/events/{uid}/note", s.addNote(kindEvent))

	s.handle("PUT /api/tracker/ownership/transfer", s.transferOwnership)
	s.handle("POST /api/tracker/ownership/override", s.overrideOwnership)

	s.handle("GET /api/potentialDuplicates", s.listDuplicates)
	s.handle("GET /api/potentialDuplicates/{uid}", s.showDuplicate)
	s.handle("POST /api/potentialDuplicates", s.addDuplicate)
	s.handle("PUT /api/potentialDuplicates/{uid}", s.changeDuplicate)
	s.handle("POST /api/potentialDuplicates/{uid}/merge", s.mergeDuplicate)
}

// showEntity answers with one tracked entity. With a program it shows what belongs to that, and its owner
// there says who may see it.
func (s *Server) showEntity(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	p := q.programOfEntity(q.uid("program", ""))
	e := q.findEntity(r.PathValue("uid"), p)
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	view := s.newTrackerView(q.access)
	shown := view.shownAttributes(p)
	if s.minor == 41 {
		shown = map[string]bool{}
		for _, member := range members(s.object("trackedEntityTypes", e.entityType)["trackedEntityTypeAttributes"]) {
			shown[member.uid] = true
		}
		if p != nil {
			maps.Copy(shown, view.programAttributes(p.uid))
		}
	}
	if p != nil {
		view.program = p.uid
	}
	view.entity(e, q.fields("*,!relationships,!enrollments,!events,!programOwners"), shown, alone)
	view.send(w)
}

// programOfEntity is the program through which one tracked entity is asked for.
func (q *trackerQuery) programOfEntity(uid string) *program {
	o := q.server.object("programs", uid)
	switch {
	case uid == "":
		return nil
	case o == nil || text(o["programType"]) != "WITH_REGISTRATION" && q.minor >= 43:
		q.refuse(&refusal{http.StatusNotFound, "E1005", "Program with id " + uid + " could not be found."})
		return nil
	case text(o["programType"]) != "WITH_REGISTRATION":
		q.refuse(&refusal{http.StatusBadRequest, "", "Program is not a tracker program: " + uid})
		return nil
	}
	return q.trackerProgram(uid)
}

// findEntity is the tracked entity that the caller sees through a program, or through any where p is nil. It
// refuses what is not there. Since 2.42 this is a search in the caller's search scope, for superusers too,
// and finds through a program only who is enrolled there.
func (q *trackerQuery) findEntity(uid string, p *program) *trackedEntity {
	e := q.store.entities[uid]
	switch {
	case !isUID(uid):
		q.refuse(malformed("uid", uid, "a uid"))
	case q.refused != nil:
	case q.minor == 41:
		if e == nil || e.deleted {
			q.refuse(notThere(kindEntity, uid))
		} else if p == nil && !q.mayReadEntity(e) || p != nil && (e.entityType != p.entityType || !q.mayReach(uid, ownerOf(e, p.uid), p)) {
			q.refuse(q.hidden(kindEntity, uid))
		}
	default:
		s := &entitySearch{
			trackerQuery: q, program: p, listed: map[string]bool{uid: true}, updated: anyTime(), enrollments: anyEnrollment(),
			scope: &unitScope{access: q.access, mode: "ACCESSIBLE", known: map[string]bool{}}, throughs: map[string][]*program{},
		}
		if p != nil {
			s.entityType = p.entityType
		}
		q.resolve(s.scope, p)
		if e == nil || !s.matches(e) {
			q.refuse(notThere(kindEntity, uid))
		}
	}
	return e
}

func (s *Server) showEnrollment(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	uid := r.PathValue("uid")
	e := s.tracker.enrollments[uid]
	switch {
	case !isUID(uid):
		q.refuse(malformed("uid", uid, "a uid"))
	case e == nil || e.deleted || e.trackedEntity == nil:
		q.refuse(notThere(kindEnrollment, uid))
	case !q.mayReadEnrollment(e):
		q.refuse(q.hidden(kindEnrollment, uid))
	}
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	view := s.newTrackerView(q.access)
	view.enrollment(e, q.fields("*,!relationships,!events,!attributes"), alone)
	view.send(w)
}

// hidden is how a version refuses what the caller may not see.
func (q *trackerQuery) hidden(k kind, uid string) *refusal {
	if q.minor == 41 {
		return forbidden("User has no access to %s %s", k.fieldName(), uid)
	}
	return notThere(k, uid)
}

// showEvent answers with one event; single limits it to those of event programs or to the others.
func (s *Server) showEvent(single *bool) handler {
	return func(w http.ResponseWriter, r *http.Request, caller *account) {
		q := s.trackerQuery(r, caller)
		uid := r.PathValue("uid")
		e := s.tracker.events[uid]
		switch {
		case !isUID(uid):
			q.refuse(malformed("uid", uid, "a uid"))
		case e == nil || e.deleted || single != nil && e.single != *single:
			q.refuse(notThere(kindEvent, uid))
		case !q.mayReadEvent(e):
			q.refuse(q.hidden(kindEvent, uid))
		}
		if q.refused != nil {
			refuse(w, q.refused)
			return
		}
		view := s.newTrackerView(q.access)
		view.ofOneKind = single != nil
		filter := q.fields("*,!relationships")
		if single != nil && *single {
			view.singleEvent(e, filter)
		} else {
			view.event(e, filter, alone)
		}
		view.send(w)
	}
}

// relationshipFields is what a relationship shows where nothing else is asked for.
const relationshipFields = "relationship,relationshipType,createdAtClient,from[trackedEntity[trackedEntity],enrollment[enrollment],event[event]]," +
	"to[trackedEntity[trackedEntity],enrollment[enrollment],event[event]]"

func (s *Server) showRelationship(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	uid := r.PathValue("uid")
	found := s.tracker.relationships[uid]
	switch {
	case !isUID(uid):
		q.refuse(malformed("uid", uid, "a uid"))
	case found == nil || found.deleted:
		q.refuse(notThere(kindRelationship, uid))
	case !q.mayReadRelationship(found):
		q.refuse(q.hidden(kindRelationship, uid))
	}
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	view := s.newTrackerView(q.access)
	view.relationship(found, q.fields(relationshipFields))
	view.send(w)
}

// listRelationships answers with the relationships of one object.
func (s *Server) listRelationships(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	p := q.paging()
	deleted := q.isSet("includeDeleted")
	all := q.relationshipsOf(deleted)
	order := q.order("createdAt createdAtClient", false)
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	matches := func(r *relationship) bool {
		return (deleted || !r.deleted) && q.mayReadRelationship(r)
	}
	items := newestFirst(all)
	if len(order) > 0 {
		items = sorted(items, matches, order, func(r *relationship, field string) sortKey {
			if field == "createdAt" {
				return timeKey(r.created)
			}
			return timeKey(r.createdAtClient)
		}, func(r *relationship) int64 { return r.number })
	}
	found := take(items, matches, p, 0)
	view := s.newTrackerView(q.access)
	view.includeDeleted = deleted
	filter := q.fields(relationshipFields)
	q.writeList(w, view, "relationships", p, found.more, found.total, func(i int) bool {
		view.relationship(found.items[i], filter)
		return true
	}, len(found.items))
}

// relationshipsOf are the relationships that start or end at the one object that the request names.
func (q *trackerQuery) relationshipsOf(deleted bool) (all []*relationship) {
	entity, enrolled, happened := q.uid("trackedEntity", "tei"), q.uid("enrollment", ""), q.uid("event", "")
	given, of := 0, ""
	for _, uid := range []string{entity, enrolled, happened} {
		if uid != "" {
			given++
			of = uid
		}
	}
	if given != 1 {
		q.refuse(badRequest("Exactly one of 'trackedEntity', 'enrollment' or 'event' is required."))
		return nil
	}
	k := kindEntity
	exists, readable := false, false
	switch {
	case entity != "":
		if e := q.store.entities[entity]; e != nil && (deleted || !e.deleted) {
			exists, readable, all = true, q.mayReadEntity(e), e.relationships
		}
	case enrolled != "":
		k = kindEnrollment
		if e := q.store.enrollments[enrolled]; e != nil && (deleted || !e.deleted) {
			exists, readable, all = true, q.mayReadEnrollment(e), e.relationships
		}
	default:
		k = kindEvent
		if e := q.store.events[happened]; e != nil && (deleted || !e.deleted) {
			exists, readable, all = true, q.mayReadEvent(e), e.relationships
		}
	}
	switch {
	case !exists:
		q.refuse(notThere(k, of))
	case !readable:
		q.refuse(forbidden("User has no access to %s %s", k.fieldName(), of))
	}
	return all
}

// serveAttributeFile answers with the file to which an attribute value refers.
func (s *Server) serveAttributeFile(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	e := s.tracker.entities[r.PathValue("uid")]
	if e == nil || e.deleted || !q.mayReadEntity(e) {
		refuse(w, notThere(kindEntity, r.PathValue("uid")))
		return
	}
	value, _ := e.value(r.PathValue("value"))
	s.sendFile(w, value)
}

// serveDataValueFile answers with the file to which a data value refers.
func (s *Server) serveDataValueFile(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	e := s.tracker.events[r.PathValue("uid")]
	if e == nil || e.deleted || !q.mayReadEvent(e) {
		refuse(w, notThere(kindEvent, r.PathValue("uid")))
		return
	}
	value, _ := e.value(r.PathValue("value"))
	s.sendFile(w, value)
}

// sendFile answers with the bytes of a file.
func (s *Server) sendFile(w http.ResponseWriter, uid string) {
	file := s.file(uid)
	if file == nil {
		writeError(w, http.StatusNotFound, "E1005", "There is no file for this value.")
		return
	}
	if file.content == nil {
		writeError(w, http.StatusConflict, "E1004", "The content is being processed and is not available yet. Try again later.")
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(file.content)))
	w.Header().Set("Content-Type", text(file.record["contentType"]))
	w.Header().Set("Content-Disposition", "filename="+strings.ReplaceAll(text(file.record["name"]), "\n", ""))
	w.Header().Set("ETag", `"`+uid+`"`)
	w.Header().Set("Cache-Control", "no-cache, private")
	_, _ = w.Write(file.content)
}

// addNote adds a note to an enrollment or event.
func (s *Server) addNote(k kind) handler {
	return func(w http.ResponseWriter, r *http.Request, caller *account) {
		q := s.trackerQuery(r, caller)
		body, err := readJSON(r.Body)
		sent, ok := body.(object)
		value := text(sent["value"])
		uid := text(sent["note"])
		switch {
		case err != nil || !ok:
			q.refuse(malformed("body", "", "a note"))
		case value == "":
			q.refuse(badRequest("Value cannot be empty"))
		case uid != "" && s.tracker.notes[uid]:
			q.refuse(badRequest("Note `%s` already exists.", uid))
		}
		var notes *[]note
		var noted any
		switch k {
		case kindEnrollment:
			if e := s.tracker.enrollments[r.PathValue("uid")]; e != nil && !e.deleted && q.mayReadEnrollment(e) {
				notes, noted = &e.notes, e
			}
		case kindEvent:
			if e := s.tracker.events[r.PathValue("uid")]; e != nil && !e.deleted && q.mayReadEvent(e) {
				notes, noted = &e.notes, e
			}
		}
		if notes == nil {
			q.refuse(notThere(k, r.PathValue("uid")))
		}
		if q.refused != nil {
			refuse(w, q.refused)
			return
		}
		n := note{
			number: s.tracker.nextNumber(), uid: string(uidOr(looseText(uid))), value: value, storedBy: text(sent["storedBy"]), stored: s.tracker.tick(s.now()),
			createdBy: s.tracker.person(caller.person()),
		}
		s.tracker.notes[n.uid] = true
		*notes = append(*notes, n)
		s.changed.note(noted)
		sent["note"] = n.uid
		writeJSON(w, http.StatusOK, sent)
	}
}
