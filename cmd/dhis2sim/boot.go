package main

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// gate keeps requests waiting until it is opened, as Tomcat does while DHIS2 starts: it binds its port early and answers late.
type gate struct {
	ready   chan struct{}
	handler http.Handler
}

// open lets all requests through to handler. It is called once.
func (g *gate) open(handler http.Handler) {
	g.handler = handler
	close(g.ready)
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-g.ready:
		g.handler.ServeHTTP(w, r)
	case <-r.Context().Done():
	}
}

// bootLog writes the lines by which people and programs follow the start of a real server.
type bootLog struct {
	stdout io.Writer
	quiet  bool
	now    func() time.Time
}

func (l *bootLog) line(from, message string) {
	if !l.quiet {
		fmt.Fprintf(l.stdout, "%s INFO [main] %s %s\n", l.now().Format("02-Jan-2006 15:04:05.000"), from, message)
	}
}
