package dhis2api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	errSilence = errors.New("no answer in time")
	errFormat  = errors.New("the answer cannot be understood")
)

// request is one thing asked of the server, perhaps several times.
type request struct {
	method, path string // path begins with /api
	query        url.Values
	body         func() (io.Reader, error) // a fresh reader each time; nil: no body
	length       int64                     // of the body, in bytes; 0 where net/http finds it out
	contentType  string
	// repeatable: a write that may be sent again even after it may have arrived.
	repeatable bool
	// tries is how often at most; Options.MaxTries when zero.
	tries int
	// once: a failure that asking for less may cure is not repeated as it is.
	once bool
	// conflictAnswers: a 409 is an answer.
	conflictAnswers bool
	// plain: the answer need not be JSON.
	plain bool
	// download: a redirect leads to the content, wherever it is stored.
	download bool
}

// writes tells whether the request may change the server in a way that matters when repeated.
func (r *request) writes() bool {
	return r.method != http.MethodGet && r.method != http.MethodHead && !r.repeatable
}

// setBody takes a body as Client.Do describes.
func (r *request) setBody(body any) error {
	switch body := body.(type) {
	case nil:
		return nil
	case []byte:
		r.body = func() (io.Reader, error) { return bytes.NewReader(body), nil }
	case json.RawMessage:
		r.body = func() (io.Reader, error) { return bytes.NewReader(body), nil }
	case io.ReadSeeker:
		var err error
		if r.length, err = body.Seek(0, io.SeekEnd); err != nil {
			return fmt.Errorf("body: %w", err)
		}
		r.body = func() (io.Reader, error) {
			_, err := body.Seek(0, io.SeekStart)
			return io.NopCloser(body), err
		}
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("body: %w", err)
		}
		r.body = func() (io.Reader, error) { return bytes.NewReader(encoded), nil }
	}
	if r.contentType == "" {
		r.contentType = "application/json"
	}
	return nil
}

// response is an answer that the caller wants; body must be closed, which decode does.
type response struct {
	client  *Client
	request *request
	status  int
	header  http.Header
	body    io.ReadCloser
	ctx     context.Context // of the exchange: it knows why reading failed
}

// decode reads the whole answer into into, as Client.Do says, and closes it.
func (r *response) decode(into any) error {
	defer r.body.Close()
	var err error
	switch into := into.(type) {
	case nil:
		_, err = io.Copy(io.Discard, r.body)
	case *[]byte:
		*into, err = io.ReadAll(r.body)
	default:
		err = json.NewDecoder(r.body).Decode(into)
		if err == nil {
			_, err = io.Copy(io.Discard, r.body) // to the end, so that the connection can be used again
		}
	}
	if err != nil {
		return r.failure(err)
	}
	return nil
}

// failure is the error of an answer that could not be read: cut, silent, or not what it should be. JSON that
// breaks off in a page of HTML is an answer that broke.
func (r *response) failure(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		err = fmt.Errorf("%w: %s is not expected to be %s", errFormat, kind.Field, kind.Value)
	}
	if errors.Is(err, errFormat) {
		if r.request.writes() {
			return &UnknownOutcomeError{Method: r.request.method, Path: r.request.path, Err: err}
		}
		return fmt.Errorf("%s %s: %w", r.request.method, r.request.path, err)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return r.client.broken(r.ctx, r.request, err, true)
}

// retry runs try until it succeeds, or fails in a way that another try will not mend, or the tries are spent.
func (c *Client) retry(ctx context.Context, r *request, try func(context.Context) error) error {
	for tries := 1; ; tries++ {
		err := try(ctx)
		if err == nil {
			return nil
		}
		delay, again := c.again(r, tries, err)
		if !again || ctx.Err() != nil {
			return err
		}
		if deadline, bounded := ctx.Deadline(); bounded && c.options.Now().Add(delay).After(deadline) {
			return err
		}
		c.options.Logger.WarnContext(ctx, "request failed, trying again",
			"method", r.method, "path", r.path, "try", tries, "wait", delay, "error", err)
		if c.options.Sleep(ctx, delay) != nil {
			return err
		}
	}
}

// send makes the request until the server answers; reading the answer is up to the caller and is not repeated.
func (c *Client) send(ctx context.Context, r *request) (*response, error) {
	var answer *response
	err := c.retry(ctx, r, func(ctx context.Context) error {
		var err error
		answer, err = c.attempt(ctx, r)
		return err
	})
	return answer, err
}

