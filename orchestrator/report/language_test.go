package report

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

func inLanguage(t *testing.T, code string) *language {
	t.Helper()
	l, err := textsIn(code)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLanguagesSayTheSame: each language has each text, with the same things to fill in.
func TestLanguagesSayTheSame(t *testing.T) {
	english := inLanguage(t, English)
	verbs := regexp.MustCompile(`%[sd]`)
	for _, code := range Languages() {
		other := inLanguage(t, code)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english.catalogue)), slices.Sorted(maps.Keys(other.catalogue))); diff != "" {
			t.Errorf("%s (-English +%s):\n%s", code, code, diff)
		}
		for key, text := range english.catalogue {
			if diff := cmp.Diff(verbs.FindAllString(text, -1), verbs.FindAllString(other.catalogue[key], -1)); diff != "" {
				t.Errorf("%s: %s (-English +%s):\n%s", code, key, code, diff)
			}
			if other.catalogue[key] == "" {
				t.Errorf("%s: %s is empty", code, key)
			}
		}
	}
	if _, err := textsIn("xx"); err == nil {
		t.Error("there is a report in no language")
	}
}

// TestReasonsInSpanish: what DHIS2 refuses something for, and what to do about it, has a Spanish sentence for every code that
// is known.
func TestReasonsInSpanish(t *testing.T) {
	spanish := inLanguage(t, Spanish)
	known := 0
	for n := 1000; n < 9000; n++ {
		code := fmt.Sprintf("E%d", n)
		reason, hint := dhis2api.Explain(code, []string{"Pa000000001"})
		if dhis2api.ClassOf(code) != dhis2api.ClassUnclassified {
			known++
		}
		for _, text := range []string{reason, hint} {
			if text != "" && spanish.reason(text) == text {
				t.Errorf("%s has no Spanish: %s", code, text)
			}
		}
	}
	if known < 150 {
		t.Errorf("only %d codes are known", known)
	}
	for english, want := range map[string]string{
		"somebody else already has this unique value (Pa000000001, At000000001)":                                                                "otra persona ya tiene este valor único (Pa000000001, At000000001)",
		"waits for trackedEntity Pa000000009, which central did not take":                                                                       "espera a persona Pa000000009, que el servidor central no aceptó",
		"depends on enrollment En000000001: deleted at central":                                                                                 "depende de inscripción En000000001: eliminado en el servidor central",
		"the deletion would take along what is new at central: event Ev1 was added; and 3 more":                                                 "la eliminación arrastraría lo nuevo en el servidor central: se agregó evento Ev1; y 3 más",
		"the facility is missing (org unit P1J4eyjXQeT, 2026-01-02)":                                                                            "falta el establecimiento (org unit P1J4eyjXQeT, 2026-01-02)",
		"at central it is enrollment En000000001; look at both enrollments: complete or cancel one, or move the visits into the one that stays": "en el servidor central es inscripción En000000001; mire ambas inscripciones: cierre o anule una, o pase las visitas a la que queda",
		"must now be filled in for the program Vector":                                                                                          "ahora es obligatorio en el programa Vector",
		"a sentence that nobody has translated":                                                                                                 "a sentence that nobody has translated",
	} {
		if got := spanish.reason(english); got != want {
			t.Errorf("%s\n got %s\nwant %s", english, got, want)
		}
	}
}

// TestEveryReasonHasSpanish reads the reasons out of the code that writes them.
func TestEveryReasonHasSpanish(t *testing.T) {
	spanish := inLanguage(t, Spanish)
	assigned := regexp.MustCompile(`(?:[rR]eason[A-Za-z]*\s*(?::|=)=?|journal\.Waiting,|Unclear,|Conflict,|AlreadyThere,|OutOfScope,|fileRefusal\(|[^.]hint:)\s*(?:fmt\.Sprintf\()?"([^"]{12,})"`)
	found := 0
	for _, pattern := range []string{"../look.go", "../settle.go", "../send*.go", "../predict.go", "../plan_keep.go", "../files*.go", "../../snapshot/merge/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range assigned.FindAllStringSubmatch(string(code), -1) {
				found++
				english := regexp.MustCompile(`%[.0-9]*[sdfv]`).ReplaceAllString(text[1], "Xx000000001")
				if strings.HasSuffix(english, " ") {
					english += "Xx000000001 Xx000000001"
				}
				if strings.HasSuffix(english, "(") {
					english += "image/svg)"
				}
				if spanish.translated(english) == english {
					t.Errorf("%s: no Spanish for %q", file, text[1])
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d reasons were found in the code", found)
	}
}

// TestEveryDriftHasSpanish reads out of the code what can change in central's metadata, and what can be done.
func TestEveryDriftHasSpanish(t *testing.T) {
	spanish := inLanguage(t, Spanish)
	said := regexp.MustCompile(`c\.add\((?:class|"\w+"), [^,]+, (?:whom|""|"[^"]+"), "([^"]+)"|return "([^"]+ [^"]+)"|What: fmt\.Sprintf\("([^"]+)"|Remedy: "([^"]+)"`)
	found := 0
	for _, file := range []string{"../drift.go", "../../snapshot/drift.go", "../../snapshot/lockout_forms.go"} {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, groups := range said.FindAllStringSubmatch(string(code), -1) {
			found++
			english := strings.ReplaceAll(strings.Join(groups[1:], ""), "%s", "the form X")
			if spanish.translated(english) == english {
				t.Errorf("%s: no Spanish for %q", file, english)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d were found in the code", found)
	}
}

// TestSpanishPage: the page is Spanish throughout.
func TestSpanishPage(t *testing.T) {
	var out strings.Builder
	if err := writeHTML(&out, sample(), inLanguage(t, Spanish)); err != nil {
		t.Fatal(err)
	}
	html := out.String()
	for _, want := range []string{`<html lang="es">`, "4 conflictos esperan una decisión", "1.042 ya están en el servidor central", "Qué hacer", "En el equipo"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, never := range []string{"What ", "Held", "At central", "on the kit", "%!", "{}"} {
		if strings.Contains(html, never) {
			t.Errorf("the page says %q", never)
		}
	}
}
