package snapshot

import (
	"encoding/json"
	"fmt"
	"maps"
)

// AndroidOverlay is what a clinic's tablets are told in place of what central's Android settings say. It is for the
// kit alone and never goes back. The values are those of DHIS2's Android Settings app.
type AndroidOverlay struct {
	// DataSync and MetadataSync are how often the app synchronises by itself: 30m (data only), 1h, 6h (data only),
	// 12h, 24h, 7d (metadata only) or manual.
	DataSync, MetadataSync string
	// SettingDownload says what TrackedEntities and Events limit: GLOBAL, PER_ORG_UNIT, PER_PROGRAM or
	// PER_OU_AND_PROGRAM.
	SettingDownload string
	// TrackedEntities and Events are how many the app downloads at most.
	TrackedEntities, Events int
	// ReservedValues is how many values of each generated attribute the app keeps in store.
	ReservedValues int
	// EncryptDB encrypts the app's database, AllowScreenCapture allows pictures of its screen.
	EncryptDB, AllowScreenCapture bool
}

// androidNamespace is where the Android Settings app keeps its settings, and oldAndroidNamespace where its first
// versions did, in other keys.
const (
	androidNamespace    = "ANDROID_SETTINGS_APP"
	oldAndroidNamespace = "ANDROID_SETTING_APP"
)

// androidKeys are the keys of a namespace that an overlay is written into: what is general, how it is synchronised
// (twice in newer versions of the app), what of programs is downloaded.
func androidKeys(namespace string) (general string, synchronization []string, program string) {
	if namespace == oldAndroidNamespace {
		return "general_settings", []string{"general_settings"}, "program_settings"
	}
	return "generalSettings", []string{"synchronization", "synchronization_v2"}, ""
}

// WithAndroid is s with the overlay over central's Android settings. Where central has none it makes them: the app
// reads them only where all of info, generalSettings and synchronization are there. s stays as it is. The error
// names an entry of central's that is not a JSON object.
func (s *Settings) WithAndroid(overlay AndroidOverlay) (*Settings, error) {
	with := *s
	with.Android = map[string]map[string]json.RawMessage{}
	for namespace, entries := range s.Android {
		with.Android[namespace] = maps.Clone(entries)
	}
	namespace := androidNamespace
	if len(with.Android[namespace]) == 0 && len(with.Android[oldAndroidNamespace]) > 0 {
		namespace = oldAndroidNamespace
	}
	if with.Android[namespace] == nil {
		with.Android[namespace] = map[string]json.RawMessage{"info": json.RawMessage(`{"dataStoreVersion":"2.0"}`)}
	}
	entries := with.Android[namespace]
	change := func(key string, change func(entry map[string]any)) error {
		entry := map[string]any{}
		if raw := entries[key]; raw != nil {
			var err error
			if entry, err = decodeObject(raw); err != nil {
				return fmt.Errorf("data store %s %s of central's: %w", namespace, key, err)
			}
		}
		change(entry)
		raw, err := encodeObject(entry)
		entries[key] = raw
		return err
	}
	general, synchronization, program := androidKeys(namespace)
	if err := change(general, overlay.general); err != nil {
		return nil, err
	}
	for i, key := range synchronization {
		if i > 0 && entries[key] == nil {
			continue
		}
		err := change(key, func(entry map[string]any) {
			entry["dataSync"], entry["metadataSync"] = overlay.DataSync, overlay.MetadataSync
			if program == "" {
				entry["programSettings"] = overlay.programs(entry["programSettings"])
				if entry["dataSetSettings"] == nil {
					entry["dataSetSettings"] = map[string]any{"globalSettings": map[string]any{}, "specificSettings": map[string]any{}}
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	if program != "" {
		return &with, change(program, func(entry map[string]any) { maps.Copy(entry, overlay.programs(entry)) })
	}
	return &with, nil
}

func (o AndroidOverlay) general(entry map[string]any) {
	entry["encryptDB"], entry["allowScreenCapture"], entry["reservedValues"] = o.EncryptDB, o.AllowScreenCapture, o.ReservedValues
}

// programs writes the limits into the settings for all programs and into those for single ones, which count before
// them: a village's patients are wanted whole, whatever a whole country was limited to.
func (o AndroidOverlay) programs(settings any) map[string]any {
	programs, is := settings.(map[string]any)
	if !is {
		programs = map[string]any{}
	}
	limit := func(entry map[string]any, scope string) map[string]any {
		if entry == nil {
			entry = map[string]any{}
		}
		entry["settingDownload"], entry["teiDownload"], entry["eventsDownload"] = scope, o.TrackedEntities, o.Events
		return entry
	}
	global, _ := programs["globalSettings"].(map[string]any)
	programs["globalSettings"] = limit(global, o.SettingDownload)
	specific, is := programs["specificSettings"].(map[string]any)
	if !is {
		specific = map[string]any{}
	}
	ofOne := "ALL_ORG_UNITS" // of a single program there are only these two
	if o.SettingDownload == "PER_ORG_UNIT" || o.SettingDownload == "PER_OU_AND_PROGRAM" {
		ofOne = "PER_ORG_UNIT"
	}
	for program, entry := range specific {
		if entry, is := entry.(map[string]any); is {
			specific[program] = limit(entry, ofOne)
		}
	}
	programs["specificSettings"] = specific
	return programs
}
