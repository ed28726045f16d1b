package orchestrator_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestClone proves a kit by somebody else's eyes: central is filled with about everything that DHIS2 can hold, clean and
// dirty, a part of it is prepared, and .tools/twins, a script that knows nothing of fieldkit, reads both servers and has
// to find no difference within the scope and nothing outside it. Then things change, at central and in the scope, and
// after each further prepare the script looks again. At last the kit is broken on purpose, and the script has to say
// exactly where.
//
// It runs on simulated servers of every supported version, or on those named by FIELDKIT_ACCEPTANCE_CENTRAL and
// _LOCAL (`make clone`): these have to be fresh, since what stands on the kit before is outside the scope.
func TestClone(t *testing.T) {
	if central := os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL"); central != "" {
		cloned(t, central, os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL"), os.Getenv("FIELDKIT_ACCEPTANCE_LOCAL_DATABASE"))
		return
	}
	if testing.Short() {
		t.Skip("the race detector takes ten times as long")
	}
	for _, version := range []string{"2.42.5.2", "2.41.9.1", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			cloned(t, simulated(t, version), simulated(t, version), "")
		})
	}
}

func cloned(t *testing.T, central, local, database string) {
	c := newClone(t, central, local, database)
	c.fill()
	receipt := c.prepareAgain()
	t.Logf("the first prepare: %s", asJSON(receipt.Load.Counts))
	c.expectTwins(c.twins())
	for _, change := range changesBetweenPrepares() {
		t.Run(change.what, func(t *testing.T) {
			c.in(t, func() {
				change.at(c)
				c.prepareAgain()
				c.expectTwins(c.twins())
			})
		})
	}
	t.Run("what is broken is named", func(t *testing.T) { c.in(t, c.breakAndExpect) })
}

// clone is a central worth the name, and what a kit carries of it.
type clone struct {
	*world
	// orgUnits, programs and dataSets are uids of the scope.
	orgUnits, programs, dataSets []string
	// programmes are central's programs with registration, by uid, as patients are made from them.
	programmes map[string]*programme
	// made counts what was made, for values that have to be unique.
	made int
	// folk are the tracked entities by what they are for.
	folk map[string]*dhis2api.TrackedEntity
}

// The units of the clinic's metadata. A kit carries bocas and all below.
const (
	panama  = "zDtBfyIHGje"
	bocas   = "jMnOQwfpLgG"
	base    = "qCaunnk8t9w"
	rioCana = "P1J4eyjXQeT"
	cerro   = "pt1tlNJMGea"
	sabana  = "NAcHEVPrf2A"
	soloy   = "YHa4SyAIFQk"
	boquete = "E4Y9h4vPMzj"
)

// More of the clinic's metadata.
const (
	visitProgram = "xIkcI00xjZE"
	waterProgram = "Deay1MNLTQW"
	waterStage   = "f41ircQKy8O"
	personType   = "ig1m3E2NSOb"
	motherType   = "lLTCzq8mnWU"
	monthlyForm  = "ztr8khGB7BY"
	triageUser   = "eM4f4ivx4pi"
)

func newClone(t *testing.T, central, local, database string) *clone {
	w := newWorld(t, central, local, database)
	w.random, w.ids = rand.New(rand.NewPCG(20261125, 0)), map[string]string{} // what fails here fails again
	c := &clone{world: w, programmes: map[string]*programme{}, folk: map[string]*dhis2api.TrackedEntity{}}
	c.orgUnits = []string{bocas}
	c.programs = []string{visitProgram, waterProgram, c.id("care")}
	c.dataSets = []string{monthlyForm, c.id("weekly")}
	return c
}

// in runs a part of the test within a subtest.
func (c *clone) in(t *testing.T, run func()) {
	outer := c.t
	defer func() { c.t = outer }()
	c.t = t
	run()
}

// configure writes fieldkit.yaml.
func (c *clone) configure() {
	c.t.Helper()
	local := "{url: " + c.local.BaseURL() + "}"
	if c.database != "" {
		local = "{url: " + c.local.BaseURL() + ", database: '" + c.database + "'}"
	}
	config := fmt.Sprintf("name: clone\ncentral: {url: %s}\nscope:\n  orgUnits: [%s]\n  programs: [%s]\n  dataSets: [%s]\nlocal: %s\n",
		c.central.BaseURL(), strings.Join(c.orgUnits, ", "), strings.Join(c.programs, ", "), strings.Join(c.dataSets, ", "), local)
	if err := os.WriteFile(filepath.Join(c.kitDir, orchestrator.ConfigFile), []byte(config), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// prepareAgain prepares with the scope as it is now.
func (c *clone) prepareAgain() *orchestrator.PrepareReceipt {
	c.t.Helper()
	c.configure()
	receipt := c.prepare()
	if len(receipt.Load.Refused) > 0 {
		c.t.Errorf("the kit refuses %d records: %s", len(receipt.Load.Refused), asJSON(receipt.Load.Refused[:min(5, len(receipt.Load.Refused))]))
	}
	// DHIS2 2.41 keeps the moment of the import as the time at which an enrollment was completed.
	if !receipt.Verified && !(c.is41() && receipt.Missing == 0) {
		c.t.Errorf("prepare found %d missing and %d differing on its own", receipt.Missing, receipt.Differing)
	}
	if m := receipt.Metadata; len(m.Refused)+len(m.Missing)+len(m.Differing) > 0 {
		c.t.Errorf("metadata: %s %s %s", asJSON(m.Refused), asJSON(m.Missing), asJSON(m.Differing))
	}
	if receipt.Removed != nil && len(receipt.Removed.Hidden)+len(receipt.Removed.Used) > 0 {
		c.t.Logf("what the kit does not let go of: %s", asJSON(receipt.Removed))
	}
	return receipt
}

// twins runs the script and returns what it prints: the counts and the differences.
func (c *clone) twins() (counts, differences []string) {
	c.t.Helper()
	command := exec.CommandContext(c.t.Context(), "../.tools/twins", c.central.BaseURL(), c.local.BaseURL(),
		"--org-units", strings.Join(c.orgUnits, ","), "--programs", strings.Join(c.programs, ","), "--data-sets", strings.Join(c.dataSets, ","))
	command.Env = os.Environ()
	for name, value := range c.environment {
		command.Env = append(command.Env, name+"="+value)
	}
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		c.t.Fatalf("twins: %v: %s", err, said.String())
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, " ") {
			counts = append(counts, strings.TrimSpace(line))
		} else {
			differences = append(differences, line)
		}
	}
	if (err == nil) != (len(differences) == 0) {
		c.t.Fatalf("twins ends with %v and prints %d differences", err, len(differences))
	}
	return counts, differences
}

func (c *clone) expectTwins(counts, differences []string) {
	c.t.Helper()
	c.t.Logf("twins compared %s", strings.Join(counts, ", "))
	const shown = 40
	for _, line := range differences[:min(shown, len(differences))] {
		c.t.Errorf("difference: %s%s", line, c.about(line))
	}
	if more := len(differences) - shown; more > 0 {
		c.t.Errorf("and %d more", more)
	}
}

// about says what goes by the uids of a line, as far as this run gave them out.
func (c *clone) about(line string) string {
	var known []string
	for name, uid := range c.ids {
		if strings.Contains(line, uid) {
			known = append(known, name)
		}
	}
	for name, one := range c.folk {
		if strings.Contains(line, one.TrackedEntity) {
			known = append(known, name)
		}
	}
	if len(known) == 0 {
		return ""
	}
	slices.Sort(known)
	return " (" + strings.Join(known, ", ") + ")"
}
