package orchestrator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// PrepareEstimate is what a prepare would come to.
type PrepareEstimate struct {
	Central snapshot.Server `json:"central"`
	Account string          `json:"account"`
	// OrgUnits, Programs and DataSets are the names of what the trip would carry.
	OrgUnits []string `json:"orgUnits"`
	Programs []string `json:"programs"`
	DataSets []string `json:"dataSets"`
	// Streams are the programs, tracked entity types and data sets, with counts, bytes and times.
	Streams []snapshot.StreamEstimate `json:"streams"`
	// Objects sums them up by kind; Counted tells for which kinds central counted rather than a sample.
	Objects map[snapshot.Kind]int64 `json:"objects"`
	Counted map[snapshot.Kind]bool  `json:"counted"`
	// Received and Stored are bytes over the line and on the disk of records alone: metadata and files come on top.
	Received int64 `json:"received"`
	Stored   int64 `json:"stored"`
	// Taking is how long central would take to give the records, by the samples. Whole is how long prepare would take from
	// its beginning to its end by the trip Last, scaled by the number of objects; 0 where there was none.
	Taking time.Duration `json:"takingNanoseconds"`
	Whole  time.Duration `json:"wholeNanoseconds,omitempty"`
	Last   string        `json:"last,omitempty"`
	// Personal is how much of it is about people.
	Personal PersonalData `json:"personal"`
}

// PersonalData is how much of a trip is about people. What counts is in Definition, in words.
type PersonalData struct {
	Definition string `json:"definition"`
	// People is the number of tracked entities, each once, whatever their type.
	People int64 `json:"people"`
	// Values is the number of identifying values, scaled up from the samples.
	Values int64 `json:"values"`
	// Attributes are those that identify, with the number of their values.
	Attributes []PersonalAttribute `json:"attributes"`
}

// PersonalAttribute is a tracked entity attribute that identifies people.
type PersonalAttribute struct {
	UID    string `json:"uid"`
	Name   string `json:"name"`
	Values int64  `json:"values"`
	// Reason says why it counts.
	Reason string `json:"reason"`
}

// personalDefinition says in words what personalReason decides.
const personalDefinition = "a tracked entity counts as a person; an attribute identifies when central marks it confidential or unique, when it is a phone number, " +
	"an email address, a letter, a user name, an age, a place, a photograph or a file, or when its name or code speaks of a name, a birth, an address, " +
	"a phone, a passport or an identity number (English, Spanish, French, Portuguese). Data elements and notes, which may name people too, do not count"

// EstimatePrepare says what a prepare would come to that asks for everything. It only reads at central, asks nothing of
// the kit's DHIS2, begins no trip and writes nothing. Errors as of Prepare.
func (k *Kit) EstimatePrepare(ctx context.Context) (*PrepareEstimate, error) {
	central, err := k.connectCentral(ctx)
	if err != nil {
		return nil, err
	}
	p := &preparation{kit: k, central: central, receipt: &PrepareReceipt{}}
	if err := p.resolve(ctx); err != nil {
		return nil, err
	}
	k.options.Progress.Step("counting and sampling at central")
	found, err := snapshot.EstimateTake(ctx, central, p.scope, k.options.Now)
	if err != nil {
		return nil, atServer(ctx, Central, central.BaseURL(), err)
	}
	e := &PrepareEstimate{
		Central: p.receipt.Central, Account: p.receipt.Account, Streams: found.Streams,
		Objects: map[snapshot.Kind]int64{}, Counted: map[snapshot.Kind]bool{},
	}
	e.OrgUnits, e.Programs, e.DataSets = scopeNames(p.scope)
	for _, stream := range found.Streams {
		if _, there := e.Counted[stream.Kind]; !there {
			e.Counted[stream.Kind] = true
		}
		e.Objects[stream.Kind] += stream.Objects
		e.Counted[stream.Kind] = e.Counted[stream.Kind] && stream.Counted
		e.Received += stream.Received
		e.Stored += stream.Stored
		e.Taking += stream.Duration
	}
	if e.Personal, err = personalData(ctx, central, found); err != nil {
		return nil, atServer(ctx, Central, central.BaseURL(), err)
	}
	return e, k.compareWithLast(ctx, e)
}

