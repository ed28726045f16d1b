package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// FileCount counts the files that loaded values name, once for each value.
type FileCount struct {
	// Named are all; each is sent, there alike, or named among the omissions.
	Named int64 `json:"named"`
	// Sent are those whose bytes went over, Alike those that the target had already, by size and checksum.
	Sent  int64 `json:"sent,omitempty"`
	Alike int64 `json:"alike,omitempty"`
	// Bytes went over for those that were sent.
	Bytes int64 `json:"bytes,omitempty"`
}

func (c *FileCount) add(other FileCount) {
	c.Named += other.Named
	c.Sent += other.Sent
	c.Alike += other.Alike
	c.Bytes += other.Bytes
}

// namedFile is a file that a value names.
type namedFile struct {
	uid   string
	ref   merge.Ref
	field string
	// value says where the file is to be had: DHIS2 gives it by the value that names it alone.
	value dhis2api.FileValue
	// length is the file's at central, in bytes; -1 where that is not known.
	length int64
	// fresh: it was sent just now.
	fresh bool
}

// bringFiles brings the files to the target, under their uids, before the values that name them: an import refuses
// a value whose file is not there (E1007). It returns why a file is not there, by its uid. A file that is there and
// differs from central's is left, for DHIS2 never takes another one under a uid (E1119), and is omitted.
func (l *loader) bringFiles(ctx context.Context, files []*namedFile, receipt *LoadReceipt) (map[string]string, error) {
	lacking := map[string]string{}
	var uids []string
	for _, file := range files {
		receipt.Files.Named++
		if !dhis2api.ValidUID(file.uid) {
			lacking[file.uid] = "it names no file"
			continue
		}
		if !slices.Contains(uids, file.uid) {
			uids = append(uids, file.uid)
		}
	}
	if len(uids) == 0 {
		return lacking, nil
	}
	there, err := l.local.Files(ctx, uids)
	if err != nil {
		return nil, fmt.Errorf("look for files: %w", err)
	}
	atCentral := map[string]*dhis2api.FileResource{}
	if l.options.Central != nil {
		if atCentral, err = l.options.Central.Files(ctx, uids); err != nil {
			return nil, fmt.Errorf("look for files at central: %w", err)
		}
	}
	for _, file := range files {
		if _, done := lacking[file.uid]; done {
			continue
		}
		given, standing := atCentral[file.uid], there[file.uid]
		file.length = -1
		if given != nil {
			file.length = given.ContentLength
		}
		switch {
		case standing != nil && given != nil && !sameFile(given, standing):
			receipt.omit(file.ref, file.field, fmt.Sprintf("file %s differs from central's: %d bytes, not %d, or another checksum", file.uid, standing.ContentLength, given.ContentLength))
		case standing != nil:
			receipt.Files.Alike++
		case l.options.Central == nil:
			lacking[file.uid] = "its file is not on the server"
		case given == nil:
			lacking[file.uid] = "its file is not at central"
		default:
			sent, why, err := l.sendFile(ctx, file, given)
			if err != nil {
				return nil, fmt.Errorf("file %s: %w", file.uid, err)
			}
			if why != "" {
				lacking[file.uid] = why
				continue
			}
			there[file.uid], file.fresh = sent, true
			receipt.Files.Sent++
			receipt.Files.Bytes += given.ContentLength
		}
	}
	return lacking, nil
}

// sameFile tells whether two servers hold the same bytes.
func sameFile(a, b *dhis2api.FileResource) bool {
	return a.ContentLength == b.ContentLength && (a.ContentMD5 == "" || b.ContentMD5 == "" || a.ContentMD5 == b.ContentMD5)
}

// sendFile passes a file on from central. The text says why the target does not have it, empty when it does.
func (l *loader) sendFile(ctx context.Context, file *namedFile, given *dhis2api.FileResource) (*dhis2api.FileResource, string, error) {
	if given.ContentLength > dhis2api.MaxFileBytes {
		return nil, "its file is larger than 10 MB", nil
	}
	var fromCentral error
	sent, err := l.local.Upload(ctx, dhis2api.FileUpload{
		UID: file.uid, Name: given.Name, ContentType: given.ContentType, Domain: given.Domain, Length: given.ContentLength,
		Open: func() (io.ReadCloser, error) {
			content, err := l.options.Central.ValueFile(ctx, file.value)
			fromCentral = err
			return content, err
		},
	})
	var status *dhis2api.StatusError
	switch {
	case isStatus(fromCentral):
		return nil, "central does not give its file", nil
	case errors.As(err, &status) && status.ErrorCode == "E1119": // another poster was faster
		return given, "", nil
	case errors.As(err, &status):
		return nil, "the server refuses its file: " + status.ErrorCode, nil
	case err != nil:
		return nil, "", err
	case !sameFile(given, sent):
		return sent, "its file did not arrive whole", nil
	}
	return sent, "", nil
}

