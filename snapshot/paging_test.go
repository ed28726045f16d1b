package snapshot

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// shiftingList is a server's list of uids, paged by offset, that somebody changes meanwhile.
type shiftingList struct {
	rows []string
	// change is called before a page is cut, with its number.
	change func(rows []string, page int) []string
	asked  []string
}

func (l *shiftingList) pages(_ context.Context, paging dhis2api.Paging) iter.Seq2[dhis2api.Page[string], error] {
	return func(yield func(dhis2api.Page[string], error) bool) {
		for number := max(1, paging.Page); ; number++ {
			if l.change != nil {
				l.rows = l.change(l.rows, number)
			}
			from := min(len(l.rows), (number-1)*paging.PageSize)
			items := slices.Clone(l.rows[from:min(len(l.rows), from+paging.PageSize)])
			if len(items) == 0 || !yield(dhis2api.Page[string]{Number: number, Items: items}, nil) {
				return
			}
		}
	}
}

func (l *shiftingList) question(pageSize int, keep func(string) bool) question[string] {
	return question[string]{
		about: "the test's list", pageSize: pageSize, uid: func(s string) string { return s }, keep: keep, pages: l.pages,
		identifiers: func(_ context.Context, paging dhis2api.Paging) iter.Seq2[dhis2api.Page[string], error] {
			still := &shiftingList{rows: l.rows}
			return still.pages(context.Background(), paging)
		},
		byID: func(_ context.Context, uids []string) iter.Seq2[string, error] {
			l.asked = append(l.asked, uids...)
			return func(yield func(string, error) bool) {
				for _, uid := range uids {
					if slices.Contains(l.rows, uid) && !yield(uid, nil) {
						return
					}
				}
			}
		},
	}
}

func rows(from, to int) []string {
	var uids []string
	for n := from; n < to; n++ {
		uids = append(uids, fmt.Sprintf("P%010d", n))
	}
	return uids
}

func collect(t *testing.T, sequence iter.Seq2[piece[string], error]) (items []string, cursors []string) {
	t.Helper()
	for p, err := range sequence {
		if err != nil {
			t.Fatal(err)
		}
		items, cursors = append(items, p.items...), append(cursors, p.cursor)
	}
	return items, cursors
}

func everything(string) bool { return true }

func TestAskFindsWhatSlippedBetweenPages(t *testing.T) {
	list := &shiftingList{rows: rows(0, 20), change: func(rows []string, page int) []string {
		if page == 3 {
			return rows[2:] // two of the first page are deleted: two rows move to a page read already
		}
		return rows
	}}
	items, _ := collect(t, list.question(5, everything).ask(t.Context(), "", newUIDSet()))
	slices.Sort(items)
	if diff := cmp.Diff(rows(0, 20), items); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rows(10, 12), list.asked); diff != "" {
		t.Errorf("asked for by uid (-want +got):\n%s", diff)
	}
}

func TestAskYieldsNothingTwice(t *testing.T) {
	list := &shiftingList{rows: rows(10, 20), change: func(rows []string, page int) []string {
		if page == 2 {
			return append([]string{"P0000000001", "P0000000002"}, rows...) // rows move to a later page
		}
		return rows
	}}
	items, _ := collect(t, list.question(5, everything).ask(t.Context(), "", newUIDSet()))
	slices.Sort(items)
	want := append(rows(1, 3), rows(10, 20)...)
	if diff := cmp.Diff(want, items); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}

func TestAskGoesOnAtACursor(t *testing.T) {
	list := &shiftingList{rows: rows(0, 20)}
	_, cursors := collect(t, list.question(5, everything).ask(t.Context(), "", newUIDSet()))
	if diff := cmp.Diff([]string{"5/2", "5/3", "5/4", "5/5", "5/5"}, cursors); diff != "" {
		t.Errorf("cursors (-want +got):\n%s", diff)
	}
	seen := newUIDSet()
	for _, uid := range rows(0, 10) {
		seen.add(uid)
	}
	// Another page size now: the cursor's own counts.
	items, _ := collect(t, list.question(7, everything).ask(t.Context(), cursors[1], seen))
	if diff := cmp.Diff(rows(10, 20), items); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	for _, err := range list.question(7, everything).ask(t.Context(), "tomorrow", newUIDSet()) {
		if err == nil || !strings.Contains(err.Error(), "tomorrow") {
			t.Errorf("error %v", err)
		}
	}
}

func TestAskKeepsWhatBelongs(t *testing.T) {
	list := &shiftingList{rows: rows(0, 20)}
	items, _ := collect(t, list.question(5, func(uid string) bool { return uid >= "P0000000018" }).ask(t.Context(), "", newUIDSet()))
	if diff := cmp.Diff(rows(18, 20), items); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if len(list.asked) != 0 {
		t.Errorf("what was not kept was asked for again: %v", list.asked)
	}
}

func TestAskNamesWhatItRead(t *testing.T) {
	refused := errors.New("refused")
	q := question[string]{about: "the test's list", pageSize: 5}
	q.pages = func(context.Context, dhis2api.Paging) iter.Seq2[dhis2api.Page[string], error] {
		return func(yield func(dhis2api.Page[string], error) bool) { yield(dhis2api.Page[string]{}, refused) }
	}
	for _, err := range q.ask(t.Context(), "", newUIDSet()) {
		if !errors.Is(err, refused) || !strings.Contains(err.Error(), "the test's list") {
			t.Errorf("error %v", err)
		}
	}
}

func TestDetachRelationships(t *testing.T) {
	whole := func(uid string) *dhis2api.RelationshipItem {
		return &dhis2api.RelationshipItem{TrackedEntity: &dhis2api.TrackedEntity{
			TrackedEntity: uid, Attributes: []dhis2api.Attribute{{Attribute: "GoX1JP83DWF", Value: "Ana"}},
		}}
	}
	related := func(n int) []*dhis2api.Relationship {
		r := testRelationship(n)
		r.From = whole(fmt.Sprintf("P%010d", n))
		return []*dhis2api.Relationship{r}
	}
	person := testPerson(1)
	person.Relationships = related(1)
	person.Enrollments[0].Relationships = related(2)
	person.Enrollments[0].Events[0].Relationships = related(3)
	got := DetachRelationships(person)
	if diff := cmp.Diff([]*dhis2api.Relationship{testRelationship(1), testRelationship(2), testRelationship(3)}, got); diff != "" {
		t.Errorf("relationships (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(testPerson(1), person); diff != "" {
		t.Errorf("the rest (-want +got):\n%s", diff)
	}
}

func TestUIDSet(t *testing.T) {
	s := newUIDSet()
	for _, uid := range []string{"P0000000001", "short", ""} {
		if !s.add(uid) || s.add(uid) || !s.has(uid) {
			t.Errorf("%q is not new once", uid)
		}
	}
	other := newUIDSet()
	other.addAll(s)
	if !other.has("P0000000001") || !other.has("short") || other.has("P0000000002") {
		t.Error("addAll")
	}
}
