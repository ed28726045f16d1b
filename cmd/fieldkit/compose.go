package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"
)

func composeCommand() command {
	return command{
		name:  "compose",
		usage: "what is for those who know Docker",
		below: []command{composeExportCommand()},
	}
}

func composeExportCommand() command {
	return command{
		name:  "export",
		usage: "write the kit's stack as a file for plain `docker compose`",
		description: "The file starts the same containers on the same data without fieldkit. It holds no secret. The kit must " +
			"have been prepared.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Usage: "write it to `FILE` (default: to standard output)"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.look(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			var content bytes.Buffer
			if err := kit.ExportCompose(ctx, &content); err != nil {
				return 0, err
			}
			path := c.parsed.String("output")
			if path == "" {
				return exitHome, c.show(map[string]string{"compose": content.String()}, func(w io.Writer) { _, err = content.WriteTo(w) })
			}
			if err := renameio.WriteFile(path, content.Bytes(), 0o644); err != nil {
				return 0, err
			}
			return exitHome, c.show(map[string]string{"file": path}, func(w io.Writer) {
				fmt.Fprintf(w, "wrote %s; `docker compose -f %[1]s up -d` starts it\n", path)
			})
		},
	}
}
