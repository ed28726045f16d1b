package snapshot

import (
	"maps"
	"slices"
)

// Brought are the metadata objects that loading made on one target. What stood there before, and what somebody
// made there since, is never among them: only what is may be removed again (see RemoveMetadata). Custom icons are
// named by their keys. A nil Brought has nothing and notes nothing.
type Brought struct {
	objects map[Reference]bool
	keep    func(objects map[string][]string) error
}

// NewBrought is what earlier loads made, ids by class, and how to keep what the next ones make. Keep is called
// before anything is sent, with all of them; it must be durable when it returns.
func NewBrought(objects map[string][]string, keep func(objects map[string][]string) error) *Brought {
	b := &Brought{objects: map[Reference]bool{}, keep: keep}
	for class, ids := range objects {
		for _, id := range ids {
			b.objects[Reference{class, id}] = true
		}
	}
	return b
}

// has tells whether loading made an object.
func (b *Brought) has(object Reference) bool { return b != nil && b.objects[object] }

// ids are the ids of the objects of a class, sorted.
func (b *Brought) ids(class string) []string {
	var ids []string
	for object := range b.objects {
		if object.Class == class {
			ids = append(ids, object.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// classes are the classes that it has objects of, sorted.
func (b *Brought) classes() []string {
	classes := map[string]bool{}
	for object := range b.objects {
		classes[object.Class] = true
	}
	return slices.Sorted(maps.Keys(classes))
}

// add notes objects durably.
func (b *Brought) add(objects ...Reference) error {
	if b == nil || len(objects) == 0 {
		return nil
	}
	for _, object := range objects {
		b.objects[object] = true
	}
	return b.save()
}

func (b *Brought) save() error {
	objects := map[string][]string{}
	for _, class := range b.classes() {
		objects[class] = b.ids(class)
	}
	return b.keep(objects)
}
