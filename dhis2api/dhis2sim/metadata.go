package dhis2sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// metadataRoutes serves every class alike: lists, single objects, exports and imports. What no other route
// knows ends here, and is a page that says 404 where it names no class either.
func (s *Server) metadataRoutes() {
	s.handle("GET /api/metadata", s.exportMetadata)
	s.handle("POST /api/metadata", s.postMetadata)
	for _, path := range []string{"version", "versions", "version/history"} {
		s.handle("GET /api/metadata/"+path, func(w http.ResponseWriter, _ *http.Request, _ *account) {
			writeError(w, http.StatusBadRequest, "E1003", "Metadata versioning is not enabled for this instance.")
		})
	}
	s.handle("/api/", s.serveClass)
	s.mux.HandleFunc("/", notFoundPage)
}

func notFoundPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte("<!doctype html><html lang=\"en\"><head><title>HTTP Status 404 – Not Found</title></head><body><h1>HTTP Status 404 – Not Found</h1></body></html>"))
}

// notFound answers that there is no such object.
func notFound(w http.ResponseWriter, class, uid string) {
	writeError(w, http.StatusNotFound, "E1005", simpleName(class)+" with id "+uid+" could not be found.")
}

// unserved answers for a path that no route serves, or none by this method.
func (s *Server) unserved(w http.ResponseWriter, r *http.Request) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); strings.HasPrefix(pattern, method) {
			writeError(w, http.StatusMethodNotAllowed, "", "Request method '"+r.Method+"' is not supported")
			return
		}
	}
	notFoundPage(w, r)
}

// serveClass serves /api/CLASS, /api/CLASS/UID and what lies below.
func (s *Server) serveClass(w http.ResponseWriter, r *http.Request, caller *account) {
	path := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, "/api/"), "/"), "/")
	class := path[0]
	if _, known := classes[class]; !known {
		s.unserved(w, r)
		return
	}
	if class == "users" && !caller.may("F_USER_VIEW") && !caller.may("F_USER_ADD") {
		refuseMetadata(w)
		return
	}
	if len(path) == 1 {
		switch r.Method {
		case http.MethodGet:
			s.list(w, r, class, caller)
		case http.MethodPost:
			if !mayCreate(caller, class) {
				refuseMetadata(w)
				return
			}
			s.createObject(w, r, class, caller)
		default:
			writeError(w, http.StatusMethodNotAllowed, "", "Request method '"+r.Method+"' is not supported")
		}
		return
	}
	o := s.object(class, path[1])
	if o == nil || !s.mayRead(caller, o) {
		if len(path) == 3 && path[2] == "metadata" { // the one 404 without a code
			writeError(w, http.StatusNotFound, "", simpleName(class)+" not found for uid: "+path[1])
			return
		}
		notFound(w, class, path[1])
		return
	}
	switch {
	case r.Method != http.MethodGet && !mayUpdate(caller, class, o):
		refuseMetadata(w)
	case len(path) == 2 && r.Method == http.MethodGet:
		s.show(w, r, class, o)
	case len(path) == 2 && r.Method == http.MethodPut:
		s.replaceObject(w, r, class, o, caller)
	case len(path) == 2 && r.Method == http.MethodPatch:
		s.patchObject(w, r, class, o, caller)
	case len(path) == 2 && r.Method == http.MethodDelete:
		s.deleteObject(w, class, path[1], caller)
	case len(path) == 3 && path[2] == "metadata" && dependencies[class] != nil && r.Method == http.MethodGet:
		s.exportWithDependencies(w, r, class, o)
	case len(path) == 3 && r.Method != http.MethodGet || len(path) == 4:
		s.changeMembers(w, r, class, o, path[2:], caller)
	case len(path) == 3:
		viewer := viewer{Server: s}
		writeJSON(w, http.StatusOK, viewer.object(class, o, parseFields(path[2]+"["+r.URL.Query().Get("fields")+"]")))
	default:
		notFoundPage(w, r)
	}
}

// refuseMetadata answers that the caller may not do that to metadata.
func refuseMetadata(w http.ResponseWriter) {
	writeError(w, http.StatusForbidden, "E1006", "You don't have the proper permissions for objects of this type.")
}

func (s *Server) viewer(parameters url.Values) viewer {
	return viewer{Server: s, withoutDefaults: parameters.Get("defaults") == "EXCLUDE", withoutSharing: parameters.Get("skipSharing") == "true"}
}

