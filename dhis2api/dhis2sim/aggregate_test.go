package dhis2sim

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestDataValues(t *testing.T) {
	t.Parallel()
	const october = `{"dataElement": "aPlainDE111", "period": "202610", "orgUnit": "aUnitBelow1", "value": "%"}`
	value := func(v string) string { return strings.Replace(october, "%", v, 1) }
	const forced = "?force=true"
	for name, test := range map[string]struct {
		version, before, query, body string
		status                       int
		counts, code, finally        string // counts, first conflict, and the value stored at the end
	}{
		"new":                     {"2.42.5.2", "", "", value("5"), 200, `{"deleted":0,"ignored":0,"imported":1,"updated":0}`, "nothing", `"5"`},
		"new, 2.43":               {"2.43.1", "", "", value("5"), 200, `{"deleted":0,"ignored":0,"imported":0,"updated":1}`, "nothing", `"5"`},
		"changed":                 {"2.42.5.2", value("4"), "", value("5"), 200, `{"deleted":0,"ignored":0,"imported":0,"updated":1}`, "nothing", `"5"`},
		"the same":                {"2.42.5.2", value("5"), "", value("5"), 200, `{"deleted":0,"ignored":1,"imported":0,"updated":0}`, "nothing", `"5"`},
		"emptied":                 {"2.42.5.2", value("5"), "", strings.Replace(value("5"), `"5"`, `"", "deleted": true`, 1), 200, `{"deleted":1,"ignored":0,"imported":0,"updated":0}`, "nothing", "nothing"},
		"deleted":                 {"2.42.5.2", value("5"), "?importStrategy=DELETE", value("5"), 200, `{"deleted":1,"ignored":0,"imported":0,"updated":0}`, "nothing", "nothing"},
		"deleted, 2.43":           {"2.43.1", value("5"), "?importStrategy=DELETE", value("5"), 200, `{"deleted":1,"ignored":0,"imported":0,"updated":0}`, "nothing", "nothing"},
		"dry run":                 {"2.42.5.2", "", "?dryRun=true", value("5"), 200, `{"deleted":0,"ignored":0,"imported":1,"updated":0}`, "nothing", "nothing"},
		"no integer":              {"2.42.5.2", "", "", value("five"), 409, `{"deleted":0,"ignored":1,"imported":0,"updated":0}`, `"E7619"`, "nothing"},
		"no integer, 2.43":        {"2.43.1", "", "", value("five"), 409, `{"deleted":0,"ignored":1,"imported":0,"updated":0}`, `"E8122"`, "nothing"},
		"zero is not kept":        {"2.42.5.2", "", "", value("0"), 200, `{"deleted":0,"ignored":0,"imported":0,"updated":0}`, "nothing", "nothing"},
		"some stored, 409":        {"2.42.5.2", "", "", value("5") + `,{"dataElement": "noSuchDE111", "period": "202610", "orgUnit": "aUnitBelow1", "value": "1"}`, 409, `{"deleted":0,"ignored":1,"imported":1,"updated":0}`, `"E7610"`, `"5"`},
		"none stored, 2.43":       {"2.43.1", "", "", value("5") + `,{"dataElement": "noSuchDE111", "period": "202610", "orgUnit": "aUnitBelow1", "value": "1"}`, 409, `{"deleted":0,"ignored":0,"imported":0,"updated":0}`, `"E8020"`, "nothing"},
		"unknown unit":            {"2.42.5.2", "", "", strings.Replace(value("5"), "aUnitBelow1", "noSuchUnit1", 1), 409, `{"deleted":0,"ignored":1,"imported":0,"updated":0}`, `"E7612"`, "nothing"},
		"future period":           {"2.42.5.2", "", "", strings.Replace(value("5"), "202610", "202612", 1), 409, `{"deleted":0,"ignored":1,"imported":0,"updated":0}`, `"E7641"`, "nothing"},
		"future, superuser, 2.43": {"2.43.1", "", "", strings.Replace(value("5"), "202610", "202612", 1), 200, `{"deleted":0,"ignored":0,"imported":0,"updated":1}`, "nothing", "nothing"},
		"number, 2.43":            {"2.43.1", "", "", strings.Replace(value("5"), `"5"`, "5", 1), 500, "nothing", "nothing", "nothing"},
		"no period at all, 2.43":  {"2.43.1", "", "", strings.Replace(value("5"), "202610", "garbage", 1), 500, "nothing", "nothing", "nothing"},
		"twice, 2.43":             {"2.43.1", "", "", value("5") + "," + value("6"), 409, `{"deleted":0,"ignored":0,"imported":0,"updated":0}`, `"E8128"`, "nothing"},
		"no unit, 2.43":           {"2.43.1", "", "", strings.Replace(value("5"), "aUnitBelow1", "", 1), 409, `{"deleted":0,"ignored":0,"imported":0,"updated":0}`, `"E8105"`, "nothing"},
		"future, forced":          {"2.42.5.2", "", forced, strings.Replace(value("5"), "202610", "202612", 1), 200, `{"deleted":0,"ignored":0,"imported":1,"updated":0}`, "nothing", "nothing"},
		"another way to say it":   {"2.42.5.2", "", "", strings.Replace(value("5"), "202610", "2026-10", 1), 200, `{"deleted":0,"ignored":0,"imported":1,"updated":0}`, "nothing", `"5"`},
		"by code":                 {"2.42.5.2", "", "?orgUnitIdScheme=CODE", strings.Replace(value("5"), "aUnitBelow1", "V", 1), 200, `{"deleted":0,"ignored":0,"imported":1,"updated":0}`, "nothing", `"5"`},
		"strict on units":         {"2.42.5.2", "", "?strictOrganisationUnits=true", strings.Replace(value("5"), "aUnitBelow1", "aUnitAbove1", 1), 409, `{"deleted":0,"ignored":1,"imported":0,"updated":0}`, `"E7636"`, "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newVersion(t, test.version, village)
			if test.before != "" {
				call(t, s, http.MethodPost, "/api/dataValueSets", `{"dataValues": [`+test.before+`]}`)
			}
			status, answer := call(t, s, http.MethodPost, "/api/dataValueSets"+test.query, `{"dataValues": [`+test.body+`]}`)
			if got := at(t, answer, "response.importCount"); status != test.status || got != test.counts {
				t.Errorf("status %d, counts %s; want %d, %s", status, got, test.status, test.counts)
			}
			if got := at(t, answer, "response.conflicts.0.errorCode"); got != test.code {
				t.Errorf("conflict %s, want %s", got, test.code)
			}
			_, stored := call(t, s, http.MethodGet, "/api/dataValueSets?dataSet=aMonthlyDS1&period=202610&orgUnit=aUnitBelow1", "")
			if got := at(t, stored, "dataValues.0.value"); got != test.finally {
				t.Errorf("stored %s, want %s", got, test.finally)
			}
		})
	}
}

