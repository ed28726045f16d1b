package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// maxMetadataRounds bounds how often the bundle is sent with more left out: each round leaves out at least
// one object, and a refusal pulls along what cannot be without the object.
const maxMetadataRounds = 10

// MetadataReceipt is what became of the metadata on the target.
type MetadataReceipt struct {
	// Sent is the number of objects in the last bundle, Created and Updated what the target made of them.
	Sent    int `json:"sent"`
	Created int `json:"created"`
	Updated int `json:"updated"`
	// Refused are the objects that the target did not take, with its reasons.
	Refused []MetadataRefusal `json:"refused,omitempty"`
	// Missing are the objects that the target accepted and does not show when asked for.
	Missing []Reference `json:"missing,omitempty"`
	// Differing are the objects that the target accepted and gives back otherwise than they were sent.
	Differing []Reference `json:"differing,omitempty"`
	// Defaults maps central's default category objects to the target's own where they differ. Tracker and
	// aggregate data need the same mapping.
	Defaults map[string]string `json:"defaults,omitempty"`
}

// MetadataRefusal is an object that the target did not take.
type MetadataRefusal struct {
	Class string `json:"class"`
	UID   string `json:"uid"`
	// Code is DHIS2's, such as E5003 for a name or code that another object has.
	Code   string `json:"code"`
	Reason string `json:"reason"`
	// Earlier tells that the target has the object in an earlier form, which stays.
	Earlier bool `json:"earlier,omitempty"`
}

// MetadataRefusedError: the target refuses metadata, and leaving out what it names did not help.
type MetadataRefusedError struct {
	Refused []MetadataRefusal
}

func (e *MetadataRefusedError) Error() string {
	text := "the server refuses the metadata"
	for i, refusal := range e.Refused {
		if i == 3 {
			return fmt.Sprintf("%s; and %d more", text, len(e.Refused)-i)
		}
		text += fmt.Sprintf("; %s %s: %s %s", refusal.Class, refusal.UID, refusal.Code, refusal.Reason)
	}
	return text
}

