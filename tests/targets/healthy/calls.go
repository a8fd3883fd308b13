package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"example.com/observer-targets/healthy/rates"
	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/downstream"
	"example.com/observer-targets/internal/group"
)

const (
	quick = 20 * time.Millisecond
	slow  = 900 * time.Millisecond
	try   = 200 * time.Millisecond
)

// callRoutes are about outgoing calls and the timeouts around them.
func (s *service) callRoutes() []app.Route {
	return []app.Route{
		{Path: "/per-try", Handler: s.perTry},
		{Path: "/cache-then-db", Handler: s.cacheThenDB},
		{Path: "/retries", PatienceMS: 700, Mode: "drop", Handler: s.retries},
		{Path: "/errgroup", Handler: s.errgroup},
		{Path: "/hedged", Handler: s.hedged},
		{Path: "/client-timeout", Handler: s.clientTimeout},
		{Path: "/library-timeout", Handler: s.libraryTimeout},
		{Path: "/sibling", Handler: s.sibling},
		{Path: "/deep-timeout", Handler: s.deepTimeout},
		{Path: "/once", Handler: s.opensOnce},
		{Path: "/h2-client", Handler: s.overHTTP2},
		{Path: "/slow-call", PatienceMS: 300, Mode: "drop", Handler: s.slowCall},
	}
}

// Each try has its own timeout; the first two are too slow for it.
func (s *service) perTry(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	err := errors.New("not tried")
	for _, takes := range []time.Duration{slow, slow, quick} {
		if err = s.tryOnce(r.Context(), takes); err == nil || r.Context().Err() != nil {
			break
		}
	}
	reply(w, err)
}

func (s *service) tryOnce(ctx context.Context, takes time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, try)
	defer cancel()
	return s.call(ctx, takes)
}

// The cache has 200 ms and does not answer; then the database works for most of a second. The cache's context
// is dead all that time and freed only at the end.
func (s *service) cacheThenDB(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), try)
	defer cancel()
	if s.call(ctx, slow) == nil {
		reply(w, nil)
		return
	}
	reply(w, s.call(r.Context(), slow))
}

// The waits between the tries end with the request.
func (s *service) retries(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	wait := 100 * time.Millisecond
	for {
		if err := s.tryOnce(r.Context(), slow); err == nil {
			reply(w, nil)
			return
		}
		if wait > time.Second || !downstream.Pause(r.Context(), wait) {
			http.Error(w, "gave up", http.StatusBadGateway)
			return
		}
		wait *= 2
	}
}

// One part fails and the group cancels the call of the other.
func (s *service) errgroup(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	parts, ctx := group.WithContext(r.Context())
	parts.Go(func() error { return s.call(ctx, slow) })
	parts.Go(func() error {
		if err := s.call(ctx, quick); err != nil {
			return err
		}
		return errors.New("out of stock")
	})
	_ = parts.Wait()
	reply(w, nil)
}

// The first answer wins and the other call is cancelled in flight.
func (s *service) hedged(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	answers := make(chan error, 2)
	ask := func(takes time.Duration) { answers <- s.call(ctx, takes) }
	go ask(slow)
	if !downstream.Pause(ctx, 100*time.Millisecond) {
		return
	}
	go ask(quick)
	reply(w, <-answers)
}

// http.Client.Timeout is a safety net far above the context's two seconds.
func (s *service) clientTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	client := &http.Client{Transport: s.http.Transport, Timeout: 30 * time.Second}
	reply(w, fetch(ctx, client, s.base, quick))
}

// The library asks for 30 s by habit; the request's budget is shorter and wins.
func (s *service) libraryTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	reply(w, rates.Get(ctx, s.http, s.base))
}

// One call has a timeout, the other one beside it runs on the request's context.
func (s *service) sibling(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	stock := make(chan error, 1)
	go func() { stock <- s.call(ctx, quick) }()
	err := s.call(r.Context(), 10*quick)
	if first := <-stock; first != nil {
		err = first
	}
	reply(w, err)
}

// 50 ms deep inside a client, as for a cache in the next rack.
func (s *service) deepTimeout(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.page(r.Context()))
}

func (s *service) page(ctx context.Context) error     { return s.teaser(ctx) }
func (s *service) teaser(ctx context.Context) error   { return s.ranking(ctx) }
func (s *service) ranking(ctx context.Context) error  { return s.counter(ctx) }
func (s *service) counter(ctx context.Context) error  { return s.pipeline(ctx) }
func (s *service) pipeline(ctx context.Context) error { return s.command(ctx) }
func (s *service) command(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond) // info: deadline-too-short deep
	defer cancel()
	return s.call(ctx, time.Millisecond)
}

func (s *service) opensOnce(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	client, err := s.backend.open(s.base)
	if err == nil {
		err = fetch(r.Context(), client, s.base, quick)
	}
	reply(w, err)
}

// The first request opens the HTTP/2 connection and its loops; they outlive it.
func (s *service) overHTTP2(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, fetch(r.Context(), s.h2, s.h2Base, quick))
}

// The plainest healthy program: the client leaves, the call and the handler end.
func (s *service) slowCall(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.call(r.Context(), 2*time.Second))
}
