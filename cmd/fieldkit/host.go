package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"golang.org/x/term"
)

// Host is everything that a command sees of the machine, apart from the kit's directory and the network.
type Host struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal is true when somebody sits there to be asked.
	Terminal bool
	// ReadSecret reads a line without showing it; only called when Terminal.
	ReadSecret func(ctx context.Context) (string, error)
	Getenv     func(string) string
	Now        func() time.Time
	// ConfigDirectory is this user's for fieldkit; empty when there is none.
	ConfigDirectory string
	// User is the name of whoever runs fieldkit; empty when there is none.
	User string
	// Version is fieldkit's own.
	Version string
}

// version is set by the linker in releases.
var version string

// thisHost is the machine that the program runs on.
func thisHost() Host {
	stdin := int(os.Stdin.Fd())
	configuration, err := os.UserConfigDir()
	if err == nil {
		configuration = filepath.Join(configuration, "fieldkit")
	}
	name := ""
	if current, err := user.Current(); err == nil {
		name = current.Username
	}
	return Host{
		User:            name,
		ConfigDirectory: configuration,
		Stdin:           os.Stdin,
		Stdout:          os.Stdout,
		Stderr:          os.Stderr,
		Terminal:        term.IsTerminal(stdin) && term.IsTerminal(int(os.Stderr.Fd())),
		ReadSecret:      func(ctx context.Context) (string, error) { return readSecret(ctx, stdin) },
		Getenv:          os.Getenv,
		Now:             time.Now,
		Version:         ownVersion(),
	}
}

// ownVersion is what the linker set, else what the Go command noted, else "devel".
func ownVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// readSecret reads a line from a terminal with its echo off, and puts the echo back when ctx ends first.
func readSecret(ctx context.Context, terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	secret, err := interruptible(ctx, func() (string, error) {
		secret, err := term.ReadPassword(terminal)
		return string(secret), err
	})
	if ctx.Err() != nil {
		return "", errors.Join(err, term.Restore(terminal, before))
	}
	return secret, err
}

// interruptible returns what read returns, or ctx's error when that ends first; the read is then left behind.
func interruptible(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := read()
		answers <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-answers:
		return a.line, a.err
	}
}

// asker is the orchestrator's way to ask; nil without a terminal.
func (h Host) asker(ctx context.Context) orchestrator.Ask {
	if !h.Terminal {
		return nil
	}
	return func(p orchestrator.Prompt) (string, error) { return h.ask(ctx, p) }
}

// ask puts one question at the terminal.
func (h Host) ask(ctx context.Context, p orchestrator.Prompt) (string, error) {
	fmt.Fprintf(h.Stderr, "fieldkit: %s: ", strings.TrimSuffix(p.Text, ":"))
	read := h.ReadSecret
	if !p.Secret {
		read = func(ctx context.Context) (string, error) {
			return interruptible(ctx, func() (string, error) { return readLine(h.Stdin) })
		}
	}
	answer, err := read(ctx)
	if p.Secret || err != nil {
		fmt.Fprintln(h.Stderr) // the line's end was not shown
	}
	if errors.Is(err, io.EOF) {
		return "", errors.New("no answer: the input has ended")
	}
	return strings.TrimSpace(answer), err
}

// readLine reads up to the end of a line, and not a byte further: what follows is another question's answer.
func readLine(r io.Reader) (string, error) {
	if buffered, ok := r.(*bufio.Reader); ok {
		return buffered.ReadString('\n')
	}
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := r.Read(one)
		if n > 0 && one[0] == '\n' {
			return string(line), nil
		}
		line = append(line, one[:n]...)
		if err != nil {
			if len(line) > 0 && errors.Is(err, io.EOF) {
				return string(line), nil
			}
			return "", err
		}
	}
}

// say prints one line of talk.
func (h Host) say(format string, arguments ...any) {
	fmt.Fprintf(h.Stderr, "fieldkit: "+format+"\n", arguments...)
}

// sayError prints an error and, where there is one, its hint.
func (h Host) sayError(err error) {
	if errors.Is(err, context.Canceled) {
		h.say("interrupted; run it again to go on")
		return
	}
	for line := range strings.Lines(err.Error()) {
		h.say("%s", strings.TrimRight(line, "\n"))
	}
	if hint := orchestrator.Hint(err); hint != "" {
		fmt.Fprintf(h.Stderr, "hint: %s\n", hint)
	}
}

// printJSON prints one indented JSON value.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
