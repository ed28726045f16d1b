package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// defaultAndroid is what tablets are told where the file says nothing else: to send and fetch as often as the app
// can, to fetch the clinic's patients whole, and to keep them encrypted. The limits are the Android Settings app's
// largest, the reserved values its default.
func defaultAndroid() snapshot.AndroidOverlay {
	return snapshot.AndroidOverlay{
		DataSync: "30m", MetadataSync: "1h", SettingDownload: "PER_ORG_UNIT", TrackedEntities: 2000, Events: 3000, ReservedValues: 100, EncryptDB: true,
	}
}

// androidKeys are the keys of clinic.android.
func (p *configParser) androidKeys(a *snapshot.AndroidOverlay) []key {
	d := defaultAndroid()
	return []key{
		{name: "dataSync", read: p.text(&a.DataSync, oneOf("30m", "1h", "6h", "12h", "24h", "manual")), without: "`" + d.DataSync + "`",
			says: "how often the app synchronises data by itself: `30m`, `1h`, `6h`, `12h`, `24h` or `manual`"},
		{name: "metadataSync", read: p.text(&a.MetadataSync, oneOf("1h", "12h", "24h", "7d", "manual")), without: "`" + d.MetadataSync + "`",
			says: "how often it fetches metadata by itself: `1h`, `12h`, `24h`, `7d` or `manual`"},
		{name: "settingDownload", read: p.text(&a.SettingDownload, oneOf("GLOBAL", "PER_ORG_UNIT", "PER_PROGRAM", "PER_OU_AND_PROGRAM")),
			without: "`" + d.SettingDownload + "`", says: "what the two limits below count for: `GLOBAL`, `PER_ORG_UNIT`, `PER_PROGRAM` or `PER_OU_AND_PROGRAM`"},
		{name: "teiDownload", read: p.count(&a.TrackedEntities, 100_000), without: fmt.Sprintf("`%d`", d.TrackedEntities),
			says: "how many tracked entities the app downloads at most"},
		{name: "eventsDownload", read: p.count(&a.Events, 100_000), without: fmt.Sprintf("`%d`", d.Events),
			says: "how many events it downloads at most"},
		{name: "reservedValues", read: p.count(&a.ReservedValues, 500), without: fmt.Sprintf("`%d`", d.ReservedValues),
			says: "how many values of each generated attribute it keeps in store"},
		{name: "encryptDB", read: p.flag(&a.EncryptDB), without: "`true`", says: "whether the app's database is encrypted"},
		{name: "allowScreenCapture", read: p.flag(&a.AllowScreenCapture), without: "`false`", says: "whether pictures of the app's screen may be taken"},
	}
}

// onlyAndroid tells whether clinic says no more than what tablets are told.
func (p *configParser) onlyAndroid() bool {
	return p.at["clinic.android"] != nil && p.at["clinic.name"] == nil && p.at["clinic.address"] == nil && p.at["clinic.port"] == nil
}

// oneOf accepts one of a few words.
func oneOf(words ...string) func(string) error {
	return func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		return fmt.Errorf("%s or %s is wanted here, not %q", strings.Join(words[:len(words)-1], ", "), words[len(words)-1], text)
	}
}

// count returns a reader of a whole number, from 1 to most.
func (p *configParser) count(target *int, most int) func(ast.Node) error {
	return func(node ast.Node) error {
		var value string
		err := p.text(&value, func(text string) error {
			if n, err := strconv.Atoi(text); err != nil || n < 1 || n > most {
				return WithHint(errors.New("not a number that can be used here"), "from 1 to %d", most)
			}
			return nil
		})(node)
		if err != nil {
			return err
		}
		*target, err = strconv.Atoi(value)
		return err
	}
}

// flag returns a reader of true or false.
func (p *configParser) flag(target *bool) func(ast.Node) error {
	return func(node ast.Node) error {
		value, is := node.(*ast.BoolNode)
		if !is {
			return p.fail(node, "", "true or false is wanted here")
		}
		*target = value.Value
		return nil
	}
}
