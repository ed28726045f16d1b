package dhis2sim

import (
	"slices"
	"strings"
	"sync"
)

// viewer shows metadata objects as the API does: with what is found from other objects, and cut to a
// field filter.
type viewer struct {
	*Server
	withoutDefaults bool // defaults=EXCLUDE: neither the default category objects nor references to them
	withoutSharing  bool // skipSharing=true
}

// defaultClasses are the classes of which a fresh server holds one object named "default".
var defaultClasses = fields("categories categoryCombos categoryOptions categoryOptionCombos")

// isDefault tells whether an object is one of the default category objects.
func isDefault(class string, o object) bool {
	return defaultClasses[class] && o["name"] == "default"
}

// object is what the filter shows of an object.
func (v viewer) object(class string, o object, filter *fieldFilter) object {
	out := object{}
	show := func(name string) {
		if filter.exclude[name] || v.withoutSharing && name == "sharing" {
			return
		}
		value := v.value(class, name, v.property(class, o, name), filter.named[name])
		if value != nil {
			out[filter.shownAs(name)] = filter.shown(name, value)
		}
	}
	for _, preset := range filter.presets {
		switch preset {
		case "all":
			for name := range inverses[class] {
				show(name)
			}
			if class != "" || o["id"] != nil {
				for name := range fields("displayName access favorite favorites user") {
					show(name)
				}
			}
			v.showOwn(class, o, show)
			if class == "users" {
				show("name")
			}
		case "owner", "persisted":
			v.showOwn(class, o, show)
			if class == "users" && v.minor > 41 {
				show("name")
			}
		case "identifiable":
			for name := range fields("id name code created lastUpdated lastUpdatedBy") {
				show(name)
			}
		case "nameable":
			for name := range fields("id name shortName description code created lastUpdated") {
				show(name)
			}
		case "simple":
			for name, value := range o {
				switch value.(type) {
				case object, []any:
				default:
					show(name)
				}
			}
		case "id", "code":
			show(preset)
		case "idName":
			show("id")
			show("displayName")
		}
	}
	for name := range filter.named {
		show(name)
	}
	return out
}

// showOwn shows what is kept of an object.
func (v viewer) showOwn(class string, o object, show func(string)) {
	for name := range o {
		show(name)
	}
	if class != "" {
		show("translations")
		show("attributeValues")
	}
}

// property is an object's property, kept or found; nil when there is none.
func (v viewer) property(class string, o object, name string) any {
	if value, ok := o[name]; ok {
		return value
	}
	if class == "dataElements" && name == "dataSetElements" {
		return v.dataSetElementsOf(text(o["id"]))
	}
	if from, ok := inverses[class][name]; ok {
		out := []any{}
		for _, uid := range v.referrers(from.class, from.property, text(o["id"])) {
			out = append(out, reference(uid))
		}
		return out
	}
	switch name {
	case "displayName":
		return v.property(class, o, "name")
	case "name":
		if class == "users" {
			return text(o["firstName"]) + " " + text(o["surname"])
		}
	case "displayShortName", "displayDescription":
		return o[strings.ToLower(name[7:8])+name[8:]]
	case "displayFormName":
		if o["formName"] != nil {
			return o["formName"]
		}
		return o["name"]
	case "access":
		return object{"manage": true, "write": true, "read": true, "update": true, "delete": true}
	case "favorite":
		return false
	case "favorites", "translations", "attributeValues":
		return []any{}
	case "user":
		return o["createdBy"]
	case "publicAccess":
		sharing, _ := o["sharing"].(object)
		return sharing["public"]
	case "isDefault":
		return isDefault(class, o)
	case "optionSetValue":
		return o["optionSet"] != nil
	case "dimensionItem":
		return o["id"]
	case "registration":
		return o["programType"] == "WITH_REGISTRATION"
	case "leaf":
		return class == "organisationUnits" && len(v.referrers(class, "parent", text(o["id"]))) == 0
	case "ancestors":
		return v.ancestors(o)
	case "userCredentials": // gone in 2.42
		if class == "users" && v.minor == 41 {
			return object{"id": o["id"], "username": o["username"], "disabled": o["disabled"], "userRoles": o["userRoles"]}
		}
	}
	return nil
}

