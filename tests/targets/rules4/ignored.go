package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/compat"
	"example.com/observer-targets/internal/downstream"
)

const (
	leave = 300 // the client's patience in most cases, in milliseconds
	brief = 300 * time.Millisecond
	tick  = 900 * time.Millisecond
	round = 1600 * time.Millisecond
)

// work is how long handlers work for.
var work = 2 * time.Second

func (s *service) ignoredRoutes() []app.Route {
	return []app.Route{
		{Path: "/ignored/sleep", PatienceMS: leave, Mode: "drop", Handler: sleeps},
		{Path: "/ignored/sleep/ok", PatienceMS: leave, Mode: "drop", Handler: sleepsOK},
		{Path: "/ignored/channel", PatienceMS: leave, Mode: "drop", Handler: receives},
		{Path: "/ignored/channel/ok", PatienceMS: leave, Mode: "drop", Handler: receivesOK},
		{Path: "/ignored/poll", PatienceMS: 5200, Mode: "drop", Handler: polls},
		{Path: "/ignored/poll/ok", PatienceMS: 2750, Mode: "drop", Handler: pollsOK},
		{Path: "/ignored/poll-unseen", PatienceMS: leave, Mode: "drop", Handler: onlyLooks},
		{Path: "/ignored/poll-unseen/ok", PatienceMS: leave, Mode: "drop", Handler: pollsOK},
		{Path: "/ignored/workers", PatienceMS: leave, Mode: "drop", Handler: waitsForWorkers},
		{Path: "/ignored/workers/ok", PatienceMS: leave, Mode: "drop", Handler: waitsForWorkersOK},
		{Path: "/ignored/raw-call", PatienceMS: leave, Mode: "drop", Handler: s.rawCall},
		{Path: "/ignored/raw-call/ok", PatienceMS: leave, Mode: "drop", Handler: s.rawCallOK},
		{Path: "/ignored/derived", Handler: derived},
		{Path: "/ignored/derived/ok", Handler: s.derivedOK},
		{Path: "/ignored/backoff", Handler: s.backoff},
		{Path: "/ignored/backoff/ok", Handler: s.backoffOK},
		{Path: "/ignored/busy", PatienceMS: leave, Mode: "drop", Handler: computes},
		{Path: "/ignored/busy/ok", PatienceMS: leave, Mode: "drop", Handler: computesOK},
		{Path: "/ignored/busy-method", PatienceMS: leave, Mode: "drop", Handler: s.computes},
		{Path: "/ignored/busy-method/ok", PatienceMS: leave, Mode: "drop", Handler: s.computesOK},
		{Path: "/ignored/busy-inlined", PatienceMS: leave, Mode: "drop", Handler: s.spins},
		{Path: "/ignored/busy-inlined/ok", PatienceMS: leave, Mode: "drop", Handler: s.computesOK},
		{
			Path: "/ignored/timeout-handler", Status: http.StatusServiceUnavailable,
			Handler: http.TimeoutHandler(http.HandlerFunc(pastTimeout), brief, "too slow").ServeHTTP,
		},
		{
			Path: "/ignored/timeout-handler/ok", Status: http.StatusServiceUnavailable,
			Handler: http.TimeoutHandler(http.HandlerFunc(pastTimeoutOK), brief, "too slow").ServeHTTP,
		},
		{
			Path: "/ignored/timeout-client", PatienceMS: leave, Mode: "drop",
			Handler: http.TimeoutHandler(http.HandlerFunc(pastClient), 3*work, "too slow").ServeHTTP,
		},
		{
			Path: "/ignored/timeout-client/ok", PatienceMS: leave, Mode: "drop",
			Handler: http.TimeoutHandler(http.HandlerFunc(pastTimeoutOK), 3*work, "too slow").ServeHTTP,
		},
	}
}

// The client leaves, the handler sleeps on.
func sleeps(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored sleep
	reply(w, nil)
}

func sleepsOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	downstream.Pause(r.Context(), work)
}

// The client leaves, the handler waits for a value that only time brings.
func receives(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ready := after(work)
	<-ready // want: cancel-ignored channel
	reply(w, nil)
}

func receivesOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	select {
	case <-after(work):
	case <-r.Context().Done():
	}
}

func after(d time.Duration) <-chan struct{} {
	ready := make(chan struct{})
	time.AfterFunc(d, func() { close(ready) })
	return ready
}

// What a poller does once a round: here something short that has a deadline.
func beat(ctx context.Context) {
	_, cancel := context.WithTimeout(ctx, time.Minute)
	cancel()
}

// The handler looks at its context, but only once a round: the client leaves a while after a look, and is noticed long after that.
func polls(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	for i := 0; i < 5; i++ {
		time.Sleep(round) // want: cancel-ignored poll
		if r.Context().Err() != nil {
			return
		}
		beat(r.Context())
	}
	reply(w, nil)
}

// Nothing that observer sees happens in a round: there is no rhythm to excuse it.
func onlyLooks(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	for i := 0; i < 3 && r.Context().Err() == nil; i++ {
		time.Sleep(2 * tick) // want: cancel-ignored poll-unseen
	}
	reply(w, nil)
}

func pollsOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	for i := 0; i < 6; i++ {
		if !downstream.Pause(r.Context(), tick) {
			return
		}
	}
}

// The handler only waits; the work that does not stop is in goroutines of the request.
func waitsForWorkers(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var wg sync.WaitGroup
	for i := 0; i < 2; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			time.Sleep(work) // want: cancel-ignored workers worker
		}()
	}
	wg.Wait() // want: cancel-ignored workers
	reply(w, nil)
}

func waitsForWorkersOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	var wg sync.WaitGroup
	for i := 0; i < 2; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			downstream.Pause(r.Context(), work)
		}()
	}
	wg.Wait()
}

// A call over a protocol of the service's own, which knows no contexts.
func (s *service) rawCall(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	conn, err := s.dialRaw(r.Context())
	if err != nil {
		reply(w, err)
		return
	}
	defer conn.Close()
	_, err = bufio.NewReader(conn).ReadString('\n') // want: cancel-ignored raw-call
	reply(w, err)
}

func (s *service) rawCallOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	conn, err := s.dialRaw(r.Context())
	if err != nil {
		reply(w, err)
		return
	}
	defer conn.Close()
	stop := compat.AfterFunc(r.Context(), func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = bufio.NewReader(conn).ReadString('\n')
	reply(w, err)
}

// The dial hears of the request; what is read over it does not.
func (s *service) dialRaw(ctx context.Context) (net.Conn, error) {
	base, err := url.Parse(s.base)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", base.Host)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET %s/slow?ms=%d HTTP/1.0\r\n\r\n", base.Path, work.Milliseconds())
	return conn, err
}

// The handler gives itself 300 ms and then does not look.
func derived(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), brief) // want: cancel-ignored derived context
	defer cancel()
	time.Sleep(work) // want: cancel-ignored derived
	reply(w, ctx.Err())
}

// A cache gets 300 ms, then the database is asked on the request's context.
func (s *service) derivedOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), brief)
	defer cancel()
	if s.call(ctx, work) == nil {
		reply(w, nil)
		return
	}
	reply(w, s.call(r.Context(), time.Second))
}

// deafBackoff is a transport that sleeps between tries whatever the request's context says.
type deafBackoff struct{ next http.RoundTripper }

func (b deafBackoff) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(work) // want: cancel-ignored backoff
	return b.next.RoundTrip(req)
}

// The handler sits in a call on a context that timed out.
func (s *service) backoff(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), brief)
	defer cancel()
	client := &http.Client{Transport: deafBackoff{s.http.Transport}}
	_ = finish(client.Do(s.slow(ctx, 20*time.Millisecond))) // want: cancel-ignored backoff call
	reply(w, nil)
}

// politeBackoff stops waiting when the request's context ends.
type politeBackoff struct{ next http.RoundTripper }

func (b politeBackoff) RoundTrip(req *http.Request) (*http.Response, error) {
	if !downstream.Pause(req.Context(), work) {
		return nil, req.Context().Err()
	}
	return b.next.RoundTrip(req)
}

func (s *service) backoffOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), brief)
	defer cancel()
	client := &http.Client{Transport: politeBackoff{s.http.Transport}}
	_ = finish(client.Do(s.slow(ctx, 20*time.Millisecond)))
	reply(w, nil)
}

// http.TimeoutHandler has answered 503; the handler inside works on.
func pastTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored timeout-handler
	reply(w, nil)
}

// The client leaves long before the deadline: http.TimeoutHandler returns, and the handler inside works on.
func pastClient(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	time.Sleep(work) // want: cancel-ignored timeout-client
	reply(w, nil)
}

func pastTimeoutOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	downstream.Pause(r.Context(), work)
}

// The handler computes and never looks at its context.
func computes(w http.ResponseWriter, r *http.Request) { // want: cancel-ignored busy
	app.RequestID(r)
	sum := uint64(1)
	for began := time.Now(); time.Since(began) < work; {
		sum = mix(sum, 1000)
		for i := uint64(0); i < 1000; i++ {
			sum += sum*i ^ 7
		}
	}
	fmt.Fprintln(w, sum)
}

func computesOK(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	sum := uint64(1)
	for began := time.Now(); time.Since(began) < work && r.Context().Err() == nil; {
		sum = mix(sum, 1000)
	}
	fmt.Fprintln(w, sum)
}

// A method value: the compiler puts a function of its own between the server and the handler.
//
//go:noinline
func (s *service) computes(w http.ResponseWriter, r *http.Request) { // want: cancel-ignored busy-method
	app.RequestID(r)
	computes(w, r)
}

func (s *service) computesOK(w http.ResponseWriter, r *http.Request) { computesOK(w, r) }

// So small that the compiler puts it into that function. On one line, because up to Go 1.19 nothing in an executable
// says where such a method begins.
func (s *service) spins(w http.ResponseWriter, r *http.Request) { spin(w, r) } // want: cancel-ignored busy-inlined

//go:noinline
func spin(w http.ResponseWriter, r *http.Request) {
	computes(w, r)
}

//go:noinline
func mix(sum uint64, rounds int) uint64 {
	for i := 0; i < rounds; i++ {
		sum = sum*6364136223846793005 + 1442695040888963407
	}
	return sum
}
