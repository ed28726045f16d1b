package report

import (
	_ "embed"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

//go:embed report.html.tmpl
var pageSource string //nolint:gochecknoglobals // an embedded file

// writeHTML writes the report for people: one file that needs no other, no script and no network.
func writeHTML(w io.Writer, r *Report, texts *language) error {
	headline, err := texts.headline(r)
	if err != nil {
		return err
	}
	page, err := template.New("report").Funcs(template.FuncMap{
		"say": texts.say, "number": texts.number, "kind": func(kind string) string { return texts.word("kind", kind) },
		"verb":  func(verb string) string { return texts.word("verb", verb) },
		"field": texts.field, "value": value, "sentence": sentence, "clock": clock, "hasUID": hasUID, "reason": texts.reason,
		"choice":    func(choice Choice) string { return texts.word("choice", string(choice)) },
		"agreement": func(a Agreement) string { return texts.word("agreement", string(a)) },
		"outcome":   func(state string) string { return texts.word("outcome", state) },
		"bars":      barsOf,
		"moment":    texts.moment,
		"parts":     func(uid string) []string { return strings.Split(uid, ".") },
	}).Parse(pageSource)
	if err != nil {
		return err
	}
	return page.Execute(w, view{
		Report: r, Headline: sentence(headline), Parts: partsOf(r), Kinds: slices.Sorted(maps.Keys(r.ByKind)), Mood: moodOf(r),
		Sections: sectionsOf(r),
	})
}

// view is what the template sees.
type view struct {
	*Report
	Headline string
	// Parts are the buckets that hold anything, in the order of the bar.
	Parts []part
	// Kinds are the kinds of records, in order.
	Kinds []string
	// Sections are those that hold records, to be found quickly.
	Sections []listed
	// Mood is the class that colours the headline: home, held or plan.
	Mood string
}

func moodOf(r *Report) string {
	switch {
	case r.PlanOnly:
		return "plan"
	case r.Sums.Held > 0 || r.Sums.Open > 0:
		return "held"
	}
	return "home"
}

// headline says in one sentence how the trip stands.
func (c catalogue) headline(r *Report) (string, error) {
	s := r.Sums
	home := s.Home()
	type clause struct {
		key string
		n   int
	}
	var clauses []clause
	switch {
	case s.Total == 0:
		return c.say("headline.nothing")
	case r.PlanOnly && (s.Open > 0 || s.Held > 0 || s.Dropped > 0):
		clauses = []clause{
			{"headline.planned", s.Open}, {"headline.wouldDrop", s.Dropped}, {"headline.conflicts", len(r.Conflicts)}, {"headline.wouldRefuse", len(r.Refusals)},
			{"headline.wouldWait", len(r.Waiting)},
		}
	case s.Held > 0 || s.Open > 0:
		clauses = []clause{
			{"headline.conflicts", len(r.Conflicts)}, {"headline.refused", len(r.Refusals)}, {"headline.waiting", len(r.Waiting)},
			{"headline.open", s.Open}, {"headline.dropped", s.Dropped}, {"headline.some", home},
		}
	case home == 0 && s.Dropped == 0:
		clauses = []clause{{"headline.allOut", s.OutOfScope}}
	case home == 0:
		clauses = []clause{{"headline.dropped", s.Dropped}, {"headline.out", s.OutOfScope}}
	default:
		clauses = []clause{{"headline.home", home}, {"headline.dropped", s.Dropped}, {"headline.out", s.OutOfScope}}
	}
	var said []string
	for _, one := range clauses {
		if one.n == 0 {
			continue
		}
		text, err := c.count(one.key, one.n)
		if err != nil {
			return "", err
		}
		said = append(said, text)
	}
	return strings.Join(said, c["and"]), nil
}

// field is what people call a field: its label, else the catalogue's word, else its name. The second result is
// the field's name where it says something more.
func (c catalogue) field(name, label string) [2]string {
	if label != "" {
		return [2]string{label, name}
	}
	group, key, keyed := strings.Cut(name, ".")
	if text, known := c["field."+group]; known {
		return [2]string{text, key}
	}
	if keyed {
		return [2]string{name, ""}
	}
	return [2]string{c.word("field", name), ""}
}

// value is a canonical value as it is shown: times lose their T, and what of them is zero.
func value(v string) string {
	t, err := time.Parse("2006-01-02T15:04:05.000", v)
	if err != nil {
		return v
	}
	if t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return strings.TrimSuffix(t.Format("2006-01-02 15:04:05"), ":00")
}

// sentence begins a reason with a capital letter, unless it begins with a name such as dataElement.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	word, _, _ := strings.Cut(text, " ")
	if text == "" || strings.ToLower(word) != word {
		return text
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

// clock is an instant with its offset.
func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05 -07:00") }

// hasUID tells whether the person is worth naming beside the record: when it is not the record itself.
func hasUID(r Reference) bool { return r.Person != "" && r.Person != r.UID }
