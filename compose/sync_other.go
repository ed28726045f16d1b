//go:build !linux

package compose

// syncDisks does nothing: elsewhere the engine runs in a machine of its own.
func syncDisks() {}
