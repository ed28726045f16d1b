package dhis2sim

import (
	"context"
	"crypto/md5" //nolint:gosec // DHIS2 names files' content by MD5
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
)

// fileResource is one uploaded file.
type fileResource struct {
	record   object // as the API shows it
	content  []byte // nil when it was lost
	key      string // where DHIS2 would store it: "dataValue/" and a UUID
	assigned bool   // a value refers to it
}

// fileKnown tells whether a file of that uid was uploaded.
func (s *Server) fileKnown(uid string) bool { return s.files[uid] != nil }

// assignFile notes that a value refers to the file; nothing where there is no such file.
func (s *Server) assignFile(uid string) {
	if f := s.files[uid]; f != nil {
		f.assigned = true
		s.changed.note(fileKey(uid))
	}
}

// file is an uploaded file, nil when it is unknown.
func (s *Server) file(uid string) *fileResource { return s.files[uid] }

// write answers with the file's bytes.
func (f *fileResource) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", text(f.record["contentType"]))
	w.Header().Set("Content-Disposition", "filename="+text(f.record["name"]))
	_, _ = w.Write(f.content)
}

func (s *Server) fileRoutes() {
	s.handle("POST /api/fileResources", s.uploadFile)
	s.handle("GET /api/fileResources", s.listFiles)
	s.handle("GET /api/fileResources/{uid}", func(w http.ResponseWriter, r *http.Request, _ *account) {
		if f := s.knownFile(w, r); f != nil {
			status := "STORED"
			if f.content == nil {
				status = "PENDING"
			}
			writeJSON(w, http.StatusOK, fieldsOf(r.URL.Query(), "*").apply(f.shown(status)))
		}
	})
	s.handle("GET /api/fileResources/{uid}/data", func(w http.ResponseWriter, r *http.Request, _ *account) {
		f := s.knownFile(w, r)
		switch {
		case f == nil:
		case f.record["domain"] == "DATA_VALUE" && s.minor == 43:
			writeError(w, http.StatusForbidden, "E1006", "File resource not found or not accessible: "+r.PathValue("uid"))
		case f.record["domain"] == "DATA_VALUE":
			writeError(w, http.StatusForbidden, "E1006", "You don't have access to fileResource '"+r.PathValue("uid")+"' or this fileResource is not available from this endpoint")
		default:
			f.write(w)
		}
	})
	s.handle("GET /api/dataValues/files", s.serveFormFile)
}

// listFiles lists files, all or those of a filter id:in:[...]. A list knows no storage status (2.42, 2.43).
func (s *Server) listFiles(w http.ResponseWriter, r *http.Request, _ *account) {
	wanted, some := strings.CutPrefix(r.URL.Query().Get("filter"), "id:in:[")
	uids := strings.Split(strings.TrimSuffix(wanted, "]"), ",")
	var found []object
	for _, uid := range sortedKeys(s.files) {
		if !some || slices.Contains(uids, uid) {
			found = append(found, s.files[uid].shown("NONE"))
		}
	}
	s.writeList(w, r, "fileResources", found)
}

// serveFormFile answers with the file that is the value of a form.
func (s *Server) serveFormFile(w http.ResponseWriter, r *http.Request, _ *account) {
	parameters := r.URL.Query()
	combo := func(given string) string {
		if given == "" {
			return s.defaultOptionCombo()
		}
		return given
	}
	value := s.aggregate.values[dataValueKey{
		parameters.Get("de"), parameters.Get("pe"), parameters.Get("ou"), combo(parameters.Get("co")),
		combo(s.optionComboOf(parameters.Get("cc"), strings.Split(parameters.Get("cp"), ";"))),
	}]
	switch {
	case value == nil || value.deleted:
		writeError(w, http.StatusConflict, "", "Data value does not exist")
	case s.files[value.value] == nil:
		writeError(w, http.StatusNotFound, "", "A data value file resource with id "+value.value+" does not exist.")
	default:
		s.sendFile(w, value.value)
	}
}

// optionComboOf is the combination of the options in a category combo, "" without one.
func (s *Server) optionComboOf(categoryCombo string, options []string) string {
	for _, uid := range refUIDs(s.object("categoryCombos", categoryCombo)["categoryOptionCombos"]) {
		of := refUIDs(s.object("categoryOptionCombos", uid)["categoryOptions"])
		if len(of) == len(options) && !slices.ContainsFunc(of, func(option string) bool { return !slices.Contains(options, option) }) {
			return uid
		}
	}
	return ""
}

