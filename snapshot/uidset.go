package snapshot

// uidSet is a set of DHIS2 uids, packed: a hundred thousand take some three megabytes.
type uidSet struct {
	packed map[[11]byte]struct{}
	// odd holds what is not eleven bytes long; DHIS2 makes none such.
	odd map[string]struct{}
}

func newUIDSet() *uidSet {
	return &uidSet{packed: map[[11]byte]struct{}{}, odd: map[string]struct{}{}}
}

// add tells whether the uid was new.
func (s *uidSet) add(uid string) bool {
	if s.has(uid) {
		return false
	}
	if len(uid) == 11 {
		s.packed[[11]byte([]byte(uid))] = struct{}{}
	} else {
		s.odd[uid] = struct{}{}
	}
	return true
}

func (s *uidSet) has(uid string) bool {
	if len(uid) == 11 {
		_, there := s.packed[[11]byte([]byte(uid))]
		return there
	}
	_, there := s.odd[uid]
	return there
}

// addAll adds what another set holds.
func (s *uidSet) addAll(other *uidSet) {
	for uid := range other.packed {
		s.packed[uid] = struct{}{}
	}
	for uid := range other.odd {
		s.odd[uid] = struct{}{}
	}
}
