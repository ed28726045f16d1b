package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// Settings are those of central's settings that change how people enter data, and with which app. Everything
// else a server has set up for itself stays with it.
type Settings struct {
	// System are values by key.
	System map[string]string `json:"system,omitempty"`
	// Users are what people have set for themselves, by username and key.
	Users map[string]map[string]string `json:"users,omitempty"`
	// Android is what the Android Settings app keeps in the data store, by namespace and key.
	Android map[string]map[string]json.RawMessage `json:"android,omitempty"`
}

// systemSettings are the keys of system settings that go along: the calendar by which periods are named, dates,
// languages, names shown, how many tracked entities a list may hold, what rules may overwrite.
func systemSettings() []string {
	return []string{
		"keyCalendar", "keyDateFormat", "keyUiLocale", "keyDbLocale", "keyAnalysisDisplayProperty", "KeyTrackedEntityMaxLimit",
		"ruleEngineAssignOverwrite",
	}
}

// userSettings are the keys of people's settings that go along.
func userSettings() []string {
	return []string{"keyUiLocale", "keyDbLocale", "keyAnalysisDisplayProperty"}
}

// androidNamespaces are where the Android Settings app keeps what Capture reads at login, the second one in its
// first versions.
func androidNamespaces() []string { return []string{androidNamespace, oldAndroidNamespace} }

// TakeSettings reads them from central, people's for the users of the metadata. What the account may not read is
// left out.
func TakeSettings(ctx context.Context, central *dhis2api.Client, metadata Metadata) (*Settings, error) {
	s := &Settings{Users: map[string]map[string]string{}, Android: map[string]map[string]json.RawMessage{}}
	system, err := central.Settings(ctx, systemSettings()...)
	if err != nil {
		return nil, fmt.Errorf("system settings: %w", err)
	}
	s.System = settingTexts(system, systemSettings())
	for _, raw := range metadata["users"] {
		var user struct{ Username string }
		if err := json.Unmarshal(raw, &user); err != nil {
			return nil, err
		}
		own, err := central.UserSettings(ctx, user.Username)
		if isRefused(err) {
			break // as it will be for everybody
		}
		if err != nil {
			return nil, fmt.Errorf("settings of %s: %w", user.Username, err)
		}
		s.Users[user.Username] = settingTexts(own, userSettings())
	}
	for _, namespace := range androidNamespaces() {
		keys, err := central.DataStoreKeys(ctx, namespace)
		if isRefused(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("data store %s: %w", namespace, err)
		}
		for _, key := range keys {
			var value json.RawMessage
			if err := central.DataStoreGet(ctx, namespace, key, &value); err != nil {
				return nil, fmt.Errorf("data store %s %s: %w", namespace, key, err)
			}
			if s.Android[namespace] == nil {
				s.Android[namespace] = map[string]json.RawMessage{}
			}
			s.Android[namespace][key] = value
		}
	}
	return s, nil
}

// isRefused tells whether a server does not let the account read something.
func isRefused(err error) bool {
	var status *dhis2api.StatusError
	return isDenied(err) || (errors.As(err, &status) && status.Status == http.StatusConflict)
}

// settingTexts are the settings with the keys as the API takes them; empty ones are not set.
func settingTexts(settings map[string]any, keys []string) map[string]string {
	texts := map[string]string{}
	for _, key := range keys {
		switch value := settings[key].(type) {
		case nil:
		case float64:
			texts[key] = strconv.FormatFloat(value, 'f', -1, 64)
		default:
			if text := fmt.Sprint(value); text != "" {
				texts[key] = text
			}
		}
	}
	return texts
}

// SettingChange is a system setting of the target that became central's.
type SettingChange struct {
	Key, Was, Is string
}

// LoadSystem gives the target central's system settings, before any data: the calendar names the periods. It
// returns what it changed, in the order of the keys; a setting that the target does not know is left out. May be
// called any number of times.
func (s *Settings) LoadSystem(ctx context.Context, local *dhis2api.Client) ([]SettingChange, error) {
	there, err := local.Settings(ctx, slices.Sorted(maps.Keys(s.System))...)
	if err != nil {
		return nil, fmt.Errorf("system settings: %w", err)
	}
	has := settingTexts(there, systemSettings())
	var changes []SettingChange
	for _, key := range slices.Sorted(maps.Keys(s.System)) {
		if has[key] == s.System[key] {
			continue
		}
		err := local.SetSetting(ctx, key, s.System[key])
		if isRefused(err) {
			continue
		}
		if err != nil {
			return changes, fmt.Errorf("system setting %s: %w", key, err)
		}
		changes = append(changes, SettingChange{Key: key, Was: has[key], Is: s.System[key]})
	}
	for namespace, entries := range s.Android {
		for key, value := range entries {
			if err := local.DataStorePut(ctx, namespace, key, value); err != nil {
				return changes, fmt.Errorf("data store %s %s: %w", namespace, key, err)
			}
		}
	}
	return changes, nil
}

// LoadUser gives somebody on the target the settings that he has at central, and returns what he has been given so
// far. Given is what the call before returned; nil where this is the first, on an account that was just made.
// Whatever differs from what he was given he has set himself, and keeps.
func (s *Settings) LoadUser(ctx context.Context, local *dhis2api.Client, username string, given map[string]string) (map[string]string, error) {
	now := maps.Clone(given)
	if now == nil {
		now = map[string]string{}
	}
	there, err := local.UserSettings(ctx, username)
	if isRefused(err) { // the target did not take the user
		return now, nil
	}
	if err != nil {
		return nil, fmt.Errorf("settings of %s: %w", username, err)
	}
	has := settingTexts(there, userSettings())
	for _, key := range userSettings() {
		want := s.Users[username][key]
		switch {
		case given != nil && has[key] != given[key] && has[key] != want:
			continue
		case has[key] == want || given == nil && want == "":
		case want == "":
			err = local.DeleteUserSetting(ctx, username, key)
		default:
			err = local.SetUserSetting(ctx, username, key, want)
		}
		if err != nil && !isRefused(err) {
			return nil, fmt.Errorf("setting %s of %s: %w", key, username, err)
		}
		if now[key] = want; want == "" {
			delete(now, key)
		}
	}
	return now, nil
}
