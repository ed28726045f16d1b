package orchestrator_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim/postgrestest"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/numbers"
)

// patterns are those of the generated attributes of TestNumbers, by the attributes' names.
var patterns = map[string]string{
	"plain number":  `"FD-"+SEQUENTIAL(######)`,
	"unit's number": `ORG_UNIT_CODE(.......)+"-"+SEQUENTIAL(#####)`,
	"dated number":  `CURRENT_DATE(yyyyMMdd)+"-"+SEQUENTIAL(#####)`,
}

// TestNumbers sends two kits out from one central, lets tablets draw 1,000 numbers at each and at central, and expects
// none twice. FIELDKIT_ACCEPTANCE_CENTRAL and the like name real servers, and FIELDKIT_ACCEPTANCE_RESET_LOCAL the command
// that makes the local server a second, empty kit.
func TestNumbers(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector takes ten times as long")
	}
	if central := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"); central != "" {
		reset := os.Getenv("FIELDKIT_ACCEPTANCE_RESET_LOCAL")
		if reset == "" {
			t.Skip("FIELDKIT_ACCEPTANCE_RESET_LOCAL is not set")
		}
		drawEverywhere(t, central, func(kit int) (url, database string) {
			if kit > 0 {
				if out, err := exec.CommandContext(t.Context(), "sh", "-c", reset).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			return os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL_DATABASE")
		})
		return
	}
	cluster := postgrestest.Start(t)
	for _, version := range []string{"2.42.5.2", "2.43.1"} { // 2.41 counts in the same table and by the same function
		t.Run(version, func(t *testing.T) {
			drawEverywhere(t, simulated(t, version), func(int) (url, database string) {
				database = cluster.Database(t)
				var c clock
				return simulatedOn(t, version, database, c.now), database
			})
		})
	}
}

// drawer draws numbers as tablets do, and notes who has drawn each.
type drawer struct {
	t     *testing.T
	w     *world
	drawn map[string]string
}

func drawEverywhere(t *testing.T, central string, kitAt func(kit int) (url, database string)) {
	t.Helper()
	url, database := kitAt(0)
	w := newWorld(t, central, url, database)
	w.setUp()
	w.generatedAttributes()
	d := &drawer{t: t, w: w, drawn: map[string]string{}}
	d.draw(w.central, "central beforehand", 3)
	for kit := range 2 {
		if kit > 0 {
			url, database = kitAt(kit)
			w.local = w.connect(orchestrator.Local, url)
			w.kitDir = t.TempDir()
		}
		w.configure(kit, url, database)
		if receipt := w.prepare(); !receipt.Verified {
			t.Fatalf("prepare: %s", asJSON(receipt))
		}
		w.checkNumbers(0)
		d.draw(w.central, "central", 100)
		d.draw(w.local, fmt.Sprintf("kit %d", kit), 1000)
		w.checkNumbers(1000)
		// The next trip wants as many again and has the rest of this one's: what it lacks is what was handed out, in
		// a row with the rest or, central having drawn meanwhile, all of it.
		if got := w.reservedBy(func() { w.prepare() }); got != 1600 {
			t.Errorf("the next trip reserved %d numbers, want 1600", got)
		}
		if got := w.reservedBy(func() { w.prepare() }); got != 0 {
			t.Errorf("the trip after it, before which nothing was handed out, reserved %d numbers", got)
		}
		d.draw(w.local, fmt.Sprintf("kit %d on its second trip", kit), 1000)
	}
	d.draw(w.central, "central", 1000)
}