// LoadMetadata gives the target the metadata of a scope, and gives the account in use the
// units of the scope in addition to those it has. What the target refuses is left out and named in the
// receipt; other objects of the target stay as they are. It then reads back what it sent. Objects that the target
// did not have are noted in brought before they are sent.
//
// It may be called any number of times, also with newer metadata. The account must be a superuser. A
// MetadataRefusedError tells that what was refused was not stored; after any other error anything may or may not
// be stored. Calling again is right.
func LoadMetadata(ctx context.Context, local *dhis2api.Client, metadata Metadata, scope *Scope, brought *Brought) (*MetadataReceipt, error) {
	l := &metadataLoading{local: local, metadata: metadata, target: Target{Roots: scope.Roots(), Brought: brought}}
	// A fresh server's query cache holds an empty list of period types until its first clearing: it then
	// refuses data sets (measured on 2.42.5.2).
	if err := local.ClearCache(ctx); err != nil {
		return nil, fmt.Errorf("clear the server's cache: %w", err)
	}
	if err := l.readTarget(ctx); err != nil {
		return nil, fmt.Errorf("look at the server's own metadata: %w", err)
	}
	if err := l.makeWay(ctx); err != nil {
		return nil, fmt.Errorf("make way for new metadata: %w", err)
	}
	bundle, err := l.send(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.placeUnits(ctx); err != nil {
		return nil, fmt.Errorf("levels of org units: %w", err)
	}
	if err := l.widenAccount(ctx, scope); err != nil {
		return nil, fmt.Errorf("give account %s the scope's units: %w", l.me.Username, err)
	}
	missing, differing, err := l.readBack(ctx, bundle)
	if err != nil {
		return nil, err
	}
	// Of a new object DHIS2 drops what it names and is made only later in the same import, such as the program
	// indicators of a stage's section (2.43): the second time all is there.
	if len(differing) > 0 {
		if _, err := l.importInTurn(ctx, bundle); err != nil {
			return nil, fmt.Errorf("import metadata again: %w", err)
		}
		if missing, differing, err = l.readBack(ctx, bundle); err != nil {
			return nil, err
		}
	}
	l.receipt.Missing, l.receipt.Differing = missing, differing
	if err := l.loadIcons(ctx); err != nil {
		return nil, fmt.Errorf("icons: %w", err)
	}
	return &l.receipt, nil
}

// metadataLoading is the state of one LoadMetadata.
type metadataLoading struct {
	local    *dhis2api.Client
	metadata Metadata
	me       *dhis2api.Me
	target   Target
	receipt  MetadataReceipt
}

// placeUnits has the target reckon the levels of its org units, where one is wrong: of those below a unit that moved
// DHIS2 changes the paths and leaves the levels (2.42).
func (l *metadataLoading) placeUnits(ctx context.Context) error {
	for chunk := range slices.Chunk(l.metadata.IDs("organisationUnits"), idsAtOnce) {
		query := dhis2api.ListQuery{Fields: "id,path,level", Filters: []string{idFilter(chunk)}}
		for unit, err := range dhis2api.ListAs[dhis2api.Ref](ctx, l.local, "organisationUnits", query) {
			if err != nil {
				return err
			}
			if unit.Level != strings.Count(unit.Path, "/") {
				return l.local.UpdateOrgUnitPaths(ctx)
			}
		}
	}
	return nil
}

// readTarget learns what preparing has to know of the target.
func (l *metadataLoading) readTarget(ctx context.Context) error {
	me, err := l.local.Me(ctx)
	if err != nil {
		return err
	}
	l.me = me
	l.target.Account = Account{ID: me.ID, Username: me.Username}
	l.target.Existing = map[string]map[string][]string{}
	l.target.Without, l.target.Present = map[string]bool{}, map[string]bool{}
	roles := make([]string, 0, len(me.UserRoles))
	for _, role := range me.UserRoles {
		roles = append(roles, role.ID)
	}
	query := dhis2api.ListQuery{Fields: "id,name", Filters: []string{idFilter(roles)}}
	for role, err := range dhis2api.ListAs[Role](ctx, l.local, "userRoles", query) {
		if err != nil {
			return err
		}
		l.target.Account.Roles = append(l.target.Account.Roles, role)
	}
	defaults, err := readDefaults(ctx, l.local)
	if err != nil {
		return err
	}
	l.target.Defaults = defaults
	if l.target.Users, err = UsersOn(ctx, l.local, l.metadata); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	l.receipt.Defaults = l.metadata.Defaults().Mapping(defaults)
	for _, class := range l.metadata.Classes() {
		if err := l.readLists(ctx, class); err != nil {
			return fmt.Errorf("%s: %w", class, err)
		}
	}
	return nil
}

// UsersOn finds which of the metadata's user names a server has: their uids there, by name in lower case.
func UsersOn(ctx context.Context, server *dhis2api.Client, metadata Metadata) (map[string]string, error) {
	var names []string
	for _, raw := range metadata["users"] {
		var user struct{ Username string }
		if err := json.Unmarshal(raw, &user); err != nil {
			return nil, err
		}
		names = append(names, user.Username)
	}
	users := map[string]string{}
	for chunk := range slices.Chunk(names, idsAtOnce) {
		query := dhis2api.ListQuery{Fields: "id,username", Filters: []string{"username:in:[" + strings.Join(chunk, ",") + "]"}}
		for user, err := range dhis2api.ListAs[dhis2api.User](ctx, server, "users", query) {
			if err != nil {
				return nil, err
			}
			users[strings.ToLower(user.Username)] = user.ID
		}
	}
	return users, nil
}

// readLists learns what the target's objects of a class have in the lists that preparing prunes.
func (l *metadataLoading) readLists(ctx context.Context, class string) error {
	properties := prunedLists(class)
	if properties == nil {
		return nil
	}
	if class == "programs" {
		properties = append(properties, stagesProperty)
	}
	fields := "id"
	for _, property := range properties {
		fields += "," + property + "[id]"
	}
	for chunk := range slices.Chunk(l.metadata.IDs(class), idsAtOnce) {
		query := dhis2api.ListQuery{Fields: fields, Filters: []string{idFilter(chunk)}}
		for raw, err := range l.local.List(ctx, class, query) {
			if err != nil {
				return err
			}
			var object map[string]json.RawMessage
			if err := json.Unmarshal(raw, &object); err != nil {
				return err
			}
			lists := map[string][]string{}
			for _, property := range properties {
				var references []struct{ ID string }
				if object[property] == nil {
					continue
				}
				if err := json.Unmarshal(object[property], &references); err != nil {
					return err
				}
				for _, reference := range references {
					lists[property] = append(lists[property], reference.ID)
				}
			}
			l.target.Existing[objectID(raw)] = lists
		}
	}
	return nil
}

// readDefaults reads a server's default category objects.
func readDefaults(ctx context.Context, server *dhis2api.Client) (Defaults, error) {
	defaults := Metadata{}
	for _, class := range defaultCategoryClasses() {
		query := dhis2api.ListQuery{Fields: "id,name,code", Filters: []string{"name:eq:default"}}
		for raw, err := range server.List(ctx, class, query) {
			if err != nil {
				return Defaults{}, fmt.Errorf("%s: %w", class, err)
			}
			defaults[class] = append(defaults[class], raw)
		}
	}
	return defaults.Defaults(), nil
}

// send imports the bundle whole. When the target refuses objects they are left out and the rest is sent
// again: with the atomic mode NONE DHIS2 stores objects whose references it then lacks.
func (l *metadataLoading) send(ctx context.Context) (Metadata, error) {
	for range maxMetadataRounds {
		bundle, err := l.metadata.Prepare(l.target)
		if err != nil {
			return nil, err
		}
		if err := l.noteNew(ctx, bundle); err != nil {
			return nil, err
		}
		report, err := l.importInTurn(ctx, bundle)
		if err != nil && len(l.receipt.Refused) > 0 {
			return nil, fmt.Errorf("import metadata without what was refused: %w", errors.Join(err, &MetadataRefusedError{Refused: l.receipt.Refused}))
		}
		if err != nil {
			return nil, fmt.Errorf("import metadata: %w", err)
		}
		if len(report.Problems) == 0 && report.Status != "ERROR" {
			l.receipt.Sent = bundle.Count()
			l.receipt.Created, l.receipt.Updated = report.Stats.Created, report.Stats.Updated
			return bundle, nil
		}
		grown, err := l.leaveOut(ctx, bundle, report.Problems)
		if err != nil {
			return nil, err
		}
		if !grown {
			return nil, &MetadataRefusedError{Refused: refusals(report.Problems)}
		}
	}
	return nil, &MetadataRefusedError{Refused: l.receipt.Refused}
}

// noteNew notes which objects of the bundle the target does not have.
func (l *metadataLoading) noteNew(ctx context.Context, bundle Metadata) error {
	brought := l.target.Brought
	if brought == nil {
		return nil
	}
	var made []Reference
	for class := range bundle {
		ids := slices.DeleteFunc(bundle.IDs(class), func(id string) bool { return brought.has(Reference{class, id}) })
		there, err := l.present(ctx, class, ids)
		if err != nil {
			return fmt.Errorf("look whose %s are there: %w", class, err)
		}
		if there == nil {
			continue
		}
		for _, id := range ids {
			if !there[id] {
				made = append(made, Reference{class, id})
			}
		}
	}
	return brought.add(made...)
}

// importInTurn sends what a bundle holds in the order in which DHIS2 can take it: the hooks that check working
// lists look for the data elements that these name in the database, not in the import (E4066, 2.43). With
// problems in the first part the second is not sent.
func (l *metadataLoading) importInTurn(ctx context.Context, bundle Metadata) (*dhis2api.MetadataReport, error) {
	first, then := Metadata{}, Metadata{}
	for class, objects := range bundle {
		if workingLists()[class] != "" {
			then[class] = objects
		} else {
			first[class] = objects
		}
	}
	report, err := l.importBundle(ctx, first)
	if err != nil || len(then) == 0 || len(report.Problems) > 0 || report.Status == "ERROR" {
		return report, err
	}
	lists, err := l.importBundle(ctx, then)
	if err != nil {
		return nil, err
	}
	lists.Stats.Created += report.Stats.Created
	lists.Stats.Updated += report.Stats.Updated
	return lists, nil
}

// importBundle sends a bundle; sending it twice stores the same, so an unknown outcome is sent once more.
func (l *metadataLoading) importBundle(ctx context.Context, bundle Metadata) (*dhis2api.MetadataReport, error) {
	options := dhis2api.MetadataImportOptions{}
	report, err := l.local.ImportMetadata(ctx, bundle, options)
	var unknown *dhis2api.UnknownOutcomeError
	if errors.As(err, &unknown) && ctx.Err() == nil {
		options.Async = true
		return l.local.ImportMetadata(ctx, bundle, options)
	}
	return report, err
}

// leaveOut notes the objects of the bundle that problems name. It returns false when they name none.
func (l *metadataLoading) leaveOut(ctx context.Context, bundle Metadata, problems []dhis2api.MetadataProblem) (bool, error) {
	classes := map[string]string{}
	for class := range bundle {
		for _, id := range bundle.IDs(class) {
			classes[id] = class
		}
	}
	grown := false
	for _, refusal := range refusals(problems) {
		class, ours := classes[refusal.UID]
		if !ours || l.target.Without[refusal.UID] {
			continue
		}
		there, err := l.present(ctx, class, []string{refusal.UID})
		if err != nil {
			return false, err
		}
		refusal.Class = class
		refusal.Earlier = there[refusal.UID]
		l.target.Without[refusal.UID] = true
		l.target.Present[refusal.UID] = refusal.Earlier
		l.receipt.Refused = append(l.receipt.Refused, refusal)
		grown = true
	}
	return grown, nil
}

func refusals(problems []dhis2api.MetadataProblem) []MetadataRefusal {
	refused := make([]MetadataRefusal, 0, len(problems))
	for _, problem := range problems {
		refused = append(refused, MetadataRefusal{
			Class: problem.Class, UID: problem.UID, Code: problem.Code, Reason: problem.Message,
		})
	}
	return refused
}

// present tells which of the ids the target shows; nil where it cannot list the class.
func (l *metadataLoading) present(ctx context.Context, class string, ids []string) (map[string]bool, error) {
	there := map[string]bool{}
	for chunk := range slices.Chunk(ids, idsAtOnce) {
		query := dhis2api.ListQuery{Fields: "id", Filters: []string{idFilter(chunk)}}
		for raw, err := range l.local.List(ctx, class, query) {
			if isDenied(err) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			there[objectID(raw)] = true
		}
	}
	return there, nil
}

// widenAccount adds the scope's root units and all their ancestors to the account's units; what lies below
// them is in reach with them.
func (l *metadataLoading) widenAccount(ctx context.Context, scope *Scope) error {
	parents := l.metadata.parents()
	var carried []string
	for _, root := range scope.Roots() {
		for unit := root; unit != "" && !slices.Contains(carried, unit); unit = parents[unit] {
			carried = append(carried, unit)
		}
	}
	slices.Sort(carried)
	units := dhis2api.UserUnits{
		Capture: withUnits(l.me.OrganisationUnits, carried),
		View:    withUnits(l.me.DataViewOrganisationUnits, carried),
		Search:  withUnits(l.me.TeiSearchOrganisationUnits, carried),
	}
	if len(units.Capture) == len(l.me.OrganisationUnits) &&
		len(units.View) == len(l.me.DataViewOrganisationUnits) &&
		len(units.Search) == len(l.me.TeiSearchOrganisationUnits) {
		return nil
	}
	return l.local.SetUserUnits(ctx, l.me.ID, units)
}

// withUnits are the units that an account has, and after them those it lacks.
func withUnits(has []dhis2api.Ref, wanted []string) []string {
	units := make([]string, 0, len(has)+len(wanted))
	for _, unit := range has {
		units = append(units, unit.ID)
	}
	for _, unit := range wanted {
		if !slices.Contains(units, unit) {
			units = append(units, unit)
		}
	}
	return units
}

func idFilter(ids []string) string { return "id:in:[" + strings.Join(ids, ",") + "]" }
