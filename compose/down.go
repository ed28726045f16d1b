package compose

import (
	"context"
	"fmt"
)

// Down stops and removes a project's containers and networks, and keeps its volumes. It may be called
// twice, and for a project that never was.
func (e *Engine) Down(ctx context.Context, project string) error {
	seen, err := e.containers(ctx, project)
	if err != nil {
		return err
	}
	containers := make([]observedContainer, len(seen))
	for i, container := range seen {
		containers[i] = container.observedContainer
	}
	for _, container := range stopOrder(containers) {
		if err := e.docker.stop(ctx, container.id); err != nil {
			return fmt.Errorf("stopping %s: %w", container.name, err)
		}
		if err := e.docker.remove(ctx, container.id); err != nil {
			return fmt.Errorf("removing %s: %w", container.name, err)
		}
	}
	networks, err := e.docker.networks(ctx, project)
	if err != nil {
		return fmt.Errorf("listing the networks of %s: %w", project, err)
	}
	for _, network := range networks {
		if err := e.docker.removeNetwork(ctx, network.id); err != nil {
			return fmt.Errorf("removing the network %s: %w", network.name, err)
		}
	}
	return nil
}

// Destroy is Down, and removes the volumes with all data. It may be called twice.
func (e *Engine) Destroy(ctx context.Context, project string) error {
	if err := e.Down(ctx, project); err != nil {
		return err
	}
	volumes, err := e.Volumes(ctx, project)
	if err != nil {
		return err
	}
	for _, volume := range volumes {
		if err := e.docker.removeVolume(ctx, volume.Name); err != nil {
			return fmt.Errorf("removing the volume %s: %w", volume.Name, err)
		}
	}
	return nil
}
