package snapshot

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// Drift is a change of central's metadata since a snapshot was taken, in something that records use. It is why central may
// refuse them.
type Drift struct {
	foundLockOut
}

// Usage is what some records use of the metadata that they were made with: programs and stages, types, attributes, data
// elements and options, forms, org units.
type Usage struct {
	then *forms
	// options are their uids, by set and code.
	options map[[2]string]string
	used    map[metadataKey]bool
}

// metadataKey names a metadata object.
type metadataKey struct{ class, uid string }

// NewUsage begins with nothing used of a snapshot's metadata.
func NewUsage(then Carried) (*Usage, error) {
	then.Metadata = maps.Clone(then.Metadata)
	for _, class := range []string{"users", "programRules", "programRuleActions", "categoryOptions"} {
		delete(then.Metadata, class)
	}
	read, err := readForms(then)
	if err != nil {
		return nil, fmt.Errorf("metadata of the snapshot: %w", err)
	}
	u := &Usage{then: read, options: map[[2]string]string{}, used: map[metadataKey]bool{}}
	for id, option := range read.options {
		u.options[[2]string{option.OptionSet.ID, option.Code}] = id
	}
	return u, nil
}

// Note adds what a record uses.
func (u *Usage) Note(record merge.Object) { maps.Copy(u.used, u.of(record)) }

// of is what a record uses.
func (u *Usage) of(record merge.Object) map[metadataKey]bool {
	used := map[metadataKey]bool{}
	add := func(class, uid string) {
		if uid != "" {
			used[metadataKey{class, uid}] = true
		}
	}
	program := record.Fields[merge.FieldProgram]
	switch record.Kind {
	case merge.TrackedEntity:
		add("trackedEntityTypes", record.Fields["trackedEntityType"])
	case merge.Enrollment, merge.Event:
		add("programs", program)
		add("programStages", record.Fields["programStage"])
	case merge.DataValue, merge.Completion:
		u.addForm(record, add)
	}
	add("organisationUnits", record.Fields[merge.FieldOrgUnit])
	for field, value := range record.Fields {
		class, element := "dataElements", u.then.elements[field]
		if attribute, is := u.then.attributes[field]; is {
			class, element = "trackedEntityAttributes", attribute
		}
		if element.ID == "" {
			continue
		}
		add(class, field)
		for _, code := range append(strings.Split(value, ","), value) { // several of a MULTI_TEXT
			add("options", u.options[[2]string{element.OptionSet.ID, code}])
		}
	}
	return used
}

// addForm adds what a value or a completion uses. A value's data set is any that has its data element.
func (u *Usage) addForm(record merge.Object, add func(class, uid string)) {
	parts := strings.Split(record.UID, ".")
	if len(parts) < 3 {
		return
	}
	add("organisationUnits", parts[2])
	if record.Kind == merge.Completion {
		add("dataSets", parts[0])
		return
	}
	add("dataElements", parts[0])
	for id, dataSet := range u.then.dataSets {
		if slices.ContainsFunc(dataSet.DataSetElements, func(field lockField) bool { return field.DataElement.ID == parts[0] }) {
			add("dataSets", id)
		}
	}
}

// Touches tells whether a drift is about something that the record uses; what must now be filled in is, of records that are
// to be filled in there and do not have it.
func (u *Usage) Touches(d Drift, record merge.Object) bool {
	used := u.of(record)
	if d.form == "" {
		return used[metadataKey{d.Class, d.UID}]
	}
	for _, class := range []string{"programs", "programStages", "trackedEntityTypes"} {
		if used[metadataKey{class, d.form}] {
			return record.Fields[d.UID] == ""
		}
	}
	return false
}

// Drifts asks central for what is used, in some ten requests whatever the number of records, and lists how it differs from
// the snapshot; what may be refused for it says LockOuts. Rules of programs and people are not among it.
func (u *Usage) Drifts(ctx context.Context, central *dhis2api.Client) ([]Drift, error) {
	was := u.usedThen()
	is, err := readNow(ctx, central, was)
	if err != nil {
		return nil, err
	}
	c := &lockOuts{before: was, after: is}
	missing(c, "programs", was.programs, is.programs)
	missing(c, "programStages", was.stages, is.stages)
	missing(c, "trackedEntityTypes", was.types, is.types)
	missing(c, "trackedEntityAttributes", was.attributes, is.attributes)
	missing(c, "dataElements", was.elements, is.elements)
	missing(c, "dataSets", was.dataSets, is.dataSets)
	missing(c, "organisationUnits", was.units, is.units)
	u.onlyUsed(was, is)
	for _, compare := range []func(){c.programs, c.stages, c.attributes, c.dataSets, c.elements, c.options, c.units} {
		compare()
	}
	var drifts []Drift
	for _, one := range c.sorted() {
		one.Whom, one.Remedy = "", remedyOf(one)
		drifts = append(drifts, Drift{one})
	}
	return drifts, nil
}

