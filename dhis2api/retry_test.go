package dhis2api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func payloadOf(uid string) TrackerPayload {
	return TrackerPayload{TrackedEntities: []*TrackedEntity{{TrackedEntity: uid, TrackedEntityType: "aaaaaaaaaa2", OrgUnit: "aaaaaaaaaa3"}}}
}

// cut ends the connection without an answer.
func cut(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		connection.Close()
	}
}

func TestReadsAreRepeated(t *testing.T) {
	failures := map[string]http.HandlerFunc{
		"500":         func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 500, map[string]any{"message": "boom"}) },
		"502, a page": func(w http.ResponseWriter, r *http.Request) { answerPage(w, 502) },
		"503":         func(w http.ResponseWriter, r *http.Request) { answerPage(w, 503) },
		"429":         func(w http.ResponseWriter, r *http.Request) { answerPage(w, 429) },
		"cut":         func(w http.ResponseWriter, r *http.Request) { cut(w) },
		"truncated":   func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, `{"name":"Cli`) },
		"broken off":  func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, `{"name":"Cli<html>Error`) },
		"empty":       func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, "") },
		"length untrue": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			answerJSON(w, 200, `{"name":"C`)
		},
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			tries := atomic.Int32{}
			options := newClock().options()
			// net/http repeats by itself what a connection in use does not answer.
			options.HTTPClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
				if tries.Add(1) < 5 {
					fail(w, r)
					return
				}
				answerJSON(w, 200, map[string]any{"name": "Clinic"})
			}, options)
			var answer struct{ Name string }
			if err := c.Do(t.Context(), "GET", "/api/x", nil, nil, &answer); err != nil || answer.Name != "Clinic" {
				t.Fatalf("%v %v after %d tries", answer, err, tries.Load())
			}
			tries.Store(-100)
			if err := c.Do(t.Context(), "GET", "/api/x", nil, nil, &answer); err == nil || tries.Load() != -95 {
				t.Errorf("%v after %d tries, want an error after 5", err, tries.Load()+100)
			}
		})
	}
}

func TestRefusalsAreNotRepeated(t *testing.T) {
	for _, status := range []int{400, 403, 404, 409, 413} {
		tries := atomic.Int32{}
		c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
			tries.Add(1)
			answerJSON(w, status, map[string]any{"message": "no", "errorCode": "E1005"})
		}, Options{})
		err := c.Do(t.Context(), "GET", "/api/x", nil, nil, nil)
		if err == nil || tries.Load() != 1 {
			t.Errorf("%d: %v after %d tries", status, err, tries.Load())
		}
		if NotFound(err) != (status == 404) {
			t.Errorf("%d: NotFound %v", status, NotFound(err))
		}
	}
}

func TestRetryAfterIsHeeded(t *testing.T) {
	clock := newClock()
	tries := atomic.Int32{}
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		switch tries.Add(1) {
		case 1:
			w.Header().Set("Retry-After", "17")
			answerPage(w, 429)
		case 2:
			w.Header().Set("Retry-After", clock.Now().Add(40*time.Second).Format(http.TimeFormat))
			answerPage(w, 503)
		default:
			answerJSON(w, 200, map[string]any{})
		}
	}, clock.options())
	clock.slept = nil
	if err := c.Do(t.Context(), "GET", "/api/x", nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(clock.slept) != 2 || clock.slept[0] != 17*time.Second || clock.slept[1] < 39*time.Second || clock.slept[1] > 40*time.Second {
		t.Errorf("waited %v, want 17s and 40s", clock.slept)
	}
}

