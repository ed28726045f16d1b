package dhis2db

// eventLayout is that of DHIS2 2.41 and 2.42: all events are in one table, and one of a program without
// registration belongs to a hidden enrollment without tracked entity.
func eventLayout() layout {
	const (
		ofPerson = "e.trackedentityid IS NOT NULL"
		ofNobody = "e.trackedentityid IS NULL"
		events   = "event v JOIN enrollment e USING (enrollmentid)"
	)
	person := []string{"e.trackedentityid"}
	alone := []string{"v.eventid"}
	notes := events + " JOIN event_notes j USING (eventid) JOIN note x USING (noteid)"
	files := "fileresource x JOIN event v ON v.uid = x.fileresourceowner JOIN enrollment e USING (enrollmentid)"
	return layout{
		name: "event",
		roots: []rootTables{
			{
				kind: TrackedEntity, columns: []string{"trackedentityid"},
				rows: append(trackedEntityRows(),
					rowTable{from: events, root: person, key: []string{"v.eventid"}, xmins: []string{"v.xmin"}, where: ofPerson, live: "NOT v.deleted AND NOT e.deleted"},
					rowTable{from: notes, root: person, key: []string{"x.noteid"}, xmins: []string{"x.xmin", "j.xmin"}, where: ofPerson, live: "NOT v.deleted AND NOT e.deleted"},
					rowTable{from: files, root: person, key: []string{"x.fileresourceid"}, xmins: []string{"x.xmin"}, where: ofPerson, live: "x.isassigned"},
				),
				from: "JOIN trackedentity t USING (trackedentityid)", key: "t.uid", inScope: trackedEntityInScope("t.trackedentityid"),
			},
			{
				kind: Event, columns: []string{"eventid"},
				rows: []rowTable{
					{from: events, root: alone, key: []string{"v.eventid"}, xmins: []string{"v.xmin"}, where: ofNobody, live: "NOT v.deleted"},
					{from: notes, root: alone, key: []string{"x.noteid"}, xmins: []string{"x.xmin", "j.xmin"}, where: ofNobody},
					{from: files, root: alone, key: []string{"x.fileresourceid"}, xmins: []string{"x.xmin"}, where: ofNobody, live: "x.isassigned"},
				},
				from: singleEventJoins("event"), key: "(p.uid || '.' || t.uid)", inScope: "p.uid = ANY($1) AND " + below,
			},
			relationshipTables(`EXISTS (SELECT FROM relationshipitem i LEFT JOIN event v USING (eventid)
				LEFT JOIN enrollment e ON e.enrollmentid = coalesce(i.enrollmentid, v.enrollmentid)
				LEFT JOIN programstage g USING (programstageid) LEFT JOIN program p ON p.programid = g.programid
				LEFT JOIN organisationunit u ON u.organisationunitid = v.organisationunitid
				WHERE i.relationshipitemid IN (t.from_relationshipitemid, t.to_relationshipitemid) AND (
					` + trackedEntityInScope("coalesce(i.trackedentityid, e.trackedentityid)") + `
					OR (e.trackedentityid IS NULL AND p.uid = ANY($1) AND ` + below + `)) OFFSET 0)`),
			formTables("k.name || ' ' || p.startdate"),
		},
	}
}
