package dhis2sim

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// metadataOptions are the parameters of a metadata import.
type metadataOptions struct {
	strategy    string // CREATE, UPDATE, CREATE_AND_UPDATE or DELETE
	validate    bool   // importMode=VALIDATE: look, do not touch
	atomic      bool   // atomicMode=ALL: all or nothing
	byCode      bool   // identifier=CODE
	skipSharing bool
	full        bool // importReportMode=FULL: objects without errors are reported too
}

// metadataReport is the answer of a metadata import.
type metadataReport struct {
	Status      string        `json:"status"`
	Stats       metadataStats `json:"stats"`
	TypeReports []classReport `json:"typeReports"`
}

type metadataStats struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
	Deleted int `json:"deleted"`
	Ignored int `json:"ignored"`
	Total   int `json:"total"`
}

func (s *metadataStats) add(other metadataStats) {
	s.Created += other.Created
	s.Updated += other.Updated
	s.Deleted += other.Deleted
	s.Ignored += other.Ignored
	s.Total = s.Created + s.Updated + s.Deleted + s.Ignored
}

type classReport struct {
	Klass         string         `json:"klass,omitempty"`
	Stats         metadataStats  `json:"stats"`
	ObjectReports []objectErrors `json:"objectReports"`
}

type objectErrors struct {
	Klass        string          `json:"klass"`
	Index        int             `json:"index"`
	UID          string          `json:"uid"`
	ErrorReports []metadataError `json:"errorReports"`
}

type metadataError struct {
	Message         string   `json:"message"`
	MainKlass       string   `json:"mainKlass"`
	MainID          string   `json:"mainId,omitempty"`
	ErrorCode       string   `json:"errorCode"`
	ErrorProperty   string   `json:"errorProperty,omitempty"`
	ErrorProperties []string `json:"errorProperties"`
	Args            []string `json:"args"`
}

// bundle is the metadata of one import by class.
type bundle map[string][]object

// metadataImport is one import under way.
type metadataImport struct {
	*Server
	options metadataOptions
	caller  *account
	bundle  bundle
	given   map[string]map[string]object // the bundle by class and id
	holders map[string]string            // who holds a unique value: "class property value" to uid
}

// importMetadata checks a bundle and stores what passes, as DHIS2's object bundle service does: every class is
// checked before anything is stored, and with atomic one error keeps everything out.
func (s *Server) importMetadata(b bundle, options metadataOptions, caller *account) metadataReport {
	m := &metadataImport{Server: s, options: options, caller: caller, bundle: bundle{}, given: map[string]map[string]object{}, holders: map[string]string{}}
	for class, objects := range b {
		if _, known := classes[class]; !known {
			continue
		}
		m.given[class] = map[string]object{}
		for _, o := range objects {
			if o["id"] == nil {
				o = maps.Clone(o)
				o["id"] = newUID()
				if known := s.objectByCode(class, text(o["code"])); options.byCode && known != nil {
					o["id"] = known["id"]
				}
			}
			if isDefault(class, s.object(class, text(o["id"]))) {
				continue // DHIS2 never imports over its default category objects
			}
			m.given[class][text(o["id"])] = o
			m.bundle[class] = append(m.bundle[class], o)
		}
	}
	report := metadataReport{Status: "OK", TypeReports: []classReport{}}
	passed := bundle{}
	failed := false
	for _, class := range slices.Sorted(maps.Keys(m.bundle)) {
		types, kept := m.check(class)
		passed[class] = kept
		failed = failed || slices.ContainsFunc(types.ObjectReports, func(o objectErrors) bool { return len(o.ErrorReports) > 0 })
		report.TypeReports = append(report.TypeReports, types)
	}
	switch {
	case failed && options.atomic:
		report.Status = "ERROR"
		for i := range report.TypeReports {
			stats := &report.TypeReports[i].Stats
			*stats = metadataStats{Ignored: stats.Created + stats.Updated + stats.Deleted + stats.Ignored}
		}
	case failed:
		report.Status = "WARNING"
	}
	if report.Status != "ERROR" && !options.validate {
		if options.strategy == "DELETE" {
			m.delete(passed, &report)
		} else {
			m.store(passed)
		}
	}
	for i := range report.TypeReports {
		t := &report.TypeReports[i]
		t.Stats.add(metadataStats{})
		report.Stats.add(t.Stats)
		if !options.full {
			t.ObjectReports = slices.DeleteFunc(t.ObjectReports, func(o objectErrors) bool { return len(o.ErrorReports) == 0 })
		}
	}
	return report
}

