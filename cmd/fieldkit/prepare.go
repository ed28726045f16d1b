package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

func prepareCommand() command {
	return command{
		name:  "prepare",
		usage: "take the scope from central and load it into the kit's DHIS2",
		description: "Central is only read, but for the numbers that it sets aside. A prepare that was interrupted goes on where it stopped. " +
			"What the trip before has not brought home is kept and travels on, and what it took and has not changed at central since " +
			"is not asked for again.",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say how much it would be, how long it would take and how much of it is about people; change nothing"},
			&cli.BoolFlag{Name: "full", Usage: "ask central for everything, changed or not"},
			&cli.Float64Flag{Name: "rate", Usage: "ask central at most `N` times a second (default: central.rate in " + orchestrator.ConfigFile + ")"},
			&cli.BoolFlag{Name: acceptLockOutsFlag, Usage: "load although the kit will then refuse what tablets have not sent yet; --yes does not say that"},
		},
		do: func(ctx context.Context, c *call) (int, error) {
			options := c.options(ctx)
			options.RequestsPerSecond = c.parsed.Float64("rate")
			if c.parsed.IsSet("rate") {
				if err := orchestrator.CheckRate(options.RequestsPerSecond); err != nil {
					return 0, usage(orchestrator.Hint(err), "--rate: %v", err)
				}
			}
			return preparingAs(c).prepare(ctx, c, options)
		},
	}
}

// realPreparing takes the scope and loads it.
type realPreparing struct{}

func (realPreparing) prepare(ctx context.Context, c *call, options orchestrator.OpenOptions) (int, error) {
	kit, err := orchestrator.Open(options)
	if err != nil {
		return 0, err
	}
	defer kit.Close()
	return exitHome, c.takeAlong(ctx, kit)
}

// takeAlong prepares a trip and says what goes out.
func (c *call) takeAlong(ctx context.Context, kit *orchestrator.Kit) error {
	receipt, err := kit.Prepare(ctx, orchestrator.PrepareOptions{Confirm: c.confirm, LockOuts: c.acceptLockOuts, Who: c.who(), Full: c.parsed.Bool("full")})
	if err != nil {
		return err
	}
	if made := receipt.Identity; made != nil {
		c.say("made a key for this user's snapshots: %s", made.Path)
		c.say("whoever loses it cannot read them: keep a copy, or name recipients in %s", orchestrator.ConfigFile)
	}
	for _, warning := range receipt.Warnings {
		c.say("%s", warning)
	}
	return c.show(receipt, func(w io.Writer) { printReceipt(w, receipt) })
}

const acceptLockOutsFlag = "accept-lockouts"

// acceptLockOuts names the lock-outs and makes sure that they are wanted: by --accept-lockouts, or by asking.
func (c *call) acceptLockOuts(ctx context.Context, found []orchestrator.LockOut) error {
	for _, lockOut := range found {
		c.say("locks out: %s", lockOut)
	}
	if c.parsed.Bool(acceptLockOutsFlag) {
		return nil
	}
	refused := orchestrator.WithHint(fmt.Errorf("%d changes of metadata would make the kit refuse what tablets have not sent yet: %w", len(found), orchestrator.ErrLockOuts),
		"let all tablets send to the kit (`fieldkit up`), bring it home by `fieldkit reconcile`, then `fieldkit prepare --%s`", acceptLockOutsFlag)
	if !c.Terminal {
		return refused
	}
	answer, err := c.ask(ctx, orchestrator.Prompt{Text: "have all tablets sent everything, or may it be refused? [y/N]"})
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return refused
	}
	return nil
}

// printReceipt says in a few lines what goes out.
func printReceipt(w io.Writer, receipt *orchestrator.PrepareReceipt) {
	fmt.Fprintf(w, "trip %s is ready\n", receipt.Trip)
	printTaken(w, receipt.Taken)
	printTake(w, receipt)
	if receipt.Carried > 0 {
		fmt.Fprintf(w, "%d changes of the trip before are not home yet and travel on\n", receipt.Carried)
	}
	if removed := receipt.Removed; removed != nil && removed.Removed > 0 {
		fmt.Fprintf(w, "%d objects of metadata that the scope no longer has were removed from the kit\n", removed.Removed)
	}
	if people := receipt.People; people != nil {
		fmt.Fprintf(w, "%d people can log in with the passwords of the kit; `fieldkit cards` prints them\n", people.Ready)
	}
	if receipt.Verified {
		fmt.Fprintln(w, "read back and compared: the kit has everything, alike")
	} else {
		fmt.Fprintf(w, "read back and compared: %d records missing, %d different\n", receipt.Missing, receipt.Differing)
		printUnlike(w, receipt)
	}
	fmt.Fprintf(w, "from %s, DHIS2 %s, read by %s, by fieldkit %s\n", receipt.Central.URL, receipt.Central.Version, receipt.Account, receipt.Fieldkit)
	printProof(w, &receipt.PrepareProof)
}

// printTaken says what a trip carries, by the snapshot's kinds.
func printTaken[Kind ~string](w io.Writer, taken map[Kind]int64) {
	for _, line := range []struct {
		kind Kind
		what string
	}{
		{"tracker", "tracked entities, with their enrollments and events"},
		{"events", "events without registration"},
		{"relationships", "relationships"},
		{"values", "values of forms"},
		{"completions", "completed forms"},
	} {
		if n := taken[line.kind]; n > 0 {
			fmt.Fprintf(w, "  %8d  %s\n", n, line.what)
		}
	}
}

// printTake says what an earlier trip spared.
func printTake(w io.Writer, receipt *orchestrator.PrepareReceipt) {
	take := receipt.Take
	if take == nil {
		return
	}
	unchanged, all := take.Unchanged()
	if unchanged == 0 {
		return
	}
	fmt.Fprintf(w, "%d of %d records were unchanged and not asked for again", unchanged, all)
	if take.Traffic.Received > 0 {
		fmt.Fprintf(w, "; %s came over the line", megabytes(take.Traffic.Received))
		if take.Whole > take.Traffic.Received {
			fmt.Fprintf(w, " instead of about %s", megabytes(take.Whole))
		}
	}
	fmt.Fprintln(w)
}

// megabytes writes a number of bytes in millions.
func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
