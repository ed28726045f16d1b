package snapshot

import (
	"iter"
	"math/bits"
)

// uidSet is a set of DHIS2 uids, packed: a million take some twelve megabytes.
type uidSet struct {
	shards [4 * uidShards]uidShard
	count  int
	// odd holds what is no uid of DHIS2's.
	odd map[string]struct{}
}

// uidShards is in how many shards the uids of one class lie, each a table that grows on its own: a whole table
// that grew at once would for a moment be there twice.
const uidShards = 64

// uidShard is a hash table of numbers, with zeros where there is none.
type uidShard struct {
	table []uint64
	used  int
}

// Ten letters or digits are a number below 62 to the tenth. With the first letter of eleven, one of 52, that is a little
// more than fits 64 bits: so the letters are of four classes.
const (
	tenCharacters  = 839299365868340224
	lettersOfClass = 13
)

func newUIDSet() *uidSet { return &uidSet{odd: map[string]struct{}{}} }

// add tells whether the uid was new.
func (s *uidSet) add(uid string) bool {
	class, number, ok := packUID(uid)
	if !ok {
		_, there := s.odd[uid]
		s.odd[uid] = struct{}{}
		return !there
	}
	if !s.shard(class, number).add(number) {
		return false
	}
	s.count++
	return true
}

func (s *uidSet) has(uid string) bool {
	class, number, ok := packUID(uid)
	if !ok {
		_, there := s.odd[uid]
		return there
	}
	return s.shard(class, number).has(number)
}

// size is how many uids there are.
func (s *uidSet) size() int { return s.count + len(s.odd) }

// all are the uids, in no particular order.
func (s *uidSet) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		for uid := range s.odd {
			if !yield(uid) {
				return
			}
		}
		for i := range s.shards {
			for _, number := range s.shards[i].table {
				if number != 0 && !yield(unpackUID(i/uidShards, number)) {
					return
				}
			}
		}
	}
}

// addAll adds what another set holds.
func (s *uidSet) addAll(other *uidSet) {
	for uid := range other.all() {
		s.add(uid)
	}
}

func (s *uidSet) shard(class int, number uint64) *uidShard {
	return &s.shards[class*uidShards+int(scatter(number)%uidShards)]
}

// scatter is a number that looks like chance.
func scatter(number uint64) uint64 {
	number ^= number >> 32
	number *= 0x9e3779b97f4a7c15
	return number ^ number>>29
}

// place is where a number is in the table, or where it belongs.
func (s *uidShard) place(number uint64) int {
	high, _ := bits.Mul64(scatter(number), uint64(len(s.table)))
	for at := int(high); ; at++ {
		if at == len(s.table) {
			at = 0
		}
		if s.table[at] == number || s.table[at] == 0 {
			return at
		}
	}
}

func (s *uidShard) has(number uint64) bool {
	return len(s.table) > 0 && s.table[s.place(number)] == number
}

func (s *uidShard) add(number uint64) bool {
	if s.has(number) {
		return false
	}
	if 5*(s.used+1) > 4*len(s.table) {
		before := s.table
		s.table = make([]uint64, max(8, len(before)*5/4+1))
		for _, number := range before {
			if number != 0 {
				s.table[s.place(number)] = number
			}
		}
	}
	s.table[s.place(number)] = number
	s.used++
	return true
}

// packUID makes a class and a number, never zero, of a uid; ok is false for what is none.
func packUID(uid string) (class int, number uint64, ok bool) {
	if len(uid) != 11 {
		return 0, 0, false
	}
	for i := range len(uid) {
		var value uint64
		switch c := uid[i]; {
		case c >= 'A' && c <= 'Z':
			value = uint64(c - 'A')
		case c >= 'a' && c <= 'z':
			value = uint64(c-'a') + 26
		case c >= '0' && c <= '9' && i > 0:
			value = uint64(c-'0') + 52
		default:
			return 0, 0, false
		}
		if i == 0 {
			class, number = int(value/lettersOfClass), value%lettersOfClass
			continue
		}
		number = number*62 + value
	}
	return class, number + 1, true
}

// unpackUID is the uid that packUID packed.
func unpackUID(class int, number uint64) string {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var uid [11]byte
	number--
	uid[0] = characters[class*lettersOfClass+int(number/tenCharacters)]
	for i, rest := 10, number%tenCharacters; i > 0; i, rest = i-1, rest/62 {
		uid[i] = characters[rest%62]
	}
	return string(uid[:])
}
