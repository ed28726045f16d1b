package dhis2api

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// Credentials are a personal access token, or a username and password. The token wins when both are given.
type Credentials struct {
	Token    string
	Username string
	Password string
}

// Options tune a Client; the zero value is good.
type Options struct {
	HTTPClient        *http.Client                                     // its Transport is used; redirects and cookies are the Client's own
	Now               func() time.Time                                 // time.Now when nil
	Sleep             func(ctx context.Context, d time.Duration) error // waits really when nil
	UserAgent         string
	RequestsPerSecond float64       // 0: as fast as it goes
	Logger            *slog.Logger  // nothing is logged when nil
	Parallel          int           // pages read at the same time; 2 when zero
	ConnectTimeout    time.Duration // within which Connect must have a first answer; 15 s when zero
	RequestTimeout    time.Duration // for one request and its whole answer; 5 minutes when zero
	MaxTries          int           // of what may be repeated; 5 when zero
}

// Client speaks to one DHIS2 server as one account. It is safe for concurrent use.
type Client struct {
	info Info
}

// Info is what a server says about itself.
type Info struct {
	Version     Version
	Revision    string
	SystemID    string // may be empty
	SystemName  string
	ContextPath string
	ServerDate  string // in Zone
	ZoneID      string
	// Skew is how far the server's clock is ahead of the client's, from the Date header: good to a second.
	Skew time.Duration
}

// Me is the account.
type Me struct {
	ID, Username, FirstName, Surname string
	Authorities                      []string
	OrganisationUnits                []Ref `json:"organisationUnits"`
	DataViewOrganisationUnits        []Ref `json:"dataViewOrganisationUnits"`
	TeiSearchOrganisationUnits       []Ref `json:"teiSearchOrganisationUnits"`
	UserGroups                       []Ref `json:"userGroups"`
	UserRoles                        []Ref `json:"userRoles"`
}

func Connect(ctx context.Context, baseURL string, credentials Credentials, options Options) (*Client, error) {
	return nil, nil
}
func (c *Client) Version() Version                      { return c.info.Version }
func (c *Client) Info() Info                            { return c.info }
func (c *Client) Zone() *time.Location                  { return nil }
func (c *Client) BaseURL() string                       { return "" }
func (c *Client) Me(ctx context.Context) (*Me, error)   { return nil, nil }
func (c *Client) FormatTime(t time.Time) string         { return "" }
func (c *Client) ParseTime(s string) (time.Time, error) { return time.Time{}, nil }
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body, into any) error {
	return nil
}
