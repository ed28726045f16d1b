package dhis2sim

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/jackc/pgx/v5"
)

// rowsOf are the rows that something is stored in, none when it is no more.
func (p *postgres) rowsOf(s *Server, what any) []tableRow {
	switch what := what.(type) {
	case objectKey:
		return p.objectRows(s, what)
	case *trackedEntity:
		return p.entityRows(s, what)
	case *enrollment:
		return p.enrollmentRows(s, what)
	case *event:
		return p.eventRows(s, what)
	case *relationship:
		return p.relationshipRows(s, what)
	case *potentialDuplicate:
		return p.duplicateRows(what)
	case dataValueKey:
		return p.valueRows(s, what)
	case completionKey:
		return p.completionRows(s, what)
	case fileKey:
		return p.fileRows(s, string(what))
	case collection:
		return p.collectionRows(s, what)
	}
	return nil
}

// rememberAll notes the rows of everything, which has just been loaded.
func (p *postgres) rememberAll(s *Server) {
	remember := func(what any) { p.remember(what, p.rowsOf(s, what)) }
	for class, objects := range s.metadata.classes {
		for _, o := range objects.list {
			remember(objectKey{class, text(o["id"])})
		}
	}
	for _, e := range s.tracker.entities {
		remember(e)
	}
	for _, e := range s.tracker.enrollments {
		remember(e)
	}
	for _, e := range s.tracker.events {
		remember(e)
	}
	for _, r := range s.tracker.relationships {
		remember(r)
	}
	for _, d := range s.tracker.duplicates {
		remember(d)
	}
	for key := range s.aggregate.values {
		remember(key)
	}
	for key := range s.aggregate.completions {
		remember(key)
	}
	for uid := range s.files {
		remember(fileKey(uid))
	}
	for _, c := range collections() {
		remember(c)
	}
}

func (p *postgres) objectRows(s *Server, key objectKey) []tableRow {
	o := s.object(key.class, key.uid)
	if o == nil {
		return nil
	}
	n := p.number(key.class, key.uid)
	rows := []tableRow{p.dialect.row("dhis2sim_metadata", "id", n, "class", key.class, "uid", key.uid, "object", asJSON(o))}
	for _, t := range idTables() {
		if t.class == key.class {
			rows = append(rows, p.idRow(s, t, n, o))
		}
	}
	for _, item := range list(o["dataSetElements"]) {
		member, _ := item.(object)
		element := refUID(member["dataElement"])
		rows = append(rows, p.dialect.row("datasetelement", "datasetelementid", p.number("dataSetElements", key.uid+" "+element), "datasetid", n,
			"dataelementid", p.number("dataElements", element), "categorycomboid", p.reference("categoryCombos", refUID(member["categoryCombo"]))))
	}
	return rows
}

// idRow is an object's row in the table that data refer to.
func (p *postgres) idRow(s *Server, t idTable, n int64, o object) tableRow {
	epoch := time.Unix(0, 0).In(p.zone)
	created, updated := p.moment(o["created"]), p.moment(o["lastUpdated"])
	if created == nil {
		created = epoch
	}
	if updated == nil {
		updated = created
	}
	name := text(o["name"])
	if t.class == "users" {
		name = strings.TrimSpace(text(o["firstName"]) + " " + text(o["surname"]))
	}
	columns := []any{
		t.id, n, "uid", o["id"], "code", orNull(text(o["code"])), "created", created, "lastupdated", updated,
		"lastupdatedby", p.reference("users", refUID(o["lastUpdatedBy"])), "name", name,
	}
	for _, property := range strings.Split(t.properties, ", ") {
		words := strings.Fields(property)
		if len(words) == 3 {
			columns = append(columns, words[0], p.propertyOf(o, words[1], words[2]))
		}
	}
	if t.class == "users" {
		s.logins.mu.Lock()
		columns = append(columns, "password", orNull(s.logins.passwords[text(o["id"])]))
		s.logins.mu.Unlock()
	}
	return p.dialect.row(t.table, columns...)
}

// propertyOf is a property of an object as its column holds it.
func (p *postgres) propertyOf(o object, kind, property string) any {
	property, class, refers := strings.Cut(property, "@")
	value := o[property]
	switch {
	case refers:
		return p.reference(class, refUID(value))
	case property == "periodType":
		if at := slices.Index(periodTypes, text(value)); at > 0 && text(value) != "" {
			return int64(at)
		}
		return nil
	case kind == "date", kind == "timestamp":
		return p.moment(value)
	case kind == "boolean":
		return value == true
	case kind == "integer":
		return number(value)
	}
	return orNull(text(value))
}

// period is the number of a period, for which a row is made when it has none.
func (p *postgres) period(iso string) int64 {
	if n, known := p.numbers["period"][iso]; known {
		return n
	}
	n := p.number("period", iso)
	found, _ := parsePeriod(iso, p.zone)
	columns := []any{"periodid", n, "periodtypeid", int64(slices.Index(periodTypes, found.kind)), "startdate", found.start, "enddate", found.end()}
	if p.dialect.minor >= 43 {
		columns = append(columns, "iso", iso)
	}
	p.made = append(p.made, p.dialect.row("period", columns...))
	return n
}

