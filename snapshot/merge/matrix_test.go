package merge_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

var update = flag.Bool("update", false, "write the verdicts in testdata/*.txt anew")

// TestMatrix holds the comparison to testdata/*.txt, in which each case is a few lines:
//
//	== what happened
//	all event e1 < enrollment n1: status=ACTIVE weight=61
//	local event e1: weight=62
//	central deleted event e2
//	-> push update event e1 weight "61" "62" "61"
//
// A line begins with the faces that it is about (all, or some of taken,loaded,local,central). The object's
// fields are put in; an empty value takes a field out, "gone" takes the object out, "deleted" proves that it
// was deleted, "unreadable: REASON" makes the face unreadable. "unit NAME: FIELDS" and "skip: FIELDS" are
// rules; "decided SIDE: FIELDS" is what was decided about fields and, as KIND.UID, whole objects. The lines after the arrow are the answer: verdict, verb, object, field, base, local, central, reason.
func TestMatrix(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			intro, cases, _ := strings.Cut("\n"+string(content), "\n== ")
			got := strings.TrimPrefix(intro, "\n")
			for i, text := range strings.Split(cases, "\n== ") {
				if i > 0 || got != "" {
					got += "\n"
				}
				got += "== " + answered(t, text)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(content), got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
		})
	}
}

// answered returns a case with its answer written anew.
func answered(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	record := merge.Record{}
	rules := ruleTable{units: map[string]string{}, skipped: map[string]bool{}, decided: map[string]merge.Decision{}}
	title, lines, _ := strings.Cut(text, "\n")
	b.WriteString(title + "\n")
	for line := range strings.Lines(lines) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "->") {
			continue
		}
		b.WriteString(line + "\n")
		if !strings.HasPrefix(line, "#") && !rules.read(line) {
			readLine(t, &record, line)
		}
	}
	changes := merge.Compare(record, rules.rules())
	for _, change := range changes {
		fmt.Fprintf(&b, "-> %s\n", line(change))
	}
	for _, ref := range merge.Merged(record) {
		fmt.Fprintf(&b, "-> merged %s %s\n", ref.Kind, ref.UID)
	}
	if len(changes) == 0 {
		b.WriteString("-> no change\n")
	}
	return b.String()
}

// line writes a change as one line.
func line(change merge.Change) string {
	text := fmt.Sprintf("%s %s %s %s", change.Verdict, change.Verb, change.Kind, change.UID)
	if change.Field != "" {
		text += fmt.Sprintf(" %s %q %q %q", change.Field, change.Base, change.Local, change.Central)
	}
	if change.Reason != "" {
		text += ": " + change.Reason
	}
	return text
}

// readLine puts one line of a case into the record.
func readLine(t *testing.T, record *merge.Record, line string) {
	t.Helper()
	faceNames, rest, _ := strings.Cut(line, " ")
	faces := map[string]*merge.Face{
		"taken": &record.Taken, "loaded": &record.Loaded, "local": &record.Local, "central": &record.Central,
	}
	if faceNames == "all" {
		faceNames = "taken,loaded,local,central"
	}
	for name := range strings.SplitSeq(faceNames, ",") {
		face := faces[name]
		if face == nil {
			t.Fatalf("no face %q in %q", name, line)
		}
		readObject(t, face, rest)
	}
}

func readObject(t *testing.T, face *merge.Face, text string) {
	t.Helper()
	if face.Objects == nil {
		face.Objects, face.Deleted = map[merge.Ref]merge.Object{}, map[merge.Ref]bool{}
	}
	if reason, ok := strings.CutPrefix(text, "unreadable: "); ok {
		face.Unreadable = reason
		return
	}
	head, tail, _ := strings.Cut(text, ":")
	words := strings.Fields(head)
	verb := ""
	if words[0] == "gone" || words[0] == "deleted" {
		verb, words = words[0], words[1:]
	}
	if len(words) != 2 && len(words) != 5 {
		t.Fatalf("not an object: %q", text)
	}
	ref := merge.Ref{Kind: merge.Kind(words[0]), UID: words[1]}
	if verb != "" {
		delete(face.Objects, ref)
		if verb == "deleted" {
			face.Deleted[ref] = true
		}
		return
	}
	object, ok := face.Objects[ref]
	if !ok {
		object = merge.Object{Ref: ref, Fields: map[string]string{}}
	}
	if len(words) == 5 {
		object.Parent = merge.Ref{Kind: merge.Kind(words[3]), UID: words[4]}
	}
	for pair := range strings.FieldsSeq(tail) {
		field, value, ok := strings.Cut(pair, "=")
		if !ok {
			t.Fatalf("no field and value: %q", pair)
		}
		if object.Fields[field] = value; value == "" {
			delete(object.Fields, field)
		}
	}
	face.Objects[ref] = object
}

// ruleTable is the rules of a case.
type ruleTable struct {
	units   map[string]string
	skipped map[string]bool
	decided map[string]merge.Decision
}

func (r ruleTable) read(line string) bool {
	head, fields, _ := strings.Cut(line, ":")
	name, isUnit := strings.CutPrefix(head, "unit ")
	side, isDecision := strings.CutPrefix(head, "decided ")
	for field := range strings.FieldsSeq(fields) {
		switch {
		case isUnit:
			r.units[field] = name
		case isDecision:
			r.decided[field] = merge.Decision(side)
		case head == "skip":
			r.skipped[field] = true
		}
	}
	return isUnit || isDecision || head == "skip"
}

func (r ruleTable) rules() merge.Rules {
	return merge.Rules{
		Unit: func(_ merge.Object, field string) string { return r.units[field] },
		Skip: func(_ merge.Object, field string) bool { return r.skipped[field] },
		Decide: func(change merge.Change) merge.Decision {
			if change.Field != "" {
				return r.decided[change.Field]
			}
			return r.decided[string(change.Kind)+"."+change.UID]
		},
	}
}
