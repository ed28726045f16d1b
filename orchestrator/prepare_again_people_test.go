package orchestrator_test

import (
	"net/http"
	"os"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// What becomes of people between one prepare and the next.

func (w againWorld) peopleChange() {
	w.again()
	before := w.peopleFile()
	w.expectLogin("lidia", before[w.username("lidia")], true)
	w.edit("users", "lidia", func(user map[string]any) {
		user["firstName"], user["username"], user["organisationUnits"] = "Lidia María", w.username("lidiamaria"), []any{w.ref("cerro")}
	})
	w.edit("users", "marta", func(user map[string]any) { user["disabled"] = true })
	w.edit("users", "nilda", func(user map[string]any) { user["organisationUnits"] = []any{w.ref("city")} })
	receipt := w.again()
	w.expectLogin("lidiamaria", before[w.username("lidia")], true)
	w.expectLogin("lidia", before[w.username("lidia")], false)
	w.expectLogin("marta", before[w.username("marta")], false)
	w.expectLogin("nilda", before[w.username("nilda")], false)
	if receipt.People.Ready != 1 || receipt.People.Given != 0 {
		w.t.Errorf("people: %s", asJSON(receipt.People))
	}
	w.alike("users", "lidia")
	w.gone("users", "nilda")
	// They come back, with the passwords that are printed on their cards.
	w.edit("users", "marta", func(user map[string]any) { user["disabled"] = false })
	w.edit("users", "nilda", func(user map[string]any) { user["organisationUnits"] = []any{w.ref("soloy")} })
	receipt = w.again()
	for _, name := range []string{"marta", "nilda"} {
		w.expectLogin(name, before[w.username(name)], true)
	}
	if receipt.People.Ready != 3 {
		w.t.Errorf("people: %s", asJSON(receipt.People))
	}
}

func (w againWorld) madeAnew() {
	w.again()
	before := w.peopleFile()
	w.remove("users", "nilda")
	w.must(w.central.CreateUser(w.t.Context(), dhis2api.User{
		ID: w.id("new nilda"), Username: w.username("nilda"), FirstName: "Nilda", Surname: "Abrego", Password: "Central-" + w.id("nilda") + "-2",
		UserRoles: []dhis2api.Ref{{ID: w.id("staff")}}, OrganisationUnits: []dhis2api.Ref{{ID: w.id("soloy")}},
	}))
	receipt := w.again()
	w.expectLogin("nilda", before[w.username("nilda")], true)
	if receipt.People.Ready != 3 {
		w.t.Errorf("people: %s", asJSON(receipt.People))
	}
	if got := w.shown(w.local, "users", "nilda"); got == nil || got["surname"] != "Abrego" {
		w.t.Errorf("the account on the kit: %s", asJSON(got))
	}
	w.again()
	w.expectLogin("nilda", before[w.username("nilda")], true)
}

func (w againWorld) blindAccount() {
	if os.Getenv("FIELDKIT_ACCEPTANCE_CENTRAL") != "" {
		w.t.Skip("needs an account of central's with fewer rights")
	}
	w.again()
	role := map[string]any{"id": w.id("reader"), "name": "Reader " + w.id("run"), "authorities": []string{
		"F_TRACKED_ENTITY_INSTANCE_SEARCH_IN_ALL_ORGUNITS", "F_METADATA_EXPORT",
	}}
	w.must(w.central.Do(w.t.Context(), http.MethodPost, "/api/userRoles", nil, role, nil))
	country := []dhis2api.Ref{{ID: w.id("country")}}
	w.must(w.central.CreateUser(w.t.Context(), dhis2api.User{
		ID: w.id("sync"), Username: w.username("sync"), FirstName: "Sync", Surname: "Account", Password: "Central-Sync-1",
		UserRoles: []dhis2api.Ref{{ID: w.id("reader")}}, OrganisationUnits: country, DataViewOrganisationUnits: country, TeiSearchOrganisationUnits: country,
	}))
	w.environment["FIELDKIT_CENTRAL_USER"], w.environment["FIELDKIT_CENTRAL_PASSWORD"] = w.username("sync"), "Central-Sync-1"
	receipt := w.prepare()
	if diff := cmp.Diff([]string{"users"}, receipt.Removed.Unknown); diff != "" {
		w.t.Errorf("what is not known: %s %s", diff, asJSON(receipt.Removed))
	}
	if w.shown(w.local, "users", "lidia") == nil || w.shown(w.local, "userRoles", "staff") == nil {
		w.t.Error("an account that may not see people has removed them")
	}
	// It may see them again, and itself among them: nobody works with it, so it gets no card.
	w.edit("userRoles", "reader", func(role map[string]any) { role["authorities"] = append(role["authorities"].([]any), "F_USER_VIEW") })
	w.local = w.connect(orchestrator.Local, w.local.BaseURL())
	receipt = w.again()
	if _, card := w.peopleFile()[w.username("sync")]; card || receipt.People.Ready != 3 || w.shown(w.local, "users", "sync") == nil {
		w.t.Errorf("the account that fieldkit uses at central has a password on the kit: %s", asJSON(receipt.People))
	}
}
