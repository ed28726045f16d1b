package dhis2api

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
)

// TestTraffic: what goes over the line counts, not what it unpacks to, and not what was answered on the way.
func TestTraffic(t *testing.T) {
	list := []byte(`{"trackedEntities":[` + strings.Repeat(" ", 100_000) + `]}`)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(list); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	remembered := 0
	client := connect(t, "2.42.5.2", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("no compressed answer is asked for: %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}, Options{Through: func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("page") != "2" {
				return next.RoundTrip(r)
			}
			remembered++
			return &http.Response{
				StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
				Body: http.NoBody,
			}, nil
		})
	}})
	connected := client.Traffic()
	if connected.Requests < 2 || connected.Sent == 0 || connected.Received == 0 {
		t.Errorf("connecting cost %+v", connected)
	}
	for page := range 2 {
		var answer []byte
		query := map[string][]string{"page": {string(rune('1' + page))}}
		if err := client.Do(t.Context(), http.MethodGet, "/api/tracker/trackedEntities", query, nil, &answer); err != nil {
			t.Fatal(err)
		}
	}
	cost := client.Traffic().Minus(connected)
	if cost.Requests != 1 || remembered != 1 {
		t.Errorf("%d requests went out and %d were answered on the way", cost.Requests, remembered)
	}
	if cost.Received < int64(packed.Len()) || cost.Received > int64(packed.Len())+500 {
		t.Errorf("%d bytes came in for an answer of %d", cost.Received, packed.Len())
	}
	if cost.Sent < 50 || cost.Sent > 1000 {
		t.Errorf("%d bytes went out", cost.Sent)
	}
	if sum := connected.Plus(cost); sum != client.Traffic() {
		t.Errorf("%+v and %+v are %+v, not %+v", connected, cost, sum, client.Traffic())
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
