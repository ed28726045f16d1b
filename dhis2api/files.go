package dhis2api

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DomainDataValue is the domain of files that are values of attributes, events or data sets.
const DomainDataValue = "DATA_VALUE"

// FileStored is the storage status of a file whose bytes the server has.
const FileStored = "STORED"

// MaxFileBytes is the largest file that DHIS2 takes unless it is told otherwise (max.file_upload_size, 2.41 to 2.43).
const MaxFileBytes = 10_000_000

// FileValueTypes are the value types of attributes and data elements whose values are the uids of files.
func FileValueTypes() []string { return []string{"FILE_RESOURCE", "IMAGE"} }

// FileResource is what the server knows of a file.
type FileResource struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	ContentType   string `json:"contentType"`
	ContentLength int64  `json:"contentLength"` // bytes
	ContentMD5    string `json:"contentMd5"`
	Domain        string `json:"domain"`
	StorageStatus string `json:"storageStatus"` // PENDING until the bytes can be read, then FileStored; PENDING again when they are lost
	Assigned      bool   `json:"assigned"`      // it is the value of something
}

// FileUpload is a file to be stored under a uid of the sender's choice.
type FileUpload struct {
	UID, Name string
	// ContentType is application/octet-stream when empty, Domain is DomainDataValue.
	ContentType, Domain string
	// Length is that of the content, in bytes.
	Length int64
	// Open gives the content from its beginning, each time that it is sent. Whoever reads it closes it.
	Open func() (io.ReadCloser, error)
}

// UploadFile stores a file held in memory, or in a file of one's own, as Upload does.
func (c *Client) UploadFile(ctx context.Context, uid, name, contentType, domain string, content io.ReadSeeker) (*FileResource, error) {
	length, err := content.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", uid, err)
	}
	return c.Upload(ctx, FileUpload{UID: uid, Name: name, ContentType: contentType, Domain: domain, Length: length, Open: func() (io.ReadCloser, error) {
		_, err := content.Seek(0, io.SeekStart)
		return io.NopCloser(content), err
	}})
}

// Upload stores a file under its uid and returns what the server made of it; do it before sending the value that
// names it. The content passes through and is never held as a whole.
//
// DHIS2 stores the bytes after it has answered: see AwaitFile. Errors: a StatusError with ErrorCode E1119 for a uid
// that the server has already, E6101 for a type that it takes from nobody, without a code for a file that is larger
// than its limit (10,000,000 bytes unless told otherwise, DHIS2 2.41 to 2.43); an UnknownOutcomeError when it may
// have been stored.
func (c *Client) Upload(ctx context.Context, file FileUpload) (*FileResource, error) {
	if !ValidUID(file.UID) {
		return nil, fmt.Errorf("file: %q is not a uid", file.UID)
	}
	var frame bytes.Buffer
	form := multipart.NewWriter(&frame)
	_, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {mime.FormatMediaType("form-data", map[string]string{"name": "file", "filename": file.Name})},
		"Content-Type":        {cmp.Or(file.ContentType, "application/octet-stream")},
	})
	head := frame.Len()
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", file.UID, err)
	}
	before, after := frame.Bytes()[:head], frame.Bytes()[head:]
	r := &request{
		method: http.MethodPost, path: filesPath, contentType: form.FormDataContentType(), length: int64(frame.Len()) + file.Length,
		query: url.Values{"domain": {cmp.Or(file.Domain, DomainDataValue)}, "uid": {file.UID}},
		body: func() (io.Reader, error) {
			content, err := file.Open()
			if err != nil {
				return nil, err
			}
			return framedContent{io.MultiReader(bytes.NewReader(before), content, bytes.NewReader(after)), content}, nil
		},
	}
	var answer struct {
		Response struct{ FileResource FileResource }
	}
	if err := c.do(ctx, r, &answer); err != nil {
		return nil, fmt.Errorf("file %s: %w", file.UID, err)
	}
	if answer.Response.FileResource.ID == "" {
		return nil, &UnknownOutcomeError{Method: r.method, Path: r.path, Err: fmt.Errorf("%w: it names no file", errFormat)}
	}
	return &answer.Response.FileResource, nil
}

// framedContent is a form with a file in it.
type framedContent struct {
	io.Reader
	content io.Closer
}

func (f framedContent) Close() error { return f.content.Close() }

const filesPath = "/api/fileResources"

// File reads what the server knows of a file; NotFound tells that there is none.
func (c *Client) File(ctx context.Context, uid string) (*FileResource, error) {
	if !ValidUID(uid) {
		return nil, fmt.Errorf("file: %q is not a uid", uid)
	}
	file := &FileResource{}
	if err := c.getJSON(ctx, filesPath+"/"+uid, nil, file); err != nil {
		return nil, err
	}
	if file.ID == "" {
		return nil, fmt.Errorf("GET %s/%s: %w: it names no file", filesPath, uid, errFormat)
	}
	return file, nil
}

