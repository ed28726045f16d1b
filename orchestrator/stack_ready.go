package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/compose"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// What waiting for DHIS2 is bound by. Measured: a first start takes 39 to 94 s on two cores, later ones half
// of that; a slow machine may need many times as long.
const (
	// startLimit is how long DHIS2 may take until it answers.
	startLimit = 20 * time.Minute
	// refusalLimit is how long it may refuse a right password: it does while its database is not there yet.
	refusalLimit = 2 * time.Minute
	// askLimit is the longest that one question may take. Tomcat takes connections a minute before it answers.
	askLimit = 15 * time.Second
	// again is the pause between two questions.
	again = 250 * time.Millisecond
	// mostRestarts is how often a container may start again before that is taken for its answer.
	mostRestarts = 2
)

// freshAdministrator is the account that every DHIS2 begins with.
func freshAdministrator() dhis2api.Credentials {
	return dhis2api.Credentials{Username: "admin", Password: "district"}
}

// dial finds the stack's DHIS2 behind its own name and behind the clinic's.
func (s *stack) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	switch clinic := s.record.Clinic; {
	case host == s.record.Project:
		services, err := s.engine.State(ctx, s.record.Project)
		if err != nil {
			return nil, err
		}
		dhis2 := service(services, compose.ServiceDHIS2)
		if !dhis2.Running || !dhis2.Address.IsValid() {
			return nil, errors.New("the container does not run")
		}
		host = dhis2.Address.String()
	case clinic != nil && host == clinic.Name:
		host = clinic.Address
	}
	return s.kit.options.Machine.Dial(ctx, network, net.JoinHostPort(host, port))
}

