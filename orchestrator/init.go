package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/google/renameio/v2"
)

// InitOptions say what a new fieldkit.yaml is to hold. What is empty is asked for, where there is somebody
// to ask.
type InitOptions struct {
	// Dir is the kit's directory; it is made when it is not there.
	Dir string
	// Overwrite replaces a fieldkit.yaml that is there.
	Overwrite bool

	Name     string
	Central  string
	OrgUnits []string
	Programs []string
	DataSets []string
	Since    string
	Local    string
	// ClinicName, ClinicAddress and ClinicPort say where tablets find the kit's own DHIS2; not with Local.
	ClinicName, ClinicAddress, ClinicPort string

	Environment func(string) string
	// Ask is nil where nobody is there to be asked: then what is required must be given.
	Ask Ask
	// Tell shows what there is to choose from.
	Tell func(line string)
	// HTTP is for the connection to central, which is only made to offer what central has.
	HTTP dhis2api.Options
	// Machine tells which addresses there are; the real one when nil.
	Machine Machine
}

// Init writes fieldkit.yaml and returns its path. The file appears whole or not at all, readable by its
// owner only. A file that is there already, and what is missing or malformed, is an ErrUsage.
func Init(ctx context.Context, options InitOptions) (string, error) {
	path := filepath.Join(options.Dir, ConfigFile)
	if _, err := os.Lstat(path); err == nil && !options.Overwrite {
		return "", WithHint(usagef("%s is there already", path), "--yes replaces it")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := options.complete(ctx); err != nil {
		return "", err
	}
	content := options.file()
	if _, err := ParseConfig(path, []byte(content)); err != nil {
		return "", err
	}
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return "", err
	}
	return path, renameio.WriteFile(path, []byte(content), 0o600)
}

// complete checks what is given and asks for what is not.
func (o *InitOptions) complete(ctx context.Context) error {
	for _, given := range []struct {
		flag, value string
		check       func(string) error
	}{{"--name", o.Name, checkName}, {"--central", o.Central, checkServerURL},
		{"--since", o.Since, checkDate}, {"--local", o.Local, checkServerURL},
		{"--clinic-name", o.ClinicName, checkHostName}, {"--clinic-address", o.ClinicAddress, checkAddress}, {"--clinic-port", o.ClinicPort, checkPort}} {
		if given.value == "" {
			continue
		}
		if err := given.check(given.value); err != nil {
			return WithHint(usagef("%s: %v", given.flag, err), "%s", Hint(err))
		}
	}
	if o.Local != "" && (o.ClinicName != "" || o.ClinicAddress != "" || o.ClinicPort != "") {
		return WithHint(usagef("--local names a DHIS2 that runs already, and --clinic-... is about the kit's own"), "leave out one of them")
	}
	if o.Ask == nil {
		if o.ClinicAddress != "" && o.ClinicName == "" {
			o.ClinicName = suggestedName(o.Name)
		}
		var missing []string
		for flag, there := range map[string]bool{"--name": o.Name != "", "--central": o.Central != "", "--org-unit": len(o.OrgUnits) > 0} {
			if !there {
				missing = append(missing, flag)
			}
		}
		slices.Sort(missing)
		if missing != nil {
			return WithHint(usagef("not given: %s", strings.Join(missing, ", ")), "without a terminal nothing is asked")
		}
		return nil
	}
	if err := o.askName(); err != nil {
		return err
	}
	if err := askText(o.Ask, &o.Central, "central's address", checkServerURL); err != nil {
		return err
	}
	if err := o.askScope(ctx); err != nil {
		return err
	}
	if err := askOptional(o.Ask, &o.Since, "carry data since which day, as in 2024-01-31 (empty: everything)", checkDate); err != nil {
		return err
	}
	if o.ClinicName == "" && o.ClinicAddress == "" {
		question := "address of the DHIS2 that serves as the kit's (empty: the kit runs its own)"
		if err := askOptional(o.Ask, &o.Local, question, checkServerURL); err != nil || o.Local != "" {
			return err
		}
	}
	return o.askClinic()
}