// again tells whether to repeat after err, and when.
func (c *Client) again(r *request, tries int, err error) (time.Duration, bool) {
	if tries >= cmp.Or(r.tries, c.options.MaxTries) || (r.once && tooMuch(err)) {
		return 0, false
	}
	var unknown *UnknownOutcomeError
	if errors.As(err, &unknown) {
		return 0, false
	}
	var status *StatusError
	var unauthorized *UnauthorizedError
	var unreachable *UnreachableError
	switch {
	case errors.As(err, &status):
		// A write that ended in a 5xx is an UnknownOutcomeError and does not come here.
		if status.Status == http.StatusTooManyRequests || status.Status >= 500 {
			return max(backoff(tries), min(status.RetryAfter, maxRetryAfter)), true
		}
	case errors.As(err, &unauthorized):
		// DHIS2 2.42 answers 401 to accounts it knew a moment ago while its database is down.
		return backoff(tries), unauthorized.accepted && unauthorized.Status == http.StatusUnauthorized
	case errors.As(err, &unreachable):
		return backoff(tries), !untrusted(err)
	}
	return 0, false
}

// attempt makes the request once, logging in first where that is needed and again where the session is gone.
func (c *Client) attempt(ctx context.Context, r *request) (*response, error) {
	authorize, err := c.authorization(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := c.exchange(ctx, r, authorize)
	if !authorize.stale(err) {
		return answer, err
	}
	// The session was evicted before the request reached anything: it was not carried out.
	if err := c.login.drop(ctx, authorize); err != nil {
		return nil, err
	}
	if authorize, err = c.authorization(ctx); err != nil {
		return nil, err
	}
	return c.exchange(ctx, r, authorize)
}

// exchange makes the request once. Its error is one of the package's own.
func (c *Client) exchange(ctx context.Context, r *request, authorize *session) (*response, error) {
	target := c.url(r.path)
	target.RawQuery = r.query.Encode()
	var body io.Reader
	if r.body != nil {
		var err error
		if body, err = r.body(); err != nil {
			return nil, fmt.Errorf("%s %s: body: %w", r.method, r.path, err)
		}
	}
	ctx, watch := watchSilence(ctx, c.options.RequestTimeout)
	if r.length > 0 {
		body = watch.sending(body)
	}
	connected := false
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	request, err := http.NewRequestWithContext(traced, r.method, target.String(), body)
	if err != nil {
		watch.stop()
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, errors.New("not a valid request"))
	}
	if r.body != nil {
		if r.length > 0 {
			request.ContentLength = r.length
		}
		// net/http asks for it only where nothing was written to a connection that had gone stale.
		request.GetBody = func() (io.ReadCloser, error) {
			again, err := r.body()
			if err != nil {
				return nil, err
			}
			return watch.sending(again), nil
		}
	}
	if r.contentType != "" {
		request.Header.Set("Content-Type", r.contentType)
	}
	if !r.plain {
		request.Header.Set("Accept", "application/json")
	}
	request.Header.Set("User-Agent", c.options.UserAgent)
	request.Header.Set("X-Requested-With", "XMLHttpRequest") // a wrong password is then a 401, not a dialogue
	authorize.apply(request)

	began := c.options.Now()
	answer, err := c.http.Do(request)
	if err != nil {
		defer watch.stop()
		return nil, c.broken(ctx, r, stripURL(err), connected)
	}
	c.options.Logger.DebugContext(ctx, "request", "method", r.method, "path", r.path, "status", answer.StatusCode,
		"took", c.options.Now().Sub(began))
	authorize.learn(answer)
	if r.download && answer.StatusCode/100 == 3 {
		if answer, err = c.follow(ctx, answer); err != nil {
			defer watch.stop()
			return nil, c.broken(ctx, r, err, true)
		}
	}
	wanted := answer.StatusCode/100 == 2 || (answer.StatusCode == http.StatusConflict && r.conflictAnswers && isJSON(answer))
	if wanted && (r.plain || isJSON(answer)) {
		c.login.accepted.Store(true)
		return &response{
			client: c, request: r, status: answer.StatusCode, header: answer.Header,
			body: &watchedBody{ReadCloser: answer.Body, watch: watch}, ctx: ctx,
		}, nil
	}
	defer watch.stop()
	defer answer.Body.Close()
	return nil, c.refused(r, answer)
}

// url is where path is on the server.
func (c *Client) url(path string) *url.URL {
	target := c.base.JoinPath(path)
	if !strings.HasPrefix(target.Path, "/") { // JoinPath leaves it out below a bare host; cookies need it
		target.Path = "/" + target.Path
		if target.RawPath != "" {
			target.RawPath = "/" + target.RawPath
		}
	}
	return target
}

// follow gets what a download was redirected to, without telling that place who asks.
func (c *Client) follow(ctx context.Context, answer *http.Response) (*http.Response, error) {
	target, _ := answer.Location() // nil without one
	if target == nil || looksLikeLogin(target) {
		return answer, nil
	}
	answer.Body.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, errors.New("redirected to what is not a URL")
	}
	followed, err := c.http.Do(request)
	if err != nil {
		return nil, stripURL(err)
	}
	return followed, nil
}

// broken is the error of a request without a whole answer. ctx is that of the exchange.
func (c *Client) broken(ctx context.Context, r *request, err error, sent bool) error {
	cause := context.Cause(ctx)
	if cause != nil {
		err = cause
	}
	switch {
	case cause != nil && !errors.Is(cause, errSilence): // the caller gave up, not the server
		err = fmt.Errorf("%s %s: %w", r.method, r.path, err)
	default:
		err = &UnreachableError{URL: c.BaseURL(), Err: err, sent: sent}
	}
	if sent && r.writes() {
		return &UnknownOutcomeError{Method: r.method, Path: r.path, Err: err}
	}
	return err
}

