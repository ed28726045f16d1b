// Package compose runs the kit's own servers in containers: PostgreSQL with PostGIS, and DHIS2. It is the only
// package that speaks to the Docker engine, and knows nothing of DHIS2's data.
//
// The nouns: the stack is all containers, networks and volumes of one kit; a project is the name under which
// the engine keeps them; a service is one of the stack's programs, as the compose file describes it. The
// compose file is the contract: compose.yaml in this package, with a kit's Settings in it and the kit's
// compose.override.yaml merged over it. The keys that it may hold are listed in keys.go; any other is refused
// by name. A stack is open when tablets reach DHIS2 by the clinic's port, else closed. An archive is an image
// in a file, for places without internet.
//
// What has to be done is found by comparing: Load says what is desired, the engine what is observed, makePlan
// lists the operations that lead from one to the other, and Engine.Up carries them out. So a second Up does
// nothing, and one after an interruption does the rest.
//
// Secrets are files: they are copied into a container that was made and has not started. They are in no
// label, environment or argument.
package compose
