package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// Status is how a kit stands, as far as its own disk and the Docker engine tell.
type Status struct {
	Kit     string `json:"kit"`
	Central string `json:"central"`
	// Local is empty when the kit is to run its own containers.
	Local string `json:"local"`
	// Stack is how the kit's own containers are; nil when its DHIS2 is somebody else's.
	Stack *StackStatus `json:"stack"`
	// Trip is the latest one; nil when there was none.
	Trip *TripStatus `json:"trip"`
}

// TripStatus is how a trip stands.
type TripStatus struct {
	ID string `json:"id"`
	// State is preparing, ready or closed: begun and not ended, out, or with everything home.
	State string `json:"state"`
	// Prepared is when prepare came to its end, and Taken what it took, by kind; nil while preparing.
	Prepared *time.Time              `json:"prepared"`
	Taken    map[snapshot.Kind]int64 `json:"taken"`
	// Proof is the rest of the receipt of prepare; nil while preparing.
	Proof *PrepareProof `json:"proof"`
	// Sums counts the changes that reconcile has found so far.
	Sums report.Sums `json:"sums"`
	// Numbers is how far the kit is with each key of a generated attribute; none where the scope has none.
	Numbers []NumberStatus `json:"numbers"`
	// Reconciled is when the last reconcile came to its end; nil when none did.
	Reconciled *time.Time `json:"reconciled"`
}

// Status says how the kit stands. It asks no server but the kit's own database, and may be called while another run is at work. Without a
// Docker engine it says so and goes on.
func (k *Kit) Status(ctx context.Context) (*Status, error) {
	status := &Status{Kit: k.config.Name, Central: k.config.Central.URL}
	if k.config.Local != nil {
		status.Local = k.config.Local.URL
	} else {
		status.Stack = k.stackStatus(ctx)
	}
	t, err := k.latestTrip(ctx)
	if errors.Is(err, ErrNoSnapshot) {
		return status, nil
	}
	if err != nil {
		return nil, err
	}
	if status.Trip, err = t.status(ctx); err == nil {
		status.Trip.Numbers, err = k.numberStatus(ctx, t)
	}
	return status, errors.Join(err, t.close())
}

func (t *trip) status(ctx context.Context) (*TripStatus, error) {
	status := &TripStatus{ID: t.id, State: t.state}
	counts, err := t.journal.Counts(ctx)
	if err != nil {
		return nil, err
	}
	for _, states := range counts {
		status.Sums = status.Sums.Plus(sumsOf(states))
	}
	if t.state == tripPreparing {
		return status, nil
	}
	receipt, err := receiptOf(ctx, t.journal)
	if err != nil || receipt == nil {
		return status, err
	}
	status.Prepared, status.Taken = &receipt.Ended, receipt.Taken
	status.Proof = &receipt.PrepareProof
	last, err := report.Read(t.dir)
	if errors.Is(err, report.ErrNone) {
		return status, nil
	}
	if err != nil {
		return nil, err
	}
	status.Reconciled = &last.Finished
	return status, nil
}
