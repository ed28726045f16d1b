package main

import (
	"context"
	"fmt"
	"io"
)

func versionCommand() command {
	return command{
		name:  "version",
		usage: "print which fieldkit this is",
		do: func(_ context.Context, c *call) (int, error) {
			return exitHome, c.show(map[string]string{"version": c.Version}, func(w io.Writer) {
				fmt.Fprintf(w, "fieldkit version %s\n", c.Version)
			})
		},
	}
}