// check looks at the objects of one class and returns its report and the objects that may be stored.
func (m *metadataImport) check(class string) (classReport, []object) {
	report := classReport{Klass: javaClass(class), ObjectReports: []objectErrors{}}
	var kept []object
	seen := map[string]bool{}
	for index, o := range m.bundle[class] {
		uid := text(o["id"])
		exists := m.object(class, uid) != nil
		errors, blocking, ignored := m.checkObject(class, o, exists, seen[uid])
		seen[uid] = true
		report.Stats.Ignored += ignored
		report.ObjectReports = append(report.ObjectReports, objectErrors{Klass: report.Klass, Index: index, UID: uid, ErrorReports: errors})
		if blocking {
			continue
		}
		creates := !exists && strings.HasPrefix(m.options.strategy, "CREATE")
		updates := exists && strings.HasSuffix(m.options.strategy, "UPDATE")
		switch {
		case m.options.strategy == "DELETE" && exists:
			report.Stats.Deleted++
		case creates:
			report.Stats.Created++
		case updates:
			report.Stats.Updated++
		default:
			continue
		}
		if len(errors) == 0 || !m.options.atomic {
			kept = append(kept, o)
		}
	}
	if m.options.atomic && slices.ContainsFunc(report.ObjectReports, func(o objectErrors) bool {
		return slices.ContainsFunc(o.ErrorReports, func(e metadataError) bool { return e.ErrorCode == "E5002" })
	}) {
		report.Stats.Ignored++ // DHIS2 counts a class with a broken reference once more
	}
	return report, kept
}

// checkObject returns what is wrong with an object, whether that keeps it from being stored, and how often
// DHIS2 counts it as ignored: once for every kind of check that it failed. Broken references alone do not
// keep it out, they only spoil an atomic import.
func (m *metadataImport) checkObject(class string, o object, exists, again bool) (errors []metadataError, blocking bool, ignored int) {
	errors = []metadataError{}
	fail := func(found ...metadataError) {
		if len(found) > 0 {
			errors = append(errors, found...)
			blocking = true
			ignored++
		}
	}
	uid := text(o["id"])
	title := m.title(class, o)
	if m.options.strategy == "DELETE" {
		if !exists {
			fail(m.error(class, uid, "E5001", "id", "No matching object for reference.", "UID", title))
		}
		return errors, blocking, ignored
	}
	if again {
		fail(m.error(class, uid, "E5004", "id", "Object already exists with same id in the payload.", uid, class))
	}
	create, update := strings.HasPrefix(m.options.strategy, "CREATE"), strings.HasSuffix(m.options.strategy, "UPDATE")
	chosen := exists && update || !exists && create // by the strategy; others are only told so
	if chosen && class == "users" {
		fail(m.checkUser(o, exists)...)
	}
	if chosen && class == "options" {
		fail(m.checkOption(o)...)
	}
	switch {
	case !exists && create && !mayCreate(m.caller, class):
		fail(m.error(class, uid, "E3000", "", "No permission to create.", m.caller.username, title))
	case exists && update && !mayUpdate(m.caller, class, m.object(class, uid)):
		fail(m.error(class, uid, "E3001", "", "No permission to update.", m.caller.username, title))
	case exists && !update:
		fail(m.error(class, uid, "E5000", "", "Object already exists.", "UID", title))
	case !exists && !create:
		fail(m.error(class, uid, "E5001", "id", "No matching object for reference.", "UID", title))
	}
	if chosen {
		fail(m.checkRequired(class, o)...)
		fail(m.checkUnique(class, o)...)
	}
	errors = append(errors, m.checkReferences(class, o, title)...)
	errors = append(errors, m.checkSharing(class, o, title)...)
	if !exists && !validUID.MatchString(uid) { // DHIS2 counts such an object twice
		errors = append(errors, m.error(class, uid, "E4014", "", "Invalid UID.", uid, simpleName(class)))
		ignored++
	}
	return errors, blocking, ignored
}

