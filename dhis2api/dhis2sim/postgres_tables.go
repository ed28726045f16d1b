package dhis2sim

import (
	"slices"
	"strings"
)

// table is one table of the database. Names, types and keys are those of a real DHIS2's, so that SQL that was written for one
// runs here; tables whose names begin with dhis2sim_ are this program's own.
type table struct {
	name    string
	columns string // as in SQL, with ! for NOT NULL
	// identity is by which columns rows are told apart when they are saved; they hold numbers.
	identity []string
	key      string   // primary key, the identity when empty
	unique   []string // further ones
	indexes  []string
	parents  map[string]string // foreign keys among the data: column to table
}

// create is the SQL that makes the table.
func (t table) create() string {
	key := t.key
	if key == "" {
		key = strings.Join(t.identity, ", ")
	}
	lines := []string{strings.ReplaceAll(t.columns, "!", " NOT NULL"), "PRIMARY KEY (" + key + ")"}
	for _, columns := range t.unique {
		lines = append(lines, "UNIQUE ("+columns+")")
	}
	for _, column := range sortedKeys(t.parents) {
		// Deferred, so that a transaction may write its rows in any order.
		lines = append(lines, "FOREIGN KEY ("+column+") REFERENCES "+t.parents[column]+" DEFERRABLE INITIALLY DEFERRED")
	}
	sql := "CREATE TABLE " + t.name + " (" + strings.Join(lines, ", ") + ");\n"
	for _, columns := range t.indexes {
		sql += "CREATE INDEX ON " + t.name + " (" + columns + ");\n"
	}
	return sql
}

// watch is the SQL that makes writes by anybody else count, so that this program can tell that its memory is out of date.
func (t table) watch() string {
	count := "outside"
	if slices.Contains(counterTables, t.name) {
		count = "counters"
	}
	return "CREATE TRIGGER dhis2sim_outside AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON " + t.name +
		" FOR EACH STATEMENT WHEN (current_setting('dhis2sim.own', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION dhis2sim_" + count + "();\n"
}

// counterTables are written by others as a matter of course, and quick to read again.
var counterTables = []string{"sequentialnumbercounter", "reservedvalue"}

// stateSQL makes what this program notes about the database itself.
const stateSQL = `
CREATE TABLE dhis2sim_state (version varchar NOT NULL, outside bigint NOT NULL, counters bigint NOT NULL);
CREATE FUNCTION dhis2sim_outside() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN UPDATE public.dhis2sim_state SET outside = outside + 1; RETURN NULL; END$$;
CREATE FUNCTION dhis2sim_counters() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN UPDATE public.dhis2sim_state SET counters = counters + 1; RETURN NULL; END$$;
`

// dialect is how the tables of one minor version are named and made.
type dialect struct {
	minor  int
	tables []table
	byName map[string]table
	// event and singleEvent are the tables of events in tracker programs and in event programs: one and the same until 2.42.
	event, singleEvent string
	// eventItem and singleEventItem are the columns by which the end of a relationship names an event of either.
	eventItem, singleEventItem string
}

const (
	// changedAtClient are the columns that all tracker objects have.
	changedAtClient = "uid varchar, created timestamp!, lastupdated timestamp!, createdatclient timestamp, lastupdatedatclient timestamp, "
	// eventColumns are those of all tables of events, after the enrollment.
	eventColumns = "programstageid bigint!, attributeoptioncomboid bigint!, deleted boolean!, storedby varchar, " +
		"organisationunitid bigint!, status varchar!, completedby varchar, completeddate timestamp, geometry geometry, " +
		"eventdatavalues jsonb!, assigneduserid bigint, createdbyuserinfo jsonb, lastupdatedbyuserinfo jsonb"
	// objectColumns are those of all metadata.
	objectColumns = "uid varchar!, code varchar, created timestamp!, lastupdated timestamp!, lastupdatedby bigint, name varchar!, "
)

// newDialect says in which tables a minor version keeps its data.
func newDialect(minor int) *dialect {
	d := &dialect{minor: minor, event: "event", singleEvent: "event", eventItem: "eventid", singleEventItem: "eventid", byName: map[string]table{}}
	if minor >= 43 {
		d.event, d.singleEvent, d.eventItem, d.singleEventItem = "trackerevent", "singleevent", "trackereventid", "singleeventid"
	}
	d.tables = append(d.tables, d.metadataTables()...)
	d.tables = append(d.tables, d.trackerTables()...)
	d.tables = append(d.tables, d.otherTables()...)
	for _, t := range d.tables {
		d.byName[t.name] = t
	}
	return d
}

