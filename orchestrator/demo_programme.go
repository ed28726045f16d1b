package orchestrator

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// demoMetadata is the programme of the demo: a mobile clinic in the district of Besikó, and its neighbour, which
// the kit does not carry. Every object has a code, by which the demo calls it.
//
//go:embed demodata/metadata.json
var demoMetadata json.RawMessage //nolint:gochecknoglobals // an embedded file

// demoPatients are the people of the demo. They are invented.
//
//go:embed demodata/patients.json
var demoPatients []byte //nolint:gochecknoglobals // an embedded file

// demoProgramme knows the demo's metadata and people, and makes tracker objects of them.
type demoProgramme struct {
	// clinic is a time on the day of the clinic, in the servers' zone.
	clinic time.Time
	uids   map[string]string
	people []demoPatient
}

// demoPatient is one invented person.
type demoPatient struct {
	Key     string `json:"key"`
	Village string `json:"village"`
	// Attributes are values by the attribute's code.
	Attributes map[string]string `json:"attributes"`
}

func newDemoProgramme(clinic time.Time) (*demoProgramme, error) {
	p := &demoProgramme{clinic: clinic, uids: map[string]string{}}
	var classes map[string][]struct{ ID, Code string }
	if err := json.Unmarshal(demoMetadata, &classes); err != nil {
		return nil, fmt.Errorf("the demo's metadata: %w", err)
	}
	for _, objects := range classes {
		for _, object := range objects {
			p.uids[object.Code] = object.ID
		}
	}
	if err := json.Unmarshal(demoPatients, &p.people); err != nil {
		return nil, fmt.Errorf("the demo's patients: %w", err)
	}
	return p, nil
}

// id is the uid of a piece of metadata by its code.
func (p *demoProgramme) id(code string) string { return p.uids[code] }

// record is the uid of a record that the demo calls by a name: the same in every demo, so that reports can be
// compared.
func (p *demoProgramme) record(name string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const all = letters + "0123456789"
	sum := sha256.Sum256([]byte("fieldkit demo record " + name))
	number, digit := new(big.Int).SetBytes(sum[:]), new(big.Int)
	number.DivMod(number, big.NewInt(int64(len(letters))), digit)
	uid := []byte{letters[digit.Int64()]}
	for len(uid) < 11 {
		number.DivMod(number, big.NewInt(int64(len(all))), digit)
		uid = append(uid, all[digit.Int64()])
	}
	return string(uid)
}

func enrollmentOf(patient string) string          { return patient + "'s enrollment" }
func earlierEventOf(patient, stage string) string { return patient + " earlier at " + stage }
func eventOf(patient, stage string) string        { return patient + " at " + stage }
func motherhoodOf(mother, child string) string    { return mother + " mother of " + child }
func (p *demoProgramme) date(t time.Time) string  { return t.Format(time.DateOnly) }
func (p *demoProgramme) period() string           { return p.clinic.Format("200601") }
func (p *demoProgramme) earlier() time.Time       { return p.clinic.AddDate(0, -3, 0) }
func (p *demoProgramme) at(t time.Time, clock string) string {
	return p.date(t) + "T" + clock + ":00.000"
}

// person finds a patient by key.
func (p *demoProgramme) person(key string) demoPatient {
	for _, person := range p.people {
		if person.Key == key {
			return person
		}
	}
	return demoPatient{Key: key}
}

// known are the keys of the patients that central knows before the trip: the first twelve.
func (p *demoProgramme) known() []string {
	var keys []string
	for _, person := range p.people[:12] {
		keys = append(keys, person.Key)
	}
	return keys
}

// patient is a patient enrolled on a day, without events.
func (p *demoProgramme) patient(key string, enrolled time.Time) *dhis2api.TrackedEntity {
	person := p.person(key)
	patient := p.changed(key, person.Attributes)
	patient.Enrollments = []*dhis2api.Enrollment{p.enrollment(key, enrolled)}
	return patient
}

// changed is a patient with some attributes, by code, and nothing else.
func (p *demoProgramme) changed(key string, attributes map[string]string) *dhis2api.TrackedEntity {
	patient := &dhis2api.TrackedEntity{
		TrackedEntity: p.record(key), TrackedEntityType: p.id("PATIENT"), OrgUnit: p.id(p.person(key).Village),
	}
	for _, code := range slices.Sorted(maps.Keys(attributes)) {
		patient.Attributes = append(patient.Attributes, dhis2api.Attribute{Attribute: p.id(code), Value: attributes[code]})
	}
	return patient
}

