package orchestrator

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"filippo.io/age"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// key is one key that the file may hold: a mapping of further keys, or a value that read takes.
type key struct {
	name     string
	required bool
	keys     []key
	read     func(ast.Node) error
	// says is what the key means and without what holds when it is left out, for the reference: parts of a
	// sentence, in Markdown. A mapping that must be there has neither.
	says, without string
}

// known lists what the file may hold, read into c.
func (p *configParser) known(c *Config) []key {
	return []key{
		{name: "name", required: true, read: p.text(&c.Name, checkName), says: "the kit's name, for reports and for telling kits apart"},
		{name: "central", required: true, keys: []key{
			{name: "url", required: true, read: p.text(&c.Central.URL, checkServerURL),
				says: "central's address, as in `https://dhis2.example.org`, without `/api`"},
			{name: "rate", read: p.rate(&c.Central.Rate), without: "as fast as central answers two at a time",
				says: "the most requests a second that central is asked, as in `2` or `0.5`"},
		}},
		{name: "scope", required: true, keys: []key{
			{name: "orgUnits", required: true, read: p.list(&c.Scope.OrgUnits, nil),
				says: "org units by code or uid; everything below each is carried too"},
			{name: "programs", read: p.selection(&c.Scope.Programs), without: "`all`",
				says: "`all`, or programs by code or uid; `[]` for none"},
			{name: "dataSets", read: p.selection(&c.Scope.DataSets), without: "`all`",
				says: "`all`, or data sets by code or uid; `[]` for none"},
			{name: "since", read: p.text(&c.Scope.Since, checkDate), without: "everything",
				says: "a day, as in `2024-01-31`: events and periods before it stay at central"},
		}},
		{name: "metadata", read: p.all(&c.Scope.AllMetadata), without: "what the programs and data sets of the scope need",
			says: "`all`: all of central's metadata, dashboards and other programs too; org units and people stay those of the scope"},
		{name: "local", without: "the kit runs its own containers", says: "a DHIS2 that runs already and serves as the kit's", keys: []key{
			{name: "url", required: true, read: p.text(&c.Local.URL, checkServerURL),
				says: "its address"},
			{name: "database", read: p.text(&c.Local.Database, checkDatabaseURL), without: "not used",
				says: "its database, as in `postgres://dhis@127.0.0.1:5432/dhis2`; its password is better in `PGPASSWORD`"},
		}},
		{name: "clinic", without: "`fieldkit up` is refused", says: "where tablets find the kit's own DHIS2; they key their data by it, so it stays " +
			"as it is after the first `fieldkit up`", keys: []key{
			{name: "name", required: true, read: p.text(&c.Clinic.Name, checkHostName),
				says: "a host name that no other kit has, as in `bocas-1.clinic.lan`, and that the clinic's network knows"},
			{name: "address", required: true, read: p.address(&c.Clinic.Address),
				says: "the IPv4 address of this machine in the clinic's network, as in `192.168.8.2`"},
			{name: "port", read: p.port(&c.Clinic.Port), without: "`80`", says: "the port that tablets connect to"},
			{name: "android", keys: p.androidKeys(c.Android), without: "what is below; with local: central's own",
				says: "what tablets are told over central's settings of the Android app, never back; the only key of `clinic` that goes with `local`"},
		}},
		{name: "dhis2", without: "`dhis2/core`", says: "what the kit's own DHIS2 is made of", keys: []key{
			{name: "image", required: true, read: p.text(&c.DHIS2.Image, checkImage),
				says: "an image of DHIS2's; without a tag it is asked for with central's full version: 2.43.1 as `2.43.1.0`"},
		}},
		{name: "postgres", without: "`" + defaultPostgresImage + "`", says: "what the kit's own database is made of", keys: []key{
			{name: "image", required: true, read: p.text(&c.Postgres.Image, checkTaggedImage),
				says: "an image of PostgreSQL with PostGIS, with its tag"},
		}},
		{name: "users", read: p.users(&c.Users), without: "people are carried and cannot log in",
			says: "`generate`: prepare makes a password for everybody who works in the scope and keeps it in `" + PeopleFile +
				"`; or `{file: people.csv}`: a file with the columns username and password, and with name and station if you like"},
		{name: "conflicts", without: "all conflicts are held until somebody decides", says: "what is done about conflicts of fields: `hold`, `local` " +
			"(the kit's value goes to central) or `central` (the kit's is dropped); deletions are always held", keys: []key{
			{name: "default", read: p.text(&c.Conflicts.Default, checkPolicy), without: "`hold`", says: "what is done where nothing else is said"},
			{name: "programs", read: p.policies(&c.Conflicts.Programs), without: "as `default`",
				says: "by program, code or uid: `{NUTRITION: local}`; a person's attributes belong to no program"},
			{name: "fields", read: p.policies(&c.Conflicts.Fields), without: "as `programs`",
				says: "by attribute or data element, code or uid, or by a field such as `status`: `{PHONE: local}`"},
		}},
		{name: "report", without: "what is below", says: "how the report for people is written", keys: []key{
			{name: "language", read: p.text(&c.Report.Language, checkLanguage), without: "`en`", says: "`en` or `es`: English or Spanish"},
			{name: "names", read: p.flag(&c.Report.Names), without: "`false`", says: "`true`: report and `conflicts.csv` name people, by what DHIS2 shows of them in lists"},
		}},
		{name: "sideEffects", read: p.flag(&c.SideEffects), without: "`false`", says: "`true`: central sends the messages of its programs and forms " +
			"(SMS, e-mail) for what reconcile brings; they come late, and those that the kit sent come twice"},
		{name: "limits", without: "what is below", says: "how much one reconcile may change at central before it stops and wants `--allow`, in percent of " +
			"what the trip took along of a kind", keys: []key{
			{name: "deletions", read: p.count(&c.Limits.Deletions, 100), without: fmt.Sprintf("`%d`, and at least %d objects", defaultLimits().Deletions, fewDeletions),
				says: "how much may be deleted"},
			{name: "overwrites", read: p.count(&c.Limits.Overwrites, 100), without: fmt.Sprintf("`%d`, and at least %d objects", defaultLimits().Overwrites, fewOverwrites),
				says: "how much may be overwritten"},
		}},
		{name: "numbers", without: "what is below", says: "how many values of generated attributes (patient numbers) prepare reserves at central: " +
			"for each key of a pattern `patients`, and besides what the app keeps in store for each person and org unit", keys: []key{
			{name: "patients", read: p.count(&c.Numbers.Patients, 100_000), without: fmt.Sprintf("`%d`", defaultNumbers().Patients),
				says: "how many new patients are expected on one trip"},
			{name: "days", read: p.count(&c.Numbers.Days, 366), without: fmt.Sprintf("`%d`", defaultNumbers().Days),
				says: "how many days a trip lasts at most, for patterns with a date in them"},
		}},
		{name: "encrypt", without: "a key is made for this user", says: "for whom what the kit keeps on disk is encrypted", keys: []key{
			{name: "recipients", required: true, read: p.list(&c.Encrypt.Recipients, checkRecipient),
				says: "age public keys, `age1...`"},
		}},
	}
}

