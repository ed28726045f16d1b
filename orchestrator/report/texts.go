package report

import (
	"fmt"
	"strconv"
	"strings"
)

// catalogue holds every text of report.html in one language, by key. A text that counts has two keys, one that
// ends in .one and one that ends in .many. Reasons and hints are not here: they come with the changes.
type catalogue map[string]string

// say is the text of a key with its arguments in place; an unknown key is an error, so that no report is
// written with a hole in it.
func (c catalogue) say(key string, arguments ...any) (string, error) {
	text, known := c[key]
	if !known {
		return "", fmt.Errorf("the catalogue has no text %q", key)
	}
	if len(arguments) == 0 {
		return text, nil
	}
	return fmt.Sprintf(text, arguments...), nil
}

// count is the text of a key for a number of things, with the number in place where the text has a %s.
func (c catalogue) count(key string, n int) (string, error) {
	if n == 1 {
		key += ".one"
	} else {
		key += ".many"
	}
	text, err := c.say(key)
	return strings.ReplaceAll(text, "%s", c.number(n)), err
}

// word is the text of a key, or the word itself where the catalogue has none: what DHIS2 calls a thing is
// better than nothing.
func (c catalogue) word(group, word string) string {
	if text, known := c[group+"."+word]; known {
		return text
	}
	return word
}

// number writes a number with its thousands apart.
func (c catalogue) number(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + c["thousands"] + digits[i:]
	}
	return digits
}