func TestWritesOfUnknownOutcomeAreNotRepeated(t *testing.T) {
	failures := map[string]http.HandlerFunc{
		"500":        func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 500, map[string]any{"message": "boom"}) },
		"504":        func(w http.ResponseWriter, r *http.Request) { answerPage(w, 504) },
		"cut":        func(w http.ResponseWriter, r *http.Request) { cut(w) },
		"truncated":  func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, `{"status":"OK","sta`) },
		"a page":     func(w http.ResponseWriter, r *http.Request) { answerPage(w, 200) },
		"no report":  func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, map[string]any{"hello": "world"}) },
		"no object":  func(w http.ResponseWriter, r *http.Request) { answerJSON(w, 200, `["hello"]`) },
		"stays mute": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			tries := atomic.Int32{}
			options := newClock().options()
			if name == "stays mute" {
				options.RequestTimeout = 50 * time.Millisecond
			}
			c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
				tries.Add(1)
				// The server notices a client that leaves only once the body is read.
				if _, err := r.Body.Read(make([]byte, 1<<16)); err != nil && !strings.Contains(err.Error(), "EOF") {
					t.Error(err)
				}
				fail(w, r)
			}, options)
			_, err := c.Import(t.Context(), payloadOf("aaaaaaaaaa1"), ImportOptions{})
			var unknown *UnknownOutcomeError
			if !errors.As(err, &unknown) || unknown.Hint() == "" || unknown.Path != "/api/tracker" {
				t.Fatalf("got %v", err)
			}
			if tries.Load() != 1 {
				t.Errorf("sent %d times", tries.Load())
			}
		})
	}
}

func TestWritesThatDidNotArriveAreRepeated(t *testing.T) {
	tries := atomic.Int32{}
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) < 3 {
			answerPage(w, 429)
			return
		}
		answerJSON(w, 200, map[string]any{"status": "OK", "stats": map[string]int{"total": 1}})
	}, Options{})
	if _, err := c.Import(t.Context(), payloadOf("aaaaaaaaaa1"), ImportOptions{}); err != nil {
		t.Fatal(err)
	}

	// A refused connection: nothing was sent.
	refused := atomic.Int32{}
	refused.Store(100) // not while connecting
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if refused.Add(1) < 4 {
			return nil, errors.New("connection refused")
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}, DisableKeepAlives: true}
	options := newClock().options()
	options.HTTPClient = &http.Client{Transport: transport}
	c = connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		answerJSON(w, 200, map[string]any{"status": "OK", "stats": map[string]int{"total": 1}})
	}, options)
	refused.Store(0)
	if _, err := c.Import(t.Context(), payloadOf("aaaaaaaaaa1"), ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	refused.Store(-100)
	_, err := c.Import(t.Context(), payloadOf("aaaaaaaaaa1"), ImportOptions{})
	if !is[*UnreachableError](err) || is[*UnknownOutcomeError](err) {
		t.Errorf("got %v: nothing was sent, so the outcome is known", err)
	}
}

func TestErrorsHoldNoQuery(t *testing.T) {
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) { cut(w) }, Options{})
	for _, err := range c.TrackedEntities(t.Context(), TrackedEntityQuery{Program: "aaaaaaaaaa1", Filters: []string{"aaaaaaaaaa2:eq:Ana Ruiz"}}) {
		if err == nil || strings.Contains(err.Error(), "Ana") || strings.Contains(err.Error(), "filter") {
			t.Errorf("got %v", err)
		}
	}
}

func TestCancelling(t *testing.T) {
	c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	err := c.Do(ctx, "GET", "/api/x", nil, nil, nil)
	if !errors.Is(err, context.Canceled) || is[*UnreachableError](err) {
		t.Errorf("got %v, want the context's error", err)
	}
}

func TestErrorsHoldNoData(t *testing.T) {
	tests := []struct {
		status int
		text   string
		shown  bool
	}{
		{409, "Value is taken", true},
		{409, "ERROR: duplicate key\n  Detail: Key (value)=(Ana Ruiz) already exists.", true},
		{409, "ERROR: duplicate key Detail: Key (value)=(Ana Ruiz) already exists.", true},
		{500, "could not execute statement [insert ... 'Ana Ruiz']", false},
	}
	for _, test := range tests {
		c := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
			answerJSON(w, test.status, map[string]any{"message": test.text})
		}, Options{})
		err := c.Do(t.Context(), "GET", "/api/x", nil, nil, nil)
		if err == nil || strings.Contains(err.Error(), "Ana") {
			t.Errorf("got %v", err)
		}
		if shown := strings.Contains(err.Error(), test.text[:5]); shown != test.shown {
			t.Errorf("got %v", err)
		}
		var status *StatusError
		if !errors.As(err, &status) || status.Message != test.text {
			t.Errorf("message %q", status.Message)
		}
	}
}
