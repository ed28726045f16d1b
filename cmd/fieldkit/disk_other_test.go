//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

// mayMount is false: only Linux's way to mount is known here.
func mayMount() bool { return false }

func smallDisk(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("smalldisk: use [mount] to skip")
}