func (p *postgres) valueRows(s *Server, key dataValueKey) []tableRow {
	v := s.aggregate.values[key]
	if v == nil {
		return nil
	}
	return []tableRow{p.dialect.row("datavalue",
		"dataelementid", p.number("dataElements", key.dataElement), "periodid", p.period(key.period), "sourceid", p.number("organisationUnits", key.orgUnit),
		"categoryoptioncomboid", p.number("categoryOptionCombos", key.categoryOptionCombo), "attributeoptioncomboid", p.number("categoryOptionCombos", key.attributeOptionCombo),
		"value", orNull(v.value), "storedby", orNull(v.storedBy), "created", v.created.In(p.zone), "lastupdated", v.lastUpdated.In(p.zone),
		"comment", orNull(v.comment), "followup", v.followup, "deleted", v.deleted)}
}

func (p *postgres) completionRows(s *Server, key completionKey) []tableRow {
	c := s.aggregate.completions[key]
	if c == nil {
		return nil
	}
	return []tableRow{p.dialect.row("completedatasetregistration",
		"datasetid", p.number("dataSets", key.dataSet), "periodid", p.period(key.period), "sourceid", p.number("organisationUnits", key.orgUnit),
		"attributeoptioncomboid", p.number("categoryOptionCombos", key.attributeOptionCombo), "date", c.date.In(p.zone), "storedby", orNull(c.storedBy),
		"lastupdatedby", orNull(c.storedBy), "lastupdated", c.date.In(p.zone), "completed", c.completed)}
}

func (p *postgres) fileRows(s *Server, uid string) []tableRow {
	f := s.files[uid]
	if f == nil {
		return nil
	}
	by := p.reference("users", refUID(f.record["createdBy"]))
	return []tableRow{p.dialect.row("fileresource",
		"fileresourceid", p.number("fileResources", uid), "uid", uid, "created", p.moment(f.record["created"]), "lastupdated", p.moment(f.record["lastUpdated"]),
		"lastupdatedby", by, "name", f.record["name"], "contenttype", f.record["contentType"], "contentlength", int64(len(f.content)),
		"contentmd5", f.record["contentMd5"], "storagekey", f.key, "isassigned", f.assigned, "domain", f.record["domain"], "userid", by,
		"hasmultiplestoragefiles", false)}
}

// writeFile stores the content of a new file: in its directory at once, or in the database with all else.
func (p *postgres) writeFile(batch *pgx.Batch, s *Server, uid string) error {
	f := s.files[uid]
	if f == nil {
		return nil
	}
	if p.files == "" {
		batch.Queue("INSERT INTO dhis2sim_file (fileresourceid, content) VALUES ($1, $2)", p.number("fileResources", uid), f.content)
		return nil
	}
	path := filepath.Join(p.files, filepath.FromSlash(f.key))
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return renameio.WriteFile(path, f.content, 0o640)
}

func (p *postgres) collectionRows(s *Server, c collection) (rows []tableRow) {
	switch c {
	case settingsCollection:
		for name, value := range s.settings {
			rows = append(rows, p.dialect.row("systemsetting", "systemsettingid", p.number("settings", name), "name", name, "value", value))
		}
	case dataStoreCollection:
		now := s.now()
		for namespace, values := range s.dataStore {
			for key, value := range values {
				rows = append(rows, p.dialect.row("keyjsonvalue",
					"keyjsonvalueid", p.number("dataStore", namespace+"\x00"+key), "uid", once{newUID()}, "created", once{now}, "lastupdated", along{now},
					"namespace", namespace, "namespacekey", key, "encrypted", once{false}, "jbvalue", asJSON(value)))
			}
		}
	case userValuesCollection:
		for user, values := range s.userValues {
			for name, value := range values {
				rows = append(rows, p.dialect.row("dhis2sim_usersetting",
					"id", p.number("userSettings", user+" "+name), "userinfoid", p.number("users", user), "name", name, "value", asJSON(value)))
			}
		}
	case tokensCollection:
		s.logins.mu.Lock()
		defer s.logins.mu.Unlock()
		for hash, t := range s.logins.tokens {
			var expires any
			if !t.expires.IsZero() {
				expires = t.expires.In(p.zone)
			}
			rows = append(rows, p.dialect.row("dhis2sim_token",
				"id", p.number("tokens", t.uid), "uid", t.uid, "userinfoid", p.number("users", t.user), "keyhash", hash, "expires", expires))
		}
	case countersCollection:
		for name, given := range s.counters {
			owner, key, _ := strings.Cut(name, " ")
			rows = append(rows, p.dialect.row("sequentialnumbercounter",
				"id", p.number("counters", name), "owneruid", owner, "key", key, "counter", int64(given)+1))
		}
	case reservedCollection:
		for name, r := range s.reserved {
			owner, value, _ := strings.Cut(name, " ")
			rows = append(rows, p.dialect.row("reservedvalue",
				"reservedvalueid", p.number("reserved", name), "expirydate", r.expires.In(p.zone), "created", r.created.In(p.zone),
				"ownerobject", "TRACKEDENTITYATTRIBUTE", "owneruid", owner, "key", r.key, "value", value))
		}
	case temporaryCollection:
		return p.temporaryRows(s)
	}
	return rows
}