// askClinic asks where tablets are to find the kit's own DHIS2, which may be decided later.
func (o *InitOptions) askClinic() error {
	machine := o.Machine
	if machine == nil {
		machine = thisMachine{}
	}
	addresses, err := machine.Addresses()
	if err != nil {
		return fmt.Errorf("cannot list this machine's addresses: %w", err)
	}
	question := "this machine's address in the clinic's network" + others(addresses) + " (empty: decide later)"
	if err := askOptional(o.Ask, &o.ClinicAddress, question, checkAddress); err != nil || o.ClinicAddress == "" {
		return err
	}
	offered := suggestedName(o.Name)
	if err := askOptional(o.Ask, &o.ClinicName, fmt.Sprintf("name by which tablets find the kit, unlike any other kit's [%s]", offered), checkHostName); err != nil {
		return err
	}
	if o.ClinicName == "" {
		o.ClinicName = offered
	}
	return nil
}

func (o *InitOptions) askName() error {
	if o.Name != "" {
		return nil
	}
	offered := "kit-1"
	if absolute, err := filepath.Abs(o.Dir); err == nil && checkName(filepath.Base(absolute)) == nil {
		offered = filepath.Base(absolute)
	}
	if err := askOptional(o.Ask, &o.Name, fmt.Sprintf("the kit's name [%s]", offered), checkName); err != nil {
		return err
	}
	if o.Name == "" {
		o.Name = offered
	}
	return nil
}

// askText asks until the answer passes the check; a value that is there is kept.
func askText(ask Ask, value *string, text string, check func(string) error) error {
	for *value == "" {
		if err := askOptional(ask, value, text, check); err != nil {
			return err
		}
	}
	return nil
}

// askOptional is askText, and takes no answer for one.
func askOptional(ask Ask, value *string, text string, check func(string) error) error {
	if *value != "" {
		return nil
	}
	question := text
	for {
		answer, err := ask(Prompt{Text: question})
		if err != nil || answer == "" {
			return err
		}
		err = check(answer)
		if err == nil {
			*value = answer
			return nil
		}
		question = fmt.Sprintf("%v (%s); %s", err, Hint(err), text)
	}
}

// askScope offers central's org units, programs and data sets, as far as they are not given.
func (o *InitOptions) askScope(ctx context.Context) error {
	if len(o.OrgUnits) > 0 && len(o.Programs) > 0 && len(o.DataSets) > 0 {
		return nil
	}
	credentials, err := Credentials(Central, o.Environment, o.Ask)
	if err != nil {
		return err
	}
	client, err := Connect(ctx, Central, o.Central, credentials, o.HTTP)
	if err != nil {
		return err
	}
	for len(o.OrgUnits) == 0 {
		text, err := o.Ask(Prompt{Text: "org unit: a code, a uid or part of a name (empty: those at the top)"})
		if err != nil {
			return err
		}
		query := dhis2api.ListQuery{Filters: []string{"code:eq:" + text, "id:eq:" + text, "name:ilike:" + text}, AnyOf: true, Order: "name:asc"}
		if text == "" {
			query = dhis2api.ListQuery{Filters: []string{"level:le:2"}, Order: "path:asc"}
		}
		if o.OrgUnits, err = o.choose(ctx, client, "organisationUnits", "org units", query, false); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		class string
		words string
		names *[]string
	}{{"programs", "programs", &o.Programs}, {"dataSets", "data sets", &o.DataSets}} {
		if len(*list.names) > 0 {
			continue
		}
		if *list.names, err = o.choose(ctx, client, list.class, list.words, dhis2api.ListQuery{Order: "name:asc"}, true); err != nil {
			return err
		}
	}
	return nil
}

// shown is how many objects are offered at a time.
const shown = 40

// choice is an object that can be chosen.
type choice struct{ ID, Code, Name string }

// word is what the file will call it: the code, which people can read, where there is one.
func (c choice) word() string {
	if c.Code != "" {
		return c.Code
	}
	return c.ID
}

