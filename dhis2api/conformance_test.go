package dhis2api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"
)

// recorded is one step of a recorded conversation with a real server.
type recorded struct {
	Name    string
	Request struct {
		Method, Path string
		Query        map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    json.RawMessage
	}
}

var variable = regexp.MustCompile(`\$\{\w+\}`)

const anyUID = "aaaaaaaaaa1"

// TestEveryRecordedAnswer puts each recorded answer before the method that asks for it.
func TestEveryRecordedAnswer(t *testing.T) {
	versions, err := filepath.Glob("testdata/conformance/*")
	if err != nil || len(versions) != 3 {
		t.Fatalf("recordings of three versions expected: %v %v", versions, err)
	}
	for _, version := range versions {
		t.Run(filepath.Base(version), func(t *testing.T) {
			answers := 0
			for _, step := range steps(t, version) {
				answers++
				t.Run(step.Name, func(t *testing.T) { checkAnswer(t, filepath.Base(version), step) })
			}
			if answers != 313 {
				t.Errorf("%d answers, 313 expected", answers)
			}
		})
	}
}

func steps(t *testing.T, directory string) []recorded {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []recorded
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data = variable.ReplaceAll(data, []byte(anyUID))
		var conversation struct{ Steps []recorded }
		if err := json.Unmarshal(data, &conversation.Steps); err != nil {
			if err := json.Unmarshal(data, &conversation); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
		all = append(all, conversation.Steps...)
	}
	return all
}

// replaying is a client whose every request after connecting gets the recorded answer, but that pages after
// the first are empty.
func replaying(t *testing.T, version string, step recorded) *Client {
	t.Helper()
	var met atomic.Bool
	reply := func(w http.ResponseWriter, r *http.Request) {
		for name, value := range step.Response.Headers {
			if name != "location" {
				w.Header().Set(name, value)
			}
		}
		body := []byte(step.Response.Body)
		var marks struct {
			Text  *string `json:"_text"`
			Bytes *int    `json:"_bytes"`
		}
		if len(body) > 0 && body[0] == '{' {
			if err := json.Unmarshal(body, &marks); err != nil {
				t.Error(err)
			}
		}
		switch {
		case string(body) == "null":
			body = nil
		case marks.Text != nil:
			body = []byte("<html>" + *marks.Text + "</html>")
		case marks.Bytes != nil:
			body = make([]byte, *marks.Bytes)
		case r.URL.Query().Get("page") > "1":
			body = withoutItems(body)
		}
		w.WriteHeader(step.Response.Status)
		_, _ = w.Write(body)
	}
	greeting := greet(version, reply)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if met.Load() {
			reply(w, r)
			return
		}
		greeting(w, r)
	})
	clock := newClock()
	options := clock.options()
	options.MaxTries = 1
	client, err := Connect(t.Context(), url, Credentials{Token: "d2p_x"}, options)
	if err != nil {
		t.Fatal(err)
	}
	met.Store(true)
	return client
}

func withoutItems(body []byte) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil {
		return body
	}
	for key, value := range object {
		if value[0] == '[' {
			object[key] = json.RawMessage("[]")
		}
	}
	emptied, _ := json.Marshal(object) // made of valid parts
	return emptied
}

// checkAnswer calls what asks for the step's answer. A refusal must come back as the error for its status; what
// is decoded must hold all that the answer holds.
func checkAnswer(t *testing.T, version string, step recorded) {
	c := replaying(t, version, step)
	decoded, err := ask(t, c, step)
	status := step.Response.Status
	switch {
	case errors.Is(err, errNotAsked):
		t.Fatal(err)
	case status/100 == 2:
		if err != nil {
			t.Fatal(err)
		}
	case status == http.StatusUnauthorized || status == http.StatusForbidden || step.Response.Headers["www-authenticate"] != "":
		var unauthorized *UnauthorizedError
		if !errors.As(err, &unauthorized) || unauthorized.Status != status {
			t.Fatalf("got %v, want an UnauthorizedError of %d", err, status)
		}
		return
	case status == http.StatusConflict && err == nil: // a report
	default:
		var refused *StatusError
		if !errors.As(err, &refused) || refused.Status != status {
			t.Fatalf("got %v, want a StatusError of %d", err, status)
		}
		var envelope struct{ ErrorCode string }
		_ = json.Unmarshal(step.Response.Body, &envelope) // pages have none
		if refused.ErrorCode != envelope.ErrorCode {
			t.Errorf("error code %q, want %q", refused.ErrorCode, envelope.ErrorCode)
		}
		return
	}
	if decoded == nil {
		return
	}
	encoded, err := json.Marshal(decoded)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(step.Response.Body, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &got); err != nil {
		t.Fatal(err)
	}
	for _, lost := range missing("", want, got) {
		t.Errorf("lost in decoding: %s", lost)
	}
}

// missing lists what want holds and got does not, but for what is empty.
func missing(at string, want, got any) []string {
	switch want := want.(type) {
	case map[string]any:
		object, _ := got.(map[string]any)
		var lost []string
		for key, value := range want {
			if key == "followup" && object["followUp"] != nil { // DHIS2 2.41 writes both
				continue
			}
			lost = append(lost, missing(at+"."+key, value, object[key])...)
		}
		return lost
	case []any:
		list, _ := got.([]any)
		if len(list) != len(want) {
			return []string{fmt.Sprintf("%s: %d items of %d", at, len(list), len(want))}
		}
		var lost []string
		for i, value := range want {
			lost = append(lost, missing(fmt.Sprintf("%s[%d]", at, i), value, list[i])...)
		}
		return lost
	case nil:
		return nil
	}
	if want != got && want != false && want != "" {
		return []string{fmt.Sprintf("%s: %v, have %v", at, want, got)}
	}
	return nil
}