func (d *dialect) trackerTables() []table {
	enrolled, enrollmentOptions, eventCode, noteHistory, itemEvents := "trackedentityid bigint", "", "code varchar, ", "", "eventid bigint"
	if d.minor >= 43 {
		enrolled, enrollmentOptions, eventCode, itemEvents = "trackedentityid bigint!", ", attributeoptioncomboid bigint!", "", "trackereventid bigint, singleeventid bigint"
	}
	if d.minor == 41 {
		noteHistory = "code varchar, lastupdated timestamp!, "
	}
	tables := []table{
		{
			name: "trackedentity", identity: []string{"trackedentityid"}, unique: []string{"uid"}, indexes: []string{"created", "deleted", "organisationunitid"},
			columns: "trackedentityid bigint!, uid varchar!, code varchar, created timestamp!, lastupdated timestamp!, lastupdatedby bigint, " +
				"createdatclient timestamp, lastupdatedatclient timestamp, inactive boolean!, deleted boolean!, lastsynchronized timestamp!, featuretype varchar, " +
				"coordinates text, organisationunitid bigint!, trackedentitytypeid bigint!, geometry geometry, storedby varchar, createdbyuserinfo jsonb, " +
				"lastupdatedbyuserinfo jsonb, potentialduplicate boolean",
		},
		{
			name: "trackedentityattributevalue", identity: []string{"trackedentityid", "trackedentityattributeid"},
			indexes: []string{"trackedentityattributeid, lower(value)"}, parents: map[string]string{"trackedentityid": "trackedentity"},
			columns: "trackedentityid bigint!, trackedentityattributeid bigint!, created timestamp!, lastupdated timestamp!, value varchar, " +
				"encryptedvalue varchar, storedby varchar",
		},
		{
			name: "trackedentityprogramowner", identity: []string{"trackedentityid", "programid"}, key: "trackedentityprogramownerid",
			unique: []string{"trackedentityid, programid"}, indexes: []string{"programid, organisationunitid"}, parents: map[string]string{"trackedentityid": "trackedentity"},
			columns: "trackedentityprogramownerid serial!, trackedentityid bigint, programid bigint!, created timestamp!, lastupdated timestamp!, " +
				"organisationunitid bigint, createdby varchar!",
		},
		{
			name: "enrollment", identity: []string{"enrollmentid"}, unique: []string{"uid"}, indexes: []string{"lastupdated", "deleted", "programid", "trackedentityid"},
			parents: map[string]string{"trackedentityid": "trackedentity"},
			columns: "enrollmentid bigint!, " + changedAtClient + "occurreddate timestamp, enrollmentdate timestamp!, completeddate timestamp, followup boolean, " +
				"completedby varchar, deleted boolean!, storedby varchar, status varchar, " + enrolled + ", programid bigint!, organisationunitid bigint!, " +
				"geometry geometry, createdbyuserinfo jsonb, lastupdatedbyuserinfo jsonb" + enrollmentOptions,
		},
		{
			name: d.event, identity: []string{"eventid"}, unique: []string{"uid"}, indexes: []string{"enrollmentid", "lastupdated", "organisationunitid", "occurreddate"},
			parents: map[string]string{"enrollmentid": "enrollment"},
			columns: "eventid bigint!, " + eventCode + changedAtClient + "lastsynchronized timestamp!, enrollmentid bigint!, scheduleddate timestamp, occurreddate timestamp, " + eventColumns,
		},
		{
			name: "note", identity: []string{"noteid"}, unique: []string{"uid"},
			columns: "noteid bigint!, uid varchar!, created timestamp!, " + noteHistory + "lastupdatedby bigint, notetext text, creator varchar",
		},
		{
			name: "enrollment_notes", identity: []string{"enrollmentid", "sort_order"}, parents: map[string]string{"enrollmentid": "enrollment", "noteid": "note"},
			columns: "enrollmentid bigint!, sort_order integer!, noteid bigint!",
		},
		{
			name: d.event + "_notes", identity: []string{"eventid", "sort_order"}, parents: map[string]string{"eventid": d.event, "noteid": "note"},
			columns: "eventid bigint!, sort_order integer!, noteid bigint!",
		},
	}
	if d.minor >= 43 {
		tables = append(tables, table{
			name: d.singleEvent, identity: []string{"eventid"}, unique: []string{"uid"}, indexes: []string{"lastupdated", "organisationunitid", "occurreddate"},
			columns: "eventid bigint!, " + changedAtClient + "lastsynchronized timestamp!, occurreddate timestamp!, " + eventColumns,
		}, table{
			name: d.singleEvent + "_notes", identity: []string{"eventid", "sort_order"}, parents: map[string]string{"eventid": d.singleEvent, "noteid": "note"},
			columns: "eventid bigint!, sort_order integer!, noteid bigint!",
		})
	}
	items := map[string]string{"relationshipid": "relationship", "trackedentityid": "trackedentity", "enrollmentid": "enrollment", d.eventItem: d.event, d.singleEventItem: d.singleEvent}
	return append(tables, table{
		name: "relationship", identity: []string{"relationshipid"}, unique: []string{"uid"}, indexes: []string{"key", "inverted_key"},
		columns: "relationshipid bigint!, uid varchar!, code varchar, created timestamp!, lastupdated timestamp!, lastupdatedby bigint, style jsonb, " +
			"relationshiptypeid bigint!, from_relationshipitemid integer, to_relationshipitemid integer, key varchar!, inverted_key varchar!, deleted boolean, createdatclient timestamp",
	}, table{
		name: "relationshipitem", identity: []string{"relationshipitemid"}, indexes: sortedKeys(items), parents: items,
		columns: "relationshipitemid integer!, relationshipid bigint, trackedentityid bigint, enrollmentid bigint, " + itemEvents,
	}, table{
		name: "potentialduplicate", identity: []string{"potentialduplicateid"}, unique: []string{"uid", "original, duplicate"},
		columns: "potentialduplicateid bigint!, uid varchar!, created timestamp!, lastupdated timestamp!, original varchar!, duplicate varchar!, status varchar!, " +
			"createdbyusername varchar!, lastupdatebyusername varchar!",
	}, table{
		name: "programtempowner", identity: []string{"programtempownerid"}, parents: map[string]string{"trackedentityid": "trackedentity"},
		columns: "programtempownerid bigint!, programid bigint, trackedentityid bigint, validtill timestamp, userid bigint, reason varchar",
	})
}

