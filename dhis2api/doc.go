// Package dhis2api is a typed client for DHIS2 2.41, 2.42 and 2.43.
//
// Nouns. A client speaks to one server as one account, in the dialect of that server's minor version, which
// it learns on connecting. A uid is DHIS2's eleven-character identifier. The tracker objects are tracked
// entities, their enrollments in programs, the events of these, and relationships between any of them; a
// program owner says which org unit a tracked entity belongs to in a program; an event without registration
// is an event that belongs to nobody. A data value is an aggregate figure, known by its five-part key; a
// completion says that a form was filled. Metadata is what describes all this (programs, data elements, org
// units, users), in classes named by their plurals ("organisationUnits"). An import is what a server was asked
// to store, a report what it says it did, a job an import that runs on while the client waits. An outcome is
// what a report says about one object; it may be unknown.
//
// What is read in bulk is read through iterators (iter.Seq2) that hold a few pages in memory, never the data.
// An iterator yields at most one error, as its last item. A Client is safe for concurrent use.
//
// What may be repeated safely is repeated: reads after anything that may pass, writes only where the server
// certainly did not take them. A write whose fate cannot be known ends in an UnknownOutcomeError; then look
// before sending again.
package dhis2api
