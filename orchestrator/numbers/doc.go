// Package numbers knows the values that DHIS2 generates for an attribute with a pattern, and keeps what of them
// central has reserved for a kit.
//
// The nouns: a pattern is a sum of texts and methods, as in ORG_UNIT_CODE(...) + "-" + SEQUENTIAL(####). Its key is
// the pattern with everything filled in but the method that generates: BOC-SEQUENTIAL(####). Each key counts for
// itself, on every server. A number is what stands for the generating method of a sequential pattern in a value. A
// block is a row of numbers without gap. Reservations are what central gave this kit, in a file of the trip.
package numbers
