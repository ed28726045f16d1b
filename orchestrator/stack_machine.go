package orchestrator

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Machine is the machine that the kit runs on, as far as its own containers depend on it.
type Machine interface {
	// Addresses are those of all network interfaces that are up.
	Addresses() ([]netip.Addr, error)
	// Listen tries whether a port can be listened on, and lets it go again. The error is the system's.
	Listen(address netip.AddrPort) error
	// Dial connects to a container or to the clinic's address, never through a proxy.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// LookupHost finds a name's addresses.
	LookupHost(ctx context.Context, name string) ([]netip.Addr, error)
	// FreeBytes is what may still be written to a directory's disk, and false where that is not known.
	FreeBytes(directory string) (uint64, bool)
	// Wait waits, or returns ctx's error early.
	Wait(ctx context.Context, d time.Duration) error
}

// thisMachine is the one that fieldkit runs on.
type thisMachine struct{}

func (thisMachine) Addresses() ([]netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				found = append(found, prefix.Addr().Unmap())
			}
		}
	}
	return found, nil
}

func (thisMachine) Listen(address netip.AddrPort) error {
	listener, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(address))
	if err != nil {
		return err
	}
	return listener.Close()
}

func (thisMachine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
}

func (thisMachine) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
}

func (thisMachine) FreeBytes(directory string) (uint64, bool) { return freeBytes(directory) }

func (thisMachine) Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