// remedyOf says what can be done about a drift.
func remedyOf(d foundLockOut) string {
	switch {
	case d.form != "":
		return "fill it in on the kit, or let central's administrator make it optional again; then reconcile again"
	case d.Class == "options":
		return "enter another option on the kit, or let central's administrator bring it back; then reconcile again"
	}
	return "let central's administrator put it back for the time that reconcile takes, or enter it at central by hand"
}

// missing names what central no longer has, and leaves it out of what is compared further.
func missing[T interface{ called() object }](c *lockOuts, class string, was, is map[string]T) {
	for _, id := range sortedIDs(was) {
		if _, there := is[id]; !there {
			c.add(class, was[id].called(), "", "is no longer there")
			delete(was, id)
		}
	}
}

// called is the object itself.
func (o object) called() object { return o }

// usedThen is what is used, as the snapshot has it.
func (u *Usage) usedThen() *forms {
	was := &forms{
		scope: u.then.scope, parents: u.then.parents, optionSets: u.then.optionSets,
		programs: map[string]lockProgram{}, stages: map[string]lockStage{}, types: map[string]lockType{}, dataSets: map[string]lockDataSet{},
		attributes: map[string]lockElement{}, elements: map[string]lockElement{}, options: map[string]lockOption{}, units: map[string]lockPeriod{},
	}
	for key := range u.used {
		copyUsed(key, "programs", u.then.programs, was.programs)
		copyUsed(key, "programStages", u.then.stages, was.stages)
		copyUsed(key, "trackedEntityTypes", u.then.types, was.types)
		copyUsed(key, "trackedEntityAttributes", u.then.attributes, was.attributes)
		copyUsed(key, "dataElements", u.then.elements, was.elements)
		copyUsed(key, "dataSets", u.then.dataSets, was.dataSets)
		copyUsed(key, "options", u.then.options, was.options)
		copyUsed(key, "organisationUnits", u.then.units, was.units)
	}
	return was
}

func copyUsed[T any](key metadataKey, class string, from, to map[string]T) {
	if one, there := from[key.uid]; there && key.class == class {
		to[key.uid] = one
	}
}

// lockUnit is an org unit with the forms that it has.
type lockUnit struct {
	lockPeriod
	Programs, DataSets []lockRef
}

// readNow reads from central what is used, as far as it can refuse a record.
func readNow(ctx context.Context, central *dhis2api.Client, was *forms) (*forms, error) {
	is := &forms{scope: was.scope, parents: was.parents}
	const field = "mandatory,compulsory,trackedEntityAttribute[id],dataElement[id],categoryCombo[id]"
	var units map[string]lockUnit
	r := usedReading{ctx: ctx, central: central}
	readUsed(&r, "programs", sortedIDs(was.programs), "id,name,code,trackedEntityType[id],categoryCombo[id],onlyEnrollOnce,"+
		"selectEnrollmentDatesInFuture,selectIncidentDatesInFuture,expiryDays,completeEventsExpiryDays,programStages[id],"+
		"programTrackedEntityAttributes["+field+"]", &is.programs)
	readUsed(&r, "programStages", sortedIDs(was.stages), "id,name,code,program[id],repeatable,validationStrategy,"+
		"programStageDataElements["+field+"]", &is.stages)
	readUsed(&r, "trackedEntityTypes", sortedIDs(was.types), "id,name,code,trackedEntityTypeAttributes["+field+"]", &is.types)
	readUsed(&r, "dataSets", sortedIDs(was.dataSets), "id,name,code,categoryCombo[id],expiryDays,openFuturePeriods,"+
		"dataSetElements["+field+"]", &is.dataSets)
	readUsed(&r, "options", sortedIDs(was.options), "id,name,code,optionSet[id]", &is.options)
	readUsed(&r, "organisationUnits", sortedIDs(was.units), "id,name,code,openingDate,closedDate,programs[id],dataSets[id]", &units)
	attributes, elements := filledIn(was, is)
	readUsed(&r, "trackedEntityAttributes", attributes, "id,name,code,valueType,optionSet[id],unique", &is.attributes)
	readUsed(&r, "dataElements", elements, "id,name,code,valueType,optionSet[id],categoryCombo[id]", &is.elements)
	sets := map[string]bool{}
	for _, side := range [][2]map[string]lockElement{{was.attributes, is.attributes}, {was.elements, is.elements}} {
		for id, element := range side[0] {
			sets[element.OptionSet.ID], sets[side[1][id].OptionSet.ID] = true, true
		}
	}
	delete(sets, "")
	readUsed(&r, "optionSets", slices.Sorted(maps.Keys(sets)), "id,name,code", &is.optionSets)
	is.units = map[string]lockPeriod{}
	for id, unit := range units {
		is.units[id] = unit.lockPeriod
		for _, program := range unit.Programs {
			if one, used := is.programs[program.ID]; used {
				one.OrganisationUnits = append(one.OrganisationUnits, lockRef{id})
				is.programs[program.ID] = one
			}
		}
		for _, dataSet := range unit.DataSets {
			if one, used := is.dataSets[dataSet.ID]; used {
				one.OrganisationUnits = append(one.OrganisationUnits, lockRef{id})
				is.dataSets[dataSet.ID] = one
			}
		}
	}
	return is, r.err
}

