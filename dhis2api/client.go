package dhis2api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Credentials are a personal access token, or a username and password. The token wins when both are given.
type Credentials struct {
	Token    string
	Username string
	Password string
}

// String names the account without its secrets.
func (c Credentials) String() string {
	if c.Token != "" {
		return "a personal access token"
	}
	return "user " + c.Username
}

// GoString names the account without its secrets.
func (c Credentials) GoString() string { return c.String() }

// Options tune a Client; the zero value is good.
type Options struct {
	// HTTPClient lends its Transport; redirects, cookies and timeouts are the Client's own.
	HTTPClient *http.Client
	// Through, unless nil, is given what the Client asks the server with and returns what it asks instead, such as
	// one that remembers answers. What that answers itself is no traffic and waits for no turn.
	Through func(http.RoundTripper) http.RoundTripper
	// Now tells the time, time.Now when nil.
	Now func() time.Time
	// Sleep waits, or returns the context's error early; it waits really when nil.
	Sleep     func(ctx context.Context, d time.Duration) error
	UserAgent string // "fieldkit" when empty
	// RequestsPerSecond is the most that is asked of the server; 0: no limit.
	RequestsPerSecond float64
	// Logger gets a debug line a request and a warning a retry, without queries, bodies or credentials. Nothing
	// is logged when nil.
	Logger *slog.Logger
	// Parallel is the number of pages read at the same time; 2 when zero, which a DHIS2 serves almost twice as
	// fast as one, and four hardly faster.
	Parallel int
	// ConnectTimeout is the time within which Connect must have the server's first answer; 12 s when zero.
	ConnectTimeout time.Duration
	// RequestTimeout is the longest silence of the server within one request; 5 minutes when zero.
	RequestTimeout time.Duration
	// MaxTries of what may be repeated; 5 when zero.
	MaxTries int
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.UserAgent == "" {
		o.UserAgent = "fieldkit"
	}
	if o.Parallel <= 0 {
		o.Parallel = 2
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 12 * time.Second
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = 5 * time.Minute
	}
	if o.MaxTries <= 0 {
		o.MaxTries = 5
	}
	return o
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Client speaks to one DHIS2 server as one account. It is safe for concurrent use.
type Client struct {
	base    *url.URL // without trailing slash
	options Options
	http    *http.Client
	limiter *rate.Limiter // nil: no limit
	meter   meter
	login   login
	info    Info
	zone    *time.Location
}

// Info is what a server says about itself.
type Info struct {
	Version     Version
	Revision    string
	SystemID    string // empty on a server that never made one; a copy of a server shares it
	SystemName  string
	ContextPath string
	ServerDate  string // in the server's zone
	ZoneID      string // "America/Panama"
	// Skew is how far the server's clock is ahead of the client's, good to a second; from the Date header.
	Skew time.Duration
}

// Connect meets the server at baseURL, the address at which its login page appears, and returns a Client for
// its version. It fails within Options.ConnectTimeout when nothing answers.
//
// Errors: UnreachableError, NotDHIS2Error, UnauthorizedError, UnsupportedVersionError, StatusError. Credentials
// inside baseURL are refused.
func Connect(ctx context.Context, baseURL string, credentials Credentials, options Options) (*Client, error) {
	base, err := parseBase(baseURL)
	if err != nil {
		return nil, err
	}
	options = options.withDefaults()
	c := &Client{base: base, options: options}
	c.http = c.newHTTPClient()
	c.login.credentials = credentials
	c.login.turn = make(chan struct{}, 1)
	if options.RequestsPerSecond > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(options.RequestsPerSecond), 1)
	}
	if err := c.meet(ctx); err != nil {
		return nil, err
	}
	if !c.info.Version.Supported() {
		return nil, &UnsupportedVersionError{URL: c.BaseURL(), Version: c.info.Version}
	}
	if c.zone, err = zoneOf(c.info.ZoneID); err != nil {
		return nil, fmt.Errorf("time zone of %s: %w", c.BaseURL(), err)
	}
	// DHIS2 before 2.43.1 answers 500 on /api/tracker/** to a fresh token until it was used here (DHIS2-21786).
	if err := c.getJSON(ctx, "/api/me", url.Values{"fields": {"id"}}, &struct{}{}); err != nil {
		return nil, err
	}
	return c, nil
}

