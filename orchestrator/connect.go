package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// Prompt is one question to whoever runs fieldkit.
type Prompt struct {
	// Text is the question, without a colon.
	Text string
	// Secret answers are not shown while they are typed.
	Secret bool
}

// Ask puts a question and returns the answer, one line without its end. A nil Ask means that nobody is
// there to be asked.
type Ask func(Prompt) (string, error)

// Credentials finds the account for one side: FIELDKIT_CENTRAL_TOKEN, or FIELDKIT_CENTRAL_USER and
// FIELDKIT_CENTRAL_PASSWORD, and the same with LOCAL; what of the latter two is missing is asked for. When
// there is nobody to ask, that is an ErrUsage. Nothing is kept anywhere.
func Credentials(side Side, environment func(string) string, ask Ask) (dhis2api.Credentials, error) {
	prefix := "FIELDKIT_" + strings.ToUpper(string(side)) + "_"
	credentials := dhis2api.Credentials{
		Token:    environment(prefix + "TOKEN"),
		Username: environment(prefix + "USER"),
		Password: environment(prefix + "PASSWORD"),
	}
	if credentials.Token != "" {
		return dhis2api.Credentials{Token: credentials.Token}, nil
	}
	for _, missing := range []struct {
		value  *string
		prompt Prompt
	}{
		{&credentials.Username, Prompt{Text: fmt.Sprintf("username at %s", side)}},
		{&credentials.Password, Prompt{Text: fmt.Sprintf("password at %s", side), Secret: true}},
	} {
		if *missing.value != "" {
			continue
		}
		if ask == nil {
			return dhis2api.Credentials{}, WithHint(usagef("no account for %s", side),
				"set %[1]sTOKEN, or %[1]sUSER and %[1]sPASSWORD", prefix)
		}
		answer, err := ask(missing.prompt)
		if err != nil {
			return dhis2api.Credentials{}, err
		}
		if answer == "" {
			return dhis2api.Credentials{}, usagef("no account for %s", side)
		}
		*missing.value = answer
	}
	return credentials, nil
}

// Connect connects to one side's server. When that fails the error is a *ServerError that names the server;
// of a cancelled ctx it is ctx's own error.
func Connect(ctx context.Context, side Side, url string, credentials dhis2api.Credentials, options dhis2api.Options) (*dhis2api.Client, error) {
	client, err := dhis2api.Connect(ctx, url, credentials, options)
	if err != nil {
		return nil, atServer(ctx, side, url, err)
	}
	return client, nil
}

// atServer says at which server an error arose that is about the server as a whole; any other error, and
// that of a cancelled ctx, comes back as it is.
func atServer(ctx context.Context, side Side, url string, err error) error {
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	var (
		unreachable  *dhis2api.UnreachableError
		stranger     *dhis2api.NotDHIS2Error
		unauthorized *dhis2api.UnauthorizedError
		unsupported  *dhis2api.UnsupportedVersionError
		status       *dhis2api.StatusError
	)
	switch {
	// Such a status is of the server or of a proxy before it, and the client has tried more than once.
	case errors.As(err, &status) && status.Status >= http.StatusInternalServerError:
		return &ServerError{Side: side, URL: url, Err: err, Advice: "the server, or a proxy before it, is in trouble: run the same again in a while; its log says more"}
	case errors.As(err, &status) && status.Status == http.StatusTooManyRequests:
		return &ServerError{Side: side, URL: url, Err: err, Advice: "the server, or a proxy before it, wants fewer requests: wait, or ask for less at a time with `rate` in " + ConfigFile}
	case dhis2api.NotUnderstood(err):
		return &ServerError{Side: side, URL: url, Err: err, Advice: "something before the server answers in its place, or it broke off: run the same again; open the address in a browser"}
	}
	if errors.As(err, &unreachable) || errors.As(err, &stranger) || errors.As(err, &unauthorized) || errors.As(err, &unsupported) {
		return &ServerError{Side: side, URL: url, Err: err}
	}
	return err
}
