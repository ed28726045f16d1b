package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// samplePage is how many objects of a stream are read to tell what all will take; sampleUnits is how many org units of a
// data set's.
const (
	samplePage  = 200
	sampleUnits = 5
)

// Estimate is what taking a scope would come to, by counts of the server's and by samples.
type Estimate struct {
	Streams []StreamEstimate `json:"streams"`
	// People are the tracked entities of the scope, each once, those without enrollment included.
	People int64 `json:"people"`
	// Values counts the values of each attribute in the samples, scaled up to all.
	Values map[string]int64 `json:"-"`
}

// StreamEstimate is what taking one stream would come to.
type StreamEstimate struct {
	Kind Kind `json:"kind"`
	Subject
	Name string `json:"name"`
	// Objects is how many there are. Counted tells that the server counted or listed them all; otherwise it is
	// scaled up from a sample.
	Objects int64 `json:"objects"`
	Counted bool  `json:"counted"`
	// Below counts what such objects hold, by kind, scaled up from the sample: enrollments, events, relationships.
	Below map[string]int64 `json:"below,omitempty"`
	// Received is the bytes that would come over the line, Stored those on disk, Duration how long the server would take
	// for it, page by page; all scaled up from the sample.
	Received int64         `json:"received"`
	Stored   int64         `json:"stored"`
	Duration time.Duration `json:"durationNanoseconds"`
	// Sample is how many objects these are scaled up from.
	Sample int64 `json:"sample"`
}

// sampling is one EstimateTake.
type sampling struct {
	client   *dhis2api.Client
	listing  Listing
	now      func() time.Time
	estimate *Estimate
}

// EstimateTake says what Take would come to, without a snapshot to copy from. It only reads: of each stream the server's
// count or the list of uids, and one page of whole objects; of a data set the values of a few org units. With a date in
// the scope the number of tracked entities is scaled up from the sample, for the server cannot count by it. Tracked
// entities outside the scope that relationships lead to are not counted. Errors are the client's.
func EstimateTake(ctx context.Context, client *dhis2api.Client, scope *Scope, now func() time.Time) (*Estimate, error) {
	s := &sampling{
		client: client, now: now, estimate: &Estimate{Streams: []StreamEstimate{}, Values: map[string]int64{}},
		listing: Listing{Client: client, Scope: scope, Since: scope.Wanted.Since, WithoutUnsynchronized: true},
	}
	everyone := newUIDSet()
	for _, program := range scope.Programs {
		var err error
		if program.Registers() {
			err = s.trackedEntities(ctx, program, everyone)
		} else {
			err = s.events(ctx, program)
		}
		if err != nil {
			return nil, err
		}
	}
	s.estimate.People = int64(everyone.size())
	for _, kind := range scope.TrackedEntityTypes {
		if err := s.unenrolled(ctx, kind, everyone); err != nil {
			return nil, err
		}
	}
	for _, dataSet := range scope.DataSets {
		if err := s.values(ctx, dataSet); err != nil {
			return nil, err
		}
	}
	return s.estimate, nil
}

// measure runs f and notes what came over the line meanwhile, and how long it took.
func (s *sampling) measure(of *StreamEstimate, f func() error) error {
	began, before := s.now(), s.client.Traffic()
	err := f()
	of.Received, of.Duration = s.client.Traffic().Minus(before).Received, s.now().Sub(began)
	return err
}

// scaled makes of what a sample took what all of it takes.
func (e *StreamEstimate) scaled(read int64, lines *lineCounter) error {
	stored, err := lines.stored()
	if err != nil || read == 0 {
		return err
	}
	e.Sample, e.Stored = read, stored*e.Objects/read
	e.Received = e.Received * e.Objects / read
	e.Duration = time.Duration(float64(e.Duration) * float64(e.Objects) / float64(read))
	for kind := range e.Below {
		e.Below[kind] = e.Below[kind] * e.Objects / read
	}
	return nil
}

func (s *sampling) trackedEntities(ctx context.Context, program Program, everyone *uidSet) error {
	e := StreamEstimate{Kind: TrackedEntities, Subject: Subject{Program: program.ID}, Name: program.Name, Counted: true, Below: map[string]int64{}}
	question := s.listing.trackedEntities(program)
	uids := newUIDSet()
	for page, err := range question.identifiers(ctx, dhis2api.Paging{PageSize: identifierPage}) {
		if err != nil {
			return fmt.Errorf("cannot count %s: %w", question.about, err)
		}
		for _, item := range page.Items {
			uids.add(item.TrackedEntity)
		}
	}
	e.Objects = int64(uids.size())
	everyone.addAll(uids)
	lines := newLineCounter()
	values := map[string]int64{}
	var read, kept int64
	err := s.measure(&e, func() error {
		for page, err := range question.pages(ctx, dhis2api.Paging{PageSize: samplePage}) {
			if err != nil {
				return fmt.Errorf("cannot sample %s: %w", question.about, err)
			}
			for _, person := range page.Items {
				read++
				if !question.keep(person) {
					continue
				}
				kept++
				countBelow(&e, values, person)
				if err := lines.add(person); err != nil {
					return err
				}
			}
			break
		}
		return nil
	})
	if err != nil {
		return err
	}
	all := e.Objects
	if err := e.scaled(read, lines); err != nil {
		return err
	}
	if read > 0 {
		for attribute, n := range values {
			s.estimate.Values[attribute] += n * all / read
		}
		if s.listing.Since != "" {
			e.Counted, e.Objects = false, all*kept/read
		}
	}
	s.estimate.Streams = append(s.estimate.Streams, e)
	return nil
}

