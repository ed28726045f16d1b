package merge

import (
	"slices"
	"strings"
)

// holdTogether asks what was decided about the changes of one object, and turns pushes into conflicts where they
// mean something only together with what cannot go: see Rules.Unit, and valuesNeedStatus.
func (c *comparison) holdTogether(ref Ref, local Object, changes []Change) {
	slices.SortFunc(changes, compareChanges)
	unit := c.unitOf(ref, local)
	decided := map[string]bool{}
	for i := range changes {
		if v := changes[i].Verdict; v == Conflict || v == Push {
			decided[changes[i].Field] = c.decide(&changes[i])
		}
	}
	followStatus(unit, changes, decided)
	dropTogether(unit, changes, decided)
	for _, field := range c.centralOnly(ref, local) {
		for i := range changes {
			if changes[i].Verdict == Push && !decided[field] && !decided[changes[i].Field] && unit.ruled(field, changes[i].Field) {
				hold(&changes[i], field)
				decided[changes[i].Field] = c.decide(&changes[i])
			}
		}
	}
	dropTogether(unit, changes, decided)
	for again := true; again; {
		again = c.valuesNeedStatus(ref, changes)
		for i := range changes {
			if changes[i].Verdict != Conflict {
				continue
			}
			for j := range changes {
				if changes[j].Verdict == Push && unit.together(changes[i].Field, changes[j].Field) {
					hold(&changes[j], changes[i].Field)
					again = true
				}
			}
		}
	}
	for i := range changes {
		if changes[i].Verdict == Conflict && c.decision(changes[i]) == ForCentral {
			drop(&changes[i])
		}
		if reason := Beyond(changes[i], c.record); changes[i].Verdict == Push && reason != "" {
			changes[i].Verdict, changes[i].Reason = Conflict, reason
		}
	}
}

// Beyond says why central cannot take an update that nothing stands against; empty where it can. DHIS2 2.41 to 2.43: an import
// that names no assigned user leaves the one that is there, and the time of completion is set only as the status changes.
func Beyond(change Change, record Record) string {
	status := func(face Face) string { return face.Objects[change.Ref].Fields[FieldStatus] }
	switch {
	case change.Verb == Update && change.Field == FieldAssignedUser && change.Local == "":
		return "central takes an assigned user away from no event"
	case change.Verb == Update && change.Field == FieldCompletedAt && status(record.Local) == status(record.Central):
		return "central sets the time of completion only as the status changes"
	}
	return ""
}

// followStatus decides about the dates of a status as about the status, unless something else was decided about one:
// servers set them themselves (DHIS2 2.41 to 2.43: completedAt), so they nearly always clash where it does.
func followStatus(unit unit, changes []Change, decided map[string]bool) {
	status := slices.IndexFunc(changes, func(change Change) bool { return change.Field == FieldStatus })
	if status < 0 || !decided[FieldStatus] {
		return
	}
	for i := range changes {
		if changes[i].Verdict == Conflict && !decided[changes[i].Field] && unit.ofStatus(changes[i].Field) {
			changes[i].Verdict, changes[i].Reason = changes[status].Verdict, ""
			if changes[i].Verdict == Dropped {
				changes[i].Reason = togetherDropped(FieldStatus)
			}
		}
	}
}

// dropTogether drops what the kit changed together with a dropped field and nobody decided about by itself.
func dropTogether(unit unit, changes []Change, decided map[string]bool) {
	for i := range changes {
		for j := range changes {
			if changes[i].Verdict == Dropped && changes[j].Verdict == Push && !decided[changes[j].Field] && unit.together(changes[i].Field, changes[j].Field) {
				changes[j].Verdict, changes[j].Reason = Dropped, togetherDropped(changes[i].Field)
			}
		}
	}
}

func hold(change *Change, with string) {
	change.Verdict, change.Reason = Conflict, "together with "+with
}

func togetherDropped(with string) string { return "together with " + with + ", " + ReasonDropped }

func drop(change *Change) { change.Verdict, change.Reason = Dropped, ReasonDropped }

