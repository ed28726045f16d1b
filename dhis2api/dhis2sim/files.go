package dhis2sim

import (
	"crypto/md5" //nolint:gosec // DHIS2 names files' content by MD5
	"encoding/hex"
	"io"
	"net/http"
	"strings"
)

// fileResource is one uploaded file.
type fileResource struct {
	record   object // as the API shows it
	content  []byte
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
	s.handle("GET /api/fileResources/{uid}", func(w http.ResponseWriter, r *http.Request, _ *account) {
		if f := s.knownFile(w, r); f != nil {
			writeJSON(w, http.StatusOK, fieldsOf(r.URL.Query(), "*").apply(f.shown("STORED")))
		}
	})
	s.handle("GET /api/fileResources/{uid}/data", func(w http.ResponseWriter, r *http.Request, _ *account) {
		if f := s.knownFile(w, r); f != nil {
			f.write(w)
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

// shown is the file's record; storage is finished by the time anybody asks again.
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

func (s *Server) uploadFile(w http.ResponseWriter, r *http.Request, caller *account) {
	uploaded, header, err := r.FormFile("file")
	if err != nil {
		writeError(w, http.StatusBadRequest, "", "Required part 'file' is not present.")
		return
	}
	content, err := io.ReadAll(uploaded)
	if err != nil || len(content) == 0 {
		writeError(w, http.StatusConflict, "", "Could not read file or file is empty.")
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
		writeError(w, http.StatusConflict, "E1119", "FileResource with uid "+uid+" already exists.")
		return
	}
	contentType := header.Header.Get("Content-Type")
	if contentType == "" {
		contentType = "application/octet-stream"
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
