package dhis2sim

import (
	"context"
	"encoding/json"
)

// geometry is GeoJSON as PostGIS writes it, with coordinates as DHIS2 shows them.
func geometry(stored string) string {
	if stored == "" {
		return ""
	}
	raw := json.RawMessage(stored)
	if checkGeometry(&raw) != nil {
		return ""
	}
	return string(raw)
}

func (l *loader) entities(ctx context.Context) error {
	t := l.s.tracker
	byNumber := map[int64]*trackedEntity{}
	if err := l.each(ctx, `SELECT trackedentityid, uid, trackedentitytypeid, organisationunitid, storedby, created, lastupdated, createdatclient, lastupdatedatclient,
		createdbyuserinfo::text, lastupdatedbyuserinfo::text, ST_AsGeoJSON(geometry, 15), inactive, deleted, potentialduplicate
		FROM trackedentity ORDER BY trackedentityid`, func(r record) error {
		e := &trackedEntity{
			number: r.number(0), uid: r.text(1), entityType: l.names["trackedEntityTypes"][r.number(2)], unit: l.names["organisationUnits"][r.number(3)],
			storedBy: r.text(4), created: l.instant(r[5]), updated: l.instant(r[6]), createdAtClient: l.instant(r[7]), updatedAtClient: l.instant(r[8]),
			createdBy: l.person(r.text(9)), updatedBy: l.person(r.text(10)), geometry: geometry(r.text(11)),
			inactive: r.flag(12), deleted: r.flag(13), potentialDuplicate: r.flag(14),
		}
		t.numbers = max(t.numbers, e.number)
		byNumber[e.number], t.entities[e.uid] = e, e
		t.entityList = append(t.entityList, e)
		return nil
	}); err != nil {
		return err
	}
	if err := l.each(ctx, `SELECT trackedentityid, trackedentityattributeid, value, storedby, created, lastupdated
		FROM trackedentityattributevalue ORDER BY trackedentityid, created, trackedentityattributeid`, func(r record) error {
		e, attribute := byNumber[r.number(0)], l.names["trackedEntityAttributes"][r.number(1)]
		if e == nil || attribute == "" {
			return nil
		}
		v := attributeValue{attribute, r.text(2), r.text(3), l.instant(r[4]), l.instant(r[5])}
		e.attributes = append(e.attributes, v)
		if l.refersToFile("trackedEntityAttributes", attribute) {
			t.fileOwners[v.value] = e.uid
		}
		return nil
	}); err != nil {
		return err
	}
	return l.each(ctx, "SELECT trackedentityid, programid, organisationunitid FROM trackedentityprogramowner ORDER BY trackedentityid, trackedentityprogramownerid", func(r record) error {
		e, program := byNumber[r.number(0)], l.names["programs"][r.number(1)]
		if e != nil && program != "" {
			t.setOwner(e, program, l.names["organisationUnits"][r.number(2)])
		}
		return nil
	})
}

// refersToFile tells whether the values of an attribute or data element are files.
func (l *loader) refersToFile(class, uid string) bool {
	valueType := l.s.object(class, uid)["valueType"]
	return valueType == "FILE_RESOURCE" || valueType == "IMAGE"
}

func (l *loader) enrollments(ctx context.Context) error {
	t := l.s.tracker
	combo := "NULL::bigint"
	if l.s.minor >= 43 {
		combo = "e.attributeoptioncomboid"
	}
	return l.each(ctx, `SELECT e.enrollmentid, e.uid, t.uid, e.programid, e.organisationunitid, e.status, e.storedby, e.created, e.lastupdated, e.createdatclient,
		e.lastupdatedatclient, e.enrollmentdate, e.occurreddate, e.completeddate, e.completedby, e.createdbyuserinfo::text, e.lastupdatedbyuserinfo::text,
		ST_AsGeoJSON(e.geometry, 15), `+combo+`, e.followup, e.deleted
		FROM enrollment e LEFT JOIN trackedentity t USING (trackedentityid) ORDER BY e.enrollmentid`, func(r record) error {
		e := &enrollment{
			number: r.number(0), uid: r.text(1), trackedEntity: t.entities[r.text(2)], program: l.names["programs"][r.number(3)],
			unit: l.names["organisationUnits"][r.number(4)], status: sharedStatus(r.text(5)), storedBy: r.text(6), created: l.instant(r[7]), updated: l.instant(r[8]),
			createdAtClient: l.instant(r[9]), updatedAtClient: l.instant(r[10]), enrolled: l.instant(r[11]), occurred: l.instant(r[12]), completed: l.instant(r[13]),
			completedBy: r.text(14), createdBy: l.person(r.text(15)), updatedBy: l.person(r.text(16)), geometry: geometry(r.text(17)),
			attributeOptionCombo: l.names["categoryOptionCombos"][r.number(18)], followUp: r.flag(19), deleted: r.flag(20),
		}
		t.numbers = max(t.numbers, e.number)
		t.enrollments[e.uid] = e
		if e.trackedEntity == nil {
			e.unit = ""
			t.hidden[e.program] = e
			return nil
		}
		t.enrollmentList = append(t.enrollmentList, e)
		e.trackedEntity.enrollments = append(e.trackedEntity.enrollments, e)
		return nil
	})
}

