package orchestrator_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestLockOutsWait: changes that would make the kit refuse what tablets have not sent are named before anything is
// loaded, and wait for a yes.
func TestLockOutsWait(t *testing.T) {
	w := newAgainWorld(t, "2.42.5.2")
	w.programs = append(w.programs, "vector")
	w.scope()
	w.again()
	cards := w.peopleFile()

	w.edit("optionSets", "diagnosis", func(set map[string]any) { set["options"] = []any{w.ref("dengue"), w.ref("other")} })
	w.remove("options", "malaria")
	w.edit("users", "lidia", func(user map[string]any) { user["disabled"] = true })
	w.writePeople(strings.Replace(w.peopleText(), cards[w.username("marta")], "Otra.clave8", 1))
	var named []string
	refusal := errors.New("not now")
	prepare := func(answer error) error {
		kit := w.open()
		receipt, err := kit.Prepare(t.Context(), orchestrator.PrepareOptions{LockOuts: func(_ context.Context, found []orchestrator.LockOut) error {
			named = nil
			for _, lockOut := range found {
				named = append(named, strings.ReplaceAll(lockOut.String(), w.id("run"), "RUN"))
			}
			return answer
		}})
		if err == nil && len(receipt.LockOuts) != 3 {
			t.Errorf("the receipt: %s", asJSON(receipt.LockOuts))
		}
		return errors.Join(err, kit.Close())
	}
	if err := prepare(refusal); !errors.Is(err, refusal) {
		t.Fatalf("prepare ends with %v", err)
	}
	run := strings.ToLower("RUN")
	want := []string{
		"Acceptance malaria RUN was withdrawn from Acceptance diagnosis RUN (whoever fills in Acceptance vector RUN): sync all tablets with the kit first",
		"lidia." + run + " is disabled (lidia Sanjur): sync all tablets with the kit first",
		"marta." + run + " gets another password (marta Sanjur): let the tablet send first, and hand out the new card",
	}
	got := slices.Clone(named)
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], strings.ToLower(w.id("run")), run)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lock-outs: %s", diff)
	}
	// Nothing was loaded: tablets still send what they have.
	if w.shown(w.local, "options", "malaria") == nil {
		t.Error("the option is gone from the kit")
	}
	w.expectLogin("lidia", cards[w.username("lidia")], true)
	w.expectLogin("marta", cards[w.username("marta")], true)
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.patient("Late", map[string]string{"phone": "6000-0009"})}}, "")

	// Somebody says yes, and is not asked about the same again.
	if err := prepare(nil); err != nil {
		t.Fatal(err)
	}
	w.gone("options", "malaria")
	w.expectLogin("lidia", cards[w.username("lidia")], false)
	w.expectLogin("marta", "Otra.clave8", true)
	if _, err := w.local.TrackedEntity(t.Context(), w.id("Late"), dhis2api.Lookup{}); err != nil {
		t.Errorf("what a tablet sent before the yes: %v", err)
	}
	named = nil
	kit := w.open()
	receipt, err := kit.Prepare(t.Context(), orchestrator.PrepareOptions{LockOuts: func(context.Context, []orchestrator.LockOut) error { return refusal }})
	if err := errors.Join(err, kit.Close()); err != nil || len(receipt.LockOuts) > 0 {
		t.Errorf("a prepare without changes: %v %s", err, asJSON(receipt))
	}
}