// ConfigKey describes one key of fieldkit.yaml, for the reference.
type ConfigKey struct {
	// Path is its name with those of the mappings around it, as in scope.orgUnits.
	Path string
	// Required tells whether it must be there; below a mapping that may be left out: where that mapping is.
	Required bool
	// Default is what holds without it, Meaning what a value says; both Markdown.
	Default, Meaning string
}

// ConfigKeys lists every key that fieldkit.yaml may hold, in the order in which it is best written. Of
// mappings it lists those that may be left out.
func ConfigKeys() []ConfigKey {
	p := configParser{}
	var keys []ConfigKey
	var walk func(path string, in []key)
	walk = func(path string, in []key) {
		for _, k := range in {
			if k.keys == nil || !k.required {
				keys = append(keys, ConfigKey{Path: join(path, k.name), Required: k.required, Default: k.without, Meaning: k.says})
			}
			walk(join(path, k.name), k.keys)
		}
	}
	walk("", p.known(&Config{Local: &LocalConfig{}, Clinic: &ClinicConfig{}, Android: &snapshot.AndroidOverlay{}}))
	return keys
}

// ParseConfig is LoadConfig of a file's content; path is only named in errors.
func ParseConfig(path string, data []byte) (*Config, error) {
	android := defaultAndroid()
	c := &Config{
		Path: path, Scope: Scope{Programs: Selection{All: true}, DataSets: Selection{All: true}},
		Local: &LocalConfig{}, Clinic: &ClinicConfig{Port: defaultPort}, Numbers: defaultNumbers(), Limits: defaultLimits(),
		Android: &android, DHIS2: ImageConfig{Image: defaultDHIS2Image}, Postgres: ImageConfig{Image: defaultPostgresImage},
	}
	p := configParser{file: path, at: map[string]ast.Node{}}
	p.top = p.known(c)
	root, err := p.document(data)
	if err != nil {
		return nil, err
	}
	if err := p.mapping(root, "", p.top); err != nil {
		return nil, err
	}
	c.Central.URL = strings.TrimRight(c.Central.URL, "/")
	c.Local.URL = strings.TrimRight(c.Local.URL, "/")
	return c, p.onlyOneLocal(c)
}