// ancestors are the units above one, from the root downwards.
func (v viewer) ancestors(unit object) any {
	out := []any{}
	for _, uid := range strings.Split(strings.Trim(text(unit["path"]), "/"), "/") {
		if uid != "" && uid != unit["id"] {
			out = append(out, reference(uid))
		}
	}
	return out
}

// dataSetElementsOf are the memberships of a data element, which the data sets keep.
func (v viewer) dataSetElementsOf(dataElement string) any {
	out := []any{}
	for _, dataSet := range v.objects("dataSets") {
		for _, member := range list(dataSet["dataSetElements"]) {
			if m, ok := member.(object); ok && refUID(m["dataElement"]) == dataElement {
				out = append(out, m)
			}
		}
	}
	return out
}

// value is what the filter shows of a property's value: a reference is {"id"} unless the filter asks for
// more, an embedded object shows everything.
func (v viewer) value(class, name string, value any, below *fieldFilter) any {
	switch value := value.(type) {
	case []any:
		out := make([]any, 0, len(value))
		for _, item := range value {
			if shown := v.value(class, name, item, below); shown != nil {
				out = append(out, shown)
			}
		}
		return out
	case object:
		target, uid := referredClass(class, name), text(value["id"])
		if target != "" && uid != "" {
			if target == "users" && class != "organisationUnits" {
				return v.userReference(uid)
			}
			return v.reference(target, uid, below)
		}
		if below == nil {
			if name == "sharing" || name == "geometry" {
				return value
			}
			below = everything
		}
		if embeddedLists[name].owner != "" {
			value = v.embedded(name, value)
		}
		return v.object("", value, below)
	}
	return value
}

// everything shows all of an object.
var everything = parseFields("*")

func (v viewer) reference(class, uid string, below *fieldFilter) any {
	target := v.Server.object(class, uid)
	if v.withoutDefaults && isDefault(class, target) {
		return nil
	}
	if below != nil && target != nil {
		return v.object(class, target, below)
	}
	return reference(uid)
}

// userReference is how nearly everything names a user, whatever the filter asks for (DHIS2's
// UserPropertyTransformer).
func (v viewer) userReference(uid string) any {
	user := v.Server.object("users", uid)
	if user == nil {
		return reference(uid)
	}
	name := v.property("users", user, "name")
	return object{"id": uid, "code": user["code"], "name": name, "displayName": name, "username": user["username"]}
}

// embedded adds to an embedded object what it shows of its surroundings.
func (v viewer) embedded(name string, o object) object {
	p := embeddedLists[name]
	if p.subject != "trackedEntityAttribute" {
		return o
	}
	attribute := v.Server.object("trackedEntityAttributes", refUID(o[p.subject]))
	around := v.Server.object(singulars[p.owner], refUID(o[p.owner]))
	out := object{"name": text(around["name"]) + " " + text(attribute["name"]), "valueType": attribute["valueType"]}
	for key, value := range o {
		out[key] = value
	}
	return out
}

// referrals remembers who refers to whom, for one generation of the metadata. It has its own lock, because
// reading requests fill it.
type referrals struct {
	mu         sync.Mutex
	since      int
	byProperty map[inverse]map[string][]string // uids of the referring objects by the uid referred to
}

// referrers are the objects of a class whose property refers to uid, in their own order.
func (s *Server) referrers(class, property, uid string) []string {
	s.referrals.mu.Lock()
	defer s.referrals.mu.Unlock()
	if s.referrals.byProperty == nil || s.referrals.since != s.metadata.generation {
		s.referrals.byProperty, s.referrals.since = map[inverse]map[string][]string{}, s.metadata.generation
	}
	key := inverse{class, property}
	index, ok := s.referrals.byProperty[key]
	if !ok {
		index = map[string][]string{}
		for _, o := range s.objects(class) {
			referred := refUIDs(o[property])
			if one := refUID(o[property]); one != "" {
				referred = append(referred, one)
			}
			for _, to := range slices.Compact(referred) {
				index[to] = append(index[to], text(o["id"]))
			}
		}
		s.referrals.byProperty[key] = index
	}
	return index[uid]
}
