package snapshot

import (
	"encoding/json"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestSettings(t *testing.T) {
	central, local := testServers(t, "2.43.1")
	closureMetadata(t, central)
	set := map[string]string{"keyUiLocale": "es", "keyDateFormat": "dd-MM-yyyy", "KeyTrackedEntityMaxLimit": "1000000"}
	for key, value := range set {
		if err := central.SetSetting(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := central.SetSetting(t.Context(), "applicationTitle", "Ministerio"); err != nil {
		t.Fatal(err)
	}
	if err := central.SetUserSetting(t.Context(), "triage1", "keyUiLocale", "fr"); err != nil {
		t.Fatal(err)
	}
	android := map[string]any{"metadataSync": "24h", "reservedValues": 50.0}
	if err := central.DataStorePut(t.Context(), "ANDROID_SETTINGS_APP", "generalSettings", android); err != nil {
		t.Fatal(err)
	}
	scope := closureScope(t, central)
	metadata, err := TakeMetadata(t.Context(), central, scope)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := TakeSettings(t.Context(), central, metadata)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(kept, settings); err != nil {
		t.Fatal(err)
	}
	changes, err := settings.LoadSystem(t.Context(), local)
	if err != nil {
		t.Fatal(err)
	}
	want := []SettingChange{
		{"KeyTrackedEntityMaxLimit", "50000", "1000000"}, {"keyDateFormat", "yyyy-MM-dd", "dd-MM-yyyy"}, {"keyUiLocale", "en", "es"},
	}
	if diff := gocmp.Diff(want, changes); diff != "" {
		t.Errorf("what the kit's settings became: %s", diff)
	}
	if changes, err = settings.LoadSystem(t.Context(), local); err != nil || len(changes) > 0 {
		t.Errorf("again: %v %v", changes, err)
	}
	if title, err := local.Setting(t.Context(), "applicationTitle"); err != nil || title == "Ministerio" {
		t.Errorf("the kit took a setting that is central's own: %q %v", title, err)
	}
	if _, err := LoadMetadata(t.Context(), local, metadata, scope, nil); err != nil {
		t.Fatal(err)
	}
	reads := func(want string) {
		t.Helper()
		own, err := local.UserSettings(t.Context(), "triage1")
		if err != nil || own["keyUiLocale"] != want {
			t.Errorf("triage1 reads %v, want %s: %v", own["keyUiLocale"], want, err)
		}
	}
	given, err := settings.LoadUser(t.Context(), local, "triage1", nil)
	if err != nil {
		t.Fatal(err)
	}
	reads("fr")
	// Central's changes follow, as long as he has not chosen for himself.
	settings.Users["triage1"]["keyUiLocale"] = "pt"
	if given, err = settings.LoadUser(t.Context(), local, "triage1", given); err != nil {
		t.Fatal(err)
	}
	reads("pt")
	if err := local.SetUserSetting(t.Context(), "triage1", "keyUiLocale", "es"); err != nil {
		t.Fatal(err)
	}
	settings.Users["triage1"]["keyUiLocale"] = "fr"
	if given, err = settings.LoadUser(t.Context(), local, "triage1", given); err != nil {
		t.Fatal(err)
	}
	reads("es")
	if given["keyUiLocale"] != "pt" {
		t.Errorf("what he was given: %v", given)
	}
	var got map[string]any
	if err := local.DataStoreGet(t.Context(), "ANDROID_SETTINGS_APP", "generalSettings", &got); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(android, got); diff != "" {
		t.Errorf("the app's settings: %s", diff)
	}
}
