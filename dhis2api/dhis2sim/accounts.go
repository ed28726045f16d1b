package dhis2sim

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// account is the user on whose behalf a request runs.
type account struct {
	uid, username, firstName, surname string
	authorities                       map[string]bool
	// captureUnits, viewUnits and searchUnits are org unit uids; each includes everything below it.
	captureUnits, viewUnits, searchUnits []string
	groups                               []string
}

// person is what a record keeps of the account.
func (a *account) person() person { return person{a.uid, a.username, a.firstName, a.surname} }

// superuser tells whether the account holds the authority ALL.
func (a *account) superuser() bool { return a.authorities["ALL"] }

// may tells whether the account holds the authority, or ALL.
func (a *account) may(authority string) bool { return a.superuser() || a.authorities[authority] }

// name is the account's display name.
func (a *account) name() string { return a.firstName + " " + a.surname }

// reference is how metadata names the user who made or changed it.
func (a *account) reference() object {
	return object{"id": a.uid, "name": a.name(), "displayName": a.name(), "username": a.username}
}

// logins knows who may come in. It has its own lock, because reading requests log in too.
type logins struct {
	mu        sync.Mutex
	passwords map[string]string   // by user uid: the password, or its hash where it is stored
	proven    map[string]string   // passwords that were checked against a hash, by hash
	sessions  map[string]string   // session id to user uid, empty once evicted
	tokens    map[string]*token   // by hash of the key
	accounts  map[string]*account // by user uid, of one generation of the metadata
	since     int                 // that generation
}

// token is one personal access token. Its object, without the key, is of the class apiToken; it is revoked when
// that is deleted.
type token struct {
	uid     string
	user    string
	expires time.Time
	// met: GET /api/me was made with it. DHIS2 before 2.43.1 answers 500 on /api/tracker/** until then (DHIS2-21786).
	met bool
}

// account is the account of a user object.
func (s *Server) account(uid string) *account {
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	if s.logins.accounts == nil || s.logins.since != s.metadata.generation {
		s.logins.accounts, s.logins.since = map[string]*account{}, s.metadata.generation
	}
	if a := s.logins.accounts[uid]; a != nil {
		return a
	}
	user := s.object("users", uid)
	if user == nil {
		return nil
	}
	a := &account{
		uid: uid, username: text(user["username"]), firstName: text(user["firstName"]), surname: text(user["surname"]),
		authorities:  map[string]bool{},
		captureUnits: refUIDs(user["organisationUnits"]),
		viewUnits:    refUIDs(user["dataViewOrganisationUnits"]),
		searchUnits:  refUIDs(user["teiSearchOrganisationUnits"]),
	}
	for _, role := range refUIDs(user["userRoles"]) {
		for _, authority := range list(s.object("userRoles", role)["authorities"]) {
			a.authorities[text(authority)] = true
		}
	}
	for _, group := range s.objects("userGroups") {
		if slices.Contains(refUIDs(group["users"]), uid) {
			a.groups = append(a.groups, text(group["id"]))
		}
	}
	s.logins.accounts[uid] = a
	return a
}

// userNamed is the user object of a username, nil when there is none.
func (s *Server) userNamed(username string) object {
	for _, user := range s.objects("users") {
		if user["username"] == username {
			return user
		}
	}
	return nil
}

const sessionCookie = "JSESSIONID"

// authenticate finds the request's account: by token, by session cookie or by name and password, which
// opens a session. Where it finds none, it has written the answer.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (*account, bool) {
	if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "ApiToken "); ok {
		return s.authenticateToken(w, r, key)
	}
	if username, password, ok := r.BasicAuth(); ok {
		user := s.userNamed(username)
		uid := text(user["id"])
		right := s.logins.admits(uid, password) && user["disabled"] != true
		opened := false
		s.logins.mu.Lock()
		if right {
			if cookie, err := r.Cookie(sessionCookie); err != nil || s.logins.sessions[cookie.Value] != uid {
				id := randomHex(16)
				if s.logins.sessions == nil {
					s.logins.sessions = map[string]string{}
				}
				s.logins.sessions[id] = uid
				opened = true
				http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: id, Path: "/", HttpOnly: true})
			}
		}
		s.logins.mu.Unlock()
		if !right {
			writeError(w, http.StatusUnauthorized, "", "Unauthorized")
			return nil, false
		}
		if opened && s.storage != nil {
			if err := s.storage.loggedIn(r.Context(), uid, s.now()); err != nil {
				s.refuseUnstored(w, r, err)
				return nil, false
			}
		}
		return s.account(uid), true
	}
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		s.logins.mu.Lock()
		uid, once := s.logins.sessions[cookie.Value]
		s.logins.mu.Unlock()
		if a := s.account(uid); a != nil {
			return a, true
		}
		if once {
			w.Header().Set("Location", baseURL(r)+"/dhis-web-commons-security/logout.action")
			w.WriteHeader(http.StatusFound)
			return nil, false
		}
	}
	if r.Header.Get("X-Requested-With") == "XMLHttpRequest" || r.Header.Get("Authorization") != "" {
		writeError(w, http.StatusUnauthorized, "", "Unauthorized")
		return nil, false
	}
	w.Header().Set("Location", baseURL(r)+"/dhis-web-login/")
	w.WriteHeader(http.StatusFound)
	return nil, false
}

