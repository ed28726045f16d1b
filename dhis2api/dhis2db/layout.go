package dhis2db

import (
	"fmt"
	"strings"
)

// Kind says what a root is.
type Kind string

// The kinds of roots, in the order in which they are read.
const (
	TrackedEntity Kind = "trackedEntity"
	Event         Kind = "event"
	Relationship  Kind = "relationship"
	Form          Kind = "form"
)

// layout is where the tables of some versions keep what roots consist of.
type layout struct {
	name  string
	roots []rootTables
	// periods are written in ISO form by the database itself; otherwise they come as type and first day.
	isoPeriods bool
}

// rootTables is where the roots of one kind and their rows are.
type rootTables struct {
	kind Kind
	// columns name a root within the database: one id, or the three of a form.
	columns []string
	// rows are the tables whose rows are parts of a root.
	rows []rowTable
	// from joins the roots' ids, c, to what names them to the world; key is that name and inScope tells whether a
	// root belongs to the scope: $1 programs, $2 tracked entity types, $3 data sets, $4 root org units.
	from, key, inScope string
}

// rowTable is a table whose rows, x, are parts of roots.
type rowTable struct {
	from string
	// root are the expressions of the root's columns, and key those of the row's own ids among the root's rows.
	root, key []string
	// xmins are the transaction ids whose change means a change of the root.
	xmins []string
	// where holds what is always asked, live what must be true of rows that count as there. Both may be empty.
	where, live string
}

func (t rowTable) conditions(more string) string {
	conditions := []string{}
	for _, condition := range []string{t.where, more} {
		if condition != "" {
			conditions = append(conditions, "("+condition+")")
		}
	}
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

// changedQuery selects the roots of which a row was written by a transaction at or above $5, each with whether it is
// in scope. Transaction ids are compared on their circle of 32 bits.
func (t rootTables) changedQuery() string {
	arms := make([]string, len(t.rows))
	for i, rows := range t.rows {
		changed := make([]string, len(rows.xmins))
		for j, xmin := range rows.xmins {
			changed[j] = "((" + xmin + "::text::bigint - $5::bigint) & 4294967295) < 2147483648"
		}
		arms[i] = "SELECT " + strings.Join(rows.root, ", ") + " FROM " + rows.from + rows.conditions(strings.Join(changed, " OR "))
	}
	// UNION, not UNION ALL: each root once. The parameters that a kind has no use for are named all the same.
	return "SELECT " + t.key + ", " + liveRoot(t.kind) + " AND (" + t.inScope + ") AND ($1::text[], $2::text[], $3::text[], $4::text[]) IS NOT NULL FROM (" +
		strings.Join(arms, " UNION ") + ") c(" + strings.Join(t.columns, ", ") + ") " + t.from
}

// keysQuery selects all roots that are there in the order of their names' bytes, each with a fingerprint of its
// rows. The fingerprint is a sum, so the rows' order does not matter.
func (t rootTables) keysQuery() string {
	arms := make([]string, len(t.rows))
	for i, rows := range t.rows {
		hash := fmt.Sprint(i)
		for _, id := range rows.key {
			hash = "hashint8extended(" + id + "::bigint, " + hash + ")"
		}
		arms[i] = "SELECT " + strings.Join(rows.root, ", ") + ", " + hash + " FROM " + rows.from + rows.conditions(rows.live)
	}
	columns := strings.Join(t.columns, ", ")
	return "SELECT " + t.key + " COLLATE \"C\" AS key, c.hash::text FROM (SELECT " + columns + ", sum(hash) FROM (" + strings.Join(arms, " UNION ALL ") +
		") rows(" + columns + ", hash) GROUP BY " + columns + ") c(" + columns + ", hash) " + t.from +
		" WHERE " + liveRoot(t.kind) + " ORDER BY 1"
}

// liveRoot tells whether a root is not marked as deleted.
func liveRoot(kind Kind) string {
	if kind == Form {
		return "true"
	}
	return "t.deleted IS NOT TRUE"
}

// below tells whether the org unit u is at or below one of the scope's.
const below = "string_to_array(trim('/' FROM u.path), '/') && $4::text[]"

// trackedEntityInScope tells whether the tracked entity with an id belongs to the scope: owned there in one of
// its programs, or of one of its types and in no program at all. OFFSET 0 makes PostgreSQL ask anew for each one that
// changed, by index; else it may join all there are beforehand, by nested loops where its statistics are out of date.
func trackedEntityInScope(id string) string {
	return `EXISTS (SELECT FROM enrollment e JOIN program p USING (programid)
			JOIN trackedentityprogramowner o ON o.trackedentityid = e.trackedentityid AND o.programid = e.programid
			JOIN organisationunit u ON u.organisationunitid = o.organisationunitid
			WHERE e.trackedentityid = ` + id + ` AND NOT e.deleted AND p.uid = ANY($1) AND ` + below + ` OFFSET 0)
		OR (NOT EXISTS (SELECT FROM enrollment e WHERE e.trackedentityid = ` + id + ` AND NOT e.deleted OFFSET 0)
			AND EXISTS (SELECT FROM trackedentity s JOIN trackedentitytype k USING (trackedentitytypeid)
				JOIN organisationunit u ON u.organisationunitid = s.organisationunitid
				WHERE s.trackedentityid = ` + id + ` AND k.uid = ANY($2) AND ` + below + ` OFFSET 0))`
}

// formTables are alike in all versions but for how a period is written. A value whose data element is in two
// data sets is part of two forms; one whose data element is in none is part of none.
func formTables(period string) rootTables {
	return rootTables{
		kind: Form, columns: []string{"datasetid", "periodid", "sourceid"},
		rows: []rowTable{
			{
				from: "datavalue x JOIN datasetelement d USING (dataelementid)", root: []string{"d.datasetid", "x.periodid", "x.sourceid"},
				key: []string{"x.dataelementid", "x.categoryoptioncomboid", "x.attributeoptioncomboid"}, xmins: []string{"x.xmin"}, live: "NOT x.deleted",
			},
			{
				from: "completedatasetregistration x", root: []string{"x.datasetid", "x.periodid", "x.sourceid"},
				key: []string{"x.attributeoptioncomboid"}, xmins: []string{"x.xmin"},
			},
		},
		from: `JOIN dataset t ON t.datasetid = c.datasetid JOIN period p ON p.periodid = c.periodid JOIN periodtype k ON k.periodtypeid = p.periodtypeid
			JOIN organisationunit u ON u.organisationunitid = c.sourceid`,
		key:     "(t.uid || '.' || " + period + " || '.' || u.uid)",
		inScope: "t.uid = ANY($3) AND " + below,
	}
}