// title is how reports name an object: "Name [uid] (Class)".
func (m *metadataImport) title(class string, o object) string {
	return strings.TrimSpace(text(viewer{Server: m.Server}.property(class, o, "displayName")) + " [" + text(o["id"]) + "] (" + simpleName(class) + ")")
}

func (m *metadataImport) error(class, uid, code, property, message string, args ...string) metadataError {
	return metadataError{Message: message, MainKlass: javaClass(class), MainID: uid, ErrorCode: code, ErrorProperty: property, ErrorProperties: args, Args: args}
}

func (m *metadataImport) checkRequired(class string, o object) []metadataError {
	var errors []metadataError
	defaults := literal(classes[class].defaults)
	for _, property := range strings.Fields(classes[class].required) {
		if class == "trackedEntityTypes" && property == "shortName" && m.minor == 41 {
			continue // required since 2.42
		}
		if o[property] == nil && defaults[property] == nil {
			errors = append(errors, m.error(class, text(o["id"]), "E4000", property, "Missing required property `"+property+"`.", property))
		}
	}
	return errors
}

func (m *metadataImport) checkUnique(class string, o object) []metadataError {
	var errors []metadataError
	uid := text(o["id"])
	for _, property := range strings.Fields(classes[class].unique) {
		value := scalar(o[property])
		if value == "" {
			continue
		}
		holder := m.holder(class, property, value)
		if holder != "" && holder != uid {
			errors = append(errors, m.error(class, holder, "E5003", property, "Property `"+property+"` with value `"+value+"` already exists.", property, value, m.title(class, o), holder))
		}
		m.holders[class+" "+property+" "+value] = uid
	}
	return errors
}

// holder is who holds a unique value, in the bundle or in the store; an object of the bundle that gives up
// its value still holds it, as in DHIS2.
func (m *metadataImport) holder(class, property, value string) string {
	key := class + " " + property
	if _, filled := m.holders[key]; !filled {
		m.holders[key] = "filled"
		for _, o := range m.objects(class) {
			if held := scalar(o[property]); held != "" {
				m.holders[key+" "+held] = text(o["id"])
			}
		}
	}
	return m.holders[key+" "+value]
}

// checkReferences finds references to what is neither stored nor in the bundle.
func (m *metadataImport) checkReferences(class string, o object, title string) []metadataError {
	var errors []metadataError
	for _, b := range m.brokenReferences(class, o) {
		unknown := "[" + b.uid + "] (" + simpleName(b.class) + ")"
		errors = append(errors, m.error(class, text(o["id"]), "E5002", b.property, "Invalid reference "+unknown+" on object "+title+" for association `"+b.property+"`.", unknown, title, b.property))
	}
	return errors
}

// brokenReference names an object that does not exist.
type brokenReference struct{ property, class, uid string }

// brokenReferences looks into an object and the objects embedded in it; in is "" for those.
func (m *metadataImport) brokenReferences(in string, o object) []brokenReference {
	var broken []brokenReference
	for property, value := range o {
		if ignored(in, property) || property == "createdBy" || property == "sharing" {
			continue
		}
		items := list(value)
		if one, ok := value.(object); ok {
			items = []any{one}
		}
		class := referredClass(in, property)
		for _, item := range items {
			referred, ok := item.(object)
			uid := text(referred["id"])
			switch {
			case !ok:
			case class == "" || uid == "":
				broken = append(broken, m.brokenReferences("", referred)...)
			case m.given[class][uid] == nil && m.object(class, uid) == nil:
				broken = append(broken, brokenReference{property, class, uid})
			}
		}
	}
	return broken
}

