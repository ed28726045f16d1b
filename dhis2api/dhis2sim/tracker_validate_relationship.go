package dhis2sim

// validateRelationship checks one relationship.
func (i *importer) validateRelationship(r *relationshipInput) {
	uid := string(r.UID)
	fail := func(code string, args ...string) { i.report.fail(kindRelationship, uid, code, args...) }
	exists := func() {
		switch {
		case r.stored != nil && r.stored.deleted:
			fail("E4017", uid)
		case r.stored != nil && r.strategy == update:
			i.report.warn(kindRelationship, uid, "E4015", uid)
		case r.stored != nil && r.strategy == create:
			fail("E4015", uid)
		case r.stored == nil && r.strategy != create:
			fail("E4016", uid)
		}
	}
	if r.strategy == remove {
		i.stages(kindRelationship, uid, exists, func() {
			a := i.access(i.catalog)
			o := i.object("relationshipTypes", r.stored.relationshipType)
			if !i.mayWriteData(i.caller, o) || !a.mayWriteItem(r.stored.from) || r.stored.bidirectional && !a.mayWriteItem(r.stored.to) {
				fail("E4020", i.callerText(), uid)
			}
		})
		return
	}
	var kind *relationshipType
	from, to := r.From.ends(), r.To.ends()
	i.stages(kindRelationship, uid,
		func() {
			i.checkUID(kindRelationship, uid, func() string { return "Relationship(relationship=" + uid + ")" })
		},
		exists,
		func() {
			if len(from) != 1 {
				fail("E4001", "from", uid)
			}
			if len(to) != 1 {
				fail("E4001", "to", uid)
			}
			if r.RelationshipType == "" {
				fail("E1124", "relationshipType")
			}
		},
		func() {
			if kind = i.catalog.relationshipType(string(r.RelationshipType)); kind == nil {
				fail("E4006", identifier(r.RelationshipType))
			}
		},
		func() {
			if r.strategy == create && from[0] == to[0] {
				fail("E4000", uid)
			}
		},
		func() {
			if r.strategy == create {
				i.checkEnd(uid, "from", from[0], kind.from)
				i.checkEnd(uid, "to", to[0], kind.to)
			}
		},
		func() {
			if r.strategy != create {
				return
			}
			a := i.access(i.catalog)
			may := i.mayWriteData(i.caller, kind.object) && a.mayWriteItem(i.storedItem(from[0]))
			if end := i.storedItem(to[0]); kind.bidirectional {
				may = may && a.mayWriteItem(end)
			} else {
				may = may && a.mayReadEntity(end.trackedEntity) && a.mayReadEnrollment(end.enrollment) && a.mayReadEvent(end.event)
			}
			if !may {
				fail("E4020", i.callerText(), uid)
			}
		},
		func() {
			key := relationshipKey{kind.uid, from[0].uid, to[0].uid}
			known := i.tracker.relationshipsBy[key] != nil || kind.bidirectional && i.tracker.relationshipsBy[key.inverse()] != nil
			if r.strategy == create && known {
				fail("E4018", uid, from[0].kind.reportName(), from[0].uid, to[0].kind.reportName(), to[0].uid)
			}
		},
	)
}

// checkEnd checks that one end of a relationship is what its type wants there.
func (i *importer) checkEnd(uid, side string, end trackerReference, want relationshipConstraint) {
	fail := func(code string, args ...string) { i.report.fail(kindRelationship, uid, code, args...) }
	switch {
	case end.kind != want.kind:
		fail("E4010", side, want.kind.fieldName(), end.kind.fieldName())
	case !i.isStored(end) && !i.isSent(end):
		fail("E4012", end.kind.fieldName(), end.uid)
	case end.kind == kindEntity && i.entityTypeOf(end.uid) != want.entityType:
		fail("E4014", side, want.entityType, identifier(looseText(i.entityTypeOf(end.uid))))
	}
}

// isSent tells whether an object is in the payload.
func (i *importer) isSent(r trackerReference) bool {
	switch r.kind {
	case kindEntity:
		return i.entities[r.uid] != nil
	case kindEnrollment:
		return i.enrollments[r.uid] != nil
	}
	return i.events[r.uid] != nil
}

// storedItem is the stored object that a reference names, as an end of a relationship.
func (i *importer) storedItem(r trackerReference) relationshipItem {
	switch r.kind {
	case kindEntity:
		return relationshipItem{trackedEntity: i.tracker.entities[r.uid]}
	case kindEnrollment:
		return relationshipItem{enrollment: i.tracker.enrollments[r.uid]}
	}
	return relationshipItem{event: i.tracker.events[r.uid]}
}
