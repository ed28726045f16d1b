package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// codeFile is the code of a value that is held because of its file, where DHIS2 gives none.
const codeFile = "FILE"

func withoutFile(no *refusal) *fileStanding { return &fileStanding{no: no} }

func fileRefusal(reason, hint string) *refusal {
	return &refusal{state: journal.Refused, code: codeFile, reason: reason, hint: hint}
}

func fileGone() *refusal {
	return fileRefusal("its file is not on the kit: DHIS2 there knows its name and does not have its bytes",
		"look whether the tablet that made it still has it, and choose or take it again")
}

// fileDamaged is looked at again in every run: what was read may not have been the kit's answer.
func fileDamaged() *refusal {
	no := fileRefusal("its file on the kit is damaged: its bytes are not those that were stored", "choose or take it again")
	no.circumstance = askedAgain
	return no
}

func fileTooLarge(bytes int64) *refusal {
	return fileRefusal(fmt.Sprintf("its file is too large: %.1f MB, and DHIS2 takes %d MB at most", float64(bytes)/1e6, dhis2api.MaxFileBytes/1_000_000),
		"make it smaller and choose it again, or enter it at central by hand")
}

func fileOther() *refusal {
	return fileRefusal("central has another file under the same uid, which is not written over",
		"choose or take the file again on the kit: it then gets a uid of its own")
}

func fileNotStored() *refusal {
	return fileRefusal("central knows the name of its file and does not have its bytes",
		"what claims to be an image and is none is never stored; else ask the administrator of central to look at its file store")
}

func fileNotServed() *refusal {
	return fileRefusal("central holds the value and does not give its file", "ask the administrator of central to look at its file store, then reconcile again")
}

// fileRefused is central's no to an upload.
func fileRefused(err error, contentType string) *refusal {
	var status *dhis2api.StatusError
	if errors.As(err, &status) && status.ErrorCode == "E6101" {
		no := fileRefusal("central takes no files of this type ("+contentType+")", "save it as another type, such as PDF or JPEG, and choose it again")
		no.code = status.ErrorCode
		return no
	}
	no := refusedAll([]objectChanges{{}}, err).refusals[merge.Ref{}]
	no.reason = "central did not take its file: " + no.reason
	return &no
}

// heldFile is a value that stays behind because of its file, as a change of its own.
type heldFile struct {
	journal.Change
	// created: its object goes without it.
	created bool
}

// withhold takes the values out of the changes whose files are not at central. What their objects hold besides goes:
// a created object goes without the value, which is then a change of its own. Values whose files are not sent yet
// are left out too, and are in no list: so central can be asked about the rest beforehand.
func (f *files) withhold(ctx context.Context, v *view, open []journal.Change) (going []journal.Change, held []heldFile, err error) {
	for _, c := range open {
		r, err := parseRoot(c.Root)
		if err != nil {
			return nil, nil, err
		}
		values, err := f.named(ctx, c, v.local.faces[r])
		if err != nil {
			return nil, nil, err
		}
		whole := true
		for _, value := range values {
			standing := f.standing[value.file]
			if standing.no == nil && standing.local == nil {
				continue
			}
			created := c.Verb == merge.Create && c.Ref.Kind != merge.DataValue
			if created {
				c.Content = maps.Clone(c.Content)
				delete(c.Content, value.field)
			} else {
				whole = false
			}
			if standing.no != nil {
				held = append(held, heldFile{Change: withoutItsFile(c, value, created, *standing.no), created: created})
			}
		}
		if whole {
			going = append(going, c)
		}
	}
	return going, held, nil
}

// withoutItsFile is the change of one value, held because of its file.
func withoutItsFile(c journal.Change, value fileValue, created bool, no refusal) journal.Change {
	if created {
		c = journal.Change{
			Change: merge.Change{Ref: c.Ref, Parent: c.Parent, Verb: merge.Update, Field: value.field, Local: value.file, Verdict: merge.Push},
			Root:   c.Root, Run: c.Run, Content: map[string]string{value.field: value.file},
		}
	}
	c.State, c.Code, c.Reason, c.Hint, c.Circumstance = no.state, no.code, no.reason, no.hint, no.circumstance
	return c
}

