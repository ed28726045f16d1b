// Command fieldkit takes a scope of a DHIS2 server into the field and brings its data home.
//
// Each command has one file: flags in, one call into package orchestrator, its result out. Everything that is
// printed is printed here. The rules:
//
//   - Standard output is the result and nothing else: lines for people, one JSON value with --json.
//   - Standard error is the talk: every line begins with "fieldkit:" or "hint:". Errors begin in lower case
//     and end without a full stop.
//   - Without a terminal nothing is ever asked, and what would send or overwrite needs --yes.
//   - The exit code says how it ended: see exit.go.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/urfave/cli/v2"
)

// Run carries out one command line, without the program's name, and returns the exit code. A cancelled ctx
// interrupts it. Nothing outside host and the kit's directory is touched.
func Run(ctx context.Context, host Host, arguments []string) int {
	return runCommands(ctx, host, commands(), arguments)
}

func runCommands(ctx context.Context, host Host, known []command, arguments []string) int {
	code := exitHome
	app := &cli.App{
		Name:            "fieldkit",
		Usage:           "take a DHIS2 into the field and bring its data home",
		UsageText:       "fieldkit COMMAND [flags]",
		Version:         host.Version,
		HideHelpCommand: true,
		// What scripts rely on beside the commands.
		CustomAppHelpTemplate: cli.AppHelpTemplate + contract(),
		Writer:                host.Stdout,
		ErrWriter:             io.Discard, // everything that goes wrong is said once, below
		ExitErrHandler:        func(*cli.Context, error) {},
		OnUsageError:          wrongFlag,
		Action:                noCommand,
	}
	for _, c := range known {
		app.Commands = append(app.Commands, c.build(host, &code))
	}
	err := app.RunContext(ctx, append([]string{app.Name}, arguments...))
	if err == nil {
		return code
	}
	if ctx.Err() != nil {
		err = context.Canceled // whatever the cancellation broke first
	}
	host.sayError(err)
	return exitCode(err)
}

// commands lists all commands, in the order of a trip.
func commands() []command {
	return []command{
		initCommand(), doctorCommand(), prepareCommand(), cardsCommand(),
		upCommand(), downCommand(), logsCommand(),
		reconcileCommand(), heldCommand(), signOffCommand(), ledgerCommand(), reportCommand(), statusCommand(), snapshotCommand(),
		composeCommand(), demoCommand(), versionCommand(),
	}
}

// contract is the end of the help: what is read from the environment, and how commands end.
func contract() string {
	var b strings.Builder
	b.WriteString("\nENVIRONMENT:\n")
	for _, v := range environment() {
		fmt.Fprintf(&b, "   %-27s%s\n", v.name, v.says)
	}
	b.WriteString("\nEXIT CODES:\n")
	for _, end := range endings() {
		fmt.Fprintf(&b, "   %3d  %s\n", end.code, end.says)
	}
	return b.String()
}

// command is one command of the command line.
type command struct {
	name, usage, description string
	flags                    []cli.Flag
	// arguments names what may stand behind the flags, such as "[TRIP]"; most is how many of it.
	arguments string
	most      int
	// below are commands named after this one, which then does nothing itself.
	below []command
	// do carries it out. The code it returns counts when it returns no error.
	do func(ctx context.Context, c *call) (code int, err error)
}

// build makes the command known to the command line parser, with the flags that every command has.
func (c command) build(host Host, code *int) *cli.Command {
	return c.buildUnder("fieldkit", host, code)
}

// buildUnder is build for a command that is named after others.
func (c command) buildUnder(before string, host Host, code *int) *cli.Command {
	full := before + " " + c.name
	if c.below != nil {
		group := &cli.Command{
			Name: c.name, Usage: c.usage, UsageText: full + " COMMAND [flags]", Description: c.description,
			HideHelpCommand: true, OnUsageError: wrongFlag, Action: func(parsed *cli.Context) error { return noSubcommand(full, parsed) },
		}
		for _, b := range c.below {
			group.Subcommands = append(group.Subcommands, b.buildUnder(full, host, code))
		}
		return group
	}
	return &cli.Command{
		Name:            c.name,
		Usage:           c.usage,
		UsageText:       strings.TrimSuffix(full+" [flags] "+c.arguments, " "),
		ArgsUsage:       c.arguments,
		Description:     c.description,
		HideHelpCommand: true,
		OnUsageError:    wrongFlag,
		Flags: append(c.flags,
			&cli.StringFlag{Name: "kit", Value: ".", Usage: "work on the kit in `DIR`"},
			&cli.BoolFlag{Name: "json", Usage: "print the result as JSON"},
			&cli.BoolFlag{Name: "yes", Usage: "do it without asking"},
		),
		Action: func(parsed *cli.Context) error {
			if err := c.checkArguments(parsed.Args().Slice()); err != nil {
				return err
			}
			if parsed.String("kit") == "" {
				return usage("--kit DIR keeps the present directory when left out", "--kit names no directory")
			}
			var err error
			*code, err = c.do(parsed.Context, &call{Host: host, parsed: parsed})
			return err
		},
	}
}

// call is one command being carried out.
type call struct {
	Host
	parsed *cli.Context
}