// refused is the error of an answer that is not the one hoped for.
func (c *Client) refused(r *request, answer *http.Response) error {
	var envelope struct {
		Message   string `json:"message"`
		ErrorCode string `json:"errorCode"`
	}
	var body json.RawMessage
	if isJSON(answer) {
		const most = 32 << 20 // a report of a refused import may be long
		if read, err := io.ReadAll(io.LimitReader(answer.Body, most)); err == nil && json.Valid(read) {
			body = read
			_ = json.Unmarshal(read, &envelope) // an answer that is no object has no message
		}
	}
	status := answer.StatusCode
	token := strings.Contains(answer.Header.Get("Www-Authenticate"), "ApiToken") || strings.Contains(envelope.Message, "Checksum validation failed")
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusBadRequest && token:
		return &UnauthorizedError{
			Method: r.method, Path: r.path, Status: status, Message: envelope.Message, accepted: c.login.accepted.Load(),
		}
	case status/100 == 2 || status/100 == 3:
		notDHIS2 := &NotDHIS2Error{URL: c.BaseURL() + r.path, Status: status, ContentType: mediaType(answer)}
		if location, err := answer.Location(); err == nil {
			location.RawQuery, location.User = "", nil
			notDHIS2.Location = location.String()
		}
		if status/100 == 2 && r.writes() {
			return &UnknownOutcomeError{Method: r.method, Path: r.path, Err: notDHIS2}
		}
		return notDHIS2
	}
	failed := &StatusError{
		Method: r.method, Path: r.path, Status: status, Message: envelope.Message, ErrorCode: envelope.ErrorCode,
		RetryAfter: c.retryAfter(answer), Body: body,
	}
	if status >= 500 && r.writes() {
		return &UnknownOutcomeError{Method: r.method, Path: r.path, Err: failed}
	}
	return failed
}

// throttle waits for the request's turn.
func (c *Client) throttle(ctx context.Context) error {
	if c.limiter == nil {
		return nil
	}
	now := c.options.Now()
	if wait := c.limiter.ReserveN(now, 1).DelayFrom(now); wait > 0 {
		return c.options.Sleep(ctx, wait)
	}
	return nil
}

// retryAfter is how long the answer asks to wait: seconds or a date.
func (c *Client) retryAfter(answer *http.Response) time.Duration {
	value := answer.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(c.options.Now()))
	}
	return 0
}

// silence cancels a request when the server stays silent for too long.
type silence struct {
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

func watchSilence(ctx context.Context, limit time.Duration) (context.Context, *silence) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &silence{timer: time.AfterFunc(limit, func() { cancel(errSilence) }), limit: limit, cancel: cancel}
	return context.WithValue(ctx, silenceKey{}, s), s
}

// silenceKey is where a request's context has its silence.
type silenceKey struct{}

func (s *silence) heard() { s.timer.Reset(s.limit) }

// sending is a request's body that notes when the server takes some of it: a long upload is no silence.
func (s *silence) sending(body io.Reader) io.ReadCloser { return sentBody{body, s} }

type sentBody struct {
	io.Reader
	watch *silence
}

func (b sentBody) Read(p []byte) (int, error) {
	b.watch.heard()
	return b.Reader.Read(p)
}

// Close closes what is sent, where it wants to be closed.
func (b sentBody) Close() error {
	if closer, ok := b.Reader.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

func (s *silence) stop() {
	s.timer.Stop()
	s.cancel(nil)
}

// watchedBody is an answer's body that notes silence and says so.
type watchedBody struct {
	io.ReadCloser
	watch *silence
	once  sync.Once
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.heard()
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.watch.stop)
	return err
}

const maxRetryAfter = 2 * time.Minute

// backoff is how long to wait after that many tries: half a second, doubled each time up to half a minute, and
// spread so that clients do not come back together.
func backoff(tries int) time.Duration {
	wait := min(500*time.Millisecond<<min(tries-1, 10), 30*time.Second)
	return wait/2 + rand.N(wait)
}

// stripURL takes the URL out of an error of net/http: its query may hold data of patients.
func stripURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// untrusted tells whether err is about the server's certificate, or about TLS where there is none.
func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var record tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &record)
}

func mediaType(answer *http.Response) string {
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// isJSON tells whether the answer is JSON, or has no content to be anything.
func isJSON(answer *http.Response) bool {
	kind := mediaType(answer)
	return kind == "application/json" || strings.HasSuffix(kind, "+json") || answer.StatusCode == http.StatusNoContent
}

func looksLikeLogin(target *url.URL) bool {
	path := strings.ToLower(target.Path)
	return strings.Contains(path, "login") || strings.Contains(path, "logout")
}
