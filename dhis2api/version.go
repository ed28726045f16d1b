package dhis2api

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// Version is a DHIS2 version such as 2.42.5.2 or 2.43-SNAPSHOT.
type Version struct {
	Major  int // 2
	Minor  int // 42
	Patch  int // 5
	Hotfix int // 2
	raw    string
}

var versionPattern = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[-.].*)?$`)

// ParseVersion reads a version as a server reports it. What follows the fourth number, or a dash, is kept in
// String only.
func ParseVersion(raw string) (Version, error) {
	match := versionPattern.FindStringSubmatch(raw)
	if match == nil {
		return Version{}, fmt.Errorf("%q is not a DHIS2 version", raw)
	}
	var numbers [4]int
	for i, digits := range match[1:] {
		if digits == "" {
			continue
		}
		number, err := strconv.Atoi(digits)
		if err != nil {
			return Version{}, fmt.Errorf("%q is not a DHIS2 version", raw)
		}
		numbers[i] = number
	}
	return Version{Major: numbers[0], Minor: numbers[1], Patch: numbers[2], Hotfix: numbers[3], raw: raw}, nil
}

// String is the version as the server wrote it.
func (v Version) String() string {
	if v.raw != "" {
		return v.raw
	}
	return fmt.Sprintf("%d.%d.%d.%d", v.Major, v.Minor, v.Patch, v.Hotfix)
}

// Compare is negative when v is older than other, positive when newer, zero when their four numbers agree.
func (v Version) Compare(other Version) int {
	return cmp.Or(
		cmp.Compare(v.Major, other.Major),
		cmp.Compare(v.Minor, other.Minor),
		cmp.Compare(v.Patch, other.Patch),
		cmp.Compare(v.Hotfix, other.Hotfix),
	)
}

// Supported tells whether this package speaks the version: 2.41 to 2.43.
func (v Version) Supported() bool { return v.Major == 2 && v.Minor >= 41 && v.Minor <= 43 }
