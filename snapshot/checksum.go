package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// Checksum is a SHA-256 sum over the metadata's content, in hexadecimal: the same for the same objects in whatever order,
// of whatever server. For each object, by class and then by id, it takes a line with the class, the id and the object as
// JSON whose keys and lists are sorted, without what says who touched it and when (created, lastUpdated, createdBy,
// lastUpdatedBy, user) and without what depends on who looks (access, href).
func (m Metadata) Checksum() (string, error) {
	sum := sha256.New()
	for _, class := range m.Classes() {
		lines := make([]string, 0, len(m[class]))
		for _, raw := range m[class] {
			object, err := decodeObject(raw)
			if err != nil {
				return "", fmt.Errorf("%s %s: %w", class, objectID(raw), err)
			}
			for _, key := range []string{"created", "lastUpdated", "createdBy", "lastUpdatedBy", "user", "access", "href"} {
				delete(object, key)
			}
			content, err := json.Marshal(sorted(object))
			if err != nil {
				return "", fmt.Errorf("%s %s: %w", class, objectID(raw), err)
			}
			lines = append(lines, class+" "+objectID(raw)+" "+string(content)+"\n")
		}
		slices.Sort(lines)
		for _, line := range lines {
			sum.Write([]byte(line))
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
