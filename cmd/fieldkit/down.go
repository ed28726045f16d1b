package main

import "context"

func downCommand() command {
	return command{
		name:  "down",
		usage: "stop the kit's own DHIS2; nothing is lost",
		do:    func(_ context.Context, c *call) (int, error) { return 0, noContainers(c) },
	}
}
