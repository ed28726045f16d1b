package orchestrator

import (
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// aliases are the people of the kit whom central holds under another uid: somebody adopted them. Everything but the requests
// to central and its answers knows them by their uid on the kit. A nil one knows nobody.
type aliases struct {
	atCentral map[string]string
	// foretold are those that are decided and not recorded yet: a run that is not confirmed has done nothing.
	foretold map[string]bool
}

func newAliases(identities []journal.Identity) *aliases {
	a := &aliases{atCentral: map[string]string{}, foretold: map[string]bool{}}
	for _, i := range identities {
		if i.Adopted {
			a.atCentral[i.Person] = i.AtCentral
		}
	}
	return a
}

// of is the person's uid at central.
func (a *aliases) of(person string) string {
	if a == nil {
		return person
	}
	if other, adopted := a.atCentral[person]; adopted {
		return other
	}
	return person
}

// adopted tells whether a root is a person with another uid at central.
func (a *aliases) adopted(r root) bool { return r.kind == rootPerson && a.of(r.uid) != r.uid }

// ref is an object as central names it.
func (a *aliases) ref(ref merge.Ref) merge.Ref {
	if ref.Kind == merge.TrackedEntity {
		ref.UID = a.of(ref.UID)
	}
	return ref
}

// everyOf lists the uids at central of some people, each once, in order.
func (a *aliases) everyOf(people []string) []string {
	uids := make([]string, len(people))
	for i, person := range people {
		uids[i] = a.of(person)
	}
	slices.Sort(uids)
	return slices.Compact(uids)
}

// sent gives what goes to central the names that central knows. Two people of the kit who are one at central become one.
func (a *aliases) sent(payload dhis2api.TrackerPayload) dhis2api.TrackerPayload {
	if a == nil || len(a.atCentral) == 0 {
		return payload
	}
	named := dhis2api.TrackerPayload{}
	at := map[string]*dhis2api.TrackedEntity{}
	for _, person := range payload.TrackedEntities {
		one := *person
		one.TrackedEntity = a.of(one.TrackedEntity)
		if first := at[one.TrackedEntity]; first != nil {
			first.Attributes = slices.Concat(first.Attributes, one.Attributes)
			continue
		}
		at[one.TrackedEntity] = &one
		named.TrackedEntities = append(named.TrackedEntities, &one)
	}
	for _, enrollment := range payload.Enrollments {
		one := *enrollment
		one.TrackedEntity = a.of(one.TrackedEntity)
		named.Enrollments = append(named.Enrollments, &one)
	}
	for _, event := range payload.Events {
		one := *event
		one.TrackedEntity = a.of(one.TrackedEntity)
		named.Events = append(named.Events, &one)
	}
	for _, relationship := range payload.Relationships {
		one := *relationship
		one.From, one.To = a.sentEnd(one.From), a.sentEnd(one.To)
		named.Relationships = append(named.Relationships, &one)
	}
	return named
}

func (a *aliases) sentEnd(end *dhis2api.RelationshipItem) *dhis2api.RelationshipItem {
	if kind, uid := end.Ref(); kind == dhis2api.KindTrackedEntity && a.of(uid) != uid {
		return dhis2api.ItemRef(kind, a.of(uid))
	}
	return end
}

// onKit is central's person as the kit names it: with its uid there, and so in everything that is in it.
func onKit(person *dhis2api.TrackedEntity, uid string) *dhis2api.TrackedEntity {
	if person.TrackedEntity == uid {
		return person
	}
	one, central := *person, person.TrackedEntity
	one.TrackedEntity = uid
	one.Relationships = tiesOnKit(person.Relationships, central, uid)
	one.Enrollments = make([]*dhis2api.Enrollment, len(person.Enrollments))
	for i, enrollment := range person.Enrollments {
		its := *enrollment
		its.TrackedEntity, its.Relationships = uid, tiesOnKit(enrollment.Relationships, central, uid)
		its.Events = make([]*dhis2api.Event, len(enrollment.Events))
		for i, event := range enrollment.Events {
			visit := *event
			visit.TrackedEntity, visit.Relationships = uid, tiesOnKit(event.Relationships, central, uid)
			its.Events[i] = &visit
		}
		one.Enrollments[i] = &its
	}
	return &one
}

func tiesOnKit(ties []*dhis2api.Relationship, central, uid string) []*dhis2api.Relationship {
	named := make([]*dhis2api.Relationship, len(ties))
	for i, tie := range ties {
		named[i] = tieOnKit(tie, central, uid)
	}
	return named
}

// tieOnKit is a relationship in which one end, a person, has the uid that the kit gives it.
func tieOnKit(tie *dhis2api.Relationship, central, uid string) *dhis2api.Relationship {
	one := *tie
	for _, end := range []**dhis2api.RelationshipItem{&one.From, &one.To} {
		if kind, named := (*end).Ref(); kind == dhis2api.KindTrackedEntity && named == central {
			*end = dhis2api.ItemRef(kind, uid)
		}
	}
	return &one
}

// tieAs is central's relationship with the ends that the kit's own names, where they are the same people.
func (a *aliases) tieAs(kit merge.Object, tie *dhis2api.Relationship) *dhis2api.Relationship {
	for _, end := range endsOf(kit.Fields) {
		if known := a.ref(end); known != end {
			tie = tieOnKit(tie, known.UID, end.UID)
		}
	}
	return tie
}