func parseBase(baseURL string) (*url.URL, error) {
	base, err := url.Parse(strings.TrimSpace(baseURL))
	if err != nil {
		return nil, fmt.Errorf("the server's address is not a URL") // the parser's message may hold a password
	}
	if base.User != nil {
		return nil, fmt.Errorf("the address of %s holds credentials: give them apart", base.Host)
	}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("the server's address %q does not begin with https:// or http://", base.Redacted())
	}
	base.RawQuery, base.Fragment = "", ""
	base.Path = strings.TrimSuffix(strings.TrimSuffix(base.Path, "/"), "/api")
	base.Path = strings.TrimSuffix(base.Path, "/")
	base.RawPath = ""
	return base, nil
}

// newHTTPClient makes what requests go through: what the options put there, their turn, and the line.
func (c *Client) newHTTPClient() *http.Client {
	through := http.RoundTripper(wire{c, c.transport()})
	if c.options.Through != nil {
		through = c.options.Through(through)
	}
	return &http.Client{
		Transport:     through,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c *Client) transport() http.RoundTripper {
	if given := c.options.HTTPClient; given != nil && given.Transport != nil {
		return given.Transport
	}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           c.meter.dialer((&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext),
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// meet asks for the system information until the server answers, within Options.ConnectTimeout, and follows a
// redirect of the same host to where DHIS2 really is (http to https, a context path).
func (c *Client) meet(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, c.options.ConnectTimeout, errSilence)
	defer cancel()
	const path = "/api/system/info"
	for range 4 {
		var info struct {
			Version, Revision, SystemID, SystemName, ContextPath, ServerDate, ServerTimeZoneID string
		}
		before := c.options.Now()
		// Few tries: who waits here has perhaps mistyped the address.
		response, err := c.send(limited, &request{method: http.MethodGet, path: path, tries: min(3, c.options.MaxTries)})
		if moved := c.moved(err); moved != nil {
			c.base = moved
			continue
		}
		if err == nil {
			err = response.decode(&info)
		}
		var status *StatusError
		if errors.As(err, &status) && status.Status == http.StatusNotFound {
			return &NotDHIS2Error{URL: c.BaseURL() + path, Status: status.Status}
		}
		if err != nil {
			if limited.Err() != nil && ctx.Err() == nil {
				return &UnreachableError{URL: c.BaseURL(), Err: errSilence}
			}
			return err
		}
		version, err := ParseVersion(info.Version)
		if err != nil {
			return &NotDHIS2Error{URL: c.BaseURL() + path, Status: response.status}
		}
		c.info = Info{
			Version: version, Revision: info.Revision, SystemID: info.SystemID, SystemName: info.SystemName,
			ContextPath: info.ContextPath, ServerDate: info.ServerDate, ZoneID: info.ServerTimeZoneID,
		}
		if date, err := http.ParseTime(response.header.Get("Date")); err == nil {
			middle := before.Add(c.options.Now().Sub(before) / 2)
			c.info.Skew = date.Sub(middle).Round(time.Second)
		}
		return nil
	}
	return &NotDHIS2Error{URL: c.BaseURL() + path, Status: http.StatusFound}
}

// moved is the base to try instead when err is a redirect to the same path on the same host, else nil.
func (c *Client) moved(err error) *url.URL {
	var not *NotDHIS2Error
	if !errors.As(err, &not) || not.Location == "" {
		return nil
	}
	path := strings.TrimPrefix(not.URL, c.BaseURL())
	target, parseErr := c.base.Parse(not.Location)
	if parseErr != nil || target.Hostname() != c.base.Hostname() || !strings.HasSuffix(target.Path, path) {
		return nil
	}
	if c.base.Scheme == "https" && target.Scheme != "https" {
		return nil
	}
	return &url.URL{Scheme: target.Scheme, Host: target.Host, Path: strings.TrimSuffix(target.Path, path)}
}

// Version is the server's version, as it was when the Client connected.
func (c *Client) Version() Version { return c.info.Version }

// Info is what the server said about itself when the Client connected.
func (c *Client) Info() Info { return c.info }

// Zone is the server's time zone, in which it writes and reads times.
func (c *Client) Zone() *time.Location { return c.zone }

// BaseURL is the server's address, without trailing slash and without credentials.
func (c *Client) BaseURL() string { return c.base.String() }

// FormatTime writes an instant as the server would: wall clock in its zone, to the millisecond, no offset.
func (c *Client) FormatTime(t time.Time) string {
	return t.In(c.zone).Format("2006-01-02T15:04:05.000")
}

// ParseTime reads a time as the server writes it: a date, or a wall clock in its zone with or without fraction,
// or a time with its own offset.
func (c *Client) ParseTime(s string) (time.Time, error) { return parseTime(s, c.zone) }

func parseTime(s string, zone *time.Location) (time.Time, error) {
	for _, layout := range []string{
		"2006-01-02T15:04:05", "2006-01-02", time.RFC3339, "2006-01-02T15:04:05-0700", "2006-01-02T15:04", "2006-01-02 15:04:05",
	} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time as DHIS2 writes it", s)
}

// zoneOf is the zone of an id as Java writes it, UTC when there is none.
func zoneOf(id string) (*time.Location, error) {
	switch id {
	case "", "Etc/UTC", "GMT", "Z":
		return time.UTC, nil
	case "Local": // the one name that Go knows and Java does not
		return nil, fmt.Errorf("unknown time zone %q", id)
	}
	if offset, isOffset := strings.CutPrefix(id, "GMT"); isOffset { // "GMT-05:00"
		t, err := time.Parse("-07:00", offset)
		if err != nil {
			return nil, fmt.Errorf("unknown time zone %q", id)
		}
		_, seconds := t.Zone()
		return time.FixedZone(id, seconds), nil
	}
	return time.LoadLocation(id)
}

// Do is the way to what has no method of its own: it sends body (nil: none; io.ReadSeeker or []byte: as it is;
// anything else: as JSON) and decodes a 2xx answer into into (nil: dropped; *[]byte: as it is; anything else:
// from JSON). Path begins with /api. GET is repeated after failures; anything else only where it certainly did
// not arrive. An answer outside 2xx is a StatusError that carries it.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body, into any) error {
	r := &request{method: method, path: path, query: query}
	if err := r.setBody(body); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return c.do(ctx, r, into)
}

// do sends r and decodes the answer into into, as Do says.
func (c *Client) do(ctx context.Context, r *request, into any) error {
	r.plain = into == nil
	if _, raw := into.(*[]byte); raw {
		r.plain = true
	}
	return c.retry(ctx, r, func(ctx context.Context) error {
		response, err := c.attempt(ctx, r)
		if err != nil {
			return err
		}
		return response.decode(into)
	})
}

// getJSON decodes what GET path answers.
func (c *Client) getJSON(ctx context.Context, path string, query url.Values, into any) error {
	return c.do(ctx, &request{method: http.MethodGet, path: path, query: query}, into)
}

// postJSON sends body as JSON and decodes the answer. A 409 counts as an answer when report is true, as DHIS2
// sends import reports with it.
func (c *Client) postJSON(ctx context.Context, path string, query url.Values, body any, report bool, into any) error {
	r := &request{method: http.MethodPost, path: path, query: query, conflictAnswers: report}
	if err := r.setBody(body); err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	return c.do(ctx, r, into)
}

// Me is the account that the client uses, as the server sees it.
type Me struct {
	ID                         string   `json:"id"`
	Username                   string   `json:"username"`
	FirstName                  string   `json:"firstName"`
	Surname                    string   `json:"surname"`
	Authorities                []string `json:"authorities"`
	OrganisationUnits          []Ref    `json:"organisationUnits"`
	DataViewOrganisationUnits  []Ref    `json:"dataViewOrganisationUnits"`
	TeiSearchOrganisationUnits []Ref    `json:"teiSearchOrganisationUnits"`
	UserGroups                 []Ref    `json:"userGroups"`
	UserRoles                  []Ref    `json:"userRoles"`
	// Settings are the account's own, where it has any.
	Settings map[string]json.RawMessage `json:"settings,omitempty"`
}

// May tells whether the account holds the authority, or ALL.
func (m *Me) May(authority string) bool {
	for _, held := range m.Authorities {
		if held == authority || held == "ALL" {
			return true
		}
	}
	return false
}

// Me reads the account that the client uses.
func (c *Client) Me(ctx context.Context) (*Me, error) {
	const units = "[id,code,name,path]"
	me := &Me{}
	err := c.getJSON(ctx, "/api/me", url.Values{"fields": {"id,username,firstName,surname,authorities,organisationUnits" + units +
		",dataViewOrganisationUnits" + units + ",teiSearchOrganisationUnits" + units + ",userGroups[id,code,name],userRoles[id,code,name]"}}, me)
	if err != nil {
		return nil, err
	}
	return me, nil
}
