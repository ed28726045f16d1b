package orchestrator_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// The published schemas of report.json and of a line of plan.jsonl.
var (
	reportSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
		return jsonschema.NewCompiler().Compile("../docs/report-1.schema.json")
	})
	planSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
		return jsonschema.NewCompiler().Compile("../docs/plan-1.schema.json")
	})
)

// expectPublishedForms holds what a run wrote into a trip's folder to the published schemas.
func expectPublishedForms(t testing.TB, kitDir, trip string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(kitDir, "trips", trip, report.JSONName))
	if err != nil {
		t.Fatal(err)
	}
	expectValid(t, reportSchema, content)
	if content, err = os.ReadFile(filepath.Join(kitDir, "trips", trip, "plan.jsonl")); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(content) {
		expectValid(t, planSchema, line)
	}
}

func expectValid(t testing.TB, compile func() (*jsonschema.Schema, error), content []byte) {
	t.Helper()
	schema, err := compile()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("not as published: %v\n%s", err, content)
	}
}
