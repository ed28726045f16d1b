package merge_test

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// world makes random records: one patient with enrollments and events, a relationship, a data value, in four
// faces that came about as in life, or, when wild, by chance alone.
type world struct {
	*rand.Rand
	wild bool
}

func (w world) one(words ...string) string { return words[w.IntN(len(words))] }

// objects are all that may exist.
func (w world) objects() []merge.Object {
	patient := merge.Ref{Kind: merge.TrackedEntity, UID: "p1"}
	enrollment := merge.Ref{Kind: merge.Enrollment, UID: "n1"}
	other := merge.Ref{Kind: merge.Enrollment, UID: "n2"}
	objects := []merge.Object{
		{Ref: patient},
		{Ref: enrollment, Parent: patient},
		{Ref: other, Parent: patient},
		{Ref: merge.Ref{Kind: merge.Event, UID: "e1"}, Parent: enrollment},
		{Ref: merge.Ref{Kind: merge.Event, UID: "e2"}, Parent: enrollment},
		{Ref: merge.Ref{Kind: merge.Event, UID: "e3"}, Parent: other},
		{Ref: merge.Ref{Kind: merge.Relationship, UID: "r1"}},
		{Ref: merge.Ref{Kind: merge.DataValue, UID: "d.202611.u.c.a"}},
	}
	if w.wild && w.IntN(3) == 0 {
		object := &objects[w.IntN(len(objects))]
		object.Parent = objects[w.IntN(len(objects))].Ref
	}
	return objects
}

// fill sets a random field.
func (w world) fill(object merge.Object) {
	field := w.one("status", "completedAt", "occurredAt", "scheduledAt", "geometry", "notes.a", "notes.b", "aaaaaaaaaaa", "bbbbbbbbbbb", "owner.P")
	value := w.one("", "1", "2", "3")
	if field == "status" {
		value = w.one("ACTIVE", "COMPLETED", "SCHEDULE", "SKIPPED")
	}
	object.Fields[field] = value
}

func (w world) fresh(object merge.Object) merge.Object {
	object.Fields = map[string]string{}
	for range w.IntN(4) {
		w.fill(object)
	}
	return object
}

// live lets a face go on: objects change, come and go, with what hangs below them.
func (w world) live(face merge.Face, loss bool) merge.Face {
	next := merge.Face{Objects: map[merge.Ref]merge.Object{}, Deleted: maps.Clone(face.Deleted)}
	if next.Deleted == nil {
		next.Deleted = map[merge.Ref]bool{}
	}
	for ref, object := range face.Objects {
		object.Fields = maps.Clone(object.Fields)
		next.Objects[ref] = object
	}
	for _, object := range w.objects() {
		old, there := next.Objects[object.Ref]
		switch w.IntN(8) {
		case 0, 1:
			if there {
				w.fill(old)
			}
		case 2:
			if !there && !next.Deleted[object.Ref] && !loss {
				next.Objects[object.Ref] = w.fresh(object)
			}
		case 3:
			if !there {
				continue
			}
			for _, ref := range tree(object.Ref, next) {
				delete(next.Objects, ref)
				if !loss && w.IntN(5) > 0 {
					next.Deleted[ref] = true
				}
			}
		}
	}
	return next
}

// tree is an object and all below it.
func tree(root merge.Ref, face merge.Face) []merge.Ref {
	refs := []merge.Ref{root}
	for range 3 {
		for ref, object := range face.Objects {
			if slices.Contains(refs, object.Parent) && !slices.Contains(refs, ref) {
				refs = append(refs, ref)
			}
		}
	}
	return refs
}

func (w world) record() merge.Record {
	empty := merge.Face{}
	if w.wild {
		return merge.Record{Taken: w.live(w.live(empty, false), false), Loaded: w.live(w.live(empty, false), false), Local: w.live(w.live(empty, false), false), Central: w.live(w.live(empty, false), false)}
	}
	taken := w.live(w.live(w.live(empty, false), false), false)
	taken.Deleted = nil
	loaded := taken
	if w.IntN(3) == 0 {
		loaded = w.live(taken, true)
	}
	return merge.Record{Taken: taken, Loaded: loaded, Local: w.live(loaded, false), Central: w.live(taken, false)}
}

