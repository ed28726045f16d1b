package dhis2sim

import (
	"encoding/json"
	"testing"
)

func TestFieldFilter(t *testing.T) {
	t.Parallel()
	value := `{"id": "a", "name": "b", "parts": [{"id": "c", "name": "d", "deep": {"id": "e", "x": 1}}]}`
	for fields, want := range map[string]string{
		"*":                            value,
		"id":                           `{"id": "a"}`,
		"id,missing":                   `{"id": "a"}`,
		"*,!parts":                     `{"id": "a", "name": "b"}`,
		"*,!parts,parts[id]":           `{"id": "a", "name": "b"}`,
		"parts[id]":                    `{"parts": [{"id": "c"}]}`,
		"parts(id)":                    `{"parts": [{"id": "c"}]}`,
		"parts[*,!deep]":               `{"parts": [{"id": "c", "name": "d"}]}`,
		"parts[deep[x]],id":            `{"parts": [{"deep": {"x": 1}}], "id": "a"}`,
		"parts[id],parts[name]":        `{"parts": [{"id": "c", "name": "d"}]}`,
		"parts,parts[id]":              `{"parts": [{"id": "c"}]}`,
		"parts~size":                   `{"parts": 1}`,
		"parts::size,id":               `{"parts": 1, "id": "a"}`,
		"name~rename(title)":           `{"title": "b"}`,
		" id , parts[ name ] ":         `{"id": "a", "parts": [{"name": "d"}]}`,
		":all,!name,!parts":            `{"id": "a"}`,
		"parts[deep~rename(d)[id]],id": `{"parts": [{"d": {"id": "e"}}], "id": "a"}`,
	} {
		var decoded, expected any
		if err := json.Unmarshal([]byte(value), &decoded); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(parseFields(fields).apply(decoded))
		wanted, _ := json.Marshal(expected)
		if string(got) != string(wanted) {
			t.Errorf("%q: got %s, want %s", fields, got, wanted)
		}
	}
}
