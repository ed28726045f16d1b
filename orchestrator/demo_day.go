package orchestrator

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// demoStations are the accounts of the clinic's stations, in the order in which patients pass them.
func demoStations() []string { return []string{"triage", "provider", "pharmacy"} }

// demoVisit is one patient's way through the clinic: values by data element's code, station by station. A
// station without values was not visited.
type demoVisit struct {
	patient string
	// isNew: registered today.
	isNew                      bool
	triage, provider, pharmacy map[string]string
}

// demoVisits are all visits of the day.
func demoVisits() []demoVisit {
	return []demoVisit{
		{
			patient: "benito", triage: map[string]string{"WEIGHT": "68.5", "BLOOD_PRESSURE": "155/95", "REASON": "Headache"},
			provider: map[string]string{"DIAGNOSIS": "HYPERTENSION", "TREATMENT": "One tablet a day, less salt", "REFERRED": "false"},
			pharmacy: map[string]string{"MEDICINE": "AMLODIPINE", "DOSES": "30"},
		},
		{
			patient: "celestina", triage: map[string]string{"WEIGHT": "57", "TEMPERATURE": "38.2", "REASON": "Cough"},
			provider: map[string]string{"DIAGNOSIS": "RESPIRATORY", "TREATMENT": "Five days"},
			pharmacy: map[string]string{"MEDICINE": "AMOXICILLIN", "DOSES": "15"},
		},
		{
			patient: "luz", isNew: true, triage: map[string]string{"WEIGHT": "7.9", "TEMPERATURE": "36.8", "REASON": "First check-up"},
			provider: map[string]string{"DIAGNOSIS": "WELL_CHILD"},
		},
		{
			patient: "dalia", triage: map[string]string{"WEIGHT": "54.2", "BLOOD_PRESSURE": "110/70", "REASON": "Pregnancy"},
			provider: map[string]string{"DIAGNOSIS": "PREGNANCY", "TREATMENT": "Iron for three months", "REFERRED": "false"},
			pharmacy: map[string]string{"MEDICINE": "IRON_FOLATE", "DOSES": "90"},
		},
		{
			patient: "ernesto", isNew: true, triage: map[string]string{"WEIGHT": "71", "TEMPERATURE": "36.5", "REASON": "Diarrhoea"},
			provider: map[string]string{"DIAGNOSIS": "DIARRHOEA", "REFERRED": "false"},
			pharmacy: map[string]string{"MEDICINE": "ORS_ZINC", "DOSES": "10"},
		},
		{patient: "rosaura", isNew: true, triage: map[string]string{"WEIGHT": "60.3", "REASON": "Check-up"}},
		{
			patient: "tomas", isNew: true, triage: map[string]string{"WEIGHT": "12.4", "REASON": "Worms"},
			provider: map[string]string{"DIAGNOSIS": "WELL_CHILD"}, pharmacy: map[string]string{"MEDICINE": "ALBENDAZOLE", "DOSES": "1"},
		},
	}
}

// station is one place at the clinic with its tablet.
type station struct {
	name   string
	client *dhis2api.Client
}

// upload sends what the tablet holds as tablets do: as a job, whose report it waits for.
func (s station) upload(ctx context.Context, payload dhis2api.TrackerPayload, strategy dhis2api.ImportStrategy) error {
	job, err := s.client.ImportAsync(ctx, payload, dhis2api.ImportOptions{Strategy: strategy})
	if err != nil {
		return fmt.Errorf("station %s: %w", s.name, err)
	}
	answer, err := s.client.AwaitImport(ctx, job)
	if err == nil {
		err = takenAll(s.client, answer)
	}
	if err != nil {
		return fmt.Errorf("station %s: %w", s.name, err)
	}
	return nil
}

