package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this very program as `fieldkit`, and `request`.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fieldkit": main, "request": requestMain})
}

// TestScripts runs testdata/script: one script a behaviour. What a script can do beside testscript's own:
//
//	exits CODE PROGRAM ARGUMENT...    run it, and fail when it ends with another code
//	seed URL                          give a simulated server the clinic's metadata and patients
//	kit DIR                           write the fieldkit.yaml of a kit between $CENTRAL and $LOCAL
//	hold DIR                          hold a kit for the rest of the script, as another run would
//	smalldisk DIR KILOBYTES           mount a small file system; only where [mount] holds
//	gate close PATTERN                hold requests back that match, as in "LOCAL POST /api/tracker"
//	gate reached                      wait until one is held
//	gate open                         let them go on to the server, whoever is gone by then
//	expand FILE...                    put what the environment says for $CENTRAL and the like into files
//	exec request METHOD URL [FILE]    speak to a server as admin, see servers_test.go
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "seed": seed, "kit": kit, "hold": hold, "expand": expand, "smalldisk": smallDisk, "gate": gateCommand,
		},
	})
}

// exits runs a program and compares its exit code.
func exits(ts *testscript.TestScript, negated bool, arguments []string) {
	if negated || len(arguments) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENT...")
	}
	want, err := strconv.Atoi(arguments[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(arguments[1], arguments[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", arguments[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// setupScript keeps a script away from whoever runs it, and starts its servers.
func setupScript(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/.config")
	return startServers(env)
}

// condition knows [mount]: file systems may be mounted here.
func condition(name string) (bool, error) {
	if name != "mount" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return mayMount(), nil
}
