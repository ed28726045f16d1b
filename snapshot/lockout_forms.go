package snapshot

import (
	"slices"
	"strings"
)

func (c *lockOuts) programs() {
	for _, id := range sortedIDs(c.before.programs) {
		was := c.before.programs[id]
		if _, carried := c.before.scope.Program(id); !carried {
			continue
		}
		whom := whoFillsIn(was.name())
		is, there := c.after.programs[id]
		if _, carried := c.after.scope.Program(id); !there || !carried {
			c.add("programs", was.object, whom, "is no longer carried")
			continue
		}
		if is.TrackedEntityType != was.TrackedEntityType {
			c.add("programs", was.object, whom, "now follows another type of tracked entity")
		}
		if is.CategoryCombo != was.CategoryCombo {
			c.add("programs", was.object, whom, "now asks for other categories")
		}
		if is.OnlyEnrollOnce && !was.OnlyEnrollOnce {
			c.add("programs", was.object, whom, "now enrolls nobody twice")
		}
		if was.SelectEnrollmentDatesInFuture && !is.SelectEnrollmentDatesInFuture || was.SelectIncidentDatesInFuture && !is.SelectIncidentDatesInFuture {
			c.add("programs", was.object, whom, "no longer takes dates in the future")
		}
		if sooner(was.ExpiryDays, is.ExpiryDays) || sooner(was.CompleteEventsExpiryDays, is.CompleteEventsExpiryDays) {
			c.add("programs", was.object, whom, "is now closed sooner after its period")
		}
		c.assignments("programs", was.object, was.OrganisationUnits, is.OrganisationUnits)
		c.shared("programs", was.object, is.object, whom)
	}
}

// sooner tells whether a time limit in days became shorter; 0 is none.
func sooner(was, is float64) bool { return is > 0 && (was == 0 || is < was) }