// fieldsOf joins the `fields` parameters.
func fieldsOf(parameters url.Values, otherwise string) *fieldFilter {
	if given := strings.Join(parameters["fields"], ","); given != "" {
		return parseFields(given)
	}
	return parseFields(otherwise)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, class string, caller *account) {
	parameters := r.URL.Query()
	viewer := s.viewer(parameters)
	found, err := query{viewer, class, parameters}.find(caller)
	if err != nil {
		writeError(w, http.StatusBadRequest, "E1003", err.Error())
		return
	}
	if class == "organisationUnits" {
		found = unitsListed(found, parameters, caller)
	}
	s.writeList(w, r, class, found)
}

// writeList answers with the page of a list that was asked for.
func (s *Server) writeList(w http.ResponseWriter, r *http.Request, class string, found []object) {
	found, pager, err := page(r, found)
	if err != nil {
		writeError(w, http.StatusBadRequest, "", err.Error())
		return
	}
	parameters := r.URL.Query()
	viewer, filter := s.viewer(parameters), fieldsOf(parameters, "id,displayName")
	shown := make([]any, len(found))
	for i, o := range found {
		shown[i] = viewer.object(class, o, filter)
	}
	answer := object{class: shown}
	if pager != nil {
		answer["pager"] = pager
	}
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) show(w http.ResponseWriter, r *http.Request, class string, o object) {
	parameters := r.URL.Query()
	if around := s.unitsAround(o, parameters); class == "organisationUnits" && around != nil {
		s.writeList(w, r, class, around)
		return
	}
	writeJSON(w, http.StatusOK, s.viewer(parameters).object(class, o, fieldsOf(parameters, "*")))
}

// Seed imports metadata, as POST /api/metadata takes it, on behalf of the administrator. It fails, having
// stored nothing, when anything in it is wrong.
func (s *Server) Seed(ctx context.Context, metadata io.Reader) error {
	b, err := readBundle(metadata)
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	var report metadataReport
	if err := s.write(ctx, func() {
		report = s.importMetadata(b, metadataOptions{strategy: "CREATE_AND_UPDATE", atomic: true}, s.account(adminUID))
	}); err != nil {
		return fmt.Errorf("import metadata: %w", err)
	}
	for _, t := range report.TypeReports {
		for _, o := range t.ObjectReports {
			return fmt.Errorf("import metadata: %s %s: %s %s", t.Klass, o.UID, o.ErrorReports[0].ErrorCode, o.ErrorReports[0].Message)
		}
	}
	return nil
}

// readBundle reads a metadata payload: lists of objects by class.
func readBundle(r io.Reader) (bundle, error) {
	payload, err := readJSON(r)
	if err != nil {
		return nil, err
	}
	b := bundle{}
	classes, _ := payload.(object)
	for class, value := range classes {
		for _, item := range list(value) {
			if o, ok := item.(object); ok {
				b[class] = append(b[class], o)
			}
		}
	}
	return b, nil
}

func metadataOptionsOf(parameters url.Values) metadataOptions {
	options := metadataOptions{
		strategy:    "CREATE_AND_UPDATE",
		validate:    parameters.Get("importMode") == "VALIDATE",
		atomic:      parameters.Get("atomicMode") != "NONE",
		byCode:      parameters.Get("identifier") == "CODE",
		skipSharing: parameters.Get("skipSharing") == "true",
		full:        parameters.Get("importReportMode") == "FULL",
	}
	switch strategy := parameters.Get("importStrategy"); strategy {
	case "CREATE", "UPDATE", "DELETE":
		options.strategy = strategy
	}
	return options
}

// valueTypes are the types that values of data elements, attributes and options may have.
var valueTypes = fields(`TEXT LONG_TEXT MULTI_TEXT LETTER PHONE_NUMBER EMAIL BOOLEAN TRUE_ONLY DATE DATETIME TIME NUMBER UNIT_INTERVAL PERCENTAGE INTEGER
INTEGER_POSITIVE INTEGER_NEGATIVE INTEGER_ZERO_OR_POSITIVE TRACKER_ASSOCIATE USERNAME COORDINATE ORGANISATION_UNIT REFERENCE AGE URL FILE_RESOURCE IMAGE GEOJSON`)

