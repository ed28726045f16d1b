package dhis2sim

import (
	"net/http"
	"slices"
	"strings"
)

// iconRoutes serves custom icons, as 2.43 does; the icons that a DHIS2 is born with are not there. An icon is kept
// with the file that holds its picture, and forgotten when a server with a database stops.
func (s *Server) iconRoutes() {
	s.handle("GET /api/icons", func(w http.ResponseWriter, r *http.Request, _ *account) {
		var keys []string
		if given := r.URL.Query().Get("keys"); given != "" {
			keys = strings.Split(given, ",")
		}
		found := []any{}
		for _, uid := range sortedKeys(s.files) {
			if icon, is := s.files[uid].record["icon"].(object); is && (keys == nil || slices.Contains(keys, text(icon["key"]))) {
				found = append(found, fieldsOf(r.URL.Query(), "key,keywords,description,fileResource").apply(icon))
			}
		}
		writeJSON(w, http.StatusOK, object{"icons": found})
	})
	s.handle("GET /api/icons/{key}/icon", func(w http.ResponseWriter, r *http.Request, _ *account) {
		if f := s.icon(w, r); f != nil {
			f.write(w)
		}
	})
	s.handle("DELETE /api/icons/{key}", func(w http.ResponseWriter, r *http.Request, _ *account) {
		if f := s.icon(w, r); f != nil {
			delete(f.record, "icon")
			s.changed.note(fileKey(text(f.record["id"])))
			writeMessage(w, http.StatusOK, "OK", "Icon with key "+r.PathValue("key")+" deleted", nil)
		}
	})
	s.handle("POST /api/icons", s.addIcon)
}

// iconFile is the file of an icon, nil when there is none.
func (s *Server) iconFile(key string) *fileResource {
	for _, f := range s.files {
		if icon, is := f.record["icon"].(object); is && icon["key"] == key {
			return f
		}
	}
	return nil
}

// icon is the file of the icon that the path names, or nil after a 404.
func (s *Server) icon(w http.ResponseWriter, r *http.Request) *fileResource {
	f := s.iconFile(r.PathValue("key"))
	if f == nil {
		writeError(w, http.StatusNotFound, "E1005", "Icon with id "+r.PathValue("key")+" could not be found.")
	}
	return f
}

func (s *Server) addIcon(w http.ResponseWriter, r *http.Request, _ *account) {
	given, ok := readObject(w, r)
	if !ok {
		return
	}
	key, uid := text(given["key"]), text(given["fileResourceId"])
	switch f := s.files[uid]; {
	case s.iconFile(key) != nil:
		writeError(w, http.StatusBadRequest, "E1003", "Icon with key "+key+" already exists.")
	case f == nil:
		writeError(w, http.StatusNotFound, "E1005", "FileResource with id "+uid+" could not be found.")
	default:
		f.record["icon"] = object{
			"key": key, "description": given["description"], "keywords": list(given["keywords"]), "custom": true, "fileResource": object{"id": uid},
		}
		f.assigned = true
		s.changed.note(fileKey(uid))
		writeMessage(w, http.StatusCreated, "OK", "Icon created with key "+key, nil)
	}
}
