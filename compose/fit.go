package compose

import "fmt"

// Sizes are what the services are given of the machine. All memory is in bytes.
type Sizes struct {
	// Heap is the most that DHIS2's Java heap may grow to.
	Heap int64
	// DHIS2Memory and PostgresMemory are the containers' limits: beyond them the kernel kills.
	DHIS2Memory, PostgresMemory int64
	// SharedBuffers is PostgreSQL's own cache, part of PostgresMemory.
	SharedBuffers int64
	// Connections is the size of DHIS2's connection pool; PostgreSQL allows some more.
	Connections int
}

const (
	mebibyte = int64(1) << 20
	gibibyte = int64(1) << 30
)

// fits lists the sizes by the memory of the machine, least first. A machine that is sold as 4 GB shows the
// system some 3.7 GiB, so each step begins below its round number.
//
// Measured with DHIS2 2.42 while it imported 5,000 to 10,000 objects and wrote out 1,000 whole patients at once: beside
// its heap Java takes up to 450 MiB (900 MiB in all with a heap of 450 MiB, 970 with 700 MiB, 1,430 with 4 GiB,
// which it does not fill), PostgreSQL 350 MiB. Speed hardly depends on the heap: 974, 1,004 and 1,268 objects/s
// with 450, 700 and 1,600 MiB. The larger ones are for forms and lists that many tablets ask for at once.
var fits = []struct {
	memory int64
	sizes  Sizes
}{
	{3400 * mebibyte, Sizes{Heap: 900 * mebibyte, DHIS2Memory: 1600 * mebibyte, PostgresMemory: 1000 * mebibyte, SharedBuffers: 256 * mebibyte, Connections: 20}},
	{7 * gibibyte, Sizes{Heap: 2 * gibibyte, DHIS2Memory: 3200 * mebibyte, PostgresMemory: 2 * gibibyte, SharedBuffers: 512 * mebibyte, Connections: 40}},
	{14 * gibibyte, Sizes{Heap: 4 * gibibyte, DHIS2Memory: 6 * gibibyte, PostgresMemory: 4 * gibibyte, SharedBuffers: 1 * gibibyte, Connections: 60}},
}

// Fit chooses the sizes for a machine of so many bytes of memory (EngineInfo.Memory): those of the largest
// step that it reaches. A machine below the smallest is a *MemoryError, which says what is needed.
func Fit(memory int64) (Sizes, error) {
	for i := len(fits) - 1; i >= 0; i-- {
		if memory >= fits[i].memory {
			return fits[i].sizes, nil
		}
	}
	return Sizes{}, &MemoryError{Memory: memory, Needed: fits[0].memory}
}

// MemoryError says that a machine has too little memory to be a kit. Both figures are bytes.
type MemoryError struct{ Memory, Needed int64 }

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the machine has %d MiB of memory: DHIS2 and PostgreSQL need %d MiB", e.Memory/mebibyte, e.Needed/mebibyte)
}
