package snapshot

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Target is what preparing metadata has to know of the server that it will be loaded into.
type Target struct {
	// Account is the account that loads. It and its roles stay as they are.
	Account Account
	// Defaults are the target's own default category objects.
	Defaults Defaults
	// Users are the uids of the target's users by their names in lower case. A user of central's whom the
	// target has under another uid stays as the target has him, and references point to him.
	Users map[string]string
	// Roots are the scope's root org units: people work at and below them, wherever else they do at central. Empty:
	// where they do at central.
	Roots []string
	// Existing holds, for objects that the target has already, the ids in those of their lists that
	// preparing prunes: object id, property, ids. What stands there and is not carried is kept, so that
	// loading takes nothing from another scope on the same server.
	Existing map[string]map[string][]string
	// Brought are the objects that earlier loads made. What the target's object holds of them and is not carried
	// any more is not kept.
	Brought *Brought
	// Without are uids of objects to leave out, because the target refuses them.
	Without map[string]bool
	// Present are those among Without that the target has in an earlier form: references to them stay.
	Present map[string]bool
}

// Account is a user of the target with its roles.
type Account struct {
	ID       string
	Username string
	Roles    []Role
}

// Role is a user role; names are unique on a server.
type Role struct {
	ID, Name string
}

// Prepare makes of metadata as central gave it the bundle that the target is given. It is a pure function
// and leaves m as it is. What it changes:
//
//   - people's capture units are cut down to the scope: a unit above it becomes the scope's roots below, so that
//     nobody captures at units that are only there because records or the hierarchy name them. Where people
//     search and view stays;
//   - assignments to organisation units (of programs, data sets, category options, unit groups, users) and
//     members of user groups are cut down to what m carries; what the target's object holds besides is kept.
//     A category option whose units all lie outside becomes one without restriction;
//   - other references to what m does not carry are dropped;
//   - sharing with people and groups that m does not carry is dropped, an unknown owner too (the importing
//     account then owns the object);
//   - who made and changed an object, links, the caller's access, favourites, data approval workflows,
//     pictures, passwords, second factors and logins by another system (LDAP, OpenID) are dropped; translations
//     and authorities stay;
//   - default category objects are left out and references to them point to the target's own, also those
//     within expressions and custom forms;
//   - the account in use and its roles are left out, whether they are the same by uid or by name, and users
//     whom the target has under another uid; references point to the target's own. A user whom loading brought and
//     central made anew under another uid keeps the one that the target knows;
//   - classes that are never cloned are left out, custom icons, which go their own way, and
//     objects that the target refuses.
//
// Objects keep m's order. An error names the object that is not JSON.
func (m Metadata) Prepare(target Target) (Metadata, error) {
	p := newPreparation(m, target)
	bundle := Metadata{}
	for class, objects := range m {
		if neverCloned(class) || class == customIcons {
			continue
		}
		for _, raw := range objects {
			object, err := decodeObject(raw)
			if err != nil {
				return nil, fmt.Errorf("metadata, %s %s: %w", class, objectID(raw), err)
			}
			id, _ := object["id"].(string)
			if !p.carries(class, id) {
				continue
			}
			if class == "users" {
				p.narrow(object)
				if own := p.renamed[id]; own != "" {
					id, object["id"] = own, own
				}
			}
			p.clean(class, object)
			for _, property := range prunedLists(class) {
				p.prune(id, property, object)
			}
			if class == "programs" {
				p.keepStages(id, object)
			}
			prepared, err := encodeObject(object)
			if err != nil {
				return nil, fmt.Errorf("metadata, %s %s: %w", class, id, err)
			}
			for central, own := range p.defaults {
				prepared = bytes.ReplaceAll(prepared, []byte(central), []byte(own))
			}
			bundle[class] = append(bundle[class], prepared)
		}
	}
	return bundle, nil
}

// prunedLists are the properties of a class whose lists are cut down to what is carried and joined with
// what the target's object has besides. They may be thousands long at central.
func prunedLists(class string) []string {
	switch class {
	case "programs", "dataSets", "categoryOptions", "organisationUnitGroups":
		return []string{"organisationUnits"}
	case "users":
		return []string{"organisationUnits", "dataViewOrganisationUnits", "teiSearchOrganisationUnits"}
	case "userGroups":
		return []string{"users"}
	}
	return nil
}