// ignored tells whether an import takes no notice of a property.
func ignored(class, property string) bool {
	return computed[property] || inverses[class][property] != (inverse{})
}

// checkOption refuses an option whose name or code another of its set has.
func (m *metadataImport) checkOption(o object) []metadataError {
	set := refUID(o["optionSet"])
	for _, uid := range m.referrers("options", "optionSet", set) {
		other := m.object("options", uid)
		if uid != o["id"] && (other["name"] == o["name"] || other["code"] == o["code"]) {
			return []metadataError{m.error("options", text(o["id"]), "E4028", "", "Option set `"+set+"` already contains option `"+uid+"`.", set, uid)}
		}
	}
	return nil
}

func (m *metadataImport) checkSharing(class string, o object, title string) []metadataError {
	sharing, _ := o["sharing"].(object)
	if sharing == nil || m.options.skipSharing {
		return nil
	}
	var errors []metadataError
	for property, target := range map[string]string{"users": "users", "userGroups": "userGroups"} {
		shared, _ := sharing[property].(object)
		for uid := range shared {
			if m.given[target][uid] == nil && m.object(target, uid) == nil {
				unknown := "[" + uid + "] (" + simpleName(target) + ")"
				errors = append(errors, m.error(class, text(o["id"]), "E5002", strings.TrimSuffix(property, "s")+"Accesses", "Invalid reference "+unknown+".", unknown, title, property))
			}
		}
	}
	return errors
}

// store puts the checked objects into the store, and mends what depends on them.
func (m *metadataImport) store(passed bundle) {
	m.countVersions(passed)
	for class, objects := range passed {
		for _, o := range objects {
			old := m.object(class, text(o["id"]))
			if class == "users" && text(o["password"]) != "" {
				m.setPassword(text(o["id"]), text(o["password"]))
			}
			m.metadata.put(class, m.kept(class, o, old))
		}
	}
	for _, f := range families {
		m.reunite(f, passed)
	}
	if len(passed["organisationUnits"]) > 0 {
		m.placeUnits()
	}
}

// kept is an object as it is stored: as it was sent, its references cut down to ids, what the server
// makes left out, defaults filled in. An update replaces everything but what says when and by whom the
// object was made.
func (m *metadataImport) kept(class string, o, old object) object {
	out := literal(classes[class].defaults)
	for property, value := range o {
		if ignored(class, property) || property == "password" || value == nil {
			continue
		}
		if trimmed := m.trim(class, property, value, o); trimmed != nil {
			out[property] = trimmed
		}
	}
	now := m.timestamp(m.now())
	out["lastUpdated"], out["lastUpdatedBy"] = now, reference(m.caller.uid)
	if out["created"] == nil {
		out["created"] = now
	}
	if classes[class].shared || class == "organisationUnits" || class == "users" {
		out["createdBy"] = reference(m.caller.uid)
	} else {
		delete(out, "createdBy")
	}
	if old != nil {
		out["created"] = old["created"]
		if by := old["createdBy"]; by != nil {
			out["createdBy"] = by
		}
	}
	switch class {
	case "dataSets", "optionSets", "programs": // the higher one counts, and an update without a new one
		if was, is := number(old["version"]), number(out["version"]); old != nil {
			out["version"] = max(was, is)
			if was == is {
				out["version"] = is + 1
			}
		}
	case "programRuleVariables":
		if subject := m.subject(o); subject != nil {
			out["valueType"] = subject["valueType"]
		}
	case "users":
		if old != nil && text(o["password"]) == "" {
			out["passwordLastUpdated"] = old["passwordLastUpdated"]
		} else {
			out["passwordLastUpdated"] = now
		}
	case "organisationUnits":
		delete(out, "level")
		delete(out, "path") // both for placeUnits to find
	}
	if classes[class].shared {
		out["sharing"] = m.sharing(o, old)
	}
	return out
}

