package dhis2sim

import (
	"encoding/json"
	"time"
)

// jsonTime is how DHIS2 writes times into JSON columns.
const jsonTime = "2006-01-02T15:04:05.000"

// storedPerson is a person in a JSON column.
type storedPerson struct {
	ID        int64  `json:"id,omitempty"`
	UID       string `json:"uid"`
	Surname   string `json:"surname,omitempty"`
	Username  string `json:"username"`
	FirstName string `json:"firstName,omitempty"`
}

// storedValue is a data value in event.eventdatavalues.
type storedValue struct {
	Value             string        `json:"value"`
	Created           string        `json:"created"`
	StoredBy          string        `json:"storedBy,omitempty"`
	LastUpdated       string        `json:"lastUpdated"`
	ProvidedElsewhere bool          `json:"providedElsewhere"`
	CreatedBy         *storedPerson `json:"createdByUserInfo,omitempty"`
	LastUpdatedBy     *storedPerson `json:"lastUpdatedByUserInfo,omitempty"`
}

func (p *postgres) person(who *person) *storedPerson {
	if who == nil {
		return nil
	}
	return &storedPerson{p.numbers["users"][who.uid], who.uid, who.surname, who.username, who.firstName}
}

func (p *postgres) personJSON(who *person) any {
	if who == nil {
		return nil
	}
	return asJSON(p.person(who))
}

// userNumber is the number of a user, NULL for one who is no more.
func (p *postgres) userNumber(who *person) any {
	if who == nil || p.numbers["users"][who.uid] == 0 {
		return nil
	}
	return p.numbers["users"][who.uid]
}

func asJSON(v any) jsonText {
	raw, err := json.Marshal(v)
	if err != nil {
		return "null" // what is kept in memory came as JSON
	}
	return jsonText(raw)
}

func (p *postgres) entityRows(s *Server, e *trackedEntity) []tableRow {
	if s.tracker.entities[e.uid] != e {
		return nil
	}
	rows := make([]tableRow, 0, 1+len(e.attributes)+len(e.owners))
	rows = append(rows, p.dialect.row("trackedentity",
		"trackedentityid", e.number, "uid", e.uid, "created", p.at(e.created), "lastupdated", p.at(e.updated), "lastupdatedby", p.userNumber(e.updatedBy),
		"createdatclient", p.at(e.createdAtClient), "lastupdatedatclient", p.at(e.updatedAtClient), "inactive", e.inactive, "deleted", e.deleted,
		"lastsynchronized", p.neverSynchronized(), "organisationunitid", p.number("organisationUnits", e.unit),
		"trackedentitytypeid", p.number("trackedEntityTypes", e.entityType), "geometry", geoJSON(e.geometry), "storedby", orNull(e.storedBy),
		"createdbyuserinfo", p.personJSON(e.createdBy), "lastupdatedbyuserinfo", p.personJSON(e.updatedBy), "potentialduplicate", e.potentialDuplicate))
	for _, v := range e.attributes {
		rows = append(rows, p.dialect.row("trackedentityattributevalue",
			"trackedentityid", e.number, "trackedentityattributeid", p.number("trackedEntityAttributes", v.attribute),
			"created", p.at(v.created), "lastupdated", p.at(v.updated), "value", v.value, "storedby", orNull(v.storedBy)))
	}
	now := p.at(max(s.tracker.clock, e.updated))
	by := "system-process"
	if e.updatedBy != nil {
		by = e.updatedBy.username
	}
	for _, o := range e.owners {
		rows = append(rows, p.dialect.row("trackedentityprogramowner",
			"trackedentityid", e.number, "programid", p.number("programs", o.program), "created", once{now}, "lastupdated", along{now},
			"organisationunitid", p.number("organisationUnits", o.unit), "createdby", once{by}))
	}
	return rows
}

func (p *postgres) enrollmentRows(s *Server, e *enrollment) []tableRow {
	if s.tracker.enrollments[e.uid] != e {
		return nil
	}
	var of any
	unit := e.unit
	if e.trackedEntity != nil {
		of = e.trackedEntity.number
	} else if units := s.objects("organisationUnits"); len(units) > 0 && unit == "" {
		unit = text(units[0]["id"]) // DHIS2 takes a root unit for the enrollment of an event program
		for _, o := range units {
			if number(o["level"]) == 1 {
				unit = text(o["id"])
				break
			}
		}
	}
	columns := []any{
		"enrollmentid", e.number, "uid", e.uid, "created", p.at(e.created), "lastupdated", p.at(e.updated), "createdatclient", p.at(e.createdAtClient),
		"lastupdatedatclient", p.at(e.updatedAtClient), "occurreddate", p.at(e.occurred), "enrollmentdate", p.at(e.enrolled), "completeddate", p.at(e.completed),
		"followup", e.followUp, "completedby", orNull(e.completedBy), "deleted", e.deleted, "storedby", orNull(e.storedBy), "status", e.status,
		"trackedentityid", of, "programid", p.number("programs", e.program), "organisationunitid", p.number("organisationUnits", unit),
		"geometry", geoJSON(e.geometry), "createdbyuserinfo", p.personJSON(e.createdBy), "lastupdatedbyuserinfo", p.personJSON(e.updatedBy),
	}
	if p.dialect.minor >= 43 {
		columns = append(columns, "attributeoptioncomboid", p.number("categoryOptionCombos", e.attributeOptionCombo))
	}
	return append(p.noteRows("enrollment_notes", "enrollmentid", e.number, e.notes), p.dialect.row("enrollment", columns...))
}