// preparation is the state of one Prepare.
type preparation struct {
	target Target
	// known are the ids that references may name: what goes into the bundle, and what the target has
	// itself (its account, its account's roles, its defaults).
	known map[Reference]bool
	// left are the objects of the metadata that do not go into the bundle.
	left map[Reference]bool
	// renamed maps ids of left objects to those of the target's own; defaults are those among them that are of
	// default category objects, which expressions (#{element.combo}) and the HTML of custom forms name in their text.
	renamed, defaults map[string]string
	// parents are the units' parents.
	parents map[string]string
}

func newPreparation(m Metadata, target Target) *preparation {
	p := &preparation{
		target:   target,
		known:    map[Reference]bool{},
		left:     map[Reference]bool{},
		renamed:  m.Defaults().Mapping(target.Defaults),
		defaults: m.Defaults().Mapping(target.Defaults),
		parents:  m.parents(),
	}
	for class, objects := range m {
		if neverCloned(class) {
			continue
		}
		for _, raw := range objects {
			object, err := decodeObject(raw)
			if err != nil {
				continue
			}
			id, _ := object["id"].(string)
			if own, is := p.ownOf(class, object); is {
				if own != id {
					p.renamed[id] = own
				}
				if own == id || class != "users" || !target.Brought.has(Reference{class, own}) {
					p.left[Reference{class, id}] = true
				} else {
					p.known[Reference{class, id}] = true
				}
				id = own
			}
			if target.Without[id] {
				p.left[Reference{class, id}] = true
				if !target.Present[id] {
					continue
				}
			}
			p.known[Reference{class, id}] = true
		}
	}
	p.known[Reference{"users", target.Account.ID}] = true
	for _, role := range target.Account.Roles {
		p.known[Reference{"userRoles", role.ID}] = true
	}
	return p
}

// ownOf is the id of the target's own object that stands for this one, where the target has such a one by
// nature: the default category objects, the account in use, its roles.
func (p *preparation) ownOf(class string, object map[string]any) (string, bool) {
	id, _ := object["id"].(string)
	name, _ := object["name"].(string)
	switch {
	case isDefaultCategoryClass(class) && name == "default":
		if renamed := p.renamed[id]; renamed != "" {
			return renamed, true
		}
		return id, true
	case class == "users":
		username, _ := object["username"].(string)
		if id == p.target.Account.ID || strings.EqualFold(username, p.target.Account.Username) {
			return p.target.Account.ID, true
		}
		if own := p.target.Users[strings.ToLower(username)]; own != "" && own != id {
			return own, true
		}
	case class == "userRoles":
		for _, role := range p.target.Account.Roles {
			if id == role.ID || name == role.Name {
				return role.ID, true
			}
		}
	}
	return "", false
}

// narrow cuts a user's capture units down to the scope.
func (p *preparation) narrow(user map[string]any) {
	if len(p.target.Roots) == 0 {
		return
	}
	// lies tells whether a unit is at or below another.
	lies := func(unit, above string) bool {
		for ; unit != ""; unit = p.parents[unit] {
			if unit == above {
				return true
			}
		}
		return false
	}
	list, _ := user["organisationUnits"].([]any)
	narrowed, seen := make([]any, 0, len(list)), map[string]bool{}
	add := func(unit string) {
		if !seen[unit] {
			seen[unit] = true
			narrowed = append(narrowed, map[string]any{"id": unit})
		}
	}
	for _, item := range list {
		reference, _ := item.(map[string]any)
		unit, _ := reference["id"].(string)
		for _, root := range p.target.Roots {
			switch {
			case lies(unit, root):
				add(unit)
			case lies(root, unit):
				add(root)
			}
		}
	}
	user["organisationUnits"] = narrowed
}

func (p *preparation) carries(class, id string) bool {
	return p.known[Reference{class, id}] && !p.left[Reference{class, id}]
}

// clean drops and rewrites properties of an object and of the objects embedded in it. It returns false where
// a reference of the object itself had to be dropped.
func (p *preparation) clean(class string, object map[string]any) bool {
	whole := true
	for _, property := range dropped(class) {
		delete(object, property)
	}
	for property, value := range object {
		switch value := value.(type) {
		case map[string]any:
			if property == "sharing" {
				p.cleanSharing(value)
			} else if !p.resolve(class, property, value) {
				delete(object, property)
				whole = false
			}
		case []any:
			object[property] = p.cleanList(class, property, value)
		}
	}
	return whole
}