// clinicDay plays the day. Patients pass from station to station, each of which first looks at what the one
// before has entered.
func (d *demo) clinicDay(ctx context.Context) error {
	var stations []station
	for _, name := range demoStations() {
		client, err := d.login(ctx, d.result.Local, name, demoPassword)
		if err != nil {
			return err
		}
		stations = append(stations, station{name: name, client: client})
	}
	triage, provider, pharmacy := stations[0], stations[1], stations[2]

	group, within := errgroup.WithContext(ctx)
	visits := demoVisits()
	toProvider, toPharmacy := make(chan demoVisit, len(visits)), make(chan demoVisit, len(visits))
	group.Go(func() error {
		defer close(toProvider)
		for _, visit := range visits {
			if err := d.atTriage(within, triage, visit); err != nil {
				return err
			}
			toProvider <- visit
		}
		return nil
	})
	group.Go(func() error {
		defer close(toPharmacy)
		for visit := range toProvider {
			if visit.provider == nil {
				continue
			}
			if err := d.atStation(within, provider, visit.patient, "TRIAGE", "PROVIDER", "10:00", visit.provider); err != nil {
				return err
			}
			toPharmacy <- visit
		}
		return nil
	})
	group.Go(func() error {
		for visit := range toPharmacy {
			if visit.pharmacy == nil {
				continue
			}
			if err := d.atStation(within, pharmacy, visit.patient, "PROVIDER", "PHARMACY", "10:30", visit.pharmacy); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return d.evening(ctx, triage, provider, pharmacy)
}

// atTriage registers who is new, and weighs everybody.
func (d *demo) atTriage(ctx context.Context, triage station, visit demoVisit) error {
	p := d.programme
	event := p.event(eventOf(visit.patient, "TRIAGE"), visit.patient, "TRIAGE", p.at(p.clinic, "09:30"), visit.triage)
	payload := dhis2api.TrackerPayload{Events: []*dhis2api.Event{event}}
	if visit.isNew {
		patient := p.patient(visit.patient, p.clinic)
		patient.Enrollments[0].Events = payload.Events
		payload = dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{patient}}
	}
	return triage.upload(ctx, payload, "")
}

// atStation finds what the station before has entered, and adds its own.
func (d *demo) atStation(ctx context.Context, s station, patient, before, stage, clock string, values map[string]string) error {
	p := d.programme
	seen, err := s.client.TrackedEntity(ctx, p.record(patient), dhis2api.Lookup{Program: p.id("CLINIC_VISIT")})
	if err != nil {
		return fmt.Errorf("station %s: %w", s.name, err)
	}
	found := slices.ContainsFunc(seen.Enrollments, func(enrollment *dhis2api.Enrollment) bool {
		return slices.ContainsFunc(enrollment.Events, func(event *dhis2api.Event) bool { return event.Event == p.record(eventOf(patient, before)) })
	})
	if !found {
		return fmt.Errorf("station %s does not see what %s has entered for %s", s.name, before, p.record(patient))
	}
	event := p.event(eventOf(patient, stage), patient, stage, p.at(p.clinic, clock), values)
	event.Status = "COMPLETED"
	return s.upload(ctx, dhis2api.TrackerPayload{Events: []*dhis2api.Event{event}}, "")
}

// evening is what the stations put right when the last patient has gone.
func (d *demo) evening(ctx context.Context, triage, provider, pharmacy station) error {
	p := d.programme
	// Triage: phones, a birth date, a community; who is whose mother; a weight of last time that was wrong; an
	// event of last time that was entered twice; two water points.
	weight := p.event(earlierEventOf("fidel", "TRIAGE"), "fidel", "TRIAGE", p.at(p.earlier(), "09:00"), map[string]string{"WEIGHT": "16.5"})
	err := triage.upload(ctx, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{
			p.changed("benito", map[string]string{"PHONE": "+507 6555 0101"}),
			p.changed("celestina", map[string]string{"PHONE": "+507 6555 0102", "BIRTH_DATE": "1989-02-02"}),
			p.changed("dionisio", map[string]string{"PHONE": "+507 6555 0103"}),
			p.changed("jacinta", map[string]string{"COMMUNITY": "Boca de Balsa Arriba"}),
		},
		Events:        []*dhis2api.Event{weight, p.waterSample("SOLOY", "0.4", "true"), p.waterSample("CERRO_BANCO", "0.05", "false")},
		Relationships: []*dhis2api.Relationship{p.motherhood("dalia", "luz"), p.motherhood("rosaura", "tomas")},
	}, "")
	if err != nil {
		return err
	}
	twice := &dhis2api.Event{Event: p.record(earlierEventOf("irene", "TRIAGE"))}
	if err := triage.upload(ctx, dhis2api.TrackerPayload{Events: []*dhis2api.Event{twice}}, dhis2api.ImportStrategyDelete); err != nil {
		return err
	}
	// The provider: a treatment that was never given, and a note.
	cleared := p.event(earlierEventOf("gregoria", "PROVIDER"), "gregoria", "PROVIDER", p.at(p.earlier(), "09:40"), map[string]string{"TREATMENT": ""})
	noted := p.enrollment("hilario", p.earlier())
	noted.Notes = []dhis2api.Note{{Note: p.record("note on hilario"), Value: "Away at the coffee harvest, back in January"}}
	err = provider.upload(ctx, dhis2api.TrackerPayload{Enrollments: []*dhis2api.Enrollment{noted}, Events: []*dhis2api.Event{cleared}}, "")
	if err != nil {
		return err
	}
	// The pharmacy counts for the monthly form.
	return d.values(ctx, pharmacy.client, map[string]string{"PEOPLE_SEEN": "28", "CHILDREN_DEWORMED": "1"})
}

// values enters values of the monthly form of Soloy.
func (d *demo) values(ctx context.Context, client *dhis2api.Client, values map[string]string) error {
	set := dhis2api.DataValueSet{DataSet: d.programme.id("MONTHLY")}
	for _, code := range slices.Sorted(maps.Keys(values)) {
		set.DataValues = append(set.DataValues, &dhis2api.DataValue{
			DataElement: d.programme.id(code), Period: d.programme.period(), OrgUnit: d.programme.id("SOLOY"), Value: values[code],
		})
	}
	answer, err := client.ImportDataValues(ctx, set, dhis2api.DataValueImportOptions{})
	if err != nil {
		return err
	}
	for _, conflict := range answer.Conflicts {
		return fmt.Errorf("%s refuses a value of the form: %s", client.BaseURL(), conflict.Code)
	}
	return nil
}

// meanwhile changes records at central that were changed on the kit, too.
func (d *demo) meanwhile(ctx context.Context) error {
	p := d.programme
	reason := p.event(earlierEventOf("fidel", "TRIAGE"), "fidel", "TRIAGE", p.at(p.earlier(), "09:00"), map[string]string{"REASON": "Check-up before school"})
	err := importAll(ctx, d.base, dhis2api.TrackerPayload{
		TrackedEntities: []*dhis2api.TrackedEntity{
			p.changed("benito", map[string]string{"COMMUNITY": "Soloy Centro"}),
			p.changed("celestina", map[string]string{"PHONE": "+507 6999 0102"}),
			p.changed("jacinta", map[string]string{"COMMUNITY": "Boca de Balsa Arriba"}),
			p.patient("yadira", p.clinic), // with the identity card that rosaura shows on the kit
		},
		Events: []*dhis2api.Event{reason},
	}, "")
	if err != nil {
		return err
	}
	gone := &dhis2api.TrackedEntity{TrackedEntity: p.record("dionisio")}
	if err := importAll(ctx, d.base, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{gone}}, dhis2api.ImportStrategyDelete); err != nil {
		return err
	}
	return d.values(ctx, d.base, map[string]string{"HOUSES_VISITED": "14"})
}