// assignments names a form that is no longer offered at units of both scopes.
func (c *lockOuts) assignments(class string, of object, was, is []lockRef) {
	var lost []string
	for _, unit := range was {
		if c.before.holds(unit.ID) && c.after.holds(unit.ID) && !slices.Contains(is, unit) {
			lost = append(lost, c.before.units[unit.ID].name())
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		c.add(class, of, "whoever works at "+strings.Join(lost, ", "), "is no longer offered there")
	}
}

// shared names a form into which somebody may no longer enter anything.
func (c *lockOuts) shared(class string, was, is object, whom string) {
	if lost := was.Sharing.lost(is.Sharing); len(lost) > 0 {
		c.add(class, was, whom, "no longer lets %s enter data", strings.Join(lost, ", "))
	}
}

func (c *lockOuts) stages() {
	for _, id := range sortedIDs(c.before.stages) {
		was := c.before.stages[id]
		program, carried := c.after.programs[was.Program.ID]
		if !carried {
			continue // said of the program
		}
		whom := whoFillsIn(program.name())
		is, there := c.after.stages[id]
		if !there || !slices.Contains(program.ProgramStages, lockRef{id}) {
			c.add("programStages", was.object, whom, "was removed from its program")
			continue
		}
		if was.Repeatable && !is.Repeatable {
			c.add("programStages", was.object, whom, "can no longer be repeated")
		}
		if is.ValidationStrategy != was.ValidationStrategy && is.ValidationStrategy == "ON_UPDATE_AND_INSERT" {
			c.add("programStages", was.object, whom, "is now checked whenever it is saved, not only when it is completed")
		}
		c.fields(was.ProgramStageDataElements, is.ProgramStageDataElements, id, "the stage "+was.name(), whom)
		c.shared("programStages", was.object, is.object, whom)
	}
}

func (c *lockOuts) attributes() {
	for _, id := range sortedIDs(c.before.programs) {
		if is, there := c.after.programs[id]; there {
			was := c.before.programs[id]
			c.fields(was.ProgramTrackedEntityAttributes, is.ProgramTrackedEntityAttributes, id, "the program "+was.name(), whoFillsIn(was.name()))
		}
	}
	for _, id := range sortedIDs(c.before.types) {
		if is, there := c.after.types[id]; there {
			was := c.before.types[id]
			c.fields(was.TrackedEntityTypeAttributes, is.TrackedEntityTypeAttributes, id, "every "+was.name(), "whoever registers one")
		}
	}
}

func (c *lockOuts) dataSets() {
	for _, id := range sortedIDs(c.before.dataSets) {
		was := c.before.dataSets[id]
		whom := whoFillsIn(was.name())
		is, there := c.after.dataSets[id]
		if !there {
			c.add("dataSets", was.object, whom, "is no longer carried")
			continue
		}
		if is.CategoryCombo != was.CategoryCombo {
			c.add("dataSets", was.object, whom, "now asks for other categories")
		}
		if sooner(was.ExpiryDays, is.ExpiryDays) {
			c.add("dataSets", was.object, whom, "is now closed sooner after its period")
		}
		if is.OpenFuturePeriods < was.OpenFuturePeriods {
			c.add("dataSets", was.object, whom, "now opens later")
		}
		c.fields(was.DataSetElements, is.DataSetElements, id, "the form "+was.name(), whom)
		c.assignments("dataSets", was.object, was.OrganisationUnits, is.OrganisationUnits)
		c.shared("dataSets", was.object, is.object, whom)
	}
}

// fields compares the places of a form, which has a uid and is called so.
func (c *lockOuts) fields(was, is []lockField, uid, form, whom string) {
	find := func(fields []lockField, wanted lockField) (lockField, bool) {
		i := slices.IndexFunc(fields, wanted.samePlace)
		if i < 0 {
			return lockField{}, false
		}
		return fields[i], true
	}
	for _, old := range was {
		class, of := c.element(c.before, old)
		switch field, there := find(is, old); {
		case !there:
			c.add(class, of, whom, "was removed from %s", form)
		case field.CategoryCombo != old.CategoryCombo:
			c.add(class, of, whom, "is now asked for by other categories in %s", form)
		}
	}
	for _, field := range is {
		old, there := find(was, field)
		if (field.Mandatory || field.Compulsory) && !(there && (old.Mandatory || old.Compulsory)) {
			class, of := c.element(c.after, field)
			c.add(class, of, whom, "must now be filled in for %s", form)
			c.found[len(c.found)-1].form = uid
		}
	}
}

// element is what a place of a form is for.
func (c *lockOuts) element(in *forms, field lockField) (class string, of object) {
	if id := field.TrackedEntityAttribute.ID; id != "" {
		of = in.attributes[id].object
		of.ID = id
		return "trackedEntityAttributes", of
	}
	of = in.elements[field.DataElement.ID].object
	of.ID = field.DataElement.ID
	return "dataElements", of
}

// elements compares data elements and attributes themselves.
func (c *lockOuts) elements() {
	for _, kind := range []struct {
		class   string
		was, is map[string]lockElement
	}{
		{"dataElements", c.before.elements, c.after.elements}, {"trackedEntityAttributes", c.before.attributes, c.after.attributes},
	} {
		for _, id := range sortedIDs(kind.was) {
			was := kind.was[id]
			is, there := kind.is[id]
			if !there {
				continue // said of the forms that had it
			}
			whom := c.after.usedIn(id)
			if is.ValueType != was.ValueType {
				c.add(kind.class, was.object, whom, "now takes %s, not %s", is.ValueType, was.ValueType)
			}
			if is.OptionSet != was.OptionSet && is.OptionSet.ID != "" {
				c.add(kind.class, was.object, whom, "now takes the options of %s only", c.after.optionSets[is.OptionSet.ID].name())
			}
			if is.Unique && !was.Unique {
				c.add(kind.class, was.object, whom, "now takes no value twice")
			}
			if kind.class == "dataElements" && is.CategoryCombo != was.CategoryCombo {
				c.add(kind.class, was.object, whom, "is now asked for by other categories")
			}
		}
	}
}

// options compares those of sets that are still in use. What is stored is an option's code.
func (c *lockOuts) options() {
	for _, id := range sortedIDs(c.before.options) {
		was := c.before.options[id]
		set := was.OptionSet.ID
		if _, used := c.after.optionSets[set]; !used {
			continue
		}
		whom := c.usersOf(set)
		switch is, there := c.after.options[id]; {
		case !there || is.OptionSet.ID != set:
			c.add("options", was.object, whom, "was withdrawn from %s", c.after.optionSets[set].name())
		case is.Code != was.Code:
			c.add("options", was.object, whom, "of %s now has the code %s, not %s", c.after.optionSets[set].name(), is.Code, was.Code)
		}
	}
}

// usersOf says who chooses from an option set.
func (c *lockOuts) usersOf(set string) string {
	var names []string
	for _, elements := range []map[string]lockElement{c.after.elements, c.after.attributes} {
		for id, element := range elements {
			if whom := c.after.usedIn(id); element.OptionSet.ID == set && !slices.Contains(names, whom) {
				names = append(names, whom)
			}
		}
	}
	if len(names) == 0 {
		return "everybody"
	}
	slices.Sort(names)
	return strings.Join(names, "; ")
}

func (c *lockOuts) categoryOptions() {
	for _, id := range sortedIDs(c.before.categories) {
		was := c.before.categories[id]
		is, there := c.after.categories[id]
		if !there {
			if was.Name != "default" {
				c.add("categoryOptions", was.object, "whoever chooses it", "was withdrawn")
			}
			continue
		}
		c.closed("categoryOptions", was.object, "whoever chooses it", day(was.EndDate), day(is.EndDate))
		if opens := day(is.StartDate); opens > day(was.StartDate) {
			c.add("categoryOptions", was.object, "whoever chooses it", "now begins on %s", opens)
		}
	}
}

// closed names something that now ends sooner; "" is never.
func (c *lockOuts) closed(class string, of object, whom, was, is string) {
	if is != "" && (was == "" || is < was) {
		c.add(class, of, whom, "closes on %s", is)
	}
}

func (c *lockOuts) units() {
	for _, id := range sortedIDs(c.before.units) {
		if !c.before.holds(id) {
			continue
		}
		was := c.before.units[id]
		whom := "whoever works at " + was.name()
		if !c.after.holds(id) {
			c.add("organisationUnits", was.object, whom, "is no longer in the scope")
			continue
		}
		is := c.after.units[id]
		c.closed("organisationUnits", was.object, whom, day(was.ClosedDate), day(is.ClosedDate))
		if opens := day(is.OpeningDate); opens > day(was.OpeningDate) {
			c.add("organisationUnits", was.object, whom, "now opens on %s", opens)
		}
	}
}