func (p *demoProgramme) enrollment(key string, enrolled time.Time) *dhis2api.Enrollment {
	return &dhis2api.Enrollment{
		Enrollment: p.record(enrollmentOf(key)), TrackedEntity: p.record(key), Program: p.id("CLINIC_VISIT"),
		OrgUnit: p.id(p.person(key).Village), Status: "ACTIVE", EnrolledAt: p.date(enrolled), OccurredAt: p.date(enrolled),
	}
}

// event is a patient's visit to a station.
func (p *demoProgramme) event(name, key, stage, occurred string, values map[string]string) *dhis2api.Event {
	return &dhis2api.Event{
		Event: p.record(name), Program: p.id("CLINIC_VISIT"), ProgramStage: p.id(stage), Enrollment: p.record(enrollmentOf(key)),
		TrackedEntity: p.record(key), OrgUnit: p.id(p.person(key).Village), Status: "ACTIVE", OccurredAt: occurred, DataValues: p.values(values),
	}
}

func (p *demoProgramme) values(values map[string]string) []dhis2api.EventDataValue {
	var list []dhis2api.EventDataValue
	for _, code := range slices.Sorted(maps.Keys(values)) {
		list = append(list, dhis2api.EventDataValue{DataElement: p.id(code), Value: values[code]})
	}
	return list
}

// earlierPatient is a patient as central knows her before the trip: seen at triage and by the provider three
// months ago.
func (p *demoProgramme) earlierPatient(key string) *dhis2api.TrackedEntity {
	patient := p.patient(key, p.earlier())
	patient.Enrollments[0].Events = []*dhis2api.Event{
		p.event(earlierEventOf(key, "TRIAGE"), key, "TRIAGE", p.at(p.earlier(), "09:00"), map[string]string{"WEIGHT": "61.5", "REASON": "Check-up"}),
		p.event(earlierEventOf(key, "PROVIDER"), key, "PROVIDER", p.at(p.earlier(), "09:40"), map[string]string{"DIAGNOSIS": "SKIN", "TREATMENT": "Ointment, twice a day"}),
	}
	return patient
}

// motherhood ties a mother to her child.
func (p *demoProgramme) motherhood(mother, child string) *dhis2api.Relationship {
	return &dhis2api.Relationship{
		Relationship: p.record(motherhoodOf(mother, child)), RelationshipType: p.id("MOTHER_OF"),
		From: dhis2api.ItemRef(dhis2api.KindTrackedEntity, p.record(mother)), To: dhis2api.ItemRef(dhis2api.KindTrackedEntity, p.record(child)),
	}
}

// waterSample is the check of a water point.
func (p *demoProgramme) waterSample(village, chlorine, safe string) *dhis2api.Event {
	return &dhis2api.Event{
		Event: p.record("water of " + village), Program: p.id("WATER_POINTS"), ProgramStage: p.id("WATER_SAMPLE"), OrgUnit: p.id(village),
		Status: "COMPLETED", OccurredAt: p.at(p.clinic, "07:30"), DataValues: p.values(map[string]string{"CHLORINE": chlorine, "WATER_SAFE": safe}),
	}
}

// importAll sends a payload, all of which the server has to take.
func importAll(ctx context.Context, client *dhis2api.Client, payload dhis2api.TrackerPayload, strategy dhis2api.ImportStrategy) error {
	answer, err := client.Import(ctx, payload, dhis2api.ImportOptions{Strategy: strategy, AtomicMode: dhis2api.AtomicAll})
	if err != nil {
		return err
	}
	return takenAll(client, answer)
}

// takenAll is an error when a server refused anything.
func takenAll(client *dhis2api.Client, answer *dhis2api.ImportReport) error {
	if len(answer.Errors) == 0 && !answer.Refused() {
		return nil
	}
	for _, problem := range answer.Errors {
		return fmt.Errorf("%s refuses %s %s: %s", client.BaseURL(), problem.Kind, problem.UID, problem.Code)
	}
	return fmt.Errorf("%s refuses an import: %s", client.BaseURL(), answer.Status)
}
