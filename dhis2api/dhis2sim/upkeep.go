package dhis2sim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// What DHIS2 does by itself when metadata changes.

// countVersions raises the versions of sets whose options are imported, and of data sets whose sections are:
// once for the lot, or once for every new one. A set that comes with its options is not counted up.
func (m *metadataImport) countVersions(passed bundle) {
	for parents, member := range map[string]inverse{"optionSets": {"options", "optionSet"}, "dataSets": {"sections", "dataSet"}} {
		raised := map[string]int64{}
		for _, o := range passed[member.class] {
			uid := refUID(o[member.property])
			if m.object(member.class, text(o["id"])) == nil {
				raised[uid]++
			} else {
				raised[uid] = max(raised[uid], 1)
			}
		}
		for uid, by := range raised {
			if parent := m.object(parents, uid); parent != nil {
				m.change(parents, uid, "version", number(parent["version"])+by)
			}
		}
	}
}

// reunite makes parents and children name each other again after an import: a listed child gets the parent,
// unless the import says otherwise, and every list is made anew from what the children say. A set's options
// that an import of the set no longer lists leave it.
func (m *metadataImport) reunite(f family, passed bundle) {
	touched := map[string]bool{}
	for _, sent := range passed[f.parents] {
		uid := text(sent["id"])
		touched[uid] = true
		listed := refUIDs(sent[f.list])
		for _, child := range listed {
			if o := m.object(f.children, child); o != nil && refUID(m.given[f.children][child][f.parent]) == "" {
				m.change(f.children, child, f.parent, reference(uid))
			}
		}
		if f.parents != "optionSets" || sent[f.list] == nil {
			continue
		}
		for _, child := range m.referrers(f.children, f.parent, uid) {
			if !slices.Contains(listed, child) && m.given[f.children][child] == nil {
				m.change(f.children, child, f.parent, nil)
			}
		}
	}
	for _, sent := range passed[f.children] {
		if parent := refUID(sent[f.parent]); parent != "" {
			touched[parent] = true
		}
	}
	for uid := range touched {
		parent := m.object(f.parents, uid)
		if parent == nil {
			continue
		}
		children := slices.Clone(m.referrers(f.children, f.parent, uid))
		before := refUIDs(parent[f.list])
		slices.SortStableFunc(children, func(a, b string) int {
			return cmp.Or(
				cmp.Compare(number(m.object(f.children, a)["sortOrder"]), number(m.object(f.children, b)["sortOrder"])),
				cmp.Compare(slices.Index(before, a), slices.Index(before, b)))
		})
		references := make([]any, len(children))
		for i, child := range children {
			references[i] = reference(child)
		}
		m.change(f.parents, uid, f.list, references)
	}
}

// change stores an object with one property changed; nil takes the property away.
func (s *Server) change(class, uid, property string, value any) {
	o := maps.Clone(s.object(class, uid))
	if value == nil {
		delete(o, property)
	} else {
		o[property] = value
	}
	s.metadata.put(class, o)
}

// makeOptionCombos makes the option combos of a category combo that are missing: one for every choice of
// one option of each of its categories.
func (s *Server) makeOptionCombos(categoryCombo string) {
	choices := [][]string{{}}
	for _, category := range refUIDs(s.object("categoryCombos", categoryCombo)["categories"]) {
		var longer [][]string
		for _, choice := range choices {
			for _, option := range refUIDs(s.object("categories", category)["categoryOptions"]) {
				longer = append(longer, append(slices.Clone(choice), option))
			}
		}
		choices = longer
	}
	made := map[string]bool{}
	for _, combo := range s.referrers("categoryOptionCombos", "categoryCombo", categoryCombo) {
		options := refUIDs(s.object("categoryOptionCombos", combo)["categoryOptions"])
		slices.Sort(options)
		made[strings.Join(options, " ")] = true
	}
	for _, choice := range choices {
		if made[strings.Join(slices.Sorted(slices.Values(choice)), " ")] || len(choice) == 0 {
			continue
		}
		var names []string
		options := []any{}
		for _, option := range choice {
			names = append(names, text(s.object("categoryOptions", option)["name"]))
			options = append(options, reference(option))
		}
		now := s.timestamp(s.now())
		s.metadata.put("categoryOptionCombos", object{
			"id": newUID(), "name": strings.Join(names, ", "), "categoryCombo": reference(categoryCombo), "categoryOptions": options,
			"ignoreApproval": false, "created": now, "lastUpdated": now,
		})
	}
}

