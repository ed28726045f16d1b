// Package dhis2db looks into the database of the kit's own DHIS2 for what changed in it. Central's database is
// never looked into.
//
// The nouns:
//
//   - A root is what is compared as one: a tracked entity with all that hangs on it, an event of a program
//     without registration, a relationship, a form (the values and completions of a data set, period and org
//     unit).
//   - A mark is a moment in the life of one database. Every row that was written after it has a transaction id
//     (PostgreSQL's xmin) at or above the mark's, whatever any clock said.
//   - A key is a root with a fingerprint of the rows that it consists of: which they are, not what is in them.
//     A row that was removed leaves no transaction id; it is missed by holding keys against those of the mark.
//   - A look is one moment at which the database is read: a mark, changes and keys of one look belong together.
//
// The tables are those of DHIS2 2.41 to 2.43. Nothing is ever written.
package dhis2db
