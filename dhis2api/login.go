package dhis2api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"sync/atomic"
)

// login knows how the client authenticates. A username and password cost the server a password hash a request
// (DHIS2 2.42: 82 ms), a session 1 ms: so one login's session is used until the server forgets it.
type login struct {
	credentials Credentials
	accepted    atomic.Bool // the server took these credentials once

	// turn has room for one: who fills it may use and change current, and log in meanwhile.
	turn    chan struct{}
	current *session
}

// session is one way to authorise requests.
type session struct {
	credentials Credentials
	// jar is nil for a token. It stays empty where the server sets no cookie.
	jar http.CookieJar
	// known: the server gave this session a cookie; before, and without, credentials are sent.
	known bool
}

// lock waits for the turn; the caller must call the function it returns.
func (l *login) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another login: %w", context.Cause(ctx))
	}
}

// authorization is what to authorise the next request with; it logs in when there is no session.
func (c *Client) authorization(ctx context.Context) (*session, error) {
	l := &c.login
	unlock, err := l.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if l.current != nil {
		return l.current, nil
	}
	if l.credentials.Token != "" {
		l.current = &session{credentials: l.credentials}
		return l.current, nil
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	fresh := &session{credentials: l.credentials, jar: jar}
	// Any answer to credentials brings a session; this request is cheap and changes nothing.
	const path = "/api/me"
	answer, err := c.exchange(ctx, &request{method: http.MethodGet, path: path, query: url.Values{"fields": {"id"}}}, fresh)
	if err != nil {
		return nil, err
	}
	if err := answer.decode(nil); err != nil {
		return nil, err
	}
	fresh.known = len(jar.Cookies(c.url(path))) > 0
	l.current = fresh
	return fresh, nil
}

// drop forgets a stale session, unless somebody else has renewed it already.
func (l *login) drop(ctx context.Context, stale *session) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if l.current == stale {
		l.current = nil
	}
	return nil
}

// apply puts the session, or else the credentials, on the request.
func (s *session) apply(request *http.Request) {
	switch {
	case s.credentials.Token != "":
		request.Header.Set("Authorization", "ApiToken "+s.credentials.Token)
	case s.known:
		for _, cookie := range s.jar.Cookies(request.URL) {
			request.AddCookie(cookie)
		}
	default:
		request.SetBasicAuth(s.credentials.Username, s.credentials.Password)
	}
}

// learn keeps the cookies of an answer.
func (s *session) learn(answer *http.Response) {
	if s.jar != nil {
		s.jar.SetCookies(answer.Request.URL, answer.Cookies())
	}
}

// stale tells whether err is how a server answers a session that it has forgotten: 401, or a redirect to its
// login or logout page (DHIS2 2.42), or that page itself. In none of these was the request carried out, except
// perhaps for a write that got a page, which does not count here.
func (s *session) stale(err error) bool {
	if !s.known || err == nil {
		return false
	}
	var unknown *UnknownOutcomeError
	if errors.As(err, &unknown) {
		return false
	}
	var unauthorized *UnauthorizedError
	if errors.As(err, &unauthorized) {
		return unauthorized.Status == http.StatusUnauthorized
	}
	var notDHIS2 *NotDHIS2Error
	return errors.As(err, &notDHIS2)
}
