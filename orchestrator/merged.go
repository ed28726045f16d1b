package orchestrator

import (
	"encoding/json"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// mergedNote is the note on an event that both sides edited: its Local and Central hold what either side changed, its Base
// where and when the event is, as JSON.
func (c *comparison) mergedNote(r root, record merge.Record, ref merge.Ref) (journal.Note, error) {
	note := journal.Note{Kind: journal.Merged, Ref: ref, Person: r.person(), Reason: "both sides edited it"}
	local := record.Local.Objects[ref]
	where := report.Merged{ProgramStage: local.Fields["programStage"], OccurredAt: local.Fields["occurredAt"], OrgUnit: local.Fields["orgUnit"]}
	for _, part := range []struct {
		into *string
		what any
	}{
		{&note.Base, where},
		{&note.Local, c.edited(record.Loaded.Objects[ref], local)},
		{&note.Central, c.edited(record.Taken.Objects[ref], record.Central.Objects[ref])},
	} {
		content, err := json.Marshal(part.what)
		if err != nil {
			return note, fmt.Errorf("cannot note that both sides edited %s %s: %w", ref.Kind, ref.UID, err)
		}
		*part.into = string(content)
	}
	return note, nil
}

// edited lists the fields in which an object differs from what it was, but for those that never travel.
func (c *comparison) edited(was, is merge.Object) []report.Edited {
	fields := []report.Edited{}
	for _, field := range fieldsOf(was.Fields, is.Fields) {
		if was.Fields[field] != is.Fields[field] && !c.rules.Skip(is, field) {
			fields = append(fields, report.Edited{Field: field, Before: was.Fields[field], After: is.Fields[field]})
		}
	}
	return fields
}

// mergedOf reads what mergedNote wrote. Of a note of an older fieldkit it knows the event alone.
func mergedOf(note journal.Note) (report.Merged, error) {
	merged := report.Merged{OnKit: []report.Edited{}, AtCentral: []report.Edited{}}
	for _, part := range []struct {
		from string
		into any
	}{{note.Base, &merged}, {note.Local, &merged.OnKit}, {note.Central, &merged.AtCentral}} {
		if part.from == "" {
			continue
		}
		if err := json.Unmarshal([]byte(part.from), part.into); err != nil {
			return merged, fmt.Errorf("cannot read the note on %s %s: %w", note.Ref.Kind, note.UID, err)
		}
	}
	merged.Reference = report.Reference{Kind: string(note.Ref.Kind), UID: note.UID, Person: note.Person}
	return merged, nil
}
