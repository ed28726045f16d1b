package dhis2db

// trackedEntityRows are the rows of a tracked entity whose tables are alike in all versions.
func trackedEntityRows() []rowTable {
	root := []string{"x.trackedentityid"}
	xmin := []string{"x.xmin"}
	return []rowTable{
		{from: "trackedentity x", root: root, key: root, xmins: xmin},
		{from: "trackedentityattributevalue x", root: root, key: []string{"x.trackedentityattributeid"}, xmins: xmin},
		{from: "trackedentityprogramowner x", root: root, key: []string{"x.trackedentityprogramownerid"}, xmins: xmin},
		{from: "enrollment x", root: root, key: []string{"x.enrollmentid"}, xmins: xmin, where: "x.trackedentityid IS NOT NULL", live: "NOT x.deleted"},
		{
			from: "enrollment e JOIN enrollment_notes j USING (enrollmentid) JOIN note x USING (noteid)", root: []string{"e.trackedentityid"},
			key: []string{"x.noteid"}, xmins: []string{"x.xmin", "j.xmin"}, where: "e.trackedentityid IS NOT NULL", live: "NOT e.deleted",
		},
		{
			from: "fileresource x JOIN trackedentity o ON o.uid = x.fileresourceowner", root: []string{"o.trackedentityid"},
			key: []string{"x.fileresourceid"}, xmins: xmin, live: "x.isassigned",
		},
	}
}

// singleEventJoins leads from the id of an event of a program without registration to its program and org unit.
func singleEventJoins(table string) string {
	return "JOIN " + table + ` t USING (eventid) JOIN programstage g ON g.programstageid = t.programstageid JOIN program p ON p.programid = g.programid
		JOIN organisationunit u ON u.organisationunitid = t.organisationunitid`
}

// relationshipTables are alike in all versions but for where the ends lead.
func relationshipTables(inScope string) rootTables {
	return rootTables{
		kind: Relationship, columns: []string{"relationshipid"},
		rows: []rowTable{
			{from: "relationship x", root: []string{"x.relationshipid"}, key: []string{"x.relationshipid"}, xmins: []string{"x.xmin"}},
			{
				from: "relationshipitem x", root: []string{"x.relationshipid"}, key: []string{"x.relationshipitemid"}, xmins: []string{"x.xmin"},
				where: "x.relationshipid IS NOT NULL",
			},
		},
		from: "JOIN relationship t USING (relationshipid)", key: "t.uid", inScope: inScope,
	}
}