func countBelow(e *StreamEstimate, values map[string]int64, person *dhis2api.TrackedEntity) {
	seen := map[string]bool{}
	note := func(attributes []dhis2api.Attribute) {
		for _, a := range attributes {
			if a.Value != "" && !seen[a.Attribute] {
				seen[a.Attribute] = true
				values[a.Attribute]++
			}
		}
	}
	note(person.Attributes)
	for _, enrollment := range person.Enrollments {
		note(enrollment.Attributes)
		e.Below["enrollments"]++
		e.Below["events"] += int64(len(enrollment.Events))
	}
	e.Below["relationships"] += int64(len(NestedRelationships(person)))
}

func (s *sampling) events(ctx context.Context, program Program) error {
	e := StreamEstimate{Kind: Events, Subject: Subject{Program: program.ID}, Name: program.Name, Counted: true}
	lines := newLineCounter()
	var read int64
	for _, root := range s.listing.Scope.OrgUnits {
		query := url.Values{
			"program": {program.ID}, "orgUnit": {root.ID}, "orgUnitMode": {dhis2api.OrgUnitModeDescendants}, "fields": {"event"},
			"pageSize": {"1"}, "totalPages": {"true"},
		}
		if s.listing.Since != "" {
			query.Set("occurredAfter", s.listing.Since)
		}
		var answer struct{ Pager struct{ Total int64 } }
		if err := s.client.Do(ctx, "GET", "/api/tracker/events", query, nil, &answer); err != nil {
			return fmt.Errorf("cannot count the events of program %s: %w", program.ID, err)
		}
		e.Objects += answer.Pager.Total
		if read > 0 || answer.Pager.Total == 0 {
			continue
		}
		err := s.measure(&e, func() error {
			for page, err := range s.listing.events(program, root).pages(ctx, dhis2api.Paging{PageSize: samplePage}) {
				if err != nil {
					return err
				}
				for _, event := range page.Items {
					read++
					if err := lines.add(event); err != nil {
						return err
					}
				}
				break
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot sample the events of program %s: %w", program.ID, err)
		}
	}
	if err := e.scaled(read, lines); err != nil {
		return err
	}
	s.estimate.Streams = append(s.estimate.Streams, e)
	return nil
}

// unenrolled counts the tracked entities that are in no program, by the list that taking begins with.
func (s *sampling) unenrolled(ctx context.Context, kind TrackedEntityType, everyone *uidSet) error {
	e := StreamEstimate{Kind: TrackedEntities, Subject: Subject{TrackedEntityType: kind.ID}, Name: kind.Name, Counted: true}
	count := func(*dhis2api.TrackedEntity) (bool, error) {
		e.Objects++
		return true, nil // and is not asked for
	}
	for _, err := range s.listing.unenrolled(ctx, kind, everyone, count) {
		if err != nil {
			return err
		}
	}
	s.estimate.People += e.Objects
	s.estimate.Streams = append(s.estimate.Streams, e)
	return nil
}

// values scales the values of a data set up from those of a few of its org units: DHIS2 does not count them.
func (s *sampling) values(ctx context.Context, dataSet DataSet) error {
	e := StreamEstimate{Kind: DataValues, Subject: Subject{DataSet: dataSet.ID}, Name: dataSet.Name}
	var assigned struct{ OrganisationUnits []OrgUnit }
	if err := s.client.Get(ctx, "dataSets", dataSet.ID, "organisationUnits[id,path]", &assigned); err != nil {
		return fmt.Errorf("cannot read the org units of data set %s: %w", dataSet.ID, err)
	}
	var units []OrgUnit
	for _, unit := range assigned.OrganisationUnits {
		if s.listing.Scope.Contains(unit.Path) {
			units = append(units, unit)
		}
	}
	sampled := min(len(units), sampleUnits)
	lines := newLineCounter()
	var read int64
	err := s.measure(&e, func() error {
		for i := range sampled {
			query := dhis2api.DataValueQuery{
				DataSets: []string{dataSet.ID}, OrgUnits: []string{units[i*len(units)/sampled].ID},
				StartDate: periodStart(dataSet.PeriodType, s.listing.Since), EndDate: lastDate,
			}
			for value, err := range s.client.DataValues(ctx, query) {
				if err != nil {
					return fmt.Errorf("cannot sample the values of data set %s: %w", dataSet.ID, err)
				}
				read++
				if err := lines.add(value); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if sampled > 0 {
		e.Counted, e.Objects = sampled == len(units), read*int64(len(units))/int64(sampled)
	}
	if err := e.scaled(read, lines); err != nil {
		return err
	}
	s.estimate.Streams = append(s.estimate.Streams, e)
	return nil
}

// lineCounter packs lines as a part does and counts the bytes.
type lineCounter struct {
	bytes  byteCount
	packed *zstd.Encoder
	err    error
}

type byteCount int64

func (c *byteCount) Write(b []byte) (int, error) {
	*c += byteCount(len(b))
	return len(b), nil
}

func newLineCounter() *lineCounter {
	c := &lineCounter{}
	c.packed, c.err = zstd.NewWriter(&c.bytes, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	return c
}

func (c *lineCounter) add(object any) error {
	if c.err != nil {
		return c.err
	}
	var line strings.Builder
	if err := json.NewEncoder(&line).Encode(object); err != nil {
		return err
	}
	_, err := c.packed.Write([]byte(line.String()))
	return err
}

// stored is the size of what was added, packed. It may be called once.
func (c *lineCounter) stored() (int64, error) {
	if c.err != nil {
		return 0, c.err
	}
	err := c.packed.Close()
	return int64(c.bytes), err
}