// onlyOneLocal makes sure that the file describes one DHIS2 for the kit, not two. Keys that say how tablets
// reach the kit must never be without effect unnoticed.
func (p *configParser) onlyOneLocal(c *Config) error {
	if c.Clinic.Name == "" {
		c.Clinic = nil
	}
	if c.Local.URL == "" {
		c.Local = nil
		if c.Clinic == nil && p.at["clinic"] != nil {
			return p.fail(p.at["clinic"], "", "clinic.name is missing")
		}
		return nil
	}
	if p.at["clinic.android"] == nil {
		c.Android = nil
	}
	for _, name := range []string{"clinic", "dhis2", "postgres"} {
		if node := p.at[name]; node != nil && !(name == "clinic" && p.onlyAndroid()) {
			return p.fail(node, "leave out local, or this", "%s is about the kit's own containers, and local names a DHIS2 that runs already", name)
		}
	}
	c.DHIS2, c.Postgres = ImageConfig{}, ImageConfig{}
	return nil
}

// configParser turns the nodes of one file into values, or into errors that name their place.
type configParser struct {
	file string
	top  []key // the whole of what is known, to look a stray key up in
	// at is where in the file each key stands, by its path.
	at map[string]ast.Node
}

// fail returns an error at a node.
func (p *configParser) fail(node ast.Node, hint, format string, arguments ...any) error {
	e := &ConfigError{File: p.file, Message: fmt.Sprintf(format, arguments...), Advice: hint}
	if node != nil {
		if position := node.GetToken().Position; position != nil {
			e.Line, e.Column = position.Line, position.Column
		}
	}
	return e
}

// document parses the file and returns its one document's root, nil when it is empty.
func (p *configParser) document(data []byte) (ast.Node, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		e := &ConfigError{File: p.file, Message: "not YAML: " + err.Error()}
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			e.Message = "not YAML: " + syntax.GetMessage()
			if token := syntax.GetToken(); token != nil && token.Position != nil {
				e.Line, e.Column = token.Position.Line, token.Position.Column
			}
		}
		return nil, e
	}
	var root ast.Node
	for _, document := range file.Docs {
		if document.Body == nil {
			continue
		}
		if root != nil {
			return nil, p.fail(document.Body, "", "a second document begins here; one is all that is read")
		}
		root = document.Body
	}
	return root, nil
}