// kit is the kit's directory.
func (c *call) kit() string { return c.parsed.String("kit") }

// who is whoever decides, for the report.
func (c *call) who() string { return cmp.Or(c.Getenv("FIELDKIT_WHO"), c.User) }

// open opens the kit to work on it, and holds it until it is closed.
func (c *call) open(ctx context.Context) (*orchestrator.Kit, error) {
	return orchestrator.Open(c.options(ctx))
}

// look opens the kit without holding it: nothing is written.
func (c *call) look(ctx context.Context) (*orchestrator.Kit, error) {
	options := c.options(ctx)
	options.Look = true
	return orchestrator.Open(options)
}

func (c *call) options(ctx context.Context) orchestrator.OpenOptions {
	return orchestrator.OpenOptions{
		Dir:             c.kit(),
		Getenv:          c.Getenv,
		Ask:             c.asker(ctx),
		Now:             c.Now,
		Progress:        c.progress(),
		ConfigDirectory: c.ConfigDirectory,
		Version:         c.Version,
	}
}

// yes tells whether the question that the command would ask is answered already.
func (c *call) yes() bool { return c.parsed.Bool("yes") }

// show prints the result: value with --json, else what text writes.
func (c *call) show(value any, text func(w io.Writer)) error {
	if c.parsed.Bool("json") {
		return printJSON(c.Stdout, value)
	}
	text(c.Stdout)
	return nil
}

// confirm makes sure that what changes something is wanted: by --yes, or by asking.
func (c *call) confirm(ctx context.Context, what string) error {
	if c.yes() {
		return nil
	}
	if !c.Terminal {
		return usage("there is no terminal here to ask at", "%s needs --yes", what)
	}
	answer, err := c.ask(ctx, orchestrator.Prompt{Text: what + "? [y/N]"})
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return errors.New("not confirmed, so nothing was done")
	}
	return nil
}

// usageError is a mistake in the command line.
type usageError struct{ message, hint string }

func (e usageError) Error() string { return e.message }

// Hint says how it is written instead.
func (e usageError) Hint() string { return e.hint }

// Is makes it an ErrUsage.
func (e usageError) Is(target error) bool { return target == orchestrator.ErrUsage }

func usage(hint, format string, arguments ...any) error {
	return usageError{message: fmt.Sprintf(format, arguments...), hint: hint}
}

// noCommand is what the command line without a known command comes to.
func noCommand(parsed *cli.Context) error {
	return unknownCommand("fieldkit", parsed.App.Commands, parsed.Args().First())
}

// noSubcommand is noCommand for the commands below another.
func noSubcommand(full string, parsed *cli.Context) error {
	return unknownCommand(full, parsed.Command.Subcommands, parsed.Args().First())
}

func unknownCommand(full string, known []*cli.Command, name string) error {
	all := fmt.Sprintf("`%s --help` lists the commands", full)
	if name == "" {
		return usage(all, "which command?")
	}
	var names []string
	for _, c := range known {
		names = append(names, c.Name)
	}
	if nearest, ok := orchestrator.Nearest(name, names); ok {
		return usage(fmt.Sprintf("did you mean `%s %s`?", full, nearest), "unknown command %q", name)
	}
	return usage(all, "unknown command %q", name)
}

// checkArguments refuses more arguments than the command takes, and flags behind them.
func (c command) checkArguments(arguments []string) error {
	if c.most == 0 && len(arguments) > 0 {
		return surplus(arguments)
	}
	for i, argument := range arguments {
		if strings.HasPrefix(argument, "-") {
			return usage(fmt.Sprintf("flags stand before: [flags] %s", c.arguments), "unexpected flag %q behind %q", argument, arguments[max(i-1, 0)])
		}
	}
	if len(arguments) > c.most {
		return usage(fmt.Sprintf("it takes [flags] %s", c.arguments), "unexpected argument %q", arguments[c.most])
	}
	return nil
}

// surplus is what arguments that no command takes come to.
func surplus(arguments []string) error {
	for _, argument := range arguments[1:] {
		if strings.HasPrefix(argument, "-") {
			return usage(fmt.Sprintf("%s after it was not read: leave %[2]q out", argument, arguments[0]),
				"unexpected argument %q", arguments[0])
		}
	}
	return usage("commands take flags only", "unexpected argument %q", arguments[0])
}

// wrongFlag puts the parser's complaint about a flag into our words.
func wrongFlag(parsed *cli.Context, err error, _ bool) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return usage("`--help` lists the flags", "%s", strings.ToLower(err.Error()[:1])+err.Error()[1:])
	}
	if parsed.Command == nil || parsed.Command.Name == parsed.App.Name {
		return usage("flags come after the command: fieldkit COMMAND --kit DIR", "unknown flag --%s before the command", name)
	}
	var names []string
	for _, flag := range parsed.Command.Flags {
		names = append(names, flag.Names()...)
	}
	hint := fmt.Sprintf("`fieldkit %s --help` lists the flags", parsed.Command.Name)
	if nearest, ok := orchestrator.Nearest(name, names); ok {
		hint = fmt.Sprintf("did you mean --%s?", nearest)
	}
	return usage(hint, "unknown flag --%s", name)
}
