package dhis2sim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// What DHIS2 does by itself when metadata changes.

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

// remove deletes an object. What lists it forgets it, its children go with it; where another object names it
// as its one and only, it stays (E4030). An option in a set stays too, though DHIS2 says it is gone; the
// set's version grows.
func (m *metadataImport) remove(class, uid string) *metadataError {
	if set := m.object("optionSets", refUID(m.object(class, uid)["optionSet"])); class == "options" && set != nil {
		m.change("optionSets", text(set["id"]), "version", number(set["version"])+1)
		return nil
	}
	uses := m.uses(class, uid)
	for _, u := range uses {
		if u.single && !u.child {
			e := m.error(class, uid, "E4030", "", "Object could not be deleted because it is associated with another object: "+simpleName(u.class))
			return &e
		}
	}
	for _, u := range uses {
		if u.child {
			m.metadata.remove(u.class, u.uid)
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(list(m.object(u.class, u.uid)[u.property])), func(item any) bool {
			member, _ := item.(object)
			return member["id"] == uid || refUID(member[embeddedLists[u.property].subject]) == uid
		})
		m.change(u.class, u.uid, u.property, kept)
	}
	m.metadata.remove(class, uid)
	return nil
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
