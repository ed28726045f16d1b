package dhis2api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestConnectMeetsTheServer(t *testing.T) {
	clock := newClock()
	met := 0
	base := serve(t, greet("2.42.5.2", func(w http.ResponseWriter, r *http.Request) { t.Errorf("unexpected %s", r.URL) }))
	counting := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/me" {
			met++
		}
		w.Header().Set("Date", clock.Now().Add(3*time.Minute).Format(http.TimeFormat))
		greet("2.42.5.2", nil)(w, r)
	})
	for _, address := range []string{base, base + "/", base + "/api", " " + base + "/api/ "} {
		c, err := Connect(t.Context(), address, Credentials{Token: "d2p_good"}, clock.options())
		if err != nil {
			t.Fatalf("%q: %v", address, err)
		}
		if c.BaseURL() != base {
			t.Errorf("%q: base %q", address, c.BaseURL())
		}
	}
	c, err := Connect(t.Context(), counting, Credentials{Token: "d2p_good"}, clock.options())
	if err != nil {
		t.Fatal(err)
	}
	if c.Version().Minor != 42 || c.Version().String() != "2.42.5.2" || c.Zone().String() != "America/Panama" {
		t.Errorf("version %v, zone %v", c.Version(), c.Zone())
	}
	if c.Info().Skew != 3*time.Minute {
		t.Errorf("skew %v, want 3m", c.Info().Skew)
	}
	if met == 0 {
		t.Error("a fresh token needs one GET /api/me (DHIS2-21786)")
	}
	written := c.FormatTime(time.Date(2026, 11, 24, 12, 0, 0, 5e6, time.UTC))
	if written != "2026-11-24T07:00:00.005" {
		t.Errorf("FormatTime: %s", written)
	}
	if read, err := c.ParseTime(written); err != nil || !read.Equal(time.Date(2026, 11, 24, 12, 0, 0, 5e6, time.UTC)) {
		t.Errorf("ParseTime: %v %v", read, err)
	}
}

func TestConnectFails(t *testing.T) {
	const secret = "geheim-4711"
	json400 := map[string]any{"httpStatusCode": 400, "message": "Checksum validation failed"}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		wants   func(error) bool
	}{
		{"old version", greet("2.40.11", nil), is[*UnsupportedVersionError]},
		{"new version", greet("2.44.0", nil), is[*UnsupportedVersionError]},
		{"a page", func(w http.ResponseWriter, r *http.Request) { answerPage(w, 200) }, is[*NotDHIS2Error]},
		{"another web server", func(w http.ResponseWriter, r *http.Request) { answerPage(w, 404) }, is[*NotDHIS2Error]},
		{"a redirect to a login page", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/login.html?secret=1", http.StatusFound)
		}, is[*NotDHIS2Error]},
		{"JSON of something else", func(w http.ResponseWriter, r *http.Request) {
			answerJSON(w, 200, map[string]any{"hello": "world"})
		}, is[*NotDHIS2Error]},
		{"wrong password", func(w http.ResponseWriter, r *http.Request) {
			answerJSON(w, 401, map[string]any{"httpStatusCode": 401, "message": "Unauthorized"})
		}, is[*UnauthorizedError]},
		{"wrong token", func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 400, json400) }, is[*UnauthorizedError]},
		{"down behind a proxy", func(w http.ResponseWriter, r *http.Request) { answerPage(w, 502) }, is[*StatusError]},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			url := serve(t, test.handler)
			for _, credentials := range []Credentials{{Username: "admin", Password: secret}, {Token: "d2p_" + secret}} {
				_, err := Connect(t.Context(), url, credentials, newClock().options())
				if err == nil || !test.wants(err) {
					t.Fatalf("got %T %v", err, err)
				}
				if strings.Contains(err.Error(), secret) || strings.Contains(fmt.Sprintf("%v %+v %#v", credentials, credentials, credentials), secret) {
					t.Errorf("a secret in %v", err)
				}
				if !strings.Contains(err.Error(), "/api") && !strings.Contains(err.Error(), url) {
					t.Errorf("%v names neither server nor path", err)
				}
				var hinted interface{ Hint() string }
				if !errors.As(err, &hinted) || hinted.Hint() == "" {
					t.Errorf("no hint for %v", err)
				}
			}
		})
	}
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func TestConnectRefusesBadAddresses(t *testing.T) {
	for _, address := range []string{"", "dhis2.example.org", "ftp://dhis2.example.org", "https://admin:geheim@dhis2.example.org", "https://admin:ge%zzheim@x"} {
		_, err := Connect(t.Context(), address, Credentials{}, Options{})
		if err == nil || strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "zzheim") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestConnectNobodyThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	listener.Close()
	clock := newClock()
	_, err = Connect(t.Context(), address, Credentials{}, clock.options())
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || unreachable.URL != address {
		t.Fatalf("got %v", err)
	}
	if len(clock.slept) != 2 {
		t.Errorf("waited %d times, want 2 between 3 tries", len(clock.slept))
	}
}

func TestConnectSilentServer(t *testing.T) {
	release := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	_, err := Connect(t.Context(), url, Credentials{Token: "x"}, Options{ConnectTimeout: 50 * time.Millisecond})
	if !is[*UnreachableError](err) {
		t.Fatalf("got %v", err)
	}
}