// scopeNames are the names of the org units, programs and data sets of a scope.
func scopeNames(scope *snapshot.Scope) (orgUnits, programs, dataSets []string) {
	for _, unit := range scope.OrgUnits {
		orgUnits = append(orgUnits, unit.Name)
	}
	for _, program := range scope.Programs {
		programs = append(programs, program.Name)
	}
	for _, dataSet := range scope.DataSets {
		dataSets = append(dataSets, dataSet.Name)
	}
	return orgUnits, programs, dataSets
}

// compareWithLast scales the time of the last prepare that came to its end.
func (k *Kit) compareWithLast(ctx context.Context, e *PrepareEstimate) error {
	ids, err := k.trips()
	if err != nil {
		return err
	}
	for _, id := range slices.Backward(ids) {
		t, err := k.begunTrip(ctx, id)
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		receipt, err := receiptOf(ctx, t.journal)
		if err := errors.Join(err, t.close()); err != nil {
			return err
		}
		if receipt == nil {
			continue
		}
		var then, now int64
		for kind, n := range e.Objects {
			now += n
			then += receipt.Taken[kind]
		}
		if then > 0 {
			e.Last, e.Whole = id, time.Duration(float64(receipt.Ended.Sub(receipt.Began))*float64(now)/float64(then))
		}
		return nil
	}
	return nil
}

// personalData finds which of the attributes that the samples have identify people.
func personalData(ctx context.Context, central *dhis2api.Client, found *snapshot.Estimate) (PersonalData, error) {
	personal := PersonalData{Definition: personalDefinition, People: found.People, Attributes: []PersonalAttribute{}}
	named := regexp.MustCompile(personalNames)
	query := dhis2api.ListQuery{Fields: "id,name,shortName,code,valueType,confidential,unique"}
	for raw, err := range central.List(ctx, "trackedEntityAttributes", query) {
		if err != nil {
			return personal, fmt.Errorf("cannot read the attributes: %w", err)
		}
		var a attributeTraits
		if err := json.Unmarshal(raw, &a); err != nil {
			return personal, fmt.Errorf("cannot read the attributes: %w", err)
		}
		values := found.Values[a.ID]
		reason := a.personalReason(named)
		if values == 0 || reason == "" {
			continue
		}
		personal.Values += values
		personal.Attributes = append(personal.Attributes, PersonalAttribute{UID: a.ID, Name: a.Name, Values: values, Reason: reason})
	}
	slices.SortFunc(personal.Attributes, func(a, b PersonalAttribute) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return personal, nil
}

// attributeTraits is what tells whether an attribute identifies people.
type attributeTraits struct {
	ID, Name, ShortName, Code, ValueType string
	Confidential, Unique                 bool
}

// personalNames are what the names of attributes that identify people have in them.
const personalNames = `(?i)name|nombre|apellido|\bnom\b|pr[eé]nom|birth|nacimiento|naissance|nascimento|address|direcci[oó]n|adresse|endere[cç]o|` +
	`phone|tel[eéè]f|t[eé]l[eé]phone|passport|pasaporte|c[eé]dula|national.?id|identi(ty|dad|té|dade)|\bid\b`

// personalReason says why an attribute identifies people, by its kind or by its name; empty where it does not.
func (a attributeTraits) personalReason(named *regexp.Regexp) string {
	switch a.ValueType {
	case "PHONE_NUMBER", "EMAIL", "LETTER", "USERNAME", "AGE", "COORDINATE", "GEOJSON", "IMAGE", "FILE_RESOURCE":
		return "value type " + a.ValueType
	}
	switch {
	case a.Confidential:
		return "confidential"
	case a.Unique:
		return "unique"
	}
	if a.ValueType == "BOOLEAN" || a.ValueType == "TRUE_ONLY" {
		return "" // such as whether a date of birth is estimated
	}
	for _, text := range []string{a.Name, a.ShortName, a.Code} {
		if named.MatchString(text) {
			return "its name"
		}
	}
	return ""
}
