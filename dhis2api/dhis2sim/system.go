package dhis2sim

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// systemRoutes serves what a server says of itself, its settings and its data store.
func (s *Server) systemRoutes() {
	if s.minor == 41 {
		s.handle("GET /api/ping", func(w http.ResponseWriter, r *http.Request, _ *account) { ping(w, r) })
	} else { // asks no credentials
		s.mux.HandleFunc("GET /api/ping", ping)
	}
	s.handle("GET /api/system/ping", func(w http.ResponseWriter, r *http.Request, _ *account) {
		ping(w, r)
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	})
	s.handle("GET /api/system/info", s.systemInfo)
	s.handle("GET /api/system/id", func(w http.ResponseWriter, r *http.Request, _ *account) {
		codes := []any{}
		for range min(max(numberOr(looseNumber(r.URL.Query().Get("limit")), 1), 1), 10000) {
			codes = append(codes, newUID())
		}
		writeJSON(w, http.StatusOK, object{"codes": codes})
	})
	s.mux.HandleFunc("GET /api/loginConfig", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, object{"apiVersion": s.options.Version, "countryFlag": "dhis2", "uiLocale": "en"})
	})
	s.mux.HandleFunc("/dhis-web-login/", loginPage)

	s.handle("GET /api/systemSettings", s.systemSettings)
	s.handle("GET /api/systemSettings/{key}", s.systemSetting)
	s.handle("POST /api/systemSettings", s.setSystemSettings)
	s.handle("POST /api/systemSettings/{key}", s.setSystemSetting)
	s.handle("DELETE /api/systemSettings/{key}", func(w http.ResponseWriter, r *http.Request, _ *account) {
		delete(s.settings, r.PathValue("key"))
		s.changed.note(settingsCollection)
		w.WriteHeader(http.StatusNoContent)
	})

	s.handle("GET /api/dataStore", func(w http.ResponseWriter, _ *http.Request, _ *account) {
		writeJSON(w, http.StatusOK, sortedKeys(s.dataStore))
	})
	s.handle("GET /api/dataStore/{namespace}", s.dataStoreKeys)
	s.handle("DELETE /api/dataStore/{namespace}", s.deleteNamespace)
	s.handle("GET /api/dataStore/{namespace}/{key}", s.dataStoreValue)
	s.handle("POST /api/dataStore/{namespace}/{key}", s.setDataStoreValue)
	s.handle("PUT /api/dataStore/{namespace}/{key}", s.setDataStoreValue)
	s.handle("DELETE /api/dataStore/{namespace}/{key}", s.deleteDataStoreValue)

	s.handle("POST /api/maintenance", s.maintain)
	s.handle("PUT /api/maintenance", s.maintain)
}

func ping(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	_, _ = io.WriteString(w, "pong")
}

func loginPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html;charset=UTF-8")
	_, _ = io.WriteString(w, "<!doctype html><html><head><title>DHIS2 Login</title></head><body><form></form></body></html>")
}

func (s *Server) systemInfo(w http.ResponseWriter, r *http.Request, _ *account) {
	zone := s.options.Zone.String()
	writeJSON(w, http.StatusOK, object{
		"contextPath": baseURL(r), "instanceBaseUrl": baseURL(r), "calendar": "iso8601", "dateFormat": "yyyy-mm-dd",
		"serverDate": s.timestamp(s.now()), "serverTimeZoneId": zone, "serverTimeZoneDisplayName": zone,
		"version": s.options.Version, "revision": s.revision(), "systemName": s.setting("applicationTitle"),
		"encryption": true, "emailConfigured": false, "redisEnabled": false, "isMetadataVersionEnabled": false,
	})
}

// knownSettings are system settings with their values on a fresh server. DHIS2 knows more of them.
var knownSettings = map[string]any{
	"applicationTitle": "DHIS 2", "keyApplicationIntro": "", "keyApplicationNotification": "", "keyApplicationFooter": "", "keyFlag": "dhis2",
	"startModule": "dashboard", "keyUiLocale": "en", "keyDbLocale": "en", "keyCalendar": "iso8601", "keyDateFormat": "yyyy-MM-dd",
	"keyStyle": "light_blue/light_blue.css", "keyAnalysisDisplayProperty": "name", "keyAnalysisRelativePeriod": "LAST_12_MONTHS",
	"keyAllowObjectAssignment": false, "keyRequireAddToView": false, "keyLockMultipleFailedLogins": false, "keyVersionEnabled": false,
	"keyStopMetadataSync": false, "keyRemoteInstanceUrl": "", "keyRemoteInstanceUsername": "", "keySystemMetadataVersion": "",
	"keyDefaultBaseMap": "", "keyHideDailyPeriods": false, "keyHideWeeklyPeriods": false, "keyHideMonthlyPeriods": false,
	"keyDataImportStrictPeriods": false, "keyDataImportStrictDataElements": false, "keyDataImportStrictOrganisationUnits": false,
	"keyAcceptanceRequiredForApproval": false, "KeyTrackedEntityMaxLimit": 50000, "minPasswordLength": 8, "maxPasswordLength": 72,
	"credentialsExpires": 0, "keySmsMaxLength": 1071, "phoneNumberAreaCode": "", "multiOrganisationUnitForms": false,
	"syncMaxAttempts": 3, "keyLastSuccessfulDataSynch": "1970-01-01T00:00:00.000", "analyticsFinancialYearStart": "FINANCIAL_YEAR_OCTOBER",
	"ruleEngineAssignOverwrite": false, "helpPageLink": "", "keyEmailHostName": "",
}

