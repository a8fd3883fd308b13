package main

import (
	"context"
	"net/http"
	"time"

	"example.com/observer-targets/internal/app"
)

func (s *service) droppedRoutes() []app.Route {
	return []app.Route{
		{Path: "/dropped/past-handler", Handler: s.pastHandler},
		{Path: "/dropped/past-handler/ok", Handler: s.insideHandler},
		{Path: "/dropped/past-handler/bounded/ok", Handler: s.pastHandlerBounded},
		{Path: "/dropped/detached", Handler: timed(s.dropsInHandler)},
		{Path: "/dropped/detached/ok", Handler: timed(s.keepsDeadline)},
		{Path: "/dropped/middleware", Handler: within(route, s.dropsUnderMiddleware)},
		{Path: "/dropped/middleware/ok", Handler: within(route, s.keepsDeadline)},
		{Path: "/dropped/outlives", Handler: within(brief, s.outlivesDeadline)},
		{Path: "/dropped/outlives/ok", Handler: within(brief, s.endsWithDeadline)},
		{Path: "/dropped/in-grace", Handler: within(brief, s.endsInGrace)},
		{Path: "/dropped/sibling/ok", Handler: s.besideSibling},
	}
}

// timed puts a handler under http.TimeoutHandler.
func timed(handler http.HandlerFunc) http.HandlerFunc {
	return http.TimeoutHandler(handler, route, "too slow").ServeHTTP
}

// The closure has two requests in reach and takes the one without the deadline.
func (s *service) pastHandler(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	inner := func(w http.ResponseWriter, _ *http.Request) {
		resp, err := s.http.Do(s.slow(r.Context(), quick)) // want: deadline-dropped past-handler
		reply(w, finish(resp, err))
	}
	handler := http.TimeoutHandler(http.HandlerFunc(inner), route, "too slow")
	handler.ServeHTTP(w, r) // want: deadline-dropped past-handler deadline
}

func (s *service) insideHandler(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	inner := func(w http.ResponseWriter, r *http.Request) {
		reply(w, s.call(r.Context(), quick))
	}
	http.TimeoutHandler(http.HandlerFunc(inner), route, "too slow").ServeHTTP(w, r)
}

// The wrong request, but the client bounds the call.
func (s *service) pastHandlerBounded(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	client := &http.Client{Transport: s.http.Transport, Timeout: time.Second}
	inner := func(w http.ResponseWriter, _ *http.Request) {
		reply(w, finish(client.Do(s.slow(r.Context(), quick))))
	}
	http.TimeoutHandler(http.HandlerFunc(inner), route, "too slow").ServeHTTP(w, r)
}

// One mistake, one finding: the detached context is why the deadline is lost.
func (s *service) dropsInHandler(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	resp, err := s.http.Do(s.slow(context.Background(), quick)) // want: detached-context in-handler
	reply(w, finish(resp, err))
}

func (s *service) dropsUnderMiddleware(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	resp, err := s.http.Do(s.slow(context.Background(), quick)) // want: detached-context under-middleware
	reply(w, finish(resp, err))
}

// The call goes on long after the deadline; with detached-context switched off, deadline-dropped tells of it.
func (s *service) outlivesDeadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	resp, err := s.http.Do(s.slow(context.Background(), long)) // want: detached-context outlives; deadline-dropped outlives
	reply(w, finish(resp, err))
}

// Over soon after the deadline: nothing has come of it yet.
func (s *service) endsInGrace(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	resp, err := s.http.Do(s.slow(context.Background(), late)) // want: detached-context in-grace
	reply(w, finish(resp, err))
}

func (s *service) keepsDeadline(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	reply(w, s.call(r.Context(), quick))
}

// What the handler allows one call is not what the request has.
func (s *service) besideSibling(w http.ResponseWriter, r *http.Request) {
	app.RequestID(r)
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := s.call(ctx, quick); err != nil {
		reply(w, err)
		return
	}
	reply(w, s.call(r.Context(), quick))
}