// choose lists what a query finds and asks which are wanted. With all, no answer means all of them: nil;
// without, that none was right.
func (o *InitOptions) choose(ctx context.Context, client *dhis2api.Client, class, words string, query dhis2api.ListQuery, all bool) ([]string, error) {
	query.Fields, query.PageSize = "id,code,name", shown
	var found []choice
	for object, err := range client.List(ctx, class, query) {
		if err != nil {
			return nil, atServer(ctx, Central, o.Central, err)
		}
		if len(found) == shown {
			o.Tell(fmt.Sprintf("and more, which codes or uids name; here are the first %d:", shown))
			break
		}
		var c choice
		if err := json.Unmarshal(object, &c); err != nil {
			return nil, fmt.Errorf("central's list of %s: %w", class, err)
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		o.Tell("central shows this account no such " + words)
		return nil, nil
	}
	for i, c := range found {
		o.Tell(fmt.Sprintf("%3d  %s  %s", i+1, c.word(), c.Name))
	}
	text := "which of these " + words + "? numbers, separated by spaces (empty: look for others)"
	if all {
		text = fmt.Sprintf("which %s? numbers, codes or uids, separated by spaces, or none [all]", words)
	}
	for question := text; ; {
		answer, err := o.Ask(Prompt{Text: question})
		if err != nil {
			return nil, err
		}
		chosen, wrong := pick(answer, found, all)
		if wrong == "" {
			return chosen, nil
		}
		question = fmt.Sprintf("there is no %s here; %s", wrong, text)
	}
}

// pick turns an answer into codes and uids, or returns the word that is no choice. Words that are not
// numbers are taken as they are when free.
func pick(answer string, found []choice, free bool) (chosen []string, wrong string) {
	words := strings.FieldsFunc(answer, func(r rune) bool { return r == ' ' || r == ',' })
	switch {
	case free && slices.Equal(words, []string{"all"}):
		return nil, ""
	case free && slices.Equal(words, []string{"none"}):
		return []string{}, ""
	}
	for _, word := range words {
		at := slices.IndexFunc(found, func(c choice) bool { return c.ID == word || c.Code == word })
		number, err := strconv.Atoi(word)
		switch {
		case at >= 0:
			chosen = append(chosen, found[at].word())
		case err == nil && number >= 1 && number <= len(found):
			chosen = append(chosen, found[number-1].word())
		case free && err != nil:
			chosen = append(chosen, word)
		default:
			return nil, word
		}
	}
	return chosen, ""
}

// file is the file's content.
func (o *InitOptions) file() string {
	var b strings.Builder
	line := func(format string, arguments ...any) { fmt.Fprintf(&b, format+"\n", arguments...) }
	line("# What this kit carries, from where, to which DHIS2. `fieldkit doctor` checks it.")
	line("name: %s", quote(o.Name))
	line("# The account comes from FIELDKIT_CENTRAL_TOKEN, or FIELDKIT_CENTRAL_USER and FIELDKIT_CENTRAL_PASSWORD,")
	line("# or is asked for; it is never kept here.")
	line("central: {url: %s}", quoteAddress(o.Central))
	line("scope:")
	line("  # Codes or uids; everything below is included.")
	line("  orgUnits: %s", quoteList(o.OrgUnits))
	for _, list := range []struct {
		key   string
		names []string
	}{{"programs", o.Programs}, {"dataSets", o.DataSets}} {
		if list.names == nil || slices.Equal(list.names, []string{"all"}) {
			line("  %s: all", list.key)
		} else {
			line("  %s: %s", list.key, quoteList(list.names))
		}
	}
	if o.Since != "" {
		line("  since: %s", o.Since)
	}
	if o.Local != "" {
		line("# A DHIS2 that runs; its account comes from FIELDKIT_LOCAL_USER and FIELDKIT_LOCAL_PASSWORD, or is asked for.")
		line("local: {url: %s}", quoteAddress(o.Local))
		return b.String()
	}
	line("# Where tablets find the kit. They key their data by it: it stays as it is once `fieldkit up` was run.")
	if o.ClinicAddress == "" || o.ClinicName == "" {
		line("# clinic: {name: %s, address: 192.168.8.2, port: 80}", suggestedName(o.Name))
		return b.String()
	}
	port := o.ClinicPort
	if port == "" {
		port = strconv.Itoa(defaultPort)
	}
	line("clinic: {name: %s, address: %s, port: %s}", quote(o.ClinicName), o.ClinicAddress, port)
	return b.String()
}

// plain is text that needs no quotes in YAML, wherever it stands; an address needs none as a mapping's value.
var (
	plain        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./-]*$`)
	plainAddress = regexp.MustCompile(`^https?://[A-Za-z0-9_./-]+(:[0-9]+)?[A-Za-z0-9_./-]*$`)
)

// quoteAddress is quote for the value of a mapping.
func quoteAddress(text string) string {
	if plainAddress.MatchString(text) {
		return text
	}
	return quote(text)
}

// quote writes a string so that it is read back as it is.
func quote(text string) string {
	switch strings.ToLower(text) {
	case "true", "false", "null", "all", "yes", "no", "on", "off":
	default:
		if plain.MatchString(text) {
			return text
		}
	}
	quoted, err := json.Marshal(text) // a JSON string is one of YAML's
	if err != nil {
		return strconv.Quote(text) // json.Marshal never fails on a string
	}
	return string(quoted)
}

func quoteList(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