func (d *dialect) otherTables() []table {
	translations := ""
	if d.minor == 41 {
		translations = ", translations jsonb"
	}
	iso, label := "", ""
	if d.minor >= 43 {
		iso, label = ", iso varchar!", ", label varchar"
	}
	return []table{
		{
			name: "datasetelement", identity: []string{"datasetelementid"}, unique: []string{"datasetid, dataelementid"},
			columns: "datasetelementid integer!, datasetid bigint!, dataelementid bigint!, categorycomboid bigint",
		},
		{name: "periodtype", identity: []string{"periodtypeid"}, columns: "periodtypeid integer!, name varchar!" + label},
		{
			name: "period", identity: []string{"periodid"}, unique: []string{"periodtypeid, startdate, enddate"},
			columns: "periodid bigint!, periodtypeid integer, startdate date!, enddate date!" + iso,
		},
		{
			name: "datavalue", identity: []string{"dataelementid", "periodid", "sourceid", "categoryoptioncomboid", "attributeoptioncomboid"}, indexes: []string{"deleted", "lastupdated"},
			columns: "dataelementid bigint!, periodid bigint!, sourceid bigint!, categoryoptioncomboid bigint!, attributeoptioncomboid bigint!, value varchar, " +
				"storedby varchar, created timestamp!, lastupdated timestamp!, comment varchar, followup boolean, deleted boolean!",
		},
		{
			name: "completedatasetregistration", identity: []string{"datasetid", "periodid", "sourceid", "attributeoptioncomboid"},
			columns: "datasetid bigint!, periodid bigint!, sourceid bigint!, attributeoptioncomboid bigint!, date timestamp, storedby varchar, lastupdatedby varchar, " +
				"lastupdated timestamp, completed boolean!",
		},
		{
			name: "fileresource", identity: []string{"fileresourceid"}, unique: []string{"uid", "storagekey"},
			columns: "fileresourceid bigint!, uid varchar!, code varchar, created timestamp!, lastupdated timestamp!, lastupdatedby bigint, name varchar!, " +
				"contenttype varchar!, contentlength bigint!, contentmd5 varchar!, storagekey varchar!, isassigned boolean!, domain varchar, userid bigint, " +
				"hasmultiplestoragefiles boolean, fileresourceowner varchar",
		},
		{name: "dhis2sim_file", identity: []string{"fileresourceid"}, columns: "fileresourceid bigint!, content bytea!"},
		{
			name: "reservedvalue", identity: []string{"reservedvalueid"}, unique: []string{"ownerobject, owneruid, key, value"},
			columns: "reservedvalueid integer!, expirydate timestamp!, created timestamp!, ownerobject varchar, owneruid varchar, key varchar, value varchar",
		},
		{
			name: "sequentialnumbercounter", identity: []string{"id"}, key: "owneruid, key",
			columns: "id integer!, owneruid varchar!, key varchar!, counter integer",
		},
		{name: "systemsetting", identity: []string{"systemsettingid"}, unique: []string{"name"}, columns: "systemsettingid bigint!, name varchar!, value text" + translations},
		{
			name: "keyjsonvalue", identity: []string{"keyjsonvalueid"}, unique: []string{"uid", "namespace, namespacekey"},
			columns: "keyjsonvalueid bigint!, uid varchar!, code varchar, created timestamp!, lastupdated timestamp!, lastupdatedby bigint, namespace varchar!, " +
				"namespacekey varchar!, encrypted_value varchar, encrypted boolean, userid bigint, publicaccess varchar, jbvalue jsonb, sharing jsonb",
		},
		{name: "dhis2sim_usersetting", identity: []string{"id"}, columns: "id bigint!, userinfoid bigint!, name varchar!, value json"},
		{name: "dhis2sim_token", identity: []string{"id"}, columns: "id bigint!, uid varchar!, userinfoid bigint!, keyhash varchar!, expires timestamp"},
	}
}