func (l *loader) events(ctx context.Context) error {
	d := l.p.dialect
	if err := l.eventsIn(ctx, d.event, "x.enrollmentid, x.scheduleddate"); err != nil || d.singleEvent == d.event {
		return err
	}
	return l.eventsIn(ctx, d.singleEvent, "NULL::bigint, NULL::timestamp")
}

func (l *loader) eventsIn(ctx context.Context, table, tied string) error {
	t := l.s.tracker
	enrollments := map[int64]*enrollment{}
	for _, e := range t.enrollments {
		enrollments[e.number] = e
	}
	return l.each(ctx, `SELECT x.eventid, x.uid, x.programstageid, x.organisationunitid, x.status, x.storedby, x.created, x.lastupdated, x.createdatclient, x.lastupdatedatclient,
		x.occurreddate, x.completeddate, x.completedby, x.createdbyuserinfo::text, x.lastupdatedbyuserinfo::text, x.assigneduserid, ST_AsGeoJSON(x.geometry, 15),
		x.attributeoptioncomboid, x.deleted, x.eventdatavalues::text, `+tied+` FROM `+table+` x ORDER BY x.eventid`, func(r record) error {
		e := &event{
			number: r.number(0), uid: r.text(1), programStage: l.names["programStages"][r.number(2)], unit: l.names["organisationUnits"][r.number(3)],
			status: sharedStatus(r.text(4)), storedBy: r.text(5), created: l.instant(r[6]), updated: l.instant(r[7]), createdAtClient: l.instant(r[8]),
			updatedAtClient: l.instant(r[9]), occurred: l.instant(r[10]), completed: l.instant(r[11]), completedBy: r.text(12), createdBy: l.person(r.text(13)),
			updatedBy: l.person(r.text(14)), assignedUser: l.user(r.number(15)), geometry: geometry(r.text(16)),
			attributeOptionCombo: l.names["categoryOptionCombos"][r.number(17)], deleted: r.flag(18), enrollment: enrollments[r.number(20)], scheduled: l.instant(r[21]),
		}
		e.program = refUID(l.s.object("programStages", e.programStage)["program"])
		e.single = e.enrollment == nil || e.enrollment.trackedEntity == nil
		if e.enrollment != nil {
			e.program = e.enrollment.program
		}
		if err := l.dataValues(e, r.text(19)); err != nil {
			return err
		}
		t.numbers = max(t.numbers, e.number)
		t.events[e.uid] = e
		t.eventList = append(t.eventList, e)
		if e.trackedEntity() != nil {
			e.enrollment.events = append(e.enrollment.events, e)
		}
		return nil
	})
}

func (l *loader) dataValues(e *event, stored string) error {
	var values map[string]storedValue
	if err := json.Unmarshal([]byte(stored), &values); err != nil {
		return err
	}
	e.dataValues = make([]dataValue, 0, len(values))
	for element, v := range values {
		known := text(l.s.object("dataElements", element)["id"])
		if known == "" {
			known = element
		}
		e.dataValues = append(e.dataValues, dataValue{
			dataElement: known, value: v.Value, storedBy: v.StoredBy, created: l.p.parseJSONTime(v.Created), updated: l.p.parseJSONTime(v.LastUpdated),
			createdBy: l.known(v.CreatedBy), updatedBy: l.known(v.LastUpdatedBy), providedElsewhere: v.ProvidedElsewhere,
		})
		if l.refersToFile("dataElements", known) {
			l.s.tracker.fileOwners[v.Value] = e.uid
		}
	}
	byAge(e.dataValues)
	return nil
}