// english is the catalogue in English.
func english() catalogue {
	return catalogue{
		"language":  "en",
		"thousands": ",",
		"empty":     "empty",
		"and":       ", ",

		"title": "fieldkit report: %s, trip %s",
		"lead":  "Kit %s, trip %s. Central is %s. Run %d ended on %s.",
		"plan":  "This is a plan. Nothing was sent, and neither server was changed.",

		"headline.nothing":          "Nothing was changed on the kit",
		"headline.home.one":         "The one change made on the kit is home",
		"headline.home.many":        "All %s changes are home",
		"headline.out.one":          "%s stays on the kit by rule",
		"headline.out.many":         "%s stay on the kit by rule",
		"headline.allOut.one":       "The one change made on the kit stays there by rule",
		"headline.allOut.many":      "All %s changes made on the kit stay there by rule",
		"headline.conflicts.one":    "%s conflict waits for a decision",
		"headline.conflicts.many":   "%s conflicts wait for a decision",
		"headline.refused.one":      "%s change was refused",
		"headline.refused.many":     "%s changes were refused",
		"headline.waiting.one":      "%s depends on what is held",
		"headline.waiting.many":     "%s depend on what is held",
		"headline.open.one":         "%s was not sent yet",
		"headline.open.many":        "%s were not sent yet",
		"headline.some.one":         "%s is home",
		"headline.some.many":        "%s are home",
		"headline.wouldRefuse.one":  "%s would be refused",
		"headline.wouldRefuse.many": "%s would be refused",
		"headline.wouldWait.one":    "%s would wait for them",
		"headline.wouldWait.many":   "%s would wait for them",
		"headline.planned.one":      "%s change would be sent",
		"headline.planned.many":     "%s changes would be sent",

		"sums":              "Where every change is",
		"sums.about":        "Each change made on the kit is counted once. The numbers add up to the total.",
		"sums.where":        "Where it is",
		"sums.changes":      "Changes",
		"sums.total":        "All changes made on the kit",
		"sums.bar":          "%s: %s",
		"part.pushed":       "Home: sent, and read back at central",
		"part.already":      "Home: central had the same already",
		"part.conflicts":    "Held: waits for a decision",
		"part.refused":      "Held: refused by central",
		"part.wouldRefuse":  "Would be refused by central",
		"part.waiting":      "Held: depends on something held",
		"part.held":         "Held for another reason",
		"part.out":          "Stays on the kit, out of scope by rule",
		"part.open":         "Not sent yet",
		"part.planned":      "Would be sent",
		"kinds":             "By kind of record",
		"kinds.kind":        "Kind",
		"kinds.total":       "All",
		"kinds.home":        "Home",
		"kinds.held":        "Held",
		"kinds.out":         "Out of scope",
		"kinds.open":        "Not sent",
		"kinds.caption":     "Changes by kind of record",
		"held":              "What is held is not lost: it stays on the kit and in every report until it is solved.",
		"person":            "of person",
		"column.number":     "No.",
		"column.record":     "Record",
		"column.field":      "Field",
		"column.what":       "What was done",
		"column.base":       "When the trip began",
		"column.local":      "On the kit",
		"column.central":    "At central",
		"column.before":     "Before",
		"column.after":      "Now at central",
		"column.sent":       "Sent from the kit",
		"column.why":        "Why",
		"column.todo":       "What to do",
		"column.code":       "Code",
		"column.waits":      "What it waits for",
		"column.kind":       "Kind",
		"column.uid":        "Identifier",
		"column.person":     "Person",
		"conflicts":         "What needs a decision",
		"conflicts.about":   "Both sides changed these, to different ends. Central keeps its value, the kit keeps its own. Decide with whoever knows the person; the same list is in conflicts.csv.",
		"refused":           "What central refused",
		"wouldRefuse":       "What central would refuse",
		"wouldRefuse.about": "Central was asked, without storing anything, and would not take these.",
		"refused.about":     "Central would not take these. The next run sends them again once what stood against them has changed at central.",
		"waiting":           "What waits for what",
		"waiting.about":     "Nothing is wrong with these. They go home when what they depend on is solved.",
		"merged":            "Edited on both sides",
		"merged.about":      "Both sides worked on these events, in different fields. Everything is kept; a clinician should look whether it still fits together.",
		"rewritten":         "Stored differently by central",
		"rewritten.about":   "Central took these and wrote another value by a rule of its own.",
		"overtaken":         "Changed at central meanwhile",
		"overtaken.about":   "These changed at central while the kit's changes were being sent. Nothing of the kit's was lost; look whether they are as they should be.",
		"notloaded":         "What the clinic worked without",
		"notloaded.about":   "These could not be brought to the kit before departure. They are at central, untouched.",
		"whole":             "The whole record",
		"warnings":          "Warnings",
		"details":           "Details",
		"details.kit":       "Kit",
		"details.trip":      "Trip",
		"details.state":     "State of the trip",
		"details.central":   "Central",
		"details.version":   "DHIS2 version at central",
		"details.system":    "System id of central",
		"details.run":       "Run of reconcile",
		"details.sent":      "Records sent in this run",
		"details.started":   "Began",
		"details.ended":     "Ended",
		"details.journal":   "SHA-256 of the journal",
		"details.privacy":   "This file holds no names, but values of patients' records. Handle it like a medical file.",
		"state.closed":      "closed: nothing is open or held",
		"state.open":        "open",
		"state.planned":     "open, planned only",

		"kind.trackedEntity": "person",
		"kind.enrollment":    "enrollment",
		"kind.event":         "event",
		"kind.relationship":  "relationship",
		"kind.dataValue":     "value of a form",
		"kind.completion":    "completion of a form",

		"verb.create": "created on the kit",
		"verb.update": "changed on the kit",
		"verb.delete": "deleted on the kit",

		"field.status":               "status",
		"field.occurredAt":           "date",
		"field.scheduledAt":          "scheduled date",
		"field.completedAt":          "date of completion",
		"field.enrolledAt":           "date of enrollment",
		"field.orgUnit":              "org unit",
		"field.geometry":             "place on the map",
		"field.inactive":             "inactive",
		"field.followUp":             "marked for follow-up",
		"field.assignedUser":         "assigned to",
		"field.attributeOptionCombo": "category options",
		"field.value":                "value",
		"field.comment":              "comment",
		"field.completed":            "completed",
		"field.notes":                "note",
		"field.owner":                "owning org unit",
	}
}
