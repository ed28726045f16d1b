package compose

import (
	"net/netip"
)

// Settings is everything in which one kit's stack differs from another's. Its secret fields never reach a
// label, an environment or an argument list.
type Settings struct {
	// Project is the stack's Docker project name: lower case letters, digits, "-" and "_", beginning with a
	// letter or digit. It must be the kit's own, and never change while its volumes exist: everything that
	// is made is named and found by it.
	Project string
	// Directory is the kit's own, for the label by which Compose says where a project lives; may be "".
	Directory string
	// Override is the path of the user's compose.override.yaml, "" when there is none.
	Override string
	// DHIS2Image and PostgresImage are full references with tag, e.g. "dhis2/core:2.42.5.2".
	DHIS2Image, PostgresImage string
	// Zone is the time zone in which DHIS2 runs, an IANA name; central's.
	Zone string
	// Clinic is where tablets reach DHIS2. Nil is a closed stack: nothing is published.
	Clinic *ClinicPort
	// Sizes are the memory and connections that the services get, see Fit.
	Sizes Sizes
	// DatabasePassword is the password of PostgreSQL's role "dhis", and EncryptionPassword what DHIS2
	// encrypts with. Both are 24 or more letters and digits, random, and stay the same as long as the
	// volumes do: PostgreSQL reads its one at its first start only, DHIS2 decrypts with the one it encrypted
	// with.
	DatabasePassword, EncryptionPassword string
}

// ClinicPort is the one address at which a stack is reached from outside of its machine.
type ClinicPort struct {
	// Name is what tablets call it, e.g. "bocas-1.clinic.lan".
	Name string
	// Address is one of the machine's own addresses, or an unspecified one (0.0.0.0) for all of them.
	Address netip.Addr
	Port    uint16
}

// Names and places inside the stack, for those who reach it on its own network by ServiceState.Address.
const (
	// ServicePostgres and ServiceDHIS2 are the stack's services.
	ServicePostgres = "postgres"
	ServiceDHIS2    = "dhis2"
	// PostgresPort, DatabaseName and DatabaseUser are how PostgreSQL is reached; the password is
	// Settings.DatabasePassword. The user owns the database and is no superuser.
	PostgresPort = 5432
	DatabaseName = "dhis2"
	DatabaseUser = "dhis"
	// DHIS2Port is where DHIS2 listens, without a context path. It takes connections long before it answers.
	DHIS2Port = 8080
)