func TestLockedForm(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{"2.42.5.2": `"E7640"`, "2.43.1": `"E8030"`} {
		s := newVersion(t, version, village)
		r := httptest.NewRequest(http.MethodPost, "/api/dataValueSets", strings.NewReader(`{"dataValues": [{"dataElement": "aPlainDE111", "period": "202609", "orgUnit": "aUnitBelow1", "value": "5"}]}`))
		r.Header.Set("Content-Type", "application/json")
		r.SetBasicAuth("nurse", "Nurse-2026!")
		if status, answer := do(t, s, r); status != http.StatusConflict || at(t, answer, "response.conflicts.0.errorCode") != want {
			t.Errorf("%s: %d %v, want %s", version, status, answer, want)
		}
	}
}

func TestAggregateQueries(t *testing.T) {
	t.Parallel()
	s := newServer(t, village)
	call(t, s, http.MethodPost, "/api/dataValueSets", `{"dataSet": "aMonthlyDS1", "period": "202610", "orgUnit": "aUnitBelow1", "completeDate": "2026-11-01", "dataValues": [{"dataElement": "aPlainDE111", "value": 7, "comment": "by boat", "followup": true}]}`)
	for path, want := range map[string]struct {
		status int
		at     string
		value  string
	}{
		"dataValueSets?dataSet=aMonthlyDS1&period=202610&orgUnit=aUnitBelow1":                           {200, "dataValues.0.comment", `"by boat"`},
		"dataValueSets?dataSet=aMonthlyDS1&period=202610&orgUnit=aUnitBelow1&limit=1":                   {200, "completeDate", `"2026-11-01"`},
		"dataValueSets?dataSet=aMonthlyDS1&startDate=2026-01-01&endDate=2026-12-31&orgUnit=aUnitAbove1": {200, "dataValues", `[]`},
		"dataValueSets?dataSet=aMonthlyDS1&lastUpdatedDuration=1d&orgUnit=aUnitAbove1&children=true":    {200, "dataValues.0.value", `"7"`},
		"dataValueSets?dataSet=aMonthlyDS1&lastUpdated=2026-11-24&orgUnit=aUnitBelow1":                  {200, "dataValues", `[]`},
		"dataValueSets?dataSet=aMonthlyDS1&period=202610&orgUnit=aUnitBelow1&orgUnitIdScheme=CODE":      {200, "orgUnit", `"V"`},
		"dataValueSets?dataElement=aPlainDE111&period=202610&orgUnit=aUnitBelow1":                       {200, "dataValues.0.followup", `true`},
		"dataValueSets?period=202610&orgUnit=aUnitBelow1":                                               {409, "errorCode", `"E2001"`},
		"dataValueSets?dataSet=aMonthlyDS1&orgUnit=aUnitBelow1":                                         {409, "errorCode", `"E2002"`},
		"dataValueSets?dataSet=aMonthlyDS1&period=202610":                                               {409, "errorCode", `"E2006"`},
		"completeDataSetRegistrations?dataSet=aMonthlyDS1&period=202610&orgUnit=aUnitBelow1":            {200, "completeDataSetRegistrations.0.date", `"2026-11-01"`},
		"completeDataSetRegistrations?period=202610&orgUnit=aUnitBelow1":                                {409, "errorCode", `"E2013"`},
	} {
		status, answer := call(t, s, http.MethodGet, "/api/"+path, "")
		if got := at(t, answer, want.at); status != want.status || got != want.value {
			t.Errorf("%s: status %d, %s is %s; want %d, %s", path, status, want.at, got, want.status, want.value)
		}
	}
}

func TestParsePeriod(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026": "Yearly 2026-01-01 2026-12-31", "202610": "Monthly 2026-10-01 2026-10-31", "2026-10": "Monthly 2026-10-01 2026-10-31",
		"20261005": "Daily 2026-10-05 2026-10-05", "2026-10-05": "Daily 2026-10-05 2026-10-05", "202603B": "BiMonthly 2026-05-01 2026-06-30",
		"2026Q2": "Quarterly 2026-04-01 2026-06-30", "2026S2": "SixMonthly 2026-07-01 2026-12-31", "2026AprilS1": "SixMonthlyApril 2026-04-01 2026-09-30",
		"2026April": "FinancialApril 2026-04-01 2027-03-31", "2026W1": "Weekly 2025-12-29 2026-01-04", "2026W53": "Weekly 2026-12-28 2027-01-03",
		"2026SunW1": "WeeklySunday 2026-01-04 2026-01-10", "202613": "", "2026Q5": "", "2026-1": "", "yesterday": "", "": "",
	} {
		p, ok := parsePeriod(text, time.UTC)
		got := ""
		if ok {
			got = p.kind + " " + p.start.Format(time.DateOnly) + " " + p.end().Format(time.DateOnly)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