// decision is what was decided about a change. Nothing can be decided for the kit where central has no such
// object any more, and nothing about a part of a relationship, which is never rewritten.
func (c *comparison) decision(change Change) Decision {
	if c.rules.Decide == nil || change.Kind == Relationship && change.Field != "" {
		return Undecided
	}
	decision := c.rules.Decide(change)
	if _, atCentral := c.record.Central.Objects[change.Ref]; decision == ForLocal && !atCentral {
		return Undecided
	}
	return decision
}

// decide carries out what was decided about a change, and tells whether anything was.
func (c *comparison) decide(change *Change) bool {
	switch c.decision(*change) {
	case ForLocal:
		change.Verdict, change.Reason = Push, ""
	case ForCentral:
		drop(change)
	default:
		return false
	}
	return true
}

// centralOnly returns the fields that central changed to something that local does not hold, in order. They
// matter to units that the owner asked for only, so it returns none without a rule.
func (c *comparison) centralOnly(ref Ref, local Object) []string {
	taken, wasTaken := c.record.Taken.Objects[ref]
	central, atCentral := c.record.Central.Objects[ref]
	if c.rules.Unit == nil || !wasTaken || !atCentral {
		return nil
	}
	return slices.DeleteFunc(changedFields(taken, central), func(field string) bool {
		return c.skip(central, field) || local.Fields[field] == central.Fields[field]
	})
}

// valuesNeedStatus holds the data values of an event that central keeps as a plan, unless the status that
// makes it a visit goes with them. DHIS2: a SCHEDULE, OVERDUE or SKIPPED event takes no values (E1315).
// It tells whether it held any.
func (c *comparison) valuesNeedStatus(ref Ref, changes []Change) (held bool) {
	central, atCentral := c.record.Central.Objects[ref]
	if ref.Kind != Event || !atCentral || !planned(central.Fields[FieldStatus]) {
		return false
	}
	for _, change := range changes {
		if change.Field == FieldStatus && change.Verdict == Push && !planned(change.Local) {
			return false
		}
	}
	for i := range changes {
		if changes[i].Verdict == Push && IsUID(changes[i].Field) {
			hold(&changes[i], FieldStatus)
			held = true
		}
	}
	return held
}

// planned tells whether an event of that status has not taken place.
func planned(status string) bool {
	return status == "SCHEDULE" || status == "OVERDUE" || status == "SKIPPED"
}

// IsUID tells whether a field is named by a uid, so an attribute value or a data value: a letter and ten
// letters or digits. No scalar's API name has that form, because none is eleven characters long but
// completedAt and scheduledAt, which are known.
func IsUID(field string) bool {
	if len(field) != 11 || field == FieldCompletedAt || field == FieldScheduledAt {
		return false
	}
	for i := range len(field) {
		b := field[i]
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
		if !letter && (i == 0 || b < '0' || b > '9') {
			return false
		}
	}
	return true
}

// unit knows which fields of one object belong together.
type unit struct {
	object Object
	rule   func(Object, string) string
	// plan says that a face holds the event as planned.
	plan bool
}

func (c *comparison) unitOf(ref Ref, local Object) unit {
	u := unit{object: local, rule: c.rules.Unit}
	for _, face := range []*Face{&c.record.Taken, &c.record.Loaded, &c.record.Local, &c.record.Central} {
		u.plan = u.plan || ref.Kind == Event && planned(face.Objects[ref].Fields[FieldStatus])
	}
	return u
}

// together tells whether two fields are of one unit.
func (u unit) together(a, b string) bool {
	return u.ofStatus(a) && u.ofStatus(b) || u.ruled(a, b)
}

// ruled tells whether two fields are of one unit by the owner's rule.
func (u unit) ruled(a, b string) bool {
	if u.rule == nil || alone(a) || alone(b) {
		return false
	}
	name := u.rule(u.object, a)
	return name != "" && name == u.rule(u.object, b)
}

// ofStatus tells whether a field is the status or one of its dates.
func (u unit) ofStatus(field string) bool {
	switch field {
	case FieldStatus, FieldCompletedAt:
		return true
	case FieldOccurredAt, FieldScheduledAt:
		return u.plan
	}
	return false
}

// alone tells whether a field is never part of a unit.
func alone(field string) bool {
	return field == FieldGeometry || strings.HasPrefix(field, NotePrefix) || strings.HasPrefix(field, OwnerPrefix)
}
