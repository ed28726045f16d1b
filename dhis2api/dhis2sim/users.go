package dhis2sim

import (
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// userRoutes serves what is special about users: the caller himself, passwords, tokens.
func (s *Server) userRoutes() {
	s.handle("GET /api/me", s.me)
	s.handle("GET /api/me/authorities", func(w http.ResponseWriter, _ *http.Request, caller *account) {
		writeJSON(w, http.StatusOK, sortedKeys(caller.authorities))
	})
	s.handle("GET /api/me/authorization", func(w http.ResponseWriter, _ *http.Request, caller *account) {
		writeJSON(w, http.StatusOK, sortedKeys(caller.authorities))
	})
	s.handle("GET /api/me/settings", s.userSettings)
	s.handle("PUT /api/me/changePassword", s.changePassword)
	s.handle("GET /api/userSettings", s.userSettings)
	s.handle("GET /api/userSettings/{key}", func(w http.ResponseWriter, r *http.Request, caller *account) {
		w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
		_, _ = io.WriteString(w, scalar(s.settingsOf(caller)[r.PathValue("key")]))
	})
	s.handle("POST /api/userSettings/{key}", s.setUserSetting)
	s.handle("DELETE /api/userSettings/{key}", func(w http.ResponseWriter, r *http.Request, caller *account) {
		delete(s.userValues[s.settingsOwner(r, caller).uid], r.PathValue("key"))
		s.changed.note(userValuesCollection)
		w.WriteHeader(http.StatusNoContent)
	})
	s.handle("POST /api/users/{uid}/disabled", func(w http.ResponseWriter, r *http.Request, caller *account) { s.disable(w, r, caller, true) })
	s.handle("POST /api/users/{uid}/enabled", func(w http.ResponseWriter, r *http.Request, caller *account) { s.disable(w, r, caller, false) })
	for _, path := range []string{"/api/apiToken", "/api/apiTokens"} {
		s.handle("POST "+path, s.createToken)
	}
}

// me answers who the caller is.
func (s *Server) me(w http.ResponseWriter, r *http.Request, caller *account) {
	self := maps.Clone(s.object("users", caller.uid))
	delete(self, "code")
	self["authorities"] = toAny(sortedKeys(caller.authorities))
	self["settings"] = s.settingsOf(caller)
	for _, class := range []string{"programs", "dataSets"} {
		accessible := []any{}
		for _, o := range s.objects(class) {
			if s.mayReadData(caller, o) {
				accessible = append(accessible, o["id"])
			}
		}
		self[class] = accessible
	}
	viewer := viewer{Server: s}
	answer := viewer.object("users", self, fieldsOf(r.URL.Query(), "*"))
	writeJSON(w, http.StatusOK, answer)
}

func toAny(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}

func (s *Server) settingsOf(caller *account) object {
	settings := object{"keyUiLocale": "en", "keyDbLocale": "en", "keyStyle": "light_blue/light_blue.css", "keyAnalysisDisplayProperty": "name", "keyMessageEmailNotification": s.minor == 41, "keyMessageSmsNotification": s.minor == 41}
	maps.Copy(settings, s.userValues[caller.uid])
	return settings
}

// settingsOwner is the account whose settings a request is about: the one that it names, else the caller's.
func (s *Server) settingsOwner(r *http.Request, caller *account) *account {
	if user := s.userNamed(r.URL.Query().Get("user")); user != nil {
		return s.account(text(user["id"]))
	}
	return caller
}

func (s *Server) userSettings(w http.ResponseWriter, r *http.Request, caller *account) {
	writeJSON(w, http.StatusOK, s.settingsOf(s.settingsOwner(r, caller)))
}

func (s *Server) setUserSetting(w http.ResponseWriter, r *http.Request, caller *account) {
	caller = s.settingsOwner(r, caller)
	if s.userValues[caller.uid] == nil {
		s.userValues[caller.uid] = map[string]any{}
	}
	s.userValues[caller.uid][r.PathValue("key")] = r.URL.Query().Get("value")
	s.changed.note(userValuesCollection)
	writeMessage(w, http.StatusOK, "OK", "User setting saved", nil)
}

func (s *Server) changePassword(w http.ResponseWriter, r *http.Request, caller *account) {
	given, ok := readObject(w, r)
	if !ok {
		return
	}
	right := s.logins.admits(caller.uid, text(given["oldPassword"]))
	if weak := passwordWeakness(text(given["newPassword"])); !right || weak != "" {
		writeError(w, http.StatusConflict, "", "Password not changed. "+weak)
		return
	}
	s.setPassword(caller.uid, text(given["newPassword"]))
	w.WriteHeader(http.StatusAccepted)
}

func (s *Server) disable(w http.ResponseWriter, r *http.Request, caller *account, disabled bool) {
	uid := r.PathValue("uid")
	if s.object("users", uid) == nil {
		writeError(w, http.StatusInternalServerError, "", "user is null")
		return
	}
	if !caller.may("F_USER_ADD") {
		refuseMetadata(w)
		return
	}
	s.slowly(r.Context(), func() { s.change("users", uid, "disabled", disabled) })
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) createToken(w http.ResponseWriter, r *http.Request, caller *account) {
	given, ok := readObject(w, r)
	if !ok {
		return
	}
	expires := s.now().Add(30 * 24 * time.Hour)
	if at := number(given["expire"]); at > 0 {
		expires = time.UnixMilli(at)
	}
	uid := newUID()
	w.Header().Set("Location", baseURL(r)+"/api/apiToken/"+uid)
	writeMessage(w, http.StatusCreated, "OK", "", object{
		"key": s.addToken(uid, caller.uid, expires), "uid": uid, "klass": "org.hisp.dhis.security.apikey.ApiToken", "errorReports": []any{}, "responseType": "ApiTokenCreationResponse",
	})
}

// usernamePattern is what DHIS2 accepts as a username.
var usernamePattern = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9._@-]{2,252})[a-zA-Z0-9]$`)

// checkUser finds what is wrong with a user beyond what may be wrong with any object.
func (m *metadataImport) checkUser(o object, exists bool) []metadataError {
	var errors []metadataError
	uid, username := text(o["id"]), text(o["username"])
	fail := func(code, message string) {
		errors = append(errors, m.error("users", "", code, "username", message, "username", username))
	}
	holder := m.userNamed(username)
	switch {
	case !exists && !usernamePattern.MatchString(username):
		fail("E4049", "Property `username` requires a valid username, was given `"+username+"`.")
	case holder != nil && holder["id"] != uid:
		fail("E4054", "Property `username` already exists, was given `"+username+"`.")
	case exists && m.options.strategy == "UPDATE" && m.object("users", uid)["username"] != username:
		fail("E4056", "Property `username` can not be changed, was given `"+username+"`.")
	}
	if len(list(o["userRoles"])) == 0 {
		fail("E4055", "User must have at least one user role.")
	}
	if password := text(o["password"]); password != "" {
		if weak := passwordWeakness(password); weak != "" {
			errors = append(errors, m.error("users", uid, "E4005", "password", "Property `password` requires a valid password, was given `"+weak+"`.", "password", weak))
		}
	}
	return errors
}

// passwordWeakness says what a password lacks, nothing when it is good.
func passwordWeakness(password string) string {
	switch {
	case len(password) < 8 || len(password) > 72:
		return "Password must have at least 8, and at most 72 characters"
	case !strings.ContainsAny(password, "0123456789"):
		return "Password must have at least one digit"
	case !strings.ContainsFunc(password, func(r rune) bool { return r >= 'A' && r <= 'Z' }):
		return "Password must have at least one upper case"
	case !strings.ContainsFunc(password, func(r rune) bool { return r >= 'a' && r <= 'z' }):
		return "Password must have at least one lower case"
	case !slices.ContainsFunc([]byte(password), func(b byte) bool {
		return !(b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z')
	}):
		return "Password must have at least one special character"
	}
	for _, word := range strings.Fields("user admin system administrator username password login manager") {
		if strings.Contains(strings.ToLower(password), word) {
			return "Password must not have any generic word"
		}
	}
	return ""
}