func (s *Server) postMetadata(w http.ResponseWriter, r *http.Request, caller *account) {
	b, err := readBundle(r.Body)
	if err != nil {
		writeError(w, http.StatusConflict, "", "Failed to parse JSON: "+err.Error())
		return
	}
	switch r.URL.Query().Get("importStrategy") {
	case "NEW", "SYNC", "NEW_AND_UPDATES", "UPDATES": // known to DHIS2, but not to its metadata import
		writeError(w, http.StatusInternalServerError, "", "Cannot invoke \"java.util.List.iterator()\" because \"validationChecks\" is null")
		return
	}
	for class, objects := range b {
		for _, o := range objects {
			if valueType := text(o["valueType"]); valueType != "" && !valueTypes[valueType] {
				writeError(w, http.StatusInternalServerError, "", "Cannot deserialize value `"+valueType+"` of "+class)
				return
			}
		}
	}
	options := metadataOptionsOf(r.URL.Query())
	if r.URL.Query().Get("async") == "true" {
		s.startTask(w, r, "METADATA_IMPORT", func() any { return s.importMetadata(b, options, caller) })
		return
	}
	writeReport(w, s.importMetadata(b, options, caller))
}

// writeReport answers with the report of an import.
func writeReport(w http.ResponseWriter, report metadataReport) {
	response := struct {
		metadataReport
		ResponseType string `json:"responseType"`
	}{report, "ImportReport"}
	if report.Status != "OK" {
		writeMessage(w, http.StatusConflict, "WARNING", "One or more errors occurred, please see full details in import report.", response)
		return
	}
	writeMessage(w, http.StatusOK, "OK", "", response)
}

// createObject serves POST /api/CLASS.
func (s *Server) createObject(w http.ResponseWriter, r *http.Request, class string, caller *account) {
	o, ok := readObject(w, r)
	if !ok {
		return
	}
	if o["id"] == nil {
		o["id"] = newUID()
	}
	uid := text(o["id"])
	w.Header().Set("Location", baseURL(r)+"/api/"+class+"/"+uid)
	s.finishObject(w, class, uid, http.StatusCreated, s.importMetadata(bundle{class: {o}}, metadataOptions{strategy: "CREATE", atomic: true}, caller))
	if class == "categoryCombos" { // unlike an import
		s.makeOptionCombos(uid)
	}
}

// replaceObject serves PUT /api/CLASS/UID.
func (s *Server) replaceObject(w http.ResponseWriter, r *http.Request, class string, old object, caller *account) {
	o, ok := readObject(w, r)
	if !ok {
		return
	}
	if class == "users" { // which alone answers with the whole report
		o["id"] = old["id"]
		writeReport(w, s.importMetadata(bundle{class: {o}}, metadataOptions{strategy: "UPDATE", atomic: true}, caller))
		return
	}
	s.updateObject(w, class, old, o, caller)
}

func (s *Server) updateObject(w http.ResponseWriter, class string, old, o object, caller *account) {
	o["id"] = old["id"]
	s.finishObject(w, class, text(old["id"]), http.StatusOK, s.importMetadata(bundle{class: {o}}, metadataOptions{strategy: "UPDATE", atomic: true}, caller))
	if class == "categoryCombos" {
		s.makeOptionCombos(text(old["id"]))
	}
}

// deleteObject serves DELETE /api/CLASS/UID. An option in a set stays, though DHIS2 says that it is gone, and
// the set's version grows.
func (s *Server) deleteObject(w http.ResponseWriter, class, uid string, caller *account) {
	if class == "users" && uid == caller.uid {
		writeError(w, http.StatusConflict, "E1004", "You cannot delete yourself.")
		return
	}
	if set := s.object("optionSets", refUID(s.object(class, uid)["optionSet"])); class == "options" && set != nil {
		s.change("optionSets", text(set["id"]), "version", number(set["version"])+1)
		s.finishObject(w, class, uid, http.StatusOK, metadataReport{})
		return
	}
	s.finishObject(w, class, uid, http.StatusOK, s.importMetadata(bundle{class: {object{"id": uid}}}, metadataOptions{strategy: "DELETE", atomic: true}, caller))
}

// readObject reads one object from the body, or answers why it cannot.
func readObject(w http.ResponseWriter, r *http.Request) (object, bool) {
	if !saysJSON(w, r) {
		return nil, false
	}
	o, err := parseObject(r.Body)
	if err != nil {
		writeError(w, http.StatusBadRequest, "", err.Error())
		return nil, false
	}
	return o, true
}

