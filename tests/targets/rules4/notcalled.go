package main

import (
	"context"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
)

const (
	quick    = 20 * time.Millisecond
	generous = 5 * time.Second
)

func (s *service) notCalledRoutes() []app.Route {
	return []app.Route{
		{Path: "/notcalled/cancel", Handler: s.dropsCancel},
		{Path: "/notcalled/cancel/ok", Handler: s.callsCancel},
		{Path: "/notcalled/timeout", Handler: s.dropsTimeout},
		{Path: "/notcalled/timeout/ok", Handler: s.callsTimeout},
		{Path: "/notcalled/inlined", Handler: s.dropsInlined},
		{Path: "/notcalled/inlined/ok", Handler: s.callsInlined},
		{Path: "/notcalled/timer", Handler: s.dropsToTimer},
		{Path: "/notcalled/timer/ok", Handler: s.callsAfterTimer},
		{Path: "/notcalled/worker", Handler: s.workerDrops},
		{Path: "/notcalled/worker/ok", Handler: s.workerCalls},
	}
}

func (s *service) dropsCancel(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, _ := context.WithCancel(r.Context()) // want: cancel-not-called cancel
	reply(w, s.call(ctx, quick))
}

func (s *service) callsCancel(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	reply(w, s.call(ctx, quick))
}

func (s *service) dropsTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, _ := context.WithTimeout(r.Context(), generous) // want: cancel-not-called timeout
	reply(w, s.call(ctx, quick))
}

func (s *service) callsTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), generous)
	defer cancel()
	reply(w, s.call(ctx, quick))
}

// lease and budget are small enough to be inlined: the line is inside them, the pc is not.
func lease(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx) // want: cancel-not-called inlined
}

func budget(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

func (s *service) dropsInlined(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, _ := lease(r.Context()) // want: cancel-not-called inlined caller
	reply(w, s.call(ctx, quick))
}

func (s *service) callsInlined(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := budget(r.Context())
	defer cancel()
	reply(w, s.call(ctx, quick))
}

// The timer frees the context before the request ends; the CancelFunc is still never called.
func (s *service) dropsToTimer(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, _ := context.WithTimeout(r.Context(), brief) // want: cancel-not-called timer
	_ = s.call(ctx, work)
	reply(w, nil)
}

func (s *service) callsAfterTimer(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), brief)
	defer cancel()
	_ = s.call(ctx, work)
	reply(w, nil)
}

// job is work for the one goroutine that belongs to no request.
type job struct {
	run  func()
	done chan struct{}
}

func (s *service) work() {
	for j := range s.jobs {
		j.run()
		close(j.done)
	}
}

// jobsPerRequest is above the two that the rule forgives outside requests.
const jobsPerRequest = 5

func (s *service) workerDrops(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	s.hand(func() {
		ctx, _ := context.WithCancel(s.life) // want: cancel-not-called worker
		_ = s.call(ctx, time.Millisecond)
	})
	reply(w, nil)
}

func (s *service) workerCalls(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	s.hand(func() {
		ctx, cancel := context.WithCancel(s.life)
		defer cancel()
		_ = s.call(ctx, time.Millisecond)
	})
	reply(w, nil)
}

// hand gives the worker a few jobs, one after the other.
func (s *service) hand(run func()) {
	for i := 0; i < jobsPerRequest; i++ {
		j := job{run: run, done: make(chan struct{})}
		s.jobs <- j
		<-j.done
	}
}