// periodTypes are the names of period types by the numbers that a real database was seen to give them.
var periodTypes = []string{
	3: "Daily", 4: "Weekly", 5: "WeeklyWednesday", 6: "WeeklyThursday", 7: "WeeklySaturday", 8: "WeeklySunday", 9: "BiWeekly", 10: "Monthly", 11: "BiMonthly",
	12: "Quarterly", 13: "QuarterlyNov", 14: "SixMonthly", 15: "SixMonthlyApril", 16: "SixMonthlyNov", 17: "Yearly", 18: "FinancialApril", 19: "FinancialJuly",
	20: "FinancialSep", 21: "FinancialOct", 22: "FinancialNov", 23: "WeeklyFriday",
}

// idTable is the table from which SQL learns the number of a metadata object. The object itself is kept as JSON beside it.
type idTable struct {
	class, table, id string
	// properties are the further columns: "column type property", and with "property@class" the number of the object that the
	// property names.
	properties string
}

// idTables are those that data refer to.
func idTables() []idTable {
	return []idTable{
		{"programs", "program", "programid", "shortname varchar shortName, type varchar programType, trackedentitytypeid bigint trackedEntityType@trackedEntityTypes, " +
			"categorycomboid bigint categoryCombo@categoryCombos, accesslevel varchar accessLevel, featuretype varchar featureType, version integer version"},
		{"programStages", "programstage", "programstageid", "programid bigint program@programs, repeatable boolean repeatable, sort_order integer sortOrder, featuretype varchar featureType"},
		{"organisationUnits", "organisationunit", "organisationunitid", "shortname varchar shortName, parentid bigint parent@organisationUnits, path varchar path, hierarchylevel integer level, " +
			"openingdate date openingDate, closeddate date closedDate"},
		{"trackedEntityTypes", "trackedentitytype", "trackedentitytypeid", "featuretype varchar featureType"},
		{"trackedEntityAttributes", "trackedentityattribute", "trackedentityattributeid", "shortname varchar shortName, valuetype varchar valueType, optionsetid bigint optionSet@optionSets, " +
			"uniquefield boolean unique, orgunitscope boolean orgunitScope, generated boolean generated, pattern varchar pattern, confidential boolean confidential"},
		{"dataElements", "dataelement", "dataelementid", "shortname varchar shortName, valuetype varchar valueType, domaintype varchar domainType, aggregationtype varchar aggregationType, " +
			"categorycomboid bigint categoryCombo@categoryCombos, optionsetid bigint optionSet@optionSets"},
		{"categoryCombos", "categorycombo", "categorycomboid", ""},
		{"categoryOptionCombos", "categoryoptioncombo", "categoryoptioncomboid", ""},
		{"dataSets", "dataset", "datasetid", "shortname varchar shortName, periodtypeid integer periodType, categorycomboid bigint categoryCombo@categoryCombos, version integer version"},
		{"relationshipTypes", "relationshiptype", "relationshiptypeid", "bidirectional boolean bidirectional, fromtoname varchar fromToName, tofromname varchar toFromName, referral boolean referral"},
		{"optionSets", "optionset", "optionsetid", "valuetype varchar valueType, version integer version"},
		{"users", "userinfo", "userinfoid", "surname varchar surname, firstname varchar firstName, email varchar email, creatoruserid bigint createdBy@users, username varchar username, " +
			"password varchar, passwordlastupdated timestamp passwordLastUpdated, lastlogin timestamp, disabled boolean disabled"},
	}
}

func (d *dialect) metadataTables() []table {
	tables := []table{{
		name: "dhis2sim_metadata", identity: []string{"id"}, unique: []string{"class, uid"},
		columns: "id bigint!, class varchar!, uid varchar!, object json!",
	}}
	for _, i := range idTables() {
		columns := i.id + " bigint!, " + objectColumns
		for _, property := range strings.Split(i.properties, ", ") {
			if words := strings.Fields(property); len(words) > 0 {
				columns += words[0] + " " + words[1] + ", "
			}
		}
		tables = append(tables, table{name: i.table, identity: []string{i.id}, unique: []string{"uid"}, columns: strings.TrimSuffix(columns, ", ")})
	}
	return tables
}