// cleanList cleans the objects of a list and drops those that refer to what is not known. An embedded object,
// such as the link between a program and an attribute, is nothing without what it links to: DHIS2 2.42 answers
// 500 to one.
func (p *preparation) cleanList(class, property string, list []any) []any {
	kept := make([]any, 0, len(list))
	for _, item := range list {
		if object, is := item.(map[string]any); is {
			held := property == "dashboardItems" && holdsLists(object)
			if !p.resolve(class, property, object) || held && !holdsLists(object) {
				continue // of a dashboard, what showed nothing but what stays behind
			}
		}
		if id, is := item.(string); is && property == "assignedUsers" { // of a working list
			if renamed := p.renamed[id]; renamed != "" {
				id = renamed
			}
			if !p.known[Reference{"users", id}] {
				continue
			}
			item = id
		}
		kept = append(kept, item)
	}
	return kept
}

// holdsLists tells whether a list of the object has anything in it.
func holdsLists(object map[string]any) bool {
	for _, value := range object {
		if list, is := value.([]any); is && len(list) > 0 {
			return true
		}
	}
	return false
}

// resolve makes an object within another one ready: a reference gets the target's id and is reduced to it,
// anything else is cleaned. It returns false where something that it refers to is not known.
func (p *preparation) resolve(class, property string, object map[string]any) bool {
	id, _ := object["id"].(string)
	target := referencedClass(class, property)
	if target == "" || id == "" {
		return p.clean("", object)
	}
	if renamed := p.renamed[id]; renamed != "" {
		id = renamed
	}
	if !p.known[Reference{target, id}] && !p.isTargetDefault(target, id) {
		return false
	}
	clear(object)
	object["id"] = id
	return true
}

func (p *preparation) isTargetDefault(class, id string) bool {
	d := p.target.Defaults
	return isDefaultCategoryClass(class) && slices.Contains(
		[]string{d.CategoryOption, d.Category, d.CategoryCombo, d.CategoryOptionCombo}, id)
}

// cleanSharing drops people and groups that the target will not know: the import refuses an object that
// names one (E5002).
func (p *preparation) cleanSharing(sharing map[string]any) {
	for property, class := range map[string]string{"users": "users", "userGroups": "userGroups"} {
		entries, _ := sharing[property].(map[string]any)
		kept := map[string]any{}
		for id, entry := range entries {
			if renamed := p.renamed[id]; renamed != "" {
				id = renamed
			}
			if !p.known[Reference{class, id}] {
				continue
			}
			if entry, is := entry.(map[string]any); is {
				delete(entry, "displayName")
				entry["id"] = id
			}
			kept[id] = entry
		}
		sharing[property] = kept
	}
	owner, _ := sharing["owner"].(string)
	if renamed := p.renamed[owner]; renamed != "" {
		sharing["owner"] = renamed
	} else if !p.known[Reference{"users", owner}] {
		delete(sharing, "owner")
	}
}

// prune joins what remains of a list with what the target's object holds there and is not carried.
func (p *preparation) prune(id, property string, object map[string]any) {
	existing := p.target.Existing[id][property]
	if len(existing) == 0 {
		return
	}
	list, _ := object[property].([]any)
	class := referencedClass("", property)
	for _, other := range existing {
		if reference := (Reference{class, other}); !p.known[reference] && !p.target.Brought.has(reference) {
			list = append(list, map[string]any{"id": other})
		}
	}
	object[property] = list
}

// keepStages leaves a program the stages that it still has on the target and that are to be removed: one that left
// its program cannot be deleted any more (its program is null then, and DHIS2 2.43 rolls back).
func (p *preparation) keepStages(id string, program map[string]any) {
	list, _ := program[stagesProperty].([]any)
	for _, stage := range p.target.Existing[id][stagesProperty] {
		reference := Reference{"programStages", stage}
		if p.target.Brought.has(reference) && !p.known[reference] {
			list = append(list, map[string]any{"id": stage})
			program[stagesProperty] = list
		}
	}
}

// stagesProperty is where a program lists its stages.
const stagesProperty = "programStages"

// dropped are the properties that an object loses, whatever they hold.
func dropped(class string) []string {
	properties := []string{
		"createdBy", "lastUpdatedBy", "user", "href", "access", "favorites", "favorite",
		"userAccesses", "userGroupAccesses", "image", "avatar",
	}
	switch class {
	case "users":
		properties = append(properties, "password", "passwordLastUpdated", "lastLogin", "userCredentials",
			"twoFA", "twoFactorEnabled", "twoFactorType", "secret", "idToken", "restoreToken", "restoreExpiry",
			"code2FA", "emailVerificationToken", "emailVerified", "verifiedEmail", "settings",
			"externalAuth", "ldapId", "openId") // nobody is there on the kit to vouch for them
	case "organisationUnits":
		properties = append(properties, "path", "level", "hierarchyLevel", "children", "leaf")
	case "dataSets":
		properties = append(properties, "workflow")
	}
	return properties
}
