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
)

// DomainDataValue is the domain of files that are values of attributes, events or data sets.
const DomainDataValue = "DATA_VALUE"

// FileResource is what the server knows of a file.
type FileResource struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	ContentType   string `json:"contentType"`
	ContentLength int64  `json:"contentLength"` // bytes
	ContentMD5    string `json:"contentMd5"`
	Domain        string `json:"domain"`
	StorageStatus string `json:"storageStatus"` // PENDING, then STORED; content can be read in both
	Assigned      bool   `json:"assigned"`      // it is the value of something
}

// UploadFile stores a file under the uid and returns what the server made of it; do it before sending the value
// that names it. A uid that the server has already is a StatusError with ErrorCode E1119. The whole file is
// held in memory: DHIS2 takes 10 MB at most unless told otherwise.
//
// Domain is DomainDataValue when empty.
func (c *Client) UploadFile(ctx context.Context, uid, name, contentType, domain string, content io.ReadSeeker) (*FileResource, error) {
	if !ValidUID(uid) {
		return nil, fmt.Errorf("file: %q is not a uid", uid)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {mime.FormatMediaType("form-data", map[string]string{"name": "file", "filename": name})},
		"Content-Type":        {cmp.Or(contentType, "application/octet-stream")},
	})
	if err == nil {
		_, err = content.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = io.Copy(part, content)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", uid, err)
	}
	r := &request{
		method: http.MethodPost, path: "/api/fileResources", contentType: form.FormDataContentType(),
		query: url.Values{"domain": {cmp.Or(domain, DomainDataValue)}, "uid": {uid}},
	}
	if err := r.setBody(body.Bytes()); err != nil {
		return nil, err
	}
	var answer struct {
		Response struct{ FileResource FileResource }
	}
	if err := c.do(ctx, r, &answer); err != nil {
		return nil, fmt.Errorf("file %s: %w", uid, err)
	}
	return &answer.Response.FileResource, nil
}

// File reads what the server knows of a file; NotFound tells that there is none.
func (c *Client) File(ctx context.Context, uid string) (*FileResource, error) {
	if !ValidUID(uid) {
		return nil, fmt.Errorf("file: %q is not a uid", uid)
	}
	file := &FileResource{}
	if err := c.getJSON(ctx, "/api/fileResources/"+uid, nil, file); err != nil {
		return nil, err
	}
	return file, nil
}

// FileContent reads the bytes of a file, which the account must be allowed to see; the caller closes it. For
// files of tracker objects use AttributeFile and EventFile.
func (c *Client) FileContent(ctx context.Context, uid string) (io.ReadCloser, error) {
	if !ValidUID(uid) {
		return nil, fmt.Errorf("file: %q is not a uid", uid)
	}
	return c.download(ctx, "/api/fileResources/"+uid+"/data", nil)
}

// AttributeFile reads the file that is a tracked entity's attribute value; the caller closes it. An attribute
// of a program needs the program.
func (c *Client) AttributeFile(ctx context.Context, trackedEntity, attribute, program string) (io.ReadCloser, error) {
	values := parameters{}
	values.set("program", program)
	path := fmt.Sprintf("%s/trackedEntities/%s/attributes/%s/file", trackerPath, url.PathEscape(trackedEntity), url.PathEscape(attribute))
	return c.download(ctx, path, url.Values(values))
}

// EventFile reads the file that is an event's data value; the caller closes it.
func (c *Client) EventFile(ctx context.Context, event, dataElement string) (io.ReadCloser, error) {
	path := fmt.Sprintf("%s/events/%s/dataValues/%s/file", trackerPath, url.PathEscape(event), url.PathEscape(dataElement))
	return c.download(ctx, path, nil)
}

func (c *Client) download(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	return c.stream(ctx, &request{method: http.MethodGet, path: path, query: query, plain: true, download: true})
}