// hold writes the values that stay behind to the journal, once what goes of their objects has gone: v is central after
// it. With an object that central did not take nothing is held but the object.
func (f *files) hold(ctx context.Context, v *view, held []heldFile) error {
	for _, h := range held {
		if h.created {
			object, err := f.creation(ctx, h.Ref)
			if err != nil {
				return err
			}
			if object == nil || object.State != journal.Pushed {
				if err := f.explain(ctx, object, h); err != nil {
					return err
				}
				continue
			}
		}
		r, err := parseRoot(h.Root)
		if err != nil {
			return err
		}
		if h.Circumstance != askedAgain {
			if h.Circumstance, _, err = f.circumstances.of(ctx, v, r, h.Change); err != nil {
				return err
			}
		}
		h.Run = f.run
		if err := f.trip.journal.Update(ctx, func(tx *journal.Tx) error { return tx.Put(h.Change) }); err != nil {
			return err
		}
	}
	return nil
}

// explain says at an object that central refused that it went without a value: that may be why.
func (f *files) explain(ctx context.Context, object *journal.Change, h heldFile) error {
	if object == nil || object.State != journal.Refused {
		return nil
	}
	object.Hint = fmt.Sprintf("it went without %s: %s; %s", h.Field, h.Reason, object.Hint)
	return f.trip.journal.Update(ctx, func(tx *journal.Tx) error { return tx.Put(*object) })
}

// creation is the journal's row of an object's creation, nil when there is none.
func (f *files) creation(ctx context.Context, ref merge.Ref) (*journal.Change, error) {
	rows, err := f.trip.journal.ChangesOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.Verb == merge.Create && row.Field == "" {
			return &row, nil
		}
	}
	return nil, nil
}

// prove makes sure that central gives the files of a change that it holds. A value whose file it does not give is
// held: the change itself, or for a created object the value as a change of its own.
func (f *files) prove(ctx context.Context, record merge.Record, row *journal.Change) error {
	values, err := f.named(ctx, *row, record.Local)
	if err != nil {
		return err
	}
	for _, value := range values {
		served, err := f.served(ctx, value)
		if err != nil {
			return err
		}
		if served {
			continue
		}
		created := row.Verb == merge.Create && row.Ref.Kind != merge.DataValue
		held := withoutItsFile(*row, value, created, *fileNotServed())
		if !created {
			*row = held
			continue
		}
		row.Content = maps.Clone(row.Content)
		delete(row.Content, value.field)
		if err := f.trip.journal.Update(ctx, func(tx *journal.Tx) error { return tx.Put(held) }); err != nil {
			return err
		}
	}
	return nil
}

// served asks central for a file by the value that names it, and writes the receipt when central would give it whole.
func (f *files) served(ctx context.Context, value fileValue) (bool, error) {
	receipt, err := f.trip.journal.File(ctx, value.file)
	if err != nil {
		return false, err
	}
	if receipt.State == "" { // central had it, and an earlier run was stopped before it could note so
		file, err := f.central.File(ctx, value.file)
		switch gone := dhis2api.NotFound(err); {
		case err != nil && !gone:
			return false, atServer(ctx, Central, f.central.BaseURL(), err)
		case gone, file.StorageStatus != dhis2api.FileStored:
			return false, nil
		}
		receipt.Bytes, receipt.MD5 = file.ContentLength, file.ContentMD5
	}
	var bytes int64
	err = f.byProgram(value, func(at dhis2api.FileValue) error {
		var err error
		bytes, err = f.central.ServesFile(ctx, at)
		return err
	})
	switch {
	case gone(err):
		return false, nil
	case err != nil:
		return false, atServer(ctx, Central, f.central.BaseURL(), err)
	case bytes >= 0 && bytes != receipt.Bytes:
		return false, nil
	}
	receipt.State, receipt.Run = journal.FileHome, f.run
	return true, f.trip.journal.PutFile(ctx, receipt)
}

// fingerprint is how the file of a value stands on both servers; "" for a change that names none. As long as it
// stays so, the value is not tried again.
func (f *files) fingerprint(ctx context.Context, c journal.Change, local merge.Face) (string, error) {
	values, err := f.named(ctx, c, local)
	if err != nil {
		return "", err
	}
	text := ""
	for _, value := range values {
		for _, side := range []struct {
			name   Side
			server *dhis2api.Client
		}{{Local, f.local}, {Central, f.central}} {
			file, err := side.server.File(ctx, value.file)
			switch {
			case dhis2api.NotFound(err):
				text += fmt.Sprintf("%s lacks %s\n", side.name, value.file)
			case err != nil:
				return "", atServer(ctx, side.name, side.server.BaseURL(), err)
			default:
				text += fmt.Sprintf("%s %s %d %s %s\n", side.name, value.file, file.ContentLength, file.ContentMD5, file.StorageStatus)
			}
		}
	}
	return text, nil
}
