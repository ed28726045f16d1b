package orchestrator

import (
	"context"
	"maps"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// readByPeople reads the relationships between people by these: two requests for two hundred people, where each by itself takes
// three. Records show the relationships that begin in them, or that go both ways (DHIS2 2.41 to 2.43). It returns the
// roots that this tells nothing about: no people at their ends, or one that is expected to be there and is not shown.
func (h *holding) readByPeople(ctx context.Context, roots []root) (others []root, err error) {
	ends := map[root][2]string{}
	people := map[string]bool{}
	for _, r := range roots {
		tie := h.tie(r)
		from, _ := parseEnd(tie.Fields[merge.FieldFrom])
		to, _ := parseEnd(tie.Fields[merge.FieldTo])
		if from.Kind != merge.TrackedEntity || to.Kind != merge.TrackedEntity {
			others = append(others, r)
			continue
		}
		ends[r] = [2]string{from.UID, to.UID}
		people[h.aliases.of(from.UID)], people[h.aliases.of(to.UID)] = true, true
	}
	shown, deleted, err := h.peopleWithTies(ctx, slices.Sorted(maps.Keys(people)))
	if err != nil {
		return nil, err
	}
	for _, r := range roots {
		pair, ok := ends[r]
		if !ok {
			continue
		}
		ref := merge.Ref{Kind: merge.Relationship, UID: r.uid}
		tie, found := h.tie(r), false
		for _, other := range shown[h.aliases.of(pair[0])] {
			other = h.aliases.tieAs(tie, other)
			if other.Relationship == r.uid || h.twins(tie, other) {
				h.addRelationship(r, other)
				found = found || other.Relationship == r.uid
			}
		}
		if _, wanted := h.expected[r][ref]; wanted && !found {
			others = append(others, r)
			continue
		}
		for _, person := range pair {
			if deleted[h.aliases.of(person)] {
				h.faces[r].Deleted[merge.Ref{Kind: merge.TrackedEntity, UID: person}] = true
			}
		}
	}
	return others, nil
}

// tie is a relationship as the kit holds it, or held it when the trip began.
func (h *holding) tie(r root) merge.Object {
	ref := merge.Ref{Kind: merge.Relationship, UID: r.uid}
	if tie, there := h.ties[r].Objects[ref]; there {
		return tie
	}
	return h.expected[r][ref]
}

// peopleWithTies reads the relationships that people show, and tells which of those who show none are deleted.
func (h *holding) peopleWithTies(ctx context.Context, people []string) (shown map[string][]*dhis2api.Relationship, deleted map[string]bool, err error) {
	shown, deleted = map[string][]*dhis2api.Relationship{}, map[string]bool{}
	if len(people) == 0 {
		return shown, deleted, nil
	}
	lookup := dhis2api.Lookup{Fields: "trackedEntity,relationships[" + dhis2api.RelationshipFields + "]"}
	for person, err := range h.server.TrackedEntitiesByID(ctx, people, lookup) {
		if err != nil {
			return nil, nil, err
		}
		shown[person.TrackedEntity] = person.Relationships
	}
	missing := slices.DeleteFunc(people, func(uid string) bool {
		_, there := shown[uid]
		return there
	})
	if len(missing) == 0 {
		return shown, deleted, nil
	}
	deleted, err = h.deletedAmong(ctx, missing)
	return shown, deleted, err
}

// deletedAmong tells which of some people the server has deleted.
func (h *holding) deletedAmong(ctx context.Context, people []string) (map[string]bool, error) {
	deleted := map[string]bool{}
	lookup := dhis2api.Lookup{Fields: "trackedEntity,deleted", IncludeDeleted: true}
	for person, err := range h.server.TrackedEntitiesByID(ctx, people, lookup) {
		if err != nil {
			return nil, err
		}
		if person.Deleted {
			deleted[person.TrackedEntity] = true
		}
	}
	return deleted, nil
}

// readRelationships looks each relationship up by its id, but for those that the people they begin in show. Where it is not
// there, those of its first end are read too: the same tie may have been made at this server under another id (E4018).
func (h *holding) readRelationships(ctx context.Context, roots []root) error {
	others, err := h.readByPeople(ctx, roots)
	if err != nil {
		return err
	}
	for _, r := range others {
		ref := merge.Ref{Kind: merge.Relationship, UID: r.uid}
		tie := h.tie(r)
		found, err := h.server.Relationship(ctx, r.uid, dhis2api.Lookup{})
		switch {
		case err == nil:
			h.addRelationship(r, h.aliases.tieAs(tie, found))
			continue
		case forbidden(err):
			h.unreadable(r, ref, err)
			continue
		case !dhis2api.NotFound(err):
			return err
		}
		end, _ := parseEnd(tie.Fields[merge.FieldFrom])
		query, ok := endOf(h.aliases.ref(end))
		if !ok {
			continue
		}
		for other, err := range h.server.Relationships(ctx, query) {
			if dhis2api.NotFound(err) || forbidden(err) {
				break
			}
			if err != nil {
				return err
			}
			if other = h.aliases.tieAs(tie, other); h.twins(tie, other) {
				h.addRelationship(r, other)
			}
		}
		if err := h.lookAtEnds(ctx, r, tie); err != nil {
			return err
		}
	}
	return nil
}

// lookAtEnds notes which tracked entities at the ends of a relationship are deleted.
func (h *holding) lookAtEnds(ctx context.Context, r root, tie merge.Object) error {
	people := slices.DeleteFunc(endsOf(tie.Fields), func(end merge.Ref) bool { return end.Kind != merge.TrackedEntity })
	if len(people) == 0 {
		return nil
	}
	var uids []string
	for _, person := range people {
		uids = append(uids, h.aliases.of(person.UID))
	}
	deleted, err := h.deletedAmong(ctx, uids)
	for _, person := range people {
		if deleted[h.aliases.of(person.UID)] {
			h.faces[r].Deleted[person] = true
		}
	}
	return err
}

// twins tells whether a relationship is the same tie as the other server's. Any other one of the same end is a record of
// its own.
func (h *holding) twins(tie merge.Object, relationship *dhis2api.Relationship) bool {
	face := merge.Face{Objects: map[merge.Ref]merge.Object{}}
	h.canonical.AddRelationship(&face, relationship)
	return merge.Twins(tie, face.Objects[merge.Ref{Kind: merge.Relationship, UID: relationship.Relationship}])
}

func (h *holding) addRelationship(r root, relationship *dhis2api.Relationship) {
	h.relationships[relationship.Relationship] = relationship
	h.add(r, func(face *merge.Face) { h.canonical.AddRelationship(face, relationship) })
}
