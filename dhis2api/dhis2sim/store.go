package dhis2sim

import (
	"crypto/rand"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
)

// metadataStore keeps the objects of every class.
type metadataStore struct {
	classes map[string]*classStore
	// generation grows with every change; what is computed from metadata is kept for one generation.
	generation int
	changed    *changes
}

// classStore keeps the objects of one class in the order in which they came.
type classStore struct {
	list   []object
	byUID  map[string]int // place in list
	byCode map[string]string
}

func newMetadataStore() *metadataStore { return &metadataStore{classes: map[string]*classStore{}} }

// put stores an object under its id, over the one that was there.
func (m *metadataStore) put(class string, o object) {
	m.generation++
	m.changed.note(objectKey{class, text(o["id"])})
	c := m.classes[class]
	if c == nil {
		c = &classStore{byUID: map[string]int{}, byCode: map[string]string{}}
		m.classes[class] = c
	}
	uid := text(o["id"])
	if place, ok := c.byUID[uid]; ok {
		delete(c.byCode, text(c.list[place]["code"]))
		c.list[place] = o
	} else {
		c.byUID[uid] = len(c.list)
		c.list = append(c.list, o)
	}
	if code := text(o["code"]); code != "" {
		c.byCode[code] = uid
	}
}

// remove forgets an object; an unknown one is no error.
func (m *metadataStore) remove(class, uid string) {
	c := m.classes[class]
	if c == nil {
		return
	}
	place, ok := c.byUID[uid]
	if !ok {
		return
	}
	m.generation++
	m.changed.note(objectKey{class, uid})
	delete(c.byCode, text(c.list[place]["code"]))
	delete(c.byUID, uid)
	c.list = slices.Delete(slices.Clone(c.list), place, place+1)
	for i, o := range c.list[place:] {
		c.byUID[text(o["id"])] = place + i
	}
}

// object is the object of that class and uid, nil when there is none.
func (s *Server) object(class, uid string) object {
	if c := s.metadata.classes[class]; c != nil {
		if place, ok := c.byUID[uid]; ok {
			return c.list[place]
		}
	}
	return nil
}

// objectByCode is the object of that class and code, nil when there is none.
func (s *Server) objectByCode(class, code string) object {
	if c := s.metadata.classes[class]; c != nil && code != "" {
		if uid, ok := c.byCode[code]; ok {
			return s.object(class, uid)
		}
	}
	return nil
}

// objects are all objects of a class in the order in which they came. The list must not be changed.
func (s *Server) objects(class string) []object {
	if c := s.metadata.classes[class]; c != nil {
		return c.list
	}
	return nil
}

// text is a JSON value as a string, empty when it is something else.
func text(v any) string {
	t, _ := v.(string)
	return t
}

// list is a JSON value as a list, nil when it is something else.
func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// number is a JSON number as an int64, 0 when it is none.
func number(v any) int64 {
	switch n := v.(type) {
	case json.Number:
		i, _ := n.Int64()
		return i
	case int:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// looseNumber is a parameter as a JSON number, nil when it is none.
func looseNumber(text string) any {
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		return nil
	}
	return json.Number(text)
}

// refUID is the id that a reference ({"id": ...}) or a bare uid names.
func refUID(v any) string {
	if o, ok := v.(object); ok {
		return text(o["id"])
	}
	return text(v)
}

// refUIDs are the ids of a list of references.
func refUIDs(v any) []string {
	items := list(v)
	out := make([]string, 0, len(items))
	for _, item := range items {
		if uid := refUID(item); uid != "" {
			out = append(out, uid)
		}
	}
	return out
}

// reference is how one object names another.
func reference(uid string) object { return object{"id": uid} }

// validUID is the form of every id in DHIS2.
var validUID = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{10}$`)

const uidLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// newUID makes an id as DHIS2 does: a letter and ten letters or digits.
func newUID() string {
	var random [11]byte
	_, _ = rand.Read(random[:]) // never fails
	letters := uidLetters + "0123456789"
	uid := make([]byte, len(random))
	for i, b := range random {
		uid[i] = letters[int(b)%len(letters)]
	}
	uid[0] = uidLetters[int(random[0])%len(uidLetters)]
	return string(uid)
}
