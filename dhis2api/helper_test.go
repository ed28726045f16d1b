package dhis2api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// clock is a clock that tests move; sleeping moves it at once.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

func (c *clock) options() Options { return Options{Now: c.Now, Sleep: c.Sleep} }

// answerJSON writes an answer as DHIS2 does.
func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	if text, isText := body.(string); isText {
		_, _ = w.Write([]byte(text)) // a client that went away is what some tests are about
		return
	}
	_ = json.NewEncoder(w).Encode(body)
}

func answerPage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<!DOCTYPE html><html><body>Sign in</body></html>"))
}

// greet answers what Connect asks of a server of that version, and leaves the rest to next.
func greet(version string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/system/info":
			answerJSON(w, http.StatusOK, map[string]any{"version": version, "serverTimeZoneId": "America/Panama", "systemId": nil})
		case "/api/me":
			answerJSON(w, http.StatusOK, map[string]any{"id": "M5zQapPyTZI", "username": "admin"})
		default:
			next(w, r)
		}
	}
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// connect is a client of a server that greets as version and answers the rest by handler.
func connect(t *testing.T, version string, handler http.HandlerFunc, options Options) *Client {
	t.Helper()
	if options.Now == nil {
		clock := newClock()
		options.Now, options.Sleep = clock.Now, clock.Sleep
	}
	client, err := Connect(t.Context(), serve(t, greet(version, handler)), Credentials{Username: "admin", Password: "district"}, options)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	return client
}
