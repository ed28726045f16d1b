package dhis2sim

import (
	"net/http"
	"slices"
	"time"
)

// temporaryOwnership is for how long a broken glass stays broken.
const temporaryOwnership = 3 * time.Hour

// complete tells whether the parameters that a request about ownership needs are there; it answers itself
// where one is missing, as the servlet container does. 2.41 names the tracked entity otherwise.
func (q *trackerQuery) complete(w http.ResponseWriter, names ...string) bool {
	for _, name := range names {
		if q.Get(name) != "" {
			continue
		}
		if q.minor == 41 {
			w.WriteHeader(http.StatusBadRequest)
		} else {
			writePage(w, http.StatusBadRequest)
		}
		return false
	}
	return true
}

// transferOwnership answers PUT /api/tracker/ownership/transfer: another unit becomes the owner of a tracked
// entity in a program. Its enrollments stay where they are.
func (s *Server) transferOwnership(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	names := []string{"trackedEntity", "program"}
	switch s.minor {
	case 41:
		names = []string{"trackedEntityInstance", "program", "ou"}
	case 43:
		names = append(names, "orgUnit")
	}
	entity := q.uid(names[0], "")
	if q.refused == nil && !q.complete(w, names...) {
		return
	}
	p := q.programOfEntity(q.uid("program", ""))
	unit := q.uid("ou", "")
	if s.minor >= 42 {
		newer := q.uid("orgUnit", "")
		if s.minor == 42 && (unit == "") == (newer == "") {
			q.refuse(badRequest("Exactly one of 'ou' and 'orgUnit' must be specified."))
		}
		if newer != "" {
			unit = newer
		}
	}
	e := q.findEntity(entity, p)
	switch {
	case q.refused != nil:
	case q.unitPath(unit) == "":
		writeMessage(w, http.StatusOK, "OK", "Ownership transferred", nil) // DHIS2 does nothing then, and says so
		return
	case !q.inSearch(unit):
		q.refuse(forbidden("Tracked entity not transferred. Org unit supplied is not in the user scope."))
	case !q.mayReach(e.uid, ownerOf(e, p.uid), p):
		q.refuse(forbidden("User does not have access to change ownership for the entity-program combination"))
	case !p.units[unit]:
		q.refuse(forbidden("The program %s is not associated to the org unit %s", p.uid, unit))
	case !s.mayWriteData(caller, p.object):
		q.refuse(forbidden("Current user doesn't have data write access to the provided program %s.", p.uid))
	case s.minor >= 43 && e.owner(p.uid) == unit:
		q.refuse(badRequest("Tracked entity not transferred. The owner of the tracked entity %s and program %s is already %s", e.uid, p.uid, unit))
	}
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	if owner := e.owner(p.uid); owner != "" && owner != unit {
		s.tracker.setOwner(e, p.uid, unit)
	}
	writeMessage(w, http.StatusOK, "OK", "Ownership transferred", nil)
}

// overrideOwnership answers POST /api/tracker/ownership/override: it breaks the glass of a protected program
// for three hours. Superusers need none broken.
func (s *Server) overrideOwnership(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	name := "trackedEntity"
	if s.minor == 41 {
		name = "trackedEntityInstance"
	}
	uid := q.uid(name, "")
	if q.refused == nil && !q.complete(w, name, "program", "reason") {
		return
	}
	e, p := s.tracker.entities[uid], q.catalog.program(q.uid("program", ""))
	switch {
	case s.minor >= 43 && (e == nil || e.deleted):
		q.refuse(notThere(kindEntity, uid))
	case p == nil || e == nil || e.deleted || caller.superuser() || !p.registration || p.accessLevel != "PROTECTED" || e.entityType != p.entityType:
		q.refuse(forbidden("Temporary ownership not created: it needs a tracked entity, a PROTECTED program of its type, and a user who is no superuser."))
	case !q.inSearch(ownerOf(e, p.uid)):
		q.refuse(forbidden("Temporary ownership not created. The owner of the entity-program combination is not in the user's search scope."))
	case !s.mayReadData(caller, p.object) || !q.mayReadClass("trackedEntityTypes", p.entityType):
		q.refuse(forbidden("Temporary ownership not created. User has no data read access."))
	}
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	now := s.tracker.tick(s.now())
	s.tracker.touch(e, e.updatedBy, now)
	s.changed.note(temporaryCollection)
	s.tracker.temporary[temporaryOwner{caller.uid, e.uid, p.uid}] = now + instant(temporaryOwnership.Milliseconds())
	writeMessage(w, http.StatusOK, "OK", "Temporary Ownership granted", nil)
}

// potentialDuplicate says that two tracked entities may be the same.
type potentialDuplicate struct {
	uid, original, duplicate, status, by string
	created, updated                     instant
}

