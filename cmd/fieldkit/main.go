package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	// DHIS2 names its time zone, and not every machine has the zones.
	_ "time/tzdata"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(Run(ctx, thisHost(), os.Args[1:]))
}
