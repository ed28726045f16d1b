package orchestrator

import (
	"context"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/compose"
)

// StackState is how the kit's own containers stand.
type StackState string

// The states of a stack.
const (
	StackNone    StackState = "none"    // never made, or its data was deleted
	StackDown    StackState = "down"    // not running; its data is kept
	StackClosed  StackState = "closed"  // running, reached by nothing outside this machine
	StackOpen    StackState = "open"    // running, the clinic reaches it
	StackFailing StackState = "failing" // there, and not all of it runs
	StackUnknown StackState = "unknown" // the engine does not say
)

// StackStatus is how the kit's own containers are.
type StackStatus struct {
	State StackState `json:"state"`
	// Trouble says why the state is unknown, and Hint what to do about it.
	Trouble string `json:"trouble,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Project is their name in the Docker engine.
	Project string `json:"project,omitempty"`
	// DHIS2 is the version that made the data.
	DHIS2 string `json:"dhis2,omitempty"`
	// URL is what tablets know the kit by; empty before the first up.
	URL      string          `json:"url,omitempty"`
	Services []ServiceStatus `json:"services"`
}

// ServiceStatus is how one container is.
type ServiceStatus struct {
	Service string `json:"service"`
	// State is the engine's word ("running", "exited"), Health "healthy", "unhealthy", "starting" or empty.
	State  string `json:"state"`
	Health string `json:"health,omitempty"`
	// Since is when it began to be so.
	Since time.Time `json:"since,omitzero"`
	// Restarts is how often it started again by itself.
	Restarts int `json:"restarts"`
	// OutOfMemory tells that its last end was for want of memory.
	OutOfMemory bool `json:"outOfMemory"`
	// Address is where this machine reaches it, Published where the clinic does; empty when they do not.
	Address   string `json:"address,omitempty"`
	Published string `json:"published,omitempty"`
	Image     string `json:"image"`
	ImageID   string `json:"imageId"`
}

// engineLimit is how long looking at the containers may take where the answer is not vital.
const engineLimit = 10 * time.Second

// stackStatus looks at the kit's own containers. What keeps it from looking is part of the answer.
func (k *Kit) stackStatus(ctx context.Context) *StackStatus {
	status := &StackStatus{State: StackUnknown, Services: []ServiceStatus{}}
	record, err := readStack(k.dir)
	if err == nil && record == nil {
		status.State = StackNone
		return status
	}
	if err == nil {
		err = status.look(ctx, k, record)
	}
	if err != nil {
		status.Trouble, status.Hint = err.Error(), Hint(err)
	}
	return status
}

func (status *StackStatus) look(ctx context.Context, k *Kit, record *stackRecord) error {
	status.Project = record.Project
	if record.Data != nil {
		status.DHIS2 = record.Data.DHIS2Version
	}
	if record.Clinic != nil {
		status.URL = record.Clinic.url(record.Clinic.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	s, err := k.openStack(ctx)
	if err != nil || s == nil {
		return err
	}
	services, err := s.state(ctx)
	if err != nil {
		return err
	}
	for _, service := range services {
		status.Services = append(status.Services, statusOf(service))
	}
	switch {
	case len(services) == 0:
		status.State = StackDown
	case !runs(services):
		status.State = StackFailing
	case isOpen(services):
		status.State = StackOpen
	default:
		status.State = StackClosed
	}
	return nil
}

func statusOf(service compose.ServiceState) ServiceStatus {
	status := ServiceStatus{
		Service: service.Service, State: service.Status, Health: service.Health, Since: service.Since, Restarts: service.Restarts,
		OutOfMemory: service.OutOfMemory, Image: service.Image, ImageID: service.ImageID,
	}
	if service.Address.IsValid() {
		status.Address = service.Address.String()
	}
	if service.Published.IsValid() {
		status.Published = service.Published.String()
	}
	return status
}