// shown is the potential duplicate as a list shows it.
func (d *potentialDuplicate) shown(s *Server) object {
	return object{
		"id": d.uid, "original": d.original, "duplicate": d.duplicate, "status": d.status,
		"created": s.timestamp(d.created.time()), "lastUpdated": s.timestamp(d.updated.time()),
	}
}

// shownAlone is the potential duplicate with what only a single one shows.
func (d *potentialDuplicate) shownAlone(s *Server) object {
	out := d.shown(s)
	out["createdByUserName"], out["lastUpdatedByUserName"] = d.by, d.by
	out["translations"], out["attributeValues"] = []any{}, []any{}
	out["sharing"] = object{"users": object{}, "userGroups": object{}}
	return out
}

// addDuplicate answers POST /api/potentialDuplicates.
func (s *Server) addDuplicate(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	body, err := readJSON(r.Body)
	sent, ok := body.(object)
	original, duplicate := text(sent["original"]), text(sent["duplicate"])
	switch {
	case err != nil || !ok:
		q.refuse(malformed("body", "", "a potential duplicate"))
	case original == "" || duplicate == "":
		q.refuse(badRequest("Missing required input property 'original' or 'duplicate'"))
	case !isUID(original) || !isUID(duplicate):
		q.refuse(malformed("body", original+" "+duplicate, "two uids"))
	case slices.ContainsFunc(s.tracker.duplicates, func(d *potentialDuplicate) bool {
		return d.original == original && d.duplicate == duplicate || d.original == duplicate && d.duplicate == original
	}):
		q.refuse(&refusal{http.StatusConflict, "E1004", "'" + original + "' and '" + duplicate + "' is already marked as a potential duplicate"})
	}
	q.findEntity(original, nil)
	q.findEntity(duplicate, nil)
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	now := s.tracker.tick(s.now())
	d := &potentialDuplicate{newUID(), original, duplicate, "OPEN", caller.username, now, now}
	s.tracker.duplicates = append(s.tracker.duplicates, d)
	s.changed.note(d)
	writeJSON(w, http.StatusOK, d.shownAlone(s))
}

// listDuplicates answers with the potential duplicates of a status; those that are open where none is named.
func (s *Server) listDuplicates(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	p := q.paging()
	status := q.choice("status", "", "OPEN", "INVALID", "MERGED", "ALL")
	if status == "" {
		status = "OPEN"
	}
	entities := q.uids("trackedEntities", "teis")
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	found := take(slices.Values(s.tracker.duplicates), func(d *potentialDuplicate) bool {
		return (status == "ALL" || d.status == status) &&
			(len(entities) == 0 || slices.Contains(entities, d.original) || slices.Contains(entities, d.duplicate))
	}, p, 0)
	view := s.newTrackerView(q.access)
	filter := q.fields("*")
	q.writeList(w, view, "potentialDuplicates", p, found.more, found.total, func(i int) bool {
		view.value(filter.apply(found.items[i].shown(s)))
		return true
	}, len(found.items))
}

func (s *Server) duplicate(uid string) *potentialDuplicate {
	i := slices.IndexFunc(s.tracker.duplicates, func(d *potentialDuplicate) bool { return d.uid == uid })
	if i < 0 {
		return nil
	}
	return s.tracker.duplicates[i]
}

func noDuplicate(uid string) *refusal {
	return &refusal{http.StatusNotFound, "E1005", "PotentialDuplicate with id " + uid + " could not be found."}
}

func (s *Server) showDuplicate(w http.ResponseWriter, r *http.Request, _ *account) {
	d := s.duplicate(r.PathValue("uid"))
	if d == nil {
		refuse(w, noDuplicate(r.PathValue("uid")))
		return
	}
	writeJSON(w, http.StatusOK, d.shownAlone(s))
}

// changeDuplicate answers PUT /api/potentialDuplicates/UID?status=: anything but a merge.
func (s *Server) changeDuplicate(w http.ResponseWriter, r *http.Request, caller *account) {
	q := s.trackerQuery(r, caller)
	d := s.duplicate(r.PathValue("uid"))
	status := q.choice("status", "", "OPEN", "INVALID", "MERGED", "ALL")
	switch {
	case d == nil:
		q.refuse(noDuplicate(r.PathValue("uid")))
	case status == "MERGED" || d.status == "MERGED":
		q.refuse(badRequest("Can't update a potential duplicate to MERGED, or one that is merged already"))
	case status == "":
		q.refuse(malformed("status", "", "given"))
	}
	if q.refused != nil {
		refuse(w, q.refused)
		return
	}
	d.status, d.updated = status, s.tracker.tick(s.now())
	s.changed.note(d)
	w.WriteHeader(http.StatusOK)
}
