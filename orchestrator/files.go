package orchestrator

import (
	"context"
	"crypto/md5" //nolint:gosec // DHIS2 names files' content by MD5
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// files brings home the files that values name: a photograph, a scan. A value of type FILE_RESOURCE or IMAGE is the
// uid of a file, and central refuses a whole record that names one it lacks (E1007). So a file goes under its own
// uid just before the values that name it; central removes files that no value names after some hours.
type files struct {
	*comparison
	// typed are the attributes and data elements whose values are files; nil until they are first asked for.
	typed map[string]bool
	// standing is what this run has learned, by the file's uid.
	standing map[string]*fileStanding
	// programs remembers by which program the servers give the file of an attribute.
	programs map[string]string
}

// fileStanding is how a file stands at central.
type fileStanding struct {
	// no says why it is not at central and will not be; nil otherwise.
	no *refusal
	// local is the kit's record of a file that is still to be sent; nil otherwise.
	local *dhis2api.FileResource
}

// fileValue is a value that names a file.
type fileValue struct {
	file, field string
	at          dhis2api.FileValue
	// programs are those that may have the attribute.
	programs []string
}

// named lists the values that a change would send and that name files.
func (f *files) named(ctx context.Context, c journal.Change, local merge.Face) ([]fileValue, error) {
	content := c.Content
	switch {
	case c.Verb == merge.Delete:
		return nil, nil
	case c.Verb == merge.Update:
		content = map[string]string{c.Field: sentValue(c)}
	}
	if err := f.learnTypes(ctx); err != nil {
		return nil, err
	}
	var values []fileValue
	for _, field := range slices.Sorted(maps.Keys(content)) {
		value := fileValue{file: content[field], field: field}
		typed := field
		switch c.Ref.Kind {
		case merge.TrackedEntity:
			value.at = dhis2api.FileValue{TrackedEntity: c.UID, Attribute: field}
			value.programs = programsIn(local)
		case merge.Event:
			value.at = dhis2api.FileValue{Event: c.UID, DataElement: field}
		case merge.DataValue:
			key := strings.Split(c.UID, ".")
			if field != "value" || len(key) != 5 {
				continue
			}
			typed = key[0]
			value.at.DataValue = &dhis2api.DataValue{DataElement: key[0], Period: key[1], OrgUnit: key[2], CategoryOptionCombo: key[3], AttributeOptionCombo: key[4]}
		}
		if f.typed[typed] && dhis2api.ValidUID(value.file) {
			values = append(values, value)
		}
	}
	return values, nil
}

// programsIn are the programs in which a person is enrolled.
func programsIn(face merge.Face) []string {
	programs := map[string]bool{}
	for ref, object := range face.Objects {
		if ref.Kind == merge.Enrollment {
			programs[object.Fields[merge.FieldProgram]] = true
		}
	}
	return slices.Sorted(maps.Keys(programs))
}

// learnTypes asks the kit, which is near, for the attributes and data elements whose values are files.
func (f *files) learnTypes(ctx context.Context) error {
	if f.typed != nil {
		return nil
	}
	typed := map[string]bool{}
	query := dhis2api.ListQuery{Fields: "id", Filters: []string{"valueType:in:[" + strings.Join(dhis2api.FileValueTypes(), ",") + "]"}}
	for _, class := range []string{"trackedEntityAttributes", "dataElements"} {
		for one, err := range dhis2api.ListAs[dhis2api.Ref](ctx, f.local, class, query) {
			if err != nil {
				return atServer(ctx, Local, f.local.BaseURL(), err)
			}
			typed[one.ID] = true
		}
	}
	f.typed = typed
	return nil
}

// distinct lists the values that the changes would send and that name files, one for each file.
func (f *files) distinct(ctx context.Context, v *view, open []journal.Change) ([]fileValue, error) {
	var distinct []fileValue
	known := map[string]bool{}
	for _, c := range open {
		r, err := parseRoot(c.Root)
		if err != nil {
			return nil, err
		}
		values, err := f.named(ctx, c, v.local.faces[r])
		if err != nil {
			return nil, err
		}
		for _, value := range values {
			if !known[value.file] {
				known[value.file] = true
				distinct = append(distinct, value)
			}
		}
	}
	return distinct, nil
}

// assess learns how every file stands that the values name and that this run does not know yet. It sends nothing.
func (f *files) assess(ctx context.Context, values []fileValue) error {
	var unknown []string
	for _, value := range values {
		if f.standing[value.file] == nil {
			unknown = append(unknown, value.file)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	there, err := f.central.Files(ctx, unknown)
	if err != nil {
		return atServer(ctx, Central, f.central.BaseURL(), err)
	}
	for _, uid := range unknown {
		local, err := f.local.File(ctx, uid)
		if err != nil && !dhis2api.NotFound(err) {
			return atServer(ctx, Local, f.local.BaseURL(), err)
		}
		standing := &fileStanding{local: local}
		switch {
		case there[uid] != nil:
			if standing, err = f.compare(ctx, uid, local); err != nil {
				return err
			}
		case local == nil || local.StorageStatus != dhis2api.FileStored:
			standing = withoutFile(fileGone())
		case local.ContentLength > dhis2api.MaxFileBytes:
			standing = withoutFile(fileTooLarge(local.ContentLength))
		}
		f.standing[uid] = standing
	}
	return nil
}

// compare looks whether the file that central has under the uid is the kit's, and whether central has its bytes.
// What the kit has lost and central has is as good.
func (f *files) compare(ctx context.Context, uid string, local *dhis2api.FileResource) (*fileStanding, error) {
	central, err := f.central.AwaitFile(ctx, uid)
	if err != nil {
		return nil, atServer(ctx, Central, f.central.BaseURL(), err)
	}
	switch {
	case local != nil && (central.ContentMD5 != local.ContentMD5 || central.ContentLength != local.ContentLength):
		return withoutFile(fileOther()), nil
	case central.StorageStatus != dhis2api.FileStored:
		return withoutFile(fileNotStored()), nil
	}
	receipt, err := f.trip.journal.File(ctx, uid)
	if err != nil {
		return nil, err
	}
	receipt.Bytes, receipt.MD5, receipt.Run = central.ContentLength, central.ContentMD5, f.run
	if receipt.State != journal.FileHome {
		receipt.State = journal.FileStored
	}
	return &fileStanding{}, f.trip.journal.PutFile(ctx, receipt)
}

// bring sends the files that the changes name and central lacks, and tells whether there were any. A file that
// cannot go stands so: see withhold.
func (f *files) bring(ctx context.Context, v *view, open []journal.Change, progress Progress) (bool, error) {
	values, err := f.distinct(ctx, v, open)
	if err != nil {
		return false, err
	}
	if err := f.assess(ctx, values); err != nil {
		return false, err
	}
	var sending []fileValue
	var bytes int64
	for _, value := range values {
		if local := f.standing[value.file].local; local != nil {
			sending = append(sending, value)
			bytes += local.ContentLength
		}
	}
	if len(sending) == 0 {
		return false, nil
	}
	progress.Step(fmt.Sprintf("sending files (%.1f MB)", float64(bytes)/1e6))
	for i, value := range sending {
		standing, err := f.send(ctx, value, f.standing[value.file].local)
		if err != nil {
			return false, err
		}
		f.standing[value.file] = standing
		progress.Count("files", int64(i+1), int64(len(sending)))
	}
	return true, nil
}

// send uploads one file. Its bytes are read twice on the kit, which is near: once to know that they are whole, and
// once on their way, so that they are never held as a whole. After an unknown outcome central is looked at before
// they are sent again.
func (f *files) send(ctx context.Context, value fileValue, local *dhis2api.FileResource) (*fileStanding, error) {
	receipt, err := f.trip.journal.File(ctx, value.file)
	if err != nil {
		return nil, err
	}
	sum, no, err := f.checksum(ctx, value, local)
	if err != nil {
		return nil, err
	}
	if no != nil {
		return withoutFile(no), nil
	}
	receipt.Bytes, receipt.MD5, receipt.SHA256, receipt.State, receipt.Run = local.ContentLength, local.ContentMD5, sum, journal.FileSent, f.run
	for try := 1; ; try++ {
		receipt.Uploads++
		if err := f.trip.journal.PutFile(ctx, receipt); err != nil {
			return nil, err
		}
		var opening error // on the kit
		_, err := f.central.Upload(ctx, dhis2api.FileUpload{
			UID: value.file, Name: local.Name, ContentType: local.ContentType, Domain: local.Domain, Length: local.ContentLength,
			Open: func() (io.ReadCloser, error) {
				var content io.ReadCloser
				content, opening = f.open(ctx, value)
				return content, opening
			},
		})
		var unknown *dhis2api.UnknownOutcomeError
		var status *dhis2api.StatusError
		switch {
		case opening != nil:
			return nil, atServer(ctx, Local, f.local.BaseURL(), opening)
		case err == nil, errors.As(err, &status) && status.ErrorCode == "E1119":
			standing, missing := f.compare(ctx, value.file, local)
			switch {
			case !dhis2api.NotFound(missing):
				return standing, missing
			case try < maxTries:
				continue
			}
			return nil, &ServerError{Side: Central, URL: f.central.BaseURL(), Err: missing, Advice: "central said that it has this file, and does not show it: run reconcile again; its log says more"}
		case errors.As(err, &unknown):
			if _, err := f.central.File(ctx, value.file); err == nil {
				return f.compare(ctx, value.file, local)
			} else if !dhis2api.NotFound(err) {
				return nil, atServer(ctx, Central, f.central.BaseURL(), err)
			}
			if _, err := f.local.File(ctx, value.file); err != nil { // it may be the kit that broke off
				return nil, atServer(ctx, Local, f.local.BaseURL(), err)
			}
			if try < maxTries {
				continue
			}
			return nil, &ServerError{Side: Central, URL: f.central.BaseURL(), Err: err, Advice: "run reconcile again: it looks at what arrived before it sends anything"}
		case refusedWhole(err) || forbidden(err):
			return withoutFile(fileRefused(err, local.ContentType)), nil
		}
		return nil, atServer(ctx, Central, f.central.BaseURL(), err)
	}
}

// checksum reads a file on the kit and returns its SHA-256, or why it cannot go.
func (f *files) checksum(ctx context.Context, value fileValue, local *dhis2api.FileResource) (string, *refusal, error) {
	content, err := f.open(ctx, value)
	if gone(err) {
		return "", fileGone(), nil
	}
	if err != nil {
		return "", nil, atServer(ctx, Local, f.local.BaseURL(), err)
	}
	sum, name := sha256.New(), md5.New() //nolint:gosec // as above
	bytes, err := io.Copy(io.MultiWriter(sum, name), content)
	if err := errors.Join(err, content.Close()); err != nil {
		return "", nil, atServer(ctx, Local, f.local.BaseURL(), err)
	}
	if bytes != local.ContentLength || hex.EncodeToString(name.Sum(nil)) != local.ContentMD5 {
		return "", fileDamaged(), nil
	}
	return hex.EncodeToString(sum.Sum(nil)), nil, nil
}

// open reads a file on the kit, by the value that names it.
func (f *files) open(ctx context.Context, value fileValue) (io.ReadCloser, error) {
	var content io.ReadCloser
	err := f.byProgram(value, func(at dhis2api.FileValue) error {
		var err error
		content, err = f.local.ValueFile(ctx, at)
		return err
	})
	return content, err
}

// byProgram asks for the file of an attribute without a program, then by each that may have the attribute, until
// a server knows it. Of a person's attributes a server shows only those of the type unless a program is named (DHIS2
// 2.41 to 2.43).
func (f *files) byProgram(value fileValue, ask func(dhis2api.FileValue) error) error {
	programs := []string{""}
	if value.at.Attribute != "" {
		programs = append(programs, value.programs...)
		if known, asked := f.programs[value.at.Attribute]; asked && slices.Contains(programs, known) {
			programs = append([]string{known}, slices.DeleteFunc(programs, func(p string) bool { return p == known })...)
		}
	}
	var err error
	for _, program := range programs {
		at := value.at
		at.Program = program
		if err = ask(at); err == nil {
			f.programs[value.at.Attribute] = program
			return nil
		}
		if !gone(err) {
			return err
		}
	}
	return err
}

// gone tells whether a server answered that it has no such file, or does not give it.
func gone(err error) bool {
	return forbidden(err) || refused(err)
}
