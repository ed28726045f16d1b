package dhis2db

// trackerEventLayout is that of DHIS2 2.43: events of enrollments and events of programs without registration
// are in tables of their own, and periods carry their ISO form.
func trackerEventLayout() layout {
	const events = "trackerevent v JOIN enrollment e USING (enrollmentid)"
	person := []string{"e.trackedentityid"}
	alone := []string{"v.eventid"}
	return layout{
		name: "trackerevent", isoPeriods: true,
		roots: []rootTables{
			{
				kind: TrackedEntity, columns: []string{"trackedentityid"},
				rows: append(trackedEntityRows(),
					rowTable{from: events, root: person, key: []string{"v.eventid"}, xmins: []string{"v.xmin"}, live: "NOT v.deleted AND NOT e.deleted"},
					rowTable{
						from: events + " JOIN trackerevent_notes j USING (eventid) JOIN note x USING (noteid)",
						root: person, key: []string{"x.noteid"}, xmins: []string{"x.xmin", "j.xmin"}, live: "NOT v.deleted AND NOT e.deleted",
					},
					rowTable{
						from: "fileresource x JOIN trackerevent v ON v.uid = x.fileresourceowner JOIN enrollment e USING (enrollmentid)",
						root: person, key: []string{"x.fileresourceid"}, xmins: []string{"x.xmin"}, live: "x.isassigned",
					},
				),
				from: "JOIN trackedentity t USING (trackedentityid)", key: "t.uid", inScope: trackedEntityInScope("t.trackedentityid"),
			},
			{
				kind: Event, columns: []string{"eventid"},
				rows: []rowTable{
					{from: "singleevent v", root: alone, key: []string{"v.eventid"}, xmins: []string{"v.xmin"}, live: "NOT v.deleted"},
					{
						from: "singleevent v JOIN singleevent_notes j USING (eventid) JOIN note x USING (noteid)",
						root: alone, key: []string{"x.noteid"}, xmins: []string{"x.xmin", "j.xmin"},
					},
					{
						from: "fileresource x JOIN singleevent v ON v.uid = x.fileresourceowner",
						root: alone, key: []string{"x.fileresourceid"}, xmins: []string{"x.xmin"}, live: "x.isassigned",
					},
				},
				from: singleEventJoins("singleevent"), key: "(p.uid || '.' || t.uid)", inScope: "p.uid = ANY($1) AND " + below,
			},
			relationshipTables(`EXISTS (SELECT FROM relationshipitem i LEFT JOIN trackerevent v ON v.eventid = i.trackereventid
				LEFT JOIN enrollment e ON e.enrollmentid = coalesce(i.enrollmentid, v.enrollmentid)
				LEFT JOIN singleevent n ON n.eventid = i.singleeventid
				LEFT JOIN programstage g ON g.programstageid = n.programstageid LEFT JOIN program p ON p.programid = g.programid
				LEFT JOIN organisationunit u ON u.organisationunitid = n.organisationunitid
				WHERE i.relationshipitemid IN (t.from_relationshipitemid, t.to_relationshipitemid) AND (
					` + trackedEntityInScope("coalesce(i.trackedentityid, e.trackedentityid)") + `
					OR (p.uid = ANY($1) AND ` + below + `)) OFFSET 0)`),
			formTables("p.iso"),
		},
	}
}