// needed are the properties by which objects keep another from being deleted (E4030), by its class.
var needed = map[string][]inverse{
	"categories":         {{"categoryCombos", "categories"}},
	"dataElements":       {{"programStages", "programStageDataElements"}},
	"indicatorTypes":     {{"indicators", "indicatorType"}},
	"optionSets":         {{"dataElements", "optionSet"}},
	"organisationUnits":  {{"organisationUnits", "parent"}},
	"trackedEntityTypes": {{"programs", "trackedEntityType"}},
	"userRoles":          {{"users", "userRoles"}},
}

// dependents are objects beside the families' children that go when the one that they name goes.
var dependents = map[inverse]bool{
	{"categoryOptionCombos", "categoryCombo"}: true, {"programIndicators", "program"}: true,
	{"programRules", "program"}: true, {"programRuleVariables", "program"}: true, {"sections", "dataSet"}: true,
}

// remove deletes an object, with what depends on it; lists forget it, and what had its category combo gets the
// default one. It is refused where others need it, by E4030 or, where only the database knows, without a code.
func (m *metadataImport) remove(class, uid string) *metadataError {
	const refusal = "Object could not be deleted because it is associated with another object"
	if data := m.dataOf(uid); data != "" {
		e := m.error(class, uid, "E4030", "", refusal+": "+data)
		return &e
	}
	uses := m.uses(class, uid)
	for _, u := range uses {
		by := inverse{u.class, u.property}
		if slices.Contains(needed[class], by) {
			e := m.error(class, uid, "E4030", "", refusal+": "+simpleName(u.class))
			return &e
		}
		inProgram := class == "trackedEntityAttributes" && embeddedLists[u.property].subject != ""
		if inProgram || u.single && !u.child && !dependents[by] && class != "categoryCombos" {
			return &metadataError{Message: refusal}
		}
	}
	m.metadata.remove(class, uid)
	for _, u := range uses {
		o := m.object(u.class, u.uid)
		switch {
		case o == nil: // went with another
		case u.child || dependents[inverse{u.class, u.property}]:
			m.remove(u.class, u.uid)
		case u.single:
			m.change(u.class, u.uid, u.property, reference("bjDvmb4bfuf"))
		default:
			m.change(u.class, u.uid, u.property, slices.DeleteFunc(slices.Clone(list(o[u.property])), func(item any) bool {
				member, _ := item.(object)
				return member["id"] == uid || refUID(member[embeddedLists[u.property].subject]) == uid
			}))
		}
	}
	return nil
}

// dataOf names the kind of data that refers to an object, "" when none does.
func (s *Server) dataOf(uid string) string {
	for key := range s.aggregate.values {
		if uid == key.orgUnit || uid == key.dataElement || uid == key.categoryOptionCombo || uid == key.attributeOptionCombo {
			return "DataValue"
		}
	}
	for _, e := range s.tracker.entities {
		attribute := slices.ContainsFunc(e.attributes, func(v attributeValue) bool { return v.attribute == uid })
		if uid == e.unit || uid == e.entityType || attribute {
			return "TrackedEntity"
		}
	}
	for _, e := range s.tracker.enrollments {
		if uid == e.unit || uid == e.program {
			return "Enrollment"
		}
	}
	for _, e := range s.tracker.events {
		value := slices.ContainsFunc(e.dataValues, func(v dataValue) bool { return v.dataElement == uid })
		if uid == e.unit || uid == e.program || uid == e.programStage || value {
			return "Event"
		}
	}
	for _, r := range s.tracker.relationships {
		if uid == r.relationshipType {
			return "Relationship"
		}
	}
	return ""
}

// use is one property of one object that refers to an object.
type use struct {
	class, uid, property string
	single               bool // the property holds this one reference, not a list
	child                bool // the object is a child of the one that it refers to
}

// uses finds everything that refers to an object.
func (s *Server) uses(class, uid string) []use {
	var found []use
	for user, objects := range s.metadata.classes {
		for _, o := range objects.list {
			for property, value := range o {
				if property == "createdBy" || property == "lastUpdatedBy" {
					continue
				}
				u := use{class: user, uid: text(o["id"]), property: property}
				target := referredClass(user, property)
				if one, ok := value.(object); ok && target == class && one["id"] == uid {
					u.single = true
					u.child = slices.Contains(families, family{class, childrenOf(class, user), user, property})
					found = append(found, u)
				}
				subject := embeddedLists[property].subject
				if slices.ContainsFunc(list(value), func(item any) bool {
					member, _ := item.(object)
					return target == class && member["id"] == uid || subject != "" && singulars[subject] == class && refUID(member[subject]) == uid
				}) {
					found = append(found, u)
				}
			}
		}
	}
	return found
}

// childrenOf is the property by which a class lists another, "" when it does not.
func childrenOf(parents, children string) string {
	for _, f := range families {
		if f.parents == parents && f.children == children {
			return f.list
		}
	}
	return ""
}
