package report

import (
	"regexp"
	"slices"
	"strings"
)

// The languages that a report is written in.
const (
	English = "en"
	Spanish = "es"
)

// Languages are those that a report can be written in, by their codes.
func Languages() []string { return []string{English, Spanish} }

// language is what a report is written in: its catalogue, and what the reasons and hints of changes are in it. Those are
// English in the journal, made of sentences with something in place of each {}.
type language struct {
	catalogue
	// reasons begin with those that have the most words of their own; English has none.
	reasons []sentencePair
}

// sentencePair is a sentence in English and in another language.
type sentencePair struct {
	english *regexp.Regexp
	other   string
	// literal is how much of the English is not in place of a {}, in bytes.
	literal int
}

func newSentence(english, other string) sentencePair {
	parts := strings.Split(english, "{}")
	s := sentencePair{other: other}
	for i, part := range parts {
		s.literal += len(part)
		parts[i] = regexp.QuoteMeta(part)
	}
	s.english = regexp.MustCompile(`^` + strings.Join(parts, `(.+?)`) + `$`)
	return s
}

// reason is a reason or hint in the language, with its words for DHIS2's kinds. What it has no sentence for stays English:
// a reason in another language is better than none.
func (l *language) reason(text string) string {
	text = l.translated(text)
	for _, kind := range []string{"trackedEntity", "enrollment", "event", "relationship", "dataValue", "completion"} {
		if word := l.word("kind", kind); word != kind {
			text = regexp.MustCompile(`\b`+kind+` `).ReplaceAllLiteralString(text, word+" ")
		}
	}
	return text
}

func (l *language) translated(text string) string {
	for _, s := range l.reasons {
		if found := s.english.FindStringSubmatch(text); found != nil {
			other := s.other
			for _, part := range found[1:] {
				other = strings.Replace(other, "{}", l.eachTranslated(part), 1)
			}
			return other
		}
	}
	// What is behind it in brackets, such as uids, is no part of the sentence.
	if cut := strings.LastIndex(text, " ("); cut > 0 && strings.HasSuffix(text, ")") {
		if sentence := l.translated(text[:cut]); sentence != text[:cut] {
			return sentence + text[cut:]
		}
	}
	return text
}

// eachTranslated translates what stands in place of a {}: several sentences, or something else.
func (l *language) eachTranslated(text string) string {
	parts := slices.Collect(strings.SplitSeq(text, "; "))
	for i, part := range parts {
		parts[i] = l.translated(part)
	}
	return strings.Join(parts, "; ")
}
