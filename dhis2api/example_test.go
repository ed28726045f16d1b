package dhis2api_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// Read all patients of a program below a facility, page after page, and count their visits.
func Example() {
	ctx := context.Background()
	client, err := dhis2api.Connect(ctx, "https://dhis2.example.org", dhis2api.Credentials{Token: os.Getenv("DHIS2_TOKEN")}, dhis2api.Options{})
	if err != nil {
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			log.Fatalf("%v (%s)", err, hinted.Hint())
		}
		log.Fatal(err)
	}
	visits := 0
	for patient, err := range client.TrackedEntities(ctx, dhis2api.TrackedEntityQuery{
		Program:     "xIkcI00xjZE",
		OrgUnits:    []string{"P1J4eyjXQeT"},
		OrgUnitMode: dhis2api.OrgUnitModeDescendants,
	}) {
		if err != nil {
			log.Fatal(err)
		}
		for _, enrollment := range patient.Enrollments {
			visits += len(enrollment.Events)
		}
	}
	fmt.Println(visits)
}

// Send a changed phone number, and read what became of it object by object.
func ExampleClient_Import() {
	ctx := context.Background()
	client, err := dhis2api.Connect(ctx, "https://dhis2.example.org", dhis2api.Credentials{Username: "sync", Password: os.Getenv("DHIS2_PASSWORD")}, dhis2api.Options{})
	if err != nil {
		log.Fatal(err)
	}
	patient := &dhis2api.TrackedEntity{
		TrackedEntity:     "sWLv22XB0Ez",
		TrackedEntityType: "ig1m3E2NSOb", // scalars are replaced: send all of them
		OrgUnit:           "P1J4eyjXQeT",
		Attributes:        []dhis2api.Attribute{{Attribute: "AxEFHTvb07i", Value: "66123456"}}, // values are merged: send what changed
	}
	report, err := client.Import(ctx, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{patient}}, dhis2api.ImportOptions{})
	var unknown *dhis2api.UnknownOutcomeError
	if errors.As(err, &unknown) {
		log.Fatal("it may be stored: look before sending it again")
	}
	if err != nil {
		log.Fatal(err)
	}
	switch outcome := report.Outcome(dhis2api.KindTrackedEntity, patient.TrackedEntity); outcome.State {
	case dhis2api.OutcomeStored:
		fmt.Println("stored")
	case dhis2api.OutcomeRefused:
		reason, hint := dhis2api.Explain(outcome.Errors[0].Code, outcome.Errors[0].Args)
		fmt.Printf("refused: %s; %s\n", reason, hint)
	default:
		fmt.Println("not mentioned: look")
	}
}

// Read what has no type of its own here, decoding into yours.
func ExampleListAs() {
	ctx := context.Background()
	client, err := dhis2api.Connect(ctx, "https://dhis2.example.org", dhis2api.Credentials{Token: os.Getenv("DHIS2_TOKEN")}, dhis2api.Options{})
	if err != nil {
		log.Fatal(err)
	}
	type indicator struct{ ID, Name, Numerator string }
	query := dhis2api.ListQuery{Fields: "id,name,numerator", Filters: []string{"name:ilike:malaria"}}
	for indicator, err := range dhis2api.ListAs[indicator](ctx, client, "indicators", query) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(indicator.Name, indicator.Numerator)
	}
}
