package snapshot

import (
	"encoding/json"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// TestAndroidOverlay: the clinic's settings over central's, and where central has none.
func TestAndroidOverlay(t *testing.T) {
	overlay := AndroidOverlay{
		DataSync: "30m", MetadataSync: "1h", SettingDownload: "PER_ORG_UNIT", TrackedEntities: 2000, Events: 3000, ReservedValues: 80, EncryptDB: true,
	}
	const made = `{"dataStoreVersion":"2.0"}`
	const none = `{"globalSettings":{},"specificSettings":{}}`
	tests := map[string]struct{ central, want map[string]map[string]string }{
		"central has none": {nil, map[string]map[string]string{"ANDROID_SETTINGS_APP": {
			"info":            made,
			"generalSettings": `{"allowScreenCapture":false,"encryptDB":true,"reservedValues":80}`,
			"synchronization": `{"dataSetSettings":` + none + `,"dataSync":"30m","metadataSync":"1h","programSettings":{"globalSettings":{"eventsDownload":3000,"settingDownload":"PER_ORG_UNIT","teiDownload":2000},"specificSettings":{}}}`,
		}}},
		"central's stay beside": {
			map[string]map[string]string{"ANDROID_SETTINGS_APP": {
				"info": `{"dataStoreVersion":"2.0","androidSettingsVersion":"2.9.0"}`, "appearance": `{"home":{}}`,
				"generalSettings":    `{"encryptDB":false,"messageOfTheDay":"Hola","reservedValues":100}`,
				"synchronization":    `{"dataSync":"24h","metadataSync":"24h","trackerImporterVersion":"V2","programSettings":{"globalSettings":{"teiDownload":500,"updateDownload":"ANY"},"specificSettings":{"xIkcI00xjZE":{"id":"xIkcI00xjZE","teiDownload":40,"settingDownload":"ALL_ORG_UNITS"}}},"dataSetSettings":{"globalSettings":{"periodDSDownload":4},"specificSettings":{}}}`,
				"synchronization_v2": `{"dataSync":"24h"}`,
			}},
			map[string]map[string]string{"ANDROID_SETTINGS_APP": {
				"info": `{"dataStoreVersion":"2.0","androidSettingsVersion":"2.9.0"}`, "appearance": `{"home":{}}`,
				"generalSettings":    `{"allowScreenCapture":false,"encryptDB":true,"messageOfTheDay":"Hola","reservedValues":80}`,
				"synchronization":    `{"dataSetSettings":{"globalSettings":{"periodDSDownload":4},"specificSettings":{}},"dataSync":"30m","metadataSync":"1h","programSettings":{"globalSettings":{"eventsDownload":3000,"settingDownload":"PER_ORG_UNIT","teiDownload":2000,"updateDownload":"ANY"},"specificSettings":{"xIkcI00xjZE":{"eventsDownload":3000,"id":"xIkcI00xjZE","settingDownload":"PER_ORG_UNIT","teiDownload":2000}}},"trackerImporterVersion":"V2"}`,
				"synchronization_v2": `{"dataSetSettings":` + none + `,"dataSync":"30m","metadataSync":"1h","programSettings":{"globalSettings":{"eventsDownload":3000,"settingDownload":"PER_ORG_UNIT","teiDownload":2000},"specificSettings":{}}}`,
			}},
		},
		"of the app's first versions": {
			map[string]map[string]string{"ANDROID_SETTING_APP": {"general_settings": `{"dataSync":"24h","numberSmsToSend":"+507"}`}},
			map[string]map[string]string{"ANDROID_SETTING_APP": {
				"general_settings": `{"allowScreenCapture":false,"dataSync":"30m","encryptDB":true,"metadataSync":"1h","numberSmsToSend":"+507","reservedValues":80}`,
				"program_settings": `{"globalSettings":{"eventsDownload":3000,"settingDownload":"PER_ORG_UNIT","teiDownload":2000},"specificSettings":{}}`,
			}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			settings := &Settings{System: map[string]string{"keyUiLocale": "es"}, Android: map[string]map[string]json.RawMessage{}}
			for namespace, entries := range test.central {
				settings.Android[namespace] = map[string]json.RawMessage{}
				for key, value := range entries {
					settings.Android[namespace][key] = json.RawMessage(value)
				}
			}
			before := mustJSON(t, settings)
			with, err := settings.WithAndroid(overlay)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]map[string]string{}
			for namespace, entries := range with.Android {
				got[namespace] = map[string]string{}
				for key, value := range entries {
					got[namespace][key] = string(value)
				}
			}
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Errorf("what tablets are told: %s", diff)
			}
			if diff := gocmp.Diff(string(before), string(mustJSON(t, settings))); diff != "" || with.System["keyUiLocale"] != "es" {
				t.Errorf("central's own changed, or the rest is not there: %s", diff)
			}
		})
	}
	broken := &Settings{Android: map[string]map[string]json.RawMessage{"ANDROID_SETTINGS_APP": {"generalSettings": json.RawMessage(`[1]`)}}}
	if _, err := broken.WithAndroid(overlay); err == nil {
		t.Error("an entry that is no object is written over")
	}
}