func (p *postgres) noteRows(table, owner string, of int64, notes []note) []tableRow {
	rows := make([]tableRow, 0, 2*len(notes)+1)
	for i, n := range notes {
		columns := []any{"noteid", n.number, "uid", n.uid, "created", p.at(n.stored), "lastupdatedby", p.userNumber(n.createdBy), "notetext", n.value, "creator", orNull(n.storedBy)}
		if p.dialect.minor == 41 {
			columns = append(columns, "lastupdated", p.at(n.stored))
		}
		rows = append(rows, p.dialect.row("note", columns...),
			p.dialect.row(table, owner, of, "sort_order", int64(i+1), "noteid", n.number))
	}
	return rows
}

func (p *postgres) eventRows(s *Server, e *event) []tableRow {
	if s.tracker.events[e.uid] != e {
		return nil
	}
	values := make(map[string]storedValue, len(e.dataValues))
	for _, v := range e.dataValues {
		values[v.dataElement] = storedValue{
			Value: v.value, Created: v.created.time().In(p.zone).Format(jsonTime), StoredBy: v.storedBy, LastUpdated: v.updated.time().In(p.zone).Format(jsonTime),
			ProvidedElsewhere: v.providedElsewhere, CreatedBy: p.person(v.createdBy), LastUpdatedBy: p.person(v.updatedBy),
		}
	}
	table := p.dialect.event
	if e.single {
		table = p.dialect.singleEvent
	}
	columns := []any{
		"eventid", e.number, "uid", e.uid, "created", p.at(e.created), "lastupdated", p.at(e.updated), "createdatclient", p.at(e.createdAtClient),
		"lastupdatedatclient", p.at(e.updatedAtClient), "lastsynchronized", p.neverSynchronized(), "programstageid", p.number("programStages", e.programStage),
		"attributeoptioncomboid", p.reference("categoryOptionCombos", e.attributeOptionCombo), "deleted", e.deleted, "storedby", orNull(e.storedBy),
		"occurreddate", p.at(e.occurred), "organisationunitid", p.number("organisationUnits", e.unit), "status", e.status,
		"completedby", orNull(e.completedBy), "completeddate", p.at(e.completed), "geometry", geoJSON(e.geometry), "eventdatavalues", asJSON(values),
		"assigneduserid", p.userNumber(e.assignedUser), "createdbyuserinfo", p.personJSON(e.createdBy), "lastupdatedbyuserinfo", p.personJSON(e.updatedBy),
	}
	if e.enrollment != nil {
		columns = append(columns, "enrollmentid", e.enrollment.number, "scheduleddate", p.at(e.scheduled))
	}
	return append(p.noteRows(table+"_notes", "eventid", e.number, e.notes), p.dialect.row(table, columns...))
}

func (p *postgres) relationshipRows(s *Server, r *relationship) []tableRow {
	if s.tracker.relationships[r.uid] != r {
		return nil
	}
	from, to := 2*r.number, 2*r.number+1 // the numbers of its items
	key, inverted := r.relationshipType+"_"+r.from.uid()+"_"+r.to.uid(), r.relationshipType+"_"+r.to.uid()+"_"+r.from.uid()
	rows := []tableRow{p.dialect.row("relationship",
		"relationshipid", r.number, "uid", r.uid, "created", p.at(r.created), "lastupdated", p.at(r.updated),
		"relationshiptypeid", p.number("relationshipTypes", r.relationshipType), "from_relationshipitemid", from, "to_relationshipitemid", to,
		"key", key, "inverted_key", inverted, "deleted", r.deleted, "createdatclient", p.at(r.createdAtClient))}
	for id, item := range map[int64]relationshipItem{from: r.from, to: r.to} {
		of := map[string]any{"trackedentityid": nil, "enrollmentid": nil, p.dialect.eventItem: nil, p.dialect.singleEventItem: nil}
		switch {
		case item.trackedEntity != nil:
			of["trackedentityid"] = item.trackedEntity.number
		case item.enrollment != nil:
			of["enrollmentid"] = item.enrollment.number
		case item.event != nil && item.event.single:
			of[p.dialect.singleEventItem] = item.event.number
		case item.event != nil:
			of[p.dialect.eventItem] = item.event.number
		}
		columns := []any{"relationshipitemid", id, "relationshipid", r.number}
		for _, column := range sortedKeys(of) {
			columns = append(columns, column, of[column])
		}
		rows = append(rows, p.dialect.row("relationshipitem", columns...))
	}
	return rows
}

func (p *postgres) duplicateRows(d *potentialDuplicate) []tableRow {
	return []tableRow{p.dialect.row("potentialduplicate",
		"potentialduplicateid", p.number("potentialDuplicates", d.uid), "uid", d.uid, "created", p.at(d.created), "lastupdated", p.at(d.updated),
		"original", d.original, "duplicate", d.duplicate, "status", d.status, "createdbyusername", d.by, "lastupdatebyusername", d.by)}
}

func (p *postgres) temporaryRows(s *Server) []tableRow {
	var rows []tableRow
	for owner, until := range s.tracker.temporary {
		e := s.tracker.entities[owner.trackedEntity]
		if e == nil || p.numbers["users"][owner.user] == 0 {
			continue
		}
		rows = append(rows, p.dialect.row("programtempowner",
			"programtempownerid", p.number("temporary", owner.user+" "+owner.trackedEntity+" "+owner.program), "programid", p.number("programs", owner.program),
			"trackedentityid", e.number, "validtill", p.at(until), "userid", p.numbers["users"][owner.user]))
	}
	return rows
}

// parseJSONTime reads a time in a JSON column.
func (p *postgres) parseJSONTime(text string) instant {
	t, err := time.ParseInLocation(jsonTime, text, p.zone)
	if err != nil {
		return none
	}
	return instant(t.UnixMilli())
}
