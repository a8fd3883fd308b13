package main

import (
	"context"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
	"example.com/observer-targets/internal/compat"
)

func (s *service) inflatedRoutes() []app.Route {
	return []app.Route{
		{Path: "/inflated/clamped", Handler: within(time.Second, s.asksForMore)},
		{Path: "/inflated/clamped/ok", Handler: within(time.Second, s.asksForLess)},
		{Path: "/inflated/parsed", Handler: within(time.Second, s.asksForMoreByWall)},
		{Path: "/inflated/parsed/ok", Handler: within(time.Second, s.asksForLessByWall)},
		{Path: "/inflated/equal/ok", Handler: within(time.Second, s.asksForTheSame)},
		{Path: "/inflated/detached", Handler: within(time.Second, s.hasMore)},
		{Path: "/inflated/detached/ok", Handler: within(time.Second, s.asksForLess)},
		{Path: "/inflated/overran", Handler: within(brief, s.overruns)},
		{Path: "/inflated/overran/ok", Handler: within(brief, s.endsWithDeadline)},
		{Path: "/inflated/audit/ok", Handler: within(time.Second, s.audits)},
	}
}

// The middleware's second holds; the ten are never had.
func (s *service) asksForMore(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second) // want: deadline-inflated clamped
	defer cancel()
	reply(w, s.call(ctx, quick))
}

// The same, with a deadline that came in a message.
func (s *service) asksForMoreByWall(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithDeadline(r.Context(), parsed(10*time.Second)) // want: deadline-inflated parsed
	defer cancel()
	reply(w, s.call(ctx, quick))
}

func (s *service) asksForLessByWall(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithDeadline(r.Context(), parsed(500*time.Millisecond))
	defer cancel()
	reply(w, s.call(ctx, quick))
}

func (s *service) asksForLess(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), 500*time.Millisecond)
	defer cancel()
	reply(w, s.call(ctx, quick))
}

// Half a millisecond later the same second is a little more than what is left.
func (s *service) asksForTheSame(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	reply(w, s.call(ctx, quick))
}

func (s *service) hasMore(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // want: deadline-inflated detached; detached-context inflated
	defer cancel()
	resp, err := s.http.Do(s.slow(ctx, quick))
	reply(w, finish(resp, err))
}

// The route has 300 ms; the call works for more than a second.
func (s *service) overruns(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(compat.WithoutCancel(r.Context()), 5*time.Second) // want: deadline-inflated overran; detached-context overran
	defer cancel()
	resp, err := s.http.Do(s.slow(ctx, long))
	reply(w, finish(resp, err))
}

func (s *service) endsWithDeadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.call(r.Context(), long))
}

// The record may take longer than the request has; that is why it is let go with a deadline of its own.
func (s *service) audits(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	kept := compat.WithoutCancel(r.Context())
	go func() {
		ctx, cancel := context.WithTimeout(kept, 5*time.Second)
		defer cancel()
		_ = s.call(ctx, quick)
	}()
	time.Sleep(100 * time.Millisecond) // the call has to begin while the request runs
	reply(w, nil)
}
