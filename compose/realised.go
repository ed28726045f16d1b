package compose

import "slices"

// RealisedKeys lists, sorted, the paths of all keys that a compose file may hold here, as in
// "services.*.logging.driver": "*" stands for any name, "[]" for any element of a list. Any other is a
// *KeyError.
func RealisedKeys() []string {
	var keys []string
	for _, path := range realisedKeys() {
		keys = append(keys, string(path))
	}
	slices.Sort(keys)
	return keys
}