func (w world) rules() merge.Rules {
	rules := merge.Rules{}
	if w.IntN(3) == 0 {
		rules.Unit = func(_ merge.Object, field string) string {
			if strings.HasSuffix(field, "a") {
				return "a"
			}
			return ""
		}
	}
	if w.IntN(3) == 0 {
		rules.Skip = func(_ merge.Object, field string) bool { return field == "bbbbbbbbbbb" }
	}
	if w.IntN(2) == 0 {
		seed := w.Uint64()
		rules.Decide = func(change merge.Change) merge.Decision {
			h := fnv.New64a()
			fmt.Fprint(h, seed, change.Ref, change.Field)
			return []merge.Decision{merge.Undecided, merge.ForLocal, merge.ForCentral}[h.Sum64()%3]
		}
	}
	return rules
}

const rounds = 5000

// each runs a check on many random records.
func each(t *testing.T, check func(t *testing.T, w world, record merge.Record, rules merge.Rules)) {
	t.Helper()
	for seed := range uint64(rounds) {
		w := world{Rand: rand.New(rand.NewPCG(seed, 1)), wild: seed%4 == 3}
		record, rules := w.record(), w.rules()
		check(t, w, record, rules)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, show(record))
		}
	}
}

// show writes a record in the words of testdata.
func show(record merge.Record) string {
	var b strings.Builder
	for name, face := range map[string]merge.Face{"taken": record.Taken, "loaded": record.Loaded, "local": record.Local, "central": record.Central} {
		for ref, object := range face.Objects {
			fmt.Fprintf(&b, "%s %s %s < %s %s:", name, ref.Kind, ref.UID, object.Parent.Kind, object.Parent.UID)
			for _, field := range slices.Sorted(maps.Keys(object.Fields)) {
				fmt.Fprintf(&b, " %s=%s", field, object.Fields[field])
			}
			b.WriteString("\n")
		}
		for ref := range face.Deleted {
			fmt.Fprintf(&b, "%s deleted %s %s\n", name, ref.Kind, ref.UID)
		}
	}
	lines := strings.Split(b.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestConservation: whatever local holds differently from loaded is in exactly one change, and nothing else is.
func TestConservation(t *testing.T) {
	each(t, func(t *testing.T, _ world, record merge.Record, rules merge.Rules) {
		checkConservation(t, record, merge.Compare(record, rules))
	})
}

func checkConservation(t *testing.T, record merge.Record, changes []merge.Change) {
	t.Helper()
	type key struct {
		merge.Ref
		field string
	}
	seen := map[key]merge.Change{}
	creates, deletes, of := map[merge.Ref]bool{}, map[merge.Ref]bool{}, map[merge.Ref]int{}
	for i, change := range changes {
		if _, twice := seen[key{change.Ref, change.Field}]; twice {
			t.Errorf("twice: %s", line(change))
		}
		if i > 0 && changes[i-1].Ref.Compare(change.Ref) > 0 {
			t.Errorf("out of order: %s", line(change))
		}
		if (change.Reason == "") != (change.Verdict == merge.Push) {
			t.Errorf("a reason for all but a push: %s", line(change))
		}
		seen[key{change.Ref, change.Field}] = change
		of[change.Ref]++
		creates[change.Ref] = creates[change.Ref] || change.Verb == merge.Create
		deletes[change.Ref] = deletes[change.Ref] || change.Verb == merge.Delete
	}
	for ref, local := range record.Local.Objects {
		loaded, wasLoaded := record.Loaded.Objects[ref]
		if !wasLoaded {
			if _, atCentral := record.Central.Objects[ref]; of[ref] == 0 || !atCentral && (of[ref] != 1 || !creates[ref]) {
				t.Errorf("created %v is in %d changes", ref, of[ref])
			}
			of[ref] = 0
			continue
		}
		fields := maps.Clone(loaded.Fields)
		maps.Copy(fields, local.Fields)
		for field := range fields {
			same := local.Fields[field] == loaded.Fields[field] || strings.HasPrefix(field, "notes.") && local.Fields[field] == ""
			if change, listed := seen[key{ref, field}]; listed == same || listed && change.Verb != merge.Update {
				t.Errorf("field %s of %v: differs %v, listed %v", field, ref, !same, listed)
			}
			if _, listed := seen[key{ref, field}]; listed {
				delete(seen, key{ref, field})
				of[ref]--
			}
		}
	}
	for ref := range record.Loaded.Objects {
		if _, onKit := record.Local.Objects[ref]; onKit {
			continue
		}
		covered, top := deletes[ref], ref
		for range 4 {
			top = record.Loaded.Objects[top].Parent
			covered = covered || deletes[top]
		}
		if !covered {
			t.Errorf("deleted %v is in no change", ref)
		}
		of[ref] = 0
	}
	for ref, count := range of {
		if count != 0 {
			t.Errorf("%v is in %d changes that nobody made", ref, count)
		}
	}
}

// TestNothingFromLoading: what only taken, loaded and central hold differently is no change.
func TestNothingFromLoading(t *testing.T) {
	each(t, func(t *testing.T, _ world, record merge.Record, rules merge.Rules) {
		record.Local = record.Loaded
		if changes := merge.Compare(record, rules); len(changes) > 0 {
			t.Errorf("nobody changed anything: %s", line(changes[0]))
		}
	})
}

// TestNothingToConflict: as long as central did nothing, all that was taken and is proven goes home.
func TestNothingToConflict(t *testing.T) {
	each(t, func(t *testing.T, w world, record merge.Record, _ merge.Rules) {
		if w.wild {
			return
		}
		record.Central = record.Taken
		for _, change := range merge.Compare(record, merge.Rules{}) {
			_, wasTaken := record.Taken.Objects[change.Ref]
			_, wasLoaded := record.Loaded.Objects[change.Ref]
			note := strings.HasPrefix(change.Field, "notes.") || change.Kind == merge.Relationship
			if change.Verdict == merge.Conflict && change.Reason != "together with status" && merge.Beyond(change, record) == "" &&
				!strings.Contains(change.Reason, "never reached the kit") && wasTaken == wasLoaded && !note {
				t.Errorf("with whom? %s", line(change))
			}
		}
	})
}

// TestIdempotence: once all pushes have arrived and are laid over the snapshot, and what was dropped too, nothing is
// left to push or drop, and what was held is as it was.
func TestIdempotence(t *testing.T) {
	each(t, func(t *testing.T, w world, record merge.Record, rules merge.Rules) {
		if w.wild {
			return
		}
		first := merge.Compare(record, rules)
		after := merge.Overlay(arrived(record, first), pushed(record, first, rules))
		var held []merge.Change
		for _, change := range first {
			if change.Verdict != merge.Push && change.Verdict != merge.Dropped {
				held = append(held, change)
			}
		}
		second := merge.Compare(after, rules)
		if rules.Decide != nil {
			// What both sides created is no creation any more once something of it was decided.
			met := func(c merge.Change) bool { return c.Verb == merge.Create && c.Verdict == merge.AlreadyThere }
			held, second = slices.DeleteFunc(held, met), slices.DeleteFunc(second, met)
			for _, changes := range [][]merge.Change{held, second} {
				for i := range changes {
					changes[i].Reason = strings.Replace(changes[i].Reason, "created on", "changed on", 1)
				}
			}
		}
		if diff := cmp.Diff(held, second, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("second run (-held +got):\n%s", diff)
		}
	})
}

// arrived returns the record with the pushes applied to central.
func arrived(record merge.Record, changes []merge.Change) merge.Record {
	central := merge.Face{Objects: map[merge.Ref]merge.Object{}, Deleted: maps.Clone(record.Central.Deleted)}
	for ref, object := range record.Central.Objects {
		object.Fields = maps.Clone(object.Fields)
		central.Objects[ref] = object
	}
	for _, change := range changes {
		if change.Verdict != merge.Push {
			continue
		}
		switch change.Verb {
		case merge.Create:
			central.Objects[change.Ref] = record.Local.Objects[change.Ref]
		case merge.Update:
			central.Objects[change.Ref].Fields[change.Field] = change.Local
		case merge.Delete:
			for _, ref := range tree(change.Ref, central) {
				delete(central.Objects, ref)
				central.Deleted[ref] = true
			}
		}
	}
	record.Central = central
	return record
}

func pushed(record merge.Record, changes []merge.Change, rules merge.Rules) []merge.Base {
	var bases []merge.Base
	for _, change := range changes {
		settled := change.Verdict == merge.Push || change.Verdict == merge.Dropped
		if settled && rules.Decide != nil && rules.Decide(change) != merge.Undecided && !strings.HasPrefix(change.Field, "notes.") {
			bases = append(bases, merge.Met(change.Ref, record, changes)...)
		}
	}
	for _, change := range changes {
		switch change.Verdict {
		case merge.Push:
			bases = append(bases, merge.Pushed(change, record.Local.Objects[change.Ref])...)
		case merge.Dropped:
			bases = append(bases, merge.LetGo(change, record)...)
		}
	}
	return bases
}

// TestPure: the same record in other maps gives the same answer, and the arguments stay as they were.
func TestPure(t *testing.T) {
	each(t, func(t *testing.T, w world, record merge.Record, rules merge.Rules) {
		before := show(record)
		changes := merge.Compare(record, rules)
		merge.Overlay(record, pushed(record, changes, rules))
		if after := show(record); after != before {
			t.Errorf("the record was changed:\n%s", after)
		}
		copied := merge.Record{Taken: shuffled(w, record.Taken), Loaded: shuffled(w, record.Loaded), Local: shuffled(w, record.Local), Central: shuffled(w, record.Central)}
		if diff := cmp.Diff(changes, merge.Compare(copied, rules)); diff != "" {
			t.Errorf("the order of maps matters (-first +second):\n%s", diff)
		}
	})
}

// shuffled copies a face, putting its objects in another order.
func shuffled(w world, face merge.Face) merge.Face {
	refs := slices.Collect(maps.Keys(face.Objects))
	w.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
	copied := merge.Face{Objects: map[merge.Ref]merge.Object{}, Deleted: face.Deleted}
	for _, ref := range refs {
		copied.Objects[ref] = face.Objects[ref]
	}
	return copied
}

// FuzzCompare: no record makes it panic, lose a change or count one twice.
func FuzzCompare(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, wild bool) {
		w := world{Rand: rand.New(rand.NewPCG(seed, 2)), wild: wild}
		record, rules := w.record(), w.rules()
		changes := merge.Compare(record, rules)
		checkConservation(t, record, changes)
		merge.Merged(record)
		merge.Compare(merge.Overlay(record, pushed(record, changes, rules)), rules)
	})
}

