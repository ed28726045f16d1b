package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// noEnvironment is an environment with nothing in it.
func noEnvironment(string) string { return "" }

func TestProgram(t *testing.T) {
	t.Parallel()
	seed := filepath.Join(t.TempDir(), "metadata.json")
	if err := os.WriteFile(seed, []byte(`{"constants": [{"id": "aConstant11", "name": "C", "shortName": "C", "value": 1.0}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-listen", "127.0.0.1:0", "-version", "2.43.1", "-zone", "America/Panama", "-seed", seed}, noEnvironment, write, io.Discard)
	}()
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(line)
	ask := func(method, path, body string) (int, string) {
		r, err := http.NewRequestWithContext(ctx, method, address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", "district")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = answer.Body.Close() }()
		content, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(content)
	}
	for _, test := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{http.MethodGet, "/api/system/info", "", 200, `"serverTimeZoneId":"America/Panama"`},
		{http.MethodGet, "/api/constants/aConstant11", "", 200, `"value":1.0`},
		{http.MethodPost, "/sim/faults", `{"path": "^/api/me$", "times": 1, "status": 429, "retryAfter": "3s", "body": "slow down"}`, 204, ""},
		{http.MethodGet, "/api/me", "", 429, "slow down"},
		{http.MethodGet, "/api/me", "", 200, "admin"},
		{http.MethodPost, "/sim/faults", `{"loginPage": true}`, 204, ""},
		{http.MethodGet, "/api/me", "", 200, "<form>"},
		{http.MethodPost, "/sim/faults", `{"path": "("}`, 400, ""},
		{http.MethodPost, "/sim/faults", `{"delay": "soon"}`, 400, ""},
		{http.MethodDelete, "/sim/faults", "", 204, ""},
		{http.MethodGet, "/api/me", "", 200, "admin"},
		{http.MethodGet, "/sim/requests", "", 200, `"GET /api/me":4`},
	} {
		if status, body := ask(test.method, test.path, test.body); status != test.status || !strings.Contains(body, test.contains) {
			t.Errorf("%s %s: %d %.200q; want %d with %q", test.method, test.path, status, body, test.status, test.contains)
		}
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	for _, arguments := range [][]string{{"-nothing"}, {"surplus"}, {"-version", "2.30"}, {"-zone", "Moon/Base"}, {"-seed", "no/such/file"}, {"-listen", "nowhere"}} {
		err := run(t.Context(), arguments, noEnvironment, io.Discard, io.Discard)
		if usage := len(arguments) == 1; err == nil || errors.Is(err, errUsage) != usage {
			t.Errorf("%q: %v", arguments, err)
		}
	}
}
