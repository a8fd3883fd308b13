// Command dials carries one planted mistake per route in what a service dials itself; the healthy twin of a route is
// the same path with /ok behind it. Markers are as in rules4; README.md lists what each case expects.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
)

const (
	leave = 300 // ms
	brief = 100 * time.Millisecond
	long  = 1500 * time.Millisecond
	route = 2 * time.Second
)

// service is what all handlers share.
type service struct {
	// hole is where nobody ever answers, door where somebody does.
	hole, door string
	base       string
}

func main() {
	flag.Parse()
	base := downstream.Start()
	s := &service{hole: hole(), door: base[len("http://"):], base: base}
	routes := append(s.plantedRoutes(), s.heldRoutes()...)
	app.Run(&http.Server{Handler: app.Mux(routes), ConnContext: app.ConnContext})
}

func (s *service) plantedRoutes() []app.Route {
	return []app.Route{
		{Path: "/detached/timeout", PatienceMS: leave, Handler: s.timeout},
		{Path: "/detached/timeout/ok", PatienceMS: leave, Handler: s.timeoutOK},
		{Path: "/detached/context", PatienceMS: leave, Handler: s.context},
		{Path: "/detached/context/ok", PatienceMS: leave, Handler: s.contextOK},
		{Path: "/detached/late", PatienceMS: leave, Handler: s.late},
		{Path: "/detached/late/ok", PatienceMS: leave, Handler: s.lateOK},
		{Path: "/detached/quick", Handler: s.quick},
		{Path: "/detached/quick/ok", Handler: s.quickOK},
		{Path: "/dropped/dial", Handler: within(route, s.dropped)},
		{Path: "/dropped/dial/ok", Handler: within(route, s.quickOK)},
		{Path: "/premature/dial", Handler: s.premature},
		{Path: "/premature/dial/ok", Handler: s.prematureOK},
	}
}

// The dial knows nothing of the request, and nobody answers it.
func (s *service) timeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, closed(net.DialTimeout("tcp", s.hole, long))) // want: detached-context timeout
}

func (s *service) timeoutOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	dialer := net.Dialer{Timeout: long}
	reply(w, closed(dialer.DialContext(r.Context(), "tcp", s.hole)))
}

func (s *service) context(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(context.Background(), long) // want: detached-context context
	defer cancel()
	var dialer net.Dialer
	reply(w, closed(dialer.DialContext(ctx, "tcp", s.hole)))
}

func (s *service) contextOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), long)
	defer cancel()
	var dialer net.Dialer
	reply(w, closed(dialer.DialContext(ctx, "tcp", s.hole)))
}

// Whoever listens there wakes up when the client has left: the kernel asks again after a second, and is answered.
func (s *service) late(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, closed(net.Dial("tcp", wakes(2*brief)))) // want: detached-context late
}

func (s *service) lateOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var dialer net.Dialer
	reply(w, closed(dialer.DialContext(r.Context(), "tcp", wakes(2*brief))))
}

// Answered at once, and still on a context of its own.
func (s *service) quick(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, closed(net.Dial("tcp", s.door))) // want: detached-context quick
}

func (s *service) quickOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var dialer net.Dialer
	reply(w, closed(dialer.DialContext(r.Context(), "tcp", s.door)))
}

// The middleware's deadline does not reach the dial.
func (s *service) dropped(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var dialer net.Dialer
	conn, err := dialer.DialContext(context.Background(), "tcp", wakes(0)) // want: detached-context dropped
	reply(w, closed(conn, err))
}

// The dial of the goroutine dies when the handler returns.
func (s *service) premature(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	started := make(chan struct{})
	go func() {
		close(started)
		dialer := net.Dialer{Timeout: long}
		_ = closed(dialer.DialContext(r.Context(), "tcp", s.hole)) // want: premature-cancel dial
	}()
	<-started
	time.Sleep(brief)
	reply(w, nil)
}

func (s *service) prematureOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	done := make(chan error)
	go func() {
		dialer := net.Dialer{Timeout: brief}
		done <- closed(dialer.DialContext(r.Context(), "tcp", s.hole))
	}()
	reply(w, <-done)
}

// closed lets a connection go again.
func closed(conn net.Conn, err error) error {
	if err == nil {
		err = conn.Close()
	}
	return err
}

// reply answers 200 in any case: a planted failure is no wrong answer.
func reply(w http.ResponseWriter, err error) {
	if err != nil {
		fmt.Fprintln(w, "failed:", err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// within is the middleware that gives a route its deadline.
func within(d time.Duration, next http.HandlerFunc) http.HandlerFunc {
	return limited{d, next}.ServeHTTP
}

type limited struct {
	d    time.Duration
	next http.Handler
}

func (l limited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), l.d) // want: dials middleware deadline
	defer cancel()
	l.next.ServeHTTP(w, r.WithContext(ctx))
}