// subject is the data element or attribute that a program rule variable stands for, nil when there is none.
func (m *metadataImport) subject(variable object) object {
	for property, class := range map[string]string{"dataElement": "dataElements", "trackedEntityAttribute": "trackedEntityAttributes"} {
		if uid := refUID(variable[property]); uid != "" {
			if given := m.given[class][uid]; given != nil {
				return given
			}
			return m.object(class, uid)
		}
	}
	return nil
}

// sharing is how an object is shared: as sent, else open to everybody who may open this class; with
// skipSharing an existing object stays as it was.
func (m *metadataImport) sharing(o, old object) object {
	before, _ := old["sharing"].(object)
	if m.options.skipSharing && before != nil {
		return before
	}
	sent, _ := o["sharing"].(object)
	out := object{"owner": m.caller.uid, "public": "rw------", "external": false, "users": object{}, "userGroups": object{}}
	if m.options.skipSharing {
		return out
	}
	if access := text(o["publicAccess"]); access != "" && sent == nil {
		out["public"] = access
	}
	if text(sent["public"]) != "" {
		maps.Copy(out, sent)
	}
	return out
}

// dates are properties that hold a day and are shown as an instant.
var dates = fields("openingDate closedDate startDate endDate")

// doubles are properties that are written with a fraction, whatever was sent.
var doubles = fields("constants.value dataSets.expiryDays dataSets.timelyDays")

// trim cuts a value to what is kept of it.
func (m *metadataImport) trim(class, property string, value any, around object) any {
	switch value := value.(type) {
	case json.Number:
		if doubles[class+"."+property] && !strings.ContainsAny(value.String(), ".eE") {
			return value + ".0"
		}
	case string:
		if dates[property] && len(value) == len("2006-01-02") {
			return value + "T00:00:00.000"
		}
		if property == "created" {
			if t, err := time.Parse("2006-01-02T15:04:05.000-0700", value); err == nil {
				return m.timestamp(t)
			}
		}
	case []any:
		out := []any{}
		for i, item := range value {
			kept := m.trim(class, property, item, around)
			if made, ok := kept.(object); ok && embeddedLists[property].owner != "" {
				m.completeEmbedded(property, made, around, i)
			}
			if kept != nil {
				out = append(out, kept)
			}
		}
		return out
	case object:
		if property == "sharing" || property == "geometry" {
			return value
		}
		if uid, target := text(value["id"]), referredClass(class, property); uid != "" && target != "" {
			if m.given[target][uid] == nil && m.object(target, uid) == nil {
				return nil // stored all the same, without atomic
			}
			return reference(uid)
		}
		out := object{}
		for name, inner := range value {
			if !computed[name] && inner != nil {
				out[name] = m.trim("", name, inner, value)
			}
		}
		return out
	}
	return value
}

// completeEmbedded gives an embedded object its id, its owner and its defaults.
func (m *metadataImport) completeEmbedded(property string, o, around object, place int) {
	p := embeddedLists[property]
	for name, value := range literal(p.defaults) {
		if o[name] == nil {
			o[name] = value
		}
	}
	o[p.owner] = reference(text(around["id"]))
	if property == "dataSetElements" {
		return
	}
	if o["id"] == nil {
		o["id"] = newUID()
	}
	now := m.timestamp(m.now())
	o["created"], o["lastUpdated"] = now, now
	if property != "trackedEntityTypeAttributes" {
		o["sortOrder"] = place + 1
	}
}

// delete removes objects; one that others need is refused (E4030).
func (m *metadataImport) delete(passed bundle, report *metadataReport) {
	for i := range report.TypeReports {
		t := &report.TypeReports[i]
		for class, objects := range passed {
			if javaClass(class) != t.Klass {
				continue
			}
			for _, o := range objects {
				if refused := m.remove(class, text(o["id"])); refused != nil {
					t.Stats.Deleted--
					t.Stats.Ignored++
					t.ObjectReports = append(t.ObjectReports, objectErrors{Klass: t.Klass, UID: text(o["id"]), ErrorReports: []metadataError{*refused}})
				}
			}
		}
	}
}
