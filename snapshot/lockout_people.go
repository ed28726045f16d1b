package snapshot

import (
	"fmt"
	"slices"
	"strings"
)

// rules compares the rules that can refuse what was entered: DHIS2 runs them on every upload (E1300 to E1310).
func (c *lockOuts) rules() {
	for _, id := range sortedIDs(c.after.rules) {
		is := c.after.rules[id]
		program, carried := c.before.programs[is.Program.ID]
		refusing := c.after.refusing(id)
		if !carried || refusing == "" || refusing == c.before.refusing(id) {
			continue
		}
		what := "is a new rule that may refuse what was entered"
		if _, there := c.before.rules[id]; there {
			what = "is a rule that changed and may refuse what was entered"
		}
		c.add("programRules", is.object, whoFillsIn(program.name()), "%s", what)
	}
}

// refusing is the form of a rule as far as it can refuse something; empty when it cannot.
func (f *forms) refusing(rule string) string {
	var actions []string
	for _, action := range f.actions {
		if action.ProgramRule.ID != rule {
			continue
		}
		switch action.ProgramRuleActionType {
		case "SHOWERROR", "ERRORONCOMPLETE", "SETMANDATORYFIELD", "ASSIGN":
			actions = append(actions, fmt.Sprint(action.ProgramRuleActionType, action.Data, action.DataElement, action.TrackedEntityAttribute))
		}
	}
	if len(actions) == 0 {
		return ""
	}
	slices.Sort(actions)
	return f.rules[rule].Condition + "\n" + strings.Join(actions, "\n")
}

// people compares who can log in and upload. Tablets keep their data by server and user name.
func (c *lockOuts) people() {
	for _, id := range sortedIDs(c.before.users) {
		was := c.before.users[id]
		if c.keepsOut(was, c.before) != "" {
			continue
		}
		of := was.object
		of.ID, of.Name = id, was.Username
		is, there := c.after.users[id]
		if !there {
			is, there = c.after.userNamed(was.Username)
		}
		whom := personName(was)
		switch reason := c.keepsOut(is, c.after); {
		case !there:
			c.add("users", of, whom, "no longer works in the scope")
		case reason != "":
			c.add("users", of, whom, "%s", reason)
		case !strings.EqualFold(is.Username, was.Username):
			c.add("users", of, whom, "is called %s now: a tablet on which %s logged in does not know the new name", is.Username, was.Username)
		}
	}
}

// personName is a person's name, the user name where there is none.
func personName(user lockUser) string {
	if name := strings.TrimSpace(user.FirstName + " " + user.Surname); name != "" {
		return name
	}
	return user.Username
}

func (f *forms) userNamed(username string) (lockUser, bool) {
	for _, user := range f.users {
		if strings.EqualFold(user.Username, username) {
			return user, true
		}
	}
	return lockUser{}, false
}

// keepsOut says why somebody cannot enter anything; empty when he can.
func (c *lockOuts) keepsOut(user lockUser, in *forms) string {
	switch {
	case user.Disabled:
		return "is disabled"
	case user.AccountExpiry != "" && user.AccountExpiry < c.now.Format("2006-01-02T15:04:05"):
		return "has an account that expired"
	case len(user.UserRoles) == 0:
		return "has no role"
	case !slices.ContainsFunc(user.OrganisationUnits, func(unit lockRef) bool { return in.touches(unit.ID) }):
		return "has no unit in the scope"
	}
	return ""
}

// touches tells whether a unit lies in the scope or above it.
func (f *forms) touches(unit string) bool {
	if f.holds(unit) {
		return true
	}
	for _, root := range f.scope.Roots() {
		for above := root; above != ""; above = f.parents[above] {
			if above == unit {
				return true
			}
		}
	}
	return false
}