// mapping reads the keys of a mapping at path ("" for the file's own).
func (p *configParser) mapping(node ast.Node, path string, keys []key) error {
	seen := map[string]bool{}
	if !isNothing(node) {
		mapping, ok := node.(ast.MapNode)
		if !ok {
			return p.fail(node, example(path, keys), "%s holds keys, not a value", whole(path))
		}
		for entries := mapping.MapRange(); entries.Next(); {
			name, value := entries.Key().GetToken().Value, entries.Value()
			i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
			if i < 0 {
				return p.fail(entries.Key(), p.suggest(name, path, keys), "unknown key %q%s", name, in(path))
			}
			seen[name] = true
			var err error
			below := join(path, name)
			p.at[below] = entries.Key()
			if keys[i].keys != nil {
				err = p.mapping(value, below, keys[i].keys)
			} else if isNothing(value) {
				err = p.fail(entries.Key(), "", "%s has no value", below)
			} else {
				err = keys[i].read(value)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, k := range keys {
		if k.required && !seen[k.name] && !(path == "clinic" && p.onlyAndroid()) {
			missing := k
			for path = join(path, k.name); missing.keys != nil; missing = missing.keys[0] {
				path = join(path, missing.keys[0].name)
			}
			return p.fail(node, "", "%s is missing", path)
		}
	}
	return nil
}

// suggest says which key was probably meant by an unknown one.
func (p *configParser) suggest(name, path string, keys []key) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	if nearest, ok := Nearest(name, names); ok {
		return fmt.Sprintf("did you mean %q?", nearest)
	}
	if elsewhere := find(name, "", p.top); elsewhere != "" && elsewhere != join(path, name) {
		return fmt.Sprintf("%s is known: is the line indented as it should be?", elsewhere)
	}
	return fmt.Sprintf("%s may hold %s", whole(path), strings.Join(names, ", "))
}

// find returns the path of the first key of that name in the tree, or "".
func find(name, path string, keys []key) string {
	for _, k := range keys {
		at := join(path, k.name)
		if strings.EqualFold(k.name, name) {
			return at
		}
		if found := find(name, at, k.keys); found != "" {
			return found
		}
	}
	return ""
}

// text returns a reader of one string that check, if any, accepts.
func (p *configParser) text(target *string, check func(string) error) func(ast.Node) error {
	return func(node ast.Node) error {
		value, err := p.scalar(node)
		if err != nil {
			return err
		}
		if check != nil {
			if err := check(value); err != nil {
				return p.fail(node, Hint(err), "%v", err)
			}
		}
		*target = value
		return nil
	}
}

// list returns a reader of a list of at least one string, each accepted by check, if any.
func (p *configParser) list(target *[]string, check func(string) error) func(ast.Node) error {
	return func(node ast.Node) error {
		sequence, ok := node.(*ast.SequenceNode)
		if !ok {
			return p.fail(node, "in brackets, or one a line after a dash", "a list is wanted here")
		}
		if len(sequence.Values) == 0 {
			return p.fail(node, "", "the list is empty")
		}
		for _, entry := range sequence.Values {
			var value string
			if err := p.text(&value, check)(entry); err != nil {
				return err
			}
			*target = append(*target, value)
		}
		return nil
	}
}

// selection returns a reader of `all` or a list of codes or uids, which may be empty: none at all.
func (p *configParser) selection(target *Selection) func(ast.Node) error {
	return func(node ast.Node) error {
		if sequence, ok := node.(*ast.SequenceNode); ok {
			*target = Selection{}
			if len(sequence.Values) == 0 {
				return nil
			}
			return p.list(&target.Names, nil)(node)
		}
		if value, err := p.scalar(node); err != nil || value != "all" {
			return p.fail(node, "a single one goes into brackets, too", "`all` or a list of codes or uids is wanted here")
		}
		*target = Selection{All: true}
		return nil
	}
}

// all returns a reader of `all`.
func (p *configParser) all(target *bool) func(ast.Node) error {
	return func(node ast.Node) error {
		if value, err := p.scalar(node); err != nil || value != "all" {
			return p.fail(node, "leave the key out for what the scope needs", "`all` is wanted here")
		}
		*target = true
		return nil
	}
}

// users returns a reader of `generate` or {file: FILE}.
func (p *configParser) users(target *UsersConfig) func(ast.Node) error {
	return func(node ast.Node) error {
		if _, mapping := node.(ast.MapNode); mapping {
			return p.mapping(node, "users", []key{{name: "file", required: true, read: p.text(&target.File, nil)}})
		}
		if value, err := p.scalar(node); err != nil || value != "generate" {
			return p.fail(node, "", "`generate` or {file: %s} is wanted here", PeopleFile)
		}
		target.Generate = true
		return nil
	}
}

// scalar returns a string as it stands in the file. Numbers are taken as written, leading zeros and all:
// codes often look like them.
func (p *configParser) scalar(node ast.Node) (string, error) {
	var value string
	switch n := node.(type) {
	case *ast.StringNode:
		value = n.Value
	case *ast.LiteralNode:
		value = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode:
		value = n.GetToken().Value
	case *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return "", p.fail(node, "put it in quotes if it is meant as text", "text is wanted here, not %s", n.GetToken().Value)
	case *ast.SequenceNode:
		return "", p.fail(node, "", "one value is wanted here, not a list")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "", p.fail(node, "write the value out", "anchors, aliases and tags are not read")
	default:
		return "", p.fail(node, "", "one value is wanted here")
	}
	if value == "" || value != strings.TrimSpace(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return "", p.fail(node, "", "the value is empty, begins or ends with a space, or has more than one line")
	}
	return value, nil
}

// address returns a reader of an IPv4 address that a network interface can have.
func (p *configParser) address(target *netip.Addr) func(ast.Node) error {
	return func(node ast.Node) (err error) {
		var value string
		if err := p.text(&value, checkAddress)(node); err != nil {
			return err
		}
		*target, err = netip.ParseAddr(value)
		return err
	}
}

// port returns a reader of a TCP port.
func (p *configParser) port(target *uint16) func(ast.Node) error {
	return func(node ast.Node) error {
		var value string
		if err := p.text(&value, checkPort)(node); err != nil {
			return err
		}
		number, err := strconv.ParseUint(value, 10, 16)
		*target = uint16(number)
		return err
	}
}

// rate reads how often something may happen in a second.
func (p *configParser) rate(target *float64) func(ast.Node) error {
	return func(node ast.Node) error {
		var value string
		if err := p.text(&value, checkRate)(node); err != nil {
			return err
		}
		var err error
		*target, err = strconv.ParseFloat(value, 64)
		return err
	}
}

// checkRate accepts a number of requests a second.
func checkRate(rate string) error {
	n, err := strconv.ParseFloat(rate, 64)
	if err != nil {
		n = math.NaN()
	}
	return CheckRate(n)
}

// checkLanguage accepts a language that reports are written in.
func checkLanguage(code string) error {
	if !slices.Contains(report.Languages(), code) {
		return fmt.Errorf("one of %s is wanted here, not %q", strings.Join(report.Languages(), ", "), code)
	}
	return nil
}

// CheckRate accepts a number of requests a second that a server may be asked at: from 0.01 to 1000. The error has a hint.
func CheckRate(rate float64) error {
	const least, most = 0.01, 1000
	if !(rate >= least && rate <= most) { // NaN is neither
		return WithHint(errors.New("not a number of requests a second"), "from %v to %v, as in 2", least, most)
	}
	return nil
}

var (
	hostName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	imageName = regexp.MustCompile(`^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$`)
)

// checkHostName accepts the name by which tablets find the kit.
func checkHostName(name string) error {
	_, notAddress := netip.ParseAddr(name)
	if len(name) > 253 || !hostName.MatchString(name) || notAddress == nil {
		return WithHint(errors.New("not a host name"), "small letters, digits, - and dots, as in bocas-1.clinic.lan")
	}
	return nil
}

// checkAddress accepts an IPv4 address that one network interface can have.
func checkAddress(text string) error {
	address, err := netip.ParseAddr(text)
	switch {
	case err != nil || !address.Is4():
		return WithHint(errors.New("not an IPv4 address"), "as in 192.168.8.2: what this machine has in the clinic's network")
	case address.IsUnspecified() || address.IsMulticast() || address == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return WithHint(errors.New("not the address of one machine"),
			"the one that this machine has in the clinic's network, so that the kit is open to no other")
	}
	return nil
}

// checkPort accepts a TCP port.
func checkPort(text string) error {
	if number, err := strconv.ParseUint(text, 10, 16); err != nil || number == 0 {
		return errors.New("a port is a number from 1 to 65535")
	}
	return nil
}

// checkImage accepts the name of an image, with or without a tag.
func checkImage(name string) error {
	if strings.Contains(name, "@") {
		return WithHint(errors.New("an image is named by its tag here, not by a digest"),
			"digests do not survive being saved to a file; the image's id is recorded and checked instead")
	}
	if !imageName.MatchString(name) {
		return WithHint(errors.New("not the name of an image"), "as in dhis2/core, or registry.example.org/dhis2/core:2.42.5.2")
	}
	return nil
}

// checkTaggedImage accepts the name of an image with a tag.
func checkTaggedImage(name string) error {
	if err := checkImage(name); err != nil {
		return err
	}
	if !hasTag(name) {
		return WithHint(errors.New("the image has no tag, and what it stands for then moves"), "as in %s", defaultPostgresImage)
	}
	return nil
}

// hasTag tells whether the name of an image ends with a tag; a colon further ahead is a registry's port.
func hasTag(image string) bool {
	return strings.Contains(image[strings.LastIndexByte(image, '/')+1:], ":")
}

// checkName accepts what may name a kit.
func checkName(name string) error {
	if len(name) > 63 || strings.ContainsAny(name, `/\`) {
		return errors.New("a kit's name has at most 63 letters and no slash")
	}
	return nil
}

// checkDate accepts a day of the calendar.
func checkDate(text string) error {
	if _, err := time.Parse(time.DateOnly, text); err != nil {
		return WithHint(fmt.Errorf("%q is not a date", text), "as in 2024-01-31")
	}
	return nil
}

// checkServerURL accepts the base address of a DHIS2 server. Its errors never repeat the address, which
// may hold a password.
func checkServerURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return WithHint(errors.New("not the address of a server"), "as in https://dhis2.example.org")
	case u.User != nil:
		return WithHint(errors.New("an account does not belong in the address"),
			"fieldkit asks for it, or reads FIELDKIT_CENTRAL_USER and FIELDKIT_LOCAL_USER and the like")
	case u.RawQuery != "" || u.Fragment != "":
		return WithHint(errors.New("not the base address of a server"), "leave out everything from the ? or # on")
	case strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/api"):
		return WithHint(errors.New("not the base address of a server"), "leave out /api")
	}
	return nil
}

// checkDatabaseURL accepts the address of a PostgreSQL database, with or without a password, which its
// errors never repeat.
func checkDatabaseURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || strings.Trim(u.Path, "/") == "" {
		return WithHint(errors.New("not the address of a PostgreSQL database"),
			"as in postgres://dhis@127.0.0.1:5432/dhis2, the password in PGPASSWORD")
	}
	return nil
}

// checkRecipient accepts an age public key.
func checkRecipient(text string) error {
	if strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-") {
		return WithHint(errors.New("this is a secret key, which never belongs here"), "its public key begins with age1: `age-keygen -y` prints it")
	}
	if recipients, err := age.ParseRecipients(strings.NewReader(text)); err != nil || len(recipients) != 1 {
		return WithHint(errors.New("not an age public key"), "it begins with age1: `age-keygen` makes one")
	}
	return nil
}

// isNothing tells whether a node stands for no value at all.
func isNothing(node ast.Node) bool {
	if node == nil {
		return true
	}
	_, null := node.(*ast.NullNode)
	return null
}

// join returns the path of a key in the mapping at path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// whole names the mapping at path.
func whole(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// in says in which mapping a key stands, with a space before it.
func in(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}

// example shows how the mapping at path is written.
func example(path string, keys []key) string {
	if path == "" {
		return "as in name: bocas-1"
	}
	return fmt.Sprintf("as in %s: {%s: ...}", path[strings.LastIndex(path, ".")+1:], keys[0].name)
}