func (l *loader) notes(ctx context.Context) error {
	t := l.s.tracker
	d := l.p.dialect
	read := func(table, owner, of string, notesOf func(uid string) *[]note) error {
		return l.each(ctx, "SELECT o.uid, n.noteid, n.uid, n.notetext, n.creator, n.created, n.lastupdatedby FROM "+table+" x JOIN "+of+" o USING ("+owner+
			") JOIN note n USING (noteid) ORDER BY x."+owner+", x.sort_order", func(r record) error {
			n := note{number: r.number(1), uid: r.text(2), value: r.text(3), storedBy: r.text(4), stored: l.instant(r[5]), createdBy: l.user(r.number(6))}
			t.numbers = max(t.numbers, n.number)
			t.notes[n.uid] = true
			if notes := notesOf(r.text(0)); notes != nil {
				*notes = append(*notes, n)
			}
			return nil
		})
	}
	ofEvent := func(uid string) *[]note {
		if e := t.events[uid]; e != nil {
			return &e.notes
		}
		return nil
	}
	if err := read("enrollment_notes", "enrollmentid", "enrollment", func(uid string) *[]note {
		if e := t.enrollments[uid]; e != nil {
			return &e.notes
		}
		return nil
	}); err != nil {
		return err
	}
	if err := read(d.event+"_notes", "eventid", d.event, ofEvent); err != nil || d.singleEvent == d.event {
		return err
	}
	return read(d.singleEvent+"_notes", "eventid", d.singleEvent, ofEvent)
}

func (l *loader) relationships(ctx context.Context) error {
	t, d := l.s.tracker, l.p.dialect
	item := func(end, alias string) string {
		return " LEFT JOIN relationshipitem " + alias + " ON " + alias + ".relationshipitemid = r." + end + "_relationshipitemid" +
			" LEFT JOIN trackedentity " + alias + "1 ON " + alias + "1.trackedentityid = " + alias + ".trackedentityid" +
			" LEFT JOIN enrollment " + alias + "2 ON " + alias + "2.enrollmentid = " + alias + ".enrollmentid" +
			" LEFT JOIN " + d.event + " " + alias + "3 ON " + alias + "3.eventid = " + alias + "." + d.eventItem +
			" LEFT JOIN " + d.singleEvent + " " + alias + "4 ON " + alias + "4.eventid = " + alias + "." + d.singleEventItem
	}
	end := func(r record, at int) relationshipItem {
		of := relationshipItem{trackedEntity: t.entities[r.text(at)], enrollment: t.enrollments[r.text(at+1)], event: t.events[r.text(at+2)]}
		if of.event == nil {
			of.event = t.events[r.text(at+3)]
		}
		return of
	}
	return l.each(ctx, `SELECT r.relationshipid, r.uid, r.relationshiptypeid, r.created, r.lastupdated, r.createdatclient, r.deleted,
		a1.uid, a2.uid, a3.uid, a4.uid, z1.uid, z2.uid, z3.uid, z4.uid FROM relationship r`+item("from", "a")+item("to", "z")+` ORDER BY r.relationshipid`, func(r record) error {
		found := &relationship{
			number: r.number(0), uid: r.text(1), relationshipType: l.names["relationshipTypes"][r.number(2)], created: l.instant(r[3]), updated: l.instant(r[4]),
			createdAtClient: l.instant(r[5]), deleted: r.flag(6), from: end(r, 7), to: end(r, 11),
		}
		found.bidirectional = l.s.object("relationshipTypes", found.relationshipType)["bidirectional"] == true
		if found.from.uid() == "" || found.to.uid() == "" {
			return nil
		}
		t.numbers = max(t.numbers, found.number)
		t.relate(found)
		return nil
	})
}

// remainders reads what hangs on tracked entities besides.
func (l *loader) remainders(ctx context.Context) error {
	t := l.s.tracker
	if err := l.each(ctx, `SELECT potentialduplicateid, uid, original, duplicate, status, createdbyusername, created, lastupdated
		FROM potentialduplicate ORDER BY potentialduplicateid`, func(r record) error {
		l.named("potentialDuplicates", r.text(1), r.number(0))
		t.duplicates = append(t.duplicates, &potentialDuplicate{r.text(1), r.text(2), r.text(3), r.text(4), r.text(5), l.instant(r[6]), l.instant(r[7])})
		return nil
	}); err != nil {
		return err
	}
	return l.each(ctx, `SELECT o.programtempownerid, o.userid, t.uid, o.programid, o.validtill
		FROM programtempowner o JOIN trackedentity t USING (trackedentityid)`, func(r record) error {
		owner := temporaryOwner{l.names["users"][r.number(1)], r.text(2), l.names["programs"][r.number(3)]}
		l.named("temporary", owner.user+" "+owner.trackedEntity+" "+owner.program, r.number(0))
		if r[4] != nil {
			t.temporary[owner] = instant(l.time(r[4]).UnixMilli())
		}
		return nil
	})
}