func TestConnectFollowsItsOwnRedirect(t *testing.T) {
	behind := greet("2.41.9.1", nil)
	secure := httptest.NewTLSServer(http.StripPrefix("/dhis", behind))
	t.Cleanup(secure.Close)
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, secure.URL+"/dhis"+r.URL.Path, http.StatusMovedPermanently)
	})
	options := newClock().options()
	options.HTTPClient = secure.Client()
	c, err := Connect(t.Context(), plain, Credentials{Username: "admin", Password: "district"}, options)
	if err != nil {
		t.Fatal(err)
	}
	if c.BaseURL() != secure.URL+"/dhis" {
		t.Errorf("base %s", c.BaseURL())
	}
}

func TestConnectUntrustedCertificate(t *testing.T) {
	secure := httptest.NewUnstartedServer(greet("2.42.5.2", nil))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	secure.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	clock := newClock()
	_, err := Connect(t.Context(), secure.URL, Credentials{Token: "x"}, clock.options())
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(unreachable.Hint(), "certificate") {
		t.Fatalf("got %v", err)
	}
	if len(clock.slept) > 0 {
		t.Error("a certificate does not get better by waiting")
	}
}

// sessions is a server that counts logins and evicts at will.
type sessions struct {
	mu      sync.Mutex
	valid   string
	logins  int
	refusal func(w http.ResponseWriter, r *http.Request)
	writes  atomic.Int32
}

func (s *sessions) handle(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, password, basic := r.BasicAuth(); basic {
		if password != "district" {
			answerJSON(w, 401, map[string]any{"message": "no"})
			return
		}
		s.logins++
		s.valid = fmt.Sprintf("S%d", s.logins)
		http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: s.valid, Path: "/", HttpOnly: true})
	} else if cookie, err := r.Cookie("JSESSIONID"); err != nil || cookie.Value != s.valid {
		s.refusal(w, r)
		return
	}
	greet("2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			s.writes.Add(1)
		}
		answerJSON(w, 200, map[string]any{"events": []any{}, "stats": map[string]int{"total": 1}})
	})(w, r)
}

func TestSessionIsReusedAndRenewed(t *testing.T) {
	refusals := map[string]func(http.ResponseWriter, *http.Request){
		"302 to the logout page": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/dhis-web-commons-security/logout.action", http.StatusFound)
		},
		"401": func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 401, map[string]any{"message": "no"}) },
	}
	for name, refusal := range refusals {
		t.Run(name, func(t *testing.T) {
			server := &sessions{refusal: refusal}
			clock := newClock()
			c, err := Connect(t.Context(), serve(t, server.handle), Credentials{Username: "admin", Password: "district"}, clock.options())
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				if err := c.Do(t.Context(), "GET", "/api/x", nil, nil, nil); err != nil {
					t.Fatal(err)
				}
			}
			if server.logins != 1 {
				t.Errorf("%d logins, want 1", server.logins)
			}
			server.mu.Lock()
			server.valid = "evicted"
			server.mu.Unlock()
			var wait sync.WaitGroup
			for range 8 {
				wait.Go(func() {
					if _, err := c.Import(t.Context(), payloadOf("aaaaaaaaaa1"), ImportOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			if server.logins != 2 || server.writes.Load() != 8 {
				t.Errorf("%d logins, want 2; %d writes, want 8", server.logins, server.writes.Load())
			}
		})
	}
}

func TestAcceptedAccountOutlivesADatabaseThatIsDown(t *testing.T) {
	down := atomic.Int32{}
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		if down.Add(1) <= 2 {
			answerJSON(w, 401, map[string]any{"message": "Unauthorized"})
			return
		}
		answerJSON(w, 200, map[string]any{})
	}, Options{})
	if err := c.Do(t.Context(), "GET", "/api/x", nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	down.Store(-100)
	err := c.Do(t.Context(), "GET", "/api/x", nil, nil, nil)
	var unauthorized *UnauthorizedError
	if !errors.As(err, &unauthorized) || !strings.Contains(unauthorized.Hint(), "database") {
		t.Errorf("got %v", err)
	}
}

func TestRateIsHeld(t *testing.T) {
	clock := newClock()
	options := clock.options()
	options.RequestsPerSecond = 2
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, map[string]any{}) }, options)
	before := clock.Now()
	for range 10 {
		if err := c.Do(t.Context(), "GET", "/api/x", nil, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if took := clock.Now().Sub(before); took < 4500*time.Millisecond || took > 5500*time.Millisecond {
		t.Errorf("10 requests at 2 a second took %v", took)
	}
}

// TestRateIsHeldInParallel: those who read pages at the same time share the rate, and what is answered on the way to
// the server takes no turn.
func TestRateIsHeldInParallel(t *testing.T) {
	const rate, pages = 100, 40
	var asked atomic.Int64
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var events []map[string]any
		if page, _ := strconv.Atoi(r.URL.Query().Get("page")); page <= pages {
			events = append(events, map[string]any{"event": "E1234567890"})
		}
		answerJSON(w, 200, map[string]any{"events": events})
	}, Options{Now: time.Now, Parallel: 4, RequestsPerSecond: rate})
	began := time.Now()
	for _, err := range c.EventPages(t.Context(), EventQuery{Program: "IpHINAT79UW", Paging: Paging{PageSize: 1}}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	// The first request has its turn at once.
	if took, least := time.Since(began), time.Duration(asked.Load()-1)*time.Second/rate; took < least {
		t.Errorf("%d requests at %d a second took %v, not %v", asked.Load(), rate, took, least)
	}
}