// checkFiles asks whether the target gives the files of the values that it has now, and names those that it does not:
// that it knows a file does not mean that it has the bytes.
func (l *loader) checkFiles(ctx context.Context, files []*namedFile, receipt *LoadReceipt) error {
	for _, file := range files {
		if file.fresh {
			// DHIS2 stores the bytes after it has answered.
			if _, err := l.local.AwaitFile(ctx, file.uid); err != nil && !isStatus(err) {
				return fmt.Errorf("read back file %s: %w", file.uid, err)
			}
		}
		length, err := l.local.ServesFile(ctx, file.value)
		switch {
		case isStatus(err):
			receipt.omit(file.ref, file.field, "the server knows file "+file.uid+" and does not give it")
		case err != nil:
			return fmt.Errorf("read back file %s: %w", file.uid, err)
		case length >= 0 && file.length >= 0 && length != file.length:
			receipt.omit(file.ref, file.field, fmt.Sprintf("file %s comes back with %d bytes, not %d", file.uid, length, file.length))
		}
	}
	return nil
}

// filesOf are the files that the values of a batch name.
func (b *trackerBatch) filesOf(sent dhis2api.TrackerPayload) []*namedFile {
	var files []*namedFile
	add := func(kind merge.Kind, uid, field, file string, value dhis2api.FileValue) {
		if file != "" && b.files[field] {
			files = append(files, &namedFile{uid: file, ref: merge.Ref{Kind: kind, UID: uid}, field: field, value: value})
		}
	}
	for _, entity := range sent.TrackedEntities {
		for _, a := range entity.Attributes {
			value := dhis2api.FileValue{TrackedEntity: entity.TrackedEntity, Attribute: a.Attribute, Program: b.program}
			add(merge.TrackedEntity, entity.TrackedEntity, a.Attribute, a.Value, value)
		}
	}
	for event := range eventsOf(sent) {
		for _, v := range event.DataValues {
			add(merge.Event, event.Event, v.DataElement, v.Value, dhis2api.FileValue{Event: event.Event, DataElement: v.DataElement})
		}
	}
	return files
}

// prepareFiles brings the files that the batch's values name, and drops the values whose file cannot be there.
func (b *trackerBatch) prepareFiles(ctx context.Context) error {
	files := b.filesOf(b.sent)
	if len(files) == 0 {
		return nil
	}
	lacking, err := b.bringFiles(ctx, files, &b.result.receipt)
	if err != nil {
		return err
	}
	for _, file := range files {
		why, lacks := lacking[file.uid]
		if !lacks {
			b.named = append(b.named, file)
			continue
		}
		b.result.receipt.omit(file.ref, file.field, why)
	}
	if len(lacking) == 0 {
		return nil
	}
	gone := func(field, value string) bool {
		_, lacks := lacking[value]
		return lacks && b.files[field]
	}
	for _, entity := range b.sent.TrackedEntities {
		entity.Attributes = slices.DeleteFunc(entity.Attributes, func(a dhis2api.Attribute) bool { return gone(a.Attribute, a.Value) })
	}
	for event := range eventsOf(b.sent) {
		event.DataValues = slices.DeleteFunc(event.DataValues, func(v dhis2api.EventDataValue) bool { return gone(v.DataElement, v.Value) })
	}
	return nil
}

// prepareFiles brings the files that the values name, and drops the values whose file cannot be there.
func (v *valueBatch) prepareFiles(ctx context.Context) error {
	var files []*namedFile
	for i, value := range v.values {
		if value.Value != "" && v.files[value.DataElement] {
			files = append(files, &namedFile{
				uid: value.Value, ref: DataValueRef(v.taken[i]), field: "value", value: dhis2api.FileValue{DataValue: v.taken[i]},
			})
		}
	}
	if len(files) == 0 {
		return nil
	}
	lacking, err := v.bringFiles(ctx, files, &v.result.receipt)
	if err != nil {
		return err
	}
	reasons := map[merge.Ref]string{}
	for _, file := range files {
		if why, lacks := lacking[file.uid]; lacks {
			reasons[file.ref] = why
			continue
		}
		v.named = append(v.named, file)
	}
	count := v.result.receipt.count(merge.DataValue)
	taken, values := v.taken[:0], v.values[:0]
	for i, value := range v.values {
		ref := DataValueRef(v.taken[i])
		if why, lacks := reasons[ref]; lacks {
			count.Refused++
			v.result.receipt.Refused = append(v.result.receipt.Refused, Refusal{Kind: ref.Kind, UID: ref.UID, Reason: why})
			continue
		}
		taken, values = append(taken, v.taken[i]), append(values, value)
	}
	v.taken, v.values = taken, values
	return nil
}
