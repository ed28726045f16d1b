package main

import (
	"context"
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func cardsCommand() command {
	return command{
		name:        "cards",
		usage:       "write login cards to print, one for everybody who can log in on the kit",
		description: "One HTML page that opens in a browser and prints on A4. Whoever has it can log in: give out the cards, and delete it.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "address", Usage: "tablets connect to `URL` (default: as fieldkit.yaml says)"},
			&cli.StringFlag{Name: "language", Value: "en", Usage: "`LANGUAGE` of the cards: en or es"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			kit, err := c.open(ctx)
			if err != nil {
				return 0, err
			}
			defer kit.Close()
			receipt, err := kit.Cards(orchestrator.CardsOptions{Language: c.parsed.String("language"), Address: c.parsed.String("address")})
			if err != nil {
				return 0, err
			}
			for _, username := range receipt.Own {
				c.say("the card of %s is without a password: there is another one on the kit", username)
			}
			for _, username := range receipt.Changed {
				c.say("no card for %s: prepare has not given the password that stands in the file now", username)
			}
			return exitHome, c.show(receipt, func(w io.Writer) {
				fmt.Fprintln(w, receipt.Path)
				fmt.Fprintf(w, "%d cards for %s\n", receipt.Cards, receipt.Address)
			})
		},
	}
}