// filledIn are the attributes and data elements that are used, and those that must be filled in now.
func filledIn(was, is *forms) (attributes, elements []string) {
	attributes, elements = sortedIDs(was.attributes), sortedIDs(was.elements)
	add := func(fields []lockField) {
		for _, field := range fields {
			if id := field.TrackedEntityAttribute.ID; id != "" && field.Mandatory {
				attributes = append(attributes, id)
			}
			if id := field.DataElement.ID; id != "" && field.Compulsory {
				elements = append(elements, id)
			}
		}
	}
	for _, program := range is.programs {
		add(program.ProgramTrackedEntityAttributes)
	}
	for _, one := range is.types {
		add(one.TrackedEntityTypeAttributes)
	}
	for _, stage := range is.stages {
		add(stage.ProgramStageDataElements)
	}
	slices.Sort(attributes)
	slices.Sort(elements)
	return slices.Compact(attributes), slices.Compact(elements)
}

// usedReading reads from central until something fails, and keeps why.
type usedReading struct {
	ctx     context.Context
	central *dhis2api.Client
	err     error
}

// readUsed reads some objects of a class.
func readUsed[T any](r *usedReading, class string, uids []string, fields string, into *map[string]T) {
	*into = map[string]T{}
	for some := range slices.Chunk(uids, idsAtOnce) {
		if r.err != nil {
			return
		}
		read := Metadata{}
		query := dhis2api.ListQuery{Fields: fields, Filters: []string{"id:in:[" + strings.Join(some, ",") + "]"}}
		for raw, err := range r.central.List(r.ctx, class, query) {
			if err != nil {
				r.err = fmt.Errorf("metadata: %s: %w", class, err)
				return
			}
			read[class] = append(read[class], raw)
		}
		var objects map[string]T
		r.err = readObjects(read, class, &objects)
		maps.Copy(*into, objects)
	}
}

// onlyUsed leaves out of both sides what no record uses: units that a form is assigned to, places of a form but those that
// must be filled in, and who may enter data, since one account sends it all.
func (u *Usage) onlyUsed(was, is *forms) {
	units := func(all []lockRef) []lockRef {
		return slices.DeleteFunc(slices.Clone(all), func(unit lockRef) bool { return !u.used[metadataKey{"organisationUnits", unit.ID}] })
	}
	places := func(all []lockField) []lockField {
		return slices.DeleteFunc(slices.Clone(all), func(field lockField) bool {
			return !field.Mandatory && !field.Compulsory && !u.used[metadataKey{"dataElements", field.DataElement.ID}] &&
				!u.used[metadataKey{"trackedEntityAttributes", field.TrackedEntityAttribute.ID}]
		})
	}
	for id, program := range was.programs {
		program.OrganisationUnits, program.Sharing = units(program.OrganisationUnits), sharing{}
		now := is.programs[id]
		program.ProgramTrackedEntityAttributes, now.ProgramTrackedEntityAttributes = both(program.ProgramTrackedEntityAttributes, now.ProgramTrackedEntityAttributes, places)
		was.programs[id], is.programs[id] = program, now
	}
	for id, stage := range was.stages {
		stage.Sharing = sharing{}
		now := is.stages[id]
		stage.ProgramStageDataElements, now.ProgramStageDataElements = both(stage.ProgramStageDataElements, now.ProgramStageDataElements, places)
		was.stages[id], is.stages[id] = stage, now
	}
	for id, one := range was.types {
		now := is.types[id]
		one.TrackedEntityTypeAttributes, now.TrackedEntityTypeAttributes = both(one.TrackedEntityTypeAttributes, now.TrackedEntityTypeAttributes, places)
		was.types[id], is.types[id] = one, now
	}
	for id, dataSet := range was.dataSets {
		dataSet.OrganisationUnits, dataSet.Sharing = units(dataSet.OrganisationUnits), sharing{}
		now := is.dataSets[id]
		dataSet.DataSetElements, now.DataSetElements = both(dataSet.DataSetElements, now.DataSetElements, places)
		was.dataSets[id], is.dataSets[id] = dataSet, now
	}
}

// both reduces the places of a form on both sides. What must be filled in on one side only stays on both.
func both(was, is []lockField, reduce func([]lockField) []lockField) (before, after []lockField) {
	before, after = reduce(was), reduce(is)
	add := func(to, from, of []lockField) []lockField {
		for _, field := range of {
			if i := slices.IndexFunc(from, field.samePlace); i >= 0 && !slices.ContainsFunc(to, field.samePlace) {
				to = append(to, from[i])
			}
		}
		return to
	}
	return add(before, was, after), add(after, is, before)
}