// setting is a system setting as it stands.
func (s *Server) setting(key string) any {
	if value, ok := s.settings[key]; ok {
		switch knownSettings[key].(type) {
		case bool:
			return value == "true"
		case int:
			return looseNumber(value)
		}
		return value
	}
	return knownSettings[key]
}

func (s *Server) systemSettings(w http.ResponseWriter, r *http.Request, _ *account) {
	keys := slices.Collect(maps.Keys(knownSettings))
	if given := r.URL.Query()["key"]; len(given) > 0 {
		keys = strings.Split(strings.Join(given, ","), ",")
	}
	settings := object{}
	for _, key := range keys {
		if value := s.setting(key); value != nil {
			settings[key] = value
		}
	}
	writeJSON(w, http.StatusOK, settings)
}

func (s *Server) systemSetting(w http.ResponseWriter, r *http.Request, _ *account) {
	key := r.PathValue("key")
	value := s.setting(key)
	if value == nil {
		s.unknownSetting(w, key)
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), "text/plain") {
		writeJSON(w, http.StatusOK, object{key: value})
		return
	}
	w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
	_, _ = io.WriteString(w, scalar(value))
}

func (s *Server) unknownSetting(w http.ResponseWriter, key string) {
	if s.minor == 41 {
		writeError(w, http.StatusConflict, "", "Key is not supported: "+key)
		return
	}
	writeError(w, http.StatusNotFound, "E1005", "Setting does not exist: "+key)
}

func (s *Server) setSystemSetting(w http.ResponseWriter, r *http.Request, caller *account) {
	key, value := r.PathValue("key"), r.URL.Query().Get("value")
	if !r.URL.Query().Has("value") {
		body, _ := io.ReadAll(r.Body) // from memory
		value = strings.Trim(string(body), `"`)
	}
	s.storeSettings(r.Context(), w, map[string]string{key: value}, caller)
}

func (s *Server) setSystemSettings(w http.ResponseWriter, r *http.Request, caller *account) {
	given, ok := readObject(w, r)
	if !ok {
		return
	}
	settings := map[string]string{}
	for key, value := range given {
		settings[key] = scalar(value)
	}
	s.storeSettings(r.Context(), w, settings, caller)
}

func (s *Server) storeSettings(ctx context.Context, w http.ResponseWriter, settings map[string]string, caller *account) {
	if !s.authorized(w, caller, "F_SYSTEM_SETTING") {
		return
	}
	for key := range settings {
		if knownSettings[key] == nil {
			s.unknownSetting(w, key)
			return
		}
	}
	s.slowly(ctx, func() {
		maps.Copy(s.settings, settings)
		s.changed.note(settingsCollection)
	})
	writeMessage(w, http.StatusOK, "OK", "System settings imported", nil)
}

// authorized tells whether the caller holds an authority, having answered when not.
func (s *Server) authorized(w http.ResponseWriter, caller *account, authority string) bool {
	if !caller.may(authority) {
		writeError(w, http.StatusForbidden, "", "Access is denied, requires one Authority from ["+authority+"]")
		return false
	}
	return true
}

// slowly makes a change that 2.41 was seen to show only some time after it had answered; others are prompt.
func (s *Server) slowly(ctx context.Context, change func()) {
	if s.minor > 41 {
		change()
		return
	}
	s.pending.Add(1)
	time.AfterFunc(s.lag, func() {
		defer s.pending.Done()
		_ = s.write(context.WithoutCancel(ctx), change) // it was answered long ago
	})
}

func sortedKeys[V any](m map[string]V) []string {
	return append([]string{}, slices.Sorted(maps.Keys(m))...)
}

