package orchestrator

import (
	"context"
	"errors"
	"testing"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/google/go-cmp/cmp"
)

func TestCredentials(t *testing.T) {
	answers := map[string]string{"username at central": "amina", "password at central": "pw", "password at local": "district"}
	var asked []Prompt
	ask := func(p Prompt) (string, error) {
		asked = append(asked, p)
		return answers[p.Text], nil
	}
	tests := map[string]struct {
		side        Side
		environment map[string]string
		ask         Ask
		want        dhis2api.Credentials
		asked       int
		err         error
	}{
		"a token wins": {Central, map[string]string{"FIELDKIT_CENTRAL_TOKEN": "d2pat_x", "FIELDKIT_CENTRAL_USER": "u"}, nil,
			dhis2api.Credentials{Token: "d2pat_x"}, 0, nil},
		"an account": {Local, map[string]string{"FIELDKIT_LOCAL_USER": "admin", "FIELDKIT_LOCAL_PASSWORD": "x"}, nil,
			dhis2api.Credentials{Username: "admin", Password: "x"}, 0, nil},
		"asked for":            {Central, nil, ask, dhis2api.Credentials{Username: "amina", Password: "pw"}, 2, nil},
		"only the password":    {Local, map[string]string{"FIELDKIT_LOCAL_USER": "admin"}, ask, dhis2api.Credentials{Username: "admin", Password: "district"}, 1, nil},
		"nobody to ask":        {Central, map[string]string{"FIELDKIT_LOCAL_USER": "admin"}, nil, dhis2api.Credentials{}, 0, ErrUsage},
		"an answer of nothing": {Local, nil, ask, dhis2api.Credentials{}, 1, ErrUsage},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			asked = nil
			got, err := Credentials(test.side, func(key string) string { return test.environment[key] }, test.ask)
			if !errors.Is(err, test.err) || len(asked) != test.asked {
				t.Errorf("error %v, asked %v", err, asked)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			for _, p := range asked {
				if p.Secret != (p.Text == "password at "+string(test.side)) {
					t.Errorf("%q asked with secret %v", p.Text, p.Secret)
				}
			}
		})
	}
}

func TestAtServer(t *testing.T) {
	refused := &dhis2api.UnauthorizedError{}
	if err := atServer(t.Context(), Central, "https://x", refused); !errors.Is(err, ErrCentral) || !errors.Is(err, refused) {
		t.Errorf("refused account: %v", err)
	}
	if err := atServer(t.Context(), Local, "https://x", refused); errors.Is(err, ErrCentral) {
		t.Errorf("at local: %v", err)
	}
	if err := atServer(t.Context(), Central, "https://x", &dhis2api.StatusError{}); errors.Is(err, ErrCentral) {
		t.Errorf("one refused request: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := atServer(cancelled, Central, "https://x", refused); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
