package orchestrator

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// PeopleReceipt says who can log in on the kit.
type PeopleReceipt struct {
	// Ready counts those who log in with the password of the people file, Given those among them whom this run
	// gave it.
	Ready int `json:"ready"`
	Given int `json:"given"`
	// Own are the usernames of those who have a password of their own on the kit, which stays.
	Own []string `json:"own,omitempty"`
	// Without are the usernames of those who work in the scope and have no password.
	Without []string `json:"without,omitempty"`
}

// person is somebody of central's who works in the scope.
type person struct {
	id, username, name, station string
	// superuser: one of the roles may do everything.
	superuser bool
}

// peopleOf are the people in the metadata who may log in: enabled, and not expired. Nobody is ever logged in as
// admin with a password of ours: that account is the server's own.
func peopleOf(metadata snapshot.Metadata, now time.Time) ([]person, error) {
	super := map[string]bool{}
	for _, raw := range metadata["userRoles"] {
		var role struct {
			ID          string
			Authorities []string
		}
		if err := json.Unmarshal(raw, &role); err != nil {
			return nil, fmt.Errorf("cannot read a role of central's: %w", err)
		}
		super[role.ID] = slices.Contains(role.Authorities, "ALL")
	}
	var people []person
	for _, raw := range metadata["users"] {
		var user struct {
			ID, Username, FirstName, Surname, JobTitle, AccountExpiry string
			Disabled                                                  bool
			UserRoles                                                 []dhis2api.Ref
		}
		if err := json.Unmarshal(raw, &user); err != nil {
			return nil, fmt.Errorf("cannot read a user of central's: %w", err)
		}
		expired := user.AccountExpiry != "" && user.AccountExpiry < now.Format("2006-01-02T15:04:05")
		if user.Disabled || expired || strings.EqualFold(user.Username, "admin") {
			continue
		}
		people = append(people, person{
			id: user.ID, username: user.Username, name: strings.TrimSpace(user.FirstName + " " + user.Surname), station: user.JobTitle,
			superuser: slices.ContainsFunc(user.UserRoles, func(role dhis2api.Ref) bool { return super[role.ID] }),
		})
	}
	slices.SortFunc(people, func(a, b person) int { return strings.Compare(a.username, b.username) })
	return people, nil
}

// noteAccounts notes, before the metadata is loaded, whose accounts the kit does not have: loading makes them,
// and nobody can log in to them until they are given a password. Whoever has an account already keeps it as it
// is.
func (p *preparation) noteAccounts(ctx context.Context, metadata snapshot.Metadata) error {
	server, err := snapshot.IdentifyServer(ctx, p.local)
	if err != nil {
		return err
	}
	if p.accounts, err = p.kit.readAccounts(); err != nil {
		return err
	}
	if !p.accounts.Server.Same(server) {
		p.accounts = newAccounts()
	}
	p.accounts.Server = server
	people, err := peopleOf(metadata, p.kit.options.Now())
	if err != nil {
		return err
	}
	there, err := snapshot.UsersOn(ctx, p.local, metadata)
	if err != nil {
		return fmt.Errorf("look at the kit's own accounts: %w", err)
	}
	strangers := map[string]person{}
	for _, one := range people {
		if there[strings.ToLower(one.username)] == "" {
			strangers[one.id] = one
		}
	}
	// Whom central renamed the kit has, under the old name.
	for chunk := range slices.Chunk(slices.Sorted(maps.Keys(strangers)), 100) {
		query := dhis2api.ListQuery{Fields: "id", Filters: []string{"id:in:[" + strings.Join(chunk, ",") + "]"}}
		for user, err := range dhis2api.ListAs[dhis2api.Ref](ctx, p.local, "users", query) {
			if err != nil {
				return fmt.Errorf("look at the kit's own accounts: %w", err)
			}
			delete(strangers, user.ID)
		}
	}
	p.recognise(people)
	for id, one := range strangers {
		p.accounts.People[id] = &localAccount{Username: one.username, Made: true}
	}
	return p.kit.writeAccounts(p.accounts)
}

// recognise finds people whom central made anew under another uid: the kit has them under the name that they kept.
func (p *preparation) recognise(people []person) {
	byName := map[string]string{}
	for id, known := range p.accounts.People {
		byName[strings.ToLower(known.Username)] = id
	}
	for _, one := range people {
		before := byName[strings.ToLower(one.username)]
		if p.accounts.People[one.id] == nil && before != "" && !slices.ContainsFunc(people, func(other person) bool { return other.id == before }) {
			p.accounts.People[one.id] = p.accounts.People[before]
			delete(p.accounts.People, before)
		}
	}
}

// givePasswords lets people log in on the kit, once their accounts are there, and proves that they can.
//
// Somebody is given the password of the people file when prepare made the account and it has none yet, and
// when another password was written into the file since the last prepare. Whoever does not log in with the one
// that stood there has chosen their own, and keeps it: tablets with unsent work know only that.
func (p *preparation) givePasswords(ctx context.Context, metadata snapshot.Metadata) error {
	people, err := peopleOf(metadata, p.kit.options.Now())
	if err != nil {
		return err
	}
	there, err := snapshot.UsersOn(ctx, p.local, metadata)
	if err != nil {
		return err
	}
	me, err := p.local.Me(ctx)
	if err != nil {
		return err
	}
	people = slices.DeleteFunc(people, func(one person) bool {
		return there[strings.ToLower(one.username)] == "" || one.id == me.ID || strings.EqualFold(one.username, me.Username) || p.isSyncAccount(one.username)
	})
	for _, known := range p.accounts.People {
		known.Carried, known.Own = false, false
	}
	if p.people != nil {
		p.kit.options.Progress.Step("letting people log in")
		if err := p.completePeople(people); err != nil {
			return err
		}
		p.receipt.People = &PeopleReceipt{}
		for i, one := range people {
			if err := p.letIn(ctx, one, there[strings.ToLower(one.username)]); err != nil {
				return err
			}
			p.kit.options.Progress.Count("people", int64(i+1), int64(len(people)))
		}
		p.warnAboutPeople(people)
	}
	return p.kit.writeAccounts(p.accounts)
}

