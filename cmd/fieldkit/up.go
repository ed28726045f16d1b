package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

func upCommand() command {
	return command{
		name:  "up",
		usage: "start the kit's own DHIS2",
		do:    func(_ context.Context, c *call) (int, error) { return 0, noContainers(c) },
	}
}

// noContainers is what up and down come to as long as a kit's DHIS2 is one that runs already.
func noContainers(c *call) error {
	config, err := orchestrator.LoadConfig(filepath.Join(c.kit(), orchestrator.ConfigFile))
	if err != nil {
		return err
	}
	if config.Local != nil {
		return orchestrator.WithHint(errors.New("this kit's DHIS2 is not fieldkit's to start or stop"),
			"fieldkit.yaml says `local: {url: %s}`: whoever set that server up starts and stops it", config.Local.URL)
	}
	return orchestrator.WithHint(errors.New("this version of fieldkit cannot run a kit's own containers"),
		"name a DHIS2 that runs in fieldkit.yaml: `local: {url: http://127.0.0.1:8080}`")
}