func (s *Server) authenticateToken(w http.ResponseWriter, r *http.Request, key string) (*account, bool) {
	s.logins.mu.Lock()
	t := s.logins.tokens[keyHash(key)]
	fresh := t != nil && !t.met
	if t != nil && r.URL.Path == "/api/me" {
		t.met = true
	}
	s.logins.mu.Unlock()
	switch {
	case t == nil || s.object("apiToken", t.uid) == nil:
		w.Header().Set("WWW-Authenticate", "ApiToken")
		writeError(w, http.StatusBadRequest, "", "Checksum validation failed")
		return nil, false
	case !t.expires.IsZero() && s.now().After(t.expires):
		writeError(w, http.StatusUnauthorized, "", "Failed to authenticate API token, token has expired.")
		return nil, false
	case fresh && s.minor < 43 && strings.HasPrefix(r.URL.Path, "/api/tracker/"):
		writeError(w, http.StatusInternalServerError, "", "failed to lazily initialize a collection")
		return nil, false
	}
	return s.account(t.user), true
}

// EvictSessions ends every session, as a restart of Tomcat does: their cookies answer 302 from now on.
func (s *Server) EvictSessions() {
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	for id := range s.logins.sessions {
		s.logins.sessions[id] = ""
	}
}

// setPassword gives a user a password.
func (s *Server) setPassword(uid, password string) {
	if s.storage != nil {
		password = hashPassword(password)
		s.changed.note(objectKey{"users", uid})
	}
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	if s.logins.passwords == nil {
		s.logins.passwords = map[string]string{}
	}
	s.logins.passwords[uid] = password
}

// admits tells whether a password is a user's.
func (l *logins) admits(uid, password string) bool {
	l.mu.Lock()
	stored, known := l.passwords[uid]
	proven := l.proven[stored]
	l.mu.Unlock()
	switch {
	case !known || !isHash(stored):
		return known && stored == password
	case proven != "":
		return proven == password
	case bcrypt.CompareHashAndPassword([]byte(stored), []byte(password)) != nil:
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.proven == nil {
		l.proven = map[string]string{}
	}
	l.proven[stored] = password
	return true
}

// hashPassword is what DHIS2 stores of a password, which is at most 72 bytes long.
func hashPassword(password string) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return hashPassword(newUID()) // one that nobody knows
	}
	return string(hash)
}

// isHash tells a stored hash from a password in memory; a password of that form would be one that nobody chose.
func isHash(stored string) bool { return strings.HasPrefix(stored, "$2a$") && len(stored) == 60 }

// keyHash is what is kept of a token's key.
func keyHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// addToken makes a personal access token of a user and returns its key, which is shown only once.
func (s *Server) addToken(uid, user string, expires time.Time) string {
	key := "d2p_" + randomHex(24)
	now := s.timestamp(s.now())
	s.metadata.put("apiToken", object{
		"id": uid, "type": "PERSONAL_ACCESS_TOKEN_V2", "version": 1, "expire": expires.UnixMilli(), "attributes": []any{}, "created": now, "lastUpdated": now,
		"createdBy": reference(user), "lastUpdatedBy": reference(user), "sharing": object{"owner": user, "public": "--------", "external": false, "users": object{}, "userGroups": object{}},
	})
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	if s.logins.tokens == nil {
		s.logins.tokens = map[string]*token{}
	}
	s.logins.tokens[keyHash(key)] = &token{uid: uid, user: user, expires: expires}
	s.changed.note(tokensCollection)
	return key
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// mayReadData tells whether the account may read data of a shared object (a program, a data set).
func (s *Server) mayReadData(a *account, o object) bool { return mayAccess(a, o, 2, 'r') }

// mayWriteData tells whether the account may write data of a shared object.
func (s *Server) mayWriteData(a *account, o object) bool { return mayAccess(a, o, 3, 'w') }

// mayRead tells whether the account may see the object itself.
func (s *Server) mayRead(a *account, o object) bool { return mayAccess(a, o, 0, 'r') }

// openClasses are those of which anybody may make objects.
var openClasses = fields(`constants dashboards dataEntryForms eventCharts eventFilters eventReports eventVisualizations expressionDimensionItems maps predictorGroups
programIndicatorGroups programStageWorkingLists programStages trackedEntityInstanceFilters trackedEntityTypes validationRuleGroups visualizations`)

// mayCreate tells whether the account may make objects of a class.
func mayCreate(a *account, class string) bool { return openClasses[class] || manages(a, class) }

// mayUpdate tells whether the account may change or delete an object: its authorities and the sharing must both
// allow it.
func mayUpdate(a *account, class string, o object) bool {
	return manages(a, class) && mayAccess(a, o, 1, 'w')
}

// manages tells whether the account holds an authority that is named for the class, such as
// F_DATAELEMENT_PUBLIC_ADD.
func manages(a *account, class string) bool {
	if a.superuser() {
		return true
	}
	for authority := range a.authorities {
		if strings.HasSuffix(authority, "_ADD") && strings.Contains(strings.ReplaceAll(authority, "_", ""), strings.ToUpper(simpleName(class))) {
			return true
		}
	}
	return false
}

// mayAccess reads an object's sharing: an access string ("rwrw----") has 'r' or 'w' at its place for
// everybody, for the user or for one of the user's groups. Objects without sharing are everybody's.
func mayAccess(a *account, o object, place int, right byte) bool {
	sharing, ok := o["sharing"].(object)
	if !ok || a.superuser() {
		return true
	}
	grants := func(access any) bool {
		granted := text(access)
		return len(granted) > place && granted[place] == right
	}
	if sharing["public"] == nil || grants(sharing["public"]) || sharing["owner"] == a.uid {
		return true
	}
	users, _ := sharing["users"].(object)
	if entry, ok := users[a.uid].(object); ok && grants(entry["access"]) {
		return true
	}
	groups, _ := sharing["userGroups"].(object)
	for _, group := range a.groups {
		if entry, ok := groups[group].(object); ok && grants(entry["access"]) {
			return true
		}
	}
	return false
}
