// Package compose will run the kit's own containers: PostgreSQL with PostGIS, DHIS2, and the keeper. It is
// the only package that speaks to the Docker engine, and knows nothing of DHIS2's data.
//
// The nouns: the stack is all containers, networks and volumes of one kit; a service is one line of the
// stack's compose file, which is the contract: the keys it may hold are listed here, any other is refused.
//
// For now a kit's DHIS2 is one that runs already, named by `local: {url: ...}` in fieldkit.yaml, and this
// package is empty.
package compose
