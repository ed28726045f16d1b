package dhis2api

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNotes: notes are read as a list, and as the number of them that notes::size gives.
func TestNotes(t *testing.T) {
	for text, want := range map[string]Notes{
		`{"notes":[{"note":"Nn000000001","value":"Came by boat"}]}`: {{Note: "Nn000000001", Value: "Came by boat"}},
		`{"notes":[]}`:   {},
		`{"notes":null}`: nil,
		`{"notes":0}`:    nil,
		`{"notes":2}`:    {{}, {}},
		`{}`:             nil,
	} {
		var enrollment Enrollment
		if err := json.Unmarshal([]byte(text), &enrollment); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, enrollment.Notes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{`{"notes":-1}`, `{"notes":"two"}`, `{"notes":99999999999}`} {
		var event Event
		if err := json.Unmarshal([]byte(text), &event); err == nil {
			t.Errorf("%s is read as %d notes", text, len(event.Notes))
		}
	}
}
