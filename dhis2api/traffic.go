package dhis2api

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// Traffic is what a Client and its server have exchanged.
type Traffic struct {
	// Requests counts those that were sent, repeated ones each time.
	Requests int64 `json:"requests"`
	// Sent and Received are bytes as they went over the line: compressed, encrypted, with all headers.
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
}

// Minus is what was exchanged since before.
func (t Traffic) Minus(before Traffic) Traffic {
	return Traffic{Requests: t.Requests - before.Requests, Sent: t.Sent - before.Sent, Received: t.Received - before.Received}
}

// Plus is the sum of both.
func (t Traffic) Plus(other Traffic) Traffic {
	return Traffic{Requests: t.Requests + other.Requests, Sent: t.Sent + other.Sent, Received: t.Received + other.Received}
}

// Traffic is what the Client has exchanged with its server since it connected, the connecting included. With a
// Transport that Options.HTTPClient lends the bytes stay 0: they are counted on the Client's own connections.
func (c *Client) Traffic() Traffic {
	return Traffic{
		Requests: c.meter.requests.Load(), Sent: c.meter.sent.Load(), Received: c.meter.received.Load(),
	}
}

// meter counts traffic. It is safe for concurrent use.
type meter struct {
	requests, sent, received atomic.Int64
}

// dialer makes connections that are counted.
func (m *meter) dialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return meteredConn{connection, m}, nil
	}
}

type meteredConn struct {
	net.Conn
	meter *meter
}

func (c meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.received.Add(int64(n))
	return n, err
}

func (c meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.meter.sent.Add(int64(n))
	return n, err
}

// wire is the last stretch to the server: what comes here is sent, when its turn has come, and counted.
type wire struct {
	client *Client
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	// Waiting for one's turn is not the server's silence.
	watch, watched := r.Context().Value(silenceKey{}).(*silence)
	if watched {
		watch.timer.Stop()
	}
	if err := w.client.throttle(r.Context()); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	if watched {
		watch.heard()
	}
	w.client.meter.requests.Add(1)
	return w.next.RoundTrip(r)
}
