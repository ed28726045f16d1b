package report

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// catalogue holds every text of report.html in one language, by key. A text that counts has two keys, one that
// ends in .one and one that ends in .many. The files are in texts. Reasons and hints are not here: they come with
// the changes, in English (see language).
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

// textFiles are the catalogues, one file a language.
//
//go:embed texts
var textFiles embed.FS

// textsIn reads the texts of a language, by its code as in the page's lang.
func textsIn(code string) (*language, error) {
	l := &language{catalogue: catalogue{}}
	read := func(name string, into any) error {
		content, err := textFiles.ReadFile("texts/" + name)
		if err == nil {
			err = json.Unmarshal(content, into)
		}
		if err != nil {
			return fmt.Errorf("there is no report in the language %q: %w", code, err)
		}
		return nil
	}
	if err := read(code+".json", &l.catalogue); err != nil {
		return nil, err
	}
	if code == English {
		return l, nil
	}
	reasons := map[string]string{}
	if err := read(code+".reasons.json", &reasons); err != nil {
		return nil, err
	}
	for english, other := range reasons {
		l.reasons = append(l.reasons, newSentence(english, other))
	}
	slices.SortFunc(l.reasons, func(a, b sentencePair) int {
		return cmp.Or(cmp.Compare(b.literal, a.literal), cmp.Compare(a.other, b.other))
	})
	return l, nil
}
