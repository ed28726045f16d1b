package orchestrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// circumstances tells what central's no depended on. As long as that is unchanged, asking again is pointless
// and only makes noise at central. It asks central only when there is a refusal to think over.
type circumstances struct {
	central *dhis2api.Client
	aliases *aliases
	files   *files
	// metadata fingerprints what central's checks are made of; unique are the unique attributes. Both are
	// read once a run, when first needed.
	metadata string
	unique   map[string]bool
}

// of fingerprints the circumstances of one change: central's metadata, what central holds of the root, and who
// holds the unique values that the kit wants to send. Those come second, as "attribute holder".
func (c *circumstances) of(ctx context.Context, v *view, r root, change journal.Change) (fingerprint string, holders []string, err error) {
	if err := c.prepare(ctx); err != nil {
		return "", nil, atServer(ctx, Central, c.central.BaseURL(), err)
	}
	h := sha256.New()
	fmt.Fprintln(h, c.metadata)
	for _, ref := range slices.SortedFunc(maps.Keys(v.central.faces[r].Objects), merge.Ref.Compare) {
		fmt.Fprintf(h, "%x\n", merge.Hash(v.central.faces[r].Objects[ref]))
	}
	if holders, err = c.holders(ctx, v, change); err != nil {
		return "", nil, atServer(ctx, Central, c.central.BaseURL(), err)
	}
	fmt.Fprintln(h, strings.Join(holders, "\n"))
	if change.Field != "" {
		file, err := c.files.fingerprint(ctx, change, v.local.faces[r])
		if err != nil {
			return "", nil, err
		}
		fmt.Fprint(h, file)
	}
	return hex.EncodeToString(h.Sum(nil)), holders, nil
}

// holders names who holds, at central, the unique values of the person that the change is about: one
// "attribute holder" each, in order.
func (c *circumstances) holders(ctx context.Context, v *view, change journal.Change) ([]string, error) {
	person := v.local.persons[change.UID]
	if change.Ref.Kind != merge.TrackedEntity || person == nil {
		return nil, nil
	}
	var holders []string
	for _, a := range person.Attributes {
		sent := a.Value
		if value, decided := change.Content[a.Attribute]; decided {
			sent = value
		}
		if !c.unique[a.Attribute] || sent == "" || (change.Field != "" && change.Field != a.Attribute) {
			continue
		}
		query := dhis2api.TrackedEntityQuery{
			TrackedEntityType: person.TrackedEntityType,
			Filters:           []string{a.Attribute + ":eq:" + escapeFilter(sent)},
			Paging:            dhis2api.Paging{Fields: "trackedEntity", PageSize: 10},
		}
		for holder, err := range c.central.TrackedEntities(ctx, query) {
			if err != nil {
				return nil, err
			}
			if holder.TrackedEntity != c.aliases.of(person.TrackedEntity) {
				holders = append(holders, a.Attribute+" "+holder.TrackedEntity)
			}
		}
	}
	slices.Sort(holders)
	return holders, nil
}

// heldBy says who holds the unique values that an object was refused for; empty where that is not known, or was not
// the reason.
func heldBy(code string, holders []string) string {
	if code != codeNotUnique || len(holders) == 0 {
		return ""
	}
	var people []string
	for _, holder := range holders {
		if _, uid, _ := strings.Cut(holder, " "); !slices.Contains(people, uid) {
			people = append(people, uid)
		}
	}
	return "at central it is trackedEntity " + strings.Join(people, ", ") + "; "
}

// escapeFilter makes a value safe in a filter: DHIS2 2.41 to 2.43 take a slash before comma, colon and slash
// as an escape.
func escapeFilter(value string) string {
	return strings.NewReplacer("/", "//", ",", "/,", ":", "/:").Replace(value)
}

// fingerprinted are the classes of metadata that DHIS2's validation of tracker and aggregate data looks at,
// with the fields that tell a change.
func fingerprinted() map[string]string {
	const plain = "id,lastUpdated"
	return map[string]string{
		"programs": plain, "programStages": plain, "trackedEntityTypes": plain, "trackedEntityAttributes": plain,
		"dataElements": plain, "optionSets": plain + ",version,options[id]", "dataSets": plain, "programRules": plain, "relationshipTypes": plain,
		"categoryOptions": plain,
	}
}

func (c *circumstances) prepare(ctx context.Context) error {
	if c.metadata != "" {
		return nil
	}
	h := sha256.New()
	classes := fingerprinted()
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		for object, err := range c.central.List(ctx, class, dhis2api.ListQuery{Fields: classes[class], Order: "id:asc"}) {
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%s %s\n", class, object)
		}
	}
	me, err := c.central.Me(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(h, slices.Sorted(slices.Values(me.Authorities)), me.OrganisationUnits)
	c.unique = map[string]bool{}
	query := dhis2api.ListQuery{Fields: "id", Filters: []string{"unique:eq:true"}}
	for attribute, err := range dhis2api.ListAs[dhis2api.Ref](ctx, c.central, "trackedEntityAttributes", query) {
		if err != nil {
			return err
		}
		c.unique[attribute.ID] = true
	}
	c.metadata = hex.EncodeToString(h.Sum(nil))
	return nil
}
