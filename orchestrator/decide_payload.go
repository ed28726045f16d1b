package orchestrator

import (
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// The functions below give an object of the kit's the values that were decided, in a copy: what is sent is made of
// it as of any other.

// otherValues are the fields of which another value than the kit's is sent.
func (o objectChanges) otherValues() map[string]string {
	values := map[string]string{}
	for _, c := range o.changes {
		if c.Verb == merge.Update && c.Field != "" && sentValue(c) != c.Local {
			values[c.Field] = sentValue(c)
		}
	}
	return values
}

func decidedPerson(o objectChanges, local *dhis2api.TrackedEntity) *dhis2api.TrackedEntity {
	p := *local
	for field, value := range o.otherValues() {
		switch {
		case field == merge.FieldOrgUnit:
			p.OrgUnit = value
		case field == "inactive":
			p.Inactive = value == "true"
		case merge.IsUID(field):
			p.Attributes = slices.DeleteFunc(slices.Clone(p.Attributes), func(a dhis2api.Attribute) bool { return a.Attribute == field })
			p.Attributes = append(p.Attributes, dhis2api.Attribute{Attribute: field, Value: value})
		}
	}
	return &p
}

func decidedEnrollment(o objectChanges, local *dhis2api.Enrollment) *dhis2api.Enrollment {
	p := *local
	for field, value := range o.otherValues() {
		switch field {
		case merge.FieldOrgUnit:
			p.OrgUnit = value
		case merge.FieldStatus:
			p.Status = value
		case "enrolledAt":
			p.EnrolledAt = value
		case merge.FieldOccurredAt:
			p.OccurredAt = value
		case merge.FieldCompletedAt:
			p.CompletedAt = value
		case "followUp":
			p.FollowUp = value == "true"
		}
	}
	return &p
}

func decidedEvent(o objectChanges, local *dhis2api.Event) *dhis2api.Event {
	p := *local
	for field, value := range o.otherValues() {
		switch field {
		case merge.FieldOrgUnit:
			p.OrgUnit = value
		case merge.FieldStatus:
			p.Status = value
		case merge.FieldOccurredAt:
			p.OccurredAt = value
		case merge.FieldScheduledAt:
			p.ScheduledAt = value
		case merge.FieldCompletedAt:
			p.CompletedAt = value
		default:
			p.DataValues = slices.DeleteFunc(slices.Clone(p.DataValues), func(v dhis2api.EventDataValue) bool { return v.DataElement == field })
			p.DataValues = append(p.DataValues, dhis2api.EventDataValue{DataElement: field, Value: value})
		}
	}
	return &p
}

func decidedValue(o objectChanges, local *dhis2api.DataValue) *dhis2api.DataValue {
	p := *local
	for field, value := range o.otherValues() {
		switch field {
		case "value":
			p.Value = value
		case "comment":
			p.Comment = value
		case "followUp":
			p.FollowUp = value == "true"
		}
	}
	return &p
}

// edit is who changed the field of a change last at this server, and when: of the value itself where DHIS2 says so,
// else of its object.
func (h *holding) edit(c merge.Change) journal.Edit {
	switch c.Ref.Kind {
	case merge.TrackedEntity:
		if p := h.persons[c.UID]; p != nil {
			for _, a := range p.Attributes {
				if a.Attribute == c.Field {
					return h.editOf(a.UpdatedAt, nil, a.StoredBy)
				}
			}
			return h.editOf(p.UpdatedAt, p.UpdatedBy, p.StoredBy)
		}
	case merge.Enrollment:
		if e := h.enrollments[c.UID]; e != nil {
			return h.editOf(e.UpdatedAt, e.UpdatedBy, e.StoredBy)
		}
	case merge.Event:
		if e := h.events[c.UID]; e != nil {
			for _, v := range e.DataValues {
				if v.DataElement == c.Field {
					return h.editOf(v.UpdatedAt, v.UpdatedBy, v.StoredBy)
				}
			}
			return h.editOf(e.UpdatedAt, e.UpdatedBy, e.StoredBy)
		}
	case merge.DataValue:
		if v := h.dataValues[c.UID]; v != nil {
			return h.editOf(v.LastUpdated, nil, v.StoredBy)
		}
	case merge.Completion:
		if v := h.completions[c.UID]; v != nil {
			return h.editOf(v.Date, nil, v.StoredBy)
		}
	}
	return journal.Edit{}
}

func (h *holding) editOf(at string, user *dhis2api.UserRef, storedBy string) journal.Edit {
	edit := journal.Edit{By: storedBy, At: snapshot.CanonicalOf(h.server).Time(at)}
	if user != nil && user.Username != "" {
		edit.By = user.Username
	}
	return edit
}