// BenchmarkCompare compares 20,000 patients of 5 objects each, every object changed in one field.
func BenchmarkCompare(b *testing.B) {
	const patients, objects = 20000, 5
	records := make([]merge.Record, patients)
	for i := range records {
		records[i] = changedPatient(i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		for _, record := range records {
			if got := len(merge.Compare(record, merge.Rules{})); got != objects {
				b.Fatalf("%d changes", got)
			}
		}
	}
	b.ReportMetric(float64(b.N)*patients*objects/b.Elapsed().Seconds(), "objects/s")
}

func changedPatient(i int) merge.Record {
	face := func(value string) merge.Face {
		patient := merge.Ref{Kind: merge.TrackedEntity, UID: fmt.Sprintf("p%010d", i)}
		enrollment := merge.Ref{Kind: merge.Enrollment, UID: fmt.Sprintf("n%010d", i)}
		objects := map[merge.Ref]merge.Object{
			patient:    {Ref: patient, Fields: tenFields(value)},
			enrollment: {Ref: enrollment, Parent: patient, Fields: tenFields(value)},
		}
		for visit := range 3 {
			event := merge.Ref{Kind: merge.Event, UID: fmt.Sprintf("e%07d%03d", i, visit)}
			objects[event] = merge.Object{Ref: event, Parent: enrollment, Fields: tenFields(value)}
		}
		return merge.Face{Objects: objects}
	}
	before := face("61")
	return merge.Record{Taken: before, Loaded: before, Local: face("62"), Central: before}
}

func tenFields(value string) map[string]string {
	fields := map[string]string{"status": "ACTIVE", "orgUnit": "P1J4eyjXQeT", "weightValue": value}
	for i := range 7 {
		fields[fmt.Sprintf("element%04d", i)] = "a value of usual length"
	}
	return fields
}

// BenchmarkHashTree hashes the same patients' objects.
func BenchmarkHashTree(b *testing.B) {
	var objects []merge.Object
	for _, object := range changedPatient(1).Local.Objects {
		objects = append(objects, object)
	}
	b.ReportAllocs()
	for b.Loop() {
		merge.HashTree(objects)
	}
	b.ReportMetric(float64(b.N*len(objects))/b.Elapsed().Seconds(), "objects/s")
}