// saysJSON tells whether a request's body is said to be JSON, having answered when not.
func saysJSON(w http.ResponseWriter, r *http.Request) bool {
	if contentType := r.Header.Get("Content-Type"); !strings.Contains(contentType, "json") {
		writeError(w, http.StatusUnsupportedMediaType, "", "Content-Type '"+contentType+"' is not supported")
		return false
	}
	return true
}

var errNotObject = errors.New("not a JSON object")

// parseObject decodes a JSON object.
func parseObject(r io.Reader) (object, error) {
	payload, err := readJSON(r)
	if err != nil {
		return nil, err
	}
	o, ok := payload.(object)
	if !ok {
		return nil, errNotObject
	}
	return o, nil
}

// finishObject answers a change of one object.
func (s *Server) finishObject(w http.ResponseWriter, class, uid string, success int, report metadataReport) {
	response := object{"uid": uid, "klass": javaClass(class), "errorReports": []metadataError{}, "responseType": "ObjectReport"}
	for _, t := range report.TypeReports {
		for _, o := range t.ObjectReports {
			if len(o.ErrorReports) > 0 {
				w.Header().Del("Location")
				status := "ERROR"
				switch o.ErrorReports[0].ErrorCode {
				case "":
					writeError(w, http.StatusConflict, "", o.ErrorReports[0].Message)
					return
				case "E4030":
					status = "WARNING"
				}
				response["errorReports"] = o.ErrorReports
				writeMessage(w, http.StatusConflict, status, "One or more errors occurred, please see full details in import report.", response)
				return
			}
		}
	}
	writeMessage(w, success, "OK", "", response)
}

// patchObject serves PATCH /api/CLASS/UID with a JSON patch.
func (s *Server) patchObject(w http.ResponseWriter, r *http.Request, class string, old object, caller *account) {
	payload, err := readJSON(r.Body)
	operations, ok := payload.([]any)
	if err != nil || !ok {
		writeError(w, http.StatusBadRequest, "", "Invalid JSON patch")
		return
	}
	o := maps.Clone(old)
	q := query{viewer: viewer{Server: s}, class: class}
	for _, item := range operations {
		operation, _ := item.(object)
		path := strings.Split(strings.Trim(text(operation["path"]), "/"), "/")
		if op := text(operation["op"]); !slices.Contains([]string{"add", "remove", "replace", "remove-by-id"}, op) {
			writeError(w, http.StatusInternalServerError, "", "Could not resolve type id '"+op+"' as a JSON patch operation")
			return
		}
		if !q.knows(path[0]) && path[0] != "password" {
			writeError(w, http.StatusBadRequest, "", "Property "+path[0]+" does not exist on "+simpleName(class))
			return
		}
		if !patch(o, text(operation["op"]), path, operation) {
			writeError(w, http.StatusBadRequest, "", "Invalid JSON patch operation on "+text(operation["path"]))
			return
		}
	}
	s.updateObject(w, class, old, o, caller)
}

// patch carries out one operation; parents on the way are copied, for they belong to the stored object.
func patch(o object, op string, path []string, operation object) bool {
	name := path[0]
	if len(path) > 1 {
		switch inner := o[name].(type) {
		case object:
			inner = maps.Clone(inner)
			o[name] = inner
			return patch(inner, op, path[1:], operation)
		case []any:
			inner = slices.Clone(inner)
			place, err := strconv.Atoi(path[1])
			switch {
			case op == "add" && path[1] == "-":
				inner = append(inner, operation["value"])
			case err != nil || place < 0 || place >= len(inner):
				return false
			case op == "add":
				inner = slices.Insert(inner, place, operation["value"])
			case op == "replace":
				inner[place] = operation["value"]
			case op == "remove":
				inner = slices.Delete(inner, place, place+1)
			}
			o[name] = inner
			return true
		}
		if op == "add" && path[1] == "-" {
			o[name] = []any{operation["value"]}
			return true
		}
		return false
	}
	switch op {
	case "add", "replace":
		o[name] = operation["value"]
	case "remove":
		delete(o, name)
	case "remove-by-id":
		o[name] = slices.DeleteFunc(slices.Clone(list(o[name])), func(item any) bool { return refUID(item) == operation["id"] })
	}
	return true
}