// isSyncAccount tells whether a name is that of the account that fieldkit uses at central: nobody works with it.
func (p *preparation) isSyncAccount(username string) bool {
	return strings.EqualFold(username, p.about.Account)
}

// completePeople makes passwords for those who have none, where they are made here. A superuser gets one only
// by a line that somebody wrote: such a card does not belong in a village.
func (p *preparation) completePeople(people []person) error {
	if !p.kit.config.Users.Generate {
		return nil
	}
	changed := false
	for _, one := range people {
		row := p.people.row(one.username)
		if known := p.accounts.People[one.id]; row < 0 && known != nil && known.Username != one.username {
			if row = p.people.row(known.Username); row >= 0 { // central renamed somebody, whose password stays
				p.people.set(row, columnUsername, one.username)
				changed = true
			}
		}
		if row < 0 && one.superuser {
			continue
		}
		if row < 0 {
			p.people.add(rosterEntry{Name: one.name, Station: one.station, Username: one.username})
			row = len(p.people.rows) - 1
		}
		if p.people.entry(row).Password != "" {
			continue
		}
		password, err := newPassword(rand.Reader, one.username)
		if err != nil {
			return err
		}
		p.people.set(row, columnPassword, password)
		changed = true
	}
	if !changed {
		return nil
	}
	return p.people.write()
}

// letIn makes sure that somebody logs in with the password of the people file, if it is ours to set; uid is the
// account's on the kit, which may not be central's.
func (p *preparation) letIn(ctx context.Context, one person, uid string) error {
	known := p.accounts.People[one.id]
	if known == nil {
		known = &localAccount{}
		p.accounts.People[one.id] = known
	}
	known.Username, known.Name, known.Station = one.username, one.name, one.station
	entry, listed := p.people.find(one.username)
	if !listed || entry.Password == "" {
		p.receipt.People.Without = append(p.receipt.People.Without, one.username)
		return nil
	}
	known.Carried = true
	noted := known.Seal != "" && opensSeal(known.Seal, entry.Password)
	if !noted && (known.Made || known.Seal != "") {
		if err := p.givePassword(ctx, one, uid, entry.Password); err != nil {
			return err
		}
		p.receipt.People.Given++
	}
	in, err := p.logsIn(ctx, one.username, entry.Password)
	if err != nil {
		return err
	}
	if known.Own = !in; known.Own {
		p.receipt.People.Own = append(p.receipt.People.Own, one.username)
	} else {
		p.receipt.People.Ready++
	}
	if noted {
		return nil
	}
	if known.Seal, err = sealPassword(entry.Password); err != nil {
		return err
	}
	return p.kit.writeAccounts(p.accounts)
}

// givePassword sets a password and proves it.
func (p *preparation) givePassword(ctx context.Context, one person, uid, password string) error {
	if err := p.local.SetPassword(ctx, uid, password); err != nil {
		return fmt.Errorf("cannot give %s a password on the kit: %w", one.username, err)
	}
	in, err := p.logsIn(ctx, one.username, password)
	if err == nil && !in {
		err = WithHint(fmt.Errorf("%s cannot log in on the kit with the password just given", one.username),
			"look at the account on the kit: is it disabled, or does it ask for a second factor?")
	}
	return err
}

// logsIn tries to log in on the kit.
func (p *preparation) logsIn(ctx context.Context, username, password string) (bool, error) {
	options := p.kit.clientOptions()
	if p.stack != nil {
		options = p.stack.clientOptions() // nobody else finds the kit's own containers
	}
	_, err := dhis2api.Connect(ctx, p.local.BaseURL(), dhis2api.Credentials{Username: username, Password: password}, options)
	var refused *dhis2api.UnauthorizedError
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
		// A server that lost its database says the same to everybody (DHIS2 2.42).
		_, err = p.local.Me(ctx)
		return false, err
	}
	return err == nil, err
}

// warnAboutPeople says who will stand before a tablet without a password, and why.
func (p *preparation) warnAboutPeople(people []person) {
	receipt := p.receipt.People
	if len(receipt.Own) > 0 {
		p.warn(WithHint(fmt.Errorf("passwords that are not those of %s stay on the kit: %s", p.people.path, someNames(receipt.Own)),
			"whoever forgot it gets another one: write it into that file and prepare again"))
	}
	if without := slices.DeleteFunc(slices.Clone(receipt.Without), func(username string) bool {
		return p.kit.config.Users.Generate // superusers, deliberately
	}); len(without) > 0 {
		p.warn(fmt.Errorf("without a password in %s nobody logs in on the kit: %s", p.people.path, someNames(without)))
	}
	for row := range p.people.rows {
		username := p.people.entry(row).Username
		if p.isSyncAccount(username) {
			p.warn(fmt.Errorf("%s of %s is the account that fieldkit uses at central: it gets no password on the kit", username, p.people.path))
			continue
		}
		if p.kit.config.Users.File != "" && !slices.ContainsFunc(people, func(one person) bool { return strings.EqualFold(one.username, username) }) {
			p.warn(fmt.Errorf("%s of %s has no account at central that works in the scope", username, p.people.path))
		}
	}
}

// someNames lists names, but not without end.
func someNames(names []string) string {
	const most = 20
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