// await waits until DHIS2 answers at an address and can import. That its port takes connections means nothing,
// and neither does a first answer: until its services are up it refuses imports.
//
// Where admin still has the password that every DHIS2 begins with, the database is a fresh one. With mayBeFresh
// it is given the kit's own: a start that was cut between the two goes on like that. Else the trip's data is not
// there, and that is the error.
func (s *stack) await(ctx context.Context, address string, mayBeFresh bool) (*dhis2api.Client, error) {
	w := &waiting{stack: s, address: address, mayBeFresh: mayBeFresh, began: s.kit.options.Now()}
	if err := w.watch(ctx); err != nil {
		return nil, err
	}
	defer func() { s.kit.options.Progress.Waiting("", w.elapsed()) }()
	for {
		client, err := w.patiently(ctx)
		if err == nil {
			return client, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := w.mayPass(ctx, err); err != nil {
			return nil, err
		}
		if err := s.kit.options.Machine.Wait(ctx, again); err != nil {
			return nil, err
		}
	}
}

// errFresh means that DHIS2 runs on a database of which nobody knows anything.
var errFresh = errors.New("the database of the kit's DHIS2 is a fresh one: what was loaded is not in it")

// waiting is one waiting for DHIS2.
type waiting struct {
	stack   *stack
	address string
	// mayBeFresh tells that nothing was loaded yet.
	mayBeFresh bool
	began      time.Time
	// restarts is how often the container had started again when the waiting began.
	restarts int
	// refused is since when the kit's password is refused; zero while it is not.
	refused time.Time
}

func (w *waiting) elapsed() time.Duration { return w.stack.kit.options.Now().Sub(w.began) }

// patiently is ask, and tells every second how long the waiting has lasted.
func (w *waiting) patiently(ctx context.Context) (*dhis2api.Client, error) {
	type answer struct {
		client *dhis2api.Client
		err    error
	}
	answers := make(chan answer, 1)
	asking, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	go func() {
		client, err := w.ask(asking)
		answers <- answer{client, err}
	}()
	for {
		second := make(chan struct{})
		tick, stop := context.WithCancel(ctx)
		go func() {
			defer close(second)
			_ = w.stack.kit.options.Machine.Wait(tick, time.Second) // ended early or not: then it is looked again
		}()
		select {
		case a := <-answers:
			stop()
			return a.client, a.err
		case <-second:
			stop()
			w.stack.kit.options.Progress.Waiting("DHIS2 to answer", w.elapsed())
		}
	}
}

// ask asks DHIS2 once whether it is ready.
func (w *waiting) ask(ctx context.Context) (*dhis2api.Client, error) {
	client, err := w.connect(ctx, w.stack.administrator())
	var refused *dhis2api.UnauthorizedError
	if errors.As(err, &refused) {
		if err := w.takeOver(ctx); err != nil {
			return nil, err
		}
		client, err = w.connect(ctx, w.stack.administrator())
	}
	if err != nil {
		return nil, err
	}
	// An import of nothing goes the way of every import, and stores nothing.
	report, err := client.Import(ctx, dhis2api.TrackerPayload{}, dhis2api.ImportOptions{DryRun: true})
	if err != nil {
		return nil, err
	}
	if report.Status == dhis2api.ReportError {
		return nil, errors.New("it takes no imports yet")
	}
	return client, nil
}

func (w *waiting) connect(ctx context.Context, credentials dhis2api.Credentials) (*dhis2api.Client, error) {
	options := w.stack.clientOptions()
	options.ConnectTimeout, options.RequestTimeout, options.MaxTries = askLimit, askLimit, 1
	return dhis2api.Connect(ctx, w.address, credentials, options)
}

// takeOver replaces the password that every DHIS2 begins with. The error is that of the fresh account where it
// does not log in.
func (w *waiting) takeOver(ctx context.Context) error {
	client, err := w.connect(ctx, freshAdministrator())
	if err != nil {
		return err
	}
	if !w.mayBeFresh {
		return errFresh
	}
	me, err := client.Me(ctx)
	if err != nil {
		return err
	}
	err = client.SetPassword(ctx, me.ID, w.stack.record.AdminPassword)
	var status *dhis2api.StatusError
	if errors.As(err, &status) && status.Status < http.StatusInternalServerError {
		return lastingError{fmt.Errorf("cannot give the kit's administrator a password: %w", err)}
	}
	return err
}

// lastingError is one that no waiting mends.
type lastingError struct{ error }

func (e lastingError) Unwrap() error { return e.error }

// watch looks at the container when the waiting begins.
func (w *waiting) watch(ctx context.Context) error {
	services, err := w.stack.state(ctx)
	w.restarts = service(services, compose.ServiceDHIS2).Restarts
	return err
}

// mayPass returns nil when what stood in the way may pass, else the error to end with.
func (w *waiting) mayPass(ctx context.Context, reason error) error {
	now := w.stack.kit.options.Now()
	var (
		unsupported *dhis2api.UnsupportedVersionError
		refused     *dhis2api.UnauthorizedError
		lasting     lastingError
	)
	switch {
	case errors.As(reason, &lasting):
		return reason
	case errors.Is(reason, errFresh):
		return WithHint(reason, "`fieldkit down` first; then find out who replaced it, and from which copy it can be brought back")
	case errors.As(reason, &unsupported):
		return &ServerError{Side: Local, URL: w.address, Err: reason}
	case !errors.As(reason, &refused):
		w.refused = time.Time{}
	case w.refused.IsZero():
		w.refused = now
	case now.Sub(w.refused) > refusalLimit:
		return WithHint(&ServerError{Side: Local, URL: w.address, Err: reason},
			"somebody changed the password of admin there: set it back to the one in %s", stackName)
	}
	services, err := w.stack.state(ctx)
	if err != nil {
		return err
	}
	if err := w.ended(service(services, compose.ServiceDHIS2)); err != nil {
		return err
	}
	if w.elapsed() > startLimit {
		err := fmt.Errorf("DHIS2 does not answer after %s: %w", w.elapsed().Round(time.Second), reason)
		return WithHint(ofEngine{err}, "`fieldkit logs --service dhis2 --tail 50` shows what it does")
	}
	return nil
}

// ended tells whether the container gave up.
func (w *waiting) ended(dhis2 compose.ServiceState) error {
	const hint = "`fieldkit logs --service dhis2 --tail 50` shows why"
	switch {
	case dhis2.Container == "":
		return ofEngine{errors.New("the container of DHIS2 is gone: somebody removed it")}
	case dhis2.OutOfMemory && dhis2.Restarts > w.restarts:
		return WithHint(ofEngine{errors.New("DHIS2 ran out of memory")}, "use a machine with more memory, or give it more by mem_limit in %s", overrideName)
	case dhis2.Restarts > w.restarts+mostRestarts:
		return WithHint(ofEngine{fmt.Errorf("DHIS2 does not stay up: it was started again %d times", dhis2.Restarts-w.restarts)}, hint)
	case !dhis2.Running && dhis2.Status == "exited":
		return WithHint(ofEngine{fmt.Errorf("DHIS2 stopped with exit code %d", dhis2.ExitCode)}, hint)
	}
	return nil
}