func (s *Server) dataStoreKeys(w http.ResponseWriter, r *http.Request, _ *account) {
	values, ok := s.dataStore[r.PathValue("namespace")]
	if !ok {
		writeError(w, http.StatusNotFound, "E1005", "Namespace not found: '"+r.PathValue("namespace")+"'")
		return
	}
	if !r.URL.Query().Has("fields") {
		writeJSON(w, http.StatusOK, sortedKeys(values))
		return
	}
	entries := []any{}
	filter := parseFields(r.URL.Query().Get("fields"))
	for _, key := range sortedKeys(values) {
		entry := object{"key": key}
		if filter.all() || len(filter.named) == 0 || slices.Contains(sortedKeys(filter.named), ".") {
			entry["value"] = values[key]
		} else if shown, ok := filter.apply(values[key]).(object); ok {
			maps.Copy(entry, shown)
		}
		entries = append(entries, entry)
	}
	if r.URL.Query().Get("paging") == "false" {
		writeJSON(w, http.StatusOK, entries)
		return
	}
	writeJSON(w, http.StatusOK, object{"pager": object{"page": 1, "pageSize": 50}, "entries": entries})
}

func (s *Server) dataStoreValue(w http.ResponseWriter, r *http.Request, _ *account) {
	namespace, key := r.PathValue("namespace"), r.PathValue("key")
	value, ok := s.dataStore[namespace][key]
	if !ok {
		writeError(w, http.StatusNotFound, "E1005", "Key '"+key+"' not found in namespace '"+namespace+"'")
		return
	}
	writeJSON(w, http.StatusOK, value)
}

func (s *Server) setDataStoreValue(w http.ResponseWriter, r *http.Request, _ *account) {
	if !saysJSON(w, r) {
		return
	}
	namespace, key := r.PathValue("namespace"), r.PathValue("key")
	value, err := readJSON(r.Body)
	if err != nil {
		writeError(w, http.StatusBadRequest, "E1003", "The data is not valid JSON.")
		return
	}
	_, exists := s.dataStore[namespace][key]
	switch {
	case exists && r.Method == http.MethodPost:
		writeError(w, http.StatusConflict, "E1004", "Key '"+key+"' already exists in namespace '"+namespace+"'")
	default:
		if s.dataStore[namespace] == nil {
			s.dataStore[namespace] = map[string]any{}
		}
		s.dataStore[namespace][key] = value
		s.changed.note(dataStoreCollection)
		if exists {
			writeMessage(w, http.StatusOK, "OK", "Key updated: '"+key+"'", nil)
			return
		}
		writeMessage(w, http.StatusCreated, "OK", "Key created: '"+key+"'", nil)
	}
}

func (s *Server) deleteDataStoreValue(w http.ResponseWriter, r *http.Request, _ *account) {
	namespace, key := r.PathValue("namespace"), r.PathValue("key")
	if _, ok := s.dataStore[namespace][key]; !ok {
		writeError(w, http.StatusNotFound, "E1005", "Key '"+key+"' not found in namespace '"+namespace+"'")
		return
	}
	delete(s.dataStore[namespace], key)
	s.changed.note(dataStoreCollection)
	if len(s.dataStore[namespace]) == 0 {
		delete(s.dataStore, namespace)
	}
	writeMessage(w, http.StatusOK, "OK", "Key '"+key+"' deleted from namespace '"+namespace+"'", nil)
}

func (s *Server) deleteNamespace(w http.ResponseWriter, r *http.Request, _ *account) {
	namespace := r.PathValue("namespace")
	if s.dataStore[namespace] == nil {
		writeError(w, http.StatusNotFound, "E1005", "Namespace not found: '"+namespace+"'")
		return
	}
	delete(s.dataStore, namespace)
	s.changed.note(dataStoreCollection)
	writeMessage(w, http.StatusOK, "OK", "Namespace deleted: '"+namespace+"'", nil)
}

// maintain purges what was deleted and makes missing option combos. What else DHIS2 can be asked for here
// has nothing to do in memory.
func (s *Server) maintain(w http.ResponseWriter, r *http.Request, caller *account) {
	if !s.authorized(w, caller, "F_PERFORM_MAINTENANCE") {
		return
	}
	for task, value := range r.URL.Query() {
		kind, purges := strings.CutPrefix(task, "softDeleted")
		switch {
		case value[0] != "true":
		case task == "softDeletedDataValueRemoval":
			s.aggregate.purge()
		case purges:
			s.tracker.purge(strings.TrimSuffix(kind, "Removal"))
		case task == "ouPathsUpdate":
			s.placeUnits()
			for _, unit := range slices.Clone(s.objects("organisationUnits")) {
				s.change("organisationUnits", text(unit["id"]), "level", strings.Count(text(unit["path"]), "/"))
			}
		case task == "categoryOptionComboUpdate":
			for _, combo := range s.objects("categoryCombos") {
				s.makeOptionCombos(text(combo["id"]))
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