// reservedBy counts the numbers that central handed out to f, by the plain attribute.
func (w *world) reservedBy(f func()) int {
	w.t.Helper()
	at := func() int64 {
		values, err := w.central.ReserveValues(w.t.Context(), w.id("plain number"), 1, 1, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		pattern, _ := numbers.Parse(patterns["plain number"])
		number, _ := pattern.Number(values[0].Key, values[0].Value)
		return number
	}
	before := at()
	f()
	return int(at() - before - 1)
}

// draw draws values of each attribute by hundreds; each value that was drawn before is an error.
func (d *drawer) draw(server *dhis2api.Client, who string, count int) {
	d.t.Helper()
	for name := range patterns {
		var required map[string]string
		if name == "unit's number" {
			required = map[string]string{"ORG_UNIT_CODE": d.w.unitCode("soloy")}
		}
		for left := count; left > 0; left -= 100 {
			values, err := server.ReserveValues(d.t.Context(), d.w.id(name), min(left, 100), 60, required)
			if err != nil {
				d.t.Fatalf("%s: %v", who, err)
			}
			for _, value := range values {
				full := name + " " + value.Value
				if other := d.drawn[full]; other != "" {
					d.t.Fatalf("%s was drawn by %s and by %s", full, other, who)
				}
				d.drawn[full] = who
			}
		}
	}
}

// unitCode is the code of one of the run's org units, of which no two begin with the same seven letters.
func (w *world) unitCode(name string) string { return "U" + w.id(name)[:6] + "-" + name }

// generatedAttributes adds a program with generated attributes to central, and codes to the villages.
func (w *world) generatedAttributes() {
	w.t.Helper()
	before := w.metadata
	w.metadata = map[string][]map[string]any{}
	defer func() {
		for class, objects := range w.metadata {
			before[class] = append(before[class], objects...)
		}
		w.metadata = before
	}()
	sharing := map[string]any{"public": "rwrw----", "external": false}
	var ofProgram []any
	for name, pattern := range patterns {
		w.define("trackedEntityAttributes", name, map[string]any{
			"valueType": "TEXT", "aggregationType": "NONE", "unique": true, "generated": true, "pattern": pattern, "sharing": sharing,
		})
		ofProgram = append(ofProgram, map[string]any{
			"id": w.id("in clinic " + name), "program": w.ref("clinic"), "trackedEntityAttribute": w.ref(name), "sortOrder": len(ofProgram) + 1,
		})
	}
	units := []any{}
	for _, name := range []string{"soloy", "cerro"} {
		units = append(units, w.ref(name))
		w.define("organisationUnits", name, map[string]any{"openingDate": "2000-01-01", "parent": w.ref("villages"), "code": w.unitCode(name)})
	}
	w.define("programStages", "register", map[string]any{"program": w.ref("clinic"), "sharing": sharing})
	w.define("programs", "clinic", map[string]any{
		"programType": "WITH_REGISTRATION", "trackedEntityType": w.ref("patient"), "categoryCombo": w.defaultCombo(), "accessLevel": "OPEN",
		"organisationUnits": units, "programStages": []any{w.ref("register")}, "programTrackedEntityAttributes": ofProgram, "sharing": sharing,
	})
	result, err := w.central.ImportMetadata(w.t.Context(), w.metadata, dhis2api.MetadataImportOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	if result.Status != "OK" {
		w.t.Fatalf("central does not take the generated attributes: %s", asJSON(result))
	}
	delete(w.metadata, "organisationUnits") // those were there before
}

// configure writes the fieldkit.yaml of one of several kits.
func (w *world) configure(kit int, url, database string) {
	w.t.Helper()
	config := fmt.Sprintf("name: kit-%d\ncentral: {url: %s}\nscope: {orgUnits: [%s], programs: [%s], dataSets: []}\nlocal: {url: %s, database: '%s'}\nnumbers: {patients: 1500}\n",
		kit, w.central.BaseURL(), w.id("villages"), w.id("clinic"), url, database)
	if err := os.WriteFile(filepath.Join(w.kitDir, "fieldkit.yaml"), []byte(config), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// checkNumbers expects status to say how many numbers were handed out.
func (w *world) checkNumbers(handedOut int64) {
	w.t.Helper()
	kit := w.open()
	status, err := kit.Status(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := kit.Close(); err != nil {
		w.t.Fatal(err)
	}
	found := 0
	for _, one := range status.Trip.Numbers {
		if one.OrgUnitCode != "" && one.OrgUnitCode != w.unitCode("soloy") {
			continue
		}
		found++
		if one.HandedOut == nil || *one.HandedOut != handedOut || *one.Left != one.Reserved-handedOut || one.Beyond != 0 || one.Reserved < 1500 {
			w.t.Errorf("status of %s after %d: %s", one.Pattern, handedOut, asJSON(one))
		}
	}
	if found != len(patterns) {
		w.t.Errorf("status speaks of %d keys, want %d: %s", found, len(patterns), asJSON(status.Trip.Numbers))
	}
}