// Files reads what the server knows of many files at once; the map lacks those that it does not know. A list has no
// storage status (DHIS2 2.42 and 2.43: NONE for all); File has.
func (c *Client) Files(ctx context.Context, uids []string) (map[string]*FileResource, error) {
	files := map[string]*FileResource{}
	for chunk := range slices.Chunk(uids, lookupSize) {
		query := ListQuery{Fields: "id,name,contentType,contentLength,contentMd5,domain,assigned", Filters: []string{"id:in:[" + strings.Join(chunk, ",") + "]"}}
		for file, err := range ListAs[FileResource](ctx, c, "fileResources", query) {
			if err != nil {
				return nil, err
			}
			files[file.ID] = &file
		}
	}
	return files, nil
}

// AwaitFile waits until the server has stored a file's bytes and returns its record, or after half a minute the
// record as it then is: what claims to be an image and is none stays PENDING forever (DHIS2 2.42 and 2.43). NotFound
// tells that there is no such file.
func (c *Client) AwaitFile(ctx context.Context, uid string) (*FileResource, error) {
	const tries = 12
	for try, pause := 1, 50*time.Millisecond; ; try, pause = try+1, min(2*pause, 5*time.Second) {
		file, err := c.File(ctx, uid)
		if err != nil || file.StorageStatus == FileStored || try == tries {
			return file, err
		}
		if err := c.options.Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// FileValue names the value that a file is: of a tracked entity, of an event or of a form. DHIS2 gives the bytes of
// such a file by its value alone, and nobody by the file's uid (2.41 to 2.43: 403).
type FileValue struct {
	TrackedEntity, Attribute string
	// Program is needed for an attribute that the tracked entity's type does not have.
	Program            string
	Event, DataElement string
	// DataValue is the value of a form, by its key.
	DataValue *DataValue
}

// place is where the API has the value's file.
func (v FileValue) place() (path string, query url.Values) {
	values := parameters{}
	switch {
	case v.DataValue != nil:
		values.set("de", v.DataValue.DataElement)
		values.set("pe", v.DataValue.Period)
		values.set("ou", v.DataValue.OrgUnit)
		values.set("co", v.DataValue.CategoryOptionCombo)
		path = "/api/dataValues/files"
	case v.Event != "":
		path = fmt.Sprintf("%s/events/%s/dataValues/%s/file", trackerPath, url.PathEscape(v.Event), url.PathEscape(v.DataElement))
	default:
		values.set("program", v.Program)
		path = fmt.Sprintf("%s/trackedEntities/%s/attributes/%s/file", trackerPath, url.PathEscape(v.TrackedEntity), url.PathEscape(v.Attribute))
	}
	return path, url.Values(values)
}

// fileRequest asks for a value's file.
func (c *Client) fileRequest(ctx context.Context, method string, v FileValue) (*request, error) {
	path, query := v.place()
	if v.DataValue != nil && v.DataValue.AttributeOptionCombo != "" {
		// The API asks for the options by which a form is filled, not for their combination.
		var combo struct {
			CategoryCombo struct {
				ID        string
				IsDefault bool
			}
			CategoryOptions []Ref
		}
		if err := c.Get(ctx, "categoryOptionCombos", v.DataValue.AttributeOptionCombo, "categoryCombo[id,isDefault],categoryOptions[id]", &combo); err != nil {
			return nil, err
		}
		if !combo.CategoryCombo.IsDefault {
			var options []string
			for _, option := range combo.CategoryOptions {
				options = append(options, option.ID)
			}
			query.Set("cc", combo.CategoryCombo.ID)
			query.Set("cp", strings.Join(options, ";"))
		}
	}
	return download(method, path, query), nil
}

// download is a request for a file, wherever the server has stored it.
func download(method, path string, query url.Values) *request {
	return &request{method: method, path: path, query: query, plain: true, download: true}
}

// FileContent reads the bytes of a file that is not the value of anything, such as an icon; the caller closes it.
func (c *Client) FileContent(ctx context.Context, uid string) (io.ReadCloser, error) {
	if !ValidUID(uid) {
		return nil, fmt.Errorf("file: %q is not a uid", uid)
	}
	return c.stream(ctx, download(http.MethodGet, filesPath+"/"+uid+"/data", nil))
}

// ValueFile reads the file that is a value; the caller closes it. NotFound tells that there is no such value or
// file; a StatusError (409) that the server has not stored its bytes, or has lost them.
func (c *Client) ValueFile(ctx context.Context, v FileValue) (io.ReadCloser, error) {
	r, err := c.fileRequest(ctx, http.MethodGet, v)
	if err != nil {
		return nil, err
	}
	return c.stream(ctx, r)
}

// ServesFile asks whether the server would give the file that is a value, without reading it, and returns its length
// in bytes, -1 where the server does not say. Errors are those of ValueFile, without the server's message.
func (c *Client) ServesFile(ctx context.Context, v FileValue) (int64, error) {
	r, err := c.fileRequest(ctx, http.MethodHead, v)
	if err != nil {
		return 0, err
	}
	answer, err := c.send(ctx, r)
	if err != nil {
		return 0, err
	}
	length, err := strconv.ParseInt(answer.header.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	return length, answer.body.Close()
}