// LoseFile makes the server lose the bytes of a file, as a broken disk or store does: its record stays.
func (s *Server) LoseFile(ctx context.Context, uid string) error {
	return s.write(ctx, func() {
		if f := s.files[uid]; f != nil {
			f.content = nil
			s.changed.note(fileKey(uid))
		}
	})
}

// knownFile is the file that the path names, or nil after a 404.
func (s *Server) knownFile(w http.ResponseWriter, r *http.Request) *fileResource {
	f := s.files[r.PathValue("uid")]
	if f == nil {
		writeError(w, http.StatusNotFound, "E1005", "FileResource with id "+r.PathValue("uid")+" could not be found.")
	}
	return f
}

// shown is the file's record; storage is finished by the time anybody asks again, unless its bytes are lost.
func (f *fileResource) shown(status string) object {
	shown := object{"storageStatus": status, "assigned": f.assigned, "hasMultipleStorageFiles": false}
	for name, value := range f.record {
		if name != "icon" {
			shown[name] = value
		}
	}
	return shown
}

// storageKey is a new place to store a file of a domain ("DATA_VALUE") at.
func storageKey(domain string) string {
	words := strings.Split(strings.ToLower(domain), "_")
	for i, word := range words[1:] {
		if word != "" {
			words[i+1] = strings.ToUpper(word[:1]) + word[1:]
		}
	}
	id := randomHex(16)
	return strings.Join(words, "") + "/" + id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// blockedTypes and blockedExtensions are those of files that DHIS2 takes from nobody (FileResourceBlocklist).
func blockedTypes() []string {
	return strings.Fields(`text/html text/css text/javascript font/otf application/x-shockwave-flash application/vnd.debian.binary-package
		application/x-rpm application/java-archive application/x-ms-dos-executable application/vnd.microsoft.portable-executable
		application/vnd.apple.installer+xml application/vnd.mozilla.xul+xml application/x-httpd-php application/x-sh application/x-csh`)
}

func blockedExtensions() []string {
	return strings.Fields("html htm css js mjs otf swf deb rpm jar jsp exe msi mpkg xul php bin sh csh bat")
}

func (s *Server) uploadFile(w http.ResponseWriter, r *http.Request, caller *account) {
	uploaded, header, err := r.FormFile("file")
	if err != nil {
		writeError(w, http.StatusBadRequest, "", "Required part 'file' is not present.")
		return
	}
	content, err := io.ReadAll(uploaded)
	if err != nil || len(content) == 0 {
		writeError(w, http.StatusConflict, "E1004", "Could not read file or file is empty.")
		return
	}
	parameters := r.URL.Query()
	uid, domain := parameters.Get("uid"), parameters.Get("domain")
	if domain == "" {
		domain = "DATA_VALUE"
	}
	switch {
	case uid == "":
		uid = newUID()
	case !validUID.MatchString(uid):
		writeError(w, http.StatusBadRequest, "E1003", "UID must be an alphanumeric string of 11 characters starting with a letter, but was: "+uid)
		return
	case s.files[uid] != nil:
		writeError(w, http.StatusConflict, "E1119", "FileResource already exists: `"+uid+"`")
		return
	}
	contentType := header.Header.Get("Content-Type")
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	switch extension := strings.ToLower(strings.TrimPrefix(path.Ext(header.Filename), ".")); {
	case len(content) > s.options.MaxFile:
		writeError(w, http.StatusConflict, "", fmt.Sprintf("File size can't be bigger than %d, current file size %d", s.options.MaxFile, len(content)))
		return
	case slices.Contains(blockedTypes(), strings.ToLower(contentType)), slices.Contains(blockedExtensions(), extension):
		writeError(w, http.StatusConflict, "E6101", "File type not allowed")
		return
	}
	sum := md5.Sum(content) //nolint:gosec // as above
	now := s.timestamp(s.now())
	f := &fileResource{content: content, key: storageKey(domain), record: object{
		"id": uid, "name": header.Filename, "displayName": header.Filename, "domain": domain, "contentType": contentType,
		"contentLength": len(content), "contentMd5": hex.EncodeToString(sum[:]), "created": now, "lastUpdated": now,
		"createdBy": caller.reference(), "lastUpdatedBy": caller.reference(), "user": caller.reference(),
	}}
	s.files[uid] = f
	s.changed.note(fileKey(uid))
	writeMessage(w, http.StatusAccepted, "OK", "", object{"responseType": "FileResource", "fileResource": f.shown("PENDING")})
}
